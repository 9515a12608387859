# SPDX-License-Identifier: MIT
"""Any sequence of calls does to a ring what it does to a plain model of it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import memlane
from memlane import Empty, Full, Ring
from tests.support.children import PAGE
from tests.support.shared_bytes import RingBytes


@dataclass
class Held:
    """A record that occupies room: waiting, lent, or released behind one that is."""

    data: bytes
    offset: int
    released: bool = False
    loan: memlane.Record | None = None


class Model:
    """
    One lane as the documentation has it: a deque of records, and a circular allocator of bytes.

    The producer looks at what was released only when it finds no room by what it saw last.
    """

    def __init__(self, capacity: int, most: int) -> None:
        self.capacity, self.most = capacity, most
        self.held: deque[Held] = deque()  # what the producer has not seen released
        self.gone = 0  # how many of them were released at the front meanwhile
        self.write = 0

    def place(self, nbytes: int) -> int | None:
        """Where a record goes, or None if the ring is full."""
        found = self._place(nbytes)
        if found is None:
            for _ in range(self.gone):
                self.held.popleft()
            self.gone = 0
            found = self._place(nbytes)
        return found

    def _place(self, nbytes: int) -> int | None:
        occupied = max(8, -(-nbytes // 8) * 8)
        if not self.held:
            return 0
        if len(self.held) == self.most:
            return None
        oldest = self.held[0].offset
        if self.write > oldest:
            if occupied <= self.capacity - self.write:
                return self.write
            return 0 if occupied <= oldest else None
        return self.write if occupied <= oldest - self.write else None

    def put(self, data: bytes) -> bool:
        offset = self.place(len(data))
        if offset is None:
            return False
        self.held.append(Held(data, offset))
        self.write = offset + max(8, -(-len(data) // 8) * 8)
        return True

    def in_use(self) -> list[Held]:
        return list(self.held)[self.gone :]

    def waiting(self) -> list[Held]:
        return [held for held in self.in_use() if not held.released and held.loan is None]

    def release(self, held: Held) -> None:
        held.released, held.loan = True, None
        while self.gone < len(self.held) and self.held[self.gone].released:
            self.gone += 1


SIZES = st.one_of(
    st.integers(0, 40), st.sampled_from([PAGE // 2, PAGE - 8, PAGE]), st.integers(0, PAGE)
)


class RingAgainstModel(RuleBasedStateMachine):
    """Any verbs in any order: the bytes, the lengths, Full and Empty are those of the model."""

    @initialize(
        records=st.sampled_from([1, 2, 3, 8]), start=st.sampled_from([0, 2**29 - 3, 2**64 - 2])
    )
    def begin(self, records: int, start: int) -> None:
        self.ring = Ring(capacity=PAGE, producers=1, records=records)
        with RingBytes(self.ring) as shared:
            shared.set_word(shared.tail_at(0), start)
            shared.set_word(shared.head_at(0), start)
        self.model = Model(PAGE, records)
        self.made = 0

    def data(self, nbytes: int) -> bytes:
        self.made += 1
        return (b"%d," % self.made * (nbytes // 2 + 1))[:nbytes]

    @rule(nbytes=SIZES)
    def put(self, nbytes: int) -> None:
        data = self.data(nbytes)
        if self.model.put(data):
            self.ring.put(data, timeout=0)
        else:
            with pytest.raises(Full):
                self.ring.put_nowait(data)

    @rule(sizes=st.lists(SIZES, max_size=10))
    def put_many(self, sizes: list[int]) -> None:
        batch = [self.data(nbytes) for nbytes in sizes]
        expected = 0
        while expected < len(batch) and self.model.put(batch[expected]):
            expected += 1
        if batch and expected == 0:
            with pytest.raises(Full):
                self.ring.put_many(batch, timeout=0)
        else:
            assert self.ring.put_many(iter(batch), timeout=0) == expected

    @rule(nbytes=SIZES, share=st.floats(0, 1), end=st.sampled_from(["commit", "part", "abort"]))
    def reserve(self, nbytes: int, share: float, end: str) -> None:
        if self.model.place(nbytes) is None:
            with pytest.raises(Full):
                self.ring.reserve(nbytes, timeout=0)
            return
        data = self.data(nbytes)
        with self.ring.reserve(nbytes, timeout=0) as room:
            room.write(data)
            if end == "abort":
                room.abort()
                return
            if end == "part":
                data = data[: int(nbytes * share)]
                room.commit(len(data))
        assert self.model.put(data)

    @rule(verb=st.sampled_from(["get", "get_into"]))
    def get(self, verb: str) -> None:
        waiting = self.model.waiting()
        buffer = bytearray(PAGE)
        if not waiting:
            with pytest.raises(Empty):
                self.ring.get_nowait() if verb == "get" else self.ring.get_into(buffer, timeout=0)
            return
        if verb == "get":
            assert self.ring.get(timeout=0) == waiting[0].data
        else:
            nbytes = self.ring.get_into(buffer, timeout=0)
            assert bytes(buffer[:nbytes]) == waiting[0].data
        self.model.release(waiting[0])

    @rule(most=st.integers(1, 10))
    def get_many(self, most: int) -> None:
        waiting = self.model.waiting()[:most]
        if not waiting:
            with pytest.raises(Empty):
                self.ring.get_many(most, timeout=0)
            return
        assert self.ring.get_many(most, timeout=0) == [held.data for held in waiting]
        for held in waiting:
            self.model.release(held)

    @rule()
    def borrow(self) -> None:
        waiting = self.model.waiting()
        if not waiting:
            with pytest.raises(Empty):
                self.ring.borrow(timeout=0)
            return
        waiting[0].loan = self.ring.borrow(timeout=0)

    @rule(which=st.integers(0, 7))
    def release(self, which: int) -> None:
        lent = [held for held in self.model.in_use() if held.loan is not None]
        if lent:
            held = lent[which % len(lent)]
            assert held.loan is not None
            held.loan.release()
            self.model.release(held)

    @invariant()
    def is_like_the_model(self) -> None:
        if not hasattr(self, "ring"):
            return
        assert len(self.ring) == len(self.model.in_use())
        for held in self.model.in_use():
            if held.loan is not None:
                assert bytes(held.loan) == held.data

    def teardown(self) -> None:
        if hasattr(self, "ring"):
            for held in self.model.held:
                held.loan = None
            self.ring.close()


TestRingAgainstModel = RingAgainstModel.TestCase
TestRingAgainstModel.settings = settings(max_examples=40, stateful_step_count=40)
