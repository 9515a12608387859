# SPDX-License-Identifier: MIT
"""Tables of results: for a terminal, and for docs/benchmarks.md."""

from __future__ import annotations

import statistics
from typing import Any, TypeAlias

Facts: TypeAlias = dict[str, Any]

OURS = "memlane"


def number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def middle(peer: Facts) -> float:
    return float(statistics.median(peer["samples"]))


def ordered(case: Facts) -> list[Facts]:
    """Those that have figures, the best first."""
    measured = [peer for peer in case["peers"] if peer["samples"]]
    return sorted(measured, key=middle, reverse=case["more_is_better"])


def ratio(case: Facts, one: Facts, other: Facts) -> float:
    """How many times as good, as the median over the rounds."""
    pairs = zip(one["samples"], other["samples"], strict=True)
    if case["more_is_better"]:
        return float(statistics.median(mine / max(its, 1e-9) for mine, its in pairs))
    return float(statistics.median(its / max(mine, 1e-9) for mine, its in pairs))


def standing(case: Facts) -> tuple[float, str] | None:
    """How many times as good as the best peer ours is, and who that is."""
    measured = ordered(case)
    ours = [peer for peer in measured if peer["name"] == OURS]
    peers = [peer for peer in measured if peer["name"] != OURS]
    if not ours or not peers:
        return None
    return ratio(case, ours[0], peers[0]), peers[0]["name"]


def aside(peer: Facts) -> str:
    """What else was seen, in a few words."""
    facts = peer["facts"]
    words = []
    if "delivered" in facts:
        words.append(f"{statistics.median(facts['delivered']):.0%} delivered")
    if "p99" in facts:
        words.append(f"p99 {number(statistics.median(facts['p99']))}")
    if "writes" in facts:
        words.append(f"{number(statistics.median(facts['writes']))} M writes/s")
    if "torn" in facts and ("writes" in facts or sum(facts["torn"])):
        words.append(f"{sum(facts['torn']):.0f} torn")
    return ", ".join(words)


def table(case: Facts) -> str:
    """For a terminal."""
    measured = ordered(case)
    ours = next((peer for peer in measured if peer["name"] == OURS), None)
    heading = f"{case['title']} [{case['unit']}]"
    compared = case["unit"] != "ms"
    lines = ["", f"{heading:<42}{'median':>9}{'min':>9}{'max':>9}{'memlane':>9}"]
    for peer in measured:
        numbers = (middle(peer), min(peer["samples"]), max(peer["samples"]))
        cells = "".join(number(one).rjust(9) for one in numbers)
        times = f"{ratio(case, ours, peer):.2f}x" if ours and compared and peer is not ours else ""
        lines.append(f"  {peer['name']:<40}{cells}{times:>9}  {aside(peer)}".rstrip())
    for peer in case["peers"]:
        if peer["failure"]:
            lines.append(f"  {peer['name']:<40}{peer['failure']}")
    return "\n".join(lines)
