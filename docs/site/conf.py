# SPDX-License-Identifier: MIT
"""The site: the pages of docs/ and a reference of all public names. `make docs` builds it."""

from __future__ import annotations

import memlane

project = "memlane"
author = "the memlane contributors"
copyright = "the memlane contributors, MIT license"  # noqa: A001
version = release = memlane.__version__

root_doc = "site/index"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
]
exclude_patterns = ["benchmarks"]
html_theme = "furo"
html_title = f"memlane {release}"
html_baseurl = ""

myst_heading_anchors = 4
# Pages link to sources and to pages beside them as files: tests/rules/test_docs.py holds each of
# these links to a file and a heading that exist, whether they are on the site or not.
suppress_warnings = ["myst.xref_missing"]

# What the extension has of signatures and docstrings is what its stubs have: a test compares them.
autodoc_default_options = {"members": True, "inherited-members": True, "show-inheritance": True}
autodoc_member_order = "groupwise"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = [("Options", "params_style")]
