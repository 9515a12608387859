# SPDX-License-Identifier: MIT
"""What figures were measured on."""

from __future__ import annotations

import os
import platform


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
