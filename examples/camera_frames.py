#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Frames of a camera to three readers without a copy: each frame is written once, in shared memory,
and all readers look at those bytes.

    python examples/camera_frames.py
"""

from __future__ import annotations

import multiprocessing
from typing import Any

from memlane import Ring, Topic

WIDTH, HEIGHT, FRAMES = 1920, 1080, 40
NBYTES = WIDTH * HEIGHT * 3


def read(topic: Topic, name: str, ready: Any, said: Ring) -> None:
    """Look at the first and the last pixel of each frame, in place."""
    with topic.subscribe(when_full="wait") as frames:
        ready.wait()
        for number in range(FRAMES):
            with frames.borrow() as frame:
                assert len(frame) == NBYTES
                assert frame[:3] == frame[-3:] == bytes([number] * 3)
        said.put(f"{name}: {FRAMES} frames, {frames.lost} lost".encode())


def main() -> None:
    context = multiprocessing.get_context("fork")
    names = ["display", "encoder", "tracker"]
    ready = context.Barrier(len(names) + 1)
    with (
        Ring(producers=len(names)) as said,
        Topic(4 * NBYTES, publishers=1, records=4, subscribers=len(names)) as topic,
    ):
        readers = [context.Process(target=read, args=(topic, it, ready, said)) for it in names]
        for reader in readers:
            reader.start()
        ready.wait()  # all have subscribed
        for number in range(FRAMES):
            with topic.reserve(NBYTES) as frame:
                frame[:3] = frame[-3:] = bytes([number] * 3)  # a camera would fill all of it
        print(*sorted(line.decode() for line in said.records(until=readers)), sep="\n")
        for reader in readers:
            reader.join()


if __name__ == "__main__":
    main()
