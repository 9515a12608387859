/* SPDX-License-Identifier: MIT
 *
 * What src/runtime/heap.h promises: two processes never get the same bytes, nobody has to walk for room that is known, and
 * what the dead held comes back.
 */
#include "region_fixture.h"

#include "runtime/heap.h"

enum { ARENA = 1 << 18, BLOCKS = 256, HOLDERS = 4, TRANSITS = 2, LIVES = 6000 };

static struct memlane_heap_shape shape;
static struct memlane_region region;
static struct memlane_holding mine;

static unsigned char *base_of(const struct memlane_region *of) {
    return of->membership.address + of->header.objects_offset;
}

/* A heap at the beginning of the room for objects, with `ready` descriptors. */
static struct fixture heap_fixture(uint64_t arenas, uint64_t ready) {
    struct fixture made = fixture_memfd();
    CHECK(memlane_heap_lay_out(&shape, arenas, ARENA, BLOCKS, HOLDERS, TRANSITS, MEMLANE_HEAP_STEP_NBYTES));
    CHECK(shape.nbytes <= FIXTURE_OBJECTS_NBYTES);
    fixture_join(&region, &made);
    CHECK_EQUAL(MEMLANE_OK, memlane_holding_begin(&mine, base_of(&region), &shape, &region.membership));
    for (uint64_t arena = 0; ready > 0 && arena < arenas; arena++)
        memlane_heap_raise_ready(&mine.heap, arena, (uint32_t)ready);
    return made;
}

static void heap_end(struct fixture *made) {
    memlane_holding_end(&mine);
    memlane_region_close(&region);
    fixture_end(made);
}

static enum memlane_status get(struct memlane_holding *holding, uint64_t nbytes, struct memlane_block *block) {
    uint64_t arena;
    return memlane_holding_allocate(holding, nbytes, 0, 64, block, &arena);
}

static struct memlane_block got(struct memlane_holding *holding, uint64_t nbytes) {
    struct memlane_block block;
    CHECK_EQUAL(MEMLANE_OK, get(holding, nbytes, &block));
    return block;
}

static bool let_go(struct memlane_holding *holding, const struct memlane_block *block) {
    bool freed;
    CHECK_EQUAL(MEMLANE_OK, memlane_holding_release(holding, block->number, block->generation, &freed));
    return freed;
}

static void seal(const struct memlane_block *block) {
    CHECK_EQUAL(MEMLANE_OK, memlane_heap_seal(&mine.heap, block->number, block->generation));
}

static uint64_t collect_all(struct memlane_holding *holding) {
    uint64_t freed = 0;
    for (uint64_t arena = 0; arena < shape.arenas; arena++) {
        uint32_t next = 0;
        freed += memlane_holding_collect(holding, arena, &next, UINT32_MAX);
    }
    return freed;
}

static struct memlane_heap_totals count(void) {
    struct memlane_heap_totals totals;
    CHECK_EQUAL(MEMLANE_OK, memlane_holding_count(&mine, &totals));
    return totals;
}

/* ---- one process ------------------------------------------------------------------------------------- */

TEST(what_was_released_is_room_for_the_next_block_of_that_length_without_a_walk) {
    struct fixture made = heap_fixture(1, BLOCKS);
    struct memlane_block first = got(&mine, 1000), second;
    const uint64_t version = mine.pictures[0].version;
    CHECK(let_go(&mine, &first));
    second = got(&mine, 1000);
    CHECK_EQUAL(first.offset, second.offset);
    CHECK_EQUAL(first.number, second.number);
    CHECK_EQUAL(first.generation + 1, second.generation);
    CHECK_EQUAL(version + (1u << MEMLANE_HEAP_BLOCKS_BITS), mine.pictures[0].version);
    CHECK(let_go(&mine, &second));
    heap_end(&made);
}

TEST(a_block_as_large_as_the_arena_fits_once_and_a_larger_one_never) {
    struct fixture made = heap_fixture(1, BLOCKS);
    struct memlane_block block, other;
    CHECK_EQUAL(MEMLANE_TOO_LARGE, get(&mine, ARENA + 1, &block));
    for (int i = 0; i < 3; i++) {
        block = got(&mine, ARENA);
        CHECK_EQUAL(MEMLANE_FULL, get(&mine, 1, &other));
        CHECK(let_go(&mine, &block));
    }
    CHECK_EQUAL(ARENA, count().largest_free);
    heap_end(&made);
}

TEST(descriptors_are_asked_for_before_they_are_used_and_run_out_before_the_bytes) {
    struct fixture made = heap_fixture(1, 0);
    struct memlane_block block;
    struct memlane_run stretches[2];
    uint64_t arena = 7;
    uint32_t ready;
    CHECK_EQUAL(MEMLANE_GROW, memlane_holding_allocate(&mine, 64, 0, 64, &block, &arena));
    CHECK_EQUAL(0, arena);
    for (int blocks = 0; blocks < BLOCKS;) {
        enum memlane_status status = get(&mine, 64, &block);
        if (status == MEMLANE_GROW) {
            CHECK(memlane_holding_grow(&mine, 0, stretches, &ready));
            CHECK(stretches[1].offset + stretches[1].nbytes <= shape.bytes_offset);
            memlane_heap_raise_ready(&mine.heap, 0, ready);
            continue;
        }
        CHECK_EQUAL(MEMLANE_OK, status);
        blocks++;
    }
    CHECK_EQUAL(MEMLANE_FULL, get(&mine, 64, &block));
    CHECK(!memlane_holding_grow(&mine, 0, stretches, &ready));
    CHECK(count().free > ARENA / 2);
    heap_end(&made);
}

TEST(payloads_begin_where_they_were_asked_to_and_their_descriptions_lie_behind_them) {
    struct fixture made = heap_fixture(2, BLOCKS);
    struct memlane_block block;
    uint64_t arena;
    for (uint64_t alignment = 64; alignment <= 4096; alignment *= 2) {
        (void)got(&mine, 64); /* so that nothing is aligned by chance */
        CHECK_EQUAL(MEMLANE_OK, memlane_holding_allocate(&mine, 100, 30, alignment, &block, &arena));
        CHECK_EQUAL(0, block.offset % alignment);
        CHECK_EQUAL(100, block.payload_nbytes);
        CHECK_EQUAL(30, block.meta_nbytes);
    }
    heap_end(&made);
}

TEST(a_block_is_held_by_one_word_however_often_a_process_opens_it) {
    struct fixture made = heap_fixture(1, BLOCKS);
    struct memlane_block block = got(&mine, 64), again;
    struct memlane_heap_share share;
    bool freed;
    CHECK_EQUAL(MEMLANE_STALE, memlane_holding_open(&mine, block.number, block.generation, &again, &freed));
    seal(&block);
    for (int i = 0; i < 100; i++) {
        CHECK_EQUAL(MEMLANE_OK, memlane_holding_open(&mine, block.number, block.generation, &again, &freed));
        CHECK_EQUAL(block.offset, again.offset);
    }
    CHECK_EQUAL(1, memlane_holding_shares(&mine, &share, 1));
    CHECK_EQUAL(1, share.blocks);
    for (int i = 0; i < 100; i++)
        CHECK(!let_go(&mine, &block));
    CHECK(let_go(&mine, &block));
    CHECK_EQUAL(MEMLANE_STALE, memlane_holding_release(&mine, block.number, block.generation, &freed));
    CHECK_EQUAL(MEMLANE_STALE, memlane_holding_open(&mine, block.number, block.generation, &again, &freed));
    CHECK_EQUAL(MEMLANE_STALE, memlane_holding_open(&mine, BLOCKS, 1, &again, &freed));
    heap_end(&made);
}

TEST(many_held_blocks_are_told_apart_whatever_the_order_in_which_they_go) {
    struct fixture made = heap_fixture(1, BLOCKS);
    static struct memlane_block blocks[BLOCKS];
    uint64_t random = 1;
    for (int turn = 0; turn < 20; turn++) {
        for (int i = 0; i < BLOCKS; i++)
            blocks[i] = got(&mine, 64 + 64 * (random = random * 6364136223846793005u + 1442695040888963407u) % 640);
        for (int left = BLOCKS; left > 0; left--) {
            const int at = (int)((random = random * 6364136223846793005u + 1442695040888963407u) >> 33) % left;
            CHECK(let_go(&mine, &blocks[at]));
            blocks[at] = blocks[left - 1];
        }
        CHECK_EQUAL(0, mine.held_count);
        CHECK_EQUAL(ARENA, count().largest_free);
    }
    heap_end(&made);
}

TEST(free_steps_are_given_back_and_reserved_again) {
    struct fixture made = heap_fixture(1, BLOCKS);
    struct memlane_block block = got(&mine, ARENA);
    uint64_t from = 0, until = 0;
    bool freed;
    CHECK(memlane_heap_unreserved(&mine.heap, 0, 0, ARENA, &from, &until));
    memlane_heap_note_reserved(&mine.heap, 0, from, until, true);
    memset(base_of(&region) + block.offset, 7, ARENA);
    CHECK_EQUAL(0, memlane_holding_trim(&mine, 0, &freed)); /* somebody is there */
    CHECK_EQUAL(7, base_of(&region)[block.offset]);
    CHECK(let_go(&mine, &block));
    CHECK_EQUAL(ARENA, memlane_holding_trim(&mine, 0, &freed));
    CHECK_EQUAL(0, memlane_holding_trim(&mine, 0, &freed));
    CHECK_EQUAL(0, count().reserved);
    CHECK_EQUAL(0, base_of(&region)[block.offset]);
    block = got(&mine, ARENA);
    CHECK(memlane_heap_unreserved(&mine.heap, 0, 0, ARENA, &from, &until));
    heap_end(&made);
}

/* ---- two of them, as two processes have them --------------------------------------------------------------- */

/* Two participants of one process, so that each step is in our hand. */
static struct memlane_region other_region;
static struct memlane_holding theirs;

static struct fixture two(uint64_t ready) {
    struct fixture made = heap_fixture(1, ready);
    fixture_join(&other_region, &made);
    CHECK_EQUAL(MEMLANE_OK, memlane_holding_begin(&theirs, base_of(&other_region), &shape, &other_region.membership));
    return made;
}

static void two_end(struct fixture *made) {
    memlane_holding_end(&theirs);
    memlane_region_close(&other_region);
    heap_end(made);
}

TEST(a_block_that_others_freed_is_found_and_one_that_they_made_there_since_is_not_touched) { /* trap 26 */
    struct fixture made = two(BLOCKS);
    struct memlane_block block = got(&mine, ARENA / 2), opened, there;
    bool freed;
    seal(&block);
    CHECK_EQUAL(MEMLANE_OK, memlane_holding_open(&theirs, block.number, block.generation, &opened, &freed));
    CHECK(!let_go(&mine, &block)); /* from now on it is watched */
    CHECK(let_go(&theirs, &opened));
    there = got(&theirs, ARENA / 2);
    CHECK_EQUAL(block.offset, there.offset);
    /* Our picture is old, and what is watched is FREE, or begun again: it is room of theirs. */
    struct memlane_block half = got(&mine, ARENA / 2), none;
    CHECK(half.offset != there.offset);
    CHECK_EQUAL(MEMLANE_FULL, get(&mine, 64, &none));
    CHECK(let_go(&theirs, &there));
    there = got(&mine, ARENA / 2);
    CHECK_EQUAL(block.offset, there.offset);
    two_end(&made);
}

TEST(a_picture_that_was_left_behind_by_more_commits_than_the_journal_has_is_drawn_anew) {
    struct fixture made = two(BLOCKS);
    struct memlane_block kept = got(&mine, 4096);
    for (int i = 0; i < 3 * (int)MEMLANE_HEAP_JOURNAL; i++) {
        struct memlane_block block = got(&theirs, 64);
        CHECK(let_go(&theirs, &block));
    }
    struct memlane_block of_theirs = got(&theirs, 8192), of_ours = got(&mine, 8192);
    CHECK(of_theirs.offset + 8192 <= of_ours.offset || of_ours.offset + 8192 <= of_theirs.offset);
    CHECK(of_ours.offset >= kept.offset + 4096 || of_ours.offset + 8192 <= kept.offset);
    two_end(&made);
}

TEST(two_that_allocate_and_release_in_turn_never_get_the_same_bytes) { /* traps 24 to 26 */
    struct fixture made = two(BLOCKS);
    static struct {
        struct memlane_block block;
        int uses;
        bool is_mine;
    } live[64];
    static unsigned char owner[ARENA / 64];
    uint64_t random = 42, failures = 0;
    memset(owner, 0, sizeof owner);
    for (int life = 0; life < LIVES; life++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        const int at = (int)(random >> 58);
        struct memlane_holding *holding = random >> 40 & 1 ? &mine : &theirs;
        if (live[at].uses == 0) {
            const uint64_t nbytes = 64 + (random >> 20 & 255) * 64;
            enum memlane_status status = get(holding, nbytes, &live[at].block);
            if (status != MEMLANE_OK) {
                CHECK_EQUAL(MEMLANE_FULL, status);
                failures++;
                continue;
            }
            live[at].uses = 1;
            live[at].is_mine = holding == &mine;
            const uint64_t first = (live[at].block.offset - shape.bytes_offset) / 64;
            for (uint64_t i = first; i < first + nbytes / 64; i++) {
                CHECK_EQUAL(0, owner[i]);
                owner[i] = 1;
            }
            live[at].block.payload_nbytes = nbytes;
            seal(&live[at].block);
            if (random >> 30 & 1) { /* both hold it, and the maker lets go first */
                struct memlane_block opened;
                bool freed;
                CHECK_EQUAL(MEMLANE_OK, memlane_holding_open(holding == &mine ? &theirs : &mine, live[at].block.number,
                                                             live[at].block.generation, &opened, &freed));
                CHECK(!let_go(holding, &live[at].block));
                live[at].is_mine = holding != &mine;
            }
        } else {
            const uint64_t first = (live[at].block.offset - shape.bytes_offset) / 64;
            for (uint64_t i = first; i < first + live[at].block.payload_nbytes / 64; i++)
                owner[i] = 0;
            CHECK(let_go(live[at].is_mine ? &mine : &theirs, &live[at].block));
            live[at].uses = 0;
        }
    }
    CHECK(failures < LIVES / 4);
    for (int at = 0; at < 64; at++)
        if (live[at].uses)
            CHECK(let_go(live[at].is_mine ? &mine : &theirs, &live[at].block));
    memset(live, 0, sizeof live);
    CHECK_EQUAL(0, count().blocks);
    CHECK_EQUAL(ARENA, count().largest_free);
    two_end(&made);
}

TEST(a_loan_holds_a_block_until_its_readers_have_come) { /* traps 19, 36 */
    struct fixture made = two(BLOCKS);
    struct memlane_block block = got(&mine, 64), opened, again;
    uint32_t which, stamp, second, second_stamp, third, third_stamp;
    bool freed;
    seal(&block);
    CHECK_EQUAL(MEMLANE_OK, memlane_holding_lend(&mine, block.number, 2, region.membership.tag, &which, &stamp));
    CHECK_EQUAL(MEMLANE_OK,
                memlane_holding_lend(&mine, block.number, 1, region.membership.tag, &second, &second_stamp));
    CHECK_EQUAL(MEMLANE_FULL,
                memlane_holding_lend(&mine, block.number, 1, region.membership.tag, &third, &third_stamp));
    CHECK_EQUAL(1, memlane_holding_lent_cancel(&mine, block.number, second, second_stamp, &freed));
    CHECK(!freed);
    CHECK(!let_go(&mine, &block));
    CHECK_EQUAL(2, memlane_holding_lent_left(&mine, block.number, which, stamp));
    for (int reader = 0; reader < 2; reader++) {
        CHECK_EQUAL(MEMLANE_OK, memlane_holding_open(&theirs, block.number, block.generation, &opened, &freed));
        CHECK(memlane_lent_claim(&theirs.heap, block.number, which, stamp));
    }
    CHECK(!memlane_lent_claim(&theirs.heap, block.number, which, stamp));
    CHECK_EQUAL(0, memlane_holding_lent_left(&mine, block.number, which, stamp));
    CHECK(!let_go(&theirs, &opened));
    CHECK(let_go(&theirs, &opened));
    CHECK_EQUAL(MEMLANE_STALE, memlane_holding_open(&theirs, block.number, block.generation, &again, &freed));
    two_end(&made);
}

/* ---- deaths ------------------------------------------------------------------------------------------------ */

static uint64_t allocate_all(const struct fixture *made) {
    static struct memlane_region here;
    static struct memlane_holding holding;
    struct memlane_block block;
    fixture_join(&here, made);
    CHECK_EQUAL(MEMLANE_OK, memlane_holding_begin(&holding, base_of(&here), &shape, &here.membership));
    while (get(&holding, 16384, &block) == MEMLANE_OK) {
    }
    return here.membership.tag;
}

TEST(the_next_allocation_gets_what_the_dead_held_and_not_what_a_stopped_process_holds) { /* trap 31 */
    struct fixture made = heap_fixture(1, BLOCKS);
    struct memlane_block block;
    struct memlane_heap_share share;
    struct fixture_child child = fixture_start(allocate_all, &made);
    const uint32_t tag = (uint32_t)fixture_told(&child);
    CHECK_EQUAL(0, kill(child.pid, SIGSTOP));
    CHECK_EQUAL(0, collect_all(&mine));
    CHECK_EQUAL(MEMLANE_FULL, get(&mine, 64, &block));
    CHECK_EQUAL(1, memlane_holding_shares(&mine, &share, 1));
    CHECK_EQUAL(tag, share.of);
    CHECK_EQUAL(ARENA / 16384, share.blocks);
    fixture_kill(&child);
    const uint64_t before = memlane_holding_free_digest(&mine);
    CHECK_EQUAL(ARENA / 16384, collect_all(&mine));
    CHECK(before != memlane_holding_free_digest(&mine));
    CHECK_EQUAL(ARENA, got(&mine, ARENA).payload_nbytes);
    heap_end(&made);
}

static uint64_t find_nothing_held(const struct fixture *made) {
    struct memlane_block block;
    bool freed;
    (void)made;
    /* The block of the parent, which this process has inherited: a stranger's. */
    if (memlane_holding_release(&mine, 0, 1, &freed) != MEMLANE_STALE)
        return 1;
    if (memlane_region_join(&region) != 0 || memlane_holding_open(&mine, 0, 1, &block, &freed) != MEMLANE_OK)
        return 2;
    return memlane_holding_release(&mine, 0, 1, &freed) == MEMLANE_OK && !freed ? 0 : 3;
}

TEST(a_forked_child_holds_nothing_and_may_open_what_its_parent_holds) { /* trap 10 */
    struct fixture made = heap_fixture(1, BLOCKS);
    CHECK_EQUAL(0, memlane_runtime_setup());
    struct memlane_block block = got(&mine, 64);
    CHECK_EQUAL(0, block.number);
    CHECK_EQUAL(1, block.generation);
    seal(&block);
    struct fixture_child child = fixture_start(find_nothing_held, &made);
    CHECK_EQUAL(0, fixture_told(&child));
    fixture_kill(&child);
    (void)collect_all(&mine);
    CHECK(let_go(&mine, &block));
    heap_end(&made);
}

/* ---- hostile bytes -------------------------------------------------------------------------------------------- */

TEST(any_word_may_hold_anything_and_every_call_ends_inside_of_the_heap) { /* trap 35 */
    struct fixture made = heap_fixture(2, BLOCKS);
    unsigned char *bytes = base_of(&region);
    uint64_t random = 7;
    bool freed;
    for (int round = 0; round < 400; round++) {
        struct memlane_block block, opened;
        for (int spoilt = 0; spoilt < 40; spoilt++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            const uint64_t nbytes = random >> 60 ? shape.bytes_offset : shape.blocks_offset;
            const uint64_t at = (random >> 8) % nbytes & ~UINT64_C(7);
            uint64_t word = random >> 50 & 1 ? random * 3 : random >> 51 & 1 ? 0 : UINT64_MAX;
            memcpy(bytes + at, &word, sizeof word);
        }
        enum memlane_status status = get(&mine, (random >> 30 & 0xffff) + 1, &block);
        if (status == MEMLANE_OK) {
            CHECK(block.offset >= shape.bytes_offset && block.offset + block.payload_nbytes <= shape.nbytes);
            memset(bytes + block.offset, round, block.payload_nbytes);
            (void)memlane_heap_seal(&mine.heap, block.number, block.generation);
            if (memlane_holding_open(&mine, block.number, block.generation, &opened, &freed) == MEMLANE_OK)
                CHECK(opened.offset + opened.payload_nbytes <= shape.nbytes);
            (void)memlane_holding_release(&mine, block.number, block.generation, &freed);
            (void)memlane_holding_release(&mine, block.number, block.generation, &freed);
        }
        if (memlane_holding_open(&mine, (uint32_t)(random >> 20) % 1024, random >> 60, &opened, &freed) == MEMLANE_OK) {
            CHECK(opened.offset >= shape.bytes_offset && opened.offset + opened.payload_nbytes <= shape.nbytes);
            (void)memlane_holding_release(&mine, opened.number, opened.generation, &freed);
        }
        if (round % 8 == 0) {
            (void)collect_all(&mine);
            (void)memlane_holding_trim(&mine, round / 8 & 1, &freed);
            struct memlane_heap_totals totals;
            (void)memlane_holding_count(&mine, &totals);
            static struct memlane_heap_share shares[64];
            (void)memlane_holding_shares(&mine, shares, 64);
            (void)memlane_holding_free_digest(&mine);
        }
    }
    heap_end(&made);
}

MAIN
