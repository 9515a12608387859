# SPDX-License-Identifier: MIT
"""What `Counter` promises: no addition is lost, whoever adds."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from memlane import ClosedError, Counter, Region
from tests.support.processes import Child


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


def test_a_counter_compares_and_is_limited_in_one_step() -> None:
    """`compare_exchange` tells whether it did, `max` and `min` what there is then."""
    with Counter.create(None) as counter:
        assert counter.compare_exchange(0, 7)
        assert not counter.compare_exchange(0, 9)
        assert counter.value == 7
        assert (counter.max(5), counter.max(11), counter.value) == (7, 11, 11)
        assert (counter.min(20), counter.min(-3), counter.value) == (11, -3, -3)
        assert counter.max(2**63 - 1) == 2**63 - 1
        for wrong in (2**63, -(2**63) - 1):
            with pytest.raises(OverflowError):
                counter.max(wrong)
            with pytest.raises(OverflowError):
                counter.compare_exchange(0, wrong)
        for text in ("1", 1.5, None, int):
            with pytest.raises(TypeError):
                counter.min(text)  # type: ignore[arg-type]


def test_a_counter_is_added_to_in_place_and_not_assigned() -> None:
    """`counter += 1` adds and stays that counter; `counter.value = 3` says what to call."""
    with Region.create(None, "64 KiB") as region, region.counter("hits") as counter:
        same = counter
        counter += 2
        counter -= 5
        assert counter is same
        region["hits"] += 10  # type: ignore[operator,assignment]
        assert counter.value == 7
        with pytest.raises(AttributeError, match=r"add\(n\), exchange\(n\)"):
            counter.value = 3  # type: ignore[misc]
        with pytest.raises(TypeError, match="not set by assigning"):
            region["hits"] = 5  # type: ignore[assignment]
        assert counter.value == 7


def test_steps_of_several_processes_are_all_there() -> None:
    """Compare-exchange loses no step, `max` and `min` keep the extremes."""
    with (
        Counter.create(None) as counted,
        Counter.create(None) as highest,
        Counter.create(None) as lowest,
    ):

        def work(first: int) -> None:
            for number in range(first, 6000, 2):
                while not counted.compare_exchange(value := counted.value, value + 1):
                    pass
                assert highest.max(number) >= number
                assert lowest.min(-number) <= -number

        with Child(work, 0) as one, Child(work, 1) as two:
            assert (one.wait(), two.wait()) == (0, 0)
        assert (counted.value, highest.value, lowest.value) == (6000, 5999, -5999)


def test_an_amount_that_closes_the_counter_is_not_added_to_memory_that_is_gone() -> None:
    """Converting it may run Python; the counter is looked at afterwards."""
    uses: list[Callable[[Counter, Any], object]] = [
        lambda counter, closes: counter.add(closes),
        lambda counter, closes: counter.exchange(closes),
        lambda counter, closes: counter.compare_exchange(0, closes),
        lambda counter, closes: counter.max(closes),
        lambda counter, closes: counter.min(closes),
    ]

    class Closes:
        def __init__(self, counter: Counter) -> None:
            self.counter = counter

        def __index__(self) -> int:
            self.counter.close()
            return 1

    for use in uses:
        counter = Counter.create(None)
        with pytest.raises(ClosedError, match="counter"):
            use(counter, Closes(counter))


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
