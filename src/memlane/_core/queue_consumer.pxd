# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport memlane_found, memlane_queue_pass
from memlane._core.queue_state cimport QueueState
from memlane._core.ring_consumer_many cimport ManyConsumers


@cython.final
cdef class QueueConsumer(ManyConsumers):
    cdef QueueState queue             # the same as `state`
    cdef memlane_queue_pass passing   # over what was handed back
    cdef bint has_few_steps           # the last look at that came to no end
    cdef uint64_t *freed              # bytes of each lane since memory was given back
    cdef uint64_t *freed_records      # as many of them
    cdef uint64_t given_ns            # when memory was given back last
    cdef uint32_t looks               # since the dead were looked for
    cdef bint is_tidy                 # nothing was got since all that is free was given back
    cdef uint64_t got_nbytes          # in all
    cdef uint64_t drained_nbytes      # of them before a lane was empty last
    cdef uint64_t empty_ns            # since when there is nothing to get; 0: there was something

    cdef int adjusted(self, uint32_t lane, memlane_found *found) except -2
    cdef int find_unsettled(self, memlane_found *found) except -2
    cdef int claim_one(self, uint32_t lane, memlane_found *found) noexcept nogil
    cdef object take_found(self, uint32_t lane, memlane_found *found, uint64_t pinned)
    cdef void note_object(self, uint32_t lane, uint64_t nbytes) noexcept
    cdef uint64_t spare_of(self, uint32_t lane, uint64_t occupied) noexcept
    cdef void note_empty(self) noexcept


cdef QueueConsumer queue_consumer(QueueState state)
