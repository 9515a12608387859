# SPDX-License-Identifier: MIT
"""The objects of a region, found and made by name."""

from __future__ import annotations

import itertools
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from memlane import CorruptedError, LayoutError, ObjectNotFoundError, Region, Slot, _core
from memlane._region import directory
from memlane._region.directory import Creating
from tests.support.processes import Child, output_of, unrelated
from tests.support.region_files import DIRECTORY, Bytes, bytes_of, file_of
from tests.support.regions import furnish

pytestmark = pytest.mark.machine


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


#: What is where in an entry.
_ENTRY_NBYTES, _ENTRY_OFFSET, _ENTRY_GEOMETRY = 1024, 72, 88


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
        found.set_word(DIRECTORY + at, value)
        with pytest.raises(CorruptedError, match=r"contradicts itself|another object lies"):
            use(region)
        assert not opened.closed


@pytest.mark.parametrize("spoilt", ["frames", "pose", "sensors"])
def test_an_object_whose_entry_is_spoilt_hides_no_other(spoilt: str, name: str) -> None:
    """The statistics of the region are refused with its name; the others are opened and used."""
    with Region.create(name, "1 MiB") as made:
        furnish(made)
        entry = made._find(spoilt)
        assert entry is not None
        with bytes_of(made) as found:
            at = DIRECTORY + _ENTRY_NBYTES * entry.number + _ENTRY_GEOMETRY
            found.set_word(at, 2**64 - 1)
            # One that knows nothing of it yet.
            with Region.open(name) as region:
                for use in (region.stats, lambda: region[spoilt]):
                    with pytest.raises(CorruptedError, match=repr(spoilt)):
                        use()
                others = {"frames", "pose", "sensors", "hits"} - {spoilt}
                assert {*others, spoilt} == set(region)
                for other in others:
                    with region[other] as opened:
                        assert opened.stats()
        made.unlink()


#: Words of an entry that no sound program writes, and where: its parts do not lie in the region.
OUT_OF_BOUNDS = {
    "offset": (72, 1 << 40),
    "nbytes": (80, 2**64 - 1),
    "schema_nbytes": (64, 2**64 - 1),
    "doorbells_at_once": (160, 1 << 40 | 64),
    "count of doorbells_at_once": (168, 2**64 - 64),
    "doorbells_later": (176, 8),
    "count of doorbells_later": (184, 1025 << 32 | 64),
}


def spoil(found: Bytes, number: int, what: str) -> None:
    """Put entry *number* out of bounds."""
    at, value = OUT_OF_BOUNDS[what]
    found.set_word(DIRECTORY + _ENTRY_NBYTES * number + at, value)
    if at in (160, 176):  # one doorbell there
        found.set_word(DIRECTORY + _ENTRY_NBYTES * number + at + 8, 1 << 32 | 64)


@pytest.mark.parametrize("what", OUT_OF_BOUNDS)
def test_an_entry_that_is_out_of_bounds_hides_no_other(what: str, name: str) -> None:
    """
    The others are listed, opened, used and removed; what is corrupted is an error that names it.
    """
    with Region.create(name, "1 MiB") as made, bytes_of(made) as found:
        furnish(made)
        spoil(found, 1, what)
        # One that knows nothing of it yet, and opens it as the only one that has it open.
        code = "import sys, memlane; print(*memlane.Region.open(sys.argv[1]))"
        for region in (made, Region.open(name)):
            assert ["frames", "pose", "sensors", "hits"] == list(region)
            refused: list[Callable[[], Any]] = [
                lambda region=region: region["pose"],  # type: ignore[misc]
                lambda region=region: region.slot("pose"),  # type: ignore[misc]
                lambda region=region: region.ring("pose", capacity=4096),  # type: ignore[misc]
                lambda region=region: region.remove("pose"),  # type: ignore[misc]
                region.stats,
            ]
            for call in refused:
                with pytest.raises(CorruptedError, match=r"'pose' .* is corrupted: entry 1 of"):
                    call()
            for other in ("frames", "sensors", "hits"):
                with region[other] as opened:
                    assert opened.stats()
            with pytest.raises(ObjectNotFoundError, match="no object 'poses'"):
                region["poses"]
            with pytest.raises(CorruptedError, match=r"'new' cannot be made .* entry 1 of"):
                region.counter("new")
        region.remove("frames")
        region.close()
        assert ["pose", "sensors", "hits"] == list(made)
        made.close()
        assert "pose sensors hits" == output_of(unrelated(code, name)).strip()
        made.unlink()


def test_an_entry_without_a_name_is_called_by_its_number(name: str) -> None:
    """Also one that bears the name of another one, which is opened as before."""
    with Region.create(name, "1 MiB") as region, bytes_of(region) as found:
        furnish(region)
        for number, word in ((1, 0), (2, int.from_bytes(b"hits", "little"))):
            found.set_word(DIRECTORY + _ENTRY_NBYTES * number, word)
            spoil(found, number, "offset")
        assert ["frames", "(entry 1)", "(entry 2)", "hits"] == list(region)
        assert 3 == region.counter("hits").value
        with pytest.raises(CorruptedError, match=r"'\(entry 2\)' of .* is corrupted: entry 2 of"):
            region["(entry 2)"]
        region.unlink()


def test_the_only_object_of_a_region_that_is_out_of_bounds_is_named(name: str) -> None:
    """Opened by the name of the region."""
    with Slot.create(name, "d") as slot, bytes_of(slot.region) as found:
        spoil(found, 0, "nbytes")
        opens: list[Callable[[], object]] = [
            lambda: Slot.open(name),
            lambda: Slot.open_or_create(name, "d"),
        ]
        for call in opens:
            with pytest.raises(CorruptedError, match=f"'slot' of region '{name}' is corrupted"):
                call()
        slot.publish((1.0,))  # a process that has it open knows where it is
        assert (1.0,) == slot.read()
        slot.unlink()


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
            place = found.word(DIRECTORY + _ENTRY_OFFSET)
            found.set_word(DIRECTORY + _ENTRY_NBYTES + _ENTRY_OFFSET, place)
            with pytest.raises(CorruptedError, match="another object lies"):
                region["another"]
        first.close()


def test_an_object_that_is_gone_as_soon_as_it_was_added_is_corrupted(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody spoils the directory while an object is added: an error that says so."""
    looked: list[str] = []

    def nothing(_member: object, name: str) -> None:
        looked.append(name)

    monkeypatch.setattr(directory, "find", nothing)
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
        with Creating(region._member, 0):
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
    A process that holds the creation byte keeps others from making objects, not from open, put and
    get. (hazard 24)
    """
    with Region.create(name, "1 MiB") as region:
        ring = region.ring("frames", capacity=4096)

        def make_and_stop() -> None:
            with Creating(region._member, None):
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
            with Creating(region._member, None):
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
    """Each has its own bytes: none is lost, none overlaps another. (hazard 25)"""

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
    """Its lock goes with it, its bytes are found again by the next one, zeroed. (hazard 25)"""
    with Region.create(name, "1 MiB") as region:

        def die_in_the_middle() -> None:
            def die(offset: int) -> None:
                with bytes_of(region) as raw:
                    raw.write(offset, b"\xff" * 4096)
                os.kill(os.getpid(), signal.SIGKILL)

            with Creating(region._member, None):
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
    An exception, Ctrl-C too, leaves the directory as it was, and the memory is free again. (hazard
    25)
    """
    with Region.create(None, "4 MiB") as region:
        file = file_of(region)
        before = file.stat().st_blocks

        def fail(_offset: int) -> None:
            raise KeyboardInterrupt

        with Creating(region._member, None), pytest.raises(KeyboardInterrupt):
            region._member.add_entry(b"half", _core.KIND_COUNTER, 1 << 21, (), b"", 1 << 21, fail)
        entry_page = 4096 // 512
        assert [] == list(region)
        assert file.stat().st_blocks <= before + entry_page
        assert 1 == region.counter("hits").add(1)
