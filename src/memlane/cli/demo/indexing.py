# SPDX-License-Identifier: MIT
"""
The demo's work: what is found in a file, in one go and in ranges that fit together again.

Of each file: its SHA-256, how far it can be compressed, how many lines and tokens it has; of all
together an index of the words in them. That is what an archive would keep that is to be searched.

A token is a run of letters, digits and underscores, or one other byte that is no white space. A
token that begins with a digit is a number, any other run is a name. The index is what a search for
words would need: names are split into words (`HTTPServer` and `http_server` both have "http" and
"server"), and for each word it says which files have it, and how often.
"""

from __future__ import annotations

import hashlib
import os
import re
import sysconfig
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

#: Bytes from 0x80 on count as letters, so that text in UTF-8 is not torn.
TOKEN = re.compile(rb"[0-9A-Za-z_\x80-\xff]+|[^\s0-9A-Za-z_\x80-\xff]")
_RUN = re.compile(rb"[0-9A-Za-z_\x80-\xff]+|")
WORD = re.compile(rb"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[\x80-\xff]+")
_DIGITS = frozenset(b"0123456789")
_RUN_BYTES = frozenset(byte for byte in range(256) if _RUN.fullmatch(bytes([byte])))
_LETTERS = _RUN_BYTES - _DIGITS
_NEWLINE = ord("\n")
#: Files are compressed in blocks, as archives do, and cut into ranges of that size: small enough
#: that the last worker to finish does not keep the others waiting for long.
BLOCK_NBYTES = 256 << 10
#: What is longer is counted and not indexed: a file of letters only is one name. Arbitrary.
NAME_NBYTES_MAX = 200


class Counts(NamedTuple):
    """What is counted. A line ends with a newline or its file."""

    lines: int = 0
    names: int = 0
    numbers: int = 0
    symbols: int = 0
    nbytes: int = 0
    compressed_nbytes: int = 0

    def __add__(self, other: tuple[Any, ...]) -> Counts:
        return Counts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


@dataclass
class Index:
    """What was found in all files. Files are known by their place in the list of paths."""

    counts: Counts = field(default_factory=Counts)
    hashes: dict[int, bytes] = field(default_factory=dict)  # SHA-256 of each file
    #: How often, by word and file.
    words: defaultdict[bytes, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))


# ---- which files ---------------------------------------------------------------------------------


def find_files(paths: Sequence[str]) -> list[str]:
    """
    The files to index: those given, and all below directories given; by default the .py files of
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


# ---- in one process ------------------------------------------------------------------------------


def index_plainly(paths: Iterable[str]) -> Index:
    """Index as anybody would, with one process and one loop; skip what cannot be read."""
    index = Index()
    lines = names = numbers = symbols = nbytes = compressed_nbytes = 0
    for number, path in enumerate(paths):
        try:
            with open(path, "rb") as file:
                content = file.read()
        except OSError:
            continue
        index.hashes[number] = hashlib.sha256(content).digest()
        lines += content.count(b"\n") + (content != b"" and not content.endswith(b"\n"))
        nbytes += len(content)
        for begin in range(0, len(content), BLOCK_NBYTES):
            compressed_nbytes += len(zlib.compress(content[begin : begin + BLOCK_NBYTES]))
        found, words = _sort(Counter(TOKEN.findall(content)))
        names, numbers, symbols = names + found[0], numbers + found[1], symbols + found[2]
        for word, count in words.items():
            index.words[word][number] = count
    index.counts = Counts(lines, names, numbers, symbols, nbytes, compressed_nbytes)
    return index


def _sort(tokens: Counter[bytes]) -> tuple[tuple[int, int, int], dict[bytes, int]]:
    """How many names, numbers and symbols there are, and how often each word of the names."""
    words: defaultdict[bytes, int] = defaultdict(int)
    names = numbers = symbols = 0
    for token, count in tokens.items():
        if token[0] in _LETTERS:
            names += count
            if len(token) <= NAME_NBYTES_MAX:
                for word in WORD.findall(token):
                    words[word.lower()] += count
        elif token[0] in _DIGITS:
            numbers += count
        else:
            symbols += count
    return (names, numbers, symbols), words


# ---- in ranges -----------------------------------------------------------------------------------


def index_range(content: Any, begin: int, end: int) -> tuple[Counts, dict[bytes, int]]:
    """
    What is found from *begin* to *end* of the content of a file, as if both lay between two tokens:
    a token that lies across a border belongs to the range it begins in.

    Ranges that meet have everything once, wherever they were cut.
    """
    compressed_nbytes = len(zlib.compress(content[begin:end])) if begin < end else 0
    begin, end = _between_tokens(content, begin), _between_tokens(content, end)
    tokens = Counter(TOKEN.findall(content, begin, end))
    (names, numbers, symbols), words = _sort(tokens)
    has_end = begin < end == len(content)
    lines = content.count(b"\n", begin, end) + (has_end and content[end - 1] != _NEWLINE)
    return Counts(lines, names, numbers, symbols, end - begin, compressed_nbytes), words


def _between_tokens(content: Any, place: int) -> int:
    """The first place from *place* on that is not inside a token."""
    if place <= 0 or content[place - 1] not in _RUN_BYTES:
        return place
    run = _RUN.match(content, place)
    assert run is not None  # it matches nothing, too
    return run.end()


# ---- both compared -------------------------------------------------------------------------------


def differences(found: Index, expected: Index, paths: Sequence[str]) -> list[str]:
    """What differs between two indexes, one sentence each."""
    wrong = [
        f"memlane counted {ours:,} {what}, one process {plain:,}"
        for what, ours, plain in zip(Counts._fields, found.counts, expected.counts, strict=True)
        if ours != plain
    ]
    hashes = {
        number
        for number in found.hashes.keys() | expected.hashes.keys()
        if found.hashes.get(number) != expected.hashes.get(number)
    }
    if hashes:
        wrong.append(f"{len(hashes):,} files have another hash, {paths[min(hashes)]!r} is one")
    words = {
        word
        for word in found.words.keys() | expected.words.keys()
        if found.words.get(word) != expected.words.get(word)
    }
    if words:
        example = min(words).decode(errors="backslashreplace")
        wrong.append(f"{len(words):,} words have another entry in the index, {example!r} is one")
    return wrong
