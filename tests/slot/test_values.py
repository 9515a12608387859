# SPDX-License-Identifier: MIT
"""What values of slots look like: nothing is changed on its way in, no address gets out."""

from __future__ import annotations

import ctypes
import math
from dataclasses import InitVar, dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from memlane import LayoutError, Slot
from memlane.values import codec_of, codec_of_schema


def through(layout: Any, value: Any) -> Any:
    """What comes out of a slot of that layout."""
    with Slot.create(None, layout) as slot:
        slot.publish(value)
        return slot.read()


def structure(base: Any = ctypes.Structure, **fields: Any) -> Any:
    """A ctypes class of these fields, called S."""
    made = [
        (name, *(kind if isinstance(kind, tuple) else (kind,))) for name, kind in fields.items()
    ]
    return type("S", (base,), {"_fields_": made})


# ---- numpy ---------------------------------------------------------------------------------------

FIELDS = np.dtype([("a", "i4"), ("b", "f8")])
NESTED = np.dtype([("p", [("x", "f8"), ("y", "f8")]), ("v", "i2", (2,))])

LOST: list[tuple[Any, Any]] = [
    ("u1", np.int64(300)),
    ("u1", np.array([300])),
    ("u1", 300),
    ("u1", -1),
    ("i8", np.uint64(2**63)),
    ("u8", -1),
    ("i4", 3.7),
    ("i4", math.nan),
    ("i4", math.inf),
    ("i8", 2.0**63),
    ("u8", 2.0**64),
    ("?", 2),
    ("f8", 1 + 2j),
    ("i4", 1 + 2j),
    ("f4", 2**24 + 1),
    ("f8", np.int64(2**53 + 1)),
    ("f8", np.uint64(2**64 - 1)),
    ("f4", 1e300),
    ("f2", np.float32(1e6)),
    ("c8", 1e300j),
    ("S3", b"hello"),
    ("S3", "hello"),
    ("U3", "hello"),
    ("S3", "h\N{LATIN SMALL LETTER E WITH ACUTE}"),
    ("M8[s]", np.datetime64("2020-01-01T00:00:00.5")),
    ("M8[s]", "2020-01-01T00:00:00.5"),
    ("m8[h]", np.timedelta64(30, "m")),
]


@pytest.mark.parametrize(("dtype", "value"), LOST, ids=repr)
def test_a_value_that_would_be_changed_is_refused(dtype: str, value: Any) -> None:
    """ValueError, and nothing is published: numbers, texts and times that do not fit."""
    with Slot.create(None, np.dtype(dtype)) as slot:
        with pytest.raises(ValueError, match=r"does not fit|can't encode"):
            slot.publish(value)
        assert slot.version == 0


KEPT: list[tuple[Any, Any, Any]] = [
    ("u1", np.int64(200), 200),
    ("i4", 3.0, 3),
    ("i8", True, 1),
    ("?", 1, True),
    ("u8", 2**64 - 1, 2**64 - 1),
    ("f8", 5, 5.0),
    ("f8", 2**60, 2.0**60),
    ("f8", 2 + 0j, 2.0),
    ("f4", 1.1, np.float32(1.1)),  # rounded, as floats are
    ("f4", math.inf, math.inf),
    ("c16", 1.5, 1.5 + 0j),
    (">i2", np.int64(-5), -5),
    ("S5", "abc", b"abc"),
    ("U5", "abc", "abc"),
    ("M8[s]", "2020-01-01", np.datetime64("2020-01-01T00:00:00")),
    ("M8[ms]", np.datetime64("2020-01-01T00:00:01"), np.datetime64("2020-01-01T00:00:01.000")),
]


@pytest.mark.parametrize(("dtype", "value", "expected"), KEPT, ids=repr)
@pytest.mark.filterwarnings("error")
def test_a_value_of_another_type_that_fits_goes_in(dtype: str, value: Any, expected: Any) -> None:
    """What is the same number, text or time in the dtype of the slot."""
    assert through(np.dtype(dtype), value) == expected


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        ("S5", 5),
        ("i4", "5"),
        ("f8", "x"),
        ("i4", None),
        ("f8", np.datetime64(1, "s")),
        ("i8", np.timedelta64(1, "s")),
        ("f8", np.zeros((), FIELDS)),
        (FIELDS, 5),
        (FIELDS, [1, 2]),
        (FIELDS, {"a": 1}),
        (FIELDS, {"a": 1, "b": 2, "c": 3}),
        (FIELDS, np.zeros((), [("a", "i4"), ("c", "f8")])),
    ],
    ids=repr,
)
def test_a_value_of_another_kind_is_refused(dtype: Any, value: Any) -> None:
    """TypeError: numbers are no texts, times no numbers, and fields have names."""
    with pytest.raises(TypeError, match="holds"):
        through(np.dtype(dtype), value)


def test_fields_go_by_their_names_or_in_order_in_a_tuple() -> None:
    """Never by place from another dtype: a and b would be swapped."""
    swapped = np.array((1.5, 7), dtype=[("b", "f8"), ("a", "i4")])
    for value in (swapped, {"b": 1.5, "a": 7}, (7, 1.5), np.array((7, 1.5), FIELDS)):
        assert through(FIELDS, value).item() == (7, 1.5)
    assert through(np.dtype((FIELDS, (2,))), [(1, 2.0), {"b": 4.0, "a": 3}]).tolist() == [
        (1, 2.0),
        (3, 4.0),
    ]
    nested = {"v": [3, 4], "p": {"y": 2.0, "x": 1.0}}
    assert through(NESTED, nested).item()[0] == (1.0, 2.0)
    with pytest.raises(ValueError, match=r"field 'v'.*70000"):
        through(NESTED, {**nested, "v": [3, 70000]})


def test_fields_may_be_out_of_order_or_overlap() -> None:
    """As a view of several fields of an array has them; also without naming the layout."""
    out_of_order = np.zeros(1, [("a", "i4"), ("b", "f8"), ("c", "i1")])[["c", "a"]].dtype
    overlapping = np.dtype({"names": ["all", "low"], "formats": ["<u8", "<u4"], "offsets": [0, 0]})
    for dtype in (
        out_of_order,
        overlapping,
        np.dtype([("in", out_of_order), ("more", "f8", (2,))]),
    ):
        codec = codec_of(dtype)
        again = codec_of_schema(codec.schema, codec.nbytes, "slot", "slot 'x'")
        assert again.schema == codec.schema
        assert again.decode is not None
        assert again.decode(bytes(codec.nbytes)).dtype == dtype
    assert through(out_of_order, (1, 2)).item() == (1, 2)
    whole = np.zeros((), overlapping)
    whole["all"] = 2**32 + 5
    assert through(overlapping, whole)["low"] == 5
    with pytest.raises(TypeError, match="overlap"):
        through(overlapping, (2**32 + 5, 7))


def test_a_layout_that_takes_too_long_to_describe_is_told_by_a_digest(name: str) -> None:
    """A hundred named fields; a program that does not name the layout gets bytes."""
    many = np.dtype([(f"field number {i}", "<f8") for i in range(100)])
    other = np.dtype([(f"field_number {i}", "<f8") for i in range(100)])
    with Slot.create(name, many) as slot:
        slot.publish(np.ones((), many))
        with Slot.open(name) as unnamed, Slot.open(name, many) as same:
            assert unnamed.read() == np.ones(100).tobytes()
            assert same.read() == np.ones((), many)
        with pytest.raises(LayoutError, match="sha256"):
            Slot.open(name, other)
        slot.unlink()


# ---- what is a layout ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.float64, int, float, bool, ctypes.c_int16])
def test_a_class_of_numbers_is_a_layout(kind: Any) -> None:
    """Also one whose instances would be a number of bytes."""
    assert through(kind, 1) == 1


@pytest.mark.parametrize(
    ("layout", "error", "text"),
    [
        ("f8", ValueError, r"write np\.dtype\('f8'\)"),
        ("64 KiB", ValueError, "pass the int 65536"),
        ([], ValueError, "no fields"),
        ({}, ValueError, "no fields"),
        (str, ValueError, "no length"),
        (Slot, TypeError, "layout must be"),
    ],
    ids=repr,
)
def test_what_is_no_layout_is_refused_with_what_it_was_meant_to_be(
    layout: Any, error: type[Exception], text: str
) -> None:
    """One sentence that says what to write."""
    with pytest.raises(error, match=text):
        Slot.create(None, layout)


def test_one_value_needs_no_tuple_and_several_need_one() -> None:
    """`publish(1.5)` for a format of one; else the error says how many there are."""
    given: list[tuple[str, Any, tuple[Any, ...]]] = [
        ("d", 1.5, (1.5,)),
        ("d", (1.5,), (1.5,)),
        ("d", [1.5], (1.5,)),
        ("d", np.float32(1.5), (1.5,)),
        ("q", np.int32(7), (7,)),
        ("3s", b"abc", (b"abc",)),
        ("4x?", True, (True,)),
        ("2d", np.array([1.0, 2.0]), (1.0, 2.0)),
    ]
    for format_, value, expected in given:
        assert through(format_, value) == expected
    wrong: list[Any] = [5, "ab", {"a": 1, "b": 2}, None]
    for value in wrong:
        with pytest.raises(TypeError, match=r"holds 2 values.*publish one tuple"):
            through("2d", value)
    with Slot.create(None, "2d") as slot, pytest.raises(TypeError, match="as one tuple"):
        slot.publish(1.0, 2.0)  # type: ignore[call-arg]


# ---- ctypes --------------------------------------------------------------------------------------

POINTERS: list[Any] = [
    ctypes.c_char_p,
    ctypes.c_wchar_p,
    ctypes.c_void_p,
    ctypes.py_object,
    ctypes.POINTER(ctypes.c_int),
    ctypes.CFUNCTYPE(None),
    type("Handle", (ctypes.c_void_p,), {}),
]


@pytest.mark.parametrize("pointer", POINTERS, ids=lambda kind: kind.__name__)
def test_ctypes_with_addresses_are_no_layout(pointer: Any) -> None:
    """Wherever the address is: a process that reads it elsewhere would follow it."""
    inside = structure(a=ctypes.c_int, p=pointer)
    layouts = [
        pointer,
        pointer * 2,
        inside,
        structure(ctypes.Union, a=ctypes.c_int, p=pointer),
        structure(x=structure(y=inside * 3)),
        inside * 2,
        type("Heir", (inside,), {"_fields_": [("b", ctypes.c_int)]}),
    ]
    for layout in layouts:
        with pytest.raises(TypeError, match="cannot be shared"):
            Slot.create(None, layout)


def test_ctypes_of_other_fields_are_another_layout(name: str) -> None:
    """Same name, same size: versions of one program drift like that."""
    same = structure(a=ctypes.c_int32, b=ctypes.c_float)
    others = [
        structure(b=ctypes.c_float, a=ctypes.c_int32),
        structure(a=ctypes.c_int32, c=ctypes.c_float),
        structure(a=ctypes.c_uint32, b=ctypes.c_float),
        structure(a=ctypes.c_float, b=ctypes.c_int32),
        structure(a=ctypes.c_int32 * 1, b=ctypes.c_float),
        structure(ctypes.BigEndianStructure, a=ctypes.c_int32, b=ctypes.c_float),
        structure(a=structure(x=ctypes.c_int32), b=ctypes.c_float),
    ]
    with Slot.create(name, same) as slot:
        slot.publish(same(1, 2.0))
        with Slot.open(name, structure(a=ctypes.c_int32, b=ctypes.c_float)) as again:
            assert (again.read().a, again.read().b) == (1, 2.0)
        for other in others:
            assert ctypes.sizeof(other) == 8
            with pytest.raises(LayoutError, match="ctypes:S:8"):
                Slot.open(name, other)
        with Slot.open(name) as bare:
            assert bare.read() == bytes(same(1, 2.0))
        slot.unlink()
    one, two = (
        structure(a=(ctypes.c_uint32, bits), b=(ctypes.c_uint32, 8 - bits)) for bits in (3, 5)
    )
    assert codec_of(one).schema != codec_of(two).schema


# ---- dataclasses ---------------------------------------------------------------------------------


@dataclass
class Point:
    x: float
    y: int = 0
    ok: bool = True


@dataclass(frozen=True, slots=True)
class Pose:
    at: Point
    small: cast(type[int], ctypes.c_uint8)  # type: ignore[valid-type]
    single: np.float32 = field(kw_only=True)


@dataclass
class Loop:
    inside: Loop


@dataclass
class Text:
    text: str


@dataclass
class Nothing:
    pass


@dataclass
class Pseudo:
    x: float
    y: InitVar[int]


def test_a_dataclass_of_numbers_comes_out_as_an_instance(name: str) -> None:
    """Also nested; a program that does not know the class gets a tuple of the numbers."""
    value = Pose(Point(1.5, -7, False), 200, single=np.float32(0.1))
    with Slot.create(name, Pose) as slot:
        slot.publish(value)
        with Slot.open(name, Pose) as same:
            assert same.read() == value
            assert type(same.read().single) is np.float32
        with Slot.open(name) as bare:
            assert bare.read() == (1.5, -7, False, 200, np.float32(0.1))
        with pytest.raises(LayoutError, match="dataclass:Pose"):
            Slot.open(name, Point)
        slot.unlink()


@pytest.mark.parametrize(
    "value",
    [
        (1.5, 0, True),
        Point("text"),  # type: ignore[arg-type]
        Point(1.0, 2.5),  # type: ignore[arg-type]
        Point(1.0, 2**63),
        Point(1.0, 2, 5),  # type: ignore[arg-type]
        Pose(Point(1.0), 1, single=np.float32(0)),
    ],
    ids=repr,
)
def test_a_dataclass_whose_numbers_do_not_fit_is_refused(value: Any) -> None:
    """ValueError or TypeError; nothing is published."""
    with Slot.create(None, Point) as slot:
        with pytest.raises((ValueError, TypeError)):
            slot.publish(value)
        assert slot.version == 0


@pytest.mark.parametrize("layout", [Loop, Text, Nothing, Pseudo])
def test_a_dataclass_of_anything_else_is_no_layout(layout: Any) -> None:
    """The error names the class."""
    with pytest.raises((TypeError, ValueError), match=layout.__name__):
        Slot.create(None, layout)


# ---- texts of a directory, which nobody may believe ----------------------------------------------


@pytest.mark.parametrize(
    "schema",
    [
        "numpy:((), ())",
        "numpy:([], ())",
        "numpy:({}, ())",
        "numpy:({'names': ['a'], 'formats': ['O'], 'offsets': [0], 'itemsize': 8}, ())",
        "numpy:('<f8', (2, 2.5))",
        "numpy:('|O', ())",
        "numpy:" + "(" * 800,
        "numpy:('<f8', ()), 5",
        "struct:99999999999999999999d",
        "struct:400000000d",
        "dataclass:",
        "dataclass:a:zz:b",
        "other:",
        "",
    ],
)
def test_a_hostile_text_is_a_layout_error(schema: str) -> None:
    """Whatever numpy, struct or Python's parser think of it."""
    with pytest.raises(LayoutError):
        codec_of_schema(schema, 8, "slot", "slot 'x'")


def test_every_layout_is_found_again_by_its_text() -> None:
    """What the directory keeps makes the same values of the same bytes."""
    layouts: list[Any] = [5, "<idq", FIELDS, NESTED, np.dtype((np.int32, (2, 3))), Point, Pose]
    for layout in layouts:
        codec = codec_of(layout)
        again = codec_of_schema(codec.schema, codec.nbytes, "slot", "slot 'x'")
        assert (again.schema, again.nbytes) == (codec.schema, codec.nbytes)
