/* SPDX-License-Identifier: MIT
 *
 * Unfinished tasks of a queue: records that were put and whose task is not done, whatever dies.
 *
 * They are derived, not counted: the records that are not free, and one word for each participant, which says how many
 * tasks it has got and not done.
 *
 *   hands[row]   [ tag : 32 | tasks in hand : 32 ]
 *
 * A consumer raises its word before it frees the record, so a task is always in one of the two. The word of a participant
 * that is dead means nothing: the tasks that it had got are abandoned, and nobody waits for them.
 *
 * All is done if the lanes have no record, then no participant that lives has a task in hand, and then the lanes still end
 * where they ended. While nobody looks at a lane a task may put another one; so the last look has to find that none was
 * put since the first.
 */
#ifndef MEMLANE_QUEUE_TASKS_H
#define MEMLANE_QUEUE_TASKS_H

#include "core/lane_consumers.h"
#include "core/participants.h"
#include "core/queue_layout.h"

/* Whether a tag is proven dead. */
typedef bool (*memlane_tasks_judge)(void *judge, uint32_t tag);

static inline uint64_t memlane_tasks_word(uint32_t tag, uint32_t count) { return (uint64_t)tag << 32 | count; }

/* Note that we have got one more task.
 * Callers: a consumer that has claimed the record, before it frees it, from any thread. Progress: lock-free. Ordering: seq_cst.
 * Returns: nothing. If it dies between this and the freeing: the record is delivered again, and the word means nothing. */
static inline void memlane_tasks_get(_Atomic uint64_t *hands, uint32_t tag) {
    _Atomic uint64_t *word = &hands[memlane_tag_row(tag)];
    /* relaxed: only what the CAS expects */
    uint64_t found = atomic_load_explicit(word, memory_order_relaxed);
    for (;;) {
        if (found == memlane_tasks_word(tag, UINT32_MAX))
            return; /* a program that never says that tasks are done: a join of it waits for ever, as it would */
        /* another tag of our row is that of a dead participant */
        uint64_t next = found >> 32 == tag ? found + 1 : memlane_tasks_word(tag, 1);
        /* sync: queue.hands. seq_cst: before the record is free; pairs with memlane_tasks_in_hand. Without it a join sees the
         * task in neither place. */
        if (atomic_compare_exchange_weak_explicit(word, &found, next, memory_order_seq_cst, memory_order_relaxed))
            return;
    }
}

/* Take one task out of a word, if it has any. */
static inline bool memlane_tasks_lower(_Atomic uint64_t *word, uint64_t found) {
    while ((uint32_t)found != 0)
        /* sync: queue.hands. seq_cst: all that the task has put is there before it is done, and this before the look at
         * `joiners`. Pairs with memlane_tasks_in_hand. */
        if (atomic_compare_exchange_weak_explicit(word, &found, found - 1, memory_order_seq_cst, memory_order_relaxed))
            return true;
    return false;
}

/* A task is done: one of ours, or one that another living process has got.
 * Callers: anyone with a tag; it looks at `joiners` next. Progress: lock-free; bounded by the number of rows. Ordering: seq_cst.
 * Returns: MEMLANE_OK; MEMLANE_EMPTY: nobody has any task in hand. */
static inline enum memlane_status memlane_tasks_done(_Atomic uint64_t *hands, uint32_t rows, uint32_t tag,
                                                     memlane_tasks_judge is_dead, void *judge) {
    _Atomic uint64_t *ours = &hands[memlane_tag_row(tag)];
    /* relaxed, both: only what the CAS expects */
    uint64_t found = atomic_load_explicit(ours, memory_order_relaxed);
    if (found >> 32 == tag && memlane_tasks_lower(ours, found))
        return MEMLANE_OK;
    for (uint32_t row = 0; row < rows; row++) {
        found = atomic_load_explicit(&hands[row], memory_order_relaxed); /* relaxed: as above */
        if ((uint32_t)found != 0 && !is_dead(judge, (uint32_t)(found >> 32)) && memlane_tasks_lower(&hands[row], found))
            return MEMLANE_OK;
    }
    return MEMLANE_EMPTY;
}

/* Whether a participant that lives has a task in hand.
 * Callers: anyone. Progress: bounded by the number of rows. Ordering: seq_cst. Returns: true: one has. */
static inline bool memlane_tasks_in_hand(_Atomic uint64_t *hands, uint32_t rows, memlane_tasks_judge is_dead,
                                         void *judge) {
    for (uint32_t row = 0; row < rows; row++) {
        /* sync: queue.hands. seq_cst: behind the look at the lanes; pairs with memlane_tasks_get and _lower */
        uint64_t found = atomic_load_explicit(&hands[row], memory_order_seq_cst);
        if ((uint32_t)found != 0 && !is_dead(judge, (uint32_t)(found >> 32)))
            return true;
    }
    return false;
}

/* Where all lanes end. Returns: true: none has a record, and *end is the sum of the numbers that come next. */
static inline bool memlane_tasks_lanes_end(struct memlane_many *many, uint32_t leased, bool settle, uint64_t *end) {
    *end = 0;
    for (uint32_t lane = 0; lane < leased; lane++) {
        struct memlane_found found;
        enum memlane_status status = memlane_many_look(&many[lane], &found);
        if (status != MEMLANE_EMPTY && status != MEMLANE_CLOSED)
            return false;
        /* an empty lane ends where `taken` is; what lies below it and is in a hand is not free */
        if (settle && memlane_many_settle(&many[lane], found.s) != found.s)
            return false;
        *end += found.s;
    }
    return true;
}

/* Whether every task is done.
 *
 * Callers:  anyone; `many` is its private state of all `lanes`. A join looks so after memlane_waiters_announce at `joiners`, and
 *           again each recheck interval, since a death ends tasks, too.
 * Progress: bounded by the numbers of lanes, descriptors and rows.
 * Ordering: full fence.
 * Returns:  true: at some moment of this call there was no unfinished task. */
static inline bool memlane_tasks_all_done(struct memlane_queue_control *control, struct memlane_many *many,
                                          uint32_t lanes, _Atomic uint64_t *hands, uint32_t rows,
                                          memlane_tasks_judge is_dead, void *judge) {
    uint64_t first, last;
    /* sync: waiters.count. seq_cst fence: the announcement is before these looks; pairs with the look at `joiners` behind
     * memlane_tasks_done */
    atomic_thread_fence(memory_order_seq_cst);
    const uint32_t leased = memlane_ring_leased(&control->ring, lanes);
    if (!memlane_tasks_lanes_end(many, leased, true, &first) || memlane_tasks_in_hand(hands, rows, is_dead, judge))
        return false;
    /* A lane that was leased since may have got a task as well. */
    return memlane_tasks_lanes_end(many, leased, false, &last) && first == last &&
           memlane_ring_leased(&control->ring, lanes) == leased;
}

#endif
