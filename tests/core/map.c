/* SPDX-License-Identifier: MIT
 *
 * The map in one thread: keys and values, versions, comparing, adding, expiry, full tables, dead holders.
 */
#include "map_fixture.h"

TEST(a_key_that_was_never_put_is_absent_and_has_version_0) {
    map_new_small(4);
    CHECK_EQUAL(ABSENT, get(1));
    CHECK_EQUAL(0, length());
    CHECK_EQUAL(MEMLANE_EMPTY, take_away(ANN, 1));
    check_sound();
    map_free();
}

TEST(each_of_as_many_keys_as_entries_is_read_back_and_one_more_does_not_fit) {
    for (uint64_t entries = 1; entries <= 300; entries += entries < 10 ? 1 : 29) {
        map_new_small(entries);
        for (uint64_t i = 0; i < entries; i++)
            CHECK_EQUAL(MEMLANE_OK, put(ANN, i, 10 * i));
        CHECK_EQUAL(MEMLANE_FULL, put(ANN, entries, 1));
        CHECK_EQUAL(MEMLANE_OK, put(BOB, 0, 5)); /* an update needs no place */
        CHECK_EQUAL(5, get(0));
        for (uint64_t i = 1; i < entries; i++)
            CHECK_EQUAL(10 * i, get(i));
        CHECK_EQUAL(entries, length());
        check_sound();
        for (uint64_t i = 0; i < entries; i++)
            CHECK_EQUAL(MEMLANE_OK, take_away(BOB, i));
        CHECK_EQUAL(0, length());
        check_sound();
        map_free();
    }
}

TEST(a_key_of_bytes_one_of_text_and_an_int_are_three_keys_whatever_their_length) {
    static const char bytes[64] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";
    map_new(64 * 3, 63, 16, 2, MEMLANE_VALUES_FIXED);
    struct memlane_map_writer writer = writer_of(ANN);
    for (int pass = 0; pass < 2; pass++)
        for (uint64_t nbytes = 0; nbytes <= 63; nbytes++)
            for (enum memlane_map_key_type type = MEMLANE_KEY_BYTES; type <= MEMLANE_KEY_INT; type++) {
                struct memlane_map_key key;
                uint64_t value[2] = {nbytes, type}, found[2], length_found = 0, version_found = 0;
                char *exactly = check_allocate(8, nbytes);
                memcpy(exactly, bytes, nbytes);
                CHECK_EQUAL(MEMLANE_OK, memlane_map_key_make(&map, &key, type, exactly, nbytes));
                struct memlane_map_change asked = {.how = MEMLANE_MAP_INSERT, .value = value, .nbytes = 16};
                CHECK_EQUAL(pass ? MEMLANE_DIFFERS : MEMLANE_OK, memlane_map_change(&map, &writer, &key, &now, &asked));
                CHECK_EQUAL(MEMLANE_OK, memlane_map_read(&map, &key, &now, found, &length_found, &version_found));
                CHECK_BYTES(value, found, 16);
                CHECK_EQUAL(version_found, asked.version);
                free(exactly);
            }
    CHECK_EQUAL(64 * 3, length());
    check_sound();
    struct memlane_map_key key;
    CHECK_EQUAL(MEMLANE_TOO_LARGE, memlane_map_key_make(&map, &key, MEMLANE_KEY_STR, bytes, 64));
    map_free();
}

TEST(values_of_every_length_up_to_the_longest_come_back_with_their_length) {
    map_new(3, 8, 200, 4, MEMLANE_VALUES_UP_TO);
    struct memlane_map_writer writer = writer_of(ANN);
    uint64_t number = 1, nbytes = 0;
    const struct memlane_map_key key = key_of(&number);
    unsigned char found[200], before[200];
    for (uint64_t i = 0; i <= 200; i++) {
        unsigned char *value = check_allocate(8, i);
        memset(value, (int)i, i);
        struct memlane_map_change asked = {.how = MEMLANE_MAP_PUT, .value = value, .nbytes = i, .before = before};
        CHECK_EQUAL(MEMLANE_OK, memlane_map_change(&map, &writer, &key, &now, &asked));
        CHECK_EQUAL(MEMLANE_OK, memlane_map_read(&map, &key, &now, found, &nbytes, &version));
        CHECK_EQUAL(i, nbytes);
        CHECK_BYTES(value, found, i);
        CHECK_EQUAL(i ? i - 1 : 0, asked.before_nbytes);
        for (uint64_t at = 0; at + 1 < i; at++)
            CHECK_EQUAL(i - 1, before[at]);
        free(value);
    }
    struct memlane_map_change asked = {.how = MEMLANE_MAP_PUT, .value = found, .nbytes = 201};
    CHECK_EQUAL(MEMLANE_TOO_LARGE, memlane_map_change(&map, &writer, &key, &now, &asked));
    map_free();
    map_new_small(3);
    asked = (struct memlane_map_change){.how = MEMLANE_MAP_PUT, .value = found, .nbytes = 7};
    CHECK_EQUAL(MEMLANE_TOO_LARGE, memlane_map_change(&map, &writer, &key, &now, &asked));
    map_free();
}

TEST(versions_of_a_key_never_repeat_over_removals_and_other_keys_in_its_place) {
    for (uint64_t copies = 2; copies <= 8; copies *= 2) {
        map_new(2, 16, 8, copies, MEMLANE_VALUES_FIXED);
        uint64_t keys[3], last[3] = {0}, random = 17;
        for (uint64_t n = 0; n < 3; n++)
            keys[n] =
                in_bucket(n / 2, n % 2); /* two that share a bucket, one elsewhere: they change places (hazard 72) */
        for (int i = 0; i < 5000; i++) {
            uint64_t n = check_below(&random, 3);
            enum memlane_status status = check_below(&random, 2) ? take_away(ANN, keys[n]) : put(ANN, keys[n], 1);
            if (status == MEMLANE_OK && told.how == MEMLANE_MAP_PUT) {
                CHECK(told.version > last[n]);
                CHECK_EQUAL(1, get(keys[n]));
                CHECK_EQUAL(told.version, version);
                last[n] = told.version;
            } else if (status == MEMLANE_OK)
                CHECK_EQUAL(last[n], told.version);
        }
        check_sound();
        map_free();
    }
}

TEST(a_compare_exchange_does_nothing_unless_the_version_is_the_one_it_expects) {
    map_new_small(2);
    uint64_t value = 5;
    struct memlane_map_change asked = {.how = MEMLANE_MAP_COMPARE, .expected = 1, .value = &value, .nbytes = 8};
    CHECK_EQUAL(MEMLANE_DIFFERS, change(ANN, 3, asked)); /* absent: only 0 fits */
    CHECK_EQUAL(0, told.version);
    CHECK_EQUAL(ABSENT, get(3));
    asked.expected = 0;
    CHECK_EQUAL(MEMLANE_OK, change(ANN, 3, asked));
    const uint64_t first = told.version;
    CHECK_EQUAL(MEMLANE_DIFFERS, change(ANN, 3, asked));
    CHECK_EQUAL(first, told.version);
    value = 6;
    asked.expected = first;
    CHECK_EQUAL(MEMLANE_OK, change(ANN, 3, asked));
    CHECK_EQUAL(6, get(3));
    CHECK_EQUAL(MEMLANE_DIFFERS, change(ANN, 3, asked));
    asked.how = MEMLANE_MAP_REMOVE_COMPARE;
    CHECK_EQUAL(MEMLANE_DIFFERS, change(ANN, 3, asked));
    asked.expected = version;
    CHECK_EQUAL(MEMLANE_OK, change(ANN, 3, asked));
    CHECK_EQUAL(ABSENT, get(3));
    CHECK_EQUAL(MEMLANE_DIFFERS, change(ANN, 3, asked));
    check_sound();
    map_free();
}

TEST(adding_to_an_absent_key_begins_at_0_and_keeps_the_expiry_of_one_that_is_there) {
    map_new_small(4);
    int64_t one = 1, sum;
    struct memlane_map_change asked = {.how = MEMLANE_MAP_ADD_INT, .value = &one, .nbytes = 8, .expires_ns = 1100};
    for (int64_t i = 1; i <= 20; i++) {
        CHECK_EQUAL(MEMLANE_OK, change(ANN, 1, asked));
        memcpy(&sum, told.sum, 8);
        CHECK_EQUAL(i, sum);
        CHECK_EQUAL(i, get(1));
        asked.expires_ns = 5000; /* a window that is open already does not move */
    }
    now.now_ns = 1100;
    CHECK_EQUAL(ABSENT, get(1));
    CHECK_EQUAL(MEMLANE_OK, change(ANN, 1, asked));
    CHECK_EQUAL(1, get(1));
    one = INT64_MAX;
    CHECK_EQUAL(MEMLANE_OK, change(ANN, 1, asked));
    CHECK_EQUAL((uint64_t)INT64_MIN, get(1));
    double half = 0.5, found;
    asked = (struct memlane_map_change){.how = MEMLANE_MAP_ADD_FLOAT, .value = &half, .nbytes = 8};
    for (int i = 1; i <= 3; i++) {
        CHECK_EQUAL(MEMLANE_OK, change(ANN, 2, asked));
        memcpy(&found, told.sum, 8);
        CHECK(found == half * i);
        uint64_t bits = get(2);
        CHECK_BYTES(&bits, told.sum, 8);
    }
    map_free();
    map_new(2, 16, 8, 2, MEMLANE_VALUES_UP_TO);
    CHECK_EQUAL(MEMLANE_TOO_LARGE, change(ANN, 2, asked));
    map_free();
}

TEST(an_expired_key_reads_as_absent_and_its_place_is_used_by_the_next_insert) {
    map_new_small(3);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQUAL(MEMLANE_OK, put_until(ANN, i, i, i == 1 ? 2000 : i == 2 ? 9000 : 0));
    CHECK_EQUAL(MEMLANE_FULL, put(ANN, 3, 3));
    now.now_ns = 1999;
    CHECK_EQUAL(1, get(1));
    CHECK_EQUAL(3, length());
    CHECK_EQUAL(MEMLANE_FULL, put(ANN, 3, 3));
    now.now_ns = 2000;
    CHECK_EQUAL(ABSENT, get(1));
    CHECK_EQUAL(2, length());
    CHECK_EQUAL(MEMLANE_OK, put(BOB, 3, 3));
    CHECK_EQUAL(3, get(3));
    CHECK_EQUAL(ABSENT, get(1));
    CHECK_EQUAL(0, get(0));
    CHECK_EQUAL(MEMLANE_FULL, put(ANN, 1, 3));
    CHECK_EQUAL(MEMLANE_OK, put(ANN, 2, 7)); /* sets it anew, without an end */
    now.now_ns = 9000;
    CHECK_EQUAL(7, get(2));
    CHECK_EQUAL(MEMLANE_FULL, put(ANN, 1, 3));
    check_sound();
    map_free();
}

TEST(an_expired_key_is_put_again_in_its_own_place_and_removing_it_finds_nothing) {
    map_new_small(1);
    CHECK_EQUAL(MEMLANE_OK, put_until(ANN, 1, 10, 2000));
    const uint64_t first = told.version;
    now.now_ns = 3000;
    uint64_t value = 11;
    CHECK_EQUAL(MEMLANE_OK, change(ANN, 1,
                                   (struct memlane_map_change){
                                       .how = MEMLANE_MAP_COMPARE, .value = &value, .nbytes = 8, .expires_ns = 4000}));
    CHECK(told.version > first);
    CHECK_EQUAL(11, get(1));
    now.now_ns = 4000;
    CHECK_EQUAL(MEMLANE_EMPTY, take_away(ANN, 1));
    check_sound();
    CHECK_EQUAL(0, length());
    CHECK_EQUAL(MEMLANE_OK, put(ANN, 2, 1)); /* the place is free */
    map_free();
}

TEST(after_a_reboot_whatever_expires_has_expired_and_the_rest_is_there) {
    map_new_small(2);
    CHECK_EQUAL(MEMLANE_OK, put_until(ANN, 1, 10, UINT64_MAX));
    CHECK_EQUAL(MEMLANE_OK, put(ANN, 2, 20));
    CHECK_EQUAL(MEMLANE_FULL, put(ANN, 3, 30));
    now = (struct memlane_map_clock){5, 8};
    CHECK_EQUAL(ABSENT, get(1));
    CHECK_EQUAL(20, get(2));
    CHECK_EQUAL(MEMLANE_OK, put(ANN, 3, 30));
    CHECK_EQUAL(2, length());
    map_free();
}

TEST(an_insert_into_a_full_map_looks_at_all_entries_once_in_a_recheck_interval_unless_something_expires) {
    map_new_small(2);
    CHECK_EQUAL(MEMLANE_OK, put(ANN, 1, 10));
    CHECK_EQUAL(MEMLANE_OK, put(ANN, 2, 20));
    CHECK_EQUAL(MEMLANE_FULL, put(ANN, 3, 30));
    /* one that expires without a note, as if its writer had been killed in front of it */
    struct memlane_map_entry *entry = memlane_map_entry(&map, 0);
    uint64_t latest = atomic_load(&entry->sequence) / 2;
    atomic_store(&memlane_map_stamp_of(&map, entry, latest)->expires_ns, 900);
    atomic_store(&memlane_map_stamp_of(&map, entry, latest)->boot, 7);
    CHECK_EQUAL(MEMLANE_FULL, put(ANN, 3, 30));
    now.now_ns += MEMLANE_MAP_SWEEP_NS;
    CHECK_EQUAL(MEMLANE_OK, put(ANN, 3, 30));
    CHECK_EQUAL(MEMLANE_FULL, put(ANN, 4, 30));
    CHECK_EQUAL(MEMLANE_OK, put_until(ANN, 3, 31, now.now_ns + 5));
    now.now_ns += 5;
    CHECK_EQUAL(MEMLANE_OK, put(ANN, 4, 40));
    map_free();
}

TEST(a_holder_that_lives_keeps_writers_of_its_key_out_and_nobody_else) {
    map_new_small(3);
    const uint64_t held = in_bucket(0, 0), neighbor = in_bucket(0, 1), other = in_bucket(0, 2);
    CHECK_EQUAL(MEMLANE_OK, put(ANN, held, 1));
    CHECK_EQUAL(MEMLANE_OK, put(ANN, neighbor, 2));
    uint32_t holder;
    struct memlane_map_writer clara = writer_of(CLARA);
    for (uint64_t index = 0; index < 3; index++) { /* Clara stops with the entry of `held` */
        uint64_t number;
        memcpy(&number, (void *)memlane_map_key_of(memlane_map_entry(&map, index)), 8);
        if (memlane_map_state(atomic_load(&memlane_map_entry(&map, index)->link)) == MEMLANE_MAP_USED && number == held)
            CHECK_EQUAL(MEMLANE_OK, memlane_map_take(&map, &clara, index, &holder));
    }
    CHECK_EQUAL(MEMLANE_BUSY, put(BOB, held, 9));
    CHECK_EQUAL(CLARA, told.holder);
    CHECK_EQUAL(MEMLANE_BUSY, take_away(BOB, held));
    CHECK_EQUAL(MEMLANE_BUSY, put(CLARA, held, 9)); /* another thread of her process */
    CHECK_EQUAL(1, get(held));
    CHECK_EQUAL(MEMLANE_OK, put(BOB, neighbor, 3));
    CHECK_EQUAL(MEMLANE_OK, put(BOB, other, 4));
    CHECK_EQUAL(MEMLANE_OK, take_away(BOB, neighbor));
    CHECK_EQUAL(MEMLANE_OK, put(BOB, neighbor, 5));
    CHECK_EQUAL(3, length());
    const unsigned long before = judged;
    struct memlane_map_writer hasty = writer_of(BOB);
    hasty.patiently = false;
    const struct memlane_map_key key = key_of(&held);
    told = (struct memlane_map_change){.how = MEMLANE_MAP_REMOVE};
    CHECK_EQUAL(MEMLANE_BUSY, memlane_map_change(&map, &hasty, &key, &now, &told));
    CHECK_EQUAL(before, judged); /* it asked nobody */
    is_dead[CLARA % 8] = true;
    CHECK_EQUAL(MEMLANE_OK, put(BOB, held, 9));
    CHECK_EQUAL(9, get(held));
    check_sound();
    map_free();
}

TEST(a_writer_that_was_taken_for_dead_is_told_that_it_lost_the_entry) {
    map_new_small(1);
    CHECK_EQUAL(MEMLANE_OK, put(ANN, 1, 1));
    struct memlane_map_entry *entry = memlane_map_entry(&map, 0);
    CHECK(memlane_role_take(&entry->writer, 0, ANN));
    CHECK(memlane_role_take(&entry->writer, ANN, BOB));
    CHECK(!memlane_map_give(entry, ANN, true));
    CHECK(!memlane_map_give(entry, ANN, false));
    CHECK(memlane_map_give(entry, BOB, true));
    check_sound();
    map_free();
}

TEST(a_full_map_asks_for_the_life_of_a_bounded_number_of_holders_and_finds_the_places_of_the_dead_in_turn) {
    enum { ENTRIES = 40 };
    map_new_small(ENTRIES);
    for (uint64_t index = 0; index < ENTRIES; index++) /* inserts that never came to their end */
        CHECK(memlane_role_take(&memlane_map_entry(&map, index)->writer, 0, 1u << 10 | index));
    for (int row = 0; row < 7; row++)
        is_dead[row] = false;
    CHECK_EQUAL(MEMLANE_FULL, put(ANN, 1, 1));
    CHECK(judged <= MEMLANE_MAP_PROBES);
    memset(is_dead, true, sizeof is_dead);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        now.now_ns += MEMLANE_MAP_SWEEP_NS;
        judged = 0;
        CHECK_EQUAL(MEMLANE_OK, put(1u << 20, i, i));
        CHECK(judged <= 2 * MEMLANE_MAP_PROBES);
    }
    CHECK_EQUAL(ENTRIES, length());
    check_sound();
    map_free();
}

TEST(a_geometry_out_of_range_is_refused_and_the_largest_one_does_not_overflow) {
    struct memlane_map_shape it;
    const enum memlane_map_values fixed = MEMLANE_VALUES_FIXED, any = MEMLANE_VALUES_UP_TO;
    CHECK(!memlane_map_lay_out(&it, 0, 8, 8, 2, 0, fixed));
    CHECK(!memlane_map_lay_out(&it, MEMLANE_MAP_ENTRIES_MAX + 1, 8, 8, 2, 0, fixed));
    CHECK(!memlane_map_lay_out(&it, 1, 7, 8, 2, 0, fixed));
    CHECK(!memlane_map_lay_out(&it, 1, MEMLANE_MAP_KEY_MAX + 1, 8, 2, 0, fixed));
    CHECK(!memlane_map_lay_out(&it, 1, 8, MEMLANE_MAP_VALUE_MAX + 1, 2, 0, fixed));
    CHECK(!memlane_map_lay_out(&it, 1, 8, 8, 1, 0, fixed));
    CHECK(!memlane_map_lay_out(&it, 1, 8, 8, 3, 0, fixed));
    CHECK(!memlane_map_lay_out(&it, 1, 8, 8, 512, 0, fixed));
    CHECK(!memlane_map_lay_out(&it, 1, 8, 8, 2, MEMLANE_WATCHERS_MAX + 1, fixed));
    CHECK(!memlane_map_lay_out(&it, 1, 8, 8, 2, 0, 0));
    CHECK(!memlane_map_lay_out(&it, 1, 8, 8, 2, 0, 3));
    CHECK(memlane_map_lay_out(&it, MEMLANE_MAP_ENTRIES_MAX, MEMLANE_MAP_KEY_MAX, MEMLANE_MAP_VALUE_MAX, 256, 64, any));
    CHECK(it.nbytes / it.entry_stride >= MEMLANE_MAP_ENTRIES_MAX);
    CHECK_EQUAL(0, it.entries_offset % MEMLANE_LINE);
    CHECK(it.entries_offset >= it.free_offset + 8 * it.free_words);
    struct memlane_doorbells at_once, later;
    memlane_map_tell_doorbells(64, &at_once, &later);
    CHECK_EQUAL(0, at_once.count);
    CHECK_EQUAL(64, later.count);
    CHECK_EQUAL(0, later.offset % 64);
}

TEST(a_watcher_of_a_key_is_found_by_every_change_of_it_and_by_its_insert_and_removal) {
    map_new_small(4);
    const uint64_t number = 3;
    const struct memlane_map_key key = key_of(&number);
    struct memlane_map_bucket *bucket = memlane_map_bucket_of(&map, key.hash);
    uint64_t known;
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_map_version_again(&map, &key, &now, &known));
    CHECK_EQUAL(MEMLANE_OK, put(ANN, number, 1));
    CHECK(told.bucket == bucket);
    CHECK_EQUAL(MEMLANE_OK, memlane_map_version_again(&map, &key, &now, &known));
    CHECK_EQUAL(told.version, known);
    CHECK_EQUAL(MEMLANE_OK, put(ANN, number, 1));
    CHECK(told.bucket == bucket);
    CHECK_EQUAL(MEMLANE_OK, take_away(ANN, number));
    CHECK(told.bucket == bucket);
    CHECK_EQUAL(MEMLANE_EMPTY, take_away(ANN, number));
    CHECK(told.bucket == NULL); /* nothing has changed */
    map_free();
}

TEST(keys_that_differ_in_one_bit_are_spread_over_all_buckets) {
    map_new(1 << 16, 16, 8, 2, MEMLANE_VALUES_FIXED);
    unsigned char *load = check_allocate(8, 1 << 16);
    for (int way = 0; way < 3; way++) {
        unsigned most = 0, empty = 0;
        memset(load, 0, 1 << 16);
        for (uint64_t i = 0; i < 1 << 16; i++) {
            uint64_t words[2] = {way == 0 ? i : 0, way == 1 ? i << 48 : way == 2 ? i * 4096 : 0};
            struct memlane_map_key key;
            CHECK_EQUAL(MEMLANE_OK, memlane_map_key_make(&map, &key, MEMLANE_KEY_BYTES, words, way ? 16 : 8));
            unsigned char *at = &load[key.hash & map.bucket_mask];
            most = ++*at > most ? *at : most;
        }
        for (uint64_t i = 0; i < 1 << 16; i++)
            empty += load[i] == 0;
        CHECK(most < 14); /* of as many balls as boxes, 8 or 9 come into the fullest one */
        CHECK(empty > 23000 && empty < 25300); /* and 1 in e stays empty: 24,109 */
    }
    free(load);
    map_free();
}

MAIN
