/* SPDX-License-Identifier: MIT */
#include "runtime/lease.h"

/* Whether a role that shows `found` may be taken from it: MEMLANE_LEASED if so. */
static enum memlane_lease judge(const struct memlane_membership *membership, uint32_t found) {
    if (found == MEMLANE_TAG_NONE)
        return MEMLANE_LEASED;
    switch (memlane_membership_life(membership, found)) {
    case MEMLANE_DEAD:
        return MEMLANE_LEASED;
    case MEMLANE_ALIVE:
        return MEMLANE_LEASE_TAKEN;
    default:
        return MEMLANE_LEASE_UNKNOWN;
    }
}

enum memlane_lease memlane_lease_role(const struct memlane_membership *membership, _Atomic uint32_t *role,
                                      uint32_t *holder) {
    for (;;) {
        *holder = memlane_role_owner(role);
        enum memlane_lease lease = judge(membership, *holder);
        if (lease != MEMLANE_LEASED || memlane_role_take(role, *holder, membership->tag))
            return lease;
    }
}

enum memlane_lease memlane_lease_writer(const struct memlane_membership *membership,
                                        struct memlane_slot_control *control, uint32_t *holder) {
    for (;;) {
        *holder = memlane_role_owner(&control->writer);
        enum memlane_lease lease = judge(membership, *holder);
        if (lease != MEMLANE_LEASED || memlane_writer_take(control, *holder, membership->tag))
            return lease;
    }
}

bool memlane_lease_turn(const struct memlane_membership *membership, struct memlane_slot_control *control,
                        bool patiently, uint32_t *holder) {
    *holder = memlane_role_owner(&control->writer);
    if (*holder != MEMLANE_TAG_NONE &&
        (*holder == membership->tag || !patiently || memlane_membership_life(membership, *holder) != MEMLANE_DEAD))
        return false;
    return memlane_writer_take(control, *holder, membership->tag);
}

bool memlane_lease_used_lane(const struct memlane_membership *membership, struct memlane_lane_control *controls,
                             uint32_t lanes, uint32_t probes, uint32_t *next, uint32_t *lane) {
    const uint32_t start = *next;
    for (*lane = 0; *lane < lanes; ++*lane)
        if (memlane_lane_owner(&controls[*lane]) == MEMLANE_OWNER_DEPARTED &&
            memlane_lane_lease(&controls[*lane], MEMLANE_OWNER_DEPARTED, membership->tag))
            return true;
    for (uint32_t step = 0; step < lanes; step++) {
        *lane = (start + step) % lanes;
        uint32_t owner = memlane_lane_owner(&controls[*lane]);
        if (owner <= MEMLANE_OWNER_CLOSED)
            continue;
        if (probes == 0)
            break;
        probes -= 1;
        *next = (*lane + 1) % lanes;
        if (memlane_membership_life(membership, owner) == MEMLANE_DEAD &&
            memlane_lane_lease(&controls[*lane], owner, membership->tag))
            return true;
    }
    return false;
}

bool memlane_lease_find_unused(const struct memlane_lane_control *controls, uint32_t lanes, uint32_t *lane) {
    for (; *lane < lanes; ++*lane)
        if (memlane_lane_owner(&controls[*lane]) == MEMLANE_OWNER_NEVER)
            return true;
    return false;
}

int memlane_lease_watcher(const struct memlane_membership *membership, struct memlane_watcher *watchers, uint32_t count,
                          uint32_t *next) {
    const uint32_t start = *next, tag = membership->tag;
    uint32_t probes = 0;
    for (uint32_t step = 0; step < count; step++) {
        uint32_t index = (start + step) % count;
        uint32_t found = memlane_role_owner(&watchers[index].owner);
        if (found != MEMLANE_TAG_NONE) {
            if (found == tag || probes == MEMLANE_PROBES_A_STEP)
                continue;
            probes += 1;
            *next = (index + 1) % count;
            if (memlane_membership_life(membership, found) != MEMLANE_DEAD)
                continue;
        }
        if (memlane_role_take(&watchers[index].owner, found, tag))
            return (int)index;
    }
    return -1;
}
