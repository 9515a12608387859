# SPDX-License-Identifier: MIT
"""A program with slots, counters, regions and mappings: checked by type checkers, never run."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from typing import Any, assert_type

import numpy as np

import memlane


class Pair(ctypes.Structure):
    _fields_ = (("a", ctypes.c_int), ("b", ctypes.c_double))


@dataclass
class Pose:
    x: float
    y: float


numbers = memlane.Slot.create(None, "2d")
numbers.publish((1.0, 2.0))
assert_type(numbers.read(), tuple[Any, ...])
assert_type(numbers.wait_newer(0, timeout=1), tuple[tuple[Any, ...], int])
plain = memlane.Slot.create(None, 8)
assert_type(plain.publish(b"12345678"), int)
assert_type(plain.read(), bytes)
assert_type(plain.read_versioned(), tuple[bytes, int])
assert_type(memlane.Slot.create(None, Pair).read(), Pair)
pose = memlane.Slot.open("pose", Pose, readonly=True)
assert_type(pose, memlane.Slot[Pose])
assert_type(pose.read(), Pose)
assert_type(pose.read_stamped(), tuple[Pose, int, float | None])
assert_type(pose.read_into(bytearray(16)), int)
assert_type(pose.wait_newer_into(np.zeros(2), 0), int)
assert_type(memlane.Slot.create(None, np.dtype("f4")).read(), Any)

with memlane.Region.create("robot", "1 MiB") as region:
    assert_type(region, memlane.Region)
    assert_type(region.ring("frames", capacity="64 KiB", producers=1), memlane.Ring)
    assert_type(region.slot("pose", Pose), memlane.Slot[Pose])
    assert_type(region.slot("pose"), memlane.Slot[Any])
    table = region.table("table", 4, "d")
    assert_type(table[0].read(), tuple[Any, ...])
    assert_type(table.read_all(), list[tuple[Any, ...] | None])
    assert_type(region.counter("hits"), memlane.Counter)
    assert_type(region.participants(), list[memlane.Participant])
    assert_type(region.stats(), dict[str, Any])
    assert_type(region.nbytes, int)
    region.unlink()

counter = memlane.Counter.create(None)
assert_type(counter.add(1), int)
assert_type(counter.value, int)
assert_type(counter.exchange(5), int)
counter += 1
assert_type(counter, memlane.Counter)

with memlane.Mapping.open(Path("file"), access="r") as mapping:
    assert_type(mapping, memlane.Mapping)
    assert_type(mapping[0:4], bytes)
    assert_type(mapping[0], int)
    assert_type(mapping.find(b"x"), int)
    mapping[0:8] = np.zeros(1)
    view = memoryview(mapping)
    array = np.frombuffer(memoryview(mapping), dtype=np.uint8)
assert_type(memlane.Mapping.anonymous("4 KiB").nbytes, int)
for window in memlane.windows("file"):
    assert_type(window, memlane.Mapping)
assert_type(memlane.guard(), bool)
assert_type(memlane.sweep(), list[str])
