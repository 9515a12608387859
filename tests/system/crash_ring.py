# SPDX-License-Identifier: MIT
"""Rounds of crash.py over one ring: what processes do, and what is made of their deaths."""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Literal

import memlane
from tests.system.crash_processes import (
    HangError,
    Processes,
    Shown,
    Summary,
    complain,
    die_soon,
    finish,
    watched,
)

SIZE_MIN, SIZE_MAX = 8, 16 << 10
HEADER_NBYTES = 8
CAPACITY, RECORDS = 64 << 10, 192
BATCH, LOANS = 32, 4
#: Of one producer. It waits to be killed then; a byte each in the ledger, of which few are touched.
LIFE_RECORDS = 1 << 19
EVENTS = 64
#: In a round of this number everybody must get on, not only who has to do with its deaths.
ROLL_CALL = 8
#: Of so many producers that died last, records for which no put has returned may be on their way.
RECENTLY_GONE = 64

_random = random.Random(1)
#: Spread evenly over the orders of magnitude: both the number of records and the bytes run out.
SIZES = [int(SIZE_MIN * (SIZE_MAX / SIZE_MIN) ** _random.random()) for _ in range(4096)]
SIZES[:2] = [SIZE_MIN, SIZE_MAX]
PATTERN = _random.randbytes((64 << 10) + SIZE_MAX)
_SEQUENCE = (1 << 24) - 1
_KEY = 1 << 48  # makes a key of record 0 of producer 0 differ from none
_AGAIN, _LATE = 1, 2


def _header(producer: int, number: int, nbytes: int) -> bytes:
    """24 bits of the number, 16 of the producer, 16 of the length, 8 of checksum."""
    fields = number & _SEQUENCE | producer << 24 | nbytes << 40
    return (fields | (fields * 0x9E3779B97F4A7C15 >> 56 & 0xFF) << 56).to_bytes(
        HEADER_NBYTES, "little"
    )


def record_of(producer: int, number: int) -> bytes:
    """The one right content of a record."""
    nbytes = SIZES[number + producer * 131 & 4095]
    start = number * 40503 + producer * 9973 & 0xFFFF
    return _header(producer, number, nbytes) + PATTERN[start : start + nbytes - HEADER_NBYTES]


def numbers_of(record: bytes) -> tuple[int, int] | None:
    """Producer and number of a record, or None if it is not, byte for byte, what they ask for."""
    fields = int.from_bytes(record[:HEADER_NBYTES], "little")
    producer, number = fields >> 24 & 0xFFFF, fields & _SEQUENCE
    return (producer, number) if record == record_of(producer, number) else None


def key_of(producer: int, number: int) -> int:
    return _KEY | producer << 24 | number


class Journal:
    """
    What each process is about to do and has done, in shared memory that outlives it. A producer or
    a consumer has a number of its own, its life: a successor has another one.
    """

    #: Words of a consumer: how many records are checked; how many the copying call it is in may
    #: take; whether it is in get_into; how many it may have borrowed and not noted. Then its loans,
    #: and what it has to say.
    NOTED, TAKING, INTO, BORROWING = range(4)
    LOANS_AT = 4
    EVENTS_SEEN, EVENTS_AT = LOANS_AT + LOANS, LOANS_AT + LOANS + 1
    CONSUMER_WORDS = EVENTS_AT + EVENTS

    def __init__(self, lives: int) -> None:
        self.lives = lives
        self.pace, self.doomed, self.over, self.deaths = 0, 1, 2, 3
        self.torn, self.twice = 4, 5
        self.begun = 8
        self.returned = self.begun + lives
        self._consumers = self.returned + lives
        words = self._consumers + lives * self.CONSUMER_WORDS
        self._words = memlane.Mapping.anonymous(8 * words)
        self._ledger = memlane.Mapping.anonymous(lives * LIFE_RECORDS)
        self._buffers = memlane.Mapping.anonymous(lives * SIZE_MAX)
        self.at = memoryview(self._words).cast("Q")
        #: For each record: 0, or the process that noted it last.
        self.ledger = memoryview(self._ledger)
        self.buffers = memoryview(self._buffers)

    def of_consumer(self, life: int) -> int:
        return self._consumers + life * self.CONSUMER_WORDS

    def buffer(self, life: int) -> memoryview:
        """Where get_into copies to: what is in it when the consumer dies has been handed out."""
        return self.buffers[life * SIZE_MAX : (life + 1) * SIZE_MAX]

    def close(self) -> None:
        for view in (self.at, self.ledger, self.buffers):
            view.release()
        for mapping in (self._words, self._ledger, self._buffers):
            mapping.close()


def mark_of(life: int) -> int:
    """A consumer in the ledger; the next one with the same mark is 255 deaths away."""
    return 1 + life % 255


# ---- the producer -----------------------------------------------------------------------------


def produce(ring: memlane.Ring, journal: Journal, life: int) -> None:
    """Put for ever, in all ways there are, until the ring is shut down."""
    choose = random.Random(life)
    at, begun, returned = journal.at, journal.begun + life, journal.returned + life
    number = 0
    kept: list[tuple[memoryview, bytes]] = []  # views of rooms that were committed

    def begin(count: int) -> None:
        at[begun] = number + count
        if at[journal.doomed] == 1 + life:
            die_soon(choose)

    def let_views_go() -> None:
        while kept:
            view, record = kept.pop(choose.randrange(len(kept)))
            if view[: len(record)] != record:
                at[journal.torn] += 1
                complain(f"producer {life}: bytes were used for another record under a view")
            view.release()

    with ring.producer() as sender:
        while number < LIFE_RECORDS - BATCH:
            if at[journal.pace] == 2 and choose.random() < 0.1:
                time.sleep(choose.random() * 0.0005)
            way = choose.randrange(8)
            if way in (1, 2, 6) or choose.random() < 0.2:
                let_views_go()  # or this call would wait for them without end
            try:
                if way < 3:
                    records = [record_of(life, number + i) for i in range(choose.randint(1, BATCH))]
                    begin(len(records))
                    number += sender.put_many(records, timeout=None if way else 0.01)
                elif way < 5:
                    record = record_of(life, number)
                    begin(1)
                    with sender.reserve(
                        len(record) + 8 * way, timeout=0.01 if kept else None
                    ) as room:
                        room[: len(record)] = record
                        if choose.random() < 0.5:
                            kept.append((memoryview(room), record))
                        room.commit(len(record))
                    number += 1
                elif way == 5:
                    # A claim that comes to nothing: its bytes must never be seen.
                    begin(0)
                    with sender.reserve(choose.randint(0, SIZE_MAX), timeout=0) as room:
                        room[:] = bytes(len(room))
                        room.abort()
                else:
                    record = record_of(life, number)
                    begin(1)
                    sender.put(record, timeout=None if way == 6 else 0.01)
                    number += 1
            except memlane.Full:
                pass
            except memlane.ShutDown:
                at[begun] = number
                return
            at[returned] = number
        while not at[journal.over]:
            time.sleep(0.001)


# ---- the consumer -----------------------------------------------------------------------------


class Checker:
    """What a consumer makes of its records, and what it writes down of them."""

    def __init__(self, journal: Journal, life: int, many: bool) -> None:
        self.journal, self.at, self.life, self.many = journal, journal.at, life, many
        self.own = journal.of_consumer(life)
        self.last: dict[int, int] = {}

    def violation(self, word: int, text: str) -> None:
        self.at[word] += 1
        complain(f"consumer {self.life}: {text}")

    def say(self, event: int, key: int, mark: int) -> None:
        """Leave it to the harness to judge: it knows who has died with what in hand."""
        seen = self.own + Journal.EVENTS_SEEN
        at = self.own + Journal.EVENTS_AT + self.at[seen] % EVENTS
        self.at[at] = key | mark << 50 | event << 60
        self.at[seen] += 1

    def take(self, record: bytes, loan: int | None = None, redelivered: bool = False) -> None:
        """Check one record, then note it; a borrowed one is noted among the loans first."""
        at, journal = self.at, self.journal
        numbers = numbers_of(record)
        if numbers is None or numbers[1] >= at[journal.begun + numbers[0]]:
            self.violation(
                journal.torn,
                f"torn, or never put: {numbers}, {len(record)} bytes, {record[:16].hex()}",
            )
            return
        producer, number = numbers
        key = key_of(producer, number)
        if loan is not None:
            at[self.own + Journal.LOANS_AT + loan] = key
        entry = producer * LIFE_RECORDS + number
        noted = journal.ledger[entry]
        if noted:
            self.say(_AGAIN, key, noted)
            if self.many and loan is not None and not redelivered:
                self.violation(journal.twice, f"record {numbers} again, and not marked")
        elif number < self.last.get(producer, 0):
            self.say(_LATE, key, 0)
        if redelivered and not at[journal.deaths]:
            self.violation(journal.twice, f"record {numbers} redelivered, and nobody had died")
        journal.ledger[entry] = mark_of(self.life)
        self.last[producer] = max(number, self.last.get(producer, 0))
        at[self.own + Journal.NOTED] += 1

    def take_copies(self, records: list[bytes]) -> None:
        for record in records:
            self.take(record)
            self.at[self.own + Journal.TAKING] -= 1
        self.at[self.own + Journal.TAKING] = 0


def consume(ring: memlane.Ring, journal: Journal, life: int, many: bool) -> None:
    """Get for ever, in all ways there are, until the ring is shut down and drained."""
    choose = random.Random(~life)
    checker = Checker(journal, life, many)
    at, own = journal.at, checker.own
    buffer = journal.buffer(life)

    def begin(taking: int) -> None:
        at[own + Journal.TAKING] = taking
        if at[journal.doomed] == -1 - life & (1 << 64) - 1:
            die_soon(choose)

    with ring.consumer() as receiver:
        while True:
            if at[journal.pace] == 1 and choose.random() < 0.1:
                time.sleep(choose.random() * 0.0005)
            timeout = choose.choice((None, 0.005))
            way = choose.randrange(8)
            try:
                if way == 0:
                    begin(1)
                    checker.take_copies([receiver.get(timeout=timeout)])
                elif way == 1:
                    begin(1)
                    checker.take_copies([receiver.get_nowait()])
                elif way < 4:
                    buffer[:HEADER_NBYTES] = bytes(HEADER_NBYTES)
                    at[own + Journal.INTO] = 1
                    begin(0)
                    nbytes = receiver.get_into(buffer, timeout=timeout)
                    checker.take(bytes(buffer[:nbytes]))
                elif way < 6:
                    count = choose.randint(1, BATCH)
                    begin(count)
                    checker.take_copies(receiver.get_many(count, timeout=timeout))
                else:
                    _borrow(receiver, checker, choose, timeout)
            except memlane.Empty:
                pass
            except memlane.ShutDown:
                return
            at[own + Journal.TAKING] = at[own + Journal.INTO] = at[own + Journal.BORROWING] = 0


def _borrow(
    receiver: memlane.Consumer, checker: Checker, choose: random.Random, timeout: float | None
) -> None:
    """Borrow a few, get one behind them at times, release them in any order."""
    at, own = checker.at, checker.own
    journal = checker.journal
    doomed = at[journal.doomed] == -1 - checker.life & (1 << 64) - 1
    moment = choose.randrange(3)
    loans: list[tuple[int, memlane.Record]] = []
    behind: bytes | None = None
    notes_at_once = choose.random() < 0.5
    if doomed and moment == 0:
        die_soon(choose)
    try:
        for i in range(choose.randint(1, LOANS)):
            at[own + Journal.BORROWING] = i + 1
            loan = receiver.borrow(timeout=0 if i else timeout)
            loans.append((i, loan))
            if notes_at_once:
                checker.take(bytes(loan), i, loan.redelivered)
        if choose.random() < 0.5:
            at[own + Journal.TAKING] = 1
            if doomed and moment == 1:
                die_soon(choose)
            behind = receiver.get(timeout=0)
    except memlane.Empty:
        pass
    except memlane.ShutDown:
        # The end does not wait for our own loans: note them first, then meet it again.
        if not loans:
            raise
    if not notes_at_once:
        for i, loan in loans:
            checker.take(bytes(loan), i, loan.redelivered)
    if behind is not None:
        checker.take_copies([behind])
    if doomed and moment == 2:
        die_soon(choose)
    choose.shuffle(loans)
    for i, loan in loans:
        loan.release()
        at[own + Journal.LOANS_AT + i] = 0


# ---- rounds -----------------------------------------------------------------------------------


class Claim:
    """
    A consumer was killed in a call that copies: up to *most* records may have been handed out and
    not noted, of those that were begun and not noted at its death. By producer: from, to.
    """

    def __init__(self, most: int, ranges: dict[int, tuple[int, int]]) -> None:
        self.most, self.ranges = most, ranges


class Court:
    """
    What is made of the journal: the records that each process may have, and those that are missing.
    """

    def __init__(self, journal: Journal, summary: Summary) -> None:
        self.journal, self.at, self.summary = journal, journal.at, summary
        #: Producers whose records may still come, with the first number that is not noted.
        self.low: dict[int, int] = {}
        #: Handed out to one who was killed before it noted them, or still to come, then its claim
        #: has room again.
        self.open: dict[tuple[int, int], Claim | None] = {}
        self.claims: dict[int, list[Claim]] = {}
        self.dead: list[int] = []
        self.judged: dict[int, int] = {}
        #: So many records may come out of order: the dead had them in hand.
        self.late_most = 0

    def in_hand_most(self, life: int) -> int:
        """How many records a consumer may have, of which the ledger knows nothing."""
        own = self.journal.of_consumer(life)
        return sum(
            self.at[own + word] for word in (Journal.TAKING, Journal.INTO, Journal.BORROWING)
        )

    def note_death(self, life: int) -> None:
        """Of a consumer: what of its hands may be missing, come again, or come late."""
        own = self.journal.of_consumer(life)
        self.dead.append(life)
        self.late_most += self.in_hand_most(life) + LOANS
        if self.at[own + Journal.INTO]:
            buffer = bytes(self.journal.buffer(life))
            fields = int.from_bytes(buffer[:HEADER_NBYTES], "little")
            numbers = numbers_of(buffer[: fields >> 40 & 0xFFFF])
            if numbers is not None:
                self.open[numbers] = None
        if self.at[own + Journal.TAKING]:
            ranges = {
                producer: (low, self.at[self.journal.begun + producer])
                for producer, low in self.low.items()
                if low < self.at[self.journal.begun + producer]
            }
            claim = Claim(self.at[own + Journal.TAKING], ranges)
            for producer in ranges:
                self.claims.setdefault(producer, []).append(claim)

    def missing(self, producer: int, end: int) -> set[tuple[int, int]]:
        """Of the records below *end* those that nobody has noted, and that are not open."""
        start = producer * LIFE_RECORDS
        low = self.low.get(producer, 0)
        ledger = bytes(self.journal.ledger[start + low : start + end])
        found, at = set(), ledger.find(0)
        if producer in self.low and low < end:
            self.low[producer] = low + (len(ledger) if at < 0 else at)
        while at >= 0:
            found.add((producer, low + at))
            at = ledger.find(0, at + 1)
        return found - self.open.keys()

    def missing_of(self, ends: dict[int, int]) -> set[tuple[int, int]]:
        return set().union(*(self.missing(producer, end) for producer, end in ends.items()))

    def ends(self) -> dict[int, int]:
        """What was put until now, of producers of which something may be missing."""
        returned = self.journal.returned
        return {
            producer: self.at[returned + producer]
            for producer, low in self.low.items()
            if low < self.at[returned + producer]
        }

    def excused(self, missing: set[tuple[int, int]]) -> dict[tuple[int, int], Claim]:
        """Those of the missing that died with consumers."""
        left: dict[Claim, int] = {}
        excused = {}
        for producer, number in sorted(missing):
            for claim in self.claims.get(producer, ()):
                start, end = claim.ranges[producer]
                if start <= number < end and left.setdefault(claim, claim.most) > 0:
                    left[claim] -= 1
                    excused[producer, number] = claim
                    break
        return excused

    def close_round(self, missing: set[tuple[int, int]]) -> None:
        """What is missing and excused died with consumers, or comes after all."""
        for numbers, claim in self.excused(missing).items():
            claim.most -= 1
            self.open[numbers] = claim

    def forget_what_came(self) -> None:
        """Of the open records."""
        for numbers, claim in list(self.open.items()):
            if self.journal.ledger[numbers[0] * LIFE_RECORDS + numbers[1]]:
                del self.open[numbers]
                if claim is not None:
                    claim.most += 1

    def judge(self, consumers: list[int]) -> None:
        """Look at what consumers got again or late since the last time."""
        for life in consumers:
            own = self.journal.of_consumer(life)
            seen, judged = self.at[own + Journal.EVENTS_SEEN], self.judged.get(life, 0)
            if seen - judged > EVENTS:
                raise HangError(f"consumer {life} got {seen - judged} records again or late")
            for event in range(judged, seen):
                said = self.at[own + Journal.EVENTS_AT + event % EVENTS]
                key, mark = said & (_KEY << 1) - 1, said >> 50 & 0xFF
                numbers = key >> 24 & 0xFFFF, key & _SEQUENCE
                if said >> 60 == _LATE:
                    self.late_most -= 1
                    if self.late_most < 0:
                        self.summary.disordered += 1
                        complain(f"consumer {life}: record {numbers} out of order")
                    continue
                self.summary.again += 1
                if not any(mark_of(dead) == mark and key in self.loans(dead) for dead in self.dead):
                    self.summary.twice += 1
                    complain(f"consumer {life}: record {numbers} again, noted by mark {mark}")
            self.judged[life] = seen

    def loans(self, life: int) -> list[int]:
        own = self.journal.of_consumer(life) + Journal.LOANS_AT
        return self.at[own : own + LOANS].tolist()

    def check_producer(self, producer: int) -> None:
        """At the end: all that was put has come, and nothing that was not begun."""
        start = producer * LIFE_RECORDS
        returned = self.at[self.journal.returned + producer]
        begun = self.at[self.journal.begun + producer]
        ledger = bytes(self.journal.ledger[start : start + LIFE_RECORDS])
        came = len(ledger.rstrip(b"\0"))
        if came > begun:
            self.summary.torn += came - begun
            complain(f"producer {producer} had begun {begun} records, {came} came")
        # Of a call that was killed some first records come, or none; the dead may have had others.
        missing = self.missing(producer, max(returned, came))
        excused = self.excused(missing)
        self.close_round(missing)
        lost = sorted(missing - excused.keys())
        if lost:
            self.summary.lost += len(lost)
            complain(f"producer {producer}: {lost[:8]} of {returned} are lost")


class RingRounds:
    """One ring, and the processes that live and die on it."""

    def __init__(
        self,
        mix: tuple[int, int],
        consumers: Literal["one", "many"],
        kind: str,
        rounds: int,
        seconds_per_round: float,
        seed: int,
        summary: Summary,
    ) -> None:
        self.kind, self.many = kind, consumers == "many"
        self.name = f"crash-{uuid.uuid4().hex[:12]}"
        make = partial(memlane.Ring.create, self.name) if kind == "named" else memlane.Ring
        self.ring = make(capacity=CAPACITY, producers=mix[0], records=RECORDS, consumers=consumers)
        self.journal = Journal(2 * rounds + 2 * max(mix))
        self.at = self.journal.at
        self.summary, self.rounds, self.seconds_per_round = summary, rounds, seconds_per_round
        self.choose = random.Random(seed)
        self.court = Court(self.journal, summary)
        self.takeovers_ms: list[float] = []
        self.mix = mix
        #: The lives that are being lived, and how many were begun.
        self.producers: list[int] = []
        self.consumers: list[int] = []
        self.lives = [0, 0]
        self.gone: list[int] = []

    def _start(self, processes: Processes, producer: bool) -> None:
        life = self.lives[not producer]
        self.lives[not producer] += 1
        work: Callable[[memlane.Ring], None]
        if producer:
            self.producers.append(life)
            self.court.low[life] = 0
            work = partial(produce, journal=self.journal, life=life)
        else:
            self.consumers.append(life)
            work = partial(consume, journal=self.journal, life=life, many=self.many)

        def run() -> None:
            # Every other process of a named ring opens it by name, as an unrelated program would.
            work(memlane.Ring.open(self.name) if self.kind == "named" and life % 2 else self.ring)

        processes.start(self._role(life, producer), run)

    @staticmethod
    def _role(life: int, producer: bool) -> str:
        return f"{'producer' if producer else 'consumer'} {life}"

    def _progress(self, life: int, producer: bool) -> int:
        if producer:
            done: int = self.at[self.journal.returned + life]
            return LIFE_RECORDS * 2 if done >= LIFE_RECORDS - BATCH else done
        noted: int = self.at[self.journal.of_consumer(life) + Journal.NOTED]
        return noted

    def _living(self) -> list[tuple[int, bool]]:
        return [(life, True) for life in self.producers] + [
            (life, False) for life in self.consumers
        ]

    def _get_on(self, processes: Processes, who: list[tuple[int, bool]], what: str) -> None:
        """Wait until each of these has got on by at least one record."""
        aims = [
            (life, producer, self._progress(life, producer) - 1)
            if self._progress(life, producer) >= LIFE_RECORDS
            else (life, producer, self._progress(life, producer))
            for life, producer in who
        ]
        processes.wait(
            f"{what}: {aims}",
            lambda: all(self._progress(life, producer) > aim for life, producer, aim in aims),
        )

    def _barrier(self, processes: Processes, what: str, most: int = 0) -> set[tuple[int, int]]:
        """Wait until all that has been put by now is noted, but for *most* records and what died
        with consumers; these."""
        ends = self.court.ends()
        missing: set[tuple[int, int]] = set()

        def reached() -> bool:
            nonlocal missing
            missing = self.court.missing_of(ends)
            if len(missing) <= most:
                return True
            self.court.forget_what_came()
            return len(missing) - len(self.court.excused(missing)) <= most

        try:
            processes.wait(what, reached)
        except HangError as hang:
            raise HangError(
                f"{hang}; {len(missing)} records have not come, {most} may be in a stopped hand: "
                f"{sorted(missing)[:8]}"
            ) from None
        return missing

    def _has_lost_role(self, stopped: tuple[int, bool]) -> None:
        """A process that asks for the role of a stopped one is told that it is taken."""
        try:
            if stopped[1]:
                with self.ring.producer() as extra:
                    extra.put(b"", timeout=0)
            elif not self.many:
                with self.ring.consumer() as other:
                    other.get(timeout=0)
            else:
                return
        except memlane.RoleTakenError:
            return
        except memlane.Empty:
            pass
        self.summary.lost_roles += 1
        complain(f"{self._role(*stopped)} lost its role while it was stopped")

    def _round(self, processes: Processes) -> None:
        choose, at, journal, court = self.choose, self.at, self.journal, self.court
        at[journal.pace] = choose.randrange(3)
        time.sleep(choose.random() * 2 * self.seconds_per_round)
        living = self._living()
        choose.shuffle(living)
        stopped = living.pop() if choose.random() < 0.3 else None
        victims = living[: choose.choice((1, 1, 1, 2))]
        if stopped is not None:
            processes.stop(self._role(*stopped))
            self.summary.stops += 1
            if choose.random() < 0.3:
                victims = []
                self._has_lost_role(stopped)
            elif choose.random() < 0.2:
                victims, stopped = [stopped, *victims[1:]], None
        if any(not producer for _, producer in victims):
            at[journal.deaths] += 1
        if victims and choose.random() < 0.75:
            life, producer = victims[0]
            at[journal.doomed] = 1 + life if producer else -1 - life & (1 << 64) - 1
            # One that waits for a record or for room begins no call.
            processes.wait_for_death(self._role(*victims[0]), 0.004)
        killed = time.monotonic_ns()
        processes.kill(*(self._role(*victim) for victim in victims))
        at[journal.doomed] = 0
        self.summary.kills += len(victims)
        successors = []
        for life, producer in victims:
            successors.append((self.lives[not producer], producer))
            if producer:
                self.producers.remove(life)
                self.gone.append(life)
            else:
                self.consumers.remove(life)
                court.note_death(life)
            self._start(processes, producer)

        who = " and ".join(self._role(*victim) for victim in victims) or "nobody"
        if stopped is not None:
            life, producer = stopped
            if producer or self.mix[1] > 1:
                # A process that is stopped holds up nothing but what is in its hand.
                self._barrier(
                    processes,
                    f"what was put before {who} died, while {self._role(*stopped)} is stopped",
                    0 if producer else court.in_hand_most(life),
                )
            processes.go_on(self._role(*stopped))
            successors.append(stopped)
        missing = self._barrier(processes, f"what was put before {who} died")
        everybody = self.summary.rounds % ROLL_CALL == 0
        self._get_on(processes, self._living() if everybody else successors, f"after {who} died")
        if victims:
            self.takeovers_ms.append((time.monotonic_ns() - killed) / 1e6)
        court.judge(self.consumers)
        court.close_round(missing)
        court.forget_what_came()
        for gone in self.gone[:-RECENTLY_GONE]:
            court.low.pop(gone, None)
        del self.gone[:-RECENTLY_GONE]
        self.summary.rounds += 1

    def run(self, patience_s: float, shown: Shown) -> None:
        with watched(self.summary, patience_s) as processes:
            for _ in range(self.mix[0]):
                self._start(processes, True)
            for _ in range(self.mix[1]):
                self._start(processes, False)
            self._get_on(processes, self._living(), "the first records")
            for _ in range(self.rounds):
                self._round(processes)
                shown(self.summary)
            self.at[self.journal.over] = 1
            self.ring.shutdown()
            processes.wait_for_end()
            self.court.judge(self.consumers)
            self.court.forget_what_came()
            for producer in range(self.lives[0]):
                self.court.check_producer(producer)
        returned = self.journal.returned
        self.summary.records = sum(self.at[returned : returned + self.journal.lives])
        self.summary.unnoted = len(self.court.open)
        self.summary.torn += self.at[self.journal.torn]
        self.summary.twice += self.at[self.journal.twice]
        finish(self.summary, self.takeovers_ms, self.ring)
        self.journal.close()


def crash_ring(
    mix: tuple[int, int],
    consumers: Literal["one", "many"],
    kind: str,
    rounds: int,
    seconds_per_round: float,
    patience_s: float,
    seed: int,
    shown: Shown,
) -> Summary:
    """Kill and stop whoever it may be among producers and consumers of one ring, round by round."""
    # The timer of one that was doomed and died otherwise must not end the harness.
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    summary = Summary(f"{mix[0]}:{mix[1]} {consumers}", kind)
    RingRounds(mix, consumers, kind, rounds, seconds_per_round, seed, summary).run(
        patience_s, shown
    )
    return summary
