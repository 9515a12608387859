/* SPDX-License-Identifier: MIT
 *
 * The producer's half of a lane (lane.h has its picture): claim, commit, batches, views that live on, adoption.
 *
 * One producer at a time has a lane. A batch is committed by its first record alone; what was staged behind it is
 * voided by the adopter of the lane, should the producer die between two stores.
 */
#ifndef MEMLANE_LANE_PRODUCER_H
#define MEMLANE_LANE_PRODUCER_H

#include "core/lane.h"

/* A committed record whose bytes the producer still has views of. Its room is not used for another one before the last
 * view has died, wherever `head` is. Private to the producer. */
struct memlane_kept {
    struct memlane_kept *older, *younger; /* NULL: none */
    uint64_t s;
    uint64_t offset;
};

/* The producer's private state. Nothing of an open claim is anywhere but here. */
struct memlane_producer {
    struct memlane_lane lane;
    struct memlane_ring_control *ring; /* of which the shutdown flag is looked at */
    uint32_t tag; /* the owner word while the lane is ours */
    uint64_t next; /* the record to commit next */
    uint64_t head; /* what was last seen of the consumer */
    uint64_t oldest; /* offset of record `head`, if head != next */
    uint64_t write; /* where the next record may start */
    struct memlane_kept *kept, *kept_last; /* the oldest and the youngest record of which views live; NULL: none */
    uint32_t stamps_left; /* records that are stamped before that is done more seldom */
    uint64_t next_stamp; /* the number of the next one */
};

/* A buffer of the caller's. */
struct memlane_span {
    const void *bytes;
    size_t nbytes;
};

/* Move `head` over the records that many consumers have freed.
 * Callers: the producer, who alone moves it. Progress: bounded by the number of descriptors.
 * Ordering: as memlane_producer_refresh. Returns: nothing. */
static inline void memlane_many_advance(const struct memlane_lane *lane) {
    /* relaxed: only we store it */
    uint64_t head = atomic_load_explicit(&lane->control->head, memory_order_relaxed), end = head;
    for (uint64_t steps = 0; steps <= lane->mask; steps++, end++)
        /* sync: descriptor.state (free). seq_cst: an acquire, the reads of the process that freed it are over before we
         * overwrite the record; and in the total order before the look at the shutdown flag that must follow. Pairs
         * with memlane_many_free. */
        if (atomic_load_explicit(&memlane_descriptor_of(lane, end)->state, memory_order_seq_cst) !=
            memlane_state(end, MEMLANE_STATE_FREE))
            break;
    if (end != head)
        /* sync: lane.head. release: a process that reads it sees the FREE states before it. A CAS: one that was taken
         * for dead must not move it back under its successor. Failure relaxed: nothing of ours was done. */
        atomic_compare_exchange_strong_explicit(&lane->control->head, &head, end, memory_order_release,
                                                memory_order_relaxed);
}

/* Whether a record of which views live is older than `head` says: then it is the oldest that occupies room.
 * Callers: the producer. Progress: wait-free. Ordering: none. Returns: true: there is one. */
static inline bool memlane_producer_holds(const struct memlane_producer *producer, uint64_t head) {
    return producer->kept && (int64_t)(head - producer->kept->s) > 0;
}

/* Keep the room of the record that was committed last, with the `nbytes` that were reserved for it, until
 * memlane_producer_release. Nobody else hears of it.
 * Callers: the producer, right after memlane_producer_commit at `offset`; `kept` lives until it is released.
 * Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_producer_keep(struct memlane_producer *producer, struct memlane_kept *kept, uint64_t offset,
                                         uint64_t nbytes) {
    kept->older = producer->kept_last;
    kept->younger = NULL;
    kept->s = producer->next - 1;
    kept->offset = offset;
    *(kept->older ? &kept->older->younger : &producer->kept) = kept;
    producer->kept_last = kept;
    producer->write = offset + memlane_occupied(nbytes); /* whatever was committed of it */
}

/* Let the room of a kept record go; the next look at `head` finds what that frees.
 * Callers: the producer, once for each. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_producer_release(struct memlane_producer *producer, struct memlane_kept *kept) {
    *(kept->older ? &kept->older->younger : &producer->kept) = kept->younger;
    *(kept->younger ? &kept->younger->older : &producer->kept_last) = kept->older;
}

/* Look at `head` again, after what was seen of it left no room.
 * Callers: the producer. Progress: wait-free. Ordering: acquire and more, see below.
 * Returns: MEMLANE_OK; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_producer_refresh(struct memlane_producer *producer) {
    const struct memlane_lane *lane = &producer->lane;
    if (lane->many)
        memlane_many_advance(lane);
    for (int look = 0; look < 2; look++) {
        /* sync: lane.head. seq_cst: an acquire, so that the consumer has finished reading the room we are
         * about to use, or we would overwrite a record while it is copied out; and in the total order before
         * the look at the shutdown flag that must follow, see ring_full_lane in docs/memory-model.md. Pairs
         * with the stores of head in memlane_consumer_finish and memlane_consumer_advance. */
        uint64_t head = atomic_load_explicit(&lane->control->head, memory_order_seq_cst);
        struct memlane_extent extent = {0, 0};
        if (producer->next - head > lane->mask + 1)
            continue;
        if (memlane_producer_holds(producer, head)) {
            producer->head = producer->kept->s;
            producer->oldest = producer->kept->offset;
            return MEMLANE_OK;
        }
        if (head != producer->next && memlane_extent_of(lane, head, &extent) != MEMLANE_OK)
            continue;
        producer->head = head;
        producer->oldest = extent.offset;
        return MEMLANE_OK;
    }
    return MEMLANE_CORRUPTED;
}

/* Bytes that are used up by what was last seen of the consumer, gaps between records included.
 * Callers: the producer. Progress: wait-free. Ordering: none. Returns: the number, at most the capacity. */
static inline uint64_t memlane_producer_used(const struct memlane_producer *producer) {
    if (producer->next == producer->head)
        return 0;
    if (producer->write > producer->oldest)
        return producer->write - producer->oldest;
    return producer->lane.capacity - producer->oldest + producer->write;
}

/* Find room by what was last seen of the consumer. Returns: MEMLANE_OK and *offset; MEMLANE_FULL. */
static inline enum memlane_status memlane_producer_fit_seen(const struct memlane_producer *producer, uint64_t occupied,
                                                            uint64_t *offset) {
    const struct memlane_lane *lane = &producer->lane;
    uint64_t records = producer->next - producer->head;
    if (records == 0) {
        *offset = 0; /* an empty lane starts anew, so that any record fits that ever can */
        return MEMLANE_OK;
    }
    if (records >= lane->records)
        return MEMLANE_FULL;
    *offset = producer->write;
    if (producer->write > producer->oldest) {
        if (occupied <= lane->capacity - producer->write)
            return MEMLANE_OK;
        *offset = 0;
        return occupied <= producer->oldest ? MEMLANE_OK : MEMLANE_FULL;
    }
    /* wrapped; write == oldest is full, since no record occupies 0 bytes */
    return occupied <= producer->oldest - producer->write ? MEMLANE_OK : MEMLANE_FULL;
}

/* The second look of a waiting producer: has the consumer moved, or the end come?
 * Callers: the producer, after memlane_waiters_announce. Progress: wait-free. Ordering: seq_cst.
 * Returns: true: try again before sleeping. */
static inline bool memlane_producer_any(const struct memlane_producer *producer) {
    const struct memlane_lane *lane = &producer->lane;
    /* sync: lane.head. seq_cst: after waiters.count was raised; pairs with the stores of head, which are followed
     * by a full fence where a producer is woken */
    uint64_t head = atomic_load_explicit(&lane->control->head, memory_order_seq_cst);
    /* A record that is kept stands for all behind it: a consumer that is through with those makes no room. */
    bool holds = memlane_producer_holds(producer, head);
    if ((holds ? producer->kept->s : head) != producer->head || memlane_ring_shutdown(producer->ring))
        return true;
    /* sync: descriptor.state (free). seq_cst: the same, where a consumer leaves `head` to us; pairs with
     * memlane_many_free */
    return lane->many && !memlane_producer_holds(producer, head + 1) &&
           atomic_load_explicit(&memlane_descriptor_of(lane, head)->state, memory_order_seq_cst) ==
               memlane_state(head, MEMLANE_STATE_FREE);
}

/* Whether the lane is still ours: a process that closed descriptors of the library is taken for dead, and its lane
 * goes to a successor, whose records it must not write over.
 * Callers: the producer, before it writes. Progress: wait-free. Ordering: none. Returns: true: ours. */
static inline bool memlane_producer_owns(const struct memlane_producer *producer) {
    /* relaxed: one taken for dead wrongly shall stop soon; what it does until then is not promised. The line is
     * not stored to unless the lane changes hands or its producer waits, so this look costs no traffic. */
    return atomic_load_explicit(&producer->lane.control->owner, memory_order_relaxed) == producer->tag;
}

/* Look whether the consumer is through with everything: then the next record goes where the lane begins. For large
 * records, of which a lane that is walked from end to end would push the last one out of the processor's cache.
 *
 * Callers:  the producer, before memlane_producer_claim; no staged record of a batch.
 * Progress: bounded by `looks`; with a consumer that is slow it is all of them. With competing consumers each look
 *           is bounded by the number of descriptors.
 * Ordering: as memlane_producer_refresh; the claim that follows looks at the shutdown flag.
 * Returns:  nothing: what is corrupt is found by the claim that needs another look. */
static inline void memlane_producer_reuse(struct memlane_producer *producer, uint64_t looks) {
    if (producer->kept)
        return; /* the lane is not empty before its views have died */
    for (; looks && producer->next != producer->head; looks--) {
        if (memlane_producer_refresh(producer) != MEMLANE_OK)
            return;
        if (producer->next != producer->head)
            memlane_cpu_relax();
    }
}

/* Claim room for one record: its payload may be written to bytes[*offset ...] from now on.
 *
 * Callers:  the producer, no other claim open.
 * Progress: wait-free; does not wait for room.
 * Ordering: on MEMLANE_OK all reads the consumer made of this room have finished.
 * Returns:  MEMLANE_OK; MEMLANE_FULL; MEMLANE_TOO_LARGE; MEMLANE_CLOSED, the ring is shut down;
 *           MEMLANE_LOST, the lane is another one's; MEMLANE_CORRUPTED. Nothing in shared memory has changed,
 *           whatever it is.
 * If the producer dies with a claim: nothing has happened. */
static inline enum memlane_status memlane_producer_claim(struct memlane_producer *producer, uint64_t nbytes,
                                                         uint64_t *offset) {
    if (memlane_ring_shutdown(producer->ring))
        return MEMLANE_CLOSED;
    if (!memlane_producer_owns(producer))
        return MEMLANE_LOST;
    if (nbytes > memlane_max_record(&producer->lane))
        return MEMLANE_TOO_LARGE;
    uint64_t occupied = memlane_occupied(nbytes);
    if (memlane_producer_fit_seen(producer, occupied, offset) == MEMLANE_OK)
        return MEMLANE_OK;
    enum memlane_status status = memlane_producer_refresh(producer);
    if (status != MEMLANE_OK)
        return status;
    /* Again, now that head was looked at: a lane full of loans is closed by the flag alone. */
    if (memlane_ring_shutdown(producer->ring))
        return MEMLANE_CLOSED;
    return memlane_producer_fit_seen(producer, occupied, offset);
}

/* Note privately that record `next` is in place. */
static inline void memlane_producer_step(struct memlane_producer *producer, uint64_t offset, uint64_t nbytes) {
    if (producer->next == producer->head)
        producer->oldest = offset;
    producer->next += 1;
    producer->write = offset + memlane_occupied(nbytes);
}

/* Publish record s, whose payload and extent are in place: the one store that counts.
 * Returns: MEMLANE_OK; MEMLANE_CLOSED, a consumer closed the lane first; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_producer_publish(const struct memlane_lane *lane, uint64_t s) {
    struct memlane_descriptor *descriptor = memlane_descriptor_of(lane, s);
    /* relaxed: only what the CAS expects; between two rounds nobody but a closing consumer stores here */
    uint64_t found = atomic_load_explicit(&descriptor->state, memory_order_relaxed);
    for (int tries = 0; tries < 3; tries++) {
        if (found == memlane_state(s, MEMLANE_STATE_CLOSED))
            return MEMLANE_CLOSED;
        /* sync: descriptor.state. seq_cst: a release, so that payload and extent are visible to the process that sees
         * READY; and in the total order before the caller's look at waiters.count, or a consumer could go
         * to sleep on this record. Pairs with the loads in memlane_consumer_peek and memlane_consumer_any. */
        if (atomic_compare_exchange_strong_explicit(&descriptor->state, &found, memlane_state(s, MEMLANE_STATE_READY),
                                                    memory_order_seq_cst, memory_order_relaxed))
            return MEMLANE_OK;
    }
    return MEMLANE_CORRUPTED;
}

/* Store the hint. sync: lane.tail. release: pairs with the acquire load in memlane_consumer_overlooked:
 * a process that sees this tail sees the READY states below it. */
static inline void memlane_producer_hint(const struct memlane_producer *producer) {
    atomic_store_explicit(&producer->lane.control->tail, producer->next, memory_order_release);
}

static inline void memlane_extent_store(const struct memlane_lane *lane, uint64_t s, uint64_t offset, uint64_t nbytes) {
    /* relaxed: the commit's CAS orders it */
    atomic_store_explicit(&memlane_descriptor_of(lane, s)->extent, memlane_extent_word(offset, nbytes),
                          memory_order_relaxed);
}

/* Say that the last `count` records were committed when the clock of the stamps showed `now`: with a stamp for the last
 * of them, and for each whose number is a multiple of MEMLANE_STAMP_EACH. A look at the cheapest clock takes a tenth of
 * a put, so the caller may leave other records out.
 * Callers: the producer, right after it committed them. Progress: bounded by `count`. Ordering: none. Returns: nothing. */
static inline void memlane_producer_stamp(const struct memlane_producer *producer, uint64_t count, uint64_t now) {
    const struct memlane_lane *lane = &producer->lane;
    const uint64_t last = producer->next - 1;
    for (uint64_t left = count; left-- != 0;) {
        uint64_t s = last - left;
        if (left == 0 || s % MEMLANE_STAMP_EACH == 0)
            /* relaxed: for people; a stamp says itself of which record it is */
            atomic_store_explicit(memlane_lane_stamp_of(lane, s), memlane_stamp_word(s, now), memory_order_relaxed);
    }
}

/* When a record was put is for statistics, and each look at a clock a tenth of a put. So what costs little beside it has a
 * stamp: each batch, each reservation, what waited for room. And of the rest those that a consumer leaves that has stopped:
 * the first after one was woken, since one that goes on getting does not sleep. Else one in MEMLANE_STAMP_EACH. */

/* Records that get a stamp after a consumer was woken: the calls of the kernel for that cost twenty times as much. */
#define MEMLANE_STAMPS_AFTER_WAKING 16u

/* Stamp the next records, since a consumer is about to be woken, or the lane has just been leased.
 * Callers: the producer. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_producer_stamp_next(struct memlane_producer *producer) {
    producer->stamps_left = MEMLANE_STAMPS_AFTER_WAKING;
    producer->next_stamp = 0;
}

/* Whether the record that was put last is to have a stamp.
 * Callers: the producer. Progress: wait-free. Ordering: none. Returns: true: memlane_producer_stamp_some is due. */
static inline bool memlane_producer_stamp_is_due(const struct memlane_producer *producer) {
    return producer->next > producer->next_stamp;
}

/* Stamp the record that was put last, and choose the next one.
 * Callers: the producer, after memlane_producer_stamp_is_due. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_producer_stamp_some(struct memlane_producer *producer, uint64_t now) {
    memlane_producer_stamp(producer, 1, now);
    if (producer->stamps_left != 0) {
        producer->stamps_left--;
        producer->next_stamp = producer->next;
    } else
        producer->next_stamp = (producer->next + MEMLANE_STAMP_EACH - 1) / MEMLANE_STAMP_EACH * MEMLANE_STAMP_EACH;
}

/* Wipe stamps of another clock, before a reboot or in another time namespace.
 * Callers: the producer, after memlane_producer_adopt; `clock` 0: it does not know its clock, and nobody is to trust
 * it.
 * Progress: bounded by the number of descriptors. Ordering: release. Returns: nothing.
 * If the producer dies inside: the next one does it again, or the clock is none that anybody has. */
static inline void memlane_producer_clock(struct memlane_producer *producer, uint64_t clock) {
    const struct memlane_lane *lane = &producer->lane;
    /* relaxed: only producers store it, and the lane changed hands since */
    if (atomic_load_explicit(&lane->control->clock, memory_order_relaxed) == clock && clock != 0)
        return;
    for (uint64_t i = 0; i <= lane->mask; i++)
        /* relaxed, both: before the release below */
        if (atomic_load_explicit(memlane_lane_stamp_of(lane, i), memory_order_relaxed) != 0)
            atomic_store_explicit(memlane_lane_stamp_of(lane, i), 0, memory_order_relaxed);
    /* sync: lane.clock. release: the wiped stamps come first; pairs with memlane_lane_waits_since. Without it somebody
     * takes a time before the reboot for one of today. */
    atomic_store_explicit(&lane->control->clock, clock, memory_order_release);
}

/* Count a put that found no room.
 * Callers: the producer, also without its lock. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_producer_count_full(struct memlane_producer *producer) {
    if (memlane_producer_owns(producer))
        /* relaxed: for people */
        atomic_fetch_add_explicit(&producer->lane.control->full, 1, memory_order_relaxed);
}

/* Commit the claimed record at `offset` with its first `nbytes` bytes (no more than were claimed).
 *
 * Callers:  the producer, after memlane_producer_claim.
 * Progress: wait-free.
 * Ordering: seq_cst; the caller may look at waiters.count next.
 * Returns:  MEMLANE_OK; MEMLANE_CLOSED, the ring was shut down meanwhile and nobody will get the record;
 *           MEMLANE_LOST, the lane is another one's by now; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_producer_commit(struct memlane_producer *producer, uint64_t offset,
                                                          uint64_t nbytes) {
    if (!memlane_producer_owns(producer))
        return MEMLANE_LOST;
    memlane_extent_store(&producer->lane, producer->next, offset, nbytes);
    enum memlane_status status = memlane_producer_publish(&producer->lane, producer->next);
    if (status != MEMLANE_OK)
        return status;
    memlane_producer_step(producer, offset, nbytes);
    memlane_producer_hint(producer);
    return MEMLANE_OK;
}

/* Copy one record in: claim, copy, commit.
 * Callers: the producer. Progress, Ordering, Returns: as claim and commit. */
static inline enum memlane_status memlane_producer_put(struct memlane_producer *producer, const void *record,
                                                       size_t nbytes) {
    uint64_t offset;
    enum memlane_status status = memlane_producer_claim(producer, nbytes, &offset);
    if (status != MEMLANE_OK)
        return status;
    memlane_copy(producer->lane.bytes + offset, record, nbytes);
    return memlane_producer_commit(producer, offset, nbytes);
}

/* Void staged records, the last one first, so that those that are left always follow each other.
 * Never a bare 0: that would be (0, NONE) of another round. */
static inline void memlane_lane_void(const struct memlane_lane *lane, uint64_t first, uint64_t end) {
    while (end-- != first)
        /* relaxed: nobody looks here until the record in front of it is committed by a release */
        atomic_store_explicit(&memlane_descriptor_of(lane, end)->state, memlane_state(end, MEMLANE_STATE_NONE),
                              memory_order_relaxed);
}

/* Copy in as many of `count` records as there is room for, and commit them all at once.
 *
 * Callers:  the producer. Nothing of the caller's may fail any more.
 * Progress: wait-free.
 * Ordering: as memlane_producer_commit.
 * Returns:  MEMLANE_OK, *done records are in, at least one of count > 0; MEMLANE_FULL, MEMLANE_TOO_LARGE (the first
 * record),
 *           MEMLANE_CLOSED, MEMLANE_LOST, MEMLANE_CORRUPTED: none is.
 * If the producer dies inside: none is in; the staged ones are voided by memlane_producer_adopt. */
static inline enum memlane_status memlane_producer_put_many(struct memlane_producer *producer,
                                                            const struct memlane_span *records, size_t count,
                                                            size_t *done) {
    struct memlane_producer trial = *producer;
    const uint64_t first = producer->next;
    enum memlane_status status = MEMLANE_OK;
    size_t staged = 0;
    for (; staged < count; staged++) {
        uint64_t offset;
        status = memlane_producer_claim(&trial, records[staged].nbytes, &offset);
        if (status != MEMLANE_OK)
            break;
        memlane_copy(trial.lane.bytes + offset, records[staged].bytes, records[staged].nbytes);
        memlane_extent_store(&trial.lane, trial.next, offset, records[staged].nbytes);
        if (staged > 0)
            /* sync: descriptor.state. release: the payload is visible to the process that gets here, which nobody does
             * before the first record of the batch is READY. Pairs with memlane_consumer_peek. */
            atomic_store_explicit(&memlane_descriptor_of(&trial.lane, trial.next)->state,
                                  memlane_state(trial.next, MEMLANE_STATE_READY), memory_order_release);
        memlane_producer_step(&trial, offset, records[staged].nbytes);
    }
    *done = 0;
    if (staged == 0) {
        *producer = trial; /* what it saw of the consumer, and nothing else */
        return status;
    }
    if (!memlane_producer_owns(producer))
        return MEMLANE_LOST; /* and nothing is voided: what was staged may be the successor's records by now */
    status = memlane_producer_publish(&trial.lane, first);
    if (status != MEMLANE_OK) {
        memlane_lane_void(&trial.lane, first + 1, first + staged);
        return status;
    }
    *producer = trial;
    memlane_producer_hint(producer);
    *done = staged;
    return MEMLANE_OK;
}

/* Take up a lane, a fresh one or one with the backlog of a dead or departed producer.
 *
 * Callers:  a process that has just become its owner, `tag` is set. May be repeated: dying in it is harmless.
 * Progress: bounded by the number of descriptors.
 * Ordering: the owner word was taken with acquire, so all that the last owner did is visible.
 * Returns:  MEMLANE_OK, the private state is set; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_producer_adopt(struct memlane_producer *producer) {
    const struct memlane_lane *lane = &producer->lane;
    const uint64_t descriptors = lane->mask + 1;
    uint64_t head, next;
    for (int look = 0;; look++) {
        /* sync: lane.head. acquire: as in memlane_producer_refresh */
        head = atomic_load_explicit(&lane->control->head, memory_order_acquire);
        /* relaxed: the last owner is gone; its stores were made visible with the owner word */
        next = atomic_load_explicit(&lane->control->tail, memory_order_relaxed);
        if ((int64_t)(next - head) < 0)
            next = head; /* it died between a commit and the hint, and the record is consumed */
        if (next - head <= descriptors)
            break;
        if (look == 1)
            return MEMLANE_CORRUPTED;
    }
    for (; next - head < descriptors; next++) {
        /* sync: descriptor.state. acquire: the state, then the extent below. A record may be read by a
         * consumer at this very moment; READY, TAKEN and FREE all say that it was committed. */
        uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, next)->state, memory_order_acquire);
        bool taken = (uint32_t)state == (uint32_t)memlane_state(next, MEMLANE_STATE_TAKEN); /* the high half is a tag */
        if (!taken && state != memlane_state(next, MEMLANE_STATE_READY) &&
            state != memlane_state(next, MEMLANE_STATE_FREE))
            break;
    }
    uint64_t end = next + 1;
    while (end - next < descriptors &&
           /* relaxed: left by a producer that is gone, or by an adopter before us */
           atomic_load_explicit(&memlane_descriptor_of(lane, end)->state, memory_order_relaxed) ==
               memlane_state(end, MEMLANE_STATE_READY))
        end++;
    memlane_lane_void(lane, next + 1, end);

    struct memlane_extent last = {0, 0}, oldest = {0, 0};
    if (next != head && (memlane_extent_of(lane, next - 1, &last) != MEMLANE_OK ||
                         memlane_extent_of(lane, head, &oldest) != MEMLANE_OK))
        return MEMLANE_CORRUPTED;
    producer->next = next;
    producer->head = head;
    producer->oldest = oldest.offset;
    producer->write = last.offset + memlane_occupied(last.nbytes);
    producer->kept = producer->kept_last = NULL; /* views of the last owner's are in its process, which is gone */
    memlane_producer_hint(producer);
    return MEMLANE_OK;
}

#endif
