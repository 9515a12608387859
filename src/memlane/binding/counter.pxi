# SPDX-License-Identifier: MIT
"""A counter: three operations, each one instruction."""

cdef extern from "core/layout.h" nogil:
    struct memlane_counter:
        pass
    enum:
        MEMLANE_KIND_COUNTER

cdef extern from "core/counter.h" nogil:
    int64_t memlane_counter_add(memlane_counter *counter, int64_t amount)
    int64_t memlane_counter_load(const memlane_counter *counter)
    int64_t memlane_counter_exchange(memlane_counter *counter, int64_t value)


cdef class CounterBase:
    """What a counter does without going through Python."""

    cdef Membership membership
    cdef memlane_counter *counter
    cdef bint _closed

    def __cinit__(self, *_args, **_keywords):
        self._closed = True

    def _lead_to(self, Membership membership not None, tuple entry):
        """Make this a handle of the counter that *entry* of the directory describes."""
        if entry[3] < sizeof(memlane_counter):
            raise CorruptedError(f"counter {entry[0]!r} of {membership.name} has {entry[3]} bytes; unlink the region "
                                 "and create it again", name=membership.name)
        self.membership = membership
        self.counter = <memlane_counter *>(membership.mapping.address + <uint64_t>entry[2])
        self._closed = False

    def _leave(self):
        self._closed = True

    cdef int check(self, bint to_write) except -1:
        if self._closed or self.membership.closed:
            raise ClosedError("this handle of a counter is closed")
        self.membership.notice_fork()
        if to_write and self.membership.readonly:
            raise PermissionError(
                _errno.EACCES, f"{self.membership.name} is open read-only; open it without readonly=True")
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
        self.check(True)
        total = memlane_counter_add(self.counter, PyNumber_Index(amount))
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
        self.check(True)
        before = memlane_counter_exchange(self.counter, PyNumber_Index(value))
        self.membership.check_whole()
        return before

    @property
    def value(self):
        """The value at this moment."""
        self.check(False)
        value = memlane_counter_load(self.counter)
        self.membership.check_whole()
        return value
