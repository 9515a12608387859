# SPDX-License-Identifier: MIT
"""
Bridges: the same rings, topics, slots and maps on another machine, over Zenoh.

    from memlane.bridge import Bridge

    with Bridge(connect=["tcp/192.0.2.1:7447"], carry=["ring:frames"]):
        ...

docs/bridge.md has what is promised, and every byte of the protocol. Needs `memlane[zenoh]`.
"""

from memlane.bridge.bridge import Bridge
from memlane.bridge.status import running

__all__ = ["Bridge", "running"]
