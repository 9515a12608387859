# SPDX-License-Identifier: MIT
"""
What a Mapping costs beside the standard library's mmap, in one run.

    build/alternatives/bin/python benchmarks/mapping.py
    build/alternatives/bin/python benchmarks/mapping.py --nbytes "64 MiB" --rounds 5 --json

Each round runs every case of both, one right after the other, so that whatever else the machine
does hits both alike. A ratio is the median over the rounds of ours / theirs: below 1.0 we are
faster. The file is in the page cache before the first round; copying and searching are compared,
not the disk.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import memlane
from memlane import Mapping

TURNS = 2000
SMALL_NBYTES = 4096


def seconds(action: Callable[[], object]) -> float:
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def turns(action: Callable[[], object]) -> Callable[[], None]:
    """Many in a row, since one is over before a clock has moved."""

    def run() -> None:
        for _ in range(TURNS):
            action()

    return run


def large_cases(path: Path, nbytes: int) -> dict[str, tuple[Callable[[], object], ...]]:
    """The same work on a Mapping and on an mmap of one file, both mapped for the whole run."""
    with path.open("r+b") as file:
        theirs = mmap.mmap(file.fileno(), 0)
    ours = Mapping.open(path, "r+")
    sought = b"what is not in the file"
    half = bytes(nbytes // 2)

    def write_ours() -> None:
        ours[: len(half)] = half

    def write_theirs() -> None:
        theirs[: len(half)] = half

    assert ours[:] == theirs[:]
    assert ours.find(sought) == theirs.find(sought) == -1
    return {
        "slice all of it (copy out)": (lambda: ours[:], lambda: theirs[:]),
        "slice 64 bytes, many times": (
            turns(lambda: ours[100:164]),
            turns(lambda: theirs[100:164]),
        ),
        "read one byte, many times": (turns(lambda: ours[100]), turns(lambda: theirs[100])),
        "search all of it": (lambda: ours.find(sought), lambda: theirs.find(sought)),
        "search 64 MiB backwards": (
            lambda: ours.rfind(sought, 0, 64 << 20),
            lambda: theirs.rfind(sought, 0, 64 << 20),
        ),
        "assign half of it (copy in)": (write_ours, write_theirs),
    }


def small_cases(path: Path) -> dict[str, tuple[Callable[[], object], ...]]:
    """Map 4 KiB and unmap it."""
    descriptor = os.open(path, os.O_RDWR)

    def theirs_by_path() -> None:
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), SMALL_NBYTES):
            pass

    return {
        "map and unmap 4 KiB, shared": (
            turns(lambda: Mapping.anonymous(SMALL_NBYTES).close()),
            turns(lambda: mmap.mmap(-1, SMALL_NBYTES).close()),
        ),
        "map and unmap 4 KiB, private": (
            turns(lambda: Mapping.anonymous(SMALL_NBYTES, private=True).close()),
            turns(lambda: mmap.mmap(-1, SMALL_NBYTES, mmap.MAP_PRIVATE).close()),
        ),
        "map and unmap 4 KiB, descriptor": (
            turns(lambda: Mapping.from_fd(descriptor, "r+", nbytes=SMALL_NBYTES).close()),
            turns(lambda: mmap.mmap(descriptor, SMALL_NBYTES).close()),
        ),
        "map and unmap 4 KiB, path": (
            turns(lambda: Mapping.open(path, "r+", nbytes=SMALL_NBYTES).close()),
            turns(theirs_by_path),
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="memlane.Mapping beside the mmap module")
    parser.add_argument("--nbytes", default="1 GiB", help="length of the file")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--directory", default=None, help="where the file is made")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    nbytes = len(Mapping.anonymous(asked.nbytes))  # text such as "1 GiB" as a number
    with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
        path = Path(directory, "data")
        with Mapping.create(path, nbytes) as m:
            pattern = bytes(range(1, 256)) * 4096
            for start in range(0, nbytes - len(pattern) + 1, len(pattern)):
                m[start : start + len(pattern)] = pattern
        cases = large_cases(path, nbytes) | small_cases(path)
        samples: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
        for number in range(asked.rounds):
            for name, pair in cases.items():
                # the second one finds the caches warm, so they take turns
                if number % 2:
                    theirs, ours = seconds(pair[1]), seconds(pair[0])
                else:
                    ours, theirs = seconds(pair[0]), seconds(pair[1])
                samples[name].append((ours, theirs))
    rows = []
    for name, pairs in samples.items():
        scale = TURNS if "many" in name or "4 KiB" in name else 1
        rows.append(
            {
                "case": name,
                "memlane_us": statistics.median(ours for ours, _ in pairs) / scale * 1e6,
                "mmap_us": statistics.median(theirs for _, theirs in pairs) / scale * 1e6,
                "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
            }
        )
    if asked.json:
        print(json.dumps({"nbytes": nbytes, "rounds": asked.rounds, "cases": rows}, indent=1))
        return
    print(f"a file of {nbytes} bytes, {asked.rounds} rounds, memlane {memlane.__version__}")
    print(f"{'case':34} {'memlane µs':>12} {'mmap µs':>12} {'ratio':>7}")
    for row in rows:
        print(
            f"{row['case']:34} {row['memlane_us']:12.2f} {row['mmap_us']:12.2f} {row['ratio']:7.2f}"
        )


if __name__ == "__main__":
    main()
