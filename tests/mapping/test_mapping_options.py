# SPDX-License-Identifier: MIT
"""What can be asked of a `Mapping` beyond its bytes: where, how, and what is kept of it."""

from __future__ import annotations

import ctypes
import errno
import io
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import memlane
from memlane import PAGE_SIZE, Mapping
from tests.support.processes import Child

pytestmark = pytest.mark.machine

TRANSPARENT = Path("/sys/kernel/mm/transparent_hugepage")

Make = Callable[..., Mapping]

#: Each way of making a mapping, in a file of three pages where there is one.
MAKES: dict[str, Callable[[Path], Make]] = {
    "shared": lambda path: lambda **options: Mapping.anonymous(3 * PAGE_SIZE, **options),
    "private": lambda path: (
        lambda **options: Mapping.anonymous(3 * PAGE_SIZE, private=True, **options)
    ),
    "memfd": lambda path: lambda **options: Mapping.memfd(3 * PAGE_SIZE, **options),
    "file r": lambda path: lambda **options: Mapping.open(path, **options),
    "file r+": lambda path: lambda **options: Mapping.open(path, "r+", **options),
    "file c": lambda path: lambda **options: Mapping.open(path, "c", **options),
    "any offset": lambda path: (
        lambda **options: Mapping.open(path, offset=PAGE_SIZE + 5, **options)
    ),
    "new file": lambda path: (
        lambda **options: Mapping.create(path.with_name("new"), 3 * PAGE_SIZE, **options)
    ),
    "/dev/zero": lambda path: (
        lambda **options: Mapping.open("/dev/zero", "r+", nbytes=3 * PAGE_SIZE, **options)
    ),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(bytes(i // 16 % 256 for i in range(3 * PAGE_SIZE)))
    return path


@pytest.fixture(params=MAKES, ids=str)
def make(request: pytest.FixtureRequest, file: Path) -> Make:
    return MAKES[request.param](file)


def memory_map(address: int) -> list[str]:
    """The kernel's line for the mapping at the address, in fields; the last is its name."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        first, last = (int(part, 16) for part in line.split()[0].split("-"))
        if first <= address < last:
            return line.split(maxsplit=5)
    return []


def flags_of(address: int) -> list[str]:
    """The VmFlags that the kernel has for the mapping at the address."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and not head.endswith(":"):
            first, last = (int(part, 16) for part in head.split("-"))
            inside = first <= address < last
        elif inside and head == "VmFlags:":
            return line.split()[1:]
    return []


def die_at(address: int) -> Callable[[], None]:
    """What a child does that touches an address without a handler and without a core file."""

    def touch() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        ctypes.string_at(address, 1)

    return touch


# ---- addresses -----------------------------------------------------------------------------------


def free_address(nbytes: int) -> int:
    """Where nothing is mapped right now."""
    with Mapping.anonymous(nbytes) as m:
        return m.address


def test_a_fixed_address_is_exactly_that_and_never_replaces_another_mapping(make: Make) -> None:
    """What lies there stays as it is, and the second asker gets FileExistsError."""
    where = free_address(64 * PAGE_SIZE) + 16 * PAGE_SIZE
    with make() as plain:
        hidden, path = plain.address % PAGE_SIZE, plain.path
    if path is not None and path.endswith("new"):
        os.unlink(path)
    with make(address=where + hidden, fixed=True) as m:
        before = m[:]
        for occupied in (where + hidden, where + hidden + PAGE_SIZE):
            with pytest.raises(
                FileExistsError, match=r"something is mapped at 0x.*drop fixed=True"
            ):
                Mapping.anonymous(2 * PAGE_SIZE, address=occupied - hidden, fixed=True)

        assert where + hidden == m.address
        assert before == m[:]


def test_an_address_without_fixed_is_a_hint() -> None:
    """Where it is taken, the kernel chooses another place."""
    with (
        Mapping.anonymous(PAGE_SIZE) as m,
        Mapping.anonymous(PAGE_SIZE, address=m.address) as other,
    ):
        assert m.address != other.address
    where = free_address(64 * PAGE_SIZE) + 16 * PAGE_SIZE
    with Mapping.anonymous(PAGE_SIZE, address=where) as m:
        assert where == m.address


def test_a_fixed_address_that_no_page_can_have_is_a_value_error(file: Path) -> None:
    """The text says how far behind a page it must lie."""
    where = free_address(16 * PAGE_SIZE)
    with pytest.raises(ValueError, match="address must be 0 bytes behind a multiple of 4096"):
        Mapping.anonymous(1, address=where + 1, fixed=True)
    with pytest.raises(ValueError, match="address must be 7 bytes behind"):
        Mapping.open(file, offset=7, address=where, fixed=True)
    with pytest.raises(ValueError, match="fixed=True needs an address"):
        Mapping.anonymous(1, fixed=True)
    with pytest.raises(ValueError, match="address must be at least 1"):
        Mapping.anonymous(1, address=0)
    with pytest.raises(OSError, match="cannot map"):
        Mapping.anonymous(PAGE_SIZE, address=1 << 61, fixed=True)


# ---- populate, no_reserve, residency -------------------------------------------------------------


def test_populate_brings_in_every_page_before_the_first_touch(make: Make) -> None:
    """Residency is 1.0 at once, whatever is mapped, and the bytes are those without it."""
    with make() as plain:
        expected = plain[:]
        path = plain.path
    if path is not None and path.endswith("new"):
        os.unlink(path)
    with make(populate=True) as m:
        if path != "/dev/zero":  # which populates nothing that is not touched
            assert m.residency() == 1.0
        assert expected == m[:]


def test_residency_shows_demand_paging_page_by_page() -> None:
    """Nothing before the first touch, then exactly what was touched, by ranges too."""
    with Mapping.anonymous(8 * PAGE_SIZE, private=True) as m:
        assert m.residency() == 0.0
        m[5] = m[PAGE_SIZE] = 1
        assert m.residency() == 0.25
        assert (m.residency(0, 2 * PAGE_SIZE), m.residency(2 * PAGE_SIZE)) == (1.0, 0.0)
        assert m.residency(PAGE_SIZE + 5, PAGE_SIZE) == 0.5
        m.advise("dontneed")
        assert m.residency() == 0.0
        with pytest.raises(ValueError, match="an empty range has no pages"):
            m.residency(0, 0)
        with pytest.raises(ValueError, match="offset must be at most"):
            m.residency(9 * PAGE_SIZE)


def test_residency_of_more_pages_than_are_asked_for_at_once() -> None:
    """The count is right beyond one turn of the kernel's answer, 16 MiB."""
    with Mapping.anonymous("40 MiB", private=True) as m:
        m.advise("nohugepage")
        m[-1] = 1

        assert m.residency() == 1 / (40 * 256)


@pytest.mark.parametrize("kind", ["memfd", "file"])
def test_no_reserve_makes_a_sparse_file_and_the_default_a_full_one(
    kind: str, tmp_path: Path
) -> None:
    """Asked for, the length comes without room behind it."""

    def blocks(no_reserve: bool) -> int:
        if kind == "memfd":
            with Mapping.memfd("1 MiB", name=f"sparse {no_reserve}", no_reserve=no_reserve):
                (link,) = (
                    link
                    for link in Path("/proc/self/fd").iterdir()
                    if os.path.lexists(link) and f"sparse {no_reserve}" in os.readlink(link)
                )
                return link.stat().st_blocks * 512
        path = tmp_path / f"{no_reserve}"
        with Mapping.create(path, "1 MiB", no_reserve=no_reserve):
            return path.stat().st_blocks * 512

    full = blocks(False)

    assert blocks(True) == 0
    assert full >= 1 << 20


def test_no_reserve_maps_more_than_the_machine_has() -> None:
    """Address space only, until it is touched."""
    with Mapping.anonymous("1 TiB", private=True, no_reserve=True) as m:
        m[1 << 39] = 1

        assert m[1 << 39] == 1


# ---- huge pages ----------------------------------------------------------------------------------


def reserved_huge_pages() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("HugePages_Free:"):
            return int(line.split()[1])
    return 0


@pytest.mark.parametrize("kind", ["private", "shared", "memfd"])
def test_huge_pages_fall_back_and_the_attribute_says_what_was_got(kind: str) -> None:
    """Reserved ones if some are free, else transparent ones if allowed, else ordinary ones."""
    makes: dict[str, Callable[[], Mapping]] = {
        "private": lambda: Mapping.anonymous("4 MiB", private=True, huge_pages=True),
        "shared": lambda: Mapping.anonymous("4 MiB", huge_pages=True),
        "memfd": lambda: Mapping.memfd("4 MiB", huge_pages=True),
    }
    setting = TRANSPARENT / ("enabled" if kind == "private" else "shmem_enabled")
    allowed = setting.exists() and not any(
        f"[{mode}]" in setting.read_text() for mode in ("never", "deny")
    )
    with makes[kind]() as m:
        m[:] = b"x" * len(m)
        m[-1] = 1

        if m.huge_pages_kind == "reserved":
            assert m.page_nbytes > PAGE_SIZE
        else:
            assert m.page_nbytes == PAGE_SIZE
            assert ("transparent" if allowed else None) == m.huge_pages_kind
        assert m.huge_pages == (m.huge_pages_kind is not None)
        assert (len(m), m[-1]) == (4 << 20, 1)


@pytest.mark.skipif(reserved_huge_pages() < 4, reason="no huge pages are reserved on this machine")
@pytest.mark.parametrize("guard_pages", [0, 1])
def test_reserved_huge_pages_hold_any_length_and_protect_by_their_own_pages(
    guard_pages: int,
) -> None:
    """Everything works on them but growing, which the kernel cannot."""
    makes: list[Callable[[], Mapping]] = [
        lambda: Mapping.anonymous(3 << 20, private=True, huge_pages=True, guard_pages=guard_pages),
        lambda: Mapping.memfd(3 << 20, huge_pages=True, guard_pages=guard_pages),
    ]
    for make in makes:
        with make() as m:
            assert (m.huge_pages_kind, m.page_nbytes, len(m)) == ("reserved", 2 << 20, 3 << 20)
            m[-1] = 7
            m.flush()
            m.lock()
            m.unlock()
            m.protect("r", 2 << 20)
            m.protect("rw")
            with pytest.raises(ValueError, match="one of 2097152 bytes"):
                m.protect("r", PAGE_SIZE)
            with pytest.raises(
                io.UnsupportedOperation, match="cannot lengthen mappings of huge pages"
            ):
                m.resize("4 MiB")
            assert (m[-1], m.residency()) == (7, 1.0)


def test_ordinary_mappings_have_no_huge_pages_and_wrong_sizes_are_refused(make: Make) -> None:
    """Nothing is got that was not asked for."""
    with make() as m:
        assert (m.huge_pages, m.huge_pages_kind, m.page_nbytes) == (False, None, PAGE_SIZE)
    with pytest.raises(ValueError, match="a power of two, got '3 MiB'"):
        Mapping.anonymous("6 MiB", huge_pages="3 MiB")
    with pytest.raises(ValueError, match="huge_pages must be"):
        Mapping.anonymous("6 MiB", huge_pages=-1)


# ---- locked memory -------------------------------------------------------------------------------


def test_locked_memory_is_in_memory_and_the_kernel_knows_it(make: Make) -> None:
    """By option and by call; unlock takes it back."""
    with make(locked=True) as m:
        assert "lo" in flags_of(m.address)
        m.unlock()
        assert "lo" not in flags_of(m.address)
        m.lock(len(m) - 1, 1)
        assert "lo" in flags_of(m.address + len(m) - 1)
        m.unlock(0, 0)
        m.unlock()
        m.lock(on_fault=True)
        assert "lf" in flags_of(m.address) or "lo" in flags_of(m.address)


def test_lock_on_fault_brings_nothing_in_by_itself() -> None:
    """Without it every page is there at once."""
    with Mapping.anonymous(4 * PAGE_SIZE, private=True) as m:
        m.lock(on_fault=True)
        assert m.residency() == 0.0
        m.lock()
        assert m.residency() == 1.0
        for wrong in ((5 * PAGE_SIZE, None), (0, 5 * PAGE_SIZE)):
            with pytest.raises(ValueError, match="must be at most"):
                m.lock(*wrong)
            with pytest.raises(ValueError, match="must be at most"):
                m.unlock(*wrong)


def test_memory_without_rights_cannot_be_locked_and_says_why() -> None:
    """There is nothing to bring in."""
    with Mapping.anonymous(PAGE_SIZE, private=True, protection="none") as m:
        with pytest.raises(
            OSError, match="cannot be brought in; protect\\('r'\\) them first"
        ) as caught:
            m.lock()
        assert caught.value.errno == errno.ENOMEM


def test_more_than_may_be_locked_says_how_much_may_be() -> None:
    """RLIMIT_MEMLOCK, for one who is not root; the mapping that asked for it is not made."""

    def ask() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (64 << 10, 64 << 10))
        if os.getuid() == 0:
            os.setuid(65534)
        with Mapping.anonymous("1 MiB", private=True) as m:
            with pytest.raises(
                OSError, match=r"may lock 65536 bytes in all \(RLIMIT_MEMLOCK\)"
            ) as caught:
                m.lock()
            assert caught.value.errno in (errno.ENOMEM, errno.EAGAIN)
            m.lock(0, PAGE_SIZE)
        # in the middle of much room, where nobody else maps anything meanwhile
        where = free_address(1 << 30) + (512 << 20)
        with pytest.raises(OSError, match="RLIMIT_MEMLOCK"):
            Mapping.anonymous("1 MiB", private=True, locked=True, address=where, fixed=True)
        Mapping.anonymous("1 MiB", private=True, address=where, fixed=True).close()
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
        with pytest.raises(PermissionError, match="may lock 0 bytes"):
            Mapping.anonymous(1, locked=True)

    with Child(ask) as child:
        assert child.wait() == 0


# ---- guard pages ---------------------------------------------------------------------------------


def test_guard_pages_lie_on_both_sides_and_end_who_touches_them(make: Make) -> None:
    """One byte outside is a SIGSEGV; the mapping itself is as without them."""
    with make(guard_pages=2) as m:
        (first, start), (stop, last) = m.guard_ranges
        assert m.guard_pages == 2
        assert (start - first, last - stop) == (2 * PAGE_SIZE, 2 * PAGE_SIZE)
        assert start <= m.address < start + PAGE_SIZE
        assert stop - PAGE_SIZE < m.address + len(m) <= stop
        assert (
            "---p"
            == memory_map(first)[1]
            == memory_map(start - 1)[1]
            == memory_map(stop)[1]
            == memory_map(last - 1)[1]
        )
        assert "2 guard pages" in repr(m)
        ctypes.string_at(m.address, len(m))
        for address in (start - 1, stop):
            with Child(die_at(address)) as child:
                assert child.wait() == -signal.SIGSEGV
    for address in (first, start, stop, last - 1):
        assert memory_map(address) == [] or memory_map(address)[1] != "---p"


@pytest.mark.parametrize("kind", ["private", "memfd", "new file"])
def test_guard_pages_move_with_a_mapping_that_is_resized(kind: str, file: Path) -> None:
    """Up and down; nothing is left where it was."""
    with MAKES[kind](file)(guard_pages=1) as m:
        m[0] = 7
        for nbytes in (100 * PAGE_SIZE, PAGE_SIZE + 1, 5, 3 * PAGE_SIZE):
            before = m.guard_ranges
            m.resize(nbytes)
            (first, start), (stop, last) = m.guard_ranges
            assert (7, nbytes) == (m[0], len(m))
            assert (m.address, m.address + -(-nbytes // PAGE_SIZE) * PAGE_SIZE) == (start, stop)
            assert "---p" == memory_map(first)[1] == memory_map(stop)[1]
            if before != m.guard_ranges:
                assert "---p" not in memory_map(before[1][0])[1:2] or stop <= before[1][0] < last


def test_an_ordinary_mapping_has_no_guard_pages_and_wrong_numbers_are_refused() -> None:
    """0 is the default; True is one page."""
    with Mapping.anonymous(1) as m:
        assert (m.guard_pages, m.guard_ranges) == (0, ())
    with Mapping.anonymous(1, guard_pages=True) as m:
        assert m.guard_pages == 1
    wrong: list[Any] = [-1, 1 << 30, "1", 1.0]
    for number in wrong:
        with pytest.raises(ValueError, match="guard_pages must be a number of pages from 0"):
            Mapping.anonymous(1, guard_pages=number)


# ---- names, protections --------------------------------------------------------------------------


def kernel_names_memory() -> bool:
    with Mapping.anonymous(PAGE_SIZE, private=True) as m:
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(
            libc.prctl(
                0x53564D41,
                0,
                ctypes.c_ulong(m.address),
                ctypes.c_ulong(PAGE_SIZE),
                ctypes.c_char_p(b"probe"),
            )
            == 0
        )


def test_a_name_stands_in_the_memory_map_where_the_kernel_can_and_in_repr_everywhere(
    file: Path,
) -> None:
    """Anonymous memory by prctl, memfds by their own name, files by their path."""
    with Mapping.anonymous(PAGE_SIZE, private=True, name="my scratch") as m:
        assert m.name == "my scratch"
        assert "named 'my scratch'" in repr(m)
        if kernel_names_memory():
            assert memory_map(m.address)[5] == "[anon:my scratch]"
    with Mapping.memfd(PAGE_SIZE, name="frames") as m:
        assert (m.name, memory_map(m.address)[5]) == ("frames", "/memfd:frames (deleted)")
    with Mapping.open(file, name="input") as m:
        assert ("input", str(file)) == (m.name, memory_map(m.address)[5])
        assert "named 'input'" in repr(m)
    with Mapping.anonymous(1) as m:
        assert m.name is None
    for name in ("x" * 80, "a\nb", "a[b]", "back\\slash", "$", "`"):
        with pytest.raises(ValueError, match="name must be printable, at most 79 bytes"):
            Mapping.anonymous(1, name=name)


@pytest.mark.parametrize("protection", ["none", "r", "w", "x", "rw", "rx", "wx", "rwx"])
def test_every_protection_can_be_had_from_the_start_and_later(protection: Any) -> None:
    """The kernel's own table shows exactly the rights that were asked for."""
    expected = "".join(bit if bit in protection.replace("none", "") else "-" for bit in "rwx")
    with Mapping.anonymous(PAGE_SIZE, private=True, protection=protection) as m:
        assert expected + "p" == memory_map(m.address)[1]
        m.protect("rw")
        m.protect(protection)
        assert expected + "p" == memory_map(m.address)[1]
        if "r" not in expected:
            with pytest.raises(PermissionError, match="protected from reading"):
                m[0]
        if "w" not in expected:
            with pytest.raises(TypeError, match="protected from writing"):
                m[0] = 1
        else:
            m[0] = 1


def test_code_written_into_executable_memory_runs() -> None:
    """Written as data, made executable and no longer writable, called through ctypes."""
    machine = os.uname().machine
    code = {
        "x86_64": bytes.fromhex("b82a000000c3"),  # mov eax, 42; ret
        "aarch64": bytes.fromhex("40058052c0035fd6"),  # mov w0, #42; ret
    }.get(machine)
    if code is None:
        pytest.skip(f"no code for {machine}")
    with Mapping.anonymous(PAGE_SIZE, private=True) as m:
        m[: len(code)] = code
        m.protect("rx")

        assert ctypes.CFUNCTYPE(ctypes.c_int)(m.address)() == 42


# ---- advice --------------------------------------------------------------------------------------


def test_wiped_memory_is_zeros_in_a_child_and_unharmed_in_the_parent() -> None:
    """For secrets and for counters of a process's own."""
    with Mapping.anonymous(PAGE_SIZE, private=True) as m:
        m[0] = 42
        m.advise("wipeonfork")

        def look() -> None:
            assert m[0] == 0

        with Child(look) as child:
            assert child.wait() == 0
        m.advise("keeponfork")
        with Child(look) as child:
            assert child.wait() == 1
        assert m[0] == 42


def test_locked_pages_are_given_back_only_by_the_advice_that_says_so() -> None:
    """dontneed refuses them, dontneed_locked does not (Linux 5.18)."""
    with Mapping.anonymous(2 * PAGE_SIZE, private=True, locked=True) as m:
        m[0] = 1
        with pytest.raises(OSError, match="does not take it"):
            m.advise("dontneed")
        with pytest.raises(ValueError, match="whole pages"):
            m.advise("dontneed_locked", 1)
        try:
            m.advise("dontneed_locked")
        except OSError:
            pytest.skip("a kernel before 5.18")
        assert m[0] == 0


# ---- copy-on-write, written back on purpose ------------------------------------------------------


def test_a_private_copy_is_written_back_only_when_asked_and_only_what_was_asked_for(
    file: Path,
) -> None:
    """The file stays until then; the range and no more goes back, at the place it came from."""
    before = file.read_bytes()
    with Mapping.open(file, "c", offset=100) as m:
        m[0:4] = b"HEAD"
        m[2 * PAGE_SIZE : 2 * PAGE_SIZE + 4] = b"TAIL"
        assert before == file.read_bytes()
        assert m.write_back(offset=0, nbytes=4) == 4
        half = before[:100] + b"HEAD" + before[104:]
        assert half == file.read_bytes()
        assert m.write_back(wait=False) > 0
        place = 100 + 2 * PAGE_SIZE
        assert half[:place] + b"TAIL" + half[place + 4 :] == file.read_bytes()
        assert m.write_back() == 0


def test_what_others_wrote_elsewhere_in_the_meantime_survives_a_write_back(tmp_path: Path) -> None:
    """Blocks that are the same in the file are left alone, also if this copy of them is old."""
    path = tmp_path / "big"
    path.write_bytes(bytes(1 << 20))
    with Mapping.open(path, "c") as m:
        m[0] = 1
        with path.open("r+b") as other:
            other.seek(1 << 19)
            other.write(b"theirs")

        assert m.write_back() == 16 << 10
    assert path.read_bytes()[1 << 19 : (1 << 19) + 6] == b"theirs"


def test_write_back_to_another_path_makes_the_file_and_needs_one_where_there_is_none(
    tmp_path: Path, file: Path
) -> None:
    """Memory has no file of its own; a pipe, a directory and a closed mapping are refused."""
    target = tmp_path / "saved"
    with Mapping.anonymous(100) as m:
        m[:] = bytes(range(100))
        with pytest.raises(io.UnsupportedOperation, match="has no file with a path; pass one"):
            m.write_back()
        assert m.write_back(target, 90, 10) == 10
        assert bytes(90) + bytes(range(90, 100)) == target.read_bytes()
        assert target.stat().st_mode & 0o777 == 0o600
        with pytest.raises(IsADirectoryError):
            m.write_back(tmp_path)
        with pytest.raises(io.UnsupportedOperation, match="no regular file"):
            m.write_back("/dev/zero")
        with pytest.raises(ValueError, match="must be at most"):
            m.write_back(target, 101)
    with pytest.raises(memlane.ClosedError):
        m.write_back(target)
    with Mapping.open(file, "c") as m:
        file.rename(tmp_path / "moved")
        with pytest.raises(FileNotFoundError, match="still have the path"):
            m.write_back()
        m.protect("none")
        with pytest.raises(PermissionError, match="protected from reading"):
            m.write_back(target)


# ---- searching -----------------------------------------------------------------------------------


def test_rfind_and_count_agree_with_bytes_for_every_pair_of_bounds() -> None:
    """Also for nothing, for what overlaps itself, and for more than there is."""
    with Mapping.anonymous(24) as m:
        m[:] = b"one two one twowo ooo. ."
        copy = m[:]
        for sought in (b"one", b"wo", b"", b"oo", b"three", b".", copy, copy + b"x"):
            for start in (None, 0, 1, 8, 22, 24, 30, -5):
                for end in (None, 0, 3, 11, 24, 30, -1):
                    assert copy.rfind(sought, start, end) == m.rfind(sought, start, end)
                    assert copy.count(sought, start, end) == m.count(sought, start, end)


def test_searches_of_large_mappings_find_the_last_and_count_all() -> None:
    """Beyond the size at which other threads may run meanwhile."""
    with Mapping.anonymous("4 MiB") as m:
        m[100:103] = m[3 << 20 : (3 << 20) + 3] = b"abc"

        assert (m.rfind(b"abc"), m.count(b"c"), m.count(b"abc", 101)) == (3 << 20, 2, 1)
        assert (m.rfind(b"abc", 0, 3 << 20), m.rfind(b"abd")) == (100, -1)


def test_every_option_is_refused_after_close_as_any_use_is() -> None:
    """ClosedError from each new call, while the facts still answer."""
    m = Mapping.anonymous(PAGE_SIZE, guard_pages=1, name="gone")
    m.close()
    uses: list[Callable[[], object]] = [
        m.lock,
        m.unlock,
        m.residency,
        m.write_back,
        lambda: m.rfind(b"x"),
        lambda: m.count(b"x"),
        lambda: m.address,
        lambda: m.guard_ranges,
    ]
    for use in uses:
        with pytest.raises(memlane.ClosedError, match="is closed"):
            use()

    assert (m.name, m.guard_pages, m.page_nbytes, m.huge_pages) == ("gone", 1, PAGE_SIZE, False)
