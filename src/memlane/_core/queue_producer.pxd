# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport memlane_queue_sender, memlane_span, memlane_wanted
from memlane._core.lanes cimport Endpoint
from memlane._core.membership cimport Users
from memlane._core.os cimport memlane_mutex
from memlane._core.queue_state cimport QueueState
from memlane._core.runtime cimport memlane_spinning
from memlane._core.selecting cimport Watch
from memlane._core.waiting cimport Doorbell, Sleep


cdef struct memlane_puts:
    # Records to be put: spans, or where one has no address the Encoded at the same place.
    const memlane_span *spans
    void **encoded
    size_t count, done


@cython.final
cdef class PutSleep(Sleep):
    cdef QueueProducer role
    cdef Endpoint handle
    cdef int cause                    # what the last attempt lacked
    cdef bint requires_peer


@cython.final
cdef class QueueProducer:
    cdef QueueState state
    cdef memlane_queue_sender own
    cdef memlane_mutex mutex          # guards `own`, and what the last step left below
    cdef uint64_t epoch               # in which the lane was leased, or the last one chosen
    cdef uint32_t tag
    cdef uint32_t lane
    cdef bint by_turns                # every other lane is taken: the last one is leased for each put
    cdef bint departing
    cdef uint32_t turns
    cdef uint32_t turn_owner          # whom the last turn has met
    cdef uint32_t next_probed
    cdef uint64_t allowance           # bytes that may be reserved before the limit of memory is looked at
    cdef uint64_t needed              # ... which the last step wanted
    cdef int error                    # of reserving
    cdef bint has_returned            # the last step has returned permits
    cdef int refusal                  # of the last call that did not wait any longer; 0: none
    cdef dict preparing               # a lock for each epoch
    cdef Doorbell doorbell
    cdef memlane_spinning spinning
    cdef Users users

    cdef int prepare(self, Endpoint handle) except -1
    cdef int lease(self) except -1
    cdef int find_lane(self) except -1
    cdef void set_up(self) noexcept nogil
    cdef void depart(self) noexcept
    cdef int step(self, memlane_puts *puts, size_t *done) noexcept nogil
    cdef int begin_turn(self) noexcept nogil
    cdef int reserve(self, const memlane_wanted *wanted) noexcept nogil
    cdef int look_at_limit(self) except -1
    cdef int attempt(self, memlane_puts *puts, size_t *done) noexcept
    cdef int put_one(self, Endpoint handle, object record, uint64_t deadline, bint require_peer) except -1
    cdef size_t put_list(self, Endpoint handle, list records, uint64_t deadline, bint require_peer) except? 0
    cdef size_t insert(self, Endpoint handle, memlane_puts *puts, uint64_t deadline, bint require_peer) except? 0
    cdef bint may_answer_otherwise(self, int cause) noexcept nogil
    cdef int check_peers(self, Endpoint handle) except -1
    cdef void wake_behind(self, size_t count) noexcept
    cdef object refuse_full(self, int cause)


cdef Watch put_watch(Endpoint handle, QueueProducer role, bint keeps)
