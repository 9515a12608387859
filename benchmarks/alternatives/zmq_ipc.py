# SPDX-License-Identifier: MIT
"""pyzmq: a PUSH and a PULL socket over ipc, without limits on how much is on its way."""

from __future__ import annotations

from functools import partial
from importlib import metadata
from typing import Any

from adapter import Kind, Plan, Receiver, Sender, WrongPayloadError

NAME = "pyzmq"
SEVERAL_PRODUCERS = True
_PLAIN = "PUSH send / PULL recv over ipc, which wait: polling would raise for each empty look"
USES: dict[Kind, str] = {
    "busy": _PLAIN,
    "wait": _PLAIN,
    "loan": "send(copy=False) / recv(copy=False) and the frame's buffer",
}


def version() -> str:
    return metadata.version("pyzmq")


def socket_of(plan: Plan, kind: str) -> Any:
    import zmq

    socket = zmq.Context(io_threads=1).socket(getattr(zmq, kind))
    # As many as the others have room for.
    socket.set_hwm(plan.records)
    socket.setsockopt(zmq.LINGER, 0)
    return socket


def address(plan: Plan) -> str:
    return f"ipc://{plan.directory / plan.name}"


def receiver_of(socket: Any) -> Receiver:
    def receive_loans(nbytes: int, marks: int, count: int) -> int:
        receive = socket.recv
        for _ in range(count // marks):
            for mark in range(marks):
                view = receive(copy=False).buffer
                if view[0] != mark or view[-1] != mark or len(view) != nbytes:
                    raise WrongPayloadError(f"expected {mark}, found {view[0]}")
        return count

    return Receiver(socket.recv, receive_loans=receive_loans, close=socket.close)


def sender_of(socket: Any) -> Sender:
    def send_loans(payloads: list[bytes], count: int) -> None:
        send = partial(socket.send, copy=False)
        for _ in range(count // len(payloads)):
            for payload in payloads:
                send(payload)

    return Sender(socket.send, send_loans=send_loans, close=socket.close)


def receiver(plan: Plan) -> Receiver:
    socket = socket_of(plan, "PULL")
    socket.bind(address(plan))
    return receiver_of(socket)


def sender(plan: Plan) -> Sender:
    socket = socket_of(plan, "PUSH")
    socket.connect(address(plan))
    return sender_of(socket)
