# SPDX-License-Identifier: MIT
"""multiprocessing.SimpleQueue: a pipe with a lock on each side."""

from __future__ import annotations

import multiprocessing
from typing import Any

from adapter import Plan, Sender, inherited

from alternatives.multiprocessing_queue import USES, receiver, version

__all__ = ["NAME", "SEVERAL_PRODUCERS", "USES", "prepare", "receiver", "sender", "version"]

NAME = "multiprocessing.SimpleQueue"
SEVERAL_PRODUCERS = True


def prepare(plan: Plan) -> Any:
    return multiprocessing.SimpleQueue()


def sender(plan: Plan) -> Sender:
    put = inherited(plan).put
    return Sender(put, put_many=put)
