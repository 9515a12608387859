# SPDX-License-Identifier: MIT
"""Topics, slots, tables and maps on two sides of a link."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

pytest.importorskip("zenoh", reason="there is no wheel of Zenoh for this Python")

from memlane import Map, Region, Ring, Slot, SlotTable, Topic
from tests.support.bridges import BridgeProcess, pair, removed
from tests.support.processes import PATIENCE_S, wait_until
from tests.support.proxy import free_port

pytestmark = pytest.mark.machine


def rename(kind: str, name: str) -> dict[str, Any]:
    return {"carry": [f"{kind}:{name}"], "rename": {name: f"{name}-far"}}


def numbered(first: int, count: int) -> list[bytes]:
    return [b"%07d" % number for number in range(first, first + count)]


def has(region: Region, name: str) -> bool:
    return name in list(region)


def is_carried(bridge: Any) -> bool:
    """Whether the first stream of the receiver is open."""
    return bool(bridge.stats()["streams"])


def test_a_topic_that_waits_is_carried_whole_over_kills_of_both_bridges(name: str) -> None:
    """Publishers wait for the bridge; a new one goes on where a killed one was."""
    port, each = free_port(), 500
    there_options = ["--listen", f"tcp/127.0.0.1:{port}", "--allow", f"{name}-far"]
    here_options = ["--connect", f"tcp/127.0.0.1:{port}", "--carry", f"topic:{name}"]
    here_options += ["--rename", f"{name}={name}-far", "--name", "here"]
    with (
        removed(name, f"{name}-far"),
        Topic.create(name, capacity="1 MiB", publishers=1, when_full="wait") as near,
        Topic.create(f"{name}-far", capacity="1 MiB", publishers=2, when_full="wait") as far,
        far.subscribe() as subscriber,
        BridgeProcess(*there_options) as there,
        BridgeProcess(*here_options) as here,
    ):
        wait_until(lambda: near.stats()["subscriptions"], "the bridge to subscribe")
        found: list[bytes] = []
        for turn in range(2):
            near.publish_many(numbered(turn * each, each), timeout=PATIENCE_S)
            found.append(subscriber.get(timeout=PATIENCE_S))
            for process in (here, there):
                process.kill()
                process.start()
            while len(found) < (turn + 1) * each:
                found += subscriber.get_many(1000, timeout=PATIENCE_S)
        assert numbered(0, 2 * each) == found
        assert 0 == here.end()
        assert 0 == there.end()


def test_a_topic_that_overwrites_drops_the_oldest_and_counts_them(name: str) -> None:
    """What is lost while the link stands still is counted exactly; then the newest ones come."""
    count = 50_000
    with (
        removed(name, f"{name}-far"),
        Topic.create(name, capacity=1 << 16, publishers=1) as near,
        Topic.create(f"{name}-far", capacity="8 MiB", publishers=1) as far,
        far.subscribe() as subscriber,
        pair({**rename("topic", name), "window": "64 KiB"}, {"allow": [f"{name}-far"]}) as (
            sender,
            receiver,
            proxy,
        ),
    ):
        wait_until(lambda: is_carried(receiver), "the stream")
        proxy.is_cut = True
        near.publish_many(numbered(0, count - 1))
        proxy.is_cut = False
        near.publish(b"last one")
        found: list[bytes] = []
        while b"last one" not in found:
            found += subscriber.get_many(1000, timeout=PATIENCE_S)
        (stream,) = sender.stats()["streams"]
        assert 0 < stream["dropped"] == count - len(found)
        assert sorted(found[:-1]) == found[:-1]


def test_the_latest_value_of_a_slot_arrives_with_its_version_and_its_age(name: str) -> None:
    """Also one that was published before; values in between may be passed over."""
    with (
        removed(name, f"{name}-far"),
        Slot.create(name, "2d") as near,
        pair(rename("slot", name), {"allow": [f"{name}-far"]}) as (_, receiver, proxy),
    ):
        near.publish((0.0, 1.0))
        with Slot.open(f"{name}-far", "2d", timeout=PATIENCE_S) as far:
            wait_until(lambda: far.version, "the first value")
            assert (0.0, 1.0) == far.read()
            proxy.reset()
            for number in range(1, 2000):
                near.publish((float(number), 0.5))
            wait_until(lambda: far.read() == (1999.0, 0.5), "the last value")
            wait_until(
                lambda: (receiver.stats()["streams"] or [{"latest": []}])[0]["latest"], "its facts"
            )
            (latest,) = receiver.stats()["streams"][0]["latest"]
            assert 2000 == latest["version"]
            assert latest["age"] >= 0


def test_each_slot_of_a_table_is_carried(name: str) -> None:
    """By its number."""
    with (
        removed(name, f"{name}-far"),
        SlotTable.create(name, 50, "q") as near,
        pair(rename("table", name), {"allow": [f"{name}-far"]}),
    ):
        for index in range(0, 50, 2):
            near[index].publish((index * index,))
        with SlotTable.open(f"{name}-far", "q", timeout=PATIENCE_S) as far:
            wanted = [(index * index,) if index % 2 == 0 else None for index in range(50)]
            wait_until(lambda: far.read_all() == wanted, "all values")


def test_a_map_has_the_same_keys_and_values_on_both_sides(name: str) -> None:
    """What is set, changed and removed; also what is removed while the link is lost."""
    with (
        removed(name, f"{name}-far"),
        Map.create(name, entries=256, value="d") as near,
        pair(rename("map", name), {"allow": [f"{name}-far"]}) as (_, _, proxy),
    ):
        near.update({"text": 1.0, 7: 2.0, b"bytes": 3.0})
        with Map.open(f"{name}-far", value="d", timeout=PATIENCE_S) as far:
            wait_until(lambda: dict(far) == dict(near), "the first values")
            del near[7]
            near["text"] = 4.0
            wait_until(lambda: {"text": 4.0, b"bytes": 3.0} == dict(far), "the change")
            proxy.is_cut = True
            near.update({f"key {number}": float(number) for number in range(100)})
            del near["text"]
            proxy.reset()
            proxy.is_cut = False
            wait_until(lambda: dict(far) == dict(near), "all that changed")


def test_objects_of_one_region_that_match_a_pattern_are_carried(name: str) -> None:
    """Each under its name; those that come later, too."""
    with (
        removed(name, f"{name}-2"),
        Region.create(name, "16 MiB") as region,
        Region.create(f"{name}-2", "16 MiB") as other,
        pair(
            {
                "carry": [f"ring:{name}/cam*"],
                "rename": {f"{name}/cam{number}": f"{name}-2/cam{number}" for number in range(3)},
            },
            {"allow": [f"{name}-2/cam[01]"]},
        ),
    ):
        for number in range(3):
            region.ring(f"cam{number}", capacity=4096).put(b"%d" % number)
        for number in range(2):
            wait_until(partial(has, other, f"cam{number}"), "the ring")
            ring: Ring = other.ring(f"cam{number}")
            assert b"%d" % number == ring.get(timeout=PATIENCE_S)
        assert ["cam0", "cam1"] == sorted(other)
