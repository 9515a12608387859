/* SPDX-License-Identifier: MIT
 *
 * A lock whose owner may die, and an event.
 *
 *   owner   0 -> [ thread | tag ] -> 0 ...        of a tag that is proven dead -> the next owner, who is told
 *
 * The take-over is one compare-and-swap against exactly the dead word, so each death is told to one owner, once. A process
 * that takes over and dies before it can tell anybody is a dead owner itself.
 *
 * Waiting: each waiter leases a watcher, with a doorbell and a bit of its own, and draws a ticket.
 *
 *   waiter                                     owner
 *   arm           its bit                      owner: mine -> 0
 *   look again    is it free?                  any bits? no: done, no system call
 *   sleep one recheck interval at most         take the bit of the waiter with the oldest ticket, post its doorbell
 *   not woken: take the bit back
 *
 * The two looks must not both miss: all four are seq_cst, as with slots. A waiter that stops to wait while the lock is
 * free wakes another one in its place (memlane_lock_choose).
 *
 * A lock that becomes free may be taken by anyone that is awake: handing it to a sleeper would cost a wake-up each time.
 * So that no waiter starves, one that has waited for long writes its ticket into `next`, in place of none or of a younger
 * one. A free lock is then kept for it: the others leave the lock alone, for one recheck interval from the release. The
 * waiter with the oldest ticket of all gets there at last, since no other one can replace it.
 *
 * Everything may run at the same time as everything, in any process. Every function is wait-free or lock-free and bounded.
 * If a process dies at the worst moment: as owner, its word stands until somebody proves it dead; as the waiter that was
 * woken, or for which the lock is kept, the others look again a recheck interval later. A waiter that is stopped there
 * costs the others the same, once for each time that it nominates itself. A stopped owner keeps its lock.
 */
#ifndef MEMLANE_LOCK_H
#define MEMLANE_LOCK_H

#include <stdbool.h>

#include "core/lock_layout.h"
#include "core/waiters.h"

/* For so long a free lock is kept; arbitrary: the recheck interval. */
#define MEMLANE_LOCK_KEPT_NS UINT64_C(100000000)

/* An owner: the thread of a process that takes the lock, by any number that is its own. */
static inline uint64_t memlane_lock_word(uint32_t tag, uint32_t thread) { return (uint64_t)thread << 32 | tag; }

static inline uint32_t memlane_lock_tag(uint64_t word) { return (uint32_t)word; }

/* A waiter: its ticket and its watcher. Never 0. */
static inline uint64_t memlane_lock_turn(uint64_t ticket, uint32_t watcher) { return ticket << 8 | (watcher + 1); }

/* ---- taking and releasing ------------------------------------------------------------------------ */

/* Become the owner of a free lock that is kept for nobody: the whole of an acquire that does not wait.
 * Callers: any. Progress: wait-free. Ordering: acquire. Returns: true: ours. */
static inline bool memlane_lock_try(struct memlane_lock_control *lock, uint64_t me) {
    uint64_t nobody = 0;
    /* relaxed: a waiter that nominates itself right now waits a little longer, once */
    if (atomic_load_explicit(&lock->next, memory_order_relaxed) != 0)
        return false;
    /* sync: lock.owner. acquire: what the owner before did is visible; pairs with memlane_lock_release. Failure relaxed:
     * nothing was taken. */
    if (!atomic_compare_exchange_strong_explicit(&lock->owner, &nobody, me, memory_order_acquire, memory_order_relaxed))
        return false;
    atomic_store_explicit(&lock->depth, 1, memory_order_relaxed); /* relaxed: only the owner stores it */
    return true;
}

/* The same for one that waits, or knows the time: a free lock that is kept for somebody else is taken when that is over.
 *
 * Callers:  any. `turn` is what memlane_lock_queue gave, or 0.
 * Progress: wait-free.
 * Ordering: acquire.
 * Returns:  MEMLANE_OK: ours; MEMLANE_BUSY: *holder owns it, ask whether it is alive; 0: it is kept for somebody else. */
static inline enum memlane_status memlane_lock_take(struct memlane_lock_control *lock, uint64_t me, uint64_t turn,
                                                    uint64_t now_ns, uint64_t *holder) {
    /* relaxed, both: a wrong answer costs a little time, and the swap below decides who is the owner */
    uint64_t next = atomic_load_explicit(&lock->next, memory_order_relaxed);
    const uint64_t until = atomic_load_explicit(&lock->kept_until_ns, memory_order_relaxed);
    *holder = 0;
    /* sync: lock.owner. acquire: as memlane_lock_try. On failure too: the word is asked about. */
    if (next != 0 && next != turn && until - now_ns - 1 < MEMLANE_LOCK_KEPT_NS) {
        *holder = atomic_load_explicit(&lock->owner, memory_order_acquire); /* sync: lock.owner. acquire: as above */
        return MEMLANE_BUSY;
    }
    if (!atomic_compare_exchange_strong_explicit(&lock->owner, holder, me, memory_order_acquire, memory_order_acquire))
        return MEMLANE_BUSY;
    atomic_store_explicit(&lock->depth, 1, memory_order_relaxed); /* relaxed: only the owner stores it */
    if (next != 0)
        /* relaxed: our own turn is over, or that of one that did not come; it nominates itself again */
        atomic_compare_exchange_strong_explicit(&lock->next, &next, 0, memory_order_relaxed, memory_order_relaxed);
    return MEMLANE_OK;
}

/* Take the lock of an owner that is proven dead.
 * Callers: any. Progress: wait-free. Ordering: acquire. Returns: true: ours, and this process is the one that is told. */
static inline bool memlane_lock_take_over(struct memlane_lock_control *lock, uint64_t dead, uint64_t me) {
    /* sync: lock.owner. acq_rel: as memlane_lock_try; for a death the kernel's lock stands between. Against the very word,
     * so of several that have the proof one is told. Failure relaxed: nothing was taken. */
    if (!atomic_compare_exchange_strong_explicit(&lock->owner, &dead, me, memory_order_acq_rel, memory_order_relaxed))
        return false;
    atomic_store_explicit(&lock->depth, 1, memory_order_relaxed); /* relaxed: only the owner stores it */
    atomic_fetch_add_explicit(&lock->died, 1, memory_order_relaxed); /* relaxed: for people */
    return true;
}

/* Whether a free lock would be kept for somebody: then a release needs the time.
 * Callers: the owner. Progress: wait-free. Ordering: none. Returns: true: it would. */
static inline bool memlane_lock_is_wanted(const struct memlane_lock_control *lock) {
    /* relaxed: a nomination that is just being made misses this release */
    return atomic_load_explicit(&lock->next, memory_order_relaxed) != 0;
}

/* Give the lock back. `now_ns` matters if memlane_lock_is_wanted. The caller then looks for a waiter: memlane_lock_choose.
 * Callers: the owner. Progress: wait-free. Ordering: seq_cst. Returns: false: it was no longer ours. */
static inline bool memlane_lock_release(struct memlane_lock_control *lock, uint64_t me, uint64_t now_ns) {
    if (memlane_lock_is_wanted(lock))
        /* relaxed: the swap below releases it */
        atomic_store_explicit(&lock->kept_until_ns, now_ns + MEMLANE_LOCK_KEPT_NS, memory_order_relaxed);
    /* sync: lock.owner. seq_cst: a release of what the owner did; and in the total order before the look at slot.armed.
     * Pairs with memlane_lock_try and memlane_lock_is_due. A CAS: the lock of a successor must stay. */
    return atomic_compare_exchange_strong_explicit(&lock->owner, &me, 0, memory_order_seq_cst, memory_order_relaxed);
}

/* The owner's word, or 0. Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: the word. */
static inline uint64_t memlane_lock_owner(const struct memlane_lock_control *lock) {
    /* sync: lock.owner. acquire: as memlane_lock_try */
    return atomic_load_explicit(&lock->owner, memory_order_acquire);
}

/* How many owners died with the lock, for people. Callers: anyone. Progress: wait-free. Ordering: none. */
static inline uint64_t memlane_lock_died(const struct memlane_lock_control *lock) {
    return atomic_load_explicit(&lock->died, memory_order_relaxed); /* relaxed: for people */
}

/* Take the lock once more, if this thread has it. Callers: any thread, with its own word. Progress: wait-free.
 * Ordering: none. Returns: how often it has the lock then; 0: it does not. */
static inline uint32_t memlane_lock_again(struct memlane_lock_control *lock, uint64_t me) {
    /* relaxed, both: only this thread stores this word, and then the depth */
    if (atomic_load_explicit(&lock->owner, memory_order_relaxed) != me)
        return 0;
    return atomic_fetch_add_explicit(&lock->depth, 1, memory_order_relaxed) + 1; /* relaxed: as above */
}

/* Undo one memlane_lock_again. Callers: the owner. Progress: wait-free. Ordering: none.
 * Returns: how often it has the lock then; 0: it was the last time, the owner releases it now. */
static inline uint32_t memlane_lock_once_less(struct memlane_lock_control *lock) {
    /* relaxed, both: only the owner stores it. Bytes that no sound program writes do not make it wrap. */
    const uint32_t depth = atomic_load_explicit(&lock->depth, memory_order_relaxed);
    if (depth <= 1)
        return 0;
    atomic_store_explicit(&lock->depth, depth - 1, memory_order_relaxed); /* relaxed: as above */
    return depth - 1;
}

/* ---- waiting --------------------------------------------------------------------------------------- */

/* Begin to wait: draw a ticket. Then arm the watcher (memlane_armed_announce), look again, and sleep.
 * Callers: the lessee of that watcher. Progress: wait-free. Ordering: none. Returns: its turn. */
static inline uint64_t memlane_lock_queue(struct memlane_lock_control *lock, uint32_t watcher) {
    /* relaxed, both: the order of wake-ups is decided by it, and nothing else */
    const uint64_t ticket = atomic_fetch_add_explicit(&lock->tickets, 1, memory_order_relaxed);
    atomic_store_explicit(&lock->ticket_of[watcher], ticket, memory_order_relaxed); /* relaxed: as above */
    return memlane_lock_turn(ticket, watcher);
}

/* The second look of a waiter that has armed its watcher.
 * Callers: a waiter. Progress: wait-free. Ordering: seq_cst. Returns: true: the next look may find the lock free. */
static inline bool memlane_lock_is_due(const struct memlane_lock_control *lock, uint64_t turn) {
    /* sync: lock.owner. seq_cst: after slot.armed was set; pairs with memlane_lock_release. Without it both sides miss each
     * other, and the waiter sleeps a recheck interval beside a free lock. */
    if (atomic_load_explicit(&lock->owner, memory_order_seq_cst) != 0)
        return false;
    /* sync: lock.next. seq_cst: after slot.armed was set; pairs with memlane_lock_leave. A lock that is kept for another
     * waiter is not due; that waiter, taking it or not, wakes the next one. */
    const uint64_t next = atomic_load_explicit(&lock->next, memory_order_seq_cst);
    return next == 0 || next == turn;
}

/* Have the lock kept, for one that has waited long enough: unless an older one has done so.
 * Callers: a waiter. Progress: lock-free, each failure is another nomination. Ordering: none. Returns: true: it is. */
static inline bool memlane_lock_nominate(struct memlane_lock_control *lock, uint64_t turn) {
    /* relaxed, all of it: as memlane_lock_try says. Tickets wrap after 2^56. */
    uint64_t next = atomic_load_explicit(&lock->next, memory_order_relaxed);
    while (next == 0 || (int64_t)(turn - next) < 0)
        if (atomic_compare_exchange_weak_explicit(&lock->next, &next, turn, memory_order_relaxed, memory_order_relaxed))
            return true;
    return next == turn;
}

/* Stop to wait, with or without the lock. One that stops without it looks for another waiter then: it may have been the
 * one that was woken, or for which the lock is kept.
 * Callers: a waiter. Progress: wait-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_lock_leave(struct memlane_lock_control *lock, uint64_t turn, uint32_t watcher) {
    uint64_t mine = turn;
    memlane_armed_withdraw(&lock->armed, watcher);
    /* sync: lock.next. seq_cst: before the look at slot.armed; pairs with memlane_lock_is_due. Failure relaxed: another
     * one's stays. */
    atomic_compare_exchange_strong_explicit(&lock->next, &mine, 0, memory_order_seq_cst, memory_order_relaxed);
}

/* Choose whom to wake behind a release, or behind a memlane_lock_leave that leaves a free lock: the waiter for which the
 * lock is kept, else the one with the oldest ticket. Its bit is taken: the caller posts its doorbell, once.
 * Callers: any. Progress: bounded by the watchers, squared. Ordering: seq_cst.
 * Returns: true: *watcher; false: nobody sleeps, or the one for which it is kept is awake. */
static inline bool memlane_lock_choose(struct memlane_lock_control *lock, uint32_t *watcher) {
    for (uint32_t tries = 0; tries < MEMLANE_WATCHERS_MAX; tries++) {
        /* sync: slot.armed. seq_cst: after the caller's change of the lock in the total order; pairs with
         * memlane_armed_announce */
        const uint64_t armed = atomic_load_explicit(&lock->armed, memory_order_seq_cst);
        if (armed == 0)
            return false;
        /* relaxed, this and the tickets: they decide which waiter is first, and nothing else */
        const uint64_t next = atomic_load_explicit(&lock->next, memory_order_relaxed);
        const uint32_t wanted = (uint32_t)(next & 255) - 1; /* none, and what no program writes, is above 63 */
        if (wanted < MEMLANE_WATCHERS_MAX) {
            *watcher = wanted;
            if ((armed >> wanted & 1) == 0)
                return false;
        } else {
            uint64_t oldest = 0;
            bool any = false;
            for (uint64_t rest = armed; rest != 0; rest &= rest - 1) {
                const uint32_t index = (uint32_t)__builtin_ctzll(rest);
                /* relaxed: as above */
                const uint64_t ticket = atomic_load_explicit(&lock->ticket_of[index], memory_order_relaxed);
                if (!any || (int64_t)(ticket - oldest) < 0) {
                    oldest = ticket;
                    *watcher = index;
                }
                any = true;
            }
        }
        const uint64_t bit = UINT64_C(1) << *watcher;
        /* relaxed: each bit goes to one waker by the operation itself */
        if (atomic_fetch_and_explicit(&lock->armed, ~bit, memory_order_relaxed) & bit)
            return true;
    }
    return false;
}

/* ---- events ------------------------------------------------------------------------------------------ */

/* The state of an event, for memlane_event_has_come: odd means that it is set.
 * Callers: anyone. Progress: wait-free. Ordering: seq_cst. Returns: the state. */
static inline uint64_t memlane_event_state(const struct memlane_event_control *event) {
    /* sync: event.state. seq_cst: an acquire, what was done before the set is visible; and after slot.armed was set by a
     * waiter that looks again. Pairs with memlane_event_turn. */
    return atomic_load_explicit(&event->state, memory_order_seq_cst);
}

/* Set or clear an event. Behind a set the caller wakes all: memlane_armed_collect.
 * Callers: any. Progress: lock-free. Ordering: seq_cst. Returns: true: it was not so before. */
static inline bool memlane_event_turn(struct memlane_event_control *event, bool set) {
    uint64_t state = memlane_event_state(event);
    while ((state & 1) != set)
        /* sync: event.state. seq_cst: a release; and in the total order before the look at slot.armed. On failure as the
         * load in memlane_event_state. */
        if (atomic_compare_exchange_weak_explicit(&event->state, &state, state + 1, memory_order_seq_cst,
                                                  memory_order_seq_cst))
            return true;
    return false;
}

/* Whether a wait that found the event in `since` is over: it is set, or was meanwhile.
 * Callers: a waiter. Progress: wait-free. Ordering: seq_cst. Returns: true: it is over. */
static inline bool memlane_event_has_come(const struct memlane_event_control *event, uint64_t since) {
    return (since & 1) || memlane_event_state(event) != since;
}

#endif
