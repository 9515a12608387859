# SPDX-License-Identifier: MIT
"""`memlane bridge`: carry objects to other machines, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from memlane import bridge
from memlane.cli.text import Refusal, safe, table

#: What a file of --config may have, and of which type.
_KEYS: dict[str, type] = {
    "listen": list,
    "connect": list,
    "carry": list,
    "allow": list,
    "deny": list,
    "rename": dict,
    "name": str,
    "window": str,
    "largest": str,
    "zenoh": dict,
    "zenoh_file": str,
}


def run(
    config: str | None,
    lists: dict[str, Sequence[str]],
    rename: Sequence[str],
    name: str | None,
    window: str | None,
    largest: str | None,
    as_json: bool,
) -> int:
    """
    Run a bridge.

    Args:
        config: The path of a file in TOML with the same options; those given here come on top.
        lists: listen, connect, carry, allow and deny.
        rename: Texts as "HERE=THERE".

    Raises:
        Refusal: the file cannot be understood, or Zenoh is not installed.
        MemlaneError, OSError, ValueError: as Bridge.
    """
    told = _config_of(config) if config is not None else {}
    options: dict[str, Any] = {what: [*told.pop(what, []), *given] for what, given in lists.items()}
    if not options["listen"] and not options["connect"]:
        raise ValueError("a bridge needs --listen or --connect, or both")
    options["rename"] = {**told.pop("rename", {}), **dict(map(_pair, rename))}
    options["config"] = told.pop("zenoh_file", None) or told.pop("zenoh", None)
    for what, given in (("name", name), ("window", window), ("largest", largest)):
        value = given if given is not None else told.pop(what, None)
        if value is not None:
            options[what] = value

    def show(text: str) -> None:
        line = json.dumps({"time": time.time(), "text": text}) if as_json else safe(text)
        stream = sys.stdout if as_json else sys.stderr
        stream.write(f"{line}\n")  # whole, whichever threads have something to tell
        stream.flush()

    with _ended_by(signal.SIGINT, signal.SIGTERM) as ended:
        try:
            made = bridge.Bridge(**options, on_event=show)
        except ImportError as error:
            raise Refusal(str(error)) from None
        with made:
            show(f"bridge {made.name} is up")
            while not ended.wait(1):
                pass
            show(f"bridge {made.name} ends")
    return 0


def status(as_json: bool) -> int:
    """Print what the bridges of this machine do."""
    for one in bridge.running():
        if as_json:
            print(json.dumps(one))
            continue
        peers = [f"{it.get('name')} {it.get('link')}" for it in one.get("peers", [])]
        state = "" if one["alive"] else ", killed"
        print(
            safe(f"{one.get('name')}: pid {one.get('pid')}{state}; {', '.join(peers) or 'no peer'}")
        )
        rows = [
            [
                f"{it.get('direction')} {it.get('kind')}:{it.get('name')}",
                str(it.get("peer") or "-"),
                *(str(it.get(word, "")) for word in _COLUMNS),
                str(it.get("note") or it.get("state")),
            ]
            for it in one.get("streams", [])
        ]
        head = ["STREAM", "PEER", *(word[:8].upper() for word in _COLUMNS), "STATE"]
        for line in table(head, [[safe(cell) for cell in row] for row in rows]):
            print(f"  {line}")
    return 0


_COLUMNS = ("records", "values", "unacknowledged", "credit", "resent", "doubled", "dropped")


def _pair(text: str) -> tuple[str, str]:
    here, equals, there = text.partition("=")
    if not equals or not here or not there:
        raise ValueError(f"--rename takes HERE=THERE, got {text!r}")
    return here, there


def _config_of(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        try:
            told = tomllib.load(file)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
            raise Refusal(f"{path!r} is no TOML: {wrong}") from None
    for key, value in told.items():
        if key not in _KEYS:
            raise Refusal(f"{path!r} has an option {key!r}; there are {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]):
            raise Refusal(
                f"{path!r}: {key} must be a {_KEYS[key].__name__}, got {type(value).__name__}"
            )
    return told


@contextmanager
def _ended_by(*numbers: signal.Signals) -> Iterator[threading.Event]:
    """An event that signals set."""
    ended = threading.Event()
    before = [(it, signal.signal(it, lambda *_: ended.set())) for it in numbers]
    try:
        yield ended
    finally:
        for number, handler in before:
            signal.signal(number, handler)
