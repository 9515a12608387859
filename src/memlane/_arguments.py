# SPDX-License-Identifier: MIT
"""Checks of what users pass: sizes, names, permissions, timeouts. Knows nothing of the rest."""

from __future__ import annotations

import operator
import os
import re
import threading
from typing import SupportsFloat

_UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DECIMAL_UNITS = {"KB": "KiB", "kB": "KiB", "MB": "MiB", "GB": "GiB", "TB": "TiB"}
_SIZE = re.compile(r"\s*([0-9]+)\s*([A-Za-z]*)\s*")

#: Longest name of a named region, in bytes: what a file name may have, less our prefix and a spare.
NAME_NBYTES_MAX = 200


def size(value: int | str, what: str) -> int:
    """
    Turn a size, a number of bytes or text such as "64 MiB", into a number of bytes.

    Raises:
        TypeError: *value* is neither an int nor a str.
        ValueError: it is negative, or text that is no size; decimal units are refused with a hint.
    """
    if isinstance(value, str):
        matched = _SIZE.fullmatch(value)
        if matched is None or matched[2] not in _UNITS:
            unit = matched[2] if matched else ""
            hint = (
                f"; write {matched[1]} {_DECIMAL_UNITS[unit]}"
                if matched and unit in _DECIMAL_UNITS
                else ""
            )
            raise ValueError(
                f"{what} must be bytes or text like '64 MiB' (B, KiB, MiB, GiB, TiB), got "
                f"{value!r}{hint}"
            )
        nbytes = int(matched[1]) * _UNITS[matched[2]]
    else:
        nbytes = integer(value, what, "an int of bytes or text like '64 MiB'")
    if not 0 <= nbytes < 1 << 62:
        raise ValueError(f"{what} must be from 0 to 2**62 - 1 bytes, got {value!r}")
    return nbytes


def positive(value: int, what: str, most: int) -> int:
    """Check a count from 1 to *most*; TypeError and ValueError name *what*."""
    count = integer(value, what, "an int")
    if not 1 <= count <= most:
        raise ValueError(f"{what} must be from 1 to {most}, got {value!r}")
    return count


def integer(value: object, what: str, must_be: str) -> int:
    """Turn what counts as an int into one, asking it once. A class has `__index__`, but is none."""
    if isinstance(value, (bool, type)) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} must be {must_be}, got {value!r}")
    return operator.index(value)


def name(value: str, what: str = "name", or_path: bool = True) -> str:
    """
    Check the name of a region: 1 to 200 bytes of UTF-8, no '/', no NUL, not starting with a dot.
    *or_path* says whether a path could have been given instead.
    """
    if not isinstance(value, str):
        raise TypeError(
            f"{what} must be a str (POSIX shared memory)"
            f"{' or an os.PathLike (a file)' if or_path else ''}, got {value!r}"
        )
    if not value or "/" in value or "\0" in value or value.startswith("."):
        hint = ""
        if value.startswith("/") and "/" not in value[1:]:
            hint = f"; leave out the '/' that shm_open(3) wants: {value[1:]!r}"
        elif "/" in value and or_path:
            hint = "; for a file pass a pathlib.Path"
        raise ValueError(
            f"{what} must not be empty, start with '.' or contain '/' or NUL, got {value!r}{hint}"
        )
    if len(os.fsencode(value)) > NAME_NBYTES_MAX:
        raise ValueError(
            f"{what} must have at most {NAME_NBYTES_MAX} bytes, got {len(os.fsencode(value))}"
        )
    return value


def label(value: str, name: object) -> str:
    """Check the label of something without a name: 1 to 100 bytes of printable text."""
    if name is not None:
        raise ValueError(f"a label is for what has no name, got label {value!r} and name {name!r}")
    if not isinstance(value, str):
        raise TypeError(f"label must be a str, got {value!r}")
    if not value.isprintable() or not 1 <= len(os.fsencode(value)) <= 100:
        raise ValueError(f"label must be 1 to 100 bytes of printable text, got {value!r}")
    return value


def timeout(value: SupportsFloat) -> float:
    """
    Check a timeout that is not None, for every call that takes one: seconds, at least 0. What no
    clock can count up to is cut to the longest wait that a lock takes.

    Raises:
        TypeError: it is no number; True and False are none.
        ValueError: it is negative, or not a number.
    """
    if isinstance(value, (bool, type)) or not hasattr(value, "__float__"):
        raise TypeError(f"timeout must be seconds or None, got {value!r}")
    try:
        seconds, shown = float(value), repr(value)
    except OverflowError:  # an int or a fraction beyond what a float holds
        seconds = threading.TIMEOUT_MAX if value > 0 else -1.0  # type: ignore[operator]
        shown = "less than -1e308"  # repr refuses very long ones
    if not seconds >= 0:
        raise ValueError(f"timeout must be None or at least 0 seconds, got {shown}")
    return min(seconds, threading.TIMEOUT_MAX)


def optional_timeout(value: SupportsFloat | None) -> float | None:
    """The same for a timeout that may be None, which waits for ever."""
    return None if value is None else timeout(value)


def permissions(value: int) -> int:
    """Check file permission bits, 0 to 0o777."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"permissions must be an int like 0o600, got {value!r}")
    if not 0 <= value <= 0o777:
        raise ValueError(f"permissions must be from 0 to 0o777, got {value:#o}")
    return value
