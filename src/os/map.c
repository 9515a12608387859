/* SPDX-License-Identifier: MIT */
#include "os/map.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* How much is reserved at once. Some kernels undo an interrupted fallocate whole, so a long one would
 * start again and again; 16 MiB take a few milliseconds. */
#define STEP_NBYTES ((uint64_t)16 << 20)

/* Interrupted steps are halved down to this (chosen somewhat arbitrarily), so that a timer that fires
 * faster than a step is done cannot keep it from ever being done. */
#define STEP_NBYTES_LEAST ((uint64_t)64 << 10)

_Static_assert(sizeof(off_t) == 8, "offsets of 64 bits are needed: compile with -D_FILE_OFFSET_BITS=64");
#ifdef MADV_POPULATE_WRITE
_Static_assert(MADV_POPULATE_WRITE == MEMLANE_MADV_POPULATE_WRITE, "map.h has the kernel's numbers");
#endif

uint64_t memlane_page_nbytes(void) {
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t bytes_before(const unsigned char *address) {
    return (uintptr_t)address & (memlane_page_nbytes() - 1);
}

int memlane_map(int fd, uint64_t offset, uint64_t nbytes, int protection, int flags,
                unsigned char **address) {
    uint64_t hidden = offset & (memlane_page_nbytes() - 1);
    void *base = mmap(NULL, nbytes + hidden, protection, flags, fd, (off_t)(offset - hidden));
    if (base == MAP_FAILED)
        return -errno;
    *address = (unsigned char *)base + hidden;
    return 0;
}

int memlane_unmap(unsigned char *address, uint64_t nbytes) {
    uint64_t hidden = bytes_before(address);
    return munmap(address - hidden, nbytes + hidden) ? -errno : 0;
}

int memlane_remap(unsigned char **address, uint64_t nbytes, uint64_t new_nbytes) {
    uint64_t hidden = bytes_before(*address);
    void *base = mremap(*address - hidden, nbytes + hidden, new_nbytes + hidden, MREMAP_MAYMOVE);
    if (base == MAP_FAILED)
        return -errno;
    *address = (unsigned char *)base + hidden;
    return 0;
}

int memlane_sync(unsigned char *address, uint64_t nbytes, int flags) {
    uint64_t hidden = bytes_before(address);
    return msync(address - hidden, nbytes + hidden, flags) ? -errno : 0;
}

int memlane_advise(unsigned char *address, uint64_t nbytes, int advice) {
    uint64_t hidden = bytes_before(address);
    return madvise(address - hidden, nbytes + hidden, advice) ? -errno : 0;
}

int memlane_protect(unsigned char *address, uint64_t nbytes, int protection) {
    uint64_t hidden = bytes_before(address);
    return mprotect(address - hidden, nbytes + hidden, protection) ? -errno : 0;
}

static void shorten_step(uint64_t *step) {
    if (*step > STEP_NBYTES_LEAST)
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
    uint64_t hidden = bytes_before(address);
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

int memlane_block_device_nbytes(int fd, uint64_t *nbytes) {
    return ioctl(fd, BLKGETSIZE64, nbytes) ? -errno : 0;
}
