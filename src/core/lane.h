/* SPDX-License-Identifier: MIT
 *
 * A lane: the ring buffer of one producer, what its producer (lane_producer.h), its one consumer (lane_consumer.h) or
 * its many consumers (lane_consumers.h) share.
 *
 * Record number s (64 bits, only grows) uses descriptor s mod N. Its payload is contiguous in the bytes
 * of the lane, a circular allocator over [offset of the oldest record, write offset).
 *
 *   descriptors   | FREE | READY | READY | READY | NONE  | NONE |        N = power of two
 *                          ^head           ^       ^ next commit
 *                                          next take
 *   bytes         |....  |oldest .. ...................|write ...|
 *
 * Commit is one compare-and-swap of a state word to (s, READY); before it nothing of a record is in
 * shared memory that anybody looks at. A consumer polls the state of its next record; there is no shared
 * tail to wait on (`tail` is a hint for lengths and for adoption).
 *
 *                       may run at the same time, in any processes
 *                       producer_*   consumer_*   release   length
 *   producer_*              no          yes         yes       yes     (one lock a lane keeps threads apart)
 *   consumer_*             yes           no         yes       yes     (one lock a ring keeps threads apart)
 *   consumer_release       yes          yes         yes       yes     needs no lock
 *
 * Progress: every function is wait-free but for memory that is copied; none ever waits for the other side.
 * If a process dies at the worst moment: a producer between two stores has committed its record or has
 * done nothing; a batch is committed by its first record alone, and what was staged behind it is voided by the adopter
 * of the lane. A consumer has moved `head` or the record is handed out again. It is not for two producers on one lane.
 *
 * Nothing read from the lane is trusted: a word is read once into a local, checked against the private
 * geometry, then used; what looks impossible is read again before it is called corrupt.
 */
#ifndef MEMLANE_LANE_H
#define MEMLANE_LANE_H

#include <stdbool.h>
#include <string.h>

#include "core/ring_layout.h"
#include "core/waiters.h"
#include "core/words.h"

/* Of a long payload only the beginning: processors foresee the rest by themselves. */
#define MEMLANE_PREFETCH_MAX UINT64_C(1024)

/* One process's view of a lane: addresses and geometry, private and fixed. */
struct memlane_lane {
    struct memlane_lane_control *control;
    struct memlane_descriptor *descriptors; /* and as many stamps behind them */
    unsigned char *bytes;
    uint64_t capacity; /* of bytes, a multiple of 8 */
    uint64_t records; /* at most this many at a time, 1 to mask + 1 */
    uint64_t mask; /* N - 1 */
    bool many; /* consumers: then the producer moves `head` */
};

/* Where a payload lies: checked, private. */
struct memlane_extent {
    uint64_t offset;
    uint64_t nbytes;
};

static inline uint64_t memlane_state(uint64_t s, enum memlane_state kind) {
    return (s >> 29) << 32 | (s & ((UINT64_C(1) << 29) - 1)) << 3 | (uint64_t)kind;
}

static inline uint64_t memlane_extent_word(uint64_t offset, uint64_t nbytes) { return nbytes << 32 | offset >> 3; }

/* Bytes that a record of `nbytes` occupies: a multiple of 8, never 0, so that full and empty differ. */
static inline uint64_t memlane_occupied(uint64_t nbytes) { return nbytes ? (nbytes + 7) & ~UINT64_C(7) : 8; }

static inline uint64_t memlane_max_record(const struct memlane_lane *lane) {
    return lane->capacity < MEMLANE_RECORD_MAX ? lane->capacity : MEMLANE_RECORD_MAX;
}

static inline struct memlane_descriptor *memlane_descriptor_of(const struct memlane_lane *lane, uint64_t s) {
    return &lane->descriptors[s & lane->mask];
}

static inline _Atomic uint64_t *memlane_lane_stamp_of(const struct memlane_lane *lane, uint64_t s) {
    return (_Atomic uint64_t *)(lane->descriptors + lane->mask + 1) + (s & lane->mask);
}

/* Read the extent of a record and check it against the geometry.
 * Callers: any that saw the state of `s`. Progress: wait-free. Ordering: none of its own.
 * Returns: MEMLANE_OK; MEMLANE_CORRUPTED if it is out of bounds twice. */
static inline enum memlane_status memlane_extent_of(const struct memlane_lane *lane, uint64_t s,
                                                    struct memlane_extent *extent) {
    for (int look = 0; look < 2; look++) {
        /* relaxed: the acquire load of the state that made us look has ordered it; a look without one
         * (memlane_lane_prefetch) decides nothing by it */
        uint64_t word = atomic_load_explicit(&memlane_descriptor_of(lane, s)->extent, memory_order_relaxed);
        extent->offset = (word & UINT32_MAX) << 3;
        extent->nbytes = word >> 32;
        if (extent->offset <= lane->capacity && memlane_occupied(extent->nbytes) <= lane->capacity - extent->offset)
            return MEMLANE_OK;
    }
    return MEMLANE_CORRUPTED;
}

/* Up to where records have been released, got and put, for statistics.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: the number. */
static inline uint64_t memlane_lane_head(const struct memlane_lane *lane) {
    return atomic_load_explicit(&lane->control->head, memory_order_relaxed); /* relaxed: for people */
}

static inline uint64_t memlane_lane_got(const struct memlane_lane *lane) {
    if (!lane->many)
        return memlane_lane_head(lane);
    return atomic_load_explicit(&lane->control->taken, memory_order_relaxed); /* relaxed: for people */
}

static inline uint64_t memlane_lane_tail(const struct memlane_lane *lane) {
    return atomic_load_explicit(&lane->control->tail, memory_order_relaxed); /* relaxed: for people */
}

/* Records in the lane, as a snapshot that was about true at some moment.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: 0 to records. */
static inline uint64_t memlane_lane_length(const struct memlane_lane *lane) {
    uint64_t head = memlane_lane_got(lane);
    /* relaxed: a number for people and for estimates; nothing is decided by it */
    uint64_t tail = atomic_load_explicit(&lane->control->tail, memory_order_relaxed);
    uint64_t length = tail - head;
    if ((int64_t)length < 0)
        return 0; /* `tail` is stored after the commit: the consumer may be ahead of it */
    return length < lane->records ? length : lane->records;
}

/* Up to where a producer has committed that is gone: `tail`, and what it could not say any more.
 * Callers: anyone, once the producer has ended; as long as another one goes on it is a snapshot. Progress: bounded by
 * the number of descriptors. Ordering: acquire. Returns: the number of the first record that is not committed. */
static inline uint64_t memlane_lane_end(const struct memlane_lane *lane) {
    /* sync: lane.tail. acquire: pairs with memlane_producer_hint */
    uint64_t end = atomic_load_explicit(&lane->control->tail, memory_order_acquire);
    for (uint64_t steps = 0; steps <= lane->mask; steps++, end++) {
        /* sync: descriptor.state. acquire: as in memlane_producer_adopt; a record that is not committed is not passed,
         * so nothing staged is met */
        uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, end)->state, memory_order_acquire);
        if (state != memlane_state(end, MEMLANE_STATE_READY) && state != memlane_state(end, MEMLANE_STATE_FREE) &&
            (uint32_t)state != (uint32_t)memlane_state(end, MEMLANE_STATE_TAKEN)) /* the high half is a tag */
            break;
    }
    return end;
}

/* A record s that was committed when the clock of the stamps showed `now`. */
static inline uint64_t memlane_stamp_word(uint64_t s, uint64_t now) {
    const uint64_t ticks = now >> MEMLANE_TICK_BITS & ((UINT64_C(1) << MEMLANE_STAMP_TICKS_BITS) - 1);
    return s << MEMLANE_STAMP_TICKS_BITS | ticks;
}

/* Since when the oldest record has waited that nobody has taken or given back, at the latest: the time of the first
 * record from it on that has a stamp, which is at most MEMLANE_STAMP_EACH - 1 further. For statistics.
 * Callers: anyone, of a lane that was leased; `clock` tells its own clock from others. Progress: bounded by *steps, of
 * which it takes those that it made, and MEMLANE_STAMP_EACH. Ordering: acquire. Returns: ns, 0: no record, or not
 * known; a time to come where a stamp is corrupted. */
static inline uint64_t memlane_lane_waits_since(const struct memlane_lane *lane, uint64_t clock, uint64_t *steps) {
    /* sync: lane.clock. acquire: a process that sees our clock sees no stamp of another one; pairs with
     * memlane_producer_clock */
    if (clock == 0 || atomic_load_explicit(&lane->control->clock, memory_order_acquire) != clock)
        return 0;
    uint64_t s = memlane_lane_head(lane);
    for (uint64_t looks = 0;; looks++, s++) {
        /* relaxed, as all of the rest: for people */
        uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_relaxed);
        if (state == memlane_state(s, MEMLANE_STATE_READY))
            break;
        if ((state != memlane_state(s, MEMLANE_STATE_FREE) &&
             (uint32_t)state != (uint32_t)memlane_state(s, MEMLANE_STATE_TAKEN)) || /* the high half is a tag */
            looks > lane->mask ||
            *steps == 0)
            return 0;
        *steps -= 1;
    }
    for (uint64_t looks = 0; looks < MEMLANE_STAMP_EACH; looks++, s++) {
        /* relaxed: for people */
        uint64_t stamp = atomic_load_explicit(memlane_lane_stamp_of(lane, s), memory_order_relaxed);
        uint64_t ticks = stamp & ((UINT64_C(1) << MEMLANE_STAMP_TICKS_BITS) - 1);
        if (ticks != 0 &&
            stamp >> MEMLANE_STAMP_TICKS_BITS == s << MEMLANE_STAMP_TICKS_BITS >> MEMLANE_STAMP_TICKS_BITS)
            return ticks << MEMLANE_TICK_BITS;
    }
    return 0;
}

/* How often a put found no room, for statistics.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: the number. */
static inline uint64_t memlane_lane_full(const struct memlane_lane *lane) {
    return atomic_load_explicit(&lane->control->full, memory_order_relaxed); /* relaxed: for people */
}

/* ---- shutdown -------------------------------------------------------------------------------- */

/* 0, or how the ring is to come to its end.
 * Callers: any; the producer before every claim and after every look at head. Progress: wait-free.
 * Ordering: seq_cst. Returns: 0, MEMLANE_SHUTDOWN_DRAIN or, for anything else, MEMLANE_SHUTDOWN_DROP. */
static inline uint32_t memlane_ring_shutdown(struct memlane_ring_control *control) {
    /* sync: ring.shutdown. seq_cst: after the load of head that found new room, see memlane_producer_refresh.
     * Pairs with memlane_ring_shut. */
    uint32_t shutdown = atomic_load_explicit(&control->shutdown, memory_order_seq_cst);
    return shutdown < MEMLANE_SHUTDOWN_DROP ? shutdown : MEMLANE_SHUTDOWN_DROP;
}

/* Shut the ring down; dropping wins over draining.
 * Callers: anyone with write access. Progress: lock-free. Ordering: full fence, the caller may look at waiters.count
 * in any way next. Returns: nothing. */
static inline void memlane_ring_shut(struct memlane_ring_control *control, uint32_t how) {
    /* relaxed: only what the CAS expects */
    uint32_t found = atomic_load_explicit(&control->shutdown, memory_order_relaxed);
    while (found < how &&
           /* sync: ring.shutdown. seq_cst: pairs with memlane_ring_shutdown */
           !atomic_compare_exchange_weak_explicit(&control->shutdown, &found, how, memory_order_seq_cst,
                                                  memory_order_relaxed)) {
    }
    /* sync: waiters.count. seq_cst fence: the flag is visible before anybody looks for sleepers, which
     * memlane_waiters_withdraw does by a relaxed load. Without it that load may pass the store, and a get that is
     * just announcing itself sleeps a recheck interval in a ring that has ended. Pairs with memlane_waiters_announce. */
    atomic_thread_fence(memory_order_seq_cst);
}

/* ---- the owner of a lane, and how many lanes are in use -------------------------------------- */

/* Take a lane from `found` (never leased, departed, or a tag proven dead).
 *
 * Callers:  anyone who wants to produce; the memory of the lane is reserved already.
 * Progress: wait-free.
 * Ordering: acquire: what the owner before did is visible.
 * Returns:  true: it is ours, memlane_producer_adopt comes next; false: somebody else was faster. */
static inline bool memlane_lane_lease(struct memlane_lane_control *control, uint32_t found, uint32_t tag) {
    /* sync: lane.owner. acq_rel: pairs with memlane_lane_depart. Failure relaxed: nothing was taken. */
    return atomic_compare_exchange_strong_explicit(&control->owner, &found, tag, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* Give a lane back; its backlog stays for the consumer, the lane for the next producer.
 * Callers: the producer. Progress: wait-free. Ordering: release. Returns: false: it was taken from us. */
static inline bool memlane_lane_depart(struct memlane_lane_control *control, uint32_t tag) {
    /* sync: lane.owner. release: pairs with memlane_lane_lease; the adopter sees all our states. A CAS,
     * because one taken for dead must not free the lane of its successor. */
    return atomic_compare_exchange_strong_explicit(&control->owner, &tag, MEMLANE_OWNER_DEPARTED, memory_order_release,
                                                   memory_order_relaxed);
}

/* The owner of a lane: a tag, or one of MEMLANE_OWNER_*.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: the owner word. */
static inline uint32_t memlane_lane_owner(const struct memlane_lane_control *control) {
    /* sync: lane.owner. acquire: a lane that was leased has its memory reserved; pairs with memlane_lane_lease */
    return atomic_load_explicit(&control->owner, memory_order_acquire);
}

/* Close a lane that nobody ever leased, without touching its unreserved memory, once the shutdown flag is up.
 * Callers: a consumer; anyone who ends a topic. Progress: wait-free. Ordering: acq_rel.
 * Returns: MEMLANE_CLOSED; MEMLANE_BUSY: it has been leased meanwhile. */
static inline enum memlane_status memlane_lane_close_unleased(struct memlane_lane_control *control) {
    uint32_t found = MEMLANE_OWNER_NEVER;
    /* sync: lane.owner. acq_rel: against memlane_lane_lease, one of the two wins; failure acquire: then
     * the lane is looked at as a leased one. */
    if (atomic_compare_exchange_strong_explicit(&control->owner, &found, MEMLANE_OWNER_CLOSED, memory_order_acq_rel,
                                                memory_order_acquire))
        return MEMLANE_CLOSED;
    return found == MEMLANE_OWNER_CLOSED ? MEMLANE_CLOSED : MEMLANE_BUSY;
}

/* Tell consumers that the first `lanes` lanes have been leased.
 * Callers: a new owner, before its first commit. Progress: lock-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_ring_raise_leased(struct memlane_ring_control *control, uint32_t lanes) {
    /* relaxed: only what the CAS expects */
    uint32_t leased = atomic_load_explicit(&control->leased, memory_order_relaxed);
    while (leased < lanes &&
           /* sync: ring.leased. seq_cst: before the look at waiters.count that follows the first commit in the
            * total order, or a consumer could sleep without knowing of this lane. Pairs with the load in
            * memlane_ring_leased. */
           !atomic_compare_exchange_weak_explicit(&control->leased, &leased, lanes, memory_order_seq_cst,
                                                  memory_order_relaxed)) {
    }
}

/* How many lanes a consumer has to walk, never more than there are.
 * Callers: any. Progress: wait-free. Ordering: seq_cst. Returns: 0 to lanes. */
static inline uint32_t memlane_ring_leased(struct memlane_ring_control *control, uint32_t lanes) {
    /* sync: ring.leased. seq_cst: after waiters.count was announced; a plain load on common machines */
    uint32_t leased = atomic_load_explicit(&control->leased, memory_order_seq_cst);
    return leased < lanes ? leased : lanes;
}

#endif
