/* SPDX-License-Identifier: MIT
 *
 * Changes of a map: insert, update, add, compare and exchange, remove, and the use of places that expired.
 *
 * An entry has a writer word. A process that changes the entry holds it by its tag: to update or remove its key, and from
 * the moment when it takes a free entry to the moment when the key is in the map. Nothing else is held, so a writer that
 * is stopped holds up the writers of its own key only.
 *
 *   insert   find: no such key, the head is h       update   find, take the entry's writer word, look again
 *            take a free entry, fill it                      sequence odd, fill the next copy, sequence even
 *            head: h -> the entry   (else again)             give the writer word back
 *            give the writer word back
 *                                                   remove   find, take the writer word, look again
 *   The swap of the head fails if anything came              raise the floor of the bucket
 *   into the chain, or left it, since the look:              link: USED -> REMOVED
 *   so no key is in the map twice.                           take it out of the chain, count the head up, FREE
 *                                                            give the writer word back
 *
 * A removed entry is taken out of the chain by anyone that finds it there; but it becomes FREE only by its holder, behind
 * a walk that no longer met it and a count of the head behind that. The head is counted before the entry is FREE, so a
 * reader that is led astray finds the head changed.
 *
 *                  may run at the same time
 *   memlane_map_change and everything of map.h: all, in any processes and threads. A tag names a process: its threads
 *   keep each other out of an entry as strangers do.
 *
 * Progress: lock-free, and bounded: after MEMLANE_MAP_TRIES overtakings a function answers BUSY. A change of a key whose
 * entry another one holds answers BUSY too, and names the holder. An insert that finds no free place goes through all
 * entries once.
 * If a process dies at the worst moment: its tag stays in the writer word of one entry. The next writer of that key, or
 * an insert that needs a place, proves it dead and settles the entry: USED and in its chain, it is sound, and its value
 * is the old or the new one; USED and in no chain, it becomes FREE; REMOVED, the removal is finished.
 */
#ifndef MEMLANE_MAP_WRITER_H
#define MEMLANE_MAP_WRITER_H

#include "core/map.h"
#include "core/ownership.h"

/* How often a function begins again because another process was faster; arbitrary. */
#define MEMLANE_MAP_TRIES 64
/* An insert into a full map asks for the life of so many holders; arbitrary, see docs/hazards.md, 30. */
#define MEMLANE_MAP_PROBES 8
/* So long after a vain look at all entries the next insert believes its result; arbitrary: the recheck interval. */
#define MEMLANE_MAP_SWEEP_NS UINT64_C(100000000)

/* Whether a tag is proven dead: not 0. */
typedef int memlane_map_judge(void *of, uint32_t tag);

/* One process as a writer; private. */
struct memlane_map_writer {
    uint32_t tag;
    bool patiently; /* ask whether a holder is dead; else be told that somebody holds the entry */
    memlane_map_judge *is_dead;
    void *of;
    uint64_t hint; /* where to look for a free entry first; any number is right */
};

enum memlane_map_how {
    MEMLANE_MAP_PUT, /* whether the key is there or not */
    MEMLANE_MAP_INSERT, /* only if it is not */
    MEMLANE_MAP_COMPARE, /* only if its version is `expected`; 0: it is not there */
    MEMLANE_MAP_ADD_INT, /* 64 bits, wraps; a key that is not there counts as 0. The expiry stays that of the key */
    MEMLANE_MAP_ADD_FLOAT, /* a double */
    MEMLANE_MAP_REMOVE,
    MEMLANE_MAP_REMOVE_COMPARE, /* only if its version is `expected` */
};

/* A change that is asked for, and what became of it. */
struct memlane_map_change {
    enum memlane_map_how how;
    uint64_t expected;
    const void *value; /* the amount, of an ADD */
    uint64_t nbytes;
    uint64_t expires_ns; /* CLOCK_BOOTTIME; 0: never */
    void *before; /* room for the longest value, or NULL: gets the value before */

    uint64_t before_nbytes;
    unsigned char sum[8]; /* of an ADD */
    uint64_t version; /* of the new value, or the one that was removed; DIFFERS: the one that is there */
    uint32_t holder; /* BUSY: the tag of the process that holds the entry; 0: overtaken too often */
    struct memlane_map_bucket *bucket; /* after a change: whose watchers are to be woken */
};

/* ---- holding an entry ------------------------------------------------------------------------- */

static inline _Atomic uint64_t *memlane_map_free_word(const struct memlane_map *map, uint64_t index) {
    return &map->free[index / 64];
}

/* Tell by a bit whether an entry is free: a hint, stored by its holder only.
 * Callers: the holder. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_map_mark_free(const struct memlane_map *map, uint64_t index, bool is_free) {
    const uint64_t bit = UINT64_C(1) << index % 64;
    /* relaxed, both: a hint; the link under the writer word decides */
    if (is_free)
        atomic_fetch_or_explicit(memlane_map_free_word(map, index), bit, memory_order_relaxed);
    else
        atomic_fetch_and_explicit(memlane_map_free_word(map, index), ~bit, memory_order_relaxed);
}

/* Give an entry back, as settled or not.
 * Callers: the holder. Progress: wait-free. Ordering: release. Returns: false: it was no longer ours. */
static inline bool memlane_map_give(struct memlane_map_entry *entry, uint32_t tag, bool settled) {
    if (settled)
        return memlane_role_give(&entry->writer, tag);
    /* sync: role.owner. release: as memlane_role_give; failure relaxed: nothing was given */
    return atomic_compare_exchange_strong_explicit(&entry->writer, &tag, MEMLANE_MAP_UNSETTLED, memory_order_release,
                                                   memory_order_relaxed);
}

/* Make an entry free that is in no chain, and was in none since its bucket's head was last counted up.
 * Callers: the holder. Progress: wait-free. Ordering: release. Returns: nothing. */
static inline void memlane_map_set_free(const struct memlane_map *map, struct memlane_map_entry *entry,
                                        uint64_t index) {
    /* relaxed: a cleaner that was led astray may change this link once more meanwhile, and would do it for nothing */
    const uint64_t link = atomic_load_explicit(&entry->link, memory_order_relaxed);
    /* sync: map.link. release: the count of the head comes before; pairs with memlane_map_find */
    atomic_store_explicit(&entry->link, memlane_map_word(link, MEMLANE_MAP_FREE, 0), memory_order_release);
    memlane_map_mark_free(map, index, true);
}

/* ---- taking out of a chain --------------------------------------------------------------------- */

/* Take all removed entries out of a chain.
 *
 * Callers:  any writer.
 * Progress: lock-free, bounded.
 * Ordering: acquire and release.
 * Returns:  MEMLANE_OK: an entry that was REMOVED before the call is no longer in it; MEMLANE_BUSY: overtaken too often;
 *           MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_map_clean(const struct memlane_map *map, struct memlane_map_bucket *bucket) {
    struct memlane_map_place place = {.bucket = bucket};
    for (int tries = 0; tries < MEMLANE_MAP_TRIES; tries++) {
        _Atomic uint64_t *at = &bucket->head;
        /* sync: map.head. acquire: as in memlane_map_find */
        place.head = atomic_load_explicit(at, memory_order_acquire);
        uint64_t word = place.head;
        bool goes_on = true;
        unsigned steps = 0;
        while (goes_on && (word & MEMLANE_MAP_INDEX_MASK) != 0) {
            const uint64_t next = word & MEMLANE_MAP_INDEX_MASK;
            if (next > map->count || ++steps > MEMLANE_MAP_CHAIN_MAX)
                break;
            struct memlane_map_entry *entry = memlane_map_entry(map, next - 1);
            /* sync: map.link. acquire: as in memlane_map_find; and that of a removed entry changes no more until it is
             * out of the chain, which the swap below makes sure of */
            const uint64_t link = atomic_load_explicit(&entry->link, memory_order_acquire);
            if (memlane_map_state(link) == MEMLANE_MAP_REMOVED) {
                const uint64_t past = memlane_map_word(word, memlane_map_state(word), link & MEMLANE_MAP_INDEX_MASK);
                /* sync: map.head, map.link. acq_rel: what leads past the removed entry shows what its remover did before.
                 * The generation is in the word: a link that is that of another use, or was removed, is left alone.
                 * Failure relaxed: begin again. */
                if (atomic_compare_exchange_strong_explicit(at, &word, past, memory_order_acq_rel,
                                                            memory_order_relaxed)) {
                    word = past;
                    if (at == &bucket->head)
                        place.head = past;
                } else
                    goes_on = false;
            } else if (memlane_map_state(link) == MEMLANE_MAP_USED) {
                at = &entry->link;
                word = link;
            } else
                break;
        }
        const bool is_at_the_end = goes_on && (word & MEMLANE_MAP_INDEX_MASK) == 0;
        if (goes_on && memlane_map_is_unchanged(&place))
            return is_at_the_end ? MEMLANE_OK : MEMLANE_CORRUPTED;
    }
    return MEMLANE_BUSY;
}

/* Whether the chain of a bucket leads to an entry.
 *
 * Callers:  the holder of the entry, which is USED: so it neither comes into the chain nor leaves it meanwhile.
 * Progress: bounded.
 * Ordering: acquire.
 * Returns:  MEMLANE_OK: it does; MEMLANE_EMPTY: it does not; MEMLANE_BUSY; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_map_leads_to(const struct memlane_map *map, struct memlane_map_bucket *bucket,
                                                       uint64_t index) {
    struct memlane_map_place place = {.bucket = bucket};
    for (int tries = 0; tries < MEMLANE_MAP_TRIES; tries++) {
        /* sync: map.head. acquire: as in memlane_map_find */
        place.head = atomic_load_explicit(&bucket->head, memory_order_acquire);
        uint64_t next = place.head & MEMLANE_MAP_INDEX_MASK;
        unsigned steps = 0;
        while (next != 0 && next != index + 1 && next <= map->count && ++steps < MEMLANE_MAP_CHAIN_MAX)
            /* sync: map.link. acquire: as in memlane_map_find */
            next = atomic_load_explicit(&memlane_map_entry(map, next - 1)->link, memory_order_acquire) &
                   MEMLANE_MAP_INDEX_MASK;
        if (memlane_map_is_unchanged(&place))
            return next == index + 1 ? MEMLANE_OK : next == 0 ? MEMLANE_EMPTY : MEMLANE_CORRUPTED;
    }
    return MEMLANE_BUSY;
}

/* Finish the removal of an entry that is REMOVED: afterwards it is FREE.
 * Callers: the holder. Progress: bounded. Ordering: release. Returns: as memlane_map_clean. */
static inline enum memlane_status memlane_map_retire(const struct memlane_map *map, struct memlane_map_entry *entry,
                                                     uint64_t index, struct memlane_map_bucket *bucket) {
    enum memlane_status status = memlane_map_clean(map, bucket);
    if (status != MEMLANE_OK)
        return status;
    /* sync: map.head. acq_rel: the chain leads past the entry, and then the head is another one, and then the entry is
     * FREE. Pairs with memlane_map_is_unchanged. */
    atomic_fetch_add_explicit(&bucket->head, MEMLANE_MAP_GENERATION, memory_order_acq_rel);
    memlane_map_set_free(map, entry, index);
    return MEMLANE_OK;
}

/* Settle what a dead holder has left undone. Afterwards the entry is FREE, or USED and in its chain.
 * Callers: the holder. Progress: bounded. Ordering: acquire and release.
 * Returns: MEMLANE_OK; MEMLANE_BUSY: overtaken too often; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_map_settle(const struct memlane_map *map, struct memlane_map_entry *entry,
                                                     uint64_t index) {
    /* sync: map.link. acquire: as in memlane_map_find */
    const uint64_t state = memlane_map_state(atomic_load_explicit(&entry->link, memory_order_acquire));
    if (state == MEMLANE_MAP_FREE) {
        memlane_map_mark_free(map, index, true);
        return MEMLANE_OK;
    }
    /* relaxed: it does not change while the entry is held */
    const uint32_t word = atomic_load_explicit(&entry->key, memory_order_relaxed);
    if (memlane_map_key_nbytes(word) > map->key_nbytes)
        return MEMLANE_CORRUPTED;
    struct memlane_map_bucket *bucket = memlane_map_bucket_of(map, memlane_map_hash_in(map, entry, word));
    if (state == MEMLANE_MAP_REMOVED)
        return memlane_map_retire(map, entry, index, bucket);
    if (state != MEMLANE_MAP_USED)
        return MEMLANE_CORRUPTED;
    enum memlane_status status = memlane_map_leads_to(map, bucket, index);
    if (status != MEMLANE_EMPTY)
        return status;
    memlane_map_set_free(map, entry, index); /* an insert that never came to its end: no chain has led there */
    return MEMLANE_OK;
}

/* Take an entry, and settle it if its holder died.
 *
 * Callers:  any writer.
 * Progress: bounded.
 * Ordering: acquire; behind a dead holder a full fence, so that what is stored now comes after all of its stores.
 * Returns:  MEMLANE_OK: it is ours, and FREE, or USED and in its chain; MEMLANE_BUSY: *holder has it, or 0: overtaken;
 *           MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_map_take(const struct memlane_map *map,
                                                   const struct memlane_map_writer *writer, uint64_t index,
                                                   uint32_t *holder) {
    struct memlane_map_entry *entry = memlane_map_entry(map, index);
    const uint32_t found = memlane_role_owner(&entry->writer);
    *holder = found;
    if (found != MEMLANE_TAG_NONE && found != MEMLANE_MAP_UNSETTLED &&
        (found == writer->tag || !writer->patiently || !writer->is_dead(writer->of, found)))
        return MEMLANE_BUSY;
    *holder = MEMLANE_TAG_NONE;
    if (!memlane_role_take(&entry->writer, found, writer->tag))
        return MEMLANE_BUSY;
    if (found == MEMLANE_TAG_NONE)
        return MEMLANE_OK;
    /* full fence: the copy is filled again under the same odd sequence, so readers must not see words of both */
    atomic_thread_fence(memory_order_seq_cst);
    enum memlane_status status = memlane_map_settle(map, entry, index);
    if (status != MEMLANE_OK)
        (void)memlane_map_give(entry, writer->tag, false);
    return status;
}

/* ---- the words of an entry ---------------------------------------------------------------------- */

/* Store a value and its stamp as those of a version. Callers: the holder, between two stores of the sequence.
 * Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_map_store(const struct memlane_map *map, struct memlane_map_entry *entry, uint64_t version,
                                     const void *value, uint64_t nbytes, uint64_t expires_ns, uint32_t boot) {
    struct memlane_map_stamp *stamp = memlane_map_stamp_of(map, entry, version);
    /* relaxed, all three: ordered by the stores of the sequence and their fences */
    atomic_store_explicit(&stamp->expires_ns, expires_ns, memory_order_relaxed);
    atomic_store_explicit(&stamp->boot, boot, memory_order_relaxed); /* relaxed: as above */
    atomic_store_explicit(&stamp->nbytes, (uint32_t)nbytes, memory_order_relaxed); /* relaxed: as above */
    memlane_words_store(memlane_map_copy_of(map, entry, version), value, nbytes);
}

/* Publish the next version of the value of a key that is in the map.
 * Callers: the holder. Progress: wait-free. Ordering: seq_cst store at the end; the caller may look at slot.armed next.
 * Returns: the version. If the writer dies inside: readers keep the version before. */
static inline uint64_t memlane_map_publish(const struct memlane_map *map, struct memlane_map_entry *entry,
                                           const void *value, uint64_t nbytes, uint64_t expires_ns, uint32_t boot) {
    /* relaxed: only the holder stores it; it saw the last one when it took the entry */
    const uint64_t version = atomic_load_explicit(&entry->sequence, memory_order_relaxed) >> 1;
    /* relaxed: the fence below orders it before the words */
    atomic_store_explicit(&entry->sequence, 2 * version + 1, memory_order_relaxed);
    /* sync: map.sequence. release fence: a process that reads one of the new words sees the odd number too, or a later
     * one. Pairs with the acquire fence in memlane_map_is_whole. */
    atomic_thread_fence(memory_order_release);
    memlane_map_store(map, entry, version + 1, value, nbytes, expires_ns, boot);
    /* sync: map.sequence. seq_cst: a release, all words are in place; and in the total order before the look at
     * slot.armed. Pairs with the load in memlane_map_find. */
    atomic_store_explicit(&entry->sequence, 2 * version + 2, memory_order_seq_cst);
    return version + 1;
}

/* Fill a free entry with a key and its first value, to be put into the chain that `place` is of. It may be ours and filled
 * already, for a head that has changed since.
 *
 * Callers:  the holder.
 * Progress: wait-free.
 * Ordering: release.
 * Returns:  the version of the value. If the writer dies inside: the entry is FREE, or USED and in no chain. */
static inline uint64_t memlane_map_fill(const struct memlane_map *map, struct memlane_map_entry *entry,
                                        const struct memlane_map_key *key, const struct memlane_map_place *place,
                                        const struct memlane_map_change *change, uint32_t boot) {
    /* relaxed, all three: only the holder stores the first two; a floor that counts was seen together with the chain,
     * from which the key was taken after that floor was raised */
    uint64_t link = atomic_load_explicit(&entry->link, memory_order_relaxed);
    const uint64_t last = atomic_load_explicit(&entry->sequence, memory_order_relaxed) >> 1;
    const uint64_t floor = atomic_load_explicit(&place->bucket->floor, memory_order_relaxed);
    const uint64_t filling = last + map->mask + 1; /* no copy of an older version is whole any more */
    const uint64_t later = filling + map->mask + 1; /* nor one that a reader takes this number for */
    const uint64_t version = later > floor ? later : floor + 1;
    if (memlane_map_state(link) != MEMLANE_MAP_FREE) {
        link = memlane_map_word(link, MEMLANE_MAP_FREE, 0);
        /* relaxed: before the sequence, which releases it */
        atomic_store_explicit(&entry->link, link, memory_order_relaxed);
    }
    /* sync: map.sequence. release: a reader that sees this number sees that the entry is FREE, or what comes later. Pairs
     * with memlane_map_find. Without it a reader could take words that are just being written for the value of the key
     * that was here before. */
    atomic_store_explicit(&entry->sequence, 2 * filling + 1, memory_order_release);
    /* sync: map.sequence. release fence: as in memlane_map_publish, for the words of the key too */
    atomic_thread_fence(memory_order_release);
    atomic_store_explicit(&entry->key, key->word, memory_order_relaxed); /* relaxed: ordered by the sequence */
    memlane_words_store(memlane_map_key_of(entry), key->bytes, memlane_map_key_nbytes(key->word));
    memlane_map_store(map, entry, version, change->value, change->nbytes, change->expires_ns, boot);
    /* sync: map.sequence. release: all words are in place; pairs with memlane_map_find */
    atomic_store_explicit(&entry->sequence, 2 * version, memory_order_release);
    /* sync: map.link. release: a reader that sees the entry USED finds a sequence that has jumped; pairs with
     * memlane_map_find. Without it the sequence could still be the odd one, of which no copy is whole. */
    atomic_store_explicit(&entry->link, memlane_map_word(link, MEMLANE_MAP_USED, place->head & MEMLANE_MAP_INDEX_MASK),
                          memory_order_release);
    return version;
}

/* Put a filled entry into its chain, if the bucket is still as it was when the key was not there.
 * Callers: the holder. Progress: wait-free. Ordering: seq_cst. Returns: true: the key is in the map. */
static inline bool memlane_map_insert(const struct memlane_map_place *place, uint64_t index) {
    uint64_t head = place->head;
    /* sync: map.head. seq_cst: a release, the entry is filled; and in the total order before the look at slot.armed. Pairs
     * with memlane_map_find. Failure relaxed: nothing was done. A swap of the whole word: if another process put the same
     * key into the chain meanwhile, the head has changed. */
    return atomic_compare_exchange_strong_explicit(&place->bucket->head, &head, memlane_map_word(head, 0, index + 1),
                                                   memory_order_seq_cst, memory_order_relaxed);
}

/* Remove the key of an entry that is USED and in its chain.
 *
 * Callers:  the holder.
 * Progress: bounded.
 * Ordering: seq_cst; the caller may look at slot.armed next.
 * Returns:  MEMLANE_OK: removed, and the entry is FREE; else removed, and the entry is to be given back as not settled. */
static inline enum memlane_status memlane_map_remove(const struct memlane_map *map, struct memlane_map_entry *entry,
                                                     uint64_t index, struct memlane_map_bucket *bucket) {
    /* relaxed: only the holder stores it */
    const uint64_t version = atomic_load_explicit(&entry->sequence, memory_order_relaxed) >> 1;
    /* relaxed, the load and the swap: the removal below releases it */
    uint64_t floor = atomic_load_explicit(&bucket->floor, memory_order_relaxed);
    while (floor < version && !atomic_compare_exchange_weak_explicit(&bucket->floor, &floor, version,
                                                                     memory_order_relaxed, memory_order_relaxed)) {
        /* relaxed, both: as above; each failure is a removal of another key of the bucket */
    }
    /* relaxed: the swap below decides */
    uint64_t link = atomic_load_explicit(&entry->link, memory_order_relaxed);
    /* sync: map.link. seq_cst: a release of the floor; and in the total order before the look at slot.armed. Pairs with
     * memlane_map_find. Failure relaxed: the next entry of the chain was taken out. */
    while (!atomic_compare_exchange_strong_explicit(
        &entry->link, &link, memlane_map_word(link, MEMLANE_MAP_REMOVED, link & MEMLANE_MAP_INDEX_MASK),
        memory_order_seq_cst, memory_order_relaxed)) {
        /* each failure is a removal of another key */
    }
    return memlane_map_retire(map, entry, index, bucket);
}

/* ---- free entries ------------------------------------------------------------------------------- */

/* When an entry expires; UINT64_MAX: not at all, or not to be told now.
 * Callers: any. Progress: wait-free. Ordering: none, a hint unless one holds the entry. Returns: the time, 0: long ago. */
static inline uint64_t memlane_map_expires(const struct memlane_map *map, struct memlane_map_entry *entry,
                                           const struct memlane_map_clock *clock) {
    /* relaxed, all: the holder looks again */
    const uint64_t version = atomic_load_explicit(&entry->sequence, memory_order_relaxed) >> 1;
    const struct memlane_map_stamp *stamp = memlane_map_stamp_of(map, entry, version);
    const uint64_t expires_ns = atomic_load_explicit(&stamp->expires_ns, memory_order_relaxed);
    if (expires_ns == 0)
        return UINT64_MAX;
    /* relaxed: as above */
    return atomic_load_explicit(&stamp->boot, memory_order_relaxed) == clock->boot ? expires_ns : 0;
}

/* Take a free entry by the free bits.
 * Callers: any writer. Progress: bounded by the words. Ordering: acquire. Returns: MEMLANE_OK, *index, which is ours and
 * FREE; MEMLANE_FULL: the bits show none. */
static inline enum memlane_status memlane_map_take_free(const struct memlane_map *map,
                                                        struct memlane_map_writer *writer, uint64_t *index) {
    const uint64_t words = (map->count + 63) / 64;
    for (uint64_t turn = 0; turn < words; turn++) {
        const uint64_t at = (writer->hint + turn) % words;
        /* relaxed: a hint; what is taken is looked at */
        uint64_t bits = atomic_load_explicit(&map->free[at], memory_order_relaxed);
        for (; bits != 0; bits &= bits - 1) {
            *index = 64 * at + (uint64_t)__builtin_ctzll(bits);
            if (*index >= map->count)
                break;
            struct memlane_map_entry *entry = memlane_map_entry(map, *index);
            if (!memlane_role_take(&entry->writer, MEMLANE_TAG_NONE, writer->tag))
                continue;
            memlane_map_mark_free(map, *index, false);
            /* relaxed: it does not change while the entry is held, and came with it */
            if (memlane_map_state(atomic_load_explicit(&entry->link, memory_order_relaxed)) == MEMLANE_MAP_FREE) {
                writer->hint = at;
                return MEMLANE_OK;
            }
            (void)memlane_map_give(entry, writer->tag, true);
        }
    }
    return MEMLANE_FULL;
}

/* Make an entry ours and FREE, if its key has expired, or its holder has died and left it so.
 * Callers: any writer. Progress: bounded. Ordering: as memlane_map_take. Returns: MEMLANE_OK; else it is not ours. */
static inline enum memlane_status memlane_map_reuse(const struct memlane_map *map,
                                                    const struct memlane_map_writer *writer,
                                                    const struct memlane_map_clock *clock, uint64_t index) {
    struct memlane_map_entry *entry = memlane_map_entry(map, index);
    uint32_t holder;
    enum memlane_status status = memlane_map_take(map, writer, index, &holder);
    if (status != MEMLANE_OK)
        return status;
    /* relaxed, this and the key: they do not change while the entry is held, and came with it */
    uint64_t state = memlane_map_state(atomic_load_explicit(&entry->link, memory_order_relaxed));
    if (state == MEMLANE_MAP_USED && memlane_map_expires(map, entry, clock) <= clock->now_ns) {
        const uint32_t word = atomic_load_explicit(&entry->key, memory_order_relaxed); /* relaxed: as above */
        if (memlane_map_key_nbytes(word) <= map->key_nbytes)
            status = memlane_map_remove(map, entry, index,
                                        memlane_map_bucket_of(map, memlane_map_hash_in(map, entry, word)));
        state = status == MEMLANE_OK ? MEMLANE_MAP_FREE : MEMLANE_MAP_REMOVED;
    }
    if (state == MEMLANE_MAP_FREE) {
        memlane_map_mark_free(map, index, false);
        return MEMLANE_OK;
    }
    (void)memlane_map_give(entry, writer->tag, status == MEMLANE_OK);
    return MEMLANE_FULL;
}

/* Go through all entries for one whose key has expired, or whose holder has died.
 *
 * Callers:  a writer that has found no free bit.
 * Progress: bounded by the entries.
 * Ordering: as memlane_map_take.
 * Returns:  MEMLANE_OK, *index, which is ours and FREE; MEMLANE_FULL. */
static inline enum memlane_status memlane_map_sweep(const struct memlane_map *map, struct memlane_map_writer *writer,
                                                    const struct memlane_map_clock *clock, uint64_t *index) {
    struct memlane_map_control *control = map->control;
    struct memlane_map_writer prober = *writer;
    uint32_t alive = writer->tag;
    int probes = MEMLANE_MAP_PROBES;
    /* relaxed, both: hints. A look at all entries is not worth while again so soon, unless something expires. */
    uint64_t soonest = atomic_load_explicit(&control->soonest_ns, memory_order_relaxed);
    const uint64_t swept = atomic_load_explicit(&control->swept_ns, memory_order_relaxed);
    if (clock->now_ns < soonest && clock->now_ns - swept < MEMLANE_MAP_SWEEP_NS)
        return MEMLANE_FULL;
    uint64_t found = UINT64_MAX;
    prober.patiently = true;
    for (uint64_t turn = 0; turn < map->count; turn++) {
        *index = (64 * (writer->hint % map->count) + turn) % map->count;
        struct memlane_map_entry *entry = memlane_map_entry(map, *index);
        const uint32_t holder = memlane_role_owner(&entry->writer);
        if (holder == MEMLANE_TAG_NONE) {
            /* relaxed: a hint, the holder looks again */
            if (memlane_map_state(atomic_load_explicit(&entry->link, memory_order_relaxed)) == MEMLANE_MAP_USED) {
                const uint64_t expires_ns = memlane_map_expires(map, entry, clock);
                if (expires_ns > clock->now_ns) {
                    found = expires_ns < found ? expires_ns : found;
                    continue;
                }
            }
        } else if (holder != MEMLANE_MAP_UNSETTLED) {
            if (holder == alive || probes == 0)
                continue;
            probes -= 1;
            if (!writer->is_dead(writer->of, holder)) {
                alive = holder;
                continue;
            }
        }
        if (memlane_map_reuse(map, &prober, clock, *index) == MEMLANE_OK) {
            writer->hint = *index / 64;
            return MEMLANE_OK;
        }
    }
    /* relaxed, both: hints, see memlane_map_note_expiry. The swap fails if somebody has lowered the time meanwhile. */
    atomic_compare_exchange_strong_explicit(&control->soonest_ns, &soonest, found, memory_order_relaxed,
                                            memory_order_relaxed);
    atomic_store_explicit(&control->swept_ns, clock->now_ns, memory_order_relaxed); /* relaxed: as above */
    return MEMLANE_FULL;
}

/* Note that something expires, for inserts that find no place. A note that is lost, because its writer was killed or a
 * sweep went by at that moment, costs them MEMLANE_MAP_SWEEP_NS.
 * Callers: any writer. Progress: lock-free. Ordering: none. Returns: nothing. */
static inline void memlane_map_note_expiry(const struct memlane_map *map, uint64_t expires_ns) {
    if (expires_ns == 0)
        return;
    /* relaxed, all of it: a hint */
    uint64_t soonest = atomic_load_explicit(&map->control->soonest_ns, memory_order_relaxed);
    while (expires_ns < soonest &&
           !atomic_compare_exchange_weak_explicit(&map->control->soonest_ns, &soonest, expires_ns, memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
}

/* ---- changes ------------------------------------------------------------------------------------ */

static inline bool memlane_map_removes(enum memlane_map_how how) {
    return how == MEMLANE_MAP_REMOVE || how == MEMLANE_MAP_REMOVE_COMPARE;
}

static inline bool memlane_map_adds(enum memlane_map_how how) {
    return how == MEMLANE_MAP_ADD_INT || how == MEMLANE_MAP_ADD_FLOAT;
}

/* The sum of the 8 bytes at `before` and the amount. Overflow of an int wraps. */
static inline void memlane_map_add(struct memlane_map_change *change, const unsigned char *before) {
    if (change->how == MEMLANE_MAP_ADD_INT) {
        uint64_t sum, amount;
        memcpy(&sum, before, 8);
        memcpy(&amount, change->value, 8);
        sum += amount;
        memcpy(change->sum, &sum, 8);
    } else {
        double sum, amount;
        memcpy(&sum, before, 8);
        memcpy(&amount, change->value, 8);
        sum += amount;
        memcpy(change->sum, &sum, 8);
    }
}

/* Change a key whose entry is ours, USED and in its chain. */
static inline enum memlane_status memlane_map_change_held(const struct memlane_map *map,
                                                          struct memlane_map_entry *entry, uint64_t index,
                                                          struct memlane_map_bucket *bucket,
                                                          const struct memlane_map_clock *clock,
                                                          struct memlane_map_change *change, bool *settled) {
    /* relaxed: only the holder stores it */
    const uint64_t version = atomic_load_explicit(&entry->sequence, memory_order_relaxed) >> 1;
    unsigned char before[8] = {0};
    uint64_t nbytes = 0;
    const bool adds = memlane_map_adds(change->how);
    enum memlane_status status =
        memlane_map_copy_out(map, entry, version, clock, adds ? before : change->before, &nbytes);
    if (status != MEMLANE_OK && status != MEMLANE_EMPTY)
        return status == MEMLANE_BUSY ? MEMLANE_LOST : status; /* nobody else may store here */
    const bool is_there = status == MEMLANE_OK;
    uint64_t expires_ns = change->expires_ns;
    change->before_nbytes = is_there ? nbytes : 0;
    change->version = is_there ? version : 0;
    if ((change->how == MEMLANE_MAP_INSERT && is_there) ||
        ((change->how == MEMLANE_MAP_COMPARE || change->how == MEMLANE_MAP_REMOVE_COMPARE) &&
         change->version != change->expected))
        return MEMLANE_DIFFERS;
    change->bucket = bucket;
    if (memlane_map_removes(change->how)) {
        *settled = memlane_map_remove(map, entry, index, bucket) == MEMLANE_OK;
        return is_there ? MEMLANE_OK : MEMLANE_EMPTY;
    }
    const void *value = change->value;
    if (adds) {
        if (is_there) {
            /* relaxed: nobody else stores here */
            expires_ns =
                atomic_load_explicit(&memlane_map_stamp_of(map, entry, version)->expires_ns, memory_order_relaxed);
        } else
            memset(before, 0, sizeof before);
        memlane_map_add(change, before);
        value = change->sum;
    }
    change->version = memlane_map_publish(map, entry, value, change->nbytes, expires_ns, clock->boot);
    memlane_map_note_expiry(map, expires_ns);
    return MEMLANE_OK;
}

/* Take the entry of a key that was found, and change it, if it is still that of the key.
 * Returns: MEMLANE_BUSY with `holder` 0: look again; else the end. */
static inline enum memlane_status
memlane_map_change_found(const struct memlane_map *map, const struct memlane_map_writer *writer,
                         const struct memlane_map_key *key, const struct memlane_map_place *place,
                         const struct memlane_map_clock *clock, struct memlane_map_change *change) {
    bool settled = true;
    enum memlane_status status = memlane_map_take(map, writer, place->index, &change->holder);
    if (status != MEMLANE_OK)
        return status;
    /* relaxed: it came with the writer word, and changes only to lead past a removed entry */
    const uint64_t link = atomic_load_explicit(&place->entry->link, memory_order_relaxed);
    if (memlane_map_state(link) == MEMLANE_MAP_USED && memlane_map_bears(place->entry, key))
        status = memlane_map_change_held(map, place->entry, place->index, place->bucket, clock, change, &settled);
    else
        status = MEMLANE_BUSY;
    return memlane_map_give(place->entry, writer->tag, settled) ? status : MEMLANE_LOST;
}

/* A free entry for an insert: one by its bit, or one that has expired. */
static inline enum memlane_status memlane_map_place_for(const struct memlane_map *map,
                                                        struct memlane_map_writer *writer,
                                                        const struct memlane_map_clock *clock, uint64_t *index) {
    enum memlane_status status = memlane_map_take_free(map, writer, index);
    return status == MEMLANE_OK ? status : memlane_map_sweep(map, writer, clock, index);
}

/* What a key that is not there means for a change: MEMLANE_OK if it is to be inserted. */
static inline enum memlane_status memlane_map_absent(const struct memlane_map_change *change) {
    if (change->how == MEMLANE_MAP_REMOVE_COMPARE || change->how == MEMLANE_MAP_COMPARE) {
        if (change->expected != 0)
            return MEMLANE_DIFFERS;
    }
    return memlane_map_removes(change->how) ? MEMLANE_EMPTY : MEMLANE_OK;
}

/* Change a key: the one function of all writers.
 *
 * Callers:  any process with a row.
 * Progress: lock-free, bounded; see the top of this file.
 * Ordering: seq_cst where the map changes; the caller looks at slot.armed of change->bucket next, if that is not NULL.
 * Returns:  MEMLANE_OK, change->version; MEMLANE_EMPTY: nothing to remove; MEMLANE_DIFFERS: change->version is there;
 *           MEMLANE_FULL: all entries are in use, and none has expired; MEMLANE_BUSY: change->holder changes the key, or 0:
 *           overtaken too often, nothing was done; MEMLANE_TOO_LARGE: such a value is none of this map; MEMLANE_LOST: we
 *           were taken for dead; MEMLANE_CORRUPTED.
 * If the writer dies inside: the key has its old value or its new one, or is there or not. */
static inline enum memlane_status memlane_map_change(const struct memlane_map *map, struct memlane_map_writer *writer,
                                                     const struct memlane_map_key *key,
                                                     const struct memlane_map_clock *clock,
                                                     struct memlane_map_change *change) {
    struct memlane_map_place place;
    struct memlane_map_entry *own = NULL; /* taken and FREE, or filled for a head that has changed since */
    uint64_t index = 0;
    enum memlane_status status = MEMLANE_BUSY;
    change->version = change->before_nbytes = 0;
    change->holder = MEMLANE_TAG_NONE;
    change->bucket = NULL;
    if (!memlane_map_removes(change->how) &&
        (map->is_fixed ? change->nbytes != map->value_nbytes : change->nbytes > map->value_nbytes))
        return MEMLANE_TOO_LARGE;
    if (memlane_map_adds(change->how) && (!map->is_fixed || map->value_nbytes != 8))
        return MEMLANE_TOO_LARGE;
    for (int tries = 0; tries < MEMLANE_MAP_TRIES; tries++) {
        status = memlane_map_find(map, key, &place);
        if (status == MEMLANE_OK)
            status = memlane_map_change_found(map, writer, key, &place, clock, change);
        else if (status == MEMLANE_EMPTY) {
            if (place.is_littered && memlane_map_clean(map, place.bucket) == MEMLANE_OK) {
                status = MEMLANE_BUSY;
                continue; /* else a key that is removed again and again by writers that are killed makes a chain grow */
            }
            status = memlane_map_absent(change);
            if (status == MEMLANE_OK && !own) {
                status = memlane_map_place_for(map, writer, clock, &index);
                if (status == MEMLANE_OK)
                    own = memlane_map_entry(map, index);
            }
            if (status == MEMLANE_OK) {
                const uint64_t version = memlane_map_fill(map, own, key, &place, change, clock->boot);
                if (memlane_map_insert(&place, index)) {
                    memlane_map_note_expiry(map, change->expires_ns);
                    memcpy(change->sum, change->value, change->nbytes == 8 ? 8 : 0);
                    change->version = version;
                    change->bucket = place.bucket;
                    return memlane_map_give(own, writer->tag, true) ? MEMLANE_OK : MEMLANE_LOST;
                }
                status = MEMLANE_BUSY;
            }
        }
        if (status != MEMLANE_BUSY || change->holder != MEMLANE_TAG_NONE)
            break;
    }
    if (own) {
        memlane_map_set_free(map, own, index);
        (void)memlane_map_give(own, writer->tag, true);
    }
    return status;
}

#endif
