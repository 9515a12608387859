/* SPDX-License-Identifier: MIT
 *
 * Who gets from a ring. Each "and then" is a process that was stopped and goes on at the worst moment.
 */
#include "check.h"
#include "core/peers.h"

static uint32_t tag_of(uint32_t row, uint64_t generation) { return memlane_tag(row, generation); }

TEST(a_consumer_is_found_under_its_row_from_when_it_comes_until_it_leaves) {
    struct memlane_ring_control control = {0};
    _Atomic uint32_t table[MEMLANE_ROWS_MAX] = {0};
    CHECK_EQUAL(0, memlane_peers_came(&control));
    memlane_peers_come(&control, table, tag_of(7, 3));
    CHECK_EQUAL(1, memlane_peers_came(&control));
    CHECK_EQUAL(tag_of(7, 3), memlane_peers_at(table, 7));
    CHECK_EQUAL(0, memlane_peers_at(table, 6));
    CHECK(memlane_peers_clear(table, tag_of(7, 3)));
    CHECK(!memlane_peers_clear(table, tag_of(7, 3)));
    CHECK_EQUAL(0, memlane_peers_at(table, 7));
    CHECK_EQUAL(1, memlane_peers_came(&control));
}

TEST(the_one_consumer_is_counted_and_needs_no_table) {
    struct memlane_ring_control control = {0};
    memlane_peers_come(&control, NULL, tag_of(7, 3));
    CHECK_EQUAL(1, memlane_peers_came(&control));
    CHECK_EQUAL(0, memlane_peers_died(&control));
    memlane_peers_note_dead(&control);
    CHECK_EQUAL(1, memlane_peers_died(&control));
}

TEST(a_proof_of_death_that_comes_late_does_not_touch_who_got_the_row_meanwhile) {
    struct memlane_ring_control control = {0};
    _Atomic uint32_t table[MEMLANE_ROWS_MAX] = {0};
    memlane_peers_come(&control, table, tag_of(7, 3));
    uint32_t seen = memlane_peers_at(table, 7); /* A proves it dead, and is stopped */
    memlane_peers_come(&control, table, tag_of(7, 5)); /* B has the row, and the word */
    CHECK(!memlane_peers_clear(table, seen));
    CHECK_EQUAL(tag_of(7, 5), memlane_peers_at(table, 7));
}

TEST(a_word_that_names_another_row_is_nobody) {
    _Atomic uint32_t table[MEMLANE_ROWS_MAX] = {0};
    table[7] = tag_of(8, 3);
    CHECK_EQUAL(0, memlane_peers_at(table, 7));
    table[0] = UINT32_MAX;
    CHECK_EQUAL(0, memlane_peers_at(table, 0));
}

TEST(who_comes_behind_a_walk_before_another_one_leaves_in_front_of_it_is_not_overlooked) {
    struct memlane_ring_control control = {0};
    _Atomic uint32_t table[MEMLANE_ROWS_MAX] = {0};
    uint32_t row = 0, tag;
    memlane_peers_come(&control, table, tag_of(5, 3));
    memlane_peers_come(&control, table, tag_of(9, 3));
    uint64_t came = memlane_peers_came(&control);
    CHECK_EQUAL(MEMLANE_OK, memlane_peers_next(&control, table, MEMLANE_ROWS_MAX, came, &row, &tag));
    CHECK_EQUAL(5, row);
    CHECK_EQUAL(tag_of(5, 3), tag); /* which is proven dead, and then */
    memlane_peers_come(&control, table, tag_of(2, 3));
    CHECK(memlane_peers_clear(table, tag_of(9, 3)));
    row++;
    CHECK_EQUAL(MEMLANE_BUSY, memlane_peers_next(&control, table, MEMLANE_ROWS_MAX, came, &row, &tag));
    row = 0;
    came = memlane_peers_came(&control);
    CHECK_EQUAL(MEMLANE_OK, memlane_peers_next(&control, table, MEMLANE_ROWS_MAX, came, &row, &tag));
    CHECK_EQUAL(2, row);
}

TEST(a_walk_that_meets_nobody_and_sees_nobody_come_says_so) {
    struct memlane_ring_control control = {0};
    _Atomic uint32_t table[MEMLANE_ROWS_MAX] = {0};
    uint32_t row = 0, tag;
    memlane_peers_come(&control, table, tag_of(5, 3));
    CHECK(memlane_peers_clear(table, tag_of(5, 3)));
    CHECK(!memlane_peers_has_left(&table[5], MEMLANE_TAG_NONE));
    CHECK(memlane_peers_has_left(&table[5], tag_of(5, 3)));
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_peers_next(&control, table, 8, 1, &row, &tag));
    CHECK_EQUAL(8, row);
}

MAIN
