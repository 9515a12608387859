# SPDX-License-Identifier: MIT
"""What figures were measured on."""

from __future__ import annotations

import os
import platform
import time

#: Long enough for the kernel's ticks to tell a tenth of a processor.
_LOOK_S = 0.2
TICK_NS = 10**9 // os.sysconf("SC_CLK_TCK")


def busy_ns() -> int:
    """Time that all processors together have not been idle, as coarse as the kernel's ticks."""
    with open("/proc/stat") as stat:
        user, nice, system, _idle, _wait, irq, soft, steal = map(int, stat.readline().split()[1:9])
    return (user + nice + system + irq + soft + steal) * TICK_NS


def wait_for_quiet(most: float, timeout: float) -> None:
    """Return when less than this part of a processor is in use, or at the end of the time."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        before, begin = busy_ns(), time.monotonic_ns()
        time.sleep(_LOOK_S)
        if busy_ns() - before < most * (time.monotonic_ns() - begin):
            break


def line() -> str:
    """Processor, how many of them, kernel, Python, and how busy it is, in one line."""
    model = platform.machine()
    with open("/proc/cpuinfo") as cpus:
        for text in cpus:
            if text.startswith("model name"):
                model = text.split(":", 1)[1].strip()
                break
    return (
        f"{model}, {len(os.sched_getaffinity(0))} CPUs, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )
