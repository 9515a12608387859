/* SPDX-License-Identifier: MIT
 *
 * Membership: what one process has of one region that it has mapped. Its row, and with it its life in the eyes of
 * others.
 *
 * Two descriptions of the region's file are in it. The base description is mapped and holds presence; the other one, of
 * the row, holds the row's byte, the creation byte and those of entries, and is closed in forked children (os/fork.h).
 * A participant is alive for as long as the kernel holds its row's byte. A proof of death is made in two steps: the
 * byte is seen to be free, through a description that sees our own byte locked; then the generation of the row is moved
 * on, so that the dead participant stays dead whatever locks its byte later.
 *
 * Nothing here waits, allocates or runs code of the caller's. One thread at a time joins or leaves; anybody may ask for
 * the life of others meanwhile. The caller that uses the memory sees to it that it stays mapped.
 */
#ifndef MEMLANE_RUNTIME_MEMBERSHIP_H
#define MEMLANE_RUNTIME_MEMBERSHIP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/directory.h"
#include "core/participants.h"
#include "os/fork.h"
#include "os/guard.h"

/* No process ever has this epoch: what is marked with it was given back, or was never taken. */
#define MEMLANE_EPOCH_CLOSED UINT64_MAX

enum memlane_life { MEMLANE_LIFE_UNKNOWN = -1, MEMLANE_DEAD = 0, MEMLANE_ALIVE = 1 };

struct memlane_membership {
    unsigned char *address; /* of the whole region, mapped */
    const struct memlane_header *geometry; /* a private copy, checked */
    struct memlane_guarded *guarded; /* of the mapping */
    uint64_t device, inode; /* of the file below */
    int base; /* the descriptor; -1 once closed */
    bool readonly;
    int lock_descriptor;
    uint64_t lock_serial; /* tells it from a later one of the same number */
    uint32_t row;
    uint32_t tag;
    uint64_t generation;
    uint64_t epoch; /* in which the row was taken */
};

/* Begin a membership that has no row yet. `header` becomes a private copy of the header of the mapping, which must be
 * watched by the guard already (or be memlane_unguarded); it lives as long as the membership. `base` leads to the file.
 * Returns: MEMLANE_OK, or what memlane_header_check says: then nothing of the membership may be used. */
enum memlane_status memlane_membership_attach(struct memlane_membership *membership, struct memlane_header *header,
                                              unsigned char *address, uint64_t nbytes, struct memlane_guarded *guarded,
                                              int base, uint64_t device, uint64_t inode, bool readonly);

/* What people want to know of a participant. */
struct memlane_description {
    uint32_t pid;
    uint64_t start_time; /* in clock ticks since boot; 0: not known */
    const char *name; /* cut to 40 bytes */
};

enum memlane_joined {
    MEMLANE_JOINED,
    MEMLANE_JOIN_READONLY, /* the region is open for reading only */
    MEMLANE_JOIN_NO_FILE, /* the file cannot be opened again: *error. ENOENT also where another one was found */
    MEMLANE_JOIN_NO_ROW, /* all are in use, worn out, or locked by somebody who has not joined */
    MEMLANE_JOIN_UNSEEN, /* the kernel does not show us our own lock */
    MEMLANE_JOIN_REFUSED, /* the kernel refuses a lock: *error */
};

/* Take a row, unless this process has one in this epoch. The rows are tried from `start` on, which is best random.
 * `path` is a name of the file, for systems without /proc; NULL: none is known.
 * Returns: MEMLANE_JOINED; else nothing is taken, and *error is an errno where that says more. */
enum memlane_joined memlane_membership_join(struct memlane_membership *membership, uint32_t start,
                                            const struct memlane_description *description, const char *path,
                                            int *error);

/* Give the row back if there is one. Returns: false: others took this process for dead, and the row was not ours. */
bool memlane_membership_leave(struct memlane_membership *membership);

/* Have the kernel release the row's byte where the shared memory is out of our reach, since its file was cut off. */
void memlane_membership_abandon(struct memlane_membership *membership);

/* Whether this process has a row in this epoch. */
static inline bool memlane_membership_is_joined(const struct memlane_membership *membership) {
    return memlane_fork_is(membership->epoch);
}

static inline struct memlane_row *memlane_membership_row(const struct memlane_membership *membership, uint32_t row) {
    return (struct memlane_row *)(void *)(membership->address + membership->geometry->table_offset) + row;
}

/* Whether nobody has taken this process for dead. Callers: a process that has a row in this epoch. */
static inline bool memlane_membership_keeps_row(const struct memlane_membership *membership) {
    return memlane_row_generation(memlane_membership_row(membership, membership->row)) == membership->generation;
}

/* Whether a descriptor still leads to the file of this region: numbers are reused. */
bool memlane_membership_is_file(const struct memlane_membership *membership, int descriptor);

/* Whether this process still has what proves its life: the file, and the lock of its row if it has one. */
bool memlane_membership_is_sound(const struct memlane_membership *membership);

/* Whether the participant lives that a tag names. MEMLANE_DEAD is for ever. MEMLANE_LIFE_UNKNOWN: this process has
 * closed the descriptors by which it would know, and proves nothing. One or two system calls. */
enum memlane_life memlane_membership_life(const struct memlane_membership *membership, uint32_t tag);

/* Whether it is proven dead: for functions of src/core that take a judge. */
static inline bool memlane_membership_is_dead(void *membership, uint32_t tag) {
    return memlane_membership_life((const struct memlane_membership *)membership, tag) == MEMLANE_DEAD;
}

/* The same for the participant that has a row now. A row that nobody has is MEMLANE_DEAD. */
enum memlane_life memlane_membership_row_life(const struct memlane_membership *membership, uint32_t row);

/* The pid that the owner of a tag's row has noted, for error texts; 0: none can be. */
uint32_t memlane_membership_pid(const struct memlane_membership *membership, uint32_t tag);

/* ---- bytes of the row's description: for one who has a row --------------------------------------- */

/* Try to become the one who changes the directory. Returns: 0, -EAGAIN: another process is, or another negative errno. */
int memlane_membership_lock_creation(const struct memlane_membership *membership);
void memlane_membership_unlock_creation(const struct memlane_membership *membership);

enum memlane_hold {
    MEMLANE_HELD,
    MEMLANE_HOLD_GONE, /* the object was removed */
    MEMLANE_HOLD_LOST, /* the description is not ours any more */
    MEMLANE_HOLD_REFUSED, /* the kernel refuses the lock: *error */
};

/* Keep the room of an object from being used again once it is removed: lock the byte of its entry, which was found
 * valid under `sequence` and which no thread of this process has locked. */
enum memlane_hold memlane_membership_hold(const struct memlane_membership *membership,
                                          const struct memlane_entry *entry, uint32_t index, uint64_t sequence,
                                          int *error);
void memlane_membership_unhold(const struct memlane_membership *membership, uint32_t index);

#endif
