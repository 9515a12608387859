# SPDX-License-Identifier: MIT
"""`memlane rm` and `sweep` remove what nobody uses."""

from __future__ import annotations

import json
import os
import signal

import pytest

import memlane
from memlane import inspection
from memlane.cli import main
from memlane.cli.text import size
from tests.support.command import killed_user, run
from tests.support.processes import forked, wait_until
from tests.support.region_files import SHARED_MEMORY

pytestmark = pytest.mark.machine


def test_rm_refuses_what_is_in_use_and_says_by_whom(name: str) -> None:
    """Nothing is removed under somebody; afterwards it goes, with its semaphores."""
    with memlane.Ring.create(name, capacity=4096) as ring:
        ring.put(b"x")
        _, err = run("rm", name, code=1)
        assert err.startswith(f"memlane: region '{name}' is in use by {os.getpid()} ")
        assert name in memlane.Region.names()
        _, err = run("rm", f"{name}/ring", code=1)
        assert f"object 'ring' of region '{name}' is in use by process {os.getpid()}" in err
    nbytes = (SHARED_MEMORY / f"memlane.{name}").stat().st_blocks * 512
    removed = json.loads(run("rm", name, "--json")[0])
    assert [name] == list(removed)
    assert removed[name] > nbytes  # its semaphores, too
    assert name not in memlane.Region.names()


def test_rm_takes_one_object_of_a_region_away(name: str) -> None:
    """Also while the region is open, as long as nobody has a role in the object."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.counter("hits")
        region.counter("misses")
        nbytes = region.stats()["objects"]["hits"]["nbytes"]
        assert {f"{name}/hits": nbytes} == json.loads(run("rm", f"{name}/hits", "--json")[0])
        assert ["misses"] == list(region)
        region.unlink()


def test_sweep_of_one_name_leaves_all_others_and_refuses_what_is_in_use(name: str) -> None:
    """The process that has it open is named, with exit code 1."""
    other, used = f"{name}-other", f"{name}-used"
    killed_user(name)
    memlane.Region.create(other, "1 MiB").close()
    with memlane.Region.create(used, "1 MiB") as region:
        would = json.loads(run("sweep", "--dry-run", name, "--json")[0])
        nbytes = (SHARED_MEMORY / f"memlane.{name}").stat().st_blocks * 512
        assert nbytes == would[name]
        assert 2 == len(would)  # and its semaphores
        out, _ = run("sweep", "--dry-run", name)
        assert f"would remove {name}, {size(nbytes)}\n" in out
        assert f"would remove {size(sum(would.values()))} in all\n" in out
        assert name in memlane.Region.names()
        out, err = run("sweep", name, used, code=1)
        assert f"removed {name}, {size(nbytes)}\n" in out
        assert f"memlane: region '{used}' is in use by {os.getpid()} " in err
        assert {other, used} <= set(memlane.Region.names())
        assert name not in memlane.Region.names()
        region.unlink()
    run("sweep", other)


@pytest.mark.sweeps
def test_sweep_tells_what_it_removed_and_leaves_what_is_in_use(name: str) -> None:
    """Only what nobody has open goes; the dry run said so."""
    with memlane.Region.create(name, "1 MiB") as used:
        memlane.Region.create(f"{name}-left", "1 MiB").close()
        would = json.loads(run("sweep", "--dry-run", "--json")[0])
        assert f"{name}-left" in would
        removed = json.loads(run("sweep", "--json")[0])
        assert would[f"{name}-left"] == removed[f"{name}-left"] > 0
        assert name not in removed
        assert name in memlane.Region.names()
        used.unlink()


def test_region_that_goes_away_while_one_looks_is_not_listed(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Between a list and a look anything may happen."""
    gone = inspection.find(name)
    monkeypatch.setattr(inspection, "regions", lambda **_unnamed: [gone])
    assert 0 == main(["ls", "--json"])
    assert name not in capsys.readouterr().out


def test_stat_of_a_region_that_is_being_used_sees_a_sound_one(name: str) -> None:
    """A look amid work is right, and the work is not held up."""

    def work() -> None:
        with memlane.Ring.open(name) as ring:
            while True:
                ring.put(b"x" * 100)
                ring.get()

    with memlane.Ring.create(name, capacity=4096) as ring:
        pid = forked(work)
        try:
            wait_until(lambda: ring.stats()["lanes"], "the first record")
            for _ in range(5):
                facts = json.loads(run("stat", name, "--json")[0])
                assert facts["stats"]["ring"]["records"] in (0, 1)
                assert pid in [one["pid"] for one in facts["participants"]]
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        ring.unlink()
