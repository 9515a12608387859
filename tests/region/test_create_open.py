# SPDX-License-Identifier: MIT
"""Creating, opening and closing a region."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memlane import (
    ClosedError,
    Counter,
    Region,
    RegionExistsError,
    RegionNotFoundError,
    Ring,
    Slot,
    SlotTable,
)
from tests.support.processes import Child, output_of, unrelated
from tests.support.region_files import SHARED_MEMORY
from tests.support.regions import furnish, made

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
    """Every process comes to the same region."""

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
