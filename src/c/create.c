/* SPDX-License-Identifier: MIT
 *
 * Making regions, objects and their semaphores, and removing the name of a region.
 *
 * The order of the steps is that of memlane._region.opening and directory: a region gets its name when it is complete, an
 * object its entry when it is, and a semaphore is noted when it can be waited at. What a process leaves that dies in
 * between is nothing, or is swept.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "c/handles.h"
#include "os/lockbytes.h"
#include "os/map.h"
#include "os/semwait.h"

/* How long a call waits for a process that makes an object, or removes a name; as in Python. */
static const uint64_t MAKING_PATIENCE_NS = UINT64_C(10000000000), NAME_PATIENCE_NS = UINT64_C(5000000000);
static const uint64_t PAUSE_NS = 500000;

/* ---- semaphores ----------------------------------------------------------------------------------------- */

/* Make a named semaphore, in place of what an earlier process has left under the name. */
static int make_semaphore(const char *set, uint64_t number, uint32_t permissions, struct stat *found) {
    char name[MEMLANE_SEMAPHORE_NAME_NBYTES], file[MEMLANE_SEMAPHORE_NAME_NBYTES];
    memlane_semaphore_name(set, number, name);
    memlane_semaphore_file(set, number, file);
    sem_unlink(name);
    sem_t *made = sem_open(name, O_CREAT | O_EXCL, (mode_t)permissions, 0);
    if (made == SEM_FAILED)
        return -errno;
    sem_close(made);
    /* the umask does not decide */
    return chmod(file, (mode_t)permissions) == 0 && lstat(file, found) == 0 ? 0 : -errno;
}

/* Whether the set of semaphores is the one that we are present at: those of another would never be removed. */
static bool anchor_stands(const struct mlane_region *region) {
    char file[MEMLANE_SEMAPHORE_NAME_NBYTES];
    struct stat found;
    memlane_semaphore_file(region->attached.semaphores.set, 0, file);
    return region->anchor_inode != 0 && lstat(file, &found) == 0 && found.st_dev == region->anchor_device &&
           found.st_ino == region->anchor_inode;
}

void mlane_doorbell_make(struct mlane_region *region, struct memlane_doorbell *doorbell) {
    const struct memlane_semaphores *semaphores = &region->attached.semaphores;
    const uint64_t number =
        (uint64_t)((unsigned char *)doorbell - region->attached.membership.address) / sizeof *doorbell;
    struct stat found;
    if (!semaphores->is_ours || memlane_doorbell_kind(doorbell) != MEMLANE_DOORBELL_NONE)
        return;
    if (semaphores->backing == MEMLANE_BACKING_MEMFD) {
        struct memlane_bell bell;
        memlane_bell_begin(&bell, doorbell, region->attached.membership.address);
        (void)memlane_bell_make(&bell);
        return;
    }
    if (semaphores->backing == MEMLANE_BACKING_ANONYMOUS || !anchor_stands(region) ||
        make_semaphore(semaphores->set, number, region->attached.header.permissions, &found) != 0)
        return;
    if (!anchor_stands(region)) {
        char name[MEMLANE_SEMAPHORE_NAME_NBYTES];
        memlane_semaphore_name(semaphores->set, number, name);
        sem_unlink(name); /* the region was unlinked meanwhile: nobody else knows this one */
        return;
    }
    doorbell->device = found.st_dev;
    doorbell->inode = found.st_ino;
    memlane_doorbell_note(doorbell, MEMLANE_DOORBELL_NAMED);
}

/* Begin the set of a region that nobody else can see yet, and be present at it. The mapping keeps the lock. */
static int begin_set(struct memlane_region *region, uint32_t permissions) {
    char file[MEMLANE_SEMAPHORE_NAME_NBYTES];
    struct stat found;
    int error = make_semaphore(region->semaphores.set, 0, permissions, &found);
    if (error)
        return error;
    memlane_semaphore_file(region->semaphores.set, 0, file);
    int descriptor = open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0)
        return -errno;
    error = memlane_lockbyte_try(descriptor, MEMLANE_PRESENCE_BYTE, false);
    if (error == 0) {
        void *anchor = mmap(NULL, memlane_page_nbytes(), PROT_READ, MAP_SHARED, descriptor, 0);
        region->anchor = anchor == MAP_FAILED ? NULL : anchor;
    }
    close(descriptor);
    return error;
}

/* Remove the names of a set, the anchor last. */
static void remove_set(const char *set) {
    char prefix[MEMLANE_SEMAPHORE_NAME_NBYTES], name[MEMLANE_SEMAPHORE_NAME_NBYTES];
    const int length = snprintf(prefix, sizeof prefix, "sem.memlane.%.16s.", set);
    DIR *directory = opendir("/dev/shm");
    struct dirent *entry;
    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        if (strncmp(entry->d_name, prefix, (size_t)length) != 0)
            continue;
        uint64_t number = strtoull(entry->d_name + length, NULL, 10);
        if (number == 0)
            continue;
        memlane_semaphore_name(set, number, name);
        sem_unlink(name);
    }
    if (directory != NULL)
        closedir(directory);
    memlane_semaphore_name(set, 0, name);
    sem_unlink(name);
}

/* ---- regions --------------------------------------------------------------------------------------------- */

static void fill_header(struct memlane_header *header, uint64_t nbytes, uint32_t backing, uint32_t permissions) {
    char libc[MEMLANE_LIBC_NBYTES];
    struct timespec now;
    memset(header, 0, sizeof *header);
    memlane_header_lay_out(header, nbytes);
    while (getrandom(&header->region_id, sizeof header->region_id, 0) != sizeof header->region_id ||
           header->region_id == 0) {
    }
    clock_gettime(CLOCK_REALTIME, &now);
    header->backing = backing;
    header->permissions = permissions;
    header->created_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    header->creator_pid = (uint32_t)getpid();
    memlane_libc(libc);
    memcpy(header->libc, libc, sizeof header->libc);
}

/* A new file without a name, in the directory of `path`; for NULL in memory. */
static int new_file(const char *path, uint32_t permissions) {
    char folder[PATH_MAX];
    if (path == NULL) {
        int descriptor = memfd_create("memlane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        return descriptor < 0 ? -errno : descriptor;
    }
    snprintf(folder, sizeof folder, "%s", path);
    char *end = strrchr(folder, '/');
    if (end == folder)
        end++;
    *end = '\0';
    int descriptor = open(folder, O_RDWR | O_CLOEXEC | O_TMPFILE, (mode_t)permissions);
    return descriptor < 0 ? -errno : descriptor;
}

/* Give a file its length, memory for its tables, and its header. */
static int fill_file(int descriptor, const char *path, const struct memlane_header *header) {
    if (path != NULL && memlane_is_network_file(descriptor))
        return -EOPNOTSUPP;
    int error = memlane_lockbyte_try(descriptor, MEMLANE_PRESENCE_BYTE, false);
    if (error)
        return error;
    if (ftruncate(descriptor, (off_t)header->nbytes) != 0 || fchmod(descriptor, (mode_t)header->permissions) != 0)
        return -errno;
    error = memlane_reserve(descriptor, 0, MEMLANE_RESERVED_AT_CREATION);
    if (error)
        return error;
    if (path == NULL && fcntl(descriptor, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW) != 0)
        return -errno;
    return pwrite(descriptor, header, sizeof *header, 0) == sizeof *header ? 0 : -EIO;
}

/* Give the complete file its name, which must be free. */
static int name_file(int descriptor, const char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    return linkat(AT_FDCWD, link, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

int mlane_create(const char *name, uint64_t nbytes, unsigned permissions, mlane_region **region) {
    struct memlane_region made;
    struct memlane_header header;
    char path[PATH_MAX];
    uint32_t backing = MEMLANE_BACKING_MEMFD;
    if (region == NULL || nbytes > UINT64_C(1) << 59 || permissions > 0777)
        return -EINVAL;
    if (name != NULL) {
        backing = strchr(name, '/') == NULL ? MEMLANE_BACKING_NAMED : MEMLANE_BACKING_PATH;
        int error = memlane_region_path(name, path);
        if (error)
            return error;
    }
    fill_header(&header, nbytes, backing, permissions);
    int descriptor = new_file(name == NULL ? NULL : path, permissions);
    if (descriptor < 0)
        return descriptor;
    int error = fill_file(descriptor, name == NULL ? NULL : path, &header);
    if (error == 0)
        error = memlane_region_open_descriptor(&made, descriptor, NULL);
    if (error) {
        close(descriptor);
        return mlane_code_of(error);
    }
    /* Until the name is there, nobody else can be present at the set. */
    if (name != NULL) {
        error = begin_set(&made, permissions);
        if (error == 0 || backing == MEMLANE_BACKING_PATH)
            error = name_file(descriptor, path);
        if (error == 0)
            memcpy(made.path, path, sizeof path);
        else
            remove_set(made.semaphores.set);
    }
    close(descriptor);
    if (error == 0)
        return mlane_region_of(&made, region);
    memlane_region_close(&made);
    return error;
}

/* Whether the name of the region still leads to it. */
static bool leads_here(const struct memlane_region *region) {
    struct stat found;
    return lstat(region->path, &found) == 0 && found.st_dev == region->membership.device &&
           found.st_ino == region->membership.inode;
}

int mlane_unlink(mlane_region *region) {
    int error;
    if (region == NULL || region->attached.path[0] == '\0')
        return -EINVAL;
    /* A description of our own: the lock of the name goes with it. */
    int descriptor = open(region->attached.path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0)
        return errno == ENOENT ? 0 : -errno;
    const uint64_t end = memlane_monotonic_ns() + NAME_PATIENCE_NS;
    while ((error = memlane_lockbyte_try(descriptor, MEMLANE_NAME_BYTE, true)) == -EAGAIN &&
           memlane_monotonic_ns() < end)
        memlane_pause(PAUSE_NS);
    if (error == 0 && leads_here(&region->attached)) {
        error = unlink(region->attached.path) == 0 ? 0 : -errno;
        if (error == 0)
            remove_set(region->attached.semaphores.set);
    }
    close(descriptor);
    return error == -EAGAIN ? -EBUSY : error;
}

/* ---- objects ---------------------------------------------------------------------------------------------- */

/* Where an object of that size can be, and which entry it can have. */
static int find_room(struct memlane_region *region, uint64_t nbytes, uint64_t *index, uint64_t *offset) {
    struct memlane_header *shared = (struct memlane_header *)(void *)region->membership.address;
    struct memlane_room rooms[MEMLANE_ENTRIES_MAX];
    struct memlane_entry entry;
    size_t taken = 0;
    const uint64_t count = memlane_directory_count(shared, region->header.entries);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t sequence = memlane_entry_read(memlane_entry_at(shared, &region->header, i), &entry);
        if (memlane_entry_state_of(sequence) < MEMLANE_ENTRY_VALID)
            continue;
        if (memlane_entry_check(&region->header, &entry) != MEMLANE_OK)
            return MLANE_CORRUPTED; /* nobody knows what is free */
        memlane_room_note(rooms, &taken, &entry);
    }
    *index = memlane_directory_pick(shared, &region->header, count);
    if (*index == region->header.entries ||
        !memlane_room_find(rooms, taken, region->header.objects_offset, region->header.nbytes, nbytes, offset))
        return MLANE_NO_SPACE;
    return 0;
}

/* Make the room all zeros, whatever was there before, and have memory for its first bytes. */
static int prepare_room(struct memlane_region *region, uint64_t offset, const struct mlane_wanted *wanted) {
    unsigned char *address = region->membership.address + offset;
    const uint64_t page = memlane_page_nbytes() - 1, begin = (offset + page) & ~page,
                   end = (offset + wanted->nbytes) & ~page;
    int error;
    /* what cannot be punched out is written to */
    if (begin >= end || madvise(region->membership.address + begin, end - begin, MADV_REMOVE) != 0) {
        error = memlane_reserve(region->membership.base, offset, wanted->nbytes);
        if (error == 0)
            memset(address, 0, wanted->nbytes);
        return error;
    }
    error = memlane_reserve(region->membership.base, offset, wanted->reserved_nbytes);
    if (error == 0 && offset + wanted->nbytes > end)
        error = memlane_reserve(region->membership.base, end, offset + wanted->nbytes - end);
    if (error)
        return error;
    memset(address, 0, begin - offset);
    memset(region->membership.address + end, 0, offset + wanted->nbytes - end);
    return 0;
}

/* The object itself, under the creation byte. */
static int add_entry(struct mlane_region *region, const char *name, const struct mlane_wanted *wanted) {
    struct memlane_region *attached = &region->attached;
    struct memlane_header *shared = (struct memlane_header *)(void *)attached->membership.address;
    struct memlane_entry entry = {.kind = wanted->kind,
                                  .nbytes = wanted->nbytes,
                                  .doorbells_at_once = wanted->at_once,
                                  .doorbells_later = wanted->later};
    uint64_t index, sequence;
    int found = memlane_region_find(attached, name, &entry, &sequence);
    if (found != -ENOENT)
        return found >= 0 ? 0 : MLANE_CORRUPTED;
    memset(&entry, 0, sizeof entry);
    entry.kind = wanted->kind;
    entry.nbytes = wanted->nbytes;
    entry.doorbells_at_once = wanted->at_once;
    entry.doorbells_later = wanted->later;
    memcpy(entry.geometry, wanted->geometry, sizeof entry.geometry);
    memcpy(entry.name, name, strlen(name));
    entry.schema_nbytes = (uint32_t)strlen(wanted->schema);
    memcpy(entry.schema, wanted->schema, entry.schema_nbytes);
    int error = find_room(attached, wanted->nbytes, &index, &entry.offset);
    if (error == 0)
        error = memlane_reserve(attached->membership.base, attached->header.directory_offset + index * sizeof entry,
                                sizeof entry);
    if (error)
        return error;
    memlane_room_begin();
    error = prepare_room(attached, entry.offset, wanted);
    if (error)
        return error;
    for (uint32_t i = 0; i < wanted->at_once.count; i++)
        mlane_doorbell_make(region,
                            (struct memlane_doorbell *)(void *)(attached->membership.address + entry.offset +
                                                                wanted->at_once.offset + i * wanted->at_once.stride));
    memlane_directory_add(shared, &attached->header, index, &entry);
    return memlane_guard_is_truncated(attached->membership.guarded) ? MLANE_TRUNCATED : 0;
}

int mlane_object_add(struct mlane_region *region, const char *name, const struct mlane_wanted *wanted) {
    struct memlane_membership *membership = &region->attached.membership;
    struct memlane_header *shared = (struct memlane_header *)(void *)membership->address;
    if (name == NULL || name[0] == '\0' || strlen(name) >= sizeof((struct memlane_entry *)NULL)->name)
        return -EINVAL;
    if (region->attached.header.backing == MEMLANE_BACKING_ANONYMOUS)
        return -EOPNOTSUPP;
    int error = memlane_region_join(&region->attached);
    const uint64_t end = memlane_monotonic_ns() + MAKING_PATIENCE_NS;
    while (error == 0 && (error = memlane_membership_lock_creation(membership)) == -EAGAIN) {
        if (memlane_monotonic_ns() > end)
            return -EBUSY;
        memlane_pause(PAUSE_NS);
        error = 0;
    }
    if (error)
        return mlane_code_of(error);
    memlane_creation_note(shared, (uint32_t)getpid());
    error = add_entry(region, name, wanted);
    memlane_creation_note(shared, 0);
    memlane_membership_unlock_creation(membership);
    return mlane_code_of(error);
}
