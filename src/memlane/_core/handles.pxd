# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint32_t, uint64_t

from memlane._core.lanes cimport Endpoint
from memlane._core.receiver cimport Receiver
from memlane._core.sender cimport Sender


cdef class LaneHandle(Endpoint):
    cdef Sender sending               # None: it does not send
    cdef Receiver receiving           # None: it does not receive

    @cython.final
    cdef object number_for_room(self)

    @cython.final
    cdef inline Receiver receiving_of(self):
        if self._closed:
            self.check()
        self.state.membership.check_whole()
        return self.receiving


cdef class Receiving(LaneHandle):
    pass


@cython.final
cdef class Records:
    cdef LaneHandle handle
    cdef object until                 # None: for no process
    cdef object timeout
    cdef bint require_peer
    cdef bint is_over
    cdef uint32_t given               # since the processes were last asked for
    cdef uint64_t *ends               # when all processes have ended: up to which record of each lane they have put

    @staticmethod
    cdef Records over(LaneHandle handle, object until, bint require_peer, object timeout)
    cdef object next_until(self, Receiver role)
    cdef int note_ends(self, Receiver role) except -1
    cdef bint is_past_ends(self, Receiver role) except -1
