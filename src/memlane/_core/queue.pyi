# SPDX-License-Identifier: MIT
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeAlias, final

from typing_extensions import disjoint_base

from memlane._core.handles import LaneHandle, _Until
from memlane._core.membership import Membership
from memlane._core.selecting import Watch

_Codec: TypeAlias = str | tuple[Callable[[Any], Any], Callable[[Any], Any]]

@disjoint_base
class QueueBase(LaneHandle):
    """What a queue does without going through Python."""

    def _bind(
        self, membership: Membership, entry: Any, *, wait: str, require_peer: bool, codec: _Codec
    ) -> None: ...
    def _detach(self) -> None: ...
    def _watch_done(self) -> Watch: ...
    def _encoded(self, objects: Iterable[Any]) -> list[Any]: ...
    def _put_encoded(self, records: list[Any], require_peer: bool) -> int: ...
    def put(
        self,
        obj: Any,
        block: bool = True,
        timeout: float | None = None,
        *,
        require_peer: bool = False,
    ) -> None:
        """
        Put an object into the queue: it is there when this returns.

        It is encoded before anything of the queue is touched, so an object that cannot be pickled is an error here, and leaves
        nothing. Other threads run while it waits; Ctrl-C interrupts it.

        Args:
            obj: Any object that can be pickled; later changes of it are not seen by others.
            block: Whether to wait while a queue with a maxsize is full, or memory is out.
            timeout: Longest wait in seconds. None waits for ever; 0 and less do not wait.
            require_peer: Do not put what nobody will get, once the consumers there were are gone.

        Raises:
            Full: there was no room within *timeout*. Without a maxsize: memory is out, the limit of a container is met, or a lane
                cannot be larger; it says which. Where nobody gets, that is told at once.
            ShutDown: the queue was shut down.
            PeerGoneError: asked for by *require_peer*: there were consumers, and all have died or left.
            RecordTooLargeError: the object can never fit.
            QueueClosedError: this process closed the handle or the region.
            PicklingError, TypeError, AttributeError: the object cannot be pickled, as pickle says.
        """
    def put_nowait(self, obj: Any) -> None:
        """`put(obj, block=False)`: raises Full at once where there is no room."""
    def put_many(
        self,
        objects: Iterable[Any],
        *,
        timeout: float | None = None,
        require_peer: bool = False,
    ) -> int:
        """
        Put many objects, as few batches as there is room for; each batch becomes visible at once.

        Args:
            objects: An iterable of objects; all are encoded before the first one goes in.
            timeout: Longest wait in seconds for all of them together. None waits for ever; 0 and less do not wait.
            require_peer: As in `put`.

        Returns:
            How many went in: all of them, or fewer at the deadline, or if the queue was shut down meanwhile.

        Raises:
            As `put`; Full: not even one went in.
        """
    def get(
        self, block: bool = True, timeout: float | None = None, *, require_peer: bool = False
    ) -> Any:
        """
        Get the object that was put first of all that are there, waiting while there is none.

        What was put before another put began is got before it, whichever processes put them. Other threads run while it waits;
        Ctrl-C interrupts it.

        Args:
            block: Whether to wait.
            timeout: Longest wait in seconds. None waits for ever; 0 and less do not wait.
            require_peer: Do not wait for producers that are gone. Before the first one came nobody is: then it waits.

        Returns:
            The object; what it consists of is new.

        Raises:
            Empty: there was none within *timeout*.
            ShutDown: the queue was shut down, and there is nothing more to get.
            PeerGoneError: asked for by *require_peer*: all that put have died or left, and there is nothing more to get.
            QueueClosedError: this process closed the handle or the region.
            Whatever decoding the object raises: it is gone then, and a note says of which queue it was.
        """
    def get_nowait(self) -> Any:
        """`get(block=False)`: raises Empty at once where there is nothing."""
    def get_many(
        self, most: int, *, timeout: float | None = None, require_peer: bool = False
    ) -> list[Any]:
        """
        Get what is there, at least one object and at most *most*, waiting only for the first.

        Returns:
            A list of objects.

        Raises:
            As `get`. Where one of several objects cannot be decoded the others are returned, and the next call of this handle that
            gets raises the error.
        """
    def records(
        self,
        *,
        until: _Until | None = None,
        require_peer: bool = False,
        timeout: float | None = None,
    ) -> Objects:
        """
        Iterate over objects, as `get` gives them, until a `shutdown`, and until all is got then, or until *until* has come.

        Args:
            until: Processes whose end ends the iteration, once all that they put is got: a multiprocessing.Process, a
                subprocess.Popen, a sentinel or a pidfd, or a collection of them. It does not matter how they end, nor whether
                they ever put anything.
            require_peer: Do not wait for producers that are gone, as in `get`.
            timeout: Longest wait in seconds for each object. None waits for ever.

        Raises:
            Empty: there was none within *timeout*.
            TypeError: *until* is none of those.
            ValueError: a process of *until* has not been started or is closed, or a descriptor is not open.
            As `get` otherwise, but for ShutDown, which ends the iteration.
        """
    def borrow(
        self, block: bool = True, timeout: float | None = None, *, require_peer: bool = False
    ) -> Borrowing:
        """
        Get an object for the length of a `with`: `with q.borrow() as obj:`. Until its end the object counts as unfinished, and if this
        process dies another consumer gets it.

        Raises:
            As `get`.
        """
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def fileno(self) -> int:
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be an object to get, or the end.

        It is of this handle in this process alone, non-blocking and close-on-exec; `close` closes it. It stays readable until a
        get of this handle ends in Empty. It is readable for nothing now and then, ten times a second at the most.

        Raises:
            OSError: no descriptor can be had.
            QueueClosedError: this process closed the handle or the region.
        """
    def qsize(self) -> int:
        """
        How many objects are in the queue, at some moment just past; 0 once it is shut down with immediate=True.

        Raises:
            QueueClosedError: this process closed the handle.
        """
    def __len__(self) -> int: ...
    def empty(self) -> bool:
        """
        Whether there was nothing to get at some moment just past. An object whose put has ended counts.

        Raises:
            QueueClosedError: this process closed the handle.
        """
    def full(self) -> bool:
        """
        Whether a queue with a maxsize had as many objects at some moment just past.

        Raises:
            QueueClosedError: this process closed the handle.
        """
    @property
    def maxsize(self) -> int:
        """The number of objects that the queue can hold; 0: as many as memory can."""
    @property
    def producers(self) -> int:
        """How many processes have a lane of their own, and one more lane that all others share."""
    @property
    def is_shut_down(self) -> bool:
        """Whether somebody has called `shutdown`: nothing can be put any more, though there may be objects to get."""
    def stats(self) -> dict[str, Any]:
        """
        Tell what is going on: objects, and for each lane in use its producer and how many objects were put and got. A snapshot, as
        plain dicts and lists.

        Raises:
            QueueClosedError: this process closed the handle.
        """
    def task_done(self) -> None:
        """
        Say that the work on an object that was got is done. `join` waits until that was said of every object that was put. What a
        process had got that died is counted as done.

        Raises:
            ValueError: it was said more often than objects were got.
        """
    def join(self, timeout: float | None = None) -> None:
        """
        Wait until every object that was put is got, and `task_done` was called for it, or the process that had got it has died.

        Args:
            timeout: Longest wait in seconds. None waits for ever.

        Raises:
            TimeoutError: there are unfinished tasks still.
            QueueClosedError: this process closed the handle.
        """
    def shutdown(self, immediate: bool = False) -> None:
        """
        Bring the queue to its end, for all processes and for good.

        Puts raise ShutDown from now on, waiting ones too. Gets go on until everything is got, then raise ShutDown; iteration ends.
        Never waits.

        Args:
            immediate: What is left is dropped unseen; a join waits only for what was got and is not done.

        Raises:
            PermissionError: the region is open read-only.
            QueueClosedError: this process closed the handle.
        """
    def join_thread(self) -> None:
        """Return at once: there is no thread, for what was put is there. Never fails."""
    def cancel_join_thread(self) -> None:
        """Do nothing: there is no thread, and no exit waits for one. Never fails."""

@final
class Objects:
    """What `records` iterates with."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...

@final
class Borrowing:
    """What `borrow` gives: the object is there for the length of a `with`."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *_error: object) -> None: ...
    def release(self) -> None: ...
