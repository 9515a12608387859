# SPDX-License-Identifier: MIT
"""The kernel's names for advice and protection, and the options that every way of making a mapping takes."""

cimport cython
from libc.stdint cimport uint64_t

import os as _os

import memlane._arguments as _arguments

from memlane._core.arguments cimport size_of
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.os cimport (
    MADV_DODUMP, MADV_DOFORK, MADV_DONTDUMP, MADV_DONTFORK, MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE,
    MADV_KEEPONFORK, MADV_MERGEABLE, MADV_NOHUGEPAGE, MADV_NORMAL, MADV_RANDOM, MADV_REMOVE,
    MADV_SEQUENTIAL, MADV_UNMERGEABLE, MADV_WILLNEED, MADV_WIPEONFORK, MEMLANE_MADV_COLD,
    MEMLANE_MADV_COLLAPSE, MEMLANE_MADV_DONTNEED_LOCKED, MEMLANE_MADV_PAGEOUT,
    MEMLANE_MADV_POPULATE_READ, MEMLANE_MADV_POPULATE_WRITE, PROT_EXEC, PROT_NONE, PROT_READ,
    PROT_WRITE, memlane_page_nbytes,
)

memlane_calls_join(calls_of_process(), globals())

cdef uint64_t PAGE_NBYTES = memlane_page_nbytes()

PAGE_SIZE = PAGE_NBYTES

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

cdef str TRANSPARENT_DIRECTORY = "/sys/kernel/mm/transparent_hugepage"


cdef int protection_of(object access) except -1:
    if access == "r":
        return PROT_READ
    if access == "r+" or access == "c":
        return PROT_READ | PROT_WRITE
    raise ValueError(f"access must be 'r', 'r+' or 'c' (copy on write), got {_arguments.shown(access)}")


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
cdef class Options:
    """What every way of making a mapping takes besides; Mapping's docstring tells."""


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
    return any([f"[{mode}]" in chosen for mode in ("always", "madvise", "advise", "within_size", "force")])
