# SPDX-License-Identifier: MIT
"""
The cases: what is sent between which processes, and how a sample of it is taken.

A `Pair` is one library in one case: its processes live as long as the case, and wait for the word
to go while others are measured.
"""

from __future__ import annotations

import dataclasses
import importlib
import itertools
import pickle
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import adapter
from adapter import Alternative, Kind, Plan, Receiver, Sender
from workers import FailedError, State, Worker

Shape: TypeAlias = Literal[
    "one way",
    "there and back",
    "objects",
    "many producers",
    "to all",
    "latest",
    "idle",
    "alone",
]

KIB = 1024
MIB = 1024 * 1024
#: Bytes of small records that can be on their way.
CAPACITY = 256 * KIB
FRAME_NBYTES = 1920 * 1080 * 3
PRODUCERS = 4
LOANS = ("loan", "topic-loan")
IDLE_S = 2.0

# Monotonic and the same in all processes.
now = time.perf_counter
now_ns = time.perf_counter_ns


@dataclass(frozen=True)
class Case:
    """One line of the yardstick."""

    key: str  # for the command line
    title: str
    shape: Shape
    kind: Kind
    nbytes: int
    unit: str  # M/s, k/s, 1/s: more is better; µs, ms, ns: less is better
    capacity: int = CAPACITY
    wanted: str = ""  # how many times as good as the best alternative memlane is meant to be
    rounds: int | None = None  # at most
    subscribers: int = 1

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")


_LOANS = "1.1; 0.8 of it by reserve"

CASES = [
    Case("8B", "8 bytes, one call each", "one way", "busy", 8, "M/s", wanted="1.25"),
    Case("64B", "64 bytes, one call each", "one way", "busy", 64, "M/s", wanted="1.25"),
    Case("64B-wait", "64 bytes, waiting get and put", "one way", "wait", 64, "M/s", wanted="1.25"),
    Case(
        "64B-batch",
        "64 bytes, batches of 256",
        "one way",
        "batch",
        64,
        "M/s",
        wanted="3; 0.7 of it",
    ),
    Case("256B", "256 bytes, one call each", "one way", "busy", 256, "M/s", wanted="1.25"),
    Case("1KiB", "1 KiB, one call each", "one way", "busy", KIB, "M/s", wanted="1.25"),
    Case("16KiB", "16 KiB, loans", "one way", "loan", 16 * KIB, "k/s", MIB, wanted=_LOANS),
    Case("256KiB", "256 KiB, loans", "one way", "loan", 256 * KIB, "k/s", 2 * MIB, wanted=_LOANS),
    Case("4MiB", "4 MiB, loans", "one way", "loan", 4 * MIB, "k/s", 16 * MIB, wanted=_LOANS),
    Case(
        "frame",
        "1080p frame, loans",
        "one way",
        "loan",
        FRAME_NBYTES,
        "1/s",
        4 * FRAME_NBYTES,
        wanted=_LOANS,
    ),
    Case(
        "trip-busy",
        "round trip / 2, 8 bytes, busy",
        "there and back",
        "busy",
        8,
        "µs",
        wanted="1.1",
    ),
    Case(
        "trip-wait",
        "round trip / 2, 8 bytes, waiting",
        "there and back",
        "wait",
        8,
        "µs",
        wanted="3",
    ),
    Case(
        "idle",
        "idle blocked reader, CPU in 2 s",
        "idle",
        "wait",
        8,
        "ms",
        wanted="at most 3 ms",
        rounds=3,
    ),
    Case(
        "dict",
        "dict of 200 bytes, pickled",
        "objects",
        "busy",
        256,
        "k/s",
        wanted="1.25; 5 times multiprocessing.Queue",
    ),
    Case(
        "slot-64B",
        "latest value, 64 bytes, reads",
        "latest",
        "slot",
        64,
        "M/s",
        wanted="1.1; as many writes as any",
    ),
    Case(
        "slot-4KiB", "latest value, 4 KiB, reads", "latest", "slot", 4 * KIB, "M/s", wanted="1.25"
    ),
    Case(
        "4to1",
        "four producers, 256 bytes",
        "many producers",
        "busy",
        256,
        "M/s",
        PRODUCERS * CAPACITY,
        wanted="1.5",
    ),
    *(
        Case(
            f"topic-{count}",
            f"to {count} subscriber{'s' * (count > 1)}, 256 bytes, delivered",
            "to all",
            "topic",
            256,
            "M/s",
            wanted="1.5; 1.2 of those that lose",
            subscribers=count,
        )
        for count in (1, 3, 8)
    ),
    Case(
        "topic-frame",
        "1080p frame to 3 subscribers, loans, delivered",
        "to all",
        "topic-loan",
        FRAME_NBYTES,
        "1/s",
        4 * FRAME_NBYTES,
        wanted="2.5",
        subscribers=3,
    ),
    Case(
        "topic-trip",
        "round trip / 2 by two topics, 8 bytes, waiting",
        "there and back",
        "topic",
        8,
        "µs",
        wanted="1.15 times a ring's",
    ),
    Case("calls", "one process, a turn of a loop", "alone", "busy", 64, "ns"),
]

SCALE = {"M/s": 1e-6, "k/s": 1e-3, "1/s": 1.0}


@dataclass
class Sample:
    """One measurement: the figure of the case, and what else was seen."""

    value: float
    facts: dict[str, float] = field(default_factory=dict)


# ---- jobs of the workers -----------------------------------------------------------------------


def make_receiver(state: State, adapter: str, key: str, plan: Plan) -> bool:
    """Make this end; say whether it is lossy."""
    receiver = importlib.import_module(adapter).receiver(plan)
    state.ends[key] = receiver
    return bool(receiver.lossy)


def make_sender(state: State, adapter: str, key: str, plan: Plan) -> None:
    state.ends[key] = importlib.import_module(adapter).sender(plan)


def send(state: State, kind: Kind, nbytes: int, count: int) -> float:
    """Send *count* records; return when it began."""
    sender: Sender = state.ends["there"]
    if kind == "batch" and sender.put_many is not None:
        records = adapter.records_of(nbytes)
        begin = now()
        adapter.send_batches(sender.put_many, records, count)
    elif kind in LOANS:
        payloads = adapter.payloads_of(nbytes)
        begin = now()
        adapter.send_payloads(sender, payloads, count)
    else:
        records = adapter.records_of(nbytes)
        begin = now()
        adapter.send_each(sender, records, count)
    return begin


def send_ends(state: State, kind: Kind, nbytes: int) -> None:
    """To a lossy receiver: tell it that there are no more, until it has heard it."""
    sender: Sender = state.ends["there"]
    while not state.told_to_stop(0.0005):
        if kind in LOANS:
            last = bytes([adapter.END_MARK])
            adapter.send_payloads(sender, [last * nbytes], 1)
        else:
            sender.put(adapter.end_of(nbytes))


def drain(state: State) -> None:
    """Take what is left of a lossy channel, so that no old end is met by the next sample."""
    receiver: Receiver = state.ends["there"]
    get = receiver.get_left or receiver.get
    while get() is not None:
        pass


def receive(state: State, kind: Kind, nbytes: int, count: int) -> tuple[int, float, int]:
    """Receive *count* records; return how many came, when the last one had, how many were torn."""
    receiver: Receiver = state.ends["there"]
    came = count
    receiver.torn = 0
    if kind == "batch" and receiver.get_many is not None:
        state.ready()
        adapter.receive_batches(receiver.get_many, count, nbytes, whole=False)
    elif kind in LOANS:
        marks = len(adapter.payloads_of(nbytes))
        state.ready()
        came = adapter.receive_payloads(receiver, nbytes, marks, count)
    elif kind == "topic":
        records = adapter.records_of(nbytes)
        state.ready()
        came = adapter.receive_beside_others(receiver, records, count)
    else:
        records = adapter.records_of(nbytes)
        state.ready()
        came = adapter.receive_each(receiver, records, count)
    return came, now(), receiver.torn


def receive_whole_batches(state: State, nbytes: int, count: int) -> None:
    """Receive batches and compare every record, with no clock running."""
    receiver: Receiver = state.ends["there"]
    state.ready()
    if receiver.get_many is not None:
        adapter.receive_batches(receiver.get_many, count, nbytes, whole=True)
    else:
        adapter.receive_each(receiver, adapter.records_of(nbytes), count)


def a_dict() -> dict[str, Any]:
    """About 200 bytes when pickled."""
    return {
        "number": 0,
        "name": "left front wheel",
        "position": (1.25, -3.5, 0.125),
        "valid": True,
        "tags": ["calibrated", "outdoor", "night"],
        "temperature": 21.5,
        "parent": None,
        "source": "can0/0x1a4",
        "revision": 3,
    }


def send_objects(state: State, itself: bool, nbytes: int, count: int) -> float:
    """*itself*: the library pickles. *nbytes*: fill up to so many, which pickle.loads ignores."""
    sender: Sender = state.ends["there"]
    put = adapter.call_of(sender)
    sent = a_dict()
    dumps = pickle.dumps
    begin = now()
    if itself:
        for number in range(count):
            sent["number"] = number
            # one who pickles later, in a thread, would see the next number
            put(dict(sent))
    elif nbytes:
        for number in range(count):
            sent["number"] = number
            put(dumps(sent, 5).ljust(nbytes, b"\0"))
    else:
        for number in range(count):
            sent["number"] = number
            put(dumps(sent, 5))
    return begin


def receive_objects(state: State, itself: bool, count: int) -> tuple[int, float]:
    receiver: Receiver = state.ends["there"]
    get = adapter.call_of(receiver)
    loads = pickle.loads
    expected = a_dict()
    state.ready()
    came = 0
    for number in range(count):
        found = get() if itself else loads(get())
        if found["number"] != number:
            if not receiver.lossy:
                raise adapter.WrongPayloadError(f"expected {number}, found {found['number']}")
            if found["number"] < 0:
                break
        came += 1
    end = now()
    expected["number"] = found["number"]
    if found != expected:
        raise adapter.WrongPayloadError(str(found))
    return came, end


def send_object_ends(state: State) -> None:
    sender: Sender = state.ends["there"]
    # fits a channel of fixed records
    last = a_dict() | {"number": -1}
    while not state.told_to_stop(0.0005):
        sender.put(pickle.dumps(last, 5).ljust(256, b"\0"))


def ping(state: State, count: int) -> list[int]:
    records = adapter.records_of(8)
    sender, receiver = state.ends["there"], state.ends["back"]
    return adapter.ping(sender, receiver, records, count, now_ns)


def pong(state: State, count: int) -> None:
    state.ready()
    adapter.pong(state.ends["back"], state.ends["there"], count)


def send_beside_others(state: State, nbytes: int, mark: int, count: int, begin: float) -> None:
    records = adapter.records_of(nbytes, mark)
    sender: Sender = state.ends["there"]
    while now() < begin:
        time.sleep(0.0001)
    adapter.send_beside_others(sender, records, count)


def send_end_beside_others(state: State, nbytes: int) -> None:
    state.ends["there"].put(adapter.end_of(nbytes))


def receive_from_many(state: State, nbytes: int, producers: int, count: int) -> tuple[int, float]:
    state.ready()
    came = adapter.receive_from_many(state.ends["there"], nbytes, producers, count)
    return came, now()


def publish_once(state: State, nbytes: int) -> None:
    sender: Sender = state.ends["there"]
    for value in adapter.values_of(nbytes):
        sender.put(value)


def publish(state: State, nbytes: int, seconds: float) -> int:
    return adapter.publish_for(state.ends["there"], nbytes, seconds, now)


def read(state: State, nbytes: int, seconds: float) -> adapter.Looked:
    state.ready()
    return adapter.read_for(state.ends["there"], nbytes, seconds, now)


def wait_for_one(state: State, nbytes: int) -> None:
    get = adapter.call_of(state.ends["there"])
    state.ready()
    if get() != adapter.records_of(nbytes)[0]:
        raise adapter.WrongPayloadError


def send_one(state: State, nbytes: int) -> None:
    adapter.call_of(state.ends["there"])(adapter.records_of(nbytes)[0])


# ---- one library in one case -------------------------------------------------------------------

#: Of the first sample, that tells how many fit into one.
FEW = {
    "one way": 256,
    "objects": 256,
    "there and back": 64,
    "many producers": 1024,
    "to all": 256,
}
ANSWER_S = 20.0


def can(alternative: Alternative, case: Case) -> bool:
    """Whether the library has what the case is about."""
    if case.shape == "alone":
        return False
    if case.shape == "many producers" and not getattr(alternative, "SEVERAL_PRODUCERS", False):
        return False
    if case.shape == "objects" and "object" in alternative.USES:
        return True
    return case.kind in alternative.USES


class Pair:
    """
    The processes of one library for one case, and its samples.

    Raises, from `open` and `sample`:
        HungError, FailedError: the library did not do its work; `close(kill=True)` is next.
    """

    is_limit = False
    _serial = itertools.count()

    def __init__(
        self, case: Case, alternative: Alternative, directory: Path, seconds: float
    ) -> None:
        self.case = case
        self.alternative = alternative
        self.name = alternative.NAME
        self._seconds = seconds
        self._workers: list[Worker] = []
        self._lossy = False
        self._count = 0
        self._itself = "object" in alternative.USES
        serial = next(self._serial)
        made = directory / str(serial)
        made.mkdir()
        self._plan = Plan(
            name=f"{adapter.prefix(directory)}{serial}",
            directory=made,
            kind="object" if case.shape == "objects" and self._itself else case.kind,
            nbytes=case.nbytes,
            capacity=case.capacity,
            producers=PRODUCERS if case.shape == "many producers" else 1,
            answers=case.shape == "there and back",
            subscribers=case.subscribers,
        )

    # ---- its life

    def open(self) -> None:
        """Fork the processes and have them make their ends."""
        ways = ["there", "back"] if self.case.shape == "there and back" else ["there"]
        plans = [dataclasses.replace(self._plan, name=self._plan.name + way) for way in ways]
        self._prepare(plans)
        subscribers = self._plan.subscribers
        self._workers = [Worker() for _ in range(subscribers + self._plan.producers)]
        adapter.inherit({})
        self._receivers, self._senders = self._workers[:subscribers], self._workers[subscribers:]
        self._receiver = self._receivers[0]
        receivers, senders = self._receivers, self._senders
        for way, plan in zip(ways, plans, strict=True):
            if way == "back":
                receivers, senders = senders, receivers
            makers: list[tuple[Worker, Callable[..., Any], Plan]] = [
                (receiver, make_receiver, dataclasses.replace(plan, subscriber=number))
                for number, receiver in enumerate(receivers)
            ]
            makers += [(sender, make_sender, plan) for sender in senders]
            if getattr(self.alternative, "SENDER_FIRST", False):
                makers.reverse()
            results = []
            if getattr(self.alternative, "TOGETHER", False):
                # Each of the two waits in its constructor for the other.
                for worker, job, mine in makers:
                    worker.start(job, self.alternative.__name__, way, mine)
                results = [worker.result() for worker, _, _ in makers]
            else:
                for worker, job, mine in makers:
                    results.append(worker.run(job, self.alternative.__name__, way, mine))
            self._lossy = any(results)

    def _prepare(self, plans: list[Plan]) -> None:
        prepare = getattr(self.alternative, "prepare", None)
        try:
            adapter.inherit({plan.name: prepare(plan) for plan in plans} if prepare else {})
        except Exception as error:
            raise FailedError(f"{type(error).__name__}: {error}") from error

    def close(self, *, kill: bool = False) -> None:
        for worker in self._workers:
            worker.close(kill=kill)
        self._workers = []

    # ---- samples

    def cpu_ns(self) -> int:
        """Time that its processes have spent on processors."""
        return sum(worker.cpu_ns() for worker in self._workers)

    def sample(self) -> Sample:
        """Take one; the first one of all finds out how much work it is."""
        take: Callable[[int], tuple[Sample, float]] = {
            "one way": self._one_way,
            "objects": self._objects,
            "there and back": self._there_and_back,
            "many producers": self._many_producers,
            "to all": self._to_all,
            "latest": self._latest,
            "idle": self._idle,
        }[self.case.shape]
        if not self._count and self.case.shape in FEW:
            few = FEW[self.case.shape]
            if self.case.kind in LOANS:
                few = len(adapter.payloads_of(self.case.nbytes))
            self._count = few
            # What is used for the first time is slow, so a few tell too little.
            for _ in range(8):
                _, seconds = take(self._count)
                if seconds > 0.7 * self._seconds:
                    break
                factor = min(self._seconds / max(seconds, 1e-6), 20)
                self._count = max(few, int(self._count * factor) // few * few)
        return take(self._count)[0]

    def _rate(self, came: int, sent: int, seconds: float) -> Sample:
        sample = Sample(came / seconds * SCALE[self.case.unit])
        if self._lossy:
            sample.facts["delivered"] = came / sent
        return sample

    def _one_way(self, count: int) -> tuple[Sample, float]:
        kind, nbytes = self.case.kind, self.case.nbytes
        sender = self._senders[0]
        self._receiver.start(receive, kind, nbytes, count)
        self._receiver.wait_ready()
        begin = sender.run(send, kind, nbytes, count, timeout=ANSWER_S)
        if self._lossy:
            sender.start(send_ends, kind, nbytes)
        came, end, torn = self._receiver.result(ANSWER_S)
        if self._lossy:
            sender.stop()
            sender.result()
            self._receiver.run(drain)
        if kind == "batch":
            self._receiver.start(receive_whole_batches, nbytes, 16 * adapter.BATCH)
            self._receiver.wait_ready()
            sender.run(send, kind, nbytes, 16 * adapter.BATCH)
            self._receiver.result()
        sample = self._rate(came, count, end - begin)
        if self._lossy:
            sample.facts["torn"] = torn
        return sample, end - begin

    def _objects(self, count: int) -> tuple[Sample, float]:
        sender = self._senders[0]
        fill = self.case.nbytes if getattr(self.alternative, "FIXED", False) else 0
        self._receiver.start(receive_objects, self._itself, count)
        self._receiver.wait_ready()
        begin = sender.run(send_objects, self._itself, fill, count, timeout=ANSWER_S)
        if self._lossy:
            sender.start(send_object_ends)
        came, end = self._receiver.result(ANSWER_S)
        if self._lossy:
            sender.stop()
            sender.result()
            self._receiver.run(drain)
        return self._rate(came, count, end - begin), end - begin

    def _there_and_back(self, count: int) -> tuple[Sample, float]:
        self._receiver.start(pong, count)
        self._receiver.wait_ready()
        trips = self._senders[0].run(ping, count, timeout=ANSWER_S)
        self._receiver.result()
        halves = [trip / 2000 for trip in trips]
        cuts = statistics.quantiles(halves, n=100)
        return Sample(cuts[49], {"p99": cuts[98]}), sum(trips) / 1e9

    def _many_producers(self, count: int) -> tuple[Sample, float]:
        nbytes, producers = self.case.nbytes, self._plan.producers
        each = count // producers // adapter.BATCH * adapter.BATCH or adapter.BATCH
        count = each * producers
        self._receiver.start(receive_from_many, nbytes, producers, count)
        self._receiver.wait_ready()
        begin = now() + 0.005
        for mark, sender in enumerate(self._senders):
            sender.start(send_beside_others, nbytes, mark, each, begin)
        for sender in self._senders:
            sender.result(ANSWER_S)
        if self._lossy:
            for sender in self._senders:
                sender.run(send_end_beside_others, nbytes)
        came, end = self._receiver.result(ANSWER_S)
        return self._rate(came, count, end - begin), end - begin

    def _to_all(self, count: int) -> tuple[Sample, float]:
        """What counts is what all subscribers together got."""
        kind, nbytes = self.case.kind, self.case.nbytes
        sender = self._senders[0]
        for receiver in self._receivers:
            receiver.start(receive, kind, nbytes, count)
        for receiver in self._receivers:
            receiver.wait_ready()
        begin = sender.run(send, kind, nbytes, count, timeout=ANSWER_S)
        if self._lossy:
            sender.start(send_ends, kind, nbytes)
        results = [receiver.result(ANSWER_S) for receiver in self._receivers]
        if self._lossy:
            sender.stop()
            sender.result()
            for receiver in self._receivers:
                receiver.run(drain)
        seconds = max(end for _, end, _ in results) - begin
        came = sum(count for count, _, _ in results)
        return self._rate(came, count * len(self._receivers), seconds), seconds

    def _latest(self, count: int) -> tuple[Sample, float]:
        nbytes = self.case.nbytes
        writer = self._senders[0]
        writer.run(publish_once, nbytes)
        self._receiver.start(read, nbytes, self._seconds)
        self._receiver.wait_ready()
        writes = writer.run(publish, nbytes, self._seconds)
        looked = self._receiver.result()
        return Sample(
            looked.reads / looked.seconds * 1e-6,
            {"writes": writes / self._seconds * 1e-6, "torn": looked.torn},
        ), looked.seconds

    def _idle(self, count: int) -> tuple[Sample, float]:
        self._receiver.start(wait_for_one, self.case.nbytes)
        self._receiver.wait_ready()
        time.sleep(0.01)
        before = self._receiver.cpu_ns()
        time.sleep(IDLE_S)
        spent = self._receiver.cpu_ns() - before
        self._senders[0].run(send_one, self.case.nbytes)
        self._receiver.result()
        return Sample(spent / 1e6), IDLE_S
