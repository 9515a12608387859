/* SPDX-License-Identifier: MIT */
#include "runtime/ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "os/clock.h"
#include "os/map.h"
#include "os/semwait.h"
#include "runtime/selecting.h"

/* A pass over what others have in hand asks for so many holders, then it goes on at the next look. */
enum { NOT_FOUND = -1 };
/* Each time that the end is put off, a commit or another consumer got on. So many tries more than there are lanes are
 * those of bytes that no sound program writes. */
enum { END_TRIES = 1000 };

struct memlane_ring_lane {
    union {
        struct memlane_consumer one;
        struct memlane_many many;
    };
    bool is_leased; /* its memory may be touched */
    bool is_closed;
    struct memlane_bell bell; /* of the producer */
};

/* ---- where things are ---------------------------------------------------------------------------- */

static struct memlane_lane_control *control_of(const struct memlane_ring *ring, uint32_t lane) {
    return (struct memlane_lane_control *)(void *)(ring->control + 1) + lane;
}

static struct memlane_lane lane_of(const struct memlane_ring *ring, uint32_t lane) {
    unsigned char *data = (unsigned char *)ring->control + ring->shape.data_offset + lane * ring->shape.data_nbytes;
    return (struct memlane_lane){
        .control = control_of(ring, lane),
        .descriptors = (struct memlane_descriptor *)(void *)data,
        .bytes = data + ring->shape.bytes_offset,
        .capacity = ring->shape.capacity,
        .records = ring->shape.records,
        .mask = ring->shape.descriptors - 1,
        .many = ring->consumers != NULL,
    };
}

static uint32_t leased_lanes(const struct memlane_ring *ring) {
    return memlane_ring_leased(ring->control, (uint32_t)ring->shape.lanes);
}

static struct memlane_membership *membership_of(const struct memlane_ring *ring) { return &ring->region->membership; }

static bool is_truncated(const struct memlane_ring *ring) {
    if (!memlane_guard_is_truncated(membership_of(ring)->guarded))
        return false;
    memlane_membership_abandon(membership_of(ring));
    return true;
}

int memlane_ring_open(struct memlane_ring *ring, struct memlane_region *region, const char *name) {
    struct memlane_entry entry;
    *ring = (struct memlane_ring){.region = region,
                                  .held = MEMLANE_EPOCH_CLOSED,
                                  .produces = MEMLANE_EPOCH_CLOSED,
                                  .consumes = MEMLANE_EPOCH_CLOSED};
    unsigned char *address = region->membership.address;
    int index = memlane_region_find(region, name, &entry, &ring->sequence);
    if (index < 0)
        return index;
    if (entry.kind != MEMLANE_KIND_RING)
        return -EINVAL;
    if (!memlane_ring_lay_out(&ring->shape, entry.geometry[0], entry.geometry[1], entry.geometry[2]) ||
        ring->shape.nbytes != entry.nbytes ||
        (entry.geometry[3] != MEMLANE_CONSUMERS_ONE && entry.geometry[3] != MEMLANE_CONSUMERS_MANY))
        return MEMLANE_CORRUPTED;
    ring->index = (uint32_t)index;
    ring->entry = memlane_entry_at((struct memlane_header *)(void *)address, &region->header, ring->index);
    ring->offset = entry.offset;
    ring->control = (struct memlane_ring_control *)(void *)(address + entry.offset);
    if (entry.geometry[3] == MEMLANE_CONSUMERS_MANY)
        ring->consumers = (_Atomic uint32_t *)(void *)(address + entry.offset + ring->shape.consumers_offset);
    ring->lanes = calloc(ring->shape.lanes, sizeof *ring->lanes);
    if (ring->lanes == NULL)
        return -ENOMEM;
    memlane_bell_begin(&ring->bell, &ring->control->doorbell, address);
    for (uint32_t lane = 0; lane < ring->shape.lanes; lane++)
        memlane_bell_begin(&ring->lanes[lane].bell, &control_of(ring, lane)->doorbell, address);
    memlane_spinning_begin(&ring->putting);
    memlane_spinning_begin(&ring->getting);
    return 0;
}

/* See that this process has a row, and that nobody uses the room of the ring again while it may write there. */
static int enter(struct memlane_ring *ring) {
    int error = memlane_region_join(ring->region);
    if (is_truncated(ring))
        return MEMLANE_TRUNCATED;
    if (error)
        return error;
    if (!memlane_entry_stands(ring->entry, ring->sequence))
        return -ESTALE;
    if (memlane_fork_is(ring->held))
        return 0;
    switch (memlane_membership_hold(membership_of(ring), ring->entry, ring->index, ring->sequence, &error)) {
    case MEMLANE_HELD:
        ring->held = memlane_fork_epoch();
        return 0;
    case MEMLANE_HOLD_GONE:
        return -ESTALE;
    case MEMLANE_HOLD_LOST:
        return MEMLANE_LOST;
    default:
        return -error;
    }
}

/* ---- waking -------------------------------------------------------------------------------------- */

static void wake_consumers(struct memlane_ring *ring, uint32_t times) {
    memlane_selecting_wake(membership_of(ring), &ring->control->waiters);
    memlane_bell_wake(&ring->bell, &ring->region->semaphores, &ring->control->waiters, times);
}

static void wake_producer(struct memlane_ring *ring, uint32_t lane) {
    memlane_selecting_wake(membership_of(ring), &control_of(ring, lane)->waiters);
    memlane_bell_wake(&ring->lanes[lane].bell, &ring->region->semaphores, &control_of(ring, lane)->waiters, 1);
}

/* One waiting put of each lane. */
static void wake_producers(struct memlane_ring *ring) {
    for (uint32_t lane = 0; lane < leased_lanes(ring); lane++)
        if (memlane_waiters_any_fenced(&control_of(ring, lane)->waiters))
            wake_producer(ring, lane);
}

/* ---- putting ------------------------------------------------------------------------------------- */

/* Take a lane. Returns: 0; MEMLANE_BUSY: all are taken; MEMLANE_CLOSED, MEMLANE_CORRUPTED or a negative errno. */
static int lease_lane(struct memlane_ring *ring) {
    const struct memlane_membership *membership = membership_of(ring);
    struct memlane_lane_control *controls = control_of(ring, 0);
    const uint32_t lanes = (uint32_t)ring->shape.lanes;
    uint32_t lane;
    if (memlane_ring_shutdown(ring->control))
        return MEMLANE_CLOSED;
    if (!memlane_lease_used_lane(membership, controls, lanes, MEMLANE_PROBES_A_STEP, &ring->next_probed, &lane)) {
        for (lane = 0; memlane_lease_find_unused(controls, lanes, &lane); lane++) {
            int error = memlane_reserve(membership->base,
                                        ring->offset + ring->shape.data_offset + lane * ring->shape.data_nbytes,
                                        ring->shape.data_nbytes);
            if (error)
                return error;
            if (memlane_lane_lease(&controls[lane], MEMLANE_OWNER_NEVER, membership->tag))
                break;
        }
        if (lane == lanes) /* not taken but closed, if the end came in between */
            return memlane_ring_shutdown(ring->control) ? MEMLANE_CLOSED : MEMLANE_BUSY;
    }
    ring->lane = lane;
    ring->producer.lane = lane_of(ring, lane);
    ring->producer.ring = ring->control;
    ring->producer.tag = membership->tag;
    enum memlane_status status = memlane_producer_adopt(&ring->producer);
    if (status != MEMLANE_OK) {
        memlane_lane_depart(&controls[lane], membership->tag);
        return (int)status;
    }
    memlane_producer_clock(&ring->producer, memlane_clock_of_process());
    memlane_producer_stamp_next(&ring->producer);
    memlane_ring_raise_leased(ring->control, lane + 1);
    ring->produces = memlane_fork_epoch();
    return 0;
}

static int try_put(struct memlane_ring *ring, const void *record, size_t nbytes) {
    int error = enter(ring);
    if (error == 0 && !memlane_fork_is(ring->produces))
        error = lease_lane(ring);
    if (error)
        return is_truncated(ring) ? MEMLANE_TRUNCATED : error;
    enum memlane_status status = memlane_producer_put(&ring->producer, record, nbytes);
    if (is_truncated(ring))
        return MEMLANE_TRUNCATED;
    if (status == MEMLANE_OK && memlane_producer_stamp_is_due(&ring->producer))
        memlane_producer_stamp_some(&ring->producer, memlane_coarse_ns());
    if (status == MEMLANE_OK && memlane_waiters_any(&ring->control->waiters)) {
        memlane_producer_stamp_next(&ring->producer);
        wake_consumers(ring, 1);
    }
    return (int)status;
}

/* The second look of a put that found no room. */
static int has_room(void *of) {
    const struct memlane_ring *ring = of;
    return memlane_producer_any(&ring->producer) || !memlane_entry_stands_ordered(ring->entry, ring->sequence);
}

int memlane_ring_put(struct memlane_ring *ring, const void *record, size_t nbytes, uint64_t deadline) {
    struct memlane_waiting waiting;
    struct memlane_lane first = lane_of(ring, 0);
    memlane_waiting_begin(&waiting, deadline, &ring->putting, has_room, ring);
    if (nbytes > memlane_max_record(&first))
        return MEMLANE_TOO_LARGE;
    for (bool is_counted = false;;) {
        int status = try_put(ring, record, nbytes);
        if (status != MEMLANE_FULL && status != MEMLANE_BUSY)
            return status;
        if (status == MEMLANE_FULL && !is_counted)
            memlane_producer_count_full(&ring->producer);
        is_counted |= status == MEMLANE_FULL;
        if (deadline == 0 || memlane_waiting_is_over(&waiting))
            return status;
        if (status == MEMLANE_BUSY)
            memlane_waiting_poll(&waiting);
        else if (!memlane_waiting_spin(&waiting, MEMLANE_WAIT_ADAPTIVE)) {
            memlane_bell_attach(&ring->lanes[ring->lane].bell, &ring->region->semaphores);
            memlane_waiting_sleep(&waiting, &control_of(ring, ring->lane)->waiters, &ring->lanes[ring->lane].bell);
        }
    }
}

/* ---- getting: how one consumer and many take a record -------------------------------------------- */

/* Become a consumer. Returns: 0; MEMLANE_BUSY: another process is the one consumer, and lives; MEMLANE_LOST. */
static int take_role(struct memlane_ring *ring) {
    const struct memlane_membership *membership = membership_of(ring);
    uint32_t holder;
    if (ring->consumers == NULL) {
        switch (memlane_lease_role(membership, &ring->control->consumer, &holder)) {
        case MEMLANE_LEASE_TAKEN:
            return MEMLANE_BUSY;
        case MEMLANE_LEASE_UNKNOWN:
            return MEMLANE_LOST;
        case MEMLANE_LEASED:
            break;
        }
        if (holder != MEMLANE_TAG_NONE)
            memlane_peers_note_dead(ring->control);
        memlane_peers_come(ring->control, NULL, membership->tag);
    }
    for (uint32_t lane = 0; lane < ring->shape.lanes; lane++) {
        struct memlane_ring_lane *known = &ring->lanes[lane];
        known->is_leased = known->is_closed = false;
        if (ring->consumers == NULL) {
            known->one.lane = lane_of(ring, lane);
            memlane_consumer_start(&known->one);
        } else {
            known->many.lane = lane_of(ring, lane);
            memlane_many_start(&known->many);
        }
    }
    ring->next_pass_ns = 0;
    ring->handed_back = memlane_many_handed_back(ring->control);
    ring->ending = false;
    if (ring->consumers != NULL)
        memlane_peers_come(ring->control, ring->consumers, membership->tag);
    ring->consumes = memlane_fork_epoch();
    return 0;
}

/* Whether the memory of a lane may be touched. */
static bool is_leased(struct memlane_ring *ring, uint32_t lane) {
    struct memlane_ring_lane *known = &ring->lanes[lane];
    if (!known->is_leased)
        known->is_leased = memlane_lane_owner(control_of(ring, lane)) != MEMLANE_OWNER_NEVER;
    return known->is_leased;
}

/* A look at one lane for a fresh record. */
static enum memlane_status look(struct memlane_ring *ring, uint32_t lane, struct memlane_found *found) {
    struct memlane_ring_lane *known = &ring->lanes[lane];
    if (ring->consumers != NULL)
        return memlane_many_look(&known->many, found);
    enum memlane_status status = memlane_consumer_peek(&known->one, &found->s, &found->extent);
    if (status == MEMLANE_BUSY) {
        memlane_consumer_skip(&known->one);
        status = memlane_consumer_peek(&known->one, &found->s, &found->extent);
    }
    return status;
}

/* A record whose taker is proven dead, or that was handed back. Returns: its lane, or NOT_FOUND. */
static int find_of_dead(struct memlane_ring *ring, uint32_t lanes, struct memlane_found *found) {
    const struct memlane_membership *membership = membership_of(ring);
    uint32_t living = membership->tag;
    /* before the looks: what is handed back after this makes another pass begin */
    ring->handed_back = memlane_many_handed_back(ring->control);
    ring->next_pass_ns = memlane_monotonic_ns() + MEMLANE_SLICE_NS;
    for (uint32_t lane = 0; lane < lanes; lane++) {
        if (!is_leased(ring, lane))
            continue;
        struct memlane_many *many = &ring->lanes[lane].many;
        uint64_t end = memlane_many_taken(&many->lane), steps = 4 * (many->lane.mask + 1);
        memlane_many_rescan(many);
        while (memlane_many_held_new(many, end, found, &steps)) {
            uint32_t tag = memlane_state_tag(found->state);
            /* Not known is no proof: one that closed its descriptors would take what the living have. */
            if (tag != membership->tag && tag != living) {
                if (tag != MEMLANE_TAG_NONE && memlane_membership_life(membership, tag) != MEMLANE_DEAD)
                    living = tag;
                else if (memlane_extent_of(&many->lane, found->s, &found->extent) == MEMLANE_OK)
                    return (int)lane;
            }
            memlane_many_met(many, found);
        }
    }
    return NOT_FOUND;
}

static bool comes_back(const struct memlane_ring *ring) {
    return ring->consumers != NULL && memlane_many_handed_back(ring->control) != ring->handed_back;
}

/* How many lanes to look at; 0 where all is dropped. At the end all lanes count. */
static uint32_t lanes_to_walk(const struct memlane_ring *ring) {
    uint32_t leased = leased_lanes(ring);
    switch (memlane_ring_shutdown(ring->control)) {
    case 0:
        return leased;
    case MEMLANE_SHUTDOWN_DRAIN:
        return (uint32_t)ring->shape.lanes;
    default:
        return 0;
    }
}

/* The first lane with a record to be had, from the one after the last served. Returns: MEMLANE_OK and *lane;
 * MEMLANE_EMPTY; MEMLANE_CORRUPTED. */
static enum memlane_status find(struct memlane_ring *ring, uint32_t *lane, struct memlane_found *found) {
    const uint32_t lanes = lanes_to_walk(ring);
    if (ring->consumers != NULL && (comes_back(ring) || memlane_monotonic_ns() >= ring->next_pass_ns)) {
        int dead = find_of_dead(ring, lanes, found);
        if (dead != NOT_FOUND) {
            ring->next_pass_ns = 0; /* there may be more of them */
            *lane = (uint32_t)dead;
            return MEMLANE_OK;
        }
    }
    *lane = ring->current;
    for (uint32_t turn = 0; turn < lanes; turn++, ++*lane) {
        if (*lane >= lanes)
            *lane = 0;
        if (!is_leased(ring, *lane))
            continue;
        enum memlane_status status = look(ring, *lane, found);
        if (status == MEMLANE_OK || status == MEMLANE_CORRUPTED)
            return status;
    }
    return MEMLANE_EMPTY;
}

/* Copy the record out that was found, and free it. Returns: MEMLANE_OK; MEMLANE_BUSY: another one was faster;
 * MEMLANE_LOST. */
static enum memlane_status take_one(struct memlane_ring *ring, uint32_t lane, const struct memlane_found *found,
                                    void *buffer) {
    struct memlane_consumer *consumer = &ring->lanes[lane].one;
    memlane_copy(buffer, consumer->lane.bytes + found->extent.offset, found->extent.nbytes);
    if (!memlane_role_held(&ring->control->consumer, membership_of(ring)->tag))
        return MEMLANE_LOST;
    if (memlane_consumer_finish(consumer, 1, memlane_occupied(found->extent.nbytes)) &&
        memlane_waiters_any_fenced(&control_of(ring, lane)->waiters))
        wake_producer(ring, lane);
    return MEMLANE_OK;
}

static enum memlane_status take_of_many(struct memlane_ring *ring, uint32_t lane, struct memlane_found *found,
                                        void *buffer) {
    const struct memlane_lane *view = &ring->lanes[lane].many.lane;
    const uint32_t tag = membership_of(ring)->tag;
    struct memlane_extent extent;
    if (memlane_state_kind(found->state) != MEMLANE_STATE_TAKEN) {
        if (memlane_many_take(view, found->s, 1, tag) == 0)
            return MEMLANE_BUSY;
    } else {
        const bool redelivered = memlane_state_tag(found->state) != MEMLANE_TAG_NONE;
        if (!memlane_many_claim(view, found, tag))
            return MEMLANE_BUSY;
        if (redelivered)
            memlane_many_count_redelivered(ring->control);
    }
    /* Only now it cannot change any more, except by one who spoils bytes. */
    if (memlane_extent_of(view, found->s, &extent) != MEMLANE_OK || extent.nbytes != found->extent.nbytes) {
        memlane_many_hand_back(ring->control, view, found->s, tag);
        return MEMLANE_BUSY;
    }
    memlane_copy(buffer, view->bytes + extent.offset, extent.nbytes);
    if (!memlane_many_free(view, found->s, tag))
        return MEMLANE_LOST;
    if (memlane_many_crosses(view, found->s, &extent) && memlane_waiters_any(&control_of(ring, lane)->waiters))
        wake_producer(ring, lane);
    if (memlane_ring_shutdown(ring->control) && memlane_waiters_any(&ring->control->waiters))
        wake_consumers(ring, MEMLANE_POSTS_MAX);
    return MEMLANE_OK;
}

/* ---- getting: the end ---------------------------------------------------------------------------- */

/* Whether nobody has a record in hand that may still come back. */
static bool is_drained(struct memlane_ring *ring) {
    if (ring->consumers != NULL)
        for (uint32_t lane = 0; lane < ring->shape.lanes; lane++)
            if (is_leased(ring, lane) && !ring->lanes[lane].is_closed &&
                !memlane_many_is_drained(&ring->lanes[lane].many))
                return false;
    return true;
}

static enum memlane_status close_lane(struct memlane_ring *ring, uint32_t lane, bool drop) {
    struct memlane_ring_lane *known = &ring->lanes[lane];
    if (ring->consumers == NULL) {
        if (drop)
            memlane_consumer_drop(&known->one);
        return memlane_consumer_close(&known->one);
    }
    if (drop)
        memlane_many_drop(&known->many, membership_of(ring)->tag);
    return memlane_many_close(&known->many);
}

/* Bring a ring that is shut down to its end. Returns: MEMLANE_CLOSED: it has ended; MEMLANE_BUSY: look again;
 * MEMLANE_EMPTY: nothing will follow, but others have records in hand; MEMLANE_CORRUPTED. */
static enum memlane_status close_lanes(struct memlane_ring *ring) {
    const bool drop = memlane_ring_shutdown(ring->control) == MEMLANE_SHUTDOWN_DROP;
    bool all_closed = true;
    for (uint32_t lane = 0; lane < ring->shape.lanes; lane++) {
        struct memlane_ring_lane *known = &ring->lanes[lane];
        if (known->is_closed)
            continue;
        if (!is_leased(ring, lane)) {
            known->is_closed = memlane_lane_close_unleased(control_of(ring, lane)) == MEMLANE_CLOSED;
            all_closed &= known->is_closed;
        } else if (memlane_lane_owner(control_of(ring, lane)) == MEMLANE_OWNER_CLOSED) {
            known->is_closed = true;
        } else {
            enum memlane_status status = close_lane(ring, lane, drop);
            if (status == MEMLANE_CORRUPTED)
                return status;
            all_closed &= status == MEMLANE_CLOSED;
        }
    }
    if (!all_closed)
        return MEMLANE_BUSY;
    ring->ending = !drop;
    return drop || is_drained(ring) ? MEMLANE_CLOSED : MEMLANE_EMPTY;
}

/* ---- getting ------------------------------------------------------------------------------------- */

/* The second look of a get: is there anything that it would act on? */
static int has_record(void *of) {
    struct memlane_ring *ring = of;
    if (comes_back(ring) || !memlane_entry_stands_ordered(ring->entry, ring->sequence))
        return true;
    if (ring->ending)
        return is_drained(ring);
    for (uint32_t lane = 0; lane < leased_lanes(ring); lane++)
        if (is_leased(ring, lane) && !ring->lanes[lane].is_closed &&
            (ring->consumers == NULL ? memlane_consumer_any(&ring->lanes[lane].one)
                                     : memlane_many_any(&ring->lanes[lane].many)))
            return true;
    return memlane_ring_shutdown(ring->control) != 0;
}

/* Look twice for what cannot be, before sleeping on it. */
static bool is_sound(struct memlane_ring *ring) {
    for (uint32_t lane = 0; lane < leased_lanes(ring); lane++) {
        struct memlane_ring_lane *known = &ring->lanes[lane];
        if (!is_leased(ring, lane))
            continue;
        if (ring->consumers == NULL
                ? memlane_consumer_overlooked(&known->one) && memlane_consumer_overlooked(&known->one)
                : memlane_many_overlooked(&known->many) && memlane_many_overlooked(&known->many))
            return false;
    }
    return true;
}

static int try_get(struct memlane_ring *ring, void *buffer, size_t room, size_t *nbytes) {
    int error = enter(ring);
    if (error == 0 && !memlane_fork_is(ring->consumes))
        error = take_role(ring);
    if (error)
        return is_truncated(ring) ? MEMLANE_TRUNCATED : error;
    for (;;) {
        struct memlane_found found;
        uint32_t lane;
        enum memlane_status status = find(ring, &lane, &found);
        if (status == MEMLANE_OK) {
            *nbytes = found.extent.nbytes;
            if (found.extent.nbytes > room)
                status = MEMLANE_TOO_LARGE;
            else if (ring->consumers == NULL)
                status = take_one(ring, lane, &found, buffer);
            else
                status = take_of_many(ring, lane, &found, buffer);
        }
        if (is_truncated(ring))
            return MEMLANE_TRUNCATED; /* then what was copied may be zeros */
        if (status == MEMLANE_BUSY)
            continue; /* another one got it */
        if (status == MEMLANE_OK)
            ring->current = lane + 1;
        return (int)status;
    }
}

int memlane_ring_get(struct memlane_ring *ring, void *buffer, size_t room, size_t *nbytes, uint64_t deadline) {
    struct memlane_waiting waiting;
    uint64_t tries = 0;
    bool has_waited = false;
    memlane_waiting_begin(&waiting, deadline, &ring->getting, has_record, ring);
    for (;;) {
        int status = try_get(ring, buffer, room, nbytes);
        /* One that was woken and sees more wakes the next sleeper. Those that wait by a descriptor were all woken by the put. */
        if (status == MEMLANE_OK && has_waited && memlane_waiters_any(&ring->control->waiters) && has_record(ring))
            memlane_bell_wake(&ring->bell, &ring->region->semaphores, &ring->control->waiters, 1);
        if (status != MEMLANE_EMPTY)
            return status;
        /* Nothing fresh: a producer that waits for room has it, however little was freed since it was last woken for. */
        wake_producers(ring);
        if (memlane_ring_shutdown(ring->control)) {
            status = (int)close_lanes(ring);
            if (status == MEMLANE_CLOSED)
                wake_consumers(ring, MEMLANE_POSTS_MAX);
            if (status == MEMLANE_BUSY && ++tries <= END_TRIES + ring->shape.lanes &&
                (deadline == 0 || !memlane_waiting_is_over(&waiting)))
                continue;
            if (status == MEMLANE_BUSY)
                return tries > END_TRIES + ring->shape.lanes ? MEMLANE_CORRUPTED : MEMLANE_EMPTY;
            if (status != MEMLANE_EMPTY)
                return status;
        }
        if (!is_sound(ring))
            return is_truncated(ring) ? MEMLANE_TRUNCATED : MEMLANE_CORRUPTED;
        if (deadline == 0 || memlane_waiting_is_over(&waiting))
            return MEMLANE_EMPTY;
        has_waited = true;
        if (!memlane_waiting_spin(&waiting, MEMLANE_WAIT_ADAPTIVE)) {
            memlane_bell_attach(&ring->bell, &ring->region->semaphores);
            memlane_waiting_sleep(&waiting, &ring->control->waiters, &ring->bell);
        }
    }
}

/* ---- the end ------------------------------------------------------------------------------------- */

void memlane_ring_leave(struct memlane_ring *ring) {
    struct memlane_membership *membership = membership_of(ring);
    const bool stands = memlane_fork_is(ring->held); /* else the room may be another object's */
    if (stands && memlane_fork_is(ring->produces))
        memlane_lane_depart(control_of(ring, ring->lane), membership->tag);
    if (stands && memlane_fork_is(ring->consumes)) {
        if (ring->consumers != NULL)
            memlane_peers_clear(ring->consumers, membership->tag);
        else
            memlane_role_give(&ring->control->consumer, membership->tag);
        wake_producers(ring); /* puts that require a consumer look who is left */
    }
    ring->produces = ring->consumes = MEMLANE_EPOCH_CLOSED;
}

void memlane_ring_close(struct memlane_ring *ring) {
    if (ring->lanes == NULL)
        return;
    memlane_ring_leave(ring);
    if (memlane_fork_is(ring->held))
        memlane_membership_unhold(membership_of(ring), ring->index);
    ring->held = MEMLANE_EPOCH_CLOSED;
    memlane_bell_end(&ring->bell);
    for (uint32_t lane = 0; lane < ring->shape.lanes; lane++)
        memlane_bell_end(&ring->lanes[lane].bell);
    free(ring->lanes);
    ring->lanes = NULL;
}
