# SPDX-License-Identifier: MIT
"""Prose is plain English: what a program can judge of pages, docstrings and comments."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import ROOT

pytestmark = pytest.mark.machine

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
CODE = sorted(
    path
    for folder in ("src", "tests", "benchmarks", "examples", "tools")
    for path in (ROOT / folder).rglob("*")
    if path.suffix in (".py", ".pyx", ".pxd", ".c", ".h")
)

#: A relative clause without a noun in the place of a subject or an object: "Who sleeps is woken",
#: "locked by who joins". Questions are none.
WITHOUT_A_NOUN = re.compile(
    r"(?:^|(?<=[.:;!] ))(?:Who|Whoever|who|whoever)\b(?![^.:;]*\?)"
    r"|\b(?:by|for|from|of|than|to|with|and|but|or) (?:who|whoever)\b(?![^.:;]*\?)"
)


def python_prose(text: str) -> Iterator[tuple[int, str]]:
    """Docstrings and comments: the number of their first line, and their words."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node.body[0].lineno, docstring
    lines = io.StringIO(text).readline
    comments = [it for it in tokenize.generate_tokens(lines) if it.type == tokenize.COMMENT]
    yield from joined((it.start[0], it.start[1], it.string.lstrip("#: ")) for it in comments)


def joined(comments: Iterator[tuple[int, int, str]]) -> Iterator[tuple[int, str]]:
    """Comments of lines that follow each other at one column are one text."""
    first, last, column, words = 0, -1, -1, ""
    for line, at, text in comments:
        if line == last + 1 and at == column:
            words += " " + text
        else:
            if words:
                yield first, words
            first, column, words = line, at, text
        last = line
    if words:
        yield first, words


def c_prose(text: str) -> Iterator[tuple[int, str]]:
    for found in re.finditer(r"/\*.*?\*/|//[^\n]*", text, re.DOTALL):
        words = re.sub(r"\n\s*\*?", "\n", found.group().strip("/* \n"))
        yield text.count("\n", 0, found.start()) + 1, words


def cython_prose(text: str) -> Iterator[tuple[int, str]]:
    """As of Python, by what its texts look like: comments of a line, and what has three quotes."""
    for found in re.finditer(r'"""(.*?)"""', text, re.DOTALL):
        yield text.count("\n", 0, found.start()) + 1, found.group(1)
    lines = re.sub(r'""".*?"""', lambda it: "\n" * it.group().count("\n"), text, flags=re.S)
    comments = re.finditer(r"^((?:[^\n#'\"]|'[^'\n]*'|\"[^\"\n]*\")*)#[: ]*([^\n]*)", lines, re.M)
    yield from joined(
        (lines.count("\n", 0, it.start()) + 1, len(it.group(1)), it.group(2)) for it in comments
    )


def page_prose(text: str) -> Iterator[tuple[int, str]]:
    """Paragraphs, items of lists and cells of tables, without blocks of code."""
    text = re.sub(r"```.*?```", lambda block: "\n" * block.group().count("\n"), text, flags=re.S)
    for found in re.finditer(r"(?:^(?!\s*$).+\n?)+", text, re.MULTILINE):
        line = text.count("\n", 0, found.start()) + 1
        for part in re.split(
            r"\n\s*(?:[-*]|\d+\.) |\s\|\s|^\||\|$|\*\*", found.group(), flags=re.M
        ):
            yield line, part


def prose(path: Path) -> Iterator[tuple[int, str]]:
    text = path.read_text()
    if path.suffix == ".md":
        found = page_prose(text)
    elif path.suffix == ".py":
        found = python_prose(text)
    elif path.suffix in (".pyx", ".pxd"):
        found = cython_prose(text)
    else:
        found = c_prose(text)
    for line, words in found:
        yield line, " ".join(re.sub(r"`[^`]*`|\"[^\"]*\"", "it", words).split())


def clauses_without_a_noun(path: Path) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line}: {words[max(0, found.start() - 40) : found.end() + 40]}"
        for line, words in prose(path)
        for found in WITHOUT_A_NOUN.finditer(words)
    ]


@pytest.mark.parametrize("path", [*PAGES, *CODE], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_sentence_says_who_it_is_about_by_a_noun(path: Path) -> None:
    """A process, a thread or a user does something; "who sleeps" is nobody."""
    assert [] == clauses_without_a_noun(path)


def test_a_clause_without_a_noun_is_found(tmp_path: Path) -> None:
    """The judge itself, in each kind of text; a noun in front of the clause clears it."""
    page, python, c = tmp_path / "a.md", tmp_path / "a.py", tmp_path / "a.h"
    cython = tmp_path / "a.pyx"
    page.write_text("It waits. Who sleeps is woken.\n\n| a | locked by who joins |\n")
    python.write_text('"""Whoever comes is counted."""\n# a process, and who it is\nx = 1\n')
    c.write_text("/* Ends it.\n * Who holds it gives it back. */\n")
    cython.write_text(
        'cdef int f(self):\n    """\n    Who waits is woken.\n    """\n    x = "#"  # one\n'
        "    # for it\n    y = 1  # locked by\n           # who joins\n"
    )

    found = [
        [words for _, text in prose(path) for words in WITHOUT_A_NOUN.findall(text)]
        for path in (page, python, c, cython)
    ]

    assert [["Who", "by who"], ["Whoever", "and who"], ["Who"], ["Who", "by who"]] == found
    page.write_text("A process who sleeps is woken. Who is it? A reader asks who came.\n")
    assert [] == [words for _, text in prose(page) for words in WITHOUT_A_NOUN.findall(text)]
