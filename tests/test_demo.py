# SPDX-License-Identifier: MIT
"""The demo counts right, notices when it does not, and leaves nothing behind however it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import memlane
from memlane.cli import main
from memlane.cli.counting import count_plainly, differences, find_files
from memlane.cli.demo import demo
from memlane.cli.pipeline import stream
from memlane.cli.reader import mapped_pieces
from memlane.cli.stages import Totals, count_piece, join_pieces
from memlane.cli.watching import shown
from processes import PATIENCE_S, wait_until

BATCH = 64 * 1024
#: What makes counting in pieces go wrong, if anything does.
AWKWARD = {
    "empty": b"",
    "no newline at the end": b"one two\nthree",
    "only newlines": b"\n\n\n",
    "only a newline": b"\n",
    "carriage returns": b"one\r\ntwo\rthree\r\n",
    "other white space": b"\x0bone\x0ctwo\x1cthree\xa0four\x00five",
    "no text": bytes(range(256)) * 3,
    "a line longer than a batch": b"word " * BATCH + b"\nnext line\n",
    "a word longer than two batches": b"x" * (5 * BATCH) + b" y\n",
    "a batch of one line": b"x" * (BATCH - 1) + b"\n",
    "a batch without a newline": b"x" * BATCH,
    "a line that ends behind its batch": b"x" * BATCH + b"\nx",
    "cut at white space": b"x" * (2 * BATCH - 1) + b" " + b"y" * BATCH,
    "cut before white space": b"x" * (2 * BATCH) + b" " + b"y" * BATCH,
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Awkward files on two levels, beside them one that cannot be read, and a pipe."""
    (tmp_path / "below").mkdir()
    for number, (what, content) in enumerate(AWKWARD.items()):
        (tmp_path / ("below" if number % 2 else ".") / what.replace(" ", "-")).write_bytes(content)
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def expected_totals(contents: list[bytes]) -> Totals:
    """A third way to count: of whole contents, unlike the two that are tested."""
    return Totals(
        files=len(contents),
        lines=sum(len(content.removesuffix(b"\n").split(b"\n")) for content in contents if content),
        words=sum(len(content.split()) for content in contents),
        nbytes=sum(map(len, contents)),
    )


# ---- counting ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", AWKWARD)
def test_pieces_of_a_file_put_together_are_the_file_and_count_as_it(
    what: str, tmp_path: Path
) -> None:
    """However a file is cut, no byte, line or word is lost or counted twice."""
    path = tmp_path / "file"
    path.write_bytes(AWKWARD[what])
    pieces = [bytes(piece) for piece in mapped_pieces(os.fspath(path))]
    assert AWKWARD[what] == b"".join(pieces)
    assert all(0 < len(piece) <= 2 * BATCH for piece in pieces)
    counted = [count_piece(piece) for piece in pieces or [b""]]
    assert expected_totals([AWKWARD[what]]) == join_pieces(counted)
    assert expected_totals([AWKWARD[what]]) == count_plainly([os.fspath(path)])


def test_pieces_are_cut_behind_newlines_where_lines_are_shorter_than_a_batch(
    tmp_path: Path,
) -> None:
    """A worker gets whole lines, unless a line is longer than a batch."""
    path = tmp_path / "file"
    path.write_bytes(b"a line of text\n" * BATCH)
    pieces = [bytes(piece) for piece in mapped_pieces(os.fspath(path))]
    assert len(pieces) > 10
    assert all(piece.endswith(b"\n") for piece in pieces)


def test_difference_in_any_count_is_told_with_both_numbers() -> None:
    """A wrong count cannot hide behind three right ones."""
    assert [] == differences(Totals(1, 2, 3, 4), Totals(1, 2, 3, 4))
    assert [
        "the pipeline counted 2 lines, a plain count says 3",
        "the pipeline counted 4,000 bytes, a plain count says 4",
    ] == differences(Totals(1, 2, 3, 4000), Totals(1, 3, 3, 4))


def test_standard_library_is_the_input_where_no_path_is_given() -> None:
    """The default input is a few hundred files at least, all of them Python's own."""
    library = sysconfig.get_path("stdlib")
    found = find_files([])
    assert len(found) > 300
    assert all(path.startswith(library) and path.endswith(".py") for path in found)
    assert [] == [path for path in found if "site-packages" in path]


# ---- the whole demo ------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_demo_counts_awkward_files_right_with_any_number_of_workers(
    workers: int, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Totals are those of what can be read; the rest is reported; the exit code is 0."""
    assert 0 == main(["demo", "--json", "--workers", str(workers), os.fspath(tree)])
    facts = json.loads(capsys.readouterr().out)
    expected = expected_totals(list(AWKWARD.values()))
    assert expected == Totals(*(facts[what] for what in Totals._fields))
    assert expected == Totals(*(facts["plain"][what] for what in Totals._fields))
    assert [] == facts["differences"]
    assert workers == facts["workers"]
    assert [os.fspath(tree / "dangling")] == [skipped["path"] for skipped in facts["skipped"]]


def test_demo_prints_what_it_counted_and_that_it_is_right(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person reads files, lines, words and speed, and what was skipped."""
    assert 0 == main(["demo", os.fspath(tree)])
    printed = capsys.readouterr()
    expected = expected_totals(list(AWKWARD.values()))
    lines = printed.out.splitlines()
    assert [
        ["files", f"{expected.files:,}"],
        ["lines", f"{expected.lines:,}"],
        ["words", f"{expected.words:,}"],
        ["bytes", f"{expected.nbytes:,}"],
    ] == [line.split() for line in lines[:4]]
    assert "MB/s through 1 reader and 1 worker" in lines[4]
    assert "the totals are those of the plain count" == lines[-1]
    assert f"skipped {os.fspath(tree / 'dangling')!r}: " in printed.err


def test_demo_of_no_files_at_all_counts_zero(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rings that nobody ever put into come to their end, too."""
    assert 0 == main(["demo", "--json", os.fspath(tmp_path)])
    assert 0 == json.loads(capsys.readouterr().out)["files"]


def test_demo_ends_with_1_and_says_why_where_a_file_grew_before_it_was_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A difference between the pipeline's count and the plain one is a failure of the demo."""
    path = tmp_path / "file"
    path.write_bytes(b"one line\n")

    def stream_then_grow(*arguments: Any, **keywords: Any) -> object:
        outcome = stream(*arguments, **keywords)
        path.write_bytes(b"one line\nand another\n")
        return outcome

    monkeypatch.setattr("memlane.cli.demo.stream", stream_then_grow)
    assert 1 == demo([os.fspath(path)])
    out = capsys.readouterr().out
    assert "WRONG: the pipeline counted 1 lines, a plain count says 2" in out
    assert "the totals are those" not in out


def test_path_that_leads_to_nothing_ends_the_demo_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistyped path is an error, not an input of no files."""
    assert 2 == main(["demo", os.fspath(tmp_path / "nothing")])
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "65", "x", "-1"])
def test_impossible_number_of_workers_is_refused(
    number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text says what would do."""
    with pytest.raises(SystemExit) as caught:
        main(["demo", f"--workers={number}"])
    assert 2 == caught.value.code
    assert f"expected a number from 1 to 64, got '{number}'" in capsys.readouterr().err


# ---- ends that nobody wanted ---------------------------------------------------------------------


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_worker(pid: int) -> bool:
    try:
        return b"memlane.cli.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def gone(pid: int) -> bool:
    """Whether a process has ended; as a zombie, where nobody reaps what the parent left."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@contextmanager
def running_demo(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int, int]]:
    """
    A demo in the midst of a work of minutes, with its reader's and its worker's process.

    Afterwards all three must be gone.
    """
    path = tmp_path / "file"
    path.write_bytes(b"some words on a line\n" * 50_000)
    program = subprocess.Popen(
        [sys.executable, "-m", "memlane", "demo", *[os.fspath(path)] * 10_000],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(children(program.pid)) == 2, "reader and worker")
        (worker,) = filter(is_worker, children(program.pid))
        (reader,) = set(children(program.pid)) - {worker}
        yield program, reader, worker
        program.communicate(timeout=PATIENCE_S)
        wait_until(lambda: gone(reader) and gone(worker), "reader and worker to be gone")
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()


def regions_of(program: subprocess.Popen[str]) -> list[str]:
    return [name for name in memlane.Region.names() if name.startswith(f"demo-{program.pid}-")]


@pytest.mark.parametrize(
    "everybody", [True, False], ids=["to all its processes", "to the parent only"]
)
def test_ctrl_c_ends_the_demo_with_130_and_leaves_nothing(everybody: bool, tmp_path: Path) -> None:
    """Sent by a terminal to the group, or to the parent: no process, no name, no traceback."""
    with running_demo(tmp_path) as (program, _, _):
        assert 1 == len(regions_of(program))
        (os.killpg if everybody else os.kill)(program.pid, signal.SIGINT)
        _, err = program.communicate(timeout=PATIENCE_S)
    assert 130 == program.returncode
    assert "memlane: interrupted" == err.splitlines()[-1]
    assert "Traceback" not in err
    assert [] == regions_of(program)


def test_ctrl_c_also_ends_a_worker_that_does_not_answer(tmp_path: Path) -> None:
    """A stopped worker is asked, waited for, and killed."""
    with running_demo(tmp_path) as (program, _, worker):
        os.kill(worker, signal.SIGSTOP)
        os.kill(program.pid, signal.SIGINT)
    assert 130 == program.returncode
    assert [] == regions_of(program)


def test_killed_reader_ends_the_demo_with_1_and_leaves_nothing(tmp_path: Path) -> None:
    """The others do not wait for the dead one; the text names it and the signal."""
    with running_demo(tmp_path) as (program, reader, _):
        os.kill(reader, signal.SIGKILL)
        _, err = program.communicate(timeout=PATIENCE_S)
    assert 1 == program.returncode
    assert (
        f"the demo's reader (process {reader}) ended with SIGKILL before its work was done" in err
    )
    assert "Traceback" not in err
    assert [] == regions_of(program)


def test_killed_worker_is_replaced_and_the_work_goes_on(tmp_path: Path) -> None:
    """Nothing waits for the dead one, which had a batch in hand or not."""
    with running_demo(tmp_path) as (program, reader, worker):
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: len({*children(program.pid)} - {reader, worker}) == 1, "another one")
        os.kill(program.pid, signal.SIGINT)
    assert 130 == program.returncode
    assert [] == regions_of(program)


@pytest.mark.parametrize("workers", [1, 3])
def test_totals_are_exact_though_workers_are_killed(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At least once, made once by the numbers of file and piece; it is told what happened."""
    contents = [b"some words on a line\n" * (100 * number) for number in range(200)]
    for number, content in enumerate(contents):
        (tmp_path / f"{number:03}").write_bytes(content)
    arguments = ["demo", "--json", "--kill", "--workers", str(workers), os.fspath(tmp_path)]
    assert 0 == main(arguments)
    facts = json.loads(capsys.readouterr().out)
    assert expected_totals(contents) == Totals(*(facts[what] for what in Totals._fields))
    assert 1 <= len(facts["killed"]) <= 2 * workers
    assert 0 <= facts["counted_twice"] <= facts["redelivered"] <= len(facts["killed"])


@pytest.mark.sweeps
def test_reader_and_worker_end_by_themselves_when_the_parent_is_killed(tmp_path: Path) -> None:
    """They notice that nobody wants the result; the name they used is found by the next sweep."""
    with running_demo(tmp_path) as (program, reader, worker):
        (name,) = regions_of(program)
        os.kill(program.pid, signal.SIGKILL)
        wait_until(lambda: gone(reader) and gone(worker), "reader and worker to end by themselves")
        assert name in memlane.sweep()
    assert [] == regions_of(program)


# ---- progress ------------------------------------------------------------------------------------


def test_progress_is_plain_lines_where_rich_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """rich is no dependency; without it one reads how far the demo is all the same."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    with shown(1000) as show:
        show(10, 2_500_000)
        show(11, 2_600_000)  # too soon for another line
        show(1000, 3_000_000)
    assert (
        "read 10 of 1,000 files, 2.5 MB\nread 1,000 of 1,000 files, 3.0 MB\n"
    ) == capsys.readouterr().err


def test_progress_on_a_terminal_ends_with_all_files_read(tree: Path) -> None:
    """On a terminal the bar of rich comes to its end; the facts go to stdout all the same."""
    terminal, its_other_end = os.openpty()
    with open(terminal, "rb", buffering=0) as screen:
        program = subprocess.run(
            [sys.executable, "-m", "memlane", "demo", os.fspath(tree)],
            stdout=subprocess.PIPE,
            stderr=its_other_end,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "24"},
            timeout=PATIENCE_S,
        )
        os.close(its_other_end)
        shown_bytes = screen.read(1 << 16)
    assert (0, b"the totals are those of the plain count") == (
        program.returncode,
        program.stdout.splitlines()[-1],
    )
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown_bytes)
    assert f"{len(AWKWARD)}/{len(AWKWARD) + 1} files".encode() in text  # one of them was skipped
