# SPDX-License-Identifier: MIT
"""
Loans: bytes where they lie in the memory of an object, which this process may use until it ends the loan.

Loan         what every loan is: a buffer that counts its views, and keeps row, role and memory until the last one has died
RecordLoan   a record that was borrowed, read-only
Loans        several of them, released together
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo

import memlane._arguments as _arguments
from memlane.errors import ClosedError

from memlane._core.arguments cimport dimensions_of, dtype_of, index_of
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.mapping cimport finalizing
from memlane._core.os cimport memlane_fork_is

memlane_calls_join(calls_of_process(), globals())


@cython.no_gc  # made for each record, and in no cycle: it leads to its lender and its role, and weakly to arrays
cdef class Loan:
    """Bytes of an object that this process may use until it ends the loan, and until the last view of them has died."""

    def __init__(self):
        verb = "reserve()" if self.is_writable else "borrow()"
        raise TypeError(f"a {type(self).__name__} is made by {verb}, not by calling the class")

    cdef void give_bytes_back(self) noexcept:
        """In the process that began it, behind the last view."""

    cdef void note_dropped(self) noexcept:
        """It was forgotten before its user ended it. Its bytes have been given back."""

    cdef object refuse_closed(self):
        raise NotImplementedError()

    cdef str word(self):
        """What messages call it."""
        return "loan"

    def __del__(self):
        cdef bint dropped = self.is_open and self.is_held
        if self.is_held:
            self.is_open = False
            self.end()
        # not for a child of fork, whose loan it is not, and not when everything goes anyway
        if dropped and memlane_fork_is(self.pinned) and not finalizing():
            self.note_dropped()

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.check()
        PyBuffer_FillInfo(view, self, self.address, self.nbytes, not self.is_writable, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.export_ended()

    def __len__(self):
        return self.nbytes

    def __bool__(self):
        return True

    def __getitem__(self, index):
        cdef Py_ssize_t at
        cdef unsigned char item
        if not isinstance(index, slice):
            at = index_of(index)
            if at < 0:
                at += self.nbytes
            self.check()
            if not 0 <= at < <Py_ssize_t>self.nbytes:
                raise IndexError(f"index {_arguments.shown(index)} is out of range of a {self.word()} of {self.nbytes} bytes")
            item = self.address[at]
            self.check()  # whether it is a zero of the guard's
            return item
        with memoryview(self) as view:
            copied = bytes(view[index])
        self.check()
        return copied

    @cython.binding(True)  # `with` makes a bound method of it, which is cheaper of this kind
    def __enter__(self):
        self.check()
        return self


@cython.no_gc
cdef class RecordLoan(Loan):
    """A borrowed record: its bytes where they lie, read-only, until it is released."""

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
        try:
            return numpy.ndarray(dimensions, kind, self)
        except (TypeError, ValueError) as wrong:
            if "too small" not in str(wrong) and "too big" not in str(wrong) and "exceeded" not in str(wrong):
                raise
            raise ValueError(f"an array of shape {_arguments.shown(shape)} and dtype {kind} is larger than this record of "
                             f"{self.nbytes} bytes; ask for a smaller one") from None

    def release(self):
        """Give the record back, now or when its last view dies. Never fails; doing it twice does nothing."""
        self.close()

    @cython.binding(True)
    def __exit__(self, _kind, _value, _traceback):
        self.close()


@cython.final
cdef class Loans:
    """Several borrowed records, released together: a sequence of them, and a context manager. Made by `borrow_many`."""

    def __init__(self):
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
