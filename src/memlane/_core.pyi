# SPDX-License-Identifier: MIT
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from subprocess import Popen
from threading import Lock
from types import TracebackType
from typing import (
    Any,
    Final,
    Generic,
    Literal,
    Protocol,
    Self,
    SupportsFloat,
    SupportsIndex,
    TypeAlias,
    TypeVar,
    final,
    overload,
)

from typing_extensions import Buffer, disjoint_base
from typing_extensions import TypeVar as TypeVarWithDefault

# A section for each file under binding/, in the order in which _core.pyx includes them.

# Arrays and scalars of numpy are buffers, which its stub tells from Python 3.12 on only.
class _NumpyArray(Protocol):
    @property
    def __array_struct__(self) -> object: ...

_Ending: TypeAlias = BaseProcess | Popen[Any] | int
_Until: TypeAlias = _Ending | Iterable[_Ending]
# Of the directory: name, kind, offset, nbytes, geometry, schema, number, sequence, doorbells at once, later, sound.
_Entry: TypeAlias = tuple[
    str, int, int, int, tuple[int, ...], str, int, int, Sequence[int], Sequence[int], bool
]
# Where doorbells are in an object: offset, stride, count.
_Doorbells: TypeAlias = tuple[int, int, int]

# ---- calls.pxi -----------------------------------------------------------------------------------

_FaceT = TypeVar("_FaceT", bound=Callable[..., Any])

def clear_errors(face: _FaceT) -> _FaceT: ...

# ---- system.pxi ----------------------------------------------------------------------------------

@final
class Descriptor:
    def __new__(cls, opener: Callable[..., int], *arguments: object) -> Self: ...
    @property
    def number(self) -> int: ...
    def __enter__(self) -> int: ...
    def __exit__(self, *_error: object) -> None: ...

# ---- buffers.pxi ---------------------------------------------------------------------------------

def ctypes_holds(kind: type, forbidden: type | tuple[type, ...]) -> bool: ...

# ---- guard.pxi -----------------------------------------------------------------------------------

def guard(on: bool = True, /) -> bool:
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

# ---- mapping.pxi ---------------------------------------------------------------------------------

_Access: TypeAlias = Literal["r", "r+", "c"]
_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Protection: TypeAlias = Literal["none", "r", "w", "x", "rw", "rx", "wx", "rwx"]
_Advice: TypeAlias = Literal[
    "normal",
    "random",
    "sequential",
    "willneed",
    "dontneed",
    "free",
    "remove",
    "hugepage",
    "nohugepage",
    "dontfork",
    "dofork",
    "dontdump",
    "dodump",
    "mergeable",
    "unmergeable",
    "wipeonfork",
    "keeponfork",
    "cold",
    "pageout",
    "populate_read",
    "populate_write",
    "dontneed_locked",
    "collapse",
]

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

PAGE_SIZE: Final[int]
VERSION: str
PERMISSIONS: Final[int]

@final
class Mapping:
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

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @staticmethod
    def anonymous(
        nbytes: int | str,
        *,
        private: bool = False,
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | int | str = False,
        guard_pages: int = 0,
        name: str | None = None,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping:
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
    @staticmethod
    def memfd(
        nbytes: int | str,
        *,
        name: str = "memlane",
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | int | str = False,
        guard_pages: int = 0,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping:
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
    @staticmethod
    def open(
        path: _Path,
        access: _Access = "r",
        *,
        offset: int | str = 0,
        nbytes: int | str | None = None,
        sync: bool = False,
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | int | str = False,
        guard_pages: int = 0,
        name: str | None = None,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping:
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
    @staticmethod
    def create(
        path: _Path,
        nbytes: int | str,
        *,
        permissions: int = 0o600,
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | int | str = False,
        guard_pages: int = 0,
        name: str | None = None,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping:
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
    @staticmethod
    def shm(
        name: str,
        access: _Access | None = None,
        *,
        create: int | str | None = None,
        permissions: int = 0o600,
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | int | str = False,
        guard_pages: int = 0,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping:
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
    @staticmethod
    def from_fd(
        fd: int | _HasFileno,
        access: _Access = "r",
        *,
        offset: int | str = 0,
        nbytes: int | str | None = None,
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | int | str = False,
        guard_pages: int = 0,
        name: str | None = None,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping:
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
    @property
    def name(self) -> str | None: ...
    @property
    def huge_pages(self) -> bool:
        """Whether there are huge pages below it: reserved, or transparent ones where the kernel likes."""
    @property
    def huge_pages_kind(self) -> Literal["reserved", "transparent"] | None: ...
    @property
    def page_nbytes(self) -> int:
        """Bytes in a page: PAGE_SIZE, or those of a reserved huge page."""
    @property
    def guard_pages(self) -> int:
        """How many guard pages lie before the first page, and again behind the last."""
    @property
    def guard_ranges(self) -> tuple[tuple[int, int], ...]:
        """Addresses (start, stop) of the guard pages before and behind the mapping; empty without any."""
    @property
    def address(self) -> int:
        """Where the first byte lies in this process, as an int; for ctypes and for reading /proc/self/maps."""
    @property
    def nbytes(self) -> int: ...
    @property
    def path(self) -> str | None: ...
    @property
    def access(self) -> _Access: ...
    @property
    def closed(self) -> bool:
        """Whether this process has closed it."""
    def close(self) -> None:
        """
        Refuse all further use; unmap as soon as the last view of it is gone, at once if there is none.

        Never fails; closing again does nothing. The file, if there is one, stays.
        """
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    @overload
    def __getitem__(self, item: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, item: slice, /) -> bytes: ...
    @overload
    def __setitem__(self, item: SupportsIndex, value: SupportsIndex, /) -> None: ...
    @overload
    def __setitem__(self, item: slice, value: Buffer | _NumpyArray, /) -> None: ...
    def __contains__(self, data: Buffer | _NumpyArray | int, /) -> bool: ...
    def find(
        self, data: Buffer | _NumpyArray, start: int | None = 0, end: int | None = None
    ) -> int:
        """
        Give the lowest index at which bytes-like *data* lies whole within [start:end], or -1.

        *start* and *end* count as in slices. Other threads run during a long search.
        """
    def rfind(
        self, data: Buffer | _NumpyArray, start: int | None = 0, end: int | None = None
    ) -> int:
        """As `find`, but the highest index: where *data* lies last within [start:end], or -1."""
    def count(
        self, data: Buffer | _NumpyArray, start: int | None = 0, end: int | None = None
    ) -> int:
        """As `find`, but how often *data* lies within [start:end] without overlapping, as `bytes.count` does."""
    def flush(
        self,
        offset: int | str = 0,
        nbytes: int | str | None = None,
        wait: bool = True,
        invalidate: bool = False,
    ) -> None:
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
    def advise(
        self, advice: _Advice, offset: int | str = 0, nbytes: int | str | None = None
    ) -> None:
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
    def protect(
        self, protection: _Protection, offset: int | str = 0, nbytes: int | str | None = None
    ) -> None:
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
    def lock(
        self, offset: int | str = 0, nbytes: int | str | None = None, *, on_fault: bool = False
    ) -> None:
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
    def unlock(self, offset: int | str = 0, nbytes: int | str | None = None) -> None:
        """
        Take `lock` back for all pages of the range; ones that were not locked do not matter.

        Raises:
            ValueError: The range is not within the mapping.
        """
    def residency(self, offset: int | str = 0, nbytes: int | str | None = None) -> float:
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
    def write_back(
        self,
        path: _Path | None = None,
        offset: int | str = 0,
        nbytes: int | str | None = None,
        *,
        wait: bool = True,
    ) -> int:
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
    def resize(self, nbytes: int | str) -> None:
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

# ---- membership.pxi ------------------------------------------------------------------------------

MAGIC: Final[bytes]
HEADER_NBYTES: Final[int]
BACKING_NAMED: Final[int]
BACKING_PATH: Final[int]
BACKING_MEMFD: Final[int]
BACKING_ANONYMOUS: Final[int]
DOORBELL_NONE: Final[int]
DOORBELL_UNNAMED: Final[int]
DOORBELL_NAMED: Final[int]
RESERVED_AT_CREATION_NBYTES: Final[int]
SCHEMA_NBYTES: Final[int]

def fork_epoch() -> int: ...
def presence_lock(descriptor: int, for_writing: bool = False) -> bool: ...
def is_present(descriptor: int) -> bool: ...
def pages_within(offset: int, nbytes: int, page_nbytes: int) -> tuple[int, int]: ...
def name_lock(descriptor: int) -> bool: ...
def is_network_file(descriptor: int) -> bool: ...
def reserve(descriptor: int, offset: int, nbytes: int, *, path: str | None = None) -> None: ...
def slices_slept() -> int: ...
def explained(
    failed: OSError, doing: str, path: str | None = None, remedies: dict[int, str] | None = None
) -> OSError: ...
def no_room(path: str | None, nbytes: int) -> OSError: ...
def header_bytes(
    objects_nbytes: int, *, region_id: int, backing: int, permissions: int, libc: bytes
) -> tuple[bytes, int]: ...

@disjoint_base
class Membership:
    found_at: str | None
    doorbells: HeldDoorbells | None
    sole: bool
    def __init__(
        self, mapping: Mapping, base: Descriptor, *, name: str, path: str | None, readonly: bool
    ) -> None: ...
    @property
    def base(self) -> int: ...
    @property
    def readonly(self) -> bool: ...
    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str | None: ...
    @property
    def closed(self) -> bool: ...
    @property
    def roles(self) -> dict[tuple[str, int], object]: ...
    @property
    def region_id(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def backing(self) -> int: ...
    @property
    def permissions(self) -> int: ...
    @property
    def libc(self) -> bytes: ...
    @property
    def objects_offset(self) -> int: ...
    @property
    def file(self) -> tuple[int, int]: ...
    @property
    def is_native(self) -> bool: ...
    @property
    def tag(self) -> int: ...
    def join(self) -> None: ...
    def leave(self) -> None: ...
    def participants(self) -> list[tuple[int, int, int, str, bool]]: ...
    def try_lock_creation(self) -> bool: ...
    def creation_mutex(self) -> Lock: ...
    def unlock_creation(self) -> None: ...
    @property
    def creation_holder(self) -> int: ...
    def entries(self) -> list[_Entry]: ...
    def add_entry(
        self,
        name: bytes,
        kind: int,
        nbytes: int,
        geometry: tuple[int, ...],
        schema: bytes,
        reserved_nbytes: int,
        initialize: Callable[[int], object],
        parts: str = "",
        or_less: str = "",
        doorbells: tuple[()] | tuple[_Doorbells, _Doorbells] = (),
    ) -> int: ...
    def remove_entry(self, index: int, sequence: int) -> bool: ...
    def free_removed_objects(self) -> int: ...
    @property
    def handles(self) -> int: ...
    def handle(self) -> Handle | None: ...
    def lose_base(self, descriptor: int) -> None: ...
    def called(self, kind: str, name: str, part: str = "") -> str: ...
    def pinned(self) -> Pinned: ...
    def close(self) -> None: ...

@final
class Handle:
    @property
    def membership(self) -> Membership: ...
    def let_go(self) -> None: ...

@final
class Pinned:
    def __init__(self, membership: Membership) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_error: object) -> None: ...

# ---- doorbell.pxi --------------------------------------------------------------------------------

@final
class Doorbell:
    def __init__(self, membership: Membership, offset: int) -> None: ...
    @property
    def kind(self) -> int: ...
    @property
    def file(self) -> tuple[int, int]: ...
    @property
    def attached(self) -> bool: ...
    def make_unnamed(self) -> None: ...
    def note_named(self, device: int, inode: int) -> None: ...
    def forget(self) -> None: ...
    def attach_unnamed(self) -> None: ...
    def attach_named(self, name: str) -> None: ...
    def wake_all(self) -> None: ...

@disjoint_base
class HeldDoorbells:
    anchor: Mapping | None
    def __init__(self, membership: Membership) -> None: ...
    @property
    def known(self) -> dict[int, Doorbell]: ...
    def bell(self, offset: int) -> Doorbell: ...
    def at(self, offset: int, make: bool) -> Doorbell: ...
    def forget(self, offset: int, nbytes: int) -> None: ...
    def remove(self, places: Iterable[int]) -> None: ...

# ---- ring.pxi ------------------------------------------------------------------------------------

CONSUMERS: Final[dict[str, int]]

def closed_error(handle: object, called: str) -> Exception: ...

LANES_MAX: Final[int]
DESCRIPTORS_MAX: Final[int]
CAPACITY_MAX: Final[int]
KIND_RING: Final[int]
KIND_SLOT: Final[int]
KIND_COUNTER: Final[int]
KIND_TABLE: Final[int]

def ring_shape(
    lanes: int, capacity: int, records: int
) -> tuple[int, int, tuple[_Doorbells, _Doorbells]]: ...

@disjoint_base
class Endpoint:
    @property
    def closed(self) -> bool: ...
    def __bool__(self) -> bool: ...

# ---- producer.pxi --------------------------------------------------------------------------------

@final
class Room:
    """
    A claim: room for one record inside the ring, to be written in place, then committed.

    Supports the buffer protocol (writable). `with ring.reserve(n) as room:` commits at the end and aborts on
    an exception. Made by `reserve`; used by the thread that made it. The other side sees nothing of it before
    the commit; if this process dies, it has never existed.

    Views of it (memoryviews, arrays) may live on after the commit: the record is seen at once, and the bytes that were
    reserved are used for no other record until the last view has died. Arrays made by `array` become read-only. Who
    writes through another view after the commit spoils that record.

    Type checkers do not take a room for a buffer on Python 3.11: there, write `np.frombuffer(memoryview(room))`, or use
    `array`.
    """

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, index: slice, /) -> bytes: ...
    @overload
    def __setitem__(self, index: SupportsIndex, value: SupportsIndex, /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Buffer | _NumpyArray, /) -> None: ...
    def write(self, data: Buffer | _NumpyArray, offset: int | str = 0) -> int:
        """
        Copy *data*, any contiguous buffer, to byte *offset* of the room, leaving no view behind.

        Returns:
            How many bytes were copied.

        Raises:
            ValueError: it would not fit.
            ClosedError: committed or aborted before.
        """
    def array(self, shape: SupportsIndex | Iterable[SupportsIndex], dtype: Any = "uint8") -> Any:
        """
        Return a writable numpy array on the first bytes of the room. At the commit it becomes read-only.

        Raises:
            ValueError: it needs more bytes than the room has.
            TypeError: *dtype* holds Python objects.
            ImportError: there is no numpy.
            ClosedError: committed or aborted before.
        """
    def commit(self, nbytes: int | str | None = None) -> None:
        """
        Put the record, its first *nbytes* bytes or all of it. Never waits.

        Views of the room may be alive. Until the last one has died, all the bytes that were reserved stay occupied, also
        if *nbytes* is less; arrays made by `array` are read-only from now on.

        In a process that was forked after `reserve` nothing happens: the claim is the parent's.

        Raises:
            ShutDown: the ring was shut down meanwhile; nobody gets the record.
            ValueError: *nbytes* is more than was reserved.
            ClosedError: committed or aborted before, or this process was taken for dead.
        """
    def abort(self) -> None:
        """Give the room back unused. While a view of it lives the lane stays claimed. Never raises twice."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...

# ---- consumer.pxi --------------------------------------------------------------------------------

@final
class Record:
    """
    A borrowed record: its bytes where they lie in the ring, read-only, until it is released.

    Supports the buffer protocol. Released at the end of its `with`, by `release()`, or when the last view of it
    (a memoryview, a numpy array) has died, whichever comes last. Meanwhile it takes up room in the ring. If this
    process dies, another consumer gets it.

    Attributes:
        redelivered: Whether another consumer had it in hand and died, and so may have made use of it. Known with
            consumers="many" only: of one consumer nobody can tell what it had in hand, and this is False.
    """

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def redelivered(self) -> bool: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, index: slice, /) -> bytes: ...
    @property
    def sequence(self) -> int:
        """
        Its number among the records of its lane, which begin at 0 and never repeat. Of one producer the numbers follow
        each other; whoever takes its lane over goes on with them.
        """
    @property
    def producer(self) -> int:
        """
        Which producer put it: the number of its lane, from 0 to one less than the ring's `producers`. A lane goes to a
        successor when its producer leaves or dies, so over time a number may stand for several producers, of one process
        or of several. `stats()["lanes"]` says which pid has the lane now.
        """
    def array(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """
        Make an array over the first bytes of the record: a view, read-only, which keeps the loan as any view does.

        Raises:
            ValueError: the record is shorter than the array.
            ClosedError: the record was released.
        """
    def give_back(self) -> None:
        """
        Have another consumer get the record, since this one could not handle it: with consumers="many" only. It comes when
        there is nothing fresh, or a tenth of a second later at the latest, and is not marked as redelivered.

        Raises:
            BufferError: views of the record are alive; the loan stays.
            ValueError: the ring has one consumer; the loan stays.
            ClosedError: the record was released.
        """
    def release(self) -> None:
        """Give the record back, now or when its last view dies. Never fails; doing it twice does nothing."""
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...

@final
class Loans:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> Record: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[Record]: ...
    def __iter__(self) -> Iterator[Record]: ...
    def release(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...

@final
class Borrowed:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Record: ...
    def close(self) -> None: ...

# ---- handles.pxi ---------------------------------------------------------------------------------

_ProducerT = TypeVar("_ProducerT", bound=Producer)
_ConsumerT = TypeVar("_ConsumerT", bound=Consumer)

@disjoint_base
class Sending(Endpoint):
    """The verbs of a producer."""

    def put(
        self,
        record: Buffer | _NumpyArray,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> None:
        """
        Copy one record into the ring, waiting while there is no room.

        Takes a lane at first use. Records of one producer come out in the order of their puts; threads that
        had to wait go in the order they came. Other threads run while it waits; Ctrl-C interrupts it.

        Args:
            record: Any contiguous buffer, 0 to `max_record` bytes. Copied before the call returns.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.
            require_peer: Do not put what nobody will get, and do not wait for room that nobody will make, once the
                consumers there were are gone. Before the first one came nobody is: then it puts, and waits.

        Raises:
            Full: there was no room within *timeout*; the ring is unchanged.
            ShutDown: the ring was shut down.
            PeerGoneError: asked for by *require_peer*: there were consumers, and all have died or left.
            RecordTooLargeError: *record* can never fit.
            RoleTakenError: every lane was taken by a live producer until the end of *timeout*; None waits for one.
            OSError: no memory left for the lane (ENOSPC, at first use).
            ClosedError: this process closed the handle or the region.
            BufferError, TypeError: *record* is no contiguous buffer, or one with Python objects in it.
        """
    def put_nowait(self, record: Buffer | _NumpyArray) -> None:
        """`put(record, timeout=0)`: raises Full at once where there is no room."""
    def put_many(
        self,
        records: Iterable[Buffer | _NumpyArray],
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> int:
        """
        Copy many records in, as few batches as there is room for; each batch becomes visible at once.

        Args:
            records: An iterable of contiguous buffers; all are checked before the first one goes in.
            timeout: Longest wait in seconds for all of them together.
            require_peer: As in `put`.

        Returns:
            How many went in: all of them, or fewer at the deadline, if the ring was shut down meanwhile, or if *require_peer*
            found nobody left.

        Raises:
            Full: not even one went in within *timeout*.
            ShutDown, PeerGoneError, RecordTooLargeError, RoleTakenError, OSError, ClosedError, BufferError, TypeError: as
                `put`.
        """
    def reserve(
        self,
        nbytes: int | str,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> Room:
        """
        Claim room for one record of up to *nbytes* bytes, to be written in place (zero copy).

        The other side sees nothing before the commit. One claim a lane: other threads' puts wait for its end, a
        second one by the same thread is a RuntimeError.

        Returns:
            A Room, with the buffer protocol. `with` commits it at the end, and aborts it on an exception.

        Raises:
            RuntimeError: this thread has a claim open on this lane.
            Full, ShutDown, PeerGoneError, RecordTooLargeError, RoleTakenError, OSError, ClosedError: as `put`.
        """

@final
class Records:
    """What `records` iterates with."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...

class RingBase(Sending):
    """What a ring does without going through Python: every verb of both roles."""

    def _lead_to(
        self, membership: Membership, entry: _Entry, *, wait: str, require_peer: bool
    ) -> None: ...
    def _set_wait(self, wait: str, require_peer: bool) -> None: ...
    def _leave(self) -> None: ...
    def _make_producer(self, producer_class: type[_ProducerT]) -> _ProducerT: ...
    def _make_consumer(self, consumer_class: type[_ConsumerT]) -> _ConsumerT: ...
    def get(self, *, timeout: SupportsFloat | None = None, require_peer: bool = False) -> bytes:
        """
        Take the next record out, waiting while there is none.

        The lanes of the producers are served in turn; of each, records come in the order of `put`. Takes the
        role of the consumer at first use. Other threads run while it waits; Ctrl-C interrupts it.

        Args:
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.
            require_peer: Do not wait for producers that are gone. Before the first one came nobody is: then it waits.

        Returns:
            The record as new bytes.

        Raises:
            Empty: there was none within *timeout*.
            ShutDown: the ring was shut down and is drained.
            PeerGoneError: asked for by *require_peer*: there were producers, all have died or left, and the ring
                is drained.
            RoleTakenError: a live process is the consumer; nothing is waited for.
            CorruptedError: the region holds bytes that no sound program writes.
            ClosedError: this process closed the handle or the region.
            MemoryError: no memory for the result; the record stays.
        """
    def get_nowait(self) -> bytes:
        """`get(timeout=0)`: raises Empty at once where there is nothing."""
    def get_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> list[bytes]:
        """
        Take what is there, at least one record and at most *most*, waiting only for the first.

        A call ends before *most* where its records come to more than some pages: so much memory at a time would be new
        to the process, and cost more than the calls that are saved.

        Returns:
            A list of new bytes.

        Raises:
            As `get`; nothing is lost.
        """
    def get_into(
        self,
        buffer: Buffer | _NumpyArray,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> int:
        """
        Copy the next record into a writable contiguous *buffer*.

        Returns:
            Its length in bytes; the rest of the buffer is left as it was.

        Raises:
            ValueError: it is longer than the buffer; it stays in the ring.
            As `get` otherwise.
        """
    def borrow(self, *, timeout: SupportsFloat | None = None, require_peer: bool = False) -> Record:
        """
        Take the next record as a loan: its bytes where they lie, read-only, no copy.

        Returns:
            A Record, with the buffer protocol, to be released: by `with`, or when its last view dies. Until
            then it takes up room in the ring; in this process the next get goes on behind it.

        Raises:
            As `get`.
        """
    def borrow_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> Loans:
        """
        Take what is there as loans, at least one record and at most *most*, waiting only for the first.

        Returns:
            Loans: a sequence of Records that are released together, at the end of its `with` or by `release()`.

        Raises:
            As `get`.
        """
    def borrowed(
        self, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> Borrowed:
        """
        Iterate over loans until the ring is shut down and drained. Each is released when the next one is asked for, or
        later with its last view.

        Raises:
            Empty: there was no record within *timeout*.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
    def records(
        self,
        *,
        until: _Until | None = None,
        require_peer: bool = False,
        timeout: SupportsFloat | None = None,
    ) -> Records:
        """
        Iterate over records, as `get` gives them, until the ring is shut down and drained, or *until* has come.

        Args:
            until: Processes whose end ends the iteration, once all that they put is read: a multiprocessing.Process, a
                subprocess.Popen, a sentinel or a pidfd, or a collection of them. It does not matter how they end, nor
                whether they ever put anything. Looked for when there is nothing to get, and at least ten times a second;
                records of others that come meanwhile are given out, too.
            require_peer: Do not wait for producers that are gone, as in `get`.
            timeout: Longest wait in seconds for each record. None waits for ever.

        Raises:
            Empty: there was no record within *timeout*.
            TypeError: *until* is none of those.
            ValueError: a process of *until* has not been started or is closed, or a descriptor is not open.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
    def shutdown(self, immediate: bool = False) -> None:
        """
        Bring the ring to its end, for all processes and for good.

        Puts raise ShutDown from now on, waiting ones too. Gets go on until everything is drained, then raise
        ShutDown; iteration ends. Never waits.

        Args:
            immediate: What is left is dropped unseen.

        Raises:
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
    def __len__(self) -> int: ...
    @property
    def is_shut_down(self) -> bool:
        """Whether somebody has called `shutdown`: nothing can be put any more, though there may be records to get."""
    @property
    def capacity(self) -> int:
        """Bytes of records that each producer's lane can hold."""
    @property
    def max_records(self) -> int:
        """How many records each producer's lane can hold."""
    @property
    def max_record(self) -> int:
        """Bytes of the largest record that can ever fit."""
    @property
    def producers(self) -> int:
        """How many producers there can be at a time."""
    def stats(self) -> dict[str, Any]:
        """
        Tell what is going on: capacity, records waiting, and for each lane in use its producer and how many records
        were put and got. A snapshot, as plain dicts and lists.

        `loans` are the records that consumers have in hand and have not released, of each lane and in all: with
        consumers="many" those of all processes. What the one consumer has in hand only its process knows: elsewhere they
        are None. They are None, too, where a lane has too many records to look at.

        `oldest_age` are the seconds that the oldest record waits, at least, of each lane and the largest in all: to about
        10 ms, without the time that the machine was suspended. None: there is none, or it is not known, as of records
        from before a reboot. `times_full` counts the puts and reserves that found no room. `waiting_producers` and
        `waiting_consumers` are the calls that sleep; one whose process was killed counts until the next one is woken.
        After an immediate shutdown no records wait, whatever was left.

        Raises:
            ClosedError: this process closed the handle.
        """

@final
class Producer(Sending):
    """
    A handle of one producer's role: a lane of its own, taken at first use. Made by `Ring.producer()`.

    Its threads may share it. Pickled, it becomes a handle without a lane. Given back by `close`, or as a context
    manager; what was put stays.

    Attributes:
        ring: The ring that it belongs to.
    """

    ring: Any
    def close(self) -> None:
        """Give the lane back; its records stay, the next producer goes on behind them. Never fails."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...

@final
class Consumer(Endpoint):
    """
    A handle of the consumer's role, which all such handles of one process share. Made by `Ring.consumer()`.

    The role is taken at first use, and given back when the last handle that used it is closed. Pickled, it becomes a
    handle without the role. The verbs are those of Ring.

    Attributes:
        ring: The ring that it belongs to.
    """

    ring: Any
    def get(self, *, timeout: SupportsFloat | None = None, require_peer: bool = False) -> bytes:
        """
        Take the next record out, waiting while there is none.

        The lanes of the producers are served in turn; of each, records come in the order of `put`. Takes the
        role of the consumer at first use. Other threads run while it waits; Ctrl-C interrupts it.

        Args:
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.
            require_peer: Do not wait for producers that are gone. Before the first one came nobody is: then it waits.

        Returns:
            The record as new bytes.

        Raises:
            Empty: there was none within *timeout*.
            ShutDown: the ring was shut down and is drained.
            PeerGoneError: asked for by *require_peer*: there were producers, all have died or left, and the ring
                is drained.
            RoleTakenError: a live process is the consumer; nothing is waited for.
            CorruptedError: the region holds bytes that no sound program writes.
            ClosedError: this process closed the handle or the region.
            MemoryError: no memory for the result; the record stays.
        """
    def get_nowait(self) -> bytes:
        """`get(timeout=0)`: raises Empty at once where there is nothing."""
    def get_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> list[bytes]:
        """
        Take what is there, at least one record and at most *most*, waiting only for the first.

        A call ends before *most* where its records come to more than some pages: so much memory at a time would be new
        to the process, and cost more than the calls that are saved.

        Returns:
            A list of new bytes.

        Raises:
            As `get`; nothing is lost.
        """
    def get_into(
        self,
        buffer: Buffer | _NumpyArray,
        *,
        timeout: SupportsFloat | None = None,
        require_peer: bool = False,
    ) -> int:
        """
        Copy the next record into a writable contiguous *buffer*.

        Returns:
            Its length in bytes; the rest of the buffer is left as it was.

        Raises:
            ValueError: it is longer than the buffer; it stays in the ring.
            As `get` otherwise.
        """
    def borrow(self, *, timeout: SupportsFloat | None = None, require_peer: bool = False) -> Record:
        """
        Take the next record as a loan: its bytes where they lie, read-only, no copy.

        Returns:
            A Record, with the buffer protocol, to be released: by `with`, or when its last view dies. Until
            then it takes up room in the ring; in this process the next get goes on behind it.

        Raises:
            As `get`.
        """
    def borrow_many(
        self, most: int, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> Loans:
        """
        Take what is there as loans, at least one record and at most *most*, waiting only for the first.

        Returns:
            Loans: a sequence of Records that are released together, at the end of its `with` or by `release()`.

        Raises:
            As `get`.
        """
    def borrowed(
        self, *, timeout: SupportsFloat | None = None, require_peer: bool = False
    ) -> Borrowed:
        """
        Iterate over loans until the ring is shut down and drained. Each is released when the next one is asked for, or
        later with its last view.

        Raises:
            Empty: there was no record within *timeout*.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
    def records(
        self,
        *,
        until: _Until | None = None,
        require_peer: bool = False,
        timeout: SupportsFloat | None = None,
    ) -> Records:
        """
        Iterate over records, as `get` gives them, until the ring is shut down and drained, or *until* has come.

        Args:
            until: Processes whose end ends the iteration, once all that they put is read: a multiprocessing.Process, a
                subprocess.Popen, a sentinel or a pidfd, or a collection of them. It does not matter how they end, nor
                whether they ever put anything. Looked for when there is nothing to get, and at least ten times a second;
                records of others that come meanwhile are given out, too.
            require_peer: Do not wait for producers that are gone, as in `get`.
            timeout: Longest wait in seconds for each record. None waits for ever.

        Raises:
            Empty: there was no record within *timeout*.
            TypeError: *until* is none of those.
            ValueError: a process of *until* has not been started or is closed, or a descriptor is not open.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
    def __iter__(self) -> Self: ...
    def __next__(self) -> bytes: ...
    def close(self) -> None:
        """Refuse new work; the role goes with the last handle and the last loan. Never fails."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...

# ---- slot.pxi ------------------------------------------------------------------------------------

def slots_shape(
    slots: int, value_nbytes: int, copies: int, watchers: int, writers: int
) -> tuple[int, tuple[_Doorbells, _Doorbells]]: ...

_ValueT = TypeVarWithDefault("_ValueT", default=Any)

@disjoint_base
class SlotBase(Generic[_ValueT]):
    """What a slot does without going through Python."""

    def _lead_to(
        self,
        membership: Membership,
        entry: _Entry,
        index: int,
        encode: Callable[..., Any] | None,
        items: int | None,
        decode: Callable[[bytes], Any] | None,
    ) -> None: ...
    def _leave(self) -> None: ...
    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
    def publish(self, value: Any, *, timeout: SupportsFloat | None = None) -> int:
        """
        Make *value* the latest one, whole, for all readers. Never waits for readers.

        Takes the writer's role at first use. With writers="many" it waits while another writer is inside, which is
        for the time of a copy; one that was stopped in there keeps other writers (never readers) waiting.

        Args:
            value: What the slot's layout says: items for a struct format, bytes of exactly that length, a
                ctypes.Structure, something that numpy can turn into the dtype.
            timeout: With writers="many": longest wait for another writer, in seconds.

        Returns:
            The new version, 1 for the first.

        Raises:
            ValueError, TypeError: *value* does not fit the layout; nothing is published.
            RoleTakenError: a live process is the writer.
            TimeoutError: another writer was inside for all of *timeout*.
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
    def read(self, *, timeout: SupportsFloat | None = None) -> _ValueT:
        """
        Copy the latest value out, whole. Needs no write access, and is never kept waiting by a writer that died or
        was stopped; only one that publishes faster than the value can be copied makes it try again.

        Args:
            timeout: Longest time to try, in seconds.

        Returns:
            A new value as the slot's layout says: a tuple for a struct format, bytes, a ctypes.Structure, a numpy
            array or scalar.

        Raises:
            Empty: nothing was ever published.
            TimeoutError: overtaken by the writer for all of *timeout*.
            ClosedError: this process closed the handle.
        """
    def read_versioned(self, *, timeout: SupportsFloat | None = None) -> tuple[_ValueT, int]:
        """As `read`, with the version of that very value: (value, version)."""
    def read_stamped(
        self, *, timeout: SupportsFloat | None = None
    ) -> tuple[_ValueT, int, float | None]:
        """
        As `read`, with the version and the time of that very value: (value, version, stamp).

        The stamp is when it was published, in seconds of `time.CLOCK_BOOTTIME`; None where the publisher's clock was
        another one, before a reboot or in another time namespace.
        """
    def read_into(
        self, buffer: Buffer | _NumpyArray, *, timeout: SupportsFloat | None = None
    ) -> int:
        """
        Copy the bytes of the latest value into a writable contiguous *buffer* of at least that length.

        Returns:
            The version of the value.

        Raises:
            ValueError: the buffer is too small; it is unchanged.
            As `read` otherwise; then the buffer holds rubbish.
        """
    def wait_newer_into(
        self, buffer: Buffer | _NumpyArray, version: int, *, timeout: SupportsFloat | None = None
    ) -> int:
        """
        As `wait_newer`, into a writable contiguous *buffer* of at least the length of a value.

        Returns:
            The version of the value.

        Raises:
            ValueError: the buffer is too small; it is unchanged.
            As `wait_newer` otherwise.
        """
    def wait_newer(self, version: int, timeout: SupportsFloat | None = None) -> tuple[_ValueT, int]:
        """
        Wait until something newer than *version* is published.

        Sleeps at a doorbell of its own; a reader without write access, or when all doorbells are taken, polls with a
        growing pause. Other threads run meanwhile; Ctrl-C interrupts it.

        Args:
            version: A version that the caller has seen; 0 for none.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            (value, version) of the latest value.

        Raises:
            TimeoutError: nothing newer within *timeout*.
            ClosedError: this process closed the handle.
        """
    @property
    def version(self) -> int:
        """How many values were published so far; 0: none."""
    @property
    def nbytes(self) -> int:
        """Bytes of one value."""
    @property
    def age(self) -> float | None:
        """
        Seconds since the latest value was published; None if there is none, or where the publisher's clock was another
        one: before a reboot, or in another time namespace.
        """

# ---- counter.pxi ---------------------------------------------------------------------------------

@disjoint_base
class CounterBase:
    """What a counter does without going through Python."""

    def _lead_to(self, membership: Membership, entry: _Entry) -> None: ...
    def _leave(self) -> None: ...
    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
    def add(self, amount: SupportsIndex = 1) -> int:
        """
        Add *amount* in one step; any process, any time. Wraps modulo 2**64.

        Returns:
            The new value.

        Raises:
            OverflowError: *amount* is not in the range of 64 signed bits.
            TypeError: it is no int.
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
    def exchange(self, value: SupportsIndex) -> int:
        """
        Set the counter in one step.

        Returns:
            The value it had.

        Raises:
            As `add`.
        """
    def compare_exchange(self, expected: SupportsIndex, new: SupportsIndex) -> bool:
        """
        Set the counter to *new* in one step, if it is *expected*.

        Returns:
            Whether it was, and is set.

        Raises:
            As `add`.
        """
    def max(self, value: SupportsIndex) -> int:
        """
        Raise the counter to *value* in one step, if it is less.

        Returns:
            The value that it has then.

        Raises:
            As `add`.
        """
    def min(self, value: SupportsIndex) -> int:
        """
        Lower the counter to *value* in one step, if it is more.

        Returns:
            The value that it has then.

        Raises:
            As `add`.
        """
    def __iadd__(self, amount: SupportsIndex, /) -> Self: ...
    def __isub__(self, amount: SupportsIndex, /) -> Self: ...
    @property
    def value(self) -> int:
        """The value at this moment. It is not set by assigning, for that would lose what others add: see `exchange`."""
