# SPDX-License-Identifier: MIT
"""
The operations of every_step.py: what a child does once, and what must hold wherever it dies.

One ring or slot lives through all points of an operation: so each child takes over what hundreds of
killed ones have left, and a row or a lane that could not be used again would soon be missed.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from functools import partial
from typing import Literal

from memlane import (
    ClosedError,
    Consumer,
    Counter,
    Empty,
    Full,
    Producer,
    Record,
    Region,
    Ring,
    RoleTakenError,
    ShutDown,
    Slot,
    sweep,
)
from tests.support.processes import PATIENCE_S, Child, wait_until
from tests.support.region_files import SHARED_MEMORY, ours, semaphores
from tests.support.shared_bytes import FREE, READY, RingBytes
from tests.support.stepping import Line
from tests.system.every_step import Operation
from tests.system.every_step_heap import HEAP_OPERATIONS
from tests.system.every_step_shared_state import SHARED_STATE_OPERATIONS
from tests.system.every_step_topics import TOPIC_OPERATIONS

Consumers = Literal["one", "many"]
_HEADER = struct.Struct("<QI")


def record(number: int, nbytes: int = 40) -> bytes:
    """A record that is whole only if every byte is."""
    pattern = (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "little")
    return (_HEADER.pack(number, nbytes) + pattern * (nbytes // 8 + 1))[:nbytes]


def number_of(found: bytes) -> int:
    number, nbytes = _HEADER.unpack_from(found)
    assert record(number, nbytes) == found, "torn"
    return int(number)


class _OfRing(Operation):
    """What all operations on rings share: one ring, numbers that only grow, a look at the whole."""

    producers = 2
    capacity = 4096
    records = 8

    def __init__(self, consumers: Consumers) -> None:
        self.consumers = consumers
        self.next = 0

    def begin(self) -> None:
        self.ring = Ring(
            capacity=self.capacity,
            producers=self.producers,
            consumers=self.consumers,
            records=self.records,
            wait="sleep",
        )

    def end(self) -> None:
        """Of hundreds of children nobody is left, but rows that anybody may join."""
        alive = {each.pid for each in self.ring.region.participants() if each.alive}
        assert alive <= {os.getpid()}
        self.ring.close()

    def number(self) -> int:
        self.next += 1
        return self.next

    def drain(self, consumer: Ring | Consumer) -> list[int]:
        """Everything there is now."""
        found = []
        while True:
            try:
                found.append(number_of(consumer.get_nowait()))
            except Empty:
                return found

    def check_room(self, producer: Producer, consumer: Ring | Consumer) -> None:
        """An empty lane takes as many records as it ever did, and gives them back in order."""
        put = []
        while True:
            number = self.number()
            try:
                producer.put_nowait(record(number, 12))
            except Full:
                break
            put.append(number)
        assert self.records == len(put), "room was lost"
        assert put == self.drain(consumer)


class _OfProducer(_OfRing):
    """The child is a producer; the parent has a lane, too, and consumes, and succeeds it."""

    def begin(self) -> None:
        super().begin()
        self.other = self.ring.producer()
        self.other.put(record(0))
        assert [0] == self.drain(self.ring)

    def prepare(self) -> None:
        self.before: list[int] = []  # what the child puts before the operation
        self.operated: list[int] = []  # ... by it
        self.others: list[int] = []  # put by others while it is stopped
        self.got: list[int] = []
        self.plan()

    def plan(self) -> None:
        """Say which numbers are put by `warm` and `run`."""
        self.operated = [self.number()]

    def warm(self) -> None:
        self.producer = self.ring.producer()
        self.producer.reserve(8).abort()  # leases the lane
        for number in self.before:
            self.producer.put(record(number))

    def run(self) -> object:
        self.producer.put(record(self.operated[0]))
        return True

    def wake(self) -> None:
        self.got.append(number_of(self.ring.get(timeout=PATIENCE_S)))

    def check_got(self, result: object) -> str:
        """All that was put before, then all or nothing of the operation."""
        own = [number for number in self.got if number not in self.others]
        if own == self.before + self.operated:
            return "done"
        assert self.before == own, "lost, doubled, out of order, or a part of a batch"
        assert result is None, "lost, though the put had returned"
        return "nothing"

    def killed(self, result: object) -> str:
        self.got += self.drain(self.ring)
        outcome = self.check_got(result)
        self.succeed()
        return outcome

    def succeed(self) -> None:
        with self.ring.producer() as successor:
            number = self.number()
            successor.put(record(number), timeout=PATIENCE_S)
            assert number == number_of(self.ring.get(timeout=PATIENCE_S))
            self.check_room(successor, self.ring)

    def stopped(self) -> None:
        number = self.number()
        self.others.append(number)
        self.other.put(record(number), timeout=PATIENCE_S)
        while number not in self.got:
            self.got.append(number_of(self.ring.get(timeout=PATIENCE_S)))
        self.refused()

    def refused(self) -> None:
        try:
            with self.ring.producer() as third:
                third.put_nowait(record(0))
        except RoleTakenError:
            return
        raise AssertionError("who is stopped lost its lane")

    def goes_on(self) -> None:
        self.got += self.drain(self.ring)

    def resumed(self, result: object) -> str:
        assert result is not None
        return self.killed(result)

    def end(self) -> None:
        self.other.close()
        super().end()


class PutFits(_OfProducer):
    name = "put-fits"

    def plan(self) -> None:
        self.before, self.operated = [self.number()], [self.number()]


class PutWraps(_OfProducer):
    """The record does not fit before the end of the bytes, and starts at 0."""

    name = "put-wraps"

    def plan(self) -> None:
        self.before, self.operated = [self.number(), self.number()], [self.number()]

    def warm(self) -> None:
        self.producer = self.ring.producer()
        self.producer.reserve(8).abort()
        for number, nbytes in zip(self.before, (2000, 1500), strict=True):
            self.producer.put(record(number, nbytes))

    def arrange(self) -> None:
        self.got.append(number_of(self.ring.get_nowait()))

    def run(self) -> object:
        self.producer.put(record(self.operated[0], 1000))
        return True


class PutFull(_OfProducer):
    """The lane is full: announce, look again, sleep, be woken, put."""

    name = "put-full"
    records = 2

    def plan(self) -> None:
        self.before, self.operated = [self.number(), self.number()], [self.number()]


class PutMany(_OfProducer):
    """A batch: all of it or nothing."""

    name = "put-many"

    def plan(self) -> None:
        self.before, self.operated = [self.number()], [self.number() for _ in range(4)]

    def run(self) -> object:
        return self.producer.put_many([record(number) for number in self.operated])


class PutManyWraps(PutMany):
    name = "put-many-wraps"

    def plan(self) -> None:
        self.before = [self.number(), self.number()]
        self.operated = [self.number() for _ in range(3)]

    warm = PutWraps.warm
    arrange = PutWraps.arrange

    def run(self) -> object:
        return self.producer.put_many([record(number, 400) for number in self.operated])


class ReserveCommit(_OfProducer):
    name = "reserve-commit"

    def run(self) -> object:
        number = self.operated[0]
        with self.producer.reserve(40) as room:
            room[:] = record(number)
        return True


class CommitWithView(_OfProducer):
    """
    A room committed with a view alive, of fewer bytes than were reserved; then puts, until the lane
    is full of them and the view, whatever is got meanwhile.
    """

    name = "commit-with-view"

    def plan(self) -> None:
        self.operated = [self.number() for _ in range(3)]

    def run(self) -> object:
        first, *others = self.operated
        room = self.producer.reserve(1200)
        view = memoryview(room)
        view[:40] = record(first)
        view[40:] = b"k" * 1160
        room.commit(40)
        del room
        for number in others:
            self.producer.put(record(number, 1200))
        assert view[:40] == record(first), "used for another record under a view"
        assert view[40:] == b"k" * 1160, "used for another record under a view"
        try:
            self.producer.put_nowait(record(0, 600))
        except Full:
            pass
        else:
            raise AssertionError("room of a view was given away")
        del view
        return True

    def check_got(self, result: object) -> str:
        """What was put came, from the first on; all of it if the operation went to its end."""
        own = [number for number in self.got if number not in self.others]
        put = self.operated[: len(own)]
        assert put == own, "lost, doubled or out of order"
        assert result is None or len(own) == 3, "lost, though the put had returned"
        return f"{len(own)} of 3"


class ViewDies(_OfProducer):
    """
    A lane is full of records with views, all of which were got; the views die, the youngest first,
    and the puts that follow use the room.
    """

    name = "view-dies"

    def plan(self) -> None:
        self.before = [self.number() for _ in range(3)]
        self.operated = [self.number(), self.number()]

    def warm(self) -> None:
        self.producer = self.ring.producer()
        self.views = []
        for number in self.before:
            with self.producer.reserve(1200) as room:
                room[:] = record(number, 1200)
                self.views.append(memoryview(room))
        try:
            self.producer.put_nowait(record(0, 1200))
        except Full:
            pass
        else:
            raise AssertionError("room of a view was given away")

    def arrange(self) -> None:
        for _ in self.before:
            self.got.append(number_of(self.ring.get_nowait()))

    def run(self) -> object:
        for _ in self.before:
            self.views.pop()
        for number in self.operated:
            self.producer.put(record(number, 1200), timeout=PATIENCE_S)
        return True

    def check_got(self, result: object) -> str:
        own = [number for number in self.got if number not in self.others]
        put = (self.before + self.operated)[: len(own)]
        assert put == own, "lost, doubled or out of order"
        assert len(own) >= len(self.before), "lost"
        assert result is None or len(own) == 5, "lost, though the put had returned"
        return f"{len(own) - 3} of 2"


class ReserveAbort(_OfProducer):
    name = "reserve-abort"

    def plan(self) -> None:
        self.before = [self.number()]

    def run(self) -> object:
        room = self.producer.reserve(40)
        room[:8] = b"staged.."
        room.abort()
        return True


class Adopt(_OfProducer):
    """First put into the lane of one that was killed, with a batch staged that nobody committed."""

    name = "adopt"

    def begin(self) -> None:
        super().begin()
        self.bytes = RingBytes(self.ring)

    def plan(self) -> None:
        self.before, self.operated = [self.number()], [self.number()]

    def prepare(self) -> None:
        super().prepare()
        with Child(self.leave_behind) as dead:
            assert 0 == dead.wait()
        # What it had staged when it died: READY, and beyond a record that is not.
        s = self.bytes.word(self.bytes.tail_at(1))
        for beyond in (s + 1, s + 2):
            self.bytes.stage(1, beyond, 2048, record(self.number()))

    def leave_behind(self) -> None:
        producer = self.ring.producer()
        for number in self.before:
            producer.put(record(number))
        os._exit(0)  # and leaves nothing

    def warm(self) -> None:
        self.producer = self.ring.producer()
        self.ring.region.join()

    def refused(self) -> None:
        pass  # whose lane it is depends on the point

    def end(self) -> None:
        self.bytes.__exit__(None, None, None)
        super().end()


class Leave(_OfProducer):
    """Close the handle, then the ring: the lane goes back, then the row."""

    name = "leave"

    def plan(self) -> None:
        self.before = [self.number(), self.number()]

    def run(self) -> object:
        self.producer.close()
        self.ring.close()
        return True

    def refused(self) -> None:
        pass  # the lane is free from some point on


class LeaveWithViews(Leave):
    """The same with two views alive: the lane goes back with the last of them, then the row."""

    name = "leave-with-views"

    def warm(self) -> None:
        self.producer = self.ring.producer()
        self.views = []
        for number in self.before:
            with self.producer.reserve(40) as room:
                room[:] = record(number)
                self.views.append(memoryview(room))

    def run(self) -> object:
        self.producer.close()
        self.views.clear()
        self.ring.close()
        return True


class FirstPut(_OfProducer):
    """The first use of everything: a row, a lane that nobody ever had, its memory, its doorbell."""

    name = "first-put"

    def begin(self) -> None: ...

    def prepare(self) -> None:
        _OfRing.begin(self)
        self.other = self.ring.producer()
        self.other.put(record(0))
        assert [0] == self.drain(self.ring)
        super().prepare()

    def warm(self) -> None:
        self.producer = self.ring.producer()

    def refused(self) -> None:
        pass

    def killed(self, result: object) -> str:
        outcome = super().killed(result)
        self.other.close()
        self.ring.close()
        return outcome

    def end(self) -> None: ...


class Sleeper:
    """A process that gets from a ring for ever and tells the numbers."""

    def __init__(self, ring: Ring) -> None:
        self.line = Line()
        self.ring = ring
        self.child = Child(self._get)

    def _get(self) -> None:
        for found in self.ring.consumer():
            self.line.tell(number_of(found))

    def hear(self) -> int:
        return int(self.line.hear())

    def close(self) -> None:
        self.child.kill()
        self.line.close()


class PutRings(_OfProducer):
    """A consumer sleeps; whatever was committed reaches it, though no wake-up was ever sent."""

    name = "put-rings"
    sleeps_by = Sleeper

    def begin(self) -> None:
        _OfRing.begin(self)
        self.bytes = RingBytes(self.ring)
        self.other = self.ring.producer()
        self.other.put(record(0))
        self.sleeper = self.sleeps_by(self.ring)
        assert 0 == self.sleeper.hear()
        with self.ring.producer() as second:  # leases the lane of the children
            second.put(record(0))
        assert 0 == self.sleeper.hear()

    def prepare(self) -> None:
        super().prepare()
        self.s = self.bytes.word(self.bytes.tail_at(1))
        self.sleeps()

    def sleeps(self) -> None:
        wait_until(
            lambda: self.bytes.half(RingBytes.WAITERS) > 0 and self.sleeper.child.state() == "S",
            "the consumer to sleep",
        )

    def arrange(self) -> None:
        self.sleeps()

    def killed(self, result: object) -> str:
        state = self.bytes.word(self.bytes.state_at(1, self.s))
        committed = state in (RingBytes.state(self.s, READY), RingBytes.state(self.s, FREE))
        committed |= self.bytes.word(self.bytes.head_at(1)) > self.s
        if self.consumers == "many":
            committed |= state & 7 == 2 and state >> 3 & (2**29 - 1) == self.s % 2**29
        if committed and self.operated[0] not in self.got:
            self.got.append(self.sleeper.hear())  # nobody else does anything
        outcome = self.check_got(result)
        assert ("done" if committed else "nothing") == outcome
        number = self.number()
        with self.ring.producer() as successor:
            successor.put(record(number), timeout=PATIENCE_S)
            assert number == self.sleeper.hear()
        return outcome

    def stopped(self) -> None:
        number = self.number()
        self.others.append(number)
        self.other.put(record(number), timeout=PATIENCE_S)
        while number not in self.got:
            self.got.append(self.sleeper.hear())
        self.refused()

    def goes_on(self) -> None:
        pass

    def end(self) -> None:
        self.sleeper.close()
        self.bytes.__exit__(None, None, None)
        super().end()


# ---- consumers -----------------------------------------------------------------------------------


class _OfConsumer(_OfRing):
    """
    The child consumes what the parent puts. *takes*: which records, counted from 0, it may have in
    hand; `run` returns the numbers of those that it got and gave back.
    """

    producers = 1
    puts = 4
    takes = range(1)
    #: How many records before those the child gets while it gets warm.
    warms = 1
    #: One of the records is in the hand of one who has died before.
    in_dead_hand = False
    #: A record that comes again does so in its turn.
    is_ordered = True

    def begin(self) -> None:
        super().begin()
        self.producer = self.ring.producer()

    def prepare(self) -> None:
        self.warmed = [self.number() for _ in range(self.warms)]
        self.put = [self.number() for _ in range(self.puts)]
        self.later: list[int] = []  # put while the child was at it
        self.got: list[int] = []
        self.again: list[int] = []
        self.fill()

    def fill(self) -> None:
        for number in self.warmed + self.put:
            self.producer.put_nowait(record(number))

    def warm(self) -> None:
        self.consumer = self.ring.consumer()
        for number in self.warmed:
            assert number == number_of(self.consumer.get_nowait())

    def run(self) -> object:
        return [number_of(self.consumer.get(timeout=PATIENCE_S))]

    def take_all(self) -> None:
        """All there is now, as loans that tell whether they were redelivered."""
        with self.ring.consumer() as successor:
            while True:
                try:
                    with successor.borrow(timeout=0) as found:
                        number = number_of(bytes(found))
                        if found.redelivered:
                            self.again.append(number)
                        self.got.append(number)
                except Empty:
                    break

    def in_hand(self) -> list[int]:
        return [self.put[i] for i in self.takes]

    def wake(self) -> None:
        self.put.append(self.number())
        self.later.append(self.put[-1])
        self.producer.put_nowait(record(self.put[-1]))

    def goes_on(self) -> None:
        if self.consumers == "many" and len(self.ring) == 0:
            self.wake()  # another one had taken what it came for

    def killed(self, result: object) -> str:
        returned: list[int] = [] if result is None else list(result)  # type: ignore[call-overload]
        self.take_all()
        found = self.got + returned
        assert len(found) == len(set(found)), "doubled"
        missing = set(self.put) - set(found)
        assert set(found) <= set(self.put), "something else"
        assert missing <= set(self.in_hand() + self.later), "lost"
        assert len(missing) <= len(self.takes), "lost"
        if result is not None:
            assert not missing, "lost, though it had been given back"
        fresh = [number for number in self.got if number not in self.again]
        assert sorted(fresh) == fresh or not self.is_ordered, "out of order"
        assert set(self.again) <= set(self.in_hand() + self.later), "redelivered without need"
        outcome = "done" if result is not None else f"{len(missing)} taken"
        if self.again:
            outcome += f", {len(self.again)} redelivered"
        self.succeed()
        return outcome

    def succeed(self) -> None:
        with self.ring.consumer() as successor:
            self.check_room(self.producer, successor)

    def stopped(self) -> None:
        self.wake()
        if self.consumers == "one":
            self.refused()
            return
        self.take_all()
        assert self.in_dead_hand or self.again == [], "who is stopped lost its record"
        missing = set(self.put) - set(self.got)
        assert missing <= set(self.in_hand() + self.later), "held up by more than it has in hand"
        assert len(missing) <= len(self.takes), "held up by more than it has in hand"

    def refused(self) -> None:
        try:
            with self.ring.consumer() as robber:
                robber.get_nowait()
        except RoleTakenError:
            return
        raise AssertionError("who is stopped lost its role")

    def resumed(self, result: object) -> str:
        assert result is not None
        return self.killed(result)

    def end(self) -> None:
        self.producer.close()
        super().end()


class Get(_OfConsumer):
    name = "get"


class GetInto(_OfConsumer):
    name = "get-into"

    def run(self) -> object:
        buffer = bytearray(100)
        nbytes = self.consumer.get_into(buffer, timeout=PATIENCE_S)
        return [number_of(bytes(buffer[:nbytes]))]


class GetMany(_OfConsumer):
    name = "get-many"
    puts = 5
    takes = range(3)

    def run(self) -> object:
        return [number_of(found) for found in self.consumer.get_many(3, timeout=PATIENCE_S)]


class BorrowRelease(_OfConsumer):
    name = "borrow-release"

    def run(self) -> object:
        with self.consumer.borrow(timeout=PATIENCE_S) as found:
            return [number_of(bytes(found))]


class BorrowKeep(_OfConsumer):
    """It never gives back what it borrowed: that comes again whatever happens."""

    name = "borrow-keep"
    takes = range(2)

    def run(self) -> object:
        self.kept = [self.consumer.borrow(timeout=PATIENCE_S) for _ in range(2)]
        return []


class ReleaseOutOfOrder(_OfConsumer):
    """Three loans given back: the second, the third, the first."""

    name = "release-out-of-order"
    takes = range(3)

    def warm(self) -> None:
        super().warm()
        self.loans: list[Record] = [self.consumer.borrow(timeout=0) for _ in range(3)]

    def run(self) -> object:
        numbers = [number_of(bytes(loan)) for loan in self.loans]
        for i in (1, 2, 0):
            self.loans[i].release()
        return numbers


class BorrowMany(_OfConsumer):
    """Three loans in one call, released together."""

    name = "borrow-many"
    puts = 5
    takes = range(3)

    def run(self) -> object:
        with self.consumer.borrow_many(3, timeout=PATIENCE_S) as loans:
            return [number_of(bytes(loan)) for loan in loans]


class GiveBack(_OfConsumer):
    """What it borrowed goes to another one, also if it dies in the midst of that."""

    name = "give-back"
    is_ordered = False

    def warm(self) -> None:
        super().warm()
        self.loan = self.consumer.borrow(timeout=0)

    def run(self) -> object:
        self.loan.give_back()
        return []


class RecordsUntil(_OfConsumer):
    """One turn of an iteration that would end with the parent."""

    name = "records-until"

    def warm(self) -> None:
        super().warm()
        self.parent = os.pidfd_open(os.getppid())
        self.turns = self.consumer.records(until=self.parent, timeout=PATIENCE_S)

    def run(self) -> object:
        return [number_of(next(self.turns))]


class GetWaits(_OfConsumer):
    """Nothing is there: announce, look again, sleep, be woken, take."""

    name = "get-waits"
    puts = 0

    def in_hand(self) -> list[int]:
        return []

    def goes_on(self) -> None:
        if len(self.ring) == 0:
            self.wake()


class Redeliver(_OfConsumer):
    """Takes a record out of a hand that is dead."""

    name = "redeliver"
    in_dead_hand = True

    def prepare(self) -> None:
        self.warmed, self.put = [], [self.number()]
        self.later, self.got, self.again = [], [], []
        self.fill()
        with Child(self.hold) as dead:
            assert 0 == dead.wait()

    def hold(self) -> None:
        self.kept = self.ring.consumer().borrow(timeout=0)
        os._exit(0)


class _RoleMayBeFree(_OfConsumer):
    """Whether the child has the role of the one consumer depends on the point."""

    def stopped(self) -> None:
        if self.consumers == "many":
            super().stopped()
            return
        try:
            with self.ring.consumer() as other:
                self.got.append(number_of(other.get_nowait()))
        except RoleTakenError:
            pass


class FirstGet(_RoleMayBeFree):
    """The first use of everything: a row, the role of the consumer."""

    name = "first-get"
    warms = 0

    def warm(self) -> None:
        self.consumer = self.ring.consumer()

    def run(self) -> object:
        try:
            return [number_of(self.consumer.get_nowait())]
        except (RoleTakenError, Empty):
            return []  # the parent was faster while this one was stopped


class LeaveConsumer(_RoleMayBeFree):
    """Close the handle, then the ring, with a loan that outlives both for a moment."""

    name = "leave-consumer"

    def warm(self) -> None:
        super().warm()
        self.loan = self.consumer.borrow(timeout=0)

    def run(self) -> object:
        number = number_of(bytes(self.loan))
        self.consumer.close()
        self.loan.release()
        self.ring.close()
        return [number]


class GetRings(_OfConsumer):
    """A producer sleeps on its full lane; whatever room was made reaches it, bell or no bell."""

    name = "get-rings"
    records = 2
    puts = 2
    warms = 0

    def begin(self) -> None:
        _OfRing.begin(self)
        self.bytes = RingBytes(self.ring)
        self.line = Line()
        self.told = 0
        self.sleeper = Child(self.put_for_ever)
        self.hear_up_to(2)
        self.first = 1  # the oldest record in the ring

    def put_for_ever(self) -> None:
        producer = self.ring.producer()
        number = 0
        while True:
            number += 1
            producer.put(record(number, 1000))
            self.line.tell(number)

    def hear_up_to(self, number: int) -> None:
        while self.told < number:
            self.told = int(self.line.hear())

    def prepare(self) -> None:
        self.got, self.again = [], []
        self.sleeps()

    def warm(self) -> None:
        self.consumer = self.ring.consumer()
        assert self.first == number_of(self.consumer.get_nowait())

    def sleeps(self) -> None:
        wait_until(
            lambda: self.bytes.half(self.bytes.waiters_at(0)) > 0 and self.sleeper.state() == "S",
            "the producer to sleep",
        )

    def arrange(self) -> None:
        self.first += 1
        self.hear_up_to(self.first + 1)
        self.sleeps()

    def is_freed(self) -> bool:
        """Whether the child has given the oldest record back."""
        s = self.first - 1
        return self.bytes.word(self.bytes.head_at(0)) > s or self.bytes.word(
            self.bytes.state_at(0, s)
        ) == RingBytes.state(s, FREE)

    def killed(self, result: object) -> str:
        freed = self.is_freed()
        if freed:
            self.hear_up_to(self.first + 2)  # nobody else does anything
        if result is not None:
            assert freed
            assert [self.first] == result
        wanted = [self.first + freed, self.first + freed + 1]
        with self.ring.consumer() as successor:
            for _ in range(2):
                self.got.append(number_of(successor.get(timeout=PATIENCE_S)))
        assert wanted == sorted(self.got)
        self.first = wanted[-1] + 1
        self.hear_up_to(self.first + 1)
        return "done" if freed else "nothing"

    def stopped(self) -> None:
        if self.consumers == "one":
            self.refused()

    def goes_on(self) -> None: ...

    def resumed(self, result: object) -> str:
        return self.killed(result)

    def end(self) -> None:
        self.sleeper.kill()
        self.line.close()
        self.bytes.__exit__(None, None, None)
        _OfRing.end(self)


# ---- the end of a ring ---------------------------------------------------------------------------


class Shutdown(_OfRing):
    """
    A consumer sleeps, the child shuts the ring down: a process that sleeps ends, or is told again.
    """

    name = "shutdown"
    immediate = False

    def begin(self) -> None: ...

    def prepare(self) -> None:
        super().begin()
        self.put = [self.number() for _ in range(2)]
        self.ring.put(record(0))
        self.sleeper = Sleeper(self.ring)
        assert 0 == self.sleeper.hear()
        with RingBytes(self.ring) as found:
            wait_until(
                lambda: found.half(RingBytes.WAITERS) > 0 and self.sleeper.child.state() == "S",
                "the consumer to sleep",
            )

    def warm(self) -> None:
        self.ring.region.join()

    def run(self) -> object:
        self.ring.shutdown(immediate=self.immediate)
        return True

    def killed(self, result: object) -> str:
        shut = self.ring.stats()["shutdown"] != "no"
        if result is not None:
            assert shut
        if not shut:
            for number in self.put:
                self.ring.put(record(number), timeout=PATIENCE_S)
                assert number == self.sleeper.hear()
            self.ring.shutdown(immediate=self.immediate)
        assert 0 == self.sleeper.child.wait(), "a consumer did not come to the end"
        for verb in (lambda: self.ring.put(b"late"), lambda: self.ring.get(timeout=PATIENCE_S)):
            try:
                verb()
            except ShutDown:
                continue
            raise AssertionError("not shut down")
        self.sleeper.close()
        super().end()
        return "done" if shut else "nothing"

    def resumed(self, result: object) -> str:
        return self.killed(result)

    def stopped(self) -> None:
        if self.ring.stats()["shutdown"] == "no":
            number = self.number()
            self.ring.put(record(number), timeout=PATIENCE_S)
            assert number == self.sleeper.hear()

    def end(self) -> None: ...


class ShutdownImmediate(Shutdown):
    name = "shutdown-immediate"
    immediate = True


class GetAtTheEnd(_OfRing):
    """The ring is shut down: a consumer drains it, closes the lanes, and gets ShutDown."""

    name = "get-at-the-end"

    def begin(self) -> None: ...

    def prepare(self) -> None:
        super().begin()
        self.put = [self.number() for _ in range(3)]
        for number in self.put:
            self.ring.put(record(number))
        self.ring.shutdown()
        self.got: list[int] = []

    def warm(self) -> None:
        self.consumer = self.ring.consumer()
        assert self.put[0] == number_of(self.consumer.get_nowait())

    def run(self) -> object:
        return [number_of(found) for found in self.consumer]

    def killed(self, result: object) -> str:
        returned: list[int] = [] if result is None else list(result)  # type: ignore[call-overload]
        with self.ring.consumer() as successor:
            self.got += [number_of(found) for found in successor]
        found = self.got + returned
        assert len(found) == len(set(found)), "doubled"
        assert set(found) <= set(self.put[1:])
        if result is not None:
            assert sorted(found) == self.put[1:], "lost"
        assert sorted(self.got) == self.got or self.consumers == "many", "out of order"
        try:
            self.ring.put(b"late", timeout=PATIENCE_S)
        except ShutDown:
            pass
        else:
            raise AssertionError("put after the end")
        super().end()
        return "done" if result is not None else f"{len(self.put) - 1 - len(self.got)} taken"

    def stopped(self) -> None:
        if self.consumers == "many":
            with self.ring.consumer() as other:
                self.got += self.drain_closed(other)

    def drain_closed(self, consumer: Consumer) -> list[int]:
        found = []
        while True:
            try:
                found.append(number_of(consumer.get_nowait()))
            except (Empty, ShutDown):
                return found

    def resumed(self, result: object) -> str:
        return self.killed(result)

    def end(self) -> None: ...


# ---- slots ---------------------------------------------------------------------------------------


class _OfSlot(Operation):
    writers: Literal["one", "many"] = "one"

    def __init__(self, writers: Literal["one", "many"] = "one") -> None:
        self.writers = writers

    def begin(self) -> None:
        self.slot = Slot.create(None, "32q", writers=self.writers)
        self.publish()

    def publish(self) -> int:
        """By the parent, which gives the role back at once."""
        with self.slot.region["slot"] as again:
            assert isinstance(again, Slot)
            version = again.version + 1
            again.publish((version,) * 32)
        return version

    def read(self) -> int:
        value, version = self.slot.read_versioned()
        assert (version,) * 32 == value, "torn"
        return version

    def end(self) -> None:
        self.slot.close()


class Publish(_OfSlot):
    name = "publish"

    def prepare(self) -> None:
        self.before = self.read() + 1  # what warm publishes

    def warm(self) -> None:
        self.slot.publish((self.before,) * 32)

    def run(self) -> object:
        self.slot.publish((self.before + 1,) * 32)
        return True

    def killed(self, result: object) -> str:
        version = self.read()
        assert version in (self.before, self.before + 1)
        if result is not None:
            assert self.before + 1 == version
        assert version + 1 == self.publish()
        assert version + 1 == self.read()
        return "done" if version > self.before else "nothing"

    def stopped(self) -> None:
        assert self.read() in (self.before, self.before + 1)

    def resumed(self, result: object) -> str:
        return self.killed(result)


class FirstPublish(Publish):
    """Joins, and takes the role of the writer, which a killed one had."""

    name = "first-publish"

    def prepare(self) -> None:
        with Child(self.slot.publish, (self.read() + 1,) * 32) as dead:
            assert 0 == dead.wait()
        self.before = self.read()

    def warm(self) -> None: ...


class PublishRings(Publish):
    """A watcher sleeps: whatever version was published reaches it, bell or no bell."""

    name = "publish-rings"

    def begin(self) -> None:
        super().begin()
        self.line = Line()
        self.sleeper = Child(self.watch)

    def watch(self) -> None:
        version = 0
        while True:
            _, version = self.slot.wait_newer(version)
            self.line.tell(version)

    def hear(self, version: int) -> None:
        heard = 0
        while heard != version:
            assert heard < version
            heard = int(self.line.hear())

    def sleeps(self) -> None:
        wait_until(lambda: self.sleeper.state() == "S", "the watcher to sleep")

    def prepare(self) -> None:
        self.hear(self.read())
        super().prepare()

    def arrange(self) -> None:
        self.hear(self.before)
        self.sleeps()

    def killed(self, result: object) -> str:
        if self.read() == self.before + 1:
            self.hear(self.before + 1)
        return super().killed(result)

    def end(self) -> None:
        self.sleeper.kill()
        self.line.close()
        super().end()


class WaitNewer(_OfSlot):
    """A watcher leases a doorbell, announces itself, sleeps, is woken."""

    name = "wait-newer"

    def prepare(self) -> None:
        self.version = self.read()

    def warm(self) -> None:
        self.slot.region.join()

    def run(self) -> object:
        _, version = self.slot.wait_newer(self.version, timeout=PATIENCE_S)
        return version

    def wake(self) -> None:
        self.publish()

    def goes_on(self) -> None:
        if self.read() == self.version:
            self.publish()

    def killed(self, result: object) -> str:
        self.goes_on()
        assert self.version + 1 == self.read()
        if result is not None:
            assert self.version + 1 == result
        with Child(self.slot.wait_newer, self.version + 1) as another:
            self.publish()
            assert 0 == another.wait()
        return "woken" if result is not None else "killed"

    def stopped(self) -> None:
        self.goes_on()

    def resumed(self, result: object) -> str:
        return self.killed(result)


# ---- names ---------------------------------------------------------------------------------------


class _OfName(Operation):
    """A ring with a name; whatever a killed process leaves is opened, used, unlinked or swept."""

    by_stores = True
    sweeps = True

    def begin(self) -> None:
        self.region_name = f"steps-{os.getpid()}-{self.name}"
        self.watched = SHARED_MEMORY / f"memlane.{self.region_name}"
        self.before = ours()
        #: In use all the time: nobody is to be held up, and no sweep is to take it away.
        self.other = self.create(f"{self.region_name}-other")
        self.next = 0
        self.use(self.other)  # which makes a doorbell
        self.kept = ours()

    def create(self, name: str | None = None) -> Ring:
        return Ring.create(
            name or self.region_name, capacity=4096, producers=2, consumers="many", records=8
        )

    def is_there(self) -> bool:
        assert self.watched is not None
        return self.watched.exists()

    def use(self, ring: Ring) -> None:
        """Put a record through it."""
        self.next += 1
        ring.put(record(self.next), timeout=PATIENCE_S)
        assert record(self.next) == ring.get(timeout=PATIENCE_S)

    def take_away(self) -> str:
        """Nothing stays that a sweep does not find; what glibc itself leaves half made aside."""
        sweep()
        left = ours() - self.kept
        foreign = {name for name in left if name.startswith("sem.") and "memlane" not in name}
        assert foreign == left, "left behind"
        for name in foreign:
            assert (SHARED_MEMORY / name).stat().st_size in (0, 32)
            (SHARED_MEMORY / name).unlink()
        self.use(self.other)
        assert self.kept <= ours(), "swept though in use"
        with Ring.open(f"{self.region_name}-other") as again:
            self.use(again)
        return ", glibc's file left" if foreign else ""

    def stopped(self) -> None:
        """Nobody else is held up."""
        self.use(self.other)
        with self.create(f"{self.region_name}-third") as third:
            self.use(third)
            third.unlink()
        sweep()
        assert self.kept <= ours(), "swept though in use"

    def end(self) -> None:
        self.other.close()
        self.other.unlink()
        assert ours() <= self.before


class Create(_OfName):
    name = "create"

    def run(self) -> object:
        self.made = self.create()
        return True

    def killed(self, result: object) -> str:
        there = self.is_there()
        assert there or result is None
        if there:
            with Ring.open(self.region_name) as ring:
                self.use(ring)
                ring.unlink()
        swept = self.take_away()
        with self.create() as ring:  # the name is to be had
            self.use(ring)
            ring.unlink()
        return ("named" if there else "nothing") + swept

    def stopped(self) -> None:
        if self.is_there():
            with Ring.open(self.region_name) as ring:
                self.use(ring)
        super().stopped()

    def resumed(self, result: object) -> str:
        assert result is True
        return self.killed(result)


class CreateAndLeave(Create):
    """Killed, and then nothing is done but to sweep."""

    name = "create-then-sweep"

    def killed(self, result: object) -> str:
        there = self.is_there()
        assert there or result is None
        swept = self.take_away()
        assert not self.is_there()
        return ("named" if there else "nothing") + swept


class Open(_OfName):
    """Open, use and close a ring that others have open."""

    name = "open"

    def begin(self) -> None:
        super().begin()
        self.ring = self.create()
        self.use(self.ring)
        self.kept = ours()

    def prepare(self) -> None:
        self.next += 1
        self.put = self.next
        self.ring.put(record(self.put))
        self.got: list[bytes] = []

    def run(self) -> object:
        # What it had inherited is another opening of the same region: it must be its own.
        self.ring.close()
        with Ring.open(self.region_name) as ring:
            try:
                return ring.get_nowait()
            except Empty:
                return b""  # another one was faster

    def killed(self, result: object) -> str:
        while True:
            try:
                self.got.append(self.ring.get_nowait())
            except Empty:
                break
        if isinstance(result, bytes) and result:
            self.got.append(result)
        assert len(self.got) <= 1, "doubled"
        assert all(record(self.put) == found for found in self.got)
        if result is not None:
            assert self.got, "lost"
        with Ring.open(self.region_name) as again:
            self.use(again)
        return ("done" if result is not None else f"{1 - len(self.got)} taken") + self.take_away()

    def stopped(self) -> None:
        try:
            self.got.append(self.ring.get_nowait())
        except Empty:
            pass
        with Ring.open(self.region_name) as again:
            self.use(again)
        super().stopped()

    def resumed(self, result: object) -> str:
        assert result is not None
        return self.killed(result)

    def end(self) -> None:
        self.ring.close()
        self.ring.unlink()
        super().end()


class OpenAlone(_OfName):
    """Open a ring that nobody has open, and whose semaphores are gone: they are made anew."""

    name = "open-alone"

    def prepare(self) -> None:
        with self.create() as ring:
            self.put = [record(self.next + i) for i in (1, 2)]
            self.next += 2
            for each in self.put:
                ring.put(each)
            identity = ring.region._member.region_id
        for path in semaphores(identity).values():
            path.unlink()

    def run(self) -> object:
        self.opened = Ring.open(self.region_name)
        return True

    def killed(self, result: object) -> str:
        with Ring.open(self.region_name) as ring:
            assert self.put == [ring.get_nowait(), ring.get_nowait()], "lost"
            self.use(ring)
            ring.unlink()
        swept = self.take_away()
        return ("done" if result is not None else "killed") + swept

    def stopped(self) -> None:
        self.use(self.other)  # no sweep: it would be right to take what nobody has open yet

    def resumed(self, result: object) -> str:
        assert result is True
        return self.killed(result)


class Unlink(_OfName):
    name = "unlink"

    def prepare(self) -> None:
        self.ring = self.create()
        self.use(self.ring)

    def run(self) -> object:
        self.ring.unlink()
        return True

    def killed(self, result: object) -> str:
        there = self.is_there()
        if result is not None:
            assert not there
        self.use(self.ring)  # a process that has it open goes on
        self.ring.unlink()
        assert not self.is_there()
        self.ring.close()
        return ("nothing" if there else "done") + self.take_away()

    def stopped(self) -> None:
        self.use(self.ring)
        super().stopped()

    def resumed(self, result: object) -> str:
        assert result is True
        return self.killed(result)


class Sweep(_OfName):
    """A sweep is killed half way: the next one does the rest."""

    name = "sweep"

    def prepare(self) -> None:
        with self.create() as ring:
            self.use(ring)

    def run(self) -> object:
        return sweep()

    def killed(self, result: object) -> str:
        there = self.is_there()
        if result is not None:
            assert not there
        swept = self.take_away()
        assert not self.is_there()
        with self.create() as ring:
            self.use(ring)
            ring.unlink()
        self.take_away()
        return ("nothing" if there else "done") + swept

    def stopped(self) -> None:
        self.use(self.other)  # sweeping at the same time is what the next test does

    def resumed(self, result: object) -> str:
        return self.killed([])


class AddObject(_OfName):
    """A ring is made in a region that others use; where that is killed, the next one makes it."""

    name = "add-object"

    def begin(self) -> None:
        super().begin()
        self.kept = ours()

    def prepare(self) -> None:
        self.region = Region.create(self.region_name, "64 KiB")
        self.first = self.region.ring("first", capacity=4096, producers=2)
        self.use(self.first)

    def add(self) -> Ring:
        return self.region.ring("second", capacity=4096, producers=2)

    def run(self) -> object:
        self.add()
        return True

    def killed(self, result: object) -> str:
        there = "second" in self.region
        assert there or result is None
        self.use(self.first)
        self.use(self.add())
        assert ["first", "second"] == list(self.region)
        self.region.close()
        with Region.open(self.region_name) as again:
            second = again["second"]
            assert isinstance(second, Ring)
            self.use(second)
            again.unlink()
        return ("done" if there else "nothing") + self.take_away()

    def stopped(self) -> None:
        self.use(self.first)
        if "second" not in self.region:
            try:
                self.region.ring("second", capacity=4096, producers=2, timeout=0)
            except TimeoutError:
                pass  # making is the one thing that waits for its maker
        super().stopped()

    def resumed(self, result: object) -> str:
        assert result is True
        return self.killed(result)


class FirstPutNamed(_OfName):
    """A lane of a ring with a name is leased, and a semaphore made for it."""

    name = "first-put-named"

    def prepare(self) -> None:
        self.ring = self.create()
        self.got: list[bytes] = []

    def run(self) -> object:
        self.ring.put(record(0))
        return True

    def killed(self, result: object) -> str:
        try:
            self.got += self.ring.get_many(8, timeout=0)
        except Empty:
            pass
        assert self.got in ([], [record(0)])
        assert self.got or result is None, "lost"
        with self.ring.producer() as first, self.ring.producer() as second:
            for producer in (first, second):  # the lane of the dead, and one that nobody had
                self.next += 1
                producer.put(record(self.next), timeout=PATIENCE_S)
                assert record(self.next) == self.ring.get(timeout=PATIENCE_S)
        self.ring.unlink()
        self.ring.close()
        return ("done" if self.got else "nothing") + self.take_away()

    def stopped(self) -> None:
        with self.ring.producer() as other:
            other.put(record(1), timeout=PATIENCE_S)
        while record(1) not in self.got:
            self.got.append(self.ring.get(timeout=PATIENCE_S))
        self.got.remove(record(1))
        super().stopped()

    def resumed(self, result: object) -> str:
        assert result is True
        return self.killed(result)


Kind = Literal["ring", "slot", "counter"]


class _OfRoom(_OfName):
    """
    An object between two others is removed, or its room is used again; the region is one for all
    points, so room, an entry or a semaphore that a killed child keeps would soon be missed.
    """

    def __init__(self, kind: Kind) -> None:
        self.kind = kind

    def begin(self) -> None:
        super().begin()
        self.region = Region.create(self.region_name, "64 KiB")
        self.neighbors = [self.region.counter("first")]
        self.make().close()
        self.place = self.place_of_it()
        self.neighbors.append(self.region.counter("last"))
        self.counted = 0
        self.use_neighbors()
        self.region.remove("it")
        self.kept = ours()

    def make(self, timeout: float | None = 10) -> Ring | Slot | Counter:
        if self.kind == "ring":
            return self.region.ring("it", capacity=4096, producers=2, records=8, timeout=timeout)
        if self.kind == "slot":
            return self.region.slot("it", 40, timeout=timeout)
        return self.region.counter("it", timeout=timeout)

    def place_of_it(self) -> int:
        found = self.region._find("it")
        assert found is not None
        return found[2]

    def use_it(self, made: Ring | Slot | Counter) -> None:
        """It is whole."""
        if isinstance(made, Ring):
            self.use(made)
        elif isinstance(made, Slot):
            with made:
                made.publish(record(7))
                assert record(7) == made.read()
        else:
            before = made.value
            assert before + 1 == made.add(1)

    def use_neighbors(self) -> None:
        """Nobody has written to them."""
        for each in self.neighbors:
            assert self.counted == each.value
            each.add(1)
        self.counted += 1

    def make_new(self) -> None:
        """What is made now is empty, whole, and lies where the one before lay."""
        with self.make() as made:
            assert self.place == self.place_of_it(), "room was lost"
            if isinstance(made, Counter):
                assert 0 == made.value
            elif isinstance(made, Slot):
                assert 0 == made.version
            else:
                assert 0 == len(made)
            self.use_it(made)
        assert {"first", "it", "last"} == set(self.region)
        self.region.remove("it")
        assert {"first", "last"} == set(self.region)

    def stopped(self) -> None:
        self.use_neighbors()
        super().stopped()

    def resumed(self, result: object) -> str:
        assert result is True
        return self.killed(result)

    def end(self) -> None:
        with Region.open(self.region_name) as again:
            assert {"first", "last"} == set(again)
        self.region.unlink()
        self.region.close()
        super().end()


class Remove(_OfRoom):
    """An object that others have used, and that one still has open."""

    name = "remove"

    def prepare(self) -> None:
        with self.make() as made:
            self.use_it(made)
        self.opened = self.make()

    def run(self) -> object:
        try:
            self.region.remove("it")
        except KeyError:
            pass  # another one was faster
        return True

    def look(self) -> None:
        """What is called on a handle of it, whether it is there or not."""
        if isinstance(self.opened, Ring):
            len(self.opened)
        elif isinstance(self.opened, Slot):
            assert record(7) == self.opened.read()
        else:
            assert 1 == self.opened.value

    def check(self) -> bool:
        """All of it is there, or nothing."""
        if "it" in self.region:
            self.look()
            return True
        try:
            self.look()
        except ClosedError:
            return False
        raise AssertionError("a handle of what was removed is of use")

    def killed(self, result: object) -> str:
        there = self.check()
        assert not (there and result)
        if there:
            self.region.remove("it")
            assert not self.check()
        self.opened.close()
        self.make_new()
        self.use_neighbors()
        return ("nothing" if there else "removed") + self.take_away()

    def stopped(self) -> None:
        if self.check():
            try:
                self.region.remove("it", timeout=0)
            except TimeoutError:
                pass  # the child is at it
            self.check()
        super().stopped()


class RemoveUsed(Remove):
    """As Remove; the parent has used its handle and keeps the room until it notices."""

    name = "remove-used"

    def prepare(self) -> None:
        self.opened = self.make()
        if isinstance(self.opened, Slot):
            self.opened.publish(record(7))
        else:
            self.use_it(self.opened)


class UseAgain(_OfRoom):
    """An object is made, and used, in the room of one that was removed and left full of bytes."""

    name = "use-again"

    def prepare(self) -> None:
        with self.make() as made:
            if isinstance(made, Ring):
                made.put_many([b"\xff" * 400] * 6)
            elif isinstance(made, Slot):
                made.publish(b"\xff" * 40)
            else:
                made.add(2**60)
        self.region.remove("it")

    def run(self) -> object:
        with self.make() as made:
            self.use_it(made)
        return True

    def killed(self, result: object) -> str:
        there = "it" in self.region
        assert there or result is None
        if there:
            with self.make() as made:
                assert self.place == self.place_of_it(), "room was lost"
                if isinstance(made, Ring):
                    try:
                        made.get_many(8, timeout=0)
                    except Empty:
                        pass
                elif isinstance(made, Slot):
                    assert made.version == 0 or made.read() == record(7)
                else:
                    assert made.value in (0, 1, 2)  # of the child, and of the parent
                self.use_it(made)
            self.region.remove("it")
        self.make_new()
        self.use_neighbors()
        return ("made" if there else "nothing") + self.take_away()

    def stopped(self) -> None:
        if "it" not in self.region:
            try:
                self.make(timeout=0).close()
            except TimeoutError:
                pass  # the child is at it
        super().stopped()


# ---- all of them ---------------------------------------------------------------------------------

_BOTH: tuple[type[_OfRing], ...] = (
    PutFits,
    PutWraps,
    PutFull,
    PutMany,
    PutManyWraps,
    ReserveCommit,
    CommitWithView,
    ViewDies,
    ReserveAbort,
    Adopt,
    Leave,
    LeaveWithViews,
    FirstPut,
    PutRings,
    Get,
    GetInto,
    GetMany,
    BorrowRelease,
    BorrowKeep,
    ReleaseOutOfOrder,
    BorrowMany,
    RecordsUntil,
    GetWaits,
    FirstGet,
    LeaveConsumer,
    GetRings,
    Shutdown,
    ShutdownImmediate,
    GetAtTheEnd,
)


def _operations() -> dict[str, Callable[[], Operation]]:
    found: dict[str, Callable[[], Operation]] = {}

    def add(make: Callable[[], Operation], suffix: str) -> None:
        def named() -> Operation:
            operation = make()
            operation.name += suffix  # on the instance
            return operation

        found[named().name] = named

    consumers: tuple[Consumers, ...] = ("one", "many")
    for kind in _BOTH:
        for each in consumers:
            add(partial(kind, each), f":{each}")
    add(partial(Redeliver, "many"), ":many")
    add(partial(GiveBack, "many"), ":many")
    for slot in (Publish, FirstPublish, PublishRings, WaitNewer):
        add(partial(slot, "one"), ":one")
    add(partial(Publish, "many"), ":many")
    for named in (Create, CreateAndLeave, Open, OpenAlone, Unlink, Sweep, AddObject, FirstPutNamed):
        add(named, "")
    kinds: tuple[Kind, ...] = ("ring", "slot", "counter")
    for room in (Remove, RemoveUsed, UseAgain):
        for which in kinds:
            add(partial(room, which), f":{which}")
    for made in (*TOPIC_OPERATIONS.values(), *SHARED_STATE_OPERATIONS, *HEAP_OPERATIONS):
        add(made, "")
    from tests.system.every_step_waiting import waiting_operations  # derives from what is above

    for waiting, suffix in waiting_operations():
        add(waiting, suffix)
    return found


OPERATIONS = _operations()
