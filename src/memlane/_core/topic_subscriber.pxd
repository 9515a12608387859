# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.core cimport (
    MEMLANE_OWNER_CLOSED, MEMLANE_OWNER_NEVER, memlane_extent, memlane_lane_owner, memlane_order_front, memlane_place,
    memlane_status, memlane_subscriber,
)
from memlane._core.loan cimport RecordLoan
from memlane._core.os cimport memlane_mutex
from memlane._core.runtime cimport memlane_spinning
from memlane._core.topic_state cimport TopicState
from memlane._core.waiting cimport Doorbell, Sleep

cdef struct memlane_next:
    # A record that was found.
    uint64_t s
    uint64_t number                   # of order="all"
    memlane_extent extent


@cython.final
cdef class Subscriber:
    cdef object __weakref__
    cdef TopicState state
    cdef readonly object topic
    cdef uint32_t count               # of lanes; here, since the state may be gone before this
    cdef memlane_subscriber *lanes    # a private state for each
    cdef memlane_order_front *fronts  # of order="all"
    cdef unsigned char *known         # a lane each. 0: maybe never leased, 1: leased, 2: ended
    cdef memlane_mutex mutex          # guards `lanes` and `departing`
    cdef uint64_t epoch               # in which it was joined
    cdef uint64_t opens               # epoch in which it was counted among the users of the TopicState
    cdef uint32_t tag
    cdef uint32_t current             # the lane to look at first
    cdef uint32_t index               # of the place
    cdef memlane_place *place         # NULL: none
    cdef uint64_t holder              # the word of the place while it is ours
    cdef int64_t loans
    cdef bint departing               # the place is to be given back when the loans are gone
    cdef bint is_over                 # evicted, and told so
    cdef bint _closed
    cdef object start                 # as it was asked for
    cdef bint waited_for              # when_full="wait"
    cdef uint64_t evict_after_ns
    cdef bint raises_on_loss
    cdef uint64_t untold              # lost, and not raised yet
    cdef uint32_t sleepers            # threads that sleep at the doorbell: one at the most
    cdef uint64_t silent_since        # when it first found nothing; 0: it has found something since
    cdef int wait
    cdef dict preparing
    cdef Doorbell doorbell
    cdef memlane_spinning spinning

    cdef int check(self) except -1
    cdef int lead_to(self, TopicState state, object topic, object start, bint waited_for, uint64_t evict_after_ns,
            bint raises_on_loss, int wait) except -1
    cdef int prepare(self) except -1
    cdef int join(self) except -1
    cdef bint take_place(self) noexcept
    cdef object refuse_place(self)
    cdef int start_lanes(self) except -1
    cdef uint64_t settle_lanes(self) noexcept nogil
    cdef int seek_number(self, uint64_t number) except -1
    cdef void seek_last(self) noexcept nogil
    cdef void give_place(self) noexcept
    cdef void leave(self) noexcept
    cdef void detach(self) noexcept
    cdef void loan_ended(self) noexcept
    cdef object refuse(self, memlane_status status)

    @cython.final
    cdef inline bint is_leased(self, uint32_t lane) noexcept nogil:
        """Whether the memory of a lane may be touched."""
        cdef uint32_t owner
        if self.known[lane]:
            return True
        owner = memlane_lane_owner(self.state.lane_control(lane))
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
    cdef object take(self)
    cdef int take_many(self, list taken, Py_ssize_t most) except -1
    cdef Py_ssize_t take_into(self, Py_buffer *view) except -2
    cdef TopicRecord take_loan(self)
    cdef void take_back(self, uint32_t lane, uint64_t s) noexcept
    cdef object take_as(self, int how, Py_ssize_t most, Py_buffer *view)
    cdef int begin(self) except -1
    cdef object obtain(self, int how, Py_ssize_t most, Py_buffer *view, object timeout)
    cdef object extract(self, int how, Py_ssize_t most, Py_buffer *view, uint64_t deadline)
    cdef int sleep_once(self, SubscriberSleep sleep) except -1
    cdef bint comes_soon(self) noexcept nogil
    cdef bint any_record(self) noexcept nogil
    cdef bint has_ended(self) noexcept
    cdef void note_moved(self) noexcept nogil
    cdef int check_sound(self) except -1


@cython.final
cdef class TopicRecord(RecordLoan):
    cdef Subscriber subscriber
    cdef uint32_t lane
    cdef uint64_t s
    cdef uint64_t number

    cdef bint is_overwritten(self) noexcept


@cython.final
cdef class SubscriberSleep(Sleep):
    cdef Subscriber subscriber


cdef list last_records(TopicState state, object topic, uint64_t most, int wait)
