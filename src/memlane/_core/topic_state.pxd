# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport (
    memlane_armed_collect, memlane_descriptor, memlane_lane, memlane_lane_control, memlane_place,
    memlane_place_of, memlane_status, memlane_topic, memlane_topic_armed, memlane_topic_control,
    memlane_topic_shape, memlane_waiters_any,
)
from memlane._core.membership cimport Membership
from memlane._core.opened cimport Opened
from memlane._core.os cimport memlane_guarded
from memlane._core.runtime cimport memlane_bell, memlane_selecting_wake


cdef class TopicState(Opened):
    cdef memlane_guarded *guarded     # that of the region
    cdef unsigned char *address
    cdef uint64_t offset              # in the region
    cdef memlane_topic_shape shape
    cdef memlane_topic_control *control
    cdef memlane_topic topic          # the same for src/core
    cdef bint ordered                 # order="all"
    cdef uint32_t armed_words
    cdef tuple described              # what identifies it by the entry that it was made from
    cdef memlane_bell *bells          # of the lanes, to wake their publishers, then of the places

    cdef int begin_topic(self, Membership membership, entry) except -1
    cdef object refuse_geometry(self)

    @cython.final
    cdef inline memlane_lane_control *lane_control(self, uint32_t lane) noexcept nogil:
        return <memlane_lane_control *>(self.address + sizeof(memlane_topic_control)) + lane

    @cython.final
    cdef inline void lane_at(self, uint32_t lane, memlane_lane *view) noexcept nogil:
        cdef unsigned char *data = self.address + self.shape.data_offset + lane * self.shape.data_nbytes
        view.control = self.lane_control(lane)
        view.descriptors = <memlane_descriptor *>data
        view.bytes = data + self.shape.bytes_offset
        view.capacity = self.shape.capacity
        view.records = self.shape.records
        view.mask = self.shape.descriptors - 1
        view.many = False

    @cython.final
    cdef inline memlane_place *place(self, uint32_t index) noexcept nogil:
        return memlane_place_of(&self.topic, index)

    @cython.final
    cdef inline void wake_subscribers(self) noexcept:
        """All that sleep, behind a commit. Runs no Python."""
        cdef uint32_t word
        cdef uint64_t armed
        for word in range(self.armed_words):
            armed = memlane_armed_collect(memlane_topic_armed(&self.topic, 64 * word))
            if armed:
                self.post(64 * word, armed)
        if memlane_waiters_any(&self.control.ring.waiters):
            memlane_selecting_wake(&self.membership.own, &self.control.ring.waiters)

    cdef void post(self, uint32_t first, uint64_t armed) noexcept
    cdef void wake_publisher(self, uint32_t lane, uint32_t times) noexcept
    cdef void wake_publishers(self) noexcept
    cdef int wake_all(self) except -1
    cdef uint64_t max_record(self) noexcept
    cdef object refuse(self, memlane_status status, uint64_t nbytes)
    cdef int shut_down(self, bint immediate) except -1
    cdef bint close_lanes(self) noexcept
    cdef bint bury(self, uint32_t index, uint64_t holder) noexcept
    cdef str name_of(self, uint32_t tag)
    cdef bint publishers_are_gone(self) noexcept


cdef class TopicHandle:
    cdef TopicState state
    cdef bint _closed
    cdef uint64_t opens               # epoch in which it was counted among the users of the TopicState, if it may write there
    cdef uint64_t sends               # ... of a PublisherRole
    cdef int wait

    cdef int lead_to(self, TopicState state, object wait) except -1
    cdef int check(self) except -1

    @cython.final
    cdef inline TopicState state_of(self):
        if self._closed:
            self.check()
        self.state.membership.check_whole()
        return self.state

    @cython.final
    cdef TopicState state_there(self)
    @cython.final
    cdef int require_still_open(self) except -1
    cdef void leave_roles(self) noexcept
    cdef void give_roles_back(self) noexcept
