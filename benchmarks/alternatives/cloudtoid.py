# SPDX-License-Identifier: MIT
"""cloudtoid-interprocess: byte queues with several publishers and subscribers."""

from __future__ import annotations

from importlib import metadata

from adapter import Kind, Plan, Receiver, Sender

NAME = "cloudtoid-interprocess"
SEVERAL_PRODUCERS = True
USES: dict[Kind, str] = {
    "busy": "try_send / try_receive, polled",
    "wait": "receive, which waits, and try_send, polled, since no send waits",
    "batch": "try_send_batch / try_receive, polled: nothing receives more than one",
    "loan": "try_send / try_receive, polled: it has no loans",
}


def version() -> str:
    return metadata.version("cloudtoid-interprocess")


def _capacity(plan: Plan) -> int:
    return 2 * plan.capacity  # each message has a header, and is padded


def receiver(plan: Plan) -> Receiver:
    from cloudtoid_interprocess import Subscriber

    end = Subscriber(plan.name, _capacity(plan), plan.directory)
    if plan.kind == "wait":
        return Receiver(end.receive, close=end.close)
    return Receiver(end.try_receive, polls=True, close=end.close)


def sender(plan: Plan) -> Sender:
    from cloudtoid_interprocess import Publisher

    end = Publisher(plan.name, _capacity(plan), plan.directory)
    return Sender(end.try_send, polls=True, put_many=end.try_send_batch, close=end.close)
