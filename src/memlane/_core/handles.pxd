# SPDX-License-Identifier: MIT
cimport cython

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
