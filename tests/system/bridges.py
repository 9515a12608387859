# SPDX-License-Identifier: MIT
"""
Kill bridges while records go over them, and look for each record: lost, doubled, out of order.

    python -m tests.system.bridges [--kills 500] [--seed 1]

Either bridge, or both, are killed with SIGKILL at random moments and started again.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import threading
import time
import uuid

from memlane import Empty, Ring, ShutDown
from tests.support.bridges import BridgeProcess, removed
from tests.support.processes import PATIENCE_S
from tests.support.proxy import free_port

#: Records of one producer, numbered.
_PRODUCERS = 2


def run(kills: int, seed: int) -> list[str]:
    """What was wrong, as texts."""
    chance = random.Random(seed)
    name, port = f"bridges-{uuid.uuid4().hex[:8]}", free_port()
    far_name = f"{name}-far"
    wrong: list[str] = []
    counts = [0] * _PRODUCERS
    seen = [0] * _PRODUCERS
    with (
        removed(name, far_name),
        Ring.create(name, capacity=1 << 18, producers=_PRODUCERS) as near,
        Ring.create(far_name, capacity=1 << 18, producers=_PRODUCERS) as far,
        BridgeProcess("--listen", f"tcp/127.0.0.1:{port}", "--allow", far_name) as there,
        BridgeProcess(
            *("--connect", f"tcp/127.0.0.1:{port}", "--carry", f"ring:{name}"),
            *("--rename", f"{name}={far_name}", "--name", "here"),
        ) as here,
    ):
        ended = threading.Event()

        def put(index: int) -> None:
            producer = near.producer()
            with contextlib.suppress(ShutDown):
                while not ended.is_set():
                    payload = b"%d %d " % (index, counts[index])
                    producer.put(payload.ljust(32 + counts[index] % 700), timeout=PATIENCE_S)
                    counts[index] += 1

        def get() -> None:
            while True:
                try:
                    records = far.get_many(1000, timeout=0.1)
                except Empty:
                    if ended.is_set() and seen == counts:
                        return
                    if ended.is_set() and time.monotonic() > deadline:
                        wrong.append(f"lost: {seen} of {counts} arrived")
                        return
                    continue
                for record in records:
                    index, number = map(int, record.split()[:2])
                    if number != seen[index]:
                        wrong.append(f"producer {index}: {number} in place of {seen[index]}")
                    seen[index] = number + 1

        deadline = float("inf")
        threads = [threading.Thread(target=put, args=(index,)) for index in range(_PRODUCERS)]
        taker = threading.Thread(target=get)
        for thread in (*threads, taker):
            thread.start()
        for kill in range(kills):
            time.sleep(chance.random() * 0.3)
            for process in chance.choice([[here], [there], [here, there], [there, here]]):
                process.kill()
                process.start()
            if kill % 25 == 24:
                print(f"{kill + 1} kills, {seen} records", flush=True)
            if wrong:
                break
        ended.set()
        for thread in threads:
            thread.join()
        deadline = time.monotonic() + 60
        taker.join()
        here.end()
        there.end()
    print(f"{kills} kills, {sum(seen)} records: {len(wrong)} mistakes")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    wrong = run(arguments.kills, arguments.seed)
    print(*wrong[:20], sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
