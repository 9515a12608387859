# SPDX-License-Identifier: MIT
"""What the object promises that `memlane.prometheus` keeps its numbers in."""

from __future__ import annotations

import pickle

import pytest

import memlane
from memlane import _core
from memlane.samples import Samples
from tests.support.processes import Child

ADDED = _core.SAMPLE_KINDS[""]


def test_samples_are_an_object_of_a_region_as_all_others(name: str) -> None:
    """They are found by name, tell their state, travel, and are refused as something else."""
    with Samples.open_or_create(name, nbytes="64 KiB", block_nbytes="8 KiB") as made:
        assert {"blocks": 8, "used": 0, "living": 0, "nbytes": 0} == made.stats()
        with Samples.open(name) as same, pickle.loads(pickle.dumps(made)) as copied:
            block = same._lease(b"me", b"requests")
            assert block is not None
            block.append(b"requests", ADDED)
            assert {"blocks": 8, "used": 1, "living": 1, "nbytes": 128} == copied.stats()
        with memlane.Region.open(name) as region:
            assert "samples" == region.stats()["objects"]["samples"]["kind"]
        with pytest.raises(memlane.LayoutError, match="is a Samples"):
            memlane.Counter.open(name)
        reader = Samples.open(name, readonly=True)
        with reader, pytest.raises(PermissionError, match="read-only"):
            reader._lease(b"me", b"requests")
        made.unlink()
    with pytest.raises(memlane.ClosedError):
        made.stats()
    for wrong in ({"block_nbytes": 5000}, {"nbytes": 4096}, {"block_nbytes": "2 GiB"}):
        with pytest.raises(ValueError, match="nbytes must be"):
            Samples.open_or_create(name, **wrong)


def test_a_block_goes_to_one_worker_at_a_time_and_to_the_next_when_it_is_dead(name: str) -> None:
    """With all that is in it; the one that has the series first."""
    with Samples.open_or_create(name, nbytes="12 KiB", block_nbytes="4 KiB") as made:
        with memlane.Event() as ready:

            def work(key: bytes) -> None:
                block = made._lease(b"child", key)
                assert block is not None
                block.append(key, ADDED)
                ready.set()
                memlane.Event().wait()

            with Child(work, b"a") as first, Child(work, b"b") as second:
                first_block = made._lease(b"me", b"c")
                assert first_block is not None
                assert ready.wait(60)
                while made.stats()["living"] < 3:
                    pass
                assert made._lease(b"me", b"d") is None
                first.kill()
                second.kill()
            taken = made._lease(b"me", b"b")
            assert taken is not None
            assert taken.find(b"b", ADDED) is not None
            assert taken.find(b"a", ADDED) is None
            taken.give_back()
            assert taken.append(b"e", ADDED) is None
            assert {"blocks": 3, "used": 3, "living": 1} == {
                key: value for key, value in made.stats().items() if key != "nbytes"
            }
        made.unlink()
