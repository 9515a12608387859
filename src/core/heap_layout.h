/* SPDX-License-Identifier: MIT
 *
 * The bytes of a heap, and where its parts lie.
 */
#ifndef MEMLANE_HEAP_LAYOUT_H
#define MEMLANE_HEAP_LAYOUT_H

#include "core/layout.h"

/* ---- heap: geometry = { arenas, arena_nbytes, blocks, holders, transits, step_nbytes } -----------------
 *
 *   0              256               page aligned                                     page aligned
 *   +--------------+-----------------+---------------+--------------+------- - - -----+-----------------+- - -
 *   | heap control | arena control   | descriptors   | references   | of arena 1 ...  | bytes of arena 0| ...
 *   |              | of each arena   | of arena 0    | of arena 0   |                 |                 |
 *   +--------------+-----------------+---------------+--------------+------- - - -----+-----------------+- - -
 *    reserved with the object         reserved as they are first needed, lowest first  reserved in steps
 *
 *   references of a block   0             8 * transits    +4 * holders, line aligned with the places
 *                           +-------------+---------------+---------------------+
 *                           | what, each  | holder, each  | place, each         |
 *                           +-------------+---------------+---------------------+
 */
#define MEMLANE_HEAP_BLOCKS_BITS 24u /* of a block in a version and in a handle */
#define MEMLANE_HEAP_BLOCKS_MAX (UINT64_C(1) << MEMLANE_HEAP_BLOCKS_BITS) /* in all arenas */
#define MEMLANE_HEAP_ARENAS_MAX UINT64_C(256) /* arbitrary */
#define MEMLANE_HEAP_ARENA_MAX (UINT64_C(1) << 38) /* bytes: extents count lines in 32 bits */
#define MEMLANE_HEAP_HOLDERS_MAX UINT64_C(1000)
#define MEMLANE_HEAP_TRANSITS_MAX UINT64_C(64)
#define MEMLANE_HEAP_STEP_NBYTES (UINT64_C(1) << 21) /* a huge page; more where an arena has more steps than bits */
#define MEMLANE_HEAP_STEPS_MAX UINT64_C(16384)
#define MEMLANE_HEAP_JOURNAL 224u

struct memlane_heap_control {
    _Atomic uint32_t waiters; /* allocations that wait for room, see waiters.h */
    alignas(MEMLANE_LINE_PAIR) struct memlane_doorbell doorbell;
    _Atomic uint64_t collected; /* references of the dead that were taken away, for people */
    unsigned char unused[56];
};
static_assert(sizeof(struct memlane_heap_control) == 256, "layout: see docs/layout.md");

struct memlane_heap_arena {
    /* How many allocations were committed, and of which block the last one was.
     *   [ number : 40 | block : 24 ] */
    _Atomic uint64_t version;
    alignas(MEMLANE_LINE_PAIR) _Atomic uint32_t
        ready; /* blocks whose descriptors and references are reserved: the first ones */
    _Atomic uint32_t user; /* tag of the process that allocates here by preference; a hint */
    alignas(MEMLANE_LINE_PAIR) _Atomic uint64_t
        journal[MEMLANE_HEAP_JOURNAL]; /* versions before the last, by their number */
    _Atomic uint64_t reserved[MEMLANE_HEAP_STEPS_MAX / 64]; /* one bit a step of the bytes */
};
static_assert(sizeof(struct memlane_heap_arena) == 4096, "layout: see docs/layout.md");

struct memlane_heap_descriptor {
    _Atomic uint64_t state; /* [ generation : 36 | epoch : 25 | sealed : 1 | enum memlane_block_kind : 2 ] */
    _Atomic uint64_t extent; /* [ nbytes / 64 : 32 | offset / 64 : 32 ] in the bytes of the arena */
    _Atomic uint64_t
        content; /* [ nbytes of what describes the payload, behind it : 16 | nbytes of the payload : 48 ] */
    _Atomic uint32_t maker; /* tag, for people */
    uint32_t reserved;
};
static_assert(sizeof(struct memlane_heap_descriptor) == 32, "two descriptors are a line");
enum memlane_block_kind { MEMLANE_BLOCK_FREE = 0, MEMLANE_BLOCK_HELD = 1, MEMLANE_BLOCK_CHECKING = 2 };

/* A word `what` of a block: [ tag : 32 | stamp : 29 | enum memlane_transit_kind : 3 ]. Of one that is LENT the stamp is
 * [ stamp : 21 | how many may still claim it : 8 ]. */
enum memlane_transit_kind {
    MEMLANE_TRANSIT_NONE = 0,
    MEMLANE_TRANSIT_STAGED = 1, /* being filled */
    MEMLANE_TRANSIT_RECORD = 2, /* held by a record of a lane, once that is committed */
    MEMLANE_TRANSIT_VERSION = 3, /* held by a version of a slot, once that is published */
    MEMLANE_TRANSIT_LENT = 4, /* held for so many that are to come, as long as the process of the tag lives */
};

struct memlane_heap_place {
    _Atomic uint64_t where; /* [ 0 : 34 | lane or slot : 20 | entry of the directory : 10 ] */
    _Atomic uint64_t number; /* of the record, or the version */
};
static_assert(sizeof(struct memlane_heap_place) == 16, "layout: see docs/layout.md");

struct memlane_heap_shape {
    uint64_t arenas;
    uint64_t arena_nbytes; /* of each: no block is longer */
    uint64_t blocks; /* of each arena */
    uint64_t holders; /* of a block, at one time */
    uint64_t transits;
    uint64_t step_nbytes;
    uint64_t holders_offset; /* in the references of a block */
    uint64_t places_offset;
    uint64_t references_stride;
    uint64_t arenas_offset; /* of the first struct memlane_heap_arena, in the object */
    uint64_t blocks_offset; /* of arena 0's descriptors, in the object */
    uint64_t references_offset; /* of an arena's references, from its descriptors */
    uint64_t blocks_nbytes; /* descriptors and references of one arena, page aligned */
    uint64_t bytes_offset; /* of arena 0's bytes, in the object */
    uint64_t nbytes; /* of the whole object */
};

/* Bytes of a step of an arena that long. */
static inline uint64_t memlane_heap_step(uint64_t arena_nbytes) {
    uint64_t step = MEMLANE_HEAP_STEP_NBYTES;
    while (step * MEMLANE_HEAP_STEPS_MAX < arena_nbytes)
        step *= 2;
    return step;
}

/* Compute the shape of a heap. Every bound is small enough that nothing here can overflow.
 * Callers: anyone. Progress: bounded by 17 steps. Ordering: none. Returns: false: the geometry is out of range. */
static inline bool memlane_heap_lay_out(struct memlane_heap_shape *shape, uint64_t arenas, uint64_t arena_nbytes,
                                        uint64_t blocks, uint64_t holders, uint64_t transits, uint64_t step_nbytes) {
    if (arenas == 0 || arenas > MEMLANE_HEAP_ARENAS_MAX || arena_nbytes == 0 || arena_nbytes % MEMLANE_ALIGNMENT ||
        arena_nbytes > MEMLANE_HEAP_ARENA_MAX || blocks == 0 || blocks > MEMLANE_HEAP_BLOCKS_MAX / arenas ||
        holders == 0 || holders > MEMLANE_HEAP_HOLDERS_MAX || transits == 0 || transits > MEMLANE_HEAP_TRANSITS_MAX ||
        step_nbytes != memlane_heap_step(arena_nbytes))
        return false;
    shape->arenas = arenas;
    shape->arena_nbytes = arena_nbytes;
    shape->blocks = blocks;
    shape->holders = holders;
    shape->transits = transits;
    shape->step_nbytes = step_nbytes;
    shape->holders_offset = transits * sizeof(uint64_t);
    shape->places_offset = memlane_round_up(shape->holders_offset + holders * sizeof(uint32_t), 8);
    shape->references_stride =
        memlane_round_up(shape->places_offset + transits * sizeof(struct memlane_heap_place), MEMLANE_LINE);
    shape->arenas_offset = sizeof(struct memlane_heap_control);
    shape->blocks_offset = memlane_align(shape->arenas_offset + arenas * sizeof(struct memlane_heap_arena));
    shape->references_offset = memlane_align(blocks * sizeof(struct memlane_heap_descriptor));
    shape->blocks_nbytes = shape->references_offset + memlane_align(blocks * shape->references_stride);
    shape->bytes_offset = shape->blocks_offset + arenas * shape->blocks_nbytes;
    shape->nbytes = shape->bytes_offset + arenas * arena_nbytes;
    return true;
}

/* Tell where the doorbell of a heap is: it is made with it.
 * Callers: anyone, on private memory. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_heap_tell_doorbells(struct memlane_doorbells *at_once, struct memlane_doorbells *later) {
    at_once->offset = offsetof(struct memlane_heap_control, doorbell);
    at_once->stride = sizeof(struct memlane_doorbell);
    at_once->count = 1;
    later->offset = later->stride = later->count = 0;
}

#endif
