# SPDX-License-Identifier: MIT
"""Headers that are wrong: what is refused, and how it is told."""

from __future__ import annotations

import functools
import os
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlane import (
    CorruptedError,
    Counter,
    LayoutError,
    MemlaneError,
    Region,
    Ring,
    Slot,
    SlotTable,
    TruncatedError,
)
from memlane._region import semaphores as semaphores_module
from tests.support.processes import Child
from tests.support.region_files import (
    DIRECTORY,
    HEADER,
    OBJECTS,
    SELECTORS,
    field,
    file_of,
    semaphores,
    set_field,
)
from tests.support.regions import furnish

pytestmark = pytest.mark.machine


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
    "newer version": ("layout_version", 2, LayoutError, "newer"),
    "newer draft": ("layout_draft", 2**32 - 1, LayoutError, "newer"),
    "older version": ("layout_version", 0, LayoutError, "older"),
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
    "objects in the directory": (
        "objects_offset",
        DIRECTORY,
        CorruptedError,
        "contradicts itself",
    ),
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


LENGTHS = [0, 1, 7, 8, 9, 127, 128, 512, 4095, 4096, 4097, 70000]
LENGTHS += [SELECTORS - 1, SELECTORS, DIRECTORY - 1, DIRECTORY, OBJECTS - 1, OBJECTS]


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


def test_all_in_front_of_the_directory_is_reserved_with_the_region() -> None:
    """A table that is touched for the first time when memory is full must not end a process."""
    with Region.create(None, "1 MiB") as region:
        reserved = os.stat(file_of(region)).st_blocks * 512

        assert reserved >= field(file_of(region), "directory_offset")


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
    A furnished region at rest, to be copied and corrupted; its own semaphores are gone, as after a
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
    return st.one_of(
        st.sampled_from([at for at, _ in HEADER.values()]),
        st.integers(0, 127),
        st.integers(512, 719),
        st.integers(DIRECTORY, DIRECTORY + 4 * 1024 - 1),
        st.integers(0, 511).map(lambda word: DIRECTORY + 8 * word),
        st.integers(OBJECTS, OBJECTS + 2047),
        st.integers(0, 1023).map(lambda word: OBJECTS + 8 * word),
        st.integers(0, 8191).map(lambda word: OBJECTS + 8 * word),
        st.integers(0, OBJECTS),
    )


@settings(max_examples=100)
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
    # An opener alone makes a missing set before it meets what is corrupted; a sweep would find it.
    semaphores_module.remove_set(int.from_bytes(spoilt[24:32], "little"))


def use_everything(path: Path) -> None:
    """Open what may be corrupted and use all of it; only typed errors are all right."""
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
        semaphores_module.remove_set(region_id)


#: What a program that uses corrupted bytes may meet; all tell what is wrong. Names, layouts and
#: room left may be corrupted, too.
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
