/* SPDX-License-Identifier: MIT
 *
 * A topic on one thread: policies, starts, loans, eviction, deaths, the end, order; rare states built by hand.
 */
#include "topic_fixture.h"

#include "core/directory.h"

static struct topic_bench bench;
static struct sub ann, bob, cat, eve;

/* ---- geometry ------------------------------------------------------------------------------------ */

TEST(a_topic_out_of_range_is_refused) {
    static const uint64_t wrong[][6] = {
        {0, 4096, 1, 1, 1, 1},
        {1001, 4096, 1, 1, 1, 1},
        {1, 0, 1, 1, 1, 1},
        {1, 4095, 1, 1, 1, 1},
        {1, MEMLANE_CAPACITY_MAX + 4096, 1, 1, 1, 1},
        {1, 4096, 0, 1, 1, 1},
        {1, 4096, MEMLANE_DESCRIPTORS_MAX, 1, 1, 1},
        {1, 4096, 1, 0, 1, 1},
        {1, 4096, 1, 513, 1, 1},
        {1, 4096, 1, 1, 0, 1},
        {1, 4096, 1, 1, 3, 1},
        {1, 4096, 1, 1, 1, 0},
        {1, 4096, 1, 1, 1, 3},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX},
    };
    struct memlane_topic_shape shape;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const uint64_t *g = wrong[i];
        CHECK(!memlane_topic_lay_out(&shape, g[0], g[1], g[2], g[3], g[4], g[5]));
    }
    CHECK(memlane_topic_lay_out(&shape, MEMLANE_LANES_MAX, MEMLANE_CAPACITY_MAX, MEMLANE_DESCRIPTORS_MAX - 1,
                                MEMLANE_SUBSCRIBERS_MAX, 2, 2));
}

TEST(the_parts_of_a_topic_follow_each_other_and_have_more_descriptors_than_records) {
    static const uint64_t publishers[] = {1, 2, 7, 8, 9, 1000}, records[] = {1, 2, 3, 4, 7, 8, 1000, 1024};
    struct memlane_topic_shape shape;
    for (size_t i = 0; i < 6; i++)
        for (size_t j = 0; j < 8; j++)
            for (uint64_t subscribers = 1; subscribers <= 512; subscribers *= 8) {
                CHECK(memlane_topic_lay_out(&shape, publishers[i], 8192, records[j], subscribers, 1, 2));
                CHECK(shape.descriptors > records[j] && shape.descriptors <= 2 * records[j] + 1);
                CHECK_EQUAL(0, shape.descriptors & (shape.descriptors - 1));
                CHECK_EQUAL(0, shape.place_stride % MEMLANE_LINE_PAIR + shape.places_offset % MEMLANE_LINE_PAIR);
                CHECK(shape.places_offset >= sizeof(struct memlane_topic_control) + publishers[i] * 512);
                CHECK(shape.place_stride >= offsetof(struct memlane_place, cursors) + 16 * publishers[i]);
                CHECK(shape.data_offset >= shape.places_offset + subscribers * shape.place_stride);
                CHECK(shape.bytes_offset >= shape.descriptors * 24);
                CHECK_EQUAL(shape.data_offset + publishers[i] * (shape.bytes_offset + 8192), shape.nbytes);
                CHECK_EQUAL(0, shape.data_offset % MEMLANE_ALIGNMENT + shape.nbytes % MEMLANE_ALIGNMENT);
                struct memlane_doorbells at_once, later;
                memlane_topic_tell_doorbells(&shape, &at_once, &later);
                CHECK(memlane_doorbells_fit(&at_once, shape.nbytes) && memlane_doorbells_fit(&later, shape.nbytes));
                CHECK_EQUAL(publishers[i] + subscribers, at_once.count + later.count);
            }
}

/* ---- "overwrite" --------------------------------------------------------------------------------- */

static char read_letters[64];

/* All that this one gets of a lane now. */
static const char *all_of(struct sub *sub, uint32_t lane) {
    size_t count = 0;
    while ((read_letters[count] = sub_get(sub, lane)) != 0)
        count++;
    return read_letters;
}

/* How many records there are for this one to get now, and to have lost. */
static uint64_t told_of(struct sub *sub) {
    uint64_t got = strlen(all_of(sub, 0));
    return got + sub->lanes[0].lost;
}

static void check_letters(const char *expected, const char *found, int line) {
    if (strcmp(expected, found) != 0)
        fprintf(stderr, "line %d: expected %s, found %s\n", line, expected, found);
    CHECK(strcmp(expected, found) == 0);
}
#define CHECK_LETTERS(expected, found) check_letters(expected, found, __LINE__)

TEST(every_subscriber_sees_every_record_whatever_its_policy) {
    topic_new(&bench, 2, 256, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    sub_join(&bench, &bob, BOB, MEMLANE_PLACE_OVERWRITE, MEMLANE_START_NOW);
    sub_look(&bench, &cat);
    topic_publish_all(&bench, 0, "abc");
    topic_publish_all(&bench, 1, "xyz");
    for (struct sub *sub = &ann;; sub = sub == &ann ? &bob : &cat) {
        CHECK_LETTERS("abc", all_of(sub, 0));
        CHECK_LETTERS("xyz", all_of(sub, 1));
        CHECK_EQUAL(0, sub->lanes[0].lost + sub->lanes[1].lost);
        if (sub == &cat)
            break;
    }
    CHECK_EQUAL(3, sub_position(&bob, 0)); /* a hint, which it gives all the same */
    topic_free(&bench);
}

TEST(one_that_is_overtaken_never_stops_a_publisher_and_is_told_exactly_what_it_lost) {
    topic_new(&bench, 1, 64, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_OVERWRITE, MEMLANE_START_NOW);
    sub_look(&bench, &bob);
    uint64_t got[2] = {0, 0};
    for (uint64_t s = 0; s < 1000; s++) {
        CHECK_EQUAL(MEMLANE_OK, topic_publish(&bench, 0, 'a'));
        if (s % 97 == 0) {
            while (sub_get(&ann, 0))
                got[0]++;
            CHECK_EQUAL(s + 1, got[0] + ann.lanes[0].lost);
        }
        if (s % 3 == 0)
            got[1] += sub_get(&bob, 0) != 0;
    }
    while (sub_get(&bob, 0))
        got[1]++;
    CHECK_EQUAL(1000, got[1] + bob.lanes[0].lost);
    CHECK(bob.lanes[0].lost > 0);
    topic_free(&bench);
}

TEST(a_copy_that_was_overtaken_while_it_was_made_does_not_count) {
    struct memlane_extent extent;
    uint64_t s;
    topic_new(&bench, 1, 64, 8);
    sub_look(&bench, &ann);
    topic_publish_all(&bench, 0, "abcdefgh");
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_peek(&ann.lanes[0], &s, &extent));
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_check(&ann.lanes[0], s));
    topic_publish_all(&bench, 0, "i"); /* over the first one */
    CHECK_EQUAL(MEMLANE_LAPPED, memlane_subscriber_check(&ann.lanes[0], s));
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_check(&ann.lanes[0], s + 1));
    CHECK_EQUAL(5, memlane_subscriber_catch_up(&ann.lanes[0])); /* half way from 1 to 9 */
    CHECK_LETTERS("fghi", all_of(&ann, 0));
    topic_free(&bench);
}

TEST(a_loan_under_overwrite_says_at_its_end_whether_it_was_whole) {
    struct memlane_extent extent;
    uint64_t s;
    topic_new(&bench, 1, 64, 8);
    sub_look(&bench, &ann);
    topic_publish_all(&bench, 0, "ab");
    for (int round = 0; round < 2; round++) {
        CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_peek(&ann.lanes[0], &s, &extent));
        memlane_subscriber_finish(&ann.lanes[0], 1, 8);
        CHECK_EQUAL("ab"[round], bench.lanes[0].bytes[extent.offset]);
        if (round == 1)
            topic_publish_all(&bench, 0, "cdefghij");
        CHECK_EQUAL(round ? MEMLANE_LAPPED : MEMLANE_OK, memlane_subscriber_check(&ann.lanes[0], s));
    }
    CHECK_LETTERS("cdefghij", all_of(&ann, 0));
    CHECK_EQUAL(0, ann.lanes[0].lost); /* it was handed out, and the end of the loan told of it */
    topic_free(&bench);
}

TEST(the_number_lost_is_exact_across_the_death_of_the_publisher) {
    topic_new(&bench, 1, 64, 8);
    sub_look(&bench, &ann);
    topic_publish_all(&bench, 0, "abcdefghij");
    atomic_store(&bench.lanes[0].control->tail, 9); /* it dies between the commit and the hint */
    CHECK_EQUAL(MEMLANE_OK, topic_adopt(&bench, 0));
    topic_publish_all(&bench, 0, "klmn");
    uint64_t got = 0;
    while (sub_get(&ann, 0))
        got++;
    CHECK(ann.lanes[0].lost > 0);
    CHECK_EQUAL(14, got + ann.lanes[0].lost);
    topic_free(&bench);
}

TEST(what_there_is_to_get_does_not_count_what_was_overwritten_and_counts_what_is_kept) {
    topic_new(&bench, 1, 64, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_OVERWRITE, MEMLANE_START_NOW);
    topic_publish_all(&bench, 0, "abcdefgh");
    CHECK_EQUAL(8, memlane_subscriber_lag(&ann.lanes[0]));
    CHECK_EQUAL('a', sub_get(&ann, 0));
    CHECK_EQUAL(MEMLANE_OK,
                memlane_publisher_put(&bench.publishers[0], "0123456701234567012345670123456701234567", 40));
    CHECK_EQUAL(4, memlane_subscriber_lag(&ann.lanes[0])); /* "fgh" and the long one; "bcde" are gone */
    sub_join(&bench, &bob, BOB, MEMLANE_PLACE_WAIT, MEMLANE_START_OLDEST);
    CHECK_EQUAL(MEMLANE_FULL, memlane_publisher_put(&bench.publishers[0], "0123456701234567", 16));
    CHECK_EQUAL(4, memlane_subscriber_lag(&bob.lanes[0])); /* `head` has moved, and all of them are kept */
    topic_free(&bench);
}

TEST(a_start_is_the_next_record_the_oldest_the_last_ones_or_where_one_left) {
    topic_new(&bench, 1, 64, 8);
    topic_publish_all(&bench, 0, "abcdefghijkl");
    sub_look(&bench, &ann);
    memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_NOW, 0);
    CHECK_LETTERS("", all_of(&ann, 0));
    memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_OLDEST, 0);
    CHECK_LETTERS("efghijkl", all_of(&ann, 0));
    memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_LAST, 3);
    CHECK_LETTERS("jkl", all_of(&ann, 0));
    memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_LAST, 300);
    CHECK_LETTERS("efghijkl", all_of(&ann, 0));
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_AT, 10));
    CHECK_EQUAL(2, memlane_subscriber_lag(&ann.lanes[0]));
    CHECK_LETTERS("kl", all_of(&ann, 0));
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_AT, 12));
    CHECK_LETTERS("", all_of(&ann, 0));
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_AT, 2)); /* gone: seen when shown */
    CHECK_EQUAL(2, memlane_subscriber_settle(&ann.lanes[0]));
    CHECK_LETTERS("efghijkl", all_of(&ann, 0));
    CHECK_EQUAL(0, ann.lanes[0].lost);
    CHECK(!atomic_load(&bench.topic.control->joined)); /* and nobody heard of any of it */
    topic_free(&bench);
}

TEST(one_goes_on_where_one_left_although_the_publisher_died_before_it_told_of_that) {
    topic_new(&bench, 1, 64, 8);
    topic_publish_all(&bench, 0, "abc");
    sub_look(&bench, &ann);
    CHECK_LETTERS("abc", all_of(&ann, 0));
    atomic_store(&bench.lanes[0].control->tail, 1);
    atomic_store(&memlane_descriptor_of(&bench.lanes[0], 4)->state, memlane_state(4, MEMLANE_STATE_READY)); /* staged */
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_AT, 3));
    CHECK_EQUAL(3, memlane_subscriber_next(&ann.lanes[0]));
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_AT, 4));
    CHECK_EQUAL(3, memlane_subscriber_next(&ann.lanes[0]));
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_AT, UINT64_C(1) << 40));
    CHECK_EQUAL(MEMLANE_OK, topic_adopt(&bench, 0));
    topic_publish_all(&bench, 0, "d");
    CHECK_LETTERS("d", all_of(&ann, 0));
    topic_free(&bench);
}

TEST(now_and_last_count_what_a_publisher_could_not_tell_of_yet) {
    topic_new(&bench, 1, 64, 8);
    topic_publish_all(&bench, 0, "abc");
    atomic_store(&bench.lanes[0].control->tail, 1); /* it is stopped between the commit of a batch and the hint */
    sub_look(&bench, &ann);
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_NOW, 0));
    CHECK_EQUAL(3, memlane_subscriber_next(&ann.lanes[0]));
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_LAST, 1));
    CHECK_LETTERS("c", all_of(&ann, 0));
    topic_free(&bench);
}

/* ---- "wait" -------------------------------------------------------------------------------------- */

TEST(a_publisher_waits_for_the_slowest_and_for_no_other) {
    topic_new(&bench, 1, 32, 8); /* four records of eight bytes */
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    sub_join(&bench, &bob, BOB, MEMLANE_PLACE_OVERWRITE, MEMLANE_START_NOW);
    sub_join(&bench, &cat, CAROL, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    topic_publish_all(&bench, 0, "abcd");
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'e'));
    CHECK_EQUAL('a', sub_get(&ann, 0));
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'e'));
    CHECK_EQUAL(cat.index, bench.publishers[0].obstacle);
    CHECK_EQUAL(cat.holder, bench.publishers[0].obstacle_holder);
    CHECK_EQUAL(0, bench.publishers[0].obstacle_position);
    CHECK(!memlane_publisher_any(&bench.publishers[0]));
    CHECK_LETTERS("abcd", all_of(&cat, 0));
    CHECK(memlane_publisher_any(&bench.publishers[0]));
    topic_publish_all(&bench, 0, "e");
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'f'));
    CHECK_EQUAL(ann.index, bench.publishers[0].obstacle);
    CHECK_LETTERS("bcde", all_of(&ann, 0));
    topic_publish_all(&bench, 0, "fgh");
    CHECK_LETTERS("efgh", all_of(&cat, 0));
    CHECK_EQUAL(0, ann.lanes[0].lost + cat.lanes[0].lost);
    CHECK_EQUAL(8, told_of(&bob));
    topic_free(&bench);
}

TEST(a_publish_after_one_that_gave_up_waiting_looks_at_the_cursors_again) {
    /* hazard 57 */
    topic_new(&bench, 1, 64, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    topic_publish_all(&bench, 0, "abcdefgh");
    for (int tries = 0; tries < 3; tries++) {
        CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'i'));
        CHECK_EQUAL(1, atomic_load(&bench.lanes[0].control->head)); /* raised, and no further */
    }
    CHECK_LETTERS("abcdefgh", all_of(&ann, 0));
    topic_publish_all(&bench, 0, "i");
    topic_free(&bench);
}

TEST(a_joiner_that_was_paused_before_it_showed_its_cursor_moves_up_and_then_loses_nothing) {
    /* hazard 58 */
    topic_new(&bench, 1, 64, 8);
    topic_publish_all(&bench, 0, "abcdefgh");
    sub_take(&bench, &ann, ALICE);
    sub_start(&bench, &ann, MEMLANE_START_OLDEST, 0);
    topic_publish_all(&bench, 0, "ijk"); /* over a, b and c */
    CHECK_EQUAL(3, sub_show(&bench, &ann, MEMLANE_PLACE_WAIT));
    CHECK_EQUAL(3, sub_position(&ann, 0));
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'l'));
    CHECK_LETTERS("defghijk", all_of(&ann, 0));
    topic_free(&bench);
}

TEST(a_joiner_between_showing_and_moving_up_holds_what_is_not_overwritten_yet) {
    topic_new(&bench, 1, 64, 8);
    topic_publish_all(&bench, 0, "abcdefgh");
    sub_take(&bench, &ann, ALICE);
    sub_start(&bench, &ann, MEMLANE_START_OLDEST, 0);
    topic_publish_all(&bench, 0, "ijk");
    CHECK(memlane_place_show(ann.place, &ann.holder, MEMLANE_PLACE_WAIT)); /* at 0, long gone; stopped here */
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'l'));
    CHECK_EQUAL(MEMLANE_OK, topic_adopt(&bench, 0));
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'l')); /* nor does a successor believe in its position */
    ann.lanes[0].holder = ann.holder;
    ann.lanes[0].waited_for = true;
    CHECK_EQUAL(4, memlane_subscriber_settle(&ann.lanes[0])); /* one was given up for "l", which did not come */
    topic_publish_all(&bench, 0, "l");
    CHECK_LETTERS("efghijkl", all_of(&ann, 0));
    topic_free(&bench);
}

TEST(the_places_of_the_dead_are_named_and_taken_away_and_given_to_the_next) {
    uint64_t holder;
    uint32_t index = 0;
    topic_new(&bench, 1, 32, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    sub_join(&bench, &bob, BOB, MEMLANE_PLACE_OVERWRITE, MEMLANE_START_NOW);
    sub_take(&bench, &cat, CAROL); /* dies while it joins */
    sub_join(&bench, &eve, DAVE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    CHECK_EQUAL(MEMLANE_FULL, memlane_place_find(&bench.topic, false, &index, &holder));
    topic_publish_all(&bench, 0, "abcd");
    CHECK_LETTERS("abcd", all_of(&eve, 0));
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'e'));
    CHECK_EQUAL(ALICE, memlane_holder_tag(bench.publishers[0].obstacle_holder));
    CHECK(memlane_place_give(memlane_place_of(&bench.topic, ann.index), bench.publishers[0].obstacle_holder));
    CHECK(memlane_publisher_any(&bench.publishers[0]));
    topic_publish_all(&bench, 0, "efgh"); /* one that is joining holds nobody up, nor one that is overwritten */
    CHECK_EQUAL(MEMLANE_LOST, memlane_subscriber_check(&ann.lanes[0], 0)); /* it was alive, wrongly taken for dead */
    CHECK(!memlane_place_give(ann.place, ann.holder));

    index = 0; /* a joiner asks of each that is held whether its holder lives */
    CHECK_EQUAL(MEMLANE_OK, memlane_place_find(&bench.topic, true, &index, &holder));
    CHECK_EQUAL(BOB, memlane_holder_tag(holder));
    uint64_t taken = memlane_place_take(&bench.topic, index, holder, ALICE);
    CHECK_EQUAL(ALICE, memlane_holder_tag(taken));
    CHECK_EQUAL(0, memlane_place_take(&bench.topic, index, holder, DAVE)); /* one is faster */
    index++;
    CHECK_EQUAL(MEMLANE_OK, memlane_place_find(&bench.topic, true, &index, &holder));
    CHECK_EQUAL(CAROL, memlane_holder_tag(holder));
    topic_free(&bench);
}

TEST(the_same_process_in_the_same_place_again_is_another_holder) {
    topic_new(&bench, 1, 32, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    CHECK(memlane_place_give(ann.place, ann.holder));
    sub_join(&bench, &bob, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    CHECK_EQUAL(ann.index, bob.index);
    CHECK(ann.holder != bob.holder);
    CHECK(!memlane_place_give(ann.place, ann.holder)); /* by one who was stopped since */
    CHECK_EQUAL(bob.holder, memlane_place_holder(bob.place));
    topic_free(&bench);
}

TEST(a_successor_has_cleared_nothing_and_waits_as_the_dead_one_did) {
    topic_new(&bench, 1, 64, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    topic_publish_all(&bench, 0, "abcdefgh");
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'i')); /* it has raised head, and dies */
    CHECK_EQUAL(MEMLANE_OK, topic_adopt(&bench, 0));
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'i'));
    CHECK_EQUAL('a', sub_get(&ann, 0));
    topic_publish_all(&bench, 0, "i");
    CHECK_LETTERS("bcdefghi", all_of(&ann, 0));
    topic_free(&bench);
}

TEST(a_successor_does_not_go_by_the_position_of_a_joiner_that_is_about_to_leave_it) {
    static const char records[4][24] = {"0", "1", "2", "3"};
    struct memlane_extent extent;
    uint64_t s;
    topic_new(&bench, 1, 64, 8);
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(MEMLANE_OK, memlane_publisher_put(&bench.publishers[0], records[i], 24));
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    sub_take(&bench, &bob, BOB);
    sub_start(&bench, &bob, MEMLANE_START_AT, 1);
    for (int i = 2; i < 4; i++) /* over the first two */
        CHECK_EQUAL(MEMLANE_OK, memlane_publisher_put(&bench.publishers[0], records[i], 24));
    CHECK(memlane_place_show(bob.place, &bob.holder, MEMLANE_PLACE_WAIT)); /* and is stopped there */
    CHECK_EQUAL(MEMLANE_OK, topic_adopt(&bench, 0));
    /* between the descriptor of record 1 and the end of the last one there seems to be room: it is Ann's record 2 */
    CHECK_EQUAL(MEMLANE_FULL, memlane_publisher_put(&bench.publishers[0], "xxxxxxxxxxxxxxxxxxxxxxxx", 24));
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_peek(&ann.lanes[0], &s, &extent));
    CHECK_EQUAL('2', bench.lanes[0].bytes[extent.offset]);
    topic_free(&bench);
}

TEST(a_record_as_large_as_the_lane_follows_a_small_one_and_is_followed_by_one) {
    static unsigned char large[72];
    struct memlane_extent extent;
    uint64_t s;
    memset(large, 'L', sizeof large);
    topic_new(&bench, 1, 64, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    for (int round = 0; round < 5; round++) {
        topic_publish_all(&bench, 0, "a");
        CHECK_EQUAL(MEMLANE_FULL, memlane_publisher_put(&bench.publishers[0], large, 64));
        CHECK_EQUAL('a', sub_get(&ann, 0));
        CHECK_EQUAL(MEMLANE_OK, memlane_publisher_put(&bench.publishers[0], large, 64));
        CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'b'));
        CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_peek(&ann.lanes[0], &s, &extent));
        CHECK_EQUAL(64, extent.nbytes);
        CHECK_BYTES(large, bench.lanes[0].bytes + extent.offset, 64);
        memlane_subscriber_finish(&ann.lanes[0], 1, 64);
    }
    CHECK_EQUAL(MEMLANE_TOO_LARGE, memlane_publisher_put(&bench.publishers[0], large, 65));
    topic_free(&bench);
}

TEST(numbers_pass_two_to_the_29_and_two_to_the_64) {
    static const uint64_t starts[] = {(UINT64_C(1) << 29) - 5, UINT64_MAX - 5, (UINT64_C(1) << 32) - 5};
    for (size_t i = 0; i < 3; i++) {
        topic_new_at(&bench, 1, 64, 8, false, starts[i]);
        sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
        sub_look(&bench, &bob);
        memlane_subscriber_start(&bob.lanes[0], MEMLANE_START_NOW, 0);
        for (int round = 0; round < 40; round++) {
            topic_publish_all(&bench, 0, "abc");
            CHECK_LETTERS("abc", all_of(&ann, 0));
        }
        CHECK_EQUAL(120, told_of(&bob));
        topic_free(&bench);
    }
}

/* ---- loans --------------------------------------------------------------------------------------- */

TEST(several_borrow_one_record_in_place_until_the_last_gives_it_back) {
    topic_new(&bench, 1, 32, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    sub_join(&bench, &bob, BOB, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    topic_publish_all(&bench, 0, "abcd");
    CHECK_EQUAL(0, sub_borrow(&ann, 0, 'a'));
    CHECK_EQUAL(0, sub_borrow(&bob, 0, 'a'));
    CHECK_LETTERS("bcd", all_of(&ann, 0));
    CHECK_LETTERS("bcd", all_of(&bob, 0));
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'e'));
    CHECK_EQUAL(0, memlane_subscriber_release(&ann.lanes[0], 0));
    CHECK_EQUAL(4, sub_position(&ann, 0));
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'e'));
    CHECK_EQUAL('a', bench.lanes[0].bytes[0]);
    CHECK_EQUAL(0, memlane_subscriber_release(&bob.lanes[0], 0));
    topic_publish_all(&bench, 0, "efgh");
    topic_free(&bench);
}

TEST(loans_given_back_in_any_order_move_the_position_over_all_of_them) {
    static const unsigned char orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (uint64_t records = 4; records <= 300; records *= 5)
        for (int i = 0; i < 6; i++)
            for (uint64_t start = 0; start < 70; start += 3) {
                topic_new_at(&bench, 1, 4096, records, false, start);
                sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
                topic_publish_all(&bench, 0, "abcd");
                for (int j = 0; j < 3; j++)
                    CHECK_EQUAL(start + (uint64_t)j, sub_borrow(&ann, 0, "abc"[j]));
                CHECK_EQUAL('d', sub_get(&ann, 0));
                bool back[4] = {false, false, false, true};
                for (int j = 0; j < 3; j++) {
                    CHECK_EQUAL(2 - j, memlane_subscriber_release(&ann.lanes[0], start + orders[i][j]));
                    back[orders[i][j]] = true;
                    uint64_t oldest = 0;
                    while (oldest < 4 && back[oldest])
                        oldest++;
                    CHECK_EQUAL(start + oldest, sub_position(&ann, 0));
                }
                CHECK_EQUAL(0, atomic_load(&ann.lanes[0].loans));
                topic_free(&bench);
            }
}

/* ---- eviction ------------------------------------------------------------------------------------ */

TEST(one_that_does_not_move_for_so_long_is_evicted_and_told_why) {
    uint64_t next, after, behind;
    enum memlane_status status;
    topic_new(&bench, 1, 32, 8);
    sub_take(&bench, &ann, ALICE);
    sub_start(&bench, &ann, MEMLANE_START_NOW, 0);
    memlane_place_ask_eviction(ann.place, 100);
    sub_show(&bench, &ann, MEMLANE_PLACE_WAIT);
    sub_join(&bench, &bob, BOB, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW); /* a subscriber that never asked for it */
    topic_publish_all(&bench, 0, "abcd");
    CHECK_LETTERS("abcd", all_of(&bob, 0));
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'e'));
    CHECK_EQUAL(0, memlane_publisher_watch(&bench.publishers[0], 1000, &next));
    CHECK_EQUAL(1100, next);
    CHECK_EQUAL('a', sub_get(&ann, 0)); /* it moves: its time begins again */
    topic_publish_all(&bench, 0, "e");
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'f'));
    CHECK_EQUAL(0, memlane_publisher_watch(&bench.publishers[0], 1099, &next));
    CHECK_EQUAL(1199, next);
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'f'));
    CHECK_EQUAL(0, memlane_publisher_watch(&bench.publishers[0], 1198, &next));
    CHECK_EQUAL(1, bench.publishers[0].sights[ann.index].position);
    CHECK_EQUAL(1099, bench.publishers[0].sights[ann.index].since);
    CHECK_EQUAL(0, bench.publishers[0].sights[bob.index].holder);
    CHECK_EQUAL(1, memlane_publisher_watch(&bench.publishers[0], 1199, &next));
    topic_publish_all(&bench, 0, "f");

    CHECK_EQUAL(0, sub_try(&ann, 0, &status));
    CHECK_EQUAL(MEMLANE_EVICTED, status);
    memlane_place_eviction(ann.place, &after, &behind);
    CHECK_EQUAL(100, after);
    CHECK_EQUAL(4, behind);
    CHECK_EQUAL(1, memlane_topic_evicted(&bench.topic));
    CHECK(memlane_place_give(ann.place, memlane_place_holder(ann.place)));
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_OLDEST); /* again */
    CHECK_LETTERS("cdef", all_of(&ann, 0));
    topic_free(&bench);
}

TEST(two_that_are_stuck_are_evicted_each_after_its_own_time) {
    uint64_t next;
    topic_new(&bench, 1, 32, 8);
    for (struct sub *sub = &ann;; sub = &bob) {
        sub_take(&bench, sub, sub == &ann ? ALICE : BOB);
        sub_start(&bench, sub, MEMLANE_START_NOW, 0);
        memlane_place_ask_eviction(sub->place, sub == &ann ? 100 : 150);
        sub_show(&bench, sub, MEMLANE_PLACE_WAIT);
        if (sub == &bob)
            break;
    }
    topic_publish_all(&bench, 0, "abcd");
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'e'));
    CHECK_EQUAL(0, memlane_publisher_watch(&bench.publishers[0], UINT64_MAX - 30, &next)); /* the clock may wrap */
    CHECK_EQUAL(1, memlane_publisher_watch(&bench.publishers[0], 69, &next));
    CHECK_EQUAL(119, next);
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'e'));
    CHECK_EQUAL(1, memlane_publisher_watch(&bench.publishers[0], 119, &next));
    topic_publish_all(&bench, 0, "e");
    topic_free(&bench);
}

TEST(what_an_evicted_one_has_on_loan_stays_as_it_is_until_it_gives_it_back) {
    uint64_t next;
    enum memlane_status status;
    topic_new(&bench, 1, 32, 8);
    sub_take(&bench, &ann, ALICE);
    sub_start(&bench, &ann, MEMLANE_START_NOW, 0);
    memlane_place_ask_eviction(ann.place, 1);
    sub_show(&bench, &ann, MEMLANE_PLACE_WAIT);
    topic_publish_all(&bench, 0, "abcd");
    CHECK_EQUAL('a', sub_get(&ann, 0));
    CHECK_EQUAL(1, sub_borrow(&ann, 0, 'b'));
    topic_publish_all(&bench, 0, "e");
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'f'));
    memlane_publisher_watch(&bench.publishers[0], 10, &next);
    CHECK_EQUAL(1, memlane_publisher_watch(&bench.publishers[0], 11, &next));
    CHECK_EQUAL(MEMLANE_EVICTED, memlane_subscriber_borrow(&ann.lanes[0], 1)); /* nothing more is lent */
    CHECK_EQUAL(0, sub_try(&ann, 0, &status));
    CHECK_EQUAL(MEMLANE_EVICTED, status);
    CHECK_EQUAL(1, memlane_place_loans(ann.place, 0));
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'f')); /* what is lent keeps the rest of its lane */
    CHECK_EQUAL(0, memlane_publisher_watch(&bench.publishers[0], 1000, &next));
    CHECK_EQUAL(UINT64_MAX, next);
    CHECK_EQUAL('b', bench.lanes[0].bytes[8]);
    CHECK(!memlane_publisher_any(&bench.publishers[0]));
    CHECK_EQUAL(0, memlane_subscriber_release(&ann.lanes[0], 1));
    CHECK(memlane_publisher_any(&bench.publishers[0]));
    topic_publish_all(&bench, 0, "fghi");
    topic_free(&bench);
}

TEST(an_evicted_one_keeps_no_lane_of_which_it_has_nothing_on_loan) {
    uint64_t next;
    topic_new(&bench, 2, 32, 8);
    sub_take(&bench, &ann, ALICE);
    sub_start(&bench, &ann, MEMLANE_START_NOW, 0);
    memlane_place_ask_eviction(ann.place, 1);
    sub_show(&bench, &ann, MEMLANE_PLACE_WAIT);
    topic_publish_all(&bench, 0, "abcd");
    topic_publish_all(&bench, 1, "efgh");
    CHECK_EQUAL(0, sub_borrow(&ann, 1, 'e'));
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'i'));
    memlane_publisher_watch(&bench.publishers[0], 10, &next);
    CHECK_EQUAL(1, memlane_publisher_watch(&bench.publishers[0], 11, &next));
    topic_publish_all(&bench, 0, "ijklmnop");
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 1, 'q'));
    topic_free(&bench);
}

TEST(one_that_is_evicted_is_told_so_also_where_nothing_is_left_to_read) {
    enum memlane_status status;
    topic_new(&bench, 1, 32, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    CHECK(!memlane_subscriber_any(&ann.lanes[0]));
    CHECK(memlane_place_turn(ann.place, ann.holder, MEMLANE_PLACE_EVICTED));
    CHECK(memlane_subscriber_any(&ann.lanes[0])); /* it must not sleep on */
    CHECK_EQUAL(0, sub_try(&ann, 0, &status));
    CHECK_EQUAL(MEMLANE_EVICTED, status);
    topic_free(&bench);
}

TEST(one_that_slept_while_it_was_overtaken_does_not_sleep_on) {
    topic_new(&bench, 1, 32, 8);
    sub_look(&bench, &ann);
    CHECK(!memlane_subscriber_any(&ann.lanes[0]));
    for (int i = 0; i < 40; i++)
        topic_publish_all(&bench, 0, "a");
    CHECK(memlane_subscriber_any(&ann.lanes[0]));
    topic_free(&bench);
}

TEST(one_that_was_taken_for_dead_gives_no_loan_back_for_its_successor) {
    topic_new(&bench, 1, 32, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    topic_publish_all(&bench, 0, "abcd");
    CHECK_EQUAL(0, sub_borrow(&ann, 0, 'a'));
    CHECK_EQUAL('b', sub_get(&ann, 0));
    CHECK(memlane_place_give(ann.place, ann.holder)); /* by somebody who was wrong */
    sub_join(&bench, &bob, BOB, MEMLANE_PLACE_WAIT, MEMLANE_START_OLDEST);
    CHECK_EQUAL(ann.index, bob.index);
    CHECK_EQUAL(0, sub_borrow(&bob, 0, 'a'));
    CHECK_EQUAL(0, memlane_subscriber_release(&ann.lanes[0], 0));
    CHECK_EQUAL(1, memlane_place_loans(bob.place, 0));
    CHECK_EQUAL(0, sub_position(&bob, 0));
    topic_free(&bench);
}

TEST(a_place_that_is_taken_again_has_no_loans_and_asks_for_no_eviction) {
    topic_new(&bench, 1, 32, 8);
    sub_take(&bench, &ann, ALICE);
    sub_start(&bench, &ann, MEMLANE_START_NOW, 0);
    memlane_place_ask_eviction(ann.place, 1);
    sub_show(&bench, &ann, MEMLANE_PLACE_WAIT);
    topic_publish_all(&bench, 0, "ab");
    sub_borrow(&ann, 0, 'a');
    CHECK(memlane_place_give(ann.place, ann.holder)); /* proven dead */
    sub_join(&bench, &bob, BOB, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    CHECK_EQUAL(ann.index, bob.index);
    CHECK_EQUAL(0, memlane_place_loans(bob.place, 0) + atomic_load(&bob.place->evict_after_ns));
    topic_free(&bench);
}

TEST(one_that_leaves_with_loans_keeps_those_and_nothing_else) {
    topic_new(&bench, 1, 32, 8);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    topic_publish_all(&bench, 0, "abcd");
    CHECK_EQUAL('a', sub_get(&ann, 0));
    CHECK_EQUAL('b', sub_get(&ann, 0));
    CHECK_EQUAL(2, sub_borrow(&ann, 0, 'c'));
    CHECK(memlane_place_turn(ann.place, ann.holder, MEMLANE_PLACE_EVICTED));
    topic_publish_all(&bench, 0, "ef");
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'g'));
    CHECK_EQUAL(0, memlane_subscriber_release(&ann.lanes[0], 2));
    CHECK(memlane_place_give(ann.place, memlane_holder_in(ann.holder, MEMLANE_PLACE_EVICTED)));
    topic_publish_all(&bench, 0, "ghijkl");
    topic_free(&bench);
}

/* ---- batches and rooms --------------------------------------------------------------------------- */

TEST(a_batch_is_seen_at_once_and_never_overwrites_itself) {
    static const struct memlane_span spans[6] = {{"aaaaaaaa", 8}, {"bbbbbbbb", 8}, {"cccccccc", 8},
                                                 {"dddddddd", 8}, {"eeeeeeee", 8}, {"ffffffff", 8}};
    size_t done;
    topic_new(&bench, 1, 32, 8);
    sub_look(&bench, &ann);
    for (int round = 0; round < 7; round++) {
        CHECK_EQUAL(MEMLANE_OK, memlane_publisher_put_many(&bench.publishers[0], spans, 6, &done));
        CHECK_EQUAL(4, done);
        CHECK_LETTERS("abcd", all_of(&ann, 0));
        CHECK_EQUAL(MEMLANE_OK, memlane_publisher_put_many(&bench.publishers[0], spans + 4, 2, &done));
        CHECK_EQUAL(2, done);
        CHECK_LETTERS("ef", all_of(&ann, 0));
    }
    CHECK_EQUAL(0, ann.lanes[0].lost);
    sub_join(&bench, &bob, BOB, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    CHECK_EQUAL(MEMLANE_OK, memlane_publisher_put_many(&bench.publishers[0], spans, 2, &done));
    CHECK_EQUAL(MEMLANE_OK, memlane_publisher_put_many(&bench.publishers[0], spans + 2, 4, &done));
    CHECK_EQUAL(2, done);
    CHECK_EQUAL(MEMLANE_FULL, memlane_publisher_put_many(&bench.publishers[0], spans + 4, 2, &done));
    CHECK_EQUAL(0, done);
    CHECK_LETTERS("abcd", all_of(&bob, 0));
    topic_free(&bench);
}

TEST(a_batch_that_meets_the_end_leaves_nothing_behind_it) {
    static const struct memlane_span spans[3] = {{"aaaaaaaa", 8}, {"bbbbbbbb", 8}, {"cccccccc", 8}};
    size_t done;
    topic_new(&bench, 1, 64, 8);
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_topic_close_lane(&bench.lanes[0])); /* before the flag is seen */
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_publisher_put_many(&bench.publishers[0], spans, 3, &done));
    CHECK_EQUAL(0, done);
    CHECK_EQUAL(memlane_state(1, MEMLANE_STATE_NONE), atomic_load(&bench.lanes[0].descriptors[1].state));
    CHECK_EQUAL(memlane_state(2, MEMLANE_STATE_NONE), atomic_load(&bench.lanes[0].descriptors[2].state));
    CHECK_EQUAL(0, bench.publishers[0].producer.next);
    topic_free(&bench);
}

TEST(a_room_whose_views_live_is_used_for_no_other_record) {
    struct memlane_kept kept;
    uint64_t offset = 0;
    topic_new(&bench, 1, 32, 8);
    CHECK_EQUAL(MEMLANE_OK, memlane_publisher_claim(&bench.publishers[0], 8, &offset));
    CHECK_EQUAL(MEMLANE_OK, memlane_publisher_commit(&bench.publishers[0], offset, 8));
    memlane_producer_keep(&bench.publishers[0].producer, &kept, offset, 8);
    topic_publish_all(&bench, 0, "bcd");
    for (int tries = 0; tries < 2; tries++) {
        CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 'e'));
        CHECK_EQUAL(bench.topic.subscribers, bench.publishers[0].obstacle);
        CHECK(!memlane_publisher_any(&bench.publishers[0]));
    }
    memlane_producer_release(&bench.publishers[0].producer, &kept);
    CHECK(memlane_publisher_any(&bench.publishers[0]));
    topic_publish_all(&bench, 0, "efgh");
    topic_free(&bench);
}

/* ---- the end ------------------------------------------------------------------------------------- */

TEST(a_topic_that_is_shut_down_is_read_to_its_end_by_everyone) {
    enum memlane_status status;
    for (uint64_t records = 1; records <= 8; records++) {
        topic_new(&bench, 1, 64, records);
        sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
        sub_look(&bench, &bob);
        for (uint64_t s = 0; s < records; s++) /* full to the brim: the mark must harm no record */
            topic_publish_all(&bench, 0, "a");
        memlane_ring_shut(&bench.topic.control->ring, MEMLANE_SHUTDOWN_DRAIN);
        CHECK_EQUAL(MEMLANE_CLOSED, memlane_topic_close_lane(&bench.lanes[0]));
        CHECK_EQUAL(MEMLANE_CLOSED, memlane_topic_close_lane(&bench.lanes[0]));
        CHECK_EQUAL(MEMLANE_CLOSED, topic_publish(&bench, 0, 'b'));
        CHECK_EQUAL(records, strlen(all_of(&ann, 0)));
        CHECK_EQUAL(records, strlen(all_of(&bob, 0)));
        CHECK_EQUAL(0, sub_try(&ann, 0, &status));
        CHECK_EQUAL(MEMLANE_CLOSED, status);
        CHECK_EQUAL(0, sub_try(&bob, 0, &status));
        CHECK_EQUAL(MEMLANE_CLOSED, status);
        CHECK(memlane_subscriber_any(&ann.lanes[0]));
        topic_free(&bench);
    }
}

TEST(a_dead_publishers_lane_is_closed_behind_its_last_record) {
    topic_new(&bench, 1, 64, 8);
    topic_publish_all(&bench, 0, "abc");
    atomic_store(&bench.lanes[0].control->tail, 1); /* dead before the hint, with a batch staged behind */
    atomic_store(&memlane_descriptor_of(&bench.lanes[0], 4)->state, memlane_state(4, MEMLANE_STATE_READY));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_topic_close_lane(&bench.lanes[0]));
    sub_look(&bench, &ann);
    CHECK_LETTERS("abc", all_of(&ann, 0));
    topic_free(&bench);
}

TEST(a_commit_under_way_when_a_lane_is_closed_fails_and_nobody_gets_its_record) {
    uint64_t offset = 0;
    topic_new(&bench, 1, 64, 8);
    sub_look(&bench, &ann);
    CHECK_EQUAL(MEMLANE_OK, memlane_publisher_claim(&bench.publishers[0], 8, &offset));
    memlane_ring_shut(&bench.topic.control->ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_topic_close_lane(&bench.lanes[0]));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_publisher_commit(&bench.publishers[0], offset, 8));
    CHECK_LETTERS("", all_of(&ann, 0));
    topic_free(&bench);
}

/* ---- order="all" --------------------------------------------------------------------------------- */

static struct memlane_order_front fronts[BENCH_LANES];

/* All that this one gets of all lanes now, in their order. */
static const char *all_in_order(struct sub *sub) {
    size_t count = 0;
    uint32_t lane;
    while (memlane_order_next(fronts, &bench.topic.control->ring, bench.count, memlane_subscriber_number, sub->lanes,
                              &lane) == MEMLANE_OK) {
        fronts[lane].known = false;
        read_letters[count++] = sub_get(sub, lane);
    }
    read_letters[count] = 0;
    return read_letters;
}

static void publish_in_turn(const char *letters, const char *lanes) {
    for (; *letters; letters++, lanes++)
        CHECK_EQUAL(MEMLANE_OK, topic_publish(&bench, (uint32_t)(*lanes - '0'), *letters));
}

TEST(records_of_several_publishers_come_in_the_order_in_which_they_were_published) {
    static const struct memlane_span spans[3] = {{"xxxxxxxx", 8}, {"yyyyyyyy", 8}, {"zzzzzzzz", 8}};
    uint32_t lane;
    size_t done;
    topic_new_at(&bench, 3, 256, 16, true, 77);
    memset(fronts, 0, sizeof fronts);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    CHECK_EQUAL(MEMLANE_EMPTY,
                memlane_order_next(fronts, &bench.topic.control->ring, 3, memlane_subscriber_number, ann.lanes, &lane));
    publish_in_turn("abcdefgh", "20011202");
    CHECK_LETTERS("abcdefgh", all_in_order(&ann));
    publish_in_turn("ij", "21");
    CHECK_EQUAL(MEMLANE_OK, memlane_publisher_put_many(&bench.publishers[0], spans, 3, &done));
    publish_in_turn("k", "1");
    CHECK_LETTERS("ijxyzk", all_in_order(&ann));
    CHECK_EQUAL(14, atomic_load(&bench.topic.control->order));
    memlane_ring_shut(&bench.topic.control->ring, MEMLANE_SHUTDOWN_DRAIN);
    for (uint32_t i = 0; i < 3; i++)
        memlane_topic_close_lane(&bench.lanes[i]);
    CHECK_EQUAL(MEMLANE_CLOSED,
                memlane_order_next(fronts, &bench.topic.control->ring, 3, memlane_subscriber_number, ann.lanes, &lane));
    topic_free(&bench);
}

static int looks; /* at lanes, by the look below */

/* As lane 0 was seen to be empty it gets a record, and then lane 1 does, which is seen. */
static enum memlane_status look_and_publish(void *reader, uint32_t lane, uint64_t *number) {
    enum memlane_status status = memlane_subscriber_number(reader, lane, number);
    if (looks++ == 0)
        publish_in_turn("ab", "01");
    return status;
}

TEST(a_record_that_came_into_a_lane_behind_the_first_look_is_found_by_the_second) {
    uint32_t lane;
    topic_new_at(&bench, 2, 256, 16, true, 0);
    memset(fronts, 0, sizeof fronts);
    sub_look(&bench, &ann);
    looks = 0;
    CHECK_EQUAL(MEMLANE_OK,
                memlane_order_next(fronts, &bench.topic.control->ring, 2, look_and_publish, ann.lanes, &lane));
    CHECK_EQUAL(0, lane);
    CHECK_EQUAL(3, looks); /* the one that was known was not looked at again */
    topic_free(&bench);
}

/* Behind the look at lane 0, lane 1 is leased for the first time and gets a record; then lane 0 gets one, too. */
static enum memlane_status look_and_lease(void *reader, uint32_t lane, uint64_t *number) {
    if (looks++ == 0) {
        memlane_ring_raise_leased(&bench.topic.control->ring, 2);
        publish_in_turn("ab", "10");
    }
    return memlane_subscriber_number(reader, lane, number);
}

TEST(the_first_record_of_a_lane_that_was_leased_meanwhile_comes_before_what_was_published_behind_it) {
    uint32_t lane;
    topic_new_at(&bench, 2, 256, 16, true, 0);
    atomic_store(&bench.topic.control->ring.leased, 1);
    memset(fronts, 0, sizeof fronts);
    sub_look(&bench, &ann);
    looks = 0;
    CHECK_EQUAL(MEMLANE_OK,
                memlane_order_next(fronts, &bench.topic.control->ring, 2, look_and_lease, ann.lanes, &lane));
    CHECK_EQUAL(1, lane);
    CHECK_EQUAL(2, looks);
    topic_free(&bench);
}

TEST(a_number_leads_to_the_first_record_from_it_on_in_every_lane) {
    for (uint64_t number = 0; number <= 10; number++) {
        topic_new_at(&bench, 2, 256, 16, true, 5);
        memset(fronts, 0, sizeof fronts);
        publish_in_turn("abcdefghij", "0110001011");
        sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_OLDEST);
        for (uint32_t i = 0; i < 2; i++) {
            memlane_subscriber_seek(&ann.lanes[i], number);
            CHECK_EQUAL(memlane_subscriber_next(&ann.lanes[i]), sub_position(&ann, i));
        }
        CHECK_LETTERS("abcdefghij" + number, all_in_order(&ann));
        topic_free(&bench);
    }
}

TEST(in_order_the_longest_record_has_room_for_its_number) {
    static unsigned char large[264];
    topic_new_at(&bench, 1, 256, 16, true, 0);
    CHECK_EQUAL(248, memlane_publisher_max_record(&bench.publishers[0]));
    CHECK_EQUAL(MEMLANE_OK, memlane_publisher_put(&bench.publishers[0], large, 248));
    CHECK_EQUAL(MEMLANE_TOO_LARGE, memlane_publisher_put(&bench.publishers[0], large, 249));
    topic_free(&bench);
}

MAIN
