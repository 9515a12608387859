/* SPDX-License-Identifier: MIT
 *
 * What the functions of src/core return. One function of the binding turns it into Python.
 */
#ifndef MEMLANE_STATUS_H
#define MEMLANE_STATUS_H

/* What the functions of src/core return. One function of the binding turns it into Python. */
enum memlane_status {
    MEMLANE_OK = 0,
    MEMLANE_FULL, /* no room now */
    MEMLANE_EMPTY, /* nothing now */
    MEMLANE_CLOSED, /* shut down: never again */
    MEMLANE_TOO_LARGE, /* can never fit */
    MEMLANE_CORRUPTED, /* shared bytes that no sound program writes, seen twice */
    MEMLANE_BUSY, /* another one was faster, or a claim is open: look again */
    MEMLANE_LOST, /* the role is no longer ours: we were taken for dead */
    MEMLANE_LAPPED, /* what was to be read has been overwritten */
    MEMLANE_EVICTED, /* publishers wait for us no longer */
    MEMLANE_DIFFERS, /* it is not what the caller expected: nothing was done */
    MEMLANE_GROW, /* memory is to be reserved first, see queue_growth.h */
    MEMLANE_STALE, /* the life of a block that a handle names is over, see heap.h */
    /* of a header, see directory.h */
    MEMLANE_TRUNCATED,
    MEMLANE_FOREIGN,
    MEMLANE_OLDER,
    MEMLANE_NEWER,
    MEMLANE_UNKNOWN_FEATURES,
    MEMLANE_NO_MEMORY, /* this process cannot have what it keeps privately */
};

#endif
