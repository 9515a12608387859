/* SPDX-License-Identifier: MIT
 *
 * The subscriber's half of a topic (topic.h has its picture): join, look, copy and check, fall behind, borrow, release.
 *
 *   join    take a place; for every lane start; show; for every lane settle      "overwrite" without a place: only start
 *   get     peek; memlane_words_fetch; check; finish                              a copy counts only after the check
 *   borrow  peek; borrow; read in place; release                                  "wait"; several share one record
 *           peek; finish; read in place; check                                    "overwrite": the end says if it was whole
 *   leave   memlane_place_give; with loans out memlane_place_turn to EVICTED, and give behind the last release
 *
 * If a subscriber dies at the worst moment: its place bears its tag. Nothing else of it is in shared memory.
 */
#ifndef MEMLANE_TOPIC_SUBSCRIBER_H
#define MEMLANE_TOPIC_SUBSCRIBER_H

#include "core/lane_order.h"
#include "core/topic.h"

/* A subscriber's private state for one lane. */
struct memlane_subscriber {
    struct memlane_lane lane;
    struct memlane_place *place; /* NULL: none, and "overwrite" */
    uint64_t holder; /* the word of the place while it is ours */
    uint32_t index; /* of the lane */
    bool waited_for; /* "wait" */
    bool ordered;
    /* A bit for each descriptor, set while the record there is on loan; the borrower provides it. */
    _Atomic uint64_t *lent;
    _Atomic uint64_t next; /* the record to read next */
    _Atomic uint64_t loans; /* of this lane, and not yet behind the position */
    uint64_t lost; /* overwritten before they were read */
    uint64_t freed_nbytes; /* since a publisher was last looked for */
    uint64_t freed_records;
};

enum memlane_topic_start { MEMLANE_START_NOW, MEMLANE_START_OLDEST, MEMLANE_START_LAST, MEMLANE_START_AT };

/* ---- position ----------------------------------------------------------------------------------- */

/* Tell publishers that everything before `position` has been read. */
static inline void memlane_subscriber_show(const struct memlane_subscriber *subscriber, uint64_t position) {
    if (subscriber->place)
        /* sync: cursor.position. release: our reads of what lies before are over; pairs with memlane_place_keeps. Without
         * it a record is overwritten while it is copied out. */
        atomic_store_explicit(&memlane_place_cursor(subscriber->place, subscriber->index)->position, position,
                              memory_order_release);
}

/* The record to be read next, which is the position to go on from later.
 * Callers: any thread of the subscriber, as a snapshot. Progress: wait-free. Ordering: none. Returns: the number. */
static inline uint64_t memlane_subscriber_next(const struct memlane_subscriber *subscriber) {
    /* relaxed: stored under the lock, or for people */
    return atomic_load_explicit(&subscriber->next, memory_order_relaxed);
}

/* How many records there are for it to get, as a snapshot: without those that were overwritten before it got them.
 * Callers: any thread of the subscriber. Progress: wait-free. Ordering: none. Returns: 0 to records. */
static inline uint64_t memlane_subscriber_lag(const struct memlane_subscriber *subscriber) {
    uint64_t next = memlane_subscriber_next(subscriber), tail = memlane_lane_tail(&subscriber->lane);
    /* relaxed: for people */
    uint64_t head = atomic_load_explicit(&subscriber->lane.control->head, memory_order_relaxed);
    if (!subscriber->waited_for && (int64_t)(head - next) > 0) /* what is kept for one may lie below `head` */
        next = head;
    if ((int64_t)(tail - next) < 0)
        return 0;
    return tail - next < subscriber->lane.records ? tail - next : subscriber->lane.records;
}

/* Begin at a record of one lane, which nobody needs to have leased: only its control is looked at then.
 * `s`: for MEMLANE_START_AT, where one left; for MEMLANE_START_LAST, how many of the last ones.
 *
 * Behind `tail` there may be what its publisher could not say any more, or not yet: a joiner that begins at the next
 * record must not get one that it, or any other, has got before.
 *
 * Callers:  a joiner, for every lane, before memlane_place_show; a reader that joins nothing.
 * Progress: bounded by the number of descriptors.
 * Ordering: acquire.
 * Returns:  MEMLANE_OK; MEMLANE_EMPTY: so many records were never published, and it begins at the next one. */
static inline enum memlane_status memlane_subscriber_start(struct memlane_subscriber *subscriber,
                                                           enum memlane_topic_start start, uint64_t s) {
    /* sync: lane.head. acquire: pairs with memlane_publisher_make_room */
    uint64_t head = atomic_load_explicit(&subscriber->lane.control->head, memory_order_acquire);
    /* sync: lane.tail. acquire: pairs with memlane_producer_hint */
    uint64_t tail = atomic_load_explicit(&subscriber->lane.control->tail, memory_order_acquire);
    const uint32_t owner = memlane_lane_owner(subscriber->lane.control);
    if (owner != MEMLANE_OWNER_NEVER && owner != MEMLANE_OWNER_CLOSED) /* else its memory may not be there */
        tail = memlane_lane_end(&subscriber->lane);
    enum memlane_status status = MEMLANE_OK;
    uint64_t length = (int64_t)(tail - head) > 0 ? tail - head : 0, next = tail;
    if (start == MEMLANE_START_OLDEST)
        next = head;
    else if (start == MEMLANE_START_LAST)
        next = tail - (s < length ? s : length);
    else if (start == MEMLANE_START_AT) {
        next = s;
        if ((int64_t)(s - tail) > 0) {
            next = tail;
            status = MEMLANE_EMPTY;
        }
    }
    atomic_store_explicit(&subscriber->next, next, memory_order_relaxed); /* relaxed: nobody shares it yet */
    atomic_store_explicit(&subscriber->loans, 0, memory_order_relaxed); /* relaxed: as above */
    subscriber->lost = subscriber->freed_nbytes = subscriber->freed_records = 0;
    if (subscriber->place)
        /* relaxed: memlane_place_show comes behind */
        atomic_store_explicit(&memlane_place_cursor(subscriber->place, subscriber->index)->loans, 0,
                              memory_order_relaxed);
    memlane_subscriber_show(subscriber, next);
    return status;
}

/* Move up to what had not been overwritten when the place was shown: from here on nothing is lost to one that is waited for.
 * Callers: a joiner, for every lane, after memlane_place_show. Progress: wait-free. Ordering: acquire, behind its fence.
 * Returns: how many records from the start on were gone. */
static inline uint64_t memlane_subscriber_settle(struct memlane_subscriber *subscriber) {
    /* sync: lane.head. seq_cst: behind the fence in memlane_place_show; pairs with memlane_publisher_make_room */
    uint64_t head = atomic_load_explicit(&subscriber->lane.control->head, memory_order_seq_cst);
    uint64_t next = memlane_subscriber_next(subscriber);
    if ((int64_t)(head - next) <= 0)
        return 0;
    atomic_store_explicit(&subscriber->next, head, memory_order_relaxed); /* relaxed: nobody shares it yet */
    memlane_subscriber_show(subscriber, head);
    return head - next;
}

/* ---- looking and copying ------------------------------------------------------------------------- */

/* Why the place is not ours any more. */
static inline enum memlane_status memlane_subscriber_verdict(const struct memlane_subscriber *subscriber) {
    uint64_t holder = memlane_place_holder(subscriber->place);
    if (holder == subscriber->holder)
        return MEMLANE_OK;
    return holder == memlane_holder_in(subscriber->holder, MEMLANE_PLACE_EVICTED) ? MEMLANE_EVICTED : MEMLANE_LOST;
}

/* Look at the next record without changing anything.
 *
 * Callers:  the subscriber.
 * Progress: wait-free.
 * Ordering: on MEMLANE_OK the payload may be read; what was read counts after memlane_subscriber_check.
 * Returns:  MEMLANE_OK, *s and *extent; MEMLANE_EMPTY; MEMLANE_CLOSED: the lane has ended; MEMLANE_LAPPED:
 *           memlane_subscriber_catch_up is due; MEMLANE_EVICTED; MEMLANE_LOST; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_subscriber_peek(const struct memlane_subscriber *subscriber, uint64_t *s,
                                                          struct memlane_extent *extent) {
    const struct memlane_lane *lane = &subscriber->lane;
    *s = memlane_subscriber_next(subscriber);
    /* sync: descriptor.state. acquire: payload and extent of a READY record are visible; pairs with
     * memlane_producer_publish */
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, *s)->state, memory_order_acquire);
    if (state == memlane_state(*s, MEMLANE_STATE_READY)) {
        enum memlane_status status = memlane_extent_of(lane, *s, extent);
        if (subscriber->ordered && status == MEMLANE_OK) {
            if (extent->nbytes < MEMLANE_ORDER_NBYTES)
                status = MEMLANE_CORRUPTED;
            extent->offset += MEMLANE_ORDER_NBYTES;
            extent->nbytes -= MEMLANE_ORDER_NBYTES;
        }
        if (status == MEMLANE_OK)
            return MEMLANE_OK;
        /* It may be that of a later record: then this one is gone, or we are. */
    } else if (state == memlane_state(*s, MEMLANE_STATE_CLOSED))
        return MEMLANE_CLOSED;
    bool ready = state == memlane_state(*s, MEMLANE_STATE_READY);
    if (subscriber->waited_for) {
        enum memlane_status verdict = memlane_subscriber_verdict(subscriber);
        return verdict != MEMLANE_OK ? verdict : ready ? MEMLANE_CORRUPTED : MEMLANE_EMPTY;
    }
    /* sync: lane.head. acquire fence: an extent of a later record was loaded before this look; pairs with the fence in
     * memlane_publisher_make_room */
    atomic_thread_fence(memory_order_acquire);
    /* relaxed: the fence has done the ordering */
    if ((int64_t)(atomic_load_explicit(&lane->control->head, memory_order_relaxed) - *s) > 0)
        return MEMLANE_LAPPED;
    return ready ? MEMLANE_CORRUPTED : MEMLANE_EMPTY;
}

/* Look at up to `most` records for a batch, as memlane_consumer_look_on does.
 * Callers: the subscriber, which has just found `first` at `s`. Progress: bounded by `most`. Ordering: as
 * memlane_subscriber_peek. Returns: how many extents were filled in: those of records that follow each other. */
static inline size_t memlane_subscriber_look_on(const struct memlane_subscriber *subscriber, uint64_t s,
                                                const struct memlane_extent *first, size_t most, uint64_t most_nbytes,
                                                struct memlane_extent *extents) {
    const struct memlane_lane lane = subscriber->lane;
    const uint64_t front = subscriber->ordered ? MEMLANE_ORDER_NBYTES : 0;
    uint64_t nbytes = first->nbytes;
    size_t count = 1;
    extents[0] = *first;
    for (; count < most; count++) {
        uint64_t next = s + count;
        /* sync: descriptor.state. acquire: as in memlane_subscriber_peek. The one before was READY, so nothing staged and
         * uncommitted is met here. */
        if (atomic_load_explicit(&memlane_descriptor_of(&lane, next)->state, memory_order_acquire) !=
                memlane_state(next, MEMLANE_STATE_READY) ||
            memlane_extent_of(&lane, next, &extents[count]) != MEMLANE_OK || extents[count].nbytes < front)
            break;
        extents[count].offset += front;
        extents[count].nbytes -= front;
        if ((nbytes += extents[count].nbytes) > most_nbytes)
            break;
    }
    return count;
}

/* Whether what was read of record s, and of those behind it, is what was published.
 *
 * Callers:  the subscriber, after it copied; the end of a loan under "overwrite".
 * Progress: wait-free.
 * Ordering: acquire fence.
 * Returns:  MEMLANE_OK; MEMLANE_LAPPED, MEMLANE_EVICTED, MEMLANE_LOST: it may be anything. */
static inline enum memlane_status memlane_subscriber_check(const struct memlane_subscriber *subscriber, uint64_t s) {
    /* sync: lane.head. sync: place.holder. acquire fence: all was read before this look. Pairs with the fence in
     * memlane_publisher_make_room and the release fence in memlane_publisher_scan. Without it a torn record could pass. */
    atomic_thread_fence(memory_order_acquire);
    if (subscriber->waited_for) /* `head` may have passed what is kept for us */
        return memlane_subscriber_verdict(subscriber);
    /* relaxed: the fence has done the ordering */
    uint64_t head = atomic_load_explicit(&subscriber->lane.control->head, memory_order_relaxed);
    return (int64_t)(head - s) > 0 ? MEMLANE_LAPPED : MEMLANE_OK;
}

/* Go on behind what was overwritten: half way between the oldest record and the youngest, so that one that is overtaken
 * for ever still gets data.
 * Callers: the subscriber, after MEMLANE_LAPPED. Progress: wait-free. Ordering: acquire. Returns: how many were lost. */
static inline uint64_t memlane_subscriber_catch_up(struct memlane_subscriber *subscriber) {
    /* sync: lane.head. acquire: pairs with memlane_publisher_make_room */
    uint64_t head = atomic_load_explicit(&subscriber->lane.control->head, memory_order_acquire);
    uint64_t tail = memlane_lane_tail(&subscriber->lane);
    uint64_t next = memlane_subscriber_next(subscriber), length = tail - head;
    if (length <= subscriber->lane.records)
        head += length / 2;
    if ((int64_t)(head - next) <= 0)
        return 0;
    /* relaxed: as memlane_subscriber_next */
    atomic_store_explicit(&subscriber->next, head, memory_order_relaxed);
    memlane_subscriber_show(subscriber, head);
    subscriber->lost += head - next;
    return head - next;
}

/* Whether the hints contradict the states: then the lane is corrupt.
 * Callers: the subscriber, in the slow path, after it found nothing; call it twice. Progress: wait-free. Ordering: acquire.
 * Returns: true: it looks so. */
static inline bool memlane_subscriber_overlooked(const struct memlane_subscriber *subscriber) {
    struct memlane_extent extent;
    uint64_t s;
    /* sync: lane.tail. acquire: pairs with memlane_producer_hint */
    uint64_t tail = atomic_load_explicit(&subscriber->lane.control->tail, memory_order_acquire);
    return (int64_t)(tail - memlane_subscriber_next(subscriber)) > 0 &&
           memlane_subscriber_peek(subscriber, &s, &extent) == MEMLANE_EMPTY;
}

/* The second look of a subscriber: is there anything a get would act on?
 * Callers: the subscriber, after memlane_armed_announce. Progress: wait-free. Ordering: seq_cst.
 * Returns: true: do not sleep. */
static inline bool memlane_subscriber_any(const struct memlane_subscriber *subscriber) {
    uint64_t next = memlane_subscriber_next(subscriber);
    /* sync: descriptor.state. seq_cst: after the announcement; pairs with memlane_producer_publish and
     * memlane_topic_close_lane */
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(&subscriber->lane, next)->state, memory_order_seq_cst);
    if (state == memlane_state(next, MEMLANE_STATE_READY) || state == memlane_state(next, MEMLANE_STATE_CLOSED))
        return true;
    if (subscriber->waited_for)
        return memlane_subscriber_verdict(subscriber) != MEMLANE_OK;
    /* sync: lane.head. seq_cst: as the look at the state */
    return (int64_t)(atomic_load_explicit(&subscriber->lane.control->head, memory_order_seq_cst) - next) > 0;
}

/* ---- what was read ------------------------------------------------------------------------------- */

/* The first record from `s` to `end` that is on loan, or `end`. */
static inline uint64_t memlane_subscriber_first_lent(const struct memlane_subscriber *subscriber, uint64_t s,
                                                     uint64_t end) {
    const uint64_t mask = subscriber->lane.mask;
    while (s != end) {
        uint64_t at = s & mask, count = 64 - at % 64;
        count = count < mask + 1 - at ? count : mask + 1 - at;
        count = count < end - s ? count : end - s;
        /* sync: subscriber.lent. seq_cst: behind the caller's fence; an acquire, what was lent is not read any more. Pairs
         * with the mark in memlane_subscriber_release. */
        uint64_t bits = atomic_load_explicit(&subscriber->lent[at / 64], memory_order_seq_cst) >> at % 64;
        if (count < 64)
            bits &= (UINT64_C(1) << count) - 1;
        if (bits)
            return s + (uint64_t)__builtin_ctzll(bits);
        s += count;
    }
    return s;
}

/* Move the position up to the oldest record on loan.
 * Callers: any thread of the subscriber, behind a full fence after it changed a mark or `next`; needs no lock.
 * Progress: bounded by the number of descriptors, and by how often others move it. Ordering: release. Returns: nothing. */
static inline void memlane_subscriber_advance(struct memlane_subscriber *subscriber) {
    _Atomic uint64_t *position = &memlane_place_cursor(subscriber->place, subscriber->index)->position;
    /* sync: cursor.position. acquire: pairs with the CAS below by another thread */
    uint64_t found = atomic_load_explicit(position, memory_order_acquire);
    /* sync: subscriber.next. seq_cst: an acquire, all that lies before it and is on loan has its mark; and behind the fence.
     * Pairs with memlane_subscriber_borrow and memlane_subscriber_finish. */
    uint64_t next = atomic_load_explicit(&subscriber->next, memory_order_seq_cst);
    if (next - found > subscriber->lane.mask + 1)
        return; /* only a corrupted region has that */
    uint64_t first = memlane_subscriber_first_lent(subscriber, found, next);
    while (
        (int64_t)(first - found) > 0 &&
        /* sync: cursor.position. release: as memlane_subscriber_show; on failure another thread moved it */
        !atomic_compare_exchange_weak_explicit(position, &found, first, memory_order_acq_rel, memory_order_acquire)) {
    }
}

/* Go behind `records` records that were copied out and occupied `nbytes`.
 *
 * Callers:  the subscriber, after memlane_subscriber_check.
 * Progress: wait-free; bounded by the number of descriptors while loans are out.
 * Ordering: release: the copies are over before a publisher overwrites.
 * Returns:  true once a quarter of the lane: then look for a waiting publisher, by memlane_waiters_any_fenced. */
static inline bool memlane_subscriber_finish(struct memlane_subscriber *subscriber, uint64_t records, uint64_t nbytes) {
    uint64_t next = memlane_subscriber_next(subscriber) + records;
    /* sync: subscriber.next. release: the copies are over before a release in another thread moves the position up to here;
     * pairs with memlane_subscriber_advance. Without it that gives away a record which is still being copied. */
    atomic_store_explicit(&subscriber->next, next, memory_order_release);
    /* sync: subscriber.loans. acquire: pairs with memlane_subscriber_release; at 0 the position is that of nobody's loan */
    if (atomic_load_explicit(&subscriber->loans, memory_order_acquire) == 0)
        memlane_subscriber_show(subscriber, next);
    else {
        /* sync: subscriber.lent. seq_cst fence: `next` is stored before the marks are looked at. Pairs with the fence in
         * memlane_subscriber_release. Without it the position could stop between the two. */
        atomic_thread_fence(memory_order_seq_cst);
        memlane_subscriber_advance(subscriber);
    }
    subscriber->freed_records += records;
    subscriber->freed_nbytes += nbytes;
    if (subscriber->freed_records < (subscriber->lane.records + 3) / 4 &&
        subscriber->freed_nbytes < subscriber->lane.capacity / 4)
        return false;
    subscriber->freed_records = subscriber->freed_nbytes = 0;
    return true;
}

/* ---- loans of one that is waited for ------------------------------------------------------------- */

static inline void memlane_subscriber_mark(const struct memlane_subscriber *subscriber, uint64_t s, bool lent) {
    uint64_t at = s & subscriber->lane.mask, bit = UINT64_C(1) << at % 64;
    if (lent)
        /* relaxed: `next` is stored behind it, by a release */
        atomic_fetch_or_explicit(&subscriber->lent[at / 64], bit, memory_order_relaxed);
    else
        /* sync: subscriber.lent. seq_cst: a release, the payload is not read any more; pairs with
         * memlane_subscriber_first_lent */
        atomic_fetch_and_explicit(&subscriber->lent[at / 64], ~bit, memory_order_seq_cst);
}

/* Keep `count` records from `next` on as loans: each stays where it is until memlane_subscriber_release, for this subscriber
 * as for others that have it.
 *
 * Callers:  the subscriber under "wait", which has peeked at them; `lent` is there.
 * Progress: bounded by `count`.
 * Ordering: seq_cst.
 * Returns:  MEMLANE_OK; MEMLANE_EVICTED, MEMLANE_LOST: nothing was lent. */
static inline enum memlane_status memlane_subscriber_borrow(struct memlane_subscriber *subscriber, uint32_t count) {
    uint64_t next = memlane_subscriber_next(subscriber);
    for (uint32_t i = 0; i < count; i++)
        memlane_subscriber_mark(subscriber, next + i, true);
    /* relaxed: the lock orders it before the next finish; releases only lower it */
    atomic_fetch_add_explicit(&subscriber->loans, count, memory_order_relaxed);
    /* sync: cursor.loans. seq_cst: before the look at the holder in the total order: either who evicts us sees the loans, or
     * we see that we are evicted. Pairs with memlane_place_loans. Without it a record is overwritten while it is lent. */
    atomic_fetch_add_explicit(&memlane_place_cursor(subscriber->place, subscriber->index)->loans, count,
                              memory_order_seq_cst);
    enum memlane_status verdict = memlane_subscriber_verdict(subscriber);
    if (verdict == MEMLANE_OK) {
        /* sync: subscriber.next. release: the marks come first; pairs with memlane_subscriber_advance. Without it the
         * position could pass a record that was just lent. */
        atomic_store_explicit(&subscriber->next, next + count, memory_order_release);
        return MEMLANE_OK;
    }
    for (uint32_t i = 0; i < count; i++)
        memlane_subscriber_mark(subscriber, next + i, false);
    atomic_fetch_sub_explicit(&subscriber->loans, count, memory_order_relaxed); /* relaxed: none of them was read */
    if (verdict == MEMLANE_EVICTED)
        /* sync: cursor.loans. seq_cst: as in memlane_subscriber_release */
        atomic_fetch_sub_explicit(&memlane_place_cursor(subscriber->place, subscriber->index)->loans, count,
                                  memory_order_seq_cst);
    return verdict;
}

/* Give a borrowed record back, in any order, from any thread, without a lock.
 *
 * Callers:  the holder of the loan on record s, once.
 * Progress: bounded by the number of descriptors.
 * Ordering: release of the payload; full fence, the caller may look at waiters.count next.
 * Returns:  how many loans the subscriber has of this lane still: at 0 one that is EVICTED keeps nothing of it any more. */
static inline uint64_t memlane_subscriber_release(struct memlane_subscriber *subscriber, uint64_t s) {
    memlane_subscriber_mark(subscriber, s, false);
    /* sync: subscriber.lent. seq_cst fence: of two threads that release neighbors each marks, fences and looks: at least one
     * sees both marks, and moves the position over both. A CAS alone is no full fence on every processor. */
    atomic_thread_fence(memory_order_seq_cst);
    if (memlane_subscriber_verdict(subscriber) == MEMLANE_LOST)
        return 0; /* the place, and its cursors, are another one's */
    memlane_subscriber_advance(subscriber);
    /* sync: subscriber.loans. release: our reads come before a get that finds no loans and stores the position past the
     * record; pairs with memlane_subscriber_finish */
    atomic_fetch_sub_explicit(&subscriber->loans, 1, memory_order_release);
    /* sync: cursor.loans. seq_cst: a release, what was lent is not read any more; pairs with memlane_place_loans */
    uint64_t left = atomic_fetch_sub_explicit(&memlane_place_cursor(subscriber->place, subscriber->index)->loans, 1,
                                              memory_order_seq_cst) -
                    1;
    /* sync: waiters.count. seq_cst fence: as memlane_waiters_any_fenced */
    atomic_thread_fence(memory_order_seq_cst);
    return left;
}

/* ---- order="all" --------------------------------------------------------------------------------- */

/* The number of record s of a lane, which lies in front of its payload.
 * Callers: the subscriber, whose lane is ordered. Progress: wait-free. Ordering: as memlane_subscriber_peek and _check.
 * Returns: MEMLANE_OK and *number; MEMLANE_EMPTY: not published, or gone. */
static inline enum memlane_status memlane_subscriber_number_at(const struct memlane_subscriber *subscriber, uint64_t s,
                                                               uint64_t *number) {
    const struct memlane_lane *lane = &subscriber->lane;
    struct memlane_extent extent;
    /* sync: descriptor.state. acquire: as in memlane_subscriber_peek */
    if (atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_acquire) !=
            memlane_state(s, MEMLANE_STATE_READY) ||
        memlane_extent_of(lane, s, &extent) != MEMLANE_OK || extent.nbytes < MEMLANE_ORDER_NBYTES)
        return MEMLANE_EMPTY;
    *number = memlane_order_load(lane->bytes + extent.offset);
    return memlane_subscriber_check(subscriber, s) == MEMLANE_OK ? MEMLANE_OK : MEMLANE_EMPTY;
}

/* A look at a lane for memlane_order_next, of which `reader` is an array of subscribers, one a lane.
 * Callers, Progress, Ordering, Returns: as memlane_subscriber_peek, of the number of the next record. */
static inline enum memlane_status memlane_subscriber_number(void *reader, uint32_t lane, uint64_t *number) {
    const struct memlane_subscriber *subscriber = (const struct memlane_subscriber *)reader + lane;
    struct memlane_extent extent;
    uint64_t s;
    enum memlane_status status = memlane_subscriber_peek(subscriber, &s, &extent);
    if (status != MEMLANE_OK)
        return status;
    *number = memlane_order_load(subscriber->lane.bytes + extent.offset - MEMLANE_ORDER_NBYTES);
    return memlane_subscriber_check(subscriber, s);
}

/* Go to the first record of an ordered lane whose number is `number` or more.
 * Callers: the subscriber, behind memlane_subscriber_settle, before it has read anything. Progress: bounded by 64 looks.
 * Ordering: acquire. Returns: nothing: what is gone meanwhile is found by the next look. */
static inline void memlane_subscriber_seek(struct memlane_subscriber *subscriber, uint64_t number) {
    uint64_t low = memlane_subscriber_next(subscriber), high = memlane_lane_tail(&subscriber->lane), found;
    for (int looks = 0; looks < 64 && (int64_t)(high - low) > 0; looks++) {
        uint64_t middle = low + (high - low) / 2;
        if (memlane_subscriber_number_at(subscriber, middle, &found) != MEMLANE_OK || (int64_t)(found - number) < 0)
            low = middle + 1; /* also what is gone: it lies before all that is there */
        else
            high = middle;
    }
    atomic_store_explicit(&subscriber->next, low, memory_order_relaxed); /* relaxed: nobody shares it yet */
    memlane_subscriber_show(subscriber, low);
}

#endif
