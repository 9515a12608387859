# SPDX-License-Identifier: MIT
"""
The crash harness: SIGKILL under load, over and over, and a successor that must go on at once.

    python tests/crash.py --victim producer --rounds 1000
    python tests/crash.py --victim all --kind all --json

A round lets real processes work for a random while, kills the victim wherever it happens to be,
starts a successor and waits until that one gets somewhere. One ring (or slot) lives through all
rounds, so each successor takes over what a line of dead processes has left. Left to chance most
kills would hit the making and checking of records. So three victims in four are doomed instead:
they set a timer whose signal kills like SIGKILL, some microseconds into their next call.

Each process writes down what it is about to do and what it has done, in words of shared memory
outside the ring, which outlive it:

    begun[p]      producer p: how many records it has begun to put
    returned[p]   producer p: how many of them the put has returned for
    got[p]        consumers: the next record to come from p; raised when a record was checked
    taking        consumers: how many records this copying get may take
    promised      consumers: how many will have come in all when those and loans before are noted
    loans         consumers: borrowed records; put down before got is raised, until released

What is checked:

- **Hang**: the successor, or the survivor, gets nowhere within `--patience` seconds.
- **Torn**: a record is not, byte for byte, what the producer of that number put. All bytes follow
  from producer and number; the header has a checksum too.
- **Lost**: returned[p] records must come, all begun ones may, nothing else may; each producer's in
  order. Only a copying verb of a killed consumer excuses a gap: where that call was, and no longer
  than it could take (get: 1, get_many(n): n), for get had handed those records out when the
  consumer died before it noted them. A borrowed record is never excused.
- **Twice**: a record that was noted as got comes again, and it was no loan of a killed consumer
  that could be unreleased.
- **Left**: after unlink something of the region is in /dev/shm.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import faulthandler
import json
import os
import random
import signal
import sys
import time
import traceback
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import memlane

SIZE_MIN, SIZE_MAX = 8, 16 << 10
HEADER_NBYTES = 8
CAPACITY, RECORDS = 64 << 10, 192
BATCH, LOANS = 32, 4
CONSUMER = 1 << 32  # who is doomed: that, or 1 + the number of a producer

_random = random.Random(1)
#: Spread evenly over the orders of magnitude: both the number of records and the bytes run out.
SIZES = [int(SIZE_MIN * (SIZE_MAX / SIZE_MIN) ** _random.random()) for _ in range(4096)]
SIZES[:2] = [SIZE_MIN, SIZE_MAX]
PATTERN = _random.randbytes((64 << 10) + SIZE_MAX)
_SEQUENCE = (1 << 24) - 1
_CHECKED = (1 << 56) - 1


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


class Words:
    """64-bit words that all processes share and that outlive their writers."""

    def __init__(self, rounds: int, producers: int) -> None:
        lives = rounds + producers
        self.pace, self.promised, self.current, self.fresh = 0, 1, 2, 3
        self.torn, self.lost, self.twice, self.redelivered = 4, 5, 6, 7
        self.taking, self.doomed = 8, 9
        self.loans = 10  # two banks: of this consumer and of the one before
        self.begun = self.loans + 2 * LOANS
        self.returned = self.begun + lives
        self.got = self.returned + lives
        self.lives = lives
        self._mapping = memlane.Mapping.anonymous(8 * (self.got + lives))
        self.at = memoryview(self._mapping).cast("Q")

    def close(self) -> None:
        self.at.release()
        self._mapping.close()


def complain(text: str) -> None:
    print(f"crash.py: {text}", file=sys.stderr, flush=True)


def die_soon(choose: random.Random) -> None:
    """End this process without a handler, at a random moment of the next microseconds."""
    signal.setitimer(signal.ITIMER_REAL, 1e-6 + 60e-6 * choose.random() ** 2)


# ---- the producer -----------------------------------------------------------------------------


def produce(ring: memlane.Ring, words: Words, producer: int) -> None:
    """Put for ever, in all ways there are, until the ring is shut down."""
    choose = random.Random(producer)
    at, begun, returned = words.at, words.begun + producer, words.returned + producer
    number = 0

    def begin(count: int) -> None:
        at[begun] = number + count
        if at[words.doomed] == producer + 1:
            die_soon(choose)

    with ring.producer() as sender:
        while True:
            if at[words.pace] == 2 and choose.random() < 0.1:
                time.sleep(choose.random() * 0.0005)
            way = choose.randrange(8)
            try:
                if way < 3:
                    records = [
                        record_of(producer, number + i) for i in range(choose.randint(1, BATCH))
                    ]
                    begin(len(records))
                    number += sender.put_many(records, timeout=None if way else 0.01)
                elif way < 5:
                    record = record_of(producer, number)
                    begin(1)
                    with sender.reserve(len(record) + 8 * way) as room:
                        room[: len(record)] = record
                        room.commit(len(record))
                    number += 1
                elif way == 5:
                    # A claim that comes to nothing: its bytes must never be seen.
                    begin(0)
                    with sender.reserve(choose.randint(0, SIZE_MAX), timeout=0) as room:
                        room[:] = bytes(len(room))
                        room.abort()
                else:
                    record = record_of(producer, number)
                    begin(1)
                    sender.put(record, timeout=None if way == 6 else 0.01)
                    number += 1
            except memlane.Full:
                pass
            except memlane.ShutDown:
                at[begun] = number
                return
            at[returned] = number


# ---- the consumer -----------------------------------------------------------------------------


class Checker:
    """What a consumer makes of its records; starts from what the consumers before it have noted."""

    def __init__(self, words: Words, generation: int) -> None:
        self.words, self.at = words, words.at
        self.generation = generation
        self.total = sum(self.at[words.got : words.got + words.lives])
        #: Records that a killed consumer took by a copying verb and did not live to note. They may
        #: be missing until so many have come in all; loans that it did not note come before them.
        self.until: int = self.at[words.promised]
        self.excused = min(self.at[words.taking], max(0, self.until - self.total))
        self.inherited = words.loans + LOANS * (1 - generation % 2)
        self.loans = words.loans + LOANS * (generation % 2)
        self.again = {key for key in self.at[self.inherited : self.inherited + LOANS] if key}

    def violation(self, word: int, text: str) -> None:
        self.at[word] += 1
        complain(f"consumer {self.generation}: {text}")

    def take(self, record: bytes, loan: int | None = None) -> None:
        """Check one record, then note it; a borrowed one is noted among the loans first."""
        at, words = self.at, self.words
        fields = int.from_bytes(record[:HEADER_NBYTES], "little")
        producer, nbytes = fields >> 24 & 0xFFFF, fields >> 40 & 0xFFFF
        if record[:HEADER_NBYTES] != _header(producer, fields, nbytes) or producer >= words.lives:
            self.violation(
                words.torn, f"torn header {record[:HEADER_NBYTES].hex()} of {len(record)} bytes"
            )
            return
        expected: int = at[words.got + producer]
        ahead = (fields - expected) & _SEQUENCE
        number = expected + (ahead if ahead <= _SEQUENCE >> 1 else ahead - _SEQUENCE - 1)
        if number < 0 or record != record_of(producer, number):
            self.violation(
                words.torn, f"torn record {number} of producer {producer}, {len(record)} bytes"
            )
            return
        key = producer << 40 | number + 1
        if loan is not None:
            at[self.loans + loan] = key
        if number < expected:
            if key not in self.again:
                self.violation(
                    words.twice,
                    f"record {number} of producer {producer} again, next was {expected}",
                )
            self.again.discard(key)
            at[words.redelivered] += 1
            return
        if self.excused or number > expected:
            self._explain_gap(producer, number, expected)
        if number >= at[words.begun + producer]:
            self.violation(words.torn, f"record {number} of producer {producer} was never put")
        at[words.got + producer] = number + 1
        self.total += 1 + number - expected
        at[words.current] = producer
        if at[words.fresh] != self.generation:
            # What the one before us had noted and not released comes before anything fresh.
            self.again.clear()
            for i in range(LOANS):
                at[self.inherited + i] = 0
            if self.total >= self.until:
                self.excused = 0
            if not self.excused:
                at[words.fresh] = self.generation

    def _explain_gap(self, producer: int, number: int, expected: int) -> None:
        """A gap may begin among the records of earlier producers."""
        at, words = self.at, self.words
        for earlier in range(at[words.current], producer):
            missing = max(0, at[words.returned + earlier] - at[words.got + earlier])
            if 0 < missing <= self.excused:
                self.excused -= missing
                self.total += missing
                # What our own call will have taken was counted without the gap.
                at[words.promised] += missing
                at[words.got + earlier] += missing
        missing = number - expected
        at[words.promised] += missing
        if missing > self.excused or (missing and self.total + missing > self.until):
            self.at[words.lost] += missing
            complain(
                f"consumer {self.generation}: records {expected} to {number - 1} of producer "
                f"{producer} are missing, {self.excused} excused"
            )
        if missing:
            self.excused = 0

    def promise(self, loans: int, taking: int) -> None:
        """Say what a call may take that copies, before it begins; *loans* are to be noted first."""
        at, words = self.at, self.words
        # In this order: dying in between must not excuse what the call before has not taken.
        at[words.taking] = 0
        at[words.promised] = self.total + loans + taking
        at[words.taking] = taking


def consume(ring: memlane.Ring, words: Words, generation: int) -> None:
    """Get for ever, in all ways there are, until the ring is shut down and drained."""
    choose = random.Random(~generation)
    checker = Checker(words, generation)
    at = words.at
    buffer = bytearray(SIZE_MAX)
    with ring.consumer() as receiver:
        while True:
            if at[words.pace] == 1 and choose.random() < 0.1:
                time.sleep(choose.random() * 0.0005)
            way = choose.randrange(6)
            timeout = 0.01 if choose.random() < 0.2 else None
            most = choose.randint(1, BATCH) if way < 2 else 1
            checker.promise(0, most if way < 4 else 0)
            if at[words.doomed] == CONSUMER and choose.random() < 0.5:
                die_soon(choose)
            try:
                if way < 2:
                    for record in receiver.get_many(most, timeout=timeout):
                        checker.take(record)
                elif way == 2:
                    checker.take(receiver.get(timeout=timeout))
                elif way == 3:
                    nbytes = receiver.get_into(buffer, timeout=timeout)
                    checker.take(bytes(memoryview(buffer)[:nbytes]))
                else:
                    borrow(receiver, checker, choose, timeout)
            except memlane.Empty:
                pass
            except memlane.ShutDown:
                return


def borrow(
    receiver: memlane.Consumer, checker: Checker, choose: random.Random, timeout: float | None
) -> None:
    """Borrow some records, get one behind them, release them in any order."""
    at, words = checker.at, checker.words
    loans: list[tuple[int, memlane.Record]] = []
    behind: bytes | None = None
    notes_at_once = choose.random() < 0.5
    try:
        for i in range(choose.randint(1, LOANS)):
            loan = receiver.borrow(timeout=0 if i else timeout)
            loans.append((i, loan))
            if notes_at_once:
                checker.take(bytes(loan), i)
        checker.promise(0 if notes_at_once else len(loans), 1)
        behind = receiver.get(timeout=0)
    except (memlane.Empty, memlane.ShutDown):
        pass  # the end does not wait for our own loans: note them first, then meet it again
    if not notes_at_once:
        for i, loan in loans:
            checker.take(bytes(loan), i)
    if behind is not None:
        checker.take(behind)
    if at[words.doomed] == CONSUMER:
        die_soon(choose)
    choose.shuffle(loans)
    for i, loan in loans:
        loan.release()
        at[checker.loans + i] = 0


# ---- rounds -----------------------------------------------------------------------------------


@dataclasses.dataclass
class Summary:
    """What came of one run; everything from `lost` to `left` must be 0."""

    victim: str
    kind: str
    rounds: int = 0
    kills: int = 0
    committed: int = 0
    redelivered: int = 0
    lost: int = 0
    torn: int = 0
    twice: int = 0
    hangs: int = 0
    left: int = 0
    takeover_ms: float = 0.0
    longest_ms: float = 0.0

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.torn or self.twice or self.hangs or self.left)


_libc = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    """A harness that was killed must not leave workers behind that work for ever."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class HangError(Exception):
    """Somebody got nowhere."""


class Processes:
    """The processes of one run, by role; a watchdog over them."""

    def __init__(self, patience_s: float) -> None:
        self.pids: dict[str, int] = {}
        self.patience_s = patience_s

    def start(self, role: str, work: Callable[[], None]) -> None:
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _die_with_parent()
                faulthandler.register(signal.SIGUSR1, all_threads=True)
                work()
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        self.pids[role] = pid

    def kill(self, *roles: str) -> None:
        """SIGKILL all of them, then reap them."""
        for role in roles:
            os.kill(self.pids[role], signal.SIGKILL)
        for role in roles:
            pid, status = os.waitpid(self.pids.pop(role), 0)
            if not os.WIFSIGNALED(status):
                raise HangError(f"{role} (pid {pid}) ended by itself with status {status}")

    def wait_for_death(self, role: str, seconds: float) -> None:
        """Wait a while for one that is to die by itself; leave it to `kill` to reap it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not os.waitid(
            os.P_PID, self.pids[role], os.WEXITED | os.WNOHANG | os.WNOWAIT
        ):
            time.sleep(0.0002)

    def wait(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for progress; look after the living meanwhile."""
        end = time.monotonic() + self.patience_s
        polls = 0
        while not condition():
            time.sleep(0.0002)
            polls += 1
            if polls % 100 == 0:
                self.look_after()
            if time.monotonic() > end:
                raise HangError(f"no progress within {self.patience_s} s: {what}")

    def look_after(self) -> None:
        for role, pid in list(self.pids.items()):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                del self.pids[role]
                raise HangError(f"{role} (pid {pid}) ended by itself with status {status}")

    def wait_for_end(self) -> None:
        """All end by themselves, and well."""
        end = time.monotonic() + self.patience_s
        while self.pids:
            for role, pid in list(self.pids.items()):
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    del self.pids[role]
                    if status:
                        raise HangError(f"{role} ended with status {status} at the shutdown")
            if time.monotonic() > end:
                raise HangError(f"{', '.join(self.pids)} did not end after the shutdown")
            time.sleep(0.001)

    def abandon(self) -> None:
        """Show where everyone is, then end them."""
        for role, pid in self.pids.items():
            complain(f"{role} is pid {pid}")
            os.kill(pid, signal.SIGUSR1)
            time.sleep(0.2)
        self.close()

    def close(self) -> None:
        self.kill(*self.pids)


@contextmanager
def watched(summary: Summary, patience_s: float) -> Iterator[Processes]:
    """Processes whose hang becomes a number in the summary."""
    processes = Processes(patience_s)
    try:
        yield processes
    except HangError as hang:
        summary.hangs += 1
        complain(f"round {summary.rounds}: {hang}")
        processes.abandon()
    finally:
        processes.close()


class Progress:
    """One line that says how far we are, if somebody looks."""

    def __init__(self, summary: Summary, rounds: int) -> None:
        self.summary, self.rounds = summary, rounds
        self.shown = 0.0

    def show(self, end: bool = False) -> None:
        now = time.monotonic()
        if sys.stderr.isatty() and (end or now - self.shown > 0.1):
            self.shown = now
            run = self.summary
            text = f"{run.victim} / {run.kind}: {run.rounds} of {self.rounds} rounds"
            print(f"\r{text}", end="\n" if end else "", file=sys.stderr, flush=True)


def finish(
    summary: Summary, takeovers_ms: list[float], shared: memlane.Ring | memlane.Slot
) -> None:
    """Unlink; nothing may stay. The files of a named one bear its name or its region's id."""
    own = f"{shared.region._check().region_id:016x}"
    name = shared.name
    shared.unlink()
    shared.close()
    left = [
        file
        for file in os.listdir("/dev/shm")
        if own in file or (isinstance(name, str) and name in file)
    ]
    summary.left = len(left)
    if left:
        complain(f"left in /dev/shm: {left}")
    if takeovers_ms:
        summary.takeover_ms = sorted(takeovers_ms)[len(takeovers_ms) // 2]
        summary.longest_ms = max(takeovers_ms)


def crash_ring(
    victim: str,
    kind: str,
    rounds: int,
    seconds_per_round: float,
    producers: int,
    patience_s: float,
    seed: int,
) -> Summary:
    """Kill producers, consumers or both of one ring, round after round."""
    summary = Summary(victim, kind)
    name = f"crash-{uuid.uuid4().hex[:12]}"
    make = partial(memlane.Ring.create, name) if kind == "named" else memlane.Ring
    ring = make(capacity=CAPACITY, producers=producers, records=RECORDS)
    words = Words(rounds, producers)
    at = words.at
    choose = random.Random(seed)
    takeovers_ms: list[float] = []
    came: dict[int, int] = {}
    progress = Progress(summary, rounds)

    def as_child(work: Callable[[memlane.Ring, Words, int], None], life: int) -> Callable[[], None]:
        # Every other process of a named ring opens it by name, as an unrelated program would.
        if kind == "named" and life % 2:
            return lambda: work(memlane.Ring.open(name), words, life)
        return partial(work, ring, words, life)

    with watched(summary, patience_s) as processes:
        lives = producers
        generation = 1
        living = list(range(producers))
        for producer in living:
            processes.start(f"producer {producer}", as_child(produce, producer))
        processes.start("consumer", as_child(consume, generation))
        processes.wait(
            "the first records", lambda: all(at[words.got + producer] for producer in living)
        )

        for _ in range(rounds):
            at[words.pace] = choose.randrange(3)
            time.sleep(choose.random() * 2 * seconds_per_round)
            kills_producer, kills_consumer = {
                "producer": (True, False),
                "consumer": (False, True),
                "both": choose.choice([(True, False), (False, True), (True, True)]),
            }[victim]
            dead = choose.choice(living)
            condemned = [f"producer {dead}"] * kills_producer + ["consumer"] * kills_consumer
            choose.shuffle(condemned)
            if choose.random() < 0.75:
                at[words.doomed] = CONSUMER if condemned[0] == "consumer" else dead + 1
                # One that waits for a record or for room begins no call.
                processes.wait_for_death(condemned[0], 0.02)
            killed = time.monotonic_ns()
            processes.kill(*condemned)
            at[words.doomed] = 0
            summary.kills += len(condemned)
            if kills_producer:
                living[living.index(dead)] = lives
                processes.start(f"producer {lives}", as_child(produce, lives))
                lives += 1
            if kills_consumer:
                generation += 1
                processes.start("consumer", as_child(consume, generation))
            heir = lives - 1 if kills_producer else 0

            def goes_on(heir: int = heir, generation: int = generation) -> bool:
                return at[words.fresh] == generation and (not heir or at[words.got + heir] > 0)

            processes.wait(f"the successor of {' and '.join(condemned)}", goes_on)
            takeovers_ms.append((time.monotonic_ns() - killed) / 1e6)
            if kills_producer:
                # The heir took the same lane, so all that the dead one had put came before.
                check_producer(summary, words, dead)
                came[dead] = at[words.got + dead]
            summary.rounds += 1
            progress.show()

        ring.shutdown()
        processes.wait_for_end()
        for producer in living:
            check_producer(summary, words, producer)
        for producer, count in came.items():
            if at[words.got + producer] != count:
                summary.torn += 1
                complain(f"records of producer {producer} came again after those of its heir")
    progress.show(end=True)
    summary.committed = sum(at[words.returned : words.returned + words.lives])
    summary.redelivered = at[words.redelivered]
    summary.torn += at[words.torn]
    summary.lost += at[words.lost]
    summary.twice += at[words.twice]
    finish(summary, takeovers_ms, ring)
    words.close()
    return summary


def check_producer(summary: Summary, words: Words, producer: int) -> None:
    """All that was put has come, and nothing that was not."""
    begun, returned, got = (
        words.at[base + producer] for base in (words.begun, words.returned, words.got)
    )
    if not returned <= got:
        summary.lost += returned - got
        complain(f"producer {producer} had put {returned} records, {got} came")
    if not got <= begun:
        summary.torn += got - begun
        complain(f"producer {producer} had begun {begun} records, {got} came")


# ---- slots ------------------------------------------------------------------------------------

VALUE_NBYTES = 4096
READERS = 2


def value_of(number: int) -> bytes:
    start = number * 40503 & 0xFFFF
    return number.to_bytes(8, "little") + PATTERN[start : start + VALUE_NBYTES - 8]


def publish(slot: memlane.Slot, at: memoryview) -> None:
    """Publish for ever. at[0]: begun; at[1]: returned; at[4]: it is doomed."""
    number = at[0]
    choose = random.Random(number)
    while True:
        number += 1
        value = value_of(number)
        at[0] = number
        if at[4]:
            die_soon(choose)
        slot.publish(value)
        at[1] = number


def read(slot: memlane.Slot, at: memoryview, reader: int) -> None:
    """Read for ever. at[2]: torn; at[3]: stale; at[5 + reader]: reads."""
    version, last, ways = 0, 0, 0
    buffer = bytearray(VALUE_NBYTES)
    while True:
        returned = at[1]
        ways += 1
        if ways % 8 == 0:
            slot.read_into(buffer)
            value = bytes(buffer)
        elif ways % 64 == 1:
            try:
                value, version = slot.wait_newer(version, timeout=0.005)
            except TimeoutError:
                value = slot.read()
        else:
            value = slot.read()
        begun = at[0]
        number = int.from_bytes(value[:8], "little")
        if value != value_of(number) or number > begun:
            at[2] += 1
            complain(f"reader {reader}: torn value {number}, begun were {begun}")
        if number < returned or number < last:
            at[3] += 1
            complain(f"reader {reader}: value {number} after {last}, published were {returned}")
        last = number
        at[5 + reader] += 1


def _all_beyond(at: memoryview, aims: list[tuple[int, int]]) -> bool:
    return all(at[word] > aim for word, aim in aims)


def crash_slot(
    kind: str, rounds: int, seconds_per_round: float, patience_s: float, seed: int
) -> Summary:
    """Kill the writer of a slot, round after round; readers never notice, and the heir goes on."""
    summary = Summary("writer", kind)
    name = f"crash-{uuid.uuid4().hex[:12]}"
    choose = random.Random(seed)
    slot = memlane.Slot.create(
        name if kind == "named" else None,
        VALUE_NBYTES,
        writers="many" if choose.random() < 0.5 else "one",
    )
    mapping = memlane.Mapping.anonymous(8 * (5 + READERS))
    at = memoryview(mapping).cast("Q")
    takeovers_ms: list[float] = []
    progress = Progress(summary, rounds)
    with watched(summary, patience_s) as processes:
        processes.start("writer", partial(publish, slot, at))
        processes.wait("the first value", lambda: at[1] > 0)
        for reader in range(READERS):
            processes.start(f"reader {reader}", partial(read, slot, at, reader))
        for _ in range(rounds):
            time.sleep(choose.random() * 2 * seconds_per_round)
            if choose.random() < 0.75:
                at[4] = 1
                processes.wait_for_death("writer", 0.02)
            killed = time.monotonic_ns()
            processes.kill("writer")
            summary.kills += 1
            at[4] = 0
            # Two whole reads each that began after the death.
            aims = [(5 + reader, at[5 + reader] + 2) for reader in range(READERS)]
            processes.wait("readers without a writer", partial(_all_beyond, at, aims))
            begun = at[0]
            processes.start("writer", partial(publish, slot, at))
            processes.wait("the heir of the writer", partial(_all_beyond, at, [(1, begun)]))
            takeovers_ms.append((time.monotonic_ns() - killed) / 1e6)
            summary.rounds += 1
            progress.show()
    progress.show(end=True)
    summary.committed, summary.torn, summary.lost = at[1], at[2], at[3]
    finish(summary, takeovers_ms, slot)
    at.release()
    mapping.close()
    return summary


# ---- the program ------------------------------------------------------------------------------


def show(summaries: list[Summary]) -> None:
    """A table; a plain one where rich is not installed."""
    columns = [field.name for field in dataclasses.fields(Summary)]
    rows = [
        [
            f"{value:.1f}" if isinstance(value, float) else str(value)
            for value in dataclasses.astuple(summary)
        ]
        for summary in summaries
    ]
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        for row in [columns, *rows]:
            print(
                "  ".join(
                    cell.rjust(max(11, len(name))) for cell, name in zip(row, columns, strict=True)
                )
            )
        return
    table = Table(padding=(0, 0))
    for name in columns:
        table.add_column(
            name.replace("_", " "),
            no_wrap=False,
            overflow="fold",
            justify="left" if name in ("victim", "kind") else "right",
        )
    for row, summary in zip(rows, summaries, strict=True):
        table.add_row(*row, style=None if summary.is_clean else "bold red")
    Console().print(table)


def main() -> int:
    victims = ("producer", "consumer", "both", "writer")
    parser = argparse.ArgumentParser(description=(__doc__ or "").strip().split("\n")[0])
    parser.add_argument(
        "--victim",
        choices=(*victims, "all"),
        default="all",
        help="who is killed (writer: of a slot)",
    )
    parser.add_argument(
        "--kind", choices=("memfd", "named", "all"), default="all", help="where the region is"
    )
    parser.add_argument(
        "--rounds", type=int, default=1000, help="of each kind, at most 60000 (default 1000)"
    )
    parser.add_argument(
        "--seconds-per-round", type=float, default=0.02, help="load before each kill, on average"
    )
    parser.add_argument(
        "--producers", type=int, default=2, help="at a time, where only producers are killed"
    )
    parser.add_argument(
        "--patience", type=float, default=30.0, help="seconds without progress that are a hang"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=None,
        help="of the rounds; what the kernel does is random anyway",
    )
    parser.add_argument(
        "--json", action="store_true", help="print a JSON list in place of the table"
    )
    arguments = parser.parse_args()
    if not 1 <= arguments.rounds <= 60000:
        parser.error(f"--rounds must be 1 to 60000, a producer has 16 bits, got {arguments.rounds}")
    seed = random.randrange(1 << 32) if arguments.seed is None else arguments.seed

    summaries = []
    for victim in victims if arguments.victim == "all" else (arguments.victim,):
        for kind in ("memfd", "named") if arguments.kind == "all" else (arguments.kind,):
            if victim == "writer":
                made = crash_slot(
                    kind, arguments.rounds, arguments.seconds_per_round, arguments.patience, seed
                )
            else:
                # A gap that a killed consumer excuses is told from a loss by the order of one lane.
                producers = arguments.producers if victim == "producer" else 1
                made = crash_ring(
                    victim,
                    kind,
                    arguments.rounds,
                    arguments.seconds_per_round,
                    producers,
                    arguments.patience,
                    seed,
                )
            summaries.append(made)
    if arguments.json:
        print(json.dumps([dataclasses.asdict(summary) for summary in summaries], indent=2))
    else:
        show(summaries)
    if all(summary.is_clean for summary in summaries):
        return 0
    complain(f"not clean; --seed {seed}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
