# SPDX-License-Identifier: MIT
"""subetha-ipc: rings of fixed 64-byte slots in a mapped file, and frames across slots."""

from __future__ import annotations

from functools import partial
from importlib import metadata

from adapter import BATCH, Kind, Plan, Receiver, Sender

NAME = "subetha-ipc"
SEVERAL_PRODUCERS = True
USES: dict[Kind, str] = {
    "busy": "SpscRing.push / pop, polled; over 64 bytes Ring.send_frame / recv_frame, the only way "
    "in which a ring carries more; several producers: those frames too",
    "wait": "Channel.send_for / recv_for, the only ones that wait; up to 52 bytes, so not 64",
    "batch": "SpscRing.push_many / pop_many(256); pop_buffer hands out many in one object, "
    "which is slower once they are cut apart",
    "loan": "FrameRegion.write_new, its index through an SpscRing, take_block: its own way for "
    "payloads too large for a slot; it has no loans",
    "slot": "Slab.set / get of one element; a Cell carries less than 64 bytes",
}
_CHANNEL_SLOTS = 1024


def version() -> str:
    return metadata.version("subetha-ipc")


def _spsc(plan: Plan) -> bool:
    return plan.nbytes <= 64 and plan.producers == 1


def receiver(plan: Plan) -> Receiver:
    import subetha

    path = str(plan.directory / plan.name)
    if plan.kind == "slot":
        return Receiver(partial(subetha.Slab(path, 1, plan.nbytes).get, 0))
    if plan.kind == "wait":
        return Receiver(subetha.Channel(path, _CHANNEL_SLOTS).recv_for)
    if plan.kind == "loan":
        frames = subetha.FrameRegion(path + "frames", plan.nbytes, plan.records)
        indices = subetha.SpscRing(path, 1024)

        def take_block() -> bytes | None:
            index = indices.pop()
            if index is None:
                return None
            block: bytes = frames.take_block(int.from_bytes(index[:8], "little"), plan.nbytes)
            return block

        return Receiver(take_block, polls=True)
    if _spsc(plan):
        ring = subetha.SpscRing(path, plan.records)
        return Receiver(
            ring.pop, polls=True, get_many=partial(ring.pop_many, BATCH), pads=ring.payload_size
        )
    slots = subetha.Ring(path, plan.capacity // 64, plan.producers, 1)
    return Receiver(partial(slots.recv_frame, slots.register_consumer()), polls=True)


def sender(plan: Plan) -> Sender:
    import subetha

    path = str(plan.directory / plan.name)
    if plan.kind == "slot":
        return Sender(partial(subetha.Slab.open(path, 1, plan.nbytes).set, 0))
    if plan.kind == "wait":
        return Sender(subetha.Channel.open(path, _CHANNEL_SLOTS).send_for)
    if plan.kind == "loan":
        frames = subetha.FrameRegion.open(path + "frames", plan.nbytes, plan.records)
        indices = subetha.SpscRing.open(path, 1024)

        def write_new(payload: bytes) -> bool:
            index = frames.write_new(payload)
            return index is not None and indices.push(index.to_bytes(8, "little"))

        return Sender(write_new, polls=True)
    if _spsc(plan):
        ring = subetha.SpscRing.open(path, plan.records)
        return Sender(ring.push, polls=True, put_many=ring.push_many)
    slots = subetha.Ring.open(path, plan.capacity // 64, plan.producers, 1)
    return Sender(partial(slots.send_frame, slots.register_producer()), polls=True)
