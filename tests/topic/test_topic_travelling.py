# SPDX-License-Identifier: MIT
"""Topics and their handles in other processes: forked, spawned, unrelated, read-only."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from memlane import ClosedError, Empty, LayoutError, Region, Ring, Topic
from tests.support.processes import forked, output_of, unrelated
from tests.topic.test_publish_get import everything


def answer(topic: Topic, publisher: Any, subscriber: Any) -> None:
    """What a child does with all three: it gets two records, and publishes one of its own."""
    first = subscriber.get()
    publisher.publish(first + subscriber.get())
    topic.publish(b"end")


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("among", [False, True])
def test_they_travel_to_children_where_each_begins_anew(method: str, among: bool) -> None:
    """A subscription has a place of its own there, a publisher a lane, and both see the topic."""
    context: Any = multiprocessing.get_context(method)
    with Region.create(None, "1 MiB") as region:
        topic = region.topic("t", capacity="4 KiB", publishers=4) if among else Topic("4 KiB")
        topic.publish_many([b"a", b"b"])
        publisher, mine = topic.publisher(), topic.subscribe("oldest")
        publisher.publish(b"c")
        child = context.Process(
            target=answer, args=(topic, publisher, topic.subscribe("oldest", when_full="wait"))
        )
        child.start()
        child.join()
        assert 0 == child.exitcode
        found = everything(mine)
        assert sorted([b"a", b"b", b"c", b"end"]) == sorted(set(found) - {b"ab", b"ac", b"ca"})
        assert 5 == len(found)
        topic.close()


def test_a_child_of_fork_has_no_part_in_the_subscriptions_of_its_parent() -> None:
    """It may close and drop them; the parent goes on."""
    with Topic("4 KiB", publishers=1, subscribers=2) as topic:
        subscriber = topic.subscribe(when_full="wait")
        topic.publish_many([b"a", b"b"])
        loan = subscriber.borrow()

        def drop() -> None:
            assert b"a" == bytes(loan)
            loan.release()
            subscriber.close()
            topic.close()

        assert 0 == os.waitstatus_to_exitcode(os.waitpid(forked(drop), 0)[1])
        assert 1 == topic.stats()["subscriptions"][0]["loans"]
        assert b"a" == bytes(loan)
        loan.release()
        assert b"b" == subscriber.get()


def test_a_copy_is_another_handle() -> None:
    """By pickle, by copy: closing one leaves the others open."""
    with Topic("4 KiB", label="news") as topic:
        for again in (copy.copy(topic), pickle.loads(pickle.dumps(topic))):
            subscriber = again.subscribe()
            topic.publish(b"x")
            assert b"x" == subscriber.get()
            assert "label='news'" in repr(again) or "news" in repr(again)
            again.close()
            with pytest.raises(ClosedError, match="a subscription of topic labeled 'news'"):
                subscriber.get()
        topic.publish(b"y")


def test_a_read_only_process_peeks_and_subscribes_without_being_seen(name: str) -> None:
    """It is never waited for, takes no place, and is told what it lost."""
    code = """
import sys, memlane
topic = memlane.Topic.open(sys.argv[1], readonly=True)
print(topic.peek(2))
with topic.subscribe("oldest") as subscriber:
    print(subscriber.get_many(10), subscriber.lost, subscriber.lag)
    print("there", flush=True)
    print(subscriber.get(), subscriber.position)
    with subscriber.borrow() as record:
        print(bytes(record))
    print(list(subscriber))
calls = lambda: topic.publish(b"x"), lambda: topic.subscribe(when_full="wait"), topic.shutdown
for wrong in calls:
    try:
        wrong()
    except PermissionError as error:
        print(error.strerror)
"""
    with Topic.create(name, capacity="4 KiB", publishers=1, subscribers=1) as topic:
        topic.publish_many([b"a", b"b", b"c"])
        reader = unrelated(code, name)
        assert reader.stdout is not None
        assert "[b'b', b'c']\n" == reader.stdout.readline()
        assert "[b'a', b'b', b'c'] 0 0\n" == reader.stdout.readline()
        assert "there\n" == reader.stdout.readline()
        assert [] == topic.stats()["subscriptions"]
        topic.publish_many([b"d", b"e", b"f"])
        topic.shutdown()
        said = output_of(reader).splitlines()
        topic.unlink()

    assert ["b'd' 4", "b'e'", "[b'f']"] == said[:3]
    assert f"topic {name!r} is open read-only; open it without readonly=True" in said[-1]
    assert (
        f"topic {name!r} is open read-only, so publishers cannot wait for a subscription"
        in said[-2]
    )
    assert "is open read-only" in said[-3]


def test_it_is_created_opened_and_found_by_name(name: str, tmp_path: Path) -> None:
    """In a region of its own, in a file, and among other objects."""
    for where in (name, tmp_path / "topic"):
        with Topic.create(where, capacity="4 KiB", when_full="wait", order="all") as topic:
            with (
                Topic.open(where) as again,
                Topic.open_or_create(
                    where, capacity="4 KiB", when_full="wait", order="all"
                ) as third,
            ):
                subscriber = third.subscribe()
                again.publish(b"x")
                assert b"x" == subscriber.get()
                assert ("all", "wait", 16, 64) == (
                    again.order,
                    again.when_full,
                    again.publishers,
                    again.subscribers,
                )
                assert (4096, 63, 4088) == (again.capacity, again.max_records, again.max_record)
            with pytest.raises(LayoutError, match="has order='all', expected 'publisher'"):
                Topic.open_or_create(where, capacity="4 KiB", when_full="wait")
            with pytest.raises(
                LayoutError, match="is a Topic, expected a Ring; open it with Topic"
            ):
                Ring.open(where)
            topic.unlink()
    with Region.create(None, "1 MiB") as region:
        made = region.topic("news", capacity="4 KiB")
        assert isinstance(region["news"], Topic)
        region.topic("news").publish(b"x")
        assert [b"x"] == made.peek(1)
        assert "topic" == region.stats()["objects"]["news"]["kind"]
        with pytest.raises(LayoutError, match="is a Topic, expected a Ring"):
            region.ring("news")


def test_a_removed_topic_is_gone_for_all_its_handles() -> None:
    """Also for one that waits, and nothing of it is written to any more."""
    with Region.create(None, "1 MiB") as region:
        topic = region.topic("news", capacity="4 KiB")
        subscriber, reader = topic.subscribe(when_full="wait"), topic.subscribe()
        topic.publish(b"x")
        loan = subscriber.borrow()
        region.remove("news")
        for call in (reader.get, subscriber.get, lambda: topic.publish(b"y"), topic.stats):
            with pytest.raises(ClosedError, match="was removed"):
                call()
        assert b"x" == bytes(loan)
        loan.release()
        with pytest.raises(Empty):
            region.topic("news", capacity="8 KiB").subscribe().get_nowait()
