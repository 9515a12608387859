# SPDX-License-Identifier: MIT
"""The command line: `memlane COMMAND`; `python -m memlane` is the same."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from memlane import MemlaneError, __version__, inspection
from memlane.cli.text import Refusal, safe

#: What a shell reports of a command that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130

_NAMES = """\
NAME is one of:
  REGION          a named region
  REGION/OBJECT   one of the objects in it
  ./FILE, /FILE   a region in a file, if need be with /OBJECT behind it
  PID:N           a region without a name, as `memlane ls --all` shows it
"""
_EXIT_CODES = """\
exit code:
  0    done, or nothing to do
  1    not done: something is in use, not there, or corrupted; or the demo found a difference
  2    the arguments cannot be understood, or a PATH of the demo leads to nothing
  130  ended by Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command, by default that of the program's own arguments; without any print the help.

    Returns:
        The exit code: 0; 1 after a failure, or if the demo found a difference; 2 for invalid
        arguments; 130 after Ctrl-C, but 0 where Ctrl-C is the way to end (`stat -i`).

    Raises:
        SystemExit: with 2 for arguments that cannot be parsed, with 0 after `--help` and
        `--version`.
    """
    _show_any_text()
    parser, commands = _parser()
    given = list(sys.argv[1:] if argv is None else argv)
    try:
        if not given or given == ["help"]:
            parser.print_help()
            return 0
        if given[0] == "help":
            given = [*given[1:2], "--help"]
        if not given[0].startswith("-") and given[0] not in commands:
            hint = inspection.near(given[0], commands) or f"; there are {', '.join(commands)}"
            parser.error(f"there is no command {given[0]!r}{hint}")
        arguments = parser.parse_args(given)
        return int(arguments.command(arguments))
    except KeyboardInterrupt:
        print("memlane: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), sys.stdout.fileno())
        return 1
    except (Refusal, MemlaneError, OSError) as error:
        print(f"memlane: {safe(inspection.error_text(error))}", file=sys.stderr)
        return 1
    except ValueError as error:  # an invalid NAME
        print(f"memlane: {safe(str(error))}", file=sys.stderr)
        return 2


def _show_any_text() -> None:
    """No name is an error because the terminal cannot show it."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, with nothing in it that a terminal would obey."""
        self.exit(2, f"{self.prog}: {safe(message)}; see {self.prog} --help\n")


def _parser() -> tuple[_Parser, list[str]]:
    """The parser, and the names of all commands."""
    parser = _Parser(
        prog="memlane",
        description="Look after shared memory of memlane, and see it work.",
        epilog=f"`memlane help COMMAND` tells more of one.\n\n{_NAMES}\n{_EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"memlane {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def add(name: str, command: Any, what: str, more: str = "") -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.\n{more}",
            epilog=_EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
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
    ls = add(
        "ls",
        _ls,
        "list the regions that there are, and who has them open",
        "\nMEMORY is what a region really takes, SIZE what it could take at most.\n"
        "Nothing that is listed is joined or disturbed. Memory made with anonymous=True has no\n"
        "file, so no other process can see it.",
    )
    ls.add_argument(
        "--all",
        action="store_true",
        help="also regions without a name, as far as this user may see them in /proc",
    )
    stat = add(
        "stat", _stat, "tell all that is known of a region or of one of its objects", f"\n{_NAMES}"
    )
    stat.add_argument("name", metavar="NAME")
    stat.add_argument(
        "-i",
        dest="every",
        type=_seconds,
        metavar="S",
        help="again every S seconds, with rates, until Ctrl-C, which is exit code 0 here; "
        "with --json a line each time",
    )
    rm = add(
        "rm",
        _rm,
        "remove a region that nobody has open, or an object that nobody has a role in",
        "\nWhat is in use is refused, and it is told who uses it. A program can take the name\n"
        f"of a region in use away with Region.unlink.\n\n{_NAMES}",
    )
    rm.add_argument("name", metavar="NAME")
    sweep = add("sweep", _sweep, "remove the named regions and semaphores that nobody has open")
    sweep.add_argument("names", nargs="*", metavar="REGION", help="only these; else all")
    sweep.add_argument(
        "--dry-run", action="store_true", help="only tell what would be removed, and how much it is"
    )
    commands.add_parser("help", help="tell more of a command").add_argument("name", nargs="?")
    return parser, list(commands.choices)


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 64, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0.01 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds from 0.01 to 86400, got {text!r}")
    return seconds


# What only one command needs is loaded for that one.


def _demo(arguments: argparse.Namespace) -> int:
    from memlane.cli.demo import demo

    return demo(
        arguments.paths, workers=arguments.workers, kill=arguments.kill, as_json=arguments.json
    )


def _ls(arguments: argparse.Namespace) -> int:
    from memlane.cli.listing import ls

    return ls(arguments.all, arguments.json)


def _stat(arguments: argparse.Namespace) -> int:
    from memlane.cli.stat import stat

    return stat(arguments.name, arguments.every, arguments.json)


def _rm(arguments: argparse.Namespace) -> int:
    from memlane.cli.removing import rm

    return rm(arguments.name, arguments.json)


def _sweep(arguments: argparse.Namespace) -> int:
    from memlane.cli.removing import sweep_up

    return sweep_up(arguments.names, arguments.dry_run, arguments.json)
