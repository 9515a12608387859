/* SPDX-License-Identifier: MIT
 *
 * The bytes of a ring, and where its parts lie.
 */
#ifndef MEMLANE_RING_LAYOUT_H
#define MEMLANE_RING_LAYOUT_H

#include "core/layout.h"

#define MEMLANE_LANES_MAX 1000u
#define MEMLANE_DESCRIPTORS_MAX (UINT64_C(1) << 24)
#define MEMLANE_CAPACITY_MAX (UINT64_C(1) << 35) /* offsets count units of 8 bytes in 32 bits */
#define MEMLANE_RECORD_MAX ((UINT64_C(1) << 32) - 8)

/* ---- ring: geometry = { lanes, capacity, records, consumers } ----------------------------------
 *
 *   0                256                           +lanes * 512     +4096, page aligned
 *   +----------------+-------------+------ - - ----+----------------+----------------------+------------ - -
 *   | ring control   | lane control| ...           | consumers      | descriptors, stamps, | of lane 1 ...
 *   |                |             |               |                | bytes                |
 *   +----------------+-------------+------ - - ----+----------------+----------------------+------------ - -
 *    reserved with the object                                        of lane 0: reserved when it is first leased
 *
 * `consumers` has the tags of many consumers, 4 bytes for each row that the participants table can have.
 */
struct memlane_ring_control {
    /* Producers look at this line after every commit; it changes seldom. */
    _Atomic uint32_t shutdown; /* 0 | 1 drain | 2 drop */
    _Atomic uint32_t leased; /* lanes that were ever leased: they are the first ones */
    _Atomic uint32_t waiters; /* consumers that announced themselves, see waiters.h */
    _Atomic uint32_t consumer; /* tag of the one consumer */
    alignas(MEMLANE_LINE_PAIR) struct memlane_doorbell doorbell; /* wakes consumers */
    alignas(64) _Atomic uint64_t redelivered; /* records taken out of dead hands, for people */
    _Atomic uint64_t handed_back; /* how often one of many consumers has handed a record back */
    _Atomic uint64_t came; /* consumers that ever came, see peers.h */
    _Atomic uint64_t died; /* of them are known to have died, for people */
    unsigned char unused[32];
};
static_assert(sizeof(struct memlane_ring_control) == 256, "layout: see docs/layout.md");
enum memlane_consumers { MEMLANE_CONSUMERS_ONE = 1, MEMLANE_CONSUMERS_MANY = 2 };
enum { MEMLANE_SHUTDOWN_DRAIN = 1, MEMLANE_SHUTDOWN_DROP = 2 };

struct memlane_lane_control {
    _Atomic uint32_t owner; /* 0 never leased | tag | DEPARTED | CLOSED */
    _Atomic uint32_t waiters; /* threads of the producer that wait for room, see waiters.h */
    alignas(MEMLANE_LINE_PAIR) _Atomic uint64_t tail; /* the producer's: a hint, see lane.h */
    alignas(MEMLANE_LINE_PAIR) _Atomic uint64_t head; /* the consumer's: the oldest not released */
    _Atomic uint64_t taken; /* for many consumers: the next to take, a hint */
    alignas(MEMLANE_LINE_PAIR) struct memlane_doorbell doorbell; /* wakes the producer */
    alignas(64) _Atomic uint64_t full; /* puts that found no room, for people */
    _Atomic uint64_t clock; /* whose times the stamps tell: a hash, 0: nobody's */
    unsigned char unused[48];
};
static_assert(sizeof(struct memlane_lane_control) == 512, "layout: see docs/layout.md");
static_assert(offsetof(struct memlane_lane_control, tail) == 128 && offsetof(struct memlane_lane_control, head) == 256,
              "each side's stores have a pair of lines of their own");
/* Both are even in their generation bits, which no tag is. */
#define MEMLANE_OWNER_NEVER 0u
#define MEMLANE_OWNER_DEPARTED 1u
#define MEMLANE_OWNER_CLOSED 2u

/* A descriptor: 16 bytes, one a record.
 *   state    low half: s mod 2^29, then the kind in 3 bits; high half: the tag when taken, else s >> 29
 *   extent   low half: offset / 8 of the payload in the bytes of the lane; high half: its length */
struct memlane_descriptor {
    _Atomic uint64_t state;
    _Atomic uint64_t extent;
};
static_assert(sizeof(struct memlane_descriptor) == 16, "four descriptors a cache line");

/* A stamp: 8 bytes beside each descriptor, when its record was committed, of some records only (lane.h).
 *   low 39 bits: CLOCK_MONOTONIC_COARSE in ticks of 2^22 ns, which last 73 years; high 25 bits: s mod 2^25, so that one of
 *   another round is not taken for it */
#define MEMLANE_TICK_BITS 22u
#define MEMLANE_STAMP_TICKS_BITS 39u
/* A record whose number is a multiple of it has a stamp whatever it cost. */
#define MEMLANE_STAMP_EACH 16u
enum memlane_state {
    MEMLANE_STATE_NONE = 0, /* nothing, or an uncommitted batch that was voided */
    MEMLANE_STATE_READY = 1,
    MEMLANE_STATE_TAKEN = 2,
    MEMLANE_STATE_FREE = 3,
    MEMLANE_STATE_CLOSED = 4, /* shut down: no record will ever be here */
};

struct memlane_ring_shape {
    uint64_t lanes;
    uint64_t capacity; /* of bytes, each lane */
    uint64_t records; /* at most, each lane */
    uint64_t descriptors; /* N, each lane */
    uint64_t consumers_offset; /* of the tags of many consumers, in the object */
    uint64_t data_offset; /* of lane 0's descriptors, in the object */
    uint64_t bytes_offset; /* of a lane's bytes, from its descriptors */
    uint64_t data_nbytes; /* descriptors, stamps and bytes of one lane */
    uint64_t nbytes; /* of the whole object */
};

/* Compute the shape of a ring. Every bound is small enough that nothing here can overflow.
 * Callers: anyone. Progress: bounded by 24 steps. Ordering: none. Returns: false: the geometry is out of range. */
static inline bool memlane_ring_lay_out(struct memlane_ring_shape *shape, uint64_t lanes, uint64_t capacity,
                                        uint64_t records) {
    if (lanes == 0 || lanes > MEMLANE_LANES_MAX || capacity == 0 || capacity % MEMLANE_ALIGNMENT ||
        capacity > MEMLANE_CAPACITY_MAX || records == 0 || records > MEMLANE_DESCRIPTORS_MAX)
        return false;
    uint64_t descriptors = 1;
    while (descriptors < records)
        descriptors *= 2;
    shape->lanes = lanes;
    shape->capacity = capacity;
    shape->records = records;
    shape->descriptors = descriptors;
    shape->consumers_offset = sizeof(struct memlane_ring_control) + lanes * sizeof(struct memlane_lane_control);
    shape->data_offset = memlane_align(shape->consumers_offset + MEMLANE_ROWS_MAX * sizeof(uint32_t));
    shape->bytes_offset = memlane_align(descriptors * (sizeof(struct memlane_descriptor) + sizeof(uint64_t)));
    shape->data_nbytes = shape->bytes_offset + capacity;
    shape->nbytes = shape->data_offset + lanes * shape->data_nbytes;
    return true;
}

/* Tell where the doorbells of a ring are: the consumers' is made with it, each lane's by its first producer.
 * Callers: anyone, on private memory. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_ring_tell_doorbells(uint64_t lanes, struct memlane_doorbells *at_once,
                                               struct memlane_doorbells *later) {
    at_once->offset = offsetof(struct memlane_ring_control, doorbell);
    at_once->stride = sizeof(struct memlane_doorbell);
    at_once->count = 1;
    later->offset = sizeof(struct memlane_ring_control) + offsetof(struct memlane_lane_control, doorbell);
    later->stride = sizeof(struct memlane_lane_control);
    later->count = (uint32_t)lanes;
}

#endif
