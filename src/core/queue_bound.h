/* SPDX-License-Identifier: MIT
 *
 * The bound of a queue: at most `maxsize` records in all its lanes, whatever dies.
 *
 * A put needs a permit. Permits are only ever granted, never taken back; what makes room is told by the lanes themselves:
 *
 *   granted - taken of each lane - returned of each lane  =  records in the queue, and permits in the hands of producers
 *
 * So a get does nothing for the bound but to move `taken`, as it does anyway. `returned` are the permits of a lane that were
 * never used.
 *
 *   granted   [ permits so far : 44 | the lane of the last grant : 10 | how many it got : 10 ]
 *   grant     [ permits of this lane so far, modulo 2^20 : 20 | `granted` after its last grant : 44 ]
 *
 * A grant is one compare-and-swap of `granted`. Before it is replaced by the next one it is noted in the `grant` of its lane, by
 * whichever process comes next. So the permits of a lane are always known; beside the records of the lane they say how many its
 * dead producer had in hand, and its adopter returns those.
 *
 * The sum of what is gone only grows. A producer keeps the last sum that it has made, and makes a new one when no room
 * seems to be left: an old one is too small, and grants too little.
 */
#ifndef MEMLANE_QUEUE_BOUND_H
#define MEMLANE_QUEUE_BOUND_H

#include "core/lane_consumers.h"
#include "core/lane_producer.h"
#include "core/queue_layout.h"

#define MEMLANE_PERMITS_BITS 10u /* of the lane, and of how many it got */
#define MEMLANE_PERMITS_MAX ((UINT64_C(1) << MEMLANE_PERMITS_BITS) - 1) /* at a time */
#define MEMLANE_PERMITS_COUNT_BITS 44u
#define MEMLANE_PERMITS_COUNT_MASK ((UINT64_C(1) << MEMLANE_PERMITS_COUNT_BITS) - 1)
static_assert(MEMLANE_LANES_MAX <= MEMLANE_PERMITS_MAX + 1, "a lane has a number in a grant");

/* What a producer knows of the bound. Private to it. */
struct memlane_bound {
    struct memlane_queue_control *control;
    struct memlane_queue_lane *of_lanes;
    const struct memlane_many *many; /* of all lanes */
    uint64_t maxsize;
    uint64_t gone; /* the last sum */
    uint64_t in_hand; /* permits that are not used yet */
    uint32_t lanes, lane; /* of the queue; ours */
};

static inline uint64_t memlane_granted_count(uint64_t granted) { return granted >> 2 * MEMLANE_PERMITS_BITS; }

static inline uint64_t memlane_granted_word(uint64_t count, uint32_t lane, uint64_t amount) {
    return count << 2 * MEMLANE_PERMITS_BITS | (uint64_t)lane << MEMLANE_PERMITS_BITS | amount;
}

/* Note the last grant at its lane, unless that is done.
 * Callers: any process, before it replaces `granted`, which it has read. Progress: wait-free. Ordering: acq_rel. Returns: nothing. */
static inline void memlane_bound_note(const struct memlane_bound *bound, uint64_t granted) {
    const uint64_t amount = granted & MEMLANE_PERMITS_MAX, count = memlane_granted_count(granted);
    const uint32_t lane = (uint32_t)(granted >> MEMLANE_PERMITS_BITS & MEMLANE_PERMITS_MAX);
    if (amount == 0 || lane >= bound->lanes)
        return;
    _Atomic uint64_t *grant = &bound->of_lanes[lane].grant;
    /* sync: queue.grant. acquire: before the second look at `granted`; pairs with the CAS below */
    uint64_t found = atomic_load_explicit(grant, memory_order_acquire);
    if ((found & MEMLANE_PERMITS_COUNT_MASK) == count)
        return;
    /* sync: queue.granted. seq_cst: if it is still the last grant then what was found is from before it was noted, or from
     * after; else somebody has noted it, and a note of ours would count it twice. Pairs with memlane_bound_take. */
    if (atomic_load_explicit(&bound->control->granted, memory_order_seq_cst) != granted)
        return;
    uint64_t total = (found >> MEMLANE_PERMITS_COUNT_BITS) + amount;
    /* sync: queue.grant. acq_rel: of all who note it one does, and it is noted before `granted` is replaced. Failure relaxed:
     * it has been noted. */
    atomic_compare_exchange_strong_explicit(grant, &found, total << MEMLANE_PERMITS_COUNT_BITS | count,
                                            memory_order_acq_rel, memory_order_relaxed);
}

/* Move `taken` over what was taken: a consumer that died, or is stopped, before it did so must not keep room.
 * Callers: anyone, of a lane that was leased. Progress: bounded by the number of descriptors. Ordering: acquire. Returns: `taken`. */
static inline uint64_t memlane_bound_taken(const struct memlane_lane *lane) {
    uint64_t s = memlane_many_taken(lane);
    for (uint64_t steps = 0; steps <= lane->mask; steps++) {
        /* sync: descriptor.state. seq_cst: behind the announcement of a put that waits; pairs with memlane_many_claim */
        uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_seq_cst);
        if (memlane_state_beyond(state, s) != 0 ||
            (memlane_state_kind(state) != MEMLANE_STATE_TAKEN && memlane_state_kind(state) != MEMLANE_STATE_FREE))
            break;
        memlane_many_help(lane, s, s + 1);
        s = memlane_many_taken(lane);
    }
    return s;
}

/* Sum up what is gone. Callers: anyone. Progress: bounded. Ordering: acquire. Returns: the sum; at least what it was when
 * this began. */
static inline uint64_t memlane_bound_gone(const struct memlane_bound *bound) {
    const uint32_t leased = memlane_ring_leased(&bound->control->ring, bound->lanes);
    uint64_t gone = 0;
    for (uint32_t lane = 0; lane < leased; lane++)
        /* sync: queue.returned. seq_cst: pairs with memlane_bound_return */
        gone += memlane_bound_taken(&bound->many[lane].lane) +
                atomic_load_explicit(&bound->of_lanes[lane].returned, memory_order_seq_cst);
    return gone;
}

/* Permits that may be granted, when so many have been and so many are gone. */
static inline uint64_t memlane_bound_room(const struct memlane_bound *bound, uint64_t granted) {
    uint64_t used = (memlane_granted_count(granted) - bound->gone) & MEMLANE_PERMITS_COUNT_MASK;
    return used < bound->maxsize ? bound->maxsize - used : 0;
}

/* Have permits in hand, up to `wanted`.
 *
 * Callers:  the producer of a lane, before its claim; memlane_bound_use follows the commit.
 * Progress: lock-free: an attempt fails because another producer has got permits. A look at all lanes where no room seems
 *           to be left.
 * Ordering: seq_cst.
 * Returns:  MEMLANE_OK: bound->in_hand is 1 to `wanted`, or more from before; MEMLANE_FULL: there were `maxsize` records
 *           and permits at some moment of this call.
 * If the producer dies inside: the permits are known to be its lane's, and its adopter returns them. */
static inline enum memlane_status memlane_bound_take(struct memlane_bound *bound, uint64_t wanted) {
    while (bound->in_hand == 0) {
        /* sync: queue.granted. seq_cst: before the sum; pairs with the CAS below */
        uint64_t granted = atomic_load_explicit(&bound->control->granted, memory_order_seq_cst);
        memlane_bound_note(bound, granted);
        uint64_t room = memlane_bound_room(bound, granted);
        if (room == 0) {
            bound->gone = memlane_bound_gone(bound);
            room = memlane_bound_room(bound, granted);
        }
        /* sync: queue.granted. seq_cst: else others were granted some while we summed up, which may even be gone by now; then
         * the sum says nothing about the beginning */
        if (room == 0 && atomic_load_explicit(&bound->control->granted, memory_order_seq_cst) == granted)
            return MEMLANE_FULL;
        if (room == 0)
            continue;
        uint64_t amount = wanted < room ? wanted : room;
        if (amount > MEMLANE_PERMITS_MAX)
            amount = MEMLANE_PERMITS_MAX;
        uint64_t ours = memlane_granted_word(memlane_granted_count(granted) + amount, bound->lane, amount);
        /* sync: queue.granted. seq_cst: of all who want permits one gets them; the last grant was noted before. Pairs with
         * itself. Failure relaxed: another producer has got some. */
        if (atomic_compare_exchange_strong_explicit(&bound->control->granted, &granted, ours, memory_order_seq_cst,
                                                    memory_order_relaxed)) {
            memlane_bound_note(bound, ours);
            bound->in_hand = amount;
        }
    }
    return MEMLANE_OK;
}

/* Records were committed with permits in hand. Callers: the producer. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_bound_use(struct memlane_bound *bound, uint64_t records) { bound->in_hand -= records; }

/* Return what is in hand and not used: another producer may have it.
 * Callers: the producer, no commit under way; it looks at `putters` next, and wakes. Progress: wait-free. Ordering: seq_cst.
 * Returns: nothing.
 * If the producer dies inside: its adopter returns them. */
static inline void memlane_bound_return(struct memlane_bound *bound) {
    /* sync: queue.returned. seq_cst: before the look at putters; pairs with memlane_bound_gone. Only the owner of the lane
     * stores it. */
    atomic_fetch_add_explicit(&bound->of_lanes[bound->lane].returned, bound->in_hand, memory_order_seq_cst);
    bound->in_hand = 0;
}

/* Return what the last producer of the lane had in hand.
 * Callers: the new owner, behind memlane_producer_adopt, which found `next`. May be repeated: dying in it is harmless.
 * Progress: wait-free. Ordering: seq_cst. Returns: MEMLANE_OK, the caller looks at `putters`; MEMLANE_CORRUPTED: no producer
 * can have so many in hand. */
static inline enum memlane_status memlane_bound_adopt(struct memlane_bound *bound, uint64_t next) {
    struct memlane_queue_lane *lane = &bound->of_lanes[bound->lane];
    bound->gone = bound->in_hand = 0;
    for (int look = 0; look < 2; look++) {
        /* sync: queue.granted. seq_cst: the last grant may be that of the dead; pairs with memlane_bound_take */
        memlane_bound_note(bound, atomic_load_explicit(&bound->control->granted, memory_order_seq_cst));
        /* sync: queue.grant. acquire: pairs with memlane_bound_note */
        uint64_t total = atomic_load_explicit(&lane->grant, memory_order_acquire) >> MEMLANE_PERMITS_COUNT_BITS;
        /* relaxed: only owners store it, and the lane changed hands since */
        uint64_t returned = atomic_load_explicit(&lane->returned, memory_order_relaxed);
        uint64_t in_hand = (total - next - returned) & ((UINT64_C(1) << (64 - MEMLANE_PERMITS_COUNT_BITS)) - 1);
        if (in_hand > MEMLANE_PERMITS_MAX)
            continue;
        bound->in_hand = in_hand;
        memlane_bound_return(bound);
        return MEMLANE_OK;
    }
    return MEMLANE_CORRUPTED;
}

/* The second look of a put that waits for a permit.
 * Callers: a producer, after memlane_waiters_announce at `putters`. Progress: bounded. Ordering: full fence.
 * Returns: true: try again before sleeping. */
static inline bool memlane_bound_any(struct memlane_bound *bound) {
    /* sync: waiters.count. seq_cst fence: the announcement is before the looks at the lanes; pairs with the fence of
     * memlane_waiters_any_fenced behind a take. Without it a put sleeps beside the room that a get has just made. */
    atomic_thread_fence(memory_order_seq_cst);
    if (memlane_ring_shutdown(&bound->control->ring))
        return true;
    bound->gone = memlane_bound_gone(bound);
    /* sync: queue.granted. seq_cst: as in memlane_bound_take */
    return memlane_bound_room(bound, atomic_load_explicit(&bound->control->granted, memory_order_seq_cst)) != 0;
}

#endif
