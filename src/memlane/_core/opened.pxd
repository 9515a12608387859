# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.core cimport memlane_entry, memlane_entry_stands, memlane_entry_stands_ordered
from memlane._core.membership cimport Membership, Users
from memlane._core.os cimport memlane_fork_is


cdef class Opened:
    cdef Membership membership
    cdef const memlane_entry *entry
    cdef uint64_t sequence            # under which the entry was found
    cdef uint32_t entry_index
    cdef str name                     # for error texts: "ring 'frames' of region 'robot'"
    cdef tuple described              # what identifies it by the entry that it was made from
    cdef uint64_t held                # epoch in which the entry's byte is locked
    cdef Users holders                # handles that have used it
    cdef int64_t uses                 # calls under way and loans, of this epoch
    cdef uint64_t uses_epoch

    cdef int begin(self, Membership membership, entry, str name) except -1
    @cython.final
    cdef int forget_doorbells(self, entry) except -1

    @cython.final
    cdef inline bint is_gone(self) noexcept nogil:
        """Whether the object was removed. The caller knows that the region is not closed."""
        return not memlane_entry_stands(self.entry, self.sequence)

    @cython.final
    cdef inline bint is_gone_now(self) noexcept nogil:
        """The same behind a copy by one who has not entered, and in the second look of a sleeper."""
        return not memlane_entry_stands_ordered(self.entry, self.sequence)

    @cython.final
    cdef inline bint is_held(self) noexcept nogil:
        """Whether the memory is this object's for as long as nobody here lets go: then it may be written to."""
        return memlane_fork_is(self.held)

    @cython.final
    cdef int enter(self, uint64_t *counted_in, const bint *closed, object handle) except -1
    @cython.final
    cdef int hold(self) except -1
    @cython.final
    cdef void leave(self, uint64_t *counted_in) noexcept
    @cython.final
    cdef bint is_in_use(self) noexcept nogil

    @cython.final
    cdef inline uint64_t pin(self) except 0:
        """As `Membership.pin`, and keep the lock."""
        cdef uint64_t epoch = self.membership.pin()
        with cython.critical_section(self):
            if self.uses_epoch != epoch:
                self.uses_epoch, self.uses = epoch, 0
            self.uses += 1
        return epoch

    @cython.final
    cdef inline void unpin(self, uint64_t epoch) noexcept:
        if memlane_fork_is(epoch):
            self.uses -= 1
            if self.uses == 0 and memlane_fork_is(self.held) and (self.holders.is_empty() or self.is_gone()):
                self.let_go()
        self.membership.unpin(epoch)

    @cython.final
    cdef inline uint64_t pin_loan(self) except 0:
        """As `Membership.pin_loan`, and keep the lock."""
        self.membership.mapping.keep()
        return self.pin()

    @cython.final
    cdef inline void unpin_loan(self, uint64_t epoch) noexcept:
        cdef Membership membership = self.membership
        self.unpin(epoch)
        membership.mapping.let_go()

    @cython.final
    cdef void notice(self) noexcept
    @cython.final
    cdef void let_go(self) noexcept
    cdef void forget_roles(self) noexcept
    @cython.final
    cdef object refuse_gone(self)


ctypedef Opened (*opened_maker)(Membership membership, object entry)
cdef Opened opened_of(Membership membership, entry, str kind, opened_maker make)
