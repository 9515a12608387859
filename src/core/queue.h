/* SPDX-License-Identifier: MIT
 *
 * A put into a queue, and what a get gives back: the parts joined.
 *
 *   put   permit (queue_bound.h, where the queue is bounded)
 *         room   (queue_growth.h)  ->  MEMLANE_GROW: the caller reserves memory, and the same again
 *         copy, number (queue_order.h), commit (lane_producer.h)
 *   get   number, claim, copy, free (queue_order.h); now and then memory is given back (queue_growth.h)
 *
 * Nothing here makes a system call. What has to be reserved or given back is said in bytes of a lane, from its first
 * descriptor on.
 *
 * If a process dies at the worst moment: each part says so for itself. A permit that was taken belongs to the lane, and the
 * next owner of the lane returns it.
 */
#ifndef MEMLANE_QUEUE_H
#define MEMLANE_QUEUE_H

#include "core/queue_bound.h"
#include "core/queue_growth.h"
#include "core/queue_producer.h"
#include "core/queue_tasks.h"
#include "core/queue_turns.h"

/* Free bytes in a lane from which on they are given back. Less goes round in a lane through which records flow. Arbitrary:
 * twice MEMLANE_GROWTH_SOFT. */
#define MEMLANE_QUEUE_SPARE (UINT64_C(1) << 20)
/* Of records that are not small less is given back once in some slices: or each record would have fresh pages where a producer is a few records ahead. So many records, within the two bounds of bytes. Arbitrary: as far as queues let a
 * producer go ahead. */
#define MEMLANE_QUEUE_SPARE_RECORDS UINT64_C(32)
#define MEMLANE_QUEUE_SPARE_LEAST (UINT64_C(1) << 26)
#define MEMLANE_QUEUE_SPARE_MOST (UINT64_C(1) << 28)
/* Records that are not small: fresh pages cost more than looking at a clock. Arbitrary. */
#define MEMLANE_QUEUE_SPARE_RECORD (UINT64_C(1) << 15)
/* Records of a lane that are looked at to find out. As many small ones fit into the spare bytes. */
#define MEMLANE_QUEUE_SPARE_LOOKS (UINT64_C(1) << 16)
/* Commits without a record in the bytes behind MEMLANE_GROWTH_SOFT, after which the producer gives those back. Arbitrary. */
#define MEMLANE_QUEUE_SURPLUS_RECORDS UINT64_C(256)

/* The private state of what puts into one lane. */
struct memlane_queue_sender {
    struct memlane_queue_producer queue;
    struct memlane_growth growth;
    struct memlane_bound bound; /* without a use where `maxsize` is 0 */
    uint64_t wide; /* the number of the last record behind the soft end of the lane */
};

/* Take up a lane: its memory, records, permits.
 * Callers: a process that has just become its owner; `queue` but for what memlane_producer_adopt sets, `growth.shared`,
 * `growth.bytes_offset`, `growth.soft`, and what is fixed of `bound` are set. May be repeated: dying in it is harmless. The
 * caller looks at `putters` next, since permits may have been returned. Progress: bounded by the number of descriptors.
 * Ordering, Returns: as memlane_producer_adopt. */
static inline enum memlane_status memlane_queue_take_up(struct memlane_queue_sender *sender) {
    struct memlane_producer *producer = &sender->queue.producer;
    memlane_growth_adopt(&sender->growth, &producer->lane);
    enum memlane_status status = memlane_queue_adopt(&sender->queue);
    if (status != MEMLANE_OK)
        return status;
    memlane_growth_begin(&sender->growth, producer);
    sender->wide = producer->next;
    return sender->bound.maxsize == 0 ? MEMLANE_OK : memlane_bound_adopt(&sender->bound, producer->next);
}

/* Have a permit, and room for one record behind `producer`, which is the sender's or a trial of a batch.
 * Returns: as memlane_queue_put. */
static inline enum memlane_status memlane_queue_find_room(struct memlane_queue_sender *sender,
                                                          struct memlane_producer *producer, uint64_t nbytes,
                                                          uint64_t *offset, struct memlane_wanted *wanted) {
    if (nbytes > memlane_queue_max_record(&producer->lane))
        return MEMLANE_TOO_LARGE;
    enum memlane_status status =
        memlane_growth_claim(&sender->growth, producer, nbytes + MEMLANE_ORDER_NBYTES, offset, wanted);
    /* sync: queue.number. release fence: as in memlane_queue_claim */
    atomic_thread_fence(memory_order_release);
    return status;
}

/* Returns: MEMLANE_OK; MEMLANE_BUSY: there is none; MEMLANE_CLOSED. */
static inline enum memlane_status memlane_queue_permit(struct memlane_queue_sender *sender, uint64_t wanted) {
    if (sender->bound.maxsize == 0 || sender->bound.in_hand != 0)
        return MEMLANE_OK;
    /* A queue that is full is closed by the flag alone. */
    if (memlane_ring_shutdown(sender->queue.producer.ring))
        return MEMLANE_CLOSED;
    return memlane_bound_take(&sender->bound, wanted) == MEMLANE_OK ? MEMLANE_OK : MEMLANE_BUSY;
}

/* Note that records were committed, the last of them at `offset`. */
static inline void memlane_queue_note(struct memlane_queue_sender *sender, uint64_t records) {
    const struct memlane_producer *producer = &sender->queue.producer;
    if (sender->bound.maxsize != 0)
        memlane_bound_use(&sender->bound, records);
    if (producer->write > sender->growth.soft)
        sender->wide = producer->next;
}

/* Claim room for one record, whose payload goes to memlane_queue_payload at *offset; memlane_queue_finish follows.
 *
 * Callers:  the producer, no other claim open.
 * Progress: lock-free, for the permit; else bounded.
 * Ordering: as memlane_queue_claim.
 * Returns:  MEMLANE_OK; MEMLANE_BUSY: the queue has as many records as it may have; MEMLANE_GROW: *wanted has to be reserved, then
 *           memlane_growth_got and the same again; MEMLANE_FULL: this lane cannot be larger; MEMLANE_TOO_LARGE, MEMLANE_CLOSED,
 *           MEMLANE_LOST, MEMLANE_CORRUPTED. Unless it goes on a permit may be in hand: memlane_queue_leave returns it.
 * If the producer dies inside: nothing was put. */
static inline enum memlane_status memlane_queue_begin(struct memlane_queue_sender *sender, uint64_t nbytes,
                                                      uint64_t *offset, struct memlane_wanted *wanted) {
    enum memlane_status status = memlane_queue_permit(sender, 1);
    return status != MEMLANE_OK ? status
                                : memlane_queue_find_room(sender, &sender->queue.producer, nbytes, offset, wanted);
}

/* Commit what memlane_queue_begin has claimed. Callers: the producer. Progress: wait-free. Ordering, Returns: as
 * memlane_queue_commit. */
static inline enum memlane_status memlane_queue_finish(struct memlane_queue_sender *sender, uint64_t offset,
                                                       uint64_t nbytes) {
    enum memlane_status status = memlane_queue_commit(&sender->queue, offset, nbytes);
    if (status == MEMLANE_OK)
        memlane_queue_note(sender, 1);
    return status;
}

/* Writes the payload of record `index` of a put. Runs between the claim and the commit. */
typedef void (*memlane_queue_fill)(void *of, size_t index, unsigned char *to);

/* Put records, as many as there is room and memory for at once; each batch becomes visible at once. A record is a span, or, where
 * that has no address, what `fill` writes, which is called with the index of the record, `begin` and more.
 *
 * Callers:  the producer, no claim open.
 * Progress: as memlane_queue_begin, for each.
 * Ordering: as memlane_queue_commit.
 * Returns:  MEMLANE_OK and *done, at least one; else none is in, and the first one could not go: as memlane_queue_begin.
 * If the producer dies inside: none is in; what was staged is voided by memlane_producer_adopt. */
static inline enum memlane_status memlane_queue_put_many(struct memlane_queue_sender *sender,
                                                         const struct memlane_span *records, size_t count,
                                                         memlane_queue_fill fill, void *of, size_t begin, size_t *done,
                                                         struct memlane_wanted *wanted) {
    struct memlane_producer *producer = &sender->queue.producer;
    *done = 0;
    enum memlane_status status = memlane_queue_permit(sender, count);
    if (status != MEMLANE_OK)
        return status;
    if (sender->bound.maxsize != 0 && count > sender->bound.in_hand)
        count = (size_t)sender->bound.in_hand;
    struct memlane_producer trial = *producer;
    const uint64_t first = producer->next;
    size_t staged = 0;
    for (; staged < count; staged++) {
        uint64_t offset;
        status = memlane_queue_find_room(sender, &trial, records[staged].nbytes, &offset, wanted);
        if (status != MEMLANE_OK)
            break;
        unsigned char *to = trial.lane.bytes + offset + MEMLANE_ORDER_NBYTES;
        if (records[staged].bytes)
            memlane_words_fill(to, records[staged].bytes, records[staged].nbytes);
        else
            fill(of, begin + staged, to);
        memlane_extent_store(&trial.lane, trial.next, offset, records[staged].nbytes + MEMLANE_ORDER_NBYTES);
        if (staged > 0)
            /* sync: descriptor.state. release: as in memlane_producer_put_many */
            atomic_store_explicit(&memlane_descriptor_of(&trial.lane, trial.next)->state,
                                  memlane_state(trial.next, MEMLANE_STATE_READY), memory_order_release);
        memlane_producer_step(&trial, offset, records[staged].nbytes + MEMLANE_ORDER_NBYTES);
    }
    if (staged == 0) {
        *producer = trial; /* what it saw of the consumers, and nothing else */
        return status;
    }
    if (!memlane_producer_owns(producer))
        return MEMLANE_LOST; /* and nothing is voided: what was staged may be the successor's records by now */
    uint64_t apart, number = memlane_queue_number(sender->queue.control, sender->queue.lanes, staged, &apart);
    for (size_t i = 0; i < staged; i++) {
        struct memlane_extent extent;
        if (memlane_extent_of(&trial.lane, first + i, &extent) != MEMLANE_OK) {
            memlane_lane_void(&trial.lane, first + 1, first + staged);
            return MEMLANE_CORRUPTED;
        }
        memlane_order_store(trial.lane.bytes + extent.offset, number + i * apart);
    }
    status = memlane_producer_publish(&trial.lane, first);
    if (status != MEMLANE_OK) {
        memlane_lane_void(&trial.lane, first + 1, first + staged);
        return status;
    }
    *producer = trial;
    memlane_producer_hint(producer);
    memlane_queue_note(sender, staged);
    *done = staged;
    return MEMLANE_OK;
}

/* What the producer gives back by itself, now that it has committed: see memlane_growth_surplus.
 * Callers: the producer, no claim open. Progress: wait-free. Ordering: none. Returns: true and *stretch. */
static inline bool memlane_queue_surplus(struct memlane_queue_sender *sender, struct memlane_stretch *stretch) {
    const struct memlane_producer *producer = &sender->queue.producer;
    return sender->growth.span > sender->growth.soft &&
           producer->next - sender->wide >= MEMLANE_QUEUE_SURPLUS_RECORDS &&
           memlane_growth_surplus(&sender->growth, producer, stretch);
}

/* The second look of a put that waits for its lane: MEMLANE_FULL was the answer, for want of room or of memory.
 * Callers: the producer, after memlane_waiters_announce at the lane. Progress: wait-free. Ordering: seq_cst. Returns: true: try
 * again before sleeping. */
static inline bool memlane_queue_any_room(const struct memlane_queue_sender *sender) {
    const struct memlane_producer *producer = &sender->queue.producer;
    /* sync: lane.head. seq_cst: after waiters.count was raised; a process that gives memory back has moved it */
    uint64_t head = atomic_load_explicit(&producer->lane.control->head, memory_order_seq_cst);
    if (head != producer->head || memlane_ring_shutdown(producer->ring))
        return true;
    /* sync: descriptor.state (free). seq_cst: the same; pairs with memlane_many_free */
    return head != producer->next &&
           atomic_load_explicit(&memlane_descriptor_of(&producer->lane, head)->state, memory_order_seq_cst) ==
               memlane_state(head, MEMLANE_STATE_FREE);
}

/* Return permits that are not used. Callers: the producer, no claim open. Progress: wait-free. Ordering: seq_cst. Returns: true:
 * look for those that wait for a permit. */
static inline bool memlane_queue_leave(struct memlane_queue_sender *sender) {
    if (sender->bound.maxsize == 0 || sender->bound.in_hand == 0)
        return false;
    memlane_bound_return(&sender->bound);
    return true;
}

#endif
