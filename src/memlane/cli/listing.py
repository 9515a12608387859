# SPDX-License-Identifier: MIT
"""`memlane ls`: which regions there are, what is in them, who has them open, what lags."""

from __future__ import annotations

import json
import sys
from typing import Any

from memlane import inspection
from memlane.cli.text import duration, size, table, who

#: What there is to tell of one region in a list of many, if it can be known.
_SHOWN = (
    *("name", "label", "path", "nbytes", "memory_nbytes", "used", "objects", "kinds"),
    *("in_use", "processes", "participants", "dead", "waiting", "error", "errors"),
)


def ls(also_unnamed: bool, as_json: bool) -> int:
    """Print a line, or with *as_json* an entry of a list, for each region."""
    maps = inspection.mapped_files()
    found = [
        facts
        for target in inspection.regions(unnamed=also_unnamed)
        if (facts := inspection.facts(target, maps)) is not None
    ]
    sets = inspection.semaphore_sets(facts["id"] for facts in found if "id" in facts)
    if as_json:
        entries = [{key: facts[key] for key in _SHOWN if key in facts} for facts in found]
        entries += [{"name": _set_name(one), **one} for one in sets]
        print(json.dumps(entries, indent=2))
        return 0
    if not found and not sets:
        print("no named regions" + ("" if also_unnamed else ", see --all"), file=sys.stderr)
        return 0
    rows = [
        (
            facts["name"] + (f" ({facts['label']})" if "label" in facts else ""),
            size(facts["memory_nbytes"]) if "memory_nbytes" in facts else "?",
            size(facts["nbytes"]) if "nbytes" in facts else "?",
            who(facts) + _dead(facts),
            _objects(facts),
        )
        for facts in found
    ]
    rows += [
        (
            _set_name(one),
            size(4096 * one["semaphores"]),
            "",
            "the region of a file" if one["in_use"] else "nobody",
            f"{one['semaphores']} semaphores" if one["in_use"] else "left behind; memlane sweep",
        )
        for one in sets
    ]
    head = ("NAME", "MEMORY", "SIZE", "OPEN BY", "OBJECTS")
    print(*table(head, rows, right="MEMORY SIZE"), sep="\n")
    return 0


def _set_name(one: dict[str, Any]) -> str:
    return f"semaphores {one['id']}"


def _dead(facts: dict[str, Any]) -> str:
    dead = facts.get("dead")
    return f" (dead: {', '.join(str(one['pid']) for one in dead)})" if dead else ""


def _objects(facts: dict[str, Any]) -> str:
    """Each object with its kind, and what waits in it; or what is wrong with the region."""
    wrong = facts.get("errors", [])
    of_objects = [stats["error"] for stats in facts.get("stats", {}).values() if "error" in stats]
    parts = [str(error) for error in wrong if error not in of_objects][:1]
    for name, kind in facts.get("kinds", {}).items():
        part = kind if facts["objects"] == [kind] == [name] else f"{name} ({kind})"
        stats = facts["stats"][name]
        if "error" in stats:
            part += f": {stats['error']}"
        if stats.get("records"):
            part += f" {stats['records']:,} waiting"
            age = oldest_age(stats)
            if age is not None:
                part += f" for {duration(age)}"
        if stats.get("loans"):
            part += f" {stats['loans']:,} on loan"
        for key, what in (("waiting_producers", "put"), ("waiting_consumers", "get")):
            count = stats.get(key)
            if count:
                part += f" {count:,} {what} waits" if count == 1 else f" {count:,} {what}s wait"
        if stats.get("times_full"):
            part += f" full {stats['times_full']:,} times"
        parts.append(part)
    return ", ".join(parts)


def oldest_age(stats: dict[str, Any]) -> float | None:
    """How long the oldest record of a ring has waited; None where nobody knows."""
    ages = [
        one["oldest_age"]
        for one in (stats, *stats.get("lanes", ()))
        if isinstance(one.get("oldest_age"), float)
    ]
    return max(ages, default=None)
