# SPDX-License-Identifier: MIT
"""What every test gets: names of its own, and a look at what it left behind."""

from __future__ import annotations

import fcntl
import gc
import os
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from memlane import _core

SHARED_MEMORY = Path("/dev/shm")
#: Tests that sweep take it for writing, all others for reading: a sweep removes whatever nobody has
#: open, also what a test in another process has just left behind on purpose.
SWEEP_LOCK = Path(tempfile.gettempdir()) / f"memlane-tests-{os.getuid()}.lock"
#: Held while one waits for the other: the kernel lets readers pass a waiting writer for ever.
SWEEP_TURN = SWEEP_LOCK.with_suffix(".turn")


# A shell starts what runs in the background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def ours() -> set[str]:
    """What lies in /dev/shm that memlane could have made."""
    return {
        name
        for name in os.listdir(SHARED_MEMORY)
        if name.startswith(("memlane.", ".memlane", "sem.memlane.", "sem."))
        and not name.startswith("sem.mp-")
    }


def in_use(name: str) -> bool:
    """
    Whether somebody is present at a file of ours: then it belongs to a test that is running
    elsewhere.
    """
    try:
        descriptor = os.open(SHARED_MEMORY / name, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if name.startswith("sem.memlane.") and not name.endswith(".0"):
            return in_use(name.rpartition(".")[0] + ".0")
        return not _core.presence_lock(descriptor, True)
    finally:
        os.close(descriptor)


@pytest.fixture(autouse=True)
def _leaves_shared_memory_as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    with open(SWEEP_LOCK, "a") as lock:
        sweeps = request.node.get_closest_marker("sweeps") is not None
        with open(SWEEP_TURN, "a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(lock, fcntl.LOCK_EX if sweeps else fcntl.LOCK_SH)
        before = ours()
        yield
        gc.collect()
        end = time.monotonic() + 10
        left = ours() - before
        # What other tests make in the meantime is in use, or gone in a moment.
        while left and time.monotonic() < end:
            time.sleep(0.02)
            left = {name for name in left & ours() if not in_use(name)}
        assert left == set(), "left behind in /dev/shm"


@pytest.fixture
def name() -> str:
    """A name for a region that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"
