# SPDX-License-Identifier: MIT
from typing import Protocol

# Arrays and scalars of numpy are buffers, which its stub tells from Python 3.12 on only.
class _NumpyArray(Protocol):
    @property
    def __array_struct__(self) -> object: ...

def ctypes_holds(kind: type, forbidden: type | tuple[type, ...]) -> bool: ...
