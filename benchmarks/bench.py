# SPDX-License-Identifier: MIT
"""
The benchmark: what memlane costs, beside what the standard library costs, in one run.

    make bench
    python benchmarks/bench.py --rounds 15 --json

Every round runs every case once, so that whatever else the machine does hits all alike. The table
shows the median of the rounds, the least and the greatest; a ratio is the median of the ratios
within the rounds. Rules, and figures with their machine, are in README.md beside this file.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import memlane

BATCH = 256
RECORD_NBYTES = 64
LARGE_NBYTES = 1 << 20
#: Distinct, so that one that is lost, repeated or torn is seen.
RECORDS = [i.to_bytes(8, "little") * (RECORD_NBYTES // 8) for i in range(BATCH)]
#: Wherever a batch begins, the next ones are a slice of this.
TWICE = RECORDS * 2
LARGE = bytes(range(256)) * (LARGE_NBYTES // 256)

# Nanoseconds a turn; millions of records a second; GiB a second.
NS, RATE, GIB = "ns", "M/s", "GiB/s"


class WrongPayloadError(Exception):
    """What came out is not what went in."""


@dataclasses.dataclass
class Case:
    """One line of the table; `run` makes one sample."""

    name: str
    unit: str
    run: Callable[[], float]
    against: str | None = None
    samples: list[float] = dataclasses.field(default_factory=list)

    def ratio(self, other: Case) -> float:
        return statistics.median(
            mine / its for mine, its in zip(self.samples, other.samples, strict=True)
        )


# ---- the other process -------------------------------------------------------------------------


class Peer:
    """A forked process that runs one of *jobs* when told to: (index, count)."""

    def __init__(self, jobs: list[Callable[[int], None]]) -> None:
        context = multiprocessing.get_context("fork")
        self._control, other = context.Pipe()
        self._process = context.Process(target=self._serve, args=(other, jobs), daemon=True)
        self._process.start()

    @staticmethod
    def _serve(control: Connection, jobs: list[Callable[[int], None]]) -> None:
        while True:
            index, count = control.recv()
            jobs[index](count)

    def begin(self, index: int, count: int) -> None:
        self._control.send((index, count))

    def close(self) -> None:
        self._process.terminate()
        self._process.join()


def put_each(put: Callable[[bytes], object], records: list[bytes]) -> Callable[[int], None]:
    """A producer that calls *put* for each record."""

    def produce(count: int) -> None:
        for _ in range(count // len(records)):
            for record in records:
                put(record)

    return produce


def get_each(get: Callable[[], bytes], records: list[bytes], count: int) -> None:
    """A consumer that calls *get* for each record, and checks every one."""
    for _ in range(count // len(records)):
        for record in records:
            if get() != record:
                raise WrongPayloadError


def check_batches(batches: list[list[bytes]]) -> None:
    at = 0
    for batch in batches:
        if batch != TWICE[at : at + len(batch)]:
            raise WrongPayloadError
        at = (at + len(batch)) % BATCH


# ---- cases -------------------------------------------------------------------------------------


def two_processes(scale: float) -> tuple[list[Case], Callable[[], None]]:
    """Cases with a producer in another process; and how to end it."""
    ring = memlane.Ring(capacity="1 MiB", producers=1)
    large = memlane.Ring(capacity="4 MiB", producers=1)
    queue: multiprocessing.Queue[bytes] = multiprocessing.Queue()
    simple: multiprocessing.SimpleQueue[bytes] = multiprocessing.SimpleQueue()
    reader, writer = multiprocessing.Pipe(duplex=False)
    trips = {
        wait: (memlane.Ring(capacity=4096, wait=wait), memlane.Ring(capacity=4096, wait=wait))
        for wait in ("spin", "adaptive")
    }
    near, far = multiprocessing.Pipe()

    def put_batches(count: int) -> None:
        for _ in range(count // BATCH):
            ring.put_many(RECORDS)

    def put_large(count: int) -> None:
        for _ in range(count):
            with large.reserve(LARGE_NBYTES) as room:
                room.write(LARGE)

    def echo(wait: str) -> Callable[[int], None]:
        there, back = trips[wait]

        def answer(count: int) -> None:
            for _ in range(count):
                back.put(there.get())

        return answer

    def echo_pipe(count: int) -> None:
        for _ in range(count):
            far.send_bytes(far.recv_bytes())

    jobs: dict[str, Callable[[int], None]] = {
        "memlane": put_each(ring.put, RECORDS),
        "batches": put_batches,
        "pipe": put_each(writer.send_bytes, RECORDS),
        "simple": put_each(simple.put, RECORDS),
        "queue": put_each(queue.put, RECORDS),
        "large": put_large,
        "large pipe": put_each(writer.send_bytes, [LARGE]),
        "spin": echo("spin"),
        "adaptive": echo("adaptive"),
        "pipe trip": echo_pipe,
    }
    peer = Peer(list(jobs.values()))

    def timed(job: str, count: int, consume: Callable[[int], None]) -> float:
        """Seconds from the word to go until all has come."""
        begin = time.perf_counter()
        peer.begin(list(jobs).index(job), count)
        consume(count)
        return time.perf_counter() - begin

    def each(job: str, count: int, get: Callable[[], bytes]) -> Callable[[], float]:
        count = max(1, int(count * scale) // BATCH) * BATCH
        return lambda: count / 1e6 / timed(job, count, lambda count: get_each(get, RECORDS, count))

    def batches() -> float:
        count = max(1, int(2_000_000 * scale) // BATCH) * BATCH

        def consume(count: int) -> None:
            left, at = count, 0
            while left:
                batch = ring.get_many(BATCH)
                # All of every batch would cost as much as getting it: its ends here, all below.
                if batch[0] != RECORDS[at]:
                    raise WrongPayloadError
                at = (at + len(batch)) % BATCH
                if batch[-1] != RECORDS[at - 1]:
                    raise WrongPayloadError
                left -= len(batch)

        seconds = timed("batches", count, consume)

        def consume_and_check(count: int) -> None:
            kept: list[list[bytes]] = []
            left = count
            while left:
                kept.append(ring.get_many(BATCH))
                left -= len(kept[-1])
            check_batches(kept)

        timed("batches", 16 * BATCH, consume_and_check)
        return count / 1e6 / seconds

    def large_records() -> float:
        count = max(4, int(400 * scale))

        def consume(count: int) -> None:
            for turn in range(count):
                with large.borrow() as record, memoryview(record) as view:
                    if view[:8] != LARGE[:8] or view[-8:] != LARGE[-8:]:
                        raise WrongPayloadError
                    if turn == 0 and view != LARGE:
                        raise WrongPayloadError

        return count * LARGE_NBYTES / 2**30 / timed("large", count, consume)

    def large_pipe() -> float:
        count = max(4, int(100 * scale))
        seconds = timed(
            "large pipe", count, lambda count: get_each(reader.recv_bytes, [LARGE], count)
        )
        return count * LARGE_NBYTES / 2**30 / seconds

    def round_trip(job: str, count: int, put: Any, get: Any) -> Callable[[], float]:
        count = max(100, int(count * scale))

        def there_and_back(count: int) -> None:
            for number in range(count):
                message = number.to_bytes(8, "little")
                put(message)
                if get() != message:
                    raise WrongPayloadError

        return lambda: timed(job, count, there_and_back) / count * 1e9

    spin, adaptive = trips["spin"], trips["adaptive"]
    cases = [
        Case("64 B put/get", RATE, each("memlane", 300_000, ring.get)),
        Case("64 B put_many/get_many", RATE, batches, "64 B put/get"),
        Case("64 B Pipe", RATE, each("pipe", 60_000, reader.recv_bytes), "64 B put/get"),
        Case("64 B SimpleQueue", RATE, each("simple", 40_000, simple.get), "64 B put/get"),
        Case("64 B Queue", RATE, each("queue", 30_000, queue.get), "64 B put/get"),
        Case("1 MiB reserve/borrow", GIB, large_records),
        Case("1 MiB Pipe", GIB, large_pipe, "1 MiB reserve/borrow"),
        Case(
            "8 B there and back",
            NS,
            round_trip("adaptive", 20_000, adaptive[0].put, adaptive[1].get),
        ),
        Case(
            "8 B there and back, spin",
            NS,
            round_trip("spin", 20_000, spin[0].put, spin[1].get),
            "8 B there and back",
        ),
        Case(
            "8 B there and back, Pipe",
            NS,
            round_trip("pipe trip", 5_000, near.send_bytes, near.recv_bytes),
            "8 B there and back",
        ),
    ]

    def close() -> None:
        peer.close()
        queue.close()
        for made in (ring, large, *(ring for pair in trips.values() for ring in pair)):
            made.close()

    return cases, close


def one_process(scale: float) -> tuple[list[Case], Callable[[], None]]:
    """Cases without another process: what a call costs."""
    ring = memlane.Ring(capacity="1 MiB", producers=1)
    large = memlane.Ring(capacity="4 MiB", producers=1)
    sender, receiver = ring.producer(), ring.consumer()
    slot = memlane.Slot.create(None, RECORD_NBYTES)
    value = RECORDS[1]
    turns = max(1000, int(100_000 * scale))
    # The cheapest method without arguments that an extension type has: it returns its object.
    empty = (1).conjugate

    def per_turn(loop: Callable[[int], None], turns: int = turns) -> Callable[[], float]:
        def sample() -> float:
            begin = time.perf_counter_ns()
            loop(turns)
            return (time.perf_counter_ns() - begin) / turns

        return sample

    # The loops have one form: two calls of local names, nothing else.
    def empty_pair(turns: int, first: Any = empty, second: Any = empty) -> None:
        for _ in range(turns):
            first()
            second()

    def put_get(turns: int, put: Any = sender.put, get: Any = receiver.get) -> None:
        record = value
        for _ in range(turns):
            put(record)
            found = get()
        if found != value:
            raise WrongPayloadError

    def publish_read(turns: int, publish: Any = slot.publish, read: Any = slot.read) -> None:
        latest = value
        for _ in range(turns):
            publish(latest)
            found = read()
        if found != value:
            raise WrongPayloadError

    def read_alone(turns: int, read: Any = slot.read) -> None:
        for _ in range(turns):
            found = read()
        if found != value:
            raise WrongPayloadError

    def copy(nbytes: int) -> Callable[[int], None]:
        source, target = memoryview(LARGE)[:nbytes], memoryview(bytearray(nbytes))

        def loop(turns: int) -> None:
            for _ in range(turns):
                target[:] = source
            if target != source:
                raise WrongPayloadError

        return loop

    def reserve_borrow(turns: int) -> None:
        for _ in range(turns):
            with large.reserve(LARGE_NBYTES) as room:
                room.write(LARGE)
            with large.borrow() as record:
                last = record[-1]
        if last != LARGE[-1]:
            raise WrongPayloadError

    slot.publish(value)
    few = max(20, turns // 500)
    cases = [
        Case("empty method twice", NS, per_turn(empty_pair)),
        Case("64 B put + get", NS, per_turn(put_get), "empty method twice"),
        Case("64 B slot publish + read", NS, per_turn(publish_read), "empty method twice"),
        Case("64 B slot read", NS, per_turn(read_alone), "empty method twice"),
        Case("64 B copy", NS, per_turn(copy(64)), "empty method twice"),
        Case("64 KiB copy", NS, per_turn(copy(65536), turns // 50)),
        Case("1 MiB copy", NS, per_turn(copy(LARGE_NBYTES), few)),
        Case("1 MiB reserve + borrow", NS, per_turn(reserve_borrow, few), "1 MiB copy"),
    ]

    def close() -> None:
        for made in (ring, large, slot):
            made.close()

    return cases, close


# ---- the program -------------------------------------------------------------------------------


def machine() -> str:
    model = platform.machine()
    with open("/proc/cpuinfo") as cpus:
        for line in cpus:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return (
        f"{model}, {len(os.sched_getaffinity(0))} CPUs, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def rows_of(cases: list[Case]) -> list[list[str]]:
    rows = []
    for case in cases:
        found = (statistics.median(case.samples), min(case.samples), max(case.samples))
        numbers = [f"{one:,.0f}" if one >= 1000 else f"{one:.3g}" for one in found]
        base = next((other for other in cases if other.name == case.against), None)
        ratio = ["", ""] if base is None else [f"{case.ratio(base):.3g}", base.name]
        rows.append([case.name, *numbers, case.unit, *ratio])
    return rows


def show(machine_line: str, groups: list[tuple[str, list[Case]]]) -> None:
    """A table for people; a plain one where rich is not installed."""
    columns = ("median", "min", "max", "unit", "ratio", "to")
    print(machine_line)
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for title, cases in groups:
            for row in [[title, *columns], *rows_of(cases)]:
                name, *numbers, unit, ratio, base = row
                cells = "".join(number.rjust(11) for number in numbers)
                print(f"{name:<26}{cells}  {unit:<6}{ratio:>7}  {base}")
            print()
        return
    for title, cases in groups:
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column(title, no_wrap=True)
        for name in columns:
            table.add_column(
                name, justify="left" if name in ("unit", "to") else "right", no_wrap=True
            )
        for row in rows_of(cases):
            table.add_row(*row)
        Console(width=100).print(table)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="samples of each case (default 9)")
    parser.add_argument("--scale", type=float, default=1.0, help="how much work a sample is")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    arguments = parser.parse_args()
    if arguments.rounds < 1 or not arguments.scale > 0:
        parser.error("--rounds must be at least 1 and --scale more than 0")

    # Threads and memory of the one group must not burden the other, so its process is forked first.
    pairs, close_pairs = two_processes(arguments.scale)
    calls, close_calls = one_process(arguments.scale)
    groups = [("Two processes", pairs), ("One process, one turn of a loop", calls)]
    line = machine()
    try:
        for number in range(arguments.rounds + 1):
            for _, cases in groups:
                for case in cases:
                    sample = case.run()
                    if number:  # the first round warms up
                        case.samples.append(sample)
            if sys.stderr.isatty():
                print(f"\rround {number} of {arguments.rounds}", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r" + " " * 30 + "\r", end="", file=sys.stderr)
    finally:
        close_pairs()
        close_calls()
    if not arguments.json:
        show(line, groups)
        return 0
    facts = [
        {
            "group": title,
            "case": case.name,
            "unit": case.unit,
            "median": statistics.median(case.samples),
            "min": min(case.samples),
            "max": max(case.samples),
            "samples": case.samples,
        }
        for title, cases in groups
        for case in cases
    ]
    print(json.dumps({"machine": line, "cases": facts}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
