# SPDX-License-Identifier: MIT
"""Counters: 64-bit numbers that any process adds to. The operations are in the extension."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, Self

import memlane._arguments as _arguments
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


# ---- arrays of counters --------------------------------------------------------------------------


class _CounterOfArray(CounterBase):
    """A counter that keeps its array alive: a forgotten array closes, and would close it."""

    __slots__ = ("_array", "_index")
    _array: Counters
    _index: int

    @property
    def _goes_with(self) -> tuple[str, Counters, str]:
        """By which close this was closed, for the error."""
        return "array of counters", self._array, "open the array again"

    def __reduce__(self) -> tuple[Any, ...]:
        return operator.getitem, (self._array, self._index)

    def __repr__(self) -> str:
        return f"<memlane counter {self._index} of {self._array!r}>"


#: What arrays, lists and counters of others call what an array of counters does.
_INSTEAD_OF_COUNTERS = {
    "value values tolist get load read read_versioned array": (
        "use read_all() for all of them, or counters[i].value for one"
    ),
    "add inc incr increment exchange set put compare_exchange max min": (
        "use counters[i], which has the verbs of Counter"
    ),
    "append extend resize": "make another one under another name: its length stays",
    "size shape": "use len(counters)",
    "most_common elements total update": "use read_all(), or a memlane.Map for counts by key",
}
_OPERATORS_OF_COUNTERS = {
    "is no number": "use counters[i].value, or sum(counters.read_all())",
    "has no order": "use counters.read_all()",
}


@_core.clear_errors
@instead(_INSTEAD_OF_COUNTERS, _OPERATORS_OF_COUNTERS)
class Counters(SharedObject, kind=_core.KIND_COUNTERS):
    """
    Many counters under one name, each on a cache line of its own: `counters[i]` has the verbs of
    `Counter`. Processes that add to different ones do not slow each other down.

    `memlane.counters(n)` makes one without a name, to be passed to child processes; `create`,
    `open`, `open_or_create` are for one in a region of its own, `region.counters(...)` for one
    among others.
    """

    _needs = "how many"
    _closed = True
    _member: _core.Membership
    _entry: Entry
    _made: dict[int, _CounterOfArray]

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        counters: int,
        *,
        permissions: int = 0o600,
        label: str | None = None,
    ) -> Self:
        """
        Create *counters* counters of value 0, 1 to 2**24, in a new region of its own. Each takes 64
        bytes. With name None, *label* is its name in messages, repr and /proc. A name stays until
        `unlink`, or until a `sweep` when no process has it open.

        Raises:
            RegionExistsError, OSError, TypeError, ValueError: as `Region.create`.
        """
        return cls._create(name, _counters(counters), permissions=permissions, label=label)

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        counters: int | None = None,
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Self:
        """
        Open an array of counters that has a region of its own; *counters*, if given, is how many it
        must have.

        Raises:
            RegionNotFoundError, LayoutError, TruncatedError, CorruptedError, PermissionError: as
                `Region.open`.
        """
        asked = {"counters": None if counters is None else _count(counters)}
        return cls._open(name, asked, timeout=timeout, readonly=readonly, owner=owner)

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        counters: int,
        *,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Self:
        """Open the counters of this name, or create them. Raises as `create` and `open`."""
        wanted = _counters(counters)
        asked = {"counters": wanted.geometry[0]}
        return cls._open_or_create(name, wanted, asked, permissions=permissions, owner=owner)

    @classmethod
    def _in_region(
        cls, region: Attachment, name: str, counters: int | None, *, timeout: float | None
    ) -> Self:
        wanted = None if counters is None else _counters(counters)
        asked = {"counters": None if wanted is None else wanted.geometry[0]}
        return cls._open_or_create_in(region, name, wanted, asked, timeout=timeout)

    @classmethod
    def _facts(cls, entry: Entry) -> Mapping[str, object]:
        return {"counters": entry.geometry[0]}

    def _attach(self, member: _core.Membership, entry: Entry, **_options: Any) -> None:
        self._member, self._entry, self._made = member, entry, {}
        self._counter(0)  # which checks the geometry
        self._closed = False

    def _counter(self, index: int) -> _CounterOfArray:
        made = _CounterOfArray.__new__(_CounterOfArray)
        made._array, made._index = self, index
        made._bind(self._member, self._entry, index)
        return self._made.setdefault(index, made)

    def _detach(self) -> None:
        self._closed = True
        for counter in list(getattr(self, "_made", {}).values()):
            counter._detach()

    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
        return self._closed

    def __len__(self) -> int:
        """How many counters there are."""
        return self._entry.geometry[0]

    def __getitem__(self, index: int) -> CounterBase:
        """
        Counter *index*, with the verbs of Counter; IndexError if there is none. It belongs to the
        array.

        Raises:
            IndexError, TypeError: there is no such counter.
            ClosedError: this process closed the handle.
        """
        found = self._made.get(index) if type(index) is int else None
        if found is not None and not self._closed:
            return found
        if self._closed:
            raise _core.closed_error(self, self._called())
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                f"a counter of an array has an int for its index, got {_arguments.shown(index)}"
            ) from None
        count = len(self)
        if not -count <= number < count:
            raise IndexError(
                f"{self._called()} has counters 0 to {count - 1}, got {_arguments.shown(index)}"
            )
        number %= count
        return self._made.get(number) or self._counter(number)

    def __setitem__(self, index: int, made: CounterBase) -> None:
        """The last step of `counters[i] += 1`; nothing else can be assigned."""
        if made is not self[index]:
            raise TypeError(
                f"counter {_arguments.shown(index)} of {self._called()} is not set by assigning, "
                "which would lose what others add; use counters[i].add(n) or .exchange(n)"
            )

    def __delitem__(self, index: int) -> NoReturn:
        raise TypeError(f"{self._called()} keeps its counters; use counters[i].exchange(0)")

    def __iter__(self) -> Iterator[CounterBase]:
        return (self[index] for index in range(len(self)))

    def __contains__(self, counter: object) -> bool:
        return any(counter is found for found in self._made.values())

    def read_all(self) -> list[int]:
        """
        The values of all counters. Each is of one moment, the list is not.

        Raises:
            ClosedError: this process closed the handle.
        """
        return [counter.value for counter in self]

    def stats(self) -> dict[str, Any]:
        """
        How many counters there are, and their values, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        return {"counters": len(self), "values": self.read_all()}

    def _called(self) -> str:
        return self._member.called(self._word, self._object_name)


def _count(counters: int) -> int:
    return _arguments.positive(counters, "counters", _core.COUNTERS_MAX)


def _counters(counters: int) -> Wanted:
    count = _count(counters)
    nbytes = _core.counters_nbytes(count)
    return Wanted(
        _core.KIND_COUNTERS,
        (count,),
        nbytes,
        nbytes,
        parts=f": {count} counters of a cache line each",
        or_less="fewer counters or ",
    )


def counters(n: int, *, label: str | None = None) -> Counters:
    """
    Make *n* counters of value 0 without a name, each on a cache line of its own, to be passed to
    child processes: `Counters.create(None, n)`.

    Raises:
        OSError, TypeError, ValueError: as `Counters.create`.
    """
    return Counters.create(None, n, label=label)
