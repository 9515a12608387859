# SPDX-License-Identifier: MIT
"""
The handles of a ring, with the verbs that users call. Nothing in Python wraps them.

RingBase has every verb, by this process's one default handle of each role; Producer and Consumer have those
of their role. The texts stand at RingBase.
"""

cimport cython
from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t, uint32_t, uint64_t

import memlane._arguments as _arguments
import memlane._processes as _processes
from memlane.errors import Empty, PeerGoneError, ShutDown

from memlane._core.arguments cimport FOREVER, check_timeout, contiguous, deadline_of
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_OWNER_CLOSED, MEMLANE_OWNER_DEPARTED, MEMLANE_OWNER_NEVER, MEMLANE_SHUTDOWN_DROP,
    memlane_lane, memlane_lane_end, memlane_lane_full, memlane_lane_got, memlane_lane_length,
    memlane_lane_owner, memlane_lane_tail, memlane_lane_waits_since, memlane_many_redelivered,
    memlane_ring_leased, memlane_ring_shutdown, memlane_role_owner, memlane_waiters_count,
)
from memlane._core.files cimport Descriptor
from memlane._core.lanes cimport Endpoint
from memlane._core.loan cimport Loans
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.opened cimport Opened, opened_of
from memlane._core.os cimport memlane_coarse_ns, memlane_fork_is, memlane_monotonic_ns
from memlane._core.ring_consumer cimport (
    ConsumerRole, HELD_LOOKS_FOR_STATS, MOST_RECORDS, Record, TAKE_INTO, TAKE_LOAN, TAKE_ONE,
)
from memlane._core.ring_consumer_many cimport many_consumers
from memlane._core.ring_consumer_one cimport one_consumer
from memlane._core.ring_producer cimport ProducerRole
from memlane._core.ring_state cimport RingState
from memlane._core.runtime cimport MEMLANE_SLICE_NS
from memlane._core.waiting cimport CLOCK, know_clock

memlane_calls_join(calls_of_process(), globals())

# While records come one after the other, the processes whose end is waited for are asked for after so many: some
# milliseconds at the least, against the microsecond of asking.
cdef uint32_t ASK_AFTER_RECORDS = 1024


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
            "consumer": ("dead", "alive", "unknown")[self.membership.life(owner)] if owner else None,
            "consumer_pid": self.membership.pid_of(owner) if owner else None,
            "shutdown": ("no", "drain", "immediate")[memlane_ring_shutdown(self.control)],
        }


cdef class RingHandle(Endpoint):
    """What all handles of a ring have: it, and the consumer's role of this process."""

    cdef OpenRing shared
    cdef ConsumerRole receiving

    cdef ProducerRole producer_role(self):
        return None

    @cython.final
    cdef OpenRing ring_there(self):
        """As `state_there`."""
        self.state_there()
        return self.shared

    @cython.final
    cdef ConsumerRole receiving_of(self):
        self.state_of()
        return self.receiving

    @cython.final
    cdef int lead_to_ring(self, OpenRing ring, object wait, bint require_peer) except -1:
        self.bind(ring, wait, require_peer)
        self.shared, self.receiving = ring, ring.receiving
        return 0

    cdef void give_roles_back(self) noexcept:
        cdef ProducerRole sending = self.producer_role()
        if sending is not None:
            if sending.users.remove(&self.sends):
                sending.depart()
            elif memlane_fork_is(sending.epoch) and not self.state.membership.closed:
                sending.wake_sleepers()  # a put of this handle may sleep there
        if self.receiving.users.remove(&self.receives):
            self.receiving.leave()
        self.state.leave(&self.opens)


cdef class Sending(RingHandle):
    """The verbs of a producer."""

    cdef ProducerRole sending

    cdef ProducerRole producer_role(self):
        return self.sending

    @cython.final
    cdef ProducerRole sending_of(self):
        if self._closed:
            self.check()
        return self.sending

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


cdef class RingBase(Sending):
    """What a ring does without going through Python: every verb of both roles."""

    def _lead_to(self, Membership membership not None, entry, *, wait, require_peer):
        """Make this a handle of the ring that *entry* of the directory describes."""
        cdef OpenRing ring = opened_of(membership, entry, "ring", OpenRing.make)
        self.lead_to_ring(ring, wait, require_peer)
        self.sending = ring.sending

    def _set_wait(self, wait, require_peer):
        """Wait in another way from now on."""
        self.lead_to_ring(self.shared, wait, require_peer)

    def _leave(self):
        """Refuse new work; give back what this handle was the last to use. Doing it twice does nothing."""
        self.detach()

    def _make_producer(self, producer_class):
        """A handle of its own lane, not leased yet."""
        cdef Producer producer = producer_class.__new__(producer_class)
        self.check()
        producer.lead_to_ring(self.shared, "adaptive", self.require_peer)
        producer.wait = self.wait
        producer.sending = ProducerRole.__new__(ProducerRole, self.state)
        return producer

    def _make_consumer(self, consumer_class):
        """A handle of the consumer's role, which all such handles of this process share."""
        cdef Consumer consumer = consumer_class.__new__(consumer_class)
        self.check()
        consumer.lead_to_ring(self.shared, "adaptive", self.require_peer)
        consumer.wait = self.wait
        return consumer

    # The consumer's verbs stand twice, here and in Consumer: an extension type has one base.

    def get(self, *, timeout=None, require_peer=False):
        """
        Take the next record out, waiting while there is none.

        The lanes of the producers are served in turn; of each, records come in the order of `put`. Takes the
        role of the consumer at first use. Other threads run while it waits; Ctrl-C interrupts it.

        Args:
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.
            require_peer: Do not wait for producers that are gone. Before the first one came nobody is: then it waits.

        Returns:
            The record as new bytes.

        Raises:
            Empty: there was none within *timeout*.
            ShutDown: the ring was shut down and is drained.
            PeerGoneError: asked for by *require_peer*: there were producers, all have died or left, and the ring
                is drained.
            RoleTakenError: a live process is the consumer; nothing is waited for.
            CorruptedError: the region holds bytes that no sound program writes.
            ClosedError: this process closed the handle or the region.
            MemoryError: no memory for the result; the record stays.
        """
        return self.receiving_of().get(self, timeout, require_peer)

    def get_nowait(self):
        """`get(timeout=0)`: raises Empty at once where there is nothing."""
        return self.receiving_of().get(self, 0, False)

    def get_many(self, most, *, timeout=None, require_peer=False):
        """
        Take what is there, at least one record and at most *most*, waiting only for the first.

        A call ends before *most* where its records come to more than some pages: so much memory at a time would be new
        to the process, and cost more than the calls that are saved.

        Returns:
            A list of new bytes.

        Raises:
            As `get`; nothing is lost.
        """
        return get_many(self, most, timeout, require_peer)

    def get_into(self, buffer, *, timeout=None, require_peer=False):
        """
        Copy the next record into a writable contiguous *buffer*.

        Returns:
            Its length in bytes; the rest of the buffer is left as it was.

        Raises:
            ValueError: it is longer than the buffer; it stays in the ring.
            As `get` otherwise.
        """
        return get_into(self, buffer, timeout, require_peer)

    def borrow(self, *, timeout=None, require_peer=False):
        """
        Take the next record as a loan: its bytes where they lie, read-only, no copy.

        Returns:
            A Record, with the buffer protocol, to be released: by `with`, or when its last view dies. Until
            then it takes up room in the ring; in this process the next get goes on behind it.

        Raises:
            As `get`.
        """
        return borrow(self, timeout, require_peer)

    def borrow_many(self, most, *, timeout=None, require_peer=False):
        """
        Take what is there as loans, at least one record and at most *most*, waiting only for the first.

        Returns:
            Loans: a sequence of Records that are released together, at the end of its `with` or by `release()`.

        Raises:
            As `get`.
        """
        return borrow_many(self, most, timeout, require_peer)

    def borrowed(self, *, timeout=None, require_peer=False):
        """
        Iterate over loans until the ring is shut down and drained. Each is released when the next one is asked for, or
        later with its last view.

        Raises:
            Empty: there was no record within *timeout*.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
        return borrowed(self, timeout, require_peer)

    def records(self, *, until=None, require_peer=False, timeout=None):
        """
        Iterate over records, as `get` gives them, until the ring is shut down and drained, or *until* has come.

        Args:
            until: Processes whose end ends the iteration, once all that they put is read: a multiprocessing.Process, a
                subprocess.Popen, a sentinel or a pidfd, or a collection of them. It does not matter how they end, nor
                whether they ever put anything. Looked for when there is nothing to get, and at least ten times a second;
                records of others that come meanwhile are given out, too.
            require_peer: Do not wait for producers that are gone, as in `get`.
            timeout: Longest wait in seconds for each record. None waits for ever.

        Raises:
            Empty: there was no record within *timeout*.
            TypeError: *until* is none of those.
            ValueError: a process of *until* has not been started or is closed, or a descriptor is not open.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
        return records(self, until, require_peer, timeout)

    def __iter__(self):
        return self

    def __next__(self):
        return next_record(self)

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

    def stats(self):
        """
        Tell what is going on: capacity, records waiting, and for each lane in use its producer and how many records
        were put and got. A snapshot, as plain dicts and lists.

        `loans` are the records that consumers have in hand and have not released, of each lane and in all: with
        consumers="many" those of all processes. What the one consumer has in hand only its process knows: elsewhere they
        are None. They are None, too, where a lane has too many records to look at.

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
        """By which close it may be closed, too, and of what: for errors."""
        return "ring", self.ring

    def __reduce__(self):
        return _producer_of, (self.ring,)

    def __del__(self):
        self.detach()


@cython.final
cdef class Consumer(RingHandle):
    """
    A handle of the consumer's role, which all such handles of one process share. Made by `Ring.consumer()`.

    The role is taken at first use, and given back when the last handle that used it is closed. Pickled, it becomes a
    handle without the role. The verbs are those of Ring.

    Attributes:
        ring: The ring that it belongs to.
    """

    cdef object __weakref__
    cdef public object ring

    def get(self, *, timeout=None, require_peer=False):
        """As `Ring.get`."""
        return self.receiving_of().get(self, timeout, require_peer)

    def get_nowait(self):
        """As `Ring.get_nowait`."""
        return self.receiving_of().get(self, 0, False)

    def get_many(self, most, *, timeout=None, require_peer=False):
        """As `Ring.get_many`."""
        return get_many(self, most, timeout, require_peer)

    def get_into(self, buffer, *, timeout=None, require_peer=False):
        """As `Ring.get_into`."""
        return get_into(self, buffer, timeout, require_peer)

    def borrow(self, *, timeout=None, require_peer=False):
        """As `Ring.borrow`."""
        return borrow(self, timeout, require_peer)

    def borrow_many(self, most, *, timeout=None, require_peer=False):
        """As `Ring.borrow_many`."""
        return borrow_many(self, most, timeout, require_peer)

    def borrowed(self, *, timeout=None, require_peer=False):
        """As `Ring.borrowed`."""
        return borrowed(self, timeout, require_peer)

    def records(self, *, until=None, require_peer=False, timeout=None):
        """As `Ring.records`."""
        return records(self, until, require_peer, timeout)

    def __iter__(self):
        return self

    def __next__(self):
        return next_record(self)

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
        return "ring", self.ring

    def __reduce__(self):
        return _consumer_of, (self.ring,)

    def __del__(self):
        self.detach()


def _producer_of(ring):
    return ring.producer()


def _consumer_of(ring):
    return ring.consumer()


cdef object get_many(RingHandle handle, object most, object timeout, bint require_peer):
    cdef long long count = 0
    cdef int overflow = 0
    if PyLong_CheckExact(most):
        count = PyLong_AsLongLongAndOverflow(most, &overflow)  # -1 where it overflows
    if not 1 <= count <= MOST_RECORDS:
        count = _arguments.positive(most, "most", MOST_RECORDS)
    return handle.receiving_of().get_many(handle, count, timeout, require_peer)


cdef object get_into(RingHandle handle, object buffer, object timeout, bint require_peer):
    cdef Py_buffer view
    cdef ConsumerRole role = handle.receiving_of()
    contiguous(buffer, &view, PyBUF_WRITABLE, "get_into")
    try:
        return role.obtain(handle, TAKE_INTO, 1, &view, timeout, require_peer)
    finally:
        PyBuffer_Release(&view)


cdef object borrow(RingHandle handle, object timeout, bint require_peer):
    return handle.receiving_of().obtain(handle, TAKE_LOAN, 1, NULL, timeout, require_peer)


cdef Loans borrow_many(RingHandle handle, object most, object timeout, bint require_peer):
    cdef Loans made = Loans.__new__(Loans)
    cdef Py_ssize_t count = _arguments.positive(most, "most", MOST_RECORDS)
    cdef ConsumerRole role = handle.receiving_of()
    made.records = [role.obtain(handle, TAKE_LOAN, 1, NULL, timeout, require_peer)]
    while len(made.records) < count:
        try:
            record = role.lend_more()
        except Exception:
            break  # what is wrong will still be wrong at the next call
        if record is None:
            break
        made.records.append(record)
    return made


@cython.final
cdef class Borrowed:
    """What `borrowed` iterates with: a loan each turn, released when the next one is asked for."""

    cdef RingHandle handle
    cdef object timeout
    cdef bint require_peer
    cdef Record record

    def __init__(self):
        raise TypeError("Borrowed is made by borrowed(), not by calling the class")

    def __iter__(self):
        return self

    def __next__(self):
        self.close()
        try:
            self.record = self.handle.receiving_of().obtain(self.handle, TAKE_LOAN, 1, NULL, self.timeout, self.require_peer)
        except ShutDown:
            raise StopIteration from None
        return self.record

    def close(self):
        """Release the last one. Never fails."""
        cdef Record record = self.record
        self.record = None
        if record is not None:
            record.release()


cdef Borrowed borrowed(RingHandle handle, object timeout, bint require_peer):
    cdef Borrowed made = Borrowed.__new__(Borrowed)
    check_timeout(timeout)
    handle.check()
    made.handle, made.timeout, made.require_peer = handle, timeout, require_peer
    return made


cdef object next_record(RingHandle handle):
    try:
        return handle.receiving_of().get(handle, None, False)
    except ShutDown:
        raise StopIteration from None


cdef Records records(RingHandle handle, object until, bint require_peer, object timeout):
    cdef Records made = Records.__new__(Records)
    check_timeout(timeout)
    made.until = None if until is None else _processes.Ends(until, Descriptor)
    handle.check()
    made.handle, made.require_peer, made.timeout = handle, require_peer, timeout
    return made


@cython.final
cdef class Records:
    """What `records` iterates with."""

    cdef RingHandle handle
    cdef object until                 # None: for no process
    cdef object timeout
    cdef bint require_peer
    cdef bint is_over
    cdef uint32_t given               # since the processes were last asked for
    cdef uint64_t *ends               # when all processes have ended: up to which record of each lane they have put

    def __init__(self):
        raise TypeError("Records are made by records(), not by calling the class")

    def __dealloc__(self):
        PyMem_Free(self.ends)

    def __iter__(self):
        return self

    def __next__(self):
        cdef ConsumerRole role
        if self.is_over:
            raise StopIteration
        role = self.handle.receiving_of()
        try:
            if self.until is None:
                return role.get(self.handle, self.timeout, self.require_peer)
            record = self.next_until(role)
        except ShutDown:
            record = None
        if record is None:
            self.is_over = True
            raise StopIteration
        return record

    cdef object next_until(self, ConsumerRole role):
        """The next record; None: that was all."""
        cdef uint64_t deadline
        if self.ends == NULL and self.given < ASK_AFTER_RECORDS:
            record = role.get_now(self.handle)
            if record is not None:
                self.given += 1
                return record
        deadline = deadline_of(self.timeout)
        while True:
            self.given = 0
            if self.ends == NULL and self.until.have_come():
                self.note_ends(role)
            if self.ends != NULL:
                if self.is_past_ends(role):
                    return None
                try:
                    return role.extract(self.handle, TAKE_ONE, 1, NULL, 0, False)
                except (Empty, PeerGoneError):
                    return None  # somebody else has got the rest
            try:
                return role.extract(self.handle, TAKE_ONE, 1, NULL, min(deadline, memlane_monotonic_ns() + MEMLANE_SLICE_NS),
                                    self.require_peer)
            except Empty:
                if deadline != FOREVER and memlane_monotonic_ns() >= deadline:
                    raise

    cdef int note_ends(self, ConsumerRole role) except -1:
        """What others put from now on does not count, or they could keep the iteration going for ever."""
        cdef RingState ring = role.ring
        cdef uint32_t lane
        cdef memlane_lane view
        cdef uint64_t pinned
        cdef uint64_t *ends = <uint64_t *>PyMem_Calloc(ring.shape.lanes, sizeof(uint64_t))
        if ends == NULL:
            raise MemoryError()
        self.ends = ends
        pinned = ring.membership.pin()
        for lane in range(memlane_ring_leased(ring.control, ring.shape.lanes)):
            if memlane_lane_owner(ring.lane_control(lane)) != MEMLANE_OWNER_NEVER:
                ring.lane_at(lane, &view)
                ends[lane] = memlane_lane_end(&view)
        ring.membership.unpin(pinned)
        return 0

    cdef bint is_past_ends(self, ConsumerRole role) except -1:
        """Whether all that was put up to the ends is taken."""
        cdef RingState ring = role.ring
        cdef bint is_past = True
        cdef uint32_t lane
        cdef uint64_t pinned
        if self.handle.receives != role.epoch or not memlane_fork_is(role.epoch):
            return False  # not a consumer yet
        pinned = ring.membership.pin()
        for lane in range(ring.shape.lanes):
            if self.ends[lane] and role.is_leased(lane) and <int64_t>(self.ends[lane] - role.next_of(lane)) > 0:
                is_past = False
        ring.membership.unpin(pinned)
        return is_past
