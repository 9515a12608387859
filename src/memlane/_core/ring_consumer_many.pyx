# SPDX-License-Identifier: MIT
"""Consumers that compete: each record is taken by one step of src/core/lane_consumers.h, so no lock stands here."""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset
from memlane._core.arguments cimport COPY_WITH_GIL_NBYTES
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_CORRUPTED, MEMLANE_LOOKS_WITH_GIL, MEMLANE_LOST, MEMLANE_OK, MEMLANE_STATE_TAKEN,
    memlane_copy, memlane_extent, memlane_extent_of, memlane_found, memlane_lane, memlane_lane_got,
    memlane_lane_prefetch, memlane_many, memlane_many_any, memlane_many_claim, memlane_many_close,
    memlane_many_count_redelivered, memlane_many_crosses, memlane_many_drop, memlane_many_free,
    memlane_many_hand_back, memlane_many_handed_back, memlane_many_held, memlane_many_held_new,
    memlane_many_in_hand, memlane_many_is_drained, memlane_many_look, memlane_many_look_on,
    memlane_many_met, memlane_many_overlooked, memlane_many_rescan, memlane_many_settle_some,
    memlane_many_start, memlane_many_take, memlane_many_taken, memlane_peers_clear,
    memlane_peers_come, memlane_ring_leased, memlane_ring_shutdown, memlane_state_kind,
    memlane_state_tag, memlane_status, memlane_waiters_any,
)
from memlane._core.lanes cimport LanesState
from memlane._core.membership cimport EPOCH_CLOSED, PROBES_A_SLICE
from memlane._core.os cimport memlane_fork_is, memlane_guard_is_truncated, memlane_monotonic_ns
from memlane._core.ring_consumer cimport ConsumerRole, HELD_LOOKS
from memlane._core.ring_state cimport RingState
from memlane._core.runtime cimport (
    MEMLANE_DEAD, MEMLANE_POSTS_MAX, MEMLANE_SLICE_NS, memlane_membership_keeps_row,
)

memlane_calls_join(calls_of_process(), globals())

# While records come, a pass over what others have in hand goes on after so long: a step of it is a tenth of that.
cdef uint64_t STEPS_PAUSE_NS = 100000


cdef class ManyConsumers(ConsumerRole):
    """This process as one of many consumers. What it takes bears its tag, all its threads' alike."""

    def __cinit__(self, LanesState state):
        self.lanes = <memlane_many *>PyMem_Calloc(state.lanes, sizeof(memlane_many))
        if self.lanes == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.lanes)

    cdef int take_role(self) except -1:
        cdef uint32_t lane
        for lane in range(self.ring.shape.lanes):
            self.ring.lane_at(lane, &self.lanes[lane].lane)
            memlane_many_start(&self.lanes[lane])
        self.next_look_ns = self.next_pass_ns = 0
        self.is_through = False
        self.pass_lane = self.lived = 0
        self.handed_back = memlane_many_handed_back(self.ring.control)
        memlane_peers_come(self.ring.control, self.ring.consumers, self.tag)
        return 0

    cdef void depart(self) noexcept:
        if not memlane_fork_is(self.epoch) or self.ring.membership.closed:
            return
        with cython.critical_section(self):
            self.departing = True
            if self.loans == 0:
                self.epoch = EPOCH_CLOSED
                memlane_peers_clear(self.ring.consumers, self.tag)

    # ---- looking ------------------------------------------------------------------------------------------

    cdef int find(self, memlane_found *found) except -2:
        """Fresh records first. Those in dead hands once a slice, and before it is said that there is nothing."""
        cdef uint32_t leased = self.lanes_to_walk(), lane = self.current, turn
        cdef memlane_status status
        cdef memlane_found fresh
        cdef uint64_t steps = MEMLANE_LOOKS_WITH_GIL
        cdef bint unsettled = False
        cdef int dead
        for turn in range(leased):
            if lane >= leased:
                lane = 0
            if self.is_leased(lane):
                status = memlane_many_look(&self.lanes[lane], found)
                if status == MEMLANE_OK:
                    if not unsettled or memlane_monotonic_ns() < self.next_look_ns:
                        return lane
                    fresh = found[0]
                    dead = self.find_in_dead_hand(leased, found)
                    if dead >= 0:
                        return dead
                    found[0] = fresh
                    return lane
                if status == MEMLANE_CORRUPTED:
                    self.ring.refuse(status, 0)
                if memlane_many_settle_some(&self.lanes[lane], found.s, &steps) != found.s:
                    unsettled = True
            lane += 1
        if unsettled or self.comes_back():
            return self.find_in_dead_hand(leased, found)
        return -1

    @cython.final
    cdef int find_in_dead_hand(self, uint32_t leased, memlane_found *found) except -2:
        """
        A record whose taker is proven dead, or which was handed back. Between two passes over the lanes, which are a
        slice apart unless somebody dies or hands one back, only what was taken since is looked at. A look asks the kernel
        about a bounded number of holders and takes a bounded number of steps; the next one goes on behind them.
        """
        cdef uint32_t lane, tag, probes = 0
        cdef uint64_t end, now = memlane_monotonic_ns(), steps = MEMLANE_LOOKS_WITH_GIL
        cdef bint due = now >= self.next_pass_ns
        # Not in the midst of a pass: a consumer that hands back again and again must not keep it from its end.
        if self.is_through and (due or self.comes_back() or self.any_died()):
            self.begin_pass(leased)
        if due:
            self.next_pass_ns = now + MEMLANE_SLICE_NS
        self.next_look_ns = self.next_pass_ns
        self.has_asked_enough = False
        for lane in range(self.pass_lane, leased):
            self.pass_lane = lane
            if not self.is_leased(lane):
                continue
            end = memlane_many_taken(&self.lanes[lane].lane)
            while memlane_many_held_new(&self.lanes[lane], end, found, &steps):
                tag = memlane_state_tag(found.state)
                if tag != self.tag and not self.has_met(tag):
                    if tag != 0:
                        if probes == PROBES_A_SLICE:
                            self.has_asked_enough = True
                            return -1
                        probes += 1
                    # UNKNOWN is no proof: a process that closed its descriptors would take what the living have.
                    if tag != 0 and self.ring.membership.life(tag) != MEMLANE_DEAD:
                        self.living[self.lived % PROBES_A_SLICE] = tag
                        self.lived += 1
                    elif memlane_extent_of(&self.lanes[lane].lane, found.s, &found.extent) == MEMLANE_OK:
                        return lane
                memlane_many_met(&self.lanes[lane], found)
            if steps == 0:
                self.next_look_ns = min(self.next_pass_ns, now + STEPS_PAUSE_NS)
                return -1
        self.pass_lane = 0
        self.is_through = True
        return -1

    @cython.final
    cdef void begin_pass(self, uint32_t leased) noexcept:
        cdef uint32_t lane
        # before the looks: what is handed back after this makes another pass begin
        self.handed_back = memlane_many_handed_back(self.ring.control)
        self.is_through = False
        self.pass_lane = self.lived = 0
        for lane in range(leased):
            memlane_many_rescan(&self.lanes[lane])

    cdef bint finish_pass(self) except -1:
        cdef uint32_t living[PROBES_A_SLICE]
        cdef uint32_t leased = self.lanes_to_walk(), lived = min(self.lived, <uint32_t>PROBES_A_SLICE)
        cdef int through
        if self.is_through or self.has_asked_enough:
            return False
        memcpy(living, self.living, sizeof(living))
        with nogil:
            through = self.walk_on(leased, living, lived)
        if through == 1:
            self.pass_lane = 0
            self.is_through = True
        return through == 0 or self.comes_back()

    @cython.final
    cdef int walk_on(self, uint32_t leased, const uint32_t *living, uint32_t lived) noexcept nogil:
        """Go on with the pass; 1: to its end, 0: up to a holder who has to be asked for, -1: it takes too many steps."""
        cdef uint32_t lane, tag, i
        cdef uint64_t steps
        cdef memlane_found found
        cdef bint is_known
        for lane in range(self.pass_lane, leased):
            self.pass_lane = lane
            if not self.is_leased(lane):
                continue
            steps = 4 * (self.lanes[lane].lane.mask + 1)
            while memlane_many_held_new(&self.lanes[lane], memlane_many_taken(&self.lanes[lane].lane), &found, &steps):
                tag = memlane_state_tag(found.state)
                is_known = tag == self.tag
                for i in range(lived):
                    is_known |= tag == living[i]
                if not is_known:
                    return 0
                memlane_many_met(&self.lanes[lane], &found)
            if steps == 0:
                return -1
        return 1

    @cython.final
    cdef bint has_met(self, uint32_t tag) noexcept:
        """Whether it was alive in this pass."""
        cdef uint32_t i
        for i in range(min(self.lived, <uint32_t>PROBES_A_SLICE)):
            if self.living[i] == tag:
                return True
        return False

    @cython.final
    cdef bint any_died(self) noexcept:
        """Whether one of those who had something in hand has died since."""
        cdef uint32_t i
        for i in range(min(self.lived, <uint32_t>PROBES_A_SLICE)):
            if self.ring.membership.life(self.living[i]) == MEMLANE_DEAD:
                return True
        return False

    cdef bint comes_back(self) noexcept nogil:
        # In the midst of a pass the next one is not due: it begins when this one has ended.
        return self.is_through and memlane_many_handed_back(self.ring.control) != self.handed_back

    cdef size_t find_more(self, uint32_t lane, const memlane_found *found, size_t most, uint64_t most_nbytes,
                          memlane_extent *extents) noexcept:
        if memlane_state_kind(found.state) == MEMLANE_STATE_TAKEN:
            extents[0] = found.extent
            return 1
        return memlane_many_look_on(&self.lanes[lane], found, most, most_nbytes, extents)

    # ---- taking -------------------------------------------------------------------------------------------

    @cython.final
    cdef size_t claim(self, uint32_t lane, memlane_found *found, size_t count) noexcept nogil:
        """Make up to `count` records ours that were found, or the one in a dead hand; how many are."""
        cdef bint redelivered = self.is_redelivered(found)
        if not memlane_fork_is(self.epoch):
            return 0
        if memlane_state_kind(found.state) != MEMLANE_STATE_TAKEN:
            return memlane_many_take(&self.lanes[lane].lane, found.s, count, self.tag)
        if not memlane_many_claim(&self.lanes[lane].lane, found, self.tag):
            return 0
        if redelivered:
            memlane_many_count_redelivered(self.ring.control)
        return 1

    cdef Py_ssize_t copy_one(self, uint32_t lane, memlane_found *found, char *to) except -1:
        return self.copy_records(lane, found, &found.extent, 1, &to)

    cdef Py_ssize_t copy_out(self, uint32_t lane, memlane_found *found, const memlane_extent *extents, size_t count,
                             char **to) except -1:
        return self.copy_records(lane, found, extents, count, to)

    @cython.final
    cdef Py_ssize_t copy_records(self, uint32_t lane, memlane_found *found, const memlane_extent *extents, size_t count,
                                        char **to) except -1:
        cdef Py_ssize_t done
        cdef bint crossed = False
        cdef uint64_t total = 0, pinned = 0
        cdef size_t i
        for i in range(count):
            total += extents[i].nbytes
        if total < COPY_WITH_GIL_NBYTES:
            done = self.claim_and_copy(lane, found, extents, count, to, &crossed)
        else:
            # Pinned: while we have no GIL, another thread may close the ring.
            pinned = self.ring.pin()
            with nogil:
                done = self.claim_and_copy(lane, found, extents, count, to, &crossed)
        self.note_freed(lane, crossed)
        if pinned:
            self.ring.unpin(pinned)
        if done < 0:
            self.ring.refuse(MEMLANE_LOST, 0)
        if memlane_guard_is_truncated(self.ring.guarded):
            self.ring.membership.check_whole()  # then what was copied may be zeros
        return done

    @cython.final
    cdef Py_ssize_t claim_and_copy(self, uint32_t lane, memlane_found *found, const memlane_extent *extents,
                                          size_t count, char **to, bint *crossed) noexcept nogil:
        """How many were copied and freed; -1: none, since we have been taken for dead."""
        cdef const memlane_lane *view = &self.lanes[lane].lane
        cdef size_t claimed = self.claim(lane, found, count), copied = 0, freed = 0, i
        cdef memlane_extent again
        memlane_lane_prefetch(view, found.s + claimed, claimed)
        while copied < claimed:
            # Only now it cannot change any more, except by one who spoils bytes.
            if (memlane_extent_of(view, found.s + copied, &again) != MEMLANE_OK
                    or again.nbytes != extents[copied].nbytes):
                break
            memlane_copy(to[copied], view.bytes + again.offset, again.nbytes)
            copied += 1
        while freed < copied:
            if not memlane_many_free(view, found.s + freed, self.tag):
                break
            crossed[0] |= memlane_many_crosses(view, found.s + freed, &extents[freed])
            freed += 1
        for i in range(copied, claimed):
            memlane_many_hand_back(self.ring.control, view, found.s + i, self.tag)
        return -1 if freed == 0 and copied else <Py_ssize_t>freed

    cdef void note_freed(self, uint32_t lane, bint crossed) noexcept:
        """Look for those who wait for room, or for the end."""
        if crossed and memlane_waiters_any(&self.ring.lane_control(lane).waiters):
            self.ring.wake_sender(lane, 1)
        if memlane_ring_shutdown(self.ring.control) and memlane_waiters_any(&self.ring.control.waiters):
            self.ring.wake_receivers(MEMLANE_POSTS_MAX)

    cdef bint lend(self, uint32_t lane, memlane_found *found) except -1:
        if self.claim(lane, found, 1) == 0:
            return False
        if memlane_extent_of(&self.lanes[lane].lane, found.s, &found.extent) != MEMLANE_OK:
            memlane_many_hand_back(self.ring.control, &self.lanes[lane].lane, found.s, self.tag)
            self.ring.refuse(MEMLANE_CORRUPTED, 0)
        # After the claim: from now on only who takes us for dead may take the record out of our hand.
        if not memlane_membership_keeps_row(&self.ring.membership.own):
            memlane_many_hand_back(self.ring.control, &self.lanes[lane].lane, found.s, self.tag)
            self.ring.refuse(MEMLANE_LOST, 0)
        self.note_lent()
        return True

    @cython.final
    cdef void note_lent(self) noexcept:
        with cython.critical_section(self):
            self.loans += 1

    cdef int hand_back(self, uint32_t lane, uint64_t s) except -1:
        # False: we were taken for dead, and another one has it already.
        memlane_many_hand_back(self.ring.control, &self.lanes[lane].lane, s, self.tag)
        if memlane_waiters_any(&self.ring.control.waiters):
            self.ring.wake_receivers(1)
        return 0

    cdef void take_back(self, uint32_t lane, uint64_t s) noexcept:
        memlane_many_free(&self.lanes[lane].lane, s, self.tag)
        self.note_freed(lane, True)

    # ---- waiting, the end ---------------------------------------------------------------------------------

    cdef uint64_t taken_by_all(self) noexcept nogil:
        cdef uint64_t total = 0
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.ring.control, self.ring.shape.lanes)):
            total += memlane_lane_got(&self.lanes[lane].lane)
        return total

    cdef uint64_t next_of(self, uint32_t lane) noexcept nogil:
        return memlane_many_taken(&self.lanes[lane].lane)

    cdef int64_t held_by_others(self, uint32_t *tags) noexcept:
        cdef uint32_t lane, tag, i
        cdef uint64_t s, end
        cdef uint64_t steps = MEMLANE_LOOKS_WITH_GIL
        cdef int64_t count = 0
        cdef memlane_found found
        for lane in range(memlane_ring_leased(self.ring.control, self.ring.shape.lanes)):
            if not self.is_leased(lane):
                continue
            end = memlane_many_taken(&self.lanes[lane].lane)
            s = memlane_many_settle_some(&self.lanes[lane], end, &steps)
            if <int64_t>(end - s) > HELD_LOOKS:
                end = s + HELD_LOOKS
            while count < HELD_LOOKS and memlane_many_held(&self.lanes[lane], s, end, &found):
                s = found.s + 1
                tag = memlane_state_tag(found.state)
                if tag == 0 or tag == self.tag:
                    continue
                count += 1
                for i in range(<uint32_t>PROBES_A_SLICE):
                    if tags[i] == 0:
                        tags[i] = tag
                    if tags[i] == tag:
                        break
        return count

    cdef int64_t holds_from(self, uint32_t lane, uint64_t s, uint64_t end, uint32_t *tags) noexcept:
        cdef memlane_many many
        cdef memlane_found found
        cdef uint32_t tag, i
        cdef int64_t count = 0
        # Also for a process that is no consumer.
        memset(&many, 0, sizeof(many))
        self.ring.lane_at(lane, &many.lane)
        if not memlane_many_held(&many, s, s + 1, &found) or memlane_state_tag(found.state) == 0:
            return 0
        if <int64_t>(end - s) > HELD_LOOKS:
            end = s + HELD_LOOKS
        while memlane_many_held(&many, s, end, &found):
            s = found.s + 1
            tag = memlane_state_tag(found.state)
            count += tag != 0
            for i in range(<uint32_t>PROBES_A_SLICE):
                if tags[i] == 0:
                    tags[i] = tag
                if tags[i] == tag:
                    break
        return count

    cdef object loans_in(self, uint32_t lane, uint64_t *steps):
        cdef memlane_lane view
        cdef int64_t count
        self.ring.lane_at(lane, &view)
        with nogil:
            count = memlane_many_in_hand(&view, steps)
        return None if count < 0 else count

    cdef bint any_in(self, uint32_t lane) noexcept nogil:
        return memlane_many_any(&self.lanes[lane])

    cdef bint overlooked_in(self, uint32_t lane) noexcept nogil:
        return memlane_many_overlooked(&self.lanes[lane])

    cdef memlane_status close_lane(self, uint32_t lane, bint drop) noexcept nogil:
        if drop:
            memlane_many_drop(&self.lanes[lane], self.tag)
        return memlane_many_close(&self.lanes[lane])

    cdef bint is_drained(self) noexcept nogil:
        cdef uint32_t lane
        for lane in range(self.ring.shape.lanes):
            if self.is_leased(lane) and self.known[lane] != 2 and not memlane_many_is_drained(&self.lanes[lane]):
                return False
        return True


cdef ConsumerRole many_consumers(RingState ring):
    """The role of this process in a ring that many consumers share."""
    return ManyConsumers.__new__(ManyConsumers, ring)
