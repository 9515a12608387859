/* SPDX-License-Identifier: MIT
 *
 * Lanes that grow: memory is reserved by the producer step by step, and given back by consumers behind it.
 *
 * A lane of a queue is as large as a lane can be, and has memory only where it is used. This file makes no system call: it says
 * what is to be reserved or given back, and the caller does that.
 *
 *   bytes   0          write         oldest           span                       capacity
 *           +----------+-------------+----------------+------------------ - - - -+
 *           | newer    | free        | older          | never used, or given back |
 *           +----------+-------------+----------------+------------------ - - - -+
 *
 * Records go on at the beginning, as in a ring, where they find room there. Where they do not, the lane grows: records go
 * on at `span`, which moves. If that happens while newer records lie at the beginning, then the order of the bytes is not that
 * of the records: until every record is gone that was there then (`until`) nothing goes on at the beginning.
 *
 * What has memory is known to the producer alone, and not shared: `firm`, a stretch of bytes around `write`, and the
 * descriptors before a number. An heir knows nothing, and reserves again what is reserved already. So nothing is half done where
 * a producer dies. The descriptor of the next record has memory before the record in front of it is committed, since consumers
 * look at it.
 *
 * Giving back: a process takes the `keeper` word of the lane, for the value that `head` has. As long as it bears a tag nobody
 * moves `head`: the producer does so only by a compare-and-swap of the same word, from "nobody, head" to "nobody, new head".
 * So no record from `head` on can be overwritten, and what is free from `head` on, without a gap, is read by nobody. The whole
 * pages of that may be given back. `given` is raised before the word is let go, and `head` moved behind that, as the producer
 * does it. The producer, which sees the new `given` when it next looks at `head`, holds nothing for firm any more. A producer that
 * finds the word taken uses other memory: it does not wait. A dead keeper is replaced by the next one.
 *
 * Descriptors are given back behind `head`, as far as a lane has twice as many of them as records.
 *
 * A producer of such a lane keeps no views of what it has committed (memlane_producer_keep), and leaves `many` of its lane false:
 * it moves `head` here.
 *
 * A process that was stopped between its look at a state and a look at the number of the record, or that has an old number
 * from which it looks, may read memory that has been given back. It reads zeros, finds by its next look that what it
 * looked for is gone, and leaves a page behind that the next one gives back.
 */
#ifndef MEMLANE_QUEUE_GROWTH_H
#define MEMLANE_QUEUE_GROWTH_H

#include "core/lane_consumers.h"
#include "core/lane_producer.h"
#include "core/queue_layout.h"

/* Bytes that the producer walks through before it goes on at the beginning again, where records are not longer. Arbitrary: a
 * few times what fits into the cache of a processor would be slower. */
#define MEMLANE_GROWTH_SOFT (UINT64_C(1) << 19)
/* Reserved at a time: at first a page, then twice as much each time. Powers of two. Arbitrary. */
#define MEMLANE_GROWTH_STEP_MIN UINT64_C(4096)
#define MEMLANE_GROWTH_STEP_MAX (UINT64_C(1) << 18)
#define MEMLANE_GROWTH_RECORDS_MIN UINT64_C(256) /* whose descriptors fill a page */
#define MEMLANE_GROWTH_RECORDS_MAX UINT64_C(4096)
/* What the producer takes over at a time of what consumers have freed. The rest can be given back. Arbitrary. */
#define MEMLANE_GROWTH_BITE (UINT64_C(1) << 18)
#define MEMLANE_GROWTH_BITE_RECORDS UINT64_C(4096)
/* So often the word of the keeper and `head` are read again, where they contradict each other. */
#define MEMLANE_GROWTH_LOOKS 16
/* Lanes with fewer descriptors keep theirs. */
#define MEMLANE_GROWTH_TRIMMED_MIN (UINT64_C(1) << 16)

/* Bytes of a lane, from its first descriptor on, to be reserved or given back. Page aligned. */
struct memlane_stretch {
    uint64_t offset, nbytes;
};

/* What the producer of a lane knows of its memory. Private to it. */
struct memlane_growth {
    struct memlane_queue_lane *shared;
    uint64_t bytes_offset; /* of the lane's bytes, from its first descriptor */
    uint64_t soft; /* MEMLANE_GROWTH_SOFT, or less where there are many lanes */
    uint64_t span, until; /* as they are shared */
    uint64_t firm, firm_end; /* bytes that have memory, as an interval */
    uint64_t first_record; /* that was ours */
    uint64_t firm_records; /* descriptors of the records before it have memory, from the next one on */
    uint64_t step, step_records; /* to be reserved next time */
    uint64_t given; /* as it was when `head` was moved last */
    bool is_kept; /* somebody kept `head` when it was to be moved */
};

static inline uint64_t memlane_keeper_word(uint32_t tag, uint64_t head) { return (uint64_t)tag << 32 | (uint32_t)head; }

/* ---- the producer -------------------------------------------------------------------------------- */

/* Know nothing for firm, as an heir.
 * Callers: the new owner, before memlane_producer_adopt; `shared`, `bytes_offset` and `soft` are set. Progress: wait-free.
 * Ordering: the owner word was taken with acquire. Returns: nothing. */
static inline void memlane_growth_adopt(struct memlane_growth *growth, const struct memlane_lane *lane) {
    /* relaxed, both: only owners store them, and the lane changed hands since */
    uint64_t span = atomic_load_explicit(&growth->shared->span, memory_order_relaxed);
    growth->until = atomic_load_explicit(&growth->shared->until, memory_order_relaxed);
    growth->span = span < lane->capacity ? span & ~UINT64_C(7) : lane->capacity;
    growth->firm = growth->firm_end = 0;
    growth->first_record = growth->firm_records = 0;
    growth->step = MEMLANE_GROWTH_STEP_MIN;
    growth->step_records = MEMLANE_GROWTH_RECORDS_MIN;
    growth->is_kept = false;
    /* sync: queue.given. acquire: before anything is held for firm; pairs with memlane_growth_let_go */
    growth->given = atomic_load_explicit(&growth->shared->given, memory_order_acquire);
}

/* Whether newer records lie at the beginning, in front of older ones, and the newest behind them. */
static inline bool memlane_growth_jumped(const struct memlane_growth *growth, const struct memlane_producer *producer) {
    uint64_t ahead = growth->until - producer->head;
    return ahead != 0 && ahead <= producer->next - producer->head;
}

/* Find room in what the lane has. Returns: true and *offset. */
static inline bool memlane_growth_fit(const struct memlane_growth *growth, const struct memlane_producer *producer,
                                      uint64_t occupied, uint64_t *offset) {
    const uint64_t write = producer->write, oldest = producer->oldest;
    *offset = 0;
    if (producer->next == producer->head)
        return occupied <= growth->span;
    if (write > oldest) {
        bool may_wrap = occupied <= oldest && !memlane_growth_jumped(growth, producer);
        uint64_t soft = growth->soft < 2 * occupied ? 2 * occupied : growth->soft;
        if (write + occupied <= growth->span && (write + occupied <= soft || !may_wrap))
            *offset = write;
        return *offset != 0 || may_wrap;
    }
    *offset = write;
    return occupied <= oldest - write;
}

/* Find room by growing. Returns: true, *offset and what `span` and `until` become. */
static inline bool memlane_growth_extend(const struct memlane_growth *growth, const struct memlane_producer *producer,
                                         uint64_t occupied, uint64_t *offset, uint64_t *span, uint64_t *until) {
    *until = growth->until;
    if (producer->next == producer->head)
        *offset = 0;
    else if (producer->write > producer->oldest)
        *offset = producer->write;
    else {
        *offset = growth->span;
        *until = producer->next;
    }
    *span = *offset + occupied;
    return occupied <= producer->lane.capacity && *offset <= producer->lane.capacity - occupied;
}

/* Finish a move of `head` that was decided: the word of the keeper is ahead of it.
 * Callers: anyone that has read `keeper` and then `head`. Progress: wait-free. Ordering: acq_rel. Returns: false: they contradict
 * each other. */
static inline bool memlane_growth_mend(const struct memlane_lane *lane, uint64_t keeper, uint64_t head) {
    uint64_t ahead = (uint32_t)((uint32_t)keeper - (uint32_t)head);
    if (ahead > lane->mask + 1)
        return false;
    if (ahead != 0)
        /* sync: lane.head. acq_rel: a release, as in memlane_many_advance, on behalf of the process that decided it. Failure
         * relaxed: it was done. */
        atomic_compare_exchange_strong_explicit(&lane->control->head, &head, head + ahead, memory_order_acq_rel,
                                                memory_order_relaxed);
    return true;
}

/* Take over what consumers have freed, a bite of it.
 * Callers: the producer. Progress: bounded by MEMLANE_GROWTH_BITE_RECORDS. Ordering: acquire and more, as
 * memlane_many_advance. Returns: MEMLANE_OK, also where nothing was free or somebody keeps `head`; MEMLANE_CORRUPTED.
 * If the producer dies inside: `head` stays behind the word of the keeper, and the next process moves it. */
static inline enum memlane_status memlane_growth_refresh(struct memlane_growth *growth,
                                                         struct memlane_producer *producer) {
    const struct memlane_lane *lane = &producer->lane;
    uint64_t keeper, head;
    for (int looks = 0;; looks++) {
        /* sync: queue.keeper. acquire: a process that mended `head` has read what we read; pairs with the CAS below */
        keeper = atomic_load_explicit(&growth->shared->keeper, memory_order_acquire);
        /* relaxed: producers store it, keepers, and a process that finishes their moves */
        head = atomic_load_explicit(&lane->control->head, memory_order_relaxed);
        if (memlane_growth_mend(lane, keeper, head))
            break;
        /* What was read of the two may be from before and after a keeper that has let go; more than a few do not meet us. */
        if (looks == MEMLANE_GROWTH_LOOKS)
            return MEMLANE_CORRUPTED;
    }
    growth->is_kept = keeper >> 32 != MEMLANE_TAG_NONE;
    head += (uint32_t)((uint32_t)keeper - (uint32_t)head);
    uint64_t end = head, nbytes = 0;
    if (producer->next - head > lane->mask + 1)
        return MEMLANE_CORRUPTED;
    while (!growth->is_kept && end != producer->next && end - head < MEMLANE_GROWTH_BITE_RECORDS &&
           nbytes < MEMLANE_GROWTH_BITE) {
        struct memlane_extent extent;
        /* sync: descriptor.state (free). seq_cst: as in memlane_many_advance */
        if (atomic_load_explicit(&memlane_descriptor_of(lane, end)->state, memory_order_seq_cst) !=
            memlane_state(end, MEMLANE_STATE_FREE))
            break;
        if (memlane_extent_of(lane, end, &extent) != MEMLANE_OK)
            return MEMLANE_CORRUPTED;
        nbytes += memlane_occupied(extent.nbytes);
        end++;
    }
    if (end != head) {
        /* sync: queue.keeper. acq_rel: against memlane_growth_keep, one of the two wins; a release, since others may finish
         * the move for us. Acquire: what was given back by one that has let go is known below. Failure relaxed: nothing
         * was done. */
        growth->is_kept = !atomic_compare_exchange_strong_explicit(&growth->shared->keeper, &keeper,
                                                                   memlane_keeper_word(MEMLANE_TAG_NONE, end),
                                                                   memory_order_acq_rel, memory_order_relaxed);
        if (!growth->is_kept)
            (void)memlane_growth_mend(lane, memlane_keeper_word(MEMLANE_TAG_NONE, end), head);
    }
    enum memlane_status status = memlane_producer_refresh(producer);
    /* sync: queue.given. acquire: behind the CAS of the word, and behind the look at `head`, which a keeper moves as well; pairs
     * with memlane_growth_let_go */
    uint64_t given = atomic_load_explicit(&growth->shared->given, memory_order_acquire);
    if (given != growth->given) {
        growth->given = given;
        growth->firm = growth->firm_end = 0;
    }
    return status;
}

/* Memory that has to be reserved before a claim can stand. Private. */
struct memlane_wanted {
    struct memlane_stretch stretches[2];
    uint32_t count;
    bool is_bytes; /* else descriptors, and their stamps */
    uint64_t from, to; /* bytes, or the numbers of records */
};

static inline struct memlane_stretch memlane_stretch_around(uint64_t from, uint64_t to) {
    const uint64_t page = MEMLANE_ALIGNMENT - 1;
    return (struct memlane_stretch){from & ~page, ((to + page) & ~page) - (from & ~page)};
}

/* What holds the descriptors of records `from` to `to`, which do not come around, and their stamps. */
static inline void memlane_growth_want_records(const struct memlane_lane *lane, uint64_t from, uint64_t to,
                                               struct memlane_wanted *wanted) {
    const uint64_t first = from & lane->mask, last = first + (to - from), stamps = (lane->mask + 1) * 16;
    wanted->from = from;
    wanted->to = to;
    wanted->count = 2;
    wanted->is_bytes = false;
    wanted->stretches[0] = memlane_stretch_around(first * 16, last * 16);
    wanted->stretches[1] = memlane_stretch_around(stamps + first * 8, stamps + last * 8);
}

/* What has to have memory before a lane is leased for the first time.
 * Callers: anyone that is about to lease it. Progress: wait-free. Ordering: none. Returns: nothing. */
static inline void memlane_growth_first(const struct memlane_lane *lane, struct memlane_wanted *wanted) {
    uint64_t records = lane->mask + 1 < MEMLANE_GROWTH_RECORDS_MIN ? lane->mask + 1 : MEMLANE_GROWTH_RECORDS_MIN;
    memlane_growth_want_records(lane, 0, records, wanted);
}

/* Go on as the producer: behind memlane_producer_adopt. Callers: the new owner. Progress: wait-free. Ordering: none. Returns:
 * nothing. */
static inline void memlane_growth_begin(struct memlane_growth *growth, const struct memlane_producer *producer) {
    growth->first_record = growth->firm_records = producer->next;
}

/* Whether the descriptors of the next `records`, and of two behind them, have memory; if not, what is wanted. */
static inline bool memlane_growth_has_records(const struct memlane_growth *growth,
                                              const struct memlane_producer *producer, uint64_t records,
                                              struct memlane_wanted *wanted) {
    const uint64_t descriptors = producer->lane.mask + 1;
    uint64_t end = producer->next + records + 2, from = growth->firm_records;
    if ((int64_t)(from - end) >= 0)
        return true;
    uint64_t to = from + growth->step_records > end ? from + growth->step_records : end;
    to = (to + MEMLANE_GROWTH_RECORDS_MIN - 1) & ~(MEMLANE_GROWTH_RECORDS_MIN - 1);
    uint64_t around = from - (from & producer->lane.mask) + descriptors;
    memlane_growth_want_records(&producer->lane, from, to < around ? to : around, wanted);
    return false;
}

/* The same for bytes. */
static inline bool memlane_growth_has_bytes(const struct memlane_growth *growth,
                                            const struct memlane_producer *producer, uint64_t offset, uint64_t occupied,
                                            struct memlane_wanted *wanted) {
    const uint64_t page = MEMLANE_ALIGNMENT - 1, end = offset + occupied;
    if (growth->firm <= offset && end <= growth->firm_end)
        return true;
    bool goes_on = growth->firm <= offset && offset <= growth->firm_end && growth->firm != growth->firm_end;
    wanted->from = goes_on ? growth->firm_end : offset & ~page;
    wanted->to = wanted->from + growth->step > end ? wanted->from + growth->step : end;
    wanted->to = (wanted->to + page) & ~page;
    if (wanted->to > producer->lane.capacity)
        wanted->to = producer->lane.capacity;
    wanted->count = 1;
    wanted->is_bytes = true;
    wanted->stretches[0] = (struct memlane_stretch){growth->bytes_offset + wanted->from, wanted->to - wanted->from};
    return false;
}

/* Take note that what was wanted has memory now.
 * Callers: the producer, once it has reserved it. Progress: bounded by MEMLANE_GROWTH_RECORDS_MAX or the batch. Ordering: none;
 * a commit comes before any of the descriptors is looked at. Returns: nothing. */
static inline void memlane_growth_got(struct memlane_growth *growth, struct memlane_producer *producer,
                                      const struct memlane_wanted *wanted) {
    const struct memlane_lane *lane = &producer->lane;
    if (wanted->is_bytes) {
        if (growth->firm_end != wanted->from || growth->firm == growth->firm_end)
            growth->firm = wanted->from;
        growth->firm_end = wanted->to;
        growth->step = growth->step < MEMLANE_GROWTH_STEP_MAX ? 2 * growth->step : growth->step;
        return;
    }
    /* Of a lane that gives descriptors back they begin as zeros again, and that is record 0 of another round. Those of the
     * next two records are left alone: they are looked at, and may be closed. */
    for (uint64_t s = wanted->from; lane->mask + 1 >= MEMLANE_GROWTH_TRIMMED_MIN && s != wanted->to; s++)
        if ((int64_t)(s - producer->next) > 1)
            /* relaxed: nobody looks here before the record in front of it is committed by a release */
            atomic_store_explicit(&memlane_descriptor_of(lane, s)->state, memlane_state(s, MEMLANE_STATE_NONE),
                                  memory_order_relaxed);
    growth->firm_records = wanted->to;
    if (lane->mask + 1 < MEMLANE_GROWTH_TRIMMED_MIN && wanted->to - growth->first_record > lane->mask)
        growth->firm_records = wanted->to + (UINT64_C(1) << 62); /* all of them: they are never given back */
    growth->step_records =
        growth->step_records < MEMLANE_GROWTH_RECORDS_MAX ? 2 * growth->step_records : growth->step_records;
}

/* Claim room for one record, of a lane that grows.
 *
 * Callers:  the producer, no other claim open. Of a batch, `staged` records are in place and not committed.
 * Progress: bounded; does not wait for room.
 * Ordering: as memlane_producer_claim.
 * Returns:  MEMLANE_OK and *offset; MEMLANE_GROW: *wanted has to be reserved, then memlane_growth_got and the same again; where
 *           there is no memory nothing has happened. MEMLANE_FULL: a lane cannot be larger. MEMLANE_TOO_LARGE, MEMLANE_CLOSED,
 *           MEMLANE_LOST, MEMLANE_CORRUPTED as memlane_producer_claim.
 * If the producer dies with a claim: nothing has happened but that `span` and `until` may be larger. */
static inline enum memlane_status memlane_growth_claim(struct memlane_growth *growth, struct memlane_producer *producer,
                                                       uint64_t nbytes, uint64_t *offset,
                                                       struct memlane_wanted *wanted) {
    if (memlane_ring_shutdown(producer->ring))
        return MEMLANE_CLOSED;
    if (!memlane_producer_owns(producer))
        return MEMLANE_LOST;
    if (nbytes > memlane_max_record(&producer->lane))
        return MEMLANE_TOO_LARGE;
    const uint64_t occupied = memlane_occupied(nbytes);
    uint64_t span = growth->span, until = growth->until;
    if (producer->next - producer->head >= producer->lane.records ||
        !memlane_growth_fit(growth, producer, occupied, offset)) {
        enum memlane_status status = memlane_growth_refresh(growth, producer);
        if (status != MEMLANE_OK)
            return status;
        /* Again, now that head was looked at: as in memlane_producer_claim. */
        if (memlane_ring_shutdown(producer->ring))
            return MEMLANE_CLOSED;
        if (producer->next - producer->head >= producer->lane.records)
            return MEMLANE_FULL;
        if (!memlane_growth_fit(growth, producer, occupied, offset) &&
            !memlane_growth_extend(growth, producer, occupied, offset, &span, &until))
            return MEMLANE_FULL;
    }
    if (!memlane_growth_has_records(growth, producer, 1, wanted) ||
        !memlane_growth_has_bytes(growth, producer, *offset, occupied, wanted))
        return MEMLANE_GROW;
    if (span > growth->span) {
        growth->span = span;
        atomic_store_explicit(&growth->shared->span, span, memory_order_relaxed); /* relaxed: for the next owner */
    }
    if (until != growth->until) {
        growth->until = until;
        atomic_store_explicit(&growth->shared->until, until, memory_order_relaxed); /* relaxed: for the next owner */
    }
    return MEMLANE_OK;
}

/* What the producer itself can give back: bytes behind `write` that no record will need soon.
 * Callers: the producer, no claim open; it gives the stretch back, whereupon `span` is smaller. Progress: wait-free. Ordering:
 * none. Returns: true and *stretch.
 * If it dies inside: `span` is smaller, and the stretch has memory that is given back or used later. */
static inline bool memlane_growth_surplus(struct memlane_growth *growth, const struct memlane_producer *producer,
                                          struct memlane_stretch *stretch) {
    const uint64_t page = MEMLANE_ALIGNMENT - 1;
    bool is_empty = producer->next == producer->head;
    if (!is_empty && producer->write <= producer->oldest)
        return false; /* older records lie behind */
    uint64_t write = is_empty ? 0 : producer->write;
    uint64_t keep = ((write > growth->soft ? write : growth->soft) + page) & ~page;
    uint64_t end = (growth->span > growth->firm_end ? growth->span : growth->firm_end) & ~page;
    if (growth->span <= keep || growth->span - keep < growth->soft)
        return false;
    *stretch = (struct memlane_stretch){growth->bytes_offset + keep, end - keep};
    growth->span = growth->span < keep ? growth->span : keep;
    growth->firm_end = growth->firm_end < keep ? growth->firm_end : keep;
    growth->firm = growth->firm < growth->firm_end ? growth->firm : growth->firm_end;
    atomic_store_explicit(&growth->shared->span, growth->span, memory_order_relaxed); /* relaxed: for the next owner */
    return true;
}

/* ---- giving back --------------------------------------------------------------------------------- */

/* A process that keeps `head`, to give memory back. Private to it. */
struct memlane_keeper {
    const struct memlane_lane *lane;
    struct memlane_queue_lane *shared;
    uint64_t bytes_offset;
    uint32_t tag;
    uint64_t head, end; /* what is free from `head` on */
    uint64_t s; /* the next one to look at */
    uint64_t from, to; /* a stretch of bytes that goes on */
    bool gave;
};

/* Keep `head` where it is.
 *
 * Callers:  any participant, with its tag; lane, shared, bytes_offset and tag are set. memlane_growth_let_go follows.
 * Progress: wait-free.
 * Ordering: acq_rel.
 * Returns:  MEMLANE_OK; MEMLANE_BUSY: another one keeps it, *found is its word, or `head` moves; MEMLANE_CORRUPTED.
 * If the process dies while it keeps it: the producer goes on in other memory, and the next keeper calls
 * memlane_growth_bury. */
static inline enum memlane_status memlane_growth_keep(struct memlane_keeper *keeper, uint64_t *found) {
    /* sync: queue.keeper. acquire: pairs with memlane_growth_let_go */
    *found = atomic_load_explicit(&keeper->shared->keeper, memory_order_acquire);
    if (*found >> 32 != MEMLANE_TAG_NONE)
        return MEMLANE_BUSY;
    /* sync: lane.head. acquire: pairs with memlane_growth_mend */
    uint64_t head = atomic_load_explicit(&keeper->lane->control->head, memory_order_acquire);
    if ((uint32_t)*found != (uint32_t)head) {
        /* a move under way, or one whose producer died in it; what was read of the two may also be from before and after one */
        /* sync: queue.keeper. acquire: as above */
        bool same = atomic_load_explicit(&keeper->shared->keeper, memory_order_acquire) == *found;
        return same && !memlane_growth_mend(keeper->lane, *found, head) ? MEMLANE_CORRUPTED : MEMLANE_BUSY;
    }
    /* sync: queue.keeper. acq_rel: against the producer that moves `head`, and other keepers; failure relaxed: nothing was
     * done */
    if (!atomic_compare_exchange_strong_explicit(&keeper->shared->keeper, found, memlane_keeper_word(keeper->tag, head),
                                                 memory_order_acq_rel, memory_order_relaxed))
        return MEMLANE_BUSY;
    /* sync: lane.head. acquire: again, since 32 bits come around while one is stopped; nobody moves it now */
    keeper->head = keeper->s = keeper->end = atomic_load_explicit(&keeper->lane->control->head, memory_order_acquire);
    keeper->from = keeper->to = 0;
    keeper->gave = false;
    return MEMLANE_OK;
}

/* How many bytes lie in the records that are free from `head` on, without a gap: before anything is kept.
 * Callers: anyone, for a decision. Progress: bounded by `steps`. Ordering: acquire. Returns: bytes, about. */
static inline uint64_t memlane_growth_free_nbytes(const struct memlane_lane *lane, uint64_t steps) {
    uint64_t s = memlane_lane_head(lane), nbytes = 0;
    for (; steps > 0; steps--, s++) {
        struct memlane_extent extent;
        /* sync: descriptor.state (free). acquire: then its extent; pairs with memlane_many_free */
        if (atomic_load_explicit(&memlane_descriptor_of(lane, s)->state, memory_order_acquire) !=
                memlane_state(s, MEMLANE_STATE_FREE) ||
            memlane_extent_of(lane, s, &extent) != MEMLANE_OK)
            break;
        nbytes += memlane_occupied(extent.nbytes);
    }
    return nbytes;
}

/* The whole pages of the stretch that goes on. Returns: false: there are none. */
static inline bool memlane_growth_pages(struct memlane_keeper *keeper, struct memlane_stretch *stretch) {
    const uint64_t page = MEMLANE_ALIGNMENT - 1;
    uint64_t from = (keeper->from + page) & ~page, to = keeper->to & ~page;
    keeper->from = keeper->to = 0;
    if (from >= to)
        return false;
    *stretch = (struct memlane_stretch){keeper->bytes_offset + from, to - from};
    return true;
}

/* The next stretch of bytes to give back, of at most `steps` records.
 *
 * Callers:  a keeper; it gives the stretch back, and asks again. At the end, or whenever it likes, it lets go.
 * Progress: bounded by `steps`.
 * Ordering: acquire: a record that is free is read by nobody.
 * Returns:  true and *stretch: it was `gave`; false: nothing more is free. */
static inline bool memlane_growth_next(struct memlane_keeper *keeper, uint64_t steps, struct memlane_stretch *stretch) {
    const struct memlane_lane *lane = keeper->lane;
    for (; steps > 0 && keeper->s - keeper->head <= lane->mask; steps--) {
        struct memlane_extent extent;
        /* sync: descriptor.state (free). acquire: all reads of the record are over; pairs with memlane_many_free. Without it
         * memory is given back under a copy. */
        if (atomic_load_explicit(&memlane_descriptor_of(lane, keeper->s)->state, memory_order_acquire) !=
                memlane_state(keeper->s, MEMLANE_STATE_FREE) ||
            memlane_extent_of(lane, keeper->s, &extent) != MEMLANE_OK)
            break;
        keeper->s++;
        bool goes_on = extent.offset == keeper->to && keeper->to != 0;
        bool is_due = !goes_on && memlane_growth_pages(keeper, stretch);
        if (!goes_on)
            keeper->from = extent.offset;
        keeper->to = extent.offset + memlane_occupied(extent.nbytes);
        if (is_due) {
            keeper->gave = true;
            return true;
        }
    }
    keeper->end = keeper->s;
    bool is_due = memlane_growth_pages(keeper, stretch);
    keeper->gave |= is_due;
    return is_due;
}

/* The descriptors to give back: those far behind `head`. What was wanted is then noted by memlane_growth_trimmed.
 * Callers: a keeper. Progress: wait-free. Ordering: none. Returns: true and *wanted, of which the pages are whole. */
static inline bool memlane_growth_trim(const struct memlane_keeper *keeper, struct memlane_wanted *wanted) {
    const uint64_t descriptors = keeper->lane->mask + 1, behind = descriptors / 2 - 4 * MEMLANE_GROWTH_RECORDS_MAX;
    const uint64_t stamps_a_page = MEMLANE_ALIGNMENT / sizeof(uint64_t);
    if (descriptors < MEMLANE_GROWTH_TRIMMED_MIN || keeper->head < MEMLANE_GROWTH_RECORDS_MAX)
        return false;
    /* relaxed: keepers store it, one after the other */
    uint64_t from = atomic_load_explicit(&keeper->shared->trimmed, memory_order_relaxed);
    uint64_t least = keeper->head > behind ? keeper->head - behind : 0, to = keeper->head - MEMLANE_GROWTH_RECORDS_MAX;
    if ((int64_t)(least - from) > 0 || (int64_t)(from - to) > 0)
        from = least;
    from = (from + stamps_a_page - 1) & ~(stamps_a_page - 1);
    to &= ~(stamps_a_page - 1);
    uint64_t around = from - (from & keeper->lane->mask) + descriptors;
    if ((int64_t)(to - around) > 0)
        to = around;
    if ((int64_t)(to - from) <= 0)
        return false;
    memlane_growth_want_records(keeper->lane, from, to, wanted);
    return true;
}

static inline void memlane_growth_trimmed(const struct memlane_keeper *keeper, const struct memlane_wanted *wanted) {
    /* relaxed: the next keeper finds it behind the word that we let go */
    atomic_store_explicit(&keeper->shared->trimmed, wanted->to, memory_order_relaxed);
}

static inline void memlane_growth_raise_given(struct memlane_queue_lane *shared) {
    /* sync: queue.given. release: behind the giving back, and before the word is let go; pairs with memlane_growth_refresh.
     * Without it a producer writes into memory that it holds for reserved, and that is not. */
    atomic_fetch_add_explicit(&shared->given, 1, memory_order_release);
}

/* Let `head` go, and move it over what is free: that need not be looked at again, also where no producer comes any more.
 * Callers: a keeper, once. Progress: wait-free. Ordering: release. Returns: false: we were taken for dead.
 * If the process dies inside: as a producer that moves `head`. */
static inline bool memlane_growth_let_go(const struct memlane_keeper *keeper) {
    uint64_t ours = memlane_keeper_word(keeper->tag, keeper->head);
    uint64_t next = memlane_keeper_word(MEMLANE_TAG_NONE, keeper->s);
    if (keeper->gave)
        memlane_growth_raise_given(keeper->shared);
    /* sync: queue.keeper. release: pairs with the CAS of memlane_growth_refresh, and what was found free is so for the producer,
     * too. A CAS: the word of another keeper stays. Failure relaxed: nothing was done. */
    if (!atomic_compare_exchange_strong_explicit(&keeper->shared->keeper, &ours, next, memory_order_release,
                                                 memory_order_relaxed))
        return false;
    (void)memlane_growth_mend(keeper->lane, next, keeper->head);
    return true;
}

/* Let `head` go for a keeper that is proven dead, whatever it had given back.
 * Callers: anyone that has found its word and proven its tag dead. Progress: wait-free. Ordering: acq_rel. Returns: nothing. */
static inline void memlane_growth_bury(struct memlane_queue_lane *shared, uint64_t found) {
    memlane_growth_raise_given(shared);
    /* sync: queue.keeper. acq_rel: as in memlane_growth_let_go, for the dead; failure relaxed: another one has done it */
    atomic_compare_exchange_strong_explicit(&shared->keeper, &found, found & UINT32_MAX, memory_order_acq_rel,
                                            memory_order_relaxed);
}

#endif
