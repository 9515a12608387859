/* SPDX-License-Identifier: MIT
 *
 * The bound of a queue: by hand, and with every function stopped in front of every atomic access: killed there, or overtaken.
 */
#include "steps.h"

#include "queue_fixture.h"
#include "core/queue_bound.h"

static struct queue_bench queue;
static struct memlane_queue_lane growth[QUEUE_LANES];
static struct memlane_bound bounds[QUEUE_LANES];
static enum memlane_status answer, others_answer;

/* Take a lane and return what its last owner had in hand. */
static enum memlane_status lease(uint32_t lane, uint64_t maxsize) {
    enum memlane_status status = queue_lease(&queue, lane);
    bounds[lane] = (struct memlane_bound){.control = queue.control,
                                          .of_lanes = growth,
                                          .many = queue.many,
                                          .maxsize = maxsize,
                                          .gone = 77,
                                          .in_hand = 77,
                                          .lanes = QUEUE_LANES,
                                          .lane = lane};
    return status == MEMLANE_OK ? memlane_bound_adopt(&bounds[lane], queue.producers[lane].producer.next) : status;
}

static void new_queue(uint32_t lanes, uint64_t maxsize) {
    memset(growth, 0, sizeof growth);
    queue_new(&queue);
    for (uint32_t lane = 0; lane < lanes; lane++)
        CHECK_EQUAL(MEMLANE_OK, lease(lane, maxsize));
}

static enum memlane_status put(uint32_t lane, char letter) {
    enum memlane_status status = memlane_bound_take(&bounds[lane], 1);
    if (status != MEMLANE_OK)
        return status;
    status = queue_put(&queue, lane, letter);
    if (status == MEMLANE_OK)
        memlane_bound_use(&bounds[lane], 1);
    else
        memlane_bound_return(&bounds[lane]);
    return status;
}

TEST(a_queue_takes_as_many_records_as_its_bound_says_whatever_lanes_they_are_in) {
    for (uint64_t maxsize = 1; maxsize <= 5; maxsize++) {
        new_queue(QUEUE_LANES, maxsize);
        for (int round = 0; round < 20; round++) {
            for (uint32_t i = 0; i < maxsize; i++)
                CHECK_EQUAL(MEMLANE_OK, put((i * 7 + (uint32_t)round) % QUEUE_LANES, 'a'));
            for (uint32_t lane = 0; lane < QUEUE_LANES; lane++) {
                CHECK_EQUAL(MEMLANE_FULL, put(lane, 'b'));
                CHECK(!memlane_bound_any(&bounds[lane]));
            }
            CHECK_EQUAL('a', queue_get(&queue, BOB));
            CHECK(memlane_bound_any(&bounds[3]));
            CHECK_EQUAL(MEMLANE_OK, put(3, 'a'));
            for (uint32_t i = 0; i < maxsize; i++)
                CHECK_EQUAL('a', queue_get(&queue, BOB));
        }
        queue_free(&queue);
    }
}

TEST(a_record_in_the_hand_of_a_consumer_is_no_longer_in_the_queue) {
    struct memlane_queue_found found;
    new_queue(1, 1);
    CHECK_EQUAL(MEMLANE_OK, put(0, 'a'));
    CHECK(queue_take(&queue, ALICE, &found));
    CHECK_EQUAL(MEMLANE_OK, put(0, 'b'));
    CHECK_EQUAL(MEMLANE_FULL, put(0, 'c'));
    queue_free(&queue);
}

TEST(a_consumer_that_died_before_it_moved_taken_keeps_no_room) {
    struct memlane_queue_found found;
    new_queue(1, 1);
    CHECK_EQUAL(MEMLANE_OK, put(0, 'a'));
    CHECK_EQUAL(MEMLANE_OK, queue_next(&queue, false, &found));
    CHECK(memlane_many_claim(&queue.lanes[0], &found.record, CAROL)); /* and no further */
    CHECK(memlane_bound_any(&bounds[0]));
    CHECK_EQUAL(MEMLANE_OK, put(0, 'b'));
    queue_free(&queue);
}

TEST(permits_for_a_batch_are_as_many_as_there_is_room_for_and_what_is_not_used_is_another_ones) {
    new_queue(2, 5);
    CHECK_EQUAL(MEMLANE_OK, put(1, 'a'));
    CHECK_EQUAL(MEMLANE_OK, memlane_bound_take(&bounds[0], 100));
    CHECK_EQUAL(4, bounds[0].in_hand);
    CHECK_EQUAL(MEMLANE_FULL, put(1, 'b'));
    memlane_bound_return(&bounds[0]);
    CHECK_EQUAL(MEMLANE_OK, put(1, 'b'));
    queue_free(&queue);
    new_queue(1, 100000);
    CHECK_EQUAL(MEMLANE_OK, memlane_bound_take(&bounds[0], UINT64_MAX));
    CHECK_EQUAL(MEMLANE_PERMITS_MAX, bounds[0].in_hand);
    queue_free(&queue);
}

TEST(counts_that_come_around_bound_as_before) {
    new_queue(2, 3);
    const uint64_t near_end = MEMLANE_PERMITS_COUNT_MASK - 2;
    atomic_store(&queue.control->granted, memlane_granted_word(near_end, 0, 0));
    atomic_store(&growth[0].returned, near_end); /* as if they had gone by */
    atomic_store(&growth[0].grant, (near_end & 0xfffff) << MEMLANE_PERMITS_COUNT_BITS);
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 3; i++)
            CHECK_EQUAL(MEMLANE_OK, put(round % 2, 'a'));
        CHECK_EQUAL(MEMLANE_FULL, put(0, 'b'));
        for (int i = 0; i < 3; i++)
            CHECK_EQUAL('a', queue_get(&queue, BOB));
    }
    CHECK_EQUAL(MEMLANE_OK, lease(0, 3));
    CHECK_EQUAL(MEMLANE_OK, put(0, 'a'));
    queue_free(&queue);
}

TEST(a_lane_whose_producer_cannot_have_so_many_permits_is_corrupt) {
    new_queue(1, 3);
    atomic_store(&growth[0].returned, 1);
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_bound_adopt(&bounds[0], 0));
    queue_free(&queue);
}

TEST(any_words_of_the_bound_give_an_answer) {
    uint64_t random = 5;
    for (int round = 0; round < 3000; round++) {
        new_queue(2, 1 + check_below(&random, 6));
        atomic_store(&queue.control->granted, check_random(&random));
        for (int i = 0; i < QUEUE_LANES; i++) {
            atomic_store(&growth[i].grant, check_random(&random));
            atomic_store(&growth[i].returned, check_random(&random));
        }
        for (int i = 0; i < 10; i++) {
            enum memlane_status status = put(i % 2, 'a');
            CHECK(status == MEMLANE_OK || status == MEMLANE_FULL);
            (void)memlane_bound_any(&bounds[0]);
        }
        enum memlane_status status = lease(0, 3);
        CHECK(status == MEMLANE_OK || status == MEMLANE_CORRUPTED);
        queue_free(&queue);
    }
}

/* ---- killed and overtaken at every access --------------------------------------------------------- */

static void put_x(void) { answer = put(0, 'x'); }
static void take_two_put_x(void) {
    answer = memlane_bound_take(&bounds[0], 2);
    if (answer == MEMLANE_OK)
        answer = put(0, 'x');
    memlane_bound_return(&bounds[0]);
}
static void adopt_0(void) { answer = lease(0, 3); }

static uint64_t count_records(void) {
    uint64_t count = 0;
    while (queue_get(&queue, BOB))
        count++;
    return count;
}

TEST(a_producer_killed_in_front_of_any_access_of_a_put_keeps_no_room_once_its_lane_has_an_heir) {
    void (*const deaths[])(void) = {put_x, take_two_put_x};
    for (size_t i = 0; i < 2; i++) {
        bool died = true;
        for (long k = 0; died; k++) {
            bool heir_died = true;
            for (long j = 0; heir_died; j++) { /* and its heir, everywhere, and the next one lives */
                new_queue(2, 3);
                CHECK_EQUAL(MEMLANE_OK, put(1, 'a'));
                died = dies_at(k, deaths[i]);
                heir_died = dies_at(j, adopt_0);
                for (long puts = 0; puts < j % 3; puts++) /* another one goes on meanwhile, or does not */
                    (void)put(1, 'b');
                CHECK_EQUAL(MEMLANE_OK, lease(0, 3));
                for (int round = 0; round < 3; round++) {
                    while (put(round % 2, 'c') == MEMLANE_OK) {
                    }
                    CHECK_EQUAL(3, count_records());
                }
                queue_free(&queue);
                CHECK(j < 1000);
            }
            CHECK(k < 1000);
        }
    }
}

static void other_puts_two(void) {
    others_answer = put(1, 'p');
    (void)put(1, 'q');
}
static void other_puts_gets_and_puts(void) {
    others_answer = put(1, 'p');
    (void)queue_get(&queue, BOB);
    (void)put(1, 'q');
}

TEST(of_puts_that_overtake_each_other_at_any_access_so_many_get_in_as_there_is_room_for) {
    for (int backlog = 0; backlog <= 3; backlog++) {
        bool met = true;
        for (long k = 0; met; k++) {
            new_queue(2, 3);
            for (int i = 0; i < backlog; i++)
                CHECK_EQUAL(MEMLANE_OK, put(1, 'a'));
            met = meets_at(k, put_x, other_puts_two);
            CHECK(backlog < 3 || answer == MEMLANE_FULL);
            CHECK(backlog > 2 || answer == MEMLANE_OK || (met && others_answer == MEMLANE_OK));
            while (put(1, 'z') == MEMLANE_OK) {
            }
            CHECK_EQUAL(3, count_records());
            queue_free(&queue);
            CHECK(k < 1000);
        }
    }
}

static void other_puts_and_gets(void) {
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(MEMLANE_OK, put(1, 'p'));
        CHECK(queue_get(&queue, BOB));
    }
}

TEST(a_put_is_not_told_that_a_queue_is_full_which_others_filled_and_emptied_while_it_looked) {
    bool met = true;
    for (long k = 0; met; k++) {
        new_queue(2, 2);
        other_puts_and_gets(); /* so that lane 0, which has not looked, thinks that there is no room */
        bounds[0].gone = 0;
        met = meets_at(k, put_x, other_puts_and_gets);
        CHECK_EQUAL(MEMLANE_OK, answer);
        queue_free(&queue);
        CHECK(k < 1000);
    }
}

TEST(a_full_that_is_told_was_true_at_some_moment) {
    bool met = true;
    for (long k = 0; met; k++) {
        new_queue(2, 1);
        met = meets_at(k, put_x, other_puts_gets_and_puts);
        CHECK(met || answer == MEMLANE_OK);
        CHECK(answer == MEMLANE_OK || others_answer == MEMLANE_OK);
        CHECK_EQUAL(1, count_records());
        queue_free(&queue);
        CHECK(k < 1000);
    }
}

/* A process that was stopped while it noted a grant, and goes on when its lane has got others. */
static uint64_t old_granted;
static void note_old(void) { memlane_bound_note(&bounds[1], old_granted); }
static void others_go_on(void) {
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(MEMLANE_OK, put(0, 'a'));
        CHECK_EQUAL('a', queue_get(&queue, BOB));
    }
}

TEST(a_grant_is_noted_once_also_by_a_process_that_was_stopped_at_any_access_of_it) {
    bool met = true;
    for (long k = 0; met; k++) {
        new_queue(2, 2);
        CHECK_EQUAL(MEMLANE_OK, put(0, 'a'));
        CHECK_EQUAL('a', queue_get(&queue, BOB));
        old_granted = atomic_load(&queue.control->granted);
        atomic_store(&growth[0].grant, 0); /* not noted yet */
        met = meets_at(k, note_old, others_go_on);
        CHECK_EQUAL(MEMLANE_OK, lease(0, 2));
        CHECK_EQUAL(MEMLANE_OK, put(0, 'a'));
        CHECK_EQUAL(MEMLANE_OK, put(1, 'a'));
        CHECK_EQUAL(MEMLANE_FULL, put(0, 'a'));
        queue_free(&queue);
        CHECK(k < 100);
    }
}

MAIN
