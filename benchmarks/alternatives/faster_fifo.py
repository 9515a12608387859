# SPDX-License-Identifier: MIT
"""faster-fifo: a queue of bytes under a POSIX mutex, inherited by both sides."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from adapter import BATCH, Kind, Plan, Receiver, Sender, inherited

NAME = "faster-fifo"
SEVERAL_PRODUCERS = True
_PLAIN = "put / get, which wait, told to pickle nothing"
USES: dict[Kind, str] = {
    "busy": _PLAIN,
    "wait": _PLAIN,
    "batch": "put_many / get_many(256), told to pickle nothing",
    "loan": f"{_PLAIN}; it has no loans",
    "object": "put / get, which pickle",
}


def version() -> str:
    return metadata.version("faster-fifo")


def _itself(record: Any) -> Any:
    return record


def prepare(plan: Plan) -> Any:
    from faster_fifo import Queue

    nbytes = 2 * plan.capacity
    if plan.kind == "object":
        return Queue(nbytes)
    return Queue(nbytes, loads=bytes, dumps=_itself)


def receiver(plan: Plan) -> Receiver:
    queue = inherited(plan)

    def get_many() -> list[bytes]:
        found: list[bytes] = queue.get_many(max_messages_to_get=BATCH)
        return found

    return Receiver(queue.get, get_many=get_many)


def sender(plan: Plan) -> Sender:
    queue = inherited(plan)
    return Sender(queue.put, put_many=queue.put_many)
