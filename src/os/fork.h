/* SPDX-License-Identifier: MIT
 *
 * What a fork changes: which generation of processes this is, and which descriptors a child must not keep.
 *
 * A lock description that a child inherited would keep its parent alive in the eyes of all others. So each one
 * is opened and registered in one step, under the mutex that the fork hook takes, and the child closes it.
 * The epoch word lies in a page that the kernel wipes on fork: a child sees 0 until it has done that, even
 * where a raw clone skipped the hooks.
 */
#ifndef MEMLANE_OS_FORK_H
#define MEMLANE_OS_FORK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Prepare page and hooks; call once when the extension is loaded. Returns 0 or a negative errno. */
int memlane_fork_setup(void);

/* The wiped page. A handle compares its own epoch with this word first thing in every call. */
extern _Atomic uint64_t *memlane_fork_word;

/* Whether a handle that was prepared in `epoch` may still be used as it is: one load. */
static inline bool memlane_fork_is(uint64_t epoch) {
    /* relaxed: a child sees its own page, wiped before it runs; nothing is ordered by this */
    return atomic_load_explicit(memlane_fork_word, memory_order_relaxed) == epoch;
}

/* The epoch of this process: never 0, another one in each generation. If a fork skipped the hooks, the child's
 * duty is done here, at its first call. */
uint64_t memlane_fork_epoch(void);

/* Open a lock description on the file behind `base`, at a highish number, and register it. Goes
 * by name only where `path` is given, for systems without /proc: the name may lead elsewhere by now, so the caller
 * looks which file it got. Returns the descriptor or a negative errno; `serial` tells it from a later one of the
 * same number. */
int memlane_fork_open(int base, const char *path, uint64_t *serial);

/* Have `make` open a descriptor that children must not keep, and register it before anybody can fork. `make` returns it or
 * a negative errno. Returns: as memlane_fork_open. */
int memlane_fork_register(int (*make)(void *of), void *of, uint64_t *serial);

/* Whether a registered descriptor is still ours: neither closed, nor another file by now, nor our parent's. */
bool memlane_fork_holds(int descriptor, uint64_t serial);

/* Close a registered description, unless its number has become somebody else's file, or a later description's. */
void memlane_fork_close(int descriptor, uint64_t serial);

#endif
