/* SPDX-License-Identifier: MIT
 *
 * Leases: taking what one participant at a time has, after its present holder is proven dead.
 *
 *   a role      the one consumer of a ring; the one writer of a slot
 *   a turn      the writer inside of a publish, of a slot with many writers
 *   a lane      of a ring, by one of its producers
 *   a watcher   of a slot: a doorbell of one's own to wait at
 *
 * Nothing here waits, allocates or runs code of the caller's. The caller has a row in this epoch. Each lease ends by
 * the function of src/core that gives it back, or with the process.
 */
#ifndef MEMLANE_RUNTIME_LEASE_H
#define MEMLANE_RUNTIME_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/lane.h"
#include "core/ownership.h"
#include "core/slot.h"
#include "runtime/membership.h"

/* Holders that are asked for in one step, so that it costs a bounded number of system calls. */
#define MEMLANE_PROBES_A_STEP 8u

enum memlane_lease {
    MEMLANE_LEASED, /* ours; *holder: the tag of the dead one before us, or 0 */
    MEMLANE_LEASE_TAKEN, /* *holder lives */
    MEMLANE_LEASE_UNKNOWN, /* this process closed its descriptors and cannot tell whether *holder lives */
};

/* Take a role. Progress: lock-free; each new attempt is one that another participant has won. */
enum memlane_lease memlane_lease_role(const struct memlane_membership *membership, _Atomic uint32_t *role,
                                      uint32_t *holder);

/* Take the role of a slot's one writer. Progress: the same. */
enum memlane_lease memlane_lease_writer(const struct memlane_membership *membership,
                                        struct memlane_slot_control *control, uint32_t *holder);

/* Try to be the one of many writers. Another thread of this process is waited for, too; a holder is asked for only where
 * the caller has waited `patiently`. *holder is who was found inside.
 * Progress: wait-free. Returns: true: ours, until memlane_role_give. */
bool memlane_lease_turn(const struct memlane_membership *membership, struct memlane_slot_control *control,
                        bool patiently, uint32_t *holder);

/* Take a lane that was leased before: departed ones first, then those of dead producers, whose backlog stays. Asks for at
 * most `probes` owners, from *next on, which moves behind them. `controls` are those of all `lanes`.
 * Progress: bounded. Returns: true: *lane is ours, memlane_producer_adopt comes next. */
bool memlane_lease_used_lane(const struct memlane_membership *membership, struct memlane_lane_control *controls,
                             uint32_t lanes, uint32_t probes, uint32_t *next, uint32_t *lane);

/* Find a lane from *lane on that was never leased: the caller reserves its memory, then takes it by memlane_lane_lease
 * from MEMLANE_OWNER_NEVER, and looks on behind it where another one was faster. Returns: false: there is none. */
bool memlane_lease_find_unused(const struct memlane_lane_control *controls, uint32_t lanes, uint32_t *lane);

/* Take a watcher of a slot; asks for some owners each time, from *next on, so that the dead are found behind any number
 * of the living. Progress: bounded. Returns: its index; -1: none is free. */
int memlane_lease_watcher(const struct memlane_membership *membership, struct memlane_watcher *watchers, uint32_t count,
                          uint32_t *next);

#endif
