# SPDX-License-Identifier: MIT
"""eclipse-zenoh: publish and subscribe between two sessions over a unix socket."""

from __future__ import annotations

import json
import time
from importlib import metadata
from typing import Any

from adapter import Kind, Plan, Receiver, Sender

NAME = "eclipse-zenoh"
SEVERAL_PRODUCERS = True
_PLAIN = "put / recv of a FIFO channel over a unix socket; blocks when congested, so no loss"
USES: dict[Kind, str] = {
    "busy": _PLAIN,
    "wait": _PLAIN,
    "topic": _PLAIN,
    "topic-loan": "put of a shared-memory buffer / bytes of the payload, which are a copy",
    "loan": "put of a shared-memory buffer / bytes of the payload, which are a copy",
}


def version() -> str:
    return metadata.version("eclipse-zenoh")


def _session(plan: Plan, role: str) -> Any:
    import zenoh

    settings = zenoh.Config()
    numbers = [plan.subscriber] if role == "listen" else range(plan.subscribers)
    endpoints = [f"unixsock-stream/{plan.directory / plan.name}{number}" for number in numbers]
    # Nothing is looked for on the network: each of the two knows where the other is.
    for key, value in {
        "mode": "peer",
        "listen/endpoints": endpoints if role == "listen" else [],
        "connect/endpoints": endpoints if role == "connect" else [],
        "scouting/multicast/enabled": False,
        "transport/shared_memory/enabled": plan.kind in ("loan", "topic-loan"),
    }.items():
        settings.insert_json5(key, json.dumps(value))
    return zenoh.open(settings)


def receiver(plan: Plan) -> Receiver:
    from zenoh.handlers import FifoChannel

    session = _session(plan, "listen")
    receive = session.declare_subscriber(plan.name, FifoChannel(plan.records)).recv

    def get() -> bytes:
        payload: bytes = receive().payload.to_bytes()
        return payload

    return Receiver(get, close=session.close)


def sender(plan: Plan) -> Sender:
    import zenoh

    session = _session(plan, "connect")
    publisher = session.declare_publisher(
        plan.name,
        congestion_control=zenoh.CongestionControl.BLOCK,
        express=plan.answers,  # a receiver that waits for each gains nothing by gathering
    )
    while (
        not publisher.matching_status.matching
        or len(list(session.info.peers_zid())) < plan.subscribers
    ):
        time.sleep(0.01)
    if plan.subscribers > 1:
        time.sleep(0.5)  # it says that there is one, not whether all have been declared
    put = publisher.put
    if plan.kind not in ("loan", "topic-loan"):
        return Sender(put, close=session.close)
    from zenoh.shm import BlockOn, GarbageCollect, ShmProvider

    allocate = ShmProvider.default_backend(2 * plan.capacity + (1 << 20)).alloc
    policy = BlockOn(GarbageCollect())
    nbytes = plan.nbytes

    def put_shared(payload: bytes) -> None:
        room = allocate(nbytes, policy)
        room[:] = payload
        put(room)

    return Sender(put_shared, close=session.close)
