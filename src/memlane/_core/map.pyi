# SPDX-License-Identifier: MIT
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, Self, SupportsFloat, SupportsIndex, TypeVar, final, overload

from typing_extensions import TypeVar as TypeVarWithDefault
from typing_extensions import disjoint_base

from memlane._core.layout import _Doorbells, _Entry
from memlane._core.membership import Membership
from memlane._core.selecting import Watch

_ValueT = TypeVarWithDefault("_ValueT", default=Any)
_DefaultT = TypeVar("_DefaultT")

MAP_ENTRIES_MAX: Final[int]
MAP_KEY_MAX: Final[int]
MAP_VALUE_MAX: Final[int]
VALUES_FIXED: Final[int]
VALUES_UP_TO: Final[int]
FORMS: Final[dict[str, int]]

def map_shape(
    entries: int, key_nbytes: int, value_nbytes: int, copies: int, watchers: int, values: int
) -> tuple[int, tuple[_Doorbells, _Doorbells]]: ...
def map_fill(
    membership: Membership, offset: int, geometry: tuple[int, ...], seeds: bytes
) -> None: ...

@disjoint_base
class MapBase(Generic[_ValueT]):
    """What a map does without going through Python."""

    def _bind(
        self,
        membership: Membership,
        entry: _Entry,
        encode: Callable[..., Any] | None,
        items: int | None,
        decode: Callable[[bytes], Any] | None,
        form: str,
        adds: type[int | float] | None,
    ) -> None: ...
    def _detach(self) -> None: ...
    @property
    def closed(self) -> bool:
        """Whether this process has closed this handle."""
    @property
    def entries(self) -> int:
        """How many keys it can have at once."""
    @property
    def key_nbytes(self) -> int:
        """Bytes of the longest key."""
    @property
    def value_nbytes(self) -> int:
        """Bytes of a value, or of the longest one."""
    def __getitem__(self, key: Any, /) -> _ValueT: ...
    @overload
    def get(self, key: Any, default: None = None, /) -> _ValueT | None:
        """The value of *key*, or *default* where it is not there. Otherwise as `m[key]`."""
    @overload
    def get(self, key: Any, default: _DefaultT, /) -> _ValueT | _DefaultT: ...
    def read_versioned(self, key: Any, /) -> tuple[_ValueT, int]:
        """
        As `m[key]`, with the version of that very value: (value, version). Versions of a key grow with each change and
        never repeat, also when it is removed and comes again.
        """
    def version(self, key: Any, /) -> int:
        """The version of the value of *key*; 0: it is not there. Raises as `m[key]`, but for KeyError."""
    def __contains__(self, key: Any, /) -> bool: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[str | bytes | int]: ...
    def _through(self, what: int) -> Iterator[Any]:
        """..."""
    def wait_newer(
        self, key: Any, version: SupportsIndex, timeout: SupportsFloat | None = None
    ) -> tuple[_ValueT, int]:
        """
        Wait until *key* has a value that is newer than *version*. A removal alone does not end the wait.

        Sleeps at a doorbell of its own; a reader without write access, or when all doorbells are taken, polls with a growing
        pause. Other threads run meanwhile; Ctrl-C interrupts it.

        Args:
            version: One that the caller has seen; 0 for none: then it waits until the key is there.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            (value, version) of the latest value.

        Raises:
            TimeoutError: nothing newer within *timeout*.
            ValueError, TypeError, ClosedError: as `m[key]`.
        """
    def watch(self, key: Any, version: SupportsIndex | None = None) -> KeyWatch:
        """
        Make a `KeyWatch`: one key, to be waited for together with other things.

        Args:
            version: One that the caller has seen; 0 for none. By default the present one.

        Raises:
            ValueError, TypeError, ClosedError: as `m[key]`.
        """
    def __setitem__(self, key: Any, value: Any, /) -> None: ...
    def set(
        self,
        key: Any,
        value: Any,
        *,
        expires: SupportsFloat | None = None,
        timeout: SupportsFloat | None = None,
    ) -> int:
        """
        As `m[key] = value`.

        Args:
            expires: The seconds after which the key is no longer there, on the clock that runs while the machine sleeps; its
                entry is used for another key when one is needed. None: never.
            timeout: Longest wait for another writer of this key, in seconds. None waits for ever; 0 never waits.

        Returns:
            The version of the value.

        Raises:
            TimeoutError: another process was inside a change of this key for all of *timeout*.
            As `m[key] = value` otherwise.
        """
    def setdefault(
        self,
        key: Any,
        default: Any = None,
        /,
        *,
        expires: SupportsFloat | None = None,
        timeout: SupportsFloat | None = None,
    ) -> _ValueT:
        """
        The value of *key*; where it is not there, it gets the value *default* first. One step: of several processes one sets it.

        Raises:
            As `set`.
        """
    def compare_exchange(
        self,
        key: Any,
        version: SupportsIndex,
        value: Any,
        *,
        expires: SupportsFloat | None = None,
        timeout: SupportsFloat | None = None,
    ) -> bool:
        """
        Give *key* that value in one step, if *version* is that of its present value; 0: if it is not there.

        Returns:
            Whether it was, and has the new value.

        Raises:
            As `set`.
        """
    def compare_remove(
        self, key: Any, version: SupportsIndex, *, timeout: SupportsFloat | None = None
    ) -> bool:
        """
        Remove *key* in one step, if *version* is that of its present value.

        Returns:
            Whether it was, and is gone.

        Raises:
            As `set`.
        """
    def add(
        self,
        key: Any,
        amount: Any = 1,
        *,
        expires: SupportsFloat | None = None,
        timeout: SupportsFloat | None = None,
    ) -> _ValueT:
        """
        Add *amount* to the number of *key* in one step; a key that is not there counts as 0. For maps whose values are one int
        or float of 8 bytes. An int wraps modulo 2**64.

        Args:
            expires: As of `set`, for a key that was not there; one that was keeps its expiry.
            timeout: As of `set`.

        Returns:
            The new number.

        Raises:
            TypeError: the values of this map are no such numbers, or *amount* is none.
            OverflowError: *amount* does not fit into 64 bits.
            As `set` otherwise.
        """
    def __delitem__(self, key: Any, /) -> None: ...
    @overload
    def pop(self, key: Any, /, *, timeout: SupportsFloat | None = None) -> _ValueT:
        """
        Remove *key* and return the value that it had, in one step: of several processes one gets it.

        Returns:
            The value, or *default* where the key is not there.

        Raises:
            KeyError: the key is not there, and there is no *default*.
            As `set` otherwise.
        """
    @overload
    def pop(
        self, key: Any, default: _DefaultT, /, *, timeout: SupportsFloat | None = None
    ) -> _ValueT | _DefaultT: ...

@final
class MapIteration(Iterator[Any]):
    """..."""

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...

@final
class KeyWatch:
    """
    One key of a map, for a caller that waits for its changes; `m.watch(key)` makes it.

    `wait` and event loops take it, and it is ready when there is a value that is newer than the one that it has given last. Each
    belongs to one thread or one event loop.

    Attributes:
        key: The key.
    """

    def __init__(self, *args: object, **kwargs: object) -> None: ...
    @property
    def key(self) -> str | bytes | int: ...
    @property
    def version(self) -> int:
        """The version that it has given last, or was made with."""
    def wait_newer(self, timeout: SupportsFloat | None = None) -> tuple[Any, int]:
        """
        Wait for a value that is newer than `version`, as `wait_newer` of the map.

        Returns:
            (value, version), and `version` is that one.

        Raises:
            As `wait_newer` of the map.
        """
    def fileno(self) -> int:
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be a newer value.

        It is of this watch in this process alone, non-blocking and close-on-exec; `close` closes it. Each `wait_newer` makes it
        unreadable again until the next change. It is readable for nothing now and then: keys that share a bucket wake each other.
        A reader without write access finds changes ten times a second only.

        Raises:
            OSError: no descriptor can be had.
            ClosedError: this process closed the map.
        """
    def close(self) -> None:
        """Close the descriptor, if there is one. Never fails."""
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...
    def _watch_newer(self) -> Watch:
        """..."""
