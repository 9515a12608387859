# SPDX-License-Identifier: MIT
"""A kind that is defined outside of the package is as good as one inside."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path

import pytest

import memlane
from memlane import LayoutError, Region, cli
from memlane._region.directory import NO_DOORBELLS, Wanted
from memlane.shared_object import SharedObject
from tests import ROOT
from tests.support.command import listed, run
from tests.support.flag import KIND, NBYTES, Flag
from tests.support.processes import PATIENCE_S, output_of, unrelated
from tests.support.region_files import semaphores


def set_it(flag: Flag) -> None:
    flag.set()


def test_it_is_created_and_opened_by_a_name_of_its_own(name: str) -> None:
    """`_create` and `_open` of SharedObject are all that it needs."""
    with Flag.create(name) as flag, Flag.open(name) as again:
        assert (False, False) == (flag.is_set, again.is_set)
        flag.set()
        assert again.is_set
        assert f"<memlane.Flag {name!r}" in repr(again)
        flag.unlink()


def test_it_stands_among_other_objects_of_a_region_and_is_removed_like_them() -> None:
    """Found by its name alone, as what it is."""
    with Region.create(None, "64 KiB") as region:
        Flag.in_region(region, "ready").set()
        region.counter("hits").add(2)
        found = region["ready"]
        assert isinstance(found, Flag)
        assert found.is_set
        objects = region.stats()["objects"]
        assert {"kind": "flag", "nbytes": NBYTES, "is_set": True} == objects["ready"]
        with pytest.raises(LayoutError, match="'ready' of unnamed region is a Flag, expected a Co"):
            region.counter("ready")
        region.remove("ready")
        assert ["hits"] == list(region)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_it_travels_to_children(method: str) -> None:
    """With a region of its own, and as one object among others."""
    context = multiprocessing.get_context(method)
    with Flag.create(None) as alone, Region.create(None, "64 KiB") as region:
        among = Flag.in_region(region, "ready")
        for flag in (alone, among):
            child = context.Process(target=set_it, args=(flag,))  # type: ignore[attr-defined]
            child.start()
            child.join()
            assert 0 == child.exitcode
            assert flag.is_set
            assert pickle.loads(pickle.dumps(flag)).is_set


def test_the_command_line_shows_it_and_names_its_kind_where_nobody_defines_it(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`ls` and `stat` work by the number; what is inside needs the class."""
    with Flag.create(name) as flag:
        assert ["flag"] == listed()[name]["objects"]
        assert 0 == cli.main(["stat", "--json", name])
        assert json.loads(capsys.readouterr().out)["stats"]["flag"]["is_set"] is False
        assert str(KIND) in run("stat", name)[0] + run("stat", name)[1]
        flag.unlink()


def test_where_its_class_is_not_defined_it_is_an_error_that_names_the_kind(name: str) -> None:
    """The object is sound; what is missing is an import."""
    code = """
import sys, memlane
region = memlane.Region.open(sys.argv[1])
try: region["flag"]
except memlane.LayoutError as error: print(error, error.found)
"""
    with Flag.create(name) as flag:
        said = output_of(unrelated(code, name))
        flag.unlink()

    assert f"object 'flag' of region {name!r} has kind {KIND}" in said
    assert "import what defines it" in said


def numbers_of(flag: Flag) -> list[int]:
    """The numbers of its semaphores, those that are made with it first."""
    entry = flag.region._find("flag")
    assert entry is not None
    return [place // 64 for place in (*entry.at_once, *entry.later)]


def test_its_doorbells_are_made_as_its_entry_tells(name: str) -> None:
    """One with the object, the other one by its first user; both go with the region."""
    with Flag.create(name) as flag:
        region_id = flag.region._member.region_id
        first, second = numbers_of(flag)
        assert {0, first} == set(semaphores(region_id))
        flag.doorbell(1).close()
        assert {0, first, second} == set(semaphores(region_id))
        flag.unlink()
    assert {} == semaphores(region_id)


def test_who_waits_for_it_is_woken_when_it_is_removed(name: str) -> None:
    """At every doorbell, by a process that need not know the kind; their names go, too."""
    waiter = """
import sys
sys.path.insert(0, sys.argv[2])
import memlane
from tests.support.flag import Flag
flag = memlane.Region.open(sys.argv[1])["flag"]
doorbells = [flag.doorbell(number) for number in (0, 1)]
print("there", flush=True)
for doorbell in doorbells:
    doorbell.acquire(float(sys.argv[3]))
try:
    flag.value
except memlane.ClosedError as error:
    print(error)
"""
    remover = "import sys, memlane; memlane.Region.open(sys.argv[1]).remove('flag')"
    with Region.create(name, "64 KiB") as region:
        Flag.in_region(region, "flag")
        waiting = unrelated(waiter, name, str(ROOT), str(PATIENCE_S))
        assert waiting.stdout is not None
        assert "there\n" == waiting.stdout.readline()
        assert 3 == len(semaphores(region._member.region_id))
        assert "" == output_of(unrelated(remover, name))
        assert {0} == set(semaphores(region._member.region_id))
        assert "was removed" in output_of(waiting)
        region.unlink()


def test_a_lost_set_of_its_semaphores_is_put_in_order_by_who_does_not_know_it(name: str) -> None:
    """As after a reboot: what is made with it is made anew, the other one by its next user."""
    with Flag.create(name) as flag:
        flag.doorbell(1).close()
        region_id = flag.region._member.region_id
        first, second = numbers_of(flag)
    for file in semaphores(region_id).values():
        file.unlink()

    assert "" == output_of(unrelated("import sys, memlane; memlane.Region.open(sys.argv[1])", name))
    assert {0, first} == set(semaphores(region_id))
    with Flag.open(name) as flag:
        flag.doorbell(1).close()
        assert {0, first, second} == set(semaphores(region_id))
        flag.unlink()


@pytest.mark.parametrize(
    "wrong", [(192, 64, 1), (64, 64, 3), (1, 64, 1), (0, 32, 2), (0, 0, 2), (0, 64, 1025)]
)
def test_doorbells_that_do_not_lie_in_it_are_refused(wrong: tuple[int, int, int]) -> None:
    """Before anything is made."""
    with Region.create(None, "64 KiB") as region:
        wanted = Wanted(KIND, (), NBYTES, NBYTES, doorbells=(NO_DOORBELLS, wrong))
        with pytest.raises(ValueError, match="the doorbells of 'flag' are"):
            Flag._open_or_create_in(region, "flag", wanted, {}, timeout=None)
        assert [] == list(region)
        Flag.in_region(region, "flag").set()


@pytest.mark.sweeps
def test_what_a_killed_process_left_is_swept(name: str) -> None:
    """A sweep looks at presence, not at kinds; semaphores go with the region."""
    code = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from tests.support.flag import Flag
flag = Flag.create(sys.argv[1])
flag.doorbell(1)
print(flag.region._member.region_id, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    left = unrelated(code, name, str(ROOT))
    region_id = int(left.communicate(timeout=PATIENCE_S)[0])

    assert Path(f"/dev/shm/memlane.{name}").exists()
    assert 3 == len(semaphores(region_id))
    assert name in memlane.sweep()
    assert not Path(f"/dev/shm/memlane.{name}").exists()
    assert {} == semaphores(region_id)


def test_two_classes_of_one_number_are_refused() -> None:
    """Whichever is defined second, in whatever module."""
    with pytest.raises(TypeError, match=rf"kind {KIND} is that of tests\.support\.flag\.Flag"):

        class _Other(SharedObject, kind=KIND):
            pass
