# SPDX-License-Identifier: MIT
"""The publisher of a topic: its lane in this process."""

cimport cython
from cpython.buffer cimport PyBuffer_Release
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from memlane.errors import Full, Laggard

from memlane._core.arguments cimport COPY_WITH_GIL_NBYTES, check_timeout, deadline_of
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_OK, MEMLANE_PLACE_EVICTED, memlane_extent, memlane_extent_of, memlane_holder_state, memlane_holder_tag,
    memlane_producer_stamp_is_due, memlane_producer_stamp_some, memlane_producer_used, memlane_publisher_adopt, memlane_publisher_any,
    memlane_publisher_claim, memlane_publisher_commit, memlane_publisher_put,
    memlane_publisher_put_many, memlane_publisher_watch, memlane_sight, memlane_span,
    memlane_status,
)
from memlane._core.lanes cimport Endpoint, LanesState
from memlane._core.os cimport (
    memlane_coarse_ns, memlane_fork_is, memlane_guard_is_truncated, memlane_monotonic_ns, memlane_mutex_lock,
    memlane_mutex_try, memlane_mutex_unlock,
)
from memlane._core.sender cimport Sender, span_of
from memlane._core.topic_state cimport TopicState

memlane_calls_join(calls_of_process(), globals())

cdef enum:
    # So many laggards are named by their records; arbitrary.
    LAGGARDS_NAMED = 8


@cython.final
cdef class PublisherRole(Sender):
    """One lease of a topic's lane by this process; its threads share it."""

    def __cinit__(self, LanesState state):
        self.producer = &self.own.producer
        self.sights = <memlane_sight *>PyMem_Calloc((<TopicState>state).shape.subscribers, sizeof(memlane_sight))
        if self.sights == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.sights)

    cdef memlane_status adopt(self) noexcept:
        cdef TopicState topic = <TopicState>self.state
        self.own.topic = &topic.topic
        self.own.sights = self.sights
        self.own.index = self.lane
        self.own.ordered = topic.ordered
        memset(self.sights, 0, topic.shape.subscribers * sizeof(memlane_sight))
        return memlane_publisher_adopt(&self.own)

    cdef memlane_status insert_spans(self, const memlane_span *spans, size_t count, size_t *done) noexcept nogil:
        return memlane_publisher_put_many(&self.own, spans, count, done)

    cdef memlane_status open_claim(self, uint64_t nbytes, uint64_t *offset) noexcept nogil:
        return memlane_publisher_claim(&self.own, nbytes, offset)

    cdef memlane_status commit_claim(self, uint64_t offset, uint64_t nbytes) noexcept nogil:
        return memlane_publisher_commit(&self.own, offset, nbytes)

    cdef void wake_behind(self, size_t count) noexcept:
        (<TopicState>self.state).wake_subscribers()

    cdef bint any_room(self, uint64_t head) noexcept nogil:
        return memlane_publisher_any(&self.own)

    cdef int publish(self, Endpoint handle, object record, object timeout) except -1:
        cdef memlane_span span
        cdef Py_buffer view
        if not span_of(record, &span, &view, "publish"):
            self.publish_span(handle, &span, timeout)
            return 0
        try:
            self.publish_span(handle, &span, timeout)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef inline int publish_span(self, Endpoint handle, const memlane_span *span, object timeout) except -1:
        cdef memlane_status status
        check_timeout(timeout)
        if (handle.sends == self.epoch and memlane_fork_is(self.epoch) and span.nbytes < COPY_WITH_GIL_NBYTES
                and not self.waiting and memlane_mutex_try(&self.mutex)):
            status = MEMLANE_BUSY
            if self.claim == NULL and memlane_fork_is(self.epoch) and not self.state.is_gone():
                status = memlane_publisher_put(&self.own, span.bytes, span.nbytes)
                if status == MEMLANE_OK and memlane_producer_stamp_is_due(&self.own.producer):
                    memlane_producer_stamp_some(&self.own.producer, memlane_coarse_ns())
            memlane_mutex_unlock(&self.mutex)
            if status == MEMLANE_OK:
                if memlane_guard_is_truncated(self.state.guarded):
                    self.state.membership.check_whole()  # then nobody will ever see the record
                (<TopicState>self.state).wake_subscribers()
                return 0
        self.insert(handle, span, 1, deadline_of(timeout), None, False)
        return 0

    cdef bint clear_the_way(self, uint64_t *next_eviction) noexcept:
        """
        Evict the subscribers that have not moved for as long as they said, and take its place away from the one that stands
        most in the way if it is proven dead.
        """
        cdef TopicState topic = <TopicState>self.state
        cdef uint64_t holder = 0, now = memlane_monotonic_ns()
        cdef uint32_t evicted = 0, index = topic.shape.subscribers
        next_eviction[0] = ~<uint64_t>0
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        if memlane_fork_is(self.epoch) and not self.departing and not topic.is_gone():
            evicted = memlane_publisher_watch(&self.own, now, next_eviction)
            index, holder = self.own.obstacle, self.own.obstacle_holder
        memlane_mutex_unlock(&self.mutex)
        if evicted:
            topic.wake_subscribers()  # one with a loan sleeps where it has read all
        if index < topic.shape.subscribers and topic.evict_dead(index, holder):
            evicted += 1
        if evicted:
            topic.wake_senders()  # that of another lane may have waited for the same one
        return evicted != 0

    cdef object refuse_full(self, bint is_claimed):
        """As of any sender; it names the subscribers that are waited for."""
        cdef TopicState topic = <TopicState>self.state
        cdef uint64_t records, nbytes, now = memlane_monotonic_ns()
        topic.membership.check_whole()
        if not memlane_mutex_try(&self.mutex):
            with nogil:
                memlane_mutex_lock(&self.mutex)
        records, nbytes = self.producer.next - self.producer.head, memlane_producer_used(self.producer)
        by_views = self.own.obstacle >= topic.shape.subscribers
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
        found, are_evicted = self.laggards(now)
        facts["cause"], facts["laggards"] = "laggards", tuple(found)
        named = ", ".join([f"pid {one.pid} ({one.records} records behind, {one.seconds:.3g} s without progress)"
                           for one in found[:LAGGARDS_NAMED]]) + (", ..." if len(found) > LAGGARDS_NAMED else "")
        if are_evicted:
            raise Full(f"{topic.name} is full ({used}): it waits for {named}, evicted already, with records on loan that stay "
                       "readable; release them there, or wait with a longer timeout", **facts)
        raise Full(f"{topic.name} is full ({used}): it waits for {named or 'a subscriber'}; let it go on, wait with a longer "
                   "timeout, or subscribe with evict_after=", **facts)

    cdef tuple laggards(self, uint64_t now):
        """
        Those for which the last attempt had to wait, the one that is furthest behind first; and whether all of them are evicted,
        and only their loans are waited for.
        """
        cdef TopicState topic = <TopicState>self.state
        cdef memlane_sight sight
        cdef memlane_extent extent
        cdef uint64_t next, write, since, nbytes
        cdef uint32_t index, tag
        cdef bint are_evicted = True
        found = []
        for index in range(topic.shape.subscribers):
            memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
            sight = self.sights[index]
            next, write = self.producer.next, self.producer.write
            memlane_mutex_unlock(&self.mutex)
            if sight.holder == 0:
                continue
            nbytes = 0
            if memlane_extent_of(&self.producer.lane, sight.position, &extent) == MEMLANE_OK:
                nbytes = (write - extent.offset if write > extent.offset else topic.shape.capacity - extent.offset + write)
            since = sight.since
            are_evicted = are_evicted and memlane_holder_state(sight.holder) == MEMLANE_PLACE_EVICTED
            tag = memlane_holder_tag(sight.holder)
            found.append(Laggard(topic.membership.pid_of(tag), topic.name_of(tag), next - sight.position, nbytes,
                                 (now - since) / 1e9 if now > since else 0.0))
        # The furthest behind first; a pid may be None, so by the number and the place alone.
        order = sorted([(-one.records, place) for place, one in enumerate(found)])
        return [found[place] for _, place in order], are_evicted and bool(found)
