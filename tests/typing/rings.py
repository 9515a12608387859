# SPDX-License-Identifier: MIT
"""A program with rings as users write it: checked by type checkers only, never run."""

from __future__ import annotations

from multiprocessing import Process
from subprocess import Popen
from typing import Any, assert_type

import numpy as np

import memlane

ring = memlane.Ring(capacity="8 MiB", producers=2)
assert_type(ring, memlane.Ring)
assert_type(memlane.Ring.create("frames", capacity=1 << 20), memlane.Ring)
assert_type(memlane.Ring.open("frames", timeout=5), memlane.Ring)

ring.put(b"record")
ring.put(bytearray(8), timeout=None)
ring.put(memoryview(b"record"), timeout=0.5)
ring.put(np.zeros(8), timeout=1)
ring.put_nowait(b"record")
assert_type(ring.put_many([b"a", b"b"]), int)
assert_type(ring.put_many([np.zeros(1), np.float32(1)]), int)
assert_type(ring.get(), bytes)
assert_type(ring.get(timeout=1, require_peer=True), bytes)
assert_type(ring.get_nowait(), bytes)
assert_type(ring.get_many(10), list[bytes])
assert_type(ring.get_into(bytearray(8)), int)
assert_type(ring.get_into(np.zeros(8)), int)
assert_type(len(ring), int)

for record in ring:
    assert_type(record, bytes)
for record in ring.records(until=Process()):
    assert_type(record, bytes)
for record in ring.records(until=[Process(), Popen(["true"]), 5], timeout=1, require_peer=True):
    assert_type(record, bytes)

with ring.reserve(1024) as room:
    assert_type(room, memlane.Reservation)
    room[:] = np.zeros(128)
    room[0] = 1
    assert_type(room[0], int)
    assert_type(room[0:8], bytes)
    room.write(b"header", 8)
    room.write(np.zeros(2), offset="16 B")
    frame = room.array((16, 16), "f4")
    frame[:] = 1
    values = np.frombuffer(memoryview(room), "f4")
    values[:] = 1
    whole = np.frombuffer(memoryview(room), dtype=np.float32)
    assert_type(whole.dtype, np.dtype[np.float32])

with ring.borrow(timeout=1) as borrowed:
    assert_type(borrowed, memlane.Record)
    assert_type(bytes(borrowed), bytes)
    assert_type(borrowed.redelivered, bool)
    assert_type((borrowed.producer, borrowed.sequence), tuple[int, int])
    seen = np.frombuffer(memoryview(borrowed), dtype=np.uint8)
    seen = borrowed.array((16,), "u1")
for loan in ring.borrowed():
    assert_type(loan, memlane.Record)
for loan in ring.borrow_many(4):
    assert_type(loan, memlane.Record)

with ring.producer() as producer, ring.consumer() as consumer:
    producer.put(b"record", timeout=1)
    assert_type(consumer.get(timeout=1), bytes)
    for record in consumer.records(until=Process()):
        assert_type(record, bytes)

assert_type(ring.stats(), dict[str, Any])
ring.shutdown()
ring.close()

try:
    ring.get_nowait()
except memlane.Empty as empty:
    assert_type(empty, memlane.Empty)
except (memlane.ShutDown, memlane.PeerGoneError, memlane.MemlaneError):
    pass
