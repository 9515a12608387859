# SPDX-License-Identifier: MIT
"""
Make the sample region of a layout version: one object of each kind, packed.

    python -m tests.region.samples.make VERSION

Run once, by the first release of that version. What lies here is never made anew: a later release
must open what this one has written.
"""

from __future__ import annotations

import lzma
import sys
import tempfile
from pathlib import Path

import memlane
from tests.support.flag import Flag

HERE = Path(__file__).parent


def furnish(region: memlane.Region) -> None:
    """Each object in a state that an opener can tell: something in it, and something taken out."""
    one = region.ring("one", capacity=4096, producers=2)
    one.put_many([b"gone", b"first", b"second"])
    one.get()
    many = region.ring("many", capacity=4096, producers=1, consumers="many", records=8)
    many.put_many([b"gone", b"left"])
    many.get()
    region.slot("pose", "2d").publish((1.5, 2.5))
    region.table("sensors", 3, "q")[1].publish((7,))
    region.counter("hits").add(3)
    region.counters("by worker", 3)[2].add(4)
    news = region.topic("news", capacity=4096, publishers=1, subscribers=2)
    news.publish(b"older")
    news.publish(b"latest")
    region.queue("jobs", 8, producers=1, capacity="64 KiB").put({"job": 1})
    params = region.map("params", entries=4, key_nbytes=16, value="d", watchers=1)
    params["gain"] = 0.5
    params[b"removed"] = 1.0
    del params[b"removed"]
    with region.lock("db"):
        pass
    region.event("go").set()
    region.array("weights", (2, 3), "f4")[:] = 1.25
    region.counter("removed").add(1)
    region.remove("removed")
    Flag.in_region(region, "foreign").set()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.lane"
        with memlane.Region.create(path, "512 KiB") as region:
            furnish(region)
            content = path.read_bytes()
            region.unlink()
    packed = HERE / f"version-{sys.argv[1]}.lane.xz"
    packed.write_bytes(lzma.compress(content, preset=9))
    print(packed, packed.stat().st_size)


if __name__ == "__main__":
    main()
