# SPDX-License-Identifier: MIT
"""What is published comes to every subscription, and what is lost is counted exactly."""

from __future__ import annotations

import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from memlane import Empty, Lapped, ShutDown, Topic
from tests.support.slices import rounds_without_a_slice


def everything(subscriber: Any) -> list[bytes]:
    """All that there is to get now."""
    found = []
    while True:
        try:
            found.append(subscriber.get_nowait())
        except Empty:
            return found


@pytest.mark.parametrize("when_full", ["overwrite", "wait"])
@pytest.mark.parametrize("order", ["publisher", "all"])
def test_every_subscription_sees_every_record_in_order(when_full: Any, order: Any) -> None:
    """Whatever its policy, of whatever size, by whatever verb."""
    records = [b"", b"a", b"bc" * 100, bytes(range(256)) * 9, b"last"]
    with Topic("64 KiB", publishers=2, subscribers=4, when_full=when_full, order=order) as topic:
        subscribers = [topic.subscribe() for _ in range(4)]
        topic.publish(records[0])
        topic.publish_nowait(bytearray(records[1]))
        assert 3 == topic.publish_many(records[2:])
        assert records == everything(subscribers[0])
        assert records == subscribers[1].get_many(10)
        buffer = bytearray(3000)
        assert records == [
            bytes(buffer[: subscribers[2].get_into(buffer)]) for _ in range(len(records))
        ]
        with subscribers[3].borrow_many(10) as loans:
            assert records == [bytes(loan) for loan in loans]
        assert [0] * 4 == [subscriber.lost for subscriber in subscribers]
        assert [0] * 4 == [subscriber.lag for subscriber in subscribers]


@pytest.mark.parametrize("order", ["publisher", "all"])
def test_records_of_several_publishers_come_all_and_each_in_its_order(order: Any) -> None:
    """With order="all" those of all come as they were published one after the other."""
    with Topic("64 KiB", publishers=3, order=order, when_full="wait") as topic:
        publishers = [topic.publisher() for _ in range(3)]
        subscriber = topic.subscribe()
        published = []
        for turn in range(300):
            publisher = publishers[(turn * turn + turn // 7) % 3]
            published.append(b"%d %d" % (publishers.index(publisher), turn))
            publisher.publish(published[-1])
        found = everything(subscriber)

    if order == "all":
        assert published == found
    assert sorted(published) == sorted(found)
    for index in range(3):
        mine = b"%d " % index
        assert [it for it in published if it.startswith(mine)] == [
            it for it in found if it.startswith(mine)
        ]


def test_one_that_is_overtaken_is_never_waited_for_and_told_exactly_what_it_lost() -> None:
    """What was got and what was lost are what was published, whenever it looks."""
    with Topic("4 KiB", publishers=1, records=16) as topic:
        subscriber = topic.subscribe()
        got = []
        for number in range(1, 1001):
            topic.publish(struct.pack("Q", number))
            if number % 37 == 0:
                there = subscriber.lag
                came = everything(subscriber)
                got += came
                assert number == len(got) + subscriber.lost
                assert there >= len(came) > 0
                assert there <= 16 - 16 // 16 + 1
        got += subscriber.get_many(100)
        numbers = [struct.unpack("Q", record)[0] for record in got]

        assert 1000 == len(got) + subscriber.lost
        assert subscriber.lost > 0
        assert numbers == sorted(set(numbers))
        assert 1000 == numbers[-1]


def test_loss_is_raised_once_for_each_gap_where_that_is_asked_for() -> None:
    """The next call tells it, and the one after goes on behind the gap."""
    with Topic("4 KiB", publishers=1, records=16) as topic:
        subscriber = topic.subscribe(raise_on_loss=True)
        verbs: list[Callable[[], bytes]] = [
            subscriber.get_nowait,
            lambda: subscriber.get_many(5)[0],
            lambda: bytes(subscriber.borrow()),
        ]
        for start in range(0, 3 * 100, 100):
            topic.publish_many([b"%d" % number for number in range(start, start + 100)])
            before, verb = subscriber.lost, verbs[start // 100]
            with pytest.raises(
                Lapped, match=r"records of unnamed topic were overwritten"
            ) as caught:
                verb()
            assert caught.value.lost == subscriber.lost - before
            assert 0 < caught.value.lost < 100
            next_one = int(verb())
            assert start + caught.value.lost == next_one
            everything(subscriber)


def test_a_start_is_now_the_oldest_or_the_last() -> None:
    """Of one publisher: what is there, from where one asks for."""
    with Topic("4 KiB", publishers=1, records=8) as topic:
        topic.publish_many([b"%d" % number for number in range(12)])
        oldest = everything(topic.subscribe("oldest"))

        assert [] == everything(topic.subscribe())
        assert [b"11"] == everything(topic.subscribe("last"))
        assert [b"%d" % number for number in range(12 - len(oldest), 12)] == oldest
        assert 8 >= len(oldest) >= 7
        assert [b"9", b"10", b"11"] == topic.peek(3)
        assert oldest == topic.peek(100)


def test_the_last_of_all_is_one_record_with_order_all() -> None:
    """And without it one of each publisher."""
    for order in ("publisher", "all"):
        with Topic("4 KiB", publishers=3, order=order) as topic:
            first, second = topic.publisher(), topic.publisher()
            first.publish(b"a")
            second.publish(b"b")
            first.publish(b"c")
            second.publish(b"d")
            last = topic.subscribe("last")
            assert ([b"d"] if order == "all" else [b"c", b"d"]) == everything(last)
            peeked = topic.peek(3)
            assert ([b"b", b"c", b"d"] if order == "all" else [b"a", b"c", b"b", b"d"]) == peeked


def test_the_first_record_behind_a_subscription_comes_from_every_publisher() -> None:
    """Also from one that takes its lane later."""
    with Topic("4 KiB", publishers=3) as topic:
        first = topic.publisher()
        first.publish(b"before")
        subscriber = topic.subscribe()
        first.publish(b"one")
        topic.publisher().publish(b"two")
        assert [b"one", b"two"] == sorted(everything(subscriber))


@pytest.mark.parametrize("readers", [1, 3])
def test_who_waits_is_woken_by_the_next_publish(readers: int) -> None:
    """Several subscriptions at once, and no recheck interval is slept."""
    with Topic("4 KiB", publishers=1, wait="sleep") as topic:
        subscribers = [topic.subscribe() for _ in range(readers)]
        with ThreadPoolExecutor(readers) as threads:
            for number, slices in enumerate(rounds_without_a_slice()):
                with slices:
                    waiting = [threads.submit(subscriber.get) for subscriber in subscribers]
                    topic.publish(b"%d" % number)
                    found = [future.result() for future in waiting]
                assert [b"%d" % number] * readers == found


def test_threads_of_one_subscription_share_its_records() -> None:
    """Each record goes to one of them."""
    with Topic("64 KiB", publishers=1, when_full="wait") as topic:
        subscriber = topic.subscribe()
        with ThreadPoolExecutor(3) as threads:
            taken = [threads.submit(list, subscriber) for _ in range(3)]
            for number in range(1000):
                topic.publish(b"%d" % number)
            topic.shutdown()
            found = [record for future in taken for record in future.result()]

        assert sorted(b"%d" % number for number in range(1000)) == sorted(found)


def test_the_end_comes_behind_the_last_record() -> None:
    """For publishers at once, for subscriptions when they have got everything."""
    with Topic("4 KiB", publishers=2) as topic:
        early, waiting = topic.subscribe(), topic.subscribe()
        topic.publish_many([b"a", b"b"])
        with ThreadPoolExecutor(1) as threads:
            drained = threads.submit(list, waiting)
            assert not topic.is_shut_down
            topic.shutdown()
            assert topic.is_shut_down
            assert [b"a", b"b"] == drained.result()
        with pytest.raises(ShutDown):
            topic.publish(b"c")
        with pytest.raises(ShutDown):
            topic.publisher().publish(b"c")
        assert b"a" == early.get()
        assert [b"b"] == list(early)
        with pytest.raises(ShutDown):
            early.get(timeout=0)
        assert [b"a", b"b"] == list(topic.subscribe("oldest"))
        assert [] == list(topic.subscribe())


def test_an_immediate_end_drops_what_is_left() -> None:
    """For those that have not got it."""
    with Topic("4 KiB", publishers=1) as topic:
        subscriber = topic.subscribe()
        topic.publish(b"a")
        topic.shutdown(immediate=True)
        assert [] == list(subscriber)


def test_a_record_that_is_longer_than_the_buffer_stays() -> None:
    """A larger buffer gets it."""
    with Topic("4 KiB", publishers=1) as topic:
        subscriber = topic.subscribe()
        topic.publish(b"abc")
        with pytest.raises(ValueError, match="has 3 bytes, the buffer 2; it is still the next"):
            subscriber.get_into(bytearray(2))
        assert b"abc" == subscriber.get()


def test_silence_is_seen() -> None:
    """Nothing to get and nothing new for so long, or no publisher that lives."""
    with Topic("4 KiB", publishers=2) as topic:
        subscriber = topic.subscribe()
        assert not subscriber.stalled(after=60)
        assert subscriber.stalled(after=0)
        publisher = topic.publisher()
        publisher.publish(b"a")
        assert not subscriber.stalled(after=0)
        subscriber.get()
        assert not subscriber.stalled(after=60)
        publisher.close()
        assert subscriber.stalled(after=60)
