# SPDX-License-Identifier: MIT
"""
Whether a batch is ever slower than one by one: `get_many(n)` beside `get` of the same records.

    build/peers/bin/python benchmarks/batches.py [SIZE ...]

One process puts, then gets, so that nothing but the getting is timed. The ratio is that of the
median times of a
record; above 1 the batch is faster. Counting what came is part of the time: a loop has to.
"""

from __future__ import annotations

import statistics
import sys
import time

from memlane import Ring

SIZES = (0, 8, 64, 256, 1024, 4096, 16384, 65536, 262144, 1 << 20, 4 << 20)
BATCHES = (1, 4, 16, 60, 256, 4096)
TOTAL_NBYTES = 64 << 20
RECORDS_MAX = 60_000
ROUNDS = 7


def fill(ring: Ring, record: bytes, count: int) -> None:
    done = 0
    while done < count:
        done += ring.put_many([record] * min(256, count - done))


def one_by_one(ring: Ring, count: int) -> float:
    get = ring.get
    began = time.perf_counter()
    for _ in range(count):
        get()
    return time.perf_counter() - began


def in_batches(ring: Ring, count: int, most: int) -> float:
    get_many, left = ring.get_many, count
    began = time.perf_counter()
    while left:
        left -= len(get_many(most))
    return time.perf_counter() - began


def measure(nbytes: int) -> str:
    count = max(4, min(TOTAL_NBYTES // 2 // max(nbytes, 1), RECORDS_MAX))
    record = b"x" * nbytes
    times: dict[int, list[float]] = {most: [] for most in (0, *BATCHES)}
    capacity = max(4096, 2 * count * (nbytes + 64))
    with Ring(capacity=min(capacity, 2 * TOTAL_NBYTES), producers=1, records=2 * count) as ring:
        for turn in range(1 + ROUNDS):  # the first one is thrown away
            for most in times:
                fill(ring, record, count)
                took = one_by_one(ring, count) if most == 0 else in_batches(ring, count, most)
                if turn:
                    times[most].append(took / count)
    single = statistics.median(times[0])
    ratios = [single / statistics.median(times[most]) for most in BATCHES]
    extra = statistics.median(times[1]) - single
    cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"| {nbytes:,} | {single * 1e9:,.0f} ns | {cells} | {extra * 1e9:+.0f} ns |"


def main() -> None:
    print("| bytes | get | " + " | ".join(f"n = {most}" for most in BATCHES) + " | n = 1 costs |")
    print("|---:" * (3 + len(BATCHES)) + "|")
    for nbytes in map(int, sys.argv[1:]) if sys.argv[1:] else SIZES:
        print(measure(nbytes), flush=True)


if __name__ == "__main__":
    main()
