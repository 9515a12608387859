/* SPDX-License-Identifier: MIT
 *
 * What is behind the handles of the C face: what threads share, and which lock keeps it.
 *
 * A region counts its objects, and an object its handles: opening one that is open already gives the same handle again. So
 * no two of them hold the byte of one entry, and the last close lets it go.
 *
 *   region.mutex    the list of objects, their counts, joining, making objects; held for system calls, never while waiting
 *                   for another process longer than it takes to make an object
 *   turn            who is inside of a put, of a get, of a publish; held while waiting for room or for a record
 *
 * A turn is taken before region.mutex, never after it.
 */
#ifndef MEMLANE_C_HANDLES_H
#define MEMLANE_C_HANDLES_H

#include <pthread.h>
#include <stdbool.h>

#include "memlane.h"
#include "runtime/attach.h"
#include "runtime/wait.h"

/* One of the verbs of an object, which one thread at a time is inside of. */
struct mlane_turn {
    pthread_mutex_t mutex;
    pthread_cond_t moved; /* it was given back, or its holder has begun to wait */
    bool is_held;
    bool waits; /* the holder waits for another process */
    uint64_t epoch; /* of the process that all of this belongs to */
};

struct mlane_object {
    struct mlane_region *region;
    struct mlane_object *next;
    uint32_t kind;
    uint32_t index; /* of the entry */
    uint64_t sequence; /* under which it was found */
    struct memlane_entry entry; /* a private copy, checked */
    struct memlane_entry *shared; /* the entry itself */
    _Atomic uint64_t held; /* epoch in which this process joined and locked the byte of the entry */
    uint32_t handles;
};

struct mlane_region {
    struct memlane_region attached;
    pthread_mutex_t mutex;
    uint64_t anchor_device, anchor_inode; /* of the set of semaphores; 0: there is none */
    struct mlane_object *objects;
    uint32_t users; /* objects, and the region's own handle */
};

/* What stands in the status of the runtime, as a code of memlane.h. */
int mlane_code_of(int status);

/* The moment at which a timeout ends; 0: at once. */
uint64_t mlane_deadline(int64_t timeout_ns);

void mlane_turn_begin(struct mlane_turn *turn);
void mlane_turn_end(struct mlane_turn *turn);

/* Take the turn. Returns false: another thread waits inside, and it is not our time to wait any longer. */
bool mlane_turn_take(struct mlane_turn *turn, uint64_t deadline);

/* Tell other threads, which may not want to wait, that this one is going to. */
void mlane_turn_wait(struct mlane_turn *turn);
void mlane_turn_give(struct mlane_turn *turn);

/* A new handle of an opened region, which is the handle's from then on, also on failure. */
int mlane_region_of(const struct memlane_region *attached, mlane_region **region);

/* Find the object, or share what is open of it: *made is not NULL then, and nothing more is to be done. Otherwise *found is
 * to be filled in, and handed to mlane_object_share. region->mutex is held by the caller. */
int mlane_object_find(struct mlane_region *region, const char *name, uint32_t kind, struct mlane_object *found,
                      struct mlane_object **made);
void mlane_object_share(struct mlane_object *made);

/* One handle less; with the last one, what the kind has made is taken down, under region->mutex. */
void mlane_object_drop(struct mlane_object *object, void (*take_down)(struct mlane_object *object));

/* Before a change: join, and keep the room for this object as long as a handle is open. Returns: 0 or a code. */
int mlane_hold(struct mlane_object *object);
void mlane_unhold(struct mlane_object *object);

/* Behind what a call has done: 0, or MLANE_TRUNCATED or MLANE_REMOVED: then what was read may be rubbish. */
int mlane_judged(const struct mlane_object *object);

/* What an object is to be that does not exist yet. */
struct mlane_wanted {
    uint32_t kind;
    uint64_t geometry[8];
    uint64_t nbytes, reserved_nbytes;
    struct memlane_doorbells at_once, later;
    char schema[64];
};

/* Add the object unless there is one of that name. region->mutex is held. Returns: 0, whoever added it. */
int mlane_object_add(struct mlane_region *region, const char *name, const struct mlane_wanted *wanted);

/* See that a doorbell has its semaphore, as its first user; without one, its users poll. region->mutex is held. */
void mlane_doorbell_make(struct mlane_region *region, struct memlane_doorbell *doorbell);

#endif
