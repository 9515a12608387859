/* SPDX-License-Identifier: MIT
 *
 * A lane with many consumers on the work bench: consumers are tags, of which a test says who is dead.
 */
#ifndef MEMLANE_TESTS_CONSUMERS_FIXTURE_H
#define MEMLANE_TESTS_CONSUMERS_FIXTURE_H

#include "lane_fixture.h"
#include "core/lane_consumers.h"

enum { ALICE = 0x401, BOB = 0x402, CAROL = 0x403, DAVE = 0x404 }; /* tags; any will do */

struct many_bench {
    struct bench bench;
    struct memlane_many many; /* of one process, in whose name all consumers here look */
    bool dead[4]; /* which of them are proven dead */
};

BENCH struct many_bench many_new_at(uint64_t capacity, uint64_t records, uint64_t s) {
    struct many_bench many = {.bench = bench_new_at(capacity, records, s)};
    many.bench.lane.many = true;
    many.bench.producer.lane.many = true;
    many.many.lane = many.bench.lane;
    memlane_many_start(&many.many);
    return many;
}

/* A letter, eight times: a record that says by itself whether it is torn. */
BENCH enum memlane_status many_put(struct many_bench *many, char letter) {
    char record[8];
    memset(record, letter, sizeof record);
    return memlane_producer_put(&many->bench.producer, record, sizeof record);
}

BENCH char many_letter(const struct many_bench *many, uint64_t s) {
    struct memlane_extent extent;
    CHECK_EQUAL(MEMLANE_OK, memlane_extent_of(&many->bench.lane, s, &extent));
    CHECK_EQUAL(8, extent.nbytes);
    const char *bytes = (const char *)many->bench.lane.bytes + extent.offset;
    for (int i = 1; i < 8; i++)
        CHECK_EQUAL(bytes[0], bytes[i]);
    return bytes[0];
}

/* Take the next fresh record, or one out of a dead hand; false: there is none. */
BENCH bool many_take(struct many_bench *many, uint32_t tag, uint64_t *s) {
    struct memlane_found found;
    while (memlane_many_look(&many->many, &found) == MEMLANE_OK) {
        *s = found.s;
        if (memlane_many_take(&many->bench.lane, found.s, 1, tag))
            return true;
    }
    uint64_t end = memlane_many_taken(&many->bench.lane), at = memlane_many_settle(&many->many, end);
    while (memlane_many_held(&many->many, at, end, &found)) {
        uint32_t holder = memlane_state_tag(found.state);
        at = found.s + 1;
        if (holder != MEMLANE_TAG_NONE && !many->dead[holder - ALICE])
            continue;
        if (memlane_many_claim(&many->bench.lane, &found, tag)) {
            *s = found.s;
            return true;
        }
    }
    return false;
}

/* Take and free: the letter; 0: there was none. */
BENCH char many_get(struct many_bench *many, uint32_t tag) {
    uint64_t s;
    if (!many_take(many, tag, &s))
        return 0;
    char letter = many_letter(many, s);
    CHECK(memlane_many_free(&many->bench.lane, s, tag));
    return letter;
}

BENCH enum memlane_status many_look(struct many_bench *many) {
    struct memlane_found found;
    return memlane_many_look(&many->many, &found);
}

#endif
