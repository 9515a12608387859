/* SPDX-License-Identifier: MIT
 *
 * Mapped memory: system calls and nothing else. No Python, no allocation, no globals, no locks.
 *
 * Every function returns 0 or a negative errno. An `address` is the first byte that the user sees and
 * need not lie on a page boundary: the page that holds it is where the kernel's mapping begins, so one
 * pointer and one length are all that there is to remember. Ranges for the kernel are widened to whole
 * pages here; whoever must not touch the neighbours on those pages checks that before.
 */
#ifndef MEMLANE_OS_MAP_H
#define MEMLANE_OS_MAP_H

#include <stdint.h>

/* Kernels know more advice than older C libraries name; the numbers are fixed by the kernel. */
#define MEMLANE_MADV_COLD 20
#define MEMLANE_MADV_PAGEOUT 21
#define MEMLANE_MADV_POPULATE_READ 22
#define MEMLANE_MADV_POPULATE_WRITE 23
#define MEMLANE_MADV_COLLAPSE 25

/* Bytes in a page. */
uint64_t memlane_page_nbytes(void);

/* Map `nbytes` of `fd` from any `offset`; `fd` -1 with MAP_ANONYMOUS in `flags` for memory without a
 * file. The descriptor may be closed afterwards. */
int memlane_map(int fd, uint64_t offset, uint64_t nbytes, int protection, int flags,
                unsigned char **address);

/* Unmap all pages that hold a byte of the range. */
int memlane_unmap(unsigned char *address, uint64_t nbytes);

/* Change the length, moving the mapping if it must: *address is the new place, or untouched on error.
 * The range must be one mapping of the kernel's: pages with a protection or advice of their own are
 * another one (-EFAULT). */
int memlane_remap(unsigned char **address, uint64_t nbytes, uint64_t new_nbytes);

/* msync, madvise and mprotect for any range. */
int memlane_sync(unsigned char *address, uint64_t nbytes, int flags);
int memlane_advise(unsigned char *address, uint64_t nbytes, int advice);
int memlane_protect(unsigned char *address, uint64_t nbytes, int protection);

/* Reserve the range in the file, so that touching it can never be a SIGBUS for want of room; a file that
 * ends before is made longer. Interruptions are retried. -EOPNOTSUPP where the file system cannot
 * reserve: never the emulation of posix_fallocate, which writes zeros over what others have stored
 * meanwhile. After an error a part of the range may be reserved. */
int memlane_reserve(int fd, uint64_t offset, uint64_t nbytes);

/* Give writable memory that no file backs its pages now, keeping what it holds. Interruptions are retried. Kernels
 * before 5.14 cannot do it by themselves: there each page is touched, and want of memory is no error but
 * the kernel's out-of-memory killer. -EFAULT or -ENOMEM: no memory. */
int memlane_populate(void *address, uint64_t nbytes);

/* Length of a block device, whose fstat says 0. */
int memlane_block_device_nbytes(int fd, uint64_t *nbytes);

#endif
