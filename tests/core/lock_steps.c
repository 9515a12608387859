/* SPDX-License-Identifier: MIT
 *
 * The lock and the event, stopped in front of every single atomic access: killed there, or overtaken by another one
 * (hazards 74, 75, 77).
 */
#include "steps.h"

#include "check.h"
#include "core/lock.h"

enum { ANN = 1u << 10 | 1, BOB = 1u << 10 | 2, CLARA = 1u << 10 | 3, NOW = 1000 };
#define ANNS memlane_lock_word(ANN, 100)
#define BOBS memlane_lock_word(BOB, 200)
#define CLARAS memlane_lock_word(CLARA, 300)

static struct memlane_lock_control *lock;
static uint64_t turn_of_bob, turn_of_clara;
static uint32_t posted; /* one bit a watcher whose doorbell was posted */

static void begin(void) {
    lock = check_allocate(64, sizeof *lock);
    posted = 0;
    turn_of_bob = memlane_lock_queue(lock, 1);
    turn_of_clara = memlane_lock_queue(lock, 2);
}
static void end(void) { free(lock); }

static void wake(void) {
    uint32_t watcher;
    if (memlane_lock_choose(lock, &watcher))
        posted |= 1u << watcher;
}

/* Ann, from an acquire to the end. */
static void ann_takes(void) { CHECK(memlane_lock_try(lock, ANNS)); }
static void ann_releases(void) {
    CHECK(memlane_lock_release(lock, ANNS, NOW));
    wake();
}
static void ann_takes_and_releases(void) {
    if (!memlane_lock_try(lock, ANNS))
        return;
    ann_releases();
}

/* Bob waits, up to his sleep. He tells whether he would sleep. */
static bool bob_has_it, bob_sleeps;
static void bob_waits(void) {
    uint64_t holder;
    bob_has_it = bob_sleeps = false;
    if (memlane_lock_take(lock, BOBS, turn_of_bob, NOW, &holder) == MEMLANE_OK) {
        bob_has_it = true;
        return;
    }
    (void)memlane_lock_nominate(lock, turn_of_bob);
    memlane_armed_announce(&lock->armed, 1);
    bob_sleeps = !memlane_lock_is_due(lock, turn_of_bob);
}

/* Bob gives up, as his time is over. */
static void bob_leaves(void) {
    memlane_lock_leave(lock, turn_of_bob, 1);
    if (memlane_lock_owner(lock) == 0)
        wake();
}

/* What a sleeper does at the end of a slice, with a proof that all the others are dead. */
static bool clara_gets_it(bool *is_told) {
    uint64_t holder;
    *is_told = false;
    if (memlane_lock_take(lock, CLARAS, turn_of_clara, NOW + MEMLANE_LOCK_KEPT_NS, &holder) == MEMLANE_OK)
        return true;
    *is_told = memlane_lock_take_over(lock, holder, CLARAS);
    return *is_told;
}

TEST(an_owner_or_waiter_killed_in_front_of_any_access_leaves_a_lock_that_the_next_one_gets_and_tells_of_owners_only) {
    static void (*const acts[])(void) = {ann_takes_and_releases, ann_releases, bob_waits, bob_leaves};
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        for (int kept = 0; kept < 2; kept++) {
            bool died = true;
            for (long k = 0; died; k++) {
                bool is_told;
                begin();
                if (acts[i] == ann_releases)
                    ann_takes();
                memlane_armed_announce(&lock->armed, 2);
                if (kept)
                    CHECK(memlane_lock_nominate(lock, turn_of_bob));
                died = dies_at(k, acts[i]);
                const bool had_owner = memlane_lock_owner(lock) != 0;
                CHECK(clara_gets_it(&is_told));
                CHECK_EQUAL(had_owner, is_told);
                CHECK_EQUAL(CLARAS, memlane_lock_owner(lock));
                CHECK_EQUAL(1, atomic_load(&lock->depth));
                CHECK(memlane_lock_release(lock, CLARAS, NOW));
                CHECK_EQUAL(0, memlane_lock_owner(lock));
                end();
                CHECK(k < 100);
            }
        }
}

TEST(a_waiter_about_to_sleep_and_a_release_never_miss_each_other_in_any_order_of_steps) {
    for (int way = 0; way < 2; way++) {
        bool meets = true;
        for (long k = 0; meets; k++) {
            begin();
            ann_takes();
            if (way == 0)
                meets = meets_at(k, bob_waits, ann_releases);
            else
                meets = meets_at(k, ann_releases, bob_waits);
            if (!meets && way == 0)
                ann_releases();
            else if (!meets)
                bob_waits();
            CHECK_EQUAL(bob_has_it ? BOBS : 0, memlane_lock_owner(lock));
            CHECK(bob_has_it || !bob_sleeps || (posted & 2)); /* he has it, sees it, or is woken */
            end();
        }
    }
}

/* Clara sleeps behind Bob, for whom the lock is kept. */
TEST(a_waiter_that_gives_up_at_any_moment_of_a_release_leaves_nobody_asleep_beside_a_free_lock) {
    for (int way = 0; way < 2; way++) {
        bool meets = true;
        for (long k = 0; meets; k++) {
            begin();
            ann_takes();
            memlane_armed_announce(&lock->armed, 2);
            bob_waits();
            CHECK(bob_sleeps);
            if (way == 0)
                meets = meets_at(k, bob_leaves, ann_releases);
            else
                meets = meets_at(k, ann_releases, bob_leaves);
            if (!meets && way == 0)
                ann_releases();
            else if (!meets)
                bob_leaves();
            CHECK_EQUAL(0, memlane_lock_owner(lock));
            CHECK(posted & 4);
            end();
        }
    }
}

static bool ann_told, bob_told;
static void ann_takes_over(void) { ann_told = memlane_lock_take_over(lock, CLARAS, ANNS); }
static void bob_takes_over(void) { bob_told = memlane_lock_take_over(lock, CLARAS, BOBS); }

TEST(of_two_that_take_over_from_a_dead_owner_one_is_told_in_any_order_of_steps) {
    bool meets = true;
    for (long k = 0; meets; k++) {
        begin();
        CHECK(memlane_lock_try(lock, CLARAS));
        meets = meets_at(k, ann_takes_over, bob_takes_over);
        CHECK(ann_told != (meets && bob_told));
        CHECK_EQUAL(ann_told ? ANNS : BOBS, memlane_lock_owner(lock));
        end();
    }
}

/* ---- the event ------------------------------------------------------------------------------------ */

static struct memlane_event_control event;
static uint64_t since;
static bool waiter_sleeps, was_woken;
static void event_waits(void) {
    memlane_armed_announce(&event.armed, 9);
    waiter_sleeps = !memlane_event_has_come(&event, since);
}
static void event_sets(void) {
    (void)memlane_event_turn(&event, true);
    was_woken = memlane_armed_collect(&event.armed) != 0;
}
static void event_pulses(void) {
    event_sets();
    (void)memlane_event_turn(&event, false);
}

TEST(a_waiter_about_to_sleep_and_a_set_never_miss_each_other_also_if_it_is_cleared_at_once) {
    static void (*const sets[])(void) = {event_sets, event_pulses};
    for (int i = 0; i < 4; i++) {
        bool meets = true;
        for (long k = 0; meets; k++) {
            memset(&event, 0, sizeof event);
            since = memlane_event_state(&event);
            was_woken = false;
            meets = i < 2 ? meets_at(k, event_waits, sets[i]) : meets_at(k, sets[i - 2], event_waits);
            if (meets)
                CHECK(!waiter_sleeps || was_woken);
        }
    }
}

MAIN
