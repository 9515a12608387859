# SPDX-License-Identifier: MIT
"""pyzmq: an XPUB socket that waits where a subscriber is behind, and SUB sockets, over ipc."""

from __future__ import annotations

from functools import partial
from typing import Any

from adapter import Kind, Plan, Receiver, Sender, WrongPayloadError

from alternatives.zmq_ipc import version

__all__ = ["NAME", "USES", "receiver", "sender", "version"]

NAME = "pyzmq, PUB"
USES: dict[Kind, str] = {
    "topic": "XPUB send with XPUB_NODROP / SUB recv over ipc, which wait, so no loss",
    "topic-loan": "the same by send(copy=False) / recv(copy=False) and the frame's buffer",
}


def _socket(plan: Plan, kind: str) -> Any:
    import zmq

    socket = zmq.Context(io_threads=1).socket(getattr(zmq, kind))
    socket.set_hwm(plan.records)
    socket.setsockopt(zmq.LINGER, 0)
    return socket


def _address(plan: Plan) -> str:
    return f"ipc://{plan.directory / plan.name}"


def receiver(plan: Plan) -> Receiver:
    socket = _socket(plan, "SUB")
    socket.subscribe(b"")
    socket.connect(_address(plan))

    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        receive = socket.recv
        for _ in range(count // marks):
            for mark in range(marks):
                view = receive(copy=False).buffer
                if view[0] != mark or view[-1] != mark or len(view) != nbytes:
                    raise WrongPayloadError(f"expected {mark}, found {view[0]}")
        return count

    return Receiver(socket.recv, receive_loans=receive_loans, close=socket.close)


def sender(plan: Plan) -> Sender:
    import zmq

    socket = _socket(plan, "XPUB")
    socket.setsockopt(zmq.XPUB_NODROP, 1)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.bind(_address(plan))
    for _ in range(plan.subscribers):
        socket.recv()  # a subscription that has come

    def send_loans(payloads: list[bytes], count: int) -> None:
        send = partial(socket.send, copy=False)
        for _ in range(count // len(payloads)):
            for payload in payloads:
                send(payload)

    return Sender(socket.send, send_loans=send_loans, close=socket.close)
