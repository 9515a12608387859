/* SPDX-License-Identifier: MIT
 *
 * The slot in one thread: writers killed at odd, their successors, and the exact moment when a copy stops to be
 * valid, set by hand.
 */
#include "check.h"
#include "core/directory.h"
#include "core/words.h"

/* What the writer does while a reader copies: runs after the words were loaded, before the second look. */
static void (*meanwhile)(void);
static void words_load_meanwhile(void *restrict to, const _Atomic uint64_t *from, size_t nbytes) {
    memlane_words_load(to, from, nbytes);
    if (meanwhile)
        meanwhile();
}
#define memlane_words_load words_load_meanwhile
#include "core/slot.h"
#undef memlane_words_load

static struct memlane_slot slot_new(uint64_t nbytes, uint64_t copies) {
    struct memlane_slots_shape shape;
    CHECK(memlane_slots_lay_out(&shape, 1, nbytes, copies, 0, 1));
    struct memlane_slot slot = {.nbytes = nbytes, .stride = shape.copy_stride, .mask = copies - 1};
    slot.control = check_allocate(64, sizeof *slot.control);
    slot.stamps = check_allocate(64, copies * sizeof *slot.stamps);
    slot.copies = check_allocate(64, copies * slot.stride);
    return slot;
}

static void slot_free(struct memlane_slot *slot) {
    free(slot->control);
    free(slot->stamps);
    free(slot->copies);
}

static uint64_t sequence_of(const struct memlane_slot *slot) { return atomic_load(&slot->control->sequence); }

static void value_of(unsigned char *value, uint64_t nbytes, uint64_t version) {
    for (uint64_t i = 0; i < nbytes; i++)
        value[i] = (unsigned char)(version * 17 + i);
}

static uint64_t publish(struct memlane_slot *slot, uint64_t version) {
    unsigned char *value = check_allocate(8, slot->nbytes); /* exactly as long as said */
    value_of(value, slot->nbytes, version);
    uint64_t published = memlane_slot_publish(slot, value, version * 10, version * 100);
    free(value);
    return published;
}

static void check_reads(const struct memlane_slot *slot, uint64_t version) {
    unsigned char *expected = check_allocate(8, slot->nbytes), *value = check_allocate(8, slot->nbytes);
    struct memlane_stamp stamp;
    uint64_t found;
    value_of(expected, slot->nbytes, version);
    memlane_slot_prefetch(slot, version + 1);
    CHECK_EQUAL(MEMLANE_OK, memlane_slot_read(slot, value, &found));
    CHECK_EQUAL(version, found);
    CHECK_EQUAL(MEMLANE_OK, memlane_slot_read_stamp(slot, &stamp));
    CHECK_EQUAL(version, stamp.version);
    CHECK_EQUAL(version * 10, stamp.published_ns);
    CHECK_EQUAL(version * 100, stamp.boot);
    CHECK_BYTES(expected, value, slot->nbytes);
    memset(value, 0, slot->nbytes);
    memset(&stamp, 0, sizeof stamp);
    CHECK_EQUAL(MEMLANE_OK, memlane_slot_read_stamped(slot, value, &stamp));
    CHECK_EQUAL(version, stamp.version);
    CHECK_EQUAL(version * 10, stamp.published_ns);
    CHECK_EQUAL(version * 100, stamp.boot);
    CHECK_BYTES(expected, value, slot->nbytes);
    CHECK_EQUAL(version, memlane_slot_version(slot));
    free(expected);
    free(value);
}

TEST(a_slot_never_published_is_empty_and_has_version_0) {
    struct memlane_slot slot = slot_new(8, 4);
    uint64_t value, version;
    struct memlane_stamp stamp;
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_slot_read(&slot, &value, &version));
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_slot_read_stamp(&slot, &stamp));
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_slot_read_stamped(&slot, NULL, &stamp));
    CHECK_EQUAL(0, memlane_slot_version(&slot));

    atomic_store(&slot.control->sequence, 1); /* the first publish ever, killed inside */
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_slot_read(&slot, &value, &version));
    CHECK_EQUAL(0, memlane_slot_version(&slot));
    CHECK_EQUAL(1, publish(&slot, 1));
    check_reads(&slot, 1);
    slot_free(&slot);
}

TEST(each_version_is_read_back_whole_whatever_its_size_and_the_number_of_copies) {
    for (uint64_t copies = 2; copies <= 8; copies *= 2)
        for (uint64_t nbytes = 0; nbytes <= 130; nbytes += nbytes < 20 ? 1 : 11) {
            struct memlane_slot slot = slot_new(nbytes, copies);
            CHECK_EQUAL(0, slot.stride % 64);
            for (uint64_t version = 1; version <= 2 * copies + 1; version++) {
                CHECK_EQUAL(version, publish(&slot, version));
                CHECK_EQUAL(2 * version, sequence_of(&slot));
                check_reads(&slot, version);
            }
            slot_free(&slot);
        }
}

TEST(a_writer_that_died_inside_publish_leaves_the_version_before_readable_for_ever) {
    for (uint64_t copies = 2; copies <= 8; copies *= 2) {
        struct memlane_slot slot = slot_new(24, copies);
        for (uint64_t version = 1; version <= 5; version++)
            publish(&slot, version);
        atomic_store(&slot.control->sequence, 11);
        memset((void *)memlane_copy_of(&slot, 6), 0xee, 13); /* half a value, and its stamp */
        memset((void *)memlane_stamp_of(&slot, 6), 0xee, sizeof *slot.stamps);
        check_reads(&slot, 5);
        check_reads(&slot, 5);
        slot_free(&slot);
    }
}

TEST(successors_that_are_killed_at_odd_one_after_another_go_on_from_the_same_version) {
    struct memlane_slot slot = slot_new(24, 2);
    for (uint64_t version = 1; version <= 5; version++)
        publish(&slot, version);
    for (uint32_t dead = 1; dead <= 3; dead++) { /* each takes the role from the one before and dies inside */
        CHECK(memlane_writer_take(slot.control, dead - 1, dead));
        atomic_store(&slot.control->sequence, 11);
        memset((void *)memlane_copy_of(&slot, 6), (int)dead, slot.stride);
        memset((void *)memlane_stamp_of(&slot, 6), (int)dead, sizeof *slot.stamps);
        check_reads(&slot, 5);
    }
    CHECK(!memlane_writer_take(slot.control, 2, 4)); /* not the one who holds it */
    CHECK(memlane_writer_take(slot.control, 3, 4));
    CHECK_EQUAL(6, publish(&slot, 6));
    CHECK_EQUAL(12, sequence_of(&slot));
    check_reads(&slot, 6);
    slot_free(&slot);
}

static struct memlane_slot *overtaken;
static uint64_t sequence_after;
static void move_the_sequence(void) { atomic_store(&overtaken->control->sequence, sequence_after); }

TEST(a_copy_is_valid_up_to_sequence_2_times_version_plus_copies_minus_1_and_not_one_further) {
    for (uint64_t copies = 2; copies <= 8; copies *= 2) {
        struct memlane_slot slot = slot_new(16, copies);
        const uint64_t version = 9, last = 2 * (version + copies - 1);
        unsigned char value[16];
        uint64_t found;
        for (uint64_t v = 1; v <= version; v++)
            publish(&slot, v);
        overtaken = &slot;
        meanwhile = move_the_sequence;
        for (sequence_after = 2 * version; sequence_after <= last; sequence_after++) {
            atomic_store(&slot.control->sequence, 2 * version);
            CHECK_EQUAL(MEMLANE_OK, memlane_slot_read(&slot, value, &found));
            CHECK_EQUAL(version, found);
        }
        /* one too far, much too far, and back, which only a hostile writer does */
        const uint64_t beyond[] = {last + 1, last + 2, 100 * last, UINT64_MAX, 2 * version - 1, 0};
        for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++) {
            atomic_store(&slot.control->sequence, 2 * version);
            sequence_after = beyond[i];
            CHECK_EQUAL(MEMLANE_BUSY, memlane_slot_read(&slot, value, &found));
        }
        meanwhile = NULL;
        slot_free(&slot);
    }
}

static void publish_copies_minus_1(void) {
    for (uint64_t i = 0; i < overtaken->mask; i++)
        publish(overtaken, memlane_slot_version(overtaken) + 1);
    /* and the next writer stops just before it touches a byte */
    atomic_fetch_add(&overtaken->control->sequence, sequence_after);
}

TEST(a_reader_that_was_stopped_while_copies_minus_1_versions_came_still_has_a_whole_value) {
    for (uint64_t copies = 2; copies <= 8; copies *= 2)
        for (sequence_after = 0; sequence_after <= 1; sequence_after++) {
            struct memlane_slot slot = slot_new(16, copies);
            unsigned char value[16], expected[16];
            uint64_t found;
            for (uint64_t v = 1; v <= 9; v++)
                publish(&slot, v);
            overtaken = &slot;
            meanwhile = publish_copies_minus_1;
            enum memlane_status status = memlane_slot_read(&slot, value, &found);
            meanwhile = NULL;
            CHECK_EQUAL(sequence_after == 0 ? MEMLANE_OK : MEMLANE_BUSY, status);
            value_of(expected, sizeof expected, 9);
            CHECK_BYTES(expected, value, sizeof value);
            slot_free(&slot);
        }
}

TEST(versions_go_on_where_the_sequence_nears_2_to_the_63_and_2_to_the_64) {
    static const uint64_t starts[] = {(UINT64_C(1) << 63) - 10, (UINT64_C(1) << 32) - 10, UINT64_MAX - 31};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++)
        for (uint64_t copies = 2; copies <= 8; copies *= 2) {
            struct memlane_slot slot = slot_new(13, copies);
            atomic_store(&slot.control->sequence, starts[i]);
            for (uint64_t version = starts[i] / 2 + 1; version <= starts[i] / 2 + 12; version++) {
                CHECK_EQUAL(version, publish(&slot, version));
                check_reads(&slot, version);
            }
            slot_free(&slot);
        }
}

TEST(a_value_without_bytes_still_has_versions_and_a_stamp) {
    struct memlane_slot slot = slot_new(0, 2);
    CHECK_EQUAL(0, slot.stride);
    for (uint64_t version = 1; version <= 5; version++) {
        publish(&slot, version);
        check_reads(&slot, version);
    }
    slot_free(&slot);
}

MAIN
