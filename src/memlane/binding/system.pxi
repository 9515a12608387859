# SPDX-License-Identifier: MIT
"""
What the operating system says, in words: every errno becomes an OSError whose text says what to do.
Also the few things done with files that can fail in more ways than one: open, reserve, remove again.
"""

cdef extern from "<unistd.h>" nogil:
    int close_descriptor "close"(int fd)

cdef extern from "os/lockbytes.h" nogil:
    bint memlane_is_file(int descriptor, uint64_t device, uint64_t inode)
    bint memlane_is_memory_file(int descriptor)

# What a descriptor led to when it was ours for certain. The number alone says nothing later: daemons close all that they
# find (os.closerange), and the next file that anybody opens gets the number.
cdef struct file_identity:
    uint64_t device
    uint64_t inode

# Reserving looks for signals after this many bytes, so that Ctrl-C does not wait for a whole disk, or for a machine whose
# memory comes slowly: a fresh virtual one may take half a millisecond for a page.
cdef uint64_t RESERVE_NBYTES_A_TURN = 16 << 20

# Less is not held against the memory limit of a container: what else it uses changes by more from one moment to the
# next. Arbitrary.
cdef uint64_t LIMIT_NBYTES_MIN = 1 << 20

# What a file that was given up may have taken and set free again by the time we look: a temporary one, and a name.
cdef int INODES_A_FILE = 2

cdef str SHARED_MEMORY_DIRECTORY = "/dev/shm"

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
    causes: who knows more than it says gives *why* and *remedy*.
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
            has_huge_pages = not room.f_blocks and room.f_bsize > PAGE_NBYTES
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

    cdef readonly int number          # -1: closed, or handed over
    cdef file_identity file

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
        """Hand the number over to who closes it from now on; -1: it was handed over, or closed."""
        cdef int number = self.number
        self.number = -1
        return number


def no_room(object path, uint64_t nbytes):
    """Return the OSError (ENOSPC, with need, free and mount) for what others could not make at *path*."""
    return reserve_error(_errno.ENOSPC, path, nbytes)


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
        turn = min(nbytes - done, RESERVE_NBYTES_A_TURN)
        with nogil:
            error = memlane_reserve(fd, offset + done, turn)
        if error:
            raise reserve_error(-error, path, nbytes)
        done += turn
        PyErr_CheckSignals()
        require_still(fd, &file, f"reserving {nbytes} bytes of {'memory' if path is None else repr(path)}")
    return 0


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
