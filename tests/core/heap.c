/* SPDX-License-Identifier: MIT
 *
 * Blocks of a heap: held, dropped, opened by handles, kept by records, versions and loans (hazards 84 to 90).
 */
#include "heap_fixture.h"

TEST(a_block_is_free_when_its_last_holder_drops_it) {
    heap_new(2);
    struct memlane_block made_by_ann = made(ANN, 1), block;
    CHECK_EQUAL(MEMLANE_OK, opened(BOB, &made_by_ann, &block));
    CHECK_EQUAL(made_by_ann.offset, block.offset);
    CHECK(!dropped(ANN, &made_by_ann));
    check_life(&block);
    CHECK(dropped(BOB, &block));
    CHECK_EQUAL(MEMLANE_BLOCK_FREE, kind_of(block.number));
    heap_free();
}

TEST(a_handle_of_an_earlier_life_is_stale_and_its_opener_keeps_nothing) {
    heap_new(1);
    struct memlane_block old = made(ANN, 1), block;
    CHECK(dropped(ANN, &old));
    CHECK_EQUAL(MEMLANE_STALE, opened(BOB, &old, &block));
    struct memlane_block young = made(ANN, 2);
    CHECK_EQUAL(old.number, young.number);
    CHECK_EQUAL(old.generation + 1, young.generation);
    CHECK_EQUAL(MEMLANE_STALE, opened(BOB, &old, &block));
    CHECK(dropped(ANN, &young));
    heap_free();
}

TEST(a_block_that_is_not_sealed_cannot_be_opened) {
    heap_new(1);
    struct memlane_block mine, block;
    CHECK_EQUAL(MEMLANE_OK, allocate(ANN, 1, &mine));
    CHECK_EQUAL(MEMLANE_STALE, opened(BOB, &mine, &block));
    CHECK(!memlane_heap_stands(&heap, mine.number, mine.generation));
    CHECK_EQUAL(MEMLANE_OK, memlane_heap_seal(&heap, mine.number, mine.generation));
    CHECK(memlane_heap_stands(&heap, mine.number, mine.generation));
    CHECK_EQUAL(MEMLANE_OK, opened(BOB, &mine, &block));
    CHECK(!dropped(ANN, &mine));
    CHECK(dropped(BOB, &block));
    CHECK(!memlane_heap_stands(&heap, mine.number, mine.generation));
    CHECK_EQUAL(MEMLANE_LOST, memlane_heap_seal(&heap, mine.number, mine.generation));
    heap_free();
}

TEST(what_a_dead_process_held_is_free_for_the_next_allocation_that_needs_it) {
    heap_new(2);
    struct memlane_block held = made(ANN, UNITS), block;
    CHECK_EQUAL(MEMLANE_FULL, allocate(BOB, 1, &block));
    ann_is_dead = true;
    CHECK_EQUAL(MEMLANE_OK, allocate(BOB, 1, &block));
    CHECK_EQUAL(MEMLANE_STALE, opened(DAVE, &held, &held));
    CHECK_EQUAL(1, ((struct memlane_heap_control *)(void *)heap.base)->collected);
    CHECK(dropped(BOB, &block));
    heap_free();
}

TEST(the_word_of_a_newcomer_is_not_that_of_the_dead_in_whose_row_it_sits) {
    heap_new(1);
    struct memlane_block first = made(ANN, 1), block;
    ann_is_dead = true;
    CHECK_EQUAL(MEMLANE_OK, opened(CLARA, &first, &block));
    CHECK(!collected(first.number)); /* Ann's word goes, Clara's stays */
    check_life(&block);
    const struct memlane_heap_process ann = process(ANN);
    bool freed;
    CHECK_EQUAL(MEMLANE_LOST, memlane_heap_drop(&heap, &ann, first.number, first.word, &freed));
    CHECK(dropped(CLARA, &block));
    heap_free();
}

TEST(as_many_hold_a_block_as_have_words_and_the_words_of_the_dead_are_taken_over) {
    heap_new(1);
    struct memlane_block block = made(ANN, 1), second, third, fourth;
    CHECK_EQUAL(MEMLANE_OK, opened(BOB, &block, &second));
    CHECK_EQUAL(MEMLANE_OK, opened(DAVE, &block, &third));
    const struct memlane_heap_process clara = prover(CLARA);
    bool freed;
    CHECK_EQUAL(MEMLANE_FULL, memlane_heap_open(&heap, &clara, block.number, block.generation, &fourth, &freed));
    bob_is_dead = true;
    CHECK_EQUAL(MEMLANE_OK, memlane_heap_open(&heap, &clara, block.number, block.generation, &fourth, &freed));
    CHECK_EQUAL(second.word, fourth.word);
    CHECK(!dropped(ANN, &block));
    CHECK(!dropped(DAVE, &third));
    CHECK(dropped(CLARA, &fourth));
    heap_free();
}

/* ---- records ------------------------------------------------------------------------------------------- */

static struct memlane_producer sender_of(uint32_t tag) {
    struct memlane_producer producer = {.lane = lane, .ring = ring, .tag = tag};
    CHECK(memlane_lane_lease(lane.control, memlane_lane_owner(lane.control), tag));
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_adopt(&producer));
    return producer;
}

static void send(struct memlane_producer *producer, const struct memlane_block *block) {
    const struct memlane_heap_process me = prover(producer->tag);
    uint64_t offset = 0, what = 0;
    uint32_t which = 0;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(producer, 8, &offset));
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_stage(&heap, &me, block->number, MEMLANE_TRANSIT_RECORD, HERE,
                                                  producer->next, &which, &what));
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_commit(producer, offset, 8));
}

static uint64_t taken_by(uint32_t tag) {
    struct memlane_found found;
    CHECK_EQUAL(MEMLANE_OK, memlane_many_look(&many, &found));
    CHECK_EQUAL(1, memlane_many_take(&lane, found.s, 1, tag));
    return found.s;
}

TEST(a_record_keeps_its_block_until_it_is_released_whoever_dies) {
    heap_new(2);
    struct memlane_producer sender = sender_of(ANN);
    struct memlane_block block = made(ANN, 1), got;
    send(&sender, &block);
    CHECK(!dropped(ANN, &block));
    ann_is_dead = true;
    CHECK(!collected(block.number));
    uint64_t s = taken_by(BOB);
    CHECK(!collected(block.number));
    bob_is_dead = true; /* with the record in hand: it comes again */
    CHECK(!collected(block.number));
    struct memlane_found found = {.s = s, .state = memlane_state_taken(s, BOB)};
    CHECK(memlane_many_claim(&lane, &found, DAVE));
    CHECK_EQUAL(MEMLANE_OK, opened(DAVE, &block, &got));
    CHECK(memlane_many_free(&lane, s, DAVE));
    check_life(&got);
    CHECK(!collected(block.number));
    CHECK(dropped(DAVE, &got));
    heap_free();
}

TEST(a_record_that_was_never_committed_keeps_nothing_once_its_sender_is_dead) {
    heap_new(1);
    struct memlane_producer sender = sender_of(ANN);
    struct memlane_block block = made(ANN, 1);
    const struct memlane_heap_process ann = process(ANN);
    uint64_t what = 0;
    uint32_t which = 0;
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_stage(&heap, &ann, block.number, MEMLANE_TRANSIT_RECORD, HERE, sender.next,
                                                  &which, &what));
    CHECK(!collected(block.number));
    ann_is_dead = true;
    CHECK(collected(block.number));
    heap_free();
}

TEST(the_transit_of_a_living_sender_is_not_used_again_before_it_commits) {
    heap_new(1);
    struct memlane_producer sender = sender_of(ANN);
    struct memlane_block block = made(ANN, 1), second;
    const struct memlane_heap_process ann = prover(ANN), bob = prover(BOB);
    uint64_t what = 0, other = 0;
    uint32_t which = 0, another = 0;
    CHECK_EQUAL(MEMLANE_OK, opened(BOB, &block, &second));
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_stage(&heap, &ann, block.number, MEMLANE_TRANSIT_RECORD, HERE, sender.next,
                                                  &which, &what));
    /* Bob sends the same block, and has its only transit judged: not committed, so it does not hold, and must stay. */
    CHECK_EQUAL(MEMLANE_FULL, memlane_transit_take(&heap, &bob, block.number, &another, &other));
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_put(&sender, "handle", 6));
    CHECK(!dropped(ANN, &block));
    CHECK(!dropped(BOB, &second));
    CHECK(memlane_many_free(&lane, taken_by(DAVE), DAVE));
    CHECK(collected(block.number));
    heap_free();
}

TEST(a_transit_whose_commit_failed_is_taken_back_and_one_of_the_dead_is_used_again) {
    heap_new(1);
    struct memlane_producer sender = sender_of(ANN);
    struct memlane_block block = made(ANN, 1), second;
    const struct memlane_heap_process ann = prover(ANN), bob = prover(BOB);
    uint64_t what = 0, other = 0;
    uint32_t which = 0;
    CHECK_EQUAL(MEMLANE_OK, opened(BOB, &block, &second));
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_stage(&heap, &ann, block.number, MEMLANE_TRANSIT_RECORD, HERE, sender.next,
                                                  &which, &what));
    CHECK(memlane_transit_withdraw(&heap, block.number, which, what));
    CHECK(!memlane_transit_withdraw(&heap, block.number, which, what));
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_take(&heap, &ann, block.number, &which, &what));
    CHECK_EQUAL(MEMLANE_FULL, memlane_transit_take(&heap, &bob, block.number, &which, &other));
    ann_is_dead = true;
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_take(&heap, &bob, block.number, &which, &other));
    CHECK(memlane_transit_stamp(other) != memlane_transit_stamp(what));
    heap_free();
}

static struct memlane_producer sender_that_dies;
static void it_commits(void) {
    before_a_proof = NULL;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_put(&sender_that_dies, "handle", 6));
    ann_is_dead = true;
}
TEST(the_transit_of_a_sender_that_commits_and_dies_while_it_is_judged_is_not_used_again) {
    heap_new(1);
    sender_that_dies = sender_of(ANN);
    struct memlane_block block = made(ANN, 1), second;
    const struct memlane_heap_process ann = prover(ANN), bob = prover(BOB);
    uint64_t what = 0;
    uint32_t which = 0;
    CHECK_EQUAL(MEMLANE_OK, opened(BOB, &block, &second));
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_stage(&heap, &ann, block.number, MEMLANE_TRANSIT_RECORD, HERE,
                                                  sender_that_dies.next, &which, &what));
    before_a_proof = it_commits;
    CHECK_EQUAL(MEMLANE_FULL, memlane_transit_take(&heap, &bob, block.number, &which, &what));
    CHECK(before_a_proof == NULL); /* it was asked for */
    CHECK(!dropped(BOB, &second));
    CHECK(!collected(block.number));
    heap_free();
}

TEST(a_version_of_a_slot_keeps_its_block_until_the_next_one_is_published) {
    CHECK_EQUAL(MEMLANE_TRANSIT_PENDING, memlane_transit_judge_version(2 * 4, 5)); /* 4 is the latest */
    CHECK_EQUAL(MEMLANE_TRANSIT_PENDING, memlane_transit_judge_version(2 * 4 + 1, 5)); /* 5 is being written */
    CHECK_EQUAL(MEMLANE_TRANSIT_HOLDS, memlane_transit_judge_version(2 * 5, 5));
    CHECK_EQUAL(MEMLANE_TRANSIT_HOLDS, memlane_transit_judge_version(2 * 5 + 1, 5)); /* 6 is being written */
    CHECK_EQUAL(MEMLANE_TRANSIT_OVER, memlane_transit_judge_version(2 * 6, 5));
    heap_new(1);
    struct memlane_block block = made(ANN, 1);
    const struct memlane_heap_process ann = prover(ANN);
    uint64_t what = 0;
    uint32_t which = 0;
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_stage(&heap, &ann, block.number, MEMLANE_TRANSIT_VERSION, HERE,
                                                  UINT64_C(10) << 32 | 5, &which, &what));
    CHECK(!dropped(ANN, &block));
    CHECK(!collected(block.number));
    memlane_heap_references(&heap, block.number).place[which].number = UINT64_C(12) << 32 | 5;
    CHECK(collected(block.number));
    heap_free();
}

/* ---- loans --------------------------------------------------------------------------------------------- */

TEST(a_loan_keeps_its_block_until_its_readers_have_come) {
    heap_new(1);
    struct memlane_block block = made(ANN, 1), first, second;
    const struct memlane_heap_process ann = process(ANN);
    uint64_t what = 0;
    uint32_t which = 0;
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_lend(&heap, &ann, block.number, 2, ANN, &which, &what));
    CHECK_EQUAL(2, memlane_lent_left(what));
    CHECK(!dropped(ANN, &block));
    CHECK(!collected(block.number));
    CHECK_EQUAL(MEMLANE_OK, opened(BOB, &block, &first));
    CHECK(memlane_lent_claim(&heap, block.number, which, memlane_lent_stamp(what)));
    CHECK(!dropped(BOB, &first));
    CHECK_EQUAL(MEMLANE_OK, opened(DAVE, &block, &second));
    CHECK(memlane_lent_claim(&heap, block.number, which, memlane_lent_stamp(what)));
    CHECK(!memlane_lent_claim(&heap, block.number, which, memlane_lent_stamp(what)));
    check_life(&second);
    CHECK(dropped(DAVE, &second));
    heap_free();
}

TEST(an_old_ticket_counts_no_later_loan_down) {
    heap_new(1);
    struct memlane_block block = made(ANN, 1);
    const struct memlane_heap_process ann = process(ANN);
    uint64_t what = 0, later = 0;
    uint32_t which = 0;
    for (uint32_t readers = 255; readers; readers /= 255) { /* the last one leaves the lowest stamp */
        CHECK_EQUAL(MEMLANE_OK, memlane_transit_lend(&heap, &ann, block.number, readers, ANN, &which, &what));
        CHECK_EQUAL(readers, memlane_lent_cancel(&heap, block.number, which, memlane_lent_stamp(what)));
    }
    CHECK_EQUAL(0, memlane_lent_cancel(&heap, block.number, which, memlane_lent_stamp(what)));
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_lend(&heap, &ann, block.number, 1, ANN, &which, &later));
    CHECK(!memlane_lent_claim(&heap, block.number, which, memlane_lent_stamp(what)));
    CHECK(!memlane_lent_claim(&heap, block.number, 1, memlane_lent_stamp(later))); /* there is one transit */
    CHECK(memlane_lent_claim(&heap, block.number, which, memlane_lent_stamp(later)));
    heap_free();
}

TEST(a_loan_ends_with_the_process_that_is_answerable_for_it) {
    heap_new(1);
    struct memlane_block block = made(ANN, 1);
    const struct memlane_heap_process ann = process(ANN);
    uint64_t what = 0;
    uint32_t which = 0;
    CHECK_EQUAL(MEMLANE_OK, memlane_transit_lend(&heap, &ann, block.number, 3, BOB, &which, &what));
    ann_is_dead = true; /* the lender */
    CHECK(!collected(block.number));
    bob_is_dead = true;
    CHECK(collected(block.number));
    heap_free();
}

/* ---- room ---------------------------------------------------------------------------------------------- */

TEST(the_journal_tells_the_last_commits_and_no_older_ones) {
    heap_new(3);
    struct memlane_block block;
    uint32_t index;
    for (int i = 0; i < 3 * (int)MEMLANE_HEAP_JOURNAL; i++) {
        block = made(ANN, 1);
        CHECK(dropped(ANN, &block));
    }
    uint64_t version = memlane_heap_version(&heap, 0), commits = memlane_heap_commits(version);
    CHECK_EQUAL(3 * MEMLANE_HEAP_JOURNAL, commits);
    for (uint64_t n = 1; n <= commits; n++)
        CHECK_EQUAL(commits - n <= MEMLANE_HEAP_JOURNAL, memlane_heap_commit_was_of(&heap, 0, version, n, &index));
    heap_free();
}

TEST(a_commit_that_was_stopped_for_a_round_of_the_journal_spoils_no_later_entry) {
    heap_new(2);
    const struct memlane_heap_process ann = process(ANN);
    struct memlane_block stopped, block;
    uint32_t index;
    bool freed;
    block = made(BOB, 1);
    CHECK(dropped(BOB, &block));
    uint64_t old = memlane_heap_version(&heap, 0);
    CHECK_EQUAL(MEMLANE_OK, memlane_heap_begin(&heap, &ann, 1, &stopped));
    memlane_heap_lay(&heap, &ann, 1, 0, UNIT, UNIT, 0);
    /* It covers a unit in the pictures of others, though it was not committed. */
    for (int i = 0; i < (int)MEMLANE_HEAP_JOURNAL + 5; i++) {
        block = made(BOB, 1);
        CHECK_EQUAL(UNIT, block.offset - heap.shape.bytes_offset);
        CHECK(dropped(BOB, &block));
    }
    CHECK_EQUAL(MEMLANE_BUSY, memlane_heap_commit(&heap, 0, 1, &old));
    uint64_t version = memlane_heap_version(&heap, 0);
    CHECK(
        memlane_heap_commit_was_of(&heap, 0, version, MEMLANE_HEAP_JOURNAL + 1, &index)); /* in the place of commit 1 */
    CHECK_EQUAL(MEMLANE_OK, memlane_heap_drop(&heap, &ann, 1, stopped.word, &freed));
    heap_free();
}

TEST(a_block_that_is_held_begins_no_other_life) {
    heap_new(1);
    const struct memlane_heap_process bob = process(BOB);
    struct memlane_block block = made(ANN, 1), other;
    CHECK_EQUAL(MEMLANE_BUSY, memlane_heap_begin(&heap, &bob, block.number, &other));
    CHECK_EQUAL(MEMLANE_OK, opened(BOB, &block, &other));
    CHECK(!dropped(ANN, &block));
    CHECK(dropped(BOB, &other));
    heap_free();
}

TEST(a_block_has_no_life_beyond_the_last_generation) {
    heap_new(2);
    struct memlane_heap_descriptor *descriptor = memlane_heap_descriptor(&heap, 0);
    descriptor->state = memlane_block_state(MEMLANE_BLOCK_FREE, false, 0, MEMLANE_BLOCK_GENERATION_MAX - 1);
    struct memlane_block last = made(ANN, 1);
    CHECK_EQUAL(0, last.number);
    CHECK_EQUAL(MEMLANE_BLOCK_GENERATION_MAX, last.generation);
    check_life(&last);
    CHECK(dropped(ANN, &last));
    struct memlane_block next = made(ANN, 1), none;
    CHECK_EQUAL(1, next.number);
    const struct memlane_heap_process ann = process(ANN);
    CHECK_EQUAL(MEMLANE_BUSY, memlane_heap_begin(&heap, &ann, 0, &none));
    CHECK_EQUAL(MEMLANE_BLOCK_FREE, kind_of(0));
    heap_free();
}

TEST(a_life_in_which_so_many_checks_were_stopped_is_never_freed_and_never_wraps) {
    heap_new(1);
    struct memlane_block block = made(ANN, 1), got;
    struct memlane_heap_descriptor *descriptor = memlane_heap_descriptor(&heap, 0);
    descriptor->state = memlane_block_state(MEMLANE_BLOCK_HELD, true, MEMLANE_BLOCK_EPOCH_MAX, block.generation);
    CHECK(!dropped(ANN, &block));
    CHECK_EQUAL(MEMLANE_OK, opened(BOB, &block, &got));
    CHECK_EQUAL(memlane_block_state(MEMLANE_BLOCK_HELD, true, MEMLANE_BLOCK_EPOCH_MAX, block.generation),
                descriptor->state);
    heap_free();
}

TEST(steps_are_told_until_they_are_reserved) {
    heap_new_of(1, 5 * MEMLANE_HEAP_STEP_NBYTES + 4096, 4, 1, 1);
    const uint64_t step = MEMLANE_HEAP_STEP_NBYTES;
    uint64_t from = 0, until = 0;
    CHECK(memlane_heap_unreserved(&heap, 0, step - 64, 128, &from, &until));
    CHECK(from == 0 && until == 2 * step);
    memlane_heap_note_reserved(&heap, 0, 0, step, true);
    CHECK(memlane_heap_unreserved(&heap, 0, 0, 6 * step, &from, &until));
    CHECK(from == step && until == 5 * step + 4096);
    memlane_heap_note_reserved(&heap, 0, 3 * step, 4 * step, true);
    CHECK(memlane_heap_unreserved(&heap, 0, 0, 4 * step, &from, &until));
    CHECK(from == step && until == 3 * step);
    memlane_heap_note_reserved(&heap, 0, 0, 5 * step + 4096, true);
    CHECK(!memlane_heap_unreserved(&heap, 0, 0, 5 * step + 4096, &from, &until));
    memlane_heap_note_reserved(&heap, 0, 2 * step, 3 * step, false);
    CHECK(memlane_heap_unreserved(&heap, 0, 0, 5 * step, &from, &until));
    CHECK(from == 2 * step && until == 3 * step);
    heap_free();
}

TEST(a_shape_is_refused_that_no_word_can_name) {
    struct memlane_heap_shape shape;
    const uint64_t step = MEMLANE_HEAP_STEP_NBYTES, page = 4096;
    CHECK(memlane_heap_lay_out(&shape, 1, page, 1, 1, 1, step));
    CHECK(
        memlane_heap_lay_out(&shape, 256, MEMLANE_HEAP_ARENA_MAX, MEMLANE_HEAP_BLOCKS_MAX / 256, 1000, 64, step << 3));
    CHECK_EQUAL(0, shape.references_stride % 64);
    CHECK(!memlane_heap_lay_out(&shape, 0, page, 1, 1, 1, step));
    CHECK(!memlane_heap_lay_out(&shape, 257, page, 1, 1, 1, step));
    CHECK(!memlane_heap_lay_out(&shape, 1, page + 64, 1, 1, 1, step));
    CHECK(!memlane_heap_lay_out(&shape, 1, 2 * MEMLANE_HEAP_ARENA_MAX, 1, 1, 1, step << 4));
    CHECK(!memlane_heap_lay_out(&shape, 2, page, MEMLANE_HEAP_BLOCKS_MAX / 2 + 1, 1, 1, step));
    CHECK(!memlane_heap_lay_out(&shape, 1, page, 1, 1001, 1, step));
    CHECK(!memlane_heap_lay_out(&shape, 1, page, 1, 1, 65, step));
    CHECK(!memlane_heap_lay_out(&shape, 1, page, 1, 1, 1, 2 * step));
}

MAIN
