# SPDX-License-Identifier: MIT
"""
The handles of rings and topics, and the verbs of what receives. Nothing in Python wraps them.

LaneHandle   a handle that leads to the role in which it sends, to the one in which it receives, or to both
Receiving    get, borrow, iterate: for a ring, its consumers, and the subscribers of a topic
Borrowed, Records   what iterates
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
from memlane._core.core cimport memlane_lane, memlane_lane_end, memlane_ring_leased
from memlane._core.files cimport Descriptor
from memlane._core.lanes cimport Endpoint, LanesState
from memlane._core.os cimport memlane_fork_is, memlane_monotonic_ns
from memlane._core.receiver cimport (
    Loans, MOST_RECORDS, Receiver, RecordLoan, TAKE_INTO, TAKE_LOAN, TAKE_ONE, record_watch,
)
from memlane._core.runtime cimport MEMLANE_SLICE_NS
from memlane._core.selecting cimport pollable_of
from memlane._core.sender cimport Sender, room_watch

memlane_calls_join(calls_of_process(), globals())

# While records come one after the other, the processes whose end is waited for are asked for after so many: some
# milliseconds at the least, against the microsecond of asking.
cdef uint32_t ASK_AFTER_RECORDS = 1024


cdef class LaneHandle(Endpoint):
    """A handle that leads to roles: one in which it sends, one in which it receives, or both."""

    cdef void give_roles_back(self) noexcept:
        cdef Sender sending = self.sending
        if sending is not None:
            if sending.users.remove(&self.sends):
                sending.depart()
            elif memlane_fork_is(sending.epoch) and not self.state.membership.closed:
                sending.wake_sleepers()  # a call by this handle may sleep there
        if self.receiving is not None and self.receiving.users.remove(&self.receives):
            self.receiving.leave()
        self.state.leave(&self.opens)

    def _watch_records(self):
        """What a get waits for."""
        self.check()
        return record_watch(self, self.receiving, True)

    def _watch_room(self):
        """What a put or a publish waits for."""
        self.check()
        return room_watch(self, self.sending, True)

    def _has_claim(self):
        """Whether a reservation is open on the lane of this process, by a thread of it."""
        return self.sending is not None and memlane_fork_is(self.sending.epoch) and self.sending.claim != NULL

    def _lease(self, lane=None, owner=0):
        """
        Take a lane now, without waiting: any, or *lane* only if the dead *owner* was the last to have it. For a bridge, which
        goes on behind what it put in before it died.

        Args:
            owner: The tag by which that process was known.

        Returns:
            The lane, and the number of the record that comes next in it.

        Raises:
            RoleTakenError: live processes have all lanes, or *lane* had another owner since.
            ShutDown, OSError, ClosedError: as a put.
        """
        cdef Sender sending = self.sending
        cdef uint32_t bound_lane = 0 if lane is None else lane, bound_owner = owner
        sending.is_bound, sending.bound_lane, sending.bound_owner = lane is not None, bound_lane, bound_owner
        sending.prepare(self, 0, False)
        return sending.lane, sending.producer.next

    @cython.final
    cdef object number_for_room(self):
        """The descriptor of `fileno` of what sends."""
        self.check()
        self.writable = pollable_of(self.writable, room_watch(self, self.sending, False))
        return self.writable.number()


cdef class Receiving(LaneHandle):
    """
    The verbs of what receives. No methods of its own in C, and no fields: the class of rings has it as a second base, beside one
    that has the verbs of a producer.
    """

    @classmethod
    def __class_getitem__(cls, _record, /):
        return cls  # generic in what is borrowed, for type checkers alone

    def get(self, *, timeout=None, require_peer=False):
        """
        Copy the next record out, waiting while there is none.

        Lanes are served in turn; of each, records come in the order in which they were put or published, and with order="all"
        of a topic those of all lanes do. Takes the role at first use. Other threads run while it waits; Ctrl-C interrupts it.

        Args:
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.
            require_peer: Do not wait for producers or publishers that are gone. Before the first one came nobody is: then it
                waits.

        Returns:
            The record as new bytes.

        Raises:
            Empty: there was none within *timeout*.
            ShutDown: it was shut down, and there is nothing more to get.
            PeerGoneError: asked for by *require_peer*: there were some that send, all have died or left, and there is nothing
                more to get.
            RoleTakenError: a live process is the consumer of a ring; nothing is waited for.
            Evicted: publishers waited for this subscription longer than its evict_after=. Told once; the subscription has
                ended, and its loans stay readable.
            Lapped: records of a topic were overwritten before they were got. Only if the subscription asked for it; it goes on
                behind them.
            CorruptedError: the region holds bytes that no sound program writes.
            ClosedError: this process closed the handle or the region.
            MemoryError: no memory for the result; the record is still the next one.
        """
        return self.receiving_of().get(self, timeout, require_peer)

    def get_nowait(self):
        """`get(timeout=0)`: raises Empty at once where there is nothing."""
        return self.receiving_of().get(self, 0, False)

    def _get_now(self):
        """The next record if one is at hand; None: look by `get`, which tells why there is none."""
        return self.receiving_of().get_now(self)

    def get_many(self, most, *, timeout=None, require_peer=False):
        """
        Copy out what is there, at least one record and at most *most*, waiting only for the first.

        A call ends before *most* where its records come to more than some pages: so much memory at a time would be new
        to the process, and cost more than the calls that are saved.

        Returns:
            A list of new bytes.

        Raises:
            As `get`; nothing is lost.
        """
        cdef long long count = 0
        cdef int overflow = 0
        if PyLong_CheckExact(most):
            count = PyLong_AsLongLongAndOverflow(most, &overflow)  # -1 where it overflows
        if not 1 <= count <= MOST_RECORDS:
            count = _arguments.positive(most, "most", MOST_RECORDS)
        return self.receiving_of().get_many(self, count, timeout, require_peer)

    def get_into(self, buffer, *, timeout=None, require_peer=False):
        """
        Copy the next record into a writable contiguous *buffer*.

        Returns:
            Its length in bytes; the rest of the buffer is left as it was, or holds rubbish where a record of a topic was
            overwritten while it was copied.

        Raises:
            ValueError: it is longer than the buffer; it is still the next one.
            As `get` otherwise.
        """
        cdef Py_buffer view
        cdef Receiver role = self.receiving_of()
        contiguous(buffer, &view, PyBUF_WRITABLE, "get_into")
        try:
            return role.obtain(self, TAKE_INTO, 1, &view, timeout, require_peer)
        finally:
            PyBuffer_Release(&view)

    def borrow(self, *, timeout=None, require_peer=False):
        """
        Take the next record as a loan: its bytes where they lie, read-only, no copy.

        Until it is released it takes up room; in this process the next get goes on behind it. A topic keeps it for a
        subscription with when_full="wait"; for one with "overwrite" a publisher may overwrite it meanwhile: the end of its
        `with` raises Lapped then, and `record.overwritten` says so before.

        Returns:
            A Record, of a topic a TopicRecord, with the buffer protocol, to be released: by `with`, or when its last view
            dies.

        Raises:
            As `get`.
        """
        return self.receiving_of().obtain(self, TAKE_LOAN, 1, NULL, timeout, require_peer)

    def borrow_many(self, most, *, timeout=None, require_peer=False):
        """
        Take what is there as loans, at least one record and at most *most*, waiting only for the first.

        Returns:
            Loans: a sequence of records that are released together, at the end of its `with` or by `release()`.

        Raises:
            As `get`.
        """
        cdef Loans made = Loans.__new__(Loans)
        cdef Py_ssize_t count = _arguments.positive(most, "most", MOST_RECORDS)
        cdef Receiver role = self.receiving_of()
        made.records = [role.obtain(self, TAKE_LOAN, 1, NULL, timeout, require_peer)]
        while len(made.records) < count:
            try:
                record = role.lend_more()
            except Exception:
                break  # what is wrong will still be wrong at the next call
            if record is None:
                break
            made.records.append(record)
        return made

    def borrowed(self, *, timeout=None, require_peer=False):
        """
        Iterate over loans until a `shutdown`, and until all is got then. Each is released when the next one is asked for, or
        later with its last view.

        Raises:
            Empty: there was no record within *timeout*.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
        cdef Borrowed made = Borrowed.__new__(Borrowed)
        check_timeout(timeout)
        self.check()
        made.handle, made.timeout, made.require_peer = self, timeout, require_peer
        return made

    def records(self, *, until=None, require_peer=False, timeout=None):
        """
        Iterate over records, as `get` gives them, until a `shutdown`, and until all is got then, or until *until* has come.

        Args:
            until: Processes whose end ends the iteration, once all that they put or published is read: a
                multiprocessing.Process, a subprocess.Popen, a sentinel or a pidfd, or a collection of them. It does not
                matter how they end, nor whether they ever put or published anything. Looked for when there is nothing to
                get, and at least ten times a second; records of others that come meanwhile are given out, too.
            require_peer: Do not wait for producers or publishers that are gone, as in `get`.
            timeout: Longest wait in seconds for each record. None waits for ever.

        Raises:
            Empty: there was no record within *timeout*.
            TypeError: *until* is none of those.
            ValueError: a process of *until* has not been started or is closed, or a descriptor is not open.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
        return Records.over(self, until, require_peer, timeout)

    def fileno(self):
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be a record to get, or the end.

        It is of this handle in this process alone, non-blocking and close-on-exec; `close` closes it. It stays readable until a
        get of this handle ends in Empty, so get with timeout=0 until then. It is readable for nothing now and then, ten times a
        second at the most. Takes the role, as the first get does. For room to put or publish, ask a handle made by `producer()`
        or `publisher()`. A subscription of a topic that is open read-only finds records ten times a second only.

        Raises:
            RoleTakenError: a live process is the consumer of a ring.
            OSError: no descriptor can be had.
            ClosedError: this process closed the handle or the region.
        """
        self.check()
        self.readable = pollable_of(self.readable, record_watch(self, self.receiving, False))
        return self.readable.number()

    def __iter__(self):
        return self

    def __next__(self):
        try:
            return self.receiving_of().get(self, None, False)
        except ShutDown:
            raise StopIteration from None


@cython.final
cdef class Borrowed:
    """What `borrowed` iterates with: a loan each turn, released when the next one is asked for."""

    cdef LaneHandle handle
    cdef object timeout
    cdef bint require_peer
    cdef RecordLoan record

    def __init__(self, *_arguments, **_keywords):
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
        cdef RecordLoan record = self.record
        self.record = None
        if record is not None:
            record.close()


@cython.final
cdef class Records:
    """What `records` iterates with."""

    @staticmethod
    cdef Records over(LaneHandle handle, object until, bint require_peer, object timeout):
        cdef Records made = Records.__new__(Records)
        check_timeout(timeout)
        made.until = None if until is None else _processes.Ends(until, Descriptor)
        handle.check()
        made.handle, made.require_peer, made.timeout = handle, require_peer, timeout
        return made

    def __init__(self, *_arguments, **_keywords):
        raise TypeError("Records are made by records(), not by calling the class")

    def __dealloc__(self):
        PyMem_Free(self.ends)

    def __iter__(self):
        return self

    def __next__(self):
        cdef Receiver role
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

    cdef object next_until(self, Receiver role):
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

    cdef int note_ends(self, Receiver role) except -1:
        """What others send from now on does not count, or they could keep the iteration going for ever."""
        cdef LanesState state = role.state
        cdef uint32_t lane
        cdef memlane_lane view
        cdef uint64_t pinned
        cdef uint64_t *ends = <uint64_t *>PyMem_Calloc(state.lanes, sizeof(uint64_t))
        if ends == NULL:
            raise MemoryError()
        self.ends = ends
        pinned = state.membership.pin()
        for lane in range(memlane_ring_leased(state.control, state.lanes)):
            if role.knows_leased(lane):
                state.lane_at(lane, &view)
                ends[lane] = memlane_lane_end(&view)
        state.membership.unpin(pinned)
        return 0

    cdef bint is_past_ends(self, Receiver role) except -1:
        """Whether all that was sent up to the ends is taken."""
        cdef LanesState state = role.state
        cdef bint is_past = True
        cdef uint32_t lane
        cdef uint64_t pinned
        if self.handle.receives != role.epoch or not memlane_fork_is(role.epoch):
            return False  # not a consumer yet
        pinned = state.membership.pin()
        for lane in range(state.lanes):
            if self.ends[lane] and role.knows_leased(lane) and <int64_t>(self.ends[lane] - role.next_of(lane)) > 0:
                is_past = False
        state.membership.unpin(pinned)
        return is_past
