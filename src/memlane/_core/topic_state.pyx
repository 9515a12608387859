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

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.opened import closed_error
from memlane.errors import ClosedError, CorruptedError, Empty, RecordTooLargeError, ShutDown

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BACKING_ANONYMOUS, MEMLANE_BUSY, MEMLANE_CLOSED, MEMLANE_CORRUPTED, MEMLANE_EMPTY,
    MEMLANE_ORDER_ALL, MEMLANE_OWNER_CLOSED, MEMLANE_RECORD_MAX, MEMLANE_SHUTDOWN_DRAIN,
    MEMLANE_SHUTDOWN_DROP, MEMLANE_TOO_LARGE, memlane_armed_collect, memlane_doorbells,
    memlane_holder_tag, memlane_lane, memlane_lane_close_unleased, memlane_lane_owner,
    memlane_max_record, memlane_place_give, memlane_ring_leased, memlane_ring_shut,
    memlane_row_description, memlane_row_is, memlane_status, memlane_tag_row, memlane_topic_armed, memlane_topic_armed_words, memlane_topic_close_lane,
    memlane_topic_control, memlane_topic_lay_out, memlane_topic_tell_doorbells,
    memlane_waiters_any, memlane_waiters_any_fenced,
)
from memlane._core.layout cimport tells_of
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.opened cimport Opened, description_of
from memlane._core.runtime cimport (
    MEMLANE_DEAD, MEMLANE_POSTS_MAX, memlane_bell, memlane_bell_attach, memlane_bell_begin,
    memlane_bell_end, memlane_bell_post, memlane_membership_row,
)
from memlane._core.waiting cimport Doorbell, HeldDoorbells, WAITS, wake_at

memlane_calls_join(calls_of_process(), globals())

# A number of order="all", in front of each payload.
cdef uint64_t ORDER_NBYTES = 8

# Of publishes that passed the flag of the end there is one a lane, so more tries meet bytes that no sound program writes.
cdef int CLOSE_TRIES = 8


cdef class TopicState(Opened):
    """What this process knows of one topic."""

    cdef int begin_topic(self, Membership membership, entry) except -1:
        """Know the topic that *entry* of the directory describes. The caller has pinned the region."""
        cdef memlane_doorbells at_once, later
        cdef uint64_t i, lanes
        name, _, self.offset, nbytes, geometry = entry[:5]
        self.begin(membership, entry, membership.called("topic", name))
        self.described = description_of(entry)
        if not memlane_topic_lay_out(&self.shape, geometry[0], geometry[1], geometry[2], geometry[3], geometry[4], geometry[5]):
            self.refuse_geometry()
        memlane_topic_tell_doorbells(&self.shape, &at_once, &later)
        if self.shape.nbytes != nbytes or not tells_of(entry, &at_once, &later):
            self.refuse_geometry()
        self.forget_doorbells(entry)
        self.guarded = membership.guarded
        self.address = membership.mapping.address + self.offset
        self.control = <memlane_topic_control *>self.address
        self.ordered = self.shape.order == MEMLANE_ORDER_ALL
        self.topic.control = self.control
        self.topic.places = self.address + self.shape.places_offset
        self.topic.place_stride = self.shape.place_stride
        self.topic.subscribers, self.topic.publishers = self.shape.subscribers, self.shape.publishers
        self.armed_words = memlane_topic_armed_words(&self.topic)
        lanes = self.shape.publishers
        self.bells = <memlane_bell *>PyMem_Malloc((lanes + self.shape.subscribers) * sizeof(memlane_bell))
        if self.bells == NULL:
            raise MemoryError()
        for i in range(lanes):
            memlane_bell_begin(&self.bells[i], &self.lane_control(i).doorbell, membership.mapping.address)
        for i in range(self.shape.subscribers):
            memlane_bell_begin(&self.bells[lanes + i], &self.place(i).doorbell, membership.mapping.address)
        return 0

    cdef object refuse_geometry(self):
        raise CorruptedError(f"the geometry of {self.name} contradicts itself; unlink the region and create it again",
                             name=self.membership.name)

    def __dealloc__(self):
        cdef uint64_t i
        if self.bells != NULL:
            for i in range(self.shape.publishers + self.shape.subscribers):
                memlane_bell_end(&self.bells[i])
            PyMem_Free(self.bells)

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

    cdef void wake_publisher(self, uint32_t lane, uint32_t times) noexcept:
        wake_at(self.membership, &self.bells[lane], &self.lane_control(lane).waiters, times)

    cdef void wake_publishers(self) noexcept:
        """One publish of each lane that waits, behind what may have made room. The caller has pinned the region."""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(&self.control.ring, self.shape.publishers)):
            if memlane_waiters_any_fenced(&self.lane_control(lane).waiters):
                self.wake_publisher(lane, 1)

    cdef int wake_all(self) except -1:
        """Every call that sleeps, for good: the topic was shut down or removed."""
        cdef uint32_t lane
        self.wake_subscribers()
        for lane in range(self.shape.publishers):
            if memlane_waiters_any(&self.lane_control(lane).waiters):
                self.wake_publisher(lane, MEMLANE_POSTS_MAX)
        return 0

    cdef uint64_t max_record(self) noexcept:
        cdef memlane_lane lane
        self.lane_at(0, &lane)
        return memlane_max_record(&lane) - (ORDER_NBYTES if self.ordered else 0)

    cdef object refuse(self, memlane_status status, uint64_t nbytes):
        """Raise what a status means: the one place where one becomes Python."""
        self.membership.check_whole()  # whatever it looks like then, it is that
        if status == MEMLANE_EMPTY:
            raise Empty(f"{self.name} has nothing new; publish some records, or wait with a longer timeout")
        if status == MEMLANE_CLOSED:
            raise ShutDown(f"{self.name} was shut down")
        if status == MEMLANE_TOO_LARGE:
            most = self.max_record()
            if nbytes > MEMLANE_RECORD_MAX:
                raise RecordTooLargeError(
                    f"record of {nbytes} bytes exceeds {MEMLANE_RECORD_MAX} (4 GiB - 8), the most that a record of any topic can "
                    f"have; publish it in {self.name} in parts", nbytes=nbytes, max_record=most)
            raise RecordTooLargeError(f"record of {nbytes} bytes exceeds max_record={most} of {self.name}; create the topic with a "
                                      "larger capacity", nbytes=nbytes, max_record=most)
        if status == MEMLANE_CORRUPTED:
            raise CorruptedError(f"{self.name} holds bytes that no sound program writes; unlink the region and "
                                 "create it again", name=self.membership.name)
        raise ClosedError(f"this process was taken for dead in {self.name}: its descriptors had been closed; "
                          "open the region again")

    # ---- the end -----------------------------------------------------------------------------------------

    cdef int shut_down(self, bint immediate) except -1:
        """The caller has pinned the region and entered."""
        memlane_ring_shut(&self.control.ring, MEMLANE_SHUTDOWN_DROP if immediate else MEMLANE_SHUTDOWN_DRAIN)
        self.close_lanes()
        self.wake_all()
        self.membership.check_whole()
        return 0

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

    cdef bint bury(self, uint32_t index, uint64_t holder) noexcept:
        """
        Take the place of a subscriber away if it is proven dead; whether it was. The caller has pinned the region, and wakes
        the publishers next.
        """
        return (self.membership.life(memlane_holder_tag(holder)) == MEMLANE_DEAD
                and memlane_place_give(self.place(index), holder))

    cdef bint publishers_are_gone(self) noexcept:
        """Whether there were publishers, and every one of them has left or is proven dead."""
        cdef uint32_t lane, owner, leased = memlane_ring_leased(&self.control.ring, self.shape.publishers)
        for lane in range(leased):
            owner = memlane_lane_owner(self.lane_control(lane))
            if owner > MEMLANE_OWNER_CLOSED and self.membership.life(owner) != MEMLANE_DEAD:
                return False
        return leased > 0

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


cdef class TopicHandle:
    """What all handles have: the topic they lead to, whether they are closed, how they wait."""

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.sends = self.opens = EPOCH_CLOSED

    cdef int lead_to(self, TopicState state, object wait) except -1:
        if wait not in WAITS:
            raise ValueError(f"wait must be one of {', '.join(map(repr, WAITS))}, got {wait!r}")
        self.wait = WAITS[wait]
        self.state = state
        self._closed = False
        return 0

    cdef int check(self) except -1:
        if self._closed or self.state is None:
            raise closed_error(self, "a topic" if self.state is None else self.state.name)
        if not self.state.membership.closed and self.state.is_gone():
            self.state.refuse_gone()
        return 0

    @cython.final
    cdef TopicState state_there(self):
        """As `state_of`, for what needs no role: it must not answer for a topic that was removed."""
        self.check()
        return self.state_of()

    @cython.final
    cdef int require_still_open(self) except -1:
        """As of the handles of a ring: behind what counts this handle among the users of a role."""
        if self._closed:
            self.give_roles_back()
            self.check()
        return 0

    cdef void leave_roles(self) noexcept:
        """Refuse new work; give back what this handle was the last to use."""
        if self._closed:
            return
        self._closed = True
        self.give_roles_back()

    cdef void give_roles_back(self) noexcept:
        self.state.leave(&self.opens)

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    def __bool__(self):
        return True
