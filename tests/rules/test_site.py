# SPDX-License-Identifier: MIT
"""The site that `make docs` builds: what is on it."""

from __future__ import annotations

import re

import pytest

from tests import ROOT

pytestmark = pytest.mark.machine


def test_every_page_has_its_place_on_the_site_and_only_pages_that_exist() -> None:
    """Sphinx would only warn, and `make docs` is no part of the tests."""
    index = (ROOT / "docs" / "site" / "index.md").read_text()
    listed = re.findall(r"^\.\./(\w[\w-]*)$", index, re.MULTILINE)

    assert sorted(listed) == sorted(page.stem for page in (ROOT / "docs").glob("*.md"))
