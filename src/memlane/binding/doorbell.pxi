# SPDX-License-Identifier: MIT
"""
Doorbell: one semaphore that wakes sleepers, as the binding sees it: an address, or none.

Who has no address polls with a growing pause: always right, only slower. Named semaphores are made, found
and removed by memlane._region.semaphores; an unnamed one lies in the region itself.
"""

cdef extern from "core/waiters.h" nogil:
    void memlane_waiters_announce(void *count)
    bint memlane_waiters_withdraw(void *count)
    bint memlane_waiters_any(void *count)
    uint32_t memlane_waiters_count(void *count)
    bint memlane_waiters_any_fenced(void *count)
    void memlane_armed_announce(void *armed, uint32_t index)
    void memlane_armed_withdraw(void *armed, uint32_t index)
    uint64_t memlane_armed_collect(void *armed)
    uint32_t memlane_doorbell_kind(const memlane_doorbell *doorbell)
    void memlane_doorbell_note(memlane_doorbell *doorbell, uint32_t kind)

cdef extern from "os/semwait.h" nogil:
    uint64_t memlane_monotonic_ns()
    uint64_t memlane_boottime_ns()
    uint64_t memlane_coarse_ns()
    int memlane_semaphore_wait(void *semaphore, uint64_t deadline_ns)
    int memlane_semaphore_post(void *semaphore)
    int memlane_semaphore_make(void *memory)
    void *memlane_semaphore_open(const char *name, int *error)
    void memlane_semaphore_close(void *semaphore)
    void memlane_pause(uint64_t ns)

# A sleeper looks again after this long at the latest: the bound for whatever a killed process swallowed.
cdef uint64_t SLICE_NS = 100000000
cdef uint64_t PAUSE_MIN_NS = 50000
cdef uint64_t PAUSE_MAX_NS = 5000000
# A ringer leaves at most this many tokens at once, whatever a hostile count says.
cdef uint32_t POSTS_MAX = 1024
cdef uint64_t FOREVER = ~(<uint64_t>0)

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


cdef double seconds_of(object timeout) except -1:
    """A timeout that is not None in seconds; all but plain numbers go through the check that Python code uses, too."""
    cdef double seconds = -1
    cdef int overflow = 0
    if PyFloat_CheckExact(timeout):
        seconds = timeout
    elif PyLong_CheckExact(timeout):
        seconds = <double>PyLong_AsLongLongAndOverflow(timeout, &overflow)
    if seconds >= 0 and not overflow:
        return seconds
    return _arguments.timeout(timeout)


cdef int check_timeout(object timeout) except -1:
    """For calls that turn out not to wait: a bad timeout is an error all the same."""
    if timeout is not None and timeout is not 0:
        seconds_of(timeout)
    return 0


cdef uint64_t deadline_of(object timeout) except? 0:
    """Turn seconds into a moment of the monotonic clock in ns; 0: never wait, FOREVER: no end."""
    cdef double seconds
    if timeout is None:
        return FOREVER
    seconds = seconds_of(timeout)
    if seconds == 0:
        return 0
    if seconds > 1e9:
        return FOREVER
    return memlane_monotonic_ns() + <uint64_t>(seconds * 1e9)


cdef object places_of(const memlane_doorbells *told, uint64_t object_offset):
    """Where in the region doorbells are that a checked entry tells of, as a range."""
    first = object_offset + told.offset
    return range(first, first + <uint64_t>told.count * told.stride, told.stride) if told.count else range(0)


cdef int tell_doorbells(memlane_entry *entry, tuple doorbells, bytes name, uint64_t nbytes) except -1:
    """Put into a new entry where the doorbells of its object are."""
    cdef memlane_doorbells *told = &entry.doorbells_at_once
    for part in doorbells:
        told.offset, told.stride, told.count = part
        if not memlane_doorbells_fit(told, nbytes):
            raise ValueError(f"the doorbells of {name.decode()!r} are {tuple(part)}, expected (offset, stride, count) of parts of "
                             f"64 bytes within its {nbytes}")
        told = &entry.doorbells_later
    return 0


cdef tuple told_of(const memlane_doorbells *at_once, const memlane_doorbells *later):
    """Where doorbells are, as `Membership.add_entry` takes it."""
    return (at_once.offset, at_once.stride, at_once.count), (later.offset, later.stride, later.count)


cdef bint tells_of(entry, const memlane_doorbells *at_once, const memlane_doorbells *later) except -1:
    """Whether an entry of the directory tells of just these doorbells."""
    return entry[8] == places_of(at_once, entry[2]) and entry[9] == places_of(later, entry[2])


@cython.final
cdef class Doorbell:
    """
    One doorbell of a region. Made by the set that memlane._region.semaphores keeps; *offset* is that of its 64 bytes.
    """

    cdef memlane_doorbell *record
    cdef void *semaphore
    cdef bint opened              # by name, so it is to be closed
    cdef memlane_guarded *guarded # the page of one that was opened
    cdef Membership membership

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


cdef class HeldDoorbells:
    """
    What this process holds of a region's semaphores: the base of memlane._region.semaphores.DoorbellSet, so that closing lets go
    of it without running Python.

    Attributes:
        known: The doorbells that were looked for, by offset.
        anchor: The mapping that makes this process present at a set of named semaphores.
    """

    cdef readonly dict known
    cdef public Mapping anchor
    cdef Membership membership

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

    def at(self, offset, make):
        """The doorbell at that offset, attached to its semaphore if that can be; with *make*, made if there is none."""
        raise NotImplementedError()

    def forget(self, uint64_t offset, uint64_t nbytes):
        """Let go of the doorbells in a part of the region where another object begins."""
        for place in list(self.known):
            if offset <= <uint64_t>place < offset + nbytes:
                self.known.pop(place, None)

    def remove(self, places):
        """Let go of the doorbells of an object that was removed, and remove the names of their semaphores."""
        raise NotImplementedError()

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

    cdef uint64_t deadline
    cdef uint64_t pause
    cdef Spinning spinning

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
