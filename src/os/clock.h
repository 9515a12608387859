/* SPDX-License-Identifier: MIT
 *
 * Which clocks this process has.
 */
#ifndef MEMLANE_OS_CLOCK_H
#define MEMLANE_OS_CLOCK_H

#include <stdint.h>

/* What tells the clocks of this process from those of others: a hash of the boot of the machine, and of how far a time
 * namespace sets them forward. Two processes whose numbers differ cannot compare their times. A child may have been forked
 * into another time namespace, so each process asks for itself. Reads two files of /proc. Returns: 0 if the kernel does not
 * say. */
uint64_t memlane_clock_of_process(void);

#endif
