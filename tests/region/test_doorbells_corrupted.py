# SPDX-License-Identifier: MIT
"""Words and semaphores that somebody has overwritten."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from memlane import Empty, ShutDown
from tests.support.doorbells import id_of, open_semaphore, ring_of, tokens
from tests.support.region_files import (
    LANE_WAITERS,
    RING_DOORBELL,
    RING_WAITERS,
    SEMAPHORE,
    bytes_of,
    semaphores,
)

pytestmark = pytest.mark.machine

#: Semaphores of the C library count to this.
VALUE_MAX = 2**31 - 1


@pytest.mark.parametrize("backing", ["named", "memfd"])
def test_a_hostile_count_of_waiters_does_not_hang_the_waker(
    backing: str, name: str, tmp_path: Path
) -> None:
    """However many are said to sleep, posts are bounded; the count is only a hint. (hazard 32)"""
    with ring_of(backing, name, tmp_path, records=4096, capacity="1 MiB") as ring:
        with bytes_of(ring) as raw:
            for waiters in (RING_WAITERS, LANE_WAITERS):
                raw.set_half(waiters, 2**32 - 1)
        ring.put(b"first")
        assert 1 == tokens(ring)
        assert 4000 == ring.put_many([b"x"] * 4000)
        assert tokens(ring) <= 1 + 1024
        assert 4001 == len(ring.get_many(5000))
        # An announcement wraps the count round: the sleeper looks again after a recheck interval.
        with bytes_of(ring) as raw:
            raw.set_half(RING_WAITERS, 2**32 - 1)
        with pytest.raises(Empty):
            ring.get(timeout=0.01)
        with bytes_of(ring) as raw:
            raw.set_half(RING_WAITERS, 2**32 - 1)
        ring.shutdown()
        with pytest.raises(ShutDown):
            ring.get()
        ring.unlink()


@pytest.mark.parametrize("backing", ["named", "memfd"])
def test_a_semaphore_full_of_tokens_is_no_error(backing: str, name: str, tmp_path: Path) -> None:
    """
    sem_post fails with EOVERFLOW: more tokens than there can be sleepers are left already. (hazard
    32)
    """
    with ring_of(backing, name, tmp_path) as ring:
        with bytes_of(ring) as raw:
            number = (raw.begin + RING_DOORBELL) // 64
            if backing == "memfd":
                raw.set_half(RING_DOORBELL + SEMAPHORE, VALUE_MAX)
            else:
                with open(semaphores(id_of(ring))[number], "r+b") as file:
                    file.write(VALUE_MAX.to_bytes(4, sys.byteorder))
            raw.set_half(RING_WAITERS, 2**32 - 1)
        assert 3 == ring.put_many([b"a", b"b", b"c"])
        assert VALUE_MAX == tokens(ring)
        assert [b"a", b"b", b"c"] == ring.get_many(3)
        with pytest.raises(Empty):
            ring.get(timeout=0.01)
        ring.unlink()


@pytest.mark.parametrize("backing", ["named", "memfd"])
def test_tokens_that_nobody_can_have_left_are_taken_at_once(
    backing: str, name: str, tmp_path: Path
) -> None:
    """
    A process that would sleep at a semaphore with two thousand million tokens is awake once, not
    until they are counted down.
    """
    with ring_of(backing, name, tmp_path) as ring:
        with open_semaphore(ring, backing) as (bytes_, begin):
            bytes_[begin : begin + 4] = VALUE_MAX.to_bytes(4, sys.byteorder)
        assert VALUE_MAX == tokens(ring)
        with ring.consumer() as receiving, pytest.raises(Empty):
            receiving.get(timeout=0.01)

        assert 0 == tokens(ring)
        ring.unlink()
