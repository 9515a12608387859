# SPDX-License-Identifier: MIT
"""multiprocessing.SimpleQueue: a pipe with a lock on each side."""

from __future__ import annotations

import multiprocessing
import platform
from typing import Any

from contenders import Kind, Plan, Receiver, Sender, inherited

NAME = "multiprocessing.SimpleQueue"
SEVERAL_PRODUCERS = True
_PLAIN = "put / get, which pickle; it has no other way"
USES: dict[Kind, str] = dict.fromkeys(("busy", "wait", "loan", "object"), _PLAIN)


def version() -> str:
    return platform.python_version()


def prepare(plan: Plan) -> Any:
    return multiprocessing.SimpleQueue()


def receiver(plan: Plan) -> Receiver:
    return Receiver(inherited(plan).get)


def sender(plan: Plan) -> Sender:
    return Sender(inherited(plan).put)
