/* SPDX-License-Identifier: MIT
 *
 * A lane: the ring buffer of one producer, and its one consumer; lane_many.h has the half of many consumers.
 *
 * Record number s (64 bits, only grows) uses descriptor s mod N. Its payload is contiguous in the bytes
 * of the lane, a circular allocator over [offset of the oldest record, write offset).
 *
 *   descriptors   | FREE | READY | READY | READY | NONE  | NONE |        N = power of two
 *                          ^head           ^       ^ next commit
 *                                          next take
 *   bytes         |....  |oldest .. ...................|write ...|
 *
 * Commit is one compare-and-swap of a state word to (s, READY); before it nothing of a record is in
 * shared memory that anybody looks at. A consumer polls the state of its next record; there is no shared
 * tail to wait on (`tail` is a hint for lengths and for adoption).
 *
 *                       may run at the same time, in any processes
 *                       producer_*   consumer_*   release   length
 *   producer_*              no          yes         yes       yes     (one lock a lane keeps threads apart)
 *   consumer_*             yes           no         yes       yes     (one lock a ring keeps threads apart)
 *   consumer_release       yes          yes         yes       yes     needs no lock
 *
 * Progress: every function is wait-free but for memory that is copied; none ever waits for the other side.
 * If a process dies at the worst moment: a producer between two stores has committed its record or has
 * done nothing; a batch is committed by its first record alone, and what was staged behind it is voided by
 * whoever adopts the lane. A consumer has moved `head` or the record is handed out again.
 * It is not for two producers on one lane.
 *
 * Nothing read from the lane is trusted: a word is read once into a local, checked against the private
 * geometry, then used; what looks impossible is read again before it is called corrupt.
 */
#ifndef MEMLANE_LANE_H
#define MEMLANE_LANE_H

#include <stdbool.h>
#include <string.h>

#include "core/layout.h"
#include "core/waiters.h"
#include "core/words.h"

/* Of a long payload only the beginning: processors foresee the rest by themselves. */
#define MEMLANE_PREFETCH_MAX UINT64_C(1024)

/* One process's view of a lane: addresses and geometry, private and fixed. */
struct memlane_lane {
    struct memlane_lane_control *control;
    struct memlane_descriptor *descriptors; /* and as many stamps behind them */
    unsigned char *bytes;
    uint64_t capacity; /* of bytes, a multiple of 8 */
    uint64_t records; /* at most this many at a time, 1 to mask + 1 */
    uint64_t mask; /* N - 1 */
    bool many; /* consumers: then the producer moves `head` */
};

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
};

/* The consumer's private state for one lane. */
struct memlane_consumer {
    struct memlane_lane lane;
    /* relaxed everywhere: stored under the consumer's lock; another thread's unlocked peek is checked again */
    _Atomic uint64_t next;
    _Atomic uint64_t loans; /* records borrowed and not yet behind `head` */
    uint64_t freed_nbytes; /* since the producer was last rung for */
    uint64_t freed_records;
};

/* Where a payload lies: checked, private. */
struct memlane_extent {
    uint64_t offset;
    uint64_t nbytes;
};

/* A buffer of the caller's. */
struct memlane_span {
    const void *bytes;
    size_t nbytes;
};

static inline uint64_t memlane_state(uint64_t s, enum memlane_state kind) {
    return (s >> 29) << 32 | (s & ((UINT64_C(1) << 29) - 1)) << 3 | (uint64_t)kind;
}

static inline uint64_t memlane_extent_word(uint64_t offset, uint64_t nbytes) {
    return nbytes << 32 | offset >> 3;
}

/* Bytes that a record of `nbytes` occupies: a multiple of 8, never 0, so that full and empty differ. */
static inline uint64_t memlane_occupied(uint64_t nbytes) { return nbytes ? (nbytes + 7) & ~UINT64_C(7) : 8; }

static inline uint64_t memlane_max_record(const struct memlane_lane *lane) {
    return lane->capacity < MEMLANE_RECORD_MAX ? lane->capacity : MEMLANE_RECORD_MAX;
}

static inline struct memlane_descriptor *memlane_descriptor_of(const struct memlane_lane *lane, uint64_t s) {
    return &lane->descriptors[s & lane->mask];
}

static inline _Atomic uint64_t *memlane_lane_stamp_of(const struct memlane_lane *lane, uint64_t s) {
    return (_Atomic uint64_t *)(lane->descriptors + lane->mask + 1) + (s & lane->mask);
}

/* Read the extent of a record and check it against the geometry.
 * Callers: any that saw the state of `s`. Progress: wait-free. Ordering: none of its own.
 * Returns: MEMLANE_OK; MEMLANE_CORRUPTED if it is out of bounds twice. */
static inline enum memlane_status memlane_extent_of(const struct memlane_lane *lane, uint64_t s,
                                                    struct memlane_extent *extent) {
    for (int look = 0; look < 2; look++) {
        /* relaxed: the acquire load of the state that made us look has ordered it; who looked without one
         * (memlane_lane_prefetch) decides nothing by it */
        uint64_t word = atomic_load_explicit(&memlane_descriptor_of(lane, s)->extent, memory_order_relaxed);
        extent->offset = (word & UINT32_MAX) << 3;
        extent->nbytes = word >> 32;
        if (extent->offset <= lane->capacity &&
            memlane_occupied(extent->nbytes) <= lane->capacity - extent->offset)
            return MEMLANE_OK;
    }
    return MEMLANE_CORRUPTED;
}

/* Up to where records have been released, got and put, for statistics.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: the number. */
static inline uint64_t memlane_lane_head(const struct memlane_lane *lane) {
    return atomic_load_explicit(&lane->control->head, memory_order_relaxed); /* relaxed: for people */
}

static inline uint64_t memlane_lane_got(const struct memlane_lane *lane) {
    if (!lane->many)
        return memlane_lane_head(lane);
    return atomic_load_explicit(&lane->control->taken, memory_order_relaxed); /* relaxed: for people */
}

static inline uint64_t memlane_lane_tail(const struct memlane_lane *lane) {
    return atomic_load_explicit(&lane->control->tail, memory_order_relaxed); /* relaxed: for people */
}

/* Records in the lane, as a snapshot that was about true at some moment.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: 0 to records. */
static inline uint64_t memlane_lane_length(const struct memlane_lane *lane) {
    uint64_t head = memlane_lane_got(lane);
    /* relaxed: a number for people and for estimates; nothing is decided by it */
    uint64_t tail = atomic_load_explicit(&lane->control->tail, memory_order_relaxed);
    uint64_t length = tail - head;
    if ((int64_t)length < 0)
        return 0; /* `tail` is stored after the commit: the consumer may be ahead of it */
    return length < lane->records ? length : lane->records;
}

/* Up to where a producer has committed that is gone: `tail`, and what it could not say any more.
 * Callers: anyone, once the producer has ended; as long as another one goes on it is a snapshot. Progress: bounded by the
 * number of descriptors. Ordering: acquire. Returns: the number of the first record that is not committed. */
static inline uint64_t memlane_lane_end(const struct memlane_lane *lane) {
    /* sync: lane.tail. acquire: pairs with memlane_producer_hint */
    uint64_t end = atomic_load_explicit(&lane->control->tail, memory_order_acquire);
    for (uint64_t steps = 0; steps <= lane->mask; steps++, end++) {
        /* sync: descriptor.state. acquire: as in memlane_producer_adopt; a record that is not committed is not passed, so
         * nothing staged is met */
        uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, end)->state, memory_order_acquire);
        if (state != memlane_state(end, MEMLANE_STATE_READY) && state != memlane_state(end, MEMLANE_STATE_FREE) &&
            (uint32_t)state != (uint32_t)memlane_state(end, MEMLANE_STATE_TAKEN)) /* the high half is a tag */
            break;
    }
    return end;
}

/* A record s that was committed when the clock of the stamps showed `now`. */
static inline uint64_t memlane_stamp_word(uint64_t s, uint64_t now) {
    const uint64_t ticks = now >> MEMLANE_TICK_BITS & ((UINT64_C(1) << MEMLANE_STAMP_TICKS_BITS) - 1);
    return s << MEMLANE_STAMP_TICKS_BITS | ticks;
}

/* Since when the oldest record has waited that nobody has taken or given back, at the latest: the time of the first
 * record from it on that has a stamp, which is at most MEMLANE_STAMP_EACH - 1 further. For statistics.
 * Callers: anyone, of a lane that was leased; `clock` tells its own clock from others. Progress: bounded by *steps, of which
 * it takes those that it made, and MEMLANE_STAMP_EACH. Ordering: acquire. Returns: ns, 0: no record, or not known; a time
 * to come where a stamp is spoilt. */
static inline uint64_t memlane_lane_waits_since(const struct memlane_lane *lane, uint64_t clock, uint64_t *steps) {
    /* sync: lane.clock. acquire: whoever sees our clock sees no stamp of another one; pairs with memlane_producer_clock */
    if (clock == 0 || atomic_load_explicit(&lane->control->clock, memory_order_acquire) != clock)
        return 0;
    uint64_t s = memlane_lane_head(lane);
    for (uint64_t looks = 0;; looks++, s++) {
        /* relaxed, as all of the rest: for people */
        uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_relaxed);
        if (state == memlane_state(s, MEMLANE_STATE_READY))
            break;
        if ((state != memlane_state(s, MEMLANE_STATE_FREE) &&
             (uint32_t)state != (uint32_t)memlane_state(s, MEMLANE_STATE_TAKEN)) || /* the high half is a tag */
            looks > lane->mask || *steps == 0)
            return 0;
        *steps -= 1;
    }
    for (uint64_t looks = 0; looks < MEMLANE_STAMP_EACH; looks++, s++) {
        /* relaxed: for people */
        uint64_t stamp = atomic_load_explicit(memlane_lane_stamp_of(lane, s), memory_order_relaxed);
        uint64_t ticks = stamp & ((UINT64_C(1) << MEMLANE_STAMP_TICKS_BITS) - 1);
        if (ticks != 0 && stamp >> MEMLANE_STAMP_TICKS_BITS == s << MEMLANE_STAMP_TICKS_BITS >> MEMLANE_STAMP_TICKS_BITS)
            return ticks << MEMLANE_TICK_BITS;
    }
    return 0;
}

/* How often a put found no room, for statistics.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: the number. */
static inline uint64_t memlane_lane_full(const struct memlane_lane *lane) {
    return atomic_load_explicit(&lane->control->full, memory_order_relaxed); /* relaxed: for people */
}

/* ---- shutdown ------------------------------------------------------------------------------- */

/* 0, or how the ring is to come to its end.
 * Callers: any; the producer before every claim and after every look at head. Progress: wait-free.
 * Ordering: seq_cst. Returns: 0, MEMLANE_SHUTDOWN_DRAIN or, for anything else, MEMLANE_SHUTDOWN_DROP. */
static inline uint32_t memlane_ring_shutdown(struct memlane_ring_control *control) {
    /* sync: ring.shutdown. seq_cst: after the load of head that found new room, see memlane_producer_refresh.
     * Pairs with memlane_ring_shut. */
    uint32_t shutdown = atomic_load_explicit(&control->shutdown, memory_order_seq_cst);
    return shutdown < MEMLANE_SHUTDOWN_DROP ? shutdown : MEMLANE_SHUTDOWN_DROP;
}

/* Shut the ring down; dropping wins over draining.
 * Callers: anyone with write access. Progress: lock-free. Ordering: full fence, the caller may look at waiters.count
 * in any way next. Returns: nothing. */
static inline void memlane_ring_shut(struct memlane_ring_control *control, uint32_t how) {
    /* relaxed: only what the CAS expects */
    uint32_t found = atomic_load_explicit(&control->shutdown, memory_order_relaxed);
    while (found < how &&
           /* sync: ring.shutdown. seq_cst: pairs with memlane_ring_shutdown */
           !atomic_compare_exchange_weak_explicit(&control->shutdown, &found, how, memory_order_seq_cst,
                                                  memory_order_relaxed)) {
    }
    /* sync: waiters.count. seq_cst fence: the flag is visible before anybody looks for sleepers, which
     * memlane_waiters_withdraw does by a relaxed load. Without it that load may pass the store, and a get that is
     * just announcing itself sleeps a slice in a ring that has ended. Pairs with memlane_waiters_announce. */
    atomic_thread_fence(memory_order_seq_cst);
}

/* ---- the producer ----------------------------------------------------------------------------- */

/* Move `head` over the records that many consumers have freed.
 * Callers: the producer, who alone moves it. Progress: bounded by the number of descriptors.
 * Ordering: as memlane_producer_refresh. Returns: nothing. */
static inline void memlane_many_advance(const struct memlane_lane *lane) {
    /* relaxed: only we store it */
    uint64_t head = atomic_load_explicit(&lane->control->head, memory_order_relaxed), end = head;
    for (uint64_t steps = 0; steps <= lane->mask; steps++, end++)
        /* sync: descriptor.state (free). seq_cst: an acquire, the reads of who freed it are over before we overwrite
         * the record; and in the total order before the look at the shutdown flag that must follow. Pairs with
         * memlane_many_free. */
        if (atomic_load_explicit(&memlane_descriptor_of(lane, end)->state, memory_order_seq_cst) !=
            memlane_state(end, MEMLANE_STATE_FREE))
            break;
    if (end != head)
        /* sync: lane.head. release: who reads it sees the FREE states before it. A CAS: one that was taken for dead
         * must not move it back under its heir. Failure relaxed: nothing of ours was done. */
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
static inline enum memlane_status memlane_producer_fit_seen(const struct memlane_producer *producer,
                                                            uint64_t occupied, uint64_t *offset) {
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
     * by a full fence where a producer is rung for */
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
 * goes to an heir, whose records it must not write over.
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
        /* sync: descriptor.state. seq_cst: a release, so that payload and extent are visible to who sees
         * READY; and in the total order before the caller's look at waiters.count, or a consumer could go
         * to sleep on this record. Pairs with the loads in memlane_consumer_peek and memlane_consumer_any. */
        if (atomic_compare_exchange_strong_explicit(&descriptor->state, &found,
                                                    memlane_state(s, MEMLANE_STATE_READY),
                                                    memory_order_seq_cst, memory_order_relaxed))
            return MEMLANE_OK;
    }
    return MEMLANE_CORRUPTED;
}

/* Store the hint. sync: lane.tail. release: pairs with the acquire load in memlane_consumer_overlooked:
 * whoever sees this tail sees the READY states below it. */
static inline void memlane_producer_hint(const struct memlane_producer *producer) {
    atomic_store_explicit(&producer->lane.control->tail, producer->next, memory_order_release);
}

static inline void memlane_extent_store(const struct memlane_lane *lane, uint64_t s, uint64_t offset,
                                        uint64_t nbytes) {
    /* relaxed: the commit's CAS orders it */
    atomic_store_explicit(&memlane_descriptor_of(lane, s)->extent, memlane_extent_word(offset, nbytes),
                          memory_order_relaxed);
}

/* Say that the last `count` records were committed when the clock of the stamps showed `now`: with a stamp for the last of
 * them, and for each whose number is a multiple of MEMLANE_STAMP_EACH. A look at the cheapest clock takes a tenth of a put,
 * so the caller may leave other records out.
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

/* Wipe stamps of another clock, before a reboot or in another time namespace.
 * Callers: the producer, after memlane_producer_adopt; `clock` 0: it does not know its clock, and nobody is to trust it.
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
        atomic_store_explicit(&memlane_descriptor_of(lane, end)->state,
                              memlane_state(end, MEMLANE_STATE_NONE), memory_order_relaxed);
}

/* Copy in as many of `count` records as there is room for, and commit them all at once.
 *
 * Callers:  the producer. Nothing of the caller's may fail any more.
 * Progress: wait-free.
 * Ordering: as memlane_producer_commit.
 * Returns:  MEMLANE_OK, *done records are in, at least one of count > 0; MEMLANE_FULL, MEMLANE_TOO_LARGE (the first record),
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
            /* sync: descriptor.state. release: the payload is visible to who gets here, which nobody does
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
        return MEMLANE_LOST; /* and nothing is voided: what was staged may be the heir's records by now */
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
 * Callers:  who has just become its owner, `tag` is set. May be repeated: dying in it is harmless.
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
        bool taken = (uint32_t)state ==
                     (uint32_t)memlane_state(next, MEMLANE_STATE_TAKEN); /* the high half is a tag */
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

/* ---- the owner of a lane, and how many lanes are in use -------------------------------------- */

/* Take a lane from `found` (never leased, departed, or a tag proven dead).
 *
 * Callers:  anyone who wants to produce; the memory of the lane is reserved already.
 * Progress: wait-free.
 * Ordering: acquire: what the owner before did is visible.
 * Returns:  true: it is ours, memlane_producer_adopt comes next; false: somebody else was faster. */
static inline bool memlane_lane_lease(struct memlane_lane_control *control, uint32_t found, uint32_t tag) {
    /* sync: lane.owner. acq_rel: pairs with memlane_lane_depart. Failure relaxed: nothing was taken. */
    return atomic_compare_exchange_strong_explicit(&control->owner, &found, tag, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* Give a lane back; its backlog stays for the consumer, the lane for the next producer.
 * Callers: the producer. Progress: wait-free. Ordering: release. Returns: false: it was taken from us. */
static inline bool memlane_lane_depart(struct memlane_lane_control *control, uint32_t tag) {
    /* sync: lane.owner. release: pairs with memlane_lane_lease; the adopter sees all our states. A CAS,
     * because one taken for dead must not free the lane of its heir. */
    return atomic_compare_exchange_strong_explicit(&control->owner, &tag, MEMLANE_OWNER_DEPARTED,
                                                   memory_order_release, memory_order_relaxed);
}

/* Who owns a lane: a tag, or one of MEMLANE_OWNER_*.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: the owner word. */
static inline uint32_t memlane_lane_owner(const struct memlane_lane_control *control) {
    /* sync: lane.owner. acquire: a lane that was leased has its memory reserved; pairs with memlane_lane_lease */
    return atomic_load_explicit(&control->owner, memory_order_acquire);
}

/* Tell consumers that the first `lanes` lanes have been leased.
 * Callers: a new owner, before its first commit. Progress: lock-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_ring_raise_leased(struct memlane_ring_control *control, uint32_t lanes) {
    /* relaxed: only what the CAS expects */
    uint32_t leased = atomic_load_explicit(&control->leased, memory_order_relaxed);
    while (leased < lanes &&
           /* sync: ring.leased. seq_cst: before the look at waiters.count that follows the first commit in the
            * total order, or a consumer could sleep without knowing of this lane. Pairs with the load in
            * memlane_ring_leased. */
           !atomic_compare_exchange_weak_explicit(&control->leased, &leased, lanes, memory_order_seq_cst,
                                                  memory_order_relaxed)) {
    }
}

/* How many lanes a consumer has to walk, never more than there are.
 * Callers: any. Progress: wait-free. Ordering: seq_cst. Returns: 0 to lanes. */
static inline uint32_t memlane_ring_leased(struct memlane_ring_control *control, uint32_t lanes) {
    /* sync: ring.leased. seq_cst: after waiters.count was announced; a plain load on common machines */
    uint32_t leased = atomic_load_explicit(&control->leased, memory_order_seq_cst);
    return leased < lanes ? leased : lanes;
}

/* ---- the consumer ----------------------------------------------------------------------------- */

/* Begin where the last consumer ended: what it had in hand is handed out again.
 * Callers: who has just taken the role. Progress: wait-free. Ordering: acquire. Returns: nothing. */
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
         * neighbours each mark, fence and look: at least one of them sees both marks. Without the fence
         * head would stop between them for good. Pairs with the mark in memlane_consumer_release. */
        if (atomic_load_explicit(&memlane_descriptor_of(lane, head)->state, memory_order_seq_cst) !=
            memlane_state(head, MEMLANE_STATE_FREE))
            return;
        /* sync: lane.head. seq_cst: a release, our reads of the payload are over before the producer may
         * reuse it; pairs with memlane_producer_refresh. On failure another thread moved it: go on there. */
        if (atomic_compare_exchange_strong_explicit(&lane->control->head, &head, head + 1,
                                                    memory_order_seq_cst, memory_order_acquire))
            head += 1;
    }
}

/* Mark a record as released. Returns: true; false: it was not READY, so not ours to release. */
static inline bool memlane_consumer_mark(const struct memlane_lane *lane, uint64_t s) {
    uint64_t ready = memlane_state(s, MEMLANE_STATE_READY);
    /* sync: descriptor.state (free). seq_cst: a release, our reads of the payload come before; see
     * memlane_consumer_advance. Failure relaxed: nothing was done. */
    bool marked = atomic_compare_exchange_strong_explicit(&memlane_descriptor_of(lane, s)->state, &ready,
                                                          memlane_state(s, MEMLANE_STATE_FREE),
                                                          memory_order_seq_cst, memory_order_relaxed);
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
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(&consumer->lane, next)->state,
                                          memory_order_acquire);
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

/* Look at up to `most` records for a batch: one that was peeked at, and behind it up to `most_nbytes` of them all. Who
 * takes no more than that looks no further.
 * Callers: as memlane_consumer_peek, which has just found `first` at `s`. Progress: bounded by `most`. Ordering: as there.
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

/* The extent of record s, for who only wants to have it fetched. Returns: false: leave it alone. */
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
static inline bool memlane_consumer_finish(struct memlane_consumer *consumer, uint64_t records,
                                           uint64_t nbytes) {
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
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(&consumer->lane, next)->state,
                                          memory_order_seq_cst);
    return state == memlane_state(next, MEMLANE_STATE_READY) ||
           state == memlane_state(next, MEMLANE_STATE_FREE) ||
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
                                                   memlane_state(next, MEMLANE_STATE_CLOSED),
                                                   memory_order_acq_rel, memory_order_relaxed)
               ? MEMLANE_CLOSED
               : MEMLANE_BUSY;
}

/* The same for a lane that nobody ever leased, without touching its unreserved memory.
 * Callers: the consumer. Progress: wait-free. Ordering: acq_rel.
 * Returns: MEMLANE_CLOSED; MEMLANE_BUSY: it has been leased meanwhile. */
static inline enum memlane_status memlane_lane_close_unleased(struct memlane_lane_control *control) {
    uint32_t found = MEMLANE_OWNER_NEVER;
    /* sync: lane.owner. acq_rel: against memlane_lane_lease, one of the two wins; failure acquire: then
     * the lane is looked at as a leased one. */
    if (atomic_compare_exchange_strong_explicit(&control->owner, &found, MEMLANE_OWNER_CLOSED,
                                                memory_order_acq_rel, memory_order_acquire))
        return MEMLANE_CLOSED;
    return found == MEMLANE_OWNER_CLOSED ? MEMLANE_CLOSED : MEMLANE_BUSY;
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

/* ---- the role of the one consumer ------------------------------------------------------------- */

/* Take the role from `found` (0, or a tag proven dead).
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: true: ours. */
static inline bool memlane_role_take(_Atomic uint32_t *role, uint32_t found, uint32_t tag) {
    /* sync: role.owner. acq_rel: pairs with memlane_role_give; failure relaxed: nothing was taken */
    return atomic_compare_exchange_strong_explicit(role, &found, tag, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

/* Give the role back. Callers: its holder. Progress: wait-free. Ordering: release.
 * Returns: false: it was no longer ours. */
static inline bool memlane_role_give(_Atomic uint32_t *role, uint32_t tag) {
    /* sync: role.owner. release: pairs with memlane_role_take. A CAS: the heir's role must stay. */
    return atomic_compare_exchange_strong_explicit(role, &tag, MEMLANE_TAG_NONE, memory_order_release,
                                                   memory_order_relaxed);
}

/* Who holds a role: a tag or 0.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: the word. */
static inline uint32_t memlane_role_owner(const _Atomic uint32_t *role) {
    /* sync: role.owner. acquire: pairs with memlane_role_give */
    return atomic_load_explicit(role, memory_order_acquire);
}

/* Whether the role is still ours, after a copy and before `head` moves.
 * Callers: the holder. Progress: wait-free. Ordering: none. Returns: true: ours. */
static inline bool memlane_role_held(_Atomic uint32_t *role, uint32_t tag) {
    /* relaxed: one taken for dead wrongly shall stop soon; what it does until then is not promised */
    return atomic_load_explicit(role, memory_order_relaxed) == tag;
}

#endif
