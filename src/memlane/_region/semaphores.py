# SPDX-License-Identifier: MIT
"""
Doorbells: the POSIX semaphores that wake waiters. The only file that knows posix_ipc.

The kind of a region's semaphores depends on how the region is shared:

    memfd           unnamed ones inside the region: its handle may go anywhere, nothing can leak
    name, path      named ones, `/memlane.<set>.<number>`, handled by posix_ipc; the name of the
                    set is a hash of the region's id, and does not reveal it
    MAP_ANONYMOUS   named ones, unlinked as soon as they are created: children inherit them

The number of a doorbell is its offset in the region in units of 64 bytes. Number 0 is the anchor of
a set: it is created first, removed last, and read-locked by every process that is present, so that
`sweep` can distinguish a set in use from one left behind. A semaphore is never a lock. Attaching to
one, waiting and waking are in src/runtime.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import posix_ipc

import memlane._core as _core

if TYPE_CHECKING:
    from memlane._core import Membership

_DIRECTORY = Path("/dev/shm")
_PREFIX = "sem.memlane."
#: The size of a semaphore of glibc; other files are not ours.
_FILE_NBYTES = 32
#: How often a set is begun again after a sweep; more losses than that are no accident.
_ATTEMPTS = 100
#: How long to wait for a sweep that has locked the anchor: one recheck interval, which is more than
#: a sweep takes unless it is stopped. Between two looks: arbitrary.
_SWEEP_PATIENCE_S, _SWEEP_PAUSE_S = 0.1, 0.0005
#: How many anchors a sweep locks before it lists the semaphores: a list takes long if there are
#: many files, and descriptors are limited. Arbitrary.
_LOCKED_AT_ONCE = 32

_T = TypeVar("_T")


def libc() -> bytes:
    """The C library of this process: another one may lay out semaphores differently, and polls."""
    try:
        name = (os.confstr("CS_GNU_LIBC_VERSION") or "").split(" ")[0]
    except (ValueError, OSError):
        name = ""
    return (name or "another libc").encode()


def set_of(region_id: int) -> str:
    """
    The name of a region's set of semaphores. Every user can list it. It must not reveal the id, by
    which a pickled handle identifies its region.
    """
    told = b"memlane doorbells" + region_id.to_bytes(8, "little")
    return hashlib.sha256(told).hexdigest()[:16]


def _name(of_set: str, number: int) -> str:
    # glibc puts "sem." before the name of the file, musl nothing
    prefix = "" if libc() == b"glibc" else "sem."
    return f"/{prefix}memlane.{of_set}.{number}"


def _file(of_set: str, number: int) -> Path:
    return _DIRECTORY / f"{_PREFIX}{of_set}.{number}"


def _make(of_set: str, number: int, permissions: int) -> tuple[int, int]:
    """
    Create a semaphore and return its (device, inode). One that an earlier process left under the
    name is replaced.
    """
    name = _name(of_set, number)
    make = functools.partial(
        posix_ipc.Semaphore, flags=posix_ipc.O_CREX, mode=permissions, initial_value=0
    )
    _unlink(of_set, number)
    file = _file(of_set, number)
    try:
        # In one call of C: posix_ipc does not close a forgotten semaphore, as one would be if a
        # signal handler raised in between.
        next(map(posix_ipc.Semaphore.close, map(make, [name])))
    except posix_ipc.PermissionsError as error:
        raise PermissionError(
            errno.EACCES,
            f"cannot make a semaphore: {error}; check the permissions of {_DIRECTORY}",
            str(file),
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _core.no_room(str(file), _core.PAGE_SIZE) from None
        if error.errno is None:  # posix_ipc reports EMFILE and ENFILE by a text only
            error = OSError(errno.EMFILE if "process" in str(error) else errno.ENFILE, "")
        raise _core.explained(error, "make a semaphore", str(file)) from None
    os.chmod(file, permissions)  # the umask does not decide
    found = os.stat(file)
    return found.st_dev, found.st_ino


def _unlink(of_set: str, number: int) -> None:
    try:
        posix_ipc.unlink_semaphore(_name(of_set, number))
    except posix_ipc.ExistentialError:
        pass


def _despite_sweeps(begin: Callable[[], _T]) -> _T:
    """
    Call *begin*, which begins a set, again as long as a sweep removes the file before this process
    is present at it.
    """
    for _ in range(_ATTEMPTS):
        try:
            return begin()
        except FileNotFoundError:
            pass
    raise OSError(
        errno.EAGAIN,
        f"new semaphores in {_DIRECTORY} were removed {_ATTEMPTS} times; find the process that "
        "does it",
    )


def still_names(path: Path, found: os.stat_result) -> bool:
    """Whether a name still leads to the file that was found under it."""
    try:
        return os.path.samestat(os.lstat(path), found)
    except FileNotFoundError:
        return False


class _BeingRemovedError(OSError):
    """The set is there, but a sweep has locked its anchor to remove it."""


class Anchor:
    """
    Presence in a set of named semaphores: number 0, open, mapped and read-locked.

    The mapping keeps the lock in forked children that have closed every descriptor.
    """

    def __init__(self, of_set: str) -> None:
        """
        Be present at an existing set; FileNotFoundError if there is none, _BeingRemovedError if a
        sweep has locked it.
        """
        self._path = _file(of_set, 0)
        flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with _core.Descriptor(os.open, self._path, flags) as descriptor:
            self._found = os.fstat(descriptor)
            if not _is_semaphore(self._found):
                raise FileNotFoundError(f"{self._path} is no semaphore")
            if not _core.presence_lock(descriptor):
                raise _BeingRemovedError(f"the set of {self._path} is being removed")
            if not self.still_stands():
                raise FileNotFoundError(f"the set of {self._path} was removed")
            self.mapping = _core.Mapping.from_fd(descriptor, "r")

    @classmethod
    def make(cls, of_set: str, permissions: int) -> Anchor:
        """
        Be present at the set, and create the anchor if there is none. For a process with exclusive
        presence in the region. _BeingRemovedError if a sweep has locked the set and does not go on.
        """

        def begin() -> Anchor:
            try:
                return cls(of_set)
            except _BeingRemovedError:
                raise  # the same sweep would remove a new anchor, with us present
            except OSError:
                _make(of_set, 0, permissions)
                return cls(of_set)

        end = time.monotonic() + _SWEEP_PATIENCE_S
        while True:
            try:
                return _despite_sweeps(begin)
            except _BeingRemovedError:
                if time.monotonic() > end:
                    raise
                time.sleep(_SWEEP_PAUSE_S)

    def still_stands(self) -> bool:
        """
        Whether the set still has its name: semaphores created after its removal would never be
        removed.
        """
        return still_names(self._path, self._found)


def _is_semaphore(found: os.stat_result) -> bool:
    return stat.S_ISREG(found.st_mode) and found.st_size == _FILE_NBYTES


class DoorbellSet(_core.HeldDoorbells):
    """
    The semaphores of one region, as this process makes and removes them. Those that it has attached
    are kept while the region is open.
    """

    Error = posix_ipc.Error

    def __init__(self, membership: Membership) -> None:
        super().__init__(membership)
        self._set = set_of(membership.region_id)
        self._permissions = membership.permissions
        self._backing = membership.backing
        self._is_ours = membership.libc == libc()
        self._anchor: Anchor | None = None

    @property
    def is_named(self) -> bool:
        return self._backing in (_core.BACKING_NAMED, _core.BACKING_PATH)

    def acquire_presence(self, *, exclusive: bool) -> None:
        """
        Be present at the set of a named region. With *exclusive* presence in the region, create a
        missing set anew, and wait up to a recheck interval for a sweep that is about to remove the
        old one. Otherwise a missing set means that this process polls.
        """
        if not self.is_named:
            return
        try:
            if exclusive:
                self.make_anchor()
            else:
                self.adopt(Anchor(self._set))
        except (OSError, posix_ipc.Error):
            pass  # there is none, or it is another user's, or there is no space: polls

    def make_anchor(self) -> None:
        """
        Begin the set of a named region that no other process has open or can see. If a sweep is
        stopped that is about to remove the set, all processes poll.
        """
        try:
            self.adopt(Anchor.make(self._set, self._permissions))
        except _BeingRemovedError:
            pass

    def mend(self, at_once: Iterable[int], later: Iterable[int]) -> None:
        """
        Repair the doorbells of an object after a reboot, a sweep, or a removal that was killed half
        way. For a process with exclusive presence in the region. Missing semaphores are forgotten;
        those at *at_once* are created anew.
        """
        if not self.is_named or not self._is_ours:
            return
        for places, makes in ((at_once, True), (later, False)):
            for place in places:
                bell = self.at(place, False)
                if not bell.attached and bell.kind != _core.DOORBELL_NONE:
                    bell.forget()
                if makes:
                    self.at(place, True)

    def wake(self, places: Iterable[int]) -> None:
        """Wake all waiters at the doorbells of an object that was just removed."""
        for place in places:
            self.at(place, False).wake_all()

    def remove(self, places: Iterable[int]) -> None:
        """
        Drop the doorbells of a removed object, and remove the names of their semaphores; processes
        that have them open go on using them. Semaphores that this user may not remove are left: the
        next set in their place does without them.
        """
        for place in places:
            self.known.pop(place, None)
            if self.is_named:
                with contextlib.suppress(OSError, posix_ipc.Error):
                    _unlink(self._set, place // 64)

    def adopt(self, anchor: Anchor) -> None:
        """Be present through this anchor as long as this process has the region open."""
        self._anchor = anchor
        self.anchor = anchor.mapping

    def make(self, bell: _core.Doorbell) -> None:
        """
        Make the named semaphore of a doorbell that has none, for its first user, and tell the
        others.
        """
        number = bell.number
        if self._backing == _core.BACKING_ANONYMOUS:

            def begin() -> tuple[int, int]:
                file = _make(self._set, number, self._permissions)
                bell.attach_named(_name(self._set, number))
                return file

            file = _despite_sweeps(begin)
            _unlink(self._set, number)
            bell.note_named(*file)
        elif self._anchor is not None and self._anchor.still_stands():
            try:
                file = _make(self._set, number, self._permissions)
                bell.attach_named(_name(self._set, number))
            except (OSError, posix_ipc.Error):
                return  # this process polls, and others find no doorbell to wake it by
            if self._anchor.still_stands():
                bell.note_named(*file)
            else:
                # the region was unlinked meanwhile; no other process knows this semaphore
                _unlink(self._set, number)


# ---- removing -----------------------------------------------------------------------------------


def names_in(directory: Path, doing: str) -> list[str]:
    """
    The names of all files in a directory; none where it is missing, or this user may not read it.
    OSError if it cannot be listed, for instance for lack of a descriptor.
    """
    try:
        return os.listdir(directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return []  # the directory shows nothing, so nothing of ours
        raise _core.explained(error, doing, str(directory)) from None


def pass_over(error: OSError, doing: str, path: Path) -> None:
    """
    Skip a file that cannot be opened because it is gone, or belongs to another user. Raises the
    error where this process can open no file at all.
    """
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        raise _core.explained(error, doing, str(path)) from None


def _sets() -> dict[str, list[int]]:
    """
    All sets of named semaphores of memlane: name to numbers, the anchor last. OSError if they
    cannot be listed, for instance for lack of a descriptor.
    """
    found: dict[str, list[int]] = {}
    for name in names_in(_DIRECTORY, "list the semaphores"):
        parts = name.removeprefix(_PREFIX).split(".")
        if (
            name.startswith(_PREFIX)
            and len(parts) == 2
            and len(parts[0]) == 16
            and parts[1].isdecimal()
        ):
            found.setdefault(parts[0], []).append(int(parts[1]))
    return {of_set: sorted(numbers, reverse=True) for of_set, numbers in found.items()}


def remove_set(region_id: int) -> None:
    """
    Remove the names of a region's semaphores, the anchor last. Processes that have them open go on
    using them.
    """
    of_set = set_of(region_id)
    for number in _sets().get(of_set, ()):
        _unlink(of_set, number)


def _lock_to_remove(anchor: Path) -> _core.Descriptor:
    """
    A descriptor of the anchor, locked so that no process can be present at the set.
    FileNotFoundError if there is none; another OSError if a process is present, or this user may
    not touch it.
    """
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    opened = _core.Descriptor(os.open, anchor, flags)
    number = opened.number
    if _core.presence_lock(number, True) and still_names(anchor, os.fstat(number)):
        return opened
    raise BlockingIOError(f"{anchor} is in use, or was removed by another process")


def _set_name(of_set: str) -> str:
    return f"semaphores {of_set}"


def _is_present_at_set(of_set: str) -> bool:
    """Whether a process is present at a set; True if that cannot be known."""
    try:
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        opened = _core.Descriptor(os.open, _file(of_set, 0), flags)
    except FileNotFoundError:
        return False
    except OSError as error:
        pass_over(error, "look at semaphores", _file(of_set, 0))
        return True
    with opened as anchor:
        return os.geteuid() not in (0, os.fstat(anchor).st_uid) or _core.is_present(anchor)


def set_files(of_set: str) -> list[Path]:
    """The files of the semaphores of a set."""
    return [_file(of_set, number) for number in _sets().get(of_set, ())]


def sets_in_use() -> dict[str, bool]:
    """The names of all existing sets, and whether a process is present at each."""
    return {of_set: _is_present_at_set(of_set) for of_set in _sets()}


def sweep_sets(only: set[int] | None = None, *, dry_run: bool = False) -> Iterator[str]:
    """
    Remove every set without a present process, of all regions or *only* of some; yields the names
    of the sets. With *dry_run* removes nothing.
    """
    wanted = None if only is None else {set_of(region_id) for region_id in only}
    found = [of_set for of_set in _sets() if wanted is None or of_set in wanted]
    if dry_run:
        yield from (_set_name(of_set) for of_set in found if not _is_present_at_set(of_set))
        return
    for begin in range(0, len(found), _LOCKED_AT_ONCE):
        with contextlib.ExitStack() as locks:
            has_anchor = {}
            for of_set in found[begin : begin + _LOCKED_AT_ONCE]:
                try:
                    locks.enter_context(_lock_to_remove(_file(of_set, 0)))
                    has_anchor[of_set] = True
                except FileNotFoundError:
                    has_anchor[of_set] = False
                except OSError as error:
                    pass_over(error, "sweep semaphores", _file(of_set, 0))
            # Listed anew: before the lock a process may have come, created another semaphore, and
            # left. None may outlive the anchor: the next sweep takes a set without an anchor for
            # garbage.
            now = _sets()
            for of_set, is_locked in has_anchor.items():
                numbers = now.get(of_set, [])
                if 0 in numbers and not is_locked:
                    continue  # begun again meanwhile
                try:
                    for number in numbers:
                        _unlink(of_set, number)
                except (PermissionError, posix_ipc.PermissionsError):
                    continue
                if numbers:
                    yield _set_name(of_set)
