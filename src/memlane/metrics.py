# SPDX-License-Identifier: MIT
"""
What rings, topics, queues, slots and maps do, as metrics: for prometheus_client, and as text.

    registry.register(memlane.metrics.collector(region))

Everything is looked up when it is asked for: there is no thread, and no process has to count.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import memlane._arguments as _arguments
from memlane.errors import MemlaneError
from memlane.region import Region

__all__ = ["Family", "Gathering", "collector", "text"]

#: Of arrays and tables with more parts each part alone would be a flood; arbitrary.
_PARTS_MAX = 1000

Labels = tuple[tuple[str, str], ...]


@dataclass
class Family:
    """
    All samples of one metric.

    Attributes:
        name: Without `_total`.
        kind: "counter" or "gauge".
        help: What it tells.
        samples: (labels, value).
    """

    name: str
    kind: str
    help: str
    samples: list[tuple[Labels, float]] = field(default_factory=list)


_LANES = {"ring": ("producer", "put"), "topic": ("publisher", "published")}
_LANES["queue"] = _LANES["ring"]
#: name without the kind, kind of metric, help.
_OF_LANES = {
    "records": ("counter", "Records that were put, by lane."),
    "received": ("counter", "Records that were taken, by lane."),
    "overwritten": ("counter", "Records that were overwritten by newer ones, by lane."),
}
_PLAIN: dict[str, tuple[str, str, str]] = {
    # fact: name, kind of metric, help
    "capacity": ("capacity_bytes", "gauge", "Bytes that a lane has for records."),
    "times_full": ("full", "counter", "How often there was no room."),
    "redelivered": ("recovered", "counter", "Records that were given to another consumer."),
    "evicted": ("evicted", "counter", "Subscriptions that were ended since they lagged."),
    "oldest_age": ("oldest_age_seconds", "gauge", "Age of the oldest record."),
    "records": ("depth_records", "gauge", "Records that wait."),
    "kept": ("depth_records", "gauge", "Records that are kept."),
    "loans": ("loans", "gauge", "Records that are lent out."),
    "waiting_producers": ("waiting_producers", "gauge", "Calls that wait for room."),
    "waiting_publishers": ("waiting_publishers", "gauge", "Calls that wait for room."),
    "waiting_consumers": ("waiting_consumers", "gauge", "Calls that wait for records."),
    "waiting_joins": ("waiting_joins", "gauge", "Calls that wait for all tasks."),
    "version": ("published", "counter", "Values that were published."),
    "age": ("age_seconds", "gauge", "Time since the newest value."),
    "keys": ("keys", "gauge", "Keys that are there."),
    "entries": ("entries", "gauge", "Keys that there is room for."),
    "deaths": ("owner_deaths", "counter", "Owners that died with the lock."),
    "set": ("set", "gauge", "Whether it is set."),
    "value": ("value", "gauge", "Its number."),
    "blocks": ("blocks", "gauge", "Blocks that there is room for."),
    "used": ("used_blocks", "gauge", "Blocks that were ever used."),
    "living": ("living_blocks", "gauge", "Blocks of living workers."),
}


class Gathering:
    """
    Metrics of regions, looked up again and again. Counts of bytes are what went through since the
    first look, or since the beginning where that is what the first look told.
    """

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}
        self._positions: dict[tuple[str, str], list[int]] = {}
        self._nbytes: dict[tuple[str, str], float] = {}

    def look(self, regions: Iterable[tuple[str, Region]], only: str | None = None) -> list[Family]:
        """
        The metrics of some regions by their names, of all objects or of one. What is corrupted is
        counted, and hides nothing else.

        Raises:
            ClosedError: this process closed a region.
        """
        self._families = {}
        for name, region in regions:
            self._region(name, region, only)
        return list(self._families.values())

    def _add(self, name: str, kind: str, told: str, labels: Labels, value: float) -> None:
        family = self._families.get(name)
        if family is None:
            family = self._families[name] = Family(name, kind, told)
        family.samples.append((labels, float(value)))

    def _region(self, name: str, region: Region, only: str | None) -> None:
        labels: Labels = (("region", name),)
        errors = 0
        alive = dead = 0
        for participant in region.participants():
            alive, dead = alive + participant.alive, dead + (not participant.alive)
        for state, count in (("alive", alive), ("dead", dead)):
            self._add(
                "memlane_participants",
                "gauge",
                "Processes that have joined.",
                (*labels, ("state", state)),
                count,
            )
        self._add("memlane_region_bytes", "gauge", "Its length.", labels, region.nbytes)
        for entry in region._entries():
            if only not in (None, entry.name):
                continue
            try:
                with closing(region._open_entry(entry)) as made:
                    kind, stats = made._word, made.stats()
                    traffic = getattr(made, "_traffic", None)
                    self._object(kind, (*labels, ("object", entry.name)), stats)
                    if traffic is not None:
                        self._bytes(kind, (name, entry.name), traffic)
            except (MemlaneError, OSError):
                region._check()  # it is not the region that is closed
                errors += 1
        self._add(
            "memlane_unreadable_objects", "gauge", "Objects that are corrupted.", labels, errors
        )

    def _bytes(
        self, kind: str, which: tuple[str, str], traffic: Callable[[list[int]], Any]
    ) -> None:
        self._positions[which], _, nbytes = traffic(self._positions.get(which, []))
        self._nbytes[which] = self._nbytes.get(which, 0.0) + nbytes
        labels = (("region", which[0]), ("object", which[1]))
        told = "Bytes of records and values, as far as this program can tell."
        self._add(f"memlane_{kind}_bytes", "counter", told, labels, self._nbytes[which])

    def _object(self, kind: str, labels: Labels, stats: Mapping[str, Any]) -> None:
        for fact, (name, sort, told) in _PLAIN.items():
            value = stats.get(fact)
            if isinstance(value, (bool, int, float)):
                self._add(f"memlane_{kind}_{name}", sort, told, labels, value)
        if kind in _LANES:
            self._lanes(kind, labels, stats["lanes"])
        for place in stats.get("subscriptions", ()):
            who = (("pid", str(place.get("pid"))), ("name", str(place.get("name"))))
            which = (("subscription", str(place["subscription"])), *who)
            told = "Records that wait for a subscriber."
            self._add(
                "memlane_topic_subscriber_lag_records",
                "gauge",
                told,
                (*labels, *which),
                place.get("records") or 0,
            )
        for fact, part, name, sort, told in (
            ("versions", "slot", "published", "counter", "Values that were published."),
            ("values", "counter", "value", "gauge", "Its number."),
        ):
            for number, value in enumerate(stats.get(fact, ())[:_PARTS_MAX]):
                where = (*labels, (part, str(number)))
                self._add(f"memlane_{kind}_{name}", sort, told, where, value)
        if kind == "lock":
            owner = stats["owner"]
            self._add(
                "memlane_lock_held", "gauge", "Whether it is held.", labels, owner is not None
            )

    def _lanes(self, kind: str, labels: Labels, lanes: Iterable[Mapping[str, Any]]) -> None:
        side, count = _LANES[kind]
        for lane in lanes:
            where = (*labels, (side, str(lane["lane"])))
            for fact, name in ((count, "records"), ("got", "received"), ("overwritten",) * 2):
                if isinstance(lane.get(fact), int):
                    self._add(f"memlane_{kind}_{name}", *_OF_LANES[name], where, lane[fact])


def _named(region: Region) -> str:
    return region.label or "" if region.name is None else os.fspath(region.name)


class _Collector:
    """What a registry of prometheus_client asks."""

    def __init__(self, regions: tuple[Region, ...]) -> None:
        self._regions = regions
        self._gathering = Gathering()

    def describe(self) -> list[Any]:
        """Nothing is known before there is something to be looked up."""
        return []

    def collect(self) -> Iterator[Any]:
        """
        Look.

        Raises:
            ClosedError: this process closed the region.
        """
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        kinds = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}
        for family in self._gathering.look((_named(it), it) for it in self._regions):
            made = kinds[family.kind](family.name, family.help)
            for labels, value in family.samples:
                total = "_total" if family.kind == "counter" else ""
                made.add_sample(family.name + total, dict(labels), value)
            yield made


def collector(region: Region, *others: Region) -> _Collector:
    """
    Make a collector for a registry of prometheus_client: what goes through the rings, topics,
    queues, slots, maps, locks and counters of regions. It looks when the registry is asked, and
    joins nothing. The regions stay the caller's.

        prometheus_client.REGISTRY.register(memlane.metrics.collector(region))

    Raises:
        TypeError: that is no region.
        ImportError: prometheus_client is not installed.
    """
    for it in (region, *others):
        if not isinstance(it, Region):
            raise TypeError(
                f"collector takes regions, got {_arguments.shown(it)}; of an object take .region"
            )
    try:
        import prometheus_client  # noqa: F401 - or the first scrape would find out
    except ImportError as missing:
        raise ImportError(
            "a collector needs prometheus_client, which is not installed; install "
            "memlane[metrics], or use memlane.metrics.text",
            name=missing.name,
        ) from None
    return _Collector((region, *others))


def text(families: Iterable[Family]) -> str:
    """Metrics in the OpenMetrics text format, version 1.0.0."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        total = "_total" if family.kind == "counter" else ""
        for labels, value in family.samples:
            said = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)
            number = repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
            lines.append(f"{family.name}{total}{{{said}}} {number}")
    return "\n".join([*lines, "# EOF", ""])


def _escaped(said: str) -> str:
    return said.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
