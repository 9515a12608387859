#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
Market ticks to five subscribers, of which one is slow and one is killed: the others see every tick,
and the publisher never hangs.

    python examples/market_ticks.py
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import struct
import time

from memlane import Evicted, Ring, Topic

TICKS = 20_000
TICK = struct.Struct("<Qd")  # number, price


def is_evicted(topic: Topic) -> bool:
    """Whether publishers have given up waiting for this process."""
    mine = [one for one in topic.stats()["subscriptions"] if one["pid"] == os.getpid()]
    return bool(mine[0]["when_full"] == "evicted")


def trade(topic: Topic, name: str, said: Ring) -> None:
    """Count the ticks until the market closes."""
    # Publishers wait for each trader, but for none longer than two seconds without progress.
    with topic.subscribe(when_full="wait", evict_after=2) as ticks:
        said.put(b"ready")
        seen = 0
        try:
            for number, _price in map(TICK.unpack, ticks):
                assert number == seen
                seen += 1
                if name == "killed" and seen == 1000:
                    os.kill(os.getpid(), signal.SIGKILL)
                while name == "slow" and seen == 1000 and not is_evicted(topic):
                    time.sleep(0.01)
        except Evicted:
            said.put(f"{name}: evicted".encode())
        else:
            said.put(f"{name}: {seen} ticks".encode())


def main() -> None:
    context = multiprocessing.get_context("fork")
    names = ["first", "second", "third", "slow", "killed"]
    # A multiprocessing.Queue would hang now and then: the killed process may have its lock.
    with (
        Ring(producers=len(names)) as said,
        Topic("64 KiB", publishers=1, subscribers=len(names)) as topic,
    ):
        traders = [context.Process(target=trade, args=(topic, name, said)) for name in names]
        for trader in traders:
            trader.start()
        for _ in names:
            said.get()
        for number in range(TICKS):
            topic.publish(TICK.pack(number, 100 + number % 7))
        topic.shutdown()
        print(*sorted(line.decode() for line in said.records(until=traders)), sep="\n")
        for trader in traders:
            trader.join()


if __name__ == "__main__":
    main()
