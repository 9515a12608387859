# SPDX-License-Identifier: MIT
"""Checks of arguments: sizes, names, permissions, timeouts. Imports nothing of the package."""

from __future__ import annotations

import difflib
import math
import operator
import os
import re
import threading
from collections.abc import Iterable
from fractions import Fraction
from typing import Literal, SupportsFloat, get_args

_UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE = re.compile(r"\s*([0-9]{1,30})\s*([A-Za-z]*)\s*")
#: Sizes as other programs write them: with a point, with other units.
_SIZE_OF_OTHERS = re.compile(
    r"\s*([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([kmgt]?)(?:i?b|bytes?)?\s*", re.I
)

#: Longest name of a named region, in bytes: the limit of a file name, less our prefix and a spare.
NAME_NBYTES_MAX = 200

#: How much of a value an error text shows, and how many pairs of characters are compared to suggest
#: a name. Arbitrary: a readable text, and some 10 ms for 500 names of 40 characters.
_SHOWN_LENGTH = 200
_SIGNS_COMPARED = 1_000_000


class _Bits(int):
    """Permission bits that help() shows as 0o600 and not as 384."""

    def __repr__(self) -> str:
        return f"{int(self):#o}"


#: The default permissions of a new file: for its owner only.
PERMISSIONS: int = _Bits(0o600)


def size(value: int | str, what: str) -> int:
    """
    Turn a size, a number of bytes or a text such as "64 MiB", into a number of bytes.

    Raises:
        TypeError: *value* is neither an int nor a str.
        ValueError: it is negative, or not the text of a size; decimal units are refused with a
            hint.
    """
    if isinstance(value, str):
        matched = _SIZE.fullmatch(value)
        if matched is None or matched[2] not in _UNITS:
            raise ValueError(
                f"{what} must be bytes or text like '64 MiB' (B, KiB, MiB, GiB, TiB), got "
                f"{shown(value)}{_size_meant(value)}"
            )
        nbytes = int(matched[1]) * _UNITS[matched[2]]
    else:
        nbytes = integer(value, what, "an int of bytes or text like '64 MiB'")
    if not 0 <= nbytes < 1 << 62:
        raise ValueError(f"{what} must be from 0 to 2**62 - 1 bytes, got {shown(value)}")
    return nbytes


def _size_meant(text: str) -> str:
    """How to write a size here that has the form of another program; the end of an error text."""
    matched = _SIZE_OF_OTHERS.fullmatch(text)
    if matched is None:
        return ""
    unit = next(it for it in _UNITS if it[:1].lower() == (matched[2].lower() or "b"))
    nbytes = math.ceil(Fraction(matched[1]) * _UNITS[unit])  # at least as much
    if "." not in matched[1]:
        return f"; write {matched[1]} {unit}"
    return f"; write {size_text(nbytes)}"


def size_text(nbytes: int) -> str:
    """A number of bytes in the largest unit in which it is whole, as `size` accepts it."""
    unit = next(it for it in reversed(_UNITS) if nbytes % _UNITS[it] == 0)
    return f"{nbytes // _UNITS[unit]} {unit or 'B'}"


def shown(value: object) -> str:
    """The value of an argument for an error text: not too long, and on one line."""
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits
        return f"a very long {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN_LENGTH else text[:_SHOWN_LENGTH] + "..."


def near(asked: object, there: Iterable[str]) -> str:
    """The existing name that was probably meant, as text; "" if there is none."""
    if not isinstance(asked, str):
        return ""
    compared, left = [], _SIGNS_COMPARED
    for name in there:
        left -= (len(asked) + 1) * (len(name) + 1)  # the most that comparing two names takes
        if left < 0:
            break
        compared.append(name)
    found = difflib.get_close_matches(asked, compared, 3, 0.6)
    return " or ".join(map(repr, found))


def meant(asked: object, there: Iterable[str]) -> str:
    """The same as a remark behind a text about *asked*."""
    found = near(asked, there)
    return f" (did you mean {found}?)" if found else ""


def positive(value: int, what: str, most: int) -> int:
    """Check a count from 1 to *most*; TypeError and ValueError name *what*."""
    count = integer(value, what, "an int")
    if not 1 <= count <= most:
        raise ValueError(f"{what} must be from 1 to {most}, got {shown(value)}")
    return count


def choice(value: object, what: str, choices: Iterable[str]) -> None:
    """Check that *value* is one of some words; ValueError names *what* and all words."""
    if not isinstance(value, str) or value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{what} must be {', '.join(others)} or {last}, got {shown(value)}")


#: How the calls of a handle of lanes wait.
Wait = Literal["adaptive", "spin", "sleep"]


def check_wait(wait: str) -> None:
    """Check that *wait* is one of the ways to wait; ValueError names all of them."""
    choice(wait, "wait", get_args(Wait))


def integer(value: object, what: str, must_be: str) -> int:
    """Turn an int-like object into an int, asking it once. A class has `__index__`, but is none."""
    if isinstance(value, (bool, type)) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} must be {must_be}, got {shown(value)}")
    try:
        return operator.index(value)
    except TypeError as error:
        if is_of_others(error):
            raise
        raise TypeError(f"{what} must be {must_be}, got {shown(value)}") from None


def is_of_others(error: BaseException) -> bool:
    """Whether an error that the caller has just caught was raised in Python code it called."""
    return error.__traceback__ is not None and error.__traceback__.tb_next is not None


def name(value: str, what: str = "name", or_path: bool = True) -> str:
    """
    Check the name of a region: 1 to 200 bytes of UTF-8, no '/', no NUL, not starting with a dot.
    *or_path* says whether a path could have been given instead.
    """
    if not isinstance(value, str):
        raise TypeError(
            f"{what} must be a str (POSIX shared memory)"
            f"{' or an os.PathLike (a file)' if or_path else ''}, got {shown(value)}"
        )
    if not value or "/" in value or "\0" in value or value.startswith("."):
        hint = ""
        if value.startswith("/") and "/" not in value[1:]:
            hint = f"; leave out the '/' that shm_open(3) wants: {value[1:]!r}"
        elif "/" in value and or_path:
            hint = "; for a file pass a pathlib.Path"
        raise ValueError(
            f"{what} must not be empty, start with '.' or contain '/' or NUL, got "
            f"{shown(value)}{hint}"
        )
    nbytes = encoded_nbytes(value, what)
    if nbytes > NAME_NBYTES_MAX:
        raise ValueError(f"{what} must have at most {NAME_NBYTES_MAX} bytes, got {nbytes}")
    return value


def encoded_nbytes(value: str, what: str) -> int:
    """The length of a name in bytes; ValueError if the file system cannot have such a name."""
    try:
        return len(os.fsencode(value))
    except UnicodeEncodeError:
        raise ValueError(f"{what} must be text that UTF-8 can encode, got {shown(value)}") from None


def object_name(value: str) -> bytes:
    """Check the name of an object in a region: 1 to 63 bytes of UTF-8, no NUL."""
    if not isinstance(value, str):
        raise TypeError(f"the name of an object must be a str, got {shown(value)}")
    encoded = value.encode(errors="replace")
    if not 1 <= len(encoded) <= 63 or b"\0" in encoded or encoded.decode() != value:
        raise ValueError(
            f"the name of an object must have 1 to 63 bytes of UTF-8 and no NUL, got {shown(value)}"
        )
    return encoded


def path(value: object, what: str = "path") -> str:
    """Check a path, a str, bytes or an os.PathLike, and return it as text."""
    if not isinstance(value, (str, bytes)) and not hasattr(type(value), "__fspath__"):
        raise TypeError(f"{what} must be a str, bytes or os.PathLike, got {shown(value)}")
    text = os.fsdecode(value)  # type: ignore[arg-type]
    encoded_nbytes(text, what)
    if "\0" in text:
        raise ValueError(f"{what} must have no NUL in it, got {shown(text)}")
    return text


def index(value: object) -> int:
    """The value of an index that is not a plain int; TypeError if it is no index."""
    return value if isinstance(value, int) else integer(value, "an index", "an int or a slice")


def label(value: str, name: object) -> str:
    """Check the label of an unnamed object: 1 to 100 bytes of printable text."""
    if name is not None:
        raise ValueError(
            f"a label is for what has no name, got label {shown(value)} and name {shown(name)}"
        )
    if not isinstance(value, str):
        raise TypeError(f"label must be a str, got {shown(value)}")
    if not value.isprintable() or not 1 <= len(os.fsencode(value)) <= 100:
        raise ValueError(f"label must be 1 to 100 bytes of printable text, got {shown(value)}")
    return value


def timeout(value: SupportsFloat, what: str = "timeout", or_none: str = " or None") -> float:
    """
    Check a timeout that is not None, for every call that takes one: seconds, at least 0. Very large
    timeouts are cut to the longest wait of a lock. *what* and *or_none* are for other seconds.

    Raises:
        TypeError: it is not a number; True and False are not accepted.
        ValueError: it is negative or NaN.
    """
    if isinstance(value, (bool, type)) or not hasattr(value, "__float__"):
        raise TypeError(f"{what} must be seconds{or_none}, got {shown(value)}")
    try:
        seconds, given = float(value), shown(value)
    except TypeError as error:
        if is_of_others(error):
            raise
        raise TypeError(f"{what} must be seconds{or_none}, got {shown(value)}") from None
    except OverflowError:  # an int or a fraction beyond the range of a float
        seconds = threading.TIMEOUT_MAX if value > 0 else -1.0  # type: ignore[operator]
        given = "less than -1e308"
    if not seconds >= 0:
        least = "None or at least" if or_none else "at least"
        raise ValueError(f"{what} must be {least} 0 seconds, got {given}")
    return min(seconds, threading.TIMEOUT_MAX)


def optional_timeout(value: SupportsFloat | None) -> float | None:
    """The same for a timeout that may be None, which waits for ever."""
    return None if value is None else timeout(value)


def permissions(value: int) -> int:
    """Check file permission bits, 0 to 0o777."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"permissions must be an int like 0o600, got {shown(value)}")
    if not 0 <= value <= 0o777:
        raise ValueError(f"permissions must be from 0 to 0o777, got {oct(value)[:20]}")
    return value
