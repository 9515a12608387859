/* SPDX-License-Identifier: MIT
 *
 * A counter: one 64-bit word that any process changes. Each operation is one atomic step; a process that
 * dies has done it or not. Adding wraps modulo 2^64.
 */
#ifndef MEMLANE_COUNTER_H
#define MEMLANE_COUNTER_H

#include <stdbool.h>

#include "core/counter_layout.h"

/* Add and give the new value. Callers: any. Progress: wait-free. Ordering: seq_cst. Returns: the new value. */
static inline int64_t memlane_counter_add(struct memlane_counter *counter, int64_t amount) {
    /* sync: counter.value. seq_cst: counters are used to order other things by; pairs with all others here */
    return (int64_t)((uint64_t)atomic_fetch_add_explicit(&counter->value, amount, memory_order_seq_cst) +
                     (uint64_t)amount);
}

/* Callers: any, also readers. Progress: wait-free. Ordering: seq_cst. Returns: the value. */
static inline int64_t memlane_counter_load(const struct memlane_counter *counter) {
    /* sync: counter.value. seq_cst: as memlane_counter_add */
    return atomic_load_explicit(&counter->value, memory_order_seq_cst);
}

/* Callers: any. Progress: wait-free. Ordering: seq_cst. Returns: the value before. */
static inline int64_t memlane_counter_exchange(struct memlane_counter *counter, int64_t value) {
    /* sync: counter.value. seq_cst: as memlane_counter_add */
    return atomic_exchange_explicit(&counter->value, value, memory_order_seq_cst);
}

/* Set the counter to `value` if it is `expected`.
 * Callers: any. Progress: wait-free. Ordering: seq_cst, also where it does nothing. Returns: whether it did. */
static inline bool memlane_counter_compare_exchange(struct memlane_counter *counter, int64_t expected, int64_t value) {
    /* sync: counter.value. seq_cst: as memlane_counter_add; on failure too, for the caller acts on what it did not find */
    return atomic_compare_exchange_strong_explicit(&counter->value, &expected, value, memory_order_seq_cst,
                                                   memory_order_seq_cst);
}

/* Raise the counter to `value` where it is below, or lower it where it is above.
 *
 * Callers:  any.
 * Progress: wait-free: `tries` at most; each one fails only because another process changed the counter in between.
 * Ordering: seq_cst.
 * Returns:  true, *found is the value that it has then; false: overtaken every time. */
static inline bool memlane_counter_limit(struct memlane_counter *counter, int64_t value, bool upwards, int tries,
                                         int64_t *found) {
    /* sync: counter.value. seq_cst: as memlane_counter_add; this load is all there is where nothing has to change */
    int64_t now = atomic_load_explicit(&counter->value, memory_order_seq_cst);
    while (upwards ? now < value : now > value) {
        if (tries-- == 0)
            return false;
        /* sync: counter.value. seq_cst: as memlane_counter_add; on failure as the load above */
        if (atomic_compare_exchange_strong_explicit(&counter->value, &now, value, memory_order_seq_cst,
                                                    memory_order_seq_cst))
            now = value;
    }
    *found = now;
    return true;
}

#endif
