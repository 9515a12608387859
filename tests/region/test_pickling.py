# SPDX-License-Identifier: MIT
"""What can be shared travels to children under every start method."""

from __future__ import annotations

import multiprocessing
import pickle
from typing import Any

import pytest

import memlane


def use_all(
    region: memlane.Region,
    ring: memlane.Ring,
    producer: Any,
    slot: memlane.Slot,
    table: memlane.SlotTable,
    counter: memlane.Counter,
) -> None:
    """What a child does with the handles that it was given."""
    ring.put(b"by the ring")
    producer.put(b"by a producer")
    slot.publish((1.0, 2.0))
    table[3].publish((4,))
    counter.add(5)
    region.counter("made by the child").add(6)
    for found in (producer, ring, slot, table, counter, region):
        found.close()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_every_handle_leads_to_the_same_object_in_a_child(method: Any) -> None:
    """Handles pass as arguments of a process, whatever the start method."""
    with memlane.Region.create(None, "1 MiB") as region:
        ring = region.ring("ring", capacity=4096)
        slot = region.slot("slot", "2d")
        table = region.table("table", 4, "q")
        counter = region.counter("counter")
        child = multiprocessing.get_context(method).Process(
            target=use_all, args=(region, ring, ring.producer(), slot, table, counter)
        )
        child.start()
        child.join()

        assert 0 == child.exitcode
        assert [b"by a producer", b"by the ring"] == sorted(ring.get_many(2))
        assert (1.0, 2.0) == slot.read()
        assert [None, None, None, (4,)] == table.read_all()
        assert 5 == counter.value
        assert 6 == region.counter("made by the child").value


@pytest.mark.parametrize("what", ["mapping", "room", "record", "membership"])
def test_what_belongs_to_one_process_refuses_to_be_pickled(what: str) -> None:
    """A mapping, a claim or a loan that travelled would be a second owner; it says so instead."""
    with memlane.Ring(capacity=4096) as ring, memlane.Mapping.anonymous(10) as mapping:
        ring.put(b"x")
        with ring.reserve(1) as room, ring.borrow() as record:
            things: dict[str, Any] = {
                "mapping": mapping,
                "room": room,
                "record": record,
                "membership": ring.region._member,
            }
            with pytest.raises(TypeError, match="pickle"):
                pickle.dumps(things[what])
