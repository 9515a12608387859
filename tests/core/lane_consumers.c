/* SPDX-License-Identifier: MIT
 *
 * A lane with many consumers, by one thread: every state built by hand.
 */
#include "consumers_fixture.h"

static const uint64_t starts[] = {0, 1, 1000, (UINT64_C(1) << 29) - 2, (UINT64_C(1) << 61) - 2, -UINT64_C(3)};

TEST(records_come_out_once_and_in_order_whoever_takes_them) {
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        struct many_bench many = many_new_at(64, 8, starts[i]);
        for (int round = 0; round < 5; round++) {
            for (char letter = 'a'; letter <= 'h'; letter++)
                CHECK_EQUAL(MEMLANE_OK, many_put(&many, letter));
            CHECK_EQUAL(MEMLANE_FULL, many_put(&many, 'i'));
            CHECK_EQUAL(8, memlane_lane_length(&many.bench.lane));
            for (char letter = 'a'; letter <= 'h'; letter++)
                CHECK_EQUAL(letter, many_get(&many, letter % 2 ? ALICE : BOB));
            CHECK_EQUAL(0, many_get(&many, ALICE));
            CHECK_EQUAL(0, memlane_lane_length(&many.bench.lane));
            CHECK(!memlane_many_overlooked(&many.many));
        }
        bench_free(&many.bench);
    }
}

TEST(the_producer_goes_on_behind_records_that_were_freed_in_any_order) {
    static const int orders[][4] = {{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 0, 3, 2}, {2, 3, 0, 1}};
    for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
        struct many_bench many = many_new_at(32, 4, 77);
        uint64_t s[4];
        for (int k = 0; k < 4; k++) {
            CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
            CHECK(many_take(&many, ALICE, &s[k]));
        }
        bool first_is_free = false;
        for (int k = 0; k < 4; k++) {
            CHECK_EQUAL(first_is_free ? MEMLANE_OK : MEMLANE_FULL, many_put(&many, 'b'));
            if (first_is_free)
                break;
            CHECK(memlane_many_free(&many.bench.lane, s[orders[i][k]], ALICE));
            first_is_free = orders[i][k] == 0;
            CHECK_EQUAL(first_is_free, memlane_producer_any(&many.bench.producer));
        }
        bench_free(&many.bench);
    }
}

TEST(a_record_in_a_live_hand_keeps_its_room_and_nothing_else) {
    struct many_bench many = many_new_at(64, 8, 0);
    uint64_t s;
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK(many_take(&many, ALICE, &s));
    for (int i = 0; i < 7; i++) {
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'b'));
        CHECK_EQUAL('b', many_get(&many, BOB));
    }
    CHECK_EQUAL(MEMLANE_FULL, many_put(&many, 'c'));
    CHECK_EQUAL(0, many_get(&many, BOB));
    CHECK_EQUAL('a', many_letter(&many, s));
    CHECK(memlane_many_free(&many.bench.lane, s, ALICE));
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'c'));
    bench_free(&many.bench);
}

TEST(what_a_dead_consumer_had_in_hand_is_taken_by_another_one_and_no_longer_its_own) {
    struct many_bench many = many_new_at(64, 8, 5);
    uint64_t of_alice;
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'b'));
    CHECK(many_take(&many, ALICE, &of_alice));
    CHECK_EQUAL('b', many_get(&many, BOB));
    CHECK_EQUAL(0, many_get(&many, BOB)); /* alive: not replaced */
    many.dead[0] = true;
    uint64_t of_bob;
    CHECK(many_take(&many, BOB, &of_bob));
    CHECK_EQUAL(of_alice, of_bob);
    CHECK(!memlane_many_free(&many.bench.lane, of_alice, ALICE)); /* she lived, and must not hand it out */
    CHECK_EQUAL('a', many_letter(&many, of_bob));
    CHECK(memlane_many_free(&many.bench.lane, of_bob, BOB));
    CHECK_EQUAL(0, many_get(&many, BOB));
    bench_free(&many.bench);
}

TEST(one_that_died_before_it_moved_taken_is_helped_along) {
    struct many_bench many = many_new_at(64, 8, 3);
    struct memlane_found found;
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'b'));
    CHECK_EQUAL(MEMLANE_OK, memlane_many_look(&many.many, &found));
    CHECK(memlane_many_claim(&many.bench.lane, &found, ALICE)); /* and no further */
    CHECK(memlane_many_any(&many.many));
    CHECK_EQUAL('b', many_get(&many, BOB));
    CHECK_EQUAL(5, memlane_many_taken(&many.bench.lane));
    many.dead[0] = true;
    CHECK_EQUAL('a', many_get(&many, BOB));
    bench_free(&many.bench);
}

/* (hazard 42) */
TEST(a_consumer_stopped_between_its_look_and_its_claim_takes_nothing_of_a_later_round) {
    struct many_bench many = many_new_at(32, 4, 0);
    struct memlane_found old;
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK_EQUAL(MEMLANE_OK, memlane_many_look(&many.many, &old));
    CHECK_EQUAL('a', many_get(&many, BOB));
    for (int round = 0; round < 100; round++) {
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'b'));
        struct memlane_found found = old;
        CHECK(!memlane_many_claim(&many.bench.lane, &found, ALICE));
        CHECK_EQUAL(0, memlane_many_take(&many.bench.lane, old.s, 4, ALICE));
        CHECK_EQUAL('b', many_get(&many, BOB));
    }
    bench_free(&many.bench);
}

/* (hazard 42) */
TEST(a_number_that_has_become_stale_is_not_empty) {
    struct many_bench many = many_new_at(32, 4, 0);
    for (int i = 0; i < 5; i++) {
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
        CHECK_EQUAL('a', many_get(&many, BOB));
    }
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'c'));
    atomic_store(&many.bench.lane.control->taken, 1); /* as one sees it who read it long ago */
    CHECK(memlane_many_any(&many.many));
    CHECK_EQUAL('c', many_get(&many, ALICE));
    bench_free(&many.bench);
}

TEST(what_was_handed_back_is_fresh_for_anyone_even_a_round_of_numbers_later) {
    struct many_bench many = many_new_at(32, 4, 0);
    uint64_t s;
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK(many_take(&many, ALICE, &s));
    CHECK(memlane_many_hand_back(many.bench.ring, &many.bench.lane, s, ALICE));
    CHECK(!memlane_many_free(&many.bench.lane, s, ALICE));
    CHECK_EQUAL('a', many_get(&many, BOB));
    bench_free(&many.bench);

    uint64_t now = (UINT64_C(3) << 29) + 2;
    many = many_new_at(32, 4, now);
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'b'));
    CHECK(many_take(&many, ALICE, &s));
    CHECK(memlane_many_hand_back(many.bench.ring, &many.bench.lane, s, ALICE));
    struct memlane_found stale = {.s = 2, .state = memlane_state_taken(2, MEMLANE_TAG_NONE)};
    CHECK(memlane_many_claim(&many.bench.lane, &stale, BOB));
    CHECK_EQUAL(now, stale.s);
    CHECK(memlane_many_free(&many.bench.lane, stale.s, BOB));
    CHECK_EQUAL(0, many_get(&many, BOB));
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'c'));
    bench_free(&many.bench);
}

TEST(a_batch_is_looked_at_only_as_far_as_its_bytes_are_wanted) {
    struct many_bench many = many_new_at(64, 8, 6);
    struct memlane_extent extents[8];
    struct memlane_found found;
    for (char letter = 'a'; letter <= 'd'; letter++)
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, letter));
    CHECK_EQUAL(MEMLANE_OK, memlane_many_look(&many.many, &found));
    uint64_t nbytes = found.extent.nbytes;
    CHECK_EQUAL(4, memlane_many_look_on(&many.many, &found, 8, 4 * nbytes, extents));
    CHECK_EQUAL(3, memlane_many_look_on(&many.many, &found, 8, 4 * nbytes - 1, extents));
    CHECK_EQUAL(1, memlane_many_look_on(&many.many, &found, 8, 0, extents));
    bench_free(&many.bench);
}

TEST(a_batch_is_taken_without_a_gap_and_ends_where_another_one_was_faster) {
    struct many_bench many = many_new_at(64, 8, 6);
    struct memlane_extent extents[8];
    struct memlane_found found;
    uint64_t s;
    for (char letter = 'a'; letter <= 'f'; letter++)
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, letter));
    CHECK_EQUAL(MEMLANE_OK, memlane_many_look(&many.many, &found));
    CHECK_EQUAL(6, memlane_many_look_on(&many.many, &found, 8, UINT64_MAX, extents));
    CHECK_EQUAL(2, memlane_many_take(&many.bench.lane, found.s, 2, ALICE));
    CHECK(many_take(&many, BOB, &s));
    CHECK_EQUAL('c', many_letter(&many, s));
    CHECK_EQUAL(0, memlane_many_take(&many.bench.lane, s, 4, ALICE));
    CHECK_EQUAL(3, memlane_many_take(&many.bench.lane, s + 1, 8, ALICE));
    CHECK_EQUAL(12, memlane_many_taken(&many.bench.lane));
    bench_free(&many.bench);
}

TEST(nobody_looks_past_an_uncommitted_batch) {
    struct many_bench many = many_new_at(64, 8, 0);
    bench_set_extent(&many.bench, 1, 8, 8);
    bench_set_state(&many.bench, 1, MEMLANE_STATE_READY); /* staged; its producer died before record 0 */
    CHECK_EQUAL(MEMLANE_EMPTY, many_look(&many));
    CHECK(!memlane_many_any(&many.many));
    CHECK(!memlane_many_overlooked(&many.many));
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&many.bench));
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK_EQUAL('a', many_get(&many, ALICE));
    CHECK_EQUAL(0, many_get(&many, ALICE));
    bench_free(&many.bench);
}

TEST(an_adopter_goes_on_behind_records_that_are_taken_and_freed) {
    struct many_bench many = many_new_at(64, 8, 0);
    uint64_t s;
    for (char letter = 'a'; letter <= 'd'; letter++)
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, letter));
    CHECK(many_take(&many, ALICE, &s));
    CHECK_EQUAL('b', many_get(&many, BOB));
    atomic_store(&many.bench.lane.control->tail, 0); /* the hint was never stored */
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&many.bench));
    CHECK_EQUAL(4, many.bench.producer.next);
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'e'));
    CHECK_EQUAL('c', many_get(&many, BOB));
    CHECK_EQUAL('d', many_get(&many, BOB));
    CHECK_EQUAL('e', many_get(&many, BOB));
    CHECK_EQUAL('a', many_letter(&many, s));
    bench_free(&many.bench);
}

TEST(a_closed_lane_gives_what_is_there_and_takes_nothing_more) {
    for (int held = 0; held <= 4; held++) { /* records of the four that are still in hand */
        struct many_bench many = many_new_at(32, 4, 9);
        uint64_t s[4];
        for (int i = 0; i < 4; i++) {
            CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
            CHECK_EQUAL(MEMLANE_BUSY, memlane_many_close(&many.many));
            CHECK(many_take(&many, ALICE, &s[i]));
        }
        for (int i = held; i < 4; i++)
            CHECK(memlane_many_free(&many.bench.lane, s[i], ALICE));
        memlane_ring_shut(many.bench.ring, MEMLANE_SHUTDOWN_DRAIN);
        CHECK_EQUAL(MEMLANE_CLOSED, memlane_many_close(&many.many));
        CHECK_EQUAL(MEMLANE_CLOSED, memlane_many_close(&many.many));
        for (int i = 0; i < held; i++)
            CHECK(memlane_many_free(&many.bench.lane, s[i], ALICE));
        CHECK_EQUAL(MEMLANE_CLOSED, many_put(&many, 'b'));
        CHECK_EQUAL(0, many_get(&many, BOB));
        CHECK_EQUAL(13, memlane_many_settle(&many.many, memlane_many_taken(&many.bench.lane)));
        bench_free(&many.bench);
    }
}

TEST(a_ring_is_not_drained_while_a_record_is_in_hand) {
    struct many_bench many = many_new_at(32, 4, 0);
    uint64_t s;
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'b'));
    CHECK(many_take(&many, ALICE, &s));
    CHECK_EQUAL('b', many_get(&many, BOB));
    CHECK_EQUAL(0, memlane_many_settle(&many.many, 2));
    CHECK(memlane_many_free(&many.bench.lane, s, ALICE));
    CHECK_EQUAL(2, memlane_many_settle(&many.many, 2));
    bench_free(&many.bench);
}

TEST(a_record_that_nobody_holds_below_taken_is_overlooked_and_not_waited_for) {
    static const enum memlane_state kinds[] = {MEMLANE_STATE_NONE, MEMLANE_STATE_READY, MEMLANE_STATE_CLOSED};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct many_bench many = many_new_at(32, 4, 7);
        uint64_t s;
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
        CHECK(many_take(&many, ALICE, &s));
        CHECK(!memlane_many_overlooked(&many.many));
        bench_set_state(&many.bench, s, kinds[i]);
        CHECK(memlane_many_overlooked(&many.many));
        bench_set_state(&many.bench, s, MEMLANE_STATE_FREE);
        CHECK(!memlane_many_overlooked(&many.many));
        bench_free(&many.bench);
    }
}

/* "EMPTY only if `taken` is unchanged": a process that was paused since it read `taken` for more records than 28 bits
 * tell apart takes a fresh record for one of an earlier round. */
TEST(a_number_that_is_stale_by_more_than_28_bits_is_not_called_empty) {
    const uint64_t now = (UINT64_C(1) << 28) + 8;
    struct many_bench many = many_new_at(32, 4, now);
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    struct memlane_found found;
    CHECK(memlane_state_beyond(memlane_state(now, MEMLANE_STATE_READY), 4) < 0); /* as one sees it who read 4 */
    CHECK_EQUAL(MEMLANE_OK, memlane_many_look_from(&many.many, 4, &found));
    CHECK_EQUAL(now, found.s);
    atomic_store(&many.bench.lane.control->taken, 4); /* nothing has moved: then it is what it looks like */
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_many_look_from(&many.many, 4, &found));
    bench_free(&many.bench);
}

TEST(of_what_can_be_in_the_next_descriptor_nothing_puts_the_end_off_for_ever) {
    static const uint64_t halves[] = {0, 1, 77, DAVE, UINT32_MAX, UINT64_C(1) << 31};
    const uint64_t next = (UINT64_C(5) << 29) + 1;
    const uint64_t numbers[] = {next, next - 1, next - 4, next + 1, next + 4, next + (1 << 28), 0};
    int ends[MEMLANE_LOST + 1] = {0};
    for (int drop = 0; drop < 2; drop++)
        for (uint64_t kind = 0; kind < 8; kind++)
            for (size_t n = 0; n < sizeof numbers / sizeof *numbers; n++)
                for (size_t h = 0; h < sizeof halves / sizeof *halves; h++) {
                    struct many_bench many = many_new_at(32, 4, next - 1);
                    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
                    CHECK_EQUAL('a', many_get(&many, ALICE));
                    atomic_store(&memlane_descriptor_of(&many.bench.lane, next)->state,
                                 halves[h] << 32 | (uint32_t)memlane_state(numbers[n], (enum memlane_state)kind));
                    memlane_ring_shut(many.bench.ring, drop ? MEMLANE_SHUTDOWN_DROP : MEMLANE_SHUTDOWN_DRAIN);
                    enum memlane_status status = MEMLANE_BUSY;
                    for (int tries = 0; status == MEMLANE_BUSY && tries < 20; tries++) {
                        if (drop)
                            memlane_many_drop(&many.many, BOB);
                        else if (many_look(&many) == MEMLANE_CORRUPTED)
                            status = MEMLANE_CORRUPTED;
                        if (status == MEMLANE_BUSY)
                            status = memlane_many_close(&many.many);
                    }
                    CHECK(status == MEMLANE_CLOSED || status == MEMLANE_CORRUPTED);
                    ends[status]++;
                    bench_free(&many.bench);
                }
    CHECK(ends[MEMLANE_CLOSED] > 100 && ends[MEMLANE_CORRUPTED] > 100);
}

TEST(a_lane_whose_taken_is_stale_is_not_called_corrupt_at_the_end) {
    struct many_bench many = many_new_at(32, 4, 0);
    for (int i = 0; i < 9; i++) {
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
        CHECK_EQUAL('a', many_get(&many, BOB));
    }
    atomic_store(&many.bench.lane.control->taken, 1);
    memlane_ring_shut(many.bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_BUSY, memlane_many_close(&many.many));
    CHECK_EQUAL(MEMLANE_EMPTY, many_look(&many));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_many_close(&many.many));
    bench_free(&many.bench);
}

TEST(what_was_freed_behind_a_record_that_is_held_is_looked_at_once_in_a_pass) {
    struct many_bench many = many_new_at(1024, 64, 40);
    struct memlane_found found;
    uint64_t s, freed;
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK(many_take(&many, ALICE, &s));
    for (int i = 0; i < 30; i++) {
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'b'));
        CHECK_EQUAL('b', many_get(&many, BOB));
    }
    freed = s + 10;
    uint64_t end = memlane_many_taken(&many.bench.lane);
    CHECK(memlane_many_held_new(&many.many, end, &found, &(uint64_t){UINT64_MAX}));
    CHECK_EQUAL(s, found.s);
    CHECK(memlane_many_held_new(&many.many, end, &found,
                                &(uint64_t){UINT64_MAX})); /* a consumer that did nothing with it meets it again */
    CHECK_EQUAL(s, found.s);
    memlane_many_met(&many.many, &found);
    CHECK(!memlane_many_held_new(&many.many, end, &found, &(uint64_t){UINT64_MAX}));

    /* what would be found there if anybody looked: nobody does, for what is free stays free */
    atomic_store(&memlane_descriptor_of(&many.bench.lane, freed)->state, memlane_state_taken(freed, BOB));
    CHECK(!memlane_many_held_new(&many.many, end, &found, &(uint64_t){UINT64_MAX}));
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'c'));
    CHECK_EQUAL(MEMLANE_OK, memlane_many_look(&many.many, &found));
    CHECK_EQUAL(1, memlane_many_take(&many.bench.lane, found.s, 1, CAROL));
    CHECK(memlane_many_held_new(&many.many, end + 1, &found, &(uint64_t){UINT64_MAX})); /* what is new is looked at */
    CHECK_EQUAL(end, found.s);
    memlane_many_met(&many.many, &found);

    memlane_many_rescan(&many.many);
    static const uint64_t behind[] = {0, 10, 31};
    for (size_t i = 0; i < 3; i++) {
        CHECK(memlane_many_held_new(&many.many, end + 1, &found, &(uint64_t){UINT64_MAX}));
        CHECK_EQUAL(s + behind[i], found.s);
        memlane_many_met(&many.many, &found);
    }
    CHECK(!memlane_many_held_new(&many.many, end + 1, &found, &(uint64_t){UINT64_MAX}));
    CHECK_EQUAL(s, memlane_many_settle(&many.many, end + 1)); /* the end waits for it all the same */
    CHECK(!memlane_many_is_drained(&many.many));
    bench_free(&many.bench);
}

TEST(a_look_for_what_is_held_takes_no_more_steps_than_it_may_and_the_next_one_goes_on_behind_them) {
    struct many_bench many = many_new_at(1024, 64, 40);
    struct memlane_found found;
    uint64_t s, last;
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK(many_take(&many, ALICE, &s));
    for (int i = 0; i < 30; i++) {
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'b'));
        CHECK_EQUAL('b', many_get(&many, BOB));
    }
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'c'));
    CHECK(many_take(&many, CAROL, &last));
    CHECK_EQUAL(s + 31, last);
    uint64_t end = memlane_many_taken(&many.bench.lane), steps = 10;
    memlane_many_start(&many.many);
    CHECK(memlane_many_held_new(&many.many, end, &found, &steps));
    CHECK_EQUAL(s, found.s);
    memlane_many_met(&many.many, &found);
    int looks = 0;
    do {
        steps = 10;
        looks++;
        CHECK(looks < 10);
    } while (!memlane_many_held_new(&many.many, end, &found, &steps));
    CHECK_EQUAL(4, looks); /* one step of each is that to the oldest record */
    CHECK_EQUAL(last, found.s);

    /* and so when the oldest one is free and all behind it is to be passed */
    CHECK(memlane_many_free(&many.bench.lane, s, ALICE));
    steps = 10;
    CHECK_EQUAL(s + 10, memlane_many_settle_some(&many.many, end, &steps));
    CHECK_EQUAL(0, steps);
    CHECK(!memlane_many_overlooked(&many.many));
    CHECK_EQUAL(last, memlane_many_settle(&many.many, end));
    CHECK(!memlane_many_overlooked(&many.many));

    steps = 3;
    CHECK_EQUAL(-1, memlane_many_in_hand(&many.bench.lane, &steps));
    steps = 1024;
    CHECK_EQUAL(1, memlane_many_in_hand(&many.bench.lane, &steps));
    bench_free(&many.bench);
}

TEST(handing_back_is_counted_and_handing_back_what_is_not_ours_is_not) {
    struct many_bench many = many_new_at(64, 8, 3);
    uint64_t s;
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK(many_take(&many, ALICE, &s));
    CHECK(!memlane_many_hand_back(many.bench.ring, &many.bench.lane, s, BOB));
    CHECK_EQUAL(0, memlane_many_handed_back(many.bench.ring));
    CHECK(memlane_many_hand_back(many.bench.ring, &many.bench.lane, s, ALICE));
    CHECK_EQUAL(1, memlane_many_handed_back(many.bench.ring));
    CHECK_EQUAL('a', many_get(&many, BOB));
    bench_free(&many.bench);
}

TEST(a_waiting_producer_is_looked_for_when_a_quarter_is_crossed_in_numbers_or_in_bytes) {
    struct many_bench many = many_new_at(4096, 64, 0);
    const struct memlane_extent small = {8, 8}, across = {1016, 16}, large = {2048, 2048};
    int crossed = 0;
    for (uint64_t s = 0; s < 64; s++)
        crossed += memlane_many_crosses(&many.bench.lane, s, &small);
    CHECK_EQUAL(4, crossed);
    CHECK(!memlane_many_crosses(&many.bench.lane, 1, &small));
    CHECK(memlane_many_crosses(&many.bench.lane, 1, &across));
    CHECK(memlane_many_crosses(&many.bench.lane, 1, &large));
    bench_free(&many.bench);
}

TEST(no_bytes_make_a_look_endless_or_lead_out_of_the_lane) {
    uint64_t random = 0x5eed;
    for (int round = 0; round < 20000; round++) {
        struct many_bench many = many_new_at(64, 8, 0);
        struct memlane_found found = {0, 0, {0, 0}};
        struct memlane_extent extents[8];
        uint64_t *words[] = {(uint64_t *)&many.bench.lane.control->head, (uint64_t *)&many.bench.lane.control->taken,
                             (uint64_t *)&many.bench.lane.control->tail};
        for (int i = 0; i < 3; i++)
            *words[i] = check_below(&random, 2) ? check_below(&random, 20) : check_random(&random);
        for (uint64_t s = 0; s < 8; s++) {
            uint64_t number = check_below(&random, 32);
            atomic_store(&many.bench.lane.descriptors[s].state,
                         check_below(&random, 4) ? memlane_state(number, (enum memlane_state)check_below(&random, 8)) |
                                                       check_below(&random, 3) << 32
                                                 : check_random(&random));
            bench_set_extent(&many.bench, s, check_below(&random, 20) * 8, check_below(&random, 100));
        }
        for (int i = 0; i < 20; i++) {
            if (memlane_many_look(&many.many, &found) == MEMLANE_OK) {
                size_t count = memlane_many_look_on(&many.many, &found, 8, UINT64_MAX, extents);
                size_t taken = memlane_many_take(&many.bench.lane, found.s, count, ALICE);
                for (size_t k = 0; k < taken; k++) {
                    CHECK(extents[k].offset + extents[k].nbytes <= 64);
                    memlane_many_free(&many.bench.lane, found.s + k, ALICE);
                }
            }
            uint64_t end = memlane_many_taken(&many.bench.lane), low = memlane_many_settle(&many.many, end);
            while (memlane_many_held(&many.many, low, end, &found)) {
                memlane_many_claim(&many.bench.lane, &found, BOB);
                low = found.s + 1;
                if (i % 2)
                    break;
            }
            memlane_many_any(&many.many);
            memlane_many_overlooked(&many.many);
            memlane_many_close(&many.many);
            (void)many_put(&many, 'a');
        }
        bench_free(&many.bench);
    }
}

MAIN
