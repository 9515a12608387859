/* SPDX-License-Identifier: MIT
 *
 * Bytes of a heap that no sound program writes: a typed answer, bounded loops, and not one byte outside of it, which the
 * address sanitizer watches (hazard 91).
 */
#include "steps.h"

#include "heap_fixture.h"

/* Of one call: a check looks at all references a few times. */
#define STEPS_MAX (64ul * (MEMLANE_HEAP_CHECKS * 16) * 8)

static unsigned long answers[MEMLANE_UNKNOWN_FEATURES + 1];

static void note(enum memlane_status status) {
    CHECK(status == MEMLANE_OK || status == MEMLANE_STALE || status == MEMLANE_FULL || status == MEMLANE_BUSY ||
          status == MEMLANE_LOST || status == MEMLANE_CORRUPTED);
    answers[status]++;
    CHECK(steps_made < STEPS_MAX);
    steps_made = 0;
}

static void touch(const struct memlane_block *block) {
    CHECK(block->offset >= heap.shape.bytes_offset);
    CHECK(block->offset + memlane_round_up(block->payload_nbytes, 8) + block->meta_nbytes <= heap.shape.nbytes);
}

static void use_all(uint64_t *random) {
    const struct memlane_heap_process bob = prover(BOB);
    struct memlane_block block;
    uint64_t what = 0, from = 0, until = 0, offset = 0, nbytes = 0;
    uint32_t which = 0, index = 0;
    bool freed, is_spare;
    steps_made = 0;
    for (uint32_t number = 0; number < heap.shape.blocks; number++) {
        uint64_t state = memlane_heap_descriptor(&heap, number)->state;
        if (!memlane_heap_has(&heap, number))
            continue;
        enum memlane_status status =
            memlane_heap_open(&heap, &bob, number, memlane_block_generation(state), &block, &freed);
        note(status);
        if (status == MEMLANE_OK) {
            touch(&block);
            note(memlane_heap_seal(&heap, number, block.generation));
            status = memlane_transit_stage(&heap, &bob, number, MEMLANE_TRANSIT_RECORD, HERE, check_below(random, 8),
                                           &which, &what);
            note(status);
            if (status == MEMLANE_OK)
                (void)memlane_transit_withdraw(&heap, number, which, what);
            status = memlane_transit_lend(&heap, &bob, number, 3, BOB, &which, &what);
            note(status);
            if (status == MEMLANE_OK) {
                CHECK(memlane_lent_claim(&heap, number, which, memlane_lent_stamp(what)));
                (void)memlane_lent_cancel(&heap, number, which, memlane_lent_stamp(what));
            }
            note(memlane_heap_drop(&heap, &bob, number, block.word, &freed));
        }
        (void)memlane_heap_try_free(&heap, &bob, number);
        if (memlane_heap_covers(&heap, number, &is_spare, &offset, &nbytes))
            CHECK(memlane_range_fits(offset, nbytes, heap.shape.arena_nbytes));
        (void)memlane_heap_stands(&heap, number, memlane_block_generation(state));
        status = memlane_heap_begin(&heap, &bob, number, &block);
        note(status);
        if (status == MEMLANE_OK) {
            uint64_t version = memlane_heap_version(&heap, 0);
            memlane_heap_lay(&heap, &bob, number, UNIT, UNIT, UNIT, 0);
            note(memlane_heap_commit(&heap, 0, number, &version));
            note(memlane_heap_drop(&heap, &bob, number, block.word, &freed));
        }
    }
    uint64_t version = memlane_heap_version(&heap, 0);
    for (uint64_t n = 0; n < 4; n++)
        if (memlane_heap_commit_was_of(&heap, 0, version, memlane_heap_commits(version) - n, &index))
            CHECK(index < heap.shape.blocks);
    if (memlane_heap_unreserved(&heap, 0, 0, heap.shape.arena_nbytes, &from, &until))
        CHECK(from < until && until <= heap.shape.arena_nbytes);
}

static void begin(void) {
    heap_new(4);
    for (int i = 0; i < 3; i++)
        (void)made(i == 1 ? ANN : DAVE, 1);
    const struct memlane_heap_process ann = process(ANN);
    uint64_t what = 0;
    uint32_t which = 0;
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_stage(&heap, &ann, 1, MEMLANE_TRANSIT_RECORD, HERE, 0, &which, &what));
    ann_is_dead = true;
}

TEST(any_word_may_be_anything) {
    uint64_t random = 1;
    for (int round = 0; round < 3000; round++) {
        begin();
        uint64_t *words[] = {(uint64_t *)(void *)memlane_heap_arena(&heap, 0),
                             (uint64_t *)(void *)memlane_heap_descriptor(&heap, 0),
                             (uint64_t *)(void *)memlane_heap_references(&heap, 0).what};
        const uint64_t counts[] = {512, 4 * 4, 4 * heap.shape.references_stride / 8};
        for (uint64_t i = 0; i <= check_below(&random, 6); i++) {
            uint64_t where = check_below(&random, 3);
            uint64_t *word = &words[where][check_below(&random, where ? counts[where] : 40)];
            uint64_t value = check_random(&random);
            *word = i % 2 ? value : *word ^ UINT64_C(1) << (value & 63);
        }
        use_all(&random);
        use_all(&random);
        heap_free();
    }
    CHECK(answers[MEMLANE_OK] > 1000 && answers[MEMLANE_STALE] > 100 && answers[MEMLANE_CORRUPTED] > 10);
}

TEST(a_handle_may_be_anything) {
    uint64_t random = 2;
    heap_new_of(2, 4096, 3, 2, 1);
    memlane_heap_arena(&heap, 1)->ready = 1;
    for (int i = 0; i < 100000; i++) {
        uint32_t number = (uint32_t)check_random(&random) >> check_below(&random, 32);
        CHECK_EQUAL(number < 4, memlane_heap_has(&heap, number));
    }
    memlane_heap_arena(&heap, 0)->ready = UINT32_MAX; /* no more than there are */
    CHECK_EQUAL(3, memlane_heap_ready(&heap, 0));
    CHECK(!memlane_heap_has(&heap, 4));
    heap_free();
}

MAIN
