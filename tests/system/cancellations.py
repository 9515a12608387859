# SPDX-License-Identifier: MIT
"""
Awaited gets and puts that are canceled at random moments, under load: every record arrives exactly
once.

    python -m tests.system.cancellations                          100,000 on each kind of loop
    python -m tests.system.cancellations --loop trio --count 5000

Gets: a process puts records one to five at a time, and goes on when all of them have come. Tasks
get them, in the loops of two threads, by one handle; each get has a random time, after which it is
canceled. Puts: tasks put the numbers from 0 on into a ring of four records, each put canceled and
repeated until it is through; a process gets them all. No loop looks again by itself, since the
slices are as good as endless: a wake-up that is lost is a hang, which the watchdog tells.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import threading
import time
from collections import Counter
from typing import Any

import anyio

import memlane
from memlane import _event_loops
from memlane.aio import wrap
from tests.support.processes import PATIENCE_S, Child

LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
    "trio": {"backend": "trio"},
}
TASKS = 4
_NUMBER = 8  # bytes


def a_while(chance: random.Random) -> float:
    """Mostly so long that it ends about when something comes."""
    return chance.choice([0, chance.uniform(0, 1e-4), chance.uniform(0, 2e-3)])


def gets(loop: str, cancellations: int, seed: int) -> Counter[str]:
    """Gets that are canceled; what came of them, counted."""
    came: Counter[str] = Counter()
    found: list[int] = []
    chance = random.Random(seed)
    with (
        memlane.Ring("64 KiB") as ring,
        memlane.Counter.create(None) as received,
        memlane.Counter.create(None) as is_over,
    ):

        def put() -> None:
            own, number = random.Random(seed + 1), 0
            while not is_over.value:
                for _ in range(own.randint(1, 5)):
                    ring.put(number.to_bytes(_NUMBER, "little"))
                    number += 1
                while received.value < number and not is_over.value:
                    time.sleep(0)
                if own.random() < 0.3:
                    time.sleep(own.uniform(0, 1e-3))
            ring.shutdown()

        async def get_some() -> None:
            while True:
                record = None
                with anyio.move_on_after(a_while(chance)):
                    record = await awaited.get()
                if record is None:
                    came["canceled"] += 1
                    if came["canceled"] == cancellations:
                        is_over.add(1)
                    continue
                found.append(int.from_bytes(record, "little"))
                came["got"] += 1
                received.add(1)

        async def get_all() -> None:
            async with anyio.create_task_group() as group:
                for _ in range(TASKS):
                    group.start_soon(until_the_end)

        async def until_the_end() -> None:
            try:
                await get_some()
            except memlane.ShutDown:
                pass

        awaited = wrap(ring)
        with Child(put) as child:
            other = threading.Thread(target=anyio.run, args=[get_all], kwargs=LOOPS[loop])
            other.start()
            anyio.run(get_all, **LOOPS[loop])
            other.join()
            assert child.wait() == 0
    assert list(range(len(found))) == sorted(found), "lost or doubled"
    return came


def puts(loop: str, cancellations: int, seed: int) -> Counter[str]:
    """Puts that are canceled; what came of them, counted."""
    came: Counter[str] = Counter()
    chance = random.Random(seed)
    with memlane.Ring("4 KiB", records=4) as ring, memlane.Ring("1 MiB") as back:

        def get() -> None:
            own, seen = random.Random(seed + 1), [0] * TASKS
            for record in ring:
                task, number = record[0], int.from_bytes(record[1:], "little")
                assert number == seen[task], "lost, doubled or out of order"
                seen[task] += 1
                if own.random() < 0.3:
                    time.sleep(own.uniform(0, 1e-3))
            back.put(bytes(8) + b"".join(count.to_bytes(8, "little") for count in seen))

        async def put_some(task: int) -> None:
            number = 0
            while came["canceled"] < cancellations:
                with anyio.move_on_after(a_while(chance)) as scope:
                    await awaited.put(bytes([task]) + number.to_bytes(_NUMBER, "little"))
                    number += 1
                came["canceled" if scope.cancelled_caught else "put"] += 1
            numbers[task] = number

        async def put_all() -> None:
            async with anyio.create_task_group() as group:
                for task in range(TASKS):
                    group.start_soon(put_some, task)

        awaited, numbers = wrap(ring), [0] * TASKS
        with Child(get) as child:
            anyio.run(put_all, **LOOPS[loop])
            ring.shutdown()
            told = back.get(timeout=PATIENCE_S)[8:]
            assert child.wait() == 0
        seen = [int.from_bytes(told[i : i + 8], "little") for i in range(0, len(told), 8)]
        assert numbers == seen, "lost or doubled"
    return came


def main() -> int:
    parser = argparse.ArgumentParser(description="cancel awaited gets and puts at random moments")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="default: all")
    parser.add_argument("--count", type=int, default=100_000, help="cancellations of each")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    _event_loops.SLICE_S = _event_loops.POLL_S = 1e6
    for loop in asked.loop or LOOPS:
        for side in (gets, puts):
            faulthandler.dump_traceback_later(PATIENCE_S + asked.count * 0.02, exit=True)
            began = time.monotonic()
            came = side(loop, asked.count, asked.seed)
            counts = ", ".join(f"{count} {what}" for what, count in sorted(came.items()))
            print(f"{loop}, {side.__name__}: {counts}; {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
