# SPDX-License-Identifier: MIT
"""
Region: an attachment that offers every kind of object by name.

A region is a mapping that begins with a header (src/core/layout.h). It gets its name when it is
complete and its creator is present, so no process sees a half-made one.
"""

from __future__ import annotations

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any, Literal, overload

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._arguments import Wait
from memlane._instead import instead
from memlane._region import directory
from memlane._region.attachment import Attachment
from memlane.array import Array
from memlane.counter import Counter, Counters
from memlane.heap import Heap
from memlane.lock import Event, Lock
from memlane.map import Map
from memlane.queue import Codec, Queue
from memlane.ring import Ring
from memlane.samples import Samples as Samples  # a kind without a method of its own
from memlane.shared_object import SharedObject, is_known, kind_of
from memlane.slot import Slot, SlotTable
from memlane.topic import Topic
from memlane.values import CtypesT, DataclassT, Layout

if TYPE_CHECKING:
    import numpy as np

#: What other shared memory, directories and dicts call what a region does.
_INSTEAD = {
    "size length": "use nbytes",
    "buf buffer": "use Mapping for bytes; a region has objects, by region.ring(name) and others",
    "get": "use region[name]; it raises KeyError",
    "keys values items objects list list_objects": "iterate over it: the names of all objects",
    "pop popitem delete drop destroy_object clear": "use remove(name)",
    "destroy rmtree": "use unlink()",
    "detach disconnect shutdown": "use close()",
    "attach connect": "use Region.open(name)",
    "is_closed is_open": "use closed",
    "create_ring open_ring channel": "use ring(name, capacity=nbytes)",
    "create_slot open_slot value Value": "use slot(name, layout)",
    "create_array open_array Array": "use array(name, shape, dtype)",
    "create_table open_table slots slot_table": "use table(name, slots, layout)",
    "create_counter open_counter atomic": "use counter(name)",
    "processes users members": "use participants()",
    "setdefault update": "use ring(name, capacity=nbytes), slot(name, layout) or counter(name)",
    "path": "use name",
    "copy": "use copy.copy() for another handle of the same region",
    "info status usage": "use stats()",
    "sweep": "use memlane.sweep()",
}
_OPERATORS = {
    "loses no items by del": "use region.remove(name)",
    "has no length": "use nbytes, or len(list(region)) for the number of objects",
}


@_core.clear_errors
@instead(_INSTEAD, _OPERATORS)
class Region(Attachment):
    """
    A piece of shared memory with a directory of objects: rings, slots, counters.

    Made by `create`, `open` or `open_or_create`. A context manager; leaving it closes, and never
    unlinks. A process maps a region once, however often it opens it. Can be pickled to child
    processes: a memfd, a named or a file-backed region under every start method. A region created
    with `anonymous=True` is shared by fork only.
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
        Open the ring *name*, or create it if a capacity is given and there is none.

        Args:
            name: 1 to 63 bytes of UTF-8.
            capacity: Bytes of records for each producer, rounded up to pages; reserved when a
                producer comes.
            producers: The maximum number of concurrent producers, 1 to 1,000; 16 by default.
            consumers: "one" process at a time gets, or "many" do, as in `Ring`.
            records: The maximum number of records in a producer's lane; capacity / 64 by default.
            wait, require_peer: As in `Ring`.
            timeout: Longest wait for another process that adds an object, in seconds.

        Raises:
            ObjectNotFoundError: a KeyError: there is none, and no capacity was given.
            LayoutError: the name belongs to another kind, or to a ring of another geometry.
            TimeoutError: another process has not finished adding an object; it is named.
            OSError, ValueError: there is no room for it.
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
        Open the slot *name*, or create it if a layout is given and there is none. See
        `Slot.create`.

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
        Open the table of slots *name*, or create it if a layout is given and there is none. See
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

    def topic(
        self,
        name: str,
        *,
        capacity: int | str | None = None,
        publishers: int | None = None,
        subscribers: int | None = None,
        when_full: Literal["overwrite", "wait"] | None = None,
        order: Literal["publisher", "all"] | None = None,
        records: int | None = None,
        wait: Wait = "adaptive",
        timeout: float | None = 10,
    ) -> Topic:
        """
        Open the topic *name*, or create it if a capacity is given and there is none. See
        `Topic.create`.

        Raises:
            ObjectNotFoundError, LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return Topic._in_region(
            self,
            name,
            capacity=capacity,
            publishers=publishers,
            subscribers=subscribers,
            when_full=when_full,
            order=order,
            records=records,
            wait=wait,
            timeout=timeout,
        )

    def map(
        self,
        name: str,
        *,
        entries: int | None = None,
        key_nbytes: int | None = None,
        value: Layout | None = None,
        copies: int | None = None,
        watchers: int | None = None,
        timeout: float | None = 10,
    ) -> Map[Any]:
        """
        Open the map *name*, or create it if there is none and *value* is given.

        The arguments are those of `Map.create`; one that is not given is not asked for where the
        map is there.

        Raises:
            ObjectNotFoundError: there is none, and no *value*.
            LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return Map._in_region(
            self,
            name,
            entries=entries,
            key_nbytes=key_nbytes,
            value=value,
            copies=copies,
            watchers=watchers,
            timeout=timeout,
        )

    def queue(
        self,
        name: str,
        maxsize: int | None = None,
        *,
        codec: Codec = "pickle",
        producers: int | None = None,
        capacity: int | str | None = None,
        wait: Wait = "adaptive",
        require_peer: bool = False,
        timeout: float | None = 10,
    ) -> Queue:
        """
        Open the queue *name*, or create it if a maxsize is given and there is none. See `Queue`.

        Args:
            capacity: Bytes that the objects in one lane can come to; needed to create it. Memory is
                taken as objects are put, and given back as they are got.

        Raises:
            ObjectNotFoundError, LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return Queue._in_region(
            self,
            name,
            maxsize=maxsize,
            codec=codec,
            producers=producers,
            capacity=capacity,
            wait=wait,
            require_peer=require_peer,
            timeout=timeout,
        )

    def lock(
        self,
        name: str,
        *,
        on_owner_died: Literal["tell", "raise"] = "tell",
        timeout: float | None = 10,
    ) -> Lock:
        """
        Open the lock *name*, or create it if there is none. *on_owner_died* is that of
        `Lock.create`.

        Raises:
            LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return Lock._in_region(self, name, on_owner_died=on_owner_died, timeout=timeout)

    def event(self, name: str, *, timeout: float | None = 10) -> Event:
        """
        Open the event *name*, or create it, not set, if there is none.

        Raises:
            LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return Event._in_region(self, name, timeout=timeout)

    def counter(self, name: str, *, timeout: float | None = 10) -> Counter:
        """
        Open the counter *name*, or create it with value 0 if there is none.

        Raises:
            LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return Counter._in_region(self, name, timeout=timeout)

    def counters(
        self, name: str, counters: int | None = None, *, timeout: float | None = 10
    ) -> Counters:
        """
        Open the array of counters *name*, or create it with zeros if there is none and it is said
        how many.

        Raises:
            ObjectNotFoundError, LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return Counters._in_region(self, name, counters, timeout=timeout)

    def array(
        self,
        name: str,
        shape: int | tuple[int, ...] | None = None,
        dtype: Any = None,
        *,
        timeout: float | None = 10,
    ) -> np.ndarray[Any, Any]:
        """
        Open the array *name*, or create it with zeros if shape and dtype are given and there is
        none.

        Returns:
            All of it as an array of numpy's, in place, which stays valid after `close`. Its
            `handle` is the `Array`, as `region[name]` is. Without numpy a memoryview.

        Raises:
            ObjectNotFoundError, LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        made = Array._in_region(self, name, shape, dtype, timeout=timeout)
        return made._memory()  # type: ignore[no-any-return]

    def heap(
        self,
        name: str,
        nbytes: int | str | None = None,
        *,
        arenas: int | None = None,
        blocks: int | None = None,
        holders: int | None = None,
        in_flight: int | None = None,
        timeout: float | None = 10,
    ) -> Heap:
        """
        Open the heap *name*, or create it if there is none and *nbytes* is given.

        The arguments are those of `Heap.create`; one that is not given is not asked for where the
        heap is there.

        Raises:
            ObjectNotFoundError: there is none, and no *nbytes*.
            LayoutError, TimeoutError, OSError, ValueError: as `ring`.
        """
        return Heap._in_region(
            self,
            name,
            nbytes,
            arenas=arenas,
            blocks=blocks,
            holders=holders,
            in_flight=in_flight,
            timeout=timeout,
        )

    # ---- objects of any kind ---------------------------------------------------------------------

    @_core.clear_errors
    def __getitem__(self, name: str) -> SharedObject:
        """
        Open the object of this name, whatever its kind.

        Raises:
            ObjectNotFoundError: a KeyError: there is no object of that name.
        """
        entry = self._find(name)
        if entry is None:
            raise directory.not_there(self._member, name)
        return self._open_entry(entry)

    def __setitem__(self, name: str, made: SharedObject) -> None:
        """The last step of `region["hits"] += 1`; no other object can be assigned."""
        if getattr(made, "_region", None) is not self or made._object_name != name:
            title = _arguments.shown(name)
            raise TypeError(
                f"object {title} is not set by assigning; make it with region.ring({title}, "
                "...), slot, table or counter"
            )

    def _open_entry(self, entry: directory.Entry) -> SharedObject:
        return kind_of(self._member, entry)._from_entry(self, entry)

    def stats(self) -> dict[str, Any]:
        """
        The state of the region as plain dicts and lists: sizes, participants, and the `stats` of
        each object. One of a kind that no class here has is told by the number of its kind alone.

        Raises:
            ClosedError: this process closed the region.
            CorruptedError: an object in it cannot be read.
        """
        entries = self._entries()
        objects: dict[str, Any] = {}
        for entry in entries:
            if not is_known(entry):
                objects[entry.name] = {"kind": f"kind {entry.kind}", "nbytes": entry.nbytes}
                continue
            with closing(self._open_entry(entry)) as found:  # a lock's own `with` would take it
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


#: The class of the region of an object that has a region of its own.
SharedObject._region_class = Region
