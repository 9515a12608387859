/* SPDX-License-Identifier: MIT
 *
 * What src/runtime/lease.h promises: what a live process has is never taken, what a dead one had is.
 */
#include "region_fixture.h"

#include "core/slot_layout.h"
#include "runtime/lease.h"

/* The words that are leased, in the room for objects. */
struct words {
    _Atomic uint32_t role;
    struct memlane_slot_control slot;
    struct memlane_lane_control lanes[4];
    struct memlane_watcher watchers[3];
};

static struct words *words_of(const struct fixture *made) {
    return (struct words *)(void *)(made->bytes + made->header->objects_offset);
}

static uint64_t lease_all_kinds(const struct fixture *made) {
    static struct memlane_region region;
    uint32_t holder, next = 0;
    fixture_join(&region, made);
    const struct memlane_membership *membership = &region.membership;
    struct words *words = words_of(made);
    CHECK_EQUAL(MEMLANE_LEASED, memlane_lease_role(membership, &words->role, &holder));
    CHECK_EQUAL(MEMLANE_LEASED, memlane_lease_writer(membership, &words->slot, &holder));
    CHECK_EQUAL(0, memlane_lease_watcher(membership, words->watchers, 3, &next));
    CHECK(memlane_lane_lease(&words->lanes[0], MEMLANE_OWNER_NEVER, membership->tag));
    return membership->tag;
}

TEST(a_role_is_refused_while_its_holder_lives_and_taken_once_it_is_dead) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct words *words = words_of(&made);
    uint32_t holder = 1;
    struct fixture_child child = fixture_start(lease_all_kinds, &made);
    const uint32_t theirs = (uint32_t)fixture_told(&child);
    fixture_join(&region, &made);
    CHECK_EQUAL(MEMLANE_LEASE_TAKEN, memlane_lease_role(&region.membership, &words->role, &holder));
    CHECK_EQUAL(theirs, holder);
    CHECK_EQUAL(child.pid, memlane_membership_pid(&region.membership, holder));
    CHECK_EQUAL(MEMLANE_LEASE_TAKEN, memlane_lease_writer(&region.membership, &words->slot, &holder));
    CHECK_EQUAL(theirs, memlane_role_owner(&words->role));

    fixture_kill(&child);
    CHECK_EQUAL(MEMLANE_LEASED, memlane_lease_role(&region.membership, &words->role, &holder));
    CHECK_EQUAL(theirs, holder);
    CHECK_EQUAL(region.membership.tag, memlane_role_owner(&words->role));
    CHECK_EQUAL(MEMLANE_LEASED, memlane_lease_writer(&region.membership, &words->slot, &holder));
    CHECK_EQUAL(theirs, holder);

    CHECK(memlane_role_give(&words->role, region.membership.tag));
    CHECK_EQUAL(MEMLANE_LEASED, memlane_lease_role(&region.membership, &words->role, &holder));
    CHECK_EQUAL(MEMLANE_TAG_NONE, holder);
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(one_that_cannot_tell_who_lives_takes_no_role) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct words *words = words_of(&made);
    uint32_t holder, next = 0, lane;
    struct fixture_child child = fixture_start(lease_all_kinds, &made);
    const uint32_t theirs = (uint32_t)fixture_told(&child);
    fixture_join(&region, &made);
    fixture_kill(&child);
    close(region.membership.base);
    CHECK_EQUAL(MEMLANE_LEASE_UNKNOWN, memlane_lease_role(&region.membership, &words->role, &holder));
    CHECK_EQUAL(theirs, holder);
    CHECK_EQUAL(MEMLANE_LEASE_UNKNOWN, memlane_lease_writer(&region.membership, &words->slot, &holder));
    CHECK(!memlane_lease_turn(&region.membership, &words->slot, true, &holder));
    CHECK(!memlane_lease_used_lane(&region.membership, words->lanes, 4, 4, &next, &lane));
    CHECK_EQUAL(theirs, memlane_lane_owner(&words->lanes[0]));
    next = 0;
    CHECK_EQUAL(1, memlane_lease_watcher(&region.membership, words->watchers, 3, &next));
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(departed_lanes_come_first_then_those_of_the_dead_and_no_others) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct words *words = words_of(&made);
    uint32_t next = 0, lane = 9;
    struct fixture_child child = fixture_start(lease_all_kinds, &made),
                         other = fixture_start(fixture_join_child, &made);
    fixture_told(&child);
    const uint32_t living = (uint32_t)fixture_told(&other);
    fixture_join(&region, &made);
    atomic_store(&words->lanes[1].owner, living);
    atomic_store(&words->lanes[2].owner, MEMLANE_OWNER_CLOSED);
    atomic_store(&words->lanes[3].owner, MEMLANE_OWNER_DEPARTED);
    fixture_kill(&child);

    CHECK(memlane_lease_used_lane(&region.membership, words->lanes, 4, 4, &next, &lane));
    CHECK_EQUAL(3, lane);
    CHECK(memlane_lease_used_lane(&region.membership, words->lanes, 4, 4, &next, &lane));
    CHECK_EQUAL(0, lane);
    CHECK(!memlane_lease_used_lane(&region.membership, words->lanes, 4, 4, &next, &lane));
    CHECK_EQUAL(living, memlane_lane_owner(&words->lanes[1]));
    lane = 0;
    CHECK(!memlane_lease_find_unused(words->lanes, 4, &lane));
    atomic_store(&words->lanes[2].owner, MEMLANE_OWNER_NEVER);
    lane = 0;
    CHECK(memlane_lease_find_unused(words->lanes, 4, &lane));
    CHECK_EQUAL(2, lane);
    fixture_kill(&other);
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(a_bounded_look_goes_on_behind_the_owners_that_it_asked_for) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct words *words = words_of(&made);
    uint32_t next = 0, lane;
    struct fixture_child dead = fixture_start(fixture_join_child, &made),
                         other = fixture_start(fixture_join_child, &made);
    const uint32_t theirs = (uint32_t)fixture_told(&dead), living = (uint32_t)fixture_told(&other);
    fixture_join(&region, &made);
    for (int i = 0; i < 3; i++)
        atomic_store(&words->lanes[i].owner, living);
    atomic_store(&words->lanes[3].owner, theirs);
    fixture_kill(&dead);
    CHECK(!memlane_lease_used_lane(&region.membership, words->lanes, 4, 2, &next, &lane));
    CHECK_EQUAL(2, next);
    CHECK(memlane_lease_used_lane(&region.membership, words->lanes, 4, 2, &next, &lane));
    CHECK_EQUAL(3, lane);
    fixture_kill(&other);
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(a_watcher_of_a_dead_reader_is_taken_and_that_of_another_thread_is_not) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct words *words = words_of(&made);
    uint32_t next = 0;
    struct fixture_child child = fixture_start(lease_all_kinds, &made);
    fixture_told(&child);
    fixture_join(&region, &made);
    CHECK_EQUAL(1, memlane_lease_watcher(&region.membership, words->watchers, 3, &next));
    CHECK_EQUAL(2, memlane_lease_watcher(&region.membership, words->watchers, 3, &next));
    CHECK_EQUAL(-1, memlane_lease_watcher(&region.membership, words->watchers, 3, &next));
    fixture_kill(&child);
    CHECK_EQUAL(0, memlane_lease_watcher(&region.membership, words->watchers, 3, &next));
    CHECK_EQUAL(-1, memlane_lease_watcher(&region.membership, words->watchers, 3, &next));
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(a_turn_of_a_dead_writer_is_taken_by_one_that_has_waited) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct words *words = words_of(&made);
    uint32_t holder;
    struct fixture_child child = fixture_start(lease_all_kinds, &made);
    const uint32_t theirs = (uint32_t)fixture_told(&child);
    fixture_join(&region, &made);
    CHECK(!memlane_lease_turn(&region.membership, &words->slot, true, &holder));
    CHECK_EQUAL(theirs, holder);
    fixture_kill(&child);
    CHECK(!memlane_lease_turn(&region.membership, &words->slot, false, &holder));
    CHECK(memlane_lease_turn(&region.membership, &words->slot, true, &holder));
    CHECK(!memlane_lease_turn(&region.membership, &words->slot, true, &holder)); /* another thread of ours is inside */
    CHECK_EQUAL(region.membership.tag, holder);
    CHECK(memlane_role_give(&words->slot.writer, region.membership.tag));
    CHECK(memlane_lease_turn(&region.membership, &words->slot, false, &holder));
    memlane_region_close(&region);
    fixture_end(&made);
}

MAIN
