# SPDX-License-Identifier: MIT
from libc.stdint cimport uint64_t

cdef str SHARED_MEMORY_DIRECTORY
cdef object os_error(int error, str doing, object path=*, str remedy=*, str why=*)
cdef object unsupported(str text, object path)
cdef object free_memory()
cdef object reserve_error(int error, object path, uint64_t nbytes)
cdef object lock_error(int error, object mapping, uint64_t nbytes, bint unreadable)
cdef object map_error(int error, str doing, str path, int fd, str access, bint is_device)
