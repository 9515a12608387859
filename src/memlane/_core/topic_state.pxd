# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport (
    memlane_armed_collect, memlane_place, memlane_place_of, memlane_topic, memlane_topic_armed,
    memlane_topic_shape, memlane_waiters_any,
)
from memlane._core.lanes cimport LanesState
from memlane._core.membership cimport Membership
from memlane._core.runtime cimport memlane_selecting_wake


cdef class TopicState(LanesState):
    cdef memlane_topic_shape shape
    cdef memlane_topic topic          # the same for src/core
    cdef bint ordered                 # order="all"
    cdef uint32_t armed_words

    cdef int begin_topic(self, Membership membership, entry) except -1

    @cython.final
    cdef inline memlane_place *place(self, uint32_t index) noexcept nogil:
        return memlane_place_of(&self.topic, index)

    @cython.final
    cdef inline void wake_subscribers(self) noexcept:
        """All that sleep, behind a commit. Runs no Python."""
        cdef uint32_t word
        cdef uint64_t armed
        for word in range(self.armed_words):
            armed = memlane_armed_collect(memlane_topic_armed(&self.topic, 64 * word))
            if armed:
                self.post(64 * word, armed)
        if memlane_waiters_any(&self.control.waiters):
            memlane_selecting_wake(&self.membership.own, &self.control.waiters)

    cdef void post(self, uint32_t first, uint64_t armed) noexcept
    cdef bint close_lanes(self) noexcept
    cdef bint evict_dead(self, uint32_t index, uint64_t holder) noexcept
    cdef str name_of(self, uint32_t tag)
