/* SPDX-License-Identifier: MIT */
#include "runtime/selecting.h"

#include <errno.h>

#include "core/directory.h"
#include "runtime/lease.h"

static struct memlane_selector *table_of(const struct memlane_membership *membership) {
    return memlane_selectors_of((struct memlane_header *)(void *)membership->address, membership->geometry);
}

static struct memlane_selector *place_of(const struct memlane_selecting *selecting) {
    return &table_of(selecting->membership)[selecting->index];
}

static uint64_t interest_of(const struct memlane_membership *membership, const _Atomic uint32_t *word) {
    return memlane_selector_interest((uint64_t)((const unsigned char *)word - membership->address));
}

bool memlane_selecting_begin(struct memlane_selecting *selecting, const struct memlane_membership *membership,
                             struct memlane_wakefd *wakefd, uint32_t *next) {
    struct memlane_selector *table = table_of(membership);
    const uint32_t count = membership->geometry->selectors, start = *next;
    uint32_t probes = 0;
    *selecting = (struct memlane_selecting){.membership = membership, .wakefd = wakefd};
    /* free ones first, from the lowest: few to a class, and a waker finds them all in few lines */
    for (uint32_t step = 0; step < 2 * count; step++) {
        const uint32_t index = step < count ? step : (start + step) % count;
        uint32_t found = memlane_role_owner(&table[index].owner);
        if (step < count && found != MEMLANE_TAG_NONE)
            continue;
        if (found != MEMLANE_TAG_NONE) {
            if (found == membership->tag)
                continue; /* another one of this process */
            if (probes++ == MEMLANE_PROBES_A_STEP)
                return false;
            *next = (index + 1) % count;
            if (memlane_membership_life(membership, found) != MEMLANE_DEAD)
                continue;
        }
        if (memlane_role_take(&table[index].owner, found, membership->tag)) {
            selecting->index = index;
            memlane_selector_begin(&table[index], wakefd->number, wakefd->network);
            return true;
        }
    }
    return false;
}

void memlane_selecting_add(struct memlane_selecting *selecting, const _Atomic uint32_t *word) {
    selecting->interest |= interest_of(selecting->membership, word);
    memlane_selector_widen(place_of(selecting), selecting->interest);
}

/* Where it is refused, such wakers are noticed when a slice is over. Twice is once. */
static void let_distant_in(const struct memlane_selecting *selecting) {
    const struct memlane_membership *membership = selecting->membership;
    if (memlane_selector_is_distant(place_of(selecting)) && memlane_membership_is_file(membership, membership->base))
        (void)memlane_wakefd_watch(selecting->wakefd, membership->base);
}

bool memlane_selecting_arm(struct memlane_selecting *selecting) {
    struct memlane_selector *place = place_of(selecting);
    const struct memlane_membership *membership = selecting->membership;
    if (!memlane_role_held(&place->owner, membership->tag))
        return false;
    let_distant_in(selecting);
    memlane_selector_arm(place, selecting->wakefd->number, selecting->interest);
    return true;
}

void memlane_selecting_announce(struct memlane_selecting *selecting, _Atomic uint32_t *word) {
    memlane_selector_announce(word, selecting->index);
}

void memlane_selecting_disarm(struct memlane_selecting *selecting) {
    memlane_selector_disarm(place_of(selecting), selecting->wakefd->number);
}

bool memlane_selecting_end(struct memlane_selecting *selecting) {
    let_distant_in(selecting); /* the descriptor may have a place here again, which knows nothing of them */
    return memlane_selector_end(place_of(selecting), selecting->membership->tag);
}

static uint32_t wake(const struct memlane_membership *membership, uint32_t classes, uint64_t interest) {
    struct memlane_selector *table = table_of(membership);
    struct memlane_selector_found found;
    uint32_t at = 0, sent = 0;
    bool is_far = false;
    while (memlane_selectors_next(table, membership->geometry->selectors, classes, interest, &at, &found)) {
        int result = memlane_wakefd_send(found.number, found.network);
        sent += result == 0;
        if (result == 0 || result == -ECONNREFUSED)
            continue;
        memlane_selector_note_distant(&table[found.index]);
        is_far = true;
    }
    if (is_far && memlane_membership_is_file(membership, membership->base))
        (void)memlane_wakefd_stir(membership->base); /* refused: its owner looks again by itself */
    return sent;
}

uint32_t memlane_selecting_wake(const struct memlane_membership *membership, _Atomic uint32_t *word) {
    const uint32_t classes = memlane_selectors_take(word);
    return classes == 0 ? 0 : wake(membership, classes, interest_of(membership, word));
}

uint32_t memlane_selecting_wake_all(const struct memlane_membership *membership) {
    return wake(membership, UINT32_MAX, UINT64_MAX);
}
