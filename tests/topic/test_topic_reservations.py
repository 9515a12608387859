# SPDX-License-Identifier: MIT
"""Records written in place: committed, aborted, looked at while views of them live."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from memlane import ClosedError, Full, ShutDown, Topic
from tests.topic.test_publish_get import everything


@pytest.mark.parametrize("order", ["publisher", "all"])
def test_a_record_is_written_in_place_and_seen_at_the_commit(order: Any) -> None:
    """By all subscriptions, none of which sees anything before."""
    with Topic("4 KiB", publishers=2, order=order, when_full="wait") as topic:
        subscribers = [topic.subscribe() for _ in range(2)]
        with topic.reserve(8) as room:
            room[:] = b"12345678"
            assert 8 == len(room)
            assert [[], []] == [everything(subscriber) for subscriber in subscribers]
        room = topic.reserve("1 KiB")
        assert 3 == room.write(b"abc")
        room.array(3, "u1")[1] = ord("x")
        room.commit(3)
        assert [[b"12345678", b"axc"]] * 2 == [everything(it) for it in subscribers]
        with pytest.raises(ZeroDivisionError), topic.reserve(8):
            raise ZeroDivisionError
        topic.reserve(8).abort()
        assert [] == everything(subscribers[0])
        topic.publish(b"next")
        assert b"next" == subscribers[0].get()


def test_the_room_of_a_record_with_living_views_is_not_used_again() -> None:
    """Also where nobody waits for a subscription: arrays become read-only, and keep their bytes."""
    with Topic("4 KiB", publishers=1) as topic:
        room = topic.reserve(2048)
        array = room.array(256, "f8")
        array[:] = 7
        room.commit()
        assert not array.flags.writeable
        with pytest.raises(Full, match="views of committed reservations are alive") as full:
            for _ in range(100):
                topic.publish_nowait(bytes(1000))
        assert ("views", 1) == (full.value.cause, full.value.views)
        assert np.all(array == 7)
        del array, room
        for _ in range(10):
            topic.publish_nowait(bytes(1000))


def test_one_claim_a_lane_is_open_at_a_time() -> None:
    """A second one of the same thread is refused; another thread waits for its end."""
    with Topic("4 KiB", publishers=1) as topic:
        subscriber = topic.subscribe()
        room = topic.reserve(1)
        with pytest.raises(RuntimeError, match="this thread has a claim open on its lane of"):
            topic.publish(b"x")
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(topic.publish, b"second")
            room.write(b"1")
            room.commit()
            waiting.result()
        assert [b"1", b"second"] == everything(subscriber)
        with pytest.raises(ClosedError, match="this reservation in unnamed topic was committed or"):
            room.commit()


def test_a_commit_behind_the_end_is_refused() -> None:
    """Nobody would get the record."""
    with Topic("4 KiB", publishers=1) as topic:
        room = topic.reserve(1)
        topic.shutdown()
        with pytest.raises(ShutDown):
            room.commit()


def test_a_dropped_reservation_is_a_warning() -> None:
    """Nothing was published, which somebody forgot."""
    with Topic("4 KiB", publishers=1) as topic:
        with pytest.warns(
            ResourceWarning, match="was dropped without a commit, so no record went in"
        ):
            topic.reserve(1)
        topic.publish(b"x")
        assert [b"x"] == topic.peek(2)
