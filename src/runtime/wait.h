/* SPDX-License-Identifier: MIT
 *
 * Waiting for what another process does: spin, announce, look again, sleep one recheck interval at most, poll.
 *
 *   struct memlane_waiting waiting;                        at the first look that found nothing
 *   memlane_waiting_begin(&waiting, deadline, &spinning, is_due, of);
 *   for (;;) {
 *       the whole look; done if it found something
 *       if (deadline == 0 || memlane_waiting_is_over(&waiting)) give up
 *       if (!memlane_waiting_spin(&waiting, MEMLANE_WAIT_ADAPTIVE))
 *           memlane_waiting_sleep(&waiting, &control->waiters, &bell);
 *       look for signals, if need be: no step is longer than a recheck interval
 *   }
 *
 * `is_due` is the second look of core/waiters.h: it takes nothing, and says whether the next whole look can answer
 * otherwise. It runs in the thread that waits.
 */
#ifndef MEMLANE_RUNTIME_WAIT_H
#define MEMLANE_RUNTIME_WAIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/doorbell.h"

/* A sleeper looks again after this long at the latest: the most that a killed process can delay it by consuming a
 * wake-up. */
#define MEMLANE_SLICE_NS UINT64_C(100000000)
#define MEMLANE_PAUSE_MIN_NS UINT64_C(50000)
#define MEMLANE_PAUSE_MAX_NS UINT64_C(5000000)
#define MEMLANE_FOREVER UINT64_MAX

/* The longest spin of MEMLANE_WAIT_ADAPTIVE: waking a sleeper costs 30 to 50 microseconds on a virtual machine, so
 * spinning as long costs at most as much again. MEMLANE_WAIT_SPIN comes back this often, for signals. */
#define MEMLANE_SPIN_MAX_NS UINT64_C(50000)
#define MEMLANE_SPIN_MIN_NS UINT64_C(2000)
#define MEMLANE_SPIN_ONLY_NS UINT64_C(5000000)

enum memlane_wait { MEMLANE_WAIT_ADAPTIVE = 0, MEMLANE_WAIT_SPIN = 1, MEMLANE_WAIT_SLEEP = 2 };

/* How long to spin before sleeping: long while spins succeed, zero when they keep failing. One for each role, whose
 * threads share it: any number is right. */
struct memlane_spinning {
    _Atomic uint64_t budget_ns;
};

void memlane_spinning_begin(struct memlane_spinning *spinning);

/* How long a call may spin; 0: not at all. */
uint64_t memlane_spinning_limit(const struct memlane_spinning *spinning, enum memlane_wait how);

typedef int memlane_is_due(void *of); /* not 0: something is due */

struct memlane_waiting {
    uint64_t deadline; /* of the monotonic clock; 0: never waits, MEMLANE_FOREVER: no end */
    uint64_t pause; /* of the next look of one that polls */
    struct memlane_spinning *spinning; /* NULL where the caller never spins */
    memlane_is_due *is_due;
    void *of;
};

void memlane_waiting_begin(struct memlane_waiting *waiting, uint64_t deadline, struct memlane_spinning *spinning,
                           memlane_is_due *is_due, void *of);

bool memlane_waiting_is_over(const struct memlane_waiting *waiting);

/* Until when the next step may last at most. */
uint64_t memlane_waiting_slice_end(const struct memlane_waiting *waiting);

/* Look for as long as spinning has paid lately. Returns: whether something is due. */
bool memlane_waiting_spin(struct memlane_waiting *waiting, enum memlane_wait how);

/* Announce on a count, look again, sleep one recheck interval at most, withdraw. Without a semaphore it polls. */
void memlane_waiting_sleep(struct memlane_waiting *waiting, _Atomic uint32_t *count, const struct memlane_bell *bell);

/* The same for watcher `index` of a slot, which has a bit of its own. */
void memlane_waiting_sleep_armed(struct memlane_waiting *waiting, _Atomic uint64_t *armed, uint32_t index,
                                 const struct memlane_bell *bell);

/* Sleep unannounced: a growing pause, one recheck interval at most. */
void memlane_waiting_poll(struct memlane_waiting *waiting);

/* How many recheck intervals calls of this process have slept to their end, since nobody woke them. A wake-up that is
 * lost costs one, so tests count these and measure no time. */
uint64_t memlane_intervals_slept(void);

/* Count one that was slept elsewhere, if it was a whole one. */
void memlane_interval_note(uint64_t began);

#endif
