# SPDX-License-Identifier: MIT
"""
The handles of a topic, with the verbs that users call. Nothing in Python wraps them.

TopicBase has the verbs of Publishing, by this process's one default publisher; Publisher has a lane of its own. Subscriber has
those of Receiving.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

import memlane._arguments as _arguments
from memlane._core.opened import closed_error

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_OK, MEMLANE_ORDER_ALL, MEMLANE_OWNER_CLOSED, MEMLANE_OWNER_DEPARTED, MEMLANE_OWNER_NEVER,
    MEMLANE_PLACE_EVICTED, MEMLANE_PLACE_FREE, MEMLANE_PLACE_JOINING, MEMLANE_PLACE_OVERWRITE, MEMLANE_PLACE_WAIT,
    MEMLANE_POLICY_WAIT, memlane_extent, memlane_extent_of, memlane_holder_state, memlane_holder_tag, memlane_lane,
    memlane_lane_full, memlane_lane_head, memlane_lane_length, memlane_lane_owner,
    memlane_lane_tail, memlane_place, memlane_place_holder, memlane_place_is_at,
    memlane_place_loans, memlane_place_moved, memlane_ring_leased, memlane_ring_shutdown,
    memlane_subscriber_lag, memlane_topic_evicted, memlane_topic_joined, memlane_waiters_count,
)
from memlane._core.handles cimport LaneHandle, Receiving
from memlane._core.lanes cimport Endpoint, LanesState
from memlane._core.mapping cimport finalizing
from memlane._core.membership cimport Membership
from memlane._core.opened cimport Opened, opened_of
from memlane._core.os cimport memlane_coarse_ns, memlane_fork_is, memlane_monotonic_ns
from memlane._core.topic_publisher cimport PublisherRole
from memlane._core.topic_state cimport TopicState
from memlane._core.topic_subscriber cimport Subscription, last_records

memlane_calls_join(calls_of_process(), globals())


@cython.final
cdef class OpenTopic(TopicState):
    """What this process has open of one topic: its state, and the publisher that all handles share."""

    cdef PublisherRole sending

    @staticmethod
    cdef Opened make(Membership membership, entry):
        cdef OpenTopic made = OpenTopic.__new__(OpenTopic)
        made.begin_topic(membership, entry)
        made.sending = PublisherRole.__new__(PublisherRole, made)
        return made

    cdef dict stats(self):
        """Pinned, since looking for the living may let another thread close the topic."""
        cdef uint64_t pinned = self.pin()
        try:
            found = self.pinned_stats()
            self.membership.check_whole()
            if self.is_gone_now():
                self.refuse_gone()
            return found
        finally:
            self.unpin(pinned)

    cdef dict pinned_stats(self):
        cdef memlane_lane view
        cdef uint32_t lane, owner, index, tag
        cdef uint64_t holder, lag, nbytes, moved, now, at, loans, kept = 0
        cdef memlane_place *place
        cdef memlane_extent first, last
        cdef uint32_t leased = memlane_ring_leased(self.control, self.shape.publishers)
        lanes, subscriptions = [], []
        for lane in range(leased):
            self.lane_at(lane, &view)
            owner = memlane_lane_owner(view.control)
            named = {MEMLANE_OWNER_NEVER: "never leased", MEMLANE_OWNER_DEPARTED: "departed",
                     MEMLANE_OWNER_CLOSED: "closed"}.get(owner)
            if named is None:
                named = ("dead", "alive", "unknown")[self.membership.life(owner)]
            kept += memlane_lane_length(&view)
            lanes.append({
                "lane": lane, "publisher": named,
                "pid": self.membership.pid_of(owner) if owner > MEMLANE_OWNER_CLOSED else None,
                "published": memlane_lane_tail(&view), "overwritten": memlane_lane_head(&view),
                "kept": memlane_lane_length(&view), "times_full": memlane_lane_full(&view),
                "waiting_publishers": memlane_waiters_count(&view.control.waiters)})
        for index in range(memlane_topic_joined(&self.topic)):
            place = self.place(index)
            holder = memlane_place_holder(place)
            if memlane_holder_state(holder) == MEMLANE_PLACE_FREE:
                continue
            tag, lag, nbytes, loans = memlane_holder_tag(holder), 0, 0, 0
            for lane in range(leased):
                self.lane_at(lane, &view)
                if memlane_lane_owner(view.control) == MEMLANE_OWNER_NEVER:
                    continue
                at = max(memlane_place_is_at(place, lane), memlane_lane_head(&view))
                loans += memlane_place_loans(place, lane)
                if 0 < memlane_lane_tail(&view) - at <= self.shape.records:
                    lag += memlane_lane_tail(&view) - at
                    if (memlane_extent_of(&view, at, &first) == MEMLANE_OK
                            and memlane_extent_of(&view, memlane_lane_tail(&view) - 1, &last) == MEMLANE_OK):
                        nbytes += (last.offset + last.nbytes - first.offset if last.offset >= first.offset
                                   else self.shape.capacity - first.offset + last.offset + last.nbytes)
            moved, now = memlane_place_moved(place), memlane_coarse_ns()
            subscriptions.append({
                "subscription": index, "subscriber": ("dead", "alive", "unknown")[self.membership.life(tag)],
                "pid": self.membership.pid_of(tag), "name": self.name_of(tag),
                "when_full": {MEMLANE_PLACE_JOINING: "joining", MEMLANE_PLACE_WAIT: "wait", MEMLANE_PLACE_OVERWRITE: "overwrite",
                              MEMLANE_PLACE_EVICTED: "evicted"}.get(memlane_holder_state(holder), "unknown"),
                "records": lag, "bytes": nbytes, "seconds": (now - moved) / 1e9 if 0 < moved <= now else None, "loans": loans})
        return {
            "capacity": self.shape.capacity, "max_records": self.shape.records, "publishers": self.shape.publishers,
            "subscribers": self.shape.subscribers, "order": "all" if self.ordered else "publisher",
            "when_full": "wait" if self.shape.policy == MEMLANE_POLICY_WAIT else "overwrite",
            "kept": kept, "published": sum([found["published"] for found in lanes]), "lanes": lanes,
            "subscriptions": subscriptions, "evicted": memlane_topic_evicted(&self.topic),
            "times_full": sum([found["times_full"] for found in lanes]),
            "waiting_publishers": sum([found["waiting_publishers"] for found in lanes]),
            "shutdown": ("no", "drain", "immediate")[memlane_ring_shutdown(self.control)],
        }


cdef class Publishing(LaneHandle):
    """The verbs of a publisher."""

    @cython.final
    cdef PublisherRole sending_of(self):
        if self._closed:
            self.check()
        return <PublisherRole>self.sending

    def publish(self, record, *, timeout=None):
        """
        Copy one record into the topic: every subscription sees it. Waits only for subscriptions with when_full="wait" that
        are a whole lane behind.

        Takes a lane at first use. Threads that had to wait go in the order they came. Other threads run while it waits;
        Ctrl-C interrupts it.

        Args:
            record: Any contiguous buffer, 0 to `max_record` bytes. Copied before the call returns.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Raises:
            Full: subscriptions that are waited for made no room within *timeout*; nothing was published. Its `laggards` name
                them.
            ShutDown: the topic was shut down.
            RecordTooLargeError: *record* can never fit.
            RoleTakenError: every lane was taken by a live publisher until the end of *timeout*; None waits for one.
            OSError: no memory left for the lane (ENOSPC, at first use).
            PermissionError: the topic is open read-only.
            ClosedError: this process closed the handle or the region.
            BufferError, TypeError: *record* is no contiguous buffer, or one with Python objects in it.
        """
        self.sending_of().publish(self, record, timeout)

    def publish_nowait(self, record):
        """`publish(record, timeout=0)`: raises Full at once where a subscription would be waited for."""
        self.sending_of().publish(self, record, 0)

    def publish_many(self, records, *, timeout=None):
        """
        Copy many records in, as few batches as there is room for; each batch becomes visible at once.

        Args:
            records: An iterable of contiguous buffers; all are checked before the first one goes in.
            timeout: Longest wait in seconds for all of them together.

        Returns:
            How many went in: all of them, or fewer at the deadline, or if the topic was shut down meanwhile.

        Raises:
            Full: not even one went in within *timeout*.
            As `publish` otherwise.
        """
        return self.sending_of().insert_many(self, records, timeout, False)

    def reserve(self, nbytes, *, timeout=None):
        """
        Claim room for one record of up to *nbytes* bytes, to be written in place (zero copy).

        Subscriptions see nothing before the commit. One claim a lane: other threads' publishes wait for its end, a
        second one by the same thread is a RuntimeError.

        Returns:
            A Reservation, with the buffer protocol. `with` commits it at the end, and aborts it on an exception.

        Raises:
            RuntimeError: this thread has a claim open on this lane.
            Full, ShutDown, RecordTooLargeError, RoleTakenError, OSError, PermissionError, ClosedError: as `publish`.
        """
        return self.sending_of().reserve(self, nbytes, timeout, False)

    def reserve_array(self, shape, dtype, *, timeout=None):
        """
        Claim room for one record that is an array, to be filled in place (zero copy).

        `with topic.reserve_array(shape, dtype) as array:` commits at the end. The record is the bytes of the array, in C order,
        and nothing else: a subscriber gives shape and dtype again, to `record.array`.

        Returns:
            An ArrayReservation, whose `with` gives the array.

        Raises:
            TypeError, ValueError: shape or dtype is none, or has Python objects in it.
            ImportError: there is no numpy.
            As `reserve` otherwise.
        """
        return self.sending_of().reserve_array(self, shape, dtype, timeout, False)


cdef class TopicBase(Publishing):
    """What a topic does without going through Python."""

    @cython.final
    cdef OpenTopic topic_there(self):
        """As `state_there`."""
        return <OpenTopic>self.state_there()

    def _bind(self, Membership membership not None, entry, *, wait):
        """Make this a handle of the topic that *entry* of the directory describes."""
        cdef OpenTopic topic = opened_of(membership, entry, "topic", OpenTopic.make)
        self.bind(topic, wait, False)
        self.sending = topic.sending

    def _detach(self):
        """Refuse new work; give back what this handle was the last to use. Doing it twice does nothing."""
        self.detach()

    def _make_publisher(self, publisher_class):
        """A handle of its own lane, not leased yet."""
        cdef Publisher publisher = publisher_class.__new__(publisher_class)
        self.check()
        publisher.bind(self.state, "adaptive", False)
        publisher.wait = self.wait
        publisher.sending = PublisherRole.__new__(PublisherRole, self.state)
        return publisher

    def _make_subscriber(self, start, bint waited_for, uint64_t evict_after_ns, bint raises_on_loss, bint joins):
        """A subscription, which joins now or at its first use."""
        cdef Subscriber subscriber = Subscriber.__new__(Subscriber)
        cdef Subscription role = Subscription.__new__(Subscription, self.state)
        self.check()
        role.ask_for(start, waited_for, evict_after_ns, raises_on_loss)
        subscriber.bind(self.state, "adaptive", False)
        subscriber.wait, subscriber.receiving, subscriber.topic = self.wait, role, self
        if joins:
            role.begin(subscriber)
        return subscriber

    @property
    def _identity(self):
        """What positions of this topic begin with."""
        cdef LanesState state = self.state_there()
        return (state.membership.geometry.region_id * 31 + state.entry_index * 7 + state.sequence) & 0xFFFFFFFF

    def peek(self, most):
        """
        Copy the last records, without joining: nobody waits for it, and nobody hears of it.

        Returns:
            A list of new bytes, the oldest first: with order="all" the last *most* of all; else the last *most* of each
            publisher, one publisher after the other.

        Raises:
            ClosedError: this process closed the handle.
        """
        cdef uint64_t count = _arguments.positive(most, "most", 1 << 30)
        return last_records(self.topic_there(), count)

    def _traffic(self, positions):
        """
        Tell what was published since a look before, joining nothing. For tools.

        Args:
            positions: What the look before told; an empty list: since the beginning.

        Returns:
            The positions now, the number of records, and their bytes: exact for up to 4,096 records of a lane, of more by the
            mean of the youngest.

        Raises:
            ClosedError: this process closed the handle.
        """
        cdef LanesState state
        known = list(positions)
        state = self.state_there()
        return state.traffic(known)

    def shutdown(self, immediate=False):
        """
        Bring the topic to its end, for all processes and for good.

        Publishes raise ShutDown from now on, waiting ones too. Subscriptions go on until they have got everything, then raise
        ShutDown; iteration ends. Never waits.

        Args:
            immediate: Subscriptions end at once, whatever is left.

        Raises:
            PermissionError: the topic is open read-only.
            ClosedError: this process closed the handle.
        """
        cdef bint drop = immediate  # may be Python, so it comes before the check
        self.check()
        self.state.shut_down(drop, self)

    @property
    def is_shut_down(self):
        """Whether somebody has called `shutdown`: nothing can be published any more, though there may be records to get."""
        return memlane_ring_shutdown(self.state_there().control) != 0

    @property
    def capacity(self):
        """Bytes of records that each publisher's lane can hold."""
        return self.state_there().capacity

    @property
    def max_records(self):
        """How many records each publisher's lane can hold."""
        return self.state_there().records

    @property
    def max_record(self):
        """Bytes of the largest record that can ever fit."""
        return self.state_there().max_record()

    @property
    def publishers(self):
        """How many publishers there can be at a time."""
        return self.state_there().lanes

    @property
    def subscribers(self):
        """How many subscriptions there can be at a time, but for those of read-only processes, which have no limit."""
        return self.topic_there().shape.subscribers

    @property
    def order(self):
        """In which order a subscription gets records of several publishers: "publisher" or "all"."""
        return "all" if self.topic_there().shape.order == MEMLANE_ORDER_ALL else "publisher"

    @property
    def when_full(self):
        """What a subscription does that does not choose: "overwrite" or "wait"."""
        return "wait" if self.topic_there().shape.policy == MEMLANE_POLICY_WAIT else "overwrite"

    def stats(self):
        """
        Tell what is going on, as plain dicts and lists: a snapshot.

        `lanes` are those in use: the publisher of each, how many records it has published, and how many of them can be got
        still (`kept`). `subscriptions` are those with a place: pid and name of the process, what it does when the topic is
        full, by how many records and bytes it is behind, the seconds since it last told of its moves (it does once in a
        quarter of a lane, and when it finds nothing), and how many records it has on loan. Those of read-only processes are
        not listed. `evicted` counts evictions; `times_full` publishes that had to wait.

        Raises:
            ClosedError: this process closed the handle.
        """
        return self.topic_there().stats()


@cython.final
cdef class Publisher(Publishing):
    """
    A handle of one publisher: a lane of its own, taken at first use. Made by `Topic.publisher()`.

    Its threads may share it. Pickled, it becomes a handle without a lane. Given back by `close`, or as a context
    manager; what was published stays.

    Attributes:
        topic: The topic that it belongs to.
    """

    cdef object __weakref__
    cdef public object topic

    def __init__(self, *_arguments, **_keywords):
        raise TypeError("a Publisher is made by topic.publisher(), not by calling the class")

    def fileno(self):
        """
        Return a descriptor for select, poll, epoll and event loops: readable when a publish may find room, or the end.

        It is of this handle in this process alone, non-blocking and close-on-exec; `close` closes it. It is readable from the
        first on, and no longer once a publish of this handle has ended in Full; then again when the subscriptions that were
        waited for have moved. It is readable for nothing now and then, ten times a second at the most. Takes a lane, as the
        first publish does.

        Raises:
            RoleTakenError: every lane is taken by a live publisher.
            ShutDown: the topic was shut down.
            OSError: no descriptor can be had, or no memory for the lane.
            ClosedError: this process closed the handle or the region.
        """
        return self.number_for_room()

    def close(self):
        """Give the lane back; its records stay, the next publisher goes on behind them. Never fails."""
        self.detach()

    def __enter__(self):
        self.check()
        return self

    def __exit__(self, *_error):
        self.close()

    @property
    def _goes_with(self):
        """By which close it may be closed, too, of what, and what to do then: for errors."""
        return "topic", self.topic, "make another one with topic.publisher()"

    def __reduce__(self):
        return _publisher_of, (self.topic,)

    def __del__(self):
        self.detach()


def _publisher_of(topic):
    return topic.publisher()


@cython.final
cdef class Subscriber(Receiving):
    """
    A subscription of a topic: it sees every record that is published from its start on. Made by `Topic.subscribe`.

    A context manager; threads may share it. In a forked child, and where it was pickled to, it is a subscription of its
    own, which begins at its first use there.

    Attributes:
        topic: The topic that it belongs to.
    """

    cdef object __weakref__
    cdef readonly object topic

    def __init__(self, *_arguments, **_keywords):
        raise TypeError("a Subscriber is made by topic.subscribe(), not by calling the class")

    def __del__(self):
        if not finalizing():
            self.detach()

    cdef int check(self) except -1:
        if self._closed or self.state is None:
            raise closed_error(self, "a subscription" if self.state is None else f"a subscription of {self.state.name}")
        if (<Subscription>self.receiving).is_over:
            (<Subscription>self.receiving).refuse_over()
        return Endpoint.check(self)

    @property
    def lost(self):
        """
        How many records were overwritten before this subscription got them: the exact number, since it began. A get counts
        what it passes, so those that are gone in front of the next get are not in it yet.
        """
        cdef Subscription role = <Subscription>self.receiving
        cdef uint64_t lost = 0
        cdef uint32_t lane
        self.check()
        for lane in range(role.count):
            lost += role.lanes[lane].lost
        return lost

    @property
    def lag(self):
        """How many records there are for this subscription to get, at some moment just past."""
        cdef Subscription role = <Subscription>self.receiving
        cdef uint64_t lag = 0
        cdef uint32_t lane
        self.check()
        if not memlane_fork_is(role.epoch):
            return 0
        for lane in range(memlane_ring_leased(self.state.control, self.state.lanes)):
            lag += memlane_subscriber_lag(&role.lanes[lane])
        return lag

    @property
    def position(self):
        """
        Where this subscription is: what `subscribe(start=...)` goes on from, in whatever process and however late. An int if
        the topic has one publisher, else a short text; it can be printed, pickled and stored.
        """
        cdef Subscription role = <Subscription>self.receiving
        cdef uint32_t lane
        self.check()
        if not memlane_fork_is(role.epoch):
            role.begin(self)
        return self.topic._position_of([
            role.next_of(lane) for lane in range(memlane_ring_leased(self.state.control, self.state.lanes))])

    def stalled(self, after):
        """
        Whether publishers are silent: there is nothing to get, and nothing has come for *after* seconds, as far as this
        subscription has looked; or there were publishers, and none of them lives.

        Raises:
            ClosedError: this process closed the handle, or the subscription was evicted.
        """
        cdef uint64_t now = memlane_monotonic_ns(), pinned
        cdef Subscription role = <Subscription>self.receiving
        cdef double seconds = _arguments.timeout(after, "after", "")
        self.check()
        pinned = self.state.pin()
        try:
            role.prepare(self)
            if role.any_record():
                role.silent_since = 0
                return False
            if role.silent_since == 0:
                role.silent_since = now
            return now - role.silent_since >= seconds * 1e9 or self.state.senders_are_gone()
        finally:
            self.state.unpin(pinned)

    def close(self):
        """Give the place back; loans keep what they need until they are released. Never fails."""
        self.detach()

    def __enter__(self):
        self.check()
        return self

    def __exit__(self, *_error):
        self.close()

    @property
    def _goes_with(self):
        """As of Publisher."""
        return "topic", self.topic, "subscribe again with topic.subscribe()"

    def __reduce__(self):
        cdef Subscription role = <Subscription>self.receiving
        return _subscriber_of, (self.topic, role.start, bool(role.waited_for), role.evict_after_ns, bool(role.raises_on_loss))


def _subscriber_of(topic, start, waited_for, evict_after_ns, raises_on_loss):
    return topic._subscribe(start, waited_for, evict_after_ns, raises_on_loss, False)
