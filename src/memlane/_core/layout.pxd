# SPDX-License-Identifier: MIT
from libc.stdint cimport uint64_t

from memlane._core.core cimport memlane_doorbells, memlane_entry


cdef inline uint64_t pages_up(uint64_t offset, uint64_t page_nbytes) noexcept:
    return (offset + page_nbytes - 1) // page_nbytes * page_nbytes


cdef inline uint64_t pages_down(uint64_t offset, uint64_t page_nbytes) noexcept:
    return offset // page_nbytes * page_nbytes


cdef object places_of(const memlane_doorbells *told, uint64_t object_offset)
cdef int tell_doorbells(memlane_entry *entry, tuple doorbells, bytes name, uint64_t nbytes) except -1
cdef bint tells_of(entry, const memlane_doorbells *at_once, const memlane_doorbells *later) except -1
cdef tuple told_of(const memlane_doorbells *at_once, const memlane_doorbells *later)
