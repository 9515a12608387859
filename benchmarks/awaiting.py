# SPDX-License-Identifier: MIT
"""
What waiting in an event loop costs, in one run: awaited gets beside blocking ones, beside a bare
eventfd in the same loop, and beside what others offer for asyncio.

    build/alternatives/bin/python benchmarks/awaiting.py
    build/alternatives/bin/python benchmarks/awaiting.py --rounds 21 --json

Something there: a get that does not wait, and an awaited one, of a ring that is full of records.
Asleep: another process is silent for ten milliseconds, then sends the time; how long ago that was
is told by the receiver, from 30 records a round. Each round measures everybody once; figures are
medians over the rounds. Idle: processor time of a loop in which 1,000 tasks wait. What is not
installed is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import mmap
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import memlane
from memlane.aio import wrap

SILENCE_S, RECORDS, GETS = 0.01, 30, 2000
IDLE_TASKS = 1000
LOOPS = ("asyncio", "uvloop", "trio")

Get = Callable[[], Awaitable[int]]


def stamp() -> bytes:
    return time.monotonic_ns().to_bytes(8, "little")


def age_us(record: bytes) -> float:
    return (time.monotonic_ns() - int.from_bytes(record, "little")) / 1000


def run(loop: str, main: Callable[[], Any]) -> Any:
    if loop == "trio":
        return importlib.import_module("trio").run(main)
    if loop == "uvloop":
        return importlib.import_module("uvloop").run(main())
    return asyncio.run(main())


@contextmanager
def sending(
    send: Callable[[bytes], object], end: Callable[[], object] = lambda: None
) -> Iterator[None]:
    """A process that sends the time, again and again, each time after some silence; then *end*."""
    pid = os.fork()
    if pid == 0:
        try:
            time.sleep(0.05)
            for _ in range(RECORDS):
                time.sleep(SILENCE_S)
                send(stamp())
            end()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    try:
        yield
    finally:
        os.waitpid(pid, 0)


# ---- asleep --------------------------------------------------------------------------------------


def blocking() -> list[float]:
    with memlane.Ring(wait="sleep") as ring, sending(ring.put):
        return [age_us(ring.get()) for _ in range(RECORDS)]


def awaited(loop: str) -> list[float]:
    async def main() -> list[float]:
        get = wrap(ring).get
        return [age_us(await get()) for _ in range(RECORDS)]

    with memlane.Ring() as ring, sending(ring.put):
        return list(run(loop, main))


def bare(loop: str) -> list[float]:
    """An eventfd in the loop, and the time in shared memory: the least that can be done."""
    number = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
    shared = mmap.mmap(-1, 8)

    def send(record: bytes) -> None:
        shared[:8] = record
        os.eventfd_write(number, 1)

    async def main_of_trio() -> list[float]:
        trio = importlib.import_module("trio")
        found = []
        for _ in range(RECORDS):
            await trio.lowlevel.wait_readable(number)
            os.eventfd_read(number)
            found.append(age_us(shared[:8]))
        return found

    async def main() -> list[float]:
        running = asyncio.get_running_loop()
        found = []

        def readable() -> None:
            os.eventfd_read(number)
            future.set_result(None)

        future: asyncio.Future[None] = running.create_future()
        running.add_reader(number, readable)
        for _ in range(RECORDS):
            await future
            found.append(age_us(shared[:8]))
            future = running.create_future()
        running.remove_reader(number)
        return found

    try:
        with sending(send):
            return list(run(loop, main_of_trio if loop == "trio" else main))
    finally:
        os.close(number)
        shared.close()


def queue_of_a_thread() -> list[float]:
    """The usual recipe: a thread waits for a pipe, and hands on to an asyncio.Queue."""
    read_end, write_end = os.pipe()

    async def main() -> list[float]:
        running = asyncio.get_running_loop()
        queue: asyncio.Queue[bytes] = asyncio.Queue()

        def feed() -> None:
            for _ in range(RECORDS):
                running.call_soon_threadsafe(queue.put_nowait, os.read(read_end, 8))

        thread = threading.Thread(target=feed)
        thread.start()
        found = [age_us(await queue.get()) for _ in range(RECORDS)]
        thread.join()
        return found

    try:
        with sending(lambda record: os.write(write_end, record)):
            return asyncio.run(main())
    finally:
        os.close(read_end)
        os.close(write_end)


def pyzmq() -> list[float]:
    zmq = importlib.import_module("zmq")
    zmq_asyncio = importlib.import_module("zmq.asyncio")
    directory = tempfile.mkdtemp()
    sockets: list[Any] = []

    def send(record: bytes) -> None:
        if not sockets:
            sockets.append(zmq.Context().socket(zmq.PUSH))
            sockets[0].connect(f"ipc://{directory}/socket")
        sockets[0].send(record)

    async def main() -> list[float]:
        with zmq_asyncio.Context() as context, context.socket(zmq.PULL) as socket:
            socket.bind(f"ipc://{directory}/socket")
            return [age_us(await socket.recv()) for _ in range(RECORDS)]

    try:
        # a thread of pyzmq sends: what it has not sent yet is lost if the process just exits
        with sending(send, lambda: sockets[0].context.destroy(linger=-1)):
            return asyncio.run(main())
    finally:
        shutil.rmtree(directory)


def mmbus() -> list[float]:
    module = importlib.import_module("mmbus")
    directory = tempfile.mkdtemp()
    publishers: list[Any] = []

    def bus() -> Any:
        return module.Bus("bench", base_dir=directory, wal_enabled=False)

    def send(record: bytes) -> None:
        if not publishers:
            publishers.append(bus().topic("it"))
            publishers[0].wait_for_subscribers(1)
        publishers[0].publish(record)

    async def main() -> list[float]:
        subscription = await bus().subscribe_async("it")
        return [age_us(await subscription.recv()) for _ in range(RECORDS)]

    try:
        with sending(send):
            return asyncio.run(main())
    finally:
        shutil.rmtree(directory)


def sharedbox() -> list[float]:
    module = importlib.import_module("sharedbox")
    item = Annotated[bytes, module.Capacity(8)]
    name = f"awaiting{os.getpid()}"
    stream = module.SharedStream.create(item, name, capacity=64, max_readers=1)
    senders: list[Any] = []

    def send(record: bytes) -> None:
        if not senders:
            senders.append(module.SharedStream.attach(item, name).sender())
        senders[0].send(record)

    async def main() -> list[float]:
        found: list[float] = []
        async for record in stream.reader("lossless", start="oldest"):
            found.append(age_us(record))
            if len(found) == RECORDS:
                break
        return found

    try:
        with sending(send):
            return asyncio.run(main())
    finally:
        stream.close()
        module.SharedStream.unlink(name)


ASLEEP: dict[str, tuple[str, Callable[[], list[float]]]] = {
    'memlane, blocking, wait="sleep"': ("", blocking),
    **{f"memlane, {loop}": (loop, partial(awaited, loop)) for loop in LOOPS},
    **{f"bare eventfd, {loop}": (loop, partial(bare, loop)) for loop in LOOPS},
    "asyncio.Queue fed by a thread": ("", queue_of_a_thread),
    "pyzmq, zmq.asyncio": ("zmq", pyzmq),
    "mmbus, subscribe_async": ("mmbus", mmbus),
    "sharedbox, async for": ("sharedbox", sharedbox),
}


# ---- something there, and idle -------------------------------------------------------------------


def something_there(loop: str) -> tuple[float, float]:
    """What a get that finds a record takes, in µs: `get_nowait`, and awaited."""

    async def main() -> tuple[float, float]:
        get_nowait, get = ring.get_nowait, wrap(ring).get
        for _ in range(2 * GETS):
            ring.put(b"a record")
        began = time.perf_counter()
        for _ in range(GETS):
            get_nowait()
        between = time.perf_counter()
        for _ in range(GETS):
            await get()
        ended = time.perf_counter()
        return (between - began) / GETS * 1e6, (ended - between) / GETS * 1e6

    with memlane.Ring("1 MiB") as ring:
        plain, awaited = run(loop, main)
    return plain, awaited


def idle_percent(loop: str, seconds: float, kind: str) -> float:
    """Processor time of this process while tasks wait for what never comes."""

    async def measure(sleep: Callable[[float], Awaitable[None]]) -> float:
        await sleep(0.5)
        began = time.process_time()
        await sleep(seconds)
        return (time.process_time() - began) / seconds * 100

    async def main() -> float:
        with (
            memlane.Ring() as ring,
            memlane.SlotTable.create(None, IDLE_TASKS, "d") as table,
        ):
            rows, records = wrap(table), wrap(ring)

            async def wait(index: int) -> None:
                if kind == "one ring":
                    await records.get()
                else:
                    await rows[index].wait_newer(0)

            if loop == "trio":
                trio = importlib.import_module("trio")
                async with trio.open_nursery() as nursery:
                    for index in range(IDLE_TASKS):
                        nursery.start_soon(wait, index)
                    percent = await measure(trio.sleep)
                    nursery.cancel_scope.cancel()
                return percent
            tasks = [asyncio.create_task(wait(index)) for index in range(IDLE_TASKS)]
            percent = await measure(asyncio.sleep)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return percent

    return float(run(loop, main))


def is_there(module: str) -> bool:
    return not module or importlib.util.find_spec(module) is not None


def main() -> int:
    parser = argparse.ArgumentParser(description="what waiting in an event loop costs")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--idle", type=float, default=5.0, help="seconds; 0: not measured")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    loops = [loop for loop in LOOPS if is_there(loop)]
    asleep = {name: how for name, (module, how) in ASLEEP.items() if is_there(module)}
    there: dict[str, list[tuple[float, float]]] = {loop: [] for loop in loops}
    found: dict[str, list[float]] = {name: [] for name in asleep}
    for _ in range(asked.rounds):
        for loop in loops:
            there[loop].append(something_there(loop))
        for name, how in asleep.items():
            found[name].append(statistics.median(how()))
    base = 'memlane, blocking, wait="sleep"'
    result: dict[str, Any] = {
        "there_us": {
            loop: {
                "get_nowait": statistics.median(plain for plain, _ in samples),
                "more_awaited": statistics.median(slow - plain for plain, slow in samples),
            }
            for loop, samples in there.items()
        },
        "asleep_us": {name: statistics.median(samples) for name, samples in found.items()},
        "to_blocking": {
            name: statistics.median(a / b for a, b in zip(samples, found[base], strict=True))
            for name, samples in found.items()
        },
        "to_eventfd": {
            loop: statistics.median(
                a / b
                for a, b in zip(
                    found[f"memlane, {loop}"], found[f"bare eventfd, {loop}"], strict=True
                )
            )
            for loop in loops
        },
        "idle_percent": {
            f"{loop}, {kind}": idle_percent(loop, asked.idle, kind)
            for loop in loops
            for kind in ("one ring", "a slot each")
            if asked.idle
        },
    }
    if asked.json:
        print(json.dumps(result, indent=1))
        return 0
    for loop, one in result["there_us"].items():
        print(f"there, {loop}: {one['get_nowait']:.2f} us, awaited {one['more_awaited']:.2f} more")
    for name, median in result["asleep_us"].items():
        print(f"asleep, {name}: {median:.1f} us, {result['to_blocking'][name]:.2f} of blocking")
    for loop, ratio in result["to_eventfd"].items():
        print(f"asleep, {loop}: {ratio:.2f} of a bare eventfd")
    for name, percent in result["idle_percent"].items():
        print(f"idle, {name}: {percent:.2f} % of a processor")
    return 0


if __name__ == "__main__":
    sys.exit(main())
