/* SPDX-License-Identifier: MIT
 *
 * References to a block that no process has: those of records, of versions of a slot, and of loans.
 *
 *   a record or a version   choose a transit that is over, stage it, say where, say RECORD or VERSION, then commit or
 *                           publish, then drop one's own word, if wanted
 *   a loan                  stage it, say LENT with a count; each reader opens the block first and lowers the count then
 *
 * A transit is written before what it names is committed, while the sender still holds the block. Nobody has to take it away:
 * what stands at its place says whether it holds. So a record that was committed keeps its blocks, whoever dies.
 *
 * May a transit be used again? That is asked more strictly than whether it holds: one whose record is not committed yet must
 * stay as long as its sender lives, since the commit makes it hold; and of a dead sender the place is looked at again behind the
 * proof. The stamp, in the word that the CAS decides on, is another one each time, so a judgment that is old takes nothing.
 */
#ifndef MEMLANE_HEAP_TRANSIT_H
#define MEMLANE_HEAP_TRANSIT_H

#include "core/heap.h"
#include "core/lane.h"
#include "core/lane_consumers.h"

/* A place: the entry of the directory, and the lane or the slot in it. */
static inline uint64_t memlane_heap_where(uint32_t entry, uint32_t inside) { return (uint64_t)inside << 10 | entry; }
static inline uint32_t memlane_heap_where_entry(uint64_t where) { return (uint32_t)(where & 1023); }
static inline uint32_t memlane_heap_where_inside(uint64_t where) { return (uint32_t)(where >> 10 & 0xfffff); }

/* ---- what stands at the place ---------------------------------------------------------------------- */

/* Judge record `s` of a lane, for memlane_heap_process.judge.
 * Callers: any, with a lane that was leased, in private geometry. Progress: wait-free. Ordering: acquire. Returns: the verdict. */
static inline enum memlane_transit_verdict memlane_transit_judge_record(const struct memlane_lane *lane, uint64_t s) {
    if ((int64_t)(memlane_lane_head(lane) - s) > 0)
        return MEMLANE_TRANSIT_OVER;
    /* sync: descriptor.state. acquire: pairs with the commit. A sender lets go of its word behind it, so if its word was seen
     * gone the record is seen here. */
    uint64_t state = atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_acquire);
    int32_t beyond = memlane_state_beyond(state, s);
    unsigned kind = memlane_state_kind(state);
    if (beyond < 0 || (beyond == 0 && kind == MEMLANE_STATE_NONE))
        return MEMLANE_TRANSIT_PENDING;
    if (beyond == 0 && (kind == MEMLANE_STATE_READY || kind == MEMLANE_STATE_TAKEN))
        return MEMLANE_TRANSIT_HOLDS; /* what a dead consumer has taken comes again */
    return MEMLANE_TRANSIT_OVER;
}

/* Judge version `v` of a slot whose sequence was read with acquire: 2v while it is the latest, 2v + 1 while the next one is
 * being written.
 * Callers: any. Progress: wait-free. Ordering: none. Returns: the verdict. */
static inline enum memlane_transit_verdict memlane_transit_judge_version(uint64_t sequence, uint64_t v) {
    if (sequence >> 1 == v)
        return MEMLANE_TRANSIT_HOLDS;
    return sequence >> 1 < v ? MEMLANE_TRANSIT_PENDING : MEMLANE_TRANSIT_OVER;
}

/* ---- using a transit -------------------------------------------------------------------------------- */

/* Whether a transit may be used again. Returns: true: it may. */
static inline bool memlane_transit_is_over(const struct memlane_heap_process *me,
                                           const struct memlane_heap_references *references, uint64_t i,
                                           uint64_t what) {
    enum memlane_transit_verdict verdict;
    if (memlane_transit_kind(what) == MEMLANE_TRANSIT_NONE)
        return true;
    if (memlane_transit_holds(me, references, i, what, &verdict))
        return false;
    if (memlane_transit_kind(what) == MEMLANE_TRANSIT_LENT || verdict == MEMLANE_TRANSIT_OVER)
        return true;
    /* Not committed yet. Of a dead sender it is looked at again: it may have committed just before it died. */
    if (me->is_dead == NULL || !me->is_dead(me->of, memlane_transit_tag(what)))
        return false;
    return !memlane_transit_holds(me, references, i, what, &verdict);
}

/* Take a transit of a block for oneself: nobody believes in it yet.
 * Callers: a holder of the block. Progress: bounded by the number of transits. Ordering: acq_rel. Returns: MEMLANE_OK, *which and
 * *what; MEMLANE_FULL: all of them are in use. If the process dies behind it: it is over, once that is proven. */
static inline enum memlane_status memlane_transit_take(const struct memlane_heap *heap,
                                                       const struct memlane_heap_process *me, uint32_t number,
                                                       uint32_t *which, uint64_t *what) {
    const struct memlane_heap_references references = memlane_heap_references(heap, number);
    for (uint64_t i = 0; i < heap->shape.transits; i++) {
        /* sync: transit.what. acquire: before the place is read; pairs with memlane_transit_stage */
        uint64_t found = atomic_load_explicit(&references.what[i], memory_order_acquire);
        if (!memlane_transit_is_over(me, &references, i, found))
            continue;
        uint64_t stamp = memlane_transit_stamp(found);
        /* of a loan the low bits count its readers: the next stamp is beyond them */
        stamp = (memlane_transit_kind(found) == MEMLANE_TRANSIT_LENT ? stamp | MEMLANE_LENT_MAX : stamp) + 1;
        *what = memlane_transit(MEMLANE_TRANSIT_STAGED, stamp, me->tag);
        /* sync: transit.what. acq_rel: against the very word that was judged; the place is stored behind it. Failure relaxed:
         * another process took it: the next one. */
        if (atomic_compare_exchange_strong_explicit(&references.what[i], &found, *what, memory_order_acq_rel,
                                                    memory_order_relaxed)) {
            *which = (uint32_t)i;
            return MEMLANE_OK;
        }
    }
    return MEMLANE_FULL;
}

/* Have record `number_there` at `where`, or that version, hold the block as soon as it is committed.
 *
 * Callers:  a holder of the block, before the commit; nothing but the commit may fail any more. `kind` is RECORD or VERSION.
 * Progress: bounded by the number of transits.
 * Ordering: seq_cst before the commit.
 * Returns:  MEMLANE_OK, *which and *what for memlane_transit_withdraw; MEMLANE_FULL.
 * If the process dies behind it: the commit was not made, and the transit is over once the death is proven. */
static inline enum memlane_status memlane_transit_stage(const struct memlane_heap *heap,
                                                        const struct memlane_heap_process *me, uint32_t number,
                                                        enum memlane_transit_kind kind, uint64_t where,
                                                        uint64_t number_there, uint32_t *which, uint64_t *what) {
    enum memlane_status status = memlane_transit_take(heap, me, number, which, what);
    if (status != MEMLANE_OK)
        return status;
    struct memlane_heap_place *place = &memlane_heap_references(heap, number).place[*which];
    atomic_store_explicit(&place->where, where, memory_order_relaxed); /* relaxed: before `what` */
    atomic_store_explicit(&place->number, number_there, memory_order_relaxed); /* relaxed: the same */
    *what = memlane_transit(kind, memlane_transit_stamp(*what), me->tag);
    /* sync: block.transit. seq_cst: before one's own word is let go of; pairs with memlane_heap_is_referred_to. And a release of
     * the place: sync: transit.what, pairs with memlane_transit_take. */
    atomic_store_explicit(&memlane_heap_references(heap, number).what[*which], *what, memory_order_seq_cst);
    return MEMLANE_OK;
}

/* Take a transit back whose commit has failed.
 * Callers: the process that staged it. Progress: wait-free. Ordering: release. Returns: false: it was something else by then. The caller then
 * tries to free the block, or drops its word. */
static inline bool memlane_transit_withdraw(const struct memlane_heap *heap, uint32_t number, uint32_t which,
                                            uint64_t what) {
    uint64_t none = memlane_transit(MEMLANE_TRANSIT_NONE, memlane_transit_stamp(what), 0);
    /* sync: transit.what. release: as memlane_heap_drop. Failure relaxed: it was used again, or claimed. */
    return atomic_compare_exchange_strong_explicit(&memlane_heap_references(heap, number).what[which], &what, none,
                                                   memory_order_release, memory_order_relaxed);
}

/* ---- loans ------------------------------------------------------------------------------------------ */

/* What is left of a loan. */
static inline uint32_t memlane_lent_left(uint64_t what) {
    return memlane_transit_kind(what) == MEMLANE_TRANSIT_LENT
               ? (uint32_t)(memlane_transit_stamp(what) & MEMLANE_LENT_MAX)
               : 0;
}
/* The stamp of a loan, for its ticket: the same as long as it lasts. */
static inline uint32_t memlane_lent_stamp(uint64_t what) {
    return (uint32_t)(memlane_transit_stamp(what) >> MEMLANE_LENT_BITS);
}

/* Hold the block until `readers` processes have claimed it, or the process of `answerable` is dead.
 * Callers: a holder; 1 to 255 readers. Progress, Ordering: as memlane_transit_stage. Returns: MEMLANE_OK, *which and *what;
 * MEMLANE_FULL. */
static inline enum memlane_status memlane_transit_lend(const struct memlane_heap *heap,
                                                       const struct memlane_heap_process *me, uint32_t number,
                                                       uint32_t readers, uint32_t answerable, uint32_t *which,
                                                       uint64_t *what) {
    enum memlane_status status = memlane_transit_take(heap, me, number, which, what);
    if (status != MEMLANE_OK)
        return status;
    /* The high bits are those of no loan before, so no old ticket counts this one down. */
    *what = memlane_transit(MEMLANE_TRANSIT_LENT, (memlane_transit_stamp(*what) | MEMLANE_LENT_MAX) + 1 + readers,
                            answerable);
    /* sync: block.transit. seq_cst: as memlane_transit_stage */
    atomic_store_explicit(&memlane_heap_references(heap, number).what[*which], *what, memory_order_seq_cst);
    return MEMLANE_OK;
}

/* End a loan, however many readers it waits for. The caller then tries to free the block, or drops its word.
 * Callers: the process that is answerable. Progress: bounded by the number of readers. Ordering: release. Returns: how many had not come;
 * 0: it was over. */
static inline uint32_t memlane_lent_cancel(const struct memlane_heap *heap, uint32_t number, uint32_t which,
                                           uint32_t stamp) {
    _Atomic uint64_t *at = &memlane_heap_references(heap, number).what[which];
    uint64_t what = atomic_load_explicit(at, memory_order_relaxed); /* relaxed: a hint for the CAS */
    for (uint32_t i = 0; i <= MEMLANE_LENT_MAX; i++) {
        const uint32_t left = memlane_lent_left(what);
        if (left == 0 || memlane_lent_stamp(what) != stamp)
            return 0;
        uint64_t none = memlane_transit(MEMLANE_TRANSIT_NONE, memlane_transit_stamp(what), 0);
        /* sync: transit.what. release: as memlane_transit_withdraw. Failure relaxed: a reader came. */
        if (atomic_compare_exchange_strong_explicit(at, &what, none, memory_order_release, memory_order_relaxed))
            return left;
    }
    return 0;
}

/* Count one reader of a loan off.
 *
 * Callers:  a process that has opened the block: its own word holds it from now on.
 * Progress: bounded by the number of readers.
 * Ordering: release, behind the own word.
 * Returns:  false: the loan is over, or the ticket is that of another one: the caller holds the block nevertheless, or drops it.
 * If the process dies before it: the loan counts one too many, until the lender cancels it or ends. */
static inline bool memlane_lent_claim(const struct memlane_heap *heap, uint32_t number, uint32_t which,
                                      uint32_t stamp) {
    if (which >= heap->shape.transits)
        return false;
    _Atomic uint64_t *at = &memlane_heap_references(heap, number).what[which];
    uint64_t what = atomic_load_explicit(at, memory_order_relaxed); /* relaxed: a hint for the CAS */
    for (uint32_t i = 0; i <= MEMLANE_LENT_MAX; i++) {
        if (memlane_lent_left(what) == 0 || memlane_lent_stamp(what) != stamp)
            return false;
        /* sync: transit.what. release: the own word is there before the loan is less; pairs with the looks of
         * memlane_heap_is_referred_to. Failure relaxed: another reader was faster. */
        if (atomic_compare_exchange_strong_explicit(at, &what, what - (UINT64_C(1) << 3), memory_order_release,
                                                    memory_order_relaxed))
            return true;
    }
    return false;
}

#endif
