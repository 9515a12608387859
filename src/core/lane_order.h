/* SPDX-License-Identifier: MIT
 *
 * The order of all: records of several lanes as they were committed, as far as one commit had ended before
 * the next one began.
 *
 * In front of each payload lies its number: 8 bytes, from one counter for all lanes, taken between the claim and the
 * commit. Numbers grow along a lane; one may be missing, of a producer that died with it.
 *
 *   reader   1. look at the lanes until one has a record
 *            2. look at all the lanes again, and take the record with the smallest number
 *
 * Why the second look: a lane that was empty may have got a record before the one that was found was even begun. Let M be
 * the smallest of the second look, and X a record whose commit had ended before that of M began. M's number was taken
 * before that of the record found first, or is its own, which was committed before the first look ended. So X was
 * committed before the second look began, which sees it or one of its lane in front of it; both have smaller numbers.
 *
 * Progress: every function is wait-free, or bounded by the number of lanes. Nothing of it is for a lane without order.
 */
#ifndef MEMLANE_LANE_ORDER_H
#define MEMLANE_LANE_ORDER_H

#include <stdbool.h>

#include "core/lane.h"
#include "core/status.h"
#include "core/words.h"

#define MEMLANE_ORDER_NBYTES UINT64_C(8)

/* Take `count` numbers that follow each other.
 * Callers: a producer whose claim stands. Progress: wait-free. Ordering: seq_cst. Returns: the first one. */
static inline uint64_t memlane_order_take(_Atomic uint64_t *counter, uint64_t count) {
    /* sync: topic.order. seq_cst: a commit that ended before this one began has taken a smaller number, whoever tells of
     * it. Pairs with memlane_order_load. */
    return atomic_fetch_add_explicit(counter, count, memory_order_seq_cst);
}

/* Note the number of a record in front of its payload.
 * Callers: its producer, before the commit. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_order_store(unsigned char *record, uint64_t number) {
    /* relaxed: the commit orders it */
    atomic_store_explicit((_Atomic uint64_t *)(void *)record, number, memory_order_relaxed);
}

/* Read it.
 * Callers: a process that saw the record committed; under "overwrite" it is checked as the payload is. Progress: wait-free.
 * Ordering: none. Returns: the number. */
static inline uint64_t memlane_order_load(const unsigned char *record) {
    /* sync: topic.order. relaxed: the look at the state has ordered it; pairs with memlane_order_take */
    return atomic_load_explicit((const _Atomic uint64_t *)(const void *)record, memory_order_relaxed);
}

/* What a reader has found at the front of each lane. Private to it. */
struct memlane_order_front {
    uint64_t number; /* if known */
    bool known; /* there is a record, and it has not been taken since */
};

/* What a reader does to look at a lane. Returns: MEMLANE_OK and *number of its next record; else anything, of which
 * MEMLANE_EMPTY and MEMLANE_CLOSED mean that there is none. */
typedef enum memlane_status (*memlane_order_look)(void *reader, uint32_t lane, uint64_t *number);

/* Look at the lanes whose front is not known, up to the first record if `one` will do.
 * Returns: MEMLANE_OK; what a look returned that is neither a record nor the lack of one, and *lane. */
static inline enum memlane_status memlane_order_look_at(struct memlane_order_front *fronts, uint32_t lanes, bool one,
                                                        memlane_order_look look, void *reader, uint32_t *lane,
                                                        uint32_t *closed) {
    *closed = 0;
    for (*lane = 0; *lane < lanes; ++*lane) {
        struct memlane_order_front *front = &fronts[*lane];
        if (!front->known) {
            enum memlane_status status = look(reader, *lane, &front->number);
            front->known = status == MEMLANE_OK;
            *closed += status == MEMLANE_CLOSED;
            if (status != MEMLANE_OK && status != MEMLANE_EMPTY && status != MEMLANE_CLOSED)
                return status;
        }
        if (one && front->known)
            break;
    }
    return MEMLANE_OK;
}

/* Find the record that is next in the order of all lanes that were leased.
 *
 * Callers:  a reader, with the fronts that it has kept; a process that takes a record, or goes on elsewhere in a lane, forgets the front
 *           of that lane.
 * Progress: bounded by twice the number of lanes.
 * Ordering: as the looks.
 * Returns:  MEMLANE_OK and *lane; MEMLANE_EMPTY; MEMLANE_CLOSED: all these lanes are; else what a look returned, and *lane. */
static inline enum memlane_status memlane_order_next(struct memlane_order_front *fronts,
                                                     struct memlane_ring_control *ring, uint32_t lanes,
                                                     memlane_order_look look, void *reader, uint32_t *lane) {
    uint32_t closed, first, leased = memlane_ring_leased(ring, lanes);
    enum memlane_status status = memlane_order_look_at(fronts, leased, true, look, reader, lane, &closed);
    if (status != MEMLANE_OK)
        return status;
    if (*lane == leased)
        return leased != 0 && closed == leased ? MEMLANE_CLOSED : MEMLANE_EMPTY;
    /* Again: another lane may have been leased meanwhile, and used before what was found was published. The look that
     * found it shows that lease, too, since numbers are taken behind the lease of a lane (sync: topic.order). */
    leased = memlane_ring_leased(ring, lanes);
    status = memlane_order_look_at(fronts, leased, false, look, reader, lane, &closed);
    if (status != MEMLANE_OK)
        return status;
    first = leased;
    for (uint32_t i = 0; i < leased; i++)
        if (fronts[i].known && (first == leased || (int64_t)(fronts[i].number - fronts[first].number) < 0))
            first = i;
    *lane = first;
    return MEMLANE_OK;
}

#endif
