# SPDX-License-Identifier: MIT
"""A publisher's lane in this process."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_FillInfo, PyBuffer_Release
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.slice cimport PySlice_AdjustIndices
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memmove, memset

import weakref as _weakref
from threading import Lock as _Lock

from memlane.errors import ClosedError, Full, Laggard, RoleTakenError, ShutDown

from memlane._core.arguments cimport (
    COPY_WITH_GIL_NBYTES, array_of, bounds_of, byte_of, check_timeout, contiguous, deadline_of,
    index_of, size_of,
)
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_CLOSED, MEMLANE_FULL, MEMLANE_LOST, MEMLANE_OK, MEMLANE_OWNER_CLOSED,
    MEMLANE_OWNER_NEVER, MEMLANE_STAMP_EACH, MEMLANE_TOO_LARGE, memlane_copy, memlane_extent, memlane_extent_of,
    memlane_holder_tag, memlane_lane_control, memlane_lane_depart, memlane_lane_lease,
    memlane_lane_owner, memlane_producer_clock, memlane_producer_count_full, memlane_producer_keep, memlane_producer_release,
    memlane_producer_stamp, memlane_producer_used, memlane_publisher_adopt, memlane_publisher_any,
    memlane_publisher_claim, memlane_publisher_commit, memlane_publisher_payload,
    memlane_publisher_put, memlane_publisher_put_many, memlane_publisher_watch,
    memlane_ring_raise_leased, memlane_ring_shutdown, memlane_sight, memlane_span, memlane_status,
    memlane_waiters_any_fenced,
)
from memlane._core.mapping cimport finalizing
from memlane._core.membership cimport EPOCH_CLOSED, Membership, Users, epoch_lock
from memlane._core.os cimport (
    memlane_coarse_ns, memlane_fork_epoch, memlane_fork_is, memlane_guard_is_truncated,
    memlane_monotonic_ns, memlane_mutex_lock, memlane_mutex_reset, memlane_mutex_try,
    memlane_mutex_unlock,
)
from memlane._core.runtime cimport (
    MEMLANE_POSTS_MAX, MEMLANE_PROBES_A_STEP, MEMLANE_WAIT_SPIN, memlane_lease_find_unused,
    memlane_lease_used_lane, memlane_slice_note, memlane_spinning_begin, memlane_waiting_slice_end,
)
from memlane._core.topic_state cimport TopicHandle, TopicState
from memlane._core.waiting cimport CLOCK, Doorbell, Sleep, doorbell_of, know_clock

memlane_calls_join(calls_of_process(), globals())

cdef extern from "Python.h":
    int PyErr_ResourceWarning(object source, Py_ssize_t stack_level, const char *text, ...) except -1

# A number of order="all", in front of each payload.
cdef uint64_t ORDER_NBYTES = 8

cdef enum:
    # As of a ring: records that get a stamp after a subscriber was woken.
    STAMPS_AFTER_WAKING = 16
    # So many laggards are named by their records; arbitrary.
    LAGGARDS_NAMED = 8


@cython.final
cdef class PublishSleep(Sleep):
    """A publish that waits: for a subscriber, or for the end of another thread's claim."""

    cdef PublisherRole role
    cdef TopicHandle handle
    cdef bint waits_for_claim         # the last attempt said MEMLANE_BUSY

    cdef bint is_due(self) noexcept nogil:
        return self.handle._closed or self.role.may_answer_otherwise(self.waits_for_claim)


@cython.final
cdef class PublisherRole:
    """One lease of a lane by this process; its threads share it."""

    def __cinit__(self, TopicState topic):
        self.topic = topic
        self.epoch = EPOCH_CLOSED
        self.waiting = []
        self.preparing = {}
        memlane_spinning_begin(&self.spinning)
        self.users = Users()
        self.sights = <memlane_sight *>PyMem_Calloc(topic.shape.subscribers, sizeof(memlane_sight))
        if self.sights == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.sights)

    def __del__(self):
        if not finalizing():
            self.depart()

    # ---- lease ------------------------------------------------------------------------------------

    cdef int prepare(self, TopicHandle handle, uint64_t deadline) except -1:
        """See that this process has a lane of its own, in this epoch. Raises ShutDown, RoleTakenError, OSError."""
        cdef Sleep sleep = None
        handle.check()
        self.topic.membership._check_open()
        self.topic.enter(&handle.opens, &handle._closed, handle)
        while not memlane_fork_is(self.epoch):
            with epoch_lock(self.preparing):
                if memlane_fork_is(self.epoch) or self.lease(sleep is None):
                    break
            # Not under the lock: other threads have deadlines of their own.
            if sleep is None:
                sleep = Sleep()
                sleep.begin(deadline, NULL)
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

    cdef int find_doorbell(self) except -1:
        cdef uint32_t lane = self.lane
        cdef Doorbell bell = doorbell_of(self.topic.membership, &self.topic.lane_control(lane).doorbell)
        bell.prepare()
        if lane == self.lane:  # still: looking for it may let another thread give the lane back and take another one
            self.doorbell = bell
        return 0

    cdef bint lease(self, bint is_first_look) except -1:
        """
        Try to take a lane; False: all are taken. From the moment that one is taken it runs no Python until that is
        known: a handler in the midst of it would take a second one, and the first would stay taken.
        """
        cdef memlane_status status
        cdef TopicState topic = self.topic
        # Whatever was inherited over a fork belongs to the parent.
        self.claim = NULL
        self.views = 0
        self.departing = False
        self.waiting = []
        self.doorbell = None
        self.tag = topic.membership.own_tag()
        know_clock()
        if memlane_fork_is(self.epoch):
            return True  # done meanwhile, by a handler that ran while this process joined
        if memlane_ring_shutdown(&topic.control.ring):
            topic.refuse(MEMLANE_CLOSED, 0)
        if not self.find_lane(is_first_look):
            # Not taken but closed, if the end came in between.
            if memlane_ring_shutdown(&topic.control.ring):
                topic.refuse(MEMLANE_CLOSED, 0)
            return False
        if memlane_fork_is(self.epoch):
            return True
        topic.lane_at(self.lane, &self.publisher.producer.lane)
        self.publisher.producer.ring = &topic.control.ring
        self.publisher.producer.tag = self.tag
        self.publisher.topic = &topic.topic
        self.publisher.sights = self.sights
        self.publisher.index = self.lane
        self.publisher.ordered = topic.ordered
        memset(self.sights, 0, topic.shape.subscribers * sizeof(memlane_sight))
        status = memlane_publisher_adopt(&self.publisher)
        if status != MEMLANE_OK:
            memlane_lane_depart(self.publisher.producer.lane.control, self.tag)
            topic.refuse(status, 0)
        memlane_producer_clock(&self.publisher.producer, CLOCK)
        self.stamp_next()
        memlane_ring_raise_leased(&topic.control.ring, self.lane + 1)
        memlane_mutex_reset(&self.mutex)
        self.epoch = memlane_fork_epoch()
        return True

    cdef bint find_lane(self, bint is_first_look) except -1:
        """As of a ring: departed lanes first, then those of the dead, then one that was never leased."""
        cdef TopicState topic = self.topic
        cdef memlane_lane_control *controls = topic.lane_control(0)
        cdef uint32_t lanes = topic.shape.publishers, lane = 0
        cdef uint32_t probes = lanes if is_first_look else <uint32_t>MEMLANE_PROBES_A_STEP
        if memlane_lease_used_lane(&topic.membership.own, controls, lanes, probes, &self.next_probed, &lane):
            self.lane = lane
            return True
        lane = 0
        while memlane_lease_find_unused(controls, lanes, &lane):
            topic.membership.reserve(
                topic.offset + topic.shape.data_offset + lane * topic.shape.data_nbytes, topic.shape.data_nbytes)
            if memlane_fork_is(self.epoch):
                return True  # done meanwhile, by a handler that ran while memory was reserved
            if memlane_lane_lease(&controls[lane], MEMLANE_OWNER_NEVER, self.tag):
                self.lane = lane
                return True
            lane += 1
        return False

    cdef object refuse_taken(self):
        cdef uint32_t lane
        cdef TopicState topic = self.topic
        owners = [memlane_lane_owner(topic.lane_control(lane)) for lane in range(topic.shape.publishers)]
        pids = tuple([topic.membership.pid_of(owner) for owner in owners if owner > MEMLANE_OWNER_CLOSED])
        named = ", ".join(map(str, pids[:8])) + (", ..." if len(pids) > 8 else "")
        raise RoleTakenError(
            f"all publishers={topic.shape.publishers} of {topic.name} are taken by live processes (pid {named}); "
            "close one there, or create the topic with more", role="publisher", pids=pids)

    cdef void depart(self) noexcept:
        """Give the lane back; its records stay. An open claim keeps it until it is gone, and so do views of records."""
        if not memlane_fork_is(self.epoch) or self.topic.membership.closed:
            return
        if not self.topic.is_held():
            self.epoch = EPOCH_CLOSED  # the topic was removed, and its room may be another object's
            return
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        self.departing = True
        if self.claim == NULL and self.publisher.producer.kept == NULL:
            self.epoch = EPOCH_CLOSED
            memlane_lane_depart(self.publisher.producer.lane.control, self.tag)
        memlane_mutex_unlock(&self.mutex)
        self.wake_sleepers()  # what waits here has another answer now

    # ---- publishing -----------------------------------------------------------------------------------

    cdef int publish(self, TopicHandle handle, object record, object timeout) except -1:
        cdef memlane_span span
        cdef Py_buffer view
        if PyBytes_CheckExact(record):
            span.bytes = PyBytes_AS_STRING(record)
            span.nbytes = PyBytes_GET_SIZE(record)
            self.publish_span(handle, &span, timeout)
            return 0
        contiguous(record, &view, PyBUF_SIMPLE, "publish")
        try:
            span.bytes = view.buf
            span.nbytes = view.len
            self.publish_span(handle, &span, timeout)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef inline int publish_span(self, TopicHandle handle, const memlane_span *span, object timeout) except -1:
        cdef memlane_status status
        check_timeout(timeout)
        if (handle.sends == self.epoch and memlane_fork_is(self.epoch) and span.nbytes < COPY_WITH_GIL_NBYTES
                and not self.waiting and memlane_mutex_try(&self.mutex)):
            status = MEMLANE_BUSY
            if self.claim == NULL and memlane_fork_is(self.epoch) and not self.topic.is_gone():
                status = memlane_publisher_put(&self.publisher, span.bytes, span.nbytes)
                if self.publisher.producer.next > self.next_stamp and status == MEMLANE_OK:
                    self.stamp_some()
            memlane_mutex_unlock(&self.mutex)
            if status == MEMLANE_OK:
                if memlane_guard_is_truncated(self.topic.guarded):
                    self.topic.membership.check_whole()  # then nobody will ever see the record
                self.topic.wake_subscribers()
                return 0
        self.insert(handle, span, 1, deadline_of(timeout), None)
        return 0

    cdef object publish_many(self, TopicHandle handle, object records, object timeout):
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
                        contiguous(item, &views[viewed], PyBUF_SIMPLE, "publish_many")
                    except (TypeError, BufferError) as wrong:
                        raise type(wrong)(f"item {i} of {count}: {wrong}") from None
                    spans[i].bytes = views[viewed].buf
                    spans[i].nbytes = views[viewed].len
                    viewed += 1
                if spans[i].nbytes > self.topic.max_record():
                    self.topic.refuse(MEMLANE_TOO_LARGE, spans[i].nbytes)
            return self.insert(handle, spans, count, deadline, None)
        finally:
            for i in range(viewed):
                PyBuffer_Release(&views[i])
            PyMem_Free(views)
            PyMem_Free(spans)

    cdef TopicReservation reserve(self, TopicHandle handle, object nbytes, object timeout):
        cdef memlane_span span
        cdef TopicReservation room = TopicReservation.__new__(TopicReservation)
        span.bytes = NULL
        span.nbytes = size_of(nbytes, "nbytes", 0)
        room.role = self
        room.nbytes = span.nbytes
        check_timeout(timeout)
        self.insert(handle, &span, 1, deadline_of(timeout), room)
        return room

    # When a record was published is for statistics: which records get a stamp is said at the producer of a ring.

    cdef void stamp_next(self) noexcept:
        self.stamps_left, self.next_stamp = STAMPS_AFTER_WAKING, 0

    cdef void stamp_some(self) noexcept nogil:
        """Under the mutex, after a publish whose stamp is due."""
        cdef uint64_t next = self.publisher.producer.next
        memlane_producer_stamp(&self.publisher.producer, 1, memlane_coarse_ns())
        if self.stamps_left != 0:
            self.stamps_left -= 1
            self.next_stamp = next
        else:
            self.next_stamp = (next + MEMLANE_STAMP_EACH - 1) // MEMLANE_STAMP_EACH * MEMLANE_STAMP_EACH

    cdef size_t insert(self, TopicHandle handle, const memlane_span *spans, size_t count, uint64_t deadline,
                       TopicReservation room) except? 0:
        """
        Publish all spans, or open a claim for *room* of the first one's size; waits until the deadline for subscribers that are waited for. Returns how many went in: fewer
        than all at the deadline, or when the topic was shut down meanwhile.
        """
        cdef TopicState topic = self.topic
        cdef memlane_status status
        cdef size_t done = 0, step
        cdef PublishSleep sleep = None
        cdef object ticket = None
        cdef uint64_t pinned, began, end, next_eviction = 0
        cdef bint is_counted = False
        handle.check()
        if spans[0].nbytes > topic.max_record():
            topic.refuse(MEMLANE_TOO_LARGE, spans[0].nbytes)
        pinned = topic.pin()
        try:
            while True:
                try:
                    self.prepare(handle, deadline)
                except (ShutDown, ClosedError):
                    if done:
                        return done
                    raise
                status = MEMLANE_FULL
                if self.is_turn_of(ticket):
                    status = self.attempt(spans + done, count - done, &step, room)
                    if status == MEMLANE_FULL and self.clear_the_way(&next_eviction):
                        continue
                if status == MEMLANE_OK:
                    if room is not None:
                        if memlane_guard_is_truncated(topic.guarded):
                            room.is_open = False  # nobody gets it, so nobody dropped it
                        topic.membership.check_whole()
                        return 1
                    topic.membership.check_whole()
                    done += step
                    topic.wake_subscribers()
                    if done == count:
                        return done
                    continue
                if status == MEMLANE_LOST and not self.is_robbed():
                    continue  # closed or forked in between: prepare says so
                if status == MEMLANE_BUSY:
                    if self.claim_thread == PyThread_get_thread_ident():
                        raise RuntimeError(
                            f"this thread has a claim open on its lane of {topic.name}, or a view of an aborted one "
                            "is alive; commit or abort it, or del the view, first")
                elif status != MEMLANE_FULL:
                    if done:
                        return done
                    topic.refuse(status, spans[done].nbytes)

                if status == MEMLANE_FULL and not is_counted:
                    is_counted = True
                    memlane_producer_count_full(&self.publisher.producer)
                if sleep is None:
                    sleep = PublishSleep()
                    sleep.begin(deadline, &self.spinning)
                    sleep.role, sleep.handle = self, handle
                sleep.waits_for_claim = status == MEMLANE_BUSY
                sleep.waiting.deadline = deadline
                if deadline == 0 or sleep.is_over():
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
                        memlane_slice_note(began)
                    continue
                if not sleep.spin(handle.wait) and handle.wait != MEMLANE_WAIT_SPIN:
                    sleep.nap(&self.publisher.producer.lane.control.waiters, self.doorbell)
                PyErr_CheckSignals()
        finally:
            if ticket is not None:
                self.leave_queue(ticket)
            topic.unpin(pinned)

    cdef bint clear_the_way(self, uint64_t *next_eviction) noexcept:
        """
        After MEMLANE_FULL: evict the subscribers that have not moved for as long as they said, and take its place away from
        the one that stands most in the way if it is proven dead. Whether there is something to be tried now;
        *next_eviction becomes when the next one is due. Runs no Python; the caller has pinned the region.
        """
        cdef uint64_t holder = 0, now = memlane_monotonic_ns()
        cdef uint32_t evicted = 0, index = self.topic.shape.subscribers
        next_eviction[0] = ~<uint64_t>0
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        if memlane_fork_is(self.epoch) and not self.departing and not self.topic.is_gone():
            evicted = memlane_publisher_watch(&self.publisher, now, next_eviction)
            index, holder = self.publisher.obstacle, self.publisher.obstacle_holder
        memlane_mutex_unlock(&self.mutex)
        if evicted:
            self.topic.wake_subscribers()  # one with a loan sleeps where it has read all
        if index < self.topic.shape.subscribers and self.topic.bury(index, holder):
            evicted += 1
        if evicted:
            self.topic.wake_publishers()  # that of another lane may have waited for the same one
        return evicted != 0

    cdef object refuse_full(self, bint is_claimed):
        """Raise Full, which names the subscribers that are waited for. The caller has pinned the region."""
        cdef TopicState topic = self.topic
        cdef uint64_t records, nbytes, now = memlane_monotonic_ns()
        topic.membership.check_whole()
        if not memlane_mutex_try(&self.mutex):
            with nogil:
                memlane_mutex_lock(&self.mutex)
        records, nbytes = self.publisher.producer.next - self.publisher.producer.head, memlane_producer_used(&self.publisher.producer)
        by_views = self.publisher.obstacle >= topic.shape.subscribers
        memlane_mutex_unlock(&self.mutex)
        facts = {"cause": "records" if records >= topic.shape.records else "bytes", "records": records,
                 "max_records": topic.shape.records, "nbytes": nbytes, "capacity": topic.shape.capacity, "views": self.views}
        used = f"{records} of {topic.shape.records} records, {nbytes:,} of {topic.shape.capacity:,} bytes"
        if is_claimed:
            facts["cause"] = "claim"
            raise Full(f"another thread has a reservation of {topic.name} open in the lane of this publisher ({used}); commit or "
                       "abort it, or wait with a longer timeout", **facts)
        if by_views:
            facts["cause"] = "views"
            raise Full(f"{topic.name} is full ({used}): views of committed reservations are alive; del them, or wait with a "
                       "longer timeout", **facts)
        found = self.laggards(now)
        facts["cause"], facts["laggards"] = "laggards", tuple(found)
        named = ", ".join([f"pid {one.pid} ({one.records} records behind, {one.seconds:.3g} s without progress)"
                           for one in found[:LAGGARDS_NAMED]]) + (", ..." if len(found) > LAGGARDS_NAMED else "")
        raise Full(f"{topic.name} is full ({used}): it waits for {named or 'a subscriber'}; let it go on, wait with a longer "
                   "timeout, or subscribe with evict_after=", **facts)

    cdef list laggards(self, uint64_t now):
        """Those whom the last attempt had to wait for, the one that is furthest behind first."""
        cdef TopicState topic = self.topic
        cdef memlane_sight sight
        cdef memlane_extent extent
        cdef uint64_t next, write, since, nbytes
        cdef uint32_t index, tag
        found = []
        for index in range(topic.shape.subscribers):
            memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
            sight = self.sights[index]
            next, write = self.publisher.producer.next, self.publisher.producer.write
            memlane_mutex_unlock(&self.mutex)
            if sight.holder == 0:
                continue
            nbytes = 0
            if memlane_extent_of(&self.publisher.producer.lane, sight.position, &extent) == MEMLANE_OK:
                nbytes = (write - extent.offset if write > extent.offset else topic.shape.capacity - extent.offset + write)
            since = sight.since
            tag = memlane_holder_tag(sight.holder)
            found.append(Laggard(topic.membership.pid_of(tag), topic.name_of(tag), next - sight.position, nbytes,
                                 (now - since) / 1e9 if now > since else 0.0))
        # The furthest behind first; a pid may be None, so by the number and the place alone.
        order = sorted([(-one.records, place) for place, one in enumerate(found)])
        return [found[place] for _, place in order]

    cdef bint is_robbed(self) noexcept:
        """Whether the lane that we still believe to be ours has another owner."""
        return (memlane_fork_is(self.epoch) and not self.departing and not self.topic.is_gone()
                and memlane_lane_owner(self.publisher.producer.lane.control) != self.tag)

    cdef bint is_turn_of(self, object ticket) except -1:
        """Whether nobody waits in front of this publish; None: it does not wait yet."""
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
        """The first publish that waits here, after something was let go that only this process knows of."""
        if memlane_waiters_any_fenced(&self.publisher.producer.lane.control.waiters):
            self.wake(1)

    cdef void wake_sleepers(self) noexcept:
        """Every publish that sleeps at this lane, for what does not concern the first of them alone."""
        self.wake(MEMLANE_POSTS_MAX)

    cdef void wake(self, uint32_t times) noexcept:
        if self.doorbell is not None:
            self.doorbell.wake(&self.publisher.producer.lane.control.waiters, times)

    cdef memlane_status attempt(self, const memlane_span *spans, size_t count, size_t *done, TopicReservation room) noexcept:
        """`locked_attempt` under the mutex. The caller has pinned the region."""
        cdef memlane_status status
        cdef size_t total = 0, i
        cdef uint64_t *offset = NULL
        cdef unsigned long thread = 0
        if room is not None:
            offset, thread = &room.offset, PyThread_get_thread_ident()
        else:
            for i in range(count):
                total += spans[i].nbytes
        if total < COPY_WITH_GIL_NBYTES and memlane_mutex_try(&self.mutex):
            status = self.locked_attempt(spans, count, done, <PyObject *>room, offset, thread)
            memlane_mutex_unlock(&self.mutex)
        else:
            with nogil:
                memlane_mutex_lock(&self.mutex)
                status = self.locked_attempt(spans, count, done, <PyObject *>room, offset, thread)
                memlane_mutex_unlock(&self.mutex)
        if status == MEMLANE_OK and room is not None:
            room.begin()
        return status

    cdef memlane_status locked_attempt(self, const memlane_span *spans, size_t count, size_t *done,
                                       PyObject *room, uint64_t *offset, unsigned long thread) noexcept nogil:
        """One step under the mutex. MEMLANE_BUSY: a claim is open; MEMLANE_LOST: the lane is not ours now."""
        cdef memlane_status status
        if not memlane_fork_is(self.epoch) or self.departing or self.topic.is_gone():
            return MEMLANE_LOST
        if self.claim != NULL:
            return MEMLANE_BUSY
        if offset == NULL:
            status = memlane_publisher_put_many(&self.publisher, spans, count, done)
            if status == MEMLANE_OK:
                memlane_producer_stamp(&self.publisher.producer, done[0], memlane_coarse_ns())
            return status
        done[0] = 1
        status = memlane_publisher_claim(&self.publisher, spans[0].nbytes, offset)
        if status == MEMLANE_OK:
            self.claim = <void *>room
            self.claim_thread = thread
        return status

    cdef bint may_answer_otherwise(self, bint waits_for_claim) noexcept nogil:
        """The second look: whether the next attempt can answer otherwise than the last one did."""
        cdef bint found
        if not memlane_fork_is(self.epoch) or self.departing or self.topic.membership._closing or self.topic.is_gone_now():
            return True
        if not memlane_mutex_try(&self.mutex):
            return True  # its holder is copying and wakes nobody; the attempt waits for it
        found = self.claim == NULL and (waits_for_claim or memlane_publisher_any(&self.publisher))
        memlane_mutex_unlock(&self.mutex)
        return found


@cython.final
@cython.no_gc  # made for each record, and in no cycle: it leads to its role and weakly to arrays
cdef class TopicReservation:
    """
    A claim: room for one record inside the topic, to be written in place, then committed.

    Supports the buffer protocol (writable). `with topic.reserve(n) as room:` commits at the end and aborts on
    an exception. Made by `reserve`; used by the thread that made it. Subscriptions see nothing of it before
    the commit; if this process dies, it has never existed.

    Views of it (memoryviews, arrays) may live on after the commit: the record is seen at once, and the bytes that were
    reserved are used for no other record until the last view has died. Arrays made by `array` become read-only. A write
    through another view after the commit spoils that record.

    Type checkers do not take a reservation for a buffer on Python 3.11: there, write `np.frombuffer(memoryview(room))`, or use
    `array`.
    """

    def __init__(self):
        raise TypeError("a TopicReservation is made by reserve(), not by calling the class")

    cdef void begin(self) noexcept:
        self.address = memlane_publisher_payload(&self.role.publisher, self.offset)
        self.stored = self.nbytes + (ORDER_NBYTES if self.role.topic.ordered else 0)
        self.pinned = self.role.topic.pin_loan()
        self.is_open = self.is_claimed = True

    def __del__(self):
        cdef bint dropped = self.is_open and self.is_claimed
        if self.is_claimed:
            self.is_open = False
            self.end()
        # not for a child of fork, whose room it is not, and not when everything goes anyway
        if dropped and memlane_fork_is(self.pinned) and not finalizing():
            PyErr_ResourceWarning(
                self, 1, "a reservation in %U was dropped without a commit, so nothing was published; use 'with', or call "
                "room.commit() or room.abort()", <void *>self.role.topic.name)

    cdef int end(self) except -1:
        """Let the lane go on, and give it back if it was only kept for us."""
        cdef PublisherRole role = self.role
        if not self.is_claimed:
            return 0
        self.is_claimed = False
        if memlane_fork_is(self.pinned):
            memlane_mutex_lock(&role.mutex)  # with the GIL: holders never need it
            if self.is_kept:
                memlane_producer_release(&role.publisher.producer, &self.kept)
                role.views -= 1
            else:
                role.claim = NULL
            memlane_mutex_unlock(&role.mutex)
            if role.departing:
                role.depart()
            else:
                role.wake_own()
        role.topic.unpin_loan(self.pinned)
        return 0

    cdef int check(self) except -1:
        if not self.is_open:
            raise ClosedError(f"this reservation in {'a topic' if self.role is None else self.role.topic.name} was committed "
                              "or aborted; reserve another one")
        return 0

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.check()
        PyBuffer_FillInfo(view, self, self.address, self.nbytes, 0, flags)
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
                raise IndexError(f"index {at} is out of range of a reservation of {self.nbytes} bytes") from None
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
                raise IndexError(f"index {index} is out of range of a reservation of {self.nbytes} bytes")
            self.address[start] = byte
            self.role.topic.membership.check_whole()
            return
        bounds_of(index, &start, &stop, &step)
        contiguous(value, &data, PyBUF_SIMPLE, "a slice of a reservation")
        try:
            self.check()
            count = PySlice_AdjustIndices(self.nbytes, &start, &stop, step)
            if data.len != count:
                raise ValueError(f"the slice of the reservation has {count} bytes but the value has {data.len}; give as many, or "
                                 "copy to a place in it with room.write(data, offset)")
            if step == 1:
                self.copy_in(start, &data)
            else:
                copied = PyBytes_FromStringAndSize(<const char *>data.buf, count)
                to = self.address + start
                for i in range(count):
                    to[i * step] = (<unsigned char *>PyBytes_AS_STRING(copied))[i]
            self.role.topic.membership.check_whole()
        finally:
            PyBuffer_Release(&data)

    cdef int copy_in(self, uint64_t at, const Py_buffer *view) except -1:
        """Copy what was found to fit."""
        cdef unsigned char *to = self.address + at
        if to < <unsigned char *>view.buf + view.len and <unsigned char *>view.buf < to + view.len:
            memmove(to, view.buf, view.len)  # a view of this very record
        elif view.len < <Py_ssize_t>COPY_WITH_GIL_NBYTES:
            memlane_copy(to, view.buf, view.len)
        else:
            self.exports += 1  # as a view does: another thread may abort this one and close the topic
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
        """Nobody who holds to the rules writes into a record that others read."""
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
        contiguous(data, &view, PyBUF_SIMPLE, "room.write")
        try:
            self.check()  # only now: what gave the buffer may be Python, which has ended this room
            if at > self.nbytes or <uint64_t>view.len > self.nbytes - at:
                raise ValueError(f"{view.len} bytes at offset {at} do not fit a reservation of {self.nbytes} bytes; reserve more")
            self.copy_in(at, &view)
            self.role.topic.membership.check_whole()
            return view.len
        finally:
            PyBuffer_Release(&view)

    def commit(self, nbytes=None):
        """
        Publish the record, its first *nbytes* bytes or all of it. Never waits.

        Views of it may be alive. Until the last one has died, all the bytes that were reserved stay occupied, also
        if *nbytes* is less; arrays made by `array` are read-only from now on.

        In a process that was forked after `reserve` nothing happens: the claim is the parent's.

        Raises:
            ShutDown: the topic was shut down meanwhile; nobody gets the record.
            ValueError: *nbytes* is more than was reserved.
            ClosedError: committed or aborted before, or this process was taken for dead.
        """
        self.commit_bytes(nbytes)

    cdef int commit_bytes(self, object nbytes) except -1:
        cdef PublisherRole role = self.role
        cdef memlane_status status
        cdef uint64_t length = self.nbytes
        if nbytes is not None:
            length = size_of(nbytes, "nbytes", 0)
        self.check()  # only now: what gave the number may be Python, which has ended this room
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
            if self.exports == 0:
                self.end()
            return 0
        if role.topic.is_gone():
            if self.exports == 0:
                self.end()
            role.topic.refuse_gone()
        memlane_mutex_lock(&role.mutex)  # with the GIL: holders never need it
        status = memlane_publisher_commit(&role.publisher, self.offset, length)
        if status == MEMLANE_OK:
            memlane_producer_stamp(&role.publisher.producer, 1, memlane_coarse_ns())
        if status == MEMLANE_OK and self.exports:
            memlane_producer_keep(&role.publisher.producer, &self.kept, self.offset, self.stored)
            role.views += 1
            role.claim = NULL
            self.is_kept = True
        memlane_mutex_unlock(&role.mutex)
        try:
            role.topic.membership.check_whole()
            if status == MEMLANE_OK:
                role.topic.wake_subscribers()
        finally:
            if self.exports == 0:
                self.end()  # last: it may be what kept the memory of a closed topic
            elif self.is_kept:
                role.wake_own()  # the claim is gone
        if status != MEMLANE_OK:
            role.topic.refuse(status, length)
        return 0

    def abort(self):
        """Give it back unused. While a view of it lives the lane stays claimed. Never raises twice."""
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


cdef tuple items_of(object records):
    """What publish_many is to publish."""
    if type(records) is list or type(records) is tuple:
        return tuple(records)
    if isinstance(records, (bytes, bytearray, memoryview, str)):
        raise TypeError(f"publish_many needs a list of records, got one {type(records).__name__}; pass [record], or use "
                        "publish(record)")
    try:
        found = iter(records)
    except TypeError:
        raise TypeError(f"publish_many needs a list of records, got {type(records).__name__}; pass [record], or use "
                        "publish(record)") from None
    return tuple(found)
