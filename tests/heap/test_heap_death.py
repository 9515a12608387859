# SPDX-License-Identifier: MIT
"""What is left of a heap when processes are killed, memory runs out, or its bytes are spoilt."""

from __future__ import annotations

import contextlib
import errno
import random
import signal
from collections.abc import Callable
from typing import Any

import pytest

from memlane import (
    CorruptedError,
    Full,
    Heap,
    HoldersFullError,
    MemlaneError,
    RecordTooLargeError,
    Ring,
    StaleHandleError,
)
from tests.support.children import Gate, killed_after
from tests.support.processes import Child
from tests.support.region_files import (
    PAGE,
    SHARED_MEMORY,
    fill_up,
    needs_mounts,
    own_shared_memory,
)
from tests.support.shared_bytes import DEAD_TAG, SharedBytes

KIB, MIB = 1 << 10, 1 << 20
WORKERS, KILLS = 4, 30
CONTROL, ARENA = 256, 4096


class SharedHeap(SharedBytes):
    """The bytes of a heap of one arena: its descriptors, and the references of each block."""

    def __init__(self, heap: Heap) -> None:
        super().__init__(heap)
        geometry = heap.region._entries()[0].geometry
        _, self.arena_nbytes, self.blocks, self.holders, self.transits = geometry[:5]
        self.holders_at = 8 * self.transits
        places_at = -(-(self.holders_at + 4 * self.holders) // 8) * 8
        self.stride = -(-(places_at + 16 * self.transits) // 64) * 64
        self.descriptors = -(-(CONTROL + ARENA) // PAGE) * PAGE
        self.references = self.descriptors + -(-32 * self.blocks // PAGE) * PAGE
        self.bytes = self.references + -(-self.stride * self.blocks // PAGE) * PAGE
        self.ready = self.half(CONTROL + 128)

    def state(self, number: int) -> int:
        return self.word(self.descriptors + 32 * number)

    def set_state(self, number: int, kind: int, epoch: int, generation: int) -> None:
        self.set_word(self.descriptors + 32 * number, generation << 28 | epoch << 3 | 1 << 2 | kind)

    def word_of(self, number: int) -> int:
        """The first word of a block in which somebody stands."""
        at = self.references + self.stride * number + self.holders_at
        return next(word for word in range(self.holders) if self.half(at + 4 * word))

    def hold(self, number: int, word: int, tag: int) -> None:
        at = self.references + self.stride * number + self.holders_at + 4 * word
        self.set_half(at, tag)


def churn(heap: Heap, ring: Ring, seed: int) -> None:
    """Make blocks whose bytes follow from their handles, and look at those of others, for ever."""
    chance = random.Random(seed)
    kept: list[Any] = []
    while True:
        if chance.random() < 0.5:
            try:
                block = heap.allocate(chance.randrange(1, 20_000))
            except Full:
                kept.clear()
                continue
            block.array[:] = block.handle[16] ^ block.number % 251
            block.seal()
            kept.append(block)
            with contextlib.suppress(Full):
                ring.put(block.handle, timeout=0.001)
        else:
            try:
                block = heap.open(ring.get(timeout=0.001))
            except (StaleHandleError, HoldersFullError, MemlaneError):
                continue
            values = set(block.array[:: max(1, block.nbytes // 50)].tolist())
            assert {block.handle[16] ^ block.number % 251} == values, "another block's bytes"
            kept.append(block)
        if len(kept) > 8:
            kept.pop(chance.randrange(len(kept)))


def test_whoever_is_killed_no_block_has_another_ones_bytes_and_nothing_leaks() -> None:
    """Killed anywhere in allocate, seal, open, release and collect (traps 3 to 8, 24 to 26, 34)."""
    with (
        Heap("512 KiB", blocks=128, holders=6) as heap,
        Ring("64 KiB", producers=WORKERS * 4, consumers="many") as ring,
    ):
        chance = random.Random(5)
        workers = [Child(churn, heap, ring, seed) for seed in range(WORKERS)]
        try:
            for kill in range(KILLS):
                at = chance.randrange(WORKERS)
                for _ in range(chance.randrange(20)):
                    try:
                        ring.get(timeout=0.01)
                    except MemlaneError:
                        break
                assert not workers[at].has_ended(), "a worker found something wrong"
                workers[at].kill()
                workers[at] = Child(churn, heap, ring, WORKERS + kill)
        finally:
            for worker in workers:
                ended = worker.has_ended()
                worker.kill()
                assert ended is False, "a worker found something wrong"
        heap.collect()
        stats = heap.stats()
        assert (0, heap.nbytes) == (stats["blocks"], stats["largest_free"])
        heap.allocate(heap.max_block).release()


def test_a_check_that_its_process_was_killed_in_is_taken_over() -> None:
    """The block is CHECKING: an open ends the check, a drop carries it on."""
    with Heap("64 KiB", blocks=256) as heap, SharedHeap(heap) as shared:
        for ends_by_open in (True, False):
            block = heap.allocate(100)
            block.seal()
            state = shared.state(block.number)
            shared.set_state(block.number, 2, 0, state >> 28)
            if ends_by_open:
                with Child(lambda block=block: heap.open(block.handle).release()) as child:
                    assert 0 == child.wait()
                assert (1, 1) == (
                    shared.state(block.number) & 3,
                    shared.state(block.number) >> 3 & (1 << 25) - 1,
                )
            block.release()
            assert 0 == shared.state(block.number) & 3


def test_a_word_of_a_dead_opener_holds_a_block_until_somebody_looks() -> None:
    """Also one in a block that was never made (traps 6, 8, 9)."""
    with Heap("64 KiB", blocks=256, holders=2) as heap, SharedHeap(heap) as shared:
        block = heap.allocate(100)
        block.seal()
        for word in range(2):
            shared.hold(5, word, DEAD_TAG)  # of stale handles: the block is passed over
        shared.hold(block.number, 1 - shared.word_of(block.number), DEAD_TAG)
        handle, number = block.handle, block.number
        block.release()
        assert 1 == shared.state(number) & 3
        heap.open(handle).release()
        assert 1 == heap.collect()
        with pytest.raises(StaleHandleError):
            heap.open(handle)
        kept = [heap.allocate(1) for _ in range(256)]
        assert 5 in [block.number for block in kept]


def test_a_block_whose_lives_are_used_up_rests_and_one_whose_checks_are_is_kept() -> None:
    """The others go on (trap 33)."""
    with Heap("64 KiB", blocks=128) as heap:
        heap.allocate(1).release()
        with SharedHeap(heap) as shared:
            shared.set_state(0, 0, 0, 2**36 - 1)
            shared.set_state(1, 0, 0, 2**36 - 2)
            block = heap.allocate(1)
            assert 1 == block.number
            block.seal()
            assert 2**36 - 1 == shared.state(1) >> 28
            assert 1 == heap.open(block.handle).nbytes
            block.release()
            assert 2 == heap.allocate(1).number
            block = heap.allocate(1)
            block.seal()
            number = block.number
            shared.set_state(number, 1, 2**25 - 1, shared.state(number) >> 28)
            block.release()
            assert 1 == shared.state(number) & 3
            assert heap.stats()["blocks"] >= 1


@needs_mounts
def test_where_there_is_no_memory_a_block_is_not_made_and_the_next_one_can_be(name: str) -> None:
    """No SIGBUS: the error says how much is free, and room comes back (trap 30)."""

    def try_it() -> None:
        own_shared_memory(8 << 20)
        with Heap.create(name, "64 MiB") as heap:
            kept = heap.allocate(MIB)
            kept.array[:] = 1
            fill_up(SHARED_MEMORY / "filler", leave=64 * PAGE)
            for _ in range(3):
                with pytest.raises(OSError, match=r"cannot reserve \d+ bytes") as caught:
                    heap.allocate(4 * MIB)
                assert errno.ENOSPC == caught.value.errno
            assert 1 == heap.stats()["blocks"]
            (SHARED_MEMORY / "filler").unlink()
            heap.allocate(4 * MIB).array[:] = 2
            assert MIB == int(kept.array.sum())
            heap.unlink()

    with Child(try_it) as child:
        assert 0 == child.wait()


def test_a_process_is_killed_with_a_hole_half_made() -> None:
    """Bits that say that there is no memory lead to a needless reserving, and lose nothing (29)."""
    with Heap("4 MiB", blocks=256) as heap, SharedHeap(heap) as shared:
        block = heap.allocate(3 * MIB)
        block.array[:] = 7
        shared.set_word(CONTROL + 2048, 0)
        other = heap.allocate(512 * KIB)
        other.array[:] = 8
        assert 3 * MIB * 7 == int(block.array.sum(dtype="u8"))
        del block, other
        killed_after(lambda: heap.allocate(heap.max_block))
        assert heap.trim() >= 0
        heap.collect()
        assert 4 * MIB == heap.trim()
        heap.allocate(heap.max_block).array[:] = 9


EXPECTED = (MemlaneError, ValueError, BufferError, OSError)


def test_whatever_stands_in_a_heap_calls_end_with_bytes_or_a_documented_error() -> None:
    """Any word of control, arena, descriptors, references and handles (trap 35)."""
    chance = random.Random(11)
    for _ in range(12):
        with Heap("64 KiB", blocks=128, holders=4, in_flight=2) as heap:
            spoil_and_call(heap, chance)


def spoil_and_call(heap: Heap, chance: random.Random) -> None:
    kept = [heap.allocate(chance.randrange(3000)) for _ in range(8)]
    for block in kept[:4]:
        block.seal()
    handles = [block.handle for block in kept]
    with SharedHeap(heap) as shared:
        for _ in range(30):
            for _ in range(20):
                at = 8 * chance.randrange(shared.references // 8 + 128 * shared.stride // 8)
                if not 128 <= at < 192:  # the doorbell: tests/waiting
                    word = chance.choice([0, 1, 2**64 - 1, chance.randrange(2**64)])
                    shared.set_word(at, word)
            handle = bytearray(chance.choice(handles))
            handle[chance.randrange(8, 24)] = chance.randrange(256)
            calls: list[Callable[[], object]] = [
                lambda: heap.allocate(chance.randrange(5000)).array.sum(),
                lambda: heap.allocate((3, 4), "f8").seal(),
                lambda: heap.open(chance.choice(handles)).array.sum(),
                lambda handle=handle: heap.open(handle).array.sum(),  # type: ignore[misc]
                lambda: heap.read(chance.choice(handles)),
                lambda: heap.lend(kept[0]).cancel(),
                heap.collect,
                heap.trim,
                heap.stats,
                lambda: kept[-1].seal(),
            ]
            for call in calls:
                with contextlib.suppress(*EXPECTED):
                    call()
        for block in kept:
            block.release()


def test_a_block_that_lies_out_of_bounds_or_describes_itself_wrongly_is_told_of() -> None:
    """CorruptedError, with what to do."""
    with Heap("64 KiB", blocks=128) as heap, SharedHeap(heap) as shared:
        block = heap.allocate((2, 2), "i4")
        block.seal()
        handle, at = block.handle, shared.descriptors + 32 * block.number

        def look(text: str) -> None:
            def refused() -> None:
                with pytest.raises(CorruptedError):
                    heap.open(handle).array  # noqa: B018

            with Child(refused) as child:
                assert 0 == child.wait(), text

        extent, content = shared.word(at + 8), shared.word(at + 16)
        shared.set_word(at + 8, extent | 0xFFFFFFFF)
        look("an offset beyond the arena")
        shared.set_word(at + 8, extent)
        shared.set_word(at + 16, content - 4)
        look("other bytes than the shape has")
        shared.set_word(at + 16, content + (9 << 48))
        look("a description with something behind it")


def test_a_stopped_process_hinders_nobody() -> None:
    """Wherever it stopped, others allocate, open and release (trap 34)."""
    with (
        Heap("512 KiB", blocks=128, holders=6) as heap,
        Ring("64 KiB", producers=8, consumers="many") as ring,
        Child(churn, heap, ring, 3) as child,
        Gate(),
    ):
        for turn in range(20):
            child.stop()
            kept = [heap.allocate(100 + turn) for _ in range(10)]
            for block in kept:
                block.seal()
                assert block.nbytes == len(heap.read(block.handle))
                heap.open(block.handle).release()
            kept.clear()
            heap.collect()
            child.signal(signal.SIGCONT)
        with pytest.raises(RecordTooLargeError):
            heap.allocate(heap.max_block + 1)
        assert not child.has_ended()
