/* SPDX-License-Identifier: MIT
 *
 * What src/os/fork.h promises of forks that do not wait for other threads, as those of Python do that hold
 * the GIL: every step of one thread can be met by the fork of another. The step is met by hand: open(2) is
 * ours here, and stands still until the other thread has forked, or sleeps because it may not.
 */
#include "../core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/fork.h"

static _Atomic int inside; /* a thread has opened a lock description, and has not registered it */
static _Atomic int may_go; /* it may */
static _Atomic int forking; /* thread id of the one that forks */

/* Whether the thread that forks sleeps: then it waits for the mutex. */
static int forker_sleeps(void) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", atomic_load(&forking));
    int file = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    text[length < 0 ? 0 : length] = '\0';
    const char *end = strrchr(text, ')');
    return end != NULL && end[2] == 'S';
}

/* Stands in for the one of the C library in src/os/fork.c. */
int open(const char *path, int flags, ...) {
    int descriptor = openat(AT_FDCWD, path, flags);
    if (atomic_load(&forking)) {
        atomic_store(&inside, 1);
        while (!atomic_load(&may_go) && !forker_sleeps())
            sched_yield();
        atomic_store(&inside, 0);
    }
    return descriptor;
}

static int closed_was_met; /* the process bore the epoch of closed handles */

/* Stands in for the one of the C library: it is what a child calls amid its duty. */
int close(int descriptor) {
    closed_was_met |= memlane_fork_is(UINT64_MAX);
    return (int)syscall(SYS_close, descriptor);
}

static int base_of(void) {
    int base = memfd_create("region", MFD_CLOEXEC);
    CHECK(base >= 0);
    return base;
}

/* How many descriptors of this process lead to the file of `base`. */
static int descriptors_of(int base) {
    struct stat wanted, found;
    int count = 0;
    CHECK_EQUAL(0, fstat(base, &wanted));
    for (int number = 0; number < 1024; number++)
        if (fstat(number, &found) == 0 && found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino)
            count++;
    return count;
}

static int opened;
static uint64_t serial; /* of the description that was opened last */

static void *open_lock_description(void *base) {
    opened = memlane_fork_open(*(int *)base, NULL, &serial);
    return NULL;
}

/* Runs in a child; 0 is success. A hang is ended by SIGALRM. */
static int fork_and_have(pid_t (*fork_this_way)(void), int (*child)(int), int base) {
    pid_t pid = fork_this_way();
    if (pid == 0) {
        alarm(300);
        _exit(child(base));
    }
    atomic_store(&may_go, 1);
    int status;
    CHECK(pid > 0 && waitpid(pid, &status, 0) == pid);
    return status;
}

static pid_t clone_without_hooks(void) { return (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0); }

static int has_only_the_base(int base) { return descriptors_of(base) == 1 ? 0 : 1; }

static int forks_again_and_opens(int base) {
    pid_t pid = fork();
    if (pid == 0) {
        atomic_store(&forking, 0);
        int lock = memlane_fork_open(base, NULL, &serial);
        _exit(lock >= 0 && descriptors_of(base) <= 3 ? 0 : 1);
    }
    int status = 1;
    return pid > 0 && waitpid(pid, &status, 0) == pid ? status : 1;
}

/* Fork while another thread is between opening and registering. */
static int fork_amid_an_open(pid_t (*fork_this_way)(void), int (*child)(int)) {
    int base = base_of();
    pthread_t thread;
    atomic_store(&may_go, 0);
    atomic_store(&forking, gettid());
    CHECK_EQUAL(0, pthread_create(&thread, NULL, open_lock_description, &base));
    while (!atomic_load(&inside))
        sched_yield();
    int status = fork_and_have(fork_this_way, child, base);
    atomic_store(&may_go, 1);
    CHECK_EQUAL(0, pthread_join(thread, NULL));
    atomic_store(&forking, 0);
    CHECK(opened >= 512);
    CHECK_EQUAL(2, descriptors_of(base));
    memlane_fork_close(opened, serial);
    CHECK_EQUAL(1, descriptors_of(base));
    close(base);
    return status;
}

/* (hazard 4) */
TEST(child_of_a_fork_amid_an_open_does_not_inherit_the_lock_description) {
    CHECK_EQUAL(0, fork_amid_an_open(fork, has_only_the_base));
}

/* (hazard 4) */
TEST(clone_without_hooks_amid_an_open_can_fork_again_and_open) {
    CHECK_EQUAL(0, fork_amid_an_open(clone_without_hooks, forks_again_and_opens));
}

static int closes_at_its_first_call(int base) {
    int before = descriptors_of(base);
    memlane_fork_epoch();
    return before == 2 && descriptors_of(base) == 1 ? 0 : 1;
}

static int has_closed_already(int base) { return descriptors_of(base) == 1 ? 0 : 1; }

/* (hazard 1) */
TEST(child_closes_inherited_lock_descriptions_in_the_hook_or_at_its_first_call) {
    int base = base_of();
    int lock = memlane_fork_open(base, NULL, &serial);
    CHECK(lock >= 512);

    CHECK_EQUAL(0, fork_and_have(fork, has_closed_already, base));
    CHECK_EQUAL(0, fork_and_have(clone_without_hooks, closes_at_its_first_call, base));

    CHECK_EQUAL(2, descriptors_of(base));
    memlane_fork_close(lock, serial);
    close(base);
}

static int foreign; /* leads to another file, under the number of a lock description */

static int kept_what_is_not_ours(int base) {
    (void)base;
    memlane_fork_epoch();
    return fcntl(foreign, F_GETFD) >= 0 ? 0 : 1;
}

/* A process that closes descriptors it does not own gets their numbers again. */
TEST(child_leaves_a_number_alone_that_leads_to_another_file_by_now) {
    int base = base_of(), other = base_of();
    int lock = memlane_fork_open(base, NULL, &serial);
    CHECK_EQUAL(lock, dup2(other, lock));
    foreign = lock;

    CHECK_EQUAL(0, fork_and_have(fork, kept_what_is_not_ours, base));
    CHECK_EQUAL(0, fork_and_have(clone_without_hooks, kept_what_is_not_ours, base));

    memlane_fork_close(lock, serial);
    CHECK(fcntl(lock, F_GETFD) >= 0);
    close(lock);
    close(other);
    close(base);
}

TEST(description_is_not_closed_for_an_older_one_of_the_same_number) {
    int base = base_of();
    uint64_t older, newer;
    int lost = memlane_fork_open(base, NULL, &older);
    close(lost);
    int lock = memlane_fork_open(base, NULL, &newer);
    CHECK_EQUAL(lost, lock);

    memlane_fork_close(lost, older);
    CHECK(fcntl(lock, F_GETFD) >= 0);
    memlane_fork_close(lock, newer);
    CHECK(fcntl(lock, F_GETFD) < 0);
    close(base);
}

/* Without /proc a file is opened again by its name, and never through a symbolic link. */
TEST(description_is_opened_by_the_name_that_is_given) {
    char name[] = "/tmp/memlane-fork-XXXXXX", link[sizeof name + 4];
    int base = mkostemp(name, O_CLOEXEC);
    CHECK(base >= 0);
    snprintf(link, sizeof link, "%s.ln", name);
    CHECK_EQUAL(0, symlink(name, link));

    CHECK_EQUAL(-ELOOP, memlane_fork_open(base, link, &serial));
    int lock = memlane_fork_open(base, name, &serial);
    CHECK(lock >= 512);
    CHECK_EQUAL(2, descriptors_of(base));

    memlane_fork_close(lock, serial);
    CHECK_EQUAL(0, unlink(link));
    CHECK_EQUAL(0, unlink(name));
    CHECK_EQUAL(-ENOENT, memlane_fork_open(base, name, &serial));
    close(base);
}

static uint64_t epoch_of_parent;

static int has_another_epoch(int base) {
    uint64_t epoch = memlane_fork_epoch();
    if (epoch == 0 || epoch == epoch_of_parent || memlane_fork_is(epoch_of_parent) || !memlane_fork_is(epoch))
        return 1;
    epoch_of_parent = epoch;
    return base == 0 ? 0 : fork_and_have(base & 1 ? fork : clone_without_hooks, has_another_epoch, base - 1);
}

/* (hazard 16) */
TEST(epoch_is_another_one_in_each_generation_however_it_was_forked) {
    epoch_of_parent = memlane_fork_epoch();
    CHECK_EQUAL(0, has_another_epoch(0) == 0); /* the same process has the same epoch */

    CHECK_EQUAL(0, fork_and_have(fork, has_another_epoch, 6));
    CHECK_EQUAL(0, fork_and_have(clone_without_hooks, has_another_epoch, 6));

    CHECK_EQUAL(epoch_of_parent, memlane_fork_epoch());
}

static int looks_closed_while_it_closes(int base) {
    (void)base;
    memlane_fork_epoch();
    return closed_was_met;
}

/* While a clone without hooks does their duty, its other threads must not take a closed handle, which bears
 * the largest epoch, for a prepared one. (hazard 16) */
TEST(epoch_of_closed_handles_is_never_that_of_the_process) {
    int base = base_of();
    int lock = memlane_fork_open(base, NULL, &serial);

    CHECK_EQUAL(0, fork_and_have(clone_without_hooks, looks_closed_while_it_closes, base));

    memlane_fork_close(lock, serial);
    close(base);
}

int main(void) {
    CHECK_EQUAL(0, memlane_fork_setup());
    return check_main();
}
