/* SPDX-License-Identifier: MIT
 *
 * Sleeping and waking: POSIX semaphores waited for on the monotonic clock, and the clocks themselves.
 * The address of a semaphore is all that this layer knows; posix_ipc makes and removes the named ones.
 */
#ifndef MEMLANE_OS_SEMWAIT_H
#define MEMLANE_OS_SEMWAIT_H

#include <stdbool.h>
#include <stdint.h>

uint64_t memlane_monotonic_ns(void);
uint64_t memlane_boottime_ns(void);
uint64_t memlane_coarse_ns(void); /* monotonic, to a tick of the kernel: 1 to 10 ms */

/* Wait for a token until a moment of the monotonic clock. Whatever the 32 bytes are and become meanwhile, this
 * returns, where memlane_semaphore_layout_is_known(); elsewhere the C library judges them.
 * Returns 0: got one, ETIMEDOUT (where the semaphore is corrupted maybe soon), EINTR: a signal came, or another errno. */
int memlane_semaphore_wait(void *semaphore, uint64_t deadline_ns);

/* Leave a token, and wake one who waits, by this or by the C library's own functions.
 * Returns 0 or an errno; EOVERFLOW: there are more than enough. */
int memlane_semaphore_post(void *semaphore);

/* Whether waits and posts are our own, on the bytes of the C library's semaphores. */
bool memlane_semaphore_layout_is_known(void);

/* Make an unnamed, process-shared semaphore of value 0 in 32 bytes of shared memory. Returns 0 or errno. */
int memlane_semaphore_make(void *memory);

/* Open an existing named one. Returns its address in this process, or NULL with *error set. */
void *memlane_semaphore_open(const char *name, int *error);
void memlane_semaphore_close(void *semaphore);

/* Sleep at most `ns`; a signal ends it early. */
void memlane_pause(uint64_t ns);

#endif
