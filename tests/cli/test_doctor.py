# SPDX-License-Identifier: MIT
"""`memlane doctor` finds what is ill, says what to do, and removes only what nobody has open."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

import memlane
from memlane.cli import doctor
from tests.support.command import call, killed_user, lines, run
from tests.support.processes import Child, wait_until
from tests.support.region_files import (
    SHARED_MEMORY,
    file_of,
    needs_mounts,
    own_shared_memory,
    set_field,
)
from tests.support.terminal import terminal_shows

pytestmark = pytest.mark.machine


def of(name: str) -> list[doctor.Finding]:
    return [one for one in doctor.regions() if one.check == f"region {name}"]


@needs_mounts
def test_a_sound_machine_is_well() -> None:
    """Each thing that was looked at has a line, also in a terminal of 40 columns; exit code 0."""

    def look() -> None:
        own_shared_memory(1 << 30)
        found = lines("doctor")
        checks = {one["check"] for one in found}
        assert {"kernel", "/dev/shm", "open files", "huge pages", "regions"} <= checks
        assert {"ok", "note"} >= {one["level"] for one in found}
        shown = terminal_shows("doctor", columns=40)
        assert "ok     kernel: Linux " in shown
        assert max(map(len, shown.splitlines())) <= 40

    with Child(look) as child:
        assert 0 == child.wait()


@needs_mounts
def test_a_small_shm_of_a_container_is_a_warning() -> None:
    """With the option that makes it larger; exit code 1."""

    def look() -> None:
        own_shared_memory(64 << 20)
        out, _ = call("doctor", "--text", code=1)
        assert "WARN   /dev/shm: 64.0 MiB of 64.0 MiB free" in out
        assert "-> docker run --shm-size=1g" in out

    with Child(look) as child:
        assert 0 == child.wait()


def test_what_nobody_has_open_is_told_and_fixed_and_nothing_else(name: str) -> None:
    """Stale names with what waits in them; one that is in use stays."""
    killed_user(name)
    with memlane.Counter.create(f"{name}-used") as used:
        (stale,) = of(name)
        assert ("warning", (name,)) == (stale.level, stale.fixes)
        assert "nobody has it open, with 2 records that nobody got" == stale.found
        found = lines("doctor", "--fix", code=_code())
        assert name in next(one["found"] for one in found if one["check"] == "fixed")
        assert name not in memlane.Region.names()
        assert f"{name}-used" in memlane.Region.names()
        assert [] == of(f"{name}-used")
        used.unlink()


def _code() -> int:
    """What the machine itself leads to."""
    return int(any(one.level in ("warning", "error") for one in doctor.machine()))


def test_another_version_and_a_spoilt_region_are_errors(name: str) -> None:
    """Each with what to do."""
    with memlane.Region.create(name, "1 MiB") as region:
        set_field(SHARED_MEMORY / f"memlane.{name}", "layout_draft", 1000)
        (one, *_) = of(name)
        assert ("error", "use one version of memlane in all programs") == (one.level, one.do)
        short = file_of(region).with_name(f"memlane.{name}-short")
        short.write_bytes(file_of(region).read_bytes()[:64])
        found = of(f"{name}-short")
        assert ["error", "warning"] == [one.level for one in found]
        assert f"memlane rm {name}-short" in found[0].do
        short.unlink()
        region.unlink()


def test_the_stopped_and_the_stuck_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped consumer, records that wait, a subscriber that publishers wait for."""
    with memlane.Region.create(name, "4 MiB") as region:
        ring = region.ring("ring", capacity=4096, producers=1)
        topic = region.topic("topic", capacity=4096, publishers=1)
        with Child(_subscribes, name) as child:
            wait_until(lambda: topic.stats()["subscriptions"], "a subscription")
            assert [] == of(name)
            child.stop()
            monkeypatch.setattr(doctor, "STUCK_S", 0.0)
            ring.put_many([b"x", b"y"])
            topic.publish(b"x")
            time.sleep(0.02)  # the clock of ages ticks every few milliseconds
            texts = [one.found for one in of(name)]
            assert any(text.startswith(f"process {child.pid} is stopped, ") for text in texts)
            assert any("2 records of ring wait, the oldest for " in text for text in texts)
            assert any(
                f"subscriber {child.pid} of topic is 1 records behind" in text
                and text.endswith("publishers wait for it")
                for text in texts
            )
        assert any("rows of processes that have died" in one.found for one in of(name))
        region.unlink()


def _subscribes(name: str) -> None:
    with memlane.Region.open(name) as region, region.topic("topic").subscribe(when_full="wait"):
        while True:
            os.read(os.pipe()[0], 1)


def test_completion_scripts_are_sound_and_know_every_command(name: str) -> None:
    """bash itself reads it, and completes commands, options and names."""
    script, _ = call("completion", "bash")
    assert "_memlane" in script
    complete = (
        'memlane() { printf \'{"name": "%s"}\\n\' robot; }\n'
        + script
        + 'COMP_WORDS=(memlane "$1" "$2"); COMP_CWORD=$3; _memlane; echo "${COMPREPLY[@]}"'
    )
    for words, expected in (
        (("rec", "", "1"), "record"),
        (("tail", "--he", "2"), "--help --hex"),
        (("tail", "ro", "2"), "robot"),
    ):
        done = subprocess.run(
            ["bash", "-c", complete, "bash", *words], capture_output=True, text=True, check=True
        )
        assert sorted(expected.split()) == sorted(done.stdout.split()), done
    assert call("completion", "zsh")[0].startswith("autoload")
    fish, _ = call("completion", "fish")
    assert "complete -c memlane -n '__fish_seen_subcommand_from tail' -l hex\n" in fish
    run("completion", "csh", code=2)
