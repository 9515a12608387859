# SPDX-License-Identifier: MIT
"""The examples about mappings do what they say, run as their readers would run them."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT
from tests.support.processes import PATIENCE_S

pytestmark = pytest.mark.machine

EXAMPLES = ROOT / "examples"


def lines_of(example: str, *arguments: str) -> list[str]:
    """What an example prints; a warning (something left open) is an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / example, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


def test_a_file_is_printed_byte_by_byte_and_as_a_block(tmp_path: Path) -> None:
    """Also its first 80 characters and its number of lines."""
    path = tmp_path / "text"
    path.write_text("one line\nand another\n" * 6)
    lines = lines_of("read_through_mapping.py", str(path))

    assert ["byte 0 is 111 'o'", "byte 1 is 110 'n'"] == lines[:2]
    assert ["as a block:", "one line", "and another"] == lines[5:8]
    assert f"first 80 characters: {path.read_text()[:80]!r}" == lines[-2]
    assert "lines: 12" == lines[-1]


def test_a_head_is_rewritten_in_place_and_the_file_grown_while_mapped() -> None:
    """What `open` reads is what the mapping wrote."""
    assert [
        "read back: HOWDY, this is the head of a file",
        "grown while mapped: 62 -> 68 bytes",
        "last line: third",
    ] == lines_of("rewrite_head.py")


def test_mapped_and_read_counts_of_words_agree(tmp_path: Path) -> None:
    """Both are timed; neither misses the first or the last word."""
    path = tmp_path / "words"
    path.write_text("ant\nbee\nape\n" * 200_000 + "asp")
    newlines, mapped, read = lines_of("count_in_large_file.py", str(path), "a")

    assert "600000 times b'\\n'" == newlines
    assert re.fullmatch(r"400001 words start with 'a', mapped: [\d.]+ ms", mapped)
    assert re.fullmatch(r"400001 words start with 'a', read loop: [\d.]+ ms", read)
    assert 3 == len(lines_of("count_in_large_file.py"))


def test_the_death_of_a_child_on_a_guard_page_is_reported_with_its_place() -> None:
    """The first byte behind the buffer, no later."""
    death, *facts = lines_of("guard_page.py")

    assert re.fullmatch(r"the child died of SIGSEGV at address 0x[0-9a-f]+000,", death)
    assert [
        "offset 4096 of a buffer of 4096 bytes",
        "that is the first byte of the guard page: True",
        "what it wrote before is here: 64 bytes",
    ] == facts


def test_device_registers_are_read_as_words_and_never_written() -> None:
    """/dev/zero stands in, also where the device asked for cannot be mapped."""
    zeros = [f"register {i} at {4 * i:#x}: 0x00000000" for i in range(4)]
    refused = "writing is refused: the page is mapped for reading"

    assert [*zeros, refused] == lines_of("device_registers.py")
    assert [*zeros, refused] == lines_of("device_registers.py", "/dev/none")[-5:]


def test_a_private_change_reaches_the_file_only_when_written_back() -> None:
    """Not before, and no more than asked for."""
    assert [
        "mapping: MY  file as it was",
        "file:    the file as it was",
        "written back: 3 bytes",
        "file:    MY  file as it was",
    ] == lines_of("copy_on_write.py")


def test_demand_paging_is_seen_in_the_residency() -> None:
    """Nothing, one page of 64, half, nothing, all."""
    assert ["0.00%", "1.56%", "50.00%", "0.00%", "100.00%"] == [
        line.split()[-1].removeprefix("populated:") for line in lines_of("demand_paging.py")
    ]


def test_the_table_of_reading_has_a_row_for_each_size_and_order() -> None:
    """Small and larger files, sequential and random, four ways each."""
    head, *rows = lines_of("compare_io.py", "--quick")

    assert ["read()", "buffered", "mapping", "view"] == head.split()[-4:]
    assert 4 == len(rows)
    for row in rows:
        assert all(float(cost) > 0 for cost in row.split()[-4:])


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")
def test_the_table_of_reading_is_drawn_too(tmp_path: Path) -> None:
    """A picture file comes out."""
    lines_of("compare_io.py", "--quick", "--plot", str(tmp_path / "plot.png"))

    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
