# SPDX-License-Identifier: MIT
"""The command line says what there is, removes what nobody uses, and ends with the right code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import memlane
from memlane.cli import main
from processes import PATIENCE_S


def listed(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    assert 0 == main(["ls", "--json"])
    return {facts["name"]: facts for facts in json.loads(capsys.readouterr().out)}


def test_ls_tells_name_sizes_and_objects_of_a_region(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a region was made for is seen without opening it for writing."""
    with memlane.Region.create(name, "1 MiB") as region:
        region.counter("hits")
        region.slot("pose", "6d")
        facts = listed(capsys)[name]
        assert ["hits", "pose"] == facts["objects"]
        assert region.nbytes == facts["nbytes"]
        assert region.stats()["used"] == facts["used"]

        assert 0 == main(["ls"])
        (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(name)]
        assert f"{region.nbytes:,} bytes" in line
        assert line.endswith("hits, pose")
        region.unlink()
    assert name not in listed(capsys)


def test_ls_says_why_a_region_cannot_be_opened_and_lists_the_others(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One spoilt region does not hide the rest."""
    spoilt = Path("/dev/shm", f"memlane.{name}-spoilt")
    with memlane.Region.create(name, "1 MiB") as region:
        spoilt.write_bytes(Path("/dev/shm", f"memlane.{name}").read_bytes()[:64])
        try:
            facts = listed(capsys)
        finally:
            spoilt.unlink()
            region.unlink()
    assert "has 64 bytes, a region has at least" in str(facts[f"{name}-spoilt"]["error"])
    assert [] == facts[name]["objects"]


@pytest.mark.sweeps
def test_sweep_tells_what_it_removed_and_leaves_what_is_in_use(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only what nobody has open goes."""
    with memlane.Region.create(name, "1 MiB") as used:
        memlane.Region.create(f"{name}-left", "1 MiB").close()
        assert 0 == main(["sweep", "--json"])
        removed = json.loads(capsys.readouterr().out)
        assert f"{name}-left" in removed
        assert name not in removed
        assert name in memlane.Region.names()
        used.unlink()


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

    def refuse() -> list[str]:
        raise memlane.RegionNotFoundError(f"{name} does not exist", name=name)

    monkeypatch.setattr("memlane.cli.sweep", refuse)
    assert 1 == main(["sweep"])
    assert f"memlane: {name} does not exist\n" == capsys.readouterr().err
