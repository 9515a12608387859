# SPDX-License-Identifier: MIT
"""What the kernel refuses to regions and rings is told with its reason, a path and what to do."""

from __future__ import annotations

import errno
import os
import pickle
import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from memlane import Mapping, Region, Ring
from tests.support.processes import Child
from tests.support.region_files import MS_RDONLY, MS_REMOUNT, mount, needs_mounts, own_mounts

pytestmark = pytest.mark.machine


@contextmanager
def limit(what: int, value: int) -> Iterator[None]:
    """A limit of this process, for a while."""
    before = resource.getrlimit(what)
    resource.setrlimit(what, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(what, before)


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """Have this process be able to open *count* descriptors more."""
    taken = []
    with limit(resource.RLIMIT_NOFILE, 128):
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        try:
            for _ in range(count):
                os.close(taken.pop())
            yield
        finally:
            for descriptor in taken:
                os.close(descriptor)


def anonymous() -> Ring:
    return Ring(anonymous=True)


def makers(name: str, directory: Path) -> list[Callable[[], Ring]]:
    return [
        Ring,
        anonymous,
        lambda: Ring.create(name),
        lambda: Ring.create(directory / "ring"),
    ]


def made_or_refused(make: Callable[[], Ring]) -> Ring | OSError:
    try:
        return make()
    except OSError as error:
        return error


def test_too_many_descriptors_are_said_to_be_that_at_every_step(name: str, tmp_path: Path) -> None:
    """
    However far a ring had come when they ran out: the error names the limit, not what might have
    been the cause elsewhere, and nothing stays behind.
    """
    reasons = re.compile("^cannot .*: this process has too many descriptors open; close some, or")
    for make in makers(name, tmp_path):
        for left in range(10):
            with descriptors_left(left):
                made = made_or_refused(make)
            if isinstance(made, Ring):
                made.unlink()
                made.close()
                break
            assert errno.EMFILE == made.errno
            assert reasons.match(str(made.strerror)), made
            assert [] == list(tmp_path.iterdir())
        assert isinstance(made, Ring)
    with Ring.create(name) as ring:
        with descriptors_left(0), pytest.raises(OSError, match=reasons.pattern[1:]) as caught:
            Region.open(name)
        assert f"/dev/shm/memlane.{name}" == caught.value.filename
        ring.unlink()


def test_a_ring_beyond_the_limit_of_files_says_what_makes_it_so_large(
    name: str, tmp_path: Path
) -> None:
    """A user who asked for 1 MiB and is told of 21 learns that each producer has a lane of that."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with limit(resource.RLIMIT_FSIZE, 1 << 20):
            for make in makers(name, tmp_path):
                if make is anonymous:  # whose file is a page
                    continue
                with pytest.raises(
                    OSError, match=r"ulimit -f allows.*16 lanes of 1048576"
                ) as found:
                    make()
                assert errno.EFBIG == found.value.errno
                assert str(found.value) == str(pickle.loads(pickle.dumps(found.value)))
            with pytest.raises(
                OSError, match=r"cannot create unnamed region of [0-9]+ .*ulimit -f"
            ):
                Region.create(None, "2 MiB")
    finally:
        signal.signal(signal.SIGXFSZ, before)


def test_a_ring_that_finds_no_addresses_says_what_makes_it_so_large() -> None:
    """ENOMEM names lanes and their capacity beside ulimit -v."""

    def make() -> None:
        text = r"ulimit -v.*; the ring has 16 lanes of 1073741824 "
        with limit(resource.RLIMIT_AS, 4 << 30), pytest.raises(OSError, match=text):
            Ring("1 GiB")

    with Child(make) as child:
        assert 0 == child.wait()


def test_where_no_file_can_be_made_the_directory_is_named_and_what_to_do(tmp_path: Path) -> None:
    """Also where the kernel knows files without a name, and where only the name is refused."""
    for path, kind, text in (
        (tmp_path / "no" / "x", FileNotFoundError, "make its directory first"),
        (Path("/etc/passwd/x"), NotADirectoryError, "check the path"),
        (Path("/proc/x"), FileNotFoundError, "choose a directory in which files can be made"),
    ):
        with pytest.raises(kind, match=f"cannot create region .*; {text}") as caught:
            Ring.create(path)
        assert str(path.parent) == caught.value.filename
    with pytest.raises(OSError, match="the name is too long; use a shorter one") as long:
        Ring.create(tmp_path / ("x" * 300))
    assert errno.ENAMETOOLONG == long.value.errno
    assert [] == list(tmp_path.iterdir())


@needs_mounts
def test_read_only_and_huge_page_file_systems_say_what_they_are(tmp_path: Path) -> None:
    """Creating, opening, the directory of all names: each says what helps there."""

    def use() -> None:
        own_mounts()
        mount("tmpfs", Path("/dev/shm"))  # goes with this process, and with it the semaphores
        mount("tmpfs", tmp_path)
        Ring.create(tmp_path / "there").close()
        mount("tmpfs", tmp_path, flags=MS_REMOUNT | MS_RDONLY)
        with pytest.raises(OSError, match="read-only; choose a directory on another one"):
            Ring.create(tmp_path / "new")
        with pytest.raises(OSError, match=r"read-only; .* open it with readonly=True") as caught:
            Ring.open(tmp_path / "there")
        assert (errno.EROFS, str(tmp_path / "there")) == (
            caught.value.errno,
            caught.value.filename,
        )
        mount("tmpfs", Path("/dev/shm"), flags=MS_RDONLY)
        with pytest.raises(OSError, match="read-only; mount it for writing, or give a pathlib"):
            Ring.create("x")
        try:
            mount("hugetlbfs", tmp_path)
        except OSError:
            return  # this kernel has none
        with pytest.raises(OSError, match="as hugetlbfs takes whole huge pages only; use another"):
            Ring.create(tmp_path / "new")
        with pytest.raises(OSError, match=r"not enough free huge pages of [0-9]+ bytes") as none:
            Mapping.create(tmp_path / "new", "64 TiB")
        assert (errno.ENOSPC, None) == (none.value.errno, none.value.free)  # type: ignore[attr-defined]

    with Child(use) as child:
        assert 0 == child.wait()
