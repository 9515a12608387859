# SPDX-License-Identifier: MIT
"""
The SIGBUS guard as the binding sees it: a mark beside each mapping, looked at before and after it is used.

src/os/guard.h says how it works.
"""

from memlane.errors import TruncatedError


cdef extern from "os/guard.h" nogil:
    struct memlane_guarded:
        pass
    memlane_guarded memlane_unguarded
    bint memlane_guard_is_truncated(const memlane_guarded *guarded)
    int memlane_guard_setup()
    bint memlane_guard_switch(bint on)
    void memlane_guard_come_on_top()
    int memlane_guard_watch(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, uint64_t fence_nbytes,
                            int protection, const char *name, memlane_guarded **guarded)
    void memlane_guard_forget(memlane_guarded *guarded)
    void memlane_guard_begin_move(memlane_guarded *guarded)
    void memlane_guard_end_move(memlane_guarded *guarded, unsigned char *address, uint64_t nbytes)
    void memlane_guard_replace_whole(memlane_guarded *guarded)
    void memlane_guard_allow(memlane_guarded *guarded, int protection)
    void memlane_guard_keep_from_children(memlane_guarded *guarded, bint kept)

cdef int _guard_error = memlane_guard_setup()
if _guard_error:
    raise os_error(-_guard_error, "prepare the guard for forks")

cdef class PagesOfMapping           # of pages_of_mapping.pxi
cdef class Mapping(PagesOfMapping)  # of mapping.pxi


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


cdef inline int check_whole(Mapping mapping) except -1:
    """Raise TruncatedError if any access so far has met a page that was missing. After each use of the memory."""
    if memlane_guard_is_truncated(mapping._guarded):
        raise truncated_mapping(mapping)
    return 0


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
