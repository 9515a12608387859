# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint64_t

from memlane._core.opened cimport Opened
from memlane._core.os cimport memlane_fork_is


@cython.no_gc
cdef class Loan:
    cdef object __weakref__
    cdef Opened lender                # the object that the bytes are of
    cdef unsigned char *address
    cdef uint64_t nbytes
    cdef Py_ssize_t exports           # views that live
    cdef uint64_t pinned
    cdef bint is_open                 # not ended by its user
    cdef bint is_held                 # the lender keeps the bytes for it
    cdef bint is_writable

    @cython.final
    cdef inline int begin(self, Opened lender, unsigned char *address, uint64_t nbytes) except -1:
        self.lender, self.address, self.nbytes = lender, address, nbytes
        self.pinned = lender.pin_loan()
        self.is_open = self.is_held = True
        return 0

    @cython.final
    cdef inline int end(self) except -1:
        """Behind the last view: give the bytes back, once."""
        if not self.is_held:
            return 0
        self.is_held = False
        # A forked child has a copy of the parent's loan, which is not its to give back.
        if memlane_fork_is(self.pinned):
            self.give_bytes_back()
        self.lender.unpin_loan(self.pinned)
        return 0

    @cython.final
    cdef inline int close(self) except -1:
        """Ended by its user: give the bytes back now, or behind the last view."""
        self.is_open = False
        if self.exports == 0:
            self.end()
        return 0

    @cython.final
    cdef inline int check_open(self) except -1:
        if not self.is_open:
            self.refuse_closed()
        return 0

    @cython.final
    cdef inline int check(self) except -1:
        self.check_open()
        return self.lender.membership.check_whole()

    @cython.final
    cdef inline int export_ended(self) except -1:
        self.exports -= 1
        if self.exports == 0 and not self.is_open:
            self.end()
        return 0

    cdef void give_bytes_back(self) noexcept
    cdef void note_dropped(self) noexcept
    cdef object refuse_closed(self)
    cdef str word(self)
