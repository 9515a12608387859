# SPDX-License-Identifier: MIT
"""multiprocessing.Pipe: a pipe with a length before each message."""

from __future__ import annotations

import fcntl
import multiprocessing
import platform
from typing import Any

from adapter import Kind, Plan, Receiver, Sender, WrongPayloadError, inherited

NAME = "multiprocessing.Pipe"
USES: dict[Kind, str] = {
    "busy": "send_bytes / recv_bytes, which pickle nothing",
    "wait": "send_bytes / recv_bytes, which pickle nothing",
    "batch": "send / recv of a list",
    "loan": "send_bytes / recv_bytes_into a buffer used again and again",
    "object": "send / recv",
}


def version() -> str:
    return platform.python_version()


def prepare(plan: Plan) -> Any:
    ends = multiprocessing.Pipe(duplex=False)
    fcntl.fcntl(ends[1].fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)
    return ends


def receiver(plan: Plan) -> Receiver:
    reader = inherited(plan)[0]

    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        buffer = bytearray(nbytes)
        for _ in range(count // marks):
            for mark in range(marks):
                came = reader.recv_bytes_into(buffer)
                if buffer[0] != mark or buffer[-1] != mark or came != nbytes:
                    raise WrongPayloadError(f"expected {mark}, found {buffer[0]}")
        return count

    get = reader.recv if plan.kind == "object" else reader.recv_bytes
    return Receiver(get, get_many=reader.recv, receive_loans=receive_loans)


def sender(plan: Plan) -> Sender:
    writer = inherited(plan)[1]
    return Sender(writer.send if plan.kind == "object" else writer.send_bytes, put_many=writer.send)
