/* SPDX-License-Identifier: MIT
 *
 * A map: values by key in one fixed table, and how they are read. map_writer.h changes them.
 *
 * The hash of a key chooses a bucket. The head of the bucket leads to its first entry, the link of each entry to the
 * next. An entry has a key and a latch of its value, as a slot has: version v in copy v mod K.
 *
 *   head --> entry 7 --> entry 2 --> end          an insert        head: entry 7 -> entry 9, one compare-and-swap
 *            "a"         "b"                      an update        the sequence of the entry, as in a slot
 *                                                 a removal        the state in the entry's link: USED -> REMOVED
 *
 * Each of the three is one step on one word, and happens with it. An entry that was removed is then taken out of the
 * chain, the changes of the head are counted up, and only then it is FREE for another key.
 *
 *                  may run at the same time
 *                  change   read
 *   change           yes     yes     two changes of one key wait for each other: they need the entry's writer word
 *   read             yes     yes     only loads: works on a read-only mapping
 *
 * A reader may be on an entry while that is removed and used again. Three things tell it:
 *   - the sequence jumps by more than K versions before a new key is written, so what was read is not whole;
 *   - the head has changed since the walk began, so a key that was not found may be there: look again;
 *   - the head has changed and the entry is held by a writer, so the entry may be one that is not in a chain yet.
 *
 * Versions of a key never repeat. Those of an entry grow, also from one key to the next. A removal raises the floor of
 * the bucket to the version that it removes, and an insert into the bucket begins above the floor.
 *
 * Progress: one try of each function here is bounded by MEMLANE_MAP_CHAIN_MAX entries, and answers BUSY only if a writer
 * changed the bucket or the entry meanwhile; the caller bounds the tries.
 * If a writer dies at the worst moment: see map_writer.h. Readers do not notice it.
 */
#ifndef MEMLANE_MAP_H
#define MEMLANE_MAP_H

#include <stdbool.h>

#include "core/map_layout.h"
#include "core/words.h"

/* A chain of a sound map is about ten entries long at the most, whatever their number; arbitrary beyond that. */
#define MEMLANE_MAP_CHAIN_MAX 256u

/* One process's view of a map: addresses and geometry, private and fixed. */
struct memlane_map {
    struct memlane_map_control *control;
    struct memlane_map_bucket *buckets;
    _Atomic uint64_t *free; /* words of free bits */
    unsigned char *entries;
    uint64_t seeds[2];
    uint64_t count; /* of entries */
    uint64_t bucket_mask;
    uint64_t key_nbytes;
    uint64_t value_nbytes;
    uint64_t mask; /* K - 1 */
    uint64_t entry_stride;
    uint64_t stamps_offset;
    uint64_t copies_offset;
    uint64_t copy_stride;
    bool is_fixed; /* all values have the same length */
};

/* A key of the caller, and its hash. */
struct memlane_map_key {
    const unsigned char *bytes;
    uint32_t word; /* its type and length, as in an entry */
    uint64_t hash;
};

/* The time: CLOCK_BOOTTIME, and a hash of the boot, never 0. */
struct memlane_map_clock {
    uint64_t now_ns;
    uint32_t boot;
};

/* Where a walk over a chain has ended. */
struct memlane_map_place {
    struct memlane_map_bucket *bucket;
    struct memlane_map_entry *entry;
    uint64_t head; /* as the walk found it */
    uint64_t version; /* of the value, before anything else of the entry was looked at */
    uint32_t index; /* of the entry, from 0 */
    bool is_littered; /* removed entries are in the chain */
};

/* ---- parts ----------------------------------------------------------------------------------- */

#define MEMLANE_MAP_INDEX_MASK ((UINT64_C(1) << MEMLANE_MAP_INDEX_BITS) - 1)
#define MEMLANE_MAP_GENERATION (UINT64_C(4) << MEMLANE_MAP_INDEX_BITS) /* one of a head or a link */

static inline uint64_t memlane_map_state(uint64_t link) { return link >> MEMLANE_MAP_INDEX_BITS & 3; }

/* The next word of a head or a link: another generation, with that state and that index plus 1. */
static inline uint64_t memlane_map_word(uint64_t before, uint64_t state, uint64_t next) {
    return ((before & ~(MEMLANE_MAP_GENERATION - 1)) + MEMLANE_MAP_GENERATION) | state << MEMLANE_MAP_INDEX_BITS | next;
}

static inline struct memlane_map_entry *memlane_map_entry(const struct memlane_map *map, uint64_t index) {
    return (struct memlane_map_entry *)(void *)(map->entries + index * map->entry_stride);
}

static inline _Atomic uint64_t *memlane_map_key_of(struct memlane_map_entry *entry) {
    return (_Atomic uint64_t *)(void *)(entry + 1);
}

static inline struct memlane_map_stamp *memlane_map_stamp_of(const struct memlane_map *map,
                                                             struct memlane_map_entry *entry, uint64_t version) {
    return (struct memlane_map_stamp *)(void *)((unsigned char *)entry + map->stamps_offset) + (version & map->mask);
}

static inline _Atomic uint64_t *memlane_map_copy_of(const struct memlane_map *map, struct memlane_map_entry *entry,
                                                    uint64_t version) {
    return (_Atomic uint64_t *)(void *)((unsigned char *)entry + map->copies_offset +
                                        (version & map->mask) * map->copy_stride);
}

/* Make the view of a map. `base` is where it begins, `shape` private and sound.
 * Callers: anyone. Progress: wait-free. Ordering: none, what is read was written before anyone could see it.
 * Returns: nothing. */
static inline void memlane_map_view(struct memlane_map *map, unsigned char *base,
                                    const struct memlane_map_shape *shape) {
    map->control = (struct memlane_map_control *)(void *)base;
    map->buckets = (struct memlane_map_bucket *)(void *)(base + shape->buckets_offset);
    map->free = (_Atomic uint64_t *)(void *)(base + shape->free_offset);
    map->entries = base + shape->entries_offset;
    map->seeds[0] = map->control->seeds[0];
    map->seeds[1] = map->control->seeds[1] | 1; /* odd: no key is multiplied by 0 */
    map->count = shape->entries;
    map->bucket_mask = shape->buckets - 1;
    map->key_nbytes = shape->key_nbytes;
    map->value_nbytes = shape->value_nbytes;
    map->mask = shape->copies - 1;
    map->entry_stride = shape->entry_stride;
    map->stamps_offset = shape->stamps_offset;
    map->copies_offset = shape->copies_offset;
    map->copy_stride = shape->copy_stride;
    map->is_fixed = shape->values == MEMLANE_VALUES_FIXED;
}

/* Fill in what a new map has beyond zeros.
 * Callers: its creator, before anyone can see it; `seeds` are random. Progress: bounded by the entries.
 * Ordering: none. Returns: nothing. */
static inline void memlane_map_begin(unsigned char *base, const struct memlane_map_shape *shape,
                                     const uint64_t seeds[2]) {
    struct memlane_map_control *control = (struct memlane_map_control *)(void *)base;
    _Atomic uint64_t *words = (_Atomic uint64_t *)(void *)(base + shape->free_offset);
    control->seeds[0] = seeds[0];
    control->seeds[1] = seeds[1];
    for (uint64_t i = 0; i < shape->free_words; i++) {
        uint64_t rest = shape->entries - 64 * i;
        /* relaxed: nobody can see it yet */
        atomic_store_explicit(&words[i], rest >= 64 ? UINT64_MAX : (UINT64_C(1) << rest) - 1, memory_order_relaxed);
    }
}

/* ---- keys ------------------------------------------------------------------------------------ */

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 memlane_map_product;
#endif

/* Both halves of a product of 128 bits, folded: each bit of the result depends on all bits of both. */
static inline uint64_t memlane_map_fold(uint64_t a, uint64_t b) {
#ifdef __SIZEOF_INT128__
    const memlane_map_product product = (memlane_map_product)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    const uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
    const uint64_t middle = ah * bl + (al * bl >> 32), other = al * bh + (uint32_t)middle;
    return (a * b) ^ (ah * bh + (middle >> 32) + (other >> 32));
#endif
}

/* Eight bytes of a key, or the rest of it and zeros. */
static inline uint64_t memlane_map_key_word(const unsigned char *bytes, uint32_t nbytes, uint32_t at) {
    uint64_t word = 0;
    if (nbytes - at >= 8)
        memcpy(&word, bytes + at, 8);
    else
        memcpy(&word, bytes + at, nbytes - at);
    return word;
}

static inline uint32_t memlane_map_key_nbytes(uint32_t word) { return word >> 2; }

/* The hash of a key: keyed by the secret seeds of its map, the same in every process. The multiplication and folding
 * are those of wyhash (Wang Yi). */
static inline uint64_t memlane_map_hash(const struct memlane_map *map, const unsigned char *bytes, uint32_t word) {
    const uint32_t nbytes = memlane_map_key_nbytes(word);
    uint64_t hash = map->seeds[0] ^ (word * UINT64_C(0x9e3779b97f4a7c15));
    for (uint32_t at = 0; at < nbytes; at += 8)
        hash = memlane_map_fold(hash ^ memlane_map_key_word(bytes, nbytes, at), map->seeds[1]) + at;
    return memlane_map_fold(hash ^ map->seeds[1], UINT64_C(0xa0761d6478bd642f));
}

/* The same of the key in an entry, if its length can be one: the word says so.
 * Callers: the holder of the entry. Progress: bounded by the length. Ordering: none. Returns: the hash. */
static inline uint64_t memlane_map_hash_in(const struct memlane_map *map, struct memlane_map_entry *entry,
                                           uint32_t word) {
    const _Atomic uint64_t *words = memlane_map_key_of(entry);
    uint64_t hash = map->seeds[0] ^ (word * UINT64_C(0x9e3779b97f4a7c15));
    for (uint32_t at = 0; at < memlane_map_key_nbytes(word); at += 8)
        /* relaxed: the key does not change while the entry is held */
        hash = memlane_map_fold(hash ^ atomic_load_explicit(words++, memory_order_relaxed), map->seeds[1]) + at;
    return memlane_map_fold(hash ^ map->seeds[1], UINT64_C(0xa0761d6478bd642f));
}

/* Make a key out of bytes that stay where they are. An int is its eight bytes.
 * Callers: anyone. Progress: bounded by the length. Ordering: none. Returns: MEMLANE_OK or MEMLANE_TOO_LARGE. */
static inline enum memlane_status memlane_map_key_make(const struct memlane_map *map, struct memlane_map_key *key,
                                                       enum memlane_map_key_type type, const void *bytes,
                                                       uint64_t nbytes) {
    if (nbytes > map->key_nbytes)
        return MEMLANE_TOO_LARGE;
    key->bytes = bytes;
    key->word = (uint32_t)nbytes << 2 | (uint32_t)type;
    key->hash = memlane_map_hash(map, key->bytes, key->word);
    return MEMLANE_OK;
}

static inline struct memlane_map_bucket *memlane_map_bucket_of(const struct memlane_map *map, uint64_t hash) {
    return &map->buckets[hash & map->bucket_mask];
}

/* Whether an entry bears a key; true may be wrong if the entry is used again meanwhile, which its sequence tells. */
static inline bool memlane_map_bears(struct memlane_map_entry *entry, const struct memlane_map_key *key) {
    /* relaxed, this and the words: the sequence says afterwards whether they belong together */
    if (atomic_load_explicit(&entry->key, memory_order_relaxed) != key->word)
        return false;
    const _Atomic uint64_t *words = memlane_map_key_of(entry);
    const uint32_t nbytes = memlane_map_key_nbytes(key->word); /* which the view allows */
    for (uint32_t at = 0; at < nbytes; at += 8)
        if (atomic_load_explicit(words++, memory_order_relaxed) != memlane_map_key_word(key->bytes, nbytes, at))
            return false; /* relaxed: as above */
    return true;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Whether a bucket is as the walk found it, once everything of the walk is loaded. */
static inline bool memlane_map_is_unchanged(const struct memlane_map_place *place) {
    /* sync: map.head. acquire fence: what the walk loaded comes before this look. A process that uses an entry again has
     * counted up the changes of its bucket before it made the entry FREE; so a walk that met the entry in its new use
     * finds another head. Pairs with memlane_map_retire. Without it a walk that was led into another chain would miss a
     * key that was there all the time. */
    atomic_thread_fence(memory_order_acquire);
    /* relaxed: the fence has done the ordering */
    return atomic_load_explicit(&place->bucket->head, memory_order_relaxed) == place->head;
}

/* Walk the chain of a key once.
 *
 * Callers:  anyone; needs no write access.
 * Progress: wait-free, at most MEMLANE_MAP_CHAIN_MAX entries.
 * Ordering: acquire.
 * Returns:  MEMLANE_OK: *place is an entry that seems to bear the key, which the caller confirms; MEMLANE_EMPTY: at one
 *           moment of the walk there was none; MEMLANE_BUSY: the bucket changed meanwhile; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_map_find(const struct memlane_map *map, const struct memlane_map_key *key,
                                                   struct memlane_map_place *place) {
    place->bucket = memlane_map_bucket_of(map, key->hash);
    /* sync: map.head. acquire: the first entry is filled. Pairs with memlane_map_insert. */
    place->head = atomic_load_explicit(&place->bucket->head, memory_order_acquire);
    place->is_littered = false;
    uint64_t at = place->head;
    for (unsigned steps = 0; steps < MEMLANE_MAP_CHAIN_MAX; steps++) {
        const uint64_t next = at & MEMLANE_MAP_INDEX_MASK;
        if (next == 0)
            return memlane_map_is_unchanged(place) ? MEMLANE_EMPTY : MEMLANE_BUSY;
        if (next > map->count)
            break;
        struct memlane_map_entry *entry = memlane_map_entry(map, next - 1);
        /* sync: map.sequence. acquire: the words of this version are visible; and of an entry that is being filled, that
         * it is in no chain. Pairs with the stores in memlane_map_publish and memlane_map_fill. Before the link: an entry
         * that is USED by then has a sequence that jumped once more, or had this one already when it came to be. */
        const uint64_t sequence = atomic_load_explicit(&entry->sequence, memory_order_acquire);
        /* sync: map.link. acquire: of an entry that is USED the key and a value are in place, and its writer holds it or
         * has put it into a chain; one that is FREE shows the head that led here as changed. Pairs with
         * memlane_map_fill and memlane_map_retire. */
        at = atomic_load_explicit(&entry->link, memory_order_acquire);
        const uint64_t state = memlane_map_state(at);
        if (state == MEMLANE_MAP_USED && memlane_map_bears(entry, key)) {
            place->entry = entry;
            place->index = (uint32_t)(next - 1);
            place->version = sequence >> 1;
            return MEMLANE_OK;
        }
        place->is_littered |= state == MEMLANE_MAP_REMOVED;
        if (state != MEMLANE_MAP_USED && state != MEMLANE_MAP_REMOVED)
            break;
    }
    /* No sound chain leads to such an entry, but a chain that changed does. */
    return memlane_map_is_unchanged(place) ? MEMLANE_CORRUPTED : MEMLANE_BUSY;
}

static inline bool memlane_map_has_expired(const struct memlane_map_clock *clock, uint64_t expires_ns, uint32_t boot) {
    return expires_ns != 0 && (boot != clock->boot || clock->now_ns >= expires_ns);
}

/* Whether what was loaded of an entry is of one key and of that version. */
static inline bool memlane_map_is_whole(const struct memlane_map *map, const struct memlane_map_entry *entry,
                                        uint64_t version) {
    /* sync: map.sequence. acquire fence: every word above was loaded before the second look. Pairs with the release
     * fences in memlane_map_publish and memlane_map_fill. Without it a mix of two versions, or the value of another key,
     * could pass. */
    atomic_thread_fence(memory_order_acquire);
    /* relaxed: the fence has done the ordering */
    return atomic_load_explicit(&entry->sequence, memory_order_relaxed) - 2 * version <= 2 * map->mask;
}

/* Copy a version of an entry out. `value` has room for the longest value, or is NULL.
 * Callers: anyone. Progress: wait-free. Ordering: acquire.
 * Returns: MEMLANE_OK, *nbytes; MEMLANE_EMPTY: it has expired; MEMLANE_BUSY: overtaken; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_map_copy_out(const struct memlane_map *map, struct memlane_map_entry *entry,
                                                       uint64_t version, const struct memlane_map_clock *clock,
                                                       void *value, uint64_t *nbytes) {
    const struct memlane_map_stamp *stamp = memlane_map_stamp_of(map, entry, version);
    /* relaxed, all three: the fence in memlane_map_is_whole orders them before the second look */
    const uint64_t expires_ns = atomic_load_explicit(&stamp->expires_ns, memory_order_relaxed);
    const uint32_t boot = atomic_load_explicit(&stamp->boot, memory_order_relaxed); /* relaxed: as above */
    const uint64_t found = atomic_load_explicit(&stamp->nbytes, memory_order_relaxed); /* relaxed: as above */
    const bool fits = map->is_fixed ? found == map->value_nbytes : found <= map->value_nbytes;
    if (value && fits)
        /* May race with a writer, on purpose: the words are atomics, and the copy is thrown away if it did. */
        memlane_words_load(value, memlane_map_copy_of(map, entry, version), found);
    if (!memlane_map_is_whole(map, entry, version))
        return MEMLANE_BUSY;
    *nbytes = found;
    if (!fits)
        return MEMLANE_CORRUPTED;
    return memlane_map_has_expired(clock, expires_ns, boot) ? MEMLANE_EMPTY : MEMLANE_OK;
}

/* Whether an entry that was found USED has been put into a chain, as far as its writer word tells: a writer that fills an
 * entry, and may give it up, holds it. Called once the words of the version are loaded. */
static inline bool memlane_map_is_settled(const struct memlane_map *map, const struct memlane_map_entry *entry,
                                          uint64_t version) {
    /* sync: role.owner. acquire: a writer that gave the entry up made it FREE first; pairs with memlane_map_give. Without
     * it a value that never was in the map could be taken for that of its key. */
    return atomic_load_explicit(&entry->writer, memory_order_acquire) == MEMLANE_TAG_NONE &&
           /* relaxed: ordered by the writer word; and it is that of the same filling, as the sequence says */
           memlane_map_state(atomic_load_explicit(&entry->link, memory_order_relaxed)) == MEMLANE_MAP_USED &&
           memlane_map_is_whole(map, entry, version);
}

/* Try once to copy the value of a key out. `value` has room for the longest value, or is NULL.
 *
 * Callers:  anyone; needs no write access.
 * Progress: wait-free.
 * Ordering: what the writer did before it changed the map is visible.
 * Returns:  MEMLANE_OK, the value is whole and of *version; MEMLANE_EMPTY: no such key, or it has expired, *version is 0;
 *           MEMLANE_BUSY: overtaken by a writer, try again; MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_map_read(const struct memlane_map *map, const struct memlane_map_key *key,
                                                   const struct memlane_map_clock *clock, void *value, uint64_t *nbytes,
                                                   uint64_t *version) {
    struct memlane_map_place place;
    *version = *nbytes = 0;
    enum memlane_status status = memlane_map_find(map, key, &place);
    if (status != MEMLANE_OK)
        return status;
    status = memlane_map_copy_out(map, place.entry, place.version, clock, value, nbytes);
    /* The chain led to it, or it is in a chain for all that its writer word says. A reader that came to it by a chain that
     * has changed may have met an entry that is just being filled. */
    if (status == MEMLANE_BUSY ||
        (!memlane_map_is_unchanged(&place) && !memlane_map_is_settled(map, place.entry, place.version)))
        return MEMLANE_BUSY;
    if (status == MEMLANE_OK)
        *version = place.version;
    return status;
}

/* The version of a key for a watcher that has announced itself, and sleeps if it is still the one that it knows.
 * Callers: anyone. Progress: wait-free. Ordering: full fence before it. Returns: as memlane_map_read. */
static inline enum memlane_status memlane_map_version_again(const struct memlane_map *map,
                                                            const struct memlane_map_key *key,
                                                            const struct memlane_map_clock *clock, uint64_t *version) {
    uint64_t nbytes;
    /* sync: slot.armed. seq_cst fence: the announcement comes before the looks at the bucket and the entry. Without it a
     * writer misses the announcement, we miss its change, and we sleep through a version. */
    atomic_thread_fence(memory_order_seq_cst);
    return memlane_map_read(map, key, clock, NULL, &nbytes, version);
}

/* ---- going through all ------------------------------------------------------------------------ */

/* What memlane_map_at finds. The caller sets `key` and `value`, which have room for the longest, or `value` = NULL. */
struct memlane_map_item {
    unsigned char *key;
    void *value;
    uint32_t key_nbytes;
    enum memlane_map_key_type key_type;
    uint64_t nbytes; /* of the value */
    uint64_t version;
};

/* Try once to copy out what is in the entry with that index, which is below `count`. A key stays in its entry from its
 * insert to its removal: a process that goes through all indices sees every key that stays, and none twice.
 *
 * Callers:  anyone; needs no write access.
 * Progress: wait-free.
 * Ordering: as memlane_map_read.
 * Returns:  MEMLANE_OK, *item; MEMLANE_EMPTY: there is no key, or one that has expired; MEMLANE_BUSY: try again;
 *           MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_map_at(const struct memlane_map *map, uint64_t index,
                                                 const struct memlane_map_clock *clock, struct memlane_map_item *item) {
    struct memlane_map_entry *entry = memlane_map_entry(map, index);
    /* sync: map.sequence. acquire: as in memlane_map_find */
    item->version = atomic_load_explicit(&entry->sequence, memory_order_acquire) >> 1;
    /* sync: map.link. acquire: as in memlane_map_find */
    if (memlane_map_state(atomic_load_explicit(&entry->link, memory_order_acquire)) != MEMLANE_MAP_USED)
        return MEMLANE_EMPTY;
    /* relaxed: as in memlane_map_bears */
    const uint32_t word = atomic_load_explicit(&entry->key, memory_order_relaxed);
    item->key_nbytes = memlane_map_key_nbytes(word);
    item->key_type = (enum memlane_map_key_type)(word & 3);
    const bool fits = item->key_nbytes <= map->key_nbytes && (word & 3) != 0;
    if (fits)
        memlane_words_load(item->key, memlane_map_key_of(entry), item->key_nbytes);
    enum memlane_status status = memlane_map_copy_out(map, entry, item->version, clock, item->value, &item->nbytes);
    if (status != MEMLANE_OK)
        return status;
    if (!fits)
        return MEMLANE_CORRUPTED;
    if (memlane_map_is_settled(map, entry, item->version))
        return MEMLANE_OK;
    /* Somebody changes the entry, or was killed there. It counts if the chain of its key leads to it. */
    struct memlane_map_key key = {item->key, word, memlane_map_hash(map, item->key, word)};
    struct memlane_map_place place;
    status = memlane_map_find(map, &key, &place);
    if (status != MEMLANE_OK)
        return status;
    if (!memlane_map_is_unchanged(&place) || !memlane_map_is_whole(map, entry, item->version))
        return MEMLANE_BUSY;
    return place.index == index ? MEMLANE_OK : MEMLANE_EMPTY;
}

#endif
