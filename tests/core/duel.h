/* SPDX-License-Identifier: MIT
 *
 * A duel: two threads start one step each at the same moment, thousands of times with varying delays. It goes on until
 * both orders were seen, or it would prove nothing.
 */
#ifndef MEMLANE_TESTS_DUEL_H
#define MEMLANE_TESTS_DUEL_H

#include <pthread.h>
#include <sched.h>

#include "check.h"
#include "core/words.h"

#define ROUNDS 6000

static _Atomic uint64_t round_now, round_done;
static uint64_t (*other)(void);
static uint64_t others_outcome;
static uint64_t left_first, right_first; /* which orders have been seen */

static uint64_t wait_until(_Atomic uint64_t *word, uint64_t value) {
    uint64_t found;
    for (int tries = 1; (found = atomic_load_explicit(word, memory_order_acquire)) < value; tries++)
        if (tries % 256 == 0)
            sched_yield();
        else
            memlane_cpu_relax();
    return found;
}

/* Each side in turn is the later one, by nothing up to much, so that both orders come about anywhere. */
static void hesitate(uint64_t *random) {
    uint64_t most = UINT64_C(1) << check_below(random, 11);
    for (uint64_t delay = check_below(random, most); delay > 0; delay--)
        memlane_cpu_relax();
    if (most == 1)
        sched_yield(); /* on one processor nothing else lets the other go first */
}

#define THE_END UINT64_MAX

static void *duel_thread(void *unused) {
    uint64_t random = 23;
    for (uint64_t round = 1;; round++) {
        if (wait_until(&round_now, round) == THE_END)
            return unused;
        if (round % 2)
            hesitate(&random);
        others_outcome = other();
        atomic_store_explicit(&round_done, round, memory_order_release);
    }
}

/* Set the stage, let both act, judge; ROUNDS times, and on until both orders were seen. */
static void duel(void (*prepare)(void), uint64_t (*left)(void), uint64_t (*right)(void),
                 void (*judge)(uint64_t left, uint64_t right)) {
    pthread_t thread;
    uint64_t random = 11;
    left_first = right_first = 0;
    other = right;
    atomic_store(&round_now, 0);
    atomic_store(&round_done, 0);
    CHECK_EQUAL(0, pthread_create(&thread, NULL, duel_thread, NULL));
    for (uint64_t round = 1; round <= ROUNDS || left_first == 0 || right_first == 0; round++) {
        prepare();
        atomic_store_explicit(&round_now, round, memory_order_release);
        if (round % 2 == 0)
            hesitate(&random);
        uint64_t outcome = left();
        wait_until(&round_done, round);
        judge(outcome, others_outcome);
    }
    atomic_store_explicit(&round_now, THE_END, memory_order_release);
    CHECK_EQUAL(0, pthread_join(thread, NULL));
}

/* Of a sleeper, who announces itself and looks, and a waker, who changes something and looks:
 *
 *  sees the change   sees the sleeper   what it means
 *  yes               any                does not sleep
 *  no                yes                sleeps and is woken
 *  no                no                 FORBIDDEN: sleeps beside what it waits for */
static void judge_looks(uint64_t sees_change, uint64_t sees_sleeper) {
    CHECK(sees_change || sees_sleeper);
    left_first += !sees_change;
    right_first += !sees_sleeper;
}

#endif
