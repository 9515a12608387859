/* SPDX-License-Identifier: MIT
 *
 * A look at the records of a ring by a process that takes none and that nobody waits for: the tools of an operator.
 *
 * It only loads. A record may be taken, released and overwritten while it is copied, so a copy counts only if
 * memlane_lane_still_has says so behind it. A look begins at a record whose predecessor was committed, and goes on one
 * by one: so nothing of a batch is met that is staged and not committed.
 */
#ifndef MEMLANE_LANE_LOOK_H
#define MEMLANE_LANE_LOOK_H

#include "core/lane.h"

/* Whether record s, as its state says, is there for a consumer, or in the hand of one. */
static inline bool memlane_lane_holds(const struct memlane_lane *lane, uint64_t s, uint64_t state) {
    return state == memlane_state(s, MEMLANE_STATE_READY) ||
           (lane->many && (uint32_t)state == (uint32_t)memlane_state(s, MEMLANE_STATE_TAKEN)); /* above: a tag */
}

/* Whether all that was read of record s was read before it was released.
 *
 * Callers:  anyone, behind a copy. Progress: wait-free. Ordering: acquire fence.
 * Returns:  true: the copy is what was put; false: it may be anything.
 *
 * A producer overwrites a record only after it has acquired its release: `head` behind it or, with many consumers, its
 * state FREE. If one byte of ours was the producer's, that release was visible before the byte was, and the looks below
 * are behind our read of it. The producer has no release fence in front of its bytes, as a topic has: this pair stands
 * on processors on which a store that one of them has seen is seen by all (x86, ARMv8, RISC-V), and a wrong guess would
 * show an operator a torn record. Nothing in shared memory is decided by it. */
static inline bool memlane_lane_still_has(const struct memlane_lane *lane, uint64_t s) {
    /* sync: lane.head. sync: descriptor.state (free). acquire fence: all was read before these looks. Pairs with
     * memlane_consumer_finish, memlane_consumer_advance and memlane_many_free. Without it a torn record could pass. */
    atomic_thread_fence(memory_order_acquire);
    /* relaxed, both: the fence has done the ordering */
    uint64_t head = atomic_load_explicit(&lane->control->head, memory_order_relaxed);
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_relaxed);
    return (int64_t)(head - s) <= 0 && memlane_lane_holds(lane, s, state);
}

/* The tag of the consumer that has record s in hand, for statistics; many consumers alone say that.
 * Callers: anyone, of a lane that was leased. Progress: wait-free. Ordering: none. Returns: the tag; 0: nobody's. */
static inline uint32_t memlane_lane_hand(const struct memlane_lane *lane, uint64_t s) {
    /* relaxed: for people */
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_relaxed);
    bool is_taken = lane->many && (uint32_t)state == (uint32_t)memlane_state(s, MEMLANE_STATE_TAKEN);
    return is_taken ? (uint32_t)(state >> 32) : 0;
}

/* How many bytes record s has or had, for statistics: a descriptor tells until it is used again, whoever has released
 * the record.
 * Callers: anyone, of a lane that was leased. Progress: wait-free. Ordering: none. Returns: the number; 0 where the word
 * is none that a sound program writes. */
static inline uint64_t memlane_lane_nbytes_of(const struct memlane_lane *lane, uint64_t s) {
    /* relaxed: for people */
    uint64_t word = atomic_load_explicit(&memlane_descriptor_of(lane, s)->extent, memory_order_relaxed);
    return word >> 32 <= lane->capacity ? word >> 32 : 0;
}

/* Look at record s without taking it.
 *
 * Callers:  anyone, of a lane that was leased. Progress: wait-free. Ordering: on MEMLANE_OK the payload may be copied.
 * Returns:  MEMLANE_OK and *extent, memlane_lane_still_has comes behind the copy; MEMLANE_LAPPED: it was released;
 *           MEMLANE_EMPTY: not committed yet; MEMLANE_CLOSED: it never will be; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_lane_look(const struct memlane_lane *lane, uint64_t s,
                                                    struct memlane_extent *extent) {
    /* sync: descriptor.state. acquire: payload and extent are visible; as in memlane_consumer_peek */
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_acquire);
    /* sync: lane.head. acquire fence: the state was loaded before this look, so one of a later round is found released;
     * as in memlane_lane_still_has */
    atomic_thread_fence(memory_order_acquire);
    /* relaxed: the fence has done the ordering. One consumer leaves the state of what it released as it was. */
    if ((int64_t)(atomic_load_explicit(&lane->control->head, memory_order_relaxed) - s) > 0 ||
        state == memlane_state(s, MEMLANE_STATE_FREE))
        return MEMLANE_LAPPED;
    if (!memlane_lane_holds(lane, s, state))
        return state == memlane_state(s, MEMLANE_STATE_CLOSED) ? MEMLANE_CLOSED : MEMLANE_EMPTY;
    if (memlane_extent_of(lane, s, extent) == MEMLANE_OK)
        return MEMLANE_OK;
    return memlane_lane_still_has(lane, s) ? MEMLANE_CORRUPTED : MEMLANE_LAPPED;
}

#endif
