# SPDX-License-Identifier: MIT
import os
from types import TracebackType
from typing import (
    Final,
    Literal,
    Protocol,
    Self,
    SupportsIndex,
    TypeAlias,
    final,
    overload,
)

from typing_extensions import Buffer

# ---- mappings -----------------------------------------------------------------------------------

_Access: TypeAlias = Literal["r", "r+", "c"]
_Size: TypeAlias = int | str
_Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
_Protection: TypeAlias = Literal["none", "r", "rw", "rx", "rwx"]
_Advice: TypeAlias = Literal[
    "normal",
    "random",
    "sequential",
    "willneed",
    "dontneed",
    "free",
    "remove",
    "hugepage",
    "nohugepage",
    "dontfork",
    "dofork",
    "dontdump",
    "dodump",
    "mergeable",
    "unmergeable",
    "cold",
    "pageout",
    "populate_read",
    "populate_write",
    "collapse",
]

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

PAGE_SIZE: Final[int]

@final
class Mapping:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @staticmethod
    def anonymous(nbytes: _Size, *, private: bool = False, no_reserve: bool = False) -> Mapping: ...
    @staticmethod
    def memfd(nbytes: _Size, *, name: str = "memlane") -> Mapping: ...
    @staticmethod
    def open(
        path: _Path,
        access: _Access = "r",
        *,
        offset: _Size = 0,
        nbytes: _Size | None = None,
        sync: bool = False,
    ) -> Mapping: ...
    @staticmethod
    def create(path: _Path, nbytes: _Size, *, permissions: int = 0o600) -> Mapping: ...
    @staticmethod
    def shm(
        name: str,
        access: _Access | None = None,
        *,
        create: _Size | None = None,
        permissions: int = 0o600,
    ) -> Mapping: ...
    @staticmethod
    def from_fd(
        fd: int | _HasFileno,
        access: _Access = "r",
        *,
        offset: _Size = 0,
        nbytes: _Size | None = None,
        no_reserve: bool = False,
    ) -> Mapping: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def path(self) -> str | None: ...
    @property
    def access(self) -> _Access: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
    def __buffer__(self, flags: int, /) -> memoryview: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    @overload
    def __getitem__(self, item: SupportsIndex, /) -> int: ...
    @overload
    def __getitem__(self, item: slice, /) -> bytes: ...
    @overload
    def __setitem__(self, item: SupportsIndex, value: SupportsIndex, /) -> None: ...
    @overload
    def __setitem__(self, item: slice, value: Buffer, /) -> None: ...
    def __contains__(self, data: Buffer | int, /) -> bool: ...
    def find(self, data: Buffer, start: int | None = 0, end: int | None = None) -> int: ...
    def flush(
        self,
        offset: _Size = 0,
        nbytes: _Size | None = None,
        wait: bool = True,
        invalidate: bool = False,
    ) -> None: ...
    def advise(self, advice: _Advice, offset: _Size = 0, nbytes: _Size | None = None) -> None: ...
    def protect(
        self, protection: _Protection, offset: _Size = 0, nbytes: _Size | None = None
    ) -> None: ...
    def resize(self, nbytes: _Size) -> None: ...
