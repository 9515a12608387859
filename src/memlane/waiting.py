# SPDX-License-Identifier: MIT
"""
Waiting for several things in one thread: handles of memlane, sockets, pipes, processes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Any, SupportsFloat

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._core import EventBase, KeyWatch, LockBase, Selector, SlotBase, TableBase, Watch

_FOREVER = 2**64 - 1


class _OfThread(threading.local):
    """The descriptor by which others wake a thread that waits."""

    selector: Selector | None = None
    is_busy = False


_of_thread = _OfThread()


@_core.clear_errors
def wait(objects: Iterable[Any], timeout: SupportsFloat | None = None) -> list[Any]:
    """
    Wait until one or more of several things are ready, as `multiprocessing.connection.wait` does.

    Takes no records: what is ready is got by a verb with timeout=0, which may find that another
    process was faster. Takes the role of each handle, as its first get or put does. Other threads
    run while it waits; Ctrl-C interrupts it.

    Args:
        objects: What to wait for. A ring, a consumer or a subscription is ready when there is
            something to get, or the end. A producer or a publisher is ready when there is room
            since the last call that found none, or the end. A slot or a table is ready when there
            is a newer value than the handle has read; what `watch` of a map returns, when there is
            one of its key; a lock, when it is free; an event, when it is set. Else anything that
            has `fileno()`, or an int that is a descriptor (`Process.sentinel`, a pidfd), is ready
            when it is readable.
        timeout: Longest wait in seconds. None waits for ever; 0 never waits.

    Returns:
        Those of *objects* that are ready, in their order; an empty list when *timeout* is over.

    Raises:
        TypeError: an object cannot be waited for.
        ValueError: *timeout* is negative, or a descriptor is not open.
        ClosedError: this process has closed a handle, or closes it meanwhile.
        RoleTakenError: a live process has the role of a handle.
        OSError: no descriptor can be had.
    """
    things = list(objects)
    seconds = _arguments.optional_timeout(timeout)
    watches: list[Watch] = []
    numbers: list[int] = []
    keys: list[Watch | int] = []
    for thing in things:
        key = _watch_of(thing)
        if isinstance(key, int):
            numbers.append(key)
        else:
            watches.append(key)
        keys.append(key)
    if seconds is None:
        deadline = _FOREVER
    elif seconds == 0:
        deadline = 0
    else:
        deadline = time.monotonic_ns() + int(min(seconds, 1e9) * 1e9)
    ready: set[Watch | int] = set()
    for found in _wait(watches, list(dict.fromkeys(numbers)), deadline):
        ready.update(found)
    return [thing for thing, key in zip(things, keys, strict=True) if key in ready]


def _wait(watches: list[Watch], numbers: list[int], deadline: int) -> tuple[list[Watch], list[int]]:
    if _of_thread.is_busy:  # by a handler of a signal in the midst of a wait
        selector = Selector()
        try:
            return selector.wait(watches, numbers, deadline)
        finally:
            selector.end()
    if _of_thread.selector is None or not _of_thread.selector.is_ours:
        _of_thread.selector = Selector()
    _of_thread.is_busy = True
    try:
        return _of_thread.selector.wait(watches, numbers, deadline)
    finally:
        _of_thread.is_busy = False


def _watch_of(thing: Any) -> Watch | int:
    """What a handle waits for; of another object its descriptor."""
    if isinstance(thing, _core.Receiving):
        return thing._watch_records()
    if isinstance(thing, _core.Producer | _core.Publisher):
        return thing._watch_room()
    if isinstance(thing, SlotBase | KeyWatch):
        return thing._watch_newer()
    if isinstance(thing, LockBase):
        return thing._watch_free()
    if isinstance(thing, EventBase):
        return thing._watch_set()
    if isinstance(thing, TableBase):
        return thing._watch_newer(list(thing))  # type: ignore[call-overload]
    if isinstance(thing, int) and not isinstance(thing, bool):
        number = thing
    else:
        fileno = getattr(thing, "fileno", None)
        if not callable(fileno):
            raise TypeError(
                "wait takes handles of memlane, descriptors and objects that have fileno(), got "
                f"{_arguments.shown(thing)}{_hint(thing)}"
            )
        number = fileno()
        if not isinstance(number, int):
            raise TypeError(f"fileno() of {_arguments.shown(thing)} is no int")
    if not 0 <= number < 2**31:
        raise ValueError(f"{number} is no open descriptor")
    return number


def _hint(thing: Any) -> str:
    if hasattr(type(thing), "sentinel"):  # of the type: one that was not started refuses to tell
        return "; pass its sentinel"
    if hasattr(thing, "subscribe"):
        return "; pass what its subscribe() or publisher() returns"
    return ""
