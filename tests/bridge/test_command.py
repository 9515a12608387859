# SPDX-License-Identifier: MIT
"""`memlane bridge` as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from memlane import Ring
from tests.support.bridges import BridgeProcess, removed
from tests.support.command import lines, run
from tests.support.processes import PATIENCE_S, wait_until
from tests.support.proxy import free_port

zenoh = pytest.importorskip("zenoh", reason="there is no wheel of Zenoh for this Python")

pytestmark = pytest.mark.machine


def test_a_bridge_with_a_file_of_options_carries_as_one_with_options(
    name: str, tmp_path: Path
) -> None:
    """What stands in the file, and what is given beside it."""
    port = free_port()
    file = tmp_path / "bridge.toml"
    file.write_text(
        f'connect = ["tcp/127.0.0.1:{port}"]\ncarry = ["ring:{name}"]\nwindow = "1 MiB"\n'
        f'[rename]\n{name} = "{name}-far"\n[zenoh]\n"transport/link/tx/lease" = 5000\n'
    )
    with (
        removed(name, f"{name}-far"),
        Ring.create(name, capacity=4096) as near,
        BridgeProcess("--listen", f"tcp/127.0.0.1:{port}", "--allow", f"{name}-far") as there,
        BridgeProcess("--config", str(file), "--name", "here") as here,
    ):
        near.put(b"over the bridge")
        with Ring.open(f"{name}-far", timeout=PATIENCE_S) as far:
            assert b"over the bridge" == far.get(timeout=PATIENCE_S)
        assert 0 == here.end()
        assert 0 == there.end()


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "a bridge needs --listen or --connect, or both"),
        (["--listen", "7447"], 2, "PROTOCOL/ADDRESS as 'tcp/192.0.2.1:7447'"),
        (["--listen", "tcp/127.0.0.1:0", "--carry", "lock:db"], 2, "a lock is not carried"),
        (["--listen", "tcp/127.0.0.1:0", "--rename", "a"], 2, "takes HERE=THERE"),
        (["--listen", "tcp/192.0.2.1:1"], 1, "Zenoh cannot start, listening at tcp/192.0.2.1:1"),
        (["--config", "/dev/null"], 2, "a bridge needs --listen or --connect"),
        (["--config", "/nowhere"], 1, "No such file"),
    ],
)
def test_what_a_bridge_cannot_do_is_told_in_one_line(
    arguments: list[str], code: int, text: str
) -> None:
    """Before anything is opened."""
    _, told = run("bridge", *arguments, code=code)

    assert text in told.splitlines()[-1]


def test_a_file_of_options_with_a_mistake_is_refused(tmp_path: Path) -> None:
    """A name that is none, a type that is another one, a text that is no TOML."""
    file = tmp_path / "bridge.toml"
    for text, told in (
        ("listens = []", "has an option 'listens'; there are listen,"),
        ('listen = "tcp/127.0.0.1:0"', "listen must be a list, got str"),
        ("listen = [", "is no TOML"),
    ):
        file.write_text(text)
        assert told in run("bridge", "--config", str(file), code=1)[1]


def test_the_state_of_bridges_is_shown_and_doctor_names_what_hinders(name: str) -> None:
    """Links and streams, of a running one and of a killed one."""
    port = free_port()
    with (
        removed(name),
        Ring.create(name, capacity=4096) as ring,
        BridgeProcess("--listen", f"tcp/127.0.0.1:{port}", "--name", "there"),
        BridgeProcess(
            *("--connect", f"tcp/127.0.0.1:{port}", "--carry", f"ring:{name}", "--name", "here")
        ) as here,
    ):
        ring.put(b"unwanted")

        def shown() -> dict[str, Any]:
            told = {it["name"]: it for it in lines("bridge", "--status", "--json")}
            found: dict[str, Any] = told.get("here", {"streams": []})
            return found

        wait_until(
            lambda: any("refused" in it["state"] for it in shown()["streams"]), "the refusal"
        )
        text, _ = run("bridge", "--status")
        assert f"out ring:{name}" in text
        assert "there up" in text
        found = {it["check"]: it for it in map(json.loads, call_doctor())}
        assert "is not allowed here" in found["bridge here"]["found"]
        here.kill()
        assert "killed" in run("bridge", "--status")[0]


def call_doctor() -> list[str]:
    """Its exit code depends on the machine."""
    done = subprocess.run(
        [sys.executable, "-m", "memlane", "doctor", "--json"], capture_output=True, text=True
    )
    return done.stdout.splitlines()
