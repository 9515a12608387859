/* SPDX-License-Identifier: MIT
 *
 * Selectors: which ones a change wakes, how often, and what is left where one dies or is overtaken in front of any
 * access. Descriptors are numbers here; tests/os has real ones.
 */
#include "steps.h"

#include "check.h"
#include "core/selectors.h"

enum { SELECTORS = 64, WORDS = 8, NUMBER = 1000 };
#define TAG UINT32_C(0x405)

static struct memlane_selector table[SELECTORS];
static _Atomic uint32_t words[WORDS]; /* of as many objects */
static _Atomic uint64_t changes[WORDS]; /* what is there to be seen at each */
static uint32_t sent[SELECTORS]; /* what lies in each descriptor */

/* Where word `i` is said to be: words that show different bits. */
static uint64_t interest_in(uint32_t i) { return memlane_selector_interest(4096 + UINT64_C(512) * i); }

static void nothing_happened(void) {
    memset(table, 0, sizeof table);
    memset(words, 0, sizeof words);
    memset(changes, 0, sizeof changes);
    memset(sent, 0, sizeof sent);
}

static void lease(uint32_t index) {
    CHECK(memlane_role_take(&table[index].owner, MEMLANE_TAG_NONE, TAG));
    memlane_selector_begin(&table[index], NUMBER + index, 7);
}

/* An owner that waits for word i: drain, arm, announce, look again. Returns: whether there is something. */
static bool wait_for(uint32_t index, uint32_t i) {
    step(); /* what comes here is drained, and must be seen */
    sent[index] = 0;
    memlane_selector_arm(&table[index], NUMBER + index, interest_in(i));
    memlane_selector_announce(&words[i], index);
    return atomic_load_explicit(&changes[i], memory_order_seq_cst) != 0;
}

/* A waker: change, look, take, send. */
static void change(uint32_t i) {
    struct memlane_selector_found found;
    uint32_t at = 0;
    atomic_fetch_add_explicit(&changes[i], 1, memory_order_seq_cst);
    if (!memlane_waiters_any(&words[i]))
        return;
    uint32_t classes = memlane_selectors_take(&words[i]);
    while (memlane_selectors_next(table, SELECTORS, classes, interest_in(i), &at, &found)) {
        CHECK_EQUAL(NUMBER + found.index, found.number);
        CHECK_EQUAL(7, found.network);
        step(); /* it may die between the taking and the send */
        sent[found.index]++;
    }
}

static void see_all(void) { memset(changes, 0, sizeof changes); }

TEST(a_change_wakes_every_selector_that_waits_there_once_for_each_arming) {
    nothing_happened();
    lease(3), lease(4), lease(40);
    CHECK(!wait_for(3, 0) && !wait_for(4, 0) && !wait_for(40, 0));
    change(0);
    CHECK(sent[3] == 1 && sent[4] == 1 && sent[40] == 1);
    change(0); /* nobody has armed since */
    CHECK(sent[3] == 1 && sent[4] == 1 && sent[40] == 1);
    see_all();
    CHECK(!wait_for(4, 0));
    change(0);
    CHECK(sent[3] == 1 && sent[4] == 1 && sent[40] == 1);
}

TEST(one_selector_that_waits_for_many_objects_is_woken_once_for_all_their_changes) {
    nothing_happened();
    lease(9);
    uint64_t interest = 0;
    for (uint32_t i = 0; i < WORDS; i++)
        interest |= interest_in(i);
    memlane_selector_arm(&table[9], NUMBER + 9, interest);
    for (uint32_t i = 0; i < WORDS; i++)
        memlane_selector_announce(&words[i], 9);
    for (uint32_t i = 0; i < WORDS; i++)
        change(i);
    CHECK_EQUAL(1, sent[9]);
}

TEST(a_selector_of_the_same_class_that_waits_for_another_object_is_left_alone) {
    nothing_happened();
    lease(2), lease(2 + MEMLANE_SELECTOR_CLASSES);
    CHECK(interest_in(0) != interest_in(1));
    CHECK(!wait_for(2, 0) && !wait_for(2 + MEMLANE_SELECTOR_CLASSES, 1));
    change(0);
    CHECK(sent[2] == 1 && sent[2 + MEMLANE_SELECTOR_CLASSES] == 0);
    change(1);
    CHECK(sent[2] == 1 && sent[2 + MEMLANE_SELECTOR_CLASSES] == 1);
}

TEST(a_walk_looks_at_no_selector_of_another_class) {
    nothing_happened();
    struct memlane_selector_found found;
    uint32_t at = 0;
    steps_made = 0;
    CHECK(!memlane_selectors_next(table, SELECTORS, 1 << 3, 1, &at, &found));
    CHECK_EQUAL(SELECTORS / MEMLANE_SELECTOR_CLASSES, steps_made);
}

TEST(two_bells_of_one_class_at_one_object_are_both_woken_though_they_share_a_bit) {
    nothing_happened();
    lease(2), lease(2 + MEMLANE_SELECTOR_CLASSES);
    CHECK(!wait_for(2, 0) && !wait_for(2 + MEMLANE_SELECTOR_CLASSES, 0));
    memlane_selector_disarm(&table[2], NUMBER + 2); /* takes no bit away: it is the other one's as well */
    change(0);
    CHECK(sent[2] == 0 && sent[2 + MEMLANE_SELECTOR_CLASSES] == 1);
}

TEST(an_object_that_is_added_to_an_armed_selector_wakes_it_too) {
    nothing_happened();
    lease(0);
    CHECK(!wait_for(0, 0));
    memlane_selector_widen(&table[0], interest_in(1));
    memlane_selector_announce(&words[1], 0);
    change(1);
    CHECK_EQUAL(1, sent[0]);
}

TEST(beside_sleepers_alone_nothing_is_taken_and_beside_bells_alone_no_sleeper_is_counted) {
    _Atomic uint32_t word = 0;
    memlane_waiters_announce(&word);
    steps_made = 0;
    CHECK_EQUAL(0, memlane_selectors_take(&word));
    CHECK_EQUAL(1, steps_made); /* a load: nothing is stored in a line that others look at */
    CHECK_EQUAL(1, memlane_waiters_count(&word));
    memlane_selector_announce(&word, 17);
    memlane_selector_announce(&word, 1); /* the same class */
    memlane_selector_announce(&word, 31);
    CHECK_EQUAL(1, memlane_waiters_count(&word));
    CHECK_EQUAL(1u << 1 | 1u << 15, memlane_selectors_take(&word));
    CHECK_EQUAL(1, word);
    CHECK_EQUAL(0, memlane_selectors_take(&word));
}

TEST(a_selector_that_was_given_back_is_woken_by_nobody_and_can_be_leased_again) {
    nothing_happened();
    lease(5);
    CHECK(!wait_for(5, 0));
    memlane_selector_note_distant(&table[5]);
    CHECK(!memlane_selector_end(&table[5], TAG + 1)); /* one that was taken for dead comes late */
    change(0);
    CHECK_EQUAL(1, sent[5]);
    see_all();
    CHECK(!wait_for(5, 0));
    CHECK(memlane_selector_end(&table[5], TAG));
    change(0);
    CHECK_EQUAL(0, sent[5]);
    lease(5);
    CHECK(!memlane_selector_is_distant(&table[5]));
}

TEST(a_waker_that_was_stopped_with_the_number_of_a_dead_owner_does_not_disarm_the_next_one) {
    nothing_happened();
    lease(6);
    CHECK(!wait_for(6, 0));
    uint64_t seen = table[6].state;
    atomic_store(&table[6].owner, 0); /* proven dead; the next one has a number of its own */
    CHECK(memlane_role_take(&table[6].owner, MEMLANE_TAG_NONE, TAG + 1024));
    memlane_selector_begin(&table[6], 77, 7);
    memlane_selector_arm(&table[6], 77, interest_in(0));
    CHECK(!atomic_compare_exchange_strong(&table[6].state, &seen, seen & ~MEMLANE_SELECTOR_ARMED));
    CHECK_EQUAL(77u << 1 | MEMLANE_SELECTOR_ARMED, table[6].state);
}

TEST(one_from_another_network_leaves_word_until_the_selector_has_a_new_owner) {
    nothing_happened();
    lease(1);
    CHECK(!memlane_selector_is_distant(&table[1]));
    memlane_selector_note_distant(&table[1]);
    CHECK(!wait_for(1, 0));
    CHECK(memlane_selector_is_distant(&table[1]));
}

TEST(the_words_of_neighboring_lanes_and_slots_show_many_different_bits) {
    for (uint64_t distance = 4; distance <= 4096; distance *= 2) {
        uint64_t bits = 0;
        for (uint64_t i = 0; i < 64; i++)
            bits |= memlane_selector_interest(81920 + i * distance);
        CHECK(__builtin_popcountll(bits) >= 24);
    }
}

/* ---- stopped in front of every access ------------------------------------------------------------ */

static bool saw; /* the owner's second look */
static void owner_waits(void) { saw = wait_for(3, 0); }
static void owner_waits_too(void) { saw = wait_for(3 + MEMLANE_SELECTOR_CLASSES, 0); }
static void waker_changes(void) { change(0); }

/* Bits and arming as rounds before may have left them. */
static void any_past(int past) {
    nothing_happened();
    saw = false;
    lease(3), lease(3 + MEMLANE_SELECTOR_CLASSES);
    if (past & 1)
        CHECK(!wait_for(3, 0)); /* its own slice is over, nobody came */
    if (past & 2)
        words[0] = UINT32_C(1) << (MEMLANE_WAITERS_BITS + 3); /* of another selector of the class */
    if (past & 4)
        memlane_selector_disarm(&table[3], NUMBER + 3);
}

TEST(an_owner_that_a_waker_overtakes_at_any_access_sees_the_change_or_is_woken) {
    for (int past = 0; past < 8; past++) {
        long k = 0;
        do {
            any_past(past);
            if (!meets_at(k, owner_waits, waker_changes))
                break;
            /* what came before the draining is not lost either: the look comes behind it */
            CHECK(saw || sent[3]);
        } while (++k);
        CHECK(k >= 4);
    }
}

TEST(a_waker_that_an_owner_overtakes_at_any_access_is_seen_or_wakes_it) {
    for (int past = 0; past < 8; past++) {
        long k = 0;
        do {
            any_past(past);
            if (!meets_at(k, waker_changes, owner_waits))
                break;
            CHECK(saw || sent[3]);
        } while (++k);
        CHECK(k >= 1);
    }
}

TEST(two_owners_of_one_class_do_not_take_a_wake_from_each_other) {
    for (long k = 0;; k++) {
        any_past(0);
        if (!meets_at(k, waker_changes, owner_waits_too))
            break;
        bool other_saw = saw;
        CHECK(other_saw || sent[3 + MEMLANE_SELECTOR_CLASSES]);
    }
    for (long k = 0;; k++) {
        any_past(1); /* 3 waits already */
        if (!meets_at(k, owner_waits_too, waker_changes))
            break;
        CHECK(sent[3]);
        CHECK(saw || sent[3 + MEMLANE_SELECTOR_CLASSES]);
    }
}

/* Two changes of two objects, and one selector for both. */
static bool saw_second;
static void owner_waits_for_two(void) {
    sent[3] = 0;
    memlane_selector_arm(&table[3], NUMBER + 3, interest_in(0) | interest_in(1));
    memlane_selector_announce(&words[0], 3);
    memlane_selector_announce(&words[1], 3);
    saw = atomic_load_explicit(&changes[0], memory_order_seq_cst) != 0;
    saw_second = atomic_load_explicit(&changes[1], memory_order_seq_cst) != 0;
}
static void second_waker_changes(void) { change(1); }

TEST(a_waker_that_leaves_a_selector_to_another_one_may_rely_on_it) {
    for (long k = 0;; k++) {
        any_past(0);
        owner_waits_for_two();
        bool met = meets_at(k, waker_changes, second_waker_changes);
        CHECK_EQUAL(1, sent[3]);
        if (!met)
            break;
        owner_waits_for_two(); /* woken: it finds both */
        CHECK(saw && saw_second);
    }
}

TEST(a_waker_killed_at_any_access_costs_a_slice_and_the_next_change_is_told_again) {
    for (long k = 0;; k++) {
        any_past(1);
        bool died = dies_at(k, waker_changes);
        bool changed = changes[0] != 0;
        CHECK(died || sent[3]);
        CHECK_EQUAL(changed, wait_for(3, 0)); /* the recheck interval is over: what was changed is seen */
        see_all();
        CHECK(!wait_for(3, 0));
        change(0);
        CHECK_EQUAL(1, sent[3]);
        if (!died)
            break;
    }
}

TEST(an_owner_killed_at_any_access_costs_others_one_send_at_most) {
    for (long k = 0;; k++) {
        any_past(0);
        bool died = dies_at(k, owner_waits);
        CHECK(!wait_for(3 + MEMLANE_SELECTOR_CLASSES, 0));
        change(0);
        CHECK(sent[3] <= 1);
        CHECK_EQUAL(1, sent[3 + MEMLANE_SELECTOR_CLASSES]);
        see_all();
        CHECK(!wait_for(3 + MEMLANE_SELECTOR_CLASSES, 0));
        change(0);
        CHECK(sent[3] <= 1); /* no other one, for it was not armed again */
        CHECK_EQUAL(1, sent[3 + MEMLANE_SELECTOR_CLASSES]);
        if (!died)
            break;
    }
}

TEST(a_walk_over_hostile_bells_is_bounded_by_their_number) {
    nothing_happened();
    memset(table, 0xff, sizeof table);
    struct memlane_selector_found found;
    uint32_t at = 0, count = 0;
    steps_made = 0;
    while (memlane_selectors_next(table, SELECTORS, UINT32_MAX, 1, &at, &found))
        count++;
    CHECK_EQUAL(SELECTORS, count);
    CHECK(steps_made <= 4 * SELECTORS);
    CHECK(!memlane_selectors_next(table, SELECTORS, UINT32_MAX, 1, &at, &found));
    CHECK(!memlane_selectors_next(table, 0, UINT32_MAX, 1, (uint32_t[]){0}, &found));
}

MAIN
