# SPDX-License-Identifier: MIT
"""Regions: creating and opening, the directory, what is refused, and how they travel."""

from __future__ import annotations

import errno
import fcntl
import functools
import gc
import itertools
import multiprocessing
import os
import pickle
import re
import signal
import stat
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import memlane.doorbell as doorbell_module
from memlane import (
    ClosedError,
    CorruptedError,
    Counter,
    Empty,
    LayoutError,
    Mapping,
    MemlaneError,
    Region,
    RegionExistsError,
    RegionNotFoundError,
    Ring,
    RoleTakenError,
    Slot,
    SlotTable,
    TruncatedError,
    _core,
    errors,
)
from processes import Child, output_of, unrelated
from region_files import (
    HEADER,
    PAGE,
    SHARED_MEMORY,
    bytes_of,
    field,
    file_of,
    fill_up,
    mount,
    needs_mounts,
    own_mounts,
    own_shared_memory,
    semaphores,
    set_field,
)

Method = Literal["fork", "spawn", "forkserver"]
METHODS: list[Method] = ["fork", "spawn", "forkserver"]


def context_of(method: Method) -> Any:
    """Type checkers do not know that every context has Process."""
    return multiprocessing.get_context(method)


@pytest.fixture(params=["named", "path", "memfd", "anonymous"])
def region(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> Iterator[Region]:
    """An empty region of 1 MiB of each kind."""
    with made(request.param, name, tmp_path) as region:
        yield region
        region.unlink()


def made(backing: str, name: str, tmp_path: Path, **options: Any) -> Region:
    places: dict[str, str | Path] = {"named": name, "path": tmp_path / "region.lane"}
    where = places.get(backing)
    return Region.create(where, "1 MiB", anonymous=backing == "anonymous", **options)


def furnish(region: Region) -> None:
    """One object of each kind, each with something in it."""
    ring = region.ring("frames", capacity=4096, producers=2)
    ring.put(b"first")
    ring.put(b"second")
    region.slot("pose", "2d").publish((1.5, 2.5))
    region.table("sensors", 3, "q")[1].publish((7,))
    region.counter("hits").add(3)


# ---- creating and opening ------------------------------------------------------------------------


def test_a_region_carries_objects_of_every_kind(region: Region) -> None:
    """Whatever memory is below, all objects are found by name, with what was put into them."""
    furnish(region)
    ring, pose, sensors = region["frames"], region["pose"], region["sensors"]
    hits = region["hits"]

    assert isinstance(ring, Ring)
    assert isinstance(pose, Slot)
    assert isinstance(sensors, SlotTable)
    assert isinstance(hits, Counter)
    assert ["frames", "pose", "sensors", "hits"] == list(region)
    assert [b"first", b"second"] == ring.get_many(9)
    assert ((1.5, 2.5), 1) == pose.read_versioned()
    assert (7,) == sensors[1].read()
    assert 3 == hits.value
    assert "pose" in region
    assert "nothing" not in region


def test_a_new_region_is_empty_and_true(region: Region) -> None:
    """No objects, nobody joined, and yet no falsehood."""
    assert [] == list(region)
    assert bool(region)
    assert [] == region.participants()
    assert region.nbytes > 1 << 20


def test_stats_tell_what_is_going_on(region: Region) -> None:
    """Sizes, who takes part, and what each object says of itself, in plain dicts."""
    furnish(region)
    stats = region.stats()

    assert region.backing == stats["backing"]
    assert region.nbytes == stats["nbytes"]
    assert 0 < stats["used"] <= stats["nbytes"]
    assert 1 == stats["participants"]
    assert ["ring", "slot", "slottable", "counter"] == [
        found["kind"] for found in stats["objects"].values()
    ]
    assert 2 == stats["objects"]["frames"]["records"]
    assert 3 == stats["objects"]["hits"]["value"]
    assert [os.getpid()] == [one.pid for one in region.participants()]
    assert [True] == [one.alive for one in region.participants()]


@pytest.mark.parametrize("backing", ["named", "path"])
def test_an_unrelated_program_opens_the_same_memory(
    backing: str, name: str, tmp_path: Path
) -> None:
    """Under its name or path a region is the same for programs that know nothing of each other."""
    with made(backing, name, tmp_path) as region:
        furnish(region)
        program = unrelated(
            "import memlane, pathlib, sys\n"
            "where = sys.argv[1]\n"
            "with memlane.Region.open(pathlib.Path(where) if '/' in where else where) as region:\n"
            "    print(region.ring('frames').get(), region.slot('pose').read())\n"
            "    print(region.counter('hits').add(1))",
            name if backing == "named" else str(region.name),
        )
        printed = output_of(program)
        value = region.counter("hits").value
        region.unlink()

    assert "b'first' (1.5, 2.5)\n4\n" == printed
    assert 4 == value


def test_however_often_a_process_opens_a_region_it_has_it_once(name: str) -> None:
    """One row and one mapping for all handles; the last one closed lets go."""
    with Region.create(name, "1 MiB") as region:
        region.join()
        with Region.open(name) as again:
            again.join()
            rows = [one.row for one in again.participants()]
            assert again._member is region._member
        assert rows == [one.row for one in region.participants()]
        region.unlink()
    assert 1 == len(rows)
    assert region._member.closed


def test_open_waits_for_the_name_to_appear(name: str, tmp_path: Path) -> None:
    """A consumer may start before its producer."""
    for where in (name, tmp_path / "later"):
        code = (
            "import memlane, pathlib, sys\n"
            "where = pathlib.Path(sys.argv[1]) if '/' in sys.argv[1] else sys.argv[1]\n"
            "try:\n"
            "    memlane.Ring.open(where)\n"
            "except memlane.RegionNotFoundError:\n"
            "    print('waits', flush=True)\n"
            "with memlane.Ring.open(where, timeout=None) as ring:\n"
            "    print(ring.get())"
        )
        program = unrelated(code, str(where))
        assert program.stdout is not None
        assert "waits\n" == program.stdout.readline()
        with Ring.create(where) as ring:
            ring.put(b"now")
            assert "b'now'\n" == output_of(program)
            ring.unlink()


def test_open_gives_up_at_its_timeout_with_the_name(name: str) -> None:
    """
    Without a region of that name: an error that is a FileNotFoundError, after the time that was
    asked for.
    """
    began = time.monotonic()
    with pytest.raises(RegionNotFoundError, match="wait for it with timeout=") as caught:
        Region.open(name, timeout=0.05)

    assert time.monotonic() - began >= 0.05
    assert isinstance(caught.value, FileNotFoundError)
    assert errno.ENOENT == caught.value.errno
    assert str(SHARED_MEMORY / f"memlane.{name}") == caught.value.name


@pytest.mark.parametrize(
    ("wrong", "error"),
    [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError), (True, TypeError)],
)
def test_a_timeout_is_seconds(wrong: Any, error: type[Exception], name: str) -> None:
    """What is no number of seconds is refused, not clamped."""
    with pytest.raises(error, match="timeout must be"):
        Region.open(name, timeout=wrong)


def test_create_never_touches_what_is_there(name: str, tmp_path: Path) -> None:
    """A taken name is an error that is a FileExistsError, and the region there goes on."""
    for where in (name, tmp_path / "taken"):
        with Region.create(where, "1 MiB") as region:
            region.counter("hits").add(5)
            with pytest.raises(RegionExistsError, match="open it, or unlink it first") as caught:
                Region.create(where, 4096)
            assert isinstance(caught.value, FileExistsError)
            assert errno.EEXIST == caught.value.errno
            assert 5 == region.counter("hits").value
            region.unlink()


def test_of_many_that_open_or_create_one_creates(name: str) -> None:
    """Whoever comes, comes to the same region."""

    def count() -> None:
        with Region.open_or_create(name, "1 MiB") as region:
            region.counter("hits").add(1)

    children = [Child(count) for _ in range(6)]
    codes = [child.wait() for child in children]
    with Region.open(name) as region:
        hits = region.counter("hits").value
        region.unlink()

    assert [0] * 6 == codes
    assert 6 == hits


@pytest.mark.parametrize(
    ("nbytes", "error", "text"),
    [
        ("1 MB", ValueError, "write 1 MiB"),
        (-1, ValueError, "nbytes must be"),
        (1 << 62, ValueError, "nbytes must be"),
        (1.5, TypeError, "nbytes must be"),
        (None, TypeError, "nbytes must be"),
        (True, TypeError, "nbytes must be"),
    ],
)
def test_a_size_that_is_none_is_refused(nbytes: Any, error: type[Exception], text: str) -> None:
    """Sizes are bytes, or text with a binary unit."""
    with pytest.raises(error, match=text):
        Region.create(None, nbytes)


def test_an_absurd_size_is_an_error_of_the_system(name: str) -> None:
    """More than can be mapped: an OSError or ValueError, and nothing left behind."""
    for where in (None, name):
        with pytest.raises((OSError, ValueError, MemoryError)):
            Region.create(where, (1 << 61) + 5)


def test_permissions_and_anonymous_are_checked(name: str) -> None:
    """Permission bits are bits, and MAP_ANONYMOUS memory has no name."""
    with pytest.raises(ValueError, match="permissions must be"):
        Region.create(None, 4096, permissions=0o1777)
    with pytest.raises(TypeError, match="permissions must be"):
        Region.create(None, 4096, permissions="600")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no name"):
        Region.create(name, 4096, anonymous=True)
    with pytest.raises(TypeError, match=r"Region\.create"):
        Region()


def test_a_read_only_opener_reads_and_takes_no_row(name: str) -> None:
    """It is present, sees everything, and writes nothing: not into objects, not into the table."""
    with Region.create(name, "1 MiB") as region:
        furnish(region)
        ours = len(region.participants())
        with Region.open(name, readonly=True) as reader:
            assert reader.readonly
            assert (1.5, 2.5) == reader.slot("pose").read()
            assert 3 == reader.counter("hits").value
            for refused in (
                reader.join,
                lambda: reader.counter("hits").add(1),
                lambda: reader.counter("more"),
                lambda: reader.slot("pose").publish((0, 0)),
                lambda: reader.ring("frames").put(b"x"),
                lambda: reader.ring("frames").get(timeout=0),
                lambda: reader.ring("frames").shutdown(),
            ):
                with pytest.raises(PermissionError, match="read-only"):
                    refused()
            assert ours == len(region.participants())
        region.unlink()


# ---- closing -------------------------------------------------------------------------------------


def test_a_closed_region_refuses_and_closes_what_it_gave_out(region: Region) -> None:
    """Closing a region closes its objects; each use afterwards says so."""
    furnish(region)
    ring, pose, hits = region.ring("frames"), region.slot("pose"), region.counter("hits")
    region.close()
    region.close()

    assert region.closed
    for use in (
        lambda: list(region),
        lambda: region["pose"],
        lambda: region.stats(),
        lambda: region.participants(),
        lambda: region.counter("more"),
        lambda: region.__enter__(),
        lambda: pickle.dumps(region),
        region.join,
        ring.get_nowait,
        pose.read,
        lambda: hits.value,
    ):
        with pytest.raises(ClosedError, match="closed"):
            use()


def test_with_closes_and_never_unlinks(name: str) -> None:
    """The name stays for others until unlink."""
    with Region.create(name, "1 MiB") as region:
        region.counter("hits").add(1)
    with Region.open(name) as region:
        assert 1 == region.counter("hits").value
        region.unlink()


def test_something_left_open_is_a_warning_that_names_it(name: str) -> None:
    """Forgetting to close is a ResourceWarning; closed ones are silent."""
    makers: list[Callable[[], Any]] = [
        lambda: Region.create(name, 4096),
        lambda: Region.open(name),
        lambda: Region.create(None, 4096),
        Ring,
        lambda: Slot.create(None, "d"),
    ]
    for make in makers:
        made = make()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del made
            gc.collect()
        assert [ResourceWarning] == [one.category for one in caught]
        assert "never closed" in str(caught[0].message)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for make in makers[1:]:
            made = make()
            made.close()
            del made
        with Region.open(name) as region:
            region.unlink()
        del region
        gc.collect()
    assert [] == caught


def test_something_left_open_is_closed_also_where_warnings_are_errors() -> None:
    """
    The error goes where errors of destructors go; memory and descriptors are let go all the same.
    """
    program = unrelated(
        "import gc, os, sys, warnings, memlane\n"
        "warnings.simplefilter('error')\n"
        "sys.unraisablehook = lambda error: print(error.exc_type.__name__)\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        "region = memlane.Region.create(None, 4096); region.join()\n"
        "member = region._member\n"
        "del region\n"
        "print(member.closed, len(os.listdir('/proc/self/fd')) - before)"
    )

    assert "ResourceWarning\nTrue 0\n" == output_of(program)


def test_nothing_warns_in_a_forked_child(region: Region) -> None:
    """What the parent opened is the parent's to close."""
    furnish(region)

    def drop() -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            inherited.clear()
            gc.collect()
        assert [] == caught

    inherited = [region.ring("frames"), Ring()]
    with Child(drop) as child:
        assert 0 == child.wait()
    for one in inherited:
        one.close()


def test_nothing_warns_at_exit_and_exit_never_fails(name: str) -> None:
    """A program that ends with everything open ends silently and well."""
    program = unrelated(
        "import sys, warnings, memlane\n"
        "warnings.simplefilter('error')\n"
        "region = memlane.Region.create(sys.argv[1], '1 MiB')\n"
        "ring = region.ring('frames', capacity=4096)\n"
        "ring.put(b'left'); ring.put(b'more'); record = ring.borrow(); room = ring.reserve(8)\n"
        "view = memoryview(record)\n"
        "unnamed = memlane.Ring(); unnamed.put(b'x'); producer = unnamed.producer()\n"
        "slot = memlane.Slot.create(None, 'd'); slot.publish((1.0,))\n"
        "cycle = [region, ring]; cycle.append(cycle)",
        name,
    )
    out, err = program.communicate()
    with Region.open(name) as region:
        left = region.ring("frames").get_many(9)
        region.unlink()

    assert (0, "", "") == (program.returncode, out, err)
    assert b"more" == left[-1]


# ---- headers that are wrong ----------------------------------------------------------------------


def whole_nbytes(path: Path) -> int:
    return path.stat().st_size


@pytest.fixture
def at_rest(tmp_path: Path) -> Iterator[Path]:
    """A furnished file that nobody has open."""
    path = tmp_path / "at-rest.lane"
    with Region.create(path, "1 MiB") as region:
        furnish(region)
    yield path
    for left in semaphores(region._member.region_id).values():
        left.unlink()


HEADER_FAULTS: dict[str, tuple[str, int, type[MemlaneError], str]] = {
    "foreign": ("magic", 0x464C457F, LayoutError, "magic number"),
    "swapped byte order": ("magic", 0x4D454D4C414E450A, LayoutError, "magic number"),
    "zeros": ("magic", 0, LayoutError, "magic number"),
    "newer version": ("layout_version", 1, LayoutError, "newer"),
    "newer draft": ("layout_draft", 2**32 - 1, LayoutError, "newer"),
    "older draft": ("layout_draft", 0, LayoutError, "older"),
    "unknown feature": ("features", 1 << 63, LayoutError, "features 0x8000000000000000"),
    "longer than the file": ("nbytes", 1 << 40, TruncatedError, "its header says"),
    "shorter than the file": ("nbytes", 8192, CorruptedError, "contradicts itself"),
    "no bytes": ("nbytes", 0, CorruptedError, "contradicts itself"),
    "table inside the header": ("table_offset", 8, CorruptedError, "contradicts itself"),
    "table far away": ("table_offset", 2**64 - 4096, CorruptedError, "contradicts itself"),
    "no rows": ("rows", 0, CorruptedError, "contradicts itself"),
    "too many rows": ("rows", 1025, CorruptedError, "contradicts itself"),
    "all rows": ("rows", 2**32 - 1, CorruptedError, "contradicts itself"),
    "rows of another size": ("row_nbytes", 32, CorruptedError, "contradicts itself"),
    "directory in the table": ("directory_offset", 4096, CorruptedError, "contradicts itself"),
    "directory behind the end": ("directory_offset", 2**63, CorruptedError, "contradicts itself"),
    "no entries": ("entries", 0, CorruptedError, "contradicts itself"),
    "too many entries": ("entries", 2**32 - 1, CorruptedError, "contradicts itself"),
    "entries of another size": ("entry_nbytes", 0, CorruptedError, "contradicts itself"),
    "objects in the directory": ("objects_offset", 69632, CorruptedError, "contradicts itself"),
    "objects behind the end": ("objects_offset", 2**64 - 1, CorruptedError, "contradicts itself"),
    "no backing": ("backing", 0, CorruptedError, "contradicts itself"),
    "another backing": ("backing", 5, CorruptedError, "contradicts itself"),
    "odd permissions": ("permissions", 2**31, CorruptedError, "contradicts itself"),
}


@pytest.mark.parametrize("fault", HEADER_FAULTS)
@pytest.mark.parametrize("readonly", [False, True])
def test_each_fault_of_a_header_has_its_own_error(
    fault: str, readonly: bool, at_rest: Path
) -> None:
    """
    A header is believed only when it is whole and in order; what is wrong is told, with the facts.
    """
    wrong, value, error, text = HEADER_FAULTS[fault]
    set_field(at_rest, wrong, value)

    with pytest.raises(error, match=text) as caught:
        Region.open(at_rest, readonly=readonly)
    with pytest.raises(error, match=text):
        Region.open_or_create(at_rest, 4096)
    assert repr(str(at_rest)) in str(caught.value)
    assert value == field(at_rest, wrong)
    if error is not CorruptedError:
        facts = caught.value
        assert facts.expected != facts.found  # type: ignore[attr-defined]


#: What a child ends with where it cannot have an overlay: arbitrary, but no status of its own.
NO_OVERLAY = 77

LENGTHS = [0, 1, 7, 8, 9, 127, 128, 512, 4095, 4096, 4097, 69631, 69632, 70000, 1118207, 1118208]


@pytest.mark.parametrize("nbytes", [*LENGTHS, -1])
@pytest.mark.parametrize("readonly", [False, True])
def test_a_truncated_file_is_refused(nbytes: int, readonly: bool, at_rest: Path) -> None:
    """Cut anywhere, in the header, the table, the directory, an object: an error, never a crash."""
    os.truncate(at_rest, nbytes if nbytes >= 0 else whole_nbytes(at_rest) - 1)

    with pytest.raises((TruncatedError, LayoutError)) as caught:
        Region.open(at_rest, readonly=readonly)
    if nbytes == 0 or nbytes >= 8:
        assert isinstance(caught.value, TruncatedError)
        assert caught.value.found < caught.value.expected


def test_a_file_that_has_grown_is_refused(at_rest: Path) -> None:
    """One byte too many contradicts the header as well."""
    os.truncate(at_rest, whole_nbytes(at_rest) + 1)

    with pytest.raises(CorruptedError, match="contradicts itself"):
        Region.open(at_rest)


def test_a_count_beyond_the_directory_is_not_followed(at_rest: Path) -> None:
    """However many entries the header claims, none is looked for outside."""
    set_field(at_rest, "count", 2**64 - 1)

    with Region.open(at_rest, readonly=True) as region:
        assert 4 == len(list(region))


#: Words that hostile or broken programs like to write.
WORDS = st.sampled_from(
    [
        0,
        1,
        2,
        7,
        64,
        4095,
        4096,
        2**16,
        2**31,
        2**32 - 1,
        2**32,
        2**40,
        2**61,
        2**63,
        2**64 - 8,
        2**64 - 1,
    ]
) | st.integers(0, 2**64 - 1)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """
    A furnished region at rest, to be copied and spoilt; its own semaphores are gone, as after a
    reboot.
    """
    path = tmp_path_factory.mktemp("image") / "image.lane"
    with Region.create(path, "1 MiB") as region:
        furnish(region)
    for left in semaphores(region._member.region_id).values():
        left.unlink()
    return path


def places() -> st.SearchStrategy[int]:
    """
    Offsets where something is: header, first rows, entries, control words, descriptors; sometimes
    anywhere.
    """
    objects = 4096 + 1024 * 64 + 1024 * 1024
    return st.one_of(
        st.sampled_from([at for at, _ in HEADER.values()]),
        st.integers(0, 127),
        st.integers(512, 719),
        st.integers(69632, 69632 + 4 * 1024 - 1),
        st.integers(0, 511).map(lambda word: 69632 + 8 * word),
        st.integers(objects, objects + 2047),
        st.integers(0, 1023).map(lambda word: objects + 8 * word),
        st.integers(0, 8191).map(lambda word: objects + 8 * word),
        st.integers(0, objects),
    )


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    flips=st.lists(st.tuples(places(), st.integers(1, 255)), max_size=3),
    words=st.lists(st.tuples(places(), WORDS), max_size=2),
)
def test_spoilt_bytes_never_crash(
    flips: list[tuple[int, int]], words: list[tuple[int, int]], image: Path, tmp_path: Path
) -> None:
    """
    A region at rest with any bytes changed is refused with a typed error, or used; nobody crashes
    or hangs.
    """
    path = tmp_path / "spoilt.lane"
    spoilt = bytearray(image.read_bytes())
    for at, bits in flips:
        spoilt[at] ^= bits
    for at, word in words:
        spoilt[at : at + 8] = word.to_bytes(8, "little")
    path.write_bytes(spoilt)

    with Child(use_everything, path) as child:
        assert 0 == child.wait()
    # An opener alone makes a missing set before it meets what is spoilt; a sweep would find it.
    doorbell_module.remove_set(int.from_bytes(spoilt[24:32], "little"))


def use_everything(path: Path) -> None:
    """Open what may be spoilt and use all of it; only typed errors are all right."""
    region_id = 0
    try:
        with Region.open(path) as region:
            region_id = region._member.region_id
            uses: list[Callable[[], Any]] = [
                lambda: region.stats(),
                lambda: region.participants(),
                lambda: region.counter("new").add(1),
                lambda: region.ring("new ring", capacity=4096),
            ]
            uses += [functools.partial(use, region, found) for found in region]
            for one in uses:
                try:
                    one()
                except ACCEPTED:
                    pass
            region.unlink()
    except ACCEPTED:
        pass
    finally:
        doorbell_module.remove_set(region_id)


#: What a program that uses spoilt bytes may meet; all tell what is wrong. Names, layouts and room
#: left
#: may be spoilt, too.
ACCEPTED = (MemlaneError, OSError, KeyError, ValueError, TypeError)


def use(region: Region, name: str) -> None:
    found: Any = region[name]
    steps: list[Callable[[], Any]] = []
    if isinstance(found, Ring):
        steps = [
            found.get_nowait,
            lambda: found.get_many(5, timeout=0),
            lambda: found.get_into(bytearray(64), timeout=0),
            lambda: found.put(b"x" * 100, timeout=0),
            lambda: found.put_many([b"y"] * 10, timeout=0),
            lambda: found.borrow(timeout=0).release(),
            lambda: found.reserve(16, timeout=0).abort(),
            lambda: found.get(timeout=0.001),
            lambda: len(found),
            found.shutdown,
            lambda: found.get(timeout=0.001),
        ]
    elif isinstance(found, Slot):
        steps = [
            found.read,
            lambda: found.publish((0.5, 1.5)),
            found.read_versioned,
            lambda: found.wait_newer(found.version, timeout=0.001),
            lambda: found.age,
        ]
    elif isinstance(found, SlotTable):
        steps = [lambda: found[1].read(), lambda: found[2].publish((1,)), found.read_all]
    elif isinstance(found, Counter):
        steps = [lambda: found.add(1), lambda: found.exchange(5), lambda: found.value]
    for step in steps:
        try:
            step()
        except ACCEPTED:
            pass
    pickle.loads(pickle.dumps(found)).close()
    found.close()


# ---- the directory -------------------------------------------------------------------------------


def test_an_object_that_is_not_there_is_a_key_error(region: Region) -> None:
    """Without a geometry nothing is made: there is nothing of that name."""
    looks: list[Callable[[], Any]] = [
        lambda: region["frames"],
        lambda: region.ring("frames"),
        lambda: region.slot("frames"),
        lambda: region.table("frames"),
    ]
    for look in looks:
        with pytest.raises(KeyError, match="no object 'frames'"):
            look()
    assert [] == list(region)


def test_an_object_is_opened_as_what_it_is(region: Region) -> None:
    """A name leads to one kind of object; another kind is a LayoutError that names both."""
    furnish(region)
    wrongs: list[Callable[[], Any]] = [
        lambda: region.ring("pose"),
        lambda: region.ring("hits", capacity=4096),
        lambda: region.slot("frames"),
        lambda: region.slot("hits", "d"),
        lambda: region.slot("sensors"),
        lambda: region.table("pose"),
        lambda: region.counter("frames"),
    ]
    for wrong in wrongs:
        with pytest.raises(LayoutError, match=r"open it with region\.\w+\(") as caught:
            wrong()
        assert caught.value.expected != caught.value.found


#: Where entries are, and what in them.
_DIRECTORY, _ENTRY_NBYTES, _ENTRY_OFFSET, _ENTRY_GEOMETRY = 69632, 1024, 72, 88


@pytest.mark.parametrize(
    ("at", "value", "use"),
    [
        (_ENTRY_GEOMETRY + 8, 8192, lambda region: region.ring("pose")),
        (_ENTRY_GEOMETRY + 24, 2, lambda region: region.ring("pose")),
        (_ENTRY_GEOMETRY, 2, lambda region: region.slot("pose")),
        (_ENTRY_GEOMETRY + 32, 2, lambda region: region.slot("pose")),
        (_ENTRY_GEOMETRY + 32, 2, lambda region: region.stats()),
    ],
)
def test_an_entry_that_has_changed_since_it_was_opened_is_corrupted(
    at: int, value: int, use: Callable[[Region], Any]
) -> None:
    """
    All handles of a process share what it knows of an object; another one must not be told that
    its own arguments are wrong, or be given an object of another shape.
    """
    is_ring = at in (_ENTRY_GEOMETRY + 8, _ENTRY_GEOMETRY + 24)
    with (
        Region.create(None, "1 MiB") as region,
        region.ring("pose", capacity=4096) if is_ring else region.slot("pose", "2d") as opened,
        bytes_of(region) as found,
    ):
        entry = region._find("pose")
        assert entry is not None
        found.set_word(_DIRECTORY + at, value)
        with pytest.raises(CorruptedError, match=r"contradicts itself|another object lies"):
            use(region)
        assert not opened.closed


@pytest.mark.parametrize("taken", ["frames", "pose"])
def test_two_entries_for_the_same_bytes_are_corrupted(taken: str) -> None:
    """Two objects never lie at one place; the second one is refused, whichever it is."""
    with Region.create(None, "1 MiB") as region:
        shapes: dict[str, Callable[[str], Any]] = {
            "frames": lambda name: region.ring(name, capacity=4096 if name == "frames" else 8192),
            "pose": lambda name: region.slot(name, "2d" if name == "pose" else "3d"),
        }
        first = shapes[taken](taken)
        shapes[taken]("another").close()
        with bytes_of(region) as found:
            place = found.word(_DIRECTORY + _ENTRY_OFFSET)
            found.set_word(_DIRECTORY + _ENTRY_NBYTES + _ENTRY_OFFSET, place)
            with pytest.raises(CorruptedError, match="another object lies"):
                region["another"]
        first.close()


def test_an_object_that_is_gone_as_soon_as_it_was_added_is_corrupted(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody spoils the directory while an object is added: an error that says so."""
    looked: list[str] = []

    def nothing(name: str) -> None:
        looked.append(name)

    monkeypatch.setattr(region, "_find", nothing)
    with pytest.raises(CorruptedError, match="was added to the directory"):
        region.slot("pose", "2d")
    assert ["pose"] * 3 == looked


@pytest.mark.parametrize(
    "ask",
    [
        lambda region: region.ring("frames", capacity=8192),
        lambda region: region.ring("frames", capacity=4096, producers=3),
        lambda region: region.ring("frames", capacity=4096, producers=2, records=7),
        lambda region: region.ring("frames", producers=3),
        lambda region: region.slot("pose", "3d"),
        lambda region: region.slot("pose", "2d", copies=8),
        lambda region: region.slot("pose", "2d", writers="many"),
        lambda region: region.slot("pose", "2d", watchers=1),
        lambda region: region.table("sensors", 4, "q"),
        lambda region: region.table("sensors", 3, "d"),
    ],
)
def test_another_geometry_is_a_layout_error(ask: Callable[[Region], Any]) -> None:
    """Asking for what is there with other numbers says which one differs, and changes nothing."""
    with Region.create(None, "1 MiB") as region:
        furnish(region)
        before = region._member.entries()

        with pytest.raises(LayoutError, match="ask for what it has") as caught:
            ask(region)
        assert caught.value.expected != caught.value.found
        assert before == region._member.entries()


def test_asking_for_the_geometry_that_is_there_opens_it(region: Region) -> None:
    """The same line of code creates and opens."""
    furnish(region)
    furnish(region)

    assert 4 == len(list(region))
    assert 4 == len(region.ring("frames", capacity=4096, producers=2))
    assert 6 == region.counter("hits").value


@pytest.mark.parametrize("wrong", ["", "x" * 64, "ü" * 32, "nul\0"])
def test_a_name_that_does_not_fit_the_directory_is_refused(wrong: str, region: Region) -> None:
    """An object's name has 1 to 63 bytes of UTF-8."""
    with pytest.raises(ValueError, match="1 to 63 bytes"):
        region.counter(wrong)
    assert [] == list(region)


@pytest.mark.parametrize("right", ["x", "x" * 63, "ü" * 31, "a/b c.d"])
def test_any_name_that_fits_works(right: str, region: Region) -> None:
    """The full 63 bytes, and characters that files cannot have."""
    region.counter(right).add(1)

    assert [right] == list(region)
    assert 1 == region.counter(right).value


def test_a_region_too_small_for_an_object_says_how_much_is_left(region: Region) -> None:
    """Nothing is made that does not fit, and what fits still can be."""
    with pytest.raises(ValueError, match=r"has \d+ left; ask for .* a larger region"):
        region.ring("frames", capacity="1 MiB")
    assert [] == list(region)
    region.ring("frames", capacity=4096, producers=1)
    region.counter("hits")
    assert ["frames", "hits"] == list(region)


def test_a_full_directory_says_so() -> None:
    """1,024 objects fit, the next one is refused, and all of them are found."""
    with Region.create(None, "8 MiB") as region:
        with region._creating(0):
            for number in range(1024):
                region._member.add_entry(
                    b"%d" % number, _core.KIND_COUNTER, 8, (), b"", 8, lambda offset: None
                )

        with pytest.raises(ValueError, match="full with 1024 objects"):
            region.counter("one more")
        assert 1 == region.counter("1023").add(1)
        assert 1024 == len(list(region))


def test_a_stopped_adder_is_named_and_everything_else_goes_on(name: str) -> None:
    """
    Who holds the creation byte keeps others from making objects, not from open, put and get. (trap
    24)
    """
    with Region.create(name, "1 MiB") as region:
        ring = region.ring("frames", capacity=4096)

        def make_and_stop() -> None:
            with region._creating(None):
                os.kill(os.getpid(), signal.SIGSTOP)
            region.counter("late")

        with Child(make_and_stop) as child:
            assert os.WIFSTOPPED(os.waitpid(child.pid, os.WUNTRACED)[1])
            with pytest.raises(TimeoutError, match=f"process {child.pid} has not finished"):
                region.counter("hits", timeout=0.02)
            opened = output_of(
                unrelated(
                    "import memlane, sys\n"
                    "with memlane.Region.open(sys.argv[1]) as region:\n"
                    "    region.ring('frames').put(b'goes on')",
                    name,
                )
            )
            received = ring.get()
            child.go_on()
            assert 0 == child.wait()
        region.counter("hits")
        found = list(region)
        region.unlink()

    assert "" == opened
    assert b"goes on" == received
    assert ["frames", "late", "hits"] == found


def test_a_thread_that_makes_an_object_keeps_other_threads_out() -> None:
    """The kernel's locks do not know threads; a lock of the process stands before them."""
    with Region.create(None, "1 MiB") as region:
        is_in, go_on = threading.Event(), threading.Event()

        def make() -> None:
            with region._creating(None):
                is_in.set()
                go_on.wait()

        thread = threading.Thread(target=make)
        thread.start()
        is_in.wait()
        try:
            with pytest.raises(TimeoutError, match="another thread of this process"):
                region.counter("hits", timeout=0.02)
        finally:
            go_on.set()
            thread.join()
        assert 1 == region.counter("hits").add(1)


def test_objects_made_at_once_by_many_processes_are_all_there(region: Region) -> None:
    """Each has its own bytes: none is lost, none overlaps another. (trap 25)"""

    def make(number: int) -> None:
        for i in range(5):
            region.counter(f"own {number} {i}").add(1)
            region.counter(f"common {i}").add(1)

    if region.backing == "anonymous":
        with pytest.raises(AssertionError), Child(make, 0) as child:
            assert 0 == child.wait()
        return
    children = [Child(make, number) for number in range(4)]
    assert [0] * 4 == [child.wait() for child in children]
    entries = sorted(region._member.entries(), key=lambda entry: entry[2])

    assert 25 == len(entries)
    assert all(a[2] + a[3] <= b[2] for a, b in itertools.pairwise(entries))
    assert [1] * 20 == [region.counter(name).value for name in region if name.startswith("own")]
    assert [4] * 5 == [region.counter(f"common {i}").value for i in range(5)]


def test_an_adder_killed_in_the_middle_leaves_nothing_half_made(name: str) -> None:
    """Its lock goes with it, its bytes are found again by the next one, zeroed. (trap 25)"""
    with Region.create(name, "1 MiB") as region:

        def die_in_the_middle() -> None:
            def die(offset: int) -> None:
                with bytes_of(region) as raw:
                    raw.write(offset, b"\xff" * 4096)
                os.kill(os.getpid(), signal.SIGKILL)

            with region._creating(None):
                region._member.add_entry(b"half", _core.KIND_RING, 8192, (1, 1), b"", 8192, die)

        with Child(die_in_the_middle) as child:
            assert -signal.SIGKILL == child.wait()
        half_made = list(region)
        furnish(region)
        records = region.ring("frames").get_many(9)
        found = list(region)
        region.unlink()

    assert [] == half_made
    assert ["frames", "pose", "sensors", "hits"] == found
    assert [b"first", b"second"] == records


def test_an_object_that_fails_in_the_middle_gives_its_room_back() -> None:
    """
    An exception, Ctrl-C too, leaves the directory as it was, and the memory is free again. (trap
    25)
    """
    with Region.create(None, "4 MiB") as region:
        file = file_of(region)
        before = file.stat().st_blocks

        def fail(_offset: int) -> None:
            raise KeyboardInterrupt

        with region._creating(None), pytest.raises(KeyboardInterrupt):
            region._member.add_entry(b"half", _core.KIND_COUNTER, 1 << 21, (), b"", 1 << 21, fail)
        entry_page = 4096 // 512
        assert [] == list(region)
        assert file.stat().st_blocks <= before + entry_page
        assert 1 == region.counter("hits").add(1)


# ---- kernel, files -------------------------------------------------------------------------------


def test_a_memfd_is_sealed() -> None:
    """Nobody can shrink or grow it, or add seals: no SIGBUS from an unnamed region."""
    with Region.create(None, "1 MiB") as region:
        base = region._member.base
        seals = fcntl.fcntl(base, fcntl.F_GET_SEALS)
        wanted = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

        assert wanted == seals & wanted
        for nbytes in (0, region.nbytes - 1, region.nbytes + 1):
            with pytest.raises(PermissionError):
                os.ftruncate(base, nbytes)
        with pytest.raises(PermissionError):
            fcntl.fcntl(base, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_descriptors_are_not_inherited_by_programs(region: Region) -> None:
    """Neither description survives an exec."""
    furnish(region)
    opened = [int(entry) for entry in os.listdir("/proc/self/fd")]
    ours = []
    for descriptor in opened:
        try:
            if os.path.samestat(os.fstat(descriptor), os.fstat(region._member.base)):
                ours.append(descriptor)
        except OSError:
            continue

    assert 2 == len(ours)
    assert [False, False] == [os.get_inheritable(descriptor) for descriptor in ours]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("permissions", [0o600, 0o660, 0o666, 0o604])
def test_permissions_are_as_asked_whatever_the_umask(
    umask: int, permissions: int, name: str, tmp_path: Path
) -> None:
    """
    The file and every semaphore, those made later too, have the modes that were asked for. (trap
    28)
    """
    before = os.umask(umask)
    try:
        for backing in ("named", "path", "memfd"):
            with made(backing, name, tmp_path, permissions=permissions) as region:
                region.ring("frames", capacity=4096).put(b"makes the bell of a lane")
                modes = {
                    stat.S_IMODE(path.stat().st_mode)
                    for path in [
                        file_of(region),
                        *semaphores(region._member.region_id).values(),
                    ]
                }
                count = len(semaphores(region._member.region_id))
                region.unlink()

            assert {permissions} == modes
            assert (0 if backing == "memfd" else 3) == count
    finally:
        os.umask(before)


def test_permissions_of_a_file_made_with_a_hidden_name_are_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where files cannot be made without a name. (trap 28)"""
    real = os.open

    def open_named(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE here")
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", open_named)
    before = os.umask(0o077)
    try:
        with Region.create(tmp_path / "here", 4096, permissions=0o666) as region:
            mode = stat.S_IMODE(file_of(region).stat().st_mode)
            region.unlink()
    finally:
        os.umask(before)

    assert 0o666 == mode


def test_a_region_is_opened_for_writing_from_the_start(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The very first descriptor is read-write: on an overlay an earlier read-only one shows stale
    bytes. (trap 27)
    """
    asked: list[int] = []
    real = os.open

    def note(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if str(path) == str(file):
            asked.append(flags)
        return real(path, flags, *rest, **options)

    for where in (name, tmp_path / "file"):
        Region.create(where, 4096).close()
        file = tmp_path / "file" if where != name else SHARED_MEMORY / f"memlane.{name}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", note)
            region = Region.open(where)
        with region:
            region.unlink()

    assert 2 == len(asked)
    for flags in asked:
        assert os.O_RDWR == flags & os.O_ACCMODE
        assert os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC == flags & (
            os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )


@needs_mounts
def test_processes_share_a_region_that_lies_in_the_lower_layer_of_an_overlay(
    tmp_path: Path,
) -> None:
    """
    The first one to open it has the file copied up before it is mapped, so all map the same bytes;
    those below stay as they were. (trap 27)
    """
    layers = tmp_path / "layers"
    merged = tmp_path / "merged"
    for made in (layers, merged):
        made.mkdir()

    def count(amount: int, expected: int) -> None:
        with Region.open(merged / "region") as region:
            assert expected == region.counter("hits").add(amount)

    def share() -> None:
        own_mounts()
        mount("tmpfs", layers)
        for layer in ("lower", "upper", "work"):
            (layers / layer).mkdir()
        with Region.create(layers / "lower" / "region", "64 KiB") as region:
            region.counter("hits").add(1)
        before = (layers / "lower" / "region").read_bytes()
        try:
            mount(
                "overlay",
                merged,
                f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work",
            )
        except OSError:
            os._exit(NO_OVERLAY)
        with Region.open(merged / "region") as region:
            with Child(count, 10, 11) as other:
                assert 0 == other.wait()
            assert 111 == region.counter("hits").add(100)
            with Child(count, 1000, 1111) as other:
                assert 0 == other.wait()
            assert 1111 == region.counter("hits").value
            region.unlink()
        assert before == (layers / "lower" / "region").read_bytes()
        assert [] == os.listdir(merged)

    with Child(share) as child:
        status = child.wait()
    if status == NO_OVERLAY:
        pytest.skip("this kernel mounts no overlay here")
    assert 0 == status


@needs_mounts
def test_where_room_cannot_be_reserved_a_region_is_refused(tmp_path: Path) -> None:
    """
    Without fallocate nothing is emulated by writing: live data stays, and the error says so. (trap
    26)
    """
    (tmp_path / "ram").mkdir()

    def try_it() -> None:
        own_mounts()
        mount("ramfs", tmp_path / "ram")
        data = tmp_path / "ram" / "data"
        data.write_bytes(b"live" * 4096)
        descriptor = os.open(data, os.O_RDWR)
        with pytest.raises(OSError, match="cannot reserve") as caught:
            _core.reserve(descriptor, 0, 1 << 20, path=str(data))
        assert errno.EOPNOTSUPP == caught.value.errno
        assert b"live" * 4096 == data.read_bytes()
        with pytest.raises(OSError, match="cannot reserve room") as caught:
            Region.create(tmp_path / "ram" / "region", "1 MiB")
        assert errno.EOPNOTSUPP == caught.value.errno
        assert ["data"] == os.listdir(tmp_path / "ram")

    with Child(try_it) as child:
        assert 0 == child.wait()


# ---- no room -------------------------------------------------------------------------------------


@needs_mounts
def test_creating_with_no_room_tells_need_free_and_mount_and_leaves_nothing(name: str) -> None:
    """However little is free in /dev/shm, creating works whole or fails whole. (trap 25)"""

    def try_all() -> None:
        own_shared_memory(64 * PAGE)
        worked: list[int] = []
        failed: list[Any] = []
        for free in range(32):
            fill_up(SHARED_MEMORY / "filler", leave=free * PAGE)
            try:
                with Ring.create(name, capacity=4096) as ring:
                    ring.unlink()
                worked.append(free)
            except OSError as error:
                failed.append(error)
            gc.collect()
            assert ["filler"] == os.listdir(SHARED_MEMORY), free
            os.unlink(SHARED_MEMORY / "filler")
        assert list(range(len(failed), 32)) == worked
        for one in failed:
            again = pickle.loads(pickle.dumps(one))
            assert errno.ENOSPC == one.errno
            assert "/dev/shm" == one.mount
            assert f"cannot reserve {one.need} bytes in /dev/shm: {one.free} bytes" in str(one)
            assert "--shm-size" in str(one)
            assert (one.need, one.free, one.mount) == (again.need, again.free, again.mount)

    with Child(try_all) as child:
        assert 0 == child.wait()


def make_named(name: str) -> None:
    Region.create(name, 4096).close()


def make_shared_memory(name: str) -> None:
    Mapping.shm(name, "r+", create=4096).close()


@needs_mounts
@pytest.mark.parametrize("make", [make_named, make_shared_memory])
def test_a_file_system_without_inodes_says_so(make: Callable[[str], None], name: str) -> None:
    """There are bytes enough, and still no file can be made: the error says what is missing."""

    def run() -> None:
        own_shared_memory(1 << 24, inodes=8)
        errors: list[Any] = []
        for number in range(9):
            try:
                make(f"{name}-{number}")
            except OSError as error:
                errors.append(error)
        assert errors
        for one in errors:
            assert errno.ENOSPC == one.errno
            assert "/dev/shm" == one.mount
            assert re.search(r"in /dev/shm: .* [0-2] of 8 inodes; .*nr_inodes", str(one)), one

    with Child(run) as child:
        assert 0 == child.wait()


@needs_mounts
def test_an_object_for_which_there_is_no_room_is_not_there(name: str) -> None:
    """The region goes on, and when room was made the object can be made. (trap 25)"""

    def try_it() -> None:
        own_shared_memory(1 << 20)
        with Region.create(name, "8 MiB") as region:
            region.counter("hits").add(1)
            fill_up(SHARED_MEMORY / "filler", leave=PAGE)
            for _ in range(3):
                with pytest.raises(OSError, match="are free") as caught:
                    region.slot("pose", 4096)
                assert errno.ENOSPC == caught.value.errno
            assert ["hits"] == list(region)
            assert 2 == region.counter("hits").add(1)
            os.unlink(SHARED_MEMORY / "filler")
            region.slot("pose", 4096).publish(b"p" * 4096)
            region.unlink()
        assert [] == os.listdir(SHARED_MEMORY)

    with Child(try_it) as child:
        assert 0 == child.wait()


@needs_mounts
def test_a_lane_for_which_there_is_no_room_is_an_error_of_put(name: str) -> None:
    """Never a SIGBUS: put says that there is no room, and works when there is some."""

    def try_it() -> None:
        own_shared_memory(4 << 20)
        with Ring.create(name, capacity="1 MiB", producers=3) as ring:
            ring.put(b"has its lane")
            fill_up(SHARED_MEMORY / "filler", leave=64 * PAGE)
            with ring.producer() as other:
                for _ in range(3):
                    with pytest.raises(
                        OSError, match=r"cannot reserve \d+ bytes in /dev/shm"
                    ) as caught:
                        other.put(b"no room")
                    assert errno.ENOSPC == caught.value.errno
                    with pytest.raises(OSError, match="are free"):
                        other.reserve(10)
                ring.put(b"goes on")
                assert [b"has its lane", b"goes on"] == ring.get_many(9)
                os.unlink(SHARED_MEMORY / "filler")
                other.put(b"room again")
                assert b"room again" == ring.get()
                assert 2 == len(ring.stats()["lanes"])
            ring.unlink()

    with Child(try_it) as child:
        assert 0 == child.wait()


# ---- travelling ----------------------------------------------------------------------------------


def furnished(backing: str, name: str, tmp_path: Path) -> tuple[Region, tuple[Any, ...]]:
    """A region with objects, and everything of it that pickles."""
    region = made(backing, name, tmp_path)
    furnish(region)
    ring = region.ring("frames")
    return region, (
        region,
        ring,
        ring.producer(),
        ring.consumer(),
        region.slot("pose"),
        region.table("sensors"),
        region.counter("hits"),
    )


def work(things: tuple[Any, ...]) -> None:
    """What a child does with what came to it: every handle leads to the parent's memory."""
    region, ring, producer, consumer, pose, sensors, hits = things
    assert ["frames", "pose", "sensors", "hits"] == list(region)
    assert [b"first", b"second"] == consumer.get_many(2)
    producer.put(b"from a handle")
    ring.put(b"from a ring")
    assert (1.5, 2.5) == pose.read()
    assert (7,) == sensors[1].read()
    sensors[2].publish((8,))
    hits.add(1)


def work_from(connection: Connection) -> None:
    connection.send("ready")
    while (things := connection.recv()) is not None:
        work(things)
        things[0].close()
        connection.send("done")


def check_worked(things: tuple[Any, ...]) -> None:
    ring = things[1]
    assert {b"from a handle", b"from a ring"} == set(ring.get_many(9))
    assert (8,) == things[5][2].read()
    assert 4 == things[6].value


@pytest.mark.parametrize("method", METHODS)
def test_everything_travels_as_an_argument_of_a_process(
    method: Method, name: str, tmp_path: Path
) -> None:
    """Regions, objects and role handles are passed to a child under each start method."""
    context = context_of(method)
    backings = ["named", "path", "memfd"] + (["anonymous"] if method == "fork" else [])
    for backing in backings:
        region, things = furnished(backing, name, tmp_path)
        with region:
            child = context.Process(target=work, args=(things,))
            child.start()
            child.join()
            assert 0 == child.exitcode
            check_worked(things)
            region.unlink()


@pytest.mark.parametrize("method", METHODS)
def test_everything_travels_through_a_pipe_at_any_time(
    method: Method, name: str, tmp_path: Path
) -> None:
    """Also to a child that runs already: a memfd is found through the sender."""
    context = context_of(method)
    here, there = context.Pipe()
    child = context.Process(target=work_from, args=(there,))
    child.start()
    there.close()
    assert "ready" == here.recv()
    for backing in ("named", "path", "memfd"):
        region, things = furnished(backing, name, tmp_path)
        with region:
            here.send(things)
            assert "done" == here.recv()
            check_worked(things)
            region.unlink()
    here.send(None)
    child.join()
    here.close()
    assert 0 == child.exitcode


def test_a_ring_travels_through_a_queue() -> None:
    """A multiprocessing.Queue hands a ring over like anything else."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def put_into() -> None:
        with queue.get() as ring:
            ring.put(b"through a queue")

    child = context.Process(target=put_into)
    child.start()
    with Ring() as ring:
        queue.put(ring)
        assert b"through a queue" == ring.get()
        child.join()
    queue.close()
    queue.join_thread()
    assert 0 == child.exitcode


def test_within_a_process_pickling_gives_the_same_memory(region: Region) -> None:
    """There and back again: no copy of the memory, no second row, no warning."""
    furnish(region)
    rows = len(region.participants())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again = pickle.loads(pickle.dumps(region))
        ring = pickle.loads(pickle.dumps(region.ring("frames", wait="sleep")))
        ring.put(b"third")
        again.counter("hits").add(1)
        assert region._member is again._member
        del again, ring
        gc.collect()

    assert [] == caught
    assert [b"first", b"second", b"third"] == region.ring("frames").get_many(9)
    assert 4 == region.counter("hits").value
    assert rows == len(region.participants())


def test_a_read_only_region_stays_read_only_when_it_travels(name: str) -> None:
    """What could not write here cannot write there."""
    with Region.create(name, "1 MiB") as region:
        furnish(region)
        with Region.open(name, readonly=True) as reader:
            program = unrelated(
                "import pickle, sys\n"
                "region = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
                "print(region.readonly, region.slot('pose').read())\n"
                "try:\n"
                "    region.counter('hits').add(1)\n"
                "except PermissionError:\n"
                "    print('refused')\n"
                "region.close()",
                pickle.dumps(reader).hex(),
            )
            printed = output_of(program)
        region.unlink()

    assert "True (1.5, 2.5)\nrefused\n" == printed


def test_map_anonymous_memory_under_spawn_says_what_to_do() -> None:
    """It has no name and no descriptor to pass: the error says which kind does travel."""
    for method in METHODS[1:]:
        context = context_of(method)
        with Ring(anonymous=True) as ring:
            child = context.Process(target=work, args=(ring,))
            with pytest.raises(MemlaneError, match=r"fork only; .* memfd"):
                child.start()


def test_a_region_whose_sender_has_closed_it_is_a_clear_error(name: str) -> None:
    """Neither the sender's descriptor nor a number used again by then is mistaken for it."""
    load = (
        "import pickle, sys, memlane\n"
        "try:\n"
        "    pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "except memlane.RegionNotFoundError as error:\n"
        "    print(error)"
    )
    ring = Ring()
    base, pickled = ring.region._member.base, pickle.dumps(ring).hex()
    ring.close()
    closed = output_of(unrelated(load, pickled))
    os.dup2(2, base)  # the number leads somewhere else now
    try:
        elsewhere = output_of(unrelated(load, pickled))
        with Ring() as other:
            os.dup2(other.region._member.base, base)
            another = output_of(unrelated(load, pickled))
    finally:
        os.close(base)

    assert f"is not to be had from process {os.getpid()}" in closed
    assert closed == elsewhere == another


def test_a_named_region_arrives_though_its_sender_is_gone(name: str) -> None:
    """A name leads there without the sender; one that leads to another region by now does not."""
    pickled = output_of(
        unrelated(
            "import memlane, pickle, sys\n"
            "with memlane.Counter.create(sys.argv[1]) as counter:\n"
            "    counter.add(7)\n"
            "    print(pickle.dumps(counter).hex())",
            name,
        )
    )
    with pickle.loads(bytes.fromhex(pickled)) as counter:
        value = counter.value
        counter.unlink()
    with (
        Counter.create(name) as newer,
        pytest.raises(RegionNotFoundError, match="is not to be had"),
    ):
        pickle.loads(bytes.fromhex(pickled))
    newer.unlink()

    assert 7 == value


# ---- errors --------------------------------------------------------------------------------------


def all_errors() -> list[type[MemlaneError]]:
    return [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, MemlaneError)
    ]


@pytest.mark.parametrize("error", all_errors())
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_errors_keep_their_text_and_facts_when_they_travel(
    error: type[MemlaneError], protocol: int
) -> None:
    """Every error crosses a process border whole."""
    facts = {"name": "robot", "expected": 4, "found": (1, 2), "pids": (7, 8), "errno": 2, "lost": 3}
    raised = error("what was expected, and what to do", **facts)
    again = pickle.loads(pickle.dumps(raised, protocol))

    assert error is type(again)
    assert "what was expected, and what to do" == str(again)
    assert facts == {fact: getattr(again, fact) for fact in facts}


def test_an_error_that_was_raised_travels(name: str) -> None:
    """Not only one made by hand."""
    caught = []
    with Ring.create(name, producers=1) as ring, ring.producer() as first:
        first.put(b"x")
        for step in (
            lambda: ring.put(b"y", timeout=0),
            lambda: ring.put(b"y" * (1 << 21)),
            lambda: Region.create(name, 4096),
            lambda: Region.open(f"{name}-missing"),
            lambda: Slot.open(name),
            lambda: [ring.get_many(1), ring.get_nowait()],
        ):
            with pytest.raises(MemlaneError) as one:
                step()
            caught.append(one.value)
        ring.unlink()

    for error in caught:
        again = pickle.loads(pickle.dumps(error))
        assert type(error) is type(again)
        assert str(error) == str(again)
        assert error._facts == again._facts
    assert RoleTakenError is type(caught[0])
    assert (os.getpid(),) == caught[0].pids
    assert Empty is type(caught[-1])


def test_errors_are_what_callers_would_catch() -> None:
    """A standard parent where `except` would be written that way anyway."""
    import queue

    assert issubclass(RegionNotFoundError, FileNotFoundError)
    assert issubclass(RegionExistsError, FileExistsError)
    assert issubclass(LayoutError, ValueError)
    assert issubclass(TruncatedError, OSError)
    assert issubclass(errors.PeerGoneError, ConnectionError)
    assert issubclass(errors.Full, queue.Full)
    assert issubclass(errors.Empty, queue.Empty)
