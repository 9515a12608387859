# SPDX-License-Identifier: MIT
"""The stubs of the extension: what an editor shows of the verbs that are not written in Python."""

from __future__ import annotations

import ast
import inspect

import pytest

import memlane
from tests.face import stub_docs

pytestmark = pytest.mark.machine


def test_the_stub_has_the_docstrings_of_the_extension() -> None:
    """An editor shows on hover what `help` shows; after a change run `make stub`."""
    texts = [path.read_text() for path in stub_docs.STUBS]

    assert texts == [stub_docs.with_docstrings(text) for text in texts]


def test_a_docstring_that_was_changed_or_lost_in_the_stub_is_found() -> None:
    """The judge itself: another text, or none, is not what the extension says."""
    texts = {path.stem: path.read_text() for path in stub_docs.STUBS}
    for module, said, other in (
        ("ring", "Copy one record into the ring", "Copy some record into the ring"),
        ("counter", '        """The value at this moment', '        """'),
    ):
        stub = texts[module]
        changed = stub.replace(said, other, 1)
        assert changed != stub
        assert stub_docs.with_docstrings(changed) == stub


def test_every_public_verb_of_the_extension_says_what_it_does() -> None:
    """Attributes may be told of at their class, verbs are told of at the verb."""
    verbs = [
        node
        for path in stub_docs.STUBS
        for node, _, _ in stub_docs.public_names(ast.parse(path.read_text()))
        if "property" not in map(ast.unparse, node.decorator_list)
    ]

    assert len(verbs) >= 60
    assert [] == [node.name for node in verbs if not ast.get_docstring(node)]


@pytest.mark.parametrize("verb", ["create", "shm"])
def test_the_stub_of_a_verb_that_stubtest_leaves_out_has_its_arguments_and_defaults(
    verb: str,
) -> None:
    """stubtest wants a default of the very type int, and help shows an int in decimal."""
    [mapping] = [
        node
        for path in stub_docs.STUBS
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "Mapping"
    ]
    [found] = [
        node for node in mapping.body if isinstance(node, ast.FunctionDef) and node.name == verb
    ]
    by_place, by_keyword = found.args.args, found.args.kwonlyargs
    names = [it.arg for it in [*by_place, *by_keyword]]
    given = [*found.args.defaults, *[it for it in found.args.kw_defaults if it is not None]]
    parameters = inspect.signature(getattr(memlane.Mapping, verb)).parameters.values()

    assert names == [it.name for it in parameters]
    assert [it.arg for it in by_keyword] == [
        it.name for it in parameters if it.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    assert [ast.literal_eval(it) for it in given] == [
        it.default for it in parameters if it.default is not inspect.Parameter.empty
    ]
