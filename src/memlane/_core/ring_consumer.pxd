# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.core cimport (
    MEMLANE_OWNER_NEVER, MEMLANE_SHUTDOWN_DROP, MEMLANE_STATE_TAKEN, memlane_extent, memlane_found,
    memlane_lane_owner, memlane_ring_leased, memlane_ring_shutdown, memlane_state_kind,
    memlane_state_tag, memlane_status,
)
from memlane._core.membership cimport PROBES_A_SLICE
from memlane._core.receiver cimport Receiver, RecordLoan
from memlane._core.ring_state cimport RingState

cdef enum:
    # Records of a lane whose holders are looked for, to name them in an error: about a microsecond.
    HELD_LOOKS = 64
    # The same for statistics, of all lanes together: less than a millisecond, without the GIL.
    HELD_LOOKS_FOR_STATS = 1 << 18

cdef enum:
    # From this size on a payload is fetched while the one before it is copied; shorter ones the processor foresees by itself.
    PREFETCH_NBYTES = 256


cdef class ConsumerRole(Receiver):
    cdef RingState ring               # the same as `state`
    cdef bint ending                  # every lane is closed, and we wait for what others have in hand
    cdef uint64_t starved_pause_ns     # how long to back off while others take what comes; 0: they do not
    cdef uint32_t alive_lane          # a producer that lived when it was last asked for; alive_tag 0: none
    cdef uint32_t alive_tag
    cdef uint64_t alive_until_ns      # a call that polls does not ask again before
    cdef str told                     # the text of an Empty while records are on loan, and what it speaks of
    cdef tuple told_holders
    cdef int64_t told_own
    cdef int64_t told_others
    cdef uint64_t told_epoch
    cdef uint32_t told_tags[PROBES_A_SLICE]

    cdef int take_role(self) except -1
    cdef void depart(self) noexcept
    cdef int find(self, memlane_found *found) except -2
    cdef size_t find_more(self, uint32_t lane, const memlane_found *found, size_t most, uint64_t most_nbytes,
            memlane_extent *extents) noexcept
    cdef Py_ssize_t copy_out(self, uint32_t lane, memlane_found *found, const memlane_extent *extents, size_t count,
            char **to) except -1
    cdef Py_ssize_t copy_one(self, uint32_t lane, memlane_found *found, char *to) except -1
    cdef bint lend(self, uint32_t lane, memlane_found *found) except -1
    cdef int hand_back(self, uint32_t lane, uint64_t s) except -1
    cdef int64_t held_by_others(self, uint32_t *tags) noexcept
    cdef object loans_in(self, uint32_t lane, uint64_t *steps)
    cdef int64_t holds_from(self, uint32_t lane, uint64_t s, uint64_t end, uint32_t *tags) noexcept
    cdef bint any_in(self, uint32_t lane) noexcept nogil
    cdef bint comes_back(self) noexcept nogil
    cdef bint finish_pass(self) except -1
    cdef uint64_t taken_by_all(self) noexcept nogil
    cdef memlane_status close_lane(self, uint32_t lane, bint drop) noexcept nogil
    cdef bint is_drained(self) noexcept nogil

    @cython.final
    cdef inline bint is_leased(self, uint32_t lane) noexcept nogil:
        """Whether the memory of a lane may be touched."""
        if self.known[lane]:
            return True
        if memlane_lane_owner(self.ring.lane_control(lane)) == MEMLANE_OWNER_NEVER:
            return False
        self.known[lane] = 1
        return True

    @cython.final
    cdef inline uint32_t lanes_to_walk(self) noexcept nogil:
        """
        How many lanes to look at; 0 where all is dropped. At the end all lanes count: a `leased` that is too
        small must not hide what close_lanes waits for.
        """
        cdef uint32_t leased = memlane_ring_leased(self.ring.control, self.ring.shape.lanes)
        cdef uint32_t shutdown = memlane_ring_shutdown(self.ring.control)
        if shutdown == 0:
            return leased
        return 0 if shutdown == MEMLANE_SHUTDOWN_DROP else <uint32_t>self.ring.shape.lanes

    @cython.final
    cdef inline bint is_redelivered(self, const memlane_found *found) noexcept nogil:
        """Whether a record that was found was in the hand of one who has died."""
        return (self.ring.many and memlane_state_kind(found.state) == MEMLANE_STATE_TAKEN
                and memlane_state_tag(found.state) != 0)

    @cython.final
    cdef int close_lanes(self) except -1
    @cython.final
    cdef object refuse_empty(self, bint has_waited)
    @cython.final
    cdef int tell_loans(self, int64_t own, int64_t others, const uint32_t *tags) except -1
    @cython.final
    cdef bint nobody_is_left(self, bint has_waited) except -1


@cython.final
cdef class Record(RecordLoan):
    cdef readonly bint redelivered
