/* SPDX-License-Identifier: MIT
 *
 * The map under threads that change the same few keys: no addition is lost or made twice, whatever is read is whole and
 * of its key, and versions of a key only grow. Places are fewer than needed for comfort, so keys change places all the
 * time; and writers die in the midst, at random.
 */
#include <pthread.h>
#include <sched.h>

#include "map_fixture.h"

enum { WRITERS = 3, READERS = 2, KEYS = 6, WORDS = 120 };
#ifdef __SANITIZE_THREAD__
#define ROUNDS 5000 /* it is many times slower, and looks at each access, not at luck */
#else
#define ROUNDS 40000
#endif

static uint64_t keys[KEYS];
static _Atomic uint32_t generation_of[8]; /* of the row of each thread: a tag of an older one is dead */
static _Atomic bool over;
static int processors;
static _Atomic uint64_t overtaken; /* reads that a writer has spoilt */

static int judge_by_generation(void *of, uint32_t tag) {
    (void)of;
    return atomic_load(&generation_of[tag % 8]) != tag >> MEMLANE_TAG_ROW_BITS;
}

struct thread {
    pthread_t id;
    uint32_t row;
    uint64_t random;
    uint64_t changes, busy, deaths, removals, reads, overtaken;
    uint64_t added, removed; /* by all acknowledged calls */
    struct memlane_map_writer writer;
};

static uint32_t tag_of(uint32_t row) { return atomic_load(&generation_of[row]) << MEMLANE_TAG_ROW_BITS | row; }

/* A change that waits for a holder, as its callers do. */
static enum memlane_status change_now(struct thread *thread, uint64_t number, struct memlane_map_change *asked) {
    const struct memlane_map_key key = key_of(&number);
    enum memlane_status status;
    while ((status = memlane_map_change(&map, &thread->writer, &key, &now, asked)) == MEMLANE_BUSY) {
        thread->busy++;
        sched_yield(); /* the holder may need this very processor */
    }
    CHECK(status != MEMLANE_LOST && status != MEMLANE_CORRUPTED);
    thread->changes++;
    return status;
}

/* Die in the midst of a change of some key, in one of the ways that leave the most behind, and come back as another. */
static void die(struct thread *thread) {
    struct memlane_map_place place;
    const struct memlane_map_key key = key_of(&keys[check_below(&thread->random, KEYS)]);
    uint32_t holder;
    uint64_t index;
    if (memlane_map_find(&map, &key, &place) == MEMLANE_OK) {
        if (memlane_map_take(&map, &thread->writer, place.index, &holder) != MEMLANE_OK)
            return;
        if (check_below(&thread->random, 2)) { /* a publish, half done */
            uint64_t sequence = atomic_load(&place.entry->sequence) | 1;
            atomic_store(&place.entry->sequence, sequence);
            atomic_thread_fence(memory_order_seq_cst);
            atomic_store(memlane_map_copy_of(&map, place.entry, sequence / 2 + 1), 0xdead);
        }
    } else { /* an insert, filled and not yet there */
        static const uint64_t value[WORDS] = {0xbad};
        const struct memlane_map_change asked = {.how = MEMLANE_MAP_PUT, .value = value, .nbytes = map.value_nbytes};
        if (memlane_map_take_free(&map, &thread->writer, &index) != MEMLANE_OK)
            return;
        (void)memlane_map_fill(&map, memlane_map_entry(&map, index), &key, &place, &asked, 7);
    }
    thread->deaths++;
    atomic_fetch_add(&generation_of[thread->row], 2);
    thread->writer.tag = tag_of(thread->row);
}

/* Hold some key for a while, so that the others meet a holder on any machine. */
static void dawdle(struct thread *thread) {
    struct memlane_map_place place;
    const struct memlane_map_key key = key_of(&keys[check_below(&thread->random, KEYS)]);
    uint32_t holder;
    if (memlane_map_find(&map, &key, &place) != MEMLANE_OK ||
        memlane_map_take(&map, &thread->writer, place.index, &holder) != MEMLANE_OK)
        return;
    for (int i = 0; i < 10; i++)
        sched_yield();
    CHECK(memlane_map_give(place.entry, thread->writer.tag, true));
}

static void *add_and_remove(void *argument) {
    struct thread *thread = argument;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t number = keys[check_below(&thread->random, KEYS)], amount = 1 + check_below(&thread->random, 9),
                 before = 0;
        uint64_t dice = check_below(&thread->random, 100);
        if (dice < 3)
            die(thread);
        else if (dice < 4)
            dawdle(thread);
        else if (dice < 25) {
            struct memlane_map_change asked = {.how = MEMLANE_MAP_REMOVE, .before = &before};
            if (change_now(thread, number, &asked) == MEMLANE_OK) {
                thread->removed += before;
                thread->removals++;
            }
        } else {
            struct memlane_map_change asked = {.how = MEMLANE_MAP_ADD_INT, .value = &amount, .nbytes = 8};
            if (change_now(thread, number, &asked) == MEMLANE_OK)
                thread->added += amount;
        }
        if (round % 64 == 0)
            sched_yield();
    }
    return NULL;
}

static void begin(struct thread *threads, int count, uint64_t entries, uint64_t value_nbytes, void *(*act)(void *)) {
    map_new(entries, 16, value_nbytes, 2, MEMLANE_VALUES_FIXED);
    for (uint64_t n = 0; n < KEYS; n++)
        keys[n] = in_bucket(n % 2, n / 2);
    for (int i = 0; i < count; i++) {
        atomic_store(&generation_of[i], 1);
        threads[i].row = (uint32_t)i;
        threads[i].random = 77 + (uint64_t)i;
        threads[i].writer =
            (struct memlane_map_writer){.tag = tag_of((uint32_t)i), .patiently = true, .is_dead = judge_by_generation};
        CHECK_EQUAL(0, pthread_create(&threads[i].id, NULL, act, &threads[i]));
    }
}

/* All are dead now: somebody else comes and settles what they left. */
static void settle_all(uint64_t entries) {
    struct memlane_map_writer writer = {.tag = 1u << 20 | 7, .patiently = true, .is_dead = judge_by_generation};
    for (int i = 0; i < WRITERS; i++)
        atomic_fetch_add(&generation_of[i], 2);
    for (uint64_t index = 0; index < entries; index++) {
        uint32_t holder;
        CHECK_EQUAL(MEMLANE_OK, memlane_map_take(&map, &writer, index, &holder));
        CHECK(memlane_map_give(memlane_map_entry(&map, index), writer.tag, true));
    }
    check_sound();
}

TEST(no_addition_is_lost_or_made_twice_while_keys_come_and_go_and_writers_die) {
    enum { ENTRIES = KEYS + WRITERS + 2 };
    struct thread threads[WRITERS] = {{0}};
    uint64_t added = 0, removed = 0, left = 0, busy = 0, deaths = 0, removals = 0;
    begin(threads, WRITERS, ENTRIES, 8, add_and_remove);
    for (int i = 0; i < WRITERS; i++) {
        CHECK_EQUAL(0, pthread_join(threads[i].id, NULL));
        added += threads[i].added;
        removed += threads[i].removed;
        busy += threads[i].busy;
        deaths += threads[i].deaths;
        removals += threads[i].removals;
    }
    for (int n = 0; n < KEYS; n++) {
        uint64_t value = get(keys[n]);
        left += value == ABSENT ? 0 : value;
    }
    CHECK_EQUAL(added, removed + left);
    settle_all(ENTRIES);
    printf("  %" PRIu64 " times another one held the key, %" PRIu64 " deaths, %" PRIu64 " removals\n", busy, deaths,
           removals);
    CHECK(busy > 0 && deaths > ROUNDS / 100 && removals > ROUNDS / 100);
    map_free();
}

/* ---- values of many words ------------------------------------------------------------------------- */

static void *put_whole(void *argument) {
    struct thread *thread = argument;
    uint64_t value[WORDS];
    /* On until some reader was overtaken, or this would prove little. Readers give way between two reads, so on one
     * processor none is. */
    for (int round = 0; round < ROUNDS || (processors > 1 && round < 50 * ROUNDS && atomic_load(&overtaken) == 0);
         round++) {
        uint64_t number = keys[check_below(&thread->random, KEYS)], dice = check_below(&thread->random, 100);
        if (dice < 2)
            die(thread);
        else if (dice < 3)
            dawdle(thread);
        else if (dice < 20) {
            struct memlane_map_change asked = {.how = MEMLANE_MAP_REMOVE};
            (void)change_now(thread, number, &asked);
        } else {
            uint64_t mark = check_random(&thread->random);
            for (int i = 0; i < WORDS - 1; i++)
                value[i] = i == 0 ? number : mark;
            value[WORDS - 1] = number + mark;
            struct memlane_map_change asked = {.how = MEMLANE_MAP_PUT, .value = value, .nbytes = sizeof value};
            (void)change_now(thread, number, &asked);
        }
        if (round % 64 == 0)
            sched_yield();
    }
    return NULL;
}

static void check_whole(const uint64_t *value, uint64_t number) {
    CHECK_EQUAL(number, value[0]);
    for (int i = 2; i < WORDS - 1; i++)
        CHECK_EQUAL(value[1], value[i]);
    CHECK_EQUAL(number + value[1], value[WORDS - 1]);
}

static void *read_whole(void *argument) {
    struct thread *thread = argument;
    uint64_t last[KEYS] = {0}, value[WORDS], nbytes, found;
    uint64_t turn = 0;
    for (bool last_turn = false; !last_turn;) {
        last_turn = atomic_load(&over);
        for (int n = 0; n < KEYS; n++) {
            const struct memlane_map_key key = key_of(&keys[n]);
            enum memlane_status status = memlane_map_read(&map, &key, &now, value, &nbytes, &found);
            CHECK(status == MEMLANE_OK || status == MEMLANE_EMPTY || (status == MEMLANE_BUSY && !last_turn));
            if (status == MEMLANE_BUSY) {
                thread->overtaken++;
                atomic_fetch_add(&overtaken, 1);
            }
            if (status != MEMLANE_OK)
                continue;
            check_whole(value, keys[n]);
            CHECK(found >= last[n]);
            thread->changes += found != last[n];
            last[n] = found;
            thread->reads++;
        }
        for (uint64_t index = 0; index < map.count; index++) {
            uint64_t bytes[2];
            struct memlane_map_item item = {.key = (unsigned char *)bytes, .value = value};
            if (memlane_map_at(&map, index, &now, &item) == MEMLANE_OK) {
                CHECK_EQUAL(8, item.key_nbytes);
                check_whole(value, bytes[0]);
                for (int n = 0; n < KEYS; n++)
                    if (bytes[0] == keys[n]) {
                        CHECK(item.version >= last[n]);
                        last[n] = item.version;
                    }
            }
        }
        if (turn++ % 16 == 0)
            sched_yield(); /* the writers may need this very processor */
    }
    return NULL;
}

TEST(whatever_is_read_is_whole_and_of_its_key_and_versions_only_grow_while_keys_change_places) {
    enum { ENTRIES = KEYS + WRITERS + 1 };
    struct thread writers[WRITERS] = {{0}}, readers[READERS] = {{0}};
    atomic_store(&over, false);
    atomic_store(&overtaken, 0);
    cpu_set_t allowed;
    CHECK_EQUAL(0, sched_getaffinity(0, sizeof allowed, &allowed));
    processors = CPU_COUNT(&allowed);
    begin(writers, WRITERS, ENTRIES, WORDS * 8, put_whole);
    for (int i = 0; i < READERS; i++)
        CHECK_EQUAL(0, pthread_create(&readers[i].id, NULL, read_whole, &readers[i]));
    for (int i = 0; i < WRITERS; i++)
        CHECK_EQUAL(0, pthread_join(writers[i].id, NULL));
    atomic_store(&over, true);
    for (int i = 0; i < READERS; i++) {
        CHECK_EQUAL(0, pthread_join(readers[i].id, NULL));
        printf("  reader %d: %" PRIu64 " values, %" PRIu64 " new versions, %" PRIu64 " times overtaken\n", i,
               readers[i].reads, readers[i].changes, readers[i].overtaken);
        CHECK(readers[i].reads > 100 && readers[i].changes > 100); /* they did run at the same time */
    }
    settle_all(ENTRIES);
    map_free();
}

MAIN
