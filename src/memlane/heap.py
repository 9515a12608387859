# SPDX-License-Identifier: MIT
"""
Heap: blocks of shared memory that any process of a region reads in place, and that are freed when
no living process holds them. What is hot is in the extension.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self, SupportsFloat, TypeVar, overload

import memlane._arguments as _arguments
import memlane._core as _core
import memlane.values as values
from memlane._core import BlockBase, HeapBase
from memlane._instead import instead
from memlane._region.attachment import Attachment, Participant
from memlane._region.directory import Entry, Wanted
from memlane.array import Geometry, geometry_of, geometry_of_text, numpy_or_none
from memlane.errors import (
    CorruptedError,
    Full,
    Holder,
    HoldersFullError,
    InFlight,
    RecordTooLargeError,
)
from memlane.shared_object import SharedObject

if TYPE_CHECKING:
    from typing_extensions import Buffer

_HeapT = TypeVar("_HeapT", bound="Heap")
_HeapT_co = TypeVar("_HeapT_co", bound="Heap", covariant=True)

_HOLDERS = 32
_IN_FLIGHT = 8
_PAGE = 4096  # of the layout, whatever the machine's pages
_META_MAX = 65535  # bytes that describe shape and dtype

#: How many blocks a heap has unless it is told: one for each so many bytes, within bounds.
_NBYTES_A_BLOCK = 4096
_BLOCKS_LEAST, _BLOCKS_MOST = 256, 262_144


@functools.lru_cache(maxsize=256)
def _geometry_of_meta(meta: bytes) -> Geometry:
    return geometry_of_text(meta.decode())


def _geometry_of_block(block: BlockBase) -> Geometry:
    """The shape and the type that a block describes, which is not trusted."""
    meta = block._meta
    if not meta:
        return Geometry((block._nbytes,), "|u1", 1, b"B")
    try:
        return _geometry_of_meta(meta)
    except Exception as wrong:  # numpy raises all kinds of errors for such a text
        raise CorruptedError(
            f"block {block.number} describes its items as {meta[:80]!r}, which this program cannot "
            f"use: {str(wrong)[:200]}",
            name=str(block.heap.name),
        ) from None


#: What arrays and buffers of others call what a block has.
_BLOCK_INSTEAD = {
    "ndarray buf value data get load asarray numpy as_array tensor": (
        "use array, which is all of it as an array of numpy's, or memoryview(block)"
    ),
    "close free unlink delete drop": "use release()",
    "freeze publish": "use seal()",
    "write set put": "use block.array[...] = value before seal()",
}


@_core.clear_errors
@instead(_BLOCK_INSTEAD)
class Block(BlockBase):
    """
    A block of a heap that this process holds: `block.array` is all of it in place, and so are
    `numpy.asarray(block)` and `memoryview(block)`. Its maker may write until `seal`; then it is
    read-only for everybody, and other processes open it by its `handle`.

    It is released by `release`, at the end of a `with`, or when nothing leads to it any more; the
    bytes stay until the last view of them has died. A pickle of it is its handle: it holds nothing,
    and becomes the block again in a process that opens it in time.
    """

    __slots__ = ()

    def _know_shape(self) -> None:
        geometry = _geometry_of_block(self)
        self._take_shape(geometry.shape, geometry.itemsize, geometry.format)

    @property
    def nbytes(self) -> int:
        """Bytes of all items."""
        return self._nbytes

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of its dimensions."""
        return _geometry_of_block(self).shape

    @property
    def dtype(self) -> Any:
        """The dtype of its items; without numpy its text."""
        described = _geometry_of_block(self).described
        return described if numpy_or_none() is None else values.dtype_of(described, ())

    @property
    def ndim(self) -> int:
        """How many dimensions it has."""
        return len(self.shape)

    @property
    def array(self) -> Any:
        """
        All of it as an array of numpy's, in place, read-only once it is sealed. It keeps the bytes
        for as long as it lives.

        Raises:
            ImportError: there is no numpy; use memoryview(block).
            ClosedError: it was released.
        """
        numpy = numpy_or_none()
        if numpy is None:
            raise ImportError(
                "an array needs numpy, which is not installed; install it, or use "
                "memoryview(block)",
                name="numpy",
            )
        geometry = _geometry_of_block(self)
        kind = values.dtype_of(geometry.described, ())
        if geometry.nbytes != self._nbytes:
            self._take_shape(geometry.shape, geometry.itemsize, geometry.format)  # which says so
        if geometry.nbytes == 0:
            return numpy.empty(geometry.shape, kind)
        # Not numpy.ndarray(buffer=...), which lets the buffer go while the array lives.
        found = numpy.frombuffer(self._bytes(), kind, math.prod(geometry.shape))
        return found.reshape(geometry.shape)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        """What `numpy.asarray` calls: the block itself, unless it has to be converted."""
        found = self.array
        if dtype is not None and dtype != found.dtype:
            if copy is False:
                raise ValueError(f"an array of {found.dtype} is not one of {dtype} without a copy")
            return found.astype(dtype)
        return found.copy() if copy else found

    def __dlpack__(self, **asked: Any) -> Any:
        """
        All of it for what imports DLPack, in place; kept until its deleter is called.

        Raises:
            BufferError: it is sealed, so read-only, and the importer asks for the old structure,
                which cannot say so.
        """
        return self.array.__dlpack__(**asked)

    def _memory(self) -> Any:
        return memoryview(self) if numpy_or_none() is None else self.array

    def __getitem__(self, index: Any) -> Any:
        return self._memory()[index]

    def __setitem__(self, index: Any, value: Any) -> None:
        if index is Ellipsis and numpy_or_none() is None:
            index = slice(None)
        self._memory()[index] = value

    def __len__(self) -> int:
        shape = self.shape
        if not shape:
            raise TypeError("a block without dimensions has no length; use block.array[()]")
        return shape[0]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._memory())

    def __reduce__(self) -> tuple[Any, ...]:
        self.seal()
        return _rebuild_block, (self.heap, self.handle)

    def __repr__(self) -> str:
        state = "released" if self.released else "sealed" if self.sealed else "not sealed"
        return f"<memlane.Block {self.number} of {self._nbytes} bytes, {state}, in {self.heap!r}>"


@_core.clear_errors
def _rebuild_block(heap: Heap, handle: bytes) -> Block:
    return heap.open(handle)


@_core.clear_errors
class BlockLoan:
    """
    A block that is held for readers to come, made by `Heap.lend`. Its `handle`, and its pickle,
    open the block as those of the block itself do, and count one reader off.

    Attributes:
        heap: The heap.
        handle: 24 bytes.
        readers: For how many readers it was lent.
    """

    def __init__(self, heap: Heap, handle: bytes, readers: int) -> None:
        self.heap, self.handle, self.readers = heap, handle, readers

    @property
    def left(self) -> int:
        """
        How many readers have not come; 0: it is over.

        Raises:
            ClosedError: this process closed the heap.
        """
        return self.heap._lent_left(self.handle)

    def cancel(self) -> int:
        """
        End the loan: the block is free, unless somebody has opened it.

        Returns:
            How many readers had not come.

        Raises:
            ClosedError: this process closed the heap.
        """
        return self.heap._lent_cancel(self.handle)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_block, (self.heap, self.handle)

    def __repr__(self) -> str:
        return f"<memlane.BlockLoan for {self.readers} readers in {self.heap!r}>"


class _OpenHeap(Protocol[_HeapT_co]):
    def __call__(
        self,
        name: str | os.PathLike[str],
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> _HeapT_co: ...


class _OpenBlock(Protocol):
    def __call__(self, handle: Buffer | Block, /) -> Block: ...


class _Open:
    """What opens: of the class a heap by its name, of a heap a block by its handle."""

    @overload
    def __get__(self, heap: None, cls: type[_HeapT]) -> _OpenHeap[_HeapT]: ...
    @overload
    def __get__(self, heap: Heap, cls: type[Heap]) -> _OpenBlock: ...
    def __get__(self, heap: Heap | None, cls: type[Any]) -> Any:
        return cls._open_heap if heap is None else heap._open_block


#: What other allocators and object stores call what a heap does.
_INSTEAD = {
    "alloc malloc new create_block reserve": "use allocate(nbytes) or allocate(shape, dtype)",
    "free delete": "use block.release(): a block is free when nobody holds it any more",
    "get attach load": "use open(handle)",
    "put store": "use block = heap.allocate(shape, dtype), block.array[:] = data, block.seal()",
    "gc garbage_collect": "use collect()",
    "compact defragment": "use trim(), which gives free memory back; blocks never move",
}


@_core.clear_errors
@instead(_INSTEAD)
class Heap(HeapBase, SharedObject, kind=_core.KIND_HEAP):
    """
    Memory in blocks: `allocate` makes one, any process of the region opens it by its handle and
    reads it in place, and it is free when the last process that holds it has released it, or has
    died.

    Made by `create`, `open`, `open_or_create` in a region of its own, or by `region.heap(...)`.
    `Heap("64 MiB")` is unnamed, to be passed to child processes. Memory is reserved as it is first
    used. No call waits for another process, except an `allocate` that is told to.
    """

    _needs = "nbytes="

    def __init__(
        self,
        nbytes: int | str,
        *,
        arenas: int = 1,
        blocks: int | None = None,
        holders: int = _HOLDERS,
        in_flight: int = _IN_FLIGHT,
        anonymous: bool = False,
        label: str | None = None,
    ) -> None:
        geometry = HeapGeometry.of(nbytes, arenas, blocks, holders, in_flight)
        self._create_here(None, geometry.wanted(), anonymous=anonymous, label=label)

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        nbytes: int | str,
        *,
        arenas: int = 1,
        blocks: int | None = None,
        holders: int = _HOLDERS,
        in_flight: int = _IN_FLIGHT,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Self:
        """
        Create a heap in a new region of its own.

        Args:
            name: As of `Region.create`; None: unnamed.
            nbytes: Bytes for blocks, rounded up to pages.
            arenas: In how many parts they lie, 1 to 256. Processes that allocate at the same time
                get in each other's way less with more of them; a block lies in one.
            blocks: How many blocks there can be at once, up to 2**24; by default one for each 4096
                bytes, at least 256 and at most 262,144.
            holders: How many processes can hold a block at once, 1 to 1,000.
            in_flight: How many records, values and loans can, 1 to 64.
            permissions: Bits of the file.
            label: With the name None, its name in messages, repr and /proc.

        Raises:
            TypeError, ValueError: no heap can have this geometry.
            RegionExistsError, OSError: as `Region.create`.
        """
        geometry = HeapGeometry.of(nbytes, arenas, blocks, holders, in_flight)
        return cls._create(name, geometry.wanted(), permissions=permissions, label=label)

    #: `Heap.open(name)` opens a heap, `heap.open(handle)` a block of it.
    open = _Open()

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        nbytes: int | str,
        *,
        arenas: int = 1,
        blocks: int | None = None,
        holders: int = _HOLDERS,
        in_flight: int = _IN_FLIGHT,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Self:
        """Open the heap of this name and check its geometry, or create it. Raises as both."""
        geometry = HeapGeometry.of(nbytes, arenas, blocks, holders, in_flight)
        return cls._open_or_create(
            name, geometry.wanted(), geometry.asked(), permissions=permissions, owner=owner
        )

    @classmethod
    def _in_region(
        cls,
        region: Attachment,
        name: str,
        nbytes: int | str | None,
        *,
        arenas: int | None,
        blocks: int | None,
        holders: int | None,
        in_flight: int | None,
        timeout: float | None,
    ) -> Self:
        """Open one among the objects of a region; with its size create it if needed."""
        timeout = _arguments.optional_timeout(timeout)  # checked even if nothing is waited for
        geometry = HeapGeometry.of(
            _PAGE if nbytes is None else nbytes,
            1 if arenas is None else arenas,
            blocks,
            _HOLDERS if holders is None else holders,
            _IN_FLIGHT if in_flight is None else in_flight,
        )
        asked = {
            "nbytes": None if nbytes is None else geometry.nbytes,
            "arenas": arenas,
            "blocks": None if blocks is None else geometry.blocks,
            "holders": holders,
            "in_flight": in_flight,
        }
        wanted = None if nbytes is None else geometry.wanted()
        return cls._open_or_create_in(region, name, wanted, asked, timeout=timeout)

    @classmethod
    def _open_heap(
        cls,
        name: str | os.PathLike[str],
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Self:
        """
        Open a heap that has a region of its own. Read-only, blocks can be copied by `read`, and not
        be held.

        Raises:
            RegionNotFoundError, LayoutError, TruncatedError, CorruptedError, PermissionError: as
                `Region.open`.
        """
        return cls._open(name, {}, timeout=timeout, readonly=readonly, owner=owner)

    @classmethod
    def _facts(cls, entry: Entry) -> dict[str, object]:
        arenas, arena_nbytes, blocks, holders, in_flight = entry.geometry[:5]
        return {
            "nbytes": arenas * arena_nbytes,
            "arenas": arenas,
            "blocks": arenas * blocks,
            "holders": holders,
            "in_flight": in_flight,
        }

    def _attach(self, member: _core.Membership, entry: Entry, **_options: Any) -> None:
        self._bind(member, entry)

    # ---- blocks ----------------------------------------------------------------------------------

    def allocate(
        self,
        shape: int | str | tuple[int, ...],
        dtype: Any = None,
        *,
        align: int = 64,
        timeout: SupportsFloat | None = 0,
    ) -> Block:
        """
        Make a block. Its bytes are whatever was there before.

        Memory for it is reserved at its first use. Where there is no room, what dead processes held
        is taken away first. Waiting for room, other threads run, and Ctrl-C interrupts it.

        Args:
            shape: Bytes of it, as an int or a text such as "1 MiB"; with a *dtype* the lengths of
                its dimensions.
            dtype: The type of its items, as of `memlane.array`; None: it is bytes.
            align: Its first byte lies at a multiple of so many in the region: a power of two up to
                4096.
            timeout: Longest wait for room in seconds; 0 never waits, None waits for ever.

        Returns:
            The block, which its maker may write until it is sealed.

        Raises:
            Full: there is no room. It says which processes hold how much.
            RecordTooLargeError: a ValueError: it never fits.
            OSError: the system has no memory for it (ENOSPC).
            TypeError, ValueError: shape, dtype or align is none.
            PermissionError: the region is open read-only.
            ClosedError: this process closed the heap.
        """
        if dtype is None:
            if isinstance(shape, tuple):
                raise TypeError(
                    f"a block of shape {_arguments.shown(shape)} needs a dtype; give it, such as "
                    "'u1', or a number of bytes"
                )
            nbytes, meta = _arguments.size(shape, "nbytes"), b""
        else:
            if isinstance(shape, str):
                raise TypeError(
                    f"with a dtype shape must be an int or a tuple of ints, got "
                    f"{_arguments.shown(shape)}"
                )
            geometry = geometry_of(shape, dtype)
            nbytes, meta = geometry.nbytes, geometry.text.encode()
            if len(meta) > _META_MAX:
                raise ValueError(
                    f"the dtype takes {len(meta)} bytes to describe, at most {_META_MAX} fit"
                )
        alignment = _arguments.integer(align, "align", "an int")
        if not 1 <= alignment <= _PAGE or alignment & (alignment - 1):
            raise ValueError(f"align must be a power of two from 1 to {_PAGE}, got {alignment}")
        if nbytes >= 1 << 62:
            raise self._never(nbytes)
        made = Block.__new__(Block)
        why = self._allocate(made, nbytes, meta, max(alignment, 64), timeout)
        if why == "never":
            raise self._never(nbytes)
        if why is not None:
            raise self._full(nbytes + len(meta))
        return made

    def _called(self) -> str:
        return self._region._member.called(self._word, self._object_name)

    def _never(self, nbytes: int) -> RecordTooLargeError:
        most = self.max_block
        return RecordTooLargeError(
            f"a block of {nbytes} bytes can never be made in {self._called()}, where the largest "
            f"has {most} bytes; create the heap with a larger nbytes=, or with fewer arenas=",
            nbytes=nbytes,
            max_record=most,
        )

    def _full(self, nbytes: int) -> Full:
        totals = self._totals()
        holders, flying = self.holders(), self.in_flight()
        largest = totals["largest_free"]
        cause = "blocks" if largest >= nbytes + 64 else "room"
        named = [
            f"process {who.pid} ({who.name}) has {who.blocks} blocks of {who.bytes} bytes"
            for who in holders
            if who.pid is not None
        ]
        named += [f"{one.object!r} has {one.blocks} blocks of {one.bytes} bytes" for one in flying]
        shown = "; ".join(named[:8]) + ("; ..." if len(named) > 8 else "")
        if cause == "room":
            said = (
                f"has no room for a block of {nbytes} bytes: {totals['free']} of "
                f"{totals['free'] + totals['used']} bytes are free, {largest} in one piece"
            )
        else:
            said = f"has all its {totals['max_blocks']} blocks in use"
        return Full(
            f"{self._called()} {said} ({shown or 'nobody holds any'}); release blocks, wait with "
            "timeout=, or create a larger heap",
            cause=cause,
            needed=nbytes,
            largest_free=largest,
            free=totals["free"],
            holders=tuple(holders),
            in_flight=tuple(flying),
        )

    def _open_block(self, handle: Buffer | Block, /) -> Block:
        """
        Hold the block that a handle names, in place.

        Args:
            handle: 24 bytes, as `block.handle` gives them, or those of a loan.

        Returns:
            The block, read-only. It is held until it is released and its last view has died.

        Raises:
            StaleHandleError: a LookupError: the block was freed, or is not sealed.
            HoldersFullError: as many processes hold it as can hold one.
            ValueError: the handle is that of another heap, or none. TypeError: it is no bytes.
            PermissionError: the region is open read-only.
            ClosedError: this process closed the heap.
        """
        made = Block.__new__(Block)
        self._open_made(made, handle)
        return made

    def lend(
        self, block: Block, readers: int = 1, *, to: Participant | int | None = None
    ) -> BlockLoan:
        """
        Hold a block for readers to come: it stays until so many have opened the loan's handle, or
        the process is gone that answers for it. The block is sealed.

        Args:
            block: A block of this heap that this process holds; it may be released afterwards.
            readers: How many, 1 to 255.
            to: The process that answers for the loan: a participant of the region, or its pid.
                None: this process.

        Returns:
            The loan, whose pickle opens the block.

        Raises:
            HoldersFullError: as many records, values and loans hold it as can.
            LookupError: there is no such participant.
            BufferError: a view of it lives that could write.
            ValueError, TypeError: *readers* is out of range, or it is no block of this heap.
            ClosedError: this process closed the heap, or has released the block.
        """
        if not isinstance(block, Block):
            raise TypeError(f"block must be a Block of this heap, got {_arguments.shown(block)}")
        count = _arguments.positive(readers, "readers", _core.HEAP_READERS_MAX)
        row, generation = 0, 0
        if to is not None:
            row, generation = self._participant(to)
        ticket = self._lend(block, count, row, generation)
        if ticket is None:
            limit = self._totals()["max_in_flight"]
            raise HoldersFullError(
                f"block {block.number} of {self._called()} is held by {limit} records and loans, "
                "as many as can hold one; cancel a loan, or create a heap with a larger in_flight=",
                number=block.number,
                limit=limit,
            )
        return BlockLoan(self, ticket, count)

    def _participant(self, to: Participant | int) -> tuple[int, int]:
        """Row and generation of a participant that lives."""
        pid = to.pid if isinstance(to, Participant) else _arguments.integer(to, "to", "a pid")
        for row, found, _, _, alive in self._region._check().participants():
            if found != pid or not alive or (isinstance(to, Participant) and to.row != row):
                continue
            generation = self._generation_of(row)
            if generation:
                return row, generation
        raise LookupError(
            f"no process of pid {pid} has joined {self._region._member.name}; have it open the "
            "heap and join the region first"
        )

    # ---- facts -----------------------------------------------------------------------------------

    def holders(self) -> list[Holder]:
        """
        The processes that keep blocks, the one with the most bytes first.

        Raises:
            ClosedError: this process closed the heap.
        """
        return self._kept()[0]

    def in_flight(self) -> list[InFlight]:
        """
        The objects whose records, or whose latest value, keep blocks.

        Raises:
            ClosedError: this process closed the heap.
        """
        return self._kept()[1]

    def _kept(self) -> tuple[list[Holder], list[InFlight]]:
        shares = self._shares()
        names = {row: (pid, name) for row, pid, _, name, _ in self._region._check().participants()}
        kept: dict[int | None, list[int]] = {}
        objects = {entry.number: entry.name for entry in self._region._entries()}
        flying = []
        for kind, number, alive, blocks, nbytes in shares:
            if kind == "entry":
                flying.append(InFlight(objects.get(number, f"(entry {number})"), blocks, nbytes))
                continue
            at = kept.setdefault(number if alive and number in names else None, [0, 0, 0])
            if kind == "held":
                at[0] += blocks
                at[1] += nbytes
            else:
                at[2] += blocks
        holders = [
            Holder(*((None, "") if row is None else names[row]), *numbers)
            for row, numbers in kept.items()
        ]
        holders.sort(key=lambda holder: holder.bytes, reverse=True)
        return holders, flying

    def stats(self) -> dict[str, Any]:
        """
        Its geometry, how much of it is in use, and which processes hold it, as plain dicts and
        lists. It walks over all blocks.

        Raises:
            ClosedError: this process closed the handle.
        """
        holders, flying = self._kept()
        return {
            "nbytes": self.nbytes,
            **self._totals(),
            "holders": [holder._asdict() for holder in holders],
            "in_flight": [one._asdict() for one in flying],
        }


@dataclass(frozen=True, slots=True)
class HeapGeometry:
    """
    The requested geometry of a heap.

    Attributes:
        nbytes: Bytes for blocks, in all arenas.
        arenas: The number of arenas.
        blocks: The number of blocks, in all arenas.
        holders: How many processes can hold a block.
        in_flight: How many records, values and loans can.
    """

    nbytes: int
    arenas: int
    blocks: int
    holders: int
    in_flight: int

    @classmethod
    def of(
        cls, nbytes: int | str, arenas: int, blocks: int | None, holders: int, in_flight: int
    ) -> HeapGeometry:
        """
        Raises:
            TypeError, ValueError: no heap can have this geometry.
        """
        size = _arguments.size(nbytes, "nbytes")
        parts = _arguments.positive(arenas, "arenas", _core.HEAP_ARENAS_MAX)
        if size == 0:
            raise ValueError("nbytes must be at least 1, got 0")
        each = -(-size // (parts * _PAGE)) * _PAGE
        if each > _core.HEAP_ARENA_MAX:
            raise ValueError(
                f"an arena may have at most 256 GiB, got {_arguments.size_text(each)}; give more "
                "arenas="
            )
        if blocks is None:
            count = max(_BLOCKS_LEAST, min(_BLOCKS_MOST, parts * each // _NBYTES_A_BLOCK))
        else:
            count = _arguments.positive(blocks, "blocks", _core.HEAP_BLOCKS_MAX)
        count = -(-count // parts) * parts
        return cls(
            parts * each,
            parts,
            min(count, _core.HEAP_BLOCKS_MAX // parts * parts),
            _arguments.positive(holders, "holders", _core.HEAP_HOLDERS_MAX),
            _arguments.positive(in_flight, "in_flight", _core.HEAP_TRANSITS_MAX),
        )

    def wanted(self) -> Wanted:
        geometry, nbytes, reserved, doorbells = _core.heap_shape(
            self.arenas,
            self.nbytes // self.arenas,
            self.blocks // self.arenas,
            self.holders,
            self.in_flight,
        )
        return Wanted(
            _core.KIND_HEAP,
            geometry,
            nbytes,
            reserved,
            parts=f": {_arguments.size_text(self.nbytes)} for blocks and what describes "
            f"{self.blocks} of them",
            or_less="a smaller nbytes=, fewer blocks= or ",
            doorbells=doorbells,
        )

    def asked(self) -> dict[str, object]:
        return {
            "nbytes": self.nbytes,
            "arenas": self.arenas,
            "blocks": self.blocks,
            "holders": self.holders,
            "in_flight": self.in_flight,
        }


def _named_open() -> None:
    for function in (Heap._open_heap.__func__, Heap._open_block):  # type: ignore[attr-defined]
        function.__name__, function.__qualname__ = "open", "Heap.open"


_named_open()
