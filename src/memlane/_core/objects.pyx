# SPDX-License-Identifier: MIT
"""
Objects as records: a codec makes a record of an object, and an object of a record.

Codec      what a queue encodes and decodes with
Encoded    a record that is written where it is to lie, so that large parts of it are copied once
Block      a record with buffers that was copied out: the arrays of the object lie in it

The record of an ordinary object is its pickle, and nothing else. Buffers that the object gives out of band, as arrays do, lie
behind the stream: see objects_layout.h. What other codecs make has one byte in front.
"""

cimport cython
from cpython.buffer cimport PyBUF_ANY_CONTIGUOUS, PyBuffer_FillInfo, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport free
from libc.string cimport memcpy

import copyreg as _copyreg
import io as _io
import pickle as _pickle
import sys as _sys

import memlane._arguments as _arguments
from memlane.errors import CorruptedError, LayoutError

from memlane._core.arguments cimport COPY_WITH_GIL_NBYTES
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_OBJECT_ALIGNMENT, MEMLANE_OBJECT_BUFFERS, MEMLANE_OBJECT_BYTES, MEMLANE_OBJECT_JSON,
    MEMLANE_OBJECT_MSGSPEC, MEMLANE_OBJECT_OTHER, MEMLANE_OBJECT_PICKLE, memlane_copy,
    memlane_object_head,
)
from memlane._core.loan cimport Loan

memlane_calls_join(calls_of_process(), globals())

cdef extern from "Python.h":
    void Py_XDECREF(PyObject *thing)
    object PyObject_Vectorcall(PyObject *function, PyObject *const *arguments, size_t count, PyObject *names)

cdef extern from "memlane/_core/plain.h":
    # NULL without an error: ask pickle
    PyObject *memlane_plain_dumps(object thing)
    PyObject *memlane_plain_loads(const unsigned char *stream, Py_ssize_t nbytes)

cdef extern from "stdlib.h" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t nbytes)

# The functions themselves: pickle.dumps and pickle.loads are those of C.
cdef object dumps = _pickle.dumps
cdef object loads = _pickle.loads
cdef object protocol = 5
cdef tuple with_callback = ("buffer_callback",)
cdef tuple with_buffers = ("buffers",)

cdef dict modules = _sys.modules

cdef dict form_names = {
    MEMLANE_OBJECT_BUFFERS: "pickle", MEMLANE_OBJECT_PICKLE: "pickle", MEMLANE_OBJECT_BYTES: "bytes",
    MEMLANE_OBJECT_JSON: "json", MEMLANE_OBJECT_MSGSPEC: "msgspec", MEMLANE_OBJECT_OTHER: "functions",
}

# Smaller buffers go into the stream: that is cheaper than a place in the table, and a view when it is got.
cdef Py_ssize_t IN_STREAM_NBYTES = 512


cdef inline uint64_t aligned(uint64_t offset) noexcept nogil:
    return (offset + MEMLANE_OBJECT_ALIGNMENT - 1) & ~<uint64_t>(MEMLANE_OBJECT_ALIGNMENT - 1)


cdef class Encoded:
    """A record that is written where it is to lie."""

    cdef void write(self, unsigned char *to) noexcept nogil:
        """Write all *nbytes* of it. With or without the GIL."""


@cython.final
cdef class Buffers(Encoded):
    """A pickle, and the buffers that its object gave out of band; what pickle calls with each of them."""

    def __dealloc__(self):
        self.forget()
        PyMem_Free(self.views)

    def __call__(self, buffer):
        """Whether the buffer is to be in the stream. Takes a view of it otherwise."""
        cdef Py_buffer *views
        if self.count == self.room:
            views = <Py_buffer *>PyMem_Realloc(self.views, (2 * self.room + 8) * sizeof(Py_buffer))
            if views == NULL:
                raise MemoryError()
            self.views, self.room = views, 2 * self.room + 8
        try:
            PyObject_GetBuffer(buffer, &self.views[self.count], PyBUF_ANY_CONTIGUOUS)
        except BufferError:
            return True  # with gaps: pickle says what it thinks of it
        if self.views[self.count].len < IN_STREAM_NBYTES:
            PyBuffer_Release(&self.views[self.count])
            return True
        self.count += 1
        return False

    cdef void forget(self) noexcept:
        while self.count:
            self.count -= 1
            PyBuffer_Release(&self.views[self.count])

    cdef int finish(self, bytes stream) except -1:
        """Know the size, wherever the record is to lie."""
        cdef Py_ssize_t i
        cdef uint64_t behind_first = 0
        self.stream = stream
        self.stream_bytes, self.stream_nbytes = PyBytes_AS_STRING(stream), PyBytes_GET_SIZE(stream)
        for i in range(self.count):
            behind_first = aligned(behind_first) + <uint64_t>self.views[i].len
        self.nbytes = self.head_nbytes() + MEMLANE_OBJECT_ALIGNMENT - 1 + behind_first
        return 0

    cdef uint64_t head_nbytes(self) noexcept nogil:
        """Of all that is in front of the buffers."""
        return sizeof(memlane_object_head) + self.count * sizeof(uint64_t) + self.stream_nbytes

    cdef void write(self, unsigned char *to) noexcept nogil:
        cdef memlane_object_head head
        cdef uint64_t size, at
        cdef Py_ssize_t i
        cdef unsigned char *to_table = to + sizeof(head)
        # The caller's memory is aligned to 8 bytes alone, and at the same place within a line in every process.
        at = aligned(<uintptr_t>to + self.head_nbytes()) - <uintptr_t>to
        head.form, head.unused[0], head.unused[1], head.unused[2] = MEMLANE_OBJECT_BUFFERS, 0, 0, 0
        head.count, head.stream, head.first = <uint32_t>self.count, self.stream_nbytes, at
        memcpy(to, &head, sizeof(head))
        for i in range(self.count):
            size = self.views[i].len
            memcpy(to_table + i * sizeof(size), &size, sizeof(size))
        memcpy(to_table + self.count * sizeof(size), self.stream_bytes, self.stream_nbytes)
        for i in range(self.count):
            at = aligned(<uintptr_t>to + at) - <uintptr_t>to
            memlane_copy(to + at, self.views[i].buf, self.views[i].len)
            at += self.views[i].len


@cython.final
cdef class Tagged(Encoded):
    """What another codec made, with the byte of the codec in front."""

    cdef unsigned char form
    cdef Py_buffer view

    def __cinit__(self, unsigned char form, made):
        self.form = form
        PyObject_GetBuffer(made, &self.view, PyBUF_ANY_CONTIGUOUS)
        self.nbytes = 1 + <uint64_t>self.view.len

    def __dealloc__(self):
        PyBuffer_Release(&self.view)

    cdef void write(self, unsigned char *to) noexcept nogil:
        to[0] = self.form
        memlane_copy(to + 1, self.view.buf, self.view.len)


@cython.final
@cython.no_gc
cdef class Block:
    """A record that was copied out, aligned so that its buffers are. Lives as long as one of them."""

    def __dealloc__(self):
        cdef int i
        if LEAST_SPARE_NBYTES <= self.room <= MOST_SPARE_NBYTES:
            for i in range(SPARE_BLOCKS):
                if spare_memory[i] == NULL:
                    spare_memory[i], spare_room[i] = self.memory, self.room
                    return
        free(self.memory)


# Memory of the last blocks that died. malloc gives so much back to the system as often as not, and then each array that is got
# has fresh pages, which cost more than the copy. Two: a loop holds one array while it gets the next. With the GIL.
cdef enum:
    SPARE_BLOCKS = 2
cdef uint64_t LEAST_SPARE_NBYTES = 1 << 17
cdef uint64_t MOST_SPARE_NBYTES = 1 << 24
cdef unsigned char *spare_memory[SPARE_BLOCKS]
cdef uint64_t spare_room[SPARE_BLOCKS]


cdef unsigned char *memory_of(uint64_t nbytes, uint64_t *room) noexcept:
    """Aligned memory for a block, or NULL: one that was used before, of at most twice the size, or fresh."""
    cdef void *memory = NULL
    cdef int i
    for i in range(SPARE_BLOCKS):
        if spare_memory[i] != NULL and spare_room[i] // 2 <= nbytes <= spare_room[i]:
            memory, spare_memory[i] = spare_memory[i], NULL
            room[0] = spare_room[i]
            return <unsigned char *>memory
    if nbytes >= LEAST_SPARE_NBYTES:
        nbytes += nbytes // 16  # the next one may be a bit longer
        for i in range(SPARE_BLOCKS):  # what did not fit now would stay for ever
            free(spare_memory[i])
            spare_memory[i] = NULL
    room[0] = nbytes
    return NULL if posix_memalign(&memory, MEMLANE_OBJECT_ALIGNMENT, nbytes) else <unsigned char *>memory


cdef Block block_of(const unsigned char *record, uint64_t nbytes):
    cdef Block block = Block.__new__(Block)
    cdef memlane_object_head head
    cdef uint64_t shift = 0
    if nbytes >= sizeof(head):
        memcpy(&head, record, sizeof(head))
        shift = (0 - head.first) % MEMLANE_OBJECT_ALIGNMENT
    if nbytes <= (<uint64_t>1 << 62):
        block.memory = memory_of(shift + nbytes + 1, &block.room)
    if block.memory == NULL:
        block.room = 0
        raise MemoryError()
    block.record, block.nbytes = block.memory + shift, nbytes
    if nbytes < COPY_WITH_GIL_NBYTES:
        memcpy(block.record, record, nbytes)
    else:
        with nogil:
            memlane_copy(block.record, record, nbytes)
    return block


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Part:
    """One buffer of an object: of a block, writable, or of a loan, of which it is a view as long as it lives."""

    cdef Block block
    cdef Loan loan
    cdef const unsigned char *address
    cdef Py_ssize_t nbytes

    def __dealloc__(self):
        if self.loan is not None:
            self.loan.export_ended()

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, <void *>self.address, self.nbytes, self.loan is not None, flags)


cdef object part_of(Block block, Loan loan, const unsigned char *address, uint64_t nbytes):
    cdef Part part = Part.__new__(Part)
    part.address, part.nbytes = address, nbytes
    part.block = block
    if loan is not None:
        loan.exports += 1
        part.loan = loan
    return PyMemoryView_FromObject(part)


cdef object refuse_bytes(str wrong):
    raise CorruptedError(f"a record that should be a pickle with its buffers {wrong}; whatever put it is no memlane of this "
                         "version, or has spoilt it", name="")


cdef list parts_of(Block block, Loan loan, const unsigned char *record, uint64_t nbytes, memlane_object_head *head):
    """
    The buffers of a record. Others may write into one on loan: each number is read once, checked, then used. *head* becomes
    what was read.
    """
    cdef list parts = []
    cdef uint64_t size, at, behind_first = 0, i
    if nbytes < sizeof(memlane_object_head):
        refuse_bytes(f"has {nbytes} bytes alone")
    memcpy(head, record, sizeof(memlane_object_head))
    at = head.first
    if (head.count > (nbytes - sizeof(memlane_object_head)) // sizeof(uint64_t)
            or head.stream > nbytes - sizeof(memlane_object_head) - head.count * sizeof(uint64_t)
            or at < sizeof(memlane_object_head) + head.count * sizeof(uint64_t) + head.stream or at > nbytes):
        refuse_bytes(f"of {nbytes} bytes has {head.count} buffers from byte {at}, and a stream of {head.stream}")
    for i in range(head.count):
        memcpy(&size, record + sizeof(memlane_object_head) + i * sizeof(uint64_t), sizeof(size))
        behind_first = aligned(behind_first)
        at = head.first + behind_first
        if at > nbytes or size > nbytes - at:
            refuse_bytes(f"of {nbytes} bytes has a buffer of {size} at byte {at}")
        parts.append(part_of(block, loan, record + at, size))
        behind_first += size
    return parts


cdef class Codec:
    """Makes records of objects, and objects of records. Threads may share it."""

    def __init__(self, codec=None):
        self.name, self.form, self.dump, self.load = codec_parts(codec)

    @cython.final
    cdef object encode(self, object thing):
        if self.form == MEMLANE_OBJECT_PICKLE:
            return self.encode_pickle(thing)
        return self.encode_other(thing)

    @cython.final
    cdef object encode_pickle(self, object thing):
        cdef Buffers buffers = self.spare
        cdef PyObject *arguments[3]
        cdef PyObject *plain = memlane_plain_dumps(thing)
        if plain != NULL:
            stream = <object>plain
            Py_XDECREF(plain)
            return stream
        # Ours alone: pickling runs Python, which may put into the same queue.
        self.spare = None
        if buffers is None:
            buffers = Buffers.__new__(Buffers)
        arguments[0], arguments[1], arguments[2] = <PyObject *>thing, <PyObject *>protocol, <PyObject *>buffers
        try:
            if "torch" in modules or "multiprocessing.connection" in modules:
                stream = dumps_as_known(thing, buffers)
            else:
                stream = PyObject_Vectorcall(<PyObject *>dumps, arguments, 2, <PyObject *>with_callback)
        except BaseException:
            buffers.forget()
            raise
        if buffers.count == 0:
            self.spare = buffers
            return stream
        buffers.finish(stream)
        return buffers

    @cython.final
    cdef object encode_other(self, object thing):
        made = thing if self.dump is None else self.dump(thing)
        if isinstance(made, str):
            made = made.encode()
        try:
            return Tagged.__new__(Tagged, self.form, made)
        except (TypeError, BufferError):
            what = "the codec 'bytes' puts bytes or another contiguous buffer" if self.dump is None else (
                f"the function of codec={self.name!r} that encodes must return bytes")
            raise TypeError(f"{what}, got {type(made).__name__}") from None

    @cython.final
    cdef object copy_out(self, const unsigned char *record, uint64_t nbytes):
        cdef unsigned char form
        cdef bytes copied
        cdef char *to
        if nbytes == 0:
            return block_of(record, 0)
        form = record[0]
        if form != self.form:
            return block_of(record, nbytes)
        if form != MEMLANE_OBJECT_PICKLE:  # which is a part of the stream
            record, nbytes = record + 1, nbytes - 1
        copied = PyBytes_FromStringAndSize(NULL, nbytes)
        to = PyBytes_AS_STRING(copied)
        if nbytes < COPY_WITH_GIL_NBYTES:
            memlane_copy(to, record, nbytes)
        else:
            with nogil:
                memlane_copy(to, record, nbytes)
        return copied

    @cython.final
    cdef object decode(self, object copied):
        cdef Block block
        cdef memlane_object_head head
        if self.form != MEMLANE_OBJECT_PICKLE:
            if type(copied) is Block:
                block = copied
                self.refuse_form(block.record[0] if block.nbytes else -1)
            return self.load_other(copied)
        if PyBytes_CheckExact(copied):
            if PyBytes_GET_SIZE(copied) and <unsigned char>PyBytes_AS_STRING(copied)[0] == MEMLANE_OBJECT_PICKLE:
                return self.load_pickle(copied, None)
            block = block_of(<const unsigned char *>PyBytes_AS_STRING(copied), PyBytes_GET_SIZE(copied))
        else:
            block = copied
        if block.nbytes == 0 or block.record[0] != MEMLANE_OBJECT_BUFFERS:
            self.refuse_form(block.record[0] if block.nbytes else -1)
        parts = parts_of(block, None, block.record, block.nbytes, &head)
        return self.load_pickle(PyBytes_FromStringAndSize(
            <const char *>block.record + sizeof(head) + head.count * sizeof(uint64_t), head.stream), parts)

    @cython.final
    cdef object decode_loan(self, Loan loan):
        cdef memlane_object_head head
        cdef int form = -1
        loan.check()
        if loan.nbytes:
            form = loan.address[0]
        if self.form != MEMLANE_OBJECT_PICKLE:
            if form != self.form:
                self.refuse_form(form)
            return self.load_other(PyBytes_FromStringAndSize(<const char *>loan.address + 1, loan.nbytes - 1))
        if form == MEMLANE_OBJECT_PICKLE:
            return self.load_pickle(PyBytes_FromStringAndSize(<const char *>loan.address, loan.nbytes), None)
        if form != MEMLANE_OBJECT_BUFFERS:
            self.refuse_form(form)
        parts = parts_of(None, loan, loan.address, loan.nbytes, &head)
        stream = PyBytes_FromStringAndSize(
            <const char *>loan.address + sizeof(head) + head.count * sizeof(uint64_t), head.stream)
        return self.load_pickle(stream, parts)

    @cython.final
    cdef object load_pickle(self, object stream, list buffers):
        cdef PyObject *arguments[2]
        cdef PyObject *plain
        if buffers is None:
            plain = memlane_plain_loads(<const unsigned char *>PyBytes_AS_STRING(stream), PyBytes_GET_SIZE(stream))
            if plain != NULL:
                thing = <object>plain
                Py_XDECREF(plain)
                return thing
        arguments[0], arguments[1] = <PyObject *>stream, <PyObject *>buffers
        return PyObject_Vectorcall(<PyObject *>loads, arguments, 1, NULL if buffers is None else <PyObject *>with_buffers)

    @cython.final
    cdef object load_other(self, object stream):
        return stream if self.load is None else self.load(stream)

    @cython.final
    cdef object refuse_form(self, int form):
        found = form_names.get(form)
        if found is None:
            raise CorruptedError("a record begins with " + ("no byte at all" if form < 0 else f"the byte {form:#04x}")
                                 + f", which no codec writes; this queue was opened with codec={self.name!r}", name="")
        raise LayoutError(f"a record was put with codec={found!r}, and this queue was opened with codec={self.name!r}; open it "
                          "with the same one in every process", name="", expected=self.name, found=found)

    def record_of(self, thing):
        """The record of an object as bytes, for tools and tests."""
        cdef Encoded encoded
        made = self.encode(thing)
        if PyBytes_CheckExact(made):
            return made
        encoded = made
        record = bytearray(encoded.nbytes)
        encoded.write(<unsigned char *>record)
        return bytes(record)

    def object_of_loan(self, Loan loan not None):
        """The object of a record on loan, of which its large arrays are read-only views."""
        return self.decode_loan(loan)

    def object_of(self, record):
        """The object of a whole record, for tools and tests."""
        cdef const unsigned char[::1] view
        if PyBytes_CheckExact(record):
            return self.decode(record) if self.form == MEMLANE_OBJECT_PICKLE else self.decode(
                self.copy_out(<const unsigned char *>PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record)))
        view = record
        return self.decode(self.copy_out(&view[0] if view.shape[0] else NULL, view.shape[0]))


# ---- what pickle alone carries badly ---------------------------------------------------------------------

cdef object dumps_as_known(object thing, Buffers buffers):
    """
    The stream of a pickle by the ways that multiprocessing and torch have taught its own pickler, of connections and the like,
    but for tensors in the memory of the CPU: torch would open a descriptor for each.
    """
    stream = _io.BytesIO()
    pickler = _pickle.Pickler(stream, protocol, buffer_callback=buffers)
    table = dict(_copyreg.dispatch_table)
    reduction = modules.get("multiprocessing.reduction")
    if reduction is not None:
        table.update(reduction.ForkingPickler._extra_reducers)
    torch = modules.get("torch")
    if torch is not None and hasattr(torch, "Tensor") and hasattr(torch, "nn"):  # else it is half imported
        table[torch.Tensor] = table[torch.nn.Parameter] = reduce_tensor
    pickler.dispatch_table = table
    pickler.dump(thing)
    return stream.getvalue()


def reduce_tensor(tensor):
    """
    Make a tensor a buffer, which is copied once. Those that are not plain memory of the CPU are left to torch.

    Raises:
        RuntimeError: it requires a gradient, and others that it was calculated from do.
    """
    torch = modules["torch"]
    if tensor.device.type != "cpu" or tensor.layout is not torch.strided or tensor.is_quantized or tensor.__dict__ or (
            type(tensor) not in (torch.Tensor, torch.nn.Parameter)):
        return tensor.__reduce_ex__(protocol)
    if tensor.requires_grad and not tensor.is_leaf:
        raise RuntimeError("a tensor that was calculated from others that require a gradient cannot be sent, since its gradients "
                           "could not come back; send tensor.detach()")
    plain = tensor.detach().resolve_conj().resolve_neg().contiguous()
    buffer = _pickle.PickleBuffer(plain.reshape(-1).view(torch.uint8).numpy())
    return rebuild_tensor, (buffer, tensor.dtype, tuple(tensor.shape), tensor.requires_grad, type(tensor))


def rebuild_tensor(buffer, dtype, shape, requires_grad, kind):
    """
    Make the tensor again, which has the memory of the buffer.

    Raises:
        BufferError: the buffer is read-only, and a tensor cannot be: any write through it would go into what others read.
    """
    import torch
    view = memoryview(buffer)
    if view.nbytes == 0:
        tensor = torch.empty(shape, dtype=dtype)
    elif view.readonly:
        raise BufferError("torch has no read-only tensors, and what is borrowed is read-only; use get(), which copies once, or put "
                          "tensor.numpy() and borrow the array")
    else:
        tensor = torch.frombuffer(view, dtype=dtype).reshape(shape)
    if kind is torch.nn.Parameter:
        return torch.nn.Parameter(tensor, requires_grad)
    return tensor.requires_grad_(requires_grad)


cdef tuple codec_parts(object codec):
    if codec is None or codec == "pickle":
        return "pickle", MEMLANE_OBJECT_PICKLE, None, None
    if codec == "bytes":
        return "bytes", MEMLANE_OBJECT_BYTES, None, None
    if codec == "json":
        import json
        return "json", MEMLANE_OBJECT_JSON, json.dumps, json.loads
    if codec == "msgspec":
        try:
            import msgspec
        except ImportError:
            raise ImportError("codec='msgspec' needs msgspec, which is not installed; install it, or use codec='pickle'",
                              name="msgspec") from None
        return "msgspec", MEMLANE_OBJECT_MSGSPEC, msgspec.msgpack.encode, msgspec.msgpack.decode
    if isinstance(codec, str):
        raise ValueError(f"codec must be 'pickle', 'bytes', 'json', 'msgspec' or a pair of functions, got {codec!r}")
    if isinstance(codec, tuple) and len(codec) == 2 and callable(codec[0]) and callable(codec[1]):
        return "functions", MEMLANE_OBJECT_OTHER, codec[0], codec[1]
    raise TypeError("codec must be 'pickle', 'bytes', 'json', 'msgspec' or a pair of functions (encode, decode), got "
                    + _arguments.shown(codec))


cdef Codec codec_of(object codec):
    """The codec that the argument codec= of users names."""
    return Codec(codec)
