# SPDX-License-Identifier: MIT
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self, SupportsIndex, final, overload

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
