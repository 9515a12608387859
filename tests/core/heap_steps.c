/* SPDX-License-Identifier: MIT
 *
 * The heap, stopped in front of every single atomic access: killed there, or overtaken by another process (hazards 84 to 90).
 *
 * `everywhere` runs an act of one process with an act of another one in front of its access number 0, 1, 2 ... to the end,
 * each time on a heap of its own, and looks at what is left.
 */
#include "steps.h"

#include "heap_fixture.h"

static struct memlane_block of_ann, of_bob;
static enum memlane_status ann_got, bob_got;
static bool ann_has, bob_has;

/* What is held is whole, and nothing is FREE in a hand. */
static void check_hands(void) {
    if (ann_has && !ann_is_dead) {
        CHECK(kind_of(of_ann.number) != MEMLANE_BLOCK_FREE);
        check_life(&of_ann);
    }
    if (bob_has && !bob_is_dead) {
        CHECK(kind_of(of_bob.number) != MEMLANE_BLOCK_FREE);
        check_life(&of_bob);
    }
}

/* Everybody lets go: everything is FREE, if processes died once somebody has collected. */
static void check_end(void) {
    check_hands();
    if (ann_has && !ann_is_dead)
        (void)dropped(ANN, &of_ann);
    ann_has = false;
    if (bob_has && !bob_is_dead)
        (void)dropped(BOB, &of_bob);
    bob_has = false;
    for (uint32_t i = 0; i < heap.shape.blocks; i++) {
        if (ann_is_dead || bob_is_dead)
            (void)collected(i);
        CHECK_EQUAL(MEMLANE_BLOCK_FREE, kind_of(i));
    }
    struct memlane_block block;
    CHECK_EQUAL(MEMLANE_OK, allocate(DAVE, UNITS, &block)); /* all of it is room again */
}

static long everywhere(void (*begin)(void), void (*act)(void), void (*other)(void)) {
    long k = 0;
    for (bool met = true; met; k++) {
        heap_new(2);
        ann_has = bob_has = false;
        begin();
        met = meets_at(k, act, other);
        check_end();
        heap_free();
    }
    CHECK(k > 2); /* it came to a meeting */
    return k;
}

static long killed_everywhere(void (*begin)(void), void (*act)(void), bool *is_dead, void (*other)(void)) {
    long k = 0;
    for (bool died = true; died; k++) {
        heap_new(2);
        ann_has = bob_has = false;
        begin();
        died = dies_at(k, act);
        *is_dead = died;
        steps_left = -1;
        if (other)
            other();
        check_end();
        heap_free();
    }
    CHECK(k > 2);
    return k;
}

/* ---- the acts ------------------------------------------------------------------------------------------ */

static void nothing(void) {}
static void ann_makes(void) {
    of_ann = made(ANN, 1);
    ann_has = true;
}
static void ann_drops(void) {
    ann_has = false;
    (void)dropped(ANN, &of_ann);
}
static void bob_opens(void) {
    bob_got = opened(BOB, &of_ann, &of_bob);
    bob_has = bob_got == MEMLANE_OK;
    CHECK(bob_has || bob_got == MEMLANE_STALE);
    check_hands();
}
static void bob_drops(void) {
    bob_has = false;
    (void)dropped(BOB, &of_bob);
}
static void both_have(void) {
    ann_makes();
    bob_opens();
}
static void bob_makes(void) {
    bob_got = allocate(BOB, 1, &of_bob);
    CHECK_EQUAL(MEMLANE_OK, bob_got);
    fill(&of_bob);
    bob_has = true;
}
/* All the room: there is one such block at a time. */
static void ann_makes_all(void) {
    ann_got = allocate(ANN, UNITS, &of_ann);
    CHECK(ann_got == MEMLANE_OK || ann_got == MEMLANE_FULL);
    ann_has = ann_got == MEMLANE_OK;
    if (ann_has)
        fill(&of_ann);
}
static void bob_makes_all(void) {
    bob_got = allocate(BOB, UNITS, &of_bob);
    CHECK(bob_got == MEMLANE_OK || bob_got == MEMLANE_FULL);
    bob_has = bob_got == MEMLANE_OK;
    if (bob_has)
        fill(&of_bob);
}
static void collect_all(void) {
    for (uint32_t i = 0; i < heap.shape.blocks; i++)
        (void)collected(i);
    check_hands();
}
static void collect_and_make(void) {
    collect_all();
    struct memlane_block block = made(DAVE, 1);
    check_hands();
    CHECK(dropped(DAVE, &block));
}

TEST(an_open_that_meets_the_last_drop_has_the_block_or_is_told_that_it_is_stale) {
    (void)everywhere(ann_makes, bob_opens, ann_drops);
    (void)everywhere(ann_makes, ann_drops, bob_opens);
}

TEST(of_the_last_two_that_drop_at_once_one_frees_the_block) { (void)everywhere(both_have, ann_drops, bob_drops); }

TEST(a_check_never_frees_what_is_opened_meanwhile) {
    (void)everywhere(both_have, collect_all, bob_drops);
    (void)everywhere(ann_makes, collect_all, bob_opens);
    (void)everywhere(ann_makes, bob_opens, collect_and_make);
    (void)everywhere(both_have, ann_drops, collect_and_make);
}

/* Another check begins and is stopped, once Bob has opened. */
static void bob_opens_and_a_check_is_stopped(void) {
    bob_opens();
    _Atomic uint64_t *state = &memlane_heap_descriptor(&heap, of_ann.number)->state;
    if (memlane_block_kind(*state) == MEMLANE_BLOCK_HELD)
        *state += MEMLANE_BLOCK_CHECKING - MEMLANE_BLOCK_HELD;
}
TEST(a_check_that_was_stopped_frees_nothing_in_the_midst_of_a_later_one) {
    (void)everywhere(ann_makes, ann_drops, bob_opens_and_a_check_is_stopped);
}

/* A check is under way by a process that has seen Bob's word. */
static void bob_has_it_in_the_midst_of_a_check(void) {
    both_have();
    ann_has = false;
    memlane_heap_references(&heap, of_ann.number).holder[of_ann.word] = 0;
    memlane_heap_descriptor(&heap, of_ann.number)->state += MEMLANE_BLOCK_CHECKING - MEMLANE_BLOCK_HELD;
}
static void that_check_ends(void) {
    _Atomic uint64_t *state = &memlane_heap_descriptor(&heap, of_ann.number)->state;
    if (memlane_block_kind(*state) == MEMLANE_BLOCK_CHECKING)
        *state = memlane_block_restored(*state);
}
TEST(a_drop_that_is_disturbed_by_a_check_which_has_seen_its_word_begins_again) {
    (void)everywhere(bob_has_it_in_the_midst_of_a_check, bob_drops, that_check_ends);
}

static void stale_handle(void) {
    ann_makes();
    struct memlane_block old = of_ann;
    ann_drops();
    bob_makes();
    of_ann = old; /* Ann opens the handle of a life that is over */
}
static void ann_opens_the_old_one(void) {
    struct memlane_block block;
    CHECK_EQUAL(MEMLANE_STALE, opened(ANN, &of_ann, &block));
}
TEST(one_that_opens_an_old_handle_keeps_no_life_that_ends_meanwhile) {
    (void)everywhere(stale_handle, ann_opens_the_old_one, bob_drops);
}

TEST(two_allocations_at_once_never_get_the_same_bytes) {
    (void)everywhere(nothing, ann_makes_all, bob_makes_all);
    (void)everywhere(nothing, ann_makes, bob_makes);
}

/* A block that another process has freed is given out again under the eyes of its maker. */
static void bob_opens_and_ann_drops(void) {
    both_have();
    ann_drops();
}
static void bob_drops_and_makes(void) {
    bob_drops();
    bob_makes();
}
TEST(an_allocation_that_meets_a_free_and_another_allocation_gets_room_of_its_own) {
    (void)everywhere(bob_opens_and_ann_drops, ann_makes, bob_drops_and_makes);
    (void)everywhere(bob_opens_and_ann_drops, bob_drops_and_makes, ann_makes);
}

TEST(whoever_is_killed_at_any_step_leaves_nothing_that_stays) {
    (void)killed_everywhere(nothing, ann_makes, &ann_is_dead, NULL);
    (void)killed_everywhere(nothing, ann_makes, &ann_is_dead, bob_makes);
    (void)killed_everywhere(nothing, ann_makes_all, &ann_is_dead, bob_makes_all);
    (void)killed_everywhere(ann_makes, ann_drops, &ann_is_dead, NULL);
    (void)killed_everywhere(ann_makes, bob_opens, &bob_is_dead, ann_drops);
    (void)killed_everywhere(both_have, ann_drops, &ann_is_dead, bob_drops);
    (void)killed_everywhere(both_have, bob_drops, &bob_is_dead, ann_drops);
    (void)killed_everywhere(stale_handle, ann_opens_the_old_one, &ann_is_dead, bob_drops);
}

/* ---- sending --------------------------------------------------------------------------------------------- */

static struct memlane_producer sender;
static bool committed;

static void ann_has_a_lane(void) {
    memset(&sender, 0, sizeof sender);
    sender.lane = lane;
    sender.ring = ring;
    sender.tag = ANN;
    committed = false;
    CHECK(memlane_lane_lease(lane.control, MEMLANE_OWNER_NEVER, ANN));
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_adopt(&sender));
    ann_makes();
}
static void ann_sends(void) {
    const struct memlane_heap_process me = process(ANN);
    uint64_t offset = 0, what = 0;
    uint32_t which = 0;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(&sender, 8, &offset));
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_stage(&heap, &me, of_ann.number, MEMLANE_TRANSIT_RECORD, HERE, sender.next,
                                                  &which, &what));
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_commit(&sender, offset, 8));
    committed = true;
}
static void ann_sends_and_drops(void) {
    ann_sends();
    ann_drops();
}
/* Take the record if it is there, open its block, which cannot be stale, and release the record then. */
static void bob_receives(void) {
    struct memlane_found found;
    if (memlane_many_look(&many, &found) != MEMLANE_OK)
        return;
    CHECK_EQUAL(1, memlane_many_take(&lane, found.s, 1, BOB));
    CHECK_EQUAL(MEMLANE_OK, opened(BOB, &of_ann, &of_bob));
    bob_has = true;
    CHECK(memlane_many_free(&lane, found.s, BOB));
    check_hands();
}
static void dave_takes_what_is_left(void) {
    struct memlane_found found;
    struct memlane_block block;
    if (memlane_many_look(&many, &found) == MEMLANE_OK)
        CHECK_EQUAL(1, memlane_many_take(&lane, found.s, 1, DAVE));
    else {
        uint64_t end = memlane_many_taken(&lane);
        if (!memlane_many_held(&many, memlane_many_settle(&many, end), end, &found) ||
            !memlane_many_claim(&lane, &found, DAVE))
            return;
    }
    CHECK_EQUAL(MEMLANE_OK, opened(DAVE, &of_ann, &block)); /* a record in hand is never stale */
    check_life(&block);
    CHECK(memlane_many_free(&lane, found.s, DAVE));
    check_life(&block);
    (void)dropped(DAVE, &block);
}

TEST(a_record_that_can_be_taken_has_its_block_wherever_the_sender_is) {
    long k = 0;
    for (bool met = true; met; k++) {
        heap_new(2);
        ann_has = bob_has = false;
        ann_has_a_lane();
        met = meets_at(k, ann_sends_and_drops, bob_receives);
        dave_takes_what_is_left();
        collect_all();
        check_end();
        heap_free();
    }
    CHECK(k > 20);
}

TEST(a_check_at_any_step_of_a_send_frees_nothing_and_leaves_nothing) {
    long k = 0;
    for (bool met = true; met; k++) {
        heap_new(2);
        ann_has = bob_has = false;
        ann_has_a_lane();
        met = meets_at(k, ann_sends_and_drops, collect_and_make);
        CHECK(kind_of(of_ann.number) != MEMLANE_BLOCK_FREE);
        dave_takes_what_is_left();
        (void)collected(of_ann.number);
        check_end();
        heap_free();
    }
    CHECK(k > 20);
}

TEST(a_send_at_any_step_of_a_check_keeps_its_block) {
    long k = 0;
    for (bool met = true; met; k++) {
        heap_new(2);
        ann_has = bob_has = false;
        ann_has_a_lane();
        met = meets_at(k, collect_all, ann_sends_and_drops);
        if (!met)
            ann_sends_and_drops();
        CHECK(kind_of(of_ann.number) != MEMLANE_BLOCK_FREE);
        dave_takes_what_is_left();
        collect_all();
        check_end();
        heap_free();
    }
    CHECK(k > 5);
}

TEST(a_sender_that_is_killed_at_any_step_sent_a_whole_record_or_none) {
    long k = 0;
    for (bool died = true; died; k++) {
        heap_new(2);
        ann_has = bob_has = false;
        ann_has_a_lane();
        died = dies_at(k, ann_sends_and_drops);
        steps_left = -1;
        ann_is_dead = died;
        collect_and_make();
        if (committed)
            CHECK(kind_of(of_ann.number) != MEMLANE_BLOCK_FREE);
        dave_takes_what_is_left();
        collect_all();
        check_end();
        heap_free();
    }
    CHECK(k > 20);
}

TEST(a_receiver_that_is_killed_at_any_step_leaves_the_record_or_has_released_it) {
    long k = 0;
    for (bool died = true; died; k++) {
        heap_new(2);
        ann_has = bob_has = false;
        ann_has_a_lane();
        ann_sends_and_drops();
        died = dies_at(k, bob_receives);
        steps_left = -1;
        bob_is_dead = died;
        dave_takes_what_is_left();
        collect_all();
        check_end();
        heap_free();
    }
    CHECK(k > 8);
}

MAIN
