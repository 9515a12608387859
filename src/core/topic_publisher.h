/* SPDX-License-Identifier: MIT
 *
 * The publisher's half of a topic (topic.h has its picture): claim, commit, batches, room, eviction, adoption.
 *
 * It is a producer (lane_producer.h) whose `head` means something else: what a completed scan has cleared, so that the
 * room in front of a record is looked for in the same way. While that leaves room, publishing is a put, step for step.
 */
#ifndef MEMLANE_TOPIC_PUBLISHER_H
#define MEMLANE_TOPIC_PUBLISHER_H

#include "core/lane_order.h"
#include "core/lane_producer.h"
#include "core/topic.h"

/* `head` is moved by this part of the lane at once, as far as there are records: so a fence and a scan are made once in so
 * many records, and a subscriber under "overwrite" has fewer by so many. */
#define MEMLANE_TOPIC_STRIDE 16u

/* What was last seen of a place that stood in the way. Private to the publisher. */
struct memlane_sight {
    uint64_t holder; /* 0: it stood not in the way */
    uint64_t position;
    uint64_t since; /* when it was first seen there, by the clock of the caller */
};

/* The publisher's private state. */
struct memlane_publisher {
    struct memlane_producer producer; /* its `head`: what was cleared; its `ring`: that in the control */
    const struct memlane_topic *topic;
    struct memlane_sight *sights; /* one for each place, zeroed; NULL where nobody is evicted or named */
    uint64_t raised; /* the lane's `head` */
    uint32_t index; /* of the lane */
    uint32_t obstacle; /* the place that stood most in the way at the last scan; `subscribers`: none */
    uint64_t obstacle_holder, obstacle_position;
    bool scanned; /* this publisher has cleared something itself */
    bool ordered;
};

/* Look who still reads what lies below `raised`.
 * Callers: the publisher, behind a full fence after it raised `head`. Progress: bounded by the number of places.
 * Ordering: acquire, then a release fence. Returns: the first record that is kept, at most `raised`. */
static inline uint64_t memlane_publisher_scan(struct memlane_publisher *publisher, uint64_t raised) {
    const struct memlane_topic *topic = publisher->topic;
    const uint32_t joined = memlane_topic_joined(topic);
    uint64_t lowest = raised, holder, position;
    publisher->obstacle = topic->subscribers;
    for (uint32_t index = 0; index < joined; index++)
        if (memlane_place_keeps(memlane_place_of(topic, index), publisher->index, &holder, &position) &&
            (int64_t)(position - lowest) < 0) {
            lowest = position;
            publisher->obstacle = index;
            publisher->obstacle_holder = holder;
            publisher->obstacle_position = position;
        }
    /* sync: place.holder. release fence: a process that reads even one of the bytes we are about to write sees that it was evicted, as
     * we have seen it; pairs with the acquire fence in memlane_subscriber_is_whole */
    atomic_thread_fence(memory_order_release);
    return lowest;
}

/* Move `head` until a record of `occupied` bytes fits, and by a stride at least, and believe in as much of it as a scan
 * clears.
 * Callers: the publisher, after what was cleared left no room; `limit`: the first record that is not committed.
 * Progress: bounded by the numbers of descriptors and places. Ordering: full fence, see topic.h.
 * Returns: MEMLANE_OK: look again whether it fits; MEMLANE_LOST; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_publisher_make_room(struct memlane_publisher *publisher, uint64_t occupied,
                                                              uint64_t limit) {
    struct memlane_producer *producer = &publisher->producer;
    const struct memlane_lane *lane = &producer->lane;
    struct memlane_producer trial = *producer;
    struct memlane_extent extent = {0, 0};
    uint64_t offset, nbytes = 0, raised = publisher->raised, begin = raised;
    for (;; raised++) {
        if (raised != producer->next && memlane_extent_of(lane, raised, &extent) != MEMLANE_OK)
            return MEMLANE_CORRUPTED;
        trial.head = raised;
        trial.oldest = extent.offset;
        bool far = raised == begin || raised - begin >= lane->records / MEMLANE_TOPIC_STRIDE ||
                   nbytes >= lane->capacity / MEMLANE_TOPIC_STRIDE;
        if (raised == limit || (far && memlane_producer_fit_seen(&trial, occupied, &offset) == MEMLANE_OK))
            break;
        nbytes += memlane_occupied(extent.nbytes);
    }
    if (raised != begin) {
        /* sync: lane.head. seq_cst: before the bytes are overwritten and before the scan, by the fence below. A CAS: one
         * that was taken for dead must not move it back under its successor. Pairs with memlane_subscriber_is_whole,
         * memlane_subscriber_peek and memlane_subscriber_show. */
        if (!atomic_compare_exchange_strong_explicit(&lane->control->head, &begin, raised, memory_order_seq_cst,
                                                     memory_order_relaxed))
            return memlane_producer_owns(producer) ? MEMLANE_CORRUPTED : MEMLANE_LOST;
        publisher->raised = raised;
    }
    /* sync: lane.head. seq_cst fence: `head` is visible before any place is looked at, and before any byte is written: a
     * joiner that this scan misses sees it, and so does who reads one of the new bytes. A CAS alone is no full fence on
     * every processor. Pairs with the fences in memlane_subscriber_show and memlane_subscriber_is_whole. Without it a
     * record is overwritten under a subscriber that has just joined. */
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t lowest = memlane_publisher_scan(publisher, raised);
    if (memlane_producer_holds(producer, lowest)) {
        lowest = producer->kept->s;
        publisher->obstacle = publisher->topic->subscribers;
    }
    /* An successor knows nothing of what was overwritten below `head`: it believes in all of it, or in nothing. */
    if (publisher->scanned ? (int64_t)(lowest - producer->head) <= 0 : lowest != raised)
        return MEMLANE_OK;
    if (lowest != producer->next && memlane_extent_of(lane, lowest, &extent) != MEMLANE_OK)
        return MEMLANE_CORRUPTED;
    producer->head = lowest;
    producer->oldest = extent.offset;
    publisher->scanned = true;
    return MEMLANE_OK;
}

static inline uint64_t memlane_publisher_stored(const struct memlane_publisher *publisher, uint64_t nbytes) {
    return nbytes + (publisher->ordered ? MEMLANE_ORDER_NBYTES : 0);
}

/* The longest record: a number of order="all" lies in front of it. */
static inline uint64_t memlane_publisher_max_record(const struct memlane_publisher *publisher) {
    return memlane_max_record(&publisher->producer.lane) - (publisher->ordered ? MEMLANE_ORDER_NBYTES : 0);
}

/* As memlane_publisher_claim, of which `limit` is the first record that is not committed. */
static inline enum memlane_status memlane_publisher_claim_within(struct memlane_publisher *publisher, uint64_t nbytes,
                                                                 uint64_t limit, uint64_t *offset) {
    struct memlane_producer *producer = &publisher->producer;
    if (memlane_ring_shutdown(producer->ring))
        return MEMLANE_CLOSED;
    if (!memlane_producer_owns(producer))
        return MEMLANE_LOST;
    if (nbytes > memlane_publisher_max_record(publisher))
        return MEMLANE_TOO_LARGE;
    uint64_t occupied = memlane_occupied(memlane_publisher_stored(publisher, nbytes));
    if (memlane_producer_fit_seen(producer, occupied, offset) == MEMLANE_OK)
        return MEMLANE_OK;
    enum memlane_status status = memlane_publisher_make_room(publisher, occupied, limit);
    return status == MEMLANE_OK ? memlane_producer_fit_seen(producer, occupied, offset) : status;
}

static inline unsigned char *memlane_publisher_payload(const struct memlane_publisher *publisher, uint64_t offset) {
    return publisher->producer.lane.bytes + offset + (publisher->ordered ? MEMLANE_ORDER_NBYTES : 0);
}

/* Claim room for one record: its payload may be written to memlane_publisher_payload from now on.
 *
 * Callers:  the publisher, no other claim open.
 * Progress: bounded by the numbers of descriptors and places; wait-free while there is room that was cleared.
 * Ordering: on MEMLANE_OK nobody who is waited for reads this room, and a subscriber that is not will see that it was overwritten.
 * Returns:  MEMLANE_OK; MEMLANE_FULL: a subscriber is waited for, publisher->obstacle, or views of an own record live;
 *           MEMLANE_TOO_LARGE; MEMLANE_CLOSED; MEMLANE_LOST; MEMLANE_CORRUPTED.
 * If the publisher dies with a claim: nothing has happened, but that `head` may have moved. */
static inline enum memlane_status memlane_publisher_claim(struct memlane_publisher *publisher, uint64_t nbytes,
                                                          uint64_t *offset) {
    return memlane_publisher_claim_within(publisher, nbytes, publisher->producer.next, offset);
}

/* Commit the claimed record at `offset` with its first `nbytes` bytes (no more than were claimed).
 * Callers: the publisher, after memlane_publisher_claim. Progress: wait-free. Ordering: seq_cst; the caller may look at
 * topic.armed next. Returns: as memlane_producer_commit. */
static inline enum memlane_status memlane_publisher_commit(struct memlane_publisher *publisher, uint64_t offset,
                                                           uint64_t nbytes) {
    if (publisher->ordered)
        memlane_order_store(publisher->producer.lane.bytes + offset,
                            memlane_order_take(&publisher->topic->control->order, 1));
    return memlane_producer_commit(&publisher->producer, offset, memlane_publisher_stored(publisher, nbytes));
}

/* Copy one record in: claim, copy, commit.
 * Callers: the publisher. Progress, Ordering, Returns: as claim and commit. */
static inline enum memlane_status memlane_publisher_put(struct memlane_publisher *publisher, const void *record,
                                                        size_t nbytes) {
    uint64_t offset;
    enum memlane_status status = memlane_publisher_claim(publisher, nbytes, &offset);
    if (status != MEMLANE_OK)
        return status;
    memlane_words_fill(memlane_publisher_payload(publisher, offset), record, nbytes);
    return memlane_publisher_commit(publisher, offset, nbytes);
}

/* Copy in as many of `count` records as there is room for, and commit them all at once.
 *
 * Callers:  the publisher. Nothing of the caller's may fail any more.
 * Progress: as memlane_publisher_claim, for each.
 * Ordering: as memlane_publisher_commit.
 * Returns:  MEMLANE_OK, *done records are in, at least one of count > 0; else as memlane_publisher_claim of the first record:
 *           none is.
 * If the publisher dies inside: none is in; the staged ones are voided by memlane_publisher_adopt. */
static inline enum memlane_status memlane_publisher_put_many(struct memlane_publisher *publisher,
                                                             const struct memlane_span *records, size_t count,
                                                             size_t *done) {
    struct memlane_producer *producer = &publisher->producer;
    const struct memlane_lane *lane = &producer->lane;
    const uint64_t first = producer->next, write = producer->write;
    enum memlane_status status = MEMLANE_OK;
    uint64_t order = 0;
    size_t staged = 0;
    *done = 0;
    for (; staged < count; staged++) {
        uint64_t offset, nbytes = memlane_publisher_stored(publisher, records[staged].nbytes);
        status = memlane_publisher_claim_within(publisher, records[staged].nbytes, first, &offset);
        if (status != MEMLANE_OK)
            break;
        memlane_words_fill(memlane_publisher_payload(publisher, offset), records[staged].bytes, records[staged].nbytes);
        memlane_extent_store(lane, producer->next, offset, nbytes);
        if (staged > 0)
            /* sync: descriptor.state. release: as in memlane_producer_put_many */
            atomic_store_explicit(&memlane_descriptor_of(lane, producer->next)->state,
                                  memlane_state(producer->next, MEMLANE_STATE_READY), memory_order_release);
        memlane_producer_step(producer, offset, nbytes);
    }
    if (staged == 0)
        return status;
    if (publisher->ordered) {
        order = memlane_order_take(&publisher->topic->control->order, staged);
        for (size_t i = 0; i < staged; i++) {
            struct memlane_extent extent;
            /* relaxed inside: we have just stored it; one that was spoilt since is left alone */
            if (memlane_extent_of(lane, first + i, &extent) == MEMLANE_OK && extent.nbytes >= MEMLANE_ORDER_NBYTES)
                memlane_order_store(lane->bytes + extent.offset, order + i);
        }
    }
    bool owns = memlane_producer_owns(producer);
    status = owns ? memlane_producer_publish(lane, first) : MEMLANE_LOST;
    if (status != MEMLANE_OK) {
        if (owns) /* else what was staged may be the successor's records by now */
            memlane_lane_void(lane, first + 1, first + staged);
        producer->next = first;
        producer->write = write;
        return status;
    }
    memlane_producer_hint(producer);
    *done = staged;
    return MEMLANE_OK;
}

/* The second look of a publisher that waits: would its next attempt find another answer?
 * Callers: the publisher, after memlane_waiters_announce on its lane, and after MEMLANE_FULL. Progress: wait-free.
 * Ordering: seq_cst. Returns: true: try again before sleeping. */
static inline bool memlane_publisher_any(const struct memlane_publisher *publisher) {
    uint64_t holder, position;
    if (memlane_ring_shutdown(publisher->producer.ring))
        return true;
    if (publisher->obstacle >= publisher->topic->subscribers) /* views of our own, whose end rings for itself */
        return !memlane_producer_holds(&publisher->producer, publisher->raised);
    return !memlane_place_keeps(memlane_place_of(publisher->topic, publisher->obstacle), publisher->index, &holder,
                                &position) ||
           holder != publisher->obstacle_holder || position != publisher->obstacle_position;
}

/* ---- who is stuck ------------------------------------------------------------------------------- */

/* Evict a subscriber. What it has on loan stays kept.
 * Callers: a publisher whom it holds up, `sight` is what was last seen of it. Progress: wait-free. Ordering: seq_cst.
 * Returns: true: it is evicted; false: it is no longer that one, or gone. */
static inline bool memlane_publisher_evict(const struct memlane_publisher *publisher, uint32_t index,
                                           const struct memlane_sight *sight, uint64_t now) {
    struct memlane_place *place = memlane_place_of(publisher->topic, index);
    if (memlane_holder_state(sight->holder) != MEMLANE_PLACE_WAIT)
        return false;
    /* relaxed, both: facts for the evicted one, before the CAS that shows them */
    atomic_store_explicit(&place->evicted_after_ns, now - sight->since, memory_order_relaxed);
    atomic_store_explicit(&place->evicted_behind, publisher->producer.next - sight->position, memory_order_relaxed);
    if (!memlane_place_turn(place, sight->holder, MEMLANE_PLACE_EVICTED))
        return false;
    atomic_fetch_add_explicit(&publisher->topic->control->evicted, 1, memory_order_relaxed); /* relaxed: for people */
    return true;
}

/* After MEMLANE_FULL: note who stands in the way and since when, and evict those who asked for it and have not moved for so
 * long. Sights that remain say who the laggards are.
 *
 * Callers:  the publisher, at each attempt that failed, with `now` of one clock.
 * Progress: bounded by the number of places.
 * Ordering: as memlane_publisher_evict.
 * Returns:  how many were evicted: then try again; *next becomes the time at which the next one would be, UINT64_MAX: none. */
static inline uint32_t memlane_publisher_watch(struct memlane_publisher *publisher, uint64_t now, uint64_t *next) {
    const struct memlane_topic *topic = publisher->topic;
    const uint32_t joined = memlane_topic_joined(topic);
    uint32_t evicted = 0;
    *next = UINT64_MAX;
    for (uint32_t index = 0; index < topic->subscribers; index++) {
        struct memlane_sight *sight = &publisher->sights[index];
        struct memlane_place *place = memlane_place_of(topic, index);
        uint64_t holder, position;
        if (index >= joined || !memlane_place_keeps(place, publisher->index, &holder, &position) ||
            (int64_t)(position - publisher->raised) >= 0) {
            sight->holder = 0;
            continue;
        }
        if (sight->holder != holder || sight->position != position)
            *sight = (struct memlane_sight){holder, position, now};
        /* relaxed: stored before the state */
        uint64_t after = atomic_load_explicit(&place->evict_after_ns, memory_order_relaxed);
        if (after == 0 || memlane_holder_state(holder) != MEMLANE_PLACE_WAIT)
            continue;
        if (now - sight->since >= after)
            evicted += memlane_publisher_evict(publisher, index, sight, now);
        else if (after - (now - sight->since) < *next - now)
            *next = sight->since + after;
    }
    return evicted;
}

/* Take up a lane, a fresh one or one with the records of a dead or departed publisher. It has cleared nothing: its first
 * record waits for a scan.
 *
 * Callers: a process that has just become its owner; producer.lane, .ring, .tag, topic, index, sights and ordered are set. May be
 *           repeated: dying in it is harmless.
 * Progress, Ordering, Returns: as memlane_producer_adopt. */
static inline enum memlane_status memlane_publisher_adopt(struct memlane_publisher *publisher) {
    struct memlane_producer *producer = &publisher->producer;
    enum memlane_status status = memlane_producer_adopt(producer);
    if (status != MEMLANE_OK)
        return status;
    publisher->raised = producer->head;
    producer->head = producer->next - producer->lane.records; /* as if all were kept */
    publisher->scanned = false;
    publisher->obstacle = publisher->topic->subscribers;
    return MEMLANE_OK;
}

#endif
