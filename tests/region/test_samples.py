# SPDX-License-Identifier: MIT
"""Regions that an earlier release has written are opened by this one."""

from __future__ import annotations

import lzma
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from memlane import LayoutError, Region
from tests.region.samples.make import HERE
from tests.support.flag import Flag
from tests.support.region_files import DIRECTORY, semaphores

pytestmark = pytest.mark.machine

SAMPLES = sorted(HERE.glob("version-*.lane.xz"))
ENTRY_NBYTES, KIND_OFFSET = 1024, 64
#: A number that no release has given yet, of those that memlane keeps for itself.
LATER_KIND = 1000


@pytest.fixture(params=SAMPLES, ids=lambda path: path.name.split(".")[0])
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A sample of its own, as if it had just been copied here."""
    path = tmp_path / "sample.lane"
    path.write_bytes(lzma.decompress(request.param.read_bytes()))
    yield path
    (region_id,) = struct.unpack_from("=Q", path.read_bytes(), 24)
    for left in semaphores(region_id).values():
        left.unlink()


def test_every_layout_version_from_the_first_frozen_one_on_has_a_sample() -> None:
    """A release that raises the version keeps a region of it."""
    latest = int(SAMPLES[-1].name.split(".")[0].removeprefix("version-"))
    with Region.create(None, "64 KiB") as region:
        (version,) = struct.unpack("=I", os.pread(region._member.base, 4, 8))
    assert [*range(1, latest + 1)] == [int(it.name[8:-8]) for it in SAMPLES]
    assert version == latest


def test_each_object_of_a_sample_has_what_was_left_in_it(sample: Path) -> None:
    """Records that were put and not got, the latest values, the numbers, the keys."""
    with Region.open(sample) as region:
        assert [b"first", b"second"] == region.ring("one").get_many(9, timeout=0)
        assert [b"left"] == region.ring("many").get_many(9, timeout=0)
        assert ((1.5, 2.5), 1) == region.slot("pose").read_versioned()
        assert (7,) == region.table("sensors")[1].read()
        assert 3 == region.counter("hits").value
        assert 4 == region.counters("by worker")[2].value
        with region.topic("news").subscribe(start="oldest") as news:
            assert [b"older", b"latest"] == news.get_many(9, timeout=0)
        assert {"job": 1} == region.queue("jobs").get(timeout=0)
        assert {"gain": 0.5} == dict(region.map("params").items())
        assert not region.lock("db").owner_died
        assert region.event("go").is_set()
        assert [[1.25] * 3] * 2 == region.array("weights").tolist()
        assert "removed" not in region
        foreign = region["foreign"]
        assert isinstance(foreign, Flag)
        assert foreign.is_set


def test_a_sample_is_used_as_a_region_that_was_made_today(sample: Path) -> None:
    """All can be written to, and objects come and go."""
    with Region.open(sample) as region:
        region.ring("many").put(b"more")
        assert [b"left", b"more"] == region.ring("many").get_many(9, timeout=0)
        assert 2 == region.slot("pose").publish((3.5, 4.5))
        assert 4 == region.counter("hits").add(1)
        region.topic("news").publish(b"newer")
        region.map("params")["bias"] = 2.5
        with region.lock("db"):
            region.event("go").clear()
        region.counter("new").add(1)
        region.remove("hits")
        assert "hits" not in region


def test_of_a_sample_whose_kind_nobody_knows_the_rest_is_used(sample: Path) -> None:
    """It is named with its number, and one of a later release asks for an update."""
    with Region.open(sample) as region:
        entry = region._find("pose")
        assert entry is not None
        at = DIRECTORY + entry.number * ENTRY_NBYTES + KIND_OFFSET
    with open(sample, "r+b") as file:
        os.pwrite(file.fileno(), struct.pack("=I", LATER_KIND), at)

    with Region.open(sample) as region:
        with pytest.raises(
            LayoutError, match=f"'pose' .* has kind {LATER_KIND}, .* update memlane"
        ):
            region.slot("pose")
        assert "pose" in region
        assert f"kind {LATER_KIND}" == region.stats()["objects"]["pose"]["kind"]
        assert 3 == region.counter("hits").value
        assert [b"first", b"second"] == region.ring("one").get_many(9, timeout=0)
        region.remove("pose")
        assert "pose" not in region
