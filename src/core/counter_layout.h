/* SPDX-License-Identifier: MIT
 *
 * The bytes of a counter: geometry = { 0 }; of an array of counters: geometry = { counters }, each of them at the
 * beginning of a cache line of its own.
 */
#ifndef MEMLANE_COUNTER_LAYOUT_H
#define MEMLANE_COUNTER_LAYOUT_H

#include "core/layout.h"

struct memlane_counter {
    _Atomic int64_t value;
};

/* From one counter of an array to the next: those that add to neighbors do not disturb each other. */
#define MEMLANE_COUNTERS_STRIDE UINT64_C(64)
#define MEMLANE_COUNTERS_MAX (UINT64_C(1) << 24) /* arbitrary: 1 GiB of them */

/* How many bytes an array of counters has. Callers: anyone. Progress: wait-free. Ordering: none. Returns: 0: out of range. */
static inline uint64_t memlane_counters_nbytes(uint64_t counters) {
    return counters == 0 || counters > MEMLANE_COUNTERS_MAX ? 0 : counters * MEMLANE_COUNTERS_STRIDE;
}

#endif
