# SPDX-License-Identifier: MIT
"""What `Mapping` promises: every kind of memory, any offset, no crash, errors that help."""

from __future__ import annotations

import ctypes
import errno
import gc
import inspect
import io
import mmap
import os
import pickle
import random
import resource
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
import uuid
import warnings
import weakref
from collections.abc import Callable, Iterator
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memlane
from memlane import PAGE_SIZE, ClosedError, Mapping, _core
from tests.support.processes import PATIENCE_S


@pytest.fixture
def shm_name() -> Iterator[str]:
    """A free name of shared memory; what a test leaves under it is an error."""
    name = f"memlane-test-{uuid.uuid4().hex}"
    yield name
    assert not os.path.lexists(f"/dev/shm/{name}"), "left behind"


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """Three pages and a bit, no two aligned words alike."""
    path = tmp_path / "data.bin"
    path.write_bytes(b"".join(i.to_bytes(4, "big") for i in range((3 * PAGE_SIZE + 100) // 4)))
    return path


KINDS: dict[str, Callable[[Path], Mapping]] = {
    "shared": lambda path: Mapping.anonymous(PAGE_SIZE),
    "private": lambda path: Mapping.anonymous(PAGE_SIZE, private=True),
    "no reserve": lambda path: Mapping.anonymous(PAGE_SIZE, no_reserve=True),
    "memfd": lambda path: Mapping.memfd(PAGE_SIZE),
    "file r+": lambda path: Mapping.open(path, "r+"),
    "file c": lambda path: Mapping.open(path, "c"),
    "new file": lambda path: Mapping.create(path.with_name("new.bin"), PAGE_SIZE),
    "/dev/zero": lambda path: Mapping.open("/dev/zero", "r+", nbytes=PAGE_SIZE),
    "any offset": lambda path: Mapping.open(path, "r+", offset=PAGE_SIZE + 3, nbytes=PAGE_SIZE + 7),
}


@pytest.fixture(params=KINDS, ids=str)
def mapping(request: pytest.FixtureRequest, data_file: Path) -> Iterator[Mapping]:
    """Each kind of memory that can be written."""
    with KINDS[request.param](data_file) as made:
        yield made


def in_child(what: Callable[[], object]) -> int:
    """Run in a forked child: 0 if it returned, 1 if it raised, -signal if it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            what()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def in_python(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, *options, "-c", program], capture_output=True, text=True, check=False
    )


def array_of(mapping: Mapping) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """A view; numpy's stubs for 3.11 know no buffers but the standard library's."""
    return np.frombuffer(mapping, np.uint8)


def descriptors() -> set[int]:
    """All that are open now (without the one that lists them)."""
    return {
        int(name)
        for name in os.listdir("/proc/self/fd")
        if os.path.lexists(f"/proc/self/fd/{name}")
    }


# ---- bytes ---------------------------------------------------------------------------------------


def test_every_kind_of_memory_gives_back_what_was_written(mapping: Mapping) -> None:
    """Items, slices and views are the same bytes."""
    mapping[0:5] = b"HOWDY"
    mapping[-1] = 255
    view = memoryview(mapping)

    assert b"HOWDY" == mapping[:5] == bytes(view[:5]) == array_of(mapping)[:5].tobytes()
    assert 255 == mapping[len(mapping) - 1] == view[-1]
    assert len(mapping) == mapping.nbytes == view.nbytes == len(view)


def test_slices_agree_with_bytes_for_any_start_stop_and_step() -> None:
    """Reading a slice is what `bytes` would give; writing one is what `bytearray` would do."""
    chance = random.Random(1)
    with Mapping.anonymous(61) as m:
        m[:] = bytes(range(61))
        copy = bytearray(range(61))
        for _ in range(2000):
            ends = [chance.choice([None, chance.randint(-80, 80)]) for _ in range(2)]
            step = chance.choice([None, 1, 2, 7, 90, -1, -2, -7, -90])
            part = slice(ends[0], ends[1], step)
            assert bytes(copy)[part] == m[part]
            value = chance.randbytes(len(copy[part]))
            copy[part] = value
            m[part] = value
            assert bytes(copy) == m[:]


def test_reversing_in_place_does_not_read_what_it_has_just_written() -> None:
    """A stepped assignment from a view of the mapping itself takes the old bytes."""
    with Mapping.anonymous(8) as m:
        m[:] = b"ABCDEFGH"
        with memoryview(m) as view:
            m[::-1] = view
            m[2:6] = view[0:4]

        assert b"HGHGFEBA" == m[:]


def test_slice_assignment_of_another_length_is_refused_and_changes_nothing() -> None:
    """A mapping does not grow by assignment."""
    with Mapping.anonymous(16) as m:
        with pytest.raises(ValueError, match="the slice has 4 bytes but the value has 3"):
            m[0:4] = b"abc"
        with pytest.raises(ValueError, match="the slice has 0 bytes"):
            m[20:30] = b"x"

        assert bytes(16) == m[:]


@pytest.mark.parametrize(
    ("index", "value", "error"),
    [
        (16, 0, IndexError),
        (-17, 0, IndexError),
        (1 << 70, 0, IndexError),
        ("0", 0, TypeError),
        (0, 256, ValueError),
        (0, -1, ValueError),
        (0, 1 << 70, ValueError),
        (0, 1.0, TypeError),
        (0, b"x", TypeError),
        (slice(0, 4), "text", TypeError),
        (slice(0, 4), 4, TypeError),
        (slice(0, 4, 0), b"abcd", ValueError),
    ],
)
def test_wrong_items_are_refused_with_the_errors_of_bytearray(
    index: object, value: object, error: type[Exception]
) -> None:
    """Nothing is clamped or converted."""
    with Mapping.anonymous(16) as m, pytest.raises(error):
        m[index] = value  # type: ignore[call-overload]


def test_numpy_arrays_are_assigned_by_their_bytes_and_scattered_ones_refused() -> None:
    """Any contiguous buffer counts by its bytes."""
    with Mapping.anonymous(16) as m:
        m[0:16] = np.array([1.0, 2.0])

        assert [1.0, 2.0] == array_of(m).view("f8").tolist()
        with pytest.raises((BufferError, ValueError)):
            m[0:8] = np.zeros(16, "u1")[::2]
        m[0:0] = np.zeros((0, 4))


def test_find_gives_the_lowest_index_within_the_bounds() -> None:
    """`find` is that of bytes, for every pair of bounds."""
    with Mapping.anonymous(24) as m:
        m[:] = b"one two one two one two."
        copy = m[:]
        for sought in (b"one", b"two", b"", b"three", b".", copy, copy + b"x"):
            for start in (None, 0, 1, 8, 22, 24, 30, -5):
                for end in (None, 0, 3, 11, 24, 30, -1):
                    assert copy.find(sought, start, end) == m.find(sought, start, end)

        assert b"two" in m
        assert b"four" not in m
        assert ord("o") in m
        assert 0 not in m


def test_large_copies_are_whole() -> None:
    """Beyond the size at which other threads may run meanwhile, the same bytes come out."""
    data = random.Random(2).randbytes((3 << 20) + 5)
    with Mapping.anonymous("4 MiB") as m:
        m[7 : 7 + len(data)] = data

        assert data == m[7 : 7 + len(data)]
        assert 7 + len(data) - 9 == m.find(data[-9:])
        assert -1 == m.find(b"not there at all")


def test_a_mapping_is_true_and_compares_by_identity() -> None:
    """Containers are true; two mappings are never equal by accident."""
    with Mapping.anonymous(1) as m, Mapping.anonymous(1) as other:
        assert m
        assert m != other
        assert 1 == len({m, m})


# ---- sources -------------------------------------------------------------------------------------


def test_shared_anonymous_memory_is_one_for_parent_and_child() -> None:
    """What a forked child writes, the parent reads."""
    with Mapping.anonymous(PAGE_SIZE) as m, Mapping.memfd(PAGE_SIZE) as n:

        def write() -> None:
            m[0] = n[0] = 42

        assert 0 == in_child(write)
        assert (42, 42) == (m[0], n[0])


def test_private_anonymous_memory_is_a_copy_for_each() -> None:
    """What a forked child writes, the parent does not see."""
    with Mapping.anonymous(PAGE_SIZE, private=True) as m:

        def write() -> None:
            m[0] = 42

        assert 0 == in_child(write)
        assert 0 == m[0]


@pytest.mark.parametrize(
    "offset", [0, 1, 100, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE + 77]
)
@pytest.mark.parametrize("nbytes", [1, 50, PAGE_SIZE, None])
def test_any_offset_and_length_of_a_file_can_be_mapped(
    data_file: Path, offset: int, nbytes: int | None
) -> None:
    """Page boundaries are the kernel's business, not the user's."""
    whole = data_file.read_bytes()
    end = None if nbytes is None else offset + nbytes
    with Mapping.open(data_file, "r+", offset=offset, nbytes=nbytes) as m:
        assert whole[offset:end] == m[:]
        m[0] ^= 0xFF
        m[-1] ^= 0x0F
        m.flush()
        m.flush(len(m) // 2, 1, wait=False, invalidate=True)
        expected = bytearray(whole)
        expected[offset] ^= 0xFF
        expected[offset + len(m) - 1] ^= 0x0F

    assert expected == data_file.read_bytes()


def test_a_file_mapped_for_reading_cannot_be_written(data_file: Path) -> None:
    """ "r" refuses items, slices and writable views, by TypeError as `bytes` does."""
    with Mapping.open(data_file) as m:
        assert "r" == m.access
        with pytest.raises(TypeError, match="read-only; map it with access"):
            m[0] = 1
        with pytest.raises(TypeError, match="read-only"):
            m[0:2] = b"ab"
        with pytest.raises(TypeError, match="not writable"):
            ctypes.c_char.from_buffer(m)
        assert memoryview(m).readonly
        assert not array_of(m).flags.writeable


def test_copy_on_write_leaves_the_file_as_it_is(data_file: Path) -> None:
    """ "c" works on a file that may only be read, and never changes it."""
    before = data_file.read_bytes()
    data_file.chmod(0o400)
    with Mapping.open(os.fsencode(data_file), "c", offset=10) as m:
        m[:4] = b"mine"

        assert b"mine" == m[:4]
        assert str(data_file) == m.path

    assert before == data_file.read_bytes()


@pytest.mark.parametrize("umask", [0o077, 0])
def test_created_files_have_exactly_the_permissions_asked_for(tmp_path: Path, umask: int) -> None:
    """The umask has no say, and the room on the disk is really there."""
    path = tmp_path / "new.bin"
    before = os.umask(umask)
    try:
        with Mapping.create(path, "64 KiB", permissions=0o664) as m:
            found = path.stat()

            assert 0o664 == stat.S_IMODE(found.st_mode)
            assert (65536, True) == (found.st_size, found.st_blocks * 512 >= 65536)
            assert ("r+", str(path), 65536) == (m.access, m.path, len(m))
    finally:
        os.umask(before)


def test_create_in_a_missing_directory_says_what_to_make_first(tmp_path: Path) -> None:
    """The advice fits the call: not to create what cannot be created yet."""
    with pytest.raises(FileNotFoundError, match="make its directory first"):
        Mapping.create(tmp_path / "none" / "new.bin", 1)


def test_create_never_touches_what_is_there(data_file: Path) -> None:
    """An existing file is FileExistsError, with errno and path."""
    before = data_file.read_bytes()
    with pytest.raises(FileExistsError, match="open it, or remove it first") as caught:
        Mapping.create(data_file, 10)

    assert (errno.EEXIST, str(data_file)) == (caught.value.errno, caught.value.filename)
    assert before == data_file.read_bytes()


def test_posix_shared_memory_is_that_of_the_standard_library(shm_name: str) -> None:
    """`shm` and `multiprocessing.shared_memory` find each other by name."""
    with Mapping.shm(shm_name, create=PAGE_SIZE, permissions=0o640) as m:
        other = shared_memory.SharedMemory(shm_name)
        m[0:2] = b"hi"
        assert other.buf is not None
        seen = bytes(other.buf[:2])
        other.close()
        path = m.path
        assert path is not None
        mode = stat.S_IMODE(os.stat(path).st_mode)
        other_unlinked = Mapping.shm(shm_name)
        other.unlink()

        assert (b"hi", 0o640, f"/dev/shm/{shm_name}") == (seen, mode, path)
        assert ("r", b"hi") == (other_unlinked.access, other_unlinked[:2])
        other_unlinked.close()


def test_shm_create_and_open_say_when_the_name_is_taken_or_missing(shm_name: str) -> None:
    """FileExistsError and FileNotFoundError, each with its way out."""
    with pytest.raises(FileNotFoundError, match="pass create=nbytes"):
        Mapping.shm(shm_name)
    with Mapping.shm(shm_name, "r+", create="4 KiB") as m:
        try:
            with pytest.raises(FileExistsError, match="open it, or remove it first"):
                Mapping.shm(shm_name, "r+", create="4 KiB")
        finally:
            assert m.path
            os.unlink(m.path)
    for name in ("a/b", "", "x" * 300):
        with pytest.raises(ValueError, match="name must"):
            Mapping.shm(name)


def test_shm_does_not_follow_links_or_hang_on_a_pipe(shm_name: str, tmp_path: Path) -> None:
    """A squatted name is refused at once."""
    path = Path(f"/dev/shm/{shm_name}")
    target = tmp_path / "secret"
    target.write_bytes(b"secret")
    path.symlink_to(target)
    try:
        with pytest.raises(OSError, match="symbolic link"):
            Mapping.shm(shm_name)
    finally:
        path.unlink()
    os.mkfifo(path)
    try:
        with pytest.raises(OSError, match="cannot be mapped"):
            Mapping.shm(shm_name)
    finally:
        path.unlink()


def test_dev_zero_gives_memory_of_the_length_asked_for() -> None:
    """A device without an end needs a length, and then is zeros."""
    with Mapping.open("/dev/zero", "r+", nbytes=100) as m:
        assert bytes(100) == m[:]
        m[99] = 1
    with pytest.raises(ValueError, match="say how much to map with nbytes"):
        Mapping.open("/dev/zero", "r+")


def test_from_fd_leaves_the_descriptor_to_its_owner(data_file: Path) -> None:
    """The mapping outlives the descriptor, and close does not close it."""
    with data_file.open("r+b") as file:
        m = Mapping.from_fd(file, "r+", offset=1, nbytes=2)
        n = Mapping.from_fd(file.fileno(), no_reserve=True)
        n.close()
        assert 0 == file.tell()
    try:
        assert data_file.read_bytes()[1:3] == m[:]
        assert m.path is None
    finally:
        m.close()


def test_no_descriptor_stays_open_but_that_of_a_memfd(data_file: Path, shm_name: str) -> None:
    """Only a memfd cannot be found again by a name; its descriptor goes with close."""
    before = descriptors()
    with (
        Mapping.open(data_file),
        Mapping.open(data_file, "r+"),
        Mapping.open("/dev/zero", nbytes=1),
        Mapping.create(data_file.with_name("new"), 1),
        Mapping.shm(shm_name, create=1) as shm,
    ):
        assert shm.path
        os.unlink(shm.path)
        assert before == descriptors()
    with Mapping.memfd(PAGE_SIZE, name="scratch") as m:
        (mine,) = descriptors() - before
        assert "/memfd:scratch (deleted)" == os.readlink(f"/proc/self/fd/{mine}")
        assert not os.get_inheritable(mine)
        view = memoryview(m)
    assert before | {mine} == descriptors()
    del view
    assert before == descriptors()


def test_a_memfd_is_reserved_so_touching_it_cannot_fail() -> None:
    """Its blocks are there before the first touch."""
    with Mapping.memfd("1 MiB") as m:
        pages = Path("/proc/self/fd")
        links = [
            link
            for link in pages.iterdir()
            if os.path.islink(link) and "memfd:" in os.readlink(link)
        ]

        assert 1 << 20 <= max(link.stat().st_blocks * 512 for link in links)
        assert len(m) == 1 << 20


# ---- errors --------------------------------------------------------------------------------------


def test_an_empty_file_and_one_that_is_too_short_say_so(data_file: Path, tmp_path: Path) -> None:
    """Both are an OSError, for the file is at fault, and a ValueError, as with mmap."""
    empty = tmp_path / "empty"
    empty.touch()
    size = data_file.stat().st_size
    for error in (OSError, ValueError, io.UnsupportedOperation):
        with pytest.raises(error, match="cannot map an empty file"):
            Mapping.open(empty)
        with pytest.raises(error, match=f"of a file of {size} bytes"):
            Mapping.open(data_file, nbytes=size + 1)
        with pytest.raises(error, match=f"from offset {size} "):
            Mapping.open(data_file, offset=size)
        with pytest.raises(error, match="make the file longer first"):
            Mapping.open(data_file, "r+", offset=1 << 60, nbytes=1)


def test_a_missing_file_names_its_path_in_an_error_that_survives_pickling(tmp_path: Path) -> None:
    """FileNotFoundError with errno and filename."""
    with pytest.raises(FileNotFoundError, match="create it first, or check the name") as caught:
        Mapping.open(tmp_path / "none")
    again = pickle.loads(pickle.dumps(caught.value))

    assert (errno.ENOENT, str(tmp_path / "none")) == (again.errno, again.filename)


def test_a_descriptor_open_for_less_is_a_permission_error(data_file: Path) -> None:
    """Writing through a read-only descriptor, and reading through a write-only one."""
    for flags, access in ((os.O_RDONLY, "r+"), (os.O_WRONLY, "r"), (os.O_WRONLY, "c")):
        fd = os.open(data_file, flags)
        try:
            with pytest.raises(PermissionError, match=r"open for (reading|writing) only; open it"):
                Mapping.from_fd(fd, access)  # type: ignore[arg-type]
        finally:
            os.close(fd)


def test_what_cannot_be_mapped_is_refused_by_name(tmp_path: Path) -> None:
    """Directories, pipes, sockets and closed descriptors."""
    with pytest.raises(IsADirectoryError, match="path of a file in it"):
        Mapping.open(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="cannot be mapped; only regular files"):
        Mapping.open(tmp_path / "fifo")
    with socket.socket() as plug, pytest.raises(OSError, match="cannot be mapped"):
        Mapping.from_fd(plug, "r+", nbytes=1)
    for fd in os.pipe():
        with pytest.raises(OSError, match="cannot be mapped"):
            Mapping.from_fd(fd, nbytes=1)
        os.close(fd)
    with pytest.raises(OSError, match="the descriptor is not open"):
        Mapping.from_fd(-1)
    with pytest.raises(OSError, match="cannot be mapped"):
        Mapping.open("/dev/null", nbytes=1)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Mapping.anonymous(0), ValueError, "nbytes must be at least 1, got 0"),
        (lambda: Mapping.anonymous(-1), ValueError, "nbytes must be from 0"),
        (lambda: Mapping.anonymous("1 MB"), ValueError, "write 1 MiB"),
        (lambda: Mapping.anonymous(1.5), TypeError, "nbytes must be an int"),  # type: ignore[arg-type]
        (lambda: Mapping.memfd(0), ValueError, "at least 1"),
        (lambda: Mapping.memfd(1, name="x" * 250), ValueError, "at most 249 bytes"),
        (
            lambda: Mapping.open("/dev/zero", "w", nbytes=1),  # type: ignore[arg-type]
            ValueError,
            "access must be 'r', 'r\\+' or 'c'",
        ),
        (lambda: Mapping.open("/dev/zero", nbytes=0), ValueError, "at least 1"),
        (lambda: Mapping.open("/dev/zero", offset=-1, nbytes=1), ValueError, "offset must be"),
        (lambda: Mapping.open(3), TypeError, "for a descriptor use from_fd"),  # type: ignore[arg-type]
        (lambda: Mapping.create("x", 1, permissions=0o4600), ValueError, "permissions must be"),
        (lambda: Mapping.shm("x", create=0), ValueError, "create must be at least 1"),
        (lambda: Mapping(), TypeError, "made by Mapping.anonymous"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(
    make: Callable[[], object], error: type[Exception], text: str
) -> None:
    """Wrong ranges are ValueError, wrong types TypeError, each with what was expected and found."""
    with pytest.raises(error, match=text):
        make()

    assert not os.path.exists("/dev/shm/x")
    assert not os.path.exists("x")


def test_no_room_for_memory_without_a_name_says_so() -> None:
    """There is no mount to name and none to count inodes of."""
    error: Any = _core.no_room(None, 1 << 60)
    assert "cannot reserve 1152921504606846976 bytes in memory" in str(error)
    assert (errno.ENOSPC, 1 << 60, None) == (error.errno, error.need, error.mount)
    assert "in memory" in str(_core.no_room(None, 1))


@pytest.mark.parametrize("kind", ["shm", "file", "memfd"])
def test_no_room_says_need_free_and_mount_at_once_and_leaves_nothing(
    kind: str, shm_name: str, tmp_path: Path
) -> None:
    """The machine is not filled up before the answer is no."""
    need = 1 << 50
    before = os.statvfs("/dev/shm").f_bfree
    path, make = {
        "shm": (Path("/dev/shm", shm_name), lambda: Mapping.shm(shm_name, create=need)),
        "file": (tmp_path / "new.bin", lambda: Mapping.create(tmp_path / "new.bin", need)),
        "memfd": (None, lambda: Mapping.memfd(need)),
    }[kind]
    with pytest.raises(OSError, match=f"cannot reserve {need} bytes in") as caught:
        make()  # type: ignore[no-untyped-call]
    error = pickle.loads(pickle.dumps(caught.value))

    assert (errno.ENOSPC, need) == (error.errno, error.need)
    assert 0 < error.free < need
    assert f"{error.free} bytes are free" in str(error)
    assert ("--shm-size" in str(error)) == (kind == "shm")
    if path is None:
        assert error.mount is None
    else:
        assert os.path.ismount(error.mount)
        assert str(path).startswith(error.mount)
        assert not path.exists()
    assert abs(os.statvfs("/dev/shm").f_bfree - before) * PAGE_SIZE < 1 << 30


def test_a_file_that_the_kernel_refuses_to_make_so_long_is_removed_again(tmp_path: Path) -> None:
    """ulimit -f: an OSError that says so, and no half-made file."""
    path = tmp_path / "new.bin"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(OSError, match="ulimit -f allows; ask for less") as caught:
            Mapping.create(path, "2 MiB")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert errno.EFBIG == caught.value.errno
    assert not path.exists()


def test_reserving_comes_to_its_end_under_a_fast_timer() -> None:
    """Interrupted steps are tried again, however often a signal comes."""
    fired = []
    before = signal.signal(signal.SIGALRM, lambda *_: fired.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        with Mapping.memfd("16 MiB") as m:
            assert 16 << 20 == len(m)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# ---- closing -------------------------------------------------------------------------------------


def test_after_close_every_use_is_a_closed_error_and_the_facts_still_answer(
    data_file: Path,
) -> None:
    """ClosedError, which is a ValueError as for files; what describes it still answers."""
    m = Mapping.open(data_file, "r+")
    size = data_file.stat().st_size
    m.close()
    m.close()
    uses: list[Callable[[], object]] = [
        lambda: m[0],
        lambda: m[:],
        lambda: m.__setitem__(0, 1),
        lambda: m.__setitem__(slice(0, 1), b"x"),
        lambda: len(m),
        lambda: b"x" in m,
        lambda: m.find(b"x"),
        lambda: memoryview(m),
        lambda: array_of(m),
        m.flush,
        lambda: m.advise("normal"),
        lambda: m.protect("r"),
        lambda: m.resize(1),
        m.__enter__,
    ]
    for use in uses:
        with pytest.raises(ClosedError, match="is closed"):
            use()

    assert (True, size, str(data_file), "r+") == (m.closed, m.nbytes, m.path, m.access)
    assert issubclass(ClosedError, ValueError)
    assert m
    assert "closed" in repr(m)


def test_close_keeps_the_memory_until_the_last_view_is_gone() -> None:
    """Neither close nor the death of the mapping makes a view dangle."""
    with Mapping.anonymous(PAGE_SIZE) as m:
        m[:4] = b"keep"
        array = array_of(m)
        view = memoryview(m)[2:]
        (start,) = (array.__array_interface__["data"][0],)
    assert m.closed
    with pytest.raises(ClosedError):
        memoryview(m)
    del m
    gc.collect()
    assert b"keep" == array[:4].tobytes()
    array[3] = ord("s")
    del array
    assert b"es" == bytes(view[:2])
    assert is_mapped(start)
    view.release()
    assert not is_mapped(start)


def is_mapped(address: int) -> bool:
    """Whether the kernel lists a mapping at the address."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        if first <= address < last:
            return True
    return False


def test_an_exception_in_with_closes_and_goes_on() -> None:
    """`with` closes on every way out."""
    with pytest.raises(KeyError), Mapping.anonymous(1) as m:
        raise KeyError
    assert m.closed


def test_something_left_open_is_a_resource_warning() -> None:
    """It names the mapping, and the memory is given back all the same."""
    m = Mapping.anonymous(12345)
    start = array_of(m).__array_interface__["data"][0]
    with pytest.warns(
        ResourceWarning, match=r"Mapping 12345 bytes of shared memory.* was never closed"
    ):
        del m
    assert not is_mapped(start)


def test_no_warning_in_a_forked_child_or_at_exit() -> None:
    """The child did not open it, and at exit everything goes anyway."""
    done = in_python(
        """
import os, memlane
m = memlane.Mapping.anonymous(1)
if os.fork() == 0:
    del m
    os._exit(0)
os.wait()
view = memoryview(m)
""",
        "-Werror",
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_a_mapping_can_be_referred_to_weakly_and_not_pickled() -> None:
    """Pickling says what to send instead."""
    with Mapping.anonymous(1) as m:
        assert weakref.ref(m)() is m
        with pytest.raises(TypeError, match=r"send its path, or use a memlane\.Region"):
            pickle.dumps(m)


# ---- flush, advise, protect ----------------------------------------------------------------------


def test_flush_takes_any_range_and_refuses_what_is_outside(mapping: Mapping) -> None:
    """Also ranges that do not begin at a page; an empty one does nothing."""
    size = len(mapping)
    for offset, nbytes in ((0, None), (1, 1), (size, None), (size, 0), (size - 1, 1), ("1 KiB", 5)):
        mapping.flush(offset, nbytes)
        mapping.flush(offset, nbytes, wait=False)
    for offset, nbytes in ((size + 1, None), (0, size + 1), (1, size), (-1, None), (0, -1)):
        with pytest.raises(ValueError, match="must be"):
            mapping.flush(offset, nbytes)


def test_advice_is_given_by_name_and_an_unknown_one_lists_the_names() -> None:
    """The usual ones work on memory, at any offset."""
    with Mapping.anonymous(4 * PAGE_SIZE, private=True) as m:
        m[0] = m[PAGE_SIZE] = 1
        for advice in (
            "normal",
            "random",
            "sequential",
            "willneed",
            "dontdump",
            "dodump",
            "populate_write",
        ):
            m.advise(advice, 100, 5)
        m.advise("dontneed", PAGE_SIZE, PAGE_SIZE)
        assert (1, 0) == (m[0], m[PAGE_SIZE])
        with pytest.raises(
            ValueError, match=r"advice must be one of normal, .*, collapse, got 'fast'"
        ):
            m.advise("fast")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="whole pages: offset 1 is 1 bytes into"):
            m.advise("dontneed", 1)
        with pytest.raises(ValueError, match="whole pages: the range ends 1 bytes into"):
            m.advise("free", 0, 1)


def test_removing_pages_never_cuts_into_the_file_outside_the_mapping(data_file: Path) -> None:
    """A hole is made only in pages that belong to the mapping whole."""
    before = data_file.read_bytes()
    with Mapping.open(data_file, "r+", offset=100, nbytes=PAGE_SIZE) as m:
        with pytest.raises(ValueError, match="whole pages"):
            m.advise("remove")
        assert before == data_file.read_bytes()
    with Mapping.open(data_file, "r+", offset=PAGE_SIZE, nbytes=PAGE_SIZE) as m:
        m.advise("remove")
        assert bytes(PAGE_SIZE) == m[:]
    after = data_file.read_bytes()

    assert before[:PAGE_SIZE] + bytes(PAGE_SIZE) + before[2 * PAGE_SIZE :] == after
    with Mapping.memfd(100) as m:
        m[:] = b"x" * 100
        m.advise("remove")
        assert bytes(100) == m[:]


def test_advice_that_the_memory_does_not_take_is_an_os_error() -> None:
    """EINVAL in words."""
    with (
        Mapping.anonymous(PAGE_SIZE) as m,
        pytest.raises(OSError, match="this kernel or this kind of memory does not take it"),
    ):
        m.advise("free")


def test_memory_kept_from_children_is_closed_there_and_does_not_crash() -> None:
    """After dontfork a child has nothing at these addresses: ClosedError, not SIGSEGV."""
    with Mapping.anonymous(PAGE_SIZE) as m:
        m.advise("dontfork")

        def look() -> None:
            with pytest.raises(ClosedError, match="dontfork"):
                m[0]
            with pytest.raises(ClosedError, match="dontfork"):
                memoryview(m)
            # lies where the parent's memory was: closing must not unmap it
            others = [mmap.mmap(-1, PAGE_SIZE) for _ in range(50)]
            m.close()
            for other in others:
                other[0] = 1

        assert 0 == in_child(look)
        m.advise("dofork")
        assert 0 == in_child(lambda: m[0])


def test_protected_pages_refuse_the_library_and_the_rest_goes_on() -> None:
    """Exactly the pages named; reading and writing apart; taken back it is as before."""
    with Mapping.anonymous(4 * PAGE_SIZE) as m:
        m.protect("none", offset=PAGE_SIZE, nbytes=PAGE_SIZE)
        m.protect("r", 2 * PAGE_SIZE, PAGE_SIZE)
        m[0:PAGE_SIZE] = b"x" * PAGE_SIZE
        m[-1] = m[3 * PAGE_SIZE] = 7

        for use in (
            lambda: m[PAGE_SIZE],
            lambda: m[:],
            lambda: m[::-PAGE_SIZE],
            lambda: m.find(b"y"),
            lambda: m[2 * PAGE_SIZE - 1 :],
        ):
            with pytest.raises(PermissionError, match="protected from reading here"):
                use()
        assert bytes(PAGE_SIZE) == m[2 * PAGE_SIZE : 3 * PAGE_SIZE]
        assert 0 == m.find(b"x", 0, PAGE_SIZE)
        for index in (PAGE_SIZE, 2 * PAGE_SIZE - 1, 2 * PAGE_SIZE, 3 * PAGE_SIZE - 1):
            with pytest.raises(TypeError, match="protected from writing here"):
                m[index] = 1
        with pytest.raises(TypeError, match="protected from writing here"):
            m[3 * PAGE_SIZE - 1 : 3 * PAGE_SIZE + 1] = b"no"
        with pytest.raises(BufferError, match="may not be read"):
            memoryview(m)

        m.protect("r", PAGE_SIZE, PAGE_SIZE)
        with memoryview(m) as view:
            assert view.readonly
        with pytest.raises(TypeError, match="not writable"):
            ctypes.c_char.from_buffer(m)
        m.protect("rw")
        m[:] = b"y" * len(m)
        assert not memoryview(m).readonly


def test_protecting_really_tells_the_kernel() -> None:
    """A write that goes around the library is a SIGSEGV."""
    with Mapping.anonymous(PAGE_SIZE) as m:
        address = array_of(m).__array_interface__["data"][0]
        m.protect("r")
        with pytest.raises(TypeError, match="protected"):
            m[0:1] = b"x"

        def write() -> None:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
            ctypes.memset(address, 1, 1)

        assert -signal.SIGSEGV == in_child(write)


def test_rights_are_not_taken_away_under_living_views() -> None:
    """numpy would crash on its next access, so it is a BufferError that says what to release."""
    with Mapping.anonymous(2 * PAGE_SIZE) as m:
        array = array_of(m)
        for protection in ("none", "r", "rx"):
            with pytest.raises(
                BufferError, match=r"has 1 views or calls under way.*del the arrays"
            ):
                m.protect(protection, PAGE_SIZE)
        array[PAGE_SIZE] = 1
        m.protect("rw")
        del array
        m.protect("none")
        m.protect("rwx")
        m[0] = 1


def test_protect_refuses_parts_of_pages_unknown_names_and_more_than_the_mapping(
    data_file: Path,
) -> None:
    """Ends count as page boundaries, so any mapping can be protected whole."""
    with Mapping.open(data_file, offset=5, nbytes=PAGE_SIZE + 9) as m:
        m.protect("none")
        m.protect("r", nbytes=PAGE_SIZE - 5)
        m[: PAGE_SIZE - 5]
        with pytest.raises(PermissionError, match="protected from reading"):
            m[PAGE_SIZE - 5]
        m.protect("r", PAGE_SIZE - 5)
        m[:]
        with pytest.raises(ValueError, match="whole pages"):
            m.protect("none", 1)
        with pytest.raises(ValueError, match="whole pages"):
            m.protect("none", 0, 1)
        with pytest.raises(
            ValueError, match="protection must be one of none, r, w, x, rw, rx, wx, rwx, got 'q'"
        ):
            m.protect("q")  # type: ignore[arg-type]
        with pytest.raises(PermissionError, match="map it with access 'r\\+' or 'c'"):
            m.protect("rw")
        with pytest.raises(ValueError, match="offset must be at most"):
            m.protect("none", 3 * PAGE_SIZE)


# ---- resize --------------------------------------------------------------------------------------


def resizable(path: Path) -> dict[str, Callable[[], Mapping]]:
    return {
        "memfd": lambda: Mapping.memfd(PAGE_SIZE),
        "file": lambda: Mapping.create(path, PAGE_SIZE),
        "private": lambda: Mapping.anonymous(PAGE_SIZE, private=True),
    }


@pytest.mark.parametrize("kind", ["memfd", "file", "private"])
def test_resize_keeps_the_bytes_and_new_ones_are_zeros(kind: str, tmp_path: Path) -> None:
    """Up by text, down to a part of a page, up again: memory below follows."""
    path = tmp_path / "new.bin"
    with resizable(path)[kind]() as m:
        m[:] = b"x" * PAGE_SIZE
        m.resize("2 MiB")
        assert (2 << 20, 2 << 20) == (len(m), m.nbytes)
        assert b"x" * PAGE_SIZE + bytes(PAGE_SIZE) == m[: 2 * PAGE_SIZE]
        m[-1] = 1
        m.resize(100)
        assert b"x" * 100 == m[:]
        if kind == "file":
            assert 100 == path.stat().st_size
        with pytest.raises(IndexError):
            m[100]
        m.resize(100)
        m.resize(3 * PAGE_SIZE)
        assert b"x" * 100 == m[:100]
        assert bytes(3 * PAGE_SIZE - 100) == m[100:]
        with pytest.raises(ValueError, match="at least 1"):
            m.resize(0)


def test_resize_of_named_shared_memory_is_seen_by_who_opens_it_next(shm_name: str) -> None:
    """The file under the name grows."""
    with Mapping.shm(shm_name, create=PAGE_SIZE) as m:
        assert m.path
        try:
            m.resize(2 * PAGE_SIZE)
            with Mapping.shm(shm_name) as other:
                assert 2 * PAGE_SIZE == len(other)
        finally:
            os.unlink(m.path)


def test_resize_is_refused_while_views_are_alive() -> None:
    """The memory may move, so it is a BufferError until the views are gone."""
    with Mapping.memfd(PAGE_SIZE) as m:
        array = array_of(m)
        with pytest.raises(BufferError, match="del the arrays"):
            m.resize(2 * PAGE_SIZE)
        assert PAGE_SIZE == len(m) == len(array)
        del array
        m.resize(2 * PAGE_SIZE)


def test_resize_is_refused_with_the_reason_where_it_cannot_work(data_file: Path) -> None:
    """Shared memory without a file above all: the kernel would make a trap of it."""
    cases: list[tuple[Callable[[], Mapping], str]] = [
        (lambda: Mapping.anonymous(PAGE_SIZE), "kills the process; use Mapping.memfd"),
        (
            lambda: Mapping.open("/dev/zero", "r+", nbytes=PAGE_SIZE),
            "a device has the length it has",
        ),
        (lambda: Mapping.open(data_file), "map it with 'r\\+'"),
        (lambda: Mapping.open(data_file, "c"), "map it with 'r\\+'"),
    ]
    for make, reason in cases:
        with make() as m:
            size = len(m)
            for error in (OSError, ValueError):
                with pytest.raises(error, match=reason):
                    m.resize(2 * PAGE_SIZE)
            assert size == len(m)
    with (
        data_file.open("r+b") as file,
        Mapping.from_fd(file, "r+") as m,
        pytest.raises(io.UnsupportedOperation, match="no descriptor of it was kept"),
    ):
        m.resize(1)
    with Mapping.memfd(2 * PAGE_SIZE) as m:
        m.protect("r", PAGE_SIZE)
        with pytest.raises(io.UnsupportedOperation, match="protection of their own"):
            m.resize(1)


def test_resize_of_a_part_never_cuts_off_the_rest_of_the_file(data_file: Path) -> None:
    """What lies behind the mapping stays when it shrinks; the file grows only when it must."""
    before = data_file.read_bytes()
    with Mapping.open(data_file, "r+", offset=10, nbytes=50) as m:
        m.resize(20)
        assert before == data_file.read_bytes()
        m.resize(PAGE_SIZE)
        assert before[10 : 10 + PAGE_SIZE] == m[:]
        assert before == data_file.read_bytes()
        m.resize(len(before))
        assert before + bytes(10) == data_file.read_bytes()
        m.resize(len(before) - 10)
        assert before == data_file.read_bytes()


def test_resize_does_not_touch_another_file_under_the_old_name(data_file: Path) -> None:
    """Renamed or replaced: refused, nothing changed; a change of directory does not matter."""
    before = Path.cwd()
    os.chdir(data_file.parent)
    try:
        m = Mapping.open(data_file.name, "r+")
        os.chdir("/")
        m.resize(PAGE_SIZE)
        moved = data_file.rename(data_file.with_name("moved"))
        with pytest.raises(FileNotFoundError, match="still have the path it was opened by"):
            m.resize(2 * PAGE_SIZE)
        data_file.write_bytes(b"another")
        with pytest.raises(FileNotFoundError, match="another file has its name"):
            m.resize(2 * PAGE_SIZE)
        m.close()
    finally:
        os.chdir(before)

    assert (b"another", PAGE_SIZE) == (data_file.read_bytes(), moved.stat().st_size)


def test_resize_without_room_changes_nothing(tmp_path: Path) -> None:
    """Neither the mapping nor the file."""
    path = tmp_path / "new.bin"
    with Mapping.create(path, PAGE_SIZE) as m:
        m[0] = 1
        with pytest.raises(OSError, match="cannot reserve") as caught:
            m.resize(1 << 50)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
        try:
            with pytest.raises(OSError, match="ulimit -f"):
                m.resize("40 MiB")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

        assert errno.ENOSPC == caught.value.errno
        assert (PAGE_SIZE, PAGE_SIZE, 1) == (len(m), path.stat().st_size, m[0])


# ---- threads, and the rest -----------------------------------------------------------------------


def test_closing_while_other_threads_copy_is_a_closed_error_for_them_and_no_crash() -> None:
    """A copy under way finishes on mapped memory; the next one is refused."""
    for _ in range(20):
        m = Mapping.anonymous("2 MiB", private=True)
        copied = threading.Barrier(4)
        outcomes: list[str] = []

        def copy(
            m: Mapping = m, copied: threading.Barrier = copied, outcomes: list[str] = outcomes
        ) -> None:
            m[:]
            copied.wait()
            try:
                while True:
                    m[: 2 << 20] = m[:]
                    m.find(b"x")
            except ClosedError:
                outcomes.append("closed")

        threads = [threading.Thread(target=copy) for _ in range(3)]
        for thread in threads:
            thread.start()
        copied.wait()
        m.close()
        for thread in threads:
            thread.join()

        assert ["closed"] * 3 == outcomes


def test_resizing_while_other_threads_use_it_never_crashes() -> None:
    """Either it works or it is a BufferError; users see one length or the other."""
    with Mapping.memfd(PAGE_SIZE) as m:
        stop = threading.Event()
        wrong: list[int] = []

        def use() -> None:
            while not stop.is_set():
                with memoryview(m) as view:
                    if len(view) not in (PAGE_SIZE, 1 << 20):
                        wrong.append(len(view))
                    view[-1] = 1

        thread = threading.Thread(target=use)
        thread.start()
        resized = 0
        end = time.monotonic() + PATIENCE_S
        try:
            while resized < 50 and time.monotonic() < end:
                try:
                    m.resize(PAGE_SIZE if len(m) > PAGE_SIZE else 1 << 20)
                    resized += 1
                except BufferError:
                    pass
        finally:
            stop.set()
            thread.join()

        assert (50, []) == (resized, wrong)


def test_every_public_method_has_a_docstring_and_a_signature() -> None:
    """`help` and editors have something to show."""
    for name, member in inspect.getmembers(Mapping, callable):
        if not name.startswith("_"):
            assert inspect.getdoc(member)
            assert inspect.signature(member)
    assert mmap.PAGESIZE == memlane.PAGE_SIZE


def test_importing_the_library_warns_of_nothing() -> None:
    """Also with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = in_python("import memlane", "-Werror")

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
