# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.core cimport (
    memlane_descriptor, memlane_lane, memlane_lane_control, memlane_ring_control,
    memlane_ring_shape, memlane_status,
)
from memlane._core.membership cimport Membership
from memlane._core.opened cimport Opened
from memlane._core.os cimport memlane_guarded
from memlane._core.runtime cimport memlane_bell
from memlane._core.waiting cimport Doorbell


cdef class RingState(Opened):
    cdef memlane_guarded *guarded     # that of the region
    cdef memlane_ring_shape shape
    cdef memlane_ring_control *control
    cdef unsigned char *address
    cdef uint64_t offset
    cdef bint many                    # consumers
    cdef tuple described              # what identifies it by the entry that it was made from
    cdef Doorbell doorbell            # of the consumers
    cdef memlane_bell *bells          # of the lanes, to wake their producers
    cdef void *consumers              # the tags of many consumers; NULL: there is one
    cdef uint32_t peer_tag            # a consumer that lived when it was last asked for; 0: none
    cdef uint64_t peer_until_ns       # until when nobody asks again

    cdef int begin_ring(self, Membership membership, entry) except -1
    cdef int64_t holds_from(self, uint32_t lane, uint64_t s, uint64_t end, uint32_t *tags) noexcept
    cdef list pids_of(self, const uint32_t *tags)

    @cython.final
    cdef inline memlane_lane_control *lane_control(self, uint32_t lane) noexcept nogil:
        return <memlane_lane_control *>(self.address + sizeof(memlane_ring_control)) + lane

    @cython.final
    cdef inline void lane_at(self, uint32_t lane, memlane_lane *view) noexcept nogil:
        cdef unsigned char *data = self.address + self.shape.data_offset + lane * self.shape.data_nbytes
        view.control = self.lane_control(lane)
        view.descriptors = <memlane_descriptor *>data
        view.bytes = data + self.shape.bytes_offset
        view.capacity = self.shape.capacity
        view.records = self.shape.records
        view.mask = self.shape.descriptors - 1
        view.many = self.many

    cdef void wake_consumers(self, uint32_t times) noexcept
    cdef void wake_producer(self, uint32_t lane, uint32_t times) noexcept
    cdef void wake_producers(self) noexcept
    cdef object refuse(self, memlane_status status, uint64_t nbytes)
    cdef bint consumers_are_gone(self, bint asks_for_all) except -1
    cdef bint peer_has_left(self) noexcept nogil
    cdef void wake_for_departure(self) noexcept
    cdef bint peer_is_known(self) noexcept nogil
    cdef bint is_there(self, uint32_t tag) noexcept
    cdef object refuse_unread(self)
    cdef object shut_down(self, bint immediate, Endpoint handle)
    cdef int wake_all(self) except -1
    cdef uint64_t length(self) except? 0


cdef class Endpoint:
    cdef RingState state
    cdef bint _closed
    cdef uint64_t sends               # epoch in which it was counted among the users of a ProducerRole
    cdef uint64_t receives            # ... of the ConsumerRole
    cdef uint64_t opens               # ... of the RingState, if it may write there
    cdef int wait
    cdef bint require_peer            # of every call

    cdef int lead_to(self, RingState state, object wait, bint require_peer) except -1
    cdef int check(self) except -1

    @cython.final
    cdef inline RingState state_of(self):
        if self._closed:
            self.check()
        self.state.membership.check_whole()
        return self.state

    @cython.final
    cdef RingState state_there(self)
    @cython.final
    cdef int require_still_open(self) except -1
    cdef void leave_roles(self) noexcept
    cdef void give_roles_back(self) noexcept
