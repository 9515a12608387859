/* SPDX-License-Identifier: MIT
 *
 * Rings of the C face: two rings of the runtime behind each handle, one that puts and one that gets.
 *
 * Each is used by one thread at a time, the one that has its turn. So a put that waits for room keeps nobody from getting.
 */
#include <errno.h>
#include <stdlib.h>

#include "c/handles.h"
#include "runtime/ring.h"
#include "runtime/selecting.h"

enum { DEFAULT_PRODUCERS = 16, BYTES_A_RECORD = 64, LEAST_A_RECORD = 8 };

struct mlane_ring {
    struct mlane_object object;
    struct mlane_turn putting, getting;
    struct memlane_ring sender, receiver;
};

static int begin(struct mlane_ring *ring, const char *name) {
    struct memlane_region *attached = &ring->object.region->attached;
    int error = memlane_ring_open(&ring->sender, attached, name);
    if (error)
        return mlane_code_of(error);
    error = memlane_ring_open(&ring->receiver, attached, name);
    if (error == 0 &&
        (ring->sender.sequence != ring->object.sequence || ring->receiver.sequence != ring->object.sequence)) {
        memlane_ring_close(&ring->receiver);
        error = -ESTALE; /* another one came in its place just now */
    }
    if (error)
        memlane_ring_close(&ring->sender);
    return mlane_code_of(error);
}

static int open_under_mutex(mlane_region *region, const char *name, mlane_ring **ring) {
    struct mlane_object found, *made;
    int error = mlane_object_find(region, name, MEMLANE_KIND_RING, &found, &made);
    if (error == 0 && made == NULL) {
        struct mlane_ring *fresh = calloc(1, sizeof *fresh);
        if (fresh == NULL)
            return -ENOMEM;
        fresh->object = found;
        error = begin(fresh, name);
        if (error) {
            free(fresh);
            return error;
        }
        mlane_turn_begin(&fresh->putting);
        mlane_turn_begin(&fresh->getting);
        mlane_object_share(&fresh->object);
        made = &fresh->object;
    }
    if (error == 0)
        *ring = (struct mlane_ring *)made;
    return error;
}

int mlane_ring_open(mlane_region *region, const char *name, mlane_ring **ring) {
    if (region == NULL || name == NULL || ring == NULL)
        return -EINVAL;
    pthread_mutex_lock(&region->mutex);
    int error = open_under_mutex(region, name, ring);
    pthread_mutex_unlock(&region->mutex);
    return error;
}

/* What the options ask for, in full. */
static int lay_out(const struct mlane_ring_options *options, struct mlane_wanted *wanted) {
    struct memlane_ring_shape shape;
    if (options->capacity == 0 || options->capacity > MEMLANE_CAPACITY_MAX || options->many_consumers > 1)
        return -EINVAL;
    const uint64_t capacity = memlane_align(options->capacity);
    uint64_t records = options->records ? options->records : capacity / BYTES_A_RECORD;
    if (records > MEMLANE_DESCRIPTORS_MAX)
        records = MEMLANE_DESCRIPTORS_MAX;
    if (records > capacity / LEAST_A_RECORD)
        records = capacity / LEAST_A_RECORD;
    const uint32_t lanes = options->producers ? options->producers : DEFAULT_PRODUCERS;
    if (!memlane_ring_lay_out(&shape, lanes, capacity, records))
        return -EINVAL;
    *wanted = (struct mlane_wanted){
        .kind = MEMLANE_KIND_RING,
        .geometry = {lanes, capacity, records,
                     options->many_consumers ? MEMLANE_CONSUMERS_MANY : MEMLANE_CONSUMERS_ONE},
        .nbytes = shape.nbytes,
        .reserved_nbytes = shape.data_offset,
    };
    memlane_ring_tell_doorbells(lanes, &wanted->at_once, &wanted->later);
    return 0;
}

/* Whether the ring that is there is what was asked for; what was left open is whatever it is. */
static bool is_as_asked(const struct mlane_ring *ring, const struct mlane_ring_options *options,
                        const struct mlane_wanted *wanted) {
    const uint64_t *is = ring->object.entry.geometry;
    return is[1] == wanted->geometry[1] && is[3] == wanted->geometry[3] &&
           (options->producers == 0 || is[0] == wanted->geometry[0]) &&
           (options->records == 0 || is[2] == wanted->geometry[2]);
}

int mlane_ring_create(mlane_region *region, const char *name, const struct mlane_ring_options *options,
                      mlane_ring **ring) {
    struct mlane_wanted wanted;
    if (region == NULL || name == NULL || options == NULL || ring == NULL)
        return -EINVAL;
    int error = lay_out(options, &wanted);
    if (error)
        return error;
    mlane_ring *made;
    pthread_mutex_lock(&region->mutex);
    error = open_under_mutex(region, name, &made);
    if (error == -ENOENT && (error = mlane_object_add(region, name, &wanted)) == 0)
        error = open_under_mutex(region, name, &made);
    pthread_mutex_unlock(&region->mutex);
    if (error)
        return error;
    if (!is_as_asked(made, options, &wanted)) {
        mlane_ring_close(made);
        return MLANE_OTHER_GEOMETRY;
    }
    *ring = made;
    return 0;
}

/* The doorbell at which the lane's producer waits: made by its first user. */
static void make_doorbell(struct mlane_ring *ring) {
    struct mlane_region *region = ring->object.region;
    struct memlane_lane_control *controls = (struct memlane_lane_control *)(void *)(ring->sender.control + 1);
    pthread_mutex_lock(&region->mutex);
    mlane_doorbell_make(region, &controls[ring->sender.lane].doorbell);
    pthread_mutex_unlock(&region->mutex);
}

int mlane_ring_put(mlane_ring *ring, const void *record, size_t nbytes, int64_t timeout_ns) {
    if (ring == NULL || (record == NULL && nbytes > 0))
        return -EINVAL;
    const uint64_t deadline = mlane_deadline(timeout_ns);
    int status = mlane_hold(&ring->object);
    if (status)
        return status;
    if (!mlane_turn_take(&ring->putting, deadline))
        return MLANE_FULL;
    status = memlane_ring_put(&ring->sender, record, nbytes, 0);
    if ((status == MEMLANE_FULL || status == MEMLANE_BUSY) && deadline != 0) {
        if (status == MEMLANE_FULL)
            make_doorbell(ring);
        mlane_turn_wait(&ring->putting);
        status = memlane_ring_put(&ring->sender, record, nbytes, deadline);
    }
    mlane_turn_give(&ring->putting);
    return mlane_code_of(status);
}

int mlane_ring_get(mlane_ring *ring, void *buffer, size_t room, size_t *nbytes, int64_t timeout_ns) {
    if (ring == NULL || nbytes == NULL || (buffer == NULL && room > 0))
        return -EINVAL;
    const uint64_t deadline = mlane_deadline(timeout_ns);
    int status = mlane_hold(&ring->object);
    *nbytes = 0;
    if (status)
        return status;
    if (!mlane_turn_take(&ring->getting, deadline))
        return MLANE_EMPTY;
    status = memlane_ring_get(&ring->receiver, buffer, room, nbytes, 0);
    if (status == MEMLANE_EMPTY && deadline != 0) {
        mlane_turn_wait(&ring->getting);
        status = memlane_ring_get(&ring->receiver, buffer, room, nbytes, deadline);
    }
    mlane_turn_give(&ring->getting);
    return mlane_code_of(status);
}

/* Wake all who wait at a doorbell, by a doorbell of our own: those of the two rings may be in use. */
static void wake_all(struct mlane_ring *ring, struct memlane_doorbell *doorbell, _Atomic uint32_t *count) {
    struct memlane_region *attached = &ring->object.region->attached;
    struct memlane_bell bell;
    if (!memlane_waiters_any_fenced(count))
        return;
    memlane_bell_begin(&bell, doorbell, attached->membership.address);
    memlane_selecting_wake(&attached->membership, count);
    memlane_bell_wake(&bell, &attached->semaphores, count, MEMLANE_POSTS_MAX);
    memlane_bell_end(&bell);
}

int mlane_ring_shutdown(mlane_ring *ring, int immediate) {
    if (ring == NULL)
        return -EINVAL;
    int error = mlane_hold(&ring->object);
    if (error)
        return error;
    struct memlane_ring_control *control = ring->sender.control;
    struct memlane_lane_control *controls = (struct memlane_lane_control *)(void *)(control + 1);
    memlane_ring_shut(control, immediate ? MEMLANE_SHUTDOWN_DROP : MEMLANE_SHUTDOWN_DRAIN);
    wake_all(ring, &control->doorbell, &control->waiters);
    for (uint32_t lane = 0; lane < ring->sender.shape.lanes; lane++)
        wake_all(ring, &controls[lane].doorbell, &controls[lane].waiters);
    return mlane_judged(&ring->object);
}

size_t mlane_ring_max_record(const mlane_ring *ring) {
    const struct memlane_lane lane = {.capacity = ring->sender.shape.capacity};
    return (size_t)memlane_max_record(&lane);
}

static void take_down(struct mlane_object *object) {
    struct mlane_ring *ring = (struct mlane_ring *)object;
    memlane_ring_leave(&ring->sender);
    memlane_ring_leave(&ring->receiver);
    memlane_ring_close(&ring->sender);
    memlane_ring_close(&ring->receiver);
    mlane_turn_end(&ring->putting);
    mlane_turn_end(&ring->getting);
}

void mlane_ring_close(mlane_ring *ring) {
    if (ring != NULL)
        mlane_object_drop(&ring->object, take_down);
}
