/* SPDX-License-Identifier: MIT
 *
 * A queue on the work bench: some lanes in private memory, a producer for each, consumers that are tags, of which a test
 * says which are dead.
 */
#ifndef MEMLANE_TESTS_QUEUE_FIXTURE_H
#define MEMLANE_TESTS_QUEUE_FIXTURE_H

#include "check.h"
#include "core/queue_producer.h"

#define QUEUE __attribute__((noinline, unused)) static

enum { ALICE = 0x401, BOB = 0x402, CAROL = 0x403, DAVE = 0x404 }; /* consumers; any tags will do */
enum { QUEUE_LANES = 4 };

struct queue_bench {
    struct memlane_queue_control *control;
    struct memlane_lane lanes[QUEUE_LANES];
    struct memlane_queue_producer producers[QUEUE_LANES];
    struct memlane_many many[QUEUE_LANES]; /* of one process, in whose name all consumers here look */
    uint32_t from; /* the lane to look at first: another one each time */
    struct memlane_queue_pass pass;
    bool dead[4]; /* which consumers are proven dead */
};

QUEUE void queue_free(struct queue_bench *queue) {
    for (uint32_t i = 0; i < QUEUE_LANES; i++) {
        free(queue->lanes[i].control);
        free(queue->lanes[i].descriptors);
        free(queue->lanes[i].bytes);
    }
    free(queue->control);
}

/* A queue whose lanes are not leased; their first record will be number `s`. */
QUEUE void queue_new_at(struct queue_bench *queue, uint64_t capacity, uint64_t records, uint64_t s) {
    uint64_t descriptors = 1;
    while (descriptors < records)
        descriptors *= 2;
    memset(queue, 0, sizeof *queue);
    queue->control = check_allocate(MEMLANE_LINE_PAIR, sizeof *queue->control);
    atomic_store(&queue->control->order, -UINT64_C(3)); /* numbers pass 2^64 soon */
    for (uint32_t i = 0; i < QUEUE_LANES; i++) {
        struct memlane_lane *lane = &queue->lanes[i];
        lane->control = check_allocate(MEMLANE_LINE_PAIR, sizeof *lane->control);
        lane->descriptors = check_allocate(16, descriptors * (sizeof *lane->descriptors + sizeof(uint64_t)));
        lane->bytes = check_allocate(8, capacity);
        lane->capacity = capacity;
        lane->records = records;
        lane->mask = descriptors - 1;
        lane->many = true;
        atomic_store(&lane->control->head, s);
        atomic_store(&lane->control->tail, s);
        atomic_store(&lane->control->taken, s);
        queue->many[i].lane = *lane;
        memlane_many_start(&queue->many[i]);
    }
}

QUEUE void queue_new(struct queue_bench *queue) { queue_new_at(queue, 128, 8, 0); }

/* Take a lane, also from another owner. */
QUEUE enum memlane_status queue_lease(struct queue_bench *queue, uint32_t lane) {
    struct memlane_queue_producer *producer = &queue->producers[lane];
    memset(producer, 0xa5, sizeof *producer);
    producer->control = queue->control;
    producer->lanes = QUEUE_LANES;
    producer->lane = lane;
    producer->producer.lane = queue->lanes[lane];
    producer->producer.ring = &queue->control->ring;
    producer->producer.tag = 0x701 + lane;
    atomic_store(&queue->lanes[lane].control->owner, producer->producer.tag);
    return memlane_queue_adopt(producer);
}

/* A letter, eight times: a record that says by itself whether it is torn. */
QUEUE enum memlane_status queue_put(struct queue_bench *queue, uint32_t lane, char letter) {
    char record[8];
    memset(record, letter, sizeof record);
    return memlane_queue_put(&queue->producers[lane], record, sizeof record);
}

QUEUE void queue_put_all(struct queue_bench *queue, uint32_t lane, const char *letters) {
    for (; *letters; letters++)
        CHECK_EQUAL(MEMLANE_OK, queue_put(queue, lane, *letters));
}

QUEUE char queue_letter(const struct queue_bench *queue, const struct memlane_queue_found *found) {
    const struct memlane_lane *lane = &queue->lanes[found->lane];
    struct memlane_extent extent;
    CHECK_EQUAL(MEMLANE_OK, memlane_extent_of(lane, found->record.s, &extent));
    CHECK_EQUAL(MEMLANE_ORDER_NBYTES + 8, extent.nbytes);
    char bytes[8];
    memlane_words_fetch(bytes, lane->bytes + extent.offset + MEMLANE_ORDER_NBYTES, 8);
    for (int i = 1; i < 8; i++)
        CHECK_EQUAL(bytes[0], bytes[i]);
    return bytes[0];
}

QUEUE bool queue_is_dead(void *of, uint32_t tag) {
    const struct queue_bench *queue = of;
    return tag >= ALICE && tag <= DAVE && queue->dead[tag - ALICE];
}

QUEUE enum memlane_status queue_next(struct queue_bench *queue, bool pass_is_due, struct memlane_queue_found *found) {
    queue->pass.is_due = pass_is_due;
    queue->pass.is_dead = pass_is_due ? queue_is_dead : NULL;
    queue->pass.judge = queue;
    queue->pass.steps = UINT64_MAX;
    return memlane_queue_next(queue->many, &queue->control->ring, QUEUE_LANES, queue->from++, &queue->pass, found);
}

/* Take the next record; what the dead had in hand is looked for where nothing else is there. */
QUEUE bool queue_take(struct queue_bench *queue, uint32_t tag, struct memlane_queue_found *found) {
    for (;;) {
        enum memlane_status status = queue_next(queue, false, found);
        if (status == MEMLANE_EMPTY || status == MEMLANE_CLOSED)
            status = queue_next(queue, true, found);
        if (status == MEMLANE_BUSY)
            continue;
        if (status != MEMLANE_OK)
            return false;
        if (memlane_queue_take(queue->many, found, tag))
            return true;
    }
}

/* Take and free: the letter; 0: there was none. */
QUEUE char queue_get(struct queue_bench *queue, uint32_t tag) {
    struct memlane_queue_found found;
    if (!queue_take(queue, tag, &found))
        return 0;
    char letter = queue_letter(queue, &found);
    CHECK(memlane_many_free(&queue->lanes[found.lane], found.record.s, tag));
    return letter;
}

QUEUE void queue_check_gets(struct queue_bench *queue, const char *letters) {
    for (; *letters; letters++)
        CHECK_EQUAL(*letters, queue_get(queue, BOB));
    CHECK_EQUAL(0, queue_get(queue, BOB));
}

#endif
