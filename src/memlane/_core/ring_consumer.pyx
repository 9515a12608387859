# SPDX-License-Identifier: MIT
"""What gets from a ring in this process, and the records it has on loan."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

import os as _os

from memlane.errors import Empty, PeerGoneError

from memlane._core.arguments cimport check_timeout, deadline_of
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_CLOSED, MEMLANE_CORRUPTED, MEMLANE_OWNER_CLOSED, MEMLANE_SHUTDOWN_DROP,
    memlane_cpu_relax, memlane_extent, memlane_found, memlane_lane, memlane_lane_close_unleased,
    memlane_lane_owner, memlane_ring_leased, memlane_ring_shutdown, memlane_row_is, memlane_status,
    memlane_tag_row, memlane_waiters_any,
)
from memlane._core.mapping cimport finalizing
from memlane._core.membership cimport EPOCH_CLOSED, Membership, PROBES_A_SLICE, Users, epoch_lock
from memlane._core.os cimport memlane_fork_epoch, memlane_fork_is, memlane_monotonic_ns
from memlane._core.lanes cimport Endpoint, LanesState
from memlane._core.receiver cimport (
    BATCH_NBYTES, END_TRIES, Receiver, RecordLoan, STEP_RECORDS, TAKE_MANY, add_to_batch,
    cut_batch,
)
from memlane._core.ring_state cimport RingState
from memlane._core.runtime cimport (
    MEMLANE_DEAD, MEMLANE_POSTS_MAX, MEMLANE_SLICE_NS, MEMLANE_WAIT_SPIN, memlane_membership_row,
    memlane_spinning_begin, memlane_spinning_limit, memlane_wait,
)
from memlane._core.waiting cimport Sleep

memlane_calls_join(calls_of_process(), globals())

cdef enum:
    END_LATER         # a commit was faster than the close: look again
    END_OF_OTHERS     # nothing will follow, but others have records in hand
    END_NOW

# A consumer that was woken in vain costs some 10 microseconds of somebody's time, so the least pause makes that
# a tenth; the greatest is the longest that a record can wait for it when the others are busy all of a sudden.
cdef uint64_t STARVED_PAUSE_MIN_NS = 100000

cdef uint64_t STARVED_PAUSE_MAX_NS = 1000000


cdef class ConsumerRole(Receiver):
    """
    What gets from a ring in this process; all its handles and threads share it.

    How a record is looked for, taken and given back is that of OneConsumer or ManyConsumers; here is what does
    not depend on it: waiting, the end, and what a caller gets of it.
    """

    def __cinit__(self, LanesState state):
        self.ring = <RingState>state

    def __del__(self):
        if not finalizing():
            self.depart()

    # ---- what the two kinds do in their own way -----------------------------------------------------

    cdef int take_role(self) except -1:
        """Become a consumer, with a private state for each lane. Raises RoleTakenError naming the holder."""
        raise NotImplementedError()

    cdef void depart(self) noexcept:
        """Give the role back; loans keep it until the last one is gone."""

    cdef int find(self, memlane_found *found) except -2:
        """The first lane with a record to be had, from the one after the last served; -1: none has."""
        raise NotImplementedError()

    cdef size_t find_more(self, uint32_t lane, const memlane_found *found, size_t most, uint64_t most_nbytes,
                          memlane_extent *extents) noexcept:
        """Extents of up to *most* records: the one that was found, and those behind it up to so many bytes in all."""
        return 0

    cdef Py_ssize_t copy_out(self, uint32_t lane, memlane_found *found, const memlane_extent *extents, size_t count,
                             char **to) except -1:
        """Take, copy and free up to `count` records that were found; how many: 0 if another one was faster."""
        raise NotImplementedError()

    cdef Py_ssize_t copy_one(self, uint32_t lane, memlane_found *found, char *to) except -1:
        """`copy_out` of one, compiled for one: most calls are for a single record."""
        raise NotImplementedError()

    cdef bint lend(self, uint32_t lane, memlane_found *found) except -1:
        """Take the record that was found, and leave it where it is; False: another one was faster."""
        raise NotImplementedError()

    cdef int hand_back(self, uint32_t lane, uint64_t s) except -1:
        """Have another consumer get a record that was lent."""
        raise ValueError(f"{self.ring.name} has one consumer, so there is nobody else to give the record to; keep it and handle "
                         'it later, put a copy of it again, or create the ring with consumers="many"')

    cdef int64_t held_by_others(self, uint32_t *tags) noexcept:
        """How many records other processes have in hand, by a bounded look, and the first PROBES_A_SLICE *tags* of them."""
        return 0

    cdef object loans_in(self, uint32_t lane, uint64_t *steps):
        """
        How many records of a lane are in somebody's hand, or None if this process cannot know. *steps* are left for
        looks at shared bytes.
        """
        return None

    cdef int64_t holds_from(self, uint32_t lane, uint64_t s, uint64_t end, uint32_t *tags) noexcept:
        """
        How many records of a lane, from *s*, the oldest, to *end*, are in hand; 0 if the oldest is not, as far as this process
        can know. A bounded look; *tags*, PROBES_A_SLICE of them, become those of their holders.
        """
        return 0

    cdef bint any_in(self, uint32_t lane) noexcept nogil:
        """The second look at a leased lane."""
        return False

    cdef bint comes_back(self) noexcept nogil:
        """Whether a record was handed back that nobody has taken since, as far as this process knows."""
        return False

    cdef bint finish_pass(self) except -1:
        """Look further for what the dead had in hand; whether something is to be tried before this consumer sleeps."""
        return False

    cdef uint64_t taken_by_all(self) noexcept nogil:
        """How many records all consumers together have taken; constant where there is only one."""
        return 0

    cdef memlane_status close_lane(self, uint32_t lane, bint drop) noexcept nogil:
        """Close a leased lane behind its last record."""
        return MEMLANE_CLOSED

    cdef bint is_drained(self) noexcept nogil:
        """Whether nobody has a record in hand that may still come back."""
        return True

    # ---- the role -----------------------------------------------------------------------------------

    cdef int join(self) except -1:
        self.tag = self.ring.membership.own_tag()
        # It may be done: by a handler that ran while this process joined.
        if not memlane_fork_is(self.epoch):
            self.take_role()
            memset(self.known, 0, self.ring.lanes)
            self.loans = 0
            self.ending = False
            self.epoch = memlane_fork_epoch()
        return 0

    cdef void leave(self) noexcept:
        """Depart, and let those know who wait and require a consumer."""
        cdef bint was = memlane_fork_is(self.epoch) and self.ring.is_held()
        self.depart()
        if was and not memlane_fork_is(self.epoch) and not self.ring.membership.closed:
            self.ring.wake_for_departure()

    # ---- looking and taking ---------------------------------------------------------------------------

    cdef object take(self, bint is_first=True):
        """
        One record as new bytes, or None if there is none now. Behind the first one of a batch no handler of a signal may
        run, whose exception would lose what is taken: where others are faster the batch ends.
        """
        cdef memlane_found found
        cdef int lane
        while True:
            lane = self.find(&found)
            if lane < 0:
                return None
            record = PyBytes_FromStringAndSize(NULL, found.extent.nbytes)
            if self.copy_one(lane, &found, PyBytes_AS_STRING(record)):
                self.current = lane + 1
                return record
            if not is_first:
                return None
            PyErr_CheckSignals()  # first: a handler may close the ring, which get has not pinned
            if not memlane_fork_is(self.epoch):
                return None

    cdef int take_many(self, list taken, Py_ssize_t most) except -1:
        """
        Add to *taken*, an empty `new_batch`, up to *most* records of all lanes that have some; not more than BATCH_NBYTES
        unless it is the first. Nothing is pinned here, as nothing is in `take`: up to the last record that is taken no
        Python runs, and after each step it is looked whether another thread has closed the ring meanwhile.
        """
        cdef memlane_extent extents[STEP_RECORDS]
        cdef char *to[STEP_RECORDS]
        cdef memlane_found found
        cdef size_t count, i
        cdef Py_ssize_t done, had = 0, nbytes = 0
        cdef int lane
        try:
            while had < most and nbytes < BATCH_NBYTES:
                lane = self.find(&found)
                if lane < 0:
                    break
                nbytes += found.extent.nbytes
                if had and nbytes > BATCH_NBYTES:
                    break
                count = 1
                extents[0] = found.extent
                if most - had > 1 and nbytes < BATCH_NBYTES:
                    count = self.find_more(lane, &found, min(most - had, <Py_ssize_t>STEP_RECORDS),
                                           BATCH_NBYTES - nbytes + found.extent.nbytes, extents)
                # In the list before they are taken: behind that nothing may fail.
                to[0] = add_to_batch(taken, found.extent.nbytes)
                for i in range(1, count):
                    nbytes += extents[i].nbytes
                    to[i] = add_to_batch(taken, extents[i].nbytes)
                done = self.copy_out(lane, &found, extents, count, to)
                had += done
                while count > <size_t>done:
                    count -= 1
                    nbytes -= extents[count].nbytes
                cut_batch(taken, had)
                if done:
                    self.current = lane + 1
                elif had:
                    break
                else:
                    PyErr_CheckSignals()  # only here: a handler's exception must not lose what is taken
                if not memlane_fork_is(self.epoch):
                    break
        except Exception:
            cut_batch(taken, had)
            # What was taken is handed out; what is wrong will still be wrong at the next call.
            if had == 0:
                raise
        return 0

    cdef Py_ssize_t take_into(self, Py_buffer *view) except -2:
        """Copy one record into a buffer; its length, or -1 if there is none now."""
        cdef memlane_found found
        cdef int lane
        while True:
            lane = self.find(&found)
            if lane < 0:
                return -1
            if found.extent.nbytes > <uint64_t>view.len:
                raise ValueError(f"the next record of {self.ring.name} has {found.extent.nbytes} bytes, the buffer "
                                 f"{view.len}; it stays in the ring: pass a larger buffer")
            if self.copy_one(lane, &found, <char *>view.buf):
                self.current = lane + 1
                return found.extent.nbytes
            if not memlane_fork_is(self.epoch):
                return -1
            PyErr_CheckSignals()

    cdef RecordLoan take_loan(self, bint is_first=True):
        """One record as a loan, or None if there is none now; *is_first* as in `take`."""
        cdef memlane_found found
        cdef memlane_lane view
        cdef int lane
        cdef bint redelivered
        cdef Record record = Record.__new__(Record)
        while True:
            lane = self.find(&found)
            if lane < 0:
                return None
            redelivered = self.is_redelivered(&found)
            if self.lend(lane, &found):
                self.current = lane + 1
                self.ring.lane_at(lane, &view)
                record.role, record.lane, record.s, record.redelivered = self, lane, found.s, redelivered
                record.begin(self.ring, view.bytes + found.extent.offset, found.extent.nbytes)
                self.ring.membership.check_whole()
                return record
            if not is_first or not memlane_fork_is(self.epoch):
                return None
            PyErr_CheckSignals()

    cdef bint is_overtaken(self) noexcept nogil:
        return self.starved_pause_ns != 0

    cdef bint knows_leased(self, uint32_t lane) noexcept nogil:
        return self.is_leased(lane)

    # ---- getting --------------------------------------------------------------------------------------

    cdef object extract(self, Endpoint handle, int how, Py_ssize_t most, Py_buffer *view, uint64_t deadline,
                        bint require_peer):
        """Take in one of four ways, waiting until the deadline."""
        cdef RingState ring = self.ring
        cdef Membership membership = ring.membership
        cdef RecordSleep sleep = None
        cdef int end
        cdef uint32_t tries = 0
        cdef uint64_t pinned
        cdef bint is_drained = False  # the descriptor of the handle, and nobody has found anything since
        handle.check()
        pinned = ring.pin()
        try:
            while True:
                self.prepare(handle)
                record = self.take_as(how, most, view)
                if record is not None:
                    if sleep is not None and self.starved_pause_ns:
                        sleep.note_got(len(record) if how == TAKE_MANY else 1)
                    # Pass the wake-up on: a consumer that was woken and sees more wakes the next sleeper. Those that wait by a
                    # descriptor were all woken by the put.
                    if sleep is not None and memlane_waiters_any(&ring.control.waiters) and self.any_record():
                        ring.doorbell.wake_sleepers(&ring.control.waiters, 1)
                    return record
                # Nothing fresh: a put that waits for room has it, however little was freed since the last wake-up.
                ring.wake_senders()
                if memlane_ring_shutdown(ring.control):
                    end = self.close_lanes()
                    if end == END_NOW:
                        ring.wake_receivers(MEMLANE_POSTS_MAX)
                        ring.refuse(MEMLANE_CLOSED, 0)
                    if end == END_LATER:
                        tries += 1
                        if tries > END_TRIES + ring.shape.lanes:
                            ring.refuse(MEMLANE_CORRUPTED, 0)
                        if deadline != 0 and deadline <= memlane_monotonic_ns():
                            self.check_sound()
                            self.refuse_empty(deadline != 0)
                        PyErr_CheckSignals()
                        continue
                elif (require_peer or handle.require_peer) and ring.senders_are_gone() and not self.any_record():
                    self.refuse_unsent()
                if sleep is None:
                    sleep = RecordSleep()
                    sleep.begin(deadline, &self.spinning)
                    sleep.role = self
                    sleep.taken = self.taken_by_all()
                else:
                    sleep.note_starved()
                if deadline == 0 or sleep.is_over():
                    self.check_sound()
                    if handle.readable is not None and not is_drained and handle.readable.rearm():
                        is_drained = True
                        continue
                    is_drained = False
                    self.refuse_empty(deadline != 0)
                if self.finish_pass():
                    PyErr_CheckSignals()
                    continue
                if self.starved_pause_ns and handle.wait != MEMLANE_WAIT_SPIN:
                    self.check_sound()
                    sleep.back_off()
                elif not sleep.spin(handle.wait):
                    self.check_sound()
                    if handle.wait != MEMLANE_WAIT_SPIN:
                        sleep.nap(&ring.control.waiters, ring.doorbell)
                PyErr_CheckSignals()
        finally:
            if is_drained and handle.readable is not None:
                handle.readable.stir()
            ring.unpin(pinned)

    cdef bint look(self, Endpoint handle) except -1:
        cdef memlane_found found
        while self.find(&found) < 0:
            # As `extract`: a put that waits for room has it, however little was freed.
            self.ring.wake_senders()
            if memlane_ring_shutdown(self.ring.control):
                return self.any_record()
            if handle.require_peer and self.ring.senders_are_gone():
                return True
            if not self.finish_pass():
                self.check_sound()
                return False
            PyErr_CheckSignals()
        return True

    cdef bint any_record(self) noexcept nogil:
        """The second look: is there anything that a waiting get would act on?"""
        cdef uint32_t lane
        if self.comes_back() or self.ring.is_gone_now():
            return True
        if self.ending:
            return self.is_drained()
        for lane in range(memlane_ring_leased(self.ring.control, self.ring.shape.lanes)):
            if self.is_leased(lane) and self.known[lane] != 2 and self.any_in(lane):
                return True
        return memlane_ring_shutdown(self.ring.control) != 0

    @cython.final
    cdef int close_lanes(self) except -1:
        """Bring a ring that is shut down to its end; END_*."""
        cdef memlane_status status
        cdef uint32_t lane
        cdef bint drop = memlane_ring_shutdown(self.ring.control) == MEMLANE_SHUTDOWN_DROP
        cdef bint all_closed = True, drained
        for lane in range(self.ring.shape.lanes):
            if self.known[lane] == 2:
                continue
            if not self.is_leased(lane):
                if memlane_lane_close_unleased(self.ring.lane_control(lane)) != MEMLANE_CLOSED:
                    all_closed = False
                else:
                    self.known[lane] = 2
                continue
            if memlane_lane_owner(self.ring.lane_control(lane)) == MEMLANE_OWNER_CLOSED:
                self.known[lane] = 2
                continue
            with nogil:
                status = self.close_lane(lane, drop)
            if status == MEMLANE_CORRUPTED:
                self.ring.refuse(status, 0)
            if status != MEMLANE_CLOSED:
                all_closed = False
        if not all_closed:
            return END_LATER
        # A process that holds a loan does not wait for those of others: they might wait for it.
        self.ending = not drop and self.loans == 0
        if not self.ending:
            return END_NOW
        with nogil:
            drained = self.is_drained()
        return END_NOW if drained else END_OF_OTHERS

    @cython.final
    cdef object refuse_empty(self, bint has_waited):
        """
        Raise Empty, which says why: from shared words, and of the producers a few are asked for. A call that polls asks for
        them once a slice.
        """
        cdef int64_t own = max(self.loans, 0), others
        cdef uint32_t tags[PROBES_A_SLICE]
        cdef uint32_t lane, died = 0, leased
        self.ring.membership.check_whole()
        memset(tags, 0, sizeof(tags))
        others = self.held_by_others(tags)
        if others == 0 and self.nobody_is_left(has_waited):
            leased = memlane_ring_leased(self.ring.control, self.ring.shape.lanes)
            for lane in range(leased):
                died += memlane_lane_owner(self.ring.lane_control(lane)) > MEMLANE_OWNER_CLOSED
            raise Empty(f"{self.ring.name} has nothing to get, and no producer of it is left ({died} died, {leased - died} left); "
                        "start another one, or end here", cause="nobody left", on_loan=own,
                        holders=(_os.getpid(),) if own else (), producers=0)
        if own + others == 0:
            if memlane_ring_leased(self.ring.control, self.ring.shape.lanes) == 0:
                raise Empty(f"{self.ring.name} is empty, and no producer has come yet; see that one was started, put some "
                            "records, or wait with a longer timeout")
            raise Empty(f"{self.ring.name} is empty; put some records, or wait with a longer timeout")
        if (own != self.told_own or others != self.told_others or self.told_epoch != self.epoch
                or memcmp(tags, self.told_tags, sizeof(tags)) != 0):
            self.tell_loans(own, others, tags)
        raise Empty(self.told, cause="on loan", on_loan=own + others, holders=self.told_holders)

    @cython.final
    cdef int tell_loans(self, int64_t own, int64_t others, const uint32_t *tags) except -1:
        """The text of an Empty and whom it names: kept, since who polls meets the same again and again."""
        cdef list pids = self.ring.pids_of(tags)
        known = ", ".join(map(str, pids)) or "a process that is gone"
        text = "1 record is" if own + others == 1 else f"{own + others} records are"
        if others == 0:
            text += " on loan to this process; release " + ("it" if own == 1 else "one")
        elif own == 0:
            text += f" on loan to pid {known}; put some more"
        else:
            text += f" on loan, {own} to this process and {others} to pid {known}; release one"
        self.told = f"{self.ring.name} has nothing to get: {text}, or wait with a longer timeout"
        self.told_holders = tuple(([_os.getpid()] if own else []) + pids)
        self.told_own, self.told_others, self.told_epoch = own, others, self.epoch
        memcpy(self.told_tags, tags, sizeof(self.told_tags))
        return 0

    @cython.final
    cdef bint nobody_is_left(self, bint has_waited) except -1:
        """Whether there were producers and all are gone, as far as PROBES_A_SLICE questions to the kernel can tell."""
        cdef Membership membership = self.ring.membership
        cdef uint32_t lane, owner, probes = 0, leased = memlane_ring_leased(self.ring.control, self.ring.shape.lanes)
        cdef uint64_t generation
        if (self.alive_tag and not has_waited and self.alive_lane < leased
                and memlane_lane_owner(self.ring.lane_control(self.alive_lane)) == self.alive_tag
                and memlane_monotonic_ns() < self.alive_until_ns):
            return False
        for lane in range(leased):
            owner = memlane_lane_owner(self.ring.lane_control(lane))
            if owner <= MEMLANE_OWNER_CLOSED:
                continue
            # The rows of those that are known to be dead are marked: nobody asks for them.
            if (memlane_tag_row(owner) < membership.geometry.rows
                    and memlane_row_is(memlane_membership_row(&membership.own, memlane_tag_row(owner)), owner, &generation)):
                probes += 1
                if probes > PROBES_A_SLICE:
                    return False
            if membership.life(owner) != MEMLANE_DEAD:
                self.alive_lane, self.alive_tag = lane, owner
                self.alive_until_ns = memlane_monotonic_ns() + MEMLANE_SLICE_NS
                return False
        return leased > 0


@cython.final
cdef class RecordSleep(Sleep):
    """
    A get that waits for a record.

    While others take whatever comes, one more is woken in vain, at the price of two switches for somebody that has work:
    at full speed one consumer keeps up, and another one would be woken for every record. A consumer that is starved so
    neither spins nor announces itself; it looks again after a pause that grows while that goes on.
    """

    cdef ConsumerRole role
    cdef uint64_t taken               # by all consumers, at the last look that found nothing

    cdef bint is_due(self) noexcept nogil:
        return self.role.any_record()

    cdef void note_starved(self) noexcept nogil:
        """After another look that found nothing: whether records have come, and others have got them."""
        cdef uint64_t taken = self.role.taken_by_all(), pause = 2 * self.role.starved_pause_ns
        if taken == self.taken:
            self.role.starved_pause_ns = 0
        else:
            self.role.starved_pause_ns = min(max(pause, STARVED_PAUSE_MIN_NS), STARVED_PAUSE_MAX_NS)
        self.taken = taken

    cdef void note_got(self, uint64_t count) noexcept nogil:
        """After a look that found `count`: one that was away and is the only one that takes need not back off again."""
        if self.role.taken_by_all() - self.taken <= count:
            self.role.starved_pause_ns = 0

    cdef void back_off(self) noexcept:
        self.waiting.pause = self.role.starved_pause_ns
        self.poll()


@cython.final
@cython.no_gc
cdef class Record(RecordLoan):
    """
    A borrowed record: its bytes where they lie in the ring, read-only, until it is released.

    Supports the buffer protocol. Released at the end of its `with`, by `release()`, or when the last view of it
    (a memoryview, a numpy array) has died, whichever comes last. Meanwhile it takes up room in the ring. If this
    process dies, another consumer gets it.

    Attributes:
        redelivered: Whether another consumer had it in hand and died, and so may have made use of it. Known with
            consumers="many" only: of one consumer nobody can tell what it had in hand, and this is False.
    """

    @property
    def sequence(self):
        """
        Its number among the records of its lane, which begin at 0 and never repeat. Of one producer the numbers follow
        each other; a successor in its lane goes on with them.
        """
        return self.s

    @property
    def producer(self):
        """
        Which producer put it: the number of its lane, from 0 to one less than the ring's `producers`. A lane goes to a
        successor when its producer leaves or dies, so over time a number may stand for several producers, of one process
        or of several. `stats()["lanes"]` says which pid has the lane now.
        """
        return self.lane

    def give_back(self):
        """
        Have another consumer get the record, since this one could not handle it: with consumers="many" only. It comes when
        there is nothing fresh, or a tenth of a second later at the latest, and is not marked as redelivered.

        Raises:
            BufferError: views of the record are alive; the loan stays.
            ValueError: the ring has one consumer; the loan stays.
            ClosedError: the record was released.
        """
        self.check()
        if self.exports:
            raise BufferError(f"{self.exports} views of this record of {self.lender.name} are alive; del them, then "
                              "give_back() again")
        if memlane_fork_is(self.pinned):
            (<ConsumerRole>self.role).hand_back(self.lane, self.s)
        self.is_open = self.is_held = False
        if memlane_fork_is(self.pinned):
            self.role.loan_ended()
        self.lender.unpin_loan(self.pinned)
