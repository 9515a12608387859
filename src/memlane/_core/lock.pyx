# SPDX-License-Identifier: MIT
"""
Locks whose owner may die, and events: for unrelated processes, and for threads.

LockState   what this process knows of a lock; one for all its handles
LockBase    a handle of it, with the verbs
EventState  what this process knows of an event; one for all its handles
EventBase   a handle of it, with the verbs
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uint32_t, uint64_t

import memlane._arguments as _arguments
from memlane._core.opened import closed_error
from memlane.errors import ClosedError, CorruptedError, OwnerDied

from memlane._core.arguments cimport FOREVER, deadline_of
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_OK, memlane_armed_collect, memlane_doorbells, memlane_event_control,
    memlane_event_has_come, memlane_event_nbytes, memlane_event_state, memlane_event_turn,
    memlane_lock_again, memlane_lock_choose, memlane_lock_control, memlane_lock_died,
    memlane_lock_is_due, memlane_lock_is_wanted, memlane_lock_leave, memlane_lock_nbytes,
    memlane_lock_nominate, memlane_lock_once_less, memlane_lock_owner, memlane_lock_queue,
    memlane_lock_release, memlane_lock_tag, memlane_lock_take, memlane_lock_take_over,
    memlane_lock_tell_doorbells, memlane_lock_try, memlane_lock_word, memlane_role_give,
    memlane_event_tell_doorbells, memlane_waiters_any, memlane_watcher,
)
from memlane._core.layout cimport tells_of, told_of
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.opened cimport Opened, opened_of
from memlane._core.os cimport memlane_fork_is, memlane_monotonic_ns
from memlane._core.runtime cimport (
    MEMLANE_DEAD, MEMLANE_SLICE_NS, MEMLANE_WAIT_ADAPTIVE, memlane_lease_watcher,
    memlane_membership_is_joined, memlane_membership_life, memlane_selecting, memlane_selecting_wake,
    memlane_spinning, memlane_spinning_begin, memlane_waiting_sleep_armed,
)
from memlane._core.selecting cimport Pollable, Watch, at_word, pollable_of
from memlane._core.waiting cimport Doorbell, Sleep, doorbell_of

memlane_calls_join(calls_of_process(), globals())

cdef extern from *:
    """
    /* The number of a thread in its process: given out when it is first asked for, with the GIL, and never again. */
    static _Thread_local uint32_t memlane_thread_number;
    static uint32_t memlane_threads_numbered;
    static inline uint32_t memlane_number_of_thread(void) {
        if (memlane_thread_number == 0)
            memlane_thread_number = ++memlane_threads_numbered;
        return memlane_thread_number;
    }
    """
    uint32_t memlane_number_of_thread()


def lock_shape(uint64_t watchers):
    """Return the bytes of a lock, and where its doorbells are, as an entry tells it."""
    cdef memlane_doorbells at_once, later
    memlane_lock_tell_doorbells(watchers, &at_once, &later)
    return memlane_lock_nbytes(watchers), told_of(&at_once, &later)


def event_shape(uint64_t watchers):
    """As `lock_shape`, of an event."""
    cdef memlane_doorbells at_once, later
    memlane_event_tell_doorbells(watchers, &at_once, &later)
    return memlane_event_nbytes(watchers), told_of(&at_once, &later)


@cython.final
cdef class WatcherSleep(Sleep):
    """A sleep at a watcher of one's own; its second look is that of the object."""

    cdef memlane_lock_control *lock   # NULL: it is an event
    cdef memlane_event_control *event
    cdef Opened opened
    cdef uint64_t turn                # of the lock; of the event the state that was found
    cdef uint32_t watcher

    cdef bint is_due(self) noexcept nogil:
        if self.opened.is_gone_now():
            return True
        if self.lock == NULL:
            return memlane_event_has_come(self.event, self.turn)
        return memlane_lock_is_due(self.lock, self.turn)

    cdef void nap(self, void *armed, Doorbell bell) noexcept:
        if bell is None:
            self.poll()
            return
        bell.attach()
        with nogil:
            memlane_waiting_sleep_armed(&self.waiting, armed, self.watcher, &bell.bell)


cdef class WatchersState(Opened):
    """What locks and events share: watchers to sleep at."""

    cdef memlane_watcher *watchers
    cdef uint32_t count
    cdef uint32_t next_probed         # the watcher whose owner is asked for next, while none is free

    cdef int take_entry(self, Membership membership, entry, str kind, uint64_t control_nbytes, uint64_t nbytes,
                        const memlane_doorbells *at_once, const memlane_doorbells *later) except -1:
        name, _, offset, found, geometry = entry[:5]
        self.begin(membership, entry, membership.called(kind, name))
        if nbytes == 0 or nbytes != <uint64_t>found or not tells_of(entry, at_once, later):
            raise CorruptedError(f"the geometry of {self.name} contradicts itself; unlink the region and create "
                                 "it again", name=membership.name)
        self.forget_doorbells(entry)
        self.watchers = <memlane_watcher *>(membership.mapping.address + <uint64_t>offset + control_nbytes)
        self.count = geometry[0]
        return 0

    cdef Doorbell lease(self, WatcherSleep sleep):
        """A watcher of one's own to sleep at, which the caller gives back; None: none is free, or one may not write: poll."""
        cdef int watcher
        cdef Doorbell bell
        if self.membership.readonly:
            return None
        self.membership.own_tag()
        watcher = memlane_lease_watcher(&self.membership.own, self.watchers, self.count, &self.next_probed)
        if watcher < 0:
            return None
        sleep.watcher = watcher
        bell = doorbell_of(self.membership, &self.watchers[watcher].doorbell)
        try:
            bell.prepare()
        except BaseException:
            self.give(watcher)
            raise
        return bell

    cdef void give(self, uint32_t watcher) noexcept:
        memlane_role_give(&self.watchers[watcher].owner, self.membership.own.tag)

    cdef void post(self, uint32_t watcher) noexcept:
        if watcher < self.count:
            doorbell_of(self.membership, &self.watchers[watcher].doorbell).post()


@cython.final
cdef class LockState(WatchersState):
    """What this process knows of a lock."""

    cdef memlane_lock_control *lock
    cdef bint told                    # that the owner before died: until the release

    @staticmethod
    cdef Opened make(Membership membership, entry):
        cdef LockState state = LockState.__new__(LockState)
        cdef memlane_doorbells at_once, later
        cdef uint64_t watchers = entry[4][0]
        memlane_lock_tell_doorbells(watchers, &at_once, &later)
        state.take_entry(membership, entry, "lock", sizeof(memlane_lock_control), memlane_lock_nbytes(watchers), &at_once, &later)
        state.lock = <memlane_lock_control *>(membership.mapping.address + <uint64_t>entry[2])
        return state

    cdef void wake(self) noexcept:
        """Behind a release: one that sleeps, and those that wait by a descriptor."""
        cdef uint32_t watcher
        if memlane_lock_choose(self.lock, &watcher):
            self.post(watcher)
        if memlane_waiters_any(&self.lock.selectors):
            memlane_selecting_wake(&self.membership.own, &self.lock.selectors)

    cdef bint is_dead(self, uint64_t holder) noexcept nogil:
        return (holder != 0 and memlane_lock_tag(holder) != self.membership.own.tag
                and memlane_membership_life(&self.membership.own, memlane_lock_tag(holder)) == MEMLANE_DEAD)


@cython.final
cdef class LockWatching(Watch):
    """One that waits until a lock is free, among several things."""

    cdef LockBase handle

    cdef int prepare(self) except -1:
        self.handle.check()
        return 0

    cdef bint look(self) except -1:
        self.prepare()
        return self.is_due() or self.handle.state.is_dead(memlane_lock_owner(self.handle.state.lock))

    cdef bint is_due(self) noexcept nogil:
        return (self.handle._closed or self.handle.state.is_gone_now() or memlane_lock_is_due(self.handle.state.lock, 0))

    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil:
        at_word(selecting, &self.handle.state.lock.selectors, announces)


cdef class LockBase:
    """What a lock does without going through Python."""

    cdef LockState state
    cdef bint _closed
    cdef bint _raises                 # OwnerDied, where one died
    cdef bint _recursive
    cdef uint64_t opens               # epoch in which it was counted among the holders of the state
    cdef uint64_t mine                # the owner's word, where this handle has the lock; else 0
    cdef uint64_t mine_epoch
    cdef memlane_spinning spinning

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.opens = EPOCH_CLOSED
        memlane_spinning_begin(&self.spinning)

    def _bind(self, Membership membership not None, entry, bint raises, bint recursive):
        """Make this a handle of the lock that *entry* of the directory describes."""
        self.state = opened_of(membership, entry, "lock", LockState.make)
        self._raises, self._recursive = raises, recursive
        self._closed = False

    def _detach(self):
        """Refuse new work. A lock that was acquired by this handle is released."""
        if self._closed:
            return
        self._closed = True
        if self.mine != 0 and memlane_fork_is(self.mine_epoch) and not self.state.membership.closed and self.state.is_held():
            self.let_go(self.mine)
        self.state.leave(&self.opens)
        self.state.membership.stir_waits()

    cdef int check(self) except -1:
        """And enter: what follows may write, and has a tag."""
        if self._closed or self.state.membership.closed:
            raise closed_error(self, "a lock" if self.state is None else self.state.name)
        if self.state.is_gone():
            self.state.refuse_gone()
        if self.opens != self.state.held or not self.state.is_held():
            self.state.enter(&self.opens, &self._closed, self)
            self.state.membership.own_tag()
        return 0

    cdef inline uint64_t me(self) noexcept:
        return memlane_lock_word(self.state.membership.own.tag, memlane_number_of_thread())

    cdef bint have(self, uint64_t me, bint told) except -1:
        """It is ours now."""
        self.mine, self.mine_epoch = me, self.state.held
        self.state.told = told
        self.state.membership.check_whole()
        if told and self._raises:
            raise OwnerDied(f"the process that had {self.state.name} died with it, so what the lock protects may be half "
                            "done; it is yours now: mend it, and release the lock")
        return True

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    @property
    def owner_died(self):
        """
        Whether the process that had the lock before died with it: told to the one that has it now, until it releases the
        lock. What the lock protects may be half done then.
        """
        self.check()
        return self.state.told and memlane_lock_tag(memlane_lock_owner(self.state.lock)) == self.state.membership.own.tag

    def locked(self):
        """
        Whether somebody has the lock at this moment; also a process that died, as long as nobody has come after it.

        Raises:
            ClosedError: this process closed the handle.
        """
        self.check()
        return memlane_lock_owner(self.state.lock) != 0

    @property
    def owner(self):
        """The pid of the process that has the lock, in its own pid namespace; None: it is free."""
        cdef uint64_t owner
        self.check()
        owner = memlane_lock_owner(self.state.lock)
        return self.state.membership.pid_of(memlane_lock_tag(owner)) if owner else None

    @property
    def deaths(self):
        """How many owners died with the lock so far."""
        self.check()
        return memlane_lock_died(self.state.lock)

    def acquire(self, block=True, timeout=None, *, blocking=None):
        """
        Take the lock, for this thread of this process. Without contention that costs no system call.

        Sleeps at a doorbell of its own while another one has it; when all doorbells are taken it polls with a growing pause.
        Other threads run meanwhile; Ctrl-C interrupts it. A lock whose owner has died goes to the next one, which is told:
        `owner_died` is true until the release. A thread that has waited for long is served before others.

        Args:
            block: False: do not wait. `blocking` is the same under the name that threading.Lock has for it.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            Whether it has the lock; False when *timeout* is over, or it does not wait.

        Raises:
            OwnerDied: the owner before died, and the handle was made with on_owner_died="raise". The lock is taken.
            RuntimeError: this thread has the lock already, and would wait for itself for ever: an RLock may be taken again.
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
        cdef uint64_t deadline = deadline_of(timeout), me
        cdef LockState state
        if not (block if blocking is None else blocking):
            deadline = 0
        self.check()
        state = self.state
        me = self.me()
        if self._recursive and memlane_lock_again(state.lock, me):
            return True
        if memlane_lock_try(state.lock, me):
            return self.have(me, False)
        return self.wait(state, me, deadline)

    cdef bint wait(self, LockState state, uint64_t me, uint64_t deadline) except -1:
        cdef uint64_t pinned = state.pin(), holder = 0, turn = 0, now, began = memlane_monotonic_ns()
        cdef WatcherSleep sleep = None
        cdef Doorbell bell = None
        cdef bint done = False, told = False
        try:
            while True:
                now = memlane_monotonic_ns()
                done = memlane_lock_take(state.lock, me, turn, now, &holder) == MEMLANE_OK
                if not done and sleep is not None and holder == me and deadline == FOREVER:
                    raise RuntimeError(f"this thread has {state.name} already, and would wait for itself; use an RLock, which a "
                                       "thread may take again")
                if not done and (deadline == 0 or sleep is not None) and state.is_dead(holder):
                    done = told = memlane_lock_take_over(state.lock, holder, me)
                if done or deadline == 0 or (sleep is not None and sleep.is_over()):
                    break
                if sleep is None:
                    sleep = WatcherSleep()
                    sleep.begin(deadline, &self.spinning)
                    sleep.lock, sleep.opened = state.lock, state
                if not sleep.spin(MEMLANE_WAIT_ADAPTIVE):
                    if state.is_dead(holder):
                        continue
                    if bell is None:
                        bell = state.lease(sleep)
                        if bell is not None:
                            turn = sleep.turn = memlane_lock_queue(state.lock, sleep.watcher)
                    if turn != 0 and now - began > MEMLANE_SLICE_NS:
                        memlane_lock_nominate(state.lock, turn)
                    sleep.nap(&state.lock.armed, bell)
                PyErr_CheckSignals()
                self.check()
        finally:
            if memlane_fork_is(pinned):
                if turn != 0:
                    memlane_lock_leave(state.lock, turn, sleep.watcher)
                    if not done and memlane_lock_owner(state.lock) == 0:
                        state.wake()  # it may have been the one that was woken
                if bell is not None:
                    state.give(sleep.watcher)
            state.unpin(pinned)
        return self.have(me, told) if done else False

    cdef bint let_go(self, uint64_t me) noexcept:
        """Release it; False: it was no longer ours."""
        cdef LockState state = self.state
        cdef uint64_t now = memlane_monotonic_ns() if memlane_lock_is_wanted(state.lock) else 0
        self.mine = 0
        state.told = False  # before the release: behind it another thread may be told
        if not memlane_lock_release(state.lock, me, now):
            return False
        state.wake()
        return True

    def release(self):
        """
        Give the lock back, and wake the one that has waited longest. Only the thread that has the lock may; an RLock is given
        back by the last one of as many calls as took it.

        Raises:
            RuntimeError: this thread does not have the lock.
            ClosedError: this process closed the handle, which released the lock, or was taken for dead.
        """
        cdef uint64_t me, owner
        self.check()
        me, owner = self.me(), memlane_lock_owner(self.state.lock)
        if owner != me:
            self.refuse_release(me, owner)
        if self._recursive and memlane_lock_once_less(self.state.lock):
            return
        if not self.let_go(me):
            raise ClosedError(f"this process was taken for dead in {self.state.name}: its descriptors had been closed; open the "
                              "region again")
        self.state.membership.check_whole()

    cdef object refuse_release(self, uint64_t me, uint64_t owner):
        said = "nobody has it"
        if owner != 0:
            pid = self.state.membership.pid_of(memlane_lock_tag(owner))
            said = f"process {pid} has it" if memlane_lock_tag(owner) != memlane_lock_tag(me) else "another thread has it"
        raise RuntimeError(f"this thread does not have {self.state.name}, and {said}; release it where it was acquired")

    def __enter__(self):
        try:
            self.acquire()
        except OwnerDied:
            self.release()
            raise
        return self

    def __exit__(self, *_error):
        self.release()

    def _watch_free(self):
        """What one waits for that wants the lock to be free."""
        cdef LockWatching made = LockWatching.__new__(LockWatching)
        self.check()
        made.opened, made.handle = self.state, self
        return made


@cython.final
cdef class EventState(WatchersState):
    """What this process knows of an event."""

    cdef memlane_event_control *event

    @staticmethod
    cdef Opened make(Membership membership, entry):
        cdef EventState state = EventState.__new__(EventState)
        cdef memlane_doorbells at_once, later
        cdef uint64_t watchers = entry[4][0]
        memlane_event_tell_doorbells(watchers, &at_once, &later)
        state.take_entry(membership, entry, "event", sizeof(memlane_event_control), memlane_event_nbytes(watchers), &at_once,
                         &later)
        state.event = <memlane_event_control *>(membership.mapping.address + <uint64_t>entry[2])
        return state


@cython.final
cdef class EventWatching(Watch):
    """One that waits until an event is set, among several things."""

    cdef void *handle                 # an EventBase, which outlives this
    cdef object kept                  # or which this keeps

    cdef int prepare(self) except -1:
        cdef EventBase handle = <EventBase>self.handle
        handle.check()
        if not handle.state.membership.readonly:
            handle.state.enter(&handle.opens, &handle._closed, handle)
        return 0

    cdef bint look(self) except -1:
        self.prepare()
        return self.is_due()

    cdef bint is_due(self) noexcept nogil:
        return ((<EventBase>self.handle)._closed or (<EventBase>self.handle).state.is_gone_now()
                or memlane_event_state((<EventBase>self.handle).state.event) & 1)

    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil:
        at_word(selecting, &(<EventBase>self.handle).state.event.selectors, announces)


cdef EventWatching event_watching(EventBase handle, bint keeps):
    cdef EventWatching made = EventWatching.__new__(EventWatching)
    made.opened, made.handle = handle.state, <void *>handle
    if keeps:
        made.kept = handle
    return made


cdef class EventBase:
    """What an event does without going through Python."""

    cdef EventState state
    cdef bint _closed
    cdef uint64_t opens               # epoch in which it was counted among the holders of the state
    cdef memlane_spinning spinning
    cdef Pollable readable            # what fileno() gave; None: nobody has asked

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.opens = EPOCH_CLOSED
        memlane_spinning_begin(&self.spinning)

    def _bind(self, Membership membership not None, entry):
        """Make this a handle of the event that *entry* of the directory describes."""
        self.state = opened_of(membership, entry, "event", EventState.make)
        self._closed = False

    def _detach(self):
        """Refuse new work."""
        if self._closed:
            return
        self._closed = True
        if self.readable is not None:
            self.readable.close()
        self.state.leave(&self.opens)
        self.state.membership.stir_waits()

    cdef int check(self) except -1:
        if self._closed or self.state.membership.closed:
            raise closed_error(self, "an event" if self.state is None else self.state.name)
        self.state.membership.notice_fork()
        if self.state.is_gone():
            self.state.refuse_gone()
        return self.state.membership.check_whole()

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    cdef int turn(self, bint set) except -1:
        cdef EventState state
        cdef uint64_t pinned, armed
        cdef uint32_t index
        self.check()
        state = self.state
        pinned = state.pin()
        try:
            state.enter(&self.opens, &self._closed, self)
            if memlane_event_turn(state.event, set) and set:
                armed = memlane_armed_collect(&state.event.armed)
                for index in range(state.count if armed else 0):
                    if armed >> index & 1:
                        state.post(index)
                if memlane_waiters_any(&state.event.selectors):
                    memlane_selecting_wake(&state.membership.own, &state.event.selectors)
            return state.membership.check_whole()
        finally:
            state.unpin(pinned)

    def set(self):
        """
        Set it, and wake all that wait.

        Raises:
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
        self.turn(True)

    def clear(self):
        """Clear it: from now on waits last until the next `set`. Raises as `set`."""
        self.turn(False)

    def is_set(self):
        """
        Whether it is set. Needs no write access.

        Raises:
            ClosedError: this process closed the handle.
        """
        cdef bint found
        self.check()
        found = memlane_event_state(self.state.event) & 1
        if not found:
            self.look_again()
        return found

    cdef void look_again(self) noexcept:
        """What fileno gave is not readable any more, unless it is set meanwhile."""
        if self.readable is not None and self.readable.rearm():
            self.readable.settle()

    def wait(self, timeout=None):
        """
        Wait until it is set; also if it is cleared again at once, all that wait by then go on.

        Sleeps at a doorbell of its own; a reader without write access, or when all doorbells are taken, polls with a growing
        pause. Other threads run meanwhile; Ctrl-C interrupts it.

        Args:
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            True; False when *timeout* is over.

        Raises:
            ClosedError: this process closed the handle.
        """
        cdef uint64_t deadline = deadline_of(timeout), pinned, since
        cdef EventState state
        cdef WatcherSleep sleep = None
        cdef Doorbell bell = None
        self.check()
        state = self.state
        pinned = state.pin()
        try:
            since = memlane_event_state(state.event)
            while not memlane_event_has_come(state.event, since):
                if sleep is None:
                    sleep = WatcherSleep()
                    sleep.begin(deadline, &self.spinning)
                    sleep.event, sleep.opened, sleep.turn = state.event, state, since
                if deadline == 0 or sleep.is_over():
                    self.look_again()
                    return False
                if not sleep.spin(MEMLANE_WAIT_ADAPTIVE):
                    if bell is None and not state.membership.readonly:
                        state.enter(&self.opens, &self._closed, self)
                        bell = state.lease(sleep)
                    sleep.nap(&state.event.armed, bell)
                PyErr_CheckSignals()
                self.check()
            return True
        finally:
            if bell is not None and memlane_fork_is(pinned):
                state.give(sleep.watcher)
            state.unpin(pinned)

    def fileno(self):
        """
        Return a descriptor for select, poll, epoll and event loops: readable when it may be set.

        It is of this handle in this process alone, non-blocking and close-on-exec; `close` closes it. An `is_set` or `wait`
        that finds it cleared makes it unreadable again. A reader without write access finds it set ten times a second only.

        Raises:
            OSError: no descriptor can be had.
            ClosedError: this process closed the handle.
        """
        self.check()
        self.readable = pollable_of(self.readable, event_watching(self, False))
        return self.readable.number()

    def _watch_set(self):
        """What one waits for that wants it to be set."""
        self.check()
        return event_watching(self, True)
