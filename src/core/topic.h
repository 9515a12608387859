/* SPDX-License-Identifier: MIT
 *
 * A topic: every subscriber sees every record. What its publishers (topic_publisher.h) and its subscribers
 * (topic_subscriber.h) share: places, their cursors, and the end.
 *
 * A topic has a lane for each publisher, as a ring has for each producer, and the bytes of a lane are the same. The
 * difference is `head`: a publisher moves it before it overwrites, and nobody else does.
 *
 *   descriptors   | gone | gone | READY | READY | READY | NONE |
 *                                 ^head                   ^ next commit
 *                                         ^ position of one subscriber     ^ position of another one
 *
 * A subscriber whose policy is "overwrite" is never waited for. It reads, then looks whether `head` has passed what it
 * read. It needs no place, so it may have the region mapped read-only; with a place it can be listed, and sleep.
 * A subscriber whose policy is "wait" shows in its place how far it is in each lane. A publisher that needs room moves
 * `head`, fences, and scans all places; what a completed scan has cleared may be overwritten. A joiner shows its
 * positions, fences, and reads `head` again: so either the scan sees the joiner, or the joiner sees the new `head`.
 *
 *   place   FREE -> JOINING -> WAIT or OVERWRITE -> FREE              by its owner; and from any state to FREE by a
 *                              WAIT -> EVICTED -> FREE                process that has proven it dead
 *
 *                        may run at the same time, in any processes
 *   publisher_*          with everything but another publisher of the same lane (one lock a lane keeps threads apart)
 *   subscriber_*         with everything but another thread of the same subscriber (one lock); a release needs no lock
 *   place_*, topic_*     with everything
 *
 * Progress: every function is wait-free or bounded by the numbers of descriptors, places and lanes; none ever waits.
 * If a process dies at the worst moment: of a publisher see lane.h; `head` may be ahead of what it overwrote, which costs
 * "overwrite" subscribers records that were still whole, and nothing else. The place of a dead subscriber bears a dead
 * tag, and the process that meets and proves it takes the place away.
 */
#ifndef MEMLANE_TOPIC_H
#define MEMLANE_TOPIC_H

#include "core/lane.h"
#include "core/topic_layout.h"

/* One process's view of a topic: addresses and geometry, private and fixed. */
struct memlane_topic {
    struct memlane_topic_control *control;
    unsigned char *places;
    uint64_t place_stride;
    uint32_t subscribers;
    uint32_t publishers;
};

#define MEMLANE_PLACE_STATE_BITS 3u
#define MEMLANE_PLACE_SESSION_MASK ((UINT64_C(1) << 29) - 1)

static inline struct memlane_place *memlane_place_of(const struct memlane_topic *topic, uint32_t index) {
    return (struct memlane_place *)(void *)(topic->places + index * topic->place_stride);
}

/* Those of many lanes go on behind the structure. */
static inline struct memlane_cursor *memlane_place_cursor(struct memlane_place *place, uint32_t lane) {
    return (struct memlane_cursor *)(void *)((unsigned char *)place + offsetof(struct memlane_place, cursors)) + lane;
}

static inline uint32_t memlane_holder_tag(uint64_t holder) { return (uint32_t)(holder >> 32); }

static inline enum memlane_place_state memlane_holder_state(uint64_t holder) {
    return (enum memlane_place_state)(holder & ((1u << MEMLANE_PLACE_STATE_BITS) - 1));
}

static inline uint64_t memlane_holder_in(uint64_t holder, enum memlane_place_state state) {
    return (holder & ~(((UINT64_C(1) << MEMLANE_PLACE_STATE_BITS)) - 1)) | (uint64_t)state;
}

/* The word of the next one to hold this place: no two sessions have the same, so a CAS meets the one it means. */
static inline uint64_t memlane_holder_next(uint64_t found, uint32_t tag) {
    uint64_t session = ((found >> MEMLANE_PLACE_STATE_BITS) + 1) & MEMLANE_PLACE_SESSION_MASK;
    return (uint64_t)tag << 32 | session << MEMLANE_PLACE_STATE_BITS | MEMLANE_PLACE_JOINING;
}

/* ---- places -------------------------------------------------------------------------------------- */

/* How many places have to be walked, never more than there are.
 * Callers: any. Progress: wait-free. Ordering: acquire, and seq_cst in a scan behind its fence. Returns: 0 to subscribers. */
static inline uint32_t memlane_topic_joined(const struct memlane_topic *topic) {
    /* sync: topic.joined. seq_cst: after the fence of a scan; pairs with memlane_place_take */
    uint32_t joined = atomic_load_explicit(&topic->control->joined, memory_order_seq_cst);
    return joined < topic->subscribers ? joined : topic->subscribers;
}

/* The holder of a place.
 * Callers: any. Progress: wait-free. Ordering: seq_cst. Returns: the word. */
static inline uint64_t memlane_place_holder(const struct memlane_place *place) {
    /* sync: place.holder. seq_cst: an acquire, the positions of a place in WAIT are shown; and after `head` was raised, or
     * both a scan and a joiner would miss each other. Pairs with memlane_place_show and memlane_place_give. */
    return atomic_load_explicit(&place->holder, memory_order_seq_cst);
}

/* Find the next place from *index on that is free, or, if `held`, one that is held, whose holder the caller may prove dead.
 * Callers: a joiner, first for a free one, then for one after the other that is held. Progress: bounded by the number of places.
 * Ordering: acquire. Returns: MEMLANE_OK, *index and *holder; MEMLANE_FULL: there is none. */
static inline enum memlane_status memlane_place_find(const struct memlane_topic *topic, bool held, uint32_t *index,
                                                     uint64_t *holder) {
    for (; *index < topic->subscribers; ++*index) {
        *holder = memlane_place_holder(memlane_place_of(topic, *index));
        if ((memlane_holder_state(*holder) != MEMLANE_PLACE_FREE) == held)
            return MEMLANE_OK;
    }
    return MEMLANE_FULL;
}

/* Take a place from `found`: a free one, or one whose holder is proven dead. It holds nobody up before
 * memlane_place_show.
 * Callers: a joiner, before anything else of the place is touched. Progress: lock-free. Ordering: acquire.
 * Returns: the word from now on; 0: somebody else was faster. */
static inline uint64_t memlane_place_take(const struct memlane_topic *topic, uint32_t index, uint64_t found,
                                          uint32_t tag) {
    struct memlane_place *place = memlane_place_of(topic, index);
    uint64_t holder = memlane_holder_next(found, tag);
    /* sync: place.holder. acq_rel: pairs with memlane_place_give; failure relaxed: nothing was taken */
    if (!atomic_compare_exchange_strong_explicit(&place->holder, &found, holder, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return 0;
    /* relaxed, both: memlane_place_show comes behind */
    atomic_store_explicit(&place->evict_after_ns, 0, memory_order_relaxed); /* relaxed: as above */
    atomic_store_explicit(&place->moved_ns, 0, memory_order_relaxed); /* relaxed: as above */
    uint32_t joined = atomic_load_explicit(&topic->control->joined, memory_order_relaxed); /* relaxed: for the CAS */
    while (joined <= index &&
           /* sync: topic.joined. seq_cst: before the place is shown, or the scan that must see it ends in front of it.
            * Pairs with memlane_topic_joined. */
           !atomic_compare_exchange_weak_explicit(&topic->control->joined, &joined, index + 1, memory_order_seq_cst,
                                                  memory_order_relaxed)) {
    }
    return holder;
}

/* Go from one state to another in one's own place, or evict.
 * Callers: the holder; a publisher that evicts; `found` is the word as it was seen. Progress: wait-free.
 * Ordering: seq_cst. Returns: true; false: the place is not that one's any more, or not in that state. */
static inline bool memlane_place_turn(struct memlane_place *place, uint64_t found, enum memlane_place_state state) {
    /* sync: place.holder. seq_cst: a release, what was stored before is visible, positions or facts; and in the total
     * order before a joiner's look at `head`, and before an evictor's look at the loans. Pairs with
     * memlane_place_holder. Failure relaxed: nothing was done. */
    return atomic_compare_exchange_strong_explicit(&place->holder, &found, memlane_holder_in(found, state),
                                                   memory_order_seq_cst, memory_order_relaxed);
}

/* Show one's positions: from now on the next scan of every lane sees them, or memlane_subscriber_settle sees how far it had
 * got.
 * Callers: a joiner that has stored a position for every lane. Progress: wait-free. Ordering: full fence.
 * Returns: true, and *holder as it is now; false: we were taken for dead. */
static inline bool memlane_place_show(struct memlane_place *place, uint64_t *holder, enum memlane_place_state state) {
    if (!memlane_place_turn(place, *holder, state))
        return false;
    *holder = memlane_holder_in(*holder, state);
    /* sync: place.holder. seq_cst fence: shown before `head` is read again. Pairs with the fence in
     * memlane_publisher_make_room. Without it a publisher overwrites what a joiner believes to be kept. */
    atomic_thread_fence(memory_order_seq_cst);
    return true;
}

/* Give a place back, or take away that of one proven dead.
 * Callers: the holder without loans; anyone with a proof of the tag in `holder`. Progress: wait-free.
 * Ordering: full fence, the caller may look at the waiters of lanes next. Returns: false: it was no longer that one's. */
static inline bool memlane_place_give(struct memlane_place *place, uint64_t holder) {
    /* sync: place.holder. seq_cst: a release, all reads of its holder are over; pairs with memlane_place_holder in a
     * scan. A CAS against the whole word: a later session must stay. Failure relaxed: nothing was done. */
    bool given = atomic_compare_exchange_strong_explicit(&place->holder, &holder,
                                                         memlane_holder_in(holder & UINT32_MAX, MEMLANE_PLACE_FREE),
                                                         memory_order_seq_cst, memory_order_relaxed);
    /* sync: waiters.count. seq_cst fence: as memlane_waiters_any_fenced */
    atomic_thread_fence(memory_order_seq_cst);
    return given;
}

/* How many records of a lane a place has on loan.
 * Callers: any. Progress: wait-free. Ordering: seq_cst. Returns: the number. */
static inline uint64_t memlane_place_loans(struct memlane_place *place, uint32_t lane) {
    /* sync: cursor.loans. seq_cst: an acquire, at 0 all reads of what was lent are over; and after the eviction, or an
     * evictor and a borrower would miss each other. Pairs with memlane_subscriber_borrow and _release. */
    return atomic_load_explicit(&memlane_place_cursor(place, lane)->loans, memory_order_seq_cst);
}

/* What a place keeps in a lane from being overwritten.
 * Callers: a publisher in its scan, behind its fence; anyone for people. Progress: wait-free. Ordering: acquire.
 * Returns: true and *position, from which on all is kept; false: nothing. */
static inline bool memlane_place_keeps(struct memlane_place *place, uint32_t lane, uint64_t *holder,
                                       uint64_t *position) {
    *holder = memlane_place_holder(place);
    enum memlane_place_state state = memlane_holder_state(*holder);
    if (state != MEMLANE_PLACE_WAIT && (state != MEMLANE_PLACE_EVICTED || memlane_place_loans(place, lane) == 0))
        return false;
    /* sync: cursor.position. acquire: the subscriber's reads of what lies before are over; pairs with
     * memlane_subscriber_show. seq_cst, for the second look of a publisher that waits. */
    *position = atomic_load_explicit(&memlane_place_cursor(place, lane)->position, memory_order_seq_cst);
    return true;
}

/* ---- for people: the processes and their places ------------------------------------------------------------------- */

/* How far a place is in a lane, whatever its policy.
 * Callers: any. Progress: wait-free. Ordering: none. Returns: the number. */
static inline uint64_t memlane_place_is_at(struct memlane_place *place, uint32_t lane) {
    return atomic_load_explicit(&memlane_place_cursor(place, lane)->position,
                                memory_order_relaxed); /* relaxed: for people */
}

/* Ask publishers to evict this place once it has not moved for so long; 0, as it is when it was taken: never.
 * Callers: a joiner, before memlane_place_show. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_place_ask_eviction(struct memlane_place *place, uint64_t after_ns) {
    atomic_store_explicit(&place->evict_after_ns, after_ns, memory_order_relaxed); /* relaxed: before the state */
}

/* Say when it last told of its position. Callers: the holder, once a batch. Progress: wait-free. Ordering: none.
 * Returns: nothing. */
static inline void memlane_place_note_moved(struct memlane_place *place, uint64_t now) {
    atomic_store_explicit(&place->moved_ns, now, memory_order_relaxed); /* relaxed: for people */
}

static inline uint64_t memlane_place_moved(const struct memlane_place *place) {
    return atomic_load_explicit(&place->moved_ns, memory_order_relaxed); /* relaxed: for people */
}

/* Why this place was evicted: how long it had not moved, and how many records it was behind.
 * Callers: the subscriber that found it EVICTED. Progress: wait-free. Ordering: none, the look at the state has done it. Returns: nothing. */
static inline void memlane_place_eviction(const struct memlane_place *place, uint64_t *after_ns, uint64_t *behind) {
    /* relaxed, both: stored before the state; two evictors at once may have mixed their numbers, both about right */
    *after_ns = atomic_load_explicit(&place->evicted_after_ns, memory_order_relaxed);
    *behind = atomic_load_explicit(&place->evicted_behind, memory_order_relaxed);
}

static inline uint64_t memlane_topic_evicted(const struct memlane_topic *topic) {
    return atomic_load_explicit(&topic->control->evicted, memory_order_relaxed); /* relaxed: for people */
}

/* ---- who sleeps ---------------------------------------------------------------------------------- */

/* The word of `armed` for this place, for memlane_armed_announce with `index` mod 64; the publisher collects each word
 * up to memlane_topic_armed_words after a commit. */
static inline _Atomic uint64_t *memlane_topic_armed(const struct memlane_topic *topic, uint32_t index) {
    return &topic->control->armed[index / 64];
}

static inline uint32_t memlane_topic_armed_words(const struct memlane_topic *topic) {
    return (topic->subscribers + 63) / 64;
}

/* ---- the end ------------------------------------------------------------------------------------- */

/* Close a lane at its next record, once the shutdown flag is up.
 *
 * Callers: a process that shuts the topic down, or sees that it was; a lane that was leased. May be repeated.
 * Progress: bounded by twice the number of descriptors.
 * Ordering: seq_cst: decides the race with a commit under way; the caller wakes all subscribers next.
 * Returns:  MEMLANE_CLOSED: no record will ever follow; MEMLANE_BUSY: a publisher that does not look at the flag.
 * There is always a descriptor to mark: that of the next record belongs to none that may still be read. */
static inline enum memlane_status memlane_topic_close_lane(const struct memlane_lane *lane) {
    /* sync: lane.tail. acquire: pairs with memlane_producer_hint */
    uint64_t s = atomic_load_explicit(&lane->control->tail, memory_order_acquire);
    for (uint64_t steps = 0; steps <= 2 * lane->mask + 2; steps++) {
        struct memlane_descriptor *descriptor = memlane_descriptor_of(lane, s);
        /* relaxed: only what the CAS expects, or passes over */
        uint64_t found = atomic_load_explicit(&descriptor->state, memory_order_relaxed);
        if (found == memlane_state(s, MEMLANE_STATE_CLOSED))
            return MEMLANE_CLOSED;
        if (found == memlane_state(s, MEMLANE_STATE_READY))
            s++;
        /* sync: descriptor.state. seq_cst: against the CAS of memlane_producer_publish, one of the two wins; and before the
         * caller's look at topic.armed */
        else if (atomic_compare_exchange_strong_explicit(&descriptor->state, &found,
                                                         memlane_state(s, MEMLANE_STATE_CLOSED), memory_order_seq_cst,
                                                         memory_order_relaxed))
            return MEMLANE_CLOSED;
    }
    return MEMLANE_BUSY;
}

#endif
