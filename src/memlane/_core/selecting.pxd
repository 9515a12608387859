# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.membership cimport Membership, Waiting
from memlane._core.opened cimport Opened
from memlane._core.runtime cimport (
    memlane_selecting, memlane_selecting_announce, memlane_selector_interest, memlane_spinning, memlane_wakefd,
)

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events, revents


cdef inline void at_word(memlane_selecting *selecting, void *word, bint announces) noexcept nogil:
    """Announce at a word of waiters, or add it to what the selector is for. The caller has pinned its region."""
    if announces:
        memlane_selecting_announce(selecting, word)
    else:
        selecting.interest |= memlane_selector_interest(<unsigned char *>word - selecting.membership.address)


cdef class Watch:
    cdef object __weakref__
    cdef Opened opened                # what it looks at
    cdef Place place                  # in the table of its region; None: not yet

    cdef int prepare(self) except -1
    cdef bint look(self) except -1
    cdef bint is_due(self) noexcept nogil
    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil


@cython.final
cdef class Place(Waiting):
    cdef object __weakref__
    cdef Membership membership
    cdef Selector selector
    cdef memlane_selecting selecting
    cdef uint64_t epoch               # in which it was taken
    cdef uint32_t next                # the owner that is asked for next, while none is free
    cdef uint64_t round               # of its selector, in which it was armed

    cdef bint take(self) noexcept
    cdef bint arm(self) noexcept
    cdef void give(self) noexcept


@cython.final
cdef class Selector:
    cdef memlane_wakefd wakefd
    cdef memlane_spinning spinning
    cdef dict places                  # weak references to Places, by the id of the membership
    cdef uint64_t round
    cdef bint is_busy                 # a call of this thread waits by it

    cdef int open(self, uint64_t slice_ns) except -1
    cdef Place place_of(self, Membership membership)
    cpdef int lead(self, Watch watch) except -1
    cdef bint arm_one(self, Watch watch, bint whole) noexcept
    cdef list arm_all(self, list watches, bint whole)
    cdef int drain(self) noexcept
    cdef void stir(self) noexcept
    cdef void close(self) noexcept
    cdef object wait_with(self, list watches, list numbers, uint64_t deadline, pollfd *looks)
    cdef list ready_of(self, list watches)
    cdef bint is_announced(self, list watches) noexcept
    cdef int sleep(self, pollfd *looks, Py_ssize_t count, uint64_t now, uint64_t end) except -2
    cdef bint spin(self, list watches, uint64_t deadline) except -1


@cython.final
cdef class Pollable:
    cdef Selector selector
    cdef Watch watch

    cdef int number(self) except -1
    cdef bint rearm(self) noexcept
    cdef void settle(self) noexcept
    cdef void stir(self) noexcept
    cdef void close(self) noexcept


cdef Pollable pollable_of(Pollable known, Watch watch)
