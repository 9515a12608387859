# SPDX-License-Identifier: MIT
"""
Whether a batch is ever slower than one by one: `get_many(n)` beside `get` of the same records.

    build/alternatives/bin/python benchmarks/batches.py [SIZE ...]

One process puts, then gets, so that nothing but the getting is timed: in processor time of this
process, and case by case in turns, so that all of them meet the same machine. The ratio is that of
the median times of a record; above 1 the batch is faster. Every loop looks at each record that
came, in the same way, and keeps what a user's loop keeps: a record until the next one has come, a
batch until the next one has. So the batch has more memory in use, and that is part of its price, as
is its loop in a loop. A case holds 64 MiB at most.

Alternatives are measured beside it where they are installed: subetha-ipc, `pop` and `pop_many` of
records up to 64 bytes, the size of a slot of its ring; cloudtoid-interprocess, `try_receive`, as it
has no call for several records.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from memlane import Ring

SIZES = (0, 8, 64, 256, 1024, 4096, 16384, 65536, 262144, 1 << 20, 4 << 20)
BATCHES = (1, 4, 16, 60, 256, 4096)
TOTAL_NBYTES = 64 << 20
RECORDS_MAX = 60_000
ROUNDS = 7


class Way(NamedTuple):
    """How records go through one library."""

    name: str
    put_many: Callable[[list[bytes]], Any]
    get: Callable[[], Any]
    get_many: Callable[[int], Any] | None


@contextmanager
def memlane(nbytes: int, count: int, _directory: Path) -> Iterator[Way]:
    capacity = max(4096, count * (nbytes + 64))
    with Ring(capacity=capacity, producers=1, records=2 * count) as ring:
        yield Way("memlane", ring.put_many, ring.get, ring.get_many)


@contextmanager
def subetha(nbytes: int, count: int, directory: Path) -> Iterator[Way]:
    import subetha

    if not 0 < nbytes <= 64:
        raise ImportError("a slot carries 64 bytes")
    ring = subetha.SpscRing(str(directory / "batches"), 1 << count.bit_length())
    yield Way("subetha-ipc", ring.push_many, ring.pop, ring.pop_many)


@contextmanager
def cloudtoid(nbytes: int, count: int, directory: Path) -> Iterator[Way]:
    from cloudtoid_interprocess import Publisher, Subscriber

    capacity = 2 * max(4096, count * (nbytes + 64)) // 8 * 8
    receiver = Subscriber("batches", capacity, directory)
    sender = Publisher("batches", capacity, directory)
    yield Way("cloudtoid-interprocess", sender.try_send_batch, receiver.try_receive, None)
    sender.close()
    receiver.close()


def fill(way: Way, record: bytes, count: int) -> None:
    for done in range(0, count, 256):
        way.put_many([record] * min(256, count - done))


def one_by_one(get: Callable[[], bytes], count: int) -> float:
    nbytes = 0
    began = time.process_time()
    for _ in range(count):
        record = get()  # kept until the next one has come, as a batch is
        nbytes += len(record)
    return time.process_time() - began


def of_one(get_many: Callable[[int], list[bytes]], count: int) -> float:
    """No loop in the loop: what a batch of one costs is the call's, not that of another `for`."""
    nbytes = 0
    began = time.process_time()
    for _ in range(count):
        (record,) = get_many(1)
        nbytes += len(record)
    return time.process_time() - began


def in_batches(get_many: Callable[[int], list[bytes]], count: int, most: int) -> float:
    nbytes, left = 0, count
    began = time.process_time()
    while left:
        batch = get_many(most)
        left -= len(batch)
        for record in batch:
            nbytes += len(record)
    return time.process_time() - began


def measure(way: Way, nbytes: int, count: int) -> str:
    record = b"x" * nbytes
    batches = BATCHES if way.get_many else ()
    times: dict[int, list[float]] = {most: [] for most in (0, *batches)}
    for turn in range(1 + ROUNDS):  # the first one is thrown away
        for most in times:
            fill(way, record, count)
            if most == 1 and way.get_many:
                took = of_one(way.get_many, count)
            elif most and way.get_many:
                took = in_batches(way.get_many, count, most)
            else:
                took = one_by_one(way.get, count)
            if turn:
                times[most].append(took / count)
    single = statistics.median(times[0])
    cells = [f"| {way.name} | {nbytes:,} | {single * 1e9:,.0f} ns"]
    cells += [f"{single / statistics.median(times[most]):.2f}" for most in batches]
    if batches:
        cells.append(f"{(statistics.median(times[1]) - single) * 1e9:+.0f} ns")
    return " | ".join(cells + ["-"] * (1 + len(BATCHES) + 1 - len(cells))) + " |"


def main() -> None:
    print("| | bytes | get | " + " | ".join(f"n = {most}" for most in BATCHES) + " | n = 1 costs |")
    print("|---" + "|---:" * (3 + len(BATCHES)) + "|")
    for nbytes in map(int, sys.argv[1:]) if sys.argv[1:] else SIZES:
        count = max(4, min(TOTAL_NBYTES // (nbytes + 64), RECORDS_MAX))
        for how in (memlane, subetha, cloudtoid):
            with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="batches-") as directory:
                try:
                    with how(nbytes, count, Path(directory)) as way:
                        print(measure(way, nbytes, count), flush=True)
                except ImportError:
                    continue  # not installed here, or nothing for it


if __name__ == "__main__":
    main()
