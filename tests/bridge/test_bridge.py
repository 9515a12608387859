# SPDX-License-Identifier: MIT
"""Rings on two sides of a link that is slow, broken or gone: nothing lost, nothing doubled."""

from __future__ import annotations

import contextlib
import random
import socket
from functools import partial
from typing import Any

import pytest

pytest.importorskip(
    "zenoh", reason="bridges need Zenoh, of which there is no wheel for this Python"
)

from memlane import Empty, Region, Ring
from memlane.bridge import Bridge
from tests.support.bridges import BridgeProcess, pair, removed
from tests.support.processes import PATIENCE_S, wait_until
from tests.support.proxy import Proxy, free_port

pytestmark = pytest.mark.machine


def numbered(first: int, count: int) -> list[bytes]:
    return [b"%07d" % number for number in range(first, first + count)]


def got(ring: Ring, count: int) -> list[bytes]:
    found: list[bytes] = []
    while len(found) < count:
        found += ring.get_many(count - len(found), timeout=PATIENCE_S)
    return found


def only(ring: Ring) -> None:
    """Nothing is left, and nothing comes."""
    with pytest.raises(Empty):
        ring.get(timeout=0.3)


def is_empty(ring: Ring) -> bool:
    return len(ring) == 0


def stream_of(bridge: Bridge, index: int = 0) -> dict[str, Any]:
    streams: list[dict[str, Any]] = bridge.stats()["streams"]
    return streams[index]


def rename(name: str) -> dict[str, Any]:
    return {"carry": [f"ring:{name}"], "rename": {name: f"{name}-far"}}


def test_records_of_a_ring_arrive_in_a_ring_that_the_bridge_makes(name: str) -> None:
    """The same bytes in the same order, large ones and empty ones, too; and no more of them."""
    records = [b"", b"x", bytes(700_000), *numbered(0, 5000), random.Random(1).randbytes(300_001)]
    with (
        removed(name, f"{name}-far"),
        Ring.create(name, capacity="2 MiB") as near,
        pair(rename(name), {"allow": [f"{name}-*"]}),
    ):
        near.put_many(records)
        with Ring.open(f"{name}-far", timeout=PATIENCE_S) as far:
            assert records == got(far, len(records))
            assert (2 << 20, 16) == (far.capacity, far.producers)
            wait_until(lambda: len(near) == 0, "all records to be released")
            only(far)


def test_each_producer_keeps_its_order_and_a_ring_that_is_there_is_used(name: str) -> None:
    """Lanes go side by side; the ring at the peer may have more room than the one here."""
    with (
        removed(name, f"{name}-far"),
        Ring.create(name, capacity=4096, producers=3) as near,
        Ring.create(f"{name}-far", capacity="1 MiB", producers=4) as far,
        pair(rename(name), {"allow": [f"{name}-far"]}),
    ):
        producers = [near.producer() for _ in range(3)]
        for number in range(200):
            for index, producer in enumerate(producers):
                producer.put(b"%d %03d" % (index, number), timeout=PATIENCE_S)
        found = got(far, 600)
        for index in range(3):
            mine = [record for record in found if record.startswith(b"%d " % index)]
            assert [b"%d %03d" % (index, number) for number in range(200)] == mine


def test_what_is_not_allowed_is_neither_made_nor_written(name: str) -> None:
    """Also a name that another rule allows is refused where it is denied; both sides are told."""
    with (
        removed(name),
        Ring.create(name, capacity=4096) as near,
        pair(rename(name), {"allow": ["*"], "deny": [f"{name}-*"]}) as (sender, _, _),
    ):
        near.put(b"secret")
        wait_until(
            lambda: "not allowed" in (sender.stats()["streams"] or [{"state": ""}])[0]["state"],
            "the refusal",
        )
        assert f"{name}-far" not in Region.names()
        assert 1 == len(near)


def test_a_ring_that_holds_less_at_the_peer_is_refused(name: str) -> None:
    """Or a record would come that can never be put in there."""
    with (
        removed(name, f"{name}-far"),
        Ring.create(name, capacity=8192),
        Ring.create(f"{name}-far", capacity=4096),
        pair(rename(name), {"allow": [f"{name}-far"]}) as (sender, _, _),
    ):
        wait_until(
            lambda: (
                "capacity=4096 here and 8192"
                in (sender.stats()["streams"] or [{"state": ""}])[0]["state"]
            ),
            "the refusal",
        )


def test_a_full_ring_at_the_peer_makes_local_producers_wait(name: str) -> None:
    """Nothing grows in between: the window, and then the local ring, is all that is taken in."""
    with (
        removed(name, f"{name}-far"),
        Ring.create(name, capacity=4096, producers=1, records=64) as near,
        Ring.create(f"{name}-far", capacity=4096, producers=1, records=64) as far,
        pair(rename(name), {"allow": [f"{name}-far"]}),
    ):
        far_count = 64
        put = near.put_many(numbered(0, 1000), timeout=3)
        assert 64 + far_count == put
        found = got(far, 64)
        put += near.put_many(numbered(put, 64), timeout=PATIENCE_S)
        assert numbered(0, put) == found + got(far, put - 64)
        only(far)


@pytest.mark.parametrize("how", ["reset", "cut", "slow"])
def test_nothing_is_lost_or_doubled_or_out_of_order_on_a_bad_link(name: str, how: str) -> None:
    """Connections that are reset, a cable that is out for a while, a slow link."""
    count = 3000
    with (
        removed(name, f"{name}-far"),
        Ring.create(name, capacity=1 << 18, producers=1) as near,
        pair(rename(name), {"allow": [f"{name}-far"]}) as (_, _, proxy),
    ):
        near.put_many(numbered(0, 100))
        with Ring.open(f"{name}-far", timeout=PATIENCE_S) as far:
            found = got(far, 100)
            if how == "slow":
                proxy.delay, proxy.rate = 0.01, 1e6
            for part in range(100, count, 580):
                if how == "reset":
                    proxy.reset()
                elif how == "cut" and part == 100:
                    proxy.is_cut = True
                near.put_many(numbered(part, 580), timeout=PATIENCE_S)
                if how == "cut" and part == 680:
                    proxy.is_cut = False
            found += got(far, count - 100)
            assert numbered(0, count) == found
            wait_until(lambda: len(near) == 0, "all records to be released")
            only(far)


@pytest.mark.parametrize("victim", ["near", "far", "both"])
def test_no_record_is_lost_or_doubled_where_a_bridge_is_killed(name: str, victim: str) -> None:
    """SIGKILL at a random moment amid the records, and a restart: as if nothing had been."""
    rounds, each = 3, 2000
    port = free_port()
    with removed(name, f"{name}-far"), Ring.create(name, capacity=1 << 20, producers=1) as near:
        arguments = ["--carry", f"ring:{name}", "--rename", f"{name}={name}-far"]
        with (
            Ring.create(f"{name}-far", capacity=1 << 20, producers=1) as far,
            BridgeProcess("--listen", f"tcp/127.0.0.1:{port}", "--allow", f"{name}-far") as there,
            BridgeProcess("--connect", f"tcp/127.0.0.1:{port}", *arguments) as here,
        ):
            found: list[bytes] = []
            for number in range(rounds):
                near.put_many(numbered(number * each, each), timeout=PATIENCE_S)
                found += got(far, 1)  # so records are on the way
                for process in {"near": [here], "far": [there], "both": [here, there]}[victim]:
                    process.kill()
                    process.start()
                found += got(far, each - 1)
            assert numbered(0, rounds * each) == found
            wait_until(lambda: len(near) == 0, "all records to be released")
            only(far)
            assert 0 == here.end()
            assert 0 == there.end()


def test_records_of_competing_consumers_go_on_where_the_bridge_has_them(name: str) -> None:
    """A bridge is one of many consumers: what it did not get makes no gap that it waits for."""
    with (
        removed(name, f"{name}-far"),
        Ring.create(name, capacity=1 << 16, producers=1, consumers="many") as near,
        pair(rename(name), {"allow": [f"{name}-far"]}),
    ):
        near.put(b"first")
        with Ring.open(f"{name}-far", timeout=PATIENCE_S) as far:
            assert b"first" == far.get(timeout=PATIENCE_S)
            mine = []
            for part in range(0, 2000, 100):
                near.put_many(numbered(part, 100))
                with contextlib.suppress(Empty):
                    mine += near.get_many(10, timeout=0)
            found = got(far, 2000 - len(mine))
            assert sorted(found) == found
            assert numbered(0, 2000) == sorted(found + mine)


def test_a_bridge_that_is_closed_leaves_what_was_not_committed_to_the_next_one(name: str) -> None:
    """In the same process, too, whose consumer cannot give a record back."""
    with removed(name, f"{name}-far"), Ring.create(name, capacity=1 << 16) as near:
        port = free_port()
        options: dict[str, Any] = {"connect": [f"tcp/127.0.0.1:{port}"], **rename(name)}
        far_options: dict[str, Any] = {
            "listen": [f"tcp/127.0.0.1:{port}"],
            "allow": [f"{name}-far"],
        }
        with Ring.create(f"{name}-far", capacity=1 << 16, records=64, producers=1) as far:
            near.put_many(numbered(0, 500))
            sender, receiver = Bridge(**options), Bridge(**far_options)
            wait_until(lambda: len(far) == 64, "the far ring to be full")
            sender.close(linger=0)
            receiver.close()
            with Bridge(**options), Bridge(**far_options):
                assert numbered(0, 500) == got(far, 500)
                only(far)


def test_a_ring_that_was_made_anew_is_carried_again(name: str) -> None:
    """By its name, whatever was behind it before."""
    with removed(name, f"{name}-far"), pair(rename(name), {"allow": [f"{name}-far"]}):
        for turn in range(2):
            with Ring.create(name, capacity=4096) as near:
                near.put(b"turn %d" % turn)
                with Ring.open(f"{name}-far", timeout=PATIENCE_S) as far:
                    assert b"turn %d" % turn == far.get(timeout=PATIENCE_S)
                wait_until(partial(is_empty, near), "the record to be released")
                near.unlink()


def test_a_bridge_connects_and_listens_nowhere_unless_told(name: str) -> None:
    """Not by multicast either: two bridges without endpoints never meet."""
    with Bridge(carry=["ring:*"], name="one") as one, Bridge(allow=["*"], name="two") as two:
        assert not one.wait_for_peer(0.5)
        assert not two.wait_for_peer(0)
        assert [] == one.stats()["listen"]


def test_two_bridges_that_carry_one_object_to_each_other_are_told(name: str) -> None:
    """It would go in a circle; neither is carried."""
    here = {**rename(name), "allow": [name]}
    there = {"carry": [f"ring:{name}-far"], "allow": [f"{name}-far"]}
    with (
        removed(name, f"{name}-far"),
        Ring.create(name, capacity=4096) as ring,
        Ring.create(f"{name}-far", capacity=4096) as far,
        pair(here, there) as (one, _, _),
    ):
        wait_until(
            lambda: any("both directions" in it["state"] for it in one.stats()["streams"]),
            "the refusal",
        )
        assert (0, 0) == (len(ring), len(far))


def test_the_proxy_forwards_what_it_gets() -> None:
    """The judge itself."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Proxy(server.getsockname()[1]) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port)) as client,
    ):
        there, _ = server.accept()
        client.sendall(b"hello")
        assert b"hello" == there.recv(16)
        proxy.reset()
        assert b"" == client.recv(16)
        there.close()
