# SPDX-License-Identifier: MIT
"""Every mistake that man pages warn of is an error of its own type that says what to do."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import platform
import resource
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from memlane import PAGE_SIZE, ClosedError, Mapping, Ring, TruncatedError
from tests.support.processes import Child
from tests.support.stepping import Stepped

pytestmark = pytest.mark.machine

CLONE_NEWNS = 0x00020000
MS_NOEXEC, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 8, 32, 4096, 16384, 1 << 18


def in_child(function: Callable[[], None]) -> int:
    """What limits a whole process is tried in one of its own."""
    with Child(function) as child:
        return child.wait()


#: Numbers of system calls that tests have the kernel refuse, or step to.
CALLS = {
    "x86_64": {
        "openat": 257,
        "memfd_create": 319,
        "mmap": 9,
        "mlock2": 325,
        "madvise": 28,
        "fallocate": 285,
        "pread64": 17,
    },
    "aarch64": {
        "openat": 56,
        "memfd_create": 279,
        "mmap": 222,
        "mlock2": 284,
        "madvise": 233,
        "fallocate": 47,
        "pread64": 67,
    },
}.get(platform.machine(), {})

POPULATE_WRITE = 23  # of madvise
needs_numbers = pytest.mark.skipif(not CALLS, reason="system calls have other numbers here")


def have_refused(call: str, error: int) -> None:
    """
    From now on the kernel answers *error* to one system call of this process (seccomp): what a test
    cannot bring about, such as a machine out of descriptors. Of mmap, only to that of a descriptor;
    of fallocate, only to that of more than a page.
    """
    load, equal, give = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET
    greater = 0x25  # BPF_JMP | BPF_JGT
    allow, refuse = 0x7FFF0000, 0x00050000 | error  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO
    # of struct seccomp_data, the low halves of args[4] and args[3] on little-endian machines
    descriptor_at, length_at = 48, 40
    condition = {
        "mmap": [(load, 0, 0, descriptor_at), (equal, 1, 0, 0xFFFFFFFF)],
        "fallocate": [(load, 0, 0, length_at), (greater, 0, 1, PAGE_SIZE)],
    }.get(call, [])
    steps = [(load, 0, 0, 0), (equal, 0, 1 + len(condition), CALLS[call]), *condition]
    steps += [(give, 0, 0, refuse), (give, 0, 0, allow)]
    program = b"".join(struct.pack("HBBI", *step) for step in steps)
    code = ctypes.create_string_buffer(program)
    filter_of = struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if libc.prctl(22, 2, ctypes.create_string_buffer(filter_of)):  # PR_SET_SECCOMP, MODE_FILTER
        os._exit(77)


def assert_in_child(function: Callable[[], None]) -> None:
    status = in_child(function)
    if status == 77:
        pytest.skip("no right to filter system calls")
    assert 0 == status


def is_device(path: str) -> bool:
    try:
        return stat.S_ISCHR(os.stat(path).st_mode)
    except OSError:
        return False


@pytest.mark.skipif(
    "libasan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer needs address space"
)
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


@needs_numbers
def test_no_descriptor_left_on_the_machine_is_enfile_that_says_what_to_raise(
    tmp_path: Path,
) -> None:
    """fs.file-max: another limit than the process's own, with another way out."""
    path = tmp_path / "data"
    path.write_bytes(b"x")

    def ask_for_a_file() -> None:
        have_refused("openat", errno.ENFILE)
        makes: list[Callable[[], object]] = [
            lambda: Mapping.open(path),
            lambda: Mapping.create(path.with_name("new"), 1),
            lambda: Mapping.shm("memlane-test-enfile", create=1),
        ]
        for make in makes:
            with pytest.raises(OSError, match=r"the machine has too many.*fs\.file-max") as caught:
                make()
            assert errno.ENFILE == caught.value.errno

    def ask_for_a_memfd() -> None:
        have_refused("memfd_create", errno.ENFILE)
        with pytest.raises(OSError, match=r"the machine has too many.*fs\.file-max") as caught:
            Mapping.memfd(1)
        assert errno.ENFILE == caught.value.errno
        Mapping.anonymous(1).close()

    assert_in_child(ask_for_a_file)
    assert_in_child(ask_for_a_memfd)


@needs_numbers
def test_a_device_that_the_kernel_does_not_give_says_what_it_may_need(tmp_path: Path) -> None:
    """
    What /dev/mem answers to users other than root, and to root under lockdown or STRICT_DEVMEM.
    """
    path = tmp_path / "data"
    path.write_bytes(b"x")

    def ask() -> None:
        have_refused("mmap", errno.EPERM)
        with pytest.raises(PermissionError, match="STRICT_DEVMEM or lockdown") as caught:
            Mapping.open("/dev/zero", nbytes=PAGE_SIZE, sync=True)
        assert "/dev/zero" == caught.value.filename
        # a file has other reasons
        with pytest.raises(PermissionError, match="it may be sealed, append-only or on a noexec"):
            Mapping.open(path)

    assert_in_child(ask)


@needs_numbers
@pytest.mark.parametrize("error", [errno.ENOMEM, errno.EAGAIN])
def test_memory_that_the_kernel_does_not_lock_is_not_kept(error: int) -> None:
    """Which of the two it answers depends on the kernel; the text and the way out are the same."""

    def ask() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (1 << 20, 1 << 20))
        have_refused("mlock2", error)
        with Mapping.anonymous(PAGE_SIZE) as m:
            with pytest.raises(
                OSError, match=r"may lock 1048576 bytes in all.*ulimit -l"
            ) as caught:
                m.lock()
            assert error == caught.value.errno
        with pytest.raises(OSError, match="RLIMIT_MEMLOCK"):
            Mapping.anonymous(PAGE_SIZE, locked=True)

    assert_in_child(ask)


@needs_numbers
def test_a_kernel_too_old_to_wipe_memory_on_fork_is_named_by_the_import() -> None:
    """Before Linux 4.14 every madvise of that kind is EINVAL, which alone tells nobody anything."""

    def ask() -> None:
        have_refused("madvise", errno.EINVAL)
        ran = subprocess.run(
            [sys.executable, "-c", "import memlane"], capture_output=True, text=True, check=False
        )
        last = ran.stderr.splitlines()[-1]
        assert last.startswith("ImportError: memlane needs MADV_WIPEONFORK, which Linux has from")
        assert os.uname().release in last

    assert_in_child(ask)


@needs_numbers
def test_reserving_comes_to_its_end_however_soon_each_step_is_interrupted() -> None:
    """Signals may come faster than this machine gives memory; a page is given between two."""

    def ask() -> None:
        have_refused("fallocate", errno.EINTR)
        with Mapping.memfd("1 MiB") as m:
            assert 1 << 20 == len(m)

    assert_in_child(ask)


@needs_numbers
@pytest.mark.parametrize("kind", ["mapping", "ring"])
def test_bringing_pages_into_memory_ends_with_what_a_handler_raises(kind: str) -> None:
    """Ctrl-C is heard after each 16 MiB, and what was brought is let go."""

    def ask() -> None:
        def on_signal(number: int, frame: object) -> None:
            raise KeyboardInterrupt

        makes: dict[str, Callable[[], object]] = {
            "mapping": lambda: Mapping.anonymous(LONG_NBYTES, populate=True),
            "ring": lambda: Ring(LONG_NBYTES, producers=1, anonymous=True).put(b""),
        }
        signal.signal(signal.SIGUSR1, on_signal)
        with pytest.raises(KeyboardInterrupt):
            makes[kind]()

    turns = 0
    with Stepped(ask) as child:
        for call in child.steps():
            is_populate = call.number == CALLS["madvise"] and call.arguments[2] == POPULATE_WRITE
            if is_populate and call.result is not None:
                turns += 1
                child.signal(signal.SIGUSR1)
        assert (0, 1) == (child.status, turns)


def test_files_of_proc_and_sys_are_refused_with_the_advice_to_read_them() -> None:
    """They look like files, and have no pages."""
    with pytest.raises(io.UnsupportedOperation, match="what /proc shows is read, not mapped"):
        Mapping.open("/proc/self/status")
    some = next(
        path
        for path in Path("/sys/kernel/mm").rglob("*")
        if os.access(path, os.R_OK) and path.is_file()
    )
    with pytest.raises(OSError, match=r"cannot be mapped.*read from it instead"):
        Mapping.open(some)


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


def test_the_slash_of_shm_open_is_answered_with_the_name_without_it() -> None:
    """And nobody is promised that shared memory could be a path."""
    with pytest.raises(ValueError, match=r"leave out the '/' that shm_open\(3\) wants: 'cam0'$"):
        Mapping.shm("/cam0", create=4096)
    with pytest.raises(ValueError, match=r"got 'a/b'$"):
        Mapping.shm("a/b", create=4096)
    with pytest.raises(TypeError, match=r"must be a str \(POSIX shared memory\), got Posix"):
        Mapping.shm(Path("/cam0"), create=4096)  # type: ignore[arg-type]


def test_every_kind_of_descriptor_that_has_no_pages_is_told_apart(tmp_path: Path) -> None:
    """Pipes, sockets, directories, event descriptors, terminals' kin; none of them hangs."""
    (tmp_path / "fifo").touch()
    os.unlink(tmp_path / "fifo")
    os.mkfifo(tmp_path / "fifo")
    reading, writing = os.pipe()
    left, right = socket.socketpair()
    directory = os.open(tmp_path, os.O_RDONLY)
    (tmp_path / "data").write_bytes(b"x")
    only_named = os.open(tmp_path / "data", os.O_PATH)
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
        for number in (10**6, 1 << 31, 1 << 40, -1):
            with pytest.raises(OSError, match="the descriptor is not open") as caught:
                Mapping.from_fd(number)
            assert errno.EBADF == caught.value.errno
        with pytest.raises(OSError, match="open by O_PATH, which neither reads nor writes; open"):
            Mapping.from_fd(only_named)
        for none in (None, "1", 1.0, True, open):
            with pytest.raises(TypeError, match="an int, or an object with fileno"):
                Mapping.from_fd(none)  # type: ignore[arg-type]
    finally:
        for fd in (reading, writing, directory, only_named):
            os.close(fd)
        left.close()
        right.close()


# ---- descriptors whose number belongs to somebody else by now ------------------------------------


#: More than a call does between two looks for signals, which is 16 MiB.
LONG_NBYTES = 40 << 20


def close_all_and_take_their_numbers(victim: Path) -> list[int]:
    """What a daemon does first, and then opens a file: all numbers up to 100 lead to it."""
    os.closerange(3, 100)
    taken = [os.open(victim, os.O_RDWR)]
    while taken[-1] < 99:
        taken.append(os.dup(taken[0]))
    return taken


def test_a_memfd_whose_descriptor_was_closed_leaves_alone_whose_number_it_is_now(
    tmp_path: Path,
) -> None:
    """Resizing is refused, closing closes nothing, and what is mapped still works."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious" * 1024)

    def ask() -> None:
        kept, closed = Mapping.memfd(8192), Mapping.memfd(8192)
        taken = close_all_and_take_their_numbers(victim)
        for length in (4096, 1 << 20):
            with pytest.raises(ClosedError, match=r"closed by this process, as os\.closerange"):
                kept.resize(length)
        kept[8191] = 7
        closed.close()
        del closed

        assert (8192, 7) == (len(kept), kept[8191])
        assert b"precious" * 1024 == victim.read_bytes()
        for fd in taken:
            os.fstat(fd)

    assert 0 == in_child(ask)


def memfd_of(mapping: Mapping) -> int:
    """The descriptor that a mapping keeps."""
    for entry in list(os.scandir("/proc/self/fd")):
        try:
            if os.readlink(entry.path) == f"/memfd:{mapping.name} (deleted)":
                return int(entry.name)
        except FileNotFoundError:
            pass  # the one that lists them
    raise AssertionError("no descriptor of it")


def test_a_truncated_memfd_is_never_said_to_have_the_length_of_another_file(
    tmp_path: Path,
) -> None:
    """The error gives the length of its own file, or none."""
    (tmp_path / "victim").write_bytes(b"x" * 77)

    def ask() -> None:
        m = Mapping.memfd(2 * PAGE_SIZE)
        os.ftruncate(memfd_of(m), 0)
        close_all_and_take_their_numbers(tmp_path / "victim")
        with pytest.raises(TruncatedError) as caught:
            m[0]
        assert caught.value.found is None

    assert 0 == in_child(ask)


@needs_numbers
@pytest.mark.parametrize("kind", ["memfd", "create", "resize", "write_back"])
def test_a_handler_that_closes_descriptors_amid_a_long_call_harms_no_other_file(
    kind: str, tmp_path: Path
) -> None:
    """Long calls look for signals on the way; what runs then may have closed what they use."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    path = tmp_path / "data"
    path.write_bytes(b"x" * PAGE_SIZE)
    if kind == "write_back":
        os.truncate(path, LONG_NBYTES)
    accesses: dict[str, Any] = {"resize": "r+", "write_back": "c"}
    mapping = Mapping.open(path, accesses[kind]) if kind in accesses else None

    def ask() -> None:
        def on_signal(number: int, frame: object) -> None:
            close_all_and_take_their_numbers(victim)

        makes: dict[str, Callable[[], object]] = {
            "memfd": lambda: Mapping.memfd(LONG_NBYTES),
            "create": lambda: Mapping.create(path.with_name("new"), LONG_NBYTES),
            "resize": lambda: mapping and mapping.resize(LONG_NBYTES),  # type: ignore[func-returns-value]
            "write_back": lambda: mapping and mapping.write_back(),
        }
        signal.signal(signal.SIGUSR1, on_signal)
        with pytest.raises(ClosedError):
            makes[kind]()
        assert b"precious" == victim.read_bytes()

    step = CALLS["pread64" if kind == "write_back" else "fallocate"]
    with Stepped(ask) as child:
        child.run_to(lambda call: call.number == step and call.result is not None)
        child.signal(signal.SIGUSR1)
        child.go_on()
        assert 0 == child.wait()
    if mapping is not None:
        mapping.close()
    assert b"precious" == victim.read_bytes()
    assert not path.with_name("new").exists()


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
