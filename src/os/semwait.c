/* SPDX-License-Identifier: MIT */
#include "os/semwait.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

/* How long one sleeps before it looks again where a semaphore is spoilt. */
enum { POLL_NS = 1000000 };

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

uint64_t memlane_boottime_ns(void) { return clock_ns(CLOCK_BOOTTIME); }

void memlane_pause(uint64_t ns) {
    struct timespec length = timespec_of(ns);
    nanosleep(&length, NULL);
}

/* Whether the kernel can be asked about this semaphore. Its bytes are shared, and glibc ends the process when
 * the word that chooses the kind of futex is spoilt. One who spoils it between this look and the wait still
 * can do that; docs/concepts.md says so. */
static bool is_sound(const void *semaphore) {
#ifdef __GLIBC__
    /* glibc's struct new_sem: value and sleepers, in one word or (32 bits) around it, and `private`. */
    const size_t at = sizeof(long) == 8 ? 8 : 4;
    sem_t fresh;
    memset(&fresh, 0, sizeof fresh);
    return sem_init(&fresh, 1, 0) == 0 &&
           memcmp((const char *)semaphore + at, (const char *)&fresh + at, sizeof(int)) == 0;
#else
    (void)semaphore;
    return true;
#endif
}

int memlane_semaphore_wait(void *semaphore, uint64_t deadline_ns) {
    if (!is_sound(semaphore)) {
        uint64_t now = memlane_monotonic_ns();
        if (now < deadline_ns)
            memlane_pause(deadline_ns - now < POLL_NS ? deadline_ns - now : POLL_NS);
        return ETIMEDOUT;
    }
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
    if (!is_sound(semaphore))
        return EINVAL;
    return sem_post(semaphore) == 0 ? 0 : errno;
}

int memlane_semaphore_make(void *memory) { return sem_init(memory, 1, 0) == 0 ? 0 : errno; }

void *memlane_semaphore_open(const char *name, int *error) {
    sem_t *semaphore = sem_open(name, 0);
    *error = semaphore == SEM_FAILED ? errno : 0;
    return semaphore == SEM_FAILED ? NULL : semaphore;
}

void memlane_semaphore_close(void *semaphore) { sem_close(semaphore); }
