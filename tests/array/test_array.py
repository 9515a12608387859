# SPDX-License-Identifier: MIT
"""A shared array is an ordinary array whose memory each process has as long as it needs it."""

from __future__ import annotations

import asyncio
import copy
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import memlane
from memlane import Array, Region
from tests.support.command import listed, run


def fill(array: Any, part: Any) -> None:
    array[0] = 99
    part[...] = 5


def seven(array: Any) -> None:
    array[...] = 7


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_write_into_the_same_memory_and_into_slices_of_it(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    array = memlane.array((4, 6), "f4")

    child = context.Process(target=fill, args=(array, array[2:, 1::2]))
    child.start()
    child.join()

    assert child.exitcode == 0
    assert (array[0] == 99).all()
    assert array[2:].tolist() == [[0, 5, 0, 5, 0, 5]] * 2


def test_it_is_an_array_of_numpys_of_zeros_aligned_to_a_line() -> None:
    array = memlane.array((3, 5), "i2")

    assert isinstance(array, np.ndarray)
    assert (array.shape, array.dtype, array.flags.writeable) == ((3, 5), np.dtype("i2"), True)
    assert array.ctypes.data % 64 == 0
    assert not array.any()


def test_what_is_calculated_from_it_is_an_ordinary_array() -> None:
    array = memlane.array(4, "f8")

    array += 1
    result = array + 1

    assert array.handle is not None  # type: ignore[attr-defined]
    assert type(result) is np.ndarray
    assert type(array.sum()) is np.float64
    assert pickle.loads(pickle.dumps(array.copy())).tolist() == [1, 1, 1, 1]
    assert copy.deepcopy(array).handle is None  # type: ignore[attr-defined]


def test_an_array_that_was_made_again_from_a_pickle_is_the_same_memory() -> None:
    array = memlane.array((4, 4), "i4")

    whole, turned, part = pickle.loads(pickle.dumps([array, array.T, array[::-1, 2]]))
    array[3, 2] = 8

    assert whole[3, 2] == turned[2, 3] == part[0] == 8


def test_an_array_whose_region_is_closed_pickles_by_value() -> None:
    with Region.create(None, "1 MiB") as region:
        array = region.array("a", 3, "i4")
        array[...] = 7

    copied = pickle.loads(pickle.dumps(array))

    assert copied.tolist() == [7, 7, 7]
    copied[0] = 1
    assert array[0] == 7


def test_views_outlive_the_handle_the_region_and_the_removal() -> None:
    with Region.create(None, "1 MiB") as region:
        removed = region.array("weights", (8, 8), "f8")
        removed[...] = 1
        kept = region.array("kept", 8, "f8")[2:]
        region.remove("weights")
        other = region.array("other", (8, 8), "f8")
        other[...] = 2
        kept[...] = 3
    array = Array.create(None, 3, "u1")
    view = memoryview(array)
    array.close()
    gc.collect()

    assert (removed == 1).all()  # its room was not given to the other one
    assert (kept == 3).all()
    view[0] = 4
    assert view.tolist() == [4, 0, 0]
    with pytest.raises(memlane.ClosedError):
        memoryview(array)


def test_the_room_of_a_removed_array_is_used_again_behind_its_last_view() -> None:
    with Region.create(None, "1 MiB") as region:
        removed = region.array("first", 700_000, "u1")
        region.remove("first")
        with pytest.raises(ValueError, match="700000 bytes, and unnamed region has"):
            region.array("second", 700_000, "u1")
        del removed
        gc.collect()
        assert not region.array("second", 700_000, "u1").any()


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0, 4), (1,), (2, 3, 4, 5, 1, 1, 2)])
def test_any_shape_is_shared(shape: tuple[int, ...]) -> None:
    array = memlane.array(shape, "f4")

    assert array.shape == shape
    array[...] = 2
    assert array.sum() == 2 * array.size


@pytest.mark.parametrize(
    "dtype",
    [
        *("?", "i1", ">i4", "f2", "c16", "S5", "U3", "V7", "M8[ms]", "m8[s]", "(2,3)i4"),
        [("a", "i4"), ("b", "f8", 3)],
        {"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [4, 0], "itemsize": 16},
        np.dtype([("a", "u1"), ("b", "f8")], align=True),
    ],
)
def test_any_dtype_without_objects_is_shared_and_found_again(dtype: Any, name: str) -> None:
    plain = np.zeros(3, dtype)
    with Array.create(name, 3, dtype) as array, Array.open(name) as again:
        assert array.ndarray.dtype == again.ndarray.dtype == plain.dtype
        assert array.ndarray.shape == np.asarray(again).shape == plain.shape
        assert np.asarray(again).dtype == plain.dtype
        array.unlink()


@pytest.mark.parametrize(
    ("shape", "dtype", "error"),
    [
        (3, "O", TypeError),
        (3, [("a", "O")], TypeError),
        (3, None, TypeError),
        (3, "S", ValueError),
        (-1, "i4", ValueError),
        ((1,) * 65, "i4", ValueError),
        ("3", "i4", TypeError),
        (1.5, "i4", TypeError),
        ((1 << 40, 1 << 40), "i4", ValueError),
    ],
)
def test_what_cannot_be_shared_is_refused(shape: Any, dtype: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        memlane.array(shape, dtype)


def test_another_shape_or_dtype_than_there_is_is_refused_by_both(name: str) -> None:
    with Array.create(name, (2, 3), "f8") as array:
        with pytest.raises(memlane.LayoutError, match=r"shape=\(2, 3\), expected \(6,\)"):
            Array.open(name, 6)
        with pytest.raises(memlane.LayoutError, match="dtype='<f8', expected '<f4'") as caught:
            Array.open_or_create(name, (2, 3), "f4")
        assert (caught.value.found, caught.value.expected) == ("<f8", "<f4")
        array.unlink()


def test_a_reader_writes_nothing(name: str) -> None:
    with Array.create(name, 3, "i4") as array, Array.open(name, readonly=True) as reader:
        array[...] = 2
        assert reader.readonly
        assert reader.ndarray.tolist() == [2, 2, 2]
        assert memoryview(reader).readonly
        with pytest.raises(ValueError, match="read-only"):
            reader[0] = 1
        array.unlink()


def test_a_handle_has_the_buffer_with_shape_and_type() -> None:
    with Array.create(None, (2, 3), "f8") as array:
        view = memoryview(array)
        assert (view.format, view.shape, view.strides) == ("d", (2, 3), (24, 8))
        array[1, 2] = 1.5
        rows: Any = view.tolist()
        assert rows[1][2] == 1.5
        assert (len(array), array.ndim, array.size, array.nbytes) == (2, 2, 6, 48)
        assert [row.tolist() for row in array] == [[0, 0, 0], [0, 0, 1.5]]


def test_a_layout_that_was_spoilt_is_refused() -> None:
    with Region.create(None, "1 MiB") as region:
        region.array("a", (4, 4), "f8")
        member = region._member
        entry = region._find("a")
        assert entry is not None
        for schema in [
            "numpy:('<f8', (400, 4000000))",
            "numpy:('|O', (4, 4))",
            "numpy:('<f8', (-1, 4))",
            "numpy:7",
            "bytes:128",
            "numpy:('<f8', " + "(" * 200,
        ]:
            with pytest.raises((memlane.LayoutError, memlane.CorruptedError)):
                Array.__new__(Array)._attach(member, entry._replace(schema=schema))


def test_list_and_stat_tell_shape_and_dtype(name: str) -> None:
    with Array.create(name, (480, 640, 3), "u1") as array:
        told, _ = run("stat", name)
        assert "480, 640, 3" in told
        assert "|u1" in told
        assert listed()[name]["kinds"] == {"array": "array"}
        array.unlink()


def test_nobody_has_to_close_an_unnamed_one() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        array = memlane.array(10, "u1")
        there = len(os.listdir("/proc/self/fd"))
        del array
        gc.collect()
    assert len(os.listdir("/proc/self/fd")) < there


def test_without_numpy_it_is_a_memoryview() -> None:
    program = (
        "import sys; sys.modules['numpy'] = None; import memlane, pickle\n"
        "a = memlane.array((2, 3), 'f8'); a[1, 2] = 1.5\n"
        "assert type(a) is memoryview and a.tolist() == [[0, 0, 0], [0, 0, 1.5]], a\n"
        "h = memlane.Array.create(None, 3, 'i4', label='x'); h[1] = 7\n"
        "assert h.dtype == '<i4' and list(pickle.loads(pickle.dumps(h))) == [0, 7, 0]\n"
        "h.close()\n"
        "try: memlane.array(3, 'M8[s]')\n"
        "except TypeError as e: assert 'without numpy' in str(e)\n"
        "else: assert False\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_a_fork_joins_with_its_first_view_and_its_parent_keeps_its_own() -> None:
    with Region.create(None, "1 MiB") as region:
        array = region.array("a", 4, "i4")
        child = multiprocessing.get_context("fork").Process(target=seven, args=(region["a"],))
        child.start()
        child.join()
        assert child.exitcode == 0
        assert array.tolist() == [7, 7, 7, 7]


# ---- records that are arrays ---------------------------------------------------------------------


def test_a_record_is_filled_in_place_and_borrowed_as_an_array() -> None:
    with memlane.Ring(capacity="64 KiB") as ring:
        with ring.reserve_array((3, 4), "f8") as array:
            array[...] = 2.5
        assert not array.flags.writeable
        with ring.borrow() as record:
            assert record.array((3, 4), "f8").sum() == 30
        with pytest.raises(KeyError), ring.reserve_array(3, "u1") as array:
            raise KeyError
        assert len(ring) == 0
        claim = ring.producer().reserve_array((), "i8")
        claim.array[...] = 3
        claim.commit()
        assert ring.get() == (3).to_bytes(8, sys.byteorder)
        with pytest.raises(memlane.ClosedError):
            claim.array  # noqa: B018
        with pytest.raises(TypeError, match="Python objects"):
            ring.reserve_array(3, "O")
        with pytest.raises(memlane.RecordTooLargeError):
            ring.reserve_array((1 << 10, 1 << 10), "f8", timeout=0)


def test_a_record_is_filled_in_place_in_an_event_loop() -> None:
    async def fill(handle: Any) -> None:
        async with memlane.aio.wrap(handle).reserve_array(3, "u1") as array:
            array[...] = 7

    with memlane.Ring() as ring, memlane.Topic() as topic, topic.subscribe() as seen:
        asyncio.run(fill(ring))
        asyncio.run(fill(topic))
        assert ring.get() == seen.get() == b"\7\7\7"


def test_a_topic_publishes_arrays_that_were_filled_in_place() -> None:
    with memlane.Topic("64 KiB") as topic, topic.subscribe() as seen:
        with topic.publisher().reserve_array(5, "i4") as array:
            array[...] = range(5)
        with seen.borrow() as record:
            assert record.array(5, "i4").tolist() == [0, 1, 2, 3, 4]
