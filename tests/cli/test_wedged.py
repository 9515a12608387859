# SPDX-License-Identifier: MIT
"""A wedged pipeline is found by the tools, as docs/three_in_the_morning.md goes through it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys

import pytest

import memlane
from tests import ROOT
from tests.support.command import call, lines
from tests.support.processes import PATIENCE_S

pytestmark = pytest.mark.machine


def test_the_tools_lead_from_what_stands_still_to_the_process_that_is_the_cause(name: str) -> None:
    """top, who and doctor name the stopped display; what doctor says to do helps."""
    program = subprocess.Popen(
        [sys.executable, ROOT / "examples" / "wedged_pipeline.py", name, str(PATIENCE_S)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    try:
        assert "wedged; try memlane doctor\n" == program.stdout.readline()
        (view,) = lines("top", name, "--once", "-i", "0.05")
        rows = {row["object"]: row for row in view["objects"]}
        assert (0.0, 1) == (rows["frames"]["hz"], rows["frames"]["waiting"])
        assert {"stopped": 1} == rows["found"]["to"]
        (stopped,) = [one for one in lines("who", name) if one["state"] == "stopped"]
        assert ["subscriber"] == [role["role"] for role in stopped["roles"]]
        assert stopped["roles"][0]["lag"] > 0
        out, _ = call("doctor", "--text", code=1)
        said = re.search(rf"region {name}: process (\d+) is stopped.*\n *-> kill -CONT (\d+)", out)
        assert said is not None, out
        assert [str(stopped["pid"])] * 2 == list(said.groups())
        out, _ = call("ls", "--tree", name, "--text")
        assert f"subscriber {stopped['pid']}" in out
        assert lines("tail", f"{name}/frames", "-n", "1")[0]["text"].startswith("frame ")

        os.kill(stopped["pid"], signal.SIGCONT)
        assert "it goes on\n" == program.stdout.readline()
        assert 0 == program.wait(PATIENCE_S)
    finally:
        program.kill()
        program.wait()
        program.stdout.close()
        if name in memlane.Region.names():
            memlane.sweep([name])
