# SPDX-License-Identifier: MIT
"""`memlane top` shows what goes through objects, and what is ill, on a screen and in lines."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

import memlane
from memlane.cli.top import View, is_stuck
from tests.support.command import call, killed_user, lines, run
from tests.support.processes import PATIENCE_S, Child, wait_until
from tests.support.terminal import Terminal

pytestmark = pytest.mark.machine


def test_rates_bytes_depth_and_sides_of_each_object(name: str) -> None:
    """
    A rate is what came in between two looks, exact to the record, over the time between them:
    longer than what stands between the looks, shorter than both together
    """
    with memlane.Region.create(name, "8 MiB") as region:
        ring = region.ring("ring", capacity="1 MiB", producers=2)
        topic = region.topic("topic", capacity=4096, publishers=1)
        slot, table = region.slot("slot", "d"), region.table("table", 2, "i")
        region.counter("counter")
        ring.put(b"before")
        view = View(name)
        before = time.monotonic()
        view.look()
        after = time.monotonic()
        ring.put_many([b"x" * 100] * 500)
        topic.publish_many([b"y" * 10] * 50)
        slot.publish((1.0,))
        table[1].publish((1,))
        at_least = time.monotonic() - after
        view.look()
        at_most = time.monotonic() - before
        rows = {row["object"]: row for row in view.objects()}
        for what, count, nbytes in (
            ("ring", 500, 50_000),
            ("topic", 50, 500),
            ("slot", 1, 8),
            ("table", 1, 4),
        ):
            assert count / at_most <= rows[what]["hz"] <= count / at_least
            assert rows[what]["bw"] == pytest.approx(rows[what]["hz"] * nbytes / count)
        assert (501, 501) == (rows["ring"]["depth"], rows["ring"]["lag"])
        assert {"alive": 1} == rows["ring"]["from"]
        assert 0 == rows["counter"]["hz"]
        region.unlink()


def test_the_dead_and_the_stopped_are_what_a_person_should_look_at(name: str) -> None:
    """A killed producer makes its ring red, and so does a stopped one."""
    killed_user(name)
    view = View(name)
    view.look()
    view.look()
    (row,) = view.objects()
    assert {"dead": 1} == row["from"]
    assert is_stuck(row)
    run("rm", name)
    with memlane.Ring.create(name, capacity=4096, producers=2) as ring:
        with Child(_produces, name) as child:
            wait_until(lambda: len(ring), "a record")
            view.look()
            assert not is_stuck(view.objects()[0])
            child.stop()
            view.look()
            (row,) = view.objects()
            assert {"stopped": 1} == row["from"]
            assert is_stuck(row)
        ring.unlink()


def _produces(name: str) -> None:
    with memlane.Ring.open(name) as ring:
        ring.put(b"x")
        while True:
            os.read(os.pipe()[0], 1)


def test_in_a_pipe_each_interval_is_an_object_of_json(name: str) -> None:
    """--once is one; what is not there is exit code 1."""
    with memlane.Ring.create(name, capacity=4096, producers=1) as ring:
        ring.put(b"x")
        (shown,) = lines("top", name, "--once", "-i", "0.05")
        assert [(name, "ring", 0.0)] == [
            (row["region"], row["object"], row["hz"]) for row in shown["objects"]
        ]
        out, _ = call("top", f"{name[:-1]}*", "--once", "--text", "-i", "0.05", "--sort", "hz")
        assert re.search(rf"^{name}/ring +ring +0\.0 +0 B +1 +1", out, re.MULTILINE)
        assert "\x1b" not in out
        _, err = call("top", f"{name}-none", "--once", code=1)
        assert "there is no region" in err
        ring.unlink()


def test_a_screen_is_drawn_sorted_filtered_drilled_into_and_given_back(name: str) -> None:
    """Keys; q gives the terminal back as it was."""
    with memlane.Region.create(name, "4 MiB") as region:
        ring = region.ring("frames", capacity=4096, producers=1)
        region.counter("hits")
        with Terminal("top", name, "-i", "0.05", columns=120) as terminal:
            terminal.wait_for(rf"{name}/frames +ring ")
            ring.put(b"x")
            terminal.wait_for(rf"{name}/frames +ring +[\d.]+ +\d+ B +1 +1")
            terminal.keys("/")
            terminal.wait_for(r"filter: _")
            terminal.keys("hits\r")
            terminal.wait_for(rf"> {name}/hits")
            terminal.keys("/frames\r\r")
            terminal.wait_for(rf"^{name}/frames  ring$")
            terminal.wait_for(rf"producer {os.getpid()} alive lane 0")
            terminal.keys("\x1b")
            terminal.keys("p")
            terminal.wait_for(rf"{os.getpid()}  alive .* producer of frames")
            terminal.keys("q")
            assert 0 == terminal.ended()
            assert "\x1b[?1049l" in terminal.raw
            assert "\x1b[?25h" in terminal.raw
        region.unlink()


def test_a_narrow_screen_without_color_and_ctrl_c(name: str) -> None:
    """40 columns hold; NO_COLOR is obeyed, though a producer is dead; Ctrl-C is exit code 0."""
    killed_user(name)
    with Terminal(
        "top", "-i", "0.05", columns=40, rows=10, environment={"NO_COLOR": "1"}
    ) as terminal:
        terminal.wait_for(rf"> {name}/ring")
        drawn = terminal.shown.splitlines()
        assert max(len(line) for line in drawn) <= 80  # a line of the foot may stand behind one
        assert "\x1b[31m" not in terminal.raw
        terminal.keys("\x03")
        assert 0 == terminal.ended()
        assert "\x1b[?1049l" in terminal.raw
    with Terminal("top", "-i", "0.05") as terminal:
        terminal.wait_for(rf"> {name}/ring")
        assert "\x1b[31m" in terminal.raw
        modes = terminal.modes()
        os.kill(terminal.pid, signal.SIGTERM)
        assert 128 + signal.SIGTERM == terminal.ended()
        assert "\x1b[?1049l" in terminal.raw
        assert modes != terminal.modes()  # which were those of the screen
    run("rm", name)


def test_names_that_a_terminal_would_obey_are_escaped(name: str) -> None:
    """Of regions and objects."""
    wild = f"{name}\x1b[5m"
    with memlane.Region.create(wild, "1 MiB") as region:
        region.counter("a\nb")
        out, _ = call("top", "--once", "--text", "-i", "0.05")
        assert f"{name}\\x1b[5m/a\\nb" in out
        assert "\x1b" not in out
        region.unlink()


def test_a_reader_that_has_seen_enough_ends_it(name: str) -> None:
    """`memlane top | head -1` is no error that anybody has to read."""
    with memlane.Counter.create(name) as counter:
        program = subprocess.Popen(
            [sys.executable, "-m", "memlane", "top", "-i", "0.01"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline().startswith(b'{"time"')
        program.stdout.close()
        assert 1 == program.wait(PATIENCE_S)
        assert b"" == program.stderr.read()
        program.stderr.close()
        counter.unlink()
