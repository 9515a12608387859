# SPDX-License-Identifier: MIT
"""
Waiting for several things by one descriptor, as the binding sees it: src/runtime/selecting.h and src/os/wakefd.h do it.

Watch      what one verb of one handle waits for; each kind of object has its own, beside its verbs
Selector   a descriptor of this process: one for each fileno(), each thread in `wait` and each event loop
Place      what makes a selector known in one region, for as long as there is a watch there
Pollable   what a handle has whose fileno() was asked for

The order is that of src/core/selectors.h: drain, arm, announce, look again, wait for the descriptor one slice at most.
Where there is no place, or this process may not write, nothing is announced, and its user looks again by a timer.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport uint32_t, uint64_t

import weakref as _weakref

from memlane.errors import ClosedError

from memlane._core.arguments cimport FOREVER
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.mapping cimport finalizing
from memlane._core.membership cimport EPOCH_CLOSED, Membership, Waiting
from memlane._core.os cimport memlane_fork_epoch, memlane_fork_is, memlane_monotonic_ns
from memlane._core.os_errors cimport os_error
from memlane._core.runtime cimport (
    MEMLANE_SLICE_NS, MEMLANE_WAIT_ADAPTIVE, memlane_membership_is_joined, memlane_selecting_announce, memlane_selecting_arm,
    memlane_selecting_begin, memlane_selecting_end, memlane_interval_note, memlane_spinning_begin,
    memlane_wakefd_close, memlane_wakefd_drain, memlane_wakefd_open, memlane_wakefd_send,
)
from memlane._core.waiting cimport Sleep

memlane_calls_join(calls_of_process(), globals())

cdef extern from "<poll.h>" nogil:
    enum:
        POLLIN, POLLNVAL
    int poll(pollfd *descriptors, unsigned long count, int timeout)

# A wait for more objects than this does not spin: a round of looks would take longer than a wake-up.
cdef Py_ssize_t SPIN_WATCHES = 16

# Looks of a wait that is woken by nobody, since it cannot announce itself: the longest pause of other waits that poll.
cdef uint64_t POLL_NS = 5000000


cdef class Watch:
    """
    What one verb of one handle waits for. One thread uses it, or one event loop.

    The caller of `look`, `is_due` and `at_words` has pinned what `opened` is.
    """

    def __init__(self):
        raise TypeError("a watch is made by its handle, not by calling the class")

    cdef int prepare(self) except -1:
        """Take what the verb takes at its first use; raises what the verb would."""
        return 0

    cdef bint look(self) except -1:
        """The whole look: whether the verb would not wait now. It takes nothing, and raises what the verb would."""
        return self.is_due()

    cdef bint is_due(self) noexcept nogil:
        """The second look: whether the next whole one can find something."""
        return True

    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil:
        """At each word of waiters where wakers look: announce, or add it to what the selector is for."""

    def begin(self):
        """Take what the verb takes at its first use; raises what it would."""
        cdef uint64_t pinned = self.opened.pin()
        try:
            self.prepare()
        finally:
            self.opened.unpin(pinned)

    def is_ready(self):
        """Whether the verb would not wait now, or fail at once. It raises what the verb would."""
        return look_pinned(self)


cdef bint is_announced(Watch watch) noexcept:
    return watch.place is not None and memlane_fork_is(watch.place.epoch)


cdef bint look_pinned(Watch watch) except -1:
    cdef uint64_t pinned = watch.opened.pin()
    try:
        return watch.look()
    finally:
        watch.opened.unpin(pinned)


cdef bint is_due_pinned(Watch watch) noexcept:
    """Also where the region is closed: the next whole look says so."""
    cdef uint64_t pinned
    cdef bint due
    try:
        pinned = watch.opened.pin()
    except ClosedError:
        return True
    due = watch.is_due()
    watch.opened.unpin(pinned)
    return due


@cython.final
cdef class Place(Waiting):
    """The place of a selector in the table of one region. Given back when the last watch that needs it is gone."""

    def __init__(self):
        raise TypeError("a place is made by its selector, not by calling the class")

    def __del__(self):
        if not finalizing():
            self.membership.waits.pop(id(self), None)
            self.give()

    cdef void stir(self) noexcept:
        if memlane_fork_is(self.selector.wakefd.epoch):
            self.selector.stir()

    cdef bint take(self) noexcept:
        """See that there is one, in this epoch; False: none is free, or this process may not write. The caller has pinned."""
        cdef Membership membership = self.membership
        if memlane_fork_is(self.epoch):
            return True
        if membership.readonly or not memlane_membership_is_joined(&membership.own):
            return False
        if not memlane_selecting_begin(&self.selecting, &membership.own, &self.selector.wakefd, &self.next):
            return False
        self.epoch = memlane_fork_epoch()
        return True

    cdef bint arm(self) noexcept:
        """Arm it for its interest; False: nobody will wake us here. The caller has pinned the region."""
        cdef uint64_t interest = self.selecting.interest
        if not self.take():
            return False
        self.selecting.interest = interest  # of watches; taking a place begins with none
        if memlane_selecting_arm(&self.selecting):
            return True
        self.epoch = EPOCH_CLOSED  # we were taken for dead
        return False

    cdef void give(self) noexcept:
        """Be woken no more. The place of one that has closed the region meanwhile is that of a dead one."""
        cdef uint64_t pinned
        if not memlane_fork_is(self.epoch):
            return
        try:
            pinned = self.membership.pin()
        except ClosedError:
            return
        self.epoch = EPOCH_CLOSED
        memlane_selecting_end(&self.selecting)
        self.membership.unpin(pinned)


@cython.final
cdef class WatchesSleep(Sleep):
    """A wait for several objects that spins."""

    cdef void **watches
    cdef Py_ssize_t count

    cdef bint is_due(self) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(self.count):
            if (<Watch>self.watches[i]).is_due():
                return True
        return False


@cython.final
cdef class Selector:
    """A descriptor by which other processes wake this one. One thread at a time uses it."""

    def __cinit__(self, *_args):
        self.wakefd.descriptor = -1
        self.wakefd.epoch = EPOCH_CLOSED
        self.places = {}
        memlane_spinning_begin(&self.spinning)

    def __init__(self):
        self.open(0)

    cdef int open(self, uint64_t slice_ns) except -1:
        cdef int result = memlane_wakefd_open(&self.wakefd, slice_ns)
        if result != 0:
            self.wakefd.epoch = EPOCH_CLOSED
            raise os_error(-result, "make a descriptor to wait for")
        return 0

    def __dealloc__(self):
        self.close()

    cdef void close(self) noexcept:
        if memlane_fork_is(self.wakefd.epoch):
            memlane_wakefd_close(&self.wakefd)
        self.wakefd.epoch = EPOCH_CLOSED

    @property
    def is_ours(self):
        """Whether it is open, and not that of a parent."""
        return memlane_fork_is(self.wakefd.epoch)

    @property
    def descriptor(self):
        """To wait for: readable when there may be something to do."""
        return self.wakefd.descriptor

    @property
    def watch_descriptor(self):
        """The same, for processes in other network namespaces; -1: there is none such, as far as is known."""
        return self.wakefd.watch.descriptor

    # ---- arming ------------------------------------------------------------------------------------------

    cdef Place place_of(self, Membership membership):
        cdef Place place
        key = id(membership)
        reference = self.places.get(key)
        found = None if reference is None else reference()
        if found is not None and (<Place>found).membership is membership:
            return found
        for other in list(self.places):
            if self.places[other]() is None:
                del self.places[other]
        place = Place.__new__(Place)
        place.membership, place.selector, place.epoch = membership, self, EPOCH_CLOSED
        place.selecting.membership = &membership.own  # for interests, also before it is taken
        self.places[key] = membership.waits[id(place)] = _weakref.ref(place)
        return place

    cpdef int lead(self, Watch watch) except -1:
        """Have this selector wake for a watch."""
        if watch.place is None or watch.place.selector is not self:
            watch.place = self.place_of(watch.opened.membership)
        return 0

    cdef bint arm_one(self, Watch watch, bint whole) noexcept:
        """
        Arm for one watch, beside those that are armed already; whether somebody will wake us. With *whole* it is the only
        one of its place. The caller looks next.
        """
        cdef Place place = watch.place
        cdef uint64_t pinned
        cdef bint armed
        try:
            pinned = watch.opened.pin()
        except ClosedError:
            return False
        if whole:
            place.selecting.interest = 0
        watch.at_words(&place.selecting, False)
        armed = place.arm()
        if armed:
            watch.at_words(&place.selecting, True)
        watch.opened.unpin(pinned)
        return armed

    cdef list arm_all(self, list watches, bint whole):
        """Arm for exactly these; those that are due are returned, by the second look, or with *whole* by the whole one."""
        cdef Watch watch
        cdef Place place
        cdef list due = []
        cdef uint64_t pinned
        self.round += 1
        for one in watches:
            watch = one
            self.lead(watch)
            place = watch.place
            if place.round != self.round:
                place.round = self.round
                place.selecting.interest = 0
            watch.at_words(&place.selecting, False)
        for one in watches:
            watch = one
            place = watch.place
            try:
                pinned = watch.opened.pin()
            except ClosedError:
                due.append(watch)
                continue
            if place.arm():
                watch.at_words(&place.selecting, True)
            try:
                if watch.look() if whole else watch.is_due():
                    due.append(watch)
            except Exception:
                due.append(watch)  # its verb says what is wrong
            finally:
                watch.opened.unpin(pinned)
        return due

    cdef int drain(self) noexcept:
        return memlane_wakefd_drain(&self.wakefd)

    cdef void stir(self) noexcept:
        """Make the descriptor readable. Where that fails, a slice does."""
        memlane_wakefd_send(self.wakefd.number, self.wakefd.network)

    # ---- for an event loop -------------------------------------------------------------------------------

    def join(self, Watch watch not None):
        """
        Arm for one more watch, behind a look that found nothing. Returns (whether it is due now, whether somebody will wake us
        for it): without, its user looks again by a short timer.
        """
        cdef bint armed
        self.lead(watch)
        armed = self.arm_one(watch, False)
        return is_due_pinned(watch), armed

    def empty(self):
        """Make it unreadable. OSError: it is lost, and its user makes another one."""
        cdef int result = self.drain()
        if result != 0:
            raise os_error(-result, "read a descriptor to wait for")

    def due(self, list watches not None):
        """Those that are due: behind a wake-up, before the others are armed again."""
        return [watch for watch in watches if is_due_pinned(<Watch?>watch)]

    def arm(self, list watches not None, bint whole):
        """
        Arm for exactly these. Returns those that are due: by the second look, or with *whole*, which is for the end of a slice,
        by all that a verb looks at.
        """
        return self.arm_all(watches, whole)

    def not_announced(self, list watches not None):
        """Those of which nobody will wake us, by the latest arming: their user looks again by a short timer."""
        return [watch for watch in watches if not is_announced(<Watch?>watch)]

    def end(self):
        """Close the descriptor. Doing it twice does nothing."""
        self.close()

    # ---- for a thread ------------------------------------------------------------------------------------

    def wait(self, list watches not None, list numbers not None, uint64_t deadline):
        """
        Wait until one of the *watches*, or one of the descriptors *numbers*, is ready. Returns (watches, numbers) that are: none
        when *deadline* has come, in nanoseconds of the monotonic clock, 0: at once.

        Raises:
            ValueError: a number is that of no open descriptor.
            What the verb of a watch would raise.
        """
        cdef Py_ssize_t count = len(numbers), i
        cdef pollfd *looks = <pollfd *>PyMem_Malloc((count + 2) * sizeof(pollfd))
        if looks == NULL:
            raise MemoryError()
        try:
            looks[0].events = looks[1].events = POLLIN
            for i in range(count):
                looks[2 + i].fd, looks[2 + i].events = numbers[i], POLLIN
            return self.wait_with(watches, numbers, deadline, looks)
        finally:
            PyMem_Free(looks)

    cdef object wait_with(self, list watches, list numbers, uint64_t deadline, pollfd *looks):
        cdef Py_ssize_t count = len(numbers)
        cdef uint64_t began, end
        cdef bint is_polling = False
        cdef int changed
        # those that are ready already
        ready = self.ready_of(watches)
        looks[0].fd = looks[1].fd = -1
        found = poll_now(looks, numbers)
        if ready or found or deadline == 0:
            return ready, found
        if count == 0 and len(watches) <= SPIN_WATCHES and self.spin(watches, deadline):
            ready = self.ready_of(watches)
            if ready:
                return ready, found
        try:
            while True:
                if self.arm_all(watches, False):
                    PyErr_CheckSignals()
                    ready = self.ready_of(watches)
                    found = poll_now(looks, numbers)
                    if ready or found:
                        return ready, found
                    if memlane_monotonic_ns() >= deadline:
                        return ready, found
                    continue
                is_polling = not self.is_announced(watches)
                began = memlane_monotonic_ns()
                if began >= deadline:
                    return ready, found
                end = began + (POLL_NS if is_polling else MEMLANE_SLICE_NS)
                looks[0].fd, looks[1].fd = self.wakefd.descriptor, self.wakefd.watch.descriptor
                if not watches:
                    end = deadline
                changed = self.sleep(looks, count, began, min(end, deadline))
                PyErr_CheckSignals()
                if changed == 0 and watches and not is_polling:
                    memlane_interval_note(began)
                if looks[0].revents or looks[1].revents:
                    self.drain()
                looks[0].fd = looks[1].fd = -1
                found = poll_now(looks, numbers) if changed else []
                if found or changed == 0:
                    ready = self.ready_of(watches)
                if found or ready:
                    return ready, found
        finally:
            for watch in watches:
                (<Watch>watch).place = None

    cdef list ready_of(self, list watches):
        """By the whole look; what that raises is the caller's."""
        return [watch for watch in watches if look_pinned(<Watch?>watch)]

    cdef bint is_announced(self, list watches) noexcept:
        for watch in watches:
            if not is_announced(<Watch>watch):
                return False
        return True

    cdef int sleep(self, pollfd *looks, Py_ssize_t count, uint64_t now, uint64_t end) except -2:
        """Until one of them is readable; 0: none was until then."""
        cdef int milliseconds, changed, error
        if end == FOREVER:
            milliseconds = -1
        else:
            milliseconds = <int>min((end - now + 999999) // 1000000, <uint64_t>1000000000)
        with nogil:
            changed = poll(looks, 2 + count, milliseconds)
            error = errno
        if changed < 0:
            if error != EINTR and error != EAGAIN:
                raise os_error(error, "wait for descriptors")
            looks[0].revents = looks[1].revents = 0
            return -1
        return changed

    cdef bint spin(self, list watches, uint64_t deadline) except -1:
        """Look for as long as spinning has paid lately; whether it did now."""
        cdef void *looked_at[16]
        cdef WatchesSleep sleep
        cdef Py_ssize_t count = len(watches), i, pinned = 0
        cdef uint64_t epochs[16]
        if count == 0:
            return False
        sleep = WatchesSleep()
        sleep.begin(deadline, &self.spinning)
        try:
            for i in range(count):
                epochs[i] = (<Watch>watches[i]).opened.pin()
                looked_at[i] = <void *>watches[i]
                pinned += 1
            sleep.watches, sleep.count = looked_at, count
            return sleep.spin(MEMLANE_WAIT_ADAPTIVE)
        finally:
            for i in range(pinned):
                (<Watch>watches[i]).opened.unpin(epochs[i])


cdef list poll_now(pollfd *looks, list numbers):
    """The descriptors that are ready now."""
    cdef Py_ssize_t count = len(numbers), i
    cdef list found = []
    if count == 0:
        return found
    if poll(looks, 2 + count, 0) <= 0:
        return found
    for i in range(count):
        if looks[2 + i].revents & POLLNVAL:
            raise ValueError(f"descriptor {numbers[i]} is not open")
        if looks[2 + i].revents:
            found.append(numbers[i])
    return found


@cython.final
cdef class Pollable:
    """
    The descriptor of a handle. It is readable from the moment that there may be something to do until a verb of the handle
    ends in Empty or Full: that drains it, arms anew, and looks again before it raises.
    """

    def __init__(self):
        raise TypeError("made by fileno(), not by calling the class")

    cdef int number(self) except -1:
        """The descriptor, armed when it is first asked for; of this process alone."""
        cdef Selector selector = self.selector
        if selector is None or not memlane_fork_is(selector.wakefd.epoch):
            self.watch.begin()
            selector = Selector.__new__(Selector)
            selector.open(MEMLANE_SLICE_NS)
            self.selector = selector
            selector.lead(self.watch)
            self.rearm()
            self.settle()
        return selector.wakefd.descriptor

    cdef bint rearm(self) noexcept:
        """Drain and arm; the caller looks again, and stirs if it finds something. False: there is nothing to be drained."""
        cdef Selector selector = self.selector
        if selector is None:
            return False
        if selector.drain() != 0:
            # That of a parent, or closed behind our back: the next fileno() makes another one.
            self.watch.place = None
            self.selector = None
            return False
        selector.arm_one(self.watch, True)
        return True

    cdef void settle(self) noexcept:
        """Behind `rearm`, where there is nothing to be taken: the second look."""
        if is_due_pinned(self.watch):
            self.stir()

    cdef void stir(self) noexcept:
        if self.selector is not None:
            self.selector.stir()

    cdef void close(self) noexcept:
        cdef Place place = self.watch.place
        if place is not None:
            place.give()
        self.watch.place = None
        if self.selector is not None:
            self.selector.close()
            self.selector = None


cdef Pollable pollable_of(Pollable known, Watch watch):
    """What a handle has, or the new one of a *watch*."""
    cdef Pollable made
    if known is not None:
        return known
    made = Pollable.__new__(Pollable)
    made.watch = watch
    return made
