# SPDX-License-Identifier: MIT
"""
Rings: what this process knows of one, and what all its handles have.

RingState      here: one for all handles of this process
ProducerRole   ring_producer.pyx: one lease of a lane, shared by the threads of this process; Room, its claim
ConsumerRole   ring_consumer.pyx: what gets from the ring, shared by all handles of this process; Record, its loan
OneConsumer, ManyConsumers   ring_consumer_one.pyx, ring_consumer_many.pyx: how it takes records
OpenRing       ring.pyx: the state and both roles, for all handles
RingBase, Producer, Consumer   ring.pyx: they refuse when closed, and lead to a role

A call tries once on the fast path; only when it must wait, or something has changed (a fork, a first use),
it goes to the slow path. A role's mutex is held for one step of src/core and never while the GIL is taken
(docs/locking.md).
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int64_t, uint32_t, uint64_t

import errno as _errno

from memlane._core.opened import closed_error
from memlane.errors import (
    ClosedError, CorruptedError, Empty, PeerGoneError, RecordTooLargeError, ShutDown,
)

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_CLOSED, MEMLANE_CONSUMERS_MANY, MEMLANE_CONSUMERS_ONE, MEMLANE_CORRUPTED, MEMLANE_EMPTY,
    MEMLANE_OK, MEMLANE_RECORD_MAX, MEMLANE_ROWS_MAX, MEMLANE_SHUTDOWN_DRAIN, MEMLANE_SHUTDOWN_DROP,
    MEMLANE_TOO_LARGE, memlane_doorbells, memlane_lane, memlane_lane_control, memlane_lane_length,
    memlane_max_record, memlane_peers_at, memlane_peers_came, memlane_peers_clear,
    memlane_peers_died, memlane_peers_has_left, memlane_peers_next, memlane_peers_note_dead,
    memlane_ring_control, memlane_ring_lay_out, memlane_ring_leased, memlane_ring_shut,
    memlane_ring_shutdown, memlane_ring_tell_doorbells, memlane_role_owner, memlane_row_is,
    memlane_status, memlane_tag_row, memlane_waiters_any, memlane_waiters_any_fenced,
)
from memlane._core.layout cimport tells_of
from memlane._core.membership cimport EPOCH_CLOSED, Membership, PROBES_A_SLICE
from memlane._core.opened cimport Opened, description_of
from memlane._core.os cimport memlane_monotonic_ns
from memlane._core.runtime cimport (
    MEMLANE_ALIVE, MEMLANE_DEAD, MEMLANE_POSTS_MAX, MEMLANE_SLICE_NS, memlane_bell,
    memlane_bell_begin, memlane_bell_end, memlane_life, memlane_membership_row,
)
from memlane._core.waiting cimport Doorbell, WAITS, doorbell_of, wake_at

memlane_calls_join(calls_of_process(), globals())


cdef class RingState(Opened):
    """What this process knows of one ring."""

    cdef int begin_ring(self, Membership membership, entry) except -1:
        """Know the ring that *entry* of the directory describes. The caller has pinned the region."""
        cdef memlane_doorbells at_once, later
        cdef uint32_t lane
        name, _, self.offset, nbytes, geometry = entry[:5]
        self.begin(membership, entry, membership.called("ring", name))
        self.described = description_of(entry)
        memlane_ring_tell_doorbells(geometry[0], &at_once, &later)
        if (not memlane_ring_lay_out(&self.shape, geometry[0], geometry[1], geometry[2]) or self.shape.nbytes != nbytes
                or not tells_of(entry, &at_once, &later) or geometry[3] not in (MEMLANE_CONSUMERS_ONE, MEMLANE_CONSUMERS_MANY)):
            raise CorruptedError(f"the geometry of {self.name} contradicts itself; unlink the region and create "
                                 "it again", name=membership.name)
        self.forget_doorbells(entry)
        self.guarded = membership.guarded
        self.address = membership.mapping.address + self.offset
        self.control = <memlane_ring_control *>self.address
        self.many = geometry[3] == MEMLANE_CONSUMERS_MANY
        if self.many:
            self.consumers = self.address + self.shape.consumers_offset
        self.doorbell = doorbell_of(membership, &self.control.doorbell)
        self.bells = <memlane_bell *>PyMem_Malloc(self.shape.lanes * sizeof(memlane_bell))
        if self.bells == NULL:
            raise MemoryError()
        for lane in range(self.shape.lanes):
            memlane_bell_begin(&self.bells[lane], &self.lane_control(lane).doorbell, membership.mapping.address)
        return 0

    def __dealloc__(self):
        cdef uint32_t lane
        if self.bells != NULL:
            for lane in range(self.shape.lanes):
                memlane_bell_end(&self.bells[lane])
            PyMem_Free(self.bells)

    cdef int64_t holds_from(self, uint32_t lane, uint64_t s, uint64_t end, uint32_t *tags) noexcept:
        """As ConsumerRole.holds_from, of the consumer in this process; 0 where nobody has asked for one."""
        return 0

    cdef list pids_of(self, const uint32_t *tags):
        """Of those who are still in their rows, without asking whether they live; *tags* are PROBES_A_SLICE."""
        cdef Membership membership = self.membership
        cdef uint64_t generation
        cdef uint32_t i, row
        cdef list pids = []
        for i in range(<uint32_t>PROBES_A_SLICE):
            row = memlane_tag_row(tags[i])
            if tags[i] and row < membership.geometry.rows and memlane_row_is(memlane_membership_row(&membership.own, row), tags[i], &generation):
                pids.append(membership.pid_of(tags[i]))
        return pids

    # Waking runs no Python, so it may stand behind a record that was taken.

    cdef void wake_consumers(self, uint32_t times) noexcept:
        self.doorbell.wake(&self.control.waiters, times)

    cdef void wake_producer(self, uint32_t lane, uint32_t times) noexcept:
        wake_at(self.membership, &self.bells[lane], &self.lane_control(lane).waiters, times)

    cdef void wake_producers(self) noexcept:
        """One waiting put of each lane. The caller has pinned the region."""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.control, self.shape.lanes)):
            if memlane_waiters_any_fenced(&self.lane_control(lane).waiters):
                self.wake_producer(lane, 1)

    cdef object refuse(self, memlane_status status, uint64_t nbytes):
        """Raise what a status means: the one place where one becomes Python."""
        cdef memlane_lane lane
        self.membership.check_whole()  # whatever it looks like then, it is that
        if status == MEMLANE_EMPTY:
            raise Empty(f"{self.name} is empty; put some records, or wait with a longer timeout")
        if status == MEMLANE_CLOSED:
            raise ShutDown(f"{self.name} was shut down")
        if status == MEMLANE_TOO_LARGE:
            self.lane_at(0, &lane)
            if nbytes > MEMLANE_RECORD_MAX:
                raise RecordTooLargeError(
                    f"record of {nbytes} bytes exceeds {MEMLANE_RECORD_MAX} (4 GiB - 8), the most that a record of any ring can "
                    f"have; put it into {self.name} in parts", nbytes=nbytes, max_record=memlane_max_record(&lane))
            raise RecordTooLargeError(
                f"record of {nbytes} bytes exceeds max_record={memlane_max_record(&lane)} of {self.name}; "
                "create the ring with a larger capacity", nbytes=nbytes, max_record=memlane_max_record(&lane))
        if status == MEMLANE_CORRUPTED:
            raise CorruptedError(f"{self.name} holds bytes that no sound program writes; unlink the region and "
                                 "create it again", name=self.membership.name)
        raise ClosedError(f"this process was taken for dead in {self.name}: its descriptors had been closed; "
                          "open the region again")

    # ---- whether anybody gets --------------------------------------------------------------------------

    cdef bint consumers_are_gone(self, bint asks_for_all) except -1:
        """
        Whether there were consumers and every one of them has left or is proven dead. One that lives is asked for once a
        slice. Who waits asks for some of the dead each time, and clears them away. The caller has pinned the region.
        """
        cdef uint64_t came = memlane_peers_came(self.control)
        cdef memlane_status status
        cdef uint32_t row = 0, tag, probes = MEMLANE_ROWS_MAX if asks_for_all else <uint32_t>PROBES_A_SLICE
        if came == 0 or self.peer_is_known():
            return False
        if not self.many:
            tag = memlane_role_owner(&self.control.consumer)
            return tag == 0 or not self.is_there(tag)
        while True:
            status = memlane_peers_next(self.control, self.consumers, self.membership.geometry.rows, came, &row, &tag)
            if status != MEMLANE_OK:
                return status == MEMLANE_EMPTY
            if probes == 0 or self.is_there(tag):
                return False
            probes -= 1
            if memlane_peers_clear(self.consumers, tag):
                memlane_peers_note_dead(self.control)
            row += 1

    cdef bint peer_has_left(self) noexcept nogil:
        """Whether a consumer that lived when it was last asked for is no consumer any more."""
        cdef void *word = &self.control.consumer
        if self.many:
            word = <char *>self.consumers + sizeof(uint32_t) * memlane_tag_row(self.peer_tag)
        return self.peer_tag != 0 and memlane_peers_has_left(word, self.peer_tag)

    cdef void wake_for_departure(self) noexcept:
        """A consumer has left: puts that wait and require one look who is left. Others only look again."""
        cdef uint64_t pinned
        try:
            pinned = self.pin()
        except ClosedError:
            return  # then they look within a slice
        self.wake_producers()
        self.unpin(pinned)

    cdef bint peer_is_known(self) noexcept nogil:
        """Whether a consumer that lived a short while ago has not left since."""
        cdef uint32_t tag = self.peer_tag, found
        if tag == 0:
            return False
        found = memlane_peers_at(self.consumers, memlane_tag_row(tag)) if self.many else memlane_role_owner(&self.control.consumer)
        return found == tag and memlane_monotonic_ns() < self.peer_until_ns

    cdef bint is_there(self, uint32_t tag) noexcept:
        cdef memlane_life life = self.membership.life(tag)
        if life == MEMLANE_ALIVE:
            self.peer_tag, self.peer_until_ns = tag, memlane_monotonic_ns() + MEMLANE_SLICE_NS
        return life != MEMLANE_DEAD

    cdef object refuse_unread(self):
        cdef uint64_t came = memlane_peers_came(self.control), died = memlane_peers_died(self.control)
        died += not self.many and memlane_role_owner(&self.control.consumer) != 0
        died = min(died, came)
        raise PeerGoneError(f"no consumer of {self.name} is left ({died} died, {came - died} left); start another one, or end "
                            "here", died=died, left=came - died)

    cdef object shut_down(self, bint immediate, Endpoint handle):
        cdef uint64_t pinned
        if self.membership.readonly:
            raise PermissionError(_errno.EACCES, f"{self.name} is open read-only; open it without readonly=True")
        pinned = self.pin()
        try:
            self.enter(&handle.opens, &handle._closed, handle)
            memlane_ring_shut(self.control, MEMLANE_SHUTDOWN_DROP if immediate else MEMLANE_SHUTDOWN_DRAIN)
            self.wake_all()
            self.membership.check_whole()
        finally:
            self.unpin(pinned)

    cdef int wake_all(self) except -1:
        """Everybody who sleeps, for good: the ring was shut down or removed."""
        cdef uint32_t lane
        self.wake_consumers(MEMLANE_POSTS_MAX)
        for lane in range(self.shape.lanes):
            if memlane_waiters_any(&self.lane_control(lane).waiters):
                self.wake_producer(lane, MEMLANE_POSTS_MAX)
        return 0

    cdef uint64_t length(self) except? 0:
        cdef memlane_lane view
        cdef uint64_t total = 0
        cdef uint32_t lane
        self.membership.notice_fork()
        if memlane_ring_shutdown(self.control) == MEMLANE_SHUTDOWN_DROP:
            return 0  # nobody will get what is left
        for lane in range(memlane_ring_leased(self.control, self.shape.lanes)):
            self.lane_at(lane, &view)
            total += memlane_lane_length(&view)
        if self.is_gone_now():
            self.refuse_gone()
        return total

cdef class Endpoint:
    """What all handles have: the ring they lead to, whether they are closed, how they wait."""

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.sends = self.receives = self.opens = EPOCH_CLOSED

    cdef int lead_to(self, RingState state, object wait, bint require_peer) except -1:
        if wait not in WAITS:
            raise ValueError(f"wait must be one of {', '.join(map(repr, WAITS))}, got {wait!r}")
        self.wait = WAITS[wait]
        self.require_peer = require_peer
        self.state = state
        self._closed = False
        return 0

    cdef int check(self) except -1:
        if self._closed or self.state is None:
            raise closed_error(self, "a ring" if self.state is None else self.state.name)
        if not self.state.membership.closed and self.state.is_gone():
            self.state.refuse_gone()
        return 0

    @cython.final
    cdef RingState state_there(self):
        """As `state_of`, for what needs no role: it must not answer for a ring that was removed."""
        self.check()
        return self.state_of()

    @cython.final
    cdef int require_still_open(self) except -1:
        """
        Behind what counts this handle among the users of a role, since others run while the role is taken: where one of
        them has closed it, nobody else gives back what it has now.
        """
        if self._closed:
            self.give_roles_back()
            self.check()
        return 0

    cdef void leave_roles(self) noexcept:
        """Refuse new work; give back each role that this handle was the last to use."""
        if self._closed:
            return
        self._closed = True
        self.give_roles_back()

    cdef void give_roles_back(self) noexcept:
        self.state.leave(&self.opens)

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    def __bool__(self):
        return True
