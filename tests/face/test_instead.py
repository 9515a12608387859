# SPDX-License-Identifier: MIT
"""A user of names that other classes have is told what to use."""

from __future__ import annotations

import collections
import copy
import multiprocessing.queues
import multiprocessing.shared_memory
import multiprocessing.sharedctypes
import operator
import pydoc
import queue
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

import memlane
from memlane._instead import _Missing, _Refused, instead
from tests.face.test_mistakes import failure, frames_of_ours

MAKE: dict[type, Callable[[], Any]] = {
    memlane.Ring: lambda: memlane.Ring(capacity=4096, producers=1),
    memlane.Slot: lambda: memlane.Slot.create(None, "d"),
    memlane.SlotTable: lambda: memlane.SlotTable.create(None, 3, "d"),
    memlane.Counter: lambda: memlane.Counter.create(None),
    memlane.Region: lambda: memlane.Region.create(None, "64 KiB"),
}
_VALUE = multiprocessing.sharedctypes.Synchronized
#: faster-fifo, whose users have the same questions; it need not be installed.
_FASTER_FIFO = (
    "close data_size empty full get get_many get_many_nowait get_nowait is_closed max_size_bytes "
    "message_buffer put put_many put_many_nowait put_nowait qsize reallocate_msg_buffer"
)
#: What each class is taken for.
TAKEN_FOR: list[tuple[type, str, list[str]]] = [
    (memlane.Ring, "queue.Queue", dir(queue.Queue())),
    (memlane.Ring, "multiprocessing.Queue", dir(multiprocessing.queues.Queue)),
    (memlane.Ring, "multiprocessing.JoinableQueue", dir(multiprocessing.queues.JoinableQueue)),
    (memlane.Ring, "collections.deque", dir(collections.deque)),
    (memlane.Ring, "faster_fifo.Queue", _FASTER_FIFO.split()),
    (memlane.Slot, "multiprocessing.Value", dir(_VALUE)),
    (memlane.Slot, "threading.Event", dir(threading.Event)),
    (memlane.Counter, "multiprocessing.Value", dir(_VALUE)),
    (memlane.Counter, "threading.Event", dir(threading.Event)),
    (memlane.Region, "SharedMemory", dir(multiprocessing.shared_memory.SharedMemory)),
    (memlane.Region, "dict", list(set(dir(dict)) - {"fromkeys"})),
]


def said_of(kind: type) -> dict[str, str]:
    """Every name that a class tells what to use for, with that."""
    return {
        name: value._what
        for base in reversed(kind.__mro__)
        for name, value in vars(base).items()
        if isinstance(value, (_Missing, _Refused))
    }


@pytest.mark.parametrize(
    ("kind", "others", "names"),
    [pytest.param(*it, id=f"{it[0].__name__}-{it[1]}") for it in TAKEN_FOR],
)
def test_a_name_of_what_it_is_taken_for_is_there_or_says_what_to_use(
    kind: type, others: str, names: list[str]
) -> None:
    """Of every public method and attribute of the others."""
    with MAKE[kind]() as thing:
        missing = [it for it in names if not it.startswith("_") and not hasattr(thing, it)]
        for name in missing:
            error = failure(lambda name=name: getattr(thing, name))  # type: ignore[misc]
            assert re.fullmatch(rf"a {kind.__name__} has no {name}; .+", str(error)), (others, name)
            assert isinstance(error, AttributeError)
            assert name == error.name
            assert 1 >= len(frames_of_ours(error))


@pytest.mark.parametrize("kind", MAKE)
def test_what_is_said_names_what_there_is(kind: type) -> None:
    """A method that a sentence tells to call is one of that class, or of Python."""
    others = {"len", "list", "range", "open", "sweep", "dumps", "loads", "copy", "Mapping"}
    for name, what in said_of(kind).items():
        for called in re.findall(r"(?<![\w\].])(\w+)\(", what):
            assert hasattr(kind, called) or called in others, (name, what)


@pytest.mark.parametrize(
    ("kind", "call", "words"),
    [
        (memlane.Counter, lambda it: it + 1, r"added .*counter\.value .* counter \+= amount"),
        (memlane.Counter, lambda it: 1 + it, r"added .*counter\.value"),
        (memlane.Counter, lambda it: it - 1, r"subtracted from; use counter\.value"),
        (memlane.Counter, lambda it: sum([it]), r"added .*counter\.value"),
        (memlane.Counter, lambda it: it * 2, r"multiplied .*counter\.value"),
        (memlane.Counter, lambda it: -it, r"multiplied .*counter\.value"),
        (memlane.Counter, lambda it: it < 3, r"has no order; use counter\.value"),
        (memlane.Counter, lambda it: 3 >= it, r"has no order; use counter\.value"),
        (memlane.Counter, lambda it: max(it, 3), r"has no order; use counter\.value"),
        (memlane.Counter, int, r"is no number; use counter\.value"),
        (memlane.Counter, float, r"is no number; use counter\.value"),
        (memlane.Counter, range, r"is no number; use counter\.value"),
        (memlane.Counter, operator.index, r"is no number; use counter\.value"),
        (memlane.Ring, lambda it: it[0], r"has no items; use get\(\)"),
        (memlane.Ring, lambda it: operator.setitem(it, 0, b""), r"takes no items; use put\(record"),
        (memlane.Ring, lambda it: b"" in it, r"looked through; that would take the records out"),
        (memlane.Slot, lambda it: it[0], r"has no items; use read\(\)"),
        (memlane.Slot, lambda it: operator.setitem(it, 0, 1.0), r"items; use publish\(value\)"),
        (memlane.Slot, len, r"has no length; use nbytes"),
        (memlane.Slot, tuple, r"cannot be iterated over; use read\(\)"),
        (memlane.Slot, float, r"is no number; use read\(\)"),
        (memlane.Slot, lambda it: it > 1.0, r"has no order; use read\(\)"),
        (memlane.SlotTable, lambda it: operator.setitem(it, 0, 1.0), r"table\[i\]\.publish"),
        (memlane.Region, lambda it: operator.delitem(it, "x"), r"use region\.remove\(name\)"),
        (memlane.Region, len, r"has no length; .* len\(list\(region\)\)"),
    ],
)
def test_an_operator_that_does_not_fit_is_answered_with_what_to_do(
    kind: type, call: Callable[[Any], object], words: str
) -> None:
    """As what numbers, queues and dicts do would be written, and nothing has changed."""
    with MAKE[kind]() as thing:
        error = failure(lambda: call(thing))
        assert re.match(rf"a {kind.__name__} .*{words}", str(error)), error
        assert isinstance(error, TypeError)
        assert 1 >= len(frames_of_ours(error))


def test_a_look_through_a_ring_takes_nothing_out() -> None:
    """`in` would get every record before the one that is looked for, and wait for it."""
    with MAKE[memlane.Ring]() as ring:
        ring.put(b"first")
        with pytest.raises(TypeError):
            assert b"second" in ring
        assert 1 == len(ring)


@pytest.mark.parametrize("kind", MAKE)
def test_names_that_are_missing_are_not_seen(kind: type) -> None:
    """Neither by hasattr, getattr with a default, dir, help, copies nor pickles."""
    shown = pydoc.plain(pydoc.render_doc(kind))
    with MAKE[kind]() as thing, copy.copy(thing) as copied:
        for name in said_of(kind):
            assert name in vars(object) or name not in dir(thing)
            assert name in vars(object) or name not in dir(kind)
            if not name.startswith("__"):
                assert not hasattr(thing, name)
                assert not hasattr(kind, name)
                assert "nothing" == getattr(copied, name, "nothing")
                assert not re.search(rf"^ \|  {name}( = .*|\(.*)?$", shown, re.MULTILINE)


@pytest.mark.parametrize("kind", MAKE)
def test_finding_a_method_costs_what_it_does_without_such_names(kind: type) -> None:
    """The interpreter looks a method up quickly only where no class has its own way to do so."""
    ways = {"__getattr__", "__getattribute__"}
    assert [object] == [base for base in kind.__mro__ if ways & vars(base).keys()]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("LifoQueue", r"; use Queue\(\)"),
        ("Value", r"; use Slot\.create\(name, layout\)"),
        ("SharedMemory", "; use Mapping"),
        ("Semaphore", "; use Lock or Event"),
        ("open", "; use that of Ring"),
        ("Rings", "$"),
    ],
)
def test_a_name_that_memlane_does_not_have_is_an_attribute_error(name: str, words: str) -> None:
    """With what to use, where others have it; what is near is left to Python, which tells it."""
    error = failure(lambda: getattr(memlane, name))
    assert isinstance(error, AttributeError)
    assert re.match(rf"module 'memlane' has no attribute '{name}'{words}", str(error))
    assert (name, name == "Rings") == (error.name, error.obj is memlane)
    assert not hasattr(memlane, name)
    assert name not in dir(memlane)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: memlane.Ring(maxsize=10), "use records="),  # type: ignore[call-arg]
        (lambda: memlane.Ring.create("x", maxlen=10), "use records="),  # type: ignore[call-arg]
        (lambda: memlane.Region.create("x", size=10), "write nbytes="),  # type: ignore[call-arg]
        (lambda: memlane.Region("x", 10), r"use Region\.create\(name, nbytes\)"),
        (lambda: memlane.Region(name="x"), r"use Region\.create\(name, nbytes\)"),
    ],
)
def test_arguments_that_others_take_are_answered_too(
    call: Callable[[], object], words: str
) -> None:
    """By their names, and those of a class that is not called."""
    error = failure(call)
    assert isinstance(error, TypeError)
    assert re.search(words, str(error))


def test_a_class_of_the_users_may_have_such_a_name() -> None:
    """It is found, and shown."""

    class Queue(memlane.Ring):
        def qsize(self) -> int:
            return len(self)

    with Queue(capacity=4096) as made:
        made.put(b"x")
        assert 1 == made.qsize()
        assert "qsize" in dir(made)
        assert "qsize" in dir(Queue)
        assert "empty" not in dir(Queue)


def test_a_name_that_a_class_has_cannot_be_said_to_be_missing() -> None:
    with pytest.raises(TypeError, match="Counter has add, and says what to use in its place"):
        instead({"inc add": "use max"})(memlane.Counter)
