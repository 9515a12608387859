# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint64_t

cdef uint64_t PAGE_NBYTES
cdef dict PROTECTIONS
cdef dict ADVICE

cdef enum:
    HUGE_PAGE_SHIFT = 26           # the kernel's MAP_HUGE_SHIFT: where the log2 of a page's size stands
    GUARD_PAGES_MAX = 1 << 20      # 4 GiB on each side; more is a mistake (chosen somewhat arbitrarily)
    NAME_NBYTES_KERNEL = 79        # the kernel's ANON_VMA_NAME_MAX_LEN, less its NUL

cdef int protection_of(object access) except -1
cdef tuple overlaid(tuple old, uint64_t first, uint64_t last, int bits, int usual)


@cython.final
cdef class Options:
    cdef bint populate, locked, huge, fixed
    cdef uint64_t huge_nbytes           # 0: whatever size the kernel has ready
    cdef uint64_t guard_pages
    cdef uint64_t address
    cdef str name
    cdef str protection


cdef Options options_of(populate, locked, huge_pages, guard_pages, name, protection, address, fixed)
cdef uint64_t usual_huge_page_nbytes()
cdef bint may_be_transparent(bint private_memory, uint64_t nbytes)
