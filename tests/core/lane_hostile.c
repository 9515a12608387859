/* SPDX-License-Identifier: MIT
 *
 * Shared bytes that no sound program writes: a typed answer, bounded loops, and not one byte beyond the
 * lane. Each block of the lane ends where it ends, so the address sanitizer sees any step outside.
 */
#include "lane_fixture.h"

TEST(an_extent_out_of_bounds_is_corrupted_for_the_consumer) {
    static const uint64_t extents[][2] = {
        {0, 65},
        {8, 57},
        {56, 9},
        {64, 0},
        {72, 0},
        {64, 8},
        {0, UINT32_MAX},
        {0, UINT32_MAX - 6},
        {UINT64_C(8) * UINT32_MAX, 0},
        {UINT64_C(8) * UINT32_MAX, UINT32_MAX},
    };
    for (size_t i = 0; i < sizeof extents / sizeof *extents; i++) {
        struct bench bench = bench_new(64, 4);
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
        bench_set_extent(&bench, 0, extents[i][0], extents[i][1]);
        CHECK_EQUAL(MEMLANE_CORRUPTED, bench_look(&bench));
        /* it can be passed all the same */
        memlane_consumer_finish(&bench.consumer, 1, 0);
        CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
        bench_free(&bench);
    }
}

TEST(an_extent_at_the_very_bounds_is_believed) {
    static const uint64_t extents[][2] = {{0, 64}, {0, 57}, {56, 8}, {56, 0}, {56, 1}};
    for (size_t i = 0; i < sizeof extents / sizeof *extents; i++) {
        struct bench bench = bench_new(64, 4);
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
        bench_set_extent(&bench, 0, extents[i][0], extents[i][1]);
        CHECK_EQUAL(MEMLANE_OK, bench_look(&bench));
        bench_free(&bench);
    }
}

TEST(a_head_that_no_consumer_can_have_stored_is_corrupted_for_a_producer_that_needs_room) {
    struct bench bench = bench_new(64, 4);
    for (uint64_t s = 0; s < 4; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
    static const uint64_t heads[] = {5, 1000, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 32};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        atomic_store(&bench.lane.control->head, heads[i]);
        CHECK_EQUAL(MEMLANE_CORRUPTED, bench_put(&bench, 8, 4));
    }
    atomic_store(&bench.lane.control->head, 0); /* nothing of the refusals is left */
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 8, 4));
    bench_free(&bench);
}

TEST(an_oldest_record_out_of_bounds_is_corrupted_for_a_producer_that_needs_room) {
    struct bench bench = bench_new(64, 4);
    for (uint64_t s = 0; s < 4; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
    bench_set_extent(&bench, 0, 4096, 8);
    CHECK_EQUAL(MEMLANE_CORRUPTED, bench_put(&bench, 8, 4));
    bench_free(&bench);
}

TEST(a_tail_or_head_that_cannot_be_is_corrupted_for_an_adopter_or_taken_as_a_hint) {
    struct bench bench = bench_new(64, 4);
    for (uint64_t s = 0; s < 3; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
    atomic_store(&bench.lane.control->tail, 5);
    CHECK_EQUAL(MEMLANE_CORRUPTED, bench_new_producer(&bench)); /* more than there are descriptors */
    atomic_store(&bench.lane.control->tail, UINT64_C(1) << 40);
    CHECK_EQUAL(MEMLANE_CORRUPTED, bench_new_producer(&bench));
    atomic_store(&bench.lane.control->tail, UINT64_MAX); /* behind head: as after a kill */
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    CHECK_EQUAL(3, bench.producer.next);

    bench_set_extent(&bench, 2, 64, 8); /* the last one: where to write on is unknown */
    CHECK_EQUAL(MEMLANE_CORRUPTED, bench_new_producer(&bench));
    bench_set_extent(&bench, 2, 16, 8);
    bench_set_extent(&bench, 0, 64, 8); /* the oldest one: how far is unknown */
    CHECK_EQUAL(MEMLANE_CORRUPTED, bench_new_producer(&bench));
    bench_free(&bench);
}

TEST(a_state_that_says_anything_else_is_empty_for_the_consumer_and_no_obstacle_to_a_commit) {
    static const uint64_t states[] = {UINT64_MAX, 1, UINT64_C(1) << 32, 5, 6, 7, 0x8000000000000001};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
        struct bench bench = bench_new_at(64, 4, 9);
        atomic_store(&memlane_descriptor_of(&bench.lane, 9)->state, states[i]);
        CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 9));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 9));
        bench_free(&bench);
    }
}

TEST(a_ring_of_descriptors_that_are_all_free_ends_every_walk) {
    struct bench bench = bench_new(64, 8);
    for (uint64_t s = 0; s < 8; s++)
        bench_set_state(&bench, s, MEMLANE_STATE_FREE);
    memlane_consumer_skip(&bench.consumer);
    CHECK_EQUAL(8, bench_head(&bench));
    CHECK_EQUAL(8, atomic_load(&bench.consumer.next));
    memlane_consumer_drop(&bench.consumer);
    bench_free(&bench);
}

/* One of the shared words of a lane, by number. */
static void flip(struct bench *bench, uint64_t *random) {
    uint64_t bits;
    switch (check_below(random, 3)) {
    case 0: /* one bit */
        bits = UINT64_C(1) << check_below(random, 64);
        break;
    case 1: /* a small number */
        bits = check_below(random, 16);
        break;
    default:
        bits = check_random(random);
    }
    struct memlane_descriptor *descriptor = &bench->lane.descriptors[check_below(random, bench->lane.mask + 1)];
    switch (check_below(random, 8)) {
    case 0:
        atomic_fetch_xor(&bench->lane.control->head, bits);
        break;
    case 1:
        atomic_fetch_xor(&bench->lane.control->tail, bits);
        break;
    case 2:
        atomic_fetch_xor(&bench->ring->leased, (uint32_t)bits);
        break;
    case 3:
        if (check_below(random, 16) == 0)
            atomic_fetch_xor(&bench->ring->shutdown, (uint32_t)bits);
        break;
    case 4:
    case 5:
        atomic_fetch_xor(&descriptor->state, bits);
        break;
    default:
        atomic_fetch_xor(&descriptor->extent, bits);
    }
}

/* Set every shared word right again, or nothing would be reached but the first refusal. */
static void heal(struct bench *bench, uint64_t *random) {
    uint64_t s = check_random(random);
    for (uint64_t i = 0; i <= bench->lane.mask; i++) {
        atomic_store(&bench->lane.descriptors[i].state, 0);
        atomic_store(&bench->lane.descriptors[i].extent, 0);
    }
    atomic_store(&bench->lane.control->head, s);
    atomic_store(&bench->lane.control->tail, s);
    atomic_store(&bench->ring->shutdown, 0);
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(bench));
    bench_new_consumer(bench);
}

static unsigned char source[8192], sink[8192];
static uint64_t reached[MEMLANE_LOST + 1]; /* answers seen, to prove that the walk went deep */

/* The consumer copies what it was told to: that is what must not leave the lane. */
static enum memlane_status copy_out(struct bench *bench, uint64_t *s, struct memlane_extent *extent) {
    enum memlane_status status = memlane_consumer_peek(&bench->consumer, s, extent);
    if (status == MEMLANE_OK)
        memcpy(sink, bench->lane.bytes + extent->offset, extent->nbytes);
    return status;
}

static void steps_on_garbage(uint64_t capacity, uint64_t records, uint64_t seed, int steps) {
    struct bench bench = bench_new(capacity, records);
    uint64_t random = seed, s, offset, loans[64];
    size_t held = 0, done;
    struct memlane_extent extent;
    struct memlane_span spans[8];
    for (int step = 0; step < steps; step++) {
        enum memlane_status status = MEMLANE_OK;
        switch (check_below(&random, 16)) {
        case 0:
        case 1:
            flip(&bench, &random);
            break;
        case 2:
            if (check_below(&random, 8) == 0) {
                heal(&bench, &random);
                held = 0;
            }
            break;
        case 3:
            if (check_below(&random, 4) == 0) {
                struct memlane_producer before = bench.producer;
                status = bench_new_producer(&bench);
                if (status != MEMLANE_OK)
                    bench.producer = before; /* a caller does not go on with it */
            }
            break;
        case 4:
            if (check_below(&random, 4) == 0) {
                bench_new_consumer(&bench);
                held = 0;
            }
            break;
        case 5:
        case 6:
            status = memlane_producer_put(&bench.producer, source, check_below(&random, capacity + 2));
            break;
        case 7: {
            size_t count = 1 + check_below(&random, 8);
            for (size_t i = 0; i < count; i++)
                spans[i] = (struct memlane_span){source, check_below(&random, capacity / 2 + 1)};
            status = memlane_producer_put_many(&bench.producer, spans, count, &done);
            CHECK(done <= count && (status == MEMLANE_OK) == (done > 0));
            break;
        }
        case 8:
            offset = UINT64_MAX;
            s = check_below(&random, capacity + 1);
            status = memlane_producer_claim(&bench.producer, s, &offset);
            if (status == MEMLANE_OK) {
                memset(bench.lane.bytes + offset, 1, s);
                status = memlane_producer_commit(&bench.producer, offset, check_below(&random, s + 1));
            }
            break;
        case 9:
        case 10:
            status = copy_out(&bench, &s, &extent);
            if (status == MEMLANE_OK || status == MEMLANE_CORRUPTED)
                memlane_consumer_finish(&bench.consumer, 1, 8);
            break;
        case 11:
            status = copy_out(&bench, &s, &extent);
            if (status == MEMLANE_OK && held < sizeof loans / sizeof *loans) {
                memlane_consumer_borrow(&bench.consumer);
                loans[held++] = s;
            }
            break;
        case 12:
            if (held > 0) {
                size_t which = check_below(&random, held);
                memlane_consumer_release(&bench.consumer, loans[which]);
                loans[which] = loans[--held];
            }
            break;
        case 13:
            memlane_consumer_skip(&bench.consumer);
            break;
        case 14:
            if (check_below(&random, 8) == 0)
                status = memlane_consumer_close(&bench.consumer);
            else if (check_below(&random, 8) == 0)
                memlane_consumer_drop(&bench.consumer);
            break;
        default:
            CHECK(memlane_lane_length(&bench.lane) <= records);
            CHECK(memlane_ring_leased(bench.ring, 5) <= 5);
            (void)memlane_consumer_any(&bench.consumer);
            (void)memlane_consumer_overlooked(&bench.consumer);
        }
        reached[status]++;
    }
    bench_free(&bench);
}

TEST(any_bytes_in_the_shared_words_give_a_typed_answer_in_bounded_time_and_never_a_step_outside) {
    static const uint64_t geometry[][2] = {{8, 1},   {64, 2},    {72, 8},     {64, 5},
                                           {512, 8}, {4096, 64}, {4096, 300}, {24, 16}};
    for (size_t i = 0; i < 8; i++)
        for (uint64_t seed = 1; seed <= 5; seed++)
            steps_on_garbage(geometry[i][0], geometry[i][1], seed * 1000 + i, 5000);
    for (int status = MEMLANE_OK; status <= MEMLANE_BUSY; status++)
        CHECK(reached[status] > 100); /* each answer was given, so the walk went deep */
}

MAIN
