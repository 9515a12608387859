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

MAIN
