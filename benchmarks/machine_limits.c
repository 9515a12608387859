/* SPDX-License-Identifier: MIT
 *
 * What the machine can do at best, to hold libraries against. Each run takes one sample, prints one
 * number and exits:
 *
 *   machine_limits ring COUNT BATCH     records of 64 bytes a second through a bare ring, two processes; the
 *                               producer says after each BATCH of them that they are there
 *   machine_limits bounce COUNT         ns for a cache line to the other processor and back, two processes
 *   machine_limits wake COUNT           ns for a sleeper to be woken, by a futex, and to wake the first
 *   machine_limits copy NBYTES ROOM COUNT    ns for a memcpy of so much into a buffer of ROOM bytes, in turn
 *
 * No liveness, no checks of what the other side wrote, no lengths: that is what makes it a limit.
 */
#include <linux/futex.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { RECORD_NBYTES = 64, RECORDS = 4096, LINE = 64 };

struct shared {
    alignas(2 * LINE) _Atomic uint64_t tail; /* stored by the producer only */
    alignas(2 * LINE) _Atomic uint64_t head; /* stored by the consumer only */
    alignas(2 * LINE) _Atomic uint32_t ball; /* whose turn it is: even the first's */
    alignas(2 * LINE) _Atomic uint32_t begun;
    alignas(2 * LINE) uint64_t records[RECORDS][RECORD_NBYTES / 8];
};

static double now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

/* The other process dies with this one. */
static pid_t forked(void) {
    pid_t pid = fork();
    if (pid < 0)
        fail("fork");
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

static void produce(struct shared *shared, uint64_t count, uint64_t batch) {
    uint64_t head = 0, tail = 0;
    uint64_t record[RECORD_NBYTES / 8];
    for (size_t word = 0; word < RECORD_NBYTES / 8; word++)
        record[word] = word;
    while (tail < count) {
        /* sync: limit.head, acquire: the consumer has read what is now overwritten. */
        while (tail - head > RECORDS - batch) {
            head = atomic_load_explicit(&shared->head, memory_order_acquire);
            if (tail - head > RECORDS - batch)
                relax();
        }
        for (uint64_t i = 0; i < batch; i++) {
            record[0] = tail + i;
            memcpy(shared->records[(tail + i) % RECORDS], record, RECORD_NBYTES);
        }
        tail += batch;
        /* sync: limit.tail, release: the records are there before their number is. */
        atomic_store_explicit(&shared->tail, tail, memory_order_release);
    }
}

static void consume(struct shared *shared, uint64_t count) {
    uint64_t head = 0, tail = 0, wrong = 0;
    uint64_t record[RECORD_NBYTES / 8];
    while (head < count) {
        while (tail == head) {
            /* sync: limit.tail, acquire: records are read after their number. */
            tail = atomic_load_explicit(&shared->tail, memory_order_acquire);
            if (tail == head)
                relax();
        }
        for (; head < tail; head++) {
            memcpy(record, shared->records[head % RECORDS], RECORD_NBYTES);
            wrong += record[0] != head || record[7] != 7;
        }
        /* sync: limit.head, release: they have been read before they may be overwritten. */
        atomic_store_explicit(&shared->head, head, memory_order_release);
    }
    if (wrong) {
        fprintf(stderr, "%llu records are wrong\n", (unsigned long long)wrong);
        exit(1);
    }
}

/* The two take turns to raise the ball; seq_cst, since only the trip matters here. */
static void spin_turns(struct shared *shared, uint32_t mine, uint32_t count) {
    for (uint32_t turn = 0; turn < count; turn++) {
        while (atomic_load(&shared->ball) != 2 * turn + mine)
            relax();
        atomic_store(&shared->ball, 2 * turn + mine + 1);
    }
}

static void sleep_turns(struct shared *shared, uint32_t mine, uint32_t count) {
    for (uint32_t turn = 0; turn < count; turn++) {
        uint32_t found;
        while ((found = atomic_load(&shared->ball)) != 2 * turn + mine)
            syscall(SYS_futex, &shared->ball, FUTEX_WAIT, found, NULL, NULL, 0);
        atomic_store(&shared->ball, 2 * turn + mine + 1);
        syscall(SYS_futex, &shared->ball, FUTEX_WAKE, 1, NULL, NULL, 0);
    }
}

static double copy(size_t nbytes, size_t room, uint64_t count) {
    size_t from_nbytes = nbytes > (1 << 20) / 2 ? 2 * nbytes : 1 << 20;
    char *from = malloc(from_nbytes);
    char *to = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (from == NULL || to == MAP_FAILED)
        fail("copy");
    memset(from, 1, from_nbytes);
    memset(to, 1, room);
    size_t read = 0, written = 0;
    double begin = now_ns();
    for (uint64_t i = 0; i < count; i++) {
        memcpy(to + written, from + read, nbytes);
        /* the compiler must not leave a copy out that nobody reads */
        __asm__ volatile("" : : "r"(to) : "memory");
        read = read + 2 * nbytes > from_nbytes ? 0 : read + nbytes;
        written = written + 2 * nbytes > room ? 0 : written + nbytes;
    }
    return (now_ns() - begin) / (double)count;
}

int main(int argc, char **argv) {
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        fail("mmap");
    memset(shared, 0, sizeof *shared);
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "copy") == 0 && argc == 5) {
        printf("%g\n", copy(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10)));
        return 0;
    }
    int is_ring = strcmp(what, "ring") == 0 && argc == 4;
    uint64_t batch = is_ring ? strtoull(argv[3], NULL, 10) : 1;
    if ((!is_ring && argc != 3) || batch < 1 || batch > RECORDS / 2) {
        fprintf(stderr, "usage: machine_limits ring COUNT BATCH | bounce COUNT | wake COUNT"
                        " | copy NBYTES ROOM COUNT\n");
        return 2;
    }
    uint64_t count = strtoull(argv[2], NULL, 10) / batch * batch;
    pid_t pid = forked();
    if (pid == 0) {
        atomic_store(&shared->begun, 1);
        if (is_ring)
            produce(shared, count, batch);
        else if (strcmp(what, "bounce") == 0)
            spin_turns(shared, 1, (uint32_t)count);
        else
            sleep_turns(shared, 1, (uint32_t)count);
        _exit(0);
    }
    while (!atomic_load(&shared->begun))
        relax();
    double begin = now_ns();
    if (is_ring)
        consume(shared, count);
    else if (strcmp(what, "bounce") == 0)
        spin_turns(shared, 0, (uint32_t)count);
    else
        sleep_turns(shared, 0, (uint32_t)count);
    double spent = now_ns() - begin;
    waitpid(pid, NULL, 0);
    printf("%g\n", is_ring ? (double)count / spent * 1e9 : spent / (double)count);
    return 0;
}
