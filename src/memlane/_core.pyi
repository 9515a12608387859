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
_Protection: TypeAlias = Literal["none", "r", "w", "x", "rw", "rx", "wx", "rwx"]
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
    "wipeonfork",
    "keeponfork",
    "cold",
    "pageout",
    "populate_read",
    "populate_write",
    "dontneed_locked",
    "collapse",
]

class _HasFileno(Protocol):
    def fileno(self) -> int: ...

PAGE_SIZE: Final[int]

@final
class Mapping:
    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @staticmethod
    def anonymous(
        nbytes: _Size,
        *,
        private: bool = False,
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | _Size = False,
        guard_pages: int = 0,
        name: str | None = None,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping: ...
    @staticmethod
    def memfd(
        nbytes: _Size,
        *,
        name: str = "memlane",
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | _Size = False,
        guard_pages: int = 0,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping: ...
    @staticmethod
    def open(
        path: _Path,
        access: _Access = "r",
        *,
        offset: _Size = 0,
        nbytes: _Size | None = None,
        sync: bool = False,
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | _Size = False,
        guard_pages: int = 0,
        name: str | None = None,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping: ...
    @staticmethod
    def create(
        path: _Path,
        nbytes: _Size,
        *,
        permissions: int = 0o600,
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | _Size = False,
        guard_pages: int = 0,
        name: str | None = None,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping: ...
    @staticmethod
    def shm(
        name: str,
        access: _Access | None = None,
        *,
        create: _Size | None = None,
        permissions: int = 0o600,
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | _Size = False,
        guard_pages: int = 0,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping: ...
    @staticmethod
    def from_fd(
        fd: int | _HasFileno,
        access: _Access = "r",
        *,
        offset: _Size = 0,
        nbytes: _Size | None = None,
        no_reserve: bool = False,
        populate: bool = False,
        locked: bool = False,
        huge_pages: bool | _Size = False,
        guard_pages: int = 0,
        name: str | None = None,
        protection: _Protection | None = None,
        address: int | None = None,
        fixed: bool = False,
    ) -> Mapping: ...
    @property
    def name(self) -> str | None: ...
    @property
    def huge_pages(self) -> bool: ...
    @property
    def huge_pages_kind(self) -> Literal["reserved", "transparent"] | None: ...
    @property
    def page_nbytes(self) -> int: ...
    @property
    def guard_pages(self) -> int: ...
    @property
    def guard_ranges(self) -> tuple[tuple[int, int], ...]: ...
    @property
    def address(self) -> int: ...
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
    def rfind(self, data: Buffer, start: int | None = 0, end: int | None = None) -> int: ...
    def count(self, data: Buffer, start: int | None = 0, end: int | None = None) -> int: ...
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
    def lock(
        self, offset: _Size = 0, nbytes: _Size | None = None, *, on_fault: bool = False
    ) -> None: ...
    def unlock(self, offset: _Size = 0, nbytes: _Size | None = None) -> None: ...
    def residency(self, offset: _Size = 0, nbytes: _Size | None = None) -> float: ...
    def write_back(
        self,
        path: _Path | None = None,
        offset: _Size = 0,
        nbytes: _Size | None = None,
        *,
        wait: bool = True,
    ) -> int: ...
    def resize(self, nbytes: _Size) -> None: ...
