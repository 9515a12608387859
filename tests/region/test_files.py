# SPDX-License-Identifier: MIT
"""Regions and the kernel: kinds of files, file systems, rights, and no room left."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import pickle
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memlane import Mapping, Region, Ring, _core
from tests.support.processes import Child
from tests.support.region_files import (
    PAGE,
    SHARED_MEMORY,
    file_of,
    fill_up,
    mount,
    needs_mounts,
    own_mounts,
    own_shared_memory,
    semaphores,
)
from tests.support.regions import furnish, made

pytestmark = pytest.mark.machine

# ---- headers that are wrong ----------------------------------------------------------------------


#: What a child ends with where it cannot have an overlay: arbitrary, but no status of its own.
NO_OVERLAY = 77


# ---- kernel, files -------------------------------------------------------------------------------


def test_a_memfd_is_sealed() -> None:
    """Nobody can shrink or grow it, or add seals: no SIGBUS from an unnamed region."""
    with Region.create(None, "1 MiB") as region:
        base = region._member.base
        seals = fcntl.fcntl(base, fcntl.F_GET_SEALS)
        wanted = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW

        assert wanted == seals & wanted
        for nbytes in (0, region.nbytes - 1, region.nbytes + 1):
            with pytest.raises(PermissionError):
                os.ftruncate(base, nbytes)
        with pytest.raises(PermissionError):
            fcntl.fcntl(base, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def test_descriptors_are_not_inherited_by_programs(region: Region) -> None:
    """Neither description survives an exec."""
    furnish(region)
    opened = [int(entry) for entry in os.listdir("/proc/self/fd")]
    ours = []
    for descriptor in opened:
        try:
            if os.path.samestat(os.fstat(descriptor), os.fstat(region._member.base)):
                ours.append(descriptor)
        except OSError:
            continue

    assert 2 == len(ours)
    assert [False, False] == [os.get_inheritable(descriptor) for descriptor in ours]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("permissions", [0o600, 0o660, 0o666, 0o604])
def test_permissions_are_as_asked_whatever_the_umask(
    umask: int, permissions: int, name: str, tmp_path: Path
) -> None:
    """
    The file and every semaphore, those made later too, have the modes that were asked for. (hazard
    28)
    """
    before = os.umask(umask)
    try:
        for backing in ("named", "path", "memfd"):
            with made(backing, name, tmp_path, permissions=permissions) as region:
                region.ring("frames", capacity=4096).put(b"makes the bell of a lane")
                modes = {
                    stat.S_IMODE(path.stat().st_mode)
                    for path in [
                        file_of(region),
                        *semaphores(region._member.region_id).values(),
                    ]
                }
                count = len(semaphores(region._member.region_id))
                region.unlink()

            assert {permissions} == modes
            assert (0 if backing == "memfd" else 3) == count
    finally:
        os.umask(before)


def test_permissions_of_a_file_made_with_a_hidden_name_are_as_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where files cannot be made without a name. (hazard 28)"""
    real = os.open

    def open_named(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE here")
        return real(path, flags, *rest, **options)

    monkeypatch.setattr(os, "open", open_named)
    before = os.umask(0o077)
    try:
        with Region.create(tmp_path / "here", 4096, permissions=0o666) as region:
            mode = stat.S_IMODE(file_of(region).stat().st_mode)
            region.unlink()
    finally:
        os.umask(before)

    assert 0o666 == mode


def test_a_region_is_opened_for_writing_from_the_start(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The very first descriptor is read-write: on an overlay an earlier read-only one shows stale
    bytes. (hazard 27)
    """
    asked: list[int] = []
    real = os.open

    def note(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if str(path) == str(file):
            asked.append(flags)
        return real(path, flags, *rest, **options)

    for where in (name, tmp_path / "file"):
        Region.create(where, 4096).close()
        file = tmp_path / "file" if where != name else SHARED_MEMORY / f"memlane.{name}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", note)
            region = Region.open(where)
        with region:
            region.unlink()

    assert 2 == len(asked)
    for flags in asked:
        assert os.O_RDWR == flags & os.O_ACCMODE
        assert os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC == flags & (
            os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )


@needs_mounts
def test_processes_share_a_region_that_lies_in_the_lower_layer_of_an_overlay(
    tmp_path: Path,
) -> None:
    """
    The first one to open it has the file copied up before it is mapped, so all map the same bytes;
    those below stay as they were. (hazard 27)
    """
    layers = tmp_path / "layers"
    merged = tmp_path / "merged"
    for folder in (layers, merged):
        folder.mkdir()

    def count(amount: int, expected: int) -> None:
        with Region.open(merged / "region") as region:
            assert expected == region.counter("hits").add(amount)

    def share() -> None:
        own_mounts()
        mount("tmpfs", layers)
        for layer in ("lower", "upper", "work"):
            (layers / layer).mkdir()
        with Region.create(layers / "lower" / "region", "64 KiB") as region:
            region.counter("hits").add(1)
        before = (layers / "lower" / "region").read_bytes()
        try:
            mount(
                "overlay",
                merged,
                f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work",
            )
        except OSError:
            os._exit(NO_OVERLAY)
        with Region.open(merged / "region") as region:
            with Child(count, 10, 11) as other:
                assert 0 == other.wait()
            assert 111 == region.counter("hits").add(100)
            with Child(count, 1000, 1111) as other:
                assert 0 == other.wait()
            assert 1111 == region.counter("hits").value
            region.unlink()
        assert before == (layers / "lower" / "region").read_bytes()
        assert [] == os.listdir(merged)

    with Child(share) as child:
        status = child.wait()
    if status == NO_OVERLAY:
        pytest.skip("this kernel mounts no overlay here")
    assert 0 == status


@needs_mounts
def test_where_room_cannot_be_reserved_a_region_is_refused(tmp_path: Path) -> None:
    """
    Without fallocate nothing is emulated by writing: live data stays, and the error says so.
    (hazard 26)
    """
    (tmp_path / "ram").mkdir()

    def try_it() -> None:
        own_mounts()
        mount("ramfs", tmp_path / "ram")
        data = tmp_path / "ram" / "data"
        data.write_bytes(b"live" * 4096)
        descriptor = os.open(data, os.O_RDWR)
        with pytest.raises(OSError, match="cannot reserve") as caught:
            _core.reserve(descriptor, 0, 1 << 20, path=str(data))
        assert errno.EOPNOTSUPP == caught.value.errno
        assert b"live" * 4096 == data.read_bytes()
        with pytest.raises(OSError, match="cannot reserve room") as caught:
            Region.create(tmp_path / "ram" / "region", "1 MiB")
        assert errno.EOPNOTSUPP == caught.value.errno
        assert ["data"] == os.listdir(tmp_path / "ram")

    with Child(try_it) as child:
        assert 0 == child.wait()


# ---- no room -------------------------------------------------------------------------------------


@needs_mounts
def test_creating_with_no_room_tells_need_free_and_mount_and_leaves_nothing(name: str) -> None:
    """However little is free in /dev/shm, creating works whole or fails whole. (hazard 25)"""

    def try_all() -> None:
        own_shared_memory(64 * PAGE)
        worked: list[int] = []
        failed: list[Any] = []
        for free in range(32):
            fill_up(SHARED_MEMORY / "filler", leave=free * PAGE)
            try:
                with Ring.create(name, capacity=4096) as ring:
                    ring.unlink()
                worked.append(free)
            except OSError as error:
                failed.append(error)
            gc.collect()
            assert ["filler"] == os.listdir(SHARED_MEMORY), free
            os.unlink(SHARED_MEMORY / "filler")
        assert list(range(len(failed), 32)) == worked
        for one in failed:
            again = pickle.loads(pickle.dumps(one))
            assert errno.ENOSPC == one.errno
            assert "/dev/shm" == one.mount
            assert f"cannot reserve {one.need} bytes in /dev/shm: {one.free} bytes" in str(one)
            assert "--shm-size" in str(one)
            assert (one.need, one.free, one.mount) == (again.need, again.free, again.mount)

    with Child(try_all) as child:
        assert 0 == child.wait()


def make_named(name: str) -> None:
    Region.create(name, 4096).close()


def make_shared_memory(name: str) -> None:
    Mapping.shm(name, "r+", create=4096).close()


@needs_mounts
@pytest.mark.parametrize("make", [make_named, make_shared_memory])
def test_a_file_system_without_inodes_says_so(make: Callable[[str], None], name: str) -> None:
    """There are bytes enough, and still no file can be made: the error says what is missing."""

    def run() -> None:
        own_shared_memory(1 << 24, inodes=8)
        errors: list[Any] = []
        for number in range(9):
            try:
                make(f"{name}-{number}")
            except OSError as error:
                errors.append(error)
        assert errors
        for one in errors:
            assert errno.ENOSPC == one.errno
            assert "/dev/shm" == one.mount
            assert re.search(r"in /dev/shm: .* [0-2] of 8 inodes; .*nr_inodes", str(one)), one

    with Child(run) as child:
        assert 0 == child.wait()


@needs_mounts
def test_an_object_for_which_there_is_no_room_is_not_there(name: str) -> None:
    """The region goes on, and when room was made the object can be made. (hazard 25)"""

    def try_it() -> None:
        own_shared_memory(1 << 20)
        with Region.create(name, "8 MiB") as region:
            region.counter("hits").add(1)
            fill_up(SHARED_MEMORY / "filler", leave=PAGE)
            for _ in range(3):
                with pytest.raises(OSError, match="are free") as caught:
                    region.slot("pose", 4096)
                assert errno.ENOSPC == caught.value.errno
            assert ["hits"] == list(region)
            assert 2 == region.counter("hits").add(1)
            os.unlink(SHARED_MEMORY / "filler")
            region.slot("pose", 4096).publish(b"p" * 4096)
            region.unlink()
        assert [] == os.listdir(SHARED_MEMORY)

    with Child(try_it) as child:
        assert 0 == child.wait()


@needs_mounts
def test_a_lane_for_which_there_is_no_room_is_an_error_of_put(name: str) -> None:
    """Never a SIGBUS: put says that there is no room, and works when there is some."""

    def try_it() -> None:
        own_shared_memory(4 << 20)
        with Ring.create(name, capacity="1 MiB", producers=3) as ring:
            ring.put(b"has its lane")
            fill_up(SHARED_MEMORY / "filler", leave=64 * PAGE)
            with ring.producer() as other:
                for _ in range(3):
                    with pytest.raises(
                        OSError, match=r"cannot reserve \d+ bytes in /dev/shm"
                    ) as caught:
                        other.put(b"no room")
                    assert errno.ENOSPC == caught.value.errno
                    with pytest.raises(OSError, match="are free"):
                        other.reserve(10)
                ring.put(b"goes on")
                assert [b"has its lane", b"goes on"] == ring.get_many(9)
                os.unlink(SHARED_MEMORY / "filler")
                other.put(b"room again")
                assert b"room again" == ring.get()
                assert 2 == len(ring.stats()["lanes"])
            ring.unlink()

    with Child(try_it) as child:
        assert 0 == child.wait()
