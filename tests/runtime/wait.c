/* SPDX-License-Identifier: MIT
 *
 * What src/runtime/wait.h promises: a wake-up is never slept through, one that is lost costs one recheck interval, and
 * no step is longer. Slices are counted; no time is measured.
 */
#include "../core/check.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

#include "os/semwait.h"
#include "runtime/wait.h"

/* A doorbell in memory of this process, and what is waited for. */
static struct {
    struct memlane_doorbell doorbell;
    _Atomic uint32_t waiters;
    _Atomic uint64_t armed;
    _Atomic bool is_there;
    _Atomic int looks;
} shared;
static struct memlane_bell bell;
static struct memlane_spinning spinning;
static const struct memlane_semaphores in_memory = {.backing = MEMLANE_BACKING_MEMFD, .is_ours = true};

static int is_due(void *of) {
    (void)of;
    atomic_fetch_add(&shared.looks, 1);
    return atomic_load(&shared.is_there);
}

static void begin(bool with_semaphore) {
    alarm(300);
    memset(&shared, 0, sizeof shared);
    memlane_bell_begin(&bell, &shared.doorbell, (unsigned char *)&shared);
    memlane_spinning_begin(&spinning);
    if (with_semaphore)
        CHECK_EQUAL(0, memlane_bell_make(&bell));
}

static struct memlane_waiting waiting_until(uint64_t deadline) {
    struct memlane_waiting waiting;
    memlane_waiting_begin(&waiting, deadline, &spinning, is_due, NULL);
    return waiting;
}

static void *get(void *with_spinning) {
    struct memlane_waiting waiting = waiting_until(MEMLANE_FOREVER);
    while (!is_due(NULL))
        if (with_spinning == NULL || !memlane_waiting_spin(&waiting, MEMLANE_WAIT_ADAPTIVE))
            memlane_waiting_sleep(&waiting, &shared.waiters, &bell);
    return NULL;
}

static void wait_for_announcement(void) {
    while (!memlane_waiters_any(&shared.waiters))
        sched_yield();
}

TEST(a_sleeper_that_is_woken_sleeps_no_slice_to_its_end) {
    for (int round = 0; round < 200; round++) {
        begin(true);
        const uint64_t slept = memlane_intervals_slept(), began = memlane_monotonic_ns();
        pthread_t sleeper;
        CHECK_EQUAL(0, pthread_create(&sleeper, NULL, get, round % 2 ? &spinning : NULL));
        if (round % 2 == 0)
            wait_for_announcement();
        atomic_store(&shared.is_there, true);
        if (memlane_waiters_any(&shared.waiters))
            memlane_bell_wake(&bell, &in_memory, &shared.waiters, 1);
        const bool was_in_time = memlane_monotonic_ns() - began < MEMLANE_SLICE_NS; /* not so on a machine under load */
        CHECK_EQUAL(0, pthread_join(sleeper, NULL));
        CHECK(!was_in_time || memlane_intervals_slept() == slept);
        CHECK_EQUAL(0, memlane_waiters_count(&shared.waiters));
    }
}

TEST(a_sleeper_that_nobody_wakes_looks_again_after_one_slice) {
    begin(true);
    const uint64_t slept = memlane_intervals_slept();
    struct memlane_waiting waiting = waiting_until(MEMLANE_FOREVER);
    memlane_waiting_sleep(&waiting, &shared.waiters, &bell);
    CHECK_EQUAL(slept + 1, memlane_intervals_slept());
    CHECK_EQUAL(0, memlane_waiters_count(&shared.waiters));
}

TEST(one_that_finds_something_at_its_second_look_does_not_sleep) {
    begin(true);
    atomic_store(&shared.is_there, true);
    const uint64_t slept = memlane_intervals_slept();
    struct memlane_waiting waiting = waiting_until(MEMLANE_FOREVER);
    memlane_waiting_sleep(&waiting, &shared.waiters, &bell);
    memlane_waiting_sleep_armed(&waiting, &shared.armed, 5, &bell);
    CHECK_EQUAL(slept, memlane_intervals_slept());
    CHECK_EQUAL(0, memlane_waiters_count(&shared.waiters));
    CHECK_EQUAL(0, atomic_load(&shared.armed));
}

TEST(a_token_that_was_left_wakes_one_that_falls_asleep_later) {
    begin(true);
    const uint64_t slept = memlane_intervals_slept();
    struct memlane_waiting waiting = waiting_until(MEMLANE_FOREVER);
    memlane_bell_post(&bell, 1);
    memlane_waiting_sleep_armed(&waiting, &shared.armed, 63, &bell);
    CHECK_EQUAL(slept, memlane_intervals_slept());
    CHECK_EQUAL(0, atomic_load(&shared.armed));
}

TEST(a_sleep_ends_at_its_deadline) {
    begin(true);
    const uint64_t deadline = memlane_monotonic_ns() + 1000000;
    struct memlane_waiting waiting = waiting_until(deadline);
    CHECK_EQUAL(deadline, memlane_waiting_slice_end(&waiting));
    while (!memlane_waiting_is_over(&waiting))
        memlane_waiting_sleep(&waiting, &shared.waiters, &bell);
    CHECK(memlane_monotonic_ns() >= deadline);
    memlane_waiting_sleep(&waiting, &shared.waiters, &bell); /* behind it, too */
}

TEST(one_without_a_semaphore_polls_with_a_growing_pause_and_is_announced) {
    begin(false);
    struct memlane_waiting waiting = waiting_until(MEMLANE_FOREVER);
    CHECK_EQUAL(MEMLANE_PAUSE_MIN_NS, waiting.pause);
    for (int turn = 0; turn < 12; turn++) {
        const int looks = atomic_load(&shared.looks);
        memlane_waiting_sleep(&waiting, &shared.waiters, &bell);
        CHECK_EQUAL(looks + 1, atomic_load(&shared.looks));
    }
    CHECK(waiting.pause >= MEMLANE_PAUSE_MAX_NS && waiting.pause < 2 * MEMLANE_PAUSE_MAX_NS);
    CHECK_EQUAL(0, memlane_waiters_count(&shared.waiters));
}

TEST(a_waker_takes_no_more_announcements_away_than_it_leaves_tokens) {
    begin(true);
    for (int i = 0; i < 5; i++)
        memlane_waiters_announce(&shared.waiters);
    memlane_bell_wake(&bell, &in_memory, &shared.waiters, 3);
    CHECK_EQUAL(2, memlane_waiters_count(&shared.waiters));
    memlane_bell_wake(&bell, &in_memory, &shared.waiters, MEMLANE_POSTS_MAX);
    CHECK_EQUAL(0, memlane_waiters_count(&shared.waiters));
    const uint64_t slept = memlane_intervals_slept();
    struct memlane_waiting waiting = waiting_until(MEMLANE_FOREVER);
    for (int i = 0; i < 5; i++)
        memlane_waiting_sleep_armed(&waiting, &shared.armed, 0, &bell);
    CHECK_EQUAL(slept, memlane_intervals_slept()); /* five tokens for five sleeps */
}

TEST(a_waker_without_a_semaphore_takes_nothing_away) {
    begin(false);
    memlane_waiters_announce(&shared.waiters);
    memlane_bell_wake(&bell, &in_memory, &shared.waiters, 1);
    CHECK_EQUAL(1, memlane_waiters_count(&shared.waiters));
}

TEST(a_waker_attaches_to_the_semaphore_by_itself) {
    begin(true);
    struct memlane_bell fresh;
    memlane_bell_begin(&fresh, &shared.doorbell, (unsigned char *)&shared);
    CHECK(!memlane_bell_is_attached(&fresh));
    memlane_waiters_announce(&shared.waiters);
    memlane_bell_wake(&fresh, &in_memory, &shared.waiters, 1);
    CHECK_EQUAL(0, memlane_waiters_count(&shared.waiters));
    CHECK(memlane_bell_is_attached(&fresh));
}

TEST(spinning_that_finds_nothing_is_given_up_and_taken_up_again) {
    begin(true);
    struct memlane_waiting waiting = waiting_until(MEMLANE_FOREVER);
    const uint64_t first = memlane_spinning_limit(&spinning, MEMLANE_WAIT_ADAPTIVE);
    CHECK_EQUAL(0, memlane_spinning_limit(&spinning, MEMLANE_WAIT_SLEEP));
    CHECK_EQUAL(MEMLANE_SPIN_ONLY_NS, memlane_spinning_limit(&spinning, MEMLANE_WAIT_SPIN));
    for (int turn = 0; turn < 10; turn++)
        CHECK(!memlane_waiting_spin(&waiting, MEMLANE_WAIT_ADAPTIVE));
    CHECK_EQUAL(first == 0 ? MEMLANE_SPIN_MAX_NS : 0, atomic_load(&spinning.budget_ns)); /* one CPU: never spins */
    CHECK(!memlane_waiting_spin(&waiting, MEMLANE_WAIT_SPIN));
    atomic_store(&shared.is_there, true);
    CHECK(memlane_waiting_spin(&waiting, MEMLANE_WAIT_SPIN));
    CHECK(atomic_load(&spinning.budget_ns) >= MEMLANE_SPIN_MIN_NS);
}

MAIN
