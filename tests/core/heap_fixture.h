/* SPDX-License-Identifier: MIT
 *
 * What the tests of the heap share: a heap in one block of memory, whose end the address sanitizer watches; processes by
 * tag, of which some are dead; an allocation with the simplest picture that there is; and a lane of two records
 * that may carry handles.
 */
#ifndef MEMLANE_TESTS_HEAP_FIXTURE_H
#define MEMLANE_TESTS_HEAP_FIXTURE_H

#include "check.h"
#include "core/heap_room.h"
#include "core/heap_transit.h"
#include "core/lane_producer.h"

/* Clara sits in the row of Ann, once Ann is dead. */
enum { ANN = 1u << 10 | 1, BOB = 1u << 10 | 2, CLARA = 3u << 10 | 1, DAVE = 1u << 10 | 3 };
enum { RECORDS = 4, UNITS = 4, UNIT = 1024 };

static struct memlane_heap heap;
static bool ann_is_dead, bob_is_dead;

static struct memlane_ring_control *ring;
static struct memlane_lane lane;
static struct memlane_many many;
#define HERE memlane_heap_where(7, 0)

static void (*before_a_proof)(void); /* the last thing that a process does before it is found dead */

static inline bool dead(void *of, uint32_t tag) {
    (void)of;
    if (before_a_proof)
        before_a_proof();
    return (ann_is_dead && tag == ANN) || (bob_is_dead && tag == BOB);
}

static inline enum memlane_transit_verdict judge(void *of, enum memlane_transit_kind kind, uint64_t where,
                                                 uint64_t number) {
    (void)of;
    if (kind == MEMLANE_TRANSIT_VERSION)
        return memlane_transit_judge_version(number >> 32,
                                             number & UINT32_MAX); /* the sequence stands beside the version */
    return where == HERE ? memlane_transit_judge_record(&lane, number) : MEMLANE_TRANSIT_OVER;
}

/* With proofs: `prover`. */
static inline struct memlane_heap_process process(uint32_t tag) {
    return (struct memlane_heap_process){.tag = tag, .judge = judge};
}
static inline struct memlane_heap_process prover(uint32_t tag) {
    return (struct memlane_heap_process){.tag = tag, .judge = judge, .is_dead = dead};
}

static inline void heap_new_of(uint64_t arenas, uint64_t arena_nbytes, uint64_t blocks, uint64_t holders,
                               uint64_t transits) {
    CHECK(memlane_heap_lay_out(&heap.shape, arenas, arena_nbytes, blocks, holders, transits, MEMLANE_HEAP_STEP_NBYTES));
    heap.base = check_allocate(4096, heap.shape.nbytes);
    for (uint64_t arena = 0; arena < arenas; arena++)
        memlane_heap_raise_ready(&heap, arena, (uint32_t)blocks);
    ann_is_dead = bob_is_dead = false;
}

/* One arena of four kilobytes, `blocks` blocks with three holders and one transit, and the lane. */
static inline void heap_new(uint64_t blocks) {
    struct memlane_ring_shape shape;
    heap_new_of(1, UNITS * UNIT, blocks, 3, 1);
    CHECK(memlane_ring_lay_out(&shape, 1, 4096, RECORDS));
    unsigned char *bytes = check_allocate(4096, shape.nbytes);
    ring = (struct memlane_ring_control *)(void *)bytes;
    lane = (struct memlane_lane){
        .control = (struct memlane_lane_control *)(void *)(bytes + sizeof *ring),
        .descriptors = (struct memlane_descriptor *)(void *)(bytes + shape.data_offset),
        .bytes = bytes + shape.data_offset + shape.bytes_offset,
        .capacity = shape.capacity,
        .records = shape.records,
        .mask = shape.descriptors - 1,
        .many = true,
    };
    many = (struct memlane_many){.lane = lane};
    memlane_many_start(&many);
}

static inline void heap_free(void) {
    free(heap.base);
    free(ring);
    ring = NULL;
}

static inline unsigned kind_of(uint32_t number) {
    return memlane_block_kind(
        __atomic_load_n((uint64_t *)(void *)&memlane_heap_descriptor(&heap, number)->state, __ATOMIC_SEQ_CST));
}

/* Room for whole units, first fit, by a walk each time. Returns: MEMLANE_OK; MEMLANE_FULL. */
static inline enum memlane_status allocate(uint32_t tag, uint64_t units, struct memlane_block *block) {
    const struct memlane_heap_process me = prover(tag);
    for (int tries = 0; tries < 64; tries++) {
        uint64_t version = memlane_heap_version(&heap, 0), offset, nbytes, at = 0;
        uint32_t spare = UINT32_MAX;
        bool used[UNITS] = {false}, is_spare, freed;
        for (uint32_t i = 0; i < heap.shape.blocks; i++) {
            if (memlane_heap_covers(&heap, i, &is_spare, &offset, &nbytes))
                for (uint64_t unit = offset / UNIT; unit * UNIT < offset + nbytes; unit++)
                    used[unit] = true;
            else if (is_spare && spare == UINT32_MAX)
                spare = i;
        }
        for (uint64_t run = 0; at < UNITS && run < units; at++)
            run = used[at] ? 0 : run + 1;
        bool fits = units <= UNITS;
        for (uint64_t unit = at - units; fits && unit < at; unit++)
            fits = !used[unit];
        if (spare == UINT32_MAX || !fits) {
            bool some = false;
            for (uint32_t i = 0; i < heap.shape.blocks; i++)
                some |= memlane_heap_try_free(&heap, &me, i);
            if (!some)
                return MEMLANE_FULL;
            continue;
        }
        if (memlane_heap_begin(&heap, &me, spare, block) != MEMLANE_OK)
            continue;
        memlane_heap_lay(&heap, &me, spare, (at - units) * UNIT, units * UNIT, units * UNIT, 0);
        if (memlane_heap_commit(&heap, 0, spare, &version) == MEMLANE_OK) {
            CHECK_EQUAL(MEMLANE_OK, memlane_heap_extent(&heap, spare, block));
            return MEMLANE_OK;
        }
        CHECK_EQUAL(MEMLANE_OK, memlane_heap_drop(&heap, &me, spare, block->word, &freed));
    }
    return MEMLANE_BUSY;
}

/* Each byte follows from the life. */
static inline void fill(const struct memlane_block *block) {
    for (uint64_t i = 0; i < block->payload_nbytes; i++)
        heap.base[block->offset + i] = (unsigned char)(block->number * 16 + block->generation);
}
static inline void check_life(const struct memlane_block *block) {
    for (uint64_t i = 0; i < block->payload_nbytes; i++)
        CHECK_EQUAL((unsigned char)(block->number * 16 + block->generation), heap.base[block->offset + i]);
}

static inline struct memlane_block made(uint32_t tag, uint64_t units) {
    struct memlane_block block;
    CHECK_EQUAL(MEMLANE_OK, allocate(tag, units, &block));
    fill(&block);
    CHECK_EQUAL(MEMLANE_OK, memlane_heap_seal(&heap, block.number, block.generation));
    return block;
}

static inline enum memlane_status opened(uint32_t tag, const struct memlane_block *handle,
                                         struct memlane_block *block) {
    const struct memlane_heap_process me = process(tag);
    bool freed;
    return memlane_heap_open(&heap, &me, handle->number, handle->generation, block, &freed);
}

static inline bool dropped(uint32_t tag, const struct memlane_block *block) {
    const struct memlane_heap_process me = process(tag);
    bool freed;
    CHECK_EQUAL(MEMLANE_OK, memlane_heap_drop(&heap, &me, block->number, block->word, &freed));
    return freed;
}

static inline bool collected(uint32_t number) {
    const struct memlane_heap_process me = prover(DAVE);
    return memlane_heap_try_free(&heap, &me, number);
}

#endif
