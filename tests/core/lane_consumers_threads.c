/* SPDX-License-Identifier: MIT
 *
 * One producer and several consumers at full speed, some of which die in the middle of a take, again and again. Each
 * record says its number and its sum, so one that is torn, lost, or doubled by anything but a death is seen.
 */
#include <pthread.h>
#include <sched.h>

#include "core/words.h"
#include "consumers_fixture.h"

#ifdef __SANITIZE_THREAD__
#define RECORDS UINT64_C(30000) /* it is ten times slower, and looks at each access, not at luck */
#else
#define RECORDS UINT64_C(200000)
#endif
#define CONSUMERS 3
#define NBYTES_MAX 64

static struct many_bench many;
static _Atomic uint32_t delivered[RECORDS];
static _Atomic bool dead[1 << 20]; /* by tag: what the kernel's locks say elsewhere */
static _Atomic uint32_t next_tag;
static _Atomic uint64_t redelivered, deaths, fulls;

static size_t nbytes_of(uint64_t s) { return 16 + s * 7 % (NBYTES_MAX - 15); }

static void *produce(void *unused) {
    unsigned char bytes[8][NBYTES_MAX];
    struct memlane_span spans[8];
    for (uint64_t s = 0; s != RECORDS;) {
        size_t done, count = 1 + s % 8;
        if (count > RECORDS - s)
            count = RECORDS - s;
        for (size_t i = 0; i < count; i++) {
            uint64_t number = s + i, sum = ~number;
            bench_fill(bytes[i], nbytes_of(number), number);
            memcpy(bytes[i], &number, 8);
            memcpy(bytes[i] + 8, &sum, 8);
            spans[i] = (struct memlane_span){bytes[i], nbytes_of(number)};
        }
        enum memlane_status status = memlane_producer_put_many(&many.bench.producer, spans, count, &done);
        if (status == MEMLANE_FULL) {
            fulls++;
            sched_yield();
        } else
            CHECK_EQUAL(MEMLANE_OK, status);
        s += done;
    }
    return unused;
}

static uint64_t read_record(uint64_t s) {
    struct memlane_extent extent;
    uint64_t number, sum;
    unsigned char copy[NBYTES_MAX], expected[NBYTES_MAX];
    CHECK_EQUAL(MEMLANE_OK, memlane_extent_of(&many.bench.lane, s, &extent));
    CHECK(extent.nbytes <= NBYTES_MAX);
    memcpy(copy, many.bench.lane.bytes + extent.offset, extent.nbytes);
    memcpy(&number, copy, 8);
    memcpy(&sum, copy + 8, 8);
    CHECK_EQUAL(s, number);
    CHECK_EQUAL(~number, sum);
    CHECK_EQUAL(nbytes_of(number), extent.nbytes);
    bench_fill(expected, extent.nbytes, number);
    CHECK_BYTES(expected + 16, copy + 16, extent.nbytes - 16);
    return number;
}

/* Lives many lives: in each it takes some records, and leaves the last one in its hand. */
static void *consume(void *seed) {
    uint64_t random = (uint64_t)(uintptr_t)seed;
    struct memlane_many mine = {.lane = many.bench.lane};
    memlane_many_start(&mine);
    uint32_t tag = atomic_fetch_add(&next_tag, 1);
    uint64_t seen_back = 0;
    for (;;) {
        struct memlane_found found;
        enum memlane_status status = memlane_many_look(&mine, &found);
        size_t taken = 0;
        if (status == MEMLANE_OK)
            taken = memlane_many_take(&mine.lane, found.s, 1 + check_below(&random, 4), tag);
        else {
            CHECK(status == MEMLANE_EMPTY || status == MEMLANE_BUSY);
            uint64_t end = memlane_many_taken(&mine.lane), at = memlane_many_settle(&mine, end);
            if (at == RECORDS)
                return NULL;
            uint64_t back = memlane_many_handed_back(many.bench.ring);
            if (back != seen_back || check_below(&random, 4) == 0)
                memlane_many_rescan(&mine); /* somebody may have died, or handed one back */
            seen_back = back;
            for (; memlane_many_held_new(&mine, end, &found, &(uint64_t){UINT64_MAX});
                 memlane_many_met(&mine, &found)) {
                uint32_t holder = memlane_state_tag(found.state);
                if ((holder == MEMLANE_TAG_NONE || dead[holder]) && memlane_many_claim(&mine.lane, &found, tag)) {
                    if (holder != MEMLANE_TAG_NONE)
                        redelivered++;
                    taken = 1;
                    break;
                }
            }
            if (!taken)
                sched_yield();
        }
        for (size_t i = 0; i < taken; i++) {
            uint64_t number = read_record(found.s + i);
            if (check_below(&random, 50) == 0 && atomic_load(&next_tag) < (1 << 20) - CONSUMERS) {
                deaths++; /* with what is left of the batch in hand */
                dead[tag] = true;
                tag = atomic_fetch_add(&next_tag, 1);
                memlane_many_start(&mine);
                break;
            }
            if (check_below(&random, 20) == 0)
                CHECK(memlane_many_hand_back(many.bench.ring, &mine.lane, found.s + i, tag));
            else {
                CHECK(memlane_many_free(&mine.lane, found.s + i, tag));
                delivered[number]++;
            }
        }
    }
}

TEST(every_record_arrives_once_whole_while_consumers_compete_die_and_hand_back) {
    pthread_t threads[1 + CONSUMERS];
    many = many_new_at(1024, 32, 0);
    next_tag = 1;
    CHECK_EQUAL(0, pthread_create(&threads[0], NULL, produce, NULL));
    for (uintptr_t i = 1; i <= CONSUMERS; i++)
        CHECK_EQUAL(0, pthread_create(&threads[i], NULL, consume, (void *)(i * 7919))); /* any seeds */
    for (int i = 0; i <= CONSUMERS; i++)
        CHECK_EQUAL(0, pthread_join(threads[i], NULL));
    for (uint64_t s = 0; s < RECORDS; s++)
        CHECK_EQUAL(1, delivered[s]);
    CHECK(deaths > 0 && redelivered > 0 && fulls > 0);
    printf("  %" PRIu64 " deaths, %" PRIu64 " records redelivered, full %" PRIu64 " times\n", deaths, redelivered,
           fulls);
    bench_free(&many.bench);
}

MAIN
