/* SPDX-License-Identifier: MIT
 *
 * The consumers of a ring, for producers that do not want to wait for nobody.
 *
 * The one consumer is the word `consumer` of the ring control. Many consumers are a table of tags behind the lane
 * controls, by the row of the tag: each writes its own word when it comes, and clears it when it leaves; a process that
 * has proven one dead clears it in its place. `came` counts those that ever came, `died` those of them that are known
 * to have died. The numbers are for people, but for `came`: a process that has walked over the table and finds it
 * changed has seen nothing.
 *
 *   joining                       leaving                    looking
 *   table[own row] = tag          table[own row] = 0         came
 *   came + 1                                                 the words of the table
 *                                                            came: the same, or look again later
 *
 *                       may run at the same time, in any processes: everything with everything
 *
 * Progress: every function is wait-free. A process that dies between two steps of coming is found in the table, or has
 * never come.
 */
#ifndef MEMLANE_PEERS_H
#define MEMLANE_PEERS_H

#include <stdbool.h>

#include "core/participants.h"
#include "core/ring_layout.h"

/* Note that this process has become a consumer. `table`: that of many consumers, NULL for one, whose role is taken.
 * Callers: a process that is a consumer from now on. Progress: wait-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_peers_come(struct memlane_ring_control *control, _Atomic uint32_t *table, uint32_t tag) {
    if (table)
        /* sync: ring.came. seq_cst: before the number in the total order, see memlane_peers_came */
        atomic_store_explicit(&table[memlane_tag_row(tag)], tag, memory_order_seq_cst);
    /* sync: ring.came. seq_cst: a walk that sees another one leave who left after this sees the number. Pairs with
     * memlane_peers_came. */
    atomic_fetch_add_explicit(&control->came, 1, memory_order_seq_cst);
}

/* Clear the word of a consumer of many: its own, or that of a tag proven dead.
 * Callers: its owner; anyone with a proof. Progress: wait-free. Ordering: seq_cst.
 * Returns: true: it was still there. */
static inline bool memlane_peers_clear(_Atomic uint32_t *table, uint32_t tag) {
    /* sync: ring.came. seq_cst: pairs with memlane_peers_at. A CAS: the word may be that of the row's next owner.
     * Failure relaxed: nothing was done. */
    return atomic_compare_exchange_strong_explicit(&table[memlane_tag_row(tag)], &tag, MEMLANE_TAG_NONE,
                                                   memory_order_seq_cst, memory_order_relaxed);
}

/* Note that one has been proven dead. Callers: a process that took its word away. Progress: wait-free. Ordering: none.
 * Returns: nothing. */
static inline void memlane_peers_note_dead(struct memlane_ring_control *control) {
    atomic_fetch_add_explicit(&control->died, 1, memory_order_relaxed); /* relaxed: for people */
}

/* How many consumers ever came: before and after a walk.
 * Callers: anyone. Progress: wait-free. Ordering: seq_cst. Returns: the number. */
static inline uint64_t memlane_peers_came(const struct memlane_ring_control *control) {
    /* sync: ring.came. seq_cst: in the total order with the words of the table. One comes, writes its word behind where
     * the walk is, and then another one leaves before the walk gets there: the second look finds another number.
     * Without it a producer would say that nobody is left, although there was somebody all the time. */
    return atomic_load_explicit(&control->came, memory_order_seq_cst);
}

/* How many are known to have died. Callers: anyone. Progress: wait-free. Ordering: none. Returns: the number. */
static inline uint64_t memlane_peers_died(const struct memlane_ring_control *control) {
    return atomic_load_explicit(&control->died, memory_order_relaxed); /* relaxed: for people */
}

/* The second look of a put that waits and wants to know of it: whether a consumer that was there has left.
 * Callers: a producer, after memlane_waiters_announce; `word` is that of the one consumer, or of the row of `tag`.
 * Progress: wait-free. Ordering: seq_cst. Returns: true: look again who is left. */
static inline bool memlane_peers_has_left(const _Atomic uint32_t *word, uint32_t tag) {
    /* sync: waiters.count. seq_cst: after waiters.count was raised; a process that leaves looks at it behind a full
     * fence. Without it the put sleeps a recheck interval in a ring that nobody gets from any more. */
    return atomic_load_explicit(word, memory_order_seq_cst) != tag;
}

/* The consumer of one row of the table: a tag, which names that row or is not to be believed, or 0.
 * Callers: anyone; `row` is below MEMLANE_ROWS_MAX. Progress: wait-free. Ordering: seq_cst.
 * Returns: the tag; 0: nobody, or bytes that no sound program writes. */
static inline uint32_t memlane_peers_at(const _Atomic uint32_t *table, uint32_t row) {
    /* sync: ring.came. seq_cst: see memlane_peers_came */
    uint32_t tag = atomic_load_explicit(&table[row], memory_order_seq_cst);
    return memlane_tag_row(tag) == row ? tag : MEMLANE_TAG_NONE;
}

/* Go on with a walk over the table that began with `came`, from *row, to the next consumer in it.
 * Callers: anyone; a process that wants to go on behind it raises *row. Progress: bounded by `rows`. Ordering: seq_cst.
 * Returns: MEMLANE_OK, *row and *tag; MEMLANE_EMPTY: there is none; MEMLANE_BUSY: there was none where the walk looked,
 * but one came meanwhile. */
static inline enum memlane_status memlane_peers_next(const struct memlane_ring_control *control,
                                                     const _Atomic uint32_t *table, uint32_t rows, uint64_t came,
                                                     uint32_t *row, uint32_t *tag) {
    for (; *row < rows; ++*row)
        if ((*tag = memlane_peers_at(table, *row)) != MEMLANE_TAG_NONE)
            return MEMLANE_OK;
    return memlane_peers_came(control) == came ? MEMLANE_EMPTY : MEMLANE_BUSY;
}

#endif
