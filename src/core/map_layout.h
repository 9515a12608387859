/* SPDX-License-Identifier: MIT
 *
 * The bytes of a map, and where its parts lie.
 */
#ifndef MEMLANE_MAP_LAYOUT_H
#define MEMLANE_MAP_LAYOUT_H

#include "core/slot_layout.h"

/* ---- map: geometry = { entries, key_nbytes, value_nbytes, copies, watchers, values } ----------------
 *
 *   0             128             +watchers * 128   +buckets * 32   +entries / 8, line aligned
 *   +-------------+---------------+-----------------+---------------+----------------------- - - -
 *   | map control | watchers      | buckets         | free bits     | entries, each line aligned
 *   +-------------+---------------+-----------------+---------------+----------------------- - - -
 *
 * A bucket leads to a chain of entries. There are at least as many buckets as entries, and every entry can be in any
 * chain: so the map is full when all entries are in use, and not before.
 *
 *   an entry   0        32             +key_nbytes          line aligned, or 8 where values are short
 *              +--------+--------------+--------------------+----------------------- - - -
 *              | control| key          | stamp of each copy | copies of the value
 *              +--------+--------------+--------------------+----------------------- - - -
 */
#define MEMLANE_MAP_INDEX_BITS 24u /* of an entry in a link: its number plus 1; 0 ends a chain */
#define MEMLANE_MAP_ENTRIES_MAX ((UINT64_C(1) << MEMLANE_MAP_INDEX_BITS) - 2)
#define MEMLANE_MAP_KEY_MAX UINT64_C(4096) /* arbitrary: a page */
#define MEMLANE_MAP_VALUE_MAX (UINT64_C(1) << 30) /* arbitrary; its length has 32 bits */

struct memlane_map_control {
    uint64_t seeds[2]; /* secret and random: a user who chooses keys cannot choose their buckets */
    unsigned char unused[48];
    /* Hints for an insert that finds every place in use. */
    _Atomic uint64_t soonest_ns; /* no entry expires before, as far as is known; CLOCK_BOOTTIME */
    _Atomic uint64_t swept_ns; /* when all entries were last looked at for that */
    unsigned char unused_too[48];
};
static_assert(sizeof(struct memlane_map_control) == 128, "layout: see docs/layout.md");

struct memlane_map_bucket {
    /* The first entry of the chain, and a number that changes whenever an entry comes into it, or leaves it for good.
     *   [ changes : 38 | 0 : 2 | index + 1 : 24 ] */
    _Atomic uint64_t head;
    _Atomic uint64_t floor; /* a key that comes into this bucket gets a version above */
    _Atomic uint64_t armed; /* one bit a watcher that waits for a key of this bucket */
    _Atomic uint32_t selectors; /* the upper half of a word of waiters: those that wait by a descriptor */
    uint32_t reserved;
};
static_assert(sizeof(struct memlane_map_bucket) == 32, "two buckets are a line");

/* The control of an entry. */
struct memlane_map_entry {
    _Atomic uint64_t sequence; /* of the value, as that of a slot */
    /* The next entry of the chain: [ generation : 38 | enum memlane_map_state : 2 | index + 1 : 24 ] */
    _Atomic uint64_t link;
    _Atomic uint32_t writer; /* tag of the one process that may change this entry */
    _Atomic uint32_t key; /* [ length : 30 | enum memlane_map_key_type : 2 ] */
    uint64_t unused;
};
static_assert(sizeof(struct memlane_map_entry) == 32, "layout: see docs/layout.md");
enum memlane_map_state {
    MEMLANE_MAP_FREE = 0, /* in no chain; the holder of the entry may be filling it */
    MEMLANE_MAP_USED = 1, /* in a chain, or about to come there while its writer still holds it */
    MEMLANE_MAP_REMOVED = 2, /* its key is gone; it may still be in a chain */
};
/* Keys of different types are different keys. */
enum memlane_map_key_type { MEMLANE_KEY_BYTES = 1, MEMLANE_KEY_STR = 2, MEMLANE_KEY_INT = 3 };
/* In the place of a tag: nobody holds the entry, and the next holder settles what the one before has left undone. */
#define MEMLANE_MAP_UNSETTLED 1u

/* One for each copy of a value. */
struct memlane_map_stamp {
    _Atomic uint64_t expires_ns; /* CLOCK_BOOTTIME; 0: never */
    _Atomic uint32_t boot; /* hash of the boot id: after a reboot whatever expires has expired */
    _Atomic uint32_t nbytes; /* of the value */
};
static_assert(sizeof(struct memlane_map_stamp) == 16, "layout: see docs/layout.md");
enum memlane_map_values { MEMLANE_VALUES_FIXED = 1, MEMLANE_VALUES_UP_TO = 2 };

struct memlane_map_shape {
    uint64_t entries;
    uint64_t key_nbytes; /* of the longest key */
    uint64_t value_nbytes; /* of each value, or of the longest */
    uint64_t copies; /* K */
    uint64_t watchers;
    uint64_t values; /* enum memlane_map_values */
    uint64_t buckets; /* a power of two */
    uint64_t buckets_offset; /* in the object */
    uint64_t free_offset;
    uint64_t free_words; /* of 64 bits, one for each entry that is free */
    uint64_t entries_offset;
    uint64_t entry_stride;
    uint64_t stamps_offset; /* in an entry */
    uint64_t copies_offset;
    uint64_t copy_stride;
    uint64_t nbytes;
};

/* Compute the shape of a map. Every bound is small enough that nothing here can overflow.
 * Callers: anyone. Progress: bounded by 24 steps. Ordering: none. Returns: false: the geometry is out of range. */
static inline bool memlane_map_lay_out(struct memlane_map_shape *shape, uint64_t entries, uint64_t key_nbytes,
                                       uint64_t value_nbytes, uint64_t copies, uint64_t watchers, uint64_t values) {
    if (entries == 0 || entries > MEMLANE_MAP_ENTRIES_MAX || key_nbytes < 8 || key_nbytes > MEMLANE_MAP_KEY_MAX ||
        value_nbytes > MEMLANE_MAP_VALUE_MAX || copies < 2 || copies > 256 || (copies & (copies - 1)) ||
        watchers > MEMLANE_WATCHERS_MAX || values < MEMLANE_VALUES_FIXED || values > MEMLANE_VALUES_UP_TO)
        return false;
    const uint64_t unit = value_nbytes < MEMLANE_LINE ? 8 : MEMLANE_LINE;
    uint64_t buckets = 2;
    while (buckets < entries)
        buckets *= 2;
    shape->entries = entries;
    shape->key_nbytes = key_nbytes;
    shape->value_nbytes = value_nbytes;
    shape->copies = copies;
    shape->watchers = watchers;
    shape->values = values;
    shape->buckets = buckets;
    shape->buckets_offset = sizeof(struct memlane_map_control) + watchers * sizeof(struct memlane_watcher);
    shape->free_offset = shape->buckets_offset + buckets * sizeof(struct memlane_map_bucket);
    shape->free_words = (entries + 63) / 64;
    shape->entries_offset = memlane_round_up(shape->free_offset + 8 * shape->free_words, MEMLANE_LINE);
    shape->stamps_offset = sizeof(struct memlane_map_entry) + memlane_round_up(key_nbytes, 8);
    shape->copies_offset = memlane_round_up(shape->stamps_offset + copies * sizeof(struct memlane_map_stamp), unit);
    shape->copy_stride = memlane_round_up(value_nbytes, unit);
    shape->entry_stride = memlane_round_up(shape->copies_offset + copies * shape->copy_stride, MEMLANE_LINE);
    shape->nbytes = shape->entries_offset + entries * shape->entry_stride;
    return true;
}

/* Tell where the doorbells of a map are: none is made with it, each watcher's is made by its first waiter.
 * Callers: anyone, on private memory. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_map_tell_doorbells(uint64_t watchers, struct memlane_doorbells *at_once,
                                              struct memlane_doorbells *later) {
    at_once->offset = at_once->stride = at_once->count = 0;
    later->offset = sizeof(struct memlane_map_control) + offsetof(struct memlane_watcher, doorbell);
    later->stride = sizeof(struct memlane_watcher);
    later->count = (uint32_t)watchers;
}

#endif
