# SPDX-License-Identifier: MIT
from typing import Any, Final, Literal, SupportsFloat

from typing_extensions import Buffer, disjoint_base

from memlane._core.layout import _Entry
from memlane._core.loan import Loan
from memlane._core.membership import Membership

HEAP_ARENAS_MAX: Final[int]
HEAP_ARENA_MAX: Final[int]
HEAP_BLOCKS_MAX: Final[int]
HEAP_HOLDERS_MAX: Final[int]
HEAP_TRANSITS_MAX: Final[int]
HEAP_READERS_MAX: Final[int]

def heap_shape(
    arenas: int, arena_nbytes: int, blocks: int, holders: int, transits: int
) -> tuple[tuple[int, ...], int, int, tuple[tuple[int, int, int], tuple[int, int, int]]]: ...

@disjoint_base
class BlockBase(Loan):
    """
    Bytes of a heap that this process holds, until it releases them and their last view has died. Made by `Heap.allocate` and
    `Heap.open`.
    """

    def _know_shape(self) -> None: ...
    def _take_shape(
        self, shape: tuple[int, ...], itemsize: int, described: bytes | None
    ) -> None: ...
    def _bytes(self) -> memoryview: ...
    @property
    def _meta(self) -> bytes: ...
    @property
    def _nbytes(self) -> int: ...
    @property
    def heap(self) -> Any: ...
    @property
    def handle(self) -> bytes:
        """
        24 bytes that name it, for any transport. They hold nothing: keep the block until the other side has opened it.

        Raises:
            ClosedError: it was released.
        """
    @property
    def sealed(self) -> bool:
        """Whether its bytes stay as they are, and others may open it."""
    @property
    def released(self) -> bool:
        """Whether this process has released it. Views that live keep the bytes."""
    @property
    def number(self) -> int:
        """Which block of the heap it is, for messages."""
    def seal(self) -> None:
        """
        Let other processes open it: its bytes stay as they are from now on. Doing it twice does nothing.

        Raises:
            BufferError: a view of it lives that could write.
            ClosedError: it was released, or this process was taken for dead.
        """
    def release(self) -> None:
        """Hold it no longer: at once, or when its last view has died. Never fails; doing it twice does nothing."""
    def __exit__(self, _kind: object, _value: object, _traceback: object) -> None: ...

@disjoint_base
class HeapBase:
    """What a heap does without going through Python."""

    def _bind(self, membership: Membership, entry: _Entry) -> None: ...
    def _detach(self) -> None: ...
    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle. Its blocks stay valid."""
    @property
    def nbytes(self) -> int:
        """Bytes that there are for blocks."""
    @property
    def max_block(self) -> int:
        """Bytes of the largest block that can be: those of an arena."""
    def _allocate(
        self,
        made: BlockBase,
        nbytes: int,
        meta: bytes,
        alignment: int,
        timeout: SupportsFloat | None,
    ) -> Literal["room", "never"] | None: ...
    def _open_made(self, made: BlockBase, handle: Buffer | BlockBase) -> None: ...
    def read(self, handle: Buffer | BlockBase) -> bytes:
        """
        Copy the bytes of a block, without holding it; also where the heap is open read-only.

        Args:
            handle: 24 bytes, as `block.handle` gives them.

        Returns:
            The bytes as they were sealed: whole.

        Raises:
            StaleHandleError: a LookupError: the block was freed, before or meanwhile, or is not sealed.
            ValueError: the handle is that of another heap, or none. TypeError: it is no bytes.
            ClosedError: this process closed the handle of the heap.
        """
    def _lend(self, block: BlockBase, readers: int, row: int, generation: int) -> bytes | None: ...
    def _generation_of(self, row: int) -> int: ...
    def _lent_left(self, handle: Buffer) -> int: ...
    def _lent_cancel(self, handle: Buffer) -> int: ...
    def collect(self) -> int:
        """
        Take away what dead processes held, at once; an allocation that finds no room does it by itself.

        Returns:
            How many blocks came free.

        Raises:
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
    def trim(self) -> int:
        """
        Give the memory of free room back to the system, in steps of 2 MiB or more. What is given back is reserved again when it
        is needed.

        Returns:
            The bytes that were given back.

        Raises:
            As `collect`.
        """
    def _totals(self) -> dict[str, int]: ...
    def _shares(self) -> list[tuple[str, int, bool, int, int]]: ...
