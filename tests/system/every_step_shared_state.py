# SPDX-License-Identifier: MIT
"""
The operations of every_step.py on maps and locks: what a child does once, and what must hold
wherever it dies.

One map or lock lives through all points of an operation: so each child takes over the entries, or
the lock, that hundreds of killed ones have left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from memlane import Lock, Map
from tests.support.processes import PATIENCE_S
from tests.system.every_step import Operation


def sealed(number: int) -> tuple[int, ...]:
    """A value that is whole only if every word is."""
    return (number,) * 6


class _OfMap(Operation):
    """A map of three entries: a bystander's, one that is changed, and one that is free."""

    def begin(self) -> None:
        self.number = 0
        self.map = Map(entries=3, value="6q", key_nbytes=8)
        self.map["other"] = sealed(1)

    def prepare(self) -> None:
        self.number += 2
        self.before: int | None = self.number
        self.after: int | None = self.number + 1
        self.map.pop("k", None)
        self.plan()
        if self.before is not None:
            self.map["k"] = sealed(self.before)

    def plan(self) -> None: ...

    def warm(self) -> None:
        self.map["own"] = sealed(1)
        del self.map["own"]

    def found(self) -> int | None:
        value = self.map.get("k")
        assert value is None or value == sealed(value[0]), "torn"
        return None if value is None else int(value[0])

    def check(self, result: object) -> str:
        found = self.found()
        assert found in (self.before, self.after)
        if result is not None:
            assert self.after == found, "lost, though the call had returned"
        there = dict(self.map.items())
        assert there.pop("other") == sealed(1)
        assert there.pop("k", None) == (None if found is None else sealed(found))
        assert there == {}
        return "done" if found == self.after else "nothing"

    def check_others(self) -> None:
        """One that is stopped or dead holds up nobody but writers of its key."""
        self.map.set("other", sealed(1), timeout=0)

    def killed(self, result: object) -> str:
        outcome = self.check(result)
        self.check_others()
        version = self.map.version("k")
        assert self.map.set("k", sealed(7), timeout=PATIENCE_S) > version
        assert self.map.pop("k", timeout=PATIENCE_S) == sealed(7)
        self.map["a"], self.map["b"] = sealed(8), sealed(9)  # no entry was lost
        assert len(self.map) == 3
        del self.map["a"], self.map["b"]
        return outcome

    def stopped(self) -> None:
        self.check(None)
        self.check_others()

    def resumed(self, result: object) -> str:
        assert result is not None
        return self.killed(result)

    def end(self) -> None:
        self.map.close()


class MapUpdate(_OfMap):
    name = "map-update"

    def run(self) -> object:
        self.map["k"] = sealed(self.after or 0)
        return True


class MapInsert(MapUpdate):
    name = "map-insert"

    def plan(self) -> None:
        self.before = None


class MapRemove(_OfMap):
    name = "map-remove"

    def plan(self) -> None:
        self.after = None

    def run(self) -> object:
        return self.map.pop("k")


class MapExpire(_OfMap):
    """The map is full, and the entry of an expired key is used for the new one."""

    name = "map-expire"

    def plan(self) -> None:
        self.before = None
        for key in ("x", "y"):
            self.map.set(key, sealed(3), expires=1e-6)
        time.sleep(0.001)

    def warm(self) -> None: ...

    def run(self) -> object:
        self.map["k"] = sealed(self.after or 0)
        return True


class _OfLock(Operation):
    """Each dead owner is told to the next one, once; the lock is never lost."""

    def begin(self) -> None:
        self.lock = Lock(watchers=2)

    def warm(self) -> None:
        self.lock.acquire()
        self.lock.release()

    def killed(self, result: object) -> str:
        deaths = self.lock.deaths
        assert self.lock.acquire(timeout=PATIENCE_S)
        told = self.lock.owner_died
        assert self.lock.deaths == deaths + told
        self.lock.release()
        with self.lock:
            assert not self.lock.owner_died
        return "told" if told else "free"

    def stopped(self) -> None:
        if self.lock.acquire(timeout=0):  # it is free, or not yet taken
            assert not self.lock.owner_died
            self.lock.release()

    def resumed(self, result: object) -> str:
        return self.killed(result)

    def end(self) -> None:
        self.lock.close()


class LockAcquire(_OfLock):
    name = "lock-acquire"

    def run(self) -> object:
        return self.lock.acquire()


class LockRelease(_OfLock):
    name = "lock-release"

    def warm(self) -> None:
        self.lock.acquire()

    def run(self) -> object:
        self.lock.release()
        return True

    def resumed(self, result: object) -> str:
        assert result is not None
        assert self.killed(result) == "free"
        return "free"


class LockWait(_OfLock):
    """Another one has the lock: lease a doorbell, announce, look again, sleep, be woken."""

    name = "lock-wait"

    def prepare(self) -> None:
        assert self.lock.acquire(timeout=PATIENCE_S)

    def warm(self) -> None:
        self.lock.region.join()

    def run(self) -> object:
        return self.lock.acquire(timeout=PATIENCE_S)

    def wake(self) -> None:
        self.let_go()

    def let_go(self) -> None:
        if self.lock.owner == os.getpid():
            self.lock.release()

    def goes_on(self) -> None:
        self.let_go()

    def killed(self, result: object) -> str:
        self.let_go()
        return super().killed(result)

    def stopped(self) -> None:
        self.let_go()


SHARED_STATE_OPERATIONS: tuple[Callable[[], Operation], ...] = (
    MapUpdate,
    MapInsert,
    MapRemove,
    MapExpire,
    LockAcquire,
    LockRelease,
    LockWait,
)
