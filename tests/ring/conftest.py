# SPDX-License-Identifier: MIT
"""The ring that most tests of rings use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from memlane import Ring
from tests.support.children import PAGE


@pytest.fixture(params=["one", "many"])
def ring(request: pytest.FixtureRequest) -> Iterator[Ring]:
    """A small ring without a name, of each kind."""
    with Ring(consumers=request.param, capacity=PAGE, producers=4, records=8) as made:
        yield made
