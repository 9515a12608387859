/* SPDX-License-Identifier: MIT
 *
 * The lane against a plain queue: a long random sequence of everything both sides and their successors may do,
 * every byte of every payload compared, every refusal checked to be true.
 */
#include "lane_fixture.h"

enum fate { FRESH, IN_HAND, GONE };

struct entry {
    size_t nbytes;
    uint64_t seed;
    enum fate fate;
};

/* Records head .. tail - 1 by number; arbitrary size, more than any lane below holds. */
#define MODEL_ENTRIES 1024
struct model {
    struct entry entries[MODEL_ENTRIES];
    uint64_t head, next, tail;
    uint64_t loans[MODEL_ENTRIES];
    size_t held;
    uint64_t random;
    uint64_t seeds;
};

/* What happened, to prove afterwards that the walk met everything. */
static struct {
    uint64_t puts, batches, splits, fulls, gets, borrows, releases, empties, skips, adoptions, successions;
} met;

static struct entry *entry_of(struct model *model, uint64_t s) { return &model->entries[s % MODEL_ENTRIES]; }

/* Whether a record of `nbytes` fits, by looking at which units of 8 bytes are in use. */
static bool room_for(struct bench *bench, struct model *model, size_t nbytes) {
    const uint64_t units = bench->lane.capacity / 8, need = memlane_occupied(nbytes) / 8;
    bool used[MODEL_ENTRIES] = {false};
    uint64_t write = 0;
    if (model->head == model->tail)
        return true;
    if (model->tail - model->head >= bench->lane.records)
        return false;
    for (uint64_t s = model->head; s != model->tail; s++) {
        struct memlane_extent extent;
        CHECK_EQUAL(MEMLANE_OK, memlane_extent_of(&bench->lane, s, &extent));
        write = (extent.offset + memlane_occupied(extent.nbytes)) / 8;
        for (uint64_t unit = extent.offset / 8; unit < write; unit++) {
            CHECK(!used[unit]); /* records in the lane never overlap */
            used[unit] = true;
        }
    }
    uint64_t behind = 0, front = 0;
    while (write + behind < units && !used[write + behind])
        behind++;
    while (front < units && !used[front])
        front++;
    return behind >= need || front >= need;
}

/* Take over how far head went, after checking that it passed nothing that is still wanted. */
static void follow_head(struct bench *bench, struct model *model) {
    uint64_t head = bench_head(bench);
    CHECK(head - model->head <= model->tail - model->head);
    for (; model->head != head; model->head++)
        CHECK_EQUAL(GONE, entry_of(model, model->head)->fate);
    CHECK_EQUAL(model->tail - model->head, memlane_lane_length(&bench->lane));
}

static void check_head_is_not_behind(struct model *model) {
    CHECK(model->head == model->tail || entry_of(model, model->head)->fate != GONE);
}

static size_t some_nbytes(struct bench *bench, struct model *model) {
    uint64_t limit = bench->lane.capacity;
    return check_below(&model->random, 8) == 0 ? check_below(&model->random, limit + 1)
                                               : check_below(&model->random, limit / 4 + 2);
}

static void append(struct model *model, size_t nbytes, uint64_t seed) {
    *entry_of(model, model->tail++) = (struct entry){nbytes, seed, FRESH};
}

static void put(struct bench *bench, struct model *model) {
    size_t nbytes = some_nbytes(bench, model);
    uint64_t seed = model->seeds++;
    enum memlane_status status = bench_put(bench, nbytes, seed);
    CHECK_EQUAL(room_for(bench, model, nbytes) ? MEMLANE_OK : MEMLANE_FULL, status);
    if (status == MEMLANE_OK) {
        append(model, nbytes, seed);
        met.puts++;
    } else
        met.fulls++;
}

static void put_many(struct bench *bench, struct model *model) {
    unsigned char bytes[6][MODEL_ENTRIES];
    struct memlane_span spans[6];
    size_t count = 1 + check_below(&model->random, 6), done = 99;
    uint64_t seed = model->seeds;
    model->seeds += count;
    for (size_t i = 0; i < count; i++) {
        spans[i] = (struct memlane_span){bytes[i], some_nbytes(bench, model)};
        bench_fill(bytes[i], spans[i].nbytes, seed + i);
    }
    enum memlane_status status = memlane_producer_put_many(&bench->producer, spans, count, &done);
    CHECK_EQUAL(done > 0 ? MEMLANE_OK : MEMLANE_FULL, status);
    for (size_t i = 0; i < done; i++)
        append(model, spans[i].nbytes, seed + i);
    met.batches += done > 1;
    if (done < count) {
        CHECK(!room_for(bench, model, spans[done].nbytes));
        met.splits += done > 0;
    }
}

/* A claim that is committed shorter, or not at all. */
static void claim(struct bench *bench, struct model *model) {
    size_t nbytes = some_nbytes(bench, model);
    uint64_t offset;
    if (memlane_producer_claim(&bench->producer, nbytes, &offset) != MEMLANE_OK)
        return;
    memset(bench->lane.bytes + offset, 0xee, nbytes);
    if (check_below(&model->random, 2)) {
        uint64_t seed = model->seeds++;
        nbytes = check_below(&model->random, nbytes + 1);
        bench_fill(bench->lane.bytes + offset, nbytes, seed);
        CHECK_EQUAL(MEMLANE_OK, memlane_producer_commit(&bench->producer, offset, nbytes));
        append(model, nbytes, seed);
    }
}

/* Find what the next look must show, and look. */
static enum memlane_status look(struct bench *bench, struct model *model, uint64_t *s) {
    struct memlane_extent extent;
    while (model->next != model->tail && entry_of(model, model->next)->fate == GONE) {
        model->next++;
        met.skips++;
    }
    const struct entry *entry = entry_of(model, model->next);
    enum memlane_status status = bench_peek(bench, entry->nbytes, entry->seed, s, &extent);
    if (model->next == model->tail) {
        CHECK_EQUAL(MEMLANE_EMPTY, status);
        CHECK(!memlane_consumer_any(&bench->consumer));
        CHECK(!memlane_consumer_overlooked(&bench->consumer));
        follow_head(bench, model);
        check_head_is_not_behind(model);
        met.empties++;
    } else {
        CHECK_EQUAL(MEMLANE_OK, status);
        CHECK_EQUAL(model->next, *s);
    }
    return status;
}

static void get(struct bench *bench, struct model *model) {
    uint64_t s;
    if (look(bench, model, &s) != MEMLANE_OK)
        return;
    memlane_consumer_finish(&bench->consumer, 1, memlane_occupied(entry_of(model, s)->nbytes));
    entry_of(model, s)->fate = GONE;
    model->next++;
    met.gets++;
}

static void borrow(struct bench *bench, struct model *model) {
    uint64_t s;
    if (look(bench, model, &s) != MEMLANE_OK)
        return;
    memlane_consumer_borrow(&bench->consumer);
    entry_of(model, s)->fate = IN_HAND;
    model->loans[model->held++] = s;
    model->next++;
    met.borrows++;
}

static void release(struct bench *bench, struct model *model) {
    if (model->held == 0)
        return;
    size_t which = check_below(&model->random, model->held);
    uint64_t s = model->loans[which];
    model->loans[which] = model->loans[--model->held];
    struct memlane_extent extent;
    CHECK_EQUAL(MEMLANE_OK, memlane_extent_of(&bench->lane, s, &extent));
    bench_check_payload(bench->lane.bytes + extent.offset, extent.nbytes, entry_of(model, s)->seed);
    memlane_consumer_release(&bench->consumer, s);
    entry_of(model, s)->fate = GONE;
    follow_head(bench, model);
    check_head_is_not_behind(model);
    met.releases++;
}

/* The producer dies: with `tail` not yet stored, with a batch staged, or at peace. */
static void succeed_producer(struct bench *bench, struct model *model) {
    uint64_t behind = check_below(&model->random, model->tail - model->head + 3);
    atomic_store(&bench->lane.control->tail, model->tail - behind);
    uint64_t unused = bench->lane.mask + 1 - (model->tail - model->head);
    uint64_t staged = unused ? check_below(&model->random, unused) : 0;
    for (uint64_t s = model->tail + 1; s <= model->tail + staged; s++) {
        bench_set_extent(bench, s, check_random(&model->random) & UINT32_MAX, 1);
        bench_set_state(bench, s, MEMLANE_STATE_READY);
    }
    CHECK_EQUAL(MEMLANE_OK, bench_new_producer(bench));
    CHECK_EQUAL(model->tail, bench->producer.next);
    met.adoptions++;
}

static void succeed_consumer(struct bench *bench, struct model *model) {
    for (size_t i = 0; i < model->held; i++)
        entry_of(model, model->loans[i])->fate = FRESH;
    model->held = 0;
    model->next = model->head;
    bench_new_consumer(bench);
    met.successions++;
}

static void walk(uint64_t capacity, uint64_t records, uint64_t start, uint64_t seed, int steps) {
    static struct model model;
    memset(&model, 0, sizeof model);
    model.head = model.next = model.tail = start;
    model.random = seed;
    struct bench bench = bench_new_at(capacity, records, start);
    for (int step = 0; step < steps; step++) {
        switch (check_below(&model.random, 20)) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4:
            put(&bench, &model);
            break;
        case 5:
        case 6:
            put_many(&bench, &model);
            break;
        case 7:
            claim(&bench, &model);
            break;
        case 8:
        case 9:
        case 10:
        case 11:
            get(&bench, &model);
            break;
        case 12:
        case 13:
        case 14:
            borrow(&bench, &model);
            break;
        case 15:
        case 16:
        case 17:
        case 18:
            release(&bench, &model);
            break;
        default:
            if (check_below(&model.random, 3) == 0)
                succeed_producer(&bench, &model);
            else if (check_below(&model.random, 3) == 0)
                succeed_consumer(&bench, &model);
        }
        follow_head(&bench, &model);
    }

    memlane_ring_shut(bench.ring, MEMLANE_SHUTDOWN_DRAIN);
    CHECK_EQUAL(MEMLANE_CLOSED, bench_put(&bench, 0, 0));
    while (model.next != model.tail)
        get(&bench, &model);
    while (model.held)
        release(&bench, &model);
    CHECK_EQUAL(model.tail, bench_head(&bench));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_consumer_close(&bench.consumer));
    CHECK_EQUAL(MEMLANE_CLOSED, bench_look(&bench));
    CHECK_EQUAL(MEMLANE_CLOSED, memlane_producer_commit(&bench.producer, 0, 0));
    bench_free(&bench);
}

TEST(a_lane_is_a_queue_whatever_its_geometry_and_whoever_dies) {
    static const uint64_t geometry[][2] = {{8, 1},   {64, 1},  {64, 2},  {72, 3},    {16, 8},   {128, 5},
                                           {256, 8}, {512, 6}, {64, 64}, {1024, 33}, {800, 128}};
    const size_t count = sizeof geometry / sizeof *geometry;
    for (size_t i = 0; i < count; i++)
        for (uint64_t seed = 1; seed <= 3; seed++) {
            /* a start from which the number passes 2^29, 2^61 or 2^64 on the way */
            uint64_t start = seed == 1 ? 0 - UINT64_C(500) : (UINT64_C(1) << (seed == 2 ? 29 : 61)) - 500;
            walk(geometry[i][0], geometry[i][1], start, seed * 7919 + i, 10000);
        }
    CHECK(met.puts > 1000 && met.batches > 1000 && met.splits > 100 && met.fulls > 1000);
    CHECK(met.gets > 1000 && met.borrows > 1000 && met.releases > 1000 && met.empties > 1000);
    CHECK(met.skips > 50 && met.adoptions > 1000 && met.successions > 500);
}

MAIN
