# SPDX-License-Identifier: MIT
"""The command line: `memlane COMMAND`; `python -m memlane` is the same."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from memlane import MemlaneError, inspection
from memlane.cli.parser import parser_of_all
from memlane.cli.text import Refusal, safe

#: What a shell reports of a command that Ctrl-C ended: 128 + SIGINT.
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run one command, by default that of the program's own arguments; without any print the help.

    Returns:
        The exit code: 0; 1 after a failure, or if the demo found a difference; 2 for invalid
        arguments; 124 after a timeout that was asked for; 130 after Ctrl-C, but 0 where Ctrl-C is
        the way to end (`stat -i`).

    Raises:
        SystemExit: with 2 for arguments that cannot be parsed, with 0 after `--help` and
        `--version`.
    """
    _show_any_text()
    parser, commands = parser_of_all()
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
        if hasattr(arguments, "text"):  # prints facts: for people on a terminal, else for programs
            arguments.json = arguments.json or not (arguments.text or sys.stdout.isatty())
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
