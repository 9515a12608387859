# SPDX-License-Identifier: MIT
from collections.abc import Callable
from typing import Any, TypeAlias

from typing_extensions import Buffer, disjoint_base

from memlane._core.loan import Loan

_Codec: TypeAlias = str | tuple[Callable[[Any], Any], Callable[[Any], Any]]

def reduce_tensor(tensor: Any) -> tuple[Any, ...]: ...
def rebuild_tensor(
    buffer: Buffer, dtype: Any, shape: tuple[int, ...], requires_grad: bool, kind: type
) -> Any: ...

@disjoint_base
class Codec:
    """Makes records of objects, and objects of records. Threads may share it."""

    def __init__(self, codec: _Codec | None = None) -> None: ...
    def record_of(self, thing: object) -> bytes:
        """The record of an object as bytes, for tools and tests."""
    def object_of_loan(self, loan: Loan) -> Any:
        """The object of a record on loan, of which its large arrays are read-only views."""
    def object_of(self, record: Buffer) -> Any:
        """The object of a whole record, for tools and tests."""
