# SPDX-License-Identifier: MIT
"""CPython's own tests of queues between processes and threads, imported, on memlane.Queue."""

from __future__ import annotations

import multiprocessing
import queue as stdlib_queue
import unittest
from typing import Any, ClassVar

import pytest

import memlane

theirs = pytest.importorskip(
    "test._test_multiprocessing", reason="this Python has no tests of its own"
)
of_queue = pytest.importorskip("test.test_queue", reason="this Python has no tests of its own")

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

#: What is left out, and why.
LEFT_OUT = {
    "test_queue_feeder_donot_stop_onexc": "there is no feeder: the error comes out of put",
    "test_queue_feeder_on_queue_feeder_error": "derives from a class of multiprocessing's",
    "test_no_import_lock_contention": "a module that makes a queue of multiprocessing's",
    "test_closed": "looks at the pipes of multiprocessing's queue",
    "test_shrinking_queue": "maxsize is fixed, since every process counts on it",
    "test_negative_timeout_raises_exception": "a negative timeout is 0, as in multiprocessing",
    "test_closed_queue_empty_exceptions": "there the close of an unused queue does nothing",
    "test_shutdown_put_join": "looks at unfinished_tasks of a queue of threads",
    "test_shutdown_immediate_put_join": "looks at unfinished_tasks of a queue of threads",
    "test_shutdown_get_task_done_join": "looks at unfinished_tasks of a queue of threads",
    "test_shutdown_allowed_transitions": "looks at is_shutdown, here it is is_shut_down",
}


class _OnMemlane:
    METHOD: ClassVar[str]
    TYPE = "processes"
    Queue = memlane.Queue
    JoinableQueue = memlane.JoinableQueue

    def setUp(self) -> None:
        name = self._testMethodName  # type: ignore[attr-defined]
        if name in LEFT_OUT:
            self.skipTest(LEFT_OUT[name])  # type: ignore[attr-defined]
        context: Any = multiprocessing.get_context(self.METHOD)
        self.Process = context.Process
        self.Event = context.Event
        patch = pytest.MonkeyPatch()
        self.addCleanup(patch.undo)  # type: ignore[attr-defined]
        for kind in ("Queue", "JoinableQueue", "SimpleQueue"):
            patch.setattr(multiprocessing, kind, getattr(memlane, kind))
        patch.setattr(multiprocessing, "Process", context.Process)
        patch.setattr(multiprocessing, "Event", context.Event)


class TestQueueFork(_OnMemlane, theirs._TestQueue, unittest.TestCase):  # type: ignore[misc, name-defined]
    METHOD = "fork"


class TestQueueSpawn(_OnMemlane, theirs._TestQueue, unittest.TestCase):  # type: ignore[misc, name-defined]
    METHOD = "spawn"


class TestQueueForkserver(_OnMemlane, theirs._TestQueue, unittest.TestCase):  # type: ignore[misc, name-defined]
    METHOD = "forkserver"


class TestSimpleQueueFork(_OnMemlane, theirs.TestSimpleQueue):  # type: ignore[misc, name-defined]
    METHOD = "fork"


class TestSimpleQueueSpawn(_OnMemlane, theirs.TestSimpleQueue):  # type: ignore[misc, name-defined]
    METHOD = "spawn"


class TestQueueOfThreads(_OnMemlane, of_queue.BaseQueueTestMixin, unittest.TestCase):  # type: ignore[misc, name-defined]
    METHOD = "fork"
    queue: Any = stdlib_queue

    def setUp(self) -> None:
        _OnMemlane.setUp(self)
        of_queue.BaseQueueTestMixin.setUp(self)
        self.type2test = memlane.Queue
