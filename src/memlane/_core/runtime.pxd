# SPDX-License-Identifier: MIT
"""The functions of src/runtime that the binding uses. Declarations only."""

from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport (
    memlane_block, memlane_doorbell, memlane_entry, memlane_header, memlane_heap, memlane_heap_shape, memlane_lane,
    memlane_lane_control, memlane_queue_lane, memlane_row, memlane_slot_control, memlane_status, memlane_stretch, memlane_wanted, memlane_watcher,
)
from memlane._core.os cimport memlane_guarded

cdef extern from "runtime/doorbell.h" nogil:
    enum:
        MEMLANE_POSTS_MAX
    struct memlane_semaphores:
        bint is_ours
    struct memlane_bell:
        memlane_doorbell *shared
        uint64_t number
        memlane_guarded *guarded
    void memlane_semaphores_of(const memlane_header *header, memlane_semaphores *semaphores)
    void memlane_bell_begin(memlane_bell *bell, memlane_doorbell *shared, const unsigned char *region)
    bint memlane_bell_attach(memlane_bell *bell, const memlane_semaphores *semaphores)
    int memlane_bell_attach_made(memlane_bell *bell, const char *name)
    int memlane_bell_make(memlane_bell *bell)
    void memlane_bell_end(memlane_bell *bell)
    bint memlane_bell_is_attached(const memlane_bell *bell)
    void memlane_bell_post(const memlane_bell *bell, uint32_t times)
    void memlane_bell_wake(memlane_bell *bell, const memlane_semaphores *semaphores, void *count, uint32_t times)

cdef extern from "runtime/wait.h" nogil:
    const uint64_t MEMLANE_SLICE_NS
    enum memlane_wait:
        MEMLANE_WAIT_ADAPTIVE
        MEMLANE_WAIT_SPIN
        MEMLANE_WAIT_SLEEP
    struct memlane_spinning:
        pass
    ctypedef bint memlane_is_due(void *of) noexcept nogil
    struct memlane_waiting:
        uint64_t deadline, pause
    void memlane_spinning_begin(memlane_spinning *spinning)
    uint64_t memlane_spinning_limit(const memlane_spinning *spinning, memlane_wait how)
    void memlane_waiting_begin(memlane_waiting *waiting, uint64_t deadline, memlane_spinning *spinning,
                               memlane_is_due *is_due, void *of)
    bint memlane_waiting_is_over(const memlane_waiting *waiting)
    uint64_t memlane_waiting_slice_end(const memlane_waiting *waiting)
    bint memlane_waiting_spin(memlane_waiting *waiting, memlane_wait how)
    void memlane_waiting_sleep(memlane_waiting *waiting, void *count, const memlane_bell *bell)
    void memlane_waiting_sleep_armed(memlane_waiting *waiting, void *armed, uint32_t index, const memlane_bell *bell)
    void memlane_waiting_poll(memlane_waiting *waiting)
    uint64_t memlane_intervals_slept()
    void memlane_interval_note(uint64_t began)

cdef extern from "runtime/membership.h" nogil:
    enum memlane_life:
        MEMLANE_LIFE_UNKNOWN
        MEMLANE_DEAD
        MEMLANE_ALIVE
    struct memlane_membership:
        unsigned char *address
        memlane_guarded *guarded
        uint64_t device, inode
        int base
        int lock_descriptor
        uint32_t row, tag
        uint64_t generation, epoch
    struct memlane_description:
        uint32_t pid
        uint64_t start_time
        const char *name
    enum memlane_joined:
        MEMLANE_JOINED
        MEMLANE_JOIN_READONLY
        MEMLANE_JOIN_NO_FILE
        MEMLANE_JOIN_NO_ROW
        MEMLANE_JOIN_UNSEEN
        MEMLANE_JOIN_REFUSED
    enum memlane_hold:
        MEMLANE_HELD
        MEMLANE_HOLD_GONE
        MEMLANE_HOLD_LOST
        MEMLANE_HOLD_REFUSED
    memlane_status memlane_membership_attach(
        memlane_membership *membership, memlane_header *header, unsigned char *address, uint64_t nbytes,
        memlane_guarded *guarded, int base, uint64_t device, uint64_t inode, bint readonly)
    memlane_joined memlane_membership_join(memlane_membership *membership, uint32_t start,
                                           const memlane_description *description, const char *path, int *error)
    bint memlane_membership_leave(memlane_membership *membership)
    void memlane_membership_abandon(memlane_membership *membership)
    bint memlane_membership_is_joined(const memlane_membership *membership)
    memlane_row *memlane_membership_row(const memlane_membership *membership, uint32_t row)
    bint memlane_membership_keeps_row(const memlane_membership *membership)
    bint memlane_membership_is_file(const memlane_membership *membership, int descriptor)
    bint memlane_membership_is_sound(const memlane_membership *membership)
    memlane_life memlane_membership_life(const memlane_membership *membership, uint32_t tag)
    bint memlane_membership_is_dead(void *membership, uint32_t tag)
    memlane_life memlane_membership_row_life(const memlane_membership *membership, uint32_t row)
    uint32_t memlane_membership_pid(const memlane_membership *membership, uint32_t tag)
    int memlane_membership_lock_creation(const memlane_membership *membership)
    void memlane_membership_unlock_creation(const memlane_membership *membership)
    memlane_hold memlane_membership_hold(const memlane_membership *membership, const memlane_entry *entry,
                                         uint32_t index, uint64_t sequence, int *error)
    void memlane_membership_unhold(const memlane_membership *membership, uint32_t index)

cdef extern from "runtime/lease.h" nogil:
    enum:
        MEMLANE_PROBES_A_STEP
    enum memlane_lease:
        MEMLANE_LEASED
        MEMLANE_LEASE_TAKEN
        MEMLANE_LEASE_UNKNOWN
    memlane_lease memlane_lease_role(const memlane_membership *membership, void *role, uint32_t *holder)
    memlane_lease memlane_lease_writer(const memlane_membership *membership, memlane_slot_control *control,
                                       uint32_t *holder)
    bint memlane_lease_turn(const memlane_membership *membership, memlane_slot_control *control, bint patiently,
                            uint32_t *holder)
    bint memlane_lease_used_lane(const memlane_membership *membership, memlane_lane_control *controls, uint32_t lanes,
                                 uint32_t probes, uint32_t *next, uint32_t *lane)
    bint memlane_lease_find_unused(const memlane_lane_control *controls, uint32_t lanes, uint32_t *lane)
    int memlane_lease_watcher(const memlane_membership *membership, memlane_watcher *watchers, uint32_t count,
                              uint32_t *next)

cdef extern from "os/wakefd.h" nogil:
    struct memlane_owned:
        int descriptor
    struct memlane_wakefd:
        int descriptor
        uint64_t number, network, epoch
        memlane_owned watch
    int memlane_wakefd_open(memlane_wakefd *wakefd, uint64_t slice_ns)
    int memlane_wakefd_drain(memlane_wakefd *wakefd)
    int memlane_wakefd_send(uint64_t number, uint64_t network)
    void memlane_wakefd_close(memlane_wakefd *wakefd)

cdef extern from "runtime/selecting.h" nogil:
    struct memlane_selecting:
        const memlane_membership *membership
        uint64_t interest
    uint64_t memlane_selector_interest(uint64_t offset)
    bint memlane_selecting_begin(memlane_selecting *selecting, const memlane_membership *membership, memlane_wakefd *wakefd,
                                 uint32_t *next)
    void memlane_selecting_add(memlane_selecting *selecting, const void *word)
    bint memlane_selecting_arm(memlane_selecting *selecting)
    void memlane_selecting_announce(memlane_selecting *selecting, void *word)
    bint memlane_selecting_end(memlane_selecting *selecting)
    uint32_t memlane_selecting_wake(const memlane_membership *membership, void *word)
    uint32_t memlane_selecting_wake_all(const memlane_membership *membership)

cdef extern from "runtime/lane_memory.h" nogil:
    int memlane_lane_reserve(const memlane_membership *membership, const unsigned char *data, const memlane_wanted *wanted)
    uint64_t memlane_wanted_nbytes(const memlane_wanted *wanted)
    void memlane_lane_give_back(unsigned char *data, const memlane_stretch *stretch)
    uint64_t memlane_lane_tidy(const memlane_membership *membership, const memlane_lane *lane, memlane_queue_lane *shared,
                               uint64_t bytes_offset, uint64_t spare)

cdef extern from "stdbool.h":
    ctypedef bint c_bool "bool"  # where C has the address of one

cdef extern from "runtime/heap.h" nogil:
    struct memlane_run:
        uint64_t offset, nbytes
    struct memlane_holding:
        memlane_heap heap
    struct memlane_heap_totals:
        uint64_t blocks, nbytes, unsealed, ready, reserved, free, largest_free
    struct memlane_heap_share:
        uint64_t blocks, nbytes
        uint32_t of
        bint is_entry, is_lent
    memlane_status memlane_holding_begin(memlane_holding *holding, unsigned char *base, const memlane_heap_shape *shape,
                                         const memlane_membership *membership)
    void memlane_holding_end(memlane_holding *holding)
    memlane_status memlane_holding_allocate(memlane_holding *holding, uint64_t payload_nbytes, uint64_t meta_nbytes,
                                            uint64_t alignment, memlane_block *block, uint64_t *arena)
    bint memlane_holding_grow(const memlane_holding *holding, uint64_t arena, memlane_run *stretches, uint32_t *ready)
    memlane_status memlane_holding_open(memlane_holding *holding, uint32_t number, uint64_t generation,
                                        memlane_block *block, c_bool *freed)
    memlane_status memlane_holding_release(memlane_holding *holding, uint32_t number, uint64_t generation, c_bool *freed)
    bint memlane_holding_try_free(memlane_holding *holding, uint32_t number)
    memlane_status memlane_holding_lend(memlane_holding *holding, uint32_t number, uint32_t readers, uint32_t answerable,
                                        uint32_t *which, uint32_t *stamp)
    uint32_t memlane_holding_lent_left(const memlane_holding *holding, uint32_t number, uint32_t which, uint32_t stamp)
    uint32_t memlane_holding_lent_cancel(memlane_holding *holding, uint32_t number, uint32_t which, uint32_t stamp,
                                         c_bool *freed)
    uint64_t memlane_holding_collect(const memlane_holding *holding, uint64_t arena, uint32_t *next, uint32_t looks)
    uint64_t memlane_holding_free_digest(const memlane_holding *holding)
    uint64_t memlane_holding_trim(memlane_holding *holding, uint64_t arena, c_bool *freed)
    memlane_status memlane_holding_count(memlane_holding *holding, memlane_heap_totals *totals)
    uint32_t memlane_holding_shares(const memlane_holding *holding, memlane_heap_share *shares, uint32_t room)
