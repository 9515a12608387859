/* SPDX-License-Identifier: MIT
 *
 * Opening a region without Python: by its name, the path of its file, or a descriptor.
 *
 * What may be joined, and how a removal is kept apart from an opening, is as in memlane._region: presence is taken on a
 * description of our own, then it is looked whether the name still leads to that file. A region is not created, swept or
 * put in order here.
 */
#ifndef MEMLANE_RUNTIME_ATTACH_H
#define MEMLANE_RUNTIME_ATTACH_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "runtime/doorbell.h"
#include "runtime/membership.h"

/* What prepares the library once for each process, forks included; done by the functions that open a region.
 * Returns 0 or a negative errno. */
int memlane_runtime_setup(void);

struct memlane_region {
    struct memlane_header header; /* private */
    struct memlane_membership membership;
    struct memlane_semaphores semaphores;
    void *anchor; /* keeps us present at the set of semaphores; NULL: there is none */
    char path[PATH_MAX]; /* of the file, to open it again where /proc is missing; empty: none is known */
};

/* How to open one. */
struct memlane_opening {
    bool readonly;
    bool any_owner; /* else the file must belong to this user or to root */
};

/* Where the file of that name is. Returns: 0; -EINVAL where it is no name; -ENAMETOOLONG. */
int memlane_region_path(const char *name, char path[PATH_MAX]);

/* Open the region of that name; of that path if there is a "/" in it. `opening` may be NULL.
 * Returns: 0; a negative errno: -ENOENT where there is none, -EPERM where it belongs to another user, -EINVAL where it is
 * no regular file or the name is none, -EOPNOTSUPP where it is on a network file system, -EBUSY where somebody opens or
 * removes it and does not go on, for seconds; or one of memlane_status that judges its bytes. Only with 0 there is
 * something to be closed. */
int memlane_region_open(struct memlane_region *region, const char *name, const struct memlane_opening *opening);

/* Open the region behind a descriptor, which stays the caller's. Returns: the same. */
int memlane_region_open_descriptor(struct memlane_region *region, int descriptor,
                                   const struct memlane_opening *opening);

/* Take a row, if this process has none in this epoch. Returns: 0; -EACCES where the region is open for reading only;
 * -EUSERS where no row is free; another negative errno. */
int memlane_region_join(struct memlane_region *region);

/* Give the row back, and let everything go. Nobody uses the region any more. */
void memlane_region_close(struct memlane_region *region);

/* Find an object by its name. *entry is a private copy, checked against the region; *sequence the number under which it
 * stands. Returns: its index; -ENOENT: there is none; -EBADMSG: its entry is out of bounds, which hides no other. */
int memlane_region_find(const struct memlane_region *region, const char *name, struct memlane_entry *entry,
                        uint64_t *sequence);

#endif
