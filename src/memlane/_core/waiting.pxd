# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport memlane_doorbell
from memlane._core.mapping cimport Mapping
from memlane._core.membership cimport Doorbells, Membership
from memlane._core.os cimport memlane_guarded

cdef enum:
    # A sleeper looks again after this long at the latest: the bound for whatever a killed process swallowed.
    SLICE_NS = 100000000
    # A ringer leaves at most this many tokens at once, whatever a hostile count says.
    POSTS_MAX = 1024

cdef enum:
    WAIT_ADAPTIVE = 0
    WAIT_SPIN = 1
    WAIT_SLEEP = 2

cdef dict WAITS
cdef uint64_t CLOCK
cdef int know_clock() except -1
cdef void count_slept(uint64_t began) noexcept


@cython.final
cdef class Doorbell:
    cdef memlane_doorbell *record
    cdef void *semaphore
    cdef bint opened              # by name, so it is to be closed
    cdef memlane_guarded *guarded # the page of one that was opened
    cdef Membership membership

    cdef void *address(self) noexcept nogil
    cdef void ring(self, uint32_t times) noexcept nogil


cdef class HeldDoorbells(Doorbells):
    cdef readonly dict known
    cdef public Mapping anchor
    cdef Membership membership

    cdef void let_go(self) noexcept


cdef Doorbell doorbell_at(Membership membership, void *record, bint make)
cdef bint ring_waiters(Doorbell bell, void *count, uint32_t times) noexcept


@cython.final
cdef class Spinning:
    cdef uint64_t budget_ns

    cdef uint64_t limit(self, int wait) noexcept nogil
    cdef bint goes_on(self, uint64_t began, uint64_t limit) noexcept nogil
    cdef void learn(self, bint found) noexcept nogil
    cdef void learn_sleep(self, bint woken, uint64_t slept_ns) noexcept nogil


cdef class Sleep:
    cdef uint64_t deadline
    cdef uint64_t pause
    cdef Spinning spinning

    cdef bint is_due(self) noexcept nogil
    cdef void announce(self, void *at) noexcept nogil
    cdef void withdraw(self, void *at, bint woken) noexcept nogil
    cdef bint spin(self, int wait) except -1
    cdef int nap(self, void *at, Doorbell bell) except -1
    cdef uint64_t slice_end(self) noexcept nogil
    cdef bint is_over(self) noexcept nogil
    cdef bint doze(self, void *semaphore) noexcept nogil
