/* SPDX-License-Identifier: MIT
 *
 * Samples: the numbers of many workers, each of which changes its own; a reader adds them up.
 *
 * A worker takes a block (its role, core/ownership.h) and appends its samples to it, each with its key. It alone changes
 * them, so a sample is one atomic step, and costs the others nothing.
 *
 * Nothing is done when a worker dies. Its block stays as it is, and the next worker that needs one takes it over with all
 * samples that are in it: what was counted counts on. So nothing is ever moved from a dead worker to a total, which could
 * be done twice or by half, and there are never more blocks than there were workers at once.
 *
 *   worker     take the role     write its name beside the old one     turn: n -> n + 1
 *
 * A sample of a gauge says of which turn it is. One of an earlier turn is a dead worker's: its value is part of what that
 * kind of gauge keeps of the dead, or is nothing any more. The first change in a new turn folds it into `past`. Both copies
 * and the word that chooses between them make that one step: `version` is stored last.
 *
 *   worker     write the other copy     version: [ turn | changes + 1 ]
 *   reader     version     the copy     version again: another one, once more
 *
 * If a worker dies at the worst moment: before `turn`, the next one begins anew; within a sample, the old copy counts; before
 * `used`, the bytes behind it are nobody's. Readers write nothing.
 */
#ifndef MEMLANE_SAMPLES_H
#define MEMLANE_SAMPLES_H

#include <stdbool.h>
#include <string.h>

#include "core/ownership.h"
#include "core/samples_layout.h"

#define MEMLANE_SAMPLE_CHANGES ((UINT64_C(1) << 40) - 1)

/* A reader that was overtaken so often takes what it has: each word of it is whole. Arbitrary. */
#define MEMLANE_SAMPLE_TRIES 1000u

static inline double memlane_double_of(uint64_t bits) {
    double number;
    memcpy(&number, &bits, sizeof(number));
    return number;
}

static inline uint64_t memlane_bits_of(double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof(bits));
    return bits;
}

static inline bool memlane_sample_is_kind(uint32_t kind) {
    return kind >= MEMLANE_SAMPLE_ADDED && kind <= MEMLANE_SAMPLE_LIVE_RECENT;
}

/* Whether a gauge of this kind is that of living workers alone. */
static inline bool memlane_sample_is_live(uint32_t kind) { return kind > MEMLANE_SAMPLE_ADDED && kind % 2 == 1; }

/* ---- a block ----------------------------------------------------------------------------------- */

/* How many workers had the block so far.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: 0: its memory may not be reserved. */
static inline uint64_t memlane_samples_turn(const struct memlane_samples_block *block) {
    /* sync: samples.turn. acquire: pairs with memlane_samples_begin */
    return atomic_load_explicit(&block->turn, memory_order_acquire);
}

/* Begin a turn: the block is that of a worker of this name. Its memory is reserved.
 * Callers: the owner of the role, once. Progress: wait-free. Ordering: release. Returns: the turn. */
static inline uint64_t memlane_samples_begin(struct memlane_samples_block *block, uint32_t tag, const void *text,
                                             uint32_t nbytes) {
    /* relaxed: only the owner stores it, and the role was acquired from the last one */
    const uint64_t turn = atomic_load_explicit(&block->turn, memory_order_relaxed) + 1;
    struct memlane_samples_name *name = &block->names[turn % 2];
    uint64_t words[MEMLANE_SAMPLES_NAME_WORDS] = {0};
    nbytes = nbytes < MEMLANE_SAMPLES_NAME_MAX ? nbytes : MEMLANE_SAMPLES_NAME_MAX;
    memcpy(words, text, nbytes);
    /* sync: samples.name. release, all: a reader that finds one of them finds that the turn of the old name is over; pairs
     * with memlane_samples_name */
    atomic_store_explicit(&name->owner, tag, memory_order_release);
    atomic_store_explicit(&name->nbytes, nbytes, memory_order_release); /* sync: samples.name. release: as above */
    for (unsigned i = 0; i < MEMLANE_SAMPLES_NAME_WORDS; i++)
        atomic_store_explicit(&name->words[i], words[i],
                              memory_order_release); /* sync: samples.name. release: as above */
    /* sync: samples.turn. release: the name is written, and the memory is there; pairs with memlane_samples_turn */
    atomic_store_explicit(&block->turn, turn, memory_order_release);
    return turn;
}

/* The name of the worker of the turn, copied: `text` has room for the longest. Where it is another one's by now, the turn
 * has moved on: look again.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: its bytes. */
static inline uint32_t memlane_samples_name(const struct memlane_samples_block *block, uint64_t turn, void *text,
                                            uint32_t *owner) {
    const struct memlane_samples_name *name = &block->names[turn % 2];
    uint64_t words[MEMLANE_SAMPLES_NAME_WORDS];
    /* sync: samples.name. acquire, all: of a later name the look at the turn finds that it is over; pairs with
     * memlane_samples_begin */
    *owner = atomic_load_explicit(&name->owner, memory_order_acquire);
    const uint32_t found = atomic_load_explicit(&name->nbytes, memory_order_acquire); /* sync: samples.name. acquire */
    for (unsigned i = 0; i < MEMLANE_SAMPLES_NAME_WORDS; i++)
        words[i] =
            atomic_load_explicit(&name->words[i], memory_order_acquire); /* sync: samples.name. acquire: as above */
    memcpy(text, words, sizeof(words));
    return found < MEMLANE_SAMPLES_NAME_MAX ? found : MEMLANE_SAMPLES_NAME_MAX;
}

/* Bytes of complete samples in a block.
 * Callers: anyone. Progress: wait-free. Ordering: acquire. Returns: at most `block_nbytes`, whatever is in memory. */
static inline uint64_t memlane_samples_used(const struct memlane_samples_block *block, uint64_t block_nbytes) {
    /* sync: samples.used. acquire: the samples below it are complete; pairs with memlane_samples_append */
    const uint64_t used = atomic_load_explicit(&block->used, memory_order_acquire);
    return used < block_nbytes ? used : block_nbytes;
}

static inline uint64_t memlane_sample_nbytes(uint64_t key_nbytes) {
    return memlane_round_up(sizeof(struct memlane_sample) + key_nbytes, 64);
}

/* The sample at `offset`, below `used`.
 * Callers: anyone. Progress: wait-free. Ordering: none. Returns: the bytes that it and its key take; 0: it is none, or does
 * not lie below `used` whole. */
static inline uint64_t memlane_samples_look(const unsigned char *data, uint64_t used, uint64_t offset,
                                            struct memlane_sample **sample, uint32_t *kind, uint32_t *key_nbytes) {
    if (offset > used || used - offset < sizeof(struct memlane_sample))
        return 0;
    *sample = (struct memlane_sample *)(void *)(uintptr_t)(data + offset);
    /* volatile: read once, since anybody may write there */
    *kind = *(const volatile uint32_t *)&(*sample)->kind;
    *key_nbytes = *(const volatile uint32_t *)&(*sample)->key_nbytes;
    const uint64_t nbytes = memlane_sample_nbytes(*key_nbytes);
    return memlane_sample_is_kind(*kind) && nbytes <= used - offset ? nbytes : 0;
}

/* What the workers before came to, in the beginning. */
static inline double memlane_sample_nothing(uint32_t kind) {
    const double infinity = memlane_double_of(UINT64_C(0x7ff0000000000000));
    return kind == MEMLANE_SAMPLE_MIN ? infinity : kind == MEMLANE_SAMPLE_MAX ? -infinity : 0.0;
}

/* Append a sample of value 0.
 * Callers: the owner of the block, in its turn. Progress: wait-free. Ordering: release. Returns: it; NULL: there is no room. */
static inline struct memlane_sample *memlane_samples_append(struct memlane_samples_block *block, unsigned char *data,
                                                            uint64_t block_nbytes, uint64_t turn, uint32_t kind,
                                                            const void *key, uint32_t key_nbytes) {
    const uint64_t used = memlane_round_up(memlane_samples_used(block, block_nbytes), 64);
    const uint64_t nbytes = memlane_sample_nbytes(key_nbytes);
    if (used > block_nbytes || nbytes > block_nbytes - used)
        return NULL;
    struct memlane_sample *sample = (struct memlane_sample *)(void *)(data + used);
    for (int i = 0; i < 2; i++) {
        /* relaxed, all: nobody looks here before `used` says that it is complete */
        atomic_store_explicit(&sample->copies[i].past, memlane_bits_of(memlane_sample_nothing(kind)),
                              memory_order_relaxed);
        atomic_store_explicit(&sample->copies[i].value, 0, memory_order_relaxed);
        atomic_store_explicit(&sample->copies[i].stamp, 0, memory_order_relaxed);
    }
    atomic_store_explicit(&sample->version, turn << 40, memory_order_relaxed); /* relaxed: as above */
    sample->kind = kind;
    sample->key_nbytes = key_nbytes;
    memcpy(sample + 1, key, key_nbytes);
    /* sync: samples.used. release: the sample is complete; pairs with memlane_samples_used */
    atomic_store_explicit(&block->used, used + nbytes, memory_order_release);
    return sample;
}

/* ---- numbers that are added up ------------------------------------------------------------------ */

/* Callers: anyone. Progress: wait-free. Ordering: seq_cst. Returns: the number. */
static inline double memlane_sample_load(const struct memlane_sample *sample) {
    /* sync: sample.value. seq_cst: a sample that was told of by any other way is in it; pairs with memlane_sample_add */
    return memlane_double_of(atomic_load_explicit(&sample->copies[0].value, memory_order_seq_cst));
}

/* Add to an ADDED number. Callers: its worker, any thread. Progress: lock-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_sample_add(struct memlane_sample *sample, double amount) {
    _Atomic uint64_t *value = &sample->copies[0].value;
    uint64_t found = atomic_load_explicit(value, memory_order_relaxed); /* relaxed: the swap compares it */
    /* sync: sample.value. seq_cst: as memlane_sample_load; failure relaxed: it is compared again */
    while (!atomic_compare_exchange_weak_explicit(value, &found, memlane_bits_of(memlane_double_of(found) + amount),
                                                  memory_order_seq_cst, memory_order_relaxed))
        ;
}

/* Set an ADDED number. Callers: its worker. Progress: wait-free. Ordering: seq_cst. Returns: nothing. */
static inline void memlane_sample_store(struct memlane_sample *sample, double value) {
    /* sync: sample.value. seq_cst: as memlane_sample_load */
    atomic_store_explicit(&sample->copies[0].value, memlane_bits_of(value), memory_order_seq_cst);
}

/* ---- gauges ------------------------------------------------------------------------------------- */

struct memlane_reading {
    double past, value, stamp;
    uint64_t turn; /* in which it was set, its low 24 bits */
};

/* Read a gauge: past, value and stamp of one change.
 * Callers: anyone. Progress: bounded. Ordering: acquire. Returns: false: it was overtaken every time, and these may be of
 * several changes. */
static inline bool memlane_sample_read(const struct memlane_sample *sample, struct memlane_reading *reading) {
    for (unsigned tries = 0; tries < MEMLANE_SAMPLE_TRIES; tries++) {
        /* sync: sample.version. acquire: the copy is written; pairs with memlane_sample_set */
        const uint64_t version = atomic_load_explicit(&sample->version, memory_order_acquire);
        const struct memlane_sample_copy *copy = &sample->copies[version % 2];
        /* sync: sample.copy. acquire, all three: of a value that is later than `version` the look below finds a later version,
         * too; pairs with memlane_sample_set */
        const uint64_t past = atomic_load_explicit(&copy->past, memory_order_acquire);
        const uint64_t value =
            atomic_load_explicit(&copy->value, memory_order_acquire); /* sync: sample.copy. acquire */
        const uint64_t stamp =
            atomic_load_explicit(&copy->stamp, memory_order_acquire); /* sync: sample.copy. acquire */
        reading->past = memlane_double_of(past);
        reading->value = memlane_double_of(value);
        reading->stamp = memlane_double_of(stamp);
        reading->turn = version >> 40;
        /* relaxed: what was read is acquired, and with it the version that went before it */
        if (atomic_load_explicit(&sample->version, memory_order_relaxed) == version)
            return true;
    }
    return false;
}

/* What the workers before a turn came to, where `reading` is what the last of them left. */
static inline double memlane_sample_fold(uint32_t kind, const struct memlane_reading *reading) {
    if (kind == MEMLANE_SAMPLE_MIN)
        return reading->value < reading->past ? reading->value : reading->past;
    if (kind == MEMLANE_SAMPLE_MAX)
        return reading->value > reading->past ? reading->value : reading->past;
    return kind == MEMLANE_SAMPLE_SUM ? reading->past + reading->value : 0.0;
}

/* Set a gauge.
 * Callers: its worker, one thread at a time. Progress: wait-free. Ordering: release. Returns: nothing. */
static inline void memlane_sample_set(struct memlane_sample *sample, uint32_t kind, uint64_t turn, double value,
                                      double stamp) {
    /* relaxed, all four: only the worker stores them, and the role was acquired from the last one */
    const uint64_t version = atomic_load_explicit(&sample->version, memory_order_relaxed);
    const struct memlane_sample_copy *now = &sample->copies[version % 2];
    struct memlane_reading found = {
        memlane_double_of(atomic_load_explicit(&now->past, memory_order_relaxed)), /* relaxed: as above */
        memlane_double_of(atomic_load_explicit(&now->value, memory_order_relaxed)), /* relaxed: as above */
        0.0, version >> 40};
    turn &= UINT64_MAX >> 40;
    const double past = found.turn == turn ? found.past : memlane_sample_fold(kind, &found);
    struct memlane_sample_copy *next = &sample->copies[(version + 1) % 2];
    /* sync: sample.copy. release, all three: a reader that finds one of them finds at least the version before this one, and
     * with it that its copy is not whole; pairs with memlane_sample_read */
    atomic_store_explicit(&next->past, memlane_bits_of(past), memory_order_release);
    atomic_store_explicit(&next->value, memlane_bits_of(value), memory_order_release); /* sync: sample.copy. release */
    atomic_store_explicit(&next->stamp, memlane_bits_of(stamp), memory_order_release); /* sync: sample.copy. release */
    /* sync: sample.version. release: the copy is written; pairs with memlane_sample_read */
    atomic_store_explicit(&sample->version, turn << 40 | ((version + 1) & MEMLANE_SAMPLE_CHANGES),
                          memory_order_release);
}

/* What its worker has set a gauge to in this turn. Callers: its worker. Progress: wait-free. Ordering: none.
 * Returns: 0 where it has not. */
static inline double memlane_sample_own(const struct memlane_sample *sample, uint64_t turn) {
    /* relaxed, both: only the worker stores them */
    const uint64_t version = atomic_load_explicit(&sample->version, memory_order_relaxed);
    if (version >> 40 != (turn & (UINT64_MAX >> 40)))
        return 0.0;
    return memlane_double_of(
        atomic_load_explicit(&sample->copies[version % 2].value, memory_order_relaxed)); /* relaxed */
}

/* ---- adding up ----------------------------------------------------------------------------------- */

struct memlane_total {
    double value, stamp;
    uint32_t samples; /* how many it is made of */
    uint32_t kind;
};

/* Add what a gauge or a number says to a total of its kind. `turn` is that of its block, `is_live` whether the worker of
 * that turn lives. Kinds that are told for each worker are left to the caller: *reading is one to be told.
 * Callers: anyone. Progress: bounded. Ordering: acquire. Returns: whether it says anything. */
static inline bool memlane_sample_join(const struct memlane_sample *sample, uint64_t turn, bool is_live,
                                       struct memlane_total *total, struct memlane_reading *reading) {
    const uint32_t kind = total->kind;
    if (kind == MEMLANE_SAMPLE_ADDED) {
        total->value += memlane_sample_load(sample);
        total->samples++;
        return true;
    }
    memlane_sample_read(sample, reading);
    const bool is_present = reading->turn == (turn & (UINT64_MAX >> 40));
    if ((memlane_sample_is_live(kind) && !(is_live && is_present)) || (kind == MEMLANE_SAMPLE_ALL && !is_present))
        return false;
    double value = reading->value;
    switch (kind) {
    case MEMLANE_SAMPLE_MIN:
    case MEMLANE_SAMPLE_MAX:
    case MEMLANE_SAMPLE_SUM:
        value = memlane_sample_fold(kind, reading);
        break;
    case MEMLANE_SAMPLE_RECENT:
    case MEMLANE_SAMPLE_LIVE_RECENT:
        if (!(reading->stamp > total->stamp))
            return false;
        break;
    default:
        break;
    }
    const bool is_first = total->samples++ == 0;
    switch (kind) {
    case MEMLANE_SAMPLE_MIN:
    case MEMLANE_SAMPLE_LIVE_MIN:
        total->value = is_first || value < total->value ? value : total->value;
        break;
    case MEMLANE_SAMPLE_MAX:
    case MEMLANE_SAMPLE_LIVE_MAX:
        total->value = is_first || value > total->value ? value : total->value;
        break;
    case MEMLANE_SAMPLE_SUM:
    case MEMLANE_SAMPLE_LIVE_SUM:
        total->value += value;
        break;
    default:
        total->value = value;
        total->stamp = reading->stamp;
        break;
    }
    return true;
}

#endif
