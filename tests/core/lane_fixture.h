/* SPDX-License-Identifier: MIT
 *
 * A lane on the work bench: its shared bytes in private memory, each block ending where it ends, with a
 * producer and a consumer, and hands to set any word of it.
 */
#ifndef MEMLANE_TESTS_LANE_FIXTURE_H
#define MEMLANE_TESTS_LANE_FIXTURE_H

#include "check.h"
#include "core/lane_consumer.h"
#include "core/lane_producer.h"

/* Out of line: a test file calls these a hundred times. */
#define BENCH __attribute__((noinline, unused)) static

struct bench {
    struct memlane_ring_control *ring;
    struct memlane_lane lane;
    struct memlane_producer producer;
    struct memlane_consumer consumer;
};

BENCH void bench_free(struct bench *bench) {
    free(bench->ring);
    free(bench->lane.control);
    free(bench->lane.descriptors);
    free(bench->lane.bytes);
}

/* A lane whose first record will be number `s`, adopted by its producer and started by its consumer. */
BENCH struct bench bench_new_at(uint64_t capacity, uint64_t records, uint64_t s) {
    struct bench bench;
    uint64_t descriptors = 1;
    while (descriptors < records)
        descriptors *= 2;
    memset(&bench, 0, sizeof bench);
    bench.ring = check_allocate(MEMLANE_LINE_PAIR, sizeof *bench.ring);
    bench.lane.control = check_allocate(MEMLANE_LINE_PAIR, sizeof *bench.lane.control);
    bench.lane.descriptors = check_allocate(16, descriptors * (sizeof *bench.lane.descriptors + sizeof(uint64_t)));
    bench.lane.bytes = check_allocate(8, capacity);
    bench.lane.capacity = capacity;
    bench.lane.records = records;
    bench.lane.mask = descriptors - 1;
    atomic_store(&bench.lane.control->head, s);
    atomic_store(&bench.lane.control->tail, s);
    atomic_store(&bench.lane.control->taken, s);
    bench.producer.lane = bench.lane;
    bench.producer.ring = bench.ring;
    bench.producer.tag = atomic_load(&bench.lane.control->owner);
    bench.consumer.lane = bench.lane;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_adopt(&bench.producer));
    memlane_consumer_start(&bench.consumer);
    return bench;
}

BENCH struct bench bench_new(uint64_t capacity, uint64_t records) { return bench_new_at(capacity, records, 0); }

/* A process died: its private state is gone, and a new one starts from the shared bytes alone. */
BENCH enum memlane_status bench_new_producer(struct bench *bench) {
    memset(&bench->producer, 0xa5, sizeof bench->producer);
    bench->producer.lane = bench->lane;
    bench->producer.ring = bench->ring;
    bench->producer.tag = atomic_load(&bench->lane.control->owner);
    return memlane_producer_adopt(&bench->producer);
}

BENCH void bench_new_consumer(struct bench *bench) {
    memset(&bench->consumer, 0xa5, sizeof bench->consumer);
    bench->consumer.lane = bench->lane;
    memlane_consumer_start(&bench->consumer);
}

BENCH uint64_t bench_head(const struct bench *bench) { return atomic_load(&bench->lane.control->head); }

BENCH uint64_t bench_state(const struct bench *bench, uint64_t s) {
    return atomic_load(&memlane_descriptor_of(&bench->lane, s)->state);
}

BENCH void bench_set_state(struct bench *bench, uint64_t s, enum memlane_state kind) {
    atomic_store(&memlane_descriptor_of(&bench->lane, s)->state, memlane_state(s, kind));
}

BENCH void bench_set_extent(struct bench *bench, uint64_t s, uint64_t offset, uint64_t nbytes) {
    atomic_store(&memlane_descriptor_of(&bench->lane, s)->extent, memlane_extent_word(offset, nbytes));
}

/* The bytes of the record with this seed: each depends on where it stands. */
BENCH void bench_fill(unsigned char *bytes, size_t nbytes, uint64_t seed) {
    for (size_t i = 0; i < nbytes; i++)
        bytes[i] = (unsigned char)(seed * 131 + i * 29 + (seed >> 8) + 7);
}

BENCH void bench_check_payload(const unsigned char *bytes, size_t nbytes, uint64_t seed) {
    for (size_t i = 0; i < nbytes; i++)
        CHECK_EQUAL((unsigned char)(seed * 131 + i * 29 + (seed >> 8) + 7), bytes[i]);
}

/* Put a record of `nbytes` with the bytes of `seed`. */
BENCH enum memlane_status bench_put(struct bench *bench, size_t nbytes, uint64_t seed) {
    unsigned char *record = check_allocate(8, nbytes);
    bench_fill(record, nbytes, seed);
    enum memlane_status status = memlane_producer_put(&bench->producer, record, nbytes);
    free(record);
    return status;
}

/* Peek, passing what a consumer before released; on MEMLANE_OK the payload is checked. */
BENCH enum memlane_status bench_peek(struct bench *bench, size_t nbytes, uint64_t seed, uint64_t *s,
                                     struct memlane_extent *extent) {
    enum memlane_status status = memlane_consumer_peek(&bench->consumer, s, extent);
    if (status == MEMLANE_BUSY) {
        memlane_consumer_skip(&bench->consumer);
        status = memlane_consumer_peek(&bench->consumer, s, extent);
    }
    if (status == MEMLANE_OK) {
        CHECK_EQUAL(nbytes, extent->nbytes);
        bench_check_payload(bench->lane.bytes + extent->offset, nbytes, seed);
    }
    return status;
}

/* Get the next record and check that it is the one of `nbytes` and `seed`. */
BENCH enum memlane_status bench_get(struct bench *bench, size_t nbytes, uint64_t seed) {
    uint64_t s;
    struct memlane_extent extent;
    enum memlane_status status = bench_peek(bench, nbytes, seed, &s, &extent);
    if (status == MEMLANE_OK)
        memlane_consumer_finish(&bench->consumer, 1, memlane_occupied(extent.nbytes));
    return status;
}

/* Borrow the next record; its number. */
BENCH uint64_t bench_borrow(struct bench *bench, size_t nbytes, uint64_t seed) {
    uint64_t s;
    struct memlane_extent extent;
    CHECK_EQUAL(MEMLANE_OK, bench_peek(bench, nbytes, seed, &s, &extent));
    memlane_consumer_borrow(&bench->consumer);
    return s;
}

BENCH enum memlane_status bench_look(struct bench *bench) {
    uint64_t s;
    struct memlane_extent extent;
    return memlane_consumer_peek(&bench->consumer, &s, &extent);
}

#endif
