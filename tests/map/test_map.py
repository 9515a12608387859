# SPDX-License-Identifier: MIT
"""What `Map` promises in one process: a dict with keys of three types and values of one layout."""

from __future__ import annotations

import copy
import ctypes
import enum
import multiprocessing
import pickle
import struct
import sys
import time
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import pytest

import memlane
from memlane import (
    ClosedError,
    Full,
    LayoutError,
    Map,
    ObjectNotFoundError,
    Region,
    RegionExistsError,
)


@dataclass
class Pose:
    """A value of two numbers."""

    x: float
    n: int


class Point(ctypes.Structure):
    """A value of C."""

    _fields_ = [("x", ctypes.c_int32), ("y", ctypes.c_int32)]


class Level(enum.IntEnum):
    """An int by another name."""

    HIGH = 7


def test_what_a_dict_does_a_map_does() -> None:
    """Every verb of MutableMapping, with the results of dict."""
    with Map(entries=16, value=8) as m:
        assert isinstance(m, MutableMapping)
        m["a"] = b"1"
        m.update({"b": b"2"}, c=b"3")
        m |= [("d", b"4")]
        assert len(m) == 4
        assert m == {"a": b"1", "b": b"2", "c": b"3", "d": b"4"}
        assert m != {"a": b"1"}
        assert sorted(m) == ["a", "b", "c", "d"] == sorted(m.keys())
        assert sorted(m.values()) == [b"1", b"2", b"3", b"4"]
        assert dict(m.items()) == dict(m)
        assert ("a", b"1") in m.items()
        assert b"4" in m.values()
        assert b"5" not in m.values()
        assert m.keys() & {"a", "z"} == {"a"}
        assert (m.get("z"), m.get("z", 5), m.get("a", 5)) == (None, 5, b"1")
        assert (m.setdefault("a", b"9"), m.setdefault("e", b"5")) == (b"1", b"5")
        assert (m.pop("e"), m.pop("e", None)) == (b"5", None)
        for verb in (m.__getitem__, m.__delitem__, m.pop, m.read_versioned):
            with pytest.raises(KeyError) as info:
                verb("z")
            assert info.value.args == ("z",)
        del m["a"]
        assert "a" not in m
        assert m | {"b": b"0"} == {"b": b"0", "c": b"3", "d": b"4"}
        assert {"b": b"0"} | m == dict(m)
        taken = dict([m.popitem(), m.popitem(), m.popitem()])
        assert taken == {"b": b"2", "c": b"3", "d": b"4"}
        with pytest.raises(KeyError, match="empty"):
            m.popitem()
        m["x"] = b""
        m.clear()
        assert (len(m), list(m), bool(m)) == (0, [], True)


def test_str_bytes_and_int_are_three_keys_and_come_back_as_what_they_are() -> None:
    """Also those with equal bytes; an IntEnum is its int, as in a dict."""
    keys: list[Any] = ["1", b"1", 1, 0, -1, 2**63 - 1, -(2**63), "", b"", "ä" * 32, b"\0" * 64]
    eight = struct.unpack("q", b"12345678")[0]
    keys += [eight, b"12345678", "12345678"]
    with Map(entries=len(keys), value="q") as m:
        for number, key in enumerate(keys):
            m[key] = number
        assert {(type(key), key) for key in m} == {(type(key), key) for key in keys}
        assert [m[key] for key in keys] == list(range(len(keys)))
        del m[eight]
        m[Level.HIGH] = 70
        assert m[7] == 70
        assert [type(key) for key in m if key == 7] == [int]


@pytest.mark.parametrize(
    ("layout", "given", "found"),
    [
        ("q", -5, -5),
        ("d", 1.5, 1.5),
        ("d", 2, 2.0),
        ("I", 7, 7),
        ("4s", b"ab", b"ab\0\0"),
        ("6d", (1, 2, 3, 4, 5, 6), (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)),
        ("2h", [1, 2], (1, 2)),
        (10, b"abc", b"abc"),
        (10, bytearray(b"0123456789"), b"0123456789"),
        (0, b"", b""),
        (5000, b"x" * 5000, b"x" * 5000),
        (5000, b"x" * 17, b"x" * 17),
        (200_000, b"x" * 199_999, b"x" * 199_999),
        (Pose, Pose(1.5, 2), Pose(1.5, 2)),
    ],
)
def test_values_of_every_layout_come_back(layout: Any, given: Any, found: Any) -> None:
    """A struct format of one number is that number; every verb gives the same."""
    with Map(entries=2, value=layout) as m:
        m["key"] = given
        assert m["key"] == found
        assert type(m["key"]) is type(found)
        assert m.get("key") == found == m.setdefault("key", given)
        assert list(m.items()) == [("key", found)]
        assert list(m.values()) == [found]
        assert m.pop("key") == found
        assert m.setdefault("key", given) == found


def test_values_of_ctypes_and_numpy_come_back() -> None:
    """An instance of the class; an array of the dtype."""
    np = pytest.importorskip("numpy")
    with Map(entries=2, value=Point) as points, Map(entries=2, value=np.dtype("2f4")) as arrays:
        points[1] = Point(3, 4)
        assert (points[1].x, points[1].y) == (3, 4)
        arrays[1] = [1.5, 2.5]
        assert arrays[1].tolist() == [1.5, 2.5]
        arrays[1] = np.array([3, 4], "f4")
        assert arrays[1].dtype == np.float32
    with Map(entries=2, value=np.int64) as counts:
        assert counts.add("n", 3) == 3
        assert type(counts["n"]) is np.int64


def test_a_version_grows_with_each_change_and_never_repeats() -> None:
    """0 is absent; removing a key and making it again goes on above."""
    with Map(entries=4, value="q") as m:
        versions = [m.version("k")]
        for number in range(20):
            versions.append(m.set("k", number))
            assert m.read_versioned("k") == (number, versions[-1])
            assert m.version("k") == versions[-1]
            if number % 3 == 0:
                del m["k"]
                assert m.version("k") == 0
                m["other"] = number
                m.pop("other")
        assert versions[0] == 0
        assert versions == sorted(set(versions))


def test_compare_exchange_and_compare_remove_act_on_the_version_that_was_read() -> None:
    """Version 0 is for a key that is not there."""
    with Map(entries=4, value="q") as m:
        assert not m.compare_exchange("k", 5, 1)
        assert not m.compare_remove("k", 0)
        assert m.compare_exchange("k", 0, 1)
        assert not m.compare_exchange("k", 0, 2)
        _, version = m.read_versioned("k")
        assert m.compare_exchange("k", version, 3)
        assert not m.compare_exchange("k", version, 4)
        assert not m.compare_remove("k", version)
        assert m["k"] == 3
        assert m.compare_remove("k", m.version("k"))
        assert "k" not in m


def test_add_counts_from_0_and_refuses_what_is_no_number() -> None:
    """Ints wrap at 64 bits; a key's expiry stays."""
    with Map(entries=4, value="q") as counts, Map(entries=4, value="d") as sums:
        assert (counts.add("n"), counts.add("n", 10), counts.add("n", -20)) == (1, 11, -9)
        counts["n"] = 2**63 - 1
        assert counts.add("n", 1) == -(2**63)
        assert (sums.add("x", 0.5), sums.add("x", 1)) == (0.5, 1.5)
        with pytest.raises(OverflowError, match="64 bits"):
            counts.add("n", 2**64)
        for m, amount in ((counts, 1.5), (counts, "1"), (sums, "1"), (sums, None)):
            with pytest.raises(TypeError, match="what is added"):
                m.add("n", amount)
        counts.add("brief", expires=0.05)
        counts.add("brief")
        time.sleep(0.06)
        assert "brief" not in counts
    with Map(entries=4, value="Q") as unsigned, Map(entries=4, value="i") as small:
        assert unsigned.add("n", 2**64 - 1) == 2**64 - 1
        assert unsigned.add("n", 2) == 1
        with pytest.raises(TypeError, match="value='q' or value='d'"):
            small.add("n")


def test_a_value_that_has_expired_is_absent_and_its_entry_is_used_again() -> None:
    """For every verb; a key that is set again without an expiry stays."""
    with Map(entries=2, value=4) as m:
        m["stays"] = b"s"
        version = m.set("goes", b"g", expires=0.03)
        assert m["goes"] == b"g"
        with pytest.raises(Full, match="all of its 2 entries"):
            m["new"] = b"n"
        time.sleep(0.04)
        assert (m.get("goes"), "goes" in m, len(m), list(m)) == (None, False, 1, ["stays"])
        assert (m.version("goes"), m.pop("goes", 0)) == (0, 0)
        m.set("goes", b"h", expires=0.02)
        assert m.version("goes") > version
        time.sleep(0.03)
        assert m.setdefault("goes", b"i") == b"i"
        m.set("goes", b"j", expires=0.02)
        m["goes"] = b"k"
        time.sleep(0.03)
        assert m["goes"] == b"k"
        m.set("goes", b"l", expires=0.02)
        time.sleep(0.03)
        m["new"] = b"n"
        assert dict(m) == {"stays": b"s", "new": b"n"}
        m.set("new", b"", expires=0.02)
        time.sleep(0.03)
        assert "new" not in m
        for wrong in (0, -1, "1", float("nan")):
            with pytest.raises((TypeError, ValueError), match="expires must be"):
                m.set("k", b"", expires=wrong)  # type: ignore[arg-type]


def test_a_full_map_says_so_with_facts_and_takes_changes_of_its_keys() -> None:
    """As many keys as entries, whatever the keys."""
    with Map(entries=5, value="q") as m:
        for number in range(5):
            m[number] = number
        with pytest.raises(Full) as info:
            m[5] = 5
        assert (info.value.cause, info.value.records, info.value.max_records) == ("records", 5, 5)
        m[3] = 33
        m.pop(0)
        m[5] = 5
        assert dict(m) == {1: 1, 2: 2, 3: 33, 4: 4, 5: 5}


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m: m[1.5], TypeError, "a str, bytes or an int, got 1.5"),
        (lambda m: m[True], TypeError, "a str, bytes or an int, got True"),
        (lambda m: m[None], TypeError, "got None"),
        (lambda m: m[("a",)], TypeError, "got"),
        (lambda m: m.get(bytearray(b"a")), TypeError, "got bytearray"),
        (lambda m: 2**63 in m, ValueError, "has 64 bits"),
        (lambda m: m["x" * 17], ValueError, "at most 16 bytes, got one of 17"),
        (lambda m: m.set("ä" * 9, 1), ValueError, "at most 16 bytes, got one of 18"),
        (lambda m: m["\ud800"], ValueError, "UTF-8"),
        (lambda m: m.set("k", "x"), ValueError, "does not fit the layout of unnamed map"),
        (lambda m: m.set("k", 2**63), ValueError, "does not fit"),
        (lambda m: m.set("k", (1, 2)), ValueError, "does not fit"),
        (lambda m: m.set("k", 1, timeout=-1), ValueError, "timeout"),
        (lambda m: m.compare_exchange("k", -1, 1), ValueError, "version"),
        (lambda m: m.compare_exchange("k", "1", 1), TypeError, "version"),
        (lambda m: m.update(5), TypeError, "a mapping or pairs"),
        (lambda m: m.set("k"), TypeError, "lacks value"),
        (lambda m: m.put("k", 1), AttributeError, r"use m\[key\] = value"),
        (lambda m: m.fileno(), AttributeError, r"watch\(key\)"),
        (lambda m: m.copy(), AttributeError, r"dict\(m\)"),
        (lambda m: m + m, TypeError, "update"),
        (lambda m: m < m, TypeError, "dict"),
    ],
)
def test_a_bad_call_is_refused_in_words_and_changes_nothing(
    call: Callable[[Any], object], error: type[Exception], says: str
) -> None:
    """At the call, with both lengths where a key is too long."""
    with Map(entries=4, key_nbytes=16, value="q") as m:
        m["kept"] = 1
        with pytest.raises(error, match=says):
            call(m)
        assert dict(m) == {"kept": 1}


def test_a_geometry_that_no_map_can_have_is_refused() -> None:
    """By the name of the argument."""
    for wrong, says in (
        ({"entries": 0}, "entries must be from 1"),
        ({"entries": 2**24}, "entries must be from 1"),
        ({"key_nbytes": 7}, "key_nbytes must be from 8"),
        ({"key_nbytes": 4097}, "key_nbytes must be from 8"),
        ({"copies": 3}, "power of two"),
        ({"watchers": 65}, "watchers"),
        ({"value": "1 GB"}, "struct format"),
        ({"value": 2**31}, "1 GiB"),
    ):
        with pytest.raises(ValueError, match=says):
            Map(**wrong)
    with pytest.raises(ValueError, match="writers"):
        Map.create("m", value=8, writers="one")  # type: ignore[arg-type]


def test_a_map_is_found_by_its_name_and_its_geometry_is_checked(name: str) -> None:
    """In a region of its own and among others."""
    with Map.create(name, entries=10, value="2d", key_nbytes=32) as m:
        m["k"] = (1, 2)
        with pytest.raises(RegionExistsError):
            Map.create(name, value="2d")
        with (
            Map.open(name) as same,
            Map.open_or_create(name, entries=10, value="2d", key_nbytes=32),
        ):
            assert same["k"] == (1.0, 2.0)
            assert (same.entries, same.key_nbytes, same.value_nbytes) == (10, 32, 16)
            assert same.stats()["keys"] == 1
        for wrong, says in (
            ({"value": "3d"}, "struct:2d"),
            ({"value": "2d", "entries": 11}, "entries=10"),
            ({"value": "2d", "entries": 10, "key_nbytes": 64}, "key_nbytes=32"),
        ):
            with pytest.raises(LayoutError, match=says):
                Map.open_or_create(name, **wrong)
        with Map.open(name, readonly=True) as reader:
            assert dict(reader) == {"k": (1.0, 2.0)}
            for verb in (
                lambda: reader.set("k", (0, 0)),
                lambda: reader.pop("k"),
                lambda: reader.clear(),
                lambda: reader.setdefault("new", (0, 0)),
            ):
                with pytest.raises(PermissionError):
                    verb()
        m.unlink()
    with Region.create(None, "1 MiB") as region:
        assert region.map("m", entries=4, value="q").add("n") == 1
        assert region.map("m")["n"] == 1
        assert region["m"]["n"] == 1  # type: ignore[index]
        with pytest.raises(ObjectNotFoundError, match="give a value"):
            region.map("none")
        with pytest.raises(LayoutError, match="is a Map, expected a Counter"):
            region.counter("m")
        m = region.map("m")
        region.remove("m")
        for call in (lambda: m["n"], lambda: m.add("n"), lambda: list(m), lambda: len(m)):
            with pytest.raises(ClosedError, match="removed"):
                call()


def test_every_call_of_a_closed_map_says_so() -> None:
    """Also an iteration that goes on, and a watch."""
    m = Map(entries=4, value="q")
    m["a"], m["b"] = 1, 2
    through, watch = iter(m), m.watch("a")
    next(through)
    m.close()
    m.close()
    assert m.closed
    for call in (
        *(lambda: m["a"], lambda: m.get("a"), lambda: "a" in m, lambda: len(m), lambda: iter(m)),
        *(lambda: m.set("a", 1), lambda: m.pop("a"), lambda: m.add("a"), lambda: m.entries),
        *(lambda: next(through), lambda: watch.wait_newer(timeout=0), lambda: m.watch("a")),
        *(lambda: watch.fileno(), lambda: m.clear(), lambda: m.stats(), lambda: m.version("a")),
    ):
        with pytest.raises(ClosedError, match="closed"):
            call()


def test_handles_compare_by_what_is_in_the_maps_and_hash_as_handles() -> None:
    """A copy is another handle of the same map."""
    with Map(entries=4, value="q") as m, Map(entries=9, value="q") as other:
        m["a"] = other["a"] = 1
        again = copy.copy(m)
        assert m == other == again
        assert len({m, other, again}) == 3
        other["b"] = 2
        assert m != other
        again.close()
        assert m["a"] == 1


def _add_in_child(m: Map[Any], key: str, times: int) -> None:
    for _ in range(times):
        m.add(key)


def _turn(m: Map[Any]) -> None:
    m["pose"] = Pose(m["pose"].x * 2, m["pose"].n + 1)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_an_unnamed_map_travels_to_child_processes(method: str) -> None:
    """With the class of its values."""
    context: Any = multiprocessing.get_context(method)
    with Map(entries=4, value="q") as m, Map(entries=4, value=Pose) as poses:
        poses["pose"] = Pose(1.5, 1)
        children = [context.Process(target=_add_in_child, args=(m, "n", 500)) for _ in range(2)]
        children.append(context.Process(target=_turn, args=(poses,)))
        for child in children:
            child.start()
        for child in children:
            child.join()
        assert [child.exitcode for child in children] == [0, 0, 0]
        assert m["n"] == 1000
        assert poses["pose"] == Pose(3.0, 2)


def test_a_pickle_of_a_map_of_plain_values_needs_no_class(name: str) -> None:
    """The layout is in the region."""
    with Map.create(name, entries=4, value="2d") as m:
        m["k"] = (1, 2)
        with pickle.loads(pickle.dumps(m)) as again:
            assert again["k"] == (1.0, 2.0)
        m.unlink()


def test_going_through_a_map_sees_each_key_that_stays_once() -> None:
    """Whatever comes and goes meanwhile, and never a pair of two keys."""
    with Map(entries=64, value="q") as m:
        staying = {f"stays {number}": number for number in range(32)}
        m.update(staying)
        for turn in range(20):
            seen: dict[Any, int] = {}
            for number, (key, value) in enumerate(m.items()):
                assert key not in seen
                seen[key] = value
                m[f"comes {turn} {number % 16}"] = -number
                m.pop(f"comes {turn} {(number + 5) % 16}", None)
            assert staying.items() <= seen.items()
            for key in list(m):
                if key not in staying:
                    del m[key]


def test_a_map_of_many_keys_is_counted_and_gone_through() -> None:
    """More entries than one step of a look."""
    with Map(entries=70_000, key_nbytes=8, value="q", watchers=0) as m:
        for number in range(0, 70_000, 100):
            m[number] = number
        assert len(m) == 700
        assert sorted(m) == list(range(0, 70_000, 100))
        m.clear()
        assert len(m) == 0


def test_memlane_names_what_others_call_a_map() -> None:
    """`memlane.Map` is the one name; a region has it by `map`."""
    assert memlane.Map is Map
    assert sys.modules["memlane.map"].Map is Map
