/* SPDX-License-Identifier: MIT
 *
 * Regions of the C face, and which of their objects this process has open.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "c/handles.h"

/* Where the set of semaphores is that this process is present at, to see later whether it still is. */
static void note_anchor(struct mlane_region *region) {
    char file[MEMLANE_SEMAPHORE_NAME_NBYTES];
    struct stat found;
    region->anchor_device = region->anchor_inode = 0;
    memlane_semaphore_file(region->attached.semaphores.set, 0, file);
    if (region->attached.anchor != NULL && stat(file, &found) == 0) {
        region->anchor_device = found.st_dev;
        region->anchor_inode = found.st_ino;
    }
}

/* The membership points to the private header, which has just moved with the region. */
static void move(struct memlane_region *to, const struct memlane_region *from) {
    *to = *from;
    to->membership.geometry = &to->header;
}

int mlane_region_of(const struct memlane_region *attached, mlane_region **region) {
    /* the private header is aligned as the shared one, which malloc does not promise */
    struct mlane_region *made = aligned_alloc(alignof(struct mlane_region), sizeof *made);
    if (made == NULL) {
        struct memlane_region unwanted;
        move(&unwanted, attached);
        memlane_region_close(&unwanted);
        return -ENOMEM;
    }
    memset(made, 0, sizeof *made);
    move(&made->attached, attached);
    pthread_mutex_init(&made->mutex, NULL);
    made->users = 1;
    note_anchor(made);
    *region = made;
    return 0;
}

static struct memlane_opening opening_of(unsigned flags) {
    return (struct memlane_opening){.readonly = flags & MLANE_READ_ONLY, .any_owner = flags & MLANE_ANY_OWNER};
}

int mlane_open(const char *name, unsigned flags, mlane_region **region) {
    struct memlane_region attached;
    const struct memlane_opening opening = opening_of(flags);
    if (name == NULL || region == NULL || flags & ~(unsigned)(MLANE_READ_ONLY | MLANE_ANY_OWNER))
        return -EINVAL;
    int error = memlane_region_open(&attached, name, &opening);
    return error ? mlane_code_of(error) : mlane_region_of(&attached, region);
}

int mlane_open_descriptor(int descriptor, unsigned flags, mlane_region **region) {
    struct memlane_region attached;
    const struct memlane_opening opening = opening_of(flags);
    if (region == NULL || flags & ~(unsigned)(MLANE_READ_ONLY | MLANE_ANY_OWNER))
        return -EINVAL;
    int error = memlane_region_open_descriptor(&attached, descriptor, &opening);
    return error ? mlane_code_of(error) : mlane_region_of(&attached, region);
}

int mlane_descriptor(const mlane_region *region) { return region->attached.membership.base; }

int mlane_join(mlane_region *region) {
    if (region == NULL)
        return -EINVAL;
    pthread_mutex_lock(&region->mutex);
    int error = memlane_region_join(&region->attached);
    pthread_mutex_unlock(&region->mutex);
    return mlane_code_of(error);
}

/* One user less; the last one takes the region down. */
static void release(struct mlane_region *region) {
    pthread_mutex_lock(&region->mutex);
    bool is_last = --region->users == 0;
    pthread_mutex_unlock(&region->mutex);
    if (!is_last)
        return;
    memlane_region_close(&region->attached);
    pthread_mutex_destroy(&region->mutex);
    free(region);
}

void mlane_close(mlane_region *region) {
    if (region != NULL)
        release(region);
}

/* ---- objects ----------------------------------------------------------------------------------------- */

int mlane_object_find(struct mlane_region *region, const char *name, uint32_t kind, struct mlane_object *found,
                      struct mlane_object **made) {
    *made = NULL;
    int index = memlane_region_find(&region->attached, name, &found->entry, &found->sequence);
    if (memlane_guard_is_truncated(region->attached.membership.guarded))
        return MLANE_TRUNCATED;
    if (index < 0)
        return index == -EBADMSG ? MLANE_CORRUPTED : index;
    if (found->entry.kind != kind)
        return MLANE_OTHER_KIND;
    found->region = region;
    found->kind = kind;
    found->index = (uint32_t)index;
    found->shared = memlane_entry_at((struct memlane_header *)(void *)region->attached.membership.address,
                                     &region->attached.header, found->index);
    atomic_init(&found->held, MEMLANE_EPOCH_CLOSED);
    for (struct mlane_object *open = region->objects; open != NULL; open = open->next)
        if (open->index == found->index && open->sequence == found->sequence) {
            open->handles += 1;
            *made = open;
            return 0;
        }
    return 0;
}

void mlane_object_share(struct mlane_object *made) {
    made->handles = 1;
    made->next = made->region->objects;
    made->region->objects = made;
    made->region->users += 1;
}

void mlane_object_drop(struct mlane_object *object, void (*take_down)(struct mlane_object *object)) {
    struct mlane_region *region = object->region;
    pthread_mutex_lock(&region->mutex);
    bool is_last = --object->handles == 0;
    for (struct mlane_object **at = &region->objects; is_last && *at != NULL; at = &(*at)->next)
        if (*at == object) {
            *at = object->next;
            break;
        }
    if (is_last)
        take_down(object);
    pthread_mutex_unlock(&region->mutex);
    if (!is_last)
        return;
    free(object);
    release(region);
}

/* Under the mutex of the region: another thread may have been faster. */
static int hold(struct mlane_object *object) {
    struct memlane_region *attached = &object->region->attached;
    int error = memlane_region_join(attached);
    if (error)
        return error;
    switch (memlane_membership_hold(&attached->membership, object->shared, object->index, object->sequence, &error)) {
    case MEMLANE_HELD:
        /* release: the row is in place; pairs with mlane_hold, whose caller goes on to use it */
        atomic_store_explicit(&object->held, memlane_fork_epoch(), memory_order_release);
        return 0;
    case MEMLANE_HOLD_GONE:
        return -ESTALE;
    case MEMLANE_HOLD_LOST:
        return MEMLANE_LOST;
    default:
        return -error;
    }
}

int mlane_hold(struct mlane_object *object) {
    struct mlane_region *region = object->region;
    if (memlane_guard_is_truncated(region->attached.membership.guarded))
        return MLANE_TRUNCATED;
    if (!memlane_entry_stands(object->shared, object->sequence))
        return MLANE_REMOVED;
    /* acquire: pairs with the store in hold */
    if (memlane_fork_is(atomic_load_explicit(&object->held, memory_order_acquire)))
        return 0;
    pthread_mutex_lock(&region->mutex);
    int error = hold(object);
    pthread_mutex_unlock(&region->mutex);
    return mlane_code_of(error);
}

void mlane_unhold(struct mlane_object *object) {
    /* relaxed: nobody else has a handle any more */
    if (memlane_fork_is(atomic_load_explicit(&object->held, memory_order_relaxed)))
        memlane_membership_unhold(&object->region->attached.membership, object->index);
}

int mlane_judged(const struct mlane_object *object) {
    if (memlane_guard_is_truncated(object->region->attached.membership.guarded))
        return MLANE_TRUNCATED;
    return memlane_entry_stands_ordered(object->shared, object->sequence) ? 0 : MLANE_REMOVED;
}
