# SPDX-License-Identifier: MIT
"""
Rings: what this process knows of one.

RingState      here: one for all handles of this process
ProducerRole   ring_producer.pyx: a lease of a lane, shared by the threads of this process
ConsumerRole   ring_consumer.pyx: what gets from the ring, shared by all handles of this process; Record, its loan
OneConsumer, ManyConsumers   ring_consumer_one.pyx, ring_consumer_many.pyx: how it takes records
OpenRing       ring.pyx: the state and both roles, for all handles
RingBase, Producer, Consumer   ring.pyx: they refuse when closed, and lead to a role

A call tries once on the fast path; only when it must wait, or something has changed (a fork, a first use),
it goes to the slow path. A role's mutex is held for one step of src/core and never while the GIL is taken
(docs/locking.md).
"""

cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane.errors import ClosedError, PeerGoneError

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_CONSUMERS_MANY, MEMLANE_CONSUMERS_ONE, MEMLANE_EMPTY, MEMLANE_OK, MEMLANE_ROWS_MAX,
    MEMLANE_SHUTDOWN_DROP, memlane_doorbells, memlane_lane, memlane_lane_control,
    memlane_lane_length, memlane_peers_at, memlane_peers_came, memlane_peers_clear,
    memlane_peers_died, memlane_peers_has_left, memlane_peers_next, memlane_peers_note_dead,
    memlane_ring_control, memlane_ring_lay_out, memlane_ring_leased, memlane_ring_shutdown,
    memlane_ring_tell_doorbells, memlane_role_owner, memlane_row_is, memlane_status,
    memlane_tag_row,
)
from memlane._core.lanes cimport LanesState
from memlane._core.layout cimport tells_of
from memlane._core.membership cimport Membership, PROBES_A_SLICE
from memlane._core.os cimport memlane_monotonic_ns
from memlane._core.runtime cimport (
    MEMLANE_ALIVE, MEMLANE_DEAD, MEMLANE_SLICE_NS, memlane_life, memlane_membership_row,
)
from memlane._core.waiting cimport Doorbell, doorbell_of

memlane_calls_join(calls_of_process(), globals())


cdef class RingState(LanesState):
    """What this process knows of one ring."""

    cdef int begin_ring(self, Membership membership, entry) except -1:
        """Know the ring that *entry* of the directory describes. The caller has pinned the region."""
        cdef memlane_doorbells at_once, later
        cdef unsigned char *address = membership.mapping.address + <uint64_t>entry[2]
        nbytes, geometry = entry[3], entry[4]
        self.begin_lanes(membership, entry, "ring", "put", "producer")
        memlane_ring_tell_doorbells(geometry[0], &at_once, &later)
        if (not memlane_ring_lay_out(&self.shape, geometry[0], geometry[1], geometry[2]) or self.shape.nbytes != nbytes
                or not tells_of(entry, &at_once, &later) or geometry[3] not in (MEMLANE_CONSUMERS_ONE, MEMLANE_CONSUMERS_MANY)):
            self.refuse_geometry()
        self.forget_doorbells(entry)
        self.control = <memlane_ring_control *>address
        self.controls = <memlane_lane_control *>(address + sizeof(memlane_ring_control))
        self.lanes, self.capacity, self.records = self.shape.lanes, self.shape.capacity, self.shape.records
        self.mask = self.shape.descriptors - 1
        self.data, self.data_nbytes = address + self.shape.data_offset, self.shape.data_nbytes
        self.bytes_offset = self.shape.bytes_offset
        self.many = geometry[3] == MEMLANE_CONSUMERS_MANY
        if self.many:
            self.consumers = address + self.shape.consumers_offset
        self.doorbell = doorbell_of(membership, &self.control.doorbell)
        self.make_bells(0)
        return 0

    cdef str empty_text(self):
        return f"{self.name} is empty; put some records, or wait with a longer timeout"

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

    cdef void wake_receivers(self, uint32_t times) noexcept:
        self.doorbell.wake(&self.control.waiters, times)

    # ---- whether anybody gets --------------------------------------------------------------------------

    cdef bint receivers_are_gone(self, bint asks_for_all) except -1:
        """
        Whether there were consumers and every one of them has left or is proven dead. One that lives is asked for once a
        slice. A call that waits asks for some of the dead each time, and clears them away. The caller has pinned the region.
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

    cdef bint receiver_has_left(self) noexcept nogil:
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
        self.wake_senders()
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
