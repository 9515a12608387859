# SPDX-License-Identifier: MIT
"""The command line, as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import memlane
from tests.support.processes import PATIENCE_S, Child


def run(*arguments: str, code: int = 0) -> tuple[str, str]:
    """What the command prints, as a user runs it, to stdout and to stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "memlane", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert code == done.returncode, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def listed(*arguments: str) -> dict[str, dict[str, Any]]:
    return {facts["name"]: facts for facts in json.loads(run("ls", "--json", *arguments)[0])}


def killed_user(name: str) -> int:
    """The pid of a process that made a ring, put two records, and was killed."""
    ready, told = os.pipe()

    def use() -> None:
        ring = memlane.Ring.create(name, capacity=4096, producers=2)
        ring.put_many([b"one", b"two"])
        os.write(told, b".")
        signal.pause()

    with Child(use) as user:
        assert b"." == os.read(ready, 1)
        user.kill()
    os.close(ready)
    os.close(told)
    return user.pid
