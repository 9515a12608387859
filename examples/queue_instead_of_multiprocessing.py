#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
A program of multiprocessing's queues, moved to memlane by one line: the import.

    python examples/queue_instead_of_multiprocessing.py

It kills a worker that waits for a job. A worker that waits in the `get` of a multiprocessing.Queue
has the lock of that queue; with it gone the other workers wait for ever, and so does the program.
Put the import of the comment in place of ours to see it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal

# from multiprocessing import JoinableQueue, Queue
from memlane import JoinableQueue, Queue

WORKERS, JOBS = 3, 100


def work(jobs: JoinableQueue, results: Queue) -> None:
    """Square numbers until there is a None."""
    while (number := jobs.get()) is not None:
        results.put((number, number**2))
        jobs.task_done()
    jobs.task_done()


def main() -> None:
    jobs, results = JoinableQueue(), Queue()
    workers = [multiprocessing.Process(target=work, args=(jobs, results)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for number in range(JOBS):
        jobs.put(number)
    jobs.join()

    os.kill(workers[0].pid or 0, signal.SIGKILL)
    workers[0].join()
    print("a worker was killed while it waited for a job")

    for number in range(JOBS, 2 * JOBS):
        jobs.put(number)
    for _ in workers[1:]:
        jobs.put(None)  # behind all jobs
    jobs.join()
    for worker in workers[1:]:
        worker.join()
    squares = dict(results.get() for _ in range(results.qsize()))
    print(f"{len(squares)} results, their sum is {sum(squares.values())}")


if __name__ == "__main__":
    main()
