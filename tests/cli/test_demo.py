# SPDX-License-Identifier: MIT
"""The demo is right, notices when it is not, and leaves nothing behind however it ends."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import weakref
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import memlane
from memlane.cli import main
from memlane.cli.demo import demo
from memlane.cli.demo.indexing import (
    BLOCK_NBYTES,
    WORD,
    Counts,
    Index,
    differences,
    find_files,
    index_plainly,
    index_range,
)
from memlane.cli.demo.pieces import Piece, Result, cut
from memlane.cli.demo.pipeline import _Pipeline, index_with_workers
from memlane.cli.demo.watching import shown
from memlane.cli.demo.worker import index_piece, work
from tests.support.processes import PATIENCE_S, Child, forked, wait_until

pytestmark = pytest.mark.machine

BLOCK = BLOCK_NBYTES
#: What makes indexing in ranges go wrong, if anything does.
AWKWARD = {
    "empty": b"",
    "no newline at the end": b"one two\nthree",
    "only newlines": b"\n\n\n",
    "only a newline": b"\n",
    "carriage returns": b"one\r\ntwo\rthree\r\n",
    "other white space": b"\x0bone\x0ctwo\x1cthree\xa0four\x00five",
    "no text": bytes(range(256)) * 3,
    "names of many words": b"HTTPServer http_server2go _ __init__ aB AB a1b \xc3\xa4h 0x1F 1e5\n",
    "names that are too long": b"x" * 200 + b" " + b"y" * 201 + b"\n",
    "a line longer than a block": b"word " * BLOCK + b"\nnext line\n",
    "a name longer than two blocks": b"x" * (5 * BLOCK) + b" y\n",
    "a block of one line": b"x" * (BLOCK - 1) + b"\n",
    "a block without a newline": b"x" * BLOCK,
    "a line that ends behind its block": b"x" * BLOCK + b"\nx",
    "cut at white space": b"x " * (BLOCK // 2) + b"two y" * BLOCK,
    "cut in the midst of a name": b"x" * 3 + b" words" * BLOCK,
    "cut in the midst of a number": b" 12345" * BLOCK,
    "cut between symbols": b"+-" * BLOCK,
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


def indexed_otherwise(contents: list[bytes]) -> tuple[Counts, dict[bytes, dict[int, int]]]:
    """A third way to index: byte by byte, unlike the two that are tested."""
    counts, index = Counts(), dict[bytes, dict[int, int]]()
    for file, content in enumerate(contents):
        text = content.decode("latin-1")
        runs = "".join(
            sign if ord(sign) >= 128 or (sign.isalnum() and sign.isascii()) or sign == "_" else " "
            for sign in text
        ).split(" ")
        names = Counter(run for run in runs if run and not (run[0].isdigit() and run[0].isascii()))
        numbers = sum(1 for run in runs if run and run[0].isdigit() and run[0].isascii())
        signs = Counter(text)
        symbols = sum(
            times
            for sign, times in signs.items()
            if ord(sign) < 128 and not sign.isalnum() and sign != "_" and sign not in WHITE
        )
        blocks = [content[begin : begin + BLOCK] for begin in range(0, len(content), BLOCK)]
        counts += Counts(
            lines=len(content.removesuffix(b"\n").split(b"\n")) if content else 0,
            names=names.total(),
            numbers=numbers,
            symbols=symbols,
            nbytes=len(content),
            compressed_nbytes=sum(len(zlib.compress(block)) for block in blocks),
        )
        for name, times in names.items():
            for word in words_of(name) if len(name) <= 200 else []:
                entry = index.setdefault(word.encode("latin-1").lower(), {})
                entry[file] = entry.get(file, 0) + times
    return counts, index


#: What `re` takes for white space in bytes.
WHITE = " \t\n\r\x0b\x0c"


def words_of(name: str) -> list[str]:
    """The words of a name: what is told apart by case, digits, underscores and kinds of letters."""

    def kind(sign: str) -> str:
        if ord(sign) >= 128:
            return "foreign"
        return "upper" if sign.isupper() else "lower" if sign.islower() else "between"

    found: list[str] = []
    for place, sign in enumerate(name):
        before = kind(name[place - 1]) if place else "between"
        behind = kind(name[place + 1]) if place + 1 < len(name) else "between"
        mine = kind(sign)
        if mine == "between":
            continue
        begins = (mine != before and not (mine == "lower" and before == "upper")) or (
            mine == before == "upper" and behind == "lower"
        )
        if begins:
            found.append("")
        found[-1] += sign
    return found


def as_index(counts: Counts, words: dict[bytes, dict[int, int]], contents: list[bytes]) -> Index:
    hashes = {number: hashlib.sha256(content).digest() for number, content in enumerate(contents)}
    return Index(counts, hashes, defaultdict(dict, words))


# ---- indexing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", AWKWARD)
def test_ranges_of_a_file_put_together_are_the_file_and_index_as_it(
    what: str, tmp_path: Path
) -> None:
    """However a file is cut, no byte, line, token or word is lost or counted twice."""
    path = tmp_path / "file"
    path.write_bytes(AWKWARD[what])
    pieces = cut(0, os.fspath(path), 7)
    assert [7 + place for place in range(len(pieces))] == [piece.number for piece in pieces]
    assert max(1, -(-len(AWKWARD[what]) // BLOCK)) == len(pieces)
    results = [
        Result.unpack(index_piece(Piece.unpack(piece.pack()), [os.fspath(path)]).pack())
        for piece in pieces
    ]
    assert [piece.number for piece in pieces] == [result.piece for result in results]
    words: dict[bytes, dict[int, int]] = {}
    for result in results:
        for word, times in zip(result.words, result.times, strict=True):
            words.setdefault(word, {0: 0})[0] += times
    expected = indexed_otherwise([AWKWARD[what]])
    assert expected == (sum((result.counts for result in results), Counts()), words)
    assert [hashlib.sha256(AWKWARD[what]).digest()] == [
        result.hash for result in results if result.hash
    ]
    plain = index_plainly([os.fspath(path)])
    assert as_index(*expected, [AWKWARD[what]]) == plain


@pytest.mark.parametrize("size", range(1, 9))
def test_ranges_of_any_size_have_every_token_once(size: int) -> None:
    """Also where ranges are smaller than tokens."""
    content = b"aB_c d12e 3 4x +-( \xc3\xa4hm\n\n_ end"
    whole = Counter[bytes]()
    counts = Counts()
    for begin in range(0, len(content), size):
        found, words = index_range(content, begin, min(begin + size, len(content)))
        counts += found
        whole.update(words)
    expected, index = indexed_otherwise([content])
    assert expected._replace(compressed_nbytes=0) == counts._replace(compressed_nbytes=0)
    assert {word: times[0] for word, times in index.items()} == dict(whole)


def test_words_of_a_name_are_those_that_one_would_search_for() -> None:
    """By case, underscores and digits, in small letters."""
    assert [b"http", b"server", b"http", b"server", b"a", b"b", b"init"] == [
        word.lower()
        for name in (b"HTTPServer", b"http_server2", b"aB", b"__init__", b"_")
        for word in WORD.findall(name)
    ]


def test_difference_of_any_kind_is_told_with_what_both_found() -> None:
    """A wrong hash, count or entry cannot hide behind right ones."""
    one = Index(Counts(1, 2, 3, 4, 5, 6), {0: b"h"}, defaultdict(dict, {b"word": {0: 1}}))
    other = Index(Counts(1, 2, 3, 4, 5000, 6), {0: b"H"}, defaultdict(dict, {b"word": {0: 2}}))
    assert [] == differences(one, one, ["file"])
    assert [
        "memlane counted 5 nbytes, one process 5,000",
        "1 files have another hash, 'file' is one",
        "1 words have another entry in the index, 'word' is one",
    ] == differences(one, other, ["file"])
    assert 2 == len(differences(one, Index(one.counts), ["file"]))


def test_standard_library_is_the_input_where_no_path_is_given() -> None:
    """The default input is a few hundred files at least, all of them Python's own."""
    library = sysconfig.get_path("stdlib")
    found = find_files([])
    assert len(found) > 300
    assert all(path.startswith(library) and path.endswith(".py") for path in found)
    assert [] == [path for path in found if "site-packages" in path]


# ---- the whole demo ------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_demo_indexes_awkward_files_right_with_any_number_of_workers(
    workers: int, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Found is what is in files that can be read; the rest is reported; the exit code is 0."""
    assert 0 == main(["demo", "--json", "--workers", str(workers), os.fspath(tree)])
    facts = json.loads(capsys.readouterr().out)
    expected, words = indexed_otherwise(list(AWKWARD.values()))
    for found in (facts, facts["plain"]):
        assert expected == Counts(*(found[what] for what in Counts._fields))
        assert len(AWKWARD) == found["files"]
        assert (len(words), sum(map(len, words.values()))) == (
            found["different_words"],
            found["entries"],
        )
    assert [] == facts["differences"]
    assert workers == facts["workers"]
    assert [os.fspath(tree / "dangling")] == [skipped["path"] for skipped in facts["skipped"]]


def test_demo_prints_what_was_done_how_long_it_took_and_that_it_is_right(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A newcomer reads what was found, seconds of both ways, their ratio, and what was skipped."""
    assert 0 == main(["demo", "--workers", "2", os.fspath(tree)])
    printed = capsys.readouterr()
    counts, words = indexed_otherwise(list(AWKWARD.values()))
    assert f"{len(AWKWARD)} files of {counts.nbytes / 1e6:.1f} MB in all" in printed.out
    assert f"{counts.lines:,} lines" in printed.out
    assert f"{counts.names + counts.numbers + counts.symbols:,} tokens" in printed.out
    assert f"an index of {len(words):,} words" in printed.out
    assert re.search(r"^one process +\d+\.\d\d s +\d+\.\d MB/s$", printed.out, re.MULTILINE)
    assert re.search(
        r"^memlane, 2 workers +\d+\.\d\d s +\d+\.\d MB/s +\d+\.\d\d times as fast$",
        printed.out,
        re.MULTILINE,
    )
    assert "Both ways found the same" in printed.out.splitlines()[-1]
    assert "killed" not in printed.out
    assert f"skipped {os.fspath(tree / 'dangling')}: No such file" in printed.err


def test_demo_has_as_many_workers_as_there_are_processors_unless_told_otherwise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one has is used; files of none at all come to their end, too."""
    assert 0 == main(["demo", "--json", os.fspath(tmp_path)])
    facts = json.loads(capsys.readouterr().out)
    assert min(len(os.sched_getaffinity(0)), 64) == facts["workers"]
    assert 0 == facts["files"]


def test_demo_ends_with_1_and_says_why_where_a_file_grew_before_it_was_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A difference between the two ways is a failure of the demo."""
    path = tmp_path / "file"
    path.write_bytes(b"one line\n")

    def index_then_grow(*arguments: Any, **keywords: Any) -> object:
        outcome = index_with_workers(*arguments, **keywords)
        path.write_bytes(b"one line\nand another\n")
        return outcome

    monkeypatch.setattr("memlane.cli.demo.index_with_workers", index_then_grow)
    assert 1 == demo([os.fspath(path)], workers=1)
    out = capsys.readouterr().out
    assert "WRONG: memlane counted 1 lines, one process 2" in out
    assert "WRONG: 1 files have another hash" in out
    assert "Both ways" not in out


def test_file_that_is_cut_off_while_it_is_indexed_is_skipped_as_a_whole(tmp_path: Path) -> None:
    """Nothing of it stays in the index, though pieces of it were done."""
    (tmp_path / "a").write_bytes(b"cut off " * BLOCK)
    (tmp_path / "b").write_bytes(b"cut short\n")
    paths = [os.fspath(tmp_path / name) for name in "ab"]

    class CutOff(_Pipeline):
        def _cut_files(self) -> None:
            super()._cut_files()
            assert len(self.pieces) > 3
            self.pieces[1] = self.pieces[1]._replace(file_nbytes=self.pieces[1].file_nbytes + 1)

    with CutOff(paths, kills=0) as pipeline:
        pipeline.start_worker()
        pipeline.run(lambda _files, _nbytes: None)
    outcome = pipeline.outcome
    assert [paths[0]] == [path for path, _ in outcome.skipped]
    contents = [b"", b"cut short\n"]
    counts, words = indexed_otherwise(contents)
    assert (counts, words) == (outcome.index.counts, outcome.index.words)
    assert [1] == list(outcome.index.hashes)


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


def state_of(pid: int) -> str:
    """What the kernel says it does: "S" asleep, "Z" ended; also for one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def gone(pid: int) -> bool:
    """Whether a process has ended; as a zombie, where nobody reaps what the parent left."""
    return state_of(pid) == "Z"


@contextmanager
def running_demo(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], list[int]]]:
    """
    A demo in the midst of a work of minutes, with its two workers' processes.

    Afterwards all three must be gone, and nothing of theirs in /dev/shm at any time.
    """
    path = tmp_path / "file"
    path.write_bytes(b"some words on a line\n" * 50_000)
    program = subprocess.Popen(
        [sys.executable, "-m", "memlane", "demo", "--workers=2", *[os.fspath(path)] * 2_000],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(children(program.pid)) == 2, "workers")
        workers = children(program.pid)
        yield program, workers
        program.communicate(timeout=PATIENCE_S)
        wait_until(lambda: all(map(gone, workers)), "workers to be gone")
    finally:
        if program.poll() is None:
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()


@pytest.mark.parametrize(
    "everybody", [True, False], ids=["to all its processes", "to the parent only"]
)
def test_ctrl_c_ends_the_demo_with_130_and_leaves_nothing(everybody: bool, tmp_path: Path) -> None:
    """Sent by a terminal to the group, or to the parent: no process, no traceback."""
    with running_demo(tmp_path) as (program, _):
        (os.killpg if everybody else os.kill)(program.pid, signal.SIGINT)
        _, err = program.communicate(timeout=PATIENCE_S)
    assert 130 == program.returncode
    assert "memlane: interrupted" == err.splitlines()[-1]
    assert "Traceback" not in err


def test_ctrl_c_also_ends_a_worker_that_does_not_answer(tmp_path: Path) -> None:
    """A stopped worker is asked, waited for, and killed."""
    with running_demo(tmp_path) as (program, workers):
        os.kill(workers[0], signal.SIGSTOP)
        os.kill(program.pid, signal.SIGINT)
    assert 130 == program.returncode


def test_killed_worker_is_replaced_and_the_work_goes_on(tmp_path: Path) -> None:
    """Nothing waits for the dead one, which had a piece in hand or not."""
    with running_demo(tmp_path) as (program, workers):
        os.kill(workers[0], signal.SIGKILL)
        wait_until(lambda: {*children(program.pid)} - {*workers}, "another one")
        os.kill(program.pid, signal.SIGINT)
    assert 130 == program.returncode


def test_ctrl_c_waits_while_the_process_of_a_killed_worker_is_forgotten(tmp_path: Path) -> None:
    """Python loses what a destructor or a weak reference's callback raises, Ctrl-C too."""
    path = tmp_path / "file"
    path.write_bytes(b"some words on a line\n" * 200_000)
    held_back: list[bool] = []

    def look() -> None:
        held_back.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))

    with _Pipeline([os.fspath(path)], kills=0) as pipeline:
        pipeline.start_worker()
        pipeline.workers[0].kill()
        weakref.finalize(pipeline.workers[0], look)
        pipeline.run(lambda _files, _nbytes: None)

    assert [True] == held_back


def test_failed_worker_ends_the_demo_with_1_and_says_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A worker that raises is not replaced: the next one would do the same."""
    (tmp_path / "file").write_bytes(b"words\n")

    def fail(*_arguments: object) -> None:
        raise MemoryError("no memory for the words")

    monkeypatch.setattr("memlane.cli.demo.worker.index_range", fail)
    assert 1 == main(["demo", "--workers=2", os.fspath(tmp_path)])
    err = capfd.readouterr().err
    assert "MemoryError: no memory for the words" in err
    assert re.search(
        r"^memlane: a worker of the demo \(process \d+\) ended with exit code 1 before its work "
        r"was done$",
        err,
        re.MULTILINE,
    )


@pytest.mark.parametrize("workers", [1, 3])
def test_index_is_exact_though_workers_are_killed(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At least once, made once by the numbers of pieces; it is told what happened."""
    contents = [b"some words on a line\n" * (100 * number) for number in range(200)]
    for number, content in enumerate(contents):
        (tmp_path / f"{number:03}").write_bytes(content)
    arguments = ["demo", "--json", "--kill", "--workers", str(workers), os.fspath(tmp_path)]
    assert 0 == main(arguments)
    facts = json.loads(capsys.readouterr().out)
    assert indexed_otherwise(contents)[0] == Counts(*(facts[what] for what in Counts._fields))
    assert 1 <= len(facts["killed"]) <= 2 * workers
    assert 0 <= facts["indexed_twice"] <= facts["redelivered"] <= len(facts["killed"])


def test_kills_are_told_to_a_person(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """How many were killed, what they had in hand, and that the result is the same all the same."""
    for number in range(100):
        (tmp_path / f"{number:03}").write_bytes(b"some words on a line\n" * 1000)
    assert 0 == main(["demo", "--kill", "--workers=2", os.fspath(tmp_path)])
    out = capsys.readouterr().out
    assert re.search(r"workers? (was|were) killed with SIGKILL amid the work, and replaced", out)
    assert re.search(r"pieces? (was|were) handed out again that had been in their hands", out)
    assert "Both ways found the same" in out


def test_workers_end_by_themselves_when_the_parent_is_killed(tmp_path: Path) -> None:
    """They notice that nobody wants the result, and nothing has a name that could stay."""
    with running_demo(tmp_path) as (program, workers):
        os.kill(program.pid, signal.SIGKILL)
        wait_until(lambda: all(map(gone, workers)), "workers to end by themselves")


def test_worker_that_waits_for_room_ends_when_its_parent_is_killed() -> None:
    """Also where nobody will ever make room."""
    with memlane.Ring("64 KiB", consumers="many") as pieces, memlane.Ring(4096) as results:
        pieces.put_many([Piece(number, 0, 0, 0, 0).pack() for number in range(1000)])
        reading, writing = os.pipe()

        def parent_of_a_worker() -> None:
            worker = forked(work, pieces, results, [os.devnull])
            os.write(writing, worker.to_bytes(4, "little"))
            signal.pause()

        with Child(parent_of_a_worker) as parent:
            worker = int.from_bytes(os.read(reading, 4), "little")
            wait_until(lambda: len(results) and state_of(worker) == "S", "a full ring")
            parent.kill()
            wait_until(lambda: gone(worker), "the worker to be gone")
        os.close(reading)
        os.close(writing)


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
        "indexed 10 of 1,000 files, 2.5 MB\nindexed 1,000 of 1,000 files, 3.0 MB\n"
    ) == capsys.readouterr().err


def test_progress_on_a_terminal_ends_with_all_files_done(tree: Path) -> None:
    """On a terminal the bar of rich comes to its end; the facts go to stdout all the same."""
    terminal, its_other_end = os.openpty()
    shown_bytes = b""
    with (
        open(terminal, "rb", buffering=0) as screen,
        subprocess.Popen(
            [sys.executable, "-m", "memlane", "demo", os.fspath(tree)],
            stdout=subprocess.PIPE,
            stderr=its_other_end,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "24"},
        ) as program,
    ):
        os.close(its_other_end)
        try:
            while piece := screen.read(1 << 16):
                shown_bytes += piece
        except OSError:  # EIO: nobody has the other end any more
            pass
        told, _ = program.communicate(timeout=PATIENCE_S)
    assert 0 == program.returncode
    assert b"Both ways found the same" in told
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown_bytes)
    assert f"{len(AWKWARD) + 1}/{len(AWKWARD) + 1} files".encode() in text
