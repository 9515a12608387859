# SPDX-License-Identifier: MIT
"""Text for people: safe, aligned, with sizes that can be read."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from memlane import _arguments


class Refusal(Exception):
    """What a command does not do, and why, in one sentence."""


def safe(text: str) -> str:
    """
    Text of somebody else's, fit for a terminal: what is not printable is escaped, as in a literal.
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
    """How many columns of a terminal it takes."""
    return sum(
        0 if unicodedata.combining(sign) else 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        for sign in text
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], right: str = "") -> list[str]:
    """
    Lines of columns that are as wide as their widest cell; *right* has the names of those that are
    aligned there. The last one is not padded.
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


def near(asked: str, there: Iterable[str]) -> str:
    """Which of the names that there are could have been meant, as the end of an error text."""
    found = _arguments.near(asked, there)
    return f"; did you mean {found}" if found else ""


def said(error: Exception) -> str:
    """The text of an error, without the number that Python puts in front of one of ours."""
    if isinstance(error, OSError) and error.strerror and error.filename is None:
        return error.strerror
    return str(error)
