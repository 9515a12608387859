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
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from memlane import _core
from tests.support.region_files import SHARED_MEMORY, ours, own_shared_memory

#: A process that runs tests has a /dev/shm of its own where it may mount one: what others make,
#: leave or sweep at the same time, in this run of the tests or in another one, is nothing to it.
try:
    own_shared_memory()
    IS_ALONE = True
except OSError:
    IS_ALONE = False

#: Where /dev/shm is shared, tests that sweep take it for writing, all others for reading: a sweep
#: removes whatever nobody has open, also what a test in another process has just left behind on
#: purpose.
SWEEP_LOCK = Path(tempfile.gettempdir()) / f"memlane-tests-{os.getuid()}.lock"
#: Held while one waits for the other: the kernel lets readers pass a waiting writer for ever.
SWEEP_TURN = SWEEP_LOCK.with_suffix(".turn")


#: How long an example takes says nothing. They are the same ones each time: to look for more is
#: what the long form is for (MEMLANE_MODEL_SEQUENCES).
settings.register_profile(
    "memlane",
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize="MEMLANE_MODEL_SEQUENCES" not in os.environ,
)
settings.load_profile("memlane")

# A shell starts what runs in the background with SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


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


@contextmanager
def turn(sweeps: bool) -> Iterator[None]:
    """When a test may run that sweeps, or does not, where others share its /dev/shm."""
    with open(SWEEP_LOCK, "a") as lock:
        with open(SWEEP_TURN, "a") as waiting:
            fcntl.flock(waiting, fcntl.LOCK_EX)
            fcntl.flock(lock, fcntl.LOCK_EX if sweeps else fcntl.LOCK_SH)
        yield


@pytest.fixture(autouse=True)
def _leaves_shared_memory_as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    if IS_ALONE:
        before = ours()
        yield
        gc.collect()
        assert before == ours(), "left behind in /dev/shm"
        return
    with turn(request.node.get_closest_marker("sweeps") is not None):
        before = ours()
        yield
        gc.collect()
        left = ours() - before
        # What other tests make in the meantime is in use, or gone in a moment.
        for _ in range(3000):
            left = {name for name in left & ours() if not in_use(name)}
            if not left:
                break
            time.sleep(0.02)
        assert left == set(), "left behind in /dev/shm"


@pytest.fixture
def name() -> str:
    """A name for a region that no other test uses."""
    return f"test-{uuid.uuid4().hex[:12]}"
