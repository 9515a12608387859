# SPDX-License-Identifier: MIT
"""What `Counters` promises: many counters under one name, none in the way of another one."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import memlane
from memlane import ClosedError, CorruptedError, Counter, Counters, LayoutError, Region
from tests.support.processes import Child


def test_each_counter_of_an_array_has_the_verbs_of_a_counter() -> None:
    """They begin at 0 and count apart; `read_all` gives all of them."""
    with memlane.counters(4, label="hits") as counters:
        assert (4, [0, 0, 0, 0]) == (len(counters), counters.read_all())
        assert 5 == counters[1].add(5)
        counters[2] += 7
        counters[-1] -= 2
        assert counters[3].compare_exchange(-2, 9)
        assert (5, 5) == (counters[1].exchange(6), counters[1].min(5))
        assert [0, 5, 7, 9] == counters.read_all() == [it.value for it in counters]
        assert {"counters": 4, "values": [0, 5, 7, 9]} == counters.stats()
        assert counters[1] is counters[1]
        assert counters[1] in counters
        assert "hits" in repr(counters)
        assert "counter 1" in repr(counters[1])


def test_processes_add_to_counters_of_their_own_and_no_addition_is_lost() -> None:
    """Also to one that they share, and one that is gone afterwards."""
    with memlane.counters(3) as counters:

        def add(index: int) -> None:
            for _ in range(5000):
                counters[index].add(1)
                counters[2].add(1)

        with Child(add, 0) as one, Child(add, 1) as two:
            assert (0, 0) == (one.wait(), two.wait())
        assert [5000, 5000, 10_000] == counters.read_all()


def test_counters_have_a_cache_line_each() -> None:
    """One that adds to a neighbor has no cache line in common with it."""
    with Region.create(None, "64 KiB") as region:
        many = region.counters("many", 100)
        assert 6400 == region._find("many").nbytes  # type: ignore[union-attr]
        many[99].add(1)
        assert 1 == sum(many.read_all())


def test_an_array_of_counters_is_found_by_its_name_and_its_length_is_checked(name: str) -> None:
    """`open`, `open_or_create` and `region[...]` lead to it; another length is refused."""
    with Counters.create(name, 3) as made, Counters.open_or_create(name, 3) as same:
        made[0].add(2)
        assert [2, 0, 0] == same.read_all()
        for wrong in (Counters.open, Counters.open_or_create):
            with pytest.raises(LayoutError, match="counters=3, expected 4"):
                wrong(name, 4)
        with pytest.raises(LayoutError, match="is a Counters, expected a Counter"):
            Counter.open(name)
        with Counters.open(name, readonly=True) as reader:
            assert 2 == reader[0].value
            with pytest.raises(PermissionError, match="read-only"):
                reader[0].add(1)
        made.unlink()
    with Region.create(None, "64 KiB") as region:
        region.counters("hits", 2)[1].add(4)
        assert [0, 4] == region.counters("hits").read_all()
        assert isinstance(region["hits"], Counters)
        with pytest.raises(KeyError, match="how many"):
            region.counters("none")


def test_counters_and_one_of_them_travel_by_pickle() -> None:
    """The copies are handles of the same numbers, and end by themselves."""
    with memlane.counters(3) as counters:
        copied = pickle.loads(pickle.dumps(counters))
        one = pickle.loads(pickle.dumps(counters[2]))
        one.add(3)
        assert [0, 0, 3] == copied.read_all() == copy.copy(counters).read_all()
        copied.close()
        with pytest.raises(ClosedError):
            copied.read_all()
        assert 3 == counters[2].value
        one._array.close()


def test_a_counter_of_a_closed_or_removed_array_says_so() -> None:
    """Nothing is added anywhere."""
    counters = memlane.counters(2)
    one = counters[0]
    counters.close()
    assert counters.closed
    assert one.closed
    for call in (lambda: one.add(1), lambda: counters[0], counters.read_all, counters.stats):
        with pytest.raises(ClosedError, match="counters"):
            call()
    with Region.create(None, "64 KiB") as region:
        made = region.counters("hits", 2)
        made[0].add(1)
        region.remove("hits")
        with pytest.raises(ClosedError, match="removed"):
            made[0].add(1)


def test_wrong_indexes_and_lengths_are_refused() -> None:
    """With what was expected."""
    with memlane.counters(2) as counters:
        odd: Any = counters
        for index in (2, -3, 2**70):
            with pytest.raises(IndexError, match="counters 0 to 1"):
                odd[index]
        for odd_index in ("1", 1.5, None, slice(1)):
            with pytest.raises(TypeError, match="an int for its index"):
                odd[odd_index]
        with pytest.raises(TypeError, match="not set by assigning"):
            odd[0] = 3
        with pytest.raises(TypeError, match="keeps its counters"):
            del odd[0]
        with pytest.raises(AttributeError, match="counters\\[i\\]"):
            odd.add(1)
        assert bool(counters)
        assert 5 not in counters
    for wrong in (0, -1, 2**24 + 1):
        with pytest.raises(ValueError, match="counters must be from 1 to 16777216"):
            memlane.counters(wrong)
    with pytest.raises(TypeError, match="counters must be an int"):
        memlane.counters(1.5)  # type: ignore[arg-type]


def test_a_directory_that_tells_of_more_counters_than_there_are_is_refused() -> None:
    """Nothing behind the object is ever written to."""
    for count in (0, 5, 2**63):
        with Region.create(None, "64 KiB") as region:
            region.counters("hits", 4).close()
            entry = region._find("hits")
            assert entry is not None
            wrong = entry._replace(geometry=(count, *entry.geometry[1:]))
            region._member.roles.clear()  # as in a process that has not opened it
            with pytest.raises(CorruptedError, match="contradicts itself"):
                Counters._from_entry(region, wrong)
