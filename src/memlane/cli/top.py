# SPDX-License-Identifier: MIT
"""`memlane top`: all objects and what goes through them, live, and which processes live."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import sys
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from memlane import inspection
from memlane.cli.text import cut, duration, number, safe, size, table
from memlane.cli.watching import Maps, Watched
from memlane.cli.who import processes

#: What the objects can be sorted by, and the key of each.
SORTS = {"h": "hz", "b": "bw", "d": "depth", "l": "lag", "w": "waiting", "n": "object"}
_HELP = "q quit  h/b/d/l/w/n sort  / filter  up/down, enter: one object  p processes  space: now"
_HEAD = ("OBJECT", "KIND", "HZ", "BW/S", "DEPTH", "LAG", "WAIT", "LOST", "AGAIN", "FROM", "TO")
_RIGHT = "HZ BW/S DEPTH LAG WAIT LOST AGAIN"
#: What clears the screen and hides the cursor on it, and what gives the old one back.
_BEGIN, _END, _HOME = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l", "\x1b[H"
_RED, _DIM, _REVERSE, _PLAIN = "\x1b[31m", "\x1b[2m", "\x1b[7m", "\x1b[0m"


class View:
    """All that is watched, look by look."""

    def __init__(self, pattern: str | None) -> None:
        self._pattern = pattern
        self._maps = Maps()
        self._watched: dict[tuple[str, str | None], Watched] = {}

    def look(self) -> None:
        """
        Look at everything once.

        Raises:
            RegionNotFoundError: the region that was asked for is not there.
        """
        targets = self._targets()
        keys = {(target.name, target.object) for target in targets}
        self._watched = {key: one for key, one in self._watched.items() if key in keys}
        maps = self._maps.now()
        for target in targets:
            watched = self._watched.setdefault((target.name, target.object), Watched(target))
            facts = inspection.facts(target, maps)
            if facts is not None and target.object is not None:
                facts = inspection.only(facts, {target.object})
            watched.take(facts)

    def _targets(self) -> list[inspection.Target]:
        if self._pattern is None:
            return inspection.regions()
        found = inspection.matching(self._pattern)
        if len(found) == 1 and not found[0].path.exists():
            raise found[0].not_found()
        return found

    def objects(self) -> list[dict[str, Any]]:
        """A dict for each object of each region; of one that cannot be opened, for the region."""
        return [row for watched in self._watched.values() for row in _rows(watched)]

    def processes(self) -> list[dict[str, Any]]:
        """Those of all regions, as `memlane who` has them."""
        all_facts = (watched.facts for watched in self._watched.values())
        return [
            one for facts in all_facts if facts and "stats" in facts for one in processes(facts)
        ]


def _rows(watched: Watched) -> Iterator[dict[str, Any]]:
    facts = watched.facts
    if facts is None:
        return
    region = facts["name"]
    if "stats" not in facts:
        yield {"region": region, "object": "", "kind": "-", "error": facts["error"]}
        return
    stopped = {
        one["pid"]
        for one in (processes(facts) if facts["participants"] else ())
        if one["state"] == "stopped"
    }
    roles: dict[str, list[dict[str, Any]]] = {}
    for role in inspection.roles(facts):
        roles.setdefault(role["object"], []).append(role)
    for name, stats in facts["stats"].items():
        row = _row(name, facts["kinds"][name], stats, roles.get(name, []), stopped)
        yield {"region": region, **row, **watched.rates[name].facts()}


def _row(
    name: str, kind: str, stats: dict[str, Any], roles: list[dict[str, Any]], stopped: set[int]
) -> dict[str, Any]:
    lags = [one["records"] for one in stats.get("subscriptions", ()) if "records" in one]
    waits = [value for key, value in stats.items() if key.startswith("waiting_")]
    lost = sum(lane.get("overwritten", 0) for lane in stats.get("lanes", ()))
    sides: dict[str, dict[str, int]] = {"from": {}, "to": {}}
    for role in roles:
        side = "to" if role["role"] in ("consumer", "subscriber") else "from"
        state = "stopped" if role["pid"] in stopped else role["state"]
        sides[side][state] = sides[side].get(state, 0) + 1
    return {
        "object": name,
        "kind": kind,
        "depth": stats.get("records", stats.get("kept")),
        "lag": max(lags, default=stats.get("records")),
        "oldest_age": stats.get("oldest_age"),
        "waiting": sum(waits) if waits else None,
        "lost": stats.get("evicted", 0) if kind == "topic" else None,
        "overwritten": lost if kind == "topic" else None,
        "redelivered": stats.get("redelivered"),
        **sides,
        **({"error": stats["error"]} if "error" in stats else {}),
    }


def is_stuck(row: dict[str, Any]) -> bool:
    """Whether a person should look: what has died or was stopped, or callers that wait for it."""
    ill = any(row.get(side, {}).get(state) for side in ("from", "to") for state in _ILL)
    return bool("error" in row or ill or (row.get("waiting") and row.get("hz") == 0 and row["lag"]))


_ILL = ("dead", "stopped")


# ---- without a screen ----------------------------------------------------------------------------


def top(pattern: str | None, every: float, once: bool, as_json: bool, sort: str) -> int:
    """
    Show all objects, or those that *pattern* matches, every so many seconds.

    Args:
        once: Two looks, *every* seconds apart, then end.
        sort: A key of the rows.

    Raises:
        RegionNotFoundError, MemlaneError, OSError: what was asked for is not there.
        ValueError: *pattern* can be no name.
    """
    view = View(pattern)
    view.look()
    if not once and not as_json and sys.stdout.isatty() and sys.stdin.isatty():
        return _Screen(view, every, sort).run()
    try:
        while True:
            time.sleep(every)
            view.look()
            rows = sorted_by(view.objects(), sort)
            if as_json:
                print(json.dumps({"time": time.time(), "objects": rows}), flush=True)
            else:
                most = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
                for line in lines(rows):
                    print(cut(line, most))
                print(flush=True)
            if once:
                return 0
    except KeyboardInterrupt:
        return 0  # the way to end it


def sorted_by(rows: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """Largest first, or by name; what is not known comes last."""
    if sort == "object":
        return sorted(rows, key=lambda row: (row["region"], row["object"]))
    return sorted(rows, key=lambda row: -(row.get(sort) or 0))


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A table of objects."""
    return table(_HEAD, [_cells(row) for row in rows], right=_RIGHT)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    name = row["region"] + (f"/{row['object']}" if row["object"] else "")
    if "error" in row:
        return (name, row["kind"], *("-" for _ in _HEAD[2:-1]), row["error"])
    age = row.get("oldest_age")
    return (
        name,
        row["kind"],
        number(row["hz"]),
        "-" if row["bw"] is None else size(int(row["bw"])),
        number(row["depth"]),
        number(row["lag"]) + (f" {duration(age)}" if age and age >= 1 else ""),
        number(row["waiting"]),
        number(row["lost"]),
        number(row["redelivered"]),
        _side(row["from"]),
        _side(row["to"]),
    )


def _side(states: dict[str, int]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(states.items())) or "-"


# ---- a full screen -------------------------------------------------------------------------------


class _Screen:
    """The terminal, as it was before and will be again."""

    def __init__(self, view: View, every: float, sort: str) -> None:
        self._view, self._every, self._sort = view, every, sort
        self._filter, self._typing = "", False
        self._at, self._mode = 0, "objects"
        self._color = _may_color()

    def run(self) -> int:
        modes = termios.tcgetattr(0)
        for ending in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ending, _leave)
        sys.stdout.write(_BEGIN)
        try:
            tty.setcbreak(0)
            due = time.monotonic()
            while True:
                if time.monotonic() >= due:
                    self._view.look()
                    due = time.monotonic() + self._every
                self._draw()
                left = max(due - time.monotonic(), 0)
                if select.select([0], [], [], left)[0] and not all(map(self._key, _read_keys())):
                    return 0
        except KeyboardInterrupt:
            return 0  # the way to end it
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, modes)
            sys.stdout.write(_END)
            sys.stdout.flush()

    def _key(self, key: str) -> bool:
        """Do what was pressed; False: leave."""
        if self._typing and key != "":
            if key in ("\r", "\n", "\x1b"):
                self._typing = False
            elif key in ("\x7f", "\b"):
                self._filter = self._filter[:-1]
            elif key.isprintable():
                self._filter += key
        elif key in ("\x1b[A", "\x1b[B"):
            self._at += 1 if key == "\x1b[B" else -1
        elif key in ("q", "\x04", ""):
            return False
        elif key == "\x1b":
            self._mode = "objects"
        elif key in ("\r", "\n"):
            self._mode = "one" if self._mode == "objects" else "objects"
        elif key == "p":
            self._mode = "processes" if self._mode != "processes" else "objects"
        elif key == "/":
            self._typing, self._filter = True, ""
        elif key in SORTS:
            self._sort = SORTS[key]
        return True

    def _draw(self) -> None:
        across, down = shutil.get_terminal_size()
        rows = [
            row
            for row in sorted_by(self._view.objects(), self._sort)
            if self._filter in f"{row['region']}/{row['object']} {row['kind']}"
        ]
        self._at = max(min(self._at, len(rows) - 1), 0)
        shown = self._lines(rows)
        room = max(down - 2, 2)
        if self._mode == "objects" and self._at + 2 > room:  # the marked one stays on the screen
            del shown[1 : self._at + 3 - room]
        shown = shown[:room]
        out = [_HOME]
        for index, (line, style) in enumerate(shown):
            text = cut(line, across)
            out.append(f"{style}{text}{_PLAIN}" if style and self._color else text)
            out.append("\x1b[K\n" if index < len(shown) - 1 else "\x1b[K")
        foot = f"filter: {safe(self._filter)}_" if self._typing else _HELP
        out.append(f"\x1b[J\x1b[{down};1H{cut(foot, across)}")
        sys.stdout.write("".join(out))
        sys.stdout.flush()

    def _lines(self, rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
        if self._mode == "processes":
            return [*_of_processes(self._view.processes())]
        if self._mode == "one" and rows:
            return [*_of_one(rows[self._at], self._view.processes())]
        first, *below = lines(rows)
        at = self._at
        found = [(first, _DIM)]
        for index, (line, row) in enumerate(zip(below, rows, strict=True)):
            mark = "> " if index == at else "  "
            style = (_REVERSE if index == at else "") + (_RED if is_stuck(row) else "")
            found.append((mark + line, style))
        found[0] = (f"  {first}", _DIM)
        return found if rows else [("nothing to show; memlane ls shows all regions", "")]


def _of_processes(found: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    head = ("PID", "STATE", "USER", "REGION", "ROLES", "COMMAND")
    cells = [
        (
            str(one["pid"]),
            one["state"],
            one["user"] or "-",
            one["region"],
            ", ".join(f"{role['role']} of {role['object']}" for role in one["roles"]) or "-",
            one["command"],
        )
        for one in found
    ]
    first, *below = table(head, cells, right="PID")
    yield first, _DIM
    for line, one in zip(below, found, strict=True):
        yield line, _RED if one["state"] in _ILL else ""


def _of_one(row: dict[str, Any], found: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """One object: its facts, then each process with a role in it."""
    yield safe(f"{row['region']}/{row['object']}  {row['kind']}"), ""
    for key, value in row.items():
        if key in ("region", "object", "kind", "from", "to") or value is None:
            continue
        text = number(value) if isinstance(value, int | float) else safe(str(value))
        yield f"  {key.replace('_', ' '):<14} {text}", ""
    for one in found:
        for role in one["roles"]:
            if (one["region"], role["object"]) == (row["region"], row["object"]):
                facts = ", ".join(
                    f"{key.replace('_', ' ')} {value}"
                    for key, value in role.items()
                    if key not in ("object", "kind", "role", "place", "state") and value
                )
                line = f"  {role['role']} {one['pid']} {one['state']} {role['place']}  {facts}"
                yield safe(f"{line}  {one['command']}"), _RED if one["state"] in _ILL else ""


def _leave(number: int, _frame: object) -> NoReturn:
    """Ended by a signal: the terminal is given back on the way out."""
    raise SystemExit(128 + number)


def _read_keys() -> list[str]:
    """What was pressed, each key as it comes; "" at the end of the terminal."""
    pressed = os.read(0, 64).decode(errors="replace")
    return re.findall(r"\x1b\[[A-Z]|.", pressed, re.DOTALL) or [""]


def _may_color() -> bool:
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"
