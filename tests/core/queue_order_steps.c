/* SPDX-License-Identifier: MIT
 *
 * The order of all, with each function stopped in front of every single atomic access: killed there, or overtaken.
 *
 * All here runs on one thread, so that records are put one after the other, but for a put that is overtaken; they have to be
 * taken in that very order, by any consumer. The words of payloads count as accesses.
 */
#include "steps.h"

#include "queue_fixture.h"

static struct queue_bench queue;
static enum memlane_status answer;
static char log_of_all[64]; /* letters in the order in which they were taken */

static void note(char letter) {
    size_t length = strlen(log_of_all);
    CHECK(length + 1 < sizeof log_of_all);
    log_of_all[length] = letter;
    log_of_all[length + 1] = '\0';
}

/* Take, note at the moment of the claim, free. Returns: false: there was nothing. */
static bool get_one(uint32_t tag) {
    struct memlane_queue_found found;
    if (!queue_take(&queue, tag, &found))
        return false;
    note(queue_letter(&queue, &found));
    CHECK(memlane_many_free(&queue.lanes[found.lane], found.record.s, tag));
    return true;
}

static char of_alice; /* the record that she took last */
static void alice_gets(void) { of_alice = get_one(ALICE) ? log_of_all[strlen(log_of_all) - 1] : '\0'; }
static void bob_gets_all(void) {
    while (get_one(BOB)) {
    }
}

static void prepare(uint32_t lanes) {
    queue_new_at(&queue, 64, 4, 1000); /* room for four records: what is freed is soon written over */
    log_of_all[0] = '\0';
    for (uint32_t lane = 0; lane < lanes; lane++)
        CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, lane));
}

/* What Alice took is noted behind her claim, and others may have been noted in between: it may stand further back than it
 * should, and never in front. */
static void finish(const char *expected) {
    bob_gets_all();
    CHECK_EQUAL(strlen(expected), strlen(log_of_all));
    const char *hers = of_alice ? strchr(log_of_all, of_alice) : NULL;
    for (const char *found = log_of_all; *expected; expected++) {
        found += found == hers;
        if (*expected != of_alice)
            CHECK_EQUAL(*expected, *found++);
        else
            CHECK(found <= hers || found == hers + 1);
    }
    queue_free(&queue);
}

/* ---- a get that is overtaken --------------------------------------------------------------------- */

static void another_lane_then_this_one(void) {
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 1));
    queue_put_all(&queue, 1, "p");
    queue_put_all(&queue, 0, "q");
}

TEST(a_get_takes_nothing_before_a_record_of_a_lane_that_was_leased_while_it_looked) {
    for (int backlog = 0; backlog < 3; backlog++) {
        bool met = true;
        for (long k = 0; met; k++) {
            prepare(1);
            queue_put_all(&queue, 0, &"ab"[2 - backlog]);
            met = meets_at(k, alice_gets, another_lane_then_this_one);
            char expected[8];
            snprintf(expected, sizeof expected, "%s%s", &"ab"[2 - backlog], met ? "pq" : "");
            finish(expected);
            CHECK(k < 1000);
        }
    }
}

/* Whole rounds: what Alice has looked at is taken, and its room and its descriptor are used for other records. Where she has
 * a record of lane 0 in hand that lane is full soon. */
static char put_by_others[64];
static void others_put_one(uint32_t lane, char letter) {
    enum memlane_status status = queue_put(&queue, lane, letter);
    CHECK(status == MEMLANE_OK || status == MEMLANE_FULL);
    if (status == MEMLANE_OK)
        snprintf(put_by_others + strlen(put_by_others), 2, "%c", letter);
}
static void others_take_and_put(void) {
    for (char letter = 'h'; letter <= 't'; letter++) {
        bob_gets_all();
        others_put_one(letter % 2, letter);
    }
    others_put_one(2, 'u');
    others_put_one(0, 'v');
    others_put_one(1, 'w');
    others_put_one(2, 'x');
}

TEST(a_get_overtaken_at_any_access_by_rounds_of_other_gets_and_puts_takes_what_is_first_then) {
    static const char *backlogs[][3] = {{"", "", ""},    {"a", "", ""},   {"", "a", ""},  {"", "", "a"},
                                        {"ac", "b", ""}, {"b", "a", "c"}, {"c", "b", "a"}};
    for (size_t i = 0; i < sizeof backlogs / sizeof *backlogs; i++) {
        bool met = true;
        for (long k = 0; met; k++) {
            prepare(3);
            size_t count = 0;
            put_by_others[0] = '\0';
            for (char letter = 'a'; letter <= 'c'; letter++)
                for (uint32_t lane = 0; lane < 3; lane++)
                    if (strchr(backlogs[i][lane], letter)) {
                        CHECK_EQUAL(MEMLANE_OK, queue_put(&queue, lane, letter));
                        count++;
                    }
            met = meets_at(k, alice_gets, others_take_and_put);
            char expected[80];
            snprintf(expected, sizeof expected, "%.*s%s", (int)count, "abc", put_by_others);
            finish(expected);
            CHECK(k < 2000);
        }
    }
}

static void bob_takes_and_hands_back(void) {
    struct memlane_queue_found found;
    if (!queue_take(&queue, BOB, &found))
        return;
    queue_put_all(&queue, 1, "p");
    CHECK(memlane_many_hand_back(&queue.control->ring, &queue.lanes[found.lane], found.record.s, BOB));
}

/* At the moment of the claim of the other one a record was in a hand, and is no longer. It keeps its place for a get
 * that begins behind that. */
TEST(a_get_overtaken_at_any_access_by_one_that_hands_its_record_back_loses_none) {
    bool met = true;
    for (long k = 0; met; k++) {
        prepare(2);
        queue_put_all(&queue, 0, "a");
        queue_put_all(&queue, 1, "b");
        queue_put_all(&queue, 0, "c");
        met = meets_at(k, alice_gets, bob_takes_and_hands_back);
        bob_gets_all();
        CHECK_EQUAL(met && strchr(log_of_all, 'p') ? 4 : 3, strlen(log_of_all));
        for (const char *letter = "abc"; *letter; letter++)
            CHECK(strchr(log_of_all, *letter) && strchr(log_of_all, *letter) == strrchr(log_of_all, *letter));
        /* all that came behind Alice's one get is in order */
        for (size_t i = 2; i < strlen(log_of_all); i++)
            CHECK(log_of_all[i - 1] < log_of_all[i]);
        queue_free(&queue);
        CHECK(k < 1000);
    }
}

/* ---- a put that is overtaken --------------------------------------------------------------------- */

static void put_x(void) { answer = queue_put(&queue, 0, 'x'); }
static void others_put(void) {
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 1));
    queue_put_all(&queue, 1, "p");
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 2));
    queue_put_all(&queue, 2, "q");
    queue_put_all(&queue, 1, "r");
}

TEST(a_put_overtaken_at_any_access_is_in_order_with_all_that_came_before_it_and_all_that_came_after) {
    bool met = true;
    for (long k = 0; met; k++) {
        prepare(1);
        queue_put_all(&queue, 0, "a");
        met = meets_at(k, put_x, others_put);
        CHECK_EQUAL(MEMLANE_OK, answer);
        if (!met)
            others_put();
        queue_put_all(&queue, 2, "z");
        queue_put_all(&queue, 0, "Z");
        bob_gets_all();
        char *x = strchr(log_of_all, 'x');
        CHECK(x != NULL);
        memmove(x, x + 1, strlen(x));
        CHECK(strcmp("apqrzZ", log_of_all) == 0);
        queue_free(&queue);
        CHECK(k < 1000);
    }
}

/* ---- deaths -------------------------------------------------------------------------------------- */

static void lease_lane_1(void) { answer = queue_lease(&queue, 1); }
static void lease_and_put_x(void) {
    answer = queue_lease(&queue, 1);
    queue_put_all(&queue, 1, "x");
}

TEST(a_producer_killed_in_front_of_any_access_of_its_first_put_into_a_new_lane_leaves_the_order_as_it_was) {
    bool died = true;
    for (long k = 0; died; k++) {
        prepare(1);
        queue_put_all(&queue, 0, "a");
        died = dies_at(k, lease_and_put_x);
        queue_put_all(&queue, 0, "b");
        CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 2));
        queue_put_all(&queue, 2, "c");
        queue_put_all(&queue, 0, "d");
        bool successor_died = dies_at(k / 2, lease_lane_1);
        CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, 1));
        queue_put_all(&queue, 1, "e");
        queue_put_all(&queue, 0, "f");
        bob_gets_all();
        const char *with_x = "axbcdef";
        CHECK(strcmp(with_x, log_of_all) == 0 || (died && strcmp("abcdef", log_of_all) == 0));
        queue_free(&queue);
        CHECK(k < 1000);
        (void)successor_died;
    }
}

TEST(a_consumer_killed_in_front_of_any_access_of_a_get_loses_nothing_and_the_rest_is_in_order) {
    bool died = true;
    for (long k = 0; died; k++) {
        prepare(2);
        queue_put_all(&queue, 0, "a");
        queue_put_all(&queue, 1, "b");
        queue_put_all(&queue, 0, "c");
        died = queue.dead[0] = dies_at(k, alice_gets);
        bob_gets_all();
        char found[64] = "", *end = found;
        for (const char *letter = log_of_all; *letter; letter++)
            if (!strchr(found, *letter)) /* once more for the death */
                *end++ = *letter;
        CHECK_EQUAL(3, strlen(found));
        char *a = strchr(found, 'a'); /* what she had comes whenever it is known; the rest in order */
        CHECK(a != NULL);
        memmove(a, a + 1, strlen(a));
        CHECK(strcmp("bc", found) == 0);
        CHECK(strlen(log_of_all) <= 4);
        queue_free(&queue);
        CHECK(k < 1000);
    }
}

MAIN
