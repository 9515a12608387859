# SPDX-License-Identifier: MIT
"""Looks that take nothing trust nothing of what they read."""

from __future__ import annotations

import os
import random

import pytest

import memlane
from memlane import CorruptedError, LayoutError, inspection
from tests.support.region_files import file_of

pytestmark = pytest.mark.machine

ROUNDS = 300


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_a_look_at_spoilt_lanes_ends_and_tells_records_or_corruption(
    name: str, consumers: str
) -> None:
    """Words of the lanes are overwritten at random; nothing crashes, hangs or grows without end."""
    chosen = random.Random(7)
    with memlane.Region.create(name, "1 MiB") as region:
        ring = region.ring(
            "ring",
            capacity=4096,
            producers=2,
            records=16,
            consumers="many" if consumers == "many" else "one",
        )
        ring.put_many([b"x" * 50] * 10)
        (entry,) = region._entries()
        descriptor = os.open(file_of(region), os.O_RDWR)
        sound = os.pread(descriptor, entry.nbytes, entry.offset)
        words = [at for at in range(0, len(sound), 8) if at < 1024 or any(sound[at : at + 8])]
        told = 0
        for _ in range(ROUNDS):
            for _ in range(chosen.randrange(1, 4)):
                value = chosen.choice(
                    [chosen.getrandbits(64), chosen.getrandbits(5), (1 << 64) - 1, 1 << 63]
                )
                at = entry.offset + chosen.choice(words)
                os.pwrite(descriptor, value.to_bytes(8, "little"), at)
            try:
                with inspection.find(name).open() as looked:
                    made = looked["ring"]
                    assert isinstance(made, memlane.Ring)
                    records, positions, _ = made._look(None, 5, 1 << 20)
                    assert sum(len(record) for _, _, record in records) <= 2 * 17 * 4096
                    more, _, _ = made._look(positions, 0, 1 << 20)
                    _, count, nbytes = made._traffic([0, 0])
                    assert nbytes <= count * 4096
                    made.stats()
                    told += len(records) + len(more)
            except (CorruptedError, LayoutError):
                pass
            os.pwrite(descriptor, sound, entry.offset)
        assert told > ROUNDS
        assert 10 == len(ring.get_many(99))
        os.close(descriptor)
        region.unlink()
