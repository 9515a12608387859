# SPDX-License-Identifier: MIT
"""
Waiting and waking, as the binding sees them: src/runtime/wait.h and doorbell.h do it, without Python.

Named semaphores are made and removed by memlane._region.semaphores; making one, for its first user, is the only thing here
that asks for Python code.
"""

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane.errors import ClosedError

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BACKING_ANONYMOUS, MEMLANE_BACKING_MEMFD, MEMLANE_DOORBELL_NAMED, MEMLANE_DOORBELL_NONE, memlane_doorbell, memlane_doorbell_kind,
    memlane_doorbell_note,
)
from memlane._core.membership cimport Doorbells, EPOCH_CLOSED, Membership, epoch_lock
from memlane._core.os cimport (
    memlane_clock_of_process, memlane_fork_epoch, memlane_fork_is, memlane_unguarded,
)
from memlane._core.os_errors cimport os_error
from memlane._core.runtime cimport (
    MEMLANE_POSTS_MAX, MEMLANE_WAIT_ADAPTIVE, MEMLANE_WAIT_SLEEP, MEMLANE_WAIT_SPIN, memlane_bell, memlane_bell_attach, memlane_bell_attach_made,
    memlane_bell_begin, memlane_bell_end, memlane_bell_is_attached, memlane_bell_make, memlane_bell_post,
    memlane_bell_wake, memlane_selecting_wake, memlane_selecting_wake_all, memlane_semaphores_of, memlane_intervals_slept, memlane_wait, memlane_waiting_begin,
    memlane_spinning, memlane_waiting_is_over, memlane_waiting_poll, memlane_waiting_sleep, memlane_waiting_spin,
)

memlane_calls_join(calls_of_process(), globals())

cdef dict WAITS = {"adaptive": MEMLANE_WAIT_ADAPTIVE, "spin": MEMLANE_WAIT_SPIN, "sleep": MEMLANE_WAIT_SLEEP}

cdef uint64_t CLOCK = 0

cdef uint64_t CLOCK_EPOCH = EPOCH_CLOSED


cdef int know_clock() except -1:
    """A child may have been forked into another time namespace."""
    global CLOCK, CLOCK_EPOCH
    if not memlane_fork_is(CLOCK_EPOCH):
        CLOCK = memlane_clock_of_process()
        CLOCK_EPOCH = memlane_fork_epoch()
    return 0


def intervals_slept():
    """Return how many slices calls of this process have slept to their end, since no doorbell woke them."""
    return memlane_intervals_slept()


@cython.final
cdef class Doorbell:
    """
    One doorbell of a region, as this process sees it. Made by `HeldDoorbells.bell_at`; *offset* is that of its 64 bytes.
    """

    def __init__(self, HeldDoorbells held not None, uint64_t offset):
        cdef Membership membership = held.membership
        cdef uint64_t pinned
        if membership is None:
            raise ClosedError("this region is closed; open it again")
        pinned = membership.pin()  # or there is no address
        self.held, self.membership = held, membership
        memlane_bell_begin(&self.bell, <memlane_doorbell *>(membership.mapping.address + offset), membership.mapping.address)
        membership.unpin(pinned)

    def __cinit__(self, *_args):
        self.bell.guarded = &memlane_unguarded

    def __dealloc__(self):
        memlane_bell_end(&self.bell)

    @property
    def number(self):
        """Its place in the region in units of 64 bytes."""
        return self.bell.number

    @property
    def kind(self):
        """0: none was made yet, 1: unnamed, 2: named."""
        cdef uint64_t pinned = self.membership.pin()
        cdef uint32_t kind = memlane_doorbell_kind(self.bell.shared)
        self.membership.unpin(pinned)
        return kind

    def note_named(self, uint64_t device, uint64_t inode):
        """Tell the others which file the named semaphore is. For its maker."""
        cdef uint64_t pinned = self.membership.pin()
        self.bell.shared.device, self.bell.shared.inode = device, inode
        memlane_doorbell_note(self.bell.shared, MEMLANE_DOORBELL_NAMED)
        self.membership.unpin(pinned)

    def forget(self):
        """Say that there is none. For one who is alone in the region."""
        cdef uint64_t pinned = self.membership.pin()
        memlane_doorbell_note(self.bell.shared, MEMLANE_DOORBELL_NONE)
        self.membership.unpin(pinned)

    def attach_named(self, str name):
        """Open the named semaphore, which this process has just made; OSError if it cannot be."""
        encoded = name.encode()
        cdef int error = memlane_bell_attach_made(&self.bell, encoded)
        if error:
            raise os_error(error, f"open semaphore {name}")

    @property
    def attached(self):
        """Whether this process has its semaphore."""
        return memlane_bell_is_attached(&self.bell)

    def wake_all(self):
        """For good: leave a token for each who can sleep there, since nobody here knows how many do."""
        cdef uint64_t pinned = self.membership.pin()
        memlane_bell_post(&self.bell, MEMLANE_POSTS_MAX)
        self.membership.unpin(pinned)

    cdef bint attach(self) noexcept:
        """Attach to the semaphore if there is one, and it is sound; whether it is attached now. Runs no Python."""
        return memlane_bell_attach(&self.bell, &self.held.semaphores)

    cdef int prepare(self) except -1:
        """
        For its first user, in the slow path: attach, and have a semaphore made where there is none. Runs Python: the caller
        has pinned the region.
        """
        cdef int error = 0
        if self.attach() or not self.held.semaphores.is_ours:
            return 0
        # A thread may take it twice: the collector ends forgotten loans, which wake others, at any moment.
        with epoch_lock(self.held._making):
            if self.attach() or memlane_doorbell_kind(self.bell.shared) != MEMLANE_DOORBELL_NONE:
                return 0
            if self.membership.geometry.backing != MEMLANE_BACKING_MEMFD:
                self.held.make(self)
            else:
                error = memlane_bell_make(&self.bell)
            if error:
                raise os_error(error, "make a semaphore")
        return 0

    cdef void wake(self, void *count, uint32_t times) noexcept:
        """
        Take up to *times* announcements away and post as often; where there is no semaphore the sleepers poll. Runs no Python,
        so it may stand behind a record that was taken. Those that wait by a descriptor are woken, whether there is one or not.
        """
        memlane_selecting_wake(&self.membership.own, count)
        memlane_bell_wake(&self.bell, &self.held.semaphores, count, times)

    cdef void wake_sleepers(self, void *count, uint32_t times) noexcept:
        """The same without those that wait by a descriptor."""
        memlane_bell_wake(&self.bell, &self.held.semaphores, count, times)

    cdef void post(self) noexcept:
        """Leave one token."""
        if self.attach():
            memlane_bell_post(&self.bell, 1)


cdef class HeldDoorbells(Doorbells):
    """
    What this process holds of a region's semaphores: the base of memlane._region.semaphores.DoorbellSet, so that closing lets go
    of it without running Python.

    Attributes:
        known: The doorbells that were looked for, by offset.
        anchor: The mapping that makes this process present at a set of named semaphores.
    """

    def __init__(self, Membership membership not None):
        self.known, self._making = {}, {}
        self.membership = membership
        memlane_semaphores_of(membership.geometry, &self.semaphores)

    cdef Doorbell bell_at(self, uint64_t offset):
        """The doorbell at that offset, the same for all who ask; attached when it is first used."""
        found = self.known.get(offset)
        if found is None:
            found = self.known.setdefault(offset, Doorbell(self, offset))
        return found

    def at(self, uint64_t offset, bint make):
        """
        The doorbell whose 64 bytes lie at *offset*, attached to its semaphore if that can be.

        With *make*, the caller is its first user: where there is no semaphore yet, one is made.
        """
        cdef Doorbell bell = self.bell_at(offset)
        cdef uint64_t pinned = bell.membership.pin()
        try:
            if make:
                bell.prepare()
            else:
                bell.attach()
        finally:
            bell.membership.unpin(pinned)
        return bell

    cpdef object make(self, Doorbell bell):
        """Make the named semaphore of a doorbell that has none, attach it, and tell the others."""
        raise NotImplementedError()

    def wake_selectors(self):
        """Wake all that wait by a descriptor for anything in the region: an object was just removed."""
        cdef Membership membership = self.membership
        cdef uint64_t pinned
        if membership is not None:
            pinned = membership.pin()
            memlane_selecting_wake_all(&membership.own)
            membership.unpin(pinned)

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


cdef Doorbell doorbell_of(Membership membership, void *shared):
    """The doorbell of this process for the bytes of one. The caller has pinned the region."""
    return (<HeldDoorbells>membership.doorbells).bell_at(<unsigned char *>shared - membership.mapping.address)


cdef void wake_at(Membership membership, memlane_bell *bell, void *count, uint32_t times) noexcept:
    """
    As `Doorbell.wake`, by a `memlane_bell` of the caller's. That of MAP_ANONYMOUS memory is attached by its maker alone, before
    a fork.
    """
    cdef HeldDoorbells held = <HeldDoorbells>membership.doorbells
    if membership.geometry.backing == MEMLANE_BACKING_ANONYMOUS:
        made = held.known.get(64 * bell.number)
        if made is not None:
            bell = &(<Doorbell>made).bell
    memlane_selecting_wake(&membership.own, count)
    memlane_bell_wake(bell, &held.semaphores, count, times)


cdef bint due_of(void *sleep) noexcept nogil:
    return (<Sleep>sleep).is_due()


cdef class Sleep:
    """
    One call's waiting: when it ends, how long it spins, what its second look is. Other threads run meanwhile.

    As it is, it only polls. A wait that is woken by a doorbell derives from it and says in `is_due` whether the next look can
    answer otherwise; it has what its look needs, and lives no longer than that.

        sleep = RoomSleep()                 # at the first look that found nothing
        sleep.begin(deadline, &self.spinning)
        ...
        if not sleep.spin(wait) and wait != MEMLANE_WAIT_SPIN:
            sleep.nap(&control.waiters, bell)
        PyErr_CheckSignals()                # then the whole look again
    """

    cdef void begin(self, uint64_t deadline, memlane_spinning *spinning) noexcept:
        memlane_waiting_begin(&self.waiting, deadline, spinning, due_of, <void *>self)

    cdef bint is_due(self) noexcept nogil:
        """The second look: whether there may be what the caller waits for. Any thread, and it takes nothing."""
        return False

    cdef bint spin(self, int wait) noexcept:
        """Look for as long as spinning has paid lately; whether it did now."""
        cdef bint found
        with nogil:
            found = memlane_waiting_spin(&self.waiting, <memlane_wait>wait)
        return found

    cdef void nap(self, void *count, Doorbell bell) noexcept:
        """Announce on a count, look again, sleep one slice at most, withdraw. Without a doorbell of one's own: poll."""
        if bell is None:
            self.poll()
            return
        bell.attach()
        with nogil:
            memlane_waiting_sleep(&self.waiting, count, &bell.bell)

    cdef void poll(self) noexcept:
        """Pause, one slice at most; the next time for longer."""
        with nogil:
            memlane_waiting_poll(&self.waiting)

    cdef bint is_over(self) noexcept nogil:
        return memlane_waiting_is_over(&self.waiting)
