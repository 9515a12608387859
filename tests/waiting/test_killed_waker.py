# SPDX-License-Identifier: MIT
"""A process that dies between taking an announcement and sending costs others one slice at most."""

from __future__ import annotations

import asyncio
import select
import threading

import pytest

import memlane
from memlane import Empty, Ring, _event_loops
from memlane.aio import wrap
from tests.support.children import PAGE
from tests.support.processes import PATIENCE_S, wait_until
from tests.support.shared_bytes import RingBytes
from tests.support.slices import Slices


def is_announced(shared: RingBytes) -> bool:
    return shared.half(RingBytes.WAITERS) > 0xFFFF


def put_and_die_before_the_send(ring: Ring, shared: RingBytes) -> None:
    """What the shared bytes are then: the record is there, the announcement was taken."""
    assert 1 == shared.take_announcements(RingBytes.WAITERS)
    ring.put(b"x")
    assert not is_announced(shared)


def test_a_wait_finds_the_record_when_one_slice_is_over() -> None:
    """Counted: the slice in which the waker died is slept to its end, and no other one."""
    with Ring(PAGE) as ring, RingBytes(ring) as shared:
        slices = Slices()

        def wait() -> None:
            with slices:
                assert [ring] == memlane.wait([ring])

        memlane.wait([ring], 0)
        thread = threading.Thread(target=wait)
        with Slices() as before:
            thread.start()
            wait_until(lambda: is_announced(shared))
        put_and_die_before_the_send(ring, shared)
        thread.join()
        assert 1 <= slices.count - before.count <= 2  # one may have ended in between
        assert b"x" == ring.get_nowait()


def test_a_descriptor_is_readable_when_one_slice_is_over() -> None:
    """By itself: nobody else does anything."""
    with Ring(PAGE) as ring, RingBytes(ring) as shared:
        poll = select.poll()
        poll.register(ring.fileno(), select.POLLIN)
        with pytest.raises(Empty):
            ring.get_nowait()
        put_and_die_before_the_send(ring, shared)
        assert poll.poll(PATIENCE_S * 1000)
        assert b"x" == ring.get_nowait()


def test_an_event_loop_finds_the_record_when_one_slice_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At the next time that the timer looks."""
    times = []
    on_time = _event_loops.EventLoop.on_time

    def counted(loop: _event_loops.EventLoop) -> None:
        times.append(len(ring))
        on_time(loop)

    monkeypatch.setattr(_event_loops.EventLoop, "on_time", counted)

    async def main() -> None:
        task = asyncio.create_task(wrap(ring).get())
        while not is_announced(shared):
            await asyncio.sleep(0)
        put_and_die_before_the_send(ring, shared)
        assert b"x" == await task

    with Ring(PAGE) as ring, RingBytes(ring) as shared:
        asyncio.run(main())
    assert 1 == times.count(1)
