/* SPDX-License-Identifier: MIT
 *
 * The bytes of every region: its header, participants and directory. Each kind of object has a layout file of its own.
 *
 *   0          4096           +rows * 64  +selectors * 64  +entries * 1024       up to nbytes
 *   +----------+--------------+------------+-------------+-------- - - -+-------------------- - - -
 *   | header   | participants | selectors  | directory   |              | objects, page aligned
 *   +----------+--------------+------------+-------------+-------- - - -+-------------------- - - -
 *    reserved at creation                   reserved as entries come     reserved as they are carved
 *
 * docs/layout.md draws each structure of all these files; a test compares the offsets. Numbers are in the byte
 * order of the machine: a region never leaves it. Only offsets are stored, never addresses.
 * Words that change are C11 atomics. What is written once, before others can see it, is plain.
 */
#ifndef MEMLANE_LAYOUT_H
#define MEMLANE_LAYOUT_H

#include <assert.h>
#include <limits.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/status.h"

static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
              "a lock inside an atomic would live in one process only");

#define MEMLANE_MAGIC UINT64_C(0x0a454e414c4d454d) /* "MEMLANE\n", also refuses a swapped byte order */
/* Version 1 is frozen: no byte of what exists changes its place or meaning (docs/layout.md says what may be added). */
#define MEMLANE_LAYOUT_VERSION 1u
/* 0: what was released. The bytes of a later version have drafts until its release; drafts refuse each other. */
#define MEMLANE_LAYOUT_DRAFT 0u
#define MEMLANE_FEATURES UINT64_C(0) /* none yet: any bit that is set is unknown and refused */

#define MEMLANE_LINE 64u
/* Two lines: the prefetcher of common processors fetches lines in pairs, so words that different
 * processes store keep this distance. */
#define MEMLANE_LINE_PAIR 128u
#define MEMLANE_ALIGNMENT 4096u /* of sections and objects; fixed, so that it is the same everywhere */

#define MEMLANE_ROWS_MAX 1024u /* a tag has 10 bits for the row */
#define MEMLANE_ENTRIES_MAX 1024u /* arbitrary: a directory of 1 MiB, reserved as it fills */
#define MEMLANE_DOORBELLS_MAX 1024u /* that an entry tells of, twice; arbitrary, more than a ring has lanes */
#define MEMLANE_SELECTORS_MAX                                                                                          \
    256u /* arbitrary: 16 KiB, reserved with the header; a process that finds none free polls */

/* Where locks of the kernel stand: far beyond the data, so that no read or write meets them. */
#define MEMLANE_PRESENCE_BYTE (INT64_C(1) << 61)
#define MEMLANE_CREATION_BYTE (MEMLANE_PRESENCE_BYTE + 1)
#define MEMLANE_NAME_BYTE (MEMLANE_PRESENCE_BYTE + 2)
#define MEMLANE_ROW_BYTE(row) (MEMLANE_PRESENCE_BYTE + 64 + (int64_t)(row))
#define MEMLANE_JOINING_BYTE(row) (MEMLANE_ROW_BYTE(row) + MEMLANE_ROWS_MAX)
#define MEMLANE_ENTRY_BYTE(entry) (MEMLANE_JOINING_BYTE(0) + MEMLANE_ROWS_MAX + (int64_t)(entry))

/* A tag names a participant in shared words: low 22 bits of its generation, then 10 bits of row.
 * A generation in use is odd, so no tag is 0. */
#define MEMLANE_TAG_NONE 0u
#define MEMLANE_TAG_ROW_BITS 10u
#define MEMLANE_TAG_GENERATION_BITS 22u

/* A doorbell: where a semaphore is. 64 bytes.
 *   kind   0 none yet, 1 unnamed (the semaphore lies in `semaphore`), 2 named (a file with this inode) */
struct memlane_doorbell {
    _Atomic uint32_t kind;
    uint32_t reserved;
    uint64_t device;
    uint64_t inode;
    uint64_t unused;
    alignas(8) unsigned char semaphore[32];
};
static_assert(sizeof(struct memlane_doorbell) == 64, "a doorbell is one cache line");
enum { MEMLANE_DOORBELL_NONE = 0, MEMLANE_DOORBELL_UNNAMED = 1, MEMLANE_DOORBELL_NAMED = 2 };

/* Where some doorbells of an object are, for those who do not know its kind. 16 bytes, all 0: there are none. */
struct memlane_doorbells {
    uint64_t offset; /* of the first one in the object, a multiple of 64 */
    uint32_t stride; /* from each to the next, a multiple of 64 */
    uint32_t count;
};
static_assert(sizeof(struct memlane_doorbells) == 16, "layout: see docs/layout.md");

/* The header. 4096 bytes; the first 128 and `libc` are written once, before anyone sees the region. */
struct memlane_header {
    uint64_t magic;
    uint32_t layout_version;
    uint32_t layout_draft;
    uint64_t features;
    uint64_t region_id;
    uint64_t nbytes; /* of the whole region; the file has exactly this length */
    uint64_t table_offset;
    uint32_t rows;
    uint32_t row_nbytes;
    uint64_t directory_offset;
    uint32_t entries;
    uint32_t entry_nbytes;
    uint64_t objects_offset;
    uint32_t backing; /* enum memlane_backing */
    uint32_t permissions;
    uint64_t created_ns; /* wall clock, for people */
    uint32_t creator_pid; /* for people */
    uint32_t selectors;
    char libc[24]; /* whose semaphores these are */

    alignas(512) _Atomic uint64_t count; /* entries of the directory that were ever in use: the first ones */
    alignas(64) _Atomic uint32_t creation_pid; /* the holder of the creation byte, for the error text */
    alignas(64) struct memlane_doorbell anchor; /* number 0 of a set of named semaphores */
    alignas(64) unsigned char unused[4096 - 512 - 3 * 64];
};
enum memlane_backing {
    MEMLANE_BACKING_NAMED = 1,
    MEMLANE_BACKING_PATH = 2,
    MEMLANE_BACKING_MEMFD = 3,
    MEMLANE_BACKING_ANONYMOUS = 4,
};
static_assert(sizeof(struct memlane_header) == 4096, "the header is one page");
static_assert(offsetof(struct memlane_header, count) == 512, "layout: see docs/layout.md");

/* A row of the participants table: one participant. 64 bytes.
 * Only `generation` decides anything; the rest is for people to read. */
struct memlane_row {
    _Atomic uint64_t generation; /* odd: in use, even: free */
    _Atomic uint64_t start_time; /* of the process, in clock ticks since boot */
    _Atomic uint32_t pid;
    uint32_t reserved;
    _Atomic uint64_t name[5]; /* of the process, NUL padded */
};
static_assert(sizeof(struct memlane_row) == 64, "a row is one cache line");

/* A word of waiters: how many sleep (waiters.h), then one bit for each class of selectors (selectors.h). */
#define MEMLANE_WAITERS_BITS 16u
#define MEMLANE_SELECTOR_CLASSES 16u

/* A selector: how to wake a process that waits by select, poll or epoll. 64 bytes; see selectors.h.
 * The owner stores them all; a process that changes something takes `armed` out of `state`, and may set `distant`. */
struct memlane_selector {
    _Atomic uint64_t state; /* low bit: armed; the others: the number by which its descriptor is found, 0: none */
    _Atomic uint64_t interest; /* one bit for each sixty-fourth of all words where it may be announced */
    _Atomic uint64_t network; /* the network namespace in which the number means something; 0: not known */
    _Atomic uint32_t owner; /* tag */
    _Atomic uint32_t distant; /* 1: a process of another network namespace has something to say here */
    unsigned char unused[32];
};
static_assert(sizeof(struct memlane_selector) == 64, "a selector is one cache line");

#define MEMLANE_RESERVED_AT_CREATION                                                                                   \
    (sizeof(struct memlane_header) + MEMLANE_ROWS_MAX * sizeof(struct memlane_row) +                                   \
     MEMLANE_SELECTORS_MAX * sizeof(struct memlane_selector))

/* An entry of the directory: one object, or the room of one that was removed. 1024 bytes.
 * `sequence` only grows. Its low two bits say what the entry is; a valid one is another object with each number. */
struct memlane_entry {
    char name[64]; /* UTF-8, NUL padded, never empty */
    uint32_t kind; /* enum memlane_kind */
    uint32_t schema_nbytes;
    uint64_t offset; /* of the object in the region, page aligned */
    uint64_t nbytes;
    uint64_t geometry[8]; /* by kind, see below */
    _Atomic uint64_t sequence; /* 4n + enum memlane_entry_state */
    struct memlane_doorbells doorbells_at_once; /* made with the object */
    struct memlane_doorbells doorbells_later; /* made by their first users */
    char schema[832]; /* what values look like, in words of the face */
};
static_assert(sizeof(struct memlane_entry) == 1024, "four entries fill a page");
static_assert(offsetof(struct memlane_entry, sequence) == 152, "layout: see docs/layout.md");
enum memlane_entry_state {
    MEMLANE_ENTRY_FREE = 0, /* never used, or its room is free */
    MEMLANE_ENTRY_WRITING = 1, /* being written, or its writer has died: as free to the next one */
    MEMLANE_ENTRY_VALID = 2,
    MEMLANE_ENTRY_REMOVED = 3, /* the name is gone; the room is free when nobody locks the entry's byte */
};
enum memlane_kind {
    MEMLANE_KIND_RING = 1,
    MEMLANE_KIND_SLOT = 2,
    MEMLANE_KIND_COUNTER = 3,
    MEMLANE_KIND_TABLE = 4,
    MEMLANE_KIND_TOPIC = 5,
    MEMLANE_KIND_QUEUE = 6,
    MEMLANE_KIND_MAP = 7,
    MEMLANE_KIND_LOCK = 8,
    MEMLANE_KIND_ARRAY = 9,
    MEMLANE_KIND_EVENT = 10,
    MEMLANE_KIND_COUNTERS = 11,
    MEMLANE_KIND_SAMPLES = 12,
    MEMLANE_KIND_HEAP = 13,
};

/* `unit` is a power of two. */
static inline uint64_t memlane_round_up(uint64_t nbytes, uint64_t unit) { return (nbytes + unit - 1) & ~(unit - 1); }

static inline uint64_t memlane_align(uint64_t nbytes) { return memlane_round_up(nbytes, MEMLANE_ALIGNMENT); }

static inline bool memlane_range_fits(uint64_t offset, uint64_t nbytes, uint64_t whole) {
    return offset <= whole && nbytes <= whole - offset;
}

#endif
