/* SPDX-License-Identifier: MIT
 *
 * Waiting for several things at once: selectors, which wake a process that waits by select, poll or epoll.
 *
 * A selector is one descriptor of one process, which waits there for any number of objects. Its place in the region's
 * table tells how to reach it. What the descriptor is, and how to send to it, is the business of os/wakefd.h.
 *
 *   owner                                      waker
 *   drain        the descriptor                change something (commit a record, publish a version)
 *   arm          the selector                  does anybody wait at this object? no: done, no system call
 *   announce     at each object                take the classes that are announced there
 *   look again   at each object                each selector of them that is armed: disarm it, and send once
 *   wait for the descriptor, one slice at most
 *
 * An object has no room for the numbers of all selectors. Its word of waiters has one bit for each class, a sixteenth
 * of them. A waker that takes the bit looks at all selectors of the class. Those that wait for other objects only are
 * told by their `interest`, one bit for each sixty-fourth of all words. Both may agree by chance: then a selector is
 * woken for nothing.
 *
 * The two looks must not both miss. The owner stores interest and state, announces, and looks at the object. The waker
 * changes the object, then looks at the announcement, the state and the interest. All of these are seq_cst, or a full
 * fence stands behind the change. So in their one total order the owner's look comes behind the change, or the waker
 * finds all three. One case is left: the waker finds the bit of an earlier round, and takes it before the owner sets it
 * again. Then the owner's announcement reads what the taking has left, and its look sees the change.
 *
 * Draining comes before arming. A waker that finds a selector disarmed by another one relies on that: what the other
 * one sends is not drained before the owner looks again.
 *
 * If a process dies at the worst moment: a waker between disarming and sending, and the owner looks again when its
 * slice is over; an owner that is armed, and one waker sends in vain.
 */
#ifndef MEMLANE_SELECTORS_H
#define MEMLANE_SELECTORS_H

#include "core/ownership.h"
#include "core/waiters.h"

static_assert(MEMLANE_WAITERS_BITS + MEMLANE_SELECTOR_CLASSES == 32,
              "the classes are the upper half of a word of waiters");

/* The numbers of selectors are random, and not 0. */
#define MEMLANE_SELECTOR_NUMBER_MAX (UINT64_MAX >> 1)
#define MEMLANE_SELECTOR_ARMED UINT64_C(1)

/* What a waker has to reach. */
struct memlane_selector_found {
    uint32_t index; /* in the table */
    uint64_t number;
    uint64_t network;
};

static inline uint32_t memlane_selector_class(uint32_t index) { return index % MEMLANE_SELECTOR_CLASSES; }

/* The bit of `interest` for a word of waiters at that offset in the region. Twice Fibonacci hashing: offsets that are any
 * distance apart get different bits, mostly. */
static inline uint64_t memlane_selector_interest(uint64_t offset) {
    uint64_t mixed = offset * UINT64_C(0x9e3779b97f4a7c15);
    return UINT64_C(1) << ((mixed ^ mixed >> 32) * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

/* ---- the owner ------------------------------------------------------------------------------- */

/* Say how a selector is reached that has just been leased by memlane_role_take(&selector->owner, ...). It is not armed yet.
 * Callers: its owner. Progress: wait-free. Ordering: release. Returns: nothing. */
static inline void memlane_selector_begin(struct memlane_selector *selector, uint64_t number, uint64_t network) {
    /* relaxed, all three: the state below says that they are there, and nobody looks at them before it is armed */
    atomic_store_explicit(&selector->interest, 0, memory_order_relaxed);
    atomic_store_explicit(&selector->network, network, memory_order_relaxed);
    atomic_store_explicit(&selector->distant, 0, memory_order_relaxed);
    /* sync: selector.state. release: pairs with memlane_selectors_next */
    atomic_store_explicit(&selector->state, number << 1, memory_order_release);
}

/* Arm a selector for all words whose bits are in `interest`, once its descriptor is drained. The caller then announces at
 * each of them, and looks again.
 * Callers: its owner. Progress: wait-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_selector_arm(struct memlane_selector *selector, uint64_t number, uint64_t interest) {
    /* sync: selector.interest. seq_cst: before the selector is armed; pairs with memlane_selectors_next */
    atomic_store_explicit(&selector->interest, interest, memory_order_seq_cst);
    /* sync: selector.state. seq_cst: before the caller's look at the objects; pairs with memlane_selectors_next. A waker that took
     * the bit at an object and finds the selector as it was before leaves it alone: then that look finds the change. */
    atomic_store_explicit(&selector->state, number << 1 | MEMLANE_SELECTOR_ARMED, memory_order_seq_cst);
}

/* Add a word to what a selector that may be armed is for. The caller then announces there, and looks.
 * Callers: its owner. Progress: wait-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_selector_widen(struct memlane_selector *selector, uint64_t interest) {
    /* sync: selector.interest. seq_cst: before the caller's look at the object; pairs with memlane_selectors_next */
    atomic_fetch_or_explicit(&selector->interest, interest, memory_order_seq_cst);
}

/* Announce selector `index` at a word of waiters; the caller looks again before it waits.
 * Callers: its owner, which has armed it. Progress: wait-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_selector_announce(_Atomic uint32_t *word, uint32_t index) {
    const uint32_t bit = UINT32_C(1) << (MEMLANE_WAITERS_BITS + memlane_selector_class(index));
    /* sync: waiters.selectors. seq_cst: before the caller's second look in the total order, also where the bit is there
     * already, of an earlier round or of another selector of the class; pairs with memlane_waiters_any and
     * memlane_selectors_take. Without it a waker misses us, we miss its change, and we wait a slice beside a record. */
    if ((atomic_load_explicit(word, memory_order_seq_cst) & bit) == 0)
        /* sync: waiters.selectors. seq_cst: the same; and it acquires what the waker changed before it took the bit away */
        atomic_fetch_or_explicit(word, bit, memory_order_seq_cst);
}

/* Be woken no more. Bits at objects stay, for they may be those of other selectors of the class: the next waker takes them,
 * and finds nobody.
 * Callers: its owner. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_selector_disarm(struct memlane_selector *selector, uint64_t number) {
    /* relaxed: a waker that sees it late sends once for nothing */
    atomic_store_explicit(&selector->state, number << 1, memory_order_relaxed);
}

/* Give a selector back. Callers: its owner. Progress: wait-free. Ordering: release. Returns: false: it was no longer ours. */
static inline bool memlane_selector_end(struct memlane_selector *selector, uint32_t tag) {
    if (!memlane_role_held(&selector->owner, tag))
        return false;
    /* relaxed: as above; the next owner stores a number of its own */
    atomic_store_explicit(&selector->state, 0, memory_order_relaxed);
    return memlane_role_give(&selector->owner, tag);
}

/* Whether a waker of another network namespace has come by, which cannot reach the descriptor by its number.
 * Callers: its owner. Progress: wait-free. Ordering: none. Returns: true: look out for it in another way, too. */
static inline bool memlane_selector_is_distant(const struct memlane_selector *selector) {
    /* relaxed: a hint; until it is seen, such wakers are noticed when a slice is over */
    return atomic_load_explicit(&selector->distant, memory_order_relaxed) != 0;
}

/* ---- a waker --------------------------------------------------------------------------------- */

/* Take the announcements of selectors away from a word, behind a change and memlane_waiters_any.
 * Callers: any. Progress: wait-free. Ordering: acquire and release. Returns: one bit a class; 0: none is there. */
static inline uint32_t memlane_selectors_take(_Atomic uint32_t *word) {
    /* relaxed: memlane_waiters_any was the look that counts; what comes now is for the next waker, or ours as well */
    if (atomic_load_explicit(word, memory_order_relaxed) <= MEMLANE_WAITERS_MASK)
        return 0;
    /* sync: waiters.selectors. acq_rel: release, so that one who announces itself behind it sees the change it was for;
     * acquire, so that what was announced finds its selector armed. Pairs with memlane_selector_announce. */
    return atomic_fetch_and_explicit(word, MEMLANE_WAITERS_MASK, memory_order_acq_rel) >> MEMLANE_WAITERS_BITS;
}

/* Find the next selector to be woken, and take its arming away: each is woken once for it, whoever comes.
 *
 * Callers:  one that has taken `classes` at the word whose bit is `interest`. *at begins as 0. `selectors` is private.
 * Progress: bounded by `selectors`.
 * Ordering: seq_cst.
 * Returns:  true: send to what was found; false: there is no other. */
static inline bool memlane_selectors_next(struct memlane_selector *table, uint32_t selectors, uint32_t classes,
                                          uint64_t interest, uint32_t *at, struct memlane_selector_found *found) {
    while (*at < selectors) {
        const uint32_t index = (*at)++;
        struct memlane_selector *selector = &table[index];
        if ((classes >> memlane_selector_class(index) & 1) == 0)
            continue;
        /* sync: selector.state. seq_cst: behind the change in the total order; pairs with memlane_selector_arm. Not armed: its
         * owner looks at the object later than this, or another waker is about to send. */
        uint64_t state = atomic_load_explicit(&selector->state, memory_order_seq_cst);
        if ((state & MEMLANE_SELECTOR_ARMED) == 0)
            continue;
        /* sync: selector.interest. seq_cst: as above; pairs with memlane_selector_arm and memlane_selector_widen */
        if ((atomic_load_explicit(&selector->interest, memory_order_seq_cst) & interest) == 0)
            continue;
        found->index = index;
        found->number = state >> 1;
        /* relaxed: it is the one that belongs to the state, or the selector has a new owner, and the swap fails */
        found->network = atomic_load_explicit(&selector->network, memory_order_relaxed);
        /* relaxed: it decides who sends, and orders nothing; the number is in it, so a new owner's arming stays */
        if (atomic_compare_exchange_strong_explicit(&selector->state, &state, state & ~MEMLANE_SELECTOR_ARMED,
                                                    memory_order_relaxed, memory_order_relaxed))
            return true;
    }
    return false;
}

/* Tell the owner of a selector that one of another network namespace has come by.
 * Callers: a waker that could not send. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_selector_note_distant(struct memlane_selector *selector) {
    /* relaxed: a hint, see memlane_selector_is_distant */
    atomic_store_explicit(&selector->distant, 1, memory_order_relaxed);
}

#endif
