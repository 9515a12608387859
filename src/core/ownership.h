/* SPDX-License-Identifier: MIT
 *
 * Owner words: a role that at most one participant has, as the tag of that participant in a shared word.
 *
 *   role   0 -> tag -> 0 -> tag of another ...        tag -> tag of the next one, once its owner is proven dead
 *
 * The proof is the business of the caller. Everything may run at the same time as everything, in any process, and is
 * wait-free. If the owner dies at the worst moment, its tag stands until somebody proves it dead.
 */
#ifndef MEMLANE_OWNERSHIP_H
#define MEMLANE_OWNERSHIP_H

#include <stdbool.h>

#include "core/layout.h"

/* Take the role from `found` (0, or a tag proven dead).
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: true: ours. */
static inline bool memlane_role_take(_Atomic uint32_t *role, uint32_t found, uint32_t tag) {
    /* sync: role.owner. acq_rel: pairs with memlane_role_give; failure relaxed: nothing was taken */
    return atomic_compare_exchange_strong_explicit(role, &found, tag, memory_order_acq_rel, memory_order_relaxed);
}

/* Give the role back. Callers: its holder. Progress: wait-free. Ordering: release.
 * Returns: false: it was no longer ours. */
static inline bool memlane_role_give(_Atomic uint32_t *role, uint32_t tag) {
    /* sync: role.owner. release: pairs with memlane_role_take. A CAS: the successor's role must stay. */
    return atomic_compare_exchange_strong_explicit(role, &tag, MEMLANE_TAG_NONE, memory_order_release,
                                                   memory_order_relaxed);
}

/* The holder of a role: a tag or 0.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: the word. */
static inline uint32_t memlane_role_owner(const _Atomic uint32_t *role) {
    /* sync: role.owner. acquire: pairs with memlane_role_give */
    return atomic_load_explicit(role, memory_order_acquire);
}

/* Whether the role is still ours, after a copy and before `head` moves.
 * Callers: the holder. Progress: wait-free. Ordering: none. Returns: true: ours. */
static inline bool memlane_role_held(_Atomic uint32_t *role, uint32_t tag) {
    /* relaxed: one taken for dead wrongly shall stop soon; what it does until then is not promised */
    return atomic_load_explicit(role, memory_order_relaxed) == tag;
}

#endif
