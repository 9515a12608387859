# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint64_t

from memlane._core.os cimport memlane_guarded

# What a descriptor led to when it was ours for certain. The number alone says nothing later: daemons close all that they
# find (os.closerange), and the next file that anybody opens gets the number.
cdef struct file_identity:
    uint64_t device
    uint64_t inode

cdef enum:
    # Reserving looks for signals after this many bytes, so that Ctrl-C does not wait for a whole disk, or for a machine whose
    # memory comes slowly: a fresh virtual one may take half a millisecond for a page.
    RESERVE_NBYTES_A_TURN = 16 << 20

cdef int identify(int fd, file_identity *file) except -1
cdef int require_still(int fd, const file_identity *file, object what) except -1
cdef void close_own(int fd, const file_identity *file) noexcept


@cython.final
cdef class Descriptor:
    cdef readonly int number          # -1: closed, or handed over
    cdef file_identity file

    cdef int detach(self) noexcept


cdef int reserve_file(int fd, uint64_t offset, uint64_t nbytes, object path) except -1
cdef int require_room(int fd, uint64_t nbytes, object path) except -1
cdef int require_limit(uint64_t nbytes, object path) except -1
cdef int open_file(object path, int flags, int mode, str doing, dict remedies=*) except -1
cdef object remove_own(str path, const file_identity *made)
cdef uint64_t write_changed(int fd, const unsigned char *source, uint64_t nbytes, uint64_t offset,
                            const memlane_guarded *guarded, str path) except? 0

cdef int make_memfd(str name, unsigned int flags) except -1
cdef int lengthen_file(int fd, uint64_t nbytes, str path) except -1
