# SPDX-License-Identifier: MIT
"""
Lanes: what this process knows of an object that consists of lanes, a ring or a topic, and what all its handles have.

LanesState   where the lanes are, waking, refusing, the end: one for all handles of this process
Endpoint     a handle: what it leads to, whether it is closed, how it waits

Sender (sender.pyx) is a lease of one lane.
"""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport uint32_t, uint64_t

import errno as _errno

from memlane._core.opened import closed_error
from memlane.errors import ClosedError, CorruptedError, Empty, RecordTooLargeError, ShutDown

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_CLOSED, MEMLANE_CORRUPTED, MEMLANE_EMPTY, MEMLANE_OWNER_CLOSED, MEMLANE_OWNER_NEVER,
    MEMLANE_RECORD_MAX, MEMLANE_SHUTDOWN_DRAIN, MEMLANE_SHUTDOWN_DROP, MEMLANE_TOO_LARGE, memlane_lane,
    memlane_lane_nbytes_of, memlane_lane_owner, memlane_lane_tail, memlane_max_record, memlane_ring_leased, memlane_ring_shut, memlane_status, memlane_waiters_any,
    memlane_waiters_any_fenced,
)
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.opened cimport Opened
from memlane._core.runtime cimport (
    MEMLANE_DEAD, MEMLANE_POSTS_MAX, memlane_bell, memlane_bell_begin, memlane_bell_end,
)
from memlane._core.waiting cimport WAITS, wake_at

memlane_calls_join(calls_of_process(), globals())


# Sizes of records of a lane that are added up in one look, of a tool: the mean of more is that of the youngest.
cdef uint64_t TRAFFIC_LOOKS = 4096


cdef class LanesState(Opened):
    """What this process knows of one object that consists of lanes."""

    cdef int begin_lanes(self, Membership membership, entry, str word, str verb, str sender_word) except -1:
        """Know the object that *entry* of the directory describes, but for its shape. The caller has pinned the region."""
        self.begin(membership, entry, membership.called(word, entry[0]))
        self.word, self.verb, self.sender_word = word, verb, sender_word
        self.guarded = membership.guarded
        return 0

    cdef int make_bells(self, uint32_t further) except -1:
        """Behind what the shape says: a bell for each lane, and *further* ones, which the caller begins."""
        cdef uint32_t i
        self.bells = <memlane_bell *>PyMem_Malloc((self.lanes + further) * sizeof(memlane_bell))
        if self.bells == NULL:
            raise MemoryError()
        self.bell_count = self.lanes + further
        for i in range(self.lanes):
            memlane_bell_begin(&self.bells[i], &self.lane_control(i).doorbell, self.membership.mapping.address)
        return 0

    def __dealloc__(self):
        cdef uint32_t i
        for i in range(self.bell_count):
            memlane_bell_end(&self.bells[i])
        PyMem_Free(self.bells)

    @cython.final
    cdef object refuse_geometry(self):
        raise CorruptedError(f"the geometry of {self.name} contradicts itself; unlink the region and create "
                             "it again", name=self.membership.name)

    @cython.final
    cdef uint64_t max_record(self) noexcept:
        cdef memlane_lane lane
        self.lane_at(0, &lane)
        return memlane_max_record(&lane) - self.prefix_nbytes

    # Waking runs no Python, so it may stand behind a record that was taken or committed.

    @cython.final
    cdef void wake_sender(self, uint32_t lane, uint32_t times) noexcept:
        wake_at(self.membership, &self.bells[lane], &self.lane_control(lane).waiters, times)

    @cython.final
    cdef void wake_senders(self) noexcept:
        """One waiting call of each lane, behind what may have made room. The caller has pinned the region."""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.control, self.lanes)):
            if memlane_waiters_any_fenced(&self.lane_control(lane).waiters):
                self.wake_sender(lane, 1)

    cdef void wake_receivers(self, uint32_t times) noexcept:
        """Those that sleep until there is a record."""

    @cython.final
    cdef int wake_all(self) except -1:
        """Every call that sleeps, for good: the object was shut down or removed."""
        cdef uint32_t lane
        self.wake_receivers(MEMLANE_POSTS_MAX)
        for lane in range(self.lanes):
            if memlane_waiters_any(&self.lane_control(lane).waiters):
                self.wake_sender(lane, MEMLANE_POSTS_MAX)
        return 0

    @cython.final
    cdef object refuse(self, memlane_status status, uint64_t nbytes):
        """Raise what a status means: the one place where one becomes Python."""
        self.membership.check_whole()  # whatever it looks like then, it is that
        if status == MEMLANE_EMPTY:
            raise Empty(self.empty_text())
        if status == MEMLANE_CLOSED:
            raise ShutDown(f"{self.name} was shut down")
        if status == MEMLANE_TOO_LARGE:
            most = self.max_record()
            if nbytes > MEMLANE_RECORD_MAX:
                raise RecordTooLargeError(
                    f"record of {nbytes} bytes exceeds {MEMLANE_RECORD_MAX} (4 GiB - 8), the most that a record of any "
                    f"{self.word} can have; {self.verb} it in parts in {self.name}", nbytes=nbytes, max_record=most)
            raise RecordTooLargeError(f"record of {nbytes} bytes exceeds max_record={most} of {self.name}; create the "
                                      f"{self.word} with a larger capacity", nbytes=nbytes, max_record=most)
        if status == MEMLANE_CORRUPTED:
            raise CorruptedError(f"{self.name} holds bytes that no sound program writes; unlink the region and "
                                 "create it again", name=self.membership.name)
        raise ClosedError(f"this process was taken for dead in {self.name}: its descriptors had been closed; "
                          "open the region again")

    cdef str empty_text(self):
        return f"{self.name} has nothing new; {self.verb} some records, or wait with a longer timeout"

    # ---- for tools ----------------------------------------------------------------------------------------

    @cython.final
    cdef tuple traffic(self, list positions):
        """As `_traffic` of rings and topics."""
        cdef memlane_lane view
        cdef uint64_t s, tail, looks, nbytes, records = 0, pinned = self.pin()
        cdef double total = 0
        cdef uint32_t lane
        reached = []
        try:
            for lane in range(memlane_ring_leased(self.control, self.lanes)):
                tail = 0
                if memlane_lane_owner(self.lane_control(lane)) != MEMLANE_OWNER_NEVER:
                    self.lane_at(lane, &view)
                    tail = memlane_lane_tail(&view)
                    s = positions[lane] if lane < <uint32_t>len(positions) else 0
                    looks = min(min(tail - s if tail > s else 0, self.mask + 1), TRAFFIC_LOOKS)
                    nbytes = 0
                    for s in range(tail - looks, tail):
                        nbytes += memlane_lane_nbytes_of(&view, s)
                    s = positions[lane] if lane < <uint32_t>len(positions) else 0
                    if looks:
                        records += tail - s
                        total += <double>nbytes * (tail - s) / looks
                reached.append(tail)
            if self.is_gone_now():
                self.refuse_gone()
        finally:
            self.unpin(pinned)
        return reached, records, total

    # ---- whether anybody is there ------------------------------------------------------------------------

    @cython.final
    cdef bint senders_are_gone(self) noexcept:
        """Whether there were some, and every one of them has left or is proven dead."""
        cdef uint32_t lane, owner, leased = memlane_ring_leased(self.control, self.lanes)
        # The first one that lives ends it; the dead cost a probe only once, then their rows are marked dead.
        for lane in range(leased):
            owner = memlane_lane_owner(self.lane_control(lane))
            if owner > MEMLANE_OWNER_CLOSED and self.membership.life(owner) != MEMLANE_DEAD:
                return False
        return leased > 0

    cdef bint receivers_are_gone(self, bint asks_for_all) except -1:
        """Whether there were some, and every one of them has left or is proven dead, as far as a bounded look can tell."""
        return False

    cdef bint receiver_has_left(self) noexcept nogil:
        """Whether one that lived when it was last asked for is there no more."""
        return False

    cdef object refuse_unread(self):
        """Raise PeerGoneError: nobody is left to receive."""
        raise NotImplementedError()

    # ---- the end -----------------------------------------------------------------------------------------

    @cython.final
    cdef object shut_down(self, bint immediate, Endpoint handle):
        cdef uint64_t pinned
        if self.membership.readonly:
            raise PermissionError(_errno.EACCES, f"{self.name} is open read-only; open it without readonly=True")
        pinned = self.pin()
        try:
            self.enter(&handle.opens, &handle._closed, handle)
            memlane_ring_shut(self.control, MEMLANE_SHUTDOWN_DROP if immediate else MEMLANE_SHUTDOWN_DRAIN)
            self.note_shut_down()
            self.wake_all()
            self.membership.check_whole()
        finally:
            self.unpin(pinned)

    cdef void note_shut_down(self) noexcept:
        """Once the flag is up, and before the others are woken."""


cdef class Endpoint:
    """What all handles have: the object they lead to, whether they are closed, how they wait."""

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.sends = self.receives = self.opens = EPOCH_CLOSED

    cdef int bind(self, LanesState state, object wait, bint require_peer) except -1:
        if wait not in WAITS:
            raise ValueError(f"wait must be one of {', '.join(map(repr, WAITS))}, got {wait!r}")
        self.wait = WAITS[wait]
        self.require_peer = require_peer
        self.state = state
        self._closed = False
        return 0

    cdef int check(self) except -1:
        if self._closed or self.state is None:
            raise closed_error(self, "an object" if self.state is None else self.state.name)
        if not self.state.membership.closed and self.state.is_gone():
            self.state.refuse_gone()
        return 0

    @cython.final
    cdef LanesState state_there(self):
        """As `state_of`, for what needs no role: it must not answer for an object that was removed."""
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

    cdef void detach(self) noexcept:
        """Refuse new work; give back each role that this handle was the last to use."""
        if self._closed:
            return
        self._closed = True
        if self.readable is not None:
            self.readable.close()
        if self.writable is not None:
            self.writable.close()
        self.give_roles_back()
        self.state.membership.stir_waits()

    cdef void give_roles_back(self) noexcept:
        self.state.leave(&self.opens)

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    def __bool__(self):
        return True
