# SPDX-License-Identifier: MIT
cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport (
    memlane_kept, memlane_publisher, memlane_sight, memlane_span, memlane_status,
)
from memlane._core.membership cimport Users
from memlane._core.os cimport memlane_mutex
from memlane._core.runtime cimport memlane_spinning
from memlane._core.topic_state cimport TopicHandle, TopicState
from memlane._core.waiting cimport Doorbell


@cython.final
cdef class PublisherRole:
    cdef TopicState topic
    cdef memlane_publisher publisher
    cdef memlane_sight *sights        # of each place: what was last seen of those in the way
    cdef memlane_mutex mutex          # guards `publisher` and `claim`
    cdef uint64_t epoch               # in which the lane was leased
    cdef uint32_t tag
    cdef uint32_t lane
    cdef void *claim                  # the open reservation, or NULL
    cdef unsigned long claim_thread
    cdef uint32_t stamps_left         # records that `publish` stamps before it does so more seldom
    cdef uint64_t next_stamp          # the number of the next one
    cdef uint32_t views               # committed records of which views live
    cdef bint departing               # to be given back when the claim and the last view are gone
    cdef list waiting                 # publishes that had to wait, in order: a lock each, freed when its turn comes
    cdef uint32_t next_probed         # the lane whose owner is asked for next, while all are taken
    cdef dict preparing               # a lock for each epoch
    cdef Doorbell doorbell
    cdef memlane_spinning spinning
    cdef Users users

    cdef int prepare(self, TopicHandle handle, uint64_t deadline) except -1
    cdef int find_doorbell(self) except -1
    cdef bint lease(self, bint is_first_look) except -1
    cdef bint find_lane(self, bint is_first_look) except -1
    cdef object refuse_taken(self)
    cdef void depart(self) noexcept
    cdef int publish(self, TopicHandle handle, object record, object timeout) except -1
    cdef inline int publish_span(self, TopicHandle handle, const memlane_span *span, object timeout) except -1
    cdef object publish_many(self, TopicHandle handle, object records, object timeout)
    cdef void stamp_next(self) noexcept
    cdef void stamp_some(self) noexcept nogil
    cdef size_t insert(self, TopicHandle handle, const memlane_span *spans, size_t count, uint64_t deadline,
            TopicReservation room) except? 0
    cdef TopicReservation reserve(self, TopicHandle handle, object nbytes, object timeout)
    cdef bint clear_the_way(self, uint64_t *next_eviction) noexcept
    cdef object refuse_full(self, bint is_claimed)
    cdef list laggards(self, uint64_t now)
    cdef bint is_robbed(self) noexcept
    cdef bint is_turn_of(self, object ticket) except -1
    cdef int leave_queue(self, object ticket) except -1
    cdef void wake_own(self) noexcept
    cdef void wake_sleepers(self) noexcept
    cdef void wake(self, uint32_t times) noexcept
    cdef memlane_status attempt(self, const memlane_span *spans, size_t count, size_t *done, TopicReservation room) noexcept
    cdef memlane_status locked_attempt(self, const memlane_span *spans, size_t count, size_t *done, PyObject *room,
            uint64_t *offset, unsigned long thread) noexcept nogil
    cdef bint may_answer_otherwise(self, bint waits_for_claim) noexcept nogil


@cython.final
cdef class TopicReservation:
    cdef PublisherRole role
    cdef unsigned char *address
    cdef uint64_t offset              # of the record in the lane
    cdef uint64_t stored              # bytes reserved, a number of order="all" included
    cdef uint64_t nbytes
    cdef Py_ssize_t exports
    cdef bint is_open                 # neither committed nor aborted
    cdef bint is_claimed              # the lane waits for us, or keeps our bytes
    cdef bint is_kept                 # committed, and views live
    cdef memlane_kept kept            # among those of the lane, if so
    cdef list arrays                  # weak references to those made by `array`
    cdef uint64_t pinned
    cdef object __weakref__

    cdef void begin(self) noexcept
    cdef int end(self) except -1
    cdef int check(self) except -1
    cdef int export_ended(self) except -1
    cdef int copy_in(self, uint64_t at, const Py_buffer *view) except -1
    cdef int freeze(self) except -1
    cdef int commit_bytes(self, object nbytes) except -1
