# SPDX-License-Identifier: MIT
"""
The operations of every_step.py on topics: what a child does once, and what must hold wherever it
dies.

One topic lives through all points of an operation: so each child takes over the lane or the place
that hundreds of killed ones have left.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Callable
from typing import Literal

import pytest

from memlane import Empty, Evicted, Full, Publisher, RoleTakenError, ShutDown, Subscriber, Topic
from tests.support.processes import PATIENCE_S, Child
from tests.system.every_step import Operation

_HEADER = struct.Struct("<QI")
Policy = Literal["overwrite", "wait"]


def record(number: int, nbytes: int = 40) -> bytes:
    """A record that is whole only if every byte is."""
    pattern = (number * 0x9E3779B97F4A7C15 % 2**64).to_bytes(8, "little")
    return (_HEADER.pack(number, nbytes) + pattern * (nbytes // 8 + 1))[:nbytes]


def number_of(found: bytes) -> int:
    number, nbytes = _HEADER.unpack_from(found)
    assert record(number, nbytes) == found, "torn"
    return int(number)


def drain(subscriber: Subscriber) -> list[int]:
    """The numbers of everything there is now."""
    found = []
    while True:
        try:
            found.append(number_of(subscriber.get_nowait()))
        except Empty:
            return found


class _OfTopic(Operation):
    """What all of them share: one topic, and numbers that only grow."""

    publishers = 2
    subscribers = 3
    records = 8

    def __init__(self) -> None:
        self.next = 0

    def begin(self) -> None:
        self.topic = Topic(
            4096,
            publishers=self.publishers,
            subscribers=self.subscribers,
            records=self.records,
            wait="sleep",
        )

    def number(self) -> int:
        self.next += 1
        return self.next

    def end(self) -> None:
        """Of hundreds of children nobody is left, but rows that anybody may join."""
        alive = {each.pid for each in self.topic.region.participants() if each.alive}
        assert alive <= {os.getpid()}
        self.topic.close()


# ---- the child publishes -------------------------------------------------------------------------


class _OfPublisher(_OfTopic):
    """The parent has a lane, too; one subscription that is waited for, and one that is not."""

    def begin(self) -> None:
        super().begin()
        self.reader, self.lossy = self.topic.subscribe(when_full="wait"), self.topic.subscribe()
        self.other = self.topic.publisher()
        self.other.publish(record(0))
        assert [[0], [0]] == [drain(self.reader), drain(self.lossy)]

    def prepare(self) -> None:
        self.before: list[int] = []  # what the child publishes before the operation
        self.operated: list[int] = []  # ... by it
        self.others: list[int] = []  # published by others while it is stopped
        self.got: list[int] = []
        self.lost = self.lossy.lost
        self.plan()

    def plan(self) -> None:
        self.operated = [self.number()]

    def lease(self) -> None:
        self.publisher = self.topic.publisher()
        self.publisher.reserve(8).abort()

    def warm(self) -> None:
        self.lease()
        for number in self.before:
            self.publisher.publish(record(number))

    def run(self) -> object:
        self.publisher.publish(record(self.operated[0]))
        return True

    def wake(self) -> None:
        self.got.append(number_of(self.reader.get(timeout=PATIENCE_S)))

    def killed(self, result: object) -> str:
        self.got += drain(self.reader)
        seen = drain(self.lossy)
        for lane in (self.others, self.before + self.operated):
            assert [it for it in seen if it in lane] == [
                it for it in self.got if it in lane and it in seen
            ], "out of order"
        assert len(self.got) == len(seen) + self.lossy.lost - self.lost, "lost and not told"
        own = [number for number in self.got if number not in self.others]
        outcome = "done"
        if own != self.before + self.operated:
            assert self.before == own, "lost, doubled, out of order, or a part of a batch"
            assert result is None, "lost, though the publish had returned"
            outcome = "nothing"
        self.succeed()
        return outcome

    def succeed(self) -> None:
        """A successor goes on in the lane, which takes as many records as it ever did."""
        with self.topic.publisher() as successor:
            published = []
            while True:
                number = self.number()
                try:
                    successor.publish_nowait(record(number, 12))
                except Full:
                    break
                published.append(number)
            assert self.records == len(published), "room was lost"
            assert published == drain(self.reader)
            drain(self.lossy)

    def stopped(self) -> None:
        number = self.number()
        self.others.append(number)
        self.other.publish(record(number), timeout=PATIENCE_S)
        while number not in self.got:
            self.got.append(number_of(self.reader.get(timeout=PATIENCE_S)))
        self.refused()

    def refused(self) -> None:
        try:
            with self.topic.publisher() as third:
                third.publish_nowait(record(0))
        except RoleTakenError:
            return
        raise AssertionError("one that is stopped lost its lane")

    def goes_on(self) -> None:
        self.got += drain(self.reader)

    def resumed(self, result: object) -> str:
        assert result is not None
        return self.killed(result)


class PublishFits(_OfPublisher):
    name = "publish-fits"

    def plan(self) -> None:
        self.before, self.operated = [self.number()], [self.number()]


class PublishWraps(_OfPublisher):
    """The record does not fit before the end: `head` moves, and the places are read."""

    name = "publish-wraps"

    def begin(self) -> None: ...

    def prepare(self) -> None:
        super().begin()  # or what lies where would depend on the rounds before
        super().prepare()

    def killed(self, result: object) -> str:
        outcome = super().killed(result)
        super().end()
        return outcome

    def end(self) -> None: ...

    def plan(self) -> None:
        self.before, self.operated = [self.number(), self.number()], [self.number()]

    def warm(self) -> None:
        self.lease()
        for number, nbytes in zip(self.before, (2000, 1500), strict=True):
            self.publisher.publish(record(number, nbytes))

    def arrange(self) -> None:
        self.got.append(number_of(self.reader.get_nowait()))

    def run(self) -> object:
        self.publisher.publish(record(self.operated[0], 1000))
        return True


class PublishMustWait(_OfPublisher):
    """The lane is full: announce, look again, sleep, be woken by the subscriber, publish."""

    name = "publish-must-wait"
    records = 2

    def plan(self) -> None:
        self.before, self.operated = [self.number(), self.number()], [self.number()]


class PublishMany(_OfPublisher):
    """A batch: all of it or nothing."""

    name = "publish-many"

    def plan(self) -> None:
        self.before, self.operated = [self.number()], [self.number() for _ in range(4)]

    def run(self) -> object:
        return self.publisher.publish_many([record(number) for number in self.operated])


class PublishInPlace(_OfPublisher):
    name = "publish-in-place"

    def run(self) -> object:
        with self.publisher.reserve(40) as room:
            room[:] = record(self.operated[0])
        return True


class PublishEvicts(_OfPublisher):
    """One that asked for it stands in the way, and has not moved for a millisecond."""

    name = "publish-evicts"

    def plan(self) -> None:
        self.before = [self.number() for _ in range(self.records)]
        self.operated = [self.number()]
        self.slow = self.topic.subscribe(when_full="wait", evict_after=0.001)

    def arrange(self) -> None:
        self.got += drain(self.reader)

    def killed(self, result: object) -> str:
        if result is not None:
            with pytest.raises(Evicted) as told:
                drain(self.slow)
            assert told.value.records == self.records
        self.slow.close()
        return super().killed(result)


class PublishBuries(_OfPublisher):
    """One that was killed stands in the way: its place is taken away."""

    name = "publish-buries"

    def plan(self) -> None:
        self.before = [self.number() for _ in range(self.records)]
        self.operated = [self.number()]

        def subscribe_and_die() -> None:
            kept = self.topic.subscribe(when_full="wait")
            os._exit(0 if kept else 1)

        with Child(subscribe_and_die) as dead:
            assert 0 == dead.wait()

    def arrange(self) -> None:
        self.got += drain(self.reader)


class PublishFirst(_OfPublisher):
    """The first publish of a process: it joins, and takes over the lane of one that was killed."""

    name = "publish-first"

    def warm(self) -> None:
        self.publisher = self.topic.publisher()

    def refused(self) -> None:
        pass  # whose lane it is depends on the point

    def stopped(self) -> None:
        number = self.number()
        self.others.append(number)
        self.other.publish(record(number), timeout=PATIENCE_S)
        while number not in self.got:
            self.got.append(number_of(self.reader.get(timeout=PATIENCE_S)))


class EndTopic(_OfPublisher):
    """A shutdown cut off anywhere: the next one finishes it."""

    name = "end-topic"

    def begin(self) -> None: ...

    def prepare(self) -> None:
        super().begin()
        super().prepare()

    def warm(self) -> None:
        self.lease()
        self.publisher.publish(record(self.operated[0]))

    def run(self) -> object:
        self.topic.shutdown()
        return True

    def killed(self, result: object) -> str:
        began = self.topic.is_shut_down
        assert began or result is None
        self.topic.shutdown()
        found = [number_of(it) for it in self.reader]
        assert self.operated == [it for it in found if it not in self.others], "lost at the end"
        try:
            self.other.publish(record(0))
        except ShutDown:
            self.topic.close()
            return "begun" if began else "nothing"
        raise AssertionError("published behind the end")

    def stopped(self) -> None:
        try:
            self.other.publish(record(0), timeout=PATIENCE_S)
            self.others.append(0)
        except ShutDown:
            pass

    def goes_on(self) -> None: ...

    def end(self) -> None: ...


# ---- the child subscribes ------------------------------------------------------------------------


class _OfSubscriber(_OfTopic):
    """The parent publishes, and must get room and a place back from every child."""

    publishers = 1
    subscribers = 2
    policy: Policy = "wait"
    count = 3

    def begin(self) -> None:
        super().begin()
        self.publisher: Publisher = self.topic.publisher()
        self.publisher.publish(record(0))

    def prepare(self) -> None:
        self.numbers: list[int] = []

    def warm(self) -> None:
        self.subscriber = self.topic.subscribe(when_full=self.policy)

    def publish(self, count: int) -> None:
        for _ in range(count):
            self.numbers.append(self.number())
            self.publisher.publish_nowait(record(self.numbers[-1]))

    def arrange(self) -> None:
        self.publish(self.count)

    def run(self) -> object:
        return [number_of(self.subscriber.get()) for _ in range(self.count)]

    def check(self, result: object) -> None:
        assert self.numbers[: self.count] == result, "lost, doubled or out of order"

    def killed(self, result: object) -> str:
        if result is not None:
            self.check(result)
        for _ in range(3 * self.records):
            self.publisher.publish_nowait(record(self.number()))
        kept = [self.topic.subscribe(when_full="wait") for _ in range(self.subscribers)]
        number = self.number()
        self.publisher.publish_nowait(record(number))
        assert [[number]] * self.subscribers == [drain(each) for each in kept]
        for each in kept:
            each.close()
        assert [] == self.topic.stats()["subscriptions"]
        return "nothing" if result is None else "done"

    def stopped(self) -> None:
        """It keeps its place and what it has not got; the others go on."""
        with self.topic.subscribe(when_full="wait") as other:
            self.publish(2)
            assert self.numbers[-2:] == drain(other)

    def resumed(self, result: object) -> str:
        assert result is not None
        return self.killed(result)


class TopicGet(_OfSubscriber):
    name = "topic-get"
    count = 1


class TopicGetLossy(TopicGet):
    name = "topic-get-lossy"
    policy: Policy = "overwrite"


class TopicGetMany(_OfSubscriber):
    name = "topic-get-many"

    def run(self) -> object:
        return [number_of(found) for found in self.subscriber.get_many(self.count)]


class TopicGetWaits(_OfSubscriber):
    """Nothing is there: announce, look again, sleep, be woken by the publisher."""

    name = "topic-get-waits"
    count = 1

    def arrange(self) -> None: ...

    def wake(self) -> None:
        self.publish(1)

    def stopped(self) -> None:
        if not self.numbers:
            self.publish(1)
        super().stopped()


class TopicBorrow(_OfSubscriber):
    """Borrow all, and release them out of order."""

    name = "topic-borrow"

    def run(self) -> object:
        loans = [self.subscriber.borrow() for _ in range(self.count)]
        found = [number_of(bytes(memoryview(loan))) for loan in loans]
        for index in (1, 0, 2):
            loans[index].release()
        return found


class TopicBorrowKeep(_OfSubscriber):
    """A loan is out when it dies."""

    name = "topic-borrow-keep"

    def run(self) -> object:
        self.loans = [self.subscriber.borrow() for _ in range(self.count)]
        return [number_of(bytes(memoryview(loan))) for loan in self.loans]


class TopicJoin(_OfSubscriber):
    """Take a place, begin at the last record, show it, settle."""

    name = "topic-join"
    count = 1

    def warm(self) -> None:
        self.topic.region.join()

    def run(self) -> object:
        self.subscriber = self.topic.subscribe("last", when_full=self.policy)
        return [number_of(self.subscriber.get())]

    def check(self, result: object) -> None:
        """Whichever was the last one then."""
        assert isinstance(result, list)
        assert set(result) <= set(self.numbers), "not the last record"


class TopicJoinLossy(TopicJoin):
    name = "topic-join-lossy"
    policy: Policy = "overwrite"


class TopicLeave(_OfSubscriber):
    """Close, with a loan out and records to get."""

    name = "topic-leave"
    count = 1

    def run(self) -> object:
        loan = self.subscriber.borrow()
        self.subscriber.close()
        found = number_of(bytes(memoryview(loan)))
        loan.release()
        return [found]


class TopicEvicted(_OfSubscriber):
    """It is evicted while it stands still, is told so, and subscribes again."""

    name = "topic-evicted"
    count = 1

    def warm(self) -> None:
        self.subscriber = self.topic.subscribe(when_full="wait", evict_after=0.001)

    def arrange(self) -> None:
        end = time.monotonic() + PATIENCE_S
        before = self.topic.stats()["evicted"]
        while self.topic.stats()["evicted"] == before:
            assert time.monotonic() < end
            self.publisher.publish(record(self.number()), timeout=PATIENCE_S)

    def run(self) -> object:
        try:
            self.subscriber.get()
        except Evicted:
            self.subscriber = self.topic.subscribe("last")
            return [number_of(self.subscriber.get())]
        raise AssertionError("it was evicted, and is not told")

    def check(self, result: object) -> None: ...


TOPIC_OPERATIONS: dict[str, Callable[[], Operation]] = {
    made.name: made
    for made in (
        PublishFits,
        PublishWraps,
        PublishMustWait,
        PublishMany,
        PublishInPlace,
        PublishEvicts,
        PublishBuries,
        PublishFirst,
        EndTopic,
        TopicGet,
        TopicGetLossy,
        TopicGetMany,
        TopicGetWaits,
        TopicBorrow,
        TopicBorrowKeep,
        TopicJoin,
        TopicJoinLossy,
        TopicLeave,
        TopicEvicted,
    )
}
