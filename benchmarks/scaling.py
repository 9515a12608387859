# SPDX-License-Identifier: MIT
"""
How cost grows: with the size of records, with how many take part, with how much there is.

    build/alternatives/bin/python benchmarks/scaling.py --report docs/benchmarks
    build/alternatives/bin/python benchmarks/scaling.py --curve size --rounds 3
    build/alternatives/bin/python benchmarks/scaling.py --curve capacity --directory /mnt/huge

Rounds are interleaved as in bench.py: each takes one sample of each point of a curve.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import adapter
import machine
import many_producers
import report
from workers import State, Worker

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
SAMPLE_S = 0.2
#: What is copied at most, in a sample of large records.
SAMPLE_NBYTES = 1 * GIB

#: Of a region: text for shared memory, a path for a file.
Name: TypeAlias = str | Path

now = time.perf_counter


@dataclass(frozen=True)
class Curve:
    """Points along an axis; each line has a value for each of them."""

    key: str
    title: str
    axis: str
    unit: str
    points: tuple[int, ...]
    lines: tuple[str, ...]
    measure: Callable[[str, int], float]


# ---- one producer, one consumer ----------------------------------------------------------------


_directory: Path | None = None


def name_of(what: str) -> Name:
    name = f"scaling-{os.getpid()}-{what}"
    return name if _directory is None else _directory / name


def make_ring(state: State, name: Name, capacity: int, records: int | None) -> None:
    import memlane

    state.ends["ring"] = memlane.Ring.create(
        name, capacity=capacity, records=records, producers=1, wait="spin"
    )


def open_ring(state: State, name: Name) -> None:
    import memlane

    state.ends["ring"] = memlane.Ring.open(name, wait="spin")


def drop_ring(state: State) -> None:
    ring = state.ends.pop("ring")
    ring.unlink()
    ring.close()


def put_records(state: State, loans: bool, nbytes: int, count: int) -> float:
    sender = state.ends["ring"].producer()
    record = bytes(nbytes)
    sender.put(record)  # reserves the memory
    put, reserve = sender.put, sender.reserve
    state.ready()
    begin = now()
    if loans:
        for _ in range(count):
            with reserve(nbytes) as room:
                room.write(record)
    else:
        for _ in range(count):
            put(record)
    sender.close()
    return begin


def get_records(state: State, loans: bool, nbytes: int, count: int) -> float:
    receiver = state.ends["ring"].consumer()
    receiver.get()
    get, borrow = receiver.get, receiver.borrow
    state.ready()
    if loans:
        for _ in range(count):
            with borrow() as record:
                if len(record) != nbytes:
                    raise adapter.WrongPayloadError
    else:
        for _ in range(count):
            if len(get()) != nbytes:
                raise adapter.WrongPayloadError
    end = now()
    receiver.close()
    return end


def passed(loans: bool, nbytes: int, capacity: int, records: int | None = None) -> float:
    """Nanoseconds for a record to pass from one process to the other."""
    count = int(min(SAMPLE_S / 300e-9, SAMPLE_NBYTES / max(nbytes, 1)))
    count = max(count, 8)
    name = name_of("ring")
    receiver, sender = Worker(), Worker()
    try:
        receiver.run(make_ring, name, capacity, records)
        sender.run(open_ring, name)
        receiver.start(get_records, loans, nbytes, count)
        sender.start(put_records, loans, nbytes, count)
        for worker in (receiver, sender):
            worker.wait_ready(60)
        begin, end = sender.result(60), receiver.result(60)
        receiver.run(drop_ring)
    finally:
        sender.close()
        receiver.close()
    return float((end - begin) / count * 1e9)


def of_size(line: str, nbytes: int) -> float:
    capacity = max(MIB, 2 * nbytes)
    return passed(line == LOANS, nbytes, capacity)


def of_capacity(line: str, capacity: int) -> float:
    nbytes = 64 if line == SMALL else 4 * KIB
    return passed(False, nbytes, capacity, min(capacity // nbytes, 1 << 24))


# ---- several -----------------------------------------------------------------------------------


def of_many_producers(line: str, count: int) -> float:
    """Millions of records a second, as many_producers.py measures them."""
    producers, consumers = (count, 1) if line == PRODUCERS else (1, count)
    if line == BOTH:
        producers = consumers = count
    kind = "one" if consumers == 1 and line == PRODUCERS else "many"
    return many_producers.run(many_producers.Case(line, producers, consumers, kind), 64 * 8000)


def use_many(state: State, what: str, count: int) -> float:
    """Nanoseconds to use one of *count* objects in one region, each in turn."""
    import memlane

    region = memlane.Region.create(None, count * 32 * KIB + 4 * MIB)
    record = bytes(64)
    if what == RINGS:
        rings = [
            region.ring(f"ring-{number}", capacity=4096, producers=1, records=64)
            for number in range(count)
        ]
        turns: list[tuple[Any, Any]] = [(ring.put, ring.get) for ring in rings]
    else:
        slots = [region.slot(f"slot-{number}", 64) for number in range(count)]
        turns = [(slot.publish, slot.read) for slot in slots]
    for put, get in turns:
        put(record)
        get()
    rounds = max(1, 50_000 // count)
    begin = now()
    for _ in range(rounds):
        for put, get in turns:
            put(record)
            get()
    spent = now() - begin
    region.close()
    return spent / rounds / count * 1e9


def of_objects(line: str, count: int) -> float:
    worker = Worker()
    try:
        return float(worker.run(use_many, line, count, timeout=60))
    finally:
        worker.close()


# ---- subscribers -------------------------------------------------------------------------------

#: Records that are published before each subscriber gets them, in a lane that never fills up.
BURST = 200


def publish_to(state: State, line: str, count: int) -> float:
    """Nanoseconds of processor time for a publish or a get, in one process that is all of them."""
    import memlane

    record, cpu = bytes(64), time.process_time
    publishing = getting = 0.0
    bursts = max(21, 1000 // max(count, 1))
    with memlane.Topic(64 * KIB, publishers=1, subscribers=max(count, 1)) as topic:
        publish = topic.publisher().publish
        gets = [
            topic.subscribe(when_full="overwrite" if line == IDLE else "wait").get
            for _ in range(count)
        ]
        for number in range(bursts):
            begin = cpu()
            for _ in range(BURST):
                publish(record)
            published = cpu()
            for get in gets if line != IDLE else ():
                for _ in range(BURST):
                    get()
            if number:  # the first one reserves the memory
                publishing += published - begin
                getting += cpu() - published
    spent = getting / max(count, 1) if line == GETS else publishing
    return spent / (bursts - 1) / BURST * 1e9


def of_subscribers(line: str, count: int) -> float:
    worker = Worker()
    try:
        return float(worker.run(publish_to, line, count, timeout=60))
    finally:
        worker.close()


# ---- starting, and being there -----------------------------------------------------------------

STARTS = ("create", "open", "first put", "first get")


def create_one(state: State, name: Name) -> dict[str, float]:
    import memlane

    begin = now()
    ring = memlane.Ring.create(name, capacity=MIB)
    made = now()
    state.ends["ring"] = ring
    return {"create": made - begin}


def open_one(state: State, name: Name) -> dict[str, float]:
    import memlane

    begin = now()
    ring = memlane.Ring.open(name)
    opened = now()
    ring.put(b"first")
    put = now()
    state.ends["ring"] = ring
    return {"open": opened - begin, "first put": put - opened}


def first_get(state: State) -> dict[str, float]:
    begin = now()
    if state.ends["ring"].get() != b"first":
        raise adapter.WrongPayloadError
    return {"first get": now() - begin}


def load(state: State) -> None:
    """Importing is not what is measured."""
    import memlane

    ring = memlane.Ring(capacity=4096)
    ring.put(b"")
    ring.get()
    ring.close()


def start_up() -> dict[str, float]:
    """Microseconds of each step, in processes that have not used the region before."""
    name = name_of("start")
    creator, opener = Worker(), Worker()
    try:
        for worker in (creator, opener):
            worker.run(load)
        steps = {
            **creator.run(create_one, name),
            **opener.run(open_one, name),
            **creator.run(first_get),
        }
        creator.run(drop_ring)
    finally:
        opener.close()
        creator.close()
    return {step: seconds * 1e6 for step, seconds in steps.items()}


def memory() -> dict[str, int]:
    """What `smaps_rollup` says of this process, in bytes."""
    found = {}
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]:
        key, value, *_ = line.replace(":", "").split()
        found[key] = int(value) * KIB
    return found


def take_part(state: State, name: Name, first_name: Name) -> int:
    """Bytes that being a participant adds to this process, those that it shares counted in part."""
    import memlane

    # Of an earlier ring, so that what only the first one touches is not counted.
    with memlane.Ring.open(first_name) as first:
        first.region.join()
        before = memory()["Pss"]
        ring = memlane.Ring.open(name)
        ring.region.join()
        state.ends["ring"] = ring
        return memory()["Pss"] - before


def per_participant(count: int = 32) -> dict[str, float]:
    """What one more participant of a region costs while it is idle."""
    name, first_name = name_of("idle"), name_of("idle-first")
    workers = [Worker() for _ in range(count)]
    maker, first_maker = Worker(), Worker()
    try:
        first_maker.run(make_ring, first_name, MIB, None)
        maker.run(make_ring, name, MIB, None)
        private = [worker.run(take_part, name, first_name) for worker in workers]
        maker.run(drop_ring)
        first_maker.run(drop_ring)
    finally:
        for worker in [*workers, maker, first_maker]:
            worker.close()
    return {"its process, bytes": statistics.median(private)}


# ---- the program -------------------------------------------------------------------------------

PUTS, LOANS = "put / get", "reserve / borrow"
PRODUCERS, CONSUMERS, BOTH = "N producers, 1 consumer", "1 producer, N consumers", "N and N"
RINGS, SLOTS = "rings: put and get", "slots: publish and read"
IDLE, KEEPS_UP, GETS = (
    "a publish, nobody waited for",
    "a publish, all waited for",
    "a get of each, waited for",
)
SMALL, PAGES = "records of 64 bytes", "records of 4 KiB"
_SIZES = (0, 8, 64, 512, 4 * KIB, 32 * KIB, 256 * KIB, 2 * MIB, 16 * MIB, 64 * MIB)
_CAPACITIES = (4 * KIB, 64 * KIB, MIB, 16 * MIB, 256 * MIB, 4 * GIB)
_PRODUCER_COUNTS = (1, 2, 4, 8, 16, 32, 64)

CURVES = [
    Curve("size", "Size of a record", "bytes", "ns a record", _SIZES, (PUTS, LOANS), of_size),
    Curve(
        "many producers",
        "Producers and consumers on two processors, 256 bytes",
        "N",
        "M/s",
        _PRODUCER_COUNTS,
        (PRODUCERS, CONSUMERS, BOTH),
        of_many_producers,
    ),
    Curve(
        "objects",
        "Objects in one region, each used in turn, 64 bytes",
        "objects",
        "ns",
        (1, 3, 10, 32, 100, 320, 1000),
        (RINGS, SLOTS),
        of_objects,
    ),
    Curve(
        "subscribers",
        "Subscribers of a topic, 64 bytes, processor time",
        "subscribers",
        "ns",
        (1, 2, 4, 8, 16, 32, 64),
        (IDLE, KEEPS_UP, GETS),
        of_subscribers,
    ),
    Curve(
        "capacity",
        "Capacity of a ring, put / get",
        "bytes",
        "ns a record",
        _CAPACITIES,
        (SMALL, PAGES),
        of_capacity,
    ),
]


def run_curve(curve: Curve, rounds: int) -> dict[str, Any]:
    samples: dict[str, dict[int, list[float]]] = {
        line: {point: [] for point in curve.points} for line in curve.lines
    }
    for number in range(rounds):
        for line in curve.lines:
            for point in curve.points:
                if sys.stderr.isatty():
                    text = f"{curve.key}: round {number + 1} of {rounds}, {line}, {point}"
                    print(f"\r{text:<78}\r", end="", file=sys.stderr, flush=True)
                samples[line][point].append(curve.measure(line, point))
    return {
        "key": curve.key,
        "title": curve.title,
        "axis": curve.axis,
        "unit": curve.unit,
        "lines": {
            line: {str(point): found for point, found in points.items()}
            for line, points in samples.items()
        },
    }


def curve_table(curve: dict[str, Any]) -> list[str]:
    names = list(curve["lines"])
    rows = [
        f"**{curve['title']}**, {curve['unit']}",
        "",
        report.row(curve["axis"], *names),
        report.row(*["---:"] * (1 + len(names))),
    ]
    for point in curve["lines"][names[0]]:
        medians = [statistics.median(curve["lines"][name][point]) for name in names]
        label = report.size(int(point)) if curve["axis"] == "bytes" else point
        rows.append(report.row(label, *[report.number(value) for value in medians]))
    return [*rows, ""]


def steps_table(title: str, steps: dict[str, list[float]]) -> list[str]:
    rows = [f"**{title}**", "", report.row("", "median", "min", "max"), "|---|---:|---:|---:|"]
    for step, found in steps.items():
        numbers = (statistics.median(found), min(found), max(found))
        rows.append(report.row(step, *[report.number(value) for value in numbers]))
    return [*rows, ""]


def plot(curves: list[dict[str, Any]], path: Path) -> None:
    pyplot = report.pyplot()
    rows = (len(curves) + 1) // 2
    figure, axes = pyplot.subplots(rows, 2, figsize=(10, 3.25 * rows), squeeze=False)
    for axis in axes.flat[len(curves) :]:
        axis.set_visible(False)
    for axis, curve in zip(axes.flat, curves, strict=False):
        for name, points in curve["lines"].items():
            places = [int(point) for point in points]
            medians = [statistics.median(found) for found in points.values()]
            axis.plot(places, medians, marker="o", markersize=3, label=name)
            axis.fill_between(
                places,
                [min(f) for f in points.values()],
                [max(f) for f in points.values()],
                alpha=0.2,
            )
        axis.set_xscale("symlog" if 0 in places else "log", base=2)
        if curve["key"] == "size":
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.set_title(f"{curve['title']} [{curve['unit']}]", loc="left", fontsize=9)
        axis.set_xlabel(curve["axis"])
        axis.legend(frameon=False)
        axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def write(results: dict[str, Any], directory: Path) -> None:
    (directory / "scaling.json").write_text(json.dumps(results, separators=(",", ":")) + "\n")
    plot(results["curves"], directory / "scaling.svg")
    lines = [
        f"    {results['machine']}",
        f"    {results['date']}, {results['rounds']} rounds",
        "",
        f"![how cost grows]({directory.name}/scaling.svg)",
        "",
    ]
    for curve in results["curves"]:
        lines += curve_table(curve)
    lines += steps_table("Starting, µs, a ring of 1 MiB in a named region", results["start"])
    lines += steps_table("One more idle participant", results["participant"])
    page = directory.with_suffix(".md")
    page.write_text(report.put_into(page.read_text(), {"scaling": lines[:-1]}))


def main() -> int:
    global _directory
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--curve",
        action="append",
        default=[],
        choices=[*(curve.key for curve in CURVES), "start"],
        help="only this one; repeatable",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument(
        "--directory",
        type=Path,
        help="rings in files there, such as a tmpfs mounted with huge=always, not in /dev/shm",
    )
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIRECTORY",
        help="as docs/benchmarks: a picture, and its .md",
    )
    arguments = parser.parse_args()
    if arguments.report is not None and arguments.curve:
        parser.error("--report is for all curves")
    _directory = arguments.directory
    results: dict[str, Any] = {
        "machine": machine.line(),
        "date": datetime.date.today().isoformat(),
        "rounds": arguments.rounds,
        "curves": [],
    }
    print(results["machine"])
    for curve in CURVES:
        if not arguments.curve or curve.key in arguments.curve:
            results["curves"].append(run_curve(curve, arguments.rounds))
            print("\n".join(["", *curve_table(results["curves"][-1])]), flush=True)
    if not arguments.curve or "start" in arguments.curve:
        starts = [start_up() for _ in range(10 * arguments.rounds)]
        results["start"] = {step: [one[step] for one in starts] for step in STARTS}
        shares = [per_participant() for _ in range(arguments.rounds)]
        results["participant"] = {step: [one[step] for one in shares] for step in shares[0]}
        print("\n".join(steps_table("Starting, µs", results["start"])))
        print("\n".join(steps_table("One more idle participant", results["participant"])))
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    if arguments.report is not None:
        write(results, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
