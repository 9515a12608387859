# SPDX-License-Identifier: MIT
"""Calls that are refused: in words of ours whatever was passed, and as if they had not been."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import memlane
from tests.support.processes import PATIENCE_S
from tests.support.region_files import field, file_of, semaphores


class Own:
    """Something of the user's."""


@dataclasses.dataclass
class Here:
    """What calls are made on."""

    region: Any
    ring: Any
    slot: Any
    table: Any
    counter: Any
    mapping: Any
    directory: pathlib.Path


@pytest.fixture
def here(tmp_path: pathlib.Path) -> Iterator[Here]:
    with (
        memlane.Region.create(None, "1 MiB") as region,
        memlane.Mapping.anonymous(8192) as mapping,
    ):
        ring = region.ring("frames", capacity=4096, producers=2)
        slot = region.slot("pose", "d")
        ring.put(b"12345678")
        slot.publish(1.0)
        region.counter("hits").add(1)
        yield Here(
            region,
            ring,
            slot,
            region.table("sensors", 4, "d"),
            region.counter("hits"),
            mapping,
            tmp_path,
        )


# ---- in words of ours ----------------------------------------------------------------------------

#: What the interpreter, Cython or the C library says of arguments: no word of what to pass.
BARE = re.compile(
    "cannot be interpreted|expected str|Expected|not iterable|unhashable|embedded null|codec can't"
    "|too large to convert|Exceeds the limit|has no attribute|index-sized|unsupported operand"
    "|not understood|only integer scalar|takes exactly|not subscriptable|required positional"
)

ODD: list[Any] = [
    *[None, "x", b"x", 1.5, -1, True, 2**70, -(2**70), 10**5000, -(10**5000), float("nan"), 1 + 2j],
    *[[], [1], {}, (), "", "\ud800", "a\0b", "a/b", "\n", object(), Own, Own(), len],
    *[np.zeros(3), np.dtype("f4"), slice(1), memoryview(b"abc"), bytearray(2)],
]


def room(here: Here, use: Callable[[Any], object]) -> None:
    with here.ring.reserve(8) as made:
        try:
            use(made)
        finally:
            with contextlib.suppress(memlane.ClosedError):
                made.abort()


def loan(here: Here, use: Callable[[Any], object]) -> None:
    with here.ring.borrow(timeout=0) as record:
        try:
            use(record)
        finally:
            with contextlib.suppress(memlane.ClosedError):
                record.give_back()


def closed(made: Any) -> None:
    if hasattr(made, "unlink"):
        made.unlink()
    made.close()


Call = Callable[[Here, Any], object]

#: Each with one argument that is anything.
CALLS: dict[str, Call] = {
    "Ring(capacity)": lambda h, odd: closed(memlane.Ring(odd)),
    "Ring(producers)": lambda h, odd: closed(memlane.Ring(4096, producers=odd)),
    "Ring(records)": lambda h, odd: closed(memlane.Ring(4096, records=odd)),
    "Ring(consumers)": lambda h, odd: closed(memlane.Ring(4096, consumers=odd)),
    "Ring(wait)": lambda h, odd: closed(memlane.Ring(4096, wait=odd)),
    "Ring(label)": lambda h, odd: closed(memlane.Ring(4096, label=odd)),
    "Region.create(nbytes)": lambda h, odd: closed(memlane.Region.create(None, odd)),
    "Region.create(permissions)": lambda h, odd: closed(
        memlane.Region.create(None, 4096, permissions=odd)
    ),
    "Region.open(name)": lambda h, odd: memlane.Region.open(odd),
    "Region.open_or_create(name)": lambda h, odd: closed(
        memlane.Region.open_or_create(f"{h.directory.name}-{odd}" if odd == "x" else odd, -1)
    ),
    "Slot.create(layout)": lambda h, odd: closed(memlane.Slot.create(None, odd)),
    "Slot.create(copies)": lambda h, odd: closed(memlane.Slot.create(None, "d", copies=odd)),
    "Slot.create(watchers)": lambda h, odd: closed(memlane.Slot.create(None, "d", watchers=odd)),
    "Slot.create(writers)": lambda h, odd: closed(memlane.Slot.create(None, "d", writers=odd)),
    "SlotTable.create(slots)": lambda h, odd: closed(memlane.SlotTable.create(None, odd, "d")),
    "region[name]": lambda h, odd: h.region[odd],
    "region[name] = 1": lambda h, odd: h.region.__setitem__(odd, 1),
    "region.ring(name)": lambda h, odd: h.region.ring(odd),
    "region.ring(producers)": lambda h, odd: h.region.ring("frames", producers=odd),
    "region.slot(writers)": lambda h, odd: h.region.slot("pose", writers=odd),
    "region.slot(layout)": lambda h, odd: h.region.slot("pose", odd),
    "region.table(writers)": lambda h, odd: h.region.table("none", None, "d", writers=odd),
    "region.counter(timeout)": lambda h, odd: h.region.counter("hits", timeout=odd),
    "region.remove(name)": lambda h, odd: h.region.remove(odd),
    "ring.put(record)": lambda h, odd: h.ring.producer().put(odd, timeout=0),
    "ring.put_many(records)": lambda h, odd: h.ring.put_many(odd, timeout=0),
    "ring.get_many(most)": lambda h, odd: h.ring.get_many(odd, timeout=0),
    "ring.get_into(buffer)": lambda h, odd: h.ring.get_into(odd, timeout=0),
    "ring.reserve(nbytes)": lambda h, odd: h.ring.reserve(odd, timeout=0).abort(),
    "ring.records(until)": lambda h, odd: h.ring.records(until=odd),
    "room.write(data)": lambda h, odd: room(h, lambda made: made.write(odd)),
    "room.write(offset)": lambda h, odd: room(h, lambda made: made.write(b"", odd)),
    "room.commit(nbytes)": lambda h, odd: room(h, lambda made: made.commit(odd)),
    "room.array(shape)": lambda h, odd: room(h, lambda made: made.array(odd)),
    "room.array(dtype)": lambda h, odd: room(h, lambda made: made.array((), odd)),
    "room[index]": lambda h, odd: room(h, lambda made: made[odd]),
    "room[index] = 1": lambda h, odd: room(h, lambda made: made.__setitem__(odd, 1)),
    "room[0] = value": lambda h, odd: room(h, lambda made: made.__setitem__(0, odd)),
    "record.array(shape)": lambda h, odd: loan(h, lambda record: record.array(odd, "u1")),
    "record.array(dtype)": lambda h, odd: loan(h, lambda record: record.array((), odd)),
    "record[index]": lambda h, odd: loan(h, lambda record: record[odd]),
    "slot.read_into(buffer)": lambda h, odd: h.slot.read_into(odd),
    "slot.wait_newer(version)": lambda h, odd: h.slot.wait_newer(odd, timeout=0),
    "table[index]": lambda h, odd: h.table[odd],
    "counter.add(amount)": lambda h, odd: h.counter.add(odd),
    "counter -= amount": lambda h, odd: h.counter.__isub__(odd),
    "counter.exchange(value)": lambda h, odd: h.counter.exchange(odd),
    "counter.compare_exchange(expected)": lambda h, odd: h.counter.compare_exchange(odd, 1),
    "counter.compare_exchange(new)": lambda h, odd: h.counter.compare_exchange(0, odd),
    "counter.max(value)": lambda h, odd: h.counter.max(odd),
    "Mapping.anonymous(nbytes)": lambda h, odd: closed(memlane.Mapping.anonymous(odd)),
    "Mapping.anonymous(name)": lambda h, odd: closed(memlane.Mapping.anonymous(4096, name=odd)),
    "Mapping.anonymous(guard_pages)": lambda h, odd: closed(
        memlane.Mapping.anonymous(4096, guard_pages=odd)
    ),
    "Mapping.anonymous(protection)": lambda h, odd: closed(
        memlane.Mapping.anonymous(4096, protection=odd)
    ),
    "Mapping.memfd(name)": lambda h, odd: closed(memlane.Mapping.memfd(4096, name=odd)),
    "Mapping.open(path)": lambda h, odd: memlane.Mapping.open(odd),
    "Mapping.create(path)": lambda h, odd: memlane.Mapping.create(odd, 0),
    "Mapping.create(nbytes)": lambda h, odd: memlane.Mapping.create(h.directory, odd),
    "Mapping.shm(name)": lambda h, odd: memlane.Mapping.shm(odd),
    "Mapping.from_fd(fd)": lambda h, odd: closed(memlane.Mapping.from_fd(odd, nbytes=1)),
    "mapping.advise(advice)": lambda h, odd: h.mapping.advise(odd),
    "mapping.protect(protection)": lambda h, odd: h.mapping.protect(odd),
    "mapping.flush(offset)": lambda h, odd: h.mapping.flush(odd),
    "mapping.flush(nbytes)": lambda h, odd: h.mapping.flush(0, odd),
    "mapping[index]": lambda h, odd: h.mapping[odd],
    "mapping[index] = 1": lambda h, odd: h.mapping.__setitem__(odd, 1),
    "mapping[0] = value": lambda h, odd: h.mapping.__setitem__(0, odd),
    "windows(path)": lambda h, odd: next(memlane.windows(odd)),
    "sweep(names)": lambda h, odd: memlane.sweep(odd, dry_run=True) if odd is not None else None,
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_whatever_is_passed_is_refused_in_words_of_ours(here: Here, call: Call) -> None:
    """A value that does not fit is named, with what fits; nothing of the interpreter's own."""
    bare = []
    for odd in ODD:
        try:
            call(here, odd)
        except Exception as error:
            if BARE.search(str(error)) or not str(error) or "\n" in str(error):
                bare.append(f"{type(odd).__name__}: {type(error).__name__}: {error}")
    assert [] == bare


def test_windows_over_a_descriptor_are_refused_before_it_is_touched(
    tmp_path: pathlib.Path,
) -> None:
    """Python takes a number for an open file, whose end would be the end of a look at it."""
    with open(tmp_path / "empty", "w+b") as file:
        with pytest.raises(TypeError, match=r"path must be a str, bytes or os\.PathLike, got"):
            memlane.windows(file.fileno())  # type: ignore[arg-type]
        file.write(b"still open")
        file.flush()
        assert 10 == os.stat(file.fileno()).st_size


def test_several_names_to_sweep_are_no_text() -> None:
    """The letters of a name may be names, too."""
    with pytest.raises(TypeError, match=r"must be a list of names.*got 'robot'; pass \['robot'\]"):
        memlane.sweep("robot", dry_run=True)


# ---- as if it had not been made ------------------------------------------------------------------


def state(region: memlane.Region) -> dict[str, Any]:
    """All of a region and of this process that a call could leave something in."""
    gc.collect()
    path = file_of(region)
    return {
        "objects": region._member.entries(),
        "count": field(path, "count"),
        "memory": os.stat(path).st_blocks,
        "nbytes": os.stat(path).st_size,
        "handles": region._member.handles,
        "semaphores": sorted(semaphores(region._member.region_id)),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "roles": len(region._member.roles),
    }


#: What is refused in a region that has a ring "frames", a slot "pose", and not much room.
ADDS: dict[str, Callable[[Any], object]] = {
    "ring too large": lambda region: region.ring("new", capacity="1 MiB"),
    "ring no size": lambda region: region.ring("new", capacity="1 MB"),
    "ring no room for records": lambda region: region.ring("new", capacity=4096, records=0),
    "ring too many producers": lambda region: region.ring("new", capacity=4096, producers=1001),
    "ring no producer": lambda region: region.ring("new", capacity=4096, producers=0),
    "ring unknown consumers": lambda region: region.ring("new", capacity=4096, consumers="two"),
    "ring unknown wait": lambda region: region.ring("new", capacity=4096, wait="idle"),
    "ring unknown option": lambda region: region.ring("new", capacity=4096, blocks=1),
    "ring no timeout": lambda region: region.ring("new", capacity=4096, timeout="1s"),
    "ring no capacity": lambda region: region.ring("new", producers=1),
    "ring name taken": lambda region: region.ring("pose", capacity=4096),
    "ring other geometry": lambda region: region.ring("frames", capacity="64 KiB"),
    "ring other consumers": lambda region: region.ring("frames", consumers="many"),
    "ring name too long": lambda region: region.ring("n" * 64, capacity=4096),
    "ring name empty": lambda region: region.ring("", capacity=4096),
    "ring name no text": lambda region: region.ring(b"new", capacity=4096),
    "ring name no UTF-8": lambda region: region.ring("\ud800", capacity=4096),
    "ring name with NUL": lambda region: region.ring("a\0b", capacity=4096),
    "slot too large": lambda region: region.slot("new", 1 << 20),
    "slot far too large": lambda region: region.slot("new", 1 << 33),
    "slot no layout": lambda region: region.slot("new"),
    "slot no format": lambda region: region.slot("new", "f8"),
    "slot objects": lambda region: region.slot("new", object),
    "slot odd copies": lambda region: region.slot("new", "d", copies=3),
    "slot too many watchers": lambda region: region.slot("new", "d", watchers=65),
    "slot unknown writers": lambda region: region.slot("new", "d", writers="two"),
    "slot unknown writers of one there": lambda region: region.slot("pose", writers="two"),
    "slot other writers": lambda region: region.slot("pose", writers="many"),
    "slot other layout": lambda region: region.slot("pose", "3d"),
    "slot other copies": lambda region: region.slot("pose", copies=8),
    "table too large": lambda region: region.table("new", 1 << 20, "d"),
    "table no slots": lambda region: region.table("new", 0, "d"),
    "table unknown writers": lambda region: region.table("new", None, "d", writers="two"),
    "table is a slot": lambda region: region.table("pose", 1, "d"),
    "table layout only": lambda region: region.table("new", None, "d"),
    "counter is a slot": lambda region: region.counter("pose"),
    "counter name too long": lambda region: region.counter("é" * 32),
    "counter unknown option": lambda region: region.counter("new", start=5),
}


@pytest.mark.parametrize("backing", ["memfd", "named"])
@pytest.mark.parametrize("add", ADDS.values(), ids=ADDS.keys())
def test_an_object_that_is_refused_leaves_nothing_behind(
    add: Callable[[Any], object], backing: str, name: str
) -> None:
    """Neither in the directory, nor in memory, nor among descriptors and semaphores."""
    with memlane.Region.create(name if backing == "named" else None, "256 KiB") as region:
        region.ring("frames", capacity=4096, producers=1).put(b"")
        region.slot("pose", "d").publish(1.0)
        before = state(region)
        with pytest.raises(Exception) as caught:
            add(region)
        assert isinstance(caught.value, (TypeError, ValueError, KeyError))
        assert before == state(region)
        region.counter("new").add(1)  # and the name is free
        region.unlink()


#: What is refused when a region is made; `name` is free.
CREATES: dict[str, Callable[[str], object]] = {
    "Ring.create no size": lambda name: memlane.Ring.create(name, capacity="1 MB"),
    "Ring.create unknown wait": lambda name: memlane.Ring.create(name, wait="idle"),  # type: ignore[arg-type]
    "Ring.create permissions": lambda name: memlane.Ring.create(name, permissions=0o1777),
    "Ring.create unknown option": lambda name: memlane.Ring.create(name, label="x"),  # type: ignore[call-arg]
    "Ring.create too large": lambda name: memlane.Ring.create(name, capacity="33 GiB"),
    "Ring.open_or_create owner": lambda name: memlane.Ring.open_or_create(name, producers=0),
    "Region.create no room": lambda name: memlane.Region.create(name, 0),
    "Region.create anonymous": lambda name: memlane.Region.create(name, 4096, anonymous=True),
    "Region.create label": lambda name: memlane.Region.create(name, 4096, label="x"),
    "Region.open_or_create permissions": lambda name: memlane.Region.open_or_create(
        name, 4096, permissions=-1
    ),
    "Slot.create layout": lambda name: memlane.Slot.create(name, object),
    "Slot.create label": lambda name: memlane.Slot.create(name, "d", label="x"),
    "Slot.create too large": lambda name: memlane.Slot.create(name, 1 << 33),
    "SlotTable.create no memory": lambda name: memlane.SlotTable.create(name, 1 << 20, 1 << 32),
    "SlotTable.create slots": lambda name: memlane.SlotTable.create(name, 0, "d"),
    "Counter.create permissions": lambda name: memlane.Counter.create(name, permissions=True),
    "Counter.open_or_create permissions": lambda name: memlane.Counter.open_or_create(
        name,
        permissions="rw",  # type: ignore[arg-type]
    ),
    "Mapping.shm permissions": lambda name: memlane.Mapping.shm(name, create=1, permissions=-1),
    "Mapping.shm protection": lambda name: memlane.Mapping.shm(
        name,
        create=1,
        protection="rwz",  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("create", CREATES.values(), ids=CREATES.keys())
def test_a_region_that_is_refused_leaves_nothing_behind(
    create: Callable[[str], object], name: str
) -> None:
    """No file, no semaphore, no descriptor; the name is free."""
    gc.collect()
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises((TypeError, ValueError, OSError)):
        create(name)

    gc.collect()
    assert before == sorted(os.listdir("/proc/self/fd"))
    assert [] == [it for it in os.listdir("/dev/shm") if name in it]
    with memlane.Counter.create(name) as made:
        made.unlink()


@pytest.mark.parametrize("what", ["Ring", "Slot", "Region"])
def test_a_name_that_is_taken_costs_nothing(what: str, name: str) -> None:
    """The holder goes on; the second one leaves nothing."""
    makes: dict[str, Callable[[], Any]] = {
        "Ring": lambda: memlane.Ring.create(name),
        "Slot": lambda: memlane.Slot.create(name, "d"),
        "Region": lambda: memlane.Region.create(name, "64 KiB"),
    }
    with memlane.Ring.create(name, capacity=4096) as ring:
        ring.put(b"there")
        before = state(ring.region)
        with pytest.raises(memlane.RegionExistsError):
            makes[what]()
        assert before == state(ring.region)
        assert b"there" == ring.get()
        ring.unlink()


# ---- under the options of the interpreter --------------------------------------------------------


@pytest.mark.parametrize(
    "options", [("-W", "error"), ("-O",), ("-OO",), ("-X", "dev", "-W", "error"), ("-b",)]
)
def test_a_sound_program_says_nothing_whatever_the_interpreter_is_asked_for(
    options: tuple[str, ...], name: str
) -> None:
    """No stray warning and nothing that is checked by assert alone."""
    program = f"""
import copy, dataclasses, gc, multiprocessing, os, pickle, memlane, memlane.cli
import numpy as np

@dataclasses.dataclass
class Pose:
    x: float

with memlane.Region.create({name!r}, "4 MiB") as region:
    with region.ring("frames", capacity=4096, producers=2, consumers="many") as ring:
        ring.put_many([b"1", b"2"])
        with ring.reserve(8) as room:
            room.array((2,), "f4")[:] = 1
        with ring.producer() as tx, ring.consumer() as rx:
            tx.put(b"x")
            assert rx.get() == b"1"
        with ring.borrow() as record:
            record.array((1,), "u1")
        try: ring.get_many(8); ring.get_nowait()
        except memlane.Empty: pass
        try: ring.put("text")
        except TypeError: pass
        pickle.loads(pickle.dumps(ring)).close()
        copy.copy(ring).close()
    for layout in ("2d", 100, np.float32, np.dtype([("a", "f4")]), Pose):
        with region.slot(str(layout)[:40], layout) as slot:
            slot.stats()
    with region.slot("pose", Pose) as slot:
        slot.publish(Pose(1.0)); slot.read(); slot.wait_newer(0)
    with region.table("table", 3, "d") as table:
        table[1].publish(1.0); table.read_all()
    with region.counter("hits") as counter:
        counter += 1
    region.remove("table")
    region.stats(); region.participants()
    child = os.fork()
    if child == 0:
        region.counter("hits").add(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    region.unlink()
for made in (memlane.Ring(), memlane.Slot.create(None, "d"), memlane.Counter.create(None),
             memlane.SlotTable.create(None, 2, "d"), memlane.Mapping.anonymous(4096)):
    made.close()
    repr(made)
with memlane.Mapping.memfd(4096) as mapping:
    mapping[:4] = b"abcd"; mapping.find(b"c"); mapping.resize(8192)
try: memlane.Ring.open({name!r})
except memlane.RegionNotFoundError: pass
del made, table, slot, counter, ring, region
gc.collect()
left = [it for it in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + it)]
print(sorted(map(int, left)))
"""
    ran = subprocess.run(
        [sys.executable, *options, "-c", program],
        # threads of numpy's: Python 3.12 and later warn of a fork beside them
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert "" == ran.stderr
    assert "[0, 1, 2]\n" == ran.stdout
