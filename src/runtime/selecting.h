/* SPDX-License-Identifier: MIT
 *
 * Selectors: waiting for several objects by one descriptor, and waking those that wait so (core/selectors.h).
 *
 *   struct memlane_selecting selecting;                   one for each region; several may have one descriptor
 *   memlane_wakefd_open(&wakefd, 0 or MEMLANE_SLICE_NS);
 *   memlane_selecting_begin(&selecting, membership, &wakefd, &next);
 *   memlane_selecting_add(&selecting, word);              for each object, by its word of waiters
 *   for (;;) {
 *       memlane_wakefd_drain(&wakefd);
 *       memlane_selecting_arm(&selecting);
 *       memlane_selecting_announce(&selecting, word);     at each object
 *       look at each object; done if there is something
 *       wait for wakefd.descriptor (and wakefd.watch.descriptor), MEMLANE_SLICE_NS at most
 *   }
 *
 * Nothing here waits, allocates or runs code of the caller's. One thread at a time uses a selecting. The caller has a row
 * in this epoch; a forked child begins anew, with a descriptor of its own.
 */
#ifndef MEMLANE_RUNTIME_SELECTING_H
#define MEMLANE_RUNTIME_SELECTING_H

#include <stdbool.h>
#include <stdint.h>

#include "core/selectors.h"
#include "os/wakefd.h"
#include "runtime/membership.h"

struct memlane_selecting {
    const struct memlane_membership *membership;
    struct memlane_wakefd *wakefd;
    uint32_t index; /* in the region's table */
    uint64_t interest;
};

/* Take a place in the region's table, also that of a dead process. Asks for some owners each time, from *next on.
 * Progress: bounded. Returns: false: none was free, so the caller looks again by a timer. */
bool memlane_selecting_begin(struct memlane_selecting *selecting, const struct memlane_membership *membership,
                             struct memlane_wakefd *wakefd, uint32_t *next);

/* Wait for one more object, whose word of waiters is in the region. The caller announces there, and looks. */
void memlane_selecting_add(struct memlane_selecting *selecting, const _Atomic uint32_t *word);

/* Arm it, behind a draining. Where a process of another network namespace has come by, its wake-ups are let in.
 * Returns: false: other processes took this one for dead, and the place is not ours; nobody will be woken by it. */
bool memlane_selecting_arm(struct memlane_selecting *selecting);
void memlane_selecting_announce(struct memlane_selecting *selecting, _Atomic uint32_t *word);

/* Be woken no more, until it is armed again. */
void memlane_selecting_disarm(struct memlane_selecting *selecting);

/* Give the place back. Returns: false: other processes took this one for dead, and it was not ours. */
bool memlane_selecting_end(struct memlane_selecting *selecting);

/* Wake the processes that wait for an object by a descriptor: behind a change, and where memlane_waiters_any or its like
 * has found anybody. Any thread. Progress: bounded by the table. Returns: how many descriptors were sent to. */
uint32_t memlane_selecting_wake(const struct memlane_membership *membership, _Atomic uint32_t *word);

/* Wake all that wait for anything in the region, behind a removal. */
uint32_t memlane_selecting_wake_all(const struct memlane_membership *membership);

#endif
