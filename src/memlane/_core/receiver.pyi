# SPDX-License-Identifier: MIT
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Generic, Self, SupportsIndex, TypeVar, final, overload

from typing_extensions import disjoint_base

from memlane._core.loan import Loan

_RecordT = TypeVar("_RecordT", bound=RecordLoan)

@disjoint_base
class RecordLoan(Loan):
    """A borrowed record: its bytes where they lie, read-only, until it is released."""

    def array(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """
        Make an array over the first bytes of the record: a view, read-only, which keeps the loan as any view does.

        Raises:
            ValueError: the record is shorter than the array.
            ClosedError: the record was released.
        """
    def release(self) -> None:
        """Give the record back, now or when its last view dies. Never fails; doing it twice does nothing."""
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None: ...

@final
class Loans(Generic[_RecordT]):
    """Several borrowed records, released together: a sequence of them, and a context manager. Made by `borrow_many`."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    @overload
    def __getitem__(self, index: SupportsIndex, /) -> _RecordT: ...
    @overload
    def __getitem__(self, index: slice, /) -> list[_RecordT]: ...
    def __iter__(self) -> Iterator[_RecordT]: ...
    def release(self) -> None:
        """Release all that are not released or given back yet. Never fails; doing it twice does nothing."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...
