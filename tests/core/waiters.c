/* SPDX-License-Identifier: MIT
 *
 * Counts and bits beside a doorbell. That sleeper and waker never miss each other is in litmus.c and topic_litmus.c.
 */
#include "check.h"
#include "core/slot_layout.h"
#include "core/waiters.h"

TEST(as_many_announcements_can_be_taken_away_as_were_made_and_never_one_more) {
    _Atomic uint32_t count = 0;
    CHECK(!memlane_waiters_any(&count));
    CHECK(!memlane_waiters_withdraw(&count));
    CHECK_EQUAL(0, count);
    for (int i = 0; i < 3; i++)
        memlane_waiters_announce(&count);
    CHECK(memlane_waiters_any(&count));
    CHECK(memlane_waiters_any_fenced(&count));
    for (int i = 0; i < 3; i++)
        CHECK(memlane_waiters_withdraw(&count));
    CHECK(!memlane_waiters_withdraw(&count));
    CHECK_EQUAL(0, count);
    CHECK(!memlane_waiters_any_fenced(&count));
}

TEST(a_hostile_count_is_only_a_number_of_needless_rings) {
    _Atomic uint32_t count = UINT32_MAX;
    CHECK(memlane_waiters_any(&count));
    CHECK(memlane_waiters_withdraw(&count));
    CHECK_EQUAL(UINT32_MAX - 1, count);
    CHECK_EQUAL(MEMLANE_WAITERS_MASK - 1, memlane_waiters_count(&count));

    count = UINT32_MAX;
    memlane_waiters_announce(&count); /* wraps: this waiter sleeps its slice and looks again */
    CHECK_EQUAL(0, count);
    CHECK(!memlane_waiters_withdraw(&count));
    CHECK_EQUAL(0, count);
}

TEST(those_who_wait_by_a_descriptor_are_no_sleepers_and_one_load_tells_of_both) {
    _Atomic uint32_t word = UINT32_C(1) << MEMLANE_WAITERS_BITS;
    CHECK(memlane_waiters_any(&word));
    CHECK(memlane_waiters_any_fenced(&word));
    CHECK(!memlane_waiters_withdraw(&word));
    CHECK_EQUAL(0, memlane_waiters_count(&word));
    memlane_waiters_announce(&word);
    CHECK_EQUAL(1, memlane_waiters_count(&word));
    CHECK(memlane_waiters_withdraw(&word));
    CHECK(!memlane_waiters_withdraw(&word));
    CHECK_EQUAL(UINT32_C(1) << MEMLANE_WAITERS_BITS, word);
}

TEST(an_hour_of_slices_leaves_no_announcement_behind) {
    _Atomic uint32_t count = 0;
    for (int slice = 0; slice < 36000; slice++) {
        memlane_waiters_announce(&count);
        CHECK(memlane_waiters_withdraw(&count));
    }
    CHECK_EQUAL(0, count);
}

TEST(a_waker_collects_each_armed_bit_exactly_once) {
    _Atomic uint64_t armed = 0;
    CHECK_EQUAL(0, memlane_armed_collect(&armed));
    memlane_armed_announce(&armed, 0);
    memlane_armed_announce(&armed, 63);
    memlane_armed_announce(&armed, 63); /* twice is once */
    CHECK_EQUAL(UINT64_C(1) << 63 | 1, memlane_armed_collect(&armed));
    CHECK_EQUAL(0, memlane_armed_collect(&armed));
    CHECK_EQUAL(0, armed);
}

TEST(a_watcher_takes_back_its_own_bit_and_no_other) {
    _Atomic uint64_t armed = 0;
    for (uint32_t index = 0; index < MEMLANE_WATCHERS_MAX; index++)
        memlane_armed_announce(&armed, index);
    CHECK_EQUAL(UINT64_MAX, armed);
    memlane_armed_withdraw(&armed, 40);
    CHECK_EQUAL(~(UINT64_C(1) << 40), memlane_armed_collect(&armed));
    memlane_armed_withdraw(&armed, 40); /* it was woken meanwhile: nothing to take back */
    CHECK_EQUAL(0, armed);
}

TEST(a_doorbell_has_a_kind_once_it_is_noted) {
    struct memlane_doorbell doorbell;
    memset(&doorbell, 0, sizeof doorbell);
    CHECK_EQUAL(MEMLANE_DOORBELL_NONE, memlane_doorbell_kind(&doorbell));
    memlane_doorbell_note(&doorbell, MEMLANE_DOORBELL_NAMED);
    CHECK_EQUAL(MEMLANE_DOORBELL_NAMED, memlane_doorbell_kind(&doorbell));
}

MAIN
