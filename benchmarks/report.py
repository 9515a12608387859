# SPDX-License-Identifier: MIT
"""
Results as tables for a terminal, and as tables and pictures in docs/benchmarks.md.

    build/entries/bin/python benchmarks/report.py results.json docs/benchmarks
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
from pathlib import Path
from typing import Any, TypeAlias

Facts: TypeAlias = dict[str, Any]

OURS = "memlane"
#: A sample during which others had more than this part of a processor.
DISTURBED = 0.1


def number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def size(nbytes: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if nbytes >= unit:
            return f"{nbytes // unit} {name}"
    return f"{nbytes} B"


def in_peace(entry: Facts) -> set[int]:
    """The rounds in which others left this one alone; all, if there is none."""
    every = set(range(len(entry["samples"])))
    others = entry["facts"].get("others", [0.0] * len(every))
    return {number for number in every if others[number] < DISTURBED} or every


def samples(entry: Facts) -> list[float]:
    return [entry["samples"][number] for number in sorted(in_peace(entry))]


def middle(entry: Facts) -> float:
    return float(statistics.median(samples(entry)))


def ordered(case: Facts) -> list[Facts]:
    """Those that have figures, the best first."""
    measured = [entry for entry in case["candidates"] if entry["samples"] and not entry["limit"]]
    return sorted(measured, key=middle, reverse=case["more_is_better"])


def ours_of(case: Facts) -> Facts | None:
    """Ours, if it has figures."""
    return next((entry for entry in ordered(case) if entry["name"] == OURS), None)


def spread_of(entry: Facts) -> list[str]:
    """The median, the least and the greatest sample, to be read."""
    return [number(one) for one in (middle(entry), min(samples(entry)), max(samples(entry)))]


def limits(case: Facts) -> list[Facts]:
    return [entry for entry in case["candidates"] if entry["samples"] and entry["limit"]]


def shared(one: Facts, other: Facts) -> list[tuple[float, float]]:
    """The samples of both from the same rounds, of those in which both were in peace if any."""
    rounds = in_peace(one) & in_peace(other) or range(len(one["samples"]))
    return [(one["samples"][number], other["samples"][number]) for number in sorted(rounds)]


def ratio(case: Facts, one: Facts, other: Facts) -> float:
    """How many times as good, as the median over the rounds."""
    pairs = shared(one, other)
    if case["more_is_better"]:
        return float(statistics.median(mine / max(its, 1e-9) for mine, its in pairs))
    return float(statistics.median(its / max(mine, 1e-9) for mine, its in pairs))


def torn(entry: Facts) -> int:
    """How many payloads it handed out that nobody sent, in peace or not."""
    counts: list[float] = entry["facts"].get("torn", [])
    return round(sum(counts))


def best_alternative(case: Facts, ours: Facts) -> Facts | None:
    """The one that ours is least ahead of."""
    entries = [p for p in ordered(case) if not p["name"].startswith(OURS) and not torn(p)]
    return min(entries, key=lambda entry: ratio(case, ours, entry), default=None)


def aside(entry: Facts) -> str:
    """What else was seen, in a few words."""
    facts = {
        name: [found[number] for number in sorted(in_peace(entry))]
        for name, found in entry["facts"].items()
    }
    words = []
    if "delivered" in facts:
        words.append(f"{statistics.median(facts['delivered']):.0%} delivered")
    if "p99" in facts:
        words.append(f"p99 {number(statistics.median(facts['p99']))}")
    if "writes" in facts:
        words.append(f"{number(statistics.median(facts['writes']))} M writes/s")
    if all(others >= DISTURBED for others in facts.get("others", [0.0])):
        words.append("disturbed")
    if "writes" in facts or torn(entry):
        words.append(f"{torn(entry)} torn")
    return ", ".join(words)


def table(case: Facts) -> str:
    """For a terminal."""
    measured = ordered(case)
    ours = ours_of(case)
    heading = f"{case['title']} [{case['unit']}]"
    lines = ["", f"{heading:<42}{'median':>9}{'min':>9}{'max':>9}{'memlane':>9}"]
    for entry in measured:
        cells = "".join(one.rjust(9) for one in spread_of(entry))
        times = ""
        if ours and case["compared"] and entry is not ours:
            times = f"{ratio(case, ours, entry):.2f}x"
        lines.append(f"  {entry['name']:<40}{cells}{times:>9}  {aside(entry)}".rstrip())
    for entry in limits(case):
        cells = "".join(one.rjust(9) for one in spread_of(entry))
        times = f"{ratio(case, ours, entry):.2f}x" if ours else ""
        lines.append(
            f"  [{entry['name']}]".ljust(42) + f"{cells}{times:>9}  {aside(entry)}".rstrip()
        )
    for entry in case["candidates"]:
        if entry["failure"]:
            lines.append(f"  {entry['name']:<40}{entry['failure']}")
    return "\n".join(lines)


# ---- for docs/benchmarks.md --------------------------------------------------------------------

_BEGIN, _END = "<!-- begin: {} -->", "<!-- end: {} -->"
_GROUPS = {
    "small": ("Small records", ["8B", "64B", "64B-wait", "64B-batch", "256B", "1KiB"]),
    "large": ("Large records", ["16KiB", "256KiB", "4MiB", "frame"]),
    "trips": ("There and back, and idle", ["trip-busy", "trip-wait", "idle"]),
    "others": (
        "Objects, latest values, several producers",
        ["dict", "slot-64B", "slot-4KiB", "4to1"],
    ),
    "topics": (
        "Every record to every subscriber",
        ["topic-1", "topic-3", "topic-8", "topic-frame", "topic-trip"],
    ),
}
_OURS_COLOR, _OTHERS_COLOR, _LIMIT_COLOR = "#c2410c", "#94a3b8", "#1e293b"


def row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def summary(cases: list[Facts]) -> list[str]:
    """Where ours stands in each case, in one table."""
    lines = [
        row("case", "memlane", "best alternative", "", "ratio", "wanted", "limit", "of it"),
        row("---", "---:", "---:", "---", "---:", "---:", "---", "---:"),
    ]
    for case in cases:
        ours = ours_of(case)
        best = ours and best_alternative(case, ours)
        if ours is None or best is None:
            continue
        mine, its = (statistics.median(found) for found in zip(*shared(ours, best), strict=True))
        lines.append(
            row(
                case["title"],
                f"{number(mine)} {case['unit']}",
                f"{number(its)} {case['unit']}",
                ": ".join(word for word in (best["name"], aside(best)) if word),
                f"**{ratio(case, ours, best):.2f}**" if case["compared"] else "",
                case["wanted"],
                *first_limit(case),
            )
        )
    return lines


def first_limit(case: Facts) -> tuple[str, str]:
    """What the first limit of a case is, and which part of it each way of ours reaches."""
    limit = next(iter(limits(case)), None)
    if limit is None:
        return "", ""
    parts = [
        f"{ratio(case, entry, limit):.2f}{entry['name'].removeprefix(OURS).replace(', ', ' by ')}"
        for entry in ordered(case)
        if entry["name"].startswith(OURS)
    ]
    return limit["name"], ", ".join(parts)


def case_lines(case: Facts) -> list[str]:
    """All candidates of a case."""
    ours = ours_of(case)
    lines = [
        f"**{case['title']}**, {case['unit']}",
        "",
        row("", "median", "min", "max", "memlane is", ""),
        row("---", "---:", "---:", "---:", "---:", "---"),
    ]
    for entry in [*ordered(case), *limits(case)]:
        times = ""
        if ours is not None and entry is not ours and case["compared"]:
            times = f"{ratio(case, ours, entry):.2f} x"
        name = f"*{entry['name']}*" if entry["limit"] else entry["name"]
        lines.append(row(name, *spread_of(entry), times, aside(entry)))
    lines += [
        row(one["name"], *[""] * 4, one["failure"]) for one in case["candidates"] if one["failure"]
    ]
    return [*lines, ""]


def document(results: Facts, images: str) -> dict[str, list[str]]:
    """The parts of docs/benchmarks.md that are made from results, by their names."""
    cases = {case["key"]: case for case in results["cases"]}
    figures: list[str] = []
    for name, (title, keys) in _GROUPS.items():
        if any(key in cases for key in keys):
            figures += [f"### {title}", "", f"![{title}]({images}/{name}.svg)", ""]
            for key in keys:
                figures += case_lines(cases[key]) if key in cases else []
    if "calls" in cases:
        figures += ["### One process", "", *case_lines(cases["calls"])]
    uses = [row("library", "version", "kind of case", "used as"), row(*["---"] * 4)]
    for name, ways in results["uses"].items():
        version = results["versions"][name]
        for kind, way in ways.items():
            uses.append(row(name, version, kind, way))
            name = version = ""
    left_out = [f"{name} is left out: {reason}." for name, reason in results["skipped"].items()]
    return {
        "machine": [
            f"    {results['machine']}",
            f"    {results['date']}, {results['rounds']} rounds",
            *(f"    {command}" for command in results["commands"]),
        ],
        "summary": summary(results["cases"]),
        "figures": figures[:-1],
        "uses": [*uses, "", *left_out] if left_out else uses,
    }


def put_into(page: str, parts: dict[str, list[str]]) -> str:
    """The page with each part between its two marks made anew."""
    for name, lines in parts.items():
        begin, end = _BEGIN.format(name), _END.format(name)
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{after}"
    return page


def pyplot() -> Any:
    """The plotting library, installed for the benchmarks only, set to write the same file again."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "memlane", "font.size": 8})
    return importlib.import_module("matplotlib.pyplot")


def plot(results: Facts, directory: Path) -> None:
    """A picture for each group of cases: bars of medians, lines from the least to the greatest."""
    cases = {case["key"]: case for case in results["cases"]}
    plots = pyplot()
    for name, (_, keys) in _GROUPS.items():
        shown = [cases[key] for key in keys if key in cases]
        if not shown:
            continue
        height = max(len(ordered(case)) + len(limits(case)) for case in shown) * 0.19 + 0.5
        rows = (len(shown) + 1) // 2
        figure, axes = plots.subplots(rows, 2, figsize=(10, rows * height), squeeze=False)
        for axis in axes.flat[len(shown) :]:
            axis.set_visible(False)
        for axis, case in zip(axes.flat, shown, strict=False):
            bars = [*ordered(case), *limits(case)]
            medians = [middle(entry) for entry in bars]
            colors = [
                _LIMIT_COLOR
                if bar["limit"]
                else _OURS_COLOR
                if bar["name"] == OURS
                else _OTHERS_COLOR
                for bar in bars
            ]
            spread = [
                [value - min(samples(bar)) for bar, value in zip(bars, medians, strict=True)],
                [max(samples(bar)) - value for bar, value in zip(bars, medians, strict=True)],
            ]
            names = [f"[{bar['name']}]" if bar["limit"] else bar["name"] for bar in bars]
            axis.barh(names, medians, color=colors, xerr=spread, ecolor="#475569", height=0.7)
            axis.invert_yaxis()
            axis.set_title(f"{case['title']} [{case['unit']}]", loc="left", fontsize=9)
            if not case["more_is_better"] and min(medians) > 0:
                axis.set_xscale("log")
            axis.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(directory / f"{name}.svg", metadata={"Date": None, "Creator": None})
        plots.close(figure)


def write(results: Facts, directory: Path) -> None:
    """Pictures and results into *directory*, and the parts of the page of that name beside it."""
    directory.mkdir(exist_ok=True)
    (directory / "results.json").write_text(json.dumps(results, separators=(",", ":")) + "\n")
    plot(results, directory)
    page = directory.with_suffix(".md")
    page.write_text(put_into(page.read_text(), document(results, directory.name)))


def main() -> int:
    parser = argparse.ArgumentParser(description="make docs/benchmarks.md anew from results")
    parser.add_argument("results", type=Path, help="what bench.py --json wrote")
    parser.add_argument("directory", type=Path, help="of the pictures: docs/benchmarks")
    arguments = parser.parse_args()
    write(json.loads(arguments.results.read_text()), arguments.directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
