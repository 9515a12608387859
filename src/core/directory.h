/* SPDX-License-Identifier: MIT
 *
 * The header and the directory of a region: what is checked before anything else is believed.
 *
 * A header or an entry is copied once into private memory, checked there, and the copy is used. Adding and
 * removing is done by one process at a time (the kernel's lock on the creation byte). Readers need no lock: an
 * entry is complete before its sequence says that it is valid, and a reader that has copied one looks at the sequence
 * again.
 *
 *   sequence   FREE -> WRITING -> VALID -> REMOVED -> FREE -> ...      each step adds 1; nothing ever subtracts
 *
 * The step to REMOVED is one store, and the whole of a removal: from then on there is no object of that name, and a
 * process that has it open finds another number than the one it opened. The room is another matter. A process
 * write-protects it by a read lock of the kernel on the entry's byte for as long as it may write there; so whoever
 * finds no lock on the byte of a removed entry (REMOVED first, then the look at the lock; the other side locks, then
 * looks at the sequence) knows that nobody writes there any more, and nobody ever will.
 *
 * If a process dies at the worst moment: in WRITING, the next adder takes the entry for free; between REMOVED and FREE,
 * the next holder of the creation byte looks at the lock again.
 */
#ifndef MEMLANE_DIRECTORY_H
#define MEMLANE_DIRECTORY_H

#include <stdbool.h>
#include <string.h>

#include "core/layout.h"

static inline uint64_t memlane_selectors_offset(const struct memlane_header *geometry) {
    return geometry->table_offset + (uint64_t)geometry->rows * geometry->row_nbytes;
}

/* The table of selectors, whose length is `selectors` of the private copy.
 * Callers: anyone, once the header is checked. Progress: wait-free. Returns: the first one. */
static inline struct memlane_selector *memlane_selectors_of(struct memlane_header *shared,
                                                            const struct memlane_header *geometry) {
    return (struct memlane_selector *)(void *)((unsigned char *)shared + memlane_selectors_offset(geometry));
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
    header->selectors = MEMLANE_SELECTORS_MAX;
    header->directory_offset =
        memlane_selectors_offset(header) + (uint64_t)header->selectors * sizeof(struct memlane_selector);
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
static inline enum memlane_status memlane_header_check(const struct memlane_header *header, uint64_t file_nbytes) {
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
    if (header->rows == 0 || header->rows > MEMLANE_ROWS_MAX || header->row_nbytes != sizeof(struct memlane_row) ||
        header->table_offset != sizeof(struct memlane_header))
        return MEMLANE_CORRUPTED;
    if (header->entries == 0 || header->entries > MEMLANE_ENTRIES_MAX ||
        header->entry_nbytes != sizeof(struct memlane_entry))
        return MEMLANE_CORRUPTED;
    if (header->selectors > MEMLANE_SELECTORS_MAX ||
        header->directory_offset !=
            memlane_selectors_offset(header) + (uint64_t)header->selectors * sizeof(struct memlane_selector))
        return MEMLANE_CORRUPTED;
    if (header->objects_offset != header->directory_offset + (uint64_t)header->entries * header->entry_nbytes ||
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
    /* sync: directory.count. acquire: the entries below it have their memory; pairs with memlane_directory_add */
    uint64_t count = atomic_load_explicit(&shared->count, memory_order_acquire);
    return count < entries ? count : entries;
}

static inline struct memlane_entry *memlane_entry_at(struct memlane_header *shared,
                                                     const struct memlane_header *geometry, uint64_t index) {
    return (struct memlane_entry *)(void *)((unsigned char *)shared + geometry->directory_offset) + index;
}

static inline enum memlane_entry_state memlane_entry_state_of(uint64_t sequence) {
    return (enum memlane_entry_state)(sequence & 3);
}

/* How often an entry is copied again that changes meanwhile; arbitrary: an object would have to be removed and
 * another one made, each time in a microsecond. */
#define MEMLANE_ENTRY_LOOKS 4

/* Word `i` of an entry, which a writer may store at the same time; the sequence is none of these. */
static inline _Atomic uint64_t *memlane_entry_word(struct memlane_entry *entry, size_t i) {
    return (_Atomic uint64_t *)(void *)entry + i;
}

#define MEMLANE_ENTRY_WORDS (sizeof(struct memlane_entry) / sizeof(uint64_t))
#define MEMLANE_ENTRY_SEQUENCE_WORD (offsetof(struct memlane_entry, sequence) / sizeof(uint64_t))

/* Copy an entry that is valid or removed.
 *
 * Callers:  anyone.
 * Progress: bounded by MEMLANE_ENTRY_LOOKS copies.
 * Ordering: acquire: the object is complete.
 * Returns:  the sequence under which `entry` is whole. FREE, WRITING or not whole within the bound: `entry` is rubbish,
 *           and the number is one of such a state. */
static inline uint64_t memlane_entry_read(struct memlane_entry *shared, struct memlane_entry *entry) {
    for (int look = 0; look < MEMLANE_ENTRY_LOOKS; look++) {
        /* sync: entry.sequence. acquire: the words and the object are complete; pairs with memlane_entry_write */
        uint64_t sequence = atomic_load_explicit(&shared->sequence, memory_order_acquire);
        if (memlane_entry_state_of(sequence) < MEMLANE_ENTRY_VALID)
            return sequence;
        for (size_t i = 0; i < MEMLANE_ENTRY_WORDS; i++) {
            /* relaxed: the fence below orders them; the copy is thrown away if a writer came between */
            uint64_t word = atomic_load_explicit(memlane_entry_word(shared, i), memory_order_relaxed);
            memcpy((unsigned char *)entry + i * sizeof word, &word, sizeof word);
        }
        /* sync: entry.sequence (writing). acquire fence: the words were loaded before the second look; pairs with the
         * release fence in memlane_entry_write. Without it half of two entries could pass. */
        atomic_thread_fence(memory_order_acquire);
        /* relaxed: the fence has done the ordering */
        if (atomic_load_explicit(&shared->sequence, memory_order_relaxed) == sequence)
            return sequence;
    }
    return MEMLANE_ENTRY_WRITING;
}

/* Whether doorbells that an entry tells of lie in its object.
 * Callers: anyone, on private memory. Progress: wait-free. Ordering: none. Returns: false: no sound program says that. */
static inline bool memlane_doorbells_fit(const struct memlane_doorbells *told, uint64_t object_nbytes) {
    const uint64_t one = sizeof(struct memlane_doorbell);
    if (told->count == 0)
        return true;
    return told->count <= MEMLANE_DOORBELLS_MAX && told->offset % one == 0 && told->stride >= one &&
           told->stride % one == 0 &&
           memlane_range_fits(told->offset, (uint64_t)(told->count - 1) * told->stride + one, object_nbytes);
}

/* Judge a private copy of an entry against the private geometry of its region.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: MEMLANE_OK or MEMLANE_CORRUPTED. */
static inline enum memlane_status memlane_entry_check(const struct memlane_header *geometry,
                                                      const struct memlane_entry *entry) {
    bool sound = entry->name[0] != '\0' && memchr(entry->name, '\0', sizeof entry->name) != NULL &&
                 entry->offset % MEMLANE_ALIGNMENT == 0 && entry->offset >= geometry->objects_offset &&
                 memlane_range_fits(entry->offset, entry->nbytes, geometry->nbytes) &&
                 entry->schema_nbytes <= sizeof entry->schema &&
                 memlane_doorbells_fit(&entry->doorbells_at_once, entry->nbytes) &&
                 memlane_doorbells_fit(&entry->doorbells_later, entry->nbytes);
    return sound ? MEMLANE_OK : MEMLANE_CORRUPTED;
}

/* Find an entry that can be written: one that is free, or whose writer has died.
 * Callers: the holder of the creation byte. Progress: bounded by `count`. Ordering: none, the lock has done it.
 * Returns: 0 to `count`; `count` may be all entries there are: then the directory is full. */
static inline uint64_t memlane_directory_pick(struct memlane_header *shared, const struct memlane_header *geometry,
                                              uint64_t count) {
    uint64_t index = 0;
    /* relaxed: only holders of the creation byte change it */
    while (index < count &&
           memlane_entry_state_of(atomic_load_explicit(&memlane_entry_at(shared, geometry, index)->sequence,
                                                       memory_order_relaxed)) >= MEMLANE_ENTRY_VALID)
        index++;
    return index;
}

/* Write an entry that is not valid.
 *
 * Callers:  the holder of the creation byte; the entry's page and its object are reserved and initialized.
 * Progress: wait-free.
 * Ordering: release.
 * Returns:  its sequence from now on.
 * If the process dies before the last store: the entry is WRITING, which nobody looks at and the next adder takes. */
static inline uint64_t memlane_entry_write(struct memlane_entry *shared, const struct memlane_entry *entry) {
    /* relaxed: only holders of the creation byte change it */
    uint64_t found = atomic_load_explicit(&shared->sequence, memory_order_relaxed);
    uint64_t writing = ((found + 3) & ~UINT64_C(3)) | MEMLANE_ENTRY_WRITING;
    /* relaxed: the fence below orders it before the words */
    atomic_store_explicit(&shared->sequence, writing, memory_order_relaxed);
    /* sync: entry.sequence (writing). release fence: a process that reads even one of the new words sees this number
     * too, or a later one; pairs with the acquire fence in memlane_entry_read */
    atomic_thread_fence(memory_order_release);
    for (size_t i = 0; i < MEMLANE_ENTRY_WORDS; i++) {
        uint64_t word;
        memcpy(&word, (const unsigned char *)entry + i * sizeof word, sizeof word);
        if (i != MEMLANE_ENTRY_SEQUENCE_WORD)
            /* relaxed: ordered by the fence above and the store below */
            atomic_store_explicit(memlane_entry_word(shared, i), word, memory_order_relaxed);
    }
    /* sync: entry.sequence. release: the entry and its object are complete; pairs with memlane_entry_read. Without it
     * an opener could use half an entry, or an object that is not set up. */
    atomic_store_explicit(&shared->sequence, writing + 1, memory_order_release);
    return writing + 1;
}

/* Write entry `index`, and have it looked at.
 * Callers, Progress, Ordering, Returns: as memlane_entry_write.
 * If the process dies before the count: a valid entry is behind it, which the next adder takes for one to be written. */
static inline uint64_t memlane_directory_add(struct memlane_header *shared, const struct memlane_header *geometry,
                                             uint64_t index, const struct memlane_entry *entry) {
    uint64_t sequence = memlane_entry_write(memlane_entry_at(shared, geometry, index), entry);
    if (index >= memlane_directory_count(shared, geometry->entries))
        /* sync: directory.count. release: pairs with memlane_directory_count. Without it an opener could look at an
         * entry whose page is not there. */
        atomic_store_explicit(&shared->count, index + 1, memory_order_release);
    return sequence;
}

/* Remove an object: the one step that counts.
 *
 * Callers:  the holder of the creation byte, who found the entry valid under `sequence`.
 * Progress: wait-free.
 * Ordering: seq_cst: before the caller's look at the lock on the entry's byte, and before it wakes who sleeps there.
 * Returns:  true; false: it is not that object any more. */
static inline bool memlane_entry_remove(struct memlane_entry *shared, uint64_t sequence) {
    /* sync: entry.sequence (removed). seq_cst: pairs with memlane_entry_stands and memlane_entry_stands_ordered.
     * Without it one that has just locked the byte takes the object for there, and we take the byte for free. Failure
     * relaxed: nothing was done. */
    return atomic_compare_exchange_strong_explicit(&shared->sequence, &sequence, sequence + 1, memory_order_seq_cst,
                                                   memory_order_relaxed);
}

/* Say that the room of a removed object is free.
 * Callers: the holder of the creation byte, who found no lock on the byte of the entry after it was removed.
 * Progress: wait-free. Ordering: release. Returns: nothing: one that is not removed stays what it is. */
static inline void memlane_entry_free(struct memlane_entry *shared) {
    /* relaxed: only holders of the creation byte change it */
    uint64_t found = atomic_load_explicit(&shared->sequence, memory_order_relaxed);
    if (memlane_entry_state_of(found) == MEMLANE_ENTRY_REMOVED)
        /* sync: entry.sequence (removed). release: as the step before, for those that come so late */
        atomic_store_explicit(&shared->sequence, found + 1, memory_order_release);
}

/* Whether an object is still the one that was opened under `sequence`.
 * Callers: anyone, at each call. Progress: wait-free. Ordering: none. Returns: false: removed, for good. */
static inline bool memlane_entry_stands(const struct memlane_entry *shared, uint64_t sequence) {
    /* relaxed: a call that began before the removal may go on; that its memory is not used again meanwhile is up to the
     * lock on the entry's byte */
    return atomic_load_explicit(&shared->sequence, memory_order_relaxed) == sequence;
}

/* The same after a copy by one who holds no lock on the byte, and in the second look of a sleeper.
 * Callers: anyone. Progress: wait-free. Ordering: acquire of what was loaded before, seq_cst. Returns: false: removed,
 * and the copy may be of another object. */
static inline bool memlane_entry_stands_ordered(const struct memlane_entry *shared, uint64_t sequence) {
    /* sync: entry.sequence (removed). acquire fence: the copy was made before this look; pairs with the release fence
     * in memlane_room_begin. Without it a reader could take words of the next object for this one's. */
    atomic_thread_fence(memory_order_acquire);
    /* seq_cst: after the caller's lock of the byte, or its announcement; pairs with memlane_entry_remove */
    return atomic_load_explicit(&shared->sequence, memory_order_seq_cst) == sequence;
}

/* ---- room for an object ---------------------------------------------------------------------- */

/* Bytes of a region that are taken: whole units of MEMLANE_ALIGNMENT. */
struct memlane_room {
    uint64_t offset;
    uint64_t end;
};

/* Note the room of an entry that was checked, in order of the offsets. `rooms` has place for it.
 * Callers: the holder of the creation byte, on private memory. Progress: bounded by *count, 1 step where entries come
 * in order. Returns: nothing. */
static inline void memlane_room_note(struct memlane_room *rooms, size_t *count, const struct memlane_entry *entry) {
    struct memlane_room room = {entry->offset, memlane_align(entry->offset + entry->nbytes)};
    size_t at = (*count)++;
    for (; at > 0 && rooms[at - 1].offset > room.offset; at--)
        rooms[at] = rooms[at - 1];
    rooms[at] = room;
}

/* Find the first gap of `nbytes` between what is taken, from `begin` up to `end`.
 * Callers: as above. Progress: bounded by `count`. Ordering: none.
 * Returns: true and where; false: none is large enough, *offset is the length of the largest one. */
static inline bool memlane_room_find(const struct memlane_room *rooms, size_t count, uint64_t begin, uint64_t end,
                                     uint64_t nbytes, uint64_t *offset) {
    uint64_t largest = 0;
    for (size_t i = 0; i <= count; i++) {
        uint64_t until = i < count && rooms[i].offset < end ? rooms[i].offset : end;
        uint64_t gap = until > begin ? until - begin : 0;
        if (gap >= nbytes && begin < end) {
            *offset = begin;
            return true;
        }
        largest = gap > largest ? gap : largest;
        if (i < count &&
            rooms[i].end > begin) /* of two that overlap, which only corrupted bytes say, the farther end */
            begin = rooms[i].end;
    }
    *offset = largest;
    return false;
}

/* Before anything is written into a gap.
 * Callers: the holder of the creation byte. Progress: wait-free. Ordering: release fence. Returns: nothing. */
static inline void memlane_room_begin(void) {
    /* sync: entry.sequence (removed). release fence: a process that loads anything of ours sees the removal of what was
     * here before; pairs with memlane_entry_stands_ordered */
    atomic_thread_fence(memory_order_release);
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

#endif
