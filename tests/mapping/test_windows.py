# SPDX-License-Identifier: MIT
"""What `windows` promises: every byte once, in order, and no record cut in two."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memlane
from memlane import PAGE_SIZE, ClosedError, windows


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(bytes(i * 7 % 251 for i in range(3 * PAGE_SIZE + 77)))
    return path


@pytest.mark.parametrize("size", [1000, PAGE_SIZE, "4 KiB", PAGE_SIZE + 1, "1 GiB"])
def test_windows_of_any_size_give_every_byte_once_in_order(file: Path, size: int | str) -> None:
    """Put together they are the file."""
    assert file.read_bytes() == b"".join(window[:] for window in windows(file, size))


def test_a_window_is_closed_when_the_next_is_asked_for_and_its_views_live_on(file: Path) -> None:
    """So memory in use is that of one window."""
    walk = windows(file, PAGE_SIZE)
    first = next(walk)
    view = memoryview(first)
    second = next(walk)

    assert (True, False) == (first.closed, second.closed)
    assert file.read_bytes()[:PAGE_SIZE] == bytes(view)
    with pytest.raises(ClosedError):
        first[0]
    walk.close()  # type: ignore[attr-defined]
    assert second.closed


def test_a_part_of_a_file_is_walked_and_written_in_place(file: Path) -> None:
    """offset, nbytes and access are those of Mapping.open."""
    before = file.read_bytes()
    for window in windows(file, 100, "r+", offset=50, nbytes=1000):
        window[:] = bytes(len(window))

    assert before[:50] + bytes(1000) + before[1050:] == file.read_bytes()


def test_overlap_repeats_the_end_of_each_window(file: Path) -> None:
    """Something of n bytes lies whole in a window when they overlap by n - 1."""
    data = file.read_bytes()
    start = 0
    for window in windows(file, 1000, overlap=99):
        assert data[start : start + 1000] == window[:]
        start += 1000 - 99
    sought = data[995:1010]
    assert any(sought in window for window in windows(file, 1000, overlap=len(sought) - 1))


def test_windows_of_records_of_one_length_hold_whole_ones(tmp_path: Path) -> None:
    """The size is rounded down to whole records, never below one."""
    path = tmp_path / "records"
    path.write_bytes(b"".join(i.to_bytes(24, "little") for i in range(1000)))

    assert {41 * 24, 16 * 24} == {len(window) for window in windows(path, 1000, records=24)}
    assert {24} == {len(window) for window in windows(path, 5, records=24)}


@settings(max_examples=200)
@given(
    lines=st.lists(st.binary(max_size=300), max_size=40),
    size=st.integers(1, 400),
    mark=st.sampled_from([b"\n", b"\r\n", b"----"]),
)
def test_no_record_straddles_windows_cut_behind_its_end_mark(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], size: int, mark: bytes
) -> None:
    """Every window but the last ends with the mark; longer than *size* only for a single record."""
    data = mark.join(lines)
    if not data:
        return
    path = tmp_path_factory.getbasetemp() / f"lines-{os.getpid()}"
    path.write_bytes(data)
    pieces = [window[:] for window in windows(path, size, records=mark)]

    assert data == b"".join(pieces)
    for piece in pieces[:-1]:
        assert piece.endswith(mark)
        assert len(piece) <= size or mark not in piece[: -len(mark)][: size - len(mark) + 1]


def test_an_empty_file_has_no_windows(tmp_path: Path) -> None:
    """A program that walks many files need not ask each for its length first."""
    (tmp_path / "empty").touch()

    assert [] == list(windows(tmp_path / "empty"))
    assert [] == list(windows(tmp_path / "empty", 4096, "r+", records=b"\n"))


def test_wrong_arguments_and_files_are_refused_before_the_first_window(
    file: Path, tmp_path: Path
) -> None:
    """At the call, not at the first `next`."""
    (tmp_path / "empty").touch()
    for asked in ({"nbytes": 1}, {"offset": 1}):
        with pytest.raises(io.UnsupportedOperation, match="cannot map an empty file"):
            windows(tmp_path / "empty", **asked)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="access must be"):
        windows(tmp_path / "empty", access="w")  # type: ignore[arg-type]
    with pytest.raises(io.UnsupportedOperation, match="what /proc shows is read, not mapped"):
        windows("/proc/self/status")
    with pytest.raises(FileNotFoundError):
        windows(tmp_path / "none")
    with pytest.raises(io.UnsupportedOperation, match="of a file of"):
        windows(file, nbytes="1 MiB")
    with pytest.raises(ValueError, match="size must be at least 1"):
        windows(file, 0)
    with pytest.raises(ValueError, match="overlap must be less than size, 10, got 10"):
        windows(file, 10, overlap=10)
    with pytest.raises(ValueError, match="need no overlap"):
        windows(file, 10, overlap=1, records=2)
    with pytest.raises(ValueError, match="got b''"):
        windows(file, 10, records=b"")
    with pytest.raises(ValueError, match="records must be from 1"):
        windows(file, 10, records=0)
    assert memlane.windows is windows
