/* SPDX-License-Identifier: MIT
 *
 * One producer and one consumer at full speed, then with threads that release loans in any order. Each
 * record says its number and its sum, so one that is torn, lost, doubled or out of order is seen.
 */
#include <pthread.h>
#include <sched.h>

#include "lane_fixture.h"
#include "core/words.h"

#ifdef __SANITIZE_THREAD__
#define RECORDS UINT64_C(40000) /* it is ten times slower, and looks at each access, not at luck */
#else
#define RECORDS UINT64_C(200000)
#endif
#define PHASE 1000 /* records during which one side is the slower one; then it is the other's turn */
#define NBYTES_MAX 128

static struct bench bench;
static uint64_t fulls, empties; /* each of one thread, read after the join */

static void pause_of(int *tries) {
    if (++*tries % 64)
        memlane_cpu_relax();
    else
        sched_yield(); /* the other side may need this very processor */
}

/* In its phases a side dawdles, so that the lane runs full and empty many times whatever the machine. */
static void dawdle(uint64_t s, uint64_t odd) {
    if (s / PHASE % 2 == odd)
        for (int i = 0; i < 60; i++)
            memlane_cpu_relax();
}

static size_t nbytes_of(uint64_t s) { return 16 + s * 7 % (NBYTES_MAX - 15); }

static void record_write(unsigned char *bytes, uint64_t s) {
    size_t nbytes = nbytes_of(s);
    uint64_t sum = s;
    for (size_t i = 16; i < nbytes; i++) {
        bytes[i] = (unsigned char)(s * 13 + i);
        sum = sum * 31 + bytes[i];
    }
    memcpy(bytes, &s, 8);
    memcpy(bytes + 8, &sum, 8);
}

static void record_check(const unsigned char *bytes, size_t nbytes, uint64_t s) {
    uint64_t found, sum, again = s;
    CHECK_EQUAL(nbytes_of(s), nbytes);
    memcpy(&found, bytes, 8);
    memcpy(&sum, bytes + 8, 8);
    for (size_t i = 16; i < nbytes; i++)
        again = again * 31 + bytes[i];
    CHECK_EQUAL(s, found);
    CHECK_EQUAL(again, sum);
}

/* Puts singles, claims and batches in turn. */
static void *produce(void *unused) {
    unsigned char bytes[8][NBYTES_MAX];
    struct memlane_span spans[8];
    int tries = 0;
    for (uint64_t s = 0; s != RECORDS;) {
        enum memlane_status status;
        size_t done = 0, count = s % 3 == 2 ? 1 + s % 8 : 1;
        if (count > RECORDS - s)
            count = RECORDS - s;
        for (size_t i = 0; i < count; i++) {
            record_write(bytes[i], s + i);
            spans[i] = (struct memlane_span){bytes[i], nbytes_of(s + i)};
        }
        if (s % 3 == 0) {
            status = memlane_producer_put(&bench.producer, bytes[0], spans[0].nbytes);
            done = status == MEMLANE_OK;
        } else if (s % 3 == 1) {
            uint64_t offset;
            status = memlane_producer_claim(&bench.producer, NBYTES_MAX, &offset);
            if (status == MEMLANE_OK) {
                memcpy(bench.lane.bytes + offset, bytes[0], spans[0].nbytes);
                status = memlane_producer_commit(&bench.producer, offset, spans[0].nbytes);
                done = 1;
            }
        } else
            status = memlane_producer_put_many(&bench.producer, spans, count, &done);
        if (status == MEMLANE_FULL) {
            fulls++;
            pause_of(&tries);
        } else
            CHECK_EQUAL(MEMLANE_OK, status);
        s += done;
        dawdle(s, 0);
    }
    return unused;
}

static void *consume_by_copy(void *unused) {
    unsigned char copy[NBYTES_MAX];
    int tries = 0;
    for (uint64_t expected = 0; expected != RECORDS;) {
        struct memlane_extent extent;
        uint64_t s;
        enum memlane_status status = memlane_consumer_peek(&bench.consumer, &s, &extent);
        if (status == MEMLANE_EMPTY) {
            empties++;
            pause_of(&tries);
            continue;
        }
        CHECK_EQUAL(MEMLANE_OK, status);
        CHECK_EQUAL(expected, s);
        CHECK(extent.nbytes <= sizeof copy);
        memcpy(copy, bench.lane.bytes + extent.offset, extent.nbytes);
        memlane_consumer_finish(&bench.consumer, 1, memlane_occupied(extent.nbytes));
        record_check(copy, extent.nbytes, expected++);
        dawdle(expected, 1);
    }
    return unused;
}

static void join(pthread_t *threads, size_t count) {
    for (size_t i = 0; i < count; i++)
        CHECK_EQUAL(0, pthread_join(threads[i], NULL));
}

TEST(every_record_arrives_once_whole_and_in_order_while_both_sides_run) {
    pthread_t threads[2];
    bench = bench_new(1024, 32);
    fulls = empties = 0;
    CHECK_EQUAL(0, pthread_create(&threads[0], NULL, produce, NULL));
    CHECK_EQUAL(0, pthread_create(&threads[1], NULL, consume_by_copy, NULL));
    join(threads, 2);
    CHECK_EQUAL(RECORDS, bench_head(&bench));
    CHECK(fulls > 0 && empties > 0); /* the two did meet, at both ends */
    printf("  full %" PRIu64 " times, empty %" PRIu64 " times\n", fulls, empties);
    bench_free(&bench);
}

/* ---- loans --------------------------------------------------------------------------------------- */

#define RELEASERS 2
#define HANDS 6 /* loans that wait at one releaser */

/* s + 1 of a loan, 0: nothing. A way from thread to thread that orders nothing else. */
static _Atomic uint64_t hands[RELEASERS][HANDS];
static _Atomic bool finished;
static uint64_t out_of_order[RELEASERS];

static void *consume_by_loan(void *unused) {
    int tries = 0;
    for (uint64_t expected = 0; expected != RECORDS;) {
        struct memlane_extent extent;
        uint64_t s;
        enum memlane_status status = memlane_consumer_peek(&bench.consumer, &s, &extent);
        if (status == MEMLANE_EMPTY) {
            empties++;
            pause_of(&tries);
            continue;
        }
        CHECK_EQUAL(MEMLANE_OK, status);
        CHECK_EQUAL(expected, s);
        if (s % 4 == 0) { /* a get while loans are out */
            record_check(bench.lane.bytes + extent.offset, extent.nbytes, s);
            memlane_consumer_finish(&bench.consumer, 1, memlane_occupied(extent.nbytes));
        } else {
            memlane_consumer_borrow(&bench.consumer);
            for (size_t i = s;; i++) {
                uint64_t nothing = 0;
                if (atomic_compare_exchange_strong_explicit(&hands[s % RELEASERS][i % HANDS], &nothing, s + 1,
                                                            memory_order_release, memory_order_relaxed))
                    break;
                pause_of(&tries);
            }
        }
        expected++;
        dawdle(expected, 1);
    }
    atomic_store(&finished, true);
    return unused;
}

static void *release_in_any_order(void *index) {
    const size_t me = *(const size_t *)index;
    uint64_t random = 77 + me;
    int tries = 0;
    for (;;) {
        bool last = atomic_load(&finished); /* before the look, so that nothing can follow it */
        uint64_t loan = 0;
        size_t start = check_below(&random, HANDS);
        for (size_t i = 0; i < HANDS && !loan; i++)
            loan = atomic_exchange_explicit(&hands[me][(start + i) % HANDS], 0, memory_order_acquire);
        if (loan) {
            uint64_t s = loan - 1;
            struct memlane_extent extent;
            CHECK_EQUAL(MEMLANE_OK, memlane_extent_of(&bench.lane, s, &extent));
            record_check(bench.lane.bytes + extent.offset, extent.nbytes, s);
            out_of_order[me] += bench_head(&bench) != s;
            memlane_consumer_release(&bench.consumer, s);
        } else if (last)
            return NULL;
        else
            pause_of(&tries);
    }
}

TEST(head_passes_every_record_while_two_threads_release_loans_in_any_order) {
    pthread_t threads[2 + RELEASERS];
    size_t indices[RELEASERS];
    bench = bench_new(1024, 16);
    fulls = empties = 0;
    CHECK_EQUAL(0, pthread_create(&threads[0], NULL, produce, NULL));
    CHECK_EQUAL(0, pthread_create(&threads[1], NULL, consume_by_loan, NULL));
    for (size_t i = 0; i < RELEASERS; i++) {
        indices[i] = i;
        CHECK_EQUAL(0, pthread_create(&threads[2 + i], NULL, release_in_any_order, &indices[i]));
    }
    join(threads, 2 + RELEASERS);
    CHECK_EQUAL(RECORDS, bench_head(&bench));
    CHECK_EQUAL(0, atomic_load(&bench.consumer.loans));
    CHECK(fulls > 0 && empties > 0 && out_of_order[0] > 0 && out_of_order[1] > 0);
    printf("  full %" PRIu64 " times, empty %" PRIu64 " times, out of order %" PRIu64 " and %" PRIu64 "\n", fulls,
           empties, out_of_order[0], out_of_order[1]);
    bench_free(&bench);
}

MAIN
