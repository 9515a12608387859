/* SPDX-License-Identifier: MIT */
#include "runtime/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/lockbytes.h"
#include "os/map.h"
#include "os/semwait.h"

/* How long an opener waits for one who has presence alone for a moment; arbitrary, far above what that takes. */
static const uint64_t PATIENCE_NS = UINT64_C(5000000000);
static const uint64_t PATIENCE_PAUSE_NS = 500000;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int setup_error;

static void setup(void) {
    setup_error = memlane_fork_setup();
    if (setup_error == 0)
        setup_error = memlane_guard_setup();
}

int memlane_runtime_setup(void) {
    pthread_once(&once, setup);
    return setup_error;
}

/* ---- the file ------------------------------------------------------------------------------------ */

int memlane_region_path(const char *name, char path[PATH_MAX]) {
    bool is_path = strchr(name, '/') != NULL;
    if (name[0] == '\0' || (!is_path && name[0] == '.'))
        return -EINVAL;
    int length = snprintf(path, PATH_MAX, is_path ? "%s" : "/dev/shm/memlane.%s", name);
    return length < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Refuse whatever must not be joined: other kinds of files, other people's, network file systems, stumps. */
static int check_file(int descriptor, const struct memlane_opening *opening, struct stat *found) {
    uint64_t magic = 0;
    if (fstat(descriptor, found) != 0)
        return -errno;
    if (!S_ISREG(found->st_mode))
        return -EINVAL;
    if (!opening->any_owner && found->st_uid != geteuid() && found->st_uid != 0)
        return -EPERM;
    if (memlane_is_network_file(descriptor))
        return -EOPNOTSUPP;
    if (found->st_size == 0)
        return MEMLANE_TRUNCATED;
    if (pread(descriptor, &magic, sizeof magic, 0) != sizeof magic || magic != MEMLANE_MAGIC)
        return MEMLANE_FOREIGN;
    return (uint64_t)found->st_size < sizeof(struct memlane_header) ? MEMLANE_TRUNCATED : MEMLANE_OK;
}

static int be_present(int descriptor) {
    for (uint64_t end = memlane_monotonic_ns() + PATIENCE_NS;; memlane_pause(PATIENCE_PAUSE_NS)) {
        int error = memlane_lockbyte_try(descriptor, MEMLANE_PRESENCE_BYTE, false);
        if (error != -EAGAIN)
            return error;
        if (memlane_monotonic_ns() > end)
            return -EBUSY;
    }
}

static bool still_leads_to(const char *path, const struct stat *file) {
    struct stat found;
    return lstat(path, &found) == 0 && found.st_dev == file->st_dev && found.st_ino == file->st_ino;
}

/* Be present at the set of semaphores. Without it they may be swept while we use them: then we poll. The mapping keeps the
 * lock in forked children that have closed every descriptor. */
static void be_present_at_set(struct memlane_region *region) {
    char file[MEMLANE_SEMAPHORE_NAME_NBYTES];
    struct stat found;
    uint32_t backing = region->header.backing;
    if (backing != MEMLANE_BACKING_NAMED && backing != MEMLANE_BACKING_PATH)
        return;
    memlane_semaphore_file(region->semaphores.set, 0, file);
    int descriptor = open(file, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (descriptor < 0)
        return;
    if (fstat(descriptor, &found) == 0 && S_ISREG(found.st_mode) &&
        memlane_lockbyte_try(descriptor, MEMLANE_PRESENCE_BYTE, false) == 0 && still_leads_to(file, &found)) {
        void *anchor = mmap(NULL, memlane_page_nbytes(), PROT_READ, MAP_SHARED, descriptor, 0);
        region->anchor = anchor == MAP_FAILED ? NULL : anchor;
    }
    close(descriptor);
}

/* Map a file whose presence is ours; the descriptor is the region's from then on. */
static int attach(struct memlane_region *region, int descriptor, const struct stat *found, bool readonly) {
    struct memlane_guarded *guarded = &memlane_unguarded;
    const int protection = PROT_READ | (readonly ? 0 : PROT_WRITE);
    const uint64_t nbytes = (uint64_t)found->st_size, page = memlane_page_nbytes();
    unsigned char *address;
    int error = memlane_map(descriptor, 0, nbytes, protection, MAP_SHARED, NULL, &address);
    if (error)
        return error;
    memlane_guard_watch(address, nbytes, page, 0, protection, "a region", &guarded);
    enum memlane_status status = memlane_membership_attach(&region->membership, &region->header, address, nbytes,
                                                           guarded, descriptor, found->st_dev, found->st_ino, readonly);
    if (status != MEMLANE_OK) {
        memlane_guard_forget(guarded);
        memlane_unmap(address, nbytes, page, 0);
        return (int)status;
    }
    region->anchor = NULL;
    memlane_semaphores_of(&region->header, &region->semaphores);
    be_present_at_set(region);
    return 0;
}

static const struct memlane_opening as_usual;

int memlane_region_open(struct memlane_region *region, const char *name, const struct memlane_opening *opening) {
    struct stat found;
    int error = memlane_runtime_setup();
    if (opening == NULL)
        opening = &as_usual;
    if (error == 0)
        error = memlane_region_path(name, region->path);
    while (error == 0) {
        int descriptor =
            open(region->path, (opening->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (descriptor < 0)
            return errno == ELOOP || errno == EISDIR || errno == ENXIO ? -EINVAL : -errno;
        error = check_file(descriptor, opening, &found);
        if (error == 0)
            error = be_present(descriptor);
        /* Between open and presence the name may have been swept or unlinked. */
        bool is_there = error != 0 || still_leads_to(region->path, &found);
        if (error == 0 && is_there)
            error = attach(region, descriptor, &found, opening->readonly);
        if (error != 0 || !is_there)
            close(descriptor);
        if (is_there)
            return error;
    }
    return error;
}

int memlane_region_open_descriptor(struct memlane_region *region, int descriptor,
                                   const struct memlane_opening *opening) {
    char path[64];
    struct stat found;
    int error = memlane_runtime_setup();
    if (opening == NULL)
        opening = &as_usual;
    if (error)
        return error;
    region->path[0] = '\0';
    /* A description of our own: the sender's locks and ours must not be the same. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    int own = open(path, (opening->readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
    if (own < 0)
        return -errno;
    error = check_file(own, opening, &found);
    if (error == 0)
        error = be_present(own);
    if (error == 0)
        error = attach(region, own, &found, opening->readonly);
    if (error)
        close(own);
    return error;
}

/* ---- the row ------------------------------------------------------------------------------------- */

/* Start of this process in clock ticks since boot, for people; 0 where /proc does not tell. */
static uint64_t start_time(void) {
    char text[1024];
    unsigned long long ticks = 0;
    int file = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? 0 : read(file, text, sizeof text - 1);
    if (file >= 0)
        close(file);
    text[length < 0 ? 0 : length] = '\0';
    char *at = strrchr(text, ')'); /* the name may have spaces; the 20th word behind it is meant */
    for (int word = 0; at != NULL && word < 20; word++)
        at = strchr(at + 1, ' ');
    if (at != NULL)
        ticks = strtoull(at, NULL, 10);
    return ticks;
}

int memlane_region_join(struct memlane_region *region) {
    if (memlane_membership_is_joined(&region->membership))
        return 0;
    struct memlane_description description = {(uint32_t)getpid(), start_time(), program_invocation_short_name};
    const uint32_t start = (uint32_t)(memlane_monotonic_ns() / 1000) ^ (uint32_t)getpid() * 2654435761u;
    int error;
    switch (memlane_membership_join(&region->membership, start % region->header.rows, &description,
                                    region->path[0] ? region->path : NULL, &error)) {
    case MEMLANE_JOINED:
        return 0;
    case MEMLANE_JOIN_READONLY:
        return -EACCES;
    case MEMLANE_JOIN_NO_ROW:
        return -EUSERS;
    case MEMLANE_JOIN_UNSEEN:
        return -ENOLCK;
    default:
        return -error;
    }
}

void memlane_region_close(struct memlane_region *region) {
    struct memlane_membership *membership = &region->membership;
    memlane_membership_leave(membership);
    if (membership->base >= 0 && memlane_membership_is_file(membership, membership->base))
        close(membership->base);
    membership->base = -1;
    if (region->anchor != NULL)
        munmap(region->anchor, memlane_page_nbytes());
    region->anchor = NULL;
    memlane_guard_forget(membership->guarded);
    membership->guarded = &memlane_unguarded;
    memlane_unmap(membership->address, region->header.nbytes, memlane_page_nbytes(), 0);
    membership->address = NULL;
}

int memlane_region_find(const struct memlane_region *region, const char *name, struct memlane_entry *entry,
                        uint64_t *sequence) {
    struct memlane_header *shared = (struct memlane_header *)(void *)region->membership.address;
    uint64_t count = memlane_directory_count(shared, region->header.entries);
    int missing = -ENOENT;
    if (strlen(name) >= sizeof entry->name)
        return missing;
    for (uint64_t index = 0; index < count; index++) {
        *sequence = memlane_entry_read(memlane_entry_at(shared, &region->header, index), entry);
        if (memlane_entry_state_of(*sequence) != MEMLANE_ENTRY_VALID)
            continue;
        if (strncmp(entry->name, name, sizeof entry->name) != 0)
            continue;
        if (memlane_entry_check(&region->header, entry) == MEMLANE_OK)
            return (int)index;
        missing = -EBADMSG; /* unless a sound one bears the name, too */
    }
    return missing;
}
