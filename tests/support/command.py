# SPDX-License-Identifier: MIT
"""The command line, as a user runs it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
from typing import Any

import memlane
from memlane.cli import main
from tests.support.processes import PATIENCE_S, Child

#: Commands that print JSON in a pipe unless they are asked for text.
_TELL_FACTS = {"ls", "stat", "tail", "who"}


def run(*arguments: str, code: int = 0) -> tuple[str, str]:
    """What the command prints, as a user runs it, to stdout and to stderr: text, but for --json."""
    asks = arguments[:1] and arguments[0] in _TELL_FACTS and "--json" not in arguments
    asked = (*arguments[:1], "--text", *arguments[1:]) if asks else arguments
    done = subprocess.run(
        [sys.executable, "-m", "memlane", *asked],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert code == done.returncode, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def call(*arguments: str, code: int = 0) -> tuple[str, str]:
    """As a pipe gets it, without a process of its own: what the command prints to both."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            found = main(arguments)
        except SystemExit as ended:
            found = int(ended.code or 0)
    printed, told = (stream.buffer.getvalue().decode() for stream in (out, err))
    assert code == found, printed + told
    assert "Traceback" not in told
    return printed, told


def lines(*arguments: str, code: int = 0) -> list[Any]:
    """What the command prints in a pipe, each line of JSON as an object."""
    return [json.loads(line) for line in call(*arguments, code=code)[0].splitlines()]


def listed(*arguments: str) -> dict[str, dict[str, Any]]:
    printed = run("ls", "--json", *arguments)[0].splitlines()
    return {facts["name"]: facts for facts in map(json.loads, printed)}


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
