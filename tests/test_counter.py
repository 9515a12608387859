# SPDX-License-Identifier: MIT
"""What `Counter` promises: no addition is lost, whoever adds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from memlane import ClosedError, Counter, Region
from processes import Child


def test_a_counter_adds_exchanges_and_tells_its_value() -> None:
    """`add` returns the new value, `exchange` the old one; 1 unless said otherwise."""
    with Counter.create(None) as counter:
        assert counter.value == 0
        assert counter.add() == 1
        assert counter.add(10) == 11
        assert counter.add(-20) == -9
        assert counter.exchange(5) == -9
        assert (counter.value, bool(counter)) == (5, True)
        assert counter.stats() == {"value": 5}


def test_additions_of_several_processes_and_threads_are_all_there() -> None:
    """The sum is exact, and the returned values are all different."""
    with Counter.create(None) as counter, Counter.create(None) as odd:

        def add(turns: int) -> set[int]:
            return {counter.add(2) for _ in range(turns)}

        def add_and_check() -> None:
            seen = add(20_000)
            assert len(seen) == 20_000
            odd.add(sum(value % 2 for value in seen))

        with Child(add_and_check) as one, Child(add_and_check) as two:
            with ThreadPoolExecutor(2) as pool:
                seen = [set(found) for found in pool.map(add, [20_000, 20_000])]
            assert (one.wait(), two.wait()) == (0, 0)
        assert seen[0] & seen[1] == set()
        assert (counter.value, odd.value) == (160_000, 0)


def test_a_counter_wraps_in_64_bits() -> None:
    """Signed, modulo 2**64; what does not fit is refused and changes nothing."""
    with Counter.create(None) as counter:
        counter.exchange(2**63 - 1)

        assert counter.add(1) == -(2**63)
        assert counter.add(-1) == 2**63 - 1
        for amount in (2**63, -(2**63) - 1, 2**100):
            with pytest.raises(OverflowError):
                counter.add(amount)
            with pytest.raises(OverflowError):
                counter.exchange(amount)
        for wrong in ("1", 1.5, None):
            with pytest.raises(TypeError):
                counter.add(wrong)  # type: ignore[arg-type]
        assert counter.value == 2**63 - 1


def test_a_named_counter_is_the_same_for_all_and_read_only_ones_only_look(name: str) -> None:
    """`open` and `open_or_create` lead to one number."""
    with Counter.create(name) as counter, Counter.open_or_create(name) as same:
        counter.add(3)
        assert same.add() == 4
        with Counter.open(name, readonly=True) as reader:
            assert reader.value == 4
            with pytest.raises(PermissionError, match="read-only"):
                reader.add()
            with pytest.raises(PermissionError):
                reader.exchange(0)
        counter.unlink()
    uses: list[Callable[[], object]] = [
        counter.add,
        lambda: counter.exchange(0),
        lambda: counter.value,
    ]
    for use in uses:
        with pytest.raises(ClosedError):
            use()


def test_a_region_carries_many_counters() -> None:
    """Each with a name of its own."""
    with (
        Region.create(None, "64 KiB") as region,
        region.counter("hits") as hits,
        region.counter("misses") as misses,
        region.counter("hits") as again,
    ):
        hits.add(2)
        misses.add(1)

        assert (again.value, misses.value) == (2, 1)
