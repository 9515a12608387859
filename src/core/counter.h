/* SPDX-License-Identifier: MIT
 *
 * A counter: one 64-bit word that any process adds to. Each operation is one atomic step; a process that
 * dies has done it or not. Wraps modulo 2^64.
 */
#ifndef MEMLANE_COUNTER_H
#define MEMLANE_COUNTER_H

#include "core/layout.h"

/* Add and give the new value. Callers: any. Progress: wait-free. Ordering: seq_cst. Returns: the new value. */
static inline int64_t memlane_counter_add(struct memlane_counter *counter, int64_t amount) {
    /* sync: counter.value. seq_cst: counters are used to order other things by; pairs with all three here */
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

#endif
