# SPDX-License-Identifier: MIT
"""
A subscription of a topic in this process, and the records it has on loan.

It has a place of the topic, and how far it is in each lane. Its threads share it. A record is looked at, its bytes are made, and
under the mutex it is looked at again, copied and checked: what was overwritten meanwhile does not count.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

import errno as _errno

import memlane._arguments as _arguments
from memlane.errors import ClosedError, Evicted, Lapped, RoleTakenError

from memlane._core.arguments cimport COPY_WITH_GIL_NBYTES
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_CLOSED, MEMLANE_CORRUPTED, MEMLANE_EMPTY, MEMLANE_EVICTED,
    MEMLANE_LAPPED, MEMLANE_LOST, MEMLANE_OK, MEMLANE_OWNER_DEPARTED,
    MEMLANE_PLACE_EVICTED, MEMLANE_PLACE_OVERWRITE, MEMLANE_PLACE_WAIT, MEMLANE_SHUTDOWN_DROP,
    MEMLANE_START_AT, MEMLANE_START_LAST, MEMLANE_START_NOW, MEMLANE_START_OLDEST,
    memlane_extent, memlane_holder_in, memlane_holder_tag,
    memlane_lane_head, memlane_lane_owner, memlane_occupied,
    memlane_order_front, memlane_order_next, memlane_place_ask_eviction, memlane_place_eviction,
    memlane_place_find, memlane_place_give, memlane_place_note_moved, memlane_place_show,
    memlane_place_take, memlane_place_turn, memlane_ring_leased, memlane_ring_shutdown,
    memlane_status, memlane_subscriber, memlane_subscriber_any, memlane_subscriber_borrow,
    memlane_subscriber_catch_up, memlane_subscriber_check, memlane_subscriber_finish,
    memlane_subscriber_lag, memlane_subscriber_look_on, memlane_subscriber_next,
    memlane_subscriber_number, memlane_subscriber_number_at, memlane_subscriber_overlooked,
    memlane_subscriber_peek, memlane_subscriber_release, memlane_subscriber_seek,
    memlane_subscriber_settle, memlane_subscriber_start, memlane_topic_armed, memlane_topic_start,
    memlane_waiters_any, memlane_waiters_any_fenced, memlane_words_fetch,
)
from memlane._core.lanes cimport Endpoint, LanesState
from memlane._core.mapping cimport finalizing
from memlane._core.membership cimport EPOCH_CLOSED
from memlane._core.os cimport (
    memlane_coarse_ns, memlane_fork_epoch, memlane_fork_is, memlane_guard_is_truncated,
    memlane_monotonic_ns, memlane_mutex_lock, memlane_mutex_reset, memlane_mutex_try,
    memlane_mutex_unlock,
)
from memlane._core.receiver cimport (
    BATCH_NBYTES, END_TRIES, Receiver, RecordLoan, STEP_RECORDS, TAKE_NOTHING, add_to_batch, cut_batch,
)
from memlane._core.runtime cimport MEMLANE_DEAD, MEMLANE_WAIT_SPIN, memlane_waiting_sleep_armed
from memlane._core.topic_state cimport TopicState
from memlane._core.waiting cimport Doorbell, Sleep, doorbell_of

memlane_calls_join(calls_of_process(), globals())


cdef memlane_status number_in(void *reader, uint32_t lane, uint64_t *number) noexcept nogil:
    """A look at a lane for memlane_order_next: not into one whose memory may not be there."""
    if not (<Subscription>reader).is_leased(lane):
        return MEMLANE_EMPTY
    return memlane_subscriber_number((<Subscription>reader).lanes, lane, number)


@cython.final
cdef class SubscriberSleep(Sleep):
    """A get that waits for a record: announced by the bit of its place."""

    cdef bint is_due(self) noexcept nogil:
        return self.handle._closed or self.role.any_record()

    cdef void nap(self, void *armed, Doorbell bell) noexcept:
        bell.attach()
        with nogil:
            memlane_waiting_sleep_armed(&self.waiting, armed, self.role.index % 64, &bell.bell)


@cython.final
cdef class Subscription(Receiver):
    """A subscription of this process. In a forked child it is one of its own, which begins at its first use there."""

    def __cinit__(self, LanesState state):
        self.topic = <TopicState>state

    def __dealloc__(self):
        cdef uint32_t lane
        if self.lanes != NULL:
            for lane in range(self.count):
                PyMem_Free(self.lanes[lane].lent)
        PyMem_Free(self.lanes)
        PyMem_Free(self.fronts)

    def __del__(self):
        if not finalizing():
            self.leave()

    cdef int ask_for(self, object start, bint waited_for, uint64_t evict_after_ns, bint raises_on_loss) except -1:
        """What it is to be; joined at its first use."""
        self.start = start
        self.waited_for, self.evict_after_ns, self.raises_on_loss = waited_for, evict_after_ns, raises_on_loss
        self.count = self.topic.lanes
        self.lanes = <memlane_subscriber *>PyMem_Calloc(self.count, sizeof(memlane_subscriber))
        self.fronts = <memlane_order_front *>PyMem_Calloc(self.count, sizeof(memlane_order_front))
        if self.lanes == NULL or self.fronts == NULL:
            raise MemoryError()
        return 0

    # ---- join and leave --------------------------------------------------------------------------------

    cdef int join(self) except -1:
        """
        Take a place, begin in every lane, show it. From the moment that a place is taken no Python runs until that is known,
        or given up.
        """
        cdef TopicState state = self.topic
        cdef uint64_t gone, number = 0
        cdef bint readonly = state.membership.readonly
        self.place = NULL
        self.doorbell = None
        self.loans = 0
        self.sleepers = 0
        self.untold = self.silent_since = 0
        self.departing = False
        if readonly and self.waited_for:
            raise PermissionError(_errno.EACCES, f'{state.name} is open read-only, so publishers cannot wait for a subscription; open '
                                  'it without readonly=True, or subscribe with when_full="overwrite"')
        if not readonly:
            self.tag = state.membership.own_tag()
            if memlane_fork_is(self.epoch):
                return 0  # done meanwhile, by a handler that ran while this process joined
            if not self.take_place():
                self.refuse_place()
        try:
            memset(self.known, 0, state.shape.publishers)
            memset(self.fronts, 0, state.shape.publishers * sizeof(memlane_order_front))
            self.start_lanes()
            if self.place != NULL and not memlane_place_show(
                    self.place, &self.holder, MEMLANE_PLACE_WAIT if self.waited_for else MEMLANE_PLACE_OVERWRITE):
                state.refuse(MEMLANE_LOST, 0)
            gone = self.settle_lanes()
            if isinstance(self.start, tuple):
                if gone:
                    raise Lapped(f"{gone} records of {state.name} from that position on are gone; subscribe with start=\"oldest\"",
                                 lost=gone)
            elif isinstance(self.start, int):
                self.seek_number(self.start)
            elif self.start == "last" and state.ordered:
                self.seek_last()
        except BaseException:
            self.give_place()
            raise
        memlane_mutex_reset(&self.mutex)
        self.note_moved()
        self.epoch = memlane_fork_epoch()
        return 0

    cdef bint take_place(self) noexcept:
        """
        A free place, or that of one that is proven dead; False: at one moment live subscribers had them all. That is so
        where two walks have met the same holders: else one may have been freed behind the first walk, and others have moved.
        """
        cdef TopicState state = self.topic
        cdef uint32_t index, held
        cdef uint64_t found, seen = 0, before
        while True:
            index = 0
            while memlane_place_find(&state.topic, False, &index, &found) == MEMLANE_OK:
                if self.take_found(index, found):
                    return True
            index = held = 0
            before, seen = seen, 1
            while memlane_place_find(&state.topic, True, &index, &found) == MEMLANE_OK:
                if state.membership.life(memlane_holder_tag(found)) == MEMLANE_DEAD:
                    if self.take_found(index, found):
                        state.wake_senders()
                        return True
                held += 1
                seen = seen * 31 + found  # 31: arbitrary and odd
                index += 1
            if held == state.shape.subscribers and seen == before:
                return False

    cdef bint take_found(self, uint32_t index, uint64_t found) noexcept:
        self.holder = memlane_place_take(&self.topic.topic, index, found, self.tag)
        if not self.holder:
            return False
        self.index, self.place = index, self.topic.place(index)
        memlane_place_ask_eviction(self.place, self.evict_after_ns)
        return True

    cdef object refuse_place(self):
        cdef TopicState state = self.topic
        cdef uint32_t index = 0
        cdef uint64_t found
        pids = []
        while memlane_place_find(&state.topic, True, &index, &found) == MEMLANE_OK:
            pids.append(state.membership.pid_of(memlane_holder_tag(found)))
            index += 1
        named = ", ".join(map(str, pids[:8])) + (", ..." if len(pids) > 8 else "")
        raise RoleTakenError(
            f"all subscribers={state.shape.subscribers} of {state.name} are taken by live processes (pid {named}); "
            "close one there, or create the topic with more", role="subscriber", pids=tuple(pids))

    cdef int start_lanes(self) except -1:
        """Begin in every lane as `start` says. Of one that nobody has leased only the control is looked at."""
        cdef TopicState state = self.topic
        cdef memlane_subscriber *subscriber
        cdef memlane_topic_start kind = MEMLANE_START_NOW
        cdef uint64_t s = 1
        cdef uint32_t lane
        start = self.start
        positions = start if isinstance(start, tuple) else ()
        if isinstance(start, tuple):
            kind = MEMLANE_START_AT
        elif start == "oldest" or isinstance(start, int):
            kind = MEMLANE_START_OLDEST
        elif start == "last":
            kind = MEMLANE_START_LAST
        for lane in range(state.shape.publishers):
            subscriber = &self.lanes[lane]
            state.lane_at(lane, &subscriber.lane)
            subscriber.place, subscriber.holder, subscriber.index = self.place, 0, lane
            subscriber.waited_for, subscriber.ordered = self.waited_for, state.ordered
            if kind == MEMLANE_START_AT:
                s = positions[lane] if lane < <uint32_t>len(positions) else 0
            PyMem_Free(subscriber.lent)
            subscriber.lent = NULL
            if memlane_subscriber_start(subscriber, kind, s) != MEMLANE_OK and kind == MEMLANE_START_AT:
                raise ValueError(f"start={_arguments.shown(s)} is behind what was ever published in {state.name}; "
                                 'use "now", or the position of a subscription of this topic')
        return 0

    cdef uint64_t settle_lanes(self) noexcept nogil:
        """Behind the show: how many records from the start on were gone."""
        cdef uint64_t gone = 0
        cdef uint32_t lane
        for lane in range(self.topic.shape.publishers):
            self.lanes[lane].holder = self.holder
            gone += memlane_subscriber_settle(&self.lanes[lane])
        return gone

    cdef int seek_number(self, uint64_t number) except -1:
        """Begin at a number: of all lanes with order="all"."""
        cdef uint64_t found, oldest = ~<uint64_t>0
        cdef bint overwritten = False
        cdef uint32_t lane
        for lane in range(self.topic.shape.publishers):
            if self.is_leased(lane):
                if memlane_lane_head(&self.lanes[lane].lane) != 0:
                    overwritten = True
                if memlane_subscriber_number_at(&self.lanes[lane], memlane_subscriber_next(&self.lanes[lane]), &found) == MEMLANE_OK:
                    oldest = min(oldest, found)
                memlane_subscriber_seek(&self.lanes[lane], number)
        if overwritten and oldest != ~<uint64_t>0 and oldest > number:
            raise Lapped(f"the records of {self.topic.name} from number {number} to {oldest - 1} are gone; subscribe with "
                         'start="oldest"', lost=oldest - number)
        return 0

    cdef void seek_last(self) noexcept nogil:
        """Of the last records of all lanes only the last one counts."""
        cdef uint64_t found, last = 0
        cdef uint32_t lane
        for lane in range(self.topic.shape.publishers):
            if (self.is_leased(lane) and memlane_subscriber_number_at(
                    &self.lanes[lane], memlane_subscriber_next(&self.lanes[lane]), &found) == MEMLANE_OK):
                last = max(last, found)
        for lane in range(self.topic.shape.publishers):
            if self.is_leased(lane):
                memlane_subscriber_seek(&self.lanes[lane], last)

    cdef void give_place(self) noexcept:
        cdef memlane_place *place = self.place
        self.place = NULL
        if place != NULL and (memlane_place_give(place, self.holder)
                              or memlane_place_give(place, memlane_holder_in(self.holder, MEMLANE_PLACE_EVICTED))):
            self.topic.wake_senders()

    cdef void leave(self) noexcept:
        """Give the place back; loans keep what they need of it until the last one is gone."""
        cdef Doorbell bell = self.doorbell
        self.leave_place()
        if bell is not None and self.sleepers:
            bell.post()  # a get of another thread sleeps there

    cdef void leave_place(self) noexcept:
        cdef uint64_t pinned
        if not memlane_fork_is(self.epoch) or self.topic.membership.closed:
            return
        if self.place != NULL and not self.topic.is_held():
            self.epoch = EPOCH_CLOSED  # the topic was removed, and its room may be another object's
            return
        try:
            pinned = self.topic.pin()
        except ClosedError:
            return
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        self.departing = True
        if self.loans == 0 or not self.waited_for:
            self.epoch = EPOCH_CLOSED
        elif self.place != NULL:
            memlane_place_turn(self.place, self.holder, MEMLANE_PLACE_EVICTED)
        memlane_mutex_unlock(&self.mutex)
        if not memlane_fork_is(self.epoch):
            self.give_place()
        elif self.place != NULL:
            self.topic.wake_senders()  # what is not on loan is kept no longer
        self.topic.unpin(pinned)

    cdef object refuse_left(self):
        """Another thread, or a handler of a signal, has given the place back in the midst of a call."""
        if self.is_over:
            self.refuse_over()
        if not self.topic.membership.closed and self.topic.is_gone():
            self.topic.refuse_gone()
        raise ClosedError(f"this subscription of {self.topic.name} was closed in this process; subscribe again")

    cdef object refuse_over(self):
        raise ClosedError(f"this subscription of {self.topic.name} was evicted; subscribe again")

    cdef object refuse(self, memlane_status status):
        """Raise what a status means. An evicted one is told so once, and has no place from then on."""
        cdef uint64_t after, behind
        if status == MEMLANE_EVICTED:
            memlane_place_eviction(self.place, &after, &behind)
            self.is_over = True
            self.leave()
            raise Evicted(f"this subscription of {self.topic.name} was evicted: it had made no progress for {after / 1e9:.3g} s and "
                          f"was {behind} records behind; subscribe again", seconds=after / 1e9, records=behind)
        if status == MEMLANE_LOST and not self.departing:
            self.epoch = EPOCH_CLOSED
        self.topic.refuse(status, 0)

    # ---- looking and taking ------------------------------------------------------------------------------

    cdef int find(self, memlane_next *found) except -2:
        """The lane of the next record, from the one after the last served; -1: none has one."""
        cdef TopicState state = self.topic
        cdef uint32_t leased = memlane_ring_leased(state.control, state.shape.publishers), lane = self.current, turn
        cdef memlane_status status
        if self.is_over:
            self.refuse_over()
        if memlane_ring_shutdown(state.control) == MEMLANE_SHUTDOWN_DROP:
            return -1
        if state.ordered:
            return self.find_first(found)
        found.number = 0
        for turn in range(leased):
            if lane >= leased:
                lane = 0
            if self.known[lane] != 2 and self.is_leased(lane):
                status = memlane_subscriber_peek(&self.lanes[lane], &found.s, &found.extent)
                while status == MEMLANE_LAPPED:
                    self.catch_up(lane)
                    status = memlane_subscriber_peek(&self.lanes[lane], &found.s, &found.extent)
                if status == MEMLANE_OK:
                    return lane
                if status == MEMLANE_CLOSED:
                    self.known[lane] = 2
                elif status != MEMLANE_EMPTY:
                    self.refuse(status)
            lane += 1
        return -1

    cdef int find_first(self, memlane_next *found) except -2:
        """With order="all": the lane of the record that is next in the order of all."""
        cdef TopicState state = self.topic
        cdef uint32_t lane
        cdef memlane_status status
        while True:
            status = memlane_order_next(self.fronts, state.control, state.shape.publishers, number_in, <void *>self, &lane)
            if status == MEMLANE_OK:
                found.number = self.fronts[lane].number
                status = memlane_subscriber_peek(&self.lanes[lane], &found.s, &found.extent)
                if status == MEMLANE_OK:
                    return lane
            elif status == MEMLANE_EMPTY or status == MEMLANE_CLOSED:
                return -1
            self.fronts[lane].known = False
            if status == MEMLANE_LAPPED:
                self.catch_up(lane)
            elif status != MEMLANE_EMPTY:
                self.refuse(status)

    cdef int catch_up(self, uint32_t lane) except -1:
        """Pass what was overwritten, and count it."""
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        self.untold += memlane_subscriber_catch_up(&self.lanes[lane])
        memlane_mutex_unlock(&self.mutex)
        PyErr_CheckSignals()  # a publisher may overtake again and again
        if self.epoch == EPOCH_CLOSED:
            self.refuse_left()
        return 0

    cdef int tell_loss(self) except -1:
        """Where the subscription asked for it: once for each gap, or several of them."""
        cdef uint64_t lost = self.untold
        self.untold = 0
        if self.raises_on_loss and lost:
            raise Lapped(f"{lost} records of {self.topic.name} were overwritten before this subscription got them; it goes on behind "
                         "them", lost=lost)
        return 0

    cdef inline memlane_status locked_look(self, uint32_t lane, memlane_next *found) noexcept nogil:
        """Under the mutex: whether the record that was found is still the next one. MEMLANE_BUSY: it is not."""
        cdef memlane_next now
        cdef uint64_t number
        cdef memlane_status status
        if not memlane_fork_is(self.epoch):
            return MEMLANE_BUSY
        status = memlane_subscriber_peek(&self.lanes[lane], &now.s, &now.extent)
        if status != MEMLANE_OK:
            return status
        if now.s != found.s or now.extent.nbytes != found.extent.nbytes or now.extent.offset != found.extent.offset:
            return MEMLANE_BUSY
        if self.fronts[lane].known:
            status = memlane_subscriber_number(self.lanes, lane, &number)
            if status != MEMLANE_OK or number != found.number:
                return MEMLANE_BUSY
        return MEMLANE_OK

    cdef inline memlane_status locked_copy(self, uint32_t lane, memlane_next *found, const memlane_extent *extents,
                                           size_t count, char **to, bint *crossed) noexcept nogil:
        cdef memlane_subscriber *subscriber = &self.lanes[lane]
        cdef uint64_t total = 0
        cdef size_t i
        cdef memlane_status status = self.locked_look(lane, found)
        if status != MEMLANE_OK:
            return status
        for i in range(count):
            memlane_words_fetch(to[i], subscriber.lane.bytes + extents[i].offset, extents[i].nbytes)
            total += memlane_occupied(extents[i].nbytes)
        status = memlane_subscriber_check(subscriber, found.s)
        if status == MEMLANE_OK:
            crossed[0] = memlane_subscriber_finish(subscriber, count, total)
        return status

    cdef memlane_status copy_out(self, uint32_t lane, memlane_next *found, const memlane_extent *extents, size_t count,
                                 char **to) except *:
        """
        Copy `count` records that were found, all of them or none. MEMLANE_OK; else nothing was taken: MEMLANE_BUSY, another
        thread was faster, or what the check said.
        """
        cdef memlane_status status
        cdef bint crossed = False
        cdef uint64_t total = 0, pinned = 0
        cdef size_t i
        for i in range(count):
            total += extents[i].nbytes
        if total < COPY_WITH_GIL_NBYTES and memlane_mutex_try(&self.mutex):
            status = self.locked_copy(lane, found, extents, count, to, &crossed)
            memlane_mutex_unlock(&self.mutex)
        else:
            # Pinned: while we have no GIL, another thread may close the topic.
            pinned = self.topic.pin()
            with nogil:
                memlane_mutex_lock(&self.mutex)
                status = self.locked_copy(lane, found, extents, count, to, &crossed)
                memlane_mutex_unlock(&self.mutex)
        if status == MEMLANE_OK:
            self.fronts[lane].known = False
            self.silent_since = 0
            if crossed and self.place != NULL:
                self.note_moved()
                if self.waited_for and memlane_waiters_any_fenced(&self.lanes[lane].lane.control.waiters):
                    self.topic.wake_sender(lane, 1)
        if pinned:
            self.topic.unpin(pinned)
        if memlane_guard_is_truncated(self.topic.guarded):
            self.topic.membership.check_whole()  # then what was copied may be zeros
        if self.place == NULL and status == MEMLANE_OK and memlane_fork_is(self.epoch) and self.topic.is_gone_now():
            self.topic.refuse_gone()  # one that has not entered: it may be another object's bytes
        return status

    cdef bint step(self, uint32_t lane, memlane_status status) except -1:
        """After a copy that does not count: see that the next look meets something else; False: not to be tried again."""
        self.fronts[lane].known = False
        if status == MEMLANE_LAPPED:
            self.catch_up(lane)
        elif status == MEMLANE_BUSY or status == MEMLANE_EMPTY or status == MEMLANE_CLOSED:
            PyErr_CheckSignals()
        else:
            self.refuse(status)
        return memlane_fork_is(self.epoch)

    cdef object take(self, bint is_first=True):
        """One record as new bytes, or None if there is none now."""
        cdef memlane_next found
        cdef memlane_status status
        cdef char *to
        cdef int lane
        while True:
            lane = self.find(&found)
            if self.untold:
                self.tell_loss()
            if lane < 0:
                return None
            record = PyBytes_FromStringAndSize(NULL, found.extent.nbytes)
            to = PyBytes_AS_STRING(record)
            status = self.copy_out(lane, &found, &found.extent, 1, &to)
            if status == MEMLANE_OK:
                self.current = lane + 1
                return record
            if not is_first or not self.step(lane, status):
                return None

    cdef int take_many(self, list taken, Py_ssize_t most) except -1:
        """Add up to *most* records to an empty list, not more than BATCH_NBYTES unless it is the first."""
        cdef memlane_extent extents[STEP_RECORDS]
        cdef char *to[STEP_RECORDS]
        cdef memlane_next found
        cdef memlane_status status
        cdef size_t count, i
        cdef Py_ssize_t had = 0, nbytes = 0
        cdef int lane
        try:
            while had < most and nbytes < BATCH_NBYTES:
                lane = self.find(&found)
                if self.untold:
                    if had:
                        break  # told at the next call
                    self.tell_loss()
                if lane < 0:
                    break
                if had and nbytes + <Py_ssize_t>found.extent.nbytes > BATCH_NBYTES:
                    break
                count = 1
                extents[0] = found.extent
                if most - had > 1 and not self.fronts[lane].known:
                    count = memlane_subscriber_look_on(&self.lanes[lane], found.s, &found.extent, min(most - had, <Py_ssize_t>STEP_RECORDS),
                                                       max(BATCH_NBYTES - nbytes, <Py_ssize_t>found.extent.nbytes), extents)
                # In the list before they are taken: behind that nothing may fail.
                for i in range(count):
                    to[i] = add_to_batch(taken, extents[i].nbytes)
                status = self.copy_out(lane, &found, extents, count, to)
                if status == MEMLANE_OK:
                    had += count
                    for i in range(count):
                        nbytes += extents[i].nbytes
                    self.current = lane + 1
                    continue
                cut_batch(taken, had)
                if had:
                    break  # a handler's exception must not lose what is taken
                if not self.step(lane, status):
                    break
        except Exception:
            cut_batch(taken, had)
            # What was taken is handed out; what is wrong will still be wrong at the next call.
            if had == 0 or self.is_over:
                raise
        return 0

    cdef Py_ssize_t take_into(self, Py_buffer *view) except -2:
        """Copy one record into a buffer; its length, or -1 if there is none now."""
        cdef memlane_next found
        cdef memlane_status status
        cdef char *to = <char *>view.buf
        cdef int lane
        while True:
            lane = self.find(&found)
            if self.untold:
                self.tell_loss()
            if lane < 0:
                return -1
            if found.extent.nbytes > <uint64_t>view.len:
                raise ValueError(f"the next record of {self.topic.name} has {found.extent.nbytes} bytes, the buffer "
                                 f"{view.len}; it is still the next one: pass a larger buffer")
            status = self.copy_out(lane, &found, &found.extent, 1, &to)
            if status == MEMLANE_OK:
                self.current = lane + 1
                return found.extent.nbytes
            if not self.step(lane, status):
                return -1

    cdef RecordLoan take_loan(self, bint is_first=True):
        """One record as a loan, or None if there is none now."""
        cdef memlane_next found
        cdef memlane_status status
        cdef memlane_subscriber *subscriber
        cdef TopicRecord record = TopicRecord.__new__(TopicRecord)
        cdef int lane
        while True:
            lane = self.find(&found)
            if self.untold:
                self.tell_loss()
            if lane < 0:
                return None
            subscriber = &self.lanes[lane]
            if self.waited_for and subscriber.lent == NULL:
                subscriber.lent = PyMem_Calloc((subscriber.lane.mask + 64) // 64, sizeof(uint64_t))
                if subscriber.lent == NULL:
                    raise MemoryError()
            memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
            status = self.locked_look(lane, &found)
            if status == MEMLANE_OK:
                if self.waited_for:
                    status = memlane_subscriber_borrow(subscriber, 1)
                else:
                    memlane_subscriber_finish(subscriber, 1, memlane_occupied(found.extent.nbytes))
                if status == MEMLANE_OK:
                    self.loans += 1
            memlane_mutex_unlock(&self.mutex)
            if status == MEMLANE_OK:
                self.fronts[lane].known = False
                self.silent_since = 0
                self.current = lane + 1
                record.role, record.lane, record.s, record.number = self, lane, found.s, found.number
                record.begin(self.topic, subscriber.lane.bytes + found.extent.offset, found.extent.nbytes)
                self.topic.membership.check_whole()
                return record
            if not is_first or not self.step(lane, status):
                return None

    cdef void take_back(self, uint32_t lane, uint64_t s) noexcept:
        """Let a borrowed record go, in any order, from any thread."""
        if self.waited_for:
            memlane_subscriber_release(&self.lanes[lane], s)
            if memlane_waiters_any(&self.lanes[lane].lane.control.waiters):
                self.topic.wake_sender(lane, 1)

    # ---- getting -----------------------------------------------------------------------------------------

    cdef int begin(self, Endpoint handle) except -1:
        """Join now."""
        self.extract(handle, TAKE_NOTHING, 0, NULL, 0, False)
        return 0

    cdef object extract(self, Endpoint handle, int how, Py_ssize_t most, Py_buffer *view, uint64_t deadline,
                        bint require_peer):
        cdef TopicState state = self.topic
        cdef SubscriberSleep sleep = None
        cdef uint32_t tries = 0
        cdef uint64_t pinned
        cdef bint readonly = state.membership.readonly
        cdef bint is_drained = False  # the descriptor of the handle, and nothing was found since
        handle.check()
        pinned = state.pin()
        try:
            while True:
                self.prepare(handle)
                record = self.take_as(how, most, view)
                if record is not None:
                    if self.sleepers and sleep is not None:
                        self.doorbell.post()  # pass the wake-up on: one token came for all threads of this subscription
                    return record
                if self.silent_since == 0:
                    self.silent_since = memlane_monotonic_ns()
                if self.place != NULL:
                    self.note_moved()
                    # Nothing new: a publisher that waits for room has it, however little was freed since it was looked for.
                    if self.waited_for:
                        state.wake_senders()
                if memlane_ring_shutdown(state.control):
                    if self.has_ended():
                        state.refuse(MEMLANE_CLOSED, 0)
                    if not readonly:
                        tries += 1
                        if tries > END_TRIES + state.shape.publishers:
                            state.refuse(MEMLANE_CORRUPTED, 0)
                        if deadline != 0 and deadline <= memlane_monotonic_ns():
                            state.refuse(MEMLANE_EMPTY, 0)
                        PyErr_CheckSignals()
                        continue
                elif (require_peer or handle.require_peer) and state.senders_are_gone() and not self.any_record():
                    self.refuse_unsent()
                if sleep is None:
                    sleep = SubscriberSleep()
                    sleep.begin(deadline, &self.spinning)
                    sleep.role, sleep.handle = self, handle
                if deadline == 0 or sleep.is_over():
                    self.check_sound()
                    if handle.readable is not None and not is_drained and handle.readable.rearm():
                        is_drained = True
                        continue
                    is_drained = False
                    state.refuse(MEMLANE_EMPTY, 0)
                if not sleep.spin(handle.wait):
                    self.check_sound()
                    if handle.wait != MEMLANE_WAIT_SPIN:
                        self.sleep_once(sleep)
                PyErr_CheckSignals()
        finally:
            if is_drained and handle.readable is not None:
                handle.readable.stir()
            state.unpin(pinned)

    cdef bint look(self, Endpoint handle) except -1:
        cdef memlane_next found
        if self.find(&found) >= 0 or (self.untold and self.raises_on_loss):
            return True
        if self.place != NULL:
            self.note_moved()
            if self.waited_for:
                self.topic.wake_senders()  # as `extract`
        if memlane_ring_shutdown(self.topic.control):
            return self.has_ended() or self.any_record()
        self.check_sound()
        return handle.require_peer and self.topic.senders_are_gone()

    cdef int sleep_once(self, SubscriberSleep sleep) except -1:
        """At the doorbell of the place, one thread at a time: the others poll, and so does one without a place."""
        if self.place == NULL or self.sleepers:
            sleep.poll()
            return 0
        if self.doorbell is None:
            bell = doorbell_of(self.topic.membership, &self.place.doorbell)
            bell.prepare()
            self.doorbell = bell
        self.sleepers += 1
        sleep.nap(memlane_topic_armed(&self.topic.topic, self.index), self.doorbell)
        self.sleepers -= 1
        return 0

    cdef bint any_record(self) noexcept nogil:
        """The second look: is there anything that a waiting get would act on?"""
        cdef uint32_t lane
        if self.topic.is_gone_now() or not memlane_fork_is(self.epoch):
            return True
        for lane in range(memlane_ring_leased(self.topic.control, self.topic.shape.publishers)):
            if self.known[lane] != 2 and self.is_leased(lane) and memlane_subscriber_any(&self.lanes[lane]):
                return True
        return memlane_ring_shutdown(self.topic.control) != 0 and not self.topic.membership.readonly

    cdef bint has_ended(self) noexcept:
        """Whether the topic was shut down, and there is nothing more to get: all lanes are closed behind the last record."""
        cdef TopicState state = self.topic
        cdef memlane_next found
        cdef memlane_status status
        cdef uint32_t lane, owner
        if memlane_ring_shutdown(state.control) == MEMLANE_SHUTDOWN_DROP:
            return True
        if not state.membership.readonly and not state.close_lanes():
            return False
        for lane in range(state.shape.publishers):
            if self.known[lane] == 2 or not self.is_leased(lane):
                continue
            owner = memlane_lane_owner(state.lane_control(lane))
            status = memlane_subscriber_peek(&self.lanes[lane], &found.s, &found.extent)
            if status == MEMLANE_CLOSED:
                self.known[lane] = 2
            elif not (state.membership.readonly and status == MEMLANE_EMPTY and (
                    owner == MEMLANE_OWNER_DEPARTED or state.membership.life(owner) == MEMLANE_DEAD)):
                return False
        return True

    cdef void note_moved(self) noexcept nogil:
        """Tell, for people, that it is there and goes on."""
        if self.place != NULL:
            memlane_place_note_moved(self.place, memlane_coarse_ns())

    cdef bint knows_leased(self, uint32_t lane) noexcept nogil:
        return self.is_leased(lane)

    cdef uint64_t next_of(self, uint32_t lane) noexcept nogil:
        return memlane_subscriber_next(&self.lanes[lane])

    cdef bint overlooked_in(self, uint32_t lane) noexcept nogil:
        return self.known[lane] == 1 and memlane_subscriber_overlooked(&self.lanes[lane])


cdef list last_records(TopicState state, uint64_t most):
    """The last records of each lane, or with order="all" of them together, by one that joins nothing."""
    cdef Subscription subscriber = Subscription.__new__(Subscription, state)
    cdef memlane_next found
    cdef memlane_status status
    cdef char *to
    cdef uint32_t lane
    cdef uint64_t count, pinned = state.pin()
    numbered, records = [], []
    try:
        subscriber.ask_for("last", False, 0, False)
        memlane_mutex_reset(&subscriber.mutex)
        subscriber.epoch = memlane_fork_epoch()
        for lane in range(memlane_ring_leased(state.control, state.shape.publishers)):
            if not subscriber.is_leased(lane):
                continue
            state.lane_at(lane, &subscriber.lanes[lane].lane)
            subscriber.lanes[lane].index, subscriber.lanes[lane].ordered = lane, state.ordered
            memlane_subscriber_start(&subscriber.lanes[lane], MEMLANE_START_LAST, most)
            count = 0
            while count < most:
                found.number = 0
                status = memlane_subscriber_peek(&subscriber.lanes[lane], &found.s, &found.extent)
                if status == MEMLANE_OK and state.ordered:
                    status = memlane_subscriber_number(subscriber.lanes, lane, &found.number)
                if status == MEMLANE_OK:
                    record = PyBytes_FromStringAndSize(NULL, found.extent.nbytes)
                    to = PyBytes_AS_STRING(record)
                    status = subscriber.copy_out(lane, &found, &found.extent, 1, &to)
                if status == MEMLANE_LAPPED:
                    subscriber.catch_up(lane)
                elif status == MEMLANE_OK:
                    count += 1
                    if state.ordered:
                        numbered.append((found.number, record))
                    else:
                        records.append(record)
                elif status == MEMLANE_EMPTY or status == MEMLANE_CLOSED:
                    break
                else:
                    state.refuse(status, 0)
        if state.is_gone_now():
            state.refuse_gone()
    finally:
        subscriber.epoch = EPOCH_CLOSED
        state.unpin(pinned)
    if state.ordered:
        numbered.sort()
        records = [record for _, record in numbered[-<Py_ssize_t>most:]]
    return records


@cython.final
@cython.no_gc
cdef class TopicRecord(RecordLoan):
    """
    A borrowed record of a topic: its bytes where they lie, read-only, until it is released.

    Supports the buffer protocol. Released at the end of its `with`, by `release()`, or when the last view of it
    (a memoryview, a numpy array) has died, whichever comes last.
    """

    @property
    def sequence(self):
        """
        Its number among the records of its publisher, which begin at 0 and never repeat; with order="all" among those of all
        publishers, of which one may be missing that was never published.
        """
        return self.number if (<TopicState>self.lender).ordered else self.s

    @property
    def publisher(self):
        """Which publisher published it: the number of its lane, as of `Record.producer`."""
        return self.lane

    @property
    def overwritten(self):
        """
        Whether a publisher has overwritten it meanwhile: then what was read of it may be anything. With when_full="wait"
        never. False now says that all that was read up to now is whole.
        """
        self.check()
        return self.is_overwritten()

    cdef bint is_overwritten(self) noexcept:
        return (memlane_fork_is(self.pinned) and not (<Subscription>self.role).waited_for
                and memlane_subscriber_check(&(<Subscription>self.role).lanes[self.lane], self.s) != MEMLANE_OK)

    @cython.binding(True)
    def __exit__(self, kind, _value, _traceback):
        cdef bint overwritten = self.is_open and self.is_overwritten()
        self.close()
        if overwritten and kind is None:
            raise Lapped(f"this record of {self.lender.name} was overwritten while it was on loan, so what was read of it may "
                         "be anything", lost=1)
