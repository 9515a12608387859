# SPDX-License-Identifier: MIT
"""The demo's input, and the plain single-process count that its result is checked against."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Iterable, Iterator, Sequence

from memlane.cli.stages import Totals


def find_files(paths: Sequence[str]) -> list[str]:
    """
    The files to count: those given, and all below directories given; by default the .py files of
    the standard library.

    Raises:
        FileNotFoundError: one that was given does not exist.
        OSError: one that was given is neither a file nor a directory.
    """
    if not paths:
        library = sysconfig.get_path("stdlib")
        return [path for path in _below(library) if path.endswith(".py")]
    found: list[str] = []
    for path in paths:
        if os.path.isdir(path):
            found += _below(path)
        elif os.path.isfile(path):
            found.append(path)
        else:
            os.stat(path)
            raise OSError(f"{path!r} is neither a file nor a directory; name one of these")
    return found


def _below(directory: str) -> Iterator[str]:
    """The files below, in a fixed order: also what cannot be opened, but no pipes or devices."""
    for where, directories, names in os.walk(directory):
        # What is installed beside the standard library is no part of it.
        directories[:] = sorted(set(directories) - {"site-packages", "dist-packages"})
        for name in sorted(names):
            path = os.path.join(where, name)
            if os.path.isfile(path) or not os.path.exists(path):
                yield path


def count_plainly(paths: Iterable[str]) -> Totals:
    """Count as anybody would, with nothing of the pipeline's code; skip what cannot be read."""
    files = lines = words = nbytes = 0
    for path in paths:
        try:
            with open(path, "rb") as file:
                for line in file:
                    lines += 1
                    words += len(line.split())
                    nbytes += len(line)
        except OSError:
            continue
        files += 1
    return Totals(files, lines, words, nbytes)


def differences(found: Totals, expected: Totals) -> list[str]:
    """What differs between two counts, one sentence each."""
    return [
        f"the pipeline counted {ours:,} {what}, a plain count says {plain:,}"
        for what, ours, plain in zip(
            ("files", "lines", "words", "bytes"), found, expected, strict=True
        )
        if ours != plain
    ]
