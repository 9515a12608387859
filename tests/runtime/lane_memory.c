/* SPDX-License-Identifier: MIT
 *
 * Puts into a queue (core/queue.h) in memory that the kernel reserves, and that src/runtime/lane_memory.h gives back.
 */
#include "region_fixture.h"

#include "core/queue.h"
#include "runtime/lane_memory.h"

enum { CAPACITY = 1 << 20, RECORDS = 1024, TAG_OF_NOBODY = 0x7ff };

static struct fixture made;
static struct memlane_region region;
static struct memlane_queue_control *control;
static struct memlane_lane_control *lane_control;
static struct memlane_queue_lane *growth;
static unsigned char *data;
static struct memlane_many many;
static struct memlane_queue_sender sender;

/* A queue of one lane, in a region whose room for objects has no memory. */
static void new_queue(uint64_t maxsize) {
    made = fixture_memfd();
    fixture_join(&region, &made);
    control = (struct memlane_queue_control *)(void *)(made.bytes + made.header->objects_offset);
    lane_control = (struct memlane_lane_control *)(void *)(control + 1);
    growth = (struct memlane_queue_lane *)(void *)(lane_control + 1);
    data = made.bytes + memlane_align(made.header->objects_offset + 65536);
    struct memlane_lane lane = {.control = lane_control,
                                .descriptors = (void *)data,
                                .bytes = data + memlane_align(2 * RECORDS * 24),
                                .capacity = CAPACITY,
                                .records = RECORDS,
                                .mask = 2 * RECORDS - 1,
                                .many = true};
    many.lane = lane;
    memlane_many_start(&many);
    memset(&sender, 0, sizeof sender);
    sender.queue = (struct memlane_queue_producer){.control = control, .lanes = 1, .lane = 0};
    sender.queue.producer.lane = lane;
    sender.queue.producer.lane.many = false;
    sender.queue.producer.ring = &control->ring;
    sender.queue.producer.tag = region.membership.tag;
    sender.growth =
        (struct memlane_growth){.shared = growth, .bytes_offset = (uint64_t)(lane.bytes - data), .soft = 1 << 17};
    sender.bound = (struct memlane_bound){
        .control = control, .of_lanes = growth, .many = &many, .maxsize = maxsize, .lanes = 1, .lane = 0};
    struct memlane_wanted wanted;
    memlane_growth_first(&lane, &wanted);
    CHECK_EQUAL(0, memlane_lane_reserve(&region.membership, data, &wanted));
    CHECK(memlane_lane_lease(lane_control, MEMLANE_OWNER_NEVER, region.membership.tag));
    CHECK_EQUAL(MEMLANE_OK, memlane_queue_take_up(&sender));
}

static void end_queue(void) {
    memlane_membership_leave(&region.membership);
    fixture_end(&made);
}

static uint64_t held(void) {
    struct stat found;
    CHECK_EQUAL(0, fstat(made.file, &found));
    return (uint64_t)found.st_blocks * 512;
}

static void fill(void *of, size_t index, unsigned char *to) { memset(to, *(int *)of + (int)index, 100); }

/* Put `count` records in as many batches as it takes. Returns: what the last attempt said. */
static enum memlane_status put(const struct memlane_span *spans, size_t count, int seed) {
    size_t done = 0, step;
    while (done < count) {
        struct memlane_wanted wanted;
        enum memlane_status status =
            memlane_queue_put_many(&sender, spans + done, count - done, fill, &seed, done, &step, &wanted);
        if (status == MEMLANE_GROW) {
            CHECK_EQUAL(0, step);
            CHECK_EQUAL(0, memlane_lane_reserve(&region.membership, data, &wanted));
            memlane_growth_got(&sender.growth, &sender.queue.producer, &wanted);
        } else if (status != MEMLANE_OK)
            return status;
        done += step;
    }
    return MEMLANE_OK;
}

static enum memlane_status put_of(size_t nbytes) {
    static unsigned char bytes[CAPACITY];
    struct memlane_span span = {bytes, nbytes};
    memset(bytes, 7, nbytes);
    return put(&span, 1, 0);
}

/* Returns: the first byte of the payload. */
static int get(void) {
    struct memlane_queue_pass pass = {.steps = 1000};
    struct memlane_queue_found found;
    CHECK_EQUAL(MEMLANE_OK, memlane_queue_next(&many, &control->ring, 1, 0, &pass, &found));
    CHECK(memlane_queue_take(&many, &found, region.membership.tag));
    int first = many.lane.bytes[found.record.extent.offset + MEMLANE_ORDER_NBYTES];
    CHECK(memlane_many_free(&many.lane, found.record.s, region.membership.tag));
    return first;
}

TEST(memory_comes_as_records_are_put_and_goes_when_they_are_got) {
    new_queue(0);
    uint64_t before = held();
    for (int i = 0; i < 200; i++)
        CHECK_EQUAL(MEMLANE_OK, put_of(4000));
    CHECK(held() - before > 200 * 4000);
    for (int i = 0; i < 200; i++)
        CHECK_EQUAL(7, get());
    CHECK_EQUAL(0, memlane_lane_tidy(&region.membership, &many.lane, growth, sender.growth.bytes_offset, CAPACITY));
    uint64_t given = memlane_lane_tidy(&region.membership, &many.lane, growth, sender.growth.bytes_offset, 1);
    CHECK(given > 190 * 4000);
    CHECK_EQUAL(200, memlane_lane_head(&many.lane));
    CHECK_EQUAL(0, memlane_lane_tidy(&region.membership, &many.lane, growth, sender.growth.bytes_offset, 1));
    for (int i = 0; i < 300; i++) {
        CHECK_EQUAL(MEMLANE_OK, put_of(4000));
        CHECK_EQUAL(7, get());
    }
    end_queue();
}

TEST(a_batch_of_spans_and_of_what_is_filled_in_comes_out_in_order) {
    struct memlane_span spans[40];
    new_queue(0);
    for (int i = 0; i < 40; i++)
        spans[i] = (struct memlane_span){NULL, 100};
    CHECK_EQUAL(MEMLANE_OK, put(spans, 40, 3));
    for (int i = 0; i < 40; i++)
        CHECK_EQUAL(3 + i, get());
    end_queue();
}

TEST(a_queue_with_a_maxsize_takes_no_more_and_goes_on_with_each_get) {
    new_queue(3);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(MEMLANE_OK, put_of(8));
    for (int i = 0; i < 10; i++) {
        CHECK_EQUAL(MEMLANE_BUSY, put_of(8));
        CHECK(!memlane_queue_leave(&sender));
        get();
        CHECK_EQUAL(MEMLANE_OK, put_of(8));
    }
    end_queue();
}

TEST(after_a_shutdown_a_put_that_has_no_permit_says_so) {
    new_queue(1);
    CHECK_EQUAL(MEMLANE_OK, put_of(8));
    memlane_ring_shut(&control->ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_CLOSED, put_of(8));
    end_queue();
}

TEST(the_producer_gives_back_what_only_a_long_record_has_needed) {
    struct memlane_stretch stretch;
    new_queue(0);
    CHECK_EQUAL(MEMLANE_OK, put_of(CAPACITY - 4096));
    get();
    uint64_t before = held();
    for (uint64_t i = 0; i < MEMLANE_QUEUE_SURPLUS_RECORDS; i++) {
        CHECK(!memlane_queue_surplus(&sender, &stretch));
        CHECK_EQUAL(MEMLANE_OK, put_of(8));
        get();
    }
    CHECK_EQUAL(MEMLANE_OK, put_of(8));
    CHECK(memlane_queue_surplus(&sender, &stretch));
    memlane_lane_give_back(data, &stretch);
    CHECK(before - held() > CAPACITY / 4);
    get();
    CHECK_EQUAL(MEMLANE_OK, put_of(CAPACITY - 4096));
    CHECK_EQUAL(7, get());
    end_queue();
}

TEST(a_process_that_died_while_it_gave_memory_back_is_replaced) {
    new_queue(0);
    for (int i = 0; i < 100; i++)
        CHECK_EQUAL(MEMLANE_OK, put_of(4000));
    for (int i = 0; i < 100; i++)
        get();
    atomic_store(&growth->keeper, memlane_keeper_word(TAG_OF_NOBODY, 0));
    CHECK(memlane_lane_tidy(&region.membership, &many.lane, growth, sender.growth.bytes_offset, 1) > 90 * 4000);
    end_queue();
}

TEST(nothing_is_reserved_by_a_descriptor_that_is_another_files_by_now) {
    struct memlane_wanted wanted;
    new_queue(0);
    int base = region.membership.base, other = memfd_create("other", MFD_CLOEXEC);
    memlane_growth_first(&many.lane, &wanted);
    region.membership.base = other;
    CHECK_EQUAL(-EBADF, memlane_lane_reserve(&region.membership, data, &wanted));
    struct stat found;
    CHECK_EQUAL(0, fstat(other, &found));
    CHECK_EQUAL(0, found.st_size);
    region.membership.base = base;
    close(other);
    end_queue();
}

MAIN
