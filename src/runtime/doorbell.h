/* SPDX-License-Identifier: MIT
 *
 * A doorbell as this process sees it: the semaphore that wakes its sleepers, attached when it is first needed.
 *
 * Where a region's semaphores are depends on how it can be reached:
 *
 *   memfd           inside of the region
 *   name, path      named ones, `/memlane.<set>.<number>`: the set follows from the region's id and does not tell it,
 *                   the number is the doorbell's place in the region in units of 64 bytes
 *   MAP_ANONYMOUS   named ones that were unlinked as soon as they were made: children inherit them, nobody else attaches
 *
 * Making and removing named ones is not done here (memlane._region.semaphores does it). A process that cannot attach to a
 * semaphore polls, and the processes that it would wake look again by themselves: slower, and as right.
 */
#ifndef MEMLANE_RUNTIME_DOORBELL_H
#define MEMLANE_RUNTIME_DOORBELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/waiters.h"
#include "os/guard.h"

/* A waker leaves at most this many tokens at once, whatever a count in shared memory says. */
#define MEMLANE_POSTS_MAX 1024u

enum { MEMLANE_SET_DIGITS = 16, MEMLANE_LIBC_NBYTES = 24 };

/* The semaphores of one region, as far as they are found by name. */
struct memlane_semaphores {
    char set[MEMLANE_SET_DIGITS + 1];
    uint32_t backing; /* enum memlane_backing */
    bool is_ours; /* made by a C library like ours; another one may lay them out differently */
};

/* What stands in a header for this process's C library: NUL padded. */
void memlane_libc(char libc[MEMLANE_LIBC_NBYTES]);

/* Everybody can list the name of a set, and must not learn the region's id from it. */
void memlane_semaphore_set(uint64_t region_id, char set[MEMLANE_SET_DIGITS + 1]);

/* The name of semaphore `number` as sem_open(3) wants it, and where its file is. */
enum { MEMLANE_SEMAPHORE_NAME_NBYTES = 64 };
void memlane_semaphore_name(const char *set, uint64_t number, char name[MEMLANE_SEMAPHORE_NAME_NBYTES]);
void memlane_semaphore_file(const char *set, uint64_t number, char file[MEMLANE_SEMAPHORE_NAME_NBYTES]);

/* `header` is a private copy. */
void memlane_semaphores_of(const struct memlane_header *header, struct memlane_semaphores *semaphores);

struct memlane_bell {
    struct memlane_doorbell *shared;
    uint64_t number;
    _Atomic(void *) semaphore; /* NULL: not attached. It is attached once, by one thread at a time */
    struct memlane_guarded *guarded; /* of the page of a named one; set before `semaphore` */
    bool is_named; /* so that it is to be closed */
};

/* Attached to nothing at first. `region` is the first byte of the mapping that has `shared` in it. */
void memlane_bell_begin(struct memlane_bell *bell, struct memlane_doorbell *shared, const unsigned char *region);

/* Attach to the semaphore if there is one and it is what its maker noted; a few system calls, which never wait.
 * Callers: one thread at a time. Returns: whether it is attached now. */
bool memlane_bell_attach(struct memlane_bell *bell, const struct memlane_semaphores *semaphores);

/* Attach to a named semaphore that this process has just made. Returns 0 or an errno. Callers: one thread at a time. */
int memlane_bell_attach_made(struct memlane_bell *bell, const char *name);

/* Make the semaphore inside of the region, and attach to it. Returns 0 or an errno.
 * Callers: its first user, before others can see the object. */
int memlane_bell_make(struct memlane_bell *bell);

/* Let the semaphore go. Callers: nobody uses the doorbell any more. */
void memlane_bell_end(struct memlane_bell *bell);

static inline bool memlane_bell_is_attached(const struct memlane_bell *bell) {
    /* sync: bell.semaphore. acquire: the address can be followed, and `guarded` is in place; pairs with attach_at */
    return atomic_load_explicit(&bell->semaphore, memory_order_acquire) != NULL;
}

/* Where to wait; NULL: poll, for there is no semaphore, or somebody has cut its file off. */
void *memlane_bell_address(const struct memlane_bell *bell);

/* Leave `times` tokens. Without a semaphore there is nothing to do: the sleepers poll then. */
void memlane_bell_post(const struct memlane_bell *bell, uint32_t times);

/* Take up to `times` announcements away and leave as many tokens, at a doorbell that is attached first if need be.
 * Callers: one thread at a time, after a change and a look at the count (core/waiters.h). */
void memlane_bell_wake(struct memlane_bell *bell, const struct memlane_semaphores *semaphores, _Atomic uint32_t *count,
                       uint32_t times);

#endif
