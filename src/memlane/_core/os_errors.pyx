# SPDX-License-Identifier: MIT
"""
What the operating system says, in words: every errno becomes an OSError whose text says what to do.
"""

from libc.stdint cimport uint64_t

import errno as _errno
import fcntl as _fcntl
import io as _io
import os as _os

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.os cimport memlane_page_nbytes

memlane_calls_join(calls_of_process(), globals())

cdef str SHARED_MEMORY_DIRECTORY = "/dev/shm"

# What a file that was given up may have taken and set free again by the time we look: a temporary one, and a name.
cdef int INODES_A_FILE = 2

# What an errno of open, mmap and their like means here, and what to do about it.
cdef dict REMEDIES = {
    _errno.ENOENT: ("there is nothing of that name", "create it first, or check the name"),
    _errno.EEXIST: ("the name is taken", "open it, or remove it first"),
    _errno.EACCES: ("permission denied", "check owner and permissions, or ask for less than 'r+'"),
    _errno.EPERM: ("not permitted", "it may be sealed, append-only or on a noexec mount: ask for less access"),
    _errno.EROFS: ("the file system is read-only", "ask for access 'r' or 'c'"),
    _errno.EISDIR: ("it is a directory", "give the path of a file in it"),
    _errno.ENOTDIR: ("a part of the path is no directory", "check the path"),
    _errno.ELOOP: ("it is a symbolic link, or one too many", "give the path that it leads to"),
    _errno.ENODEV: ("it cannot be mapped", "only regular files, memory and some devices can; read from it instead"),
    _errno.ENXIO: ("it cannot be mapped", "only regular files, memory and some devices can; read from it instead"),
    _errno.ENOMEM: (
        "no room for it in memory or in this process's address space",
        "ask for less, close other mappings, or raise ulimit -v, vm.max_map_count or the container's memory",
    ),
    _errno.EAGAIN: ("too much memory is locked", "raise ulimit -l"),
    _errno.EMFILE: ("this process has too many descriptors open", "close some, or raise ulimit -n"),
    _errno.ENFILE: ("the machine has too many descriptors open", "close some, or raise fs.file-max"),
    _errno.ETXTBSY: ("the program in it is running", "ask for access 'r' or 'c'"),
    _errno.EBADF: ("the descriptor is not open", "pass one that is, opened for reading"),
    _errno.EOVERFLOW: ("offset and length are beyond what can be counted", "ask for less"),
    _errno.ENAMETOOLONG: ("the name is too long", "use a shorter one"),
    _errno.ENOLCK: ("the kernel has no lock to give", "use a local file system, or end programs that hold many locks"),
    _errno.EFBIG: ("larger than the file system or ulimit -f allows", "ask for less"),
    _errno.EOPNOTSUPP: (
        "the file system cannot reserve room, and without it a full disk would kill the process by SIGBUS",
        "use /dev/shm, ext4, xfs or btrfs",
    ),
}


cdef object os_error(int error, str doing, object path=None, str remedy=None, str why=None):
    """
    Make the OSError for a positive errno: what failed, why, and what to do; *path* becomes `filename`. An errno has many
    causes: a caller that knows more than it says gives *why* and *remedy*.
    """
    known = REMEDIES.get(error)
    text = f"cannot {doing}: " + (why if why is not None else known[0] if known else _os.strerror(error))
    if remedy is not None or known:
        text += "; " + (remedy if remedy is not None else known[1])
    return OSError(error, text) if path is None else OSError(error, text, path)


def explained(failed, str doing, object path=None, dict remedies=None):
    """
    Return the OSError for what a call of the system refused with the OSError *failed*: what failed, why, and what to do.
    *remedies* (errno: what to do) go before the usual ones.
    """
    return os_error(failed.errno, doing, path, remedies and remedies.get(failed.errno))


cdef object unsupported(str text, object path):
    """A request that the file below cannot meet: an OSError as for every lack of room, a ValueError as mmap's users expect."""
    return _io.UnsupportedOperation(_errno.EINVAL, text, path)


cdef object free_memory():
    """Bytes of memory and swap that can still be had, by the kernel's own estimate; None if it tells none."""
    free = 0
    try:
        with open("/proc/meminfo", "rb") as lines:
            for line in lines:
                if line.startswith((b"MemAvailable:", b"SwapFree:")):
                    free += int(line.split()[1]) * 1024
    except OSError:
        pass
    return free or None


cdef object reserve_error(int error, object path, uint64_t nbytes):
    """
    Make the OSError for *nbytes* that could not be reserved at *path* (None: memory without a name).

    Facts as attributes: `need`, `free` (bytes; None if unknown) and `mount` (None for memory).
    """
    free = mount = room = None
    cdef bint has_huge_pages = False
    if path is not None:
        mount = _os.path.realpath(path)
        while not _os.path.ismount(mount):
            mount = _os.path.dirname(mount)
        try:
            room = _os.statvfs(mount)
            if room.f_blocks:
                free = room.f_bavail * room.f_frsize
            # a memory file system without a limit of its own has pages of the usual size; hugetlbfs has its own
            has_huge_pages = not room.f_blocks and room.f_bsize > memlane_page_nbytes()
        except OSError:
            pass
    if free is None and not has_huge_pages:
        free = free_memory()

    if error == _errno.ENOSPC and has_huge_pages:
        failed = OSError(error, f"cannot reserve {nbytes} bytes in {mount}: there are not enough free huge pages of "
                         f"{room.f_bsize} bytes; raise vm.nr_hugepages, or use another file system", path)
    elif (error == _errno.ENOSPC and room is not None and free is not None and free >= nbytes and room.f_files
            and room.f_favail <= INODES_A_FILE):
        # A memory file system counts files, too.
        failed = OSError(error, f"cannot make another file in {mount}: it has {free} bytes free, but {room.f_favail} of "
                         f"{room.f_files} inodes; remove files there, or mount it with a larger nr_inodes", path)
    elif error == _errno.ENOSPC or error == _errno.EDQUOT or (error == _errno.ENOMEM and path is None):
        where = "memory" if mount is None else mount
        why = "your quota there does not allow it" if error == _errno.EDQUOT else (
            f"{'an unknown number of' if free is None else free} bytes are free")
        what = "ask for less, or make room"
        if mount == SHARED_MEMORY_DIRECTORY:
            what += " (/dev/shm of a container is 64 MiB unless --shm-size is given)"
        text = f"cannot reserve {nbytes} bytes in {where}: {why}; {what}"
        failed = OSError(error, text) if path is None else OSError(error, text, path)
    else:
        failed = os_error(error, f"reserve {nbytes} bytes", path)
    failed.need, failed.free, failed.mount = nbytes, free, mount
    return failed


def no_room(object path, uint64_t nbytes):
    """Return the OSError (ENOSPC, with need, free and mount) for what others could not make at *path*."""
    return reserve_error(_errno.ENOSPC, path, nbytes)


cdef object map_error(int error, str doing, str path, int fd, str access, bint is_device):
    """The OSError for what could not be mapped, with the cause where it can be seen."""
    why = remedy = None
    if is_device:
        if error == _errno.EPERM:
            remedy = "a device may need root, and a kernel with STRICT_DEVMEM or lockdown refuses much of /dev/mem"
        elif error == _errno.EINVAL:
            remedy = "the device does not take this offset and length"
    elif fd >= 0 and error in (_errno.EBADF, _errno.EACCES, _errno.ENODEV):
        try:
            flags = _fcntl.fcntl(fd, _fcntl.F_GETFL)
        except OSError:
            flags = None
        if flags is None:
            pass
        elif flags & _os.O_PATH:
            why, remedy = "it is open by O_PATH, which neither reads nor writes", "open it without"
        elif error == _errno.ENODEV:
            why, remedy = "it cannot be mapped, which is up to its file system", "read from it instead"
        elif flags & _os.O_ACCMODE == _os.O_WRONLY:
            why, remedy = "the descriptor is open for writing only", "open it for reading, too"
        elif flags & _os.O_ACCMODE == _os.O_RDONLY and access == "r+":
            why, remedy = "the descriptor is open for reading only", "open it for both, or ask for access 'r' or 'c'"
    return os_error(error, doing, path, remedy, why)


cdef object lock_error(int error, object mapping, uint64_t nbytes, bint unreadable):
    """Make the OSError for pages that could not be locked: the limit, or pages without any right."""
    import resource
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if unreadable:
        remedy = "pages that may not be read cannot be brought in; protect('r') them first"
    elif limit == resource.RLIM_INFINITY:
        remedy = "there is not so much memory; lock less"
    else:
        remedy = f"this process may lock {limit} bytes in all (RLIMIT_MEMLOCK); lock less, or raise ulimit -l"
    return os_error(error, f"lock {nbytes} bytes of {mapping!r}", mapping.path, remedy)
