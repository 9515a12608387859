# SPDX-License-Identifier: MIT
"""membridge: a ring of messages with their length before them, and a mapping under a lock."""

from __future__ import annotations

from functools import partial
from importlib import metadata

from adapter import Kind, Plan, Receiver, Sender

NAME = "membridge"
USES: dict[Kind, str] = {
    "busy": "SpscRingBuffer.push / pop, polled; nothing of it waits",
    "loan": "SpscRingBuffer.push / pop, polled: it has no loans",
    "slot": "MappedView.write / read_all, which lock",
}
_RING_HEADER, _LOCK = 24, 4


def version() -> str:
    return metadata.version("membridge")


def receiver(plan: Plan) -> Receiver:
    from membridge import SharedMemory

    def remove() -> None:
        SharedMemory.remove("/" + plan.name)

    if plan.kind == "slot":
        shared = SharedMemory.create("/" + plan.name, plan.nbytes + _LOCK)
        return Receiver(shared.map().read_all, close=remove)
    # A power of two, with room for the lengths.
    nbytes = 1 << (plan.capacity + 4 * plan.records - 1).bit_length()
    shared = SharedMemory.create("/" + plan.name, nbytes + _RING_HEADER)
    return Receiver(shared.spsc().pop, polls=True, close=remove)


def sender(plan: Plan) -> Sender:
    from membridge import SharedMemory

    shared = SharedMemory.open("/" + plan.name)
    if plan.kind == "slot":
        return Sender(partial(shared.map().write, offset=0))
    return Sender(shared.spsc().push, polls=True)
