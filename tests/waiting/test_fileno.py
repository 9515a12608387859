# SPDX-License-Identifier: MIT
"""`fileno`: a descriptor of each handle, for select, poll, epoll and event loops."""

from __future__ import annotations

import os
import select
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from memlane import (
    ClosedError,
    Empty,
    Full,
    Publisher,
    Region,
    Ring,
    RoleTakenError,
    ShutDown,
    Slot,
    SlotTable,
    Topic,
)
from tests.support.children import PAGE, Gate, forever
from tests.support.processes import PATIENCE_S, Child, wait_until


@dataclass
class Thing:
    """
    One kind of handle that has a descriptor.

    Attributes:
        handle: It.
        change: Gives it something to do.
        take: Does that; None: there was nothing.
    """

    handle: Any
    change: Callable[[], object]
    take: Callable[[], object]


def nothing(verb: Callable[[], object]) -> Callable[[], object]:
    """*verb*, or None where it finds nothing."""

    def call() -> object:
        try:
            return verb()
        except (Empty, Full):
            return None

    return call


def fill(put: Callable[[bytes], object]) -> None:
    with pytest.raises(Full):
        for _ in range(1000):
            put(b"x")


def is_readable(descriptor: int, timeout_ms: float = 0) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(timeout_ms))


@pytest.fixture(params=["ring one", "ring many", "ring", "room", "slot", "table", "sub", "pub"])
def thing(request: pytest.FixtureRequest) -> Iterator[Thing]:
    """Each kind of handle, with nothing to do."""
    kind = request.param
    with ExitStack() as stack:
        if kind.startswith("ring"):
            consumers: Literal["one", "many"] = "many" if kind == "ring many" else "one"
            ring = stack.enter_context(Ring(PAGE, records=8, consumers=consumers))
            getter: Any = ring if kind == "ring" else ring.consumer()
            yield Thing(getter, lambda: ring.put(b"a"), nothing(getter.get_nowait))
        elif kind == "room":
            ring = stack.enter_context(Ring(PAGE, records=8))
            sender = ring.producer()
            fill(sender.put_nowait)
            yield Thing(sender, lambda: ring.get_many(8), lambda: fill(sender.put_nowait))
        elif kind == "slot":
            slot = stack.enter_context(Slot.create(None, "d"))
            reader = stack.enter_context(_again(slot))
            yield Thing(reader, lambda: slot.publish(1.5), nothing(reader.read))
        elif kind == "table":
            table = stack.enter_context(SlotTable.create(None, 100, "d"))
            yield Thing(table, lambda: table[77].publish(1.5), table.read_all)
        else:
            topic = stack.enter_context(Topic(PAGE, records=8, publishers=2, when_full="wait"))
            subscriber = stack.enter_context(topic.subscribe())
            publisher = stack.enter_context(topic.publisher())
            if kind == "sub":
                yield Thing(subscriber, lambda: topic.publish(b"a"), nothing(subscriber.get_nowait))
            else:
                fill(publisher.publish_nowait)
                yield Thing(
                    publisher,
                    lambda: subscriber.get_many(8),
                    lambda: fill(publisher.publish_nowait),
                )


def _again(slot: Slot[Any]) -> Slot[Any]:
    """Another handle of the same slot."""
    region = slot.region
    return region.slot(next(iter(region)))


def settle(thing: Thing) -> None:
    """Take until there is nothing; a slice may make the descriptor readable in between."""

    def is_settled() -> bool:
        while thing.take() is not None:
            pass
        return not is_readable(thing.handle.fileno())

    if isinstance(thing.handle, SlotTable | Slot):
        wait_until(lambda: bool(thing.take() or True) and not is_readable(thing.handle.fileno()))
    else:
        wait_until(is_settled)


def test_a_change_makes_a_drained_descriptor_readable_at_once(thing: Thing) -> None:
    """Readable before the call that changed something has returned, and until it is taken."""
    descriptor = thing.handle.fileno()
    for _ in range(3):
        settle(thing)
        thing.change()

        assert is_readable(descriptor)
        assert is_readable(descriptor)
        assert descriptor == thing.handle.fileno()


def test_what_is_there_already_makes_a_new_descriptor_readable(thing: Thing) -> None:
    """`fileno` looks, too."""
    thing.change()

    assert is_readable(thing.handle.fileno())


def test_a_descriptor_that_nobody_wakes_is_readable_once_in_a_slice(thing: Thing) -> None:
    """So that deaths are found."""
    settle(thing)

    assert is_readable(thing.handle.fileno(), 300_000)


def test_a_descriptor_is_non_blocking_and_closed_by_exec_and_by_close(thing: Thing) -> None:
    descriptor = thing.handle.fileno()

    assert not os.get_inheritable(descriptor)
    before = len(os.listdir("/proc/self/fd"))
    thing.handle.close()
    assert before > len(os.listdir("/proc/self/fd"))
    with pytest.raises(ClosedError):
        thing.handle.fileno()


def test_a_forked_child_gets_a_descriptor_of_its_own() -> None:
    """The child neither drains that of its parent nor keeps it open."""
    with Ring(PAGE, consumers="many") as ring, ring.consumer() as receiver:
        descriptor = receiver.fileno()
        with pytest.raises(Empty):
            receiver.get_nowait()

        def child() -> None:
            with pytest.raises(Empty):
                receiver.get_nowait()
            own = receiver.fileno()
            ring.put(b"a")
            assert is_readable(own)
            assert receiver.get_nowait() == b"a"
            ring.put(b"b")

        with Child(child) as process:
            assert 0 == process.wait()
        assert is_readable(descriptor)
        assert receiver.get_nowait() == b"b"


def test_the_end_makes_a_descriptor_readable_for_good() -> None:
    """As a closed socket is."""
    with Ring(PAGE) as ring, ring.consumer() as receiver, ring.producer() as sender:
        fill(sender.put_nowait)
        receiver.get_many(1000)
        with pytest.raises(Empty):
            receiver.get_nowait()
        descriptor, room = receiver.fileno(), sender.fileno()
        ring.shutdown()
        for _ in range(2):
            assert is_readable(descriptor)
            with pytest.raises(ShutDown):
                receiver.get_nowait()
            assert is_readable(room)
            with pytest.raises(ShutDown):
                sender.put_nowait(b"")


def test_removal_makes_a_descriptor_readable() -> None:
    """What waits learns that there is nothing to wait for any more."""
    with Region.create(None, "1 MiB") as region:
        slot = region.slot("pose", "d")
        ring = region.ring("frames", capacity=PAGE)
        for handle, take in ((slot, slot.read), (ring, ring.get_nowait)):
            descriptor = handle.fileno()
            with pytest.raises(Empty):
                take()
            region.remove("pose" if handle is slot else "frames")

            assert is_readable(descriptor)
            with pytest.raises(ClosedError, match="removed"):
                take()


def test_a_descriptor_for_records_takes_the_role_of_the_consumer() -> None:
    """As the first get does, with the same error."""
    with Ring(PAGE) as ring, Gate() as gate:

        def consume() -> None:
            with ring.consumer() as receiver:
                receiver.fileno()
                gate.open()
                forever()

        with Child(consume):
            gate.wait()
            with pytest.raises(RoleTakenError):
                ring.fileno()


def test_many_records_are_drained_without_a_wake_up_each() -> None:
    """While the selector is not armed anew, puts send nothing."""
    with Ring("64 KiB") as ring:
        descriptor = ring.fileno()
        for _ in range(3):
            with pytest.raises(Empty):
                ring.get_nowait()
            for _ in range(100):
                ring.put(b"x")
            assert is_readable(descriptor)
            assert 100 == len([ring.get_nowait() for _ in range(100)])


def test_a_descriptor_wakes_a_process_that_waits(thing: Thing) -> None:
    """Across processes, with epoll."""
    if isinstance(thing.handle, Publisher):
        pytest.skip("in a child a subscription is another one")
    settle(thing)
    with select.epoll() as poll, Child(thing.change) as process:
        poll.register(thing.handle.fileno(), select.EPOLLIN)
        assert poll.poll(PATIENCE_S)
        assert 0 == process.wait()
