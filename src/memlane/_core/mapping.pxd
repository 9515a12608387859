# SPDX-License-Identifier: MIT
cimport cython
from libc.stdint cimport uint64_t

from memlane._core.files cimport file_identity
from memlane._core.mapping_options cimport Options
from memlane._core.os cimport memlane_fork_is, memlane_guard_is_truncated, memlane_guarded

cdef bint finalizing() noexcept


@cython.final
cdef class Mapping:
    cdef unsigned char *address         # the user's first byte; NULL when nothing is mapped
    cdef readonly uint64_t nbytes
    cdef readonly str path
    cdef readonly str access
    cdef readonly str name
    cdef readonly str huge_pages_kind
    cdef uint64_t _page_nbytes
    cdef uint64_t _guard_nbytes         # before the first page, and again behind the last
    cdef bint _is_device
    cdef str _what                      # for people: "memfd 'scratch'"; None: see _source
    cdef int _source_fd
    cdef str _fixed_because             # why it cannot be resized; None if it can
    cdef str _full_path                 # where resize finds the file again, wherever the process went
    cdef file_identity _file            # ... and what it, and the descriptor, must lead to
    cdef uint64_t _offset               # of the first byte in the file
    cdef memlane_guarded *_guarded      # its place in the guard's table
    cdef uint64_t _uses                 # exported buffers + holds + calls under way
    cdef tuple _protected               # ((start, stop, PROT_ bits), ...) from the first page; None: all as usual
    cdef int _protection                # PROT_ bits of all the rest
    cdef int _fd                        # a memfd's, which resize needs; else -1
    cdef uint64_t _born                 # fork epoch in which it was made
    cdef bint _closed
    cdef bint _owns_last_page           # no file goes on behind the last byte
    cdef bint _kept_from_children       # by advise("dontfork")
    cdef bint _is_part                  # of a region, which warns if it is forgotten
    cdef object __weakref__

    cdef int _keep_memfd(self, int fd) except -1
    cdef bint _make_huge_memfd(self, uint64_t nbytes, uint64_t page_nbytes) except -1
    @staticmethod
    cdef Mapping _open(str path, str access, offset, nbytes, int open_flags, int map_flags, Options options, dict remedies=*)
    @staticmethod
    cdef Mapping _create(str path, str access, nbytes, permissions, str name, bint no_reserve, Options options)
    cdef int _map_file(self, int fd, str access, uint64_t start, uint64_t length, int flags, Options options) except -1
    cdef int _map(self, int fd, uint64_t offset, uint64_t nbytes, int flags, Options options) except -1
    cdef int _map_placed(self, int fd, uint64_t offset, uint64_t nbytes, int protection, int flags, Options options,
            unsigned char **address) except 1
    cdef int _finish(self, Options options) except -1
    cdef int _populate(self) except -1
    cdef bint _is_private_memory(self) noexcept
    cdef str _source(self)
    cdef int hold(self) except -1

    @cython.final
    cdef inline int keep(self) except -1:
        """As hold, whatever has become of the bytes."""
        cdef bint refused
        with cython.critical_section(self):
            refused = self._closed or (self._kept_from_children and not memlane_fork_is(self._born))
            if not refused:
                self._uses += 1
        if refused:
            self.refuse_kept()
        return 0

    @cython.final
    cdef inline void let_go(self) noexcept:
        cdef bint last
        with cython.critical_section(self):
            self._uses -= 1
            last = self._closed and self._uses == 0
        if last:
            self._unmap()

    cdef object refuse_kept(self)
    cdef void _unmap(self) noexcept
    cdef inline bint _plainly(self, Py_ssize_t start, Py_ssize_t count, int needed) noexcept
    cdef object _byte(self, item, Py_ssize_t i)
    cdef object _part(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t step)
    cdef int _set_byte(self, item, Py_ssize_t i, unsigned char byte) except -1
    cdef int _set_part(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t step, value) except -1
    cdef Py_ssize_t _search(self, data, start, end, int what) except -2
    cdef int _require_index(self, item, Py_ssize_t index) except -1
    cdef int _require(self, Py_ssize_t start, Py_ssize_t step, Py_ssize_t count, int needed) except -1
    cdef int _resize_file(self, int fd, uint64_t length) except -1
    cdef int _remap(self, uint64_t length) except -1
    cdef int _reopen(self, str doing) except -1
    cdef object _busy(self)
    cdef uint64_t _hidden(self) noexcept
    cdef int _allowed(self, uint64_t start, uint64_t nbytes) noexcept
    cdef uint64_t _range(self, offset, nbytes, uint64_t *length) except? 0
    cdef int _require_whole_pages(self, uint64_t start, uint64_t nbytes, str doing, bint strict) except -1


cdef object truncated_mapping(Mapping mapping)


cdef inline int check_whole(Mapping mapping) except -1:
    """Raise TruncatedError if any access so far has met a page that was missing. After each use of the memory."""
    if memlane_guard_is_truncated(mapping._guarded):
        raise truncated_mapping(mapping)
    return 0


cdef object truncated_error(str name, object path, uint64_t expected, object found)
