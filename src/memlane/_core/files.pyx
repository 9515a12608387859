# SPDX-License-Identifier: MIT
"""
Files and their descriptors: whose a descriptor is, and the few things done with files that can fail in more ways than one:
open, reserve, write back, remove again.
"""

cimport cython
from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport uint64_t

import errno as _errno
import os as _os

import memlane._limits as _limits
from memlane.errors import ClosedError

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.os cimport (
    _EFAULT, close_descriptor, memlane_guarded, memlane_is_file, memlane_is_memory_file,
    memlane_is_network_file, memlane_reserve, memlane_write_changed,
)
from memlane._core.os_errors cimport free_memory, os_error, reserve_error

memlane_calls_join(calls_of_process(), globals())

# Less is not held against the memory limit of a container: what else it uses changes by more from one moment to the
# next. Arbitrary.
cdef uint64_t LIMIT_NBYTES_MIN = 1 << 20

cdef enum:
    WRITE_NBYTES_A_TURN = 16 << 20 # signals are looked for in between


cdef int identify(int fd, file_identity *file) except -1:
    """Remember which file a descriptor leads to. For who has just opened it."""
    found = _os.fstat(fd)
    file.device, file.inode = found.st_dev, found.st_ino
    return 0


cdef int require_still(int fd, const file_identity *file, object what) except -1:
    """Raise ClosedError unless the descriptor leads to that file. After whatever may have run Python, before it is used."""
    if not memlane_is_file(fd, file.device, file.inode):
        raise ClosedError(f"descriptor {fd}, which {what} needs, was closed by this process, as os.closerange does; "
                          "leave the descriptors of this library open, or map it anew")
    return 0


cdef void close_own(int fd, const file_identity *file) noexcept:
    """Close a descriptor if it is still ours: never somebody else's of that number."""
    if fd >= 0 and memlane_is_file(fd, file.device, file.inode):
        close_descriptor(fd)


@cython.final
cdef class Descriptor:
    """
    A descriptor that this process is to close: `Descriptor(os.open, path, flags)` owns what the function returns. No
    bytecode runs between, after which the handler of a signal could raise and the descriptor be lost. The end of a `with`
    closes it, as being forgotten does.
    """

    def __cinit__(self, opener, *arguments):
        self.number = -1
        self.number = opener(*arguments)
        identify(self.number, &self.file)

    def __enter__(self):
        return self.number

    def __exit__(self, *_error):
        close_own(self.detach(), &self.file)

    def __dealloc__(self):
        close_own(self.detach(), &self.file)

    cdef int detach(self) noexcept:
        """Hand the number over to a caller that closes it from now on; -1: it was handed over, or closed."""
        cdef int number = self.number
        self.number = -1
        return number


cdef int reserve_file(int fd, uint64_t offset, uint64_t nbytes, object path) except -1:
    """
    Reserve the range in the file without the GIL, looking for signals; raises as reserve_error says. What a handler has
    closed is not used any more: ClosedError.
    """
    cdef uint64_t done = 0
    cdef uint64_t turn
    cdef int error
    cdef file_identity file
    identify(fd, &file)
    while done < nbytes:
        turn = min(nbytes - done, <uint64_t>RESERVE_NBYTES_A_TURN)
        with nogil:
            error = memlane_reserve(fd, offset + done, turn)
        if error:
            raise reserve_error(-error, path, nbytes)
        done += turn
        PyErr_CheckSignals()
        require_still(fd, &file, f"reserving {nbytes} bytes of {'memory' if path is None else repr(path)}")
    return 0


def reserve(int descriptor, uint64_t offset, uint64_t nbytes, *, path=None):
    """Have the kernel set room aside in a file; raises OSError (ENOSPC) with need, free and mount."""
    require_room(descriptor, nbytes, path)
    reserve_file(descriptor, offset, nbytes, path)


cdef int require_room(int fd, uint64_t nbytes, object path) except -1:
    """
    Refuse at once what can never be reserved. Without this look the kernel would hand out all that is
    left before it says no, and for memory without a limit it would not say no but kill somebody.
    """
    room = _os.fstatvfs(fd)
    # f_blocks 0 is how a memory file system says that it has no limit of its own
    free = room.f_bfree * room.f_frsize if room.f_blocks else free_memory()
    if free is not None and nbytes > free:
        raise reserve_error(_errno.ENOSPC, path, nbytes)
    if memlane_is_memory_file(fd):
        require_limit(nbytes, path)
    return 0


cdef int require_limit(uint64_t nbytes, object path) except -1:
    """
    Refuse memory that the limit of a container or a service does not leave: the kernel would hand it out page by page,
    and kill a process at the last one. What cannot be seen is no reason to refuse.
    """
    if nbytes < LIMIT_NBYTES_MIN:
        return 0
    limit = _limits.tightest()
    if limit is None or nbytes <= limit.room:
        return 0
    text = (f"cannot reserve {nbytes} bytes of memory: the limit of {limit.nbytes} bytes in {limit.path} leaves "
            f"{limit.room}; ask for less, or raise the memory limit of this container or service")
    failed = OSError(_errno.ENOSPC, text) if path is None else OSError(_errno.ENOSPC, text, path)
    failed.need, failed.free, failed.mount = nbytes, limit.room, None
    raise failed


cdef int open_file(object path, int flags, int mode, str doing, dict remedies=None) except -1:
    """
    os.open with what every mapping wants: no inheritance, no hanging on a FIFO, errors that help;
    *remedies* (errno: what to do) go before the usual ones.
    """
    try:
        return _os.open(path, flags | _os.O_CLOEXEC | _os.O_NONBLOCK | _os.O_NOCTTY, mode)
    except OSError as failed:
        if failed.errno == _errno.ENOSPC:
            raise reserve_error(_errno.ENOSPC, path, 1) from None  # a file without a byte takes an inode
        if failed.errno == _errno.EAGAIN:
            raise os_error(_errno.EAGAIN, doing, path, "have it closed there, or try again",
                           "another process holds a lease on it") from None
        raise os_error(failed.errno, doing, path, remedies and remedies.get(failed.errno)) from None


cdef object remove_own(str path, const file_identity *made):
    """Take the file's name away again, unless the name leads to another file by now."""
    try:
        found = _os.lstat(path)
        if (found.st_dev, found.st_ino) == (made.device, made.inode):
            _os.unlink(path)
    except FileNotFoundError:
        pass


def is_network_file(int descriptor):
    """Whether the file lies on a network file system, where locks of other machines prove nothing."""
    return memlane_is_network_file(descriptor)


cdef uint64_t write_changed(int fd, const unsigned char *source, uint64_t nbytes, uint64_t offset,
                            const memlane_guarded *guarded, str path) except? 0:
    """Write what differs from the file; how many bytes that was. It stops at pages that are lost: check_whole then."""
    cdef uint64_t done = 0, turn, written = 0, total = 0
    cdef int error
    cdef file_identity file
    identify(fd, &file)
    while done < nbytes:
        turn = min(nbytes - done, <uint64_t>WRITE_NBYTES_A_TURN)
        with nogil:
            error = memlane_write_changed(fd, source + done, turn, offset + done, guarded, &written)
        total += written
        if error == -_EFAULT:
            break
        if error:
            raise os_error(-error, f"write {nbytes} bytes back", path)
        done += turn
        PyErr_CheckSignals()
        require_still(fd, &file, f"writing {nbytes} bytes back to {path!r}")
    return total


cdef int make_memfd(str name, unsigned int flags) except -1:
    """A new memfd, closed by exec, and never to be executed where the kernel knows that wish."""
    try:
        try:
            return _os.memfd_create(name, _os.MFD_CLOEXEC | flags | 0x0008)  # MFD_NOEXEC_SEAL, new in Linux 6.3
        except OSError as failed:
            if failed.errno != _errno.EINVAL:
                raise
            return _os.memfd_create(name, _os.MFD_CLOEXEC | flags)
    except OSError as failed:
        raise os_error(failed.errno, f"make the memfd {name!r}") from None


cdef int lengthen_file(int fd, uint64_t nbytes, str path) except -1:
    """Give a new file its length with nothing reserved behind it."""
    try:
        _os.ftruncate(fd, nbytes)
    except OSError as failed:
        raise os_error(failed.errno, f"make it {nbytes} bytes long", path) from None
    return 0
