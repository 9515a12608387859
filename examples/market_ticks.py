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

from memlane import Evicted, Topic

TICKS = 20_000
TICK = struct.Struct("<Qd")  # number, price


def is_evicted(topic: Topic) -> bool:
    """Whether publishers have given up waiting for this process."""
    mine = [one for one in topic.stats()["subscriptions"] if one["pid"] == os.getpid()]
    return bool(mine[0]["when_full"] == "evicted")


def trade(topic: Topic, name: str, started: multiprocessing.Queue[str]) -> None:
    """Count the ticks until the market closes."""
    # Publishers wait for each trader, but for none longer than two seconds without progress.
    with topic.subscribe(when_full="wait", evict_after=2) as ticks:
        started.put(name)
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
            started.put(f"{name}: evicted")
        else:
            started.put(f"{name}: {seen} ticks")


def main() -> None:
    context = multiprocessing.get_context("fork")
    said: multiprocessing.Queue[str] = context.Queue()
    names = ["first", "second", "third", "slow", "killed"]
    with Topic("64 KiB", publishers=1, subscribers=len(names)) as topic:
        traders = [context.Process(target=trade, args=(topic, name, said)) for name in names]
        for trader in traders:
            trader.start()
        for _ in names:
            said.get()
        for number in range(TICKS):
            topic.publish(TICK.pack(number, 100 + number % 7))
        topic.shutdown()
        print(*sorted(said.get() for _ in range(len(names) - 1)), sep="\n")
        for trader in traders:
            trader.join()
    said.close()
    said.join_thread()


if __name__ == "__main__":
    main()
