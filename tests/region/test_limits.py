# SPDX-License-Identifier: MIT
"""The memory limit of a container is looked at before memory is reserved, so nobody is killed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from memlane import Mapping, Region, Ring, _limits
from tests.support.processes import Child

pytestmark = pytest.mark.machine

MIB = 1 << 20


class Machine:
    """Files as the kernel shows them: groups of version 1 or 2, mounted where a test wants them."""

    def __init__(self, root: Path) -> None:
        self.proc, self.groups = root / "proc", root / "groups"
        (self.proc / "self").mkdir(parents=True)
        self.groups.mkdir()
        self.write(self.proc / "meminfo", "MemFree: 1 kB\nSwapFree: 0 kB\n")

    @staticmethod
    def write(path: Path, text: str | int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def be_in(self, line: str, *, kind: str, root: str = "/", options: str = "rw") -> None:
        """Be in a group, which is mounted with *root* as its uppermost one."""
        self.write(self.proc / "self" / "cgroup", f"1:cpu:/other\n{line}")
        self.write(
            self.proc / "self" / "mountinfo",
            "22 27 0:21 / /proc rw,relatime shared:3 - proc proc rw\n"
            f"31 23 0:29 / {self.groups}/cpu rw,relatime - cgroup cgroup rw,cpu\n"
            f"35 31 0:32 {root} {self.groups} rw,relatime master:1 - {kind} {kind} {options}",
        )

    def group(self, path: str, **files: str | int) -> None:
        """The files of a group; "__" in their names stands for a dot."""
        for name, text in files.items():
            self.write(self.groups / path / name.replace("__", "."), text)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(_limits, "PROC", tmp_path / "proc")
    return Machine(tmp_path)


def room() -> int | None:
    found = _limits.tightest()
    return None if found is None else found.room


def test_the_tightest_of_all_groups_above_counts(machine: Machine) -> None:
    """A pod, a slice, a container in each other: whichever leaves least is the one that is told."""
    machine.be_in("0::/pod/box", kind="cgroup2")
    machine.group("pod/box", memory__max=500, memory__current=100)
    machine.group("pod", memory__max=1000, memory__current=900)
    assert _limits.Limit(100, 1000, f"{machine.groups}/pod/memory.max") == _limits.tightest()

    machine.group("pod", memory__max="max")
    assert 400 == room()
    machine.group("pod/box", memory__max="max")
    assert None is room()


def test_what_the_kernel_would_drop_or_swap_before_it_kills_counts_as_free(
    machine: Machine,
) -> None:
    """Nobody is refused what would have fitted: cached files are dropped, the rest is swapped."""
    stat = "anon 1\nfile 70\ninactive_file 30\nactive_file 20\nshmem 9\n"
    machine.be_in("0::/box", kind="cgroup2")
    machine.group("box", memory__max=1000, memory__current=1000, memory__stat=stat)
    assert 50 == room()
    Machine.write(machine.proc / "meminfo", "SwapFree: 4 kB")
    assert 50 + 4096 == room()
    machine.group("box", memory__swap__max=200, memory__swap__current=50)
    assert 50 + 150 == room()
    machine.group("box", memory__swap__max=0)
    assert 50 == room()


def test_version_1_is_known_too_with_its_limit_of_memory_and_swap(machine: Machine) -> None:
    """Where the memory controller is still of the first version, alone or beside the second."""
    machine.be_in("4:cpuset,memory:/box\n0::/", kind="cgroup", options="rw,cpuset,memory")
    machine.group(
        "box",
        memory__limit_in_bytes=1000,
        memory__usage_in_bytes=400,
        memory__stat="inactive_file 7\ntotal_inactive_file 30\ntotal_active_file 20\n",
    )
    assert 650 == room()
    Machine.write(machine.proc / "meminfo", "SwapFree: 4 kB")
    machine.group("box", memory__memsw__limit_in_bytes=1100, memory__memsw__usage_in_bytes=400)
    assert 750 == room()
    no_limit = 2**63 - 4096
    machine.group("box", memory__limit_in_bytes=no_limit, memory__memsw__limit_in_bytes=no_limit)
    assert None is room()


@pytest.mark.parametrize("inside", ["/docker/abc", "/docker/abc/below", "/elsewhere", "/../other"])
def test_a_container_finds_its_group_wherever_that_is_mounted(
    machine: Machine, inside: str
) -> None:
    """
    Without a namespace for groups, a container sees the host's paths, and its own group mounted as
    if it were the uppermost one.
    """
    machine.be_in(f"0::{inside}", kind="cgroup2", root="/docker/abc")
    machine.group(".", memory__max=1000, memory__current=100)
    assert 900 == room()


def test_what_cannot_be_seen_is_no_reason_to_refuse(machine: Machine) -> None:
    """No /proc, no groups, files that say nothing or something else: then there is no limit."""
    assert None is room()
    machine.be_in("0::/box", kind="cgroup2")
    assert None is room()
    machine.group("box", memory__max="nonsense", memory__current=1)
    assert None is room()
    Machine.write(machine.proc / "self" / "mountinfo", "not a line of it")
    assert None is room()


def reservers(name: str) -> dict[str, Callable[[], object]]:
    def ring(make: Callable[[], Ring]) -> None:
        with make() as made:
            try:
                made.put(b"takes the memory of a lane")
            finally:
                made.unlink()

    return {
        "ring": lambda: ring(lambda: Ring("64 MiB", producers=1)),
        "named ring": lambda: ring(lambda: Ring.create(name, capacity="64 MiB", producers=1)),
        "anonymous": lambda: ring(lambda: Ring("64 MiB", producers=1, anonymous=True)),
        "memfd": lambda: Mapping.memfd("64 MiB"),
        "shm": lambda: Mapping.shm(name, create="64 MiB"),
    }


@pytest.mark.parametrize("kind", reservers(""))
def test_memory_beyond_the_limit_is_refused_before_the_first_page(
    machine: Machine, name: str, kind: str
) -> None:
    """ENOSPC with need and free, naming the limit and its file, for every kind of shared memory."""
    machine.be_in("0::/box", kind="cgroup2")
    machine.group("box", memory__max=100 * MIB, memory__current=60 * MIB)
    text = rf"limit of {100 * MIB} bytes in .*box/memory.max leaves {40 * MIB}; ask for less, or"
    with pytest.raises(OSError, match=text) as caught:
        reservers(name)[kind]()

    assert errno.ENOSPC == caught.value.errno
    assert caught.value.need >= 64 * MIB  # type: ignore[attr-defined]
    assert 40 * MIB == caught.value.free  # type: ignore[attr-defined]
    assert not (Path("/dev/shm") / name).exists()


def test_small_objects_do_not_ask(machine: Machine) -> None:
    """A counter in a full container is no matter: its heap changes by more in the meantime."""
    machine.be_in("0::/box", kind="cgroup2")
    machine.group("box", memory__max=100, memory__current=100)
    with Region.create(None, "1 MiB") as region:
        assert 1 == region.counter("c").add(1)


def test_files_on_a_disk_do_not_ask(machine: Machine, tmp_path: Path) -> None:
    """Their pages go back to the disk, so no limit of memory stands in their way."""
    if os.major(tmp_path.stat().st_dev) == 0:
        pytest.skip("temporary files lie on no disk here")
    machine.be_in("0::/box", kind="cgroup2")
    machine.group("box", memory__max=100, memory__current=100)
    with Mapping.create(tmp_path / "file", "4 MiB") as mapping:
        assert 4 * MIB == len(mapping)


@contextlib.contextmanager
def real_group(nbytes: int) -> Iterator[Path]:
    """A group with a limit, made for a while; skips where this user may not make one."""
    for top, limit in (
        (Path("/sys/fs/cgroup"), "memory.max"),
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
    ):
        made = top / f"memlane-test-{os.getpid()}"
        try:
            if not (top / "cgroup.procs").exists():
                continue
            made.mkdir()
            try:
                (made / limit).write_text(str(nbytes))
                yield made
            finally:
                made.rmdir()
            return
        except OSError:
            continue
    pytest.skip("no control group of memory can be made here")


def test_a_ring_too_large_for_its_container_is_an_error_and_no_kill() -> None:
    """In a real group of 128 MiB: the large one is refused, a small one serves, the child lives."""
    with real_group(128 * MIB) as group:

        def work() -> None:
            (group / "cgroup.procs").write_text(str(os.getpid()))
            with Ring("1 GiB", producers=1) as ring:
                with pytest.raises(
                    OSError, match=f"limit of {128 * MIB} bytes in {group}"
                ) as found:
                    ring.put(b"x")
                assert errno.ENOSPC == found.value.errno
            with Ring("16 MiB", producers=1) as ring:
                ring.put(b"x")
                assert b"x" == ring.get()

        with Child(work) as child:
            assert 0 == child.wait()
