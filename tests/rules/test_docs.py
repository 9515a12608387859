# SPDX-License-Identifier: MIT
"""The pages are true: their code runs and prints what they show, their links lead somewhere."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import memlane
from tests import ROOT
from tests.support.processes import PATIENCE_S

pytestmark = pytest.mark.machine

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
PAGES += sorted((ROOT / "docs").glob("*.md"))

CODE = re.compile(
    r"^```python\n(.*?)^```\n(?:[^`#|]*?^```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)

#: Verbs that may fail, of every public class: each says so under "Raises:", or where that is said.
ERRORS_ARE_TOLD = re.compile(
    r"^Raises:|\b(raises?|errors?) |\bAs `|Never fails|Never raises", re.I | re.M
)
#: Methods that cannot fail, or only by Python's own rules for their arguments.
CANNOT_FAIL = {"Mapping.find", "Region.names"}


def snippets() -> list[tuple[str, str, str]]:
    """Every python block of a page with the text block behind it: (page, code, output)."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in CODE.finditer(text):
            line = text[: block.start()].count("\n") + 1
            found.append((f"{page.relative_to(ROOT)}:{line}", block[1], block[2] or ""))
    return found


@pytest.mark.parametrize(("where", "code", "output"), snippets(), ids=lambda value: value[:20])
def test_code_on_a_page_runs_as_it_stands_and_prints_what_the_page_shows(
    where: str, code: str, output: str, tmp_path: Path
) -> None:
    """A reader may copy any Python block into a file, run it, and see the text below it."""
    program = tmp_path / "copied.py"
    program.write_text(code)
    run = subprocess.run(
        [sys.executable, "-W", "error", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert "" == run.stderr, where
    assert output == run.stdout, where


def test_the_first_page_shows_a_program_of_two_processes_near_its_top() -> None:
    """A reader of the README sees code that runs within the first 20 lines, of at most 15 lines."""
    lines = (ROOT / "README.md").read_text().splitlines()
    first = lines.index("```python")
    code = [line for line in lines[first + 1 : lines.index("```", first)] if line]

    assert first < 20
    assert len(code) <= 15
    assert "Process(" in "\n".join(code)


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in links."""
    return {
        re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-")
        for heading in HEADING.findall(page.read_text())
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_exist(page: Path) -> None:
    """No link of a page leads to nothing."""
    broken = []
    for link in LINK.findall(page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)

    assert [] == broken


def test_every_page_of_the_documentation_is_linked_from_the_first_one() -> None:
    """A page that nothing leads to is not read."""
    linked = {
        (ROOT / link.partition("#")[0]).resolve()
        for link in LINK.findall((ROOT / "README.md").read_text())
    }

    assert [] == [page.name for page in PAGES if page not in linked and page.name != "README.md"]


@pytest.mark.parametrize("name", [name for name in memlane.__all__ if name[0].isalpha()])
def test_every_public_name_says_what_it_is(name: str) -> None:
    """help(memlane.x) tells something for every name, and for all that a class has."""
    found = getattr(memlane, name)
    if not callable(found):
        return

    assert inspect.getdoc(found), name
    if inspect.isclass(found):
        attributes = re.findall(r"^    (\w+): ", inspect.getdoc(found) or "", re.MULTILINE)
        silent = [
            verb
            for verb in vars(found)
            if not verb.startswith("_")
            and hasattr(found, verb)  # not so the names that only say what to use in their place
            and not inspect.getdoc(getattr(found, verb))
            and verb not in attributes
        ]
        assert [] == silent


def verbs() -> list[str]:
    """The public methods of all public classes but the errors."""
    classes = [
        getattr(memlane, name)
        for name in memlane.__all__
        if inspect.isclass(getattr(memlane, name))
        and not issubclass(getattr(memlane, name), Exception)
    ]
    return [
        f"{found.__name__}.{verb}"
        for found in classes
        for verb, what in inspect.getmembers(found, callable)
        if not verb.startswith("_")
    ]


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_that_can_fail_says_how(verb: str) -> None:
    """The docstring of a method has Raises, refers to one that has, or says that it never fails."""
    owner, _, name = verb.partition(".")
    text = inspect.getdoc(getattr(getattr(memlane, owner), name)) or ""

    assert ERRORS_ARE_TOLD.search(text) or verb in CANNOT_FAIL, text


def test_every_hazard_that_is_named_stands_on_its_page() -> None:
    """A number that leads nowhere tells a reader nothing."""
    page = (ROOT / "docs" / "hazards.md").read_text()
    numbers = [int(number) for number in re.findall(r"^(\d+)\. ", page, re.MULTILINE)]
    named = {
        int(number)
        for folder in ("src", "tests", "docs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".pyx", ".pxd", ".c", ".h", ".pml", ".md")
        for found in re.findall(r"\bhazards?\s+(?:\* )?([\d, toand]+)", path.read_text())
        for number in re.findall(r"\d+", found)
    }

    assert named
    assert list(range(1, len(numbers) + 1)) == numbers
    assert named <= set(numbers)


#: A file of the repository, as pages name it.
FILE = re.compile(r"`((?:src|tests|docs|benchmarks|examples|tools)/[\w./]+\.\w+)`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """What was moved is found where the page says; the change log tells of the past."""
    if page.name == "CHANGELOG.md":
        pytest.skip("tells of files that were")

    assert [] == [name for name in FILE.findall(page.read_text()) if not (ROOT / name).exists()]


def test_the_questions_of_a_newcomer_are_answered_by_names_that_stand_in_those_files() -> None:
    """A function that a row of CONTRIBUTING.md names is in one of the files that the row names."""
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("| question | answer |")[2]
    rows = [row for row in table.partition("\n\n")[0].splitlines() if row]
    missing = []
    for row in rows[1:]:
        files = [ROOT / name for name in FILE.findall(row)]
        texts = [file.read_text() for file in files]
        names = [name for name in re.findall(r"`([A-Za-z_.]+)`", row) if "/" not in name]
        for name in names:
            last = name.rpartition(".")[2]
            if last not in ("py", "h", "c", "pyx", "pxi") and not any(
                re.search(rf"\b{last}\b", text) for text in texts
            ):
                missing.append(f"{name}: {row}")

    assert len(rows) > 6
    assert [] == missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_prose_is_wrapped_at_a_hundred_columns(page: Path) -> None:
    """A diff of one sentence shows one sentence. `mdformat` wraps; benchmarks are a report."""
    if page.name == "benchmarks.md":
        pytest.skip("written by benchmarks/report.py")
    inside_code, long = False, []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            inside_code = not inside_code
        # what cannot be broken: rows of tables, and a link or a word by itself
        whole = line.startswith("|") or " " not in line.strip().lstrip("-* ")
        if len(line) > 100 and not inside_code and not whole:
            long.append(f"{page.name}:{number}")

    assert [] == long
