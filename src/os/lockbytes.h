/* SPDX-License-Identifier: MIT
 *
 * Byte locks that the kernel holds: F_OFD_* of fcntl(2). They belong to an open file description and go with
 * its last descriptor and mapping, however the process ends. They do not exclude threads that share the
 * description: an in-process mutex stands before each.
 */
#ifndef MEMLANE_OS_LOCKBYTES_H
#define MEMLANE_OS_LOCKBYTES_H

#include <stdbool.h>
#include <stdint.h>

/* Try to lock one byte for writing or for reading; never waits.
 * Returns 0, -EAGAIN: somebody else holds it, or another negative errno. */
int memlane_lockbyte_try(int descriptor, int64_t byte, bool for_writing);

/* Let a byte go. Returns 0 or a negative errno. */
int memlane_lockbyte_release(int descriptor, int64_t byte);

/* Ask who stands in the way of a lock, through a description that does not hold one itself (one's own locks
 * are never in one's way). A probe `for_writing` sees any lock; the other one only write locks, so a hostile
 * read lock does not count.
 * Returns 1: locked, 0: free, or a negative errno. */
int memlane_lockbyte_probe(int descriptor, int64_t byte, bool for_writing);

/* Whether a descriptor leads to this file: numbers are reused. */
bool memlane_is_file(int descriptor, uint64_t device, uint64_t inode);

/* Whether a file lies on a network file system, where these locks say nothing of other machines. */
bool memlane_is_network_file(int descriptor);

/* Whether the bytes of a file are memory: of a memfd, or of a tmpfs such as /dev/shm. */
bool memlane_is_memory_file(int descriptor);

#endif
