# SPDX-License-Identifier: MIT
"""
The operations of every_step.py on heaps: what a child does once, and what must hold wherever it
dies.

One heap lives through all points of an operation: so each child meets the words and the blocks
that hundreds of killed ones have left.
"""

from __future__ import annotations

from collections.abc import Callable

from memlane import Block, Heap, StaleHandleError
from tests.support.children import killed_after
from tests.support.processes import PATIENCE_S
from tests.system.every_step import Operation

SIZE = 1000


def filled(heap: Heap, value: int, nbytes: int = SIZE) -> Block:
    block = heap.allocate(nbytes, timeout=PATIENCE_S)
    block.array[:] = value
    block.seal()
    return block


class _OfHeap(Operation):
    """A heap with a block that the parent holds all the time, and others that come and go."""

    def begin(self) -> None:
        self.heap = Heap("256 KiB", blocks=128, holders=3, in_flight=2)
        self.kept = filled(self.heap, 7)

    def warm(self) -> None:
        filled(self.heap, 1).release()
        self.heap.open(self.kept.handle).release()

    def check(self) -> None:
        """The block that is held is whole, and everybody else makes, opens and frees blocks."""
        assert {7} == set(self.kept.array.tolist()), "freed in use"
        made = [filled(self.heap, value) for value in range(20, 30)]
        for value, block in enumerate(made, 20):
            assert value == self.heap.open(block.handle).array[-1], "two blocks in the same bytes"
            assert bytes([value]) * SIZE == self.heap.read(block.handle)
        assert {7} == set(self.kept.array.tolist())

    def outcome(self, result: object) -> str:
        return "nothing" if result is None else "done"

    def killed(self, result: object) -> str:
        self.check()
        self.heap.collect()
        stats = self.heap.stats()
        assert 1 == stats["blocks"], "a block of the dead has leaked"
        assert stats["free"] + stats["used"] == self.heap.nbytes
        self.heap.open(self.kept.handle).release()
        self.heap.allocate(stats["largest_free"] - 64).release()
        return self.outcome(result)

    def stopped(self) -> None:
        self.check()

    def resumed(self, result: object) -> str:
        assert result is not None
        return self.killed(result)

    def end(self) -> None:
        self.kept.release()
        self.heap.close()


class HeapAllocate(_OfHeap):
    name = "heap-allocate"

    def run(self) -> object:
        self.made = self.heap.allocate(500)
        return self.made.nbytes


class HeapSeal(_OfHeap):
    name = "heap-seal"

    def warm(self) -> None:
        super().warm()
        self.made = self.heap.allocate(500)

    def run(self) -> object:
        self.made.seal()
        return True


class HeapOpen(_OfHeap):
    name = "heap-open"

    def run(self) -> object:
        self.opened = self.heap.open(self.kept.handle)
        return int(self.opened.array[0])


class HeapOpenStale(_OfHeap):
    """Its word is in a later life of the block for a moment."""

    name = "heap-open-stale"

    def prepare(self) -> None:
        block = filled(self.heap, 3)
        self.handle = block.handle
        block.release()
        self.later = filled(self.heap, 4)

    def run(self) -> object:
        try:
            self.heap.open(self.handle)
        except StaleHandleError:
            return True
        raise AssertionError("it opened another life")

    def killed(self, result: object) -> str:
        assert {4} == set(self.later.array.tolist())
        self.later.release()
        return super().killed(result)


class HeapRelease(_OfHeap):
    """The last one that holds it."""

    name = "heap-release"

    def prepare(self) -> None:
        self.shared = filled(self.heap, 5)

    def warm(self) -> None:
        super().warm()
        self.opened = self.heap.open(self.shared.handle)

    def arrange(self) -> None:
        self.shared.release()

    def run(self) -> object:
        self.opened.release()
        return True


class HeapLend(_OfHeap):
    name = "heap-lend"

    def run(self) -> object:
        return self.heap.lend(self.kept).readers

    def killed(self, result: object) -> str:
        outcome = super().killed(result)
        assert [1, 1] == [self.heap.lend(self.kept).cancel() for _ in range(2)]
        return outcome


class HeapClaim(_OfHeap):
    """A reader of a loan, whose lender has let go of the block."""

    name = "heap-claim"

    def prepare(self) -> None:
        block = filled(self.heap, 6)
        self.loan = self.heap.lend(block)
        block.release()

    def run(self) -> object:
        self.opened = self.heap.open(self.loan.handle)
        return int(self.opened.array[0])

    def killed(self, result: object) -> str:
        left = self.loan.cancel()
        assert left <= (result is None), "counted again"
        return super().killed(result)


class HeapCollect(_OfHeap):
    name = "heap-collect"

    def prepare(self) -> None:
        killed_after(lambda: [filled(self.heap, 9) for _ in range(3)])

    def run(self) -> object:
        return self.heap.collect() + 1


class HeapTrim(_OfHeap):
    name = "heap-trim"

    def begin(self) -> None:
        self.heap = Heap("6 MiB", blocks=128, holders=3, in_flight=2)
        self.kept = filled(self.heap, 7)

    def prepare(self) -> None:
        self.heap.allocate("5 MiB").release()

    def run(self) -> object:
        return self.heap.trim() + 1


HEAP_OPERATIONS: tuple[Callable[[], Operation], ...] = (
    HeapAllocate,
    HeapSeal,
    HeapOpen,
    HeapOpenStale,
    HeapRelease,
    HeapLend,
    HeapClaim,
    HeapCollect,
    HeapTrim,
)
