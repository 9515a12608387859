# SPDX-License-Identifier: MIT
"""
What a get that waits for nothing costs: processor time of 100 idle waiters, among 100 and 1,000
participants.

    build/alternatives/bin/python benchmarks/idle.py
    build/alternatives/bin/python benchmarks/idle.py --seconds 10 --json

Every participant is a process with a row in the region. The waiters wait in `get(timeout=None)` of
one ring; nothing ever comes. The others have joined and sleep. Then the time is read that the
kernel has counted for each waiter, over some seconds. "In hand" means that ten of the others each
hold a record that they have borrowed: at the end of each slice a waiter asks the kernel whether
some of them still live, which costs more the more locks there are.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import machine

import memlane

HOLDERS = 10
#: Until the adaptive spin of a waiter has come down, and the crowd has settled.
SETTLE_S = 3.0
Wait = Literal["adaptive", "sleep"]


@dataclass
class Result:
    participants: int
    waiters: int
    wait: str
    in_hand: bool
    seconds: float
    percent_mean: float
    percent_most: float
    wakes_per_second: float


def forked(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(1)
    return pid


def cpu_ns(pid: int) -> int:
    """Time on a processor, as the scheduler counts it."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0])


def wakes(pid: int) -> int:
    """How often it has gone to sleep by itself."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])


def measure(participants: int, waiters: int, wait: Wait, in_hand: bool, seconds: float) -> Result:
    ring = memlane.Ring(
        capacity="64 KiB", producers=4, consumers="many", records=HOLDERS, wait=wait
    )
    ready = memlane.Counter.create(None)

    def sleep_joined() -> None:
        ring.region.join()
        ready.add(1)
        while True:
            signal.pause()

    def sleep_with_a_record() -> None:
        with ring.borrow():
            ready.add(1)
            while True:
                signal.pause()

    def wait_for_nothing() -> None:
        # Joined first: a row is not what is measured.
        ring.region.join()
        ready.add(1)
        ring.get()

    def settle(count: int) -> None:
        while ready.value < count:
            time.sleep(0.01)

    holders = HOLDERS if in_hand else 0
    pids: list[int] = []
    gc.freeze()  # or each child would copy what the collector touches
    try:
        for _ in range(holders):
            ring.put(b"in hand")
            pids.append(forked(sleep_with_a_record))
            settle(len(pids))
        waiting = [forked(wait_for_nothing) for _ in range(waiters)]
        pids += waiting
        pids += [forked(sleep_joined) for _ in range(participants - len(pids))]
        settle(len(pids))
        time.sleep(SETTLE_S)
        began = time.monotonic()
        before = [(cpu_ns(pid), wakes(pid)) for pid in waiting]
        time.sleep(seconds)
        after = [(cpu_ns(pid), wakes(pid)) for pid in waiting]
        passed = time.monotonic() - began
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
        ring.close()
        ready.close()
    shares = [
        (later[0] - earlier[0]) / passed / 1e7 for earlier, later in zip(before, after, strict=True)
    ]
    woken = [(later[1] - earlier[1]) / passed for earlier, later in zip(before, after, strict=True)]
    return Result(
        participants,
        waiters,
        wait,
        in_hand,
        passed,
        statistics.mean(shares),
        max(shares),
        statistics.mean(woken),
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("--participants", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--waiters", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0, help="to measure each case")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    waits: tuple[Wait, ...] = ("sleep", "adaptive")
    results = [
        measure(
            participants,
            min(arguments.waiters, participants - HOLDERS * in_hand),
            wait,
            in_hand,
            arguments.seconds,
        )
        for participants in arguments.participants
        for in_hand in (False, True)
        for wait in waits
    ]
    if arguments.json:
        print(json.dumps([asdict(result) for result in results], indent=2))
        return 0
    print(machine.line())
    print("participants  waiters  wait      in hand  % of a core, mean   most  wakes/s")
    for result in results:
        print(
            f"{result.participants:12}  {result.waiters:7}  {result.wait:8}  "
            f"{'yes' if result.in_hand else 'no':7}  {result.percent_mean:17.4f}"
            f"  {result.percent_most:5.3f}  {result.wakes_per_second:7.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
