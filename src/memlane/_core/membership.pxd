# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.core cimport memlane_entry, memlane_header, memlane_row
from memlane._core.mapping cimport Mapping, check_whole
from memlane._core.os cimport (
    memlane_fork_epoch, memlane_fork_is, memlane_guard_is_truncated, memlane_guarded,
)
from memlane._core.runtime cimport memlane_life, memlane_membership

cdef extern from "runtime/membership.h":
    # No process ever has this epoch: what is marked with it is closed, or was never prepared.
    const uint64_t EPOCH_CLOSED "MEMLANE_EPOCH_CLOSED"

cdef enum:
    # Dead owners proven in one slice, so that a look costs a bounded number of system calls: MEMLANE_PROBES_A_STEP.
    PROBES_A_SLICE = 8

cdef object epoch_lock(dict locks, kind=*)


@cython.final
cdef class Users:
    cdef uint64_t epoch
    cdef int64_t count

    cdef void add(self, uint64_t *counted_in) noexcept

    @cython.final
    cdef inline bint is_empty(self) noexcept:
        return self.count == 0 or not memlane_fork_is(self.epoch)

    cdef bint remove(self, uint64_t *counted_in) noexcept


cdef class Doorbells:
    cdef void let_go(self) noexcept


cdef class Waiting:
    cdef void stir(self) noexcept


cdef class Membership:
    cdef Mapping mapping
    cdef memlane_guarded *guarded     # that of the mapping
    cdef memlane_header *geometry     # a private copy, checked; apart, for Python aligns objects to 16 bytes only
    cdef memlane_header *shared
    cdef memlane_membership own       # of src/runtime: row, tag, descriptors
    cdef uint64_t _born               # epoch in which this was made
    cdef readonly bint readonly
    cdef readonly str name            # for error texts: "region 'robot'"
    cdef readonly object path         # of the file, for errors of reserving; None for memory
    cdef int64_t _pins                # calls under way and loans, of this epoch
    cdef uint64_t _pins_epoch
    cdef bint _closing
    cdef readonly bint closed
    cdef readonly int64_t handles     # Region objects of this process that lead here
    cdef public str found_at          # a name of the file, to open it again where /proc is missing; None: it has none
    cdef public Doorbells doorbells  # finds the semaphores of this region: memlane._region.semaphores
    cdef public bint sole             # the region was made for one object, which bears its name
    cdef dict _joining, _creating
    cdef readonly dict roles          # endpoints that all handles of this process share, by what they are
    cdef dict waits                   # weak references to what waits by a descriptor, by their ids
    cdef object __weakref__

    cdef uint32_t own_tag(self) except 0
    cdef int _join(self, uint32_t start, uint64_t start_time, bytes name, bytes path) except -1
    cdef object _join_error(self, int error)
    cdef object _refuse_row(self)
    cdef bint _has_base(self) noexcept
    cdef memlane_life life(self, uint32_t tag) noexcept
    cdef object pid_of(self, uint32_t tag)
    cdef object refuse_truncated(self)

    @cython.final
    cdef inline int check_whole(self) except -1:
        """Raise TruncatedError if any access so far has met a missing page. After each use of the memory."""
        if memlane_guard_is_truncated(self.guarded):
            self.refuse_truncated()
        return 0

    cdef void stir_waits(self) noexcept
    cdef void _let_row_go(self) noexcept
    cdef uint64_t entry_at(self, uint64_t index, memlane_entry *entry, bint *sound) noexcept
    cdef uint64_t _add_entry(self, bytes name, uint32_t kind, uint64_t nbytes, tuple geometry, bytes schema,
            uint64_t reserved_nbytes, object initialize, str parts, str or_less, tuple doorbells) except 0
    cdef uint64_t _find_room(self, bytes name, uint64_t nbytes, uint64_t *index, str parts, str or_less) except? 0
    cdef str _say_waiting(self, uint64_t waiting)
    cdef uint64_t free_removed(self) except? 0
    cdef int _clear(self, uint64_t offset, uint64_t nbytes) except -1
    cdef int reserve(self, uint64_t offset, uint64_t nbytes) except -1
    cdef object _base_lost(self)
    cdef void give_back(self, uint64_t offset, uint64_t nbytes) noexcept

    @cython.final
    cdef inline void notice_fork(self) noexcept nogil:
        """
        In a child that a raw clone made without hooks: close what it inherited, which keeps its parent alive.
        For calls that would not find out by themselves, since they need neither a row nor a lock.
        """
        if not memlane_fork_is(self._born):
            memlane_fork_epoch()

    cdef int _check_open(self) except -1

    @cython.final
    cdef inline uint64_t pin(self) except 0:
        """
        Keep row, roles and memory for a call under way; returns what unpin wants back. A forked child begins
        to count anew: the calls of the parent's other threads never end in it.
        """
        cdef uint64_t epoch = memlane_fork_epoch()
        with cython.critical_section(self):
            if not self.closed:
                if self._pins_epoch != epoch:
                    self._pins_epoch, self._pins = epoch, 0
                self._pins += 1
                return epoch
        self.refuse_closed()

    @cython.final
    cdef inline void unpin(self, uint64_t epoch) noexcept:
        cdef bint last = False
        with cython.critical_section(self):
            if memlane_fork_is(epoch):
                self._pins -= 1
                if self._closing and self._pins == 0 and not self.closed:
                    self.closed = last = True
        if last:
            self._let_everything_go()

    @cython.final
    cdef inline uint64_t pin_loan(self) except 0:
        """
        Keep them for a loan, or for a call with Python in its midst. A child that is forked meanwhile keeps the memory,
        but not the row.
        """
        cdef uint64_t pinned = self.pin()
        self.mapping.keep()
        return pinned

    @cython.final
    cdef inline void unpin_loan(self, uint64_t epoch) noexcept:
        self.unpin(epoch)
        self.mapping.let_go()

    cdef object refuse_closed(self)
    cdef uint64_t pin_open(self) except 0
    cdef void _let_everything_go(self) noexcept


@cython.final
cdef class Handle:
    cdef readonly Membership membership


@cython.final
cdef class Pinned:
    cdef Membership membership
    cdef uint64_t epoch               # of the pin, 0: there is none

    cdef void let_go(self) noexcept
