# SPDX-License-Identifier: MIT
"""What type checkers and editors tell users: programs that check, and help on hover."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import memlane
from tests import ROOT

# once, on one interpreter: both are told for which Python they shall check
pytestmark = pytest.mark.machine

PROGRAMS = ROOT / "tests" / "typing"
VERSIONS = ["3.11", "3.12", "3.13"]


def environment() -> dict[str, str]:
    """For pyright's wrapper: what pip has installed, nothing from the network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYRIGHT_")}
    return {**kept, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_users_program_checks_under_strict_mypy(version: str, tmp_path: Path) -> None:
    """With mypy's own settings, and for every Python that memlane is for."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-incremental"),
            *("--python-version", version, str(PROGRAMS)),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )

    assert (0, "") == (ran.returncode, ran.stdout if ran.returncode else "")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_users_program_checks_under_pyright(version: str, tmp_path: Path) -> None:
    """The same for the checker that editors use."""
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "pyright", "--pythonpath", sys.executable),
            *("--pythonversion", version, *map(str, sorted(PROGRAMS.glob("*.py")))),
        ],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )

    assert (0, "") == (ran.returncode, ran.stdout + ran.stderr if ran.returncode else "")


def test_a_wrong_call_of_a_user_is_found(tmp_path: Path) -> None:
    """The judge itself: a wrong call is found."""
    program = tmp_path / "wrong.py"
    program.write_text("import memlane\nmemlane.Ring().put('text')\n")
    ran = subprocess.run(
        [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(program)],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
    )

    assert 1 == ran.returncode
    assert "reportArgumentType" in ran.stdout


# ---- hover ---------------------------------------------------------------------------------------

# Expression whose last word is hovered, and what the editor must show.
HOVERS = [
    ("ring.put", ["SupportsFloat | None", "Copy one record into the ring"]),
    ("ring.get", ["SupportsFloat | None", "-> bytes", "Raises"]),
    ("ring.reserve", ["nbytes: int | str", "-> Reservation", "Raises"]),
    ("ring.borrow", ["-> Record", "Raises"]),
    ("ring.stats", ["-> dict[str, Any]", "Raises"]),
    ("slot.publish", ["value", "Raises"]),
    ("slot.read", ["tuple[Any, ...]", "Raises"]),
    ("memlane.Mapping.open", ["path", "access", "Map"]),
    ("counter.add", ["int", "Raises"]),
    ("memlane.guard", ["on: bool", "SIGBUS"]),
    ("memlane.Ring", ["Ring", "ring"]),
    ("region.ring", ["capacity", "ring"]),
    ("region.stats", ["-> dict[str, Any]"]),
]
HEAD = """import memlane
ring = memlane.Ring()
slot = memlane.Slot.create(None, "d")
counter = memlane.Counter.create(None)
region = memlane.Region.create(None, 4096)
"""


class LanguageServer:
    """As much of the protocol as it takes to hover."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pyright.langserver", "--stdio"],
            cwd=root,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.asked = 0
        self.ask(
            "initialize",
            {
                "processId": None,
                "rootUri": root.as_uri(),
                "workspaceFolders": [{"uri": root.as_uri(), "name": "root"}],
                "capabilities": {},
            },
        )
        self.send("initialized", {})

    def send(self, method: str, parameters: Any, number: int | None = None) -> None:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": parameters}
        if number is not None:
            message["id"] = number
        self.write(message)

    def write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        body = json.dumps(message).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def ask(self, method: str, parameters: Any) -> Any:
        """The answer; what the server asks meanwhile gets none that it could use."""
        assert self.process.stdout is not None
        self.asked += 1
        self.send(method, parameters, self.asked)
        while True:
            nbytes = 0
            while line := self.process.stdout.readline().strip():
                name, _, value = line.partition(b":")
                nbytes = int(value) if name.lower() == b"content-length" else nbytes
            assert nbytes, "the language server ended"
            message = json.loads(self.process.stdout.read(nbytes))
            if "method" in message and "id" in message:
                self.write({"jsonrpc": "2.0", "id": message["id"], "result": None})
            elif message.get("id") == self.asked and "method" not in message:
                return message.get("result")

    def end(self) -> None:
        self.ask("shutdown", None)
        self.send("exit", None)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


def test_an_editor_shows_on_hover_what_each_verb_does(tmp_path: Path) -> None:
    """Asked of pyright's language server: signature in plain types, and the docstring."""
    text = HEAD + "".join(f"{expression}\n" for expression, _ in HOVERS)
    program = tmp_path / "program.py"
    program.write_text(text)
    installed = Path(memlane.__file__).parent.parent
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"extraPaths": [str(installed)]}))
    server = LanguageServer(tmp_path)
    try:
        document = {"uri": program.as_uri(), "languageId": "python", "version": 1, "text": text}
        server.send("textDocument/didOpen", {"textDocument": document})
        shown = []
        for index, (expression, _) in enumerate(HOVERS):
            line = HEAD.count("\n") + index
            place = {"line": line, "character": len(expression) - 1}
            found = server.ask(
                "textDocument/hover",
                {"textDocument": {"uri": program.as_uri()}, "position": place},
            )
            contents = found["contents"] if found else ""
            shown.append(contents["value"] if isinstance(contents, dict) else str(contents))
    finally:
        server.end()
    lacking = [
        (expression, word, text)
        for (expression, words), text in zip(HOVERS, shown, strict=True)
        for word in words
        if word not in text
    ]

    assert [] == lacking
    assert [] == [text for text in shown if "_Timeout" in text or "_Size" in text]
    assert [] == [
        expression for (expression, _), text in zip(HOVERS, shown, strict=True) if len(text) < 150
    ]
