/* SPDX-License-Identifier: MIT */
#include "os/semwait.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* How long one sleeps before it looks again where the kernel refuses to wait. */
enum { POLL_NS = 1000000 };
/* A process that keeps changing the word costs a waiter at most so many tries; arbitrary. */
enum { TRIES_MAX = 1000 };
/* More tokens than participants and their threads can leave: what is beyond is garbage, and taken at once, or
 * sleepers would be awake until they had counted it down. Arbitrary. */
enum { TOKENS_PLAUSIBLE = 65536 };

static_assert(sizeof(sem_t) <= 32, "a doorbell keeps 32 bytes for an unnamed semaphore");

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static struct timespec timespec_of(uint64_t ns) {
    return (struct timespec){.tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u)};
}

uint64_t memlane_monotonic_ns(void) { return clock_ns(CLOCK_MONOTONIC); }

uint64_t memlane_coarse_ns(void) { return clock_ns(CLOCK_MONOTONIC_COARSE); }

uint64_t memlane_boottime_ns(void) { return clock_ns(CLOCK_BOOTTIME); }

void memlane_pause(uint64_t ns) {
    struct timespec length = timespec_of(ns);
    nanosleep(&length, NULL);
}

/* ---- the word of a semaphore ---------------------------------------------------------------------
 *
 * glibc's semaphore of 64-bit machines since 2.21 (its struct new_sem) is one 64-bit word,
 *
 *   [ how many wait : 32 | tokens : 32 ]     and a futex is the half with the tokens
 *
 * then a word that chooses the kind of futex, for whose garbage glibc ends the process. We do on that one word
 * what glibc does, so each wakes the other's sleepers, and never read the rest. Any bytes are a possible word:
 * at worst a sleeper is not woken, and looks again when its recheck interval is over.
 */
static const uint64_t TOKENS = UINT32_MAX;
static const uint64_t ONE_WAITER = UINT64_C(1) << 32;

static bool is_known; /* the semaphores of this C library are as above; set before there are threads */

__attribute__((constructor)) static void look_at_layout(void) {
#if UINTPTR_MAX == UINT64_MAX && ATOMIC_LLONG_LOCK_FREE == 2
    union {
        sem_t semaphore;
        uint64_t words[sizeof(sem_t) / sizeof(uint64_t)];
    } made;
    uint32_t kind;
    memset(&made, 0xff, sizeof made);
    if (sem_init(&made.semaphore, 1, 2) != 0 || made.words[0] != 2)
        return;
    memcpy(&kind, &made.words[1], sizeof kind);
    is_known = kind == FUTEX_PRIVATE_FLAG && sem_post(&made.semaphore) == 0 && made.words[0] == 3 &&
               sem_trywait(&made.semaphore) == 0 && made.words[0] == 2;
#endif
}

static uint32_t *futex_of(_Atomic uint64_t *word) {
    return (uint32_t *)(void *)word + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

static bool take_token(_Atomic uint64_t *word) {
    /* relaxed: only what the CAS expects */
    uint64_t found = atomic_load_explicit(word, memory_order_relaxed);
    for (int tries = 0; tries < TRIES_MAX && (found & TOKENS) != 0; tries++)
        /* sync: semaphore.word. acquire: what the waker changed is seen at the look that follows; pairs with
         * memlane_semaphore_post. Failure relaxed: nothing was taken. */
        if (atomic_compare_exchange_weak_explicit(word, &found,
                                                  (found & TOKENS) > TOKENS_PLAUSIBLE ? found & ~TOKENS : found - 1,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

/* Stop counting as one who waits. Never below none, or a word that was corrupted under a sleeper would hide all
 * later ones from those who post. */
static void stop_waiting(_Atomic uint64_t *word) {
    /* relaxed, all of it: a count that nobody else depends on */
    uint64_t found = atomic_load_explicit(word, memory_order_relaxed);
    for (int tries = 0; tries < TRIES_MAX && found >= ONE_WAITER; tries++)
        if (atomic_compare_exchange_weak_explicit(word, &found, found - ONE_WAITER, memory_order_relaxed,
                                                  memory_order_relaxed))
            return;
}

static int wait_at_word(_Atomic uint64_t *word, uint64_t deadline_ns) {
    struct timespec deadline = timespec_of(deadline_ns);
    int error = EAGAIN;
    if (take_token(word))
        return 0;
    /* relaxed: tokens and waiters are one word, so who posts sees us in it or the kernel sees the token */
    atomic_fetch_add_explicit(word, ONE_WAITER, memory_order_relaxed);
    /* EAGAIN: there was a token in the moment of falling asleep; 0: woken, or another one's wake met us */
    for (int tries = 0; tries < TRIES_MAX && (error == EAGAIN || error == 0); tries++) {
        /* Not FUTEX_WAIT, whose timeout is a length; without FUTEX_CLOCK_REALTIME the clock is the monotonic one. */
        error = syscall(SYS_futex, futex_of(word), FUTEX_WAIT_BITSET, 0, &deadline, NULL, FUTEX_BITSET_MATCH_ANY) == 0
                    ? 0
                    : errno;
        if (take_token(word)) {
            stop_waiting(word);
            return 0;
        }
    }
    stop_waiting(word);
    if (error == EINTR || error == ETIMEDOUT)
        return error;
    /* The kernel refuses, or somebody plays with the word: poll. */
    uint64_t now = memlane_monotonic_ns();
    if (now < deadline_ns)
        memlane_pause(deadline_ns - now < POLL_NS ? deadline_ns - now : POLL_NS);
    return ETIMEDOUT;
}

static int post_at_word(_Atomic uint64_t *word) {
    /* relaxed: only what the CAS expects */
    uint64_t found = atomic_load_explicit(word, memory_order_relaxed);
    for (int tries = 0; tries < TRIES_MAX && (found & TOKENS) < SEM_VALUE_MAX; tries++)
        /* sync: semaphore.word. release: as POSIX promises of a post; pairs with take_token and with the
         * sleepers of glibc. Failure relaxed: nothing was left. */
        if (atomic_compare_exchange_weak_explicit(word, &found, found + 1, memory_order_release,
                                                  memory_order_relaxed)) {
            if (found >= ONE_WAITER)
                syscall(SYS_futex, futex_of(word), FUTEX_WAKE, 1);
            return 0;
        }
    return EOVERFLOW;
}

int memlane_semaphore_wait(void *semaphore, uint64_t deadline_ns) {
    if (is_known)
        return wait_at_word(semaphore, deadline_ns);
#ifdef MEMLANE_HAVE_SEM_CLOCKWAIT
    struct timespec deadline = timespec_of(deadline_ns);
    return sem_clockwait(semaphore, CLOCK_MONOTONIC, &deadline) == 0 ? 0 : errno;
#else
    /* No wait on the monotonic clock here, and the wall clock may be set: look in growing steps. */
    for (uint64_t step = 10000;; step = step < 1000000 ? 2 * step : step) {
        if (sem_trywait(semaphore) == 0)
            return 0;
        if (errno != EAGAIN)
            return errno;
        uint64_t now = memlane_monotonic_ns();
        if (now >= deadline_ns)
            return ETIMEDOUT;
        struct timespec length = timespec_of(step < deadline_ns - now ? step : deadline_ns - now);
        if (nanosleep(&length, NULL) != 0)
            return errno;
    }
#endif
}

int memlane_semaphore_post(void *semaphore) {
    if (is_known)
        return post_at_word(semaphore);
    return sem_post(semaphore) == 0 ? 0 : errno;
}

bool memlane_semaphore_layout_is_known(void) { return is_known; }

int memlane_semaphore_make(void *memory) { return sem_init(memory, 1, 0) == 0 ? 0 : errno; }

void *memlane_semaphore_open(const char *name, int *error) {
    sem_t *semaphore = sem_open(name, 0);
    *error = semaphore == SEM_FAILED ? errno : 0;
    return semaphore == SEM_FAILED ? NULL : semaphore;
}

void memlane_semaphore_close(void *semaphore) { sem_close(semaphore); }
