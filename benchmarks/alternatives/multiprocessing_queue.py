# SPDX-License-Identifier: MIT
"""multiprocessing.Queue: a pipe, a lock on each side and a thread that feeds it."""

from __future__ import annotations

import multiprocessing
import platform
from typing import Any

from adapter import Kind, Plan, Receiver, Sender, inherited

NAME = "multiprocessing.Queue"
SEVERAL_PRODUCERS = True
_PLAIN = "put / get, which pickle; it has no other way"
USES: dict[Kind, str] = {
    **dict.fromkeys(("busy", "wait", "loan", "object"), _PLAIN),
    "batch": "put / get of a list",
}


def version() -> str:
    return platform.python_version()


def prepare(plan: Plan) -> Any:
    return multiprocessing.Queue()


def receiver(plan: Plan) -> Receiver:
    get = inherited(plan).get
    return Receiver(get, get_many=get)


def sender(plan: Plan) -> Sender:
    queue = inherited(plan)
    return Sender(queue.put, put_many=queue.put, close=queue.cancel_join_thread)
