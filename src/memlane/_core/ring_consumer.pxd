# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.core cimport (
    MEMLANE_OWNER_NEVER, MEMLANE_SHUTDOWN_DROP, MEMLANE_STATE_TAKEN, memlane_extent, memlane_found,
    memlane_lane_owner, memlane_ring_leased, memlane_ring_shutdown, memlane_state_kind,
    memlane_state_tag, memlane_status,
)
from memlane._core.membership cimport PROBES_A_SLICE, Users
from memlane._core.lanes cimport Endpoint
from memlane._core.loan cimport RecordLoan
from memlane._core.ring_state cimport RingState
from memlane._core.runtime cimport memlane_spinning

cdef enum:
    TAKE_ONE
    TAKE_MANY
    TAKE_LOAN
    TAKE_INTO

cdef enum:
    # Records looked at in one step of get_many: what fits on the stack.
    STEP_RECORDS = 256
    # At most so many are asked for at a time; arbitrary.
    MOST_RECORDS = 1 << 30
    # Records of a lane that are looked at for who has them in hand, to say so in an error: about a microsecond.
    HELD_LOOKS = 64
    # The same for statistics, of all lanes together: less than a millisecond, without the GIL.
    HELD_LOOKS_FOR_STATS = 1 << 18

cdef enum:
    # From this size on a payload is fetched while the one before it is copied; shorter ones the processor foresees by itself.
    PREFETCH_NBYTES = 256


cdef class ConsumerRole:
    cdef RingState ring
    cdef unsigned char *known         # a lane each. 0: maybe never leased, 1: leased, 2: closed
    cdef uint64_t epoch
    cdef uint32_t tag
    cdef uint32_t current             # the lane to look at first
    cdef int64_t loans
    cdef bint departing               # to be given back when the loans are gone
    cdef bint ending                  # every lane is closed, and we wait for what others have in hand
    cdef dict preparing
    cdef memlane_spinning spinning
    cdef uint64_t outrun_pause_ns     # how long to stay away while others take what comes; 0: they do not
    cdef uint32_t alive_lane          # a producer that lived when it was last asked for; alive_tag 0: none
    cdef uint32_t alive_tag
    cdef uint64_t alive_until_ns      # who polls does not ask again before
    cdef str told                     # the text of an Empty while records are on loan, and what it speaks of
    cdef tuple told_holders
    cdef int64_t told_own
    cdef int64_t told_others
    cdef uint64_t told_epoch
    cdef uint32_t told_tags[PROBES_A_SLICE]
    cdef Users users

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
    cdef void take_back(self, uint32_t lane, uint64_t s) noexcept
    cdef uint64_t next_of(self, uint32_t lane) noexcept nogil
    cdef int64_t held_by_others(self, uint32_t *tags) noexcept
    cdef object loans_in(self, uint32_t lane, uint64_t *steps)
    cdef int64_t holds_from(self, uint32_t lane, uint64_t s, uint64_t end, uint32_t *tags) noexcept
    cdef bint any_in(self, uint32_t lane) noexcept nogil
    cdef bint comes_back(self) noexcept nogil
    cdef bint finish_pass(self) except -1
    cdef bint overlooked_in(self, uint32_t lane) noexcept nogil
    cdef uint64_t taken_by_all(self) noexcept nogil
    cdef memlane_status close_lane(self, uint32_t lane, bint drop) noexcept nogil
    cdef bint is_drained(self) noexcept nogil
    @cython.final
    cdef int prepare(self, Endpoint handle) except -1
    @cython.final
    cdef void loan_ended(self) noexcept
    @cython.final
    cdef void leave(self) noexcept

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
    cdef object take(self, bint is_first=*)
    @cython.final
    cdef int take_many(self, list taken, Py_ssize_t most) except -1
    @cython.final
    cdef Py_ssize_t take_into(self, Py_buffer *view) except -2
    @cython.final
    cdef Record take_loan(self, bint is_first=*)
    @cython.final
    cdef Record lend_more(self)

    @cython.final
    cdef inline bint is_redelivered(self, const memlane_found *found) noexcept nogil:
        """Whether a record that was found was in the hand of one who has died."""
        return (self.ring.many and memlane_state_kind(found.state) == MEMLANE_STATE_TAKEN
                and memlane_state_tag(found.state) != 0)

    @cython.final
    cdef object take_as(self, int how, Py_ssize_t most, Py_buffer *view)
    @cython.final
    cdef object get(self, Endpoint handle, object timeout, bint require_peer)
    @cython.final
    cdef object get_now(self, Endpoint handle)
    @cython.final
    cdef object get_many(self, Endpoint handle, Py_ssize_t most, object timeout, bint require_peer)
    @cython.final
    cdef object obtain(self, Endpoint handle, int how, Py_ssize_t most, Py_buffer *view, object timeout, bint require_peer)
    @cython.final
    cdef object extract(self, Endpoint handle, int how, Py_ssize_t most, Py_buffer *view, uint64_t deadline,
            bint require_peer)
    @cython.final
    cdef bint comes_soon(self, int wait) noexcept nogil
    @cython.final
    cdef bint any_record(self) noexcept nogil
    @cython.final
    cdef int close_lanes(self) except -1
    @cython.final
    cdef object refuse_gone(self)
    @cython.final
    cdef object refuse_empty(self, bint has_waited)
    @cython.final
    cdef int tell_loans(self, int64_t own, int64_t others, const uint32_t *tags) except -1
    @cython.final
    cdef bint nobody_is_left(self, bint has_waited) except -1
    @cython.final
    cdef int check_sound(self) except -1


@cython.final
cdef class Record(RecordLoan):
    cdef ConsumerRole role
    cdef uint32_t lane
    cdef uint64_t s
    cdef readonly bint redelivered
