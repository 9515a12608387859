# SPDX-License-Identifier: MIT
"""`memlane tail` shows records, takes none, and keeps nobody waiting."""

from __future__ import annotations

import json
import os
import pickle
import signal
import struct
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

import memlane
from memlane.cli.looking import followed
from memlane.following import LookFollower, TopicFollower
from tests.support.command import call, killed_user, lines, run
from tests.support.processes import PATIENCE_S
from tests.support.region_files import SHARED_MEMORY, file_of
from tests.support.terminal import Terminal, terminal_shows

pytestmark = pytest.mark.machine


def test_the_last_records_of_a_ring_are_shown_and_none_is_taken(name: str) -> None:
    """In a pipe an object of JSON for each; the ring is as it was, to the byte."""
    with memlane.Ring.create(name, capacity=4096, producers=2) as ring:
        ring.put_many([b"one", b"two", b"three \xff"])
        before = file_of(ring.region).read_bytes()
        shown = lines("tail", name, "-n", "2")
        assert before == file_of(ring.region).read_bytes()
        assert [b"one", b"two", b"three \xff"] == ring.get_many(9)
        ring.unlink()
    told = {"region": name, "object": "ring", "lane": 0}
    assert [
        {**told, "number": 1, "nbytes": 3, "text": "two"},
        {**told, "number": 2, "nbytes": 7, "hex": "74 68 72 65 65 20 ff"},
    ] == shown


def test_records_on_loan_to_competing_consumers_are_shown_and_freed_ones_not(name: str) -> None:
    """What somebody has in hand is still there."""
    with memlane.Ring.create(name, capacity=4096, producers=1, consumers="many") as ring:
        ring.put_many([b"gone", b"lent", b"waits"])
        assert b"gone" == ring.get()
        with ring.borrow():
            assert ["lent", "waits"] == [one["text"] for one in lines("tail", name)]
        ring.unlink()


def test_a_ring_that_others_empty_meanwhile_tells_the_exact_number_that_was_missed(
    name: str,
) -> None:
    """What was taken before it could be seen is counted."""
    with memlane.Ring.create(name, capacity=4096, producers=2) as ring:
        ring.put_many([b"x"] * 5)
        follower = LookFollower("ring", ring)
        assert [] == follower.last(0)
        ring.put_many([b"y"] * 3)
        ring.get_many(8)
        ring.put(b"z")
        with ring.producer() as other:  # a lane that came later is seen from its beginning
            other.put(b"other")
            assert [(0, 8, b"z"), (1, 0, b"other")] == [
                (one.lane, one.number, one.payload) for one in follower.new()
            ]
        assert 3 == follower.missed
        ring.unlink()


def test_nobody_waits_for_one_that_follows_a_topic_and_it_knows_what_it_lost(name: str) -> None:
    """Also where publishers wait for subscriptions: this one is none of them."""
    with memlane.Topic.create(
        name, capacity=4096, publishers=1, records=8, when_full="wait"
    ) as topic:
        topic.publish(b"early")
        with followed(name) as (_, (follower,)):
            assert isinstance(follower, TopicFollower)
            assert [b"early"] == [one.payload for one in follower.last(3)]
            for number in range(100):
                topic.publish(b"%d" % number, timeout=0)
            found = follower.new()
            assert b"99" == found[-1].payload
            assert 100 == len(found) + follower.missed
            assert [] == topic.stats()["subscriptions"]
        topic.unlink()


def test_the_last_records_of_topics_of_both_orders(name: str) -> None:
    """Of each publisher so many, of order="all" so many of all."""
    with memlane.Region.create(name, "4 MiB") as region:
        expectations: list[tuple[Literal["publisher", "all"], list[str]]] = [
            ("publisher", ["a1", "a2", "b1", "b2"]),
            ("all", ["b2", "a2"]),
        ]
        for order, expected in expectations:
            topic = region.topic(order, capacity=4096, publishers=2, order=order)
            first, second = topic.publisher(), topic.publisher()
            first.publish_many([b"a0", b"a1"])
            second.publish_many([b"b0", b"b1"])
            second.publish(b"b2")
            first.publish(b"a2")
            shown = lines("tail", f"{name}/{order}", "-n", "2")
            assert expected == [one["text"] for one in shown]
        region.unlink()


def test_values_of_slots_and_tables_are_shown_by_version(name: str) -> None:
    """As their layout says; in a terminal, too. A counter has none, and is told so."""
    with memlane.Region.create(name, "4 MiB") as region:
        region.slot("pose", "2d").publish((1.5, float("inf")))
        table = region.table("sensors", 3, "i")
        table[1].publish((7,))
        table[1].publish((8,))
        region.counter("hits")
        pose, sensor = lines("tail", name)
        assert ("pose", 0, 1, [1.5, "inf"]) == tuple(
            pose[key] for key in ("object", "lane", "number", "value")
        )
        assert ("sensors", 1, 2, [8]) == tuple(
            sensor[key] for key in ("object", "lane", "number", "value")
        )
        assert "1:2  4 B  (8,)" in call("tail", "--text", f"{name}/sensors")[0]
        _, err = call("tail", f"{name}/hits", code=1)
        assert "in 'hits' nothing that can be followed; memlane stat shows it" in err
        _, err = call("tail", f"{name}/posse", code=1)
        assert "did you mean 'pose'" in err
        region.unlink()


def test_values_of_a_map_are_shown_with_their_keys(name: str) -> None:
    """Each once for each version; what was removed is not shown again."""
    with memlane.Region.create(name, "4 MiB") as region:
        made = region.map("prices", value="d", entries=10)
        made["DE"] = 101.5
        made["FR"] = 99.0
        with followed(f"{name}/prices") as (_, (follower,)):
            assert {"DE": 101.5, "FR": 99.0} == {one.key: one.value for one in follower.last(9)}
            assert [] == follower.new()
            made["FR"] = 98.0
            del made["DE"]
            assert [("FR", 98.0)] == [(one.key, one.value) for one in follower.new()]
        (shown,) = lines("tail", name)
        assert ("FR", 98.0) == (shown["key"], shown["value"])
        assert "lane" not in shown
        region.unlink()


def test_payloads_are_shown_as_the_user_says(name: str) -> None:
    """As a dump, by a format, by a dtype; what does not fit is told in its place."""
    with memlane.Ring.create(name, capacity=4096, producers=1) as ring:
        ring.put_many([struct.pack("<2h", 1, -2), b"abc"])
        out, _ = call("tail", name, "--hex", "--text")
        assert "0:0  4 B\n  00000000  01 00 fe ff " in out
        assert out.endswith("61 62 63                                         abc\n")
        fits, unfit = lines("tail", name, "--struct", "<2h")
        assert ([1, -2], "3 bytes are no multiple of 4") == (fits["values"], unfit["error"])
        assert [1, -2] == lines("tail", name, "--dtype", "<i2")[0]["values"]
        for wrong in (("--struct", "nonsense"), ("--dtype", "nonsense"), ("--dtype", "O")):
            _, err = call("tail", name, *wrong, code=1)
            assert err.startswith(f"memlane: {wrong[0]}: ")
        ring.unlink()


class Runs:
    """What would be run by unpickling it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_unpickled_unless_the_user_says_so(name: str, tmp_path: Path) -> None:
    """A pickle runs code; --pickle-repr is told about that in its help."""
    path = tmp_path / "run"
    with memlane.Ring.create(name, capacity=4096, producers=1) as ring:
        ring.put_many([pickle.dumps(Runs(path)), pickle.dumps({"a": 1}), b"none"])
        for form in ([], ["--hex"], ["--dtype", "u1"], ["--struct", "B"]):
            lines("tail", name, *form)
            assert not path.exists()
        ran, shown, wrong = lines("tail", name, "--pickle-repr")
        assert path.exists()
        assert ("None", "{'a': 1}") == (ran["repr"], shown["repr"])
        assert wrong["error"].startswith("no pickle: ")
        ring.unlink()


def test_what_the_dead_left_can_be_seen_and_what_has_no_name(name: str) -> None:
    """Nobody has it open any more; and PID:N."""
    killed_user(name)
    before = (SHARED_MEMORY / f"memlane.{name}").read_bytes()
    assert ["one", "two"] == [one["text"] for one in lines("tail", name)]
    assert before == (SHARED_MEMORY / f"memlane.{name}").read_bytes()
    run("rm", name)
    with memlane.Ring(capacity=4096, producers=1) as ring:
        ring.put(b"unnamed")
        listed = lines("ls", "--all")
        (mine,) = [one["name"] for one in listed if one["name"].startswith(f"{os.getpid()}:")]
        assert "unnamed" == lines("tail", mine)[0]["text"]


def test_what_is_no_region_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    """Garbage, an empty file, a directory, nothing."""
    garbage = tmp_path / "garbage"
    garbage.write_bytes(os.urandom(1 << 20))
    (tmp_path / "empty").touch()
    for path in (garbage, tmp_path / "empty", tmp_path, tmp_path / "none"):
        for command in ("tail", "who"):
            out, err = call(command, str(path), code=1)
            assert "" == out
            assert 1 == len(err.splitlines())


def test_a_terminal_shows_what_comes_until_ctrl_c_cut_to_its_width(name: str) -> None:
    """Of 40 columns; nothing of a payload is obeyed by the terminal; exit code 0."""
    with memlane.Ring.create(name, capacity=4096, producers=1) as ring:
        ring.put_many([b"\x1b[31m", b"first" + b"x" * 100])
        with Terminal("tail", name, "-f", columns=40) as terminal:
            terminal.wait_for(r"^0:0  5 B  1b 5b 33 31 6d\n0:1  105 B  firstx+.$")
            ring.put(b"second")
            terminal.wait_for(r"^0:2  6 B  second$")
            assert "\x1b[31m" not in terminal.raw
            assert max(map(len, terminal.shown.splitlines())) == 40
            terminal.keys("\x03")
            assert 0 == terminal.ended()
            assert "" == terminal.shown.replace("^C", "").strip()
        assert 3 == len(ring)
        ring.unlink()


def test_the_end_of_what_is_followed_ends_it(name: str) -> None:
    """A ring that was shut down and drained, and a topic; what was left is shown before."""
    with memlane.Region.create(name, "4 MiB") as region:
        ring = region.ring("ring", capacity=4096, producers=1)
        topic = region.topic("topic", capacity=4096, publishers=1)
        program = subprocess.Popen(
            [sys.executable, "-m", "memlane", "tail", name, "-f"],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert program.stdout is not None
        ring.put(b"a")
        topic.publish(b"b")
        texts = {json.loads(program.stdout.readline())["text"] for _ in range(2)}
        assert {"a", "b"} == texts
        program.send_signal(signal.SIGSTOP)  # a tool that is stopped keeps nobody from anything
        for _ in range(1000):
            topic.publish(b"x" * 100, timeout=0)
        ring.shutdown()
        topic.shutdown()
        assert b"a" == ring.get()
        program.send_signal(signal.SIGCONT)
        out, _ = program.communicate(timeout=PATIENCE_S)
        assert 0 == program.returncode
        found = [json.loads(line) for line in out.splitlines()]
        missed = sum(one.get("missed", 0) for one in found)
        assert 1000 == missed + sum(one.get("object") == "topic" for one in found)
        region.unlink()


def test_text_and_json_are_chosen_by_where_it_goes(name: str) -> None:
    """Text on a terminal, JSON in a pipe, each in both if it is asked for."""
    with memlane.Ring.create(name, capacity=4096, producers=1) as ring:
        ring.put(b"x")
        assert "0:0  1 B  x\n" == terminal_shows("tail", name)
        assert "x" == json.loads(terminal_shows("tail", name, "--json", columns=200))["text"]
        assert "0:0  1 B  x\n" == call("tail", name, "--text")[0]
        ring.unlink()
