# SPDX-License-Identifier: MIT
"""Text for people: safe, aligned, with sizes that can be read."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any


class Refusal(Exception):
    """A command refuses to act; the text says why, in one sentence."""


def safe(text: str) -> str:
    """
    Foreign text, made safe for a terminal: unprintable characters are escaped, as in a literal.
    """
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape", "backslashreplace").decode()
        for sign in text
    )


def size(nbytes: int) -> str:
    """A number of bytes in the largest unit that leaves at least 1, to a tenth."""
    number, unit = float(nbytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{nbytes} B" if unit == "B" else f"{number:.1f} {unit}"


def duration(seconds: float) -> str:
    """A time in the largest unit that leaves at least 1, to a tenth."""
    number, unit = seconds, "s"
    for next_unit, factor in (("min", 60), ("h", 60), ("d", 24)):
        if number < factor:
            break
        number, unit = number / factor, next_unit
    return f"{number:,.1f} {unit}"


def width(text: str) -> int:
    """The number of columns of a terminal that a text takes."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def number(value: float | None) -> str:
    """A number for a column: whole ones as they are, others to a tenth; "-" for none."""
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def columns() -> int:
    """The width of the terminal that stdout is; 0: it is none, so that nothing is to be cut."""
    try:
        if not sys.stdout.isatty():
            return 0
    except ValueError:  # closed
        return 0
    return shutil.get_terminal_size().columns


def cut(line: str, most: int) -> str:
    """A line for a terminal of *most* columns; 0: uncut. A sign at its end says that it is cut."""
    if not most or width(line) <= most:
        return line
    kept, used = [], 0
    for sign in line:
        used += width(sign)
        if used > most - 1:
            break
        kept.append(sign)
    return "".join(kept) + ("\u2026" if can_show("\u2026") else ">")


def can_show(sign: str) -> bool:
    """Whether the encoding of stdout has a sign."""
    try:
        sign.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> list[str]:
    """
    Lines of columns, each as wide as its widest cell. *right* names the columns that are aligned
    right. The last column is not padded.
    """
    cells = [[*head], *([safe(cell) for cell in row] for row in rows)]
    widths = [max(map(width, column)) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        padded = [
            " " * (most - width(cell)) + cell
            if title in right.split()
            else cell + " " * (most - width(cell))
            for title, cell, most in zip(head, row, widths, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return lines


def users(facts: dict[str, Any]) -> list[str]:
    """The processes that have a region open, by pid and name, with a row or without."""
    by_pid = {one["pid"]: one["name"] for one in facts.get("processes", ())}
    by_pid |= {one["pid"]: one["name"] for one in facts.get("participants", ())}
    return [f"{pid} {name}".rstrip() for pid, name in sorted(by_pid.items())]


def who(facts: dict[str, Any]) -> str:
    """The same as text, also if there are none or if they are not visible."""
    found = users(facts)
    if found:
        return ", ".join(found)
    return "processes that are not visible from here" if facts.get("in_use") else "nobody"
