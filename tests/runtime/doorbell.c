/* SPDX-License-Identifier: MIT
 *
 * What src/runtime/doorbell.h promises: a process attaches to the semaphore that its maker noted, and to nothing else.
 */
#include "region_fixture.h"

#include <semaphore.h>

#include "os/semwait.h"
#include "runtime/digest.h"
#include "runtime/doorbell.h"

/* A region of which the semaphores have names, and one of them. */
static struct {
    struct memlane_header header;
    struct memlane_doorbell doorbells[3]; /* number 64 and following */
} region;
static struct memlane_semaphores semaphores;
static struct memlane_bell bell;
static char name[MEMLANE_SEMAPHORE_NAME_NBYTES], file[MEMLANE_SEMAPHORE_NAME_NBYTES];

static void begin(uint32_t backing) {
    alarm(FIXTURE_WATCHDOG_S);
    memset(&region, 0, sizeof region);
    region.header.backing = backing;
    region.header.region_id = UINT64_C(0x682d722d00000000) | (uint64_t)getpid();
    memlane_libc(region.header.libc);
    memlane_semaphores_of(&region.header, &semaphores);
    memlane_bell_begin(&bell, &region.doorbells[1], (unsigned char *)&region);
    CHECK_EQUAL(sizeof region.header / 64 + 1, bell.number);
    memlane_semaphore_name(semaphores.set, bell.number, name);
    memlane_semaphore_file(semaphores.set, bell.number, file);
}

static void make_named(void) {
    struct stat found;
    sem_t *made = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
    CHECK(made != SEM_FAILED);
    sem_close(made);
    CHECK_EQUAL(0, stat(file, &found));
    region.doorbells[1].device = found.st_dev;
    region.doorbells[1].inode = found.st_ino;
    memlane_doorbell_note(&region.doorbells[1], MEMLANE_DOORBELL_NAMED);
}

TEST(the_digest_is_that_of_the_standard) {
    static const unsigned char of_abc[32] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40,
                                             0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
                                             0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
    unsigned char found[32];
    memlane_digest("abc", 3, found);
    CHECK_BYTES(of_abc, found, 32);
}

TEST(the_name_of_a_set_is_the_one_that_other_programs_find) {
    char set[MEMLANE_SET_DIGITS + 1];
    memlane_semaphore_set(UINT64_C(0x0123456789abcdef), set);
    CHECK_EQUAL(0, strcmp("d3f6a44344680a8b", set));
    CHECK_EQUAL(16, strlen(set));
}

TEST(nothing_is_attached_where_no_semaphore_was_made) {
    begin(MEMLANE_BACKING_NAMED);
    CHECK(!memlane_bell_attach(&bell, &semaphores));
    CHECK(memlane_bell_address(&bell) == NULL);
    memlane_bell_post(&bell, 1);
    memlane_bell_end(&bell);
}

TEST(a_semaphore_inside_of_a_memfd_is_used_in_place) {
    begin(MEMLANE_BACKING_MEMFD);
    CHECK_EQUAL(0, memlane_bell_make(&bell));
    struct memlane_bell other;
    memlane_bell_begin(&other, &region.doorbells[1], (unsigned char *)&region);
    CHECK(memlane_bell_attach(&other, &semaphores));
    CHECK(memlane_bell_address(&other) == region.doorbells[1].semaphore);
    memlane_bell_post(&other, 1);
    CHECK_EQUAL(0, memlane_semaphore_wait(memlane_bell_address(&bell), memlane_monotonic_ns()));
    memlane_bell_end(&other);
    memlane_bell_end(&bell);
}

TEST(what_claims_to_lie_inside_of_a_region_with_a_name_is_not_used) {
    begin(MEMLANE_BACKING_PATH);
    memlane_doorbell_note(&region.doorbells[1], MEMLANE_DOORBELL_UNNAMED);
    CHECK(!memlane_bell_attach(&bell, &semaphores));
}

TEST(a_named_semaphore_is_attached_and_wakes) {
    begin(MEMLANE_BACKING_NAMED);
    make_named();
    CHECK(memlane_bell_attach(&bell, &semaphores));
    CHECK(memlane_bell_attach(&bell, &semaphores));
    memlane_bell_post(&bell, 2);
    sem_t *other = sem_open(name, 0);
    CHECK(other != SEM_FAILED && sem_trywait(other) == 0 && sem_trywait(other) == 0 && sem_trywait(other) != 0);
    sem_close(other);
    CHECK_EQUAL(0, sem_unlink(name));
    memlane_bell_post(&bell, 1); /* it is still there for those who have it open */
    memlane_bell_end(&bell);
    CHECK(!memlane_bell_is_attached(&bell));
}

TEST(a_file_that_merely_bears_the_name_is_not_opened) {
    begin(MEMLANE_BACKING_NAMED);
    make_named();
    region.doorbells[1].inode += 1;
    CHECK(!memlane_bell_attach(&bell, &semaphores));
    region.doorbells[1].inode -= 1;
    CHECK_EQUAL(0, truncate(file, 0)); /* opening it would end the process at the first post */
    CHECK(!memlane_bell_attach(&bell, &semaphores));
    CHECK_EQUAL(0, sem_unlink(name));
    CHECK(!memlane_bell_attach(&bell, &semaphores));
    CHECK_EQUAL(0, symlink("/dev/shm", file));
    CHECK(!memlane_bell_attach(&bell, &semaphores));
    CHECK_EQUAL(0, unlink(file));
}

TEST(semaphores_of_another_c_library_or_of_anonymous_memory_are_left_alone) {
    begin(MEMLANE_BACKING_NAMED);
    make_named();
    region.header.libc[0] ^= 1;
    memlane_semaphores_of(&region.header, &semaphores);
    CHECK(!memlane_bell_attach(&bell, &semaphores));
    begin(MEMLANE_BACKING_ANONYMOUS);
    memlane_doorbell_note(&region.doorbells[1], MEMLANE_DOORBELL_NAMED);
    CHECK(!memlane_bell_attach(&bell, &semaphores));
    CHECK_EQUAL(0, sem_unlink(name));
}

TEST(a_semaphore_whose_file_was_cut_off_is_polled_past) {
    begin(MEMLANE_BACKING_NAMED);
    CHECK_EQUAL(0, memlane_runtime_setup());
    make_named();
    CHECK(memlane_bell_attach(&bell, &semaphores));
    CHECK_EQUAL(0, truncate(file, 0));
    memlane_bell_post(&bell, 1);
    CHECK(memlane_bell_address(&bell) == NULL);
    CHECK_EQUAL(0, sem_unlink(name));
    memlane_bell_end(&bell);
}

MAIN
