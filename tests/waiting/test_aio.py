# SPDX-License-Identifier: MIT
"""`memlane.aio.wrap`: the verbs of a handle, awaited."""

from __future__ import annotations

import asyncio
import time

import pytest

from memlane import Empty, Full, Ring
from memlane.aio import wrap
from tests.support.children import PAGE
from tests.support.processes import Child


def test_records_of_another_process_are_awaited_in_order() -> None:
    """Each wakes the loop."""

    def put(ring: Ring) -> None:
        for i in range(100):
            time.sleep(0.001)
            ring.put(b"%d" % i)

    async def get_all(ring: Ring) -> list[bytes]:
        return [await wrap(ring).get() for _ in range(100)]

    with Ring(PAGE) as ring, Child(put, ring) as child:
        assert [b"%d" % i for i in range(100)] == asyncio.run(get_all(ring))
        assert 0 == child.wait()


def test_a_wait_that_is_cancelled_has_taken_nothing() -> None:
    """Nor has one that ends by its timeout."""

    async def run(ring: Ring) -> bytes:
        awaited = wrap(ring)
        task = asyncio.create_task(awaited.get())
        await asyncio.sleep(0)
        ring.put(b"a")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        found = await awaited.get()
        with pytest.raises(Empty):
            await awaited.get(timeout=0.01)
        return found

    with Ring(PAGE) as ring:
        assert b"a" == asyncio.run(run(ring))


def test_a_put_waits_for_room_without_keeping_the_loop() -> None:
    async def run(ring: Ring) -> None:
        awaited = wrap(ring)
        await awaited.put_many([b"x"] * 4)
        with pytest.raises(Full):
            await awaited.put(b"y", timeout=0.01)
        task = asyncio.create_task(awaited.put(b"y"))
        await asyncio.sleep(0)
        assert [b"x"] * 4 == ring.get_many(4)
        await task
        assert b"y" == await awaited.get()

    with Ring(PAGE, records=4) as ring:
        asyncio.run(run(ring))
