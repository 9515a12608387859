/* SPDX-License-Identifier: MIT
 *
 * A ring for programs without Python: open it by name, put and get. A thin face of core/lane_*.h, with the waiting.
 *
 * One thread at a time uses a handle, and two threads that put need one each: nothing here locks. A child of fork goes on with
 * a row and roles of its own. There are no loans, no reservations and no batches: each call copies one record. Records have the
 * stamps of their age as those of Python have, so statistics tell how long they wait. What a call answers:
 *
 *   MEMLANE_OK
 *   MEMLANE_FULL         no room until the deadline
 *   MEMLANE_EMPTY        nothing to get until the deadline
 *   MEMLANE_BUSY         all lanes, or the role of the one consumer, are taken by processes that live
 *   MEMLANE_CLOSED       the ring was shut down (and for a get: is drained)
 *   MEMLANE_TOO_LARGE    the record can never fit; for a get: the buffer is too small, and the record stays
 *   MEMLANE_LOST         this process was taken for dead, since its descriptors were closed
 *   MEMLANE_TRUNCATED    somebody has cut the file off
 *   MEMLANE_CORRUPTED    shared bytes that no sound program writes
 *   -ESTALE              the ring was removed; open what is there now
 *   -EACCES, -ENOSPC...  a negative errno of memlane_region_join, or of reserving the memory of a lane
 */
#ifndef MEMLANE_RUNTIME_RING_H
#define MEMLANE_RUNTIME_RING_H

#include "core/lane_consumer.h"
#include "core/lane_consumers.h"
#include "core/lane_producer.h"
#include "core/peers.h"
#include "runtime/attach.h"
#include "runtime/lease.h"
#include "runtime/wait.h"

struct memlane_ring_lane; /* what a consumer and a waker know of one lane */

struct memlane_ring {
    struct memlane_region *region;
    const struct memlane_entry *entry;
    uint64_t sequence; /* under which the entry was found */
    uint32_t index;
    uint64_t offset;
    struct memlane_ring_shape shape;
    struct memlane_ring_control *control;
    _Atomic uint32_t *consumers; /* the tags of many consumers; NULL: there is one */
    uint64_t held; /* epoch in which the byte of the entry is locked */

    uint64_t produces; /* epoch in which the lane was leased */
    struct memlane_producer producer;
    uint32_t lane;
    uint32_t next_probed;

    uint64_t consumes; /* epoch in which the role was taken */
    uint32_t current; /* the lane to look at first */
    uint64_t handed_back; /* as it was when the last pass over what others have in hand began */
    uint64_t next_pass_ns;
    bool ending; /* every lane is closed, and others have records in hand */

    struct memlane_ring_lane *lanes; /* allocated */
    struct memlane_bell bell; /* of the consumers */
    struct memlane_spinning putting, getting;
};

/* Open the ring `name` of a region; a region that was made for one ring has it as "ring". The region stays open for
 * longer than the ring. Returns: 0; -ENOENT, -EBADMSG; -ENOMEM; MEMLANE_CORRUPTED: its geometry contradicts itself;
 * -EINVAL: it is no ring. */
int memlane_ring_open(struct memlane_ring *ring, struct memlane_region *region, const char *name);

/* Give back the lane and the role that this process has; the byte of the entry stays locked. */
void memlane_ring_leave(struct memlane_ring *ring);

/* Give back what this process has of the ring; records that it has put stay. */
void memlane_ring_close(struct memlane_ring *ring);

/* Put one record; waits for room until a moment of the monotonic clock (os/semwait.h); 0: never, MEMLANE_FOREVER: for ever.
 * Once it returns MEMLANE_OK the record is there, whatever becomes of this process. */
int memlane_ring_put(struct memlane_ring *ring, const void *record, size_t nbytes, uint64_t deadline);

/* Get one record into a buffer of `room` bytes. *nbytes is its length, also with MEMLANE_TOO_LARGE. */
int memlane_ring_get(struct memlane_ring *ring, void *buffer, size_t room, size_t *nbytes, uint64_t deadline);

#endif
