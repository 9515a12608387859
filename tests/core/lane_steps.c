/* SPDX-License-Identifier: MIT
 *
 * The lane, stopped in front of every single atomic access: killed there, or overtaken by the other side.
 */
#include "steps.h"

#include "lane_fixture.h"

static struct bench bench;
static enum memlane_status answer, others_answer;

/* ---- a producer killed at every access ------------------------------------------------------------ */

static const struct memlane_span three[3] = {{"aaaaaaaa", 8}, {"bbbbbbbb", 8}, {"cccccccc", 8}};

static void put_one(void) { answer = memlane_producer_put(&bench.producer, "aaaaaaaa", 8); }

static void put_three(void) {
    size_t done;
    answer = memlane_producer_put_many(&bench.producer, three, 3, &done);
}

static void adopt(void) { answer = bench_new_producer(&bench); }

static char in_hand; /* what was last taken, also by one who died before it was freed */

/* The next record, whose 8 bytes all are this letter; 0: there is none. */
static char letter_of_next(void) {
    uint64_t s;
    struct memlane_extent extent;
    enum memlane_status status = memlane_consumer_peek(&bench.consumer, &s, &extent);
    if (status == MEMLANE_BUSY) {
        memlane_consumer_skip(&bench.consumer);
        status = memlane_consumer_peek(&bench.consumer, &s, &extent);
    }
    if (status != MEMLANE_OK)
        return 0;
    CHECK_EQUAL(8, extent.nbytes);
    const char *bytes = (const char *)bench.lane.bytes + extent.offset;
    for (int i = 1; i < 8; i++)
        CHECK_EQUAL(bytes[0], bytes[i]);
    in_hand = bytes[0];
    memlane_consumer_finish(&bench.consumer, 1, 8);
    return in_hand;
}

/* Two records consumed and two there, so that what follows wraps the descriptors. */
static void prepare(uint64_t start) {
    bench = bench_new_at(64, 8, start);
    for (const char *letter = "xxyz"; *letter; letter++) {
        char record[8];
        memset(record, *letter, 8);
        CHECK_EQUAL(MEMLANE_OK, memlane_producer_put(&bench.producer, record, 8));
    }
    CHECK_EQUAL('x', letter_of_next());
    CHECK_EQUAL('x', letter_of_next());
}

/* Wherever one died: y and z are there, then all of the batch or nothing, then what a successor puts. */
static void check_all_or_nothing(const char *all) {
    CHECK_EQUAL(MEMLANE_OK, answer);
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_put(&bench.producer, "dddddddd", 8));
    CHECK_EQUAL('y', letter_of_next());
    CHECK_EQUAL('z', letter_of_next());
    char letter = letter_of_next();
    if (letter == *all) {
        while (*++all)
            CHECK_EQUAL(*all, letter_of_next());
        letter = letter_of_next();
    }
    CHECK_EQUAL('d', letter);
    CHECK_EQUAL(0, letter_of_next());
    CHECK_EQUAL(atomic_load(&bench.lane.control->tail), bench_head(&bench));
}

static void kill_producer_everywhere(void (*act)(void), const char *all) {
    bool died = true;
    for (long k = 0; died; k++) {
        bool adopter_died = true;
        for (long j = 0; adopter_died; j++) { /* and its adopter, everywhere, and the next one lives */
            prepare(UINT64_C(1000) + (uint64_t)k);
            died = dies_at(k, act);
            adopter_died = dies_at(j, adopt);
            adopt();
            check_all_or_nothing(all);
            bench_free(&bench);
        }
        CHECK(k < 100);
    }
}

TEST(a_producer_killed_in_front_of_any_access_of_a_put_has_put_its_record_or_nothing) {
    kill_producer_everywhere(put_one, "a");
}

TEST(a_producer_killed_in_front_of_any_access_of_a_batch_has_put_all_of_it_or_nothing) {
    kill_producer_everywhere(put_three, "abc");
}

/* ---- a consumer killed at every access ------------------------------------------------------------ */

/* Records a to f, numbers 0 to 5, of which a, b and c are borrowed. */
static void prepare_loans(void) {
    bench = bench_new(64, 8);
    for (char letter = 'a'; letter <= 'f'; letter++) {
        char record[8];
        memset(record, letter, 8);
        CHECK_EQUAL(MEMLANE_OK, memlane_producer_put(&bench.producer, record, 8));
    }
    for (uint64_t i = 0; i < 3; i++) {
        CHECK_EQUAL(MEMLANE_OK, bench_look(&bench));
        memlane_consumer_borrow(&bench.consumer);
    }
}

static void release_first(void) { memlane_consumer_release(&bench.consumer, 0); }
static void release_second(void) { memlane_consumer_release(&bench.consumer, 1); }
static void get_one(void) { (void)letter_of_next(); }
static void release_all(void) {
    memlane_consumer_release(&bench.consumer, 2);
    memlane_consumer_release(&bench.consumer, 0);
    memlane_consumer_release(&bench.consumer, 1);
}
static void get_all(void) {
    while (letter_of_next()) {
    }
}
static void start_anew(void) { bench_new_consumer(&bench); }

/* Those of `must` come out for certain, the others perhaps, all of them in order; then the lane is as good as new. */
static void check_redelivery(const char *must) {
    char last = 'a' - 1, letter;
    while ((letter = letter_of_next()) != 0) {
        CHECK(letter > last && letter <= 'f');
        last = letter;
        if (letter == *must)
            must++;
    }
    CHECK_EQUAL(0, *must);
    CHECK_EQUAL(6, bench_head(&bench));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 8; i++)
            CHECK_EQUAL(MEMLANE_OK, memlane_producer_put(&bench.producer, "gggggggg", 8));
        for (int i = 0; i < 8; i++)
            CHECK_EQUAL('g', letter_of_next());
    }
}

TEST(a_consumer_killed_in_front_of_any_access_loses_nothing_that_it_had_not_given_back) {
    static const struct {
        void (*act)(void);
        const char *must;
    } deaths[] = {{release_first, "bcdef"}, {release_second, "acdef"}, {release_all, "def"},
                  {get_one, "abcef"},       {get_all, "abc"},          {start_anew, "abcdef"}};
    for (size_t i = 0; i < sizeof deaths / sizeof *deaths; i++) {
        bool died = true;
        for (long k = 0; died; k++) {
            bool successor_died = true;
            for (long j = 0; successor_died; j++) { /* and its successor, everywhere in the getting of one record */
                prepare_loans();
                died = dies_at(k, deaths[i].act);
                start_anew();
                in_hand = 0;
                successor_died = dies_at(j, get_one);
                start_anew();
                char must[8] = "", *end = must;
                for (const char *letter = deaths[i].must; *letter; letter++)
                    if (*letter != in_hand) /* the successor had that one, perhaps for good */
                        *end++ = *letter;
                check_redelivery(must);
                bench_free(&bench);
            }
            CHECK(k < 200);
        }
    }
}

/* ---- one side overtaken by the other at every access ---------------------------------------------- */

static uint64_t claimed;
static void claim(void) { answer = memlane_producer_claim(&bench.producer, 8, &claimed); }
static void commit(void) { answer = memlane_producer_commit(&bench.producer, claimed, 8); }
static void close_lane(void) { others_answer = memlane_consumer_close(&bench.consumer); }
static void shut_close_and_release_all(void) {
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    close_lane();
    for (uint64_t s = 0; s <= bench.lane.mask; s++)
        memlane_consumer_release(&bench.consumer, s);
}

TEST(a_claim_that_meets_the_close_of_a_lane_full_of_loans_at_any_access_never_finds_the_room_they_leave) {
    for (uint64_t records = 1; records <= 4; records *= 2) {
        bool met = true;
        for (long k = 0; met; k++) {
            bench = bench_new(64, records);
            for (uint64_t s = 0; s < records; s++) {
                CHECK_EQUAL(MEMLANE_OK, memlane_producer_put(&bench.producer, "aaaaaaaa", 8));
                CHECK_EQUAL(MEMLANE_OK, bench_look(&bench));
                memlane_consumer_borrow(&bench.consumer);
            }
            met = meets_at(k, claim, shut_close_and_release_all);
            if (met) {
                CHECK_EQUAL(MEMLANE_CLOSED, others_answer);
                CHECK(answer == MEMLANE_CLOSED || answer == MEMLANE_FULL);
            } else
                CHECK_EQUAL(MEMLANE_FULL, answer);
            bench_free(&bench);
            CHECK(k < 100);
        }
    }
}

/* Exactly one wins, whoever was overtaken. */
static void check_commit_against_close(void) {
    if (answer == MEMLANE_OK) {
        CHECK_EQUAL(MEMLANE_BUSY, others_answer);
        CHECK_EQUAL(MEMLANE_OK, bench_look(&bench));
    } else {
        CHECK_EQUAL(MEMLANE_CLOSED, answer);
        CHECK_EQUAL(MEMLANE_CLOSED, others_answer);
        CHECK_EQUAL(MEMLANE_CLOSED, bench_look(&bench));
    }
    bench_free(&bench);
}

TEST(a_commit_and_a_close_that_overtake_each_other_at_any_access_have_one_winner) {
    bool met = true;
    for (long k = 0; met; k++) {
        bench = bench_new_at(64, 4, 77);
        claim();
        met = meets_at(k, commit, close_lane);
        if (!met)
            close_lane();
        check_commit_against_close();
    }
    met = true;
    for (long k = 0; met; k++) {
        bench = bench_new_at(64, 4, 77);
        claim();
        met = meets_at(k, close_lane, commit);
        if (!met)
            commit();
        check_commit_against_close();
    }
}

TEST(two_of_one_consumer_that_overtake_each_other_at_any_access_leave_head_where_it_belongs) {
    static const struct {
        void (*one)(void);
        void (*other)(void);
        uint64_t head;
    } pairs[] = {
        {release_first, release_second, 2}, {release_second, release_first, 2}, {release_first, get_one, 1},
        {get_one, release_first, 1},        {get_one, release_all, 4},          {release_all, get_one, 4},
        {get_all, release_all, 6},          {release_all, get_all, 6},          {get_all, release_second, 0},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        bool met = true;
        for (long k = 0; met; k++) {
            prepare_loans();
            met = meets_at(k, pairs[i].one, pairs[i].other);
            if (!met)
                pairs[i].other();
            CHECK_EQUAL(pairs[i].head, bench_head(&bench));
            bench_free(&bench);
            CHECK(k < 200);
        }
    }
}

TEST(an_adoption_overtaken_by_the_consumer_at_any_access_goes_on_behind_the_last_record) {
    bool met = true;
    for (long k = 0; met; k++) {
        prepare(0);
        put_one();
        atomic_store(&bench.lane.control->tail, 2);
        bench_set_state(&bench, 6, MEMLANE_STATE_READY); /* staged behind 5 */
        met = meets_at(k, adopt, get_all);
        CHECK_EQUAL(MEMLANE_OK, answer);
        CHECK_EQUAL(5, bench.producer.next);
        get_all();
        for (int i = 0; i < 20; i++) {
            CHECK_EQUAL(MEMLANE_OK, memlane_producer_put(&bench.producer, "eeeeeeee", 8));
            CHECK_EQUAL('e', letter_of_next());
        }
        bench_free(&bench);
        CHECK(k < 100);
    }
}

MAIN
