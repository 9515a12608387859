# SPDX-License-Identifier: MIT
"""
Mapping: one mapped range of memory, and what can be done with it.

A mapping counts its uses: exported buffers, holds of the library's own objects, and calls under way.
Closing only refuses new ones; the memory goes with the last. The count, the closed mark and the
protections change in critical sections of the mapping, in which nothing waits and no Python code runs.
Short copies are made inside one, and need no count.

Beside each mapping stands a mark of the SIGBUS guard (src/os/guard.h), looked at before and after it is used.
"""

cimport cython
from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_ND, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_Release,
)
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize, PyBytes_GET_SIZE,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.slice cimport PySlice_AdjustIndices, PySlice_Unpack
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memcpy, memmove, memset

import errno as _errno
import os as _os
import stat as _stat
import sys as _sys

import memlane._arguments as _arguments
from memlane.errors import ClosedError, TruncatedError

from memlane._core.arguments cimport (
    bounds_of, byte_of, contiguous, descriptor_of, index_of, size_of,
)
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.files cimport (
    RESERVE_NBYTES_A_TURN, close_own, file_identity, identify, lengthen_file, make_memfd, open_file, remove_own,
    require_room, require_still, reserve_file, write_changed,
)
from memlane._core.mapping_options cimport (
    ADVICE, HUGE_PAGE_SHIFT, Options, PAGE_NBYTES, PROTECTIONS, may_be_transparent, options_of,
    overlaid, protection_of, usual_huge_page_nbytes,
)
from memlane._core.os cimport (
    MADV_DOFORK, MADV_DONTFORK, MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_REMOVE, MAP_ANONYMOUS,
    MAP_HUGETLB, MAP_NORESERVE, MAP_POPULATE, MAP_PRIVATE, MAP_SHARED, MEMLANE_MADV_DONTNEED_LOCKED,
    MS_ASYNC, MS_INVALIDATE, MS_SYNC, PROT_EXEC, PROT_READ, PROT_WRITE, S_IFBLK, S_IFCHR, S_IFDIR,
    S_IFREG, _EACCES, _EEXIST, _EFAULT, _EINTR, _EINVAL, _ENOMEM, _EPERM, close_descriptor,
    memlane_advise, memlane_copy_to_new, memlane_file, memlane_fork_epoch, memlane_fork_is,
    memlane_fork_setup, memlane_guard_allow, memlane_guard_begin_move, memlane_guard_come_on_top,
    memlane_guard_end_move, memlane_guard_forget, memlane_guard_is_truncated,
    memlane_guard_keep_from_children, memlane_guard_setup, memlane_guard_switch,
    memlane_guard_watch, memlane_is_file, memlane_lock, memlane_look_at, memlane_map,
    memlane_mapping_place, memlane_name, memlane_populate, memlane_populate_for_reading, memlane_protect, memlane_remap,
    memlane_residency, memlane_sync, memlane_unguarded, memlane_unlock, memlane_unmap, memmem,
    memrchr,
)
from memlane._core.os_errors cimport (
    SHARED_MEMORY_DIRECTORY, lock_error, map_error, os_error, unsupported,
)

memlane_calls_join(calls_of_process(), globals())

# A name, for a signature shows a number in decimal.
PERMISSIONS = _arguments.PERMISSIONS

cdef extern from "Python.h":
    int PyErr_ResourceWarning(object source, Py_ssize_t stack_level, const char *text, ...) except -1

cdef int _setup = memlane_fork_setup()
if _setup == -_EINVAL:
    raise ImportError(
        f"memlane needs MADV_WIPEONFORK, which Linux has from 4.14 on; this kernel, {_os.uname().release}, refuses it "
        "(EINVAL): run it on a newer kernel")
if _setup:
    raise os_error(-_setup, "prepare for forks")
_setup = memlane_guard_setup()
if _setup:
    raise os_error(-_setup, "prepare the guard for forks")

# kept here, for a module's names are gone when the last mappings die
cdef object is_finalizing = _sys.is_finalizing


cdef bint finalizing() noexcept:
    return is_finalizing is None or is_finalizing()


def guard(on=True, /):
    """
    Turn the SIGBUS guard on or off for this process; it is on from the start.

    While it is on, a page that its file does not have any more (somebody cut the file off, a hole met a full
    disk, the disk failed) reads as zeros instead of ending the process by SIGBUS, whatever code touches it; the
    next call of this library on the mapping, and one under way, raises TruncatedError. What is written to such a
    page is lost. It also has guard pages say which mapping they belong to before they end the process. Children
    inherit it by fork.

    The handler is installed with the first mapping that has a file below it. All signals that are not for it go to the
    handler that was there before: one of the `signal` module, faulthandler's, any of C. One that is installed
    afterwards gets the signal first: `guard(True)` puts ours on top again, as each new view and each region that is
    opened does, and a new mapping once in a few milliseconds. A thread that blocks SIGBUS is not helped.

    Args:
        on: The new state.

    Returns:
        The old one.
    """
    return memlane_guard_switch(bool(on))


# Copies and searches of this many bytes let other threads run; below it giving the GIL away and taking
# it back costs more than the copy (chosen somewhat arbitrarily, at some 50 microseconds of copying).
cdef enum:
    LONG_COPY_NBYTES = 1 << 20

# Up to here a copy is made inside the critical section of its mapping: it takes no longer than the two more that
# a hold would need. Longer ones by several threads without the GIL shall not wait for each other.
cdef enum:
    SHORT_COPY_NBYTES = 16 << 10

# the kernel's: a file name of 255 bytes, less its own "memfd:"
cdef enum:
    MEMFD_NAME_NBYTES_MAX = 249

cdef enum:
    SEARCH_FIRST
    SEARCH_LAST
    SEARCH_COUNT

cdef tuple SEARCHES = ("find", "rfind", "count")


cdef Py_ssize_t search(const unsigned char *inside, Py_ssize_t nbytes, const unsigned char *sought,
                       Py_ssize_t sought_nbytes, int what) noexcept nogil:
    """The index of the first or last place, or -1; or the number of places that do not overlap, as bytes has it."""
    cdef const unsigned char *found
    cdef Py_ssize_t i, count = 0, candidates = nbytes - sought_nbytes + 1
    if what == SEARCH_FIRST:
        found = <const unsigned char *>memmem(inside, nbytes, sought, sought_nbytes)
        return -1 if found == NULL else found - inside
    if sought_nbytes == 0:
        return nbytes if what == SEARCH_LAST else nbytes + 1
    if what == SEARCH_LAST:
        while candidates > 0:
            found = <const unsigned char *>memrchr(inside, sought[0], candidates)
            if found == NULL:
                return -1
            if memcmp(found, sought, sought_nbytes) == 0:
                return found - inside
            candidates = found - inside
        return -1
    if sought_nbytes == 1:
        # compilers make vectors of this; a call for each place would cost more than the bytes between them
        for i in range(nbytes):
            count += inside[i] == sought[0]
        return count
    i = 0
    while True:
        found = <const unsigned char *>memmem(inside + i, nbytes - i, sought, sought_nbytes)
        if found == NULL:
            return count
        count += 1
        i = found - inside + sought_nbytes


@cython.final
cdef class Mapping:
    """
    A range of mapped memory: all that mmap(2) can do, behind the buffer protocol.

    Made by `anonymous`, `memfd`, `open`, `create`, `shm` or `from_fd`, never by calling the class.
    Slices are copies; `memoryview(mapping)` and `numpy.frombuffer(mapping, dtype)` are views, which keep
    the memory mapped for as long as they live, also when the mapping is closed before. Any thread may
    use a mapping; two that write the same bytes mix them. It crosses fork and cannot be pickled.

    After `close` every use raises ClosedError; only these still answer:

    Every way of making one takes these as well, by keyword:

    Options:
        populate: Bring all pages into memory now instead of at first touch.
        locked: Keep all pages in memory (see `lock`); OSError if the limit does not allow it.
        huge_pages: True, or the size of one: use reserved huge pages; where there are none, transparent
            ones; where there are none either, ordinary pages. `huge_pages` and `page_nbytes` tell.
        guard_pages: How many pages before the first and behind the last page end the process by SIGSEGV when
            touched; `guard_ranges` tells where. What follows the last byte on its own page is not guarded.
        name: For /proc/self/maps where the kernel can (memory without a file; Linux 5.17 with
            CONFIG_ANON_VMA_NAME), for `repr` and errors everywhere; at most 79 bytes.
        protection: As by `protect` right after mapping. File systems mounted noexec refuse "x": PermissionError.
        address: Where the first byte should lie; a hint unless *fixed*.
        fixed: There or nowhere, FileExistsError if something is mapped there: nothing is ever replaced.
            ValueError if the kernel's pages cannot begin so.
        no_reserve: Do not count the memory before it is touched (MAP_NORESERVE); what is made new (`memfd`, `create`)
            gets its length without room behind it, so that touching it without any is a SIGBUS.

    Attributes:
        nbytes: Length in bytes.
        path: Path of the file as it was given; None for memory and for `from_fd`.
        access: "r", "r+" or "c" (copy on write).
        name: As it was given; None without.
        closed: Whether this process has closed it.
        huge_pages: Whether there are huge pages below, or the kernel was told to use transparent ones and may.
        huge_pages_kind: "reserved", "transparent" or None.
        page_nbytes: Bytes in a page, of which offsets of `protect` are multiples: PAGE_SIZE, or that of a reserved huge page.
        guard_pages: How many on each side.
    """

    def __cinit__(self, *args, **kwargs):
        self._fd = -1
        self._guarded = &memlane_unguarded
        self._page_nbytes = PAGE_NBYTES
        self._closed = True  # until something is mapped
        self._fixed_because = "nothing is mapped"

    def __init__(self, *args, **kwargs):
        raise TypeError(
            "a Mapping is made by Mapping.anonymous, memfd, open, create, shm or from_fd, not by calling the class"
        )

    # ---- making -----------------------------------------------------------------------------------

    @staticmethod
    def anonymous(nbytes, *, private=False, no_reserve=False, populate=False, locked=False, huge_pages=False,
                  guard_pages=0, name=None, protection=None, address=None, fixed=False):
        """
        Map memory without a file, filled with zeros.

        Args:
            nbytes: Length, in bytes or as text like "64 MiB"; at least 1.
            private: After a fork each process has its own copy; the default is one memory for all.
            (the others): Options of the class.

        Raises:
            ValueError: *nbytes* is 0, negative or no size, or an option is out of range.
            OSError: There is no room for it in memory or address space.

        Pages come into being when they are touched. Shared memory cannot be resized, private can.
        """
        cdef Mapping self = Mapping.__new__(Mapping)
        cdef Options options = options_of(populate, locked, huge_pages, guard_pages, name, protection, address, fixed)
        self.access = "r+"
        self._what = "private memory" if private else "shared memory"
        self._fixed_because = None if private else (
            "the kernel would make the mapping longer but not the shared memory below it, so that touching the "
            "new part kills the process; use Mapping.memfd, which grows"
        )
        self._owns_last_page = True
        self._map(-1, 0, size_of(nbytes, "nbytes", 1),
                  MAP_ANONYMOUS | (MAP_PRIVATE if private else MAP_SHARED) | (MAP_NORESERVE if no_reserve else 0),
                  options)
        return self

    @staticmethod
    def memfd(nbytes, *, name="memlane", no_reserve=False, populate=False, locked=False, huge_pages=False,
              guard_pages=0, protection=None, address=None, fixed=False):
        """
        Map a memory file without a name in any directory, filled with zeros and reserved at once.

        Args:
            nbytes: Length, in bytes or as text like "64 MiB"; at least 1.
            name: For people who read /proc/PID/maps; need not be unique, at most 249 bytes.
            (the others): Options of the class.

        Raises:
            ValueError: *nbytes* is 0, negative or no size, or an option is out of range.
            OSError: There is no room; `need` and `free` say how much.

        It crosses fork. One descriptor of it stays open, close-on-exec, until `close`: `resize` needs it.
        """
        cdef Mapping self = Mapping.__new__(Mapping)
        cdef uint64_t length = size_of(nbytes, "nbytes", 1)
        cdef int fd
        cdef Options options = options_of(populate, locked, huge_pages, guard_pages, None, protection, address, fixed)
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, got {_arguments.shown(name)}")
        if "\0" in name or _arguments.encoded_nbytes(name, "name") > MEMFD_NAME_NBYTES_MAX:
            raise ValueError(f"name must have at most {MEMFD_NAME_NBYTES_MAX} bytes and no NUL, got {_arguments.shown(name)}")
        self.access = "r+"
        self.name = name
        self._what = f"memfd {name!r}"
        self._fixed_because = None
        self._owns_last_page = True
        try:
            if options is None or not options.huge or not self._make_huge_memfd(length, options.huge_nbytes):
                self._keep_memfd(make_memfd(name, 0))
                if no_reserve:
                    lengthen_file(self._fd, length, None)
                else:
                    require_room(self._fd, length, None)
                    reserve_file(self._fd, 0, length, None)
            self._map(self._fd, 0, length, MAP_SHARED | (MAP_NORESERVE if no_reserve else 0), options)
        except BaseException:
            fd, self._fd = self._fd, -1
            close_own(fd, &self._file)
            raise
        return self

    cdef int _keep_memfd(self, int fd) except -1:
        """Keep a new descriptor, and what it leads to."""
        identify(fd, &self._file)
        self._fd = fd
        return 0

    cdef bint _make_huge_memfd(self, uint64_t nbytes, uint64_t page_nbytes) except -1:
        """Make the memfd of reserved huge pages, if there are enough of them."""
        cdef uint64_t shift = page_nbytes.bit_length() - 1 if page_nbytes else 0
        try:
            self._keep_memfd(make_memfd(self.name, 0x0004 | (shift << HUGE_PAGE_SHIFT)))  # MFD_HUGETLB
            self._page_nbytes = _os.fstat(self._fd).st_blksize
            reserve_file(self._fd, 0, (nbytes + self._page_nbytes - 1) // self._page_nbytes * self._page_nbytes, None)
        except OSError:
            self._page_nbytes = PAGE_NBYTES
            close_own(self._fd, &self._file)
            self._fd = -1
            return False
        self.huge_pages_kind = "reserved"
        return True

    @staticmethod
    def open(path, access="r", *, offset=0, nbytes=None, sync=False, no_reserve=False, populate=False, locked=False,
             huge_pages=False, guard_pages=0, name=None, protection=None, address=None, fixed=False):
        """
        Map an existing file or device.

        Args:
            path: A path (not a name of shared memory: see `shm`).
            access: "r" reads, "r+" reads and writes the file, "c" writes a private copy of the pages.
            offset: First byte, in bytes or as text; any number.
            nbytes: Length; None maps to the end of the file. A device without an end needs it.
            sync: Open with O_SYNC, which makes /dev/mem map without caching.
            (the others): Options of the class.

        Raises:
            FileNotFoundError, PermissionError, IsADirectoryError: As from `open`.
            io.UnsupportedOperation: Both an OSError and a ValueError: the file is empty, or ends before
                the last byte asked for.
            OSError: It cannot be mapped (a pipe, a socket), or there is no room.
            ValueError: An argument is no size or no access.

        The descriptor is closed before this returns. The file is not reserved: touching a hole of a
        sparse file on a full disk, or what somebody cut off after the mapping was made, is a SIGBUS.
        """
        cdef int flags
        protection_of(access)
        if isinstance(path, int):
            raise TypeError(f"path must be a str, bytes or os.PathLike, got {_arguments.shown(path)}; for a descriptor use "
                            "from_fd")
        where = _arguments.path(path)
        flags = _os.O_RDWR if access == "r+" else _os.O_RDONLY
        return Mapping._open(
            where, access, offset, nbytes, flags | (_os.O_SYNC if sync else 0), MAP_NORESERVE if no_reserve else 0,
            options_of(populate, locked, huge_pages, guard_pages, name, protection, address, fixed))

    @staticmethod
    def create(path, nbytes, *, permissions=PERMISSIONS, no_reserve=False, populate=False, locked=False, huge_pages=False,
               guard_pages=0, name=None, protection=None, address=None, fixed=False):
        """
        Make a new file of zeros, reserve its room on the disk, and map it "r+".

        Args:
            path: Where; nothing of that name may exist.
            nbytes: Length, in bytes or as text like "1 MiB"; at least 1.
            permissions: File permission bits, set whatever the umask.
            (the others): Options of the class.

        Raises:
            FileExistsError: The name is taken.
            OSError: There is no room (`need`, `free` and `mount` say more), or the file system cannot
                reserve any, or the directory cannot be written. The file is removed again.
            ValueError: An argument is out of range.

        `close` leaves the file; `os.unlink` removes it.
        """
        return Mapping._create(
            _arguments.path(path), "r+", nbytes, permissions, None, no_reserve,
            options_of(populate, locked, huge_pages, guard_pages, name, protection, address, fixed))

    @staticmethod
    def shm(name, access=None, *, create=None, permissions=PERMISSIONS, no_reserve=False, populate=False, locked=False,
            huge_pages=False, guard_pages=0, protection=None, address=None, fixed=False):
        """
        Map POSIX shared memory, as shm_open(3) and `multiprocessing.shared_memory` name it.

        Args:
            name: Without a slash.
            access: "r", "r+" or "c"; None is "r" for an existing one and "r+" for a new one.
            create: Length of a new one, which must not exist; None opens an existing one whole.
            permissions: Permission bits of a new one, set whatever the umask.
            (the others): Options of the class.

        Raises:
            FileNotFoundError: There is none of that name.
            FileExistsError: *create* was given and there is one.
            OSError: There is no room in /dev/shm: `need`, `free` and `mount` say more. Nothing stays behind.
            ValueError: *name* is no name, or an argument is out of range.

        `close` leaves the name; `os.unlink(mapping.path)` removes it.
        """
        if access is None:
            access = "r" if create is None else "r+"
        cdef Mapping made
        cdef Options options = options_of(populate, locked, huge_pages, guard_pages, None, protection, address, fixed)
        protection_of(access)
        path = f"{SHARED_MEMORY_DIRECTORY}/{_arguments.name(name, "name", False)}"
        if create is not None:
            made = Mapping._create(path, access, create, permissions, name, no_reserve, options)
        else:
            made = Mapping._open(path, access, 0, None, _os.O_NOFOLLOW | (_os.O_RDWR if access == "r+" else _os.O_RDONLY),
                                 MAP_NORESERVE if no_reserve else 0, options,
                                 {_errno.ENOENT: "pass create=nbytes to make it"})
        made.name = name
        return made

    @staticmethod
    def from_fd(fd, access="r", *, offset=0, nbytes=None, no_reserve=False, populate=False, locked=False,
                huge_pages=False, guard_pages=0, name=None, protection=None, address=None, fixed=False):
        """
        Map what a descriptor refers to; the descriptor stays yours and may be closed afterwards.

        Args:
            fd: A descriptor, or an object with `fileno()`.
            access: "r", "r+" or "c"; the descriptor must be open for it (reading always).
            offset: First byte, in bytes or as text; any number.
            nbytes: Length; None maps to the end of the file. A device without an end needs it.
            (the others): Options of the class.

        Raises:
            PermissionError: The descriptor is not open for *access*.
            io.UnsupportedOperation: Both an OSError and a ValueError: the file is empty, or ends before
                the last byte asked for.
            OSError: It is not open, cannot be mapped (a pipe, a socket), or there is no room.
            ValueError: An argument is no size or no access.

        Nothing is reserved. It cannot be resized: no descriptor is kept.
        """
        cdef Mapping self = Mapping.__new__(Mapping)
        protection_of(access)
        cdef Options options = options_of(populate, locked, huge_pages, guard_pages, name, protection, address, fixed)
        cdef uint64_t start = size_of(offset, "offset", 0)
        cdef uint64_t length = 0 if nbytes is None else size_of(nbytes, "nbytes", 1)
        # the last thing that runs Python: what it gives is used at once
        self._map_file(descriptor_of(fd), access, start, length, MAP_NORESERVE if no_reserve else 0, options)
        return self

    @staticmethod
    cdef Mapping _open(str path, str access, offset, nbytes, int open_flags, int map_flags, Options options,
                       dict remedies=None):
        cdef Mapping self = Mapping.__new__(Mapping)
        # converted before there is a descriptor: these may run Python
        cdef uint64_t start = size_of(offset, "offset", 0)
        cdef uint64_t length = 0 if nbytes is None else size_of(nbytes, "nbytes", 1)
        cdef int fd = open_file(path, open_flags, 0, "open it", remedies)
        try:
            self.path = path
            self._map_file(fd, access, start, length, map_flags, options)
        finally:
            close_descriptor(fd)
        return self

    @staticmethod
    cdef Mapping _create(str path, str access, nbytes, permissions, str name, bint no_reserve, Options options):
        cdef Mapping self = Mapping.__new__(Mapping)
        cdef uint64_t length = size_of(nbytes, "nbytes" if name is None else "create", 1)
        cdef file_identity file
        bits = _arguments.permissions(permissions)
        # other users get at it, if at all, only when its room is reserved
        fd = open_file(path, _os.O_RDWR | _os.O_CREAT | _os.O_EXCL | _os.O_NOFOLLOW, 0o600, "create it", {
            _errno.ENOENT: "make its directory first",
            _errno.EACCES: "choose a directory that this user may write",
            _errno.EROFS: "choose a directory on another one",
        })
        identify(fd, &file)
        try:
            try:
                if no_reserve:
                    lengthen_file(fd, length, path)
                else:
                    require_room(fd, length, path)
                    reserve_file(fd, 0, length, path)
                _os.fchmod(fd, bits)
                self.path = path
                self._map_file(fd, access, 0, length, MAP_NORESERVE if no_reserve else 0, options)
            except BaseException:
                remove_own(path, &file)
                raise
        finally:
            close_own(fd, &file)
        return self

    cdef int _map_file(self, int fd, str access, uint64_t start, uint64_t length, int flags, Options options) except -1:
        """
        Map a descriptor's file after looking at what it is: the kernel would take a length that is not there. A *length* of
        0 is to the end of the file.
        """
        cdef bint to_the_end = length == 0
        cdef memlane_file found
        cdef bint regular
        cdef int error
        self._source_fd = fd
        with nogil:
            error = memlane_look_at(fd, &found)
        if error:
            raise os_error(-error, f"map {self._source()}", self.path)
        regular = found.mode == S_IFREG
        if regular:
            if found.nbytes == 0:
                raise unsupported("cannot map an empty file: give it a length first, or make it with Mapping.create "
                                  "(what /proc shows is read, not mapped)", self.path)
        elif found.mode == S_IFDIR:
            raise os_error(_errno.EISDIR, f"map {self._source()}", self.path)
        elif found.mode != S_IFCHR and found.mode != S_IFBLK:
            raise os_error(_errno.ENODEV, f"map {self._source()}", self.path)
        elif to_the_end and found.mode == S_IFCHR:
            raise ValueError(f"{self._source()} is a device without an end: say how much to map with nbytes")
        if found.mode != S_IFCHR:
            if to_the_end:
                length = found.nbytes - start if start < found.nbytes else 1
            if start + length > found.nbytes:
                raise unsupported(
                    f"cannot map {length} bytes from offset {start} of a file of {found.nbytes} bytes: "
                    "ask for less, or make the file longer first",
                    self.path,
                )
        self._fixed_because = (
            "a device has the length it has" if not regular
            else f"access {access!r} does not change the file; map it with 'r+'" if access != "r+"
            else "no descriptor of it was kept; use os.ftruncate on yours and map it again" if self.path is None
            else None
        )
        if regular and self.path is not None:
            self._full_path = self.path if self.path.startswith("/") else _os.path.abspath(self.path)
            self._file.device, self._file.inode = found.device, found.inode
        if found.page_nbytes != PAGE_NBYTES:
            self._page_nbytes = found.page_nbytes
            self.huge_pages_kind = "reserved"
        self.access = access
        self._is_device = found.mode == S_IFCHR
        self._offset = start
        self._map(fd, start % PAGE_NBYTES if found.is_zero_device else start, length, flags | (MAP_PRIVATE if access == "c" else MAP_SHARED), options)
        return 0

    cdef int _map(self, int fd, uint64_t offset, uint64_t nbytes, int flags, Options options) except -1:
        cdef unsigned char *address = NULL
        cdef int protection = protection_of(self.access)
        cdef int error
        if options is None:
            # with the GIL: nothing is read or written yet, and giving it away would cost as much as the call
            error = memlane_map(fd, offset, nbytes, protection, flags, NULL, &address)
        else:
            error = self._map_placed(fd, offset, nbytes, protection, flags, options, &address)
        if error:
            doing = f"map {nbytes} bytes of {self._source()} for access {self.access!r}"
            if error == -_EEXIST:
                raise OSError(_errno.EEXIST, f"cannot {doing}: something is mapped at {options.address:#x} already; "
                              "choose another address, or drop fixed=True")
            raise map_error(-error, doing, self.path, fd, self.access, self._is_device)
        self.address = address
        self.nbytes = nbytes
        self._protection = protection
        self._born = memlane_fork_epoch()
        self._closed = False
        if self.huge_pages_kind is not None and self._page_nbytes != PAGE_NBYTES:
            self._fixed_because = "the kernel cannot lengthen mappings of huge pages; map it anew"
        if options is not None or fd >= 0:
            try:
                guard_mapping(self, fd >= 0 and not self._is_device)
                if options is not None:
                    self._finish(options)
            except BaseException:
                # (the descriptor is the maker's until it has returned)
                self._closed = True
                fd, self._fd = self._fd, -1
                self._unmap()
                self._fd = fd
                raise
        return 0

    cdef int _map_placed(self, int fd, uint64_t offset, uint64_t nbytes, int protection, int flags, Options options,
                         unsigned char **address) except 1:
        """Map as the options say; 0 or a negative errno."""
        cdef memlane_mapping_place place
        cdef uint64_t huge_nbytes = 0
        cdef int error, huge_flags
        self._guard_nbytes = options.guard_pages * PAGE_NBYTES
        place.page_nbytes = self._page_nbytes
        place.guard_nbytes = self._guard_nbytes
        place.wanted = options.address
        place.exactly = options.fixed
        if options.fixed and (options.address - offset) % self._page_nbytes:
            raise ValueError(
                f"address must be {offset % self._page_nbytes} bytes behind a multiple of {self._page_nbytes}, as the "
                f"offset is, got {options.address:#x}")
        if options.name is not None:
            self.name = options.name
            self._what = f"{self._source()} named {options.name!r}"
        if options.populate and self._is_device:
            flags |= MAP_POPULATE  # what a device does not allow to be populated is left out without a word
        if options.huge and flags & MAP_ANONYMOUS:
            huge_nbytes = options.huge_nbytes or usual_huge_page_nbytes()
        if huge_nbytes:
            # never without a reservation: a huge page that is not there at the first touch is a SIGBUS
            huge_flags = (flags & ~MAP_NORESERVE) | MAP_HUGETLB | ((huge_nbytes.bit_length() - 1) << HUGE_PAGE_SHIFT)
            place.page_nbytes = huge_nbytes
            with nogil:
                error = memlane_map(fd, offset, nbytes, protection, huge_flags, &place, address)
            if error == 0:
                self._page_nbytes = huge_nbytes
                self.huge_pages_kind = "reserved"
            if error == 0 or error == -_EEXIST:
                return error
            place.page_nbytes = self._page_nbytes
        with nogil:
            error = memlane_map(fd, offset, nbytes, protection, flags, &place, address)
        return error

    cdef int _finish(self, Options options) except -1:
        """What the options ask for beyond placing it."""
        cdef int error
        cdef bytes label
        if self.name is not None and self._full_path is None:
            label = _os.fsencode(self.name)
            memlane_name(self.address, self.nbytes, self._page_nbytes, label)  # for people; many kernels cannot
        if options.huge and self.huge_pages_kind is None and self._owns_last_page:
            error = memlane_advise(self.address, self.nbytes, self._page_nbytes, MADV_HUGEPAGE)
            if error == 0 and may_be_transparent(self._is_private_memory(), self.nbytes):
                self.huge_pages_kind = "transparent"
        if options.locked:
            self.lock()
        if options.populate and not self._is_device:
            self._populate()
        if options.protection is not None:
            self.protect(options.protection)
        return 0

    cdef int _populate(self) except -1:
        cdef uint64_t done = 0, turn
        cdef int error
        while done < self.nbytes:
            turn = min(self.nbytes - done, max(<uint64_t>RESERVE_NBYTES_A_TURN, self._page_nbytes))
            with nogil:
                error = (memlane_populate(self.address + done, turn) if self._owns_last_page
                         else memlane_populate_for_reading(self.address + done, turn, self._page_nbytes))
            if error:
                raise os_error(_ENOMEM if error == -_EFAULT else -error, f"populate {self!r}", self.path)
            done += turn
            PyErr_CheckSignals()  # nobody but this call has the mapping yet, so no handler can close it
        return 0

    cdef bint _is_private_memory(self) noexcept:
        return self._owns_last_page and self._fd < 0 and self._fixed_because is None

    cdef str _source(self):
        """For people: what is mapped. Put together only when somebody wants to read it."""
        if self._what is not None:
            return self._what
        return f"descriptor {self._source_fd}" if self.path is None else f"'{self.path}'"

    # ---- living and dying -------------------------------------------------------------------------

    cdef int hold(self) except -1:
        """Keep the memory mapped until let_go, if it is whole. The caller also keeps a reference to the mapping."""
        self.keep()
        if memlane_guard_is_truncated(self._guarded):
            error = truncated_mapping(self)
            self.let_go()
            raise error
        return 0

    cdef object refuse_kept(self):
        raise ClosedError(f"this mapping of {self._source()} is closed; map it again" if self._closed else
                          f"this mapping of {self._source()} was kept from forked children by advise('dontfork')")

    cdef void _unmap(self) noexcept:
        """Give memory and descriptor back. Only the last user comes here, and only once."""
        cdef unsigned char *address = self.address
        unguard_mapping(self)
        self.address = NULL
        if address != NULL and not (self._kept_from_children and not memlane_fork_is(self._born)):
            # (a child has nothing at these addresses, or something else)
            if self.nbytes < LONG_COPY_NBYTES:
                memlane_unmap(address, self.nbytes, self._page_nbytes, self._guard_nbytes)
            else:
                with nogil:
                    memlane_unmap(address, self.nbytes, self._page_nbytes, self._guard_nbytes)
        close_own(self._fd, &self._file)
        self._fd = -1

    def close(self):
        """
        Refuse all further use; unmap as soon as the last view of it is gone, at once if there is none.

        Never fails; closing again does nothing. The file, if there is one, stays.
        """
        cdef bint idle
        with cython.critical_section(self):
            idle = not self._closed and self._uses == 0
            self._closed = True
        if idle:
            self._unmap()

    @property
    def closed(self):
        """Whether this process has closed it."""
        return self._closed

    def __enter__(self):
        self.hold()
        self.let_go()
        return self

    def __exit__(self, kind, error, traceback):
        self.close()

    def __del__(self):
        # not for a child of fork, who did not open it, and not when everything goes anyway
        if not self._closed and not self._is_part and memlane_fork_is(self._born) and not finalizing():
            PyErr_ResourceWarning(self, 1, "%R was never closed; close it or use 'with'", <void *>self)

    def __dealloc__(self):
        self._unmap()

    def __repr__(self):
        state = f"{self.nbytes} bytes of {self._source()}"
        if self._offset:
            state += f" from offset {self._offset}"
        if self._guard_nbytes:
            state += f" between {self._guard_nbytes // PAGE_NBYTES} guard pages on each side"
        return f"<memlane.Mapping {state}, {'closed' if self._closed else f'access {self.access!r}'}>"

    def __bool__(self):
        return True

    def __reduce__(self):
        raise TypeError("a Mapping cannot be pickled: send its path, or use a memlane.Region, which can")

    @property
    def huge_pages(self):
        """Whether there are huge pages below it: reserved, or transparent ones where the kernel likes."""
        return self.huge_pages_kind is not None

    @property
    def page_nbytes(self):
        """Bytes in a page: PAGE_SIZE, or those of a reserved huge page."""
        return self._page_nbytes

    @property
    def guard_pages(self):
        """How many guard pages lie before the first page, and again behind the last."""
        return self._guard_nbytes // PAGE_NBYTES

    @property
    def address(self):
        """Where the first byte lies in this process, as an int; for ctypes and for reading /proc/self/maps."""
        cdef size_t first
        self.hold()
        first = <size_t>self.address
        self.let_go()
        return first

    @property
    def guard_ranges(self):
        """Addresses (start, stop) of the guard pages before and behind the mapping; empty without any."""
        cdef size_t first, stop
        if not self._guard_nbytes:
            return ()
        self.hold()
        first = <size_t>self.address - self._hidden()
        stop = <size_t>self.address + self.nbytes + self._page_nbytes - 1 & ~(self._page_nbytes - 1)
        self.let_go()
        return (first - self._guard_nbytes, first), (stop, stop + self._guard_nbytes)

    # ---- bytes --------------------------------------------------------------------------------------

    def __getbuffer__(self, Py_buffer *view, int flags):
        cdef int allowed
        self.hold()
        if self._guarded != &memlane_unguarded:
            memlane_guard_come_on_top()  # before the memory is used by others, who do not ask us
        allowed = self._allowed(0, self.nbytes)
        if not allowed & PROT_READ or (flags & PyBUF_WRITABLE and not allowed & PROT_WRITE):
            self.let_go()
            raise BufferError(
                f"{self!r} has pages that may not be written; ask for a read-only view" if allowed & PROT_READ
                else f"{self!r} has pages that may not be read; protect('r') them before making a view")
        view.buf = self.address
        view.len = <Py_ssize_t>self.nbytes
        view.readonly = not allowed & PROT_WRITE
        view.itemsize = 1
        view.ndim = 1
        view.format = NULL
        view.shape = view.strides = view.suboffsets = NULL
        if flags & PyBUF_FORMAT:
            view.format = "B"
        if flags & PyBUF_ND:
            view.shape = &view.len
        if flags & PyBUF_STRIDES == PyBUF_STRIDES:
            view.strides = &view.itemsize
        view.internal = NULL
        view.obj = self

    def __releasebuffer__(self, Py_buffer *view):
        self.let_go()

    def __len__(self):
        cdef uint64_t length = 0
        with cython.critical_section(self):
            if not self._closed and not self._kept_from_children and not memlane_guard_is_truncated(self._guarded):
                length = self.nbytes
        if length == 0:
            self.hold()  # which knows what to raise
            length = self.nbytes
            self.let_go()
        return length

    cdef inline bint _plainly(self, Py_ssize_t start, Py_ssize_t count, int needed) noexcept:
        """
        Whether a part may be touched with no more questions, as it nearly always may. For short accesses, which are over
        before the critical section of the mapping ends in which this must be called: they need no hold. Whether all pages
        were there is known afterwards.
        """
        return (not self._closed and not self._kept_from_children and self._protected is None
                and not memlane_guard_is_truncated(self._guarded) and self._protection & needed != 0 and 0 <= start
                and <uint64_t>start + <uint64_t>count <= self.nbytes)

    def __getitem__(self, item):
        """Copy a byte out as an int, or a slice (any step) as bytes."""
        cdef Py_ssize_t start = 0, stop = 0, step = 1, first, last, count
        cdef bint done = False
        cdef unsigned char byte = 0
        if not isinstance(item, slice):
            start = index_of(item)
            with cython.critical_section(self):
                if start < 0:
                    start += <Py_ssize_t>self.nbytes
                if self._plainly(start, 1, PROT_READ):
                    byte = self.address[start]
                    done = not memlane_guard_is_truncated(self._guarded)
            return byte if done else self._byte(item, start)
        bounds_of(item, &start, &stop, &step)
        first, last = start, stop
        count = PySlice_AdjustIndices(<Py_ssize_t>self.nbytes, &first, &last, step)
        if step == 1 and count <= SHORT_COPY_NBYTES:
            if count == 1:
                # (Python keeps one object for each byte that there can be)
                with cython.critical_section(self):
                    if self._plainly(first, 1, PROT_READ):
                        byte = self.address[first]
                        done = not memlane_guard_is_truncated(self._guarded)
                if done:
                    return PyBytes_FromStringAndSize(<char *>&byte, 1)
            else:
                # made outside, for allocation has no place in a critical section
                copied = PyBytes_FromStringAndSize(NULL, count)
                with cython.critical_section(self):
                    if self._plainly(first, count, PROT_READ):
                        memcpy(PyBytes_AS_STRING(copied), self.address + first, count)
                        done = not memlane_guard_is_truncated(self._guarded)
                if done:
                    return copied
        return self._part(start, stop, step)

    cdef object _byte(self, item, Py_ssize_t i):
        """A byte about which questions are open; *i* is counted from the start."""
        self.hold()
        try:
            self._require_index(item, i)
            self._require(i, 1, 1, PROT_READ)
            found = self.address[i]
            check_whole(self)
            return found
        finally:
            self.let_go()

    cdef object _part(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t step):
        """A copy that is long, has a step, or about which questions are open; bounds as the user gave them."""
        cdef Py_ssize_t i, count
        cdef unsigned char *source
        cdef char *target
        self.hold()
        try:
            count = PySlice_AdjustIndices(<Py_ssize_t>self.nbytes, &start, &stop, step)
            copied = PyBytes_FromStringAndSize(NULL, count)
            self._require(start, step, count, PROT_READ)
            source = self.address + start
            target = PyBytes_AS_STRING(copied)
            if step != 1:
                for i in range(count):
                    target[i] = source[i * step]
            elif count >= LONG_COPY_NBYTES:
                with nogil:
                    memlane_copy_to_new(target, source, count)
            else:
                memcpy(target, source, count)
            check_whole(self)
            return copied
        finally:
            self.let_go()

    def __setitem__(self, item, value):
        """
        Write a byte (an int from 0 to 255), or bytes-like data of the slice's own length.

        Raises:
            TypeError: It was mapped "r", or these pages are protected from writing.
            ValueError: The length is another one: a mapping does not grow by assignment.
        """
        cdef Py_ssize_t start = 0, stop = 0, step = 1, first, last, count
        cdef unsigned char byte
        cdef bint done = False
        if not isinstance(item, slice):
            start = index_of(item)
            byte = byte_of(value)
            with cython.critical_section(self):
                if start < 0:
                    start += <Py_ssize_t>self.nbytes
                if self._plainly(start, 1, PROT_WRITE):
                    self.address[start] = byte
                    done = not memlane_guard_is_truncated(self._guarded)
            if not done:
                self._set_byte(item, start, byte)
            return
        bounds_of(item, &start, &stop, &step)
        if step == 1 and PyBytes_CheckExact(value) and PyBytes_GET_SIZE(value) <= SHORT_COPY_NBYTES:
            first, last = start, stop
            count = PySlice_AdjustIndices(<Py_ssize_t>self.nbytes, &first, &last, step)
            with cython.critical_section(self):
                if PyBytes_GET_SIZE(value) == count and self._plainly(first, count, PROT_WRITE):
                    memcpy(self.address + first, PyBytes_AS_STRING(value), count)
                    done = not memlane_guard_is_truncated(self._guarded)
        if not done:
            self._set_part(start, stop, step, value)

    cdef int _set_byte(self, item, Py_ssize_t i, unsigned char byte) except -1:
        self.hold()
        try:
            self._require_index(item, i)
            self._require(i, 1, 1, PROT_WRITE)
            self.address[i] = byte
            check_whole(self)
        finally:
            self.let_go()
        return 0

    cdef int _set_part(self, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t step, value) except -1:
        """As _part."""
        cdef Py_ssize_t i, count
        cdef unsigned char *target
        cdef const unsigned char *source
        cdef Py_buffer data
        self.hold()
        try:
            count = PySlice_AdjustIndices(<Py_ssize_t>self.nbytes, &start, &stop, step)
            contiguous(value, &data, PyBUF_SIMPLE, "a slice of a mapping")
            try:
                if data.len != count:
                    raise ValueError(f"the slice has {count} bytes but the value has {data.len}; they must be the same")
                self._require(start, step, count, PROT_WRITE)
                target = self.address + start
                if step != 1:
                    # copied first: a view of this very mapping must not be read where it was just written
                    copied = PyBytes_FromStringAndSize(<const char *>data.buf, count)
                    source = <const unsigned char *>PyBytes_AS_STRING(copied)
                    for i in range(count):
                        target[i * step] = source[i]
                elif count >= LONG_COPY_NBYTES:
                    with nogil:
                        memmove(target, data.buf, count)
                else:
                    memmove(target, data.buf, count)
                check_whole(self)
            finally:
                PyBuffer_Release(&data)
        finally:
            self.let_go()
        return 0

    def __delitem__(self, item):
        raise TypeError("a mapping's bytes cannot be deleted; assign zeros, or see resize")

    def __contains__(self, data):
        """Whether bytes-like data, or one byte as an int, occurs anywhere."""
        return self.find(bytes((data,)) if isinstance(data, int) else data) >= 0

    def find(self, data, start=0, end=None):
        """
        Give the lowest index at which bytes-like *data* lies whole within [start:end], or -1.

        *start* and *end* count as in slices. Other threads run during a long search.
        """
        return self._search(data, start, end, SEARCH_FIRST)

    cdef Py_ssize_t _search(self, data, start, end, int what) except -2:
        cdef Py_ssize_t first = 0, last = 0, count = 1, found
        cdef Py_buffer sought
        self.hold()
        try:
            PySlice_Unpack(slice(start, end), &first, &last, &count)
            outside = first > <Py_ssize_t>self.nbytes  # where bytes.find finds not even nothing
            count = PySlice_AdjustIndices(<Py_ssize_t>self.nbytes, &first, &last, 1)
            contiguous(data, &sought, PyBUF_SIMPLE, SEARCHES[what])
            try:
                if sought.len > count or first > last or outside:
                    return 0 if what == SEARCH_COUNT else -1
                self._require(first, 1, count, PROT_READ)
                if count >= LONG_COPY_NBYTES:
                    with nogil:
                        found = search(self.address + first, count, <unsigned char *>sought.buf, sought.len, what)
                else:
                    found = search(self.address + first, count, <unsigned char *>sought.buf, sought.len, what)
                check_whole(self)
                return found if what == SEARCH_COUNT or found < 0 else first + found
            finally:
                PyBuffer_Release(&sought)
        finally:
            self.let_go()

    def rfind(self, data, start=0, end=None):
        """As `find`, but the highest index: where *data* lies last within [start:end], or -1."""
        return self._search(data, start, end, SEARCH_LAST)

    def count(self, data, start=0, end=None):
        """As `find`, but how often *data* lies within [start:end] without overlapping, as `bytes.count` does."""
        return self._search(data, start, end, SEARCH_COUNT)

    cdef int _require_index(self, item, Py_ssize_t index) except -1:
        if not 0 <= index < <Py_ssize_t>self.nbytes:
            raise IndexError(f"index {_arguments.shown(item)} is outside a mapping of {self.nbytes} bytes")
        return 0

    cdef int _require(self, Py_ssize_t start, Py_ssize_t step, Py_ssize_t count, int needed) except -1:
        """Raise unless `count` bytes from `start` may be touched in the way that one PROT_ bit says."""
        cdef Py_ssize_t last = start + step * (count - 1)
        if count == 0 or self._allowed(min(start, last), max(start, last) - min(start, last) + 1) & needed:
            return 0
        if needed == PROT_READ:
            raise PermissionError(_errno.EACCES, f"{self!r} is protected from reading here; protect('r') it first")
        if self.access == "r":
            raise TypeError(f"{self!r} is read-only; map it with access 'r+' or 'c'")
        raise TypeError(f"{self!r} is protected from writing here; protect('rw') it first")

    # ---- what the kernel does for it ----------------------------------------------------------------

    def flush(self, offset=0, nbytes=None, wait=True, invalidate=False):
        """
        Write changed pages back to the file; memory without a file has nothing to write.

        Args:
            offset: First byte, any; whole pages are written.
            nbytes: How many; None is all behind *offset*.
            wait: Return when the data is on the disk (MS_SYNC), else only ask for it (MS_ASYNC).
            invalidate: Also let other mappings of the file see it, where the system needs that (MS_INVALIDATE).

        Raises:
            ValueError: The range is not within the mapping.
            OSError: Writing failed (EIO, ENOSPC), or pages to invalidate are locked (EBUSY).
        """
        cdef uint64_t start, length = 0
        cdef int error
        cdef int flags = (MS_SYNC if wait else MS_ASYNC) | (MS_INVALIDATE if invalidate else 0)
        self.hold()
        try:
            start = self._range(offset, nbytes, &length)
            while length:
                with nogil:
                    error = memlane_sync(self.address + start, length, self._page_nbytes, flags)
                if error == 0:
                    break
                if error != -_EINTR:
                    raise os_error(-error, f"flush {self!r}", self.path)
                PyErr_CheckSignals()
        finally:
            self.let_go()

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
        cdef uint64_t start, length = 0
        cdef int error, number
        if not isinstance(advice, str) or advice not in ADVICE:
            raise ValueError(f"advice must be one of {', '.join(ADVICE)}, got {_arguments.shown(advice)}")
        number = ADVICE[advice]
        self.hold()
        try:
            start = self._range(offset, nbytes, &length)
            if (number == MADV_DONTNEED or number == MADV_FREE or number == MADV_REMOVE
                    or number == MEMLANE_MADV_DONTNEED_LOCKED):
                # what remove cuts out of the file is gone for everybody: only pages that are all ours
                self._require_whole_pages(start, length, f"advise({advice!r})",
                                             number == MADV_REMOVE and not self._owns_last_page)
            while length:
                with nogil:
                    error = memlane_advise(self.address + start, length, self._page_nbytes, number)
                if error == 0:
                    break
                if error != -_EINTR:
                    raise os_error(-error, f"advise {advice!r} for {self!r}", self.path,
                                   "this kernel or this kind of memory does not take it" if error == -_EINVAL else None)
                PyErr_CheckSignals()
            if number == MADV_DONTFORK and length:
                self._kept_from_children = True
                memlane_guard_keep_from_children(self._guarded, True)
            elif number == MADV_DOFORK and length == self.nbytes:
                self._kept_from_children = False
                memlane_guard_keep_from_children(self._guarded, False)
        finally:
            self.let_go()

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
        cdef uint64_t start, length = 0
        cdef bint gradually = on_fault
        cdef int error = 0
        self.hold()
        try:
            start = self._range(offset, nbytes, &length)
            if length:
                with nogil:
                    error = memlane_lock(self.address + start, length, self._page_nbytes, gradually)
            if error:
                raise lock_error(-error, self, length, not self._allowed(start, length) & PROT_READ)
        finally:
            self.let_go()

    def unlock(self, offset=0, nbytes=None):
        """
        Take `lock` back for all pages of the range; ones that were not locked do not matter.

        Raises:
            ValueError: The range is not within the mapping.
        """
        cdef uint64_t start, length = 0
        cdef int error = 0
        self.hold()
        try:
            start = self._range(offset, nbytes, &length)
            if length:
                with nogil:
                    error = memlane_unlock(self.address + start, length, self._page_nbytes)
            if error:
                raise os_error(-error, f"unlock {self!r}", self.path)
        finally:
            self.let_go()

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
        cdef uint64_t start, length = 0, pages = 0, resident = 0
        cdef int error
        self.hold()
        try:
            start = self._range(offset, nbytes, &length)
            if length == 0:
                raise ValueError("nbytes must be at least 1: an empty range has no pages")
            with nogil:
                error = memlane_residency(self.address + start, length, &pages, &resident)
            if error:
                raise os_error(-error, f"ask for the residency of {self!r}", self.path)
            return resident / <double>pages
        finally:
            self.let_go()

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
        cdef uint64_t start, length = 0, written
        cdef str target
        cdef int fd
        cdef file_identity file
        if path is not None:
            path = _arguments.path(path)
        self.hold()
        try:
            start = self._range(offset, nbytes, &length)
            self._require(start, 1, length, PROT_READ)
            if path is None and self._full_path is None:
                raise unsupported(f"cannot write {self!r} back: it has no file with a path; pass one", self.path)
            target = self.path if path is None else path
            fd = self._reopen("write back to") if path is None else open_file(
                target, _os.O_RDWR | _os.O_CREAT, 0o600, "write back to it")
            identify(fd, &file)
            try:
                if not _stat.S_ISREG(_os.fstat(fd).st_mode):
                    raise unsupported(f"cannot write {self!r} back to {target!r}: it is no regular file", target)
                written = write_changed(fd, self.address + start, length, self._offset + start,
                                        self._guarded, target)
                if wait:
                    _os.fsync(fd)
            finally:
                close_own(fd, &file)
            check_whole(self)
            return written
        finally:
            self.let_go()

    def protect(self, protection, offset=0, nbytes=None):
        """
        Change what may be done with pages: "none", or "r", "w", "x" and their combinations in this order.

        Args:
            protection: The new one.
            offset: First byte, on a page boundary; 0 always is one.
            nbytes: How many, up to a page boundary or the end; None is all behind *offset*.

        Raises:
            ValueError: A protection of another name, or a range not within the mapping or not of whole pages.
            PermissionError: The mapping or its file does not allow that much.
            BufferError: It would take rights away while views of the mapping are alive, whose users
                would then crash; release them first.

        This library's own reads and writes raise PermissionError and TypeError where the pages do not
        allow them, and views are made only of what may be read. A write by other means is a SIGSEGV.
        """
        cdef uint64_t start, length = 0, first, last
        cdef int bits, error = 0
        cdef bint lowers, closed = False, busy = False
        cdef tuple old
        if not isinstance(protection, str) or protection not in PROTECTIONS:
            raise ValueError(f"protection must be one of {', '.join(PROTECTIONS)}, got {_arguments.shown(protection)}")
        bits = PROTECTIONS[protection]
        self.hold()
        try:
            start = self._range(offset, nbytes, &length)
            self._require_whole_pages(start, length, "protect", False)
            # counted from the first page, for resize may move it until the critical section below
            first = (start + self._hidden()) // self._page_nbytes * self._page_nbytes
            last = (start + length + self._hidden() + self._page_nbytes - 1) // self._page_nbytes * self._page_nbytes
        finally:
            self.let_go()
        if bits & PROT_WRITE and not self._protection & PROT_WRITE:
            raise os_error(_errno.EACCES, f"protect {self!r} as {protection!r}", self.path,
                           "map it with access 'r+' or 'c'")
        if length == 0:
            return
        lowers = self._protection & ~bits != 0
        while True:
            with cython.critical_section(self):
                old = self._protected
            # worked out here, for allocation has no place in a critical section
            new = overlaid(old, first, last, bits, self._protection)
            with cython.critical_section(self):
                closed = self._closed or start + length > self.nbytes
                busy = lowers and self._uses > 0
                if self._protected is not old:
                    continue
                if not closed and not busy:
                    memlane_guard_allow(self._guarded, bits)
                    error = memlane_protect(self.address + start, length, self._page_nbytes, bits)
                    # out of memory half way: some pages may have changed, so count the rights as lost
                    if error == 0 or (error == -_ENOMEM and lowers):
                        self._protected = new
            break
        if closed:
            raise ClosedError(f"{self!r} was closed or resized by another thread")
        if busy:
            raise BufferError(
                f"{self!r} has {self._uses} views or calls under way, which would crash on pages "
                f"protected as {protection!r}; release them first (del the arrays)"
            )
        if error:
            raise os_error(
                -error, f"protect {self!r} as {protection!r}", self.path,
                "its file system may be mounted noexec: copy it to Mapping.anonymous(private=True), which may be executed"
                if bits & PROT_EXEC and (error == -_EACCES or error == -_EPERM) else None)

    def resize(self, nbytes):
        """
        Make the mapping, and the memory or file below it, longer or shorter; it may move in memory.

        Args:
            nbytes: The new length, in bytes or as text like "2 MiB"; at least 1.

        Raises:
            BufferError: Views of it are alive; release them first (del the arrays).
            io.UnsupportedOperation: Both an OSError and a ValueError: shared memory without a file (the kernel
                would grow the mapping only, and the first touch kill the process), access "r" or "c", a
                device, `from_fd`, or pages with a protection of their own.
            OSError: There is no room, or the file has another name by now. Nothing has changed.
            ClosedError: This process has closed the descriptor of a memfd, as `os.closerange` does.
            ValueError: *nbytes* is 0, negative or no size.

        New bytes are zeros, reserved at once. A file is found again by its path. One that ends where the
        mapping ends is made longer and shorter with it; one that goes on behind it is never cut.
        """
        cdef uint64_t length = size_of(nbytes, "nbytes", 1)
        cdef bint busy
        self.hold()
        try:
            if self._fixed_because is not None:
                raise unsupported(f"cannot resize {self!r}: {self._fixed_because}", self.path)
            if self._protected is not None:
                raise unsupported(
                    f"cannot resize {self!r}: it has pages with a protection of their own; "
                    "protect('rw') all of it first",
                    self.path,
                )
            with cython.critical_section(self):
                busy = self._uses > 1
            if busy:
                raise self._busy()
            if length == self.nbytes:
                return
            if self._fd < 0 and self._full_path is None:
                if length > self.nbytes:
                    # the rest of the last page may hold what was cut off before, and new bytes are zeros
                    memset(self.address + self.nbytes, 0,
                           -(<uint64_t>self.address + self.nbytes) & (self._page_nbytes - 1))
                self._remap(length)
            elif self._fd >= 0:
                self._resize_file(self._fd, length)
            else:
                fd = self._reopen("resize")
                try:
                    self._resize_file(fd, length)
                finally:
                    close_own(fd, &self._file)
        finally:
            self.let_go()

    cdef int _resize_file(self, int fd, uint64_t length) except -1:
        cdef uint64_t old_end = self._offset + self.nbytes
        cdef uint64_t new_end = self._offset + length
        cdef uint64_t file_end
        require_still(fd, &self._file, f"resizing {self!r}")
        file_end = _os.fstat(fd).st_size
        try:
            if new_end > file_end:
                require_room(fd, new_end - file_end, self.path)
                reserve_file(fd, file_end, new_end - file_end, self.path)
            self._remap(length)
        except BaseException:
            # (another process may have made it longer still meanwhile: that is not ours to cut)
            if (memlane_is_file(fd, self._file.device, self._file.inode)
                    and file_end < <uint64_t>_os.fstat(fd).st_size <= new_end):
                _os.ftruncate(fd, file_end)
            raise
        # the mapping first: a page behind the file's end is a SIGBUS
        if new_end < old_end == file_end:
            _os.ftruncate(fd, new_end)
        return 0

    cdef int _remap(self, uint64_t length) except -1:
        """Change the length of the mapping alone, if the caller's is the only use."""
        cdef int error = 0
        cdef bint busy
        with cython.critical_section(self):
            busy = self._uses > 1
            if not busy:
                memlane_guard_begin_move(self._guarded)
                error = memlane_remap(&self.address, self.nbytes, length, self._page_nbytes, self._guard_nbytes)
                if error == 0:
                    self.nbytes = length
                memlane_guard_end_move(self._guarded, self.address, self.nbytes)
        if busy:
            raise self._busy()
        if error:
            raise os_error(-error, f"resize {self!r} to {length} bytes", self.path,
                           "part of it has advice of its own; take that back first" if error == -_EFAULT else None)
        return 0

    cdef int _reopen(self, str doing) except -1:
        cdef int fd = open_file(self._full_path, _os.O_RDWR, 0, f"{doing} {self!r}",
                                {_errno.ENOENT: "it must still have the path it was opened by"})
        if not memlane_is_file(fd, self._file.device, self._file.inode):
            close_descriptor(fd)
            raise os_error(_errno.ENOENT, f"{doing} {self!r}", self.path,
                           "another file has its name by now; map that one")
        return fd

    cdef object _busy(self):
        return BufferError(f"cannot resize {self!r}: views of it are alive or calls under way; "
                           "release them first (del the arrays)")

    cdef uint64_t _hidden(self) noexcept:
        """Bytes between the start of the first page and the user's first byte."""
        return <uint64_t>self.address & (self._page_nbytes - 1)

    cdef int _allowed(self, uint64_t start, uint64_t nbytes) noexcept:
        """PROT_ bits that every page of the range has. The caller has a hold, so nobody takes any away."""
        cdef int allowed = self._protection
        cdef tuple protected
        cdef uint64_t first, last
        if self._protected is None:
            return allowed
        with cython.critical_section(self):
            protected = self._protected
        if protected is not None:
            first = start + self._hidden()
            last = first + nbytes
            for from_byte, to_byte, bits in protected:
                if from_byte < last and first < to_byte:
                    allowed &= bits
        return allowed

    cdef uint64_t _range(self, offset, nbytes, uint64_t *length) except? 0:
        """Check a range that a user gave; its start is returned, its length set."""
        cdef uint64_t start = size_of(offset, "offset", 0)
        if start > self.nbytes:
            raise ValueError(f"offset must be at most {self.nbytes}, the length of the mapping, got "
                             f"{_arguments.shown(offset)}")
        length[0] = self.nbytes - start if nbytes is None else size_of(nbytes, "nbytes", 0)
        if length[0] > self.nbytes - start:
            raise ValueError(
                f"nbytes must be at most {self.nbytes - start}, what the mapping has from offset {start}, "
                f"got {_arguments.shown(nbytes)}")
        return start

    cdef int _require_whole_pages(self, uint64_t start, uint64_t nbytes, str doing, bint strict) except -1:
        """Both ends on page boundaries. The mapping's own ends count as such, unless strict."""
        cdef uint64_t first = start + self._hidden()
        cdef uint64_t last = first + nbytes
        if first % self._page_nbytes and (strict or start > 0):
            raise ValueError(
                f"{doing} works on whole pages: offset {start} is {first % self._page_nbytes} bytes into one of "
                f"{self._page_nbytes} bytes")
        if last % self._page_nbytes and (strict or start + nbytes < self.nbytes):
            raise ValueError(
                f"{doing} works on whole pages: the range ends {last % self._page_nbytes} bytes into one of "
                f"{self._page_nbytes} bytes")
        return 0


cdef int guard_mapping(Mapping mapping, bint has_file) except -1:
    """Have a new mapping watched, if a page of it can be missing or must not be touched."""
    cdef int error
    cdef bytes name = b""
    if not has_file and not mapping._guard_nbytes:
        return 0
    if mapping._guard_nbytes:  # only then is it ever shown
        name = _os.fsencode(repr(mapping.path or mapping.name or "memory without a file"))
    error = memlane_guard_watch(mapping.address, mapping.nbytes, mapping._page_nbytes, mapping._guard_nbytes,
                                mapping._protection, name, &mapping._guarded)
    if error:
        raise os_error(-error, f"guard {mapping!r} against SIGBUS", mapping.path)
    return 0


cdef void unguard_mapping(Mapping mapping) noexcept:
    """Before its addresses can become somebody else's."""
    memlane_guard_forget(mapping._guarded)
    mapping._guarded = &memlane_unguarded


cdef object truncated_mapping(Mapping mapping):
    """The error for a mapping that has lost pages, with the length that its file has now, if that can be known."""
    found = None
    try:
        if mapping._fd >= 0:
            seen = _os.fstat(mapping._fd)
        elif mapping._full_path is not None:
            seen = _os.stat(mapping._full_path)
        else:
            seen = None
        # neither the number nor the name need lead to our file any more
        if seen is not None and (seen.st_dev, seen.st_ino) == (mapping._file.device, mapping._file.inode):
            found = seen.st_size
    except OSError:
        pass
    return truncated_error(repr(mapping), mapping.path, mapping._offset + mapping.nbytes, found)


cdef object truncated_error(str name, object path, uint64_t expected, object found):
    if found is None:
        why = f"needs {expected} bytes of its file, but bytes of it are gone"
    elif found < expected:
        why = f"needs {expected} bytes of its file, but that was cut off and has {found}"
    else:
        why = (f"has lost pages although its file has {found} bytes: a hole met a full disk, reading failed, or it was cut "
               "off and made longer again")
    return TruncatedError(
        f"{name} {why}; what was read is zeros and what was written is lost: close it and open it again",
        name=name, path=path, expected=expected, found=found)
