/* SPDX-License-Identifier: MIT
 *
 * A topic at full speed: subscribers of both policies, joiners that come and go, loans, evictions, order over two
 * publishers. Each record says its number and its sum, so one that is torn, lost, doubled or out of order is seen.
 */
#include <pthread.h>
#include <sched.h>

#include "topic_fixture.h"

#ifdef __SANITIZE_THREAD__
#define RECORDS UINT64_C(10000) /* it is ten times slower, and looks at each access, not at luck */
#else
#define RECORDS UINT64_C(50000)
#endif
#define NBYTES_MAX 128

static struct topic_bench bench;
static _Atomic uint64_t fulls, clocks; /* how often a publish found no room; a clock for evictions */

static void pause_of(int *tries) {
    if (++*tries % 64)
        memlane_cpu_relax();
    else
        sched_yield(); /* the other side may need this very processor */
}

static size_t nbytes_of(uint64_t s) { return 24 + s * 7 % (NBYTES_MAX - 23); }

/* Number, sum, what its publisher knew of the other one, filling. */
static void record_write(unsigned char *bytes, uint64_t s, uint64_t known) {
    size_t nbytes = nbytes_of(s);
    uint64_t sum = s + known;
    for (size_t i = 24; i < nbytes; i++) {
        bytes[i] = (unsigned char)(s * 13 + i);
        sum = sum * 31 + bytes[i];
    }
    memcpy(bytes, &s, 8);
    memcpy(bytes + 8, &sum, 8);
    memcpy(bytes + 16, &known, 8);
}

/* Returns: what its publisher knew. */
static uint64_t record_check(const unsigned char *bytes, size_t nbytes, uint64_t s) {
    uint64_t found, sum, known, again;
    CHECK_EQUAL(nbytes_of(s), nbytes);
    memcpy(&found, bytes, 8);
    memcpy(&sum, bytes + 8, 8);
    memcpy(&known, bytes + 16, 8);
    again = s + known;
    for (size_t i = 24; i < nbytes; i++)
        again = again * 31 + bytes[i];
    CHECK_EQUAL(s, found);
    CHECK_EQUAL(again, sum);
    return known;
}

static void end_lane(uint32_t lane) {
    memlane_ring_shut(&bench.topic.control->ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_topic_close_lane(&bench.lanes[lane]));
}

/* Singles and batches in turn; then the end. */
static void *publish(void *unused) {
    unsigned char bytes[4][NBYTES_MAX];
    struct memlane_span spans[4];
    uint64_t next;
    int tries = 0;
    for (uint64_t s = 0; s != RECORDS;) {
        size_t done = 0, count = s % 3 == 2 && RECORDS - s > 4 ? 1 + s % 4 : 1;
        for (size_t i = 0; i < count; i++) {
            record_write(bytes[i], s + i, 0);
            spans[i] = (struct memlane_span){bytes[i], nbytes_of(s + i)};
        }
        enum memlane_status status = memlane_publisher_put_many(&bench.publishers[0], spans, count, &done);
        if (status == MEMLANE_FULL) {
            atomic_fetch_add_explicit(&fulls, 1, memory_order_relaxed);
            memlane_publisher_watch(&bench.publishers[0], atomic_fetch_add_explicit(&clocks, 1, memory_order_relaxed),
                                    &next);
            pause_of(&tries);
        } else
            CHECK_EQUAL(MEMLANE_OK, status);
        s += done;
    }
    end_lane(0);
    return unused;
}

/* Copy the next record and check it, once it counts. Returns: what came of it; *s is its number. */
static enum memlane_status get_one(struct sub *sub, uint32_t lane, uint64_t *s, uint64_t *known) {
    struct memlane_subscriber *subscriber = &sub->lanes[lane];
    unsigned char copy[NBYTES_MAX];
    struct memlane_extent extent;
    enum memlane_status status = memlane_subscriber_peek(subscriber, s, &extent);
    if (status != MEMLANE_OK)
        return status;
    uint64_t nbytes = extent.nbytes < NBYTES_MAX ? extent.nbytes : NBYTES_MAX;
    memlane_words_fetch(copy, subscriber->lane.bytes + extent.offset, nbytes);
    status = memlane_subscriber_check(subscriber, *s);
    if (status == MEMLANE_OK) {
        *known = record_check(copy, extent.nbytes, *s);
        memlane_subscriber_finish(subscriber, 1, memlane_occupied(extent.nbytes));
    }
    return status;
}

static struct sub waiting, overwritten, borrower, impatient;

static void *read_all(void *unused) {
    uint64_t s, known, expected = 0;
    int tries = 0;
    while (atomic_load(&fulls) == 0) /* it has nothing to do but to fill the lane */
        pause_of(&tries);
    for (;;) {
        enum memlane_status status = get_one(&waiting, 0, &s, &known);
        if (status == MEMLANE_CLOSED)
            break;
        if (status == MEMLANE_EMPTY) {
            pause_of(&tries);
            continue;
        }
        CHECK_EQUAL(MEMLANE_OK, status);
        CHECK_EQUAL(expected, s);
        if (++expected % 512 < 64)
            sched_yield(); /* now and then it is the slower one */
    }
    CHECK_EQUAL(RECORDS, expected);
    return unused;
}

static void *read_what_is_left(void *unused) {
    uint64_t s, known, got = 0;
    int tries = 0;
    for (;;) {
        enum memlane_status status = get_one(&overwritten, 0, &s, &known);
        if (status == MEMLANE_CLOSED)
            break;
        if (status == MEMLANE_LAPPED)
            memlane_subscriber_catch_up(&overwritten.lanes[0]);
        else if (status == MEMLANE_EMPTY)
            pause_of(&tries);
        else {
            CHECK_EQUAL(MEMLANE_OK, status);
            CHECK_EQUAL(got + overwritten.lanes[0].lost, s);
            got++;
        }
        if (s % 100 == 0)
            sched_yield();
    }
    CHECK_EQUAL(RECORDS, got + overwritten.lanes[0].lost);
    return unused;
}

/* Joins as one that is waited for, reads some, leaves: again and again. */
static void *come_and_go(void *rounds) {
    uint64_t s, known, random = 5;
    int tries = 0;
    for (bool ended = false; !ended; ++*(uint64_t *)rounds) {
        struct sub sub;
        sub_join(&bench, &sub, CAROL, MEMLANE_PLACE_WAIT,
                 check_below(&random, 2) ? MEMLANE_START_OLDEST : MEMLANE_START_NOW);
        uint64_t expected = memlane_subscriber_next(&sub.lanes[0]);
        for (uint64_t left = check_below(&random, 30); left > 0 && !ended;) {
            enum memlane_status status = get_one(&sub, 0, &s, &known);
            ended = status == MEMLANE_CLOSED;
            if (status == MEMLANE_EMPTY)
                pause_of(&tries);
            else if (!ended) {
                CHECK_EQUAL(MEMLANE_OK, status);
                CHECK_EQUAL(expected++, s);
                left--;
            }
        }
        CHECK(memlane_place_give(sub.place, sub.holder));
        if (memlane_ring_shutdown(&bench.topic.control->ring))
            ended = true;
    }
    return rounds;
}

static void run(void *(*const threads[])(void *), void *arguments[], size_t count) {
    pthread_t running[6];
    for (size_t i = 0; i < count; i++)
        CHECK_EQUAL(0, pthread_create(&running[i], NULL, threads[i], arguments ? arguments[i] : NULL));
    for (size_t i = 0; i < count; i++)
        CHECK_EQUAL(0, pthread_join(running[i], NULL));
}

TEST(one_that_is_waited_for_gets_everything_and_one_that_is_not_knows_what_it_lost_while_others_come_and_go) {
    static void *(*const threads[])(void *) = {publish, read_all, read_what_is_left, come_and_go};
    uint64_t rounds = 0;
    void *arguments[] = {NULL, NULL, NULL, &rounds};
    topic_new(&bench, 1, 1024, 32);
    atomic_store(&fulls, 0);
    sub_join(&bench, &waiting, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    sub_look(&bench, &overwritten);
    run(threads, arguments, 4);
    printf("  full %" PRIu64 " times, joined %" PRIu64 " times, lost %" PRIu64 "\n", atomic_load(&fulls), rounds,
           overwritten.lanes[0].lost);
    CHECK(atomic_load(&fulls) > 0);
    topic_free(&bench);
}

/* ---- loans --------------------------------------------------------------------------------------- */

#define RELEASERS 2
#define HANDS 6 /* loans that wait at one releaser */

/* s + 1 of a loan, 0: nothing. A way from thread to thread that orders nothing else. */
static _Atomic uint64_t hands[RELEASERS][HANDS];
static _Atomic bool finished;

static void *borrow_all(void *unused) {
    int tries = 0;
    for (uint64_t expected = 0;; expected++) {
        struct memlane_extent extent;
        uint64_t s;
        enum memlane_status status;
        while ((status = memlane_subscriber_peek(&borrower.lanes[0], &s, &extent)) == MEMLANE_EMPTY)
            pause_of(&tries);
        if (status == MEMLANE_CLOSED) {
            CHECK_EQUAL(RECORDS, expected);
            break;
        }
        CHECK_EQUAL(MEMLANE_OK, status);
        CHECK_EQUAL(expected, s);
        if (s % 4 == 0) { /* a get while loans are out */
            record_check(bench.lanes[0].bytes + extent.offset, extent.nbytes, s);
            memlane_subscriber_finish(&borrower.lanes[0], 1, memlane_occupied(extent.nbytes));
            continue;
        }
        CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_borrow(&borrower.lanes[0], 1));
        for (size_t i = s;; i++) {
            uint64_t nothing = 0;
            if (atomic_compare_exchange_strong_explicit(&hands[s % RELEASERS][i % HANDS], &nothing, s + 1,
                                                        memory_order_release, memory_order_relaxed))
                break;
            pause_of(&tries);
        }
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
            struct memlane_extent extent;
            CHECK_EQUAL(MEMLANE_OK, memlane_extent_of(&bench.lanes[0], loan - 1, &extent));
            record_check(bench.lanes[0].bytes + extent.offset, extent.nbytes, loan - 1);
            memlane_subscriber_release(&borrower.lanes[0], loan - 1);
        } else if (last)
            return NULL;
        else
            pause_of(&tries);
    }
}

TEST(the_position_passes_every_record_while_two_threads_release_loans_in_any_order) {
    static void *(*const threads[])(void *) = {publish, borrow_all, release_in_any_order, release_in_any_order,
                                               read_all};
    static size_t indices[RELEASERS] = {0, 1};
    void *arguments[] = {NULL, NULL, &indices[0], &indices[1], NULL};
    topic_new(&bench, 1, 1024, 16);
    sub_join(&bench, &borrower, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    sub_join(&bench, &waiting, BOB, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    atomic_store(&finished, false);
    run(threads, arguments, 5);
    CHECK_EQUAL(RECORDS, sub_position(&borrower, 0));
    CHECK_EQUAL(0, atomic_load(&borrower.lanes[0].loans) + memlane_place_loans(borrower.place, 0));
    topic_free(&bench);
}

/* ---- eviction ------------------------------------------------------------------------------------ */

static uint64_t evictions;

static void join_impatient(enum memlane_topic_start start, uint64_t s) {
    sub_take(&bench, &impatient, DAVE);
    memlane_place_ask_eviction(impatient.place, 2);
    sub_start(&bench, &impatient, start, s);
}

/* Is evicted again and again, and goes on where it was. */
static void *read_between_evictions(void *unused) {
    uint64_t s, known, got = 0, gone = 0;
    int tries = 0;
    for (;;) {
        enum memlane_status status = get_one(&impatient, 0, &s, &known);
        if (status == MEMLANE_CLOSED)
            break;
        if (status == MEMLANE_EVICTED) {
            CHECK(memlane_place_give(impatient.place, memlane_holder_in(impatient.holder, MEMLANE_PLACE_EVICTED)));
            evictions++;
            join_impatient(MEMLANE_START_AT, memlane_subscriber_next(&impatient.lanes[0]));
            gone += sub_show(&bench, &impatient, MEMLANE_PLACE_WAIT);
        } else if (status == MEMLANE_EMPTY)
            pause_of(&tries);
        else {
            CHECK_EQUAL(MEMLANE_OK, status);
            CHECK_EQUAL(got + gone, s);
            got++;
        }
        if (s % 512 == 300) /* stands still until it is evicted, or the publisher has come to its end */
            while (memlane_subscriber_verdict(&impatient.lanes[0]) == MEMLANE_OK &&
                   !memlane_ring_shutdown(&bench.topic.control->ring))
                pause_of(&tries);
    }
    CHECK_EQUAL(RECORDS, got + gone);
    return unused;
}

TEST(one_that_is_evicted_again_and_again_takes_nothing_torn_and_knows_what_is_gone) {
    static void *(*const threads[])(void *) = {publish, read_between_evictions, read_what_is_left};
    topic_new(&bench, 1, 1024, 32);
    evictions = 0;
    join_impatient(MEMLANE_START_NOW, 0);
    sub_show(&bench, &impatient, MEMLANE_PLACE_WAIT);
    sub_look(&bench, &overwritten);
    run(threads, NULL, 3);
    printf("  evicted %" PRIu64 " times\n", evictions);
    CHECK(evictions > 0);
    topic_free(&bench);
}

/* ---- order="all" --------------------------------------------------------------------------------- */

static _Atomic uint64_t ended[2]; /* records of each publisher whose publish has ended */

static void *publish_in_order(void *index) {
    const uint32_t me = *(const uint32_t *)index;
    unsigned char bytes[NBYTES_MAX];
    int tries = 0;
    for (uint64_t s = 0; s != RECORDS; s++) {
        record_write(bytes, s, atomic_load_explicit(&ended[1 - me], memory_order_acquire));
        enum memlane_status status;
        while ((status = memlane_publisher_put(&bench.publishers[me], bytes, nbytes_of(s))) == MEMLANE_FULL)
            pause_of(&tries);
        CHECK_EQUAL(MEMLANE_OK, status);
        atomic_store_explicit(&ended[me], s + 1, memory_order_release);
        if (s % 16 == 0)
            sched_yield();
    }
    return NULL;
}

static void *read_in_order(void *unused) {
    static struct memlane_order_front fronts[BENCH_LANES];
    uint64_t got[2] = {0, 0}, s, known;
    int tries = 0;
    memset(fronts, 0, sizeof fronts);
    while (got[0] != RECORDS || got[1] != RECORDS) {
        uint32_t lane;
        if (memlane_order_next(fronts, &bench.topic.control->ring, 2, memlane_subscriber_number, waiting.lanes,
                               &lane) == MEMLANE_EMPTY) {
            pause_of(&tries);
            continue;
        }
        fronts[lane].known = false;
        CHECK_EQUAL(MEMLANE_OK, get_one(&waiting, lane, &s, &known));
        CHECK_EQUAL(got[lane]++, s);
        CHECK(got[1 - lane] >= known); /* all that had ended before this one began */
    }
    return unused;
}

TEST(a_record_whose_publish_had_ended_before_another_one_began_comes_first) {
    static void *(*const threads[])(void *) = {publish_in_order, publish_in_order, read_in_order};
    static uint32_t indices[2] = {0, 1};
    void *arguments[] = {&indices[0], &indices[1], NULL};
    topic_new_at(&bench, 2, 1024, 32, true, 0);
    sub_join(&bench, &waiting, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
    run(threads, arguments, 3);
    topic_free(&bench);
}

MAIN
