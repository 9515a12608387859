/* SPDX-License-Identifier: MIT
 *
 * What src/runtime/ring.h promises: what put has answered for comes, once and whole, whoever dies.
 */
#include "region_fixture.h"

#include "os/clock.h"
#include "os/semwait.h"
#include "runtime/ring.h"

enum { RECORDS = 8, CAPACITY = 4096 };

static struct memlane_region region;
static struct memlane_ring ring;

static void open_ring(const struct fixture *made) {
    CHECK_EQUAL(0, memlane_region_open_descriptor(&region, made->file, NULL));
    CHECK_EQUAL(0, memlane_ring_open(&ring, &region, "ring"));
}

static void close_ring(struct fixture *made) {
    memlane_ring_close(&ring);
    memlane_region_close(&region);
    fixture_end(made);
}

static struct fixture made_ring(uint64_t lanes, uint32_t consumers) {
    struct fixture made = fixture_memfd();
    fixture_add_ring(&made, lanes, CAPACITY, RECORDS, consumers);
    return made;
}

static int put(uint64_t number, uint64_t deadline) { return memlane_ring_put(&ring, &number, sizeof number, deadline); }

/* The record that comes; its status above all numbers where none does. */
static uint64_t get(uint64_t deadline) {
    uint64_t number = 0;
    size_t nbytes;
    int status = memlane_ring_get(&ring, &number, sizeof number, &nbytes, deadline);
    if (status != MEMLANE_OK)
        return (uint64_t)status << 32;
    CHECK_EQUAL(sizeof number, nbytes);
    return number;
}

#define ANSWER(status) ((uint64_t)(status) << 32)

TEST(records_come_in_their_order_and_a_full_ring_says_so) {
    for (uint32_t consumers = MEMLANE_CONSUMERS_ONE; consumers <= MEMLANE_CONSUMERS_MANY; consumers++) {
        struct fixture made = made_ring(1, consumers);
        open_ring(&made);
        CHECK_EQUAL(ANSWER(MEMLANE_EMPTY), get(0));
        for (uint64_t turn = 0; turn < 50; turn++) {
            for (uint64_t i = 1; i <= RECORDS; i++)
                CHECK_EQUAL(MEMLANE_OK, put(turn * RECORDS + i, 0));
            CHECK_EQUAL(MEMLANE_FULL, put(99, 0));
            CHECK_EQUAL(MEMLANE_FULL, put(99, memlane_monotonic_ns() + 1000));
            for (uint64_t i = 1; i <= RECORDS; i++)
                CHECK_EQUAL(turn * RECORDS + i, get(0));
            CHECK_EQUAL(ANSWER(MEMLANE_EMPTY), get(0));
        }
        CHECK_EQUAL(ANSWER(MEMLANE_EMPTY), get(memlane_monotonic_ns() + 1000));
        close_ring(&made);
    }
}

TEST(a_record_that_does_not_fit_the_buffer_stays_and_one_that_never_fits_is_refused) {
    for (uint32_t consumers = MEMLANE_CONSUMERS_ONE; consumers <= MEMLANE_CONSUMERS_MANY; consumers++) {
        struct fixture made = made_ring(1, consumers);
        static unsigned char record[CAPACITY + 8], found[CAPACITY];
        size_t nbytes = 0;
        uint64_t state = 7;
        open_ring(&made);
        for (size_t i = 0; i < sizeof record; i++)
            record[i] = (unsigned char)check_random(&state);
        CHECK_EQUAL(MEMLANE_TOO_LARGE, memlane_ring_put(&ring, record, CAPACITY + 1, MEMLANE_FOREVER));
        CHECK_EQUAL(MEMLANE_OK, memlane_ring_put(&ring, record, CAPACITY, 0));
        CHECK_EQUAL(MEMLANE_TOO_LARGE, memlane_ring_get(&ring, found, 10, &nbytes, MEMLANE_FOREVER));
        CHECK_EQUAL(CAPACITY, nbytes);
        CHECK_EQUAL(MEMLANE_OK, memlane_ring_get(&ring, found, sizeof found, &nbytes, 0));
        CHECK_BYTES(record, found, CAPACITY);
        close_ring(&made);
    }
}

static uint64_t put_three(const struct fixture *made) {
    open_ring(made);
    for (uint64_t number = 1; number <= 3; number++)
        CHECK_EQUAL(MEMLANE_OK, put(number, 0));
    return ring.lane;
}

TEST(the_lane_of_a_dead_producer_is_taken_over_with_all_that_it_has_put) {
    struct fixture made = made_ring(1, MEMLANE_CONSUMERS_ONE);
    struct fixture_child child = fixture_start(put_three, &made);
    fixture_told(&child);
    open_ring(&made);
    CHECK_EQUAL(MEMLANE_BUSY, put(4, 0));
    CHECK_EQUAL(1, get(0));
    fixture_kill(&child);
    CHECK_EQUAL(MEMLANE_OK, put(4, 0));
    for (uint64_t number = 2; number <= 4; number++)
        CHECK_EQUAL(number, get(0));
    close_ring(&made);
}

static uint64_t get_one(const struct fixture *made) {
    open_ring(made);
    return get(0);
}

TEST(the_one_consumer_keeps_its_role_until_it_is_dead) {
    struct fixture made = made_ring(2, MEMLANE_CONSUMERS_ONE);
    struct fixture_child producer = fixture_start(put_three, &made);
    fixture_told(&producer);
    struct fixture_child consumer = fixture_start(get_one, &made);
    CHECK_EQUAL(1, fixture_told(&consumer));
    open_ring(&made);
    CHECK_EQUAL(ANSWER(MEMLANE_BUSY), get(0));
    fixture_kill(&consumer);
    CHECK_EQUAL(2, get(0));
    CHECK_EQUAL(1, atomic_load(&fixture_ring(&made)->died));
    fixture_kill(&producer);
    CHECK_EQUAL(3, get(0));
    close_ring(&made);
}

/* Takes a record as one of many, and does not give it back. */
static uint64_t keep_one(const struct fixture *made) {
    struct memlane_found found;
    size_t nbytes;
    open_ring(made);
    CHECK_EQUAL(MEMLANE_TOO_LARGE, memlane_ring_get(&ring, NULL, 0, &nbytes, 0));
    struct memlane_many many = {.lane = ring.producer.lane};
    many.lane.control = fixture_lane(made, 0);
    many.lane.descriptors =
        (struct memlane_descriptor *)(void *)((unsigned char *)ring.control + ring.shape.data_offset);
    many.lane.bytes = (unsigned char *)many.lane.descriptors + ring.shape.bytes_offset;
    many.lane.capacity = ring.shape.capacity;
    many.lane.mask = ring.shape.descriptors - 1;
    memlane_many_start(&many);
    CHECK_EQUAL(MEMLANE_OK, memlane_many_look(&many, &found));
    CHECK_EQUAL(1, memlane_many_take(&many.lane, found.s, 1, region.membership.tag));
    return found.s;
}

TEST(what_a_dead_consumer_had_in_hand_comes_again_and_what_a_living_one_has_does_not) {
    struct fixture made = made_ring(1, MEMLANE_CONSUMERS_MANY);
    struct fixture_child producer = fixture_start(put_three, &made);
    fixture_told(&producer);
    struct fixture_child consumer = fixture_start(keep_one, &made);
    CHECK_EQUAL(0, fixture_told(&consumer));
    open_ring(&made);
    CHECK_EQUAL(2, get(0));
    CHECK_EQUAL(3, get(0));
    CHECK_EQUAL(ANSWER(MEMLANE_EMPTY), get(0));
    fixture_kill(&consumer);
    CHECK_EQUAL(1, get(MEMLANE_FOREVER));
    CHECK_EQUAL(1, memlane_many_redelivered(fixture_ring(&made)));
    CHECK_EQUAL(ANSWER(MEMLANE_EMPTY), get(0));
    fixture_kill(&producer);
    close_ring(&made);
}

static uint64_t get_to_the_end(const struct fixture *made) {
    uint64_t sum = 0, number;
    open_ring(made);
    while ((number = get(MEMLANE_FOREVER)) >> 32 == 0)
        sum += number;
    CHECK_EQUAL(ANSWER(MEMLANE_CLOSED), number);
    memlane_ring_close(&ring);
    return sum;
}

TEST(a_get_that_waits_gets_all_and_ends_with_the_ring) {
    for (uint32_t consumers = MEMLANE_CONSUMERS_ONE; consumers <= MEMLANE_CONSUMERS_MANY; consumers++) {
        struct fixture made = made_ring(2, consumers);
        struct fixture_child consumer = fixture_start(get_to_the_end, &made);
        open_ring(&made);
        for (uint64_t number = 1; number <= 20000; number++)
            CHECK_EQUAL(MEMLANE_OK, put(number, MEMLANE_FOREVER));
        memlane_ring_shut(ring.control, MEMLANE_SHUTDOWN_DRAIN);
        memlane_bell_wake(&ring.bell, &region.semaphores, &ring.control->waiters, MEMLANE_POSTS_MAX);
        CHECK_EQUAL(20000 / 2 * 20001, fixture_told(&consumer));
        CHECK_EQUAL(MEMLANE_CLOSED, put(1, MEMLANE_FOREVER));
        CHECK_EQUAL(ANSWER(MEMLANE_CLOSED), get(MEMLANE_FOREVER));
        fixture_kill(&consumer);
        close_ring(&made);
    }
}

TEST(a_get_waits_for_what_a_living_consumer_has_in_hand_when_the_ring_ends) {
    struct fixture made = made_ring(1, MEMLANE_CONSUMERS_MANY);
    struct fixture_child producer = fixture_start(put_three, &made);
    fixture_told(&producer);
    struct fixture_child consumer = fixture_start(keep_one, &made);
    fixture_told(&consumer);
    open_ring(&made);
    memlane_ring_shut(ring.control, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(2, get(0));
    CHECK_EQUAL(3, get(0));
    CHECK_EQUAL(ANSWER(MEMLANE_EMPTY), get(0));
    fixture_kill(&consumer);
    CHECK_EQUAL(1, get(MEMLANE_FOREVER));
    CHECK_EQUAL(ANSWER(MEMLANE_CLOSED), get(MEMLANE_FOREVER));
    fixture_kill(&producer);
    close_ring(&made);
}

TEST(a_ring_that_is_dropped_gives_nothing_more) {
    for (uint32_t consumers = MEMLANE_CONSUMERS_ONE; consumers <= MEMLANE_CONSUMERS_MANY; consumers++) {
        struct fixture made = made_ring(3, consumers);
        open_ring(&made);
        CHECK_EQUAL(MEMLANE_OK, put(1, 0));
        memlane_ring_shut(ring.control, MEMLANE_SHUTDOWN_DROP);
        CHECK_EQUAL(ANSWER(MEMLANE_CLOSED), get(MEMLANE_FOREVER));
        close_ring(&made);
    }
}

TEST(a_ring_that_was_removed_says_so_and_its_room_is_let_go) {
    struct fixture made = made_ring(1, MEMLANE_CONSUMERS_ONE);
    struct memlane_entry *entry = memlane_entry_at(made.header, made.header, 0);
    open_ring(&made);
    CHECK_EQUAL(MEMLANE_OK, put(1, 0));
    CHECK(memlane_entry_remove(entry, atomic_load(&entry->sequence)));
    CHECK_EQUAL((uint64_t)-ESTALE, (uint64_t)put(2, MEMLANE_FOREVER));
    CHECK_EQUAL(ANSWER(-ESTALE), get(MEMLANE_FOREVER));
    close_ring(&made);
}

TEST(a_region_that_was_cut_off_says_so) {
    struct fixture made = made_ring(1, MEMLANE_CONSUMERS_MANY);
    open_ring(&made);
    CHECK_EQUAL(MEMLANE_OK, put(1, 0));
    CHECK_EQUAL(0, ftruncate(made.file, 0));
    CHECK_EQUAL(MEMLANE_TRUNCATED, put(2, MEMLANE_FOREVER));
    CHECK_EQUAL(ANSWER(MEMLANE_TRUNCATED), get(MEMLANE_FOREVER));
    close_ring(&made);
}

TEST(one_that_was_taken_for_dead_puts_nothing_into_the_lane_of_its_successor) {
    struct fixture made = made_ring(1, MEMLANE_CONSUMERS_ONE);
    open_ring(&made);
    CHECK_EQUAL(MEMLANE_OK, put(1, 0));
    CHECK_EQUAL(1, get(0));
    atomic_store(&fixture_lane(&made, 0)->owner, region.membership.tag + (2 << MEMLANE_TAG_ROW_BITS));
    atomic_store(&fixture_ring(&made)->consumer, region.membership.tag + (2 << MEMLANE_TAG_ROW_BITS));
    CHECK_EQUAL(MEMLANE_LOST, put(2, MEMLANE_FOREVER));
    atomic_store(&fixture_lane(&made, 0)->owner, region.membership.tag);
    CHECK_EQUAL(MEMLANE_OK, put(2, 0));
    CHECK_EQUAL(ANSWER(MEMLANE_LOST), get(MEMLANE_FOREVER));
    close_ring(&made);
}

TEST(a_child_has_a_lane_of_its_own) {
    struct fixture made = made_ring(2, MEMLANE_CONSUMERS_MANY);
    int status;
    open_ring(&made);
    CHECK_EQUAL(MEMLANE_OK, put(1, 0));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        bool alright = put(2, 0) == MEMLANE_OK && ring.lane == 1;
        memlane_ring_close(&ring);
        memlane_region_close(&region);
        _exit(alright ? 0 : 1);
    }
    CHECK_EQUAL(child, waitpid(child, &status, 0));
    CHECK_EQUAL(0, status);
    CHECK_EQUAL(MEMLANE_OWNER_DEPARTED, memlane_lane_owner(fixture_lane(&made, 1)));
    CHECK_EQUAL(3, get(0) + get(0));
    close_ring(&made);
}

TEST(records_tell_how_long_they_wait_by_the_clock_of_the_process) {
    struct fixture made = fixture_memfd();
    uint64_t clock = memlane_clock_of_process(), steps, begin = memlane_coarse_ns();
    fixture_add_ring(&made, 1, 4096, 64, MEMLANE_CONSUMERS_ONE);
    open_ring(&made);
    for (uint64_t i = 0; i < 3 * MEMLANE_STAMP_EACH; i++)
        CHECK_EQUAL(MEMLANE_OK, put(i, 0));
    for (uint64_t i = 0; i <= 2 * MEMLANE_STAMP_EACH; i++) {
        steps = 100;
        uint64_t since = memlane_lane_waits_since(&ring.producer.lane, clock, &steps);
        CHECK(since != 0 && since <= memlane_coarse_ns());
        CHECK(since + (UINT64_C(1) << MEMLANE_TICK_BITS) > begin); /* stamps count ticks */
        CHECK_EQUAL(i, get(0));
    }
    close_ring(&made);
}

TEST(an_entry_that_is_no_sound_ring_is_refused) {
    struct fixture made = made_ring(1, MEMLANE_CONSUMERS_ONE);
    struct memlane_entry *entry = memlane_entry_at(made.header, made.header, 0);
    CHECK_EQUAL(0, memlane_region_open_descriptor(&region, made.file, NULL));
    CHECK_EQUAL((uint64_t)-ENOENT, (uint64_t)memlane_ring_open(&ring, &region, "other"));
    entry->geometry[0] = 1000;
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_ring_open(&ring, &region, "ring"));
    entry->geometry[0] = 1;
    entry->geometry[3] = 3;
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_ring_open(&ring, &region, "ring"));
    entry->kind = MEMLANE_KIND_SLOT;
    CHECK_EQUAL((uint64_t)-EINVAL, (uint64_t)memlane_ring_open(&ring, &region, "ring"));
    memlane_region_close(&region);
    fixture_end(&made);
}

MAIN
