# SPDX-License-Identifier: MIT
"""
Wedge a pipeline on purpose, for `memlane top`, `who` and `doctor` to find out why.

A camera puts frames, a detector takes them and publishes what it found, a display subscribes, and
the camera waits for room. Then the display is stopped: the detector waits for it, and the camera
for the detector. docs/three_in_the_morning.md goes through it.
"""

import multiprocessing
import os
import signal
import sys
import time

import memlane


def camera(region: memlane.Region) -> None:
    frames = region.ring("frames")
    number = 0
    while True:
        frames.put(b"frame %d" % number)
        number += 1
        time.sleep(0.001)


def detector(region: memlane.Region) -> None:
    frames, found = region.ring("frames"), region.topic("found")
    for frame in frames.records():
        found.publish(b"seen in " + frame)


def display(region: memlane.Region) -> None:
    for _ in region.topic("found").subscribe(when_full="wait"):
        pass


def frames_put(region: memlane.Region) -> int:
    """How many frames the camera has put."""
    return sum(lane["put"] for lane in region.ring("frames").stats()["lanes"])


def stands_still(region: memlane.Region) -> bool:
    """Whether the camera waits for room, and has put nothing for a while."""
    before = frames_put(region)
    time.sleep(0.3)
    return region.ring("frames").stats()["waiting_producers"] > 0 and before == frames_put(region)


def main(name: str, seconds: float) -> None:
    with memlane.Region.create(name, "1 MiB") as region:
        region.ring("frames", capacity="4 KiB", producers=1, records=32)
        region.topic("found", capacity="4 KiB", publishers=1, records=32)
        context = multiprocessing.get_context("spawn")
        workers = [
            context.Process(target=step, args=(region,), name=step.__name__, daemon=True)
            for step in (camera, detector, display)
        ]
        for worker in reversed(workers):
            worker.start()
        while not region.topic("found").stats()["subscriptions"]:
            time.sleep(0.01)
        pid = workers[-1].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        while not stands_still(region):
            pass
        print("wedged; try memlane doctor", flush=True)
        # More than fit into both: the display takes again.
        end, enough = time.monotonic() + seconds, frames_put(region) + 100
        while frames_put(region) < enough:
            if time.monotonic() >= end:
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)
        print("it goes on", flush=True)
        for worker in workers:
            worker.kill()
            worker.join()
        region.unlink()


if __name__ == "__main__":
    main(
        sys.argv[1] if len(sys.argv) > 1 else f"wedged-{os.getpid()}",
        float(sys.argv[2]) if len(sys.argv) > 2 else 0,
    )
