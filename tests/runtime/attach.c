/* SPDX-License-Identifier: MIT
 *
 * What src/runtime/attach.h promises: what is opened is a region of this layout that the name still leads to, and is ours.
 */
#include "region_fixture.h"

#include <stdarg.h>
#include <sys/syscall.h>

#include "os/lockbytes.h"

static char name[64], path[128], other_path[160];
static char replaced_by[160]; /* what takes the name over as soon as it was opened; empty: nothing */

/* Stands in for the one of the C library: the moment between an opening and what follows it. */
int open(const char *opened, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = flags & O_CREAT ? va_arg(rest, int) : 0;
    va_end(rest);
    int descriptor = (int)syscall(SYS_openat, AT_FDCWD, opened, flags, mode);
    if (replaced_by[0] && strcmp(opened, path) == 0) {
        CHECK_EQUAL(0, rename(replaced_by, path));
        replaced_by[0] = '\0';
    }
    return descriptor;
}

static struct fixture make_named(const char *at) {
    alarm(FIXTURE_WATCHDOG_S);
    snprintf(name, sizeof name, "c-attach-%d", getpid());
    snprintf(path, sizeof path, "/dev/shm/memlane.%s", name);
    snprintf(other_path, sizeof other_path, "%s.other", path);
    return fixture_of(open(at, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), MEMLANE_BACKING_NAMED);
}

static bool is_present(const struct fixture *made) {
    return memlane_lockbyte_probe(made->file, MEMLANE_PRESENCE_BYTE, true) == 1;
}

static struct fixture begin(void) {
    snprintf(path, sizeof path, "/dev/shm/memlane.c-attach-%d", getpid());
    return make_named(path);
}

TEST(a_region_is_opened_by_name_by_path_and_by_descriptor) {
    struct fixture made = begin();
    static struct memlane_region region;
    CHECK(!is_present(&made));
    for (int how = 0; how < 3; how++) {
        CHECK_EQUAL(0, how == 0   ? memlane_region_open(&region, name, NULL)
                       : how == 1 ? memlane_region_open(&region, path, NULL)
                                  : memlane_region_open_descriptor(&region, made.file, NULL));
        CHECK_EQUAL(made.header->region_id, region.header.region_id);
        CHECK(is_present(&made));
        CHECK_EQUAL(0, memlane_region_join(&region));
        memlane_region_close(&region);
        CHECK(!is_present(&made));
    }
    CHECK_EQUAL(0, unlink(path));
    CHECK_EQUAL(-ENOENT, memlane_region_open(&region, name, NULL));
    fixture_end(&made);
}

TEST(a_name_that_leads_elsewhere_by_now_is_opened_anew) {
    struct fixture made = begin();
    struct fixture other = make_named(other_path);
    static struct memlane_region region;
    strcpy(replaced_by, other_path);
    CHECK_EQUAL(0, memlane_region_open(&region, name, NULL));
    CHECK_EQUAL(other.header->region_id, region.header.region_id);
    CHECK(!is_present(&made));
    memlane_region_close(&region);
    CHECK_EQUAL(0, unlink(path));
    fixture_end(&made);
    fixture_end(&other);
}

TEST(what_is_no_region_is_refused) {
    struct fixture made = begin();
    static struct memlane_region region;
    CHECK_EQUAL(0, symlink(path, other_path));
    CHECK_EQUAL(-EINVAL, memlane_region_open(&region, other_path, NULL));
    CHECK_EQUAL(0, unlink(other_path));
    CHECK_EQUAL(0, mkfifo(other_path, 0600));
    CHECK_EQUAL(-EINVAL, memlane_region_open(&region, other_path, NULL));
    CHECK_EQUAL(0, unlink(other_path));
    CHECK_EQUAL(-EINVAL, memlane_region_open(&region, "", NULL));
    CHECK_EQUAL(-EINVAL, memlane_region_open(&region, ".hidden", NULL));

    made.header->layout_version -= 1;
    CHECK_EQUAL(MEMLANE_OLDER, memlane_region_open(&region, name, NULL));
    made.header->layout_version += 1;
    made.header->layout_draft += 1;
    CHECK_EQUAL(MEMLANE_NEWER, memlane_region_open(&region, name, NULL));
    made.header->layout_draft -= 1;
    made.header->features = 1;
    CHECK_EQUAL(MEMLANE_UNKNOWN_FEATURES, memlane_region_open(&region, name, NULL));
    made.header->features = 0;
    made.header->rows = 0;
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_region_open(&region, name, NULL));
    made.header->rows = MEMLANE_ROWS_MAX;
    made.header->magic += 1;
    CHECK_EQUAL(MEMLANE_FOREIGN, memlane_region_open(&region, name, NULL));
    made.header->magic -= 1;
    CHECK_EQUAL(0, ftruncate(made.file, (off_t)made.nbytes - 4096));
    CHECK_EQUAL(MEMLANE_TRUNCATED, memlane_region_open(&region, name, NULL));
    CHECK_EQUAL(0, ftruncate(made.file, 100));
    CHECK_EQUAL(MEMLANE_TRUNCATED, memlane_region_open(&region, name, NULL));
    CHECK_EQUAL(0, ftruncate(made.file, 0));
    CHECK_EQUAL(MEMLANE_TRUNCATED, memlane_region_open(&region, name, NULL));
    CHECK(!is_present(&made));
    CHECK_EQUAL(0, unlink(path));
    fixture_end(&made);
}

/* The process that opens tells when it is through. */
static uint64_t open_by_name(const struct fixture *made) {
    static struct memlane_region region;
    (void)made;
    return (uint64_t)memlane_region_open(&region, name, NULL);
}

TEST(one_that_is_alone_for_a_moment_is_waited_for) {
    struct fixture made = begin();
    CHECK_EQUAL(0, memlane_lockbyte_try(made.file, MEMLANE_PRESENCE_BYTE, true));
    struct fixture_child child = fixture_start(open_by_name, &made);
    CHECK_EQUAL(0, memlane_lockbyte_release(made.file, MEMLANE_PRESENCE_BYTE));
    CHECK_EQUAL(0, fixture_told(&child));
    CHECK(is_present(&made));
    fixture_kill(&child);
    CHECK(!is_present(&made));
    CHECK_EQUAL(0, unlink(path));
    fixture_end(&made);
}

TEST(presence_at_the_semaphores_goes_with_the_process) {
    struct fixture made = begin();
    struct memlane_semaphores semaphores;
    char file[MEMLANE_SEMAPHORE_NAME_NBYTES];
    memlane_semaphores_of(made.header, &semaphores);
    memlane_semaphore_file(semaphores.set, 0, file);
    int anchor = open(file, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    CHECK(anchor >= 0);
    CHECK_EQUAL(0, ftruncate(anchor, 32));
    struct fixture_child child = fixture_start(open_by_name, &made);
    CHECK_EQUAL(0, fixture_told(&child));
    CHECK_EQUAL(1, memlane_lockbyte_probe(anchor, MEMLANE_PRESENCE_BYTE, true));
    fixture_kill(&child);
    CHECK_EQUAL(0, memlane_lockbyte_probe(anchor, MEMLANE_PRESENCE_BYTE, true));
    close(anchor);
    CHECK_EQUAL(0, unlink(file));
    CHECK_EQUAL(0, unlink(path));
    fixture_end(&made);
}

TEST(an_object_is_found_by_its_name_if_its_entry_is_sound) {
    struct fixture made = begin();
    static struct memlane_region region;
    struct memlane_entry entry;
    uint64_t sequence;
    CHECK_EQUAL(0, memlane_region_open(&region, name, NULL));
    CHECK_EQUAL(-ENOENT, memlane_region_find(&region, "ring", &entry, &sequence));
    struct memlane_entry *shared = fixture_add_ring(&made, 1, 4096, 8, MEMLANE_CONSUMERS_ONE);
    CHECK_EQUAL(0, memlane_region_find(&region, "ring", &entry, &sequence));
    CHECK_EQUAL(made.header->objects_offset, entry.offset);
    CHECK(memlane_entry_stands(shared, sequence));
    CHECK_EQUAL(-ENOENT, memlane_region_find(&region, "ring2", &entry, &sequence));
    shared->nbytes = made.nbytes;
    CHECK_EQUAL(-EBADMSG, memlane_region_find(&region, "ring", &entry, &sequence));
    CHECK_EQUAL(-ENOENT, memlane_region_find(&region, "ring2", &entry, &sequence)); /* it hides no other */
    fixture_add_ring(&made, 1, 4096, 8, MEMLANE_CONSUMERS_ONE);
    CHECK_EQUAL(1, memlane_region_find(&region, "ring", &entry, &sequence));
    CHECK(memlane_entry_remove(shared + 1, sequence));
    CHECK_EQUAL(-EBADMSG, memlane_region_find(&region, "ring", &entry, &sequence));
    CHECK(memlane_entry_remove(shared, atomic_load(&shared->sequence)));
    CHECK_EQUAL(-ENOENT, memlane_region_find(&region, "ring", &entry, &sequence));
    memlane_region_close(&region);
    CHECK_EQUAL(0, unlink(path));
    fixture_end(&made);
}

MAIN
