# SPDX-License-Identifier: MIT
"""
Subscribers that join a topic under full load and are killed: how old is their first record?

    build/alternatives/bin/python benchmarks/joins.py --joins 10000

A publisher publishes flat out. Again and again a new process subscribes, gets its first record and
the next ones, checks that none is torn, missing beyond what is told, or doubled, and kills itself
with SIGKILL, with or without a loan. A few processes do so at a time, in a topic with few places:
so each one joins in the place of a dead one.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import struct
import sys
import time

import machine

#: How many join at a time, and how many places there are for them.
AT_A_TIME, PLACES = 4, 6
#: What each gets before it dies.
RECORDS = 20
#: Number, time of the publish, and the sum of both.
RECORD = struct.Struct("<QQQ")
#: Age of the first record when it came, and how long before the join it was published (negative:
#: behind it), in ns; how many were lost; whether publishers waited; 1: all was as it must be.
REPORT = struct.Struct("<qqQQQ")


def publish(name: str) -> None:
    import memlane

    publisher = memlane.Topic.open(name).publisher()
    send, clock = publisher.publish, time.monotonic_ns
    number = 0
    while True:
        now = clock()
        send(RECORD.pack(number, now, number + now))
        number += 1


def join(name: str, serial: int, each: int, report: int) -> None:
    import memlane

    topic = memlane.Topic.open(name)
    for turn in range(each):
        waited_for, borrows = (serial + turn) % 2 == 0, serial % 4 < 2
        joined = time.monotonic_ns()
        subscriber = topic.subscribe(when_full="wait" if waited_for else "overwrite")
        age = early = last = -1
        sound = True
        for count in range(RECORDS):
            before = subscriber.lost
            record = subscriber.get(timeout=60)
            if count == 0:
                came = time.monotonic_ns()
            number, stamp, total = RECORD.unpack(record)
            if count == 0:
                age, early = came - stamp, joined - stamp
            elif number != last + 1 + subscriber.lost - before:
                sound = False
            sound = sound and total == number + stamp
            last = number
        held = subscriber.borrow(timeout=60) if borrows and waited_for else None
        sound = sound and not (waited_for and subscriber.lost)
        os.write(report, REPORT.pack(age, early, subscriber.lost, waited_for, sound))
        if turn + 1 < each:
            if held is not None:
                held.release()
            subscriber.close()
    os.kill(os.getpid(), signal.SIGKILL)


def started(work: object, *arguments: object) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work(*arguments)  # type: ignore[operator]
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    return pid


def main() -> int:
    parser = argparse.ArgumentParser(description="Joins and deaths of subscribers under load.")
    parser.add_argument("--joins", type=int, default=10000)
    parser.add_argument(
        "--each", type=int, default=1, help="so many joins of each process before it dies"
    )
    arguments = parser.parse_args()
    import memlane

    name = f"joins-{os.getpid()}"
    read_end, write_end = os.pipe()
    ages: list[int] = []
    behind: list[int] = []
    unsound = ended_by_themselves = lost = deaths = 0
    processes = arguments.joins // arguments.each
    with memlane.Topic.create(name, capacity="256 KiB", publishers=1, subscribers=PLACES) as topic:
        publisher = started(publish, name)
        running: set[int] = set()
        begin = time.monotonic()
        for serial in range(processes + AT_A_TIME):
            if serial < processes:
                running.add(started(join, name, serial, arguments.each, write_end))
            if len(running) == AT_A_TIME or (serial >= processes and running):
                pid, status = os.wait()
                running.remove(pid)
                if not os.WIFSIGNALED(status):
                    ended_by_themselves += 1
                    continue
                deaths += 1
                for _ in range(arguments.each):
                    told = REPORT.unpack(os.read(read_end, REPORT.size))
                    age, early, missed, waited_for, sound = told
                    ages.append(age)
                    if waited_for:
                        behind.append(-early)
                    lost += missed
                    unsound += not sound
        seconds = time.monotonic() - begin
        published = topic.stats()["published"]
        os.kill(publisher, signal.SIGKILL)
        os.waitpid(publisher, 0)
        with topic.subscribe(), topic.subscribe():
            alive = [one for one in topic.stats()["subscriptions"] if one["subscriber"] == "alive"]
            left = len(alive) - 2
        topic.unlink()
    print(machine.line())
    print(f"{len(ages)} joins and {deaths} deaths in {seconds:.0f} s, {published} published")
    for what, found in (
        ("age of the first record when it came", ages),
        ('published so long behind the begin of the join, "wait"', behind),
    ):
        cuts = [cut / 1e3 for cut in statistics.quantiles(found, n=100)]
        print(
            f"{what}: median {cuts[49]:,.0f} µs, 99 % {cuts[98]:,.0f} µs, least "
            f"{min(found) / 1e3:,.0f} µs, longest {max(found) / 1e3:,.0f} µs"
        )
    print(
        f"{lost} records lost and told; {unsound} processes got anything torn, doubled or missing, "
        f"{ended_by_themselves} failed; {left} places of {PLACES} held at the end"
    )
    return 1 if unsound or ended_by_themselves else 0


if __name__ == "__main__":
    sys.exit(main())
