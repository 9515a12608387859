/* SPDX-License-Identifier: MIT */
#include "runtime/membership.h"

#include <errno.h>
#include <string.h>

#include "os/lockbytes.h"

enum memlane_status memlane_membership_attach(struct memlane_membership *membership, struct memlane_header *header,
                                              unsigned char *address, uint64_t nbytes, struct memlane_guarded *guarded,
                                              int base, uint64_t device, uint64_t inode, bool readonly) {
    if (nbytes < sizeof *header)
        return MEMLANE_TRUNCATED;
    /* Words that agree with each other must not come half from the file and half from nowhere. */
    memlane_guard_replace_whole(guarded);
    memlane_guard_come_on_top();
    memcpy(header, address, sizeof *header);
    if (memlane_guard_is_truncated(guarded))
        return MEMLANE_TRUNCATED;
    enum memlane_status status = memlane_header_check(header, nbytes);
    if (status == MEMLANE_OK)
        *membership = (struct memlane_membership){
            .address = address,
            .geometry = header,
            .guarded = guarded,
            .device = device,
            .inode = inode,
            .base = base,
            .readonly = readonly,
            .lock_descriptor = -1,
            .epoch = MEMLANE_EPOCH_CLOSED,
        };
    return status;
}

bool memlane_membership_is_file(const struct memlane_membership *membership, int descriptor) {
    return memlane_is_file(descriptor, membership->device, membership->inode);
}

/* Whether the base description shows the lock of our own row: then what it shows of others is true. */
static bool sees_own_row(const struct memlane_membership *membership) {
    return memlane_lockbyte_probe(membership->base, MEMLANE_ROW_BYTE(membership->row), false) == 1;
}

bool memlane_membership_is_sound(const struct memlane_membership *membership) {
    return memlane_membership_is_file(membership, membership->base) &&
           (!memlane_membership_is_joined(membership) || sees_own_row(membership));
}

/* ---- the life of others -------------------------------------------------------------------------- */

/* Ask the kernel whether the owner of an odd row lives; of one that does not, the death is made to stand. */
static enum memlane_life row_life(const struct memlane_membership *membership, uint32_t row, bool joining) {
    struct memlane_row *theirs = memlane_membership_row(membership, row);
    uint64_t generation = memlane_row_generation(theirs);
    if (!(generation & 1))
        return MEMLANE_DEAD;
    int locked = memlane_lockbyte_probe(membership->base, MEMLANE_ROW_BYTE(row), false);
    if (locked == 1)
        return MEMLANE_ALIVE;
    /* A proof counts only if the same descriptor shows what we know: our own row, or without one yet that it is still
     * the file of this region. */
    if (locked < 0)
        return MEMLANE_LIFE_UNKNOWN;
    if (joining || !memlane_membership_is_joined(membership)) {
        if (!memlane_membership_is_file(membership, membership->base))
            return MEMLANE_LIFE_UNKNOWN;
    } else if (!sees_own_row(membership) || !memlane_membership_keeps_row(membership))
        return MEMLANE_LIFE_UNKNOWN;
    if (!membership->readonly)
        memlane_row_mark_dead(theirs, generation);
    return MEMLANE_DEAD;
}

enum memlane_life memlane_membership_row_life(const struct memlane_membership *membership, uint32_t row) {
    return row_life(membership, row, false);
}

enum memlane_life memlane_membership_life(const struct memlane_membership *membership, uint32_t tag) {
    uint32_t row = memlane_tag_row(tag);
    uint64_t generation;
    if (tag == membership->tag && memlane_membership_is_joined(membership))
        return MEMLANE_ALIVE;
    if (row >= membership->geometry->rows || !memlane_row_is(memlane_membership_row(membership, row), tag, &generation))
        return MEMLANE_DEAD;
    return row_life(membership, row, false);
}

uint32_t memlane_membership_pid(const struct memlane_membership *membership, uint32_t tag) {
    uint32_t pid = 0;
    uint64_t start_time;
    char name[41];
    if (memlane_tag_row(tag) < membership->geometry->rows)
        memlane_row_description(memlane_membership_row(membership, memlane_tag_row(tag)), &pid, &start_time, name);
    return pid;
}

/* ---- joining and leaving ------------------------------------------------------------------------- */

enum { NO_ROW = 1 }; /* no errno */

/* Take this row, whose joining byte is ours. Returns 0, -EAGAIN if it is taken, or another negative errno. */
static int take_row(const struct memlane_membership *membership, int descriptor, uint32_t row, uint64_t *generation) {
    struct memlane_row *found = memlane_membership_row(membership, row);
    if (memlane_row_generation(found) & 1)
        return -EAGAIN;
    int error = memlane_lockbyte_try(descriptor, MEMLANE_ROW_BYTE(row), true);
    if (error || memlane_row_join(found, generation))
        return error;
    memlane_lockbyte_release(descriptor, MEMLANE_ROW_BYTE(row));
    return -EAGAIN;
}

/* Take a row, its byte locked through `descriptor`. Returns 0, NO_ROW, or a negative errno. */
static int find_row(const struct memlane_membership *membership, int descriptor, uint32_t start, uint32_t *row,
                    uint64_t *generation) {
    const uint32_t rows = membership->geometry->rows;
    /* Even rows first; then those of the dead, whose proof has to be made. */
    for (uint32_t turn = 0; turn < 2 * rows; turn++) {
        *row = (uint32_t)(((uint64_t)start + turn) % rows);
        if (turn >= rows && row_life(membership, *row, true) != MEMLANE_DEAD)
            continue;
        if (memlane_row_generation(memlane_membership_row(membership, *row)) & 1)
            continue;
        /* One joins a row at a time. Else another one may join and die behind our look, and we would lock its byte:
         * stopped there, we would let it pass for alive. */
        int error = memlane_lockbyte_try(descriptor, MEMLANE_JOINING_BYTE(*row), true);
        if (error == 0) {
            error = take_row(membership, descriptor, *row, generation);
            memlane_lockbyte_release(descriptor, MEMLANE_JOINING_BYTE(*row));
        }
        if (error != -EAGAIN)
            return error;
    }
    return NO_ROW;
}

enum memlane_joined memlane_membership_join(struct memlane_membership *membership, uint32_t start,
                                            const struct memlane_description *description, const char *path,
                                            int *error) {
    uint64_t epoch = memlane_fork_epoch(), generation, serial;
    uint32_t row;
    *error = 0;
    if (membership->epoch == epoch)
        return MEMLANE_JOINED;
    if (membership->readonly)
        return MEMLANE_JOIN_READONLY;
    int descriptor = memlane_fork_open(membership->base, NULL, &serial);
    if (descriptor == -ENOENT && path != NULL && memlane_membership_is_file(membership, membership->base))
        descriptor = memlane_fork_open(membership->base, path, &serial); /* there is no /proc */
    if (descriptor < 0) {
        *error = -descriptor;
        return MEMLANE_JOIN_NO_FILE;
    }
    if (!memlane_membership_is_file(membership, descriptor)) {
        memlane_fork_close(descriptor, serial);
        *error = ENOENT;
        return MEMLANE_JOIN_NO_FILE;
    }
    int found = find_row(membership, descriptor, start, &row, &generation);
    if (found == 0 && memlane_lockbyte_probe(membership->base, MEMLANE_ROW_BYTE(row), false) != 1) {
        memlane_row_leave(memlane_membership_row(membership, row), generation);
        memlane_fork_close(descriptor, serial);
        return MEMLANE_JOIN_UNSEEN;
    }
    if (found != 0) {
        memlane_fork_close(descriptor, serial);
        *error = found < 0 ? -found : 0;
        return found < 0 ? MEMLANE_JOIN_REFUSED : MEMLANE_JOIN_NO_ROW;
    }
    memlane_row_describe(memlane_membership_row(membership, row), description->pid, description->start_time,
                         description->name);
    membership->lock_descriptor = descriptor;
    membership->lock_serial = serial;
    membership->row = row;
    membership->generation = generation;
    membership->tag = memlane_tag(row, generation);
    membership->epoch = epoch;
    return MEMLANE_JOINED;
}

bool memlane_membership_leave(struct memlane_membership *membership) {
    if (!memlane_membership_is_joined(membership))
        return true;
    membership->epoch = MEMLANE_EPOCH_CLOSED;
    bool left = memlane_row_leave(memlane_membership_row(membership, membership->row), membership->generation);
    memlane_fork_close(membership->lock_descriptor, membership->lock_serial);
    membership->lock_descriptor = -1;
    return left || memlane_guard_is_truncated(membership->guarded);
}

void memlane_membership_abandon(struct memlane_membership *membership) {
    /* The generation stays odd: in the file it is out of our reach. */
    if (!memlane_membership_is_joined(membership))
        return;
    int descriptor = membership->lock_descriptor;
    membership->epoch = MEMLANE_EPOCH_CLOSED;
    membership->lock_descriptor = -1;
    memlane_fork_close(descriptor, membership->lock_serial);
}

/* ---- bytes of the row's description -------------------------------------------------------------- */

int memlane_membership_lock_creation(const struct memlane_membership *membership) {
    return memlane_lockbyte_try(membership->lock_descriptor, MEMLANE_CREATION_BYTE, true);
}

void memlane_membership_unlock_creation(const struct memlane_membership *membership) {
    memlane_lockbyte_release(membership->lock_descriptor, MEMLANE_CREATION_BYTE);
}

enum memlane_hold memlane_membership_hold(const struct memlane_membership *membership,
                                          const struct memlane_entry *entry, uint32_t index, uint64_t sequence,
                                          int *error) {
    *error = 0;
    if (!memlane_entry_stands(entry, sequence))
        return MEMLANE_HOLD_GONE;
    if (!memlane_membership_is_file(membership, membership->lock_descriptor))
        return MEMLANE_HOLD_LOST;
    int locked = memlane_lockbyte_try(membership->lock_descriptor, MEMLANE_ENTRY_BYTE(index), false);
    if (locked) {
        *error = -locked;
        return MEMLANE_HOLD_REFUSED;
    }
    /* Only now: a process that frees the room looks at the lock after the removal. */
    if (memlane_entry_stands_ordered(entry, sequence))
        return MEMLANE_HELD;
    memlane_membership_unhold(membership, index);
    return MEMLANE_HOLD_GONE;
}

void memlane_membership_unhold(const struct memlane_membership *membership, uint32_t index) {
    /* else the kernel has let go of it, and the number is another file's */
    if (memlane_membership_is_file(membership, membership->lock_descriptor))
        memlane_lockbyte_release(membership->lock_descriptor, MEMLANE_ENTRY_BYTE(index));
}
