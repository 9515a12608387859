# SPDX-License-Identifier: MIT
"""A region and its objects, sent to processes however they were started."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import pytest

from memlane import Counter, MemlaneError, Region, RegionNotFoundError, Ring
from tests.support.processes import output_of, unrelated
from tests.support.regions import furnish, made

Method = Literal["fork", "spawn", "forkserver"]
METHODS: list[Method] = ["fork", "spawn", "forkserver"]


def context_of(method: Method) -> Any:
    """Type checkers do not know that every context has Process."""
    return multiprocessing.get_context(method)


def furnished(backing: str, name: str, tmp_path: Path) -> tuple[Region, tuple[Any, ...]]:
    """A region with objects, and everything of it that pickles."""
    region = made(backing, name, tmp_path)
    furnish(region)
    ring = region.ring("frames")
    return region, (
        region,
        ring,
        ring.producer(),
        ring.consumer(),
        region.slot("pose"),
        region.table("sensors"),
        region.counter("hits"),
    )


def work(things: tuple[Any, ...]) -> None:
    """What a child does with what came to it: every handle leads to the parent's memory."""
    region, ring, producer, consumer, pose, sensors, hits = things
    assert ["frames", "pose", "sensors", "hits"] == list(region)
    assert [b"first", b"second"] == consumer.get_many(2)
    producer.put(b"from a handle")
    ring.put(b"from a ring")
    assert (1.5, 2.5) == pose.read()
    assert (7,) == sensors[1].read()
    sensors[2].publish((8,))
    hits.add(1)


def work_from(connection: Connection) -> None:
    connection.send("ready")
    while (things := connection.recv()) is not None:
        work(things)
        things[0].close()
        connection.send("done")


def check_worked(things: tuple[Any, ...]) -> None:
    ring = things[1]
    assert {b"from a handle", b"from a ring"} == set(ring.get_many(9))
    assert (8,) == things[5][2].read()
    assert 4 == things[6].value


@pytest.mark.parametrize("method", METHODS)
def test_everything_travels_as_an_argument_of_a_process(
    method: Method, name: str, tmp_path: Path
) -> None:
    """Regions, objects and role handles are passed to a child under each start method."""
    context = context_of(method)
    backings = ["named", "path", "memfd"] + (["anonymous"] if method == "fork" else [])
    for backing in backings:
        region, things = furnished(backing, name, tmp_path)
        with region:
            child = context.Process(target=work, args=(things,))
            child.start()
            child.join()
            assert 0 == child.exitcode
            check_worked(things)
            region.unlink()


@pytest.mark.parametrize("method", METHODS)
def test_everything_travels_through_a_pipe_at_any_time(
    method: Method, name: str, tmp_path: Path
) -> None:
    """Also to a child that runs already: a memfd is found through the sender."""
    context = context_of(method)
    here, there = context.Pipe()
    child = context.Process(target=work_from, args=(there,))
    child.start()
    there.close()
    assert "ready" == here.recv()
    for backing in ("named", "path", "memfd"):
        region, things = furnished(backing, name, tmp_path)
        with region:
            here.send(things)
            assert "done" == here.recv()
            check_worked(things)
            region.unlink()
    here.send(None)
    child.join()
    here.close()
    assert 0 == child.exitcode


def test_a_ring_travels_through_a_queue() -> None:
    """A multiprocessing.Queue hands a ring over like anything else."""
    context = multiprocessing.get_context("fork")
    queue = context.Queue()

    def put_into() -> None:
        with queue.get() as ring:
            ring.put(b"through a queue")

    child = context.Process(target=put_into)
    child.start()
    with Ring() as ring:
        queue.put(ring)
        assert b"through a queue" == ring.get()
        child.join()
    queue.close()
    queue.join_thread()
    assert 0 == child.exitcode


def test_within_a_process_pickling_gives_the_same_memory(region: Region) -> None:
    """There and back again: no copy of the memory, no second row, no warning."""
    furnish(region)
    rows = len(region.participants())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        again = pickle.loads(pickle.dumps(region))
        ring = pickle.loads(pickle.dumps(region.ring("frames", wait="sleep")))
        ring.put(b"third")
        again.counter("hits").add(1)
        assert region._member is again._member
        del again, ring
        gc.collect()

    assert [] == caught
    assert [b"first", b"second", b"third"] == region.ring("frames").get_many(9)
    assert 4 == region.counter("hits").value
    assert rows == len(region.participants())


def test_a_read_only_region_stays_read_only_when_it_travels(name: str) -> None:
    """What could not write here cannot write there."""
    with Region.create(name, "1 MiB") as region:
        furnish(region)
        with Region.open(name, readonly=True) as reader:
            program = unrelated(
                "import pickle, sys\n"
                "region = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
                "print(region.readonly, region.slot('pose').read())\n"
                "try:\n"
                "    region.counter('hits').add(1)\n"
                "except PermissionError:\n"
                "    print('refused')\n"
                "region.close()",
                pickle.dumps(reader).hex(),
            )
            printed = output_of(program)
        region.unlink()

    assert "True (1.5, 2.5)\nrefused\n" == printed


def test_map_anonymous_memory_under_spawn_says_what_to_do() -> None:
    """It has no name and no descriptor to pass: the error says which kind does travel."""
    for method in METHODS[1:]:
        context = context_of(method)
        with Ring(anonymous=True) as ring:
            child = context.Process(target=work, args=(ring,))
            with pytest.raises(MemlaneError, match=r"fork only; .* memfd"):
                child.start()


def test_a_region_whose_sender_has_closed_it_is_a_clear_error(name: str) -> None:
    """Neither the sender's descriptor nor a number used again by then is mistaken for it."""
    load = (
        "import pickle, sys, memlane\n"
        "try:\n"
        "    pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "except memlane.RegionNotFoundError as error:\n"
        "    print(error)"
    )
    ring = Ring()
    base, pickled = ring.region._member.base, pickle.dumps(ring).hex()
    ring.close()
    closed = output_of(unrelated(load, pickled))
    os.dup2(2, base)  # the number leads somewhere else now
    try:
        elsewhere = output_of(unrelated(load, pickled))
        with Ring() as other:
            os.dup2(other.region._member.base, base)
            another = output_of(unrelated(load, pickled))
    finally:
        os.close(base)

    assert f"cannot be opened from process {os.getpid()}" in closed
    assert closed == elsewhere == another


def test_a_named_region_arrives_though_its_sender_is_gone(name: str) -> None:
    """A name leads there without the sender; one that leads to another region by now does not."""
    pickled = output_of(
        unrelated(
            "import memlane, pickle, sys\n"
            "with memlane.Counter.create(sys.argv[1]) as counter:\n"
            "    counter.add(7)\n"
            "    print(pickle.dumps(counter).hex())",
            name,
        )
    )
    with pickle.loads(bytes.fromhex(pickled)) as counter:
        value = counter.value
        counter.unlink()
    with (
        Counter.create(name) as newer,
        pytest.raises(RegionNotFoundError, match="cannot be opened from process"),
    ):
        pickle.loads(bytes.fromhex(pickled))
    newer.unlink()

    assert 7 == value
