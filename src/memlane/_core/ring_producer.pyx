# SPDX-License-Identifier: MIT
"""The producer of a ring: its lane in this process."""

cimport cython
from cpython.buffer cimport PyBuffer_Release
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcmp, memset

import os as _os

from memlane.errors import Full

from memlane._core.arguments cimport COPY_WITH_GIL_NBYTES, check_timeout, deadline_of
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_OK, memlane_lane_head, memlane_max_record, memlane_peers_came,
    memlane_producer_adopt, memlane_producer_any, memlane_producer_claim, memlane_producer_commit,
    memlane_producer_holds, memlane_producer_put, memlane_producer_put_many,
    memlane_producer_reuse, memlane_producer_stamp_is_due, memlane_producer_stamp_next,
    memlane_producer_stamp_some, memlane_producer_used, memlane_ring_shutdown, memlane_span,
    memlane_status, memlane_waiters_any,
)
from memlane._core.lanes cimport Endpoint, LanesState
from memlane._core.membership cimport Membership
from memlane._core.os cimport (
    memlane_coarse_ns, memlane_fork_is, memlane_guard_is_truncated, memlane_mutex_lock, memlane_mutex_try,
    memlane_mutex_unlock,
)
from memlane._core.ring_state cimport RingState
from memlane._core.runtime cimport MEMLANE_POSTS_MAX
from memlane._core.sender cimport Sender, span_of

memlane_calls_join(calls_of_process(), globals())

# From this size on a record had better go where the last one was, which is in the processor's cache still. A look
# whether it is free takes 50 ns, writing so much for each look a hundred times as long.
cdef uint64_t REUSE_NBYTES = 65536

cdef uint64_t REUSE_NBYTES_A_LOOK = 65536

# A claim looks with the GIL. Some 6 microseconds: a consumer that reads little of a large record is through with it.
cdef uint64_t REUSE_LOOKS_WITH_GIL = 128

cdef enum:
    FULL_BY_ROOM = 0                  # of records or bytes, and nothing else to be said
    FULL_BY_CLAIM = 1
    FULL_BY_VIEWS = 2
    FULL_ON_LOAN = 3
    FULL_NOBODY_LEFT = 4
    FULL_NOBODY_YET = 5


@cython.final
cdef class ProducerRole(Sender):
    """One lease of a ring's lane by this process; its threads share it."""

    def __cinit__(self, LanesState _state):
        self.producer = &self.own

    cdef memlane_status adopt(self) noexcept:
        return memlane_producer_adopt(&self.own)

    cdef memlane_status insert_spans(self, const memlane_span *spans, size_t count, size_t *done) noexcept nogil:
        if count == 1 and REUSE_NBYTES <= spans[0].nbytes <= memlane_max_record(&self.own.lane):
            memlane_producer_reuse(&self.own, 1 + spans[0].nbytes // REUSE_NBYTES_A_LOOK)
        return memlane_producer_put_many(&self.own, spans, count, done)

    cdef memlane_status open_claim(self, uint64_t nbytes, uint64_t *offset) noexcept nogil:
        if REUSE_NBYTES <= nbytes <= memlane_max_record(&self.own.lane):
            memlane_producer_reuse(&self.own, min(1 + nbytes // REUSE_NBYTES_A_LOOK, REUSE_LOOKS_WITH_GIL))
        return memlane_producer_claim(&self.own, nbytes, offset)

    cdef memlane_status commit_claim(self, uint64_t offset, uint64_t nbytes) noexcept nogil:
        return memlane_producer_commit(&self.own, offset, nbytes)

    cdef void wake_behind(self, size_t count) noexcept:
        if memlane_waiters_any(&self.state.control.waiters):
            memlane_producer_stamp_next(&self.own)
            self.state.wake_receivers(min(count, <size_t>MEMLANE_POSTS_MAX))

    cdef bint any_room(self, uint64_t head) noexcept nogil:
        return head != self.own.head or memlane_producer_any(&self.own)

    cdef int check_peers(self, Endpoint handle) except -1:
        """Refuse to put what nobody will get, also where there is room: a producer that fills a ring learns early that nobody reads it."""
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

    cdef int put(self, Endpoint handle, object record, object timeout, bint require_peer) except -1:
        cdef memlane_span span
        cdef Py_buffer view
        if not span_of(record, &span, &view, "put"):
            self.put_span(handle, &span, timeout, require_peer)
            return 0
        try:
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
            if self.claim == NULL and memlane_fork_is(self.epoch) and not self.state.is_gone():
                status = memlane_producer_put(&self.own, span.bytes, span.nbytes)
                if status == MEMLANE_OK and memlane_producer_stamp_is_due(&self.own):
                    memlane_producer_stamp_some(&self.own, memlane_coarse_ns())
            memlane_mutex_unlock(&self.mutex)
            if status == MEMLANE_OK:
                if memlane_guard_is_truncated(self.state.guarded):
                    self.state.membership.check_whole()  # then nobody will ever see the record
                if memlane_waiters_any(&self.state.control.waiters):
                    memlane_producer_stamp_next(&self.own)
                    self.state.wake_receivers(1)
                return 0
        self.insert(handle, span, 1, deadline_of(timeout), None, require_peer)
        return 0

    cdef object refuse_full(self, bint is_claimed):
        """
        Raise Full, which says why: by a bounded look, and of the consumers a few are asked for, once a slice. The caller has
        pinned the region.
        """
        cdef RingState ring = <RingState>self.state
        cdef TellFull now
        cdef uint64_t s, end
        cdef bint by_views
        ring.membership.check_whole()
        memset(&now, 0, sizeof(now))  # gaps between its fields, too: they are compared
        if not memlane_mutex_try(&self.mutex):
            with nogil:
                memlane_mutex_lock(&self.mutex)
        s, end = self.producer.head, self.producer.next
        now.nbytes, now.views = memlane_producer_used(self.producer), self.views
        by_views = memlane_producer_holds(self.producer, memlane_lane_head(&self.producer.lane))
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
            elif ring.receivers_are_gone(False):
                now.cause = FULL_NOBODY_LEFT
            elif memlane_peers_came(ring.control) == 0:
                now.cause = FULL_NOBODY_YET
        if self.told is None or memcmp(&now, &self.told_of, sizeof(now)) != 0:
            self.tell_full(&now)
        text, told = self.told, self.told_facts  # before any Python runs: another thread may tell of something else
        error = Full(text)
        error.__dict__.update(told)  # not one by one: a caller that polls meets the same again and again
        raise error

    cdef int tell_full(self, const TellFull *now) except -1:
        """The text of a Full and its facts: kept until one of them changes."""
        cdef RingState ring = <RingState>self.state
        cdef list pids
        facts = {
            "cause": "records" if now.records >= ring.shape.records else "bytes",
            "records": now.records, "max_records": ring.shape.records, "nbytes": now.nbytes, "capacity": ring.shape.capacity,
            "views": now.views}
        used = f"{now.records} of {ring.shape.records} records, {now.nbytes:,} of {ring.shape.capacity:,} bytes"
        if now.cause == FULL_BY_CLAIM:
            facts["cause"] = "claim"
            text = (f"another thread has a reservation of {ring.name} open in the lane of this producer ({used}); commit or abort it, "
                    "or wait with a longer timeout")
        elif now.cause == FULL_BY_VIEWS:
            facts["cause"] = "views"
            named = "a committed reservation are" if now.views == 1 else f"{now.views} committed reservations are"
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
