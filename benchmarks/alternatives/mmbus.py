# SPDX-License-Identifier: MIT
"""mmbus: a ring of slots in a mapped file, one publisher, an eventfd for each subscriber."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from adapter import Kind, Plan, Receiver, Sender

NAME = "mmbus"
TOGETHER = True
_PLAIN = "publish, again where BusFullError says that a subscriber is behind / recv; without a log"
USES: dict[Kind, str] = {
    "topic": _PLAIN,
    "topic-loan": f"{_PLAIN}: bytes",
}


def version() -> str:
    return metadata.version("mmbus")


def _bus(plan: Plan) -> Any:
    import mmbus

    return mmbus.Bus(
        "bench",
        base_dir=str(plan.directory),
        capacity=max(4, plan.records),
        slot_size=plan.nbytes,
        max_subscribers=plan.subscribers,
        wal_enabled=False,
    )


def receiver(plan: Plan) -> Receiver:
    return Receiver(_bus(plan).subscribe(plan.name).recv)


def sender(plan: Plan) -> Sender:
    import mmbus

    topic = _bus(plan).topic(plan.name)
    topic.wait_for_subscribers(plan.subscribers)
    publish, full = topic.publish, mmbus.BusFullError

    def put(record: bytes) -> bool:
        try:
            publish(record)
        except full:
            return False
        return True

    return Sender(put, polls=True)
