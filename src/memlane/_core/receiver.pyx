# SPDX-License-Identifier: MIT
"""
What receives in this process, and the records that it has on loan: what the consumer of a ring and the subscription of a topic
share.

Receiver     the role: takes at once where there is something, else goes the long way, in which it waits
RecordLoan   a record that was borrowed, read-only
Loans        several of them, released together
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport int64_t, uint32_t, uint64_t

import memlane._arguments as _arguments
from memlane.errors import ClosedError, PeerGoneError

from memlane._core.arguments cimport check_timeout, deadline_of, dimensions_of, dtype_of
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_CORRUPTED, MEMLANE_OWNER_CLOSED, memlane_cpu_relax, memlane_lane_owner,
    memlane_ring_leased,
)
from memlane._core.lanes cimport Endpoint, LanesState
from memlane._core.loan cimport Loan
from memlane._core.membership cimport EPOCH_CLOSED, Users, epoch_lock
from memlane._core.os cimport memlane_fork_is
from memlane._core.runtime cimport memlane_selecting, memlane_spinning_begin, memlane_spinning_limit, memlane_wait
from memlane._core.selecting cimport Watch, at_word

memlane_calls_join(calls_of_process(), globals())

# Looks at one lane, of some 50 ns, which other threads wait for.
cdef uint32_t LOOKS_WITH_GIL = 32


cdef class Receiver:
    """What receives in this process; the handles and threads that lead to it share it."""

    def __cinit__(self, LanesState state):
        self.state = state
        self.epoch = EPOCH_CLOSED
        self.preparing = {}
        memlane_spinning_begin(&self.spinning)
        self.users = Users()
        self.known = <unsigned char *>PyMem_Calloc(state.lanes, 1)
        if self.known == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.known)

    # ---- what each kind does in its own way --------------------------------------------------------------

    cdef object take(self, bint is_first=True):
        """
        One record as new bytes, or None if there is none now. Behind the first one of a batch no handler of a signal may
        run, whose exception would lose what is taken: where others are faster the batch ends.
        """
        raise NotImplementedError()

    cdef int take_many(self, list taken, Py_ssize_t most) except -1:
        """Add up to *most* records to an empty batch; not more than BATCH_NBYTES unless it is the first."""
        raise NotImplementedError()

    cdef Py_ssize_t take_into(self, Py_buffer *view) except -2:
        """Copy one record into a buffer; its length, or -1 if there is none now."""
        raise NotImplementedError()

    cdef RecordLoan take_loan(self, bint is_first=True):
        """One record as a loan, or None if there is none now; *is_first* as in `take`."""
        raise NotImplementedError()

    cdef object extract(self, Endpoint handle, int how, Py_ssize_t most, Py_buffer *view, uint64_t deadline,
                        bint require_peer):
        """Take the role, then a record in one of four ways, waiting until the deadline."""
        raise NotImplementedError()

    cdef bint look(self, Endpoint handle) except -1:
        """As `extract` with a deadline of 0, but it takes nothing: whether a call would not wait now. The role is taken."""
        raise NotImplementedError()

    cdef void take_back(self, uint32_t lane, uint64_t s) noexcept:
        """Free a record that was lent, in any order, from any thread."""

    cdef void leave(self) noexcept:
        """Give the role back; loans keep it until the last one is gone."""

    cdef bint any_record(self) noexcept nogil:
        """The second look: is there anything that a waiting call would act on?"""
        return False

    cdef bint is_overtaken(self) noexcept nogil:
        """Whether others take whatever comes, so that it does not pay to wait with the GIL."""
        return False

    cdef bint knows_leased(self, uint32_t lane) noexcept nogil:
        """Whether the memory of a lane may be touched."""
        return False

    cdef uint64_t next_of(self, uint32_t lane) noexcept nogil:
        """The number of the record that is taken next of a leased lane."""
        return 0

    cdef bint overlooked_in(self, uint32_t lane) noexcept nogil:
        """Whether the hints of a leased lane contradict its states."""
        return False

    cdef int join(self) except -1:
        """Take the role in this epoch, and note that, unless it is done meanwhile by a handler that runs. Raises RoleTakenError."""
        raise NotImplementedError()

    # ---- receiving ---------------------------------------------------------------------------------------

    @cython.final
    cdef int prepare(self, Endpoint handle) except -1:
        """See that this process has the role, in this epoch."""
        handle.check()
        self.state.membership._check_open()
        if not self.state.membership.readonly:
            self.state.enter(&handle.opens, &handle._closed, handle)
        if not memlane_fork_is(self.epoch):
            with epoch_lock(self.preparing):
                if not memlane_fork_is(self.epoch):
                    self.join()
        self.departing = False
        self.users.add(&handle.receives)
        handle.require_still_open()
        return 0

    @cython.final
    cdef void loan_ended(self) noexcept:
        cdef bint last
        with cython.critical_section(self):
            self.loans -= 1
            last = self.loans == 0 and self.departing
        if last:
            self.leave()

    @cython.final
    cdef object take_as(self, int how, Py_ssize_t most, Py_buffer *view):
        cdef Py_ssize_t nbytes
        cdef list taken
        if how == TAKE_ONE:
            return self.take()
        if how == TAKE_MANY:
            taken = new_batch(most)
            self.take_many(taken, most)
            return taken or None
        if how == TAKE_LOAN:
            return self.take_loan()
        if how == TAKE_NOTHING:
            return True
        nbytes = self.take_into(view)
        return None if nbytes < 0 else nbytes

    @cython.final
    cdef RecordLoan lend_more(self):
        """Another loan behind the first one of a batch, or None: nothing is waited for, and no handler of a signal runs."""
        cdef RecordLoan record = None
        cdef uint64_t pinned
        if memlane_fork_is(self.epoch):
            pinned = self.state.membership.pin()
            try:
                record = self.take_loan(False)
            finally:
                self.state.membership.unpin(pinned)
        return record

    @cython.final
    cdef object get_now(self, Endpoint handle):
        """`get` where there is something at once; None: go the long way."""
        if handle.receives == self.epoch and memlane_fork_is(self.epoch):
            if self.state.is_gone():
                self.state.refuse_gone()
            return self.take()
        return None

    @cython.final
    cdef object get_many(self, Endpoint handle, Py_ssize_t most, object timeout, bint require_peer):
        cdef list taken = new_batch(most)  # before the look whether the object is open: the collector may run
        check_timeout(timeout)
        if handle.receives == self.epoch and memlane_fork_is(self.epoch):
            if self.state.is_gone():
                self.state.refuse_gone()
            self.take_many(taken, most)
            if not taken and (timeout is None or timeout) and self.comes_soon(handle.wait):
                self.take_many(taken, most)
            if taken:
                return taken
        return self.extract(handle, TAKE_MANY, most, NULL, deadline_of(timeout), require_peer)

    @cython.final
    cdef object obtain(self, Endpoint handle, int how, Py_ssize_t most, Py_buffer *view, object timeout, bint require_peer):
        """`get` for the other ways to take: at once where there is something, else as `extract` does."""
        cdef uint64_t pinned
        check_timeout(timeout)
        if handle.receives == self.epoch and memlane_fork_is(self.epoch):
            pinned = self.state.pin()  # another thread may close the object between two steps
            try:
                if self.state.is_gone():
                    self.state.refuse_gone()
                found = self.take_as(how, most, view)
                if found is None and (timeout is None or timeout) and self.comes_soon(handle.wait):
                    found = self.take_as(how, most, view)
            finally:
                self.state.unpin(pinned)
            if found is not None:
                return found
        return self.extract(handle, how, most, view, deadline_of(timeout), require_peer)

    @cython.final
    cdef bint comes_soon(self, int wait) noexcept nogil:
        """
        Whether there is a record within a microsecond or two, which is how long an answer takes that was asked for.
        With the GIL: to give it away and take it back would be most of that time.
        """
        cdef uint32_t look, leased
        # Nothing is pinned by get: where another thread has closed the object, its memory is gone.
        if (not memlane_fork_is(self.epoch) or self.is_overtaken()
                or memlane_spinning_limit(&self.spinning, <memlane_wait>wait) == 0):
            return False
        leased = memlane_ring_leased(self.state.control, self.state.lanes)
        for look in range(max(LOOKS_WITH_GIL // max(leased, 1), 1)):
            if self.any_record():
                return True
            memlane_cpu_relax()
        return False

    @cython.final
    cdef object refuse_unsent(self):
        """Nobody is left that sends. Of each lane the last sender counts: those before it are forgotten."""
        cdef LanesState state = self.state
        cdef uint32_t lane, died = 0, leased = memlane_ring_leased(state.control, state.lanes)
        for lane in range(leased):
            died += memlane_lane_owner(state.lane_control(lane)) > MEMLANE_OWNER_CLOSED
        raise PeerGoneError(f"no {state.sender_word} of {state.name} is left ({died} died, {leased - died} left), and it is "
                            "drained; start another one, or end here", died=died, left=leased - died)

    @cython.final
    cdef int check_sound(self) except -1:
        """Look twice for what cannot be, before sleeping on it."""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.state.control, self.state.lanes)):
            if self.knows_leased(lane) and self.overlooked_in(lane) and self.overlooked_in(lane):
                self.state.refuse(MEMLANE_CORRUPTED, 0)
        return 0


@cython.final
cdef class RecordWatch(Watch):
    """A call that waits for a record, or for the end, among several things."""

    cdef void *handle                 # an Endpoint, which outlives this
    cdef object kept                  # or which this keeps
    cdef Receiver role

    cdef int prepare(self) except -1:
        return self.role.prepare(<Endpoint>self.handle)

    cdef bint look(self) except -1:
        cdef bint found
        self.prepare()
        found = self.role.look(<Endpoint>self.handle)
        self.opened.membership.check_whole()
        return found

    cdef bint is_due(self) noexcept nogil:
        return (<Endpoint>self.handle)._closed or not memlane_fork_is(self.role.epoch) or self.role.any_record()

    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil:
        at_word(selecting, &self.role.state.control.waiters, announces)


cdef Watch record_watch(Endpoint handle, Receiver role, bint keeps):
    """What calls of a handle that receive wait for. Without *keeps*, the handle is to outlive it."""
    cdef RecordWatch made = RecordWatch.__new__(RecordWatch)
    made.opened, made.handle, made.role = role.state, <void *>handle, role
    if keeps:
        made.kept = handle
    return made


@cython.no_gc
cdef class RecordLoan(Loan):
    """A borrowed record: its bytes where they lie, read-only, until it is released."""

    cdef void give_bytes_back(self) noexcept:
        self.role.take_back(self.lane, self.s)
        self.role.loan_ended()

    cdef object refuse_closed(self):
        raise ClosedError(f"this record{'' if self.lender is None else ' of ' + self.lender.name} was released; "
                          "borrow another one")

    cdef str word(self):
        return "record"

    def array(self, shape, dtype):
        """
        Make an array over the first bytes of the record: a view, read-only, which keeps the loan as any view does.

        Raises:
            ValueError: the record is shorter than the array.
            ClosedError: the record was released.
        """
        import numpy
        kind, dimensions = dtype_of(numpy, dtype), dimensions_of(shape)  # may run Python, so before the check
        self.check()
        count = 1
        for length in dimensions:
            count *= length
        if count * kind.itemsize > self.nbytes:
            raise ValueError(f"an array of shape {_arguments.shown(shape)} and dtype {kind} is larger than this record of "
                             f"{self.nbytes} bytes; ask for a smaller one")
        # Not numpy.ndarray(buffer=...), which lets the buffer go while the array lives.
        return numpy.frombuffer(self, kind, count).reshape(dimensions)

    def release(self):
        """Give the record back, now or when its last view dies. Never fails; doing it twice does nothing."""
        self.close()

    @cython.binding(True)
    def __exit__(self, _kind, _value, _traceback):
        self.close()


@cython.final
cdef class Loans:
    """Several borrowed records, released together: a sequence of them, and a context manager. Made by `borrow_many`."""

    def __init__(self, *_arguments, **_keywords):
        raise TypeError("Loans are made by borrow_many(), not by calling the class")

    @classmethod
    def __class_getitem__(cls, _record, /):
        return cls  # generic in its records, for type checkers alone

    def __len__(self):
        return len(self.records)

    def __bool__(self):
        return True

    def __getitem__(self, index):
        return self.records[index]

    def __iter__(self):
        return iter(self.records)

    def release(self):
        """Release all that are not released or given back yet. Never fails; doing it twice does nothing."""
        for record in self.records:
            (<RecordLoan>record).close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.release()
