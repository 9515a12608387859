/* SPDX-License-Identifier: MIT
 *
 * Bytes of a topic that no sound program writes: a typed answer, bounded loops, and not one byte beyond its blocks. Each
 * block ends where it ends, so the address sanitizer sees any step outside.
 */
#include "topic_fixture.h"

static struct topic_bench bench;
static struct sub ann, bob;

TEST(a_position_that_no_subscriber_can_have_holds_a_publisher_up_or_does_nothing) {
    static const uint64_t positions[] = {9, 1000, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 32, 0, 8};
    for (size_t i = 0; i < sizeof positions / sizeof *positions; i++) {
        topic_new(&bench, 1, 64, 8);
        sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
        topic_publish_all(&bench, 0, "abcdefgh");
        atomic_store(&memlane_place_cursor(ann.place, 0)->position, positions[i]);
        enum memlane_status status = topic_publish(&bench, 0, 'i');
        CHECK(status == MEMLANE_OK || status == MEMLANE_FULL);
        CHECK(memlane_place_give(ann.place, ann.holder));
        topic_publish_all(&bench, 0, "ijklmnop"); /* and nothing of it is left */
        topic_free(&bench);
    }
}

TEST(a_head_that_somebody_else_moved_is_corrupted_for_the_publisher_that_needs_room) {
    static const uint64_t heads[] = {1, 7, 8, 9, UINT64_MAX, UINT64_C(1) << 63};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        topic_new(&bench, 1, 64, 8);
        topic_publish_all(&bench, 0, "abcdefgh");
        atomic_store(&bench.lanes[0].control->head, heads[i]);
        CHECK_EQUAL(MEMLANE_CORRUPTED, topic_publish(&bench, 0, 'i'));
        atomic_store(&bench.lanes[0].control->head, 0);
        topic_publish_all(&bench, 0, "ijk");
        atomic_store(&bench.lanes[0].control->head, heads[i] + 3);
        atomic_store(&bench.lanes[0].control->owner, PRESS + 1); /* unless the lane is another one's by now */
        CHECK_EQUAL(MEMLANE_LOST, topic_publish(&bench, 0, 'l'));
        topic_free(&bench);
    }
}

TEST(an_extent_out_of_bounds_is_corrupted_for_who_needs_it) {
    static const uint64_t extents[][2] = {{0, 65}, {8, 57},         {64, 0},
                                          {72, 8}, {0, UINT32_MAX}, {UINT64_C(8) * UINT32_MAX, 0}};
    struct memlane_extent extent;
    uint64_t s;
    for (size_t i = 0; i < sizeof extents / sizeof *extents; i++) {
        topic_new(&bench, 1, 64, 8);
        sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_NOW);
        sub_look(&bench, &bob);
        topic_publish_all(&bench, 0, "abcdefgh");
        for (uint64_t at = 0; at < 8; at++)
            atomic_store(&bench.lanes[0].descriptors[at].extent, memlane_extent_word(extents[i][0], extents[i][1]));
        CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_subscriber_peek(&ann.lanes[0], &s, &extent));
        CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_subscriber_peek(&bob.lanes[0], &s, &extent));
        CHECK_EQUAL(MEMLANE_CORRUPTED, topic_publish(&bench, 0, 'i'));
        CHECK_EQUAL(MEMLANE_CORRUPTED, topic_adopt(&bench, 0));
        topic_free(&bench);
    }
}

TEST(an_ordered_record_too_short_for_its_number_is_corrupted) {
    struct memlane_extent extent;
    uint64_t s;
    topic_new_at(&bench, 1, 64, 8, true, 0);
    sub_look(&bench, &ann);
    topic_publish_all(&bench, 0, "ab");
    atomic_store(&bench.lanes[0].descriptors[0].extent, memlane_extent_word(0, 7));
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_subscriber_peek(&ann.lanes[0], &s, &extent));
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_subscriber_number_at(&ann.lanes[0], 0, &s));
    topic_free(&bench);
}

TEST(a_lane_whose_next_states_all_are_ready_ends_every_walk) {
    topic_new(&bench, 1, 64, 8);
    for (uint64_t s = 0; s < 16; s++)
        atomic_store(&bench.lanes[0].descriptors[s].state, memlane_state(s, MEMLANE_STATE_READY));
    sub_look(&bench, &ann);
    CHECK_EQUAL(MEMLANE_EMPTY, memlane_subscriber_start(&ann.lanes[0], MEMLANE_START_AT, 1000));
    CHECK_EQUAL(16, memlane_subscriber_next(&ann.lanes[0]));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_topic_close_lane(&bench.lanes[0]));
    topic_free(&bench);
}

/* One of the shared words of the topic. */
static void flip(uint64_t *random) {
    uint64_t bits;
    switch (check_below(random, 3)) {
    case 0: /* one bit */
        bits = UINT64_C(1) << check_below(random, 64);
        break;
    case 1: /* a small number */
        bits = check_below(random, 16);
        break;
    default:
        bits = check_random(random);
    }
    uint32_t i = (uint32_t)check_below(random, bench.count);
    struct memlane_lane *lane = &bench.lanes[i];
    struct memlane_descriptor *descriptor = &lane->descriptors[check_below(random, lane->mask + 1)];
    struct memlane_place *place = memlane_place_of(&bench.topic, (uint32_t)check_below(random, BENCH_PLACES));
    switch (check_below(random, 12)) {
    case 0:
        atomic_fetch_xor(&lane->control->head, bits);
        break;
    case 1:
        atomic_fetch_xor(&lane->control->tail, bits);
        break;
    case 2:
        if (check_below(random, 16) == 0)
            atomic_fetch_xor(&bench.topic.control->ring.shutdown, (uint32_t)bits);
        break;
    case 3:
        atomic_fetch_xor(&place->holder, bits);
        break;
    case 4:
        atomic_fetch_xor(&memlane_place_cursor(place, i)->loans, bits);
        break;
    case 5:
        atomic_fetch_xor(&memlane_place_cursor(place, i)->position, bits);
        break;
    case 6:
        atomic_fetch_xor(&bench.topic.control->joined, (uint32_t)bits);
        break;
    case 7:
        atomic_fetch_xor(&place->evict_after_ns, bits);
        break;
    case 8:
        atomic_fetch_xor((_Atomic uint64_t *)(void *)lane->bytes + check_below(random, lane->capacity / 8), bits);
        break;
    case 9:
        atomic_fetch_xor(&descriptor->state, bits);
        break;
    default:
        atomic_fetch_xor(&descriptor->extent, bits);
    }
}

static unsigned char source[8192], sink[8192];
static uint64_t reached[MEMLANE_EVICTED + 1]; /* answers seen, to prove that the walk went deep */

static void begin(uint32_t lanes, uint64_t capacity, uint64_t records, bool ordered, uint64_t *random) {
    topic_new_at(&bench, lanes, capacity, records, ordered, check_random(random));
    sub_join(&bench, &ann, ALICE, MEMLANE_PLACE_WAIT, MEMLANE_START_OLDEST);
    sub_join(&bench, &bob, BOB, MEMLANE_PLACE_OVERWRITE, MEMLANE_START_NOW);
}

static void steps_on_garbage(uint32_t lanes, uint64_t capacity, uint64_t records, uint64_t seed, int steps) {
    static struct memlane_order_front fronts[BENCH_LANES];
    uint64_t random = seed, s, next, offset, loans[BENCH_LANES][64];
    size_t held[BENCH_LANES] = {0}, done;
    const bool ordered = seed % 2;
    struct memlane_extent extent, extents[8];
    struct memlane_span spans[8];
    begin(lanes, capacity, records, ordered, &random);
    for (int step = 0; step < steps; step++) {
        enum memlane_status status = MEMLANE_OK;
        uint32_t i = (uint32_t)check_below(&random, lanes), lane;
        struct sub *sub = check_below(&random, 2) ? &ann : &bob;
        struct memlane_subscriber *subscriber = &sub->lanes[i];
        struct memlane_publisher *publisher = &bench.publishers[i];
        switch (check_below(&random, 16)) {
        case 0:
        case 1:
            flip(&random);
            break;
        case 2:
            if (check_below(&random, 8) == 0) { /* all right again, or nothing would be reached but the first refusal */
                topic_free(&bench);
                begin(lanes, capacity, records, ordered, &random);
                memset(held, 0, sizeof held);
            }
            break;
        case 3:
            if (check_below(&random, 4) == 0) {
                struct memlane_publisher before = *publisher;
                status = topic_adopt(&bench, i);
                if (status != MEMLANE_OK)
                    *publisher = before; /* a caller does not go on with it */
            }
            break;
        case 4:
            if (check_below(&random, 4) == 0)
                status = memlane_subscriber_start(subscriber, (enum memlane_topic_start)check_below(&random, 4),
                                                  check_below(&random, 2) ? check_random(&random) : (uint64_t)step % 9);
            held[i] = 0;
            memset(sub->lent[i], 0, sizeof sub->lent[i]);
            atomic_store(&subscriber->loans, 0);
            memlane_subscriber_settle(subscriber);
            break;
        case 5:
        case 6:
            status = memlane_publisher_put(publisher, source, check_below(&random, capacity + 2));
            if (status == MEMLANE_FULL)
                memlane_publisher_watch(publisher, (uint64_t)step, &next);
            break;
        case 7: {
            size_t count = 1 + check_below(&random, 8);
            for (size_t j = 0; j < count; j++)
                spans[j] = (struct memlane_span){source, check_below(&random, capacity / 2 + 1)};
            status = memlane_publisher_put_many(publisher, spans, count, &done);
            CHECK(done <= count && (status == MEMLANE_OK) == (done > 0));
            break;
        }
        case 8:
            s = check_below(&random, capacity + 1);
            status = memlane_publisher_claim(publisher, s, &offset);
            if (status == MEMLANE_OK) {
                memset(memlane_publisher_payload(publisher, offset), 1, s);
                status = memlane_publisher_commit(publisher, offset, check_below(&random, s + 1));
            }
            break;
        case 9:
        case 10:
        case 11:
            status = memlane_subscriber_peek(subscriber, &s, &extent);
            if (status == MEMLANE_OK) {
                size_t count = memlane_subscriber_look_on(subscriber, s, &extent, 8, sizeof sink, extents);
                for (size_t j = 0; j < count; j++)
                    memlane_words_fetch(sink, bench.lanes[i].bytes + extents[j].offset, extents[j].nbytes);
                status = memlane_subscriber_check(subscriber, s);
                memlane_subscriber_finish(subscriber, count, 8);
            } else if (status == MEMLANE_CORRUPTED)
                memlane_subscriber_finish(subscriber, 1, 0);
            else if (status == MEMLANE_LAPPED)
                memlane_subscriber_catch_up(subscriber);
            break;
        case 12:
            status = memlane_subscriber_peek(&ann.lanes[i], &s, &extent);
            if (status == MEMLANE_OK && held[i] < 8 &&
                (status = memlane_subscriber_borrow(&ann.lanes[i], 1)) == MEMLANE_OK)
                loans[i][held[i]++] = s;
            break;
        case 13:
            if (held[i] > 0)
                memlane_subscriber_release(&ann.lanes[i], loans[i][--held[i]]);
            break;
        case 14:
            if (check_below(&random, 16) == 0)
                memlane_topic_close_lane(&bench.lanes[i]);
            if (ordered) {
                memset(fronts, 0, sizeof fronts);
                status = memlane_order_next(fronts, &bench.topic.control->ring, lanes, memlane_subscriber_number,
                                            sub->lanes, &lane);
                CHECK(status != MEMLANE_OK || lane < lanes);
                memlane_subscriber_seek(subscriber, check_below(&random, 100));
            }
            break;
        default:
            CHECK(memlane_subscriber_lag(subscriber) <= records);
            CHECK(memlane_topic_joined(&bench.topic) <= BENCH_PLACES);
            (void)memlane_subscriber_any(subscriber);
            (void)memlane_subscriber_overlooked(subscriber);
            (void)memlane_publisher_any(publisher);
        }
        reached[status]++;
    }
    topic_free(&bench);
}

TEST(any_bytes_in_the_shared_words_give_a_typed_answer_in_bounded_time_and_never_a_step_outside) {
    static const uint64_t geometry[][3] = {{1, 16, 1},  {2, 64, 2},    {1, 72, 8},     {3, 64, 5},
                                           {1, 512, 8}, {2, 4096, 64}, {1, 4096, 300}, {3, 24, 16}};
    for (size_t i = 0; i < 8; i++)
        for (uint64_t seed = 1; seed <= 6; seed++)
            steps_on_garbage((uint32_t)geometry[i][0], geometry[i][1], geometry[i][2], seed * 1000 + i, 5000);
    static const enum memlane_status answers[] = {MEMLANE_OK,     MEMLANE_FULL,      MEMLANE_EMPTY,
                                                  MEMLANE_CLOSED, MEMLANE_CORRUPTED, MEMLANE_TOO_LARGE,
                                                  MEMLANE_LAPPED, MEMLANE_EVICTED,   MEMLANE_LOST};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        CHECK(reached[answers[i]] > 100); /* each answer was given, so the walk went deep */
}

MAIN
