# SPDX-License-Identifier: MIT
from collections.abc import Callable
from typing import Any, Final, final

from typing_extensions import disjoint_base

from memlane._core.layout import _Entry
from memlane._core.membership import Membership

SAMPLE_KINDS: Final[dict[str, int]]
SAMPLES_BLOCK_MIN: Final[int]
SAMPLES_BLOCK_MAX: Final[int]
SAMPLES_BLOCKS_MAX: Final[int]
SAMPLES_NAME_MAX: Final[int]

def samples_shape(blocks: int, block_nbytes: int) -> tuple[int, int]: ...
def sample_nbytes(key_nbytes: int) -> int: ...

@disjoint_base
class SamplesBase:
    """..."""

    def _bind(self, membership: Membership, entry: _Entry) -> None: ...
    def _detach(self) -> None: ...
    @property
    def closed(self) -> bool: ...
    def _lease(self, name: bytes, key: bytes) -> SampleBlock | None: ...
    def _stats(self) -> tuple[int, int, int, int]: ...

@final
class SampleBlock:
    """..."""

    def find(self, key: bytes, kind: int) -> Sample | None: ...
    def append(self, key: bytes, kind: int) -> Sample | None: ...
    def is_mine(self) -> bool: ...
    def give_back(self) -> None: ...

@final
class Sample:
    """..."""

@disjoint_base
class SampleValue:
    """..."""

    def _begin(
        self, workers: Any, key: bytes, kind: int, identify: Callable[[], object] | None
    ) -> None: ...
    def inc(self, amount: float) -> None: ...
    def set(self, value: float, timestamp: float | None = None) -> None: ...
    def get(self) -> float: ...

@final
class SeenBlock:
    """..."""

@final
class SampleTotals:
    """..."""

    @property
    def series(self) -> list[tuple[bytes, int]]: ...
    @property
    def told(self) -> list[tuple[int, bytes, float]]: ...
    def begin(self) -> None: ...
    def values(self) -> list[float | None]: ...
    def add(self, store: SamplesBase) -> None: ...
