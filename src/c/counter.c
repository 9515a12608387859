/* SPDX-License-Identifier: MIT
 *
 * Counters of the C face.
 */
#include <errno.h>
#include <stdlib.h>

#include "c/handles.h"
#include "core/counter.h"

/* As Python makes them: a line of its own for each. */
enum { OBJECT_NBYTES = 64 };

struct mlane_counter {
    struct mlane_object object;
    struct memlane_counter *word;
};

static int open_under_mutex(mlane_region *region, const char *name, mlane_counter **counter) {
    struct mlane_object found, *made;
    int error = mlane_object_find(region, name, MEMLANE_KIND_COUNTER, &found, &made);
    if (error == 0 && made == NULL) {
        struct mlane_counter *fresh = calloc(1, sizeof *fresh);
        unsigned char *address = region->attached.membership.address;
        if (fresh == NULL)
            return -ENOMEM;
        if (found.entry.nbytes < sizeof *fresh->word) {
            free(fresh);
            return MLANE_CORRUPTED;
        }
        fresh->object = found;
        fresh->word = (struct memlane_counter *)(void *)(address + found.entry.offset);
        mlane_object_share(&fresh->object);
        made = &fresh->object;
    }
    if (error == 0)
        *counter = (struct mlane_counter *)made;
    return error;
}

int mlane_counter_open(mlane_region *region, const char *name, mlane_counter **counter) {
    if (region == NULL || name == NULL || counter == NULL)
        return -EINVAL;
    pthread_mutex_lock(&region->mutex);
    int error = open_under_mutex(region, name, counter);
    pthread_mutex_unlock(&region->mutex);
    return error;
}

int mlane_counter_create(mlane_region *region, const char *name, mlane_counter **counter) {
    const struct mlane_wanted wanted = {
        .kind = MEMLANE_KIND_COUNTER, .nbytes = OBJECT_NBYTES, .reserved_nbytes = OBJECT_NBYTES};
    if (region == NULL || name == NULL || counter == NULL)
        return -EINVAL;
    pthread_mutex_lock(&region->mutex);
    int error = open_under_mutex(region, name, counter);
    if (error == -ENOENT && (error = mlane_object_add(region, name, &wanted)) == 0)
        error = open_under_mutex(region, name, counter);
    pthread_mutex_unlock(&region->mutex);
    return error;
}

int mlane_counter_value(mlane_counter *counter, int64_t *value) {
    *value = memlane_counter_load(counter->word);
    return mlane_judged(&counter->object);
}

int mlane_counter_add(mlane_counter *counter, int64_t amount, int64_t *value) {
    int error = mlane_hold(&counter->object);
    if (error)
        return error;
    int64_t now = memlane_counter_add(counter->word, amount);
    if (value != NULL)
        *value = now;
    return mlane_judged(&counter->object);
}

int mlane_counter_exchange(mlane_counter *counter, int64_t value, int64_t *before) {
    int error = mlane_hold(&counter->object);
    if (error)
        return error;
    int64_t found = memlane_counter_exchange(counter->word, value);
    if (before != NULL)
        *before = found;
    return mlane_judged(&counter->object);
}

int mlane_counter_compare_exchange(mlane_counter *counter, int64_t expected, int64_t value, int *done) {
    int error = mlane_hold(&counter->object);
    if (error)
        return error;
    bool changed = memlane_counter_compare_exchange(counter->word, expected, value);
    if (done != NULL)
        *done = changed;
    return mlane_judged(&counter->object);
}

static void take_down(struct mlane_object *object) { mlane_unhold(object); }

void mlane_counter_close(mlane_counter *counter) {
    if (counter != NULL)
        mlane_object_drop(&counter->object, take_down);
}
