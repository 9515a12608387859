/* SPDX-License-Identifier: MIT
 *
 * Room for blocks: which process gets which bytes of an arena.
 *
 * The free room of an arena is what no descriptor covers that is not FREE. It is stored nowhere: each process keeps a picture
 * of its own, with the version of the arena to which it belongs. A block becomes FREE by one CAS of its state, which touches no
 * arena.
 *
 *   read `version`                     bring the picture up to it, by the journal or by a walk over all descriptors
 *   choose a FREE block and an extent  that the picture shows free
 *   memlane_heap_begin                 a word of the block, then FREE -> HELD in a new life
 *   memlane_heap_lay                   the extent
 *   memlane_heap_commit                note the last version in the journal, then `version` -> the next one
 *
 * Two blocks never overlap: a commit succeeds against the very version of the picture alone, and every block that was
 * committed before it and was not FREE when its descriptor was read is in that picture, with an extent that was stored before
 * its commit. Freeing only adds room. A picture that is old in any other way shows less room than there is.
 *
 * What may be added to a picture without a walk: the extent of a block that the process itself has committed, once it is FREE
 * in the same generation. The extent of any other descriptor that has just become FREE may never have been committed, and
 * lie over somebody's block.
 *
 * If a process dies inside: before the commit its block is HELD by a dead one, with an extent that only takes room away in the
 * pictures of others; behind it the block is as any that a dead process held.
 */
#ifndef MEMLANE_HEAP_ROOM_H
#define MEMLANE_HEAP_ROOM_H

#include "core/heap.h"

static inline uint64_t memlane_heap_commits(uint64_t version) { return version >> MEMLANE_HEAP_BLOCKS_BITS; }
static inline uint32_t memlane_heap_last(uint64_t version) {
    return (uint32_t)(version & (MEMLANE_HEAP_BLOCKS_MAX - 1));
}

/* ---- pictures -------------------------------------------------------------------------------------- */

/* Read the version of an arena, before its picture is brought up to it.
 * Callers: any. Progress: wait-free. Ordering: acquire. Returns: the version. */
static inline uint64_t memlane_heap_version(const struct memlane_heap *heap, uint64_t arena) {
    /* sync: arena.version. acquire: the extents of all that was committed are visible; pairs with memlane_heap_commit. Without it
     * a picture shows room that another block has. */
    return atomic_load_explicit(&memlane_heap_arena(heap, arena)->version, memory_order_acquire);
}

/* Tell which block commit number `commits` was of; it is at most that of `version`, which was read before.
 * Callers: any. Progress: wait-free. Ordering: acquire. Returns: false: it is too long ago, or not noted: walk. Else *index, of the
 * block in its arena. */
static inline bool memlane_heap_commit_was_of(const struct memlane_heap *heap, uint64_t arena, uint64_t version,
                                              uint64_t commits, uint32_t *index) {
    uint64_t noted = version;
    if (commits != memlane_heap_commits(version))
        /* sync: arena.journal. acquire: pairs with the CAS of memlane_heap_commit */
        noted = atomic_load_explicit(&memlane_heap_arena(heap, arena)->journal[commits % MEMLANE_HEAP_JOURNAL],
                                     memory_order_acquire);
    *index = memlane_heap_last(noted);
    return memlane_heap_commits(noted) == commits && *index < heap->shape.blocks;
}

/* Look at a block for a picture.
 * Callers: any. Progress: wait-free. Ordering: acquire. Returns: false: it is FREE, and covers nothing; *is_spare: it may be taken.
 * Else what it covers, in the bytes of its arena. An extent that lies nowhere covers nothing. */
static inline bool memlane_heap_covers(const struct memlane_heap *heap, uint32_t number, bool *is_spare,
                                       uint64_t *offset, uint64_t *nbytes) {
    const struct memlane_heap_descriptor *descriptor = memlane_heap_descriptor(heap, number);
    /* sync: block.state. acquire: if it is FREE then what its last holder did is done; pairs with memlane_heap_try_free */
    uint64_t state = atomic_load_explicit(&descriptor->state, memory_order_acquire);
    *is_spare = false;
    if (memlane_block_kind(state) == MEMLANE_BLOCK_FREE) {
        *is_spare = memlane_block_generation(state) < MEMLANE_BLOCK_GENERATION_MAX;
        return false;
    }
    /* relaxed: what was committed is visible by the version; anything else only takes room away */
    uint64_t extent = atomic_load_explicit(&descriptor->extent, memory_order_relaxed);
    *offset = (extent & UINT32_MAX) * MEMLANE_LINE;
    *nbytes = (extent >> 32) * MEMLANE_LINE;
    return *nbytes != 0 && memlane_range_fits(*offset, *nbytes, heap->shape.arena_nbytes);
}

/* Whether a block is FREE in the life that the caller itself has committed: then its extent is room again.
 * Callers: the process that has committed it. Progress: wait-free. Ordering: acquire. Returns: MEMLANE_OK: it is; MEMLANE_STALE: it has
 * begun another life: nothing is known of its extent; MEMLANE_BUSY: it is held still. */
static inline enum memlane_status memlane_heap_has_ended(const struct memlane_heap *heap, uint32_t number,
                                                         uint64_t generation) {
    /* sync: block.state. acquire: as memlane_heap_covers */
    uint64_t state = atomic_load_explicit(&memlane_heap_descriptor(heap, number)->state, memory_order_acquire);
    if (memlane_block_generation(state) != generation)
        return MEMLANE_STALE;
    return memlane_block_kind(state) == MEMLANE_BLOCK_FREE ? MEMLANE_OK : MEMLANE_BUSY;
}

/* ---- allocating ------------------------------------------------------------------------------------ */

/* Begin a life of a FREE block: hold it, with no extent that counts.
 *
 * Callers:  any process with a tag; `number` passed memlane_heap_has.
 * Progress: bounded by the number of holders.
 * Ordering: acquire: what the last holders did is done.
 * Returns:  MEMLANE_OK and block->number, word and generation; MEMLANE_BUSY: it is not free any more; MEMLANE_FULL: it has no word
 *           left, by openers of old handles: take another block. Then nothing is held.
 * If the process dies inside: a dead tag holds it, or its word stands in a free block. */
static inline enum memlane_status memlane_heap_begin(const struct memlane_heap *heap,
                                                     const struct memlane_heap_process *me, uint32_t number,
                                                     struct memlane_block *block) {
    struct memlane_heap_descriptor *descriptor = memlane_heap_descriptor(heap, number);
    bool freed;
    /* The word comes first: a HELD block that nobody holds would be freed by the next check. */
    if (memlane_heap_enter(heap, me, number, &block->word) != MEMLANE_OK)
        return MEMLANE_FULL;
    /* relaxed: a hint for the CAS */
    uint64_t state = atomic_load_explicit(&descriptor->state, memory_order_relaxed);
    block->number = number;
    block->generation = memlane_block_generation(state) + 1;
    if (memlane_block_kind(state) == MEMLANE_BLOCK_FREE && block->generation <= MEMLANE_BLOCK_GENERATION_MAX &&
        /* sync: block.state. acq_rel: the last holders have done with its bytes; pairs with memlane_heap_try_free. And a
         * reader that copies a byte of ours finds the new generation: pairs with memlane_heap_stands. Failure relaxed:
         * nothing was taken. */
        atomic_compare_exchange_strong_explicit(&descriptor->state, &state,
                                                memlane_block_state(MEMLANE_BLOCK_HELD, false, 0, block->generation),
                                                memory_order_acq_rel, memory_order_relaxed)) {
        /* sync: block.state. release fence: the new generation is visible before any byte of the new life; pairs with
         * memlane_heap_stands */
        atomic_thread_fence(memory_order_release);
        return MEMLANE_OK;
    }
    (void)memlane_heap_drop(heap, me, number, block->word, &freed);
    return MEMLANE_BUSY;
}

/* Say where the block lies, in the bytes of its arena; both are multiples of a line.
 * Callers: its maker, before each try to commit. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_heap_lay(const struct memlane_heap *heap, const struct memlane_heap_process *me,
                                    uint32_t number, uint64_t offset, uint64_t nbytes, uint64_t payload_nbytes,
                                    uint64_t meta_nbytes) {
    struct memlane_heap_descriptor *descriptor = memlane_heap_descriptor(heap, number);
    /* relaxed, all: the commit orders them for pictures, the seal for processes that open it */
    atomic_store_explicit(&descriptor->extent, nbytes / MEMLANE_LINE << 32 | offset / MEMLANE_LINE,
                          memory_order_relaxed);
    atomic_store_explicit(&descriptor->content, meta_nbytes << 48 | payload_nbytes, memory_order_relaxed);
    atomic_store_explicit(&descriptor->maker, me->tag, memory_order_relaxed); /* relaxed: for people */
}

/* Make the extent ours.
 *
 * Callers:  the maker, behind memlane_heap_lay, with the version of the picture that shows the extent free.
 * Progress: wait-free.
 * Ordering: acq_rel.
 * Returns:  MEMLANE_OK: the bytes are ours, and *version is that of the picture with them; MEMLANE_BUSY: somebody else got room
 *           here: bring the picture up to date, and lay the block elsewhere. */
static inline enum memlane_status memlane_heap_commit(const struct memlane_heap *heap, uint64_t arena, uint32_t number,
                                                      uint64_t *version) {
    struct memlane_heap_arena *control = memlane_heap_arena(heap, arena);
    const uint64_t commits = memlane_heap_commits(*version);
    const uint64_t next = (commits + 1) << MEMLANE_HEAP_BLOCKS_BITS | number % heap->shape.blocks;
    _Atomic uint64_t *place = &control->journal[commits % MEMLANE_HEAP_JOURNAL];
    uint64_t expected = *version;
    /* sync: arena.journal. acquire: an entry that is there is of a commit that was made */
    uint64_t older = atomic_load_explicit(place, memory_order_acquire);
    if (memlane_heap_commits(older) < commits)
        /* sync: arena.journal. acq_rel: before the version that it notes is gone; only over an older one, since we may have been
         * stopped for a round of the journal. Failure relaxed: another process has noted the same, or a later one. */
        atomic_compare_exchange_strong_explicit(place, &older, *version, memory_order_acq_rel, memory_order_relaxed);
    /* sync: arena.version. acq_rel: the extent is before it; pairs with memlane_heap_version. Failure relaxed: read again. */
    if (!atomic_compare_exchange_strong_explicit(&control->version, &expected, next, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return MEMLANE_BUSY;
    *version = next;
    return MEMLANE_OK;
}

/* ---- memory ----------------------------------------------------------------------------------------- */

/* Say that the descriptors and references of the first `ready` blocks have memory.
 * Callers: a process that has reserved them. Progress: bounded by the others that do the same. Ordering: release. Returns: nothing. */
static inline void memlane_heap_raise_ready(const struct memlane_heap *heap, uint64_t arena, uint32_t ready) {
    _Atomic uint32_t *word = &memlane_heap_arena(heap, arena)->ready;
    uint32_t found = atomic_load_explicit(word, memory_order_relaxed); /* relaxed: a hint for the CAS */
    /* sync: heap.ready. release: what was reserved before it is there; pairs with memlane_heap_ready. Failure relaxed: it only
     * grows. */
    while (found < ready &&
           !atomic_compare_exchange_weak_explicit(word, &found, ready, memory_order_release, memory_order_relaxed)) {
    }
}

/* The first steps of an extent that have no memory, as far as is known.
 * Callers: the holder of a block there. Progress: bounded by the number of steps. Ordering: acquire. Returns: false: all have; else a
 * stretch of the arena's bytes that is to be reserved, and then noted. */
static inline bool memlane_heap_unreserved(const struct memlane_heap *heap, uint64_t arena, uint64_t offset,
                                           uint64_t nbytes, uint64_t *from, uint64_t *until) {
    const struct memlane_heap_arena *control = memlane_heap_arena(heap, arena);
    const uint64_t unit = heap->shape.step_nbytes, first = offset / unit, end = (offset + nbytes + unit - 1) / unit;
    bool found = false;
    for (uint64_t i = first; i < end; i++) {
        /* sync: arena.reserved. acquire: pairs with memlane_heap_note_reserved: the memory is there */
        bool has = atomic_load_explicit(&control->reserved[i / 64], memory_order_acquire) >> i % 64 & 1;
        if (has && found)
            break;
        if (!has) {
            if (!found)
                *from = i * unit;
            *until = (i + 1) * unit < heap->shape.arena_nbytes ? (i + 1) * unit : heap->shape.arena_nbytes;
            found = true;
        }
    }
    return found;
}

/* Note that steps have memory, or with `has` false that they will have none: then the caller punches them next.
 * Callers: the holder of a block there; of a block that is these very steps if `has` is false. Progress: wait-free. Ordering: acq_rel.
 * Returns: nothing. */
static inline void memlane_heap_note_reserved(const struct memlane_heap *heap, uint64_t arena, uint64_t from,
                                              uint64_t until, bool has) {
    struct memlane_heap_arena *control = memlane_heap_arena(heap, arena);
    const uint64_t unit = heap->shape.step_nbytes;
    for (uint64_t i = from / unit; i * unit < until; i++) {
        const uint64_t bit = UINT64_C(1) << i % 64;
        if (has)
            /* sync: arena.reserved. release: behind the reserving; pairs with memlane_heap_unreserved */
            atomic_fetch_or_explicit(&control->reserved[i / 64], bit, memory_order_release);
        else
            /* sync: arena.reserved. acq_rel: before the punching, so that whoever allocates there next reserves again */
            atomic_fetch_and_explicit(&control->reserved[i / 64], ~bit, memory_order_acq_rel);
    }
}

#endif
