/* SPDX-License-Identifier: MIT */
#include "runtime/heap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "os/map.h"

/* ---- asking --------------------------------------------------------------------------------------- */

enum { ROWS_MAX = 1024 };

/* What `of` of a memlane_heap_process is. With `alive` a participant is asked for once in a pass; the dead stay dead. */
struct asking {
    const struct memlane_holding *holding;
    uint32_t *alive; /* by row, tags that were found alive in this pass; NULL: each is asked for again */
};

static bool is_dead(void *of, uint32_t tag) {
    const struct asking *asking = of;
    const uint32_t row = memlane_tag_row(tag);
    if (asking->alive != NULL && row < ROWS_MAX && asking->alive[row] == tag)
        return false;
    if (memlane_membership_life(asking->holding->membership, tag) == MEMLANE_DEAD)
        return true;
    if (asking->alive != NULL && row < ROWS_MAX)
        asking->alive[row] = tag;
    return false;
}

static enum memlane_transit_verdict judge(void *of, enum memlane_transit_kind kind, uint64_t where, uint64_t number) {
    const struct memlane_holding *holding = ((const struct asking *)of)->holding;
    return holding->judge == NULL ? MEMLANE_TRANSIT_OVER : holding->judge(holding->membership, kind, where, number);
}

static struct memlane_heap_process process_of(const struct asking *asking, bool with_proofs) {
    return (struct memlane_heap_process){.tag = asking->holding->membership->tag,
                                         .of = (void *)(uintptr_t)asking,
                                         .is_dead = with_proofs ? is_dead : NULL,
                                         .judge = judge};
}

/* ---- runs of free bytes ---------------------------------------------------------------------------- */

static uint64_t end_of(const struct memlane_run *extent) { return extent->offset + extent->nbytes; }

static bool overlap(const struct memlane_run *a, const struct memlane_run *b) {
    return a->offset < end_of(b) && b->offset < end_of(a);
}

/* The first run that ends behind `offset`. */
static uint64_t run_behind(const struct memlane_picture *picture, uint64_t offset) {
    uint64_t low = 0, high = picture->count;
    while (low < high) {
        const uint64_t middle = (low + high) / 2;
        if (end_of(&picture->runs[middle]) <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool make_room(struct memlane_picture *picture, uint64_t count) {
    if (count <= picture->room)
        return true;
    const uint64_t room = count < 32 ? 64 : 2 * count;
    struct memlane_run *runs = realloc(picture->runs, room * sizeof *runs);
    if (runs == NULL)
        return false;
    picture->runs = runs;
    picture->room = room;
    return true;
}

static bool insert_run(struct memlane_picture *picture, uint64_t at, struct memlane_run extent) {
    if (!make_room(picture, picture->count + 1))
        return false;
    memmove(&picture->runs[at + 1], &picture->runs[at], (picture->count - at) * sizeof extent);
    picture->runs[at] = extent;
    picture->count++;
    return true;
}

static void remove_runs(struct memlane_picture *picture, uint64_t at, uint64_t count) {
    memmove(&picture->runs[at], &picture->runs[at + count], (picture->count - at - count) * sizeof *picture->runs);
    picture->count -= count;
}

/* Add free bytes to the runs. What would overlap a run is not believed, and the picture is drawn anew before its next use. */
static void add_run(struct memlane_picture *picture, struct memlane_run extent) {
    uint64_t at = run_behind(picture, extent.offset);
    if (at < picture->count && picture->runs[at].offset < end_of(&extent)) {
        picture->is_drawn = false;
        return;
    }
    const bool joins_next = at < picture->count && picture->runs[at].offset == end_of(&extent);
    const bool joins_last = at > 0 && end_of(&picture->runs[at - 1]) == extent.offset;
    if (joins_last) {
        picture->runs[at - 1].nbytes += extent.nbytes;
        if (joins_next) {
            picture->runs[at - 1].nbytes += picture->runs[at].nbytes;
            remove_runs(picture, at, 1);
        }
    } else if (joins_next) {
        picture->runs[at].offset = extent.offset;
        picture->runs[at].nbytes += extent.nbytes;
    } else if (!insert_run(picture, at, extent))
        picture->is_drawn = false;
}

static void merge_recent(struct memlane_picture *picture) {
    while (picture->recents)
        add_run(picture, picture->recent[--picture->recents]);
}

/* Add the extent of a block of ours that has just come free. */
static void give(struct memlane_picture *picture, struct memlane_run extent) {
    if (!picture->is_drawn)
        return;
    if (picture->recents == MEMLANE_HEAP_RECENT)
        merge_recent(picture);
    picture->recent[picture->recents++] = extent;
}

/* Take bytes out of the picture, as far as it shows them free. */
static void take_out(struct memlane_picture *picture, const struct memlane_run *extent) {
    for (uint32_t i = 0; i < picture->recents; i++)
        if (overlap(&picture->recent[i], extent)) {
            merge_recent(picture);
            break;
        }
    uint64_t at = run_behind(picture, extent->offset);
    while (picture->is_drawn && at < picture->count && picture->runs[at].offset < end_of(extent)) {
        struct memlane_run *run = &picture->runs[at];
        const uint64_t end = end_of(run);
        if (run->offset < extent->offset) {
            run->nbytes = extent->offset - run->offset;
            at++;
            if (end > end_of(extent) &&
                !insert_run(picture, at, (struct memlane_run){end_of(extent), end - end_of(extent)}))
                picture->is_drawn = false;
        } else if (end > end_of(extent)) {
            run->nbytes = end - end_of(extent);
            run->offset = end_of(extent);
        } else
            remove_runs(picture, at, 1);
    }
}

/* Choose room: a recent piece of that very length, else the first run that it fits in, and take it out. `base` is what
 * alignments count from: where the arena begins in the object. Returns: false: there is none. */
static bool choose(struct memlane_picture *picture, uint64_t nbytes, uint64_t alignment, uint64_t base,
                   struct memlane_run *extent) {
    for (uint32_t i = picture->recents; i-- > 0;)
        if (picture->recent[i].nbytes == nbytes && (base + picture->recent[i].offset) % alignment == 0) {
            *extent = picture->recent[i];
            picture->recent[i] = picture->recent[--picture->recents];
            return true;
        }
    for (int turn = 0; turn < 2; turn++) {
        for (uint64_t i = 0; i < picture->count; i++) {
            const struct memlane_run *run = &picture->runs[i];
            const uint64_t offset = memlane_round_up(base + run->offset, alignment) - base;
            if (run->nbytes >= nbytes && offset - run->offset <= run->nbytes - nbytes) {
                *extent = (struct memlane_run){offset, nbytes};
                take_out(picture, extent);
                return true;
            }
        }
        if (picture->recents == 0)
            return false;
        merge_recent(picture);
    }
    return false;
}

/* ---- spare descriptors ------------------------------------------------------------------------------ */

static bool know_spare(struct memlane_picture *picture, uint32_t ready) {
    const uint64_t words = ((uint64_t)ready + 63) / 64;
    if (words > picture->spare_room) {
        uint64_t *spare = realloc(picture->spare, words * sizeof *spare);
        if (spare == NULL)
            return false;
        memset(spare + picture->spare_room, 0, (words - picture->spare_room) * sizeof *spare);
        picture->spare = spare;
        picture->spare_room = words;
    }
    return true;
}

static void set_spare(struct memlane_picture *picture, uint32_t index, bool is_spare) {
    const uint64_t bit = UINT64_C(1) << index % 64;
    if (!is_spare)
        picture->spare[index / 64] &= ~bit;
    else {
        picture->spare[index / 64] |= bit;
        if (index / 64 < picture->spare_first)
            picture->spare_first = index / 64;
    }
}

/* The lowest one. Returns: false: there is none. */
static bool lowest_spare(struct memlane_picture *picture, uint32_t *index) {
    for (uint64_t *first = &picture->spare_first; *first < picture->spare_room; (*first)++)
        if (picture->spare[*first] != 0) {
            *index = (uint32_t)(*first * 64 + (uint64_t)__builtin_ctzll(picture->spare[*first]));
            return *index < picture->ready;
        }
    return false;
}

/* Descriptors that were reserved since: they are tried, whatever they are by now. */
static bool learn_ready(const struct memlane_heap *heap, struct memlane_picture *picture, uint64_t arena) {
    const uint32_t ready = (uint32_t)memlane_heap_ready(heap, arena);
    if (ready <= picture->ready || !know_spare(picture, ready))
        return false;
    for (uint32_t i = picture->ready; i < ready; i++)
        set_spare(picture, i, true);
    picture->ready = ready;
    return true;
}

/* ---- drawing ---------------------------------------------------------------------------------------- */

/* Sort by the upper half, where the offset is: byte by byte, from the lowest one. */
static void sort(uint64_t *items, uint64_t *other, uint64_t count) {
    for (unsigned shift = 32; shift < 64; shift += 8) {
        uint64_t starts[257] = {0};
        for (uint64_t i = 0; i < count; i++)
            starts[(items[i] >> shift & 255) + 1]++;
        if (starts[(items[0] >> shift & 255) + 1] == count)
            continue; /* all have the same */
        for (unsigned i = 0; i < 256; i++)
            starts[i + 1] += starts[i];
        for (uint64_t i = 0; i < count; i++)
            other[starts[items[i] >> shift & 255]++] = items[i];
        memcpy(items, other, count * sizeof *items);
    }
}

/* Walk over all descriptors of an arena. A block that is watched stays so if it was held all the time. */
static enum memlane_status draw(const struct memlane_holding *holding, uint64_t arena) {
    const struct memlane_heap *heap = &holding->heap;
    struct memlane_picture *picture = &holding->pictures[arena];
    /* The version comes first: whatever was committed until then is seen below. */
    const uint64_t version = memlane_heap_version(heap, arena);
    const uint32_t ready = (uint32_t)memlane_heap_ready(heap, arena);
    uint64_t *covered = malloc(2 * ((uint64_t)ready + 1) * sizeof *covered), count = 0, at = 0, offset, nbytes;
    bool is_spare;
    picture->is_drawn = false;
    if (covered == NULL || !know_spare(picture, ready)) {
        free(covered);
        return MEMLANE_NO_MEMORY;
    }
    if (picture->spare_room)
        memset(picture->spare, 0, picture->spare_room * sizeof *picture->spare);
    picture->spare_first = picture->spare_room;
    picture->ready = ready;
    picture->recents = 0;
    for (uint32_t i = 0; i < ready; i++)
        if (memlane_heap_covers(heap, (uint32_t)(arena * heap->shape.blocks) + i, &is_spare, &offset, &nbytes))
            covered[count++] = offset / MEMLANE_LINE << 32 | nbytes / MEMLANE_LINE;
        else if (is_spare)
            set_spare(picture, i, true);
    if (count)
        sort(covered, covered + ready + 1, count);
    picture->count = 0;
    if (!make_room(picture, count + 1)) {
        free(covered);
        return MEMLANE_NO_MEMORY;
    }
    for (uint64_t i = 0; i <= count; i++) {
        const uint64_t next = i < count ? (covered[i] >> 32) * MEMLANE_LINE : heap->shape.arena_nbytes;
        if (next > at)
            picture->runs[picture->count++] = (struct memlane_run){at, next - at};
        if (i < count && next + (covered[i] & UINT32_MAX) * MEMLANE_LINE > at)
            at = next + (covered[i] & UINT32_MAX) * MEMLANE_LINE;
    }
    free(covered);
    for (uint32_t i = 0; i < MEMLANE_HEAP_WATCHED; i++) {
        struct memlane_watched *watched = &picture->watched[i];
        if (watched->extent.nbytes != 0 &&
            memlane_heap_has_ended(heap, (uint32_t)(arena * heap->shape.blocks) + watched->index,
                                   watched->generation) != MEMLANE_BUSY)
            watched->extent.nbytes = 0;
    }
    picture->version = version;
    picture->is_drawn = true;
    return MEMLANE_OK;
}

/* Bring a picture up to `version` by the journal. Returns: false: it has to be drawn anew. */
static bool follow(const struct memlane_holding *holding, uint64_t arena, uint64_t version) {
    const struct memlane_heap *heap = &holding->heap;
    struct memlane_picture *picture = &holding->pictures[arena];
    const uint64_t last = memlane_heap_commits(version);
    struct memlane_run extent;
    uint32_t index;
    bool is_spare;
    if (!picture->is_drawn)
        return false;
    if (picture->version == version)
        return true;
    uint64_t commits = memlane_heap_commits(picture->version);
    if (commits >= last || last - commits > MEMLANE_HEAP_JOURNAL)
        return false;
    while (commits++ < last) {
        if (!memlane_heap_commit_was_of(heap, arena, version, commits, &index) ||
            index >= memlane_heap_ready(heap, arena))
            return false;
        if (index < picture->ready)
            set_spare(picture, index, false);
        if (!memlane_heap_covers(heap, (uint32_t)(arena * heap->shape.blocks) + index, &is_spare, &extent.offset,
                                 &extent.nbytes)) {
            if (is_spare && index < picture->ready)
                set_spare(picture, index, true); /* it is free again */
            /* What others have made in its room since is in a later commit. */
            continue;
        }
        take_out(picture, &extent);
        for (uint32_t i = 0; i < MEMLANE_HEAP_WATCHED; i++)
            if (picture->watched[i].extent.nbytes != 0 && overlap(&picture->watched[i].extent, &extent))
                picture->watched[i].extent.nbytes = 0;
    }
    picture->version = version;
    return picture->is_drawn;
}

/* Look at two of the blocks that are watched. Before the picture is brought up to date: what is added belongs to the version that
 * it has. */
static void look_at_watched(const struct memlane_holding *holding, uint64_t arena) {
    struct memlane_picture *picture = &holding->pictures[arena];
    for (int looks = 0; looks < 2 && picture->is_drawn; looks++) {
        struct memlane_watched *watched = &picture->watched[picture->look_next++ % MEMLANE_HEAP_WATCHED];
        if (watched->extent.nbytes == 0)
            continue;
        enum memlane_status status = memlane_heap_has_ended(
            &holding->heap, (uint32_t)(arena * holding->heap.shape.blocks) + watched->index, watched->generation);
        if (status == MEMLANE_BUSY)
            continue;
        if (status == MEMLANE_OK) {
            give(picture, watched->extent);
            if (watched->index < picture->ready)
                set_spare(picture, watched->index, true);
        }
        watched->extent.nbytes = 0;
    }
}

/* ---- what is held ------------------------------------------------------------------------------------ */

static uint64_t place_of(const struct memlane_holding *holding, uint32_t number) {
    return (number * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (holding->held_room - 1);
}

static struct memlane_held *find_held(const struct memlane_holding *holding, uint32_t number) {
    if (holding->held_room == 0)
        return NULL;
    for (uint64_t at = place_of(holding, number); holding->held[at].key != 0; at = (at + 1) & (holding->held_room - 1))
        if (holding->held[at].key == number + 1)
            return &holding->held[at];
    return NULL;
}

static void put_held(struct memlane_holding *holding, const struct memlane_held *made) {
    uint64_t at = place_of(holding, made->key - 1);
    while (holding->held[at].key != 0)
        at = (at + 1) & (holding->held_room - 1);
    holding->held[at] = *made;
    holding->held_count++;
}

/* Make sure that one more can be put. */
static bool make_held_room(struct memlane_holding *holding) {
    if (2 * (holding->held_count + 1) <= holding->held_room)
        return true;
    struct memlane_held *before = holding->held;
    const uint64_t room = holding->held_room;
    struct memlane_held *made = calloc(room == 0 ? 64 : 2 * room, sizeof *made);
    if (made == NULL)
        return false;
    holding->held = made;
    holding->held_room = room == 0 ? 64 : 2 * room;
    holding->held_count = 0;
    for (uint64_t i = 0; i < room; i++)
        if (before[i].key != 0)
            put_held(holding, &before[i]);
    free(before);
    return true;
}

static void remove_held(struct memlane_holding *holding, struct memlane_held *held) {
    const uint64_t mask = holding->held_room - 1;
    uint64_t hole = (uint64_t)(held - holding->held);
    holding->held_count--;
    for (uint64_t at = (hole + 1) & mask; holding->held[at].key != 0; at = (at + 1) & mask) {
        const uint64_t wants = place_of(holding, holding->held[at].key - 1);
        if (((at - wants) & mask) >= ((at - hole) & mask)) { /* it was pushed over the hole */
            holding->held[hole] = holding->held[at];
            hole = at;
        }
    }
    holding->held[hole].key = 0;
}

/* A forked child holds nothing. The pictures are drawn anew: others may have made blocks meanwhile. */
static void notice_fork(struct memlane_holding *holding) {
    if (memlane_fork_is(holding->epoch))
        return;
    holding->epoch = memlane_fork_epoch();
    if (holding->held_room)
        memset(holding->held, 0, holding->held_room * sizeof *holding->held);
    holding->held_count = 0;
    for (uint64_t i = 0; i < holding->heap.shape.arenas; i++) {
        holding->pictures[i].is_drawn = false;
        memset(holding->pictures[i].watched, 0, sizeof holding->pictures[i].watched);
    }
}

enum memlane_status memlane_holding_begin(struct memlane_holding *holding, unsigned char *base,
                                          const struct memlane_heap_shape *shape,
                                          const struct memlane_membership *membership) {
    *holding = (struct memlane_holding){
        .heap = {.shape = *shape, .base = base}, .membership = membership, .epoch = memlane_fork_epoch()};
    holding->pictures = calloc(shape->arenas, sizeof *holding->pictures);
    return holding->pictures == NULL ? MEMLANE_NO_MEMORY : MEMLANE_OK;
}

void memlane_holding_end(struct memlane_holding *holding) {
    for (uint64_t i = 0; holding->pictures != NULL && i < holding->heap.shape.arenas; i++) {
        free(holding->pictures[i].runs);
        free(holding->pictures[i].spare);
    }
    free(holding->pictures);
    free(holding->held);
    holding->pictures = NULL;
    holding->held = NULL;
}

/* ---- allocating --------------------------------------------------------------------------------------- */

/* Get room in one arena, where `wanted` says if it must be that very extent. Returns as memlane_holding_allocate. */
static enum memlane_status allocate_in(struct memlane_holding *holding, uint64_t arena, uint64_t nbytes,
                                       uint64_t alignment, const struct memlane_run *wanted, uint64_t payload_nbytes,
                                       uint64_t meta_nbytes, struct memlane_block *block) {
    const struct memlane_heap *heap = &holding->heap;
    struct memlane_picture *picture = &holding->pictures[arena];
    const uint64_t base = heap->shape.bytes_offset + arena * heap->shape.arena_nbytes;
    const struct asking asking = {.holding = holding};
    const struct memlane_heap_process me = process_of(&asking, true);
    struct memlane_run extent;
    enum memlane_status status = MEMLANE_BUSY;
    bool has_block = false, is_new = false, freed;
    uint32_t index = 0;
    for (int tries = 0; tries < MEMLANE_HEAP_COMMITS; tries++) {
        look_at_watched(holding, arena);
        const uint64_t version = memlane_heap_version(heap, arena);
        if (!follow(holding, arena, version)) {
            status = draw(holding, arena);
            if (status != MEMLANE_OK)
                break;
            is_new = true;
        }
        bool fits;
        if (wanted == NULL)
            fits = choose(picture, nbytes, alignment, base, &extent);
        else {
            merge_recent(picture);
            uint64_t at = run_behind(picture, wanted->offset);
            extent = *wanted;
            fits = at < picture->count && picture->runs[at].offset <= wanted->offset &&
                   end_of(&picture->runs[at]) >= end_of(wanted);
            if (fits)
                take_out(picture, wanted);
        }
        if (!picture->is_drawn)
            continue;
        if (!fits) {
            status = MEMLANE_FULL;
            if (is_new)
                break;
            picture->is_drawn = false; /* what others have freed is seen by a walk alone */
            continue;
        }
        while (!has_block && (lowest_spare(picture, &index) ||
                              (learn_ready(heap, picture, arena) && lowest_spare(picture, &index)))) {
            set_spare(picture, index, false);
            has_block =
                memlane_heap_begin(heap, &me, (uint32_t)(arena * heap->shape.blocks) + index, block) == MEMLANE_OK;
        }
        if (!has_block) {
            give(picture, extent);
            if (is_new) {
                status = memlane_heap_ready(heap, arena) < heap->shape.blocks ? MEMLANE_GROW : MEMLANE_FULL;
                break;
            }
            picture->is_drawn = false;
            continue;
        }
        uint64_t found = picture->version;
        memlane_heap_lay(heap, &me, block->number, extent.offset, extent.nbytes, payload_nbytes, meta_nbytes);
        status = memlane_heap_commit(heap, arena, block->number, &found);
        if (status == MEMLANE_OK) {
            picture->version = found;
            status = memlane_heap_extent(heap, block->number, block);
            if (status != MEMLANE_OK)
                break;
            const struct memlane_held made = {.extent = extent,
                                              .generation = block->generation,
                                              .key = block->number + 1,
                                              .word = block->word,
                                              .uses = 1};
            put_held(holding, &made);
            return MEMLANE_OK;
        }
        /* Somebody else got room here: it is free in the version that the picture has. */
        give(picture, extent);
        is_new = false;
    }
    if (has_block) {
        (void)memlane_heap_drop(heap, &me, block->number, block->word, &freed);
        if (freed && picture->is_drawn)
            set_spare(picture, index, true);
    }
    return status;
}

enum memlane_status memlane_holding_allocate(struct memlane_holding *holding, uint64_t payload_nbytes,
                                             uint64_t meta_nbytes, uint64_t alignment, struct memlane_block *block,
                                             uint64_t *arena) {
    const struct memlane_heap_shape *shape = &holding->heap.shape;
    enum memlane_status status = MEMLANE_FULL;
    notice_fork(holding);
    if (payload_nbytes > shape->arena_nbytes || meta_nbytes > UINT16_MAX)
        return MEMLANE_TOO_LARGE;
    uint64_t nbytes = memlane_round_up(memlane_round_up(payload_nbytes, 8) + meta_nbytes, MEMLANE_LINE);
    nbytes = nbytes < MEMLANE_LINE ? MEMLANE_LINE : nbytes;
    /* the extent has 32 bits for the lines of a block */
    if (nbytes > shape->arena_nbytes || nbytes / MEMLANE_LINE > UINT32_MAX)
        return MEMLANE_TOO_LARGE;
    if (!make_held_room(holding))
        return MEMLANE_NO_MEMORY;
    for (uint64_t turn = 0; turn < shape->arenas; turn++) {
        const uint64_t here = (holding->arena + turn) % shape->arenas;
        status = allocate_in(holding, here, nbytes, alignment, NULL, payload_nbytes, meta_nbytes, block);
        if (status != MEMLANE_FULL) {
            holding->arena = (uint32_t)here;
            *arena = here;
            return status;
        }
    }
    return status;
}

bool memlane_holding_grow(const struct memlane_holding *holding, uint64_t arena, struct memlane_run stretches[2],
                          uint32_t *ready) {
    const struct memlane_heap_shape *shape = &holding->heap.shape;
    const uint64_t has = memlane_heap_ready(&holding->heap, arena);
    const uint64_t blocks = shape->blocks_offset + arena * shape->blocks_nbytes;
    if (has >= shape->blocks)
        return false;
    uint64_t more = has / 2 < MEMLANE_HEAP_READY_STEP ? MEMLANE_HEAP_READY_STEP : has / 2;
    more = more < shape->blocks - has ? more : shape->blocks - has;
    *ready = (uint32_t)(has + more);
    stretches[0] = (struct memlane_run){blocks + has * sizeof(struct memlane_heap_descriptor),
                                        more * sizeof(struct memlane_heap_descriptor)};
    stretches[1] = (struct memlane_run){blocks + shape->references_offset + has * shape->references_stride,
                                        more * shape->references_stride};
    return true;
}

/* ---- holding -------------------------------------------------------------------------------------------- */

enum memlane_status memlane_holding_open(struct memlane_holding *holding, uint32_t number, uint64_t generation,
                                         struct memlane_block *block, bool *freed) {
    const struct memlane_heap *heap = &holding->heap;
    *freed = false;
    notice_fork(holding);
    if (!memlane_heap_has(heap, number))
        return MEMLANE_STALE;
    struct memlane_held *held = find_held(holding, number);
    if (held != NULL) {
        /* The life that is held cannot end, so no other one can be meant that stands. */
        if (held->generation != generation || !memlane_heap_stands(heap, number, generation))
            return MEMLANE_STALE;
        block->number = number;
        block->generation = generation;
        block->word = held->word;
        enum memlane_status status = memlane_heap_extent(heap, number, block);
        if (status == MEMLANE_OK)
            held->uses++;
        return status;
    }
    if (!make_held_room(holding))
        return MEMLANE_NO_MEMORY;
    const struct asking asking = {.holding = holding};
    const struct memlane_heap_process me = process_of(&asking, true);
    enum memlane_status status = memlane_heap_open(heap, &me, number, generation, block, freed);
    if (status == MEMLANE_OK) {
        const struct memlane_held made = {.generation = generation, .key = number + 1, .word = block->word, .uses = 1};
        put_held(holding, &made);
    }
    return status;
}

enum memlane_status memlane_holding_release(struct memlane_holding *holding, uint32_t number, uint64_t generation,
                                            bool *freed) {
    const struct memlane_heap *heap = &holding->heap;
    *freed = false;
    notice_fork(holding);
    struct memlane_held *held = find_held(holding, number);
    if (held == NULL || held->generation != generation)
        return MEMLANE_STALE;
    if (--held->uses > 0)
        return MEMLANE_OK;
    const struct memlane_held was = *held;
    remove_held(holding, held);
    const struct asking asking = {.holding = holding};
    const struct memlane_heap_process me = process_of(&asking, false);
    enum memlane_status status = memlane_heap_drop(heap, &me, number, was.word, freed);
    if (status != MEMLANE_OK || was.extent.nbytes == 0)
        return status;
    struct memlane_picture *picture = &holding->pictures[number / heap->shape.blocks];
    if (*freed) {
        /* It was held until now, so none of the commits that the picture has followed lies there. */
        give(picture, was.extent);
        if (picture->is_drawn)
            set_spare(picture, (uint32_t)(number % heap->shape.blocks), true);
    } else {
        struct memlane_watched *watched = &picture->watched[picture->watch_next++ % MEMLANE_HEAP_WATCHED];
        *watched = (struct memlane_watched){
            .extent = was.extent, .generation = generation, .index = (uint32_t)(number % heap->shape.blocks)};
        if (!picture->is_drawn)
            watched->extent.nbytes = 0; /* the next walk may see it free */
    }
    return status;
}

bool memlane_holding_try_free(struct memlane_holding *holding, uint32_t number) {
    const struct asking asking = {.holding = holding};
    const struct memlane_heap_process me = process_of(&asking, false);
    return memlane_heap_has(&holding->heap, number) && memlane_heap_try_free(&holding->heap, &me, number);
}

enum memlane_status memlane_holding_lend(struct memlane_holding *holding, uint32_t number, uint32_t readers,
                                         uint32_t answerable, uint32_t *which, uint32_t *stamp) {
    const struct asking asking = {.holding = holding};
    const struct memlane_heap_process me = process_of(&asking, true);
    uint64_t what;
    enum memlane_status status = memlane_transit_lend(&holding->heap, &me, number, readers, answerable, which, &what);
    *stamp = status == MEMLANE_OK ? memlane_lent_stamp(what) : 0;
    return status;
}

uint32_t memlane_holding_lent_left(const struct memlane_holding *holding, uint32_t number, uint32_t which,
                                   uint32_t stamp) {
    if (which >= holding->heap.shape.transits || !memlane_heap_has(&holding->heap, number))
        return 0;
    /* relaxed: for people */
    uint64_t what =
        atomic_load_explicit(&memlane_heap_references(&holding->heap, number).what[which], memory_order_relaxed);
    return memlane_lent_stamp(what) == stamp ? memlane_lent_left(what) : 0;
}

uint32_t memlane_holding_lent_cancel(struct memlane_holding *holding, uint32_t number, uint32_t which, uint32_t stamp,
                                     bool *freed) {
    *freed = false;
    if (which >= holding->heap.shape.transits || !memlane_heap_has(&holding->heap, number))
        return 0;
    uint32_t left = memlane_lent_cancel(&holding->heap, number, which, stamp);
    if (left)
        *freed = memlane_holding_try_free(holding, number);
    return left;
}

uint64_t memlane_holding_collect(const struct memlane_holding *holding, uint64_t arena, uint32_t *next,
                                 uint32_t looks) {
    uint32_t alive[ROWS_MAX] = {0};
    const struct asking asking = {.holding = holding, .alive = alive};
    const struct memlane_heap_process me = process_of(&asking, true);
    const uint64_t ready = memlane_heap_ready(&holding->heap, arena);
    uint64_t freed = 0;
    for (; *next < ready && looks > 0; (*next)++, looks--)
        if (memlane_heap_try_free(&holding->heap, &me, (uint32_t)(arena * holding->heap.shape.blocks) + *next))
            freed++;
    return freed;
}

uint64_t memlane_holding_free_digest(const struct memlane_holding *holding) {
    const struct memlane_heap *heap = &holding->heap;
    uint64_t digest = 0;
    for (uint64_t arena = 0; arena < heap->shape.arenas; arena++) {
        const uint32_t first = (uint32_t)(arena * heap->shape.blocks);
        const uint32_t ready = (uint32_t)memlane_heap_ready(heap, arena);
        for (uint32_t i = 0; i < ready; i++) {
            /* sync: block.state. seq_cst: behind the announcement of one who waits; pairs with memlane_heap_try_free, whose
             * caller looks for waiters behind it (waiters.count). */
            uint64_t state =
                atomic_load_explicit(&memlane_heap_descriptor(heap, first + i)->state, memory_order_seq_cst);
            if (memlane_block_kind(state) == MEMLANE_BLOCK_FREE)
                digest += (memlane_block_generation(state) + 1) * UINT64_C(0x9e3779b97f4a7c15) ^ (first + i);
        }
    }
    return digest;
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

static bool has_memory(const struct memlane_heap *heap, uint64_t arena, uint64_t step) {
    uint64_t from, until;
    const uint64_t unit = heap->shape.step_nbytes, at = step * unit;
    const uint64_t nbytes = heap->shape.arena_nbytes - at < unit ? heap->shape.arena_nbytes - at : unit;
    return !memlane_heap_unreserved(heap, arena, at, nbytes, &from, &until);
}

/* Give the pages back that lie in a stretch of the object wholly. What a file system cannot give back stays. */
static void punch(const struct memlane_heap *heap, uint64_t offset, uint64_t nbytes) {
    const uintptr_t page = memlane_page_nbytes() - 1;
    uintptr_t first = ((uintptr_t)heap->base + offset + page) & ~page;
    uintptr_t end = ((uintptr_t)heap->base + offset + nbytes) & ~page;
    if (first < end)
        (void)madvise((void *)first, end - first, MADV_REMOVE);
}

uint64_t memlane_holding_trim(struct memlane_holding *holding, uint64_t arena, bool *freed) {
    const struct memlane_heap *heap = &holding->heap;
    const uint64_t unit = heap->shape.step_nbytes, steps = (heap->shape.arena_nbytes + unit - 1) / unit;
    const uint64_t base = heap->shape.bytes_offset + arena * heap->shape.arena_nbytes;
    uint64_t given_back = 0;
    *freed = false;
    notice_fork(holding);
    if (draw(holding, arena) != MEMLANE_OK)
        return 0;
    for (uint64_t step = 0; step < steps;) {
        /* as many steps as lie in one run, and have memory */
        const struct memlane_picture *picture = &holding->pictures[arena];
        struct memlane_run extent = {step * unit, 0};
        merge_recent(&holding->pictures[arena]);
        const uint64_t at = run_behind(picture, extent.offset);
        while (step < steps) {
            const uint64_t end =
                (step + 1) * unit < heap->shape.arena_nbytes ? (step + 1) * unit : heap->shape.arena_nbytes;
            if (at >= picture->count || picture->runs[at].offset > extent.offset || end_of(&picture->runs[at]) < end ||
                end - extent.offset > (uint64_t)UINT32_MAX * MEMLANE_LINE || !has_memory(heap, arena, step))
                break;
            extent.nbytes = end - extent.offset;
            step++;
        }
        if (extent.nbytes == 0) {
            step++;
            continue;
        }
        struct memlane_block block;
        if (!make_held_room(holding))
            break;
        /* A block of our own: nobody allocates there meanwhile. */
        enum memlane_status status =
            allocate_in(holding, arena, extent.nbytes, MEMLANE_LINE, &extent, extent.nbytes, 0, &block);
        if (status == MEMLANE_FULL)
            continue; /* somebody is there by now, or there is no descriptor */
        if (status != MEMLANE_OK)
            break;
        bool came_free;
        memlane_heap_note_reserved(heap, arena, extent.offset, end_of(&extent), false);
        punch(heap, base + extent.offset, extent.nbytes);
        given_back += extent.nbytes;
        (void)memlane_holding_release(holding, block.number, block.generation, &came_free);
        *freed |= came_free;
    }
    return given_back;
}

/* ---- counting --------------------------------------------------------------------------------------------- */

enum memlane_status memlane_holding_count(struct memlane_holding *holding, struct memlane_heap_totals *totals) {
    const struct memlane_heap *heap = &holding->heap;
    const uint64_t unit = heap->shape.step_nbytes;
    uint64_t offset, nbytes;
    bool is_spare;
    memset(totals, 0, sizeof *totals);
    notice_fork(holding);
    for (uint64_t arena = 0; arena < heap->shape.arenas; arena++) {
        const uint32_t first = (uint32_t)(arena * heap->shape.blocks);
        const uint32_t ready = (uint32_t)memlane_heap_ready(heap, arena);
        enum memlane_status status = draw(holding, arena);
        if (status != MEMLANE_OK)
            return status;
        totals->ready += ready;
        for (uint32_t i = 0; i < ready; i++) {
            /* relaxed: for people */
            uint64_t state =
                atomic_load_explicit(&memlane_heap_descriptor(heap, first + i)->state, memory_order_relaxed);
            if (!memlane_heap_covers(heap, first + i, &is_spare, &offset, &nbytes))
                continue;
            totals->blocks++;
            totals->nbytes += nbytes;
            totals->unsealed += !memlane_block_is_sealed(state);
        }
        for (uint64_t step = 0; step * unit < heap->shape.arena_nbytes; step++)
            if (has_memory(heap, arena, step))
                totals->reserved +=
                    heap->shape.arena_nbytes - step * unit < unit ? heap->shape.arena_nbytes - step * unit : unit;
        const struct memlane_picture *picture = &holding->pictures[arena];
        for (uint64_t i = 0; i < picture->count; i++) {
            totals->free += picture->runs[i].nbytes;
            if (picture->runs[i].nbytes > totals->largest_free)
                totals->largest_free = picture->runs[i].nbytes;
        }
    }
    return MEMLANE_OK;
}

/* Add one block to a share, which is found by what it is of. */
static void add_share(struct memlane_heap_share *shares, uint32_t *count, uint32_t room, uint32_t of, bool is_entry,
                      bool is_lent, uint64_t nbytes) {
    uint32_t i = 0;
    while (i < *count && (shares[i].of != of || shares[i].is_entry != is_entry || shares[i].is_lent != is_lent))
        i++;
    if (i == room)
        return;
    if (i == *count) {
        shares[i] = (struct memlane_heap_share){.of = of, .is_entry = is_entry, .is_lent = is_lent};
        ++*count;
    }
    shares[i].blocks++;
    shares[i].nbytes += nbytes;
}

uint32_t memlane_holding_shares(const struct memlane_holding *holding, struct memlane_heap_share *shares,
                                uint32_t room) {
    const struct memlane_heap *heap = &holding->heap;
    const struct asking asking = {.holding = holding};
    const struct memlane_heap_process me = process_of(&asking, false);
    uint32_t count = 0;
    uint64_t offset, nbytes;
    enum memlane_transit_verdict verdict;
    bool is_spare;
    for (uint64_t arena = 0; arena < heap->shape.arenas; arena++) {
        const uint32_t ready = (uint32_t)memlane_heap_ready(heap, arena);
        for (uint32_t i = 0; i < ready; i++) {
            const uint32_t number = (uint32_t)(arena * heap->shape.blocks) + i;
            if (!memlane_heap_covers(heap, number, &is_spare, &offset, &nbytes))
                continue;
            const struct memlane_heap_references references = memlane_heap_references(heap, number);
            for (uint64_t k = 0; k < heap->shape.holders; k++) {
                /* relaxed: for people */
                uint32_t tag = atomic_load_explicit(&references.holder[k], memory_order_relaxed);
                if (tag != 0)
                    add_share(shares, &count, room, tag, false, false, nbytes);
            }
            for (uint64_t k = 0; k < heap->shape.transits; k++) {
                /* sync: transit.what. acquire: before the place is read */
                uint64_t what = atomic_load_explicit(&references.what[k], memory_order_acquire);
                if (!memlane_transit_holds(&me, &references, k, what, &verdict))
                    continue;
                if (memlane_transit_kind(what) == MEMLANE_TRANSIT_LENT)
                    add_share(shares, &count, room, memlane_transit_tag(what), false, true, nbytes);
                else {
                    /* relaxed: for people */
                    uint64_t where = atomic_load_explicit(&references.place[k].where, memory_order_relaxed);
                    add_share(shares, &count, room, memlane_heap_where_entry(where), true, false, nbytes);
                }
            }
        }
    }
    return count;
}
