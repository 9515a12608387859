# SPDX-License-Identifier: MIT
"""`memlane rm` and `memlane sweep`: remove what is not in use, else name the users."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from memlane import Region, inspection, sweep
from memlane.cli.text import Refusal, safe, size, who


def rm(name: str, as_json: bool) -> int:
    """
    Remove a region that no process has open, or an object in which no process has a role.

    Raises:
        Refusal: it is in use.
        MemlaneError, OSError: it does not exist, or may not be removed.
        ValueError: *name* is not a valid name.
    """
    target = inspection.find(name)
    if target.kind == "unnamed":
        raise Refusal(
            f"region {target.name!r} has no name that could be removed; it goes with the last "
            "process that has it open"
        )
    facts = inspection.facts(target)
    if facts is None:
        raise target.not_found()
    if target.object is not None:
        return _rm_object(target, target.object, facts, as_json)
    freed = facts.get("memory_nbytes", 0)
    if "id" in facts:
        freed += inspection.memory_nbytes(f"semaphores {facts['id']}")
    try:
        target.remove()
    except BlockingIOError:
        raise Refusal(
            f"region {target.name!r} is in use by {who(facts)}; end them first, or unlink "
            "it in a program",
        ) from None
    _tell({target.name: freed}, "removed", as_json)
    return 0


def _rm_object(target: inspection.Target, name: str, facts: dict[str, Any], as_json: bool) -> int:
    stats = facts.get("stats", {}).get(name)
    if stats is None:
        if "error" in facts:
            raise Refusal(facts["error"])
        hint = inspection.near(name, facts["objects"])
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
    except KeyError as error:  # another process was faster
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
    Remove what no process has open, of all regions or *only* of some, and tell how many bytes that
    freed. With *dry_run* only tell.

    Returns:
        1 if one of *only* is in use or does not exist, else 0.
    """
    wanted = list(only) or None
    room = {name: inspection.memory_nbytes(name) for name in sweep(wanted, dry_run=True)}
    gone = list(room) if dry_run else sweep(wanted)
    _tell(
        {name: room.get(name, 0) for name in gone},
        "would remove" if dry_run else "removed",
        as_json,
    )
    failed = [name for name in only if name not in gone]
    if failed:
        maps = inspection.mapped_files()
        for name in failed:
            print(f"memlane: {safe(_why_not(name, maps))}", file=sys.stderr)
    return 1 if failed else 0


def _why_not(name: str, maps: dict[inspection.File, list[int]]) -> str:
    target = inspection.find(name)
    facts = inspection.facts(target, maps)
    if facts is None:
        return str(target.not_found())
    if facts.get("in_use"):
        return f"region {name!r} is in use by {who(facts)}"
    return f"region {name!r} was not removed: {facts.get('error', 'it belongs to another user')}"


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
