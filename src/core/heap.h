/* SPDX-License-Identifier: MIT
 *
 * The blocks of a heap, and the references that keep them.
 *
 * A block has lives, from an allocation (heap_room.h) to the moment at which nobody holds it. A handle names one life. What
 * keeps a block is a reference of its own: a word that bears the tag of a holder, or a transit, which no process has: it
 * says where a record or a version is that carries the handle, or for how many readers the block was lent.
 *
 *   open      a word: 0 -> tag              the state: is it the life of the handle? CHECKING: knock
 *   drop      the word: tag -> 0            then try to free
 *   try_free  anybody there? else           the state: HELD -> CHECKING
 *             look at all words, then at all transits
 *             somebody: CHECKING -> HELD, a new epoch; nobody: CHECKING -> FREE
 *   knock     CHECKING -> HELD, a new epoch
 *
 * Why a check that succeeds is right: suppose somebody that lives holds the block when it becomes FREE. If the reference
 * came before the look at its word, the look saw it, or it had moved on by then, and a reference moves only by a new one
 * first and the old one away afterwards. If it came behind the look, then also behind the CAS to CHECKING; the look at the
 * state that follows every new word sees CHECKING or FREE, and knocks; then the last CAS fails, since an epoch never
 * comes back within a life. All four accesses are seq_cst: it is store buffering. From a word to a transit a reference moves
 * without a knock, while the word is there: so words are looked at first.
 *
 * References of dead processes stay until somebody looks with proofs: each is taken away by a CAS against exactly that tag.
 *
 * Everything may run at the same time as everything, in any process. Nothing waits; every loop is bounded.
 * If a process dies at the worst moment: a dead tag holds a block, or a block stays CHECKING, until the next look with proofs.
 */
#ifndef MEMLANE_HEAP_H
#define MEMLANE_HEAP_H

#include <stdbool.h>

#include "core/heap_layout.h"
#include "core/participants.h"
#include "core/status.h"

#define MEMLANE_BLOCK_EPOCH_MAX ((UINT64_C(1) << 25) - 1)
#define MEMLANE_BLOCK_GENERATION_MAX ((UINT64_C(1) << 36) - 1)
#define MEMLANE_TRANSIT_STAMP_MAX ((UINT64_C(1) << 29) - 1)
#define MEMLANE_LENT_MAX 255u
#define MEMLANE_LENT_BITS 8u
/* How often a check begins again that was disturbed. Then the block is left to the next allocation that needs room. */
#define MEMLANE_HEAP_CHECKS 4

/* What becomes of a transit whose record or version is looked at. */
enum memlane_transit_verdict {
    MEMLANE_TRANSIT_OVER, /* it was released, dropped, or is of a later round: never again */
    MEMLANE_TRANSIT_PENDING, /* not committed, or not published, yet */
    MEMLANE_TRANSIT_HOLDS,
};

/* A view of a heap: the private geometry, and where it is. */
struct memlane_heap {
    struct memlane_heap_shape shape;
    unsigned char *base;
};

/* The process that acts, and its ways to ask. */
struct memlane_heap_process {
    uint32_t tag;
    void *of; /* for both */
    bool (*is_dead)(void *of, uint32_t tag); /* proven; NULL: without proofs, each tag is that of a living process */
    /* Of a transit that is a RECORD or a VERSION, by its place. It reads the lane or the slot through private geometry;
     * what is not there is OVER. */
    enum memlane_transit_verdict (*judge)(void *of, enum memlane_transit_kind kind, uint64_t where, uint64_t number);
};

/* One life of a block that this process holds. Private. */
struct memlane_block {
    uint64_t generation;
    uint64_t offset; /* of the payload, in the object */
    uint64_t payload_nbytes;
    uint64_t meta_nbytes; /* what describes it: behind the payload, at the next multiple of 8 */
    uint32_t number;
    uint32_t word; /* of the holders, that bears our tag */
};

/* ---- words --------------------------------------------------------------------------------------- */

static inline uint64_t memlane_block_state(enum memlane_block_kind kind, bool sealed, uint64_t epoch,
                                           uint64_t generation) {
    return generation << 28 | epoch << 3 | (uint64_t)sealed << 2 | (uint64_t)kind;
}
static inline unsigned memlane_block_kind(uint64_t state) { return state & 3; }
static inline bool memlane_block_is_sealed(uint64_t state) { return state >> 2 & 1; }
static inline uint64_t memlane_block_epoch(uint64_t state) { return state >> 3 & MEMLANE_BLOCK_EPOCH_MAX; }
static inline uint64_t memlane_block_generation(uint64_t state) { return state >> 28; }
/* The same life in a new epoch: no check that was under way can free it. */
static inline uint64_t memlane_block_restored(uint64_t state) {
    return memlane_block_state(MEMLANE_BLOCK_HELD, memlane_block_is_sealed(state), memlane_block_epoch(state) + 1,
                               memlane_block_generation(state));
}

static inline uint64_t memlane_transit(enum memlane_transit_kind kind, uint64_t stamp, uint32_t tag) {
    return (uint64_t)tag << 32 | (stamp & MEMLANE_TRANSIT_STAMP_MAX) << 3 | (uint64_t)kind;
}
static inline unsigned memlane_transit_kind(uint64_t what) { return what & 7; }
static inline uint64_t memlane_transit_stamp(uint64_t what) { return (uint32_t)what >> 3; }
static inline uint32_t memlane_transit_tag(uint64_t what) { return (uint32_t)(what >> 32); }

static inline struct memlane_heap_arena *memlane_heap_arena(const struct memlane_heap *heap, uint64_t arena) {
    return (struct memlane_heap_arena *)(void *)(heap->base + heap->shape.arenas_offset) + arena;
}

/* Where the descriptors of the arena of a block begin; the references follow. */
static inline unsigned char *memlane_heap_blocks(const struct memlane_heap *heap, uint64_t arena) {
    return heap->base + heap->shape.blocks_offset + arena * heap->shape.blocks_nbytes;
}

static inline struct memlane_heap_descriptor *memlane_heap_descriptor(const struct memlane_heap *heap,
                                                                      uint32_t number) {
    return (struct memlane_heap_descriptor *)(void *)memlane_heap_blocks(heap, number / heap->shape.blocks) +
           number % heap->shape.blocks;
}

/* The words of a block, private addresses of shared bytes. */
struct memlane_heap_references {
    _Atomic uint64_t *what;
    _Atomic uint32_t *holder;
    struct memlane_heap_place *place;
};

static inline struct memlane_heap_references memlane_heap_references(const struct memlane_heap *heap, uint32_t number) {
    const struct memlane_heap_shape *shape = &heap->shape;
    unsigned char *at = memlane_heap_blocks(heap, number / shape->blocks) + shape->references_offset +
                        number % shape->blocks * shape->references_stride;
    return (struct memlane_heap_references){(_Atomic uint64_t *)(void *)at,
                                            (_Atomic uint32_t *)(void *)(at + shape->holders_offset),
                                            (struct memlane_heap_place *)(void *)(at + shape->places_offset)};
}

/* How many blocks of an arena have memory.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: the first so many have. */
static inline uint64_t memlane_heap_ready(const struct memlane_heap *heap, uint64_t arena) {
    /* sync: heap.ready. acquire: what was reserved before it is there; pairs with memlane_heap_raise_ready */
    uint32_t ready = atomic_load_explicit(&memlane_heap_arena(heap, arena)->ready, memory_order_acquire);
    return ready < heap->shape.blocks ? ready : heap->shape.blocks;
}

/* Whether a number, of a handle perhaps, is that of a block which has memory.
 * Callers: anyone. Progress: wait-free. Ordering: as memlane_heap_ready. Returns: true: it may be looked at. */
static inline bool memlane_heap_has(const struct memlane_heap *heap, uint32_t number) {
    return number / heap->shape.blocks < heap->shape.arenas &&
           number % heap->shape.blocks < memlane_heap_ready(heap, number / heap->shape.blocks);
}

/* Read where a block lies and check it.
 * Callers: its holder, or its maker. Progress: wait-free. Ordering: none. Returns: MEMLANE_OK; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_heap_extent(const struct memlane_heap *heap, uint32_t number,
                                                      struct memlane_block *block) {
    const struct memlane_heap_descriptor *descriptor = memlane_heap_descriptor(heap, number);
    /* relaxed, both: the look at the state has ordered them, and they stand as long as the block is held */
    uint64_t extent = atomic_load_explicit(&descriptor->extent, memory_order_relaxed);
    uint64_t content = atomic_load_explicit(&descriptor->content, memory_order_relaxed);
    uint64_t offset = (extent & UINT32_MAX) * MEMLANE_LINE, nbytes = (extent >> 32) * MEMLANE_LINE;
    block->payload_nbytes = content & ((UINT64_C(1) << 48) - 1);
    block->meta_nbytes = content >> 48;
    block->offset = heap->shape.bytes_offset + number / heap->shape.blocks * heap->shape.arena_nbytes + offset;
    return memlane_range_fits(offset, nbytes, heap->shape.arena_nbytes) && block->payload_nbytes <= nbytes &&
                   memlane_round_up(block->payload_nbytes, 8) + block->meta_nbytes <= nbytes
               ? MEMLANE_OK
               : MEMLANE_CORRUPTED;
}

/* ---- does anybody hold it? ------------------------------------------------------------------------ */

/* Whether a transit holds its block; `what` was read by the caller, with acquire. *verdict is told of one with a place.
 * Callers: any. Progress: as the judge. Ordering: none. Returns: true: it holds. */
static inline bool memlane_transit_holds(const struct memlane_heap_process *me,
                                         const struct memlane_heap_references *references, uint64_t i, uint64_t what,
                                         enum memlane_transit_verdict *verdict) {
    *verdict = MEMLANE_TRANSIT_PENDING;
    switch (memlane_transit_kind(what)) {
    case MEMLANE_TRANSIT_LENT:
        return (memlane_transit_stamp(what) & MEMLANE_LENT_MAX) != 0 &&
               (me->is_dead == NULL || !me->is_dead(me->of, memlane_transit_tag(what)));
    case MEMLANE_TRANSIT_RECORD:
    case MEMLANE_TRANSIT_VERSION:
        break;
    default: /* staged: by a holder, whose word was looked at before */
        return false;
    }
    /* relaxed, both: the acquire of `what` has ordered them. They may be those of the next one in the same word: then somebody
     * has staged it meanwhile that had a word before, which was seen, or came and knocked; and to use the word again is decided
     * by a CAS of `what`. */
    uint64_t where = atomic_load_explicit(&references->place[i].where, memory_order_relaxed);
    uint64_t number = atomic_load_explicit(&references->place[i].number, memory_order_relaxed);
    *verdict = me->judge(me->of, (enum memlane_transit_kind)memlane_transit_kind(what), where, number);
    return *verdict == MEMLANE_TRANSIT_HOLDS;
}

/* Look for a reference: at all words, then at all transits. With proofs the words of the dead are taken away.
 * Callers: any. Progress: bounded by the numbers of holders and transits. Ordering: seq_cst. Returns: true: somebody holds it. */
static inline bool memlane_heap_is_referred_to(const struct memlane_heap *heap, const struct memlane_heap_process *me,
                                               uint32_t number) {
    const struct memlane_heap_references references = memlane_heap_references(heap, number);
    enum memlane_transit_verdict verdict;
    for (uint64_t i = 0; i < heap->shape.holders; i++) {
        /* sync: block.holder. seq_cst: behind the CAS to CHECKING in the total order; pairs with memlane_heap_enter, whose
         * look at the state is behind its word. Without it a block is freed that was opened meanwhile. */
        uint32_t tag = atomic_load_explicit(&references.holder[i], memory_order_seq_cst);
        if (tag == 0)
            continue;
        if (me->is_dead == NULL || !me->is_dead(me->of, tag))
            return true;
        /* sync: block.holder. seq_cst: against exactly the dead tag. Failure relaxed: another process did it, or has entered. */
        if (atomic_compare_exchange_strong_explicit(&references.holder[i], &tag, 0, memory_order_seq_cst,
                                                    memory_order_relaxed)) {
            struct memlane_heap_control *control = (struct memlane_heap_control *)(void *)heap->base;
            atomic_fetch_add_explicit(&control->collected, 1, memory_order_relaxed); /* relaxed: for people */
        } else if (tag != 0)
            return true;
    }
    for (uint64_t i = 0; i < heap->shape.transits; i++) {
        /* sync: block.transit. seq_cst: behind the looks at the words: a sender lets go of its word only behind the commit, so
         * if its word was seen gone its transit is seen here. Pairs with the stores in heap_transit.h. And an acquire of the
         * place: sync: transit.what. */
        uint64_t what = atomic_load_explicit(&references.what[i], memory_order_seq_cst);
        if (memlane_transit_kind(what) != MEMLANE_TRANSIT_NONE &&
            memlane_transit_holds(me, &references, i, what, &verdict))
            return true;
    }
    return false;
}

/* Free a block if nobody holds it.
 *
 * Callers:  any, at any time, any number at once. With `is_dead` the references of the dead do not count.
 * Progress: bounded: it begins anew a few times if it is disturbed, then leaves the block to the next one.
 * Ordering: what all holders did before they let go is visible to the next maker (block.state).
 * Returns:  true: it has become free by this call: room may be waited for.
 * If the process dies inside: the block stays CHECKING, which the next check takes over, and an open ends. */
static inline bool memlane_heap_try_free(const struct memlane_heap *heap, const struct memlane_heap_process *me,
                                         uint32_t number) {
    struct memlane_heap_descriptor *descriptor = memlane_heap_descriptor(heap, number);
    if (memlane_heap_is_referred_to(heap, me, number)) /* most often: without any store */
        return false;
    for (int i = 0; i < MEMLANE_HEAP_CHECKS; i++) {
        /* sync: block.state. seq_cst: behind the own drop: of two that drop at once one sees the word of the other gone */
        uint64_t state = atomic_load_explicit(&descriptor->state, memory_order_seq_cst);
        if (memlane_block_kind(state) == MEMLANE_BLOCK_HELD) {
            if (memlane_block_epoch(state) == MEMLANE_BLOCK_EPOCH_MAX)
                return false; /* so many checks were stopped in this life: it ends with the region */
            uint64_t checking = state - MEMLANE_BLOCK_HELD + MEMLANE_BLOCK_CHECKING;
            /* sync: block.state. seq_cst: CHECKING before the looks; pairs with the look in memlane_heap_open. Failure
             * relaxed: looked at again. */
            if (!atomic_compare_exchange_strong_explicit(&descriptor->state, &state, checking, memory_order_seq_cst,
                                                         memory_order_relaxed))
                continue;
            state = checking;
        }
        if (memlane_block_kind(state) != MEMLANE_BLOCK_CHECKING)
            return false;
        if (memlane_heap_is_referred_to(heap, me, number)) {
            /* sync: block.state. acq_rel: a new epoch, so that no older check frees it. Failure relaxed: somebody else did it. */
            atomic_compare_exchange_strong_explicit(&descriptor->state, &state, memlane_block_restored(state),
                                                    memory_order_acq_rel, memory_order_relaxed);
            return false;
        }
        uint64_t free = memlane_block_state(MEMLANE_BLOCK_FREE, false, 0, memlane_block_generation(state));
        /* sync: block.state. acq_rel: what holders read and wrote is before the next maker's writes; pairs with
         * memlane_heap_begin. Failure relaxed: somebody knocked, or put it back: look again, or the last two that drop
         * would leave it to each other. */
        if (atomic_compare_exchange_strong_explicit(&descriptor->state, &state, free, memory_order_acq_rel,
                                                    memory_order_relaxed))
            return true;
    }
    return false;
}

/* ---- holders --------------------------------------------------------------------------------------- */

/* Become a holder, whatever the block is by now: a word becomes ours. Words of the dead are taken with proofs.
 *
 * Callers:  any; the look at the state comes next.
 * Progress: bounded by the number of holders.
 * Ordering: seq_cst.
 * Returns:  MEMLANE_OK and *word; MEMLANE_FULL: all words bear tags of processes that are not proven dead.
 * If the process dies behind it: its tag holds the block until somebody looks with proofs. */
static inline enum memlane_status memlane_heap_enter(const struct memlane_heap *heap,
                                                     const struct memlane_heap_process *me, uint32_t number,
                                                     uint32_t *word) {
    const struct memlane_heap_references references = memlane_heap_references(heap, number);
    const uint64_t holders = heap->shape.holders, first = memlane_tag_row(me->tag) % holders;
    for (int with_proofs = 0; with_proofs < 1 + (me->is_dead != NULL); with_proofs++)
        for (uint64_t i = 0; i < holders; i++) {
            const uint64_t at = (first + i) % holders;
            /* relaxed: a hint for the CAS */
            uint32_t tag = atomic_load_explicit(&references.holder[at], memory_order_relaxed);
            if (tag != 0 && !(with_proofs && me->is_dead(me->of, tag)))
                continue;
            /* sync: block.holder. seq_cst: before the look at the state; pairs with memlane_heap_is_referred_to. Failure
             * relaxed: the next one. */
            if (atomic_compare_exchange_strong_explicit(&references.holder[at], &tag, me->tag, memory_order_seq_cst,
                                                        memory_order_relaxed)) {
                *word = (uint32_t)at;
                return MEMLANE_OK;
            }
        }
    return MEMLANE_FULL;
}

/* Stop the check of a block, for somebody has come in.
 * Callers: one that has added a reference, and seen `state` CHECKING behind it. Progress: wait-free. Ordering: acq_rel. Returns: nothing:
 * if it fails the state has changed, and is looked at again. */
static inline void memlane_heap_knock(struct memlane_heap_descriptor *descriptor, uint64_t state) {
    /* sync: block.state. acq_rel: the reference is there before it; pairs with the last CAS of memlane_heap_try_free, which
     * fails. Failure relaxed: looked at again. */
    atomic_compare_exchange_strong_explicit(&descriptor->state, &state, memlane_block_restored(state),
                                            memory_order_acq_rel, memory_order_relaxed);
}

/* Stop to be a holder, and free the block if that was the last reference.
 *
 * Callers:  the process whose tag the word bears.
 * Progress: as memlane_heap_try_free.
 * Ordering: what this process did with the block is before its next life.
 * Returns:  MEMLANE_OK and *freed; MEMLANE_LOST: we were taken for dead, and the word is no longer ours. */
static inline enum memlane_status memlane_heap_drop(const struct memlane_heap *heap,
                                                    const struct memlane_heap_process *me, uint32_t number,
                                                    uint32_t word, bool *freed) {
    const struct memlane_heap_references references = memlane_heap_references(heap, number);
    struct memlane_heap_process without_proofs = *me;
    uint32_t tag = me->tag;
    without_proofs.is_dead = NULL;
    *freed = false;
    /* sync: block.holder. seq_cst: the looks come behind it, so of the last two that drop at once one sees both words gone.
     * Release: reads of the payload are before the next maker's writes. Failure relaxed: we are told. */
    if (!atomic_compare_exchange_strong_explicit(&references.holder[word], &tag, 0, memory_order_seq_cst,
                                                 memory_order_relaxed))
        return MEMLANE_LOST;
    *freed = memlane_heap_try_free(heap, &without_proofs, number);
    return MEMLANE_OK;
}

/* Open a handle: hold the life that it names.
 *
 * Callers:  any process with a tag; `number` passed memlane_heap_has.
 * Progress: bounded: each knock that fails is a step of another process, and after a few it is told to look again.
 * Ordering: what the maker wrote before it sealed is visible.
 * Returns:  MEMLANE_OK and *block; MEMLANE_STALE: that life is over, or was never sealed; MEMLANE_FULL: there are as many holders
 *           as can be; MEMLANE_BUSY: disturbed too often; MEMLANE_CORRUPTED: it lies nowhere. Then nothing is held, and *freed may be
 *           true: our word was the last one of another life.
 * If the process dies inside: as memlane_heap_enter. */
static inline enum memlane_status memlane_heap_open(const struct memlane_heap *heap,
                                                    const struct memlane_heap_process *me, uint32_t number,
                                                    uint64_t generation, struct memlane_block *block, bool *freed) {
    struct memlane_heap_descriptor *descriptor = memlane_heap_descriptor(heap, number);
    enum memlane_status status = memlane_heap_enter(heap, me, number, &block->word);
    *freed = false;
    if (status != MEMLANE_OK)
        return status;
    status = MEMLANE_BUSY;
    for (int i = 0; i < MEMLANE_HEAP_CHECKS * 16 && status == MEMLANE_BUSY; i++) {
        /* sync: block.state. seq_cst: behind the own word; pairs with the CAS to CHECKING in memlane_heap_try_free. And an
         * acquire of what the maker sealed. */
        uint64_t state = atomic_load_explicit(&descriptor->state, memory_order_seq_cst);
        if (memlane_block_kind(state) == MEMLANE_BLOCK_FREE || memlane_block_generation(state) != generation ||
            !memlane_block_is_sealed(state))
            status = MEMLANE_STALE;
        else if (memlane_block_kind(state) == MEMLANE_BLOCK_HELD)
            status = memlane_heap_extent(heap, number, block);
        else if (memlane_block_kind(state) == MEMLANE_BLOCK_CHECKING)
            memlane_heap_knock(descriptor, state);
        else
            status = MEMLANE_CORRUPTED;
    }
    block->number = number;
    block->generation = generation;
    if (status != MEMLANE_OK)
        /* A whole drop: our word may have kept the last holder of another life from freeing it. */
        (void)memlane_heap_drop(heap, me, number, block->word, freed);
    return status;
}

/* Let others open the block: what was written is there for them from now on.
 * Callers: its maker, which holds it. Progress: bounded, as memlane_heap_open. Ordering: release. Returns: MEMLANE_OK; MEMLANE_LOST:
 * that life is over, so we were taken for dead; MEMLANE_BUSY: disturbed too often. */
static inline enum memlane_status memlane_heap_seal(const struct memlane_heap *heap, uint32_t number,
                                                    uint64_t generation) {
    struct memlane_heap_descriptor *descriptor = memlane_heap_descriptor(heap, number);
    /* relaxed: a hint for the CAS */
    uint64_t state = atomic_load_explicit(&descriptor->state, memory_order_relaxed);
    for (int i = 0; i < MEMLANE_HEAP_CHECKS * 16; i++) {
        if (memlane_block_kind(state) == MEMLANE_BLOCK_FREE || memlane_block_generation(state) != generation)
            return MEMLANE_LOST;
        /* sync: block.state. release: the payload is before it; pairs with the look in memlane_heap_open. Failure relaxed: a
         * check began or ended: again. */
        if (memlane_block_is_sealed(state) ||
            atomic_compare_exchange_strong_explicit(&descriptor->state, &state, state | 4, memory_order_release,
                                                    memory_order_relaxed))
            return MEMLANE_OK;
    }
    return MEMLANE_BUSY;
}

/* For one that has no tag, and copies: whether a life stands that was sealed.
 * Callers: any, before and behind the copy. Progress: wait-free. Ordering: acquire, and a fence in front. Returns: true: it stands. */
static inline bool memlane_heap_stands(const struct memlane_heap *heap, uint32_t number, uint64_t generation) {
    /* sync: block.state. acquire fence: what was copied is read before this look; pairs with memlane_heap_begin, whose maker
     * writes behind it. Without it bytes of a later life pass for those of this one. */
    atomic_thread_fence(memory_order_acquire);
    /* sync: block.state. acquire: as memlane_heap_open */
    uint64_t state = atomic_load_explicit(&memlane_heap_descriptor(heap, number)->state, memory_order_acquire);
    return memlane_block_kind(state) != MEMLANE_BLOCK_FREE && memlane_block_generation(state) == generation &&
           memlane_block_is_sealed(state);
}

#endif
