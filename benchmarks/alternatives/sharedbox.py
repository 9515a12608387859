# SPDX-License-Identifier: MIT
"""sharedbox: a stream of typed items, one sender, readers that choose how they read."""

from __future__ import annotations

from importlib import metadata
from typing import Annotated, Any

from adapter import Kind, Plan, Receiver, Sender, WrongPayloadError

NAME = "sharedbox"
USES: dict[Kind, str] = {
    "topic": 'send / receive of a stream of bytes, mode "lossless"',
    "topic-loan": 'writing, and a copy into the array of the slot / receive_into, mode "lossless"',
}


def version() -> str:
    return metadata.version("sharedbox")


def _item(plan: Plan) -> Any:
    import sharedbox

    if plan.kind == "topic":
        return Annotated[bytes, sharedbox.Capacity(plan.nbytes)]
    import numpy

    return Annotated[numpy.ndarray, sharedbox.Shape(plan.nbytes), sharedbox.DType("uint8")]


def receiver(plan: Plan) -> Receiver:
    import numpy
    import sharedbox

    if plan.subscriber == 0:
        stream = sharedbox.SharedStream.create(
            _item(plan),
            plan.name,
            capacity=max(2, plan.records),
            max_readers=plan.subscribers,
        )
    else:
        stream = sharedbox.SharedStream.attach(_item(plan), plan.name)
    reader = stream.reader("lossless", start="oldest")

    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        receive, view = reader.receive_into, numpy.empty(nbytes, numpy.uint8)
        for _ in range(count // marks):
            for mark in range(marks):
                receive(view)
                if view[0] != mark or view[-1] != mark or len(view) != nbytes:
                    raise WrongPayloadError(f"expected {mark}, found {view[0]}")
        return count

    def close() -> None:
        stream.close()
        if plan.subscriber == 0:
            sharedbox.SharedStream.unlink(plan.name)

    return Receiver(reader.receive, receive_loans=receive_loans, close=close)


def sender(plan: Plan) -> Sender:
    import sharedbox

    stream = sharedbox.SharedStream.attach(_item(plan), plan.name)
    end = stream.sender()

    def send_loans(payloads: list[bytes], count: int) -> None:
        writing = end.writing
        for _ in range(count // len(payloads)):
            for payload in payloads:
                with writing() as slot:
                    memoryview(slot.item)[:] = payload
                    slot.send(slot.item)

    return Sender(end.send, send_loans=send_loans, close=stream.close)
