# SPDX-License-Identifier: MIT
"""Counters, alone and in arrays: each operation is one atomic step."""

from cpython.exc cimport PyErr_CheckSignals
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from libc.stdint cimport int64_t, uint64_t

import errno as _errno

import memlane._arguments as _arguments
from memlane._core.opened import closed_error
from memlane.errors import CorruptedError

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_COUNTERS_MAX, MEMLANE_COUNTERS_STRIDE, memlane_counter, memlane_counter_add, memlane_counter_compare_exchange,
    memlane_counter_exchange, memlane_counter_limit, memlane_counter_load, memlane_counters_nbytes,
)
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.opened cimport Opened, opened_of
from memlane._core.os cimport memlane_guard_is_truncated

memlane_calls_join(calls_of_process(), globals())

COUNTERS_MAX = <object>MEMLANE_COUNTERS_MAX

# A call that was overtaken so often looks for signals; arbitrary: no sound program overtakes twice.
cdef int LIMIT_TRIES = 1000


cdef int64_t number_of_other(object value) except? -1:
    number = value if isinstance(value, int) else _arguments.integer(value, "what a counter takes", "an int")
    if not -(1 << 63) <= number < 1 << 63:
        raise OverflowError(f"a counter has 64 bits, from -2**63 to 2**63 - 1, got {_arguments.shown(number)}")
    return number


cdef inline int64_t number_of(object value) except? -1:
    cdef int overflow = 0
    cdef int64_t plain
    if PyLong_CheckExact(value):
        plain = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow:
            return plain
    return number_of_other(value)


def counters_nbytes(uint64_t counters):
    """The bytes of an array of counters; 0: there can be none of so many."""
    return memlane_counters_nbytes(counters)


cdef Opened open_counter(Membership membership, entry):
    cdef Opened made = Opened()
    made.begin(membership, entry, f"counter {entry[0]!r} of {membership.name}")
    return made


cdef Opened open_counters(Membership membership, entry):
    cdef Opened made = Opened()
    made.begin(membership, entry, membership.called("counters", entry[0]))
    if memlane_counters_nbytes(entry[4][0]) == 0 or memlane_counters_nbytes(entry[4][0]) != <uint64_t>entry[3]:
        raise CorruptedError(f"the geometry of {made.name} contradicts itself; unlink the region and create it again",
                             name=membership.name)
    return made


cdef class CounterBase:
    """What a counter does without going through Python."""

    cdef Membership membership
    cdef Opened state
    cdef uint64_t opens               # epoch in which it was counted among the holders of the state
    cdef memlane_counter *counter
    cdef str name
    cdef bint _closed

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.opens = EPOCH_CLOSED

    def _bind(self, Membership membership not None, entry, index=None):
        """Make this a handle of the counter that *entry* of the directory describes, or of one of the array that it describes."""
        cdef uint64_t number
        if index is not None:
            self.state = opened_of(membership, entry, "counters", open_counters)
            number = index
            if number >= <uint64_t>entry[4][0]:
                raise IndexError(f"{self.state.name} has {entry[4][0]} counters, got index {index}")
            self.name = f"counter {index} of {self.state.name}"
            self.membership = membership
            self.counter = <memlane_counter *>(
                membership.mapping.address + <uint64_t>entry[2] + number * MEMLANE_COUNTERS_STRIDE)
            self._closed = False
            return
        if entry[3] < sizeof(memlane_counter):
            raise CorruptedError(f"{membership.called('counter', entry[0])} has {entry[3]} bytes; unlink the region "
                                 "and create it again", name=membership.name)
        self.name = membership.called("counter", entry[0])
        self.state = opened_of(membership, entry, "counter", open_counter)
        self.membership = membership
        self.counter = <memlane_counter *>(membership.mapping.address + <uint64_t>entry[2])
        self._closed = False

    def _detach(self):
        if not self._closed:
            self._closed = True
            self.state.leave(&self.opens)

    cdef int check(self, bint to_write) except -1:
        if self._closed or self.membership.closed:
            raise closed_error(self, "a counter" if self.name is None else self.name)
        if not to_write:
            self.membership.notice_fork()
            return 0  # what was read counts only if the counter is there afterwards
        if self.opens != self.state.held or not self.state.is_held():
            self.membership.notice_fork()
            if self.membership.readonly:
                raise PermissionError(
                    _errno.EACCES, f"{self.name} is open read-only; open it without readonly=True")
            self.enter()
        if self.state.is_gone():
            self.state.refuse_gone()
        return 0

    cdef int enter(self) except -1:
        """Before the first call that writes. Joining runs Python, and so another thread that closes the region."""
        cdef uint64_t pinned = self.membership.pin_open()
        try:
            self.state.enter(&self.opens, &self._closed, self)
        finally:
            self.membership.unpin_loan(pinned)
        if self.membership.closed:
            raise closed_error(self, self.name)
        return 0

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    def add(self, amount=1):
        """
        Add *amount* in one step; any process, any time. Wraps modulo 2**64.

        Returns:
            The new value.

        Raises:
            OverflowError: *amount* is not in the range of 64 signed bits.
            TypeError: it is no int.
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
        cdef int64_t by = number_of(amount)  # first: it may be Python, which closes the counter
        self.check(True)
        total = memlane_counter_add(self.counter, by)
        self.membership.check_whole()
        return total

    def exchange(self, value):
        """
        Set the counter in one step.

        Returns:
            The value it had.

        Raises:
            As `add`.
        """
        cdef int64_t new = number_of(value)
        self.check(True)
        before = memlane_counter_exchange(self.counter, new)
        self.membership.check_whole()
        return before

    def compare_exchange(self, expected, new):
        """
        Set the counter to *new* in one step, if it is *expected*.

        Returns:
            Whether it was, and is set.

        Raises:
            As `add`.
        """
        cdef int64_t old = number_of(expected), value = number_of(new)
        self.check(True)
        done = memlane_counter_compare_exchange(self.counter, old, value)
        self.membership.check_whole()
        return done

    def max(self, value):
        """
        Raise the counter to *value* in one step, if it is less.

        Returns:
            The value that it has then.

        Raises:
            As `add`.
        """
        return self.limit(number_of(value), True)

    def min(self, value):
        """
        Lower the counter to *value* in one step, if it is more.

        Returns:
            The value that it has then.

        Raises:
            As `add`.
        """
        return self.limit(number_of(value), False)

    cdef object limit(self, int64_t value, bint upwards):
        cdef int64_t found = 0
        self.check(True)
        while not memlane_counter_limit(self.counter, value, upwards, LIMIT_TRIES, &found):
            PyErr_CheckSignals()
            self.check(True)  # again: a handler may have closed it
        self.membership.check_whole()
        return found

    def __iadd__(self, amount):
        """`counter += 1` is `counter.add(1)`."""
        self.add(amount)
        return self

    def __isub__(self, amount):
        """`counter -= 1` is `counter.add(-1)`."""
        self.add(-(<object>number_of(amount)))  # a Python int: -2**63 has no negative in 64 bits
        return self

    @property
    def value(self):
        """The value at this moment. It is not set by assigning, for that would lose what others add: see `exchange`."""
        self.check(False)
        value = memlane_counter_load(self.counter)
        if self.state.is_gone_now():
            self.state.refuse_gone()
        if memlane_guard_is_truncated(self.membership.guarded):
            self.membership.check_whole()
        return value

    @value.setter
    def value(self, value):
        raise AttributeError(f"the value of {'a counter' if self.name is None else self.name} is not set by assigning, which "
                             "would lose what others add in between; use add(n), exchange(n) or compare_exchange(expected, n)")
