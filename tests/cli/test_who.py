# SPDX-License-Identifier: MIT
"""`memlane who` tells who uses a region, in which role, and what it holds."""

from __future__ import annotations

import os
import pwd

import pytest

import memlane
from tests.support.command import call, killed_user, lines, run
from tests.support.processes import Child, wait_until
from tests.support.terminal import terminal_shows

pytestmark = pytest.mark.machine


def test_each_role_of_a_process_is_told_with_its_lag_and_what_it_holds(name: str) -> None:
    """Producer, competing consumer with a loan, subscriber that lags, writer."""
    with memlane.Region.create(name, "8 MiB") as region:
        ring = region.ring("jobs", capacity=4096, producers=2, consumers="many")
        ring.put_many([b"x"] * 3)
        topic = region.topic("ticks", capacity=4096, publishers=1)
        with topic.subscribe(when_full="wait"), ring.borrow():
            topic.publish(b"x")
            (me,) = lines("who", name)
            (alone,) = lines("who", f"{name}/ticks")
            text, _ = call("who", name, "--text")
        assert (os.getpid(), pwd.getpwuid(os.getuid()).pw_name) == (me["pid"], me["user"])
        assert ("alive", name) == (me["state"], me["region"])
        assert "pytest" in me["command"] or "python" in me["command"]
        roles = {(role["object"], role["role"]): role for role in me["roles"]}
        assert {
            ("jobs", "producer"),
            ("jobs", "consumer"),
            ("ticks", "publisher"),
            ("ticks", "subscriber"),
        } == set(roles)
        assert (1, 2) == tuple(roles["jobs", "consumer"][key] for key in ("loans", "lag"))
        assert 1 == roles["ticks", "subscriber"]["lag"]
        assert {"ticks"} == {role["object"] for role in alone["roles"]}
        assert f"{os.getpid()}  alive" in text
        assert "1 on loan" in text
        region.unlink()


def test_the_stopped_and_the_dead_are_told_apart_from_the_living(name: str) -> None:
    """The dead come last, by the name that they had; also where nobody is left."""
    dead = killed_user(name)
    (gone,) = lines("who", name)
    assert (dead, "dead", None) == (gone["pid"], gone["state"], gone["user"])
    assert [("producer", "dead")] == [(role["role"], role["state"]) for role in gone["roles"]]
    with memlane.Region.open(name) as region, Child(_joins, name) as child:
        wait_until(lambda: child.pid in {row.pid for row in region.participants()}, "a row")
        child.stop()
        states = {one["pid"]: one["state"] for one in lines("who", name)}
        assert "stopped" == states[child.pid]
        shown = terminal_shows("who", name, columns=40)
        assert max(map(len, shown.splitlines())) <= 40
        assert f"{child.pid}  stopped" in shown
    run("rm", name)


def _joins(name: str) -> None:
    with memlane.Region.open(name) as region:
        region.join()
        while True:
            os.read(os.pipe()[0], 1)


def test_a_region_that_nobody_uses_says_so(name: str) -> None:
    """No empty table."""
    memlane.Counter.create(name).close()
    assert (
        f"nobody has {name} open, and nobody has a role in it\n" == call("who", name, "--text")[0]
    )
    assert [] == lines("who", name)
    run("rm", name)
