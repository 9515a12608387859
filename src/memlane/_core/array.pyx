# SPDX-License-Identifier: MIT
"""
Arrays in a region: bytes with a shape and a type, which any process reads and writes in place.

ArrayBase    a handle, and what its views are views of
ArrayBytes   the same memory as plain bytes, which numpy makes its arrays of
ArrayLoan    keeps memory and entry for as long as a view lives, whatever is closed or removed meanwhile
"""

cimport cython
from cpython.buffer cimport PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_F_CONTIGUOUS, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint64_t

from memlane._core.opened import closed_error
from memlane.errors import CorruptedError

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.loan cimport Loan
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.opened cimport Opened, opened_of
from memlane._core.os cimport memlane_fork_is

memlane_calls_join(calls_of_process(), globals())

cdef char *BYTE = "B"

cdef enum:
    DIMENSIONS_MAX = 64               # as numpy has it


@cython.final
@cython.no_gc
cdef class ArrayLoan(Loan):
    """What keeps the memory of an array for its views. Nothing is given back at its end: the array stays."""

    cdef str word(self):
        return "array"


cdef bint lay_shape(Shaped *shaped, tuple shape, Py_ssize_t itemsize, uint64_t room, uint64_t *nbytes) except -1:
    """Fill in lengths and strides; False: they are out of range, or the items need more than *room* bytes."""
    cdef Py_ssize_t i
    nbytes[0] = itemsize
    if len(shape) > DIMENSIONS_MAX or itemsize < 0:
        return False
    shaped.dimensions, shaped.itemsize = <int>len(shape), itemsize
    for i in range(shaped.dimensions):
        shaped.shape[i] = shape[i]
        if shaped.shape[i] < 0 or (shaped.shape[i] and nbytes[0] > room // <uint64_t>shaped.shape[i]):
            return False
        nbytes[0] *= <uint64_t>shaped.shape[i]
    for i in range(shaped.dimensions - 1, -1, -1):
        shaped.strides[i] = itemsize if i == shaped.dimensions - 1 else shaped.strides[i + 1] * shaped.shape[i + 1]
    return nbytes[0] <= room


cdef int fill_view(Py_buffer *view, int flags, bint is_raw, Shaped *shaped, bytes format, Loan loan, object exporter,
                   str name) except -1:
    """
    Export the bytes of a loan, as items of that shape or as they are, and count the view. *format* is the text of an item;
    None: there is none. *exporter* keeps it alive; `export_ended` counts it off.
    """
    if flags & PyBUF_WRITABLE and not loan.is_writable:
        raise BufferError(f"{name} is read-only here; make a copy of it, or open it without readonly=True")
    if not is_raw and flags & PyBUF_FORMAT and format is None:
        raise BufferError(f"there is no text for the items of {name} that buffers could tell; use it as an array of numpy's")
    if not is_raw and (flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS and not (
            flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS and shaped.dimensions > 1:
        raise BufferError(f"{name} is in the order of C, and no other one is to be had")
    view.buf, view.len, view.readonly = loan.address, loan.nbytes, not loan.is_writable
    view.suboffsets = NULL
    if is_raw:
        view.itemsize, view.ndim = 1, 1
        view.format = BYTE if flags & PyBUF_FORMAT else NULL
        view.shape = &view.len if flags & PyBUF_ND else NULL
        view.strides = &view.itemsize if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
    else:
        view.itemsize, view.ndim = shaped.itemsize, shaped.dimensions
        view.format = NULL
        if flags & PyBUF_FORMAT:
            view.format = <char *>format
        view.shape = shaped.shape if flags & PyBUF_ND else NULL
        view.strides = shaped.strides if (flags & PyBUF_STRIDES) == PyBUF_STRIDES else NULL
    loan.exports += 1
    Py_INCREF(loan)
    view.internal = <void *>loan
    view.obj = exporter
    return 0


cdef Opened open_array(Membership membership, entry):
    cdef Opened made = Opened()
    made.begin(membership, entry, f"array {entry[0]!r} of {membership.name}")
    return made


cdef class ArrayBase:
    """What a shared array does without going through Python."""

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.opens = EPOCH_CLOSED

    def _bind(self, Membership membership not None, entry, tuple shape, Py_ssize_t itemsize, bytes described):
        """Make this a handle of the array that *entry* of the directory describes; *shape* and *itemsize* are checked here."""
        cdef uint64_t nbytes = 0
        self.name = membership.called("array", entry[0])
        self.format = described
        if not lay_shape(&self.shaped, shape, itemsize, entry[3], &nbytes):
            self.refuse_shape(membership, shape, entry)
        self.state = opened_of(membership, entry, "array", open_array)
        self.membership, self.nbytes = membership, nbytes
        self.address = membership.mapping.address + <uint64_t>entry[2]
        self._closed = False

    cdef object refuse_shape(self, Membership membership, tuple shape, entry):
        raise CorruptedError(f"{self.name} has {entry[3]} bytes, too few for its shape {shape}; unlink the region and create it "
                             "again", name=membership.name)

    def _detach(self):
        if not self._closed:
            self._closed = True
            self.state.leave(&self.opens)

    cdef int check(self) except -1:
        if self._closed or self.membership.closed:
            raise closed_error(self, "an array" if self.name is None else self.name)
        self.membership.notice_fork()
        if self.membership.closed:
            raise closed_error(self, self.name)
        if self.state.is_gone():
            self.state.refuse_gone()
        return 0

    cdef ArrayLoan lend(self):
        """What the next view is of. The first one of a process, and of a forked child, joins."""
        cdef uint64_t pinned
        cdef ArrayLoan made
        self.check()
        if self.loan is not None and self.loan.is_held and memlane_fork_is(self.loan.pinned):
            return self.loan
        pinned = self.membership.pin_open()
        try:
            if not self.membership.readonly:
                self.state.enter(&self.opens, &self._closed, self)
            made = ArrayLoan.__new__(ArrayLoan)
            self.check()  # joining runs Python, which may close the handle
            made.is_writable = not self.membership.readonly
            made.begin(self.state, self.address, self.nbytes)
            made.is_open = False  # it ends with its last view
            self.loan = made
        finally:
            self.membership.unpin_loan(pinned)
        return made

    cdef int export(self, Py_buffer *view, int flags, bint is_raw, object exporter) except -1:
        cdef ArrayLoan loan = self.lend()
        loan.nbytes = self.nbytes
        return fill_view(view, flags, is_raw, &self.shaped, self.format, loan, exporter, self.name)

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.export(view, flags, False, self)

    def __releasebuffer__(self, Py_buffer *view):
        export_ended(view)

    def _bytes(self):
        """All of it as bytes: a view that keeps this handle, too."""
        cdef ArrayBytes made = ArrayBytes.__new__(ArrayBytes)
        made.handle = self
        return PyMemoryView_FromObject(made)

    @property
    def closed(self):
        """Whether this process has closed this handle. Its views stay valid."""
        return self._closed

    @property
    def readonly(self):
        """Whether it was opened read-only, and so are its views."""
        self.check()
        return bool(self.membership.readonly)


cdef int export_ended(Py_buffer *view) except -1:
    cdef Loan loan = <Loan>view.internal
    view.internal = NULL
    loan.export_ended()
    Py_DECREF(loan)
    return 0


@cython.final
cdef class ArrayBytes:
    """The memory of an array as bytes."""

    cdef ArrayBase handle

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.handle.export(view, flags, True, self)

    def __releasebuffer__(self, Py_buffer *view):
        export_ended(view)


def handle_of_bytes(view):
    """The handle whose memory a memoryview is of, as made by `_bytes`; None: it is of something else."""
    thing = view.obj if isinstance(view, memoryview) else None
    return (<ArrayBytes>thing).handle if isinstance(thing, ArrayBytes) else None
