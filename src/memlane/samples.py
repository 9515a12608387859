# SPDX-License-Identifier: MIT
"""
Samples: the metrics of many workers, for what adds them up. The verbs are in the extension.

`memlane.prometheus` is what programs use; this is the object in the region.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._core import SamplesBase
from memlane._region.attachment import Attachment
from memlane._region.directory import Entry, Wanted
from memlane.shared_object import SharedObject

_NBYTES, _BLOCK_NBYTES = "64 MiB", "128 KiB"


@_core.clear_errors
class Samples(SamplesBase, SharedObject, kind=_core.KIND_SAMPLES):
    """
    Blocks of samples, each of one worker at a time, which alone changes them. A block whose worker
    has died is taken over by the next one with all that was counted, so nothing is moved and
    nothing is lost.

    Memory is reserved block by block, as workers come.
    """

    _needs = "its size"

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        timeout: float | None = 0,
        readonly: bool = False,
        owner: int | None = None,
    ) -> Self:
        """
        Open samples that have a region of their own.

        Raises:
            RegionNotFoundError, LayoutError, TruncatedError, CorruptedError, PermissionError: as
                `Region.open`.
        """
        return cls._open(name, {}, timeout=timeout, readonly=readonly, owner=owner)

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        *,
        nbytes: int | str = _NBYTES,
        block_nbytes: int | str = _BLOCK_NBYTES,
        permissions: int = 0o600,
        owner: int | None = None,
    ) -> Self:
        """
        Open the samples of this name, whatever their size, or create them.

        Args:
            nbytes: The most memory that all workers together take; reserved as they come.
            block_nbytes: The memory of one block. A worker takes as many as it needs.

        Raises:
            OSError: there is no room.
            As `open` otherwise.
        """
        wanted = _wanted(nbytes, block_nbytes)
        return cls._open_or_create(name, wanted, {}, permissions=permissions, owner=owner)

    @classmethod
    def _in_region(cls, region: Attachment, name: str, *, timeout: float | None) -> Self:
        return cls._open_or_create_in(region, name, None, {}, timeout=timeout)

    @classmethod
    def _facts(cls, entry: Entry) -> Mapping[str, object]:
        return {"blocks": entry.geometry[0], "block_nbytes": entry.geometry[1]}

    def _attach(self, member: _core.Membership, entry: Entry, **_options: Any) -> None:
        self._bind(member, entry)

    def stats(self) -> dict[str, Any]:
        """
        How many blocks there are, how many of them were ever used, and those of living workers; and
        the bytes of all samples.

        Raises:
            ClosedError: this process closed the handle.
        """
        return dict(zip(("blocks", "used", "living", "nbytes"), self._stats(), strict=True))


def _wanted(nbytes: int | str, block_nbytes: int | str) -> Wanted:
    block = _arguments.size(block_nbytes, "block_nbytes")
    if not _core.SAMPLES_BLOCK_MIN <= block <= _core.SAMPLES_BLOCK_MAX or block % 4096:
        raise ValueError(
            f"block_nbytes must be a multiple of 4096 from {_core.SAMPLES_BLOCK_MIN} to "
            f"{_core.SAMPLES_BLOCK_MAX}, got {_arguments.shown(block_nbytes)}"
        )
    whole = _arguments.size(nbytes, "nbytes")
    blocks = min(whole // block, _core.SAMPLES_BLOCKS_MAX)
    if blocks == 0:
        raise ValueError(
            f"nbytes must be at least one block of {_arguments.size_text(block)}, got "
            f"{_arguments.shown(nbytes)}"
        )
    object_nbytes, reserved_nbytes = _core.samples_shape(blocks, block)
    return Wanted(
        _core.KIND_SAMPLES,
        (blocks, block),
        object_nbytes,
        reserved_nbytes,
        parts=f": {blocks} blocks of {_arguments.size_text(block)}",
        or_less="fewer nbytes= or ",
    )
