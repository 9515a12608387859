/* SPDX-License-Identifier: MIT
 *
 * A topic on the work bench: its shared bytes in private memory, each block ending where it ends, with publishers and
 * subscribers in any number, of which a test says who is dead.
 */
#ifndef MEMLANE_TESTS_TOPIC_FIXTURE_H
#define MEMLANE_TESTS_TOPIC_FIXTURE_H

#include "check.h"
#include "core/topic_publisher.h"
#include "core/topic_subscriber.h"

/* Out of line: a test file calls these a hundred times. */
#define BENCH __attribute__((noinline, unused)) static

enum { ALICE = 0x401, BOB = 0x402, CAROL = 0x403, DAVE = 0x404 }; /* tags of subscribers; any will do */
enum { PRESS = 0x801 }; /* the tag of all publishers */
enum { BENCH_LANES = 3, BENCH_PLACES = 4 };

/* One subscriber: what its process has of each lane. */
struct sub {
    struct memlane_subscriber lanes[BENCH_LANES];
    uint64_t lent[BENCH_LANES][64]; /* bits; as many as any lane here has descriptors */
    struct memlane_place *place;
    uint64_t holder;
    uint32_t index;
};

struct topic_bench {
    struct memlane_topic topic;
    struct memlane_lane lanes[BENCH_LANES];
    struct memlane_publisher publishers[BENCH_LANES];
    struct memlane_sight sights[BENCH_LANES][BENCH_PLACES];
    uint32_t count; /* of lanes */
    bool ordered;
};

BENCH void topic_free(struct topic_bench *bench) {
    free(bench->topic.control);
    free(bench->topic.places);
    for (uint32_t i = 0; i < bench->count; i++) {
        free(bench->lanes[i].control);
        free(bench->lanes[i].descriptors);
        free(bench->lanes[i].bytes);
    }
}

/* A process takes up lane i: also after the death of another one, from the shared bytes alone. */
BENCH enum memlane_status topic_adopt(struct topic_bench *bench, uint32_t i) {
    struct memlane_publisher *publisher = &bench->publishers[i];
    memset(publisher, 0xa5, sizeof *publisher);
    memset(bench->sights[i], 0, sizeof bench->sights[i]);
    publisher->producer.lane = bench->lanes[i];
    publisher->producer.ring = &bench->topic.control->ring;
    publisher->producer.tag = atomic_load(&bench->lanes[i].control->owner);
    publisher->topic = &bench->topic;
    publisher->sights = bench->sights[i];
    publisher->index = i;
    publisher->ordered = bench->ordered;
    return memlane_publisher_adopt(publisher);
}

/* Lanes whose first record will be number `s`, all leased. The topic of a bench that is copied stays that of the
 * original: so it is filled in where it stays. */
BENCH void topic_new_at(struct topic_bench *bench, uint32_t lanes, uint64_t capacity, uint64_t records, bool ordered,
                        uint64_t s) {
    uint64_t descriptors = 2;
    while (descriptors <= records)
        descriptors *= 2;
    CHECK(descriptors <= 64 * 64);
    memset(bench, 0, sizeof *bench);
    bench->count = lanes;
    bench->ordered = ordered;
    bench->topic.control = check_allocate(MEMLANE_LINE_PAIR, sizeof *bench->topic.control);
    bench->topic.place_stride = sizeof(struct memlane_place);
    bench->topic.places = check_allocate(MEMLANE_LINE_PAIR, BENCH_PLACES * sizeof(struct memlane_place));
    bench->topic.subscribers = BENCH_PLACES;
    bench->topic.publishers = lanes;
    for (uint32_t i = 0; i < lanes; i++) {
        struct memlane_lane *lane = &bench->lanes[i];
        lane->control = check_allocate(MEMLANE_LINE_PAIR, sizeof *lane->control);
        lane->descriptors = check_allocate(16, descriptors * (sizeof *lane->descriptors + sizeof(uint64_t)));
        lane->bytes = check_allocate(8, capacity);
        lane->capacity = capacity;
        lane->records = records;
        lane->mask = descriptors - 1;
        atomic_store(&lane->control->owner, PRESS);
        atomic_store(&lane->control->head, s);
        atomic_store(&lane->control->tail, s);
        memlane_ring_raise_leased(&bench->topic.control->ring, i + 1);
        CHECK_EQUAL(MEMLANE_OK, topic_adopt(bench, i));
    }
}

BENCH void topic_new(struct topic_bench *bench, uint32_t lanes, uint64_t capacity, uint64_t records) {
    topic_new_at(bench, lanes, capacity, records, false, 0);
}

/* A reader of what is there; it joins nothing. */
BENCH void sub_look(struct topic_bench *bench, struct sub *sub) {
    memset(sub, 0, sizeof *sub);
    for (uint32_t i = 0; i < bench->count; i++) {
        sub->lanes[i].lane = bench->lanes[i];
        sub->lanes[i].index = i;
        sub->lanes[i].ordered = bench->ordered;
        sub->lanes[i].lent = (_Atomic uint64_t *)sub->lent[i];
    }
}

/* Take the first place that is free, as `tag`. */
BENCH void sub_take(struct topic_bench *bench, struct sub *sub, uint32_t tag) {
    uint64_t found;
    uint32_t index = 0;
    sub_look(bench, sub);
    CHECK_EQUAL(MEMLANE_OK, memlane_place_find(&bench->topic, false, &index, &found));
    sub->index = index;
    sub->holder = memlane_place_take(&bench->topic, index, found, tag);
    CHECK(sub->holder != 0);
    sub->place = memlane_place_of(&bench->topic, index);
}

BENCH void sub_start(struct topic_bench *bench, struct sub *sub, enum memlane_topic_start start, uint64_t s) {
    for (uint32_t i = 0; i < bench->count; i++) {
        sub->lanes[i].place = sub->place;
        CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_start(&sub->lanes[i], start, s));
    }
}

/* Returns: how many records of the start were gone. */
BENCH uint64_t sub_show(struct topic_bench *bench, struct sub *sub, enum memlane_place_state policy) {
    uint64_t gone = 0;
    CHECK(memlane_place_show(sub->place, &sub->holder, policy));
    for (uint32_t i = 0; i < bench->count; i++) {
        sub->lanes[i].holder = sub->holder;
        sub->lanes[i].waited_for = policy == MEMLANE_PLACE_WAIT;
        gone += memlane_subscriber_settle(&sub->lanes[i]);
    }
    return gone;
}

BENCH void sub_join(struct topic_bench *bench, struct sub *sub, uint32_t tag, enum memlane_place_state policy,
                    enum memlane_topic_start start) {
    sub_take(bench, sub, tag);
    sub_start(bench, sub, start, 1);
    sub_show(bench, sub, policy);
}

/* Publish eight bytes that all are this letter: a record that says by itself whether it is torn. */
BENCH enum memlane_status topic_publish(struct topic_bench *bench, uint32_t lane, char letter) {
    char record[8];
    memset(record, letter, sizeof record);
    return memlane_publisher_put(&bench->publishers[lane], record, sizeof record);
}

BENCH void topic_publish_all(struct topic_bench *bench, uint32_t lane, const char *letters) {
    for (; *letters; letters++)
        CHECK_EQUAL(MEMLANE_OK, topic_publish(bench, lane, *letters));
}

/* Get the next record of a lane: its letter, or 0 and *status. */
BENCH char sub_try(struct sub *sub, uint32_t lane, enum memlane_status *status) {
    struct memlane_subscriber *subscriber = &sub->lanes[lane];
    struct memlane_extent extent;
    uint64_t s;
    char copy[8];
    *status = memlane_subscriber_peek(subscriber, &s, &extent);
    if (*status != MEMLANE_OK)
        return 0;
    uint64_t nbytes = extent.nbytes < 8 ? extent.nbytes : 8; /* what is corrupted may say anything before the check */
    memlane_words_fetch(copy, subscriber->lane.bytes + extent.offset, nbytes);
    *status = memlane_subscriber_check(subscriber, s);
    if (*status != MEMLANE_OK)
        return 0;
    CHECK_EQUAL(8, extent.nbytes);
    for (int i = 1; i < 8; i++)
        CHECK_EQUAL(copy[0], copy[i]);
    memlane_subscriber_finish(subscriber, 1, 8);
    return copy[0];
}

/* The same; what was lost is passed, and counted by the subscriber. */
BENCH char sub_get(struct sub *sub, uint32_t lane) {
    enum memlane_status status;
    char letter;
    for (int tries = 0; (letter = sub_try(sub, lane, &status)) == 0 && status == MEMLANE_LAPPED && tries < 100; tries++)
        memlane_subscriber_catch_up(&sub->lanes[lane]);
    CHECK(status == MEMLANE_OK || status == MEMLANE_EMPTY || status == MEMLANE_CLOSED);
    return letter;
}

/* Borrow the next record, which is this letter: its number. */
BENCH uint64_t sub_borrow(struct sub *sub, uint32_t lane, char letter) {
    struct memlane_extent extent;
    uint64_t s;
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_peek(&sub->lanes[lane], &s, &extent));
    CHECK_EQUAL(MEMLANE_OK, memlane_subscriber_borrow(&sub->lanes[lane], 1));
    CHECK_EQUAL(letter, sub->lanes[lane].lane.bytes[extent.offset]);
    return s;
}

BENCH uint64_t sub_position(const struct sub *sub, uint32_t lane) { return memlane_place_is_at(sub->place, lane); }

#endif
