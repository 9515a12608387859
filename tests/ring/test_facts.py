# SPDX-License-Identifier: MIT
"""What a ring says of itself."""

from __future__ import annotations

import os
import pickle
from typing import Any

import pytest

from memlane import LayoutError, Ring
from tests.support.children import PAGE, killed_after, of_one_consumer
from tests.support.processes import drained


@of_one_consumer
def test_len_and_stats_tell_what_waits_and_who_is_there(ring: Ring) -> None:
    """Counts are exact while nothing moves; stats are plain dicts and lists."""
    assert (len(ring), ring.stats()["lanes"], ring.stats()["consumer"]) == (0, [], None)
    with ring.producer() as sender:
        sender.put_many([b"1", b"2", b"3"])
        ring.put(b"4")
        assert ring.get() == b"1"
        stats = ring.stats()

        assert len(ring) == 3
        assert stats["records"] == 3
        assert (stats["capacity"], stats["max_records"], stats["producers"]) == (PAGE, 8, 4)
        assert (stats["consumer"], stats["consumer_pid"]) == ("alive", os.getpid())
        alive = {"producer": "alive", "pid": os.getpid(), "loans": 0}
        alive |= {"times_full": 0, "waiting_producers": 0}
        assert all(lane.pop("oldest_age") >= 0 for lane in stats["lanes"])
        assert stats["lanes"] == [
            {**alive, "lane": 0, "put": 3, "got": 1, "records": 2},
            {**alive, "lane": 1, "put": 1, "got": 0, "records": 1},
        ]
    assert ring.stats()["lanes"][0]["producer"] == "departed"
    assert bool(ring)


@of_one_consumer
def test_stats_show_the_dead(ring: Ring) -> None:
    """A lane whose producer was killed, and a consumer that was."""

    def use() -> None:
        ring.put_many([b"1", b"2"])
        ring.get()

    killed_after(use)

    assert ring.stats()["lanes"][0]["producer"] == "dead"
    assert ring.stats()["consumer"] == "dead"


def test_geometry_is_what_was_asked_for_rounded_up_to_pages() -> None:
    """`capacity` is per producer; `records` is exact, capacity / 64 unless asked."""
    with Ring(capacity=1) as small, Ring(capacity="8 KiB", producers=2, records=5) as asked:
        assert (small.capacity, small.max_record, small.max_records, small.producers) == (
            PAGE,
            PAGE,
            64,
            16,
        )
        assert (asked.capacity, asked.max_records, asked.producers) == (8192, 5, 2)
        assert asked.put_many([b""] * 9, timeout=0) == 5


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"capacity": 0}, ValueError),
        ({"capacity": -1}, ValueError),
        ({"capacity": "8 MB"}, ValueError),
        ({"capacity": 1.5}, TypeError),
        ({"capacity": True}, TypeError),
        ({"capacity": 2**35 + 1}, ValueError),
        ({"producers": 0}, ValueError),
        ({"producers": 1001}, ValueError),
        ({"producers": "4"}, TypeError),
        ({"records": 0}, ValueError),
        ({"records": 2**24 + 1}, ValueError),
        ({"records": True}, TypeError),
        ({"consumers": "two"}, ValueError),
        ({"consumers": 1}, ValueError),
        ({"wait": "busy"}, ValueError),
    ],
    ids=str,
)
def test_a_geometry_out_of_range_is_refused(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    """At once, by name; nothing is clamped and nothing is made."""
    with pytest.raises(error, match=next(iter(arguments))):
        Ring(**arguments)


def test_open_or_create_checks_the_geometry_of_what_is_there(name: str) -> None:
    """Another capacity, number of producers or records is a LayoutError with both."""
    with Ring.open_or_create(name, capacity=PAGE, producers=2, records=8) as ring:
        with Ring.open_or_create(name, capacity=PAGE, producers=2, records=8) as same:
            same.put(b"x")
            assert ring.get() == b"x"
        for other in ({"capacity": 2 * PAGE}, {"producers": 3}, {"records": 9}):
            asked: dict[str, Any] = {"capacity": PAGE, "producers": 2, "records": 8, **other}
            with pytest.raises(LayoutError, match=next(iter(other))) as caught:
                Ring.open_or_create(name, **asked)
            assert caught.value.expected == next(iter(other.values()))
        ring.unlink()


def test_several_handles_of_one_ring_in_a_process_share_its_roles(name: str) -> None:
    """The default producer is the process's, whichever handle it was reached by."""
    with Ring.create(name, capacity=PAGE, producers=1) as one, Ring.open(name) as two:
        one.put(b"1")
        two.put(b"2")
        one.close()
        two.put(b"3")

        assert drained(two) == [b"1", b"2", b"3"]
        two.unlink()


@pytest.mark.parametrize("what", ["ring", "producer", "consumer"])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_handle_arrives_without_its_role(ring: Ring, what: str, protocol: int) -> None:
    """It takes one at first use: here a lane of its own, and the consumer's role of the process."""
    ring.put(b"1")
    sent: Any = {"ring": ring, "producer": ring.producer(), "consumer": ring.consumer()}[what]
    if what == "producer":
        sent.put(b"1")
    arrived = pickle.loads(pickle.dumps(sent, protocol))
    if what != "consumer":
        arrived.put(b"2")
    if what != "producer":
        assert arrived.get() == b"1"
    if what == "producer":
        assert len(ring.stats()["lanes"]) == 3
    getattr(arrived, "ring", arrived).close()
    arrived.close()
