/* SPDX-License-Identifier: MIT
 *
 * Duels (duel.h) of rings, slots and selectors; those of topics are in topic_litmus.c. What may come out stands above
 * each duel.
 */
#include "consumers_fixture.h"
#include "core/queue_bound.h"
#include "core/queue_turns.h"
#include "core/lock.h"
#include "core/map_writer.h"
#include "core/selectors.h"
#include "core/slot.h"
#include "duel.h"

static struct bench bench;
static uint64_t offset; /* of a claim that was opened before the round */

/* ---- a commit against a close -------------------------------------------------------------------- */

static void claim_one(void) {
    uint64_t next = bench.producer.next + 1; /* whatever the round before did to `next` is behind us */
    for (uint64_t i = 0; i <= bench.lane.mask; i++)
        atomic_store(&bench.lane.descriptors[i].state, 0);
    atomic_store(&bench.lane.control->head, next);
    atomic_store(&bench.lane.control->tail, next);
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench));
    bench_new_consumer(&bench);
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_claim(&bench.producer, 8, &offset));
}

static uint64_t commit_one(void) { return memlane_producer_commit(&bench.producer, offset, 8); }

static uint64_t close_lane(void) { return memlane_consumer_close(&bench.consumer); }

/*  commit   close    what it means
 *  OK       BUSY     the record is in, and the closer takes it
 *  CLOSED   CLOSED   nobody will see the record */
static void judge_commit_and_close(uint64_t commit, uint64_t close) {
    if (commit == MEMLANE_OK) {
        CHECK_EQUAL(MEMLANE_BUSY, close);
        CHECK_EQUAL(MEMLANE_OK, bench_look(&bench));
        left_first++;
    } else {
        CHECK_EQUAL(MEMLANE_CLOSED, commit);
        CHECK_EQUAL(MEMLANE_CLOSED, close);
        CHECK_EQUAL(MEMLANE_CLOSED, bench_look(&bench));
        right_first++;
    }
}

TEST(of_a_commit_and_a_close_exactly_one_wins) {
    bench = bench_new(64, 4);
    duel(claim_one, commit_one, close_lane, judge_commit_and_close);
    bench_free(&bench);
}

/* ---- a first lease against a close --------------------------------------------------------------- */

static void unlease(void) { atomic_store(&bench.lane.control->owner, MEMLANE_OWNER_NEVER); }

static uint64_t lease_lane(void) {
    return memlane_lane_lease(bench.lane.control, MEMLANE_OWNER_NEVER, 1u << MEMLANE_TAG_ROW_BITS);
}

static uint64_t close_unleased(void) { return memlane_lane_close_unleased(bench.lane.control); }

static void judge_lease_and_close(uint64_t leased, uint64_t close) {
    CHECK_EQUAL(leased ? MEMLANE_BUSY : MEMLANE_CLOSED, close);
    if (leased)
        left_first++;
    else
        right_first++;
}

TEST(of_a_first_lease_and_a_close_exactly_one_wins) {
    bench = bench_new(64, 4);
    duel(unlease, lease_lane, close_unleased, judge_lease_and_close);
    bench_free(&bench);
}

/* ---- store buffering: a sleeper and a waker ----------------------------------------------------- */

static void claim_one_nobody_waits(void) {
    claim_one();
    atomic_store(&bench.ring->waiters, 0);
    atomic_store(&bench.lane.control->waiters, 0);
}

static uint64_t announce_and_look(void) {
    memlane_waiters_announce(&bench.ring->waiters);
    return memlane_consumer_any(&bench.consumer);
}

static uint64_t commit_and_look(void) {
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_commit(&bench.producer, offset, 8));
    return memlane_waiters_any(&bench.ring->waiters);
}

TEST(a_consumer_about_to_sleep_and_a_commit_never_miss_each_other) {
    bench = bench_new(64, 4);
    duel(claim_one_nobody_waits, announce_and_look, commit_and_look, judge_looks);
    bench_free(&bench);
}

static void fill_nobody_waits(void) {
    claim_one_nobody_waits();
    while (memlane_producer_put(&bench.producer, "12345678", 8) == MEMLANE_OK) {
    }
}

static uint64_t announce_and_look_for_room(void) {
    memlane_waiters_announce(&bench.lane.control->waiters);
    return memlane_producer_any(&bench.producer);
}

static uint64_t free_and_look(void) {
    CHECK_EQUAL(MEMLANE_OK, bench_look(&bench));
    memlane_consumer_finish(&bench.consumer, 1, 8);
    return memlane_waiters_any_fenced(&bench.lane.control->waiters);
}

TEST(a_producer_about_to_sleep_and_a_record_freed_by_a_plain_store_of_head_never_miss_each_other) {
    bench = bench_new(64, 4);
    duel(fill_nobody_waits, announce_and_look_for_room, free_and_look, judge_looks);
    bench_free(&bench);
}

/* ---- the end of a ring with many consumers -------------------------------------------------------- */

static struct many_bench many;

static void hold_one_nobody_waits(void) {
    uint64_t s;
    atomic_store(&many.bench.ring->waiters, 0);
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    CHECK(many_take(&many, BOB, &s));
}

static uint64_t announce_and_look_for_the_end(void) {
    memlane_waiters_announce(&many.bench.ring->waiters);
    return memlane_many_is_drained(&many.many);
}

static uint64_t free_the_last_and_look(void) {
    CHECK(memlane_many_free(&many.bench.lane, memlane_many_taken(&many.bench.lane) - 1, BOB));
    return memlane_waiters_any(&many.bench.ring->waiters);
}

TEST(a_consumer_that_waits_for_the_end_and_the_last_record_in_hand_never_miss_each_other) {
    many = many_new_at(32, 4, 0);
    duel(hold_one_nobody_waits, announce_and_look_for_the_end, free_the_last_and_look, judge_looks);
    bench_free(&many.bench);
}

static void nothing_ends(void) {
    atomic_store(&bench.ring->shutdown, 0);
    claim_one_nobody_waits();
}

static uint64_t announce_and_look_at_the_flag(void) {
    memlane_waiters_announce(&bench.ring->waiters);
    return memlane_ring_shutdown(bench.ring);
}

/* The look at the count is the one that is made: relaxed, by the process that is about to wake. */
static uint64_t shut_and_look(void) {
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    return memlane_waiters_withdraw(&bench.ring->waiters);
}

TEST(a_get_about_to_sleep_and_a_shutdown_never_miss_each_other) {
    bench = bench_new(64, 4);
    duel(nothing_ends, announce_and_look_at_the_flag, shut_and_look, judge_looks);
    bench_free(&bench);
}

static uint64_t announce_at_the_lane_and_look(void) {
    memlane_waiters_announce(&bench.lane.control->waiters);
    return memlane_producer_any(&bench.producer);
}

static uint64_t shut_and_look_at_the_lane(void) {
    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    return memlane_waiters_withdraw(&bench.lane.control->waiters);
}

static void fill_and_nothing_ends(void) {
    atomic_store(&bench.ring->shutdown, 0);
    fill_nobody_waits();
}

TEST(a_put_about_to_sleep_and_a_shutdown_never_miss_each_other) {
    bench = bench_new(64, 4);
    duel(fill_and_nothing_ends, announce_at_the_lane_and_look, shut_and_look_at_the_lane, judge_looks);
    bench_free(&bench);
}

/* ---- the same for a selector --------------------------------------------------------------------- */

#define CLASSES_OF_ITS_WORD UINT32_C(0xffff0000)
static struct memlane_selector selector;
static bool bit_is_there; /* from an earlier round, so the owner has no bit to set */

static void nobody_waits_at_the_selector(void) {
    claim_one_nobody_waits();
    bit_is_there = !bit_is_there;
    atomic_store(&bench.ring->waiters, bit_is_there ? CLASSES_OF_ITS_WORD : 0);
    atomic_store(&selector.state, 2);
    atomic_store(&selector.interest, 0);
}

static uint64_t arm_announce_and_look(void) {
    memlane_selector_arm(&selector, 1, 4);
    memlane_selector_announce(&bench.ring->waiters, 0);
    return memlane_consumer_any(&bench.consumer);
}

static uint64_t commit_and_wake(void) {
    struct memlane_selector_found found;
    uint32_t at = 0;
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_commit(&bench.producer, offset, 8));
    return memlane_waiters_any(&bench.ring->waiters) &&
           memlane_selectors_next(&selector, 1, memlane_selectors_take(&bench.ring->waiters), 4, &at, &found);
}

TEST(an_owner_that_arms_its_selector_and_a_commit_never_miss_each_other) {
    bench = bench_new(64, 4);
    duel(nobody_waits_at_the_selector, arm_announce_and_look, commit_and_wake, judge_looks);
    bench_free(&bench);
}

static void nobody_waits_for_room_at_the_selector(void) {
    fill_nobody_waits();
    bit_is_there = !bit_is_there;
    atomic_store(&bench.lane.control->waiters, bit_is_there ? CLASSES_OF_ITS_WORD : 0);
    atomic_store(&selector.state, 2);
    atomic_store(&selector.interest, 0);
}

static uint64_t arm_announce_and_look_for_room(void) {
    memlane_selector_arm(&selector, 1, 4);
    memlane_selector_announce(&bench.lane.control->waiters, 0);
    return memlane_producer_any(&bench.producer);
}

static uint64_t free_and_wake(void) {
    struct memlane_selector_found found;
    uint32_t at = 0;
    CHECK_EQUAL(MEMLANE_OK, bench_look(&bench));
    memlane_consumer_finish(&bench.consumer, 1, 8);
    return memlane_waiters_any_fenced(&bench.lane.control->waiters) &&
           memlane_selectors_next(&selector, 1, memlane_selectors_take(&bench.lane.control->waiters), 4, &at, &found);
}

TEST(an_owner_that_arms_its_selector_for_room_and_a_record_freed_never_miss_each_other) {
    bench = bench_new(64, 4);
    duel(nobody_waits_for_room_at_the_selector, arm_announce_and_look_for_room, free_and_wake, judge_looks);
    bench_free(&bench);
}

/* ---- the same for a slot and its watcher --------------------------------------------------------- */

static struct memlane_slot_control slot_control;
static struct memlane_copy_stamp slot_stamps[2];
static _Atomic uint64_t slot_copies[2 * 8];
static struct memlane_slot slot;
static uint64_t known; /* the version that the watcher has seen */

static void nobody_armed(void) {
    known = memlane_slot_version(&slot);
    atomic_store(&slot_control.armed, 0);
}

static uint64_t arm_and_look(void) {
    memlane_armed_announce(&slot_control.armed, 63);
    return memlane_slot_version(&slot) != known;
}

static uint64_t publish_and_collect(void) {
    memlane_slot_publish(&slot, &known, 0, 0);
    return memlane_armed_collect(&slot_control.armed) != 0;
}

TEST(a_watcher_about_to_sleep_and_a_publish_never_miss_each_other) {
    slot = (struct memlane_slot){&slot_control, slot_stamps, (unsigned char *)slot_copies, 8, 64, 1};
    duel(nobody_armed, arm_and_look, publish_and_collect, judge_looks);
}

/* ---- the same for the lane of turns of a queue ----------------------------------------------------- */

enum { TURN = 0x801 };

static void turn_is_taken(void) {
    atomic_store(&bench.lane.control->waiters, 0);
    atomic_store(&bench.lane.control->owner, TURN);
}

static uint64_t announce_and_look_at_the_owner(void) {
    memlane_waiters_announce(&bench.lane.control->waiters);
    return memlane_queue_turn_any(bench.ring, bench.lane.control, TURN);
}

static uint64_t end_turn(void) { return memlane_queue_turn_end(bench.lane.control, TURN); }

TEST(a_put_about_to_sleep_for_a_turn_and_the_end_of_a_turn_never_miss_each_other) {
    bench = bench_new(64, 4);
    duel(turn_is_taken, announce_and_look_at_the_owner, end_turn, judge_looks);
    bench_free(&bench);
}

/* ---- the same for a permit of a bounded queue ------------------------------------------------------ */

static struct memlane_queue_control *queue_control;
static struct memlane_queue_lane queue_lane;
static struct memlane_bound bound;

static void one_record_in_a_queue_of_one(void) {
    atomic_store(&queue_control->putters, 0);
    CHECK_EQUAL(MEMLANE_OK, memlane_bound_take(&bound, 1));
    CHECK_EQUAL(MEMLANE_OK, many_put(&many, 'a'));
    memlane_bound_use(&bound, 1);
}

static uint64_t announce_and_look_for_a_permit(void) {
    memlane_waiters_announce(&queue_control->putters);
    return memlane_bound_any(&bound);
}

static uint64_t take_and_look(void) {
    CHECK(memlane_many_take(&many.bench.lane, memlane_many_taken(&many.bench.lane), 1, BOB));
    bool any = memlane_waiters_any_fenced(&queue_control->putters);
    CHECK(memlane_many_free(&many.bench.lane, memlane_many_taken(&many.bench.lane) - 1, BOB));
    return any;
}

TEST(a_put_about_to_sleep_for_a_permit_and_a_get_never_miss_each_other) {
    many = many_new_at(32, 4, 0);
    queue_control = check_allocate(MEMLANE_LINE_PAIR, sizeof *queue_control);
    atomic_store(&queue_control->ring.leased, 1);
    bound = (struct memlane_bound){
        .control = queue_control, .of_lanes = &queue_lane, .many = &many.many, .maxsize = 1, .lanes = 1};
    duel(one_record_in_a_queue_of_one, announce_and_look_for_a_permit, take_and_look, judge_looks);
    bench_free(&many.bench);
    free(queue_control);
}

/* ---- two releases of neighbors ------------------------------------------------------------------ */

static void borrow_two(void) {
    claim_one();
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(MEMLANE_OK, memlane_producer_put(&bench.producer, "12345678", 8));
        CHECK_EQUAL(MEMLANE_OK, bench_look(&bench));
        memlane_consumer_borrow(&bench.consumer);
    }
}

static uint64_t release_first(void) {
    memlane_consumer_release(&bench.consumer, bench.producer.next - 2);
    return bench_head(&bench) == bench.producer.next;
}

static uint64_t release_second(void) {
    memlane_consumer_release(&bench.consumer, bench.producer.next - 1);
    return bench_head(&bench) == bench.producer.next;
}

/* The later one moves head over both; if neither did, it would stop between them for good. */
static void judge_releases(uint64_t first_was_last, uint64_t second_was_last) {
    CHECK_EQUAL(bench.producer.next, bench_head(&bench));
    CHECK(first_was_last || second_was_last);
    left_first += !first_was_last;
    right_first += !second_was_last;
}

TEST(two_releases_of_neighbors_at_the_same_moment_leave_head_behind_both) {
    bench = bench_new(64, 4);
    duel(borrow_two, release_first, release_second, judge_releases);
    bench_free(&bench);
}

/* ---- a lock and its waiter, a map and its watcher, two inserts of one key ------------------------- */

enum { OWNER = 1u << 10 | 1, OTHER = 1u << 10 | 2 };
static struct memlane_lock_control *lock;

static void lock_nobody_armed(void) {
    memset(lock, 0, sizeof *lock);
    CHECK(memlane_lock_try(lock, OWNER));
}

static uint64_t arm_and_look_at_lock(void) {
    memlane_armed_announce(&lock->armed, 7);
    return memlane_lock_is_due(lock, memlane_lock_turn(0, 7));
}

static uint64_t release_and_choose(void) {
    uint32_t watcher;
    CHECK(memlane_lock_release(lock, OWNER, 0));
    return memlane_lock_choose(lock, &watcher);
}

TEST(a_waiter_of_a_lock_about_to_sleep_and_a_release_never_miss_each_other) {
    lock = check_allocate(64, sizeof *lock);
    duel(lock_nobody_armed, arm_and_look_at_lock, release_and_choose, judge_looks);
    free(lock);
}

static struct memlane_map map;
static struct memlane_map_key map_key;
static const struct memlane_map_clock map_clock = {1, 1};
static uint64_t map_version;

static int nobody_is_dead(void *of, uint32_t tag) {
    (void)of;
    (void)tag;
    return false;
}

static enum memlane_status map_change(uint32_t tag, enum memlane_map_how how) {
    const uint64_t value = tag;
    struct memlane_map_writer writer = {.tag = tag, .is_dead = nobody_is_dead};
    struct memlane_map_change change = {.how = how, .value = &value, .nbytes = 8};
    return memlane_map_change(&map, &writer, &map_key, &map_clock, &change);
}

static void map_begin(void) {
    uint64_t nbytes;
    (void)map_change(OWNER, MEMLANE_MAP_REMOVE);
    atomic_store(&memlane_map_bucket_of(&map, map_key.hash)->armed, 0);
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_map_read(&map, &map_key, &map_clock, NULL, &nbytes, &map_version));
}

static uint64_t arm_and_look_at_map(void) {
    uint64_t found;
    memlane_armed_announce(&memlane_map_bucket_of(&map, map_key.hash)->armed, 7);
    return memlane_map_version_again(&map, &map_key, &map_clock, &found) != MEMLANE_EMPTY;
}

static uint64_t insert_and_collect(void) {
    CHECK_EQUAL(MEMLANE_OK, map_change(OTHER, MEMLANE_MAP_PUT));
    return memlane_armed_collect(&memlane_map_bucket_of(&map, map_key.hash)->armed) != 0;
}

static uint64_t insert_as_owner(void) { return map_change(OWNER, MEMLANE_MAP_INSERT); }
static uint64_t insert_as_other(void) { return map_change(OTHER, MEMLANE_MAP_INSERT); }

/*  BUSY   the other one still holds the entry that it has put into the map */
static void judge_inserts(uint64_t owner, uint64_t other) {
    CHECK((owner == MEMLANE_OK) != (other == MEMLANE_OK));
    const uint64_t loser = owner == MEMLANE_OK ? other : owner;
    CHECK(loser == MEMLANE_DIFFERS || loser == MEMLANE_BUSY);
    left_first += owner == MEMLANE_OK;
    right_first += other == MEMLANE_OK;
}

TEST(a_watcher_of_a_map_and_an_insert_never_miss_each_other_and_of_two_inserts_one_wins) {
    static const uint64_t seeds[2] = {3, 5}, number = 9;
    struct memlane_map_shape shape;
    CHECK(memlane_map_lay_out(&shape, 4, 8, 8, 2, 0, MEMLANE_VALUES_FIXED));
    unsigned char *base = check_allocate(64, shape.nbytes);
    memlane_map_begin(base, &shape, seeds);
    memlane_map_view(&map, base, &shape);
    CHECK_EQUAL(MEMLANE_OK, memlane_map_key_make(&map, &map_key, MEMLANE_KEY_INT, &number, 8));
    duel(map_begin, arm_and_look_at_map, insert_and_collect, judge_looks);
    duel(map_begin, insert_as_owner, insert_as_other, judge_inserts);
    free(base);
}

MAIN
