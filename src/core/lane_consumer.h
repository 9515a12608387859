/* SPDX-License-Identifier: MIT
 *
 * The half of a ring's one consumer (lane.h has the picture): look, copy, move `head`; loans; the end of a lane.
 *
 * A consumer that dies between two stores has moved `head`, or the record is handed out again.
 */
#ifndef MEMLANE_LANE_CONSUMER_H
#define MEMLANE_LANE_CONSUMER_H

#include "core/lane.h"
#include "core/ownership.h"

/* The consumer's private state for one lane. */
struct memlane_consumer {
    struct memlane_lane lane;
    /* relaxed everywhere: stored under the consumer's lock; another thread's unlocked peek is checked again */
    _Atomic uint64_t next;
    _Atomic uint64_t loans; /* records borrowed and not yet behind `head` */
    uint64_t freed_nbytes; /* since the producer was last woken */
    uint64_t freed_records;
};

/* Begin where the last consumer ended: the records that it held are delivered again.
 * Callers: a process that has just taken the role. Progress: wait-free. Ordering: acquire. Returns: nothing. */
static inline void memlane_consumer_start(struct memlane_consumer *consumer) {
    /* sync: lane.head. acquire: pairs with the stores of the consumer before us */
    uint64_t head = atomic_load_explicit(&consumer->lane.control->head, memory_order_acquire);
    atomic_store_explicit(&consumer->next, head, memory_order_relaxed); /* relaxed: see the field */
    atomic_store_explicit(&consumer->loans, 0, memory_order_relaxed); /* relaxed: nobody shares it yet */
    consumer->freed_nbytes = 0;
    consumer->freed_records = 0;
}

/* Move `head` over released records.
 *
 * Callers:  anyone of the consuming process; needs no lock.
 * Progress: lock-free, bounded by the number of descriptors.
 * Ordering: the caller has a full fence between its mark and this.
 * Returns:  nothing. */
static inline void memlane_consumer_advance(const struct memlane_lane *lane) {
    /* sync: lane.head. acquire: pairs with the CAS below by another thread */
    uint64_t head = atomic_load_explicit(&lane->control->head, memory_order_acquire);
    for (uint64_t steps = 0; steps <= lane->mask; steps++) {
        /* sync: descriptor.state (free). seq_cst: after the caller's fence. Two threads that release
         * neighbors each mark, fence and look: at least one of them sees both marks. Without the fence
         * head would stop between them for good. Pairs with the mark in memlane_consumer_release. */
        if (atomic_load_explicit(&memlane_descriptor_of(lane, head)->state, memory_order_seq_cst) !=
            memlane_state(head, MEMLANE_STATE_FREE))
            return;
        /* sync: lane.head. seq_cst: a release, our reads of the payload are over before the producer may
         * reuse it; pairs with memlane_producer_refresh. On failure another thread moved it: go on there. */
        if (atomic_compare_exchange_strong_explicit(&lane->control->head, &head, head + 1, memory_order_seq_cst,
                                                    memory_order_acquire))
            head += 1;
    }
}

/* Mark a record as released. Returns: true; false: it was not READY, so not ours to release. */
static inline bool memlane_consumer_mark(const struct memlane_lane *lane, uint64_t s) {
    uint64_t ready = memlane_state(s, MEMLANE_STATE_READY);
    /* sync: descriptor.state (free). seq_cst: a release, our reads of the payload come before; see
     * memlane_consumer_advance. Failure relaxed: nothing was done. */
    bool marked = atomic_compare_exchange_strong_explicit(&memlane_descriptor_of(lane, s)->state, &ready,
                                                          memlane_state(s, MEMLANE_STATE_FREE), memory_order_seq_cst,
                                                          memory_order_relaxed);
    /* full fence: a CAS alone is none on every processor */
    atomic_thread_fence(memory_order_seq_cst);
    return marked;
}

/* Look at the next record without changing anything.
 *
 * Callers:  any thread of the consuming process; without the lock the answer is a guess.
 * Progress: wait-free.
 * Ordering: on MEMLANE_OK the payload may be read.
 * Returns:  MEMLANE_OK, *s and *extent; MEMLANE_EMPTY; MEMLANE_CLOSED; MEMLANE_BUSY, memlane_consumer_skip
 *           is due; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_consumer_peek(const struct memlane_consumer *consumer, uint64_t *s,
                                                        struct memlane_extent *extent) {
    uint64_t next = atomic_load_explicit(&consumer->next, memory_order_relaxed); /* relaxed: see the field */
    /* sync: descriptor.state. acquire: payload and extent of a READY record are visible. Pairs with
     * memlane_producer_publish; without it we could copy the bytes of the round before. */
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(&consumer->lane, next)->state, memory_order_acquire);
    *s = next;
    if (state == memlane_state(next, MEMLANE_STATE_READY))
        return memlane_extent_of(&consumer->lane, next, extent);
    if (state == memlane_state(next, MEMLANE_STATE_CLOSED))
        return MEMLANE_CLOSED;
    if (state == memlane_state(next, MEMLANE_STATE_FREE))
        return MEMLANE_BUSY;
    return MEMLANE_EMPTY;
}

/* Whether record s, which was peeked at before, is still the next one: then nobody of this process has taken it.
 * Callers: the consumer. Progress: wait-free. Ordering: none. Returns: true: still. */
static inline bool memlane_consumer_is_at(const struct memlane_consumer *consumer, uint64_t s) {
    return atomic_load_explicit(&consumer->next, memory_order_relaxed) == s; /* relaxed: see the field */
}

/* The number of the record to be taken next. Callers: any thread of the consuming process, as a snapshot. Progress:
 * wait-free. Ordering: none. Returns: the number. */
static inline uint64_t memlane_consumer_next(const struct memlane_consumer *consumer) {
    return atomic_load_explicit(&consumer->next, memory_order_relaxed); /* relaxed: see the field */
}

/* How many records are on loan. Callers: any thread of the consuming process, as a snapshot. Progress: wait-free.
 * Ordering: none. Returns: the number. */
static inline uint64_t memlane_consumer_loans(const struct memlane_consumer *consumer) {
    return atomic_load_explicit(&consumer->loans, memory_order_relaxed); /* relaxed: for people */
}

/* Look at up to `most` records for a batch: one that was peeked at, and behind it up to `most_nbytes` of them all. A
 * call that takes no more than that looks no further.
 * Callers: as memlane_consumer_peek, which has just found `first` at `s`. Progress: bounded by `most`. Ordering: as
 * there.
 * Returns: how many extents were filled in: those of records that follow each other. */
static inline size_t memlane_consumer_look_on(const struct memlane_consumer *consumer, uint64_t s,
                                              const struct memlane_extent *first, size_t most, uint64_t most_nbytes,
                                              struct memlane_extent *extents) {
    /* copies: for all that the compiler knows, an extent that is stored changes what a pointer leads to */
    const struct memlane_lane lane = consumer->lane;
    uint64_t nbytes = first->nbytes;
    size_t count = 1;
    extents[0] = *first;
    for (; count < most; count++) {
        uint64_t next = s + count;
        /* sync: descriptor.state. acquire: as in memlane_consumer_peek. The one before was READY, so nothing
         * staged and uncommitted is met here. */
        if (atomic_load_explicit(&memlane_descriptor_of(&lane, next)->state, memory_order_acquire) !=
                memlane_state(next, MEMLANE_STATE_READY) ||
            memlane_extent_of(&lane, next, &extents[count]) != MEMLANE_OK ||
            (nbytes += extents[count].nbytes) > most_nbytes)
            break;
    }
    return count;
}

/* The first record from `s` on that was not released by a consumer before us.
 * Callers: the consumer, before anything in front of `s` is marked: `head` cannot pass it then, so no producer
 * reuses a descriptor that is looked at here. Progress: bounded by the number of descriptors.
 * Ordering: acquire. Returns: s to s + N. */
static inline uint64_t memlane_consumer_behind_free(const struct memlane_lane *lane, uint64_t s) {
    for (uint64_t steps = 0; steps <= lane->mask; steps++, s++)
        /* sync: descriptor.state (free). acquire: as in memlane_consumer_peek */
        if (atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_acquire) !=
            memlane_state(s, MEMLANE_STATE_FREE))
            break;
    return s;
}

/* Pass records that a consumer before us released out of order.
 * Callers: the consumer. Progress: bounded by the number of descriptors. Ordering: acquire.
 * Returns: nothing. */
static inline void memlane_consumer_skip(struct memlane_consumer *consumer) {
    const struct memlane_lane *lane = &consumer->lane;
    uint64_t next = atomic_load_explicit(&consumer->next, memory_order_relaxed); /* relaxed: see the field */
    /* relaxed: see the field */
    atomic_store_explicit(&consumer->next, memlane_consumer_behind_free(lane, next), memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst); /* as memlane_consumer_advance asks of its callers */
    memlane_consumer_advance(lane);
}

/* Whether something the hints know of is not what the states show: then the lane is corrupt.
 * `tail` is stored after the state it speaks of, so a tail beyond `next` means a committed record there.
 * Callers: the consumer, in the slow path, after it found nothing. Progress: wait-free.
 * Ordering: acquire. Returns: true: look once more, then call it corrupt. */
static inline bool memlane_consumer_overlooked(const struct memlane_consumer *consumer) {
    uint64_t next = atomic_load_explicit(&consumer->next, memory_order_relaxed); /* relaxed: see the field */
    /* sync: lane.tail. acquire: pairs with memlane_producer_hint */
    uint64_t tail = atomic_load_explicit(&consumer->lane.control->tail, memory_order_acquire);
    struct memlane_extent extent;
    uint64_t s;
    return (int64_t)(tail - next) > 0 && memlane_consumer_peek(consumer, &s, &extent) == MEMLANE_EMPTY;
}

/* Note that a record was freed; true once a quarter of the lane: then look for a waiting producer.
 * So consumers fence seldom, and a full lane is not refilled one record at a time. */
static inline bool memlane_consumer_freed(struct memlane_consumer *consumer, uint64_t records, uint64_t nbytes) {
    consumer->freed_records += records;
    consumer->freed_nbytes += nbytes;
    if (consumer->freed_records < (consumer->lane.records + 3) / 4 &&
        consumer->freed_nbytes < consumer->lane.capacity / 4)
        return false;
    consumer->freed_records = 0;
    consumer->freed_nbytes = 0;
    return true;
}

static inline void memlane_prefetch(const unsigned char *bytes, uint64_t nbytes) {
    for (uint64_t at = 0; at < nbytes && at < MEMLANE_PREFETCH_MAX; at += 64)
        __builtin_prefetch(bytes + at);
}

/* The extent of record s, only to have it prefetched. Returns: false: leave it alone. */
static inline bool memlane_lane_foresee(const struct memlane_lane *lane, uint64_t s, struct memlane_extent *extent) {
    /* relaxed: only a hint. What is not ready is left alone: its lines are the producer's, who is about to write them */
    return atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_relaxed) ==
               memlane_state(s, MEMLANE_STATE_READY) &&
           memlane_extent_of(lane, s, extent) == MEMLANE_OK;
}

/* Have the payload of record s fetched while the one before it is copied, if it is there already; behind a batch the
 * beginning of the next one, of as many records.
 * Callers: any consumer. Progress: wait-free. Ordering: none, nothing is decided by it. Returns: nothing. */
static inline void memlane_lane_prefetch(const struct memlane_lane *lane, uint64_t s, size_t count) {
    struct memlane_extent first, last;
    if (!memlane_lane_foresee(lane, s, &first))
        return;
    uint64_t nbytes = first.nbytes;
    if (count > 1 && nbytes < MEMLANE_PREFETCH_MAX && memlane_lane_foresee(lane, s + count - 1, &last) &&
        last.offset > first.offset)
        nbytes = last.offset + last.nbytes - first.offset;
    memlane_prefetch(lane->bytes + first.offset, nbytes);
}

/* Free `records` records from `next` on, which were copied out and occupied `nbytes`.
 *
 * Callers:  the consumer, which has seen its tag in the role word after the copy.
 * Progress: wait-free; bounded by `records` while loans are out.
 * Ordering: release: the copies are over before the producer may reuse the room.
 * Returns:  true: see memlane_consumer_freed. */
static inline bool memlane_consumer_finish(struct memlane_consumer *consumer, uint64_t records, uint64_t nbytes) {
    const struct memlane_lane *lane = &consumer->lane;
    uint64_t next = atomic_load_explicit(&consumer->next, memory_order_relaxed); /* relaxed: see the field */
    uint64_t end = next + records, after = end;
    /* sync: consumer.loans. acquire: pairs with the release in memlane_consumer_release; at 0 head is `next` */
    if (atomic_load_explicit(&consumer->loans, memory_order_acquire) == 0)
        /* sync: lane.head. release: pairs with memlane_producer_refresh. Without it the oldest record
         * could change while it is being copied out. */
        atomic_store_explicit(&lane->control->head, end, memory_order_release);
    else {
        /* before the marks: with them `head` may pass what a consumer before us released behind `end`, and a
         * `next` that is left there would wait for a number that has gone by */
        after = memlane_consumer_behind_free(lane, end);
        for (uint64_t s = next; s != end; s++)
            memlane_consumer_mark(lane, s);
        memlane_consumer_advance(lane);
    }
    atomic_store_explicit(&consumer->next, after, memory_order_relaxed); /* relaxed: see the field */
    return memlane_consumer_freed(consumer, records, nbytes);
}

/* Keep the record at `next` as a loan: it stays where it is until memlane_consumer_release.
 * Callers: the consumer, after memlane_consumer_peek. Progress: wait-free. Ordering: none.
 * Returns: nothing. */
static inline void memlane_consumer_borrow(struct memlane_consumer *consumer) {
    /* relaxed: the lock orders it before the next finish; releases only lower it */
    atomic_fetch_add_explicit(&consumer->loans, 1, memory_order_relaxed);
    uint64_t next = atomic_load_explicit(&consumer->next, memory_order_relaxed); /* relaxed: see the field */
    /* behind what a consumer before us released, as in memlane_consumer_finish; relaxed: see the field */
    atomic_store_explicit(&consumer->next, memlane_consumer_behind_free(&consumer->lane, next + 1),
                          memory_order_relaxed);
}

/* Give a borrowed record back, in any order, from any thread, without a lock.
 *
 * Callers:  the holder of the loan on record s, once.
 * Progress: lock-free, bounded by the number of descriptors.
 * Ordering: release of the payload; full fence, the caller may look at waiters.count next.
 * Returns:  nothing.
 * If the process dies inside: the mark was made or not; a successor skips it or hands it out again. */
static inline void memlane_consumer_release(struct memlane_consumer *consumer, uint64_t s) {
    memlane_consumer_mark(&consumer->lane, s);
    memlane_consumer_advance(&consumer->lane);
    /* sync: consumer.loans. release: our reads of the payload come before a get that finds no loans and stores
     * head past the record, which frees its room; pairs with memlane_consumer_finish. */
    atomic_fetch_sub_explicit(&consumer->loans, 1, memory_order_release);
}

/* The second look of a waiter: is there anything a get would act on?
 * Callers: the consumer, after memlane_waiters_announce. Progress: wait-free. Ordering: seq_cst.
 * Returns: true: do not sleep. */
static inline bool memlane_consumer_any(const struct memlane_consumer *consumer) {
    uint64_t next = atomic_load_explicit(&consumer->next, memory_order_relaxed); /* relaxed: see the field */
    /* sync: descriptor.state. seq_cst: after waiters.count was raised; pairs with memlane_producer_publish */
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(&consumer->lane, next)->state, memory_order_seq_cst);
    return state == memlane_state(next, MEMLANE_STATE_READY) || state == memlane_state(next, MEMLANE_STATE_FREE) ||
           state == memlane_state(next, MEMLANE_STATE_CLOSED);
}

/* Close the lane at the next record, once the shutdown flag is up and nothing fresh is there.
 *
 * Callers:  the consumer.
 * Progress: wait-free.
 * Ordering: seq_cst: decides the race with a commit under way.
 * Returns:  MEMLANE_CLOSED: no record will ever follow; MEMLANE_BUSY: a commit was faster, take it.
 * A lane that is full of our own loans has no free descriptor to mark; there the producer finds no room
 * before it looks at `head` again, and then it looks at the flag (docs/memory-model.md, ring_full_lane). */
static inline enum memlane_status memlane_consumer_close(struct memlane_consumer *consumer) {
    const struct memlane_lane *lane = &consumer->lane;
    uint64_t next = atomic_load_explicit(&consumer->next, memory_order_relaxed); /* relaxed: see the field */
    /* sync: lane.head. seq_cst: after the caller's look at the flag; pairs with memlane_producer_refresh */
    uint64_t head = atomic_load_explicit(&lane->control->head, memory_order_seq_cst);
    if (next - head > lane->mask)
        return MEMLANE_CLOSED;
    struct memlane_descriptor *descriptor = memlane_descriptor_of(lane, next);
    /* relaxed: only what the CAS expects */
    uint64_t found = atomic_load_explicit(&descriptor->state, memory_order_relaxed);
    if (found == memlane_state(next, MEMLANE_STATE_READY))
        return MEMLANE_BUSY;
    if (found == memlane_state(next, MEMLANE_STATE_CLOSED))
        return MEMLANE_CLOSED;
    /* sync: descriptor.state. acq_rel: against the CAS of memlane_producer_publish, one of the two wins */
    return atomic_compare_exchange_strong_explicit(&descriptor->state, &found,
                                                   memlane_state(next, MEMLANE_STATE_CLOSED), memory_order_acq_rel,
                                                   memory_order_relaxed)
               ? MEMLANE_CLOSED
               : MEMLANE_BUSY;
}

/* Free everything that is ready, unseen.
 * Callers: the consumer, after a shutdown that drops. Progress: bounded by the number of descriptors.
 * Ordering: as memlane_consumer_finish. Returns: nothing. */
static inline void memlane_consumer_drop(struct memlane_consumer *consumer) {
    struct memlane_extent extent;
    uint64_t s;
    for (uint64_t steps = 0; steps <= consumer->lane.mask; steps++) {
        enum memlane_status status = memlane_consumer_peek(consumer, &s, &extent);
        if (status == MEMLANE_BUSY)
            memlane_consumer_skip(consumer);
        else if (status == MEMLANE_OK || status == MEMLANE_CORRUPTED)
            memlane_consumer_finish(consumer, 1, 0);
        else
            return;
    }
}

#endif
