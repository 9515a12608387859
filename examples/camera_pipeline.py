#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Three stages of a camera pipeline, each a process: a camera, a detector, and the parent.

    python examples/camera_pipeline.py

The camera fills each frame where the detector reads it, and the detector puts what it has found the
same way: nothing is copied or pickled. A stage that is too slow holds up the one before it. Needs
numpy.
"""

from __future__ import annotations

import multiprocessing

import numpy as np

import memlane

FRAMES, SHAPE, SIDE = 60, (480, 640), 16
FOUND = np.dtype([("frame", "i8"), ("row", "i4"), ("column", "i4"), ("patch", "u1", (SIDE, SIDE))])


def film(frames: memlane.Ring) -> None:
    """The camera: a bright square that moves over a dark picture."""
    for number in range(FRAMES):
        with frames.reserve_array(SHAPE, "u1") as frame:
            frame[...] = 10
            row, column = 4 * number, 5 * number
            frame[row : row + SIDE, column : column + SIDE] = 200
    frames.shutdown()


def detect(frames: memlane.Ring, found: memlane.Ring) -> None:
    """Where the square is in each frame."""
    for number, record in enumerate(frames.borrowed()):
        frame = record.array(SHAPE, "u1")
        row, column = (int(where[0]) for where in np.nonzero(frame > 100))
        with found.reserve_array((), FOUND) as result:
            result["frame"], result["row"], result["column"] = number, row, column
            result["patch"] = frame[row : row + SIDE, column : column + SIDE]
        del frame, result  # their room is free for the next ones
    found.shutdown()


def main() -> None:
    context = multiprocessing.get_context("fork")
    with (
        memlane.Ring(capacity="2 MiB", producers=1) as frames,
        memlane.Ring(capacity="64 KiB", producers=1) as found,
    ):
        stages = [
            context.Process(target=film, args=(frames,)),
            context.Process(target=detect, args=(frames, found)),
        ]
        for stage in stages:
            stage.start()
        seen = right = 0
        for record in found.borrowed():
            result = record.array((), FOUND)
            seen += 1
            right += result["row"] == 4 * result["frame"] and bool((result["patch"] == 200).all())
            del result
        for stage in stages:
            stage.join()

    print(f"{seen} frames, the square was found in {right}")


if __name__ == "__main__":
    main()
