/* SPDX-License-Identifier: MIT
 *
 * What one process has of one heap: the blocks that it holds, and a private picture of the free room.
 *
 * A process holds a block by one word in shared memory, however often it has opened it: the uses are counted here. Only the
 * first open and the last release touch shared memory.
 *
 * The picture of an arena is a list of runs of free bytes by address, with the version of the arena that it belongs to (see
 * core/heap_room.h). What may be added to it without a walk over all descriptors:
 *
 *   a block that this process has made and held until this moment    no commit that was followed can lie in its extent
 *   one that it has made, and that others held longer                it is watched: each commit that is followed and lies
 *                                                                    in its extent ends the watch; found FREE in the same
 *                                                                    generation, its extent is free
 *
 * Nothing here waits or makes a system call, except to prove deaths. Memory of the heap is reserved by the caller, who is told
 * what is missing. One thread at a time may be in a function that takes a `struct memlane_holding *` which is not const. A forked
 * child holds nothing: the first call there forgets what the parent had.
 */
#ifndef MEMLANE_RUNTIME_HEAP_H
#define MEMLANE_RUNTIME_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/heap_room.h"
#include "core/heap_transit.h"
#include "runtime/membership.h"

/* Blocks of ours that others still hold, and whose end is looked for; and pieces of just freed room that are kept whole for
 * the next allocation of that length. Arbitrary. */
#define MEMLANE_HEAP_WATCHED 128u
#define MEMLANE_HEAP_RECENT 64u
/* Descriptors that are reserved at once, at least: a page of them. */
#define MEMLANE_HEAP_READY_STEP 128u
/* Commits that may be lost in one allocation before the caller is told to look at its deadline. */
#define MEMLANE_HEAP_COMMITS 1000

struct memlane_run {
    uint64_t offset, nbytes; /* in the bytes of an arena */
};

struct memlane_watched {
    struct memlane_run extent; /* of nbytes 0: nothing is watched here */
    uint64_t generation;
    uint32_t index;
};

/* The free room of one arena. */
struct memlane_picture {
    bool is_drawn;
    uint32_t ready; /* descriptors that it knows: the first ones */
    uint64_t version;
    struct memlane_run *runs; /* by address; none touches the next one */
    uint64_t count, room;
    uint64_t *spare; /* one bit a descriptor: FREE, as far as is known */
    uint64_t spare_room; /* words that are allocated */
    uint64_t spare_first; /* no bit is set in a word before this one */
    struct memlane_run recent[MEMLANE_HEAP_RECENT];
    uint32_t recents;
    struct memlane_watched watched[MEMLANE_HEAP_WATCHED];
    uint32_t watch_next, look_next;
};

/* A block that this process holds. */
struct memlane_held {
    struct memlane_run extent; /* where this process has made it; else of nbytes 0 */
    uint64_t generation;
    uint32_t key; /* its number plus 1; 0: nothing is here */
    uint32_t word;
    uint32_t uses;
};

struct memlane_holding {
    struct memlane_heap heap;
    const struct memlane_membership *membership;
    /* Of a transit that is a record or a version, see memlane_heap_process; NULL: none of them holds. */
    enum memlane_transit_verdict (*judge)(const struct memlane_membership *membership, enum memlane_transit_kind kind,
                                          uint64_t where, uint64_t number);
    uint64_t epoch; /* of fork, in which all below was found */
    struct memlane_picture *pictures; /* one an arena */
    struct memlane_held *held; /* hashed by number; the room is a power of two */
    uint64_t held_count, held_room;
    uint32_t arena; /* in which room was found last */
};

/* Begin with nothing held. `base` is the first byte of the heap; the shape is private and checked.
 * Returns: MEMLANE_OK; MEMLANE_NO_MEMORY. Ended by memlane_holding_end, which gives nothing back in shared memory. */
enum memlane_status memlane_holding_begin(struct memlane_holding *holding, unsigned char *base,
                                          const struct memlane_heap_shape *shape,
                                          const struct memlane_membership *membership);
void memlane_holding_end(struct memlane_holding *holding);

/* Make a block of `payload_nbytes`, which begins at a multiple of `alignment` bytes of the object: a power of two, at least
 * 64. `meta_nbytes` of description lie behind the payload, at the next multiple of 8. It is held once, and not sealed.
 *
 * Returns: MEMLANE_OK and *block: its bytes may have no memory yet, see memlane_heap_unreserved; MEMLANE_GROW: descriptors of arena
 * *arena are to be reserved first, see memlane_holding_grow; MEMLANE_FULL: there is no room; MEMLANE_TOO_LARGE: there never is;
 * MEMLANE_BUSY: disturbed too often; MEMLANE_NO_MEMORY. */
enum memlane_status memlane_holding_allocate(struct memlane_holding *holding, uint64_t payload_nbytes,
                                             uint64_t meta_nbytes, uint64_t alignment, struct memlane_block *block,
                                             uint64_t *arena);

/* What is to be reserved before more descriptors of an arena can be used: two stretches of the object, then
 * memlane_heap_raise_ready to *ready. Returns: false: all are ready. */
bool memlane_holding_grow(const struct memlane_holding *holding, uint64_t arena, struct memlane_run stretches[2],
                          uint32_t *ready);

/* Open a handle: one more use.
 * Returns: as memlane_heap_open, and MEMLANE_NO_MEMORY. *freed: room came free by it. */
enum memlane_status memlane_holding_open(struct memlane_holding *holding, uint32_t number, uint64_t generation,
                                         struct memlane_block *block, bool *freed);

/* End one use. Returns: MEMLANE_OK and *freed; MEMLANE_LOST: this process was taken for dead; MEMLANE_STALE: it does not hold that. */
enum memlane_status memlane_holding_release(struct memlane_holding *holding, uint32_t number, uint64_t generation,
                                            bool *freed);

/* Try to free the block because a reference of another kind is gone. Returns: whether it came free. */
bool memlane_holding_try_free(struct memlane_holding *holding, uint32_t number);

/* Hold a block for readers to come, see memlane_transit_lend, which this calls with proofs. The caller holds it. */
enum memlane_status memlane_holding_lend(struct memlane_holding *holding, uint32_t number, uint32_t readers,
                                         uint32_t answerable, uint32_t *which, uint32_t *stamp);

/* How many readers of a loan have not come; 0: it is over. */
uint32_t memlane_holding_lent_left(const struct memlane_holding *holding, uint32_t number, uint32_t which,
                                   uint32_t stamp);

/* End a loan, and free the block if nothing else holds it. Returns: how many readers had not come; 0: it was over. */
uint32_t memlane_holding_lent_cancel(struct memlane_holding *holding, uint32_t number, uint32_t which, uint32_t stamp,
                                     bool *freed);

/* Take the references of the dead away in blocks of an arena, from *next on, as many descriptors as `looks`; *next moves
 * behind them. Any thread, at any time. Returns: how many blocks came free. */
uint64_t memlane_holding_collect(const struct memlane_holding *holding, uint64_t arena, uint32_t *next, uint32_t looks);

/* A number that changes when blocks come free, for the second look of one who waits for room. Any thread. */
uint64_t memlane_holding_free_digest(const struct memlane_holding *holding);

/* Take the free steps of an arena out of use, one stretch after the other, and give their memory back.
 * Returns: the bytes given back; *freed as above. */
uint64_t memlane_holding_trim(struct memlane_holding *holding, uint64_t arena, bool *freed);

struct memlane_heap_totals {
    uint64_t blocks, nbytes; /* in use: payloads with what describes them, in whole lines */
    uint64_t unsealed;
    uint64_t ready; /* descriptors with memory */
    uint64_t reserved; /* bytes of blocks with memory */
    uint64_t free, largest_free; /* bytes of room */
};

/* Count everything, by a walk. Returns: MEMLANE_OK; MEMLANE_NO_MEMORY. */
enum memlane_status memlane_holding_count(struct memlane_holding *holding, struct memlane_heap_totals *totals);

/* What keeps blocks: a process by its tag, or an object by its entry in the directory. */
struct memlane_heap_share {
    uint64_t blocks, nbytes;
    uint32_t of; /* a tag, or an entry */
    bool is_entry;
    bool is_lent; /* by that tag, to readers that have not come */
};

/* Count who keeps how much; a block that several keep counts for each. Any thread.
 * Returns: how many of the first `room` shares are filled in. */
uint32_t memlane_holding_shares(const struct memlane_holding *holding, struct memlane_heap_share *shares,
                                uint32_t room);

#endif
