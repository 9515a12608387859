# SPDX-License-Identifier: MIT
"""
Objects through a queue from one process to another: memlane.Queue, multiprocessing.Queue, and
torch.multiprocessing where there is torch.

    python benchmarks/objects.py [--rounds 5] [--case NAME]

Each round measures every queue once, in turn, since only ratios within one run mean anything; of
each the best round counts. "two copies" is the time to copy the bytes of the object twice.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import memlane

CONTEXT = multiprocessing.get_context("fork")
MESSAGE = {
    "id": 12345,
    "name": "sensor-front-left",
    "values": [1.5, 2.5, 3.5, 4.5],
    "ok": True,
    "stamp": 1234567.89,
    "tags": ["a", "b"],
    "text": "x" * 60,
}
#: What goes through, and how often in a round.
CASES: dict[str, tuple[Any, int]] = {
    "dict of 200 bytes": (MESSAGE, 20_000),
    "array of 64 KiB": (np.zeros(1 << 13), 4_000),
    "array of 1 MB": (np.zeros(125_000), 600),
    "array of 6 MB": (np.zeros(750_000), 120),
    "1,000 small arrays": ([np.zeros(8) for _ in range(1000)], 60),
}


def queues() -> dict[str, Callable[[], Any]]:
    found: dict[str, Callable[[], Any]] = {
        "memlane.Queue": lambda: memlane.Queue(16),
        "multiprocessing.Queue": lambda: CONTEXT.Queue(16),
    }
    try:
        import torch.multiprocessing as of_torch  # type: ignore[import-not-found]
    except ImportError:
        pass
    else:
        found["torch.multiprocessing"] = lambda: of_torch.get_context("fork").Queue(16)
    return found


def consume(queue: Any, count: int, done: Any, borrows: bool) -> None:
    for _ in range(count):
        if borrows:
            with queue.borrow():
                pass
        else:
            queue.get()
    done.send(None)


def seconds(make: Callable[[], Any], thing: Any, count: int, borrows: bool = False) -> float:
    """How long an object takes from one process to the other, one behind the other."""
    queue = make()
    here, there = CONTEXT.Pipe()
    child = CONTEXT.Process(target=consume, args=(queue, count + 10, there, borrows))
    child.start()
    for _ in range(10):
        queue.put(thing)
    began = time.perf_counter()
    for _ in range(count):
        queue.put(thing)
    here.recv()
    taken = time.perf_counter() - began
    child.join()
    queue.close()
    return taken / count


def as_tensors(thing: Any) -> Any:
    """The same for torch's queue, which carries arrays no better than the standard library does."""
    import torch

    if isinstance(thing, np.ndarray):
        return torch.from_numpy(thing.copy())
    return [as_tensors(item) for item in thing] if isinstance(thing, list) else thing


def two_copies(thing: Any) -> float | None:
    if not isinstance(thing, np.ndarray):
        return None
    first, second = np.empty_like(thing), np.empty_like(thing)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        np.copyto(first, thing)
        np.copyto(second, first)
        best = min(best, time.perf_counter() - began)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--case", action="append", choices=list(CASES))
    options = parser.parse_args()
    for case in options.case or CASES:
        thing, count = CASES[case]
        best: dict[str, float] = {}
        for _ in range(options.rounds):
            for name, make in queues().items():
                sent = as_tensors(thing) if name.startswith("torch") else thing
                best[name] = min(best.get(name, float("inf")), seconds(make, sent, count))
            if isinstance(thing, np.ndarray):
                name = "memlane.Queue, borrow"
                taken = seconds(queues()["memlane.Queue"], thing, count, borrows=True)
                best[name] = min(best.get(name, float("inf")), taken)
        copies = two_copies(thing)
        if copies is not None:
            best["two copies"] = copies
        ours = best["memlane.Queue"]
        print(case)
        for name, taken in best.items():
            print(f"  {name:<24}{taken * 1e6:>12.1f} us{taken / ours:>9.2f} of memlane.Queue")


if __name__ == "__main__":
    main()
