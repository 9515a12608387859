# SPDX-License-Identifier: MIT
"""A position goes on exactly where a subscription was, in whatever process and however late."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from memlane import Lapped, Topic
from tests.support.processes import output_of, unrelated
from tests.topic.test_publish_get import everything


@pytest.mark.parametrize("publishers", [1, 3])
@pytest.mark.parametrize("order", ["publisher", "all"])
def test_a_subscription_goes_on_at_a_position(publishers: int, order: Any) -> None:
    """Nothing is lost and nothing comes twice, also of a publisher that comes later."""
    with Topic("64 KiB", publishers=publishers, order=order) as topic:
        handles = [topic.publisher() for _ in range(publishers)]
        subscriber = topic.subscribe("oldest")
        published, got = [], []
        for number in range(200):
            # the last publisher comes when half of it is over
            handle = handles[number % (publishers - (publishers > 1 and number < 100))]
            published.append(b"%d" % number)
            handle.publish(published[-1])
            if number % 7 == 0:
                got += subscriber.get_many(3)
                position = pickle.loads(pickle.dumps(subscriber.position))
                assert str(position).isprintable()
                subscriber.close()
                subscriber = topic.subscribe(position)
                assert position == subscriber.position
        got += everything(subscriber)

    assert sorted(published) == sorted(got)
    assert len(published) == len(set(got))


def test_a_position_travels_as_text(name: str) -> None:
    """As the id of an event does, to a client and back."""
    code = """
import sys, memlane
with memlane.Topic.open(sys.argv[1]).subscribe(sys.argv[2]) as subscriber:
    print(subscriber.get().decode(), subscriber.position)
"""
    with Topic.create(name, capacity="4 KiB", publishers=2) as topic:
        topic.publish_many([b"a", b"b", b"c"])
        position = str(topic.subscribe("oldest").position)
        for expected in "abc":
            found, position = output_of(unrelated(code, name, position)).split()
            assert expected == found
        topic.unlink()


def test_an_int_is_a_number_with_one_publisher_or_the_order_of_all() -> None:
    """Elsewhere it would be anybody's."""
    for publishers, order in ((1, "publisher"), (1, "all"), (2, "all")):
        with Topic("4 KiB", publishers=publishers, order=order) as topic:  # type: ignore[arg-type]
            topic.publish_many([b"%d" % number for number in range(5)])
            assert [b"3", b"4"] == everything(topic.subscribe(3))
    with (
        Topic("4 KiB", publishers=2) as topic,
        pytest.raises(ValueError, match=r"start=3 needs publishers=1 or order='all'"),
    ):
        topic.subscribe(3)


@pytest.mark.parametrize("when_full", ["overwrite", "wait"])
def test_a_position_that_is_gone_says_how_many_records_are(when_full: Any) -> None:
    """And the place is free again."""
    with Topic("4 KiB", publishers=1, records=8, subscribers=1) as topic:
        position = topic.subscribe(when_full="overwrite").position
        topic.publish_many([b"%d" % number for number in range(20)])
        with pytest.raises(
            Lapped, match=r'records of .* are gone; subscribe with start="old'
        ) as gone:
            topic.subscribe(position, when_full=when_full)
        rest = everything(topic.subscribe("oldest", when_full=when_full))

        assert 20 == gone.value.lost + len(rest)


def test_what_is_no_position_is_refused() -> None:
    """With what it is instead."""
    with Topic("4 KiB", publishers=2) as topic, Topic("4 KiB", publishers=2) as other:
        position = str(topic.subscribe().position)
        cases: list[tuple[Any, type[Exception], str]] = [
            (str(other.subscribe().position), ValueError, "is the position .* of another topic"),
            (position.partition("-")[0] + "-1", ValueError, "is behind what was ever published in"),
            (position.partition("-")[0] + "-0.0.0", ValueError, "is no position of this topic"),
            ("newest", ValueError, "start must be 'now', 'oldest', 'last' or the position of a"),
            ("lats", ValueError, "start must be 'now', .*did you mean 'last'"),
            (1.5, TypeError, "start must be 'now', 'oldest', 'last' or the position"),
            (True, TypeError, "start must be"),
            (-1, ValueError, "start must be at least 0, got -1"),
            (1 << 63, ValueError, "start must be at least 0"),
        ]
        for start, kind, said in cases:
            with pytest.raises(kind, match=said):
                topic.subscribe(start)
