# SPDX-License-Identifier: MIT
"""
Queues: what this process knows of one.

QueueState      here: one for all handles of this process
QueueProducer   queue_producer.pyx: what puts, in a lane of its own or by turns in the last one
QueueConsumer   queue_consumer.pyx: what gets, in the order of all lanes
QueueBase       queue.pyx: the handle, with the verbs of multiprocessing.Queue

A queue is a ring of competing consumers (ring_state.pyx) with a number in front of each record (src/core/queue_order.h), whose
lanes get memory as they need it (queue_growth.h).
"""

cimport cython
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_GROWTH_SOFT, MEMLANE_LANES_MAX, MEMLANE_ORDER_NBYTES, MEMLANE_SHUTDOWN_DROP, memlane_doorbells,
    memlane_lane_control, memlane_many, memlane_many_start, memlane_queue_control,
    memlane_queue_lane, memlane_queue_lay_out, memlane_queue_tell_doorbells, memlane_ring_control,
    memlane_ring_leased, memlane_ring_shutdown, memlane_tasks_all_done, memlane_tasks_in_hand,
    memlane_waiters_any, memlane_waiters_any_fenced,
)
from memlane._core.layout cimport tells_of
from memlane._core.membership cimport Membership
from memlane._core.objects cimport codec_of
from memlane._core.os cimport MADV_DONTDUMP, memlane_advise
from memlane._core.ring_state cimport RingState
from memlane._core.runtime cimport (
    MEMLANE_POSTS_MAX, memlane_lane_tidy, memlane_membership_is_dead,
)
from memlane._core.waiting cimport doorbell_of

memlane_calls_join(calls_of_process(), globals())

cdef class QueueState(RingState):
    """What this process knows of one queue."""

    cdef int begin_queue(self, Membership membership, entry) except -1:
        """Know the queue that *entry* of the directory describes. The caller has pinned the region."""
        cdef memlane_doorbells at_once, later
        cdef uint32_t lane
        cdef unsigned char *address = membership.mapping.address + <uint64_t>entry[2]
        nbytes, geometry = entry[3], entry[4]
        self.begin_lanes(membership, entry, "queue", "put", "producer")
        if geometry[0] > MEMLANE_LANES_MAX:
            self.refuse_geometry()
        memlane_queue_tell_doorbells(geometry[0], &at_once, &later)
        if (not memlane_queue_lay_out(&self.queue_shape, geometry[0], geometry[1], geometry[2], geometry[3], geometry[4])
                or self.queue_shape.nbytes != nbytes or not tells_of(entry, &at_once, &later)):
            self.refuse_geometry()
        self.forget_doorbells(entry)
        self.shape = self.queue_shape.lane
        self.queue_control = <memlane_queue_control *>address
        self.control = &self.queue_control.ring
        self.controls = <memlane_lane_control *>(address + sizeof(memlane_queue_control))
        self.growths = <memlane_queue_lane *>(address + self.queue_shape.growth_offset)
        self.consumers = address + self.queue_shape.consumers_offset
        self.hands = address + self.queue_shape.hands_offset
        self.lanes, self.capacity, self.records = self.shape.lanes, self.shape.capacity, self.shape.records
        self.mask = self.shape.descriptors - 1
        self.data, self.data_nbytes = address + self.queue_shape.data_offset, self.shape.data_nbytes
        self.bytes_offset = self.shape.bytes_offset
        self.prefix_nbytes = MEMLANE_ORDER_NBYTES
        self.many = True
        self.soft = MEMLANE_GROWTH_SOFT
        self.codec = codec_of((bytes, bytes) if entry[5] == "functions" else entry[5])
        self.doorbell = doorbell_of(membership, &self.control.doorbell)
        self.putters_doorbell = doorbell_of(membership, &self.queue_control.putters_doorbell)
        self.joiners_doorbell = doorbell_of(membership, &self.queue_control.joiners_doorbell)
        self.views = <memlane_many *>PyMem_Calloc(self.lanes, sizeof(memlane_many))
        if self.views == NULL:
            raise MemoryError()
        for lane in range(self.lanes):
            self.lane_at(lane, &self.views[lane].lane)
            memlane_many_start(&self.views[lane])
        # A dump of this process would otherwise walk over terabytes that have no memory.
        memlane_advise(self.data, self.lanes * self.data_nbytes, 0, MADV_DONTDUMP)
        self.make_bells(0)
        return 0

    def __dealloc__(self):
        PyMem_Free(self.views)

    cdef void wake_putters(self, uint32_t times) noexcept:
        """Puts that wait for a permit, behind a record that was taken or a permit that was returned."""
        if memlane_waiters_any_fenced(&self.queue_control.putters):
            self.putters_doorbell.wake(&self.queue_control.putters, times)

    cdef void wake_joiners(self) noexcept:
        if memlane_waiters_any(&self.queue_control.joiners):
            self.joiners_doorbell.wake(&self.queue_control.joiners, MEMLANE_POSTS_MAX)

    cdef void note_shut_down(self) noexcept:
        self.wake_putters(MEMLANE_POSTS_MAX)
        self.wake_joiners()

    cdef void wake_for_departure(self) noexcept:
        RingState.wake_for_departure(self)
        self.wake_putters(MEMLANE_POSTS_MAX)

    cdef bint tidy(self, uint32_t lane, uint64_t spare) noexcept nogil:
        """Give back what is free in a lane that was leased, if it is so much; whether anything was. The caller has pinned the region."""
        return memlane_lane_tidy(&self.membership.own, &self.views[lane].lane, self.growths + lane, self.bytes_offset, spare) != 0

    cdef int tidy_all(self) except -1:
        """Give back what is free in all lanes. The caller has a tag."""
        cdef uint64_t pinned = self.pin()
        cdef uint32_t lane
        cdef bint any_given = False
        with nogil:
            for lane in range(memlane_ring_leased(self.control, self.lanes)):
                any_given |= self.tidy(lane, 1)
        if any_given:
            self.wake_senders()
        self.unpin(pinned)
        return 0

    cdef bint is_all_done(self) noexcept nogil:
        """Whether every task is done, or dropped. The caller has pinned the region."""
        if memlane_ring_shutdown(self.control) == MEMLANE_SHUTDOWN_DROP:
            return not memlane_tasks_in_hand(self.hands, self.membership.geometry.rows, memlane_membership_is_dead, &self.membership.own)
        return memlane_tasks_all_done(self.queue_control, self.views, self.lanes, self.hands, self.membership.geometry.rows,
                                      memlane_membership_is_dead, &self.membership.own)
