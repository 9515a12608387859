# SPDX-License-Identifier: MIT
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport (
    memlane_many, memlane_queue_control, memlane_queue_lane, memlane_queue_shape,
)
from memlane._core.membership cimport Membership
from memlane._core.objects cimport Codec
from memlane._core.ring_state cimport RingState
from memlane._core.waiting cimport Doorbell


cdef class QueueState(RingState):
    cdef memlane_queue_shape queue_shape
    cdef memlane_queue_control *queue_control
    cdef memlane_queue_lane *growths  # of the lanes
    cdef void *hands                  # how many tasks each participant has in hand
    cdef memlane_many *views          # of the lanes, for sums over all of them
    cdef Codec codec                  # for copies: that of the directory; its functions are of each handle
    cdef uint64_t soft                # bytes of a lane that go round while records flow
    cdef Doorbell putters_doorbell, joiners_doorbell

    cdef int begin_queue(self, Membership membership, entry) except -1
    cdef void wake_putters(self, uint32_t times) noexcept
    cdef void wake_joiners(self) noexcept
    cdef bint tidy(self, uint32_t lane, uint64_t spare) noexcept nogil
    cdef int tidy_all(self) except -1
    cdef bint is_all_done(self) noexcept nogil
