# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport (
    MEMLANE_OWNER_CLOSED, MEMLANE_OWNER_NEVER, memlane_extent, memlane_lane_owner, memlane_order_front, memlane_place,
    memlane_status, memlane_subscriber,
)
from memlane._core.lanes cimport Endpoint
from memlane._core.os cimport memlane_mutex
from memlane._core.receiver cimport Receiver, RecordLoan
from memlane._core.topic_state cimport TopicState
from memlane._core.waiting cimport Doorbell, Sleep

cdef struct memlane_next:
    # A record that was found.
    uint64_t s
    uint64_t number                   # of order="all"
    memlane_extent extent


@cython.final
cdef class Subscription(Receiver):
    cdef TopicState topic             # the same as `state`
    cdef uint32_t count               # of lanes; here, since the state may be gone before this
    cdef memlane_subscriber *lanes    # a private state for each
    cdef memlane_order_front *fronts  # of order="all"
    cdef memlane_mutex mutex          # guards `lanes` and `departing`
    cdef uint32_t index               # of the place
    cdef memlane_place *place         # NULL: none
    cdef uint64_t holder              # the word of the place while it is ours
    cdef bint is_over                 # evicted, and told so
    cdef object start                 # as it was asked for
    cdef bint waited_for              # when_full="wait"
    cdef uint64_t evict_after_ns
    cdef bint raises_on_loss
    cdef uint64_t untold              # lost, and not raised yet
    cdef uint32_t sleepers            # threads that sleep at the doorbell: one at the most
    cdef uint64_t silent_since        # when it first found nothing; 0: it has found something since
    cdef Doorbell doorbell

    cdef int ask_for(self, object start, bint waited_for, uint64_t evict_after_ns, bint raises_on_loss) except -1
    cdef bint take_place(self) noexcept
    cdef bint take_found(self, uint32_t index, uint64_t found) noexcept
    cdef object refuse_place(self)
    cdef int start_lanes(self) except -1
    cdef uint64_t settle_lanes(self) noexcept nogil
    cdef int seek_number(self, uint64_t number) except -1
    cdef void seek_last(self) noexcept nogil
    cdef void give_place(self) noexcept
    cdef void leave_place(self) noexcept
    cdef object refuse_left(self)
    cdef object refuse_over(self)
    cdef object refuse(self, memlane_status status)

    @cython.final
    cdef inline bint is_leased(self, uint32_t lane) noexcept nogil:
        """Whether the memory of a lane may be touched."""
        cdef uint32_t owner
        if self.known[lane]:
            return True
        owner = memlane_lane_owner(self.topic.lane_control(lane))
        if owner == MEMLANE_OWNER_NEVER or owner == MEMLANE_OWNER_CLOSED:
            return False  # one is closed only if it was never leased
        self.known[lane] = 1
        return True

    cdef int find(self, memlane_next *found) except -2
    cdef int find_first(self, memlane_next *found) except -2
    cdef int catch_up(self, uint32_t lane) except -1
    cdef int tell_loss(self) except -1
    cdef memlane_status copy_out(self, uint32_t lane, memlane_next *found, const memlane_extent *extents, size_t count,
            char **to) except *
    cdef inline memlane_status locked_copy(self, uint32_t lane, memlane_next *found, const memlane_extent *extents,
            size_t count, char **to, bint *crossed) noexcept nogil
    cdef inline memlane_status locked_look(self, uint32_t lane, memlane_next *found) noexcept nogil
    cdef bint step(self, uint32_t lane, memlane_status status) except -1
    cdef int begin(self, Endpoint handle) except -1
    cdef int sleep_once(self, SubscriberSleep sleep) except -1
    cdef bint has_ended(self) noexcept
    cdef void note_moved(self) noexcept nogil


@cython.final
cdef class TopicRecord(RecordLoan):
    cdef uint64_t number

    cdef bint is_overwritten(self) noexcept


@cython.final
cdef class SubscriberSleep(Sleep):
    cdef Subscription role
    cdef Endpoint handle


cdef list last_records(TopicState state, uint64_t most)
