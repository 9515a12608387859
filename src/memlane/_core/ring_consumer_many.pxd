# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport memlane_extent, memlane_found, memlane_many
from memlane._core.membership cimport PROBES_A_SLICE
from memlane._core.ring_consumer cimport ConsumerRole
from memlane._core.ring_state cimport RingState


cdef class ManyConsumers(ConsumerRole):
    cdef memlane_many *lanes
    cdef uint64_t next_look_ns        # when the dead are looked for while other lanes are busy
    cdef uint64_t next_pass_ns        # when a new pass over all lanes begins, if nothing makes it begin earlier
    cdef bint is_through              # the pass over all lanes: everybody who holds something was asked for
    cdef uint32_t pass_lane           # where the next look goes on with the pass
    cdef bint has_asked_enough        # the last look asked for as many holders as it may
    cdef uint32_t living[PROBES_A_SLICE]  # tags that were alive when they were last asked for
    cdef uint32_t lived               # how many were, ever: the newest are kept
    cdef uint64_t handed_back         # as it was when the pass began

    @cython.final
    cdef int find_in_dead_hand(self, uint32_t leased, memlane_found *found) except -2
    @cython.final
    cdef void begin_pass(self, uint32_t leased) noexcept
    @cython.final
    cdef int walk_on(self, uint32_t leased, const uint32_t *living, uint32_t lived) noexcept nogil
    @cython.final
    cdef bint has_met(self, uint32_t tag) noexcept
    @cython.final
    cdef bint any_died(self) noexcept
    @cython.final
    cdef size_t claim(self, uint32_t lane, memlane_found *found, size_t count) noexcept nogil
    @cython.final
    cdef Py_ssize_t copy_records(self, uint32_t lane, memlane_found *found, const memlane_extent *extents, size_t count,
            char **to) except -1
    @cython.final
    cdef Py_ssize_t claim_and_copy(self, uint32_t lane, memlane_found *found, const memlane_extent *extents, size_t count,
            char **to, bint *crossed) noexcept nogil
    @cython.final
    cdef void note_lent(self) noexcept
    cdef void note_freed(self, uint32_t lane, bint crossed) noexcept


cdef ConsumerRole many_consumers(RingState ring)
