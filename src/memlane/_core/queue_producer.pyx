# SPDX-License-Identifier: MIT
"""
What puts into a queue from this process: its lane, or turns in the last lane, and the memory that records need.

QueueProducer   the role, which all threads and handles of this process share
PutSleep        one call that waits
PutWatch        one that waits among several things

A put is one step under the mutex, without the GIL where it copies much or asks the kernel for memory. Nothing of Python runs in
it, so that the handler of a signal may put as well. What a step lacks is waited for, or looked at, between two steps.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

import errno as _errno
import os as _os

import memlane._limits as _limits
from memlane.errors import ClosedError, Full, PeerGoneError, ShutDown

from memlane._core.arguments cimport COPY_WITH_GIL_NBYTES
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_CLOSED, MEMLANE_FULL, MEMLANE_GROW, MEMLANE_LOST, MEMLANE_OK,
    MEMLANE_OWNER_CLOSED, MEMLANE_OWNER_NEVER, MEMLANE_TOO_LARGE, memlane_bound, memlane_bound_any,
    memlane_growth_first, memlane_growth_got, memlane_lane, memlane_lane_control,
    memlane_lane_depart, memlane_lane_lease, memlane_lane_owner, memlane_peers_came, memlane_queue_any_room,
    memlane_queue_lasting, memlane_queue_leave, memlane_queue_put_many, memlane_queue_surplus,
    memlane_queue_take_up, memlane_queue_turn_any, memlane_queue_turn_end,
    memlane_queue_turn_take, memlane_ring_shutdown, memlane_span, memlane_status, memlane_stretch,
    memlane_waiters_any, memlane_wanted,
)
from memlane._core.lanes cimport Endpoint
from memlane._core.mapping cimport finalizing
from memlane._core.membership cimport EPOCH_CLOSED, Membership, Users, epoch_lock
from memlane._core.objects cimport Encoded
from memlane._core.os cimport (
    memlane_fork_epoch, memlane_fork_is, memlane_guard_is_truncated, memlane_is_memory_file, memlane_mutex_lock,
    memlane_mutex_reset, memlane_mutex_try, memlane_mutex_unlock,
)
from memlane._core.os_errors cimport free_memory, reserve_error
from memlane._core.queue_state cimport QueueState
from memlane._core.runtime cimport (
    MEMLANE_DEAD, MEMLANE_POSTS_MAX, MEMLANE_PROBES_A_STEP, MEMLANE_WAIT_SPIN,
    memlane_lane_give_back, memlane_lane_reserve, memlane_lease_find_unused,
    memlane_lease_used_lane, memlane_membership_life, memlane_selecting, memlane_spinning_begin, memlane_wanted_nbytes,
)
from memlane._core.selecting cimport Watch, at_word
from memlane._core.waiting cimport Doorbell, Sleep, doorbell_of

memlane_calls_join(calls_of_process(), globals())

# What a step says beyond a memlane_status, of which MEMLANE_BUSY is that there is no permit, MEMLANE_FULL that the lane cannot
# be larger.
cdef enum:
    NO_TURN = 100                     # another process has its turn
    NO_MEMORY = 101
    LIMIT_IS_DUE = 102                # more may be reserved once it was looked at the limit of memory

# Of what a limit of memory leaves, so much is reserved before it is looked at again: others reserve meanwhile.
cdef uint64_t ALLOWANCE_OF_ROOM = 8
cdef uint64_t ALLOWANCE_MAX = 64 << 20
cdef uint64_t ALLOWANCE_MIN = 1 << 20

# While it puts by turns, a process looks in each of so many turns whether the owner of another lane has died.
cdef uint32_t TURNS_A_PROBE = 16


cdef void write_encoded(void *encoded, size_t index, unsigned char *to) noexcept nogil:
    (<Encoded>(<void **>encoded)[index]).write(to)


cdef int span_of_record(object record, memlane_span *span) except -1:
    """The span of what Codec.encode made; without an address for an Encoded."""
    if PyBytes_CheckExact(record):
        span.bytes, span.nbytes = PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record)
    else:
        span.bytes, span.nbytes = NULL, (<Encoded>record).nbytes
    return 0


@cython.final
cdef class PutSleep(Sleep):
    """A call that waits: for a permit, for its lane, or for a turn."""

    cdef bint is_due(self) noexcept nogil:
        return (self.handle._closed or self.role.may_answer_otherwise(self.cause)
                or (self.requires_peer and self.role.state.receiver_has_left()))


@cython.final
cdef class PutWatch(Watch):
    """One that waits for room, or for the end, among several things. Before a call has found none there is some."""

    cdef void *handle                 # an Endpoint, which outlives this
    cdef object kept                  # or which this keeps
    cdef QueueProducer role

    cdef int prepare(self) except -1:
        return self.role.prepare(<Endpoint>self.handle)

    cdef bint look(self) except -1:
        cdef Endpoint handle = <Endpoint>self.handle
        self.prepare()
        if self.is_due() or (handle.require_peer and self.role.state.receivers_are_gone(True)):
            return True
        self.role.state.membership.check_whole()
        return False

    cdef bint is_due(self) noexcept nogil:
        return ((<Endpoint>self.handle)._closed or not memlane_fork_is(self.role.epoch)
                or self.role.refusal == 0 or self.role.may_answer_otherwise(self.role.refusal))

    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil:
        if memlane_fork_is(self.role.epoch):
            at_word(selecting, &self.role.own.queue.producer.lane.control.waiters, announces)
            if self.role.own.bound.maxsize:
                at_word(selecting, &self.role.state.queue_control.putters, announces)


cdef Watch put_watch(Endpoint handle, QueueProducer role, bint keeps):
    """What puts of a handle wait for. Without *keeps*, the handle is to outlive it."""
    cdef PutWatch made = PutWatch.__new__(PutWatch)
    made.opened, made.handle, made.role = role.state, <void *>handle, role
    if keeps:
        made.kept = handle
    return made


@cython.final
cdef class QueueProducer:
    """What puts into a queue from this process; its threads share it."""

    def __cinit__(self, QueueState state):
        self.state = state
        self.epoch = EPOCH_CLOSED
        self.preparing = {}
        memlane_spinning_begin(&self.spinning)
        self.users = Users()

    def __del__(self):
        if not finalizing():
            self.depart()

    # ---- the lane ---------------------------------------------------------------------------------

    cdef int prepare(self, Endpoint handle) except -1:
        """See that this process has a lane, or has chosen the last one, in this epoch. Raises ShutDown, Full, OSError."""
        handle.check()
        self.state.membership._check_open()
        self.state.enter(&handle.opens, &handle._closed, handle)
        if not memlane_fork_is(self.epoch):
            with epoch_lock(self.preparing):
                if not memlane_fork_is(self.epoch):
                    self.lease()
        self.departing = False
        self.users.add(&handle.sends)
        handle.require_still_open()
        return 0

    cdef int lease(self) except -1:
        """From the moment that a lane is taken it runs no Python until that is known, as in Sender.lease."""
        cdef QueueState state = self.state
        cdef memlane_status status
        cdef int error
        self.departing = False
        self.refusal = 0
        self.tag = state.membership.own_tag()
        if self.doorbell is None:
            state.putters_doorbell.prepare()
        if memlane_fork_is(self.epoch):
            return 0  # done meanwhile, by a handler that ran while this process joined
        if memlane_ring_shutdown(state.control):
            state.refuse(MEMLANE_CLOSED, 0)
        error = self.find_lane()
        if error:
            # Not taken but closed, if the end came in between.
            if memlane_ring_shutdown(state.control):
                state.refuse(MEMLANE_CLOSED, 0)
            self.error = -error
            self.refuse_full(NO_MEMORY)
        self.set_up()
        if not self.by_turns:
            status = memlane_queue_take_up(&self.own)
            if status != MEMLANE_OK:
                memlane_lane_depart(self.own.queue.producer.lane.control, self.tag)
                state.refuse(status, 0)
        memlane_mutex_reset(&self.mutex)
        self.epoch = memlane_fork_epoch()
        if self.own.bound.maxsize:
            state.wake_putters(1)  # permits of a dead producer may have been returned
        self.doorbell = doorbell_of(state.membership, &state.lane_control(self.lane).doorbell)
        self.doorbell.prepare()
        return 0

    cdef int find_lane(self) except -1:
        """
        Departed lanes first, then those of the dead, backlog and all; then one that was never leased; else the last one, by
        turns. Returns 0, or the errno of reserving.
        """
        cdef QueueState state = self.state
        cdef memlane_lane view
        cdef memlane_wanted wanted
        cdef int error
        cdef uint32_t lane = 0, lasting = memlane_queue_lasting(state.lanes)
        self.by_turns = False
        if memlane_lease_used_lane(&state.membership.own, state.controls, lasting, lasting, &self.next_probed, &lane):
            self.lane = lane
            return 0
        lane = 0
        while memlane_lease_find_unused(state.controls, lasting, &lane):
            state.lane_at(lane, &view)
            memlane_growth_first(&view, &wanted)
            error = memlane_lane_reserve(&state.membership.own, <unsigned char *>view.descriptors, &wanted)
            if error:
                self.needed = memlane_wanted_nbytes(&wanted)
                return -error
            if memlane_lane_lease(&state.controls[lane], MEMLANE_OWNER_NEVER, self.tag):
                self.lane = lane
                return 0
            lane += 1
        self.by_turns = True
        self.lane = lasting
        return 0

    cdef void set_up(self) noexcept nogil:
        """Point at the lane; memlane_queue_take_up does the rest."""
        memset(&self.own, 0, sizeof(self.own))
        self.state.lane_at(self.lane, &self.own.queue.producer.lane)
        self.own.queue.producer.lane.many = False  # it moves `head` itself
        self.own.queue.producer.ring = self.state.control
        self.own.queue.producer.tag = self.tag
        self.own.queue.control = self.state.queue_control
        self.own.queue.lanes, self.own.queue.lane = self.state.lanes, self.lane
        self.own.growth.shared = self.state.growths + self.lane
        self.own.growth.bytes_offset, self.own.growth.soft = self.state.bytes_offset, self.state.soft
        self.own.bound.control, self.own.bound.of_lanes = self.state.queue_control, self.state.growths
        self.own.bound.many, self.own.bound.maxsize = self.state.views, self.state.queue_shape.maxsize
        self.own.bound.lanes, self.own.bound.lane = self.state.lanes, self.lane

    cdef void depart(self) noexcept:
        """Give the lane back; its records stay."""
        if not memlane_fork_is(self.epoch) or self.state.membership.closed:
            return
        if not self.state.is_held():
            self.epoch = EPOCH_CLOSED  # the queue was removed, and its room may be another one's
            return
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        self.departing = True
        self.epoch = EPOCH_CLOSED
        memlane_queue_leave(&self.own)
        if not self.by_turns:
            memlane_lane_depart(self.own.queue.producer.lane.control, self.tag)
        memlane_mutex_unlock(&self.mutex)
        if self.doorbell is not None:  # what waits here has another answer now
            self.doorbell.wake(&self.own.queue.producer.lane.control.waiters, MEMLANE_POSTS_MAX)
        self.state.wake_putters(MEMLANE_POSTS_MAX)

    # ---- a step -----------------------------------------------------------------------------------

    cdef int step(self, memlane_puts *puts, size_t *done) noexcept nogil:
        """Under the mutex: put as many as there is room for, reserving memory. A memlane_status, or one of the above."""
        cdef memlane_wanted wanted
        cdef memlane_stretch stretch
        cdef int status
        done[0] = 0
        self.has_returned = False
        if not memlane_fork_is(self.epoch) or self.departing or self.state.is_gone():
            return MEMLANE_LOST
        if self.by_turns:
            status = self.begin_turn()
            if status != MEMLANE_OK:
                return status
        while True:
            status = memlane_queue_put_many(&self.own, puts.spans + puts.done, puts.count - puts.done, write_encoded, puts.encoded,
                                            puts.done, done, &wanted)
            if status != MEMLANE_GROW:
                break
            status = self.reserve(&wanted)
            if status != MEMLANE_OK:
                break
            memlane_growth_got(&self.own.growth, &self.own.queue.producer, &wanted)
        if status == MEMLANE_OK and memlane_queue_surplus(&self.own, &stretch):
            memlane_lane_give_back(<unsigned char *>self.own.queue.producer.lane.descriptors, &stretch)
        self.has_returned |= memlane_queue_leave(&self.own)
        if self.by_turns:
            # The process that waits for it is woken behind the step.
            memlane_queue_turn_end(self.own.queue.producer.lane.control, self.tag)
        return status

    cdef int begin_turn(self) noexcept nogil:
        """Have the last lane, or one that has become free meanwhile for good."""
        cdef memlane_lane_control *control = self.state.lane_control(self.lane)
        cdef memlane_wanted wanted
        cdef memlane_status status
        cdef uint32_t owner, lane = 0, lasting = memlane_queue_lasting(self.state.lanes)
        cdef uint32_t probes = MEMLANE_PROBES_A_STEP if self.turns % TURNS_A_PROBE == 0 else 0
        cdef int error
        self.turns += 1
        if memlane_lease_used_lane(&self.state.membership.own, self.state.controls, lasting, probes, &self.next_probed, &lane):
            self.lane, self.by_turns = lane, False
        else:
            owner = memlane_lane_owner(control)
            self.turn_owner = owner
            if owner > MEMLANE_OWNER_CLOSED and memlane_membership_life(&self.state.membership.own, owner) != MEMLANE_DEAD:
                return NO_TURN
            if owner == MEMLANE_OWNER_NEVER:
                memlane_growth_first(&self.own.queue.producer.lane, &wanted)
                error = self.reserve(&wanted)
                if error != MEMLANE_OK:
                    return error
            status = memlane_queue_turn_take(control, owner, self.tag)
            if status != MEMLANE_OK:
                return NO_TURN if status == MEMLANE_BUSY else status
        self.set_up()
        status = memlane_queue_take_up(&self.own)
        self.has_returned = self.own.bound.maxsize != 0
        if status != MEMLANE_OK:
            memlane_lane_depart(self.own.queue.producer.lane.control, self.tag)
        return status

    cdef int reserve(self, const memlane_wanted *wanted) noexcept nogil:
        """MEMLANE_OK, LIMIT_IS_DUE or NO_MEMORY."""
        cdef uint64_t nbytes = memlane_wanted_nbytes(wanted)
        cdef int error
        self.needed = nbytes
        if nbytes > self.allowance:
            return LIMIT_IS_DUE
        error = memlane_lane_reserve(
            &self.state.membership.own, <unsigned char *>self.own.queue.producer.lane.descriptors, wanted)
        if error:
            self.error = -error
            return NO_MEMORY
        self.allowance -= nbytes
        return MEMLANE_OK

    cdef int look_at_limit(self) except -1:
        """
        Before more is reserved: refuse what the limit of a container does not leave, where the kernel would not say no but kill a
        process; and what the memory of the machine does not leave. Raises Full.
        """
        cdef Membership membership = self.state.membership
        cdef uint64_t needed = self.needed
        limit = _limits.tightest()
        free = None
        if membership.path is None or not _os.fstatvfs(membership.own.base).f_blocks:
            free = free_memory()
        if limit is not None and (free is None or limit.room < free):
            free = limit.room
        else:
            limit = None
        if free is None:
            self.allowance = needed + ALLOWANCE_MAX
            return 0
        if needed > <uint64_t>free:
            where = "of memory" if limit is None else f"below the limit of {limit.nbytes} bytes in {limit.path}"
            raise Full(f"{self.state.name} needs {needed} more bytes, and {free} are free {where}; get some objects, put less, or "
                       + ("free some memory" if limit is None else "raise the memory limit of this container or service"),
                       cause="memory", records=self.state.length(), need=needed, free=free,
                       limit=None if limit is None else limit.nbytes)
        self.allowance = needed + min(max(<uint64_t>free // ALLOWANCE_OF_ROOM, ALLOWANCE_MIN), ALLOWANCE_MAX)
        return 0

    cdef int attempt(self, memlane_puts *puts, size_t *done) noexcept:
        """A step, without the GIL. The caller has pinned the queue."""
        cdef int status
        with nogil:
            memlane_mutex_lock(&self.mutex)
            status = self.step(puts, done)
            memlane_mutex_unlock(&self.mutex)
        return status

    # ---- putting ----------------------------------------------------------------------------------

    cdef int check_peers(self, Endpoint handle) except -1:
        """Refuse to put what nobody will get, also where there is room."""
        cdef Membership membership = self.state.membership
        cdef uint64_t pinned
        handle.check()
        membership._check_open()
        pinned = self.state.pin()
        try:
            self.state.enter(&handle.opens, &handle._closed, handle)  # the dead are cleared away
            if memlane_ring_shutdown(self.state.control) == 0 and self.state.receivers_are_gone(True):
                membership.check_whole()
                self.state.refuse_unread()
        finally:
            self.state.unpin(pinned)
        return 0

    cdef void wake_behind(self, size_t count) noexcept:
        if memlane_waiters_any(&self.state.control.waiters):
            self.state.wake_receivers(min(count, <size_t>MEMLANE_POSTS_MAX))

    cdef int put_one(self, Endpoint handle, object record, uint64_t deadline, bint require_peer) except -1:
        """Put what Codec.encode made of one object."""
        cdef int status
        cdef size_t done
        cdef memlane_wanted wanted
        cdef memlane_span span
        cdef memlane_puts puts
        cdef void *encoded = <void *>record
        span_of_record(record, &span)
        if span.nbytes > self.state.max_record():
            self.state.refuse(MEMLANE_TOO_LARGE, span.nbytes)
        if require_peer:
            self.check_peers(handle)
        if (handle.sends == self.epoch and memlane_fork_is(self.epoch) and span.nbytes < COPY_WITH_GIL_NBYTES
                and not self.by_turns and memlane_mutex_try(&self.mutex)):
            status = MEMLANE_LOST
            if memlane_fork_is(self.epoch) and not self.by_turns and not self.state.is_gone():
                status = memlane_queue_put_many(&self.own, &span, 1, write_encoded, &encoded, 0, &done, &wanted)
            memlane_mutex_unlock(&self.mutex)
            if status == MEMLANE_OK:
                if memlane_guard_is_truncated(self.state.guarded):
                    self.state.membership.check_whole()  # then nobody will ever see the record
                self.wake_behind(1)
                return 0
        puts.spans, puts.encoded, puts.count, puts.done = &span, &encoded, 1, 0
        self.insert(handle, &puts, deadline, require_peer)
        return 0

    cdef size_t put_list(self, Endpoint handle, list records, uint64_t deadline, bint require_peer) except? 0:
        """Put what Codec.encode made of several objects, a list of the caller's alone; how many went in."""
        cdef memlane_puts puts
        cdef memlane_span *spans
        cdef Py_ssize_t count = len(records), i
        cdef uint64_t most = self.state.max_record()
        if count == 0:
            return 0
        spans = <memlane_span *>PyMem_Malloc(count * (sizeof(memlane_span) + sizeof(void *)))
        if spans == NULL:
            raise MemoryError()
        try:
            puts.spans, puts.encoded, puts.count, puts.done = spans, <void **>(spans + count), count, 0
            for i in range(count):
                record = records[i]
                puts.encoded[i] = <void *>record
                span_of_record(record, &spans[i])
                if spans[i].nbytes > most:
                    self.state.refuse(MEMLANE_TOO_LARGE, spans[i].nbytes)
            if require_peer:
                self.check_peers(handle)
            return self.insert(handle, &puts, deadline, require_peer)
        finally:
            PyMem_Free(spans)

    cdef size_t insert(self, Endpoint handle, memlane_puts *puts, uint64_t deadline, bint require_peer) except? 0:
        """
        Put all records in; waits until the deadline. Returns how many went in: fewer than all at the deadline, or when the queue
        was shut down or *require_peer* refused meanwhile.
        """
        cdef QueueState state = self.state
        cdef PutSleep sleep = None
        cdef size_t step
        cdef uint64_t pinned
        cdef int status
        cdef bint is_drained = False  # the descriptor of the handle, and no room was found since
        handle.check()
        pinned = state.pin()
        try:
            while True:
                try:
                    self.prepare(handle)
                    status = self.attempt(puts, &step)
                    if self.has_returned:
                        state.wake_putters(1)
                    if self.by_turns and memlane_waiters_any(&self.own.queue.producer.lane.control.waiters):
                        self.doorbell.wake(&self.own.queue.producer.lane.control.waiters, 1)
                    if status == LIMIT_IS_DUE:
                        self.look_at_limit()
                        continue
                except (ShutDown, ClosedError, PeerGoneError, Full):
                    if puts.done:
                        return puts.done
                    raise
                if status == MEMLANE_OK:
                    state.membership.check_whole()
                    puts.done += step
                    self.wake_behind(step)
                    if puts.done == puts.count:
                        self.refusal = 0
                        return puts.done
                    continue
                if status == MEMLANE_LOST:
                    if (memlane_fork_is(self.epoch) and not self.departing and not state.is_gone() and not self.by_turns
                            and memlane_lane_owner(self.own.queue.producer.lane.control) != self.tag):
                        state.refuse(MEMLANE_LOST, 0)
                    continue  # closed or forked in between: prepare says so
                if status not in (MEMLANE_BUSY, MEMLANE_FULL, NO_TURN, NO_MEMORY):
                    if puts.done:
                        return puts.done
                    state.refuse(<memlane_status>status, puts.spans[puts.done].nbytes)
                if require_peer and state.receivers_are_gone(False):
                    if puts.done:
                        return puts.done
                    state.refuse_unread()
                if sleep is None:
                    sleep = PutSleep()
                    sleep.begin(deadline, &self.spinning)
                    sleep.role, sleep.handle, sleep.requires_peer = self, handle, require_peer
                sleep.cause = status
                # Nobody would ever make room: a program that puts before anybody gets is told at once.
                if status == NO_MEMORY and (memlane_peers_came(state.control) == 0 or state.receivers_are_gone(False)):
                    if puts.done:
                        return puts.done
                    self.refuse_full(status)
                if deadline == 0 or sleep.is_over():
                    self.refusal = status
                    if handle.writable is not None and not is_drained and handle.writable.rearm():
                        is_drained = True
                        continue
                    is_drained = False
                    if puts.done:
                        return puts.done
                    self.refuse_full(status)
                if not sleep.spin(handle.wait) and handle.wait != MEMLANE_WAIT_SPIN:
                    if status == MEMLANE_BUSY:
                        sleep.nap(&state.queue_control.putters, state.putters_doorbell)
                    else:
                        sleep.nap(&self.own.queue.producer.lane.control.waiters, self.doorbell)
                PyErr_CheckSignals()
        finally:
            if is_drained and handle.writable is not None:
                handle.writable.stir()
            state.unpin(pinned)

    cdef bint may_answer_otherwise(self, int cause) noexcept nogil:
        """The second look: whether the next step can answer otherwise than the last one did, which lacked *cause*."""
        cdef memlane_bound bound
        cdef bint found
        if not memlane_fork_is(self.epoch) or self.departing or self.state.membership._closing or self.state.is_gone_now():
            return True
        if cause == MEMLANE_BUSY:
            bound = self.own.bound  # what is fixed of it, for a sum of our own
            return memlane_bound_any(&bound)
        if cause == NO_TURN:
            return memlane_queue_turn_any(self.state.control, self.own.queue.producer.lane.control, self.turn_owner)
        if not memlane_mutex_try(&self.mutex):
            return True  # its holder is copying and wakes nobody; the attempt waits for it
        found = memlane_queue_any_room(&self.own)
        memlane_mutex_unlock(&self.mutex)
        return found

    cdef object refuse_full(self, int cause):
        """Raise Full, which says why."""
        cdef QueueState state = self.state
        cdef Membership membership = state.membership
        cdef uint64_t records
        membership.check_whole()
        records = state.length()
        if cause == MEMLANE_BUSY:
            raise Full(f"{state.name} is full ({records} of {state.queue_shape.maxsize} objects); get some, or wait with a longer "
                       "timeout", cause="records", records=records, max_records=state.queue_shape.maxsize)
        if cause == NO_TURN:
            raise Full(f"all producers={state.lanes} of {state.name} are taken, and process {membership.pid_of(self.turn_owner)} is "
                       "in the midst of a put in the lane that the others share; wait with a longer timeout, or create the "
                       "queue with more", cause="turn", records=records)
        if cause == NO_MEMORY:
            failed = reserve_error(self.error, membership.path, self.needed)
            raise Full(f"{state.name} is full ({records} objects): {failed.strerror}", cause="memory", records=records,
                       need=failed.need, free=failed.free, limit=None)
        raise Full(f"{state.name} is full: a lane of it holds {state.records} objects or {state.capacity:,} bytes at most; get some, "
                   "wait with a longer timeout, or create the queue with a larger capacity=", cause="bytes", records=records,
                   max_records=state.records, capacity=state.capacity)
