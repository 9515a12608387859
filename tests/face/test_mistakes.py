# SPDX-License-Identifier: MIT
"""What a caller reads after a mistake: a sentence that says what to do, little of ours above it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
import multiprocessing
import os
import pathlib
import pickle
import queue
import re
import signal
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import memlane
from memlane import _arguments, _core
from tests import ROOT
from tests.support.processes import PATIENCE_S, Child, wait_until
from tests.support.region_files import field, set_field


@pytest.fixture
def ring() -> Iterator[memlane.Ring]:
    with memlane.Ring(capacity="64 KiB", producers=2) as made:
        yield made


@pytest.fixture
def mapping() -> Iterator[memlane.Mapping]:
    with memlane.Mapping.anonymous(4096) as made:
        yield made


def failure(call: Callable[[], object]) -> BaseException:
    """What a call raises."""
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def frames_of_ours(error: BaseException) -> list[str]:
    """The entries of a traceback that lie in memlane, be it Python or the extension."""
    return [
        f"{frame.f_code.co_filename}:{line}:{frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals["__name__"]).partition(".")[0] == "memlane"
    ]


# ---- the table -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Pose:
    x: float
    y: float


@dataclasses.dataclass
class Tagged:
    tags: list[str]


@dataclasses.dataclass
class Here:
    """What the calls of the table are made on, and names that are free."""

    m: Any  # memlane; Any, or the type checker would find these mistakes first
    region: Any
    ring: Any
    slot: Any
    counter: Any
    name: str
    path: pathlib.Path


@pytest.fixture
def here(ring: memlane.Ring, name: str, tmp_path: pathlib.Path) -> Iterator[Here]:
    with memlane.Region.create(None, "1 MiB", label="robot") as region:
        slot, counter = region.slot("pose", "d"), region.counter("hits")
        yield Here(memlane, region, ring, slot, counter, name, tmp_path / "region")
    for left in (name, tmp_path / "region"):
        with contextlib.suppress(memlane.RegionNotFoundError), memlane.Region.open(left) as opened:
            opened.unlink()


def made(made: Any, then: Callable[[Any], object] = lambda made: None) -> Any:
    """Do something with an object, and close it."""
    with made:
        then(made)
    return made


def two_consumers(here: Here) -> None:
    def other() -> None:
        here.ring.get()

    with Child(other) as child:
        wait_until(lambda: here.ring.stats()["consumer"] == "alive", "a consumer")
        try:
            here.ring.get(timeout=0)
        finally:
            child.kill()


def too_many_producers(here: Here) -> None:
    with here.ring.producer() as one, here.ring.producer() as two, here.ring.producer() as three:
        for producer in (one, two, three):
            producer.put(b"", timeout=0)


def of_a_later_release(here: Here) -> None:
    made(memlane.Region.create(here.path, "64 KiB"))
    draft = field(here.path, "layout_draft")
    set_field(here.path, "layout_draft", draft + 1)
    try:
        memlane.Region.open(here.path)
    finally:
        set_field(here.path, "layout_draft", draft)


def kept_loans(here: Here, call: str) -> None:
    with memlane.Ring(capacity=4096, records=2, producers=1, label="frames") as ring:
        ring.put_many([b"a", b"b"])
        loans = [ring.borrow(), ring.borrow()]
        try:
            ring.get(timeout=0) if call == "get" else ring.put(b"", timeout=0)
        finally:
            del loans


def filled_before_anybody_gets(here: Here) -> None:
    with memlane.Ring(capacity=4096, producers=1, label="tasks") as ring:
        for number in range(1000):
            ring.put(number.to_bytes(4, "little"), timeout=0)


def read_only(here: Here, use: Callable[[memlane.Region], object]) -> None:
    with memlane.Region.create(here.path, "1 MiB") as region:
        region.ring("frames", capacity=4096, producers=1)
        region.slot("pose", "d")
    with memlane.Region.open(here.path, readonly=True) as reader:
        use(reader)


def two_claims(here: Here) -> None:
    with here.ring.reserve(8) as first:
        try:
            here.ring.put(b"")
        finally:
            first.abort()


def pickled_lambda(here: Here) -> None:
    work: Callable[[Any], None] = lambda ring: None  # noqa: E731
    multiprocessing.get_context("spawn").Process(target=work, args=(here.ring,)).start()


Wrong = Callable[[Here], object]

#: Number, what somebody does, how it is written, what is raised, and what its sentence has in it.
MISTAKES: list[tuple[int, str, Wrong, type[BaseException], list[str]]] = [
    (1, "put text", lambda h: h.ring.put("hello"), TypeError, ["got str", "put(text.encode())"]),
    (2, "put an object", lambda h: h.ring.put({"a": 1}), TypeError, ["got dict", "pickle.dumps"]),
    (
        3,
        "put with a timeout by place",
        lambda h: h.ring.put(b"x", 1),
        TypeError,
        ["write timeout by keyword: put(record, timeout=1)"],
    ),
    (
        3,
        "get as a queue would",
        lambda h: h.ring.get(True, 1),
        TypeError,
        ["get(timeout=1)", "timeout=0 not to wait"],
    ),
    (
        4,
        "put without blocking as a queue would",
        lambda h: h.ring.put(b"x", block=False),
        TypeError,
        ["put_nowait(record)", "timeout=0"],
    ),
    (
        5,
        "put_many of one record",
        lambda h: h.ring.put_many(b"abc"),
        TypeError,
        ["list of records", "got one bytes", "[record]", "put(record)"],
    ),
    (
        5,
        "put_many with text among the records",
        lambda h: h.ring.put_many([b"", "a"]),
        TypeError,
        ["item 1 of 2", "got str", "text.encode()"],
    ),
    (
        6,
        "put more than ever fits",
        lambda h: h.ring.put(bytes(100_000)),
        memlane.RecordTooLargeError,
        ["100000 bytes", "max_record=65536", "with a larger capacity"],
    ),
    *[
        (7, f"a size of {given!r}", mistake, ValueError, [f"got {given!r}", f"write {meant}"])
        for given, meant, mistake in [
            ("4 MB", "4 MiB", lambda h: h.m.Ring("4 MB")),
            ("4M", "4 MiB", lambda h: h.m.Region.create(None, "4M")),
            ("4 mib", "4 MiB", lambda h: h.m.Mapping.anonymous("4 mib")),
            ("64k", "64 KiB", lambda h: h.region.ring("x", capacity="64k")),
            ("1.5 MiB", "1536 KiB", lambda h: h.m.Ring("1.5 MiB")),
            ("0.3 KiB", "308 B", lambda h: h.m.Ring("0.3 KiB")),
            ("2 bytes", "2 B", lambda h: h.m.Ring("2 bytes")),
        ]
    ],
    (
        8,
        "a name where the capacity is",
        lambda h: h.m.Ring("frames"),
        TypeError,
        ["without a name", "Ring.create('frames', ...)", "Ring.open('frames')"],
    ),
    (
        9,
        "the capacity by place",
        lambda h: h.m.Ring.create(h.name, "8 MiB"),
        TypeError,
        ["write capacity by keyword: Ring.create(", ", capacity='8 MiB')"],
    ),
    (
        10,
        "a class is called",
        lambda h: h.m.Slot("6d"),
        TypeError,
        ["Slot.create(name, ...)", "None", "Slot.open(name)"],
    ),
    (
        10,
        "another class is called",
        lambda h: h.m.Counter(),
        TypeError,
        ["Counter.create(name, ...)", "None", "Counter.open(name)"],
    ),
    (
        11,
        "a path for a name",
        lambda h: h.m.Ring.create("run/frames"),
        ValueError,
        ["contain '/'", "for a file pass a pathlib.Path"],
    ),
    (
        12,
        "open what is not there",
        lambda h: h.m.Ring.open(h.name),
        memlane.RegionNotFoundError,
        ["does not exist", "create it", "check the name", "timeout="],
    ),
    (
        12,
        "a slip in the name of an object",
        lambda h: h.region["poes"],
        memlane.ObjectNotFoundError,
        ["has no object 'poes'", "did you mean 'pose'?"],
    ),
    (
        13,
        "create again what a crash has left",
        lambda h: (made(h.m.Ring.create(h.name)), h.m.Ring.create(h.name)),
        memlane.RegionExistsError,
        ["exists already, and nobody has it open", "open it", "unlink it first", "memlane sweep"],
    ),
    (
        13,
        "create what is in use",
        lambda h: made(h.m.Ring.create(h.name), lambda _: h.m.Ring.create(h.name)),
        memlane.RegionExistsError,
        ["exists already, in use", "open it", "unlink it first"],
    ),
    (
        14,
        "open an object as something else",
        lambda h: h.region.ring("pose"),
        memlane.LayoutError,
        ["'pose'", "is a Slot, expected a Ring", "open it with region.slot('pose')"],
    ),
    (
        14,
        "open a region of its own as something else",
        lambda h: (made(h.m.Slot.create(h.path, "d")), h.m.Ring.open(h.path)),
        memlane.LayoutError,
        ["is a Slot, expected a Ring", "open it with Slot.open(Path('"],
    ),
    (
        15,
        "open with another layout",
        lambda h: h.region.slot("pose", "3d"),
        memlane.LayoutError,
        ["has layout 'struct:d', expected 'struct:3d'", "ask for what it has", "another name"],
    ),
    (
        16,
        "open what a later release made",
        of_a_later_release,
        memlane.LayoutError,
        ["newer than version", "unlink it and create it again", "the library that made it"],
    ),
    (
        17,
        "a second consumer",
        two_consumers,
        memlane.RoleTakenError,
        ["already has a consumer (pid ", "close it there first", 'consumers="many"'],
    ),
    (
        17,
        "one producer too many",
        too_many_producers,
        memlane.RoleTakenError,
        ["all producers=2", f"(pid {os.getpid()}", "create the ring with more"],
    ),
    *[
        (18, f"use a closed {what}", mistake, memlane.ClosedError, words)
        for what, mistake, words in [
            (
                "ring",
                lambda h: made(h.m.Ring(label="a")).put(b""),
                ["ring labeled 'a' was closed", "by close() or at the end of a with"],
            ),
            (
                "slot",
                lambda h: (h.slot.close(), h.slot.read()),
                ["slot 'pose' of region labeled 'robot' was closed", "open it again"],
            ),
            (
                "region",
                lambda h: (h.region.close(), h.counter.add(1)),
                ["counter 'hits' of region labeled 'robot' was closed", "with its region"],
            ),
            (
                "named counter",
                lambda h: made(h.m.Counter.create(h.name)).add(1),
                ["was closed in this process, by close()", "open it again"],
            ),
            (
                "table",
                lambda h: made(h.m.SlotTable.create(None, 2, "d"))[1].read(),
                ["unnamed table slot 1 was closed", "with its table", "close it later"],
            ),
            (
                "producer",
                lambda h: made(h.ring.producer()).put(b""),
                ["was closed in this process, by close()", "another one with ring.producer()"],
            ),
        ]
    ],
    (
        25,
        "fill before anybody gets",
        filled_before_anybody_gets,
        memlane.Full,
        ["64 of 64 records", "no consumer has come yet", "larger capacity=", "records="],
    ),
    (
        27,
        "get while all is on loan",
        lambda h: kept_loans(h, "get"),
        memlane.Empty,
        ["2 records are on loan to this process", "release"],
    ),
    (
        27,
        "put while all is on loan",
        lambda h: kept_loans(h, "put"),
        memlane.Full,
        ["2 records are on loan to this process", "release"],
    ),
    (
        29,
        "publish several values by place",
        lambda h: h.slot.publish(1.0, 2.0),
        TypeError,
        ["pass several values as one tuple, publish((1.0, 2.0))"],
    ),
    (
        30,
        "a dtype as text",
        lambda h: h.region.slot("x", "f8"),
        ValueError,
        ["'f8' is none", "write np.dtype('f8')"],
    ),
    (
        30,
        "a size as text",
        lambda h: h.region.slot("x", "64 KiB"),
        ValueError,
        ["for a number of bytes pass the int 65536"],
    ),
    (
        30,
        "a dataclass with objects in it",
        lambda h: h.region.slot("x", Tagged),
        TypeError,
        ["field 'tags' of Tagged", "int, float, bool, numbers of ctypes or numpy"],
    ),
    (
        31,
        "set a counter",
        lambda h: setattr(h.counter, "value", 3),
        AttributeError,
        ["counter 'hits'", "not set by assigning", "add(n), exchange(n) or compare_exchange"],
    ),
    (
        32,
        "a ring that the region has no room for",
        lambda h: h.region.ring("x", capacity="64 KiB"),
        ValueError,
        [
            "needs",
            "16 lanes of 64 KiB",
            "left",
            "fewer producers=, a smaller capacity= or a larger",
        ],
    ),
    (
        32,
        "a table that the region has no room for",
        lambda h: h.region.table("x", 4096, "8d"),
        ValueError,
        ["4096 slots of 4 copies of 64 B", "fewer slots, fewer copies=", "a larger region"],
    ),
    (
        33,
        "more than the file system has",
        lambda h: h.m.Mapping.create(h.path, "512 TiB"),
        OSError,
        ["cannot reserve", "bytes are free", "ask for less, or make room"],
    ),
    (
        34,
        "put an array with gaps",
        lambda h: h.ring.put(memoryview(bytes(8))[::2]),
        BufferError,
        ["bytes that lie together", "numpy.ascontiguousarray"],
    ),
    (
        35,
        "a timeout with a unit",
        lambda h: h.ring.get(timeout="100ms"),
        TypeError,
        ["timeout must be seconds or None, got '100ms'"],
    ),
    (
        35,
        "a negative timeout",
        lambda h: h.ring.get(timeout=-1),
        ValueError,
        ["at least 0 seconds, got -1"],
    ),
    (
        36,
        "get by a read-only region",
        lambda h: read_only(h, lambda region: region.ring("frames").get(timeout=0)),
        PermissionError,
        ["is open read-only and cannot take a role", "open it without readonly=True"],
    ),
    (
        36,
        "publish by a reader",
        lambda h: read_only(h, lambda region: region.slot("pose").publish(1.0)),
        PermissionError,
        ["is open read-only", "open it without readonly=True"],
    ),
    (
        36,
        "make an object in a read-only region",
        lambda h: read_only(h, lambda region: region.slot("speed", "d")),
        PermissionError,
        ["is open read-only and has no object 'speed'", "open it without readonly=True"],
    ),
    (
        37,
        "open a ring to read it",
        lambda h: h.m.Ring.open(h.name, readonly=True),
        TypeError,
        ["a consumer writes, too", "Region.open(name, readonly=True).stats()"],
    ),
    (
        39,
        "put amid a claim of the same thread",
        two_claims,
        RuntimeError,
        ["this thread has a claim open", "commit or abort it, or del the view, first"],
    ),
]


@pytest.mark.parametrize(
    ("mistake", "kind", "words"),
    [pytest.param(*row[2:], id=f"{row[0]:02} {row[1]}") for row in MISTAKES],
)
def test_a_mistake_is_answered_with_what_to_do(
    here: Here, mistake: Wrong, kind: type[BaseException], words: list[str]
) -> None:
    """What is raised at the call says what to write in its place, in one sentence."""
    error = failure(lambda: mistake(here))

    assert type(error) is kind
    check(error, kind, words)
    assert [] == [word for word in words if word not in str(error)], str(error)


def test_every_mistake_of_the_table_is_there() -> None:
    """Those that are no error at a call have a test of their own below."""
    alone = [int(name.split("_")[2]) for name in globals() if re.match(r"test_mistake_\d\d_", name)]

    assert list(range(1, 40)) == sorted({row[0] for row in MISTAKES} | set(alone))


@pytest.mark.parametrize("asked", ["frmaes", "frame", "Frames"])
def test_a_slip_in_the_name_of_a_region_is_answered_with_names_like_it(
    asked: str, name: str
) -> None:
    """Of regions that there are, printed safely; waiting for a name costs no look at the others."""
    with memlane.Ring.create(f"{name}-frames") as ring:
        for opened in (memlane.Ring.open, memlane.Region.open, memlane.Slot.open):
            told = failure(lambda opened=opened: opened(f"{name}-{asked}"))  # type: ignore[misc]
            check(
                told,
                memlane.RegionNotFoundError,
                [f"does not exist (did you mean '{name}-frames'?); create it"],
            )
        ring.unlink()
    assert "did you mean" not in str(failure(lambda: memlane.Ring.open(f"{name}-frames")))


def test_names_of_others_are_printed_safely(name: str) -> None:
    """Anybody may put a name with control characters into /dev/shm."""
    with memlane.Region.create(f"{name}\x1b[31m\nframes", 4096) as region:
        told = failure(lambda: memlane.Region.open(f"{name}-frames"))
        region.unlink()

    assert f"(did you mean '{name}\\x1b[31m\\nframes'?)" in str(told)


def test_a_region_of_several_objects_is_not_opened_as_one_and_says_what_it_has(name: str) -> None:
    """Some of their names, however many there are."""
    with memlane.Region.create(name, "64 KiB") as region:
        empty = failure(lambda: memlane.Counter.open(name))
        for number in range(9):
            region.counter(f"hits {number}")
        full = failure(lambda: memlane.Counter.open(name))
        region.unlink()

    check(empty, memlane.LayoutError, [f"region '{name}' carries no objects, expected one"])
    check(full, memlane.LayoutError, ["9 objects ('hits 0', ", "'hits 7', ...)", "Region.open"])


def test_a_slip_in_the_name_of_an_object_is_a_key_error_with_facts(here: Here) -> None:
    """Wherever an object is looked for by name."""
    calls = [
        lambda: here.region["Pose\n"],
        lambda: here.region.slot("Pose\n"),
        lambda: here.region.ring("Pose\n"),
        lambda: here.region.table("Pose\n", None, "d"),
        lambda: here.region.remove("Pose\n"),
    ]
    for call in calls:
        told = failure(call)
        assert isinstance(told, memlane.ObjectNotFoundError)
        assert isinstance(told, KeyError)
        assert ("Pose\n", "region labeled 'robot'") == (told.name, told.region)
        check(told, memlane.ObjectNotFoundError, ["no object 'Pose\\n' (did you mean 'pose'?)"])
        assert str(told) == str(pickle.loads(pickle.dumps(told)))


def test_looking_for_names_that_are_near_is_bounded(here: Here) -> None:
    """A program that asks in a loop must not pay for a thousand names each time."""
    compared = 0

    def names() -> Iterator[str]:
        nonlocal compared
        while True:
            compared += 1
            yield f"name-{compared}"

    assert "'name-12'" in _arguments.near("name-12", names())
    assert 1_000 < compared < 20_000
    compared = 0
    assert "" == _arguments.near("x" * 200_000, names())
    assert compared <= 1


def ran(program: str, *options: str, code: int = 0) -> str:
    """What a program of the user's says on standard error."""
    done = subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert code == done.returncode, done.stderr
    return done.stderr


def said_by_script(directory: pathlib.Path, program: str) -> str:
    """The same of a script, which children that are spawned import."""
    script = directory / "script.py"
    script.write_text(textwrap.dedent(program))
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("make", "called"),
    [
        ("memlane.Ring(label='tasks')", "ring labeled 'tasks'"),
        ("memlane.Ring()", "unnamed ring"),
        ("memlane.Slot.create(None, 'd', label='pose')", "slot labeled 'pose'"),
        ("memlane.SlotTable.create(None, 2, 'd')", "unnamed table"),
        ("memlane.Counter.create(pathlib.Path('hits'))", "counter 'hits'"),
        ("memlane.Region.create(None, 4096, label='robot')", "region labeled 'robot'"),
    ],
)
def test_mistake_19_a_forgotten_close_is_told_once_and_by_name(
    make: str, called: str, tmp_path: pathlib.Path
) -> None:
    """Where the object was dropped, and what it was; its parts do not warn beside it."""
    warned = ran(
        f"""
        import gc, os, pathlib, memlane
        os.chdir({str(tmp_path)!r})
        made = {make}
        made = None
        gc.collect()
        """,
        "-W",
        "always",
    )
    for path in tmp_path.iterdir():
        with memlane.Region.open(path) as left:
            left.unlink()

    assert [f"ResourceWarning: {called} was never closed; use it in a with, or close it"] == [
        line.partition(": ")[2]
        for line in warned.splitlines()
        if line.startswith("<string>:")  # 3.13 shows the source, too
    ]


@pytest.mark.parametrize(
    "make",
    [
        memlane.Ring.create,
        memlane.Slot.create,
        memlane.SlotTable.create,
        memlane.Counter.create,
        memlane.Region.create,
    ],
)
def test_mistake_20_a_forgotten_unlink_is_foretold_where_the_name_is_made(make: Any) -> None:
    """Nothing is removed that somebody may want; the next `create` says it is there (row 13)."""
    said = " ".join(make.__doc__.split())

    assert "stays" in said
    assert "SlotTable" in make.__qualname__ or "until `unlink`, or until a `sweep`" in said


def test_mistake_21_a_main_module_without_a_guard_is_told_in_the_child_and_in_the_parent(
    tmp_path: pathlib.Path,
) -> None:
    """The child never gets to its work; the parent learns that nobody has come."""
    said = said_by_script(
        tmp_path,
        """
        import multiprocessing, memlane
        def work(ring): ring.put(b"done")
        ring = memlane.Ring(label="results")
        child = multiprocessing.get_context("spawn").Process(target=work, args=(ring,))
        child.start()
        child.join()
        print(ring.get(timeout=0))
        """,
    )

    assert "if __name__ == '__main__'" in said
    assert "memlane.errors.Empty: ring labeled 'results' is empty, and no producer has come" in said
    assert "see that one was started" in said


def test_mistake_22_a_lambda_for_a_spawned_child_is_refused_by_name_and_the_ring_goes_on(
    here: Here,
) -> None:
    """The standard library says so, and of which kind the error is; the ring goes on."""
    error = failure(lambda: pickled_lambda(here))

    assert isinstance(error, (AttributeError, pickle.PicklingError))
    assert "<lambda>" in str(error)
    here.ring.put(b"goes on")
    assert b"goes on" == here.ring.get(timeout=0)


@pytest.mark.parametrize("make", ["memlane.Ring(label='a')", "memlane.Slot.create(None, 'd')"])
def test_mistake_23_an_unnamed_object_of_a_module_is_another_one_in_a_spawned_child(
    make: str, tmp_path: pathlib.Path
) -> None:
    """The child says so, at the line; one that is passed to it is that of the parent."""
    said = said_by_script(
        tmp_path,
        f"""
        import multiprocessing, memlane
        made = {make}
        def work(passed):
            assert passed.stats() == passed.stats()
            memlane.Ring().close()  # which is no import any more
        if __name__ == "__main__":
            child = multiprocessing.get_context("spawn").Process(target=work, args=(made,))
            child.start()
            child.join()
            print("exit", child.exitcode)
        """,
    )
    [warned] = [line for line in said.splitlines() if "RuntimeWarning" in line]

    assert "exit 0" in said
    assert "script.py:3: RuntimeWarning: " in warned
    assert "is made while this child process imports the main module" in warned
    assert "pass it to the process, or give it a name" in warned


def test_mistake_24_a_producer_that_dies_ends_the_iteration(here: Here) -> None:
    """Of those that it was told to wait for."""

    def child() -> None:
        here.ring.put(b"one")
        os.kill(os.getpid(), signal.SIGKILL)

    with Child(child) as producer:
        assert [b"one"] == list(here.ring.records(until=os.pidfd_open(producer.pid)))


def test_mistake_26_an_array_may_outlive_its_room(here: Here) -> None:
    """The natural zero-copy code works."""
    with here.ring.reserve(8) as room:
        view = memoryview(room)
        view[:] = b"abcdefgh"

    assert b"abcdefgh" == here.ring.get(timeout=0)


def test_mistake_28_a_room_that_is_dropped_is_told(here: Here) -> None:
    """With nothing put."""
    room = here.ring.reserve(8)
    with pytest.warns(ResourceWarning, match=r"dropped without a commit.*call its commit\(\)"):
        del room
    assert 0 == len(here.ring)


def test_mistakes_29_to_31_that_are_none_any_more(here: Here) -> None:
    """One value may be published as such, a dataclass is a layout, and counters count."""
    here.slot.publish(1.5)
    here.region.slot("2d", Pose).publish(Pose(1.0, 2.0))
    here.counter += 1

    assert (1.5,) == here.slot.read()
    assert Pose(1.0, 2.0) == here.region.slot("2d", Pose).read()
    assert 1 == here.counter.value


def test_mistake_38_a_cancelled_task_loses_no_record_when_its_thread_goes_on() -> None:
    """docs/concepts.md shows how: the next one to ask gets what the cancelled one asked for."""
    page = (ROOT / "docs" / "concepts.md").read_text()
    [shown] = re.findall(r"^class Getter:\n(?:    .*\n|\n)+", page, re.MULTILINE)
    told = " ".join(page[: page.index(shown)].split())
    inside: dict[str, Any] = {"asyncio": asyncio}
    exec(shown, inside)

    async def cancel_and_get() -> list[bytes]:
        with memlane.Ring() as ring:
            getter = inside["Getter"](ring)
            cancelled = asyncio.ensure_future(getter.get())
            await asyncio.sleep(0)
            cancelled.cancel()
            ring.put_many([b"first", b"second"])
            return [await getter.get(), await getter.get()]

    assert (
        "when the task is cancelled, its thread goes on, takes the next record, and drops it"
        in told
    )
    assert [b"first", b"second"] == asyncio.run(cancel_and_get())


# ---- the same by other verbs, and what its sentence has in it ------------------------------------


def committed_twice(ring: Any) -> None:
    with ring.reserve(8) as room:  # one that is dropped open gives a warning of its own
        room.commit(8, 9)


# Any, or the type checker would find these mistakes first.
Mistake = Callable[[Any], object]

REFUSED_BY_RINGS: list[tuple[Mistake, type[Exception], list[str]]] = [
    (lambda ring: ring.put_nowait("hello"), TypeError, ["needs bytes", "got str", ".encode()"]),
    (lambda ring: ring.put(1), TypeError, ["needs bytes", "got int"]),
    (lambda ring: ring.put(b"x", True, 5), TypeError, ["put(record, timeout=1)", "got 3"]),
    (lambda ring: ring.consumer().get(1), TypeError, ["get(timeout=1)", "got 1"]),
    (lambda ring: ring.producer().put(b"", 1), TypeError, ["put(record, timeout=1)"]),
    (lambda ring: ring.get(block=False), TypeError, ["get_nowait()", "timeout=0"]),
    (lambda ring: ring.get(timeot=1), TypeError, ["no argument 'timeot'", "timeout="]),
    (lambda ring: ring.put(b"x", foo=1), TypeError, ["no argument 'foo'", "record, timeout"]),
    (lambda ring: ring.put(), TypeError, ["lacks record", "put(record, *, timeout=None"]),
    (lambda ring: ring.put(b"", record=b""), TypeError, ["record", "give it once"]),
    (lambda ring: ring.get_nowait(False), TypeError, ["no positional arguments, got 1"]),
    (lambda ring: ring.get_nowait(timeout=1), TypeError, ["no argument 'timeout'", "none"]),
    (lambda ring: ring.put_many([b""], 1), TypeError, ["put_many(records, timeout=1)"]),
    (lambda ring: ring.get_into("text"), TypeError, ["writable", "got str", "bytearray"]),
    (lambda ring: ring.producer(1), TypeError, ["Ring.producer()", "no positional arguments"]),
    (lambda ring: ring.close(timeout=1), TypeError, ["close()", "no argument 'timeout'"]),
    (lambda ring: committed_twice(ring), TypeError, ["commit(nbytes=None)"]),
]

REFUSED_BY_CLASSES: list[tuple[Mistake, type[Exception], list[str]]] = [
    (lambda m: m.Ring(pathlib.Path("frames")), TypeError, ["without a name", "Ring.create("]),
    (lambda m: m.Ring(name="frames"), TypeError, ["Ring.create(name)", "Ring.open(name)"]),
    (lambda m: m.Ring(capacty=1), TypeError, ["no argument 'capacty'", "capacity="]),
    (lambda m: m.Ring.create(), TypeError, ["lacks name", "Ring.create(name, ...)"]),
    (lambda m: m.Ring.open("a", 1), TypeError, ["Ring.open('a', timeout=1)"]),
    (lambda m: m.Region.create("a"), TypeError, ["lacks nbytes", "Region.create(name, nbytes"]),
    (lambda m: m.Region.create("a", 1, 0o600), TypeError, ["permissions=0o600"]),
    (
        lambda m: m.Counter.open_or_create(None),
        TypeError,
        ["open_or_create needs a name, got None", "create(None, ...)"],
    ),
    (lambda m: m.sweep("a", "b", "c"), TypeError, ["sweep()", "got 3"]),
    (lambda m: m.windows(), TypeError, ["windows() lacks path"]),
    (lambda m: m.windows("a", b=1), TypeError, ["windows() has no argument 'b'"]),
    (lambda m: m.guard(1, 2), TypeError, ["guard(on=True, /)"]),
    (lambda m: m.Mapping.open(), TypeError, ["Mapping.open() lacks path"]),
    (
        lambda m: m.Mapping.anonymous(4096, True),
        TypeError,
        ["private by keyword: Mapping.anonymous(nbytes, private="],
    ),
]

REFUSED_BY_MAPPINGS: list[tuple[Mistake, type[Exception], list[str]]] = [
    (lambda mapping: mapping.advise(), TypeError, ["lacks advice", "advise(advice"]),
    (lambda mapping: mapping.find("text"), TypeError, ["find needs bytes", "got str", ".encode()"]),
    (lambda mapping: mapping.__setitem__(slice(0, 4), "text"), TypeError, ["bytes", ".encode()"]),
    (lambda mapping: mapping.flush(0, 1, True, True, 5), TypeError, ["4 positional", "flush("]),
    (lambda mapping: mapping.lock(on_falt=True), TypeError, ["'on_falt'", "on_fault="]),
]


def each(table: list[tuple[Mistake, type[Exception], list[str]]]) -> pytest.MarkDecorator:
    def source(mistake: Mistake) -> str:
        line = inspect.getsource(mistake).strip()
        return line.partition("lambda ")[2].partition(": ")[2].partition(", TypeError")[0][:40]

    return pytest.mark.parametrize(
        ("mistake", "kind", "words"), table, ids=[source(it[0]) for it in table]
    )


def check(error: BaseException, kind: type[BaseException], words: list[str]) -> None:
    said = str(error)
    assert type(error) is kind
    assert [] == [word for word in words if word not in said], said
    assert "\n" not in said
    assert not said.endswith(".")
    assert 1 >= len(frames_of_ours(error))
    assert error.__context__ is None or error.__suppress_context__


@each(REFUSED_BY_RINGS)
def test_a_ring_says_what_to_write_in_place_of_a_mistaken_call(
    ring: memlane.Ring, mistake: Mistake, kind: type[Exception], words: list[str]
) -> None:
    """A user who knows queue.Queue, or guesses, learns at once how the call is written here."""
    check(failure(lambda: mistake(ring)), kind, words)


@each(REFUSED_BY_CLASSES)
def test_a_class_says_what_to_write_in_place_of_a_mistaken_call(
    mistake: Mistake, kind: type[Exception], words: list[str]
) -> None:
    """The same for what is made, opened or called without an object."""
    check(failure(lambda: mistake(memlane)), kind, words)


@each(REFUSED_BY_MAPPINGS)
def test_a_mapping_says_what_to_write_in_place_of_a_mistaken_call(
    mapping: memlane.Mapping, mistake: Mistake, kind: type[Exception], words: list[str]
) -> None:
    """The same for a mapping."""
    check(failure(lambda: mistake(mapping)), kind, words)


def public_methods() -> Iterator[tuple[str, Any]]:
    faces: list[type] = [
        memlane.Ring,
        memlane.Producer,
        memlane.Consumer,
        memlane.Slot,
        memlane.SlotTable,
        memlane.Counter,
        memlane.Reservation,
        memlane.Record,
        memlane.Mapping,
        memlane.Region,
    ]
    for face in faces:
        for name in dir(face):
            if not name.startswith("_") and callable(getattr(face, name)):
                yield f"{face.__name__}.{name}", getattr(face, name)


@pytest.mark.parametrize(
    ("name", "method"), [pytest.param(*it, id=it[0]) for it in public_methods()]
)
def test_every_public_method_tells_of_an_unknown_keyword_in_the_same_words(
    name: str, method: Any
) -> None:
    """No method leaves it to the bare words of Python or Cython."""
    owner, _, called = name.partition(".")
    kind = getattr(memlane, owner)
    bound = inspect.ismethod(method) or inspect.isbuiltin(method)
    static = isinstance(inspect.getattr_static(kind, called), staticmethod)
    arguments = [] if bound or static else [kind.__new__(kind)]

    error = failure(lambda: method(*arguments, nonsense_=1))

    assert isinstance(error, TypeError)
    assert "has no argument 'nonsense_'; it takes" in str(error)
    assert [] == [it for it in frames_of_ours(error) if not it.endswith(f".{called}")]


def test_what_a_ring_raises_is_what_a_queue_raises() -> None:
    """`except queue.Empty` and the like catch ours; there is a queue.ShutDown from 3.13 on."""
    theirs = [queue.Empty, queue.Full, getattr(queue, "ShutDown", Exception)]
    ours: list[type[memlane.MemlaneError]] = [memlane.Empty, memlane.Full, memlane.ShutDown]

    assert [True] * 3 == [issubclass(it, base) for it, base in zip(ours, theirs, strict=True)]
    for kind in ours:
        copied = pickle.loads(pickle.dumps(kind("gone", fact=3)))
        assert (kind, "gone", 3) == (type(copied), str(copied), copied.fact)


# ---- tracebacks ----------------------------------------------------------------------------------


class Raises:
    """A number whose conversion fails, in code of the user's."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __index__(self) -> int:
        raise self.error


@pytest.mark.parametrize(
    "error", [ValueError("mine"), AttributeError("mine"), KeyboardInterrupt(), TypeError("mine")]
)
def test_the_frames_of_code_of_the_users_stay(ring: memlane.Ring, error: BaseException) -> None:
    """An error in an `__index__` that memlane calls is seen where it was raised, unchanged."""
    number = Raises(error)

    found = failure(lambda: ring.reserve(number))  # type: ignore[arg-type]
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(found.__traceback__)]

    assert error is found
    assert "__index__" == frames[-1]
    assert 1 >= len(frames_of_ours(found))


def test_an_error_of_a_signal_handler_passes_with_its_frames(ring: memlane.Ring) -> None:
    """A handler that raises ends a get that waits; its own frame is in the traceback."""

    def handle(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt("from the handler")

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        found = failure(lambda: ring.get(timeout=PATIENCE_S))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(found.__traceback__)]

    assert "from the handler" == str(found)
    assert "handle" == frames[-1]
    assert 1 >= len(frames_of_ours(found))


def test_an_error_while_another_one_is_handled_still_names_that_one(ring: memlane.Ring) -> None:
    """`During handling of the above exception ...` is not lost, of verbs in C and in Python."""

    def handling(call: Callable[[], object]) -> BaseException:
        try:
            raise LookupError("the first one")
        except LookupError:
            return failure(call)

    errors = [
        handling(ring.get_nowait),
        handling(lambda: ring.put("text")),  # type: ignore[arg-type]
        handling(lambda: memlane.Ring.create("a", "8 MiB")),  # type: ignore[call-arg]
        handling(lambda: memlane.Region.open("h-no-such-region")),
    ]

    assert ["the first one"] * 4 == [str(error.__context__) for error in errors]


def test_an_error_that_passes_twice_keeps_the_callers_frames(ring: memlane.Ring) -> None:
    """Raised again by the caller it has both of the caller's places, and one of ours."""

    def inner() -> None:
        ring.get_nowait()

    def outer() -> None:
        try:
            inner()
        except memlane.Empty as empty:
            raise empty

    found = failure(outer)
    frames = [frame.f_code.co_name for frame, _ in traceback.walk_tb(found.__traceback__)]

    assert ["failure", "outer", "outer", "inner"] == frames[:4]
    assert 1 == len(frames[4:])


@pytest.mark.parametrize(
    "call",
    [
        lambda: memlane.Region.open("h-no-such-region"),
        lambda: memlane.Ring.open("h-no-such-region"),
        lambda: memlane.Ring(capacity="1 MB"),
        lambda: memlane.Slot.create(None, "no format"),
        lambda: memlane.Mapping.open("/no/such/file"),
        lambda: next(memlane.windows("/no/such/file")),
        lambda: memlane.Ring(wait="idle"),  # type: ignore[arg-type]
    ],
)
def test_an_error_of_a_verb_in_python_shows_one_frame_of_ours_at_most(
    call: Callable[[], object],
) -> None:
    """The verb may run through any number of our functions."""
    assert 1 >= len(frames_of_ours(failure(call)))


def test_iterating_to_the_end_raises_nothing_else(ring: memlane.Ring) -> None:
    """StopIteration passes as such."""
    ring.put(b"one")
    ring.shutdown()

    assert [b"one"] == list(ring)
    with pytest.raises(StopIteration):
        next(ring)


def test_errors_leave_no_memory_behind() -> None:
    """A polling loop raises Empty for days.

    Caches of the interpreter let single rounds grow by some hundred blocks and shrink again; a leak
    shows in each of them, with 500 blocks for each kind of call.
    """
    program = """
import gc, sys, memlane
class Number:
    def __index__(self): raise ValueError("mine")
ring = memlane.Ring()
calls = [
    ring.get_nowait, lambda: ring.put("text"), lambda: ring.get(1), lambda: ring.get_nowait(1),
    lambda: memlane.Ring.open("a", 1), lambda: ring.reserve(Number()),
]
def rounds():
    for call in calls * 500:
        try: call()
        except Exception: pass
    gc.collect()
    return sys.getallocatedblocks()
rounds()
counts = [rounds() for _ in range(8)]
ring.close()
print(min(after - before for before, after in zip(counts, counts[1:], strict=False)))
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert int(ran.stdout) < 250


def test_an_error_inside_a_with_statement_of_the_extension_passes(tmp_path: pathlib.Path) -> None:
    """Cython hands a traceback to `__exit__` there, and takes it for granted that there is one."""
    path = tmp_path / "slot"
    with memlane.Slot.create(path, "d") as slot, memlane.Slot.open(path, readonly=True) as reader:
        slot.publish((1.0,))
        found = failure(lambda: reader.publish((2.0,)))
        slot.unlink()

    assert isinstance(found, PermissionError)
    assert 1 == len(frames_of_ours(found))


def test_whole_tracebacks_can_be_asked_for() -> None:
    """MEMLANE_TRACEBACKS=whole is for developers of memlane, and for reports of bugs in it."""
    program = (
        "import traceback, memlane\n"
        "try: memlane.Ring().get_nowait()\n"
        "except memlane.Empty: print(traceback.format_exc())\n"
        "try: memlane.Ring.create('a', wait='idle')\n"
        "except ValueError: print(traceback.format_exc())\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "MEMLANE_TRACEBACKS": "whole"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "_core/handles.pyx" in ran.stdout
    assert "_check_wait" in ran.stdout


def test_what_no_sound_code_raises_keeps_its_frames() -> None:
    """An AttributeError out of memlane is a bug of memlane: a report needs the whole traceback."""

    # both are ours, as far as their globals say
    inside: dict[str, Any] = {
        "__name__": "memlane.somewhere",
        "_core": _core,
        "kind": AttributeError,
    }
    exec(
        "def inner():\n    raise kind('wrong')\n@_core.clear_errors\ndef verb():\n    inner()\n",
        inside,
    )
    verb = inside["verb"]
    bug = failure(verb)
    inside["kind"] = ValueError
    told = failure(verb)

    assert 2 <= len(frames_of_ours(bug))
    assert [] == frames_of_ours(told)


# ---- what is made by a verb, and what is no number ----------------------------------------------


@pytest.mark.parametrize(
    ("kind", "verb"),
    [
        (memlane.Producer, "ring.producer()"),
        (memlane.Consumer, "ring.consumer()"),
        (memlane.Publisher, "topic.publisher()"),
        (memlane.Subscriber, "topic.subscribe()"),
        (memlane.Reservation, "reserve()"),
        (memlane.Record, "borrow()"),
        (memlane.TopicRecord, "borrow()"),
    ],
)
def test_what_a_verb_hands_out_is_not_made_by_calling_its_class(kind: Any, verb: str) -> None:
    """Whatever it is called with: a handle that leads nowhere would fail later, and elsewhere."""
    for call in (kind, lambda: kind(8), lambda: kind(ring=None)):
        with pytest.raises(TypeError) as caught:
            call()
        assert f"made by {verb}, not by calling the class" in str(caught.value)


def test_counter_takes_no_format_of_a_number() -> None:
    """The message writes the format as it would be right; without one it is shown as it is."""
    with memlane.Counter.create(None) as counter:
        with pytest.raises(TypeError, match=r"use f'\{counter\.value:05d\}'"):
            f"{counter:05d}"

        assert str(counter) == f"{counter}"


def test_assignment_of_a_value_to_a_slot_is_refused() -> None:
    """It would have no effect, and say nothing; a class derived from it may have such a name."""

    class Named(memlane.Ring):
        pass

    with memlane.Slot.create(None, "3d") as slot, Named() as ring:
        with pytest.raises(AttributeError, match=r"no value to be assigned; use .* publish"):
            slot.value = (1.0, 2.0, 3.0)  # type: ignore[attr-defined]
        ring.count = 3  # type: ignore[attr-defined]

        assert 3 == ring.count  # type: ignore[attr-defined]


# ---- what a wrapped verb still is ----------------------------------------------------------------


def test_a_verb_keeps_its_signature_and_its_docstring() -> None:
    """`help` and editors show the verb as it was written."""
    create = memlane.Ring.create

    assert ["name", "capacity", "producers"] == list(inspect.signature(create).parameters)[:3]
    assert "capacity" in inspect.signature(memlane.Ring).parameters
    assert "Create a ring" in (create.__doc__ or "")
    assert "create" == create.__name__
    assert "memlane.ring" == create.__module__
    assert "The name of the object" in (memlane.Ring.name.__doc__ or "")


# ---- event loops ---------------------------------------------------------------------------------


def test_the_module_for_event_loops_is_there_when_it_is_first_asked_for() -> None:
    """`import memlane` alone does not import asyncio."""
    ran = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, memlane; before = 'asyncio' in sys.modules\n"
            "print(before, memlane.aio.wrap.__name__, 'asyncio' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )

    assert "False wrap True\n" == ran.stdout


def test_async_with_a_handle_says_how_it_is_wrapped(ring: memlane.Ring) -> None:
    """Also for what a topic and a slot are."""

    async def enter(thing: Any) -> None:
        async with thing:
            pass

    with memlane.Topic("64 KiB") as topic, memlane.Slot.create(None, "d") as slot:
        for thing in (ring, topic, slot):
            with pytest.raises(TypeError, match=r"is no asynchronous .*use memlane\.aio\.wrap\("):
                asyncio.run(enter(thing))
