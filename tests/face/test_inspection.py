# SPDX-License-Identifier: MIT
"""memlane.inspection: the facts of the command line, for programs."""

from __future__ import annotations

import pytest

from memlane import Region, RegionNotFoundError, inspection


def test_a_program_finds_a_region_and_its_facts_without_joining_it(name: str) -> None:
    """What `memlane stat --json` prints is what a program gets."""
    with Region.create(name, "1 MiB") as region:
        region.counter("hits").add(3)
        [target] = [found for found in inspection.regions() if found.name == name]
        facts = inspection.facts(target)

        assert facts is not None
        assert {"hits": "counter"} == facts["kinds"]
        assert 3 == facts["stats"]["hits"]["value"]
        assert facts["in_use"]
        assert 1 == len(region.participants())  # ours alone
        region.unlink()

    assert inspection.facts(target) is None


def test_one_object_of_a_region_is_a_target_too() -> None:
    """The text is split where the object begins; nothing has to exist for that."""
    target = inspection.find("robot/pose")

    assert ("robot", "pose", "named") == (target.name, target.object, target.kind)
    with pytest.raises(RegionNotFoundError, match="there is no region 'robot'"):
        target.open()


def test_a_region_in_use_is_not_removed_and_one_not_in_use_is(name: str) -> None:
    """The same rule as `memlane rm`, with the error that tells the two apart."""
    with Region.create(name, "1 MiB"):
        with pytest.raises(BlockingIOError, match="is in use"):
            inspection.find(name).remove()
        assert name in Region.names()

    inspection.find(name).remove()

    assert name not in Region.names()
    with pytest.raises(RegionNotFoundError):
        inspection.find(name).remove()
