/* SPDX-License-Identifier: MIT
 *
 * What src/os/semwait.h promises of semaphores that it shares with the C library, and of bytes that no library
 * ever left in one. The sleeper is another process; a wake that does not come is a hang, which the build ends.
 */
#include "../core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os/semwait.h"

#define NS_A_SECOND UINT64_C(1000000000)

struct shared {
    _Alignas(8) unsigned char semaphore[32];
    _Atomic int done;
};

static struct shared *make_shared(void) {
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
    CHECK_EQUAL(0, memlane_semaphore_make(shared->semaphore));
    return shared;
}

/* Longer than the build lets a test run. */
static uint64_t far_away(void) { return memlane_monotonic_ns() + 3600 * NS_A_SECOND; }

static int wait_ours(struct shared *shared) { return memlane_semaphore_wait(shared->semaphore, far_away()); }

static int wait_of_the_library(struct shared *shared) {
    return sem_wait((sem_t *)(void *)shared->semaphore) == 0 ? 0 : errno;
}

static pid_t begin(int (*function)(struct shared *), struct shared *shared) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        _exit(function(shared));
    return pid;
}

static int end_of(pid_t pid) {
    int status;
    CHECK_EQUAL(pid, waitpid(pid, &status, 0));
    return status;
}

/* 'S' asleep, 'Z' ended. */
static char state_of(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    text[length < 0 ? 0 : length] = '\0';
    const char *end = strrchr(text, ')');
    return end == NULL ? '?' : end[2];
}

static void wait_until_asleep(pid_t pid) {
    for (char state = '?'; state != 'S'; state = state_of(pid)) {
        CHECK(state != 'Z');
        sched_yield();
    }
}

TEST(the_semaphores_of_this_C_library_are_known) {
#ifdef __GLIBC__
    CHECK_EQUAL(sizeof(void *) == 8, memlane_semaphore_layout_is_known());
#endif
}

TEST(a_post_of_the_library_wakes_who_waits_here) {
    struct shared *shared = make_shared();
    pid_t pid = begin(wait_ours, shared);
    wait_until_asleep(pid);
    CHECK_EQUAL(0, sem_post((sem_t *)(void *)shared->semaphore));
    CHECK_EQUAL(0, end_of(pid));
}

TEST(a_post_of_ours_wakes_who_waits_in_the_library) {
    struct shared *shared = make_shared();
    pid_t pid = begin(wait_of_the_library, shared);
    wait_until_asleep(pid);
    CHECK_EQUAL(0, memlane_semaphore_post(shared->semaphore));
    CHECK_EQUAL(0, end_of(pid));
}

TEST(tokens_are_counted_alike_and_a_semaphore_ends_as_it_began) {
    struct shared *shared = make_shared();
    unsigned char fresh[32];
    memcpy(fresh, shared->semaphore, sizeof fresh);
    sem_t *library = (sem_t *)(void *)shared->semaphore;
    pid_t sleepers[4];
    for (int i = 0; i < 4; i++) {
        sleepers[i] = begin(i % 2 ? wait_ours : wait_of_the_library, shared);
        wait_until_asleep(sleepers[i]);
    }
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(0, i < 2 ? sem_post(library) : memlane_semaphore_post(shared->semaphore));
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(0, end_of(sleepers[i]));
    CHECK_BYTES(fresh, shared->semaphore, sizeof fresh);

    int value;
    CHECK_EQUAL(0, memlane_semaphore_post(shared->semaphore));
    CHECK_EQUAL(0, sem_post(library));
    CHECK_EQUAL(0, sem_getvalue(library, &value));
    CHECK_EQUAL(2, value);
    CHECK_EQUAL(0, memlane_semaphore_wait(shared->semaphore, 0));
    CHECK_EQUAL(0, sem_trywait(library));
    CHECK_EQUAL(ETIMEDOUT, memlane_semaphore_wait(shared->semaphore, 0));
    CHECK_BYTES(fresh, shared->semaphore, sizeof fresh);
}

TEST(a_wait_ends_at_its_moment_of_the_monotonic_clock_and_not_before) {
    struct shared *shared = make_shared();
    uint64_t deadline = memlane_monotonic_ns() + NS_A_SECOND / 50;
    CHECK_EQUAL(ETIMEDOUT, memlane_semaphore_wait(shared->semaphore, deadline));
    CHECK(memlane_monotonic_ns() >= deadline);
}

static void do_nothing(int number) { (void)number; }

static int wait_interrupted(struct shared *shared) {
    struct sigaction action = {.sa_handler = do_nothing};
    sigaction(SIGUSR1, &action, NULL);
    atomic_store(&shared->done, 1);
    return wait_ours(shared);
}

TEST(a_signal_ends_a_wait) {
    struct shared *shared = make_shared();
    pid_t pid = begin(wait_interrupted, shared);
    while (!atomic_load(&shared->done))
        sched_yield();
    wait_until_asleep(pid);
    kill(pid, SIGUSR1);
    int status = end_of(pid);
    CHECK(WIFEXITED(status));
    CHECK_EQUAL(EINTR, WEXITSTATUS(status));
}

TEST(more_tokens_than_there_can_be_are_no_post_and_keep_no_sleeper_awake) {
    struct shared *shared = make_shared();
    CHECK_EQUAL(0, sem_init((sem_t *)(void *)shared->semaphore, 1, SEM_VALUE_MAX));
    CHECK_EQUAL(EOVERFLOW, memlane_semaphore_post(shared->semaphore));
    CHECK_EQUAL(0, memlane_semaphore_wait(shared->semaphore, 0));
    CHECK_EQUAL(ETIMEDOUT, memlane_semaphore_wait(shared->semaphore, 0));
}

/* So that sleepers look at the bytes now, though nothing was posted. */
static void wake_all(struct shared *shared) {
    for (int half = 0; half < 2; half++)
        syscall(SYS_futex, shared->semaphore + 4 * half, FUTEX_WAKE, INT_MAX);
}

/* As all who wait at doorbells do. */
static int wait_in_slices(struct shared *shared) {
    while (!atomic_load(&shared->done))
        memlane_semaphore_wait(shared->semaphore, memlane_monotonic_ns() + NS_A_SECOND / 10);
    return 0;
}

static void spoil_under_a_sleeper(struct shared *shared, const uint32_t *words) {
    CHECK_EQUAL(0, memlane_semaphore_make(shared->semaphore));
    atomic_store(&shared->done, 0);
    pid_t pid = begin(wait_in_slices, shared);
    wait_until_asleep(pid);
    memcpy(shared->semaphore, words, sizeof shared->semaphore);
    wake_all(shared);
    memlane_semaphore_post(shared->semaphore);
    wait_until_asleep(pid);
    CHECK_EQUAL(0, memlane_semaphore_make(shared->semaphore));
    atomic_store(&shared->done, 1);
    memlane_semaphore_post(shared->semaphore);
    wake_all(shared);
    CHECK_EQUAL(0, end_of(pid));
}

TEST(bytes_that_change_under_a_sleeper_end_nobody) {
    static const uint32_t values[] = {0, 1, 128, INT32_MAX, UINT32_C(1) << 31, UINT32_MAX};
    enum { VALUES = sizeof values / sizeof *values };
    struct shared *shared = make_shared();
    uint64_t state = 7;
    uint32_t words[8];
    for (int turn = 0; turn < VALUES * VALUES * VALUES; turn++) {
        for (int i = 0; i < 8; i++)
            words[i] = (uint32_t)check_random(&state);
        words[0] = values[turn % VALUES];
        words[1] = values[turn / VALUES % VALUES];
        words[2] = values[turn / VALUES / VALUES];
        spoil_under_a_sleeper(shared, words);
    }
    for (int byte = 0; byte < 256; byte++) {
        memset(words, byte, sizeof words);
        spoil_under_a_sleeper(shared, words);
    }
}

MAIN
