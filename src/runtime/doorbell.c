/* SPDX-License-Identifier: MIT */
#include "runtime/doorbell.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/map.h"
#include "os/semwait.h"
#include "runtime/digest.h"

/* What a C library makes of a semaphore; files of other sizes are not ours. */
enum { FILE_NBYTES = 32 };

void memlane_libc(char libc[MEMLANE_LIBC_NBYTES]) {
    char found[64] = "";
#ifdef _CS_GNU_LIBC_VERSION
    size_t length = confstr(_CS_GNU_LIBC_VERSION, found, sizeof found);
    if (length == 0 || length > sizeof found)
        found[0] = '\0';
#endif
    found[strcspn(found, " ")] = '\0';
    memset(libc, 0, MEMLANE_LIBC_NBYTES);
    if (found[0] == '\0')
        strcpy(found, "another libc");
    memcpy(libc, found, strnlen(found, MEMLANE_LIBC_NBYTES - 1));
}

void memlane_semaphore_set(uint64_t region_id, char set[MEMLANE_SET_DIGITS + 1]) {
    static const char salt[] = "memlane doorbells";
    unsigned char message[sizeof salt - 1 + 8], digest[32];
    memcpy(message, salt, sizeof salt - 1);
    for (int i = 0; i < 8; i++)
        message[sizeof salt - 1 + i] = (unsigned char)(region_id >> 8 * i);
    memlane_digest(message, sizeof message, digest);
    for (int i = 0; i < MEMLANE_SET_DIGITS / 2; i++)
        snprintf(set + 2 * i, 3, "%02x", digest[i]);
}

void memlane_semaphore_name(const char *set, uint64_t number, char name[MEMLANE_SEMAPHORE_NAME_NBYTES]) {
    char libc[MEMLANE_LIBC_NBYTES];
    memlane_libc(libc);
    /* glibc puts "sem." before the name of the file, others nothing */
    snprintf(name, MEMLANE_SEMAPHORE_NAME_NBYTES, "/%smemlane.%.16s.%llu", strcmp(libc, "glibc") == 0 ? "" : "sem.",
             set, (unsigned long long)number);
}

void memlane_semaphore_file(const char *set, uint64_t number, char file[MEMLANE_SEMAPHORE_NAME_NBYTES]) {
    snprintf(file, MEMLANE_SEMAPHORE_NAME_NBYTES, "/dev/shm/sem.memlane.%.16s.%llu", set, (unsigned long long)number);
}

void memlane_semaphores_of(const struct memlane_header *header, struct memlane_semaphores *semaphores) {
    char libc[MEMLANE_LIBC_NBYTES];
    memlane_libc(libc);
    static_assert(sizeof libc == sizeof header->libc, "the header keeps the whole name");
    memlane_semaphore_set(header->region_id, semaphores->set);
    semaphores->backing = header->backing;
    semaphores->is_ours = memcmp(libc, header->libc, sizeof libc) == 0;
}

/* ---- one doorbell -------------------------------------------------------------------------------- */

void memlane_bell_begin(struct memlane_bell *bell, struct memlane_doorbell *shared, const unsigned char *region) {
    bell->shared = shared;
    bell->number = (uint64_t)((const unsigned char *)shared - region) / sizeof *shared;
    atomic_init(&bell->semaphore, NULL);
    bell->guarded = &memlane_unguarded;
    bell->is_named = false;
}

static void attach_at(struct memlane_bell *bell, void *semaphore) {
    /* sync: bell.semaphore. release: `guarded` is in place; pairs with memlane_bell_is_attached. Without it a thread that
     * waits takes a semaphore whose file was cut off for a sound one. */
    atomic_store_explicit(&bell->semaphore, semaphore, memory_order_release);
}

int memlane_bell_attach_made(struct memlane_bell *bell, const char *name) {
    int error;
    void *semaphore = memlane_semaphore_open(name, &error);
    if (semaphore == NULL)
        return error;
    /* without a place in the table it works all the same */
    memlane_guard_watch(semaphore, FILE_NBYTES, memlane_page_nbytes(), 0, PROT_READ | PROT_WRITE, "", &bell->guarded);
    bell->is_named = true;
    attach_at(bell, semaphore); /* one before it, made in a handler that ran here, stays open: threads may wait there */
    return 0;
}

int memlane_bell_make(struct memlane_bell *bell) {
    int error = memlane_semaphore_make(bell->shared->semaphore);
    if (error)
        return error;
    memlane_doorbell_note(bell->shared, MEMLANE_DOORBELL_UNNAMED);
    attach_at(bell, bell->shared->semaphore);
    return 0;
}

/* Whether the file of a semaphore is what its maker noted, made by a user whom we trust. Never open what merely bears the
 * name: opening an empty file ends the process at the first post. */
static bool is_what_was_noted(const struct memlane_bell *bell, const char *set) {
    char file[MEMLANE_SEMAPHORE_NAME_NBYTES];
    struct stat found, anchor;
    memlane_semaphore_file(set, bell->number, file);
    if (lstat(file, &found) != 0 || !S_ISREG(found.st_mode) || found.st_size != FILE_NBYTES ||
        found.st_dev != bell->shared->device || found.st_ino != bell->shared->inode)
        return false;
    if (found.st_uid == geteuid() || found.st_uid == 0)
        return true;
    memlane_semaphore_file(set, 0, file);
    return stat(file, &anchor) == 0 && found.st_uid == anchor.st_uid;
}

bool memlane_bell_attach(struct memlane_bell *bell, const struct memlane_semaphores *semaphores) {
    char name[MEMLANE_SEMAPHORE_NAME_NBYTES];
    if (memlane_bell_is_attached(bell))
        return true;
    if (!semaphores->is_ours)
        return false;
    switch (memlane_doorbell_kind(bell->shared)) {
    case MEMLANE_DOORBELL_UNNAMED:
        if (semaphores->backing != MEMLANE_BACKING_MEMFD)
            return false;
        attach_at(bell, bell->shared->semaphore);
        return true;
    case MEMLANE_DOORBELL_NAMED:
        if (semaphores->backing != MEMLANE_BACKING_NAMED && semaphores->backing != MEMLANE_BACKING_PATH)
            return false;
        memlane_semaphore_name(semaphores->set, bell->number, name);
        return is_what_was_noted(bell, semaphores->set) && memlane_bell_attach_made(bell, name) == 0;
    default:
        return false;
    }
}

void memlane_bell_end(struct memlane_bell *bell) {
    /* relaxed: nobody else has it any more */
    void *semaphore = atomic_exchange_explicit(&bell->semaphore, NULL, memory_order_relaxed);
    memlane_guard_forget(bell->guarded);
    bell->guarded = &memlane_unguarded;
    /* Not the process's last look at its memory: sem_close counts, and unmaps with the last. */
    if (bell->is_named && semaphore != NULL)
        memlane_semaphore_close(semaphore);
    bell->is_named = false;
}

void *memlane_bell_address(const struct memlane_bell *bell) {
    /* sync: bell.semaphore. acquire: as memlane_bell_is_attached */
    void *semaphore = atomic_load_explicit(&bell->semaphore, memory_order_acquire);
    return semaphore == NULL || memlane_guard_is_truncated(bell->guarded) ? NULL : semaphore;
}

void memlane_bell_post(const struct memlane_bell *bell, uint32_t times) {
    /* sync: bell.semaphore. acquire: as memlane_bell_is_attached */
    void *semaphore = atomic_load_explicit(&bell->semaphore, memory_order_acquire);
    if (semaphore != NULL)
        for (uint32_t turn = 0; turn < times; turn++)
            if (memlane_semaphore_post(semaphore))
                return; /* EOVERFLOW: more tokens than sleepers there can be */
}

void memlane_bell_wake(struct memlane_bell *bell, const struct memlane_semaphores *semaphores, _Atomic uint32_t *count,
                       uint32_t times) {
    uint32_t taken = 0;
    if (!memlane_bell_attach(bell, semaphores))
        return;
    while (taken < times && memlane_waiters_withdraw(count))
        taken += 1;
    memlane_bell_post(bell, taken);
}
