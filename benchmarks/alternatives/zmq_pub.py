# SPDX-License-Identifier: MIT
"""pyzmq: an XPUB socket that waits where a subscriber is behind, and SUB sockets, over ipc."""

from __future__ import annotations

from adapter import Kind, Plan, Receiver, Sender

from alternatives.zmq_ipc import address, receiver_of, sender_of, socket_of, version

__all__ = ["NAME", "USES", "receiver", "sender", "version"]

NAME = "pyzmq, PUB"
USES: dict[Kind, str] = {
    "topic": "XPUB send with XPUB_NODROP / SUB recv over ipc, which wait, so no loss",
    "topic-loan": "the same by send(copy=False) / recv(copy=False) and the frame's buffer",
}


def receiver(plan: Plan) -> Receiver:
    socket = socket_of(plan, "SUB")
    socket.subscribe(b"")
    socket.connect(address(plan))
    return receiver_of(socket)


def sender(plan: Plan) -> Sender:
    import zmq

    socket = socket_of(plan, "XPUB")
    socket.setsockopt(zmq.XPUB_NODROP, 1)
    socket.setsockopt(zmq.XPUB_VERBOSE, 1)
    socket.bind(address(plan))
    for _ in range(plan.subscribers):
        socket.recv()  # a subscription that has come
    return sender_of(socket)
