# SPDX-License-Identifier: MIT
"""
What an adapter gives the benchmark, and the loops that all of them share.

An adapter is a module in `alternatives/` with

    NAME        how the tables call the library
    USES        kind of case -> the way in which the library is used there, and why that is its best
    version()   of the library; raises ImportError where it is not installed
    receiver(plan) -> Receiver      called in a process of its own, before any sender
    sender(plan) -> Sender          called in another process
    prepare(plan) -> Any            optional: called in their parent, for inherited(plan) in them
    SENDER_FIRST = True             optional: a sender must have been made before the receiver
    TOGETHER = True                 optional: each of the two waits for the other while it is made
    SEVERAL_PRODUCERS = True        optional: several processes can send to one receiver
    FIXED = True                    optional: all records of a channel have plan.nbytes, no less

The clock runs around loops that are here, and they call what the adapter gives, most often a bound
method of the library: nothing of ours stands between. A library that needs more than one call for
a record brings loops of its own, with the same checks inside.
"""

from __future__ import annotations

import importlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

#: One call for each record without sleeping | as a plain program waits | lists of records | loans
#: of memory | the latest value | objects that the library itself pickles | each record to several
#: receivers, and they wait | the same by loans of memory.
Kind: TypeAlias = Literal["busy", "wait", "batch", "loan", "slot", "object", "topic", "topic-loan"]

BATCH = 256
#: The mark of a loan that says there are no more; only lossy receivers get one.
END_MARK = 255
#: How often in a row one who polls finds nothing before it lets another process run, where there
#: are more processes than processors.
POLLS = 200


class WrongPayloadError(Exception):
    """What came out is not what went in."""


@dataclass(frozen=True)
class Plan:
    """What both sides of a channel must agree on."""

    name: str  # letters and digits, of its own
    directory: Path  # of its own, in memory
    kind: Kind
    nbytes: int  # of each record
    capacity: int  # bytes of records that can be on their way
    producers: int = 1
    answers: bool = False  # each record is waited for before the next one is sent
    subscribers: int = 1
    subscriber: int = 0  # which of them this is

    @property
    def records(self) -> int:
        """How many records can be on their way."""
        return self.capacity // self.nbytes


def prefix(directory: Path) -> str:
    """What the names of plans of a run begin with, whose files are in this directory."""
    return f"bench{directory.name[-6:]}n"


_inherited: dict[str, Any] = {}


def inherit(prepared: dict[str, Any]) -> None:
    """What adapters have prepared, by the names of their plans; processes forked now find it."""
    _inherited.clear()
    _inherited.update(prepared)


def inherited(plan: Plan) -> Any:
    """What `prepare` returned for this plan, in a process forked since."""
    return _inherited[plan.name]


def nothing() -> None:
    """Closes what needs no closing."""


@dataclass
class Sender:
    """The end that puts. *put* returns when the record is in or, if it polls, whether it is."""

    put: Callable[[Any], Any]
    polls: bool = False
    #: Takes a list and says how many went in; None: all.
    put_many: Callable[[list[bytes]], int | None] | None = None
    #: (records, count): a loop in place of one around *put*.
    send: Callable[[list[bytes], int], None] | None = None
    #: (payloads, count): for each of count, takes a loan and copies the next payload into it.
    send_loans: Callable[[list[bytes], int], None] | None = None
    close: Callable[[], object] = nothing


@dataclass
class Receiver:
    """The end that gets. *get* returns a record or, if it polls, None where there is none."""

    get: Callable[[], Any]
    polls: bool = False
    get_many: Callable[[], list[bytes]] | None = None
    #: (records, count) -> how many came: a loop in place of one around *get*.
    receive: Callable[[list[bytes], int], int] | None = None
    #: (nbytes, marks, count) -> how many came.
    receive_loans: Callable[[int, int, int], int] | None = None
    #: Records may be missing; then a loop ends with the record `end_of`.
    lossy: bool = False
    #: Of a lossy one that waits: takes a record that is left, and returns None where there is none.
    get_left: Callable[[], Any] | None = None
    #: How many that had come were no record of ours; only a lossy one's loop may count them.
    torn: int = 0
    #: Records come filled up with zeros to this size.
    pads: int = 0
    close: Callable[[], object] = nothing


class Alternative(Protocol):
    """An adapter."""

    __name__: str
    NAME: str
    USES: dict[Kind, str]

    def version(self) -> str: ...
    def sender(self, plan: Plan) -> Sender: ...
    def receiver(self, plan: Plan) -> Receiver: ...


# ---- what is sent ------------------------------------------------------------------------------


def records_of(nbytes: int, mark: int = 0) -> list[bytes]:
    """A batch of distinct records: each is a number, over and over, and begins with *mark*."""
    made = []
    for number in range(BATCH):
        word = bytes([mark]) + number.to_bytes(7, "little")
        made.append((word * (nbytes // 8 + 1))[:nbytes])
    return made


def end_of(nbytes: int) -> bytes:
    """The record after the last one of a lossy channel."""
    return b"\xff" * nbytes


def payloads_of(nbytes: int) -> list[bytes]:
    """Large payloads, together at least a MiB: number m begins and ends with a byte m."""
    count = max(2, min(64, (1 << 20) // nbytes))
    body = (bytes(range(256)) * (nbytes // 256 + 1))[: nbytes - 2]
    return [bytes([mark]) + body + bytes([mark]) for mark in range(count)]


# ---- loops: one call for each record -----------------------------------------------------------


def send_each(sender: Sender, records: list[bytes], count: int) -> None:
    """Send *count* records, which is a multiple of how many there are."""
    put = sender.put
    if sender.send is not None:
        sender.send(records, count)
    elif sender.polls:
        for _ in range(count // len(records)):
            for record in records:
                while not put(record):
                    pass
    else:
        for _ in range(count // len(records)):
            for record in records:
                put(record)


def receive_each(receiver: Receiver, records: list[bytes], count: int) -> int:
    """Receive as many, compare each with what was put; return how many came."""
    get = receiver.get
    records = [record.ljust(receiver.pads, b"\0") for record in records]
    if receiver.receive is not None:
        return receiver.receive(records, count)
    if receiver.lossy:
        return receive_lossy(get, records)
    if receiver.polls:
        for _ in range(count // len(records)):
            for expected in records:
                while (record := get()) is None:
                    pass
                if record != expected:
                    raise WrongPayloadError(wrong(expected, record))
    else:
        for _ in range(count // len(records)):
            for expected in records:
                record = get()
                if record != expected:
                    raise WrongPayloadError(wrong(expected, record))
    return count


def receive_lossy(get: Callable[[], Any], records: list[bytes]) -> int:
    """Receive by polling until the end, whatever is missing; only whole records of ours count."""
    number_of = {record: number for number, record in enumerate(records)}
    end = end_of(len(records[0]))
    count = at = 0
    while True:
        for expected in records[at:]:
            while (record := get()) is None:
                pass
            if record != expected:
                break
        else:
            count += len(records) - at
            at = 0
            continue
        count += number_of[expected] - at
        if record == end:
            return count
        found = number_of.get(record)
        if found is None:
            raise WrongPayloadError(wrong(expected, record))
        count += 1
        at = (found + 1) % len(records)


def wrong(expected: bytes, found: Any) -> str:
    return f"expected {expected[:16]!r} ({len(expected)} bytes), found {bytes(found)[:16]!r}"


# ---- loops: batches ----------------------------------------------------------------------------


def send_batches(
    put_many: Callable[[list[bytes]], int | None], records: list[bytes], count: int
) -> None:
    """Send *count* records, whole lists of them at a time."""
    whole = len(records)
    for _ in range(count // whole):
        done = put_many(records)
        if done is None or done == whole:
            continue
        while done < whole:
            done += put_many(records[done:]) or 0


def receive_batches(
    get_many: Callable[[], list[bytes]], count: int, nbytes: int, *, whole: bool
) -> None:
    """
    Receive lists. Comparing every record costs as much as getting it, so while the clock runs the
    first and the last one of each list are compared and their number is counted; *whole*: all.
    """
    records = records_of(nbytes) * 2
    turn = len(records) // 2
    at = 0
    left = count
    while left > 0:
        batch = get_many()
        size = len(batch)
        if not size:
            continue
        if size > turn:
            raise WrongPayloadError(f"asked for {turn} records, found {size}")
        if whole:
            if batch != records[at : at + size]:
                raise WrongPayloadError
        else:
            if batch[0] != records[at]:
                raise WrongPayloadError(wrong(records[at], batch[0]))
            if batch[-1] != records[at + size - 1]:
                raise WrongPayloadError(wrong(records[at + size - 1], batch[-1]))
        at = (at + size) % turn
        left -= size
    if left:
        raise WrongPayloadError(f"expected {count} records, found {-left} more")


# ---- loops: large payloads ---------------------------------------------------------------------


def send_payloads(sender: Sender, payloads: list[bytes], count: int) -> None:
    """A loan for each, where the library has them."""
    if sender.send_loans is not None:
        sender.send_loans(payloads, count)
    else:
        send_each(sender, payloads, count)


def receive_payloads(receiver: Receiver, nbytes: int, marks: int, count: int) -> int:
    """The length, the first and the last byte of each are looked at; both are its number."""
    if receiver.receive_loans is not None:
        return receiver.receive_loans(nbytes, marks, count)
    get = receiver.get
    polls = receiver.polls
    for _ in range(count // marks):
        for mark in range(marks):
            record = get()
            if polls:
                while record is None:
                    record = get()
            if record[0] != mark or record[-1] != mark or len(record) != nbytes:
                raise WrongPayloadError(f"record {mark}: {record[0]}, {record[-1]}, {len(record)}")
    return count


# ---- loops: there and back ---------------------------------------------------------------------


def call_of(end: Sender | Receiver) -> Callable[..., Any]:
    """One call that puts or gets, with the polling inside for those that poll."""
    if isinstance(end, Sender):
        put = end.put

        def put_polling(record: bytes) -> None:
            while not put(record):
                pass

        return put_polling if end.polls else put
    get = end.get

    def get_polling() -> Any:
        while (record := get()) is None:
            pass
        return record

    return get_polling if end.polls else get


def ping(
    sender: Sender, receiver: Receiver, records: list[bytes], count: int, now: Callable[[], int]
) -> list[int]:
    """Nanoseconds of each trip there and back; one look at the clock for each is part of it."""
    put, get = sender.put, receiver.get
    trips: list[int] = []
    note = trips.append
    before = now()
    # One who polls does it here, not in a function of ours that would be called for each.
    sends, receives = sender.polls, receiver.polls
    padded = [record.ljust(receiver.pads, b"\0") for record in records]
    pairs = itertools.cycle(zip(records, padded, strict=True))
    for record, expected in itertools.islice(pairs, count):
        if sends:
            while not put(record):
                pass
        else:
            put(record)
        found = get()
        if receives:
            while found is None:
                found = get()
        if found != expected:
            raise WrongPayloadError(wrong(expected, found))
        after = now()
        note(after - before)
        before = after
    return trips


def pong(sender: Sender, receiver: Receiver, count: int) -> None:
    """Send back what comes."""
    put, get = sender.put, receiver.get
    sends, receives = sender.polls, receiver.polls
    for _ in range(count):
        found = get()
        if receives:
            while found is None:
                found = get()
        if sends:
            while not put(found):
                pass
        else:
            put(found)


# ---- loops: several receivers ------------------------------------------------------------------


def receive_beside_others(receiver: Receiver, records: list[bytes], count: int) -> int:
    """As `receive_each`, but one who polls in vain lets the others run."""
    if not receiver.polls and not receiver.lossy:
        return receive_each(receiver, records, count)
    get, pause = receiver.get, os.sched_yield

    def get_next() -> Any:
        polls = POLLS
        while (record := get()) is None:
            polls -= 1
            if polls < 0:
                pause()
        return record

    if receiver.lossy:
        return receive_lossy(get_next, records)
    return receive_each(Receiver(get_next, pads=receiver.pads), records, count)


# ---- loops: many producers ---------------------------------------------------------------------


def send_beside_others(sender: Sender, records: list[bytes], count: int) -> None:
    """As `send_each`, but one who polls in vain lets the others run."""
    put = sender.put
    if not sender.polls:
        send_each(sender, records, count)
        return
    pause = os.sched_yield
    for _ in range(count // len(records)):
        for record in records:
            polls = POLLS
            while not put(record):
                polls -= 1
                if polls < 0:
                    pause()


def receive_from_many(receiver: Receiver, nbytes: int, producers: int, count: int) -> int:
    """Each record is compared with what that producer puts next."""
    get = receiver.get
    polling = receiver.polls
    lists = [records_of(nbytes, mark) for mark in range(producers)]
    if receiver.lossy:
        return receive_lossy_from_many(get, lists)
    following = [itertools.cycle(records).__next__ for records in lists]
    pause = os.sched_yield
    for _ in range(count):
        record = get()
        if polling and record is None:
            polls = POLLS
            while (record := get()) is None:
                polls -= 1
                if polls < 0:
                    pause()
        mark = record[0]
        if record != following[mark]():
            raise WrongPayloadError(wrong(lists[mark][0], record))
    return count


def receive_lossy_from_many(get: Callable[[], Any], lists: list[list[bytes]]) -> int:
    """As `receive_from_many`, by polling until all have come to their end; a gap is a loss."""
    number_of = [{record: at for at, record in enumerate(records)} for records in lists]
    expected = [0] * len(lists)
    pause = os.sched_yield
    end = end_of(len(lists[0][0]))
    ends = came = 0
    while True:
        polls = POLLS
        while (record := get()) is None:
            polls -= 1
            if polls < 0:
                pause()
        if record == end:
            ends += 1
            if ends == len(lists):
                return came
            continue
        mark = record[0]
        at = expected[mark]
        if record != lists[mark][at]:
            found = number_of[mark].get(record)
            if found is None:
                raise WrongPayloadError(wrong(lists[mark][at], record))
            at = found
        expected[mark] = (at + 1) % BATCH
        came += 1


# ---- loops: the latest value -------------------------------------------------------------------


@dataclass
class Looked:
    """What a reader of the latest value saw."""

    reads: int
    torn: int
    seconds: float


def values_of(nbytes: int) -> list[bytes]:
    """Values all of whose bytes agree, so that its first byte is enough to detect a torn one."""
    return [bytes([number]) * nbytes for number in range(256)]


def publish_for(sender: Sender, nbytes: int, seconds: float, now: Callable[[], float]) -> int:
    """Publish flat out; return how often."""
    put = sender.put
    values = values_of(nbytes)
    end = now() + seconds
    count = 0
    while now() < end:
        for value in values:
            put(value)
        count += len(values)
    return count


def read_for(receiver: Receiver, nbytes: int, seconds: float, now: Callable[[], float]) -> Looked:
    """Read flat out, and compare every value with the whole one that begins alike."""
    get = receiver.get
    values = values_of(nbytes)
    begin = now()
    end = begin + seconds
    reads = torn = 0
    while now() < end:
        for _ in range(256):
            value = get()
            if value != values[value[0]]:
                torn += 1
        reads += 256
    return Looked(reads, torn, now() - begin)


# ---- which there are ---------------------------------------------------------------------------

#: In the order of the tables.
ALTERNATIVES = [
    "memlane",
    "memlane_reserve",
    "memlane_overwrite",
    "multiprocessing_queue",
    "multiprocessing_simple_queue",
    "multiprocessing_pipe",
    "os_pipe",
    "zmq_ipc",
    "zmq_pub",
    "faster_fifo",
    "iceoryx2_pubsub",
    "cloudtoid",
    "kickmsg",
    "subetha",
    "membridge",
    "zerochannel",
    "tachyon",
    "zenoh",
    "mmbus",
    "sharedbox",
]


@dataclass
class Found:
    """Alternatives that can be measured here, and why the others cannot."""

    alternatives: list[Alternative] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)


def find_alternatives(wanted: list[str]) -> Found:
    """*wanted*: parts of names; none: all."""
    found = Found()
    for module in ALTERNATIVES:
        try:
            alternative: Any = importlib.import_module(f"alternatives.{module}")
        except ImportError as missing:
            found.skipped[module] = str(missing)
            continue
        if wanted and not any(part in alternative.NAME for part in wanted):
            continue
        try:
            alternative.version()
        except ImportError as missing:
            found.skipped[alternative.NAME] = f"not installed: {missing}"
        else:
            found.alternatives.append(alternative)
    return found
