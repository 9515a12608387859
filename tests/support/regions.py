# SPDX-License-Identifier: MIT
"""Regions of each backing, and one object of each kind in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memlane import Region


def made(backing: str, name: str, tmp_path: Path, **options: Any) -> Region:
    places: dict[str, str | Path] = {"named": name, "path": tmp_path / "region.lane"}
    where = places.get(backing)
    return Region.create(where, "1 MiB", anonymous=backing == "anonymous", **options)


def furnish(region: Region) -> None:
    """One object of each kind, each with something in it."""
    ring = region.ring("frames", capacity=4096, producers=2)
    ring.put(b"first")
    ring.put(b"second")
    region.slot("pose", "2d").publish((1.5, 2.5))
    region.table("sensors", 3, "q")[1].publish((7,))
    region.counter("hits").add(3)
