# SPDX-License-Identifier: MIT
"""Made and closed ten thousand times: no descriptor, mapping, semaphore or memory stays."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import memlane
from memlane._region.semaphores import set_of
from tests.support.processes import PATIENCE_S, Child

pytestmark = pytest.mark.machine

#: What an allocator may keep; ten thousand times the smallest thing that could leak is more.
GROWTH_NBYTES = 1 << 20
#: Into so many parts all cycles of a test are divided.
ROUNDS = 5


def descriptors() -> list[str]:
    """What every open descriptor leads to."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            pass  # that of the listing
    return sorted(found)


def mappings() -> list[str]:
    """What is mapped, but for the allocators' memory, whose ranges come and go as they please."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    return sorted(
        path for path in (line[73:] for line in lines) if path and not path.startswith("[")
    )


def allocated_nbytes() -> int:
    """Memory without a file: pages of files come and go as the kernel likes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not tell")


def assert_nothing_stays(cycle: Callable[[], object], cycles: int) -> None:
    # What is made once, at first use, is not a leak.
    for _ in range(cycles // 10 + 3):
        cycle()
    gc.collect()
    before = descriptors(), mappings()
    growth = []
    for _ in range(ROUNDS):
        allocated = allocated_nbytes()
        for _ in range(cycles // ROUNDS):
            cycle()
        gc.collect()
        growth.append(allocated_nbytes() - allocated)
    assert (descriptors(), mappings()) == before
    # A huge page, or a thread of the test runner, makes one round grow; a leak shows in each.
    assert min(growth) < GROWTH_NBYTES // ROUNDS


def use(ring: memlane.Ring) -> None:
    """Take both roles and both kinds of loans, and make every doorbell that use makes."""
    ring.put(b"record")
    with ring.reserve(100) as room:
        room[:6] = b"second"
    assert ring.get() == b"record"
    with ring.borrow() as record:
        assert record[:6] == b"second"


def ring_without_name() -> None:
    with memlane.Ring(capacity=4096, producers=2) as ring:
        use(ring)


def anonymous_ring() -> None:
    with memlane.Ring(capacity=4096, producers=2, anonymous=True) as ring:
        use(ring)


def slot_and_counter() -> None:
    with memlane.Region.create(None, "1 MiB") as region:
        with region.slot("pose", "6d") as slot:
            slot.publish((1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
            assert slot.read()[0] == 1.0
        with region.counter("hits") as counter:
            counter.add(1)


def mapping() -> None:
    with memlane.Mapping.memfd(1 << 16) as made:
        made[0:5] = b"bytes"


@pytest.mark.parametrize(
    ("cycle", "cycles"),
    [
        (ring_without_name, 10000),
        (anonymous_ring, 1000),
        (slot_and_counter, 1000),
        (mapping, 10000),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_was_made_and_closed_leaves_nothing_in_the_process(
    cycle: Callable[[], None], cycles: int
) -> None:
    """Closing gives back every descriptor and mapping; memory does not grow with the cycles."""
    assert_nothing_stays(cycle, cycles)


def test_a_named_ring_made_opened_and_unlinked_leaves_nothing_in_the_process_or_its_files(
    name: str,
) -> None:
    """The same with a name: descriptors, mappings of semaphores, and files in /dev/shm."""
    region_ids: list[str] = []

    def cycle() -> None:
        with memlane.Ring.create(name, capacity=4096, producers=2) as ring:
            region_ids.append(set_of(ring.region._check().region_id))
            with memlane.Ring.open(name) as other:
                use(other)
            ring.unlink()

    assert_nothing_stays(cycle, 500)
    assert [
        file
        for file in os.listdir("/dev/shm")
        if any(region_id in file for region_id in region_ids)
    ] == []


def test_objects_dropped_without_a_close_leave_nothing_in_the_process() -> None:
    """The destructor does what close does, and says so with a ResourceWarning."""

    def drop() -> None:
        use(memlane.Ring(capacity=4096))
        gc.collect(0)

    def cycle() -> None:
        with pytest.warns(ResourceWarning):
            drop()

    assert_nothing_stays(cycle, 200)


def test_a_parent_keeps_nothing_of_the_children_it_forks() -> None:
    """Fork and work in the child, over and over: the parent's descriptors and mappings stay."""
    with memlane.Ring(capacity=1 << 16) as ring:
        use(ring)

        def cycle() -> None:
            with Child(ring.put, b"of a child") as child:
                assert ring.get(timeout=PATIENCE_S) == b"of a child"
                assert child.wait() == 0

        assert_nothing_stays(cycle, 50)


def test_children_of_children_do_not_gather_descriptors() -> None:
    """Each generation closes what it inherited and cannot use: the tenth has what the first has."""
    with memlane.Ring(capacity=1 << 16, producers=16) as ring:

        def generation(left: int) -> None:
            ring.put(len(descriptors()).to_bytes(8, "little"))
            if left:
                with Child(generation, left - 1) as child:
                    assert child.wait() == 0

        use(ring)
        ring.put(b"")
        assert ring.get() == b""
        with Child(generation, 9) as child:
            assert child.wait() == 0
        counts = [int.from_bytes(record, "little") for record in ring.get_many(100)]
    assert counts == [counts[0]] * 10


def test_a_program_that_uses_rings_has_no_thread_and_no_child_that_it_did_not_start() -> None:
    """No background thread, no helper process, no resource tracker."""
    code = """
import os
import memlane
with memlane.Ring(capacity=4096) as ring:
    ring.put(b"x")
    ring.get()
    print(len(os.listdir("/proc/self/task")))
    try:
        print(os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        print("no child")
"""
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert run.stdout.split("\n") == ["1", "no child", ""], run.stderr
