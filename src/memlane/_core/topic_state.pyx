# SPDX-License-Identifier: MIT
"""
Topics: what this process knows of one, and what its publishers and its subscribers need of each other.

TopicState      here: one for all handles of this process
PublisherRole   topic_publisher.pyx: one lease of a lane, shared by the threads of this process
Subscriber      topic_subscriber.pyx: one subscription, with a place of its own
TopicBase, Publisher   topic.pyx: the handles that publish; they lead to a role

A subscriber that sleeps has a bit in the words of `armed`, and a doorbell of its own in its place: behind each commit a
publisher collects the bits and wakes each of them. A publisher that sleeps for room is woken as the producer of a ring is.
"""

from libc.stdint cimport uint32_t, uint64_t

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BACKING_ANONYMOUS, MEMLANE_CLOSED, MEMLANE_ORDER_ALL, memlane_armed_collect,
    memlane_doorbells, memlane_holder_tag, memlane_lane, memlane_lane_close_unleased,
    memlane_lane_control, memlane_place_give, memlane_row_description, memlane_row_is,
    memlane_status, memlane_tag_row, memlane_topic_armed, memlane_topic_armed_words,
    memlane_topic_close_lane, memlane_topic_control, memlane_topic_lay_out,
    memlane_topic_tell_doorbells, memlane_waiters_any,
)
from memlane._core.lanes cimport LanesState
from memlane._core.layout cimport tells_of
from memlane._core.membership cimport Membership
from memlane._core.runtime cimport (
    MEMLANE_DEAD, memlane_bell, memlane_bell_attach, memlane_bell_begin, memlane_bell_post,
    memlane_membership_row, memlane_selecting_wake,
)
from memlane._core.waiting cimport Doorbell, HeldDoorbells

memlane_calls_join(calls_of_process(), globals())

cdef enum:
    # A number of order="all", in front of each payload.
    ORDER_NBYTES = 8

# Of publishes that passed the flag of the end there is one a lane, so more tries meet bytes that no sound program writes.
cdef int CLOSE_TRIES = 8


cdef class TopicState(LanesState):
    """What this process knows of one topic."""

    cdef int begin_topic(self, Membership membership, entry) except -1:
        """Know the topic that *entry* of the directory describes. The caller has pinned the region."""
        cdef memlane_doorbells at_once, later
        cdef unsigned char *address = membership.mapping.address + <uint64_t>entry[2]
        cdef memlane_topic_control *control = <memlane_topic_control *>address
        cdef uint64_t i
        nbytes, geometry = entry[3], entry[4]
        self.begin_lanes(membership, entry, "topic", "publish", "publisher")
        if not memlane_topic_lay_out(&self.shape, geometry[0], geometry[1], geometry[2], geometry[3], geometry[4], geometry[5]):
            self.refuse_geometry()
        memlane_topic_tell_doorbells(&self.shape, &at_once, &later)
        if self.shape.nbytes != nbytes or not tells_of(entry, &at_once, &later):
            self.refuse_geometry()
        self.forget_doorbells(entry)
        self.control = &control.ring
        self.controls = <memlane_lane_control *>(address + sizeof(memlane_topic_control))
        self.lanes, self.capacity, self.records = self.shape.publishers, self.shape.capacity, self.shape.records
        self.mask = self.shape.descriptors - 1
        self.data, self.data_nbytes = address + self.shape.data_offset, self.shape.data_nbytes
        self.bytes_offset = self.shape.bytes_offset
        self.ordered = self.shape.order == MEMLANE_ORDER_ALL
        self.prefix_nbytes = ORDER_NBYTES if self.ordered else 0
        self.topic.control = control
        self.topic.places = address + self.shape.places_offset
        self.topic.place_stride = self.shape.place_stride
        self.topic.subscribers, self.topic.publishers = self.shape.subscribers, self.shape.publishers
        self.armed_words = memlane_topic_armed_words(&self.topic)
        self.make_bells(self.shape.subscribers)
        for i in range(self.shape.subscribers):
            memlane_bell_begin(&self.bells[self.lanes + i], &self.place(i).doorbell, membership.mapping.address)
        return 0

    # Waking runs no Python, so it may stand behind a record that was committed.

    cdef void post(self, uint32_t first, uint64_t armed) noexcept:
        """Wake the subscribers whose bits these are, from place *first* on."""
        cdef HeldDoorbells held = <HeldDoorbells>self.membership.doorbells
        cdef memlane_bell *bell
        cdef uint32_t i
        for i in range(64):
            if armed >> i & 1 and first + i < self.shape.subscribers:
                bell = &self.bells[self.shape.publishers + first + i]
                if self.membership.geometry.backing == MEMLANE_BACKING_ANONYMOUS:
                    made = held.known.get(64 * bell.number)  # attached by its maker alone, before a fork
                    if made is not None:
                        bell = &(<Doorbell>made).bell
                if memlane_bell_attach(bell, &held.semaphores):
                    memlane_bell_post(bell, 1)

    cdef void wake_receivers(self, uint32_t times) noexcept:
        self.wake_subscribers()

    # ---- the end -----------------------------------------------------------------------------------------

    cdef void note_shut_down(self) noexcept:
        self.close_lanes()

    cdef bint close_lanes(self) noexcept:
        """Close all lanes behind their last records, once the flag is up; whether all are closed."""
        cdef memlane_status status
        cdef memlane_lane view
        cdef uint32_t lane
        cdef int tries
        cdef bint closed = True
        for lane in range(self.shape.publishers):
            status = memlane_lane_close_unleased(self.lane_control(lane))
            if status != MEMLANE_CLOSED:
                self.lane_at(lane, &view)
                for tries in range(CLOSE_TRIES):
                    status = memlane_topic_close_lane(&view)
                    if status == MEMLANE_CLOSED:
                        break
                closed = closed and status == MEMLANE_CLOSED
        return closed

    cdef bint evict_dead(self, uint32_t index, uint64_t holder) noexcept:
        """
        Take the place of a subscriber away if it is proven dead; whether it was. The caller has pinned the region, and wakes
        the publishers next.
        """
        return (self.membership.life(memlane_holder_tag(holder)) == MEMLANE_DEAD
                and memlane_place_give(self.place(index), holder))

    cdef str name_of(self, uint32_t tag):
        """What the process of a tag calls itself; "" where its row is another one's by now."""
        cdef uint64_t generation, start_time
        cdef uint32_t pid
        cdef char name[41]
        if memlane_tag_row(tag) >= self.membership.geometry.rows:
            return ""
        memlane_row_description(memlane_membership_row(&self.membership.own, memlane_tag_row(tag)), &pid, &start_time, name)
        if not memlane_row_is(memlane_membership_row(&self.membership.own, memlane_tag_row(tag)), tag, &generation):
            return ""
        return (<bytes>name).decode(errors="replace")
