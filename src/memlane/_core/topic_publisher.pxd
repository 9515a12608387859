# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint64_t

from memlane._core.core cimport memlane_publisher, memlane_sight, memlane_span
from memlane._core.lanes cimport Endpoint
from memlane._core.sender cimport Sender


@cython.final
cdef class PublisherRole(Sender):
    cdef memlane_publisher own
    cdef memlane_sight *sights        # of each place: what was last seen of those in the way

    cdef int publish(self, Endpoint handle, object record, object timeout) except -1
    cdef inline int publish_span(self, Endpoint handle, const memlane_span *span, object timeout) except -1
    cdef tuple laggards(self, uint64_t now)
