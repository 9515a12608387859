/* SPDX-License-Identifier: MIT
 *
 * The bytes of a slot and of a table of slots, and where their parts lie.
 */
#ifndef MEMLANE_SLOT_LAYOUT_H
#define MEMLANE_SLOT_LAYOUT_H

#include "core/layout.h"

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
    _Atomic uint32_t selectors; /* the upper half of a word of waiters: those that wait by a descriptor */
    uint64_t unused[5];
};
static_assert(sizeof(struct memlane_slot_control) == 64, "readers fetch one line before the copy");

/* One for each copy, apart from the values: a process that reads a value fetches no line for what few ask for, and a
 * value of 64 bytes is one line. */
struct memlane_copy_stamp {
    _Atomic uint64_t published_ns; /* CLOCK_BOOTTIME */
    _Atomic uint64_t boot; /* hash of the boot id: after a reboot the time means nothing */
};
static_assert(sizeof(struct memlane_copy_stamp) == 16, "layout: see docs/layout.md");

struct memlane_slots_shape {
    uint64_t slots;
    uint64_t value_nbytes;
    uint64_t copies; /* K */
    uint64_t watchers;
    uint64_t writers; /* 1: a role; 2: many, one at a time */
    uint64_t slots_offset; /* of slot 0, in the object */
    uint64_t copies_offset; /* of copy 0, in a slot; the stamps are between the control and it */
    uint64_t copy_stride;
    uint64_t slot_stride;
    uint64_t nbytes;
};

/* Compute the shape of a slot or a table of slots.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: false: the geometry is out of range. */
static inline bool memlane_slots_lay_out(struct memlane_slots_shape *shape, uint64_t slots, uint64_t value_nbytes,
                                         uint64_t copies, uint64_t watchers, uint64_t writers) {
    if (slots == 0 || slots > UINT64_C(1) << 20 || value_nbytes > UINT64_C(1) << 32 || copies < 2 || copies > 256 ||
        (copies & (copies - 1)) || watchers > MEMLANE_WATCHERS_MAX || writers < 1 || writers > 2)
        return false;
    shape->slots = slots;
    shape->value_nbytes = value_nbytes;
    shape->copies = copies;
    shape->watchers = watchers;
    shape->writers = writers;
    shape->slots_offset = watchers * sizeof(struct memlane_watcher);
    shape->copies_offset = sizeof(struct memlane_slot_control) +
                           memlane_round_up(copies * sizeof(struct memlane_copy_stamp), MEMLANE_LINE);
    shape->copy_stride = memlane_round_up(value_nbytes, MEMLANE_LINE);
    shape->slot_stride = shape->copies_offset + copies * shape->copy_stride;
    shape->nbytes = shape->slots_offset + slots * shape->slot_stride;
    return true;
}

/* Tell where the doorbells of slots are: none is made with them, each watcher's is made by its first waiter.
 * Callers: anyone, on private memory. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_slots_tell_doorbells(uint64_t watchers, struct memlane_doorbells *at_once,
                                                struct memlane_doorbells *later) {
    at_once->offset = at_once->stride = at_once->count = 0;
    later->offset = offsetof(struct memlane_watcher, doorbell);
    later->stride = sizeof(struct memlane_watcher);
    later->count = (uint32_t)watchers;
}

#endif
