# SPDX-License-Identifier: MIT
"""Heaps and their blocks, as one process and its children use them."""

from __future__ import annotations

import copy
import gc
import io
import os
import pickle
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memlane import (
    Block,
    ClosedError,
    Full,
    Heap,
    HoldersFullError,
    LayoutError,
    RecordTooLargeError,
    Region,
    StaleHandleError,
)
from tests.support.children import Gate, killed_after
from tests.support.processes import PATIENCE_S, Child

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def heap() -> Iterator[Heap]:
    with Heap("1 MiB", blocks=256, holders=3, in_flight=2) as made:
        yield made


def blocks_of(heap: Heap) -> int:
    return int(heap.stats()["blocks"])


# ---- making them ---------------------------------------------------------------------------------


def test_a_block_is_written_by_its_maker_and_read_in_place_by_whoever_opens_it(heap: Heap) -> None:
    """What is opened is the very memory, not a copy, and read-only."""
    block = heap.allocate((4, 3), "f4")
    block.array[:] = np.arange(12, dtype="f4").reshape(4, 3)
    block.seal()
    other = heap.open(block.handle)
    assert other.array.ctypes.data == block.array.ctypes.data
    assert (other.shape, other.dtype, other.nbytes) == ((4, 3), np.dtype("f4"), 48)
    assert np.arange(12).tolist() == other.array.ravel().tolist()
    for view in (other.array, block.array):
        with pytest.raises(ValueError, match="read-only"):
            view[0] = 1


def test_bytes_without_a_dtype_are_an_array_of_bytes(heap: Heap) -> None:
    """Both an int and a text say how many."""
    for asked in (1000, "1000 B"):
        with heap.allocate(asked) as block:
            assert (block.shape, block.dtype, len(block)) == ((1000,), np.dtype("u1"), 1000)
            memoryview(block)[:5] = b"hello"
            assert b"hello" == bytes(block[:5])


@pytest.mark.parametrize(
    "dtype", ["f8", "c16", "<M8[s]", ">i2", "S7", [("a", "i4"), ("b", "f8", 2)]]
)
@pytest.mark.parametrize("shape", [(), 5, (2, 0, 3), (2, 3, 4)])
def test_every_dtype_and_shape_comes_out_as_it_went_in(heap: Heap, dtype: Any, shape: Any) -> None:
    """Records, dates, foreign byte orders, no dimensions and no items, too."""
    block = heap.allocate(shape, dtype)
    block.array[...] = np.zeros(shape, dtype)
    block.seal()
    found = heap.open(block.handle)
    assert (np.dtype(dtype), np.zeros(shape).shape) == (found.dtype, found.shape)
    assert found.array.tobytes() == np.zeros(shape, dtype).tobytes()


def test_buffers_say_shape_and_format_and_dlpack_takes_it_in_place(heap: Heap) -> None:
    """memoryview, numpy.asarray and from_dlpack are the same memory."""
    block = heap.allocate((2, 3), "i4")
    view = memoryview(block)
    assert ((2, 3), "i", (12, 4), False) == (view.shape, view.format, view.strides, view.readonly)
    assert np.asarray(block).ctypes.data == np.from_dlpack(block).ctypes.data
    assert (1, 0) == block.__dlpack_device__()
    assert np.asarray(block, "f8").dtype == "f8"
    del view
    block.seal()
    assert memoryview(block).readonly
    with pytest.raises(TypeError, match="read-write"):
        io.BytesIO(b"x" * 24).readinto(block)


@pytest.mark.parametrize("align", [1, 64, 256, 4096])
def test_the_first_byte_lies_where_it_was_asked_to(heap: Heap, align: int) -> None:
    """At least at a multiple of 64."""
    blocks = [heap.allocate(100, align=align) for _ in range(4)]
    assert [0] * 4 == [block.array.ctypes.data % max(align, 64) for block in blocks]


def test_what_can_be_no_block_is_refused_with_what_to_do(heap: Heap) -> None:
    """At the call, and nothing is taken."""
    wrong: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
        ((2, 3), {}, TypeError, "needs a dtype"),
        ("8 B", {"dtype": "f4"}, TypeError, "tuple of ints"),
        (8, {"align": 3}, ValueError, "power of two"),
        (8, {"align": 8192}, ValueError, "up to|to 4096"),
        (-1, {}, ValueError, "-1"),
        (None, {}, TypeError, "nbytes"),
        ((1 << 40,), {"dtype": "f8"}, RecordTooLargeError, "can never be made"),
        (2 * MIB, {}, RecordTooLargeError, "larger nbytes"),
        (8, {"dtype": object}, TypeError, "objects"),
    ]
    for asked, more, error, text in wrong:
        with pytest.raises(error, match=text):
            heap.allocate(asked, **more)
    with pytest.raises(TypeError, match=r"heap\.allocate"):
        Block()
    assert 0 == blocks_of(heap)


# ---- sealing, releasing --------------------------------------------------------------------------


def test_a_block_is_not_sealed_while_a_view_could_write(heap: Heap) -> None:
    """The views are counted; an unsealed block is stale for others."""
    block = heap.allocate(64)
    array = block.array
    with pytest.raises(BufferError, match="1 views that could write"):
        block.seal()
    with pytest.raises(BufferError, match="could write"):
        pickle.dumps(block)
    assert not block.sealed
    with pytest.raises(StaleHandleError, match="not sealed"):
        heap.open(block.handle)
    del array
    block.seal()
    block.seal()
    assert block.sealed


def test_a_block_is_free_when_the_last_one_has_released_it_and_its_views_have_died(
    heap: Heap,
) -> None:
    """Whichever is later; then its handle is stale, and its room is the next block's."""
    block = heap.allocate(1000)
    block.seal()
    handle, array = block.handle, heap.open(block.handle).array
    block.release()
    block.release()
    assert block.released
    assert 1 == blocks_of(heap)
    with pytest.raises(ClosedError, match="was released"):
        block.array  # noqa: B018 - which raises
    assert 0 == array[0] * 0
    del array
    gc.collect()
    assert 0 == blocks_of(heap)
    with pytest.raises(StaleHandleError, match="keep the block until") as stale:
        heap.open(handle)
    assert isinstance(stale.value, LookupError)
    assert stale.value.number == pickle.loads(pickle.dumps(stale.value)).number
    with pytest.raises(StaleHandleError):
        heap.read(handle)


def test_a_forgotten_block_is_released(heap: Heap) -> None:
    """Nothing needs to be closed."""
    block = heap.allocate(1000)
    gone = weakref.ref(block)
    del block
    assert gone() is None
    assert 0 == blocks_of(heap)


def test_a_thousand_lives_of_one_block_each_have_their_own_handle(heap: Heap) -> None:
    """An old handle never opens a later life (trap 6)."""
    handles = set()
    for number in range(1000):
        with heap.allocate(64) as block:
            block.array[:] = number % 256
            block.seal()
            handles.add(block.handle)
            with heap.open(block.handle) as other:
                assert number % 256 == other[5]
    assert 1000 == len(handles)
    with heap.allocate(64) as block:
        block.seal()
        for handle in handles:
            with pytest.raises(StaleHandleError):
                heap.open(handle)
        assert 1 == blocks_of(heap)


def test_a_copy_is_whole_or_stale_and_needs_no_row(name: str) -> None:
    """A read-only opener copies, and cannot hold."""
    with Heap.create(name, "1 MiB") as heap, Heap.open(name, readonly=True) as reader:
        block = heap.allocate(300 * KIB)
        block.array[:] = 7
        block.seal()
        assert b"\7" * 300 * KIB == reader.read(block.handle)
        for call in (lambda: reader.open(block.handle), lambda: reader.allocate(1), reader.collect):
            with pytest.raises(PermissionError, match="read-only"):
                call()
        assert 1 == reader.stats()["blocks"]
        handle = block.handle
        block.release()
        with pytest.raises(StaleHandleError):
            reader.read(handle)
        heap.unlink()


# ---- room ----------------------------------------------------------------------------------------


def test_full_says_who_holds_how_much_and_what_would_fit(heap: Heap) -> None:
    """By default nobody waits."""
    kept = [heap.allocate(300 * KIB) for _ in range(3)]
    with pytest.raises(Full, match=rf"process {os.getpid()} .* has 3 blocks") as full:
        heap.allocate(300 * KIB)
    assert ("room", 300 * KIB) == (full.value.cause, full.value.needed)
    assert full.value.largest_free == heap.stats()["largest_free"] < 300 * KIB
    assert [(os.getpid(), 3)] == [(holder.pid, holder.blocks) for holder in full.value.holders]
    assert full.value.holders == pickle.loads(pickle.dumps(full.value)).holders
    kept.pop()
    heap.allocate(300 * KIB)


def test_blocks_run_out_before_the_bytes(heap: Heap) -> None:
    """And come back (trap 33)."""
    kept = [heap.allocate(1) for _ in range(256)]
    with pytest.raises(Full, match="all its 256 blocks") as full:
        heap.allocate(1)
    assert "blocks" == full.value.cause
    del kept[10]
    heap.allocate(1)
    kept.clear()
    assert heap.nbytes == heap.stats()["largest_free"]
    heap.allocate(heap.max_block).release()


def test_one_that_waits_for_room_gets_it_when_another_thread_releases(heap: Heap) -> None:
    """Rung for, or within a slice (trap 32)."""
    block = heap.allocate(heap.max_block)
    with pytest.raises(Full):
        heap.allocate(1, timeout=0.01)
    got: list[Block] = []
    thread = threading.Thread(target=lambda: got.append(heap.allocate(1, timeout=PATIENCE_S)))
    thread.start()
    block.release()
    thread.join(PATIENCE_S)
    assert 1 == len(got)


def test_a_block_lies_in_one_arena(name: str) -> None:
    """The others are used when one is full, and geometry is checked at opening."""
    with Region.create(name, "2 MiB") as region:
        heap = region.heap("h", "512 KiB", arenas=4, blocks=64)
        assert 128 * KIB == heap.max_block
        kept = [heap.allocate(100 * KIB) for _ in range(4)]
        with pytest.raises(Full):
            heap.allocate(100 * KIB)
        with pytest.raises(RecordTooLargeError, match="fewer arenas"):
            heap.allocate(200 * KIB)
        for wrong in ({"arenas": 2}, {"nbytes": "1 MiB"}, {"holders": 7}, {"blocks": 128}):
            with pytest.raises(LayoutError, match="expected"):
                region.heap("h", **wrong)
        assert region.heap("h").stats()["blocks"] == len(kept)
        assert isinstance(region["h"], Heap)
        region.unlink()


def test_memory_is_reserved_as_it_is_used_and_given_back_by_trim(name: str) -> None:
    """In steps of 2 MiB; bytes that are held stay."""
    with Heap.create(name, "8 MiB") as heap:
        path = Path(f"/dev/shm/memlane.{name}")
        before = path.stat().st_blocks * 512
        assert before < MIB
        kept, gone = heap.allocate(MIB), heap.allocate(5 * MIB)
        kept.array[:] = 3
        gone.array[:] = 4
        assert path.stat().st_blocks * 512 >= 6 * MIB
        gone.release()
        assert 4 * MIB == heap.trim()
        assert path.stat().st_blocks * 512 < 3 * MIB
        assert 0 == heap.trim()
        assert 3 * MIB == int(kept.array.sum())
        heap.allocate(5 * MIB).array[:] = 5
        heap.unlink()


# ---- pickles, loans, processes -------------------------------------------------------------------


def test_a_pickle_is_a_handle_and_holds_nothing(heap: Heap) -> None:
    """Any number of times; it seals the block."""
    block = heap.allocate(3, "i8")
    block.array[:] = (1, 2, 3)
    sent = pickle.dumps({"block": block, "id": 7})
    assert block.sealed
    for _ in range(3):
        assert [1, 2, 3] == pickle.loads(sent)["block"].array.tolist()
    block.release()
    with pytest.raises(StaleHandleError):
        pickle.loads(sent)


def test_a_loan_holds_the_block_until_its_readers_have_come(heap: Heap) -> None:
    """Then it is over; a canceled one is free at once."""
    block = heap.allocate(10)
    loan = heap.lend(block, readers=2)
    block.release()
    first, second = heap.open(loan.handle), pickle.loads(pickle.dumps(loan))
    assert (0, 0) == (loan.left, loan.cancel())
    first.release()
    second.release()
    assert 0 == blocks_of(heap)
    with pytest.raises(StaleHandleError):
        heap.open(loan.handle)

    block = heap.allocate(10)
    loans = [heap.lend(block), heap.lend(block, readers=255)]
    with pytest.raises(HoldersFullError, match="larger in_flight=") as full:
        heap.lend(block)
    assert 2 == full.value.limit
    block.release()
    assert [1, 255] == [loan.cancel() for loan in loans]
    assert 0 == blocks_of(heap)
    for readers in (0, 256):
        with pytest.raises(ValueError, match="readers"):
            heap.lend(heap.allocate(1), readers)


def test_a_loan_lasts_as_long_as_the_process_that_answers_for_it(heap: Heap) -> None:
    """The lender by default, or another participant."""
    handles: list[bytes] = []
    read_end, write_end = os.pipe()

    def lend() -> object:
        heap.region.join()
        block, to = heap.allocate(10), heap.allocate(10)
        kept = heap.lend(block), heap.lend(to, to=parent)
        os.write(write_end, kept[0].handle + kept[1].handle)
        block.release()
        to.release()
        return kept

    heap.region.join()
    parent = os.getpid()
    killed_after(lend)
    both = os.read(read_end, 48)
    handles = [both[:24], both[24:]]
    os.close(read_end)
    os.close(write_end)
    assert 1 == heap.collect()
    with pytest.raises(StaleHandleError):
        heap.open(handles[0])
    heap.open(handles[1]).release()
    assert 0 == blocks_of(heap)
    with pytest.raises(LookupError, match="has joined"):
        heap.lend(heap.allocate(1), to=1)


def test_a_child_opens_what_it_inherits_and_leaves_its_parent_what_it_has(heap: Heap) -> None:
    """Its release does not end the parent's hold, and its own hold stays (trap 10)."""
    block = heap.allocate(100)
    block.array[:] = 9
    block.seal()
    unsealed = heap.allocate(100)
    with Gate() as opened, Gate() as dropped:

        def use() -> None:
            with pytest.raises(StaleHandleError):
                memoryview(unsealed)
            view = memoryview(block)
            opened.open()
            dropped.wait()
            assert b"\t" * 100 == bytes(view)
            view.release()
            block.release()
            assert 1 == blocks_of(heap)

        with Child(use) as child:
            opened.wait()
            block.release()
            assert 2 == blocks_of(heap)
            dropped.open()
            assert 0 == child.wait()
    unsealed.array[:] = 1
    unsealed.release()
    assert 0 == blocks_of(heap)


def test_an_unrelated_process_opens_a_heap_by_its_name_and_a_block_by_its_handle(name: str) -> None:
    """And a heap that was removed and made anew is another one."""
    with Heap.create(name, "1 MiB") as heap:
        block = heap.allocate(5)
        block.seal()
        with Heap.open(name) as other:
            assert 5 == other.open(block.handle).nbytes
        heap.unlink()
    with Heap.create(name, "1 MiB") as heap:
        with pytest.raises(ValueError, match="another region"):
            heap.open(block.handle)
        heap.unlink()
    block.release()


def test_handles_of_other_heaps_and_what_is_no_handle_are_refused(heap: Heap, name: str) -> None:
    """With a typed error (trap 36)."""
    block = heap.allocate(5)
    block.seal()
    handle = bytearray(block.handle)
    with Region.create(name, "4 MiB") as region:
        one, two = region.heap("one", "64 KiB"), region.heap("two", "64 KiB")
        made = one.allocate(5)
        made.seal()
        with pytest.raises(ValueError, match="another object"):
            two.open(made.handle)
        region.remove("one")
        with pytest.raises(ClosedError, match="removed"):
            one.allocate(5)
        assert 5 == len(bytes(made))  # as long as it is held
        region.unlink()
    with pytest.raises(ValueError, match="24 bytes"):
        heap.open(handle[:23])
    for wrong in (None, "x" * 24, 5):
        with pytest.raises(TypeError, match="24 bytes"):
            heap.open(wrong)  # type: ignore[arg-type]
    handle[8:12] = (10**6).to_bytes(4, "little")  # the number of the block
    with pytest.raises(StaleHandleError):
        heap.open(handle)


def test_blocks_stay_when_the_heap_is_closed(heap: Heap) -> None:
    """The memory goes with the last view."""
    other = copy.copy(heap)
    block = other.allocate(100)
    array = block.array
    other.close()
    with pytest.raises(ClosedError):
        other.allocate(1)
    array[:] = 5
    assert 500 == int(array.sum())
    heap.close()
    assert 500 == int(array.sum())


def test_as_many_processes_hold_a_block_as_can_and_no_more(heap: Heap) -> None:
    """A dead one makes place (trap 9)."""
    block = heap.allocate(10)
    block.seal()
    with Gate() as opened:

        def hold() -> None:
            kept = heap.open(block.handle)
            opened.open()
            threading.Event().wait(PATIENCE_S)
            del kept

        def fail() -> None:
            with pytest.raises(HoldersFullError, match="larger holders="):
                heap.open(block.handle)

        with Child(hold) as first, Child(hold):
            opened.wait()
            opened.wait()
            with Child(fail) as last:
                assert 0 == last.wait()
            assert 3 == sum(holder.blocks for holder in heap.holders())
            first.kill()
            with Child(lambda: heap.open(block.handle).release()) as last:
                assert 0 == last.wait()


def test_the_next_allocation_gets_what_a_killed_process_held(heap: Heap) -> None:
    """Without anybody else running; what a stopped one holds stays (trap 31)."""

    def take() -> object:
        return [heap.allocate(100 * KIB) for _ in range(10)]

    killed_after(take)
    assert 10 == blocks_of(heap)
    heap.allocate(heap.max_block).release()
    assert 0 == blocks_of(heap)

    with Gate() as done:

        def stay() -> None:
            kept = take()
            done.open()
            threading.Event().wait(PATIENCE_S)
            del kept

        with Child(stay) as child:
            done.wait()
            child.stop()
            with pytest.raises(Full, match=f"process {child.pid} "):
                heap.allocate(heap.max_block)
            assert 0 == heap.collect()


def test_one_that_waits_for_room_gets_that_of_a_process_that_is_killed(heap: Heap) -> None:
    """Within a slice: nobody rings (trap 32)."""
    with Gate() as done:

        def stay() -> None:
            kept = heap.allocate(heap.max_block)
            done.open()
            threading.Event().wait(PATIENCE_S)
            del kept

        with Child(stay) as child:
            done.wait()
            thread = threading.Thread(target=child.kill)
            thread.start()
            heap.allocate(heap.max_block, timeout=PATIENCE_S).release()
            thread.join()


def test_a_heap_says_what_it_is(heap: Heap, name: str) -> None:
    """repr, names, help for those that guess."""
    block = heap.allocate(100)
    assert "not sealed" in repr(block)
    assert "Heap" in repr(heap)
    assert "Heap.open" in repr(heap.open)
    for wrong, hint in (("alloc", "allocate"), ("free", "release"), ("put", "allocate")):
        with pytest.raises(AttributeError, match=hint):
            getattr(heap, wrong)
    with pytest.raises(AttributeError, match="release"):
        block.free  # type: ignore[attr-defined]  # noqa: B018
    stats = heap.stats()
    assert (MIB, 256, 3, 2) == tuple(
        stats[key] for key in ("nbytes", "max_blocks", "max_holders", "max_in_flight")
    )
    assert [(os.getpid(), 1, 0)] == [
        (holder["pid"], holder["blocks"], holder["lent"]) for holder in stats["holders"]
    ]
