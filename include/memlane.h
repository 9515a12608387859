/* SPDX-License-Identifier: MIT
 *
 * memlane for C: rings, slots and counters in shared memory, with peers in Python, C and what calls C.
 *
 * A region is opened or made, an object in it is opened or made, its verbs are called. docs/c.md has a section for each
 * function.
 *
 * Answers: 0 (MLANE_OK) or a negative number: one of enum mlane_code, or the negative of an errno (-ENOENT: there is no
 * such name; -EEXIST, -EACCES, -ENOSPC...). mlane_error_text says what each means. Nothing is done by a call that fails,
 * unless its section says otherwise.
 *
 * Threads: all functions may be called by several threads at once, also on one handle. Only a close must be the last call
 * on its handle. A child of fork goes on with the handles of its parent, under a place of its own in the region, unless
 * another thread was inside a call on that handle during the fork.
 *
 * Signals: the library handles SIGBUS, so that a file which somebody cuts off is an error (MLANE_TRUNCATED) instead of a
 * death. A SIGBUS of another origin goes to the handler that was there before.
 */
#ifndef MEMLANE_H
#define MEMLANE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(MLANE_BUILDS_LIBRARY)
#define MLANE_API __attribute__((visibility("default")))
#else
#define MLANE_API
#endif

enum mlane_code {
    MLANE_OK = 0,
    MLANE_FULL = -10001, /* no room in the ring until the timeout */
    MLANE_EMPTY = -10002, /* nothing to get until the timeout, or nothing was published yet */
    MLANE_ROLE_TAKEN = -10003, /* living processes have all lanes, or the place of the one consumer or writer */
    MLANE_SHUT_DOWN = -10004, /* the ring was shut down, and is drained */
    MLANE_TOO_LARGE = -10005, /* the record can never fit, or the buffer is too small for it */
    MLANE_LOST = -10006, /* this process was taken for dead, since its descriptors were closed; open the region again */
    MLANE_TRUNCATED = -10007, /* somebody has cut the file off */
    MLANE_CORRUPTED = -10008, /* shared bytes that no sound program writes */
    MLANE_FOREIGN = -10009, /* the file is no region of memlane */
    MLANE_OLDER = -10010, /* the region has an older layout than this library */
    MLANE_NEWER = -10011, /* the region has a newer layout than this library */
    MLANE_UNKNOWN_FEATURES = -10012, /* the region needs what this library does not have */
    MLANE_REMOVED = -10013, /* the object was removed; open what is there now */
    MLANE_OTHER_KIND = -10014, /* the object is of another kind */
    MLANE_OTHER_GEOMETRY = -10015, /* the object exists with another geometry */
    MLANE_WRONG_LENGTH = -10016, /* the value has another length than the values of the slot */
    MLANE_NO_SPACE = -10017, /* the region or its directory has no space for the object */
};

/* A text for a code: a sentence without a full stop. Of an unknown code a text, too; never NULL. Valid for ever. */
MLANE_API const char *mlane_error_text(int code);

/* The version of the library, "1.2.3". */
MLANE_API const char *mlane_version(void);

/* Timeouts are nanoseconds. */
#define MLANE_FOREVER INT64_C(-1)
#define MLANE_NOW INT64_C(0)

/* ---- regions ---------------------------------------------------------------------------------------- */

typedef struct mlane_region mlane_region;

enum mlane_flags {
    MLANE_READ_ONLY = 1, /* slots and counters can be read, nothing can be changed */
    MLANE_ANY_OWNER = 2, /* the file may belong to any user; otherwise to this one or to root */
};

MLANE_API int mlane_open(const char *name, unsigned flags, mlane_region **region);
MLANE_API int mlane_open_descriptor(int descriptor, unsigned flags, mlane_region **region);
MLANE_API int mlane_create(const char *name, uint64_t nbytes, unsigned permissions, mlane_region **region);
MLANE_API int mlane_join(mlane_region *region);
MLANE_API int mlane_descriptor(const mlane_region *region);
MLANE_API int mlane_unlink(mlane_region *region);
MLANE_API void mlane_close(mlane_region *region);

/* ---- rings: every record to exactly one consumer, in order per producer ------------------------------- */

typedef struct mlane_ring mlane_ring;

struct mlane_ring_options {
    uint64_t capacity; /* bytes of each producer, rounded up to 4096 */
    uint32_t producers; /* at most so many at once; 0: 16 */
    uint32_t many_consumers; /* 0: one consumer; 1: many */
    uint64_t records; /* at most, of each producer; 0: one for each 64 bytes */
};

MLANE_API int mlane_ring_open(mlane_region *region, const char *name, mlane_ring **ring);
MLANE_API int mlane_ring_create(mlane_region *region, const char *name, const struct mlane_ring_options *options,
                                mlane_ring **ring);
MLANE_API int mlane_ring_put(mlane_ring *ring, const void *record, size_t nbytes, int64_t timeout_ns);
MLANE_API int mlane_ring_get(mlane_ring *ring, void *buffer, size_t room, size_t *nbytes, int64_t timeout_ns);
MLANE_API int mlane_ring_shutdown(mlane_ring *ring, int immediate);
MLANE_API size_t mlane_ring_max_record(const mlane_ring *ring);
MLANE_API void mlane_ring_close(mlane_ring *ring);

/* ---- slots: the latest value, never torn -------------------------------------------------------------- */

typedef struct mlane_slot mlane_slot;

struct mlane_slot_options {
    uint64_t nbytes; /* of a value */
    uint32_t copies; /* a power of two from 2 on; 0: 4 */
    uint32_t many_writers; /* 0: one writer; 1: many, one at a time */
};

MLANE_API int mlane_slot_open(mlane_region *region, const char *name, mlane_slot **slot);
MLANE_API int mlane_slot_create(mlane_region *region, const char *name, const struct mlane_slot_options *options,
                                mlane_slot **slot);
MLANE_API size_t mlane_slot_nbytes(const mlane_slot *slot);
MLANE_API int mlane_slot_publish(mlane_slot *slot, const void *value, size_t nbytes, uint64_t *version);
MLANE_API int mlane_slot_read(mlane_slot *slot, void *value, size_t nbytes, uint64_t *version);
MLANE_API int mlane_slot_wait_newer(mlane_slot *slot, uint64_t seen, void *value, size_t nbytes, uint64_t *version,
                                    int64_t timeout_ns);
MLANE_API void mlane_slot_close(mlane_slot *slot);

/* ---- counters ------------------------------------------------------------------------------------------ */

typedef struct mlane_counter mlane_counter;

MLANE_API int mlane_counter_open(mlane_region *region, const char *name, mlane_counter **counter);
MLANE_API int mlane_counter_create(mlane_region *region, const char *name, mlane_counter **counter);
MLANE_API int mlane_counter_value(mlane_counter *counter, int64_t *value);
MLANE_API int mlane_counter_add(mlane_counter *counter, int64_t amount, int64_t *value);
MLANE_API int mlane_counter_exchange(mlane_counter *counter, int64_t value, int64_t *before);
MLANE_API int mlane_counter_compare_exchange(mlane_counter *counter, int64_t expected, int64_t value, int *done);
MLANE_API void mlane_counter_close(mlane_counter *counter);

#ifdef __cplusplus
}
#endif

#endif
