# SPDX-License-Identifier: MIT
"""
Rings: what this process knows of one, and what all its handles have.

RingState      here: one for all handles of this process
ProducerRole   producer.pxi: one lease of a lane, shared by the threads of this process; Room, its claim
ConsumerRole   consumer.pxi: what gets from the ring, shared by all handles of this process; Record, its loan
OneConsumer, ManyConsumers   consumer_one.pxi, consumer_many.pxi: how it takes records
RingBase, Producer, Consumer   handles.pxi: they refuse when closed, and lead to a role

A call tries once on the fast path; only when it must wait, or something has changed (a fork, a first use),
it goes to the slow path. A role's mutex is held for one step of src/core and never while the GIL is taken
(docs/locking.md).
"""


from memlane.errors import Empty, Full, PeerGoneError, RecordTooLargeError, ShutDown

cdef extern from "core/layout.h" nogil:
    enum:
        MEMLANE_KIND_RING
    const uint64_t MEMLANE_RECORD_MAX

cdef extern from "core/ring_layout.h" nogil:
    enum:
        MEMLANE_STAMP_EACH
        MEMLANE_OWNER_NEVER
        MEMLANE_OWNER_DEPARTED
        MEMLANE_OWNER_CLOSED
        MEMLANE_SHUTDOWN_DRAIN
        MEMLANE_SHUTDOWN_DROP
        MEMLANE_CONSUMERS_ONE
        MEMLANE_CONSUMERS_MANY
    const uint32_t MEMLANE_LANES_MAX
    const uint64_t MEMLANE_DESCRIPTORS_MAX, MEMLANE_CAPACITY_MAX
    struct memlane_ring_control:
        uint32_t waiters
        uint32_t consumer
        memlane_doorbell doorbell
    struct memlane_lane_control:
        uint32_t owner
        uint32_t waiters
        uint64_t head
        uint64_t tail
        memlane_doorbell doorbell
    struct memlane_descriptor:
        pass

cdef extern from "core/ring_layout.h" nogil:
    struct memlane_ring_shape:
        uint64_t lanes, capacity, records, descriptors, consumers_offset, data_offset, bytes_offset, data_nbytes, nbytes
    bint memlane_ring_lay_out(memlane_ring_shape *shape, uint64_t lanes, uint64_t capacity, uint64_t records)
    void memlane_ring_tell_doorbells(uint64_t lanes, memlane_doorbells *at_once, memlane_doorbells *later)

cdef extern from "core/ownership.h" nogil:
    uint32_t memlane_role_owner(const void *role)
    bint memlane_role_take(void *role, uint32_t found, uint32_t tag)
    bint memlane_role_give(void *role, uint32_t tag)
    bint memlane_role_held(void *role, uint32_t tag)

cdef extern from "core/lane.h" nogil:
    struct memlane_lane:
        memlane_lane_control *control
        memlane_descriptor *descriptors
        unsigned char *bytes
        uint64_t capacity, records, mask
        bint many
    struct memlane_extent:
        uint64_t offset, nbytes
    uint64_t memlane_occupied(uint64_t nbytes)
    uint64_t memlane_max_record(const memlane_lane *lane)
    uint64_t memlane_lane_length(const memlane_lane *lane)
    uint64_t memlane_lane_got(const memlane_lane *lane)
    uint64_t memlane_lane_waits_since(const memlane_lane *lane, uint64_t clock, uint64_t *steps)
    uint64_t memlane_lane_full(const memlane_lane *lane)
    uint64_t memlane_lane_tail(const memlane_lane *lane)
    uint64_t memlane_lane_end(const memlane_lane *lane)
    uint32_t memlane_lane_owner(const memlane_lane_control *control)
    bint memlane_lane_lease(memlane_lane_control *control, uint32_t found, uint32_t tag)
    bint memlane_lane_depart(memlane_lane_control *control, uint32_t tag)
    void memlane_ring_raise_leased(memlane_ring_control *control, uint32_t lanes)
    uint32_t memlane_ring_leased(memlane_ring_control *control, uint32_t lanes)
    uint32_t memlane_ring_shutdown(memlane_ring_control *control)
    void memlane_ring_shut(memlane_ring_control *control, uint32_t how)
    uint64_t memlane_lane_head(const memlane_lane *lane)

cdef extern from "core/lane_producer.h" nogil:
    struct memlane_kept:
        uint64_t s
    struct memlane_producer:
        memlane_lane lane
        memlane_ring_control *ring
        uint32_t tag
        uint64_t head, next, oldest, write
        memlane_kept *kept
    struct memlane_span:
        const void *bytes
        size_t nbytes
    memlane_status memlane_producer_adopt(memlane_producer *producer)
    void memlane_producer_stamp(const memlane_producer *producer, uint64_t count, uint64_t now)
    void memlane_producer_clock(memlane_producer *producer, uint64_t clock)
    void memlane_producer_count_full(memlane_producer *producer)
    void memlane_producer_reuse(memlane_producer *producer, uint64_t looks)
    memlane_status memlane_producer_put(memlane_producer *producer, const void *record, size_t nbytes)
    memlane_status memlane_producer_put_many(
        memlane_producer *producer, const memlane_span *records, size_t count, size_t *done)
    memlane_status memlane_producer_claim(memlane_producer *producer, uint64_t nbytes, uint64_t *offset)
    memlane_status memlane_producer_commit(memlane_producer *producer, uint64_t offset, uint64_t nbytes)
    bint memlane_producer_holds(const memlane_producer *producer, uint64_t head)
    void memlane_producer_keep(memlane_producer *producer, memlane_kept *kept, uint64_t offset, uint64_t nbytes)
    void memlane_producer_release(memlane_producer *producer, memlane_kept *kept)
    bint memlane_producer_any(const memlane_producer *producer)
    uint64_t memlane_producer_used(const memlane_producer *producer)

cdef extern from "core/lane_consumer.h" nogil:
    struct memlane_consumer:
        memlane_lane lane
        uint64_t loans
    uint64_t memlane_consumer_next(const memlane_consumer *consumer)
    uint64_t memlane_consumer_loans(const memlane_consumer *consumer)
    void memlane_prefetch(const unsigned char *bytes, uint64_t nbytes)
    void memlane_lane_prefetch(const memlane_lane *lane, uint64_t s, size_t count)
    memlane_status memlane_lane_close_unleased(memlane_lane_control *control)
    void memlane_consumer_start(memlane_consumer *consumer)
    memlane_status memlane_consumer_peek(const memlane_consumer *consumer, uint64_t *s, memlane_extent *extent)
    bint memlane_consumer_is_at(const memlane_consumer *consumer, uint64_t s)
    size_t memlane_consumer_look_on(const memlane_consumer *consumer, uint64_t s, const memlane_extent *first, size_t most,
                                    uint64_t most_nbytes, memlane_extent *extents)
    void memlane_consumer_skip(memlane_consumer *consumer)
    bint memlane_consumer_overlooked(const memlane_consumer *consumer)
    bint memlane_consumer_finish(memlane_consumer *consumer, uint64_t records, uint64_t nbytes)
    void memlane_consumer_borrow(memlane_consumer *consumer)
    void memlane_consumer_release(memlane_consumer *consumer, uint64_t s)
    bint memlane_consumer_any(const memlane_consumer *consumer)
    memlane_status memlane_consumer_close(memlane_consumer *consumer)
    void memlane_consumer_drop(memlane_consumer *consumer)

cdef extern from "core/peers.h" nogil:
    void memlane_peers_come(memlane_ring_control *control, void *table, uint32_t tag)
    bint memlane_peers_clear(void *table, uint32_t tag)
    void memlane_peers_note_dead(memlane_ring_control *control)
    uint64_t memlane_peers_came(const memlane_ring_control *control)
    uint64_t memlane_peers_died(const memlane_ring_control *control)
    uint32_t memlane_peers_at(const void *table, uint32_t row)
    bint memlane_peers_has_left(const void *word, uint32_t tag)
    memlane_status memlane_peers_next(
        const memlane_ring_control *control, const void *table, uint32_t rows, uint64_t came, uint32_t *row, uint32_t *tag)

cdef extern from "core/ring_layout.h" nogil:
    enum memlane_state:
        MEMLANE_STATE_TAKEN

cdef extern from "core/lane.h" nogil:
    memlane_status memlane_extent_of(const memlane_lane *lane, uint64_t s, memlane_extent *extent)

cdef extern from "core/lane_consumers.h" nogil:
    struct memlane_many:
        memlane_lane lane
    struct memlane_found:
        uint64_t s, state
        memlane_extent extent
    memlane_state memlane_state_kind(uint64_t state)
    uint32_t memlane_state_tag(uint64_t state)
    void memlane_many_start(memlane_many *many)
    memlane_status memlane_many_look(const memlane_many *many, memlane_found *found)
    size_t memlane_many_look_on(const memlane_many *many, const memlane_found *first, size_t most, uint64_t most_nbytes,
                                memlane_extent *extents)
    bint memlane_many_claim(const memlane_lane *lane, memlane_found *found, uint32_t tag)
    size_t memlane_many_take(const memlane_lane *lane, uint64_t first, size_t count, uint32_t tag)
    void memlane_many_count_redelivered(memlane_ring_control *control)
    uint64_t memlane_many_redelivered(const memlane_ring_control *control)
    bint memlane_many_free(const memlane_lane *lane, uint64_t s, uint32_t tag)
    bint memlane_many_hand_back(memlane_ring_control *ring, const memlane_lane *lane, uint64_t s, uint32_t tag)
    uint64_t memlane_many_handed_back(const memlane_ring_control *ring)
    bint memlane_many_held_new(memlane_many *many, uint64_t end, memlane_found *found, uint64_t *steps)
    void memlane_many_met(memlane_many *many, const memlane_found *found)
    void memlane_many_rescan(memlane_many *many)
    bint memlane_many_crosses(const memlane_lane *lane, uint64_t s, const memlane_extent *extent)
    const uint64_t MEMLANE_LOOKS_WITH_GIL
    uint64_t memlane_many_settle_some(memlane_many *many, uint64_t taken, uint64_t *steps)
    bint memlane_many_is_drained(memlane_many *many)
    bint memlane_many_held(const memlane_many *many, uint64_t s, uint64_t end, memlane_found *found)
    uint64_t memlane_many_taken(const memlane_lane *lane)
    int64_t memlane_many_in_hand(const memlane_lane *lane, uint64_t *steps)
    bint memlane_many_any(const memlane_many *many)
    bint memlane_many_overlooked(memlane_many *many)
    memlane_status memlane_many_close(const memlane_many *many)
    void memlane_many_drop(const memlane_many *many, uint32_t tag)

cdef extern from "core/words.h" nogil:
    void memlane_cpu_relax()
    void memlane_copy(void *to, const void *source, size_t nbytes)

cdef extern from "os/mutex.h" nogil:
    struct memlane_mutex:
        pass
    void memlane_mutex_reset(memlane_mutex *mutex)
    bint memlane_mutex_try(memlane_mutex *mutex)
    void memlane_mutex_lock(memlane_mutex *mutex)
    void memlane_mutex_unlock(memlane_mutex *mutex)

cdef enum:
    # Records looked at in one step of get_many: what fits on the stack.
    STEP_RECORDS = 256
    # At most so many are asked for at a time; arbitrary.
    MOST_RECORDS = 1 << 30
    # Dead owners proven in one slice, so that a look costs a bounded number of system calls.
    PROBES_A_SLICE = 8
    # Records of a lane that are looked at for who has them in hand, to say so in an error: about a microsecond.
    HELD_LOOKS = 64
    # The same for statistics, of all lanes together: less than a millisecond, without the GIL.
    HELD_LOOKS_FOR_STATS = 1 << 18
    # Records that get a stamp after a consumer was woken: the calls of the kernel for that cost twenty times as much.
    STAMPS_AFTER_WAKING = 16

# Above this size a copy lets other threads run: some 10 microseconds of copying, against one or two
# for giving the GIL away and taking it back.
cdef size_t COPY_WITH_GIL_NBYTES = 65536

# From this size on a record had better go where the last one was, which is in the processor's cache still. A look
# whether it is free takes 50 ns, writing so much for each look a hundred times as long.
cdef uint64_t REUSE_NBYTES = 65536
cdef uint64_t REUSE_NBYTES_A_LOOK = 65536
# A claim looks with the GIL. Some 6 microseconds: a consumer that reads little of a large record is through with it.
cdef uint64_t REUSE_LOOKS_WITH_GIL = 128

# While records come, a pass over what others have in hand goes on after so long: a step of it is a tenth of that.
cdef uint64_t STEPS_PAUSE_NS = 100000

# Looks at one lane, of some 50 ns, which other threads wait for.
cdef uint32_t LOOKS_WITH_GIL = 32

# The longest spin of wait="adaptive": waking a sleeper costs 30 to 50 microseconds on a virtual machine,
# so spinning as long costs at most as much again. wait="spin" looks for signals this often.
cdef uint64_t SPIN_MAX_NS = 50000
cdef uint64_t SPIN_MIN_NS = 2000
cdef uint64_t SPIN_ONLY_NS = 5000000

cdef enum:
    WAIT_ADAPTIVE = 0
    WAIT_SPIN = 1
    WAIT_SLEEP = 2

cdef dict WAITS = {"adaptive": WAIT_ADAPTIVE, "spin": WAIT_SPIN, "sleep": WAIT_SLEEP}

cdef bint SEVERAL_CPUS = len(_os.sched_getaffinity(0)) > 1


def ring_shape(uint64_t lanes, uint64_t capacity, uint64_t records):
    """Return (bytes of the object, of them control words, where its doorbells are, as an entry tells it) of a ring."""
    cdef memlane_ring_shape shape
    cdef memlane_doorbells at_once, later
    if not memlane_ring_lay_out(&shape, lanes, capacity, records):
        raise ValueError(f"a ring of {lanes} lanes with {capacity} bytes and {records} records is out of range")
    memlane_ring_tell_doorbells(lanes, &at_once, &later)
    return shape.nbytes, shape.data_offset, told_of(&at_once, &later)


CONSUMERS = {"one": MEMLANE_CONSUMERS_ONE, "many": MEMLANE_CONSUMERS_MANY}
LANES_MAX, DESCRIPTORS_MAX, CAPACITY_MAX = MEMLANE_LANES_MAX, MEMLANE_DESCRIPTORS_MAX, MEMLANE_CAPACITY_MAX
KIND_RING, KIND_SLOT, KIND_COUNTER, KIND_TABLE = (
    MEMLANE_KIND_RING, MEMLANE_KIND_SLOT, MEMLANE_KIND_COUNTER, MEMLANE_KIND_TABLE)


cdef tuple description_of(entry):
    """What tells an object from another one at the same place: nbytes, geometry, entry and sequence."""
    return entry[3], entry[4], entry[6], entry[7]


cdef int check_described(Membership membership, entry, tuple described) except -1:
    """What this process knows of the object at that offset must be what the entry says: one state serves all handles."""
    if description_of(entry) != described:
        raise CorruptedError(f"entry {entry[0]!r} in the directory of {membership.name} is at byte {entry[2]}, where "
                             "another object lies; unlink the region and create it again", name=membership.name)
    return 0


cdef uint64_t clock_hash() noexcept:
    """
    What tells the clocks of this process from those of others: the boot of the machine, and how far a time namespace sets
    them forward; 0 if the kernel does not say. Two processes whose numbers differ cannot compare their times.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as boot_id:
            found = int(boot_id.read().replace(b"-", b"").strip()[:16], 16)
    except (OSError, ValueError):
        return 0
    try:
        with open("/proc/self/timens_offsets", "rb") as offsets:
            for line in offsets:
                clock, seconds, nanoseconds = line.split()
                # any two odd numbers
                factor = {b"boottime": 0x9E3779B97F4A7C15, b"monotonic": 0xC2B2AE3D27D4EB4F}.get(clock, 0)
                found += (int(seconds) * 1_000_000_000 + int(nanoseconds)) * factor
    except (OSError, ValueError):
        pass  # a kernel without time namespaces
    return found % 2**64 or 1

cdef uint64_t CLOCK = 0
cdef uint64_t CLOCK_EPOCH = EPOCH_CLOSED

cdef int know_clock() except -1:
    """A child may have been forked into another time namespace."""
    global CLOCK, CLOCK_EPOCH
    if not memlane_fork_is(CLOCK_EPOCH):
        CLOCK = clock_hash()
        CLOCK_EPOCH = memlane_fork_epoch()
    return 0


@cython.final
cdef class Spinning:
    """How long to spin before sleeping: long while spins succeed, zero when they keep failing."""

    cdef uint64_t budget_ns

    def __cinit__(self):
        self.budget_ns = SPIN_MAX_NS

    cdef uint64_t limit(self, int wait) noexcept nogil:
        if wait == WAIT_SPIN:
            return SPIN_ONLY_NS
        return self.budget_ns if wait == WAIT_ADAPTIVE and SEVERAL_CPUS else 0

    cdef bint goes_on(self, uint64_t began, uint64_t limit) noexcept nogil:
        """After looks that found nothing: whether to look on. A long spin lets others run: who is waited for may need
        this CPU."""
        cdef uint64_t spun = memlane_monotonic_ns() - began
        if spun >= limit:
            self.learn(False)
            return False
        if spun >= SPIN_MAX_NS:
            sched_yield()
        return True

    cdef void learn(self, bint found) noexcept nogil:
        if found:
            self.budget_ns = min(SPIN_MAX_NS, max(2 * self.budget_ns, SPIN_MIN_NS))
        else:
            self.budget_ns = self.budget_ns // 2 if self.budget_ns > SPIN_MIN_NS else 0

    cdef void learn_sleep(self, bint woken, uint64_t slept_ns) noexcept nogil:
        """A sleep that was ended at once says that the other side is busy: spinning pays again."""
        if woken and slept_ns < 2 * SPIN_MAX_NS and self.budget_ns == 0:
            self.budget_ns = SPIN_MAX_NS // 2


@cython.final
cdef class RingState(Opened):
    """What this process knows of one ring."""

    cdef memlane_guarded *guarded     # that of the region
    cdef memlane_ring_shape shape
    cdef memlane_ring_control *control
    cdef unsigned char *address
    cdef uint64_t offset
    cdef bint many                    # consumers
    cdef tuple described              # what identifies it by the entry that it was made from
    cdef ProducerRole sending         # the one behind Ring.put
    cdef ConsumerRole receiving
    cdef Doorbell doorbell            # of the consumers
    cdef list bells                   # of the lanes, where this process has looked for them
    cdef bint owes                    # somebody is to be woken whose doorbell was not looked for yet
    cdef int64_t owed_lane            # the lane of such a producer; -1: none
    cdef void *consumers              # the tags of many consumers; NULL: there is one
    cdef uint32_t peer_tag            # a consumer that lived when it was last asked for; 0: none
    cdef uint64_t peer_until_ns       # until when nobody asks again

    @staticmethod
    cdef RingState of(Membership membership, entry):
        """The state for an entry of the directory; the same object for all handles of this process."""
        cdef uint64_t pinned = membership.pin_open()  # looking for its doorbell runs Python
        key = ("ring", entry[2])
        try:
            state = find_opened(membership, key)
            if state is None:
                state = membership.roles.setdefault(key, RingState._make(membership, entry))
            check_described(membership, entry, (<RingState>state).described)
        finally:
            membership.unpin_loan(pinned)
        return state

    @staticmethod
    cdef RingState _make(Membership membership, entry):
        cdef RingState state = RingState.__new__(RingState)
        cdef memlane_doorbells at_once, later
        name, _, state.offset, nbytes, geometry = entry[:5]
        state.begin(membership, entry, membership.called("ring", name))
        state.described = description_of(entry)
        memlane_ring_tell_doorbells(geometry[0], &at_once, &later)
        if (not memlane_ring_lay_out(&state.shape, geometry[0], geometry[1], geometry[2]) or state.shape.nbytes != nbytes
                or not tells_of(entry, &at_once, &later) or geometry[3] not in (MEMLANE_CONSUMERS_ONE, MEMLANE_CONSUMERS_MANY)):
            raise CorruptedError(f"the geometry of {state.name} contradicts itself; unlink the region and create "
                                 "it again", name=membership.name)
        state.forget_doorbells(entry)
        state.guarded = membership.guarded
        state.address = membership.mapping.address + state.offset
        state.control = <memlane_ring_control *>state.address
        state.many = geometry[3] == MEMLANE_CONSUMERS_MANY
        if state.many:
            state.consumers = state.address + state.shape.consumers_offset
        state.sending = ProducerRole.__new__(ProducerRole, state)
        state.receiving = ManyConsumers.__new__(ManyConsumers, state) if state.many else OneConsumer.__new__(OneConsumer, state)
        state.doorbell = doorbell_at(membership, &state.control.doorbell, False)
        state.bells = [None] * <Py_ssize_t>state.shape.lanes
        state.owed_lane = -1
        return state

    cdef memlane_lane_control *lane_control(self, uint32_t lane) noexcept nogil:
        return <memlane_lane_control *>(self.address + sizeof(memlane_ring_control)) + lane

    cdef void lane_at(self, uint32_t lane, memlane_lane *view) noexcept nogil:
        cdef unsigned char *data = self.address + self.shape.data_offset + lane * self.shape.data_nbytes
        view.control = self.lane_control(lane)
        view.descriptors = <memlane_descriptor *>data
        view.bytes = data + self.shape.bytes_offset
        view.capacity = self.shape.capacity
        view.records = self.shape.records
        view.mask = self.shape.descriptors - 1
        view.many = self.many

    # Looking for a doorbell runs Python code, and with it handlers of signals, whose exceptions would lose what was
    # taken. So it is done before a record is taken, or when there is none.

    cdef void wake_consumers(self, uint32_t times) noexcept:
        if not ring_waiters(self.doorbell, &self.control.waiters, times):
            self.owes = True

    cdef void wake_producer_known(self, uint32_t lane) noexcept:
        if not ring_waiters(<Doorbell>self.bells[lane], &self.lane_control(lane).waiters, 1):
            self.owes = True
            self.owed_lane = lane

    cdef int pay(self) except -1:
        """Wake those who were not woken for want of their doorbell. The caller has pinned the region."""
        cdef int64_t lane = self.owed_lane
        self.owes, self.owed_lane = False, -1
        if lane >= 0:
            # Also if nobody waits any more: else each put that waits anew would find that its doorbell is not known.
            self.bells[lane] = doorbell_at(self.membership, &self.lane_control(lane).doorbell, False)
        if self.doorbell.semaphore == NULL and memlane_waiters_any(&self.control.waiters):
            doorbell_at(self.membership, &self.control.doorbell, False)  # attached now, if it can be
            ring_waiters(self.doorbell, &self.control.waiters, 1)
        return self.wake_producers()

    cdef int wake_producers(self) except -1:
        """One waiting put of each lane. The caller has pinned the region."""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.control, self.shape.lanes)):
            if memlane_waiters_any_fenced(&self.lane_control(lane).waiters):
                self.wake_producer(lane, 1)
        return 0

    cdef int wake_producer(self, uint32_t lane, uint32_t times) except -1:
        """As it is, by a doorbell that may have to be looked for. The caller has pinned the region."""
        cdef memlane_lane_control *control = self.lane_control(lane)
        cdef Doorbell bell = <Doorbell>self.bells[lane]
        if bell is None or bell.semaphore == NULL:
            bell = doorbell_at(self.membership, &control.doorbell, False)
            self.bells[lane] = bell
        ring_waiters(bell, &control.waiters, times)
        return 0

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
            try:
                self.wake_producers()
            finally:
                self.unpin(pinned)
        except Exception:
            pass  # the region is being closed, or a doorbell cannot be opened: then they look within a slice

    cdef bint peer_is_known(self) noexcept nogil:
        """Whether a consumer that lived a short while ago has not left since."""
        cdef uint32_t tag = self.peer_tag, found
        if tag == 0:
            return False
        found = memlane_peers_at(self.consumers, memlane_tag_row(tag)) if self.many else memlane_role_owner(&self.control.consumer)
        return found == tag and memlane_monotonic_ns() < self.peer_until_ns

    cdef bint is_there(self, uint32_t tag) noexcept:
        cdef int verdict = self.membership.verdict(tag)
        if verdict == ALIVE:
            self.peer_tag, self.peer_until_ns = tag, memlane_monotonic_ns() + SLICE_NS
        return verdict != DEAD

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

    cdef void forget_roles(self) noexcept:
        self.receiving.epoch = EPOCH_CLOSED

    cdef int wake_all(self) except -1:
        """Everybody who sleeps, for good: the ring was shut down or removed."""
        cdef uint32_t lane
        self.wake_consumers(POSTS_MAX)
        for lane in range(self.shape.lanes):
            if memlane_waiters_any(&self.lane_control(lane).waiters):
                self.wake_producer(lane, POSTS_MAX)
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

    cdef dict stats(self):
        """Pinned, since looking for the living may let another thread close the ring."""
        cdef uint64_t pinned = self.pin()
        try:
            found = self.pinned_stats()
            if self.is_gone_now():
                self.refuse_gone()
            return found
        finally:
            self.unpin(pinned)

    cdef dict pinned_stats(self):
        cdef memlane_lane view
        cdef uint32_t lane, owner
        cdef uint64_t steps = HELD_LOOKS_FOR_STATS, since, now
        cdef bint is_dropped
        know_clock()
        is_dropped = memlane_ring_shutdown(self.control) == MEMLANE_SHUTDOWN_DROP  # nobody will get what is left
        lanes = []
        for lane in range(memlane_ring_leased(self.control, self.shape.lanes)):
            self.lane_at(lane, &view)
            owner = memlane_lane_owner(view.control)
            named = {MEMLANE_OWNER_NEVER: "never leased", MEMLANE_OWNER_DEPARTED: "departed",
                     MEMLANE_OWNER_CLOSED: "closed"}.get(owner)
            if named is None:
                named = ("dead", "alive", "unknown")[self.membership.verdict(owner)]
            since = 0
            if owner != MEMLANE_OWNER_NEVER and not is_dropped:
                with nogil:
                    since = memlane_lane_waits_since(&view, CLOCK, &steps)
            now = memlane_coarse_ns()
            lanes.append({
                "lane": lane, "producer": named,
                "pid": self.membership.pid_of(owner) if owner > MEMLANE_OWNER_CLOSED else None,
                "put": memlane_lane_tail(&view), "got": memlane_lane_got(&view),
                "records": 0 if is_dropped else memlane_lane_length(&view),
                # One that is to come is spoilt.
                "oldest_age": (now - since) / 1e9 if 0 < since <= now else None,
                "times_full": memlane_lane_full(&view),
                "waiting_producers": memlane_waiters_count(&view.control.waiters),
                "loans": 0 if owner == MEMLANE_OWNER_NEVER else self.receiving.loans_in(lane, &steps)})
        owner = memlane_role_owner(&self.control.consumer)
        return {
            "capacity": self.shape.capacity, "max_records": self.shape.records, "producers": self.shape.lanes,
            "records": self.length(), "lanes": lanes,
            "loans": None if None in (loans := [found["loans"] for found in lanes]) else sum(loans), "consumers": "many" if self.many else "one",
            "oldest_age": max([found["oldest_age"] for found in lanes if found["oldest_age"] is not None], default=None),
            "times_full": sum([found["times_full"] for found in lanes]),
            "waiting_producers": sum([found["waiting_producers"] for found in lanes]),
            "waiting_consumers": memlane_waiters_count(&self.control.waiters),
            "redelivered": memlane_many_redelivered(self.control),
            "consumer": ("dead", "alive", "unknown")[self.membership.verdict(owner)] if owner else None,
            "consumer_pid": self.membership.pid_of(owner) if owner else None,
            "shutdown": ("no", "drain", "immediate")[memlane_ring_shutdown(self.control)],
        }


cdef class Endpoint:
    """What all handles have: the ring they lead to, whether they are closed, how they wait."""

    cdef RingState state
    cdef bint _closed
    cdef uint64_t sends               # epoch in which it was counted among the users of a ProducerRole
    cdef uint64_t receives            # ... of the ConsumerRole
    cdef uint64_t opens               # ... of the RingState, if it may write there
    cdef int wait
    cdef bint require_peer            # of every call

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
    cdef RingState state_of(self):
        if self._closed:
            self.check()
        self.state.membership.check_whole()
        return self.state

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

    cdef ProducerRole producer_role(self):
        return None

    cdef void leave_roles(self) noexcept:
        """Refuse new work; give back each role that this handle was the last to use."""
        if self._closed:
            return
        self._closed = True
        self.give_roles_back()

    cdef void give_roles_back(self) noexcept:
        cdef ProducerRole sending = self.producer_role()
        if sending is not None:
            if sending.users.remove(&self.sends):
                sending.depart()
            elif memlane_fork_is(sending.epoch) and not self.state.membership.closed:
                sending.wake_all()  # a put of this handle may sleep there
        if self.state.receiving.users.remove(&self.receives):
            self.state.receiving.leave()
        self.state.leave(&self.opens)

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    def __bool__(self):
        return True
