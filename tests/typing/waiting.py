# SPDX-License-Identifier: MIT
"""A program that waits for several things: checked by type checkers only, never run."""

from __future__ import annotations

import socket
from typing import Any, assert_type

import numpy as np

import memlane
from memlane import aio

ring = memlane.Ring()
topic = memlane.Topic()
pair = memlane.Slot.create(None, "2d")
plain = memlane.Slot.create(None, 8)
table = memlane.SlotTable.create(None, 4, "d")

ready = memlane.wait([ring, topic.subscribe(), pair, table, socket.socket(), 5], timeout=1.5)
assert_type(ready, list[Any])
assert_type(memlane.wait((ring.consumer(), ring.producer())), list[Any])
assert_type(ring.fileno(), int)


async def of_a_ring() -> None:
    awaited = aio.wrap(ring)
    assert_type(awaited, aio.AsyncRing)
    assert_type(awaited.handle, memlane.Ring)
    assert_type(await awaited.get(), bytes)
    assert_type(await awaited.get(timeout=1, require_peer=True), bytes)
    assert_type(awaited.get_nowait(), bytes)
    assert_type(await awaited.get_many(8), list[bytes])
    assert_type(await awaited.get_into(bytearray(8)), int)
    await awaited.put(b"record", timeout=1)
    await awaited.put(np.zeros(3))
    awaited.put_nowait(b"record")
    assert_type(await awaited.put_many([b"a", b"b"]), int)
    async with awaited.reserve(8) as room:
        assert_type(room, memlane.Reservation)
    async with awaited.borrow() as record:
        assert_type(record, memlane.Record)
    assert_type(await awaited.borrow(timeout=1), memlane.Record)
    async with awaited.borrow_many(4) as records:
        for record in records:
            assert_type(record, memlane.Record)
    async for found in awaited:
        assert_type(found, bytes)
    async for found in awaited.records(until=5, timeout=1):
        assert_type(found, bytes)
    async for loan in awaited.borrowed():
        assert_type(loan, memlane.Record)

    sends = aio.wrap(ring.producer())
    assert_type(sends, aio.AsyncProducer)
    await sends.put(b"record")
    receives = aio.wrap(ring.consumer())
    assert_type(receives, aio.AsyncConsumer)
    assert_type(receives.handle, memlane.Consumer)
    assert_type(await receives.get(), bytes)


async def of_a_topic() -> None:
    publishes = aio.wrap(topic)
    assert_type(publishes, aio.AsyncTopic)
    await publishes.publish(b"record", timeout=1)
    assert_type(await publishes.publish_many([b"a"]), int)
    assert_type(aio.wrap(topic.publisher()), aio.AsyncPublisher)
    async with aio.wrap(topic.subscribe()) as subscriber:
        assert_type(subscriber, aio.AsyncSubscriber)
        async with subscriber.borrow() as record:
            assert_type(record, memlane.TopicRecord)
        assert_type(subscriber.handle.lost, int)


async def of_values() -> None:
    assert_type(await aio.wrap(pair).read(), tuple[Any, ...])
    assert_type(await aio.wrap(plain).wait_newer(0, timeout=1), tuple[bytes, int])
    assert_type(await aio.wrap(plain).publish(b"12345678"), int)
    rows = aio.wrap(table)
    assert_type(rows, aio.AsyncTable[tuple[Any, ...]])
    assert_type(rows[0], aio.AsyncSlot[tuple[Any, ...]])
    values, versions = await rows.wait_newer([0, 0, 0, 0], timeout=1)
    assert_type(values, list[tuple[Any, ...] | None])
    assert_type(versions, list[int])


async def of_a_queue() -> None:
    queue = memlane.Queue()
    awaited = aio.wrap(queue)
    assert_type(awaited, aio.AsyncQueue)
    assert_type(await awaited.get(timeout=1), Any)
    assert_type(await awaited.get_many(3), list[Any])
    await awaited.put({"any": "object"})
    assert_type(await awaited.put_many("abc"), int)
    async with awaited.borrow() as thing:
        assert_type(thing, Any)
    async for found in awaited:
        assert_type(found, Any)
    async for found in awaited.records(until=5):
        assert_type(found, Any)
    await awaited.join(timeout=1)
