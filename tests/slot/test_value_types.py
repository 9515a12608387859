# SPDX-License-Identifier: MIT
"""What a type checker is told of the values of slots: mypy judges it, running shows it is so."""

from __future__ import annotations

import ctypes
import inspect
from dataclasses import dataclass
from typing import Any, assert_type

import numpy as np
import pytest

from memlane import Counter, Region, Slot, SlotTable


class Pair(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_double))


@dataclass
class Pose:
    x: float
    y: float


def test_what_is_read_has_the_type_that_the_layout_says() -> None:
    """A tuple for a format, bytes for a size, an instance for a class."""
    with (
        Slot.create(None, "2d") as tuples,
        Slot.create(None, 4) as plain,
        Slot.create(None, Pair) as pairs,
        Slot.create(None, Pose) as poses,
        Slot.create(None, np.dtype("f4")) as floats,
    ):
        tuples.publish((1.0, 2.0))
        plain.publish(b"1234")
        pairs.publish(Pair(1, 2.0))
        poses.publish(Pose(1.0, 2.0))
        floats.publish(1.5)
        assert type(assert_type(tuples.read(), tuple[Any, ...])) is tuple
        assert type(assert_type(plain.read(), bytes)) is bytes
        assert type(assert_type(pairs.read(), Pair)) is Pair
        assert type(assert_type(poses.wait_newer(0), tuple[Pose, int])[0]) is Pose
        assert type(assert_type(poses.read_stamped()[0], Pose)) is Pose
        assert assert_type(floats.read(), Any) == 1.5


def test_slots_of_regions_and_tables_have_the_type_that_the_layout_says() -> None:
    """As those that have a region of their own."""
    with Region.create(None, "64 KiB") as region:
        pose = region.slot("pose", Pose)
        pose.publish(Pose(1.0, 2.0))
        assert_type(pose, Slot[Pose])
        table = region.table("table", 2, "d")
        table[1].publish(1.5)
        assert assert_type(table.read_all(), list[tuple[Any, ...] | None]) == [None, (1.5,)]
        assert_type(region.slot("pose"), Slot[Any])
    with SlotTable.create(None, 1, 4) as plain:
        plain[0].publish(b"1234")
        assert assert_type(plain[0].read(), bytes) == b"1234"


@pytest.mark.parametrize("kind", [Slot, SlotTable, Counter])
def test_a_class_shows_how_it_is_made(kind: Any) -> None:
    """The signature of `create`, and not that of a call which is refused."""
    assert inspect.signature(kind) == inspect.signature(kind.create)
    assert "permissions" in inspect.signature(kind).parameters
