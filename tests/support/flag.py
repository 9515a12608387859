# SPDX-License-Identifier: MIT
"""
A kind of object from outside of the package: a flag that any process sets, and others wait for.

    0       8              64                    128                      192
    +-------+--------------+---------------------+------------------------+
    | value |              | doorbell of those   | doorbell of those that |
    |       |              | who wait for it     | wait for the next turn |
    +-------+--------------+---------------------+------------------------+
                             made with it          made by the first user
"""

from __future__ import annotations

from typing import Any, Self

import posix_ipc

import memlane
from memlane import _core
from memlane._core import CounterBase
from memlane._region import semaphores
from memlane._region.directory import Entry, Wanted
from memlane.shared_object import FOREIGN_KINDS, SharedObject

KIND = FOREIGN_KINDS + 7
NBYTES = 192
_WANTED = Wanted(KIND, (), NBYTES, NBYTES, doorbells=((64, 64, 1), (128, 64, 1)))


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
        self._bind(member, entry)
        self._member = member
        self._doorbells = *entry.at_once, *entry.later

    def set(self) -> None:
        """For who waits afterwards: nobody is woken by it."""
        self.exchange(1)

    def doorbell(self, number: int) -> posix_ipc.Semaphore:
        """The semaphore of a doorbell of one that has a name; the second one is made here."""
        place = self._doorbells[number]
        doorbells = self._member.doorbells
        assert doorbells is not None
        assert doorbells.at(place, number == 1).attached
        of_set = semaphores.set_of(self._member.region_id)
        return posix_ipc.Semaphore(f"/memlane.{of_set}.{place // 64}")

    @property
    def is_set(self) -> bool:
        return self.value == 1

    def stats(self) -> dict[str, Any]:
        return {"is_set": self.is_set}
