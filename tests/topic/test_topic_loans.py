# SPDX-License-Identifier: MIT
"""Borrowed records of a topic: several subscriptions have the same bytes, and none dangles."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from memlane import ClosedError, Full, Lapped, Topic
from tests.topic.test_publish_get import everything


def test_several_subscriptions_borrow_one_record_in_place() -> None:
    """Until the last one has released it, its room is not used again."""
    with Topic("4 KiB", publishers=1, records=4, when_full="wait") as topic:
        subscribers = [topic.subscribe() for _ in range(3)]
        topic.publish(np.arange(100, dtype="f8"))
        loans = [subscriber.borrow() for subscriber in subscribers]
        views = [loan.array(100, "f8") for loan in loans]
        assert 1 == len({view.ctypes.data for view in views})
        assert not any(view.flags.writeable for view in views)
        for subscriber, loan in zip(subscribers, loans, strict=True):
            topic.publish_many([b"x"] * 3)
            assert [b"x"] * 3 == everything(subscriber)
            with pytest.raises(Full):
                topic.publish_nowait(b"y" * 3000)
            assert np.array_equal(np.arange(100), np.frombuffer(loan))
            break
        for subscriber in subscribers[1:]:
            everything(subscriber)
        del views
        for loan in loans[:2]:
            loan.release()
            with pytest.raises(Full):
                topic.publish_nowait(b"y" * 3500)
        assert np.array_equal(np.arange(100), np.frombuffer(loans[2]))
        gc.collect()
        loans[2].release()
        topic.publish_nowait(b"y" * 3500)


def test_loans_are_released_in_any_order() -> None:
    """What is kept begins at the oldest one that is out."""
    with Topic("4 KiB", publishers=1, records=8, when_full="wait") as topic:
        subscriber = topic.subscribe()
        topic.publish_many([b"%d" % number for number in range(8)])
        loans = list(subscriber.borrow_many(4))
        assert [b"4", b"5", b"6", b"7"] == everything(subscriber)
        loans[2].release()
        loans[1].release()
        with pytest.raises(Full):
            topic.publish_nowait(b"8")
        loans[0].release()
        assert 3 == topic.publish_many([b"x"] * 8, timeout=0)
        assert b"3" == bytes(loans[3])
        loans[3].release()
        assert 5 == topic.publish_many([b"x"] * 8, timeout=0)


def test_a_block_that_raises_gives_its_record_back() -> None:
    """The publisher does not wait for one that has failed."""
    with Topic("4 KiB", publishers=1, records=2, when_full="wait") as topic:
        subscriber = topic.subscribe()
        topic.publish_many([b"a", b"b"])
        with pytest.raises(ZeroDivisionError), subscriber.borrow():
            raise ZeroDivisionError
        topic.publish_nowait(b"c")
        assert [b"b", b"c"] == everything(subscriber)


def test_the_end_of_a_loan_that_was_overwritten_says_so() -> None:
    """Under "overwrite", where nobody waits for it; a whole one ends quietly."""
    with Topic("4 KiB", publishers=1, records=4) as topic:
        subscriber = topic.subscribe()
        topic.publish_many([b"a", b"b"])
        with subscriber.borrow() as record:
            assert not record.overwritten
            assert b"a" == bytes(record)
        with (
            pytest.raises(Lapped, match="was overwritten while it was on loan") as told,
            subscriber.borrow() as record,
        ):
            topic.publish_many([b"x"] * 20)
            assert record.overwritten
        assert 1 == told.value.lost
        with pytest.raises(ZeroDivisionError), subscriber.borrow():
            topic.publish_many([b"x"] * 20)
            raise ZeroDivisionError


def test_a_loan_outlives_its_subscription_and_its_topic() -> None:
    """By whatever was closed before; its bytes are there until its last view dies."""
    with Topic("4 KiB", publishers=1, records=2, when_full="wait") as topic:
        subscriber = topic.subscribe()
        topic.publish(b"here")
        record = subscriber.borrow()
        view = memoryview(record)
        subscriber.close()
        record.release()
        topic.publish(b"x")
        with pytest.raises(Full):
            topic.publish_nowait(b"y" * 8)
        with pytest.raises(ClosedError, match="this record of unnamed topic was released"):
            bytes(record)
        assert b"here" == bytes(view)
        view.release()
        topic.publish_nowait(b"y")
        again = topic.subscribe("oldest", when_full="wait").borrow()
    assert b"x" == bytes(again)
    again.release()


def test_a_loan_has_its_number_and_its_publisher() -> None:
    """By one publisher the numbers follow each other; with order="all" by all."""
    for order, expected in (
        ("publisher", [(0, 0), (0, 1), (1, 0)]),
        ("all", [(0, 0), (1, 1), (2, 0)]),
    ):
        with Topic("4 KiB", publishers=2, order=order) as topic:  # type: ignore[arg-type]
            publishers = [topic.publisher(), topic.publisher()]
            subscriber = topic.subscribe()
            for index in (0, 1, 0):
                publishers[index].publish(b"abc")
            with subscriber.borrow_many(3) as loans:
                assert expected == sorted(
                    ((loan.sequence, loan.publisher) for loan in loans),
                )
                assert b"bc" == loans[0][1:]
                assert ord("c") == loans[0][-1]
                assert 3 == len(loans[0])
