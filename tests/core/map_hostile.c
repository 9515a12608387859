/* SPDX-License-Identifier: MIT
 *
 * Bytes of a map that no sound program writes: a typed answer, bounded loops, and not one byte beyond its block, whose end
 * the address sanitizer watches (hazard 73).
 */
#include "steps.h"

#include "map_fixture.h"

enum { ENTRIES = 9, KEYS = 7 };
/* Of one call: a walk over a chain has 256 entries at the most, a key 2 words, and all is tried 64 times at the most, for
 * each of the entries that a sweep settles. */
#define STEPS_MAX (64ul * 256 * 8 * (ENTRIES + 2))

static uint64_t keys[KEYS];
static unsigned long answers[MEMLANE_UNKNOWN_FEATURES + 1];

static void begin(void) {
    map_new(ENTRIES, 16, 8, 2, MEMLANE_VALUES_UP_TO);
    for (uint64_t n = 0; n < KEYS; n++) {
        keys[n] = in_bucket(n % 2, n / 2);
        CHECK_EQUAL(MEMLANE_OK, put_until(DAVE, keys[n], n, n == 3 ? 1500 : 0));
    }
    CHECK_EQUAL(MEMLANE_OK, take_away(DAVE, keys[5]));
}

static void note(enum memlane_status status) {
    CHECK(status == MEMLANE_OK || status == MEMLANE_EMPTY || status == MEMLANE_BUSY || status == MEMLANE_FULL ||
          status == MEMLANE_DIFFERS || status == MEMLANE_CORRUPTED || status == MEMLANE_LOST);
    answers[status]++;
    CHECK(steps_made < STEPS_MAX);
    steps_made = 0;
}

/* Everything that a process may do. A second read of bytes that nobody changes has the same answer, and BUSY is none of
 * those: a caller that tries again as long as it is told BUSY would never come to an end. */
static void use_all(uint64_t *random) {
    static const enum memlane_map_how hows[] = {MEMLANE_MAP_PUT, MEMLANE_MAP_INSERT, MEMLANE_MAP_REMOVE,
                                                MEMLANE_MAP_COMPARE, MEMLANE_MAP_REMOVE_COMPARE};
    uint64_t value[1], nbytes, bytes[2];
    steps_made = 0;
    for (int n = 0; n < KEYS; n++) {
        const struct memlane_map_key key = key_of(&keys[n]);
        enum memlane_status first = memlane_map_read(&map, &key, &now, value, &nbytes, &version);
        note(first);
        CHECK(first != MEMLANE_BUSY); /* nobody changes anything now */
        CHECK_EQUAL(first, memlane_map_read(&map, &key, &now, NULL, &nbytes, &version));
    }
    for (uint64_t index = 0; index < map.count; index++) {
        struct memlane_map_item item = {.key = (unsigned char *)bytes, .value = value};
        enum memlane_status status = memlane_map_at(&map, index, &now, &item);
        CHECK(status != MEMLANE_BUSY);
        note(status);
        if (status == MEMLANE_OK)
            CHECK(item.key_nbytes <= 16 && item.nbytes <= 8);
    }
    for (int i = 0; i < 6; i++) {
        uint64_t number = keys[check_below(random, KEYS)];
        struct memlane_map_change asked = {
            .how = hows[check_below(random, 5)], .value = value, .nbytes = check_below(random, 9), .before = value};
        asked.expires_ns = check_below(random, 3) ? 0 : 1400;
        note(change(BOB, number, asked));
        now.now_ns += MEMLANE_MAP_SWEEP_NS;
    }
}

static void flip(uint64_t *random) {
    _Atomic uint64_t *words = (_Atomic uint64_t *)(void *)base;
    uint64_t from = check_below(random, 3) ? shape.buckets_offset : shape.entries_offset;
    /* mostly in the first words of an entry, where its links are */
    uint64_t at = from == shape.entries_offset
                      ? from + check_below(random, ENTRIES) * shape.entry_stride + 8 * check_below(random, 4)
                      : from + 8 * check_below(random, (shape.nbytes - from) / 8);
    switch (check_below(random, 3)) {
    case 0:
        atomic_fetch_xor(&words[at / 8], UINT64_C(1) << check_below(random, 64));
        break;
    case 1:
        atomic_store(&words[at / 8], check_below(random, 16) | check_below(random, 4) << MEMLANE_MAP_INDEX_BITS);
        break;
    default:
        atomic_store(&words[at / 8], check_random(random));
    }
}

TEST(whatever_words_of_a_map_are_corrupted_each_call_ends_with_a_typed_answer) {
    const char *asked = getenv("MEMLANE_INPUTS");
    const uint64_t inputs = asked ? strtoull(asked, NULL, 10) : 20000;
    for (uint64_t input = 1; input <= inputs; input++) {
        uint64_t random = input * 977;
        begin();
        memset(is_dead, (int)(input % 2), sizeof is_dead);
        for (uint64_t flips = 1 + check_below(&random, 4); flips > 0; flips--)
            flip(&random);
        use_all(&random);
        use_all(&random);
        map_free();
    }
    printf("  %lu ok, %lu absent, %lu busy, %lu full, %lu corrupted\n", answers[MEMLANE_OK], answers[MEMLANE_EMPTY],
           answers[MEMLANE_BUSY], answers[MEMLANE_FULL], answers[MEMLANE_CORRUPTED]);
    CHECK(answers[MEMLANE_OK] > inputs && answers[MEMLANE_CORRUPTED] > inputs / 2);
}

TEST(a_chain_that_leads_to_itself_is_corrupted_for_readers_and_writers) {
    for (int n = 0; n < 2; n++) {
        begin();
        uint64_t head = atomic_load(&map.buckets[0].head) & MEMLANE_MAP_INDEX_MASK;
        struct memlane_map_entry *entry = memlane_map_entry(&map, head - 1);
        uint64_t state = n ? MEMLANE_MAP_REMOVED : MEMLANE_MAP_USED;
        atomic_store(&entry->link, memlane_map_word(atomic_load(&entry->link), state, head));
        const uint64_t absent = in_bucket(0, 20);
        const struct memlane_map_key key = key_of(&absent);
        uint64_t value, nbytes;
        CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_map_read(&map, &key, &now, &value, &nbytes, &version));
        enum memlane_status status = put(BOB, absent, 1);
        CHECK(status == MEMLANE_CORRUPTED || status == MEMLANE_BUSY);
        map_free();
    }
}

TEST(a_length_beyond_the_longest_value_is_corrupted_and_not_a_byte_of_it_is_copied) {
    begin();
    for (uint64_t index = 0; index < ENTRIES; index++) {
        struct memlane_map_entry *entry = memlane_map_entry(&map, index);
        for (uint64_t v = 0; v < 2; v++)
            atomic_store(&memlane_map_stamp_of(&map, entry, v)->nbytes, index % 2 ? 9 : UINT32_MAX);
    }
    unsigned char value[16], untouched[16];
    memset(value, 0x55, sizeof value);
    memset(untouched, 0x55, sizeof untouched);
    uint64_t nbytes;
    for (int n = 0; n < 3; n++) {
        const struct memlane_map_key key = key_of(&keys[n]);
        CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_map_read(&map, &key, &now, value, &nbytes, &version));
        CHECK_EQUAL(MEMLANE_CORRUPTED, put(BOB, keys[n], 1));
    }
    CHECK_BYTES(untouched, value, sizeof value);
    map_free();
}

MAIN
