/* SPDX-License-Identifier: MIT
 *
 * Memory of lanes that grow (core/queue_growth.h): reserved and given back by the kernel.
 *
 * A stretch is given back by its address, so a descriptor that was closed and is another file's by now does no harm. It is
 * reserved by the descriptor, of which it is looked before that it leads to the region still.
 */
#ifndef MEMLANE_RUNTIME_LANE_MEMORY_H
#define MEMLANE_RUNTIME_LANE_MEMORY_H

#include <stdint.h>

#include "core/queue_growth.h"
#include "runtime/membership.h"

/* Reserve what is wanted, in the lane whose first descriptor is at `data`. A few system calls.
 * Returns: 0 or a negative errno; -EBADF: the descriptor of the region is not ours any more. After an error a part may be
 * reserved. */
int memlane_lane_reserve(const struct memlane_membership *membership, const unsigned char *data,
                         const struct memlane_wanted *wanted);

/* Bytes of what is wanted. */
uint64_t memlane_wanted_nbytes(const struct memlane_wanted *wanted);

/* Give one stretch back. What a file system cannot give back stays. */
void memlane_lane_give_back(unsigned char *data, const struct memlane_stretch *stretch);

/* Give back what is free in a lane, if that is at least `spare` bytes, or more records than memlane_growth_free_nbytes looks at.
 * Callers: any participant, with its own tag. Progress: bounded by what is free.
 * Returns: bytes that were given back. */
uint64_t memlane_lane_tidy(const struct memlane_membership *membership, const struct memlane_lane *lane,
                           struct memlane_queue_lane *shared, uint64_t bytes_offset, uint64_t spare);

#endif
