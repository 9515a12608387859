/* SPDX-License-Identifier: MIT
 *
 * Lanes that grow, in memory that is not there before it is reserved: a touch ends the program. By hand, by random steps against
 * a model, and with every function stopped in front of every atomic access: killed there, or overtaken.
 *
 * What was given back reads as zeros, as with the kernel, and cannot be written to.
 */
#include "steps.h"

#include <sys/mman.h>

#include "check.h"
#include "core/queue_growth.h"

/* Of the places where somebody dies, as many as take a few seconds. The sanitizers are slow with maps. */
#ifdef __SANITIZE_THREAD__
#define STRIDE 20
#elif defined(__SANITIZE_ADDRESS__)
#define STRIDE 6
#else
#define STRIDE 2
#endif

enum { ALICE = 0x401, BOB = 0x402, KEEPER = 0x403, HEIR = 0x404, PAGE = 4096 };

static struct memlane_ring_control *ring;
static struct memlane_queue_lane shared;
static struct memlane_lane lane; /* as consumers see it */
static struct memlane_producer producer;
static struct memlane_growth growth;
static struct memlane_many many;
static unsigned char *data;
static size_t data_nbytes;
static unsigned char *has_memory; /* of each page */
static uint64_t refused_after; /* how many more pages there are; the next ones are refused */
static enum memlane_status answer;

/* ---- the memory ---------------------------------------------------------------------------------- */

static bool reserve(const struct memlane_stretch *stretch) {
    CHECK_EQUAL(0, stretch->offset % PAGE);
    CHECK_EQUAL(0, stretch->nbytes % PAGE);
    CHECK(stretch->nbytes > 0 && stretch->offset + stretch->nbytes <= data_nbytes);
    for (uint64_t page = stretch->offset / PAGE; page < (stretch->offset + stretch->nbytes) / PAGE; page++) {
        if (has_memory[page])
            continue;
        if (refused_after == 0)
            return false;
        refused_after--;
        has_memory[page] = 1;
        CHECK_EQUAL(0, mprotect(data + page * PAGE, PAGE, PROT_READ | PROT_WRITE));
    }
    return true;
}

static void give_back(const struct memlane_stretch *stretch) {
    CHECK_EQUAL(0, stretch->offset % PAGE);
    CHECK_EQUAL(0, stretch->nbytes % PAGE);
    CHECK(stretch->offset + stretch->nbytes <= data_nbytes);
    memset(has_memory + stretch->offset / PAGE, 0, stretch->nbytes / PAGE);
    CHECK(mmap(data + stretch->offset, stretch->nbytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
          MAP_FAILED);
}

static uint64_t pages_held(void) {
    uint64_t pages = 0;
    for (size_t page = 0; page < data_nbytes / PAGE; page++)
        pages += has_memory[page];
    return pages;
}

/* ---- the lane ------------------------------------------------------------------------------------ */

static enum memlane_status adopt(void) {
    memset(&producer, 0xa5, sizeof producer);
    memset(&growth, 0xa5, sizeof growth);
    producer.lane = lane;
    producer.lane.many = false;
    producer.ring = ring;
    producer.tag = HEIR;
    growth.shared = &shared;
    growth.bytes_offset = (uint64_t)(lane.bytes - data);
    growth.soft = 4 * PAGE;
    atomic_store(&lane.control->owner, HEIR);
    memlane_growth_adopt(&growth, &lane);
    enum memlane_status status = memlane_producer_adopt(&producer);
    if (status == MEMLANE_OK)
        memlane_growth_begin(&growth, &producer);
    return status;
}

/* Its first record is number `s`. */
static void new_lane_at(uint64_t capacity, uint64_t records, uint64_t s) {
    uint64_t descriptors = 1;
    while (descriptors < 2 * records)
        descriptors *= 2;
    ring = check_allocate(MEMLANE_LINE_PAIR, sizeof *ring);
    memset(&shared, 0, sizeof shared);
    uint64_t head_nbytes = memlane_align(descriptors * 24);
    data_nbytes = head_nbytes + capacity;
    data = mmap(NULL, data_nbytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(data != MAP_FAILED);
    has_memory = check_allocate(8, data_nbytes / PAGE);
    refused_after = UINT64_MAX;
    lane = (struct memlane_lane){.control = check_allocate(MEMLANE_LINE_PAIR, sizeof *lane.control),
                                 .descriptors = (void *)data,
                                 .bytes = data + head_nbytes,
                                 .capacity = capacity,
                                 .records = records,
                                 .mask = descriptors - 1,
                                 .many = true};
    struct memlane_wanted wanted;
    atomic_store(&lane.control->head, s);
    atomic_store(&lane.control->tail, s);
    atomic_store(&lane.control->taken, s);
    atomic_store(&shared.keeper, memlane_keeper_word(MEMLANE_TAG_NONE, s));
    if (s == 0)
        memlane_growth_first(&lane, &wanted);
    else
        memlane_growth_want_records(&lane, s, s + MEMLANE_GROWTH_RECORDS_MIN, &wanted);
    for (uint32_t i = 0; i < wanted.count; i++)
        CHECK(reserve(&wanted.stretches[i]));
    for (uint64_t i = 0; s != 0 && i < 2; i++)
        atomic_store(&memlane_descriptor_of(&lane, s + i)->state, memlane_state(s + i, MEMLANE_STATE_NONE));
    CHECK_EQUAL(MEMLANE_OK, adopt());
    many.lane = lane;
    memlane_many_start(&many);
}

static void new_lane(uint64_t capacity, uint64_t records) { new_lane_at(capacity, records, 0); }

static void free_lane(void) {
    CHECK_EQUAL(0, munmap(data, data_nbytes));
    free(has_memory);
    free(lane.control);
    free(ring);
}

static unsigned char byte_of(uint64_t seed, uint64_t i) { return (unsigned char)(seed * 131 + i * 29 + (i >> 8) + 7); }

/* MEMLANE_GROW: memory was refused. */
static enum memlane_status put(uint64_t nbytes, uint64_t seed) {
    struct memlane_wanted wanted;
    uint64_t offset = 0;
    enum memlane_status status;
    while ((status = memlane_growth_claim(&growth, &producer, nbytes, &offset, &wanted)) == MEMLANE_GROW) {
        for (uint32_t i = 0; i < wanted.count; i++)
            if (!reserve(&wanted.stretches[i]))
                return MEMLANE_GROW;
        memlane_growth_got(&growth, &producer, &wanted);
    }
    if (status != MEMLANE_OK)
        return status;
    for (uint64_t i = 0; i < nbytes; i++)
        lane.bytes[offset + i] = byte_of(seed, i);
    return memlane_producer_commit(&producer, offset, nbytes);
}

static void check_record(uint64_t s, uint64_t nbytes, uint64_t seed) {
    struct memlane_extent extent;
    CHECK_EQUAL(MEMLANE_OK, memlane_extent_of(&lane, s, &extent));
    CHECK_EQUAL(nbytes, extent.nbytes);
    for (uint64_t i = 0; i < nbytes; i++)
        CHECK_EQUAL(byte_of(seed, i), lane.bytes[extent.offset + i]);
}

/* Take the next one; false: there is none. */
static bool take(uint32_t tag, uint64_t *s) {
    struct memlane_found found;
    while (memlane_many_look(&many, &found) == MEMLANE_OK) {
        *s = found.s;
        if (memlane_many_take(&lane, found.s, 1, tag))
            return true;
    }
    return false;
}

static void get(uint64_t nbytes, uint64_t seed) {
    uint64_t s;
    CHECK(take(BOB, &s));
    check_record(s, nbytes, seed);
    CHECK(memlane_many_free(&lane, s, BOB));
}

static struct memlane_keeper keeper;
static enum memlane_status keep(uint32_t tag) {
    uint64_t found;
    keeper = (struct memlane_keeper){
        .lane = &lane, .shared = &shared, .bytes_offset = (uint64_t)(lane.bytes - data), .tag = tag};
    return memlane_growth_keep(&keeper, &found);
}

/* Give back all that is free, as a process does it. */
static enum memlane_status give_all_back(void) {
    struct memlane_stretch stretch;
    struct memlane_wanted wanted;
    enum memlane_status status = keep(KEEPER);
    if (status != MEMLANE_OK)
        return status;
    while (memlane_growth_next(&keeper, UINT64_MAX, &stretch))
        give_back(&stretch);
    while (memlane_growth_trim(&keeper, &wanted)) {
        for (uint32_t i = 0; i < wanted.count; i++)
            give_back(&wanted.stretches[i]);
        memlane_growth_trimmed(&keeper, &wanted);
    }
    CHECK(memlane_growth_let_go(&keeper));
    return MEMLANE_OK;
}

TEST(a_new_lane_has_memory_for_its_first_records_and_no_more) {
    new_lane(UINT64_C(1) << 30, 1 << 20);
    CHECK_EQUAL(2, pages_held());
    CHECK_EQUAL(MEMLANE_OK, put(8, 1));
    CHECK(pages_held() <= 4);
    get(8, 1);
    free_lane();
}

TEST(a_consumer_never_looks_where_there_is_no_memory_however_many_records_went_through) {
    new_lane(UINT64_C(1) << 24, 1 << 15);
    for (uint64_t i = 0; i < 10000; i++) {
        uint64_t s;
        CHECK_EQUAL(MEMLANE_OK, put(8, i));
        if (i % 100 == 99) /* an heir, which looks behind the next record as well */
            CHECK_EQUAL(MEMLANE_OK, adopt());
        get(8, i);
        CHECK(!take(BOB, &s));
        CHECK(!memlane_many_any(&many));
    }
    free_lane();
}

TEST(descriptors_that_begin_as_zeros_are_not_taken_for_records_of_another_round) {
    static const uint64_t starts[] = {(UINT64_C(1) << 28) - 300, (UINT64_C(1) << 28) + 512, (UINT64_C(1) << 29) - 300,
                                      (UINT64_C(1) << 61) - 300, -UINT64_C(700)};
    for (size_t i = 0; i < sizeof starts / sizeof *starts; i++) {
        new_lane_at(UINT64_C(1) << 22, 1 << 15, starts[i] & ~UINT64_C(255));
        for (uint64_t j = 0; j < 1500; j++) {
            uint64_t s;
            CHECK_EQUAL(MEMLANE_OK, put(8, j));
            get(8, j);
            CHECK(!take(BOB, &s));
            struct memlane_found found;
            CHECK_EQUAL(MEMLANE_EMPTY, memlane_many_look(&many, &found));
        }
        free_lane();
    }
}

TEST(a_lane_takes_whatever_is_put_before_anybody_gets) {
    new_lane(UINT64_C(1) << 26, 1 << 16);
    for (uint64_t i = 0; i < 30000; i++)
        CHECK_EQUAL(MEMLANE_OK, put(i % 500, i));
    CHECK(pages_held() * PAGE < 30000 * 300 + 30000 * 24 + 500000);
    for (uint64_t i = 0; i < 30000; i++)
        get(i % 500, i);
    free_lane();
}

TEST(a_lane_that_was_drained_holds_little_once_what_is_free_was_given_back) {
    new_lane(UINT64_C(1) << 26, 1 << 16);
    for (int round = 0; round < 4; round++) {
        for (uint64_t i = 0; i < 20000; i++)
            CHECK_EQUAL(MEMLANE_OK, put(1000, i));
        CHECK(pages_held() > 20000 * 1000 / PAGE);
        for (uint64_t i = 0; i < 20000; i++) {
            get(1000, i);
            if (i % 4000 == 0)
                CHECK_EQUAL(MEMLANE_OK, give_all_back());
        }
        CHECK_EQUAL(MEMLANE_OK, give_all_back());
        CHECK(pages_held() < 600);
    }
    free_lane();
}

TEST(descriptors_far_behind_are_given_back_and_used_again) {
    new_lane(UINT64_C(1) << 22, 1 << 16);
    for (uint64_t i = 0; i < 500000 / STRIDE; i++) {
        CHECK_EQUAL(MEMLANE_OK, put(8, i));
        get(8, i);
        if (i % 5000 == 0)
            CHECK_EQUAL(MEMLANE_OK, give_all_back());
    }
    CHECK(pages_held() < 300); /* of 768 for all descriptors */
    free_lane();
}

TEST(a_lane_through_which_much_goes_walks_in_circles_where_it_has_memory) {
    new_lane(UINT64_C(1) << 26, 1 << 10);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQUAL(MEMLANE_OK, put(64, i));
    for (uint64_t i = 3; i < 50000 / STRIDE; i++) {
        CHECK_EQUAL(MEMLANE_OK, put(64, i));
        get(64, i - 3);
    }
    CHECK(pages_held() < 40); /* 12 of descriptors and stamps; it is never empty, and never has more than 4 records */
    free_lane();
}

TEST(where_there_is_no_memory_nothing_has_happened_and_less_is_put_later) {
    for (uint64_t pages = 0; pages < 12; pages++) {
        new_lane(UINT64_C(1) << 24, 1 << 12);
        refused_after = pages;
        uint64_t count = 0;
        while (put(3000, count) == MEMLANE_OK)
            count++;
        CHECK_EQUAL(MEMLANE_GROW, put(3000, 99));
        CHECK(count * 3000 <= pages * PAGE);
        for (uint64_t i = 0; i < count; i++)
            get(3000, i);
        refused_after = UINT64_MAX;
        CHECK_EQUAL(MEMLANE_OK, put(3000, 5));
        get(3000, 5);
        free_lane();
    }
}

TEST(a_lane_that_cannot_be_larger_is_full) {
    new_lane(8 * PAGE, 1 << 10);
    CHECK_EQUAL(MEMLANE_TOO_LARGE, put(8 * PAGE + 1, 0));
    CHECK_EQUAL(MEMLANE_OK, put(5 * PAGE, 0));
    CHECK_EQUAL(MEMLANE_OK, put(3 * PAGE, 1));
    CHECK_EQUAL(MEMLANE_FULL, put(1, 2));
    get(5 * PAGE, 0);
    CHECK_EQUAL(MEMLANE_OK, put(4 * PAGE, 2));
    get(3 * PAGE, 1);
    get(4 * PAGE, 2);
    CHECK_EQUAL(MEMLANE_OK, put(8 * PAGE, 3));
    get(8 * PAGE, 3);
    free_lane();
    new_lane(UINT64_C(1) << 20, 3);
    for (int round = 0; round < 5; round++) {
        for (uint64_t i = 0; i < 3; i++)
            CHECK_EQUAL(MEMLANE_OK, put(10, i));
        CHECK_EQUAL(MEMLANE_FULL, put(10, 3));
        for (uint64_t i = 0; i < 3; i++)
            get(10, i);
    }
    free_lane();
}

TEST(nothing_is_given_back_under_a_record_in_a_hand_nor_behind_it) {
    new_lane(UINT64_C(1) << 22, 1 << 10);
    uint64_t s;
    for (uint64_t i = 0; i < 10; i++)
        CHECK_EQUAL(MEMLANE_OK, put(3 * PAGE, i));
    for (uint64_t i = 0; i < 4; i++)
        get(3 * PAGE, i);
    CHECK(take(ALICE, &s));
    for (uint64_t i = 5; i < 10; i++)
        get(3 * PAGE, i);
    uint64_t before = pages_held();
    CHECK_EQUAL(MEMLANE_OK, give_all_back());
    CHECK_EQUAL(before - 12, pages_held());
    check_record(s, 3 * PAGE, 4);
    for (uint64_t i = 0; i < 10; i++)
        CHECK_EQUAL(MEMLANE_OK, put(3 * PAGE, i));
    check_record(s, 3 * PAGE, 4);
    CHECK(memlane_many_free(&lane, s, ALICE));
    for (uint64_t i = 0; i < 10; i++)
        get(3 * PAGE, i);
    CHECK_EQUAL(MEMLANE_OK, give_all_back());
    free_lane();
}

TEST(a_producer_uses_other_memory_while_a_keeper_keeps_head_and_this_one_once_it_was_let_go) {
    struct memlane_stretch stretch;
    uint64_t found;
    new_lane(UINT64_C(1) << 22, 1 << 10);
    for (uint64_t i = 0; i < 8; i++)
        CHECK_EQUAL(MEMLANE_OK, put(PAGE, i));
    for (uint64_t i = 0; i < 8; i++)
        get(PAGE, i);
    CHECK_EQUAL(MEMLANE_OK, keep(KEEPER));
    struct memlane_keeper first = keeper;
    CHECK_EQUAL(MEMLANE_BUSY, keep(ALICE));
    for (uint64_t i = 0; i < 20; i++)
        CHECK_EQUAL(MEMLANE_OK, put(PAGE, i));
    CHECK(growth.is_kept);
    while (memlane_growth_next(&first, UINT64_MAX, &stretch))
        give_back(&stretch);
    for (uint64_t i = 0; i < 20; i++)
        get(PAGE, i);
    CHECK(memlane_growth_let_go(&first));
    CHECK(!memlane_growth_let_go(&first));
    for (uint64_t i = 0; i < 20; i++)
        CHECK_EQUAL(MEMLANE_OK, put(PAGE, i));
    CHECK(!growth.is_kept);
    for (uint64_t i = 0; i < 20; i++)
        get(PAGE, i);
    /* and one that died with it is replaced */
    CHECK_EQUAL(MEMLANE_OK, keep(KEEPER));
    CHECK(memlane_growth_next(&keeper, UINT64_MAX, &stretch));
    give_back(&stretch);
    first = keeper;
    keeper.tag = ALICE;
    CHECK_EQUAL(MEMLANE_BUSY, memlane_growth_keep(&keeper, &found));
    CHECK_EQUAL(KEEPER, found >> 32);
    memlane_growth_bury(&shared, found);
    CHECK(!memlane_growth_let_go(&first));
    for (uint64_t i = 0; i < 40; i++)
        CHECK_EQUAL(MEMLANE_OK, put(PAGE, i));
    for (uint64_t i = 0; i < 40; i++)
        get(PAGE, i);
    CHECK_EQUAL(MEMLANE_OK, give_all_back());
    free_lane();
}

TEST(a_producer_gives_back_what_lies_behind_all_records) {
    struct memlane_stretch stretch;
    new_lane(UINT64_C(1) << 22, 1 << 10);
    for (uint64_t i = 0; i < 100; i++)
        CHECK_EQUAL(MEMLANE_OK, put(PAGE, i));
    CHECK(!memlane_growth_surplus(&growth, &producer, &stretch));
    for (uint64_t i = 0; i < 100; i++)
        get(PAGE, i);
    CHECK_EQUAL(MEMLANE_OK, memlane_growth_refresh(&growth, &producer));
    CHECK_EQUAL(MEMLANE_OK, memlane_growth_refresh(&growth, &producer));
    CHECK(memlane_growth_surplus(&growth, &producer, &stretch));
    give_back(&stretch);
    CHECK(!memlane_growth_surplus(&growth, &producer, &stretch));
    CHECK(pages_held() <= 8);
    for (uint64_t i = 0; i < 100; i++)
        CHECK_EQUAL(MEMLANE_OK, put(PAGE, i));
    for (uint64_t i = 0; i < 100; i++)
        get(PAGE, i);
    free_lane();
}

/* ---- random steps against a model ----------------------------------------------------------------- */

TEST(of_random_puts_gets_loans_deaths_and_givings_back_every_record_comes_out_as_it_went_in) {
    enum { LOANS = 4 };
    uint64_t random = 31;
    for (int round = 0; round < 40 / STRIDE; round++) {
        struct {
            uint64_t s, nbytes, seed;
        } loans[LOANS];
        static uint64_t sizes[1 << 15];
        uint64_t in = 0, out = 0, count = 0, most = 0;
        uint64_t scale = UINT64_C(1) << (3 + check_below(&random, 14)), burst = 1 + check_below(&random, 60);
        new_lane((UINT64_C(1) << 20) << check_below(&random, 5), UINT64_C(1) << (3 + check_below(&random, 9)));
        for (int step = 0; step < 3000; step++) {
            switch (check_below(&random, 12)) {
            case 0:
            case 1:
            case 2:
                for (uint64_t i = check_below(&random, burst) + 1; i > 0; i--) {
                    sizes[in % (1 << 15)] = check_below(&random, scale);
                    enum memlane_status status = put(sizes[in % (1 << 15)], in);
                    if (status == MEMLANE_OK)
                        in++;
                    else
                        CHECK_EQUAL(MEMLANE_FULL, status);
                }
                break;
            case 3:
            case 4:
            case 5:
            case 6:
                for (uint64_t i = check_below(&random, burst) + 1; i > 0 && out != in; i--, out++)
                    get(sizes[out % (1 << 15)], out);
                break;
            case 7:
                if (count < LOANS && out != in) {
                    CHECK(take(ALICE, &loans[count].s));
                    loans[count].nbytes = sizes[out % (1 << 15)];
                    loans[count++].seed = out++;
                }
                break;
            case 8:
                if (count) {
                    uint64_t which = check_below(&random, count);
                    check_record(loans[which].s, loans[which].nbytes, loans[which].seed);
                    CHECK(memlane_many_free(&lane, loans[which].s, ALICE));
                    loans[which] = loans[--count];
                }
                break;
            case 9:
                CHECK_EQUAL(MEMLANE_OK, give_all_back());
                break;
            case 10: {
                struct memlane_stretch stretch;
                if (memlane_growth_surplus(&growth, &producer, &stretch))
                    give_back(&stretch);
                break;
            }
            default:
                CHECK_EQUAL(MEMLANE_OK, adopt());
                CHECK_EQUAL(in, producer.next);
            }
            most = in - out > most ? in - out : most;
        }
        for (; out != in; out++)
            get(sizes[out % (1 << 15)], out);
        for (; count > 0; count--) {
            check_record(loans[count - 1].s, loans[count - 1].nbytes, loans[count - 1].seed);
            CHECK(memlane_many_free(&lane, loans[count - 1].s, ALICE));
        }
        free_lane();
    }
}

/* ---- killed at every access ------------------------------------------------------------------------ */

static uint64_t records_there, record_nbytes;

/* A lane whose bytes have come around: some consumed, some there. */
static void prepare(uint64_t consumed, uint64_t there, uint64_t nbytes) {
    new_lane(512 * PAGE, 64);
    record_nbytes = nbytes;
    records_there = there;
    for (uint64_t i = 0; i < consumed + there; i++)
        CHECK_EQUAL(MEMLANE_OK, put(nbytes, i + 100 - consumed));
    for (uint64_t i = 0; i < consumed; i++)
        get(nbytes, i + 100 - consumed);
}

static void put_one(void) { answer = put(record_nbytes, 100 + records_there); }
static void put_three(void) {
    for (uint64_t i = 0; i < 3; i++)
        answer = put(3 * record_nbytes, 1000 + i);
}
static void heir_adopts(void) { CHECK_EQUAL(MEMLANE_OK, adopt()); }
static void heir_puts(void) {
    CHECK_EQUAL(MEMLANE_OK, adopt());
    answer = put(record_nbytes, 500);
}
static void keeper_gives(void) { (void)give_all_back(); }
static void consumer_gets_all(void) {
    uint64_t s;
    while (take(BOB, &s))
        CHECK(memlane_many_free(&lane, s, BOB));
}

static void bury_keeper(void) {
    uint64_t word = atomic_load(&shared.keeper);
    if (word >> 32 != MEMLANE_TAG_NONE)
        memlane_growth_bury(&shared, word);
}

/* What is there comes out, then a lane that works: much goes through it, and it holds little in the end. */
static void check_works(void) {
    for (uint64_t i = 0; i < records_there; i++)
        get(record_nbytes, 100 + i);
    consumer_gets_all();
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < 20; i++)
            CHECK_EQUAL(MEMLANE_OK, put(PAGE + i, i));
        for (uint64_t i = 0; i < 20; i++)
            get(PAGE + i, i);
        bury_keeper();
        enum memlane_status status = give_all_back();
        if (status == MEMLANE_BUSY) /* it has finished a move of the dead */
            status = give_all_back();
        CHECK_EQUAL(MEMLANE_OK, status);
    }
    CHECK(pages_held() <= 120); /* of 512: what the dead had reserved ahead is used by their heirs */
    free_lane();
}

static const struct {
    uint64_t consumed, there, nbytes;
} shapes[] = {{0, 0, 8}, {3, 0, PAGE}, {3, 2, PAGE + 8}, {7, 5, 2 * PAGE}, {1, 1, 10 * PAGE}};

TEST(a_producer_killed_in_front_of_any_access_of_a_put_leaves_a_lane_that_works) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        void (*const acts[])(void) = {put_one, put_three};
        for (size_t a = 0; a < 2; a++) {
            bool died = true;
            for (long k = 0; died; k += STRIDE) {
                bool heir_died = true;
                for (long j = 0; heir_died; j += STRIDE * (9 + k % 13)) {
                    prepare(shapes[i].consumed, shapes[i].there, shapes[i].nbytes);
                    died = dies_at(k, acts[a]);
                    heir_died = dies_at(j, heir_puts);
                    heir_adopts();
                    check_works();
                    CHECK(j < 1000);
                }
                CHECK(k < 1000);
            }
        }
    }
}

TEST(a_move_of_head_in_which_a_producer_died_is_finished_by_a_keeper_or_an_heir) {
    for (int by_heir = 0; by_heir < 2; by_heir++) {
        bool died = true;
        for (long k = 0; died; k++) {
            prepare(30, 0, 2 * PAGE);
            growth.soft = PAGE; /* so that it looks at head */
            records_there = 0;
            died = dies_at(k, put_one);
            consumer_gets_all();
            if (by_heir) {
                CHECK_EQUAL(MEMLANE_OK, adopt());
                for (uint64_t i = 0; i < 300; i++) {
                    CHECK_EQUAL(MEMLANE_OK, put(2 * PAGE, i));
                    get(2 * PAGE, i);
                }
                CHECK(pages_held() < 200);
            } else {
                enum memlane_status status = give_all_back();
                if (status == MEMLANE_BUSY)
                    status = give_all_back();
                CHECK_EQUAL(MEMLANE_OK, status);
            }
            free_lane();
            CHECK(k < 1000);
        }
    }
}

TEST(a_keeper_killed_in_front_of_any_access_of_giving_back_leaves_a_lane_that_works) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        bool died = true;
        for (long k = 0; died; k++) {
            bool next_died = true;
            for (long j = 0; next_died; j += STRIDE * (3 + k % 5)) {
                prepare(shapes[i].consumed, shapes[i].there, shapes[i].nbytes);
                died = dies_at(k, keeper_gives);
                put_one(); /* the producer goes on beside the dead one */
                CHECK_EQUAL(MEMLANE_OK, answer);
                bury_keeper();
                next_died = dies_at(j, keeper_gives);
                bury_keeper();
                check_works();
                CHECK(j < 1000);
            }
            CHECK(k < 1000);
        }
    }
}

static void producer_puts_much(void) {
    put_three();
    CHECK_EQUAL(MEMLANE_OK, answer);
    consumer_gets_all();
    put_three();
    CHECK_EQUAL(MEMLANE_OK, answer);
}

/* What comes after the meeting is checked byte by byte: the last three are there. */
static void check_last_three(void) {
    uint64_t s, before = records_there;
    records_there = 0;
    while (memlane_many_taken(&lane) + 3 < producer.next && take(BOB, &s))
        CHECK(memlane_many_free(&lane, s, BOB));
    for (uint64_t i = 0; i < 3; i++)
        get(3 * record_nbytes, 1000 + i);
    check_works();
    records_there = before;
}

TEST(a_keeper_overtaken_at_any_access_by_puts_and_gets_gives_nothing_back_that_is_used) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if (shapes[i].nbytes > 4 * PAGE)
            continue;
        bool met = true;
        for (long k = 0; met; k++) {
            prepare(shapes[i].consumed, shapes[i].there, shapes[i].nbytes);
            met = meets_at(k, keeper_gives, producer_puts_much);
            if (!met)
                producer_puts_much();
            check_last_three();
            CHECK(k < 1000);
        }
    }
}

static void gets_all_and_gives_back(void) {
    consumer_gets_all();
    keeper_gives();
}

TEST(a_put_overtaken_at_any_access_by_gets_and_a_giving_back_is_there_as_it_was_put) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        bool met = true;
        for (long k = 0; met; k++) {
            prepare(shapes[i].consumed, shapes[i].there, shapes[i].nbytes);
            met = meets_at(k, put_one, gets_all_and_gives_back);
            CHECK_EQUAL(MEMLANE_OK, answer);
            if (met && memlane_many_taken(&lane) != producer.next)
                get(record_nbytes, 100 + records_there);
            consumer_gets_all();
            records_there = 0;
            check_works();
            CHECK(k < 1000);
        }
    }
}

static uint64_t stopped;
static void look_at_the_first(void) {
    struct memlane_found found;
    if (memlane_many_look(&many, &found) == MEMLANE_OK && memlane_many_take(&lane, found.s, 1, ALICE)) {
        check_record(found.s, record_nbytes, 100 + found.s - stopped);
        CHECK(memlane_many_free(&lane, found.s, ALICE));
    }
}
static void others_go_on(void) {
    consumer_gets_all();
    keeper_gives();
    put_three();
    consumer_gets_all();
    keeper_gives();
}

TEST(a_slow_reader_overtaken_at_any_access_by_a_giving_back_reads_what_was_put_or_takes_nothing) {
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        bool met = true;
        for (long k = 0; met; k++) {
            prepare(shapes[i].consumed, shapes[i].there, shapes[i].nbytes);
            stopped = shapes[i].consumed;
            met = meets_at(k, look_at_the_first, others_go_on);
            records_there = met ? 0 : shapes[i].there;
            consumer_gets_all();
            records_there = 0;
            check_works();
            CHECK(k < 1000);
        }
    }
}

TEST(any_words_of_a_lane_that_grows_give_an_answer_and_want_nothing_outside_of_it) {
    uint64_t random = 77;
    for (int round = 0; round < 600 / STRIDE; round++) {
        prepare(3, 2, PAGE);
        _Atomic uint64_t *words[] = {&shared.keeper, &shared.given, &shared.trimmed,
                                     &shared.span,   &shared.until, &lane.control->head};
        for (uint64_t i = check_below(&random, 4); i > 0; i--)
            atomic_store(words[check_below(&random, 6)],
                         check_below(&random, 2) ? check_random(&random) : check_below(&random, 64 * PAGE));
        for (uint64_t i = check_below(&random, 3); i > 0; i--)
            atomic_store(&memlane_descriptor_of(&lane, check_below(&random, 8))->extent, check_random(&random));
        struct memlane_wanted all = {.stretches = {{0, data_nbytes}}};
        CHECK(reserve(&all.stretches[0])); /* a record of hostile bytes may be anywhere in the lane */
        (void)put(PAGE, 1);
        if (adopt() == MEMLANE_OK)
            (void)put(PAGE, 1);
        (void)give_all_back();
        (void)memlane_growth_free_nbytes(&lane, 100);
        free_lane();
    }
}

MAIN
