# SPDX-License-Identifier: MIT
"""memlane: rings and slots in named regions, one adapter like the others."""

from __future__ import annotations

from functools import partial
from importlib import metadata
from typing import Literal

from adapter import BATCH, Kind, Plan, Receiver, Sender, WrongPayloadError

NAME = "memlane"
SEVERAL_PRODUCERS = True
USES: dict[Kind, str] = {
    "busy": 'put / get of a ring with wait="spin", which never sleeps; with several producers the '
    "default, which does",
    "wait": "put / get of a ring with its default waiting",
    "batch": 'put_many / get_many(256) of a ring with wait="spin"',
    "loan": 'put, which is one copy / borrow of a ring with wait="spin"',
    "slot": "publish / read of a slot of bytes",
    "topic": 'publish / get of a topic with its default waiting, when_full="wait", so no loss',
    "topic-loan": 'publish, which is one copy / borrow of a topic, when_full="wait"',
}


def version() -> str:
    return metadata.version("memlane")


def receiver(plan: Plan) -> Receiver:
    import memlane

    if plan.kind == "slot":
        slot = memlane.Slot.create(plan.name, plan.nbytes)
        return Receiver(slot.read, close=slot.unlink)
    if plan.kind in ("topic", "topic-loan"):
        return subscriber(plan, "wait")
    ring = memlane.Ring.create(
        plan.name,
        capacity=plan.capacity // plan.producers,
        producers=plan.producers,
        wait="adaptive" if plan.kind == "wait" or plan.producers > 1 else "spin",
    )

    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        borrow = handle.borrow
        for _ in range(count // marks):
            for mark in range(marks):
                with borrow() as record:
                    if record[0] != mark or record[-1] != mark or len(record) != nbytes:
                        raise WrongPayloadError(f"expected {mark}, found {record[0]}")
        return count

    handle = ring.consumer()
    return Receiver(
        handle.get,
        get_many=partial(handle.get_many, BATCH),
        receive_loans=receive_loans,
        close=ring.unlink,
    )


def subscriber(plan: Plan, when_full: Literal["overwrite", "wait"]) -> Receiver:
    """One of those that get each record; the first of them makes the topic."""
    import memlane

    lossy = when_full == "overwrite"
    # Room is all that there is against loss, as for the lossy ones of the others.
    capacity = plan.capacity * (16 if lossy and not plan.answers else 1)
    topic = memlane.Topic.open_or_create(
        plan.name, capacity=capacity, publishers=1, subscribers=plan.subscribers
    )
    handle = topic.subscribe(when_full=when_full)

    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        borrow = handle.borrow
        for _ in range(count // marks):
            for mark in range(marks):
                with borrow() as record:
                    if record[0] != mark or record[-1] != mark or len(record) != nbytes:
                        raise WrongPayloadError(f"expected {mark}, found {record[0]}")
        return count

    def get_left() -> bytes | None:
        try:
            return handle.get_nowait()
        except memlane.Empty:
            return None

    def close() -> None:
        handle.close()
        if plan.subscriber == 0:
            topic.unlink()

    return Receiver(
        handle.get, receive_loans=receive_loans, lossy=lossy, get_left=get_left, close=close
    )


def sender(plan: Plan) -> Sender:
    import memlane

    if plan.kind in ("topic", "topic-loan"):
        topic = memlane.Topic.open(plan.name)
        return Sender(topic.publisher().publish, close=topic.close)

    if plan.kind == "slot":
        slot = memlane.Slot.open(plan.name)
        return Sender(slot.publish, close=slot.close)
    ring = memlane.Ring.open(
        plan.name, wait="adaptive" if plan.kind == "wait" or plan.producers > 1 else "spin"
    )

    handle = ring.producer()
    return Sender(handle.put, put_many=handle.put_many, close=ring.close)
