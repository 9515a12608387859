# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint64_t

from memlane._core.loan cimport Loan


cdef class Encoded:
    cdef uint64_t nbytes              # of the whole record

    cdef void write(self, unsigned char *to) noexcept nogil


@cython.final
cdef class Buffers(Encoded):
    cdef bytes stream
    cdef const char *stream_bytes
    cdef uint64_t stream_nbytes
    cdef Py_buffer *views             # of the PickleBuffers
    cdef Py_ssize_t count, room

    cdef void forget(self) noexcept
    cdef int finish(self, bytes stream) except -1
    cdef uint64_t head_nbytes(self) noexcept nogil


cdef class Codec:
    cdef str name                     # "pickle", "bytes", "json", "msgspec" or "functions"
    cdef unsigned char form           # the first byte of its records
    cdef object dump, load            # its functions
    cdef Buffers spare                # to be filled by the next pickle

    # The record of an object: bytes, which are all of it, or an Encoded, which writes it where it is to lie. Runs Python.
    @cython.final
    cdef object encode(self, object thing)

    # A private copy of a record, in memory that stays in place meanwhile and is not trusted: bytes or a Block. Runs no Python,
    # and raises nothing but MemoryError. Large ones are copied without the GIL.
    @cython.final
    cdef object copy_out(self, const unsigned char *record, uint64_t nbytes)

    # The object of a record that was copied out, or of the whole record as bytes. Runs Python.
    @cython.final
    cdef object decode(self, object copied)

    # The object of a record on loan: its buffers lie in the record, read-only, and each is a view of the loan.
    @cython.final
    cdef object decode_loan(self, Loan loan)

    @cython.final
    cdef object encode_pickle(self, object thing)
    @cython.final
    cdef object encode_other(self, object thing)
    @cython.final
    cdef object load_pickle(self, object stream, list buffers)
    @cython.final
    cdef object load_other(self, object stream)
    @cython.final
    cdef object refuse_form(self, int form)


@cython.final
@cython.no_gc
cdef class Block:
    cdef unsigned char *memory
    cdef uint64_t room                # of the memory, in bytes
    cdef unsigned char *record        # in it
    cdef uint64_t nbytes


cdef Codec codec_of(object codec)
