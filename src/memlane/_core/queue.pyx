# SPDX-License-Identifier: MIT
"""The handle of a queue, with the verbs of multiprocessing.Queue. Nothing in Python wraps them."""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uint32_t, uint64_t

from multiprocessing.reduction import ForkingPickler as _ForkingPickler

import memlane._arguments as _arguments
from memlane.errors import LayoutError, QueueClosedError, ShutDown

from memlane._core.arguments cimport FOREVER, deadline_of
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_OK, MEMLANE_OWNER_CLOSED, MEMLANE_OWNER_DEPARTED, MEMLANE_OWNER_NEVER, memlane_lane, memlane_lane_got,
    memlane_lane_length, memlane_lane_owner, memlane_lane_tail, memlane_many_redelivered, memlane_ring_leased,
    memlane_ring_shutdown, memlane_tasks_done, memlane_waiters_count,
)
from memlane._core.handles cimport LaneHandle, Records
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.objects cimport Codec, Encoded, codec_of
from memlane._core.opened cimport Opened, opened_of
from memlane._core.queue_consumer cimport QueueConsumer, queue_consumer
from memlane._core.queue_producer cimport QueueProducer, put_watch
from memlane._core.queue_state cimport QueueState
from memlane._core.receiver cimport MOST_RECORDS, RecordLoan, TAKE_LOAN, record_watch
from memlane._core.runtime cimport memlane_membership_is_dead, memlane_selecting
from memlane._core.selecting cimport Watch, at_word, pollable_of
from memlane._core.waiting cimport Sleep

memlane_calls_join(calls_of_process(), globals())


@cython.final
cdef class OpenQueue(QueueState):
    """What this process has open of one queue: its state, and the two roles that all handles share."""

    cdef QueueProducer producing
    cdef QueueConsumer consuming

    @staticmethod
    cdef Opened make(Membership membership, entry):
        cdef OpenQueue made = OpenQueue.__new__(OpenQueue)
        made.begin_queue(membership, entry)
        made.producing = QueueProducer.__new__(QueueProducer, made)
        made.consuming = queue_consumer(made)
        return made

    cdef void forget_roles(self) noexcept:
        self.consuming.epoch = EPOCH_CLOSED

    cdef dict stats(self):
        """Pinned, since looking for the living may let another thread close the queue."""
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
        lanes = []
        for lane in range(memlane_ring_leased(self.control, self.lanes)):
            self.lane_at(lane, &view)
            owner = memlane_lane_owner(view.control)
            named = {MEMLANE_OWNER_NEVER: "never leased", MEMLANE_OWNER_DEPARTED: "departed",
                     MEMLANE_OWNER_CLOSED: "closed"}.get(owner)
            if named is None:
                named = ("dead", "alive", "unknown")[self.membership.life(owner)]
            lanes.append({
                "lane": lane, "producer": named,
                "pid": self.membership.pid_of(owner) if owner > MEMLANE_OWNER_CLOSED else None,
                "put": memlane_lane_tail(&view), "got": memlane_lane_got(&view), "records": memlane_lane_length(&view),
                "waiting_producers": memlane_waiters_count(&view.control.waiters)})
        return {
            "maxsize": self.queue_shape.maxsize, "producers": self.lanes, "capacity": self.capacity, "max_records": self.records,
            "records": self.length(), "lanes": lanes,
            "waiting_producers": (memlane_waiters_count(&self.queue_control.putters)
                                  + sum([found["waiting_producers"] for found in lanes])),
            "waiting_consumers": memlane_waiters_count(&self.control.waiters),
            "waiting_joins": memlane_waiters_count(&self.queue_control.joiners),
            "redelivered": memlane_many_redelivered(self.control),
            "shutdown": ("no", "drain", "immediate")[memlane_ring_shutdown(self.control)],
        }


@cython.final
cdef class JoinSleep(Sleep):
    cdef OpenQueue queue
    cdef QueueBase handle

    cdef bint is_due(self) noexcept nogil:
        return self.handle._closed or self.queue.is_gone_now() or self.queue.is_all_done()


@cython.final
cdef class JoinWatch(Watch):
    """One that waits for the end of all tasks, among several things."""

    cdef QueueBase handle
    cdef OpenQueue queue

    cdef int prepare(self) except -1:
        self.handle.check()
        self.queue.enter(&self.handle.opens, &self.handle._closed, self.handle)
        self.queue.joiners_doorbell.prepare()
        return 0

    cdef bint look(self) except -1:
        self.prepare()
        return self.is_due()

    cdef bint is_due(self) noexcept nogil:
        return self.handle._closed or self.queue.is_gone_now() or self.queue.is_all_done()

    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil:
        at_word(selecting, &self.queue.queue_control.joiners, announces)


cdef class QueueBase(LaneHandle):
    """What a queue does without going through Python."""

    cdef QueueProducer producing
    cdef Codec codec
    cdef list undecoded  # errors of get_many that nobody was told yet; None: none

    def _bind(self, Membership membership not None, entry, *, wait, require_peer, codec):
        """Make this a handle of the queue that *entry* of the directory describes."""
        cdef Codec found = codec_of(codec)
        cdef OpenQueue queue = opened_of(membership, entry, "queue", OpenQueue.make)
        if found.name != queue.codec.name:
            raise LayoutError(f"{queue.name} has codec={queue.codec.name!r}, expected {found.name!r}; open it with the codec that it "
                              "has", name=entry[0], expected=found.name, found=queue.codec.name)
        self.bind(queue, wait, require_peer)
        self.producing, self.receiving = queue.producing, queue.consuming
        self.codec = found

    def _detach(self):
        """Refuse new work; give back what this handle was the last to use. Doing it twice does nothing."""
        self.detach()

    cdef int check(self) except -1:
        if self._closed:
            raise QueueClosedError(f"this handle of {'a queue' if self.state is None else self.state.name} is closed in this process; "
                                   "close it later, or open it again")
        return LaneHandle.check(self)

    cdef void give_roles_back(self) noexcept:
        if self.producing is not None and self.producing.users.remove(&self.sends):
            self.producing.depart()
        LaneHandle.give_roles_back(self)

    cdef inline OpenQueue queue_of(self):
        return <OpenQueue>self.state_of()

    cdef inline OpenQueue queue_there(self):
        return <OpenQueue>self.state_there()

    def _watch_records(self):
        """What a get waits for."""
        self.check()
        return record_watch(self, self.receiving, True)

    def _watch_room(self):
        """What a put waits for."""
        self.check()
        return put_watch(self, self.producing, True)

    def _watch_done(self):
        """What a join waits for."""
        cdef JoinWatch made = JoinWatch.__new__(JoinWatch)
        self.check()
        made.opened, made.handle, made.queue = self.state, self, <OpenQueue>self.state
        return made

    # ---- objects and records ----------------------------------------------------------------------

    cdef object record_of(self, object thing):
        """What the codec makes of an object. Nothing of the queue is touched."""
        try:
            return self.codec.encode(thing)
        except Exception:
            if self.codec.name == "pickle":
                try:  # what multiprocessing can send besides: connections, sockets
                    return bytes(_ForkingPickler.dumps(thing, 5))
                except Exception:
                    pass
            raise

    cdef object object_of(self, object copied):
        """The object of a record that was copied out, and is gone from the queue."""
        try:
            return self.codec.decode(copied)
        except BaseException as failed:
            self.note_undecoded(failed, False)
            raise

    cdef int note_undecoded(self, object failed, bint is_there) except -1:
        """Nobody will say that the work on an object is done that could not be decoded."""
        if (<OpenQueue>self.state).queue_shape.counts_tasks and not is_there:
            self.task_is_done()
        failed.add_note(f"memlane: an object got from {self.state.name} could not be decoded; it is gone from the queue, and those behind "
                        "it can be got")
        return 0

    cdef int tell_undecoded(self) except -1:
        """Raise what get_many could not raise, since it returned other objects."""
        if self.undecoded is not None:
            failed = self.undecoded.pop(0)
            self.undecoded = self.undecoded or None
            raise failed
        return 0

    # ---- putting ----------------------------------------------------------------------------------

    def put(self, obj, block=True, timeout=None, *, bint require_peer=False):
        """
        Put an object into the queue: it is there when this returns.

        It is encoded before anything of the queue is touched, so an object that cannot be pickled is an error here, and leaves
        nothing. Other threads run while it waits; Ctrl-C interrupts it.

        Args:
            obj: Any object that can be pickled; later changes of it are not seen by others.
            block: Whether to wait while a queue with a maxsize is full, or memory is out.
            timeout: Longest wait in seconds. None waits for ever; 0 and less do not wait.
            require_peer: Do not put what nobody will get, once the consumers there were are gone.

        Raises:
            Full: there was no room within *timeout*. Without a maxsize: memory is out, the limit of a container is met, or a lane
                cannot be larger; it says which. Where nobody gets, that is told at once.
            ShutDown: the queue was shut down.
            PeerGoneError: asked for by *require_peer*: there were consumers, and all have died or left.
            RecordTooLargeError: the object can never fit.
            QueueClosedError: this process closed the handle or the region.
            PicklingError, TypeError, AttributeError: the object cannot be pickled, as pickle says.
        """
        cdef object record = self.record_of(obj)
        cdef uint64_t deadline = deadline_in(block, timeout)
        self.queue_of()
        self.producing.put_one(self, record, deadline, require_peer | self.require_peer)

    def put_nowait(self, obj):
        """`put(obj, block=False)`: raises Full at once where there is no room."""
        self.put(obj, False)

    def put_many(self, objects, *, timeout=None, bint require_peer=False):
        """
        Put many objects, as few batches as there is room for; each batch becomes visible at once.

        Args:
            objects: An iterable of objects; all are encoded before the first one goes in.
            timeout: Longest wait in seconds for all of them together. None waits for ever; 0 and less do not wait.
            require_peer: As in `put`.

        Returns:
            How many went in: all of them, or fewer at the deadline, or if the queue was shut down meanwhile.

        Raises:
            As `put`; Full: not even one went in.
        """
        cdef list records = [self.record_of(thing) for thing in objects]
        cdef uint64_t deadline = deadline_in(True, timeout)
        self.queue_there()
        return self.producing.put_list(self, records, deadline, require_peer | self.require_peer)

    def _encoded(self, objects):
        """Records of objects for `_put_encoded`, so that they are encoded once however often it is tried."""
        return [self.record_of(thing) for thing in objects]

    def _put_encoded(self, list records, bint require_peer):
        """As `put_many` with timeout=0, of what `_encoded` made."""
        cdef list held = list(records)
        for record in held:
            if type(record) is not bytes and not isinstance(record, Encoded):
                raise TypeError(f"records are made by _encoded(), got {type(record).__name__}")
        self.queue_there()
        return self.producing.put_list(self, held, 0, require_peer | self.require_peer)

    # ---- getting ----------------------------------------------------------------------------------

    def get(self, block=True, timeout=None, *, bint require_peer=False):
        """
        Get the object that was put first of all that are there, waiting while there is none.

        What was put before another put began is got before it, whichever processes put them. Other threads run while it waits;
        Ctrl-C interrupts it.

        Args:
            block: Whether to wait.
            timeout: Longest wait in seconds. None waits for ever; 0 and less do not wait.
            require_peer: Do not wait for producers that are gone. Before the first one came nobody is: then it waits.

        Returns:
            The object; what it consists of is new.

        Raises:
            Empty: there was none within *timeout*.
            ShutDown: the queue was shut down, and there is nothing more to get.
            PeerGoneError: asked for by *require_peer*: all that put have died or left, and there is nothing more to get.
            QueueClosedError: this process closed the handle or the region.
            Whatever decoding the object raises: it is gone then, and a note says of which queue it was.
        """
        cdef object wait = timeout_in(block, timeout)
        self.tell_undecoded()
        return self.object_of(self.receiving_of().get(self, wait, require_peer))

    def get_nowait(self):
        """`get(block=False)`: raises Empty at once where there is nothing."""
        self.tell_undecoded()
        return self.object_of(self.receiving_of().get(self, 0, False))

    def get_many(self, most, *, timeout=None, bint require_peer=False):
        """
        Get what is there, at least one object and at most *most*, waiting only for the first.

        Returns:
            A list of objects.

        Raises:
            As `get`. Where one of several objects cannot be decoded the others are returned, and the next call of this handle that
            gets raises the error.
        """
        cdef Py_ssize_t count = _arguments.positive(most, "most", MOST_RECORDS)
        cdef object wait = timeout_in(True, timeout)
        self.tell_undecoded()
        objects, failures = [], []
        for record in self.receiving_of().get_many(self, count, wait, require_peer):
            try:
                objects.append(self.object_of(record))
            except Exception as failed:
                failures.append(failed)
        if failures:
            self.undecoded = failures if self.undecoded is None else self.undecoded + failures
            if not objects:
                self.tell_undecoded()
        return objects

    def records(self, *, until=None, require_peer=False, timeout=None):
        """
        Iterate over objects, as `get` gives them, until a `shutdown`, and until all is got then, or until *until* has come.

        Args:
            until: Processes whose end ends the iteration, once all that they put is got: a multiprocessing.Process, a
                subprocess.Popen, a sentinel or a pidfd, or a collection of them. It does not matter how they end, nor whether
                they ever put anything.
            require_peer: Do not wait for producers that are gone, as in `get`.
            timeout: Longest wait in seconds for each object. None waits for ever.

        Raises:
            Empty: there was none within *timeout*.
            TypeError: *until* is none of those.
            ValueError: a process of *until* has not been started or is closed, or a descriptor is not open.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
        cdef Objects made = Objects.__new__(Objects)
        made.queue = self
        made.inner = Records.over(self, until, require_peer, timeout)
        return made

    def borrow(self, block=True, timeout=None, *, bint require_peer=False):
        """
        Get an object for the length of a `with`: `with q.borrow() as obj:`. Until its end the object counts as unfinished, and if this
        process dies another consumer gets it.

        Raises:
            As `get`.
        """
        cdef Borrowing made = Borrowing.__new__(Borrowing)
        cdef object wait = timeout_in(block, timeout)
        self.tell_undecoded()
        made.queue = self
        made.loan = self.receiving_of().obtain(self, TAKE_LOAN, 1, NULL, wait, require_peer)
        return made

    def __iter__(self):
        return self

    def __next__(self):
        self.tell_undecoded()
        try:
            record = self.receiving_of().get(self, None, False)
        except ShutDown:
            raise StopIteration from None
        return self.object_of(record)

    def fileno(self):
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be an object to get, or the end.

        It is of this handle in this process alone, non-blocking and close-on-exec; `close` closes it. It stays readable until a
        get of this handle ends in Empty. It is readable for nothing now and then, ten times a second at the most.

        Raises:
            OSError: no descriptor can be had.
            QueueClosedError: this process closed the handle or the region.
        """
        self.check()
        self.readable = pollable_of(self.readable, record_watch(self, self.receiving, False))
        return self.readable.number()

    # ---- facts ------------------------------------------------------------------------------------

    def qsize(self):
        """
        How many objects are in the queue, at some moment just past; 0 once it is shut down with immediate=True.

        Raises:
            QueueClosedError: this process closed the handle.
        """
        return self.queue_there().length()

    def __len__(self):
        return self.queue_there().length()

    def empty(self):
        """
        Whether there was nothing to get at some moment just past. An object whose put has ended counts.

        Raises:
            QueueClosedError: this process closed the handle.
        """
        return self.queue_there().length() == 0

    def full(self):
        """
        Whether a queue with a maxsize had as many objects at some moment just past.

        Raises:
            QueueClosedError: this process closed the handle.
        """
        cdef OpenQueue queue = self.queue_there()
        return queue.queue_shape.maxsize != 0 and queue.length() >= queue.queue_shape.maxsize

    @property
    def maxsize(self):
        """The number of objects that the queue can hold; 0: as many as memory can."""
        return self.queue_there().queue_shape.maxsize

    @property
    def producers(self):
        """How many processes have a lane of their own, and one more lane that all others share."""
        return self.queue_there().lanes

    @property
    def is_shut_down(self):
        """Whether somebody has called `shutdown`: nothing can be put any more, though there may be objects to get."""
        return memlane_ring_shutdown(self.queue_there().control) != 0

    def stats(self):
        """
        Tell what is going on: objects, and for each lane in use its producer and how many objects were put and got. A snapshot, as
        plain dicts and lists.

        Raises:
            QueueClosedError: this process closed the handle.
        """
        return self.queue_there().stats()

    # ---- tasks, the end ---------------------------------------------------------------------------

    cdef bint task_is_done(self) except -1:
        cdef OpenQueue queue = self.queue_of()
        cdef uint64_t pinned = queue.pin()
        cdef bint is_done
        try:
            queue.enter(&self.opens, &self._closed, self)
            is_done = memlane_tasks_done(queue.hands, queue.membership.geometry.rows, queue.membership.own_tag(), memlane_membership_is_dead,
                                         &queue.membership.own) == MEMLANE_OK
            if is_done:
                queue.wake_joiners()
        finally:
            queue.unpin(pinned)
        return is_done

    def task_done(self):
        """
        Say that the work on an object that was got is done. `join` waits until that was said of every object that was put. What a
        process had got that died is counted as done.

        Raises:
            ValueError: it was said more often than objects were got.
        """
        self.check()
        if not (<OpenQueue>self.state).queue_shape.counts_tasks:
            raise TypeError(f"{self.state.name} does not count tasks, as a SimpleQueue does not; use a Queue")
        if not self.task_is_done():
            raise ValueError(f"task_done() of {self.state.name} was called too many times")

    def join(self, timeout=None):
        """
        Wait until every object that was put is got, and `task_done` was called for it, or the process that had got it has died.

        Args:
            timeout: Longest wait in seconds. None waits for ever.

        Raises:
            TimeoutError: there are unfinished tasks still.
            QueueClosedError: this process closed the handle.
        """
        cdef uint64_t deadline = deadline_in(True, timeout), pinned
        cdef OpenQueue queue = self.queue_there()
        cdef JoinSleep sleep = None
        cdef bint is_done
        if not queue.queue_shape.counts_tasks:
            raise TypeError(f"{queue.name} does not count tasks, as a SimpleQueue does not; use a Queue")
        pinned = queue.pin()
        try:
            queue.enter(&self.opens, &self._closed, self)
            queue.joiners_doorbell.prepare()
            while True:
                with nogil:
                    is_done = queue.is_all_done()
                self.check()
                queue.membership.check_whole()
                if is_done:
                    return
                if sleep is None:
                    sleep = JoinSleep()
                    sleep.begin(deadline, NULL)
                    sleep.queue, sleep.handle = queue, self
                if deadline == 0 or sleep.is_over():
                    raise TimeoutError(f"{queue.name} has unfinished tasks still; see that task_done() is called for each object")
                sleep.nap(&queue.queue_control.joiners, queue.joiners_doorbell)
                PyErr_CheckSignals()
        finally:
            queue.unpin(pinned)

    def shutdown(self, immediate=False):
        """
        Bring the queue to its end, for all processes and for good.

        Puts raise ShutDown from now on, waiting ones too. Gets go on until everything is got, then raise ShutDown; iteration ends.
        Never waits.

        Args:
            immediate: What is left is dropped unseen; a join waits only for what was got and is not done.

        Raises:
            PermissionError: the region is open read-only.
            QueueClosedError: this process closed the handle.
        """
        cdef bint drop = immediate  # may be Python, so it comes before the check
        self.check()
        self.state.shut_down(drop, self)

    def join_thread(self):
        """Return at once: there is no thread, for what was put is there. Never fails."""

    def cancel_join_thread(self):
        """Do nothing: there is no thread, and no exit waits for one. Never fails."""


cdef object timeout_in(object block, object timeout):
    """The timeout of a call that waits, as memlane has it: 0 does not wait."""
    if not block:
        return 0
    if timeout is not None and timeout < 0:
        return 0
    return timeout


cdef uint64_t deadline_in(object block, object timeout) except? 0:
    cdef object wait = timeout_in(block, timeout)
    return FOREVER if wait is None else deadline_of(wait)


@cython.final
cdef class Objects:
    """What `records` iterates with."""

    cdef QueueBase queue
    cdef Records inner

    def __init__(self, *_arguments, **_keywords):
        raise TypeError("Objects are made by records(), not by calling the class")

    def __iter__(self):
        return self

    def __next__(self):
        self.queue.tell_undecoded()
        return self.queue.object_of(next(self.inner))


@cython.final
cdef class Borrowing:
    """What `borrow` gives: the object is there for the length of a `with`."""

    cdef QueueBase queue
    cdef RecordLoan loan

    def __init__(self, *_arguments, **_keywords):
        raise TypeError("a Borrowing is made by borrow(), not by calling the class")

    def __enter__(self):
        try:
            return self.queue.codec.decode_loan(self.loan)
        except BaseException as failed:
            self.release()
            self.queue.note_undecoded(failed, False)
            raise

    def __exit__(self, *_error):
        self.release()

    def release(self):
        """Give the record back. Never fails; doing it twice does nothing."""
        self.loan.close()
