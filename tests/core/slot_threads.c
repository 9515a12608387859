/* SPDX-License-Identifier: MIT
 *
 * One writer flat out and two readers: whatever a reader is given is whole, and versions only grow. Each
 * value is many equal words and their sum, so one torn anywhere is seen.
 */
#include <pthread.h>
#include <sched.h>

#include "check.h"
#include "core/directory.h"
#include "core/slot.h"

#define READERS 2
#define WORDS_MAX 130
#define PHASE 1000
#ifdef __SANITIZE_THREAD__
#define VERSIONS UINT64_C(10000) /* it is many times slower, and looks at each access, not at luck */
#else
#define VERSIONS UINT64_C(60000)
#endif

static struct memlane_slot slot;
static _Atomic bool stop;

struct reader {
    uint64_t values, busy, skipped;
};

static void *read_all(void *argument) {
    struct reader *reader = argument;
    unsigned char value[WORDS_MAX * 8];
    uint64_t seen = 0, turn = 0;
    for (bool last = false; !last;) {
        last = atomic_load(&stop);
        uint64_t version;
        struct memlane_stamp stamp;
        bool stamped = turn++ % 2;
        enum memlane_status status =
            stamped ? memlane_slot_read_stamped(&slot, value, &stamp) : memlane_slot_read(&slot, value, &version);
        if (stamped)
            version = stamp.version;
        if (status == MEMLANE_BUSY || status == MEMLANE_EMPTY) {
            CHECK(!last); /* nobody writes any more */
            reader->busy += status == MEMLANE_BUSY;
            continue;
        }
        CHECK_EQUAL(MEMLANE_OK, status);
        CHECK(version >= seen);
        if (stamped) {
            CHECK_EQUAL(version, stamp.published_ns);
            CHECK_EQUAL(~version, stamp.boot);
        }
        if (memlane_slot_read_stamp(&slot, &stamp) == MEMLANE_OK) {
            CHECK(stamp.version >= version);
            CHECK_EQUAL(stamp.version, stamp.published_ns);
            CHECK_EQUAL(~stamp.version, stamp.boot);
        }
        uint64_t word, sum = 0, whole = slot.nbytes / 8;
        for (uint64_t i = 0; i + 1 < whole; i++) {
            memcpy(&word, value + 8 * i, 8);
            CHECK_EQUAL(version * 3, word);
            sum += word;
        }
        memcpy(&word, value + 8 * (whole - 1), 8);
        CHECK_EQUAL(sum, word);
        for (uint64_t i = 8 * whole; i < slot.nbytes; i++)
            CHECK_EQUAL((unsigned char)version, value[i]);
        reader->values++;
        reader->skipped += version - seen > 1;
        seen = version;
    }
    CHECK_EQUAL(memlane_slot_version(&slot), seen); /* the last one is always readable */
    return NULL;
}

static void write_version(uint64_t version) {
    unsigned char value[WORDS_MAX * 8];
    uint64_t word = version * 3, whole = slot.nbytes / 8, sum = word * (whole - 1);
    for (uint64_t i = 0; i + 1 < whole; i++)
        memcpy(value + 8 * i, &word, 8);
    memcpy(value + 8 * (whole - 1), &sum, 8);
    memset(value + 8 * whole, (int)(version & 255), slot.nbytes - 8 * whole);
    CHECK_EQUAL(version, memlane_slot_publish(&slot, value, version, ~version));
}

static uint64_t stride_of(uint64_t nbytes, uint64_t copies) {
    struct memlane_slots_shape shape;
    CHECK(memlane_slots_lay_out(&shape, 1, nbytes, copies, 0, 1));
    return shape.copy_stride;
}

static void race(uint64_t nbytes, uint64_t copies, struct reader *readers) {
    pthread_t threads[READERS];
    uint64_t version = 0;
    slot = (struct memlane_slot){.nbytes = nbytes, .stride = stride_of(nbytes, copies), .mask = copies - 1};
    slot.control = check_allocate(64, sizeof *slot.control);
    slot.stamps = check_allocate(64, copies * sizeof *slot.stamps);
    slot.copies = check_allocate(64, copies * slot.stride);
    atomic_store(&stop, false);
    for (int i = 0; i < READERS; i++)
        CHECK_EQUAL(0, pthread_create(&threads[i], NULL, read_all, &readers[i]));
    while (version < VERSIONS) {
        write_version(++version);
        /* flat out in one phase, with room between versions in the next: both outcomes on any machine */
        if (version / PHASE % 2)
            for (int i = 0; i < 100; i++)
                memlane_cpu_relax();
        if (version % PHASE == 0)
            sched_yield(); /* a reader may need this very processor */
    }
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++)
        CHECK_EQUAL(0, pthread_join(threads[i], NULL));
    free(slot.control);
    free(slot.stamps);
    free(slot.copies);
}

TEST(no_reader_is_ever_given_a_torn_value_while_a_writer_publishes_at_full_speed) {
    struct reader readers[READERS] = {{0, 0, 0}};
    race(8 * WORDS_MAX, 2, readers);
    race(8 * 17 + 5, 2, readers);
    race(8 * 40 + 1, 4, readers);
    race(16, 8, readers);
    for (int i = 0; i < READERS; i++) {
        printf("  reader %d: %" PRIu64 " values, %" PRIu64 " times overtaken, %" PRIu64 " times skipped\n", i,
               readers[i].values, readers[i].busy, readers[i].skipped);
        CHECK(readers[i].values > 100 && readers[i].skipped > 10); /* they did run at the same time */
    }
    CHECK(readers[0].busy + readers[1].busy > 0);
}

MAIN
