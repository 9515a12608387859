# SPDX-License-Identifier: MIT
"""`memlane stat`: all facts of a region or of one of its objects, once or again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from memlane import inspection
from memlane.cli.text import Refusal, duration, safe, size, who

#: How often to search /proc for the processes that have the region open: that takes a while where
#: many processes are. Arbitrary.
MAPS_PAUSE_S = 1.0
#: What only grows, so that a difference is a rate.
_COUNTS = ("put", "got", "published", "redelivered", "evicted", "times_full", "version")
#: What is in seconds.
_AGES = ("age", "oldest_age")


def stat(name: str, every: float | None, as_json: bool) -> int:
    """
    Print what is known of *name*; with *every*, again after so many seconds, with rates, until
    Ctrl-C.

    Raises:
        Refusal, MemlaneError, OSError: it is not there, or cannot be opened.
        ValueError: *name* can be no name.
    """
    target = inspection.find(name)
    maps, maps_due = inspection.mapped_files(), time.monotonic() + MAPS_PAUSE_S
    facts = _look(target, maps)
    before, at = facts["stats"], time.monotonic()
    print(json.dumps(facts, indent=None if every else 2) if as_json else _text(facts), flush=True)
    try:
        while every is not None:
            time.sleep(every)
            if time.monotonic() >= maps_due:
                maps, maps_due = inspection.mapped_files(), time.monotonic() + MAPS_PAUSE_S
            facts, now = _look(target, maps), time.monotonic()
            rates = {
                object_name: _rates(before.get(object_name, {}), stats, now - at)
                for object_name, stats in facts["stats"].items()
            }
            before, at = facts["stats"], now
            if as_json:
                print(json.dumps({**facts, "rates": rates}), flush=True)
            else:
                print(*_lines_of_rates(facts["stats"], rates), sep="\n", flush=True)
    except KeyboardInterrupt:
        pass  # the way to end it
    return 0


def _look(target: inspection.Target, maps: dict[inspection.File, list[int]]) -> dict[str, Any]:
    """The facts now. Of a region that cannot be opened at all there is only an error."""
    facts = inspection.facts(target, maps)
    if facts is None:
        raise target.not_found()
    if "stats" not in facts:
        raise Refusal(facts["error"])
    if target.object is None:
        return facts
    if target.object not in facts["stats"]:
        hint = (
            inspection.near(target.object, facts["stats"])
            or f"; it has {', '.join(facts['stats'])}"
        )
        raise Refusal(f"region {target.name!r} has no object {target.object!r}{hint}")
    facts["objects"] = [target.object]
    for what in ("kinds", "stats"):
        facts[what] = {target.object: facts[what][target.object]}
    return facts


# ---- rates ---------------------------------------------------------------------------------------


def _counts(stats: dict[str, Any]) -> dict[str, int]:
    """What only grows of one object, its lanes and slots added up."""
    found = {key: stats[key] for key in _COUNTS if isinstance(stats.get(key), int)}
    for lane in stats.get("lanes", ()):
        for key in ("put", "got", "times_full"):
            if isinstance(lane.get(key), int) and key not in stats:
                found[key] = found.get(key, 0) + lane[key]
    if "versions" in stats:
        found["version"] = sum(stats["versions"])
    if "value" in stats:  # of a counter: may also fall
        found["value"] = stats["value"]
    return found


def _rates(before: dict[str, Any], now: dict[str, Any], seconds: float) -> dict[str, float]:
    earlier = _counts(before)
    return {
        key: (value - earlier[key]) / seconds
        for key, value in _counts(now).items()
        if key in earlier
    }


def _lines_of_rates(stats: dict[str, Any], rates: dict[str, dict[str, float]]) -> Iterator[str]:
    clock = time.strftime("%H:%M:%S")
    for name, of_object in rates.items():
        parts = [f"{key} {rate:,.1f}/s" for key, rate in of_object.items()]
        parts += [
            f"{key} {stats[name][key]:,}"
            for key in ("records", "loans", "waiting_producers", "waiting_consumers")
            if isinstance(stats[name].get(key), int)
        ]
        if isinstance(age := stats[name].get("oldest_age"), float):
            parts.append(f"oldest_age {duration(age)}")
        if "error" in stats[name]:
            parts.append(stats[name]["error"])
        yield safe(f"{clock}  {name}  {', '.join(parts)}")


# ---- once ----------------------------------------------------------------------------------------


def _text(facts: dict[str, Any]) -> str:
    lines = [facts["name"]]
    rows: list[tuple[str, object]] = [
        ("path", facts["path"]),
        ("label", facts.get("label", "")),
        ("memory", f"{size(facts['memory_nbytes'])} of {size(facts['nbytes'])}"),
        ("open by", who(facts)),
        ("dead", ", ".join(f"{one['pid']} {one['name']}" for one in facts["dead"])),
        *(("wrong", error) for error in facts.get("errors", ())),
    ]
    lines += [f"  {what:<18} {value}" for what, value in rows if value != ""]
    for name, stats in facts["stats"].items():
        lines += ["", f"{name}  {facts['kinds'][name]}"]
        lines += [f"  {what:<18} {value}" for what, value in _shown(stats)]
    return "\n".join(safe(line) for line in lines)


def _shown(stats: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The facts of one object of any kind; what consists of several facts comes in one line."""
    for key, value in stats.items():
        what = key.replace("_", " ")
        if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
            for number, one in enumerate(value):
                one = dict(one)
                number = one.pop(key.removesuffix("s"), number)
                yield (
                    f"{key.removesuffix('s')} {number}",
                    ", ".join(
                        f"{part.replace('_', ' ')} {_fact(part, it)}" for part, it in one.items()
                    ),
                )
        else:
            yield what, _fact(key, value)


def _fact(key: str, value: object) -> str:
    return duration(value) if key in _AGES and isinstance(value, float) else _plain(value)


def _plain(value: object) -> str:
    if value is None or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 100_000 else str(value)
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, list):
        return ", ".join(map(_plain, value[:16])) + (", ..." if len(value) > 16 else "")
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    return str(value)
