# SPDX-License-Identifier: MIT
"""
What reading a file costs by read(), by buffered reads and by a mapping, side by side.

    python examples/compare_io.py [--quick] [--plot FILE.png]

Small and large files, in order and at random places, all in the page cache: the cost is that of
the calls and copies, not of the disk. Mapping a file costs a few microseconds and a page fault
for every 16 pages, so it pays from a few hundred KiB on. The plot needs matplotlib.
"""

import argparse
import os
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import memlane

PIECE_NBYTES = 4096


def by_read(path: Path, offsets: list[int]) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    total = 0
    for offset in offsets:
        total += os.pread(descriptor, PIECE_NBYTES, offset)[0]
    os.close(descriptor)
    return total


def by_buffered_reads(path: Path, offsets: list[int]) -> int:
    total = 0
    with open(path, "rb") as file:
        for offset in offsets:
            file.seek(offset)
            total += file.read(PIECE_NBYTES)[0]
    return total


def by_mapping(path: Path, offsets: list[int]) -> int:
    with memlane.Mapping.open(path) as mapping:
        return sum(mapping[offset : offset + PIECE_NBYTES][0] for offset in offsets)


def by_view(path: Path, offsets: list[int]) -> int:
    """Without the copy: a view of each piece, of which one byte is looked at."""
    with memlane.Mapping.open(path) as mapping, memoryview(mapping) as view:
        return sum(view[offset : offset + PIECE_NBYTES][0] for offset in offsets)


WAYS: dict[str, Callable[[Path, list[int]], int]] = {
    "read()": by_read,
    "buffered": by_buffered_reads,
    "mapping": by_mapping,
    "view": by_view,
}


def in_words(nbytes: int) -> str:
    return f"{nbytes >> 20} MiB" if nbytes >= 1 << 20 else f"{nbytes >> 10} KiB"


def measured(sizes: list[int]) -> dict[str, dict[str, float]]:
    """Microseconds for a piece: the best of three, for each size and order."""
    table: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "data")
        for size in sizes:
            path.write_bytes(os.urandom(size))
            in_order = list(range(0, size, PIECE_NBYTES))
            at_random = random.Random(1).sample(in_order, len(in_order))
            for order, offsets in (("sequential", in_order), ("random", at_random)):
                row = {}
                totals = set()
                for name, way in WAYS.items():
                    times = []
                    for _ in range(3):
                        begin = time.perf_counter()
                        totals.add(way(path, offsets))
                        times.append(time.perf_counter() - begin)
                    row[name] = min(times) / len(offsets) * 1e6
                assert len(totals) == 1, "all ways must read the same"
                table[f"{in_words(size)} {order}"] = row
    return table


def plot(table: dict[str, dict[str, float]], target: str) -> None:
    from matplotlib import pyplot  # type: ignore[import-not-found, unused-ignore]

    figure, axes = pyplot.subplots(figsize=(8, 4))
    for number, way in enumerate(WAYS):
        places = [row + number * 0.2 for row in range(len(table))]
        axes.bar(places, [row[way] for row in table.values()], width=0.2, label=way)
    axes.set_xticks([row + 0.3 for row in range(len(table))], list(table), rotation=20)
    axes.set_ylabel("µs for 4 KiB")
    axes.legend()
    figure.tight_layout()
    figure.savefig(target)


def main() -> None:
    parser = argparse.ArgumentParser(description="read(), buffered reads and mappings compared")
    parser.add_argument("--quick", action="store_true", help="small files only")
    parser.add_argument("--plot", metavar="FILE", help="also draw the table (matplotlib)")
    asked = parser.parse_args()
    table = measured([16 << 10, 1 << 20] if asked.quick else [16 << 10, 1 << 20, 256 << 20])
    print(f"{'µs for 4 KiB':>24} " + " ".join(f"{way:>9}" for way in WAYS))
    for name, row in table.items():
        print(f"{name:>24} " + " ".join(f"{row[way]:9.2f}" for way in WAYS))
    if asked.plot:
        plot(table, asked.plot)


if __name__ == "__main__":
    main()
