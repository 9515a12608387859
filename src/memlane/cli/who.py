# SPDX-License-Identifier: MIT
"""`memlane who`: the processes of a region, their roles, how far they lag and what they hold."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

from memlane import inspection
from memlane.cli.looking import look
from memlane.cli.text import columns, cut, duration, safe, table

#: What a place says that a process holds or waits for, and how that is said.
_HOLDS = (
    ("loans", "{} on loan"),
    ("waiting_producers", "{} puts wait for room"),
    ("waiting_publishers", "{} publishes wait for room"),
)


def who(name: str, as_json: bool) -> int:
    """
    Print a line for each role of each process, living ones first; with *as_json* an object of JSON
    for each process.

    Raises:
        RegionNotFoundError: there is no such region.
        Refusal: it cannot be opened, or has no such object.
        ValueError: *name* can be no name.
    """
    facts = look(inspection.find(name))
    found = processes(facts)
    if as_json:
        for one in found:
            print(json.dumps(one))
        return 0
    rows = [row for one in found for row in _rows(one)]
    if not rows:
        print(f"nobody has {safe(name)} open, and nobody has a role in it")
        return 0
    head = ("PID", "STATE", "USER", "SINCE", "ROLE", "OBJECT", "LAG", "HOLDS", "COMMAND")
    most = columns()
    for line in table(head, rows, right="PID"):
        print(cut(line, most))
    return 0


def processes(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """
    The processes of a region: those with a row, those that have it mapped, and those that a role
    names though they have neither any more. Living ones first, then by pid.
    """
    found: dict[int, dict[str, Any]] = {}
    for key in ("participants", "dead"):
        for row in facts.get(key, ()):
            state = "alive" if key == "participants" else "dead"
            found[row["pid"]] = _process(row["pid"], row["name"], state, row["start_time"])
    for mapped in facts.get("processes", ()):
        found.setdefault(mapped["pid"], _process(mapped["pid"], mapped["name"], "alive", None))
    for role in inspection.roles(facts):
        one = found.setdefault(role["pid"], _process(role["pid"], "", role["state"], None))
        one["roles"].append(
            {
                **{key: role[key] for key in ("object", "kind", "role", "place", "state")},
                **_lag(role, facts["stats"][role["object"]]),
                **role["facts"],
            }
        )
    for one in found.values():
        one["region"] = facts["name"]
    return sorted(found.values(), key=lambda one: (one["state"] == "dead", one["pid"]))


def _process(pid: int, name: str, state: str, start_time: int | None) -> dict[str, Any]:
    seen = inspection.process(pid, start_time) if state != "dead" else None
    if seen is not None and seen.state in "Tt":
        state = "stopped"
    since = seen.started if seen is not None else None
    return {
        "pid": pid,
        "command": seen.command if seen is not None else name,
        "user": seen.user if seen is not None else None,
        "since": since,
        "state": state,
        "roles": [],
    }


def _lag(role: dict[str, Any], stats: dict[str, Any]) -> dict[str, Any]:
    """How far a process is behind: what waits for it."""
    if isinstance(role["facts"].get("records"), int) and "put" not in role["facts"]:
        return {"lag": role["facts"]["records"]}
    if role["role"] == "consumer" and isinstance(stats.get("records"), int):
        return {"lag": stats["records"]}
    return {}


def _rows(one: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    since = "-" if one["since"] is None else duration(max(time.time() - one["since"], 0))
    begin = (str(one["pid"]), one["state"], one["user"] or "-", since)
    for role in one["roles"] or [{"role": "-", "object": "-"}]:
        place = role.get("place")
        yield (
            *begin,
            role["role"],
            role["object"] + (f" {place}" if place else ""),
            _lag_text(role),
            _holds(role) or "-",
            one["command"],
        )


def _lag_text(role: dict[str, Any]) -> str:
    if "lag" not in role:
        return "-"
    seconds = role.get("seconds")
    late = ""
    if role["lag"] and isinstance(seconds, float):
        late = f", no move for {duration(seconds)}"
    return f"{role['lag']:,}{late}"


def _holds(role: dict[str, Any]) -> str:
    return ", ".join(text.format(f"{role[key]:,}") for key, text in _HOLDS if role.get(key))
