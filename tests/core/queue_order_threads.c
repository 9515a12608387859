/* SPDX-License-Identifier: MIT
 *
 * The order of all with threads: producers that tell each other how far they are, and consumers that check what they get
 * against that.
 *
 * A record bears how many records of each producer had been put when it was begun. A consumer that has got it must never
 * again get one of those.
 */
#include <pthread.h>
#include <sched.h>

#include "queue_fixture.h"

enum { PRODUCERS = 3, CONSUMERS = 2, RECORDS = 20000 };

struct record {
    uint64_t producer, sequence, known[PRODUCERS];
};

static struct queue_bench queue;
static _Atomic uint64_t ended[PRODUCERS]; /* records that were put by each */
static _Atomic uint64_t got;
static _Atomic unsigned char seen[PRODUCERS][RECORDS];

static void *produce(void *of) {
    uint64_t me = (uint64_t)(uintptr_t)of;
    CHECK_EQUAL(MEMLANE_OK, queue_lease(&queue, (uint32_t)me));
    for (uint64_t sequence = 0; sequence < RECORDS; sequence++) {
        struct record record = {.producer = me, .sequence = sequence};
        for (int i = 0; i < PRODUCERS; i++)
            record.known[i] = atomic_load(&ended[i]);
        enum memlane_status status;
        while ((status = memlane_queue_put(&queue.producers[me], &record, sizeof record)) == MEMLANE_FULL)
            sched_yield();
        CHECK_EQUAL(MEMLANE_OK, status);
        atomic_store(&ended[me], sequence + 1);
    }
    return NULL;
}

static void *consume(void *of) {
    uint32_t tag = ALICE + (uint32_t)(uintptr_t)of, from = 0;
    uint64_t behind[PRODUCERS] = {0};
    struct memlane_queue_pass pass = {0};
    while (atomic_load(&got) < PRODUCERS * RECORDS) {
        struct memlane_queue_found found;
        struct memlane_extent extent;
        struct record record;
        enum memlane_status status =
            memlane_queue_next(queue.many, &queue.control->ring, QUEUE_LANES, from, &pass, &found);
        if (status == MEMLANE_EMPTY)
            sched_yield();
        if (status == MEMLANE_EMPTY || status == MEMLANE_BUSY)
            continue;
        CHECK_EQUAL(MEMLANE_OK, status);
        if (!memlane_queue_take(queue.many, &found, tag))
            continue;
        const struct memlane_lane *lane = &queue.lanes[found.lane];
        CHECK_EQUAL(MEMLANE_OK, memlane_extent_of(lane, found.record.s, &extent));
        CHECK_EQUAL(MEMLANE_ORDER_NBYTES + sizeof record, extent.nbytes);
        memlane_words_fetch(&record, lane->bytes + extent.offset + MEMLANE_ORDER_NBYTES, sizeof record);
        CHECK(memlane_many_free(lane, found.record.s, tag));
        from = found.lane;
        CHECK_EQUAL(found.lane, record.producer);
        CHECK_EQUAL(0, atomic_exchange(&seen[record.producer][record.sequence], 1));
        CHECK(record.sequence >= behind[record.producer]);
        for (int i = 0; i < PRODUCERS; i++)
            if (record.known[i] > behind[i])
                behind[i] = record.known[i];
        atomic_fetch_add(&got, 1);
    }
    return NULL;
}

static void run(uintptr_t consumers) {
    pthread_t threads[PRODUCERS + CONSUMERS];
    queue_new_at(&queue, 1 << 12, 32, 0);
    atomic_store(&got, 0);
    memset((void *)seen, 0, sizeof seen);
    for (int i = 0; i < PRODUCERS; i++)
        atomic_store(&ended[i], 0);
    for (uintptr_t i = 0; i < PRODUCERS; i++)
        CHECK_EQUAL(0, pthread_create(&threads[i], NULL, produce, (void *)i)); /* its lane is new: as it looks */
    for (uintptr_t i = 0; i < consumers; i++)
        CHECK_EQUAL(0, pthread_create(&threads[PRODUCERS + i], NULL, consume, (void *)i));
    for (uintptr_t i = 0; i < PRODUCERS + consumers; i++)
        CHECK_EQUAL(0, pthread_join(threads[i], NULL));
    queue_free(&queue);
}

TEST(one_consumer_never_gets_a_record_that_was_put_before_one_began_which_it_has_got) { run(1); }

TEST(nor_does_any_of_two_consumers_that_compete) { run(2); }

MAIN
