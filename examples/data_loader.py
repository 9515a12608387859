#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A data loader: workers fill batches in place, in shared memory, and one trainer uses them there.

    python examples/data_loader.py             batches as they come
    python examples/data_loader.py --in-order  batches in their order

A batch is one record, with all its parts, and no copy. The job that a worker has is on loan to it:
one that is killed is replaced, and its job goes to another one. Needs numpy.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

import memlane

WORKERS, BATCHES, SAMPLES = 3, 40, 32
BATCH = np.dtype(
    [("number", "i8"), ("images", "u1", (SAMPLES, 28, 28)), ("labels", "i8", SAMPLES)], align=True
)


def load(jobs: memlane.Ring, batches: memlane.Ring) -> None:
    """The worker: read the samples of a batch where the trainer will use them."""
    for job in jobs.borrowed():
        number = int(bytes(job))
        with batches.reserve_array((), BATCH) as batch:
            if number == 7 and not job.redelivered:
                os.kill(os.getpid(), signal.SIGKILL)  # in the midst of a batch, which nobody sees
            batch["number"] = number
            batch["images"] = np.random.default_rng(number).integers(0, 256, (SAMPLES, 28, 28))
            batch["labels"] = number


def as_they_come(batches: memlane.Ring) -> Iterator[Any]:
    """Each batch once, where it lies: a worker may die between a batch and the end of its job."""
    seen: set[int] = set()
    while len(seen) < BATCHES:
        with batches.borrow() as record:
            batch = record.array((), BATCH)
            if int(batch["number"]) not in seen:
                seen.add(int(batch["number"]))
                yield batch
            del batch


def in_order(batches: memlane.Ring) -> Iterator[Any]:
    """The same in the order of their numbers: what comes early is copied and waits."""
    early: dict[int, Any] = {}
    due = 0
    for batch in as_they_come(batches):
        early[int(batch["number"])] = batch if batch["number"] == due else batch.copy()
        del batch
        while due in early:
            yield early.pop(due)
            due += 1


def main() -> None:
    context = multiprocessing.get_context("fork")
    keeps_order = "--in-order" in sys.argv[1:]
    with (
        memlane.Ring(producers=1, consumers="many") as jobs,
        memlane.Ring(capacity=4 * BATCH.itemsize, producers=WORKERS) as batches,
    ):

        def start() -> multiprocessing.context.ForkProcess:
            worker = context.Process(target=load, args=(jobs, batches))
            worker.start()
            return worker

        workers = [start() for _ in range(WORKERS)]
        jobs.put_many(b"%d" % number for number in range(BATCHES))
        replaced, numbers, brightness = 0, [], 0
        for batch in (in_order if keeps_order else as_they_come)(batches):
            numbers.append(int(batch["number"]))
            brightness += int(batch["images"].sum(dtype="i8"))
            for index, worker in enumerate(workers):
                if worker.exitcode is not None:
                    workers[index] = start()
                    replaced += 1
            del batch  # its room is free for the next one
        jobs.shutdown()
        for worker in workers:
            worker.join()

    assert not keeps_order or numbers == sorted(numbers)
    print(f"{len(set(numbers))} batches, brightness {brightness}")
    print(f"{replaced} worker was killed, and replaced")


if __name__ == "__main__":
    main()
