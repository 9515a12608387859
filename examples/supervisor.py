#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
One loop that waits for results, for signals and for the ends of its workers: a worker that is
killed is replaced, and its job goes to another one.

    python examples/supervisor.py
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket

import memlane

WORKERS, JOBS = 3, 20


def work(jobs: memlane.Ring, results: memlane.Ring) -> None:
    """Square numbers until the jobs end."""
    for job in jobs.borrowed():  # a job on loan goes to another worker if this one dies
        number = int(bytes(job))
        if number == 7 and not job.redelivered:
            os.kill(os.getpid(), signal.SIGKILL)
        results.put(b"%d %d" % (number, number**2))


def take(results: memlane.Ring, squares: dict[int, int]) -> None:
    """Take all results that are there."""
    try:
        while True:
            number, square = map(int, results.get_nowait().split())
            squares[number] = square
    except memlane.Empty:
        pass


def main() -> None:
    context = multiprocessing.get_context("fork")
    signaled, at_signal = socket.socketpair()
    with (
        signaled,
        at_signal,
        memlane.Ring(producers=1, consumers="many") as jobs,
        memlane.Ring(producers=WORKERS) as results,
    ):

        def start() -> None:
            worker = context.Process(target=work, args=(jobs, results))
            worker.start()
            workers[worker.sentinel] = worker

        workers: dict[int, multiprocessing.context.ForkProcess] = {}
        squares: dict[int, int] = {}
        killed = 0
        for _ in range(WORKERS):
            start()
        at_signal.setblocking(False)
        signal.signal(signal.SIGTERM, lambda *_: None)
        signal.set_wakeup_fd(at_signal.fileno())
        jobs.put_many(b"%d" % number for number in range(JOBS))

        while workers:
            for ready in memlane.wait([results, signaled, *workers]):
                if ready is results:
                    take(results, squares)
                    if len(squares) == JOBS and not jobs.is_shut_down:
                        os.kill(os.getpid(), signal.SIGTERM)  # as an operator would
                elif ready is signaled:
                    signaled.recv(64)
                    jobs.shutdown()
                else:
                    worker = workers.pop(ready)
                    worker.join()
                    killed += worker.exitcode == -signal.SIGKILL
                    if not jobs.is_shut_down:
                        start()
        signal.set_wakeup_fd(-1)

    print(f"{len(squares)} squares, their sum is {sum(squares.values())}")
    print(f"{killed} worker was killed, and SIGTERM ended the others")


if __name__ == "__main__":
    main()
