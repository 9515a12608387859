# SPDX-License-Identifier: MIT
"""Every mistake that man pages warn of is an error of its own type that says what to do."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import resource
import socket
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memlane import PAGE_SIZE, Mapping
from processes import Child

CLONE_NEWNS = 0x00020000
MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 8, 32, 4096, 16384, 1 << 18


def in_child(function: Callable[[], None]) -> int:
    """What limits a whole process is tried in one of its own."""
    with Child(function) as child:
        return child.wait()


def is_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False


def test_no_address_space_is_enomem_that_names_the_limit() -> None:
    """RLIMIT_AS: mapping and growing are refused, and what there was goes on."""

    def ask() -> None:
        with Mapping.anonymous(PAGE_SIZE, private=True) as m:
            m[0] = 7
            resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
            makes: list[Callable[[], object]] = [
                lambda: Mapping.anonymous("4 GiB"),
                lambda: Mapping.anonymous("4 GiB", private=True, no_reserve=True),
                lambda: Mapping.anonymous("4 GiB", guard_pages=1),
                lambda: Mapping.open("/dev/zero", nbytes="4 GiB"),
                lambda: Mapping.memfd("4 GiB", no_reserve=True),
                lambda: m.resize("4 GiB"),
            ]
            for make in makes:
                with pytest.raises(OSError, match="ulimit -v") as caught:
                    make()
                assert errno.ENOMEM == caught.value.errno
            assert (7, PAGE_SIZE) == (m[0], len(m))

    assert 0 == in_child(ask)


def test_no_descriptor_left_is_emfile_that_says_what_to_raise(tmp_path: Path) -> None:
    """RLIMIT_NOFILE: a file needs one for a moment, a memfd for good, anonymous memory none."""
    path = tmp_path / "data"
    path.write_bytes(b"x")

    def ask() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = [os.open("/dev/null", os.O_RDONLY)]
        while taken[-1] < 63:
            taken.append(os.dup(taken[0]))
        makes: list[Callable[[], object]] = [lambda: Mapping.open(path), lambda: Mapping.memfd(1)]
        for make in makes:
            with pytest.raises(OSError, match="close some, or raise ulimit -n") as caught:
                make()
            assert errno.EMFILE == caught.value.errno
        Mapping.anonymous(1).close()
        os.close(taken.pop())
        Mapping.open(path).close()

    assert 0 == in_child(ask)


def test_too_many_mappings_are_enomem_that_names_the_limit() -> None:
    """vm.max_map_count: holes of protection are mappings of their own to the kernel."""
    most = int(Path("/proc/sys/vm/max_map_count").read_text())
    if most > 1 << 17:
        pytest.skip(f"vm.max_map_count is {most}: too many to use up here")

    def ask() -> None:
        with Mapping.anonymous(2 * (most + 10) * PAGE_SIZE, private=True, no_reserve=True) as m:
            start, libc = m.address, ctypes.CDLL(None)
            used = 0
            while libc.mprotect(ctypes.c_void_p(start + used * PAGE_SIZE), PAGE_SIZE, 0) == 0:
                used += 2
            with pytest.raises(OSError, match=r"vm\.max_map_count") as caught:
                m.protect("none", (used + 2) * PAGE_SIZE, PAGE_SIZE)
            assert errno.ENOMEM == caught.value.errno

    assert 0 == in_child(ask)


def test_sums_beyond_what_can_be_counted_are_refused_not_wrapped(tmp_path: Path) -> None:
    """Offsets and lengths near 2**62, of files and of devices."""
    path = tmp_path / "data"
    path.write_bytes(b"x" * 100)
    most = (1 << 62) - 1
    with pytest.raises(io.UnsupportedOperation, match="of a file of 100 bytes"):
        Mapping.open(path, offset=most, nbytes=most)
    for offset, nbytes in ((0, most), (most, most)):
        with pytest.raises(OSError, match="cannot map"):
            Mapping.open("/dev/zero", "r+", offset=offset, nbytes=nbytes)
    for wrong in (1 << 62, 1 << 70, "9999999 TiB"):
        with pytest.raises(ValueError, match="from 0 to 2\\*\\*62 - 1"):
            Mapping.open("/dev/zero", offset=wrong, nbytes=1)
        with pytest.raises(ValueError, match="from 0 to 2\\*\\*62 - 1"):
            Mapping.anonymous(wrong)
    with pytest.raises(OSError, match="no room for it") as caught:
        Mapping.anonymous(most)
    assert errno.ENOMEM == caught.value.errno


@pytest.mark.parametrize("nbytes", [0, 1, 99, PAGE_SIZE - 1])
def test_a_file_that_ends_before_the_length_asked_for_is_refused_at_once(
    tmp_path: Path, nbytes: int
) -> None:
    """The kernel would map it, and kill the process by SIGBUS at the first touch."""
    path = tmp_path / "short"
    path.write_bytes(b"x" * nbytes)
    for offset, length in ((0, PAGE_SIZE), (nbytes, 1), (PAGE_SIZE, 1), (0, nbytes + 1)):
        with pytest.raises(io.UnsupportedOperation) as caught:
            Mapping.open(path, offset=offset, nbytes=length)
        assert isinstance(caught.value, OSError)
        assert isinstance(caught.value, ValueError)
        assert str(path) == caught.value.filename
    with pytest.raises(ValueError, match="nbytes must be at least 1"):
        Mapping.open(path, nbytes=0)


def test_every_kind_of_descriptor_that_has_no_pages_is_told_apart(tmp_path: Path) -> None:
    """Pipes, sockets, directories, event descriptors, terminals' kin; none of them hangs."""
    (tmp_path / "fifo").touch()
    os.unlink(tmp_path / "fifo")
    os.mkfifo(tmp_path / "fifo")
    reading, writing = os.pipe()
    left, right = socket.socketpair()
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        for fd in (reading, writing, left.fileno(), right.fileno()):
            for access in ("r", "r+", "c"):
                with pytest.raises(OSError, match="cannot be mapped; only regular files") as caught:
                    Mapping.from_fd(fd, access, nbytes=1)
                assert errno.ENODEV == caught.value.errno
        with pytest.raises(IsADirectoryError, match="give the path of a file in it"):
            Mapping.from_fd(directory)
        with pytest.raises(OSError, match="cannot be mapped"):
            Mapping.open(tmp_path / "fifo", "r+", nbytes=1)
        with pytest.raises(OSError, match="cannot be mapped"):
            Mapping.open("/dev/null", "r+", nbytes=1)
        with pytest.raises(OSError, match="the descriptor is not open"):
            Mapping.from_fd(10**6)
        with pytest.raises(OverflowError):
            Mapping.from_fd(1 << 40)
    finally:
        for fd in (reading, writing, directory):
            os.close(fd)
        left.close()
        right.close()


def test_running_code_from_a_noexec_file_system_is_refused_with_a_way_out() -> None:
    """A file there maps for data; its pages cannot be made executable, private memory can."""
    libc = ctypes.CDLL(None, use_errno=True)

    def ask() -> None:
        # a mount table of one's own, so that nothing outside changes
        if libc.unshare(CLONE_NEWNS):
            os._exit(77)
        with tempfile.TemporaryDirectory() as directory:
            libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None)
            if libc.mount(b"tmpfs", directory.encode(), b"tmpfs", MS_NOEXEC, b"size=1m"):
                os._exit(77)
            try:
                with Mapping.create(Path(directory, "code"), PAGE_SIZE) as m:
                    with pytest.raises(
                        PermissionError, match=r"noexec: copy it to Mapping\.anonymous"
                    ):
                        m.protect("rx")
                    m[0] = 1
                with pytest.raises(PermissionError, match="noexec"):
                    Mapping.open(Path(directory, "code"), protection="rx")
            finally:
                libc.umount2(directory.encode(), 2)

    status = in_child(ask)
    if status == 77:
        pytest.skip("no right to mount")
    assert 0 == status


def test_devices_map_by_name_and_one_that_is_not_there_says_so() -> None:
    """/dev/zero always; /dev/mem where there is one, else a plain FileNotFoundError."""
    for access in ("r", "r+", "c"):
        with Mapping.open("/dev/zero", access, nbytes=PAGE_SIZE) as m:
            assert bytes(PAGE_SIZE) == m[:]
            m.advise("willneed")
    if not is_device("/dev/mem"):
        with pytest.raises(FileNotFoundError, match="there is nothing of that name"):
            Mapping.open("/dev/mem", "r+", offset=0xFE200000, nbytes=4096, sync=True)
        return
    try:
        with Mapping.open("/dev/mem", offset=0, nbytes=4096, sync=True) as m:
            assert 4096 == len(m)
    except PermissionError as error:
        assert "cannot" in str(error)  # noqa: PT017


@pytest.mark.parametrize("access", ["r", "r+", "c"])
@pytest.mark.parametrize("offset", [1, PAGE_SIZE, 3 * PAGE_SIZE + 5, (1 << 62) - 1])
def test_dev_zero_is_zeros_at_any_offset(access: Any, offset: int) -> None:
    """The kernel has nothing but a SIGBUS behind the length of a shared one; not here."""
    with Mapping.open("/dev/zero", access, offset=offset, nbytes=PAGE_SIZE) as m:
        assert bytes(PAGE_SIZE) == m[:]
        if access != "r":
            m[-1] = 1


def test_who_may_not_open_a_file_gets_the_path_and_the_way_out(tmp_path: Path) -> None:
    """PermissionError, for one who is not root."""
    path = tmp_path / "secret"
    path.write_bytes(b"x")
    path.chmod(0o400)
    readable = tmp_path / "public"
    readable.write_bytes(b"x")
    readable.chmod(0o444)
    for part in [tmp_path, *tmp_path.parents]:
        if part.stat().st_uid == os.getuid() and part != Path("/"):
            part.chmod(part.stat().st_mode | 0o055)

    def ask() -> None:
        os.setuid(65534)
        with pytest.raises(PermissionError, match="check owner and permissions") as caught:
            Mapping.open(path)
        assert (errno.EACCES, str(path)) == (caught.value.errno, caught.value.filename)
        with pytest.raises(PermissionError, match="ask for less than 'r\\+'"):
            Mapping.open(readable, "r+")
        with Mapping.open(readable, "c") as m:
            m[0] = 1
            with pytest.raises(PermissionError):
                m.write_back()

    if os.getuid():
        pytest.skip("only root can become somebody else")
    assert 0 == in_child(ask)


def test_a_sealed_memfd_says_that_less_access_would_do() -> None:
    """F_SEAL_WRITE: "r+" is refused, "r" and "c" are not."""
    import fcntl

    fd = os.memfd_create("sealed", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(fd, b"x" * PAGE_SIZE)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        with pytest.raises(PermissionError, match=r"it may be sealed.*ask for less access"):
            Mapping.from_fd(fd, "r+")
        for access in ("r", "c"):
            with Mapping.from_fd(fd, access) as m:
                assert b"xx" == m[:2]
    finally:
        os.close(fd)
