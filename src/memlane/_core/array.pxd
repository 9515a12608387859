# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint64_t

from memlane._core.loan cimport Loan
from memlane._core.membership cimport Membership
from memlane._core.opened cimport Opened


cdef struct Shaped:
    # The items of an array, in the order of C.
    int dimensions
    Py_ssize_t itemsize
    Py_ssize_t shape[64]
    Py_ssize_t strides[64]

cdef bint lay_shape(Shaped *shaped, tuple shape, Py_ssize_t itemsize, uint64_t room, uint64_t *nbytes) except -1
cdef int fill_view(Py_buffer *view, int flags, bint is_raw, Shaped *shaped, bytes format, Loan loan, object exporter,
                   str name) except -1
cdef int export_ended(Py_buffer *view) except -1


@cython.final
@cython.no_gc
cdef class ArrayLoan(Loan):
    pass


cdef class ArrayBase:
    cdef Membership membership
    cdef Opened state
    cdef uint64_t opens               # epoch in which it was counted among the holders of the state
    cdef uint64_t nbytes              # of the array
    cdef unsigned char *address
    cdef ArrayLoan loan               # the latest; it ends with its last view
    cdef bytes format                 # of an item, as buffers tell it; None: there is no text for it
    cdef Shaped shaped
    cdef str name
    cdef bint _closed

    cdef object refuse_shape(self, Membership membership, tuple shape, entry)
    cdef ArrayLoan lend(self)
    cdef int check(self) except -1
    cdef int export(self, Py_buffer *view, int flags, bint is_raw, object exporter) except -1
