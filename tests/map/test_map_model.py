# SPDX-License-Identifier: MIT
"""Any sequence of calls on a map has the results of the same calls on a dict."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from memlane import Full, Map

ENTRIES = 12
KEYS = st.one_of(
    st.integers(-3, 3), st.sampled_from(["", "a", "b", "ä"]), st.sampled_from([b"", b"a", b"b"])
)
VALUES = st.binary(max_size=20)


class MapAndDict(RuleBasedStateMachine):
    """The map, and a dict that is told the same."""

    def __init__(self) -> None:
        super().__init__()
        self.map: Map[bytes] = Map(entries=ENTRIES, key_nbytes=8, value=20)
        self.dict: dict[Any, bytes] = {}
        self.versions: dict[Any, int] = {}

    def teardown(self) -> None:
        self.map.close()

    def fits(self, key: Any) -> bool:
        return key in self.dict or len(self.dict) < ENTRIES

    @rule(key=KEYS, value=VALUES)
    def set(self, key: Any, value: bytes) -> None:
        if not self.fits(key):
            with pytest.raises(Full):
                self.map[key] = value
            return
        self.map[key] = value
        self.dict[key] = value

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key: Any, value: bytes) -> None:
        if self.fits(key):
            assert self.map.setdefault(key, value) == self.dict.setdefault(key, value)

    @rule(key=KEYS)
    def pop(self, key: Any) -> None:
        assert self.map.pop(key, None) == self.dict.pop(key, None)

    @rule(key=KEYS)
    def delete(self, key: Any) -> None:
        if key in self.dict:
            del self.map[key]
            del self.dict[key]
        else:
            with pytest.raises(KeyError):
                del self.map[key]

    @rule(key=KEYS, value=VALUES, right=st.booleans())
    def compare_exchange(self, key: Any, value: bytes, right: bool) -> None:
        version = self.map.version(key)
        if not right:
            assert not self.map.compare_exchange(key, version + 1, value)
        elif self.fits(key):
            assert self.map.compare_exchange(key, version, value)
            self.dict[key] = value

    @rule()
    def popitem(self) -> None:
        if self.dict:
            key, value = self.map.popitem()
            assert self.dict.pop(key) == value

    @rule(pairs=st.dictionaries(KEYS, VALUES, max_size=3))
    def update(self, pairs: dict[Any, bytes]) -> None:
        if len(self.dict | pairs) <= ENTRIES:
            self.map |= pairs
            self.dict |= pairs

    @rule()
    def clear(self) -> None:
        self.map.clear()
        self.dict.clear()

    @invariant()
    def they_are_equal(self) -> None:
        assert dict(self.map.items()) == self.dict
        assert {(type(key), key) for key in self.map} == {(type(key), key) for key in self.dict}
        assert len(self.map) == len(self.dict)
        assert sorted(self.map.values()) == sorted(self.dict.values())

    @invariant()
    def versions_never_go_back(self) -> None:
        for key in self.dict:
            value, version = self.map.read_versioned(key)
            assert value == self.dict[key] == self.map[key] == self.map.get(key)
            assert version >= self.versions.get(key, 1)
            self.versions[key] = version


MapAndDict.TestCase.settings = settings(
    max_examples=int(os.environ.get("MEMLANE_MODEL_SEQUENCES", "25")), stateful_step_count=30
)
TestMapAndDict = MapAndDict.TestCase
