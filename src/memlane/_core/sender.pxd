# SPDX-License-Identifier: MIT
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.arguments cimport contiguous
from memlane._core.core cimport (
    memlane_kept, memlane_producer, memlane_span, memlane_status,
)
from memlane._core.lanes cimport Endpoint, LanesState
from memlane._core.loan cimport Loan
from memlane._core.membership cimport Users
from memlane._core.os cimport memlane_mutex
from memlane._core.runtime cimport memlane_spinning
from memlane._core.selecting cimport Watch
from memlane._core.waiting cimport Doorbell, Sleep


cdef inline bint span_of(object record, memlane_span *span, Py_buffer *view, str verb) except -1:
    """Where the bytes of a record are; True: by a view, to be released."""
    if PyBytes_CheckExact(record):
        span.bytes = PyBytes_AS_STRING(record)
        span.nbytes = PyBytes_GET_SIZE(record)
        return False
    contiguous(record, view, PyBUF_SIMPLE, verb)
    span.bytes = view.buf
    span.nbytes = view.len
    return True


@cython.final
cdef class SenderSleep(Sleep):
    cdef Sender role
    cdef Endpoint handle
    cdef bint waits_for_claim         # the last attempt said MEMLANE_BUSY
    cdef uint64_t head                # what that attempt had seen of the receiving side, if it said MEMLANE_FULL
    cdef bint requires_peer           # and is refused when there is none


cdef Watch room_watch(Endpoint handle, Sender role, bint keeps)


cdef class Sender:
    cdef LanesState state
    cdef memlane_producer *producer   # part of what the derived class has
    cdef memlane_mutex mutex          # guards `producer` and `claim`
    cdef uint64_t epoch               # in which the lane was leased
    cdef uint32_t tag
    cdef uint32_t lane
    cdef void *claim                  # the open Reservation, or NULL
    cdef unsigned long claim_thread
    cdef uint32_t views               # committed records of which views live; `producer` has the list
    cdef int refusal                  # of the last call that did not wait any longer. 0: none, 1: no room, 2: a claim
    cdef uint64_t refused_head        # what it had seen of the receiving side
    cdef bint departing               # to be given back when the claim and the last view are gone
    cdef list waiting                 # calls that had to wait, in order: a lock each, freed when its turn comes
    cdef uint32_t next_probed         # the lane whose owner is asked for next, while all are taken
    cdef bint is_bound                # to one lane alone, and while it bears this owner
    cdef uint32_t bound_lane
    cdef uint32_t bound_owner
    cdef dict preparing               # a lock for each epoch
    cdef Doorbell doorbell
    cdef memlane_spinning spinning
    cdef Users users

    # What a ring and a topic do in their own way.
    cdef memlane_status adopt(self) noexcept
    cdef memlane_status insert_spans(self, const memlane_span *spans, size_t count, size_t *done) noexcept nogil
    cdef memlane_status open_claim(self, uint64_t nbytes, uint64_t *offset) noexcept nogil
    cdef memlane_status commit_claim(self, uint64_t offset, uint64_t nbytes) noexcept nogil
    cdef void wake_behind(self, size_t count) noexcept
    cdef bint any_room(self, uint64_t head) noexcept nogil
    cdef bint clear_the_way(self, uint64_t *next_eviction) noexcept
    cdef int check_peers(self, Endpoint handle) except -1
    cdef object refuse_full(self, bint is_claimed)

    @cython.final
    cdef int prepare(self, Endpoint handle, uint64_t deadline, bint require_peer) except -1
    @cython.final
    cdef int find_doorbell(self) except -1
    @cython.final
    cdef bint lease(self, bint is_first_look) except -1
    @cython.final
    cdef bint find_lane(self, bint is_first_look) except -1
    @cython.final
    cdef bint find_bound_lane(self) noexcept
    @cython.final
    cdef object refuse_taken(self)
    @cython.final
    cdef void depart(self) noexcept
    @cython.final
    cdef object insert_many(self, Endpoint handle, object records, object timeout, bint require_peer)
    @cython.final
    cdef Reservation reserve(self, Endpoint handle, object nbytes, object timeout, bint require_peer)
    @cython.final
    cdef ArrayReservation reserve_array(self, Endpoint handle, object shape, object dtype, object timeout, bint require_peer)
    @cython.final
    cdef size_t insert(self, Endpoint handle, const memlane_span *spans, size_t count, uint64_t deadline,
            Reservation reservation, bint require_peer) except? 0
    @cython.final
    cdef int check_reserved(self, Reservation reservation) except -1
    @cython.final
    cdef bint has_lost_lane(self) noexcept
    @cython.final
    cdef bint is_turn_of(self, object ticket) except -1
    @cython.final
    cdef int leave_queue(self, object ticket) except -1
    @cython.final
    cdef void wake_own(self) noexcept
    @cython.final
    cdef void wake_sleepers(self) noexcept
    @cython.final
    cdef void wake(self, uint32_t times) noexcept
    @cython.final
    cdef memlane_status attempt(self, const memlane_span *spans, size_t count, size_t *done, Reservation reservation,
            uint64_t *head, bint pinned) noexcept
    @cython.final
    cdef memlane_status locked_attempt(self, const memlane_span *spans, size_t count, size_t *done, PyObject *reservation,
            uint64_t *offset, unsigned long thread) noexcept nogil
    @cython.final
    cdef bint may_answer_otherwise(self, bint waits_for_claim, uint64_t head) noexcept nogil


@cython.final
cdef class Reservation(Loan):
    cdef Sender role
    cdef uint64_t offset              # of the record in the lane
    cdef bint is_kept                 # committed, and views live
    cdef memlane_kept kept            # among those of the lane, if so
    cdef list arrays                  # weak references to those made by `array`

    cdef int copy_in(self, uint64_t at, const Py_buffer *view) except -1
    cdef int freeze(self) except -1
    cdef int commit_bytes(self, object nbytes) except -1


@cython.final
cdef class ArrayReservation:
    cdef Reservation reservation
    cdef object made                  # the array, until somebody has it
