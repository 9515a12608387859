/* SPDX-License-Identifier: MIT
 *
 * Any byte of anything shared, corrupted at rest and in front of any atomic access: each function of src/core gives a
 * typed answer after a bounded number of accesses, and never touches a byte outside. Every block ends where it ends,
 * so the address sanitizer sees a step beyond.
 *
 * One input is a number: from it follow geometry, calls, and what is corrupted when. MEMLANE_INPUTS says how many are
 * tried (`make fuzz`: many), MEMLANE_SEED which comes first; an input that fails prints its number.
 */
#include "steps.h"

#include <signal.h>
#include <unistd.h>

#include "core/selectors.h"
#include "core/counter.h"
#include "core/directory.h"
#include "core/slot.h"
#include "core/participants.h"
#include "consumers_fixture.h"

static uint64_t input; /* which is tried */
static uint64_t random_state;
static uint64_t spoilt_at_rest, spoilt_in_use;
enum subject { ONE, MANY, SLOT, TABLE, REGION, SUBJECTS };
static uint64_t answers[SUBJECTS][MEMLANE_UNKNOWN_FEATURES + 1]; /* to prove that the walk went deep */

static uint64_t below(uint64_t limit) { return check_below(&random_state, limit); }

/* ---- what is shared, and how it is corrupted --------------------------------------------------------- */

static struct block {
    unsigned char *bytes;
    size_t nbytes;
    size_t often; /* the first words of a block are the ones that are looked at */
} blocks[8];
static size_t block_count;
static uint64_t near_number; /* a record or version that is about to be looked for: corrupted words come near it */
static uint64_t near_extent; /* the capacity */

static void share(void *bytes, size_t nbytes, size_t often) {
    blocks[block_count++] = (struct block){bytes, nbytes, often};
}

/* A word that could be true: those take the walk to where the far-fetched ones are refused. */
static uint64_t plausible(void) {
    uint64_t number = near_number + below(40) - 20;
    switch (below(6)) {
    case 0:
        return number;
    case 1:
        return 2 * number + below(2);
    case 2:
        return memlane_state_taken(number, (uint32_t[]){0, ALICE, BOB}[below(3)]);
    case 3:
        return memlane_extent_word(below(near_extent + 16), below(near_extent + 16));
    default:
        return memlane_state(number, (enum memlane_state)below(8));
    }
}

static void spoil(void) {
    const struct block *block = &blocks[below(block_count)];
    size_t at = below(below(4) && block->often ? block->often : block->nbytes);
    if (below(4) == 0 || block->nbytes < 8) {
        block->bytes[at] ^= (unsigned char)(below(2) ? 1u << below(8) : below(256));
        return;
    }
    at -= at % 8;
    if (at + 8 > block->nbytes)
        at = 0;
    uint64_t word;
    memcpy(&word, block->bytes + at, 8);
    switch (below(6)) {
    case 0:
        word ^= UINT64_C(1) << below(64);
        break;
    case 1:
        word += below(9) - 4;
        break;
    case 2:
        word = check_random(&random_state);
        break;
    case 3:
        word = (uint64_t[]){0, UINT64_MAX, UINT64_C(1) << 63, UINT32_MAX}[below(4)];
        break;
    default:
        word = plausible();
    }
    memcpy(block->bytes + at, &word, 8);
}

static int more_in_use;
static void spoil_in_use(void) {
    spoil();
    spoilt_in_use++;
    if (more_in_use-- > 0)
        steps_left = (long)below(12);
}

static unsigned long made_before;

/* In front of a call: something is corrupted, or will be in its midst. */
static void begin(void) {
    if (below(3) == 0)
        for (uint64_t times = below(4); times > 0; times--) {
            spoil();
            spoilt_at_rest++;
        }
    more_in_use = (int)below(6);
    steps_other = spoil_in_use;
    made_before = steps_made;
    steps_left = below(2) ? (long)below(30) : -1;
}

/* Behind it: it came to its end in bounded time, whatever was corrupted meanwhile. */
static void end(enum subject subject, enum memlane_status status, uint64_t descriptors) {
    steps_left = -1;
    CHECK(steps_made - made_before <= 64 + 16 * descriptors);
    CHECK(status <= MEMLANE_UNKNOWN_FEATURES);
    answers[subject][status]++;
}

static unsigned char source[8192], sink[8192];

static const uint64_t geometry[][2] = {{8, 1}, {64, 2}, {72, 8}, {64, 5}, {512, 8}, {4096, 64}, {4096, 300}, {24, 16}};

static uint64_t first_number(void) {
    static const uint64_t starts[] = {0, 1000, (UINT64_C(1) << 29) - 3, (UINT64_C(1) << 61) - 3, -UINT64_C(5)};
    return starts[below(sizeof starts / sizeof *starts)];
}

static void share_lane(const struct bench *bench) {
    block_count = 0;
    share(bench->ring, sizeof *bench->ring, 16);
    share((unsigned char *)bench->lane.control, 264 + 8, 0);
    share((unsigned char *)&bench->lane.control->head, 16, 0);
    share(bench->lane.descriptors, (bench->lane.mask + 1) * 16, 0);
    share(bench->lane.descriptors, (bench->lane.mask + 1) * 16, 0);
    share(memlane_lane_stamp_of(&bench->lane, 0), (bench->lane.mask + 1) * 8, 0);
    share((unsigned char *)&bench->lane.control->full, 16, 0);
    share(bench->lane.bytes, bench->lane.capacity, 0);
    near_extent = bench->lane.capacity;
}

/* ---- what a producer does with a lane --------------------------------------------------------------- */

static enum memlane_status produce(struct bench *bench) {
    struct memlane_producer *producer = &bench->producer;
    struct memlane_span spans[8];
    enum memlane_status status;
    uint64_t offset, nbytes;
    size_t done, count;
    near_number = producer->next;
    switch (below(8)) {
    case 0:
    case 1:
    case 2:
        return memlane_producer_put(producer, source, below(bench->lane.capacity + 2));
    case 3:
        count = 1 + below(8);
        for (size_t i = 0; i < count; i++)
            spans[i] = (struct memlane_span){source, below(bench->lane.capacity / 2 + 1)};
        status = memlane_producer_put_many(producer, spans, count, &done);
        CHECK(done <= count && (status == MEMLANE_OK) == (done > 0));
        return status;
    case 4:
        nbytes = below(bench->lane.capacity + 1);
        memlane_producer_reuse(producer, below(3));
        status = memlane_producer_claim(producer, nbytes, &offset);
        if (status != MEMLANE_OK)
            return status;
        memset(bench->lane.bytes + offset, 1, nbytes);
        return below(4) ? memlane_producer_commit(producer, offset, below(nbytes + 1)) : MEMLANE_OK;
    case 5: {
        struct memlane_producer before = *producer;
        memlane_lane_depart(bench->lane.control, producer->tag);
        memlane_lane_lease(bench->lane.control, memlane_lane_owner(bench->lane.control), ALICE);
        status = bench_new_producer(bench);
        if (status != MEMLANE_OK)
            *producer = before; /* a caller does not go on with it */
        else
            memlane_producer_clock(producer, below(3));
        return status;
    }
    case 6:
        memlane_ring_raise_leased(bench->ring, (uint32_t)below(5));
        return MEMLANE_OK;
    default:
        memlane_producer_stamp(producer, below(9), check_random(&random_state));
        memlane_producer_count_full(producer);
        (void)memlane_producer_any(producer);
        memlane_waiters_announce(&bench->lane.control->waiters);
        (void)memlane_waiters_withdraw(&bench->lane.control->waiters);
        return memlane_waiters_any_fenced(&bench->ring->waiters) ? MEMLANE_OK : MEMLANE_BUSY;
    }
}

static void look_at_numbers(struct bench *bench) {
    CHECK(memlane_lane_length(&bench->lane) <= bench->lane.records);
    CHECK(memlane_ring_leased(bench->ring, 5) <= 5);
    CHECK(memlane_ring_shutdown(bench->ring) <= MEMLANE_SHUTDOWN_DROP);
    (void)memlane_lane_tail(&bench->lane);
    (void)memlane_lane_got(&bench->lane);
    (void)memlane_lane_full(&bench->lane);
    (void)memlane_waiters_count(&bench->lane.control->waiters);
    uint64_t looks = below(100), before = looks;
    CHECK(memlane_lane_waits_since(&bench->lane, below(3), &looks) >> MEMLANE_TICK_BITS >> MEMLANE_STAMP_TICKS_BITS ==
          0);
    CHECK(looks <= before && before - looks <= bench->lane.mask + 1);
}

/* ---- one consumer ----------------------------------------------------------------------------------- */

static enum memlane_status consume(struct bench *bench, uint64_t *loans, size_t *held) {
    struct memlane_consumer *consumer = &bench->consumer;
    struct memlane_extent extents[8], first;
    enum memlane_status status;
    uint64_t s;
    size_t count;
    near_number = atomic_load(&consumer->next);
    switch (below(8)) {
    case 0:
    case 1: /* a get: the binding copies what was looked at, then frees it */
    case 2:
        status = memlane_consumer_peek(consumer, &s, &first);
        count =
            status == MEMLANE_OK ? memlane_consumer_look_on(consumer, s, &first, 1 + below(8), below(512), extents) : 0;
        memlane_lane_prefetch(&bench->lane, s + count, 1 + below(8));
        for (size_t i = 0; i < count; i++)
            memcpy(sink, bench->lane.bytes + extents[i].offset, extents[i].nbytes);
        if (count)
            memlane_consumer_finish(consumer, count, memlane_occupied(extents[0].nbytes));
        if (status == MEMLANE_BUSY)
            memlane_consumer_skip(consumer);
        return count ? MEMLANE_OK : status;
    case 3:
        status = memlane_consumer_peek(consumer, &s, &extents[0]);
        if (status == MEMLANE_OK && *held < 8) {
            memlane_consumer_borrow(consumer);
            memcpy(sink, bench->lane.bytes + extents[0].offset, extents[0].nbytes);
            loans[(*held)++] = s;
        }
        return status;
    case 4:
        if (*held) {
            size_t which = below(*held);
            memlane_consumer_release(consumer, loans[which]);
            loans[which] = loans[--*held];
        }
        return MEMLANE_OK;
    case 5:
        if (below(4) == 0) {
            (void)memlane_role_give(&bench->ring->consumer, ALICE);
            (void)memlane_role_take(&bench->ring->consumer, memlane_role_owner(&bench->ring->consumer), ALICE);
            bench_new_consumer(bench);
            *held = 0;
        }
        return memlane_role_held(&bench->ring->consumer, ALICE) ? MEMLANE_OK : MEMLANE_LOST;
    case 6:
        memlane_consumer_skip(consumer);
        (void)memlane_consumer_any(consumer);
        return memlane_consumer_overlooked(consumer) ? MEMLANE_CORRUPTED : MEMLANE_OK;
    default:
        if (below(8))
            return MEMLANE_OK;
        if (below(2))
            memlane_consumer_drop(consumer);
        memlane_ring_shut(bench->ring, MEMLANE_SHUTDOWN_DRAIN);
        (void)memlane_lane_close_unleased(bench->lane.control);
        return memlane_consumer_close(consumer);
    }
}

static void one(void) {
    const uint64_t *shape = geometry[below(8)];
    struct bench bench = bench_new_at(shape[0], shape[1], first_number());
    uint64_t loans[8];
    size_t held = 0;
    share_lane(&bench);
    for (int call = 0; call < 24; call++) {
        begin();
        enum memlane_status status = below(2) ? produce(&bench) : consume(&bench, loans, &held);
        end(ONE, status, bench.lane.mask + 1);
        look_at_numbers(&bench);
    }
    bench_free(&bench);
}

/* ---- many consumers ----------------------------------------------------------------------------------- */

/* As the binding does it: what was found is taken, and its extent read again. */
static void take_and_copy(struct many_bench *many, const struct memlane_found *found, size_t count,
                          const struct memlane_extent *extents, uint32_t tag) {
    const struct memlane_lane *lane = &many->bench.lane;
    struct memlane_extent again;
    size_t taken = memlane_many_take(lane, found->s, count, tag);
    for (size_t i = 0; i < taken; i++) {
        if (memlane_extent_of(lane, found->s + i, &again) == MEMLANE_OK && again.nbytes == extents[i].nbytes) {
            memcpy(sink, lane->bytes + again.offset, again.nbytes);
            (void)memlane_many_free(lane, found->s + i, tag);
            (void)memlane_many_crosses(lane, found->s + i, &again);
        } else
            (void)memlane_many_hand_back(many->bench.ring, lane, found->s + i, tag);
    }
}

static enum memlane_status compete(struct many_bench *many) {
    const struct memlane_lane *lane = &many->bench.lane;
    struct memlane_found found = {0, 0, {0, 0}};
    struct memlane_extent extents[8];
    enum memlane_status status;
    uint32_t tag = below(2) ? ALICE : BOB;
    near_number = memlane_many_taken(lane);
    switch (below(8)) {
    case 0:
    case 1:
    case 2:
        status = memlane_many_look(&many->many, &found);
        if (status == MEMLANE_OK) {
            size_t count = memlane_many_look_on(&many->many, &found, 1 + below(8), below(512), extents);
            take_and_copy(many, &found, count, extents, tag);
        }
        return status;
    case 3: /* a loan that is never released, or by one who is not its holder */
        status = memlane_many_look(&many->many, &found);
        if (status == MEMLANE_OK && memlane_many_claim(lane, &found, tag) &&
            memlane_extent_of(lane, found.s, &found.extent) == MEMLANE_OK) {
            memcpy(sink, lane->bytes + found.extent.offset, found.extent.nbytes);
            if (below(2))
                (void)memlane_many_free(lane, found.s, ALICE);
        }
        return status;
    case 4:
    case 5: { /* what the dead have in hand */
        uint64_t taken = memlane_many_taken(lane);
        if (below(2))
            memlane_many_rescan(&many->many);
        for (int probes = 0; probes < 8 && memlane_many_held_new(&many->many, taken, &found, &(uint64_t){UINT64_MAX});
             probes++) {
            if (memlane_state_tag(found.state) != tag && memlane_many_claim(lane, &found, tag) &&
                memlane_extent_of(lane, found.s, &extents[0]) == MEMLANE_OK) {
                memcpy(sink, lane->bytes + extents[0].offset, extents[0].nbytes);
                memlane_many_count_redelivered(many->bench.ring);
                (void)memlane_many_free(lane, found.s, tag);
            }
            memlane_many_met(&many->many, &found);
        }
        return memlane_many_redelivered(many->bench.ring) ? MEMLANE_OK : MEMLANE_EMPTY;
    }
    case 6:
        (void)memlane_many_any(&many->many);
        return memlane_many_overlooked(&many->many) ? MEMLANE_CORRUPTED : MEMLANE_OK;
    default:
        if (below(4) == 0)
            memlane_many_start(&many->many);
        if (below(8))
            return MEMLANE_OK;
        if (below(2))
            memlane_many_drop(&many->many, tag);
        memlane_ring_shut(many->bench.ring, MEMLANE_SHUTDOWN_DRAIN);
        return memlane_many_close(&many->many);
    }
}

static void many(void) {
    const uint64_t *shape = geometry[below(8)];
    struct many_bench many = many_new_at(shape[0], shape[1], first_number());
    share_lane(&many.bench);
    for (int call = 0; call < 24; call++) {
        begin();
        enum memlane_status status = below(2) ? produce(&many.bench) : compete(&many);
        /* eight probes, each of which walks on at most over the whole lane */
        end(MANY, status, 8 * (many.bench.lane.mask + 1));
        look_at_numbers(&many.bench);
    }
    bench_free(&many.bench);
}

/* ---- slots and counters ---------------------------------------------------------------------------------- */

static void slot(void) {
    static const uint64_t sizes[] = {0, 1, 8, 13, 64, 1000};
    struct memlane_slots_shape shape;
    uint64_t nbytes = sizes[below(6)], copies = UINT64_C(2) << below(4);
    CHECK(memlane_slots_lay_out(&shape, 1, nbytes, copies, 0, 1));
    struct memlane_slot slot = {.nbytes = nbytes, .stride = shape.copy_stride, .mask = copies - 1};
    slot.control = check_allocate(64, sizeof *slot.control);
    /* up to the end of the last word of the last copy, not to that of its stride */
    uint64_t words = (nbytes + 7) / 8 * 8;
    slot.stamps = check_allocate(64, copies * sizeof *slot.stamps);
    slot.copies = check_allocate(64, (copies - 1) * slot.stride + words);
    struct memlane_counter *counter = check_allocate(8, sizeof *counter);
    unsigned char *value = check_allocate(8, nbytes);
    block_count = 0;
    share(slot.control, sizeof *slot.control, 24);
    share(slot.stamps, copies * sizeof *slot.stamps, 0);
    if (words)
        share(slot.copies, (copies - 1) * slot.stride + words, 0);
    share(counter, sizeof *counter, 0);
    near_extent = 64;
    for (int call = 0; call < 24; call++) {
        struct memlane_stamp stamp;
        enum memlane_status status = MEMLANE_OK;
        near_number = memlane_slot_version(&slot);
        begin();
        switch (below(6)) {
        case 0:
        case 1:
            (void)memlane_slot_publish(&slot, value, 1, 2);
            (void)memlane_armed_collect(&slot.control->armed);
            break;
        case 2:
            status = memlane_slot_read_stamp(&slot, &stamp);
            break;
        case 3:
            memlane_slot_prefetch(&slot, near_number + 1);
            status = memlane_slot_read(&slot, value, &stamp.version);
            break;
        case 4:
            if (!memlane_writer_take(slot.control, memlane_role_owner(&slot.control->writer), ALICE) ||
                !memlane_role_give(&slot.control->writer, ALICE))
                status = MEMLANE_LOST;
            break;
        default:
            memlane_armed_announce(&slot.control->armed, (uint32_t)below(64));
            memlane_armed_withdraw(&slot.control->armed, (uint32_t)below(64));
            memlane_counter_add(counter, (int64_t)check_random(&random_state));
            (void)memlane_counter_load(counter);
        }
        end(SLOT, status, words / 8);
    }
    free(slot.control);
    free(slot.stamps);
    free(slot.copies);
    free(counter);
    free(value);
}

/* ---- the table ----------------------------------------------------------------------------------------------- */

static void table(void) {
    struct memlane_row *rows = check_allocate(64, 4 * sizeof *rows);
    block_count = 0;
    share(rows, 4 * sizeof *rows, 0);
    near_number = 7;
    near_extent = 64;
    for (int call = 0; call < 24; call++) {
        struct memlane_row *row = &rows[below(4)];
        uint64_t generation = 0, start_time;
        uint32_t pid;
        char name[41];
        bool done = true;
        begin();
        switch (below(5)) {
        case 0:
            if (memlane_row_join(row, &generation)) {
                CHECK(generation & 1);
                CHECK(memlane_tag((uint32_t)(row - rows), generation) != MEMLANE_TAG_NONE);
                if (below(2))
                    done = memlane_row_leave(row, generation);
            }
            break;
        case 1:
            done = memlane_row_is(row, (uint32_t)check_random(&random_state), &generation);
            break;
        case 2:
            memlane_row_mark_dead(row, memlane_row_generation(row));
            break;
        case 3:
            memlane_row_describe(row, 1, 2, "a name that is longer than forty characters, and then some");
            break;
        default:
            memlane_row_description(row, &pid, &start_time, name);
            CHECK(memchr(name, '\0', sizeof name) != NULL);
        }
        end(TABLE, done ? MEMLANE_OK : MEMLANE_LOST, 1);
    }
    free(rows);
}

/* ---- header and directory ---------------------------------------------------------------------------------------- */

/* As the binding does it: copy, judge the copy, go by the copy. */
static enum memlane_status judge(struct memlane_header *shared, uint64_t file_nbytes) {
    struct memlane_header header;
    struct memlane_entry entry;
    struct memlane_ring_shape ring;
    struct memlane_slots_shape slots;
    memcpy(&header, shared, sizeof header);
    enum memlane_status status = memlane_header_check(&header, file_nbytes);
    if (status != MEMLANE_OK)
        return status;
    CHECK(header.nbytes == file_nbytes);
    CHECK(memlane_range_fits(header.directory_offset, header.entries * sizeof entry, header.nbytes));
    CHECK(memlane_range_fits(header.table_offset, header.rows * sizeof(struct memlane_row), header.nbytes));
    CHECK(memlane_range_fits(memlane_selectors_offset(&header), header.selectors * sizeof(struct memlane_selector),
                             header.nbytes));
    uint64_t count = memlane_directory_count(shared, header.entries);
    CHECK(count <= header.entries);
    for (uint64_t i = 0; i < count && i < 4; i++) {
        uint64_t sequence = memlane_entry_read(memlane_entry_at(shared, &header, i), &entry);
        if (memlane_entry_state_of(sequence) < MEMLANE_ENTRY_VALID)
            continue;
        if (memlane_entry_check(&header, &entry) != MEMLANE_OK) {
            status = MEMLANE_CORRUPTED; /* of this one; it hides no other */
            continue;
        }
        CHECK(memlane_range_fits(entry.offset, entry.nbytes, header.nbytes));
        for (int which = 0; which < 2; which++) {
            const struct memlane_doorbells *told = which ? &entry.doorbells_later : &entry.doorbells_at_once;
            CHECK(told->count <= MEMLANE_DOORBELLS_MAX);
            for (uint32_t bell = 0; bell < told->count; bell++) {
                uint64_t at = told->offset + (uint64_t)bell * told->stride;
                CHECK(at % 64 == 0 && memlane_range_fits(at, sizeof(struct memlane_doorbell), entry.nbytes));
            }
        }
        CHECK(entry.schema_nbytes <= sizeof entry.schema && strlen(entry.name) < sizeof entry.name);
        const uint64_t *shape = entry.geometry;
        if (memlane_ring_lay_out(&ring, shape[0], shape[1], shape[2])) {
            CHECK(ring.descriptors >= ring.records && (ring.descriptors & (ring.descriptors - 1)) == 0);
            uint64_t last = ring.data_offset + (ring.lanes - 1) * ring.data_nbytes;
            CHECK(last + ring.bytes_offset + ring.capacity == ring.nbytes && last < ring.nbytes);
            CHECK(ring.bytes_offset >= ring.descriptors * (sizeof(struct memlane_descriptor) + sizeof(uint64_t)));
        }
        if (memlane_slots_lay_out(&slots, shape[0], shape[1], shape[2], shape[3], shape[4])) {
            CHECK(slots.copy_stride >= slots.value_nbytes && slots.copy_stride % 64 == 0);
            uint64_t last = slots.slots_offset + (slots.slots - 1) * slots.slot_stride;
            CHECK(last + slots.copies_offset + slots.copies * slots.copy_stride == slots.nbytes);
        }
    }
    return status;
}

/* As the binding does it: remove one, free what was removed, look for room and for an entry. */
static void make_room(struct memlane_header *shared, const struct memlane_header *geometry) {
    struct memlane_room rooms[16];
    struct memlane_entry entry;
    size_t taken = 0;
    uint64_t count = memlane_directory_count(shared, geometry->entries), offset;
    for (uint64_t i = 0; i < count && i < 16; i++) {
        struct memlane_entry *at = memlane_entry_at(shared, geometry, i);
        uint64_t sequence = memlane_entry_read(at, &entry);
        if (memlane_entry_state_of(sequence) < MEMLANE_ENTRY_VALID ||
            memlane_entry_check(geometry, &entry) != MEMLANE_OK)
            continue;
        if (below(4) == 0)
            CHECK(!memlane_entry_remove(at, sequence) || !memlane_entry_stands(at, sequence));
        if (below(4) == 0)
            memlane_entry_free(at);
        memlane_room_note(rooms, &taken, &entry);
    }
    CHECK(memlane_directory_pick(shared, geometry, count) <= count);
    memlane_room_begin();
    uint64_t nbytes = 1 + below(2 * 4096);
    if (memlane_room_find(rooms, taken, geometry->objects_offset, geometry->nbytes, nbytes, &offset)) {
        CHECK(offset >= geometry->objects_offset && memlane_range_fits(offset, nbytes, geometry->nbytes));
        for (size_t i = 0; i < taken; i++)
            CHECK(rooms[i].end <= offset || rooms[i].offset >= offset + nbytes);
    } else
        CHECK(offset < nbytes);
}

/* As an owner and a waker do it, with a word of waiters that is corrupted as well. */
static void wake_selectors(struct memlane_header *shared, const struct memlane_header *geometry,
                           _Atomic uint32_t *word) {
    struct memlane_selector *table = memlane_selectors_of(shared, geometry);
    struct memlane_selector *selector = &table[below(geometry->selectors)];
    struct memlane_selector_found found;
    uint32_t at = 0, woken = 0;
    switch (below(3)) {
    case 0:
        memlane_selector_begin(selector, 1 + below(4), below(2));
        memlane_selector_arm(selector, 1 + below(4), check_random(&random_state));
        memlane_selector_widen(selector, UINT64_C(1) << below(64));
        memlane_selector_announce(word, (uint32_t)below(geometry->selectors));
        (void)memlane_selector_is_distant(selector);
        break;
    case 1:
        memlane_selector_disarm(selector, 1);
        (void)memlane_selector_end(selector, ALICE);
        break;
    default:
        while (memlane_selectors_next(table, geometry->selectors,
                                      memlane_selectors_take(word) | (uint32_t)below(1 << 16), UINT64_C(1) << below(64),
                                      &at, &found)) {
            CHECK(found.index < at && at <= geometry->selectors && found.number <= MEMLANE_SELECTOR_NUMBER_MAX);
            memlane_selector_note_distant(&table[found.index]);
            woken++;
        }
        CHECK(woken <= geometry->selectors);
    }
}

static void region(void) {
    /* a header, a table and a directory of the least size, and one page for objects */
    struct memlane_header header;
    memset(&header, 0, sizeof header);
    memlane_header_lay_out(&header, 4096);
    header.rows = 1 + (uint32_t)below(2) * 63;
    header.entries = header.rows == 1 ? 4 : 4 + 12;
    header.selectors = 4;
    header.directory_offset = memlane_selectors_offset(&header) + header.selectors * sizeof(struct memlane_selector);
    header.objects_offset = memlane_align(header.directory_offset + header.entries * (uint64_t)header.entry_nbytes);
    /* no creator makes them that small: pad the table, so that the sections meet */
    header.rows +=
        (uint32_t)((header.objects_offset - header.directory_offset - header.entries * (uint64_t)header.entry_nbytes) /
                   header.row_nbytes);
    header.directory_offset = memlane_selectors_offset(&header) + header.selectors * sizeof(struct memlane_selector);
    header.nbytes = header.objects_offset + 4096;
    header.backing = MEMLANE_BACKING_MEMFD;
    header.permissions = 0600;
    CHECK_EQUAL(MEMLANE_OK, memlane_header_check(&header, header.nbytes));

    uint64_t nbytes = header.nbytes;
    struct memlane_header *shared = check_allocate(MEMLANE_ALIGNMENT, nbytes);
    memcpy(shared, &header, sizeof header);
    struct memlane_entry entry;
    memset(&entry, 0, sizeof entry);
    strcpy(entry.name, "ring");
    entry.kind = MEMLANE_KIND_RING;
    entry.offset = header.objects_offset;
    entry.nbytes = 4096;
    const uint64_t shape[] = {4, 4096, 64, below(2), 1};
    memcpy(entry.geometry, shape, sizeof shape);
    memlane_ring_tell_doorbells(4, &entry.doorbells_at_once, &entry.doorbells_later);
    atomic_store(&entry.sequence, MEMLANE_ENTRY_VALID);
    block_count = 0;
    share(shared, 4096, 128);
    share((unsigned char *)&shared->count, 8, 0);
    share((unsigned char *)shared + header.directory_offset, 4 * sizeof entry, 192);
    _Atomic uint32_t *word = (_Atomic uint32_t *)(void *)((unsigned char *)shared + header.objects_offset);
    share(word, 8, 0);
    share(memlane_selectors_of(shared, &header), header.selectors * sizeof(struct memlane_selector), 24);
    near_number = header.entries;
    near_extent = nbytes;
    for (int call = 0; call < 24; call++) {
        begin();
        enum memlane_status status = MEMLANE_OK;
        uint64_t count = memlane_directory_count(shared, header.entries);
        if (below(4) == 0)
            wake_selectors(shared, &header, word);
        else if (below(3) == 0 && count < header.entries) {
            memlane_directory_add(shared, &header, count, &entry);
            memlane_creation_note(shared, 1);
            (void)memlane_creation_holder(shared);
        } else if (below(3) == 0)
            make_room(shared, &header);
        else
            status = judge(shared, nbytes);
        /* each of 16 entries is copied up to MEMLANE_ENTRY_LOOKS times, word by word */
        end(REGION, status, MEMLANE_ENTRY_LOOKS * (MEMLANE_ENTRY_WORDS + 4));
        if (status != MEMLANE_OK && below(2)) { /* or nothing would be reached but the first refusal */
            memcpy(shared, &header, 512);
            memcpy((unsigned char *)shared + header.directory_offset, &entry, sizeof entry);
        }
    }
    free(shared);
}

/* ---- the walk ------------------------------------------------------------------------------------------------------ */

static void say_which(void) {
    fprintf(stderr, "hostile: MEMLANE_SEED=%" PRIu64 " MEMLANE_INPUTS=1 is the input that failed\n", input);
}

static void died(int number) {
    fprintf(stderr, "hostile: signal %d%s\n", number, number == SIGALRM ? ", a call does not end" : "");
    say_which();
    signal(number, SIG_DFL);
    raise(number);
}

#ifdef __SANITIZE_ADDRESS__
void __sanitizer_set_death_callback(void (*callback)(void));
#endif

static uint64_t number_from(const char *name, uint64_t otherwise) {
    const char *text = getenv(name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

TEST(any_byte_spoilt_at_any_moment_gives_a_typed_answer_in_bounded_time_and_never_a_step_outside) {
    static void (*const subjects[SUBJECTS])(void) = {one, many, slot, table, region};
    static const char *const names[SUBJECTS] = {"lane of one", "lane of many", "slot", "table", "region"};
    const uint64_t inputs = number_from("MEMLANE_INPUTS", 10000), seed = number_from("MEMLANE_SEED", 1);
    const uint64_t quiet = inputs < 100000;
    signal(SIGALRM, died);
    signal(SIGABRT, died);
#ifdef __SANITIZE_ADDRESS__
    __sanitizer_set_death_callback(say_which);
#else
    signal(SIGSEGV, died);
    signal(SIGBUS, died);
#endif
    for (input = seed; input != seed + inputs; input++) {
        if ((input - seed) % 1024 == 0)
            alarm(300); /* arbitrary: a thousand inputs take some milliseconds */
        if (!quiet && (input - seed) % (inputs / 10) == 0) {
            printf("%" PRIu64 " of %" PRIu64 " inputs\n", input - seed, inputs);
            fflush(stdout);
        }
        random_state = input * UINT64_C(0x9e3779b97f4a7c15) | 1;
        (void)check_random(&random_state);
        /* lanes are where the bytes are */
        subjects[(enum subject[]){ONE, ONE, ONE, MANY, MANY, MANY, SLOT, TABLE, REGION, REGION}[below(10)]]();
    }
    alarm(0);
    printf("%" PRIu64 " inputs, spoilt %" PRIu64 " times at rest and %" PRIu64 " times in the midst of a call\n",
           inputs, spoilt_at_rest, spoilt_in_use);
    for (int subject = 0; subject < SUBJECTS; subject++) {
        printf("%-12s  answers by status:", names[subject]);
        for (int status = 0; status <= MEMLANE_UNKNOWN_FEATURES; status++)
            printf(" %" PRIu64, answers[subject][status]);
        printf("\n");
    }
    if (inputs < 10000)
        return;
    for (int status = MEMLANE_OK; status <= MEMLANE_LOST; status++) {
        CHECK(answers[ONE][status] > 10);
        CHECK(answers[MANY][status] > 10);
    }
    CHECK(answers[SLOT][MEMLANE_OK] && answers[SLOT][MEMLANE_EMPTY] && answers[SLOT][MEMLANE_BUSY]);
    for (int status = MEMLANE_TRUNCATED; status <= MEMLANE_UNKNOWN_FEATURES; status++)
        CHECK(answers[REGION][status] > 10);
    CHECK(answers[REGION][MEMLANE_OK] > 10 && answers[REGION][MEMLANE_CORRUPTED] > 10);
}

MAIN
