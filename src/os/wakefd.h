/* SPDX-License-Identifier: MIT
 *
 * A descriptor that other processes can make readable: for select, poll, epoll and event loops.
 *
 * It is a datagram socket of one process, without a file: its name is abstract, random, and goes with the process. A
 * sender that knows the number sends one datagram and never waits. A full queue is as good as a send, for the descriptor
 * is readable then. The kernel itself drops what does not bear the secret half of the number, so others who list the
 * names cannot wake anybody.
 *
 * Names reach as far as a network namespace. From beyond, a sender changes the times of the region's file instead, and
 * the owner has the kernel watch that file (inotify): it needs no name and leaves nothing behind, but wakes all who watch.
 * Where that is refused as well, the owner looks again by a timer.
 *
 * Everything here is close-on-exec and non-blocking from birth. Forked children close it (os/fork.h), and every call says
 * -ECHILD to one that comes with its parent's. Nothing waits.
 */
#ifndef MEMLANE_OS_WAKEFD_H
#define MEMLANE_OS_WAKEFD_H

#include <stdint.h>

/* A descriptor, and the number that tells it from a later one of the same number (os/fork.h); -1: there is none. */
struct memlane_owned {
    int descriptor;
    uint64_t serial;
};

struct memlane_wakefd {
    int descriptor; /* to wait for: readable when there may be something to do, until it is drained */
    uint64_t number; /* by which others find it: random, from 1 to 2^63 - 1 */
    uint64_t network; /* where the number means something; 0: the kernel does not tell */
    uint64_t epoch; /* of fork.h */
    uint64_t slice_ns;
    struct memlane_owned socket, timer, watch, gathered;
};

/* Make one. With `slice_ns` it becomes readable by itself that long after each draining, for a caller that may wait
 * without a timer of its own; 0: never. Returns 0, or a negative errno: then there is nothing to close. */
int memlane_wakefd_open(struct memlane_wakefd *wakefd, uint64_t slice_ns);

/* Let senders of other network namespaces in, which stir the file behind `region`. With a slice that is part of
 * `descriptor`; without, the caller waits for `watch.descriptor` as well. Returns 0 or a negative errno: such senders are
 * noticed when a slice is over. */
int memlane_wakefd_watch(struct memlane_wakefd *wakefd, int region);

/* Make it unreadable again, and begin a new slice. A sender that comes later makes it readable. Whatever it holds, this
 * ends after a bounded number of system calls; what is left keeps it readable.
 * Returns 0; -ECHILD: it is our parent's; -EBADF: its number is somebody else's file by now, which was not touched. */
int memlane_wakefd_drain(struct memlane_wakefd *wakefd);

/* Close all of it that is still ours. */
void memlane_wakefd_close(struct memlane_wakefd *wakefd);

/* Make the descriptor of that number readable, which was opened in `network`. Any thread.
 * Returns 0: it is, or it was; -ECONNREFUSED: its owner is gone; -EHOSTUNREACH or another negative errno: it cannot be
 * reached like that, so note that, and stir the file. */
int memlane_wakefd_send(uint64_t number, uint64_t network);

/* Wake all who watch the file behind `region`, which the caller knows to be that file. Returns 0 or a negative errno. */
int memlane_wakefd_stir(int region);

#endif
