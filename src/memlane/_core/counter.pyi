# SPDX-License-Identifier: MIT
from typing import Final, Self, SupportsIndex

from typing_extensions import disjoint_base

from memlane._core.layout import _Entry
from memlane._core.membership import Membership

COUNTERS_MAX: Final[int]

def counters_nbytes(counters: int) -> int: ...

@disjoint_base
class CounterBase:
    """What a counter does without going through Python."""

    def _bind(self, membership: Membership, entry: _Entry, index: int | None = None) -> None: ...
    def _detach(self) -> None: ...
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
