/* SPDX-License-Identifier: MIT
 *
 * The bytes of a record that is a Python object, where they are not the stream of a pickle alone, which begins with 0x80.
 */
#ifndef MEMLANE_OBJECTS_LAYOUT_H
#define MEMLANE_OBJECTS_LAYOUT_H

#include <assert.h>
#include <stdint.h>

/* The first byte of a record says what the rest is. */
enum memlane_object_form {
    MEMLANE_OBJECT_BUFFERS = 1, /* a pickle with its buffers behind it */
    MEMLANE_OBJECT_BYTES = 2, /* these and the following: what the codec of that name made */
    MEMLANE_OBJECT_JSON = 3,
    MEMLANE_OBJECT_MSGSPEC = 4,
    MEMLANE_OBJECT_OTHER = 5, /* a pair of functions */
    MEMLANE_OBJECT_PICKLE = 0x80,
};

/* ---- a pickle with buffers ------------------------------------------------------------------------
 *
 *   0        24            +count * 8         +stream      first, address aligned to 64
 *   +--------+-------------+------------------+-- - - -----+----------+- - -+----------+
 *   | head   | nbytes of   | stream, a pickle | nothing    | buffer 0 |     | buffer 1 | ...
 *   |        | each buffer | of protocol 5    |            |          |     |          |
 *   +--------+-------------+------------------+-- - - -----+----------+- - -+----------+
 */
struct memlane_object_head {
    uint8_t form;
    uint8_t unused[3];
    uint32_t count; /* of buffers */
    uint64_t stream; /* bytes */
    uint64_t
        first; /* where buffer 0 lies in the record; each further one at the next multiple of 64 behind the one before */
};
static_assert(sizeof(struct memlane_object_head) == 24, "layout: see docs/layout.md");
#define MEMLANE_OBJECT_ALIGNMENT 64u

#endif
