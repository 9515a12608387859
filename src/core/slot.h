/* SPDX-License-Identifier: MIT
 *
 * A slot: the latest value, published by one writer, read by anyone, never torn, never blocked.
 *
 * The sequence latch of the Linux kernel (seqcount_latch_t), with K copies in place of two. Version v lies
 * in copy v mod K, and when it was published in stamp v mod K. The sequence is 2v while version v is the latest,
 * 2v + 1 while v + 1 is being written.
 *
 *   sequence 2v      ->  2v + 1                       ->  2v + 2
 *   copies   v valid     copy (v + 1) mod K is filled     v + 1 valid, v still is
 *
 * A copy of version v is whole while the sequence is at most 2 (v + K - 1): the writer touches that copy
 * again only after it has stored 2 (v + K - 1) + 1.
 *
 *                  may run at the same time
 *                  publish   read
 *   publish          no       yes      one writer holds the role word; one lock a slot keeps its threads apart
 *   read             yes      yes      only loads: works on a read-only mapping
 *
 * Progress: publish is wait-free. One try of read is wait-free and fails only if K - 1 or more versions were
 * published while it copied; the caller bounds the tries.
 * If the writer dies at the worst moment: the sequence stays odd and version v stays readable for ever; the
 * next writer goes on from there and fills the same copy again.
 */
#ifndef MEMLANE_SLOT_H
#define MEMLANE_SLOT_H

#include <stdbool.h>

#include "core/slot_layout.h"
#include "core/words.h"

/* Four lines: beyond, a processor's own foresight has begun to help. */
#define MEMLANE_PREFETCHED_VALUE_MAX UINT64_C(256)

/* One process's view of a slot: addresses and geometry, private and fixed. */
struct memlane_slot {
    struct memlane_slot_control *control;
    struct memlane_copy_stamp *stamps;
    unsigned char *copies;
    uint64_t nbytes; /* of a value */
    uint64_t stride; /* from copy to copy, a multiple of 8 */
    uint64_t mask; /* K - 1 */
};

/* When a version was published. */
struct memlane_stamp {
    uint64_t version;
    uint64_t published_ns;
    uint64_t boot;
};

static inline _Atomic uint64_t *memlane_copy_of(const struct memlane_slot *slot, uint64_t version) {
    return (_Atomic uint64_t *)(void *)(slot->copies + (version & slot->mask) * slot->stride);
}

static inline struct memlane_copy_stamp *memlane_stamp_of(const struct memlane_slot *slot, uint64_t version) {
    return &slot->stamps[version & slot->mask];
}

/* The latest version, where a reader begins; 0: never published.
 * Callers: anyone. Progress: wait-free. Ordering: seq_cst. Returns: the version. */
static inline uint64_t memlane_slot_version(const struct memlane_slot *slot) {
    /* sync: slot.sequence (even). seq_cst: an acquire, the words of this version are visible; and after slot.armed was
     * set by a watcher that looks again. Pairs with the last store in memlane_slot_publish. */
    return atomic_load_explicit(&slot->control->sequence, memory_order_seq_cst) >> 1;
}

/* Publish one value: `nbytes` of the slot from `value`.
 *
 * Callers:  the writer.
 * Progress: wait-free.
 * Ordering: seq_cst store at the end; the caller may look at slot.armed next.
 * Returns:  the new version.
 * If the writer dies inside: readers keep the version before. */
static inline uint64_t memlane_slot_publish(const struct memlane_slot *slot, const void *value, uint64_t published_ns,
                                            uint64_t boot) {
    /* relaxed: only the writer stores it; a successor saw the last one when it took the role */
    uint64_t version = atomic_load_explicit(&slot->control->sequence, memory_order_relaxed) >> 1;
    struct memlane_copy_stamp *stamp = memlane_stamp_of(slot, version + 1);

    /* relaxed: the fence below orders it before the words */
    atomic_store_explicit(&slot->control->sequence, 2 * version + 1, memory_order_relaxed);
    /* sync: slot.sequence (odd). release fence: a process that reads even one of the new words sees the odd number too,
     * or a later one. Pairs with the acquire fence in memlane_slot_is_whole. Without it a reader could take
     * half of this value for a whole old one. */
    atomic_thread_fence(memory_order_release);
    /* relaxed: ordered by the fence above and the store below */
    atomic_store_explicit(&stamp->published_ns, published_ns, memory_order_relaxed);
    atomic_store_explicit(&stamp->boot, boot, memory_order_relaxed); /* relaxed: as above */
    memlane_words_store(memlane_copy_of(slot, version + 1), value, slot->nbytes);

    /* sync: slot.sequence (even). seq_cst: a release, all words are in place; and in the total order before
     * the look at slot.armed, or a watcher sleeps through this version. Pairs with the load in
     * memlane_slot_version. */
    atomic_store_explicit(&slot->control->sequence, 2 * version + 2, memory_order_seq_cst);
    return version + 1;
}

/* Have a value fetched that was perhaps published since the version before it was read, while the look at the sequence
 * is still under way: the two come from the writer's processor at the same time. Of short values; those of long ones
 * that follow are foreseen by the processor.
 * Callers: anyone. Progress: wait-free. Ordering: none, nothing is decided by it. Returns: nothing. */
static inline void memlane_slot_prefetch(const struct memlane_slot *slot, uint64_t version) {
    if (slot->nbytes > MEMLANE_PREFETCHED_VALUE_MAX)
        return;
    const char *copy = (const char *)memlane_copy_of(slot, version);
    for (uint64_t at = 0; at < slot->nbytes; at += 64)
        __builtin_prefetch(copy + at);
}

/* Where a reader ends: whether what it has loaded of this version is whole. */
static inline bool memlane_slot_is_whole(const struct memlane_slot *slot, uint64_t version) {
    /* sync: slot.sequence (odd). acquire fence: every word above was loaded before the second look. Pairs with
     * the release fence in memlane_slot_publish. Without it a mix of two versions could pass. */
    atomic_thread_fence(memory_order_acquire);
    /* relaxed: the fence has done the ordering */
    return atomic_load_explicit(&slot->control->sequence, memory_order_relaxed) - 2 * version <= 2 * slot->mask;
}

/* Try once to copy the latest value out.
 *
 * Callers:  anyone; needs no write access.
 * Progress: wait-free.
 * Ordering: what the writer did before it published is visible.
 * Returns:  MEMLANE_OK, `value` is whole and of *version; MEMLANE_EMPTY: never published; MEMLANE_BUSY: overtaken by
 *           the writer while copying, `value` is rubbish, try again. */
static inline enum memlane_status memlane_slot_read(const struct memlane_slot *slot, void *value, uint64_t *version) {
    *version = memlane_slot_version(slot);
    if (*version == 0)
        return MEMLANE_EMPTY;
    /* May race with a writer, on purpose: the words are atomics, and the copy is thrown away if it did. */
    memlane_words_load(value, memlane_copy_of(slot, *version), slot->nbytes);
    return memlane_slot_is_whole(slot, *version) ? MEMLANE_OK : MEMLANE_BUSY;
}

/* Try once to tell when the latest value was published.
 * Callers, Progress, Ordering, Returns: as memlane_slot_read, of *stamp. */
static inline enum memlane_status memlane_slot_read_stamp(const struct memlane_slot *slot,
                                                          struct memlane_stamp *stamp) {
    stamp->version = memlane_slot_version(slot);
    if (stamp->version == 0)
        return MEMLANE_EMPTY;
    const struct memlane_copy_stamp *copy = memlane_stamp_of(slot, stamp->version);
    /* relaxed: the fence in memlane_slot_is_whole orders them before the second look */
    stamp->published_ns = atomic_load_explicit(&copy->published_ns, memory_order_relaxed);
    stamp->boot = atomic_load_explicit(&copy->boot, memory_order_relaxed); /* relaxed: as above */
    return memlane_slot_is_whole(slot, stamp->version) ? MEMLANE_OK : MEMLANE_BUSY;
}

/* Try once to copy the latest value out, with when it was published: both of the same version.
 * Callers, Progress, Ordering, Returns: as memlane_slot_read, of value and *stamp. */
static inline enum memlane_status memlane_slot_read_stamped(const struct memlane_slot *slot, void *value,
                                                            struct memlane_stamp *stamp) {
    stamp->version = memlane_slot_version(slot);
    if (stamp->version == 0)
        return MEMLANE_EMPTY;
    memlane_words_load(value, memlane_copy_of(slot, stamp->version), slot->nbytes);
    const struct memlane_copy_stamp *copy = memlane_stamp_of(slot, stamp->version);
    /* relaxed: the fence in memlane_slot_is_whole orders them, and the words, before the second look */
    stamp->published_ns = atomic_load_explicit(&copy->published_ns, memory_order_relaxed);
    stamp->boot = atomic_load_explicit(&copy->boot, memory_order_relaxed); /* relaxed: as above */
    return memlane_slot_is_whole(slot, stamp->version) ? MEMLANE_OK : MEMLANE_BUSY;
}

/* Take the role of the writer over from `found` (0, or a tag proven dead).
 * Callers: anyone. Progress: wait-free. Ordering: acquire, then a full fence: the successor's words come after all of
 * the dead one's. Returns: true: ours. */
static inline bool memlane_writer_take(struct memlane_slot_control *control, uint32_t found, uint32_t tag) {
    /* sync: role.owner. acq_rel: pairs with memlane_role_give in ownership.h by the writer before; failure relaxed:
     * nothing was taken */
    bool taken = atomic_compare_exchange_strong_explicit(&control->writer, &found, tag, memory_order_acq_rel,
                                                         memory_order_relaxed);
    /* full fence: the copy is refilled under the same odd sequence, so readers must not see words of both */
    atomic_thread_fence(memory_order_seq_cst);
    return taken;
}

#endif
