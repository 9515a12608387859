# SPDX-License-Identifier: MIT
"""
Queue: Python objects between processes, with the face of multiprocessing.Queue. The verbs are in
the extension.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeAlias

import memlane._arguments as _arguments
import memlane._core as _core
from memlane._arguments import Wait
from memlane._arguments import check_wait as _check_wait
from memlane._core import QueueBase
from memlane._instead import instead
from memlane._region.attachment import Attachment
from memlane._region.directory import Entry, Wanted
from memlane.errors import LayoutError, MemlaneError
from memlane.shared_object import SharedObject

#: Processes with a lane of their own, and one more lane that all others share.
_PRODUCERS = 64
_PAGE_NBYTES = 4096  # of the layout, whatever the machine's pages
#: Of a lane that is not said how large it is to be: addresses, not memory. At least so much where
#: the system does not give as many addresses.
_CAPACITY_LEAST = 1 << 26
#: Beside a maxsize a lane has room for more records, some of which may be on loan.
_RECORDS_LEAST = 4096

#: "pickle", "bytes", "json", or functions that encode and decode.
Codec: TypeAlias = (
    str | tuple[Callable[[Any], bytes | bytearray | memoryview], Callable[[bytes], Any]]
)

_INSTEAD = {
    "append push enqueue send write add insert": "use put(obj)",
    "extend": "use put_many(objects)",
    "pop popleft dequeue recv receive read take": "use get()",
    "get_all drain": "use get_many(most)",
    "get_many_nowait": "use get_many(most, timeout=0)",
    "put_many_nowait": "use put_many(objects, timeout=0)",
    "peek front head": "an object that is looked at is taken: use get(), or borrow()",
    "clear": "use get_many(most, timeout=0) until it raises Empty",
    "size length count": "use qsize(), or len(queue)",
    "maxlen max_size": "use maxsize",
    "is_empty isEmpty": "use empty()",
    "is_full isFull": "use full()",
    "is_shutdown": "use is_shut_down",
    "poll": "use empty(), or get(timeout=1)",
    "queue not_empty not_full all_tasks_done mutex unfinished_tasks": (
        "its objects lie in shared memory, and nothing of it is locked: use stats() for figures"
    ),
}


def _name_of(codec: Codec) -> str:
    """The name of a codec in the directory; refuses what is none."""
    _core.Codec(codec)
    return codec if isinstance(codec, str) else "functions"


@_core.clear_errors
@instead(_INSTEAD)
class Queue(QueueBase, SharedObject, kind=_core.KIND_QUEUE):
    """
    A queue of Python objects between processes: what multiprocessing.Queue and JoinableQueue do,
    without their thread, lock and pipe.

    `Queue()` makes an unnamed queue, to be passed to child processes under any start method, also
    to running ones; with a name, or by `create`, `open` and `open_or_create`, unrelated processes
    share it; `region.queue(...)` puts it beside other objects. What `put` has returned for is
    there, whatever becomes of the process. What was put before another put began is got before it,
    over all processes. A process that dies holds up nobody.

    Args:
        maxsize: The number of objects that the whole queue can hold. 0 and less: as many as memory
            can. Memory is taken as objects are put, and given back as they are got.
        name: A str names POSIX shared memory, an os.PathLike a file: the queue of that name is
            opened, or created if there is none. None: it has no name.
        codec: "pickle"; "bytes", for bytes alone; "json"; "msgspec", if that is installed; or a
            pair of functions, from an object to bytes and back, which travel with the handle.
        ctx: Ignored, as code written for multiprocessing may pass it.
        label: Its name in messages, repr and /proc, 1 to 100 bytes of printable text.
        producers: Processes that put without sharing a lane, 1 to 1,000; any number may put.
        capacity: Bytes that the objects in one lane can come to, in bytes or as text like
            "64 GiB"; by default as much as the machine has.
        wait, require_peer: As in `Ring`.
        permissions: File permission bits of one that is created with a name.

    Raises:
        OSError: there is no room (ENOSPC).
        LayoutError: the queue of that name has another maxsize or codec.
        TypeError, ValueError: an argument is out of range.
    """

    _counts_tasks: ClassVar[bool] = True
    _needs = "maxsize="
    _wait: str
    _require_peer: bool
    _codec: Codec

    def __init__(
        self,
        maxsize: int = 0,
        *,
        name: str | os.PathLike[str] | None = None,
        codec: Codec = "pickle",
        ctx: object = None,
        label: str | None = None,
        producers: int = _PRODUCERS,
        capacity: int | str | None = None,
        wait: Wait = "adaptive",
        require_peer: bool = False,
        permissions: int = 0o600,
        anonymous: bool = False,
    ) -> None:
        asked = QueueGeometry.checked(maxsize, producers, capacity, codec, self._counts_tasks)
        options: dict[str, Any] = {"wait": wait, "require_peer": require_peer, "codec": codec}
        _check_wait(wait)
        if name is not None:
            if label is not None or anonymous:
                raise ValueError("a queue with a name has neither a label nor anonymous memory")
            other = type(self).open_or_create(
                name,
                maxsize,
                codec=codec,
                producers=producers,
                capacity=capacity,
                permissions=permissions,
                wait=wait,
                require_peer=require_peer,
            )
            region = other._region
            entry = region._find(other._object_name)
            assert entry is not None
            self._belong(region, entry, **options)
            self._have_region()
            other._owns = False  # the region is ours now
            other._detach()
            return
        for geometry in asked.fewer():
            try:
                self._create_here(
                    None, geometry.wanted(), anonymous=anonymous, label=label, **options
                )
            except OSError as error:
                if error.errno not in (errno.ENOMEM, errno.EFBIG) or geometry.is_least:
                    raise
            else:
                break
        # As a multiprocessing.Queue, it may be left to the collector.
        self._region._warns = False

    @classmethod
    def create(
        cls,
        name: str | os.PathLike[str] | None,
        maxsize: int = 0,
        *,
        codec: Codec = "pickle",
        producers: int = _PRODUCERS,
        capacity: int | str | None = None,
        permissions: int = 0o600,
        wait: Wait = "adaptive",
        require_peer: bool = False,
    ) -> Self:
        """
        Create a queue in a new region of its own. A str names POSIX shared memory, an os.PathLike a
        file. The name stays until `unlink`, or until a `sweep` when no process has it open; neither
        close nor the end of a `with` removes it.

        Raises:
            RegionExistsError: the name is taken.
            Otherwise as the class.
        """
        asked = QueueGeometry.checked(maxsize, producers, capacity, codec, cls._counts_tasks)
        _check_wait(wait)
        for geometry in asked.fewer():
            try:
                return cls._create(
                    name,
                    geometry.wanted(),
                    permissions=permissions,
                    wait=wait,
                    require_peer=require_peer,
                    codec=codec,
                )
            except OSError as error:
                if error.errno not in (errno.ENOMEM, errno.EFBIG) or geometry.is_least:
                    raise
        raise AssertionError("the least geometry raises")

    @classmethod
    def open(
        cls,
        name: str | os.PathLike[str],
        *,
        timeout: float | None = 0,
        owner: int | None = None,
        codec: Codec = "pickle",
        wait: Wait = "adaptive",
        require_peer: bool = False,
    ) -> Self:
        """
        Open a queue that has a region of its own, waiting up to *timeout* seconds for it to appear.

        Raises:
            LayoutError: what is there is no queue, or one with another codec.
            RegionNotFoundError, TruncatedError, CorruptedError, PermissionError: as `Region.open`.
        """
        _check_wait(wait)
        return cls._open(
            name,
            {},
            timeout=timeout,
            readonly=False,
            owner=owner,
            wait=wait,
            require_peer=require_peer,
            codec=codec,
        )

    @classmethod
    def open_or_create(
        cls,
        name: str | os.PathLike[str],
        maxsize: int = 0,
        *,
        codec: Codec = "pickle",
        producers: int = _PRODUCERS,
        capacity: int | str | None = None,
        permissions: int = 0o600,
        owner: int | None = None,
        wait: Wait = "adaptive",
        require_peer: bool = False,
    ) -> Self:
        """
        Open the queue of this name and check its maxsize and codec, or create it if there is none.

        Raises:
            LayoutError: the existing queue has another maxsize or codec.
            Otherwise as `create` and `open`.
        """
        asked = QueueGeometry.checked(maxsize, producers, capacity, codec, cls._counts_tasks)
        _check_wait(wait)
        for geometry in asked.fewer():
            try:
                return cls._open_or_create(
                    name,
                    geometry.wanted(),
                    {"maxsize": asked.maxsize},
                    permissions=permissions,
                    owner=owner,
                    wait=wait,
                    require_peer=require_peer,
                    codec=codec,
                )
            except OSError as error:
                if error.errno not in (errno.ENOMEM, errno.EFBIG) or geometry.is_least:
                    raise
        raise AssertionError("the least geometry raises")

    @classmethod
    def _in_region(
        cls,
        region: Attachment,
        name: str,
        *,
        maxsize: int | None,
        codec: Codec,
        producers: int | None,
        capacity: int | str | None,
        wait: Wait,
        require_peer: bool,
        timeout: float | None,
    ) -> Self:
        """Open a queue among the objects of a region; with a maxsize create it if there is none."""
        _check_wait(wait)
        timeout = _arguments.optional_timeout(timeout)  # checked even if nothing is waited for
        wanted = None
        if maxsize is not None:
            if capacity is None:
                raise TypeError(
                    "a queue among other objects needs a capacity=, the bytes that the objects in "
                    "one of its lanes can come to; a queue with a region of its own needs none"
                )
            wanted = QueueGeometry.checked(
                maxsize,
                _PRODUCERS if producers is None else producers,
                capacity,
                codec,
                cls._counts_tasks,
            ).wanted()
        asked = {} if maxsize is None else {"maxsize": max(0, maxsize)}
        return cls._open_or_create_in(
            region,
            name,
            wanted,
            asked,
            timeout=timeout,
            wait=wait,
            require_peer=require_peer,
            codec=codec,
        )

    @classmethod
    def _facts(cls, entry: Entry) -> dict[str, object]:
        lanes, capacity, _, maxsize = entry.geometry[:4]
        return {
            "maxsize": maxsize,
            "producers": lanes,
            "capacity": capacity,
            "codec": entry.schema,
        }

    def _attach(
        self,
        member: _core.Membership,
        entry: Entry,
        *,
        wait: str = "adaptive",
        require_peer: bool = False,
        codec: Codec | None = None,
        **_options: Any,
    ) -> None:
        if codec is None:  # as region[name] opens it
            codec = entry.schema
        self._wait, self._require_peer, self._codec = wait, bool(require_peer), codec
        try:
            self._bind(member, entry, wait=wait, require_peer=self._require_peer, codec=codec)
        except ValueError as wrong:
            if codec is not entry.schema or isinstance(wrong, MemlaneError):
                raise
            raise LayoutError(
                f"{member.called(self._word, entry.name)} has the codec {entry.schema[:80]!r}, "
                "which this program does not know; give it, or update memlane",
                name=entry.name,
                expected="a codec",
                found=entry.schema,
            ) from None

    def _detach(self) -> None:
        QueueBase._detach(self)

    def _options(self) -> dict[str, Any]:
        return {"wait": self._wait, "require_peer": self._require_peer, "codec": self._codec}


class SimpleQueue(Queue, word="queue"):
    """
    A Queue that counts no tasks, as multiprocessing.SimpleQueue: `SimpleQueue()` takes no maxsize.
    """

    _counts_tasks = False

    def __init__(self, *, ctx: object = None) -> None:
        super().__init__(ctx=ctx)


@dataclass(frozen=True, slots=True)
class QueueGeometry:
    """
    The requested geometry of a queue.

    Attributes:
        lanes: The number of lanes; all but the last one are leased for good.
        capacity: Bytes of records of each lane, whole pages of 4,096.
        records: The maximum number of records of each lane.
        maxsize: The maximum number of objects in the queue; 0: no bound.
        tasks: A number of `_core.TASKS`.
        codec: Its name.
        is_least: There is no smaller one to be tried.
    """

    lanes: int
    capacity: int
    records: int
    maxsize: int
    tasks: int
    codec: str
    is_least: bool

    @classmethod
    def checked(
        cls,
        maxsize: int,
        producers: int,
        capacity: int | str | None,
        codec: Codec,
        counts_tasks: bool,
    ) -> Self:
        """
        Raises:
            TypeError, ValueError: no queue can have this geometry.
        """
        most = _core.QUEUE_RECORDS_MAX
        if not isinstance(maxsize, int):
            raise TypeError(f"maxsize must be an int, got {_arguments.shown(maxsize)}")
        if maxsize > most:
            raise ValueError(f"maxsize must be at most {most}, got {maxsize}; 0 is no bound")
        maxsize = max(0, maxsize)
        lanes = _arguments.positive(producers, "producers", _core.LANES_MAX)
        nbytes = _core.CAPACITY_MAX if capacity is None else _arguments.size(capacity, "capacity")
        if not 1 <= nbytes <= _core.CAPACITY_MAX:
            raise ValueError(
                "capacity must be from 1 byte to 32 GiB for each lane, got "
                f"{_arguments.shown(capacity)}"
            )
        nbytes = -(-nbytes // _PAGE_NBYTES) * _PAGE_NBYTES
        records = min(most, max(_RECORDS_LEAST, 2 * maxsize)) if maxsize else most
        if capacity is not None:
            records = max(maxsize, min(records, nbytes // 16))
        named = _name_of(codec)
        tasks = _core.TASKS[counts_tasks]
        return cls(lanes, nbytes, records, maxsize, tasks, named, capacity is not None)

    def fewer(self) -> list[QueueGeometry]:
        """This one and those with fewer addresses, to be tried one after the other."""
        made = [self]
        while not made[-1].is_least:
            nbytes = made[-1].capacity // 8
            made.append(
                QueueGeometry(
                    self.lanes,
                    nbytes,
                    max(self.maxsize, min(self.records, nbytes // 64)),
                    self.maxsize,
                    self.tasks,
                    self.codec,
                    nbytes <= _CAPACITY_LEAST,
                )
            )
        return made

    def wanted(self) -> Wanted:
        numbers = (self.lanes, self.capacity, self.records, self.maxsize, self.tasks)
        nbytes, control_nbytes, doorbells = _core.queue_shape(*numbers)
        return Wanted(
            _core.KIND_QUEUE,
            numbers,
            nbytes,
            control_nbytes,
            schema=self.codec,
            parts=f": {self.lanes} lanes of {_arguments.size_text(self.capacity)}",
            or_less="fewer producers=, a smaller capacity= or ",
            doorbells=doorbells,
        )
