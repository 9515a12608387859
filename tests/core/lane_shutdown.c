/* SPDX-License-Identifier: MIT
 *
 * How a lane comes to its end, and its owner: each race is a table of outcomes, played in both orders.
 */
#include "lane_fixture.h"

static const struct memlane_span three[3] = {{"one", 3}, {"two", 3}, {"three", 5}};

/* ---- the flag ------------------------------------------------------------------------------------ */

TEST(nothing_is_claimed_once_the_ring_is_shut_down) {
    struct bench bench = bench_new(256, 8);
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    uint64_t offset = 0;
    size_t done = 99;
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_producer_claim(&bench.producer, 8, &offset));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_producer_put_many(&bench.producer, three, 3, &done));
    CHECK_EQUAL(0, done);
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    bench_free(&bench);
}

TEST(a_put_into_a_full_lane_meets_the_shutdown_not_full) {
    struct bench bench = bench_new(8, 1);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 8, 1));
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_CLOSED, bench_put(&bench, 8, 1));
    bench_free(&bench);
}

TEST(dropping_wins_over_draining_and_any_unknown_flag_means_drop) {
    struct bench bench = bench_new(8, 1);
    CHECK_EQUAL(0, memlane_ring_shutdown(bench.ring));
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_SHUTDOWN_DRAIN, memlane_ring_shutdown(bench.ring));
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DROP);
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_SHUTDOWN_DROP, memlane_ring_shutdown(bench.ring));
    atomic_store(&bench.ring->shutdown, UINT32_MAX);
    CHECK_EQUAL(MEMLANE_SHUTDOWN_DROP, memlane_ring_shutdown(bench.ring));
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DROP); /* ends */
    bench_free(&bench);
}

/* ---- a commit against a close -------------------------------------------------------------------- */

TEST(a_commit_that_passed_the_flag_and_meets_a_closed_lane_is_refused_and_nobody_sees_its_record) {
    struct bench bench = bench_new(256, 8);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 0));
    uint64_t offset = 0;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(&bench.producer, 8, &offset));

    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_consumer_close(&bench.consumer));

    CHECK_EQUAL(MEMLANE_CLOSED, memlane_producer_commit(&bench.producer, offset, 8));
    CHECK_EQUAL(1, bench.producer.next);
    CHECK_EQUAL(1, atomic_load(&bench.lane.control->tail));
    CHECK_EQUAL(MEMLANE_CLOSED, bench_look(&bench));
    CHECK(memlane_consumer_any(&bench.consumer)); /* one who sleeps has an end to learn of */
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_consumer_close(&bench.consumer));
    bench_free(&bench);
}

TEST(a_close_that_meets_a_committed_record_yields_to_it) {
    struct bench bench = bench_new(256, 8);
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_BUSY, memlane_consumer_close(&bench.consumer));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 0));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_consumer_close(&bench.consumer));
    bench_free(&bench);
}

TEST(a_batch_whose_first_record_meets_a_closed_lane_is_voided_whole) {
    for (uint64_t start = 0; start < 9; start++) { /* also across the end of the descriptors */
        struct bench bench = bench_new_at(256, 8, start);
        size_t done = 99;
        bench_set_state(&bench, start, MEMLANE_STATE_CLOSED); /* after the claims, before the commit */
        CHECK_EQUAL(MEMLANE_CLOSED, memlane_producer_put_many(&bench.producer, three, 3, &done));
        CHECK_EQUAL(0, done);
        CHECK_EQUAL(memlane_state(start, MEMLANE_STATE_CLOSED), bench_state(&bench, start));
        CHECK_EQUAL(memlane_state(start + 1, MEMLANE_STATE_NONE), bench_state(&bench, start + 1));
        CHECK_EQUAL(memlane_state(start + 2, MEMLANE_STATE_NONE), bench_state(&bench, start + 2));
        CHECK_EQUAL(start, bench.producer.next);
        CHECK_EQUAL(start, atomic_load(&bench.lane.control->tail));
        CHECK_EQUAL(MEMLANE_CLOSED, bench_look(&bench));
        bench_free(&bench);
    }
}

TEST(an_adopter_of_a_closed_lane_finds_it_closed_behind_its_backlog) {
    struct bench bench = bench_new(256, 8);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 0));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_consumer_close(&bench.consumer));
    bench_set_state(&bench, 2, MEMLANE_STATE_READY); /* and a batch was staged */

    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    CHECK_EQUAL(1, bench.producer.next);
    CHECK_EQUAL(memlane_state(2, MEMLANE_STATE_NONE), bench_state(&bench, 2));
    CHECK_EQUAL(MEMLANE_CLOSED, bench_put(&bench, 8, 1));
    bench_free(&bench);
}

TEST(a_successor_of_the_consumer_that_closed_finds_the_lane_closed) {
    struct bench bench = bench_new(256, 8);
    for (uint64_t s = 0; s < 2; s++) {
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
        CHECK_EQUAL(s, bench_borrow(&bench, 8, s));
    }
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_consumer_close(&bench.consumer));

    bench_new_consumer(&bench); /* it died with both in hand: they come before the end */
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 0));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 1));
    CHECK_EQUAL(MEMLANE_CLOSED, bench_look(&bench));
    bench_free(&bench);
}

TEST(a_lane_full_of_ones_own_loans_is_closed_by_the_flag_alone_without_touching_a_descriptor) {
    for (uint64_t records = 1; records <= 8; records *= 2) {
        struct bench bench = bench_new(256, records);
        for (uint64_t s = 0; s < records; s++) {
            CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
            CHECK_EQUAL(s, bench_borrow(&bench, 8, s));
        }
        memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
        CHECK_EQUAL(MEMLANE_CLOSED, memlane_consumer_close(&bench.consumer));
        for (uint64_t s = 0; s < records; s++)
            CHECK_EQUAL(memlane_state(s, MEMLANE_STATE_READY), bench_state(&bench, s));

        /* the releases make room, and still nothing gets in */
        for (uint64_t s = 0; s < records; s++)
            memlane_consumer_release(&bench.consumer, s);
        CHECK_EQUAL(records, bench_head(&bench));
        CHECK_EQUAL(MEMLANE_CLOSED, bench_put(&bench, 8, 0));
        CHECK_EQUAL(MEMLANE_CLOSED, memlane_consumer_close(&bench.consumer));
        CHECK_EQUAL(MEMLANE_CLOSED, bench_look(&bench));
        bench_free(&bench);
    }
}

TEST(a_lane_full_of_loans_by_bytes_or_below_a_power_of_two_has_a_descriptor_to_close) {
    static const uint64_t geometry[][2] = {{16, 8}, {256, 3}}; /* capacity, records */
    for (size_t i = 0; i < 2; i++) {
        struct bench bench = bench_new(geometry[i][0], geometry[i][1]);
        uint64_t loans = 0;
        while (bench_put(&bench, 8, loans) == MEMLANE_OK) {
            bench_borrow(&bench, 8, loans);
            loans++;
        }
        CHECK_EQUAL(MEMLANE_CLOSED, memlane_consumer_close(&bench.consumer));
        CHECK_EQUAL(memlane_state(loans, MEMLANE_STATE_CLOSED), bench_state(&bench, loans));
        bench_free(&bench);
    }
}

TEST(a_close_by_one_whose_loans_do_not_fill_the_lane_yields_to_a_record_behind_them) {
    struct bench bench = bench_new(256, 4);
    for (uint64_t s = 0; s < 4; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
    for (uint64_t s = 0; s < 3; s++)
        CHECK_EQUAL(s, bench_borrow(&bench, 8, s));
    CHECK_EQUAL(MEMLANE_BUSY, memlane_consumer_close(&bench.consumer));
    bench_free(&bench);
}

TEST(a_drop_frees_everything_ready_and_leaves_loans_to_their_holders) {
    struct bench bench = bench_new(256, 8);
    for (uint64_t s = 0; s < 8; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
    CHECK_EQUAL(0, bench_borrow(&bench, 8, 0));
    bench_set_extent(&bench, 5, UINT64_C(1) << 30, 8); /* a record nobody could get does not hold it up */
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DROP);
    memlane_consumer_drop(&bench.consumer);
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    CHECK_EQUAL(0, bench_head(&bench));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_consumer_close(&bench.consumer));
    memlane_consumer_release(&bench.consumer, 0);
    CHECK_EQUAL(8, bench_head(&bench));
    bench_free(&bench);
}

TEST(a_drop_by_a_successor_skips_what_was_released_before) {
    struct bench bench = bench_new(256, 8);
    for (uint64_t s = 0; s < 8; s++) {
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
        CHECK_EQUAL(s, bench_borrow(&bench, 8, s));
    }
    for (uint64_t s = 1; s < 8; s += 2)
        memlane_consumer_release(&bench.consumer, s);
    bench_new_consumer(&bench);
    memlane_consumer_drop(&bench.consumer);
    CHECK_EQUAL(8, bench_head(&bench));
    CHECK_EQUAL(MEMLANE_EMPTY, bench_look(&bench));
    bench_free(&bench);
}

/* ---- the owner word ------------------------------------------------------------------------------ */

enum { A = 7 << MEMLANE_TAG_ROW_BITS | 3, B = 9 << MEMLANE_TAG_ROW_BITS | 4 }; /* two tags */

TEST(of_a_first_lease_and_a_close_of_a_never_leased_lane_exactly_one_wins) {
    struct memlane_lane_control control = {0};
    CHECK(memlane_lane_lease(&control, MEMLANE_OWNER_NEVER, A));
    CHECK_EQUAL(MEMLANE_BUSY, memlane_lane_close_unleased(&control)); /* look at it as a leased one */
    CHECK_EQUAL(A, atomic_load(&control.owner));

    atomic_store(&control.owner, MEMLANE_OWNER_NEVER);
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_lane_close_unleased(&control));
    CHECK(!memlane_lane_lease(&control, MEMLANE_OWNER_NEVER, A));
    CHECK_EQUAL(MEMLANE_OWNER_CLOSED, atomic_load(&control.owner));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_lane_close_unleased(&control));
}

TEST(a_departed_lane_is_leased_again_and_is_never_closed_as_an_unleased_one) {
    struct memlane_lane_control control = {0};
    CHECK(memlane_lane_lease(&control, MEMLANE_OWNER_NEVER, A));
    CHECK(memlane_lane_depart(&control, A));
    CHECK_EQUAL(MEMLANE_OWNER_DEPARTED, atomic_load(&control.owner));
    CHECK_EQUAL(MEMLANE_BUSY, memlane_lane_close_unleased(&control));
    CHECK(!memlane_lane_lease(&control, MEMLANE_OWNER_NEVER, B));
    CHECK(memlane_lane_lease(&control, MEMLANE_OWNER_DEPARTED, B));
    CHECK_EQUAL(B, atomic_load(&control.owner));
}

TEST(one_who_was_taken_for_dead_cannot_depart_from_the_lane_of_its_successor) {
    struct memlane_lane_control control = {0};
    CHECK(memlane_lane_lease(&control, MEMLANE_OWNER_NEVER, A));
    CHECK(memlane_lane_lease(&control, A, B)); /* A was proven dead */
    CHECK(!memlane_lane_lease(&control, A, A));
    CHECK(!memlane_lane_depart(&control, A));
    CHECK_EQUAL(B, atomic_load(&control.owner));
}

TEST(no_tag_is_one_of_the_words_of_an_owner) {
    for (uint32_t row = 0; row < MEMLANE_ROWS_MAX; row += 341) {
        uint32_t lowest = 1u << MEMLANE_TAG_ROW_BITS | row; /* of the first generation */
        CHECK(lowest > MEMLANE_OWNER_CLOSED && lowest > MEMLANE_OWNER_DEPARTED);
    }
}

TEST(a_role_passes_only_from_the_one_that_was_found_and_is_given_back_only_by_its_holder) {
    _Atomic uint32_t role = MEMLANE_TAG_NONE;
    CHECK(memlane_role_take(&role, MEMLANE_TAG_NONE, A));
    CHECK(memlane_role_held(&role, A));
    CHECK(!memlane_role_take(&role, MEMLANE_TAG_NONE, B));
    CHECK(memlane_role_take(&role, A, B)); /* A was proven dead */
    CHECK(!memlane_role_held(&role, A));
    CHECK(!memlane_role_give(&role, A));
    CHECK(memlane_role_held(&role, B));
    CHECK(memlane_role_give(&role, B));
    CHECK_EQUAL(MEMLANE_TAG_NONE, atomic_load(&role));
}

TEST(the_number_of_leased_lanes_only_grows_and_is_never_believed_beyond_the_lanes_there_are) {
    struct memlane_ring_control control = {0};
    memlane_ring_raise_leased(&control, 3);
    memlane_ring_raise_leased(&control, 2);
    CHECK_EQUAL(3, memlane_ring_leased(&control, 8));
    CHECK_EQUAL(2, memlane_ring_leased(&control, 2));
    atomic_store(&control.leased, UINT32_MAX);
    CHECK_EQUAL(8, memlane_ring_leased(&control, 8));
    memlane_ring_raise_leased(&control, 4); /* ends */
}

MAIN
