# SPDX-License-Identifier: MIT
"""`memlane rm` and `memlane sweep`: take away what nobody uses, else say who does."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from memlane import Region, sweep
from memlane._region import files, semaphores
from memlane._region.location import PREFIX, SHARED_MEMORY
from memlane._region.sweep import remove
from memlane.cli import finding, processes
from memlane.cli.text import Refusal, near, safe, size


def rm(name: str, as_json: bool) -> int:
    """
    Remove one region that nobody has open, or one object that nobody has a role in.

    Raises:
        Refusal: it is in use.
        MemlaneError, OSError: it is not there, or may not be removed.
        ValueError: *name* can be no name.
    """
    target = finding.target(name)
    if target.kind == "unnamed":
        raise Refusal(
            f"region {target.name!r} has no name that could be removed; it goes with the last "
            "process that has it open"
        )
    facts = finding.facts_of(target, processes.who_maps())
    if facts is None:
        raise target.not_found()
    if target.object is not None:
        return _rm_object(target, target.object, facts, as_json)
    freed = facts.get("memory_nbytes", 0)
    if "id" in facts:
        freed += _nbytes_of_set(facts["id"])
    try:
        remove(target.region_name)
    except FileNotFoundError:
        raise target.not_found() from None
    except BlockingIOError:
        raise Refusal(
            f"region {target.name!r} is in use by {finding.who(facts)}; end them first, or unlink "
            "it in a program",
        ) from None
    _tell({target.name: freed}, "removed", as_json)
    return 0


def _rm_object(target: finding.Target, name: str, facts: dict[str, Any], as_json: bool) -> int:
    stats = facts.get("stats", {}).get(name)
    if stats is None:
        if "error" in facts:
            raise Refusal(facts["error"])
        hint = near(name, facts["objects"])
        raise Refusal(f"region {target.name!r} has no object {name!r}{hint}")
    holders = sorted(_holders(stats))
    if holders:
        raise Refusal(
            f"object {name!r} of region {target.name!r} is in use by process"
            f"{'es' if len(holders) > 1 else ''} {', '.join(map(str, holders))}; end them first",
        )
    try:
        with Region.open(target.region_name) as region:
            region.remove(name)
    except KeyError as error:  # somebody was faster
        raise Refusal(str(error.args[0])) from None
    _tell({f"{target.name}/{name}": stats["nbytes"]}, "removed", as_json)
    return 0


def _holders(stats: dict[str, Any]) -> set[int]:
    """The pids of living processes that have a role in an object, as its stats tell them."""
    found = set()
    for lane in stats.get("lanes", ()):
        if lane.get("producer") == "alive":
            found.add(lane["pid"])
    for role in ("consumer", "writer"):
        if stats.get(role) == "alive" and stats.get(f"{role}_pid") is not None:
            found.add(stats[f"{role}_pid"])
    return found


def sweep_up(only: Sequence[str], dry_run: bool, as_json: bool) -> int:
    """
    Remove what nobody has open, of all or *only* of some regions, and tell how much room that gave
    back. With *dry_run* only tell.

    Returns:
        1 if one of *only* is in use or not there, else 0.
    """
    wanted = list(only) or None
    room = {name: _nbytes(name) for name in sweep(wanted, dry_run=True)}
    gone = list(room) if dry_run else sweep(wanted)
    _tell(
        {name: room.get(name, 0) for name in gone},
        "would remove" if dry_run else "removed",
        as_json,
    )
    failed = [name for name in only if name not in gone]
    if failed:
        maps = processes.who_maps()
        for name in failed:
            print(f"memlane: {safe(_why_not(name, maps))}", file=sys.stderr)
    return 1 if failed else 0


def _why_not(name: str, maps: dict[processes.File, list[int]]) -> str:
    target = finding.target(name)
    facts = finding.facts_of(target, maps)
    if facts is None:
        return str(target.not_found())
    if facts.get("in_use"):
        return f"region {name!r} is in use by {finding.who(facts)}"
    return f"region {name!r} was not removed: {facts.get('error', 'it belongs to somebody else')}"


def _nbytes(name: str) -> int:
    """How much room the file of a region has, or a set of semaphores that sweep has named."""
    of_set = name.removeprefix("semaphores ")
    if of_set != name:
        return _nbytes_of_set(of_set)
    prefix = "" if name.startswith(files.NEW_PREFIX) else PREFIX
    try:
        return (SHARED_MEMORY / (prefix + name)).stat().st_blocks * 512
    except OSError:
        return 0


def _nbytes_of_set(of_set: str) -> int:
    found = 0
    for file in semaphores.set_files(of_set):
        try:
            found += file.stat().st_blocks * 512
        except OSError:
            continue
    return found


def _tell(gone: dict[str, int], what: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(gone, indent=2))
        return
    for name, nbytes in gone.items():
        print(f"{what} {safe(name)}, {size(nbytes)}")
    if len(gone) > 1:
        print(f"{what} {size(sum(gone.values()))} in all")
    elif not gone:
        print(f"{what} nothing", file=sys.stderr)
