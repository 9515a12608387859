/* SPDX-License-Identifier: MIT
 *
 * A lane with many consumers, stopped in front of every single atomic access: killed there, or overtaken there by
 * another consumer, the producer or an adopter.
 */
#include "steps.h"

#include "consumers_fixture.h"

static struct many_bench many;
static char alices[16], bobs[16]; /* what each handed out, in order */
static enum memlane_status answer, others_answer;

static void note(char *list, char letter) {
    size_t length = strlen(list);
    CHECK(length < 15);
    list[length] = letter;
    list[length + 1] = '\0';
}

/* As a get does it: the letter counts once the record is freed. */
static bool get(uint32_t tag, char *list) {
    uint64_t s;
    if (!many_take(&many, tag, &s))
        return false;
    char letter = many_letter(&many, s);
    if (memlane_many_free(&many.bench.lane, s, tag))
        note(list, letter);
    return true;
}

static void alice_gets(void) { get(ALICE, alices); }
static void bob_gets(void) { get(BOB, bobs); }
static void bob_gets_all(void) {
    while (get(BOB, bobs)) {
    }
}
static void alice_gets_a_batch(void) {
    struct memlane_found found;
    struct memlane_extent extents[8];
    if (memlane_many_look(&many.many, &found) != MEMLANE_OK)
        return;
    size_t count = memlane_many_look_on(&many.many, &found, 3, UINT64_MAX, extents);
    count = memlane_many_take(&many.bench.lane, found.s, count, ALICE);
    for (size_t i = 0; i < count; i++) {
        char letter = many_letter(&many, found.s + i);
        if (memlane_many_free(&many.bench.lane, found.s + i, ALICE))
            note(alices, letter);
    }
}
static void alice_hands_back(void) {
    uint64_t s;
    if (many_take(&many, ALICE, &s))
        memlane_many_hand_back(many.bench.ring, &many.bench.lane, s, ALICE);
}
static bool overlooked;
static void look_for_corruption(void) { overlooked = memlane_many_overlooked(&many.many); }
static void three_rounds(void) {
    for (int i = 0; i < 12; i++) {
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'q'));
        CHECK_EQUAL('q', many_get(&many, BOB));
    }
}
static void put_e(void) { answer = many_put(&many, 'e'); }
static void close_lane(void) {
    memlane_ring_shut(many.bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    others_answer = memlane_many_close(&many.many);
}
static void adopt_and_put_e(void) {
    if (bench_new_producer(&many.bench) == MEMLANE_OK)
        answer = many_put(&many, 'e');
}

/* Two records consumed, then a to d, of which Carol, who is dead, has b in hand. Eight descriptors, or as many as
 * records there are, so that the lane is full. */
static void prepare(bool full) {
    many = many_new_at(full ? 32 : 64, full ? 4 : 8, 1000);
    alices[0] = bobs[0] = '\0';
    many.dead[CAROL - ALICE] = true;
    for (const char *letter = "xy"; *letter; letter++) {
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, *letter));
        CHECK_EQUAL(*letter, many_get(&many, BOB));
    }
    for (char letter = 'a'; letter <= 'd'; letter++)
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, letter));
    struct memlane_found b = {.s = 1003, .state = memlane_state(1003, MEMLANE_STATE_READY)};
    CHECK(memlane_many_claim(&many.bench.lane, &b, CAROL));
}

/* Every letter of `all` came to one of the two exactly once, those of `perhaps` at most once; then the lane is as
 * good as new. */
static void check_all(const char *all, const char *perhaps) {
    char both[32];
    snprintf(both, sizeof both, "%s%s", alices, bobs);
    for (const char *letter = both; *letter; letter++) {
        CHECK(strchr(all, *letter) || strchr(perhaps, *letter));
        CHECK(!strchr(letter + 1, *letter));
    }
    for (; *all; all++)
        CHECK(strchr(both, *all));
    CHECK(!memlane_many_overlooked(&many.many));
    for (int round = 0; round < 3; round++) {
        uint64_t records = many.bench.lane.records;
        for (uint64_t i = 0; i < records; i++)
            CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'z'));
        CHECK_EQUAL(MEMLANE_FULL, many_put(&many, 'z'));
        for (uint64_t i = 0; i < records; i++)
            CHECK_EQUAL('z', many_get(&many, ALICE));
    }
}

TEST(a_consumer_killed_in_front_of_any_access_loses_nothing_and_what_it_had_is_handed_out_again) {
    void (*const deaths[])(void) = {alice_gets, alice_gets_a_batch, alice_hands_back};
    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++)
        for (int full = 0; full < 2; full++) {
            bool died = true;
            for (long k = 0; died; k++) {
                bool successor_died = true;
                for (long j = 0; successor_died; j++) { /* and its successor, everywhere, and the next one lives */
                    prepare(full);
                    died = many.dead[0] = dies_at(k, deaths[i]);
                    successor_died = many.dead[BOB - ALICE] = dies_at(j, bob_gets_all);
                    while (many_get(&many, DAVE)) {
                    }
                    for (uint64_t s = 1002; s < 1006; s++)
                        CHECK_EQUAL(memlane_state(s, MEMLANE_STATE_FREE), bench_state(&many.bench, s));
                    check_all("", "abcd");
                    bench_free(&many.bench);
                    CHECK(j < 1000);
                }
                CHECK(k < 1000);
            }
        }
}

static void advance(void) { memlane_many_advance(&many.bench.lane); }
static void successor_goes_on(void) {
    for (int i = 0; i < 4; i++) {
        advance();
        CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'q'));
        CHECK_EQUAL('q', many_get(&many, BOB));
    }
    advance();
}

TEST(a_producer_taken_for_dead_does_not_move_head_back_under_its_successor) {
    bool met = true;
    for (long k = 0; met; k++) {
        many = many_new_at(64, 8, 1000);
        for (char letter = 'a'; letter <= 'd'; letter++) {
            CHECK_EQUAL(MEMLANE_OK, many_put(&many, letter));
            CHECK_EQUAL(letter, many_get(&many, BOB));
        }
        met = meets_at(k, advance, successor_goes_on);
        CHECK_EQUAL(met ? 1008 : 1004, memlane_lane_head(&many.bench.lane));
        bench_free(&many.bench);
        CHECK(k < 1000);
    }
}

TEST(two_consumers_that_overtake_each_other_at_any_access_get_everything_once) {
    static const struct {
        void (*one)(void);
        void (*other)(void);
    } pairs[] = {
        {alice_gets, bob_gets},           {alice_gets, bob_gets_all},         {alice_gets_a_batch, bob_gets},
        {bob_gets_all, alice_gets},       {alice_gets_a_batch, bob_gets_all}, {bob_gets_all, alice_gets_a_batch},
        {bob_gets_all, alice_hands_back}, {alice_hands_back, bob_gets_all},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        for (int full = 0; full < 2; full++) {
            bool met = true;
            for (long k = 0; met; k++) {
                prepare(full);
                met = meets_at(k, pairs[i].one, pairs[i].other);
                bob_gets_all();
                check_all("abcd", "");
                bench_free(&many.bench);
                CHECK(k < 1000);
            }
        }
}

TEST(a_consumer_overtaken_by_whole_rounds_of_the_lane_at_any_access_gets_a_record_or_none_but_no_wrong_one) {
    bool met = true;
    for (long k = 0; met; k++) {
        prepare(true);
        bob_gets_all();
        for (char letter = 'p'; letter <= 'r'; letter++)
            CHECK_EQUAL(MEMLANE_OK, many_put(&many, letter));
        alices[0] = bobs[0] = '\0';
        met = meets_at(k, alice_gets, bob_gets_all);
        for (int round = 0; round < 3; round++) {
            CHECK_EQUAL(MEMLANE_OK, many_put(&many, 's'));
            bob_gets_all();
            for (char *s = bobs; (s = strchr(s, 's')) != NULL;)
                memmove(s, s + 1, strlen(s));
        }
        check_all("pqr", "");
        bench_free(&many.bench);
        CHECK(k < 1000);
    }
}

/* (hazard 42) */
TEST(a_look_for_corruption_overtaken_by_whole_rounds_at_any_access_sees_none) {
    for (int full = 0; full < 2; full++) {
        bool met = true;
        for (long k = 0; met; k++) {
            prepare(full);
            bob_gets_all();
            met = meets_at(k, look_for_corruption, three_rounds);
            CHECK(!overlooked);
            bench_free(&many.bench);
            CHECK(k < 1000);
        }
    }
}

TEST(a_put_into_a_full_lane_overtaken_by_a_consumer_at_any_access_finds_room_or_says_full) {
    bool met = true;
    for (long k = 0; met; k++) {
        prepare(true);
        met = meets_at(k, put_e, bob_gets_all);
        CHECK(answer == MEMLANE_OK || answer == MEMLANE_FULL);
        CHECK(met || answer == MEMLANE_FULL);
        if (answer == MEMLANE_FULL) {
            bob_gets_all();
            put_e();
            CHECK_EQUAL(MEMLANE_OK, answer);
        }
        bob_gets_all();
        check_all("abcde", "");
        bench_free(&many.bench);
        CHECK(k < 1000);
    }
}

TEST(a_put_overtaken_by_the_close_at_any_access_is_handed_out_or_refused) {
    static const struct {
        void (*one)(void);
        void (*other)(void);
    } pairs[] = {{put_e, close_lane}, {close_lane, put_e}};
    for (size_t i = 0; i < 2; i++)
        for (int full = 0; full < 2; full++) {
            bool met = true;
            for (long k = 0; met; k++) {
                prepare(full);
                bob_gets_all();
                met = meets_at(k, pairs[i].one, pairs[i].other);
                if (!met)
                    pairs[i].other();
                bobs[0] = '\0';
                bob_gets_all();
                if (answer == MEMLANE_OK) {
                    CHECK_EQUAL('e', bobs[0]);
                    CHECK_EQUAL(MEMLANE_CLOSED, memlane_many_close(&many.many));
                } else {
                    CHECK_EQUAL(MEMLANE_CLOSED, answer);
                    CHECK_EQUAL('\0', bobs[0]);
                    CHECK_EQUAL(MEMLANE_CLOSED, memlane_many_close(&many.many));
                }
                CHECK_EQUAL(MEMLANE_CLOSED, many_put(&many, 'f'));
                bench_free(&many.bench);
                CHECK(k < 1000);
            }
        }
}

TEST(a_producer_killed_in_front_of_any_access_of_a_put_into_a_full_lane_leaves_it_to_its_successor) {
    bool died = true;
    for (long k = 0; died; k++) {
        bool adopter_died = true;
        for (long j = 0; adopter_died; j++) {
            prepare(true);
            CHECK_EQUAL('a', many_get(&many, ALICE));
            note(alices, 'a');
            died = dies_at(k, put_e);
            bool put = bench_state(&many.bench, 1006) == memlane_state(1006, MEMLANE_STATE_READY);
            adopter_died = dies_at(j, adopt_and_put_e);
            CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&many.bench));
            bob_gets_all();
            char both[32];
            snprintf(both, sizeof both, "%s%s", alices, bobs);
            CHECK(strspn("abcd", both) == 4);
            CHECK(!put || strchr(both, 'e'));
            bobs[0] = '\0';
            note(bobs, 'b'), note(bobs, 'c'), note(bobs, 'd');
            check_all("abcd", "");
            bench_free(&many.bench);
            CHECK(j < 1000);
        }
        CHECK(k < 1000);
    }
}

MAIN
