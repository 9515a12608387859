# SPDX-License-Identifier: MIT
"""
Loans: bytes where they lie in the memory of an object, which this process may use until it ends the loan.

A loan is a buffer that counts its views, and keeps row, role and memory until the last one has died. Reservation (sender.pyx) and
RecordLoan (receiver.pyx) derive from it.
"""

cimport cython
from cpython.buffer cimport PyBuffer_FillInfo

import memlane._arguments as _arguments

from memlane._core.arguments cimport index_of, numpy_for
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.mapping cimport finalizing
from memlane._core.os cimport memlane_fork_is

memlane_calls_join(calls_of_process(), globals())

cdef int DLPACK_CPU = 1


@cython.no_gc  # made for each record, and in no cycle: it leads to its lender and its role, and weakly to arrays
cdef class Loan:
    """Bytes of an object that this process may use until it ends the loan, and until the last view of them has died."""

    def __init__(self, *_arguments, **_keywords):
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

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        """
        The bytes of it for what imports DLPack, in place, as an array of uint8; as a view they are kept until its deleter is called.

        Raises:
            BufferError: a record is read-only, and the importer asks for the old structure, which cannot say so.
            ImportError: there is no numpy.
            ClosedError: it was released, committed or aborted before.
        """
        numpy = numpy_for("__dlpack__", "memoryview(...)")
        whole = numpy.frombuffer(self, "u1")
        try:
            return whole.__dlpack__(stream=stream, max_version=max_version, dl_device=dl_device, copy=copy)
        except TypeError:
            if max_version is None and dl_device is None and copy is None:
                raise
            return whole.__dlpack__(stream=stream)  # numpy before 2.1, which knows the old structure alone

    def __dlpack_device__(self):
        """The CPU, as DLPack says it."""
        return DLPACK_CPU, 0

    @cython.binding(True)  # `with` makes a bound method of it, which is cheaper of this kind
    def __enter__(self):
        self.check()
        return self
