# SPDX-License-Identifier: MIT
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.core cimport memlane_ring_shape
from memlane._core.lanes cimport LanesState
from memlane._core.membership cimport Membership
from memlane._core.waiting cimport Doorbell


cdef class RingState(LanesState):
    cdef memlane_ring_shape shape
    cdef Doorbell doorbell            # of the consumers
    cdef void *consumers              # the tags of many consumers; NULL: there is one
    cdef uint32_t peer_tag            # a consumer that lived when it was last asked for; 0: none
    cdef uint64_t peer_until_ns       # until when nobody asks again

    cdef int begin_ring(self, Membership membership, entry) except -1
    cdef int64_t holds_from(self, uint32_t lane, uint64_t s, uint64_t end, uint32_t *tags) noexcept
    cdef list pids_of(self, const uint32_t *tags)
    cdef void wake_for_departure(self) noexcept
    cdef bint peer_is_known(self) noexcept nogil
    cdef bint is_there(self, uint32_t tag) noexcept
    cdef uint64_t length(self) except? 0
