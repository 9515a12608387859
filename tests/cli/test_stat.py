# SPDX-License-Identifier: MIT
"""`memlane stat` says what is in a region."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import memlane
from tests.support.command import run
from tests.support.processes import PATIENCE_S, wait_until

pytestmark = pytest.mark.machine


def test_stat_tells_what_every_object_says_of_itself(name: str) -> None:
    """All that stats() has is there, for every kind, in text and in JSON."""
    with memlane.Region.create(name, "8 MiB") as region:
        one = region.ring("one", capacity=4096, producers=2)
        one.put(b"x")
        region.ring("many", capacity=4096, producers=2, consumers="many").put(b"x")
        region.slot("pose", "3d").publish((1, 2, 3))
        region.table("sensors", 3, "d")[1].publish((2.5,))
        region.counter("hits").add(-7)
        ticks = region.topic("ticks", capacity=4096, publishers=2, subscribers=3)
        subscriber = ticks.subscribe(when_full="wait")
        ticks.publish(b"x")
        expected = region.stats()["objects"]
        facts = json.loads(run("stat", name, "--json")[0])
        for object_name, stats in expected.items():
            found = dict(facts["stats"][object_name])
            assert stats["kind"] == facts["kinds"][object_name]
            for changing in ("age", "kind", "oldest_age"):
                found.pop(changing, None)
                stats.pop(changing, None)
            for lane in [*found.get("lanes", ()), *stats.get("lanes", ())]:
                lane.pop("oldest_age", None)
            for shown in [*found.get("subscriptions", ()), *stats.get("subscriptions", ())]:
                shown.pop("seconds")
            assert stats == found
        out, _ = run("stat", name)
        assert name == out.splitlines()[0]
        assert re.search(r"^one  ring$", out, re.MULTILINE)
        assert re.search(rf"^  lane 0 +producer alive, pid {os.getpid()}, put 1", out, re.MULTILINE)
        assert re.search(r"^  value +-7$", out, re.MULTILINE)
        assert re.search(r"^  versions +0, 1, 0$", out, re.MULTILINE)
        assert re.search(r"^ticks  topic$", out, re.MULTILINE)
        assert re.search(
            rf"^  lane 0 +publisher alive, pid {os.getpid()}, published 1, overwritten 0, kept 1,",
            out,
            re.MULTILINE,
        )
        assert re.search(
            rf"^  subscription 0 +subscriber alive, pid {os.getpid()}, name .+, when full wait, "
            r"records 1, bytes \d+, seconds \d.*, loans 0$",
            out,
            re.MULTILINE,
        )
        alone, _ = run("stat", f"{name}/pose")
        assert "pose  slot" in alone
        assert "hits" not in alone
        subscriber.close()
        region.unlink()


def test_stat_shows_that_a_ring_lags_and_who_waits(name: str) -> None:
    """How often it was full, how long the oldest record has waited, in a unit, and both waiters."""
    with memlane.Region.create(name, "8 MiB") as region, ThreadPoolExecutor(2) as pool:
        full = region.ring("full", capacity=4096, producers=1, records=2)
        idle = region.ring("idle", capacity=4096, producers=1)
        full.put_many([b"1", b"2"])  # a batch is stamped
        putting = pool.submit(full.put, b"3", timeout=PATIENCE_S)
        getting = pool.submit(idle.get, timeout=PATIENCE_S)
        wait_until(lambda: full.stats()["waiting_producers"], "a put that waits")
        wait_until(lambda: idle.stats()["waiting_consumers"], "a get that waits")
        lagging, _ = run("stat", f"{name}/full")
        waiting, _ = run("stat", f"{name}/idle")
        assert [b"1", b"2"] == full.get_many(2)
        idle.put(b"x")
        putting.result(PATIENCE_S)
        getting.result(PATIENCE_S)
        for fact in (
            r"  records +2",
            r"  oldest age +\d+\.\d (s|min)",
            r"  times full +1",
            r"  waiting producers +1",
            r"  waiting consumers +0",
            r"  lane 0 .*, oldest age \d+\.\d (s|min), times full 1, waiting producers 1, .*",
        ):
            assert re.search(f"^{fact}$", lagging, re.MULTILINE), f"{fact}\n{lagging}"
        for fact in (r"  oldest age +-", r"  waiting producers +0", r"  waiting consumers +1"):
            assert re.search(f"^{fact}$", waiting, re.MULTILINE), f"{fact}\n{waiting}"
        region.unlink()


def test_stat_again_and_again_tells_rates_until_ctrl_c_which_is_no_failure(name: str) -> None:
    """A rate is what a count grew by in a second; exit code 0."""
    with memlane.Region.create(name, "8 MiB") as region:
        ring, hits = region.ring("frames", capacity=4096, producers=1), region.counter("hits")
        for as_json in ("--text", "--json"):
            program = subprocess.Popen(
                [sys.executable, "-m", "memlane", "stat", name, "-i", "0.05", as_json],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert program.stdout is not None
            lines: list[str] = []
            end = time.monotonic() + PATIENCE_S
            while time.monotonic() < end:
                ring.put(b"x")
                ring.get()
                hits.add(1)
                lines.append(program.stdout.readline())
                if as_json == "--json" and (rates := json.loads(lines[-1]).get("rates")):
                    if rates["frames"]["put"] > 0 and rates["hits"]["value"] > 0:
                        break
                elif re.search(r"^[\d:]{8}  frames +[1-9][\d.,]* ", lines[-1]):
                    break
            program.send_signal(signal.SIGINT)
            _, err = program.communicate(timeout=PATIENCE_S)
            assert (0, "") == (program.returncode, err)
        region.unlink()


@pytest.mark.parametrize("text", ["0", "-1", "x", "nan", "inf"])
def test_impossible_interval_is_refused(text: str) -> None:
    """The text says what would do."""
    _, err = run("stat", "name", f"-i={text}", code=2)
    assert "expected seconds from 0.01 to 86400" in err
