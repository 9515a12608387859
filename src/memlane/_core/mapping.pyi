# SPDX-License-Identifier: MIT
import os
from types import TracebackType
from typing import Final, Literal, Protocol, Self, SupportsIndex, TypeAlias, final, overload

from typing_extensions import Buffer

from memlane._core.arguments import _NumpyArray

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

PERMISSIONS: Final[int]

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
