/* SPDX-License-Identifier: MIT
 *
 * The bytes of a lock and of an event, and where their parts lie.
 */
#ifndef MEMLANE_LOCK_LAYOUT_H
#define MEMLANE_LOCK_LAYOUT_H

#include "core/slot_layout.h"

/* ---- lock, event: geometry = { watchers } ------------------------------------------------------
 *
 *   0              640 or 64
 *   +--------------+----------------------- - - -
 *   | control      | watchers, 128 bytes each
 *   +--------------+----------------------- - - -
 */
struct memlane_lock_control {
    /* The holder: [ thread : 32 | tag : 32 ]; 0: the lock is free. The number of the thread is the holder's business. */
    _Atomic uint64_t owner;
    /* For whom a free lock is kept: [ ticket : 56 | watcher + 1 : 8 ]; 0: for nobody. */
    _Atomic uint64_t next;
    _Atomic uint64_t kept_until_ns; /* CLOCK_MONOTONIC; stored before the lock becomes free */
    _Atomic uint64_t armed; /* one bit a watcher that sleeps */
    _Atomic uint64_t tickets; /* that were drawn */
    _Atomic uint64_t died; /* owners that died with the lock, for people */
    _Atomic uint32_t depth; /* how often the owner has it; stored by the owner only */
    _Atomic uint32_t selectors; /* the upper half of a word of waiters: those that wait by a descriptor */
    uint64_t reserved;
    _Atomic uint64_t ticket_of[MEMLANE_WATCHERS_MAX]; /* by watcher: when it began to wait */
    unsigned char unused[64];
};
static_assert(sizeof(struct memlane_lock_control) == 640, "layout: see docs/layout.md");

struct memlane_event_control {
    _Atomic uint64_t state; /* odd: set; each set and each clear counts it up */
    _Atomic uint64_t armed; /* one bit a watcher that sleeps */
    _Atomic uint32_t selectors; /* as that of a lock */
    uint32_t reserved;
    uint64_t unused[5];
};
static_assert(sizeof(struct memlane_event_control) == 64, "layout: see docs/layout.md");

/* How many bytes a lock or an event has. Callers: anyone. Progress: wait-free. Ordering: none. Returns: 0: out of range. */
static inline uint64_t memlane_lock_nbytes(uint64_t watchers) {
    return watchers > MEMLANE_WATCHERS_MAX
               ? 0
               : sizeof(struct memlane_lock_control) + watchers * sizeof(struct memlane_watcher);
}

static inline uint64_t memlane_event_nbytes(uint64_t watchers) {
    return watchers > MEMLANE_WATCHERS_MAX
               ? 0
               : sizeof(struct memlane_event_control) + watchers * sizeof(struct memlane_watcher);
}

/* Tell where the doorbells of a lock or an event are: none is made with it, each watcher's is made by its first waiter.
 * Callers: anyone, on private memory. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_watchers_tell_doorbells(uint64_t control_nbytes, uint64_t watchers,
                                                   struct memlane_doorbells *at_once, struct memlane_doorbells *later) {
    at_once->offset = at_once->stride = at_once->count = 0;
    later->offset = control_nbytes + offsetof(struct memlane_watcher, doorbell);
    later->stride = sizeof(struct memlane_watcher);
    later->count = (uint32_t)watchers;
}

static inline void memlane_lock_tell_doorbells(uint64_t watchers, struct memlane_doorbells *at_once,
                                               struct memlane_doorbells *later) {
    memlane_watchers_tell_doorbells(sizeof(struct memlane_lock_control), watchers, at_once, later);
}

static inline void memlane_event_tell_doorbells(uint64_t watchers, struct memlane_doorbells *at_once,
                                                struct memlane_doorbells *later) {
    memlane_watchers_tell_doorbells(sizeof(struct memlane_event_control), watchers, at_once, later);
}

#endif
