# SPDX-License-Identifier: MIT
"""Building: what a machine lacks is named, with its package, before anything long fails."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import memlane
from tests import ROOT

pytestmark = pytest.mark.machine

BIN = Path(sys.executable).parent

#: What makes an interpreter look like one that lacks something: put into a sitecustomize.
NO_VENV = "import sys; sys.modules['ensurepip'] = None"
NO_HEADERS = """
import sysconfig
real = sysconfig.get_paths
def get_paths(*args, **kwargs):
    return {**real(*args, **kwargs), "include": "/nowhere", "platinclude": "/nowhere"}
sysconfig.get_paths = get_paths
sysconfig.get_path = lambda name, *args, **kwargs: get_paths()[name]
sysconfig.get_config_vars()["INCLUDEPY"] = "/nowhere"
sysconfig.get_config_vars()["LIBPC"] = "/nowhere"
"""
FREE_THREADED = "import sysconfig; sysconfig.get_config_vars()['Py_GIL_DISABLED'] = 1"


def environment(folder: Path, customized: str, **more: str) -> dict[str, str]:
    (folder / "sitecustomize.py").write_text(customized)
    return {**os.environ, "PYTHONPATH": str(folder), **more}


def machine(python: str, **environment: str) -> tuple[int, list[str]]:
    ran = subprocess.run(
        ["sh", "tests/machine.sh", python],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr == ""
    return ran.returncode, ran.stdout.splitlines()


def test_a_machine_that_has_all_is_told_nothing() -> None:
    """This one built what is being tested."""
    assert (0, []) == machine(sys.executable)


@pytest.mark.parametrize(
    ("customized", "said"),
    [
        pytest.param(NO_VENV, r"has no ensurepip: install python3\S*-venv", id="venv"),
        pytest.param(NO_HEADERS, r"no Python\.h in /nowhere: install python3\S*-dev", id="headers"),
        pytest.param(FREE_THREADED, r"is a free-threaded Python.*: take the ordinary", id="gil"),
        pytest.param(
            "import sys; sys.version_info = (3, 9, 2)", r"is Python 3\.9.*3\.11 or newer", id="old"
        ),
    ],
)
def test_what_the_interpreter_lacks_is_named_with_its_package(
    tmp_path: Path, customized: str, said: str
) -> None:
    """One line, with what to install."""
    status, lines = machine(sys.executable, **environment(tmp_path, customized))

    assert (1, 1) == (status, len(lines))
    assert re.search(said, lines[0])


def test_a_machine_without_the_interpreter_is_told_its_packages() -> None:
    """Not "command not found"."""
    status, lines = machine("python3.no-such")

    assert (1, 1) == (status, len(lines))
    assert "there is no python3.no-such: install python3, python3-venv and python3-dev" in lines[0]


def test_a_missing_compiler_is_named(tmp_path: Path) -> None:
    """Of a PATH that has all that the script itself needs, but no compiler."""
    for tool in ("sh", "mktemp", "rm", "grep"):
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)

    assert (1, ["there is no C compiler (cc, gcc or clang): install gcc"]) == machine(
        sys.executable, PATH=str(tmp_path), CC=""
    )


def test_a_compiler_without_the_headers_of_c_is_told_their_package() -> None:
    """gcc only recommends them on Debian."""
    status, lines = machine(sys.executable, CC="cc -nostdinc")

    assert (1, 1) == (status, len(lines))
    assert re.search(r"cannot build a C program \(.*semaphore\.h.*: install libc6-dev", lines[0])


@pytest.mark.parametrize(
    ("customized", "compiler", "said"),
    [
        pytest.param(FREE_THREADED, "", "memlane is not safe yet on a free-threaded", id="gil"),
        pytest.param(NO_HEADERS, "", "there is no Python.h: install python3-dev", id="headers"),
        pytest.param("", "/no/compiler", "memlane needs a C compiler: install gcc", id="compiler"),
    ],
)
def test_the_build_itself_stops_with_one_sentence(
    tmp_path: Path, customized: str, compiler: str, said: str
) -> None:
    """What `pip install` shows where nobody has asked tests/machine.sh before."""
    if not (BIN / "meson").exists():
        pytest.skip("no meson beside this interpreter")
    more = {"PATH": f"{BIN}:{os.environ['PATH']}", "PKG_CONFIG_LIBDIR": str(tmp_path)}
    if compiler:
        more["CC"] = compiler

    ran = subprocess.run(
        [BIN / "meson", "setup", tmp_path / "build", ROOT],
        env=environment(tmp_path, customized, **more),
        capture_output=True,
        text=True,
        check=False,
    )

    errors = [line for line in ran.stdout.splitlines() if "ERROR" in line]
    assert ran.returncode != 0
    assert len(errors) == 1, ran.stdout + ran.stderr
    assert said in errors[0]


def test_the_version_is_that_of_the_build() -> None:
    """It stands in meson.build alone; the extension and the metadata take it from there."""
    built = re.search(r"^    version: '(.+)',$", (ROOT / "meson.build").read_text(), re.MULTILINE)

    assert built is not None
    assert {built[1]} == {memlane.__version__, importlib.metadata.version("memlane")}


def test_pip_is_given_no_option_that_its_version_23_0_does_not_know() -> None:
    """Debian 12 brings it; -C is younger."""
    texts = [ROOT / "Makefile", *ROOT.glob("*/*.sh"), *(ROOT / ".ci").iterdir()]

    assert [] == [
        (path.name, line)
        for path in texts
        for line in path.read_text().splitlines()
        if re.search(r"\bpip\b.*\s-C|^\s+\"?-C[a-z]", line)
    ]
