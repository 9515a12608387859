# SPDX-License-Identifier: MIT
"""Every call that takes a timeout takes the same ones, and refuses the others in the same words."""

from __future__ import annotations

import contextlib
import fractions
import functools
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import memlane
from memlane import _arguments
from tests.support.processes import PATIENCE_S

FACES: list[Any] = [
    memlane.Ring,
    memlane.Producer,
    memlane.Consumer,
    memlane.Slot,
    memlane.SlotTable,
    memlane.Counter,
    memlane.Map,
    memlane.KeyWatch,
    memlane.Lock,
    memlane.RLock,
    memlane.Event,
    memlane.Topic,
    memlane.Publisher,
    memlane.Subscriber,
    memlane.Mapping,
    memlane.Region,
]


def shown(value: object) -> str:
    """For the name of a test: `repr` refuses the longest numbers."""
    return "very-long" if isinstance(value, int) and abs(value) > 1 << 64 else repr(value)


def removed_anew(region: memlane.Region, timeout: Any) -> None:
    """Remove what was just made: there is nothing to wait for."""
    region.counter("removed")
    region.remove("removed", timeout=timeout)


def taken_anew(lock: memlane.Lock, timeout: Any) -> None:
    assert lock.acquire(timeout=timeout)
    lock.release()


# What answers at once with any timeout that there is. The ring has a record and room for more, and
# the region has what is asked for already.
OF_RINGS: dict[str, Callable[[Any, Any], object]] = {
    "put": lambda it, timeout: it.put(b"x", timeout=timeout),
    "put_many": lambda it, timeout: it.put_many([b"x"], timeout=timeout),
    "reserve": lambda it, timeout: it.reserve(8, timeout=timeout).abort(),
    "reserve_array": lambda it, timeout: it.reserve_array(8, "u1", timeout=timeout).abort(),
    "get": lambda it, timeout: it.get(timeout=timeout),
    "get_many": lambda it, timeout: it.get_many(1, timeout=timeout),
    "get_into": lambda it, timeout: it.get_into(bytearray(8), timeout=timeout),
    "borrow": lambda it, timeout: it.borrow(timeout=timeout).release(),
    "borrow_many": lambda it, timeout: it.borrow_many(1, timeout=timeout).release(),
    "borrowed": lambda it, timeout: it.borrowed(timeout=timeout),
    "records": lambda it, timeout: it.records(timeout=timeout),
}
OF_SLOTS: dict[str, Callable[[Any, Any], object]] = {
    "publish": lambda it, timeout: it.publish(b"12345678", timeout=timeout),
    "read": lambda it, timeout: it.read(timeout=timeout),
    "read_versioned": lambda it, timeout: it.read_versioned(timeout=timeout),
    "read_stamped": lambda it, timeout: it.read_stamped(timeout=timeout),
    "read_into": lambda it, timeout: it.read_into(bytearray(8), timeout=timeout),
    "wait_newer": lambda it, timeout: it.wait_newer(0, timeout),
    "wait_newer_into": lambda it, timeout: it.wait_newer_into(bytearray(8), 0, timeout=timeout),
}
OF_MAPS: dict[str, Callable[[Any, Any], object]] = {
    "set": lambda it, timeout: it.set("k", 1, timeout=timeout),
    "setdefault": lambda it, timeout: it.setdefault("k", 1, timeout=timeout),
    "compare_exchange": lambda it, timeout: it.compare_exchange("k", 0, 1, timeout=timeout),
    "compare_remove": lambda it, timeout: it.compare_remove("k", 0, timeout=timeout),
    "add": lambda it, timeout: it.add("k", timeout=timeout),
    "pop": lambda it, timeout: it.pop("none", None, timeout=timeout),
    "wait_newer": lambda it, timeout: it.wait_newer("k", 0, timeout),
}
OF_TOPICS: dict[str, Callable[[Any, Any], object]] = {
    "publish": lambda it, timeout: it.publish(b"x", timeout=timeout),
    "publish_many": lambda it, timeout: it.publish_many([b"x"], timeout=timeout),
    "reserve": lambda it, timeout: it.reserve(1, timeout=timeout).abort(),
    "reserve_array": lambda it, timeout: it.reserve_array(1, "u1", timeout=timeout).abort(),
    "records": lambda it, timeout: next(iter(it.records(timeout=timeout))),
    "get": lambda it, timeout: it.get(timeout=timeout),
    "get_many": lambda it, timeout: it.get_many(1, timeout=timeout),
    "get_into": lambda it, timeout: it.get_into(bytearray(9), timeout=timeout),
    "borrow": lambda it, timeout: it.borrow(timeout=timeout),
    "borrow_many": lambda it, timeout: it.borrow_many(1, timeout=timeout),
    "borrowed": lambda it, timeout: it.borrowed(timeout=timeout),
}
OF_REGIONS: dict[str, Callable[[Any, Any], object]] = {
    "ring": lambda it, timeout: it.ring("ring", capacity=4096, timeout=timeout),
    "slot": lambda it, timeout: it.slot("slot", 8, timeout=timeout),
    "slot ": lambda it, timeout: it.slot("slot", timeout=timeout),
    "table": lambda it, timeout: it.table("table", 2, 8, timeout=timeout),
    "counter": lambda it, timeout: it.counter("counter", timeout=timeout),
    "map": lambda it, timeout: it.map("map", value="q", timeout=timeout),
    "topic": lambda it, timeout: it.topic("topic", capacity=4096, timeout=timeout),
    "queue": lambda it, timeout: it.queue("queue", 0, capacity=4096, producers=1, timeout=timeout),
    "array": lambda it, timeout: it.array("array", 8, "u1", timeout=timeout),
    "counters": lambda it, timeout: it.counters("counters", 2, timeout=timeout),
    "heap": lambda it, timeout: it.heap("heap", 4096, timeout=timeout),
    "lock": lambda it, timeout: it.lock("lock", timeout=timeout),
    "event": lambda it, timeout: it.event("event", timeout=timeout),
    "remove": lambda it, timeout: removed_anew(it, timeout),
}
OPENERS: list[Any] = [
    memlane.Region,
    memlane.Ring,
    memlane.Slot,
    memlane.SlotTable,
    memlane.Counter,
    memlane.Map,
    memlane.Lock,
    memlane.RLock,
    memlane.Event,
    memlane.Topic,
]


@pytest.fixture
def region() -> Iterator[memlane.Region]:
    with memlane.Region.create(None, "1 MiB") as made:
        made.ring("ring", capacity=4096)
        made.slot("slot", 8).publish(b"12345678")
        made.table("table", 2, 8)
        made.counter("counter")
        made.map("map", entries=4, value="q")["k"] = 1
        made.topic("topic", capacity=4096)
        made.lock("lock")
        made.event("event").set()
        yield made


def calls(region: memlane.Region) -> Iterator[tuple[str, Callable[[Any], object]]]:
    """Each call that takes a timeout, with the name that it has in memlane."""
    for face in ("Ring", "Producer", "Consumer"):
        with memlane.Ring(capacity="64 KiB", producers=2) as ring:
            it = getattr(ring, face.lower())() if face != "Ring" else ring
            for verb, call in OF_RINGS.items():
                if hasattr(it, verb):
                    ring.put(b"x")
                    yield f"{face}.{verb}", functools.partial(call, it)
    for face in ("Topic", "Publisher", "Subscriber"):
        with memlane.Topic("64 KiB", publishers=2) as topic:
            made: dict[str, Callable[[], Any]] = {
                "Publisher": topic.publisher,
                "Subscriber": lambda: topic.subscribe("oldest"),
            }
            it = made[face]() if face in made else topic
            for verb, call in OF_TOPICS.items():
                if hasattr(it, verb):
                    topic.publish(b"x")
                    yield f"{face}.{verb}", functools.partial(call, it)
    slot = region.slot("slot", 8)
    for verb, call in OF_SLOTS.items():
        yield f"Slot.{verb}", functools.partial(call, slot)
    m = region.map("map")
    for verb, call in OF_MAPS.items():
        yield f"Map.{verb}", functools.partial(call, m)
    with contextlib.closing(memlane.RLock()) as recursive:
        yield "Lock.acquire", functools.partial(taken_anew, region.lock("lock"))
        yield "RLock.acquire", functools.partial(taken_anew, recursive)
    event = region.event("event")
    yield "Event.wait", lambda timeout: event.wait(timeout)
    yield "KeyWatch.wait_newer", lambda timeout: m.watch("k", 0).wait_newer(timeout)
    for verb, call in OF_REGIONS.items():
        yield f"Region.{verb}".strip(), functools.partial(call, region)


def test_no_call_that_takes_a_timeout_is_left_out_here(region: memlane.Region) -> None:
    """A new one gets its row in the tables above."""
    known = {name for name, _ in calls(region)} | {f"{it.__name__}.open" for it in OPENERS}
    found = set()
    for face in FACES:
        for name, member in inspect.getmembers(face):
            public = not name.startswith("_") and callable(member)
            if public and "timeout" in inspect.signature(member).parameters:
                found.add(f"{face.__name__}.{name}")

    assert known == found


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        ("100ms", TypeError, "timeout must be seconds or None, got '100ms'"),
        (True, TypeError, "timeout must be seconds or None, got True"),
        (float, TypeError, "timeout must be seconds or None, got <class 'float'>"),
        (np.int32, TypeError, "timeout must be seconds or None, got <class 'numpy.int32'>"),
        ([1], TypeError, r"timeout must be seconds or None, got \[1\]"),
        (-1, ValueError, "timeout must be None or at least 0 seconds, got -1"),
        (-0.5, ValueError, "timeout must be None or at least 0 seconds, got -0.5"),
        (float("-inf"), ValueError, "timeout must be None or at least 0 seconds, got -inf"),
        (float("nan"), ValueError, "timeout must be None or at least 0 seconds, got nan"),
        (
            -(10**400),
            ValueError,
            "timeout must be None or at least 0 seconds, got less than -1e308",
        ),
        (-(10**5000), ValueError, "timeout must be None or at least 0 seconds, got less than"),
    ],
    ids=shown,
)
def test_what_is_no_timeout_is_refused_in_the_same_words_everywhere(
    region: memlane.Region, wrong: Any, kind: type[Exception], said: str
) -> None:
    """Also where the call would not have waited."""
    for _, call in calls(region):
        with pytest.raises(kind, match=f"^{said}"):
            call(wrong)
    for opener in OPENERS:
        with pytest.raises(kind, match=f"^{said}"):
            opener.open("h-nothing-of-that-name", timeout=wrong)


@pytest.mark.parametrize(
    "timeout",
    [
        0,
        0.0,
        1e10,
        1e300,
        float("inf"),
        10**400,
        10**5000,
        fractions.Fraction(10**400),
        fractions.Fraction(1, 3),
        np.float32(0.5),
        np.int64(1),
        None,
    ],
    ids=shown,
)
def test_any_number_of_seconds_is_a_timeout_everywhere(
    region: memlane.Region, timeout: Any
) -> None:
    """However long: what no clock counts up to is as long as can be. None is for ever."""
    for _, call in calls(region):
        call(timeout)


@pytest.mark.parametrize("timeout", [0, 0.0, 0.001, fractions.Fraction(1, 1000), np.float64(0)])
def test_what_is_not_there_is_not_found_within_its_timeout(timeout: Any) -> None:
    """Open gives up, in its own words."""
    for opener in OPENERS:
        with pytest.raises(memlane.RegionNotFoundError):
            opener.open("h-nothing-of-that-name", timeout=timeout)


@pytest.mark.parametrize("timeout", [1e10, float("inf"), 10**400, None])
def test_what_appears_within_a_very_long_timeout_is_opened(timeout: Any, tmp_path: Any) -> None:
    """The wait goes on, and ends with the region."""
    path = tmp_path / "region"
    opened: list[object] = []

    def wait() -> None:
        try:
            with memlane.Region.open(path, timeout=timeout) as region:
                opened.append(region.nbytes)
        except BaseException as error:
            opened.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    with memlane.Region.create(path, "64 KiB") as region:
        thread.join(PATIENCE_S)
        assert [region.nbytes] == opened
        region.unlink()


def test_one_check_is_behind_all_of_them(region: memlane.Region, monkeypatch: Any) -> None:
    """The extension asks the same function for whatever is no plain float or int."""
    asked: list[object] = []

    def check(value: Any) -> float:
        asked.append(value)
        return 0.0

    monkeypatch.setattr(_arguments, "timeout", check)
    timeout: Any = fractions.Fraction(1, 3)
    ring = region.ring("ring", capacity=4096)
    asked.clear()
    ring.put(b"x", timeout=timeout)
    asked_by_extension = set(asked)
    asked.clear()
    region.counter("counter", timeout=timeout)

    assert {timeout} == asked_by_extension
    assert timeout in asked
