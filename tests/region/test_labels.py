# SPDX-License-Identifier: MIT
"""What messages, warnings and repr call an object: by what its maker called it."""

from __future__ import annotations

import copy
import inspect
import os
import pickle
import pydoc
import re
from collections.abc import Callable
from typing import Any

import pytest

import memlane
from memlane import _proc

#: A maker of each kind in a region of its own, one beside others, and a refused call of it.
Make = Callable[[Any], Any]
KINDS: list[tuple[str, Make, Make, Callable[[Any], object]]] = [
    (
        "ring",
        lambda name: memlane.Ring.create(name, capacity=4096, producers=1),
        lambda region: region.ring("x", capacity=4096, producers=1),
        lambda ring: ring.get(timeout=0),
    ),
    (
        "slot",
        lambda name: memlane.Slot.create(name, "d"),
        lambda region: region.slot("x", "d"),
        lambda slot: slot.read(),
    ),
    (
        "table",
        lambda name: memlane.SlotTable.create(name, 4, "d"),
        lambda region: region.table("x", 4, "d"),
        lambda table: table[9],
    ),
    (
        "counter",
        lambda name: memlane.Counter.create(name),
        lambda region: region.counter("x"),
        lambda counter: (counter.close(), counter.add(1)),
    ),
]
each_kind = pytest.mark.parametrize(
    ("word", "alone", "beside", "refused"), KINDS, ids=[kind[0] for kind in KINDS]
)


def message(call: Callable[[], object]) -> str:
    with pytest.raises(Exception) as caught:
        call()
    return str(caught.value)


@each_kind
def test_an_object_that_has_a_region_to_itself_is_called_by_the_name_of_the_region(
    name: str, word: str, alone: Make, beside: Make, refused: Callable[[Any], object]
) -> None:
    """Its creator, a process that opened it and one that got it by pickle read the given name."""
    with (
        alone(name) as made,
        type(made).open(name) as opened,
        pickle.loads(pickle.dumps(opened)) as arrived,
    ):
        for each in (arrived, opened, made):
            assert f"<memlane.{type(made).__name__} {name!r}, " in repr(each)
            told = message(lambda each=each: refused(each))  # type: ignore[misc]
            assert f"{word} {name!r} " in told
            assert "region" not in told
        made.unlink()


@each_kind
def test_an_object_among_others_is_called_by_its_own_name_and_that_of_the_region(
    name: str, word: str, alone: Make, beside: Make, refused: Callable[[Any], object]
) -> None:
    """Two regions may have objects of one name."""
    with memlane.Region.create(name, "1 MiB") as region, beside(region) as made:
        assert f"<memlane.{type(made).__name__} 'x' in <memlane.Region {name!r}" in repr(made)
        assert f"{word} 'x' of region {name!r}" in message(lambda: refused(made))
        region.unlink()


def test_a_ring_without_a_name_is_called_unnamed_or_by_its_label() -> None:
    """A program with five of them can tell which one it was."""
    with memlane.Ring() as plain, memlane.Ring(label="tasks") as labeled:
        assert message(plain.get_nowait).startswith("unnamed ring is empty")
        assert message(labeled.get_nowait).startswith("ring labeled 'tasks' is empty")
        assert "<memlane.Ring None labeled 'tasks', " in repr(labeled)


@pytest.mark.parametrize("word", ["ring", "slot", "table", "counter"])
def test_what_has_no_name_is_called_by_its_label(word: str) -> None:
    """
    In messages, repr and /proc, in the process that created it and in one that got it by pickle.
    """
    makes: dict[str, Callable[[], Any]] = {
        "ring": lambda: memlane.Ring(label="my thing"),
        "slot": lambda: memlane.Slot.create(None, "d", label="my thing"),
        "table": lambda: memlane.SlotTable.create(None, 4, "d", label="my thing"),
        "counter": lambda: memlane.Counter.create(None, label="my thing"),
    }
    made = makes[word]()
    refused = {kind[0]: kind[3] for kind in KINDS}[word]
    with made, pickle.loads(pickle.dumps(made)) as arrived, copy.copy(made) as copied:
        for each in (copied, arrived, made):
            assert "my thing" == each.label
            assert f"<memlane.{type(made).__name__} None labeled 'my thing', " in repr(each)
            in_proc = os.readlink(f"/proc/self/fd/{each.region._member.base}")
            assert "/memfd:memlane:my thing (deleted)" == in_proc
            assert "my thing" in [found.label for _, found in _proc.unnamed()]
            told = message(lambda each=each: refused(each))  # type: ignore[misc]
            assert f"{word} labeled 'my thing' " in told


@pytest.mark.parametrize(
    "make",
    [
        lambda label: memlane.Ring(label=label),
        lambda label: memlane.Region.create(None, 4096, label=label),
        lambda label: memlane.Slot.create(None, "d", label=label),
        lambda label: memlane.SlotTable.create(None, 4, "d", label=label),
        lambda label: memlane.Counter.create(None, label=label),
    ],
)
@pytest.mark.parametrize("label", ["", "two\nlines", "\ud800", "x" * 101, 5, b"x"])
def test_a_label_is_text_that_can_be_printed(make: Any, label: Any) -> None:
    """It gets into messages and into the name of a file in memory."""
    with pytest.raises((ValueError, TypeError), match="label must be"):
        make(label)


def test_a_label_is_for_what_has_no_name(name: str) -> None:
    """Nothing is made."""
    makes: list[Callable[[], object]] = [
        lambda: memlane.Region.create(name, 4096, label="x"),
        lambda: memlane.Slot.create(name, "d", label="x"),
        lambda: memlane.SlotTable.create(name, 4, "d", label="x"),
        lambda: memlane.Counter.create(name, label="x"),
    ]
    for make in makes:
        with pytest.raises(ValueError, match="a label is for what has no name, got label 'x'"):
            make()
    assert name not in memlane.Region.names()


def test_help_shows_permissions_as_they_are_written() -> None:
    """0o600, not 384; in what editors show it is so anyhow."""
    for face in (
        memlane.Region.create,
        memlane.Ring.create,
        memlane.Ring.open_or_create,
        memlane.Slot,
        memlane.Slot.create,
        memlane.SlotTable.create,
        memlane.Counter.open_or_create,
        memlane.Mapping.create,
        memlane.Mapping.shm,
    ):
        parameter = inspect.signature(face).parameters["permissions"]
        assert "0o600" in str(parameter)
        assert 384 == parameter.default
        assert "0o600" in pydoc.render_doc(face)
    assert not re.search(r"permissions[^,)]*= ?384", pydoc.render_doc(memlane.Slot))


def test_a_second_object_in_a_region_made_for_one_is_not_taken_for_the_first(name: str) -> None:
    """The name of the region is that of the one it was made for."""
    with memlane.Slot.create(name, "4096s") as made, memlane.Region.open(name) as region:
        made.close()
        with pytest.raises(ValueError, match=f"object 'other' needs .* region '{name}' has"):
            region.ring("other", capacity="1 MiB")
        region.unlink()


def test_an_only_object_with_a_name_of_its_own_keeps_it(name: str) -> None:
    """`Ring.open` of a region that was made for several, and has one yet."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.ring("frames", capacity=4096, producers=1)
        with memlane.Ring.open(name) as ring:
            told = message(ring.get_nowait)
        region.unlink()
    assert told.startswith(f"ring 'frames' of region '{name}' is empty")


def test_a_slot_of_a_table_is_called_by_its_number(name: str) -> None:
    """Each slot has a writer of its own, so messages are of one."""
    with memlane.SlotTable.create(name, 4, "d") as table, memlane.Region.create(None, 9999) as two:
        assert message(table[3].read).startswith(f"table {name!r} slot 3 was never published")
        beside = two.table("x", 4, "d")
        assert message(beside[2].read).startswith("table 'x' slot 2 of unnamed region was never")
        table.unlink()
