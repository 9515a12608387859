/* SPDX-License-Identifier: MIT
 *
 * What src/runtime/membership.h promises: a row is taken once, death is proven by the kernel alone, and stays.
 */
#include "region_fixture.h"

#include "os/lockbytes.h"

static bool is_locked(const struct fixture *made, int64_t byte) {
    return memlane_lockbyte_probe(made->file, byte, true) == 1;
}

TEST(one_that_joins_is_alive_for_itself_and_for_others) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region, other;
    fixture_join(&region, &made);
    fixture_join(&other, &made);
    const uint32_t tag = region.membership.tag;
    CHECK(tag != MEMLANE_TAG_NONE && tag != other.membership.tag);
    CHECK_EQUAL(MEMLANE_ALIVE, memlane_membership_life(&region.membership, tag));
    CHECK_EQUAL(MEMLANE_ALIVE, memlane_membership_life(&other.membership, tag));
    CHECK_EQUAL(getpid(), memlane_membership_pid(&other.membership, tag));
    CHECK(memlane_membership_keeps_row(&region.membership));
    CHECK(memlane_membership_is_sound(&region.membership));

    CHECK_EQUAL(0, memlane_region_join(&region)); /* twice does nothing */
    CHECK_EQUAL(tag, region.membership.tag);

    memlane_region_close(&region);
    CHECK_EQUAL(MEMLANE_DEAD, memlane_membership_life(&other.membership, tag));
    memlane_region_close(&other);
    fixture_end(&made);
}

TEST(one_that_was_killed_is_dead_and_stays_so_whatever_locks_its_byte) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct fixture_child child = fixture_start(fixture_join_child, &made);
    const uint32_t tag = (uint32_t)fixture_told(&child);
    fixture_join(&region, &made);
    CHECK_EQUAL(MEMLANE_ALIVE, memlane_membership_life(&region.membership, tag));
    fixture_kill(&child);
    CHECK_EQUAL(MEMLANE_DEAD, memlane_membership_life(&region.membership, tag));

    CHECK_EQUAL(0, memlane_lockbyte_try(made.file, MEMLANE_ROW_BYTE(memlane_tag_row(tag)), true));
    CHECK_EQUAL(MEMLANE_DEAD, memlane_membership_life(&region.membership, tag));
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(one_that_is_stopped_is_alive) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct fixture_child child = fixture_start(fixture_join_child, &made);
    const uint32_t tag = (uint32_t)fixture_told(&child);
    int status;
    fixture_join(&region, &made);
    CHECK_EQUAL(0, kill(child.pid, SIGSTOP));
    CHECK_EQUAL(child.pid, waitpid(child.pid, &status, WUNTRACED));
    CHECK_EQUAL(MEMLANE_ALIVE, memlane_membership_life(&region.membership, tag));
    fixture_kill(&child);
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(a_reader_sees_that_one_is_dead_and_changes_nothing) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    const struct memlane_opening opening = {.readonly = true};
    struct fixture_child child = fixture_start(fixture_join_child, &made);
    const uint32_t tag = (uint32_t)fixture_told(&child);
    CHECK_EQUAL(0, memlane_region_open_descriptor(&region, made.file, &opening));
    CHECK_EQUAL(-EACCES, memlane_region_join(&region));
    fixture_kill(&child);
    CHECK_EQUAL(MEMLANE_DEAD, memlane_membership_life(&region.membership, tag));
    CHECK_EQUAL(1, memlane_row_generation(memlane_membership_row(&region.membership, memlane_tag_row(tag))) & 1);
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(one_that_has_closed_its_descriptors_proves_nobody_dead) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct fixture_child child = fixture_start(fixture_join_child, &made);
    const uint32_t tag = (uint32_t)fixture_told(&child);
    fixture_join(&region, &made);
    fixture_kill(&child);

    close(region.membership.base);
    CHECK_EQUAL(MEMLANE_LIFE_UNKNOWN, memlane_membership_life(&region.membership, tag));
    CHECK(!memlane_membership_is_sound(&region.membership));
    /* another description of the same file sees the lock of our row, and says nothing else of us */
    int again = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CHECK_EQUAL(region.membership.base, dup2(again, region.membership.base));
    CHECK_EQUAL(MEMLANE_LIFE_UNKNOWN, memlane_membership_life(&region.membership, tag));
    CHECK(memlane_membership_leave(&region.membership));
    memlane_region_close(&region); /* leaves the number alone, which is another file's now */
    CHECK(fcntl(again, F_GETFD) >= 0);
    close(again);
    fixture_end(&made);
}

TEST(one_that_lost_its_lock_description_proves_nobody_dead_and_hears_of_it) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region, other;
    struct fixture_child child = fixture_start(fixture_join_child, &made);
    const uint32_t tag = (uint32_t)fixture_told(&child);
    fixture_join(&region, &made);
    fixture_join(&other, &made);
    fixture_kill(&child);

    close(region.membership.lock_descriptor);
    CHECK_EQUAL(MEMLANE_LIFE_UNKNOWN, memlane_membership_life(&region.membership, tag));
    CHECK_EQUAL(MEMLANE_DEAD, memlane_membership_life(&other.membership, region.membership.tag));
    CHECK(!memlane_membership_keeps_row(&region.membership));
    CHECK(!memlane_membership_leave(&region.membership));
    memlane_region_close(&region);
    memlane_region_close(&other);
    fixture_end(&made);
}

/* Tells the tag, and above it the pid of a child. */
static uint64_t fork_once_joined(const struct fixture *made) {
    static struct memlane_region region;
    char byte = 0;
    int forked[2];
    fixture_join(&region, made);
    CHECK_EQUAL(0, pipe2(forked, O_CLOEXEC));
    pid_t child = fork();
    if (child == 0) { /* which goes on when its parent is killed */
        alarm(FIXTURE_WATCHDOG_S);
        CHECK_EQUAL(1, write(forked[1], &byte, 1));
        for (;;)
            pause();
    }
    /* until then the child has not let go of its copy of the parent's lock */
    CHECK_EQUAL(1, read(forked[0], &byte, 1));
    return (uint64_t)child << 32 | region.membership.tag;
}

TEST(one_that_was_killed_is_dead_though_its_child_lives) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct fixture_child parent = fixture_start(fork_once_joined, &made);
    const uint64_t told = fixture_told(&parent);
    fixture_join(&region, &made);
    fixture_kill(&parent);
    CHECK_EQUAL(MEMLANE_DEAD, memlane_membership_life(&region.membership, (uint32_t)told));
    CHECK_EQUAL(0, kill((pid_t)(told >> 32), SIGKILL));
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(a_full_table_refuses_and_the_row_of_a_dead_one_is_taken_again) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region, other, third;
    /* two rows that can be joined: the others are worn out */
    struct memlane_row *rows = (struct memlane_row *)(void *)(made.bytes + made.header->table_offset);
    for (uint32_t row = 2; row < made.header->rows; row++)
        atomic_store(&rows[row].generation, MEMLANE_GENERATION_RETIRED);
    struct fixture_child child = fixture_start(fixture_join_child, &made);
    const uint32_t tag = (uint32_t)fixture_told(&child);
    fixture_join(&region, &made);
    CHECK_EQUAL(0, memlane_region_open_descriptor(&other, made.file, NULL));
    CHECK_EQUAL(-EUSERS, memlane_region_join(&other));

    fixture_kill(&child);
    CHECK_EQUAL(0, memlane_region_join(&other));
    CHECK_EQUAL(memlane_tag_row(tag), other.membership.row);
    CHECK(tag != other.membership.tag);
    CHECK_EQUAL(MEMLANE_DEAD, memlane_membership_life(&region.membership, tag));
    CHECK_EQUAL(MEMLANE_ALIVE, memlane_membership_life(&region.membership, other.membership.tag));

    CHECK_EQUAL(0, memlane_region_open_descriptor(&third, made.file, NULL));
    CHECK_EQUAL(-EUSERS, memlane_region_join(&third));
    memlane_region_close(&region);
    memlane_region_close(&other);
    memlane_region_close(&third);
    fixture_end(&made);
}

TEST(a_row_that_somebody_is_about_to_join_is_passed_over) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    struct memlane_row *rows = (struct memlane_row *)(void *)(made.bytes + made.header->table_offset);
    for (uint32_t row = 2; row < made.header->rows; row++)
        atomic_store(&rows[row].generation, MEMLANE_GENERATION_RETIRED);
    CHECK_EQUAL(0, memlane_lockbyte_try(made.file, MEMLANE_JOINING_BYTE(0), true));
    CHECK_EQUAL(0, memlane_region_open_descriptor(&region, made.file, NULL));
    CHECK_EQUAL(0, memlane_region_join(&region));
    CHECK_EQUAL(1, region.membership.row);
    CHECK(!is_locked(&made, MEMLANE_JOINING_BYTE(1)));
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(a_child_joins_anew_and_has_none_of_its_parents_locks) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    int status;
    fixture_join(&region, &made);
    const uint32_t tag = region.membership.tag;
    const int descriptor = region.membership.lock_descriptor;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        bool alright = !memlane_membership_is_joined(&region.membership) && fcntl(descriptor, F_GETFD) < 0 &&
                       memlane_region_join(&region) == 0 && region.membership.tag != tag &&
                       memlane_membership_life(&region.membership, tag) == MEMLANE_ALIVE;
        memlane_region_close(&region);
        _exit(alright ? 0 : 1);
    }
    CHECK_EQUAL(child, waitpid(child, &status, 0));
    CHECK_EQUAL(0, status);
    CHECK_EQUAL(MEMLANE_ALIVE, memlane_membership_life(&region.membership, tag));
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(a_header_that_contradicts_itself_is_no_membership) {
    struct fixture made = fixture_memfd();
    static struct memlane_header header;
    struct memlane_membership membership;
    made.header->rows += 1;
    CHECK_EQUAL(MEMLANE_CORRUPTED, memlane_membership_attach(&membership, &header, made.bytes, made.nbytes,
                                                             &memlane_unguarded, made.file, 0, 0, false));
    CHECK_EQUAL(MEMLANE_TRUNCATED, memlane_membership_attach(&membership, &header, made.bytes, sizeof header - 1,
                                                             &memlane_unguarded, made.file, 0, 0, false));
    fixture_end(&made);
}

TEST(one_whose_file_was_cut_off_gives_its_row_up) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    fixture_join(&region, &made);
    const uint32_t row = region.membership.row;
    CHECK(is_locked(&made, MEMLANE_ROW_BYTE(row)));
    CHECK_EQUAL(0, ftruncate(made.file, 0));
    CHECK_EQUAL(0, memlane_row_generation(memlane_membership_row(&region.membership, row)));
    CHECK(memlane_guard_is_truncated(region.membership.guarded));
    memlane_membership_abandon(&region.membership);
    CHECK(!memlane_membership_is_joined(&region.membership));
    CHECK(!is_locked(&made, MEMLANE_ROW_BYTE(row)));
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(the_room_of_an_object_is_kept_until_it_is_let_go) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region;
    int error;
    struct memlane_entry *entry = fixture_add_ring(&made, 1, 4096, 8, MEMLANE_CONSUMERS_ONE);
    const uint64_t sequence = atomic_load(&entry->sequence);
    fixture_join(&region, &made);
    CHECK_EQUAL(MEMLANE_HELD, memlane_membership_hold(&region.membership, entry, 0, sequence, &error));
    CHECK(is_locked(&made, MEMLANE_ENTRY_BYTE(0)));
    memlane_membership_unhold(&region.membership, 0);
    CHECK(!is_locked(&made, MEMLANE_ENTRY_BYTE(0)));

    CHECK(memlane_entry_remove(entry, sequence));
    CHECK_EQUAL(MEMLANE_HOLD_GONE, memlane_membership_hold(&region.membership, entry, 0, sequence, &error));
    CHECK(!is_locked(&made, MEMLANE_ENTRY_BYTE(0)));
    close(region.membership.lock_descriptor);
    CHECK_EQUAL(MEMLANE_HOLD_LOST, memlane_membership_hold(&region.membership, entry, 0, sequence + 1, &error));
    memlane_region_close(&region);
    fixture_end(&made);
}

TEST(one_at_a_time_changes_the_directory) {
    struct fixture made = fixture_memfd();
    static struct memlane_region region, other;
    fixture_join(&region, &made);
    fixture_join(&other, &made);
    CHECK_EQUAL(0, memlane_membership_lock_creation(&region.membership));
    CHECK_EQUAL(-EAGAIN, memlane_membership_lock_creation(&other.membership));
    memlane_membership_unlock_creation(&region.membership);
    CHECK_EQUAL(0, memlane_membership_lock_creation(&other.membership));
    memlane_region_close(&region);
    memlane_region_close(&other);
    fixture_end(&made);
}

MAIN
