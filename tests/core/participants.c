/* SPDX-License-Identifier: MIT
 *
 * Rows, generations and tags. Each "and then" is a process that was stopped and goes on at the worst moment.
 */
#include "check.h"
#include "core/participants.h"

static uint64_t joined(struct memlane_row *row) {
    uint64_t generation = 0;
    CHECK(memlane_row_join(row, &generation));
    return generation;
}

TEST(a_row_goes_from_even_to_odd_and_back_and_is_joined_only_when_even) {
    struct memlane_row row = {0};
    CHECK_EQUAL(1, joined(&row));
    uint64_t generation = 99;
    CHECK(!memlane_row_join(&row, &generation));
    CHECK_EQUAL(99, generation);
    CHECK(memlane_row_leave(&row, 1));
    CHECK_EQUAL(2, row.generation);
    CHECK_EQUAL(3, joined(&row));
}

TEST(one_taken_for_dead_that_leaves_late_does_not_free_the_row_of_a_newcomer) {
    struct memlane_row row = {0};
    uint64_t old = joined(&row);
    memlane_row_mark_dead(&row, old);
    uint64_t newcomer = joined(&row);
    CHECK(!memlane_row_leave(&row, old));
    CHECK_EQUAL(newcomer, row.generation);
    CHECK(memlane_row_leave(&row, newcomer));
}

TEST(a_proof_of_death_that_comes_late_does_not_touch_who_joined_meanwhile) {
    struct memlane_row row = {0};
    uint64_t dead = joined(&row), seen;
    CHECK(memlane_row_is(&row, memlane_tag(5, dead), &seen)); /* A looks, sees the byte unlocked, and is stopped */
    memlane_row_mark_dead(&row, dead); /* B comes to the same proof */
    uint64_t newcomer = joined(&row); /* C joins there */
    memlane_row_mark_dead(&row, seen); /* A goes on */
    CHECK_EQUAL(newcomer, row.generation);
}

TEST(of_two_burials_of_one_death_only_one_counts) {
    struct memlane_row row = {0};
    uint64_t dead = joined(&row);
    memlane_row_mark_dead(&row, dead);
    memlane_row_mark_dead(&row, dead);
    CHECK_EQUAL(dead + 1, row.generation);
}

TEST(a_tag_is_recognised_while_its_owner_is_there_and_never_again) {
    struct memlane_row row = {0};
    uint64_t generation = joined(&row), seen = 0;
    uint32_t tag = memlane_tag(1023, generation);
    CHECK_EQUAL(1023, memlane_tag_row(tag));
    CHECK(memlane_row_is(&row, tag, &seen));
    CHECK_EQUAL(generation, seen);
    CHECK(memlane_row_leave(&row, generation));
    for (int later = 0; later < 1000; later++) {
        CHECK(!memlane_row_is(&row, tag, &seen));
        generation = joined(&row);
        CHECK(!memlane_row_is(&row, tag, &seen));
        CHECK(memlane_row_leave(&row, generation));
    }
}

TEST(an_even_generation_makes_every_tag_of_the_row_dead) {
    struct memlane_row row = {0};
    uint64_t seen;
    CHECK(!memlane_row_is(&row, memlane_tag(0, 0), &seen));
    row.generation = 8;
    CHECK(!memlane_row_is(&row, memlane_tag(0, 8), &seen)); /* nobody writes such a tag except one that means harm */
    CHECK(!memlane_row_is(&row, memlane_tag(0, 7), &seen));
}

TEST(a_row_is_retired_before_its_tags_come_back) {
    struct memlane_row row = {0};
    uint64_t generation;
    row.generation = (UINT64_C(1) << 22) - 4;
    generation = joined(&row);
    CHECK(memlane_row_leave(&row, generation));
    CHECK(!memlane_row_join(&row, &generation));
    CHECK_EQUAL((UINT64_C(1) << 22) - 2, row.generation);

    /* no two generations that can be joined share a tag */
    CHECK_EQUAL(MEMLANE_GENERATION_RETIRED, row.generation);
    CHECK(MEMLANE_GENERATION_RETIRED <= MEMLANE_GENERATION_MASK);
    row.generation = UINT64_MAX - 1; /* hostile: neither joined nor wrapped to 0 */
    CHECK(!memlane_row_join(&row, &generation));
}

TEST(no_tag_of_one_who_joined_is_zero) {
    for (uint32_t row = 0; row < MEMLANE_ROWS_MAX; row += 33)
        for (uint64_t generation = 1; generation < MEMLANE_GENERATION_RETIRED; generation += 2 * 4999) {
            uint32_t tag = memlane_tag(row, generation);
            CHECK(tag != MEMLANE_TAG_NONE);
            CHECK(tag >> MEMLANE_TAG_ROW_BITS & 1); /* odd, so none of the words of an owner either */
            CHECK_EQUAL(row, memlane_tag_row(tag));
        }
}

TEST(a_description_is_cut_to_40_bytes_and_always_ends) {
    struct memlane_row row = {0};
    uint32_t pid;
    uint64_t start_time;
    char name[41];
    memlane_row_describe(&row, 4711, 99, "python worker.py");
    memlane_row_description(&row, &pid, &start_time, name);
    CHECK_EQUAL(4711, pid);
    CHECK_EQUAL(99, start_time);
    CHECK_BYTES("python worker.py", name, sizeof "python worker.py");

    char *long_name = check_allocate(8, 42);
    memset(long_name, 'x', 41);
    memlane_row_describe(&row, 1, 2, long_name);
    memlane_row_description(&row, &pid, &start_time, name);
    CHECK_EQUAL(40, strlen(name));
    CHECK_EQUAL(0, memlane_row_generation(&row)); /* nothing else of the row was touched */
    free(long_name);

    memset(row.name, 0xff, sizeof row.name); /* hostile: no NUL anywhere */
    memlane_row_description(&row, &pid, &start_time, name);
    CHECK_EQUAL(40, strlen(name));
}

MAIN
