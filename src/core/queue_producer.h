/* SPDX-License-Identifier: MIT
 *
 * The producer of a lane of a queue: claim, copy, number, commit.
 *
 * It is that of a lane of competing consumers (lane_producer.h), but that each record has its number in front (queue_order.h).
 * The number is taken behind the claim and before the commit.
 */
#ifndef MEMLANE_QUEUE_PRODUCER_H
#define MEMLANE_QUEUE_PRODUCER_H

#include "core/queue_order.h"

/* The private state of the producer of one lane. */
struct memlane_queue_producer {
    struct memlane_producer producer;
    struct memlane_queue_control *control;
    uint32_t lanes; /* of the queue */
    uint32_t lane; /* which one of them is ours */
};

/* The longest record. Callers: anyone. Progress: wait-free. Ordering: none. Returns: bytes. */
static inline uint64_t memlane_queue_max_record(const struct memlane_lane *lane) {
    return memlane_max_record(lane) - MEMLANE_ORDER_NBYTES;
}

/* Where the payload of a claim goes. Callers: the producer. Progress: wait-free. Ordering: none. Returns: the address. */
static inline unsigned char *memlane_queue_payload(const struct memlane_queue_producer *queue, uint64_t offset) {
    return queue->producer.lane.bytes + offset + MEMLANE_ORDER_NBYTES;
}

/* Take up a lane, a fresh one or one with the backlog of a dead or departed producer.
 * Callers: a process that has just become its owner; all but what memlane_producer_adopt sets is set. May be repeated:
 * dying in it is harmless. Progress, Ordering, Returns: as memlane_producer_adopt. */
static inline enum memlane_status memlane_queue_adopt(struct memlane_queue_producer *queue) {
    enum memlane_status status = memlane_producer_adopt(&queue->producer);
    if (status == MEMLANE_OK)
        memlane_ring_raise_leased(&queue->control->ring, queue->lane + 1);
    return status;
}

/* Claim room for one record: its payload may be written to memlane_queue_payload from now on, by memlane_words_fill where
 * another process may still look at a number there.
 * Callers, Progress, Ordering, Returns: as memlane_producer_claim.
 * If the producer dies with a claim: nothing has happened. */
static inline enum memlane_status memlane_queue_claim(struct memlane_queue_producer *queue, uint64_t nbytes,
                                                      uint64_t *offset) {
    if (nbytes > memlane_queue_max_record(&queue->producer.lane))
        return MEMLANE_TOO_LARGE;
    enum memlane_status status = memlane_producer_claim(&queue->producer, nbytes + MEMLANE_ORDER_NBYTES, offset);
    /* sync: queue.number. release fence: behind the look that found this room free, and before anything is written into it.
     * A consumer that still reads the number of a record that was here sees that it was taken. Pairs with
     * memlane_queue_number_of. */
    atomic_thread_fence(memory_order_release);
    return status;
}

/* Commit the claimed record at `offset` with its first `nbytes` bytes (no more than were claimed).
 * Callers, Progress, Ordering, Returns: as memlane_producer_commit.
 * If the producer dies inside: the record is there or it is not; a number may be missing. */
static inline enum memlane_status memlane_queue_commit(struct memlane_queue_producer *queue, uint64_t offset,
                                                       uint64_t nbytes) {
    uint64_t apart;
    memlane_order_store(queue->producer.lane.bytes + offset,
                        memlane_queue_number(queue->control, queue->lanes, 1, &apart));
    return memlane_producer_commit(&queue->producer, offset, nbytes + MEMLANE_ORDER_NBYTES);
}

/* Copy one record in: claim, copy, commit.
 * Callers: the producer. Progress, Ordering, Returns: as claim and commit. */
static inline enum memlane_status memlane_queue_put(struct memlane_queue_producer *queue, const void *record,
                                                    size_t nbytes) {
    uint64_t offset;
    enum memlane_status status = memlane_queue_claim(queue, nbytes, &offset);
    if (status != MEMLANE_OK)
        return status;
    memlane_words_fill(memlane_queue_payload(queue, offset), record, nbytes);
    return memlane_queue_commit(queue, offset, nbytes);
}

#endif
