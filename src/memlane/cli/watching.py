# SPDX-License-Identifier: MIT
"""Watching regions: their facts again and again, and what each object did in between, as rates."""

from __future__ import annotations

import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from memlane import MemlaneError, inspection

#: How often to search /proc for the processes that have a region open: that takes a while where
#: many processes are. Arbitrary.
MAPS_PAUSE_S = 1.0
#: Over how many looks the least, the largest and the deviation of a rate are taken. Arbitrary.
WINDOW = 60
#: What only grows, so that a difference is a rate.
_COUNTS = ("put", "got", "published", "redelivered", "evicted", "times_full", "version")
#: Of these the first that an object has says how much goes through it.
_MAIN = ("put", "published", "version", "value")


@dataclass
class Rate:
    """
    What went through one object.

    Attributes:
        hz: Records, or values, a second since the look before.
        nbytes: Their bytes a second; None where they are not known.
        counts: The same of every count of the object, by its name.
    """

    hz: float | None = None
    nbytes: float | None = None
    counts: dict[str, float] = field(default_factory=dict)
    _window: deque[float] = field(default_factory=lambda: deque(maxlen=WINDOW))

    def add(self, counts: dict[str, float], nbytes: float | None) -> None:
        main = next((key for key in _MAIN if key in counts), None)
        self.counts, self.nbytes = counts, nbytes
        self.hz = None if main is None else counts[main]
        if self.hz is not None:
            self._window.append(self.hz)

    def facts(self) -> dict[str, float | int | None]:
        """The rate, its least, largest and standard deviation, the looks they are of, and bytes."""
        window = self._window
        return {
            "hz": self.hz,
            "min": min(window, default=None),
            "max": max(window, default=None),
            "deviation": statistics.pstdev(window) if window else None,
            "window": len(window),
            "bw": self.nbytes,
        }


class Watched:
    """One region, or one of its objects."""

    def __init__(self, target: inspection.Target) -> None:
        self.target = target
        self.facts: dict[str, Any] | None = None
        self.rates: dict[str, Rate] = {}
        self._at = 0.0
        self._counts: dict[str, dict[str, int]] = {}
        self._positions: dict[str, list[int]] = {}

    def take(self, facts: dict[str, Any] | None) -> None:
        """What a look found; None: the region is gone."""
        now = time.monotonic()
        seconds, self._at = now - self._at, now
        if self.facts is not None and facts is not None and self.facts.get("id") != facts.get("id"):
            self.rates, self._counts, self._positions = {}, {}, {}  # another one of that name
        is_first, self.facts = self.facts is None, facts
        found = {} if facts is None else facts.get("stats", {})
        traffic = self._traffic(bool(found))
        before, self._counts = self._counts, {name: counts(stats) for name, stats in found.items()}
        self.rates = {name: self.rates.get(name, Rate()) for name in found}
        if is_first:
            return
        for name, now_there in self._counts.items():
            earlier = before.get(name)
            if earlier is None:
                continue
            rates = {
                key: (value - earlier[key]) / seconds
                for key, value in now_there.items()
                if key in earlier
            }
            nbytes = traffic.get(name)
            self.rates[name].add(rates, None if nbytes is None else nbytes / seconds)

    def _traffic(self, is_there: bool) -> dict[str, float]:
        if not is_there:
            return {}
        try:
            found = inspection.traffic(self.target, self._positions)
        except (MemlaneError, OSError):  # told by the facts
            return {}
        self._positions = {name: positions for name, (positions, _, _) in found.items()}
        return {name: nbytes for name, (_, _, nbytes) in found.items()}


class Maps:
    """Which processes have which files mapped, looked up now and then."""

    def __init__(self) -> None:
        self._maps: dict[inspection.File, list[int]] = {}
        self._due = 0.0

    def now(self) -> dict[inspection.File, list[int]]:
        if time.monotonic() >= self._due:
            self._maps = inspection.mapped_files()
            self._due = time.monotonic() + MAPS_PAUSE_S
        return self._maps


def counts(stats: dict[str, Any]) -> dict[str, int]:
    """What only grows of one object, its lanes and slots added up."""
    found = {key: stats[key] for key in _COUNTS if isinstance(stats.get(key), int)}
    for lane in stats.get("lanes", ()):
        for key in ("put", "got", "times_full"):
            if isinstance(lane.get(key), int) and key not in stats:
                found[key] = found.get(key, 0) + lane[key]
    if "versions" in stats:
        found["version"] = sum(stats["versions"])
    if isinstance(stats.get("value"), int):  # of a counter: may also fall
        found["value"] = stats["value"]
    return found
