# SPDX-License-Identifier: MIT
"""`memlane stat`: all facts of a region or of one of its objects, once or again and again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from memlane import inspection
from memlane.cli.looking import look
from memlane.cli.text import columns, cut, duration, number, safe, size, who, width
from memlane.cli.watching import Maps, Watched

#: What is in seconds.
_AGES = ("age", "oldest_age")


#: After how many lines the names of the columns are said again. Arbitrary: about a screen.
HEAD_EACH = 20
_HEAD = ("TIME", "OBJECT", "HZ", "MIN", "MAX", "DEV", "WIN", "BW/S", "DEPTH", "LAG", "WAIT", "FULL")


def stat(name: str, every: float | None, as_json: bool) -> int:
    """
    Print what is known of *name*; with *every*, after so many seconds and again, what went on in
    between, until Ctrl-C.

    Raises:
        Refusal, MemlaneError, OSError: it is not there, or cannot be opened.
        ValueError: *name* can be no name.
    """
    target = inspection.find(name)
    maps, watched = Maps(), Watched(target)
    watched.take(look(target, maps.now()))
    assert watched.facts is not None
    if every is None or as_json:
        print(json.dumps(watched.facts) if as_json else _text(watched.facts), flush=True)
    lines = _Lines()
    try:
        while every is not None:
            time.sleep(every)
            watched.take(look(target, maps.now()))
            rates = {name: rate.facts() for name, rate in watched.rates.items()}
            counts = {name: rate.counts for name, rate in watched.rates.items()}
            if as_json:
                print(json.dumps({**watched.facts, "rates": counts, "hz": rates}), flush=True)
            else:
                lines.show(watched.facts["stats"], rates, counts)
    except KeyboardInterrupt:
        pass  # the way to end it
    return 0


# ---- again and again -----------------------------------------------------------------------------


class _Lines:
    """A line for each object and look, the columns as wide as they ever were."""

    def __init__(self) -> None:
        self._widths = [8, 6, *(5 for _ in _HEAD[2:])]
        self._left = 0
        self._columns = columns()

    def show(
        self,
        stats: dict[str, Any],
        rates: dict[str, dict[str, Any]],
        counts: dict[str, dict[str, float]],
    ) -> None:
        clock = time.strftime("%H:%M:%S")
        rows = [_cells(clock, name, stats[name], rates[name], counts[name]) for name in rates]
        self._widths = [
            max(width(cell) for cell in column)
            for column in zip(*(("x" * most for most in self._widths), *rows, _HEAD), strict=True)
        ]
        if self._left <= 0:
            self._print(_HEAD)
            self._left = HEAD_EACH
        for row in rows:
            self._print(row)
        self._left -= max(len(rows), 1)
        sys.stdout.flush()

    def _print(self, row: Sequence[str]) -> None:
        cells = [
            cell + " " * (most - width(cell)) if number < 2 else " " * (most - width(cell)) + cell
            for number, (cell, most) in enumerate(zip(row, self._widths, strict=True))
        ]
        print(cut("  ".join(cells).rstrip(), self._columns))


def _cells(
    clock: str, name: str, stats: dict[str, Any], rate: dict[str, Any], counts: dict[str, float]
) -> tuple[str, ...]:
    if "error" in stats:
        return clock, safe(f"{name}: {stats['error']}"), *("-" for _ in _HEAD[2:])
    waits = [value for key, value in stats.items() if key.startswith("waiting_")]
    lags = [one["records"] for one in stats.get("subscriptions", ()) if "records" in one]
    full = counts.get("times_full")
    return (
        clock,
        safe(name),
        *(number(rate[key]) for key in ("hz", "min", "max", "deviation")),
        str(rate["window"]),
        "-" if rate["bw"] is None else size(int(rate["bw"])),
        number(stats.get("records", stats.get("kept"))),
        number(max(lags, default=stats.get("records"))),
        number(sum(waits) if waits else None),
        "-" if full is None else f"{full:,.1f}",
    )


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
