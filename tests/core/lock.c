/* SPDX-License-Identifier: MIT
 *
 * The lock and the event in one thread: owners that die, depth, whom a release wakes, for whom a free lock is kept.
 */
#include "check.h"
#include "core/lock.h"

enum { ANN = 1u << 10 | 1, BOB = 1u << 10 | 2, CLARA = 1u << 10 | 3 };
#define ANNS memlane_lock_word(ANN, 100)
#define BOBS memlane_lock_word(BOB, 200)
#define CLARAS memlane_lock_word(CLARA, 300)

static struct memlane_lock_control *lock;
static uint64_t holder;

static void begin(void) { lock = check_allocate(64, sizeof *lock); }
static void end(void) { free(lock); }

TEST(a_free_lock_has_one_owner_until_it_is_released) {
    begin();
    CHECK_EQUAL(0, memlane_lock_owner(lock));
    CHECK(memlane_lock_try(lock, ANNS));
    CHECK(!memlane_lock_try(lock, BOBS));
    CHECK(!memlane_lock_try(lock, ANNS));
    CHECK(!memlane_lock_try(lock, memlane_lock_word(ANN, 101))); /* another thread of her process */
    CHECK_EQUAL(MEMLANE_BUSY, memlane_lock_take(lock, BOBS, 0, 5, &holder));
    CHECK_EQUAL(ANNS, holder);
    CHECK_EQUAL(ANN, memlane_lock_tag(holder));
    CHECK(!memlane_lock_release(lock, BOBS, 0));
    CHECK(memlane_lock_release(lock, ANNS, 0));
    CHECK(!memlane_lock_release(lock, ANNS, 0));
    CHECK_EQUAL(MEMLANE_OK, memlane_lock_take(lock, BOBS, 0, 5, &holder));
    CHECK_EQUAL(BOBS, memlane_lock_owner(lock));
    end();
}

TEST(the_lock_of_a_dead_owner_is_taken_over_by_one_of_those_that_have_the_proof) {
    begin();
    CHECK(memlane_lock_try(lock, ANNS));
    CHECK_EQUAL(MEMLANE_BUSY, memlane_lock_take(lock, BOBS, 0, 5, &holder));
    const uint64_t dead = holder;
    CHECK(memlane_lock_take_over(lock, dead, BOBS)); /* told */
    CHECK(!memlane_lock_take_over(lock, dead, CLARAS));
    CHECK_EQUAL(BOBS, memlane_lock_owner(lock));
    CHECK(memlane_lock_take_over(lock, BOBS, CLARAS)); /* and Bob died before anybody heard of it */
    CHECK_EQUAL(2, atomic_load(&lock->died));
    CHECK(!memlane_lock_release(lock, BOBS, 0)); /* one that was taken for dead leaves its successor alone */
    CHECK(memlane_lock_release(lock, CLARAS, 0));
    CHECK(memlane_lock_try(lock, BOBS)); /* and nobody is told again */
    CHECK(!memlane_lock_take_over(lock, dead, CLARAS));
    end();
}

TEST(a_thread_takes_its_lock_as_often_as_it_likes_and_an_heir_begins_at_1) {
    begin();
    CHECK_EQUAL(0, memlane_lock_again(lock, ANNS));
    CHECK(memlane_lock_try(lock, ANNS));
    for (uint32_t depth = 2; depth < 9; depth++)
        CHECK_EQUAL(depth, memlane_lock_again(lock, ANNS));
    CHECK_EQUAL(0, memlane_lock_again(lock, memlane_lock_word(ANN, 101)));
    CHECK_EQUAL(7, memlane_lock_once_less(lock));
    CHECK(memlane_lock_take_over(lock, ANNS, BOBS));
    CHECK_EQUAL(0, memlane_lock_once_less(lock));
    CHECK_EQUAL(2, memlane_lock_again(lock, BOBS));
    CHECK_EQUAL(1, memlane_lock_once_less(lock));
    CHECK_EQUAL(0, memlane_lock_once_less(lock));
    end();
}

TEST(a_release_wakes_the_waiter_that_has_waited_longest_and_each_one_once) {
    begin();
    uint32_t watcher;
    CHECK(!memlane_lock_choose(lock, &watcher));
    static const uint32_t order[] = {5, 63, 0, 17};
    for (int i = 0; i < 4; i++) {
        (void)memlane_lock_queue(lock, order[i]);
        memlane_armed_announce(&lock->armed, order[i]);
    }
    for (int i = 0; i < 4; i++) {
        CHECK(memlane_lock_choose(lock, &watcher));
        CHECK_EQUAL(order[i], watcher);
    }
    CHECK(!memlane_lock_choose(lock, &watcher));
    memlane_armed_announce(&lock->armed, 17); /* two that were woken in vain */
    memlane_armed_announce(&lock->armed, 63);
    CHECK(memlane_lock_choose(lock, &watcher));
    CHECK_EQUAL(63, watcher); /* still the older one */
    end();
}

/* Hazard 76. */
TEST(a_lock_is_kept_for_the_oldest_waiter_that_asks_for_it_and_for_nobody_longer_than_a_recheck_interval) {
    begin();
    const uint64_t now = 1000000, first = memlane_lock_queue(lock, 3), second = memlane_lock_queue(lock, 2);
    uint32_t watcher;
    CHECK(memlane_lock_try(lock, ANNS));
    CHECK(memlane_lock_nominate(lock, second));
    CHECK(memlane_lock_nominate(lock, first)); /* older */
    CHECK(!memlane_lock_nominate(lock, second));
    CHECK(memlane_lock_nominate(lock, first));
    CHECK(memlane_lock_is_wanted(lock));
    memlane_armed_announce(&lock->armed, 2);
    memlane_armed_announce(&lock->armed, 3);
    CHECK(!memlane_lock_is_due(lock, first));
    CHECK(memlane_lock_release(lock, ANNS, now));
    CHECK(memlane_lock_choose(lock, &watcher));
    CHECK_EQUAL(3, watcher);
    CHECK(!memlane_lock_choose(lock, &watcher)); /* it is awake, and nobody else may have the lock */

    CHECK(!memlane_lock_try(lock, ANNS));
    CHECK_EQUAL(MEMLANE_BUSY, memlane_lock_take(lock, ANNS, 0, now + 1, &holder));
    CHECK_EQUAL(0, holder);
    CHECK_EQUAL(MEMLANE_BUSY, memlane_lock_take(lock, BOBS, second, now + MEMLANE_LOCK_KEPT_NS - 1, &holder));
    CHECK(!memlane_lock_is_due(lock, second));
    CHECK(memlane_lock_is_due(lock, first));
    CHECK_EQUAL(MEMLANE_OK, memlane_lock_take(lock, CLARAS, first, now + 1, &holder));
    CHECK(!memlane_lock_is_wanted(lock));

    CHECK(memlane_lock_nominate(lock, second)); /* and one that is killed or stopped before it comes */
    CHECK(memlane_lock_release(lock, CLARAS, now));
    CHECK_EQUAL(MEMLANE_BUSY, memlane_lock_take(lock, ANNS, 0, now + MEMLANE_LOCK_KEPT_NS - 1, &holder));
    CHECK_EQUAL(MEMLANE_OK, memlane_lock_take(lock, ANNS, 0, now + MEMLANE_LOCK_KEPT_NS, &holder));
    CHECK(!memlane_lock_is_wanted(lock)); /* costs that once */
    CHECK(memlane_lock_release(lock, ANNS, now));
    CHECK(memlane_lock_try(lock, BOBS));
    end();
}

TEST(a_waiter_that_gives_up_leaves_the_lock_to_the_next_one_that_sleeps) {
    begin();
    const uint64_t first = memlane_lock_queue(lock, 0), second = memlane_lock_queue(lock, 1);
    uint32_t watcher;
    CHECK(memlane_lock_try(lock, ANNS));
    memlane_armed_announce(&lock->armed, 0);
    memlane_armed_announce(&lock->armed, 1);
    CHECK(memlane_lock_nominate(lock, first));
    CHECK(memlane_lock_release(lock, ANNS, 10));
    CHECK(memlane_lock_choose(lock, &watcher));
    CHECK_EQUAL(0, watcher);
    memlane_lock_leave(lock, first, 0); /* its time was over at that moment */
    CHECK_EQUAL(0, memlane_lock_owner(lock));
    CHECK(memlane_lock_choose(lock, &watcher));
    CHECK_EQUAL(1, watcher);
    CHECK(memlane_lock_is_due(lock, second));
    memlane_lock_leave(lock, first, 0); /* and what is another one's stays */
    CHECK(memlane_lock_nominate(lock, second));
    memlane_lock_leave(lock, first, 0);
    CHECK(memlane_lock_is_wanted(lock));
    end();
}

TEST(whatever_bytes_a_lock_has_each_call_ends) {
    begin();
    uint64_t random = 5;
    uint32_t watcher;
    for (int i = 0; i < 20000; i++) {
        for (uint64_t at = 0; at < sizeof *lock / 8; at++)
            if (check_below(&random, 4) == 0)
                atomic_store((_Atomic uint64_t *)(void *)lock + at, check_random(&random));
        (void)memlane_lock_try(lock, ANNS);
        (void)memlane_lock_take(lock, ANNS, check_random(&random), check_random(&random), &holder);
        (void)memlane_lock_again(lock, ANNS);
        (void)memlane_lock_once_less(lock);
        (void)memlane_lock_nominate(lock, check_random(&random));
        (void)memlane_lock_release(lock, ANNS, check_random(&random));
        if (memlane_lock_choose(lock, &watcher))
            CHECK(watcher < MEMLANE_WATCHERS_MAX);
    }
    end();
}

TEST(a_wait_for_an_event_is_over_when_it_was_set_also_if_it_is_clear_again) {
    struct memlane_event_control *event = check_allocate(64, sizeof *event);
    const uint64_t since = memlane_event_state(event);
    CHECK_EQUAL(0, since);
    CHECK(!memlane_event_has_come(event, since));
    CHECK(!memlane_event_turn(event, false));
    CHECK(!memlane_event_has_come(event, since));
    CHECK(memlane_event_turn(event, true));
    CHECK(!memlane_event_turn(event, true));
    CHECK(memlane_event_state(event) & 1);
    CHECK(memlane_event_has_come(event, since));
    CHECK(memlane_event_turn(event, false));
    CHECK((memlane_event_state(event) & 1) == 0);
    CHECK(memlane_event_has_come(event, since));
    CHECK(!memlane_event_has_come(event, memlane_event_state(event)));
    free(event);
}

TEST(sizes_beyond_64_watchers_are_refused) {
    CHECK_EQUAL(640, memlane_lock_nbytes(0));
    CHECK_EQUAL(640 + 64 * 128, memlane_lock_nbytes(64));
    CHECK_EQUAL(0, memlane_lock_nbytes(65));
    CHECK_EQUAL(64 + 128, memlane_event_nbytes(1));
    CHECK_EQUAL(0, memlane_event_nbytes(65));
}

MAIN
