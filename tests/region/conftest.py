# SPDX-License-Identifier: MIT
"""The region that most tests of regions use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from memlane import Region
from tests.support.regions import made


@pytest.fixture(params=["named", "path", "memfd", "anonymous"])
def region(request: pytest.FixtureRequest, name: str, tmp_path: Path) -> Iterator[Region]:
    """An empty region of 1 MiB of each kind."""
    with made(request.param, name, tmp_path) as region:
        yield region
        region.unlink()
