# SPDX-License-Identifier: MIT
"""
The operations of every_step.py on waiting for several things: a child that waits by a descriptor,
through `memlane.wait`, `fileno` or as an event loop does, and one that wakes what waits so.

A pipe that nobody writes to is waited for as well, so that no wait spins.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from functools import partial

import memlane
from memlane import Empty, Full
from memlane._core import Selector
from tests.support.processes import PATIENCE_S
from tests.system.every_step import Operation
from tests.system.every_step_operations import (
    Get,
    GetRings,
    GetWaits,
    LeaveConsumer,
    PublishRings,
    PutRings,
    Sleeper,
    WaitNewer,
    number_of,
    record,
)
from tests.system.every_step_topics import TopicGetWaits


class _LeavesNothing(Operation):
    """At the end no descriptor is left in this process."""

    def begin(self) -> None:
        with memlane.Ring(4096) as ring:  # the first send makes the socket that all sends use
            ring.fileno()
            ring.put(b"")
        self.before = len(os.listdir("/proc/self/fd"))
        self.pipe = os.pipe()
        super().begin()

    def end(self) -> None:
        super().end()
        for descriptor in self.pipe:
            os.close(descriptor)
        assert self.before == len(os.listdir("/proc/self/fd")), "a descriptor was left"


class _Wakes(_LeavesNothing):
    """What waits is woken for the last time, too: places of the dead are used again."""

    ring: memlane.Ring

    def end(self) -> None:
        selector = Selector()
        with self.ring.consumer() as consumer:
            watch = consumer._watch_records()
            watch.begin()
            assert (False, True) == selector.join(watch), "no place is left"
            del watch
        selector.end()
        super().end()


# ---- a child that waits --------------------------------------------------------------------------


class WaitArms(_Wakes, GetWaits):
    """`memlane.wait`: make a descriptor, take a place, arm, announce, look again, poll, drain."""

    name = "wait-arms"

    def run(self) -> object:
        while True:
            assert [self.consumer] == memlane.wait([self.consumer, self.pipe[0]], PATIENCE_S)
            try:
                return [number_of(self.consumer.get_nowait())]
            except Empty:
                assert self.consumers == "many"  # another one has taken it meanwhile


class FilenoArms(_Wakes, Get):
    """`fileno`, which looks; a get; and one that ends in Empty: it drains, arms, looks again."""

    name = "fileno-arms"
    puts = 1

    def run(self) -> object:
        poll = select.poll()
        poll.register(self.consumer.fileno(), select.POLLIN)
        assert poll.poll(0) or self.consumers == "many"  # another one may have taken it by now
        found = []
        while True:
            try:
                found.append(number_of(self.consumer.get_nowait()))
            except Empty:
                return found


class LoopArms(_Wakes, GetWaits):
    """What an event loop does with its one descriptor."""

    name = "loop-arms"

    def run(self) -> object:
        selector = Selector()
        watch = self.consumer._watch_records()
        watch.begin()
        poll = select.poll()
        poll.register(selector.descriptor, select.POLLIN)
        due, is_armed = selector.join(watch)
        assert is_armed
        found: list[int] = []
        while not found:
            while not due:
                if poll.poll(100):
                    selector.empty()
                    due = bool(selector.due([watch]) or selector.arm([watch], False))
                else:
                    due = bool(selector.arm([watch], True))
            try:
                found = [number_of(self.consumer.get_nowait())]
            except Empty:
                assert self.consumers == "many"  # another one has taken it meanwhile
                due = False
        selector.end()
        return found


class Disarm(_LeavesNothing, LeaveConsumer):
    """A consumer that is armed is closed: the place and the descriptor go with it."""

    name = "disarm"

    def warm(self) -> None:
        super().warm()
        self.consumer.fileno()


class WaitNewerArms(_LeavesNothing, WaitNewer):
    """The same for a slot."""

    name = "wait-newer-arms"

    def warm(self) -> None:
        super().warm()
        if self.version:
            self.slot.read()

    def run(self) -> object:
        assert [self.slot] == memlane.wait([self.slot, self.pipe[0]], PATIENCE_S)
        return self.slot.version


class TopicWaitArms(_LeavesNothing, TopicGetWaits):
    """The same for a subscription."""

    name = "topic-wait-arms"

    def run(self) -> object:
        assert [self.subscriber] == memlane.wait([self.subscriber, self.pipe[0]], PATIENCE_S)
        return super().run()


# ---- a child that wakes --------------------------------------------------------------------------


class _WaitingSleeper(Sleeper):
    """One that waits by a descriptor."""

    def _get(self) -> None:
        pipe = os.pipe()
        with self.ring.consumer() as consumer:
            while True:
                try:
                    self.line.tell(number_of(consumer.get_nowait()))
                except Empty:
                    memlane.wait([consumer, pipe[0]])


class PutSends(PutRings):
    """
    A consumer waits by a descriptor: the child takes the announcement away, disarms it, sends.
    Whatever was committed reaches it, though nothing was ever sent.
    """

    name = "put-sends"
    sleeps_by = _WaitingSleeper


class GetSends(GetRings):
    """A producer waits by a descriptor for room."""

    name = "get-sends"

    def put_for_ever(self) -> None:
        pipe = os.pipe()
        producer = self.ring.producer()
        number = 0
        while True:
            number += 1
            while True:
                try:
                    producer.put_nowait(record(number, 1000))
                    break
                except Full:
                    memlane.wait([producer, pipe[0]])
            self.line.tell(number)


class PublishSends(PublishRings):
    """A watcher waits by a descriptor."""

    name = "publish-sends"

    def watch(self) -> None:
        pipe = os.pipe()
        version = 0
        while True:
            memlane.wait([self.slot, pipe[0]])
            if self.slot.version > version:
                version = self.slot.read_versioned()[1]
                self.line.tell(version)


def waiting_operations() -> list[tuple[Callable[[], Operation], str]]:
    """Each with what is added to its name."""
    made: list[tuple[Callable[[], Operation], str]] = []
    for kind in (WaitArms, FilenoArms, LoopArms, Disarm, PutSends, GetSends):
        made += [(partial(kind, "one"), ":one"), (partial(kind, "many"), ":many")]
    made += [(partial(WaitNewerArms, "one"), ":one"), (partial(PublishSends, "one"), ":one")]
    return [*made, (TopicWaitArms, "")]
