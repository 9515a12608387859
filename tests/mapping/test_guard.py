# SPDX-License-Identifier: MIT
"""What the SIGBUS guard promises: if a mapped file is truncated, the process lives and is told."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import memlane
from memlane import PAGE_SIZE, Counter, Mapping, Region, Ring, RoleTakenError, TruncatedError
from memlane._region import semaphores as semaphores_module
from tests.support.processes import PATIENCE_S, Child, output_of, wait_until
from tests.support.region_files import SHARED_MEMORY, mount, needs_mounts, own_mounts, semaphores
from tests.support.shared_bytes import RingBytes

PAGES = 8
NBYTES = PAGES * PAGE_SIZE
#: `make test` is content with a look; the promise is made for 30 s.
STRESS_S = float(os.environ.get("MEMLANE_GUARD_SECONDS", "2"))

#: What an unrelated program begins with: argv names a file that is mapped, then cut in half.
CUT = f"""
import ctypes, faulthandler, memlane, mmap, os, signal, sys, time
def cut(path):
    with open(path, "wb") as file:
        file.write(b"x" * {NBYTES})
    m = memlane.Mapping.open(path, "r+")
    v = memoryview(m)
    os.truncate(path, {NBYTES // 2})
    return m, v
def others():
    with open(sys.argv[1] + ".other", "w+b") as file:
        file.truncate({PAGE_SIZE})
        found = mmap.mmap(file.fileno(), {PAGE_SIZE})
        file.truncate(0)
    return found
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of eight pages of x."""
    made = tmp_path / "data"
    made.write_bytes(b"x" * NBYTES)
    return made


@pytest.fixture
def mapping(path: Path) -> Iterator[Mapping]:
    with Mapping.open(path, "r+") as made:
        yield made


def bytes_of(memory: Any) -> Any:
    """An array of what supports the buffer protocol; numpy's own annotations know only a few."""
    return np.frombuffer(memory, np.uint8)


def cut(path: Path, nbytes: int = NBYTES // 2) -> None:
    os.truncate(path, nbytes)


def is_truncated(mapping: Mapping) -> bool:
    try:
        len(mapping)
    except TruncatedError:
        return True
    return False


def program(code: str, path: Path, *args: str) -> subprocess.Popen[str]:
    """An unrelated program without faulthandler, that begins with CUT."""
    return subprocess.Popen(
        [sys.executable, "-c", CUT + code, str(path), *args],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# ---- who touches it ------------------------------------------------------------------------------

LAST = NBYTES - 1
TOUCHES: dict[str, Callable[[memoryview], Any]] = {
    "memoryview": lambda view: view[LAST],
    "bytes": lambda view: bytes(view)[LAST],
    "numpy": lambda view: int(bytes_of(view)[NBYTES // 2 :].sum()),
    "memmove": lambda view: _moved(view)[LAST],
    "a buffer that is compared": lambda view: int(view[NBYTES // 2 :] != bytes(NBYTES // 2)),
}


def _moved(view: memoryview) -> bytes:
    target = ctypes.create_string_buffer(NBYTES)
    ctypes.memmove(target, ctypes.addressof(ctypes.c_char.from_buffer(view)), NBYTES)
    return target.raw


@pytest.mark.parametrize("how", TOUCHES)
def test_what_was_cut_off_reads_as_zeros_for_any_code(
    mapping: Mapping, path: Path, how: str
) -> None:
    """The process lives, whoever reads; the next call raises TruncatedError with path and sizes."""
    with memoryview(mapping) as view:
        cut(path)

        assert 0 == TOUCHES[how](view)
        assert b"x" * (NBYTES // 2) == bytes(view[: NBYTES // 2])
    with pytest.raises(
        TruncatedError, match=r"was cut off and has 16384; .* open it again"
    ) as caught:
        mapping[0:1]
    assert (str(path), NBYTES, NBYTES // 2) == (
        caught.value.path,
        caught.value.expected,
        caught.value.found,
    )


@pytest.mark.parametrize(
    "use",
    [
        lambda m: m[:],
        lambda m: m[LAST],
        lambda m: m[::-1],
        lambda m: m.find(b"y"),
        lambda m: m.count(b"x"),
        lambda m: b"y" in m,
        lambda m: m.__setitem__(LAST, 1),
        lambda m: m.__setitem__(slice(None), bytes(NBYTES)),
    ],
    ids=["slice", "byte", "step", "find", "count", "in", "set byte", "set slice"],
)
def test_a_call_that_meets_the_hole_raises_itself(
    mapping: Mapping, path: Path, use: Callable[[Mapping], Any]
) -> None:
    """
    No call of the library returns zeros as if they were the file's bytes, or loses a write in
    silence.
    """
    cut(path)

    with pytest.raises(TruncatedError):
        use(mapping)


def test_what_is_not_touched_is_not_missed(mapping: Mapping, path: Path) -> None:
    """A file that is truncated elsewhere serves on; nothing is guessed."""
    cut(path)

    assert b"x" * 10 == mapping[:10]
    mapping[0] = 0
    assert b"\0x" == path.read_bytes()[:2]


def test_a_call_that_raises_has_written_nothing(mapping: Mapping, path: Path) -> None:
    """Once it is known that pages are lost, writes to sound ones are refused before they happen."""
    with memoryview(mapping) as view:
        cut(path)
        assert 0 == view[LAST]
    for index, value in ((0, 1), (slice(3), b"abc"), (slice(None), bytes(NBYTES))):
        with pytest.raises(TruncatedError):
            mapping[index] = value  # type: ignore[assignment,index]

    assert b"x" * (NBYTES // 2) == path.read_bytes()


def test_every_later_call_raises_until_it_is_closed(mapping: Mapping, path: Path) -> None:
    """Views, bytes, flushing and resizing are refused; closing works, and then it is closed."""
    cut(path)
    with memoryview(mapping) as view:
        assert 0 == view[LAST]
    for use in (
        lambda: memoryview(mapping),
        lambda: mapping[0],
        lambda: mapping.flush(),
        lambda: mapping.resize(PAGE_SIZE),
        lambda: mapping.protect("r"),
        lambda: mapping.__enter__(),
    ):
        with pytest.raises(TruncatedError):
            use()
    mapping.close()
    with pytest.raises(memlane.ClosedError):
        mapping[0]
    with Mapping.open(path) as again:
        assert NBYTES // 2 == len(again)


def test_a_system_call_that_is_given_the_hole_fails_with_efault(
    mapping: Mapping, path: Path
) -> None:
    """The kernel tells its caller, not the process."""
    with memoryview(mapping) as view, open(os.devnull, "wb", buffering=0):
        reading, writing = os.pipe()
        try:
            cut(path)
            with pytest.raises(OSError, match=os.strerror(errno.EFAULT)):
                os.write(writing, view[NBYTES // 2 :])
        finally:
            os.close(reading)
            os.close(writing)
    assert not is_truncated(mapping)


def test_zeros_of_the_guard_are_not_written_back(path: Path) -> None:
    """write_back raises instead of making the file whole again with bytes that it never had."""
    with Mapping.open(path, "c") as mapping:
        mapping[0] = 7
        cut(path)
        with pytest.raises(TruncatedError):
            mapping.write_back(offset=NBYTES // 2)
        with pytest.raises(TruncatedError):
            mapping.write_back()

    assert b"x" * (NBYTES // 2) == path.read_bytes()


def test_writes_to_the_hole_are_kept_from_the_file(mapping: Mapping, path: Path) -> None:
    """They go to pages of this process; the file keeps the length that it was given."""
    with memoryview(mapping) as view:
        cut(path)
        view[LAST] = 7
        assert (7, 0) == (view[LAST], view[LAST - 1])

    assert is_truncated(mapping)
    assert b"x" * (NBYTES // 2) == path.read_bytes()


@pytest.mark.parametrize("offset", [1, PAGE_SIZE, 5000])
def test_the_error_counts_in_bytes_of_the_file(path: Path, offset: int) -> None:
    """Where the mapping begins in the file is part of what the file must have."""
    with Mapping.open(path, offset=offset, nbytes=NBYTES - offset - 3) as mapping:
        cut(path, 10)
        with pytest.raises(TruncatedError) as caught:
            mapping[NBYTES - offset - 4]

    assert (NBYTES - 3, 10) == (caught.value.expected, caught.value.found)


@pytest.mark.parametrize("kind", ["r", "c", "descriptor", "shm", "memfd", "removed", "replaced"])
def test_every_kind_of_file_is_guarded(path: Path, name: str, kind: str) -> None:
    """
    Also private copies, descriptors and files that have lost their name; an unknown length is None.
    """
    fd = os.memfd_create("memlane") if kind == "memfd" else os.open(path, os.O_RDWR)
    os.ftruncate(fd, NBYTES)
    if kind == "shm":
        mapping = Mapping.shm(name, create=NBYTES)
        os.close(fd)
        fd = os.open(SHARED_MEMORY / name, os.O_RDWR)
    elif kind in ("descriptor", "memfd"):
        mapping = Mapping.from_fd(fd, "r+")
    else:
        mapping = Mapping.open(path, "c" if kind == "c" else "r")
    with mapping:
        if kind == "c":
            mapping[LAST] = 7  # this page is ours alone, but the kernel takes it away all the same
        if kind in ("removed", "replaced"):
            path.unlink()
        if kind == "replaced":
            path.write_bytes(b"another file")
        os.ftruncate(fd, 0)
        with pytest.raises(TruncatedError) as caught:
            mapping[0]
    known = kind in ("r", "c", "shm")
    assert (0 if known else None) == caught.value.found
    assert known == ("was cut off and has 0;" in str(caught.value))
    os.close(fd)
    if kind == "shm":
        (SHARED_MEMORY / name).unlink()


def test_a_file_that_is_whole_again_is_told_apart(mapping: Mapping, path: Path) -> None:
    """
    The pages that were met in the meantime are zeros all the same, and the text says what may be
    the cause.
    """
    with memoryview(mapping) as view:
        cut(path)
        assert 0 == view[LAST]
        os.truncate(path, NBYTES)

    with pytest.raises(TruncatedError, match=f"although its file has {NBYTES} bytes"):
        mapping[0]


@needs_mounts
def test_a_hole_on_a_full_disk_does_not_kill(tmp_path: Path) -> None:
    """A sparse file promises what the disk does not have: writes that find no room are told of."""

    def write() -> None:
        own_mounts()
        mount("tmpfs", tmp_path, "size=65536")
        (tmp_path / "sparse").touch()
        os.truncate(tmp_path / "sparse", 1 << 20)
        with Mapping.open(tmp_path / "sparse", "r+") as mapping:
            with memoryview(mapping) as view:
                bytes_of(view)[:] = 1
            with pytest.raises(TruncatedError, match="a hole met a full disk"):
                mapping[0]

    with Child(write) as child:
        assert 0 == child.wait()


# ---- threads and children ------------------------------------------------------------------------


def test_threads_that_fault_at_the_same_time_all_go_on(path: Path) -> None:
    """Each finds zeros; none is lost between two that repair the same page."""
    threads = 8
    for _ in range(20):
        path.write_bytes(b"x" * NBYTES)
        with Mapping.open(path, "r+") as mapping, ThreadPoolExecutor(threads) as pool:
            view = bytes_of(mapping)
            start = threading.Barrier(threads)

            def touch(view: Any = view, start: threading.Barrier = start) -> int:
                start.wait(PATIENCE_S)
                return int(view.sum())

            cut(path, 0)
            found = [task.result() for task in [pool.submit(touch) for _ in range(threads)]]
            del view, touch

            assert [0] * threads == found
            assert is_truncated(mapping)


def test_a_forked_child_is_guarded_and_its_faults_are_its_own(mapping: Mapping, path: Path) -> None:
    """Table and handler are inherited; what a child has met, the parent has not. (hazard 63)"""
    with memoryview(mapping) as view:
        cut(path)

        def touch() -> None:
            for fd in range(3, 100):
                try:
                    os.close(fd)  # the guard needs none of them
                except OSError:
                    pass
            assert 0 == view[LAST]
            assert is_truncated(mapping)

        def touch_in_a_grandchild() -> None:
            with Child(touch) as grandchild:
                assert 0 == grandchild.wait()
            assert not is_truncated(mapping)
            touch()

        with Child(touch_in_a_grandchild) as child:
            assert 0 == child.wait()
        assert not is_truncated(mapping)
        assert 0 == view[LAST]
    assert is_truncated(mapping)


def test_a_child_inherits_that_its_parent_was_told(mapping: Mapping, path: Path) -> None:
    """Zero pages and mark go together over a fork."""
    cut(path)
    with memoryview(mapping) as view:
        assert 0 == view[LAST]

    def look() -> None:
        assert is_truncated(mapping)

    with Child(look) as child:
        assert 0 == child.wait()


def test_a_mapping_kept_from_children_does_not_stand_in_for_theirs(
    path: Path, tmp_path: Path
) -> None:
    """
    At addresses that a child does not have it may map something else, which is the one that is
    marked.
    """
    with Mapping.open(path, "r+") as parents:
        parents.advise("dontfork")
        address = parents.address

        def map_there() -> None:
            (tmp_path / "other").write_bytes(b"y" * NBYTES)
            with Mapping.open(tmp_path / "other", "r+", address=address, fixed=True) as childs:
                cut(tmp_path / "other", 0)
                with pytest.raises(TruncatedError, match="other"):
                    childs[0]

        with Child(map_there) as child:
            assert 0 == child.wait()
        cut(path, 0)
        assert 0 == memoryview(parents)[0]
        assert is_truncated(parents)


# ---- the table -----------------------------------------------------------------------------------


def test_a_mapping_that_was_resized_is_guarded_where_it_is_now(path: Path, tmp_path: Path) -> None:
    """Longer, shorter, moved: the new range counts, and the old one is nobody's."""
    with Mapping.open(path, "r+") as mapping, Mapping.open(path, "r+") as stays:
        for pages in (1, 3, 512, 2):
            mapping.resize(pages * PAGE_SIZE)
        mapping.resize(64 * PAGE_SIZE)
        with memoryview(mapping) as view:
            cut(path, PAGE_SIZE)
            assert 0 == view[63 * PAGE_SIZE]

        assert is_truncated(mapping)
        assert not is_truncated(stays)


def test_any_number_of_mappings_is_guarded_each_by_itself(path: Path) -> None:
    """The table grows, and the places of closed ones serve again."""
    order = random.Random(4)
    with open(path, "rb") as file:
        mappings = [Mapping.from_fd(file) for _ in range(1500)]
        for _ in range(3):
            order.shuffle(mappings)
            for mapping in mappings[:500]:
                mapping.close()
            mappings[:500] = [Mapping.from_fd(file) for _ in range(500)]
    cut(path, 0)
    touched = mappings[::2]
    for mapping in touched:
        with memoryview(mapping) as view:
            assert 0 == view[LAST]

    assert [True, False] * 750 == [is_truncated(mapping) for mapping in mappings]
    for mapping in mappings:
        mapping.close()


@pytest.mark.parametrize("others", [0, 1])
def test_more_holes_than_the_kernel_has_mappings_for(tmp_path: Path, others: int) -> None:
    """
    Every second page of a large file: before vm.max_map_count ends it, one mapping replaces them
    all, whether the last hole leaves the count at the limit or one above.
    """
    limit = int(Path("/proc/sys/vm/max_map_count").read_text())
    if limit > 200_000:
        pytest.skip(f"vm.max_map_count is {limit}: too many pages for a test")
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 2 * (limit + 1000) * PAGE_SIZE)

    def touch() -> None:
        held = [mmap.mmap(-1, PAGE_SIZE) for _ in range(others)]
        with Mapping.open(tmp_path / "large") as mapping:
            with memoryview(mapping) as view:
                os.truncate(tmp_path / "large", 0)
                assert 0 == bytes_of(view)[:: 2 * PAGE_SIZE].sum()
            assert is_truncated(mapping)
        assert others == len(held)

    with Child(touch) as child:
        assert 0 == child.wait()


# ---- other handlers ------------------------------------------------------------------------------


def catches_sigbus() -> bool:
    caught = re.search(r"^SigCgt:\s*(\w+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert caught is not None
    return bool(int(caught.group(1), 16) >> (signal.SIGBUS - 1) & 1)


def test_the_handler_comes_with_the_first_mapping_of_a_file(path: Path) -> None:
    """Importing, private memory and memory without a file leave signals alone."""
    code = """
import re
def caught():
    return int(re.search(r"SigCgt:\\s*(\\w+)", open("/proc/self/status").read()).group(1), 16)
before = caught()
memlane.Mapping.anonymous(4096).close()
print(caught() == before, end=" ")
m, v = cut(sys.argv[1])
print(caught() == before | 1 << (signal.SIGBUS - 1))
v.release(); m.close()
"""
    assert "True True\n" == output_of(program(code, path))


def test_turned_off_the_guard_lets_sigbus_kill(path: Path) -> None:
    """
    guard() says what it was; ranges stay known, so turning it on again guards what is mapped
    already.
    """
    code = """
assert memlane.guard(False) is True
assert memlane.guard(False) is False
m, v = cut(sys.argv[1])
assert memlane.guard(True) is False
print(v[-1], flush=True)
memlane.guard(False)
print(v[-1], v[-5000])
"""
    killed = program(code, path)
    out, _ = killed.communicate(timeout=PATIENCE_S)

    assert (-signal.SIGBUS, "0\n") == (killed.returncode, out)


@pytest.mark.parametrize("how", ["mapping", "region"])
def test_what_is_new_puts_the_guard_on_top_again(path: Path, how: str) -> None:
    """A handler that came in between is below it then; new mappings see to it now and then only."""
    code = f"""
m, v = cut(sys.argv[1])
faulthandler.enable()
deadline = time.monotonic() + {PATIENCE_S}
def look():
    if sys.argv[2] == "region":
        memlane.Region.create(None, 4096).close()
    else:
        memlane.Mapping.open(sys.argv[1]).close()
first = time.clock_gettime_ns(6)  # CLOCK_MONOTONIC_COARSE
while time.clock_gettime_ns(6) == first: assert time.monotonic() < deadline
look()
print(v[-1])
"""
    assert "0\n" == output_of(program(code, path, how))


def test_a_fault_elsewhere_still_kills(path: Path) -> None:
    """A file that the standard library has mapped is not ours to mend."""
    killed = program("m, v = cut(sys.argv[1]); print(v[-1], flush=True); others()[0]", path)
    out, _ = killed.communicate(timeout=PATIENCE_S)

    assert (-signal.SIGBUS, "0\n") == (killed.returncode, out)


@pytest.mark.parametrize(
    "turns", ["", "memlane.guard(False);", "memlane.guard(False); memlane.guard(True);"]
)
def test_a_sigbus_sent_by_kill_kills(path: Path, turns: str) -> None:
    """It is no fault, so nothing is mended; the exit status is that of the signal. (hazard 64)"""
    killed = program(f"m, v = cut(sys.argv[1]); {turns} os.kill(os.getpid(), signal.SIGBUS)", path)
    killed.communicate(timeout=PATIENCE_S)

    assert -signal.SIGBUS == killed.returncode


HANDLERS = {
    "signal": "signal.signal(signal.SIGBUS, lambda *_: print('caught', flush=True))",
    "ignored": "signal.signal(signal.SIGBUS, signal.SIG_IGN); print('caught')",
    "C": """
handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: os.write(1, b"caught\\n") and None)
ctypes.CDLL(None).signal(signal.SIGBUS, handler)""",
}


@pytest.mark.parametrize("when", ["before", "after", "between"])
@pytest.mark.parametrize("how", HANDLERS)
def test_a_handler_of_others_gets_what_is_not_ours(path: Path, how: str, when: str) -> None:
    """
    Set before the first mapping or after it: a signal sent by kill reaches it, our faults do not.
    (hazard 64)
    """
    code = f"""
if {when == "before"}: {{}}
m, v = cut(sys.argv[1])
if {when == "after"}:
    {{}}
    memlane.guard(True)
if {when == "between"}:
    {{}}
    again = memoryview(m)
print(v[-1], flush=True)
os.kill(os.getpid(), signal.SIGBUS)
os.kill(os.getpid(), signal.SIGBUS)
print(v[-5000])
"""
    handler = HANDLERS[how].strip().replace("\n", "; ")
    out = output_of(program(code.format(handler, handler, handler), path))

    assert ["0", "0"] == re.findall(r"^\d$", out, re.MULTILINE)
    assert (1 if how == "ignored" else 2) == out.count("caught")


def test_a_handler_in_c_gets_the_faults_that_are_not_ours(path: Path) -> None:
    """With everything that the kernel says of them."""
    code = """
class Action(ctypes.Structure):
    _fields_ = [("handler", ctypes.c_void_p), ("mask", ctypes.c_long * 16), ("flags", ctypes.c_int)]
other = others()
address = ctypes.addressof(ctypes.c_char.from_buffer(other))
@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.c_void_p)
def handler(number, info, context):
    fault = ctypes.cast(info, ctypes.POINTER(ctypes.c_void_p))[2]
    os.write(1, b"%d %d %d\\n" % (number, info[2], fault - address))
    os._exit(42)
action = Action(ctypes.cast(handler, ctypes.c_void_p), flags=4)  # SA_SIGINFO
assert ctypes.CDLL(None).sigaction(signal.SIGBUS, ctypes.byref(action), None) == 0
m, v = cut(sys.argv[1])
print(v[-1], flush=True)
other[5]
"""
    called = program(code, path)
    out, err = called.communicate(timeout=PATIENCE_S)

    assert (42, f"0\n{signal.SIGBUS:d} 2 5\n") == (called.returncode, out), err


def test_a_handler_that_repairs_its_own_faults_goes_on_doing_so(path: Path) -> None:
    """A handler below ours that mends its own pages is asked each time, and the process lives."""
    code = f"""
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + 3 * [ctypes.c_int] + [ctypes.c_long]
theirs = [others() for _ in range(40)]
addresses = [ctypes.addressof(ctypes.c_char.from_buffer(other)) for other in theirs]
left = iter(addresses)
@ctypes.CFUNCTYPE(None, ctypes.c_int)
def handler(number):
    libc.mmap(next(left), {PAGE_SIZE}, 3, 0x32, -1, 0)
libc.signal(signal.SIGBUS, handler)
m, v = cut(sys.argv[1])
print(v[-1], [other[0] for other in theirs] == 40 * [0])
"""
    assert "0 True\n" == output_of(program(code, path))


@pytest.mark.parametrize("when", ["before", "after", "between", "again"])
def test_faulthandler_keeps_working(path: Path, when: str) -> None:
    """
    Enabled before or after: it is silent about our faults, and tells of others and of those sent by
    kill. (hazard 64)
    """
    code = f"""
if {when in ("before", "again")}: faulthandler.enable()
m, v = cut(sys.argv[1])
if {when == "after"}: faulthandler.enable(); memlane.guard(True)
if {when == "between"}: faulthandler.enable(); again = memoryview(m)
if {when == "again"}:
    faulthandler.disable()
    memlane.guard(True)
    faulthandler.enable()
    memlane.guard(True)
print(v[-1], flush=True)
if sys.argv[2] == "kill": os.kill(os.getpid(), signal.SIGBUS)
if sys.argv[2] == "SIGBUS": others()[0]
if sys.argv[2] == "SIGSEGV": ctypes.string_at(16)
"""
    for end, text in (
        ("kill", "Fatal Python error: Bus error"),
        ("SIGBUS", "Fatal Python error: Bus error"),
        ("SIGSEGV", "Fatal Python error: Segmentation fault"),
        ("well", ""),
    ):
        ended = program(code, path, end)
        out, err = ended.communicate(timeout=PATIENCE_S)
        expected = {"kill": -signal.SIGBUS, "SIGBUS": -signal.SIGBUS, "SIGSEGV": -signal.SIGSEGV}
        assert (expected.get(end, 0), "0\n") == (ended.returncode, out), (end, err)
        assert (1 if text else 0) == err.count("Fatal Python error"), (end, err)
        assert text in err


@pytest.mark.parametrize("off", ["faulthandler.disable()", "memlane.guard(False)"])
@pytest.mark.parametrize("end", ["os.kill(os.getpid(), signal.SIGBUS)", "others()[0]"])
def test_turned_off_below_another_handler_the_guard_only_passes_on(
    path: Path, off: str, end: str
) -> None:
    """
    Neither of the two can be taken out from below the other; no signal goes round in circles.
    (hazard 64)
    """
    code = f"""
m, v = cut(sys.argv[1])
faulthandler.enable()
{off}
{end}
"""
    killed = program(code, path)
    _, err = killed.communicate(timeout=PATIENCE_S)

    assert -signal.SIGBUS == killed.returncode
    assert (0 if "disable" in off else 1) == err.count("Fatal Python error: Bus error")


def test_faulthandler_disabled_below_us_is_passed_over(path: Path) -> None:
    """A fault that nobody mends ends the process, also when one below us has stopped caring."""
    code = """
m, v = cut(sys.argv[1])
faulthandler.enable()
memlane.guard(True)
faulthandler.disable()
memlane.guard(True)
print(v[-1], flush=True)
others()[0]
"""
    killed = program(code, path)
    out, _ = killed.communicate(timeout=PATIENCE_S)

    assert (-signal.SIGBUS, "0\n") == (killed.returncode, out)


def test_handlers_that_come_and_go_leave_ours_in_place(path: Path) -> None:
    """Hundreds of changes: each new view brings us back on top, and the last one set is asked."""
    code = """
m, v = cut(sys.argv[1])
found = []
for turn in range(300):
    if turn % 3 == 0: signal.signal(signal.SIGBUS, lambda *_, turn=turn: found.append(turn))
    if turn % 3 == 1: faulthandler.enable()
    if turn % 3 == 2: faulthandler.disable()
    memoryview(m).release()
signal.signal(signal.SIGBUS, lambda *_: found.append("last"))
memoryview(m).release()
print(v[-1])
os.kill(os.getpid(), signal.SIGBUS)
print(found)
"""
    assert "0\n['last']\n" == output_of(program(code, path))


# ---- guard pages ---------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", ["", "faulthandler.enable()"])
@pytest.mark.parametrize("at", [-1, NBYTES, NBYTES + PAGE_SIZE - 1])
def test_a_guard_page_that_is_hit_says_so_before_the_process_dies(
    path: Path, at: int, enabled: str
) -> None:
    """Mapping and offset are on standard error, then the SIGSEGV takes its course."""
    code = f"""
{enabled}
m = memlane.Mapping.open(sys.argv[1], "r+", guard_pages=1)
ctypes.string_at(m.address + ({at}), 1)
"""
    killed = program(code, path)
    _, err = killed.communicate(timeout=PATIENCE_S)

    assert -signal.SIGSEGV == killed.returncode
    assert (
        f"memlane: guard page touched at offset {at} of '{path}', which has {NBYTES} bytes" in err
    )
    assert bool(enabled) == ("Fatal Python error: Segmentation fault" in err)


def test_a_segfault_elsewhere_says_nothing_of_guard_pages(path: Path) -> None:
    """And a file between guard pages is guarded against being truncated like any other."""
    code = """
m = memlane.Mapping.open(sys.argv[1], "r+", guard_pages=2)
v = memoryview(m)
os.truncate(sys.argv[1], 0)
print(v[-1], flush=True)
ctypes.string_at(16)
"""
    killed = program(code, path)
    out, err = killed.communicate(timeout=PATIENCE_S)

    assert (-signal.SIGSEGV, "0\n") == (killed.returncode, out)
    assert "guard page" not in err


# ---- regions -------------------------------------------------------------------------------------


def file_of_region(name: str) -> Path:
    return SHARED_MEMORY / f"memlane.{name}"


USES: dict[str, Callable[[Region], Any]] = {
    "put": lambda region: region.ring("r").put(b"lost"),
    "put_many": lambda region: region.ring("r").put_many([b"lost", b"too"]),
    "get": lambda region: region.ring("r").get(timeout=PATIENCE_S),
    "get_many": lambda region: region.ring("r").get_many(2, timeout=PATIENCE_S),
    "borrow": lambda region: region.ring("r").borrow(timeout=PATIENCE_S),
    "get, one of many": lambda region: region.ring("m").get(timeout=PATIENCE_S),
    "borrow, one of many": lambda region: region.ring("m").borrow(timeout=PATIENCE_S),
    "reserve": lambda region: region.ring("r").reserve(8),
    "publish": lambda region: region.slot("s").publish(b"12345678"),
    "read": lambda region: region.slot("s").read(),
    "version": lambda region: region.slot("s").version,
    "add": lambda region: region.counter("c").add(1),
    "value": lambda region: region.counter("c").value,
    "list": lambda region: list(region),
    "new": lambda region: region.counter("new"),
    "participants": lambda region: region.participants(),
}


@pytest.fixture
def region(name: str) -> Iterator[Region]:
    """A region with a ring that holds a record, a slot and a counter, all used by this process."""
    with Region.create(name, "1 MiB") as made:
        ring = made.ring("r", capacity="64 KiB", producers=2)
        ring.put_many([b"zero", b"one"])
        assert ring.get() == b"zero"
        many = made.ring("m", capacity="64 KiB", producers=2, consumers="many")
        many.put_many([b"zero", b"one"])
        assert many.get() == b"zero"
        made.slot("s", 8).publish(bytes(8))
        made.counter("c").add(1)
        yield made
        made.unlink()


@pytest.mark.parametrize("use", USES)
def test_every_call_on_a_region_that_was_cut_off_raises(
    region: Region, name: str, use: str
) -> None:
    """The first one, in which it is found out, and those after it; path and sizes are told."""
    held = {
        "r": region.ring("r"),
        "m": region.ring("m"),
        "s": region.slot("s"),
        "c": region.counter("c"),
    }
    nbytes = file_of_region(name).stat().st_size
    cut(file_of_region(name), 0)

    for _ in range(2):
        with pytest.raises(TruncatedError) as caught:
            USES[use](region)
        assert (nbytes, 0) == (caught.value.expected, caught.value.found)
    for other in USES:
        with pytest.raises(TruncatedError):
            USES[other](region)
    assert 4 == len(held)


def prepared(name: str, consumers: Any, got: int, put: int) -> tuple[Ring, int]:
    """A ring of two pages of descriptors, some of them used, and where in its file they are."""
    ring = Ring.create(name, capacity="64 KiB", records=512, producers=1, consumers=consumers)
    with RingBytes(ring) as shared:
        for _ in range(got):
            ring.put(b"got")
            assert ring.get() == b"got"
        for _ in range(put):
            ring.put(b"left")
        return ring, shared.object + shared.state_at(0, 0)


@pytest.mark.parametrize("consumers", ["one", "many"])
def test_a_quick_put_into_descriptors_that_were_cut_off_is_refused(
    name: str, consumers: Any
) -> None:
    """Its own stores are the first to meet the cut; all that it looked at before is there."""
    ring, descriptors = prepared(name, consumers, 3, 1)
    with ring:
        cut(file_of_region(name), descriptors)
        with pytest.raises(TruncatedError):
            ring.put(b"")  # nothing is copied, so nothing else meets the cut
        ring.unlink()


def test_a_quick_reserve_that_met_the_cut_gives_no_room(name: str) -> None:
    """It looked for room in descriptors that are not there any more."""
    ring, descriptors = prepared(name, "one", 510, 2)
    with ring:
        assert ring.get() == b"left"
        cut(file_of_region(name), descriptors)
        with pytest.raises(TruncatedError):
            ring.reserve(8)
        ring.unlink()


def test_a_loan_that_met_the_cut_behind_its_record_is_not_lent(name: str) -> None:
    """The record's own descriptor is the last one of the page that is left."""
    ring, descriptors = prepared(name, "one", 255, 1)
    with ring:
        cut(file_of_region(name), descriptors + PAGE_SIZE)
        with pytest.raises(TruncatedError):
            ring.borrow()
        ring.unlink()


def test_a_region_that_was_cut_off_can_be_closed_and_unlinked(name: str) -> None:
    """And its name serves again."""
    ring = Ring.create(name, capacity="64 KiB")
    ring.put(b"record")
    cut(file_of_region(name), 0)
    with pytest.raises(TruncatedError):
        ring.get()
    ring.close()
    ring.unlink()

    assert not file_of_region(name).exists()
    with Ring.create(name, capacity="64 KiB") as again:
        again.put(b"new")
        assert b"new" == again.get()
        again.unlink()


@pytest.mark.parametrize("nbytes", [0, PAGE_SIZE])
def test_closing_a_region_may_be_the_first_to_meet_the_cut(name: str, nbytes: int) -> None:
    """It gives back what it has, finds nothing there, and is closed all the same."""
    with Ring.create(name, capacity="64 KiB") as ring:
        ring.put(b"record")
        cut(file_of_region(name), nbytes)
    ring.unlink()

    assert ring.region.closed
    assert not file_of_region(name).exists()


def test_a_put_under_way_does_not_report_success(name: str) -> None:
    """The room was there when it was reserved, and is truncated while it is filled. (hazard 61)"""
    with Ring.create(name, capacity="64 KiB") as ring:
        room = ring.reserve(40_000)
        view = bytes_of(room)
        cut(file_of_region(name), 0)
        view[:] = 1
        del view
        with pytest.raises(TruncatedError):
            room.commit()
        with pytest.raises(TruncatedError):
            ring.put(b"next")
        ring.unlink()


def test_a_record_on_loan_is_not_read_as_zeros_in_silence(region: Region, name: str) -> None:
    """numpy sees zeros, for it does not ask; the record itself raises, and can be released."""
    record = region.ring("r").borrow()
    view = bytes_of(record)
    cut(file_of_region(name), 0)
    assert [0, 0, 0] == view.tolist()
    del view
    for use in (lambda: record[0], lambda: memoryview(record)):
        with pytest.raises(TruncatedError):
            use()
    record.release()


@pytest.mark.parametrize("index", [0, -1, slice(0, 1)])
def test_the_look_at_a_record_that_meets_the_cut_raises(
    region: Region, name: str, index: Any
) -> None:
    """Not the one after it: a single item is checked after it was read, too."""
    with region.ring("r").borrow() as record:
        cut(file_of_region(name), 0)
        with pytest.raises(TruncatedError):
            record[index]


@pytest.mark.parametrize("wait", ["adaptive", "sleep"])
def test_a_call_that_waits_is_told(name: str, wait: Any) -> None:
    """
    A get without a timeout, a put into a full ring and a wait_newer end with the error, not never.
    """
    with Region.create(name, "2 MiB") as region, ThreadPoolExecutor(3) as pool:
        empty = region.ring("empty", capacity="64 KiB", wait=wait)
        full = region.ring("full", capacity=PAGE_SIZE, records=4, wait=wait)
        slot = region.slot("slot", 8)
        slot.publish(bytes(8))
        full.put_many([b"x"] * 4)
        started = threading.Barrier(4)

        def waiting(call: Callable[[], object]) -> object:
            started.wait(PATIENCE_S)
            return call()

        tasks = [
            pool.submit(waiting, empty.get),
            pool.submit(waiting, lambda: full.put(b"y")),
            pool.submit(waiting, lambda: slot.wait_newer(1)),
        ]
        started.wait(PATIENCE_S)
        cut(file_of_region(name), 0)
        for task in tasks:
            with pytest.raises(TruncatedError):
                task.result(timeout=PATIENCE_S)
        region.unlink()


def test_whoever_meets_the_cut_lets_go_of_its_row_and_others_take_over(name: str) -> None:
    """
    Only the end of the file is gone. The one that touches it loses the whole region and its row;
    the consumer's role that it held in the sound part can be taken by others. (hazard 61)
    """
    reading, writing = os.pipe()
    with Region.create(name, "2 MiB") as region:
        sound = region.ring("sound", capacity="64 KiB", producers=1)
        region.ring("cut", capacity="512 KiB", producers=1)
        sound.put(b"record")
        end = file_of_region(name).stat().st_size
        middle = next(e[2] + e[3] // 2 for e in region._member.entries() if e[0] == "cut")

        def meet() -> None:
            with Region.open(name) as mine:
                ring = mine.ring("cut")
                ring.put(b"x")
                loan = mine.ring("sound").borrow()
                assert b"record" == bytes(loan[:])
                os.write(writing, b"1")
                wait_until(lambda: file_of_region(name).stat().st_size < end)
                with pytest.raises(TruncatedError):
                    ring.put_many([bytes(1000)] * 600, timeout=PATIENCE_S)
                os.write(writing, b"2")
                signal.pause()  # alive, and without a row

        with Child(meet) as child:
            assert b"1" == os.read(reading, 1)
            with pytest.raises(RoleTakenError):
                sound.get(timeout=0)
            cut(file_of_region(name), middle)
            assert b"2" == os.read(reading, 1)

            assert os.getpid() in {one.pid for one in region.participants()}
            assert child.pid not in {one.pid for one in region.participants()}
            assert b"record" == sound.get(timeout=PATIENCE_S)
        region.unlink()
    os.close(reading)
    os.close(writing)


def maps_of(path: Path) -> list[str]:
    """The lines of /proc/self/maps that lead to a file, whatever it is called by now."""
    inode = str(path.stat().st_ino)
    lines = Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if line.split()[4] == inode]


def test_the_first_fault_replaces_the_whole_region(tmp_path: Path) -> None:
    """
    Words of a region that agree with each other never come half from the file and half from
    nowhere: pages that the file still has are zeros, too, once one that it has lost was touched.
    """
    path = tmp_path / "whole.lane"
    with Region.create(path, "4 MiB") as region:
        region.ring("sound", capacity="64 KiB")
        at = region.counter("lost")._region._find("lost")[2]  # type: ignore[index]
        begin = at // PAGE_SIZE * PAGE_SIZE
        assert [] != maps_of(path)
        cut(path, begin)

        with pytest.raises(TruncatedError):
            region.counter("lost").add(1)

        assert [] == maps_of(path)
        region.unlink()


def flags_at(address: int) -> set[str]:
    """The VmFlags of what is mapped at an address, and its size in bytes."""
    found: set[str] = set()
    is_there = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)
        if head:
            is_there = int(head[1], 16) <= address < int(head[2], 16)
        elif is_there and line.startswith("VmFlags:"):
            found = set(line.split()[1:])
    return found


def test_a_region_larger_than_memory_is_replaced_whole(tmp_path: Path) -> None:
    """
    Private pages are not counted before they are touched, so ENOMEM does not end the process, and
    nothing of the file is left in it. (hazard 62)
    """
    path = tmp_path / "large.lane"
    with Region.create(path, "256 GiB") as region:
        counter = region.counter("c")
        counter.add(1)
        [line] = maps_of(path)
        cut(path, 0)

        with pytest.raises(TruncatedError):
            counter.add(1)

        strict = Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
        if not strict:  # which counts such pages, too: one page at a time then
            assert [] == maps_of(path)
            assert "nr" in flags_at(int(line.split("-")[0], 16))
        region.unlink()


def test_opening_a_region_that_is_cut_off_meanwhile_raises(name: str) -> None:
    """Whatever an opener is doing when the file goes: it lives, and gets an error of ours."""
    stop = threading.Event()

    def cutting() -> None:
        while not stop.is_set():
            try:
                with Region.create(name, "64 KiB") as made:
                    time.sleep(0)
                    cut(file_of_region(name), 0)
                    made.unlink()
            except (TruncatedError, memlane.MemlaneError, OSError):
                pass

    def opening() -> None:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            try:
                with Region.open(name) as found:
                    found.counter("c").add(1)
            except (memlane.MemlaneError, OSError, KeyError):
                pass

    with Child(opening) as child:
        thread = threading.Thread(target=cutting)
        thread.start()
        status = child.wait()
        stop.set()
        thread.join()
    file_of_region(name).unlink(missing_ok=True)
    assert 0 == status


def test_semaphores_that_were_cut_off_make_the_process_poll(name: str) -> None:
    """
    A doorbell without a file is none: no crash in a post, and records arrive all the same. (hazard
    33)
    """
    with Ring.create(name, capacity="64 KiB", wait="sleep") as ring, ThreadPoolExecutor(1) as pool:
        for text in (b"before", b"after", b"later"):
            getting = pool.submit(ring.get, timeout=PATIENCE_S)
            wait_until(lambda: int(ring.stats()["records"]) == 0)
            ring.put(text)
            assert text == getting.result()
            if text == b"before":
                found = semaphores(ring.region._member.region_id)
                assert found
                for path in found.values():
                    os.truncate(path, 0)
        ring.unlink()


def test_many_threads_meet_the_cut_of_a_region_at_once(name: str) -> None:
    """Each gets the error, and the mapping is replaced once."""
    threads = 8
    with Region.create(name, "4 MiB") as region, ThreadPoolExecutor(threads) as pool:
        counters = [region.counter(f"c{i}") for i in range(threads)]
        start = threading.Barrier(threads)

        def count(counter: Counter) -> bool:
            start.wait(PATIENCE_S)
            try:
                while True:
                    counter.add(1)
            except TruncatedError:
                return True

        tasks = [pool.submit(count, counter) for counter in counters]
        cut(file_of_region(name), 0)

        assert [True] * threads == [task.result(timeout=PATIENCE_S) for task in tasks]
        region.unlink()


# ---- all at once ---------------------------------------------------------------------------------


def hammer(path: Path, seconds: float) -> None:
    """
    Eight threads that read and write a file which somebody cuts off, over and over: for so long,
    and until the cut was met.
    """
    met = threading.Event()

    def use(seed: int) -> None:
        chooser = random.Random(seed)
        end = time.monotonic() + seconds
        while time.monotonic() < end or not met.is_set():
            try:
                with Mapping.open(path, "r+") as mapping:
                    view = bytes_of(mapping)
                    for _ in range(chooser.randrange(20)):
                        at = chooser.randrange(len(view))
                        view[at:] += 1
                        int(view.sum())
                        mapping.find(b"\xff\xfe\xfd")
            except (TruncatedError, OSError):  # or too short to be mapped
                met.set()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))


def test_nobody_dies_while_a_file_is_cut_off_in_a_loop(path: Path) -> None:
    """
    Eight threads in each of four processes on one file; MEMLANE_GUARD_SECONDS=30 for the whole
    promise.
    """
    children = [Child(hammer, path, STRESS_S) for _ in range(4)]
    chooser = random.Random(1)
    while not all(child.has_ended() for child in children):
        os.truncate(path, chooser.choice([0, 1, PAGE_SIZE, NBYTES // 2, NBYTES]))
        time.sleep(0)
    os.truncate(path, NBYTES)

    assert [0] * 4 == [child.wait() for child in children]


def test_nobody_dies_while_regions_are_cut_off_in_a_loop(name: str, tmp_path: Path) -> None:
    """
    Rings and slots under traffic of threads and processes; processes that survive it begin anew.
    """

    def use(seconds: float) -> None:
        end = time.monotonic() + seconds

        def traffic() -> None:
            while time.monotonic() < end:
                try:
                    with Region.open_or_create(name, "1 MiB") as region:
                        (tmp_path / f"{region._member.region_id}").touch()
                        ring = region.ring("r", capacity="64 KiB", producers=8)
                        slot = region.slot("s", 64)
                        for _ in range(200):
                            ring.put(bytes(3000), timeout=0.01)
                            slot.publish(bytes(64))
                            slot.read()
                            ring.get(timeout=0.01)
                except (memlane.MemlaneError, OSError, KeyError, ValueError):
                    time.sleep(0)

        threads = [threading.Thread(target=traffic) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    children = [Child(use, STRESS_S) for _ in range(3)]
    end = time.monotonic() + STRESS_S
    while time.monotonic() < end:
        try:
            nbytes = file_of_region(name).stat().st_size
            os.truncate(file_of_region(name), random.choice([0, PAGE_SIZE, nbytes // 2]))
            time.sleep(0.02)
            file_of_region(name).unlink()
        except FileNotFoundError:
            pass

    assert [0] * 3 == [child.wait() for child in children]
    file_of_region(name).unlink(missing_ok=True)
    for region_id in os.listdir(tmp_path):
        semaphores_module.remove_set(int(region_id))
