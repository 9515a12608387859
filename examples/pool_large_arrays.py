#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A pool whose workers return large arrays: each writes its result where the parent has it.

    python examples/pool_large_arrays.py

`multiprocessing.Pool` pickles what a task returns, sends it through a pipe, and copies it again.
Here each task gets a slice of one shared array, which pickles as a handle, and fills it. This works
under every start method. Needs numpy.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

import numpy as np

import memlane

TASKS, SHAPE = 8, (512, 1024)


def render(task: tuple[int, Any]) -> float:
    """Fill a slice of the parent's array; only a number goes back through the pipe."""
    number, picture = task
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    np.multiply(rows + number, columns, out=picture)
    return float(picture[-1, -1])


def main() -> None:
    pictures = memlane.array((TASKS, *SHAPE), "f8", label="pictures")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        corners = pool.map(render, enumerate(pictures))

    assert corners == [picture[-1, -1] for picture in pictures]
    print(f"{len(pictures)} pictures of {pictures[0].nbytes // 1024} KiB, in place")
    print(f"the sum of their last corners is {sum(corners):.0f}")


if __name__ == "__main__":
    main()
