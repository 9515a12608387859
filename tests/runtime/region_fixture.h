/* SPDX-License-Identifier: MIT
 *
 * Regions made by hand, and processes that are killed: what the tests of src/runtime share.
 */
#ifndef MEMLANE_TESTS_REGION_FIXTURE_H
#define MEMLANE_TESTS_REGION_FIXTURE_H

#include "../core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/ring_layout.h"
#include "runtime/attach.h"

enum { FIXTURE_OBJECTS_NBYTES = 1 << 21, FIXTURE_WATCHDOG_S = 300 };

/* What the header of a region says that this test has made. */
struct fixture {
    int file;
    uint64_t nbytes;
    unsigned char *bytes; /* mapped, for building rare states by hand */
    struct memlane_header *header;
    uint64_t used; /* of the room for objects */
};

static inline void fixture_set(const struct fixture *made) {
    CHECK_EQUAL(sizeof *made->header, pwrite(made->file, made->header, sizeof *made->header, 0));
}

/* Make the file behind `file` a region. */
static inline struct fixture fixture_of(int file, uint32_t backing) {
    struct fixture made = {.file = file};
    struct memlane_header header;
    CHECK(file >= 0);
    memset(&header, 0, sizeof header);
    memlane_header_lay_out(&header, FIXTURE_OBJECTS_NBYTES);
    header.backing = backing;
    header.permissions = 0600;
    header.region_id = (uint64_t)getpid() << 32 | (uint64_t)file << 8 | backing;
    memlane_libc(header.libc);
    made.nbytes = header.nbytes;
    CHECK_EQUAL(0, ftruncate(file, (off_t)header.nbytes));
    made.bytes = mmap(NULL, made.nbytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(made.bytes != MAP_FAILED);
    made.header = (struct memlane_header *)(void *)made.bytes;
    memcpy(made.bytes, &header, sizeof header);
    return made;
}

static inline struct fixture fixture_memfd(void) {
    alarm(FIXTURE_WATCHDOG_S);
    return fixture_of(memfd_create("region", MFD_CLOEXEC), MEMLANE_BACKING_MEMFD);
}

static inline void fixture_end(struct fixture *made) {
    munmap(made->bytes, made->nbytes);
    close(made->file);
}

/* Add a ring "ring" to it, as memlane._region.directory does. */
static inline struct memlane_entry *fixture_add_ring(struct fixture *made, uint64_t lanes, uint64_t capacity,
                                                     uint64_t records, uint32_t consumers) {
    struct memlane_ring_shape shape;
    struct memlane_entry entry;
    CHECK(memlane_ring_lay_out(&shape, lanes, capacity, records));
    memset(&entry, 0, sizeof entry);
    strcpy(entry.name, "ring");
    entry.kind = MEMLANE_KIND_RING;
    entry.offset = made->header->objects_offset + made->used;
    entry.nbytes = shape.nbytes;
    entry.geometry[0] = lanes;
    entry.geometry[1] = capacity;
    entry.geometry[2] = records;
    entry.geometry[3] = consumers;
    memlane_ring_tell_doorbells(lanes, &entry.doorbells_at_once, &entry.doorbells_later);
    CHECK(made->used + shape.nbytes <= FIXTURE_OBJECTS_NBYTES);
    made->used += memlane_align(shape.nbytes);
    /* a memfd has its consumers' semaphore inside; that of a lane is there as if its first user had made it */
    struct memlane_ring_control *control = (struct memlane_ring_control *)(void *)(made->bytes + entry.offset);
    struct memlane_lane_control *controls = (struct memlane_lane_control *)(void *)(control + 1);
    if (made->header->backing == MEMLANE_BACKING_MEMFD) {
        struct memlane_bell bell;
        memlane_bell_begin(&bell, &control->doorbell, made->bytes);
        CHECK_EQUAL(0, memlane_bell_make(&bell));
        for (uint64_t lane = 0; lane < lanes; lane++) {
            memlane_bell_begin(&bell, &controls[lane].doorbell, made->bytes);
            CHECK_EQUAL(0, memlane_bell_make(&bell));
        }
    }
    memlane_directory_add(made->header, made->header, made->used == memlane_align(shape.nbytes) ? 0 : 1, &entry);
    return memlane_entry_at(made->header, made->header, 0);
}

static inline struct memlane_ring_control *fixture_ring(const struct fixture *made) {
    return (struct memlane_ring_control *)(void *)(made->bytes + made->header->objects_offset);
}

static inline struct memlane_lane_control *fixture_lane(const struct fixture *made, uint32_t lane) {
    return (struct memlane_lane_control *)(void *)(fixture_ring(made) + 1) + lane;
}

/* ---- other processes ----------------------------------------------------------------------------- */

struct fixture_child {
    pid_t pid;
    int told; /* what it says */
};

/* Start a process that does its work, tells one number, and stays until it is killed. */
static inline struct fixture_child fixture_start(uint64_t (*work)(const struct fixture *), const struct fixture *made) {
    int ends[2];
    CHECK_EQUAL(0, pipe2(ends, O_CLOEXEC));
    fflush(stdout);
    struct fixture_child child = {fork(), ends[0]};
    CHECK(child.pid >= 0);
    if (child.pid == 0) {
        alarm(FIXTURE_WATCHDOG_S);
        uint64_t number = work(made);
        if (write(ends[1], &number, sizeof number) != sizeof number)
            abort();
        for (;;)
            pause();
    }
    close(ends[1]);
    return child;
}

static inline uint64_t fixture_told(struct fixture_child *child) {
    uint64_t number = 0;
    CHECK_EQUAL(sizeof number, read(child->told, &number, sizeof number));
    return number;
}

static inline void fixture_kill(struct fixture_child *child) {
    int status;
    CHECK_EQUAL(0, kill(child->pid, SIGKILL));
    CHECK_EQUAL(child->pid, waitpid(child->pid, &status, 0));
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(child->told);
}

/* A region of this process that has joined. */
static inline void fixture_join(struct memlane_region *region, const struct fixture *made) {
    CHECK_EQUAL(0, memlane_region_open_descriptor(region, made->file, NULL));
    CHECK_EQUAL(0, memlane_region_join(region));
}

/* The same in a process that is about to be killed. Returns its tag. */
static inline uint64_t fixture_join_child(const struct fixture *made) {
    static struct memlane_region region;
    fixture_join(&region, made);
    return region.membership.tag;
}

#endif
