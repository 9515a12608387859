# SPDX-License-Identifier: MIT
"""
Region: one shared object that carries many; its creation, its names, its end.

A region is a mapping with a header of ours in front (src/core/layout.h). Nobody ever sees a
half-made one: it gets its name when it is complete and its creator is present. A name changes only
under presence, the read lock that the kernel keeps for as long as a process has the region mapped.
"""

from __future__ import annotations

import os
from typing import Any, Literal, overload

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._region import directory
from memlane._region.attachment import Attachment
from memlane.counter import Counter
from memlane.ring import Ring, Wait
from memlane.shared_object import SharedObject, kind_of
from memlane.slot import Slot, SlotTable
from memlane.values import CtypesT, DataclassT, Layout


@_core.clear_errors
class Region(Attachment):
    """
    A piece of shared memory with a directory of objects: rings, slots, counters.

    Made by `create`, `open` or `open_or_create`. A context manager; leaving it closes, and never
    unlinks. However often a process opens a region, it has it once. Pickles to child processes: a
    memfd, a named or a file-backed region under every start method, one made with `anonymous=True`
    by fork only.
    """

    def ring(
        self,
        name: str,
        *,
        capacity: int | str | None = None,
        producers: int | None = None,
        consumers: Literal["one", "many"] | None = None,
        records: int | None = None,
        wait: Wait = "adaptive",
        require_peer: bool = False,
        timeout: float | None = 10,
    ) -> Ring:
        """
        Open the ring *name*, or make it if a capacity is given and there is none.

        Args:
            name: 1 to 63 bytes of UTF-8.
            capacity: Bytes of records for each producer, rounded up to pages; reserved when a
                producer comes.
            producers: How many there can be at a time, 1 to 1,000; 16 unless asked.
            consumers: "one" process at a time gets, or "many" do, as in `Ring`.
            records: How many records a producer's lane holds at most; capacity / 64 unless asked.
            wait, require_peer: As in `Ring`.
            timeout: Longest wait for another process that is making an object, in seconds.

        Raises:
            ObjectNotFoundError: a KeyError: there is none, and no capacity was given.
            LayoutError: there is something else of that name, or a ring of another geometry.
            TimeoutError: another process has not finished making an object; it is named.
            OSError, ValueError: no room for it.
        """
        return Ring._in_region(
            self,
            name,
            capacity=capacity,
            producers=producers,
            consumers=consumers,
            records=records,
            wait=wait,
            require_peer=require_peer,
            timeout=timeout,
        )

    @overload
    def slot(
        self,
        name: str,
        layout: str,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[tuple[Any, ...]]: ...
    @overload
    def slot(
        self,
        name: str,
        layout: int,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[bytes]: ...
    @overload
    def slot(
        self,
        name: str,
        layout: type[CtypesT],
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[CtypesT]: ...
    @overload
    def slot(
        self,
        name: str,
        layout: type[DataclassT],
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[DataclassT]: ...
    @overload
    def slot(
        self,
        name: str,
        layout: Layout | None = None,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[Any]: ...
    def slot(
        self,
        name: str,
        layout: Layout | None = None,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Slot[Any]:
        """
        Open the slot *name*, or make it if a layout is given and there is none. See `Slot.create`.

        Raises:
            ObjectNotFoundError, LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return Slot._in_region(
            self,
            name,
            layout,
            1,
            writers=writers,
            copies=copies,
            watchers=watchers,
            timeout=timeout,
        )

    @overload
    def table(
        self,
        name: str,
        slots: int | None,
        layout: str,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[tuple[Any, ...]]: ...
    @overload
    def table(
        self,
        name: str,
        slots: int | None,
        layout: int,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[bytes]: ...
    @overload
    def table(
        self,
        name: str,
        slots: int | None,
        layout: type[CtypesT],
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[CtypesT]: ...
    @overload
    def table(
        self,
        name: str,
        slots: int | None,
        layout: type[DataclassT],
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[DataclassT]: ...
    @overload
    def table(
        self,
        name: str,
        slots: int | None = None,
        layout: Layout | None = None,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[Any]: ...
    def table(
        self,
        name: str,
        slots: int | None = None,
        layout: Layout | None = None,
        *,
        writers: Literal["one", "many"] | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> SlotTable[Any]:
        """
        Open the table of slots *name*, or make it if a layout is given and there is none. See
        `SlotTable.create`.

        Raises:
            ObjectNotFoundError, LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return SlotTable._in_region(
            self,
            name,
            layout,
            slots,
            writers=writers,
            copies=copies,
            watchers=watchers,
            timeout=timeout,
        )

    def counter(self, name: str, *, timeout: float | None = 10) -> Counter:
        """
        Open the counter *name*, or make it, with value 0, if there is none.

        Raises:
            LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return Counter._in_region(self, name, timeout=timeout)

    # ---- objects of any kind ---------------------------------------------------------------------

    @_core.clear_errors
    def __getitem__(self, name: str) -> SharedObject:
        """
        Open whatever object bears this name.

        Raises:
            ObjectNotFoundError: a KeyError: there is none of that name.
        """
        entry = self._find(name)
        if entry is None:
            raise directory.not_there(self._member, name)
        return self._open_entry(entry)

    def __setitem__(self, name: str, made: SharedObject) -> None:
        """What `region["hits"] += 1` does at its end; nothing else can be put in like that."""
        if getattr(made, "_region", None) is not self or made._object_name != name:
            called = _arguments.shown(name)
            raise TypeError(
                f"object {called} is not set by assigning; make it with region.ring({called}, "
                "...), slot, table or counter"
            )

    def _open_entry(self, entry: directory.Entry) -> SharedObject:
        return kind_of(self._member, entry)._from_entry(self, entry)

    def stats(self) -> dict[str, Any]:
        """
        Tell what is going on, as plain dicts and lists: sizes, participants, and what each object
        says of itself.

        Raises:
            ClosedError: this process closed the region.
            CorruptedError, LayoutError: an object in it cannot be made out.
        """
        entries = self._entries()
        objects: dict[str, Any] = {}
        for entry in entries:
            with self._open_entry(entry) as found:
                objects[entry.name] = {
                    "kind": type(found).__name__.lower(),
                    "nbytes": entry.nbytes,
                    **found.stats(),
                }
        return {
            "name": None if self.name is None else os.fspath(self.name),
            "backing": self.backing,
            "nbytes": self.nbytes,
            "used": directory.used_nbytes(self._member, entries),
            "participants": sum(participant.alive for participant in self.participants()),
            "objects": objects,
        }


#: An object that is made or opened by itself has a region of this class.
SharedObject._region_class = Region
