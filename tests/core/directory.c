/* SPDX-License-Identifier: MIT
 *
 * Headers, entries and shapes from hostile bytes: each single word that is wrong gets its own answer.
 */
#include <pthread.h>

#include "check.h"
#include "core/directory.h"
#include "core/ring_layout.h"
#include "core/slot_layout.h"

static struct memlane_header header_new(void) {
    struct memlane_header header;
    memset(&header, 0, sizeof header);
    memlane_header_lay_out(&header, 10000);
    header.backing = MEMLANE_BACKING_MEMFD;
    return header;
}

TEST(a_header_as_it_is_laid_out_is_accepted_for_a_file_of_exactly_its_length) {
    struct memlane_header header = header_new();
    CHECK_EQUAL(4096, header.table_offset);
    CHECK_EQUAL(0, header.objects_offset % MEMLANE_ALIGNMENT);
    CHECK_EQUAL(header.objects_offset + 3 * MEMLANE_ALIGNMENT, header.nbytes);
    CHECK_EQUAL(MEMLANE_OK, memlane_header_check(&header, header.nbytes));
    CHECK_EQUAL(MEMLANE_TRUNCATED, memlane_header_check(&header, header.nbytes - 1));
    CHECK_EQUAL(MEMLANE_TRUNCATED, memlane_header_check(&header, 0));
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_header_check(&header, header.nbytes + 1));
}

#define CHECK_SPOILED(expected, field, value)                                                                          \
    do {                                                                                                               \
        struct memlane_header header = header_new();                                                                   \
        uint64_t file_nbytes = header.nbytes;                                                                          \
        header.field = (value);                                                                                        \
        CHECK_EQUAL(expected, memlane_header_check(&header, file_nbytes));                                             \
    } while (0)

TEST(each_word_of_a_header_that_is_wrong_has_its_answer) {
    CHECK_SPOILED(MEMLANE_FOREIGN, magic, 0);
    CHECK_SPOILED(MEMLANE_FOREIGN, magic, UINT64_C(0x4d454d4c414e450a)); /* the other byte order */
    CHECK_SPOILED(MEMLANE_NEWER, layout_version, MEMLANE_LAYOUT_VERSION + 1);
    CHECK_SPOILED(MEMLANE_NEWER, layout_draft, MEMLANE_LAYOUT_DRAFT + 1);
    CHECK_SPOILED(MEMLANE_OLDER, layout_version, MEMLANE_LAYOUT_VERSION - 1);
    for (int bit = 0; bit < 64; bit++)
        CHECK_SPOILED(MEMLANE_UNKNOWN_FEATURES, features, UINT64_C(1) << bit);
    CHECK_SPOILED(MEMLANE_TRUNCATED, nbytes, UINT64_MAX);
    CHECK_SPOILED(MEMLANE_CORRUPTED, nbytes, 0);
    CHECK_SPOILED(MEMLANE_CORRUPTED, rows, 0);
    CHECK_SPOILED(MEMLANE_CORRUPTED, rows, UINT32_MAX);
    CHECK_SPOILED(MEMLANE_CORRUPTED, rows, MEMLANE_ROWS_MAX - 1); /* then the directory lies elsewhere */
    CHECK_SPOILED(MEMLANE_CORRUPTED, row_nbytes, 0);
    CHECK_SPOILED(MEMLANE_CORRUPTED, row_nbytes, 128);
    CHECK_SPOILED(MEMLANE_CORRUPTED, table_offset, 0);
    CHECK_SPOILED(MEMLANE_CORRUPTED, entries, 0);
    CHECK_SPOILED(MEMLANE_CORRUPTED, entries, UINT32_MAX);
    CHECK_SPOILED(MEMLANE_CORRUPTED, entry_nbytes, 512);
    CHECK_SPOILED(MEMLANE_CORRUPTED, directory_offset, UINT64_MAX);
    CHECK_SPOILED(MEMLANE_CORRUPTED, objects_offset, 0);
    CHECK_SPOILED(MEMLANE_CORRUPTED, objects_offset, UINT64_MAX - 4095);
    CHECK_SPOILED(MEMLANE_CORRUPTED, selectors, 0); /* fewer are sound, but then the directory lies elsewhere */
    CHECK_SPOILED(MEMLANE_CORRUPTED, selectors, MEMLANE_SELECTORS_MAX + 1);
    CHECK_SPOILED(MEMLANE_CORRUPTED, selectors, UINT32_MAX);
    CHECK_SPOILED(MEMLANE_CORRUPTED, backing, 0);
    CHECK_SPOILED(MEMLANE_CORRUPTED, backing, MEMLANE_BACKING_ANONYMOUS + 1);
}

TEST(a_header_of_random_words_is_never_accepted_with_a_section_outside_the_file) {
    uint64_t random = 4711;
    for (int round = 0; round < 200000; round++) {
        struct memlane_header header = header_new();
        uint64_t file_nbytes = header.nbytes;
        unsigned char *bytes = (unsigned char *)&header;
        for (uint64_t flips = 1 + check_below(&random, 3); flips > 0; flips--)
            bytes[8 + check_below(&random, 96)] ^= (unsigned char)(1 << check_below(&random, 8));
        if (memlane_header_check(&header, file_nbytes) != MEMLANE_OK)
            continue;
        CHECK_EQUAL(file_nbytes, header.nbytes);
        CHECK(memlane_range_fits(header.table_offset, (uint64_t)header.rows * header.row_nbytes, file_nbytes));
        CHECK(memlane_range_fits(memlane_selectors_offset(&header), header.selectors * sizeof(struct memlane_selector),
                                 header.directory_offset));
        CHECK(memlane_range_fits(header.directory_offset, (uint64_t)header.entries * header.entry_nbytes,
                                 header.objects_offset));
        CHECK(header.objects_offset <= file_nbytes);
    }
}

TEST(an_entry_is_believed_only_with_a_name_that_ends_and_an_object_inside_the_region) {
    struct memlane_header geometry = header_new();
    struct memlane_entry sound, entry;
    memset(&sound, 0, sizeof sound);
    strcpy(sound.name, "prices");
    sound.offset = geometry.objects_offset;
    sound.nbytes = geometry.nbytes - geometry.objects_offset;
    sound.schema_nbytes = sizeof sound.schema;
    CHECK_EQUAL(MEMLANE_OK, memlane_entry_check(&geometry, &sound));

    entry = sound, entry.name[0] = '\0';
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_entry_check(&geometry, &entry));
    entry = sound, memset(entry.name, 'x', sizeof entry.name);
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_entry_check(&geometry, &entry));
    entry = sound, entry.nbytes += 1;
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_entry_check(&geometry, &entry));
    entry = sound, entry.nbytes = UINT64_MAX;
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_entry_check(&geometry, &entry));
    entry = sound, entry.offset += 8;
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_entry_check(&geometry, &entry));
    entry = sound, entry.offset = 0; /* over the header */
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_entry_check(&geometry, &entry));
    entry = sound, entry.offset = UINT64_MAX - 4095;
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_entry_check(&geometry, &entry));
    entry = sound, entry.schema_nbytes = sizeof entry.schema + 1;
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_entry_check(&geometry, &entry));
}

TEST(an_entry_is_believed_only_with_doorbells_that_lie_in_its_object) {
    struct memlane_header geometry = header_new();
    struct memlane_entry sound;
    memset(&sound, 0, sizeof sound);
    strcpy(sound.name, "prices");
    sound.offset = geometry.objects_offset;
    sound.nbytes = geometry.nbytes - geometry.objects_offset;
    const uint64_t nbytes = sound.nbytes;
    static const struct memlane_doorbells zero;
    const struct memlane_doorbells fit[] = {
        zero, {nbytes - 64, 64, 1}, {0, 64, (uint32_t)(nbytes / 64)}, {64, UINT32_MAX - 63, 1}, {1, 1, 0},
    };
    const struct memlane_doorbells unfit[] = {
        {nbytes, 64, 1},
        {nbytes - 64, 64, 2},
        {nbytes - 32, 64, 1},
        {UINT64_MAX - 63, 64, 1},
        {32, 64, 1},
        {0, 0, 1},
        {0, 32, 2},
        {0, 96, 2},
        {0, UINT32_MAX - 63, 1024},
        {0, 64, MEMLANE_DOORBELLS_MAX + 1},
        {0, 64, UINT32_MAX},
    };
    for (int which = 0; which < 2; which++) {
        for (size_t i = 0; i < sizeof fit / sizeof *fit; i++) {
            struct memlane_entry entry = sound;
            *(which ? &entry.doorbells_later : &entry.doorbells_at_once) = fit[i];
            CHECK_EQUAL(fit[i].count <= MEMLANE_DOORBELLS_MAX ? MEMLANE_OK : MEMLANE_CORRUPTED,
                        memlane_entry_check(&geometry, &entry));
        }
        for (size_t i = 0; i < sizeof unfit / sizeof *unfit; i++) {
            struct memlane_entry entry = sound;
            *(which ? &entry.doorbells_later : &entry.doorbells_at_once) = unfit[i];
            CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_entry_check(&geometry, &entry));
        }
    }
}

TEST(the_doorbells_that_rings_and_slots_tell_of_are_where_their_structures_have_them) {
    struct memlane_doorbells at_once, later;
    struct memlane_ring_shape ring;
    struct memlane_slots_shape slots;
    for (uint64_t lanes = 1; lanes <= MEMLANE_LANES_MAX; lanes += 333) {
        CHECK(memlane_ring_lay_out(&ring, lanes, 4096, 1));
        memlane_ring_tell_doorbells(lanes, &at_once, &later);
        CHECK(memlane_doorbells_fit(&at_once, ring.nbytes) && memlane_doorbells_fit(&later, ring.nbytes));
        CHECK(at_once.offset == 128 && at_once.count == 1);
        CHECK(later.offset == 256 + 384 && later.stride == 512 && later.count == lanes);
        CHECK(later.offset + (lanes - 1) * later.stride + 64 <= ring.consumers_offset);
    }
    for (uint64_t watchers = 0; watchers <= MEMLANE_WATCHERS_MAX; watchers += 32) {
        CHECK(memlane_slots_lay_out(&slots, 1, 0, 2, watchers, 1));
        memlane_slots_tell_doorbells(watchers, &at_once, &later);
        CHECK(memlane_doorbells_fit(&later, slots.nbytes) && at_once.count == 0 && later.count == watchers);
        CHECK(later.offset == 64 && later.stride == 128);
        CHECK(later.offset + watchers * later.stride <= slots.slots_offset + 64);
    }
}

/* A region in private memory that has a directory and no objects. */
static struct memlane_header *region_new(struct memlane_header *geometry) {
    *geometry = header_new();
    struct memlane_header *shared = check_allocate(MEMLANE_ALIGNMENT, geometry->objects_offset);
    memset(shared, 0, geometry->objects_offset);
    memcpy(shared, geometry, sizeof *geometry);
    return shared;
}

static struct memlane_entry entry_new(const char *name, uint64_t offset, uint64_t nbytes) {
    struct memlane_entry entry;
    memset(&entry, 0, sizeof entry);
    strcpy(entry.name, name);
    entry.offset = offset;
    entry.nbytes = nbytes;
    memset(entry.schema, 's', sizeof entry.schema);
    entry.schema_nbytes = sizeof entry.schema;
    return entry;
}

TEST(an_entry_is_counted_after_it_is_written_and_a_hostile_count_ends_at_the_table) {
    struct memlane_header geometry;
    struct memlane_header *shared = region_new(&geometry);
    struct memlane_entry entry = entry_new("ring", 4096, 64), found;
    CHECK_EQUAL(0, memlane_directory_count(shared, geometry.entries));
    CHECK_EQUAL(2, memlane_directory_add(shared, &geometry, 0, &entry));
    CHECK_EQUAL(2, memlane_directory_add(shared, &geometry, 1, &entry));
    CHECK_EQUAL(2, memlane_directory_count(shared, geometry.entries));
    CHECK_EQUAL(2, memlane_entry_read(memlane_entry_at(shared, &geometry, 1), &found));
    CHECK_BYTES(&entry, &found, offsetof(struct memlane_entry, sequence));
    CHECK_BYTES(entry.schema, found.schema, sizeof entry.schema);
    memlane_directory_add(shared, &geometry, geometry.entries - 1, &entry); /* the last one ends the table */
    atomic_store(&shared->count, UINT64_MAX);
    CHECK_EQUAL(geometry.entries, memlane_directory_count(shared, geometry.entries));
    free(shared);
}

TEST(an_entry_that_is_written_again_does_not_lower_the_count) {
    struct memlane_header geometry;
    struct memlane_header *shared = region_new(&geometry);
    struct memlane_entry entry = entry_new("ring", 4096, 64);
    for (uint64_t i = 0; i < 3; i++)
        memlane_directory_add(shared, &geometry, i, &entry);
    memlane_directory_add(shared, &geometry, 1, &entry);
    CHECK_EQUAL(3, memlane_directory_count(shared, geometry.entries));
    free(shared);
}

TEST(each_step_of_an_entry_is_seen_by_those_who_have_it_open_and_no_number_comes_twice) {
    struct memlane_header geometry;
    struct memlane_header *shared = region_new(&geometry);
    struct memlane_entry *at = memlane_entry_at(shared, &geometry, 0), entry = entry_new("ring", 4096, 64), found;
    uint64_t last = 0;
    for (int round = 0; round < 1000; round++) {
        CHECK_EQUAL(0, memlane_directory_pick(shared, &geometry, round == 0 ? 0 : 1));
        uint64_t sequence = memlane_directory_add(shared, &geometry, 0, &entry);
        CHECK(sequence > last);
        CHECK_EQUAL(MEMLANE_ENTRY_VALID, memlane_entry_state_of(sequence));
        CHECK(memlane_entry_stands(at, sequence) && memlane_entry_stands_ordered(at, sequence));
        CHECK_EQUAL(1, memlane_directory_pick(shared, &geometry, 1));
        memlane_entry_free(at); /* a valid one stays what it is */
        CHECK(memlane_entry_stands(at, sequence));

        CHECK(!memlane_entry_remove(at, last)); /* somebody knew the one before */
        CHECK(memlane_entry_remove(at, sequence));
        CHECK(!memlane_entry_remove(at, sequence));
        CHECK(!memlane_entry_stands(at, sequence) && !memlane_entry_stands_ordered(at, sequence));
        CHECK_EQUAL(MEMLANE_ENTRY_REMOVED, memlane_entry_state_of(memlane_entry_read(at, &found)));
        CHECK_EQUAL(4096, found.offset); /* its room is known until it is free */
        CHECK_EQUAL(1, memlane_directory_pick(shared, &geometry, 1));

        memlane_entry_free(at);
        memlane_entry_free(at);
        CHECK_EQUAL(MEMLANE_ENTRY_FREE, memlane_entry_state_of(memlane_entry_read(at, &found)));
        CHECK(!memlane_entry_stands(at, sequence));
        last = sequence;
    }
    free(shared);
}

TEST(an_entry_whose_writer_died_at_any_step_is_not_seen_and_the_next_adder_takes_it) {
    for (uint64_t left = 0; left < 3; left++) { /* WRITING, VALID but not counted, FREE */
        struct memlane_header geometry;
        struct memlane_header *shared = region_new(&geometry);
        struct memlane_entry *at = memlane_entry_at(shared, &geometry, 0), entry = entry_new("ring", 4096, 64), found;
        static const uint64_t sequences[] = {4 + MEMLANE_ENTRY_WRITING, 4 + MEMLANE_ENTRY_VALID, 8};
        atomic_store(&at->sequence, sequences[left]);
        if (left != 1)
            CHECK(memlane_entry_state_of(memlane_entry_read(at, &found)) < MEMLANE_ENTRY_VALID);
        CHECK_EQUAL(0, memlane_directory_count(shared, geometry.entries));
        CHECK_EQUAL(0, memlane_directory_pick(shared, &geometry, 0));
        CHECK(memlane_directory_add(shared, &geometry, 0, &entry) > sequences[left]);
        CHECK_EQUAL(1, memlane_directory_count(shared, geometry.entries));
        free(shared);
    }
}

TEST(rooms_are_given_to_the_first_gap_that_is_large_enough) {
    struct memlane_room rooms[4];
    size_t count = 0;
    uint64_t offset;
    const uint64_t page = MEMLANE_ALIGNMENT, end = 20 * page;
    CHECK(memlane_room_find(rooms, 0, page, end, 19 * page, &offset) && offset == page);
    CHECK(!memlane_room_find(rooms, 0, page, end, 19 * page + 1, &offset) && offset == 19 * page);
    struct memlane_entry entries[] = {entry_new("c", 12 * page, 3 * page), entry_new("a", page, 2 * page + 1),
                                      entry_new("b", 6 * page, 64)};
    for (int i = 0; i < 3; i++)
        memlane_room_note(rooms, &count, &entries[i]); /* taken: 1 to 3, 6, 12 to 14 */
    CHECK_EQUAL(3, count);
    CHECK(memlane_room_find(rooms, count, page, end, 1, &offset) && offset == 4 * page);
    CHECK(memlane_room_find(rooms, count, page, end, 2 * page, &offset) && offset == 4 * page);
    CHECK(memlane_room_find(rooms, count, page, end, 2 * page + 1, &offset) && offset == 7 * page);
    CHECK(memlane_room_find(rooms, count, page, end, 5 * page, &offset) && offset == 7 * page);
    CHECK(!memlane_room_find(rooms, count, page, end, 6 * page, &offset) && offset == 5 * page);
    CHECK(!memlane_room_find(rooms, count, page, end, UINT64_MAX, &offset) && offset == 5 * page);
}

TEST(rooms_that_overlap_by_spoilt_bytes_are_never_given_away) {
    uint64_t random = 17;
    struct memlane_header geometry = header_new();
    geometry.nbytes = geometry.objects_offset + 64 * MEMLANE_ALIGNMENT;
    for (int round = 0; round < 20000; round++) {
        struct memlane_room rooms[8];
        size_t count = 0;
        for (uint64_t left = check_below(&random, 8); left > 0; left--) {
            uint64_t at = geometry.objects_offset + check_below(&random, 64) * MEMLANE_ALIGNMENT;
            struct memlane_entry entry = entry_new("x", at, check_below(&random, geometry.nbytes - at + 1));
            CHECK_EQUAL(MEMLANE_OK, memlane_entry_check(&geometry, &entry));
            memlane_room_note(rooms, &count, &entry);
        }
        uint64_t nbytes = 1 + check_below(&random, 70 * MEMLANE_ALIGNMENT), offset;
        if (!memlane_room_find(rooms, count, geometry.objects_offset, geometry.nbytes, nbytes, &offset)) {
            CHECK(offset < nbytes);
            continue;
        }
        CHECK_EQUAL(0, offset % MEMLANE_ALIGNMENT);
        CHECK(offset >= geometry.objects_offset && memlane_range_fits(offset, nbytes, geometry.nbytes));
        for (size_t i = 0; i < count; i++)
            CHECK(rooms[i].end <= offset || rooms[i].offset >= offset + nbytes);
    }
}

/* A process that reads an entry while it is removed and made again: another one each time, by all its words. */
struct rewriter {
    struct memlane_header *shared;
    struct memlane_header geometry;
    _Atomic int ended;
};

static void *rewrite(void *of) {
    struct rewriter *rewriter = of;
    struct memlane_entry *at = memlane_entry_at(rewriter->shared, &rewriter->geometry, 0);
    for (int round = 0; round < 20000; round++) {
        struct memlane_entry entry = entry_new("x", 4096, 64);
        memset(entry.name, 'a' + round % 26, 8);
        memset(entry.schema, 'a' + round % 26, sizeof entry.schema);
        uint64_t sequence = memlane_directory_add(rewriter->shared, &rewriter->geometry, 0, &entry);
        CHECK(memlane_entry_remove(at, sequence));
        memlane_entry_free(at);
    }
    atomic_store(&rewriter->ended, 1);
    return NULL;
}

TEST(an_entry_that_is_removed_and_made_again_meanwhile_is_read_whole_or_not_at_all) {
    struct rewriter rewriter = {.ended = 0};
    rewriter.shared = region_new(&rewriter.geometry);
    pthread_t thread;
    CHECK_EQUAL(0, pthread_create(&thread, NULL, rewrite, &rewriter));
    struct memlane_entry entry;
    while (!atomic_load(&rewriter.ended)) {
        uint64_t sequence = memlane_entry_read(memlane_entry_at(rewriter.shared, &rewriter.geometry, 0), &entry);
        if (memlane_entry_state_of(sequence) < MEMLANE_ENTRY_VALID)
            continue;
        for (size_t i = 0; i < sizeof entry.schema; i++)
            CHECK_EQUAL(entry.name[0], entry.schema[i]);
    }
    CHECK_EQUAL(0, pthread_join(thread, NULL));
    free(rewriter.shared);
}

TEST(who_holds_the_creation_byte_is_noted_and_wiped) {
    struct memlane_header header = header_new();
    CHECK_EQUAL(0, memlane_creation_holder(&header));
    memlane_creation_note(&header, 4711);
    CHECK_EQUAL(4711, memlane_creation_holder(&header));
    memlane_creation_note(&header, 0);
    CHECK_EQUAL(0, memlane_creation_holder(&header));
}

TEST(the_parts_of_a_ring_follow_each_other_without_overlap_up_to_the_largest) {
    static const uint64_t shapes[][3] = {
        {1, 4096, 1}, {3, 8192, 5}, {1000, UINT64_C(1) << 35, 1 << 24}, {7, 12288, 256}, {1, 4096, 257},
    };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct memlane_ring_shape shape;
        CHECK(memlane_ring_lay_out(&shape, shapes[i][0], shapes[i][1], shapes[i][2]));
        CHECK(shape.descriptors >= shape.records && shape.descriptors / 2 < shape.records);
        CHECK_EQUAL(0, shape.descriptors & (shape.descriptors - 1));
        CHECK(shape.data_offset >= 256 + 512 * shape.lanes);
        CHECK_EQUAL(0, shape.data_offset % MEMLANE_ALIGNMENT);
        CHECK(shape.bytes_offset >= 24 * shape.descriptors);
        CHECK_EQUAL(0, shape.bytes_offset % MEMLANE_ALIGNMENT);
        CHECK_EQUAL(shape.bytes_offset + shape.capacity, shape.data_nbytes);
        CHECK_EQUAL(shape.data_offset + shape.lanes * shape.data_nbytes, shape.nbytes);
    }
}

TEST(a_ring_or_a_table_of_slots_out_of_range_is_refused) {
    struct memlane_ring_shape ring;
    CHECK(!memlane_ring_lay_out(&ring, 0, 4096, 1));
    CHECK(!memlane_ring_lay_out(&ring, 1001, 4096, 1));
    CHECK(!memlane_ring_lay_out(&ring, 1, 0, 1));
    CHECK(!memlane_ring_lay_out(&ring, 1, 4095, 1));
    CHECK(!memlane_ring_lay_out(&ring, 1, (UINT64_C(1) << 35) + 4096, 1));
    CHECK(!memlane_ring_lay_out(&ring, 1, UINT64_MAX - 4095, 1));
    CHECK(!memlane_ring_lay_out(&ring, 1, 4096, 0));
    CHECK(!memlane_ring_lay_out(&ring, 1, 4096, (1 << 24) + 1));
    CHECK(!memlane_ring_lay_out(&ring, UINT64_MAX, UINT64_MAX, UINT64_MAX));

    struct memlane_slots_shape slots;
    CHECK(memlane_slots_lay_out(&slots, 1 << 20, UINT64_C(1) << 32, 256, 64, 2));
    CHECK(slots.nbytes < UINT64_C(1) << 63);
    CHECK(!memlane_slots_lay_out(&slots, 0, 8, 4, 64, 1));
    CHECK(!memlane_slots_lay_out(&slots, 1, UINT64_MAX, 4, 64, 1));
    CHECK(!memlane_slots_lay_out(&slots, 1, 8, 1, 64, 1));
    CHECK(!memlane_slots_lay_out(&slots, 1, 8, 3, 64, 1));
    CHECK(!memlane_slots_lay_out(&slots, 1, 8, 512, 64, 1));
    CHECK(!memlane_slots_lay_out(&slots, 1, 8, 4, 65, 1));
    CHECK(!memlane_slots_lay_out(&slots, 1, 8, 4, 64, 0));
    CHECK(!memlane_slots_lay_out(&slots, 1, 8, 4, 64, 3));
}

TEST(the_copies_of_a_slot_have_lines_of_their_own_and_room_for_the_last_word) {
    for (uint64_t nbytes = 0; nbytes < 200; nbytes++) {
        struct memlane_slots_shape slots;
        CHECK(memlane_slots_lay_out(&slots, 3, nbytes, 4, 2, 1));
        CHECK_EQUAL(0, slots.copy_stride % 64);
        CHECK_EQUAL(0, slots.slots_offset % 64);
        CHECK_EQUAL(0, slots.copies_offset % 64);
        CHECK(slots.copies_offset >= sizeof(struct memlane_slot_control) + 4 * sizeof(struct memlane_copy_stamp));
        CHECK(slots.copy_stride >= ((nbytes + 7) & ~UINT64_C(7)));
        CHECK_EQUAL(slots.copies_offset + 4 * slots.copy_stride, slots.slot_stride);
        CHECK_EQUAL(slots.slots_offset + 3 * slots.slot_stride, slots.nbytes);
    }
}

MAIN
