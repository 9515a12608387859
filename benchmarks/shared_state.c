/* SPDX-License-Identifier: MIT
 *
 * Costs of the map and the lock in C, beside a slot and a mutex of the C library, in one thread. Printed on demand:
 *
 *   cc -std=c11 -O2 -D_GNU_SOURCE -Isrc benchmarks/shared_state.c -o build/shared_state -lpthread && build/shared_state
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/lock.h"
#include "core/map_writer.h"
#include "core/slot.h"

enum { ROUNDS = 200000, TURNS = 9, ENTRIES = 1000, VALUE = 64 };

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void *allocate(size_t nbytes) {
    void *memory = NULL;
    if (posix_memalign(&memory, 4096, nbytes) != 0)
        abort();
    memset(memory, 0, nbytes);
    return memory;
}

static int is_dead(void *of, uint32_t tag) {
    (void)of;
    (void)tag;
    return false;
}

static struct memlane_map map;
static struct memlane_map_key keys[ENTRIES];
static char texts[ENTRIES][16];
static const struct memlane_map_clock now = {1000, 7};
static struct memlane_map_writer writer = {.tag = 1025, .is_dead = is_dead};
static struct memlane_slot slot;
static struct memlane_lock_control *lock;
static pthread_mutex_t mutex;
static unsigned char value[VALUE];

static void read_slot(int i) {
    uint64_t version;
    (void)i;
    if (memlane_slot_read(&slot, value, &version) != MEMLANE_OK)
        abort();
}
static void publish_slot(int i) {
    value[0] = (unsigned char)i;
    memlane_slot_publish(&slot, value, 1, 1);
}
static void read_map(int i, int keys_used) {
    uint64_t nbytes, version;
    struct memlane_map_key key;
    /* with the hash, as a caller has it to make */
    if (memlane_map_key_make(&map, &key, MEMLANE_KEY_STR, texts[i % keys_used], 10) != MEMLANE_OK ||
        memlane_map_read(&map, &key, &now, value, &nbytes, &version) != MEMLANE_OK)
        abort();
}
static void read_one(int i) { read_map(i, 1); }
static void read_all(int i) { read_map(i, ENTRIES * 9 / 10); }
static void ask(int i, enum memlane_map_how how) {
    struct memlane_map_change change = {.how = how, .value = value, .nbytes = VALUE};
    if (memlane_map_change(&map, &writer, &keys[i], &now, &change) != MEMLANE_OK)
        abort();
}
static void update_map(int i) {
    value[0] = (unsigned char)i;
    ask(0, MEMLANE_MAP_PUT);
}
static void insert_and_remove(int i) {
    (void)i;
    ask(ENTRIES - 1, MEMLANE_MAP_INSERT);
    ask(ENTRIES - 1, MEMLANE_MAP_REMOVE);
}
static void use_lock(int i) {
    uint32_t watcher;
    (void)i;
    if (!memlane_lock_try(lock, 1025) || !memlane_lock_release(lock, 1025, 0) || memlane_lock_choose(lock, &watcher))
        abort();
}
static void use_mutex(int i) {
    (void)i;
    pthread_mutex_lock(&mutex);
    pthread_mutex_unlock(&mutex);
}

static void measure(const char *what, void (*act)(int)) {
    double best = 1e9;
    for (int turn = 0; turn < TURNS; turn++) {
        const double began = seconds();
        for (int i = 0; i < ROUNDS; i++)
            act(i);
        const double each = (seconds() - began) / ROUNDS * 1e9;
        best = each < best ? each : best;
    }
    printf("%-52s %7.1f ns\n", what, best);
}

int main(void) {
    struct memlane_map_shape shape;
    struct memlane_slots_shape slots;
    const uint64_t seeds[2] = {11, 13};
    pthread_mutexattr_t robust;
    if (!memlane_map_lay_out(&shape, ENTRIES, 16, VALUE, 2, 0, MEMLANE_VALUES_FIXED) ||
        !memlane_slots_lay_out(&slots, 1, VALUE, 4, 0, 1))
        return 1;
    unsigned char *base = allocate(shape.nbytes), *object = allocate(slots.nbytes);
    memlane_map_begin(base, &shape, seeds);
    memlane_map_view(&map, base, &shape);
    for (int i = 0; i < ENTRIES; i++) {
        snprintf(texts[i], sizeof texts[i], "key-%06d", i);
        (void)memlane_map_key_make(&map, &keys[i], MEMLANE_KEY_STR, texts[i], 10);
        if (i < ENTRIES * 9 / 10)
            ask(i, MEMLANE_MAP_PUT);
    }
    slot = (struct memlane_slot){.control = (struct memlane_slot_control *)(void *)object,
                                 .stamps = (struct memlane_copy_stamp *)(void *)(object + 64),
                                 .copies = object + slots.copies_offset,
                                 .nbytes = VALUE,
                                 .stride = slots.copy_stride,
                                 .mask = 3};
    lock = allocate(sizeof *lock);
    pthread_mutexattr_init(&robust);
    pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&mutex, &robust);
    measure("slot: publish 64 bytes", publish_slot);
    measure("map: update 64 bytes", update_map);
    measure("map: insert and remove, 900 of 1,000 in use", insert_and_remove);
    measure("slot: read 64 bytes", read_slot);
    measure("map: read 64 bytes, one key of 10 bytes", read_one);
    measure("map: read 64 bytes, 900 keys in turn", read_all);
    measure("lock: try, release, look for waiters", use_lock);
    measure("robust pthread mutex: lock, unlock", use_mutex);
    return 0;
}
