# SPDX-License-Identifier: MIT
"""A producer's lane in this process, and the claim on it."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.slice cimport PySlice_AdjustIndices
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memmove, memset

import os as _os
import weakref as _weakref
from threading import Lock as _Lock

from memlane.errors import ClosedError, Full, PeerGoneError, RoleTakenError, ShutDown

from memlane._core.arguments cimport (
    COPY_WITH_GIL_NBYTES, array_of, bounds_of, byte_of, check_timeout, contiguous, deadline_of,
    index_of, size_of,
)
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_CLOSED, MEMLANE_FULL, MEMLANE_LOST, MEMLANE_OK, MEMLANE_OWNER_CLOSED,
    MEMLANE_OWNER_NEVER, MEMLANE_STAMP_EACH, MEMLANE_TOO_LARGE, memlane_copy, memlane_lane,
    memlane_lane_control, memlane_lane_depart, memlane_lane_head, memlane_lane_lease,
    memlane_lane_owner, memlane_max_record, memlane_peers_came, memlane_producer_adopt,
    memlane_producer_any, memlane_producer_claim, memlane_producer_clock, memlane_producer_commit,
    memlane_producer_count_full, memlane_producer_holds, memlane_producer_keep,
    memlane_producer_put, memlane_producer_put_many, memlane_producer_release,
    memlane_producer_reuse, memlane_producer_stamp, memlane_producer_used,
    memlane_ring_raise_leased, memlane_ring_shutdown, memlane_span, memlane_status,
    memlane_waiters_any, memlane_waiters_any_fenced,
)
from memlane._core.mapping cimport finalizing
from memlane._core.membership cimport EPOCH_CLOSED, Membership, Users, epoch_lock
from memlane._core.os cimport (
    memlane_coarse_ns, memlane_fork_epoch, memlane_fork_is, memlane_guard_is_truncated,
    memlane_monotonic_ns, memlane_mutex_lock, memlane_mutex_reset, memlane_mutex_try,
    memlane_mutex_unlock,
)
from memlane._core.ring_state cimport Endpoint, RingState
from memlane._core.runtime cimport (
    MEMLANE_POSTS_MAX, MEMLANE_PROBES_A_STEP, MEMLANE_WAIT_SPIN, memlane_lease_find_unused,
    memlane_lease_used_lane, memlane_selecting_wake, memlane_slice_note, memlane_spinning_begin, memlane_waiting_slice_end,
)
from memlane._core.waiting cimport CLOCK, Doorbell, Sleep, doorbell_of, know_clock

memlane_calls_join(calls_of_process(), globals())

cdef extern from "Python.h":
    int PyErr_ResourceWarning(object source, Py_ssize_t stack_level, const char *text, ...) except -1

# From this size on a record had better go where the last one was, which is in the processor's cache still. A look
# whether it is free takes 50 ns, writing so much for each look a hundred times as long.
cdef uint64_t REUSE_NBYTES = 65536

cdef uint64_t REUSE_NBYTES_A_LOOK = 65536

# A claim looks with the GIL. Some 6 microseconds: a consumer that reads little of a large record is through with it.
cdef uint64_t REUSE_LOOKS_WITH_GIL = 128

cdef enum:
    # Records that get a stamp after a consumer was woken: the calls of the kernel for that cost twenty times as much.
    STAMPS_AFTER_WAKING = 16


@cython.final
cdef class RoomSleep(Sleep):
    """A put that waits: for room, or for the end of another thread's claim."""

    cdef ProducerRole role
    cdef Endpoint handle
    cdef bint waits_for_claim         # the last attempt said MEMLANE_BUSY
    cdef uint64_t head                # what that attempt had seen of the consumer, if it said MEMLANE_FULL
    cdef bint requires_peer           # and is refused when there is none

    cdef bint is_due(self) noexcept nogil:
        return (self.handle._closed or self.role.may_answer_otherwise(self.waits_for_claim, self.head)
                or (self.requires_peer and self.role.ring.peer_has_left()))


cdef tuple items_of(object records):
    """What put_many is to put."""
    if type(records) is list or type(records) is tuple:
        return tuple(records)
    if isinstance(records, (bytes, bytearray, memoryview, str)):
        raise TypeError(f"put_many needs a list of records, got one {type(records).__name__}; pass [record], or use put(record)")
    try:
        found = iter(records)
    except TypeError:
        raise TypeError(f"put_many needs a list of records, got {type(records).__name__}; pass [record], or use put(record)") \
            from None
    return tuple(found)


cdef enum:
    FULL_BY_ROOM = 0                  # of records or bytes, and nothing else to be said
    FULL_BY_CLAIM = 1
    FULL_BY_VIEWS = 2
    FULL_ON_LOAN = 3
    FULL_NOBODY_LEFT = 4
    FULL_NOBODY_YET = 5


@cython.final
cdef class ProducerRole:
    """One lease of a lane by this process; its threads share it."""

    def __cinit__(self, RingState ring):
        self.ring = ring
        self.epoch = EPOCH_CLOSED
        self.waiting = []
        self.preparing = {}
        memlane_spinning_begin(&self.spinning)
        self.users = Users()

    def __del__(self):
        if not finalizing():
            self.depart()

    # ---- lease ------------------------------------------------------------------------------------

    cdef int prepare(self, Endpoint handle, uint64_t deadline, bint require_peer) except -1:
        """See that this process has a lane of its own, in this epoch. Raises ShutDown, RoleTakenError, PeerGoneError, OSError."""
        cdef Sleep sleep = None
        handle.check()
        self.ring.membership._check_open()
        self.ring.enter(&handle.opens, &handle._closed, handle)
        while not memlane_fork_is(self.epoch):
            with epoch_lock(self.preparing):
                if memlane_fork_is(self.epoch) or self._lease(sleep is None):
                    break
            # Not under the lock: other threads have deadlines of their own.
            if sleep is None:
                sleep = Sleep()
                sleep.begin(deadline, NULL)
            elif require_peer and self.ring.consumers_are_gone(False):
                self.ring.refuse_unread()
            if deadline == 0 or sleep.is_over():
                self._refuse_taken()
            sleep.poll()
            PyErr_CheckSignals()
            handle.check()
        self.departing = False
        self.users.add(&handle.sends)
        handle.require_still_open()
        if self.doorbell is None:
            self._find_doorbell()
        return 0

    cdef int _find_doorbell(self) except -1:
        cdef uint32_t lane = self.lane
        cdef Doorbell bell = doorbell_of(self.ring.membership, &self.ring.lane_control(lane).doorbell)
        bell.prepare()
        if lane == self.lane:  # still: looking for it may let another thread give the lane back and take another one
            self.doorbell = bell
        return 0

    cdef bint _lease(self, bint is_first_look) except -1:
        """
        Try to take a lane; False: all are taken. From the moment that one is taken it runs no Python until that is
        known: a handler in the midst of it would take a second one, and the first would stay taken.
        """
        cdef memlane_status status
        # Whatever was inherited over a fork belongs to the parent.
        self.claim = NULL
        self.views = 0
        self.departing = False
        self.waiting = []
        self.doorbell = None
        self.tag = self.ring.membership.own_tag()
        know_clock()
        if memlane_fork_is(self.epoch):
            return True  # done meanwhile, by a handler that ran while this process joined
        if memlane_ring_shutdown(self.ring.control):
            self.ring.refuse(MEMLANE_CLOSED, 0)
        if not self._find_lane(is_first_look):
            # Not taken but closed, if the end came in between.
            if memlane_ring_shutdown(self.ring.control):
                self.ring.refuse(MEMLANE_CLOSED, 0)
            return False
        if memlane_fork_is(self.epoch):
            return True
        self.ring.lane_at(self.lane, &self.producer.lane)
        self.producer.ring = self.ring.control
        self.producer.tag = self.tag
        status = memlane_producer_adopt(&self.producer)
        if status != MEMLANE_OK:
            memlane_lane_depart(self.producer.lane.control, self.tag)
            self.ring.refuse(status, 0)
        memlane_producer_clock(&self.producer, CLOCK)
        self.stamp_next()
        memlane_ring_raise_leased(self.ring.control, self.lane + 1)
        memlane_mutex_reset(&self.mutex)
        self.epoch = memlane_fork_epoch()
        return True

    cdef bint _find_lane(self, bint is_first_look) except -1:
        """
        Departed lanes first, then those of the dead, backlog and all; then one that was never leased. The first
        look asks for every owner; one that waits asks for some of them each time, in turn.
        """
        cdef memlane_lane_control *controls = self.ring.lane_control(0)
        cdef uint32_t lanes = self.ring.shape.lanes, lane = 0
        cdef uint32_t probes = lanes if is_first_look else <uint32_t>MEMLANE_PROBES_A_STEP
        if memlane_lease_used_lane(&self.ring.membership.own, controls, lanes, probes, &self.next_probed, &lane):
            self.lane = lane
            return True
        lane = 0
        while memlane_lease_find_unused(controls, lanes, &lane):
            self.ring.membership.reserve(
                self.ring.offset + self.ring.shape.data_offset + lane * self.ring.shape.data_nbytes, self.ring.shape.data_nbytes)
            if memlane_fork_is(self.epoch):
                return True  # done meanwhile, by a handler that ran while memory was reserved
            if memlane_lane_lease(&controls[lane], MEMLANE_OWNER_NEVER, self.tag):
                self.lane = lane
                return True
            lane += 1
        return False

    cdef object _refuse_taken(self):
        cdef uint32_t lane
        owners = [memlane_lane_owner(self.ring.lane_control(lane)) for lane in range(self.ring.shape.lanes)]
        pids = tuple([self.ring.membership.pid_of(owner) for owner in owners if owner > MEMLANE_OWNER_CLOSED])
        named = ", ".join(map(str, pids[:8])) + (", ..." if len(pids) > 8 else "")
        raise RoleTakenError(
            f"all producers={self.ring.shape.lanes} of {self.ring.name} are taken by live processes (pid {named}); "
            "close one there, or create the ring with more", role="producer", pids=pids)

    cdef void depart(self) noexcept:
        """Give the lane back; its backlog stays. An open claim keeps it until it is gone, and so do views of records."""
        if not memlane_fork_is(self.epoch) or self.ring.membership.closed:
            return
        if not self.ring.is_held():
            self.epoch = EPOCH_CLOSED  # the ring was removed, and its room may be another object's
            return
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        self.departing = True
        if self.claim == NULL and self.producer.kept == NULL:
            self.epoch = EPOCH_CLOSED
            memlane_lane_depart(self.producer.lane.control, self.tag)
        memlane_mutex_unlock(&self.mutex)
        self.wake_all()  # what waits here has another answer now

    # ---- putting ------------------------------------------------------------------------------------

    cdef int check_peers(self, Endpoint handle) except -1:
        """Refuse to put what nobody will get, also where there is room: who fills a ring that is not read learns it early."""
        cdef Membership membership = self.ring.membership
        cdef uint64_t pinned
        handle.check()
        membership._check_open()
        pinned = self.ring.pin()
        try:
            self.ring.enter(&handle.opens, &handle._closed, handle)  # the dead are cleared away
            if memlane_ring_shutdown(self.ring.control) == 0 and self.ring.consumers_are_gone(True):
                membership.check_whole()
                self.ring.refuse_unread()
        finally:
            self.ring.unpin(pinned)
        return 0

    cdef int put(self, Endpoint handle, object record, object timeout, bint require_peer) except -1:
        cdef memlane_span span
        cdef Py_buffer view
        if PyBytes_CheckExact(record):
            span.bytes = PyBytes_AS_STRING(record)
            span.nbytes = PyBytes_GET_SIZE(record)
            self.put_span(handle, &span, timeout, require_peer)
            return 0
        contiguous(record, &view, PyBUF_SIMPLE, "put")
        try:
            span.bytes = view.buf
            span.nbytes = view.len
            self.put_span(handle, &span, timeout, require_peer)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef inline int put_span(self, Endpoint handle, const memlane_span *span, object timeout, bint require_peer) except -1:
        cdef memlane_status status
        cdef size_t done
        check_timeout(timeout)
        if require_peer:
            self.check_peers(handle)
        if (handle.sends == self.epoch and memlane_fork_is(self.epoch) and span.nbytes < COPY_WITH_GIL_NBYTES
                and not self.waiting and memlane_mutex_try(&self.mutex)):
            status = MEMLANE_BUSY
            if self.claim == NULL and memlane_fork_is(self.epoch) and not self.ring.is_gone():
                status = memlane_producer_put(&self.producer, span.bytes, span.nbytes)
                if self.producer.next > self.next_stamp and status == MEMLANE_OK:
                    self.stamp_some()
            memlane_mutex_unlock(&self.mutex)
            if status == MEMLANE_OK:
                if memlane_guard_is_truncated(self.ring.guarded):
                    self.ring.membership.check_whole()  # then nobody will ever see the record
                if memlane_waiters_any(&self.ring.control.waiters):
                    self.stamp_next()
                    self.ring.wake_consumers(1)
                return 0
        self.insert(handle, span, 1, deadline_of(timeout), None, require_peer)
        return 0

    cdef object put_many(self, Endpoint handle, object records, object timeout, bint require_peer):
        cdef uint64_t deadline = deadline_of(timeout)
        cdef tuple held = items_of(records)  # ours alone: nobody can take an item away while we wait
        cdef Py_ssize_t count = len(held), i, viewed = 0
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
                        contiguous(item, &views[viewed], PyBUF_SIMPLE, "put_many")
                    except (TypeError, BufferError) as wrong:
                        raise type(wrong)(f"item {i} of {count}: {wrong}") from None
                    spans[i].bytes = views[viewed].buf
                    spans[i].nbytes = views[viewed].len
                    viewed += 1
                if spans[i].nbytes > self.max_record():
                    self.ring.refuse(MEMLANE_TOO_LARGE, spans[i].nbytes)
            if require_peer:
                self.check_peers(handle)
            return self.insert(handle, spans, count, deadline, None, require_peer)
        finally:
            for i in range(viewed):
                PyBuffer_Release(&views[i])
            PyMem_Free(views)
            PyMem_Free(spans)

    # When a record was put is for statistics, and each look at a clock a tenth of a put. So what costs little beside it has
    # a stamp: each batch, each room, what waited for room. And of the rest those that a consumer who has stopped leaves:
    # the first after one was woken, since who goes on getting does not sleep. Else one in MEMLANE_STAMP_EACH.

    cdef void stamp_next(self) noexcept:
        self.stamps_left, self.next_stamp = STAMPS_AFTER_WAKING, 0

    cdef void stamp_some(self) noexcept nogil:
        """Under the mutex, after a put whose stamp is due."""
        cdef uint64_t next = self.producer.next
        memlane_producer_stamp(&self.producer, 1, memlane_coarse_ns())
        if self.stamps_left != 0:
            self.stamps_left -= 1
            self.next_stamp = next
        else:
            self.next_stamp = (next + MEMLANE_STAMP_EACH - 1) // MEMLANE_STAMP_EACH * MEMLANE_STAMP_EACH

    cdef uint64_t max_record(self) noexcept:
        cdef memlane_lane lane
        self.ring.lane_at(0, &lane)
        return memlane_max_record(&lane)

    cdef Room reserve(self, Endpoint handle, object nbytes, object timeout, bint require_peer):
        cdef memlane_span span
        cdef Room room = Room.__new__(Room)
        cdef size_t done
        cdef uint64_t head
        span.bytes = NULL
        span.nbytes = size_of(nbytes, "nbytes", 0)
        room.role = self
        room.nbytes = span.nbytes
        check_timeout(timeout)
        if require_peer:
            self.check_peers(handle)
        if (handle.sends == self.epoch and memlane_fork_is(self.epoch) and not self.waiting
                and self.attempt(&span, 1, &done, room, &head, False) == MEMLANE_OK):
            self.check_room(room)
            return room
        self.insert(handle, &span, 1, deadline_of(timeout), room, require_peer)
        return room

    cdef size_t insert(self, Endpoint handle, const memlane_span *spans, size_t count, uint64_t deadline,
                       Room room, bint require_peer) except? 0:
        """
        Put all spans, or open a claim for *room* of the first one's size; waits for room until the deadline.
        Returns how many went in: fewer than all at the deadline, or when the ring was shut down or *require_peer* refused
        meanwhile.
        """
        cdef Membership membership = self.ring.membership
        cdef memlane_status status
        cdef size_t done = 0, step
        cdef RoomSleep sleep = None
        cdef object ticket = None
        cdef uint64_t pinned, began, end, head = 0
        cdef bint is_counted = False
        handle.check()
        if spans[0].nbytes > self.max_record():
            self.ring.refuse(MEMLANE_TOO_LARGE, spans[0].nbytes)
        pinned = self.ring.pin()
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
                    status = self.attempt(spans + done, count - done, &step, room, &head, True)
                if status == MEMLANE_OK:
                    if room is not None:
                        self.check_room(room)
                        return 1
                    membership.check_whole()
                    done += step
                    if memlane_waiters_any(&self.ring.control.waiters):
                        self.stamp_next()
                        self.ring.wake_consumers(min(step, <size_t>MEMLANE_POSTS_MAX))
                    if done == count:
                        return done
                    continue
                if status == MEMLANE_LOST and not self.is_robbed():
                    continue  # closed or forked in between: prepare says so
                if status == MEMLANE_BUSY:
                    if self.claim_thread == PyThread_get_thread_ident():
                        raise RuntimeError(
                            f"this thread has a claim open on its lane of {self.ring.name}, or a view of an aborted one "
                            "is alive; commit or abort it, or del the view, first")
                elif status != MEMLANE_FULL:
                    if done:
                        return done
                    self.ring.refuse(status, spans[done].nbytes)

                if status == MEMLANE_FULL and not is_counted:
                    is_counted = True
                    memlane_producer_count_full(&self.producer)
                if sleep is None:
                    sleep = RoomSleep()
                    sleep.begin(deadline, &self.spinning)
                    sleep.role, sleep.handle = self, handle
                elif require_peer and self.ring.consumers_are_gone(False):
                    if done:
                        return done
                    self.ring.refuse_unread()
                sleep.waits_for_claim, sleep.head = status == MEMLANE_BUSY, head
                sleep.requires_peer = require_peer
                if deadline == 0 or sleep.is_over():
                    if done:
                        return done
                    self.refuse_full(status == MEMLANE_BUSY)
                if ticket is None:
                    ticket = _Lock()
                    ticket.acquire()
                    self.waiting.append(ticket)
                if not self.is_turn_of(ticket):
                    # Only the first in the queue watches the lane: a token that woke another one would be lost.
                    began, end = memlane_monotonic_ns(), memlane_waiting_slice_end(&sleep.waiting)
                    if began < end and not ticket.acquire(True, (end - began) * 1e-9):
                        memlane_slice_note(began)
                    continue
                if not sleep.spin(handle.wait) and handle.wait != MEMLANE_WAIT_SPIN:
                    sleep.nap(&self.producer.lane.control.waiters, self.doorbell)
                PyErr_CheckSignals()
        finally:
            if ticket is not None:
                self.leave_queue(ticket)
            self.ring.unpin(pinned)

    cdef int check_room(self, Room room) except -1:
        if memlane_guard_is_truncated(self.ring.guarded):
            room.is_open = False  # nobody gets it, so nobody dropped it
        return self.ring.membership.check_whole()

    cdef object refuse_full(self, bint is_claimed):
        """
        Raise Full, which says why: by a bounded look, and of the consumers a few are asked for, once a slice. The caller has
        pinned the region.
        """
        cdef RingState ring = self.ring
        cdef TellFull now
        cdef uint64_t s, end
        cdef bint by_views
        ring.membership.check_whole()
        memset(&now, 0, sizeof(now))  # gaps between its fields, too: they are compared
        if not memlane_mutex_try(&self.mutex):
            with nogil:
                memlane_mutex_lock(&self.mutex)
        s, end = self.producer.head, self.producer.next
        now.nbytes, now.views = memlane_producer_used(&self.producer), self.views
        by_views = memlane_producer_holds(&self.producer, memlane_lane_head(&self.producer.lane))
        memlane_mutex_unlock(&self.mutex)
        now.epoch, now.records = self.epoch, end - s
        if is_claimed:
            now.cause = FULL_BY_CLAIM
        elif by_views:
            now.cause = FULL_BY_VIEWS
        else:
            if now.records != 0:
                now.on_loan = ring.holds_from(self.lane, s, end, now.tags)
            if now.on_loan:
                now.cause = FULL_ON_LOAN
            elif ring.consumers_are_gone(False):
                now.cause = FULL_NOBODY_LEFT
            elif memlane_peers_came(ring.control) == 0:
                now.cause = FULL_NOBODY_YET
        if self.told is None or memcmp(&now, &self.told_of, sizeof(now)) != 0:
            self.tell_full(&now)
        text, told = self.told, self.told_facts  # before any Python runs: another thread may tell of something else
        error = Full(text)
        error.__dict__.update(told)  # not one by one: who polls meets the same again and again
        raise error

    cdef int tell_full(self, const TellFull *now) except -1:
        """The text of a Full and its facts: kept until one of them changes."""
        cdef RingState ring = self.ring
        cdef list pids
        facts = {
            "cause": "records" if now.records >= ring.shape.records else "bytes",
            "records": now.records, "max_records": ring.shape.records, "nbytes": now.nbytes, "capacity": ring.shape.capacity,
            "views": now.views}
        used = f"{now.records} of {ring.shape.records} records, {now.nbytes:,} of {ring.shape.capacity:,} bytes"
        if now.cause == FULL_BY_CLAIM:
            facts["cause"] = "claim"
            text = (f"another thread has a room of {ring.name} open in the lane of this producer ({used}); commit or abort it, "
                    "or wait with a longer timeout")
        elif now.cause == FULL_BY_VIEWS:
            facts["cause"] = "views"
            named = "a committed room are" if now.views == 1 else f"{now.views} committed rooms are"
            text = f"{ring.name} is full ({used}): views of {named} alive; del them, or wait with a longer timeout"
        elif now.cause == FULL_ON_LOAN:
            pids = ring.pids_of(now.tags)
            facts["cause"], facts["on_loan"], facts["holders"] = "on loan", now.on_loan, tuple(pids)
            own = _os.getpid()
            known = ", ".join(["this process" if pid == own else f"pid {pid}" for pid in pids]) or "a process that is gone"
            named = "1 record is" if now.on_loan == 1 else f"{now.on_loan} records are"
            text = (f"{ring.name} is full ({used}): {named} on loan to {known}; release " + ("it" if now.on_loan == 1 else "them")
                    + ", or wait with a longer timeout")
        elif now.cause == FULL_NOBODY_LEFT:
            facts["cause"] = "nobody left"
            text = f"{ring.name} is full ({used}), and no consumer of it is left; start another one, or end here"
        elif now.cause == FULL_NOBODY_YET:
            text = (f"{ring.name} is full ({used}); no consumer has come yet: start one, or make the ring with a larger capacity= "
                    "or more records= if it is to be filled before")
        else:
            text = f"{ring.name} is full ({used}); get some records, or wait with a longer timeout"
        self.told, self.told_facts, self.told_of = text, {"_facts": facts, **facts}, now[0]
        return 0

    cdef bint is_robbed(self) noexcept:
        """Whether the lane that we still believe to be ours has another owner."""
        return (memlane_fork_is(self.epoch) and not self.departing and not self.ring.is_gone()
                and memlane_lane_owner(self.producer.lane.control) != self.tag)

    cdef bint is_turn_of(self, object ticket) except -1:
        """Whether nobody waits in front of this put; None: it does not wait yet."""
        cdef list first
        if not self.waiting:
            return True
        first = self.waiting[:1]  # ours alone: another thread may leave the queue at any moment
        return not first or first[0] is ticket

    cdef int leave_queue(self, object ticket) except -1:
        """The baton: the next one may find room, or at least that it is its turn."""
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

    cdef void wake_own(self) noexcept:
        """The first put that waits here, after something was let go that only this process knows of."""
        if memlane_waiters_any_fenced(&self.producer.lane.control.waiters):
            self.wake(1)

    cdef void wake_all(self) noexcept:
        """Every put that sleeps at this lane, for what does not concern the first of them alone."""
        self.wake(MEMLANE_POSTS_MAX)

    cdef void wake(self, uint32_t times) noexcept:
        if self.doorbell is not None:
            self.doorbell.wake(&self.producer.lane.control.waiters, times)
        else:
            memlane_selecting_wake(&self.ring.membership.own, &self.producer.lane.control.waiters)

    cdef memlane_status attempt(self, const memlane_span *spans, size_t count, size_t *done, Room room, uint64_t *head,
                                bint pinned) noexcept:
        """
        `locked_attempt` under the mutex. Who has not pinned does not wait for it: MEMLANE_BUSY. *head* becomes what
        was seen of the consumer.
        """
        cdef memlane_status status
        cdef size_t total = 0, i
        cdef uint64_t *offset = NULL
        cdef unsigned long thread = 0
        if room is not None:
            offset, thread = room.offset_address(), PyThread_get_thread_ident()
        else:
            for i in range(count):
                total += spans[i].nbytes
        if total < COPY_WITH_GIL_NBYTES and memlane_mutex_try(&self.mutex):
            status = self.locked_attempt(spans, count, done, <PyObject *>room, offset, thread)
            head[0] = self.producer.head
            memlane_mutex_unlock(&self.mutex)
        elif not pinned:
            return MEMLANE_BUSY
        else:
            with nogil:
                memlane_mutex_lock(&self.mutex)
                status = self.locked_attempt(spans, count, done, <PyObject *>room, offset, thread)
                head[0] = self.producer.head
                memlane_mutex_unlock(&self.mutex)
        if status == MEMLANE_OK and room is not None:
            room.begin()
        return status

    cdef memlane_status locked_attempt(self, const memlane_span *spans, size_t count, size_t *done,
                                       PyObject *room, uint64_t *offset, unsigned long thread) noexcept nogil:
        """One step under the mutex. MEMLANE_BUSY: a claim is open; MEMLANE_LOST: the lane is not ours now."""
        cdef memlane_status status
        cdef uint64_t looks
        if not memlane_fork_is(self.epoch) or self.departing or self.ring.is_gone():
            return MEMLANE_LOST
        if self.claim != NULL:
            return MEMLANE_BUSY
        if count == 1 and REUSE_NBYTES <= spans[0].nbytes <= memlane_max_record(&self.producer.lane):
            looks = 1 + spans[0].nbytes // REUSE_NBYTES_A_LOOK
            if offset != NULL:
                looks = min(looks, REUSE_LOOKS_WITH_GIL)
            memlane_producer_reuse(&self.producer, looks)
        if offset == NULL:
            status = memlane_producer_put_many(&self.producer, spans, count, done)
            if status == MEMLANE_OK:
                memlane_producer_stamp(&self.producer, done[0], memlane_coarse_ns())
            return status
        done[0] = 1
        status = memlane_producer_claim(&self.producer, spans[0].nbytes, offset)
        if status == MEMLANE_OK:
            self.claim = <void *>room
            self.claim_thread = thread
        return status

    cdef bint may_answer_otherwise(self, bint waits_for_claim, uint64_t head) noexcept nogil:
        """
        The second look: whether the next attempt can answer otherwise than the last one did, which was MEMLANE_BUSY
        (*waits_for_claim*), or MEMLANE_FULL when *head* was all that had been seen of the consumer.
        """
        cdef bint found
        # A put of another thread may have looked at the consumer since, and taken less than there was.
        if not memlane_fork_is(self.epoch) or self.departing or self.ring.membership._closing or self.ring.is_gone_now():
            return True
        if not memlane_mutex_try(&self.mutex):
            return True  # its holder is copying and rings nobody; the attempt waits for it
        found = self.claim == NULL and (
            waits_for_claim or head != self.producer.head or memlane_producer_any(&self.producer))
        memlane_mutex_unlock(&self.mutex)
        return found


@cython.final
@cython.no_gc  # made for each record, and in no cycle: it leads to its role and weakly to arrays
cdef class Room:
    """
    A claim: room for one record inside the ring, to be written in place, then committed.

    Supports the buffer protocol (writable). `with ring.reserve(n) as room:` commits at the end and aborts on
    an exception. Made by `reserve`; used by the thread that made it. The other side sees nothing of it before
    the commit; if this process dies, it has never existed.

    Views of it (memoryviews, arrays) may live on after the commit: the record is seen at once, and the bytes that were
    reserved are used for no other record until the last view has died. Arrays made by `array` become read-only. Who
    writes through another view after the commit spoils that record.

    Type checkers do not take a room for a buffer on Python 3.11: there, write `np.frombuffer(memoryview(room))`, or use
    `array`.
    """

    def __init__(self):
        raise TypeError("a Room is made by reserve(), not by calling the class")

    cdef uint64_t *offset_address(self) noexcept:
        return &self.offset

    cdef void begin(self) noexcept:
        self.pinned = self.role.ring.pin_loan()
        self.is_open = self.is_claimed = True

    def __del__(self):
        cdef bint dropped = self.is_open and self.is_claimed
        if self.is_claimed:
            self.is_open = False
            self.end()
        # not for a child of fork, whose room it is not, and not when everything goes anyway
        if dropped and memlane_fork_is(self.pinned) and not finalizing():
            PyErr_ResourceWarning(
                self, 1, "a room in %U was dropped without a commit, so nothing was put; use 'with', or call "
                "room.commit() or room.abort()", <void *>self.role.ring.name)

    cdef int end(self) except -1:
        """Let the lane go on, and give it back if it was only kept for us."""
        cdef ProducerRole role = self.role
        if not self.is_claimed:
            return 0
        self.is_claimed = False
        if memlane_fork_is(self.pinned):
            memlane_mutex_lock(&role.mutex)  # with the GIL: holders never need it
            if self.is_kept:
                memlane_producer_release(&role.producer, &self.kept)
                role.views -= 1
            else:
                role.claim = NULL
            memlane_mutex_unlock(&role.mutex)
            if role.departing:
                role.depart()
            else:
                role.wake_own()
        role.ring.unpin_loan(self.pinned)
        return 0

    cdef int check(self) except -1:
        if not self.is_open:
            raise ClosedError(f"this room in {'a ring' if self.role is None else self.role.ring.name} was committed "
                              "or aborted; reserve another one")
        return 0

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.check()
        PyBuffer_FillInfo(view, self, self.role.producer.lane.bytes + self.offset, self.nbytes, 0, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.export_ended()

    cdef int export_ended(self) except -1:
        """The last one ends what was committed or aborted meanwhile."""
        self.exports -= 1
        if self.exports == 0 and not self.is_open:
            self.end()
        return 0

    def __len__(self):
        return self.nbytes

    def __bool__(self):
        return True

    def __getitem__(self, index):
        at = index if isinstance(index, slice) else index_of(index)
        with memoryview(self) as view:
            try:
                found = view[at]
            except IndexError:
                raise IndexError(f"index {at} is out of range of a room of {self.nbytes} bytes") from None
            return bytes(found) if isinstance(found, memoryview) else found

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
            self.check()  # only now, as in `write`
            if start < 0:
                start += self.nbytes
            if not 0 <= start < <Py_ssize_t>self.nbytes:
                raise IndexError(f"index {index} is out of range of a room of {self.nbytes} bytes")
            self.role.producer.lane.bytes[self.offset + start] = byte
            self.role.ring.membership.check_whole()
            return
        bounds_of(index, &start, &stop, &step)
        contiguous(value, &data, PyBUF_SIMPLE, "a slice of a room")
        try:
            self.check()
            count = PySlice_AdjustIndices(self.nbytes, &start, &stop, step)
            if data.len != count:
                raise ValueError(f"the slice of the room has {count} bytes but the value has {data.len}; give as many, or "
                                 "copy to a place in it with room.write(data, offset)")
            if step == 1:
                self.copy_in(start, &data)
            else:
                copied = PyBytes_FromStringAndSize(<const char *>data.buf, count)
                to = self.role.producer.lane.bytes + self.offset + start
                for i in range(count):
                    to[i * step] = (<unsigned char *>PyBytes_AS_STRING(copied))[i]
            self.role.ring.membership.check_whole()
        finally:
            PyBuffer_Release(&data)

    cdef int copy_in(self, uint64_t at, const Py_buffer *view) except -1:
        """Copy what was found to fit."""
        cdef unsigned char *to = self.role.producer.lane.bytes + self.offset + at
        if to < <unsigned char *>view.buf + view.len and <unsigned char *>view.buf < to + view.len:
            memmove(to, view.buf, view.len)  # a view of this very room
        elif view.len < <Py_ssize_t>COPY_WITH_GIL_NBYTES:
            memlane_copy(to, view.buf, view.len)
        else:
            self.exports += 1  # as a view does: another thread may abort this room and close the ring
            with nogil:
                memlane_copy(to, view.buf, view.len)
            self.export_ended()
        return 0

    def array(self, shape, dtype="uint8"):
        """
        Return a writable numpy array on the first bytes of the room. At the commit it becomes read-only.

        Raises:
            ValueError: it needs more bytes than the room has.
            TypeError: *dtype* holds Python objects.
            ImportError: there is no numpy.
            ClosedError: committed or aborted before.
        """
        array = array_of(self, self.nbytes, shape, dtype, "room", "reserve more")
        if self.arrays is None:
            self.arrays = []
        self.arrays.append(_weakref.ref(array))
        return array

    cdef int freeze(self) except -1:
        """Nobody who holds to the rules writes into a record that others read."""
        for reference in self.arrays:
            array = reference()
            if array is not None:
                array.setflags(write=False)
        return 0

    def write(self, data, offset=0):
        """
        Copy *data*, any contiguous buffer, to byte *offset* of the room, leaving no view behind.

        Returns:
            How many bytes were copied.

        Raises:
            ValueError: it would not fit.
            ClosedError: committed or aborted before.
        """
        cdef Py_buffer view
        cdef uint64_t at = size_of(offset, "offset", 0)
        contiguous(data, &view, PyBUF_SIMPLE, "room.write")
        try:
            self.check()  # only now: what gave the buffer may be Python, which has ended this room
            if at > self.nbytes or <uint64_t>view.len > self.nbytes - at:
                raise ValueError(f"{view.len} bytes at offset {at} do not fit a room of {self.nbytes} bytes; reserve more")
            self.copy_in(at, &view)
            self.role.ring.membership.check_whole()
            return view.len
        finally:
            PyBuffer_Release(&view)

    def commit(self, nbytes=None):
        """
        Put the record, its first *nbytes* bytes or all of it. Never waits.

        Views of the room may be alive. Until the last one has died, all the bytes that were reserved stay occupied, also
        if *nbytes* is less; arrays made by `array` are read-only from now on.

        In a process that was forked after `reserve` nothing happens: the claim is the parent's.

        Raises:
            ShutDown: the ring was shut down meanwhile; nobody gets the record.
            ValueError: *nbytes* is more than was reserved.
            ClosedError: committed or aborted before, or this process was taken for dead.
        """
        self.commit_bytes(nbytes)

    cdef int commit_bytes(self, object nbytes) except -1:
        cdef ProducerRole role = self.role
        cdef memlane_status status
        cdef uint64_t length = self.nbytes
        if nbytes is not None:
            length = size_of(nbytes, "nbytes", 0)
        self.check()  # only now: what gave the number may be Python, which has ended this room
        if length > self.nbytes:
            raise ValueError(f"cannot commit {length} bytes of a room of {self.nbytes}; reserve more")
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
            if self.exports == 0:
                self.end()
            return 0
        if role.ring.is_gone():
            if self.exports == 0:
                self.end()
            role.ring.refuse_gone()
        memlane_mutex_lock(&role.mutex)  # with the GIL: holders never need it
        status = memlane_producer_commit(&role.producer, self.offset, length)
        if status == MEMLANE_OK:
            memlane_producer_stamp(&role.producer, 1, memlane_coarse_ns())
        if status == MEMLANE_OK and self.exports:
            memlane_producer_keep(&role.producer, &self.kept, self.offset, self.nbytes)
            role.views += 1
            role.claim = NULL
            self.is_kept = True
        memlane_mutex_unlock(&role.mutex)
        try:
            role.ring.membership.check_whole()
            if status == MEMLANE_OK and memlane_waiters_any(&role.ring.control.waiters):
                role.ring.wake_consumers(1)
        finally:
            if self.exports == 0:
                self.end()  # last: it may be what kept the memory of a closed ring
            elif self.is_kept:
                role.wake_own()  # the claim is gone
        if status != MEMLANE_OK:
            role.ring.refuse(status, length)
        return 0

    def abort(self):
        """Give the room back unused. While a view of it lives the lane stays claimed. Never raises twice."""
        self.is_open = False
        if self.exports == 0:
            self.end()

    @cython.binding(True)  # `with` makes a bound method of it, which is cheaper of this kind
    def __enter__(self):
        self.check()
        return self

    @cython.binding(True)
    def __exit__(self, kind, _value, _traceback):
        if self.is_open:
            if kind is None:
                self.commit_bytes(None)
            else:
                self.abort()
