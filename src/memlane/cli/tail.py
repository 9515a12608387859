# SPDX-License-Identifier: MIT
"""`memlane tail`: the last records of an object, and those that come, without taking any."""

from __future__ import annotations

import json
import math
import pickle
import struct
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from memlane import inspection
from memlane.cli.looking import followed
from memlane.cli.text import Refusal, columns, cut, safe, size
from memlane.following import Follower, Seen

#: Between two looks: short while records come, longer while none do. Arbitrary: a screen is read by
#: people.
PAUSE_MIN_S, PAUSE_MAX_S = 0.002, 0.05

#: What a payload is shown as: for JSON, a key and its value; the value is text on a terminal, too.
Show = Callable[[Seen], tuple[str, Any]]


def tail(name: str, most: int, follow: bool, show: Show | None, as_json: bool) -> int:
    """
    Print the last *most* records of each lane; with *follow* those that come, until Ctrl-C or the
    end of all that is followed.

    Args:
        show: What to make of a payload; None: text, if it is some, else bytes in hex.

    Raises:
        Refusal, MemlaneError, OSError: it is not there, or cannot be followed.
        ValueError: *name* can be no name.
    """
    with followed(name) as (target, followers):
        printed = _Printed(target, len(followers) > 1, show, as_json)
        for follower in followers:
            printed.records(follower.last(most))
        sys.stdout.flush()
        try:
            if follow:
                _follow(followers, printed)
        except KeyboardInterrupt:
            pass  # the way to end it
    return 0


def _follow(followers: Sequence[Follower], printed: _Printed) -> None:
    pause = PAUSE_MIN_S
    told = [follower.missed for follower in followers]
    while True:
        count = 0
        for index, follower in enumerate(followers):
            found = follower.new()
            if follower.missed != told[index]:
                printed.gap(found, follower.missed - told[index])
                told[index] = follower.missed
            printed.records(found)
            count += len(found)
        sys.stdout.flush()
        if all(follower.ended for follower in followers):
            return
        pause = PAUSE_MIN_S if count else min(2 * pause, PAUSE_MAX_S)
        time.sleep(pause)


class _Printed:
    """Records as lines."""

    def __init__(
        self, target: inspection.Target, several: bool, show: Show | None, as_json: bool
    ) -> None:
        self._region, self._several, self._json = target.name, several, as_json
        self._show = show or as_text_or_hex
        self._dump = show is as_hex
        self._columns = columns()

    def records(self, found: Sequence[Seen]) -> None:
        for one in found:
            for line in self._json_line(one) if self._json else self._text_lines(one):
                print(line)

    def gap(self, found: Sequence[Seen], missed: int) -> None:
        """In front of what was found: others were faster than this look."""
        if self._json:
            print(json.dumps({"region": self._region, "missed": missed}))
        else:
            print(f"... {missed:,} missed")

    def _json_line(self, one: Seen) -> Iterator[str]:
        key, value = self._show(one)
        yield json.dumps(
            {
                "region": self._region,
                "object": one.object,
                **({"lane": one.lane} if one.key is None else {"key": plain(one.key)}),
                "number": one.number,
                "nbytes": len(one.payload),
                key: plain(value),
            }
        )

    def _text_lines(self, one: Seen) -> Iterator[str]:
        name = f"{safe(one.object)} " if self._several else ""
        place = one.lane if one.key is None else safe(str(one.key))
        head = f"{name}{place}:{one.number}  {size(len(one.payload))}"
        if self._dump:
            yield head
            yield from dump(one.payload)
            return
        _, value = self._show(one)
        yield cut(f"{head}  {safe(value if isinstance(value, str) else str(value))}", self._columns)


# ---- payloads ------------------------------------------------------------------------------------


def as_text_or_hex(one: Seen) -> tuple[str, Any]:
    """A value of a slot as its layout says; text if it can be read; else hex."""
    if one.value is not None and not isinstance(one.value, bytes):
        return "value", one.value
    try:
        text = one.payload.decode()
    except UnicodeDecodeError:
        return as_hex(one)
    return ("text", text) if all(map(_is_text, text)) else as_hex(one)


def _is_text(sign: str) -> bool:
    return sign.isprintable() or sign in "\n\r\t"


def as_hex(one: Seen) -> tuple[str, Any]:
    return "hex", one.payload.hex(" " if len(one.payload) <= 1024 else "")


def as_struct(form: str) -> Show:
    """
    Each payload unpacked, as often as the format fits into it.

    Raises:
        Refusal: no format of `struct`.
    """
    try:
        packed = struct.Struct(form)
    except struct.error as error:
        raise Refusal(f"--struct: {error}, got {form!r}") from None
    if packed.size == 0:
        raise Refusal(f"--struct: a format of no bytes, got {form!r}")

    def show(one: Seen) -> tuple[str, Any]:
        if len(one.payload) % packed.size:
            return _unfit(one, packed.size)
        rows = [list(row) for row in packed.iter_unpack(one.payload)]
        return "values", rows[0] if len(rows) == 1 else rows

    return show


def as_dtype(text: str) -> Show:
    """
    Each payload as numbers of a numpy dtype.

    Raises:
        Refusal: numpy is not there, or no dtype has that name.
    """
    try:
        import numpy
    except ImportError:
        raise Refusal("--dtype needs numpy: pip install memlane[numpy]") from None
    try:
        dtype = numpy.dtype(text)
    except TypeError as error:
        raise Refusal(f"--dtype: {error}") from None
    if dtype.hasobject or dtype.itemsize == 0:
        raise Refusal(f"--dtype: no bytes are {text!r}; use one of numbers")

    def show(one: Seen) -> tuple[str, Any]:
        if len(one.payload) % dtype.itemsize:
            return _unfit(one, dtype.itemsize)
        return "values", numpy.frombuffer(one.payload, dtype).tolist()

    return show


def as_pickle(one: Seen) -> tuple[str, Any]:
    """Unpickles, which runs whatever code the record says: only where the user asked for it."""
    try:
        return "repr", repr(pickle.loads(one.payload))
    except Exception as error:  # anything may come out of a pickle
        return "error", f"no pickle: {type(error).__name__}: {error}"


def _unfit(one: Seen, nbytes: int) -> tuple[str, Any]:
    return "error", f"{len(one.payload)} bytes are no multiple of {nbytes}"


def dump(payload: bytes) -> Iterator[str]:
    """Lines of 16 bytes: offset, hex, text."""
    for at in range(0, len(payload), 16):
        part = payload[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"  {at:08x}  {part.hex(' '):<47}  {text}"


def plain(value: Any) -> Any:
    """What JSON can say: bytes in hex, arrays as lists, no number that JSON has not."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if value is None or isinstance(value, str | int):
        return value
    return plain(value.tolist()) if hasattr(value, "tolist") else str(value)
