/* SPDX-License-Identifier: MIT */
#include "os/fork.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Above what select() and most programs that pass numbers to children use. */
enum { HIGH_DESCRIPTOR = 512 };
/* While one thread of a raw clone does what the hooks did not. No handle ever bears it: those that are closed
 * bear UINT64_MAX. */
#define EPOCH_BUSY (UINT64_MAX - 1)

struct registered {
    int descriptor;
    uint64_t serial;
    dev_t device;
    ino_t inode;
};

_Atomic uint64_t *memlane_fork_word;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct registered *registered; /* guarded by mutex */
static size_t registered_count, registered_room;
static uint64_t serials; /* guarded by mutex */
static uint64_t generation = 1; /* copied by every fork, so a child knows its parent's */

static bool is_still(const struct registered *entry) {
    struct stat found;
    return fstat(entry->descriptor, &found) == 0 && found.st_dev == entry->device && found.st_ino == entry->inode;
}

/* What a child owes its parent. Runs in the only thread of a new process. */
static void close_inherited(void) {
    for (size_t i = 0; i < registered_count; i++)
        if (is_still(&registered[i]))
            close(registered[i].descriptor);
    registered_count = 0;
    generation += 1;
}

static void before_fork(void) {
    memlane_fork_epoch(); /* in a raw clone the mutex may be held by a thread that is not here */
    pthread_mutex_lock(&mutex);
}

static void after_fork_in_parent(void) { pthread_mutex_unlock(&mutex); }

static void after_fork_in_child(void) {
    close_inherited();
    /* sync: fork.epoch. release: the descriptions are closed before any handle joins anew; pairs with the
     * acquire in memlane_fork_epoch */
    atomic_store_explicit(memlane_fork_word, generation, memory_order_release);
    pthread_mutex_unlock(&mutex);
}

int memlane_fork_setup(void) {
    long page = sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, (size_t)page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    if (madvise(memory, (size_t)page, MADV_WIPEONFORK) != 0)
        return -errno;
    memlane_fork_word = memory;
    atomic_init(memlane_fork_word, generation);
    return -pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

uint64_t memlane_fork_epoch(void) {
    for (;;) {
        /* sync: fork.epoch. acquire: pairs with after_fork_in_child and with the store below */
        uint64_t epoch = atomic_load_explicit(memlane_fork_word, memory_order_acquire);
        if (epoch != 0 && epoch != EPOCH_BUSY)
            return epoch;
        /* relaxed on failure: another thread of this child does it, look again */
        if (epoch == 0 && atomic_compare_exchange_strong_explicit(memlane_fork_word, &epoch, EPOCH_BUSY,
                                                                  memory_order_acquire, memory_order_relaxed)) {
            /* A raw clone: no hook ran, and a thread that is not here may have held the mutex. */
            mutex = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
            close_inherited();
            /* sync: fork.epoch. release: as in after_fork_in_child */
            atomic_store_explicit(memlane_fork_word, generation, memory_order_release);
        }
        sched_yield();
    }
}

struct description {
    int base;
    const char *path;
};

static int open_description(void *of) {
    const struct description *wanted = of;
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", wanted->base);
    int low = wanted->path == NULL ? open(link, O_RDWR | O_CLOEXEC | O_NONBLOCK)
                                   : open(wanted->path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (low < 0)
        return -errno;
    int result = fcntl(low, F_DUPFD_CLOEXEC, HIGH_DESCRIPTOR);
    if (result < 0)
        return low; /* a small RLIMIT_NOFILE: any number will do */
    close(low);
    return result;
}

int memlane_fork_register(int (*make)(void *of), void *of, uint64_t *serial) {
    memlane_fork_epoch();
    pthread_mutex_lock(&mutex);
    int result;
    if (registered_count == registered_room) {
        size_t room = registered_room ? 2 * registered_room : 16;
        struct registered *grown = realloc(registered, room * sizeof *grown);
        if (grown == NULL) {
            result = -ENOMEM;
            goto out;
        }
        registered = grown;
        registered_room = room;
    }
    result = make(of);
    if (result < 0)
        goto out;
    struct stat found;
    if (fstat(result, &found) != 0) {
        int error = errno;
        close(result);
        result = -error;
        goto out;
    }
    /* Whose number this was has closed it behind our back: a child must not close ours for it, nor must its owner. */
    for (size_t i = 0; i < registered_count; i++)
        if (registered[i].descriptor == result)
            registered[i--] = registered[--registered_count];
    *serial = ++serials;
    registered[registered_count++] = (struct registered){result, *serial, found.st_dev, found.st_ino};
out:
    pthread_mutex_unlock(&mutex);
    return result;
}

int memlane_fork_open(int base, const char *path, uint64_t *serial) {
    struct description wanted = {base, path};
    return memlane_fork_register(open_description, &wanted, serial);
}

bool memlane_fork_holds(int descriptor, uint64_t serial) {
    bool holds = false;
    memlane_fork_epoch();
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < registered_count; i++)
        if (registered[i].descriptor == descriptor && registered[i].serial == serial) {
            holds = is_still(&registered[i]);
            break;
        }
    pthread_mutex_unlock(&mutex);
    return holds;
}

void memlane_fork_close(int descriptor, uint64_t serial) {
    memlane_fork_epoch();
    pthread_mutex_lock(&mutex);
    for (size_t i = 0; i < registered_count; i++)
        if (registered[i].descriptor == descriptor && registered[i].serial == serial) {
            if (is_still(&registered[i]))
                close(descriptor);
            registered[i] = registered[--registered_count];
            break;
        }
    pthread_mutex_unlock(&mutex);
}
