/* SPDX-License-Identifier: MIT
 *
 * Included before any header of src/core: each atomic access first calls step(), so that a test can stop a
 * function in front of its k-th access, and let it die there or let another one run meanwhile.
 */
#ifndef MEMLANE_TESTS_STEPS_H
#define MEMLANE_TESTS_STEPS_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

static long steps_left = -1; /* accesses to let pass; below 0: no stop is set */
static unsigned long steps_made; /* accesses so far, for tests with a bound */
static void (*steps_other)(void); /* runs at the stop; NULL: the process dies there */
static jmp_buf steps_death;

static inline void step(void) {
    steps_made++;
    if (steps_left < 0 || steps_left-- > 0)
        return;
    if (steps_other)
        steps_other(); /* without stops of its own: steps_left is below 0 by now */
    else
        longjmp(steps_death, 1);
}

#ifdef __clang__
#define STEPS(name) __c11_atomic_##name
#define STEPS_CAS(object, expected, desired, weak, success, failure)                                                   \
    __c11_atomic_compare_exchange_strong(object, expected, desired, success, failure)
#define STEPS_FETCH(name) __c11_atomic_fetch_##name
#else
#define STEPS(name) __atomic_##name##_n
#define STEPS_CAS(object, expected, desired, weak, success, failure)                                                   \
    __atomic_compare_exchange_n(object, expected, desired, weak, success, failure)
#define STEPS_FETCH(name) __atomic_fetch_##name
#endif

#undef atomic_load_explicit
#undef atomic_store_explicit
#undef atomic_exchange_explicit
#undef atomic_compare_exchange_strong_explicit
#undef atomic_compare_exchange_weak_explicit
#undef atomic_fetch_add_explicit
#undef atomic_fetch_sub_explicit
#undef atomic_fetch_or_explicit
#undef atomic_fetch_and_explicit
#define atomic_load_explicit(object, order) (step(), STEPS(load)(object, order))
#define atomic_store_explicit(object, value, order) (step(), STEPS(store)(object, value, order))
#define atomic_exchange_explicit(object, value, order) (step(), STEPS(exchange)(object, value, order))
#define atomic_compare_exchange_strong_explicit(object, expected, desired, success, failure)                           \
    (step(), STEPS_CAS(object, expected, desired, 0, success, failure))
#define atomic_compare_exchange_weak_explicit(object, expected, desired, success, failure)                             \
    (step(), STEPS_CAS(object, expected, desired, 0, success, failure))
#define atomic_fetch_add_explicit(object, value, order) (step(), STEPS_FETCH(add)(object, value, order))
#define atomic_fetch_sub_explicit(object, value, order) (step(), STEPS_FETCH(sub)(object, value, order))
#define atomic_fetch_or_explicit(object, value, order) (step(), STEPS_FETCH(or)(object, value, order))
#define atomic_fetch_and_explicit(object, value, order) (step(), STEPS_FETCH (and)(object, value, order))

/* Run `act` and kill it in front of access number k (from 0). Returns: true: it died; false: it came to its end
 * before that. */
__attribute__((noinline, unused)) static bool dies_at(long k, void (*act)(void)) {
    steps_other = NULL;
    steps_left = k;
    if (setjmp(steps_death))
        return true;
    act();
    steps_left = -1;
    return false;
}

/* Run `act`, and `other` from beginning to end in front of its access number k. Returns: true: it came to that. */
__attribute__((noinline, unused)) static bool meets_at(long k, void (*act)(void), void (*other)(void)) {
    steps_other = other;
    steps_left = k;
    act();
    bool met = steps_left < 0;
    steps_left = -1;
    return met;
}

#endif
