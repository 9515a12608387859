# SPDX-License-Identifier: MIT
"""The one consumer of a ring: it alone moves `head`, and a successor goes on from there."""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane.errors import RoleTakenError

from memlane._core.arguments cimport COPY_WITH_GIL_NBYTES
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_CORRUPTED, MEMLANE_LOST, MEMLANE_OK, memlane_consumer,
    memlane_consumer_any, memlane_consumer_borrow, memlane_consumer_close, memlane_consumer_drop,
    memlane_consumer_finish, memlane_consumer_is_at, memlane_consumer_loans,
    memlane_consumer_look_on, memlane_consumer_next, memlane_consumer_overlooked,
    memlane_consumer_peek, memlane_consumer_release, memlane_consumer_skip, memlane_consumer_start,
    memlane_copy, memlane_extent, memlane_found, memlane_lane_prefetch, memlane_occupied,
    memlane_peers_come, memlane_peers_note_dead, memlane_prefetch, memlane_role_give,
    memlane_role_held, memlane_role_owner, memlane_status, memlane_waiters_any,
    memlane_waiters_any_fenced,
)
from memlane._core.lanes cimport LanesState
from memlane._core.membership cimport EPOCH_CLOSED
from memlane._core.os cimport (
    memlane_fork_is, memlane_guard_is_truncated, memlane_mutex, memlane_mutex_lock,
    memlane_mutex_reset, memlane_mutex_try, memlane_mutex_unlock,
)
from memlane._core.ring_consumer cimport ConsumerRole, PREFETCH_NBYTES
from memlane._core.ring_state cimport RingState
from memlane._core.runtime cimport (
    MEMLANE_LEASE_TAKEN, MEMLANE_LEASE_UNKNOWN, memlane_lease, memlane_lease_role,
)

memlane_calls_join(calls_of_process(), globals())


@cython.final
cdef class OneConsumer(ConsumerRole):
    """The role of the consumer, if this process has it."""

    cdef memlane_consumer *lanes
    cdef memlane_mutex mutex          # guards `lanes` and `departing`

    def __cinit__(self, LanesState state):
        self.lanes = <memlane_consumer *>PyMem_Calloc(state.lanes, sizeof(memlane_consumer))
        if self.lanes == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.lanes)

    cdef int take_role(self) except -1:
        cdef uint32_t holder, lane
        cdef memlane_lease lease = memlane_lease_role(&self.ring.membership.own, &self.ring.control.consumer, &holder)
        if lease == MEMLANE_LEASE_UNKNOWN:
            self.ring.refuse(MEMLANE_LOST, 0)
        if lease == MEMLANE_LEASE_TAKEN:
            pid = self.ring.membership.pid_of(holder)
            raise RoleTakenError(f"{self.ring.name} already has a consumer (pid {pid}, alive); close it there first, "
                                 'or create the ring with consumers="many"', role="consumer", pids=(pid,))
        if holder:
            memlane_peers_note_dead(self.ring.control)
        memlane_peers_come(self.ring.control, NULL, self.tag)
        for lane in range(self.ring.shape.lanes):
            self.ring.lane_at(lane, &self.lanes[lane].lane)
            memlane_consumer_start(&self.lanes[lane])
        memlane_mutex_reset(&self.mutex)
        return 0

    cdef void depart(self) noexcept:
        if not memlane_fork_is(self.epoch) or self.ring.membership.closed:
            return
        if not self.ring.is_held():
            self.epoch = EPOCH_CLOSED  # the ring was removed, and its room may be another object's
            return
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        self.departing = True
        if self.loans == 0:
            self.epoch = EPOCH_CLOSED
            memlane_role_give(&self.ring.control.consumer, self.tag)
        memlane_mutex_unlock(&self.mutex)

    cdef int find(self, memlane_found *found) except -2:
        cdef uint32_t leased = self.lanes_to_walk(), lane = self.current, turn
        cdef memlane_status status
        for turn in range(leased):
            if lane >= leased:
                lane = 0
            if self.is_leased(lane):
                status = memlane_consumer_peek(&self.lanes[lane], &found.s, &found.extent)
                if status == MEMLANE_BUSY:
                    memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
                    memlane_consumer_skip(&self.lanes[lane])
                    memlane_mutex_unlock(&self.mutex)
                    status = memlane_consumer_peek(&self.lanes[lane], &found.s, &found.extent)
                if status == MEMLANE_OK:
                    return lane
                if status == MEMLANE_CORRUPTED:
                    self.ring.refuse(status, 0)
            lane += 1
        return -1

    cdef size_t find_more(self, uint32_t lane, const memlane_found *found, size_t most, uint64_t most_nbytes,
                          memlane_extent *extents) noexcept:
        return memlane_consumer_look_on(&self.lanes[lane], found.s, &found.extent, most, most_nbytes, extents)

    cdef Py_ssize_t copy_one(self, uint32_t lane, memlane_found *found, char *to) except -1:
        return self.copy_out(lane, found, &found.extent, 1, &to)

    cdef inline Py_ssize_t copy_out(self, uint32_t lane, memlane_found *found, const memlane_extent *extents, size_t count,
                             char **to) except -1:
        """All of them or none, in one step under the mutex."""
        cdef memlane_status status
        cdef bint crossed = False
        cdef uint64_t total = 0, pinned = 0
        cdef size_t i
        for i in range(count):
            total += memlane_occupied(extents[i].nbytes)
        if total < COPY_WITH_GIL_NBYTES and memlane_mutex_try(&self.mutex):
            status = self.locked_copy(lane, found.s, extents, count, total, to, &crossed)
            memlane_mutex_unlock(&self.mutex)
        else:
            # Pinned: while we have no GIL, another thread may close the ring.
            pinned = self.ring.pin()
            with nogil:
                memlane_mutex_lock(&self.mutex)
                status = self.locked_copy(lane, found.s, extents, count, total, to, &crossed)
                memlane_mutex_unlock(&self.mutex)
        if crossed and memlane_waiters_any_fenced(&self.lanes[lane].lane.control.waiters):
            self.ring.wake_sender(lane, 1)
        if pinned:
            self.ring.unpin(pinned)
        if status == MEMLANE_LOST:
            self.ring.refuse(status, 0)
        if memlane_guard_is_truncated(self.ring.guarded):
            self.ring.membership.check_whole()  # then what was copied may be zeros
        return count if status == MEMLANE_OK else 0

    cdef inline memlane_status locked_copy(self, uint32_t lane, uint64_t s, const memlane_extent *extents, size_t count,
                                           uint64_t total, char **to, bint *crossed) noexcept nogil:
        cdef memlane_consumer *consumer = &self.lanes[lane]
        cdef const unsigned char *bytes = consumer.lane.bytes
        cdef size_t i
        if not memlane_fork_is(self.epoch) or not memlane_consumer_is_at(consumer, s):
            return MEMLANE_BUSY
        # Each payload is on its way before it is copied, and behind the last one the next batch's.
        for i in range(count - 1):
            if extents[i + 1].nbytes >= PREFETCH_NBYTES:
                memlane_prefetch(bytes + extents[i + 1].offset, extents[i + 1].nbytes)
            memlane_copy(to[i], bytes + extents[i].offset, extents[i].nbytes)
        memlane_lane_prefetch(&consumer.lane, s + count, count)
        memlane_copy(to[count - 1], bytes + extents[count - 1].offset, extents[count - 1].nbytes)
        if not memlane_role_held(&self.ring.control.consumer, self.tag):
            return MEMLANE_LOST
        crossed[0] = memlane_consumer_finish(consumer, count, total)
        return MEMLANE_OK

    cdef bint lend(self, uint32_t lane, memlane_found *found) except -1:
        cdef memlane_status status = MEMLANE_BUSY
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        if memlane_fork_is(self.epoch) and memlane_consumer_is_at(&self.lanes[lane], found.s):
            status = MEMLANE_LOST
            if memlane_role_held(&self.ring.control.consumer, self.tag):
                memlane_consumer_borrow(&self.lanes[lane])
                self.loans += 1
                status = MEMLANE_OK
        memlane_mutex_unlock(&self.mutex)
        if status == MEMLANE_LOST:
            self.ring.refuse(status, 0)
        return status == MEMLANE_OK

    cdef void take_back(self, uint32_t lane, uint64_t s) noexcept:
        if memlane_role_held(&self.ring.control.consumer, self.tag):
            memlane_consumer_release(&self.lanes[lane], s)
            if memlane_waiters_any(&self.lanes[lane].lane.control.waiters):
                self.ring.wake_sender(lane, 1)

    cdef uint64_t next_of(self, uint32_t lane) noexcept nogil:
        return memlane_consumer_next(&self.lanes[lane])

    cdef int64_t holds_from(self, uint32_t lane, uint64_t s, uint64_t end, uint32_t *tags) noexcept:
        if not memlane_fork_is(self.epoch) or <int64_t>(memlane_consumer_next(&self.lanes[lane]) - s) <= 0:
            return 0
        tags[0] = self.tag
        return memlane_consumer_loans(&self.lanes[lane])

    cdef object loans_in(self, uint32_t lane, uint64_t *steps):
        if memlane_fork_is(self.epoch):
            return <int64_t>memlane_consumer_loans(&self.lanes[lane])
        return None if memlane_role_owner(&self.ring.control.consumer) else 0

    cdef bint any_in(self, uint32_t lane) noexcept nogil:
        return memlane_consumer_any(&self.lanes[lane])

    cdef bint overlooked_in(self, uint32_t lane) noexcept nogil:
        return memlane_consumer_overlooked(&self.lanes[lane])

    cdef memlane_status close_lane(self, uint32_t lane, bint drop) noexcept nogil:
        cdef memlane_status status
        memlane_mutex_lock(&self.mutex)
        if drop:
            memlane_consumer_drop(&self.lanes[lane])
        status = memlane_consumer_close(&self.lanes[lane])
        memlane_mutex_unlock(&self.mutex)
        return status


cdef ConsumerRole one_consumer(RingState ring):
    """The role of this process in a ring that has one consumer."""
    return OneConsumer.__new__(OneConsumer, ring)
