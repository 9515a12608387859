/* SPDX-License-Identifier: MIT */
#include "runtime/lane_memory.h"

#include <errno.h>
#include <sys/mman.h>

#include "core/queue.h"
#include "os/map.h"

int memlane_lane_reserve(const struct memlane_membership *membership, const unsigned char *data,
                         const struct memlane_wanted *wanted) {
    for (uint32_t i = 0; i < wanted->count; i++) {
        const struct memlane_stretch *stretch = &wanted->stretches[i];
        uint64_t offset = (uint64_t)(data - membership->address) + stretch->offset;
        int error;
        if (membership->geometry->backing == MEMLANE_BACKING_ANONYMOUS) {
            const uint64_t page = memlane_page_nbytes() - 1, first = offset & ~page;
            error = memlane_populate(membership->address + first, ((offset + stretch->nbytes + page) & ~page) - first);
        } else if (!memlane_membership_is_file(membership, membership->base))
            error = -EBADF;
        else
            error = memlane_reserve(membership->base, offset, stretch->nbytes);
        if (error)
            return error;
    }
    return 0;
}

uint64_t memlane_wanted_nbytes(const struct memlane_wanted *wanted) {
    uint64_t nbytes = 0;
    for (uint32_t i = 0; i < wanted->count; i++)
        nbytes += wanted->stretches[i].nbytes;
    return nbytes;
}

void memlane_lane_give_back(unsigned char *data, const struct memlane_stretch *stretch) {
    const uintptr_t page = memlane_page_nbytes() - 1;
    uintptr_t first = ((uintptr_t)data + stretch->offset + page) & ~page;
    uintptr_t end = ((uintptr_t)data + stretch->offset + stretch->nbytes) & ~page;
    if (first < end)
        (void)madvise((void *)first, end - first, MADV_REMOVE);
}

uint64_t memlane_lane_tidy(const struct memlane_membership *membership, const struct memlane_lane *lane,
                           struct memlane_queue_lane *shared, uint64_t bytes_offset, uint64_t spare) {
    unsigned char *data = (unsigned char *)lane->descriptors;
    struct memlane_keeper keeper = {
        .lane = lane, .shared = shared, .bytes_offset = bytes_offset, .tag = membership->tag};
    struct memlane_stretch stretch;
    struct memlane_wanted wanted;
    uint64_t found, nbytes = 0;
    if (memlane_growth_free_nbytes(lane, MEMLANE_QUEUE_SPARE_LOOKS) < spare)
        return 0;
    enum memlane_status status = memlane_growth_keep(&keeper, &found);
    if (status == MEMLANE_BUSY && found >> 32 != MEMLANE_TAG_NONE && (uint32_t)(found >> 32) != membership->tag &&
        memlane_membership_life(membership, (uint32_t)(found >> 32)) == MEMLANE_DEAD) {
        memlane_growth_bury(shared, found);
        status = memlane_growth_keep(&keeper, &found);
    }
    if (status != MEMLANE_OK)
        return 0;
    while (memlane_growth_next(&keeper, UINT64_MAX, &stretch)) {
        memlane_lane_give_back(data, &stretch);
        nbytes += stretch.nbytes;
    }
    while (memlane_growth_trim(&keeper, &wanted)) {
        for (uint32_t i = 0; i < wanted.count; i++)
            memlane_lane_give_back(data, &wanted.stretches[i]);
        nbytes += memlane_wanted_nbytes(&wanted);
        memlane_growth_trimmed(&keeper, &wanted);
    }
    (void)memlane_growth_let_go(&keeper);
    return nbytes;
}
