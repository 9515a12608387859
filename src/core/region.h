/* SPDX-License-Identifier: MIT
 *
 * The header and the directory of a region: what is checked before anything else is believed, and where
 * the parts of an object lie.
 *
 * A header or an entry is copied once into private memory, checked there, and the copy is used. Adding an
 * entry is done by one process at a time (the kernel's lock on the creation byte); the entry is complete
 * before `count` counts it, so readers need no lock.
 */
#ifndef MEMLANE_REGION_H
#define MEMLANE_REGION_H

#include <stdbool.h>
#include <string.h>

#include "core/layout.h"

/* `unit` is a power of two. */
static inline uint64_t memlane_round_up(uint64_t nbytes, uint64_t unit) {
    return (nbytes + unit - 1) & ~(unit - 1);
}

static inline uint64_t memlane_align(uint64_t nbytes) { return memlane_round_up(nbytes, MEMLANE_ALIGNMENT); }

static inline bool memlane_range_fits(uint64_t offset, uint64_t nbytes, uint64_t whole) {
    return offset <= whole && nbytes <= whole - offset;
}

/* Fill in the sections of a new header for `objects_nbytes` of objects.
 * Callers: a creator, on private memory. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_header_lay_out(struct memlane_header *header, uint64_t objects_nbytes) {
    header->magic = MEMLANE_MAGIC;
    header->layout_version = MEMLANE_LAYOUT_VERSION;
    header->layout_draft = MEMLANE_LAYOUT_DRAFT;
    header->features = MEMLANE_FEATURES;
    header->table_offset = sizeof(struct memlane_header);
    header->rows = MEMLANE_ROWS_MAX;
    header->row_nbytes = sizeof(struct memlane_row);
    header->directory_offset = header->table_offset + (uint64_t)header->rows * header->row_nbytes;
    header->entries = MEMLANE_ENTRIES_MAX;
    header->entry_nbytes = sizeof(struct memlane_entry);
    header->objects_offset = header->directory_offset + (uint64_t)header->entries * header->entry_nbytes;
    header->nbytes = header->objects_offset + memlane_align(objects_nbytes);
}

/* Judge a private copy of a header, given the length of the file it came from.
 *
 * Callers:  anyone, before anything else of a region is looked at.
 * Progress: wait-free.
 * Ordering: none; these words never change once a region can be seen.
 * Returns:  MEMLANE_OK: all sections lie inside the file, in order, and have our sizes; MEMLANE_TRUNCATED,
 *           MEMLANE_FOREIGN, MEMLANE_OLDER, MEMLANE_NEWER, MEMLANE_UNKNOWN_FEATURES, MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_header_check(const struct memlane_header *header,
                                                       uint64_t file_nbytes) {
    if (header->magic != MEMLANE_MAGIC)
        return MEMLANE_FOREIGN;
    const uint64_t ours = (uint64_t)MEMLANE_LAYOUT_VERSION << 32 | MEMLANE_LAYOUT_DRAFT;
    const uint64_t found = (uint64_t)header->layout_version << 32 | header->layout_draft;
    if (found != ours)
        return found < ours ? MEMLANE_OLDER : MEMLANE_NEWER;
    if (header->features & ~MEMLANE_FEATURES)
        return MEMLANE_UNKNOWN_FEATURES;
    if (header->nbytes > file_nbytes)
        return MEMLANE_TRUNCATED;
    if (header->nbytes != file_nbytes || header->nbytes > UINT64_C(1) << 60)
        return MEMLANE_CORRUPTED;
    if (header->rows == 0 || header->rows > MEMLANE_ROWS_MAX ||
        header->row_nbytes != sizeof(struct memlane_row) ||
        header->table_offset != sizeof(struct memlane_header))
        return MEMLANE_CORRUPTED;
    if (header->entries == 0 || header->entries > MEMLANE_ENTRIES_MAX ||
        header->entry_nbytes != sizeof(struct memlane_entry) ||
        header->directory_offset != header->table_offset + (uint64_t)header->rows * header->row_nbytes)
        return MEMLANE_CORRUPTED;
    if (header->objects_offset !=
            header->directory_offset + (uint64_t)header->entries * header->entry_nbytes ||
        header->objects_offset % MEMLANE_ALIGNMENT || header->objects_offset > header->nbytes)
        return MEMLANE_CORRUPTED;
    if (header->backing < MEMLANE_BACKING_NAMED || header->backing > MEMLANE_BACKING_ANONYMOUS ||
        header->permissions > 0777)
        return MEMLANE_CORRUPTED;
    return MEMLANE_OK;
}

/* How many entries may be looked at.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: 0 to `entries`. */
static inline uint64_t memlane_directory_count(const struct memlane_header *shared, uint32_t entries) {
    /* sync: directory.count. acquire: the entries below it are complete; pairs with memlane_directory_add */
    uint64_t count = atomic_load_explicit(&shared->count, memory_order_acquire);
    return count < entries ? count : entries;
}

/* Judge a private copy of an entry against the private geometry of its region.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: MEMLANE_OK or MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_entry_check(const struct memlane_header *geometry,
                                                      const struct memlane_entry *entry) {
    bool sound = entry->name[0] != '\0' && memchr(entry->name, '\0', sizeof entry->name) != NULL &&
                 entry->offset % MEMLANE_ALIGNMENT == 0 && entry->offset >= geometry->objects_offset &&
                 memlane_range_fits(entry->offset, entry->nbytes, geometry->nbytes) &&
                 entry->schema_nbytes <= sizeof entry->schema;
    return sound ? MEMLANE_OK : MEMLANE_CORRUPTED;
}

/* Write entry `index` and count it.
 *
 * Callers:  the holder of the creation byte; the entry's page and its object are reserved and initialised.
 * Progress: wait-free.
 * Ordering: release.
 * Returns:  nothing.
 * If the process dies before the last store: nobody sees the entry, the next one overwrites it. */
static inline void memlane_directory_add(struct memlane_header *shared, const struct memlane_header *geometry,
                                         uint64_t index, const struct memlane_entry *entry) {
    unsigned char *directory = (unsigned char *)shared + geometry->directory_offset;
    memcpy(directory + index * sizeof *entry, entry, sizeof *entry);
    /* sync: directory.count. release: the entry and its object are complete; pairs with
     * memlane_directory_count. Without it an opener could use half an entry. */
    atomic_store_explicit(&shared->count, index + 1, memory_order_release);
}

/* Say who holds the creation byte, for the error text of those who wait for it; 0: nobody.
 * Callers: the holder. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_creation_note(struct memlane_header *shared, uint32_t pid) {
    /* relaxed: for people to read; the kernel's lock decides */
    atomic_store_explicit(&shared->creation_pid, pid, memory_order_relaxed);
}

static inline uint32_t memlane_creation_holder(const struct memlane_header *shared) {
    /* relaxed: for people to read */
    return atomic_load_explicit(&shared->creation_pid, memory_order_relaxed);
}

/* ---- where the parts of an object lie ---------------------------------------------------------- */

struct memlane_ring_shape {
    uint64_t lanes;
    uint64_t capacity; /* of bytes, each lane */
    uint64_t records; /* at most, each lane */
    uint64_t descriptors; /* N, each lane */
    uint64_t data_offset; /* of lane 0's descriptors, in the object */
    uint64_t bytes_offset; /* of a lane's bytes, from its descriptors */
    uint64_t data_nbytes; /* descriptors and bytes of one lane */
    uint64_t nbytes; /* of the whole object */
};

/* Compute the shape of a ring. Every bound is small enough that nothing here can overflow.
 * Callers: anyone. Progress: bounded by 24 steps. Ordering: none. Returns: false: the geometry is out of range. */
static inline bool memlane_ring_lay_out(struct memlane_ring_shape *shape, uint64_t lanes, uint64_t capacity,
                                        uint64_t records) {
    if (lanes == 0 || lanes > MEMLANE_LANES_MAX || capacity == 0 || capacity % MEMLANE_ALIGNMENT ||
        capacity > MEMLANE_CAPACITY_MAX || records == 0 || records > MEMLANE_DESCRIPTORS_MAX)
        return false;
    uint64_t descriptors = 1;
    while (descriptors < records)
        descriptors *= 2;
    shape->lanes = lanes;
    shape->capacity = capacity;
    shape->records = records;
    shape->descriptors = descriptors;
    shape->data_offset =
        memlane_align(sizeof(struct memlane_ring_control) + lanes * sizeof(struct memlane_lane_control));
    shape->bytes_offset = memlane_align(descriptors * sizeof(struct memlane_descriptor));
    shape->data_nbytes = shape->bytes_offset + capacity;
    shape->nbytes = shape->data_offset + lanes * shape->data_nbytes;
    return true;
}

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
static inline bool memlane_slots_lay_out(struct memlane_slots_shape *shape, uint64_t slots,
                                         uint64_t value_nbytes, uint64_t copies, uint64_t watchers,
                                         uint64_t writers) {
    if (slots == 0 || slots > UINT64_C(1) << 20 || value_nbytes > UINT64_C(1) << 32 || copies < 2 ||
        copies > 256 || (copies & (copies - 1)) || watchers > MEMLANE_WATCHERS_MAX || writers < 1 ||
        writers > 2)
        return false;
    shape->slots = slots;
    shape->value_nbytes = value_nbytes;
    shape->copies = copies;
    shape->watchers = watchers;
    shape->writers = writers;
    shape->slots_offset = watchers * sizeof(struct memlane_watcher);
    shape->copies_offset =
        sizeof(struct memlane_slot_control) +
        memlane_round_up(copies * sizeof(struct memlane_copy_stamp), MEMLANE_LINE);
    shape->copy_stride = memlane_round_up(value_nbytes, MEMLANE_LINE);
    shape->slot_stride = shape->copies_offset + copies * shape->copy_stride;
    shape->nbytes = shape->slots_offset + slots * shape->slot_stride;
    return true;
}

#endif
