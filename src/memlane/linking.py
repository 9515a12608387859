# SPDX-License-Identifier: MIT
"""Where the header and the library for programs in C are, which come with this package."""

from __future__ import annotations

from pathlib import Path

_FACE = Path(__file__).parent / "_c"


def get_include() -> str:
    """
    The directory of `memlane.h`, for `cc -I`. docs/c.md tells of its functions.

    Never fails.
    """
    return str(_FACE / "include")


def get_library() -> str:
    """
    The path of `libmemlane.so`, to link a program in C with, or for `ctypes.CDLL`.

    Beside it is `pkgconfig/memlane.pc`: with its directory in `PKG_CONFIG_PATH`, `pkg-config
    --cflags --libs memlane` says all that a compiler needs. Never fails.
    """
    return str(_FACE / "lib" / "libmemlane.so")
