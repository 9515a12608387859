# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.arguments cimport check_timeout, deadline_of
from memlane._core.lanes cimport Endpoint, LanesState
from memlane._core.loan cimport Loan
from memlane._core.membership cimport Users
from memlane._core.os cimport memlane_fork_is
from memlane._core.runtime cimport memlane_spinning
from memlane._core.selecting cimport Watch

cdef enum:
    TAKE_ONE
    TAKE_MANY
    TAKE_LOAN
    TAKE_INTO
    TAKE_NOTHING                      # but the role

cdef enum:
    # Records looked at in one step of get_many: what fits on the stack.
    STEP_RECORDS = 256
    # At most so many are asked for at a time; arbitrary.
    MOST_RECORDS = 1 << 30
    # A batch ends before its bytes come to more than this. A caller holds this batch and the one before: beyond some pages
    # that is no longer memory that was just given back. Twice this is less than the 128 KiB that the C library gives back to
    # the system, whose pages the next batch would have to fault in again.
    BATCH_NBYTES = 49152
    # Each time that the end is put off, a commit or another receiver got on, and of commits that passed the flag there is
    # one a lane. So many tries more than there are lanes are those of bytes that nobody sound writes.
    END_TRIES = 1000


cdef class Receiver:
    cdef LanesState state
    cdef unsigned char *known         # a lane each. 0: maybe never leased, 1: leased, 2: closed
    cdef uint64_t epoch               # in which the role was taken
    cdef uint32_t tag
    cdef uint32_t current             # the lane to look at first
    cdef int64_t loans
    cdef bint departing               # to be given back when the loans are gone
    cdef dict preparing
    cdef memlane_spinning spinning
    cdef Users users

    # What a ring's consumer and a topic's subscription do in their own way.
    cdef object take(self, bint is_first=*)
    cdef int take_many(self, list taken, Py_ssize_t most) except -1
    cdef Py_ssize_t take_into(self, Py_buffer *view) except -2
    cdef RecordLoan take_loan(self, bint is_first=*)
    cdef object extract(self, Endpoint handle, int how, Py_ssize_t most, Py_buffer *view, uint64_t deadline,
            bint require_peer)
    cdef bint look(self, Endpoint handle) except -1
    cdef void take_back(self, uint32_t lane, uint64_t s) noexcept
    cdef void leave(self) noexcept
    cdef bint any_record(self) noexcept nogil
    cdef bint is_overtaken(self) noexcept nogil
    cdef bint knows_leased(self, uint32_t lane) noexcept nogil
    cdef uint64_t next_of(self, uint32_t lane) noexcept nogil
    cdef bint overlooked_in(self, uint32_t lane) noexcept nogil
    cdef int join(self) except -1

    @cython.final
    cdef int prepare(self, Endpoint handle) except -1
    @cython.final
    cdef void loan_ended(self) noexcept
    @cython.final
    cdef object take_as(self, int how, Py_ssize_t most, Py_buffer *view)
    @cython.final
    cdef RecordLoan lend_more(self)

    @cython.final
    cdef inline object get(self, Endpoint handle, object timeout, bint require_peer):
        check_timeout(timeout)  # first: it may run Python, which may close the object
        if handle.receives == self.epoch and memlane_fork_is(self.epoch):
            if self.state.is_gone():
                self.state.refuse_gone()
            record = self.take()
            if record is None and (timeout is None or timeout) and self.comes_soon(handle.wait):
                record = self.take()
            if record is not None:
                return record
        return self.extract(handle, TAKE_ONE, 1, NULL, deadline_of(timeout), require_peer)

    @cython.final
    cdef object get_now(self, Endpoint handle)
    @cython.final
    cdef object get_many(self, Endpoint handle, Py_ssize_t most, object timeout, bint require_peer)
    @cython.final
    cdef object obtain(self, Endpoint handle, int how, Py_ssize_t most, Py_buffer *view, object timeout, bint require_peer)
    @cython.final
    cdef bint comes_soon(self, int wait) noexcept nogil
    @cython.final
    cdef object refuse_unsent(self)
    @cython.final
    cdef int check_sound(self) except -1


cdef Watch record_watch(Endpoint handle, Receiver role, bint keeps)


@cython.no_gc
cdef class RecordLoan(Loan):
    cdef Receiver role
    cdef uint32_t lane
    cdef uint64_t s


@cython.final
cdef class Loans:
    cdef list records


# An empty list with room for what a batch is likely to get; new bytes in it, not filled yet, and where to fill them in, which
# runs no Python: neither bytes nor the room of a list are the collector's business; and the first ones kept, without asking for
# memory as a slice would.
cdef extern from *:
    """
    /* More pointers are no small object for Python's allocator. */
    #define MEMLANE_BATCH_ROOM 64

    static PyObject *memlane_new_batch(Py_ssize_t most)
    {
        PyObject *batch = PyList_New(most < MEMLANE_BATCH_ROOM ? most : MEMLANE_BATCH_ROOM);
        if (batch != NULL) Py_SET_SIZE(batch, 0);
        return batch;
    }

    static char *memlane_add_to_batch(PyObject *batch, Py_ssize_t nbytes)
    {
        PyObject *record = PyBytes_FromStringAndSize(NULL, nbytes);
        if (record == NULL) return NULL;
        Py_ssize_t size = Py_SIZE(batch);
        if (size < ((PyListObject *)batch)->allocated) {
            PyList_SET_ITEM(batch, size, record);
            Py_SET_SIZE(batch, size + 1);
        } else {
            int failed = PyList_Append(batch, record);
            Py_DECREF(record);
            if (failed) return NULL;
        }
        return PyBytes_AS_STRING(record);
    }

    static void memlane_cut_batch(PyObject *batch, Py_ssize_t size)
    {
        while (Py_SIZE(batch) > size) {
            Py_ssize_t last = Py_SIZE(batch) - 1;
            PyObject *record = PyList_GET_ITEM(batch, last);
            PyList_SET_ITEM(batch, last, NULL);
            Py_SET_SIZE(batch, last);
            Py_DECREF(record);
        }
    }
    """
    list new_batch "memlane_new_batch"(Py_ssize_t most)
    char *add_to_batch "memlane_add_to_batch"(list batch, Py_ssize_t nbytes) except NULL
    void cut_batch "memlane_cut_batch"(list batch, Py_ssize_t size)
