/* SPDX-License-Identifier: MIT
 *
 * Counters: one word, whole steps.
 */
#include <pthread.h>

#include "check.h"
#include "core/counter.h"

TEST(an_add_gives_the_new_value_and_an_exchange_the_old_one) {
    struct memlane_counter counter = {0};
    CHECK_EQUAL(5, memlane_counter_add(&counter, 5));
    CHECK_EQUAL(-2, memlane_counter_add(&counter, -7));
    CHECK_EQUAL(-2, memlane_counter_exchange(&counter, 40));
    CHECK_EQUAL(40, memlane_counter_load(&counter));
}

TEST(a_counter_wraps_at_both_ends) {
    struct memlane_counter counter = {INT64_MAX};
    CHECK_EQUAL(INT64_MIN, memlane_counter_add(&counter, 1));
    CHECK_EQUAL(INT64_MAX, memlane_counter_add(&counter, -1));
    CHECK_EQUAL(-1, memlane_counter_add(&counter, INT64_MIN));
}

TEST(a_compare_exchange_sets_what_it_expected_and_nothing_else) {
    struct memlane_counter counter = {7};
    CHECK(!memlane_counter_compare_exchange(&counter, 8, 1));
    CHECK_EQUAL(7, memlane_counter_load(&counter));
    CHECK(memlane_counter_compare_exchange(&counter, 7, INT64_MIN));
    CHECK_EQUAL(INT64_MIN, memlane_counter_load(&counter));
}

TEST(a_limit_raises_or_lowers_and_tells_what_there_is_then) {
    struct memlane_counter counter = {-3};
    int64_t found = 99;
    CHECK(memlane_counter_limit(&counter, 5, true, 1, &found));
    CHECK_EQUAL(5, found);
    CHECK(memlane_counter_limit(&counter, 4, true, 0, &found));
    CHECK_EQUAL(5, found);
    CHECK(memlane_counter_limit(&counter, INT64_MIN, false, 1, &found));
    CHECK_EQUAL(INT64_MIN, found);
    CHECK(memlane_counter_limit(&counter, INT64_MAX, false, 0, &found));
    CHECK_EQUAL(INT64_MIN, found);
    CHECK(!memlane_counter_limit(&counter, 0, true, 0, &found)); /* no try is left */
    CHECK_EQUAL(INT64_MIN, memlane_counter_load(&counter));
}

enum { ADDS = 50000 };
static struct memlane_counter shared;

static void *add_many(void *unused) {
    for (int i = 0; i < ADDS; i++)
        memlane_counter_add(&shared, 3);
    return unused;
}

TEST(no_add_of_two_threads_is_lost) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(0, pthread_create(&threads[i], NULL, add_many, NULL));
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(0, pthread_join(threads[i], NULL));
    CHECK_EQUAL(2 * 3 * ADDS, memlane_counter_load(&shared));
}

static struct memlane_counter highest;

static void *raise_and_count(void *first) {
    int64_t found = 0;
    for (int64_t i = *(int64_t *)first; i < 2 * ADDS; i += 2) {
        while (!memlane_counter_limit(&highest, i, true, 1, &found))
            ;
        CHECK(found >= i);
        for (int64_t now = memlane_counter_load(&shared);; now = memlane_counter_load(&shared))
            if (memlane_counter_compare_exchange(&shared, now, now + 1))
                break;
    }
    return NULL;
}

TEST(no_step_of_two_threads_that_raise_and_compare_is_lost) {
    pthread_t threads[2];
    int64_t first[2] = {0, 1};
    memlane_counter_exchange(&shared, 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(0, pthread_create(&threads[i], NULL, raise_and_count, &first[i]));
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(0, pthread_join(threads[i], NULL));
    CHECK_EQUAL(2 * ADDS - 1, memlane_counter_load(&highest));
    CHECK_EQUAL(2 * ADDS, memlane_counter_load(&shared));
}

MAIN
