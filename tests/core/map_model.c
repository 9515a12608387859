/* SPDX-License-Identifier: MIT
 *
 * The map against a plain table: long random sequences of everything a writer may ask for, with time that passes, at every
 * load up to a full table; every answer, every version and every key that going through all finds are compared.
 */
#include "map_fixture.h"

enum { KEYS_MAX = 96 };

struct cell {
    uint64_t value, expires_ns, version, last; /* `last`: the largest version that this key ever had */
    bool is_there;
};

static struct cell cells[KEYS_MAX];
static uint64_t random_state;
static struct {
    uint64_t puts, adds, removals, differs, empties, fulls, expired, reused;
} met;

static bool is_live(const struct cell *cell) {
    return cell->is_there && (cell->expires_ns == 0 || cell->expires_ns > now.now_ns);
}

/* Entries in use, those of expired keys included or not. */
static uint64_t in_use(uint64_t keys, bool expired) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < keys; i++)
        count += expired ? cells[i].is_there : is_live(&cells[i]);
    return count;
}

static void ask(uint64_t keys, uint64_t entries) {
    static const enum memlane_map_how hows[] = {MEMLANE_MAP_PUT,           MEMLANE_MAP_PUT,     MEMLANE_MAP_INSERT,
                                                MEMLANE_MAP_COMPARE,       MEMLANE_MAP_ADD_INT, MEMLANE_MAP_REMOVE,
                                                MEMLANE_MAP_REMOVE_COMPARE};
    const uint64_t number = check_below(&random_state, keys);
    struct cell *cell = &cells[number];
    uint64_t value = check_random(&random_state), before = 0;
    struct memlane_map_change asked = {.how = hows[check_below(&random_state, 7)], .value = &value, .nbytes = 8};
    if (check_below(&random_state, 3) == 0)
        asked.expires_ns = now.now_ns + 1 + check_below(&random_state, 400);
    const bool live = is_live(cell), removes = memlane_map_removes(asked.how);
    asked.expected = check_below(&random_state, 3) ? (live ? cell->version : 0) : check_below(&random_state, 9);
    asked.before = &before;
    const uint64_t used = in_use(keys, true);
    enum memlane_status status = change(ANN, number, asked);

    if ((asked.how == MEMLANE_MAP_INSERT && live) ||
        ((asked.how == MEMLANE_MAP_COMPARE || asked.how == MEMLANE_MAP_REMOVE_COMPARE) &&
         asked.expected != (live ? cell->version : 0))) {
        CHECK_EQUAL(MEMLANE_DIFFERS, status);
        CHECK_EQUAL(live ? cell->version : 0, told.version);
        met.differs++;
    } else if (removes) {
        CHECK_EQUAL(live ? MEMLANE_OK : MEMLANE_EMPTY, status);
        if (live) {
            CHECK_EQUAL(cell->version, told.version);
            CHECK_EQUAL(cell->value, before);
        }
        cell->is_there = false;
        met.removals += live;
        met.empties += !live;
    } else if (status == MEMLANE_FULL) {
        CHECK(!cell->is_there);
        CHECK_EQUAL(entries, in_use(keys, false)); /* nothing has expired, either */
        met.fulls++;
    } else {
        CHECK_EQUAL(MEMLANE_OK, status);
        const bool adds = asked.how == MEMLANE_MAP_ADD_INT;
        CHECK(told.version > cell->last);
        if (!cell->is_there && used == entries) { /* in the place of a key that has expired: that of which one? */
            uint64_t gone = KEYS_MAX;
            for (uint64_t i = 0; i < keys; i++)
                if (cells[i].is_there && !is_live(&cells[i]))
                    gone = i;
            CHECK(gone != KEYS_MAX);
            met.reused++;
            for (uint64_t i = 0; i < keys; i++) { /* the others read as absent all the same */
                if (cells[i].is_there && !is_live(&cells[i]))
                    CHECK_EQUAL(ABSENT, get(i));
            }
            cells[gone].is_there = false; /* as good as any: none of them can be told from an absent one */
        }
        cell->value = adds && live ? cell->value + value : value;
        cell->expires_ns = adds && live ? cell->expires_ns : asked.expires_ns;
        cell->version = cell->last = told.version;
        cell->is_there = true;
        met.puts += !adds;
        met.adds += adds;
    }
}

static void look(uint64_t keys) {
    uint64_t live = 0;
    for (uint64_t i = 0; i < keys; i++) {
        const bool is_there = is_live(&cells[i]);
        CHECK_EQUAL(is_there ? cells[i].value : ABSENT, get(i));
        CHECK_EQUAL(is_there ? cells[i].version : 0, version);
        live += is_there;
        met.expired += cells[i].is_there && !is_there;
    }
    CHECK_EQUAL(live, length());
    check_sound();
}

TEST(a_map_answers_as_a_plain_table_does_whatever_is_asked) {
    for (uint64_t round = 1; round <= 60; round++) {
        random_state = round * 7919;
        const uint64_t keys = 1 + check_below(&random_state, KEYS_MAX);
        const uint64_t entries = 1 + check_below(&random_state, keys + keys / 8 + 1);
        map_new(entries, 8, 8, 2u << check_below(&random_state, 3), MEMLANE_VALUES_FIXED);
        memset(cells, 0, sizeof cells);
        for (int turn = 0; turn < 1500; turn++) {
            ask(keys, entries);
            if (turn % 64 == 0)
                look(keys);
            if (check_below(&random_state, 4) == 0)
                now.now_ns += check_below(&random_state, 60);
        }
        look(keys);
        map_free();
    }
    printf("  %" PRIu64 " puts, %" PRIu64 " additions, %" PRIu64 " removals, %" PRIu64 " refusals, %" PRIu64
           " times full, %" PRIu64 " expired, %" PRIu64 " places reused\n",
           met.puts, met.adds, met.removals, met.differs, met.fulls, met.expired, met.reused);
    CHECK(met.puts > 1000 && met.adds > 1000 && met.removals > 1000 && met.differs > 1000 && met.fulls > 100 &&
          met.expired > 100 && met.reused > 100 && met.empties > 1000);
}

MAIN
