# SPDX-License-Identifier: MIT
"""The functions and structures of src/core that the binding uses, a block for each header. Declarations only."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "core/status.h" nogil:
    enum memlane_status:
        MEMLANE_OK
        MEMLANE_FULL
        MEMLANE_EMPTY
        MEMLANE_CLOSED
        MEMLANE_TOO_LARGE
        MEMLANE_CORRUPTED
        MEMLANE_BUSY
        MEMLANE_LOST
        MEMLANE_TRUNCATED
        MEMLANE_FOREIGN
        MEMLANE_OLDER
        MEMLANE_NEWER
        MEMLANE_UNKNOWN_FEATURES
        MEMLANE_LAPPED
        MEMLANE_EVICTED
        MEMLANE_DIFFERS
        MEMLANE_GROW
        MEMLANE_STALE
        MEMLANE_NO_MEMORY

cdef extern from "core/layout.h" nogil:
    enum:
        MEMLANE_RESERVED_AT_CREATION
        MEMLANE_ROWS_MAX, MEMLANE_ENTRIES_MAX
        MEMLANE_LAYOUT_VERSION
        MEMLANE_LAYOUT_DRAFT
        MEMLANE_BACKING_NAMED
        MEMLANE_BACKING_PATH
        MEMLANE_BACKING_MEMFD
        MEMLANE_BACKING_ANONYMOUS
        MEMLANE_DOORBELL_NONE
        MEMLANE_DOORBELL_UNNAMED
        MEMLANE_DOORBELL_NAMED
    struct memlane_doorbell:
        uint64_t device
        uint64_t inode
        unsigned char semaphore[32]
    struct memlane_header:
        uint64_t features, region_id, nbytes, table_offset, directory_offset, objects_offset, created_ns
        uint32_t layout_version, layout_draft, rows, entries, backing, permissions, creator_pid
        char libc[24]
        memlane_doorbell anchor
    struct memlane_row:
        pass
    struct memlane_doorbells:
        uint64_t offset
        uint32_t stride, count
    struct memlane_entry:
        char name[64]
        uint32_t kind
        uint64_t offset
        uint64_t nbytes
        uint64_t geometry[8]
        uint32_t schema_nbytes
        memlane_doorbells doorbells_at_once, doorbells_later
        char schema[832]
    enum memlane_entry_state:
        MEMLANE_ENTRY_VALID
        MEMLANE_ENTRY_REMOVED
    const uint64_t MEMLANE_MAGIC, MEMLANE_FEATURES
    const int64_t MEMLANE_CREATION_BYTE, MEMLANE_NAME_BYTE, MEMLANE_PRESENCE_BYTE
    int64_t MEMLANE_ROW_BYTE(uint32_t row)
    int64_t MEMLANE_JOINING_BYTE(uint32_t row)
    int64_t MEMLANE_ENTRY_BYTE(uint32_t entry)
    uint64_t memlane_align(uint64_t nbytes)
    enum:
        MEMLANE_KIND_RING
    const uint64_t MEMLANE_RECORD_MAX
    enum:
        MEMLANE_KIND_SLOT
        MEMLANE_KIND_TABLE
    enum:
        MEMLANE_KIND_COUNTER
    enum:
        MEMLANE_KIND_TOPIC
        MEMLANE_KIND_ARRAY, MEMLANE_KIND_HEAP
    enum:
        MEMLANE_KIND_MAP, MEMLANE_KIND_LOCK, MEMLANE_KIND_EVENT, MEMLANE_KIND_COUNTERS
        MEMLANE_KIND_SAMPLES
        MEMLANE_KIND_QUEUE

cdef extern from "core/participants.h" nogil:
    bint memlane_generation_is_retired(uint64_t generation)
    uint32_t memlane_tag(uint32_t row, uint64_t generation)
    uint32_t memlane_tag_row(uint32_t tag)
    bint memlane_row_join(memlane_row *row, uint64_t *generation)
    bint memlane_row_leave(memlane_row *row, uint64_t generation)
    void memlane_row_mark_dead(memlane_row *row, uint64_t generation)
    bint memlane_row_is(const memlane_row *row, uint32_t tag, uint64_t *generation)
    uint64_t memlane_row_generation(const memlane_row *row)
    void memlane_row_describe(memlane_row *row, uint32_t pid, uint64_t start_time, const char *name)
    void memlane_row_description(const memlane_row *row, uint32_t *pid, uint64_t *start_time, char *name)

cdef extern from "core/directory.h" nogil:
    void memlane_header_lay_out(memlane_header *header, uint64_t objects_nbytes)
    memlane_status memlane_header_check(const memlane_header *header, uint64_t file_nbytes)
    uint64_t memlane_directory_count(const memlane_header *shared, uint32_t entries)
    bint memlane_doorbells_fit(const memlane_doorbells *told, uint64_t object_nbytes)
    memlane_status memlane_entry_check(const memlane_header *geometry, const memlane_entry *entry)
    memlane_entry *memlane_entry_at(memlane_header *shared, const memlane_header *geometry, uint64_t index)
    memlane_entry_state memlane_entry_state_of(uint64_t sequence)
    uint64_t memlane_entry_read(memlane_entry *shared, memlane_entry *entry)
    uint64_t memlane_directory_pick(memlane_header *shared, const memlane_header *geometry, uint64_t count)
    uint64_t memlane_directory_add(
        memlane_header *shared, const memlane_header *geometry, uint64_t index, const memlane_entry *entry)
    bint memlane_entry_remove(memlane_entry *shared, uint64_t sequence)
    void memlane_entry_free(memlane_entry *shared)
    bint memlane_entry_stands(const memlane_entry *shared, uint64_t sequence)
    bint memlane_entry_stands_ordered(const memlane_entry *shared, uint64_t sequence)
    struct memlane_room:
        uint64_t offset, end
    void memlane_room_note(memlane_room *rooms, size_t *count, const memlane_entry *entry)
    bint memlane_room_find(const memlane_room *rooms, size_t count, uint64_t begin, uint64_t end, uint64_t nbytes,
                           uint64_t *offset)
    void memlane_room_begin()
    void memlane_creation_note(memlane_header *shared, uint32_t pid)
    uint32_t memlane_creation_holder(const memlane_header *shared)

cdef extern from "core/waiters.h" nogil:
    void memlane_waiters_announce(void *count)
    bint memlane_waiters_withdraw(void *count)
    bint memlane_waiters_any(void *count)
    uint32_t memlane_waiters_count(void *count)
    bint memlane_waiters_any_fenced(void *count)
    void memlane_armed_announce(void *armed, uint32_t index)
    void memlane_armed_withdraw(void *armed, uint32_t index)
    uint64_t memlane_armed_collect(void *armed)
    uint32_t memlane_doorbell_kind(const memlane_doorbell *doorbell)
    void memlane_doorbell_note(memlane_doorbell *doorbell, uint32_t kind)

cdef extern from "core/ownership.h" nogil:
    uint32_t memlane_role_owner(const void *role)
    bint memlane_role_take(void *role, uint32_t found, uint32_t tag)
    bint memlane_role_give(void *role, uint32_t tag)
    bint memlane_role_held(void *role, uint32_t tag)

cdef extern from "core/ring_layout.h" nogil:
    enum:
        MEMLANE_OWNER_NEVER
        MEMLANE_OWNER_DEPARTED
        MEMLANE_OWNER_CLOSED
        MEMLANE_SHUTDOWN_DRAIN
        MEMLANE_SHUTDOWN_DROP
        MEMLANE_CONSUMERS_ONE
        MEMLANE_CONSUMERS_MANY
    const uint32_t MEMLANE_LANES_MAX
    const uint64_t MEMLANE_DESCRIPTORS_MAX, MEMLANE_CAPACITY_MAX
    struct memlane_ring_control:
        uint32_t waiters
        uint32_t consumer
        memlane_doorbell doorbell
    struct memlane_lane_control:
        uint32_t owner
        uint32_t waiters
        uint64_t head
        uint64_t tail
        memlane_doorbell doorbell
    struct memlane_descriptor:
        pass
    struct memlane_ring_shape:
        uint64_t lanes, capacity, records, descriptors, consumers_offset, data_offset, bytes_offset, data_nbytes, nbytes
    bint memlane_ring_lay_out(memlane_ring_shape *shape, uint64_t lanes, uint64_t capacity, uint64_t records)
    void memlane_ring_tell_doorbells(uint64_t lanes, memlane_doorbells *at_once, memlane_doorbells *later)
    enum memlane_state:
        MEMLANE_STATE_TAKEN

cdef extern from "core/lane.h" nogil:
    struct memlane_lane:
        memlane_lane_control *control
        memlane_descriptor *descriptors
        unsigned char *bytes
        uint64_t capacity, records, mask
        bint many
    struct memlane_extent:
        uint64_t offset, nbytes
    uint64_t memlane_occupied(uint64_t nbytes)
    uint64_t memlane_max_record(const memlane_lane *lane)
    uint64_t memlane_lane_length(const memlane_lane *lane)
    uint64_t memlane_lane_got(const memlane_lane *lane)
    uint64_t memlane_lane_waits_since(const memlane_lane *lane, uint64_t clock, uint64_t *steps)
    uint64_t memlane_lane_full(const memlane_lane *lane)
    uint64_t memlane_lane_tail(const memlane_lane *lane)
    uint64_t memlane_lane_end(const memlane_lane *lane)
    uint32_t memlane_lane_owner(const memlane_lane_control *control)
    bint memlane_lane_lease(memlane_lane_control *control, uint32_t found, uint32_t tag)
    bint memlane_lane_depart(memlane_lane_control *control, uint32_t tag)
    void memlane_ring_raise_leased(memlane_ring_control *control, uint32_t lanes)
    uint32_t memlane_ring_leased(memlane_ring_control *control, uint32_t lanes)
    uint32_t memlane_ring_shutdown(memlane_ring_control *control)
    void memlane_ring_shut(memlane_ring_control *control, uint32_t how)
    uint64_t memlane_lane_head(const memlane_lane *lane)
    memlane_status memlane_extent_of(const memlane_lane *lane, uint64_t s, memlane_extent *extent)

cdef extern from "core/lane_look.h" nogil:
    memlane_status memlane_lane_look(const memlane_lane *lane, uint64_t s, memlane_extent *extent)
    bint memlane_lane_still_has(const memlane_lane *lane, uint64_t s)
    uint32_t memlane_lane_hand(const memlane_lane *lane, uint64_t s)
    uint64_t memlane_lane_nbytes_of(const memlane_lane *lane, uint64_t s)

cdef extern from "core/lane_producer.h" nogil:
    struct memlane_kept:
        uint64_t s
    struct memlane_producer:
        memlane_lane lane
        memlane_ring_control *ring
        uint32_t tag
        uint64_t head, next, oldest, write
        memlane_kept *kept
    struct memlane_span:
        const void *bytes
        size_t nbytes
    memlane_status memlane_producer_adopt(memlane_producer *producer)
    void memlane_producer_stamp(const memlane_producer *producer, uint64_t count, uint64_t now)
    void memlane_producer_stamp_next(memlane_producer *producer)
    bint memlane_producer_stamp_is_due(const memlane_producer *producer)
    void memlane_producer_stamp_some(memlane_producer *producer, uint64_t now)
    void memlane_producer_clock(memlane_producer *producer, uint64_t clock)
    void memlane_producer_count_full(memlane_producer *producer)
    void memlane_producer_reuse(memlane_producer *producer, uint64_t looks)
    memlane_status memlane_producer_put(memlane_producer *producer, const void *record, size_t nbytes)
    memlane_status memlane_producer_put_many(
        memlane_producer *producer, const memlane_span *records, size_t count, size_t *done)
    memlane_status memlane_producer_claim(memlane_producer *producer, uint64_t nbytes, uint64_t *offset)
    memlane_status memlane_producer_commit(memlane_producer *producer, uint64_t offset, uint64_t nbytes)
    bint memlane_producer_holds(const memlane_producer *producer, uint64_t head)
    void memlane_producer_keep(memlane_producer *producer, memlane_kept *kept, uint64_t offset, uint64_t nbytes)
    void memlane_producer_release(memlane_producer *producer, memlane_kept *kept)
    bint memlane_producer_any(const memlane_producer *producer)
    uint64_t memlane_producer_used(const memlane_producer *producer)

cdef extern from "core/lane_consumer.h" nogil:
    struct memlane_consumer:
        memlane_lane lane
        uint64_t loans
    uint64_t memlane_consumer_next(const memlane_consumer *consumer)
    uint64_t memlane_consumer_loans(const memlane_consumer *consumer)
    void memlane_prefetch(const unsigned char *bytes, uint64_t nbytes)
    void memlane_lane_prefetch(const memlane_lane *lane, uint64_t s, size_t count)
    memlane_status memlane_lane_close_unleased(memlane_lane_control *control)
    void memlane_consumer_start(memlane_consumer *consumer)
    memlane_status memlane_consumer_peek(const memlane_consumer *consumer, uint64_t *s, memlane_extent *extent)
    bint memlane_consumer_is_at(const memlane_consumer *consumer, uint64_t s)
    size_t memlane_consumer_look_on(const memlane_consumer *consumer, uint64_t s, const memlane_extent *first, size_t most,
                                    uint64_t most_nbytes, memlane_extent *extents)
    void memlane_consumer_skip(memlane_consumer *consumer)
    bint memlane_consumer_overlooked(const memlane_consumer *consumer)
    bint memlane_consumer_finish(memlane_consumer *consumer, uint64_t records, uint64_t nbytes)
    void memlane_consumer_borrow(memlane_consumer *consumer)
    void memlane_consumer_release(memlane_consumer *consumer, uint64_t s)
    bint memlane_consumer_any(const memlane_consumer *consumer)
    memlane_status memlane_consumer_close(memlane_consumer *consumer)
    void memlane_consumer_drop(memlane_consumer *consumer)

cdef extern from "core/lane_consumers.h" nogil:
    struct memlane_many:
        memlane_lane lane
    struct memlane_found:
        uint64_t s, state
        memlane_extent extent
    memlane_state memlane_state_kind(uint64_t state)
    uint32_t memlane_state_tag(uint64_t state)
    void memlane_many_start(memlane_many *many)
    memlane_status memlane_many_look(const memlane_many *many, memlane_found *found)
    size_t memlane_many_look_on(const memlane_many *many, const memlane_found *first, size_t most, uint64_t most_nbytes,
                                memlane_extent *extents)
    void memlane_many_help(const memlane_lane *lane, uint64_t s, uint64_t end)
    bint memlane_many_claim(const memlane_lane *lane, memlane_found *found, uint32_t tag)
    size_t memlane_many_take(const memlane_lane *lane, uint64_t first, size_t count, uint32_t tag)
    void memlane_many_count_redelivered(memlane_ring_control *control)
    uint64_t memlane_many_redelivered(const memlane_ring_control *control)
    bint memlane_many_free(const memlane_lane *lane, uint64_t s, uint32_t tag)
    bint memlane_many_hand_back(memlane_ring_control *ring, const memlane_lane *lane, uint64_t s, uint32_t tag)
    uint64_t memlane_many_handed_back(const memlane_ring_control *ring)
    bint memlane_many_held_new(memlane_many *many, uint64_t end, memlane_found *found, uint64_t *steps)
    void memlane_many_met(memlane_many *many, const memlane_found *found)
    void memlane_many_rescan(memlane_many *many)
    bint memlane_many_crosses(const memlane_lane *lane, uint64_t s, const memlane_extent *extent)
    const uint64_t MEMLANE_LOOKS_WITH_GIL
    uint64_t memlane_many_settle_some(memlane_many *many, uint64_t taken, uint64_t *steps)
    bint memlane_many_is_drained(memlane_many *many)
    bint memlane_many_held(const memlane_many *many, uint64_t s, uint64_t end, memlane_found *found)
    uint64_t memlane_many_taken(const memlane_lane *lane)
    int64_t memlane_many_in_hand(const memlane_lane *lane, uint64_t *steps)
    bint memlane_many_any(const memlane_many *many)
    bint memlane_many_overlooked(memlane_many *many)
    memlane_status memlane_many_close(const memlane_many *many)
    void memlane_many_drop(const memlane_many *many, uint32_t tag)

cdef extern from "core/peers.h" nogil:
    void memlane_peers_come(memlane_ring_control *control, void *table, uint32_t tag)
    bint memlane_peers_clear(void *table, uint32_t tag)
    void memlane_peers_note_dead(memlane_ring_control *control)
    uint64_t memlane_peers_came(const memlane_ring_control *control)
    uint64_t memlane_peers_died(const memlane_ring_control *control)
    uint32_t memlane_peers_at(const void *table, uint32_t row)
    bint memlane_peers_has_left(const void *word, uint32_t tag)
    memlane_status memlane_peers_next(
        const memlane_ring_control *control, const void *table, uint32_t rows, uint64_t came, uint32_t *row, uint32_t *tag)

cdef extern from "core/slot_layout.h" nogil:
    struct memlane_slot_control:
        uint32_t writer
        uint32_t selectors
        uint64_t armed
    struct memlane_copy_stamp:
        pass
    struct memlane_watcher:
        uint32_t owner
        memlane_doorbell doorbell
    struct memlane_slots_shape:
        uint64_t slots, value_nbytes, copies, watchers, writers, slots_offset, copies_offset, copy_stride, slot_stride, nbytes
    bint memlane_slots_lay_out(memlane_slots_shape *shape, uint64_t slots, uint64_t value_nbytes, uint64_t copies,
                               uint64_t watchers, uint64_t writers)
    void memlane_slots_tell_doorbells(uint64_t watchers, memlane_doorbells *at_once, memlane_doorbells *later)

cdef extern from "core/slot.h" nogil:
    struct memlane_slot:
        memlane_slot_control *control
        memlane_copy_stamp *stamps
        unsigned char *copies
        uint64_t nbytes, stride, mask
    struct memlane_stamp:
        uint64_t version, published_ns, boot
    uint64_t memlane_slot_version(const memlane_slot *slot)
    uint64_t memlane_slot_publish(const memlane_slot *slot, const void *value, uint64_t published_ns, uint64_t boot)
    void memlane_slot_prefetch(const memlane_slot *slot, uint64_t version)
    memlane_status memlane_slot_read(const memlane_slot *slot, void *value, uint64_t *version)
    memlane_status memlane_slot_read_stamp(const memlane_slot *slot, memlane_stamp *stamp)
    memlane_status memlane_slot_read_stamped(const memlane_slot *slot, void *value, memlane_stamp *stamp)
    bint memlane_writer_take(memlane_slot_control *control, uint32_t found, uint32_t tag)

cdef extern from "core/map_layout.h" nogil:
    const uint64_t MEMLANE_MAP_ENTRIES_MAX, MEMLANE_MAP_KEY_MAX, MEMLANE_MAP_VALUE_MAX
    enum memlane_map_key_type:
        MEMLANE_KEY_BYTES
        MEMLANE_KEY_STR
        MEMLANE_KEY_INT
    enum:
        MEMLANE_VALUES_FIXED
        MEMLANE_VALUES_UP_TO
    struct memlane_map_control:
        pass
    struct memlane_map_bucket:
        uint64_t armed
        uint32_t selectors
    struct memlane_map_shape:
        uint64_t entries, key_nbytes, value_nbytes, copies, watchers, values, nbytes
    bint memlane_map_lay_out(memlane_map_shape *shape, uint64_t entries, uint64_t key_nbytes, uint64_t value_nbytes,
                             uint64_t copies, uint64_t watchers, uint64_t values)
    void memlane_map_tell_doorbells(uint64_t watchers, memlane_doorbells *at_once, memlane_doorbells *later)

cdef extern from "core/map.h" nogil:
    struct memlane_map:
        uint64_t count, key_nbytes, value_nbytes
        bint is_fixed
    struct memlane_map_key:
        const unsigned char *bytes
        uint32_t word
        uint64_t hash
    struct memlane_map_clock:
        uint64_t now_ns
        uint32_t boot
    struct memlane_map_item:
        unsigned char *key
        void *value
        uint32_t key_nbytes
        memlane_map_key_type key_type
        uint64_t nbytes, version
    void memlane_map_view(memlane_map *map, unsigned char *base, const memlane_map_shape *shape)
    void memlane_map_begin(unsigned char *base, const memlane_map_shape *shape, const uint64_t *seeds)
    memlane_status memlane_map_key_make(const memlane_map *map, memlane_map_key *key, memlane_map_key_type type,
                                        const void *bytes, uint64_t nbytes)
    memlane_map_bucket *memlane_map_bucket_of(const memlane_map *map, uint64_t hash)
    memlane_status memlane_map_read(const memlane_map *map, const memlane_map_key *key, const memlane_map_clock *clock,
                                    void *value, uint64_t *nbytes, uint64_t *version)
    memlane_status memlane_map_version_again(const memlane_map *map, const memlane_map_key *key,
                                             const memlane_map_clock *clock, uint64_t *version)
    memlane_status memlane_map_at(const memlane_map *map, uint64_t index, const memlane_map_clock *clock,
                                  memlane_map_item *item)

cdef extern from "core/map_writer.h" nogil:
    ctypedef bint memlane_map_judge(void *of, uint32_t tag) noexcept nogil
    struct memlane_map_writer:
        uint32_t tag
        bint patiently
        memlane_map_judge *is_dead
        void *of
        uint64_t hint
    enum memlane_map_how:
        MEMLANE_MAP_PUT
        MEMLANE_MAP_INSERT
        MEMLANE_MAP_COMPARE
        MEMLANE_MAP_ADD_INT
        MEMLANE_MAP_ADD_FLOAT
        MEMLANE_MAP_REMOVE
        MEMLANE_MAP_REMOVE_COMPARE
    struct memlane_map_change:
        memlane_map_how how
        uint64_t expected
        const void *value
        uint64_t nbytes, expires_ns
        void *before
        uint64_t before_nbytes
        unsigned char sum[8]
        uint64_t version
        uint32_t holder
        memlane_map_bucket *bucket
    memlane_status memlane_map_change_key "memlane_map_change"(
        const memlane_map *map, memlane_map_writer *writer, const memlane_map_key *key, const memlane_map_clock *clock,
        memlane_map_change *change)

cdef extern from "core/lock_layout.h" nogil:
    struct memlane_lock_control:
        uint64_t armed, depth
        uint32_t selectors
    struct memlane_event_control:
        uint64_t armed
        uint32_t selectors
    uint64_t memlane_lock_nbytes(uint64_t watchers)
    uint64_t memlane_event_nbytes(uint64_t watchers)
    void memlane_lock_tell_doorbells(uint64_t watchers, memlane_doorbells *at_once, memlane_doorbells *later)
    void memlane_event_tell_doorbells(uint64_t watchers, memlane_doorbells *at_once, memlane_doorbells *later)

cdef extern from "core/lock.h" nogil:
    uint64_t memlane_lock_word(uint32_t tag, uint32_t thread)
    uint32_t memlane_lock_tag(uint64_t word)
    bint memlane_lock_try(memlane_lock_control *lock, uint64_t me)
    memlane_status memlane_lock_take(memlane_lock_control *lock, uint64_t me, uint64_t turn, uint64_t now_ns,
                                     uint64_t *holder)
    bint memlane_lock_take_over(memlane_lock_control *lock, uint64_t dead, uint64_t me)
    bint memlane_lock_is_wanted(const memlane_lock_control *lock)
    bint memlane_lock_release(memlane_lock_control *lock, uint64_t me, uint64_t now_ns)
    uint64_t memlane_lock_owner(const memlane_lock_control *lock)
    uint64_t memlane_lock_died(const memlane_lock_control *lock)
    uint32_t memlane_lock_again(memlane_lock_control *lock, uint64_t me)
    uint32_t memlane_lock_once_less(memlane_lock_control *lock)
    uint64_t memlane_lock_queue(memlane_lock_control *lock, uint32_t watcher)
    bint memlane_lock_is_due(const memlane_lock_control *lock, uint64_t turn)
    bint memlane_lock_nominate(memlane_lock_control *lock, uint64_t turn)
    void memlane_lock_leave(memlane_lock_control *lock, uint64_t turn, uint32_t watcher)
    bint memlane_lock_choose(memlane_lock_control *lock, uint32_t *watcher)
    uint64_t memlane_event_state(const memlane_event_control *event)
    bint memlane_event_turn(memlane_event_control *event, bint set)
    bint memlane_event_has_come(const memlane_event_control *event, uint64_t since)

cdef extern from "core/samples_layout.h" nogil:
    enum:
        MEMLANE_SAMPLES_BLOCKS_MAX
        MEMLANE_SAMPLES_BLOCK_MIN
        MEMLANE_SAMPLES_BLOCK_MAX
        MEMLANE_SAMPLES_NAME_MAX
    enum memlane_sample_kind:
        MEMLANE_SAMPLE_ADDED
        MEMLANE_SAMPLE_ALL
        MEMLANE_SAMPLE_LIVE_ALL
        MEMLANE_SAMPLE_MIN
        MEMLANE_SAMPLE_LIVE_MIN
        MEMLANE_SAMPLE_MAX
        MEMLANE_SAMPLE_LIVE_MAX
        MEMLANE_SAMPLE_SUM
        MEMLANE_SAMPLE_LIVE_SUM
        MEMLANE_SAMPLE_RECENT
        MEMLANE_SAMPLE_LIVE_RECENT
    struct memlane_samples_block:
        uint32_t owner
    struct memlane_sample:
        pass
    struct memlane_samples_shape:
        uint64_t data_offset, nbytes
    bint memlane_samples_lay_out(memlane_samples_shape *shape, uint64_t blocks, uint64_t block_nbytes)

cdef extern from "core/samples.h" nogil:
    struct memlane_reading:
        double past, value, stamp
        uint64_t turn
    struct memlane_total:
        double value, stamp
        uint32_t samples, kind
    uint64_t memlane_samples_turn(const memlane_samples_block *block)
    uint64_t memlane_samples_begin(memlane_samples_block *block, uint32_t tag, const void *text, uint32_t nbytes)
    uint32_t memlane_samples_name(const memlane_samples_block *block, uint64_t turn, void *text, uint32_t *owner)
    uint64_t memlane_samples_used(const memlane_samples_block *block, uint64_t block_nbytes)
    uint64_t memlane_sample_nbytes(uint64_t key_nbytes)
    uint64_t memlane_samples_look(const unsigned char *data, uint64_t used, uint64_t offset, memlane_sample **sample,
                                  uint32_t *kind, uint32_t *key_nbytes)
    memlane_sample *memlane_samples_append(memlane_samples_block *block, unsigned char *data, uint64_t block_nbytes,
                                           uint64_t turn, uint32_t kind, const void *key, uint32_t key_nbytes)
    double memlane_sample_load(const memlane_sample *sample)
    void memlane_sample_add(memlane_sample *sample, double amount)
    void memlane_sample_store(memlane_sample *sample, double value)
    void memlane_sample_set(memlane_sample *sample, uint32_t kind, uint64_t turn, double value, double stamp)
    double memlane_sample_own(const memlane_sample *sample, uint64_t turn)
    bint memlane_sample_join(const memlane_sample *sample, uint64_t turn, bint is_live, memlane_total *total,
                             memlane_reading *reading)

cdef extern from "core/counter_layout.h" nogil:
    struct memlane_counter:
        pass
    enum:
        MEMLANE_COUNTERS_MAX
        MEMLANE_COUNTERS_STRIDE
    uint64_t memlane_counters_nbytes(uint64_t counters)

cdef extern from "core/counter.h" nogil:
    int64_t memlane_counter_add(memlane_counter *counter, int64_t amount)
    int64_t memlane_counter_load(const memlane_counter *counter)
    int64_t memlane_counter_exchange(memlane_counter *counter, int64_t value)
    bint memlane_counter_compare_exchange(memlane_counter *counter, int64_t expected, int64_t value)
    bint memlane_counter_limit(memlane_counter *counter, int64_t value, bint upwards, int tries, int64_t *found)

cdef extern from "core/objects_layout.h" nogil:
    enum:
        MEMLANE_OBJECT_ALIGNMENT
        MEMLANE_OBJECT_BUFFERS
        MEMLANE_OBJECT_BYTES
        MEMLANE_OBJECT_JSON
        MEMLANE_OBJECT_MSGSPEC
        MEMLANE_OBJECT_OTHER
        MEMLANE_OBJECT_PICKLE
    struct memlane_object_head:
        uint8_t form
        uint8_t unused[3]
        uint32_t count
        uint64_t stream
        uint64_t first

cdef extern from "core/words.h" nogil:
    void memlane_cpu_relax()
    void memlane_copy(void *to, const void *source, size_t nbytes)
    void memlane_words_fetch(void *to, const unsigned char *source, size_t nbytes)

cdef extern from "core/topic_layout.h" nogil:
    enum:
        MEMLANE_SUBSCRIBERS_MAX
        MEMLANE_ORDER_PUBLISHER
        MEMLANE_ORDER_ALL
        MEMLANE_POLICY_OVERWRITE
        MEMLANE_POLICY_WAIT
    enum memlane_place_state:
        MEMLANE_PLACE_FREE
        MEMLANE_PLACE_JOINING
        MEMLANE_PLACE_WAIT
        MEMLANE_PLACE_OVERWRITE
        MEMLANE_PLACE_EVICTED
    struct memlane_topic_control:
        memlane_ring_control ring
    struct memlane_place:
        memlane_doorbell doorbell
    struct memlane_topic_shape:
        uint64_t publishers, capacity, records, descriptors, subscribers, order, policy
        uint64_t places_offset, place_stride, data_offset, bytes_offset, data_nbytes, nbytes
    bint memlane_topic_lay_out(memlane_topic_shape *shape, uint64_t publishers, uint64_t capacity, uint64_t records,
                               uint64_t subscribers, uint64_t order, uint64_t policy)
    void memlane_topic_tell_doorbells(const memlane_topic_shape *shape, memlane_doorbells *at_once, memlane_doorbells *later)

cdef extern from "core/topic.h" nogil:
    struct memlane_topic:
        memlane_topic_control *control
        unsigned char *places
        uint64_t place_stride
        uint32_t subscribers, publishers
    memlane_place *memlane_place_of(const memlane_topic *topic, uint32_t index)
    uint32_t memlane_holder_tag(uint64_t holder)
    memlane_place_state memlane_holder_state(uint64_t holder)
    uint64_t memlane_holder_in(uint64_t holder, memlane_place_state state)
    uint32_t memlane_topic_joined(const memlane_topic *topic)
    uint64_t memlane_place_holder(const memlane_place *place)
    memlane_status memlane_place_find(const memlane_topic *topic, bint held, uint32_t *index, uint64_t *holder)
    uint64_t memlane_place_take(const memlane_topic *topic, uint32_t index, uint64_t found, uint32_t tag)
    bint memlane_place_turn(memlane_place *place, uint64_t found, memlane_place_state state)
    bint memlane_place_show(memlane_place *place, uint64_t *holder, memlane_place_state state)
    bint memlane_place_give(memlane_place *place, uint64_t holder)
    uint64_t memlane_place_loans(memlane_place *place, uint32_t lane)
    uint64_t memlane_place_is_at(memlane_place *place, uint32_t lane)
    void memlane_place_ask_eviction(memlane_place *place, uint64_t after_ns)
    void memlane_place_note_moved(memlane_place *place, uint64_t now)
    uint64_t memlane_place_moved(const memlane_place *place)
    void memlane_place_eviction(const memlane_place *place, uint64_t *after_ns, uint64_t *behind)
    uint64_t memlane_topic_evicted(const memlane_topic *topic)
    void *memlane_topic_armed(const memlane_topic *topic, uint32_t index)
    uint32_t memlane_topic_armed_words(const memlane_topic *topic)
    memlane_status memlane_topic_close_lane(const memlane_lane *lane)

cdef extern from "core/lane_order.h" nogil:
    struct memlane_order_front:
        uint64_t number
        bint known
    ctypedef memlane_status (*memlane_order_look)(void *reader, uint32_t lane, uint64_t *number) noexcept nogil
    memlane_status memlane_order_next(memlane_order_front *fronts, memlane_ring_control *ring, uint32_t lanes,
                                      memlane_order_look look, void *reader, uint32_t *lane)

cdef extern from "core/topic_publisher.h" nogil:
    struct memlane_sight:
        uint64_t holder, position, since
    struct memlane_publisher:
        memlane_producer producer
        const memlane_topic *topic
        memlane_sight *sights
        uint64_t raised
        uint32_t index, obstacle
        uint64_t obstacle_holder, obstacle_position
        bint ordered
    uint64_t memlane_publisher_max_record(const memlane_publisher *publisher)
    unsigned char *memlane_publisher_payload(const memlane_publisher *publisher, uint64_t offset)
    memlane_status memlane_publisher_claim(memlane_publisher *publisher, uint64_t nbytes, uint64_t *offset)
    memlane_status memlane_publisher_commit(memlane_publisher *publisher, uint64_t offset, uint64_t nbytes)
    memlane_status memlane_publisher_put(memlane_publisher *publisher, const void *record, size_t nbytes)
    memlane_status memlane_publisher_put_many(
        memlane_publisher *publisher, const memlane_span *records, size_t count, size_t *done)
    bint memlane_publisher_any(const memlane_publisher *publisher)
    uint32_t memlane_publisher_watch(memlane_publisher *publisher, uint64_t now, uint64_t *next)
    memlane_status memlane_publisher_adopt(memlane_publisher *publisher)

cdef extern from "core/topic_subscriber.h" nogil:
    enum memlane_topic_start:
        MEMLANE_START_NOW
        MEMLANE_START_OLDEST
        MEMLANE_START_LAST
        MEMLANE_START_AT
    struct memlane_subscriber:
        memlane_lane lane
        memlane_place *place
        uint64_t holder
        uint32_t index
        bint waited_for, ordered
        void *lent
        uint64_t lost
    uint64_t memlane_subscriber_next(const memlane_subscriber *subscriber)
    uint64_t memlane_subscriber_lag(const memlane_subscriber *subscriber)
    memlane_status memlane_subscriber_start(memlane_subscriber *subscriber, memlane_topic_start start, uint64_t s)
    uint64_t memlane_subscriber_settle(memlane_subscriber *subscriber)
    memlane_status memlane_subscriber_verdict(const memlane_subscriber *subscriber)
    memlane_status memlane_subscriber_peek(const memlane_subscriber *subscriber, uint64_t *s, memlane_extent *extent)
    size_t memlane_subscriber_look_on(const memlane_subscriber *subscriber, uint64_t s, const memlane_extent *first,
                                      size_t most, uint64_t most_nbytes, memlane_extent *extents)
    memlane_status memlane_subscriber_check(const memlane_subscriber *subscriber, uint64_t s)
    uint64_t memlane_subscriber_catch_up(memlane_subscriber *subscriber)
    bint memlane_subscriber_overlooked(const memlane_subscriber *subscriber)
    bint memlane_subscriber_any(const memlane_subscriber *subscriber)
    bint memlane_subscriber_finish(memlane_subscriber *subscriber, uint64_t records, uint64_t nbytes)
    memlane_status memlane_subscriber_borrow(memlane_subscriber *subscriber, uint32_t count)
    uint64_t memlane_subscriber_release(memlane_subscriber *subscriber, uint64_t s)
    memlane_status memlane_subscriber_number_at(const memlane_subscriber *subscriber, uint64_t s, uint64_t *number)
    memlane_status memlane_subscriber_number(void *reader, uint32_t lane, uint64_t *number)
    void memlane_subscriber_seek(memlane_subscriber *subscriber, uint64_t number)

cdef extern from "core/queue_layout.h" nogil:
    enum memlane_queue_tasks:
        MEMLANE_TASKS_NOT_COUNTED
        MEMLANE_TASKS_COUNTED
    const uint64_t MEMLANE_QUEUE_RECORDS_MAX
    struct memlane_queue_control:
        memlane_ring_control ring
        memlane_doorbell putters_doorbell
        uint32_t putters, joiners
        memlane_doorbell joiners_doorbell
    struct memlane_queue_lane:
        pass
    struct memlane_queue_shape:
        memlane_ring_shape lane
        uint64_t maxsize
        bint counts_tasks
        uint64_t growth_offset, consumers_offset, hands_offset, data_offset, nbytes
    bint memlane_queue_lay_out(memlane_queue_shape *shape, uint64_t lanes, uint64_t capacity, uint64_t records,
                               uint64_t maxsize, uint64_t tasks)
    void memlane_queue_tell_doorbells(uint64_t lanes, memlane_doorbells *at_once, memlane_doorbells *later)

cdef extern from "core/queue_order.h" nogil:
    const uint64_t MEMLANE_ORDER_NBYTES
    struct memlane_queue_found:
        memlane_found record
        uint64_t number
        uint32_t lane
    struct memlane_queue_pass:
        uint64_t steps, handed_back
    memlane_status memlane_queue_next(memlane_many *many, memlane_ring_control *ring, uint32_t lanes, uint32_t start,
                                      memlane_queue_pass *passing, memlane_queue_found *found)

cdef extern from "core/queue_growth.h" nogil:
    const uint64_t MEMLANE_GROWTH_SOFT
    struct memlane_stretch:
        uint64_t offset, nbytes
    struct memlane_wanted:
        pass
    struct memlane_growth:
        memlane_queue_lane *shared
        uint64_t bytes_offset, soft
    void memlane_growth_first(const memlane_lane *lane, memlane_wanted *wanted)
    void memlane_growth_got(memlane_growth *growth, memlane_producer *producer, const memlane_wanted *wanted)

cdef extern from "core/queue_tasks.h" nogil:
    ctypedef bint (*memlane_tasks_judge)(void *judge, uint32_t tag) noexcept nogil
    void memlane_tasks_get(void *hands, uint32_t tag)
    memlane_status memlane_tasks_done(void *hands, uint32_t rows, uint32_t tag, memlane_tasks_judge is_dead, void *judge)
    bint memlane_tasks_in_hand(void *hands, uint32_t rows, memlane_tasks_judge is_dead, void *judge)
    bint memlane_tasks_all_done(memlane_queue_control *control, memlane_many *many, uint32_t lanes, void *hands,
                                uint32_t rows, memlane_tasks_judge is_dead, void *judge)

cdef extern from "core/queue_turns.h" nogil:
    uint32_t memlane_queue_lasting(uint32_t lanes)
    memlane_status memlane_queue_turn_take(memlane_lane_control *control, uint32_t found, uint32_t tag)
    bint memlane_queue_turn_end(memlane_lane_control *control, uint32_t tag)
    bint memlane_queue_turn_any(memlane_ring_control *ring, memlane_lane_control *control, uint32_t found)

cdef extern from "core/queue.h" nogil:
    const uint64_t MEMLANE_QUEUE_SPARE
    const uint64_t MEMLANE_QUEUE_SPARE_LEAST
    const uint64_t MEMLANE_QUEUE_SPARE_MOST
    const uint64_t MEMLANE_QUEUE_SPARE_RECORDS
    const uint64_t MEMLANE_QUEUE_SPARE_RECORD
    struct memlane_queue_producer:
        memlane_producer producer
        memlane_queue_control *control
        uint32_t lanes, lane
    struct memlane_bound:
        memlane_queue_control *control
        memlane_queue_lane *of_lanes
        const memlane_many *many
        uint64_t maxsize, in_hand
        uint32_t lanes, lane
    bint memlane_bound_any(memlane_bound *bound)
    struct memlane_queue_sender:
        memlane_queue_producer queue
        memlane_growth growth
        memlane_bound bound
    memlane_status memlane_queue_take_up(memlane_queue_sender *sender)
    memlane_status memlane_queue_begin(memlane_queue_sender *sender, uint64_t nbytes, uint64_t *offset, memlane_wanted *wanted)
    memlane_status memlane_queue_finish(memlane_queue_sender *sender, uint64_t offset, uint64_t nbytes)
    ctypedef void (*memlane_queue_fill)(void *of, size_t index, unsigned char *to) noexcept nogil
    memlane_status memlane_queue_put_many(memlane_queue_sender *sender, const memlane_span *records, size_t count,
                                          memlane_queue_fill fill, void *of, size_t begin, size_t *done,
                                          memlane_wanted *wanted)
    bint memlane_queue_surplus(memlane_queue_sender *sender, memlane_stretch *stretch)
    bint memlane_queue_any_room(const memlane_queue_sender *sender)
    bint memlane_queue_leave(memlane_queue_sender *sender)

cdef extern from "core/heap_layout.h" nogil:
    const uint64_t MEMLANE_HEAP_BLOCKS_MAX, MEMLANE_HEAP_ARENAS_MAX, MEMLANE_HEAP_ARENA_MAX
    const uint64_t MEMLANE_HEAP_HOLDERS_MAX, MEMLANE_HEAP_TRANSITS_MAX
    struct memlane_heap_control:
        uint32_t waiters
        memlane_doorbell doorbell
        uint64_t collected
    struct memlane_heap_shape:
        uint64_t arenas, arena_nbytes, blocks, holders, transits, step_nbytes, blocks_offset, bytes_offset, nbytes
    uint64_t memlane_heap_step(uint64_t arena_nbytes)
    bint memlane_heap_lay_out(memlane_heap_shape *shape, uint64_t arenas, uint64_t arena_nbytes, uint64_t blocks,
                              uint64_t holders, uint64_t transits, uint64_t step_nbytes)
    void memlane_heap_tell_doorbells(memlane_doorbells *at_once, memlane_doorbells *later)

cdef extern from "core/heap.h" nogil:
    enum:
        MEMLANE_LENT_MAX
    struct memlane_heap:
        memlane_heap_shape shape
        unsigned char *base
    struct memlane_block:
        uint64_t generation, offset, payload_nbytes, meta_nbytes
        uint32_t number, word
    bint memlane_heap_has(const memlane_heap *heap, uint32_t number)
    memlane_status memlane_heap_extent(const memlane_heap *heap, uint32_t number, memlane_block *block)
    memlane_status memlane_heap_seal(const memlane_heap *heap, uint32_t number, uint64_t generation)
    bint memlane_heap_stands(const memlane_heap *heap, uint32_t number, uint64_t generation)

cdef extern from "core/heap_transit.h" nogil:
    uint32_t memlane_lent_cancel(const memlane_heap *heap, uint32_t number, uint32_t which, uint32_t stamp)
    bint memlane_lent_claim(const memlane_heap *heap, uint32_t number, uint32_t which, uint32_t stamp)

cdef extern from "core/heap_room.h" nogil:
    void memlane_heap_raise_ready(const memlane_heap *heap, uint64_t arena, uint32_t ready)
    bint memlane_heap_unreserved(const memlane_heap *heap, uint64_t arena, uint64_t offset, uint64_t nbytes,
                                 uint64_t *first, uint64_t *until)
    void memlane_heap_note_reserved(const memlane_heap *heap, uint64_t arena, uint64_t first, uint64_t until, bint has)
