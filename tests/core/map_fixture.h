/* SPDX-License-Identifier: MIT
 *
 * What the tests of the map share: a map in one block, whose end the address sanitizer watches, writers by tag of whom
 * some are dead, and a check of all of it. Keys are ints, mostly: those of `in_bucket` meet in one chain.
 */
#ifndef MEMLANE_TESTS_MAP_FIXTURE_H
#define MEMLANE_TESTS_MAP_FIXTURE_H

#include <stdbool.h>

#include "check.h"
#include "core/map_writer.h"

enum { ANN = 1u << 10 | 1, BOB = 1u << 10 | 2, CLARA = 1u << 10 | 3, DAVE = 1u << 10 | 4 };

static struct memlane_map_shape shape;
static unsigned char *base;
static struct memlane_map map;
static struct memlane_map_clock now = {1000, 7};
static bool is_dead[8]; /* by the row of a tag */
static unsigned long judged;

/* What the last call told. */
static struct memlane_map_change told;
static uint64_t version;

static inline int judge(void *of, uint32_t tag) {
    (void)of;
    judged++;
    return is_dead[tag % 8];
}

static inline void map_free(void) { free(base); }

static inline void map_new(uint64_t entries, uint64_t key_nbytes, uint64_t value_nbytes, uint64_t copies,
                           enum memlane_map_values values) {
    static const uint64_t seeds[2] = {0x0123456789abcdef, 0xfedcba9876543210};
    CHECK(memlane_map_lay_out(&shape, entries, key_nbytes, value_nbytes, copies, 0, values));
    base = check_allocate(64, shape.nbytes);
    memlane_map_begin(base, &shape, seeds);
    memlane_map_view(&map, base, &shape);
    memset(is_dead, 0, sizeof is_dead);
    now = (struct memlane_map_clock){1000, 7};
    judged = 0;
}

static inline void map_new_small(uint64_t entries) { map_new(entries, 16, 8, 2, MEMLANE_VALUES_FIXED); }

static inline struct memlane_map_writer writer_of(uint32_t tag) {
    return (struct memlane_map_writer){.tag = tag, .patiently = true, .is_dead = judge};
}

static inline struct memlane_map_key key_of(const uint64_t *number) {
    struct memlane_map_key key;
    CHECK_EQUAL(MEMLANE_OK, memlane_map_key_make(&map, &key, MEMLANE_KEY_INT, number, 8));
    return key;
}

/* The n-th int of those whose chain is that of bucket `bucket`. */
static inline uint64_t in_bucket(uint64_t bucket, uint64_t n) {
    for (uint64_t number = 0;; number++)
        if (memlane_map_bucket_of(&map, key_of(&number).hash) == &map.buckets[bucket] && n-- == 0)
            return number;
}

static inline enum memlane_status change(uint32_t tag, uint64_t number, struct memlane_map_change asked) {
    struct memlane_map_writer writer = writer_of(tag);
    const struct memlane_map_key key = key_of(&number);
    enum memlane_status status = memlane_map_change(&map, &writer, &key, &now, &asked);
    told = asked; /* only now: another writer may have overtaken this one */
    return status;
}

static inline enum memlane_status put_until(uint32_t tag, uint64_t number, uint64_t value, uint64_t expires_ns) {
    return change(
        tag, number,
        (struct memlane_map_change){.how = MEMLANE_MAP_PUT, .value = &value, .nbytes = 8, .expires_ns = expires_ns});
}

static inline enum memlane_status put(uint32_t tag, uint64_t number, uint64_t value) {
    return put_until(tag, number, value, 0);
}

static inline enum memlane_status take_away(uint32_t tag, uint64_t number) {
    return change(tag, number, (struct memlane_map_change){.how = MEMLANE_MAP_REMOVE});
}

/* The value of an int; `absent` if it has none. */
#define ABSENT UINT64_MAX
static inline uint64_t get(uint64_t number) {
    uint64_t value, nbytes = 0;
    const struct memlane_map_key key = key_of(&number);
    enum memlane_status status = memlane_map_read(&map, &key, &now, &value, &nbytes, &version);
    if (status == MEMLANE_EMPTY) {
        CHECK_EQUAL(0, version);
        return ABSENT;
    }
    CHECK_EQUAL(MEMLANE_OK, status);
    CHECK_EQUAL(8, nbytes);
    return value;
}

/* How many keys going through all indices finds; each must be found by its key as well. */
static inline uint64_t length(void) {
    unsigned char bytes[MEMLANE_MAP_KEY_MAX];
    uint64_t found = 0, nbytes, known;
    unsigned char *value = check_allocate(8, map.value_nbytes), *again = check_allocate(8, map.value_nbytes);
    for (uint64_t index = 0; index < map.count; index++) {
        struct memlane_map_item item = {.key = bytes, .value = value};
        enum memlane_status status = memlane_map_at(&map, index, &now, &item);
        if (status == MEMLANE_EMPTY)
            continue;
        CHECK_EQUAL(MEMLANE_OK, status);
        struct memlane_map_key key;
        CHECK_EQUAL(MEMLANE_OK, memlane_map_key_make(&map, &key, item.key_type, bytes, item.key_nbytes));
        CHECK_EQUAL(MEMLANE_OK, memlane_map_read(&map, &key, &now, again, &nbytes, &known));
        CHECK_EQUAL(item.version, known); /* and not that of another entry with the same key */
        CHECK_EQUAL(item.nbytes, nbytes);
        CHECK_BYTES(value, again, nbytes);
        found++;
    }
    free(value);
    free(again);
    return found;
}

/* All entries are free, or in the one chain where their key belongs, once; nobody holds one. */
static inline void check_sound(void) {
    uint64_t used = 0, chained = 0;
    for (uint64_t index = 0; index < map.count; index++) {
        struct memlane_map_entry *entry = memlane_map_entry(&map, index);
        CHECK_EQUAL(MEMLANE_TAG_NONE, atomic_load(&entry->writer));
        uint64_t state = memlane_map_state(atomic_load(&entry->link));
        CHECK(state == MEMLANE_MAP_FREE || state == MEMLANE_MAP_USED);
        used += state == MEMLANE_MAP_USED;
        CHECK_EQUAL(state == MEMLANE_MAP_FREE, atomic_load(&map.free[index / 64]) >> index % 64 & 1);
    }
    for (uint64_t bucket = 0; bucket <= map.bucket_mask; bucket++) {
        uint64_t next = atomic_load(&map.buckets[bucket].head) & MEMLANE_MAP_INDEX_MASK;
        for (; next != 0; chained++) {
            CHECK(chained < map.count);
            struct memlane_map_entry *entry = memlane_map_entry(&map, next - 1);
            CHECK_EQUAL(MEMLANE_MAP_USED, memlane_map_state(atomic_load(&entry->link)));
            uint64_t hash = memlane_map_hash_in(&map, entry, atomic_load(&entry->key));
            CHECK_EQUAL(bucket, hash & map.bucket_mask);
            next = atomic_load(&entry->link) & MEMLANE_MAP_INDEX_MASK;
        }
    }
    CHECK_EQUAL(used, chained);
}

#endif
