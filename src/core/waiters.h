/* SPDX-License-Identifier: MIT
 *
 * Waiters: the counting beside a doorbell. Sleeping itself is the caller's business.
 *
 *   waiter                                     waker
 *   announce            waiters += 1           change something (commit a record, free room)
 *   look again          nothing there?         any waiters?  no: done, no system call
 *   sleep one recheck interval at most         take one announcement away, post the semaphore once
 *   woken: the waker took the announcement     (a woken process that sees more wakes the next one)
 *   not woken: withdraw it
 *
 * The two looks must not both miss. So announcing, looking again, changing and looking at the waiters are
 * all seq_cst: in their one total order either the change comes before the second look, or the
 * announcement before the waker's look (tag `waiters.count`, in lane.h `descriptor.state`).
 *
 * A count is a hint, never a lock: whatever a killed process leaves in it costs the others one recheck interval of
 * sleep, or one needless post.
 *
 * Only the lower half of the word is the count. The upper half says whether anybody waits by a descriptor
 * (selectors.h), so that one load tells of both.
 *
 *   31                    16 15                     0
 *   +-----------------------+-----------------------+
 *   | classes of selectors  | sleepers              |
 *   +-----------------------+-----------------------+
 *
 * More sleepers than the lower half can count carry into the upper one, as hostile bytes do: that is a needless look at
 * the selectors.
 */
#ifndef MEMLANE_WAITERS_H
#define MEMLANE_WAITERS_H

#include <stdbool.h>

#include "core/layout.h"

#define MEMLANE_WAITERS_MASK ((UINT32_C(1) << MEMLANE_WAITERS_BITS) - 1)

/* Announce that one more is about to sleep; the caller looks again before it does.
 * Callers: any. Progress: wait-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_waiters_announce(_Atomic uint32_t *count) {
    /* sync: waiters.count. seq_cst: comes before the caller's second look in the total order. Without it
     * a waker misses us, we miss its change, and we sleep a recheck interval on a ring that is not empty. */
    atomic_fetch_add_explicit(count, 1, memory_order_seq_cst);
}

/* Take one announcement away, never below zero.
 * Callers: a waiter that was not woken; a waker before it posts. Progress: lock-free.
 * Ordering: none. Returns: true if there was one. */
static inline bool memlane_waiters_withdraw(_Atomic uint32_t *count) {
    /* relaxed, all of it: the count is only a hint of how many posts are worth while */
    uint32_t found = atomic_load_explicit(count, memory_order_relaxed);
    while ((found & MEMLANE_WAITERS_MASK) != 0)
        if (atomic_compare_exchange_weak_explicit(count, &found, found - 1, memory_order_relaxed, memory_order_relaxed))
            return true;
    return false;
}

/* How many have announced themselves, for statistics. A process that was killed asleep counts until the next wake-up.
 * Callers: any. Progress: wait-free. Ordering: none. Returns: the number. */
static inline uint32_t memlane_waiters_count(const _Atomic uint32_t *count) {
    return atomic_load_explicit(count, memory_order_relaxed) & MEMLANE_WAITERS_MASK; /* relaxed: for people */
}

/* Look whether anybody sleeps or waits by a descriptor, after something was changed by a seq_cst operation.
 * Callers: any. Progress: wait-free. Ordering: seq_cst. Returns: true if a ring is worth while. */
static inline bool memlane_waiters_any(_Atomic uint32_t *count) {
    /* sync: waiters.count. seq_cst: comes after the caller's change in the total order; pairs with
     * memlane_waiters_announce, and for the upper half (sync: waiters.selectors) with memlane_selector_announce. */
    return atomic_load_explicit(count, memory_order_seq_cst) != 0;
}

/* The same after a plain or release store, which needs the fence.
 * Callers: any. Progress: wait-free. Ordering: full fence. Returns: as memlane_waiters_any. */
static inline bool memlane_waiters_any_fenced(_Atomic uint32_t *count) {
    /* sync: waiters.count. seq_cst fence: the store before it is visible before we look for sleepers */
    atomic_thread_fence(memory_order_seq_cst);
    return memlane_waiters_any(count);
}

/* ---- one bit each, for watchers that are not interchangeable -------------------------------- */

/* Announce watcher `index` on a slot; the caller looks again before it sleeps.
 * Callers: the lessee of that watcher. Progress: wait-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_armed_announce(_Atomic uint64_t *armed, uint32_t index) {
    /* sync: slot.armed. seq_cst: as memlane_waiters_announce */
    atomic_fetch_or_explicit(armed, UINT64_C(1) << index, memory_order_seq_cst);
}

/* Take one's own bit back.
 * Callers: the lessee of that watcher. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_armed_withdraw(_Atomic uint64_t *armed, uint32_t index) {
    /* relaxed: a hint, as the count above */
    atomic_fetch_and_explicit(armed, ~(UINT64_C(1) << index), memory_order_relaxed);
}

/* Collect everybody who is to be woken after a change. The caller posts each bit once.
 * Callers: the writer of a slot. Progress: wait-free. Ordering: seq_cst.
 * Returns: the bits; 0 in the common case, for one load. */
static inline uint64_t memlane_armed_collect(_Atomic uint64_t *armed) {
    /* sync: slot.armed. seq_cst: after the caller's last store of the sequence in the total order; pairs with
     * memlane_armed_announce. */
    if (atomic_load_explicit(armed, memory_order_seq_cst) == 0)
        return 0;
    /* relaxed: each bit goes to exactly one waker by the exchange itself */
    return atomic_exchange_explicit(armed, 0, memory_order_relaxed);
}

/* ---- where the semaphore is --------------------------------------------------------------------- */

/* Callers: any. Progress: wait-free. Ordering: acquire. Returns: MEMLANE_DOORBELL_*. */
static inline uint32_t memlane_doorbell_kind(const struct memlane_doorbell *doorbell) {
    /* sync: doorbell.kind. acquire: device, inode or the semaphore itself are in place; pairs with
     * memlane_doorbell_note */
    return atomic_load_explicit(&doorbell->kind, memory_order_acquire);
}

/* Callers: a process that made the semaphore. Progress: wait-free. Ordering: release. Returns: nothing. */
static inline void memlane_doorbell_note(struct memlane_doorbell *doorbell, uint32_t kind) {
    /* sync: doorbell.kind. release: pairs with memlane_doorbell_kind; without it one could wait on a
     * semaphore that is not initialized yet */
    atomic_store_explicit(&doorbell->kind, kind, memory_order_release);
}

#endif
