# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self, SupportsIndex, final, overload

from typing_extensions import Buffer

from memlane._core.arguments import _NumpyArray

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
