# SPDX-License-Identifier: MIT
"""
The handles of a ring, with the verbs that users call. Nothing in Python wraps them.

Ring has every verb, by this process's one default handle of each role: those of Sending, those of Receiving, and what is at
RingBase. Producer and Consumer have those of their role.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_LAPPED, MEMLANE_CLOSED, MEMLANE_EMPTY, MEMLANE_OK, MEMLANE_OWNER_CLOSED,
    MEMLANE_OWNER_DEPARTED, MEMLANE_OWNER_NEVER, MEMLANE_SHUTDOWN_DROP, memlane_extent,
    memlane_lane, memlane_lane_full, memlane_lane_got, memlane_lane_hand, memlane_lane_head, memlane_lane_length,
    memlane_lane_look, memlane_lane_owner, memlane_lane_still_has, memlane_lane_tail,
    memlane_lane_waits_since, memlane_many_redelivered, memlane_many_taken, memlane_peers_at, memlane_ring_leased,
    memlane_ring_shutdown,
    memlane_role_owner, memlane_status, memlane_waiters_count, memlane_words_fetch,
)
from memlane._core.handles cimport LaneHandle, Receiving
from memlane._core.lanes cimport LanesState
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.opened cimport Opened, opened_of
from memlane._core.os cimport memlane_coarse_ns, memlane_guard_is_truncated
from memlane._core.ring_consumer cimport ConsumerRole, HELD_LOOKS_FOR_STATS
from memlane._core.ring_consumer_many cimport many_consumers
from memlane._core.ring_consumer_one cimport one_consumer
from memlane._core.ring_producer cimport ProducerRole
from memlane._core.ring_state cimport RingState
from memlane._core.waiting cimport CLOCK, know_clock

memlane_calls_join(calls_of_process(), globals())


@cython.final
cdef class OpenRing(RingState):
    """What this process has open of one ring: its state, and the two roles that all handles share."""

    cdef ProducerRole sending         # the one behind Ring.put
    cdef ConsumerRole receiving

    @staticmethod
    cdef Opened make(Membership membership, entry):
        cdef OpenRing made = OpenRing.__new__(OpenRing)
        made.begin_ring(membership, entry)
        made.sending = ProducerRole.__new__(ProducerRole, made)
        made.receiving = many_consumers(made) if made.many else one_consumer(made)
        return made

    cdef void forget_roles(self) noexcept:
        self.receiving.epoch = EPOCH_CLOSED

    cdef int64_t holds_from(self, uint32_t lane, uint64_t s, uint64_t end, uint32_t *tags) noexcept:
        return self.receiving.holds_from(lane, s, end, tags)

    cdef dict stats(self):
        """Pinned, since looking for the living may let another thread close the ring."""
        cdef uint64_t pinned = self.pin()
        try:
            found = self.pinned_stats()
            if self.is_gone_now():
                self.refuse_gone()
            return found
        finally:
            self.unpin(pinned)

    cdef list competing(self):
        """Those of many consumers that there are, and those that have records in hand. The caller has pinned the region."""
        cdef memlane_lane view
        cdef uint64_t s, looks = HELD_LOOKS_FOR_STATS
        cdef uint32_t lane, row, tag
        cdef dict hands = {}
        if not self.many:
            return []
        for row in range(self.membership.geometry.rows):
            tag = memlane_peers_at(self.consumers, row)
            if tag:
                hands[tag] = 0
        for lane in range(memlane_ring_leased(self.control, self.shape.lanes)):
            if memlane_lane_owner(self.lane_control(lane)) == MEMLANE_OWNER_NEVER:
                continue
            self.lane_at(lane, &view)
            s = memlane_lane_head(&view)
            while looks and <int64_t>(memlane_many_taken(&view) - s) > 0:
                tag = memlane_lane_hand(&view, s)
                if tag:
                    hands[tag] = hands.get(tag, 0) + 1
                s += 1
                looks -= 1
        return [{"consumer": ("dead", "alive", "unknown")[self.membership.life(tag)], "pid": self.membership.pid_of(tag),
                 "loans": count} for tag, count in hands.items()]

    cdef dict pinned_stats(self):
        cdef memlane_lane view
        cdef uint32_t lane, owner
        cdef uint64_t steps = HELD_LOOKS_FOR_STATS, since, now
        cdef bint is_dropped
        know_clock()
        is_dropped = memlane_ring_shutdown(self.control) == MEMLANE_SHUTDOWN_DROP  # nobody will get what is left
        lanes = []
        for lane in range(memlane_ring_leased(self.control, self.shape.lanes)):
            self.lane_at(lane, &view)
            owner = memlane_lane_owner(view.control)
            named = {MEMLANE_OWNER_NEVER: "never leased", MEMLANE_OWNER_DEPARTED: "departed",
                     MEMLANE_OWNER_CLOSED: "closed"}.get(owner)
            if named is None:
                named = ("dead", "alive", "unknown")[self.membership.life(owner)]
            since = 0
            if owner != MEMLANE_OWNER_NEVER and not is_dropped:
                with nogil:
                    since = memlane_lane_waits_since(&view, CLOCK, &steps)
            now = memlane_coarse_ns()
            lanes.append({
                "lane": lane, "producer": named,
                "pid": self.membership.pid_of(owner) if owner > MEMLANE_OWNER_CLOSED else None,
                "put": memlane_lane_tail(&view), "got": memlane_lane_got(&view),
                "records": 0 if is_dropped else memlane_lane_length(&view),
                # One that is to come is spoilt.
                "oldest_age": (now - since) / 1e9 if 0 < since <= now else None,
                "times_full": memlane_lane_full(&view),
                "waiting_producers": memlane_waiters_count(&view.control.waiters),
                "loans": 0 if owner == MEMLANE_OWNER_NEVER else self.receiving.loans_in(lane, &steps)})
        owner = memlane_role_owner(&self.control.consumer)
        return {
            "capacity": self.shape.capacity, "max_records": self.shape.records, "producers": self.shape.lanes,
            "records": self.length(), "lanes": lanes,
            "loans": None if None in (loans := [found["loans"] for found in lanes]) else sum(loans), "consumers": "many" if self.many else "one",
            "oldest_age": max([found["oldest_age"] for found in lanes if found["oldest_age"] is not None], default=None),
            "times_full": sum([found["times_full"] for found in lanes]),
            "waiting_producers": sum([found["waiting_producers"] for found in lanes]),
            "waiting_consumers": memlane_waiters_count(&self.control.waiters),
            "redelivered": memlane_many_redelivered(self.control),
            "competing": self.competing(),
            "consumer": ("dead", "alive", "unknown")[self.membership.life(owner)] if owner else None,
            "consumer_pid": self.membership.pid_of(owner) if owner else None,
            "shutdown": ("no", "drain", "immediate")[memlane_ring_shutdown(self.control)],
        }

    cdef tuple look(self, list positions, uint64_t most, uint64_t most_nbytes):
        """As RingBase._look. Pinned, since another thread may close the ring while bytes are copied."""
        cdef uint64_t pinned = self.pin()
        try:
            found = self.pinned_look(positions, most, most_nbytes)
            if memlane_guard_is_truncated(self.guarded):
                self.membership.check_whole()  # then what was copied may be zeros
            if self.is_gone_now():
                self.refuse_gone()
            return found
        finally:
            self.unpin(pinned)

    cdef tuple pinned_look(self, list positions, uint64_t most, uint64_t most_nbytes):
        cdef memlane_lane view
        cdef memlane_extent extent
        cdef memlane_status status
        cdef uint32_t lane
        cdef uint64_t s, head, tail, steps, nbytes = 0, missed = 0
        cdef char *to
        cdef bint is_whole, is_first = positions is None
        records, reached = [], [0] * memlane_ring_leased(self.control, self.shape.lanes)
        for lane in range(<uint32_t>len(reached)):
            # One that came since the last look is shown from its beginning.
            s = positions[lane] if not is_first and lane < <uint32_t>len(positions) else 0
            if memlane_lane_owner(self.lane_control(lane)) == MEMLANE_OWNER_NEVER:
                continue
            self.lane_at(lane, &view)
            if is_first:
                head, tail = memlane_lane_head(&view), memlane_lane_tail(&view)
                # Behind a committed one, as lane_look.h asks: all below `tail` are, and all below `head`.
                s = head if <int64_t>(tail - head) <= 0 else tail - min(most, tail - head)
            # Bounded, however fast others are: the next look goes on there.
            for steps in range(view.mask + 1):
                status = memlane_lane_look(&view, s, &extent)
                if status == MEMLANE_LAPPED:
                    head = memlane_lane_head(&view)
                    head = head if <int64_t>(head - s) > 0 else s + 1  # released out of order
                    if not is_first:
                        missed += head - s
                    s = head
                elif status == MEMLANE_OK:
                    if records and nbytes + extent.nbytes > most_nbytes:
                        break
                    record = PyBytes_FromStringAndSize(NULL, extent.nbytes)
                    to = PyBytes_AS_STRING(record)
                    with nogil:
                        memlane_words_fetch(to, view.bytes + extent.offset, extent.nbytes)
                        is_whole = memlane_lane_still_has(&view, s)
                    if is_whole:
                        records.append((lane, s, record))
                        nbytes += extent.nbytes
                        s += 1
                elif status == MEMLANE_EMPTY or status == MEMLANE_CLOSED:
                    break
                else:
                    self.refuse(status, 0)
            reached[lane] = s
        return records, reached, missed


cdef class Sending(LaneHandle):
    """The verbs of a producer."""

    @cython.final
    cdef ProducerRole sending_of(self):
        if self._closed:
            self.check()
        return <ProducerRole>self.sending

    def put(self, record, *, timeout=None, bint require_peer=False):
        """
        Copy one record into the ring, waiting while there is no room.

        Takes a lane at first use. Records of one producer come out in the order of their puts; threads that
        had to wait go in the order they came. Other threads run while it waits; Ctrl-C interrupts it.

        Args:
            record: Any contiguous buffer, 0 to `max_record` bytes. Copied before the call returns.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.
            require_peer: Do not put what nobody will get, and do not wait for room that nobody will make, once the
                consumers there were are gone. Before the first one came nobody is: then it puts, and waits.

        Raises:
            Full: there was no room within *timeout*; the ring is unchanged.
            ShutDown: the ring was shut down.
            PeerGoneError: asked for by *require_peer*: there were consumers, and all have died or left.
            RecordTooLargeError: *record* can never fit.
            RoleTakenError: every lane was taken by a live producer until the end of *timeout*; None waits for one.
            OSError: no memory left for the lane (ENOSPC, at first use).
            ClosedError: this process closed the handle or the region.
            BufferError, TypeError: *record* is no contiguous buffer, or one with Python objects in it.
        """
        self.sending_of().put(self, record, timeout, require_peer | self.require_peer)

    def put_nowait(self, record):
        """`put(record, timeout=0)`: raises Full at once where there is no room."""
        self.sending_of().put(self, record, 0, self.require_peer)

    def put_many(self, records, *, timeout=None, bint require_peer=False):
        """
        Copy many records in, as few batches as there is room for; each batch becomes visible at once.

        Args:
            records: An iterable of contiguous buffers; all are checked before the first one goes in.
            timeout: Longest wait in seconds for all of them together.
            require_peer: As in `put`.

        Returns:
            How many went in: all of them, or fewer at the deadline, if the ring was shut down meanwhile, or if *require_peer*
            found nobody left.

        Raises:
            Full: not even one went in within *timeout*.
            ShutDown, PeerGoneError, RecordTooLargeError, RoleTakenError, OSError, ClosedError, BufferError, TypeError: as
                `put`.
        """
        return self.sending_of().insert_many(self, records, timeout, require_peer | self.require_peer)

    def reserve(self, nbytes, *, timeout=None, bint require_peer=False):
        """
        Claim room for one record of up to *nbytes* bytes, to be written in place (zero copy).

        The other side sees nothing before the commit. One claim a lane: other threads' puts wait for its end, a
        second one by the same thread is a RuntimeError.

        Returns:
            A Reservation, with the buffer protocol. `with` commits it at the end, and aborts it on an exception.

        Raises:
            RuntimeError: this thread has a claim open on this lane.
            Full, ShutDown, PeerGoneError, RecordTooLargeError, RoleTakenError, OSError, ClosedError: as `put`.
        """
        return self.sending_of().reserve(self, nbytes, timeout, require_peer | self.require_peer)

    def reserve_array(self, shape, dtype, *, timeout=None, bint require_peer=False):
        """
        Claim room for one record that is an array, to be filled in place (zero copy).

        `with ring.reserve_array(shape, dtype) as array:` commits at the end. The record is the bytes of the array, in C order,
        and nothing else: a consumer gives shape and dtype again, to `record.array`.

        Returns:
            An ArrayReservation, whose `with` gives the array.

        Raises:
            TypeError, ValueError: shape or dtype is none, or has Python objects in it.
            ImportError: there is no numpy.
            As `reserve` otherwise.
        """
        return self.sending_of().reserve_array(self, shape, dtype, timeout, require_peer | self.require_peer)


cdef class RingBase(Sending):
    """What a ring does without going through Python, but for the verbs of Receiving, which its class has as another base."""

    @cython.final
    cdef OpenRing ring_there(self):
        """As `state_there`."""
        return <OpenRing>self.state_there()

    def _bind(self, Membership membership not None, entry, *, wait, require_peer):
        """Make this a handle of the ring that *entry* of the directory describes."""
        cdef OpenRing ring = opened_of(membership, entry, "ring", OpenRing.make)
        self.bind(ring, wait, require_peer)
        self.sending, self.receiving = ring.sending, ring.receiving

    def _set_wait(self, wait, require_peer):
        """Wait in another way from now on."""
        self.bind(self.state, wait, require_peer)

    def _detach(self):
        """Refuse new work; give back what this handle was the last to use. Doing it twice does nothing."""
        self.detach()

    def _make_producer(self, producer_class):
        """A handle of its own lane, not leased yet."""
        cdef Producer producer = producer_class.__new__(producer_class)
        self.check()
        producer.bind(self.state, "adaptive", self.require_peer)
        producer.wait = self.wait
        producer.sending = ProducerRole.__new__(ProducerRole, self.state)
        return producer

    def _make_consumer(self, consumer_class):
        """A handle of the consumer's role, which all such handles of this process share."""
        cdef Consumer consumer = consumer_class.__new__(consumer_class)
        self.check()
        consumer.bind(self.state, "adaptive", self.require_peer)
        consumer.wait, consumer.receiving = self.wait, self.receiving
        return consumer

    def shutdown(self, immediate=False):
        """
        Bring the ring to its end, for all processes and for good.

        Puts raise ShutDown from now on, waiting ones too. Gets go on until everything is drained, then raise
        ShutDown; iteration ends. Never waits.

        Args:
            immediate: What is left is dropped unseen.

        Raises:
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
        cdef bint drop = immediate  # may be Python, so it comes before the check
        self.check()
        self.state.shut_down(drop, self)

    def __len__(self):
        """
        Records put and not yet got, at some moment just past; 0 once the ring is shut down with immediate=True. With
        consumers="one" a record on loan still counts, until it is released; with "many" it does not.
        """
        return self.ring_there().length()

    @property
    def is_shut_down(self):
        """Whether somebody has called `shutdown`: nothing can be put any more, though there may be records to get."""
        return memlane_ring_shutdown(self.state_there().control) != 0

    @property
    def capacity(self):
        """Bytes of records that each producer's lane can hold."""
        return self.state_there().capacity

    @property
    def max_records(self):
        """How many records each producer's lane can hold."""
        return self.state_there().records

    @property
    def max_record(self):
        """Bytes of the largest record that can ever fit."""
        return self.state_there().max_record()

    @property
    def producers(self):
        """How many producers there can be at a time."""
        return self.state_there().lanes

    def _look(self, positions, most, most_nbytes):
        """
        Copy records that nobody has released yet, without taking any: nobody waits for it, and nobody hears of it. For tools.

        Args:
            positions: What the look before told, to go on behind it; None: at the last *most* records of each lane.
            most: How many of each lane a first look is to see, about.
            most_nbytes: About how many bytes to copy at most.

        Returns:
            A list of (lane, number, bytes), lane by lane; the positions; how many records were released unseen, or
            overwritten while they were copied, since the look before.

        Raises:
            CorruptedError: a lane is corrupted.
            ClosedError: this process closed the handle.
        """
        cdef uint64_t count = most, nbytes = most_nbytes
        known = None if positions is None else list(positions)
        return self.ring_there().look(known, count, nbytes)

    def _traffic(self, positions):
        """
        Tell what was put since a look before, joining nothing. For tools.

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

    def stats(self):
        """
        Tell what is going on: capacity, records waiting, and for each lane in use its producer and how many records
        were put and got. A snapshot, as plain dicts and lists.

        `loans` are the records that consumers have in hand and have not released, of each lane and in all: with
        consumers="many" those of all processes. What the one consumer has in hand only its process knows: elsewhere they
        are None. They are None, too, where a lane has too many records to look at.

        `competing` are the consumers with consumers="many": each with its state, its pid, and how many records it has in
        hand; one whose process has died is there until another one meets what it left.

        `oldest_age` are the seconds that the oldest record waits, at least, of each lane and the largest in all: to about
        10 ms, without the time that the machine was suspended. None: there is none, or it is not known, as of records
        from before a reboot. `times_full` counts the puts and reserves that found no room. `waiting_producers` and
        `waiting_consumers` are the calls that sleep; one whose process was killed counts until the next one is woken.
        After an immediate shutdown no records wait, whatever was left.

        Raises:
            ClosedError: this process closed the handle.
        """
        return self.ring_there().stats()


@cython.final
cdef class Producer(Sending):
    """
    A handle of one producer's role: a lane of its own, taken at first use. Made by `Ring.producer()`.

    Its threads may share it. Pickled, it becomes a handle without a lane. Given back by `close`, or as a context
    manager; what was put stays.

    Attributes:
        ring: The ring that it belongs to.
    """

    cdef object __weakref__
    cdef public object ring

    def __init__(self, *_arguments, **_keywords):
        raise TypeError("a Producer is made by ring.producer(), not by calling the class")

    def fileno(self):
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be room for a put, or the end.

        It is as that of `Ring.fileno`, and stays readable until a put of this handle ends in Full. Takes a lane, as the first
        put does.

        Raises:
            RoleTakenError: every lane is taken by a live producer.
            ShutDown: the ring was shut down.
            OSError: no descriptor can be had, or no memory for the lane.
            ClosedError: this process closed the handle or the region.
        """
        return self.number_for_room()

    def close(self):
        """Give the lane back; its records stay, the next producer goes on behind them. Never fails."""
        self.detach()

    def __enter__(self):
        self.check()
        return self

    def __exit__(self, *_error):
        self.close()

    @property
    def _goes_with(self):
        """By which close it may be closed, too, of what, and what to do then: for errors."""
        return "ring", self.ring, "make another one with ring.producer()"

    def __reduce__(self):
        return _producer_of, (self.ring,)

    def __del__(self):
        self.detach()


@cython.final
cdef class Consumer(Receiving):
    """
    A handle of the consumer's role, which all such handles of one process share. Made by `Ring.consumer()`.

    The role is taken at first use, and given back when the last handle that used it is closed. Pickled, it becomes a
    handle without the role. The verbs are those of a ring.

    Attributes:
        ring: The ring that it belongs to.
    """

    cdef object __weakref__
    cdef public object ring

    def __init__(self, *_arguments, **_keywords):
        raise TypeError("a Consumer is made by ring.consumer(), not by calling the class")

    def close(self):
        """Refuse new work; the role goes with the last handle and the last loan. Never fails."""
        self.detach()

    def __enter__(self):
        self.check()
        return self

    def __exit__(self, *_error):
        self.close()

    @property
    def _goes_with(self):
        """As of Producer."""
        return "ring", self.ring, "make another one with ring.consumer()"

    def __reduce__(self):
        return _consumer_of, (self.ring,)

    def __del__(self):
        self.detach()


def _producer_of(ring):
    return ring.producer()


def _consumer_of(ring):
    return ring.consumer()
