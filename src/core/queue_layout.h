/* SPDX-License-Identifier: MIT
 *
 * The bytes of a queue, and where its parts lie.
 */
#ifndef MEMLANE_QUEUE_LAYOUT_H
#define MEMLANE_QUEUE_LAYOUT_H

#include "core/ring_layout.h"

/* ---- queue: geometry = { lanes, capacity, records, maxsize, tasks } ------------------------------
 *
 *   0               768             +lanes * 512     +lanes * 128    +4096       +8192, page aligned
 *   +---------------+---------- - - +---------- - - -+---------------+-----------+----------------- - - -
 *   | queue control | lane control  | growth         | consumers     | hands     | lane 0, as of a ring
 *   |               | of each lane  | of each lane   |               |           |
 *   +---------------+---------- - - +---------- - - -+---------------+-----------+----------------- - - -
 *    reserved with the object                                                     reserved step by step
 */
struct memlane_queue_control {
    struct memlane_ring_control ring;
    alignas(MEMLANE_LINE_PAIR) _Atomic uint64_t order; /* the next number of the order of all, see queue_order.h */
    /* Processes look at the words of this pair of lines after each get; they change seldom. */
    alignas(MEMLANE_LINE_PAIR) struct memlane_doorbell putters_doorbell;
    _Atomic uint32_t putters; /* puts that wait for a permit, see waiters.h */
    _Atomic uint32_t joiners; /* that wait until every task is done */
    alignas(MEMLANE_LINE_PAIR) _Atomic uint64_t granted; /* permits to put, where the queue is bounded: queue_bound.h */
    alignas(MEMLANE_LINE_PAIR) struct memlane_doorbell joiners_doorbell;
    unsigned char unused[64];
};
static_assert(sizeof(struct memlane_queue_control) == 768, "layout: see docs/layout.md");
#define MEMLANE_QUEUE_DOORBELLS_STRIDE 256u
static_assert(offsetof(struct memlane_queue_control, putters_doorbell) ==
                      offsetof(struct memlane_queue_control, ring.doorbell) + MEMLANE_QUEUE_DOORBELLS_STRIDE &&
                  offsetof(struct memlane_queue_control, joiners_doorbell) ==
                      offsetof(struct memlane_queue_control, ring.doorbell) + 2 * MEMLANE_QUEUE_DOORBELLS_STRIDE,
              "an entry tells of them by one stride");
enum memlane_queue_tasks { MEMLANE_TASKS_NOT_COUNTED = 1, MEMLANE_TASKS_COUNTED = 2 };

/* What a lane of a queue has beyond one of a ring. The first line is about permits, the second one about memory. */
struct memlane_queue_lane {
    _Atomic uint64_t grant; /* [ permits that this lane has got : 32 | the count that the last of them made : 32 ] */
    _Atomic uint64_t returned; /* of them were never used */
    alignas(MEMLANE_LINE) _Atomic uint64_t keeper; /* [ tag : 32 | low half of the `head` that it keeps : 32 ] */
    _Atomic uint64_t given; /* how often memory was given back */
    _Atomic uint64_t trimmed; /* descriptors of the records before it were given back */
    _Atomic uint64_t span; /* the producer's: no record lies behind these bytes */
    _Atomic uint64_t until; /* the producer's: before `head` is here, records do not go on at the beginning */
    unsigned char unused[24];
};
static_assert(sizeof(struct memlane_queue_lane) == 128, "layout: see docs/layout.md");

struct memlane_queue_shape {
    struct memlane_ring_shape lane; /* of which `data_nbytes`, `bytes_offset`, `descriptors` and the like count */
    uint64_t maxsize; /* records in the whole queue; 0: no bound */
    bool counts_tasks;
    uint64_t growth_offset; /* of lane 0's struct memlane_queue_lane, in the object */
    uint64_t consumers_offset; /* of the consumers' tags */
    uint64_t hands_offset; /* of the consumers' counts of tasks in hand */
    uint64_t data_offset; /* of lane 0's descriptors */
    uint64_t nbytes; /* of the whole object */
};

/* A lane that may be as long as 2^24 records has that many descriptors, of which only some have memory. Beside the records
 * that may be there it has as many again, so that descriptors are given back far behind where they are used. */
#define MEMLANE_QUEUE_RECORDS_MAX (MEMLANE_DESCRIPTORS_MAX / 2)
/* Compute the shape of a queue. Every bound is small enough that nothing here can overflow.
 * Callers: anyone. Progress: bounded by 24 steps. Ordering: none. Returns: false: the geometry is out of range. */
static inline bool memlane_queue_lay_out(struct memlane_queue_shape *shape, uint64_t lanes, uint64_t capacity,
                                         uint64_t records, uint64_t maxsize, uint64_t tasks) {
    if (records > MEMLANE_QUEUE_RECORDS_MAX || maxsize > MEMLANE_QUEUE_RECORDS_MAX ||
        (maxsize != 0 && records < maxsize) || tasks < MEMLANE_TASKS_NOT_COUNTED || tasks > MEMLANE_TASKS_COUNTED ||
        !memlane_ring_lay_out(&shape->lane, lanes, capacity, 2 * records))
        return false;
    shape->lane.records = records;
    shape->maxsize = maxsize;
    shape->counts_tasks = tasks == MEMLANE_TASKS_COUNTED;
    shape->growth_offset = sizeof(struct memlane_queue_control) + lanes * sizeof(struct memlane_lane_control);
    shape->consumers_offset = shape->growth_offset + lanes * sizeof(struct memlane_queue_lane);
    shape->hands_offset = shape->consumers_offset + MEMLANE_ROWS_MAX * sizeof(uint32_t);
    shape->data_offset = memlane_align(shape->hands_offset + MEMLANE_ROWS_MAX * sizeof(uint64_t));
    shape->nbytes = shape->data_offset + lanes * shape->lane.data_nbytes;
    return true;
}

/* Tell where the doorbells of a queue are. Three are made with it: the consumers', that of puts that wait for a permit,
 * and that of joins; each lane's by the first process that waits for the lane.
 * Callers: anyone, on private memory. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_queue_tell_doorbells(uint64_t lanes, struct memlane_doorbells *at_once,
                                                struct memlane_doorbells *later) {
    at_once->offset = offsetof(struct memlane_queue_control, ring.doorbell);
    at_once->stride = MEMLANE_QUEUE_DOORBELLS_STRIDE;
    at_once->count = 3;
    later->offset = sizeof(struct memlane_queue_control) + offsetof(struct memlane_lane_control, doorbell);
    later->stride = sizeof(struct memlane_lane_control);
    later->count = (uint32_t)lanes;
}

#endif
