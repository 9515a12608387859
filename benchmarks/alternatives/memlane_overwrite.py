# SPDX-License-Identifier: MIT
"""memlane once more: a topic whose publisher waits for nobody."""

from __future__ import annotations

from adapter import Kind, Plan, Receiver

from alternatives.memlane import sender, subscriber, version

__all__ = ["NAME", "USES", "receiver", "sender", "version"]

NAME = "memlane, overwrite"
USES: dict[Kind, str] = {
    "topic": 'publish / get of a topic with when_full="overwrite"; lossy, '
    "room for 16 times as much",
}


def receiver(plan: Plan) -> Receiver:
    return subscriber(plan, "overwrite")
