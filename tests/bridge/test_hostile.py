# SPDX-License-Identifier: MIT
"""A peer that speaks the protocol and means no good."""

from __future__ import annotations

import json
import random
import re
import threading
from typing import Any

import pytest

pytest.importorskip("zenoh", reason="there is no wheel of Zenoh for this Python")

from memlane import Region, Ring, Slot
from memlane.bridge import Bridge, messages
from memlane.bridge.zenoh_engine import ZenohEngine
from tests.support.bridges import removed
from tests.support.processes import PATIENCE_S, wait_until
from tests.support.proxy import free_port

pytestmark = pytest.mark.machine

FACTS: dict[str, Any] = {"capacity": 4096, "producers": 2, "consumers": "one", "records": 64}


class Peer:
    """A peer that sends what it is told to, and keeps the answers."""

    def __init__(self, port: int) -> None:
        self.answers: list[Any] = []
        self.peer: str | None = None
        self._came = threading.Event()
        self.engine = ZenohEngine([], [f"tcp/127.0.0.1:{port}"])
        self.engine.start("bad.0000000000000001", self)
        assert self._came.wait(PATIENCE_S)

    def found(self, peer: str) -> None:
        self.peer = peer
        self._came.set()

    def lost(self, peer: str) -> None:
        pass

    def received(self, peer: str, head: bytes, body: bytes) -> None:
        self.answers.append(messages.decode(head, body))

    def send(self, head: bytes, body: bytes) -> None:
        assert self.peer is not None
        self.engine.send(self.peer, head, body, wait=True)

    def open(self, **facts: Any) -> Any:
        """Ask for a stream: the answer."""
        told = {
            "kind": "ring",
            "name": "x",
            "facts": FACTS,
            "source": "0" * 32,
            "path": [],
            "origin": "o",
            "first": 0,
            **facts,
        }
        count = len(self.answers)
        self.send(*messages.pack_text(messages.OPEN, 1, 1, told))
        wait_until(lambda: len(self.answers) > count, "an answer")
        return self.answers[count]


def test_a_peer_makes_and_writes_nothing_that_is_not_allowed(name: str) -> None:
    """Other names, kinds, sizes, and what is none of them: refused, each with a reason."""
    port = free_port()
    refused: list[tuple[dict[str, Any], str]] = [
        ({"name": "other"}, "not allowed"),
        ({"name": f"{name}.bridge"}, "not allowed"),
        ({"name": f"../{name}"}, "not allowed"),
        ({"name": 7}, "not understood"),
        ({"kind": "lock"}, "carries no 'lock'"),
        ({"kind": ["ring"]}, "not understood"),
        ({"facts": {}}, "no ring that can be made"),
        ({"facts": {**FACTS, "capacity": 1 << 34}}, "up to 1.*GiB here"),
        ({"facts": {**FACTS, "capacity": -1}}, "no ring that can be made"),
        ({"facts": {**FACTS, "capacity": "x" * 1000}}, "no ring that can be made"),
        ({"facts": {**FACTS, "producers": 1 << 70}}, "no ring that can be made"),
        ({"kind": "slot"}, "is a ring, expected a slot|no slot that can be made"),
        ({"source": "zz"}, "not understood"),
        ({"path": ["a"] * 1000}, "not understood"),
        ({"first": -1}, "not understood"),
    ]
    with removed(name), Bridge(listen=[f"tcp/127.0.0.1:{port}"], allow=[name]):
        peer = Peer(port)
        before = set(Region.names())
        for facts, text in refused:
            answer = peer.open(**{"name": name, **facts})
            assert messages.REFUSED == answer.kind, facts
            assert re.search(text, answer.facts["text"]), answer.facts["text"]
        assert before == set(Region.names())
        peer.engine.stop()


def test_hostile_messages_harm_neither_the_bridge_nor_what_others_carry(name: str) -> None:
    """Spoilt, cut, out of order, of streams that are none: another peer's records arrive all."""
    port, chance = free_port(), random.Random(7)
    with (
        removed(name, f"{name}-far", f"{name}-bad"),
        Ring.create(name, capacity="1 MiB", producers=1) as near,
        Slot.create(f"{name}-bad", "q") as slot,
        Bridge(listen=[f"tcp/127.0.0.1:{port}"], allow=[f"{name}-far", f"{name}-bad"]) as receiver,
        Bridge(
            connect=[f"tcp/127.0.0.1:{port}"],
            carry=[f"ring:{name}"],
            rename={name: f"{name}-far"},
        ),
    ):
        near.put(b"first")
        far = Ring.open(f"{name}-far", timeout=PATIENCE_S)
        assert b"first" == far.get(timeout=PATIENCE_S)
        peer = Peer(port)
        slot_facts = {"schema": "struct:q", "nbytes": 8, "writers": "one", "copies": 4}
        peer.open(kind="slot", name=f"{name}-bad", facts={**slot_facts, "watchers": 8})
        sound = [
            (messages.pack_data(1, 1, 0, 0, 0, 0, [3]), b"abc"),
            (messages.pack_part(1, 1, 0, 0, 0, 0, 1 << 40, 0), bytes(100)),
            (messages.pack_value(1, 1, 0, 1, 0.0, 0, False, b""), bytes(8)),
            (messages.pack_value(1, 1, 1, 1, 0.0, 1 << 20, False, b""), bytes(9)),
            (messages.pack_ack(1, 1, 1 << 63, 1 << 63, 0, 0, True, 1.0), b""),
            (messages.pack_probe(1, 1, 0, 1.0), b""),
            (messages.pack_text(messages.OPEN, 2, 1, {})[0], json.dumps([1]).encode()),
            messages.pack_text(messages.CLOSE, 77, 1, {}),
            messages.pack_text(messages.OPENED, 1, 1, {"committed": 1 << 80}),
        ]
        for number in range(2000):
            head, body = map(bytearray, chance.choice(sound))
            for _ in range(chance.randrange(4)):
                some = chance.choice([head, head, body])
                if some:
                    some[chance.randrange(len(some))] = chance.randrange(256)
                if chance.random() < 0.1:
                    del some[chance.randrange(len(some) + 1) :]
            peer.send(bytes(head), bytes(body))
            near.put(b"%d" % number)
        assert [b"%d" % number for number in range(2000)] == [
            far.get(timeout=PATIENCE_S) for _ in range(2000)
        ]
        stats = receiver.stats()
        assert 0 < stats["refused"]
        assert 8 == slot.nbytes
        far.close()
        peer.engine.stop()
