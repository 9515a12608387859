# SPDX-License-Identifier: MIT
"""What a bridge tells the tools of its machine: its stats as JSON, in a slot of its own."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from memlane.errors import Empty, MemlaneError, RoleTakenError
from memlane.region import Region
from memlane.slot import Slot

__all__ = ["Status", "is_of_bridges", "running"]

_PREFIX = "bridge."
#: Of the text. Arbitrary: some hundreds of streams; of more the first ones are told.
_NBYTES: Final = 128 << 10


def is_of_bridges(region: str) -> bool:
    """Whether a bridge has made a region of this name for itself."""
    return region.startswith(_PREFIX) or region.endswith(".bridge")


class Status:
    """The slot of one bridge. None of its methods fails: a bridge works without."""

    def __init__(self, name: str) -> None:
        self._region: Region | None = None
        self._has_shown = False
        self._slot: Slot[bytes] | None = None
        try:
            self._region = Region.open_or_create(f"{_PREFIX}{name}", "1 MiB")
            self._slot = self._region.slot("status", _NBYTES, copies=2, watchers=0)
        except (MemlaneError, OSError):
            self.close()
        self.show({"name": name, "pid": os.getpid(), "streams": [], "told": []})

    def show(self, stats: dict[str, Any]) -> None:
        """Have tools see these."""
        if self._slot is None:
            return
        told = {**stats, "told": stats["told"][-10:]}
        while len(text := json.dumps(told).encode()) > _NBYTES and told["streams"]:
            told["streams"] = told["streams"][: len(told["streams"]) // 2]
            told["is_cut"] = True
        try:
            self._slot.publish(text[:_NBYTES].ljust(_NBYTES))
            self._has_shown = True
        except (RoleTakenError, MemlaneError, OSError):
            pass  # another bridge of this name shows its own

    def close(self) -> None:
        """Take it away, if it is of this bridge."""
        if self._region is None:
            return
        try:
            if self._has_shown:
                self._region.unlink()
        except (MemlaneError, OSError):
            pass
        self._region.close()
        self._region = None


def running() -> list[dict[str, Any]]:
    """
    What the bridges of this machine tell, as `Bridge.stats` does, each with `alive`: False where it
    was killed. Bridges of other users that may not be looked at are left out.
    """
    found = []
    for name in Region.names():
        if not name.startswith(_PREFIX):
            continue
        try:
            with Region.open(name, readonly=True) as region:
                slot: Slot[bytes] = region.slot("status")
                told = json.loads(slot.read(timeout=1))
                living = {row.pid for row in region.participants() if row.alive}
        except (MemlaneError, OSError, ValueError, KeyError, Empty):
            continue
        if isinstance(told, dict):
            found.append({**told, "alive": told.get("pid") in living})
    return found
