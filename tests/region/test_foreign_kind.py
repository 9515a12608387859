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
from memlane.shared_object import SharedObject
from tests import ROOT
from tests.support.command import listed, run
from tests.support.flag import KIND, Flag
from tests.support.processes import PATIENCE_S, output_of, unrelated


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
        assert {"kind": "flag", "nbytes": 64, "is_set": True} == region.stats()["objects"]["ready"]
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


@pytest.mark.sweeps
def test_what_a_killed_process_left_is_swept(name: str) -> None:
    """A sweep looks at presence, not at kinds."""
    code = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from tests.support.flag import Flag
flag = Flag.create(sys.argv[1])
os.kill(os.getpid(), signal.SIGKILL)
"""
    left = unrelated(code, name, str(ROOT))
    left.communicate(timeout=PATIENCE_S)

    assert Path(f"/dev/shm/memlane.{name}").exists()
    assert name in memlane.sweep()
    assert not Path(f"/dev/shm/memlane.{name}").exists()


def test_two_classes_of_one_number_are_refused() -> None:
    """Whichever is defined second, in whatever module."""
    with pytest.raises(TypeError, match=rf"kind {KIND} is that of tests\.support\.flag\.Flag"):

        class _Other(SharedObject, kind=KIND):
            pass
