/* SPDX-License-Identifier: MIT
 *
 * The last lane of a queue, which is leased anew for each put, so that any number of processes may put.
 *
 * The other lanes are leased for good, as those of a ring. A process that finds none of them free puts by a turn:
 *
 *   take the lane (from nobody, from one that has departed, or from one that is proven dead)
 *   adopt it, claim, copy, commit
 *   give it back, wake one that waits for it
 *
 * A turn never waits: where there is no room, no memory or no permit, it ends, and the process waits without it. So a
 * process that is stopped inside a turn holds up those that share this lane, and nobody else; one that died inside is
 * replaced by the next one, which adopts the lane as any heir does. Its permits and what it had staged are taken care
 * of by that. The order over all lanes is that of the numbers, so a process may put by turns and in a lane of its own by
 * turns.
 */
#ifndef MEMLANE_QUEUE_TURNS_H
#define MEMLANE_QUEUE_TURNS_H

#include "core/lane.h"

/* Lanes that are leased for good: all but the last one. A queue of one lane is put into by turns alone.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: the number; the lane of turns has it as its index. */
static inline uint32_t memlane_queue_lasting(uint32_t lanes) { return lanes - 1; }

/* Take a turn.
 *
 * Callers:  anyone with a tag that may put; for a lane that was never leased its first memory is reserved. memlane_queue_adopt
 *           comes next. `found` is what the caller has seen of the owner: nobody, departed, or a tag that is proven dead.
 * Progress: wait-free.
 * Ordering: acquire, as memlane_lane_lease.
 * Returns:  MEMLANE_OK; MEMLANE_BUSY: another one was faster; MEMLANE_CLOSED: the queue was shut down before the lane was ever
 *           leased. */
static inline enum memlane_status memlane_queue_turn_take(struct memlane_lane_control *control, uint32_t found,
                                                          uint32_t tag) {
    if (found == MEMLANE_OWNER_CLOSED)
        return MEMLANE_CLOSED;
    return memlane_lane_lease(control, found, tag) ? MEMLANE_OK : MEMLANE_BUSY;
}

/* End a turn, with a put or without.
 * Callers: the process that has it. Progress: wait-free. Ordering: release, then a full fence. Returns: true: somebody waits for the lane,
 * and is to be woken, also where another one has the lane by now. */
static inline bool memlane_queue_turn_end(struct memlane_lane_control *control, uint32_t tag) {
    (void)memlane_lane_depart(control, tag); /* false: we were taken for dead, and another one has it */
    return memlane_waiters_any_fenced(&control->waiters);
}

/* The second look of one that waits for a turn.
 * Callers: anyone, after memlane_waiters_announce at the lane; again each recheck interval, since a death ends a turn, too.
 * Progress: wait-free. Ordering: full fence. Returns: true: try again before sleeping. */
static inline bool memlane_queue_turn_any(struct memlane_ring_control *ring, struct memlane_lane_control *control,
                                          uint32_t found) {
    /* sync: waiters.count. seq_cst fence: the announcement is before the look at the owner; pairs with the fence of
     * memlane_queue_turn_end. Without it one sleeps beside a lane that was just given back. */
    atomic_thread_fence(memory_order_seq_cst);
    return memlane_lane_owner(control) != found || memlane_ring_shutdown(ring) != 0;
}

#endif
