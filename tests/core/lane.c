/* SPDX-License-Identifier: MIT
 *
 * The lane in one thread: every rare state is built by hand and met by one call.
 */
#include "lane_fixture.h"

/* ---- order, sizes, room --------------------------------------------------------------------------- */

TEST(records_come_out_in_the_order_of_put_across_many_wraps) {
    struct bench bench = bench_new(64, 4);
    uint64_t put = 0, got = 0;
    for (int round = 0; round < 100; round++) {
        while (bench_put(&bench, 1 + put % 23, put) == MEMLANE_OK)
            put++;
        for (int i = 0; i < 2; i++, got++)
            CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 1 + got % 23, got));
    }
    for (; got < put; got++)
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 1 + got % 23, got));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    bench_free(&bench);
}

TEST(a_record_may_end_exactly_at_the_end_of_the_ring_of_bytes) {
    struct bench bench = bench_new(64, 8);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 40, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 24, 1));
    CHECK_EQUAL(64, bench.producer.write);
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 0, 2));

    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 40, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 40, 2));
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 0, 3));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 24, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 40, 2));
    bench_free(&bench);
}

TEST(a_record_that_does_not_fit_before_the_end_starts_at_the_beginning) {
    struct bench bench = bench_new(64, 8);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 24, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 24, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 24, 0));

    uint64_t offset = 99;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(&bench.producer, 24, &offset));
    CHECK_EQUAL(0, offset);
    CHECK_EQUAL(MEMLANE_FULL, memlane_producer_claim(&bench.producer, 25, &offset));
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(&bench.producer, 16, &offset));
    CHECK_EQUAL(48, offset);
    bench_free(&bench);
}

TEST(a_record_as_large_as_the_ring_fits_after_a_small_one_was_taken) {
    struct bench bench = bench_new(64, 8);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 3, 0));
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 64, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 3, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 64, 1));
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 0, 2));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 64, 1));
    bench_free(&bench);
}

TEST(a_large_record_goes_where_the_lane_begins_once_all_before_it_are_released) {
    struct bench bench = bench_new(64, 8);
    uint64_t offset = 99;
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 24, 0));
    memlane_producer_reuse(&bench.producer, 3);
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(&bench.producer, 24, &offset));
    CHECK_EQUAL(24, offset); /* the looks end, though nobody has taken anything */

    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 24, 0));
    memlane_producer_reuse(&bench.producer, 1);
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(&bench.producer, 24, &offset));
    CHECK_EQUAL(0, offset);
    bench_free(&bench);
}

TEST(a_record_larger_than_the_ring_is_too_large_also_when_the_lane_is_full) {
    struct bench bench = bench_new(64, 1);
    CHECK_EQUAL(MEMLANE_TOO_LARGE, bench_put(&bench, 65, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 64, 0));
    CHECK_EQUAL(MEMLANE_TOO_LARGE, bench_put(&bench, 65, 1));
    CHECK_EQUAL(0, bench_head(&bench));
    bench_free(&bench);
}

TEST(records_without_bytes_keep_their_number_and_order) {
    struct bench bench = bench_new(64, 16);
    for (uint64_t s = 0; s < 8; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 0, s));
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 0, 8)); /* each occupies 8 bytes */
    CHECK_EQUAL(8, memlane_lane_length(&bench.lane));
    for (uint64_t s = 0; s < 8; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 0, s));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    CHECK_EQUAL(0, memlane_lane_length(&bench.lane));
    bench_free(&bench);
}

TEST(a_lane_of_one_record_alternates_between_full_and_empty) {
    struct bench bench = bench_new(8, 1);
    for (uint64_t s = 0; s < 10; s++) {
        CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, s % 9, s));
        CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 0, s));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, s % 9, s));
    }
    bench_free(&bench);
}

TEST(a_lane_holds_exactly_the_number_of_records_asked_for_also_between_powers_of_two) {
    struct bench bench = bench_new(4096, 5);
    CHECK_EQUAL(7, bench.lane.mask);
    for (uint64_t round = 0; round < 20; round++) {
        for (uint64_t s = 0; s < 5; s++)
            CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
        CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 8, 5));
        CHECK_EQUAL(5, memlane_lane_length(&bench.lane));
        for (uint64_t s = 0; s < 5; s++)
            CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, s));
    }
    bench_free(&bench);
}

TEST(bytes_full_of_tiny_records_take_one_more_for_each_one_taken) {
    struct bench bench = bench_new(4096, 4096);
    uint64_t put = 0;
    while (bench_put(&bench, 1, put) == MEMLANE_OK)
        put++;
    CHECK_EQUAL(512, put);
    for (uint64_t got = 0; got < 1500; got++, put++) {
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 1, got));
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 1, put));
        CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 1, put));
    }
    bench_free(&bench);
}

TEST(a_claim_that_is_dropped_leaves_no_trace_and_a_commit_may_be_shorter_than_its_claim) {
    struct bench bench = bench_new(64, 4);
    uint64_t offset = 99;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(&bench.producer, 64, &offset));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(&bench.producer, 32, &offset));
    bench_fill(bench.lane.bytes + offset, 5, 1);
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_commit(&bench.producer, offset, 5));
    CHECK_EQUAL(8, bench.producer.write);
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 5, 1));
    bench_free(&bench);
}

TEST(the_counters_pass_2_to_the_29_and_2_to_the_61_and_2_to_the_64) {
    const uint64_t edges[] = {UINT64_C(1) << 29, UINT64_C(1) << 32, UINT64_C(1) << 61, UINT64_C(1) << 63, 0};
    const uint64_t sizes[] = {1, 3, 4};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            struct bench bench = bench_new_at(64, sizes[k], edges[i] - 9);
            for (uint64_t s = edges[i] - 9; s != edges[i] + 9; s++) {
                CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
                CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, s % 8, s));
                CHECK_EQUAL(1, memlane_lane_length(&bench.lane));
                /* a new consumer sees the same as those that were there */
                CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
                CHECK_EQUAL(s + 1, bench.producer.next);
                bench_new_consumer(&bench);
                if (s % 3 == 0) {
                    uint64_t loan = bench_borrow(&bench, s % 8, s);
                    CHECK_EQUAL(s, loan);
                    memlane_consumer_release(&bench.consumer, loan);
                } else
                    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, s % 8, s));
                CHECK_EQUAL(s + 1, bench_head(&bench));
            }
            bench_free(&bench);
        }
}

TEST(a_state_word_differs_from_that_of_every_other_round_below_2_to_the_61_records) {
    const uint64_t s = 5;
    for (unsigned bit = 3; bit < 61; bit++)
        CHECK(memlane_state(s, MEMLANE_STATE_READY) != memlane_state(s + (UINT64_C(1) << bit), MEMLANE_STATE_READY));
    /* 2^61 records, at 10^9 a second, are 73 years: a word left from then is not met */
    CHECK_EQUAL(memlane_state(s, MEMLANE_STATE_READY), memlane_state(s + (UINT64_C(1) << 61), MEMLANE_STATE_READY));
    for (unsigned kind = 1; kind <= MEMLANE_STATE_CLOSED; kind++)
        CHECK(memlane_state(s, (enum memlane_state)kind) != memlane_state(s, (enum memlane_state)(kind - 1)));
}

TEST(memory_that_is_all_zero_holds_no_record_whatever_the_counters) {
    const uint64_t starts[] = {0, 1, 7, UINT64_C(1) << 29, UINT64_C(1) << 61, UINT64_MAX};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct bench bench = bench_new_at(64, 8, starts[i]);
        CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
        CHECK(!memlane_consumer_any(&bench.consumer));
        CHECK(!memlane_consumer_overlooked(&bench.consumer));
        bench_free(&bench);
    }
}

/* ---- batches ------------------------------------------------------------------------------------- */

static unsigned char batch_bytes[64][32];
static struct memlane_span batch[64];

/* Records of `nbytes` with the seeds first, first + 1 ... */
static const struct memlane_span *batch_of(size_t count, size_t nbytes, uint64_t first) {
    for (size_t i = 0; i < count; i++) {
        bench_fill(batch_bytes[i], nbytes, first + i);
        batch[i] = (struct memlane_span){batch_bytes[i], nbytes};
    }
    return batch;
}

TEST(a_batch_that_fits_comes_out_whole_and_in_order) {
    struct bench bench = bench_new(256, 16);
    size_t done = 99;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_put_many(&bench.producer, batch_of(10, 20, 0), 10, &done));
    CHECK_EQUAL(10, done);
    CHECK_EQUAL(10, atomic_load(&bench.lane.control->tail));
    for (uint64_t s = 0; s < 10; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 20, s));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    bench_free(&bench);
}

TEST(a_batch_beyond_the_room_is_split_and_says_how_many_went_in) {
    struct bench bench = bench_new(64, 16);
    size_t done = 99;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_put_many(&bench.producer, batch_of(10, 16, 0), 10, &done));
    CHECK_EQUAL(4, done);
    CHECK_EQUAL(MEMLANE_FULL, memlane_producer_put_many(&bench.producer, batch_of(1, 16, 4), 1, &done));
    CHECK_EQUAL(0, done);
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, 0));
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_put_many(&bench.producer, batch_of(3, 16, 4), 3, &done));
    CHECK_EQUAL(1, done);
    for (uint64_t s = 1; s < 5; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, s));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    bench_free(&bench);
}

TEST(a_batch_is_limited_by_records_too_and_an_entry_too_large_ends_it) {
    struct bench bench = bench_new(4096, 3);
    size_t done = 99;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_put_many(&bench.producer, batch_of(5, 8, 0), 5, &done));
    CHECK_EQUAL(3, done);
    bench_free(&bench);

    bench = bench_new(24, 8);
    batch_of(3, 8, 0);
    batch[1].nbytes = 25;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_put_many(&bench.producer, batch, 3, &done));
    CHECK_EQUAL(1, done);
    CHECK_EQUAL(MEMLANE_TOO_LARGE, memlane_producer_put_many(&bench.producer, batch + 1, 2, &done));
    CHECK_EQUAL(0, done);
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 0));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    bench_free(&bench);
}

/* Look at up to 8 records that come to no more than `most_nbytes`. */
static size_t look_on(struct bench *bench, size_t most, uint64_t most_nbytes, struct memlane_extent *extents) {
    struct memlane_extent first;
    uint64_t s;
    if (memlane_consumer_peek(&bench->consumer, &s, &first) != MEMLANE_OK)
        return 0;
    return memlane_consumer_look_on(&bench->consumer, s, &first, most, most_nbytes, extents);
}

TEST(many_are_looked_at_only_as_far_as_they_are_ready_and_sound) {
    struct bench bench = bench_new_at(256, 8, 5);
    struct memlane_extent extents[8];
    CHECK_EQUAL(0, look_on(&bench, 8, UINT64_MAX, extents));
    for (uint64_t i = 5; i < 11; i++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, i, i));
    CHECK_EQUAL(1, look_on(&bench, 1, UINT64_MAX, extents));
    CHECK_EQUAL(6, look_on(&bench, 8, UINT64_MAX, extents));
    for (uint64_t i = 0; i < 6; i++) {
        CHECK_EQUAL(5 + i, extents[i].nbytes);
        bench_check_payload(bench.lane.bytes + extents[i].offset, 5 + i, 5 + i);
    }
    bench_set_state(&bench, 12, MEMLANE_STATE_READY); /* staged behind 11, which is not committed */
    CHECK_EQUAL(6, look_on(&bench, 8, UINT64_MAX, extents));
    bench_set_extent(&bench, 9, 0, 257);
    CHECK_EQUAL(4, look_on(&bench, 8, UINT64_MAX, extents));
    bench_set_state(&bench, 7, MEMLANE_STATE_FREE); /* a consumer before released it */
    CHECK_EQUAL(2, look_on(&bench, 8, UINT64_MAX, extents));
    bench_free(&bench);
}

TEST(many_are_looked_at_only_as_far_as_their_bytes_are_wanted) {
    struct bench bench = bench_new(256, 8);
    struct memlane_extent extents[8];
    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 10, i));
    CHECK_EQUAL(4, look_on(&bench, 8, 40, extents));
    CHECK_EQUAL(3, look_on(&bench, 8, 39, extents));
    CHECK_EQUAL(1, look_on(&bench, 8, 10, extents));
    CHECK_EQUAL(1, look_on(&bench, 8, 0, extents)); /* the first one was found already */
    bench_free(&bench);
}

TEST(a_batch_may_wrap_inside_itself) {
    struct bench bench = bench_new(64, 16);
    size_t done = 99;
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 24, 100));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 16, 101));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 24, 100));
    /* 24 bytes are left at the end and 24 at the beginning: one record of 16 in each */
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_put_many(&bench.producer, batch_of(4, 16, 0), 4, &done));
    CHECK_EQUAL(2, done);
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, 101));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, 1));
    bench_free(&bench);
}

TEST(nobody_sees_a_staged_batch_before_its_first_record_is_committed) {
    struct bench bench = bench_new(256, 8);
    for (uint64_t s = 1; s < 4; s++) {
        bench_set_extent(&bench, s, s * 8, 8);
        bench_set_state(&bench, s, MEMLANE_STATE_READY);
    }
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    CHECK(!memlane_consumer_any(&bench.consumer));
    CHECK(!memlane_consumer_overlooked(&bench.consumer));
    bench_free(&bench);
}

TEST(a_batch_that_was_staged_and_dropped_leaves_no_phantom_behind_the_next_single_put) {
    struct bench bench = bench_new(256, 8);
    for (uint64_t s = 1; s < 4; s++) {
        bench_set_extent(&bench, s, s * 8, 8);
        bench_set_state(&bench, s, MEMLANE_STATE_READY);
    }
    memlane_lane_void(&bench.lane, 1, 4); /* dropping a batch voids it */
    for (uint64_t s = 1; s < 4; s++)
        CHECK_EQUAL(memlane_state(s, MEMLANE_STATE_NONE), bench_state(&bench, s));

    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 5, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 5, 0));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 6, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 6, 1));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    bench_free(&bench);
}

/* ---- adoption ------------------------------------------------------------------------------------ */

TEST(a_batch_staged_by_a_producer_that_was_killed_before_its_commit_is_voided_by_the_adopter) {
    struct bench bench = bench_new_at(256, 8, 1000);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 9, 1000));
    for (uint64_t s = 1002; s < 1005; s++) {
        bench_set_extent(&bench, s, 64, 8);
        bench_set_state(&bench, s, MEMLANE_STATE_READY);
    }
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    CHECK_EQUAL(1001, bench.producer.next);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 10, 1001));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 9, 1000));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 10, 1001));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    bench_free(&bench);
}

TEST(a_staged_batch_that_fills_the_whole_ring_of_descriptors_is_voided_to_its_end) {
    for (uint64_t records = 1; records <= 8; records *= 2) {
        struct bench bench = bench_new_at(256, records, 50);
        for (uint64_t s = 51; s < 50 + records; s++)
            bench_set_state(&bench, s, MEMLANE_STATE_READY);
        CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
        for (uint64_t s = 51; s < 50 + records; s++)
            CHECK_EQUAL(memlane_state(s, MEMLANE_STATE_NONE), bench_state(&bench, s));
        bench_free(&bench);
    }
}

TEST(a_record_committed_by_a_producer_that_was_killed_before_the_tail_is_kept) {
    struct bench bench = bench_new_at(256, 8, 40);
    for (uint64_t s = 40; s < 43; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 11, s));
    atomic_store(&bench.lane.control->tail, 41); /* as if a batch of two had just been committed */

    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    CHECK_EQUAL(43, bench.producer.next);
    CHECK_EQUAL(43, atomic_load(&bench.lane.control->tail));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 12, 43));
    for (uint64_t s = 40; s < 43; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 11, s));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 12, 43));
    bench_free(&bench);
}

TEST(an_adopter_goes_on_from_head_when_the_consumer_is_beyond_the_tail) {
    struct bench bench = bench_new_at(256, 8, 40);
    for (uint64_t s = 40; s < 44; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 11, s));
    for (uint64_t s = 40; s < 42; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 11, s));
    atomic_store(&bench.lane.control->tail, 40);
    CHECK_EQUAL(0, memlane_lane_length(&bench.lane)); /* not 2^64 - 2 */

    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    CHECK_EQUAL(44, bench.producer.next);
    CHECK_EQUAL(2, memlane_lane_length(&bench.lane));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 11, 42));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 11, 43));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 1, 44));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 1, 44));
    bench_free(&bench);
}

/* A lane as a kill leaves it: two records consumed, two there, the last commit not in `tail`, and behind it
 * a staged batch of three. */
static struct bench killed_in_a_batch(void) {
    struct bench bench = bench_new_at(256, 8, 60);
    for (uint64_t s = 60; s < 64; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 13, s));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 13, 60));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 13, 61));
    atomic_store(&bench.lane.control->tail, 63);
    for (uint64_t s = 65; s < 68; s++) {
        bench_set_extent(&bench, s, 8 * s % 256, 8);
        bench_set_state(&bench, s, MEMLANE_STATE_READY);
    }
    return bench;
}

static void check_adopted(const struct bench *bench) {
    CHECK_EQUAL(64, bench->producer.next);
    CHECK_EQUAL(62, bench->producer.head);
    CHECK_EQUAL(32, bench->producer.oldest);
    CHECK_EQUAL(64, bench->producer.write);
    CHECK_EQUAL(64, atomic_load(&bench->lane.control->tail));
    for (uint64_t s = 64; s < 68; s++)
        CHECK(bench_state(bench, s) != memlane_state(s, MEMLANE_STATE_READY));
}

TEST(two_adoptions_give_the_same_state_as_one) {
    struct bench bench = killed_in_a_batch();
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    check_adopted(&bench);
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    check_adopted(&bench);
    bench_free(&bench);
}

TEST(an_adopter_killed_at_any_step_of_the_voiding_leaves_the_rest_to_the_next) {
    for (uint64_t voided = 0; voided <= 3; voided++) {
        struct bench bench = killed_in_a_batch();
        memlane_lane_void(&bench.lane, 68 - voided, 68); /* last first: what is left is connected */
        CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
        check_adopted(&bench);
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 2, 64));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 13, 62));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 13, 63));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 2, 64));
        CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
        bench_free(&bench);
    }
}

TEST(a_producer_whose_lane_is_another_ones_writes_nothing_over_the_successors_records) {
    struct bench bench = bench_new(4096, 64);
    struct memlane_producer replaced = bench.producer;
    uint64_t offset = 0;
    size_t done = 9;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(&replaced, 16, &offset));
    CHECK(memlane_lane_lease(bench.lane.control, MEMLANE_OWNER_NEVER, 7 << MEMLANE_TAG_ROW_BITS));
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 24, i));
    unsigned char bytes[4096];
    struct memlane_descriptor descriptors[64];
    memcpy(bytes, bench.lane.bytes, sizeof bytes);
    memcpy(descriptors, bench.lane.descriptors, sizeof descriptors);

    CHECK_EQUAL(MEMLANE_LOST, memlane_producer_commit(&replaced, offset, 16));
    CHECK_EQUAL(MEMLANE_LOST, memlane_producer_claim(&replaced, 16, &offset));
    CHECK_EQUAL(MEMLANE_LOST, memlane_producer_put(&replaced, "sixteen bytes...", 16));
    CHECK_EQUAL(MEMLANE_LOST, memlane_producer_put_many(&replaced, batch_of(5, 16, 40), 5, &done));
    CHECK_EQUAL(0, done);
    CHECK_BYTES(bytes, bench.lane.bytes, sizeof bytes);
    CHECK_BYTES(descriptors, bench.lane.descriptors, sizeof descriptors);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 24, i));
    bench_free(&bench);
}

/* A time of the clock of the stamps. */
static uint64_t tick(uint64_t number) { return number << MEMLANE_TICK_BITS; }

static uint64_t waits_since(const struct bench *bench, uint64_t clock) {
    uint64_t steps = 1000;
    return memlane_lane_waits_since(&bench->lane, clock, &steps);
}

TEST(the_oldest_record_has_waited_since_the_first_stamp_from_it_on_that_is_of_its_round) {
    struct bench bench = bench_new_at(4096, 32, UINT64_MAX - 100); /* the numbers pass 2 to the 64 */
    memlane_producer_clock(&bench.producer, 7);
    CHECK_EQUAL(0, waits_since(&bench, 7)); /* nothing waits */
    for (int i = 0; i < 400; i++) {
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, i));
        CHECK_EQUAL(0, waits_since(&bench, 7)); /* and not the time of what was here 32 records ago */
        memlane_producer_stamp(&bench.producer, 1, tick(1000 + i) + 5);
        CHECK_EQUAL(tick(1000 + i), waits_since(&bench, 7));
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, i));
        memlane_producer_stamp(&bench.producer, 1, tick(2000 + i));
        CHECK_EQUAL(tick(1000 + i), waits_since(&bench, 7));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, i));
        CHECK_EQUAL(tick(2000 + i), waits_since(&bench, 7));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, i));
        CHECK_EQUAL(0, waits_since(&bench, 7));
    }
    bench_free(&bench);
}

TEST(a_batch_has_stamps_so_near_to_each_other_that_each_of_its_records_meets_one) {
    for (int start = 0; start < 20; start++) {
        struct bench bench = bench_new_at(65536, 64, start);
        size_t done = 0;
        memlane_producer_clock(&bench.producer, 7);
        CHECK_EQUAL(MEMLANE_OK, memlane_producer_put_many(&bench.producer, batch_of(40, 16, 0), 40, &done));
        memlane_producer_stamp(&bench.producer, done, tick(9));
        for (int i = 0; i < 40; i++) {
            CHECK_EQUAL(tick(9), waits_since(&bench, 7));
            CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, i));
        }
        CHECK_EQUAL(0, waits_since(&bench, 7));
        bench_free(&bench);
    }
}

TEST(single_records_are_stamped_behind_a_wake_up_and_else_so_that_each_meets_a_stamp) {
    struct bench bench = bench_new(4096, 128);
    int stamped = 0;
    memlane_producer_clock(&bench.producer, 7);
    memlane_producer_stamp_next(&bench.producer);
    for (int i = 0; i < 100; i++) {
        if (i == 70) {
            CHECK_EQUAL(MEMLANE_STAMPS_AFTER_WAKING + 4, stamped); /* records 16, 32, 48 and 64 */
            memlane_producer_stamp_next(&bench.producer);
        }
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, i));
        if (memlane_producer_stamp_is_due(&bench.producer)) {
            memlane_producer_stamp_some(&bench.producer, tick(5));
            stamped++;
        }
        if (i < 16)
            CHECK_EQUAL(i + 1, stamped);
    }
    CHECK_EQUAL(MEMLANE_STAMPS_AFTER_WAKING + 4 + MEMLANE_STAMPS_AFTER_WAKING + 2, stamped); /* records 86 and 96 */
    for (int i = 0; i < 100 - 15; i++) {
        CHECK_EQUAL(tick(5), waits_since(&bench, 7));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, i));
    }
    bench_free(&bench);
}

TEST(a_record_without_a_stamp_near_has_waited_nobody_knows_how_long) {
    struct bench bench = bench_new(4096, 64);
    memlane_producer_clock(&bench.producer, 7);
    for (int i = 0; i < 15 + 1; i++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, i));
    memlane_producer_stamp(&bench.producer, 1, tick(3));
    CHECK_EQUAL(tick(3), waits_since(&bench, 7));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 16));
    atomic_store(memlane_lane_stamp_of(&bench.lane, 15), 0);
    memlane_producer_stamp(&bench.producer, 1, tick(4));
    CHECK_EQUAL(0, waits_since(&bench, 7)); /* the one on record 16 is looked for from record 1 on */
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 0));
    CHECK_EQUAL(tick(4), waits_since(&bench, 7));
    uint64_t steps = 0; /* of records that others have in hand, none may be looked at */
    bench_set_state(&bench, 1, MEMLANE_STATE_FREE);
    CHECK_EQUAL(0, memlane_lane_waits_since(&bench.lane, 7, &steps));
    bench_free(&bench);
}

TEST(times_of_another_clock_are_told_to_nobody_and_gone_when_the_clock_changes) {
    struct bench bench = bench_new(4096, 64);
    memlane_producer_clock(&bench.producer, 7);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
    memlane_producer_stamp(&bench.producer, 1, tick(3));
    CHECK_EQUAL(tick(3), waits_since(&bench, 7));
    CHECK_EQUAL(0, waits_since(&bench, 8));
    CHECK_EQUAL(0, waits_since(&bench, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    memlane_producer_clock(&bench.producer, 7); /* of the same boot: the backlog keeps its times */
    CHECK_EQUAL(tick(3), waits_since(&bench, 7));
    memlane_producer_clock(&bench.producer, 0);
    CHECK_EQUAL(0, waits_since(&bench, 0));
    memlane_producer_stamp(&bench.producer, 1, tick(4)); /* by one that does not know its clock */
    memlane_producer_clock(&bench.producer, 8);
    CHECK_EQUAL(0, waits_since(&bench, 8));
    CHECK_EQUAL(0, waits_since(&bench, 7));
    bench_free(&bench);
}

TEST(puts_that_found_no_room_are_counted_in_the_lane_unless_it_is_another_ones_by_now) {
    struct bench bench = bench_new(4096, 64);
    memlane_producer_count_full(&bench.producer);
    memlane_producer_count_full(&bench.producer);
    CHECK_EQUAL(2, memlane_lane_full(&bench.lane));
    CHECK(memlane_lane_lease(bench.lane.control, MEMLANE_OWNER_NEVER, 7 << MEMLANE_TAG_ROW_BITS));
    memlane_producer_count_full(&bench.producer);
    CHECK_EQUAL(2, memlane_lane_full(&bench.lane));
    bench_free(&bench);
}

TEST(an_adopter_takes_up_a_full_lane_and_finds_it_full) {
    for (uint64_t records = 1; records <= 8; records++) {
        struct bench bench = bench_new_at(256, records, 7);
        for (uint64_t s = 7; s < 7 + records; s++)
            CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
        atomic_store(&bench.lane.control->tail, 7);
        CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
        CHECK_EQUAL(7 + records, bench.producer.next);
        CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 8, 0));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 7));
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
        bench_free(&bench);
    }
}

TEST(an_adopter_counts_taken_and_free_records_as_committed) {
    struct bench bench = bench_new_at(256, 8, 20);
    for (uint64_t s = 20; s < 24; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
    bench_set_state(&bench, 21, MEMLANE_STATE_FREE);
    /* taken by a tag whose bits resemble no round */
    atomic_store(&memlane_descriptor_of(&bench.lane, 22)->state,
                 UINT64_C(0xdeadbeef) << 32 | (uint32_t)memlane_state(22, MEMLANE_STATE_TAKEN));
    atomic_store(&bench.lane.control->tail, 20);
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    CHECK_EQUAL(24, bench.producer.next);
    bench_free(&bench);
}

/* ---- loans --------------------------------------------------------------------------------------- */

TEST(head_passes_all_loans_once_the_last_of_them_is_released_in_any_order) {
    static const uint64_t orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 3, 0, 2}, {2, 0, 3, 1}};
    for (size_t i = 0; i < 4; i++) {
        struct bench bench = bench_new(256, 4);
        for (uint64_t s = 0; s < 4; s++) {
            CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
            CHECK_EQUAL(s, bench_borrow(&bench, 8, s));
        }
        bool released[5] = {false};
        for (size_t k = 0; k < 4; k++) {
            memlane_consumer_release(&bench.consumer, orders[i][k]);
            released[orders[i][k]] = true;
            uint64_t head = 0;
            while (released[head])
                head++;
            CHECK_EQUAL(head, bench_head(&bench));
        }
        CHECK_EQUAL(0, atomic_load(&bench.consumer.loans));
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 4));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 4));
        CHECK_EQUAL(5, bench_head(&bench));
        bench_free(&bench);
    }
}

TEST(a_borrowed_record_stays_where_it_is_and_keeps_the_room_behind_it) {
    struct bench bench = bench_new(64, 8);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 32, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 32, 1));
    uint64_t loan = bench_borrow(&bench, 32, 0);
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 32, 1));
    CHECK_EQUAL(0, bench_head(&bench));
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 0, 2));
    bench_check_payload(bench.lane.bytes, 32, 0);
    memlane_consumer_release(&bench.consumer, loan);
    CHECK_EQUAL(2, bench_head(&bench));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 64, 2));
    bench_free(&bench);
}

TEST(a_get_between_the_two_steps_of_a_release_moves_head_and_the_release_then_finds_nothing_to_do) {
    struct bench bench = bench_new(256, 4);
    for (uint64_t s = 0; s < 3; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
    CHECK_EQUAL(0, bench_borrow(&bench, 8, 0));

    CHECK(memlane_consumer_mark(&bench.lane, 0));
    CHECK_EQUAL(0, bench_head(&bench));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 1)); /* the loan still counts, so it marks and advances */
    CHECK_EQUAL(2, bench_head(&bench));
    memlane_consumer_advance(&bench.lane);
    atomic_fetch_sub(&bench.consumer.loans, 1);
    CHECK_EQUAL(2, bench_head(&bench));

    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 2));
    CHECK_EQUAL(3, bench_head(&bench));
    bench_free(&bench);
}

TEST(two_releases_of_neighbors_that_both_mark_before_either_advances_leave_nothing_behind) {
    struct bench bench = bench_new(256, 4);
    for (uint64_t s = 0; s < 2; s++) {
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
        CHECK_EQUAL(s, bench_borrow(&bench, 8, s));
    }
    CHECK(memlane_consumer_mark(&bench.lane, 1));
    CHECK(memlane_consumer_mark(&bench.lane, 0));
    memlane_consumer_advance(&bench.lane);
    CHECK_EQUAL(2, bench_head(&bench));
    memlane_consumer_advance(&bench.lane);
    CHECK_EQUAL(2, bench_head(&bench));
    bench_free(&bench);
}

TEST(a_record_that_is_not_ready_cannot_be_released) {
    struct bench bench = bench_new(256, 4);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
    CHECK(memlane_consumer_mark(&bench.lane, 0));
    CHECK(!memlane_consumer_mark(&bench.lane, 0));
    CHECK(!memlane_consumer_mark(&bench.lane, 1));
    CHECK(!memlane_consumer_mark(&bench.lane, 4)); /* the same descriptor, another round */
    bench_free(&bench);
}

TEST(a_successor_gets_again_what_was_in_hand_and_skips_what_was_released) {
    struct bench bench = bench_new(256, 8);
    for (uint64_t s = 0; s < 6; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
    for (uint64_t s = 0; s < 5; s++)
        CHECK_EQUAL(s, bench_borrow(&bench, 8, s));
    memlane_consumer_release(&bench.consumer, 1);
    memlane_consumer_release(&bench.consumer, 2);
    memlane_consumer_release(&bench.consumer, 4);

    bench_new_consumer(&bench); /* 0 and 3 were in hand */
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 0));
    CHECK_EQUAL(MEMLANE_BUSY, bench_look(&bench));
    CHECK(memlane_consumer_any(&bench.consumer));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 3));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 5));
    CHECK_EQUAL(6, bench_head(&bench));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    bench_free(&bench);
}

TEST(a_successor_moves_head_over_records_that_were_released_just_before_the_kill) {
    struct bench bench = bench_new(256, 4);
    for (uint64_t s = 0; s < 4; s++) {
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
        CHECK_EQUAL(s, bench_borrow(&bench, 8, s));
    }
    for (uint64_t s = 0; s < 4; s++)
        CHECK(memlane_consumer_mark(&bench.lane, s)); /* marked, killed before any advance */
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 8, 4));

    bench_new_consumer(&bench);
    CHECK_EQUAL(MEMLANE_BUSY, bench_look(&bench));
    memlane_consumer_skip(&bench.consumer);
    CHECK_EQUAL(4, bench_head(&bench));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 4));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 4));
    bench_free(&bench);
}

TEST(a_successor_that_borrows_in_front_of_released_records_is_not_overtaken_by_head) {
    struct bench bench = bench_new(256, 2);
    for (uint64_t s = 0; s < 2; s++) {
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
        CHECK_EQUAL(s, bench_borrow(&bench, 8, s));
    }
    memlane_consumer_release(&bench.consumer, 1);

    bench_new_consumer(&bench);
    CHECK_EQUAL(0, bench_borrow(&bench, 8, 0));
    memlane_consumer_release(&bench.consumer, 0); /* head passes 0 and 1 */
    CHECK_EQUAL(2, bench_head(&bench));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 2));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 3)); /* in the descriptor of 1 */
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 2));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 3));
    bench_free(&bench);
}

TEST(a_successor_that_gets_behind_a_loan_and_in_front_of_released_records_is_not_overtaken_by_head) {
    struct bench bench = bench_new(256, 4);
    for (uint64_t s = 0; s < 4; s++) {
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
        CHECK_EQUAL(s, bench_borrow(&bench, 8, s));
    }
    memlane_consumer_release(&bench.consumer, 2);
    memlane_consumer_release(&bench.consumer, 3);

    bench_new_consumer(&bench);
    CHECK_EQUAL(0, bench_borrow(&bench, 8, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 1));
    memlane_consumer_release(&bench.consumer, 0);
    CHECK_EQUAL(4, bench_head(&bench));
    for (uint64_t s = 4; s < 8; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
    for (uint64_t s = 4; s < 8; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, s));
    bench_free(&bench);
}

TEST(a_waiter_asks_to_be_woken_for_a_quarter_of_the_records_or_of_the_bytes) {
    struct bench bench = bench_new(4096, 16);
    CHECK(!memlane_consumer_freed(&bench.consumer, 1, 8));
    CHECK(!memlane_consumer_freed(&bench.consumer, 2, 8));
    CHECK(memlane_consumer_freed(&bench.consumer, 1, 8));
    CHECK(!memlane_consumer_freed(&bench.consumer, 1, 1023 - 16));
    CHECK(memlane_consumer_freed(&bench.consumer, 1, 17));
    CHECK(!memlane_consumer_freed(&bench.consumer, 3, 0)); /* both counts began anew */
    bench_free(&bench);

    bench = bench_new(4096, 5); /* 1 of 5 is less than a quarter, 2 are more */
    CHECK(!memlane_consumer_freed(&bench.consumer, 1, 8));
    CHECK(memlane_consumer_freed(&bench.consumer, 1, 8));
    bench_free(&bench);

    for (uint64_t records = 1; records <= 4; records++) { /* a quarter is never no record at all */
        bench = bench_new(4096, records);
        CHECK(memlane_consumer_freed(&bench.consumer, 1, 8));
        bench_free(&bench);
    }
}

TEST(a_tail_beyond_a_state_that_shows_nothing_is_noticed_and_a_late_tail_is_not) {
    struct bench bench = bench_new(256, 4);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
    CHECK(!memlane_consumer_overlooked(&bench.consumer));
    bench_set_state(&bench, 0, MEMLANE_STATE_NONE);
    CHECK(memlane_consumer_overlooked(&bench.consumer));
    atomic_store(&bench.lane.control->tail, 0);
    CHECK(!memlane_consumer_overlooked(&bench.consumer));
    atomic_store(&bench.lane.control->tail, UINT64_MAX); /* behind by one, not ahead by 2^64 - 1 */
    CHECK(!memlane_consumer_overlooked(&bench.consumer));
    bench_free(&bench);
}

MAIN
