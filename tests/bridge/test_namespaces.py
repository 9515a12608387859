# SPDX-License-Identifier: MIT
"""Bridges in two network namespaces, whose cable is pulled out: skipped where none can be made."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

pytest.importorskip("zenoh", reason="there is no wheel of Zenoh for this Python")

from memlane import Full, Ring
from tests.support.bridges import BridgeProcess, removed
from tests.support.processes import PATIENCE_S

pytestmark = pytest.mark.machine


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextmanager
def two_machines() -> Iterator[tuple[str, str]]:
    """The names of two namespaces with a cable between them, 10.77.0.1 and 10.77.0.2."""
    names = tuple(f"memlane-{os.getpid()}-{side}" for side in ("a", "b"))
    made = []
    try:
        try:
            for name in names:
                ip("netns", "add", name)
                made.append(name)
            cable = ("link", "add", "veth0", "type", "veth", "peer", "name", "veth0", "netns")
            ip("-n", names[0], *cable, names[1])
            for number, name in enumerate(names, 1):
                ip("-n", name, "addr", "add", f"10.77.0.{number}/24", "dev", "veth0")
                ip("-n", name, "link", "set", "veth0", "up")
                ip("-n", name, "link", "set", "lo", "up")
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces can be made here: {error}")
        yield names[0], names[1]
    finally:
        for name in made:
            ip("netns", "del", name)


def numbered(first: int, count: int) -> list[bytes]:
    return [b"%07d" % number for number in range(first, first + count)]


def test_nothing_is_lost_where_the_cable_is_out_for_a_while(name: str) -> None:
    """Longer than Zenoh keeps a link; producers wait, and all arrives in order when it is back."""
    with (
        removed(name, f"{name}-far"),
        Ring.create(name, capacity=1 << 16, producers=1) as near,
        Ring.create(f"{name}-far", capacity=1 << 20, producers=1) as far,
        two_machines() as (here, there),
        BridgeProcess(
            *("--listen", "tcp/10.77.0.2:7447", "--allow", f"{name}-far"), namespace=there
        ),
        BridgeProcess(
            *("--connect", "tcp/10.77.0.2:7447", "--carry", f"ring:{name}"),
            *("--rename", f"{name}={name}-far"),
            namespace=here,
        ),
    ):
        near.put_many(numbered(0, 500))
        found = [far.get(timeout=PATIENCE_S)]
        ip("-n", here, "link", "set", "veth0", "down")
        put = 500
        with pytest.raises(Full):
            while True:
                put += near.put_many(numbered(put, 500), timeout=6)
        ip("-n", here, "link", "set", "veth0", "up")
        near.put_many(numbered(put, 500), timeout=PATIENCE_S)
        while len(found) < put + 500:
            found += far.get_many(1000, timeout=PATIENCE_S)
        assert numbered(0, put + 500) == found
