/* SPDX-License-Identifier: MIT
 *
 * Turns: one thread at a time is inside of a verb, and threads that will not wait are told when the one inside does.
 *
 * A put that finds its lane full is the first in line for it. Another put of the same handle that does not wait is then
 * told that the ring is full, which is true; one that waits stands in line.
 */
#include <time.h>

#include "c/handles.h"
#include "os/semwait.h"

static void prepare(struct mlane_turn *turn) {
    pthread_condattr_t monotonic;
    pthread_mutex_init(&turn->mutex, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&turn->moved, &monotonic);
    pthread_condattr_destroy(&monotonic);
    turn->is_held = turn->waits = false;
    turn->epoch = memlane_fork_epoch();
}

void mlane_turn_begin(struct mlane_turn *turn) { prepare(turn); }

void mlane_turn_end(struct mlane_turn *turn) {
    if (!memlane_fork_is(turn->epoch))
        return; /* of the parent: its threads may be inside */
    pthread_cond_destroy(&turn->moved);
    pthread_mutex_destroy(&turn->mutex);
}

uint64_t mlane_deadline(int64_t timeout_ns) {
    if (timeout_ns == 0)
        return 0;
    if (timeout_ns < 0)
        return MEMLANE_FOREVER;
    return memlane_monotonic_ns() + (uint64_t)timeout_ns;
}

bool mlane_turn_take(struct mlane_turn *turn, uint64_t deadline) {
    if (!memlane_fork_is(turn->epoch))
        prepare(turn); /* in a child, where this is the only thread */
    struct timespec end = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)};
    bool is_late = false;
    pthread_mutex_lock(&turn->mutex);
    while (turn->is_held && !(turn->waits && is_late)) {
        if (deadline == 0)
            is_late = true;
        if (is_late && turn->waits)
            break;
        if (deadline == 0 || deadline == MEMLANE_FOREVER || is_late)
            pthread_cond_wait(&turn->moved, &turn->mutex);
        else
            is_late = pthread_cond_timedwait(&turn->moved, &turn->mutex, &end) != 0;
    }
    bool taken = !turn->is_held;
    turn->is_held = true;
    pthread_mutex_unlock(&turn->mutex);
    return taken;
}

void mlane_turn_wait(struct mlane_turn *turn) {
    pthread_mutex_lock(&turn->mutex);
    turn->waits = true;
    pthread_cond_broadcast(&turn->moved);
    pthread_mutex_unlock(&turn->mutex);
}

void mlane_turn_give(struct mlane_turn *turn) {
    pthread_mutex_lock(&turn->mutex);
    turn->is_held = turn->waits = false;
    pthread_cond_signal(&turn->moved);
    pthread_mutex_unlock(&turn->mutex);
}
