/* SPDX-License-Identifier: MIT
 *
 * The bytes of a topic, and where its parts lie.
 */
#ifndef MEMLANE_TOPIC_LAYOUT_H
#define MEMLANE_TOPIC_LAYOUT_H

#include "core/ring_layout.h"

/* ---- topic: geometry = { publishers, capacity, records, subscribers, order, policy } -----------------
 *
 *   0               640             +publishers * 512    +subscribers * stride, page aligned
 *   +---------------+---------- - - -+---------- - - -----+----------------------+------------- - - -
 *   | topic control | lane control   | place              | descriptors, stamps, | of lane 1 ...
 *   |               | of each        | of each subscriber | bytes of lane 0      |
 *   +---------------+---------- - - -+---------- - - -----+----------------------+------------- - - -
 *    reserved with the object                              reserved when the lane is first leased
 */
#define MEMLANE_SUBSCRIBERS_MAX 512u /* one bit each in the line of `armed` */
#define MEMLANE_ARMED_WORDS (MEMLANE_SUBSCRIBERS_MAX / 64)

struct memlane_topic_control {
    /* of which a topic uses `shutdown`, `leased` and, for subscribers that wait by a descriptor, `waiters` */
    struct memlane_ring_control ring;
    /* Publishers look at this line after every commit; it changes when a subscriber goes to sleep. */
    _Atomic uint64_t armed[MEMLANE_ARMED_WORDS]; /* one bit a place whose subscriber sleeps */
    alignas(MEMLANE_LINE_PAIR) _Atomic uint32_t joined; /* places that were ever taken: they are the first ones */
    uint32_t reserved;
    _Atomic uint64_t evicted; /* subscribers that were evicted, for people */
    alignas(MEMLANE_LINE_PAIR) _Atomic uint64_t order; /* the next number of order="all", see lane_order.h */
    unsigned char unused[120];
};
static_assert(sizeof(struct memlane_topic_control) == 640, "layout: see docs/layout.md");
static_assert(offsetof(struct memlane_topic_control, armed) == 256, "a line of their own");
enum memlane_topic_order { MEMLANE_ORDER_PUBLISHER = 1, MEMLANE_ORDER_ALL = 2 };
enum memlane_topic_policy { MEMLANE_POLICY_OVERWRITE = 1, MEMLANE_POLICY_WAIT = 2 };

/* How far a subscriber is in one lane. */
struct memlane_cursor {
    _Atomic uint64_t position; /* the oldest record that it still reads */
    _Atomic uint64_t loans; /* records that it has on loan */
};
static_assert(sizeof(struct memlane_cursor) == 16, "layout: see docs/layout.md");

/* The place of one subscriber. Publishers read the first line when they need room; the subscriber stores to the lines
 * from `moved_ns` on, which have a pair of lines for themselves. Cursors of further lanes follow those here.
 *   holder   [ tag : 32 | session : 29 | enum memlane_place_state : 3 ] */
#define MEMLANE_PLACE_CURSORS 7u
struct memlane_place {
    _Atomic uint64_t holder;
    _Atomic uint64_t evict_after_ns; /* as the subscriber asked for; 0: never */
    _Atomic uint64_t evicted_after_ns; /* facts for an evicted subscriber */
    _Atomic uint64_t evicted_behind;
    alignas(MEMLANE_LINE) struct memlane_doorbell doorbell; /* wakes this subscriber */
    alignas(MEMLANE_LINE_PAIR) _Atomic uint64_t moved_ns; /* when it last told of its position, for people */
    uint64_t reserved;
    struct memlane_cursor cursors[MEMLANE_PLACE_CURSORS]; /* by lane */
};
static_assert(sizeof(struct memlane_place) == 256, "layout: see docs/layout.md");
enum memlane_place_state {
    MEMLANE_PLACE_FREE = 0,
    MEMLANE_PLACE_JOINING = 1, /* taken; its positions mean nothing yet */
    MEMLANE_PLACE_WAIT = 2, /* publishers wait for its positions */
    MEMLANE_PLACE_OVERWRITE = 3, /* nobody waits for it: its positions are for people */
    MEMLANE_PLACE_EVICTED = 4, /* publishers wait for what it has on loan, and for nothing else */
};

struct memlane_topic_shape {
    uint64_t publishers; /* lanes */
    uint64_t capacity; /* of bytes, each lane */
    uint64_t records; /* at most, each lane */
    uint64_t descriptors; /* N, each lane: more than `records` */
    uint64_t subscribers; /* places */
    uint64_t order;
    uint64_t policy; /* of subscribers that do not choose */
    uint64_t places_offset; /* in the object */
    uint64_t place_stride;
    uint64_t data_offset; /* of lane 0's descriptors, in the object */
    uint64_t bytes_offset; /* of a lane's bytes, from its descriptors */
    uint64_t data_nbytes; /* descriptors, stamps and bytes of one lane */
    uint64_t nbytes; /* of the whole object */
};

/* Compute the shape of a topic. Every bound is small enough that nothing here can overflow.
 *
 * There are more descriptors than records, so that the descriptor of the next record is never one of a record that
 * somebody may still read: there a lane can be closed whatever is in it.
 * Callers: anyone. Progress: bounded by 24 steps. Ordering: none. Returns: false: the geometry is out of range. */
static inline bool memlane_topic_lay_out(struct memlane_topic_shape *shape, uint64_t publishers, uint64_t capacity,
                                         uint64_t records, uint64_t subscribers, uint64_t order, uint64_t policy) {
    if (publishers == 0 || publishers > MEMLANE_LANES_MAX || capacity == 0 || capacity % MEMLANE_ALIGNMENT ||
        capacity > MEMLANE_CAPACITY_MAX || records == 0 || records >= MEMLANE_DESCRIPTORS_MAX || subscribers == 0 ||
        subscribers > MEMLANE_SUBSCRIBERS_MAX || order < MEMLANE_ORDER_PUBLISHER || order > MEMLANE_ORDER_ALL ||
        policy < MEMLANE_POLICY_OVERWRITE || policy > MEMLANE_POLICY_WAIT)
        return false;
    uint64_t descriptors = 2;
    while (descriptors <= records)
        descriptors *= 2;
    shape->publishers = publishers;
    shape->capacity = capacity;
    shape->records = records;
    shape->descriptors = descriptors;
    shape->subscribers = subscribers;
    shape->order = order;
    shape->policy = policy;
    shape->places_offset = memlane_round_up(
        sizeof(struct memlane_topic_control) + publishers * sizeof(struct memlane_lane_control), MEMLANE_LINE_PAIR);
    shape->place_stride = offsetof(struct memlane_place, moved_ns) +
                          memlane_round_up((1 + publishers) * sizeof(struct memlane_cursor), MEMLANE_LINE_PAIR);
    shape->data_offset = memlane_align(shape->places_offset + subscribers * shape->place_stride);
    shape->bytes_offset = memlane_align(descriptors * (sizeof(struct memlane_descriptor) + sizeof(uint64_t)));
    shape->data_nbytes = shape->bytes_offset + capacity;
    shape->nbytes = shape->data_offset + publishers * shape->data_nbytes;
    return true;
}

/* Tell where the doorbells of a topic are: the publishers' are made with it, each subscriber's by its first waiter.
 * Callers: anyone, on private memory. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_topic_tell_doorbells(const struct memlane_topic_shape *shape,
                                                struct memlane_doorbells *at_once, struct memlane_doorbells *later) {
    at_once->offset = sizeof(struct memlane_topic_control) + offsetof(struct memlane_lane_control, doorbell);
    at_once->stride = sizeof(struct memlane_lane_control);
    at_once->count = (uint32_t)shape->publishers;
    later->offset = shape->places_offset + offsetof(struct memlane_place, doorbell);
    later->stride = (uint32_t)shape->place_stride;
    later->count = (uint32_t)shape->subscribers;
}

#endif
