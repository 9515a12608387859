# SPDX-License-Identifier: MIT
"""
The engine over Zenoh: peer to peer, without a broker, to explicit peers only.

Each bridge has a key that it alone subscribes to, memlane/1/TO/FROM, and a liveliness token, by
which its peers learn that it has come or gone.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from memlane.bridge.engine import Events, LinkLost

__all__ = ["ZenohEngine"]

_PREFIX = "memlane/1"
#: A link that is silent for so long is lost. A third of Zenoh's default: records wait meanwhile.
_LEASE_MS = 3000


class ZenohEngine:
    """
    Args:
        listen: Endpoints as "tcp/HOST:PORT"; none: it listens nowhere.
        connect: Endpoints of peers, tried again and again.
        config: More of the configuration of Zenoh, as paths and values
            ("transport/link/tls": {...}), or the path of a file in JSON5.

    Raises:
        ImportError: there is no Zenoh.
        ValueError: Zenoh refuses the configuration.
    """

    def __init__(
        self,
        listen: Sequence[str],
        connect: Sequence[str],
        config: Mapping[str, Any] | str | None = None,
    ) -> None:
        try:
            import zenoh
        except ImportError:
            raise ImportError(
                "a bridge needs Zenoh, which is not installed here; pip install 'memlane[zenoh]'"
            ) from None
        self._zenoh = zenoh
        told: dict[str, Any] = {
            "mode": "peer",
            "scouting/multicast/enabled": False,
            "scouting/gossip/enabled": False,
            "listen/endpoints": list(listen),
            "connect/endpoints": list(connect),
            "connect/timeout_ms": -1,  # tried in the background, for ever
            "open/return_conditions/connect_scouted": False,
            "connect/exit_on_failure": False,
            "connect/retry": {
                "period_init_ms": 100,
                "period_max_ms": 1000,
                "period_increase_factor": 2,
            },
            "transport/link/tx/lease": _LEASE_MS,
        }
        try:
            if isinstance(config, str):
                made = zenoh.Config.from_file(config)
            else:
                made = zenoh.Config()
                told.update(config or {})
            for path, value in told.items():
                made.insert_json5(path, json.dumps(value))
        except Exception as wrong:
            raise ValueError(f"Zenoh refuses the configuration: {wrong}") from None
        self._config = made
        self._listen = tuple(listen)
        self._session: Any = None
        self._kept: list[Any] = []
        self._lock = threading.Lock()
        self._publishers: dict[tuple[str, bool], Any] = {}

    def start(self, node: str, events: Events) -> None:
        zenoh = self._zenoh
        self._node = node
        try:
            session = self._session = zenoh.open(self._config)
        except Exception as wrong:  # of a type of Zenoh's own
            where = ", ".join(self._listen)
            raise OSError(
                f"Zenoh cannot start{f', listening at {where}' if where else ''}: {wrong}"
            ) from None
        self._kept = [
            session.declare_subscriber(f"{_PREFIX}/{node}/*", _receiver(events)),
            session.liveliness().declare_subscriber(
                f"{_PREFIX}-live/*", _watcher(zenoh, node, events), history=True
            ),
            session.liveliness().declare_token(f"{_PREFIX}-live/{node}"),
        ]

    def send(self, peer: str, head: bytes, body: bytes | bytearray, *, wait: bool) -> None:
        publisher = self._publishers.get((peer, wait))
        if publisher is None:
            publisher = self._publisher(peer, wait)
        try:
            publisher.put(body, attachment=head)
        except Exception as wrong:
            raise LinkLost(str(wrong)) from None

    def _publisher(self, peer: str, wait: bool) -> Any:
        control = self._zenoh.CongestionControl
        with self._lock:
            session = self._session
            if session is None:
                raise LinkLost("the engine was stopped")
            made = self._publishers.get((peer, wait))
            if made is None:
                made = self._publishers[peer, wait] = session.declare_publisher(
                    f"{_PREFIX}/{peer}/{self._node}",
                    congestion_control=control.BLOCK if wait else control.DROP,
                    express=True,
                )
        return made

    def forget(self, peer: str) -> None:
        """Keep nothing of a peer that has gone for good."""
        with self._lock:
            gone = [self._publishers.pop((peer, wait), None) for wait in (True, False)]
        for publisher in gone:
            if publisher is not None:
                _quietly(publisher.undeclare)

    def stop(self) -> None:
        with self._lock:
            session, self._session = self._session, None
            self._publishers.clear()
        if session is not None:
            for kept in self._kept:
                _quietly(kept.undeclare)
            _quietly(session.close)
        self._kept = []

    def stats(self) -> dict[str, Any]:
        return {"engine": "zenoh", "listen": list(self._listen)}


def _receiver(events: Events) -> Callable[[Any], None]:
    def receive(sample: Any) -> None:
        attached = sample.attachment
        if attached is not None:
            peer = str(sample.key_expr).rpartition("/")[2]
            events.received(peer, attached.to_bytes(), sample.payload.to_bytes())

    return receive


def _watcher(zenoh: Any, node: str, events: Events) -> Callable[[Any], None]:
    came = zenoh.SampleKind.PUT

    def watch(sample: Any) -> None:
        peer = str(sample.key_expr).rpartition("/")[2]
        if peer == node:
            return
        if sample.kind == came:
            events.found(peer)
        else:
            events.lost(peer)

    return watch


def _quietly(call: Callable[[], object]) -> None:
    """What is ended may have ended by itself."""
    try:
        call()
    except Exception:
        pass
