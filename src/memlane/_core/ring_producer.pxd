# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport int64_t, uint32_t, uint64_t

from memlane._core.core cimport memlane_producer, memlane_span
from memlane._core.lanes cimport Endpoint
from memlane._core.membership cimport PROBES_A_SLICE
from memlane._core.sender cimport Sender

cdef struct TellFull:
    # What the text of a Full speaks of.
    int64_t cause
    uint64_t epoch
    uint64_t records
    uint64_t nbytes
    uint64_t views
    int64_t on_loan
    uint32_t tags[PROBES_A_SLICE]


@cython.final
cdef class ProducerRole(Sender):
    cdef memlane_producer own
    cdef str told                     # the text of the last Full, its attributes, and what it speaks of
    cdef dict told_facts
    cdef TellFull told_of

    cdef int put(self, Endpoint handle, object record, object timeout, bint require_peer) except -1
    cdef inline int put_span(self, Endpoint handle, const memlane_span *span, object timeout, bint require_peer) except -1
    cdef int tell_full(self, const TellFull *now) except -1
