/* SPDX-License-Identifier: MIT
 *
 * The order of all over the lanes of a queue, by one thread: every state built by hand.
 */
#include "queue_fixture.h"

static struct queue_bench queue;
static const uint64_t starts[] = {0, 1, 1000, (UINT64_C(1) << 29) - 2, (UINT64_C(1) << 61) - 2, -UINT64_C(3)};

TEST(records_come_out_in_the_order_in_which_they_were_put_whatever_their_lanes) {
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        queue_new_at(&queue, 128, 8, starts[i]);
        for (uint32_t lane = 0; lane < QUEUE_LANES; lane++)
            CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, lane));
        for (int round = 0; round < 5; round++) {
            const char *lanes = "3012021332100123";
            for (char letter = 'a'; letter <= 'p'; letter++)
                CHECK_EQUAL(MEMLANE_OK, queue_put(&queue, (uint32_t)(lanes[letter - 'a'] - '0'), letter));
            queue_check_gets(&queue, "abcdefghijklmnop");
        }
        queue_free(&queue);
    }
}

TEST(what_was_put_while_there_was_one_lane_is_older_than_all_of_another_lane) {
    queue_new(&queue);
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0));
    queue_put_all(&queue, 0, "abc");
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 1));
    queue_put_all(&queue, 1, "de");
    queue_put_all(&queue, 0, "f");
    queue_put_all(&queue, 1, "g");
    queue_check_gets(&queue, "abcdefg");
    queue_free(&queue);
}

TEST(a_process_that_puts_into_another_lane_than_before_keeps_its_order) {
    queue_new(&queue);
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0));
    for (uint32_t lane = 1; lane < QUEUE_LANES; lane++) {
        CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, lane));
        queue_put_all(&queue, lane, "a");
        queue_put_all(&queue, 0, "b");
    }
    queue_check_gets(&queue, "ababab");
    queue_free(&queue);
}

TEST(a_number_that_nobody_used_delays_nobody) {
    uint64_t offset, apart;
    queue_new(&queue);
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0));
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 1));
    CHECK_EQUAL(MEMLANE_OK, memlane_queue_claim(&queue.producers[0], 8, &offset));
    (void)memlane_queue_number(queue.control, QUEUE_LANES, 1, &apart); /* and died with it */
    queue_put_all(&queue, 1, "a");
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0));
    queue_put_all(&queue, 0, "b");
    queue_check_gets(&queue, "ab");
    queue_free(&queue);
}

TEST(what_was_handed_back_is_got_before_what_was_put_behind_it) {
    struct memlane_queue_found found;
    queue_new(&queue);
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0));
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 1));
    queue_put_all(&queue, 1, "a");
    queue_put_all(&queue, 0, "b");
    queue_put_all(&queue, 1, "cd");
    CHECK(queue_take(&queue, ALICE, &found));
    CHECK_EQUAL('a', queue_letter(&queue, &found));
    CHECK(memlane_many_hand_back(&queue.control->ring, &queue.lanes[found.lane], found.record.s, ALICE));
    CHECK(queue_take(&queue, ALICE, &found));
    CHECK_EQUAL('a', queue_letter(&queue, &found)); /* again, and kept this time */
    CHECK_EQUAL('b', queue_get(&queue, BOB));
    CHECK(memlane_many_hand_back(&queue.control->ring, &queue.lanes[found.lane], found.record.s, ALICE));
    queue_check_gets(&queue, "acd");
    queue_free(&queue);
}

TEST(what_was_handed_back_and_met_while_an_older_record_was_first_is_got_next) {
    struct memlane_queue_found b, found;
    queue_new(&queue);
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0));
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 1));
    queue_put_all(&queue, 0, "a");
    queue_put_all(&queue, 1, "b");
    queue_put_all(&queue, 0, "c");
    queue_put_all(&queue, 1, "d");
    CHECK(queue_take(&queue, CAROL, &found));
    CHECK(queue_take(&queue, ALICE, &b));
    CHECK(memlane_many_hand_back(&queue.control->ring, &queue.lanes[b.lane], b.record.s, ALICE));
    CHECK(memlane_many_hand_back(&queue.control->ring, &queue.lanes[found.lane], found.record.s, CAROL));
    queue_check_gets(&queue, "abcd");
    queue_free(&queue);
}

TEST(what_a_dead_consumer_had_in_hand_comes_in_front_of_its_lane_once_that_is_known) {
    struct memlane_queue_found found;
    queue_new(&queue);
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0));
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 1));
    queue_put_all(&queue, 0, "ab");
    queue_put_all(&queue, 1, "cd");
    CHECK(queue_take(&queue, CAROL, &found));
    CHECK_EQUAL(MEMLANE_OK, queue_next(&queue, true, &found));
    CHECK_EQUAL('b', queue_letter(&queue, &found)); /* she lives, and loses nothing */
    queue.dead[CAROL - ALICE] = true;
    CHECK_EQUAL(MEMLANE_OK, queue_next(&queue, true, &found));
    CHECK_EQUAL('a', queue_letter(&queue, &found));
    CHECK(memlane_queue_take(queue.many, &found, BOB));
    CHECK(!memlane_many_free(&queue.lanes[found.lane], found.record.s, CAROL));
    CHECK(memlane_many_free(&queue.lanes[found.lane], found.record.s, BOB));
    queue_check_gets(&queue, "bcd");
    queue_free(&queue);
}

TEST(a_lane_whose_producer_died_keeps_its_place_in_the_order) {
    queue_new(&queue);
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0));
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 1));
    queue_put_all(&queue, 0, "a");
    queue_put_all(&queue, 1, "b");
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0)); /* a successor */
    queue_put_all(&queue, 0, "c");
    queue_put_all(&queue, 1, "d");
    queue_check_gets(&queue, "abcd");
    queue_free(&queue);
}

TEST(a_queue_has_ended_when_each_of_its_lanes_has) {
    struct memlane_queue_found found;
    queue_new(&queue);
    CHECK_EQUAL(MEMLANE_EMPTY, queue_next(&queue, false, &found)); /* no lane was leased yet */
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0));
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 1));
    queue_put_all(&queue, 1, "a");
    memlane_ring_shut(&queue.control->ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_CLOSED, queue_put(&queue, 0, 'b'));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_many_close(&queue.many[0]));
    CHECK_EQUAL('a', queue_get(&queue, BOB));
    CHECK_EQUAL(MEMLANE_EMPTY, queue_next(&queue, false, &found));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_many_close(&queue.many[1]));
    CHECK_EQUAL(MEMLANE_CLOSED, queue_next(&queue, false, &found));
    queue_free(&queue);
}

TEST(the_longest_record_of_a_queue_leaves_room_for_its_number) {
    unsigned char record[128] = {0};
    queue_new(&queue);
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 0));
    CHECK_EQUAL(120, memlane_queue_max_record(&queue.lanes[0]));
    CHECK_EQUAL(MEMLANE_TOO_LARGE, memlane_queue_put(&queue.producers[0], record, 121));
    CHECK_EQUAL(MEMLANE_OK, memlane_queue_put(&queue.producers[0], record, 120));
    queue_free(&queue);
}

/* ---- hostile bytes ------------------------------------------------------------------------------- */

TEST(a_record_that_is_too_short_for_its_number_is_corrupt_and_not_read) {
    struct memlane_queue_found found;
    for (uint32_t lanes = 1; lanes <= 2; lanes++)
        for (uint64_t nbytes = 0; nbytes <= MEMLANE_ORDER_NBYTES; nbytes++) {
            queue_new(&queue);
            for (uint32_t lane = 0; lane < lanes; lane++)
                CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, lane));
            queue_put_all(&queue, 0, "a");
            atomic_store(&memlane_descriptor_of(&queue.lanes[0], 0)->extent, memlane_extent_word(120, nbytes));
            CHECK_EQUAL(nbytes < MEMLANE_ORDER_NBYTES ? MEMLANE_CORRUPTED : MEMLANE_OK,
                        queue_next(&queue, false, &found));
            CHECK_EQUAL(0, found.lane);
            queue_free(&queue);
        }
}

TEST(any_words_in_a_queue_give_a_record_or_an_answer_within_a_bounded_number_of_looks) {
    uint64_t random = 17;
    int answers[MEMLANE_LOST + 1] = {0};
    for (int round = 0; round < 5000; round++) {
        struct memlane_queue_found found;
        queue_new_at(&queue, 128, 8, check_below(&random, 2) ? 0 : check_random(&random));
        for (uint32_t lane = 0; lane < QUEUE_LANES; lane++)
            CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, lane));
        for (char letter = 'a'; letter <= 'h'; letter++)
            CHECK_EQUAL(MEMLANE_OK, queue_put(&queue, (uint32_t)check_below(&random, QUEUE_LANES), letter));
        for (uint64_t spoilt = check_below(&random, 6); spoilt > 0; spoilt--) {
            struct memlane_lane *lane = &queue.lanes[check_below(&random, QUEUE_LANES)];
            struct memlane_descriptor *descriptor = &lane->descriptors[check_below(&random, 8)];
            uint64_t word = check_below(&random, 3) ? check_random(&random) : check_below(&random, 64);
            switch (check_below(&random, 5)) {
            case 0:
                atomic_store(&descriptor->state, word);
                break;
            case 1:
                atomic_store(&descriptor->extent, word);
                break;
            case 2:
                atomic_store(&lane->control->taken, word);
                break;
            case 3:
                atomic_store(&lane->control->head, word);
                break;
            default:
                atomic_store(&queue.control->order, word);
                atomic_store(&queue.control->ring.leased, (uint32_t)word);
            }
        }
        for (int gets = 0; gets < 40; gets++) {
            enum memlane_status status = queue_next(&queue, gets % 2, &found);
            CHECK(status <= MEMLANE_LOST);
            answers[status]++;
            if (status == MEMLANE_OK && memlane_queue_take(queue.many, &found, ALICE))
                memlane_many_free(&queue.lanes[found.lane], found.record.s, ALICE);
        }
        queue_free(&queue);
    }
    CHECK(answers[MEMLANE_OK] > 1000 && answers[MEMLANE_EMPTY] > 1000 && answers[MEMLANE_CORRUPTED] > 500);
}

MAIN
