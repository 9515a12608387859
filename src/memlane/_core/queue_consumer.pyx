# SPDX-License-Identifier: MIT
"""What gets from a queue in this process: competing consumers that take the record with the smallest number of all lanes."""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from memlane._core.arguments cimport COPY_WITH_GIL_NBYTES
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_CORRUPTED, MEMLANE_LOOKS_WITH_GIL, MEMLANE_LOST, MEMLANE_OK,
    MEMLANE_ORDER_NBYTES, MEMLANE_QUEUE_SPARE, MEMLANE_QUEUE_SPARE_LEAST, MEMLANE_QUEUE_SPARE_MOST,
    MEMLANE_QUEUE_SPARE_RECORD, MEMLANE_QUEUE_SPARE_RECORDS, MEMLANE_SHUTDOWN_DROP, MEMLANE_STATE_TAKEN, memlane_extent,
    memlane_extent_of, memlane_found, memlane_lane, memlane_lane_length, memlane_many_claim, memlane_many_count_redelivered, memlane_many_free,
    memlane_many_hand_back, memlane_many_handed_back, memlane_many_help,
    memlane_many_settle_some, memlane_many_taken, memlane_occupied, memlane_queue_found,
    memlane_queue_next, memlane_ring_leased, memlane_ring_shutdown, memlane_state_kind,
    memlane_status, memlane_tasks_get, memlane_waiters_any,
)
from memlane._core.lanes cimport LanesState
from memlane._core.membership cimport EPOCH_CLOSED
from memlane._core.os cimport memlane_coarse_ns, memlane_fork_is, memlane_guard_is_truncated, memlane_monotonic_ns
from memlane._core.queue_state cimport QueueState
from memlane._core.receiver cimport BATCH_NBYTES
from memlane._core.ring_consumer_many cimport ManyConsumers
from memlane._core.runtime cimport MEMLANE_POSTS_MAX, MEMLANE_SLICE_NS, memlane_membership_keeps_row

memlane_calls_join(calls_of_process(), globals())

# While objects come, what the dead have in hand is looked for each time after so many.
cdef uint32_t LOOKS_A_PASS = 256

# A look that did not get to the end of what consumers have in hand has so many steps the next time.
cdef uint64_t MANY_STEPS = 1 << 20

# After so many objects of a lane all is given back that is free there, however small they were: of each there was a descriptor.
cdef uint64_t SPARE_RECORDS = 32768

# While objects come what is free in a lane is given back at least once in so many slices, if it is much.
cdef uint64_t SPARE_SLICES = 10

# So often it is looked again at once where others take what was found.
cdef int BUSY_LOOKS = 1000


@cython.final
cdef class QueueConsumer(ManyConsumers):
    """This process as one of the consumers of a queue."""

    def __cinit__(self, LanesState state):
        self.queue = <QueueState>state
        self.freed = <uint64_t *>PyMem_Calloc(2 * state.lanes, sizeof(uint64_t))
        if self.freed == NULL:
            raise MemoryError()
        self.freed_records = self.freed + state.lanes

    def __dealloc__(self):
        PyMem_Free(self.freed)

    cdef int take_role(self) except -1:
        ManyConsumers.take_role(self)
        memset(&self.passing, 0, sizeof(self.passing))
        memset(self.freed, 0, 2 * self.ring.lanes * sizeof(uint64_t))
        self.has_few_steps = self.is_tidy = False
        self.empty_ns = 0
        return 0

    cdef void depart(self) noexcept:
        if memlane_fork_is(self.epoch) and not self.ring.membership.closed and self.ring.is_held() and not self.is_tidy:
            try:
                self.queue.tidy_all()
            except Exception:
                pass  # it is closed meanwhile; what is free is given back by another one
        ManyConsumers.depart(self)

    # ---- looking ------------------------------------------------------------------------------------------

    cdef int find(self, memlane_found *found) except -2:
        """
        The record with the smallest number, with its extent as users see it. What was handed back comes first; what the dead had in
        hand once a slice, and before it is said that there is nothing.
        """
        cdef memlane_queue_found seen
        cdef memlane_status status = MEMLANE_BUSY
        cdef int lane, tries
        if memlane_ring_shutdown(self.ring.control) == MEMLANE_SHUTDOWN_DROP:
            return -1
        self.looks += 1
        if self.looks >= LOOKS_A_PASS:
            self.looks = 0
            if memlane_monotonic_ns() >= self.next_look_ns:
                lane = self.find_unsettled(found)
                if lane >= 0:
                    return self.adjusted(lane, found)
        for tries in range(BUSY_LOOKS):
            self.passing.steps = MANY_STEPS if self.has_few_steps else MEMLANE_LOOKS_WITH_GIL
            status = memlane_queue_next(
                self.lanes, self.ring.control, self.ring.lanes, self.current - (self.current != 0), &self.passing, &seen)
            self.has_few_steps = self.passing.steps == 0
            if status != MEMLANE_BUSY:
                break
        if status == MEMLANE_OK:
            found[0] = seen.record
            return self.adjusted(seen.lane, found)
        if status == MEMLANE_CORRUPTED:
            self.ring.refuse(status, 0)
        lane = self.find_unsettled(found)
        if lane >= 0:
            return self.adjusted(lane, found)
        self.note_empty()
        return -1

    cdef int adjusted(self, uint32_t lane, memlane_found *found) except -2:
        """Leave the number out of the extent of what was found."""
        if found.extent.nbytes < MEMLANE_ORDER_NBYTES:
            self.ring.refuse(MEMLANE_CORRUPTED, 0)
        found.extent.offset += MEMLANE_ORDER_NBYTES
        found.extent.nbytes -= MEMLANE_ORDER_NBYTES
        return lane

    cdef int find_unsettled(self, memlane_found *found) except -2:
        """Where records were taken and are not free yet: one of them whose taker is dead, or that was handed back; -1: none."""
        cdef uint32_t lane, leased = self.lanes_to_walk()
        cdef uint64_t taken, steps = MEMLANE_LOOKS_WITH_GIL
        for lane in range(leased):
            if self.is_leased(lane):
                taken = memlane_many_taken(&self.lanes[lane].lane)
                if memlane_many_settle_some(&self.lanes[lane], taken, &steps) != taken:
                    return self.find_in_dead_hand(leased, found)
        return -1

    cdef bint comes_back(self) noexcept nogil:
        return memlane_many_handed_back(self.ring.control) != self.passing.handed_back

    cdef bint finish_pass(self) except -1:
        # What was handed back is met by each look in `find`; this is for what the dead had.
        return ManyConsumers.finish_pass(self) and not self.has_few_steps

    cdef size_t find_more(self, uint32_t lane, const memlane_found *found, size_t most, uint64_t most_nbytes,
                          memlane_extent *extents) noexcept:
        extents[0] = found.extent  # the next one may be in another lane
        return 1

    # ---- taking -------------------------------------------------------------------------------------------

    cdef object take(self, bint is_first=True):
        """One record as `Codec.decode` takes it, or None if there is none now; *is_first* as in ConsumerRole."""
        cdef memlane_found found
        cdef uint64_t pinned = 0
        cdef int lane
        while True:
            lane = self.find(&found)
            if lane < 0:
                return None
            if found.extent.nbytes >= COPY_WITH_GIL_NBYTES:
                pinned = self.ring.pin()  # while we have no GIL, another thread may close the queue
            copied = self.take_found(lane, &found, pinned)
            if copied is not None:
                self.current = lane + 1
                if memlane_guard_is_truncated(self.ring.guarded):
                    self.ring.membership.check_whole()  # then what was copied may be zeros
                return copied
            if not is_first:
                return None
            PyErr_CheckSignals()  # first: a handler may close the queue, which get has not pinned
            if not memlane_fork_is(self.epoch):
                return None

    cdef object take_found(self, uint32_t lane, memlane_found *found, uint64_t pinned):
        """Claim, copy out, free; None: another one was faster. Unpins what was pinned."""
        cdef const memlane_lane *view = &self.lanes[lane].lane
        cdef bint is_freed
        try:
            if not self.claim_one(lane, found):
                return None
            try:
                copied = self.queue.codec.copy_out(view.bytes + found.extent.offset, found.extent.nbytes)
            except BaseException:  # no memory for the copy: the object is the next one still
                memlane_many_hand_back(self.ring.control, view, found.s, self.tag)
                raise
            if self.queue.queue_shape.counts_tasks:
                memlane_tasks_get(self.queue.hands, self.tag)
            is_freed = memlane_many_free(view, found.s, self.tag)
            self.note_object(lane, found.extent.nbytes)
        finally:
            if pinned:
                self.ring.unpin(pinned)
        if not is_freed:
            self.ring.refuse(MEMLANE_LOST, 0)
        return copied

    cdef int take_many(self, list taken, Py_ssize_t most) except -1:
        """Add up to *most* records to an empty list; not more than BATCH_NBYTES of them unless it is the first."""
        cdef uint64_t before = self.got_nbytes
        while len(taken) < most and self.got_nbytes - before < BATCH_NBYTES:
            try:
                record = self.take(not taken)
            except Exception:
                if taken:
                    break  # what is wrong will still be wrong at the next call
                raise
            if record is None:
                break
            taken.append(record)
        return 0

    cdef Py_ssize_t take_into(self, Py_buffer *view) except -2:
        return -1  # a queue has no get_into

    cdef Py_ssize_t copy_one(self, uint32_t lane, memlane_found *found, char *to) except -1:
        return 0  # `take` does it

    cdef Py_ssize_t copy_out(self, uint32_t lane, memlane_found *found, const memlane_extent *extents, size_t count,
                             char **to) except -1:
        return 0

    cdef int claim_one(self, uint32_t lane, memlane_found *found) noexcept nogil:
        """Whether what was found is ours now, and is still what was found."""
        cdef const memlane_lane *view = &self.lanes[lane].lane
        cdef memlane_extent again
        cdef bint fresh = memlane_state_kind(found.state) != MEMLANE_STATE_TAKEN
        cdef bint redelivered = self.is_redelivered(found)
        if not memlane_fork_is(self.epoch) or not memlane_many_claim(view, found, self.tag):
            return False
        if fresh:
            memlane_many_help(view, found.s, found.s + 1)
        elif redelivered:
            memlane_many_count_redelivered(self.ring.control)
        # Only now it cannot change any more, except by one who spoils bytes.
        if (memlane_extent_of(view, found.s, &again) != MEMLANE_OK
                or again.nbytes != found.extent.nbytes + MEMLANE_ORDER_NBYTES):
            memlane_many_hand_back(self.ring.control, view, found.s, self.tag)
            return False
        found.extent.offset = again.offset + MEMLANE_ORDER_NBYTES
        return True

    cdef void note_object(self, uint32_t lane, uint64_t nbytes) noexcept:
        """An object was taken and is free: wake those that wait for room, and give memory back where much is free."""
        cdef QueueState queue = self.queue
        cdef uint64_t occupied = memlane_occupied(nbytes + MEMLANE_ORDER_NBYTES), spare
        self.empty_ns, self.is_tidy = 0, False
        self.got_nbytes += nbytes
        if queue.queue_shape.maxsize:
            queue.wake_putters(1)
        self.freed[lane] += occupied
        self.freed_records[lane] += 1
        if self.freed[lane] >= MEMLANE_QUEUE_SPARE or self.freed_records[lane] >= SPARE_RECORDS:
            spare = self.spare_of(lane, occupied)
            if self.freed[lane] >= spare:
                self.freed[lane] = self.freed_records[lane] = 0
                self.given_ns = memlane_coarse_ns()
                if queue.tidy(lane, spare) and memlane_waiters_any(&queue.lane_control(lane).waiters):
                    queue.wake_sender(lane, 1)
        if memlane_ring_shutdown(queue.control) and memlane_waiters_any(&queue.control.waiters):
            queue.wake_receivers(MEMLANE_POSTS_MAX)

    cdef uint64_t spare_of(self, uint32_t lane, uint64_t occupied) noexcept:
        """From how many free bytes of a lane on they are given back now."""
        cdef uint64_t usual = max(MEMLANE_QUEUE_SPARE, occupied + 1), drained
        cdef uint64_t most = min(max(MEMLANE_QUEUE_SPARE_RECORDS * occupied, MEMLANE_QUEUE_SPARE_LEAST), MEMLANE_QUEUE_SPARE_MOST)
        if self.freed_records[lane] >= SPARE_RECORDS:
            return 1
        if occupied < MEMLANE_QUEUE_SPARE_RECORD:
            return usual
        if (memlane_coarse_ns() - self.given_ns >= SPARE_SLICES * MEMLANE_SLICE_NS
                or memlane_waiters_any(&self.queue.lane_control(lane).waiters)):
            return usual
        if memlane_lane_length(&self.lanes[lane].lane) == 0:
            # Nobody may look again after much was drained.
            drained, self.drained_nbytes = self.got_nbytes - self.drained_nbytes, self.got_nbytes
            if drained >= most:
                return usual
        return max(usual, most)

    cdef void note_empty(self) noexcept:
        """There is nothing to get. After a while all memory is given back that is free."""
        cdef uint64_t now
        cdef uint32_t lane
        if self.is_tidy or not memlane_fork_is(self.epoch):
            return
        now = memlane_coarse_ns()
        if self.empty_ns == 0:
            self.empty_ns = now
        elif now - self.empty_ns >= MEMLANE_SLICE_NS // 2:
            self.is_tidy = True
            for lane in range(memlane_ring_leased(self.ring.control, self.ring.lanes)):
                self.queue.tidy(lane, 1)

    cdef bint lend(self, uint32_t lane, memlane_found *found) except -1:
        if not self.claim_one(lane, found):
            return False
        # After the claim: from now on only who takes us for dead may take the record out of our hand.
        if not memlane_membership_keeps_row(&self.ring.membership.own):
            memlane_many_hand_back(self.ring.control, &self.lanes[lane].lane, found.s, self.tag)
            self.ring.refuse(MEMLANE_LOST, 0)
        if self.queue.queue_shape.counts_tasks:
            memlane_tasks_get(self.queue.hands, self.tag)
        self.note_lent()
        if self.queue.queue_shape.maxsize:
            self.queue.wake_putters(1)
        return True

    cdef void take_back(self, uint32_t lane, uint64_t s) noexcept:
        cdef memlane_extent extent
        cdef uint64_t nbytes = 0
        if memlane_extent_of(&self.lanes[lane].lane, s, &extent) == MEMLANE_OK:
            nbytes = extent.nbytes
        memlane_many_free(&self.lanes[lane].lane, s, self.tag)
        self.note_object(lane, nbytes)
        if memlane_waiters_any(&self.ring.lane_control(lane).waiters):
            self.ring.wake_sender(lane, 1)
        self.queue.wake_joiners()


cdef QueueConsumer queue_consumer(QueueState state):
    """The role of this process in a queue."""
    return QueueConsumer.__new__(QueueConsumer, state)
