# SPDX-License-Identifier: MIT
from typing_extensions import disjoint_base

@disjoint_base
class Endpoint:
    @property
    def closed(self) -> bool: ...
    def __bool__(self) -> bool: ...
