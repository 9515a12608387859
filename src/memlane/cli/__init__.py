# SPDX-License-Identifier: MIT
"""The command line: `memlane COMMAND`; `python -m memlane` is the same."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from memlane import MemlaneError, Region, RegionNotFoundError, __version__, sweep

#: What a shell reports of a command that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command, by default that of the program's own arguments.

    Returns:
        The exit code: 0; 1 after a failure, or where the demo found a difference; 2 for arguments
        that lead to nothing; 130 after Ctrl-C.

    Raises:
        SystemExit: with 2 for arguments that cannot be parsed, with 0 after `--help` and
        `--version`.
    """
    try:
        arguments = _parser().parse_args(argv)
        return int(arguments.command(arguments))
    except KeyboardInterrupt:
        print("memlane: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (MemlaneError, OSError) as error:
        print(f"memlane: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memlane", description="Look after shared memory of memlane, and see it work."
    )
    parser.add_argument("--version", action="version", version=f"memlane {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Any, what: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=what, description=what[0].upper() + what[1:] + ".")
        made.add_argument("--json", action="store_true", help="print the facts as JSON")
        made.set_defaults(command=command)
        return made

    demo = add(
        "demo",
        _demo,
        "index real files with many processes, and compare with one: how fast, and the same result",
    )
    demo.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="files or directories; else the standard library's .py files",
    )
    demo.add_argument(
        "--workers",
        type=_workers,
        default=min(len(os.sched_getaffinity(0)), 64),
        metavar="N",
        help="how many processes work, 1 to 64; as many as there are processors unless given",
    )
    demo.add_argument(
        "--kill",
        action="store_true",
        help="kill workers with SIGKILL amid their work, and replace them",
    )
    add("ls", _ls, "list the named regions of shared memory that there are")
    add("sweep", _sweep, "remove the named regions and semaphores that nobody has open")
    return parser


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 64, got {text!r}")
    return int(text)


def _demo(arguments: argparse.Namespace) -> int:
    from memlane.cli.demo import demo  # what only the demo needs is loaded for the demo

    return demo(
        arguments.paths,
        workers=arguments.workers,
        kill=arguments.kill,
        as_json=arguments.json,
    )


def _ls(arguments: argparse.Namespace) -> int:
    regions = [facts for name in Region.names() if (facts := _facts(name))]
    if arguments.json:
        print(json.dumps(regions, indent=2))
        return 0
    width = max([len(facts["name"]) for facts in regions], default=0)
    for facts in regions:
        what = facts.get("error")
        if what is None:
            size = f"{facts['used']:>14,} of {facts['nbytes']:>14,} bytes"
            what = f"{size}  {', '.join(facts['objects'])}"
        print(f"{facts['name']:{width}}  {what}")
    return 0


def _facts(name: str) -> dict[str, Any] | None:
    """What `ls` says of one region; of one that cannot be opened, why."""
    try:
        with Region.open(name, readonly=True) as region:
            stats = region.stats()
            return {
                "name": name,
                "nbytes": stats["nbytes"],
                "used": stats["used"],
                "objects": list(region),
            }
    except RegionNotFoundError:
        return None  # it went away in the meantime
    except (MemlaneError, OSError) as error:
        return {"name": name, "error": str(error)}


def _sweep(arguments: argparse.Namespace) -> int:
    removed = sweep()
    if arguments.json:
        print(json.dumps(removed, indent=2))
    else:
        for name in removed:
            print(f"removed {name}")
    return 0
