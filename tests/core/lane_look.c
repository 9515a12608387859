/* SPDX-License-Identifier: MIT
 *
 * Looks at a lane that take nothing: what they find, and when a copy of theirs does not count.
 */
#include "core/lane_consumers.h"
#include "core/lane_look.h"
#include "lane_fixture.h"

/* Look at record s, and copy it as it is now. */
static enum memlane_status look(const struct bench *bench, uint64_t s, unsigned char *copy, uint64_t *nbytes) {
    struct memlane_extent extent;
    enum memlane_status status = memlane_lane_look(&bench->lane, s, &extent);
    if (status == MEMLANE_OK) {
        memlane_words_fetch(copy, bench->lane.bytes + extent.offset, extent.nbytes);
        *nbytes = extent.nbytes;
    }
    return status;
}

TEST(a_look_finds_every_record_that_waits_and_takes_none) {
    struct bench bench = bench_new(64, 4);
    unsigned char copy[64];
    uint64_t nbytes;
    for (uint64_t s = 0; s < 3; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 5, s));
    for (uint64_t s = 0; s < 3; s++) {
        CHECK_EQUAL(MEMLANE_OK, look(&bench, s, copy, &nbytes));
        CHECK(memlane_lane_still_has(&bench.lane, s));
        bench_check_payload(copy, nbytes, s);
    }
    CHECK_EQUAL(MEMLANE_EMPTY, look(&bench, 3, copy, &nbytes));
    for (uint64_t s = 0; s < 3; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 5, s));
    bench_free(&bench);
}

TEST(a_copy_of_a_record_that_was_released_meanwhile_does_not_count) {
    struct bench bench = bench_new(64, 4);
    struct memlane_extent extent;
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
    CHECK_EQUAL(MEMLANE_OK, memlane_lane_look(&bench.lane, 0, &extent));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 0)); /* its state is READY still: `head` alone tells */
    CHECK_EQUAL(memlane_state(0, MEMLANE_STATE_READY), bench_state(&bench, 0));
    CHECK(!memlane_lane_still_has(&bench.lane, 0));
    bench_free(&bench);
}

TEST(what_was_released_is_told_from_what_is_still_to_come) {
    struct bench bench = bench_new(64, 2);
    unsigned char copy[64];
    uint64_t nbytes;
    for (uint64_t s = 0; s < 5; s++) {
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, s));
    }
    for (uint64_t s = 0; s < 5; s++) /* of this round, and of rounds whose descriptors are used again */
        CHECK_EQUAL(MEMLANE_LAPPED, look(&bench, s, copy, &nbytes));
    CHECK_EQUAL(MEMLANE_EMPTY, look(&bench, 5, copy, &nbytes));
    bench_free(&bench);
}

TEST(a_record_that_was_released_out_of_order_is_passed) {
    struct bench bench = bench_new(64, 4);
    unsigned char copy[64];
    uint64_t nbytes;
    for (uint64_t s = 0; s < 2; s++)
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, s));
    CHECK_EQUAL(0, bench_borrow(&bench, 8, 0));
    CHECK_EQUAL(1, bench_borrow(&bench, 8, 1));
    memlane_consumer_release(&bench.consumer, 1);
    CHECK_EQUAL(0, bench_head(&bench));
    CHECK_EQUAL(MEMLANE_OK, look(&bench, 0, copy, &nbytes)); /* on loan: still what was put */
    CHECK(memlane_lane_still_has(&bench.lane, 0));
    CHECK_EQUAL(MEMLANE_LAPPED, look(&bench, 1, copy, &nbytes));
    CHECK(!memlane_lane_still_has(&bench.lane, 1));
    bench_free(&bench);
}

TEST(what_one_of_many_consumers_has_in_hand_is_there_until_it_is_freed) {
    struct bench bench = bench_new(64, 4);
    unsigned char copy[64];
    uint64_t nbytes;
    bench.lane.many = bench.producer.lane.many = true;
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
    atomic_store(&memlane_descriptor_of(&bench.lane, 0)->state, memlane_state_taken(0, 77));
    CHECK_EQUAL(MEMLANE_OK, look(&bench, 0, copy, &nbytes));
    CHECK(memlane_lane_still_has(&bench.lane, 0));
    bench_set_state(&bench, 0, MEMLANE_STATE_FREE); /* `head` is the producer's to move, and has not moved */
    CHECK(!memlane_lane_still_has(&bench.lane, 0));
    CHECK_EQUAL(MEMLANE_LAPPED, look(&bench, 0, copy, &nbytes));
    bench_free(&bench);
}

TEST(an_extent_out_of_bounds_is_corrupt_only_while_its_record_is_there) {
    struct bench bench = bench_new(64, 4);
    unsigned char copy[64];
    uint64_t nbytes;
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 0));
    bench_set_extent(&bench, 0, 56, 16);
    CHECK_EQUAL(MEMLANE_CORRUPTED, look(&bench, 0, copy, &nbytes));
    atomic_store(&bench.lane.control->head, 1); /* released, and the descriptor is being filled in anew */
    CHECK_EQUAL(MEMLANE_LAPPED, look(&bench, 0, copy, &nbytes));
    bench_free(&bench);
}

TEST(statistics_tell_who_has_a_record_in_hand_and_how_long_it_was_after_its_release) {
    struct bench bench = bench_new(64, 4);
    bench.lane.many = bench.producer.lane.many = true;
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 13, 0));
    CHECK_EQUAL(0, memlane_lane_hand(&bench.lane, 0));
    atomic_store(&memlane_descriptor_of(&bench.lane, 0)->state, memlane_state_taken(0, 77));
    CHECK_EQUAL(77, memlane_lane_hand(&bench.lane, 0));
    bench_set_state(&bench, 0, MEMLANE_STATE_FREE);
    CHECK_EQUAL(0, memlane_lane_hand(&bench.lane, 0));
    CHECK_EQUAL(13, memlane_lane_nbytes_of(&bench.lane, 0));
    bench_set_extent(&bench, 0, 0, 65);
    CHECK_EQUAL(0, memlane_lane_nbytes_of(&bench.lane, 0));
    bench_free(&bench);
}

TEST(a_lane_that_was_closed_is_told_from_an_empty_one) {
    struct bench bench = bench_new(64, 4);
    unsigned char copy[64];
    uint64_t nbytes;
    bench_set_state(&bench, 0, MEMLANE_STATE_CLOSED);
    CHECK_EQUAL(MEMLANE_CLOSED, look(&bench, 0, copy, &nbytes));
    bench_free(&bench);
}

MAIN
