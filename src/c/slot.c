/* SPDX-License-Identifier: MIT
 *
 * Slots of the C face: the latest value, of one writer or of many that take turns.
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

#include "c/handles.h"
#include "core/slot.h"
#include "os/clock.h"
#include "os/semwait.h"
#include "runtime/lease.h"
#include "runtime/selecting.h"

enum { DEFAULT_COPIES = 4, WATCHERS = 64 };
/* After so many tries a reader lets the writer run; and a writer asks the kernel whether the one inside lives. As in Python,
 * both arbitrary. */
enum { READ_TRIES = 16 };
static const uint64_t WRITER_PATIENCE_NS = 100000, PAUSE_NS = 50000;

struct mlane_slot {
    struct mlane_object object;
    struct mlane_turn publishing;
    struct memlane_slots_shape shape;
    struct memlane_slot view;
    struct memlane_watcher *watchers;
    uint64_t writes; /* epoch in which the writer's role was taken */
    struct memlane_bell bells[MEMLANE_WATCHERS_MAX]; /* of the watchers, to wake them */
};

static int begin(struct mlane_slot *slot) {
    const uint64_t *geometry = slot->object.entry.geometry;
    unsigned char *region = slot->object.region->attached.membership.address;
    unsigned char *address = region + slot->object.entry.offset;
    if (!memlane_slots_lay_out(&slot->shape, geometry[0], geometry[1], geometry[2], geometry[3], geometry[4]) ||
        slot->shape.nbytes != slot->object.entry.nbytes || geometry[0] != 1)
        return MLANE_CORRUPTED;
    unsigned char *control = address + slot->shape.slots_offset;
    slot->watchers = (struct memlane_watcher *)(void *)address;
    slot->view = (struct memlane_slot){
        .control = (struct memlane_slot_control *)(void *)control,
        .stamps = (struct memlane_copy_stamp *)(void *)(control + sizeof(struct memlane_slot_control)),
        .copies = control + slot->shape.copies_offset,
        .nbytes = slot->shape.value_nbytes,
        .stride = slot->shape.copy_stride,
        .mask = slot->shape.copies - 1,
    };
    slot->writes = MEMLANE_EPOCH_CLOSED;
    for (uint64_t i = 0; i < slot->shape.watchers; i++)
        memlane_bell_begin(&slot->bells[i], &slot->watchers[i].doorbell, region);
    mlane_turn_begin(&slot->publishing);
    return 0;
}

static int open_under_mutex(mlane_region *region, const char *name, mlane_slot **slot) {
    struct mlane_object found, *made;
    int error = mlane_object_find(region, name, MEMLANE_KIND_SLOT, &found, &made);
    if (error == 0 && made == NULL) {
        struct mlane_slot *fresh = calloc(1, sizeof *fresh);
        if (fresh == NULL)
            return -ENOMEM;
        fresh->object = found;
        error = begin(fresh);
        if (error) {
            free(fresh);
            return error;
        }
        mlane_object_share(&fresh->object);
        made = &fresh->object;
    }
    if (error == 0)
        *slot = (struct mlane_slot *)made;
    return error;
}

int mlane_slot_open(mlane_region *region, const char *name, mlane_slot **slot) {
    if (region == NULL || name == NULL || slot == NULL)
        return -EINVAL;
    pthread_mutex_lock(&region->mutex);
    int error = open_under_mutex(region, name, slot);
    pthread_mutex_unlock(&region->mutex);
    return error;
}

int mlane_slot_create(mlane_region *region, const char *name, const struct mlane_slot_options *options,
                      mlane_slot **slot) {
    struct memlane_slots_shape shape;
    struct mlane_wanted wanted = {.kind = MEMLANE_KIND_SLOT};
    if (region == NULL || name == NULL || options == NULL || slot == NULL || options->nbytes == 0 ||
        options->many_writers > 1)
        return -EINVAL;
    const uint64_t copies = options->copies ? options->copies : DEFAULT_COPIES, writers = options->many_writers + 1;
    if (!memlane_slots_lay_out(&shape, 1, options->nbytes, copies, WATCHERS, writers))
        return -EINVAL;
    const uint64_t geometry[5] = {1, options->nbytes, copies, WATCHERS, writers};
    memcpy(wanted.geometry, geometry, sizeof geometry);
    wanted.nbytes = wanted.reserved_nbytes = shape.nbytes;
    memlane_slots_tell_doorbells(WATCHERS, &wanted.at_once, &wanted.later);
    snprintf(wanted.schema, sizeof wanted.schema, "bytes:%llu", (unsigned long long)options->nbytes);
    mlane_slot *made;
    pthread_mutex_lock(&region->mutex);
    int error = open_under_mutex(region, name, &made);
    if (error == -ENOENT && (error = mlane_object_add(region, name, &wanted)) == 0)
        error = open_under_mutex(region, name, &made);
    pthread_mutex_unlock(&region->mutex);
    if (error)
        return error;
    const struct memlane_slots_shape *is = &made->shape;
    if (is->value_nbytes != options->nbytes || is->writers != writers ||
        (options->copies != 0 && is->copies != options->copies)) {
        mlane_slot_close(made);
        return MLANE_OTHER_GEOMETRY;
    }
    *slot = made;
    return 0;
}

size_t mlane_slot_nbytes(const mlane_slot *slot) { return (size_t)slot->shape.value_nbytes; }

/* ---- publishing ------------------------------------------------------------------------------------------ */

/* The role of the one writer. The turn is ours. */
static int become_writer(struct mlane_slot *slot) {
    const struct memlane_membership *membership = &slot->object.region->attached.membership;
    uint32_t holder;
    if (memlane_fork_is(slot->writes))
        return memlane_role_held(&slot->view.control->writer, membership->tag) ? 0 : MLANE_LOST;
    switch (memlane_lease_writer(membership, slot->view.control, &holder)) {
    case MEMLANE_LEASED:
        slot->writes = memlane_fork_epoch();
        return 0;
    case MEMLANE_LEASE_TAKEN:
        return MLANE_ROLE_TAKEN;
    default:
        return MLANE_LOST;
    }
}

/* Be the one of many writers, after the one inside. The turn is ours. */
static int enter_after_others(struct mlane_slot *slot) {
    const struct memlane_membership *membership = &slot->object.region->attached.membership;
    const uint64_t began = memlane_monotonic_ns();
    uint32_t holder;
    for (;;) {
        const bool is_patient = memlane_monotonic_ns() - began > WRITER_PATIENCE_NS;
        if (memlane_lease_turn(membership, slot->view.control, is_patient, &holder))
            return 0;
        int error = mlane_judged(&slot->object);
        if (error)
            return error;
        if (is_patient)
            memlane_pause(PAUSE_NS);
        else
            sched_yield();
    }
}

/* The turn is ours, so the bells are. */
static void wake(struct mlane_slot *slot) {
    const struct memlane_region *attached = &slot->object.region->attached;
    const uint64_t armed = memlane_armed_collect(&slot->view.control->armed);
    for (uint32_t i = 0; i < slot->shape.watchers; i++)
        if (armed >> i & 1 && memlane_bell_attach(&slot->bells[i], &attached->semaphores))
            memlane_bell_post(&slot->bells[i], 1);
    if (memlane_waiters_any(&slot->view.control->selectors))
        memlane_selecting_wake(&attached->membership, &slot->view.control->selectors);
}

int mlane_slot_publish(mlane_slot *slot, const void *value, size_t nbytes, uint64_t *version) {
    if (slot == NULL || value == NULL)
        return -EINVAL;
    if (nbytes != slot->shape.value_nbytes)
        return MLANE_WRONG_LENGTH;
    int error = mlane_hold(&slot->object);
    if (error)
        return error;
    mlane_turn_take(&slot->publishing, MEMLANE_FOREVER);
    const bool is_many = slot->shape.writers == 2;
    const uint32_t tag = slot->object.region->attached.membership.tag;
    error = is_many ? enter_after_others(slot) : become_writer(slot);
    if (error == 0) {
        uint64_t made = memlane_slot_publish(&slot->view, value, memlane_boottime_ns(), memlane_clock_of_process());
        if (is_many)
            memlane_role_give(&slot->view.control->writer, tag);
        error = mlane_judged(&slot->object);
        if (version != NULL)
            *version = made;
        wake(slot);
    }
    mlane_turn_give(&slot->publishing);
    return error;
}

/* ---- reading ---------------------------------------------------------------------------------------------- */

int mlane_slot_read(mlane_slot *slot, void *value, size_t nbytes, uint64_t *version) {
    uint64_t found = 0;
    if (slot == NULL || value == NULL)
        return -EINVAL;
    if (nbytes != slot->shape.value_nbytes)
        return MLANE_WRONG_LENGTH;
    for (int tries = 1;; tries++) {
        enum memlane_status status = memlane_slot_read(&slot->view, value, &found);
        int error = mlane_judged(&slot->object);
        if (error)
            return error;
        if (version != NULL)
            *version = found;
        if (status != MEMLANE_BUSY)
            return mlane_code_of((int)status);
        if (tries % READ_TRIES == 0)
            sched_yield();
    }
}

/* One that waits, and for what. */
struct newer {
    struct mlane_slot *slot;
    uint64_t seen;
};

static int is_newer(void *of) {
    const struct newer *wanted = of;
    return memlane_slot_version(&wanted->slot->view) > wanted->seen || mlane_judged(&wanted->slot->object) != 0;
}

/* A place to be woken at, if this process may write, and one is free. Returns: its number, or -1: poll. */
static int take_watcher(struct mlane_slot *slot, struct memlane_bell *bell) {
    struct mlane_region *region = slot->object.region;
    uint32_t next = 0;
    if (region->attached.membership.readonly || mlane_hold(&slot->object) != 0)
        return -1;
    int watcher =
        memlane_lease_watcher(&region->attached.membership, slot->watchers, (uint32_t)slot->shape.watchers, &next);
    if (watcher < 0)
        return -1;
    pthread_mutex_lock(&region->mutex);
    mlane_doorbell_make(region, &slot->watchers[watcher].doorbell);
    pthread_mutex_unlock(&region->mutex);
    memlane_bell_begin(bell, &slot->watchers[watcher].doorbell, region->attached.membership.address);
    memlane_bell_attach(bell, &region->attached.semaphores);
    return watcher;
}

int mlane_slot_wait_newer(mlane_slot *slot, uint64_t seen, void *value, size_t nbytes, uint64_t *version,
                          int64_t timeout_ns) {
    struct memlane_waiting waiting;
    struct memlane_bell bell;
    struct newer wanted = {slot, seen};
    int watcher = -1;
    bool is_asked = false;
    if (slot == NULL || value == NULL)
        return -EINVAL;
    if (nbytes != slot->shape.value_nbytes)
        return MLANE_WRONG_LENGTH;
    memlane_waiting_begin(&waiting, mlane_deadline(timeout_ns), NULL, is_newer, &wanted);
    while (!is_newer(&wanted) && waiting.deadline != 0 && !memlane_waiting_is_over(&waiting)) {
        if (!is_asked)
            watcher = take_watcher(slot, &bell);
        is_asked = true;
        if (watcher < 0)
            memlane_waiting_poll(&waiting);
        else
            memlane_waiting_sleep_armed(&waiting, &slot->view.control->armed, (uint32_t)watcher, &bell);
    }
    if (watcher >= 0) {
        memlane_bell_end(&bell);
        memlane_role_give(&slot->watchers[watcher].owner, slot->object.region->attached.membership.tag);
    }
    int error = mlane_judged(&slot->object);
    if (error)
        return error;
    return memlane_slot_version(&slot->view) > seen ? mlane_slot_read(slot, value, nbytes, version) : MLANE_EMPTY;
}

static void take_down(struct mlane_object *object) {
    struct mlane_slot *slot = (struct mlane_slot *)object;
    if (memlane_fork_is(slot->writes) && slot->shape.writers == 1)
        memlane_role_give(&slot->view.control->writer, object->region->attached.membership.tag);
    for (uint64_t i = 0; i < slot->shape.watchers; i++)
        memlane_bell_end(&slot->bells[i]);
    mlane_unhold(object);
    mlane_turn_end(&slot->publishing);
}

void mlane_slot_close(mlane_slot *slot) {
    if (slot != NULL)
        mlane_object_drop(&slot->object, take_down);
}
