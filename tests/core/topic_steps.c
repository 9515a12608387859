/* SPDX-License-Identifier: MIT
 *
 * The topic, stopped in front of every single atomic access: killed there, or overtaken by another one.
 *
 * The word copies of payloads count as accesses, so a reader is stopped and overtaken between any two of its words.
 */
#include "steps.h"

#include "topic_fixture.h"

static struct topic_bench bench;
static struct sub ann, bob;
static enum memlane_status answer;
static char letters[64];

static const char *all_of(struct sub *sub) {
    size_t count = 0;
    while ((letters[count] = sub_get(sub, 0)) != 0)
        count++;
    return letters;
}

/* ---- a publisher killed at every access ---------------------------------------------------------- */

static const struct memlane_span three[3] = {{"qqqqqqqq", 8}, {"rrrrrrrr", 8}, {"ssssssss", 8}};

static void publish_one(void) { answer = topic_publish(&bench, 0, 'q'); }

static void publish_three(void) {
    size_t done;
    answer = memlane_publisher_put_many(&bench.publishers[0], three, 3, &done);
}

static void adopt(void) { answer = topic_adopt(&bench, 0); }

/* A full lane, of which Ann has read enough for three records: so a publish wraps, raises head and scans. */
static void prepare(uint64_t start) {
    topic_new_at(&bench, 1, 64, 8, false, start);
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    sub_look(&bench, &bob);
    memlane_subscriber_start(&bob.lanes[0], MEMLANE_START_NOW, 0);
    topic_publish_all(&bench, 0, "abcdefgh");
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL("abc"[i], sub_get(&ann, 0));
}

static void kill_publisher_everywhere(void (*act)(void), const char *all) {
    bool died = true;
    for (long k = 0; died; k++) {
        bool successor_died = true;
        for (long j = 0; successor_died;
             j++) { /* and its successor, everywhere in the adoption, and the next one lives */
            prepare(1000);
            died = dies_at(k, act);
            successor_died = dies_at(j, adopt);
            adopt();
            CHECK_EQUAL(MEMLANE_OK, answer);
            /* its head is past d for all that Ann's position says, but d to h are hers */
            int published = 0;
            while (topic_publish(&bench, 0, 't') == MEMLANE_OK)
                published++;
            char expected[32] = "defgh";
            const char *found = all_of(&ann);
            if (strlen(found) > 5 && found[5] == *all)
                strcat(expected, all);
            memset(expected + strlen(expected), 't', (size_t)published);
            CHECK(strcmp(expected, found) == 0);
            CHECK_EQUAL(0, ann.lanes[0].lost);
            topic_publish_all(&bench, 0, "uvwxyz");
            CHECK(strcmp("uvwxyz", all_of(&ann)) == 0);
            uint64_t got = strlen(all_of(&bob)); /* and an overtaken subscriber still knows the number */
            CHECK_EQUAL(bench.publishers[0].producer.next - 1000, got + bob.lanes[0].lost);
            topic_free(&bench);
        }
        CHECK(k < 200);
    }
}

TEST(a_publisher_killed_in_front_of_any_access_has_published_its_record_or_nothing) {
    kill_publisher_everywhere(publish_one, "q");
}

TEST(a_publisher_killed_in_front_of_any_access_of_a_batch_has_published_all_of_it_or_nothing) {
    kill_publisher_everywhere(publish_three, "qrs");
}

/* ---- a subscriber killed at every access --------------------------------------------------------- */

static void join_waiting(void) { sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_OLDEST); }
static void get_one(void) { (void)sub_get(&ann, 0); }
static void get_all(void) { (void)all_of(&ann); }
static void borrow_one(void) { (void)sub_borrow(&ann, 0, 'a'); }
static void borrow_two_and_release(void) {
    uint64_t s = memlane_subscriber_next(&ann.lanes[0]);
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_borrow(&ann.lanes[0], 2));
    memlane_subscriber_release(&ann.lanes[0], s + 1);
    memlane_subscriber_release(&ann.lanes[0], s);
}
static void leave(void) {
    CHECK(memlane_place_turn(ann.place, ann.holder, MEMLANE_PLACE_EVICTED));
    CHECK(memlane_place_give(ann.place, memlane_holder_in(ann.holder, MEMLANE_PLACE_EVICTED)));
}

TEST(a_subscriber_killed_in_front_of_any_access_holds_nobody_up_once_its_place_is_taken_away) {
    static void (*const acts[])(void) = {join_waiting, get_one, get_all, borrow_one, borrow_two_and_release, leave};
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++) {
        bool died = true;
        for (long k = 0; died; k++) {
            uint64_t holder;
            uint32_t index = 0;
            topic_new(&bench, 1, 32, 8);
            sub_look(&bench, &bob);
            topic_publish_all(&bench, 0, "zz");
            if (acts[i] != join_waiting)
                sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
            topic_publish_all(&bench, 0, "ab");
            died = dies_at(k, acts[i]);
            int published = 0; /* as far as it held somebody up; then it is proven dead */
            while (topic_publish(&bench, 0, 'c') == MEMLANE_OK && published < 9)
                published++;
            if (published < 9) {
                CHECK_EQUAL(ALICE, memlane_holder_tag(bench.publishers[0].obstacle_holder));
                CHECK(memlane_place_give(memlane_place_of(&bench.topic, bench.publishers[0].obstacle),
                                         bench.publishers[0].obstacle_holder));
            }
            topic_publish_all(&bench, 0, "defghijk");
            while (memlane_place_find(&bench.topic, true, &index, &holder) == MEMLANE_OK) {
                CHECK_EQUAL(ALICE, memlane_holder_tag(holder)); /* the next joiner's way to a place */
                CHECK(memlane_place_take(&bench.topic, index, holder, BOB) != 0);
                index++;
            }
            topic_free(&bench);
            CHECK(k < 300);
        }
    }
}

/* ---- one overtaken by the other at every access -------------------------------------------------- */

static int published; /* by the publisher that overtakes */

/* As many as there is room for, in letters that follow each other, so that whatever is missing is seen. */
static void publish_on(void) {
    for (int i = 0; i < 5; i++)
        if (topic_publish(&bench, 0, (char)('a' + published)) == MEMLANE_OK)
            published++;
}

/* From whatever letter on, all that follow, to the last one. */
static void check_unbroken(const char *found) {
    for (size_t i = 0; found[i]; i++)
        CHECK_EQUAL('a' + published - (int)strlen(found) + (int)i, found[i]);
}

/* Join and publish, one overtaken by the other at each of its accesses: every record from the first one on is there. */
static void check_joins_amid_publishing(void (*overtaken)(void), void (*overtaking)(void), long accesses_max) {
    for (int before = 0; before < 7; before++) {
        bool met = true;
        for (long k = 0; met; k++) {
            topic_new(&bench, 1, 32, 8);
            published = 0;
            while (published < before)
                publish_on();
            met = meets_at(k, overtaken, overtaking);
            if (!met)
                overtaking();
            publish_on();
            uint64_t first = memlane_subscriber_next(&ann.lanes[0]);
            const char *found = all_of(&ann);
            check_unbroken(found);
            CHECK_EQUAL(published, first + strlen(found));
            CHECK_EQUAL(0, ann.lanes[0].lost);
            topic_free(&bench);
            CHECK(k < accesses_max);
        }
    }
}

TEST(a_joiner_overtaken_by_a_publisher_at_any_access_gets_every_record_from_its_first_one_on) {
    check_joins_amid_publishing(join_waiting, publish_on, 100);
}

TEST(a_publisher_overtaken_by_a_joiner_at_any_access_keeps_every_record_from_its_first_one_on) {
    check_joins_amid_publishing(publish_on, join_waiting, 300);
}

static char got; /* by one that was overtaken */

static void try_one(void) { got = sub_try(&ann, 0, &answer); }

static void publish_eight(void) {
    for (int i = 0; i < 8; i++)
        CHECK_EQUAL(MEMLANE_OK, topic_publish(&bench, 0, (char)('s' + i)));
}

TEST(a_get_that_is_overtaken_at_any_access_gives_what_was_published_or_says_so) {
    bool met = true;
    int whole = 0, lapped = 0;
    for (long k = 0; met; k++) {
        topic_new(&bench, 1, 32, 8);
        sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_OVERWRITE, MEMLANE_START_NOW);
        topic_publish_all(&bench, 0, "abcd");
        met = meets_at(k, try_one, publish_eight); /* over all of it, twice */
        CHECK(answer == MEMLANE_OK || answer == MEMLANE_LAPPED); /* its letters were compared by sub_try */
        whole += answer == MEMLANE_OK;
        lapped += answer == MEMLANE_LAPPED;
        if (answer == MEMLANE_OK)
            CHECK_EQUAL('a', got);
        topic_free(&bench);
        CHECK(k < 100);
    }
    CHECK(whole > 1 && lapped > 1);
}

/* The publisher evicts Ann for not moving, and overwrites all that she may be reading. */
static void evict_and_publish(void) {
    uint64_t next;
    CHECK_EQUAL(MEMLANE_FULL, topic_publish(&bench, 0, 's'));
    memlane_publisher_watch(&bench.publishers[0], 1, &next);
    memlane_publisher_watch(&bench.publishers[0], 2, &next);
    for (int i = 0; i < 8; i++)
        if (topic_publish(&bench, 0, (char)('s' + i)) != MEMLANE_OK)
            break;
}

static void join_impatient(void) {
    sub_take(&bench, &ann, ALICE);
    sub_start(&bench, &ann, MEMLANE_START_NOW, 0);
    memlane_place_ask_eviction(ann.place, 1);
    sub_show(&bench, &ann, MEMLANE_PLACE_WAIT);
    topic_publish_all(&bench, 0, "abcd");
}

TEST(a_get_that_is_evicted_at_any_access_gives_what_was_published_or_says_so) {
    bool met = true;
    int whole = 0, evicted = 0;
    for (long k = 0; met; k++) {
        topic_new(&bench, 1, 32, 8);
        join_impatient();
        met = meets_at(k, try_one, evict_and_publish);
        CHECK(answer == MEMLANE_OK || answer == MEMLANE_EVICTED);
        whole += answer == MEMLANE_OK;
        evicted += answer == MEMLANE_EVICTED;
        if (answer == MEMLANE_OK)
            CHECK_EQUAL('a', got);
        topic_free(&bench);
        CHECK(k < 100);
    }
    CHECK(whole >= 1 && evicted > 1);
}

static void borrow(void) { answer = memlane_subscriber_borrow(&ann.lanes[0], 1); }

TEST(a_borrow_that_is_evicted_at_any_access_has_its_record_kept_or_has_none) {
    bool met = true;
    int lent = 0, evicted = 0;
    for (long k = 0; met; k++) {
        topic_new(&bench, 1, 32, 8);
        join_impatient();
        met = meets_at(k, borrow, evict_and_publish);
        lent += answer == MEMLANE_OK;
        evicted += answer == MEMLANE_EVICTED;
        CHECK_EQUAL(answer == MEMLANE_OK ? 1 : 0, memlane_place_loans(ann.place, 0));
        CHECK_EQUAL(answer == MEMLANE_OK ? 1 : 0, atomic_load(&ann.lanes[0].loans));
        if (answer == MEMLANE_OK) {
            CHECK_EQUAL('a', bench.lanes[0].bytes[0]);
            memlane_subscriber_release(&ann.lanes[0], 0);
            if (met)
                topic_publish_all(&bench, 0, "stuvwxyz"); /* evicted, and nothing on loan any more */
        }
        topic_free(&bench);
        CHECK(k < 100);
    }
    CHECK(lent >= 1 && evicted >= 1);
}

TEST(an_eviction_that_meets_a_borrow_at_any_access_keeps_the_record_or_takes_it_away) {
    bool met = true;
    for (long k = 0; met; k++) {
        topic_new(&bench, 1, 32, 8);
        join_impatient();
        met = meets_at(k, evict_and_publish, borrow);
        if (!met)
            borrow();
        if (answer == MEMLANE_OK)
            CHECK_EQUAL('a', bench.lanes[0].bytes[0]);
        else
            CHECK_EQUAL(MEMLANE_EVICTED, answer);
        topic_free(&bench);
        CHECK(k < 200);
    }
}

static void release_first(void) { memlane_subscriber_release(&ann.lanes[0], 0); }
static void release_second(void) { memlane_subscriber_release(&ann.lanes[0], 1); }
static void release_both(void) {
    release_second();
    release_first();
}
static void borrow_third(void) { CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_borrow(&ann.lanes[0], 1)); }

TEST(two_of_one_subscriber_that_overtake_each_other_at_any_access_leave_the_position_where_it_belongs) {
    static const struct {
        void (*one)(void);
        void (*other)(void);
        uint64_t position;
    } pairs[] = {
        {release_first, release_second, 2}, {release_second, release_first, 2}, {release_first, get_one, 1},
        {get_one, release_first, 1},        {get_one, release_second, 0},       {borrow_third, release_first, 1},
        {release_first, borrow_third, 1},   {borrow_third, release_both, 2},    {release_both, borrow_third, 2},
        {get_all, release_first, 1},        {release_first, get_all, 1},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        bool met = true;
        for (long k = 0; met; k++) {
            topic_new(&bench, 1, 64, 8);
            sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
            topic_publish_all(&bench, 0, "abcdef");
            CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_borrow(&ann.lanes[0], 2));
            met = meets_at(k, pairs[i].one, pairs[i].other);
            if (!met)
                pairs[i].other();
            CHECK_EQUAL(pairs[i].position, sub_position(&ann, 0));
            topic_free(&bench);
            CHECK(k < 200);
        }
    }
}

/* ---- the end ------------------------------------------------------------------------------------- */

static uint64_t claimed;
static enum memlane_status others_answer;
static void commit(void) { answer = memlane_publisher_commit(&bench.publishers[0], claimed, 8); }
static void close_lane(void) { others_answer = memlane_topic_close_lane(&bench.lanes[0]); }

static void check_end(void) {
    CHECK_EQUAL(MEMLANE_CLOSED, others_answer);
    CHECK(answer == MEMLANE_OK || answer == MEMLANE_CLOSED);
    CHECK_EQUAL(answer == MEMLANE_OK ? 1 : 0, strlen(all_of(&bob)));
    CHECK_EQUAL(MEMLANE_CLOSED, topic_publish(&bench, 0, 'z'));
    topic_free(&bench);
}

static void prepare_end(void) {
    topic_new(&bench, 1, 64, 8);
    sub_look(&bench, &bob);
    CHECK_EQUAL(MEMLANE_OK, memlane_publisher_claim(&bench.publishers[0], 8, &claimed));
    memset(memlane_publisher_payload(&bench.publishers[0], claimed), 'a', 8);
}

TEST(a_commit_and_a_close_that_overtake_each_other_at_any_access_agree_on_the_last_record) {
    bool met = true;
    for (long k = 0; met; k++) {
        prepare_end();
        met = meets_at(k, commit, close_lane);
        if (!met)
            close_lane();
        check_end();
    }
    met = true;
    for (long k = 0; met; k++) {
        prepare_end();
        met = meets_at(k, close_lane, commit);
        if (!met)
            commit();
        check_end();
    }
}

MAIN
