# SPDX-License-Identifier: MIT
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.core cimport memlane_kept, memlane_producer, memlane_span, memlane_status
from memlane._core.membership cimport PROBES_A_SLICE, Users
from memlane._core.os cimport memlane_mutex
from memlane._core.ring_state cimport Endpoint, RingState
from memlane._core.runtime cimport memlane_spinning
from memlane._core.waiting cimport Doorbell

cdef struct TellFull:
    # What the text of a Full speaks of.
    int64_t cause
    uint64_t epoch
    uint64_t records
    uint64_t nbytes
    uint64_t views
    int64_t on_loan
    uint32_t tags[PROBES_A_SLICE]


@cython.final
cdef class ProducerRole:
    cdef RingState ring
    cdef memlane_producer producer
    cdef memlane_mutex mutex          # guards `producer` and `claim`
    cdef uint64_t epoch               # in which the lane was leased
    cdef uint32_t tag
    cdef uint32_t lane
    cdef void *claim                  # the open Room, or NULL
    cdef unsigned long claim_thread
    cdef uint32_t stamps_left         # records that `put` stamps before it does so more seldom
    cdef uint64_t next_stamp          # the number of the next one
    cdef uint32_t views               # committed records of which views live; `producer` has the list
    cdef bint departing               # to be given back when the claim and the last view are gone
    cdef list waiting                 # puts that had to wait, in order: a lock each, freed when its turn comes
    cdef uint32_t next_probed         # the lane whose owner is asked for next, while all are taken
    cdef dict preparing               # a lock for each epoch
    cdef Doorbell doorbell
    cdef memlane_spinning spinning
    cdef Users users
    cdef str told                     # the text of the last Full, its attributes, and what it speaks of
    cdef dict told_facts
    cdef TellFull told_of

    cdef int prepare(self, Endpoint handle, uint64_t deadline, bint require_peer) except -1
    cdef int _find_doorbell(self) except -1
    cdef void wake(self, uint32_t times) noexcept
    cdef bint _lease(self, bint is_first_look) except -1
    cdef bint _find_lane(self, bint is_first_look) except -1
    cdef object _refuse_taken(self)
    cdef void depart(self) noexcept
    cdef int check_peers(self, Endpoint handle) except -1
    cdef int put(self, Endpoint handle, object record, object timeout, bint require_peer) except -1
    cdef inline int put_span(self, Endpoint handle, const memlane_span *span, object timeout, bint require_peer) except -1
    cdef object put_many(self, Endpoint handle, object records, object timeout, bint require_peer)
    cdef void stamp_next(self) noexcept
    cdef void stamp_some(self) noexcept nogil
    cdef uint64_t max_record(self) noexcept
    cdef Room reserve(self, Endpoint handle, object nbytes, object timeout, bint require_peer)
    cdef size_t insert(self, Endpoint handle, const memlane_span *spans, size_t count, uint64_t deadline, Room room,
            bint require_peer) except? 0
    cdef int check_room(self, Room room) except -1
    cdef object refuse_full(self, bint is_claimed)
    cdef int tell_full(self, const TellFull *now) except -1
    cdef bint is_robbed(self) noexcept
    cdef bint is_turn_of(self, object ticket) except -1
    cdef int leave_queue(self, object ticket) except -1
    cdef void wake_own(self) noexcept
    cdef void wake_all(self) noexcept
    cdef memlane_status attempt(self, const memlane_span *spans, size_t count, size_t *done, Room room, uint64_t *head,
            bint pinned) noexcept
    cdef memlane_status locked_attempt(self, const memlane_span *spans, size_t count, size_t *done, PyObject *room,
            uint64_t *offset, unsigned long thread) noexcept nogil
    cdef bint may_answer_otherwise(self, bint waits_for_claim, uint64_t head) noexcept nogil


@cython.final
cdef class Room:
    cdef ProducerRole role
    cdef uint64_t offset
    cdef uint64_t nbytes
    cdef Py_ssize_t exports
    cdef bint is_open                 # neither committed nor aborted
    cdef bint is_claimed              # the lane waits for us, or keeps our bytes
    cdef bint is_kept                 # committed, and views live
    cdef memlane_kept kept            # among those of the lane, if so
    cdef list arrays                  # weak references to those made by `array`
    cdef uint64_t pinned
    cdef object __weakref__

    cdef uint64_t *offset_address(self) noexcept
    cdef void begin(self) noexcept
    cdef int end(self) except -1
    cdef int check(self) except -1
    cdef int export_ended(self) except -1
    cdef int copy_in(self, uint64_t at, const Py_buffer *view) except -1
    cdef int freeze(self) except -1
    cdef int commit_bytes(self, object nbytes) except -1
