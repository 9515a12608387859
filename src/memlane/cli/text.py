# SPDX-License-Identifier: MIT
"""Text for people: safe, aligned, with sizes that can be read."""

from __future__ import annotations

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
