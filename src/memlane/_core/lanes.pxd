# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.core cimport (
    memlane_descriptor, memlane_lane, memlane_lane_control, memlane_ring_control, memlane_status,
)
from memlane._core.membership cimport Membership
from memlane._core.opened cimport Opened
from memlane._core.os cimport memlane_guarded
from memlane._core.runtime cimport memlane_bell
from memlane._core.selecting cimport Pollable


cdef class LanesState(Opened):
    cdef memlane_guarded *guarded     # that of the region
    cdef memlane_ring_control *control
    cdef memlane_lane_control *controls  # of the lanes
    cdef uint64_t data_offset         # of the data of lane 0, in the object
    cdef unsigned char *data
    cdef uint64_t data_nbytes         # of one lane
    cdef uint64_t bytes_offset        # of a lane's bytes, in its data
    cdef uint64_t capacity, records, mask
    cdef uint32_t lanes
    cdef bint many                    # consumers
    cdef uint32_t prefix_nbytes       # in front of each payload
    cdef memlane_bell *bells          # of the lanes, to wake their senders, and of whatever is behind them
    cdef uint32_t bell_count
    cdef str word, verb, sender_word  # for error texts: "ring", "put", "producer"

    cdef int begin_lanes(self, Membership membership, entry, str word, str verb, str sender_word) except -1
    cdef int make_bells(self, uint32_t further) except -1
    @cython.final
    cdef object refuse_geometry(self)

    @cython.final
    cdef inline memlane_lane_control *lane_control(self, uint32_t lane) noexcept nogil:
        return self.controls + lane

    @cython.final
    cdef inline void lane_at(self, uint32_t lane, memlane_lane *view) noexcept nogil:
        cdef unsigned char *data = self.data + lane * self.data_nbytes
        view.control = self.controls + lane
        view.descriptors = <memlane_descriptor *>data
        view.bytes = data + self.bytes_offset
        view.capacity = self.capacity
        view.records = self.records
        view.mask = self.mask
        view.many = self.many

    @cython.final
    cdef uint64_t max_record(self) noexcept
    @cython.final
    cdef void wake_sender(self, uint32_t lane, uint32_t times) noexcept
    @cython.final
    cdef void wake_senders(self) noexcept
    cdef void wake_receivers(self, uint32_t times) noexcept
    @cython.final
    cdef int wake_all(self) except -1
    @cython.final
    cdef object refuse(self, memlane_status status, uint64_t nbytes)
    cdef str empty_text(self)
    @cython.final
    cdef tuple traffic(self, list positions)
    @cython.final
    cdef bint senders_are_gone(self) noexcept
    cdef bint receivers_are_gone(self, bint asks_for_all) except -1
    cdef bint receiver_has_left(self) noexcept nogil
    cdef object refuse_unread(self)
    @cython.final
    cdef object shut_down(self, bint immediate, Endpoint handle)
    cdef void note_shut_down(self) noexcept


cdef class Endpoint:
    cdef LanesState state
    cdef bint _closed
    cdef uint64_t sends               # epoch in which it was counted among the users of a Sender
    cdef uint64_t receives            # ... of a receiver
    cdef uint64_t opens               # ... of the state, if it may write there
    cdef int wait
    cdef bint require_peer            # of every call
    cdef Pollable readable            # what fileno() gave for records; None: nobody has asked
    cdef Pollable writable            # ... for room

    cdef int bind(self, LanesState state, object wait, bint require_peer) except -1
    cdef int check(self) except -1

    @cython.final
    cdef inline LanesState state_of(self):
        if self._closed:
            self.check()
        self.state.membership.check_whole()
        return self.state

    @cython.final
    cdef LanesState state_there(self)
    @cython.final
    cdef int require_still_open(self) except -1
    cdef void detach(self) noexcept
    cdef void give_roles_back(self) noexcept
