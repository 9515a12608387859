# SPDX-License-Identifier: MIT
"""The arrays of a borrowed object lie in its record, which is kept by the last view of it."""

from __future__ import annotations

import os
import pickle
import random
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import memlane
from memlane._core import Codec

#: A million with MEMLANE_LOANS=1000000, for minutes.
LOANS = int(os.environ.get("MEMLANE_LOANS", "3000"))


@pytest.fixture
def ring() -> Iterator[memlane.Ring]:
    with memlane.Ring(capacity="64 KiB", producers=1, records=64) as made:
        yield made


def test_an_object_of_a_loan_has_its_arrays_in_the_record_read_only(ring: memlane.Ring) -> None:
    ring.put(Codec().record_of({"a": np.arange(1000), "b": [1, np.zeros(200)], "c": np.ones(2)}))
    record = ring.borrow()
    thing = Codec().object_of_loan(record)
    record.release()

    assert thing["a"].tolist() == list(range(1000))
    assert not thing["a"].flags.writeable
    assert thing["c"].flags.writeable  # a small one is a part of the pickle
    with pytest.raises(ValueError, match="read-only"):
        thing["a"][0] = 1


@pytest.mark.parametrize(
    "kept",
    [
        lambda array: array[3:7],
        lambda array: array.reshape(10, 100)[2],
        lambda array: memoryview(array).cast("B"),
        lambda array: np.frombuffer(array, "u1"),
        lambda array: array.T,
        lambda array: np.from_dlpack(array),
    ],
)
def test_whatever_is_made_of_an_array_keeps_the_record(ring: memlane.Ring, kept: Any) -> None:
    ring.put(Codec().record_of(np.full(1000, 7)))
    with ring.borrow() as record:
        thing = kept(Codec().object_of_loan(record))
    del record
    before = bytes(thing)
    with pytest.raises(memlane.Full):
        for _ in range(100):
            ring.put(bytes(8000), timeout=0)
            ring.get()
    assert before == bytes(thing)
    del thing
    for _ in range(100):
        ring.put(bytes(8000), timeout=0)
        ring.get()


def test_loans_are_dropped_in_any_order_and_no_view_sees_other_bytes(ring: memlane.Ring) -> None:
    chance = random.Random(7)
    codec = Codec()
    kept: list[tuple[int, Any]] = []
    made = 0
    while made < LOANS:
        while kept and (len(kept) > 40 or chance.random() < 0.5):
            number, view = kept.pop(chance.randrange(len(kept)))
            assert (np.asarray(view) == number).all()
        number = made % 251
        arrays = [np.full(chance.choice((10, 200, 900)), number, "u1") for _ in range(2)]
        try:
            ring.put(codec.record_of(arrays), timeout=0)
        except memlane.Full:
            assert kept
            kept.pop(0)
            continue
        record = ring.borrow(timeout=0)
        made += 1
        for array in codec.object_of_loan(record):
            how = chance.randrange(4)
            if how:
                kept.append((number, (array, array[5:], memoryview(array)[2:])[how - 1]))
        record.release()
        if made % 1000 == 0:
            assert sys.getrefcount(codec) < 10
    kept.clear()
    del array, record, view
    ring.put(bytes(60_000), timeout=0)  # all of the room is there again


def test_a_loan_whose_sizes_are_spoilt_meanwhile_is_refused_and_stays_a_loan(
    ring: memlane.Ring,
) -> None:
    whole = Codec().record_of([np.full(300, 7, "i8")])
    for place in range(1, 33):
        for byte in (0xFF, 0x80):
            spoilt = bytearray(whole)
            spoilt[place] = byte
            ring.put(spoilt)
            with ring.borrow() as record:
                try:
                    thing = Codec().object_of_loan(record)
                except (memlane.CorruptedError, pickle.UnpicklingError, EOFError, ValueError):
                    continue
                assert thing[0].nbytes <= len(spoilt)
                del thing
    ring.put(bytes(60_000), timeout=0)


# ---- DLPack --------------------------------------------------------------------------------------


def test_a_record_is_imported_by_dlpack_read_only_and_kept(ring: memlane.Ring) -> None:
    ring.put(bytes(range(100)))
    record = ring.borrow()
    assert record.__dlpack_device__() == (1, 0)
    array = np.from_dlpack(record)
    record.release()
    assert array.tolist() == list(range(100))
    assert not array.flags.writeable
    del record
    with pytest.raises(memlane.Full):
        ring.put(bytes(65_480), timeout=0)
    del array
    ring.put(bytes(65_480), timeout=0)


def test_the_old_structure_of_dlpack_is_refused_where_it_cannot_say_read_only(
    ring: memlane.Ring,
) -> None:
    ring.put(b"x" * 100)
    with ring.borrow() as record:
        with pytest.raises(BufferError, match=r"readonly|read-only"):
            record.__dlpack__()
        assert "dltensor_versioned" in repr(record.__dlpack__(max_version=(1, 0)))
    with ring.reserve(10) as room:
        assert "dltensor" in repr(room.__dlpack__())
        np.from_dlpack(room)[:] = 3
    assert ring.get() == b"\3" * 10
    with pytest.raises(memlane.ClosedError):
        record.__dlpack__(max_version=(1, 0))


def test_a_shared_array_is_imported_by_dlpack_in_place() -> None:
    with memlane.Array.create(None, (3, 4), "f4") as array:
        assert array.__dlpack_device__() == (1, 0)
        imported = np.from_dlpack(array)
    imported[...] = 2
    assert imported.sum() == 24
