/* SPDX-License-Identifier: MIT
 *
 * The order of all for competing consumers: what was put before another put began is taken before it.
 *
 * The records of a queue lie in lanes of competing consumers (lane_consumers.h), and in front of each payload lies its
 * number (lane_order.h). A consumer
 *
 *   1. looks at the lanes until one has a record
 *   2. reads anew how many lanes there are, looks at all of them, and claims the record with the smallest number
 *
 * Let M be what it claims, and X a record of another lane whose put had ended before that of M began. X has the smaller
 * number. If X was not there when the second look came to its lane, then the put of M began behind the first look; then
 * its number is larger than that of the record which the first look found, and the smallest of the second look is that
 * record, or an older one. So X was there: it was claimed by then, or is the front of its lane, or behind the front, and M
 * is not the smallest. A claim is a compare-and-swap from the very state that was looked at, so nothing has to stand still
 * in between.
 *
 * The number of a record that another consumer has taken meanwhile may be overwritten, and seem too large; the record
 * behind it would be passed over. So the state is read again behind the number.
 *
 * While only one lane was ever leased its producer takes no number of its own but reads the next one, which costs no
 * read-modify-write: along a lane numbers need not differ. It reads the counter first and how many lanes there are behind
 * that, and another producer takes its first number behind the lease of its lane. So what was read while there was one lane
 * is no larger than any number of another lane, and of two that are equal that of the first lane is older.
 *
 * Records that were handed back, or taken out of a dead hand, stand in front of the fresh ones of their lane. What was
 * handed back before a get began keeps its place. What a dead consumer had in hand is found later, out of order.
 */
#ifndef MEMLANE_QUEUE_ORDER_H
#define MEMLANE_QUEUE_ORDER_H

#include "core/lane_consumers.h"
#include "core/lane_order.h"
#include "core/lane_producer.h"
#include "core/queue_layout.h"

/* ---- numbers ------------------------------------------------------------------------------------ */

/* The numbers of `count` records that are committed together.
 * Callers: a producer whose claim stands, behind memlane_ring_raise_leased. Progress: wait-free. Ordering: seq_cst. Returns: the
 * first one; *apart is 1, or 0: all of them have the same. */
static inline uint64_t memlane_queue_number(struct memlane_queue_control *control, uint32_t lanes, uint64_t count,
                                            uint64_t *apart) {
    /* sync: queue.order. seq_cst: before the look at `leased`. If that shows one lane, then the first number of another
     * lane is taken behind this look, so that all numbers there are as large or larger. Pairs with memlane_order_take. */
    uint64_t next = atomic_load_explicit(&control->order, memory_order_seq_cst);
    *apart = memlane_ring_leased(&control->ring, lanes) > 1;
    /* sync: queue.order. The number is taken before the commit, so before the put has ended: a put that begins then finds the
     * counter larger. */
    return *apart ? memlane_order_take(&control->order, count) : next;
}

/* ---- the front of a lane ------------------------------------------------------------------------ */

/* How often a consumer looks at a front that others take from it; then it says that it is busy. Arbitrary. */
#define MEMLANE_QUEUE_LOOKS 8

/* A record that may be claimed. Private to the consumer. */
struct memlane_queue_found {
    struct memlane_found record; /* its extent includes the number */
    uint64_t number;
    uint32_t lane;
};

/* Whether a tag is proven dead. It is asked only where a pass over what others have in hand is due. */
typedef bool (*memlane_queue_judge)(void *judge, uint32_t tag);

/* What a consumer knows of records in the hands of others. Private to it; all 0 to begin with, but `steps`. */
struct memlane_queue_pass {
    bool is_due; /* look for them whatever was handed back */
    memlane_queue_judge is_dead; /* NULL: only what was handed back is looked for */
    void *judge;
    uint64_t steps; /* looks that are left; at 0 something may have been missed, and the pass is not over */
    uint64_t handed_back; /* so many had been when a pass found none; the counter of the queue */
    bool is_on; /* this look makes a pass */
    bool has_met; /* and has met a record that may be claimed */
};

/* Read the number of a record, and whether the record is still what it was.
 * Callers: a process that found it. Progress: wait-free. Ordering: acquire.
 * Returns: MEMLANE_OK; MEMLANE_BUSY: another one was faster; MEMLANE_CORRUPTED: it is too short for a number. */
static inline enum memlane_status memlane_queue_number_of(const struct memlane_lane *lane,
                                                          struct memlane_queue_found *found) {
    enum memlane_status status = memlane_extent_of(lane, found->record.s, &found->record.extent);
    if (status == MEMLANE_OK && found->record.extent.nbytes < MEMLANE_ORDER_NBYTES)
        status = MEMLANE_CORRUPTED;
    if (status == MEMLANE_OK)
        found->number = memlane_order_load(lane->bytes + found->record.extent.offset);
    /* sync: queue.number. acquire fence: a number that was written over is seen only with the state of a record that was
     * taken since. Pairs with the release fence of memlane_queue_claim. Without it a number that is too large passes over
     * the record behind it. */
    atomic_thread_fence(memory_order_acquire);
    /* relaxed: behind the fence */
    if (atomic_load_explicit(&memlane_descriptor_of(lane, found->record.s)->state, memory_order_relaxed) !=
        found->record.state)
        return MEMLANE_BUSY;
    return status;
}

/* The first record of a lane that was handed back or is in a dead hand.
 * Callers: as memlane_queue_front. Progress: bounded by pass->steps. Ordering: acquire. Returns: true and *found. */
static inline bool memlane_queue_held_front(struct memlane_many *many, struct memlane_queue_pass *pass,
                                            struct memlane_queue_found *found) {
    uint64_t end = memlane_many_taken(&many->lane);
    uint64_t s = memlane_many_settle_some(many, end, &pass->steps);
    while ((int64_t)(end - s) > 0 && memlane_many_held_some(many, s, end, &found->record, &pass->steps)) {
        uint32_t tag = memlane_state_tag(found->record.state);
        if ((tag == MEMLANE_TAG_NONE || (pass->is_dead && pass->is_dead(pass->judge, tag))) &&
            memlane_queue_number_of(&many->lane, found) == MEMLANE_OK) {
            pass->has_met = true;
            return true;
        }
        s = found->record.s + 1;
    }
    return false;
}

/* Look at the front of one lane.
 * Callers: any consumer, of a lane that was leased. Progress: a bounded number of looks, each of them lock-free.
 * Ordering: acquire; the payload may be read once the record is claimed.
 * Returns: MEMLANE_OK and *found; MEMLANE_EMPTY; MEMLANE_CLOSED; MEMLANE_BUSY; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_queue_front(struct memlane_many *many, struct memlane_queue_pass *pass,
                                                      struct memlane_queue_found *found) {
    if (pass->is_on && memlane_queue_held_front(many, pass, found))
        return MEMLANE_OK;
    for (int looks = 0; looks < MEMLANE_QUEUE_LOOKS; looks++) {
        enum memlane_status status = memlane_many_look(many, &found->record);
        if (status == MEMLANE_OK)
            status = memlane_queue_number_of(&many->lane, found);
        if (status != MEMLANE_BUSY)
            return status;
    }
    return MEMLANE_BUSY;
}

/* ---- the front of all lanes --------------------------------------------------------------------- */

/* As memlane_queue_next, where one lane was leased so far: its front needs no number.
 * Returns: as there; MEMLANE_LAPPED: there are more lanes by now. */
static inline enum memlane_status memlane_queue_next_alone(struct memlane_many *many, struct memlane_ring_control *ring,
                                                           uint32_t lanes, struct memlane_queue_found *found) {
    enum memlane_status status = memlane_many_look(many, &found->record);
    /* Again: another lane may have been leased meanwhile, and used before what we found was put. */
    if (memlane_ring_leased(ring, lanes) != 1)
        return MEMLANE_LAPPED;
    found->lane = 0;
    return status == MEMLANE_OK && found->record.extent.nbytes < MEMLANE_ORDER_NBYTES ? MEMLANE_CORRUPTED : status;
}

/* The second look: at all lanes but found->lane, whose front *found is.
 * Returns: MEMLANE_OK and *found; MEMLANE_BUSY; MEMLANE_CORRUPTED, of lane found->lane. */
static inline enum memlane_status memlane_queue_smallest(struct memlane_many *many, uint32_t leased,
                                                         struct memlane_queue_pass *pass,
                                                         struct memlane_queue_found *found) {
    const uint32_t known = found->lane;
    for (uint32_t lane = 0; lane < leased; lane++) {
        struct memlane_queue_found seen;
        if (lane == known)
            continue;
        seen.lane = lane;
        enum memlane_status status = memlane_queue_front(&many[lane], pass, &seen);
        if (status == MEMLANE_OK) {
            int64_t apart = (int64_t)(seen.number - found->number);
            /* of two numbers that are equal that of the first lane is older: it was taken while that lane was alone */
            if (apart < 0 || (apart == 0 && seen.lane < found->lane))
                *found = seen;
        } else if (status != MEMLANE_EMPTY && status != MEMLANE_CLOSED) {
            found->lane = lane;
            return status;
        }
    }
    return MEMLANE_OK;
}

/* Both looks. Returns: as memlane_queue_next. */
static inline enum memlane_status memlane_queue_look(struct memlane_many *many, struct memlane_ring_control *ring,
                                                     uint32_t lanes, uint32_t first, uint32_t from,
                                                     struct memlane_queue_pass *pass,
                                                     struct memlane_queue_found *found) {
    uint32_t closed = 0;
    for (uint32_t i = 0; i < first; i++) {
        found->lane = (from + i) % first;
        enum memlane_status status = memlane_queue_front(&many[found->lane], pass, found);
        /* How many lanes there are is read again: see memlane_queue_next_alone. */
        if (status == MEMLANE_OK)
            return memlane_queue_smallest(many, memlane_ring_leased(ring, lanes), pass, found);
        closed += status == MEMLANE_CLOSED;
        if (status != MEMLANE_EMPTY && status != MEMLANE_CLOSED)
            return status;
    }
    return first != 0 && closed == first ? MEMLANE_CLOSED : MEMLANE_EMPTY;
}

/* Find the record that is next in the order of all.
 *
 * Callers:  any consumer; `many` is its private state of all `lanes`, `from` the lane to look at first: any, best that of the
 *           last record. What it finds is claimed by memlane_queue_take; where that fails another consumer was faster: look
 *           again.
 * Progress: as memlane_queue_front for twice the number of lanes.
 * Ordering: as memlane_queue_front.
 * Returns:  MEMLANE_OK and *found; MEMLANE_EMPTY; MEMLANE_CLOSED: all lanes that were leased are; MEMLANE_BUSY, look
 *           again; MEMLANE_CORRUPTED, of lane found->lane. */
static inline enum memlane_status memlane_queue_next(struct memlane_many *many, struct memlane_ring_control *ring,
                                                     uint32_t lanes, uint32_t from, struct memlane_queue_pass *pass,
                                                     struct memlane_queue_found *found) {
    const uint64_t handed_back = memlane_many_handed_back(ring);
    const uint32_t first = memlane_ring_leased(ring, lanes);
    pass->is_on = pass->is_due || handed_back != pass->handed_back;
    pass->has_met = false;
    if (first == 1 && !pass->is_on) {
        enum memlane_status status = memlane_queue_next_alone(many, ring, lanes, found);
        if (status != MEMLANE_LAPPED)
            return status;
    }
    enum memlane_status status = memlane_queue_look(many, ring, lanes, first, from, pass, found);
    /* A record that was met and not claimed, since an older one was there, is met again by the next look. */
    if (pass->is_on && !pass->has_met && pass->steps > 0 &&
        (status == MEMLANE_OK || status == MEMLANE_EMPTY || status == MEMLANE_CLOSED))
        pass->handed_back = handed_back;
    return status;
}

/* Claim what memlane_queue_next has found, and say so in `taken`.
 * Callers: a consumer, with its own tag; whatever can fail has been done. Progress: wait-free. Ordering: acq_rel.
 * Returns: true: ours until memlane_many_free, the extent is read again; false: another one was faster. */
static inline bool memlane_queue_take(const struct memlane_many *many, struct memlane_queue_found *found,
                                      uint32_t tag) {
    const struct memlane_lane *lane = &many[found->lane].lane;
    bool fresh = memlane_state_kind(found->record.state) == MEMLANE_STATE_READY;
    if (!memlane_many_claim(lane, &found->record, tag))
        return false;
    if (fresh)
        memlane_many_help(lane, found->record.s, found->record.s + 1);
    return true;
}

#endif
