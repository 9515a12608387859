/* SPDX-License-Identifier: MIT
 *
 * The bytes of samples: the metrics of many workers, each in blocks of its own.
 */
#ifndef MEMLANE_SAMPLES_LAYOUT_H
#define MEMLANE_SAMPLES_LAYOUT_H

#include "core/layout.h"

/* ---- samples: geometry = { blocks, block_nbytes } -----------------------------------------------
 *
 *   0                        blocks * 256, up to a page
 *   +----------------------- - - -+------------------------ - - -+----------- - -
 *   | control words of the blocks | samples of block 0           | of block 1
 *   +----------------------- - - -+------------------------ - - -+----------- - -
 *
 * The samples of a block are one after the other: 64 bytes, and the key, up to a multiple of 64.
 */
#define MEMLANE_SAMPLES_BLOCKS_MAX UINT64_C(65536) /* arbitrary */
#define MEMLANE_SAMPLES_BLOCK_MIN UINT64_C(4096)
#define MEMLANE_SAMPLES_BLOCK_MAX (UINT64_C(1) << 30) /* offsets in a block have 32 bits */
#define MEMLANE_SAMPLES_NAME_WORDS 7u
#define MEMLANE_SAMPLES_NAME_MAX (8 * MEMLANE_SAMPLES_NAME_WORDS)
#define MEMLANE_SAMPLES_PAGE UINT64_C(4096)

/* How a worker is called. */
struct memlane_samples_name {
    _Atomic uint32_t owner; /* the tag of the worker of this name */
    _Atomic uint32_t nbytes;
    _Atomic uint64_t words[MEMLANE_SAMPLES_NAME_WORDS]; /* text */
};

struct memlane_samples_block {
    _Atomic uint32_t owner; /* 0, or a tag: the worker that adds here */
    uint32_t reserved;
    _Atomic uint64_t turn; /* how many workers had the block; 0: its memory was never reserved */
    _Atomic uint64_t used; /* bytes of complete samples */
    uint64_t unused[5];
    struct memlane_samples_name names[2]; /* of turn n in n mod 2 */
    uint64_t more[8];
};
static_assert(sizeof(struct memlane_samples_block) == 256, "layout: see docs/layout.md");

/* What becomes of a number when its worker dies, and how those of several workers make one. */
enum memlane_sample_kind {
    MEMLANE_SAMPLE_ADDED = 1, /* counters and histograms: the sum of all, whoever lives */
    MEMLANE_SAMPLE_ALL = 2, /* gauges: one for each worker, until another one has its block */
    MEMLANE_SAMPLE_LIVE_ALL = 3,
    MEMLANE_SAMPLE_MIN = 4,
    MEMLANE_SAMPLE_LIVE_MIN = 5,
    MEMLANE_SAMPLE_MAX = 6,
    MEMLANE_SAMPLE_LIVE_MAX = 7,
    MEMLANE_SAMPLE_SUM = 8,
    MEMLANE_SAMPLE_LIVE_SUM = 9,
    MEMLANE_SAMPLE_RECENT = 10,
    MEMLANE_SAMPLE_LIVE_RECENT = 11,
};

/* The bits of doubles. */
struct memlane_sample_copy {
    _Atomic uint64_t past; /* what the workers before came to: of MIN, MAX and SUM */
    _Atomic uint64_t value;
    _Atomic uint64_t stamp; /* seconds; 0: not known */
};

struct memlane_sample {
    _Atomic uint64_t version; /* [ turn : 24 | changes : 40 ]: copy changes mod 2 counts, and is that turn's */
    struct memlane_sample_copy copies[2]; /* ADDED: the first value alone */
    uint32_t kind; /* enum memlane_sample_kind */
    uint32_t key_nbytes;
};
static_assert(sizeof(struct memlane_sample) == 64, "layout: see docs/layout.md");

struct memlane_samples_shape {
    uint64_t data_offset, nbytes;
};

/* Where the parts lie. Callers: anyone. Progress: wait-free. Ordering: none. Returns: false: out of range. */
static inline bool memlane_samples_lay_out(struct memlane_samples_shape *shape, uint64_t blocks,
                                           uint64_t block_nbytes) {
    if (blocks == 0 || blocks > MEMLANE_SAMPLES_BLOCKS_MAX || block_nbytes < MEMLANE_SAMPLES_BLOCK_MIN ||
        block_nbytes > MEMLANE_SAMPLES_BLOCK_MAX || block_nbytes % MEMLANE_SAMPLES_PAGE != 0)
        return false;
    shape->data_offset = memlane_round_up(blocks * sizeof(struct memlane_samples_block), MEMLANE_SAMPLES_PAGE);
    shape->nbytes = shape->data_offset + blocks * block_nbytes;
    return true;
}

#endif
