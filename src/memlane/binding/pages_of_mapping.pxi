# SPDX-License-Identifier: MIT
"""
What can be asked and told about the pages of a mapping as the kernel sees them: where they lie, how large
they are, how they will be used, which are in memory or locked there, and writing private ones back. A base of Mapping and of
nothing else, so that each file can be read in a sitting.
"""

@cython.internal
cdef class PagesOfMapping:
    def advise(self, advice, offset=0, nbytes=None):
        """
        Tell the kernel how the memory will be used, as madvise(2) describes.

        Args:
            advice: "normal", "random", "sequential", "willneed", "dontneed", "free", "remove", "hugepage",
                "nohugepage", "dontfork", "dofork", "dontdump", "dodump", "mergeable", "unmergeable",
                "wipeonfork", "keeponfork", "cold", "pageout", "populate_read", "populate_write",
                "dontneed_locked" or "collapse".
            offset: First byte. "dontneed", "dontneed_locked", "free" and "remove" discard data and so take
                whole pages only.
            nbytes: How many; None is all behind *offset*.

        Raises:
            ValueError: Advice of another name, a range not within the mapping, or not of whole pages.
            OSError: This kernel, or this kind of memory, does not know the advice.

        "remove" and "dontneed" give zeros, or the file's own bytes, in place of what was there; "remove"
        also undoes the reservation. After "dontfork" a forked child finds the mapping closed.
        """
        cdef Mapping mapping = <Mapping?>self
        cdef uint64_t start, length = 0
        cdef int error, number
        if not isinstance(advice, str) or advice not in ADVICE:
            raise ValueError(f"advice must be one of {', '.join(ADVICE)}, got {_arguments.shown(advice)}")
        number = ADVICE[advice]
        mapping.hold()
        try:
            start = mapping._range(offset, nbytes, &length)
            if (number == MADV_DONTNEED or number == MADV_FREE or number == MADV_REMOVE
                    or number == MEMLANE_MADV_DONTNEED_LOCKED):
                # what remove cuts out of the file is gone for everybody: only pages that are all ours
                mapping._require_whole_pages(start, length, f"advise({advice!r})",
                                             number == MADV_REMOVE and not mapping._owns_last_page)
            while length:
                with nogil:
                    error = memlane_advise(mapping.address + start, length, mapping._page_nbytes, number)
                if error == 0:
                    break
                if error != -_EINTR:
                    raise os_error(-error, f"advise {advice!r} for {mapping!r}", mapping.path,
                                   "this kernel or this kind of memory does not take it" if error == -_EINVAL else None)
                PyErr_CheckSignals()
            if number == MADV_DONTFORK and length:
                mapping._kept_from_children = True
                memlane_guard_keep_from_children(mapping._guarded, True)
            elif number == MADV_DOFORK and length == mapping.nbytes:
                mapping._kept_from_children = False
                memlane_guard_keep_from_children(mapping._guarded, False)
        finally:
            mapping.let_go()

    def lock(self, offset=0, nbytes=None, *, on_fault=False):
        """
        Keep pages in memory, so that touching them never waits for the disk, and none of them is swapped out.

        Args:
            offset: First byte, any; whole pages are locked.
            nbytes: How many; None is all behind *offset*.
            on_fault: Lock each page once it has been touched, instead of bringing all in now.

        Raises:
            ValueError: The range is not within the mapping.
            OSError: More than this process may lock (the text says how much that is), or pages that may
                not be read. Some pages may have been locked.

        Locks do not nest: one `unlock` undoes any number. A forked child has none of them.
        """
        cdef Mapping mapping = <Mapping?>self
        cdef uint64_t start, length = 0
        cdef bint gradually = on_fault
        cdef int error = 0
        mapping.hold()
        try:
            start = mapping._range(offset, nbytes, &length)
            if length:
                with nogil:
                    error = memlane_lock(mapping.address + start, length, mapping._page_nbytes, gradually)
            if error:
                raise lock_error(-error, mapping, length, not mapping._allowed(start, length) & PROT_READ)
        finally:
            mapping.let_go()

    def unlock(self, offset=0, nbytes=None):
        """
        Take `lock` back for all pages of the range; ones that were not locked do not matter.

        Raises:
            ValueError: The range is not within the mapping.
        """
        cdef Mapping mapping = <Mapping?>self
        cdef uint64_t start, length = 0
        cdef int error = 0
        mapping.hold()
        try:
            start = mapping._range(offset, nbytes, &length)
            if length:
                with nogil:
                    error = memlane_unlock(mapping.address + start, length, mapping._page_nbytes)
            if error:
                raise os_error(-error, f"unlock {mapping!r}", mapping.path)
        finally:
            mapping.let_go()

    def residency(self, offset=0, nbytes=None):
        """
        Give the fraction of pages that are in memory, from 0.0 to 1.0: demand paging made visible.

        Args:
            offset: First byte, any; whole pages are counted.
            nbytes: How many; None is all behind *offset*.

        Raises:
            ValueError: The range is not within the mapping, or empty.

        For a file it is the page cache that counts, whoever filled it, and without the right to write the file Linux
        says 1.0 (it would tell what others read). The answer may be old before it is read.
        """
        cdef Mapping mapping = <Mapping?>self
        cdef uint64_t start, length = 0, pages = 0, resident = 0
        cdef int error
        mapping.hold()
        try:
            start = mapping._range(offset, nbytes, &length)
            if length == 0:
                raise ValueError("nbytes must be at least 1: an empty range has no pages")
            with nogil:
                error = memlane_residency(mapping.address + start, length, &pages, &resident)
            if error:
                raise os_error(-error, f"ask for the residency of {mapping!r}", mapping.path)
            return resident / <double>pages
        finally:
            mapping.let_go()

    def write_back(self, path=None, offset=0, nbytes=None, *, wait=True):
        """
        Write what this mapping holds to a file on purpose: what "c" (copy on write) else keeps for itself.

        Args:
            path: None is the file that was mapped; else another one, made if there is none, which gets the
                bytes at the place where the mapped file has them.
            offset: First byte of the mapping.
            nbytes: How many; None is all behind *offset*.
            wait: Return when the data is on the disk (fsync).

        Returns:
            How many bytes were written. Blocks (16 KiB) that are the same in the file already are left alone, so
            what others wrote elsewhere in the meantime stays.

        Raises:
            io.UnsupportedOperation: Both an OSError and a ValueError: memory, a device or `from_fd` without *path*.
            FileNotFoundError: The file has another name by now.
            OSError: Writing failed (ENOSPC, EIO, permissions); a part may be written.
            PermissionError: Pages of the range are protected from reading.
            ValueError: The range is not within the mapping.
        """
        cdef Mapping mapping = <Mapping?>self
        cdef uint64_t start, length = 0, written
        cdef str target
        cdef int fd
        cdef file_identity file
        if path is not None:
            path = _arguments.path(path)
        mapping.hold()
        try:
            start = mapping._range(offset, nbytes, &length)
            mapping._require(start, 1, length, PROT_READ)
            if path is None and mapping._full_path is None:
                raise unsupported(f"cannot write {mapping!r} back: it has no file with a path; pass one", mapping.path)
            target = mapping.path if path is None else path
            fd = mapping._reopen("write back to") if path is None else open_file(
                target, _os.O_RDWR | _os.O_CREAT, 0o600, "write back to it")
            identify(fd, &file)
            try:
                if not _stat.S_ISREG(_os.fstat(fd).st_mode):
                    raise unsupported(f"cannot write {mapping!r} back to {target!r}: it is no regular file", target)
                written = write_changed(fd, mapping.address + start, length, mapping._offset + start,
                                        mapping._guarded, target)
                if wait:
                    _os.fsync(fd)
            finally:
                close_own(fd, &file)
            check_whole(mapping)
            return written
        finally:
            mapping.let_go()

    @property
    def huge_pages(self):
        """Whether there are huge pages below it: reserved, or transparent ones where the kernel likes."""
        cdef Mapping mapping = <Mapping?>self
        return mapping.huge_pages_kind is not None

    @property
    def page_nbytes(self):
        """Bytes in a page: PAGE_SIZE, or those of a reserved huge page."""
        cdef Mapping mapping = <Mapping?>self
        return mapping._page_nbytes

    @property
    def guard_pages(self):
        """How many guard pages lie before the first page, and again behind the last."""
        cdef Mapping mapping = <Mapping?>self
        return mapping._guard_nbytes // PAGE_NBYTES

    @property
    def address(self):
        """Where the first byte lies in this process, as an int; for ctypes and for reading /proc/self/maps."""
        cdef Mapping mapping = <Mapping?>self
        cdef size_t first
        mapping.hold()
        first = <size_t>mapping.address
        mapping.let_go()
        return first

    @property
    def guard_ranges(self):
        """Addresses (start, stop) of the guard pages before and behind the mapping; empty without any."""
        cdef Mapping mapping = <Mapping?>self
        cdef size_t first, stop
        if not mapping._guard_nbytes:
            return ()
        mapping.hold()
        first = <size_t>mapping.address - mapping._hidden()
        stop = <size_t>mapping.address + mapping.nbytes + mapping._page_nbytes - 1 & ~(mapping._page_nbytes - 1)
        mapping.let_go()
        return (first - mapping._guard_nbytes, first), (stop, stop + mapping._guard_nbytes)
