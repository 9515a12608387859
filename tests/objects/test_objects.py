# SPDX-License-Identifier: MIT
"""Objects come out of their records as they went in, and no bytes lead a codec out of a record."""

from __future__ import annotations

import math
import pickle
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import memlane
from memlane._core import Codec

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)
BUFFERS = 1  # the first byte of a pickle with buffers
HEAD = struct.Struct("=B3xIQQ")


@given(PLAIN)
def test_plain_objects_come_back_equal_and_are_a_pickle_and_nothing_else(thing: object) -> None:
    record = Codec().record_of(thing)

    assert Codec().object_of(record) == thing
    assert pickle.loads(record) == thing


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["u1", "f4", "i8", "c16", "S3", "M8[ns]", "i4,f8"]),
            st.lists(st.integers(0, 40), max_size=3),
            st.sampled_from("CF"),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_arrays_come_back_equal_and_writable_as_pickle_has_them(shapes: list[Any]) -> None:
    put = []
    for dtype, shape, order, writable in shapes:
        nbytes = math.prod(shape) * np.dtype(dtype).itemsize
        array = np.ndarray(shape, dtype, bytearray(b"7" * nbytes), order=order)
        array.setflags(write=writable)
        put.append(array)

    got = Codec().object_of(Codec().record_of(put))

    for before, after in zip(put, got, strict=True):
        assert before.dtype == after.dtype
        assert before.shape == after.shape
        assert before.tobytes() == after.tobytes()
        alone = pickle.loads(pickle.dumps(before, 5))
        assert after.flags.writeable == alone.flags.writeable
        assert before.flags.f_contiguous == after.flags.f_contiguous


def test_large_buffers_are_aligned_to_lines_wherever_the_record_lay() -> None:
    record = Codec().record_of([np.ones(1000), np.ones(2001, "u1"), np.ones(5000, "u2")])

    for shift in range(0, 64, 8):
        moved = bytearray(shift) + record
        got = Codec().object_of(memoryview(moved)[shift:])
        assert [array.ctypes.data % 64 for array in got] == [0, 0, 0]


def test_an_array_that_is_in_an_object_twice_is_one_array() -> None:
    array = np.ones(1000)

    first, second = Codec().object_of(Codec().record_of([array, array]))

    assert first is second


@pytest.mark.parametrize(
    ("codec", "thing"),
    [("bytes", b"\x80abc"), ("bytes", b""), ("json", {"a": [1, None]}), ((repr, eval), (1, "a"))],
)
def test_other_codecs_carry_what_they_can(codec: Any, thing: object) -> None:
    assert Codec(codec).object_of(Codec(codec).record_of(thing)) == thing


def test_a_record_of_another_codec_is_refused_by_both_names() -> None:
    for mine, other in [("pickle", "bytes"), ("bytes", "pickle"), ("json", "bytes")]:
        record = Codec(other).record_of(b"x" if other == "bytes" else 1)
        with pytest.raises(memlane.LayoutError, match=f"codec='{other}'.*codec='{mine}'") as caught:
            Codec(mine).object_of(record)
        assert (caught.value.expected, caught.value.found) == (mine, other)


@pytest.mark.parametrize("record", [b"", b"\x00", b"\x07abc", b"\x01", b"\x01" + bytes(22)])
def test_bytes_that_no_codec_writes_are_refused(record: bytes) -> None:
    with pytest.raises(memlane.CorruptedError):
        Codec().object_of(record)


@given(st.binary(max_size=300), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.data())
def test_no_sizes_lead_out_of_a_record(rest: bytes, count: int, stream: int, data: Any) -> None:
    first = data.draw(st.integers(0, len(rest) + 64) | st.integers(0, 2**64 - 1))
    few = data.draw(st.integers(0, 5) | st.just(count))
    short = data.draw(st.integers(0, len(rest)) | st.just(stream))

    try:
        Codec().object_of(HEAD.pack(BUFFERS, few, short, first) + rest)
    except (memlane.CorruptedError, pickle.UnpicklingError, EOFError):
        pass
    except (
        ValueError,
        IndexError,
        AttributeError,
        KeyError,
        TypeError,
        ImportError,
        OverflowError,
    ):
        pass  # a stream that happens to be one


@given(st.data())
def test_a_record_whose_table_is_spoilt_gives_no_bytes_from_behind_it(data: Any) -> None:
    record = bytearray(Codec().record_of([np.full(200, 7, "i8"), np.full(300, 7, "i8")]))
    place = data.draw(st.integers(1, 39))
    record[place] = data.draw(st.integers(0, 255))

    try:
        got = Codec().object_of(record)
    except (memlane.CorruptedError, pickle.UnpicklingError, EOFError, ValueError):
        return
    assert all(array.nbytes <= len(record) for array in got)


def test_a_bad_codec_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="'pickle', 'bytes', 'json', 'msgspec'"):
        Codec("yaml")
    with pytest.raises(TypeError, match="pair of functions"):
        Codec(7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="codec 'bytes' puts bytes"):
        Codec("bytes").record_of(7)


def test_an_error_of_reduce_comes_out_as_it_is_and_the_codec_goes_on() -> None:
    class Bad:
        def __reduce__(self) -> Any:
            raise ZeroDivisionError("mine")

    codec = Codec()
    array = np.ones(1000)

    with pytest.raises(ZeroDivisionError, match="mine"):
        codec.record_of([array, Bad()])
    assert (codec.object_of(codec.record_of([array]))[0] == array).all()
    array.resize(2000, refcheck=False)  # the buffer that was taken has been given back


# ---- plain objects, which are written and read without pickle ------------------------------------


def through(thing: Any) -> Any:
    return Codec().object_of(Codec().record_of(thing))


@given(PLAIN)
def test_what_is_plain_is_read_by_pickle_and_pickles_are_read_alike(thing: object) -> None:
    assert repr(pickle.loads(Codec().record_of(thing))) == repr(thing)
    assert repr(Codec().object_of(pickle.dumps(thing, 5))) == repr(thing)
    assert repr(through(thing)) == repr(thing)


@pytest.mark.parametrize(
    "thing",
    [
        *(sign * 2**bits + more for bits in (7, 8, 15, 31, 32, 39, 47, 63, 64, 90)
          for sign in (1, -1) for more in (-1, 0, 1)),
        *(0.0, -0.0, float("inf"), float("nan"), 1e-310),
        *("", "a", "ab", "\xe9", "\ud800", "a" * 16, "b" * 17, "c" * 255, "d" * 256, "e" * 5000),
        *(b"", b"\0", b"x" * 255, b"x" * 256, b"x" * 5000, bytearray(b"a"), {1, 2}, frozenset()),
        *((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [[[]]], {}, {"a": {}}),
        {(1, 2): 3, None: True},
        {True: 1, 2.5: [None]},
        [list(range(300)), ["abc"] * 300],
    ],
)  # fmt: skip
def test_each_edge_comes_back_as_it_was(thing: object) -> None:
    got = through(thing)

    assert (repr(got), type(got)) == (repr(thing), type(thing))


def test_a_thing_that_is_in_an_object_twice_is_one_thing_at_the_other_end() -> None:
    inner: list[Any] = [1]
    pair: Any = ([], 1)
    loop: list[Any] = []
    loop.append(loop)

    a, b = through([inner, inner])
    c, d = through([pair, pair])
    e = through({"a": inner, "b": {"c": inner}})
    f = through(loop)

    assert a is b
    assert c[0] is d[0]
    assert e["a"] is e["b"]["c"]
    assert f[0] is f


def test_objects_that_are_too_deep_for_the_short_way_take_the_long_one() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = [deep]
    assert through(deep) == deep


STEPS = [
    *(b"N", b"\x88", b"]", b"}", b")", b"(", b"(", b"K\x05", b"J\xff\0\0\0", b"\x8a\x01\x07"),
    *(b"\x8c\x02ab", b"C\x01x", b"G" + bytes(8), b"u", b"e", b"t", b"\x85", b"\x86", b"\x87"),
    *(b"X\x01\0\0\0a", b".", b"0", b"\x8c\xff", b"q\0", b"s", b"a"),
]


@given(st.lists(st.sampled_from(STEPS), max_size=20))
def test_any_stream_gives_what_pickle_gives_or_its_error(steps: list[bytes]) -> None:
    stream = b"\x80\x05" + b"".join(steps) + b"."
    try:
        expected = repr(pickle.loads(stream))
    except Exception as error:
        with pytest.raises(type(error)):
            Codec().object_of(stream)
    else:
        assert repr(Codec().object_of(stream)) == expected
