/* SPDX-License-Identifier: MIT
 *
 * The SIGBUS guard: a process lives on when somebody cuts off a file that it has mapped.
 *
 * A page of a mapping that its file no longer has (or cannot have: a hole on a full disk, a read error) is a
 * SIGBUS for a process that touches it, in whatever code. The guard is a handler that knows our mappings. For a fault
 * in one of them it marks the mapping truncated, lays private zero pages over the hole, and returns: the access is made
 * again and finds zeros. The owner of the mapping looks at the mark in its next call, and at the end of one under way,
 * and raises. What is written to such a page goes nowhere.
 *
 *   MEMLANE_GUARD_PAGE    the page that was hit: the rest of a file may be sound
 *   MEMLANE_GUARD_WHOLE   the whole mapping: words of a region that agree with each other must not come half from
 *                         the file and half from nowhere. No other process sees what happens in it from then on.
 *
 * The table of ranges is read by the handler without a lock, so it may interrupt anything, in several threads
 * at once. An entry has an even sequence while it stands still. One that changes while it is looked at is not
 * the one that was hit: a range that is used is neither moved nor forgotten. A forked child inherits table,
 * handler and mappings, all of them its own copies; there is no descriptor in it that a child would have closed.
 *
 * The handler is the only one of this library, installed when there is first something to watch. A signal that is
 * not for us (a fault elsewhere, a hardware error, a kill) goes to the handler that was there before, as if there
 * were none in between; without one the process dies of it. A handler that is installed after ours gets the signal
 * first. We come back on top whenever memlane_guard_come_on_top is called, and now and then when something new is
 * watched, and remember all we lie over: one of them may pass the signal down to us again, and then it is the turn
 * of the next one. It runs on the thread's alternate stack where there is one, as the one below may need that.
 *
 * A system call that is handed a lost page (write(2) from it) gets no signal but EFAULT, as always.
 * Not covered: a wait by the C library, where semwait.c leaves it to that, on a semaphore whose file is cut off in the
 * moment between its own look at the semaphore and the kernel's (the library aborts).
 *
 * Guard pages, which end a process that runs over the edge of a mapping, are known here as well: a SIGSEGV in one says
 * on standard error which mapping it was and where, and then takes its course.
 */
#ifndef MEMLANE_OS_GUARD_H
#define MEMLANE_OS_GUARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { MEMLANE_GUARD_PAGE, MEMLANE_GUARD_WHOLE };
enum { MEMLANE_GUARD_NAME_WORDS = 12 };

/* One range. Only guard.c looks inside, save for the mark. */
struct memlane_guarded {
    _Atomic uint32_t truncated;
    _Atomic uint32_t owned; /* 0: free */
    _Atomic uint32_t sequence; /* odd: changing */
    _Atomic uint32_t replacer; /* WHOLE: pid of the process that lays zero pages, or REPLACED */
    _Atomic uint64_t begin, end; /* whole pages */
    _Atomic uint64_t origin; /* the user's first byte */
    _Atomic uint64_t nbytes; /* ... and how many */
    _Atomic uint64_t page_nbytes;
    _Atomic uint64_t fence_nbytes; /* guard pages before begin and behind end */
    _Atomic uint32_t protection; /* all PROT_ bits that pages of it have had */
    _Atomic uint32_t how;
    _Atomic uint32_t only_in; /* pid: forked children do not have it; 0: they do */
    uint32_t index;
    _Atomic uint64_t name[MEMLANE_GUARD_NAME_WORDS]; /* for people */
};

/* What a mapping without a place in the table points to: never truncated. */
extern struct memlane_guarded memlane_unguarded;

/* Whether a page of the range was missing: one load. */
static inline bool memlane_guard_is_truncated(const struct memlane_guarded *guarded) {
    /* sync: guarded.truncated. acquire fence: the mark is looked at after the bytes. Pairs with the one in repair.
     * Without it somebody takes another thread's zero page for the file. A store needs no more: it cannot wait for as
     * long as the other's system call between mark and page takes. */
    atomic_thread_fence(memory_order_acquire);
    /* relaxed: ordered by the fence */
    return atomic_load_explicit(&guarded->truncated, memory_order_relaxed) != 0;
}

/* Prepare the fork hooks; call once when the extension is loaded. Returns 0 or a negative errno. */
int memlane_guard_setup(void);

/* Turn the guard on or off; returns what it was. Ranges stay known. Off, every signal is passed on; our handler is
 * taken out if it is on top. On, it comes (back) on top if there is anything to watch. */
bool memlane_guard_switch(bool on);

/* See that no handler that was installed later stands before ours: one or two system calls. */
void memlane_guard_come_on_top(void);

/* Watch a mapping of `nbytes` at `address`, widened to whole pages, with `fence_nbytes` of guard pages on each side.
 * `protection` is what its zero pages get. `name` is for people, and cut off. No system call, as a rule: whether we are
 * still on top is looked at once in a few ms.
 * Returns 0 and *guarded, or -ENOMEM: the table cannot grow. */
int memlane_guard_watch(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, uint64_t fence_nbytes,
                        int protection, const char *name, struct memlane_guarded **guarded);

/* Stop watching, before it is unmapped. memlane_unguarded is left alone, here and below. */
void memlane_guard_forget(struct memlane_guarded *guarded);

/* Before a mapping that nobody uses is moved or resized, and after it, with the new place or the old one. */
void memlane_guard_begin_move(struct memlane_guarded *guarded);
void memlane_guard_end_move(struct memlane_guarded *guarded, unsigned char *address, uint64_t nbytes);

/* Have all of it replaced at the first fault. */
void memlane_guard_replace_whole(struct memlane_guarded *guarded);

/* Zero pages shall allow this as well: some pages of the range do now. */
void memlane_guard_allow(struct memlane_guarded *guarded, int protection);

/* Say whether forked children will have the mapping: one that they do not have must not stand in their way. */
void memlane_guard_keep_from_children(struct memlane_guarded *guarded, bool kept);

#endif
