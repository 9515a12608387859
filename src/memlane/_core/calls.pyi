# SPDX-License-Identifier: MIT
from collections.abc import Callable
from typing import Any, TypeVar

_FaceT = TypeVar("_FaceT", bound=Callable[..., Any])

def clear_errors(face: _FaceT) -> _FaceT: ...
