/* SPDX-License-Identifier: MIT
 *
 * Unfinished tasks: by hand, and with every function stopped in front of every atomic access: killed there, or overtaken.
 */
#include "steps.h"

#include "queue_fixture.h"
#include "core/queue_tasks.h"

static struct queue_bench queue;
static _Atomic uint64_t hands[MEMLANE_ROWS_MAX];
enum { ROWS = 16 };

static void new_queue(uint32_t lanes) {
    memset((void *)hands, 0, sizeof hands);
    queue_new(&queue);
    for (uint32_t lane = 0; lane < lanes; lane++)
        CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, lane));
}

static bool all_done(void) {
    return memlane_tasks_all_done(queue.control, queue.many, QUEUE_LANES, hands, ROWS, queue_is_dead, &queue);
}

static enum memlane_status done(uint32_t tag) { return memlane_tasks_done(hands, ROWS, tag, queue_is_dead, &queue); }

/* Get a task; 0: there is none. */
static char get(uint32_t tag) {
    struct memlane_queue_found found;
    if (!queue_take(&queue, tag, &found))
        return 0;
    char letter = queue_letter(&queue, &found);
    memlane_tasks_get(hands, tag);
    CHECK(memlane_many_free(&queue.lanes[found.lane], found.record.s, tag));
    return letter;
}

TEST(a_task_is_unfinished_until_it_is_done) {
    new_queue(2);
    CHECK(all_done());
    queue_put_all(&queue, 0, "ab");
    queue_put_all(&queue, 1, "c");
    for (uint32_t i = 0; i < 3; i++) {
        CHECK(!all_done());
        CHECK_EQUAL("abc"[i], get(ALICE + i % 2));
    }
    CHECK(!all_done());
    CHECK_EQUAL(MEMLANE_OK, done(ALICE));
    CHECK_EQUAL(MEMLANE_OK, done(BOB));
    CHECK(!all_done());
    CHECK_EQUAL(MEMLANE_OK, done(ALICE));
    CHECK(all_done());
    CHECK_EQUAL(MEMLANE_EMPTY, done(ALICE));
    CHECK(all_done());
    queue_free(&queue);
}

TEST(any_process_may_say_that_a_task_is_done_which_another_one_that_lives_has_got) {
    new_queue(1);
    queue_put_all(&queue, 0, "ab");
    CHECK_EQUAL('a', get(CAROL));
    CHECK_EQUAL('b', get(BOB));
    queue.dead[CAROL - ALICE] = true;
    CHECK_EQUAL(MEMLANE_OK, done(DAVE)); /* Bob's, for Carol's means nothing any more */
    CHECK(all_done());
    CHECK_EQUAL(MEMLANE_EMPTY, done(DAVE));
    queue_free(&queue);
}

TEST(a_task_in_the_hand_of_a_consumer_that_has_not_freed_its_record_is_unfinished) {
    struct memlane_queue_found found;
    new_queue(1);
    queue_put_all(&queue, 0, "a");
    CHECK(queue_take(&queue, CAROL, &found));
    CHECK(!all_done());
    queue.dead[CAROL - ALICE] = true;
    CHECK(!all_done()); /* it will be delivered again */
    CHECK_EQUAL('a', get(BOB));
    CHECK(!all_done());
    CHECK_EQUAL(MEMLANE_OK, done(BOB));
    CHECK(all_done());
    queue_free(&queue);
}

TEST(what_a_dead_process_had_got_is_waited_for_by_nobody) {
    new_queue(1);
    queue_put_all(&queue, 0, "ab");
    CHECK_EQUAL('a', get(CAROL));
    CHECK_EQUAL('b', get(CAROL));
    CHECK(!all_done());
    queue.dead[CAROL - ALICE] = true;
    CHECK(all_done());
    queue_free(&queue);
}

TEST(the_next_owner_of_a_row_begins_without_tasks) {
    const uint32_t heir = CAROL + (1u << 12); /* the same row, another generation */
    new_queue(1);
    queue_put_all(&queue, 0, "abc");
    CHECK_EQUAL('a', get(CAROL));
    CHECK_EQUAL('b', get(CAROL));
    queue.dead[CAROL - ALICE] = true;
    CHECK_EQUAL('c', get(heir));
    CHECK_EQUAL(MEMLANE_OK, done(heir));
    CHECK(all_done());
    CHECK_EQUAL(MEMLANE_EMPTY, done(heir));
    queue_free(&queue);
}

TEST(any_words_in_the_hands_give_an_answer) {
    uint64_t random = 3;
    for (int round = 0; round < 2000; round++) {
        new_queue(1);
        for (int row = 0; row < ROWS; row++)
            atomic_store(&hands[row], check_random(&random));
        (void)all_done();
        (void)done(ALICE);
        queue_put_all(&queue, 0, "a");
        CHECK_EQUAL('a', get(ALICE));
        CHECK_EQUAL(MEMLANE_OK, done(ALICE));
        queue_free(&queue);
    }
}

/* ---- overtaken at every access --------------------------------------------------------------------- */

static bool answer;
static void join(void) { answer = all_done(); }

/* A worker whose task puts another one, again and again: there is always one. */
static void chain(void) {
    for (int i = 0; i < 3; i++) {
        CHECK(get(BOB));
        queue_put_all(&queue, (uint32_t)i % 2, "n");
        CHECK_EQUAL(MEMLANE_OK, done(BOB));
    }
}

/* The same, the task in hand at the end. */
static void chain_and_get(void) {
    chain();
    CHECK(get(CAROL));
}

/* And from a task in hand at the beginning: it is done when the next one is there. */
static void finish_and_chain(void) {
    queue_put_all(&queue, 1, "n");
    CHECK_EQUAL(MEMLANE_OK, done(CAROL));
    chain();
}

/* Over to one whose word the join may have read. */
static void hand_over(void) {
    queue_put_all(&queue, 0, "n");
    CHECK_EQUAL(MEMLANE_OK, done(CAROL));
    CHECK_EQUAL('n', get(BOB));
}

static void lease_another_lane(void) {
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 2));
    queue_put_all(&queue, 2, "n");
    CHECK_EQUAL(MEMLANE_OK, done(CAROL));
}

TEST(a_join_overtaken_at_any_access_by_tasks_that_put_tasks_does_not_take_that_for_the_end) {
    static const struct {
        void (*other)(void);
        bool in_hand;
    } others[] = {{chain, false},
                  {chain_and_get, false},
                  {finish_and_chain, true},
                  {lease_another_lane, true},
                  {hand_over, true}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        bool met = true;
        for (long k = 0; met; k++) {
            new_queue(2);
            queue_put_all(&queue, 0, "a");
            if (others[i].in_hand)
                CHECK_EQUAL('a', get(CAROL));
            met = meets_at(k, join, others[i].other);
            CHECK(!answer);
            queue_free(&queue);
            CHECK(k < 1000);
        }
    }
}

static void get_one(void) { (void)get(ALICE); }
static void finish_one(void) { (void)done(ALICE); }
static void get_and_finish(void) {
    if (get(ALICE))
        CHECK_EQUAL(MEMLANE_OK, done(ALICE));
}

TEST(a_get_or_a_done_overtaken_at_any_access_by_a_join_is_seen_as_it_was_or_as_it_is) {
    static void (*const acts[])(void) = {get_one, get_and_finish};
    for (size_t i = 0; i < 2; i++) {
        bool met = true;
        for (long k = 0; met; k++) {
            new_queue(1);
            queue_put_all(&queue, 0, "ab");
            met = meets_at(k, acts[i], join);
            CHECK(!met || !answer); /* b is there in any case */
            queue_free(&queue);
            CHECK(k < 1000);
        }
    }
    bool met = true;
    for (long k = 0; met; k++) {
        new_queue(1);
        queue_put_all(&queue, 0, "a");
        met = meets_at(k, get_one, join);
        CHECK(!met || !answer);
        CHECK(!all_done());
        finish_one();
        CHECK(all_done());
        queue_free(&queue);
        CHECK(k < 1000);
    }
}

TEST(a_consumer_killed_in_front_of_any_access_leaves_no_task_for_which_a_join_waits_for_ever) {
    bool died = true;
    for (long k = 0; died; k++) {
        new_queue(1);
        queue_put_all(&queue, 0, "a");
        died = queue.dead[0] = dies_at(k, get_and_finish);
        if (get(BOB))
            CHECK_EQUAL(MEMLANE_OK, done(BOB));
        CHECK(all_done());
        queue_free(&queue);
        CHECK(k < 1000);
    }
}

MAIN
