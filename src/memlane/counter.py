# SPDX-License-Identifier: MIT
"""Counter: a 64-bit number that any process adds to. The operations are in the extension."""

from __future__ import annotations

import os
from typing import Any, Self

import memlane._core as _core
from memlane._core import CounterBase
from memlane.region import Region
from memlane.shared_object import Entry, SharedObject

_OBJECT_NAME = "counter"
_NBYTES = 64


@_core.clear_errors
class Counter(CounterBase, SharedObject):
    """
    A signed 64-bit number in shared memory; `add` (also as `+=`), `exchange`, `compare_exchange`,
    `max`, `min` and `value` are single steps, by any process.

    Made by `create`, `open`, `open_or_create` in a region of its own, or by `region.counter(...)`.
    `create(None)` makes one without a name, to be passed to child processes.
    """

    _kind = _core.KIND_COUNTER
    _word = _OBJECT_NAME
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
        Make a counter of value 0 in a new region of its own. With name None, *label* is what
        messages, repr and /proc call it. A name stays until `unlink`, or a `sweep` when nobody has
        it open; close does not remove it, nor does the end of a `with`.

        Raises:
            RegionExistsError, OSError, TypeError, ValueError: as `Region.create`.
        """
        region = Region._create(name, _NBYTES, permissions, fill=_fill, label=label, word=cls._word)
        return cls._alone(region, lambda region: cls._of(region, cls._only_entry(region)))

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
        region = Region.open(name, timeout=timeout, readonly=readonly, owner=owner)
        return cls._alone(region, lambda region: cls._of(region, cls._only_entry(region)))

    @classmethod
    def open_or_create(
        cls, name: str | os.PathLike[str], *, permissions: int = 0o600, owner: int | None = None
    ) -> Self:
        """Open the counter of this name, or make it. Raises as `create` and `open`."""
        region = Region._open_or_create(name, _NBYTES, permissions, owner, _fill)
        return cls._alone(region, lambda region: cls._of(region, cls._only_entry(region)))

    @classmethod
    def _in(cls, region: Region, name: str, *, timeout: float | None) -> Self:
        entry, _ = _add(region, name, timeout)
        return cls._of(region, cls._expect(region, name, entry))

    @classmethod
    def _of(cls, region: Region, entry: Entry) -> Self:
        counter = cls.__new__(cls)
        counter._lead_to(region._check(), entry)
        counter._settle(region, entry[0])
        return counter

    def stats(self) -> dict[str, Any]:
        """
        Tell its value, as a plain dict.

        Raises:
            ClosedError: this process closed the handle.
        """
        return {"value": self.value}


def _add(region: Region, name: str, timeout: float | None) -> tuple[Entry, bool]:
    return region._find_or_add(name, _core.KIND_COUNTER, (), _NBYTES, _NBYTES, "", timeout)


def _fill(region: Region) -> object:
    return _add(region, _OBJECT_NAME, None)
