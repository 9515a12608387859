# SPDX-License-Identifier: MIT
"""`memlane ls`: which regions there are, what is in them, who has them open, what lags."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from memlane import inspection
from memlane.cli.text import can_show, columns, cut, duration, safe, size, table, who

#: What there is to tell of one region in a list of many, if it can be known.
_SHOWN = (
    *("name", "label", "path", "nbytes", "memory_nbytes", "used", "objects", "kinds"),
    *("in_use", "processes", "participants", "dead", "waiting", "error", "errors"),
)


def ls(patterns: Sequence[str], also_unnamed: bool, as_tree: bool, as_json: bool) -> int:
    """
    Print a line for each region, or with *as_json* an object of JSON; *as_tree*: with its objects
    and their roles below it. With *patterns* only what they match; then it is exit code 1 that one
    of them matches nothing.

    Raises:
        ValueError: one of *patterns* can be no name.
    """
    maps = inspection.mapped_files()
    found, unmatched = _found(patterns, also_unnamed, maps)
    sets = []
    if not patterns:
        sets = inspection.semaphore_sets(facts["id"] for facts in found if "id" in facts)
    if not (found or sets or patterns or as_json):
        print("no named regions" + ("" if also_unnamed else ", see --all"), file=sys.stderr)
    elif found or sets:
        _print(found, sets, as_tree, as_json)
    for pattern in unmatched:
        print(f"memlane: nothing matches '{safe(pattern)}'", file=sys.stderr)
    return 1 if unmatched else 0


def _found(
    patterns: Sequence[str], also_unnamed: bool, maps: dict[inspection.File, list[int]]
) -> tuple[list[dict[str, Any]], list[str]]:
    """The facts of what is asked for, each region once; and the patterns that match nothing."""
    regions: dict[tuple[str, str], tuple[inspection.Target, set[str] | None]] = {}
    unmatched = []
    if not patterns:
        regions = {
            (target.kind, target.name): (target, None)
            for target in inspection.regions(unnamed=also_unnamed)
        }
    for pattern in patterns:
        targets = inspection.matching(pattern, unnamed=also_unnamed)
        targets = [target for target in targets if target.path.exists()]
        if not targets:
            unmatched.append(pattern)
        for target in targets:
            whole, objects = regions.setdefault((target.kind, target.name), (target, set()))
            if target.object is None or objects is None:
                regions[target.kind, target.name] = whole, None
            else:
                objects.add(target.object)
    found = []
    for target, objects in regions.values():
        facts = inspection.facts(target, maps)
        if facts is None:
            continue
        gone = sorted(objects.difference(facts["objects"])) if objects and "stats" in facts else []
        unmatched += [f"{target.name}/{name}" for name in gone]
        if objects is None or len(gone) < len(objects):
            found.append(facts if objects is None else inspection.only(facts, objects))
    return found, unmatched


def _print(
    found: list[dict[str, Any]],
    sets: list[dict[str, Any]],
    as_tree: bool,
    as_json: bool,
) -> None:
    if as_json:
        entries = [{key: facts[key] for key in _SHOWN if key in facts} for facts in found]
        entries += [{"name": _set_name(one), **one} for one in sets]
        for entry in entries:
            print(json.dumps(entry))
        return
    most = columns()
    if as_tree:
        for facts in found:
            for line in _tree(facts):
                print(cut(safe(line), most))
        return
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
    for line in table(head, rows, right="MEMORY SIZE"):
        print(cut(line, most))


def _tree(facts: dict[str, Any]) -> Iterator[str]:
    """A region, its objects below it, and below each the processes that have a role in it."""
    label = f" ({facts['label']})" if "label" in facts else ""
    yield f"{facts['name']}{label}  {size(facts.get('memory_nbytes', 0))}, open by {who(facts)}"
    for error in facts.get("errors", ()):
        yield f"    {error}"
    names = facts.get("objects", [])
    branches = ("\u251c\u2500 ", "\u2514\u2500 ", "\u2502  ")
    if not all(can_show(sign) for branch in branches for sign in branch):
        branches = ("|- ", "`- ", "|  ")
    between, last, beside = branches
    of_object: dict[str, list[dict[str, Any]]] = {}
    for role in inspection.roles(facts):
        of_object.setdefault(role["object"], []).append(role)
    for name in names:
        is_last = name == names[-1]
        yield f"{last if is_last else between}{_object(facts, name, always_named=True)}"
        roles = of_object.get(name, [])
        for role in roles:
            below = "   " if is_last else beside
            branch = last if role is roles[-1] else between
            place = f", {role['place']}" if role["place"] else ""
            yield f"{below}{branch}{role['role']} {role['pid']}{place}: {role['state']}"


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
    parts += [_object(facts, name) for name in facts.get("kinds", {})]
    return ", ".join(parts)


def _object(facts: dict[str, Any], name: str, always_named: bool = False) -> str:
    """An object with its kind, and what waits in it."""
    kind, stats = facts["kinds"][name], facts["stats"][name]
    is_alone = not always_named and facts["objects"] == [kind] == [name]
    part = kind if is_alone else f"{name} ({kind})"
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
    return part


def oldest_age(stats: dict[str, Any]) -> float | None:
    """How long the oldest record of a ring has waited; None where nobody knows."""
    ages = [
        one["oldest_age"]
        for one in (stats, *stats.get("lanes", ()))
        if isinstance(one.get("oldest_age"), float)
    ]
    return max(ages, default=None)
