# SPDX-License-Identifier: MIT
"""Subscriptions that are waited for, until they are evicted; and what is told of whom."""

from __future__ import annotations

import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from memlane import ClosedError, Evicted, Full, Topic
from tests.support.processes import wait_until
from tests.support.slices import rounds_without_a_slice
from tests.topic.test_publish_get import everything


def filled(topic: Topic) -> int:
    """Publish as much as there is room for; how many records that was."""
    for number in range(1_000_000):
        try:
            topic.publish_nowait(b"%d" % number)
        except Full:
            return number
    raise AssertionError("it is never full")


def test_a_publisher_waits_for_one_that_is_a_lane_behind_and_says_for_whom() -> None:
    """By pid, name, records, bytes and seconds; one under "overwrite" is never named."""
    with Topic("4 KiB", publishers=1, records=8) as topic:
        slow, quick = topic.subscribe(when_full="wait"), topic.subscribe(when_full="wait")
        topic.subscribe()
        assert 8 == filled(topic)
        everything(quick)
        with pytest.raises(Full) as full:
            topic.publish(b"x", timeout=0.01)
        error = pickle.loads(pickle.dumps(full.value))

        assert "laggards" == error.cause
        assert (8, 8, 4096) == (error.records, error.max_records, error.capacity)
        (laggard,) = error.laggards
        assert (os.getpid(), 8, 64) == (laggard.pid, laggard.records, laggard.bytes)
        assert laggard.seconds >= 0.01
        assert laggard.name
        assert f"it waits for pid {os.getpid()} (8 records behind" in str(error)
        assert b"0" == slow.get()
        topic.publish(b"y", timeout=0)
        assert [b"%d" % number for number in range(1, 8)] + [b"y"] == everything(slow)
        assert [b"y"] == everything(quick)
        assert 0 == slow.lost + quick.lost


def test_a_publisher_that_waits_is_woken_by_the_subscriber() -> None:
    """By the one that it waits for, without a recheck interval."""
    with Topic("4 KiB", publishers=1, records=4, wait="sleep", when_full="wait") as topic:
        subscriber = topic.subscribe()
        with ThreadPoolExecutor(1) as threads:
            for slices in rounds_without_a_slice():
                filled(topic)
                with slices:
                    publishing = threads.submit(topic.publish, b"more")
                    got = subscriber.get_many(10)
                    while b"more" not in got:
                        got += subscriber.get_many(10)
                    publishing.result()


def test_a_batch_waits_until_all_of_it_is_in() -> None:
    """At the deadline it says how many are."""
    with Topic("4 KiB", publishers=1, records=4, when_full="wait") as topic:
        subscriber = topic.subscribe()
        assert 4 == topic.publish_many([b"%d" % number for number in range(6)], timeout=0.01)
        assert [b"0", b"1", b"2", b"3"] == everything(subscriber)
        with ThreadPoolExecutor(1) as threads:
            publishing = threads.submit(topic.publish_many, [b"%d" % n for n in range(10)])
            found: list[bytes] = []
            while len(found) < 10:
                found += subscriber.get_many(3)
            assert 10 == publishing.result()
        assert [b"%d" % number for number in range(10)] == found


def test_one_without_progress_for_too_long_is_evicted_and_told_so_once() -> None:
    """It may subscribe again; what it had not got is gone for it."""
    with Topic("4 KiB", publishers=1, records=8, subscribers=2) as topic:
        slow = topic.subscribe(when_full="wait", evict_after=0.05)
        patient = topic.subscribe(when_full="wait", evict_after=3600)
        filled(topic)
        everything(patient)
        began = time.monotonic()
        topic.publish(b"more")
        waited = time.monotonic() - began

        assert waited >= 0.04
        assert 1 == topic.stats()["evicted"]
        with pytest.raises(
            Evicted, match=r"was evicted: it had made no progress for 0\.0\d* s"
        ) as told:
            slow.get()
        assert 0.05 <= told.value.seconds <= waited + 0.01
        assert 8 == told.value.records
        for _ in range(2):
            with pytest.raises(ClosedError, match="was evicted; subscribe again"):
                slow.get()
        assert [b"more"] == everything(patient)
        again = topic.subscribe("last", when_full="wait")
        assert b"more" == again.get()


def test_one_that_makes_progress_is_not_evicted() -> None:
    """However slow it is: each record counts."""
    with Topic("4 KiB", publishers=1, records=4) as topic:
        slow = topic.subscribe(when_full="wait", evict_after=60)
        filled(topic)
        with ThreadPoolExecutor(1) as threads:
            publishing = threads.submit(topic.publish_many, [b"x"] * 20)
            for _ in range(24):
                assert not isinstance(slow.get(), Exception)
            assert 20 == publishing.result()
        assert 0 == topic.stats()["evicted"]


def test_loans_stay_readable_across_an_eviction_and_their_room_is_not_used() -> None:
    """Until they are released; nothing else of the subscription is kept."""
    with Topic("4 KiB", publishers=1, records=8, subscribers=1) as topic:
        slow = topic.subscribe(when_full="wait", evict_after=0.01)
        topic.publish_many([b"0" * 400, b"1" * 400, b"2" * 400])
        first = slow.borrow()
        filled(topic)
        assert 0 == topic.stats()["evicted"]
        with pytest.raises(Full, match=r"evicted already, with records on loan .* release them"):
            topic.publish(b"more", timeout=0.2)
        assert 1 == topic.stats()["evicted"]
        assert "evicted" == topic.stats()["subscriptions"][0]["when_full"]
        assert b"0" * 400 == bytes(first)
        with pytest.raises(Evicted):
            slow.get()
        with pytest.raises(Full) as full:
            topic.publish_nowait(b"more")
        assert 1 == len(full.value.laggards)
        assert b"0" * 400 == bytes(first)
        first.release()
        for _ in range(100):
            topic.publish_nowait(b"more")
        assert [] == topic.stats()["subscriptions"]
        topic.subscribe(when_full="wait")


def test_a_get_that_sleeps_beside_a_loan_is_told_of_its_eviction() -> None:
    """It has read all there is, and what it holds is what stands in the way."""
    with Topic("4 KiB", publishers=1, records=2) as topic:
        slow = topic.subscribe(when_full="wait", evict_after=0.01)
        topic.publish(b"kept")
        loan = slow.borrow()
        topic.publish(b"read")
        assert b"read" == slow.get()
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(slow.get)
            with pytest.raises(Full):
                topic.publish(b"x" * 8, timeout=0.1)
            with pytest.raises(Evicted):
                waiting.result()
        loan.release()
        topic.publish(b"goes")


def test_leaving_makes_room() -> None:
    """By close, by the end of a with, and by being forgotten."""
    with Topic("4 KiB", publishers=1, records=4, when_full="wait", wait="sleep") as topic:
        for way in range(3):
            slow = topic.subscribe()
            filled(topic)
            with ThreadPoolExecutor(1) as threads:
                publishing = threads.submit(topic.publish, b"more")
                wait_until(lambda: topic.stats()["waiting_publishers"])
                if way == 0:
                    slow.close()
                elif way == 1:
                    with slow:
                        pass
                del slow
                publishing.result()
        assert [] == topic.stats()["subscriptions"]
