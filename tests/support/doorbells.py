# SPDX-License-Identifier: MIT
"""Semaphores of a ring, seen and touched from outside."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import posix_ipc

from memlane import Ring, Slot
from memlane._region import semaphores as semaphores_module
from tests.support.processes import Child, wait_until
from tests.support.region_files import RING_DOORBELL, RING_WAITERS, SEMAPHORE, bytes_of, semaphores

SLEEPERS = ["named", "path", "memfd", "anonymous"]


def ring_of(backing: str, name: str, tmp_path: Path, **options: Any) -> Ring:
    """A ring whose waits sleep at once, in memory of each kind."""
    if backing == "named":
        return Ring.create(name, wait="sleep", **options)
    if backing == "path":
        return Ring.create(tmp_path / "ring.lane", wait="sleep", **options)
    return Ring(wait="sleep", anonymous=backing == "anonymous", **options)


def id_of(thing: Ring | Slot) -> int:
    return thing.region._member.region_id


def value_of(region_id: int, number: int) -> int:
    """How many tokens lie in a named semaphore."""
    semaphore = posix_ipc.Semaphore(f"/memlane.{semaphores_module.set_of(region_id)}.{number}")
    try:
        return int(semaphore.value)
    finally:
        semaphore.close()


def tokens(ring: Ring, doorbell: int = RING_DOORBELL) -> int:
    """How many tokens lie at the doorbell of the consumers, or at the one that is named."""
    with bytes_of(ring) as raw:
        if ring.region.backing == "memfd":
            return raw.half(doorbell + SEMAPHORE)
        return value_of(id_of(ring), (raw.begin + doorbell) // 64)


def waiting(ring: Ring, waiters: int = RING_WAITERS) -> int:
    with bytes_of(ring) as raw:
        return raw.half(waiters)


def stop_asleep(child: Child, is_announced: Callable[[], object]) -> None:
    """Stop a child while its announcement stands: between two slices there is none for a moment."""
    stop_all_asleep([child], is_announced)


def stop_all_asleep(children: list[Child], are_announced: Callable[[], object]) -> None:
    while True:
        wait_until(are_announced, "the announcements")
        for child in children:
            child.stop()
        if are_announced():
            return
        for child in children:
            child.go_on()


def bell_at(ring: Ring, doorbell: int = RING_DOORBELL) -> Any:
    """What this process has of a doorbell."""
    entry = ring.region._find(ring._object_name)
    doorbells = ring.region._member.doorbells
    assert entry is not None
    assert doorbells is not None
    return doorbells.at(entry[2] + doorbell, False)


@contextmanager
def open_semaphore(ring: Ring, backing: str) -> Iterator[tuple[mmap.mmap, int]]:
    """The memory in which the consumers' semaphore lies, and where in it."""
    with bytes_of(ring) as raw:
        at = raw.begin + RING_DOORBELL
    path = f"/proc/self/fd/{ring.region._member.base}"
    if backing != "memfd":
        path, at = str(semaphores(id_of(ring))[at // 64]), -SEMAPHORE
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
        yield mapping, at + SEMAPHORE
