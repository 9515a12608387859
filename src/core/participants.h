/* SPDX-License-Identifier: MIT
 *
 * The participants table: the processes in a region, as generations and tags.
 *
 * A participant is alive exactly as long as the kernel holds the write lock on its row's byte; that
 * lock is the caller's business (src/os/lockbytes.h), this file only keeps the generations.
 *
 *   generation  even: free   odd: in use        0 -> 1 -> 2 -> ...   only ever by compare-and-swap
 *   tag         [ generation mod 2^22 | row : 10 ]   what is written where something is owned
 *
 *                     may run at the same time as any other, in any process
 *   join              yes: one CAS, the byte of the row is locked by the caller
 *   leave             yes: one CAS against the generation of one's own join
 *   mark_dead         yes: one CAS against the generation that was proven dead
 *
 * If a process dies at the worst moment: between lock and CAS the row stays even, hence free; after
 * the CAS it stays odd without a lock, hence dead, and any process that meets its tag may mark it dead.
 */
#ifndef MEMLANE_PARTICIPANTS_H
#define MEMLANE_PARTICIPANTS_H

#include <stdbool.h>
#include <string.h>

#include "core/layout.h"

#define MEMLANE_GENERATION_MASK ((UINT64_C(1) << MEMLANE_TAG_GENERATION_BITS) - 1)
/* A row whose generation gets here is never joined again: the next ones would bring old tags back. */
#define MEMLANE_GENERATION_RETIRED (MEMLANE_GENERATION_MASK - 1)

static inline bool memlane_generation_is_retired(uint64_t generation) {
    return generation >= MEMLANE_GENERATION_RETIRED;
}

static inline uint32_t memlane_tag(uint32_t row, uint64_t generation) {
    return (uint32_t)((generation & MEMLANE_GENERATION_MASK) << MEMLANE_TAG_ROW_BITS) | row;
}

static inline uint32_t memlane_tag_row(uint32_t tag) { return tag & (MEMLANE_ROWS_MAX - 1); }

/* Take an even row whose byte the caller has write-locked.
 *
 * Callers:  a process that holds the kernel's lock on the byte of this row.
 * Progress: wait-free.
 * Ordering: what the row's last owner did is visible.
 * Returns:  true, *generation is ours (odd); false: in use, retired, or another one was faster. */
static inline bool memlane_row_join(struct memlane_row *row, uint64_t *generation) {
    /* relaxed: only a hint for the CAS, which decides */
    uint64_t even = atomic_load_explicit(&row->generation, memory_order_relaxed);
    if ((even & 1) || memlane_generation_is_retired(even))
        return false;
    /* sync: row.generation. acq_rel: pairs with memlane_row_leave and memlane_row_mark_dead, so that nothing
     * of ours is seen under the generation of the one before. Failure relaxed: nothing was taken. */
    if (!atomic_compare_exchange_strong_explicit(&row->generation, &even, even + 1, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return false;
    *generation = even + 1;
    return true;
}

/* Give one's own row back, before the lock on its byte is let go.
 *
 * Callers:  the owner of `generation`. A plain store here could free the row of a newcomer after one
 *           was wrongly taken for dead.
 * Progress: wait-free.
 * Ordering: everything before is visible to the process that sees the new generation.
 * Returns:  true; false: we were taken for dead, the row is no longer ours. */
static inline bool memlane_row_leave(struct memlane_row *row, uint64_t generation) {
    /* sync: row.generation. release: pairs with the acquire in memlane_row_is; failure relaxed: then
     * nothing of ours is in the row any more. */
    return atomic_compare_exchange_strong_explicit(&row->generation, &generation, generation + 1, memory_order_release,
                                                   memory_order_relaxed);
}

/* Make a proof of death stand for ever: the generation becomes even, so no lock taken on the byte
 * later can make the dead one look alive.
 *
 * Callers:  a process that saw the byte of this row unlocked while the row showed `generation`.
 * Progress: wait-free.
 * Ordering: as leave.
 * Returns:  nothing: if the CAS fails, somebody else did the same or the owner left by itself. */
static inline void memlane_row_mark_dead(struct memlane_row *row, uint64_t generation) {
    /* sync: row.generation. acq_rel: as leave, on behalf of the dead; failure relaxed: nothing to do */
    atomic_compare_exchange_strong_explicit(&row->generation, &generation, generation + 1, memory_order_acq_rel,
                                            memory_order_relaxed);
}

/* Look whether a row still bears a tag.
 *
 * Callers:  anyone, also readers without a row.
 * Progress: wait-free.
 * Ordering: acquire, see below.
 * Returns:  true and the full generation: ask the kernel about the byte next; false: the tag is dead. */
static inline bool memlane_row_is(const struct memlane_row *row, uint32_t tag, uint64_t *generation) {
    /* sync: row.generation. acquire: pairs with leave and mark_dead: what the owner of a dead tag did last is
     * visible to the one who takes it over. */
    *generation = atomic_load_explicit(&row->generation, memory_order_acquire);
    return (*generation & 1) && memlane_tag(memlane_tag_row(tag), *generation) == tag;
}

/* The generation of a row, for those who walk the table.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: the generation. */
static inline uint64_t memlane_row_generation(const struct memlane_row *row) {
    /* sync: row.generation. acquire: as memlane_row_is */
    return atomic_load_explicit(&row->generation, memory_order_acquire);
}

/* Write into one's own row what people want to know; `name` is cut to 40 bytes.
 * Callers: the row's owner. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_row_describe(struct memlane_row *row, uint32_t pid, uint64_t start_time, const char *name) {
    uint64_t words[5] = {0};
    memcpy(words, name, strnlen(name, sizeof words));
    /* relaxed, all of them: for people to read, nothing depends on it */
    atomic_store_explicit(&row->pid, pid, memory_order_relaxed);
    atomic_store_explicit(&row->start_time, start_time, memory_order_relaxed);
    for (int i = 0; i < 5; i++)
        atomic_store_explicit(&row->name[i], words[i], memory_order_relaxed); /* relaxed: as above */
}

/* Read it; `name` has room for 41 bytes.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_row_description(const struct memlane_row *row, uint32_t *pid, uint64_t *start_time,
                                           char *name) {
    uint64_t words[5];
    /* relaxed, all of them: for people to read; a mix of two owners does no harm */
    *pid = atomic_load_explicit(&row->pid, memory_order_relaxed);
    *start_time = atomic_load_explicit(&row->start_time, memory_order_relaxed);
    for (int i = 0; i < 5; i++)
        words[i] = atomic_load_explicit(&row->name[i], memory_order_relaxed); /* relaxed: as above */
    memcpy(name, words, sizeof words);
    name[sizeof words] = '\0';
}

#endif
