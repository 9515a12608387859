# SPDX-License-Identifier: MIT
"""The command itself: help, exit codes, texts that are safe to print, names."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import memlane
from memlane.cli import main
from memlane.cli.text import duration, safe, size, table, width
from tests.support.command import call, listed, run
from tests.support.processes import PATIENCE_S, Child

pytestmark = pytest.mark.machine

#: Every one.
COMMANDS = [
    "demo",
    "ls",
    "stat",
    "who",
    "top",
    "tail",
    "put",
    "get",
    "pipe",
    "record",
    "replay",
    "rm",
    "sweep",
    "doctor",
    "completion",
]

# ---- the command itself --------------------------------------------------------------------------


def test_memlane_alone_prints_the_help_of_all_commands() -> None:
    """A user who types only the name learns what there is, and what the exit codes mean."""
    out, err = run()
    assert "" == err
    for command in (*COMMANDS, "help"):
        assert re.search(rf"^ +{command}\b", out, re.MULTILINE)
    assert "REGION/OBJECT" in out
    assert "exit code:" in out
    assert (out, "") == run("help")
    assert (out, "") == run("--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help_with_the_exit_codes_and_examples(command: str) -> None:
    """`help COMMAND` and `COMMAND --help` are the same."""
    out, _ = call("help", command)
    assert out.startswith(f"usage: memlane {command} ")
    assert "exit code:" in out
    assert re.search(rf"^examples:\n  .*memlane {command}", out, re.MULTILINE)
    assert (out, "") == call(command, "--help")


def test_mistyped_command_is_told_the_one_that_is_near() -> None:
    """One line, and exit code 2; nothing that a terminal would obey."""
    out, err = run("stta", code=2)
    assert "" == out
    assert "memlane: there is no command 'stta'; did you mean 'stat'; see memlane --help\n" == err
    _, err = run("\x1b[2J", code=2)
    assert "there is no command '\\x1b[2J'; there are demo, ls, stat, who, top, metrics" in err
    _, err = run("rm", "a", "\x1b[2J", code=2)
    assert "\x1b" not in err
    assert 1 == len(err.splitlines())


def test_python_m_memlane_is_the_command(name: str) -> None:
    """Both ways in lead to the same commands and pass the exit code on."""
    for command in ([sys.executable, "-m", "memlane"], [Path(sys.executable).parent / "memlane"]):
        shown = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert (0, f"memlane {memlane.__version__}\n") == (shown.returncode, shown.stdout)
        refused = subprocess.run(
            [*command, "no-such"], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert 2 == refused.returncode
        failed = subprocess.run(
            [*command, "demo", f"/{name}"], capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert 2 == failed.returncode


def test_error_of_the_library_is_one_line_and_exit_code_1(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback for what the text already says."""

    def refuse(*_arguments: object, **_keywords: object) -> list[str]:
        raise memlane.RegionNotFoundError(f"{name} does not\nexist", name=name)

    monkeypatch.setattr("memlane.cli.removing.sweep", refuse)
    assert 1 == main(["sweep"])
    assert f"memlane: {name} does not\\nexist\n" == capsys.readouterr().err


def test_reader_that_has_seen_enough_is_no_error(name: str) -> None:
    """`memlane stat NAME -i 1 | head -1` ends without a word."""
    with memlane.Counter.create(name) as counter:
        program = subprocess.Popen(
            [sys.executable, "-m", "memlane", "stat", name, "-i", "0.01", "--text"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline().startswith(b"TIME  ")
        program.stdout.close()
        assert 1 == program.wait(PATIENCE_S)
        assert b"" == program.stderr.read()
        program.stderr.close()
        counter.unlink()


# ---- text ----------------------------------------------------------------------------------------


def test_columns_are_aligned_whatever_signs_are_in_them() -> None:
    """Wide signs take two columns, combining ones none; what a terminal obeys is escaped."""
    assert (2, 4, 1, 3) == (width("ab"), width("日本"), width("é"), width("a日"))
    assert r"a\x1b[31m\nb\udc80é" == safe("a\x1b[31m\nb\udc80é")
    assert [
        "NAME   SIZE  WHAT",
        "日本      1  a",
        r"\t    1,000  b",
    ] == table(("NAME", "SIZE", "WHAT"), [("日本", "1", "a"), ("\t", "1,000", "b")], right="SIZE")


@pytest.mark.parametrize(
    ("nbytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (1 << 42, "4.0 TiB"),
    ],
)
def test_sizes_are_in_the_largest_unit_that_leaves_one(nbytes: int, text: str) -> None:
    """Binary units, as everywhere in the library."""
    assert text == size(nbytes)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (59.94, "59.9 s"), (90.0, "1.5 min"), (7200.0, "2.0 h"), (1e8, "1,157.4 d")],
)
def test_times_are_in_the_largest_unit_that_leaves_one(seconds: float, text: str) -> None:
    """An hour is no thousand seconds."""
    assert text == duration(seconds)


# ---- names ---------------------------------------------------------------------------------------


def test_name_that_is_not_there_is_told_those_that_are_near(name: str) -> None:
    """Of regions and of objects; exit code 1."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.counter("requests")
        for command in ("stat", "rm"):
            _, err = run(command, name[:-1], code=1)
            assert f"memlane: there is no region '{name[:-1]}'; did you mean '{name}'" in err
            _, err = run(command, f"{name}/request", code=1)
            assert f"region '{name}' has no object 'request'; did you mean 'requests'\n" in err
        _, err = run("sweep", name[:-1], code=1)
        assert f"did you mean '{name}'" in err
        _, err = run("stat", f"{name}/", code=2)
        assert "the name of an object is missing behind the '/'" in err
        _, err = run("stat", "", code=2)
        assert err.startswith("memlane: name must not be empty")
        _, err = run("stat", f"./{name}", code=1)
        assert "there is no file" in err
        region.unlink()


def test_control_characters_of_names_never_reach_the_terminal(name: str) -> None:
    """Anybody may give a name; text is escaped, JSON is as it is."""
    wild = f"{name}\x1b[31m日本\n"
    with memlane.Region.create(wild, "1 MiB") as region:
        region.counter("\x1b[5mhits")
        assert wild in listed()
        for out, err in (
            run("ls"),
            run("stat", wild),
            run("sweep", "--dry-run", wild, code=1),
            run("rm", wild, code=1),
            run("stat", f"{wild}/\x1b", code=1),
        ):
            assert "\x1b" not in out + err
            assert f"{name}\\x1b[31m日本\\n" in out + err
        region.unlink()


def test_region_in_a_file_is_named_by_its_path(tmp_path: Path) -> None:
    """A path begins with "." or "/"; an object may stand behind it."""
    path = tmp_path / "robot.lane"
    with memlane.Region.create(path, "1 MiB") as region:
        region.counter("hits").add(5)
        for text in (os.fspath(path), f"{path}/hits", f"./{os.path.relpath(path)}"):
            facts = json.loads(run("stat", text, "--json")[0])
            assert 5 == facts["stats"]["hits"]["value"]
        _, err = run("rm", os.fspath(path), code=1)
        assert f"is in use by {os.getpid()} " in err
        region.close()
    run("rm", os.fspath(path))
    assert not path.exists()
    path.write_bytes(b"my work of years")
    _, err = run("rm", os.fspath(path), code=1)
    assert "is no region of memlane" in err
    assert b"my work of years" == path.read_bytes()


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_a_user_without_rights_is_told_so_in_one_line(name: str, tmp_path: Path) -> None:
    """By every command that takes a name; ls tells it of the one, and lists the others."""
    commands = [
        *(("stat", name), ("who", name), ("tail", name), ("put", name, "x"), ("get", name)),
        *(("pipe", name, "--", "true"), ("record", name, str(tmp_path / "out")), ("rm", name)),
    ]

    def ask() -> None:
        for command in commands:  # what they load is loaded before the rights are gone
            call("help", command[0])
        for module in ("listing", "looking", "recorder", "removing", "stat", "tail", "transfer"):
            importlib.import_module(f"memlane.cli.{module}")
        importlib.import_module("memlane.cli.who")
        os.setuid(65534)
        for command in commands:
            out, err = call(*command, code=1)
            assert "" == out, command
            assert re.fullmatch(r"memlane: .*[Pp]ermission.*\n|memlane: .*may not.*\n", err), err
        out, _ = call("ls", name)
        assert "ermission" in json.loads(out)["error"]

    with memlane.Ring.create(name, capacity=4096, producers=2) as ring:
        ring.put(b"x")
        with Child(ask) as child:
            assert 0 == child.wait()
        ring.unlink()
