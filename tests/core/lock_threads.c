/* SPDX-License-Identifier: MIT
 *
 * The lock under threads that wait at semaphores: never two owners, nothing lost between two of them, each death told
 * once, no wake-up lost while nobody dies, and nobody starves. A thread is a process here: it has a tag.
 */
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <time.h>

#include "check.h"
#include "core/lock.h"

enum { THREADS = 4 };
#ifdef __SANITIZE_THREAD__
#define ROUNDS 1000
#else
#define ROUNDS 4000
#endif
/* A waiter that has looked in vain so many times asks for the lock to be kept; arbitrary. */
#define LOOKS_BEFORE_NOMINATION 2

static struct memlane_lock_control *lock;
static sem_t bells[THREADS];
static _Atomic uint32_t generation_of[THREADS];
static bool is_mortal;
static uint64_t guarded, check_guarded; /* plain: only the owner touches them, which the race build checks */
static uint64_t deaths, told; /* of owners; under the lock */

struct thread {
    pthread_t id;
    uint32_t index;
    uint64_t random, waits, slices, kept;
};

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t word_of(uint32_t index) {
    return memlane_lock_word(atomic_load(&generation_of[index]) << 10 | index, index + 1);
}

static bool is_dead(uint64_t word) {
    const uint32_t tag = memlane_lock_tag(word);
    return atomic_load(&generation_of[tag & 1023]) != tag >> 10;
}

static void wake(void) {
    uint32_t watcher;
    if (memlane_lock_choose(lock, &watcher))
        CHECK_EQUAL(0, sem_post(&bells[watcher]));
}

/* Returns: whether this is the one that is told of a death. */
static bool acquire(struct thread *thread) {
    const uint64_t me = word_of(thread->index);
    uint64_t holder;
    if (memlane_lock_try(lock, me))
        return false;
    const uint64_t turn = memlane_lock_queue(lock, thread->index);
    thread->waits++;
    for (int looks = 0;; looks++) {
        if (memlane_lock_take(lock, me, turn, now_ns(), &holder) == MEMLANE_OK) {
            memlane_lock_leave(lock, turn, thread->index);
            return false;
        }
        if (holder != 0 && is_dead(holder) && memlane_lock_take_over(lock, holder, me)) {
            memlane_lock_leave(lock, turn, thread->index);
            return true;
        }
        if (looks >= LOOKS_BEFORE_NOMINATION)
            thread->kept += memlane_lock_nominate(lock, turn);
        memlane_armed_announce(&lock->armed, thread->index);
        if (!memlane_lock_is_due(lock, turn)) {
            struct timespec end;
            clock_gettime(CLOCK_REALTIME, &end);
            end.tv_sec += is_mortal ? 0 : 600; /* where nobody dies, a sleeper must be woken: no slice ends */
            end.tv_nsec += is_mortal ? 2000000 : 0;
            if (end.tv_nsec >= 1000000000) {
                end.tv_sec++;
                end.tv_nsec -= 1000000000;
            }
            if (sem_timedwait(&bells[thread->index], &end) != 0)
                thread->slices++;
        }
        memlane_armed_withdraw(&lock->armed, thread->index);
    }
}

static void *run(void *argument) {
    struct thread *thread = argument;
    for (int round = 0; round < ROUNDS; round++) {
        const bool is_told = acquire(thread);
        CHECK_EQUAL(word_of(thread->index), memlane_lock_owner(lock));
        told += is_told;
        if (is_told)
            check_guarded = guarded; /* what the dead one has left half done */
        CHECK_EQUAL(guarded, check_guarded);
        guarded++;
        if (check_below(&thread->random, 8) == 0)
            sched_yield(); /* so that the others meet an owner, on one processor, too */
        if (is_mortal && check_below(&thread->random, 40) == 0) {
            deaths++;
            atomic_fetch_add(&generation_of[thread->index], 2); /* dies with the lock, and comes back as another */
            continue;
        }
        check_guarded++;
        CHECK(memlane_lock_release(lock, word_of(thread->index), now_ns()));
        wake();
    }
    return NULL;
}

static void race(bool mortal) {
    struct thread threads[THREADS] = {{0}};
    uint64_t waits = 0, slices = 0, kept = 0;
    lock = check_allocate(64, sizeof *lock);
    is_mortal = mortal;
    guarded = check_guarded = deaths = told = 0;
    for (uint32_t i = 0; i < THREADS; i++) {
        atomic_store(&generation_of[i], 1);
        CHECK_EQUAL(0, sem_init(&bells[i], 0, 0));
        threads[i].index = i;
        threads[i].random = 3 + i;
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQUAL(0, pthread_create(&threads[i].id, NULL, run, &threads[i]));
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQUAL(0, pthread_join(threads[i].id, NULL));
        waits += threads[i].waits;
        slices += threads[i].slices;
        kept += threads[i].kept;
        sem_destroy(&bells[i]);
    }
    CHECK_EQUAL(THREADS * ROUNDS, guarded);
    const uint64_t last = memlane_lock_owner(lock); /* the last one may have died with it */
    CHECK(last == 0 || is_dead(last));
    CHECK_EQUAL(deaths, told + (last != 0));
    CHECK_EQUAL(told, atomic_load(&lock->died));
    printf("  %" PRIu64 " waits, %" PRIu64 " slept to their end, kept %" PRIu64 " times, %" PRIu64 " deaths\n", waits,
           slices, kept, deaths);
    CHECK(waits > 20);
    if (mortal)
        CHECK(deaths > ROUNDS / 40);
    else
        CHECK_EQUAL(0, slices);
    free(lock);
}

TEST(a_lock_has_one_owner_at_a_time_and_no_sleeper_needs_a_second_look_while_nobody_dies) { race(false); }

TEST(each_owner_that_dies_with_the_lock_is_told_to_one_successor_once) { race(true); }

MAIN
