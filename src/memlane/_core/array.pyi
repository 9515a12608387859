# SPDX-License-Identifier: MIT
from typing_extensions import disjoint_base

from memlane._core.layout import _Entry
from memlane._core.membership import Membership

@disjoint_base
class ArrayBase:
    """What a shared array does without going through Python."""

    def _bind(
        self,
        membership: Membership,
        entry: _Entry,
        shape: tuple[int, ...],
        itemsize: int,
        described: bytes | None,
    ) -> None: ...
    def _detach(self) -> None: ...
    def _bytes(self) -> memoryview: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle. Its views stay valid."""
    @property
    def readonly(self) -> bool:
        """Whether it was opened read-only, and so are its views."""

def handle_of_bytes(view: object) -> ArrayBase | None: ...
