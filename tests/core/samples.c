/* SPDX-License-Identifier: MIT
 *
 * Samples: what workers count, what is left of the dead, and what is added up.
 */
#include <pthread.h>

#include "check.h"
#include "core/samples.h"

enum { BLOCK = 4096 };
static struct memlane_samples_block block;
static unsigned char data[BLOCK] __attribute__((aligned(64)));

static void begin_empty(void) {
    memset(&block, 0, sizeof(block));
    memset(data, 0xEE, sizeof(data));
}

static struct memlane_sample *appended(uint64_t turn, uint32_t kind, const char *key) {
    return memlane_samples_append(&block, data, BLOCK, turn, kind, key, (uint32_t)strlen(key));
}

/* What one block says of the only sample in it. */
static struct memlane_total joined(const struct memlane_sample *sample, uint32_t kind, uint64_t turn, bool is_live) {
    struct memlane_total total = {0.0, 0.0, 0, kind};
    struct memlane_reading reading;
    memlane_sample_join(sample, turn, is_live, &total, &reading);
    return total;
}

TEST(a_block_tells_its_worker_and_its_samples) {
    char text[MEMLANE_SAMPLES_NAME_MAX];
    uint32_t owner = 0, kind = 0, key_nbytes = 0;
    struct memlane_sample *found;
    begin_empty();
    CHECK_EQUAL(0, memlane_samples_turn(&block));
    CHECK_EQUAL(1, memlane_samples_begin(&block, 7, "worker", 6));
    CHECK_EQUAL(6, memlane_samples_name(&block, 1, text, &owner));
    CHECK_EQUAL(7, owner);
    CHECK_EQUAL(0, memcmp(text, "worker", 6));
    struct memlane_sample *sample = appended(1, MEMLANE_SAMPLE_ADDED, "requests");
    CHECK(sample != NULL);
    CHECK_EQUAL(128, memlane_samples_used(&block, BLOCK));
    CHECK_EQUAL(128, memlane_samples_look(data, 128, 0, &found, &kind, &key_nbytes));
    CHECK(found == sample);
    CHECK_EQUAL(MEMLANE_SAMPLE_ADDED, kind);
    CHECK_EQUAL(8, key_nbytes);
    CHECK_EQUAL(0, memcmp(sample + 1, "requests", 8));
    CHECK_EQUAL(0, memlane_samples_look(data, 128, 128, &found, &kind, &key_nbytes));
}

TEST(what_was_counted_counts_on_with_the_next_worker) {
    begin_empty();
    memlane_samples_begin(&block, 7, "one", 3);
    struct memlane_sample *sample = appended(1, MEMLANE_SAMPLE_ADDED, "requests");
    memlane_sample_add(sample, 2.5);
    CHECK_EQUAL(2, memlane_samples_begin(&block, 8, "two", 3));
    memlane_sample_add(sample, 1.0);
    CHECK(joined(sample, MEMLANE_SAMPLE_ADDED, 2, false).value == 3.5);
    memlane_sample_store(sample, 9.0);
    CHECK(memlane_sample_load(sample) == 9.0);
}

/* A worker sets 5, dies, the next one sets 3 and lives: what there is before, between, and then. */
struct expectation {
    uint32_t kind;
    double before, dead, taken, after; /* NAN: nothing */
};

#define NOTHING -1.0
static const struct expectation expectations[] = {
    {MEMLANE_SAMPLE_ALL, 5, 5, NOTHING, 3}, {MEMLANE_SAMPLE_LIVE_ALL, 5, NOTHING, NOTHING, 3},
    {MEMLANE_SAMPLE_MIN, 5, 5, 5, 3},       {MEMLANE_SAMPLE_LIVE_MIN, 5, NOTHING, NOTHING, 3},
    {MEMLANE_SAMPLE_MAX, 5, 5, 5, 5},       {MEMLANE_SAMPLE_LIVE_MAX, 5, NOTHING, NOTHING, 3},
    {MEMLANE_SAMPLE_SUM, 5, 5, 5, 8},       {MEMLANE_SAMPLE_LIVE_SUM, 5, NOTHING, NOTHING, 3},
    {MEMLANE_SAMPLE_RECENT, 5, 5, 5, 3},    {MEMLANE_SAMPLE_LIVE_RECENT, 5, NOTHING, NOTHING, 3},
};

static double said(struct memlane_total total) { return total.samples ? total.value : NOTHING; }

TEST(each_kind_of_gauge_keeps_of_the_dead_what_it_should) {
    for (size_t i = 0; i < sizeof(expectations) / sizeof(expectations[0]); i++) {
        const struct expectation *it = &expectations[i];
        begin_empty();
        memlane_samples_begin(&block, 7, "one", 3);
        struct memlane_sample *sample = appended(1, it->kind, "gauge");
        memlane_sample_set(sample, it->kind, 1, 4.0, 10.0);
        memlane_sample_set(sample, it->kind, 1, 5.0, 11.0);
        CHECK(memlane_sample_own(sample, 1) == 5.0);
        CHECK(said(joined(sample, it->kind, 1, true)) == it->before);
        CHECK(said(joined(sample, it->kind, 1, false)) == it->dead);
        memlane_samples_begin(&block, 8, "two", 3);
        CHECK(memlane_sample_own(sample, 2) == 0.0);
        CHECK(said(joined(sample, it->kind, 2, true)) == it->taken);
        memlane_sample_set(sample, it->kind, 2, 3.0, 12.0);
        CHECK(said(joined(sample, it->kind, 2, true)) == it->after);
        CHECK(memlane_sample_own(sample, 2) == 3.0);
    }
}

TEST(gauges_of_several_workers_make_one) {
    struct memlane_reading reading;
    const uint32_t kinds[] = {MEMLANE_SAMPLE_MIN, MEMLANE_SAMPLE_LIVE_MAX, MEMLANE_SAMPLE_SUM, MEMLANE_SAMPLE_RECENT};
    const double expected[] = {-2.0, 5.0, 3.0, 5.0};
    for (int i = 0; i < 4; i++) {
        begin_empty();
        memlane_samples_begin(&block, 7, "one", 3);
        struct memlane_sample *one = appended(1, kinds[i], "gauge"), *two = appended(1, kinds[i], "gauge");
        memlane_sample_set(one, kinds[i], 1, 5.0, 11.0);
        memlane_sample_set(two, kinds[i], 1, -2.0, 10.0);
        struct memlane_total total = {0.0, 0.0, 0, kinds[i]};
        memlane_sample_join(one, 1, true, &total, &reading);
        memlane_sample_join(two, 1, true, &total, &reading);
        CHECK(total.value == expected[i]);
    }
}

TEST(a_change_that_was_not_finished_never_was) {
    begin_empty();
    memlane_samples_begin(&block, 7, "one", 3);
    struct memlane_sample *sample = appended(1, MEMLANE_SAMPLE_SUM, "gauge");
    memlane_sample_set(sample, MEMLANE_SAMPLE_SUM, 1, 5.0, 0.0);
    const struct memlane_sample before = *sample;
    memlane_samples_begin(&block, 8, "two", 3);
    memlane_sample_set(sample, MEMLANE_SAMPLE_SUM, 2, 3.0, 0.0);
    sample->version = before.version; /* killed before the last store */
    CHECK(joined(sample, MEMLANE_SAMPLE_SUM, 2, true).value == 5.0);
    memlane_samples_begin(&block, 9, "three", 5);
    memlane_sample_set(sample, MEMLANE_SAMPLE_SUM, 3, 1.0, 0.0);
    CHECK(joined(sample, MEMLANE_SAMPLE_SUM, 3, true).value == 6.0); /* 5 once */
}

TEST(a_sample_that_was_not_finished_is_nobodys) {
    begin_empty();
    memlane_samples_begin(&block, 7, "one", 3);
    appended(1, MEMLANE_SAMPLE_ADDED, "first");
    const uint64_t used = memlane_samples_used(&block, BLOCK);
    appended(1, MEMLANE_SAMPLE_ADDED, "killed in the midst of it");
    block.used = used;
    struct memlane_sample *sample = appended(1, MEMLANE_SAMPLE_ADDED, "second");
    CHECK((unsigned char *)sample == data + used);
    CHECK(memlane_sample_load(sample) == 0.0);
}

TEST(a_full_block_takes_no_more) {
    begin_empty();
    memlane_samples_begin(&block, 7, "one", 3);
    int count = 0;
    while (appended(1, MEMLANE_SAMPLE_ADDED, "a key") != NULL)
        count++;
    CHECK_EQUAL(BLOCK / 128, count);
    CHECK_EQUAL(BLOCK, memlane_samples_used(&block, BLOCK));
}

TEST(bytes_that_no_worker_writes_lead_nowhere) {
    struct memlane_sample *found;
    uint32_t kind, key_nbytes;
    begin_empty();
    block.used = UINT64_MAX;
    CHECK_EQUAL(BLOCK, memlane_samples_used(&block, BLOCK));
    CHECK(appended(1, MEMLANE_SAMPLE_ADDED, "a key") == NULL);
    CHECK_EQUAL(0, memlane_samples_look(data, BLOCK, 0, &found, &kind, &key_nbytes)); /* no kind, and a key of 4 GB */
    struct memlane_sample *sample = (struct memlane_sample *)(void *)data;
    sample->kind = MEMLANE_SAMPLE_ADDED;
    for (uint64_t nbytes = 0; nbytes < (UINT64_C(1) << 33); nbytes = nbytes * 2 + 1) {
        sample->key_nbytes = (uint32_t)nbytes;
        const uint64_t taken = memlane_samples_look(data, BLOCK, 0, &found, &kind, &key_nbytes);
        CHECK(taken <= BLOCK);
        CHECK((taken == 0) == (64 + (uint64_t)(uint32_t)nbytes > BLOCK));
    }
    CHECK_EQUAL(0, memlane_samples_look(data, BLOCK, BLOCK - 32, &found, &kind, &key_nbytes));
    CHECK_EQUAL(0, memlane_samples_look(data, BLOCK, BLOCK + 64, &found, &kind, &key_nbytes));
    struct memlane_samples_shape shape;
    CHECK(!memlane_samples_lay_out(&shape, 0, 4096));
    CHECK(!memlane_samples_lay_out(&shape, UINT64_MAX, 4096));
    CHECK(!memlane_samples_lay_out(&shape, 1, 5000));
    CHECK(!memlane_samples_lay_out(&shape, 1, UINT64_MAX - 4095));
    CHECK(memlane_samples_lay_out(&shape, 17, 8192));
    CHECK_EQUAL(8192 + 17 * 8192, shape.nbytes);
}

enum { CHANGES = 100000 };
static struct memlane_sample shared;

static void *set_often(void *unused) {
    for (int i = 1; i <= CHANGES; i++)
        memlane_sample_set(&shared, MEMLANE_SAMPLE_RECENT, 1, i, i * 2.0);
    return unused;
}

TEST(a_reader_sees_value_and_stamp_of_one_change) {
    pthread_t thread;
    struct memlane_reading reading;
    double last = 0.0;
    CHECK_EQUAL(0, pthread_create(&thread, NULL, set_often, NULL));
    while (last < CHANGES) {
        if (!memlane_sample_read(&shared, &reading))
            continue;
        CHECK(reading.stamp == 2.0 * reading.value);
        CHECK(reading.value >= last);
        last = reading.value;
    }
    CHECK_EQUAL(0, pthread_join(thread, NULL));
}

static struct memlane_sample counted;

static void *add_often(void *unused) {
    for (int i = 0; i < CHANGES; i++)
        memlane_sample_add(&counted, 0.5);
    return unused;
}

TEST(no_addition_of_two_threads_is_lost) {
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(0, pthread_create(&threads[i], NULL, add_often, NULL));
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(0, pthread_join(threads[i], NULL));
    CHECK(memlane_sample_load(&counted) == CHANGES);
}

MAIN
