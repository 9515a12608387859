# SPDX-License-Identifier: MIT
"""What cannot be is refused with what was expected, what was found, and what to do."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import pytest

from memlane import (
    ClosedError,
    LayoutError,
    RecordTooLargeError,
    Region,
    Ring,
    RoleTakenError,
    Slot,
    Topic,
)
from tests.support.children import Gate, forever
from tests.support.processes import Child


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"publishers": 0}, "publishers must be from 1 to 1000, got 0"),
        ({"publishers": 1001}, "publishers must be from 1 to 1000, got 1001"),
        ({"subscribers": 0}, "subscribers must be from 1 to 512, got 0"),
        ({"subscribers": 513}, "subscribers must be from 1 to 512, got 513"),
        ({"when_full": "drop"}, "when_full must be 'overwrite' or 'wait', got 'drop'"),
        ({"order": "any"}, "order must be 'publisher' or 'all', got 'any'"),
        ({"records": 0}, "records must be from 1 to 16777215, got 0"),
        ({"capacity": 0}, "capacity must be from 1 byte to 32 GiB for each publisher, got 0"),
        ({"capacity": "1 MB"}, "capacity must be bytes or text like '64 MiB'"),
        ({"wait": "never"}, "wait must be"),
    ],
)
def test_a_geometry_out_of_range_is_refused(arguments: dict[str, Any], said: str) -> None:
    """Before anything is made."""
    with pytest.raises(ValueError, match=said):
        Topic(**{"capacity": 4096, **arguments})


def test_a_call_by_a_name_says_which_call_takes_one() -> None:
    """The class makes a topic without a name."""
    with pytest.raises(
        TypeError, match=r"for a name use Topic\.create\('ticks', \.\.\.\) or Topic"
    ):
        Topic("ticks")


@pytest.mark.parametrize(
    ("subscribing", "kind", "said"),
    [
        ({"when_full": "drop"}, ValueError, "when_full must be 'overwrite' or 'wait', got 'drop'"),
        (
            {"evict_after": 1},
            ValueError,
            "evict_after=1 needs when_full='wait', since nobody waits",
        ),
        ({"evict_after": -1}, ValueError, "evict_after must be None or at least 0 seconds, got -1"),
        ({"evict_after": "1"}, TypeError, "evict_after must be seconds or None, got '1'"),
    ],
)
def test_a_subscription_out_of_range_is_refused(
    subscribing: dict[str, Any], kind: type[Exception], said: str
) -> None:
    """And takes no place."""
    with Topic("4 KiB", subscribers=1) as topic:
        with pytest.raises(kind, match=said):
            topic.subscribe(**subscribing)
        assert [] == topic.stats()["subscriptions"]


def test_one_too_many_is_told_which_processes_have_the_places_and_the_lanes() -> None:
    """A subscription at once, a publish when its timeout is over; each goes as soon as it can."""
    with Topic("4 KiB", publishers=2, subscribers=2) as topic, Gate() as gate:
        mine, publisher = topic.subscribe(), topic.publisher()
        publisher.publish(b"mine")

        def take_one_of_each() -> None:
            kept = topic.subscribe()
            topic.publish(b"the child's")
            gate.open()
            forever()
            del kept

        with Child(take_one_of_each) as child:
            gate.wait()
            pids = {os.getpid(), child.pid}
            with pytest.raises(
                RoleTakenError, match=r"all subscribers=2 of .* \(pid \d+, \d+\); close one there"
            ) as error:
                topic.subscribe()
            assert ("subscriber", pids) == (error.value.role, set(error.value.pids))
            for timeout in (0, 0.01):
                with pytest.raises(RoleTakenError, match=r"all publishers=2 of .*\(pid ") as error:
                    topic.publish(b"", timeout=timeout)
                assert ("publisher", pids) == (error.value.role, set(error.value.pids))
            mine.close()
            publisher.close()
            again = topic.subscribe()
            topic.publish(b"went")
            assert b"went" == again.get_nowait()
            child.kill()


def test_a_topic_is_no_ring_and_a_ring_is_no_topic(name: str) -> None:
    """A process that opens or makes one under the name of the other is told what is there."""
    with Region.create(name, "2 MiB") as region:
        region.topic("ticks", capacity=4096)
        region.ring("tasks", capacity=4096)
        calls: list[tuple[Callable[[], object], str]] = [
            (lambda: region.ring("ticks"), "'ticks' .* is a Topic, expected a Ring"),
            (lambda: region.ring("ticks", capacity=4096), "is a Topic, expected a Ring"),
            (lambda: region.topic("tasks"), "'tasks' .* is a Ring, expected a Topic"),
            (lambda: region.topic("tasks", capacity=4096), "is a Ring, expected a Topic"),
        ]
        for call, said in calls:
            with pytest.raises(LayoutError, match=said):
                call()
        region.unlink()
    with Topic.create(name, capacity=4096) as topic:
        for kind in (Ring, Slot):
            with pytest.raises(
                LayoutError, match=rf"open it with Topic\.open\('{name}'\)"
            ) as error:
                kind.open(name)
            assert (kind.__name__, "Topic") == (error.value.expected, error.value.found)
        topic.unlink()


def test_a_record_that_can_never_fit_is_refused_at_once() -> None:
    """With both sizes; a number of the order of all takes eight bytes of each."""
    for order, most in (("publisher", 4096), ("all", 4088)):
        with Topic("4 KiB", order=order) as topic:  # type: ignore[arg-type]
            topic.publish(bytes(most))
            too_large = bytes(most + 1)
            calls: list[Callable[[], object]] = [
                functools.partial(topic.publish, too_large),
                functools.partial(topic.publish_many, [b"", too_large]),
            ]
            for call in calls:
                with pytest.raises(RecordTooLargeError, match="create the topic with") as error:
                    call()
                assert (most + 1, most) == (error.value.nbytes, error.value.max_record)
            assert 1 == topic.stats()["published"]


def test_what_is_no_record_is_refused() -> None:
    """As of a ring."""
    with Topic("4 KiB") as topic:
        publish: Any = topic.publish
        publish_many: Any = topic.publish_many
        get_into: Any = topic.subscribe().get_into
        calls: list[tuple[Callable[[], object], Any, str]] = [
            (lambda: publish("text"), TypeError, "publish"),
            (lambda: publish_many(b"abc"), TypeError, "publish_many needs a list of records"),
            (lambda: publish_many(5), TypeError, "needs a list of records, got int"),
            (lambda: publish_many([b"", 1]), TypeError, "item 1 of 2"),
            (lambda: topic.peek(0), ValueError, "most must be"),
            (lambda: topic.subscribe().get_many(0), ValueError, "most must be"),
            (lambda: get_into(b"abc"), (TypeError, BufferError), "get_into"),
        ]
        for call, kind, said in calls:
            with pytest.raises(kind, match=said):
                call()
        assert 0 == topic.publish_many([])


def test_a_closed_one_says_by_what_it_was_closed() -> None:
    """Its own close, or that of the topic."""
    topic = Topic("4 KiB", label="news")
    subscriber, publisher, other = topic.subscribe(), topic.publisher(), topic.subscribe()
    other.close()
    other.close()
    with pytest.raises(
        ClosedError,
        match=r"a subscription of topic labeled 'news' was closed .* by close\(\) .*; "
        r"subscribe again with topic\.subscribe\(\)",
    ):
        other.get()
    topic.close()
    calls: list[Callable[[], object]] = [
        subscriber.get,
        lambda: publisher.publish(b""),
        lambda: subscriber.lag,
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="was closed in this process, with its topic;"):
            call()
    calls = [lambda: topic.publish(b""), topic.subscribe, lambda: topic.peek(1), topic.stats]
    for call in calls:
        with pytest.raises(ClosedError, match="this handle of topic labeled 'news' was closed"):
            call()
