/* SPDX-License-Identifier: MIT
 *
 * Duels (duel.h) of topics: what orders the steps of a publisher, of its subscribers and of joiners. What may come out
 * stands above each duel.
 */
#include "duel.h"
#include "topic_fixture.h"

enum { LANE_RECORDS = 4, RECORD_NBYTES = 128 };

static struct topic_bench bench;
static struct sub sub;

/* Bytes that all are the letter of this record. */
static char letter_of(uint64_t s) { return (char)('a' + s % 26); }

static enum memlane_status publish(void) {
    char record[RECORD_NBYTES];
    memset(record, letter_of(bench.publishers[0].producer.next), sizeof record);
    return memlane_publisher_put(&bench.publishers[0], record, sizeof record);
}

static void new_bench(void) {
    topic_new(&bench, 1, LANE_RECORDS * RECORD_NBYTES, LANE_RECORDS);
    sub.place = NULL;
}

/* Nobody is waited for, and the next publish needs room that no scan has cleared yet. */
static void fill(void) {
    struct memlane_producer *producer = &bench.publishers[0].producer;
    if (sub.place != NULL)
        (void)(memlane_place_give(sub.place, sub.holder) ||
               memlane_place_give(sub.place, memlane_holder_in(sub.holder, MEMLANE_PLACE_EVICTED)));
    sub.place = NULL;
    do
        CHECK_EQUAL(MEMLANE_OK, publish());
    while (producer->next - producer->head < LANE_RECORDS);
    atomic_store(&bench.lanes[0].control->waiters, 0);
    atomic_store(&bench.topic.control->armed[0], 0);
}

static uint64_t oldest(void) { return atomic_load(&bench.lanes[0].control->head); }

/* ---- a joiner against a publisher that needs room ------------------------------------------------ */

static uint64_t begin_at; /* the oldest record, which the joiner has found */

static void stand_before_the_show(void) {
    fill();
    begin_at = oldest();
    sub_take(&bench, &sub, ALICE);
    sub_start(&bench, &sub, MEMLANE_START_OLDEST, 1);
}

static uint64_t show_and_settle(void) { return sub_show(&bench, &sub, MEMLANE_PLACE_WAIT); }

static uint64_t make_room(void) {
    uint64_t offset;
    return memlane_publisher_claim(&bench.publishers[0], RECORD_NBYTES, &offset);
}

/*  settle    claim   what it means
 *  0 gone    FULL    the scan saw the joiner: its oldest record stays
 *  1 gone    any     the joiner saw the new head, and goes on there
 *  0 gone    OK      FORBIDDEN: the record is overwritten, and the joiner believes that it is kept */
static void judge_joiner(uint64_t gone, uint64_t claim) {
    CHECK(claim == MEMLANE_OK || claim == MEMLANE_FULL);
    CHECK(gone == 1 || claim == MEMLANE_FULL);
    CHECK_EQUAL(begin_at + gone, sub_position(&sub, 0));
    CHECK((int64_t)(sub_position(&sub, 0) - bench.publishers[0].producer.head) >= 0);
    left_first += gone == 0;
    right_first += claim == MEMLANE_OK;
}

TEST(a_joiner_and_a_publisher_that_needs_room_never_miss_each_other) {
    new_bench();
    duel(stand_before_the_show, show_and_settle, make_room, judge_joiner);
    topic_free(&bench);
}

static void stand_before_an_successor(void) {
    stand_before_the_show();
    CHECK_EQUAL(MEMLANE_OK, topic_adopt(&bench, 0));
}

TEST(a_joiner_and_the_successor_of_a_publisher_never_miss_each_other) {
    new_bench();
    duel(stand_before_an_successor, show_and_settle, make_room, judge_joiner);
    topic_free(&bench);
}

static void nobody_ever_joined(void) {
    fill();
    begin_at = oldest();
    atomic_store(&bench.topic.control->joined, 0);
}

static uint64_t join(void) {
    sub_take(&bench, &sub, ALICE);
    sub_start(&bench, &sub, MEMLANE_START_OLDEST, 1);
    begin_at = memlane_subscriber_next(&sub.lanes[0]);
    return show_and_settle();
}

/* The whole way of the first of all: it may also begin behind the new head. */
static void judge_first_joiner(uint64_t gone, uint64_t claim) {
    bool began_behind = begin_at == bench.publishers[0].raised && gone == 0;
    CHECK(gone == 1 || began_behind || claim == MEMLANE_FULL);
    CHECK((int64_t)(sub_position(&sub, 0) - bench.publishers[0].producer.head) >= 0);
    left_first += claim == MEMLANE_FULL;
    right_first += began_behind;
}

TEST(the_first_joiner_raises_how_many_places_are_walked_before_a_scan_could_miss_it) {
    new_bench();
    duel(nobody_ever_joined, join, make_room, judge_first_joiner);
    topic_free(&bench);
}

/* ---- a copy against what overwrites it ----------------------------------------------------------- */

static uint64_t watched; /* the record that is copied */

/* Copy without the lock of a process; what counts is whole. */
static uint64_t copy_and_check(void) {
    char copy[RECORD_NBYTES];
    struct memlane_extent extent;
    uint64_t s;
    enum memlane_status status = memlane_subscriber_peek(&sub.lanes[0], &s, &extent);
    if (status != MEMLANE_OK)
        return status;
    CHECK(extent.nbytes <= RECORD_NBYTES);
    memlane_words_fetch(copy, sub.lanes[0].lane.bytes + extent.offset, extent.nbytes);
    status = memlane_subscriber_check(&sub.lanes[0], s);
    if (status == MEMLANE_OK)
        for (int i = 0; i < RECORD_NBYTES; i++)
            CHECK_EQUAL(letter_of(watched), copy[i]);
    return status;
}

static void stand_at_the_oldest(void) {
    fill();
    watched = oldest();
    sub_join(&bench, &sub, ALICE, MEMLANE_PLACE_OVERWRITE, MEMLANE_START_OLDEST);
}

static uint64_t overwrite(void) { return publish(); }

/*  copy     publish   what it means
 *  OK       OK        the copy was over, and is whole
 *  LAPPED   OK        it does not count
 *  OK and other letters: FORBIDDEN */
static void judge_copy(uint64_t copy, uint64_t published) {
    CHECK_EQUAL(MEMLANE_OK, published);
    CHECK(copy == MEMLANE_OK || copy == MEMLANE_LAPPED);
    left_first += copy == MEMLANE_OK;
    right_first += copy == MEMLANE_LAPPED;
}

TEST(a_copy_that_counts_is_whole_although_a_publisher_overwrites_the_record_at_that_moment) {
    new_bench();
    duel(stand_at_the_oldest, copy_and_check, overwrite, judge_copy);
    topic_free(&bench);
}

/* ---- an eviction against what the evicted one does ------------------------------------------------ */

static struct memlane_sight sight;

static void stand_in_the_way(void) {
    fill();
    watched = oldest();
    sub_join(&bench, &sub, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_OLDEST);
    CHECK_EQUAL(MEMLANE_FULL, publish());
    sight = (struct memlane_sight){sub.holder, watched, 0};
}

static uint64_t evict_and_overwrite(void) {
    CHECK(memlane_publisher_evict(&bench.publishers[0], sub.index, &sight, 1));
    return publish();
}

/* As judge_copy, where the holder of the place says what `head` says there. */
static void judge_evicted_copy(uint64_t copy, uint64_t published) {
    CHECK_EQUAL(MEMLANE_OK, published);
    CHECK(copy == MEMLANE_OK || copy == MEMLANE_EVICTED);
    left_first += copy == MEMLANE_OK;
    right_first += copy == MEMLANE_EVICTED;
}

TEST(a_copy_that_counts_is_whole_although_its_maker_is_evicted_at_that_moment) {
    new_bench();
    duel(stand_in_the_way, copy_and_check, evict_and_overwrite, judge_evicted_copy);
    topic_free(&bench);
}

static uint64_t borrow(void) { return memlane_subscriber_borrow(&sub.lanes[0], 1); }

/*  borrow    publish   what it means
 *  OK        FULL      the record is lent, and stays
 *  EVICTED   any       nothing is lent; the publisher may have seen a loan that was taken back
 *  OK        OK        FORBIDDEN: what is lent is overwritten */
static void judge_loan(uint64_t borrowed, uint64_t published) {
    CHECK(published == MEMLANE_OK || published == MEMLANE_FULL);
    if (borrowed == MEMLANE_OK) {
        CHECK_EQUAL(MEMLANE_FULL, published);
        memlane_subscriber_release(&sub.lanes[0], watched);
        left_first++;
    } else {
        CHECK_EQUAL(MEMLANE_EVICTED, borrowed);
        right_first++;
    }
    CHECK_EQUAL(0, memlane_place_loans(sub.place, 0));
}

TEST(of_a_loan_and_an_eviction_at_the_same_moment_the_publisher_sees_one_or_the_borrower_the_other) {
    new_bench();
    duel(stand_in_the_way, borrow, evict_and_overwrite, judge_loan);
    topic_free(&bench);
}

/* ---- a publisher that is about to sleep ------------------------------------------------------------- */

static uint64_t announce_and_look_for_room(void) {
    memlane_waiters_announce(&bench.lanes[0].control->waiters);
    return memlane_publisher_any(&bench.publishers[0]);
}

static uint64_t get_and_look(void) {
    memlane_subscriber_finish(&sub.lanes[0], 1, RECORD_NBYTES);
    return memlane_waiters_any_fenced(&bench.lanes[0].control->waiters);
}

TEST(a_publish_about_to_sleep_and_a_get_never_miss_each_other) {
    new_bench();
    duel(stand_in_the_way, announce_and_look_for_room, get_and_look, judge_looks);
    topic_free(&bench);
}

static void stand_with_a_loan(void) {
    stand_in_the_way();
    CHECK_EQUAL(MEMLANE_OK, borrow());
    CHECK_EQUAL(MEMLANE_FULL, publish());
}

static uint64_t release_and_look(void) {
    memlane_subscriber_release(&sub.lanes[0], watched);
    return memlane_waiters_any(&bench.lanes[0].control->waiters);
}

TEST(a_publish_about_to_sleep_and_the_release_of_a_loan_never_miss_each_other) {
    new_bench();
    duel(stand_with_a_loan, announce_and_look_for_room, release_and_look, judge_looks);
    topic_free(&bench);
}

static uint64_t leave_and_look(void) {
    CHECK(memlane_place_give(sub.place, sub.holder));
    return memlane_waiters_any(&bench.lanes[0].control->waiters);
}

TEST(a_publish_about_to_sleep_and_a_subscriber_that_leaves_never_miss_each_other) {
    new_bench();
    duel(stand_in_the_way, announce_and_look_for_room, leave_and_look, judge_looks);
    topic_free(&bench);
}

static uint64_t evict_and_look(void) {
    CHECK(memlane_publisher_evict(&bench.publishers[0], sub.index, &sight, 1));
    return memlane_waiters_any_fenced(&bench.lanes[0].control->waiters);
}

TEST(a_publish_about_to_sleep_and_an_eviction_by_another_one_never_miss_each_other) {
    new_bench();
    duel(stand_in_the_way, announce_and_look_for_room, evict_and_look, judge_looks);
    topic_free(&bench);
}

/* ---- a subscriber that is about to sleep ------------------------------------------------------------ */

static void stand_at_the_end(void) {
    fill();
    sub_join(&bench, &sub, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    sight = (struct memlane_sight){sub.holder, sub_position(&sub, 0), 0};
}

static uint64_t arm_and_look(void) {
    memlane_armed_announce(memlane_topic_armed(&bench.topic, sub.index), sub.index % 64);
    return memlane_subscriber_any(&sub.lanes[0]);
}

static uint64_t collect(void) { return memlane_armed_collect(memlane_topic_armed(&bench.topic, sub.index)) != 0; }

static uint64_t publish_and_collect(void) {
    CHECK_EQUAL(MEMLANE_OK, publish());
    return collect();
}

TEST(a_get_about_to_sleep_and_a_publish_never_miss_each_other) {
    new_bench();
    duel(stand_at_the_end, arm_and_look, publish_and_collect, judge_looks);
    topic_free(&bench);
}

static uint64_t evict_and_collect(void) {
    CHECK(memlane_publisher_evict(&bench.publishers[0], sub.index, &sight, 1));
    return collect();
}

TEST(a_get_about_to_sleep_and_its_eviction_never_miss_each_other) {
    new_bench();
    duel(stand_at_the_end, arm_and_look, evict_and_collect, judge_looks);
    topic_free(&bench);
}

static void stand_in_a_new_topic(void) {
    topic_free(&bench);
    new_bench();
    stand_at_the_end();
}

static uint64_t close_and_collect(void) {
    memlane_ring_shut(&bench.topic.control->ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_topic_close_lane(&bench.lanes[0]));
    return collect();
}

TEST(a_get_about_to_sleep_and_the_end_of_a_lane_never_miss_each_other) {
    new_bench();
    duel(stand_in_a_new_topic, arm_and_look, close_and_collect, judge_looks);
    topic_free(&bench);
}

/* ---- a commit against the end of a lane ---------------------------------------------------------------- */

static uint64_t claimed_at;

static void claim_in_a_new_topic(void) {
    stand_in_a_new_topic();
    CHECK_EQUAL(MEMLANE_OK, memlane_place_give(sub.place, sub.holder) ? MEMLANE_OK : MEMLANE_LOST);
    CHECK_EQUAL(MEMLANE_OK, memlane_publisher_claim(&bench.publishers[0], RECORD_NBYTES, &claimed_at));
    sub_join(&bench, &sub, BOB, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
}

static uint64_t commit(void) { return memlane_publisher_commit(&bench.publishers[0], claimed_at, RECORD_NBYTES); }

static uint64_t close_lane(void) { return memlane_topic_close_lane(&bench.lanes[0]); }

/* The lane is closed in any case: behind the record, if it was committed. */
static void judge_end(uint64_t committed, uint64_t closed) {
    struct memlane_extent extent;
    uint64_t s;
    CHECK_EQUAL(MEMLANE_CLOSED, closed);
    if (committed == MEMLANE_OK) {
        CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_peek(&sub.lanes[0], &s, &extent));
        memlane_subscriber_finish(&sub.lanes[0], 1, RECORD_NBYTES);
        left_first++;
    } else {
        CHECK_EQUAL(MEMLANE_CLOSED, committed);
        right_first++;
    }
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_subscriber_peek(&sub.lanes[0], &s, &extent));
}

TEST(a_commit_is_in_front_of_the_end_of_its_lane_or_is_refused) {
    new_bench();
    duel(claim_in_a_new_topic, commit, close_lane, judge_end);
    topic_free(&bench);
}

/* ---- two that move one position ----------------------------------------------------------------------- */

static void borrow_two(void) {
    stand_in_the_way();
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_borrow(&sub.lanes[0], 2));
}

static uint64_t release_first(void) {
    memlane_subscriber_release(&sub.lanes[0], watched);
    return sub_position(&sub, 0) == watched + 2;
}

static uint64_t release_second(void) {
    memlane_subscriber_release(&sub.lanes[0], watched + 1);
    return sub_position(&sub, 0) == watched + 2;
}

/* The later one moves the position over both; if neither did, it would stop between them for good. */
static void judge_both(uint64_t left_was_last, uint64_t right_was_last) {
    CHECK_EQUAL(watched + 2, sub_position(&sub, 0));
    CHECK(left_was_last || right_was_last);
    left_first += !left_was_last;
    right_first += !right_was_last;
}

TEST(two_releases_of_neighbors_at_the_same_moment_leave_the_position_behind_both) {
    new_bench();
    duel(borrow_two, release_first, release_second, judge_both);
    topic_free(&bench);
}

static void borrow_one(void) {
    stand_in_the_way();
    CHECK_EQUAL(MEMLANE_OK, borrow());
}

static uint64_t get_second(void) {
    memlane_subscriber_finish(&sub.lanes[0], 1, RECORD_NBYTES);
    return sub_position(&sub, 0) == watched + 2;
}

TEST(a_get_and_the_release_of_the_record_before_leave_the_position_behind_both) {
    new_bench();
    duel(borrow_one, release_first, get_second, judge_both);
    topic_free(&bench);
}

/* ---- the order of all ------------------------------------------------------------------------------------- */

static uint64_t first_number;

static void two_lanes(void) {
    topic_free(&bench);
    topic_new_at(&bench, 2, 64, 4, true, 0);
    sub_look(&bench, &sub);
}

static uint64_t publish_first(void) {
    CHECK_EQUAL(MEMLANE_OK, topic_publish(&bench, 0, 'a'));
    return 0;
}

/* Publish behind whatever is there. Returns: whether there was something, by its number. */
static uint64_t look_and_publish(void) {
    bool seen = memlane_subscriber_number_at(&sub.lanes[0], 0, &first_number) == MEMLANE_OK;
    CHECK_EQUAL(MEMLANE_OK, topic_publish(&bench, 1, 'b'));
    return seen;
}

static void judge_order(uint64_t unused, uint64_t seen) {
    uint64_t number;
    (void)unused;
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_number_at(&sub.lanes[1], 0, &number));
    CHECK(!seen || number > first_number);
    left_first += seen;
    right_first += !seen;
}

TEST(a_publish_that_has_seen_another_one_has_the_larger_number) {
    topic_new_at(&bench, 2, 64, 4, true, 0);
    duel(two_lanes, publish_first, look_and_publish, judge_order);
    topic_free(&bench);
}

MAIN
