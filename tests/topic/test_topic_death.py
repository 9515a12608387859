# SPDX-License-Identifier: MIT
"""Publishers and subscribers that are killed or stopped, and what the others see of it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from memlane import Empty, Full, PeerGoneError, RoleTakenError, Topic
from tests.support.children import Gate, forever, killed_after
from tests.support.processes import Child
from tests.topic.test_publish_get import everything
from tests.topic.test_waited_for import filled

pytestmark = pytest.mark.machine


@pytest.mark.parametrize("work", ["joined", "got", "borrowed", "evicted"])
def test_a_killed_subscriber_frees_its_room_at_the_next_publish_that_would_wait(work: str) -> None:
    """With or without a loan, and also where it is evicted already."""
    with Topic("4 KiB", publishers=1, records=8, subscribers=1) as topic:
        topic.publish_many([b"a", b"b", b"c"])

        def subscribe() -> Any:
            evict_after = 0.001 if work == "evicted" else None
            subscriber = topic.subscribe("oldest", when_full="wait", evict_after=evict_after)
            if work == "got":
                assert b"a" == subscriber.get()
            if work in ("borrowed", "evicted"):
                return subscriber, subscriber.borrow()
            return subscriber

        killed_after(subscribe)
        for _ in range(100):
            topic.publish_nowait(b"x")
        assert [] == topic.stats()["subscriptions"]
        topic.subscribe(when_full="wait")


def test_a_killed_subscriber_frees_its_place_to_the_next_that_joins() -> None:
    """Under "overwrite" nobody ever waits for it, so nobody else looks."""
    with Topic("4 KiB", publishers=1, subscribers=2) as topic:
        killed_after(topic.subscribe)
        killed_after(topic.subscribe)
        assert ["dead"] * 2 == [found["subscriber"] for found in topic.stats()["subscriptions"]]
        kept = [topic.subscribe(), topic.subscribe()]
        with pytest.raises(
            RoleTakenError, match="all subscribers=2 of unnamed topic are taken"
        ) as taken:
            topic.subscribe()
        assert ("subscriber", (os.getpid(),) * 2) == (taken.value.role, taken.value.pids)
        assert 2 == len(kept)


def test_a_stopped_subscriber_is_waited_for_and_named() -> None:
    """It lives: only evict_after lets publishers go on."""
    with Topic("4 KiB", publishers=1, records=8) as topic, Gate() as gate:

        def subscribe() -> None:
            kept = topic.subscribe(when_full="wait")
            gate.open()
            forever()
            del kept

        with Child(subscribe) as child:
            gate.wait()
            child.stop()
            assert 8 == filled(topic)
            with pytest.raises(Full) as full:
                topic.publish(b"x", timeout=0.01)
            assert [child.pid] == [laggard.pid for laggard in full.value.laggards]
            child.kill()
            topic.publish_nowait(b"x")


def test_a_successor_goes_on_in_the_lane_of_a_killed_publisher() -> None:
    """Nothing half visible, nothing twice; one that is waited for keeps what it has not got."""
    with Topic("4 KiB", publishers=1, records=8, when_full="wait") as topic:
        subscriber = topic.subscribe()
        killed_after(lambda: topic.publish_many([b"%d" % number for number in range(6)]))
        assert b"0" == subscriber.get()
        assert 3 == topic.publish_many([b"%d" % number for number in range(6, 12)], timeout=0)
        assert [b"%d" % number for number in range(1, 9)] == everything(subscriber)
        assert 9 == subscriber.position


def test_a_live_publisher_keeps_its_lane() -> None:
    """The next one is told who has it."""
    with Topic("4 KiB", publishers=1) as topic:
        topic.publish(b"a")
        with (
            topic.publisher() as publisher,
            pytest.raises(RoleTakenError, match="all publishers=1 of unnamed topic") as taken,
        ):
            publisher.publish(b"b", timeout=0)
        assert ("publisher", (os.getpid(),)) == (taken.value.role, taken.value.pids)


@pytest.mark.parametrize("verb", ["get", "get_many", "borrow", "records", "borrowed"])
def test_what_requires_a_publisher_ends_when_all_have_died_or_left(verb: str) -> None:
    """Not before the first one has come, and not before all that they published is got."""

    def next_of(subscriber: Any) -> Any:
        if verb == "get_many":
            return subscriber.get_many(1, timeout=0, require_peer=True)
        if verb in ("records", "borrowed"):
            return next(getattr(subscriber, verb)(timeout=0, require_peer=True))
        return getattr(subscriber, verb)(timeout=0, require_peer=True)

    with Topic("4 KiB", publishers=2) as topic:
        subscriber = topic.subscribe()
        with pytest.raises(Empty):
            next_of(subscriber)
        publisher = topic.publisher()
        publisher.publish(b"of one that will leave")
        killed_after(lambda: topic.publish(b"of one that died"))
        for _ in range(2):
            next_of(subscriber)
        with pytest.raises(Empty):
            next_of(subscriber)
        publisher.close()
        with pytest.raises(PeerGoneError, match="no publisher of unnamed topic is left") as gone:
            next_of(subscriber)
        assert (1, 1) == (gone.value.died, gone.value.left)
        with pytest.raises(Empty):
            subscriber.get(timeout=0)


def test_a_get_that_requires_a_publisher_is_told_of_its_death() -> None:
    """Also while it waits: it looks again within a tenth of a second."""
    with Topic("4 KiB", publishers=2) as topic, Gate() as gate:
        subscriber = topic.subscribe()

        def publish() -> None:
            topic.publish(b"x")
            gate.open()
            forever()

        with Child(publish) as child, ThreadPoolExecutor() as pool:
            gate.wait()
            assert b"x" == subscriber.get(require_peer=True)
            waiting = pool.submit(subscriber.get, require_peer=True)
            child.kill()
            with pytest.raises(PeerGoneError):
                waiting.result()
