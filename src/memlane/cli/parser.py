# SPDX-License-Identifier: MIT
"""The options of each command, their help and examples."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import NoReturn

from memlane import __version__
from memlane.cli import commands
from memlane.cli.text import safe

NAMES = """\
NAME is one of:
  REGION          a named region
  REGION/OBJECT   one of the objects in it
  ./FILE, /FILE   a region in a file, if need be with /OBJECT behind it
  PID:N           a region without a name, as `memlane ls --all` shows it
"""
EXIT_CODES = """\
exit code:
  0    done, or nothing to do
  1    not done: something is in use, not there, or corrupted; or the demo found a difference
  2    the arguments cannot be understood, or a PATH of the demo leads to nothing
  124  not done within the --timeout that was asked for
  130  ended by Ctrl-C
"""
MANNERS = """\
Facts are text on a terminal, and lines of JSON in a pipe or with --json; --text has text anywhere.
What only looks joins no region, and no program that uses one waits for it.
"""


class Parser(argparse.ArgumentParser):
    """One of memlane: errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line, with nothing in it that a terminal would obey."""
        self.exit(2, f"{self.prog}: {safe(message)}; see {self.prog} --help\n")


class _Adder:
    """Adds commands to a parser."""

    def __init__(self, parser: Parser) -> None:
        self.subparsers = parser.add_subparsers(
            required=True, metavar="COMMAND", parser_class=Parser
        )

    def add(
        self,
        name: str,
        command: Callable[[argparse.Namespace], int],
        what: str,
        more: str = "",
        *,
        examples: Sequence[tuple[str, str]],
        facts: bool = False,
        json: bool = True,
    ) -> argparse.ArgumentParser:
        """
        Args:
            examples: Each with what it does.
            facts: It prints facts: text on a terminal, else JSON.
            json: It has --json.
        """
        longest = max(len(line) for line, _ in examples)
        shown = "\n".join(f"  {line:<{longest}}  {what}" for line, what in examples)
        made: argparse.ArgumentParser = self.subparsers.add_parser(
            name,
            help=what,
            description=f"{what[0].upper()}{what[1:]}.\n{more}",
            epilog=f"examples:\n{shown}\n\n{EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if json:
            made.add_argument("--json", action="store_true", help="print the facts as JSON")
        if facts:
            made.add_argument("--text", action="store_true", help="print text, also in a pipe")
        made.set_defaults(command=command)
        return made


def parser_of_all() -> tuple[Parser, list[str]]:
    """The parser, and the names of all commands."""
    parser = Parser(
        prog="memlane",
        description="Look after shared memory of memlane, and see it work.",
        epilog=(
            "`memlane help COMMAND` tells more of one, with examples.\n\n"
            f"{NAMES}\n{MANNERS}\n{EXIT_CODES}"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"memlane {__version__}")
    adder = _Adder(parser)
    _demonstrating(adder)
    _listing(adder)
    _watching(adder)
    _following(adder)
    _transferring(adder)
    _recording(adder)
    _bridging(adder)
    _removing(adder)
    _helping(adder)
    adder.subparsers.add_parser("help", help="tell more of a command").add_argument(
        "name", nargs="?"
    )
    return parser, list(adder.subparsers.choices)


def _demonstrating(adder: _Adder) -> None:
    demo = adder.add(
        "demo",
        commands.demo,
        "index real files with many processes, and compare with one: how fast, and the same result",
        examples=[
            ("memlane demo", "index the standard library"),
            ("memlane demo --kill", "and kill workers amid their work"),
        ],
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


def _listing(adder: _Adder) -> None:
    ls = adder.add(
        "ls",
        commands.ls,
        "list the regions that there are, and who has them open",
        "\nMEMORY is what a region really takes, SIZE what it could take at most.\n"
        "Nothing that is listed is joined or disturbed. Memory made with anonymous=True has no\n"
        "file, so no other process can see it.",
        examples=[
            ("memlane ls", "all named regions"),
            ("memlane ls --all", "and those without a name"),
            ("memlane ls --tree 'robot-*'", "some, with their objects and roles"),
            ("memlane ls --json | jq -r .name", "their names"),
        ],
        facts=True,
    )
    ls.add_argument(
        "--all",
        action="store_true",
        help="also regions without a name, as far as this user may see them in /proc",
    )
    ls.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="only these; a pattern with *, ? or [...] stands for all that it matches",
    )
    ls.add_argument(
        "--tree", action="store_true", help="with the objects of each, and who has a role in them"
    )
    _telling(adder)


def _telling(adder: _Adder) -> None:
    stat = adder.add(
        "stat",
        commands.stat,
        "tell all that is known of a region or of one of its objects",
        "\nWith -i a line for each object and interval: records or values a second (HZ), their\n"
        "least, largest and standard deviation over the last WIN intervals, at most 60; bytes a\n"
        "second; records that wait or are kept (DEPTH), the largest LAG of a subscription, calls\n"
        f"that wait, and how often a second it was found full.\n\n{NAMES}",
        examples=[
            ("memlane stat camera", "all of a region"),
            ("memlane stat camera/frames -i 1", "one object, again each second, with rates"),
        ],
        facts=True,
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

    who = adder.add(
        "who",
        commands.who,
        "tell which processes use a region, in which roles, how they lag and what they hold",
        "\nSINCE is the age of the process. LAG are the records that wait for it. A process\n"
        f"without a role has the region open.\n\n{NAMES}",
        examples=[
            ("memlane who camera", "the processes of all objects"),
            ("memlane who camera/frames", "those with a role in one of them"),
        ],
        facts=True,
    )
    who.add_argument("name", metavar="NAME")


def _watching(adder: _Adder) -> None:
    top = adder.add(
        "top",
        commands.top,
        "show what goes through all objects, and which processes live",
        "\nA full screen on a terminal, else lines: records or values a second (HZ), their bytes,\n"
        "records that wait or are kept (DEPTH), the largest LAG, calls that WAIT, evicted (LOST)\n"
        "and redelivered (AGAIN) ones, and the states of the processes that send (FROM) and\n"
        "receive (TO). Red is what has dead or stopped ones, or calls that wait while nothing\n"
        "moves.\n\n"
        f"{NAMES}",
        examples=[
            ("memlane top", "all regions; q leaves"),
            ("memlane top 'robot-*' -i 0.5", "some, twice a second"),
            ("memlane top --web", "a live page on this machine, at the address it prints"),
            ("memlane top --once --json | jq '.objects[].hz'", "rates of one interval"),
        ],
        facts=True,
    )
    top.add_argument("name", nargs="?", metavar="NAME", help="or a pattern with *, ? or [...]")
    top.add_argument(
        "-i", dest="every", type=_seconds, default=1.0, metavar="S", help="every S seconds, else 1"
    )
    top.add_argument("--once", action="store_true", help="one interval, then end")
    top.add_argument(
        "--sort",
        choices=["hz", "bw", "depth", "lag", "waiting", "object"],
        default="object",
        help="by what, largest first; by name unless given",
    )
    top.add_argument("--web", action="store_true", help="serve a live page, until Ctrl-C")
    top.add_argument(
        "--host",
        default="127.0.0.1",
        help="with --web: the address to serve at, this machine alone unless given",
    )
    top.add_argument(
        "--port", type=_count, default=8737, metavar="N", help="with --web: 8737, 0 for a free one"
    )

    metrics = adder.add(
        "metrics",
        commands.metrics,
        "print what goes through all objects as metrics, or serve them to Prometheus",
        "\nThe format is that of OpenMetrics. Nothing is joined, and nobody has to count.\n\n"
        f"{NAMES}",
        examples=[
            ("memlane metrics", "all named regions, once"),
            ("memlane metrics camera/frames", "one object"),
            ("memlane metrics --listen 127.0.0.1:9464", "at /metrics there, until Ctrl-C"),
        ],
    )
    metrics.add_argument("name", nargs="?", metavar="NAME", help="or a pattern with *, ? or [...]")
    metrics.add_argument("--listen", metavar="HOST:PORT", help="serve them by HTTP")


def _following(adder: _Adder) -> None:
    tail = adder.add(
        "tail",
        commands.tail,
        "print the last records of an object, and those that come, without taking any",
        "\nA record is LANE:NUMBER, its size, its payload; the number of a value of a slot is its\n"
        "version. Of a ring only what is still there can be seen: what was taken before this look\n"
        f"is counted as missed.\n\n{NAMES}",
        examples=[
            ("memlane tail ticks -n 5", "the last 5 records of each lane"),
            ("memlane tail camera/frames -f --hex", "those that come, as a hex dump"),
            ("memlane tail robot/pose -f --struct 6d", "each new value, unpacked"),
            ("memlane tail ticks -f | jq .text", "as JSON, in a pipe"),
        ],
        facts=True,
    )
    tail.add_argument("name", metavar="NAME")
    tail.add_argument(
        "-n",
        dest="most",
        type=_count,
        default=10,
        metavar="N",
        help="how many of each lane, 10 unless given",
    )
    tail.add_argument(
        "-f",
        dest="follow",
        action="store_true",
        help="go on with those that come, until Ctrl-C, which is exit code 0 here",
    )
    shown = tail.add_mutually_exclusive_group()
    shown.add_argument("--hex", action="store_true", help="payloads as a hex dump")
    shown.add_argument("--struct", metavar="FMT", help="unpacked, by a format of Python's struct")
    shown.add_argument("--dtype", metavar="D", help="as numbers of a numpy dtype")
    shown.add_argument(
        "--pickle-repr",
        action="store_true",
        help="unpickled: runs the code that a pickle names, so only where you trust its producer",
    )


def _transferring(adder: _Adder) -> None:
    put = adder.add(
        "put",
        commands.put,
        "put a record, from the arguments or from stdin",
        "\nInto a ring or a topic, or a value into a slot, whose bytes it must have. It waits\n"
        f"while there is no room.\n\n{NAMES}",
        examples=[
            ("memlane put jobs 'resize cat.png'", "one record"),
            ("ls *.png | memlane put jobs --lines", "each line"),
            ("memlane put jobs --timeout 1 < file", "a file, or exit code 124"),
        ],
        json=False,
    )
    put.add_argument("name", metavar="NAME")
    put.add_argument("record", nargs="?", metavar="RECORD", help="its text; else stdin")
    put.add_argument("--lines", action="store_true", help="each line of stdin is a record")
    put.add_argument("--chomp", action="store_true", help="without the line end behind stdin")
    put.add_argument("--timeout", type=_timeout, metavar="S", help="wait so long; else for ever")
    get = adder.add(
        "get",
        commands.get,
        "take records, and write them to stdout",
        "\nOf a ring they are taken, as its consumer; of a topic they are the next ones that are\n"
        "published; of a slot it is its value. Behind each stands a line end. `memlane tail`\n"
        f"looks and takes nothing.\n\n{NAMES}",
        examples=[
            ("memlane get jobs", "the next one; waits for it"),
            ("memlane get jobs --drain", "all that are there"),
            ("memlane get jobs -f --null | xargs -0n1 work", "all that come"),
        ],
        json=False,
    )
    get.add_argument("name", metavar="NAME")
    get.add_argument(
        "-n", dest="count", type=_count, default=1, metavar="N", help="how many, 1 unless given"
    )
    get.add_argument(
        "-f", dest="follow", action="store_true", help="go on, until the ring is shut down"
    )
    get.add_argument("--drain", action="store_true", help="all that are there, without waiting")
    get.add_argument("--timeout", type=_timeout, metavar="S", help="wait so long; else for ever")
    _ends(get)
    pipe = adder.add(
        "pipe",
        commands.pipe,
        "run a program with its stdin from records, or put each line of its stdout",
        "\nIts exit code is that of the program. A record that the program did not read when it\n"
        "ended is lost, unless consumers compete for it: then another one gets it.\n\n"
        f"{NAMES}",
        examples=[
            ("memlane pipe jobs -- xargs -n1 resize", "records as lines of stdin"),
            ("memlane pipe jobs --put -- find . -name '*.png'", "lines of stdout as records"),
        ],
        json=False,
    )
    pipe.add_argument("name", metavar="NAME")
    pipe.add_argument(
        "--put", action="store_true", help="the other way round: each line it prints is a record"
    )
    _ends(pipe)
    pipe.add_argument("program", nargs="+", metavar="CMD", help="behind --, with its arguments")


def _ends(parser: argparse.ArgumentParser) -> None:
    ends = parser.add_mutually_exclusive_group()
    ends.add_argument("--null", action="store_true", help="a zero byte behind each record")
    ends.add_argument("--raw", action="store_true", help="nothing behind each record")


def _recording(adder: _Adder) -> None:
    record = adder.add(
        "record",
        commands.record,
        "write what goes through objects into a file",
        "\nUntil Ctrl-C, which is exit code 0 here, SIGTERM, or the end of all of them. Nobody\n"
        "waits for the recorder; what was gone before it could be copied is counted, exactly, in\n"
        "the file. A file of a killed recorder is read up to its last whole record.\n\n"
        f"{NAMES}",
        examples=[
            ("memlane record robot monday.mlr", "all of a region"),
            ("memlane record 'robot/cam*' ticks out.mlr --for 60", "some objects, a minute"),
            ("memlane record ticks out.mlr --hold", "miss nothing: publishers wait for it"),
        ],
        json=False,
    )
    record.add_argument("names", nargs="+", metavar="NAME", help="or a pattern with *, ? or [...]")
    record.add_argument("file", metavar="FILE", help="which must not exist")
    record.add_argument("--oldest", action="store_true", help="begin with what is there")
    record.add_argument(
        "--hold",
        action="store_true",
        help="join: topics wait for the recorder, and records of rings are taken by it",
    )
    record.add_argument("--for", dest="seconds", type=_timeout, metavar="S", help="end after S s")
    record.add_argument("-n", dest="count", type=_count, metavar="N", help="end after N records")
    replay = adder.add(
        "replay",
        commands.replay,
        "put what was recorded again",
        "\nInto the objects it was recorded from, or with --to into others; they must be there.\n"
        f"Each recorded lane goes through a lane of its own.\n\n{NAMES}",
        examples=[
            ("memlane replay monday.mlr --to test", "into the objects of region test"),
            ("memlane replay monday.mlr --to test/cam --rate 0", "as fast as it goes"),
        ],
        json=False,
    )
    replay.add_argument("file", metavar="FILE")
    replay.add_argument(
        "--rate",
        type=_timeout,
        default=1.0,
        metavar="X",
        help="so many times as fast as it was, 1 unless given; 0: as fast as it goes",
    )
    replay.add_argument("--to", metavar="NAME", help="a region, or one object")
    replay.add_argument(
        "--timeout", type=_timeout, metavar="S", help="wait so long for room; else for ever"
    )


def _bridging(adder: _Adder) -> None:
    bridge = adder.add(
        "bridge",
        commands.bridge,
        "carry rings, topics, slots, tables and maps to other machines, over Zenoh",
        "\nUntil Ctrl-C or SIGTERM, which is exit code 0 here. It carries, listens and lets\n"
        "others write only what it is told to. NAME is REGION or REGION/OBJECT, or a pattern\n"
        "with *, ? or [...]. What it does goes to stderr, with --json to stdout.",
        examples=[
            ("memlane bridge --listen tcp/0.0.0.0:7447 --allow frames", "take what others send"),
            ("memlane bridge --connect tcp/HOST:7447 --carry ring:frames", "send a ring there"),
            ("memlane bridge --config bridge.toml", "the same options from a file"),
            ("memlane bridge --status", "links, lag, credit, what was sent again or dropped"),
        ],
    )
    for option, value, what in (
        ("--listen", "ENDPOINT", "let peers connect here, as tcp/0.0.0.0:7447"),
        ("--connect", "ENDPOINT", "connect to a peer, and again when the link is lost"),
        ("--carry", "KIND:NAME", "send it to the peers: ring:frames, topic:ticks*, slot:pose"),
        ("--allow", "NAME", "let peers write this, and make it if it is not there"),
        ("--deny", "NAME", "carry this in no direction, whatever else is said"),
        ("--rename", "HERE=THERE", "what is HERE on this machine is THERE for the peers"),
    ):
        bridge.add_argument(
            option, action="append", default=[], metavar=value, help=f"{what}; may be repeated"
        )
    bridge.add_argument("--name", help="of this bridge, among its peers")
    bridge.add_argument(
        "--window", metavar="SIZE", help="bytes on the way of each object, 16 MiB unless given"
    )
    bridge.add_argument(
        "--largest", metavar="SIZE", help="the largest object that a peer may make, else 1 GiB"
    )
    bridge.add_argument(
        "--status", action="store_true", help="only show what the bridges of this machine do"
    )
    bridge.add_argument("--config", metavar="FILE", help="these options in TOML, and [zenoh]")


def _removing(adder: _Adder) -> None:
    rm = adder.add(
        "rm",
        commands.rm,
        "remove a region that nobody has open, or an object that nobody has a role in",
        "\nWhat is in use is refused, and it is told who uses it. A program can take the name\n"
        f"of a region in use away with Region.unlink.\n\n{NAMES}",
        examples=[
            ("memlane rm camera", "a region"),
            ("memlane rm camera/frames", "one of its objects"),
        ],
    )
    rm.add_argument("name", metavar="NAME")
    sweep = adder.add(
        "sweep",
        commands.sweep,
        "remove the named regions and semaphores that nobody has open",
        examples=[
            ("memlane sweep --dry-run", "only tell what it would remove"),
            ("memlane sweep", "remove it"),
        ],
    )
    sweep.add_argument("names", nargs="*", metavar="REGION", help="only these; else all")
    sweep.add_argument(
        "--dry-run", action="store_true", help="only tell what would be removed, and how much it is"
    )


def _helping(adder: _Adder) -> None:
    doctor = adder.add(
        "doctor",
        commands.doctor,
        "check the machine and all regions, and say what to do",
        "\nKernel, /dev/shm, limits, huge pages, seccomp and the cgroup; stale names, semaphores\n"
        "without a region, versions that do not match, rows of the dead, the stopped and the\n"
        "stuck. Exit code 1 if there is something to do.",
        examples=[
            ("memlane doctor", "all checks"),
            ("memlane doctor --fix", "and remove what nobody has open"),
            ("memlane doctor --json | jq 'select(.level!=\"ok\")'", "for a program"),
        ],
        facts=True,
    )
    doctor.add_argument(
        "--fix", action="store_true", help="remove names and semaphores that nobody has open"
    )
    completion = adder.add(
        "completion",
        commands.completion,
        "print what completes commands, options and names in a shell",
        examples=[
            ('eval "$(memlane completion bash)"', "in ~/.bashrc"),
            ('eval "$(memlane completion zsh)"', "in ~/.zshrc, behind compinit"),
            ("memlane completion fish | source", "in config.fish"),
        ],
        json=False,
    )
    completion.add_argument("shell", choices=["bash", "zsh", "fish"])
    completion.set_defaults(parsers=adder.subparsers.choices)


# ---- arguments -----------------------------------------------------------------------------------


def _workers(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 64, got {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) >= 1 << 31:
        raise argparse.ArgumentTypeError(f"expected a number, 0 or more, got {text!r}")
    return int(text)


def _timeout(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 1e9:
        raise argparse.ArgumentTypeError(f"expected seconds, 0 or more, got {text!r}")
    return seconds


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0.01 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds from 0.01 to 86400, got {text!r}")
    return seconds
