# SPDX-License-Identifier: MIT
"""Counter: a 64-bit number that any process adds to. The operations are in the extension."""

from __future__ import annotations

import os
from typing import Any, Self

import memlane._core as _core
from memlane._core import CounterBase
from memlane._instead import instead
from memlane._region.attachment import Attachment
from memlane._region.directory import Entry, Wanted
from memlane.shared_object import SharedObject

_NBYTES = 64  # a cache line of its own
_WANTED = Wanted(_core.KIND_COUNTER, (), _NBYTES, _NBYTES)


#: What numbers, locks and values of others call what a counter does.
_INSTEAD = {
    "inc incr increment increase fetch_add fetch_and_add": "use add(1)",
    "dec decr decrement decrease sub subtract fetch_sub": "use add(-1)",
    "get load read count": "use value",
    "set put store write publish reset clear swap": "use exchange(number)",
    "cas compare_and_swap compare_and_set compare_exchange_strong": (
        "use compare_exchange(expected, number)"
    ),
    "get_lock lock acquire release": "each call is one step: use add(1) without a lock",
    "get_obj raw": "use value",
    "update": "use add(number), max(number) or min(number)",
    "is_set isSet wait wait_for": "use value; to wait for changes use Slot.wait_newer(version)",
}
_NUMBER = "use counter.value"
_OPERATORS = {
    "cannot be added to or subtracted from": (
        "use counter.value for a number, or counter.add(amount), which is also counter += amount"
    ),
    "cannot be multiplied or divided": _NUMBER,
    "has no order": _NUMBER,
    "is no number": _NUMBER,
    "has no items": _NUMBER,
    "takes no items": "use counter.exchange(number)",
    "has no length": _NUMBER,
    "cannot be iterated over": _NUMBER,
}


@_core.clear_errors
@instead(_INSTEAD, _OPERATORS)
class Counter(CounterBase, SharedObject, kind=_core.KIND_COUNTER):
    """
    A signed 64-bit number in shared memory; `add` (also as `+=`), `exchange`, `compare_exchange`,
    `max`, `min` and `value` are single steps, by any process.

    Made by `create`, `open`, `open_or_create` in a region of its own, or by `region.counter(...)`.
    `create(None)` makes an unnamed counter, to be passed to child processes.
    """

    _needs = "its name to region.counter()"

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        *,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Self:
        """
        Create a counter of value 0 in a new region of its own. With name None, *label* is its name
        in messages, repr and /proc. A name stays until `unlink`, or until a `sweep` when no process
        has it open; neither close nor the end of a `with` removes it.

        Raises:
            RegionExistsError, OSError, TypeError, ValueError: as `Region.create`.
        """
        return cls._create(name, _WANTED, permissions=permissions, label=label)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Self:
        """
        Open a counter that has a region of its own.

        Raises:
            RegionNotFoundError, LayoutError, TruncatedError, CorruptedError, PermissionError: as
                `Region.open`.
        """
        return cls._open(name, {}, timeout=timeout, readonly=readonly, owner=owner)

    @classmethod
    def open_or_create(
        cls, name: str | os.PathLike[str], *, permissions: int = 0o600, owner: int | None = None
    ) -> Self:
        """Open the counter of this name, or create it. Raises as `create` and `open`."""
        return cls._open_or_create(name, _WANTED, {}, permissions=permissions, owner=owner)

    @classmethod
    def _in_region(cls, region: Attachment, name: str, *, timeout: float | None) -> Self:
        return cls._open_or_create_in(region, name, _WANTED, {}, timeout=timeout)

    def _attach(self, member: _core.Membership, entry: Entry, **_options: Any) -> None:
        self._bind(member, entry)

    def __format__(self, specification: str) -> str:
        if specification:
            raise TypeError(
                f"a Counter is no number, got the format {specification!r}; "
                f"use f'{{counter.value:{specification}}}'"
            )
        return str(self)

    def stats(self) -> dict[str, Any]:
        """
        Its value, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        return {"value": self.value}
