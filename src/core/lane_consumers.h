/* SPDX-License-Identifier: MIT
 *
 * A lane with many consumers: what takes the place of lane_consumer.h.
 *
 * A consumer makes a record its own by a compare-and-swap of the record's state word, so nobody holds a lock
 * and a consumer that is stopped keeps nothing from the others but the record in its hand.
 *
 *   state of a record   NONE -> READY -> TAKEN by tag -> FREE -> (head passes) -> the next round
 *                                          |   ^
 *                                          +---+  tag dead, or 0: handed back
 *
 *   descriptors   | FREE | TAKEN | FREE | TAKEN | READY | NONE |
 *                   ^head  ^low                   ^taken
 *
 * `taken` is a hint that only grows: a process that finds the record there taken helps it along. `low` is private to a
 * process: everything before it is free. Only the producer moves `head`, when it needs room.
 *
 *                     may run at the same time, in any processes and threads
 *   every function    yes: no lock anywhere, neither in shared memory nor in the process
 *
 * Progress: lock-free; a step that fails does so because another one has got on.
 * If a process dies at the worst moment: between two steps of a take the record bears its tag, and is handed out
 * again by the process that meets the tag and proves it dead; `taken` is helped along by the next one.
 */
#ifndef MEMLANE_LANE_CONSUMERS_H
#define MEMLANE_LANE_CONSUMERS_H

#include "core/lane.h"

/* Descriptors that are looked at in one step that other threads of the process may have to wait for: some microseconds
 * even where none of them is in the cache. What is left over is looked at by the next step. */
#define MEMLANE_LOOKS_WITH_GIL UINT64_C(512)

/* One process's private state for one lane. Its threads share it without a lock. */
struct memlane_many {
    struct memlane_lane lane;
    /* relaxed everywhere: every number between `head` and the truth is right, only slower */
    _Atomic uint64_t low;
    /* relaxed everywhere: in front of it no record was in a dead hand when it was last looked at. Between two passes
     * over a lane only what is new is looked at, however much was freed behind a record that somebody keeps */
    _Atomic uint64_t scanned;
};

/* A record that may be taken: where it is, and what its state word has to be still. */
struct memlane_found {
    uint64_t s;
    uint64_t state;
    struct memlane_extent extent;
};

static inline uint64_t memlane_state_taken(uint64_t s, uint32_t tag) {
    return (uint64_t)tag << 32 | (uint32_t)memlane_state(s, MEMLANE_STATE_TAKEN);
}

static inline enum memlane_state memlane_state_kind(uint64_t state) { return (enum memlane_state)(state & 7); }

static inline uint32_t memlane_state_tag(uint64_t state) { return (uint32_t)(state >> 32); }

/* How far the record that a state word speaks of lies behind `s`: negative if it is of an earlier round. A taken
 * one shows only 29 bits of its number, which is 32 rounds of the largest ring. */
static inline int32_t memlane_state_beyond(uint64_t state, uint64_t s) {
    uint32_t apart = ((uint32_t)state >> 3) - (uint32_t)s;
    return (int32_t)(apart << 3) / 8;
}

/* Begin to look. Callers: a process that has a new private state. Progress: wait-free. Ordering: none. Returns:
 * nothing. */
static inline void memlane_many_start(struct memlane_many *many) {
    uint64_t head = memlane_lane_head(&many->lane);
    atomic_store_explicit(&many->low, head, memory_order_relaxed); /* relaxed: see the field */
    atomic_store_explicit(&many->scanned, head, memory_order_relaxed); /* relaxed: see the field */
}

/* Say that the records before `end` have been taken.
 * Callers: a process that has seen that. Progress: wait-free; a hint that stays behind is helped along by the next
 * look.
 * Ordering: acq_rel. Returns: nothing. */
static inline void memlane_many_help(const struct memlane_lane *lane, uint64_t s, uint64_t end) {
    for (int tries = 0; tries < 8 && (int64_t)(end - s) > 0; tries++)
        if (/* sync: lane.taken. release: a process that reads it sees the TAKEN states before it, or a ring that is shut down
             * could seem to be drained while records are taken; acquire: for the same reason when we go on from
             * what another one stored. Pairs with itself and memlane_many_taken. */
            atomic_compare_exchange_strong_explicit(&lane->control->taken, &s, end, memory_order_acq_rel,
                                                    memory_order_acquire))
            return;
}

/* The number that consumers take next, for those who walk the lane and for statistics.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: the number. */
static inline uint64_t memlane_many_taken(const struct memlane_lane *lane) {
    /* sync: lane.taken. acquire: pairs with memlane_many_help */
    return atomic_load_explicit(&lane->control->taken, memory_order_acquire);
}

/* Look for a fresh record, from `s` on, which is what was read of `taken`.
 *
 * Callers:  memlane_many_look and tests; a snapshot, memlane_many_take decides.
 * Progress: lock-free; at most two rounds of helping, then it gives up for now.
 * Ordering: on MEMLANE_OK the payload may be read once the record is taken.
 * Returns:  MEMLANE_OK and *found; MEMLANE_EMPTY, with found->s the next number; MEMLANE_CLOSED; MEMLANE_BUSY, others
 *           move too fast or the bytes are corrupted, look again; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_many_look_from(const struct memlane_many *many, uint64_t s,
                                                         struct memlane_found *found) {
    const struct memlane_lane *lane = &many->lane;
    for (uint64_t steps = 0; steps <= 2 * lane->mask + 2; steps++) {
        /* sync: descriptor.state. acquire: payload and extent of a READY record are visible, also when it went
         * through other hands, since each step of a state word is a read-modify-write. Pairs with
         * memlane_producer_publish. */
        uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_acquire);
        found->s = s;
        found->state = state;
        if (state == memlane_state(s, MEMLANE_STATE_READY))
            return memlane_extent_of(lane, s, &found->extent);
        if (state == memlane_state(s, MEMLANE_STATE_CLOSED))
            return MEMLANE_CLOSED;
        int32_t beyond = memlane_state_beyond(state, s);
        if (beyond < 0 || (beyond == 0 && memlane_state_kind(state) != MEMLANE_STATE_TAKEN &&
                           memlane_state_kind(state) != MEMLANE_STATE_FREE)) {
            uint64_t again = memlane_many_taken(lane); /* a stale number says nothing about emptiness */
            if (again == s)
                return MEMLANE_EMPTY;
            s = again;
            continue;
        }
        /* A record of a later round is here only after `head` has passed this one; the acquire load of its state
         * has made that visible. relaxed: for that reason */
        if (beyond > 0 && (int64_t)(memlane_lane_head(lane) - s) <= 0) {
            if (memlane_many_taken(lane) == s && steps > 0)
                return MEMLANE_CORRUPTED;
        } else
            memlane_many_help(lane, s, s + 1);
        s = memlane_many_taken(lane);
    }
    return MEMLANE_BUSY;
}

/* The same from where `taken` is now. Callers: anyone. */
static inline enum memlane_status memlane_many_look(const struct memlane_many *many, struct memlane_found *found) {
    return memlane_many_look_from(many, memlane_many_taken(&many->lane), found);
}

/* Look at up to `most` records from one that was found fresh, for a batch, behind it up to `most_nbytes` of them all.
 * Callers: as memlane_many_look, which has just found `first`. Progress: wait-free. Ordering: as there.
 * Returns: how many extents were filled in: those of fresh records that follow each other. */
static inline size_t memlane_many_look_on(const struct memlane_many *many, const struct memlane_found *first,
                                          size_t most, uint64_t most_nbytes, struct memlane_extent *extents) {
    const struct memlane_lane *lane = &many->lane;
    uint64_t nbytes = first->extent.nbytes;
    size_t count = 1;
    extents[0] = first->extent;
    for (; count < most; count++) {
        uint64_t s = first->s + count;
        /* sync: descriptor.state. acquire: as in memlane_many_look. The one before was READY and committed, so
         * nothing staged and uncommitted is met here. */
        if (atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_acquire) !=
                memlane_state(s, MEMLANE_STATE_READY) ||
            memlane_extent_of(lane, s, &extents[count]) != MEMLANE_OK ||
            (nbytes += extents[count].nbytes) > most_nbytes)
            break;
    }
    return count;
}

/* Make a record ours that was found fresh, or in a dead hand.
 *
 * Callers:  anyone, with its own tag; whatever can fail has been done.
 * Progress: wait-free.
 * Ordering: acq_rel: the payload may be read. The extent is to be read again, by memlane_extent_of: it is only now
 *           that nobody but us may change the record.
 * Returns:  true: ours until memlane_many_free; false: another one was faster. */
static inline bool memlane_many_claim(const struct memlane_lane *lane, struct memlane_found *found, uint32_t tag) {
    uint64_t ours = memlane_state_taken(found->s, tag);
    uint64_t expected = found->state;
    /* sync: descriptor.state. acq_rel: of all who try, one wins; acquire as in memlane_many_look, release so that
     * what a hand before us did stays before what we do. Failure relaxed: nothing was taken. */
    if (!atomic_compare_exchange_strong_explicit(&memlane_descriptor_of(lane, found->s)->state, &expected, ours,
                                                 memory_order_acq_rel, memory_order_relaxed))
        return false;
    if (memlane_state_kind(found->state) == MEMLANE_STATE_TAKEN) {
        /* One that was handed back shows 29 bits of its number, and we may have been stopped for 2^29 records since
         * we read the rest. It is in our hand now, so `head` is not beyond it. */
        uint64_t head = memlane_lane_head(lane);
        if ((int64_t)(head - found->s) > 0)
            found->s += (head - found->s + (UINT64_C(1) << 29) - 1) >> 29 << 29;
    }
    found->state = ours;
    return true;
}

/* Take up to `count` fresh records, from `first` on, and say so in `taken`.
 * Callers, Ordering: as memlane_many_claim. Progress: bounded by `count`.
 * Returns: how many are ours now, without a gap. */
static inline size_t memlane_many_take(const struct memlane_lane *lane, uint64_t first, size_t count, uint32_t tag) {
    size_t taken = 0;
    for (; taken < count; taken++) {
        struct memlane_found found = {.s = first + taken, .state = memlane_state(first + taken, MEMLANE_STATE_READY)};
        if (!memlane_many_claim(lane, &found, tag))
            break;
    }
    if (taken)
        memlane_many_help(lane, first, first + taken);
    return taken;
}

/* Count a record that was taken out of a dead hand.
 * Callers: a process that claimed it. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_many_count_redelivered(struct memlane_ring_control *control) {
    atomic_fetch_add_explicit(&control->redelivered, 1, memory_order_relaxed); /* relaxed: for people */
}

static inline uint64_t memlane_many_redelivered(const struct memlane_ring_control *control) {
    return atomic_load_explicit(&control->redelivered, memory_order_relaxed); /* relaxed: for people */
}

/* Give a record of ours back for good.
 *
 * Callers:  a process that took it, with the same tag, from any thread.
 * Progress: wait-free.
 * Ordering: seq_cst: our reads of the payload come before; the caller may look at waiters.count after a fence.
 * Returns:  true; false: it was no longer ours, and must not be handed out: we were taken for dead. */
static inline bool memlane_many_free(const struct memlane_lane *lane, uint64_t s, uint32_t tag) {
    uint64_t ours = memlane_state_taken(s, tag);
    /* sync: descriptor.state (free). seq_cst: a release, our reads are over before the producer may reuse the room,
     * pairs with memlane_many_advance; and in the total order against the look of a consumer that closes the lane,
     * see ring_full_lane in docs/memory-model.md. Failure relaxed: nothing was done. */
    return atomic_compare_exchange_strong_explicit(&memlane_descriptor_of(lane, s)->state, &ours,
                                                   memlane_state(s, MEMLANE_STATE_FREE), memory_order_seq_cst,
                                                   memory_order_relaxed);
}

/* Hand a record back that was taken: the next consumer gets it.
 * Callers, Progress: as memlane_many_free. Ordering: seq_cst; the caller may look at waiters.count next.
 * Returns: false: it was no longer ours.
 * If the process dies inside: it is handed back and not counted, and found by the next pass. */
static inline bool memlane_many_hand_back(struct memlane_ring_control *ring, const struct memlane_lane *lane,
                                          uint64_t s, uint32_t tag) {
    uint64_t ours = memlane_state_taken(s, tag);
    /* sync: descriptor.state. release: pairs with memlane_many_claim of the next hand; failure relaxed: as above */
    if (!atomic_compare_exchange_strong_explicit(&memlane_descriptor_of(lane, s)->state, &ours,
                                                 memlane_state_taken(s, MEMLANE_TAG_NONE), memory_order_release,
                                                 memory_order_relaxed))
        return false;
    /* sync: ring.handed_back. seq_cst: a release, who sees the number sees the state; and in the total order before the
     * caller's look at waiters.count. Pairs with memlane_many_handed_back. */
    atomic_fetch_add_explicit(&ring->handed_back, 1, memory_order_seq_cst);
    return true;
}

/* How many records were handed back so far: it has changed if one may lie where no look goes any more.
 * Callers: anyone. Progress: wait-free. Ordering: seq_cst. Returns: the number. */
static inline uint64_t memlane_many_handed_back(const struct memlane_ring_control *ring) {
    /* sync: ring.handed_back. seq_cst: an acquire; and after waiters.count was raised, or a consumer could sleep beside
     * a record that was handed back */
    return atomic_load_explicit(&ring->handed_back, memory_order_seq_cst);
}

/* Whether freeing this record crosses a quarter of the lane: then look for a waiting producer. So consumers look
 * seldom, and a full lane is not refilled one record at a time. */
static inline bool memlane_many_crosses(const struct memlane_lane *lane, uint64_t s,
                                        const struct memlane_extent *extent) {
    uint64_t quarter = (lane->mask + 1) / 4;
    if (quarter < 2 || (s & (quarter - 1)) == 0)
        return true;
    uint64_t nbytes = UINT64_C(1) << (61 - __builtin_clzll(lane->capacity)); /* a power of two, 1/4 to 1/8 of it */
    return (extent->offset & (nbytes - 1)) + memlane_occupied(extent->nbytes) >= nbytes;
}

/* Pass the records at `low` that are free, in at most *steps, which become what is left of them.
 * Callers: anyone. Progress: bounded by *steps and the number of descriptors. Ordering: acquire.
 * Returns: the first record that is not known to be free, at most the number `taken` that is passed. */
static inline uint64_t memlane_many_settle_some(struct memlane_many *many, uint64_t taken, uint64_t *steps) {
    const struct memlane_lane *lane = &many->lane;
    uint64_t head = memlane_lane_head(lane);
    uint64_t low = atomic_load_explicit(&many->low, memory_order_relaxed); /* relaxed: see the field */
    if ((int64_t)(head - low) > 0)
        low = head;
    for (uint64_t looks = 0; (int64_t)(taken - low) > 0 && looks <= lane->mask && *steps > 0; looks++, low++) {
        --*steps;
        /* sync: descriptor.state (free). acquire: pairs with memlane_many_free; what was done with the record is
         * over before anybody says that the ring is drained */
        uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, low)->state, memory_order_acquire);
        int32_t beyond = memlane_state_beyond(state, low);
        if (beyond < 0 || (beyond == 0 && memlane_state_kind(state) != MEMLANE_STATE_FREE))
            break;
    }
    atomic_store_explicit(&many->low, low, memory_order_relaxed); /* relaxed: see the field */
    return low;
}

/* The same, however far it is. Callers: a process that lets other threads run meanwhile, or has few records. */
static inline uint64_t memlane_many_settle(struct memlane_many *many, uint64_t taken) {
    uint64_t steps = UINT64_MAX;
    return memlane_many_settle_some(many, taken, &steps);
}

/* The second look of one who waits for the end: has everything that was taken been freed?
 * Callers: anyone, after memlane_waiters_announce. Progress: as memlane_many_settle. Ordering: seq_cst.
 * Returns: true: no record of this lane is taken. */
static inline bool memlane_many_is_drained(struct memlane_many *many) {
    /* sync: waiters.count. A full fence: the announcement is before the looks at `taken` and the states, which are
     * acquires and might be done before it otherwise; pairs with memlane_many_free and the look at waiters.count behind
     * it, both seq_cst. Without it both sides may miss each other: a process that waits sleeps on the end. */
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t taken = memlane_many_taken(&many->lane);
    return memlane_many_settle(many, taken) == taken;
}

/* Find the next record that a consumer has taken, in at most *steps, which become what is left of them.
 * Callers: anyone; the tag is in found->state, whose life is the caller's business. Progress: bounded by *steps,
 * `end - s` and the number of descriptors. Ordering: as memlane_many_look.
 * Returns: true and *found; false: none from `s` to `end`, or to found->s where there were not enough steps. */
static inline bool memlane_many_held_some(const struct memlane_many *many, uint64_t s, uint64_t end,
                                          struct memlane_found *found, uint64_t *steps) {
    const struct memlane_lane *lane = &many->lane;
    for (uint64_t looks = 0; (int64_t)(end - s) > 0 && looks <= lane->mask; looks++, s++) {
        found->s = s;
        if (*steps == 0)
            return false;
        --*steps;
        /* sync: descriptor.state. acquire: as in memlane_many_look */
        uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_acquire);
        if (memlane_state_kind(state) == MEMLANE_STATE_TAKEN && memlane_state_beyond(state, s) == 0) {
            found->state = state;
            return true;
        }
    }
    found->s = end;
    return false;
}

/* The same, however far it is. Callers: as above, for a stretch that is known to be short. */
static inline bool memlane_many_held(const struct memlane_many *many, uint64_t s, uint64_t end,
                                     struct memlane_found *found) {
    uint64_t steps = UINT64_MAX;
    return memlane_many_held_some(many, s, end, found, &steps);
}

/* How many records are in somebody's hand, whoever looks: also who is no consumer, or may only read.
 * Callers: anyone, as a snapshot. Progress: bounded by *steps, which become what is left of them, and by the number of
 * descriptors. Ordering: none. Returns: the number; -1: there were not enough steps. */
static inline int64_t memlane_many_in_hand(const struct memlane_lane *lane, uint64_t *steps) {
    uint64_t s = memlane_lane_head(lane), end = memlane_many_taken(lane);
    int64_t count = 0;
    for (uint64_t looks = 0; (int64_t)(end - s) > 0 && looks <= lane->mask; looks++, s++) {
        if (*steps == 0)
            return -1;
        --*steps;
        /* relaxed: for people */
        uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_relaxed);
        count += memlane_state_kind(state) == MEMLANE_STATE_TAKEN && memlane_state_beyond(state, s) == 0;
    }
    return count;
}

/* Find the next record in somebody's hand that this pass over the lane has not met, in at most *steps, which become
 * what is left of them: at 0 the pass may not have come to `end` yet, and the next call goes on where this one stopped.
 * Callers: anyone; a process that is through with the record says so with memlane_many_met. Progress: bounded by *steps
 * and the number of descriptors, and from one pass to the next by what has been taken since. Ordering: as
 * memlane_many_look.
 * Returns: true and *found; false: there is none so far, and none is looked for there before memlane_many_rescan. */
static inline bool memlane_many_held_new(struct memlane_many *many, uint64_t end, struct memlane_found *found,
                                         uint64_t *steps) {
    uint64_t s = memlane_many_settle_some(many, end, steps);
    uint64_t scanned = atomic_load_explicit(&many->scanned, memory_order_relaxed); /* relaxed: see the field */
    if ((int64_t)(scanned - s) > 0)
        s = scanned;
    found->s = s;
    bool held = (int64_t)(end - s) > 0 && memlane_many_held_some(many, s, end, found, steps);
    atomic_store_explicit(&many->scanned, found->s, memory_order_relaxed); /* relaxed: see the field */
    return held;
}

/* This record is in a hand that lives. Callers: a process that has found it. Progress: wait-free. Ordering: none.
 * Returns: nothing. */
static inline void memlane_many_met(struct memlane_many *many, const struct memlane_found *found) {
    atomic_store_explicit(&many->scanned, found->s + 1, memory_order_relaxed); /* relaxed: see the field */
}

/* Begin a new pass: a process that lived may have died. Callers: anyone. Progress: wait-free. Ordering: none. Returns:
 * nothing. */
static inline void memlane_many_rescan(struct memlane_many *many) {
    /* relaxed, both: see the fields */
    uint64_t low = atomic_load_explicit(&many->low, memory_order_relaxed);
    atomic_store_explicit(&many->scanned, low, memory_order_relaxed);
}

/* The second look of a waiter: is there anything a get would act on?
 * Callers: a consumer, after memlane_waiters_announce. Progress: wait-free. Ordering: seq_cst.
 * Returns: true: do not sleep; also for a number that has become stale. */
static inline bool memlane_many_any(const struct memlane_many *many) {
    const struct memlane_lane *lane = &many->lane;
    uint64_t s = memlane_many_taken(lane);
    /* sync: descriptor.state. seq_cst: after waiters.count was raised; pairs with memlane_producer_publish */
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_seq_cst);
    int32_t beyond = memlane_state_beyond(state, s);
    return beyond > 0 || (beyond == 0 && memlane_state_kind(state) != MEMLANE_STATE_NONE &&
                          memlane_state_kind(state) <= MEMLANE_STATE_CLOSED);
}

/* Whether the hints contradict the states: then the lane is corrupt.
 * Callers: a consumer that found nothing; call it twice. Progress: wait-free. Ordering: acquire.
 * Returns: true: it looks so. */
static inline bool memlane_many_overlooked(struct memlane_many *many) {
    const struct memlane_lane *lane = &many->lane;
    /* `taken` before `head`, which it never exceeds by more than the lane holds: a pause between the two only makes
     * the difference smaller. */
    uint64_t taken = memlane_many_taken(lane);
    /* sync: lane.head. acquire: pairs with memlane_many_advance */
    uint64_t head = atomic_load_explicit(&lane->control->head, memory_order_acquire);
    if ((int64_t)(taken - head) > (int64_t)(lane->mask + 1))
        return true;
    /* sync: lane.tail. acquire: pairs with memlane_producer_hint: what lies below it is READY or was */
    uint64_t tail = atomic_load_explicit(&lane->control->tail, memory_order_acquire);
    struct memlane_found found;
    if (memlane_many_look(many, &found) == MEMLANE_EMPTY && (int64_t)(tail - found.s) > 0)
        return true;
    /* What lies below `taken` was taken, or the end of the ring would wait for ever for a record that nobody holds. */
    uint64_t steps = MEMLANE_LOOKS_WITH_GIL, low = memlane_many_settle_some(many, taken, &steps);
    if ((int64_t)(taken - low) <= 0)
        return false;
    /* sync: descriptor.state. acquire: as in memlane_many_look; `taken` was read before, with acquire */
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, low)->state, memory_order_acquire);
    int32_t beyond = memlane_state_beyond(state, low);
    return beyond < 0 || (beyond == 0 && memlane_state_kind(state) != MEMLANE_STATE_TAKEN &&
                          memlane_state_kind(state) != MEMLANE_STATE_FREE);
}

/* Close the lane at the next record, once the shutdown flag is up and nothing fresh is there.
 *
 * Callers:  any consumer.
 * Progress: wait-free.
 * Ordering: seq_cst: decides the race with a commit under way.
 * Returns:  MEMLANE_CLOSED: no record will ever follow; MEMLANE_BUSY: look again; MEMLANE_CORRUPTED, seen twice.
 * Where the descriptor is still in somebody's hand there is nothing to mark: the producer finds no room before that
 * one is free, and then it looks at the flag (docs/memory-model.md, ring_full_lane). */
static inline enum memlane_status memlane_many_close(const struct memlane_many *many) {
    const struct memlane_lane *lane = &many->lane;
    for (int look = 0; look < 2; look++) {
        uint64_t s = memlane_many_taken(lane);
        struct memlane_descriptor *descriptor = memlane_descriptor_of(lane, s);
        /* sync: descriptor.state (free). seq_cst: after the caller's look at the flag; pairs with memlane_many_free */
        uint64_t state = atomic_load_explicit(&descriptor->state, memory_order_seq_cst);
        if (state == memlane_state(s, MEMLANE_STATE_CLOSED))
            return MEMLANE_CLOSED;
        int32_t beyond = memlane_state_beyond(state, s);
        enum memlane_state kind = memlane_state_kind(state);
        if (beyond > 0) {
            if ((int64_t)(memlane_lane_head(lane) - s) > 0)
                return MEMLANE_BUSY; /* `taken` is stale, and the next look helps it along */
            continue; /* of a later round while this one is not over: nobody writes that */
        }
        if (beyond == 0 && kind == MEMLANE_STATE_READY && state != memlane_state(s, MEMLANE_STATE_READY))
            continue; /* no look would ever take it */
        if (beyond == 0 && kind >= MEMLANE_STATE_READY && kind <= MEMLANE_STATE_FREE)
            return MEMLANE_BUSY;
        if (kind == MEMLANE_STATE_TAKEN)
            return MEMLANE_CLOSED;
        /* sync: descriptor.state. acq_rel: against the CAS of memlane_producer_publish, one of the two wins */
        return atomic_compare_exchange_strong_explicit(&descriptor->state, &state,
                                                       memlane_state(s, MEMLANE_STATE_CLOSED), memory_order_acq_rel,
                                                       memory_order_relaxed)
                   ? MEMLANE_CLOSED
                   : MEMLANE_BUSY;
    }
    return MEMLANE_CORRUPTED;
}

/* Free everything that is ready, unseen.
 * Callers: any consumer, after a shutdown that drops. Progress: bounded by the number of descriptors.
 * Ordering: as memlane_many_free. Returns: nothing. */
static inline void memlane_many_drop(const struct memlane_many *many, uint32_t tag) {
    struct memlane_found found;
    for (uint64_t steps = 0; steps <= many->lane.mask; steps++) {
        enum memlane_status status = memlane_many_look(many, &found);
        if (status != MEMLANE_OK && status != MEMLANE_CORRUPTED)
            return;
        if (memlane_many_take(&many->lane, found.s, 1, tag))
            memlane_many_free(&many->lane, found.s, tag);
        else if (status == MEMLANE_CORRUPTED)
            return; /* memlane_many_close says so */
    }
}

#endif
