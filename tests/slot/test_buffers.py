# SPDX-License-Identifier: MIT
"""
Buffers that are passed in or to be filled: any contiguous one, none with Python objects in it, and
errors that say what to pass instead.
"""

from __future__ import annotations

import array
import ctypes
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from memlane import Mapping, Ring, Slot


class Either(ctypes.Union):
    """Of which the buffer protocol tells nothing."""

    _fields_ = (("number", ctypes.c_double), ("thing", ctypes.py_object))


class Packed(ctypes.Structure):
    """Of this neither."""

    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("letter", ctypes.c_char), ("thing", ctypes.py_object))


class Outer(ctypes.Structure):
    _fields_ = (("number", ctypes.c_int), ("either", Either))


class Heir(Outer):
    """Whose own fields are harmless."""

    _fields_ = (("another", ctypes.c_int),)  # type: ignore[assignment]


class Harmless(ctypes.Structure):
    """A field that is only called O."""

    _fields_ = (("O", ctypes.c_int), ("d", ctypes.c_float))


OBJECTS: dict[str, Any] = {
    "array": np.array([{}], dtype=object),
    "scalar array": np.array({}, dtype=object),
    "fields": np.zeros(1, [("a", "d"), ("b", object)]),
    "nested fields": np.zeros(2, [("O", "d"), ("b", [("i", "i4"), ("x", object, (2,))])]),
    "beside what has no format": np.zeros(1, [("when", "M8[s]"), ("x", object)]),
    "ctypes object": ctypes.py_object({}),
    "ctypes array": (ctypes.py_object * 2)(),
    "ctypes union": Either(),
    "ctypes packed": Packed(),
    "ctypes nested": Outer(),
    "ctypes inherited": Heir(),
    "array of unions": (Either * 2)(),
    "memoryview of a union": memoryview(Either()),
    "memoryview of an array": memoryview(np.array([{}], dtype=object)),
}
SOUND: dict[str, Any] = {
    "bytearray": bytearray(8),
    "memoryview": memoryview(bytes(8)),
    "array": array.array("d", [0.0]),
    "ndarray": np.zeros(1),
    "ndarray of three dimensions": np.zeros((2, 2, 2), "u1"),
    "ndarray of fields": np.zeros(1, [("O", "i4"), ("x", "f4")]),
    "time": np.zeros(1, "M8[s]"),  # numpy has no format for it
    "field of time": np.zeros(1, [("O", "M8[s]")]),
    "numpy scalar": np.float64(0),
    "numpy time scalar": np.datetime64(0, "s"),
    "ctypes number": ctypes.c_double(),
    "ctypes structure": Harmless(),
    "ctypes array": (ctypes.c_int * 2)(),
}


@pytest.fixture
def ring() -> Iterator[Ring]:
    with Ring(capacity=4096) as made:
        yield made


@pytest.fixture
def slot() -> Iterator[Slot]:
    with Slot.create(None, 8) as made:
        yield made


@pytest.fixture
def mapping() -> Iterator[Mapping]:
    with Mapping.anonymous(4096) as made:
        yield made


def set_slice(mapping: Mapping, thing: Any) -> None:
    mapping[:8] = thing


@pytest.mark.parametrize("kind", OBJECTS)
def test_buffers_of_python_objects_go_nowhere(
    kind: str, ring: Ring, slot: Slot, mapping: Mapping
) -> None:
    """
    TypeError wherever a buffer goes in or out: a pointer means nothing elsewhere, and bytes over
    one crash whoever follows it.
    """
    thing = OBJECTS[kind]
    before = bytes(memoryview(thing).cast("B")) if isinstance(thing, ctypes.Structure) else None
    ring.put(b"12345678")
    slot.publish(b"12345678")
    uses: list[Callable[[], object]] = [
        lambda: ring.put(thing, timeout=0),
        lambda: ring.put_many([b"x", thing], timeout=0),
        lambda: ring.get_into(thing, timeout=0),
        lambda: slot.publish(thing),
        lambda: slot.read_into(thing),
        lambda: set_slice(mapping, thing),
        lambda: mapping.find(thing),
        lambda: mapping.rfind(thing),
        lambda: mapping.count(thing),
        lambda: thing in mapping,
    ]
    for use in uses:
        with pytest.raises(TypeError, match="Python objects"):
            use()
    with ring.reserve(16, timeout=0) as room:
        with pytest.raises(TypeError, match="Python objects"):
            room.write(thing)
        room.abort()

    assert (len(ring), slot.version) == (1, 1)
    assert bytes(mapping) == bytes(4096)
    if before is not None:
        assert bytes(memoryview(thing).cast("B")) == before


@pytest.mark.parametrize("kind", SOUND)
def test_every_other_contiguous_buffer_goes_in(
    kind: str, ring: Ring, slot: Slot, mapping: Mapping
) -> None:
    """Also what cannot describe itself, and fields that are called O."""
    thing = SOUND[kind]
    nbytes = memoryview(thing).nbytes if "time" not in kind else 8
    for _ in range(2):  # what is known of the first must not be believed of the second
        ring.put(thing)
        assert ring.put_many([thing, b"x", thing]) == 3
        set_slice(mapping, thing)
        assert mapping.find(thing) == 0
        if nbytes == 8:
            slot.publish(thing)
        with ring.reserve(nbytes) as room:
            assert room.write(thing) == nbytes

    assert [len(record) for record in ring.get_many(5)] == [nbytes, nbytes, 1, nbytes, nbytes]


def test_an_array_of_objects_is_refused_right_after_one_of_numbers(ring: Ring) -> None:
    """Arrays are told apart by their dtype, each time."""
    for _ in range(3):
        ring.put(np.zeros(1))
        with pytest.raises(TypeError, match="Python objects"):
            ring.put(OBJECTS["array"])
        ring.put(np.zeros(1, "i4"))
        with pytest.raises(TypeError, match="Python objects"):
            ring.put(OBJECTS["fields"])

    assert [len(record) for record in ring.get_many(9)] == [8, 4] * 3


def test_what_is_no_buffer_is_refused_with_what_to_do(
    ring: Ring, slot: Slot, mapping: Mapping
) -> None:
    """Text is to be encoded, objects pickled; a batch names the item."""
    for use, text in (
        (lambda: ring.put("text"), r"put needs bytes.*got str; encode it: put\(text.encode\(\)\)"),  # type: ignore[arg-type]
        (lambda: ring.put({"a": 1}), r"got dict; .*pickle.dumps"),  # type: ignore[arg-type]
        (lambda: ring.put(7), r"got int; .*pickle.dumps"),  # type: ignore[arg-type]
        (lambda: ring.put_many([b"a", "b"]), r"item 1 of 2.*got str; encode it"),  # type: ignore[list-item]
        (lambda: ring.put_many([None]), r"item 0 of 1.*got NoneType"),  # type: ignore[list-item]
        (lambda: ring.put_many(b"abc"), r"list of records, got one bytes; pass \[record\]"),  # type: ignore[arg-type]
        (lambda: ring.put_many("abc"), r"list of records, got one str"),  # type: ignore[arg-type]
        (lambda: ring.put_many(5), r"list of records, got int"),  # type: ignore[arg-type]
        (lambda: slot.publish("12345678"), r"publish\(text.encode\(\)\)"),
        (lambda: set_slice(mapping, "12345678"), r"slice of a mapping needs.*got str"),
        (lambda: mapping.find("x"), r"find needs.*got str"),  # type: ignore[arg-type]
        (lambda: ring.get_into("x"), r"get_into needs a writable.*got str; pass a bytearray"),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match=text) as caught:
            use()
        assert isinstance(pickle.loads(pickle.dumps(caught.value)), TypeError)
    assert (len(ring), slot.version) == (0, 0)


def test_a_buffer_to_be_filled_that_has_gaps_is_not_told_to_be_copied(
    ring: Ring, slot: Slot
) -> None:
    """The record would go into the copy; nothing is taken."""
    ring.put(b"12345678")
    slot.publish(b"12345678")
    gaps = np.zeros(16, "u1")[::2]
    with pytest.raises(BufferError, match="lie together") as getting:
        ring.get_into(gaps)
    with pytest.raises(BufferError, match="lie together") as reading:
        slot.read_into(gaps)
    for caught in (getting, reading):
        assert "pass a copy" not in str(caught.value)
    with pytest.raises(BufferError, match=r"numpy\.ascontiguousarray"):
        ring.put(gaps)
    fixed = np.zeros(8, "u1")
    fixed.flags.writeable = False
    for read_only in (fixed, b"12345678"):
        with pytest.raises(BufferError, match="writable"):
            ring.get_into(read_only)

    assert ring.get() == b"12345678"


def test_the_error_of_a_buffer_that_is_gone_comes_out_as_it_is(ring: Ring) -> None:
    """It is not said to have gaps."""
    view = memoryview(b"12345678")
    view.release()
    with pytest.raises(ValueError, match="released memoryview"):
        ring.put(view)
    closed = Mapping.anonymous(8)
    closed.close()
    with pytest.raises(ValueError, match="is closed"):
        ring.put(closed)
