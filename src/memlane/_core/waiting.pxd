# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.mapping cimport Mapping
from memlane._core.membership cimport Doorbells, Membership
from memlane._core.runtime cimport memlane_bell, memlane_semaphores, memlane_spinning, memlane_waiting

cdef dict WAITS
cdef uint64_t CLOCK
cdef int know_clock() except -1


cdef class HeldDoorbells(Doorbells):
    cdef readonly dict known
    cdef public Mapping anchor
    cdef Membership membership
    cdef memlane_semaphores semaphores
    cdef dict _making

    cdef Doorbell bell_at(self, uint64_t offset)
    cpdef object make(self, Doorbell bell)
    cdef void let_go(self) noexcept


@cython.final
cdef class Doorbell:
    cdef memlane_bell bell
    cdef HeldDoorbells held
    cdef Membership membership

    cdef bint attach(self) noexcept
    cdef int prepare(self) except -1
    cdef void wake(self, void *count, uint32_t times) noexcept
    cdef void wake_sleepers(self, void *count, uint32_t times) noexcept
    cdef void post(self) noexcept


cdef Doorbell doorbell_of(Membership membership, void *shared)
cdef void wake_at(Membership membership, memlane_bell *bell, void *count, uint32_t times) noexcept


cdef class Sleep:
    cdef memlane_waiting waiting

    cdef void begin(self, uint64_t deadline, memlane_spinning *spinning) noexcept
    cdef bint is_due(self) noexcept nogil
    cdef bint spin(self, int wait) noexcept
    cdef void nap(self, void *count, Doorbell bell) noexcept
    cdef void poll(self) noexcept
    cdef bint is_over(self) noexcept nogil
