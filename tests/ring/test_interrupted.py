# SPDX-License-Identifier: MIT
"""What a handler of a signal that raises may cost a get: time, and no record."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from types import FrameType
from typing import Any

import pytest

from memlane import Ring, ShutDown
from tests.support.processes import PATIENCE_S, Child, wait_until
from tests.support.region_files import file_of
from tests.support.shared_bytes import FREE, RingBytes
from tests.support.stepping import Stepped, Table, probes, row_byte

RECORDS = 600


class Alarm(BaseException):
    """As KeyboardInterrupt: nobody catches it by the way."""


class Interrupted:
    """Collects what a verb gives while an alarm raises in the midst of its calls."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        self.alarms = 0

    def collect(self, source: Iterator[Any]) -> None:
        # In C from one record to the next: between two calls no handler could run and lose one.
        self.found.extend(source)

    def raise_alarm(self, _number: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code is not self.collect.__code__:
            # what the collector runs in between, and hooks of pytest, are not to be interrupted
            if frame.f_code.co_name == "__del__" or not str(
                frame.f_globals.get("__name__")
            ).startswith("memlane"):
                return
            frame = frame.f_back
        if frame is not None:
            self.alarms += 1
            raise Alarm

    def __call__(self, source: Callable[[], Iterator[Any]]) -> None:
        before = signal.signal(signal.SIGALRM, self.raise_alarm)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
        try:
            while True:
                try:
                    self.collect(source())
                    break
                except Alarm:
                    continue
                except ShutDown:
                    break
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def produce(ring: Ring) -> None:
    """In turns of some, for each of which a get waits."""
    for number in range(RECORDS):
        if number % 7 == 0:
            wait_until(lambda: ring.stats()["waiting_consumers"], "a get")
        ring.put(b"%d" % number)
    ring.shutdown()


def numbered() -> list[bytes]:
    return [b"%d" % number for number in range(RECORDS)]


@pytest.mark.parametrize("consumers", ["one", "many"])
@pytest.mark.parametrize(
    "verb", ["get", "get_many", "get_into", "borrow", "borrow_many", "records"]
)
def test_a_handler_that_raises_in_the_midst_of_a_get_loses_no_record(
    verb: str, consumers: Any
) -> None:
    """Each comes once and in order, however often a call ended with the handler's exception."""
    with Ring(consumers=consumers, records=2 * RECORDS) as ring, Child(produce, ring) as child:
        run, buffer, pidfd = Interrupted(), bytearray(64), os.pidfd_open(child.pid)
        verbs: dict[str, Callable[[], object]] = {
            "get": partial(ring.get, timeout=PATIENCE_S),
            "get_many": partial(ring.get_many, 3, timeout=PATIENCE_S),
            "get_into": partial(ring.get_into, buffer, timeout=PATIENCE_S),
            "borrow": partial(ring.borrow, timeout=PATIENCE_S),
            "borrow_many": partial(ring.borrow_many, 3, timeout=PATIENCE_S),
        }
        if verb == "records":
            run(lambda: ring.records(until=pidfd))
        else:
            run(lambda: iter(verbs[verb], None))
        os.close(pidfd)
        found = run.found
        if verb in ("get_many", "borrow_many"):
            found = [record for batch in found for record in batch]
        if verb == "get_into":
            assert [len(number) for number in numbered()] == found
        else:
            assert numbered() == [bytes(record) for record in found]
        assert run.alarms > 0


def test_a_batch_that_another_consumer_overtakes_ends_before_a_handler_may_run() -> None:
    """
    Its first record is taken. While it asks whether the holder of another one is dead, a third
    consumer is faster, and a signal comes: the handler's exception does not take the batch along.
    """

    def raise_alarm(_number: int, _frame: FrameType | None) -> None:
        raise Alarm

    def get(ring: Ring) -> None:
        signal.signal(signal.SIGALRM, raise_alarm)
        found: list[list[bytes]] = []
        try:
            # In C from the batch to the list: no handler runs in between.
            found.extend(islice(iter(partial(ring.get_many, 9, timeout=0), None), 1))
            while True:
                time.sleep(0)
        except Alarm:
            pass
        assert [[b"fresh"]] == found

    def hold(ring: Ring) -> None:
        record = ring.borrow(timeout=0)
        assert b"held" == bytes(record)
        os.kill(os.getpid(), signal.SIGKILL)

    with Ring(consumers="many", producers=1, records=4) as ring, RingBytes(ring) as shared:
        ring.put_many([b"held", b"fresh"])
        with Child(hold, ring) as dead:
            dead.wait()
        with Table(file_of(ring.region)) as table:
            row = table.row_of(dead.pid)
        with Stepped(get, ring) as getting:
            getting.run_to(probes(row_byte(row)))
            assert 2 == shared.word(shared.taken_at(0))
            shared.set_state(0, 0, FREE)
            os.kill(getting.pid, signal.SIGALRM)
            getting.go_on()
            assert 0 == getting.wait()
