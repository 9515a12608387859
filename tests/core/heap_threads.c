/* SPDX-License-Identifier: MIT
 *
 * The heap under threads that allocate, send, receive and open, also by handles that nobody keeps: each byte that is
 * read follows from the life that was opened, a record in hand is never stale, and in the end everything is free.
 * The payload is read and written plainly, so the thread sanitizer sees whether a life was handed over in order.
 */
#include <pthread.h>
#include <sched.h>

#include "heap_fixture.h"

enum { THREADS = 4, BOARD = 8 };
#ifdef __SANITIZE_THREAD__
#define ROUNDS 6000
#else
#define ROUNDS 60000
#endif

static _Atomic uint64_t board[BOARD]; /* handles that anybody may find: generation and number of a block */
static _Atomic uint64_t stale, got, sent, received;

struct thread {
    pthread_t id;
    uint32_t tag;
    uint64_t random;
    struct memlane_producer producer;
    struct memlane_many many;
};

static uint64_t handle_of(const struct memlane_block *block) { return block->generation << 8 | block->number; }

static void check_and_drop(const struct thread *thread, const struct memlane_block *block) {
    check_life(block);
    (void)dropped(thread->tag, block);
}

static void send_one(struct thread *thread, const struct memlane_block *block) {
    const struct memlane_heap_process me = process(thread->tag);
    uint64_t offset = 0, what = 0, handle = handle_of(block);
    uint32_t which = 0;
    if (memlane_producer_claim(&thread->producer, 8, &offset) != MEMLANE_OK)
        return;
    if (memlane_transit_stage(&heap, &me, block->number, MEMLANE_TRANSIT_RECORD, HERE, thread->producer.next, &which,
                              &what) != MEMLANE_OK)
        return; /* another record has the only transit */
    memcpy(lane.bytes + offset, &handle, 8);
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_commit(&thread->producer, offset, 8));
    atomic_fetch_add(&sent, 1);
}

static void receive_one(struct thread *thread) {
    struct memlane_found found;
    struct memlane_extent extent;
    struct memlane_block handle, block;
    uint64_t word;
    if (memlane_many_look(&thread->many, &found) != MEMLANE_OK || !memlane_many_take(&lane, found.s, 1, thread->tag))
        return;
    CHECK_EQUAL(MEMLANE_OK, memlane_extent_of(&lane, found.s, &extent));
    memcpy(&word, lane.bytes + extent.offset, 8);
    handle.number = word & 255;
    handle.generation = word >> 8;
    enum memlane_status status;
    while ((status = opened(thread->tag, &handle, &block)) == MEMLANE_FULL) /* three words, four threads */
        sched_yield();
    CHECK_EQUAL(MEMLANE_OK, status);
    CHECK(memlane_many_free(&lane, found.s, thread->tag));
    check_and_drop(thread, &block);
    atomic_fetch_add(&received, 1);
}

static void *work(void *of) {
    struct thread *thread = of;
    struct memlane_block block, handle;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t at = check_below(&thread->random, BOARD);
        switch (check_below(&thread->random, 4)) {
        case 0:
            if (allocate(thread->tag, 1 + check_below(&thread->random, 2), &block) != MEMLANE_OK)
                break;
            block.payload_nbytes = 32; /* the first bytes are enough */
            fill(&block);
            memlane_heap_lay(&heap, &(struct memlane_heap_process){.tag = thread->tag}, block.number,
                             block.offset - heap.shape.bytes_offset,
                             (memlane_heap_descriptor(&heap, block.number)->extent >> 32) * 64, 32, 0);
            CHECK_EQUAL(MEMLANE_OK, memlane_heap_seal(&heap, block.number, block.generation));
            atomic_store(&board[at], handle_of(&block));
            if (thread->producer.tag == thread->tag)
                send_one(thread, &block);
            check_and_drop(thread, &block);
            break;
        case 1:
            receive_one(thread);
            break;
        default: {
            uint64_t word = atomic_load(&board[at]);
            handle.number = word & 255;
            handle.generation = word >> 8;
            if (word == 0)
                break;
            enum memlane_status status = opened(thread->tag, &handle, &block);
            if (status == MEMLANE_OK) {
                check_and_drop(thread, &block);
                atomic_fetch_add(&got, 1);
            } else
                atomic_fetch_add(&stale, 1);
        }
        }
    }
    return NULL;
}

TEST(whatever_is_opened_is_whole_and_everything_is_free_in_the_end) {
    static struct thread threads[THREADS];
    heap_new(6);
    CHECK(memlane_lane_lease(lane.control, MEMLANE_OWNER_NEVER, 2u << 10 | 0));
    for (uint32_t i = 0; i < THREADS; i++) {
        threads[i] = (struct thread){.tag = 2u << 10 | i, .random = i + 1, .many = {.lane = lane}};
        memlane_many_start(&threads[i].many);
    }
    threads[0].producer = (struct memlane_producer){.lane = lane, .ring = ring, .tag = threads[0].tag};
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_adopt(&threads[0].producer));
    for (uint32_t i = 0; i < THREADS; i++)
        CHECK_EQUAL(0, pthread_create(&threads[i].id, NULL, work, &threads[i]));
    for (uint32_t i = 0; i < THREADS; i++)
        CHECK_EQUAL(0, pthread_join(threads[i].id, NULL));
    while (memlane_lane_tail(&lane) != memlane_many_taken(&lane))
        receive_one(&threads[1]);
    /* A block whose last holder dropped it before its record was released is left to a collection. */
    for (uint32_t i = 0; i < heap.shape.blocks; i++) {
        (void)collected(i);
        CHECK_EQUAL(MEMLANE_BLOCK_FREE, kind_of(i));
    }
    CHECK_EQUAL(sent, received);
    CHECK(stale > 100 && got > 100 && received > 100);
    heap_free();
}

MAIN
