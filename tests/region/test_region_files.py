# SPDX-License-Identifier: MIT
"""Names of regions: how they come, how they go, and what `sweep` may take away."""

from __future__ import annotations

import errno
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import memlane
from memlane import LayoutError, Region, RegionExistsError, RegionNotFoundError, Ring, _core
from memlane._region import files as files_module
from memlane._region import semaphores as semaphores_module
from memlane._region.location import Location
from memlane._region.sweep import remove
from tests.support.processes import Child, output_of, unrelated
from tests.support.region_files import SHARED_MEMORY, field, file_of, semaphores

pytestmark = pytest.mark.machine

OTHER_USER = 54321
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root, to make files of other users"
)


def path_of(name: str) -> Path:
    return SHARED_MEMORY / f"memlane.{name}"


def is_used(path: Path) -> bool:
    """Whether somebody is present at a file: seen through a description of our own."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return not _core.presence_lock(descriptor, True)
    finally:
        os.close(descriptor)


# ---- coming --------------------------------------------------------------------------------------


def test_a_region_is_complete_before_it_has_a_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that finds the name finds the header, the object and its semaphores. (hazard 19)"""
    seen: list[Any] = []
    link = files_module.link

    def look_before(descriptor: int, *rest: Any) -> None:
        file = Path(f"/proc/self/fd/{descriptor}")
        with pytest.raises(RegionNotFoundError):
            Ring.open(name)
        seen.append((path_of(name).exists(), field(file, "count")))
        seen.append(sorted(semaphores(field(file, "region_id")))[0])
        link(descriptor, *rest)

    monkeypatch.setattr(files_module, "link", look_before)
    with Ring.create(name) as ring, Ring.open(name) as again:
        again.put(b"whole")
        received = ring.get()
        ring.unlink()

    assert [(False, 1), 0] == seen
    assert b"whole" == received


def test_a_region_is_complete_before_it_has_a_name_where_files_cannot_be_made_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Without O_TMPFILE a hidden name serves until the region is complete; it does not stay. (hazard
    19)
    """
    monkeypatch.setattr(os, "open", _without_nameless_files(os.open))
    seen: list[list[str]] = []
    link = files_module.link

    def look_before(*arguments: Any) -> None:
        seen.append(sorted(os.listdir(tmp_path)))
        link(*arguments)

    monkeypatch.setattr(files_module, "link", look_before)
    path = tmp_path / "here"
    with Region.create(path, 4096) as region, Region.open(path):
        with pytest.raises(RegionExistsError):
            Region.create(path, 4096)
        left = os.listdir(tmp_path)
        region.unlink()

    assert ["here"] == left
    assert [[f".memlane-new.{semaphores_module.set_of(region._member.region_id)}"], 2] == [
        seen[0],
        len(seen[1]),
    ]


def _without_nameless_files(real: Any) -> Any:
    def open_named(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "no O_TMPFILE here", str(path))
        found: int = real(path, flags, *rest, **options)
        return found

    return open_named


@pytest.mark.sweeps
def test_sweep_finds_what_a_creator_left_that_was_killed_before_the_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Killed before the link: no name appeared, and the hidden file and the semaphores are swept.
    """
    monkeypatch.setattr(os, "open", _without_nameless_files(os.open))
    monkeypatch.setattr(files_module, "link", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with Child(Ring.create, name) as creator:
        assert -signal.SIGKILL == creator.wait()
    hidden = [path.name for path in SHARED_MEMORY.glob(".memlane-new.*")]
    removed = memlane.sweep()

    assert 1 == len(hidden)
    assert not path_of(name).exists()
    assert {hidden[0], f"semaphores {hidden[0].rpartition('.')[2]}"} <= set(removed)
    assert [] == list(SHARED_MEMORY.glob(".memlane-new.*"))


@pytest.mark.sweeps
def test_a_creator_is_present_before_its_region_has_a_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sweep that comes right after the name leaves the new region alone. (hazard 20)"""
    seen: list[Any] = []
    link = files_module.link

    def sweep_around(descriptor: int, *rest: Any) -> None:
        seen.append(is_used(Path(f"/proc/self/fd/{descriptor}")))
        seen.append(memlane.sweep())
        link(descriptor, *rest)
        seen.append(memlane.sweep())

    monkeypatch.setattr(files_module, "link", sweep_around)
    with Ring.create(name) as ring:
        kept = sorted(semaphores(ring.region._member.region_id))
        ring.unlink()

    assert [True, [], []] == seen
    assert 0 in kept


@pytest.mark.sweeps
def test_a_sweep_between_any_two_steps_of_creation_takes_nothing_away(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A semaphore is safe from its first moment on, though its set has no name yet. (hazard 20)"""
    change_mode = os.chmod

    def sweep_before(path: Any, mode: int) -> None:
        if "sem.memlane." in str(path):
            monkeypatch.setattr(os, "chmod", change_mode)  # once
            memlane.sweep()
        change_mode(path, mode)

    monkeypatch.setattr(os, "chmod", sweep_before)
    with Ring.create(name) as ring:
        numbers = sorted(semaphores(ring.region._member.region_id))
        ring.unlink()
    monkeypatch.setattr(os, "chmod", sweep_before)
    with Ring(anonymous=True) as ring:
        ring.put(b"anonymous")

        assert b"anonymous" == ring.get()
    assert 2 == len(numbers)
    assert 0 == numbers[0]


# ---- who may bear the name -----------------------------------------------------------------------


SQUATTERS: dict[str, Callable[[Path], object]] = {
    "a FIFO": lambda path: os.mkfifo(path, 0o666),
    "a directory": lambda path: path.mkdir(),
    "a symlink to nothing": lambda path: path.symlink_to(path.with_name("nothing")),
    "a symlink to a region": lambda path: path.symlink_to(path.with_name("memlane.other")),
    "a socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o666),
    "text": lambda path: path.write_text("this is no region of anybody"),
}


@pytest.mark.parametrize("kind", SQUATTERS)
@pytest.mark.parametrize("readonly", [False, True])
def test_what_is_no_region_is_refused_at_once(kind: str, readonly: bool, tmp_path: Path) -> None:
    """
    Whatever bears the name, open says that it is no region; it never hangs or follows. (hazard 65)
    """
    path = tmp_path / "squatted"
    with Region.create(tmp_path / "memlane.other", 4096) as other:
        SQUATTERS[kind](path)

        with pytest.raises(LayoutError, match="check the name"):
            Region.open(path, readonly=readonly)
        with pytest.raises(LayoutError, match="check the name"):
            Region.open_or_create(path, 4096)
        with pytest.raises(RegionExistsError):
            Region.create(path, 4096)
        assert os.path.lexists(path)
        other.unlink()


@needs_root
@pytest.mark.sweeps
def test_a_name_squatted_by_another_user_is_not_joined(name: str) -> None:
    """
    What another user put under the name is refused, unless owner= names that user. (hazard 65)
    """
    region = Region.create(name, 4096, permissions=0o666)
    try:
        os.chown(file_of(region), OTHER_USER, OTHER_USER)

        with pytest.raises(PermissionError, match=f"owner={OTHER_USER}") as caught:
            Region.open(name)
        with pytest.raises(PermissionError):
            Region.open_or_create(name, 4096)
        with pytest.raises(PermissionError):
            Region.open(name, owner=1)
        with Region.open(name, owner=OTHER_USER) as trusted:
            assert region.nbytes == trusted.nbytes
        assert errno.EPERM == caught.value.errno
    finally:
        region.unlink()
        region.close()


@needs_root
def test_one_who_may_not_write_cannot_open(name: str) -> None:
    """Permissions are the kernel's: 0600 of root is nobody else's to open, 0644 is to be read."""

    def as_other_user(readonly: bool) -> None:
        os.setgid(OTHER_USER)
        os.setuid(OTHER_USER)
        Region.open(name, readonly=readonly).close()

    def refused(readonly: bool) -> None:
        with pytest.raises(PermissionError):
            as_other_user(readonly)

    with Region.create(name, 4096) as region:
        for readonly in (False, True):
            with Child(refused, readonly) as child:
                assert 0 == child.wait()
        os.chmod(file_of(region), 0o644)
        with Child(refused, False) as child:
            assert 0 == child.wait()
        with Child(as_other_user, True) as child:
            assert 0 == child.wait()
        region.unlink()


@pytest.mark.parametrize("wrong", ["", ".", ".hidden", "a/b", "/abs", "a\0b", "x" * 201])
def test_what_cannot_be_a_name_is_refused(wrong: str) -> None:
    """A str names shared memory: a path in it is a mistake that is told."""
    with pytest.raises(ValueError, match="name must"):
        Region.create(wrong, 4096)
    with pytest.raises(ValueError, match="name must"):
        Region.open(wrong)


def test_a_name_is_no_number_and_no_bytes() -> None:
    """Only a str or an os.PathLike is a name."""
    for wrong in (7, b"bytes"):
        with pytest.raises(TypeError):
            Region.create(wrong, 4096)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="pickle or fork"):
        Region.open(None)  # type: ignore[arg-type]


def test_the_longest_name_works() -> None:
    """200 bytes of any UTF-8 are a name."""
    longest = "ü" * 95 + f"{os.getpid():010d}"
    with Region.create(longest, 4096) as region:
        names = Region.names()
        region.unlink()

    assert longest in names


# ---- going ---------------------------------------------------------------------------------------


def test_names_tells_regions_and_nothing_else(name: str) -> None:
    """In use or at rest, a region is listed; what only looks like one is not."""
    impostor = path_of(f"{name}-text")
    os.mkfifo(path_of(f"{name}-fifo"))
    impostor.write_text("text")
    Region.create(name, 4096).close()
    try:
        mine = [found for found in Region.names() if found.startswith(name)]
    finally:
        impostor.unlink()
        path_of(f"{name}-fifo").unlink()
        with Region.open(name) as region:
            region.unlink()

    assert [name] == mine
    assert name not in Region.names()


def test_unlink_takes_the_name_from_everybody_and_the_memory_from_nobody(name: str) -> None:
    """
    A process that has the region open goes on; the name and every semaphore are gone, at once.
    """
    with Ring.create(name) as ring, Ring.open(name) as again:
        ring.unlink()

        with pytest.raises(RegionNotFoundError):
            Ring.open(name)
        again.put(b"still here")
        assert b"still here" == ring.get()
        assert {} == semaphores(ring.region._member.region_id)


def test_unlink_works_after_close_and_twice(name: str, tmp_path: Path) -> None:
    """Being done here and taking the name away are two things, in any order."""
    for where in (name, tmp_path / "file"):
        region = Region.create(where, 4096)
        region.close()
        region.unlink()
        region.unlink()

        with pytest.raises(RegionNotFoundError):
            Region.open(where)


def test_unlink_leaves_a_newer_region_of_the_same_name_alone(name: str) -> None:
    """The name leads to another region by now: that one stays."""
    with Region.create(name, 4096) as old:
        old.unlink()
        with Region.create(name, 8192) as new:
            old.unlink()
            with Region.open(name) as found:
                assert new.nbytes == found.nbytes
            new.unlink()


def test_an_object_beside_others_cannot_be_unlinked() -> None:
    """Only a region has a name to lose."""
    with (
        Region.create(None, "1 MiB") as region,
        pytest.raises(ValueError, match="unlink the region"),
    ):
        region.counter("hits").unlink()


@pytest.mark.sweeps
def test_sweep_removes_what_nobody_has_open_and_only_that(name: str) -> None:
    """A region at rest goes, semaphores included; one that any process has open stays."""
    Ring.create(f"{name}-rest").close()
    with Ring.create(f"{name}-used") as ring:
        removed = memlane.sweep()
        program = unrelated("import memlane; print(memlane.sweep())")
        elsewhere = output_of(program)
        left = Region.names()
        ring.unlink()

    assert f"{name}-rest" in removed
    assert 1 == sum(found.startswith("semaphores ") for found in removed)
    assert "[]\n" == elsewhere
    assert f"{name}-used" in left
    assert f"{name}-rest" not in left


@pytest.mark.sweeps
@pytest.mark.parametrize("readonly", [False, True])
def test_a_process_that_sweeps_keeps_what_it_has_open_itself(name: str, readonly: bool) -> None:
    """Sweeping never goes through the locks that this process holds. (hazard 22)"""
    made = Ring.create(name)
    with memlane.Region.open(name, readonly=readonly) as region:
        made.close()
        removed = memlane.sweep()
        still_used = is_used(path_of(name))
        sets = semaphores(region._member.region_id)
        region.unlink()

    assert [] == removed
    assert still_used
    assert 2 == len(sets)


@pytest.mark.sweeps
def test_a_sweep_that_was_stopped_before_it_removes_keeps_the_name_from_being_made_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Sweep decides and removes under presence, and so does unlink: neither gets in between. (hazard
    21)
    """

    def stop_before(path: Any, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)
        remove(path, **options)

    remove = os.unlink
    old = Region.create(name, 4096)
    old.close()
    monkeypatch.setattr(os, "unlink", stop_before)
    with Child(memlane.sweep) as sweeper:
        monkeypatch.setattr(os, "unlink", remove)
        assert os.WIFSTOPPED(os.waitpid(sweeper.pid, os.WUNTRACED)[1])
        monkeypatch.setattr(files_module, "_PRESENCE_PATIENCE_S", 0.05)

        with pytest.raises(OSError, match="swept by a process that does not go on") as caught:
            old.unlink()
        with pytest.raises(OSError, match="swept by a process that does not go on"):
            Region.open(name)
        with pytest.raises(RegionExistsError):
            Region.create(name, 4096)
        sweeper.go_on()
        assert 0 == sweeper.wait()
    assert errno.EBUSY == caught.value.errno
    assert not path_of(name).exists()


@pytest.mark.sweeps
def test_a_sweep_that_looked_at_an_old_region_does_not_remove_its_successor(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Stopped between its look and its lock, with the name unlinked and made again meanwhile. (hazard
    21)
    """

    def stop_before(descriptor: int, for_writing: bool = False) -> bool:
        os.kill(os.getpid(), signal.SIGSTOP)
        return lock(descriptor, for_writing)

    lock = _core.presence_lock
    old = Region.create(name, 4096)
    old.close()
    monkeypatch.setattr(_core, "presence_lock", stop_before)
    with Child(memlane.sweep) as sweeper:
        monkeypatch.setattr(_core, "presence_lock", lock)
        assert os.WIFSTOPPED(os.waitpid(sweeper.pid, os.WUNTRACED)[1])
        old.unlink()
        Region.create(name, 8192).close()
        # Each further file and set of semaphores stops the sweeper once more.
        sweeper.go_on()
        while True:
            _, status = os.waitpid(sweeper.pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                sweeper.status = os.waitstatus_to_exitcode(status)
                break
            sweeper.go_on()
    with Region.open(name) as new:
        new.unlink()

    assert 0 == sweeper.status
    assert 8192 < new._member.nbytes


@pytest.mark.sweeps
def test_an_opener_that_found_a_name_just_swept_looks_again(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It opened the file, then the name was swept and made again: it gets the new region. (hazard 21)
    """
    check = files_module.check_file
    swept: list[list[str]] = []
    new: list[Region] = []

    def sweep_after(*arguments: Any) -> os.stat_result:
        found = check(*arguments)
        if not swept:
            swept.append(memlane.sweep())
            new.append(Region.create(name, 1 << 20))
        return found

    Region.create(name, 4096).close()
    monkeypatch.setattr(files_module, "check_file", sweep_after)
    with Region.open(name) as region:
        nbytes = region.nbytes
        region.unlink()
    new[0].close()

    assert name in swept[0]
    assert new[0]._member.nbytes == nbytes


@pytest.mark.sweeps
def test_sweep_leaves_alone_what_it_does_not_know(name: str) -> None:
    """Files that only look like ours, of any kind, are nobody's to remove."""
    paths = [path_of(f"{name}-{i}") for i in range(3)]
    os.mkfifo(paths[0])
    paths[1].write_text("text")
    paths[2].symlink_to(paths[1])
    try:
        removed = memlane.sweep()
        left = [os.path.lexists(path) for path in paths]
    finally:
        for path in paths:
            path.unlink()

    assert [True] * 3 == left
    assert not any(found.startswith(name) for found in removed)


@needs_root
@pytest.mark.sweeps
def test_sweep_of_a_user_leaves_the_regions_of_others_alone(name: str) -> None:
    """What another user made is not removed, though it is at rest; root may sweep it."""

    def sweep_as_other_user() -> None:
        os.setuid(OTHER_USER)
        assert name not in memlane.sweep()

    Region.create(name, 4096, permissions=0o666).close()
    with Child(sweep_as_other_user) as child:
        assert 0 == child.wait()
    assert path_of(name).exists()
    assert name in memlane.sweep()


def test_sweep_that_is_only_tried_removes_nothing_and_tells_the_same_names(name: str) -> None:
    """dry_run=True is what the sweep after it would remove, of the names that were given."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.ring("frames", capacity=4096)
        assert [] == memlane.sweep([name], dry_run=True)
    other = f"{name}-other"
    memlane.Region.create(other, "1 MiB").close()
    try:
        would = memlane.sweep([name], dry_run=True)
        assert [name] == [found for found in would if not found.startswith("semaphores ")]
        assert {name, other} <= set(memlane.Region.names())
        assert {name} <= set(memlane.sweep([name]))
        assert [] == memlane.sweep([name], dry_run=True)
        assert other in memlane.Region.names()
    finally:
        assert other in memlane.sweep([other])


def test_what_cannot_be_opened_to_be_removed_or_looked_at_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the bare words of the system: what it was for, and what helps."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "region")
    with pytest.raises(OSError, match=r"cannot remove region '.*link'.*name its target"):
        remove(link)
    with pytest.raises(FileNotFoundError, match=r"cannot remove region '.*none'"):
        remove(tmp_path / "none")

    def refuse(*_arguments: object) -> int:
        raise PermissionError(errno.EACCES, "refused")

    monkeypatch.setattr("memlane._region.files.os.open", refuse)
    with pytest.raises(PermissionError, match=r"cannot look at it.*ask its owner.*as root"):
        Region._look_at(Location(None, None, 0, "it"), tmp_path / "region")


def test_region_in_use_is_not_removed_by_name_and_a_spoilt_one_is(
    name: str, tmp_path: Path
) -> None:
    """`remove` takes what begins as a region does and nobody has open, with its semaphores."""
    path = tmp_path / "file"
    for where in (name, path):
        with memlane.Region.create(where, "1 MiB") as region:
            region.ring("frames", capacity=4096)
            with pytest.raises(BlockingIOError, match="is in use"):
                remove(where)
        file = Location.parse(where).path
        assert file is not None
        os.truncate(file, 100)
        remove(where)
        assert not file.exists()
    path.write_bytes(b"no region")
    with pytest.raises(memlane.LayoutError, match="is no region of memlane"):
        remove(path)
    assert path.exists()


# ---- two who remove ------------------------------------------------------------------------------


def _stop_behind_the_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a child: stand still between the look at a name and its removal."""
    look = semaphores_module.still_names

    def looked(path: Path, found: os.stat_result) -> bool:
        seen = look(path, found)
        if path.name.startswith("memlane."):
            os.kill(os.getpid(), signal.SIGSTOP)
        return seen

    monkeypatch.setattr(semaphores_module, "still_names", looked)


@pytest.mark.sweeps
@pytest.mark.parametrize("first", ["unlink", "sweep"])
@pytest.mark.parametrize("second", ["unlink", "sweep"])
def test_two_who_remove_a_name_never_remove_that_of_a_region_made_in_between(
    name: str, first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is stopped behind its look; the name stays until it goes on, and then goes once."""
    monkeypatch.setattr(files_module, "_PRESENCE_PATIENCE_S", 0.05)
    region = Region.create(name, "1 MiB")
    region.close()

    def remove() -> None:
        _stop_behind_the_look(monkeypatch)
        if first == "unlink":
            region.unlink()
        else:
            memlane.sweep()

    with Child(remove) as child:
        os.waitpid(child.pid, os.WUNTRACED)
        if second == "sweep":
            assert name not in memlane.sweep()
        else:
            with pytest.raises(OSError, match="by a process that does not go on; find that") as met:
                region.unlink()
            assert errno.EBUSY == met.value.errno
        assert path_of(name).exists()
        with pytest.raises(RegionExistsError):
            Region.create(name, "1 MiB")
        child.go_on()
        assert 0 == child.wait()
    assert not path_of(name).exists()

    with Region.create(name, "1 MiB") as made:
        region.unlink()  # late, and of another region by now
        with Region.open(name):
            pass
        made.unlink()
    assert {} == semaphores(region._member.region_id)


# ---- pickled handles and names -------------------------------------------------------------------


def _without_its_sender(region: Region) -> Callable[[], Region]:
    """What unpickling does where the sender is gone, so that only the name is left."""
    build: Any
    build, found = region.__reduce__()
    kind, region_id, name, readonly, _pid, _base, *rest = found
    region.close()

    def rebuild() -> Region:
        made: Region = build(kind, region_id, name, readonly, 2**22 - 7, 3, *rest)
        return made

    return rebuild


@needs_root
def test_a_pickled_handle_refuses_a_name_that_another_user_has_squatted(name: str) -> None:
    """What open refuses unpickling refuses: the id in the file proves nothing. (hazard 65)"""
    region = Region.create(name, "1 MiB")
    rebuild = _without_its_sender(region)
    copy = path_of(name).read_bytes()
    region.unlink()
    path_of(name).write_bytes(copy)
    os.chown(path_of(name), OTHER_USER, OTHER_USER)
    os.chmod(path_of(name), 0o666)

    joins: list[Callable[[], Region]] = [lambda: Region.open(name), rebuild]
    for join in joins:
        with pytest.raises(PermissionError, match="belongs to user 54321"):
            join()
    os.unlink(path_of(name))


@needs_root
def test_a_handle_that_was_opened_with_an_owner_keeps_it_when_it_is_pickled(name: str) -> None:
    """A process that trusts that user goes on trusting him in the next process."""
    Region.create(name, "1 MiB").close()
    os.chown(path_of(name), OTHER_USER, OTHER_USER)
    region = Region.open(name, owner=OTHER_USER)
    rebuild = _without_its_sender(region)

    with rebuild() as again:
        assert list(again) == []
        again.unlink()


def test_a_pickled_handle_follows_no_symbolic_link(name: str) -> None:
    """The name is looked for as open does it."""
    region = Region.create(name, "1 MiB")
    rebuild = _without_its_sender(region)
    aside = SHARED_MEMORY / f"memlane.{name}-aside"
    os.rename(path_of(name), aside)
    os.symlink(aside, path_of(name))

    with pytest.raises(RegionNotFoundError):
        rebuild()
    os.unlink(path_of(name))
    os.rename(aside, path_of(name))
    region.unlink()


def test_the_names_of_semaphores_do_not_tell_the_id_of_their_region(name: str) -> None:
    """Everybody can list them, and the id is what a pickled handle knows its region by."""
    with Region.create(name, "1 MiB") as region:
        region_id = f"{region._member.region_id:016x}"

        assert semaphores(region._member.region_id)
        assert [] == [file for file in os.listdir(SHARED_MEMORY) if region_id in file]
        region.unlink()
