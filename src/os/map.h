/* SPDX-License-Identifier: MIT
 *
 * Mapped memory: system calls and nothing else. No Python, no allocation, no globals, no locks.
 *
 * Every function returns 0 or a negative errno. An `address` is the first byte that the user sees and
 * need not lie on a page boundary: the page that holds it is where the kernel's mapping begins, so one
 * pointer and one length are all that there is to remember. Ranges for the kernel are widened to whole
 * pages of `page_nbytes` here (huge ones where the mapping is made of them: the kernel refuses parts of
 * those); a process that must not touch the neighbors on those pages checks that before.
 */
#ifndef MEMLANE_OS_MAP_H
#define MEMLANE_OS_MAP_H

#include <stdint.h>
#include <sys/types.h>

struct memlane_guarded;

/* Kernels know more advice than older C libraries name; the numbers are fixed by the kernel. */
#define MEMLANE_MADV_COLD 20
#define MEMLANE_MADV_PAGEOUT 21
#define MEMLANE_MADV_POPULATE_READ 22
#define MEMLANE_MADV_POPULATE_WRITE 23
#define MEMLANE_MADV_DONTNEED_LOCKED 24
#define MEMLANE_MADV_COLLAPSE 25

/* Bytes in a page. */
uint64_t memlane_page_nbytes(void);

/* What a descriptor refers to, as far as mapping it matters. */
struct memlane_file {
    uint64_t nbytes; /* of a regular file or block device; else 0 */
    uint64_t page_nbytes; /* what it is made of: huge pages on hugetlbfs */
    uint64_t device, inode;
    mode_t mode; /* file type */
    int is_zero_device; /* /dev/zero: a shared mapping of it is memory that begins at offset 0, and behind
                           * its length every touch is a SIGBUS, so no offset but 0 may be mapped */
};

/* Look at a descriptor. A block device, whose fstat says 0, is asked for its length. */
int memlane_look_at(int fd, struct memlane_file *file);

/* How a mapping is to lie in memory. */
struct memlane_mapping_place {
    uint64_t page_nbytes;
    uint64_t guard_nbytes; /* whole pages without any right, before the first page and again behind the last */
    uintptr_t wanted; /* where the first byte shall lie; 0: anywhere */
    int exactly; /* there or nowhere: -EEXIST if something is mapped there, which stays. Else a hint */
};

/* Map `nbytes` of `fd` from any `offset`; `fd` -1 with MAP_ANONYMOUS in `flags` for memory without a
 * file. The descriptor may be closed afterwards. `place` may be NULL: ordinary pages, anywhere. */
int memlane_map(int fd, uint64_t offset, uint64_t nbytes, int protection, int flags,
                const struct memlane_mapping_place *place, unsigned char **address);

/* Unmap all pages that hold a byte of the range, and the guard pages around them. */
int memlane_unmap(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, uint64_t guard_nbytes);

/* Change the length, moving the mapping if it must, its guard pages too: *address is the new place, or
 * untouched on error. The range must be one mapping of the kernel's: pages with a protection or advice
 * of their own are another one (-EFAULT). */
int memlane_remap(unsigned char **address, uint64_t nbytes, uint64_t new_nbytes, uint64_t page_nbytes,
                  uint64_t guard_nbytes);

/* msync, madvise, mprotect, mlock and munlock for any range. A lock `on_fault` holds each page only once
 * it has been touched. */
int memlane_sync(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int flags);
int memlane_advise(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int advice);
int memlane_protect(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int protection);
int memlane_lock(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int on_fault);
int memlane_unlock(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes);

/* Give memory without a file a name in /proc/PID/maps. -EINVAL: this kernel cannot, or not that name. */
int memlane_name(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, const char *name);

/* Count the ordinary pages that hold a byte of the range, and those of them that are in memory. */
int memlane_residency(unsigned char *address, uint64_t nbytes, uint64_t *pages, uint64_t *resident);

/* Reserve the range in the file, so that touching it can never be a SIGBUS for want of room; a file that
 * ends before is made longer. Interruptions are retried. -EOPNOTSUPP where the file system cannot
 * reserve: never the emulation of posix_fallocate, which writes zeros over what others have stored
 * meanwhile. After an error a part of the range may be reserved. */
int memlane_reserve(int fd, uint64_t offset, uint64_t nbytes);

/* Give writable memory that no file backs its pages now, keeping what it holds. Interruptions are retried. Kernels
 * before 5.14 cannot do it by themselves: there each page is touched, and want of memory is no error but
 * the kernel's out-of-memory killer. -EFAULT or -ENOMEM: no memory. */
int memlane_populate(void *address, uint64_t nbytes);

/* Copy to memory that has just been allocated. Where that is fresh from the kernel, its pages come a stretch at a time,
 * right before they are filled, which costs less than a fault for each. */
void memlane_copy_to_new(char *target, const unsigned char *source, uint64_t nbytes);

/* Bring the pages of the range into memory for reading. Kernels before 5.14 are only asked to begin. */
int memlane_populate_for_reading(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes);

/* Write those blocks of memory to the file that differ from what is there, and count their bytes.
 * Interruptions are retried. After an error a part may be written; -EFAULT: the memory, which `guarded` stands for, has
 * lost pages, whose zeros are kept from the file. */
int memlane_write_changed(int fd, const unsigned char *source, uint64_t nbytes, uint64_t offset,
                          const struct memlane_guarded *guarded, uint64_t *written);

#endif
