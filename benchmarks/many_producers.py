# SPDX-License-Identifier: MIT
"""
How a ring does when several processes put, or several get, beside one and one, in one run.

    build/alternatives/bin/python benchmarks/many_producers.py
    build/alternatives/bin/python benchmarks/many_producers.py --rounds 15 --records 400000 --json

Each round runs every case once. A case forks its producers and consumers, lets all of them go at
once, and counts records until the last one was got; the numbers of all consumers are added up, and
must be what was put. Ratios are medians over the rounds, to one producer and one consumer of the
same round.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import machine
from adapter import WrongPayloadError

import memlane
from memlane import Ring, ShutDown

RECORD_NBYTES = 256
#: What a consumer tells: records got, and bytes that were not what they should be.
TOLD = struct.Struct("QQ")


@dataclass
class Case:
    name: str
    producers: int
    consumers: int
    kind: str
    stopped: bool = False  # beside the producers another one, stopped between reserve and commit
    samples: list[float] = field(default_factory=list)


CASES = [
    Case("1 : 1", 1, 1, "one"),
    Case("4 : 1", 4, 1, "one"),
    Case('1 : 1, "many"', 1, 1, "many"),
    Case('1 : 4, "many"', 1, 4, "many"),
    Case('4 : 1, "many"', 4, 1, "many"),
    Case('4 : 4, "many"', 4, 4, "many"),
    Case("4 : 1, and one stopped", 4, 1, "one", stopped=True),
]


def forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


def run(case: Case, records: int) -> float:
    """Millions of records a second."""
    each = records // case.producers
    ring = Ring(capacity="1 MiB", producers=case.producers + 1, consumers=case.kind)  # type: ignore[arg-type]
    go, start = os.pipe()
    told, tell = os.pipe()
    over, end = os.pipe()

    def produce(mark: int) -> None:
        record = bytes([mark]) * RECORD_NBYTES
        with ring.producer() as sender:
            sender.reserve(0).abort()  # the lane is leased before the clock runs
            os.write(tell, b"r")
            os.read(go, 1)
            put = sender.put
            for _ in range(each):
                put(record)
            os.write(tell, b"d")
            os.read(over, 1)  # 64 processes that end take longer than their records

    def consume() -> None:
        count = wrong = 0
        os.write(tell, b"r")
        os.read(go, 1)
        get = ring.get
        try:
            while True:
                record = get()
                count += 1
                wrong += record[0] != record[-1] or len(record) != RECORD_NBYTES
        except ShutDown:
            os.write(tell, TOLD.pack(count, wrong))

    def reserve_and_stop() -> None:
        with ring.producer() as sender, sender.reserve(RECORD_NBYTES):
            os.write(tell, b"r")
            signal.pause()

    stopped = [forked(reserve_and_stop)] if case.stopped else []
    producers = [forked(partial(produce, mark)) for mark in range(case.producers)]
    consumers = [forked(consume) for _ in range(case.consumers)]
    for _ in range(len(stopped) + len(producers) + len(consumers)):
        os.read(told, 1)
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    begin = time.perf_counter()
    os.write(start, b"g" * (len(producers) + len(consumers)))
    for _ in producers:
        os.read(told, 1)
    ring.shutdown()
    counts = [TOLD.unpack(os.read(told, TOLD.size)) for _ in consumers]
    seconds = time.perf_counter() - begin
    os.write(end, b"e" * len(producers))
    for pid in stopped:
        os.kill(pid, signal.SIGKILL)
    for pid in [*producers, *consumers, *stopped]:
        os.waitpid(pid, 0)
    ring.close()
    for descriptor in (go, start, told, tell, over, end):
        os.close(descriptor)
    got = sum(count for count, _ in counts)
    wrong = sum(count for _, count in counts)
    if got != each * case.producers or wrong:
        raise WrongPayloadError
    return each * case.producers / seconds / 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9, help="samples of each case (default 9)")
    parser.add_argument("--records", type=int, default=200_000, help="records of a sample")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    arguments = parser.parse_args()
    line = machine.line()
    for number in range(arguments.rounds + 1):
        for case in CASES:
            sample = run(case, arguments.records)
            if number:  # the first round warms up
                case.samples.append(sample)
    ratios = {
        case.name: statistics.median(
            mine / base for mine, base in zip(case.samples, CASES[0].samples, strict=True)
        )
        for case in CASES
    }
    if arguments.json:
        facts = [
            {"case": case.name, "samples": case.samples, "ratio": ratios[case.name]}
            for case in CASES
        ]
        print(json.dumps({"machine": line, "unit": "M/s", "cases": facts}, indent=2))
        return 0
    print(f"{line}, memlane {memlane.__version__}, {RECORD_NBYTES} B put/get")
    print(f"{'':<24}{'median':>8}{'min':>8}{'max':>8}  M/s  ratio to 1 : 1")
    for case in CASES:
        found = (statistics.median(case.samples), min(case.samples), max(case.samples))
        numbers = "".join(f"{one:8.2f}" for one in found)
        print(f"{case.name:<24}{numbers}       {ratios[case.name]:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
