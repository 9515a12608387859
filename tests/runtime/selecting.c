/* SPDX-License-Identifier: MIT
 *
 * What src/runtime/selecting.h promises, between real processes that are killed: a change wakes those that wait by a
 * descriptor, once for each arming, and a death costs them one recheck.
 */
#include "region_fixture.h"

#include <poll.h>
#include <sched.h>

#include "os/semwait.h"
#include "runtime/selecting.h"
#include "runtime/wait.h"

/* Objects of the test, in the room for objects. */
struct things {
    _Atomic uint32_t words[2];
    _Atomic uint64_t changed[2];
};

static struct things *things_in(const unsigned char *address, const struct memlane_header *header) {
    return (struct things *)(void *)(address + header->objects_offset);
}

static bool is_readable(int descriptor) {
    struct pollfd look = {.fd = descriptor, .events = POLLIN};
    CHECK(poll(&look, 1, 0) >= 0);
    return look.revents & POLLIN;
}

static void wait_until_readable(int descriptor) {
    struct pollfd look = {.fd = descriptor, .events = POLLIN};
    while (poll(&look, 1, -1) != 1)
        CHECK_EQUAL(EINTR, errno);
}

/* A process that waits. */
struct waiter {
    struct memlane_region region;
    struct memlane_wakefd wakefd;
    struct memlane_selecting selecting;
    struct things *things;
};

static void begin(struct waiter *waiter, const struct fixture *made, uint64_t slice_ns) {
    uint32_t next = 0;
    fixture_join(&waiter->region, made);
    const struct memlane_membership *membership = &waiter->region.membership;
    waiter->things = things_in(membership->address, membership->geometry);
    CHECK_EQUAL(0, memlane_wakefd_open(&waiter->wakefd, slice_ns));
    CHECK(memlane_selecting_begin(&waiter->selecting, membership, &waiter->wakefd, &next));
    for (int i = 0; i < 2; i++)
        memlane_selecting_add(&waiter->selecting, &waiter->things->words[i]);
}

static void end(struct waiter *waiter) {
    CHECK(memlane_selecting_end(&waiter->selecting));
    memlane_wakefd_close(&waiter->wakefd);
    memlane_region_close(&waiter->region);
}

/* One round in front of the wait. Returns: what was changed since the last one. */
static uint64_t round_of(struct waiter *waiter) {
    uint64_t changed = 0;
    CHECK_EQUAL(0, memlane_wakefd_drain(&waiter->wakefd));
    memlane_selecting_arm(&waiter->selecting);
    for (int i = 0; i < 2; i++)
        memlane_selecting_announce(&waiter->selecting, &waiter->things->words[i]);
    for (int i = 0; i < 2; i++)
        changed += atomic_exchange(&waiter->things->changed[i], 0);
    return changed;
}

static uint64_t change(const struct memlane_region *region, int i) {
    struct things *things = things_in(region->membership.address, region->membership.geometry);
    atomic_fetch_add(&things->changed[i], 1);
    return memlane_waiters_any(&things->words[i]) ? memlane_selecting_wake(&region->membership, &things->words[i]) : 0;
}

static uint64_t change_first(const struct fixture *made) {
    static struct memlane_region region;
    fixture_join(&region, made);
    return change(&region, 0);
}

TEST(a_change_by_another_process_wakes_once_for_each_arming) {
    struct fixture made = fixture_memfd();
    static struct waiter waiter;
    begin(&waiter, &made, 0);
    for (int turn = 0; turn < 2; turn++) {
        CHECK_EQUAL(0, round_of(&waiter));
        CHECK(!is_readable(waiter.wakefd.descriptor));
        for (int changes = 0; changes < 2; changes++) {
            struct fixture_child child = fixture_start(change_first, &made);
            CHECK_EQUAL(changes == 0, fixture_told(&child)); /* sent one, then none */
            wait_until_readable(waiter.wakefd.descriptor);
            fixture_kill(&child);
        }
        CHECK_EQUAL(2, round_of(&waiter));
    }
    CHECK_EQUAL(1, change(&waiter.region, 1)); /* the other object is announced as well; oneself is woken like others */
    CHECK(is_readable(waiter.wakefd.descriptor));
    CHECK_EQUAL(1, round_of(&waiter));
    memlane_selecting_disarm(&waiter.selecting);
    CHECK_EQUAL(0, change(&waiter.region, 1));
    CHECK_EQUAL(1, round_of(&waiter));
    CHECK_EQUAL(1, memlane_selecting_wake_all(&waiter.region.membership));
    CHECK(is_readable(waiter.wakefd.descriptor));
    end(&waiter);
    fixture_end(&made);
}

static uint64_t take_the_announcement_and_no_more(const struct fixture *made) {
    static struct memlane_region region;
    fixture_join(&region, made);
    const struct memlane_membership *membership = &region.membership;
    struct things *things = things_in(membership->address, membership->geometry);
    struct memlane_selector *table =
        memlane_selectors_of((struct memlane_header *)(void *)membership->address, membership->geometry);
    struct memlane_selector_found found;
    uint32_t at = 0;
    atomic_fetch_add(&things->changed[0], 1);
    CHECK(memlane_selectors_next(table, membership->geometry->selectors, memlane_selectors_take(&things->words[0]),
                                 UINT64_MAX, &at, &found));
    return 1; /* is killed in front of the send */
}

TEST(a_waker_killed_between_taking_an_announcement_and_the_send_costs_one_recheck) {
    struct fixture made = fixture_memfd();
    static struct waiter waiter;
    begin(&waiter, &made, MEMLANE_SLICE_NS / 10);
    CHECK_EQUAL(0, round_of(&waiter));
    struct fixture_child child = fixture_start(take_the_announcement_and_no_more, &made);
    CHECK_EQUAL(1, fixture_told(&child));
    fixture_kill(&child);
    CHECK_EQUAL(0, change(&waiter.region, 0)); /* nothing is left to take, so this one is not told either */
    wait_until_readable(waiter.wakefd.descriptor); /* by its own slice */
    CHECK_EQUAL(2, round_of(&waiter));
    CHECK_EQUAL(1, change(&waiter.region, 0)); /* and all is as before */
    end(&waiter);
    fixture_end(&made);
}

static uint64_t wait_as_a_child(const struct fixture *made) {
    static struct waiter waiter;
    begin(&waiter, made, 0);
    CHECK_EQUAL(0, round_of(&waiter));
    return waiter.selecting.index;
}

TEST(a_place_is_taken_from_a_dead_process_and_from_no_other_and_the_dead_cost_one_send) {
    struct fixture made = fixture_memfd();
    static struct waiter waiter;
    struct fixture_child child = fixture_start(wait_as_a_child, &made);
    CHECK_EQUAL(0, fixture_told(&child));
    begin(&waiter, &made, 0);
    CHECK_EQUAL(1, waiter.selecting.index);
    CHECK_EQUAL(0, round_of(&waiter));
    CHECK_EQUAL(2, change(&waiter.region, 0));
    CHECK_EQUAL(1, round_of(&waiter));
    fixture_kill(&child);

    struct memlane_selector *table = memlane_selectors_of(made.header, made.header);
    for (uint32_t i = 2; i < MEMLANE_SELECTORS_MAX; i++)
        atomic_store(&table[i].owner, waiter.region.membership.tag); /* the table is full */
    struct memlane_selecting another;
    uint32_t next = 0;
    CHECK(memlane_selecting_begin(&another, &waiter.region.membership, &waiter.wakefd, &next));
    CHECK_EQUAL(0, another.index);
    next = 0;
    struct memlane_selecting third;
    CHECK(!memlane_selecting_begin(&third, &waiter.region.membership, &waiter.wakefd, &next));
    CHECK(memlane_selecting_end(&another));
    end(&waiter);
    fixture_end(&made);
}

/* Whether the kernel lets us watch files at all. */
static bool can_watch(const struct fixture *made) {
    struct memlane_wakefd probe;
    CHECK_EQUAL(0, memlane_wakefd_open(&probe, 0));
    bool can = memlane_wakefd_watch(&probe, made->file) == 0;
    memlane_wakefd_close(&probe);
    return can;
}

static uint64_t change_from_another_network(const struct fixture *made) {
    static struct memlane_region region;
    fixture_join(&region, made);
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return 99;
    return change(&region, 0);
}

TEST(a_process_of_another_network_namespace_is_noticed_at_a_recheck_and_then_at_once) {
    struct fixture made = fixture_memfd();
    static struct waiter waiter;
    begin(&waiter, &made, MEMLANE_SLICE_NS / 10);
    CHECK_EQUAL(0, round_of(&waiter));
    struct fixture_child child = fixture_start(change_from_another_network, &made);
    uint64_t sends = fixture_told(&child);
    fixture_kill(&child);
    if (sends == 99) {
        puts("  (not tried: unshare is refused here)");
    } else {
        CHECK_EQUAL(0, sends);
        wait_until_readable(waiter.wakefd.descriptor); /* by its own slice */
        CHECK_EQUAL(1, round_of(&waiter));
    }
    if (sends != 99 && can_watch(&made)) {
        waiter.wakefd.slice_ns = UINT64_C(1000000000) * FIXTURE_WATCHDOG_S * 2; /* from now on it would hang */
        CHECK_EQUAL(0, round_of(&waiter));
        child = fixture_start(change_from_another_network, &made);
        CHECK_EQUAL(0, fixture_told(&child));
        wait_until_readable(waiter.wakefd.descriptor);
        CHECK_EQUAL(1, round_of(&waiter));
        fixture_kill(&child);
    }
    end(&waiter);
    fixture_end(&made);
}

MAIN
