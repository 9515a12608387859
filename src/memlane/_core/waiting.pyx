# SPDX-License-Identifier: MIT
"""
Doorbell: one semaphore that wakes sleepers, as the binding sees it: an address, or none.

Who has no address polls with a growing pause: always right, only slower. Named semaphores are made, found
and removed by memlane._region.semaphores; an unnamed one lies in the region itself.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

import os as _os

from memlane.errors import ClosedError

from memlane._core.arguments cimport FOREVER
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_DOORBELL_NAMED, MEMLANE_DOORBELL_NONE, MEMLANE_DOORBELL_UNNAMED, memlane_cpu_relax,
    memlane_doorbell, memlane_doorbell_kind, memlane_doorbell_note, memlane_waiters_announce,
    memlane_waiters_withdraw,
)
from memlane._core.mapping_options cimport PAGE_NBYTES
from memlane._core.membership cimport Doorbells, EPOCH_CLOSED, Membership
from memlane._core.os cimport (
    PROT_READ, PROT_WRITE, memlane_fork_epoch, memlane_fork_is, memlane_guard_forget,
    memlane_guard_is_truncated, memlane_guard_watch, memlane_monotonic_ns, memlane_pause,
    memlane_semaphore_close, memlane_semaphore_make, memlane_semaphore_open, memlane_semaphore_post,
    memlane_semaphore_wait, memlane_unguarded, sched_yield,
)
from memlane._core.os_errors cimport os_error

memlane_calls_join(calls_of_process(), globals())

cdef uint64_t PAUSE_MIN_NS = 50000

cdef uint64_t PAUSE_MAX_NS = 5000000

# The longest spin of wait="adaptive": waking a sleeper costs 30 to 50 microseconds on a virtual machine,
# so spinning as long costs at most as much again. wait="spin" looks for signals this often.
cdef uint64_t SPIN_MAX_NS = 50000

cdef uint64_t SPIN_MIN_NS = 2000

cdef uint64_t SPIN_ONLY_NS = 5000000

cdef dict WAITS = {"adaptive": WAIT_ADAPTIVE, "spin": WAIT_SPIN, "sleep": WAIT_SLEEP}

cdef bint SEVERAL_CPUS = len(_os.sched_getaffinity(0)) > 1

cdef uint64_t CLOCK = 0

cdef uint64_t CLOCK_EPOCH = EPOCH_CLOSED


cdef uint64_t clock_hash() noexcept:
    """
    What tells the clocks of this process from those of others: the boot of the machine, and how far a time namespace sets
    them forward; 0 if the kernel does not say. Two processes whose numbers differ cannot compare their times.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", "rb") as boot_id:
            found = int(boot_id.read().replace(b"-", b"").strip()[:16], 16)
    except (OSError, ValueError):
        return 0
    try:
        with open("/proc/self/timens_offsets", "rb") as offsets:
            for line in offsets:
                clock, seconds, nanoseconds = line.split()
                # any two odd numbers
                factor = {b"boottime": 0x9E3779B97F4A7C15, b"monotonic": 0xC2B2AE3D27D4EB4F}.get(clock, 0)
                found += (int(seconds) * 1_000_000_000 + int(nanoseconds)) * factor
    except (OSError, ValueError):
        pass  # a kernel without time namespaces
    return found % 2**64 or 1


cdef int know_clock() except -1:
    """A child may have been forked into another time namespace."""
    global CLOCK, CLOCK_EPOCH
    if not memlane_fork_is(CLOCK_EPOCH):
        CLOCK = clock_hash()
        CLOCK_EPOCH = memlane_fork_epoch()
    return 0


# Slices that calls of this process slept from beginning to end with nobody ringing. A wake-up that is lost costs one,
# so tests count these and measure no time.
cdef uint64_t whole_slices = 0


def slices_slept():
    """Return how many slices calls of this process have slept to their end, since no doorbell woke them."""
    return whole_slices


cdef void count_slept(uint64_t began) noexcept:
    """After a sleep that nobody ended."""
    global whole_slices
    if memlane_monotonic_ns() - began >= SLICE_NS:
        whole_slices += 1


@cython.final
cdef class Doorbell:
    """
    One doorbell of a region. Made by the set that memlane._region.semaphores keeps; *offset* is that of its 64 bytes.
    """

    def __init__(self, Membership membership not None, uint64_t offset):
        cdef uint64_t pinned = membership.pin()  # or there is no address
        self.membership = membership
        self.record = <memlane_doorbell *>(membership.mapping.address + offset)
        membership.unpin(pinned)

    def __cinit__(self, *_args):
        self.guarded = &memlane_unguarded

    def __dealloc__(self):
        memlane_guard_forget(self.guarded)
        # Not the process's last look at its memory: sem_close counts, and unmaps with the last.
        if self.opened and self.semaphore != NULL:
            memlane_semaphore_close(self.semaphore)

    @property
    def kind(self):
        """0: none was made yet, 1: unnamed, 2: named."""
        cdef uint64_t pinned = self.membership.pin()
        cdef uint32_t kind = memlane_doorbell_kind(self.record)
        self.membership.unpin(pinned)
        return kind

    @property
    def file(self):
        """(device, inode) that the maker of a named one noted."""
        cdef uint64_t pinned = self.membership.pin(), device = self.record.device, inode = self.record.inode
        self.membership.unpin(pinned)
        return device, inode

    def make_unnamed(self):
        """Make the semaphore inside the region. For its first user, before others can see the object."""
        cdef uint64_t pinned = self.membership.pin()
        cdef int error = memlane_semaphore_make(self.record.semaphore)
        if not error:
            memlane_doorbell_note(self.record, MEMLANE_DOORBELL_UNNAMED)
            self.semaphore = self.record.semaphore
        self.membership.unpin(pinned)
        if error:
            raise os_error(error, "make a semaphore")

    def note_named(self, uint64_t device, uint64_t inode):
        """Tell the others which file the named semaphore is. For its maker."""
        cdef uint64_t pinned = self.membership.pin()
        self.record.device, self.record.inode = device, inode
        memlane_doorbell_note(self.record, MEMLANE_DOORBELL_NAMED)
        self.membership.unpin(pinned)

    def forget(self):
        """Say that there is none. For one who is alone in the region."""
        cdef uint64_t pinned = self.membership.pin()
        memlane_doorbell_note(self.record, MEMLANE_DOORBELL_NONE)
        self.membership.unpin(pinned)

    def attach_unnamed(self):
        """Use the semaphore that lies in the region."""
        cdef uint64_t pinned = self.membership.pin()
        self.semaphore = self.record.semaphore
        self.membership.unpin(pinned)

    def attach_named(self, str name):
        """Open the named semaphore, which posix_ipc made; OSError if it cannot be."""
        cdef int error
        encoded = name.encode()
        self.semaphore = memlane_semaphore_open(encoded, &error)
        if self.semaphore == NULL:
            raise os_error(error, f"open semaphore {name}")
        self.opened = True
        # without a place in the table it works all the same
        memlane_guard_watch(<unsigned char *>self.semaphore, sizeof(self.record.semaphore), PAGE_NBYTES, 0,
                            PROT_READ | PROT_WRITE, b"", &self.guarded)

    @property
    def attached(self):
        return self.semaphore != NULL

    def wake_all(self):
        """For good: leave a token for each who can sleep there, since nobody here knows how many do."""
        cdef uint64_t pinned = self.membership.pin()
        self.ring(POSTS_MAX)
        self.membership.unpin(pinned)

    cdef void *address(self) noexcept nogil:
        """Where to wait; NULL: poll, for there is no semaphore, or somebody has cut its file off."""
        return NULL if memlane_guard_is_truncated(self.guarded) else self.semaphore

    cdef void ring(self, uint32_t times) noexcept nogil:
        """Leave tokens; without a semaphore there is nothing to do, for then the sleepers poll."""
        cdef uint32_t turn
        if self.semaphore != NULL:
            for turn in range(times):
                if memlane_semaphore_post(self.semaphore):
                    return  # EOVERFLOW: more tokens than sleepers there can be


cdef class HeldDoorbells(Doorbells):
    """
    What this process holds of a region's semaphores: the base of memlane._region.semaphores.DoorbellSet, so that closing lets go
    of it without running Python.

    Attributes:
        known: The doorbells that were looked for, by offset.
        anchor: The mapping that makes this process present at a set of named semaphores.
    """

    def __init__(self, Membership membership not None):
        self.known = {}
        self.membership = membership

    def bell(self, uint64_t offset):
        """The doorbell at that offset, attached to nothing at first."""
        found = self.known.get(offset)
        if found is None:
            if self.membership is None:
                raise ClosedError("this region is closed; open it again")
            found = self.known.setdefault(offset, Doorbell(self.membership, offset))
        return found

    def forget(self, uint64_t offset, uint64_t nbytes):
        """Let go of the doorbells in a part of the region where another object begins."""
        for place in list(self.known):
            if offset <= <uint64_t>place < offset + nbytes:
                self.known.pop(place, None)
    cdef void let_go(self) noexcept:
        """Let all semaphores and the anchor go; nothing is removed."""
        self.membership = None
        self.known.clear()
        if self.anchor is not None:
            self.anchor.close()


cdef Doorbell doorbell_at(Membership membership, void *record, bint make):
    """
    The doorbell of this process for a record of the region; made if that is ours to do. Runs Python: the caller has
    pinned the region.
    """
    return membership.doorbells.at(<char *>record - <char *>membership.mapping.address, make)


cdef bint ring_waiters(Doorbell bell, void *count, uint32_t times) noexcept:
    """
    Take announcements away and post as often; False: *bell* is not attached, and nothing is done. Runs no Python code,
    so it may stand behind a record that was taken.
    """
    cdef uint32_t taken = 0
    if bell is None or bell.semaphore == NULL:
        return False
    while taken < times and memlane_waiters_withdraw(count):
        taken += 1
    if taken:
        bell.ring(taken)
    return True


@cython.final
cdef class Spinning:
    """How long to spin before sleeping: long while spins succeed, zero when they keep failing."""

    def __cinit__(self):
        self.budget_ns = SPIN_MAX_NS

    cdef uint64_t limit(self, int wait) noexcept nogil:
        if wait == WAIT_SPIN:
            return SPIN_ONLY_NS
        return self.budget_ns if wait == WAIT_ADAPTIVE and SEVERAL_CPUS else 0

    cdef bint goes_on(self, uint64_t began, uint64_t limit) noexcept nogil:
        """After looks that found nothing: whether to look on. A long spin lets others run: who is waited for may need
        this CPU."""
        cdef uint64_t spun = memlane_monotonic_ns() - began
        if spun >= limit:
            self.learn(False)
            return False
        if spun >= SPIN_MAX_NS:
            sched_yield()
        return True

    cdef void learn(self, bint found) noexcept nogil:
        if found:
            self.budget_ns = min(SPIN_MAX_NS, max(2 * self.budget_ns, SPIN_MIN_NS))
        else:
            self.budget_ns = self.budget_ns // 2 if self.budget_ns > SPIN_MIN_NS else 0

    cdef void learn_sleep(self, bint woken, uint64_t slept_ns) noexcept nogil:
        """A sleep that was ended at once says that the other side is busy: spinning pays again."""
        if woken and slept_ns < 2 * SPIN_MAX_NS and self.budget_ns == 0:
            self.budget_ns = SPIN_MAX_NS // 2


cdef class Sleep:
    """
    One call's waiting: when it ends, how long it spins, and the steps of src/core/waiters.h.

    As it is, it only polls (`doze`). Who is woken by a doorbell derives from it and says in `is_due` what the second
    look is; who is announced otherwise than on a count says how in `announce` and `withdraw`.

        sleep = RoomSleep()                 # at the first look that found nothing
        sleep.deadline, sleep.spinning = deadline, self.spinning
        ...
        if not sleep.spin(wait) and wait != WAIT_SPIN:
            sleep.nap(&control.waiters, bell)
        PyErr_CheckSignals()                # then the whole look again
    """

    def __cinit__(self):
        self.pause = PAUSE_MIN_NS

    cdef bint is_due(self) noexcept nogil:
        """The second look: whether there may be what the caller waits for. Any thread, and it takes nothing."""
        return False

    cdef void announce(self, void *at) noexcept nogil:
        """Say that one more is about to sleep."""
        memlane_waiters_announce(at)

    cdef void withdraw(self, void *at, bint woken) noexcept nogil:
        """Take it back; who was woken had it taken away by the ringer."""
        if not woken:
            memlane_waiters_withdraw(at)

    cdef bint spin(self, int wait) except -1:
        """Look for as long as spinning has paid lately; whether it did now. Other threads run meanwhile."""
        cdef uint64_t limit = self.spinning.limit(wait), began
        cdef int looks
        if limit == 0:
            return False
        with nogil:
            began = memlane_monotonic_ns()
            while True:
                for looks in range(32):
                    if self.is_due():
                        self.spinning.learn(True)
                        return True
                    memlane_cpu_relax()
                if not self.spinning.goes_on(began, limit):
                    return False

    cdef int nap(self, void *at, Doorbell bell) except -1:
        """Announce at *at*, look again, sleep one slice at most, withdraw. Without a doorbell of one's own: poll."""
        cdef uint64_t began
        cdef bint woken = False
        if bell is None:
            with nogil:
                self.doze(NULL)
            return 0
        self.announce(at)
        if not self.is_due():
            began = memlane_monotonic_ns()
            with nogil:
                woken = self.doze(bell.address())
            self.spinning.learn_sleep(woken, memlane_monotonic_ns() - began)
            if not woken:
                count_slept(began)
        self.withdraw(at, woken)
        return 0

    cdef uint64_t slice_end(self) noexcept nogil:
        cdef uint64_t end = memlane_monotonic_ns() + SLICE_NS
        return end if end < self.deadline else self.deadline

    cdef bint is_over(self) noexcept nogil:
        return self.deadline != FOREVER and memlane_monotonic_ns() >= self.deadline

    cdef bint doze(self, void *semaphore) noexcept nogil:
        """
        Sleep one slice at most, without the GIL; without a semaphore for a growing pause.
        Returns whether it was woken by a token.
        """
        cdef uint64_t end = self.slice_end()
        cdef uint64_t now
        if semaphore != NULL:
            return memlane_semaphore_wait(semaphore, end) == 0
        now = memlane_monotonic_ns()
        if now < end:
            memlane_pause(self.pause if self.pause < end - now else end - now)
        self.pause = 2 * self.pause if self.pause < PAUSE_MAX_NS else self.pause
        return False
