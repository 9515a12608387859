# SPDX-License-Identifier: MIT
"""`reserve` and what a room is before it is committed."""

from __future__ import annotations

import array
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from memlane import ClosedError, Empty, Ring
from tests.support.children import PAGE
from tests.support.processes import drained


def test_a_room_is_put_at_the_end_of_its_with(ring: Ring) -> None:
    """Written in place, by slices, by views, by `write`; seen by nobody before the end."""
    with ring.reserve(8) as room:
        room[:] = b"01234567"
        room[2] = ord("x")
        room.write(b"yz", 6)
        assert (len(room), room[0], room[2:4]) == (8, ord("0"), b"x3")
        with pytest.raises(Empty):
            ring.get_nowait()

    assert drained(ring) == [b"01x345yz"]


def test_a_room_can_be_committed_in_part_or_aborted(ring: Ring) -> None:
    """`commit(n)` puts the first n bytes; `abort` and an exception put nothing."""
    with ring.reserve(100) as room:
        room.write(b"short")
        room.commit(5)
    with ring.reserve(100) as room:
        room.abort()
    with pytest.raises(ZeroDivisionError), ring.reserve(100) as room:
        room[:] = bytes(100)
        raise ZeroDivisionError
    with ring.reserve(0):
        pass

    assert drained(ring) == [b"short", b""]


def test_a_room_refuses_what_does_not_fit_and_use_after_its_end(ring: Ring) -> None:
    """More than was reserved is a ValueError; a room that is done with is closed."""
    room = ring.reserve(4)
    for too_much in (
        lambda: room.commit(5),
        lambda: room.write(b"12345"),
        lambda: room.write(b"1", 4),
    ):
        with pytest.raises(ValueError, match="reserve more"):
            too_much()
    with pytest.raises(TypeError):
        room.commit(True)
    room.commit()
    for use in (room.commit, lambda: room.write(b""), lambda: memoryview(room), room.__enter__):
        with pytest.raises(ClosedError):
            use()
    room.abort()

    assert len(ring.get()) == 4


@pytest.mark.parametrize(
    "frame",
    [
        b"\1" * 24,
        array.array("d", [1.5, 2.5, 3.5]),
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(12, dtype=np.int16),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_a_slice_of_a_room_takes_any_contiguous_buffer_of_as_many_bytes(
    ring: Ring, frame: Any
) -> None:
    """As a slice of a mapping does: what the elements are does not matter."""
    with ring.reserve(32) as room:
        room[:8] = b"abcdefgh"
        room[8:] = frame
        room[0:8:2] = b"ACEG"
        room[-1] = 7

    assert ring.get() == b"AbCdEfGh" + bytes(memoryview(frame))[:-1] + b"\7"


def test_a_slice_of_a_room_says_both_sizes_and_what_else_there_is(ring: Ring) -> None:
    """Nothing is written where it does not fit, and objects are not taken for bytes."""
    with ring.reserve(8) as room:
        room[:] = b"as it is"
        with pytest.raises(ValueError, match=r"8 bytes.* 12.*write\(data, offset\)"):
            room[:] = np.zeros(3, np.float32)
        with pytest.raises(TypeError):
            room[:] = np.array([None])
        with pytest.raises(TypeError):
            room[:] = "as it is"  # type: ignore[call-overload]
        for index in (8, -9):
            with pytest.raises(IndexError):
                room[index] = 1

    assert ring.get() == b"as it is"


def test_a_room_that_ends_while_an_index_is_converted_is_not_written(ring: Ring) -> None:
    """What is passed is asked for before the room is looked at."""
    room = ring.reserve(4)
    room[:] = b"done"
    with pytest.raises(ClosedError):
        room[Meddling(0, room.commit)] = 1
    room = ring.reserve(4)
    room[:] = b"done"
    with pytest.raises(ClosedError):
        room[Meddling(0, room.commit) :] = b"0000"

    assert drained(ring) == [b"done", b"done"]


class Meddling:
    """A number, or a truth, that does something while it is converted."""

    def __init__(self, value: int, meddle: Callable[[], object]) -> None:
        self.value, self.meddle = value, meddle

    def __index__(self) -> int:
        self.meddle()
        return self.value

    def __bool__(self) -> bool:
        self.meddle()
        return bool(self.value)


@pytest.mark.parametrize("meddle", ["commit", "abort"])
def test_a_room_that_ends_while_its_length_is_converted_is_not_committed_again(
    ring: Ring, meddle: str
) -> None:
    """The number is asked for before the room is looked at: one room is one record at most."""
    room = ring.reserve(4)
    room.write(b"once")

    def end() -> None:
        getattr(room, meddle)()
        ring.put(b"other")

    with pytest.raises(ClosedError):
        room.commit(Meddling(4, end))  # type: ignore[arg-type]

    assert drained(ring) == ([b"once", b"other"] if meddle == "commit" else [b"other"])


def test_a_handle_that_is_closed_while_immediate_is_asked_for_shuts_nothing_down(name: str) -> None:
    """What a caller passes is converted before the handle is looked at."""
    with Ring.create(name, capacity=PAGE) as ring:
        other = Ring.open(name)
        with pytest.raises(ClosedError):
            other.shutdown(Meddling(1, other.close))  # type: ignore[arg-type]

        assert ring.stats()["shutdown"] == "no"
        ring.unlink()


@pytest.mark.parametrize("nbytes", [-1, True, 1.5, "many"])
def test_reserve_takes_only_a_number_of_bytes(ring: Ring, nbytes: Any) -> None:
    """No claim is left behind by a bad size."""
    with pytest.raises((TypeError, ValueError)):
        ring.reserve(nbytes)
    ring.put(b"goes on")

    assert ring.get() == b"goes on"
