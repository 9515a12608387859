# SPDX-License-Identifier: MIT
"""Sets of semaphores that are removed, replaced or left behind."""

from __future__ import annotations

import errno
import os
import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import memlane
from memlane import Region, RegionExistsError, Ring, _core
from memlane._region import semaphores as semaphores_module
from tests.support.doorbells import bell_at, id_of, stop_asleep, tokens, waiting
from tests.support.processes import PATIENCE_S, Child, output_of, unrelated
from tests.support.region_files import semaphores

pytestmark = pytest.mark.machine


def test_a_set_lost_in_a_reboot_is_made_anew(tmp_path: Path) -> None:
    """
    A file survives, /dev/shm does not: the first opener makes the semaphores again. (hazard 23)
    """
    path = tmp_path / "ring.lane"
    with Ring.create(path, wait="sleep") as ring:
        ring.put(b"kept")
        before = sorted(semaphores(id_of(ring)))
    for left in semaphores(id_of(ring)).values():
        left.unlink()
    with Ring.open(path, wait="sleep") as ring:
        after = sorted(semaphores(id_of(ring)))
        with ring.consumer() as receiving:
            assert b"kept" == receiving.get()
        with Child(ring.get) as child:
            stop_asleep(child, lambda: waiting(ring))
            ring.put(b"rings")
            rung = tokens(ring)
            child.go_on()
            assert 0 == child.wait()
        whole = sorted(semaphores(id_of(ring)))
        ring.unlink()
        left_behind = semaphores(id_of(ring))

    assert before[:2] == after
    assert before == whole
    assert 1 == rung
    assert {} == left_behind


@pytest.mark.parametrize("lost", ["all", "anchor", "bells"])
def test_ten_openers_at_once_after_the_set_was_lost_make_one_set(lost: str, tmp_path: Path) -> None:
    """Only one who is alone makes it anew: all ten end at the same semaphores. (hazard 23)"""
    path = tmp_path / "ring.lane"
    with Ring.create(path, producers=16, wait="sleep") as ring:
        ring.put(b"makes a lane's")
        ring.get()
    for number, left in semaphores(id_of(ring)).items():
        if lost == "all" or (number == 0) == (lost == "anchor"):
            left.unlink()

    def open_and_put() -> None:
        os.close(begin)
        assert b"" == os.read(start, 1)
        with Ring.open(path, wait="sleep") as ring:
            ring.put(b"here")
            assert bell_at(ring).attached
            os.kill(os.getpid(), signal.SIGSTOP)  # present until all are

    start, begin = os.pipe()
    children = [Child(open_and_put) for _ in range(10)]
    os.close(begin)
    os.close(start)
    for child in children:
        status = os.waitpid(child.pid, os.WUNTRACED)[1]
        assert os.WIFSTOPPED(status), status
    with Ring.open(path, wait="sleep") as ring:
        records = [ring.get() for _ in range(10)]
        numbers = sorted(semaphores(id_of(ring)))
        attached = bell_at(ring).attached
        for child in children:
            child.go_on()
        assert [0] * 10 == [child.wait() for child in children]
        ring.unlink()
        left_behind = semaphores(id_of(ring))

    assert [b"here"] * 10 == records
    assert attached
    # The anchor, the consumers', and one for each of the ten lanes; the first lane was leased
    # before.
    assert 12 == len(numbers)
    assert {} == left_behind


@pytest.mark.sweeps
def test_a_removal_killed_between_any_two_steps_is_finished_by_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Wherever it stops, the region can be opened and used, and a sweep removes what is left. (hazard
    23)
    """
    unlink = semaphores_module._unlink

    for steps in range(5):
        path = tmp_path / f"ring-{steps}.lane"
        with (
            Ring.create(path, producers=2, wait="sleep") as ring,
            ring.producer() as first,
            ring.producer() as second,
        ):
            first.put(b"1")
            second.put(b"2")
        region_id = id_of(ring)
        assert 4 == len(semaphores(region_id))

        def remove_some(region_id: int = region_id, steps: int = steps) -> None:
            done = 0

            def unlink_or_die(of_set: str, number: int) -> None:
                nonlocal done
                if done == steps:
                    os.kill(os.getpid(), signal.SIGKILL)
                done += 1
                unlink(of_set, number)

            monkeypatch.setattr(semaphores_module, "_unlink", unlink_or_die)
            semaphores_module.remove_set(region_id)

        with Child(remove_some) as child:
            assert (0 if steps == 4 else -signal.SIGKILL) == child.wait()
        left = semaphores(region_id)
        assert 4 - steps == len(left)
        assert not left or 0 in left, "the anchor goes last"
        with Ring.open(path, wait="sleep") as ring:
            assert {b"1", b"2"} == set(ring.get_many(9))
            ring.put(b"3")
            assert b"3" == ring.get()
        os.unlink(path)
        removed = memlane.sweep()
        assert f"semaphores {semaphores_module.set_of(region_id)}" in removed
        assert {} == semaphores(region_id)


@pytest.mark.sweeps
def test_a_paused_sweep_does_not_spoil_a_set_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    One removes and is paused, another opens alone and makes the set anew: all arrives. (hazard 23)
    """
    path = tmp_path / "ring.lane"
    unlink = semaphores_module._unlink
    with Ring.create(path, producers=2, wait="sleep") as ring:
        ring.put(b"makes a lane's")
        ring.get()
    region_id = id_of(ring)

    def sweep_with_a_pause() -> None:
        def unlink_and_pause(of_set: str, number: int) -> None:
            unlink(of_set, number)
            os.kill(os.getpid(), signal.SIGSTOP)

        monkeypatch.setattr(semaphores_module, "_unlink", unlink_and_pause)
        memlane.sweep()

    def until_stopped(sweeper: Child) -> bool:
        status = os.waitpid(sweeper.pid, os.WUNTRACED)[1]
        if not os.WIFSTOPPED(status):
            sweeper.status = os.waitstatus_to_exitcode(status)
        return os.WIFSTOPPED(status)

    whole = sorted(semaphores(region_id))
    assert 3 == len(whole)
    for removed in (1, 2, 3):
        with Child(sweep_with_a_pause) as sweeper:
            assert until_stopped(sweeper)
            for _ in range(removed - 1):
                sweeper.go_on()
                assert until_stopped(sweeper)
            with Ring.open(path, wait="sleep") as ring:
                ring.put(b"while it is paused")
                made = sorted(semaphores(region_id))
                sweeper.go_on()
                while until_stopped(sweeper):
                    sweeper.go_on()
                kept = sorted(semaphores(region_id))
                with ring.consumer() as receiving:
                    assert b"while it is paused" == receiving.get()
                    exchange_with_program(receiving, path)
            assert 0 == sweeper.status
        # While the anchor is there and locked nothing is made; nothing that was made is removed.
        assert (whole[: 3 - removed] if removed < 3 else whole) == made
        assert ([] if removed < 3 else whole) == kept
        with Ring.open(path) as ring:
            ring.put(b"has its doorbell again")
            ring.get()
            assert set(whole) <= set(semaphores(region_id))
    ring.unlink()

    assert {} == semaphores(region_id)


def exchange_with_program(receiving: memlane.Consumer, path: Path) -> None:
    program = unrelated(
        "import memlane, pathlib, sys\n"
        "with memlane.Ring.open(pathlib.Path(sys.argv[1]), wait='sleep') as ring:\n"
        "    ring.put(b'from there')",
        str(path),
    )
    assert b"from there" == receiving.get()
    assert "" == output_of(program)


def file_is(descriptor: int, path: Path) -> bool:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))


@pytest.mark.sweeps
def test_an_opener_does_not_replace_the_anchor_that_a_sweep_has_just_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The sweep would remove the new one by its name, from under the opener who is present there; so
    the opener waits until the sweep is through, and then begins the set. (hazard 23)
    """
    path = tmp_path / "ring.lane"
    with Ring.create(path, wait="sleep") as ring:
        region_id = id_of(ring)
    whole = sorted(semaphores(region_id))
    for left in semaphores(region_id).values():
        left.unlink()
    make, unlink, sleep = semaphores_module._make, semaphores_module._unlink, time.sleep
    sweepers: list[Child] = []

    def sweep_with_a_stop() -> None:
        def stop_and_unlink(of: str, number: int) -> None:
            if of == semaphores_module.set_of(region_id):
                os.kill(os.getpid(), signal.SIGSTOP)
            unlink(of, number)

        monkeypatch.setattr(semaphores_module, "_unlink", stop_and_unlink)
        memlane.sweep()

    def make_and_be_swept(of: str, number: int, permissions: int) -> tuple[int, int]:
        made = make(of, number, permissions)
        if not sweepers:
            sweepers.append(Child(sweep_with_a_stop))
            assert os.WIFSTOPPED(os.waitpid(sweepers[0].pid, os.WUNTRACED)[1])
        return made

    def let_sweep_end(_seconds: float = 0) -> None:
        monkeypatch.setattr(time, "sleep", sleep)
        if sweepers[0].status is None:
            sweepers[0].go_on()
            assert 0 == sweepers[0].wait()

    monkeypatch.setattr(semaphores_module, "_make", make_and_be_swept)
    monkeypatch.setattr(semaphores_module, "_SWEEP_PATIENCE_S", PATIENCE_S)
    monkeypatch.setattr(time, "sleep", let_sweep_end)  # while the opener waits, if it does
    with Ring.open(path, wait="sleep") as ring:
        let_sweep_end()
        begun = sorted(semaphores(region_id))
        assert bell_at(ring).attached
        ring.unlink()

    assert whole == begun


def test_a_ring_is_created_without_doorbells_if_a_sweep_of_its_set_stands_still(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A process that has locked the new anchor and is stopped makes nobody hang or fail: all poll,
    until one is alone again and finds it unlocked. (hazard 23)
    """
    make = semaphores_module._make
    locked: list[int] = []

    def make_and_lock(of_set: str, number: int, permissions: int) -> tuple[int, int]:
        made = make(of_set, number, permissions)
        if number == 0:
            locked.append(os.open(semaphores_module._file(of_set, 0), os.O_RDWR | os.O_CLOEXEC))
            assert _core.presence_lock(locked[-1], True)
        return made

    monkeypatch.setattr(semaphores_module, "_make", make_and_lock)
    with Ring.create(name, wait="sleep") as ring:
        without = sorted(semaphores(id_of(ring)))
        with Child(ring.get) as child:
            ring.put(b"for one who polls")
            assert 0 == child.wait()
    for descriptor in locked:
        os.close(descriptor)  # as if it had been killed
    with Ring.open(name, wait="sleep") as ring:
        attached = bell_at(ring).attached
        ring.unlink()

    assert 1 == len(locked)
    assert [0] == without
    assert attached


@pytest.mark.sweeps
def test_a_sweep_removes_what_was_made_between_its_list_and_its_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    What outlived its anchor, the next sweep would remove without a look at who uses it. (hazard 23)
    """
    path = tmp_path / "ring.lane"
    with Ring.create(path) as ring:
        region_id = id_of(ring)
    before = semaphores(region_id)
    lock = _core.presence_lock
    met: list[int] = []

    def come_and_go_before(descriptor: int, for_writing: bool = False) -> bool:
        if for_writing and not met and file_is(descriptor, before[0]):
            with Ring.open(path) as ring:
                met.append(descriptor)
                ring.put(b"makes the lane's doorbell")
            assert set(before) < set(semaphores(region_id))
        return lock(descriptor, for_writing)

    monkeypatch.setattr(_core, "presence_lock", come_and_go_before)
    removed = memlane.sweep()
    left = semaphores(region_id)

    assert 1 == len(met)
    assert f"semaphores {semaphores_module.set_of(region_id)}" in removed
    assert {} == left


@pytest.mark.sweeps
def test_a_sweep_that_finds_no_anchor_leaves_a_set_that_is_begun_just_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it saw without an anchor has one now, and somebody present there. (hazard 23)"""
    path = tmp_path / "ring.lane"
    with Ring.create(path) as ring:
        region_id = id_of(ring)
    whole = semaphores(region_id)
    whole[0].unlink()
    really_open = os.open
    begun: list[Ring] = []

    def open_and_begin(at: Any, *rest: Any, **options: Any) -> int:
        try:
            return really_open(at, *rest, **options)
        except FileNotFoundError:
            if at == whole[0]:
                monkeypatch.setattr(os, "open", really_open)
                begun.append(Ring.open(path))
            raise

    monkeypatch.setattr(os, "open", open_and_begin)
    removed = memlane.sweep()
    left = semaphores(region_id)
    with begun[0] as ring:
        ring.unlink()

    assert f"semaphores {semaphores_module.set_of(region_id)}" not in removed
    assert whole == left


@pytest.mark.sweeps
def test_sets_beyond_those_that_a_sweep_locks_at_once_are_swept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many lie about, all go but that in use."""
    monkeypatch.setattr(semaphores_module, "_LOCKED_AT_ONCE", 2)
    at_rest = []
    for number in range(5):
        with Ring.create(tmp_path / f"ring-{number}.lane") as ring:
            at_rest.append(id_of(ring))
    with Ring.create(tmp_path / "used.lane") as ring:
        removed = memlane.sweep()
        used = sorted(semaphores(id_of(ring)))
        ring.unlink()

    assert {f"semaphores {semaphores_module.set_of(region_id)}" for region_id in at_rest} <= set(
        removed
    )
    assert [{}] * 5 == [semaphores(region_id) for region_id in at_rest]
    assert 2 == len(used)


@pytest.mark.sweeps
def test_what_cannot_be_listed_is_an_error_and_hides_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Only a directory that is not there, or not to be looked into, has none. Clean-up after another
    error does not put its own in place of that.
    """

    def refuse(number: int) -> None:
        def listdir(path: Any) -> list[str]:
            raise OSError(number, os.strerror(number), str(path))

        monkeypatch.setattr(os, "listdir", listdir)

    lost = secrets.randbits(64)
    Region.create(tmp_path / "there", 4096).close()
    refuse(errno.EMFILE)
    lists: list[tuple[str, Callable[[], object]]] = [
        ("regions", lambda: memlane.sweep([name])),
        ("regions", Region.names),
        ("semaphores", lambda: semaphores_module.remove_set(lost)),
    ]
    for what, call in lists:
        with pytest.raises(OSError, match=rf"cannot list the {what}: .* ulimit -n") as caught:
            call()
        assert (errno.EMFILE, "/dev/shm") == (caught.value.errno, caught.value.filename)
    monkeypatch.setattr(secrets, "randbits", lambda _: lost)
    with pytest.raises(RegionExistsError):
        Region.create(tmp_path / "there", 4096)
    monkeypatch.undo()
    semaphores_module.remove_set(lost)  # which it could not
    assert ["there"] == os.listdir(tmp_path)
    for number in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
        refuse(number)
        assert [] == memlane.sweep([name]) == Region.names()
        monkeypatch.undo()
    with Region.open(tmp_path / "there") as region:
        region.unlink()
        region_id = region._member.region_id
    assert {} == semaphores(region_id)


@pytest.mark.sweeps
@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("begin", ["memlane.", "sem.memlane."])
def test_what_cannot_be_opened_for_want_of_descriptors_is_an_error_and_not_passed_over(
    name: str, number: int, begin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files of others, and those that go away meanwhile, are passed over; these are neither."""
    Ring.create(name).close()
    file = f"/dev/shm/{begin}"
    opens = os.open

    def refuse(path: Any, flags: int, *rest: Any, **keywords: Any) -> int:
        if str(path).startswith(file):
            raise OSError(number, os.strerror(number), str(path))
        return opens(path, flags, *rest, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        calls: list[Callable[[], object]] = [
            lambda: memlane.sweep([name], dry_run=True),
            lambda: memlane.sweep([name]),
        ]
        if begin == "memlane.":
            calls.append(Region.names)
        for call in calls:
            with pytest.raises(OSError, match=r"cannot (look at|sweep) ") as caught:
                call()
            assert number == caught.value.errno
    memlane.sweep()
    assert name not in Region.names()
