# SPDX-License-Identifier: MIT
"""
A lane that this process has leased, and the claim on it: what the producer of a ring and the publisher of a topic share.

Sender        the lease, its queue of waiting calls, records that go in
SenderSleep   one call that waits
Reservation   an open claim, with the buffer protocol
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.slice cimport PySlice_AdjustIndices
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memmove

import weakref as _weakref
from threading import Lock as _Lock

from memlane.errors import ClosedError, PeerGoneError, RoleTakenError, ShutDown

from memlane._core.arguments cimport (
    COPY_WITH_GIL_NBYTES, array_of, bounds_of, byte_of, check_timeout, contiguous, deadline_of,
    dimensions_of, dtype_of, index_of, numpy_for, size_of,
)
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_CLOSED, MEMLANE_FULL, MEMLANE_LOST, MEMLANE_OK, MEMLANE_OWNER_CLOSED,
    MEMLANE_OWNER_NEVER, MEMLANE_TOO_LARGE, memlane_copy, memlane_lane_control,
    memlane_lane_depart, memlane_lane_lease, memlane_lane_owner, memlane_producer_clock,
    memlane_producer_count_full, memlane_producer_keep, memlane_producer_release,
    memlane_producer_stamp, memlane_producer_stamp_next, memlane_ring_raise_leased, memlane_ring_shutdown, memlane_span,
    memlane_status, memlane_waiters_any_fenced,
)
from memlane._core.mapping cimport finalizing
from memlane._core.membership cimport EPOCH_CLOSED, Membership, Users, epoch_lock
from memlane._core.os cimport (
    memlane_coarse_ns, memlane_fork_epoch, memlane_fork_is, memlane_guard_is_truncated,
    memlane_monotonic_ns, memlane_mutex_lock, memlane_mutex_reset, memlane_mutex_try,
    memlane_mutex_unlock,
)
from memlane._core.runtime cimport (
    MEMLANE_DEAD, MEMLANE_POSTS_MAX, MEMLANE_PROBES_A_STEP, MEMLANE_WAIT_SPIN, memlane_lease_find_unused,
    memlane_lease_used_lane, memlane_selecting, memlane_selecting_wake, memlane_interval_note, memlane_spinning_begin,
    memlane_waiting_slice_end,
)
from memlane._core.selecting cimport Watch, at_word
from memlane._core.waiting cimport CLOCK, Doorbell, Sleep, doorbell_of, know_clock

memlane_calls_join(calls_of_process(), globals())

cdef extern from "Python.h":
    int PyErr_ResourceWarning(object source, Py_ssize_t stack_level, const char *text, ...) except -1


cdef tuple items_of(object records, str verb):
    """What put_many or publish_many is to put in; *verb* is that for one."""
    if type(records) is list or type(records) is tuple:
        return tuple(records)
    if isinstance(records, (bytes, bytearray, memoryview, str)):
        raise TypeError(f"{verb}_many needs a list of records, got one {type(records).__name__}; pass [record], or use "
                        f"{verb}(record)")
    try:
        found = iter(records)
    except TypeError:
        raise TypeError(f"{verb}_many needs a list of records, got {type(records).__name__}; pass [record], or use "
                        f"{verb}(record)") from None
    return tuple(found)


@cython.final
cdef class SenderSleep(Sleep):
    """A call that waits: for room, or for the end of another thread's claim."""

    cdef bint is_due(self) noexcept nogil:
        return (self.handle._closed or self.role.may_answer_otherwise(self.waits_for_claim, self.head)
                or (self.requires_peer and self.role.state.receiver_has_left()))


@cython.final
cdef class RoomWatch(Watch):
    """One that waits for room, or for the end, among several things. Before a call has found none there is some."""

    cdef void *handle                 # an Endpoint, which outlives this
    cdef object kept                  # or which this keeps
    cdef Sender role

    cdef int prepare(self) except -1:
        return self.role.prepare(<Endpoint>self.handle, 0, (<Endpoint>self.handle).require_peer)

    cdef bint look(self) except -1:
        cdef Endpoint handle = <Endpoint>self.handle
        cdef Sender role = self.role
        cdef uint64_t next_eviction
        self.prepare()
        if self.is_due() or role.clear_the_way(&next_eviction) or (
                handle.require_peer and role.state.receivers_are_gone(True)):
            return True
        role.state.membership.check_whole()
        return False

    cdef bint is_due(self) noexcept nogil:
        return ((<Endpoint>self.handle)._closed or not memlane_fork_is(self.role.epoch)
                or self.role.refusal == 0 or self.role.may_answer_otherwise(self.role.refusal == 2, self.role.refused_head))

    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil:
        if memlane_fork_is(self.role.epoch):
            at_word(selecting, &self.role.producer.lane.control.waiters, announces)


cdef Watch room_watch(Endpoint handle, Sender role, bint keeps):
    """What calls of a handle that put records in wait for. Without *keeps*, the handle is to outlive it."""
    cdef RoomWatch made = RoomWatch.__new__(RoomWatch)
    made.opened, made.handle, made.role = role.state, <void *>handle, role
    if keeps:
        made.kept = handle
    return made


cdef class Sender:
    """One lease of a lane by this process; its threads share it."""

    def __cinit__(self, LanesState state):
        self.state = state
        self.epoch = EPOCH_CLOSED
        self.waiting = []
        self.preparing = {}
        memlane_spinning_begin(&self.spinning)
        self.users = Users()

    def __del__(self):
        if not finalizing():
            self.depart()

    # ---- what each kind does in its own way --------------------------------------------------------

    cdef memlane_status adopt(self) noexcept:
        """Go on behind the last record of the lane, which is leased."""
        return MEMLANE_LOST

    cdef memlane_status insert_spans(self, const memlane_span *spans, size_t count, size_t *done) noexcept nogil:
        """Under the mutex: as many as there is room for."""
        return MEMLANE_LOST

    cdef memlane_status open_claim(self, uint64_t nbytes, uint64_t *offset) noexcept nogil:
        """Under the mutex: find room for one record."""
        return MEMLANE_LOST

    cdef memlane_status commit_claim(self, uint64_t offset, uint64_t nbytes) noexcept nogil:
        """Under the mutex."""
        return MEMLANE_LOST

    cdef void wake_behind(self, size_t count) noexcept:
        """Wake those that wait for records, behind so many that were committed. Runs no Python."""

    cdef bint any_room(self, uint64_t head) noexcept nogil:
        """Under the mutex: whether there may be room by now, when *head* was all that had been seen of the other side."""
        return True

    cdef bint clear_the_way(self, uint64_t *next_eviction) noexcept:
        """
        After MEMLANE_FULL: take their places from those that need not be waited for. Whether there is something to be tried
        now; *next_eviction becomes when the next one is due. Runs no Python; the caller has pinned the region.
        """
        next_eviction[0] = ~<uint64_t>0
        return False

    cdef int check_peers(self, Endpoint handle) except -1:
        """Refuse to put in what nobody will get, also where there is room: a sender learns early that nobody reads."""
        return 0

    cdef object refuse_full(self, bint is_claimed):
        """Raise Full, which says why: by a bounded look. The caller has pinned the region."""
        raise NotImplementedError()

    # ---- lease ------------------------------------------------------------------------------------

    @cython.final
    cdef int prepare(self, Endpoint handle, uint64_t deadline, bint require_peer) except -1:
        """See that this process has a lane of its own, in this epoch. Raises ShutDown, RoleTakenError, PeerGoneError, OSError."""
        cdef Sleep sleep = None
        handle.check()
        self.state.membership._check_open()
        self.state.enter(&handle.opens, &handle._closed, handle)
        while not memlane_fork_is(self.epoch):
            with epoch_lock(self.preparing):
                if memlane_fork_is(self.epoch) or self.lease(sleep is None):
                    break
            # Not under the lock: other threads have deadlines of their own.
            if sleep is None:
                sleep = Sleep()
                sleep.begin(deadline, NULL)
            elif require_peer and self.state.receivers_are_gone(False):
                self.state.refuse_unread()
            if deadline == 0 or sleep.is_over():
                self.refuse_taken()
            sleep.poll()
            PyErr_CheckSignals()
            handle.check()
        self.departing = False
        self.users.add(&handle.sends)
        handle.require_still_open()
        if self.doorbell is None:
            self.find_doorbell()
        return 0

    @cython.final
    cdef int find_doorbell(self) except -1:
        cdef uint32_t lane = self.lane
        cdef Doorbell bell = doorbell_of(self.state.membership, &self.state.lane_control(lane).doorbell)
        bell.prepare()
        if lane == self.lane:  # still: looking for it may let another thread give the lane back and take another one
            self.doorbell = bell
        return 0

    @cython.final
    cdef bint lease(self, bint is_first_look) except -1:
        """
        Try to take a lane; False: all are taken. From the moment that one is taken it runs no Python until that is
        known: a handler in the midst of it would take a second one, and the first would stay taken.
        """
        cdef memlane_status status
        cdef LanesState state = self.state
        # Whatever was inherited over a fork belongs to the parent.
        self.claim = NULL
        self.views = 0
        self.refusal = 0
        self.departing = False
        self.waiting = []
        self.doorbell = None
        self.tag = state.membership.own_tag()
        know_clock()
        if memlane_fork_is(self.epoch):
            return True  # done meanwhile, by a handler that ran while this process joined
        if memlane_ring_shutdown(state.control):
            state.refuse(MEMLANE_CLOSED, 0)
        if not self.find_lane(is_first_look):
            # Not taken but closed, if the end came in between.
            if memlane_ring_shutdown(state.control):
                state.refuse(MEMLANE_CLOSED, 0)
            return False
        if memlane_fork_is(self.epoch):
            return True
        state.lane_at(self.lane, &self.producer.lane)
        self.producer.ring = state.control
        self.producer.tag = self.tag
        status = self.adopt()
        if status != MEMLANE_OK:
            memlane_lane_depart(self.producer.lane.control, self.tag)
            state.refuse(status, 0)
        memlane_producer_clock(self.producer, CLOCK)
        memlane_producer_stamp_next(self.producer)
        memlane_ring_raise_leased(state.control, self.lane + 1)
        memlane_mutex_reset(&self.mutex)
        self.epoch = memlane_fork_epoch()
        return True

    @cython.final
    cdef bint find_lane(self, bint is_first_look) except -1:
        """
        Departed lanes first, then those of the dead, backlog and all; then one that was never leased. The first
        look asks for every owner; one that waits asks for some of them each time, in turn.
        """
        cdef LanesState state = self.state
        cdef uint32_t lane = 0
        cdef uint32_t probes = state.lanes if is_first_look else <uint32_t>MEMLANE_PROBES_A_STEP
        if self.is_bound:
            return self.find_bound_lane()
        if memlane_lease_used_lane(&state.membership.own, state.controls, state.lanes, probes, &self.next_probed, &lane):
            self.lane = lane
            return True
        lane = 0
        while memlane_lease_find_unused(state.controls, state.lanes, &lane):
            state.membership.reserve(
                state.data - state.membership.mapping.address + lane * state.data_nbytes, state.data_nbytes)
            if memlane_fork_is(self.epoch):
                return True  # done meanwhile, by a handler that ran while memory was reserved
            if memlane_lane_lease(&state.controls[lane], MEMLANE_OWNER_NEVER, self.tag):
                self.lane = lane
                return True
            lane += 1
        return False

    @cython.final
    cdef bint find_bound_lane(self) noexcept:
        """The lane that a dead process had, if nobody had it since: then what it put in last is the end of the lane."""
        cdef LanesState state = self.state
        if (self.bound_owner <= MEMLANE_OWNER_CLOSED or self.bound_lane >= state.lanes
                or state.membership.life(self.bound_owner) != MEMLANE_DEAD
                or not memlane_lane_lease(&state.controls[self.bound_lane], self.bound_owner, self.tag)):
            return False
        self.lane = self.bound_lane
        return True

    @cython.final
    cdef object refuse_taken(self):
        cdef uint32_t lane
        cdef LanesState state = self.state
        owners = [memlane_lane_owner(state.lane_control(lane)) for lane in range(state.lanes)]
        pids = tuple([state.membership.pid_of(owner) for owner in owners if owner > MEMLANE_OWNER_CLOSED])
        named = ", ".join(map(str, pids[:8])) + (", ..." if len(pids) > 8 else "")
        raise RoleTakenError(
            f"all {state.sender_word}s={state.lanes} of {state.name} are taken by live processes (pid {named}); "
            f"close one there, or create the {state.word} with more", role=state.sender_word, pids=pids)

    @cython.final
    cdef void depart(self) noexcept:
        """Give the lane back; its records stay. An open claim keeps it until it is gone, and so do views of records."""
        if not memlane_fork_is(self.epoch) or self.state.membership.closed:
            return
        if not self.state.is_held():
            self.epoch = EPOCH_CLOSED  # the object was removed, and its room may be another one's
            return
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        self.departing = True
        if self.claim == NULL and self.producer.kept == NULL:
            self.epoch = EPOCH_CLOSED
            memlane_lane_depart(self.producer.lane.control, self.tag)
        memlane_mutex_unlock(&self.mutex)
        self.wake_sleepers()  # what waits here has another answer now

    # ---- putting in -------------------------------------------------------------------------------

    @cython.final
    cdef object insert_many(self, Endpoint handle, object records, object timeout, bint require_peer):
        cdef uint64_t deadline = deadline_of(timeout)
        cdef LanesState state = self.state
        cdef tuple held = items_of(records, state.verb)  # ours alone: nobody can take an item away while we wait
        cdef Py_ssize_t count = len(held), i, viewed = 0
        cdef uint64_t most = state.max_record()
        cdef memlane_span *spans
        cdef Py_buffer *views = NULL
        handle.check()
        if count == 0:
            return 0
        spans = <memlane_span *>PyMem_Malloc(count * sizeof(memlane_span))
        if spans == NULL:
            raise MemoryError()
        try:
            for i in range(count):
                item = held[i]
                if PyBytes_CheckExact(item):
                    spans[i].bytes = PyBytes_AS_STRING(item)
                    spans[i].nbytes = PyBytes_GET_SIZE(item)
                else:
                    if views == NULL:
                        views = <Py_buffer *>PyMem_Malloc(count * sizeof(Py_buffer))
                        if views == NULL:
                            raise MemoryError()
                    try:
                        contiguous(item, &views[viewed], PyBUF_SIMPLE, state.verb + "_many")
                    except (TypeError, BufferError) as wrong:
                        raise type(wrong)(f"item {i} of {count}: {wrong}") from None
                    spans[i].bytes = views[viewed].buf
                    spans[i].nbytes = views[viewed].len
                    viewed += 1
                if spans[i].nbytes > most:
                    state.refuse(MEMLANE_TOO_LARGE, spans[i].nbytes)
            if require_peer:
                self.check_peers(handle)
            return self.insert(handle, spans, count, deadline, None, require_peer)
        finally:
            for i in range(viewed):
                PyBuffer_Release(&views[i])
            PyMem_Free(views)
            PyMem_Free(spans)

    @cython.final
    cdef Reservation reserve(self, Endpoint handle, object nbytes, object timeout, bint require_peer):
        cdef memlane_span span
        cdef Reservation reservation = Reservation.__new__(Reservation)
        cdef size_t done
        cdef uint64_t head
        span.bytes = NULL
        span.nbytes = size_of(nbytes, "nbytes", 0)
        reservation.role = self
        check_timeout(timeout)
        if require_peer:
            self.check_peers(handle)
        if (handle.sends == self.epoch and memlane_fork_is(self.epoch) and not self.waiting
                and self.attempt(&span, 1, &done, reservation, &head, False) == MEMLANE_OK):
            self.check_reserved(reservation)
            return reservation
        self.insert(handle, &span, 1, deadline_of(timeout), reservation, require_peer)
        return reservation

    @cython.final
    cdef ArrayReservation reserve_array(self, Endpoint handle, object shape, object dtype, object timeout, bint require_peer):
        cdef ArrayReservation made = ArrayReservation.__new__(ArrayReservation)
        numpy = numpy_for("reserve_array", "reserve(nbytes), whose memoryview(room).cast(...) is an array, too")
        kind, dimensions = dtype_of(numpy, dtype), dimensions_of(shape)
        if kind.hasobject:
            raise TypeError(f"reserve_array cannot hold Python objects, which mean nothing to another process, got dtype {kind}; "
                            "use a dtype of numbers or bytes")
        nbytes = kind.itemsize
        for length in dimensions:
            nbytes *= length
        made.reservation = self.reserve(handle, nbytes, timeout, require_peer)
        try:
            made.made = made.reservation.array(dimensions, kind)
        except BaseException:
            made.reservation.abort()
            raise
        return made

    @cython.final
    cdef size_t insert(self, Endpoint handle, const memlane_span *spans, size_t count, uint64_t deadline,
                       Reservation reservation, bint require_peer) except? 0:
        """
        Put all spans in, or open a claim for *reservation* of the first one's size; waits for room until the deadline.
        Returns how many went in: fewer than all at the deadline, or when the object was shut down or *require_peer* refused
        meanwhile.
        """
        cdef LanesState state = self.state
        cdef memlane_status status
        cdef size_t done = 0, step
        cdef SenderSleep sleep = None
        cdef object ticket = None
        cdef uint64_t pinned, began, end, head = 0, next_eviction = ~<uint64_t>0
        cdef bint is_counted = False
        cdef bint is_drained = False  # the descriptor of the handle, and no room was found since
        handle.check()
        if spans[0].nbytes > state.max_record():
            state.refuse(MEMLANE_TOO_LARGE, spans[0].nbytes)
        pinned = state.pin()
        try:
            while True:
                try:
                    self.prepare(handle, deadline, require_peer)
                except (ShutDown, ClosedError, PeerGoneError):
                    if done:
                        return done
                    raise
                status = MEMLANE_FULL
                if self.is_turn_of(ticket):
                    status = self.attempt(spans + done, count - done, &step, reservation, &head, True)
                    if status == MEMLANE_FULL and self.clear_the_way(&next_eviction):
                        continue
                if status == MEMLANE_OK:
                    if reservation is not None:
                        self.check_reserved(reservation)
                        return 1
                    state.membership.check_whole()
                    done += step
                    self.wake_behind(step)
                    if done == count:
                        return done
                    continue
                if status == MEMLANE_LOST and not self.has_lost_lane():
                    continue  # closed or forked in between: prepare says so
                if status == MEMLANE_BUSY:
                    if self.claim_thread == PyThread_get_thread_ident():
                        self.refusal, self.refused_head = 2, head  # in an event loop, other tasks of the thread wait for it
                        raise RuntimeError(
                            f"this thread has a claim open on its lane of {state.name}, or a view of an aborted one "
                            "is alive; commit or abort it, or del the view, first")
                elif status != MEMLANE_FULL:
                    if done:
                        return done
                    state.refuse(status, spans[done].nbytes)

                if status == MEMLANE_FULL and not is_counted:
                    is_counted = True
                    memlane_producer_count_full(self.producer)
                if sleep is None:
                    sleep = SenderSleep()
                    sleep.begin(deadline, &self.spinning)
                    sleep.role, sleep.handle = self, handle
                elif require_peer and state.receivers_are_gone(False):
                    if done:
                        return done
                    state.refuse_unread()
                sleep.waits_for_claim, sleep.head = status == MEMLANE_BUSY, head
                sleep.requires_peer = require_peer
                sleep.waiting.deadline = deadline
                if deadline == 0 or sleep.is_over():
                    self.refusal, self.refused_head = 2 if status == MEMLANE_BUSY else 1, head
                    if handle.writable is not None and not is_drained and handle.writable.rearm():
                        is_drained = True
                        continue
                    is_drained = False
                    if done:
                        return done
                    self.refuse_full(status == MEMLANE_BUSY)
                if status == MEMLANE_FULL and next_eviction < deadline:
                    sleep.waiting.deadline = next_eviction
                if ticket is None:
                    ticket = _Lock()
                    ticket.acquire()
                    self.waiting.append(ticket)
                if not self.is_turn_of(ticket):
                    # Only the first in the queue watches the lane: a token that woke another one would be lost.
                    began, end = memlane_monotonic_ns(), memlane_waiting_slice_end(&sleep.waiting)
                    if began < end and not ticket.acquire(True, (end - began) * 1e-9):
                        memlane_interval_note(began)
                    continue
                if not sleep.spin(handle.wait) and handle.wait != MEMLANE_WAIT_SPIN:
                    sleep.nap(&self.producer.lane.control.waiters, self.doorbell)
                PyErr_CheckSignals()
        finally:
            if ticket is not None:
                self.leave_queue(ticket)
            if is_drained and handle.writable is not None:
                handle.writable.stir()
            state.unpin(pinned)

    @cython.final
    cdef int check_reserved(self, Reservation reservation) except -1:
        if memlane_guard_is_truncated(self.state.guarded):
            reservation.is_open = False  # nobody gets it, so nobody dropped it
        return self.state.membership.check_whole()

    @cython.final
    cdef bint has_lost_lane(self) noexcept:
        """Whether the lane that we still believe to be ours has another owner."""
        return (memlane_fork_is(self.epoch) and not self.departing and not self.state.is_gone()
                and memlane_lane_owner(self.producer.lane.control) != self.tag)

    @cython.final
    cdef bint is_turn_of(self, object ticket) except -1:
        """Whether nobody waits in front of this call; None: it does not wait yet."""
        cdef list first
        if not self.waiting:
            return True
        first = self.waiting[:1]  # ours alone: another thread may leave the queue at any moment
        return not first or first[0] is ticket

    @cython.final
    cdef int leave_queue(self, object ticket) except -1:
        """And give the turn to the next one, which may find room, or at least that it is its turn."""
        cdef list first
        try:
            self.waiting.remove(ticket)
        except ValueError:
            return 0  # a forked child began a queue of its own
        first = self.waiting[:1]
        if first:
            try:
                first[0].release()
            except RuntimeError:
                pass  # it has its turn already
        return 0

    @cython.final
    cdef void wake_own(self) noexcept:
        """The first call that waits here, after something was released that only this process knows of."""
        if memlane_waiters_any_fenced(&self.producer.lane.control.waiters):
            self.wake(1)

    @cython.final
    cdef void wake_sleepers(self) noexcept:
        """Every call that sleeps at this lane, for what does not concern the first of them alone."""
        self.wake(MEMLANE_POSTS_MAX)

    @cython.final
    cdef void wake(self, uint32_t times) noexcept:
        if self.doorbell is not None:
            self.doorbell.wake(&self.producer.lane.control.waiters, times)
        else:
            memlane_selecting_wake(&self.state.membership.own, &self.producer.lane.control.waiters)

    @cython.final
    cdef memlane_status attempt(self, const memlane_span *spans, size_t count, size_t *done, Reservation reservation,
                                uint64_t *head, bint pinned) noexcept:
        """
        `locked_attempt` under the mutex. A caller that has not pinned does not wait for it: MEMLANE_BUSY. *head* becomes what
        was seen of the receiving side.
        """
        cdef memlane_status status
        cdef size_t total = 0, i
        cdef uint64_t *offset = NULL
        cdef unsigned long thread = 0
        if reservation is not None:
            offset, thread = &reservation.offset, PyThread_get_thread_ident()
        else:
            for i in range(count):
                total += spans[i].nbytes
        if total < COPY_WITH_GIL_NBYTES and memlane_mutex_try(&self.mutex):
            status = self.locked_attempt(spans, count, done, <PyObject *>reservation, offset, thread)
            head[0] = self.producer.head
            memlane_mutex_unlock(&self.mutex)
        elif not pinned:
            return MEMLANE_BUSY
        else:
            with nogil:
                memlane_mutex_lock(&self.mutex)
                status = self.locked_attempt(spans, count, done, <PyObject *>reservation, offset, thread)
                head[0] = self.producer.head
                memlane_mutex_unlock(&self.mutex)
        if status == MEMLANE_OK and reservation is not None:
            reservation.begin(
                self.state, self.producer.lane.bytes + reservation.offset + self.state.prefix_nbytes, spans[0].nbytes)
        return status

    @cython.final
    cdef memlane_status locked_attempt(self, const memlane_span *spans, size_t count, size_t *done, PyObject *reservation,
                                       uint64_t *offset, unsigned long thread) noexcept nogil:
        """One step under the mutex. MEMLANE_BUSY: a claim is open; MEMLANE_LOST: the lane is not ours now."""
        cdef memlane_status status
        if not memlane_fork_is(self.epoch) or self.departing or self.state.is_gone():
            return MEMLANE_LOST
        if self.claim != NULL:
            return MEMLANE_BUSY
        if offset == NULL:
            status = self.insert_spans(spans, count, done)
            if status == MEMLANE_OK:
                memlane_producer_stamp(self.producer, done[0], memlane_coarse_ns())
            return status
        done[0] = 1
        status = self.open_claim(spans[0].nbytes, offset)
        if status == MEMLANE_OK:
            self.claim = <void *>reservation
            self.claim_thread = thread
        return status

    @cython.final
    cdef bint may_answer_otherwise(self, bint waits_for_claim, uint64_t head) noexcept nogil:
        """
        The second look: whether the next attempt can answer otherwise than the last one did, which was MEMLANE_BUSY
        (*waits_for_claim*), or MEMLANE_FULL when *head* was all that had been seen of the receiving side.
        """
        cdef bint found
        # A call of another thread may have looked at the other side since, and taken less than there was.
        if not memlane_fork_is(self.epoch) or self.departing or self.state.membership._closing or self.state.is_gone_now():
            return True
        if not memlane_mutex_try(&self.mutex):
            return True  # its holder is copying and wakes nobody; the attempt waits for it
        found = self.claim == NULL and (waits_for_claim or self.any_room(head))
        memlane_mutex_unlock(&self.mutex)
        return found


@cython.final
@cython.no_gc
cdef class Reservation(Loan):
    """
    A claim: room for one record inside a ring or a topic, to be written in place, then committed.

    Supports the buffer protocol (writable). `with ring.reserve(n) as room:` commits at the end and aborts on
    an exception. Made by `reserve`; used by the thread that made it. The other side sees nothing of it before
    the commit; if this process dies, it has never existed.

    Views of it (memoryviews, arrays) may live on after the commit: the record is seen at once, and the bytes that were
    reserved are used for no other record until the last view has died. Arrays made by `array` become read-only. A write
    through another view after the commit spoils that record.

    Type checkers do not take a reservation for a buffer on Python 3.11: there, write `np.frombuffer(memoryview(room))`, or
    use `array`.
    """

    def __cinit__(self):
        self.is_writable = True

    cdef void give_bytes_back(self) noexcept:
        """Let the lane go on, and give it back if it was only kept for us."""
        cdef Sender role = self.role
        memlane_mutex_lock(&role.mutex)  # with the GIL: holders never need it
        if self.is_kept:
            memlane_producer_release(role.producer, &self.kept)
            role.views -= 1
        else:
            role.claim = NULL
        memlane_mutex_unlock(&role.mutex)
        if role.departing:
            role.depart()
        else:
            role.wake_own()

    cdef void note_dropped(self) noexcept:
        PyErr_ResourceWarning(
            self, 1, "a reservation in %U was dropped without a commit, so no record went in; use 'with', or call its "
            "commit() or abort()", <void *>self.lender.name)

    cdef object refuse_closed(self):
        raise ClosedError(f"this reservation{'' if self.lender is None else ' in ' + self.lender.name} was committed "
                          "or aborted; reserve another one")

    cdef str word(self):
        return "reservation"

    def __setitem__(self, index, value):
        """
        Write a byte (an int from 0 to 255), or into a slice any contiguous buffer of as many bytes.

        Raises:
            ValueError: the slice has another number of bytes.
            ClosedError: committed or aborted before.
        """
        cdef Py_ssize_t start = 0, stop = 0, step = 1, count, i
        cdef unsigned char byte
        cdef unsigned char *to
        cdef Py_buffer data
        if not isinstance(index, slice):
            start = index_of(index)
            byte = byte_of(value)
            self.check_open()  # only now, as in `write`
            if start < 0:
                start += self.nbytes
            if not 0 <= start < <Py_ssize_t>self.nbytes:
                raise IndexError(f"index {index} is out of range of a reservation of {self.nbytes} bytes")
            self.address[start] = byte
            self.lender.membership.check_whole()
            return
        bounds_of(index, &start, &stop, &step)
        contiguous(value, &data, PyBUF_SIMPLE, "a slice of a reservation")
        try:
            self.check_open()
            count = PySlice_AdjustIndices(self.nbytes, &start, &stop, step)
            if data.len != count:
                raise ValueError(f"the slice of the reservation has {count} bytes but the value has {data.len}; give as many, or "
                                 "copy to a place in it with write(data, offset)")
            if step == 1:
                self.copy_in(start, &data)
            else:
                copied = PyBytes_FromStringAndSize(<const char *>data.buf, count)
                to = self.address + start
                for i in range(count):
                    to[i * step] = (<unsigned char *>PyBytes_AS_STRING(copied))[i]
            self.lender.membership.check_whole()
        finally:
            PyBuffer_Release(&data)

    cdef int copy_in(self, uint64_t at, const Py_buffer *view) except -1:
        """Copy what was found to fit."""
        cdef unsigned char *to = self.address + at
        if to < <unsigned char *>view.buf + view.len and <unsigned char *>view.buf < to + view.len:
            memmove(to, view.buf, view.len)  # a view of this very reservation
        elif view.len < <Py_ssize_t>COPY_WITH_GIL_NBYTES:
            memlane_copy(to, view.buf, view.len)
        else:
            self.exports += 1  # as a view does: another thread may abort this one and close its object
            with nogil:
                memlane_copy(to, view.buf, view.len)
            self.export_ended()
        return 0

    def array(self, shape, dtype="uint8"):
        """
        Return a writable numpy array on the first bytes of it. At the commit it becomes read-only.

        Raises:
            ValueError: it needs more bytes than were reserved.
            TypeError: *dtype* holds Python objects.
            ImportError: there is no numpy.
            ClosedError: committed or aborted before.
        """
        array = array_of(self, self.nbytes, shape, dtype, "reservation", "reserve more")
        if self.arrays is None:
            self.arrays = []
        self.arrays.append(_weakref.ref(array))
        return array

    cdef int freeze(self) except -1:
        """Nobody that holds to the rules writes into a record that others read."""
        for reference in self.arrays:
            array = reference()
            if array is not None:
                array.setflags(write=False)
        return 0

    def write(self, data, offset=0):
        """
        Copy *data*, any contiguous buffer, to byte *offset* of it, leaving no view behind.

        Returns:
            How many bytes were copied.

        Raises:
            ValueError: it would not fit.
            ClosedError: committed or aborted before.
        """
        cdef Py_buffer view
        cdef uint64_t at = size_of(offset, "offset", 0)
        contiguous(data, &view, PyBUF_SIMPLE, "write")
        try:
            self.check_open()  # only now: what gave the buffer may be Python, which has ended this reservation
            if at > self.nbytes or <uint64_t>view.len > self.nbytes - at:
                raise ValueError(f"{view.len} bytes at offset {at} do not fit a reservation of {self.nbytes} bytes; reserve more")
            self.copy_in(at, &view)
            self.lender.membership.check_whole()
            return view.len
        finally:
            PyBuffer_Release(&view)

    def commit(self, nbytes=None):
        """
        Put the record in, its first *nbytes* bytes or all of it. Never waits.

        Views of it may be alive. Until the last one has died, all the bytes that were reserved stay occupied, also
        if *nbytes* is less; arrays made by `array` are read-only from now on.

        In a process that was forked after `reserve` nothing happens: the claim is the parent's.

        Raises:
            ShutDown: the ring or topic was shut down meanwhile; nobody gets the record.
            ValueError: *nbytes* is more than was reserved.
            ClosedError: committed or aborted before, or this process was taken for dead.
        """
        self.commit_bytes(nbytes)

    cdef int commit_bytes(self, object nbytes) except -1:
        cdef Sender role = self.role
        cdef memlane_status status
        cdef uint64_t length = self.nbytes
        if nbytes is not None:
            length = size_of(nbytes, "nbytes", 0)
        self.check_open()  # only now: what gave the number may be Python, which has ended this reservation
        if length > self.nbytes:
            raise ValueError(f"cannot commit {length} bytes of a reservation of {self.nbytes}; reserve more")
        self.is_open = False
        if self.arrays is not None:
            self.exports += 1  # our own: the last view may die in there, and would end the claim before the commit
            try:
                self.freeze()
            except BaseException:
                self.export_ended()
                raise
            self.exports -= 1
        if not memlane_fork_is(self.pinned):
            self.close()
            return 0
        if role.state.is_gone():
            self.close()
            role.state.refuse_gone()
        memlane_mutex_lock(&role.mutex)  # with the GIL: holders never need it
        status = role.commit_claim(self.offset, length)
        if status == MEMLANE_OK:
            memlane_producer_stamp(role.producer, 1, memlane_coarse_ns())
        if status == MEMLANE_OK and self.exports:
            memlane_producer_keep(role.producer, &self.kept, self.offset, self.nbytes + role.state.prefix_nbytes)
            role.views += 1
            role.claim = NULL
            self.is_kept = True
        memlane_mutex_unlock(&role.mutex)
        try:
            role.state.membership.check_whole()
            if status == MEMLANE_OK:
                role.wake_behind(1)
        finally:
            if self.exports == 0:
                self.end()  # last: it may be what kept the memory of an object that was closed
            elif self.is_kept:
                role.wake_own()  # the claim is gone
        if status != MEMLANE_OK:
            role.state.refuse(status, length)
        return 0

    def abort(self):
        """Give it back unused. While a view of it lives the lane stays claimed. Never raises twice."""
        self.close()

    @cython.binding(True)
    def __exit__(self, kind, _value, _traceback):
        if self.is_open:
            if kind is None:
                self.commit_bytes(None)
            else:
                self.close()


@cython.final
cdef class ArrayReservation:
    """
    A reservation that is one array. `with ring.reserve_array(shape, dtype) as array:` gives the array, commits at the end, and
    aborts on an exception. Made by `reserve_array`; the array becomes read-only at the commit.
    """

    def __init__(self, *_arguments, **_keywords):
        raise TypeError("an ArrayReservation is made by reserve_array(), not by calling the class")

    @property
    def array(self):
        """
        The array, in place, writable until the commit.

        Raises:
            ClosedError: committed or aborted before.
        """
        self.reservation.check_open()
        return self.made

    def commit(self):
        """Put the record in. Never waits. Raises as `Reservation.commit`."""
        self.made = None
        self.reservation.commit_bytes(None)

    def abort(self):
        """Give it back unused. While a view of it lives the lane stays claimed. Never raises twice."""
        self.made = None
        self.reservation.close()

    @cython.binding(True)
    def __enter__(self):
        self.reservation.check()
        return self.made

    @cython.binding(True)
    def __exit__(self, kind, _value, _traceback):
        self.made = None
        if self.reservation.is_open:
            if kind is None:
                self.reservation.commit_bytes(None)
            else:
                self.reservation.close()
