/* SPDX-License-Identifier: MIT
 *
 * Records that are committed while their producer has views of them: their bytes, all that were reserved, are used for
 * no other record before the last view has died, wherever `head` is.
 */
#include "lane_fixture.h"
#include "core/lane_consumers.h"

/* Claim `reserved` bytes, commit `nbytes` of them with the bytes of `seed`, keep all of them. */
static enum memlane_status put_kept(struct bench *bench, struct memlane_kept *kept, size_t reserved, size_t nbytes,
                                    uint64_t seed) {
    uint64_t offset;
    enum memlane_status status = memlane_producer_claim(&bench->producer, reserved, &offset);
    if (status != MEMLANE_OK)
        return status;
    bench_fill(bench->lane.bytes + offset, reserved, seed);
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_commit(&bench->producer, offset, nbytes));
    memlane_producer_keep(&bench->producer, kept, offset, reserved);
    return MEMLANE_OK;
}

static void check_kept(const struct bench *bench, const struct memlane_kept *kept, size_t reserved, uint64_t seed) {
    bench_check_payload(bench->lane.bytes + kept->offset, reserved, seed);
}

TEST(a_record_with_views_is_seen_at_once_and_its_bytes_stay_after_it_was_got) {
    struct bench bench = bench_new(64, 8);
    struct memlane_kept kept;
    CHECK_EQUAL(MEMLANE_OK, put_kept(&bench, &kept, 16, 16, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, 1));
    CHECK_EQUAL(1, bench_head(&bench));
    uint64_t put = 0;
    for (; bench_put(&bench, 16, 9) == MEMLANE_OK; put++)
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, 9));
    CHECK_EQUAL(3, put); /* 64 bytes less those 16 */
    check_kept(&bench, &kept, 16, 1);
    memlane_producer_release(&bench.producer, &kept);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 64, 9)); /* all of it again */
    bench_free(&bench);
}

TEST(what_was_reserved_and_not_committed_stays_occupied_while_views_live) {
    struct bench bench = bench_new(64, 8);
    struct memlane_kept kept;
    CHECK_EQUAL(MEMLANE_OK, put_kept(&bench, &kept, 48, 8, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 16, 2));
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 8, 3));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, 2));
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 8, 3));
    check_kept(&bench, &kept, 48, 1);
    memlane_producer_release(&bench.producer, &kept);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 64, 3));
    bench_free(&bench);
}

TEST(an_empty_lane_does_not_start_anew_over_a_record_with_views) {
    struct bench bench = bench_new(64, 8);
    struct memlane_kept kept;
    CHECK_EQUAL(MEMLANE_OK, put_kept(&bench, &kept, 8, 8, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 1));
    memlane_producer_reuse(&bench.producer, 1000);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 2));
    check_kept(&bench, &kept, 8, 1);
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 64, 3));
    bench_free(&bench);
}

TEST(records_with_views_count_as_records_of_a_lane_of_few) {
    struct bench bench = bench_new(256, 2);
    struct memlane_kept kept[2];
    for (uint64_t i = 0; i < 2; i++) {
        CHECK_EQUAL(MEMLANE_OK, put_kept(&bench, &kept[i], 8, 8, i));
        CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, i));
    }
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 8, 2));
    memlane_producer_release(&bench.producer, &kept[1]); /* the younger one first: the older one still stands */
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 8, 2));
    memlane_producer_release(&bench.producer, &kept[0]);
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 8, 2));
    bench_free(&bench);
}

TEST(a_batch_goes_around_a_record_with_views) {
    struct bench bench = bench_new(64, 8);
    struct memlane_kept kept;
    static const struct memlane_span records[8] = {{"12345678", 8}, {"12345678", 8}, {"12345678", 8}, {"12345678", 8},
                                                   {"12345678", 8}, {"12345678", 8}, {"12345678", 8}, {"12345678", 8}};
    size_t done;
    CHECK_EQUAL(MEMLANE_OK, put_kept(&bench, &kept, 16, 16, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, 1));
    CHECK_EQUAL(MEMLANE_OK, memlane_producer_put_many(&bench.producer, records, 8, &done));
    CHECK_EQUAL(6, done);
    check_kept(&bench, &kept, 16, 1);
    CHECK_EQUAL(MEMLANE_FULL, memlane_producer_put_many(&bench.producer, records, 1, &done));
    CHECK(bench.producer.kept == &kept);
    bench_free(&bench);
}

TEST(a_producer_that_waits_is_due_when_the_views_have_died_and_not_for_a_consumer_behind_them) {
    struct bench bench = bench_new(64, 8);
    struct memlane_kept kept;
    CHECK_EQUAL(MEMLANE_OK, put_kept(&bench, &kept, 16, 16, 1));
    while (bench_put(&bench, 16, 2) == MEMLANE_OK) {
    }
    CHECK(!memlane_producer_any(&bench.producer));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 16, 2));
    CHECK(!memlane_producer_any(&bench.producer)); /* or it would look, and find nothing, for ever */
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 16, 2));
    memlane_producer_release(&bench.producer, &kept);
    CHECK(memlane_producer_any(&bench.producer));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 32, 2));
    bench_free(&bench);
}

TEST(with_many_consumers_a_producer_is_not_due_for_what_is_free_behind_its_views) {
    struct bench bench = bench_new(64, 8);
    struct memlane_kept kept;
    bench.producer.lane.many = true;
    CHECK_EQUAL(MEMLANE_OK, put_kept(&bench, &kept, 16, 16, 1));
    while (bench_put(&bench, 16, 2) == MEMLANE_OK) {
    }
    bench_set_state(&bench, 0, MEMLANE_STATE_FREE);
    CHECK(!memlane_producer_any(&bench.producer));
    bench_set_state(&bench, 1, MEMLANE_STATE_FREE);
    CHECK_EQUAL(MEMLANE_FULL, bench_put(&bench, 16, 2)); /* `head` is at 2 by now */
    CHECK_EQUAL(2, bench_head(&bench));
    CHECK(!memlane_producer_any(&bench.producer));
    check_kept(&bench, &kept, 16, 1);
    memlane_producer_release(&bench.producer, &kept);
    CHECK(memlane_producer_any(&bench.producer));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 32, 2));
    bench_free(&bench);
}

TEST(an_adopter_knows_of_no_views_and_uses_all_that_was_got) {
    struct bench bench = bench_new(64, 8);
    struct memlane_kept kept;
    CHECK_EQUAL(MEMLANE_OK, put_kept(&bench, &kept, 16, 8, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(&bench)); /* its process has died, and the views with it */
    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, 8, 1));
    CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, 64, 2));
    bench_free(&bench);
}

/* Any order of commits, views, gets and deaths of views: no kept byte ever changes, and in the end all room is there. */
TEST(no_order_of_steps_changes_a_byte_that_has_a_view) {
    enum { MOST = 8 };
    uint64_t random = 7;
    for (uint64_t round = 0; round < 2000; round++) {
        struct bench bench =
            bench_new_at(8 * (4 + check_below(&random, 20)), 1 + check_below(&random, 8), check_below(&random, 1000));
        struct memlane_kept kept[MOST];
        uint64_t reserved[MOST] = {0}, seeds[MOST]; /* 0: no view */
        uint64_t put[64], sizes[64], first = 0, end = 0, seed = 0;
        for (int step = 0; step < 60; step++) {
            uint64_t which = check_below(&random, MOST), nbytes = 1 + check_below(&random, 40);
            switch (check_below(&random, 4)) {
            case 0:
                if (reserved[which] == 0) {
                    uint64_t part = check_below(&random, nbytes + 1);
                    if (put_kept(&bench, &kept[which], nbytes, part, ++seed) == MEMLANE_OK) {
                        reserved[which] = nbytes;
                        seeds[which] = put[end % 64] = seed;
                        sizes[end++ % 64] = part;
                    }
                }
                break;
            case 1:
                if (bench_put(&bench, nbytes, ++seed) == MEMLANE_OK) {
                    put[end % 64] = seed;
                    sizes[end++ % 64] = nbytes;
                }
                break;
            case 2:
                if (first != end) {
                    CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, sizes[first % 64], put[first % 64]));
                    first++;
                }
                break;
            default:
                if (reserved[which]) {
                    memlane_producer_release(&bench.producer, &kept[which]);
                    reserved[which] = 0;
                }
            }
            for (int i = 0; i < MOST; i++)
                if (reserved[i])
                    check_kept(&bench, &kept[i], reserved[i], seeds[i]);
        }
        for (; first != end; first++)
            CHECK_EQUAL(MEMLANE_OK, bench_get(&bench, sizes[first % 64], put[first % 64]));
        for (int i = 0; i < MOST; i++)
            if (reserved[i])
                memlane_producer_release(&bench.producer, &kept[i]);
        CHECK_EQUAL(MEMLANE_OK, bench_put(&bench, bench.lane.capacity, 1));
        bench_free(&bench);
    }
}

MAIN
