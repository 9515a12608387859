/* SPDX-License-Identifier: MIT
 *
 * The map, stopped in front of every single atomic access: killed there, stopped for good, or overtaken by others.
 *
 * Keys a, b and c share a chain, d has another one. What a call answers and what is there afterwards must be what a plain
 * table gives for one order of the calls.
 */
#include "steps.h"

#include "map_fixture.h"

enum { KEYS = 4, ENTRIES = 6 };

static uint64_t keys[KEYS];

static void map_begin(void) {
    map_new_small(ENTRIES);
    for (uint64_t n = 0; n < KEYS; n++)
        keys[n] = in_bucket(n / 3, n % 3);
}

/* ---- one call, and what a plain table makes of it -------------------------------------------------- */

enum verb { PUT, INSERT, ADD, REMOVE, EXCHANGE };
struct call {
    enum verb verb;
    int key;
    uint64_t value;
};
struct answer {
    enum memlane_status status;
    uint64_t before; /* of a removal */
};
struct table {
    uint64_t values[KEYS];
};

static struct answer run_on_map(uint32_t tag, struct call call) {
    uint64_t value = call.value, before = 0;
    struct memlane_map_change asked = {.value = &value, .nbytes = 8, .before = &before};
    static const enum memlane_map_how hows[] = {MEMLANE_MAP_PUT, MEMLANE_MAP_INSERT, MEMLANE_MAP_ADD_INT,
                                                MEMLANE_MAP_REMOVE, MEMLANE_MAP_COMPARE};
    asked.how = hows[call.verb]; /* EXCHANGE expects that the key is not there */
    enum memlane_status status = change(tag, keys[call.key], asked);
    return (struct answer){status, call.verb == REMOVE && status == MEMLANE_OK ? before : 0};
}

static struct answer run_on_table(struct table *table, struct call call) {
    uint64_t *at = &table->values[call.key], before = *at;
    if ((call.verb == INSERT || call.verb == EXCHANGE) && before != ABSENT)
        return (struct answer){MEMLANE_DIFFERS, 0};
    if (call.verb == REMOVE) {
        *at = ABSENT;
        return before == ABSENT ? (struct answer){MEMLANE_EMPTY, 0} : (struct answer){MEMLANE_OK, before};
    }
    *at = call.verb == ADD && before != ABSENT ? before + call.value : call.value;
    return (struct answer){MEMLANE_OK, 0};
}

static bool same(struct answer one, struct answer other) {
    return one.status == other.status && one.before == other.before;
}

/* A get that tries again, as its callers do. */
static uint64_t get_again(uint64_t number) {
    uint64_t value, nbytes;
    const struct memlane_map_key key = key_of(&number);
    enum memlane_status status;
    while ((status = memlane_map_read(&map, &key, &now, &value, &nbytes, &version)) == MEMLANE_BUSY) {
    }
    if (status == MEMLANE_EMPTY)
        return ABSENT;
    CHECK_EQUAL(MEMLANE_OK, status);
    return value;
}

static bool map_is(const struct table *table) {
    uint64_t count = 0;
    for (int n = 0; n < KEYS; n++) {
        if (get(keys[n]) != table->values[n])
            return false;
        count += table->values[n] != ABSENT;
    }
    return count == length();
}

/* The keys of `present` are there, each with the value 10 + its number. */
static struct table prepare(unsigned present) {
    struct table table;
    map_begin();
    /* put and removed first, so that places have been used and free bits and chains are those of a map in use */
    for (int n = 0; n < KEYS; n++)
        CHECK_EQUAL(MEMLANE_OK, put(DAVE, keys[n], 1));
    for (int n = KEYS - 1; n >= 0; n--) {
        if ((present >> n & 1) == 0)
            CHECK_EQUAL(MEMLANE_OK, take_away(DAVE, keys[n]));
        else
            CHECK_EQUAL(MEMLANE_OK, put(DAVE, keys[n], 10 + (uint64_t)n));
        table.values[n] = present >> n & 1 ? 10 + (uint64_t)n : ABSENT;
    }
    CHECK(map_is(&table));
    return table;
}

/* ---- killed, or stopped for good (hazard 68) ------------------------------------------------------------------- */

static struct call acts;
static void act(void) { (void)run_on_map(ANN, acts); }

static void heir(void) { (void)put(BOB, keys[acts.key], 77); }

/* Every place of the map can be used again by somebody else, however often somebody died. */
static void check_all_places(void) {
    memset(is_dead, true, 4); /* Ann, Bob and Clara */
    now.now_ns += MEMLANE_MAP_SWEEP_NS;
    for (int n = 0; n < KEYS; n++)
        (void)take_away(DAVE, keys[n]);
    for (uint64_t i = 0; i < ENTRIES; i++) {
        now.now_ns += MEMLANE_MAP_SWEEP_NS;
        CHECK_EQUAL(MEMLANE_OK, put(DAVE, 1000 + i, i));
    }
    CHECK_EQUAL(MEMLANE_FULL, put(DAVE, 2000, 1));
    CHECK_EQUAL(ENTRIES, length());
    check_sound();
}

static void kill_everywhere(struct call call, unsigned present) {
    bool died = true;
    for (long k = 0; died; k++) {
        bool heir_died = true;
        for (long j = 0; heir_died; j++) {
            struct table before = prepare(present), after = before;
            acts = call;
            (void)run_on_table(&after, call);
            died = dies_at(k, act);
            /* not yet proven dead: as if she had been stopped */
            bool is_new = map_is(&after);
            CHECK(is_new || map_is(&before));
            CHECK(died || is_new);
            for (int n = 0; n < KEYS; n++) {
                if (n == call.key)
                    continue;
                CHECK_EQUAL(MEMLANE_OK, put(CLARA, keys[n], 20 + (uint64_t)n)); /* holds up nobody else */
                CHECK_EQUAL(20 + (uint64_t)n, get(keys[n]));
                CHECK_EQUAL(MEMLANE_OK, take_away(CLARA, keys[n]));
                CHECK_EQUAL(ABSENT, get(keys[n]));
                CHECK_EQUAL(MEMLANE_OK, put(CLARA, keys[n], 30 + (uint64_t)n));
            }
            CHECK_EQUAL(is_new ? after.values[call.key] : before.values[call.key], get(keys[call.key]));
            is_dead[ANN % 8] = true;
            heir_died = dies_at(j, heir); /* and a second one, who takes over from her */
            is_dead[BOB % 8] = true;
            uint64_t found = get(keys[call.key]);
            CHECK(found == 77 || (heir_died && (found == before.values[call.key] || found == after.values[call.key])));
            CHECK_EQUAL(MEMLANE_OK, put(CLARA, keys[call.key], 88));
            for (int n = 0; n < KEYS; n++)
                CHECK_EQUAL(n == call.key ? 88 : 30 + (uint64_t)n, get(keys[n]));
            CHECK_EQUAL(KEYS, length());
            check_all_places();
            map_free();
        }
        CHECK(k < 400);
    }
}

static void fill_with_other_key(void) { (void)put(ANN, keys[1], 20); }

TEST(a_reader_that_met_the_key_before_finds_no_version_of_it_whole_once_the_entry_is_filled_for_another_one) {
    bool died = true;
    for (long k = 0; died; k++) {
        map_new_small(1);
        for (uint64_t n = 0; n < 2; n++)
            keys[n] = in_bucket(0, n);
        CHECK_EQUAL(MEMLANE_OK, put(DAVE, keys[0], 10));
        CHECK_EQUAL(10, get(keys[0]));
        const uint64_t met = version; /* of a reader that has found the entry, and is slow */
        CHECK_EQUAL(MEMLANE_OK, take_away(DAVE, keys[0]));
        died = dies_at(k, fill_with_other_key);
        uint64_t value = 0, nbytes = 0;
        enum memlane_status status = memlane_map_copy_out(&map, memlane_map_entry(&map, 0), met, &now, &value, &nbytes);
        CHECK(status == MEMLANE_BUSY || (status == MEMLANE_OK && value == 10));
        CHECK(died || status == MEMLANE_BUSY);
        map_free();
    }
}

TEST(a_writer_killed_or_stopped_in_front_of_any_access_leaves_the_old_value_or_the_new_one_and_holds_up_nobody_else) {
    for (int key = 0; key < KEYS; key++)
        for (enum verb verb = PUT; verb <= EXCHANGE; verb++) {
            kill_everywhere((struct call){verb, key, 50}, 15);
            kill_everywhere((struct call){verb, key, 50}, 15u & ~(1u << key));
        }
    kill_everywhere((struct call){PUT, 1, 50}, 0);
    kill_everywhere((struct call){REMOVE, 1, 0}, 2);
}

/* ---- an insert that uses the place of an expired key ------------------------------------------------ */

static void insert_over_expired(void) { (void)put(ANN, keys[0], 50); }

TEST(a_writer_killed_in_front_of_any_access_of_using_an_expired_place_loses_no_key_and_no_place) {
    bool died = true;
    for (long k = 0; died; k++) {
        map_begin();
        for (uint64_t i = 0; i < ENTRIES - 2; i++)
            CHECK_EQUAL(MEMLANE_OK, put(DAVE, 1000 + i, i));
        CHECK_EQUAL(MEMLANE_OK, put(DAVE, keys[1], 11));
        CHECK_EQUAL(MEMLANE_OK, put_until(DAVE, keys[2], 12, 2000));
        now.now_ns = 2000;
        died = dies_at(k, insert_over_expired);
        CHECK_EQUAL(11, get(keys[1]));
        CHECK_EQUAL(ABSENT, get(keys[2]));
        uint64_t found = get(keys[0]);
        CHECK(found == ABSENT || found == 50);
        CHECK(died || found == 50);
        for (uint64_t i = 0; i < ENTRIES - 2; i++)
            CHECK_EQUAL(i, get(1000 + i));
        CHECK_EQUAL(ENTRIES - 1 + (found == 50), length());
        is_dead[ANN % 8] = true;
        now.now_ns += MEMLANE_MAP_SWEEP_NS;
        CHECK_EQUAL(MEMLANE_OK, put(DAVE, keys[0], 60));
        CHECK_EQUAL(60, get(keys[0]));
        CHECK_EQUAL(ENTRIES, length());
        CHECK_EQUAL(MEMLANE_FULL, put(DAVE, keys[3], 1));
        check_sound();
        map_free();
    }
}

/* ---- the same key inserted and removed by writers that are killed, again and again (hazard 71) ------------------ */

static void insert_a(void) { (void)put(ANN, keys[0], 50); }
static void remove_a(void) { (void)take_away(ANN, keys[0]); }

TEST(a_thousand_writers_killed_at_one_key_leave_a_short_chain_and_no_place_in_use) {
    for (long k = 0; k < 40; k++) {
        map_new_small(700); /* more than a chain may have */
        keys[0] = in_bucket(0, 0);
        is_dead[ANN % 8] = true;
        for (int i = 0; i < 600; i++) {
            (void)put(BOB, keys[0], 1);
            (void)dies_at(k, remove_a);
            (void)dies_at(k, insert_a);
            uint64_t found = get(keys[0]);
            CHECK(found == ABSENT || found == 1 || found == 50);
        }
        CHECK_EQUAL(MEMLANE_OK, put(BOB, keys[0], 2));
        CHECK_EQUAL(1, length());
        for (uint64_t i = 0; i < 699; i++) {
            if (put(DAVE, 100000 + i, i) == MEMLANE_FULL) {
                now.now_ns += MEMLANE_MAP_SWEEP_NS;
                CHECK_EQUAL(MEMLANE_OK, put(DAVE, 100000 + i, i));
            }
        }
        CHECK_EQUAL(2, get(keys[0]));
        CHECK_EQUAL(700, length());
        check_sound();
        map_free();
    }
}

/* ---- overtaken by others (hazards 67, 69) ---------------------------------------------------------------------------- */

#define OTHERS_MAX 5
static struct call others[OTHERS_MAX];
static struct answer answers[OTHERS_MAX];
static int others_count;
static void others_act(void) {
    for (int i = 0; i < others_count; i++) {
        answers[i] = run_on_map(BOB, others[i]);
        if (answers[i].status == MEMLANE_BUSY)
            CHECK_EQUAL(ANN, told.holder); /* she holds the very key, and is only slow */
    }
}

static struct answer acted;
static void act_and_tell(void) { acted = run_on_map(ANN, acts); }

static struct call some_call(uint64_t *random) {
    return (struct call){(enum verb)check_below(random, 5), (int)check_below(random, KEYS),
                         100 + check_below(random, 100)};
}

/* Whether the answers are those of a plain table, with Ann's call in front of the `at`-th of the others. */
static bool explained(struct table table, int at) {
    for (int i = 0; i <= others_count; i++) {
        if (i == at && !same(acted, run_on_table(&table, acts)))
            return false;
        if (i < others_count && answers[i].status != MEMLANE_BUSY && !same(answers[i], run_on_table(&table, others[i])))
            return false;
    }
    return map_is(&table);
}

TEST(a_change_overtaken_in_front_of_any_access_by_any_others_has_the_effect_of_one_moment) {
    uint64_t random = 41;
    unsigned long busy = 0, met = 0;
    for (int round = 0; round < 1500; round++) {
        const unsigned present = (unsigned)check_below(&random, 16);
        acts = some_call(&random);
        others_count = 1 + (int)check_below(&random, OTHERS_MAX);
        for (int i = 0; i < others_count; i++)
            others[i] = some_call(&random);
        if (check_below(&random, 2)) /* often enough at the same key */
            others[0].key = acts.key;
        bool meets = true;
        for (long k = 0; meets; k++) {
            struct table table = prepare(present);
            memset(answers, 0, sizeof answers);
            meets = meets_at(k, act_and_tell, others_act);
            if (meets) {
                bool is_explained = false;
                for (int at = 0; at <= others_count && !is_explained; at++)
                    is_explained = explained(table, at);
                CHECK(is_explained);
                met++;
                for (int i = 0; i < others_count; i++)
                    busy += answers[i].status == MEMLANE_BUSY;
            }
            check_sound();
            map_free();
            CHECK(k < 1000);
        }
    }
    printf("  %lu meetings, %lu times busy\n", met, busy);
    CHECK(met > 10000 && busy > 300);
}

static uint64_t seen;
static void read_it(void) { seen = get_again(keys[acts.key]); }

TEST(a_reader_overtaken_in_front_of_any_access_by_any_others_sees_a_value_that_its_key_had_meanwhile) {
    uint64_t random = 43;
    unsigned long was_absent = 0, was_there = 0;
    for (int round = 0; round < 4000; round++) {
        const unsigned present = (unsigned)check_below(&random, 16);
        acts = some_call(&random);
        others_count = 1 + (int)check_below(&random, OTHERS_MAX);
        for (int i = 0; i < others_count; i++)
            others[i] = some_call(&random);
        bool meets = true;
        for (long k = 0; meets; k++) {
            struct table table = prepare(present);
            meets = meets_at(k, read_it, others_act);
            bool is_explained = seen == table.values[acts.key];
            for (int i = 0; i < others_count && meets; i++) {
                CHECK(same(answers[i], run_on_table(&table, others[i]))); /* a reader holds up nobody */
                is_explained |= seen == table.values[acts.key];
            }
            CHECK(is_explained);
            *(seen == ABSENT ? &was_absent : &was_there) += meets;
            map_free();
        }
    }
    printf("  %lu times absent, %lu times there\n", was_absent, was_there);
    CHECK(was_absent > 5000 && was_there > 5000);
}

/* A reader never changes a byte, so it works on a mapping that it may not write. */
TEST(a_reader_stores_nothing) {
    prepare(11);
    unsigned char *copy = check_allocate(64, shape.nbytes);
    memcpy(copy, base, shape.nbytes);
    for (int n = 0; n < KEYS; n++)
        (void)get(keys[n]);
    (void)length();
    CHECK_BYTES(copy, base, shape.nbytes);
    free(copy);
    map_free();
}

/* ---- going through all while others change ---------------------------------------------------------- */

static unsigned char seen_keys[KEYS];
static void iterate(void) {
    memset(seen_keys, 0, sizeof seen_keys);
    for (uint64_t index = 0; index < map.count; index++) {
        uint64_t bytes[2], value;
        struct memlane_map_item item = {.key = (unsigned char *)bytes, .value = &value};
        enum memlane_status status;
        while ((status = memlane_map_at(&map, index, &now, &item)) == MEMLANE_BUSY) {
        }
        if (status == MEMLANE_EMPTY)
            continue;
        CHECK_EQUAL(MEMLANE_OK, status);
        for (int n = 0; n < KEYS; n++)
            seen_keys[n] += bytes[0] == keys[n];
    }
}

TEST(going_through_all_sees_each_key_that_stays_once_and_none_that_was_never_there) {
    uint64_t random = 47;
    for (int round = 0; round < 300; round++) {
        const unsigned present = (unsigned)check_below(&random, 16);
        others_count = 1 + (int)check_below(&random, OTHERS_MAX);
        for (int i = 0; i < others_count; i++)
            others[i] = some_call(&random);
        bool meets = true;
        for (long k = 0; meets; k++) {
            struct table table = prepare(present);
            meets = meets_at(k, iterate, others_act);
            bool stays[KEYS], ever[KEYS];
            for (int n = 0; n < KEYS; n++)
                stays[n] = ever[n] = table.values[n] != ABSENT;
            for (int i = 0; i < others_count && meets; i++) {
                (void)run_on_table(&table, others[i]);
                for (int n = 0; n < KEYS; n++) {
                    stays[n] &= table.values[n] != ABSENT;
                    ever[n] |= table.values[n] != ABSENT;
                }
            }
            for (int n = 0; n < KEYS; n++) {
                CHECK(!stays[n] || seen_keys[n] == 1);
                CHECK(ever[n] || seen_keys[n] == 0);
            }
            map_free();
        }
    }
}

static void insert_and_go_through(void) { /* what a reader sees while Ann is in the midst of it */
    iterate();
    CHECK_EQUAL(seen_keys[acts.key], get(keys[acts.key]) != ABSENT);
}

static struct memlane_map_writer ann;
static uint64_t filled;

/* Ann has an entry filled for key 1, and will find that she is too late (hazard 70). */
static void fill_in_vain(void) {
    struct memlane_map_place place;
    const uint64_t value = 0xbad;
    const struct memlane_map_key key = key_of(&keys[1]);
    const struct memlane_map_change asked = {.how = MEMLANE_MAP_PUT, .value = &value, .nbytes = 8};
    ann = writer_of(ANN);
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_map_find(&map, &key, &place));
    CHECK_EQUAL(MEMLANE_OK, memlane_map_take_free(&map, &ann, &filled));
    (void)memlane_map_fill(&map, memlane_map_entry(&map, filled), &key, &place, &asked, 7);
}

static void give_up(void) {
    memlane_map_set_free(&map, memlane_map_entry(&map, filled), filled);
    CHECK(memlane_map_give(memlane_map_entry(&map, filled), ANN, true));
}

static void put_elsewhere_and_give_up(void) {
    CHECK_EQUAL(MEMLANE_OK, put(BOB, keys[1], 77));
    give_up();
}

TEST(what_an_insert_has_filled_in_vain_is_never_seen_while_it_gives_up) {
    bool meets = true;
    for (long k = 0; meets; k++) {
        prepare(13);
        fill_in_vain();
        meets = meets_at(k, iterate, give_up);
        CHECK_EQUAL(0, seen_keys[1]);
        CHECK_EQUAL(ABSENT, get(keys[1]));
        if (meets)
            check_sound();
        map_free();
    }
    for (long k = 0; k == 0 || meets; k++) {
        prepare(13);
        fill_in_vain();
        meets = meets_at(k, iterate, put_elsewhere_and_give_up);
        CHECK(seen_keys[1] <= 1);
        CHECK_EQUAL(meets ? 77 : ABSENT, get(keys[1]));
        map_free();
    }
}

TEST(a_key_is_gone_through_from_the_moment_when_it_can_be_found) {
    bool meets = true;
    for (long k = 0; meets; k++) {
        prepare(13);
        acts = (struct call){PUT, 1, 50};
        meets = meets_at(k, act_and_tell, insert_and_go_through);
        map_free();
    }
    for (long k = 0; k == 0 || meets; k++) {
        prepare(15);
        acts = (struct call){REMOVE, 1, 0};
        meets = meets_at(k, act_and_tell, insert_and_go_through);
        map_free();
    }
}

MAIN
