# SPDX-License-Identifier: MIT
"""A kind of object from outside of the package: a flag that any process sets."""

from __future__ import annotations

from typing import Any, Self

import memlane
from memlane import _core
from memlane._core import CounterBase
from memlane._region.directory import Entry, Wanted
from memlane.shared_object import FOREIGN_KINDS, SharedObject

KIND = FOREIGN_KINDS + 7
_WANTED = Wanted(KIND, (), 64, 64)


class Flag(CounterBase, SharedObject, kind=KIND):
    """Down until somebody sets it."""

    @classmethod
    def create(cls, name: str | None, *, permissions: int = 0o600) -> Self:
        return cls._create(name, _WANTED, permissions=permissions)

    @classmethod
    def open(cls, name: str) -> Self:
        return cls._open(name, {}, timeout=0, readonly=False, owner=None)

    @classmethod
    def in_region(cls, region: memlane.Region, name: str) -> Self:
        return cls._open_or_create_in(region, name, _WANTED, {}, timeout=None)

    def _attach(self, member: _core.Membership, entry: Entry, **_options: Any) -> None:
        self._lead_to(member, entry)

    def set(self) -> None:
        self.exchange(1)

    @property
    def is_set(self) -> bool:
        return self.value == 1

    def stats(self) -> dict[str, Any]:
        return {"is_set": self.is_set}
