/* SPDX-License-Identifier: MIT
 *
 * The in-process lock of a role: one atomic exchange to take it, one store to let it go.
 *
 * Under it no Python code runs, nothing is allocated or freed, nobody waits and nobody takes the GIL
 * (docs/locking.md), so it is held for as long as one copy takes. A pthread mutex would do the same with two
 * locked instructions in place of one; on the path of put and get that is a tenth of the cost.
 * It is dropped, not unlocked, by a forked child: memlane_mutex_reset.
 */
#ifndef MEMLANE_OS_MUTEX_H
#define MEMLANE_OS_MUTEX_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct memlane_mutex {
    _Atomic uint32_t held;
};

static inline void memlane_mutex_reset(struct memlane_mutex *mutex) { atomic_init(&mutex->held, 0); }

static inline bool memlane_mutex_try(struct memlane_mutex *mutex) {
    /* sync: mutex.held. acquire: pairs with memlane_mutex_unlock; we see what the last holder did */
    return atomic_exchange_explicit(&mutex->held, 1, memory_order_acquire) == 0;
}

static inline void memlane_mutex_unlock(struct memlane_mutex *mutex) {
    /* sync: mutex.held. release: pairs with memlane_mutex_try */
    atomic_store_explicit(&mutex->held, 0, memory_order_release);
}

/* Take it, without the GIL. The holder is copying at most one batch: yield first, then sleep for as long as
 * a large copy takes. */
static inline void memlane_mutex_lock(struct memlane_mutex *mutex) {
    for (unsigned tries = 0; !memlane_mutex_try(mutex); tries++) {
        if (tries < 64) {
            sched_yield();
        } else {
            struct timespec length = {0, 50000};
            nanosleep(&length, NULL);
        }
    }
}

#endif
