# SPDX-License-Identifier: MIT
"""Iteration over records, until the end of the topic or of processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from typing import Any

import pytest

from memlane import Empty, Topic


def publish(topic: Topic, count: int, kill: bool) -> None:
    for number in range(count):
        topic.publish(b"%d" % number)
    if kill:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("kill", [False, True])
@pytest.mark.parametrize("count", [0, 3000])
def test_iteration_ends_when_all_is_read_that_ended_processes_published(
    count: int, kill: bool
) -> None:
    """However they end, and also where they published nothing."""
    context: Any = multiprocessing.get_context("fork")
    with Topic("64 KiB", publishers=2, when_full="wait") as topic:
        subscriber = topic.subscribe()
        children = [context.Process(target=publish, args=(topic, count, kill)) for _ in range(2)]
        for child in children:
            child.start()
        found = list(subscriber.records(until=children))
        for child in children:
            child.join()

    assert sorted([b"%d" % number for number in range(count)] * 2) == sorted(found)


def test_iteration_ends_with_the_topic_or_the_timeout() -> None:
    """`for record in subscriber` is the same without either."""
    with Topic("4 KiB", publishers=1) as topic:
        one, two = topic.subscribe(), topic.subscribe()
        topic.publish(b"a")
        records = one.records(timeout=0)
        assert b"a" == next(records)
        with pytest.raises(Empty):
            next(records)
        with pytest.raises(TypeError):
            one.records(until="never")  # type: ignore[arg-type]
        topic.shutdown()
        assert [] == list(records)
        assert [] == list(records)
        assert [b"a"] == list(two)
