# SPDX-License-Identifier: MIT
from typing_extensions import disjoint_base

@disjoint_base
class Endpoint:
    """What all handles have: the object they lead to, whether they are closed, how they wait."""

    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
    def __bool__(self) -> bool: ...
