# SPDX-License-Identifier: MIT
"""include/memlane.h and libmemlane.so: beside Python, with threads, and with peers that die."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from ctypes import byref, c_char_p, c_int, c_int64, c_size_t, c_uint64, c_void_p
from pathlib import Path
from typing import Self

import pytest

import memlane
from memlane import Ring
from tests import ROOT
from tests.support.processes import PATIENCE_S
from tests.support.region_files import SHARED_MEMORY, semaphores, set_field

pytestmark = pytest.mark.machine

HEADER = (ROOT / "include" / "memlane.h").read_text()
CODES = {name: int(code) for name, code in re.findall(r"(MLANE_\w+) = (0|-\d+),", HEADER)}
FUNCTIONS = re.findall(r"^MLANE_API [\w ]+?\*?(mlane_\w+)\(", HEADER, re.MULTILINE)
FOREVER, NOW = -1, 0
PATIENCE_NS = int(PATIENCE_S * 1e9)
NUMBER = struct.Struct("=q")


class RingOptions(ctypes.Structure):
    _fields_ = (
        ("capacity", c_uint64),
        ("producers", ctypes.c_uint32),
        ("many_consumers", ctypes.c_uint32),
        ("records", c_uint64),
    )


class SlotOptions(ctypes.Structure):
    _fields_ = (
        ("nbytes", c_uint64),
        ("copies", ctypes.c_uint32),
        ("many_writers", ctypes.c_uint32),
    )


def loaded() -> ctypes.CDLL:
    library = ctypes.CDLL(memlane.get_library(), use_errno=True)
    library.mlane_error_text.restype = c_char_p
    library.mlane_version.restype = c_char_p
    library.mlane_ring_max_record.restype = c_size_t
    library.mlane_slot_nbytes.restype = c_size_t
    p, n, t = c_void_p, c_size_t, c_int64
    library.mlane_open.argtypes = (c_char_p, ctypes.c_uint, p)
    library.mlane_open_descriptor.argtypes = (c_int, ctypes.c_uint, p)
    library.mlane_create.argtypes = (c_char_p, c_uint64, ctypes.c_uint, p)
    library.mlane_ring_open.argtypes = (p, c_char_p, p)
    library.mlane_ring_create.argtypes = (p, c_char_p, p, p)
    library.mlane_ring_put.argtypes = (p, c_char_p, n, t)
    library.mlane_ring_get.argtypes = (p, p, n, p, t)
    library.mlane_ring_shutdown.argtypes = (p, c_int)
    library.mlane_slot_open.argtypes = (p, c_char_p, p)
    library.mlane_slot_create.argtypes = (p, c_char_p, p, p)
    library.mlane_slot_publish.argtypes = (p, c_char_p, n, p)
    library.mlane_slot_read.argtypes = (p, p, n, p)
    library.mlane_slot_wait_newer.argtypes = (p, c_uint64, p, n, p, t)
    library.mlane_counter_open.argtypes = (p, c_char_p, p)
    library.mlane_counter_create.argtypes = (p, c_char_p, p)
    library.mlane_counter_value.argtypes = (p, p)
    library.mlane_counter_add.argtypes = (p, t, p)
    library.mlane_counter_exchange.argtypes = (p, t, p)
    library.mlane_counter_compare_exchange.argtypes = (p, t, t, p)
    for name in FUNCTIONS:
        if not getattr(library, name).argtypes and name not in ("mlane_version",):
            getattr(library, name).argtypes = (c_int,) if name.endswith("text") else (p,)
    return library


LIB = loaded()


class C:
    """A region as a program in C has it."""

    def __init__(self, name: str, nbytes: int | None = None) -> None:
        self.region = c_void_p()
        if nbytes is None:
            code = LIB.mlane_open(name.encode(), 0, byref(self.region))
        else:
            code = LIB.mlane_create(name.encode(), nbytes, 0o600, byref(self.region))
        assert code == 0, LIB.mlane_error_text(code)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        LIB.mlane_close(self.region)

    def open(self, kind: str, name: str, options: ctypes.Structure | None = None) -> c_void_p:
        made = c_void_p()
        verb = "open" if options is None and kind != "counter" else "create"
        more = [] if options is None else [byref(options)]
        code = getattr(LIB, f"mlane_{kind}_{verb}")(self.region, name.encode(), *more, byref(made))
        assert code == 0, LIB.mlane_error_text(code)
        return made


def get(ring: c_void_p, timeout: int = PATIENCE_NS, room: int = 4096) -> bytes | int:
    buffer, nbytes = ctypes.create_string_buffer(room), c_size_t()
    code: int = LIB.mlane_ring_get(ring, buffer, room, byref(nbytes), timeout)
    return buffer.raw[: nbytes.value] if code == 0 else code


def put(ring: c_void_p, record: bytes, timeout: int = PATIENCE_NS) -> int:
    code: int = LIB.mlane_ring_put(ring, record, len(record), timeout)
    return code


# ---- the library ---------------------------------------------------------------------------------


def test_what_leaves_the_library_is_what_the_header_declares_each_with_its_version() -> None:
    """A name keeps its version, so that a program finds the function it was linked with."""
    said = subprocess.run(
        ["nm", "-D", "--defined-only", memlane.get_library()],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    names = [line.split()[-1] for line in said.splitlines() if " T " in line]

    assert sorted(names) == sorted(f"{name}@@MEMLANE_1" for name in FUNCTIONS)


def test_each_function_and_each_code_has_its_place_on_the_page() -> None:
    """docs/c.md is the reference."""
    page = (ROOT / "docs" / "c.md").read_text()

    assert [] == [name for name in FUNCTIONS if f"### {name}" not in page]
    assert [] == [name for name in CODES if f"`{name}`" not in page]


def test_each_code_has_a_text_and_an_unknown_one_too() -> None:
    """Those of the system are those of strerror."""
    texts = [LIB.mlane_error_text(code) for code in CODES.values()]

    assert len(set(texts)) == len(CODES)
    assert os.strerror(errno.ENOENT).encode() == LIB.mlane_error_text(-errno.ENOENT)
    assert b"an unknown error" == LIB.mlane_error_text(5) == LIB.mlane_error_text(-999999)
    assert memlane.__version__.encode() == LIB.mlane_version()


def test_pkg_config_tells_where_header_and_library_are() -> None:
    """Relative to the file, wherever the package lies."""
    folder = Path(memlane.get_library()).parent
    said = (folder / "pkgconfig" / "memlane.pc").read_text()

    assert "prefix=${pcfiledir}/../.." in said
    assert f"Version: {memlane.__version__}" in said
    assert (folder.parent / "include" / "memlane.h").read_text() == HEADER
    assert Path(memlane.get_include()) == folder.parent / "include"


# ---- beside Python -------------------------------------------------------------------------------


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_records_cross_in_both_directions(name: str, consumers: str) -> None:
    """Whole, in order, once; a buffer that is too small leaves the record where it is."""
    with memlane.Region.create(name, "1 MiB") as region, C(name) as c:
        to_c = region.ring("to", capacity=4096, producers=1, consumers=consumers)  # type: ignore[arg-type]
        from_c = region.ring("from", capacity=4096, producers=1, consumers=consumers)  # type: ignore[arg-type]
        getting, putting = c.open("ring", "to"), c.open("ring", "from")
        to_c.put_many([b"", b"x" * 1000])
        assert b"" == get(getting)
        assert CODES["MLANE_TOO_LARGE"] == get(getting, room=10)
        assert b"x" * 1000 == get(getting)
        assert CODES["MLANE_EMPTY"] == get(getting, NOW)
        assert CODES["MLANE_EMPTY"] == get(getting, 1000)
        assert [0, 0] == [put(putting, it) for it in (b"", b"y" * 1000)]
        assert [b"", b"y" * 1000] == from_c.get_many(9, timeout=0)
        assert CODES["MLANE_TOO_LARGE"] == put(putting, b"z" * 5000)
        assert LIB.mlane_ring_max_record(putting) == from_c.max_record
        while put(putting, b"z" * 1000, NOW) == 0:
            pass
        assert CODES["MLANE_FULL"] == put(putting, b"z" * 1000, 1000)
        assert 0 == LIB.mlane_ring_shutdown(putting, 1)
        assert CODES["MLANE_SHUT_DOWN"] == put(putting, b"late")
        with pytest.raises(memlane.ShutDown):
            from_c.get(timeout=0)
        to_c.shutdown()
        assert CODES["MLANE_SHUT_DOWN"] == get(getting)
        for ring in (getting, putting):
            LIB.mlane_ring_close(ring)
        region.unlink()


def test_what_c_makes_python_opens_and_nothing_is_left_behind(name: str) -> None:
    """A region, a ring, a slot and a counter; unlinked by C with all semaphores."""
    with C(name, 1 << 20) as c:
        ring = c.open("ring", "frames", RingOptions(5000, 2, 1, 0))
        slot = c.open("slot", "pose", SlotOptions(16))
        hits = c.open("counter", "hits")
        version, value = c_uint64(), c_int64()
        assert [0, 0] == [put(ring, b"first"), put(ring, b"second")]
        assert 0 == LIB.mlane_slot_publish(slot, struct.pack("=2d", 1.5, 2.5), 16, byref(version))
        assert (1, 0) == (version.value, LIB.mlane_counter_add(hits, 3, byref(value)))
        with memlane.Region.open(name) as region:
            assert ["frames", "pose", "hits"] == list(region)
            frames = region.ring("frames", capacity=8192, producers=2, consumers="many")
            assert [b"first", b"second"] == frames.get_many(9, timeout=0)
            assert (1.5, 2.5) == struct.unpack("=2d", region.slot("pose").read())
            assert region.slot("pose").age is not None
            assert 3 == region.counter("hits").value
            assert os.getpid() in [it.pid for it in region.participants() if it.alive]
            region_id = region._member.region_id
            assert {} != semaphores(region_id)
        for kind, handle in (("ring", ring), ("slot", slot), ("counter", hits)):
            getattr(LIB, f"mlane_{kind}_close")(handle)
        assert -errno.EEXIST == LIB.mlane_create(name.encode(), 4096, 0o600, byref(c_void_p()))
        assert 0 == LIB.mlane_unlink(c.region)
    assert {} == semaphores(region_id)
    assert name not in memlane.Region.names()


def test_a_region_has_its_private_header_aligned_as_the_shared_one(name: str) -> None:
    """The compiler counts on it; memory of malloc is aligned to 16 bytes alone."""
    with memlane.Region.create(name, "64 KiB") as region:
        opened = [C(name) for _ in range(4)]
        assert [0] * 4 == [(it.region.value or 1) % 512 for it in opened]
        for it in opened:
            LIB.mlane_close(it.region)
        region.unlink()


def test_a_slot_is_read_waited_for_and_has_one_writer(name: str) -> None:
    """In both directions; a reader of Python that waits is woken by C."""
    with memlane.Region.create(name, "1 MiB") as region, C(name) as c:
        pose = region.slot("pose", "q")
        slot = c.open("slot", "pose")
        buffer, version = ctypes.create_string_buffer(8), c_uint64()
        read = (slot, buffer, 8, byref(version))
        assert CODES["MLANE_EMPTY"] == LIB.mlane_slot_read(*read)
        assert CODES["MLANE_WRONG_LENGTH"] == LIB.mlane_slot_read(slot, buffer, 7, None)
        pose.publish((7,))
        assert (0, 1) == (LIB.mlane_slot_read(*read), version.value)
        assert (7,) == NUMBER.unpack(buffer.raw)
        assert CODES["MLANE_ROLE_TAKEN"] == LIB.mlane_slot_publish(slot, NUMBER.pack(8), 8, None)
        waiting = (slot, 1, buffer, 8, byref(version))
        assert CODES["MLANE_EMPTY"] == LIB.mlane_slot_wait_newer(*waiting, 1000)
        publisher = threading.Thread(target=pose.publish, args=((9,),))
        publisher.start()
        assert (0, 2) == (LIB.mlane_slot_wait_newer(*waiting, PATIENCE_NS), version.value)
        publisher.join()
        pose.close()
        got: list[object] = []
        with region.slot("pose") as watched:
            watcher = threading.Thread(
                target=lambda: got.append(watched.wait_newer(2, timeout=PATIENCE_S))
            )
            watcher.start()
            assert 0 == LIB.mlane_slot_publish(slot, NUMBER.pack(10), 8, None)
            watcher.join()
        assert [((10,), 3)] == got
        LIB.mlane_slot_close(slot)
        region.unlink()


def test_a_counter_is_changed_by_each_of_its_verbs(name: str) -> None:
    """The same word as in Python."""
    with memlane.Region.create(name, "64 KiB") as region, C(name) as c:
        hits, counter = region.counter("hits"), c.open("counter", "hits")
        value, done = c_int64(), c_int()
        assert (0, 5) == (LIB.mlane_counter_add(counter, 5, byref(value)), hits.value)
        assert (0, 5) == (LIB.mlane_counter_exchange(counter, 1, byref(value)), value.value)
        swap = LIB.mlane_counter_compare_exchange
        assert (0, 0) == (swap(counter, 9, 2, byref(done)), done.value)
        assert (0, 1) == (swap(counter, 1, 2, byref(done)), done.value)
        assert (0, 2) == (LIB.mlane_counter_value(counter, byref(value)), value.value)
        region.remove("hits")
        assert CODES["MLANE_REMOVED"] == LIB.mlane_counter_add(counter, 1, None)
        assert CODES["MLANE_REMOVED"] == LIB.mlane_counter_value(counter, byref(value))
        LIB.mlane_counter_close(counter)
        region.unlink()


def test_what_cannot_be_opened_is_said_by_its_code(name: str) -> None:
    """And the handle that is asked for stays as it was."""
    made = c_void_p()
    assert -errno.ENOENT == LIB.mlane_open(name.encode(), 0, byref(made))
    assert -errno.EINVAL == LIB.mlane_open(name.encode(), 8, byref(made))
    with memlane.Region.create(name, "64 KiB") as region:
        region.counter("hits")
        with C(name) as c:
            opened = LIB.mlane_ring_open
            assert CODES["MLANE_OTHER_KIND"] == opened(c.region, b"hits", byref(made))
            assert -errno.ENOENT == opened(c.region, b"nothing", byref(made))
            wanted = byref(RingOptions(1 << 20, 4, 0, 0))
            made_ring = LIB.mlane_ring_create(c.region, b"large", wanted, byref(made))
            assert CODES["MLANE_NO_SPACE"] == made_ring
            slot = c.open("slot", "pose", SlotOptions(8))
            again = LIB.mlane_slot_create(c.region, b"pose", byref(SlotOptions(9)), byref(made))
            assert CODES["MLANE_OTHER_GEOMETRY"] == again
            LIB.mlane_slot_close(slot)
        reader = c_void_p()
        assert 0 == LIB.mlane_open(name.encode(), 1, byref(reader))
        counter = c_void_p()
        assert 0 == LIB.mlane_counter_open(reader, b"hits", byref(counter))
        assert -errno.EACCES == LIB.mlane_counter_add(counter, 1, None)
        assert 0 == LIB.mlane_counter_value(counter, byref(c_int64()))
        LIB.mlane_close(reader)  # the counter keeps the region
        assert 0 == LIB.mlane_counter_value(counter, byref(c_int64()))
        LIB.mlane_counter_close(counter)
        set_field(SHARED_MEMORY / f"memlane.{name}", "layout_version", 9)
        assert CODES["MLANE_NEWER"] == LIB.mlane_open(name.encode(), 0, byref(made))
        set_field(SHARED_MEMORY / f"memlane.{name}", "layout_version", 1)
        region.unlink()
    assert not made


# ---- threads -------------------------------------------------------------------------------------


def test_threads_share_one_handle(name: str) -> None:
    """Each record that four threads put comes to one of four threads that get, in order of each."""
    threads, each = 4, 500
    got: list[list[bytes]] = [[] for _ in range(threads)]
    failed: list[int] = []

    def putting(number: int, ring: c_void_p) -> None:
        failed.extend(
            code for at in range(each) if (code := put(ring, struct.pack("=2q", number, at)))
        )

    def getting(number: int, ring: c_void_p) -> None:
        while isinstance(record := get(ring), bytes):
            got[number].append(record)
        failed.append(record)

    with C(name, 1 << 20) as c:
        ring = c.open("ring", "ring", RingOptions(4096, 1, 0, 16))
        same = c.open("ring", "ring")
        assert ring.value == same.value
        senders = [threading.Thread(target=putting, args=(n, ring)) for n in range(threads)]
        receivers = [threading.Thread(target=getting, args=(n, same)) for n in range(threads)]
        for thread in (*senders, *receivers):
            thread.start()
        for thread in senders:
            thread.join()
        assert 0 == LIB.mlane_ring_shutdown(ring, 0)
        for thread in receivers:
            thread.join()
        LIB.mlane_ring_close(ring)
        LIB.mlane_ring_close(same)
        assert 0 == LIB.mlane_unlink(c.region)

    assert [CODES["MLANE_SHUT_DOWN"]] * threads == failed
    numbers = [[struct.unpack("=2q", it) for it in records] for records in got]
    assert sorted(it for found in numbers for it in found) == [
        (n, at) for n in range(threads) for at in range(each)
    ]
    for found in numbers:
        for sender in range(threads):
            of_sender = [at for number, at in found if number == sender]
            assert of_sender == sorted(of_sender)


def test_a_put_that_waits_keeps_nobody_from_getting(name: str) -> None:
    """And a put of another thread that will not wait is told at once that the ring is full."""
    with C(name, 1 << 20) as c:
        ring = c.open("ring", "ring", RingOptions(4096, 1, 0, 1))
        assert 0 == put(ring, b"first")
        codes: list[int] = []
        waiting = threading.Thread(target=lambda: codes.append(put(ring, b"second")))
        waiting.start()
        assert {CODES["MLANE_FULL"]} == {put(ring, b"third", NOW) for _ in range(1000)}
        assert b"first" == get(ring)
        assert b"second" == get(ring)
        waiting.join()
        assert [0] == codes
        LIB.mlane_ring_close(ring)
        assert 0 == LIB.mlane_unlink(c.region)


# ---- the example, and peers that die -------------------------------------------------------------


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """examples/c/squares.c, built as docs/c.md says, without warnings."""
    made: Path = tmp_path_factory.mktemp("c") / "squares"
    library = Path(memlane.get_library())
    strict = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    where = [f"-I{memlane.get_include()}", f"-Wl,-rpath,{library.parent}"]
    source = ROOT / "examples" / "c" / "squares.c"
    compiler = os.environ.get("CC", "cc").split()
    subprocess.run([*compiler, *strict, source, *where, library, "-o", made], check=True)
    return made


@pytest.fixture
def rings(name: str) -> Iterator[tuple[memlane.Region, Ring, Ring]]:
    with memlane.Region.create(name, "1 MiB") as region:
        numbers = region.ring("numbers", capacity=4096, producers=1, records=64)
        yield region, numbers, region.ring("squares", capacity=4096, producers=2, records=64)
        region.unlink()


def test_the_example_works_between_two_ends_in_python(
    squares: Path, name: str, rings: tuple[memlane.Region, Ring, Ring]
) -> None:
    """More than the rings hold, so that each side waits for the other."""
    region, numbers, results = rings
    worker = subprocess.Popen([squares, name])

    def feed() -> None:
        for number in range(1000):
            numbers.put(NUMBER.pack(number))
        numbers.shutdown()

    feeder = threading.Thread(target=feed)
    feeder.start()
    found = [NUMBER.unpack(record)[0] for record in results]
    feeder.join()

    assert [n * n for n in range(1000)] == found
    assert 0 == worker.wait(timeout=PATIENCE_S)
    assert 1000 == region.counter("done").value
    assert 999 == NUMBER.unpack(region.slot("latest").read())[0]


def test_a_worker_that_is_killed_loses_what_it_had_in_hand_and_nobody_hangs(
    squares: Path, name: str, rings: tuple[memlane.Region, Ring, Ring]
) -> None:
    """Its successor takes lane and role over, and goes on behind it."""
    region, numbers, results = rings
    kills, each, found = 5, 100, list[int]()
    collector = threading.Thread(
        target=lambda: found.extend(NUMBER.unpack(record)[0] for record in results)
    )
    collector.start()
    for life in range(kills):
        worker = subprocess.Popen([squares, name])
        for number in range(life * each, (life + 1) * each):
            numbers.put(NUMBER.pack(number))
        worker.kill()
        worker.wait()
    worker = subprocess.Popen([squares, name])
    numbers.shutdown()
    assert 0 == worker.wait(timeout=PATIENCE_S)
    collector.join()

    assert found == sorted(set(found))
    assert set(found) <= {n * n for n in range(kills * each)}
    assert kills * each - kills <= len(found)
    assert [os.getpid()] == [it.pid for it in region.participants() if it.alive]


def test_python_that_dies_is_followed_by_c(
    squares: Path, name: str, rings: tuple[memlane.Region, Ring, Ring]
) -> None:
    """A producer is killed in the middle; C gets what it had put, and what comes next."""
    _region, _numbers, results = rings
    code = f"""
import os, signal, struct, memlane
ring = memlane.Region.open({name!r}).ring("numbers")
for number in range(10):
    ring.put(struct.pack("=q", number))
ring.reserve(8)
os.kill(os.getpid(), signal.SIGKILL)
"""
    worker = subprocess.Popen([squares, name])
    subprocess.run([sys.executable, "-c", code], check=False)
    found = [NUMBER.unpack(results.get(timeout=PATIENCE_S))[0] for _ in range(10)]
    with memlane.Region.open(name) as again:
        successor = again.ring("numbers")
        successor.put(NUMBER.pack(11))
        found.append(NUMBER.unpack(results.get(timeout=PATIENCE_S))[0])
        successor.shutdown()
    assert [n * n for n in range(10)] + [121] == found
    assert 0 == worker.wait(timeout=PATIENCE_S)
