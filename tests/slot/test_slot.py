# SPDX-License-Identifier: MIT
"""What `Slot` and `SlotTable` promise: the latest value, whole, whatever happens to the writer."""

from __future__ import annotations

import array
import ctypes
import os
import pickle
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from memlane import ClosedError, Empty, LayoutError, Region, RoleTakenError, Slot, SlotTable
from tests.support.processes import (
    PATIENCE_S,
    Child,
    output_in_time_namespace,
    output_of,
    unrelated,
    wait_until,
)
from tests.support.region_files import file_of
from tests.support.shared_bytes import DEAD_TAG, SlotBytes, tag_of
from tests.support.stepping import Line, Table, line

__all__ = ["line"]


class Pose(ctypes.Structure):
    _fields_ = (("x", ctypes.c_double), ("tag", ctypes.c_int))


@pytest.fixture
def slot() -> Iterator[Slot]:
    """A slot of eight bytes, without a name."""
    with Slot.create(None, 8) as made:
        yield made


class Killed:
    """
    A child that has done some work and then waits, to be killed or stopped with whatever it holds.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        read_end, write_end = os.pipe()

        def run() -> None:
            work()
            os.write(write_end, b"!")
            while True:
                time.sleep(PATIENCE_S)

        self.child = Child(run)
        os.close(write_end)
        done = os.read(read_end, 1)
        os.close(read_end)
        if done != b"!":
            self.child.kill()
            raise AssertionError("the child failed")

    def __enter__(self) -> Child:
        return self.child

    def __exit__(self, *_error: object) -> None:
        self.child.kill()


# ---- layouts -------------------------------------------------------------------------------------


RECORD = np.dtype([("id", "<u4"), ("pose", "<f8", (3,)), ("name", "S5")])
ALIGNED = np.dtype([("a", "u1"), ("b", "f8")], align=True)
LAYOUTS: dict[str, tuple[Any, Any]] = {
    "bytes": (5, b"12345"),
    "no bytes": (0, b""),
    "struct": ("<idq", (1, 2.5, -3)),
    "struct of text": ("3s?", (b"abc", True)),
    "dtype scalar": (np.float64, np.float64(2.5)),
    "dtype text": ("d", (2.5,)),
    "dtype structured": (RECORD, np.array((7, (1, 2, 3), b"robot"), dtype=RECORD)),
    "dtype aligned": (ALIGNED, np.array((7, 0.5), dtype=ALIGNED)),
    "dtype array": (np.dtype((np.int32, (2, 3))), np.arange(6, dtype=np.int32).reshape(2, 3)),
    "dtype big endian": (np.dtype(">i4"), np.int32(-5)),
    "dtype tuple": (("u1", (4,)), np.arange(4, dtype=np.uint8)),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_value_of_any_layout_comes_out_as_it_went_in(kind: str, name: str) -> None:
    """
    Bytes, struct formats, numpy dtypes; here and in a program that opens it without naming a
    layout.
    """
    layout, value = LAYOUTS[kind]
    with Slot.create(name, layout) as slot:
        slot.publish(value)
        found = slot.read()
        with Slot.open(name) as opened:
            again = opened.read()
        with Slot.open(name, layout) as same:
            assert same.nbytes == slot.nbytes
        slot.unlink()

    for read in (found, again):
        if isinstance(value, (np.ndarray, np.generic)):
            assert np.array_equal(value, read)
            assert np.asarray(read).dtype == np.asarray(found).dtype
            assert np.asarray(read).shape == np.asarray(value).shape
        else:
            assert value == read


def test_a_ctypes_structure_comes_out_as_one_if_the_class_is_given(name: str) -> None:
    """A program that does not know the class gets the bytes."""
    with Slot.create(name, Pose) as slot:
        slot.publish(Pose(1.5, 7))
        with Slot.open(name) as opened:
            assert opened.read() == bytes(Pose(1.5, 7))
        with Slot.open(name, Pose) as opened:
            found = opened.read()
            assert (type(found), found.x, found.tag) == (Pose, 1.5, 7)
        found.x = 9.0  # a copy: the slot does not change

        assert slot.read().x == 1.5
        with pytest.raises(TypeError, match="Pose"):
            slot.publish(b"x" * ctypes.sizeof(Pose))
        slot.unlink()


def test_bytes_are_published_from_any_contiguous_buffer_of_that_length(slot: Slot) -> None:
    """Not shorter, not longer, without gaps; nothing is published otherwise."""
    for value in (
        bytearray(8),
        memoryview(bytes(8)),
        array.array("d", [0.0]),
        np.zeros(2, np.int32),
    ):
        slot.publish(value)
    version = slot.version
    for wrong, error in (
        (b"1234567", ValueError),
        (b"123456789", ValueError),
        (b"", ValueError),
        ("12345678", TypeError),
        (12345678, TypeError),
        (None, TypeError),
        (np.zeros(16, np.uint8)[::2], BufferError),
    ):
        with pytest.raises(error):
            slot.publish(wrong)

    assert (version, slot.version, slot.read()) == (4, 4, bytes(8))


def test_values_that_do_not_fit_their_layout_are_refused(name: str) -> None:
    """ValueError or TypeError; readers keep what they had."""
    for layout, good, wrong in (
        ("2i", (1, 2), [(1,), (1, 2, 3), (1, "2"), (1, 2**40), 5]),
        (np.dtype((np.int16, (3,))), [1, 2, 3], [[1, 2], [[1, 2, 3]], "text", [1, 2, None]]),
    ):
        with Slot.create(None, layout) as slot:
            slot.publish(good)
            for value in wrong:
                with pytest.raises((ValueError, TypeError)):
                    slot.publish(value)
            assert slot.version == 1
            assert list(slot.read()) == list(good)


@pytest.mark.parametrize(
    ("layout", "error"),
    [
        ("not a format", ValueError),
        (-1, ValueError),
        (True, TypeError),
        (None, TypeError),
        (object, TypeError),
        (np.dtype([("a", object)]), TypeError),
        (1.5, TypeError),
    ],
    ids=repr,
)
def test_what_is_no_layout_is_refused(layout: Any, error: type[Exception]) -> None:
    """At once; Python objects cannot be shared."""
    with pytest.raises(error):
        Slot.create(None, layout)


@pytest.mark.parametrize(
    "arguments",
    [
        {"copies": 0},
        {"copies": 1},
        {"copies": 3},
        {"copies": 512},
        {"watchers": -1},
        {"watchers": 65},
        {"writers": "two"},
    ],
    ids=str,
)
def test_a_geometry_out_of_range_is_refused(arguments: dict[str, Any]) -> None:
    """Copies are a power of two from 2 to 256, watchers 0 to 64."""
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Slot.create(None, 8, **arguments)


def test_another_layout_than_the_slot_has_is_a_layout_error_with_both(name: str) -> None:
    """The same bytes with another meaning are another layout."""
    with Slot.create(name, "d") as slot:
        for other in ("q", 8, np.float64, Pose):
            with pytest.raises(LayoutError, match="struct:d") as caught:
                Slot.open(name, other)
            assert caught.value.found == "struct:d"
            assert "expected" in pickle.loads(pickle.dumps(caught.value)).__dict__
        with pytest.raises(LayoutError, match="copies=4"):
            Slot.open_or_create(name, "d", copies=8)
        with Slot.open_or_create(name, "d") as same:
            slot.publish((1.0,))
            assert same.read() == (1.0,)
        slot.unlink()


# ---- reading -------------------------------------------------------------------------------------


def test_a_slot_that_was_never_published_is_empty_of_version_0(slot: Slot) -> None:
    """`read` raises Empty; it has no age."""
    for read in (slot.read, slot.read_versioned, lambda: slot.read_into(bytearray(8))):
        with pytest.raises(Empty, match="wait_newer"):
            read()

    assert (slot.version, slot.age) == (0, None)


def test_versions_count_publishes_and_come_with_their_value(slot: Slot) -> None:
    """
    1 is the first; `publish` returns it, `read_versioned` gives value and version of one moment.
    """
    for number in range(1, 20):
        assert slot.publish(struct.pack("q", number)) == number
        value, version = slot.read_versioned()
        assert (struct.unpack("q", value)[0], version, slot.version) == (number, number, number)


def test_the_age_counts_seconds_since_the_publish(slot: Slot) -> None:
    """At least the time that passed; small right after."""
    slot.publish(bytes(8))
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    first = slot.age
    assert first is not None
    assert first >= 0
    wait_until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) - before > 0.02, "the clock")

    assert (slot.age or 0) >= 0.02


def test_a_value_from_before_a_reboot_has_no_age(slot: Slot) -> None:
    """The clock began anew: the number would mean nothing. The value is still there."""
    slot.publish(b"12345678")
    with SlotBytes(slot) as shared:
        shared.set_word(shared.stamp_at(1) + 8, 12345)

    assert (slot.age, slot.read()) == (None, b"12345678")
    assert slot.read_stamped() == (b"12345678", 1, None)


def test_a_value_comes_with_the_version_and_the_time_of_its_own_publish(slot: Slot) -> None:
    """All three are of one moment; the time is one of CLOCK_BOOTTIME."""
    with pytest.raises(Empty):
        slot.read_stamped()
    for version in (1, 2, 3):
        before = time.clock_gettime(time.CLOCK_BOOTTIME)
        slot.publish(b"version%d" % version)
        after = time.clock_gettime(time.CLOCK_BOOTTIME)
        value, found, stamp = slot.read_stamped()
        assert (value, found) == (b"version%d" % version, version)
        assert stamp is not None
        assert before - 1e-6 <= stamp <= after + 1e-6


def test_a_value_from_another_time_namespace_has_no_age(name: str) -> None:
    """Its clock is another one: the age would be wrong by days, or 0 for ever."""
    code = (
        "import sys, memlane\n"
        "with memlane.Slot.open(sys.argv[1]) as slot:\n"
        "    print(slot.age, slot.read_stamped())\n"
        "    slot.publish(b'12345678')\n"
        "    print(slot.age >= 0)\n"
    )
    with Slot.create(name, 8, writers="many") as slot:
        slot.publish(b"outside!")
        out = output_in_time_namespace("boottime", code, name)
        slot.unlink()

        assert out == "None (b'outside!', 1, None)\nTrue\n"
        assert slot.age is None
        assert slot.read_stamped() == (b"12345678", 2, None)


def test_a_newer_value_is_waited_for_into_a_buffer(slot: Slot) -> None:
    """As `wait_newer`, without a new object; a buffer that is too small is refused at once."""
    buffer = bytearray(10)
    with pytest.raises(TimeoutError, match="version 0"):
        slot.wait_newer_into(buffer, 0, timeout=0)
    with pytest.raises(ValueError, match=r"8 bytes.*7"):
        slot.wait_newer_into(bytearray(7), 0)
    with pytest.raises(BufferError, match="wait_newer_into needs a writable"):
        slot.wait_newer_into(bytes(8), 0)
    with ThreadPoolExecutor(1) as pool, SlotBytes(slot) as shared:
        waiting = pool.submit(slot.wait_newer_into, buffer, 0, timeout=PATIENCE_S)
        wait_until(lambda: shared.word(shared.armed_at), "an armed watcher")
        slot.publish(b"12345678")
        assert waiting.result(PATIENCE_S) == 1
    assert buffer == b"12345678\0\0"


def test_read_into_fills_the_front_of_a_buffer_and_returns_the_version(slot: Slot) -> None:
    """The rest of a larger one is left; a smaller or read-only one is refused."""
    slot.publish(b"12345678")
    buffer = bytearray(b"----------")
    words: Any = np.zeros(1, np.uint64)

    assert slot.read_into(buffer) == 1
    assert buffer == b"12345678--"
    assert slot.read_into(words) == 1
    assert words.tobytes() == b"12345678"
    with pytest.raises(ValueError, match=r"8 bytes.*7"):
        slot.read_into(bytearray(7))
    with pytest.raises(BufferError):
        slot.read_into(bytes(8))


def test_a_read_only_program_reads_waits_and_may_not_publish(name: str) -> None:
    """
    Readers need no write access: the mapping refuses writes, and everything still works by polling.
    """
    with Slot.create(name, "q") as slot:
        slot.publish((1,))
        code = """
import sys, memlane
with memlane.Slot.open(sys.argv[1], readonly=True) as slot:
    print(slot.read(), slot.version, slot.age >= 0)
    sys.stdout.flush()
    print(slot.wait_newer(1, timeout=600))
    for change in (lambda: slot.publish((3,)),):
        try:
            change()
        except PermissionError as error:
            print(error)
"""
        program = unrelated(code, name)
        assert program.stdout is not None
        assert program.stdout.readline() == "((1,), 1, True)\n".replace(
            "((1,), 1, True)", "(1,) 1 True"
        )
        slot.publish((2,))
        out = output_of(program)

        assert out.startswith("((2,), 2)\n")
        assert "read-only" in out
        slot.unlink()


# ---- waiting -------------------------------------------------------------------------------------


def test_wait_newer_returns_at_once_what_is_newer_already(slot: Slot) -> None:
    """Whatever the timeout; with the version that the value has."""
    slot.publish(b"12345678")
    slot.publish(b"abcdefgh")

    for seen in (0, 1):
        assert slot.wait_newer(seen) == (b"abcdefgh", 2)
        assert slot.wait_newer(seen, timeout=0) == (b"abcdefgh", 2)


def test_wait_newer_gives_up_at_its_timeout(slot: Slot) -> None:
    """
    TimeoutError, not before the time; 0 never waits; a later version than the latest is waited for.
    """
    slot.publish(bytes(8))
    for seen in (1, 5):
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=f"version {seen}"):
            slot.wait_newer(seen, timeout=0.03)
        assert time.monotonic() - began >= 0.03
        with pytest.raises(TimeoutError):
            slot.wait_newer(seen, timeout=0)


@pytest.mark.parametrize("timeout", [-1, float("nan"), "1", True, np.float64, float])
def test_bad_timeouts_and_versions_are_refused(slot: Slot, timeout: Any) -> None:
    """Also when there would be nothing to wait for."""
    slot.publish(bytes(8))
    for use in (
        lambda: slot.wait_newer(1, timeout=timeout),
        lambda: slot.wait_newer(0, timeout=timeout),
        lambda: slot.read(timeout=timeout),
        lambda: slot.read_versioned(timeout=timeout),
        lambda: slot.read_into(bytearray(8), timeout=timeout),
        lambda: slot.publish(bytes(8), timeout=timeout),
    ):
        with pytest.raises((ValueError, TypeError), match="timeout"):
            use()
    for version in (-1, 1.5, "0", True, np.int64, int):
        with pytest.raises((ValueError, TypeError), match="version"):
            slot.wait_newer(version, timeout=0)  # type: ignore[arg-type]
    assert slot.version == 1


@pytest.mark.parametrize("watchers", [64, 1, 0])
def test_all_waiting_threads_are_woken_by_one_publish(watchers: int) -> None:
    """Each has a doorbell of its own; where there are too few, the rest poll."""
    with Slot.create(None, "q", watchers=watchers) as slot, ThreadPoolExecutor(6) as pool:
        slot.publish((1,))
        waiting = [pool.submit(slot.wait_newer, 1, timeout=PATIENCE_S) for _ in range(6)]
        if watchers:
            with SlotBytes(slot, watchers) as shared:
                wait_until(lambda: shared.word(shared.armed_at), "an armed watcher")
        slot.publish((2,))

        assert [thread.result(PATIENCE_S) for thread in waiting] == [((2,), 2)] * 6


def test_more_threads_than_there_are_watchers_can_ever_be_poll_and_see_it(slot: Slot) -> None:
    """70 threads wait for one slot: 64 at doorbells, the others with a growing pause."""
    with ThreadPoolExecutor(70) as pool, SlotBytes(slot) as shared:
        waiting = [pool.submit(slot.wait_newer, 0, timeout=PATIENCE_S) for _ in range(70)]
        wait_until(lambda: all(shared.half(128 * n) for n in range(64)), "all watchers in use")
        slot.publish(b"12345678")

        assert [thread.result(PATIENCE_S) for thread in waiting] == [(b"12345678", 1)] * 70
        assert [shared.half(128 * n) for n in range(64)] == [0] * 64


def test_the_watcher_of_a_dead_process_is_found_behind_those_of_many_living(
    line: Callable[[], Line],
) -> None:
    """A look asks the kernel about a few owners only, and the next one goes on behind them."""
    says, stay = line(), line()
    with Slot.create(None, "q", watchers=20) as slot, SlotBytes(slot, 20) as shared:

        def live() -> None:
            slot.region.join()
            says.tell("joined")
            stay.hear()

        with (
            Child(live) as child,
            Table(file_of(slot.region)) as table,
            ThreadPoolExecutor(1) as pool,
        ):
            says.hear()
            row = table.row_of(child.pid)
            for number in range(20):
                shared.set_half(128 * number, tag_of(row, table.generation(row)))
            shared.set_half(128 * 18, DEAD_TAG)
            waiting = pool.submit(slot.wait_newer, 0, timeout=PATIENCE_S)
            wait_until(lambda: shared.half(128 * 18) != DEAD_TAG or waiting.done(), "a watcher")
            slot.publish((1,))

            assert ((1,), 1) == waiting.result()
            stay.tell()


def test_the_watcher_of_a_killed_process_is_leased_again() -> None:
    """A slot with one doorbell, whose lessee is dead: the next one takes it over."""
    with Slot.create(None, "q", watchers=1) as slot, SlotBytes(slot, 1) as shared:
        shared.set_half(0, DEAD_TAG)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(slot.wait_newer, 0, timeout=PATIENCE_S)
            wait_until(lambda: shared.half(0) not in (0, DEAD_TAG), "the watcher to be leased")
            slot.publish((1,))

            assert waiting.result(PATIENCE_S) == ((1,), 1)
        assert shared.half(0) == 0


def test_a_wait_ends_when_another_thread_closes_the_slot() -> None:
    """ClosedError within a recheck interval, and no use of memory that is gone."""
    slot = Slot.create(None, "q")
    with ThreadPoolExecutor(1) as pool, SlotBytes(slot) as shared:
        waiting = pool.submit(slot.wait_newer, 0)
        wait_until(lambda: shared.word(shared.armed_at), "an armed watcher")
        slot.close()
        with pytest.raises(ClosedError):
            waiting.result(PATIENCE_S)


def test_a_closed_slot_refuses_everything() -> None:
    """Publishing, reading, asking."""
    slot = Slot.create(None, 8)
    slot.publish(bytes(8))
    slot.close()
    slot.close()
    for use in (
        lambda: slot.publish(bytes(8)),
        slot.read,
        slot.read_versioned,
        lambda: slot.read_into(bytearray(8)),
        lambda: slot.version,
        lambda: slot.age,
        lambda: slot.wait_newer(0, timeout=0),
        slot.__enter__,
    ):
        with pytest.raises(ClosedError):
            use()
    assert slot.closed


# ---- writers -------------------------------------------------------------------------------------


def test_a_second_writer_is_refused_with_the_pid_of_the_first_until_that_has_left(
    slot: Slot,
) -> None:
    """With writers="one" the role is a process's, from its first publish to its close or death."""

    def publish() -> None:
        slot.publish(b"theirs!!")

    with Killed(publish) as child:
        with pytest.raises(RoleTakenError, match=r"writers='many'") as caught:
            slot.publish(b"mine!!!!")
        assert (caught.value.role, caught.value.pids) == ("writer", (child.pid,))
        assert slot.read() == b"theirs!!"
        child.stop()
        with pytest.raises(RoleTakenError):  # stopped is not dead
            slot.publish(b"mine!!!!")
        child.kill()
        assert slot.publish(b"mine!!!!") == 2
    assert slot.read() == b"mine!!!!"


def test_a_writer_that_closes_leaves_the_role_to_others(name: str) -> None:
    """The last handle that published counts."""
    with Slot.create(name, 8) as slot:
        one, two = Slot.open(name), Slot.open(name)
        one.publish(bytes(8))
        two.publish(bytes(8))

        def refused() -> None:
            with pytest.raises(RoleTakenError):
                slot.publish(bytes(8))

        one.close()
        with Child(refused) as child:
            assert child.wait() == 0
        two.close()
        with Child(lambda: slot.publish(b"theirs!!")) as child:
            assert child.wait() == 0
        assert (slot.version, slot.read()) == (3, b"theirs!!")
        slot.unlink()


def test_a_writer_that_died_inside_leaves_the_version_before_readable_for_ever(slot: Slot) -> None:
    """
    Killed at an odd sequence with half a value in place; readers never wait for it. (hazard 60)
    """
    with Killed(lambda: slot.publish(b"12345678")), SlotBytes(slot) as shared:
        shared.set_word(shared.sequence_at, 3)  # version 2 is being written
        shared.write(shared.copy_at(2), b"half")

        assert slot.read_versioned(timeout=0) == (b"12345678", 1)
        assert slot.version == 1
        with pytest.raises(TimeoutError):
            slot.wait_newer(1, timeout=0.01)


def test_a_successor_goes_on_from_an_odd_sequence_and_so_does_its_successor(slot: Slot) -> None:
    """
    Writer killed at odd, successor starts, killed again: version after version, none of them torn.
    (hazard 60)
    """
    with SlotBytes(slot) as shared:
        for version in (1, 3, 5):
            with Killed(lambda: slot.publish(b"publishd")) as child:
                child.kill()
            assert slot.read_versioned() == (b"publishd", version)
            shared.set_word(shared.sequence_at, 2 * version + 1)
            shared.write(shared.copy_at(version + 1), b"torn")
            with Killed(lambda: slot.publish(b"by next!")) as child:
                child.kill()
            assert slot.read_versioned() == (b"by next!", version + 1)


def test_a_copy_is_thrown_away_only_when_the_writer_may_have_been_in_it(slot: Slot) -> None:
    """
    Version v is whole while the sequence is at most 2(v + K - 1): read by the numbers alone.
    (hazard 60)
    """
    slot.publish(b"12345678")
    with SlotBytes(slot) as shared:
        # The same copy holds every fourth version: far later numbers still lead to a copy of their
        # own.
        for version in (1, 5, 2**31 + 1, 2**62 + 1):
            shared.set_word(shared.sequence_at, 2 * version)
            assert slot.read_versioned(timeout=0) == (b"12345678", version)
        assert slot.publish(b"next one") == 2**62 + 2


def test_many_writers_take_turns_publish_by_publish() -> None:
    """From processes and threads: no version is lost, none is torn."""
    with Slot.create(None, "4q", writers="many") as slot:

        def publish(who: int) -> None:
            for number in range(300):
                slot.publish((who, number, who, number), timeout=PATIENCE_S)

        with Child(publish, 0) as one, Child(publish, 1) as two, ThreadPoolExecutor(2) as pool:
            threads = [pool.submit(publish, who) for who in (2, 3)]
            seen = 0
            while slot.version < 1200:
                if slot.version:
                    first, second, third, fourth = slot.read()
                    assert (first, second) == (third, fourth)
                    seen += 1
                assert all(thread.exception() is None for thread in threads if thread.done())
            assert (one.wait(), two.wait()) == (0, 0)
        assert (slot.version, seen > 0) == (1200, True)


def test_the_word_of_a_dead_writer_among_many_is_taken_over() -> None:
    """Killed inside a publish, at odd: the next one goes on, readers never noticed. (hazard 60)"""
    with Slot.create(None, 8, writers="many") as slot, SlotBytes(slot) as shared:
        slot.publish(b"12345678")
        assert shared.half(shared.writer_at) == 0
        for tag in (DEAD_TAG, 2**32 - 1):
            version = slot.version
            shared.set_half(shared.writer_at, tag)
            shared.set_word(shared.sequence_at, 2 * version + 1)
            assert slot.read_versioned(timeout=0) == (b"12345678", version)

            assert slot.publish(b"12345678", timeout=PATIENCE_S) == version + 1
            assert shared.half(shared.writer_at) == 0


def test_a_stopped_writer_among_many_keeps_writers_waiting_and_is_named() -> None:
    """Never readers. TimeoutError says who it is; when it goes on, so do the others."""
    with Slot.create(None, 8, writers="many") as slot, SlotBytes(slot) as shared:
        with Killed(lambda: slot.publish(b"theirs!!")) as child:
            rows = [row for row in slot.region.participants() if row.pid == child.pid]
            assert len(rows) == 1
            # Its tag, from the row: low 22 bits of the generation, then the row.
            table = shared.word(40 - shared.object)
            generation = shared.word(table + 64 * rows[0].row - shared.object)
            tag = generation % 2**22 << 10 | rows[0].row
            shared.set_half(shared.writer_at, tag)
            child.stop()
            for timeout in (0, 0.02):
                with pytest.raises(TimeoutError, match=str(child.pid)):
                    slot.publish(b"mine!!!!", timeout=timeout)
            assert slot.read() == b"theirs!!"
            with ThreadPoolExecutor(1) as pool:
                waiting = pool.submit(slot.publish, b"mine!!!!", timeout=PATIENCE_S)
                child.kill()
                assert waiting.result(PATIENCE_S) == 2
        assert slot.read() == b"mine!!!!"


@pytest.mark.parametrize("copies", [2, 4])
def test_readers_never_see_a_torn_value_of_a_writer_at_full_speed(copies: int) -> None:
    """
    All words of a value are equal; versions grow; many of them were seen, so it was a race. (hazard
    60)
    """
    words = 8000 if copies == 2 else 512  # long copies, so that the writer comes round
    with Slot.create(None, np.dtype(("<u8", (words,))), copies=copies) as slot:

        def publish() -> None:
            value = np.zeros(words, np.uint64)
            while True:
                value += np.uint64(1)
                slot.publish(value)

        with Child(publish):
            slot.wait_newer(0, timeout=PATIENCE_S)
            seen: set[int] = set()
            last = 0
            buffer: Any = np.zeros(words, np.uint64)
            turn = 0
            end = time.monotonic() + PATIENCE_S
            while (turn < 3000 or len(seen) < 100) and time.monotonic() < end:
                turn += 1
                if turn % 2:
                    value, version = slot.read_versioned()
                else:
                    value, version = buffer, slot.read_into(buffer)
                assert version >= last
                assert int(value.min()) == int(value.max()) == version
                last = version
                seen.add(version)

        assert len(seen) >= 100


# ---- tables --------------------------------------------------------------------------------------


def test_a_table_is_many_slots_of_one_layout_under_one_name(name: str) -> None:
    """
    Each has its own version and its own writer; `read_all` gives None for the never published.
    """
    with SlotTable.create(name, 5, "d") as table:
        assert len(table) == 5
        assert table.read_all() == [None] * 5
        table[3].publish((1.5,))
        table[-1].publish((2.5,))
        with pytest.raises(IndexError):
            table[5]
        with SlotTable.open(name, readonly=True) as readers:
            assert readers.read_all() == [None, None, None, (1.5,), (2.5,)]
            assert [slot.version for slot in readers] == [0, 0, 0, 1, 1]
        with pytest.raises(Empty):
            table[0].read()

        def publish() -> None:
            table[0].publish((0.5,))
            with pytest.raises(RoleTakenError):
                table[3].publish((9.5,))

        with Child(publish) as child:
            assert child.wait() == 0
        assert table[0].wait_newer(0, timeout=0) == ((0.5,), 1)
        assert table.read_all() == [(0.5,), None, None, (1.5,), (2.5,)]
        table.unlink()
    with pytest.raises(ClosedError):
        table[3].read()


def test_a_table_and_a_slot_are_not_taken_for_each_other(name: str) -> None:
    """What was made as one cannot be opened as the other."""
    with SlotTable.create(name, 2, "d") as table:
        with pytest.raises(LayoutError, match="SlotTable"):
            Slot.open(name)
        for slots in (0, -1):
            with pytest.raises(ValueError, match="slots must be from 1"):
                SlotTable.create(None, slots, "d")
        with pytest.raises(TypeError, match="slots must be an int, got '4'"):
            SlotTable.create(None, "4", "d")  # type: ignore[call-overload]
        table.unlink()
    with Region.create(None, "64 KiB") as region, region.slot("pose", "d") as slot:
        slot.publish((1.0,))
        with pytest.raises(LayoutError, match="Slot"):
            region.table("pose", 2, "d")


def test_a_table_may_have_one_slot(name: str) -> None:
    """As many as there are workers; it stays a table, and is no slot."""
    with SlotTable.create(name, 1, "d") as table:
        table[0].publish(1.5)
        with pytest.raises(LayoutError, match="is a SlotTable"):
            Slot.open(name)
        with SlotTable.open(name) as same:
            assert same.read_all() == [(1.5,)]
        table.unlink()
    with Region.create(None, "64 KiB") as region, region.table("workers", 1, "d") as workers:
        assert (len(workers), type(region["workers"])) == (1, SlotTable)
        with pytest.raises(LayoutError, match="is a SlotTable"):
            region.slot("workers", "d")
        with region.slot("one", "d"), pytest.raises(LayoutError, match="is a Slot,"):
            region.table("one", 1, "d")


def test_nothing_is_added_to_a_region_before_all_is_checked() -> None:
    """A name stays free when what was asked for was refused."""
    with Region.create(None, "64 KiB") as region:
        wrong: list[Callable[[], object]] = [
            lambda: region.table("t", 0, "d"),
            lambda: region.table("t", "1", "d"),  # type: ignore[call-overload]
            lambda: region.table("t", None, "d"),
            lambda: region.table("t", 2, "no format"),
            lambda: region.slot("t", "d", copies=3),
            lambda: region.slot("t", "d", writers="two"),  # type: ignore[call-overload]
            lambda: region.counter(None),  # type: ignore[arg-type]
            lambda: region.slot(None, "d"),  # type: ignore[call-overload]
        ]
        for make in wrong:
            with pytest.raises((ValueError, TypeError, KeyError)):
                make()

        assert list(region) == []


def test_an_index_that_a_table_does_not_have_is_refused_with_those_it_has() -> None:
    """IndexError and TypeError name the table."""
    with SlotTable.create(None, 3, "d") as table:
        with pytest.raises(IndexError, match="slots 0 to 2, got 3"):
            table[3]
        with pytest.raises(TypeError, match="got 'x'"):
            table["x"]  # type: ignore[index]


def test_a_publish_to_one_slot_of_a_table_wakes_its_watchers_and_no_others() -> None:
    """Watchers are shared by the table, armed slot by slot."""
    with SlotTable.create(None, 3, "d") as table, ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(table[n].wait_newer, 0, timeout=PATIENCE_S) for n in (0, 1)]
        table[1].publish((1.0,))
        assert waiting[1].result(PATIENCE_S) == ((1.0,), 1)
        assert not waiting[0].done()
        table[0].publish((0.0,))

        assert waiting[0].result(PATIENCE_S) == ((0.0,), 1)
