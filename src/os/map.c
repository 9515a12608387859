/* SPDX-License-Identifier: MIT */
#include "os/map.h"

#include "os/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* How much is reserved at once. Some kernels undo an interrupted fallocate whole, so a long one would
 * start again and again; 16 MiB take a few milliseconds where memory is fast. */
#define STEP_NBYTES ((uint64_t)16 << 20)

/* The kernel's numbers, for C libraries that are older than what they name. */
#define KERNEL_MAP_FIXED_NOREPLACE 0x100000
#define KERNEL_HUGETLBFS_MAGIC 0x958458f6L
#define KERNEL_MLOCK_ONFAULT 1u
#define KERNEL_PR_SET_VMA 0x53564d41
#define KERNEL_PR_SET_VMA_ANON_NAME 0

/* The C library's malloc takes blocks longer than this straight from the kernel, whatever was freed before
 * (its DEFAULT_MMAP_THRESHOLD_MAX). */
#define FRESH_NBYTES ((uint64_t)32 << 20)

/* Pages are made and filled so much at a time: it stays in the cache of one core in between (measured: 256 KiB
 * took three quarters of the time of faults, 2 MiB a little more, 64 MiB as much as faults). */
#define STRETCH_NBYTES ((uint64_t)256 << 10)

/* Nothing but huge pages has blocks of this many bytes or more, or else statfs says so. */
#define BLOCK_NBYTES_SUSPECT (64 << 10)

_Static_assert(sizeof(off_t) == 8, "offsets of 64 bits are needed: compile with -D_FILE_OFFSET_BITS=64");
#ifdef MAP_FIXED_NOREPLACE
_Static_assert(MAP_FIXED_NOREPLACE == KERNEL_MAP_FIXED_NOREPLACE, "the kernel's numbers");
#endif
#ifdef MADV_POPULATE_WRITE
_Static_assert(MADV_POPULATE_WRITE == MEMLANE_MADV_POPULATE_WRITE, "map.h has the kernel's numbers");
#endif

uint64_t memlane_page_nbytes(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

static uint64_t bytes_before(const unsigned char *address, uint64_t page_nbytes) {
    return (uintptr_t)address & (page_nbytes - 1);
}

static uint64_t whole_pages(uint64_t nbytes, uint64_t page_nbytes) {
    return (nbytes + page_nbytes - 1) & ~(page_nbytes - 1);
}

int memlane_look_at(int fd, struct memlane_file *file) {
    struct stat found;
    struct statfs system;
    if (fstat(fd, &found))
        return -errno;
    file->mode = found.st_mode & S_IFMT;
    file->nbytes = S_ISREG(found.st_mode) ? (uint64_t)found.st_size : 0;
    file->device = found.st_dev;
    file->inode = found.st_ino;
    file->page_nbytes = memlane_page_nbytes();
    file->is_zero_device = S_ISCHR(found.st_mode) && found.st_rdev == makedev(1, 5);
    if (S_ISREG(found.st_mode) && found.st_blksize >= BLOCK_NBYTES_SUSPECT && fstatfs(fd, &system) == 0 &&
        (unsigned long)system.f_type == (unsigned long)KERNEL_HUGETLBFS_MAGIC)
        file->page_nbytes = (uint64_t)found.st_blksize;
    /* (int): that is what musl's ioctl takes, and the number fits into 32 bits */
    if (S_ISBLK(found.st_mode) && ioctl(fd, (int)BLKGETSIZE64, &file->nbytes))
        return -errno;
    return 0;
}

/* Hold a range of addresses that nobody may touch, for a mapping and its guard pages. */
static int hold_addresses(void *wanted, uint64_t nbytes, int flags, void **base) {
    *base = mmap(wanted, nbytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);
    return *base == MAP_FAILED ? -errno : 0;
}

static int map_somewhere(void *wanted, uint64_t nbytes, int protection, int flags, int fd, off_t offset,
                         const struct memlane_mapping_place *place, void **base) {
    uint64_t guard_nbytes = place->guard_nbytes;
    uint64_t length = whole_pages(nbytes, place->page_nbytes);
    int noreplace = wanted && place->exactly ? KERNEL_MAP_FIXED_NOREPLACE : 0;
    if (guard_nbytes == 0) {
        /* the exact length where pages are ordinary: the kernel rounds up, and a limit is met as asked */
        *base = mmap(wanted, nbytes, protection, flags | noreplace, fd, offset);
        if (*base == MAP_FAILED)
            return -errno;
    } else {
        /* huge pages must begin on a boundary of theirs, which is looked for in a larger range */
        uint64_t slack = place->page_nbytes > memlane_page_nbytes() && !noreplace ? place->page_nbytes : 0;
        uint64_t held_nbytes = length + 2 * guard_nbytes + slack;
        unsigned char *held;
        int error = hold_addresses(wanted ? (char *)wanted - guard_nbytes : NULL, held_nbytes, noreplace, base);
        if (error)
            return error;
        held = *base;
        if (noreplace && held != (unsigned char *)wanted - guard_nbytes) {
            munmap(held, held_nbytes);
            return -EEXIST;
        }
        uint64_t before = whole_pages((uintptr_t)held + guard_nbytes, place->page_nbytes) - (uintptr_t)held;
        if (before > guard_nbytes)
            munmap(held, before - guard_nbytes);
        if (slack + guard_nbytes > before)
            munmap(held + before + length + guard_nbytes, slack + guard_nbytes - before);
        /* MAP_FIXED replaces what is there: nothing but what this very function holds */
        *base = mmap(held + before, nbytes, protection, flags | MAP_FIXED, fd, offset);
        if (*base == MAP_FAILED) {
            error = -errno;
            munmap(held + before - guard_nbytes, length + 2 * guard_nbytes);
            return error;
        }
        return 0;
    }
    if (noreplace && *base != wanted) {
        /* a kernel before 4.17 takes it for a hint */
        munmap(*base, length);
        return -EEXIST;
    }
    return 0;
}

int memlane_map(int fd, uint64_t offset, uint64_t nbytes, int protection, int flags,
                const struct memlane_mapping_place *place, unsigned char **address) {
    const struct memlane_mapping_place anywhere = {.page_nbytes = memlane_page_nbytes()};
    if (place == NULL)
        place = &anywhere;
    uint64_t hidden = offset & (place->page_nbytes - 1);
    void *base;
    void *wanted = NULL;
    if (place->wanted) {
        uintptr_t first = place->wanted - hidden;
        if (place->exactly && (first & (place->page_nbytes - 1) || first <= place->guard_nbytes))
            return -EINVAL;
        /* an int that the user chose, not memory that we know */
        wanted = (void *)(first & ~(uintptr_t)(place->page_nbytes - 1));
    }
    int error = map_somewhere(wanted, nbytes + hidden, protection, flags, fd, (off_t)(offset - hidden), place, &base);
    if (error)
        return error;
    *address = (unsigned char *)base + hidden;
    return 0;
}

int memlane_unmap(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, uint64_t guard_nbytes) {
    uint64_t hidden = bytes_before(address, page_nbytes);
    uint64_t length = whole_pages(nbytes + hidden, page_nbytes);
    return munmap(address - hidden - guard_nbytes, length + 2 * guard_nbytes) ? -errno : 0;
}

int memlane_remap(unsigned char **address, uint64_t nbytes, uint64_t new_nbytes, uint64_t page_nbytes,
                  uint64_t guard_nbytes) {
    uint64_t hidden = bytes_before(*address, page_nbytes);
    unsigned char *old = *address - hidden;
    uint64_t old_length = whole_pages(nbytes + hidden, page_nbytes);
    uint64_t length = whole_pages(new_nbytes + hidden, page_nbytes);
    void *base;
    if (guard_nbytes == 0 || length == old_length) {
        base = mremap(old, old_length, length, MREMAP_MAYMOVE);
        if (base == MAP_FAILED)
            return -errno;
    } else {
        void *held;
        int error = hold_addresses(NULL, length + 2 * guard_nbytes, 0, &held);
        if (error)
            return error;
        base = mremap(old, old_length, length, MREMAP_MAYMOVE | MREMAP_FIXED, (unsigned char *)held + guard_nbytes);
        if (base == MAP_FAILED) {
            error = -errno;
            munmap(held, length + 2 * guard_nbytes);
            return error;
        }
        /* one by one: what lay between them is free by now, and perhaps another thread's */
        munmap(old - guard_nbytes, guard_nbytes);
        munmap(old + old_length, guard_nbytes);
    }
    *address = (unsigned char *)base + hidden;
    return 0;
}

int memlane_sync(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int flags) {
    uint64_t hidden = bytes_before(address, page_nbytes);
    return msync(address - hidden, nbytes + hidden, flags) ? -errno : 0;
}

int memlane_advise(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int advice) {
    uint64_t hidden = bytes_before(address, page_nbytes);
    return madvise(address - hidden, whole_pages(nbytes + hidden, page_nbytes), advice) ? -errno : 0;
}

int memlane_protect(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int protection) {
    uint64_t hidden = bytes_before(address, page_nbytes);
    return mprotect(address - hidden, whole_pages(nbytes + hidden, page_nbytes), protection) ? -errno : 0;
}

/* Both by number: the C library's wrapper of mlock2 is younger than the call, and under a sanitizer mlock and munlock
 * do nothing but say that they did. */
int memlane_lock(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int on_fault) {
    uint64_t hidden = bytes_before(address, page_nbytes);
    unsigned how = on_fault ? KERNEL_MLOCK_ONFAULT : 0;
    return syscall(SYS_mlock2, address - hidden, nbytes + hidden, how) ? -errno : 0;
}

int memlane_unlock(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes) {
    uint64_t hidden = bytes_before(address, page_nbytes);
    return syscall(SYS_munlock, address - hidden, nbytes + hidden) ? -errno : 0;
}

int memlane_name(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, const char *name) {
    uint64_t hidden = bytes_before(address, page_nbytes);
    return prctl(KERNEL_PR_SET_VMA, KERNEL_PR_SET_VMA_ANON_NAME, (unsigned long)(uintptr_t)(address - hidden),
                 (unsigned long)whole_pages(nbytes + hidden, page_nbytes), (unsigned long)(uintptr_t)name)
               ? -errno
               : 0;
}

int memlane_residency(unsigned char *address, uint64_t nbytes, uint64_t *pages, uint64_t *resident) {
    unsigned char vector[4096]; /* a byte for each page: 16 MiB a turn */
    uint64_t page_nbytes = memlane_page_nbytes();
    uint64_t hidden = bytes_before(address, page_nbytes);
    unsigned char *next = address - hidden;
    uint64_t left = whole_pages(nbytes + hidden, page_nbytes) / page_nbytes;
    *pages = left;
    *resident = 0;
    while (left > 0) {
        uint64_t count = left < sizeof vector ? left : sizeof vector;
        if (mincore(next, count * page_nbytes, vector)) {
            if (errno == EAGAIN)
                continue; /* the kernel's own buffer, for the moment */
            return -errno;
        }
        for (uint64_t i = 0; i < count; i++)
            *resident += vector[i] & 1;
        next += count * page_nbytes;
        left -= count;
    }
    return 0;
}

/* Interrupted steps are halved down to a page, which the kernel gives or does not: so a timer that fires faster than a
 * step is done cannot keep it from ever being done, however slowly this machine's memory comes. */
static void shorten_step(uint64_t *step) {
    if (*step > memlane_page_nbytes())
        *step /= 2;
}

int memlane_reserve(int fd, uint64_t offset, uint64_t nbytes) {
    uint64_t step = STEP_NBYTES;
    while (nbytes > 0) {
        uint64_t part = nbytes < step ? nbytes : step;
        if (fallocate(fd, 0, (off_t)offset, (off_t)part) == 0) {
            offset += part;
            nbytes -= part;
        } else if (errno == EINTR) {
            shorten_step(&step);
        } else {
            return -errno;
        }
    }
    return 0;
}

static void touch(unsigned char *address, uint64_t nbytes) {
    uint64_t page_nbytes = memlane_page_nbytes();
    for (uint64_t i = 0; i < nbytes; i += page_nbytes) {
        /* relaxed: nothing is ordered by it. Atomic: another process may be writing this very byte, and
         * a plain read and write back would undo that. */
        atomic_fetch_or_explicit((_Atomic unsigned char *)(address + i), 0, memory_order_relaxed);
    }
}

int memlane_populate(void *address, uint64_t nbytes) {
    uint64_t hidden = bytes_before(address, memlane_page_nbytes());
    unsigned char *next = (unsigned char *)address - hidden;
    uint64_t step = STEP_NBYTES;
    nbytes += hidden;
    while (nbytes > 0) {
        uint64_t part = nbytes < step ? nbytes : step;
        if (madvise(next, part, MEMLANE_MADV_POPULATE_WRITE) == 0) {
            next += part;
            nbytes -= part;
        } else if (errno == EINTR) {
            shorten_step(&step);
        } else if (errno == EINVAL) {
            /* a kernel before 5.14 */
            touch(next, nbytes);
            return 0;
        } else {
            return -errno;
        }
    }
    return 0;
}

void memlane_copy_to_new(char *target, const unsigned char *source, uint64_t nbytes) {
    uint64_t page_nbytes = memlane_page_nbytes();
    /* what malloc hands out beyond this length has no pages yet; shorter blocks may have all of theirs */
    uint64_t stretch = nbytes > FRESH_NBYTES ? STRETCH_NBYTES : nbytes;
    while (nbytes > 0) {
        uint64_t part = nbytes < stretch ? nbytes : stretch;
        if (nbytes > stretch) {
            uint64_t before = bytes_before((unsigned char *)target, page_nbytes);
            /* a mere help: what it does not bring is brought by the copy */
            (void)madvise(target - before, part + before, MEMLANE_MADV_POPULATE_WRITE);
        }
        memcpy(target, source, part);
        target += part;
        source += part;
        nbytes -= part;
    }
}

int memlane_populate_for_reading(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes) {
    int error = memlane_advise(address, nbytes, page_nbytes, MEMLANE_MADV_POPULATE_READ);
    return error == -EINVAL ? memlane_advise(address, nbytes, page_nbytes, MADV_WILLNEED) : error;
}

/* How much of the file is there; less than asked for only at its end. */
static int64_t read_whole(int fd, unsigned char *target, uint64_t nbytes, uint64_t offset) {
    uint64_t done = 0;
    while (done < nbytes) {
        ssize_t got = pread(fd, target + done, nbytes - done, (off_t)(offset + done));
        if (got == 0)
            break;
        if (got > 0)
            done += (uint64_t)got;
        else if (errno != EINTR)
            return -errno;
    }
    return (int64_t)done;
}

static int write_whole(int fd, const unsigned char *source, uint64_t nbytes, uint64_t offset) {
    while (nbytes > 0) {
        ssize_t put = pwrite(fd, source, nbytes, (off_t)offset);
        if (put > 0) {
            source += put;
            offset += (uint64_t)put;
            nbytes -= (uint64_t)put;
        } else if (put == 0 || errno != EINTR) {
            return put == 0 ? -EIO : -errno;
        }
    }
    return 0;
}

int memlane_write_changed(int fd, const unsigned char *source, uint64_t nbytes, uint64_t offset,
                          const struct memlane_guarded *guarded, uint64_t *written) {
    unsigned char found[16 << 10]; /* the block; a few pages, to save calls (chosen somewhat arbitrarily) */
    unsigned char wanted[sizeof found];
    *written = 0;
    while (nbytes > 0) {
        uint64_t part = nbytes < sizeof found ? nbytes : sizeof found;
        int64_t there = read_whole(fd, found, part, offset);
        if (there < 0)
            return (int)there;
        memcpy(wanted, source, part); /* once, and then known to be no zeros of the guard's */
        if (memlane_guard_is_truncated(guarded))
            return -EFAULT;
        if ((uint64_t)there < part || memcmp(found, wanted, part) != 0) {
            int error = write_whole(fd, wanted, part, offset);
            if (error)
                return error;
            *written += part;
        }
        source += part;
        offset += part;
        nbytes -= part;
    }
    return 0;
}
