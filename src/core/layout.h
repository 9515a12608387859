/* SPDX-License-Identifier: MIT
 *
 * The bytes of a region: every structure that two processes share, and nothing else.
 *
 *   0          4096              +rows * 64           +entries * 1024          up to nbytes
 *   +----------+-----------------+--------------------+-------- - - -+-------------------- - - -
 *   | header   | participants    | directory          |              | objects, page aligned
 *   +----------+-----------------+--------------------+-------- - - -+-------------------- - - -
 *    reserved at creation         reserved as entries come            reserved as they are carved
 *
 * docs/layout.md draws each structure; a test compares its offsets with these. Numbers are in the byte
 * order of the machine: a region never leaves it. Only offsets are stored, never addresses.
 * Words that change are C11 atomics. What is written once, before others can see it, is plain.
 */
#ifndef MEMLANE_LAYOUT_H
#define MEMLANE_LAYOUT_H

#include <assert.h>
#include <limits.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
              "a lock inside an atomic would live in one process only");

#define MEMLANE_MAGIC UINT64_C(0x0a454e414c4d454d) /* "MEMLANE\n", also refuses a swapped byte order */
#define MEMLANE_LAYOUT_VERSION 0u
/* Within version 0 any change of this file raises the draft; drafts refuse each other. */
#define MEMLANE_LAYOUT_DRAFT 4u
#define MEMLANE_FEATURES UINT64_C(0) /* none yet: any bit that is set is unknown and refused */

#define MEMLANE_LINE 64u
/* Two lines: the prefetcher of common processors fetches lines in pairs, so words that different
 * processes store keep this distance. */
#define MEMLANE_LINE_PAIR 128u
#define MEMLANE_ALIGNMENT 4096u /* of sections and objects; fixed, so that it is the same everywhere */

#define MEMLANE_ROWS_MAX 1024u /* a tag has 10 bits for the row */
#define MEMLANE_ENTRIES_MAX 1024u /* arbitrary: a directory of 1 MiB, reserved as it fills */
#define MEMLANE_LANES_MAX 1000u
#define MEMLANE_DESCRIPTORS_MAX (UINT64_C(1) << 24)
#define MEMLANE_CAPACITY_MAX (UINT64_C(1) << 35) /* offsets count units of 8 bytes in 32 bits */
#define MEMLANE_RECORD_MAX ((UINT64_C(1) << 32) - 8)

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
    uint32_t reserved;
    char libc[24]; /* whose semaphores these are */

    alignas(512) _Atomic uint64_t count; /* entries of the directory that were ever in use: the first ones */
    alignas(64) _Atomic uint32_t creation_pid; /* who holds the creation byte, for the error text */
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
    char schema[864]; /* what values look like, in words of the face */
};
static_assert(sizeof(struct memlane_entry) == 1024, "four entries fill a page");
static_assert(offsetof(struct memlane_entry, sequence) == 152, "layout: see docs/layout.md");
enum memlane_entry_state {
    MEMLANE_ENTRY_FREE = 0, /* never used, or its room is free */
    MEMLANE_ENTRY_WRITING = 1, /* being written, or its writer has died: as free to the next one */
    MEMLANE_ENTRY_VALID = 2,
    MEMLANE_ENTRY_REMOVED = 3, /* the name is gone; the room is free when nobody locks the entry's byte */
};
enum memlane_kind { MEMLANE_KIND_RING = 1, MEMLANE_KIND_SLOT = 2, MEMLANE_KIND_COUNTER = 3, MEMLANE_KIND_TABLE = 4 };

/* ---- ring: geometry = { lanes, capacity, records, consumers } ----------------------------------
 *
 *   0                256                           +lanes * 512     +4096, page aligned
 *   +----------------+-------------+------ - - ----+----------------+----------------------+------------ - -
 *   | ring control   | lane control| ...           | consumers      | descriptors, stamps, | of lane 1 ...
 *   |                |             |               |                | bytes                |
 *   +----------------+-------------+------ - - ----+----------------+----------------------+------------ - -
 *    reserved with the object                                        of lane 0: reserved when it is first leased
 *
 * `consumers` has the tags of many consumers, 4 bytes for each row that the participants table can have.
 */
struct memlane_ring_control {
    /* Producers look at this line after every commit; it changes seldom. */
    _Atomic uint32_t shutdown; /* 0 | 1 drain | 2 drop */
    _Atomic uint32_t leased; /* lanes that were ever leased: they are the first ones */
    _Atomic uint32_t waiters; /* consumers that announced themselves */
    _Atomic uint32_t consumer; /* tag of the one consumer */
    alignas(MEMLANE_LINE_PAIR) struct memlane_doorbell doorbell; /* wakes consumers */
    alignas(64) _Atomic uint64_t redelivered; /* records taken out of dead hands, for people */
    _Atomic uint64_t handed_back; /* how often one of many consumers has handed a record back */
    _Atomic uint64_t came; /* consumers that ever came, see peers.h */
    _Atomic uint64_t died; /* of them are known to have died, for people */
    unsigned char unused[32];
};
static_assert(sizeof(struct memlane_ring_control) == 256, "layout: see docs/layout.md");
enum memlane_consumers { MEMLANE_CONSUMERS_ONE = 1, MEMLANE_CONSUMERS_MANY = 2 };
enum { MEMLANE_SHUTDOWN_DRAIN = 1, MEMLANE_SHUTDOWN_DROP = 2 };

struct memlane_lane_control {
    _Atomic uint32_t owner; /* 0 never leased | tag | DEPARTED | CLOSED */
    _Atomic uint32_t waiters; /* threads of the producer that wait for room */
    alignas(MEMLANE_LINE_PAIR) _Atomic uint64_t tail; /* the producer's: a hint, see lane.h */
    alignas(MEMLANE_LINE_PAIR) _Atomic uint64_t head; /* the consumer's: the oldest not released */
    _Atomic uint64_t taken; /* for many consumers: the next to take, a hint */
    alignas(MEMLANE_LINE_PAIR) struct memlane_doorbell doorbell; /* wakes the producer */
    alignas(64) _Atomic uint64_t full; /* puts that found no room, for people */
    _Atomic uint64_t clock; /* whose times the stamps tell: a hash, 0: nobody's */
    unsigned char unused[48];
};
static_assert(sizeof(struct memlane_lane_control) == 512, "layout: see docs/layout.md");
static_assert(offsetof(struct memlane_lane_control, tail) == 128 &&
                  offsetof(struct memlane_lane_control, head) == 256,
              "each side's stores have a pair of lines of their own");
/* Both are even in their generation bits, which no tag is. */
#define MEMLANE_OWNER_NEVER 0u
#define MEMLANE_OWNER_DEPARTED 1u
#define MEMLANE_OWNER_CLOSED 2u

/* A descriptor: 16 bytes, one a record.
 *   state    low half: s mod 2^29, then the kind in 3 bits; high half: the tag when taken, else s >> 29
 *   extent   low half: offset / 8 of the payload in the bytes of the lane; high half: its length */
struct memlane_descriptor {
    _Atomic uint64_t state;
    _Atomic uint64_t extent;
};
static_assert(sizeof(struct memlane_descriptor) == 16, "four descriptors a cache line");

/* A stamp: 8 bytes beside each descriptor, when its record was committed, of some records only (lane.h).
 *   low 39 bits: CLOCK_MONOTONIC_COARSE in ticks of 2^22 ns, which last 73 years; high 25 bits: s mod 2^25, so that one of
 *   another round is not taken for it */
#define MEMLANE_TICK_BITS 22u
#define MEMLANE_STAMP_TICKS_BITS 39u
/* A record whose number is a multiple of it has a stamp whatever it cost. */
#define MEMLANE_STAMP_EACH 16u
enum memlane_state {
    MEMLANE_STATE_NONE = 0, /* nothing, or an uncommitted batch that was voided */
    MEMLANE_STATE_READY = 1,
    MEMLANE_STATE_TAKEN = 2,
    MEMLANE_STATE_FREE = 3,
    MEMLANE_STATE_CLOSED = 4, /* shut down: no record will ever be here */
};

/* ---- slots: geometry = { slots, value_nbytes, copies, watchers, writers } ------------------------
 *
 *   0                 +watchers * 128                    +slots * stride
 *   +-----------------+-------------------------------- - - -+
 *   | watchers        | slot control, stamps, copies | ...   |
 *   +-----------------+-------------------------------- - - -+
 */
struct memlane_watcher {
    _Atomic uint32_t owner; /* tag of the process whose thread waits here */
    uint32_t reserved;
    alignas(64) struct memlane_doorbell doorbell;
};
static_assert(sizeof(struct memlane_watcher) == 128, "layout: see docs/layout.md");
#define MEMLANE_WATCHERS_MAX 64u /* one bit each in `armed` */

struct memlane_slot_control {
    _Atomic uint64_t sequence; /* 2v: version v is the latest; 2v + 1: version v + 1 is being written */
    _Atomic uint64_t armed; /* one bit a watcher that waits for this slot */
    _Atomic uint32_t writer; /* tag */
    uint32_t reserved;
    uint64_t unused[5];
};
static_assert(sizeof(struct memlane_slot_control) == 64, "readers fetch one line before the copy");

/* One for each copy, apart from the values: who reads a value fetches no line for what few ask for, and a value of 64
 * bytes is one line. */
struct memlane_copy_stamp {
    _Atomic uint64_t published_ns; /* CLOCK_BOOTTIME */
    _Atomic uint64_t boot; /* hash of the boot id: after a reboot the time means nothing */
};
static_assert(sizeof(struct memlane_copy_stamp) == 16, "layout: see docs/layout.md");

/* ---- counter: geometry = { 0 } -------------------------------------------------------------- */
struct memlane_counter {
    _Atomic int64_t value;
};

/* What the functions of src/core return. One function of the binding turns it into Python. */
enum memlane_status {
    MEMLANE_OK = 0,
    MEMLANE_FULL, /* no room now */
    MEMLANE_EMPTY, /* nothing now */
    MEMLANE_CLOSED, /* shut down: never again */
    MEMLANE_TOO_LARGE, /* can never fit */
    MEMLANE_CORRUPTED, /* shared bytes that no sound program writes, seen twice */
    MEMLANE_BUSY, /* another one was faster, or a claim is open: look again */
    MEMLANE_LOST, /* the role is no longer ours: we were taken for dead */
    /* of a header, see region.h */
    MEMLANE_TRUNCATED,
    MEMLANE_FOREIGN,
    MEMLANE_OLDER,
    MEMLANE_NEWER,
    MEMLANE_UNKNOWN_FEATURES,
};

#endif
