# SPDX-License-Identifier: MIT
"""
Any byte of a region corrupted: every verb gives data or a typed error, and none crashes or hangs.

    python -m tests.system.fuzz_region --inputs 100000
    python -m tests.system.fuzz_region --way rest --first 4711 --inputs 1

An input is a number; from it follows what is corrupted, where and how often, and what is called
then. Three ways:

- **rest**: a file is corrupted while nobody has it open, then opened, and all that is in it is
used.
- **between**: a memfd region is corrupted between two verbs of one who uses it.
- **fire**: another process spoils it as fast as it can while verbs are called. Here the number
  does not settle what happens.

A child does the work and writes down which input it is at. Its parent tells a crash (the child died
of a signal) and a hang (no input was finished for `--patience` seconds). The same for src/core in
C, with the address sanitizer, is tests/core/hostile.c.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import mmap
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import memlane
from tests.support.processes import PATIENCE_S, die_with_parent, forked
from tests.support.region_files import (
    DIRECTORY,
    OBJECTS,
    SELECTORS,
    field,
    semaphores,
    set_field,
)

#: The share of each in all inputs: opening a file takes longest.
WAYS = {"rest": 0.1, "between": 0.6, "fire": 0.3}
#: How many inputs one region serves before it is made anew.
INPUTS_A_REGION = 25
PAGE = 4096
#: By docs/layout.md: where the parts of a region that has few objects lie.
HEADER, TABLE = 0, PAGE
ENTRY_NBYTES = 1024

Outcome = Counter[str]
Verb = Callable[[random.Random], object]


def furnish(region: memlane.Region) -> None:
    """One object of each kind; some records, values and counts in them."""
    one = region.ring("one", capacity="4 KiB", producers=2, consumers="one", records=16)
    many = region.ring("many", capacity="4 KiB", producers=2, consumers="many", records=16)
    region.slot("slot", "4d").publish((1.0, 2.0, 3.0, 4.0))
    region.slot("bytes", 100, writers="many").publish(b"x" * 100)
    region.counter("counter").add(7)
    topic = region.topic("topic", capacity="4 KiB", publishers=2, subscribers=4, records=16)
    ordered = region.topic(
        "ordered", capacity="4 KiB", publishers=2, subscribers=4, records=16, order="all"
    )
    region.map("map", entries=8, value="q", watchers=2).update({"a": 1, b"b": 2, 3: 3})
    region.event("event")
    region.lock("lock")
    region.counters("counters", 3)[1].add(1)
    for size in (0, 1, 100, 1000):
        topic.publish(b"t" * size)
        ordered.publish(b"t" * size)
    for ring in (one, many):
        for size in (0, 1, 100, 1000):
            ring.put(b"r" * size)
        ring.get()


def verbs_of(region: memlane.Region) -> list[Verb]:
    """Everything that can be called; each looks its object up first, as a newcomer does."""

    def ring(choose: random.Random) -> memlane.Ring:
        return region.ring(choose.choice(("one", "many")))

    def put(choose: random.Random) -> None:
        ring(choose).put(b"p" * choose.randrange(4200), timeout=0)

    def put_many(choose: random.Random) -> None:
        records = [b"m" * choose.randrange(600) for _ in range(choose.randrange(20))]
        ring(choose).put_many(records, timeout=0)

    def reserve(choose: random.Random) -> None:
        with ring(choose).reserve(choose.randrange(4200), timeout=0) as room:
            room[:] = bytes(len(room))
            if choose.random() < 0.3:
                room.abort()

    def get(choose: random.Random) -> None:
        found = ring(choose)
        assert len(found.get(timeout=choose.choice((0, 0, 0, 0.001)))) <= found.max_record

    def get_many(choose: random.Random) -> None:
        found = ring(choose)
        assert all(len(r) <= found.max_record for r in found.get_many(20, timeout=0))

    def get_into(choose: random.Random) -> None:
        with contextlib.suppress(ValueError):  # larger than the buffer
            ring(choose).get_into(bytearray(choose.choice((0, 4096))), timeout=0)

    def borrow(choose: random.Random) -> None:
        with ring(choose).borrow(timeout=0) as record, ring(choose).borrow(timeout=0) as another:
            assert len(bytes(record)) + len(bytes(another)) <= 2 * 4096

    def hand_over(choose: random.Random) -> None:
        with ring(choose).producer() as sender, ring(choose).consumer() as receiver:
            sender.put(b"h", timeout=0)
            receiver.get(timeout=0)

    def look(choose: random.Random) -> None:
        found = ring(choose)
        assert 0 <= len(found) <= 2 * 16
        found.stats()

    def publish(choose: random.Random) -> None:
        region.slot("slot").publish((choose.random(),) * 4)
        region.slot("bytes").publish(b"y" * 100)

    def read(choose: random.Random) -> None:
        slot = region.slot(choose.choice(("slot", "bytes")))
        value, version = slot.read_versioned()
        assert len(value) in (4, slot.nbytes)  # the length, too, may have been spoilt
        slot.read_into(bytearray(slot.nbytes))
        with contextlib.suppress(TimeoutError):
            slot.wait_newer(version, timeout=0)

    def count(choose: random.Random) -> None:
        found = region["counter"]  # `counter()` would make one where it finds none
        if isinstance(found, memlane.Counter):
            found.add(1)

    def keys(choose: random.Random) -> None:
        m = region.map("map")
        key = choose.choice(("a", b"b", 3, choose.randrange(20)))
        with contextlib.suppress(TimeoutError):  # of a writer that is none
            choose.choice(
                (
                    lambda: m.set(key, 5, timeout=0),
                    lambda: m.add(key, timeout=0),
                    lambda: m.pop(key, None, timeout=0),
                    lambda: m.get(key),
                    lambda: list(m.items()),
                    lambda: m.wait_newer(key, 0, timeout=0),
                )
            )()

    def lock_and_set(choose: random.Random) -> None:
        lock, event = region.lock("lock"), region.event("event")
        with contextlib.suppress(RuntimeError):  # of an owner that is not
            if lock.acquire(timeout=0):
                lock.release()
        choose.choice((event.set, event.clear, lambda: event.wait(timeout=0)))()

    def count_in_array(choose: random.Random) -> None:
        counters = region.counters("counters")
        counters[choose.randrange(min(len(counters), 3))].add(1)

    def topic(choose: random.Random) -> memlane.Topic:
        return region.topic(choose.choice(("topic", "ordered")))

    def subscribe(choose: random.Random) -> memlane.Subscriber:
        return topic(choose).subscribe(
            choose.choice(("now", "oldest", "last")),
            when_full=choose.choice(("overwrite", "wait")),
        )

    def publish_records(choose: random.Random) -> None:
        found = topic(choose)
        found.publish(b"p" * choose.randrange(4000), timeout=0)
        found.publish_many([b"p" * choose.randrange(400)] * 5, timeout=0)
        with found.reserve(choose.randrange(400), timeout=0) as room:
            room[:1] = b"r"[: len(room)]

    def get_all(choose: random.Random) -> None:
        with subscribe(choose) as subscriber:
            topic(choose).publish(b"n" * 40, timeout=0)
            subscriber.get(timeout=0)
            with subscriber.borrow(timeout=0) as record:
                bytes(memoryview(record))
            subscriber.get_many(20, timeout=0)
            assert subscriber.lost >= 0
            assert 0 <= subscriber.lag <= 2 * 16
            str(subscriber.position)
            subscriber.stalled(after=1)

    def fill(choose: random.Random) -> None:
        found = topic(choose)
        with found.subscribe("oldest", when_full="wait", evict_after=0.001) as slow:
            loan = slow.borrow(timeout=0)
            for _ in range(20):
                found.publish(b"f" * 200, timeout=0.002)
            loan.release()
            slow.get(timeout=0)

    def look_at_topic(choose: random.Random) -> None:
        found = topic(choose)
        found.peek(5)
        found.stats()

    def list_all(choose: random.Random) -> None:
        try:
            assert all(isinstance(name, str) for name in region)
        except memlane.CorruptedError as error:  # no entry hides the others
            raise AssertionError("the directory is not listed") from error
        region.stats()
        region.participants()

    def add(choose: random.Random) -> None:
        if choose.random() < 0.05:
            try:
                made = region.slot(f"new {choose.randrange(4)}", "d")
            except ValueError:  # by a count that is corrupted the directory or the region is full
                return
            made.publish((1.0,))

    def remove(choose: random.Random) -> None:
        """Make, use, remove and make again, so that gaps, entries and sequences are used again."""
        if choose.random() < 0.3:
            name = f"new {choose.randrange(4)}"
            try:
                for _ in range(2):
                    if choose.random() < 0.5:
                        region.slot(name, "d").publish((1.0,))
                    else:
                        region.ring(name, capacity=PAGE, producers=1, records=4).put(b"r")
                    region.remove(name)
            except ValueError:  # by a count that is corrupted the directory or the region is full
                return

    verbs: list[Verb] = [put, put_many, reserve, get, get_many, get_into, borrow, hand_over]
    verbs += [publish_records, publish_records, get_all, get_all, fill, look_at_topic]
    verbs += [keys, keys, lock_and_set, count_in_array]
    return [*verbs, look, publish, read, count, list_all, add, remove]


#: What a call may raise when bytes are corrupted, beside data that may be wrong.
TYPED = (memlane.MemlaneError, KeyError)


def call(verbs: list[Verb], choose: random.Random, times: int, outcome: Outcome) -> bool:
    """Call some verbs; False: the region is of no use any more."""
    for _ in range(times):
        try:
            choose.choice(verbs)(choose)
        except TYPED as error:
            outcome[type(error).__name__] += 1
            if isinstance(error, memlane.ClosedError | memlane.ShutDown):
                return False
        else:
            outcome["data"] += 1
    return True


# ---- spoiling ------------------------------------------------------------------------------------


def places(nbytes: int) -> list[tuple[int, int]]:
    """From, to: what is looked at often, and everything."""
    rings = OBJECTS, min(nbytes, OBJECTS + 40 * PAGE)
    return [
        (HEADER, 128),
        (512, 768),
        (TABLE, SELECTORS),
        (DIRECTORY, DIRECTORY + 8 * ENTRY_NBYTES),
        rings,
        rings,
        rings,
        (HEADER, nbytes),
    ]


def spoil(view: memoryview, where: list[tuple[int, int]], choose: random.Random) -> None:
    """One byte or word: a bit of it, or another number."""
    start, end = choose.choice(where)
    at = choose.randrange(start, end)
    way = choose.randrange(6)
    if way < 2:
        view[at] ^= 1 << choose.randrange(8) if way else choose.randrange(256)
        return
    at -= at % 8
    old = int.from_bytes(view[at : at + 8], "little")
    new = {
        2: old ^ 1 << choose.randrange(64),
        3: old + choose.randrange(-4, 5),
        4: choose.choice((0, 2**64 - 1, 2**63, 2**32 - 1, 1, 2)),
        5: choose.getrandbits(64),
    }[way]
    view[at : at + 8] = (new % 2**64).to_bytes(8, "little")


# ---- the ways ------------------------------------------------------------------------------------


def rest(inputs: Iterator[int], outcome: Outcome) -> None:
    """Spoil a file that nobody has open, open it, use what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "region")
        with memlane.Region.create(path, "192 KiB") as region:
            furnish(region)
        sound, own = path.read_bytes(), field(path, "region_id")
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            view = memoryview(mapped)
            where = places(len(sound))
            for number in inputs:
                choose = random.Random(number)
                view[:] = sound
                for _ in range(choose.choice((1, 1, 2, 8))):
                    spoil(view, where, choose)
                try:
                    with memlane.Region.open(path) as region:
                        call(verbs_of(region), choose, 8, outcome)
                except TYPED as error:
                    outcome[f"open: {type(error).__name__}"] += 1
                remove_semaphores(path, own)
            view.release()
        set_field(path, "region_id", own)
        remove_semaphores(path, 0)


def remove_semaphores(path: Path, but: int) -> None:
    """A region whose id was corrupted is given semaphores of that id, which are its own."""
    region_id = field(path, "region_id")
    if region_id != but:
        for semaphore in semaphores(region_id).values():
            semaphore.unlink()


@contextlib.contextmanager
def used_region() -> Iterator[tuple[memlane.Region, memoryview]]:
    """A region of no name, and a second mapping of it through a description of its own."""
    with memlane.Region.create(None, "192 KiB") as region:
        furnish(region)
        descriptor = os.open(f"/proc/self/fd/{region._member.base}", os.O_RDWR | os.O_CLOEXEC)
        try:
            mapped = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        view = memoryview(mapped)
        try:
            yield region, view
        finally:
            view.release()
            mapped.close()


def between(inputs: Iterator[int], outcome: Outcome) -> None:
    """Spoil a region between verbs of one who uses it."""
    for number in inputs:
        with used_region() as (region, view):
            verbs, where = verbs_of(region), places(len(view))
            left = INPUTS_A_REGION
            while True:
                choose = random.Random(number)
                for _ in range(choose.choice((1, 1, 2, 4))):
                    spoil(view, where, choose)
                left -= 1
                if not call(verbs, choose, 3, outcome) or left == 0:
                    break
                following = next(inputs, None)
                if following is None:
                    break
                number = following


def fire(inputs: Iterator[int], outcome: Outcome) -> None:
    """Call verbs while another process spoils as fast as it can."""
    for number in inputs:
        with used_region() as (region, view):
            verbs, where = verbs_of(region), places(len(view))
            spoiler = os.fork()
            if spoiler == 0:
                die_with_parent()
                choose = random.Random(number)
                while True:
                    spoil(view, where, choose)
            try:
                left = INPUTS_A_REGION
                while call(verbs, random.Random(number), 3, outcome) and left:
                    left -= 1
                    following = next(inputs, None)
                    if following is None:
                        break
                    number = following
            finally:
                os.kill(spoiler, signal.SIGKILL)
                os.waitpid(spoiler, 0)


# ---- the watchdog --------------------------------------------------------------------------------


def work(way: str, first: int, count: int, report: int, at: memoryview) -> None:
    """The child: does the inputs, and writes what came of them into a pipe."""
    outcome: Outcome = Counter()

    def numbers() -> Iterator[int]:
        for number in range(first, first + count):
            at[0] = number
            yield number
        at[0] = first + count

    {"rest": rest, "between": between, "fire": fire}[way](numbers(), outcome)
    os.write(report, json.dumps(outcome).encode())


def watch(way: str, first: int, count: int, patience_s: float, shows: bool) -> dict[str, Any]:
    """Run inputs in a child; what came of them, and whether it crashed or hung."""
    shared = mmap.mmap(-1, PAGE)
    at = memoryview(shared).cast("Q")
    at[0] = first
    receiver, sender = os.pipe()
    began = time.monotonic()

    def run() -> None:
        die_with_parent()
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1)
        work(way, first, count, sender, at)

    child = forked(run)
    os.close(sender)
    seen, seen_at, hangs = first, time.monotonic(), 0
    ended: int | None = None
    while ended is None:
        pid, wait_status = os.waitpid(child, os.WNOHANG)
        if pid:
            ended = os.waitstatus_to_exitcode(wait_status)
        elif at[0] != seen:
            seen, seen_at = at[0], time.monotonic()
        elif time.monotonic() - seen_at > patience_s:
            hangs = 1
            print(f"hostile.py: --way {way} --first {seen}: hangs", file=sys.stderr)
            os.kill(child, signal.SIGUSR1)
            time.sleep(0.5)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            ended = 0
        if shows:
            print(f"\r{way}: {at[0] - first} of {count} inputs ", end="", file=sys.stderr)
        time.sleep(0.01)
    if shows:
        print(file=sys.stderr)
    if ended:
        print(f"hostile.py: --way {way} --first {at[0]}: ended with {ended}", file=sys.stderr)
    with open(receiver, "rb") as pipe:
        outcome = json.loads(pipe.read() or b"{}")
    done = at[0] - first
    at.release()
    shared.close()
    return {
        "way": way,
        "inputs": done,
        "seconds": round(time.monotonic() - began, 1),
        "crashes": int(ended < 0),
        "untyped": int(ended > 0),
        "hangs": hangs,
        "outcome": outcome,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("--way", choices=(*WAYS, "all"), default="all")
    parser.add_argument("--inputs", type=int, default=3000, help="in all (default 3000)")
    parser.add_argument("--first", type=int, default=1, help="the number of the first one")
    parser.add_argument(
        "--patience", type=float, default=PATIENCE_S, help="seconds on one input that are a hang"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    arguments = parser.parse_args()
    ways = WAYS if arguments.way == "all" else {arguments.way: 1.0}
    results = [
        watch(
            way,
            arguments.first,
            round(arguments.inputs * share),
            arguments.patience,
            sys.stderr.isatty(),
        )
        for way, share in ways.items()
    ]
    if arguments.json:
        print(json.dumps(results, indent=2))
    else:
        for result in results:
            print(", ".join(f"{what}: {value}" for what, value in result.items()))
    return any(result["crashes"] or result["untyped"] or result["hangs"] for result in results)


if __name__ == "__main__":
    sys.exit(main())
