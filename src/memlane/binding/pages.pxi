# SPDX-License-Identifier: MIT
"""
Pages: the calls below a Mapping, the kernel's names for advice and protection, and the options that
every way of making a mapping takes.
"""

cdef extern from "os/map.h" nogil:
    enum:
        MEMLANE_MADV_COLD
        MEMLANE_MADV_PAGEOUT
        MEMLANE_MADV_POPULATE_READ
        MEMLANE_MADV_POPULATE_WRITE
        MEMLANE_MADV_DONTNEED_LOCKED
        MEMLANE_MADV_COLLAPSE
    struct memlane_file:
        uint64_t nbytes
        uint64_t page_nbytes
        uint64_t device
        uint64_t inode
        unsigned int mode
        int is_zero_device
    struct memlane_place:
        uint64_t page_nbytes
        uint64_t guard_nbytes
        size_t wanted
        int exactly
    uint64_t memlane_page_nbytes()
    int memlane_look_at(int fd, memlane_file *file)
    int memlane_map(int fd, uint64_t offset, uint64_t nbytes, int protection, int flags,
                    const memlane_place *place, unsigned char **address)
    int memlane_unmap(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, uint64_t guard_nbytes)
    int memlane_remap(unsigned char **address, uint64_t nbytes, uint64_t new_nbytes, uint64_t page_nbytes,
                      uint64_t guard_nbytes)
    int memlane_sync(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int flags)
    int memlane_advise(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int advice)
    int memlane_protect(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int protection)
    int memlane_lock(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int on_fault)
    int memlane_unlock(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes)
    int memlane_name(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, const char *name)
    int memlane_residency(unsigned char *address, uint64_t nbytes, uint64_t *pages, uint64_t *resident)
    int memlane_reserve(int fd, uint64_t offset, uint64_t nbytes)
    int memlane_populate(void *address, uint64_t nbytes)
    void memlane_copy_to_new(char *target, const unsigned char *source, uint64_t nbytes)
    int memlane_populate_for_reading(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes)
    int memlane_write_changed(int fd, const unsigned char *source, uint64_t nbytes, uint64_t offset,
                              const memlane_guarded *guarded, uint64_t *written)

cdef extern from "Python.h":
    Py_ssize_t PY_SSIZE_T_MAX
    ctypedef struct PySliceObject:
        PyObject *start
        PyObject *stop
        PyObject *step

cdef extern from "<sys/mman.h>" nogil:
    enum:
        PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC
        MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, MAP_POPULATE, MAP_HUGETLB
        MS_SYNC, MS_ASYNC, MS_INVALIDATE
        MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_REMOVE
        MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTFORK, MADV_DOFORK, MADV_DONTDUMP, MADV_DODUMP
        MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_WIPEONFORK, MADV_KEEPONFORK

cdef extern from "<string.h>" nogil:
    void *memmem(const void *haystack, size_t haystack_nbytes, const void *needle, size_t needle_nbytes)
    void *memrchr(const void *haystack, int byte, size_t nbytes)
    int memcmp(const void *one, const void *other, size_t nbytes)

cdef extern from "<sys/stat.h>" nogil:
    enum:
        S_IFREG, S_IFBLK, S_IFDIR, S_IFCHR

cdef uint64_t PAGE_NBYTES = memlane_page_nbytes()
PAGE_SIZE = PAGE_NBYTES

cdef enum:
    HUGE_PAGE_SHIFT = 26           # the kernel's MAP_HUGE_SHIFT: where the log2 of a page's size stands
    GUARD_PAGES_MAX = 1 << 20      # 4 GiB on each side; more is a mistake (chosen somewhat arbitrarily)
    WRITE_NBYTES_A_TURN = 16 << 20 # signals are looked for in between
    NAME_NBYTES_KERNEL = 79        # the kernel's ANON_VMA_NAME_MAX_LEN, less its NUL

cdef dict ADVICE = {
    "normal": MADV_NORMAL,
    "random": MADV_RANDOM,
    "sequential": MADV_SEQUENTIAL,
    "willneed": MADV_WILLNEED,
    "dontneed": MADV_DONTNEED,
    "free": MADV_FREE,
    "remove": MADV_REMOVE,
    "hugepage": MADV_HUGEPAGE,
    "nohugepage": MADV_NOHUGEPAGE,
    "dontfork": MADV_DONTFORK,
    "dofork": MADV_DOFORK,
    "dontdump": MADV_DONTDUMP,
    "dodump": MADV_DODUMP,
    "mergeable": MADV_MERGEABLE,
    "unmergeable": MADV_UNMERGEABLE,
    "wipeonfork": MADV_WIPEONFORK,
    "keeponfork": MADV_KEEPONFORK,
    "cold": MEMLANE_MADV_COLD,
    "pageout": MEMLANE_MADV_PAGEOUT,
    "populate_read": MEMLANE_MADV_POPULATE_READ,
    "populate_write": MEMLANE_MADV_POPULATE_WRITE,
    "dontneed_locked": MEMLANE_MADV_DONTNEED_LOCKED,
    "collapse": MEMLANE_MADV_COLLAPSE,
}

cdef dict PROTECTIONS = {
    "none": PROT_NONE,
    "r": PROT_READ,
    "w": PROT_WRITE,
    "x": PROT_EXEC,
    "rw": PROT_READ | PROT_WRITE,
    "rx": PROT_READ | PROT_EXEC,
    "wx": PROT_WRITE | PROT_EXEC,
    "rwx": PROT_READ | PROT_WRITE | PROT_EXEC,
}

cdef enum:
    SEARCH_FIRST
    SEARCH_LAST
    SEARCH_COUNT

cdef tuple SEARCHES = ("find", "rfind", "count")

cdef str TRANSPARENT_DIRECTORY = "/sys/kernel/mm/transparent_hugepage"


cdef uint64_t size_of(object value, str what, uint64_t least) except? 0:
    cdef uint64_t nbytes
    cdef int overflow = 0
    cdef long long plain
    if type(value) is int:
        # most sizes are: a call into Python would cost as much as mapping a page
        plain = PyLong_AsLongLongAndOverflow(value, &overflow)
        if not overflow and <long long>least <= plain < (<long long>1 << 62):
            return plain
    nbytes = _arguments.size(value, what)
    if nbytes < least:
        raise ValueError(f"{what} must be at least {least}, got {_arguments.shown(value)}")
    return nbytes


cdef int descriptor_of(object given) except? -1:
    """The number of a descriptor, given as an int or by an object that has one."""
    number = given
    if not isinstance(given, int):
        fileno = getattr(given, "fileno", None)
        number = None if fileno is None or isinstance(given, type) else fileno()
    if not isinstance(number, int) or isinstance(number, bool):
        raise TypeError(f"fd must be a descriptor, an int, or an object with fileno(), got {_arguments.shown(given)}")
    if not 0 <= number < 1 << 31:
        raise os_error(_errno.EBADF, f"map descriptor {_arguments.shown(number)}")
    return number


cdef Py_ssize_t index_of_other(object item) except? -1:
    number = _arguments.index(item)
    try:
        return PyNumber_AsSsize_t(number, IndexError)
    except IndexError:
        raise IndexError(f"index {_arguments.shown(item)} is out of range") from None


cdef inline Py_ssize_t index_of(object item) except? -1:
    """An index as it was given, negative ones too."""
    cdef Py_ssize_t index
    cdef int overflow = 0
    if PyLong_CheckExact(item):
        # most are, and few of those too large: one call less than the general way
        index = PyLong_AsLongLongAndOverflow(item, &overflow)
        if not overflow:
            return index
    return index_of_other(item)


cdef inline bint plain_bound(PyObject *given, Py_ssize_t otherwise, Py_ssize_t *bound) noexcept:
    cdef int overflow = 0
    if given == <PyObject *>None:
        bound[0] = otherwise
        return True
    if not PyLong_CheckExact(<object>given):
        return False
    bound[0] = PyLong_AsLongLongAndOverflow(<object>given, &overflow)
    return not overflow


cdef inline int bounds_of(object item, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t *step) except -1:
    """PySlice_Unpack, with a shorter way for plain numbers: a slice of a few bytes costs little else."""
    cdef PySliceObject *given = <PySliceObject *>item
    if (given.step == <PyObject *>None and plain_bound(given.start, 0, start)
            and plain_bound(given.stop, PY_SSIZE_T_MAX, stop)):
        step[0] = 1
        return 0
    return PySlice_Unpack(item, start, stop, step)


cdef unsigned char byte_of_other(object value) except? 0:
    number = value if isinstance(value, int) else _arguments.integer(value, "a byte", "an int from 0 to 255")
    if not 0 <= number <= 255:
        raise ValueError(f"a byte must be from 0 to 255, got {_arguments.shown(value)}")
    return number


cdef inline unsigned char byte_of(object value) except? 0:
    cdef int overflow = 0
    cdef long long byte
    if PyLong_CheckExact(value):
        byte = PyLong_AsLongLongAndOverflow(value, &overflow)
        if 0 <= byte <= 255:
            return <unsigned char>byte
    return byte_of_other(value)


cdef tuple overlaid(tuple old, uint64_t first, uint64_t last, int bits, int usual):
    """Lay a protection over older ones: (start, stop, bits) that do not overlap; None when all is as usual."""
    pieces = []
    for start, stop, older in old or ():
        if start < first:
            pieces.append((start, min(stop, first), older))
        if stop > last:
            pieces.append((max(start, last), stop, older))
    if bits != usual:
        pieces.append((first, last, bits))
    return tuple(pieces) or None


@cython.final
@cython.internal
cdef class Options:
    """What every way of making a mapping takes besides; Mapping's docstring tells."""

    cdef bint populate, locked, huge, fixed
    cdef uint64_t huge_nbytes           # 0: whatever size the kernel has ready
    cdef uint64_t guard_pages
    cdef uint64_t address
    cdef str name
    cdef str protection


cdef Options options_of(populate, locked, huge_pages, guard_pages, name, protection, address, fixed):
    """Check the options; None if all are as usual, which most are."""
    cdef Options self
    if (name is None and protection is None and address is None and populate is False and locked is False
            and huge_pages is False and type(guard_pages) is int and guard_pages == 0 and fixed is False):
        return None
    self = Options.__new__(Options)
    self.populate, self.locked, self.fixed, self.huge = populate, locked, fixed, bool(huge_pages)
    if huge_pages not in (True, False):
        self.huge_nbytes = size_of(huge_pages, "huge_pages", 2 * PAGE_NBYTES)
        if self.huge_nbytes & (self.huge_nbytes - 1):
            raise ValueError(f"huge_pages must be True, False or the size of one, a power of two, got {_arguments.shown(huge_pages)}")
    if not isinstance(guard_pages, int) or not 0 <= guard_pages <= GUARD_PAGES_MAX:
        raise ValueError(f"guard_pages must be a number of pages from 0 to {GUARD_PAGES_MAX}, got "
                         f"{_arguments.shown(guard_pages)}")
    self.guard_pages = guard_pages
    if name is not None:
        if not isinstance(name, str):
            raise TypeError(f"name must be a str, got {_arguments.shown(name)}")
        if not name.isprintable() or len(_os.fsencode(name)) > NAME_NBYTES_KERNEL or set(name) & set("[]\\$`"):
            raise ValueError(f"name must be printable, at most {NAME_NBYTES_KERNEL} bytes, without any of []\\$`, got "
                             f"{_arguments.shown(name)}")
        self.name = name
    if protection is not None and (not isinstance(protection, str) or protection not in PROTECTIONS):
        raise ValueError(f"protection must be one of {', '.join(PROTECTIONS)}, got {_arguments.shown(protection)}")
    self.protection = protection
    if fixed and address is None:
        raise ValueError("fixed=True needs an address")
    if address is not None:
        self.address = size_of(address, "address", 1)
    return self


cdef uint64_t usual_huge_page_nbytes():
    """What MAP_HUGETLB gives without a size; 0 if this kernel has no huge pages."""
    try:
        with open("/proc/meminfo", "rb") as lines:
            for line in lines:
                if line.startswith(b"Hugepagesize:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


cdef bint may_be_transparent(bint private_memory, uint64_t nbytes):
    """Whether the kernel uses transparent huge pages where it is asked to, for memory of this kind and length."""
    try:
        with open(f"{TRANSPARENT_DIRECTORY}/hpage_pmd_size") as file:
            if nbytes < int(file.read()):
                return False
        with open(f"{TRANSPARENT_DIRECTORY}/{'enabled' if private_memory else 'shmem_enabled'}") as file:
            chosen = file.read()
    except (OSError, ValueError):
        return False
    return any(f"[{mode}]" in chosen for mode in ("always", "madvise", "advise", "within_size", "force"))


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
