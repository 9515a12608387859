# SPDX-License-Identifier: MIT
from collections.abc import Iterable
from types import TracebackType
from typing import Any, SupportsIndex, final, overload

from typing_extensions import Buffer

from memlane._core.arguments import _NumpyArray
from memlane._core.loan import Loan

@final
class Reservation(Loan):
    """
    A claim: room for one record inside a ring or a topic, to be written in place, then committed.

    Supports the buffer protocol (writable). `with ring.reserve(n) as room:` commits at the end and aborts on
    an exception. Made by `reserve`; used by the thread that made it. The other side sees nothing of it before
    the commit; if this process dies, it has never existed.

    Views of it (memoryviews, arrays) may live on after the commit: the record is seen at once, and the bytes that were
    reserved are used for no other record until the last view has died. Arrays made by `array` become read-only. A write
    through another view after the commit spoils that record.

    Type checkers do not take a reservation for a buffer on Python 3.11: there, write `np.frombuffer(memoryview(room))`, or
    use `array`.
    """

    @overload
    def __setitem__(self, index: SupportsIndex, value: SupportsIndex, /) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Buffer | _NumpyArray, /) -> None: ...
    def write(self, data: Buffer | _NumpyArray, offset: int | str = 0) -> int:
        """
        Copy *data*, any contiguous buffer, to byte *offset* of it, leaving no view behind.

        Returns:
            How many bytes were copied.

        Raises:
            ValueError: it would not fit.
            ClosedError: committed or aborted before.
        """
    def array(self, shape: SupportsIndex | Iterable[SupportsIndex], dtype: Any = "uint8") -> Any:
        """
        Return a writable numpy array on the first bytes of it. At the commit it becomes read-only.

        Raises:
            ValueError: it needs more bytes than were reserved.
            TypeError: *dtype* holds Python objects.
            ImportError: there is no numpy.
            ClosedError: committed or aborted before.
        """
    def commit(self, nbytes: int | str | None = None) -> None:
        """
        Put the record in, its first *nbytes* bytes or all of it. Never waits.

        Views of it may be alive. Until the last one has died, all the bytes that were reserved stay occupied, also
        if *nbytes* is less; arrays made by `array` are read-only from now on.

        In a process that was forked after `reserve` nothing happens: the claim is the parent's.

        Raises:
            ShutDown: the ring or topic was shut down meanwhile; nobody gets the record.
            ValueError: *nbytes* is more than was reserved.
            ClosedError: committed or aborted before, or this process was taken for dead.
        """
    def abort(self) -> None:
        """Give it back unused. While a view of it lives the lane stays claimed. Never raises twice."""
    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...

@final
class ArrayReservation:
    """
    A reservation that is one array. `with ring.reserve_array(shape, dtype) as array:` gives the array, commits at the end, and
    aborts on an exception. Made by `reserve_array`; the array becomes read-only at the commit.
    """

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def array(self) -> Any:
        """
        The array, in place, writable until the commit.

        Raises:
            ClosedError: committed or aborted before.
        """
    def commit(self) -> None:
        """Put the record in. Never waits. Raises as `Reservation.commit`."""
    def abort(self) -> None:
        """Give it back unused. While a view of it lives the lane stays claimed. Never raises twice."""
    def __enter__(self) -> Any: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...
