# SPDX-License-Identifier: MIT
"""Rounds of crash.py over one topic: publishers and subscribers are killed and stopped."""

from __future__ import annotations

import random
import time
import uuid
from functools import partial

import memlane
from tests.system.crash_processes import (
    Processes,
    Shown,
    Summary,
    complain,
    die_soon,
    finish,
    watched,
)
from tests.system.crash_ring import BATCH, numbers_of, record_of

CAPACITY, RECORDS = 64 << 10, 192
LIVES = 1 << 15  # of publishers, whose number has 16 bits in a record
LOANS = 4
EVICT_AFTER_S = 0.05
OVER, DOOMED, TORN, TWICE, LOST, EVICTED = range(6)
_WORDS = 8


class Journal:
    """What each process does, in shared memory that outlives it; a life is a process."""

    def __init__(self, lives: int) -> None:
        self.lives = lives
        self._words = memlane.Mapping.anonymous(8 * (_WORDS + 4 * lives))
        self.at = memoryview(self._words).cast("Q")
        #: Of a publisher: how many records it has begun, and for how many a call has returned. Of
        #: a subscriber: how many it has checked, and whether publishers wait for it: one that was
        #: evicted still keeps what it has on loan.
        self.begun, self.returned = _WORDS, _WORDS + lives
        self.checked, self.waited_for = _WORDS + 2 * lives, _WORDS + 3 * lives

    def close(self) -> None:
        self.at.release()
        self._words.close()


def publish(topic: memlane.Topic, journal: Journal, life: int) -> None:
    """Publish for ever, in all ways there are, until the topic is shut down."""
    choose = random.Random(life)
    at, begun, returned = journal.at, journal.begun + life, journal.returned + life
    number = 0
    with topic.publisher() as publisher:
        while True:
            way = choose.randrange(8)
            count = choose.randint(1, BATCH) if way < 3 else 1
            records = [record_of(life, number + i) for i in range(count)]
            at[begun] = number + count
            if at[DOOMED] == 1 + life:
                die_soon(choose)
            try:
                if way < 3:
                    number += publisher.publish_many(records, timeout=None if way else 0.01)
                elif way < 5:
                    with publisher.reserve(len(records[0]) + 8 * way) as room:
                        room[: len(records[0])] = records[0]
                        room.commit(len(records[0]))
                    number += 1
                else:
                    publisher.publish(records[0], timeout=None if way == 6 else 0.01)
                    number += 1
            except memlane.Full:
                pass
            except memlane.ShutDown:
                at[begun] = number
                return
            at[returned] = number


class Checker:
    """What one subscription makes of its records."""

    def __init__(self, journal: Journal, life: int, subscriber: memlane.Subscriber) -> None:
        self.journal, self.at, self.life = journal, journal.at, life
        self.last: dict[int, int] = {}
        self.begin(subscriber, False)

    def begin(self, subscriber: memlane.Subscriber, waited_for: bool) -> None:
        """A new subscription of the same life: it begins behind what the one before has got."""
        self.subscriber, self.waited_for = subscriber, waited_for
        self.first = self.place()
        self.count = 0
        self.seen: set[int] = set()

    def place(self) -> int:
        """How many records of all lanes are behind this subscription, got or lost."""
        position = self.subscriber.position
        if isinstance(position, int):
            return position
        return sum(map(int, position.partition("-")[2].split(".")))

    def note(self, record: bytes) -> None:
        found = numbers_of(record)
        self.count += 1
        if found is None or self.at[self.journal.begun + found[0]] <= found[1]:
            self.at[TORN] += 1
            complain(f"subscriber {self.life}: a record that nobody published: {found}")
            return
        publisher, number = found
        last = self.last.get(publisher, -1)
        if number <= last:
            self.at[TWICE] += 1
            complain(f"subscriber {self.life}: {publisher}/{number} after {last}")
        if self.waited_for and publisher in self.seen and number != last + 1:
            self.at[LOST] += 1
            complain(f"subscriber {self.life}: {publisher}/{number} after {last}, waited for")
        self.seen.add(publisher)
        self.last[publisher] = number
        self.at[self.journal.checked + self.life] += 1

    def check_count(self) -> None:
        """What was got and what is told as lost are all that there was."""
        passed, lost = self.place() - self.first, self.subscriber.lost
        if passed != self.count + lost or (self.waited_for and lost):
            self.at[LOST] += 1
            complain(f"subscriber {self.life}: {passed} passed, {self.count} got, {lost} lost")


def subscribe(topic: memlane.Topic, journal: Journal, life: int) -> None:
    """Get for ever, in all ways there are, until the topic is shut down and drained."""
    choose = random.Random(1000003 * life)
    at, checker = journal.at, None
    waited_for = choose.random() < 0.7
    patient = waited_for and choose.random() < 0.5
    at[journal.waited_for + life] = waited_for
    buffer = bytearray(16 << 10)
    loans: list[tuple[memlane.TopicRecord, bytes]] = []

    def end(loan: memlane.TopicRecord, copied: bytes) -> None:
        if bytes(memoryview(loan)) != copied and waited_for:
            at[TORN] += 1
            complain(f"subscriber {life}: a record on loan was overwritten")
        loan.release()

    while True:
        subscriber = topic.subscribe(
            "now" if checker else "oldest",
            when_full="wait" if waited_for else "overwrite",
            evict_after=EVICT_AFTER_S if waited_for and not patient else None,
        )
        checker = checker or Checker(journal, life, subscriber)
        checker.begin(subscriber, waited_for)
        try:
            while True:
                if at[DOOMED] == 1 + life:
                    die_soon(choose)
                way = choose.randrange(8)
                # A publisher may wait for what is on loan here, so that nothing comes.
                wait = 0.005 if loans else None
                try:
                    if way < 3:
                        for record in subscriber.get_many(choose.randint(1, BATCH), timeout=wait):
                            checker.note(record)
                    elif way == 3:
                        checker.note(bytes(buffer[: subscriber.get_into(buffer, timeout=wait)]))
                    elif way < 6:
                        loan = subscriber.borrow(timeout=wait)
                        copied = bytes(memoryview(loan))
                        if waited_for:
                            checker.note(copied)
                            loans.append((loan, copied))
                        else:
                            checker.count += 1
                            if not loan.overwritten:
                                checker.count -= 1
                                checker.note(copied)
                            loan.release()
                        if len(loans) > choose.randrange(LOANS):
                            end(*loans.pop(choose.randrange(len(loans))))
                    else:
                        checker.note(subscriber.get(timeout=wait))
                except memlane.Empty:
                    while loans:
                        end(*loans.pop())
                if choose.random() < 0.05:
                    checker.check_count()
                if choose.random() < 0.02:
                    while loans:
                        end(*loans.pop())
                    subscriber.close()
                    break
        except memlane.Evicted:
            at[EVICTED] += 1
            if patient or not waited_for:
                at[LOST] += 1
                complain(f"subscriber {life}: evicted, which it did not ask for")
        except memlane.ShutDown:
            checker.check_count()
            while loans:
                end(*loans.pop())
            if waited_for:
                for publisher in checker.seen:
                    if checker.last[publisher] + 1 < at[journal.returned + publisher]:
                        at[LOST] += 1
                        complain(f"subscriber {life}: the last records of {publisher} never came")
            return
        while loans:
            end(*loans.pop())


def _play(
    topic: memlane.Topic,
    journal: Journal,
    processes: Processes,
    shape: tuple[int, int],
    choose: random.Random,
    rounds: int,
    seconds_per_round: float,
    summary: Summary,
    shown: Shown,
) -> list[float]:
    """The rounds; how long the others took to get on after each death."""
    at, lives, takeovers_ms = journal.at, 0, []
    living: dict[str, int] = {}

    def start(role: str) -> None:
        nonlocal lives
        work = publish if role.startswith("p") else subscribe
        living[role] = lives
        processes.start(role, partial(work, topic, journal, lives))
        lives += 1

    def progress_of(role: str) -> int:
        words = journal.returned if role.startswith("p") else journal.checked
        return at[words + living[role]]

    def wait_for(what: str, roles: list[str]) -> None:
        aims = {role: progress_of(role) for role in roles}
        processes.wait(what, lambda: all(progress_of(role) > aim for role, aim in aims.items()))

    for kind, count in zip("ps", shape, strict=True):
        for number in range(count):
            start(f"{kind}{number}")
    wait_for("the first records", list(living))
    for number in range(rounds):
        if lives + 2 >= journal.lives:
            break
        time.sleep(choose.random() * 2 * seconds_per_round)
        stopped = None
        if choose.random() < 0.3:
            stopped = choose.choice(list(living))
            processes.stop(stopped)
            summary.stops += 1
        victim = choose.choice(list(living))
        if victim != stopped and choose.random() < 0.75:
            at[DOOMED] = 1 + living[victim]
            processes.wait_for_death(victim, 0.02)
        killed = time.monotonic_ns()
        processes.kill(victim)
        at[DOOMED] = 0
        summary.kills += 1
        if stopped == victim:
            stopped = None
        start(victim)
        others = [role for role in living if role != stopped]
        # Nobody gets on while the only publisher is stopped, or one that publishers wait for.
        alone = stopped is not None and stopped.startswith("p") and shape[0] == 1
        holds_up = alone or (stopped is not None and at[journal.waited_for + living[stopped]])
        if not holds_up:
            wait_for(f"all, without {victim}", others if number % 8 == 0 else [victim])
            takeovers_ms.append((time.monotonic_ns() - killed) / 1e6)
        if stopped is not None:
            processes.go_on(stopped)
            wait_for(f"{stopped}, which was stopped", [stopped])
        summary.rounds += 1
        shown(summary)
    topic.shutdown()
    processes.wait_for_end()
    return takeovers_ms


def crash_topic(
    shape: tuple[int, int],
    kind: str,
    rounds: int,
    seconds_per_round: float,
    patience_s: float,
    seed: int,
    shown: Shown,
) -> Summary:
    """
    Kill and stop publishers and subscribers of a topic, round after round, and have their
    successors get on.
    """
    summary = Summary("topic-{}:{}".format(*shape), kind)
    name = f"crash-{uuid.uuid4().hex[:12]}"
    publishers, subscribers = shape
    if kind == "named":
        topic = memlane.Topic.create(
            name,
            capacity=CAPACITY,
            records=RECORDS,
            publishers=publishers,
            subscribers=subscribers,
        )
    else:
        topic = memlane.Topic(
            CAPACITY, records=RECORDS, publishers=publishers, subscribers=subscribers
        )
    journal = Journal(min(LIVES, 16 + sum(shape) + 2 * rounds))
    takeovers_ms: list[float] = []
    with watched(summary, patience_s) as processes:
        takeovers_ms = _play(
            topic,
            journal,
            processes,
            shape,
            random.Random(seed),
            rounds,
            seconds_per_round,
            summary,
            shown,
        )
    at = journal.at
    summary.records = sum(at[journal.checked : journal.checked + journal.lives])
    summary.torn, summary.twice, summary.lost = at[TORN], at[TWICE], at[LOST]
    summary.unnoted = at[EVICTED]
    finish(summary, takeovers_ms, topic)
    journal.close()
    return summary
