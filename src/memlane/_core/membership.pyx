# SPDX-License-Identifier: MIT
"""
Membership: what one process has of one region. Its mapping, its two file descriptions, its row.

The base description is mapped and holds presence; the lock description holds the row and the creation
byte, and is closed in forked children. A tag is taken at first use, and again after a fork. A call that uses
the memory or a descriptor without the GIL or around a step in Python, or keeps a loan in it, pins the membership: closing
waits for the last pin. Each `def` here does (tests/rules/test_sources.py looks), Python code does by `with membership.pinned()`. A
call without a pin looks at the epoch of its role again after each step in which others could run: another thread, or a signal handler.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, ENOENT, ENOLCK
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

import errno as _errno
import os as _os
import random as _random
import sys as _sys
from threading import Lock as _Lock
from threading import RLock as _RLock

from memlane.errors import ClosedError, CorruptedError, LayoutError, RoleTakenError, TruncatedError

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BACKING_ANONYMOUS, MEMLANE_ENTRIES_MAX, MEMLANE_ENTRY_BYTE, MEMLANE_ENTRY_REMOVED,
    MEMLANE_ENTRY_VALID, MEMLANE_FOREIGN, MEMLANE_LAYOUT_DRAFT, MEMLANE_LAYOUT_VERSION,
    MEMLANE_NAME_BYTE, MEMLANE_NEWER, MEMLANE_OK, MEMLANE_OLDER, MEMLANE_PRESENCE_BYTE,
    MEMLANE_ROW_BYTE, MEMLANE_TRUNCATED, MEMLANE_UNKNOWN_FEATURES, memlane_align,
    memlane_creation_holder, memlane_creation_note, memlane_directory_add, memlane_directory_count,
    memlane_directory_pick, memlane_entry, memlane_entry_at, memlane_entry_check,
    memlane_entry_free, memlane_entry_read, memlane_entry_remove, memlane_entry_state_of,
    memlane_generation_is_retired, memlane_header, memlane_room, memlane_room_begin,
    memlane_room_find, memlane_room_note, memlane_row_description, memlane_row_generation,
    memlane_status,
)
from memlane._core.files cimport (
    Descriptor, RESERVE_NBYTES_A_TURN, require_limit, require_room, reserve_file,
)
from memlane._core.layout cimport pages_down, pages_up, places_of, tell_doorbells
from memlane._core.mapping cimport Mapping, check_whole, finalizing, truncated_error
from memlane._core.mapping_options cimport PAGE_NBYTES
from memlane._core.os cimport (
    MADV_REMOVE, aligned_alloc, close_descriptor, getpid, memlane_advise, memlane_fork_epoch,
    memlane_fork_is, memlane_guard_is_truncated, memlane_lockbyte_probe, memlane_lockbyte_try,
    memlane_populate, memlane_unguarded,
)
from memlane._core.os_errors cimport os_error, reserve_error
from memlane._core.runtime cimport (
    MEMLANE_ALIVE, MEMLANE_JOINED, MEMLANE_JOIN_NO_FILE, MEMLANE_JOIN_NO_ROW, MEMLANE_JOIN_UNSEEN, MEMLANE_LIFE_UNKNOWN,
    memlane_description, memlane_joined, memlane_life, memlane_membership_abandon, memlane_membership_attach,
    memlane_membership_is_file, memlane_membership_is_joined, memlane_membership_is_sound, memlane_membership_join,
    memlane_membership_leave, memlane_membership_life, memlane_membership_lock_creation, memlane_membership_pid,
    memlane_membership_row, memlane_membership_row_life, memlane_membership_unlock_creation,
)

memlane_calls_join(calls_of_process(), globals())

cdef extern from *:
    """
    #define MEMLANE_HEADER_ALIGNMENT _Alignof(struct memlane_header)
    """
    const size_t MEMLANE_HEADER_ALIGNMENT


def fork_epoch():
    """Return the epoch of this process: another one in each generation of forks."""
    return memlane_fork_epoch()


def presence_lock(int descriptor, bint for_writing=False):
    """
    Lock the presence byte of a region through *descriptor*: for reading as those present do, for writing
    to make sure that nobody is. Never waits.

    Returns:
        Whether it is locked now.

    Raises:
        OSError: the kernel or the file system has no such locks.
    """
    return lock_byte(descriptor, MEMLANE_PRESENCE_BYTE, for_writing)


def is_present(int descriptor):
    """
    Whether anybody holds presence in a region, seen through a *descriptor* that does not hold it itself.
    Takes no lock, so nobody notices.

    Raises:
        OSError: the kernel or the file system has no such locks.
    """
    cdef int found = memlane_lockbyte_probe(descriptor, MEMLANE_PRESENCE_BYTE, True)
    if found < 0:
        raise byte_lock_error(-found)
    return found > 0


def name_lock(int descriptor):
    """
    Lock the name of a region through *descriptor*, open for writing: its holder may look at the name and remove it.
    Never waits; goes with the description.

    Returns:
        Whether it is locked now.

    Raises:
        OSError: the kernel or the file system has no such locks.
    """
    return lock_byte(descriptor, MEMLANE_NAME_BYTE, True)


cdef bint lock_byte(int descriptor, int64_t byte, bint for_writing) except -1:
    cdef int error = memlane_lockbyte_try(descriptor, byte, for_writing)
    if error == -_errno.EAGAIN:
        return False
    if error:
        raise byte_lock_error(-error)
    return True


cdef object byte_lock_error(int error):
    """The error for a lock of a region's that the kernel refused. EINVAL: it does not know the kind."""
    if error == _errno.EINVAL:
        return os_error(error, "lock a byte", None, "use a local file system and Linux 3.15 or newer",
                        "there are no locks of open files here")
    return os_error(error, "lock a byte")


cdef object epoch_lock(dict locks, kind=_RLock):
    """
    A lock for slow steps that happen once in each epoch; one that a fork left locked is not met again.
    Its thread may take it twice: handlers of signals and the collector run in the midst of such a step, and may
    do the same step. The caller looks behind them whether it is done.
    """
    epoch = memlane_fork_epoch()
    lock = locks.get(epoch)
    return locks.setdefault(epoch, kind()) if lock is None else lock


@cython.final
cdef class Users:
    """
    How many handles of this process use a role, counted anew in each epoch: those that a forked child inherited
    have used nothing there. A handle keeps the epoch in which it was counted, EPOCH_CLOSED before.
    """

    cdef void add(self, uint64_t *counted_in) noexcept:
        cdef uint64_t epoch = memlane_fork_epoch()
        with cython.critical_section(self):
            if self.epoch != epoch:
                self.epoch, self.count = epoch, 0
            if counted_in[0] != epoch:
                counted_in[0] = epoch
                self.count += 1

    cdef bint remove(self, uint64_t *counted_in) noexcept:
        """Whether it was the last one."""
        cdef bint last = False
        with cython.critical_section(self):
            if memlane_fork_is(counted_in[0]):
                self.count -= 1
                last = self.count == 0
            counted_in[0] = EPOCH_CLOSED
        return last


cdef class Doorbells:
    """What a membership asks of the semaphores of its region; they themselves are in waiting.pyx, above."""

    def forget(self, uint64_t offset, uint64_t nbytes):
        """Let go of the doorbells in a part of the region where another object begins."""
        raise NotImplementedError()

    def remove(self, places):
        """Let go of the doorbells of an object that was removed, and remove the names of their semaphores."""
        raise NotImplementedError()

    cdef void let_go(self) noexcept:
        """Let all semaphores go; nothing is removed."""


cdef class Waiting:
    """Something of this process that waits for objects of a region by a descriptor: selecting.pyx, above."""

    cdef void stir(self) noexcept:
        """Have it look again. Any thread. Runs no Python."""


cdef class Membership:
    """
    This process's part in one region; shared by all handles that it has of the region.

    Made by the region layer from a mapping of the whole region and its base descriptor, which it owns from
    then on. Raises what `check_header` raises.
    """

    def __cinit__(self):
        self.own.base = self.own.lock_descriptor = -1
        self.own.epoch = EPOCH_CLOSED
        self.guarded = self.own.guarded = &memlane_unguarded
        self.geometry = <memlane_header *>aligned_alloc(MEMLANE_HEADER_ALIGNMENT, sizeof(memlane_header))
        if self.geometry == NULL:
            raise MemoryError
        memset(self.geometry, 0, sizeof(memlane_header))

    def __dealloc__(self):
        free(self.geometry)

    def __init__(self, Mapping mapping not None, Descriptor base not None, *, str name, object path, bint readonly):
        cdef memlane_status status
        if mapping.nbytes < sizeof(memlane_header):
            raise TruncatedError(
                f"{name} has {mapping.nbytes} bytes, a region has at least {sizeof(memlane_header)}; remove it",
                name=name, path=path, expected=sizeof(memlane_header), found=mapping.nbytes)
        status = memlane_membership_attach(&self.own, self.geometry, mapping.address, mapping.nbytes, mapping._guarded,
                                           base.number, base.file.device, base.file.inode, readonly)
        check_whole(mapping)
        check_header(status, self.geometry, mapping.nbytes, name, path)
        if base.number < 0:
            raise ValueError(f"the descriptor of {name} is closed, or was handed over; pass one that is open")
        base.detach()
        mapping.hold()
        mapping._is_part = True
        self.mapping = mapping
        self.guarded = mapping._guarded
        self.shared = <memlane_header *>mapping.address
        self.name, self.readonly = name, readonly
        self.path = self.found_at = path
        self.roles, self.waits, self._joining, self._creating = {}, {}, {}, {}
        self._born = memlane_fork_epoch()

    def __del__(self):
        if not finalizing() and self.mapping is not None and not self.closed:
            self._closing = self.closed = True
            self._let_everything_go()

    # ---- facts --------------------------------------------------------------------------------

    @property
    def region_id(self):
        return self.geometry.region_id

    @property
    def nbytes(self):
        return self.geometry.nbytes

    @property
    def backing(self):
        return self.geometry.backing

    @property
    def permissions(self):
        return self.geometry.permissions

    @property
    def libc(self):
        return (<bytes>self.geometry.libc[:24]).rstrip(b"\0")

    @property
    def objects_offset(self):
        return self.geometry.objects_offset

    @property
    def file(self):
        """(device, inode) of the file below."""
        return self.own.device, self.own.inode

    @property
    def base(self):
        """The descriptor; -1 once closed."""
        return self.own.base

    @property
    def is_native(self):
        """Whether this very process made the membership: False in forked children."""
        return memlane_fork_is(self._born)

    @property
    def tag(self):
        """The tag of this process if it has a row; 0 if not."""
        return self.own.tag if memlane_membership_is_joined(&self.own) else 0

    # ---- rows -----------------------------------------------------------------------------------

    cdef uint32_t own_tag(self) except 0:
        """This process's tag; joins at first use and after a fork."""
        if not memlane_membership_is_joined(&self.own):
            self.join()
        return self.own.tag

    def join(self):
        """
        Take a row of the participants table, if this process has none yet.

        Raises:
            ClosedError: the region was closed.
            PermissionError: opened read-only, or this process may not open the file any more.
            RoleTakenError: no row is free: live participants have them, or they are worn out.
            TruncatedError: the file below was cut off.
        """
        cdef uint32_t start
        cdef uint64_t start_time, pinned = self.pin_open()
        cdef bytes name, path
        try:
            if memlane_membership_is_joined(&self.own):
                return
            if self.readonly:
                raise PermissionError(_errno.EACCES, f"{self.name} is open read-only and cannot take a role; open it "
                                      "without readonly=True")
            # Before the lock, since this runs Python, and in its midst the collector or a handler may join, fork or close.
            start, start_time, name = _random.randrange(self.geometry.rows), process_start_time(), process_name()
            path = None if self.found_at is None else _os.fsencode(self.found_at)
            with epoch_lock(self._joining):
                self._join(start, start_time, name, path)
            self.check_whole()
        finally:
            self.unpin_loan(pinned)

    cdef int _join(self, uint32_t start, uint64_t start_time, bytes name, bytes path) except -1:
        """
        Under the lock. Runs no Python before the row is taken and known as ours, or given up: a handler that came
        in between would take another one, and this one would stay taken.
        """
        cdef memlane_description description
        cdef memlane_joined joined
        cdef const char *found_at = NULL
        cdef int error
        if path is not None:
            found_at = path
        if self._closing and not memlane_membership_is_joined(&self.own):
            raise ClosedError(f"{self.name} is closed")
        description.pid, description.start_time, description.name = getpid(), start_time, name
        joined = memlane_membership_join(&self.own, start, &description, found_at, &error)
        if joined == MEMLANE_JOINED:
            return 0
        if joined == MEMLANE_JOIN_NO_FILE:
            raise self._join_error(error)
        if joined == MEMLANE_JOIN_NO_ROW:
            self.check_whole()
            self._refuse_row()
        if joined == MEMLANE_JOIN_UNSEEN:
            raise OSError(_errno.ENOLCK, f"the locks of {self.name} cannot be seen; use a local file system")
        raise byte_lock_error(error)

    cdef object _join_error(self, int error):
        """The error for a second description of the file that could not be had."""
        if error != _errno.ENOENT:
            return os_error(error, f"join {self.name}", self.path, "call region.join() before dropping privileges"
                            if error == _errno.EACCES or error == _errno.EPERM else None)
        if not self._has_base():
            return self._base_lost()
        return OSError(
            error, f"cannot join {self.name}: there is no /proc here, by which a process opens its own file again, and no "
            "name leads to it; mount /proc, or call region.join() before chroot or pivot_root", f"/proc/self/fd/{self.own.base}")

    cdef object _refuse_row(self):
        """Say what became of all the rows."""
        cdef uint32_t row
        cdef uint64_t generation
        live, retired, locked = 0, [], 0
        for row in range(self.geometry.rows):
            generation = memlane_row_generation(memlane_membership_row(&self.own, row))
            if generation & 1:
                live += 1
            elif memlane_generation_is_retired(generation):
                retired.append(row)
            else:
                locked += 1
        taken = [f"{live} by live participants"] if live else []
        if retired:
            named = ", ".join(map(str, retired[:8])) + (", ..." if len(retired) > 8 else "")
            taken.append(f"{len(retired)} retired after too many joins (row {named})")
        if locked:
            taken.append(f"{locked} locked by somebody who has not joined")
        raise RoleTakenError(
            f"all {self.geometry.rows} rows of {self.name} are taken: {', '.join(taken)}; "
            + ("close some participants" if live else "create the region again"),
            role="participant", pids=())

    cdef bint _has_base(self) noexcept:
        """Whether the descriptor still leads to the file of this region: numbers are reused."""
        return memlane_membership_is_file(&self.own, self.own.base)

    cdef memlane_life life(self, uint32_t tag) noexcept:
        """Whether the owner lives that a tag names. One that is dead stays so."""
        return memlane_membership_life(&self.own, tag)

    cdef object pid_of(self, uint32_t tag):
        return memlane_membership_pid(&self.own, tag)

    def participants(self):
        """
        Return (row, pid, start time in clock ticks since boot, name, alive) for every row in use.

        Raises:
            ClosedError: this process closed the region, or its descriptors: then nobody's life can be told.
        """
        cdef uint32_t row, pid
        cdef uint64_t start_time, generation, pinned = self.pin_open()
        cdef char name[41]
        cdef memlane_life alive
        found = []
        try:
            for row in range(self.geometry.rows):
                generation = memlane_row_generation(memlane_membership_row(&self.own, row))
                if not generation & 1:
                    continue
                alive = memlane_membership_row_life(&self.own, row)
                if alive == MEMLANE_LIFE_UNKNOWN:
                    self.check_whole()
                    raise ClosedError(f"this process closed the descriptors of {self.name}, so it cannot tell who lives; "
                                      "open the region again")
                memlane_row_description(memlane_membership_row(&self.own, row), &pid, &start_time, name)
                # Of the dead only a reader is told: for all others the row has just become free, or a newcomer's.
                if alive == MEMLANE_ALIVE or memlane_row_generation(memlane_membership_row(&self.own, row)) == generation:
                    found.append((row, pid, start_time, (<bytes>name).decode(errors="replace"), alive == MEMLANE_ALIVE))
            self.check_whole()
        finally:
            self.unpin_loan(pinned)
        return found

    def leave(self):
        """
        Give the row back.

        Raises:
            ClosedError: this process had been taken for dead, because its descriptors were closed.
        """
        cdef uint64_t pinned = self.pin_loan()
        try:
            if not memlane_membership_leave(&self.own):
                raise ClosedError(f"this process was taken for dead in {self.name}: its descriptors had been closed")
        finally:
            self.unpin_loan(pinned)

    cdef object refuse_truncated(self):
        """
        Raise TruncatedError. From now on this process's mapping is private and nobody hears of it any more, so the row is let
        go: what this process held can be taken over, and it takes nothing else.
        """
        self._let_row_go()
        try:
            found = _os.fstat(self.own.base).st_size if self.own.base >= 0 else None
        except OSError:
            found = None
        raise truncated_error(self.name, self.path, self.geometry.nbytes, found)

    cdef void _let_row_go(self) noexcept:
        """Have the kernel release the row's byte. The generation stays odd: in the file it is out of our reach."""
        with cython.critical_section(self):
            memlane_membership_abandon(&self.own)

    # ---- the creation byte and the directory ----------------------------------------------------

    def try_lock_creation(self):
        """Try to become the one who adds an object; the caller keeps its own threads apart."""
        cdef int error
        cdef uint64_t pinned = self.pin_open()
        try:
            self.own_tag()
            error = memlane_membership_lock_creation(&self.own)
            if error == -EAGAIN:
                return False
            if error:
                raise byte_lock_error(-error)
            memlane_creation_note(self.shared, getpid())
            return True
        finally:
            self.unpin_loan(pinned)

    def creation_mutex(self):
        """The lock that keeps threads of this process apart before the creation byte."""
        return epoch_lock(self._creating, _Lock)

    def unlock_creation(self):
        """Let others add an object. Where this process was forked or closed the region meanwhile, it holds nothing."""
        cdef uint64_t pinned
        if not memlane_membership_is_joined(&self.own):
            return
        pinned = self.pin_loan()
        memlane_creation_note(self.shared, 0)
        memlane_membership_unlock_creation(&self.own)
        self.unpin_loan(pinned)

    @property
    def creation_holder(self):
        """pid of the process that is adding an object, as it calls itself; 0: nobody."""
        cdef uint64_t pinned = self.pin_open()
        cdef uint32_t holder = memlane_creation_holder(self.shared)
        self.unpin_loan(pinned)
        return holder

    cdef uint64_t entry_at(self, uint64_t index, memlane_entry *entry, bint *sound) noexcept:
        """Copy an entry, and judge it if it is valid or removed. Returns the sequence under which the copy is whole."""
        cdef uint64_t sequence = memlane_entry_read(memlane_entry_at(self.shared, self.geometry, index), entry)
        sound[0] = (memlane_entry_state_of(sequence) < MEMLANE_ENTRY_VALID
                    or memlane_entry_check(self.geometry, entry) == MEMLANE_OK)
        return sequence

    def entries(self):
        """
        Return (name, kind, offset, nbytes, geometry, schema, index, sequence, doorbells at once, doorbells later, sound) for
        every object. Of one that is not sound only the index counts; all else may be anything.
        """
        cdef memlane_entry entry
        cdef uint64_t index, sequence, pinned = self.pin_open()
        cdef uint32_t schema_nbytes
        cdef bint sound
        found = []
        try:
            for index in range(memlane_directory_count(self.shared, self.geometry.entries)):
                sequence = self.entry_at(index, &entry, &sound)
                if memlane_entry_state_of(sequence) != MEMLANE_ENTRY_VALID:
                    continue
                schema_nbytes = entry.schema_nbytes if sound else 0
                found.append((
                    (<bytes>entry.name[:64]).split(b"\0")[0].decode(errors="replace"), entry.kind, entry.offset,
                    entry.nbytes, tuple([entry.geometry[i] for i in range(8)]),
                    (<bytes>entry.schema[:schema_nbytes]).decode(errors="replace"), index, sequence,
                    places_of(&entry.doorbells_at_once, entry.offset) if sound else range(0),
                    places_of(&entry.doorbells_later, entry.offset) if sound else range(0), bool(sound)))
            self.check_whole()
        finally:
            self.unpin_loan(pinned)
        return found

    def add_entry(self, bytes name, uint32_t kind, uint64_t nbytes, tuple geometry, bytes schema,
                  uint64_t reserved_nbytes, object initialize, str parts="", str or_less="", tuple doorbells=()):
        """
        Carve an object of *nbytes* out of the first room that is large enough, reserve its first *reserved_nbytes*, have
        it initialized by *initialize(offset)* and make its entry valid. The caller holds the creation byte. *doorbells*
        are those made at once and those made later, each as (offset of the first in the object, stride, count).

        Raises:
            OSError: no memory for it; nothing has changed.
            ValueError: the region or its directory is too small, or the doorbells do not lie in the object.
            CorruptedError: an entry is out of bounds, so nobody knows what room is free.
            ClosedError: this process closed the region meanwhile; nothing has changed.
        """
        cdef uint64_t pinned = self.pin_open()  # whole, before it is made longer again by a reservation
        try:
            return self._add_entry(name, kind, nbytes, geometry, schema, reserved_nbytes, initialize, parts, or_less, doorbells)
        finally:
            self.unpin_loan(pinned)

    cdef uint64_t _add_entry(self, bytes name, uint32_t kind, uint64_t nbytes, tuple geometry, bytes schema,
                             uint64_t reserved_nbytes, object initialize, str parts, str or_less,
                             tuple doorbells) except 0:
        """Pinned: reserving looks for signals, and *initialize* is Python, so anybody may close the region meanwhile."""
        cdef memlane_entry entry
        cdef uint64_t index, offset
        memset(&entry, 0, sizeof(entry))
        tell_doorbells(&entry, doorbells, name, nbytes)
        offset = self._find_room(name, nbytes, &index, parts, or_less)
        memcpy(entry.name, PyBytes_AS_STRING(name), len(name))
        memcpy(entry.schema, PyBytes_AS_STRING(schema), len(schema))
        entry.kind, entry.offset, entry.nbytes, entry.schema_nbytes = kind, offset, nbytes, len(schema)
        for i, number in enumerate(geometry):
            entry.geometry[i] = number
        self.reserve(self.geometry.directory_offset + index * sizeof(entry), sizeof(entry))
        memlane_room_begin()
        if self.doorbells is not None:
            self.doorbells.forget(offset, nbytes)
        try:
            self._clear(offset, nbytes)
            self.reserve(offset, reserved_nbytes)
            initialize(offset)
            if self._closing:
                raise ClosedError(f"{self.name} was closed while {name.decode()!r} was made in it; open the region again")
        except BaseException:
            self.give_back(offset, nbytes)
            raise
        memlane_directory_add(self.shared, self.geometry, index, &entry)
        self.check_whole()
        return offset

    cdef uint64_t _find_room(self, bytes name, uint64_t nbytes, uint64_t *index, str parts, str or_less) except? 0:
        """Where an object of that size can be, and which entry it can have. Frees what was removed and nobody has open."""
        cdef memlane_room rooms[MEMLANE_ENTRIES_MAX]
        cdef memlane_entry entry
        cdef size_t taken = 0
        cdef uint64_t i, sequence, offset, waiting = self.free_removed()
        cdef uint64_t count = memlane_directory_count(self.shared, self.geometry.entries)
        cdef bint sound
        for i in range(count):
            sequence = self.entry_at(i, &entry, &sound)
            if not sound:
                raise CorruptedError(
                    f"{name.decode()!r} cannot be made in {self.name}, since entry {i} of its directory is out of bounds, and "
                    "so nobody knows which room is free; unlink the region and create it again", name=self.name)
            if memlane_entry_state_of(sequence) >= MEMLANE_ENTRY_VALID:
                memlane_room_note(rooms, &taken, &entry)
        index[0] = memlane_directory_pick(self.shared, self.geometry, count)
        if index[0] == self.geometry.entries:
            raise ValueError(f"the directory of {self.name} is full with {index[0]} objects; use a second region"
                             + self._say_waiting(waiting))
        if not memlane_room_find(rooms, taken, self.geometry.objects_offset, self.geometry.nbytes, nbytes, &offset):
            raise ValueError(f"object {name.decode()!r} needs {nbytes} bytes{parts}, and {self.name} has {offset} left; ask for "
                             f"{or_less}a larger region" + self._say_waiting(waiting))
        return offset

    cdef str _say_waiting(self, uint64_t waiting):
        """The processes that keep the room of removed objects, for error texts."""
        if not waiting:
            return ""
        pids = [str(pid) for _, pid, _, _, alive in self.participants() if alive]
        named = ", ".join(pids[:8]) + (", ..." if len(pids) > 8 else "")
        return (f", or close the handles of removed objects: {waiting} bytes are theirs that a process has open still "
                f"(one of pid {named})")

    def remove_entry(self, uint64_t index, uint64_t sequence):
        """
        Remove the object that was found valid: the one step that counts. The caller holds the creation byte.

        Returns:
            Whether it was; False: it is not that object any more.
        """
        cdef uint64_t pinned = self.pin_open()
        cdef bint removed = memlane_entry_remove(memlane_entry_at(self.shared, self.geometry, index), sequence)
        self.unpin_loan(pinned)
        return removed

    cdef uint64_t free_removed(self) except? 0:
        """
        Free the room of removed objects that nobody has open. The caller holds the creation byte. Costs a system call for
        each removed one. Returns how many bytes of removed objects are in use still. The room of one whose entry is out of
        bounds is not known, and stays as it is.
        """
        cdef memlane_entry entry
        cdef uint64_t index, sequence, waiting = 0
        cdef int locked
        cdef bint sound
        for index in range(memlane_directory_count(self.shared, self.geometry.entries)):
            sequence = self.entry_at(index, &entry, &sound)
            if memlane_entry_state_of(sequence) != MEMLANE_ENTRY_REMOVED or not sound:
                continue
            # Through the base, which holds none of these locks: so it sees those of this process, too.
            locked = memlane_lockbyte_probe(self.own.base, MEMLANE_ENTRY_BYTE(index), True)
            # As for rows: a verdict counts only if the same descriptor shows what we know.
            if locked < 0 or memlane_lockbyte_probe(self.own.base, MEMLANE_ROW_BYTE(self.own.row), False) != 1:
                raise ClosedError(f"this process closed the descriptors of {self.name}, so it cannot tell who has a removed "
                                  "object open; open the region again")
            if locked:
                waiting += memlane_align(entry.nbytes)
                continue
            if self.doorbells is not None:
                # what was made after the removal, and all of them if the remover has died
                self.doorbells.remove(places_of(&entry.doorbells_at_once, entry.offset))
                self.doorbells.remove(places_of(&entry.doorbells_later, entry.offset))
            self.give_back(entry.offset, entry.nbytes)
            memlane_entry_free(memlane_entry_at(self.shared, self.geometry, index))
        return waiting

    cdef int _clear(self, uint64_t offset, uint64_t nbytes) except -1:
        """
        Make room all zeros, whatever an object before, or an adder that died, has left in it. What is not whole pages of
        this machine, or cannot be punched out, is written to, and so reserved.
        """
        cdef uint64_t first = pages_up(offset, PAGE_NBYTES), end = pages_down(offset + nbytes, PAGE_NBYTES)
        if end <= first or memlane_advise(self.mapping.address + first, end - first, PAGE_NBYTES, MADV_REMOVE):
            first = end = offset + nbytes
        if first > offset:
            self.reserve(offset, first - offset)
            memset(self.mapping.address + offset, 0, first - offset)
        if offset + nbytes > end:
            self.reserve(end, offset + nbytes - end)
            memset(self.mapping.address + end, 0, offset + nbytes - end)
        return 0

    cdef int reserve(self, uint64_t offset, uint64_t nbytes) except -1:
        """
        Have the kernel set memory aside, so that touching it is never a SIGBUS. Raises OSError (ENOSPC). The caller has
        pinned the region: the descriptor is used over many steps, between which handlers of signals run.
        """
        cdef unsigned char *address = self.mapping.address + offset
        cdef uint64_t turn
        cdef int error
        cdef bint has_file = self.geometry.backing != MEMLANE_BACKING_ANONYMOUS
        if not has_file:
            address -= offset % PAGE_NBYTES
            nbytes += offset % PAGE_NBYTES
            require_limit(nbytes, None)
        elif not self._has_base():
            raise self._base_lost()
        else:
            require_room(self.own.base, nbytes, self.path)
        while nbytes:
            # A child that a handler of a signal forked may have closed what it inherited: pins are of one process.
            if self.closed:
                raise ClosedError(f"{self.name} is closed")
            turn = min(nbytes, <uint64_t>RESERVE_NBYTES_A_TURN)
            if has_file:
                reserve_file(self.own.base, offset, turn, self.path)
                offset += turn
            else:
                with nogil:
                    error = memlane_populate(address, turn)
                if error:
                    raise reserve_error(-error, None, nbytes)
                address += turn
                PyErr_CheckSignals()
            nbytes -= turn
        return 0

    def called(self, str kind, str name, str part=""):
        """
        What messages call an object, or a *part* of it: by the region's name or label if that was made for it alone.
        Such an object bears the name of its kind; one beside it, that came later, is called in full.
        """
        if self.sole and name == kind:
            return self.name.replace("region", kind, 1) + part
        return f"{kind} {name!r}{part} of {self.name}"

    cdef object _base_lost(self):
        """The error for a descriptor that is not that of the region any more; its number may be another file's."""
        return ClosedError(f"descriptor {self.own.base} of {self.name} was closed by this process; open it again")

    cdef void give_back(self, uint64_t offset, uint64_t nbytes) noexcept:
        """Let unused memory go again: whole pages of this machine, which nothing else lies on."""
        cdef uint64_t first = pages_up(offset, PAGE_NBYTES)
        cdef uint64_t end = pages_down(memlane_align(offset + nbytes), PAGE_NBYTES)
        if end > first:
            memlane_advise(self.mapping.address + first, end - first, PAGE_NBYTES, MADV_REMOVE)

    # ---- closing --------------------------------------------------------------------------------

    def handle(self):
        """
        One more handle of this region in this process, which takes new work again if closing still waits for a loan;
        None if it is gone, or its descriptors are not those that it had: then the region has to be opened anew.
        """
        cdef Handle made = Handle.__new__(Handle)
        if self.closed or not memlane_membership_is_sound(&self.own):
            return None
        self._closing = False
        self.handles += 1
        made.membership = self
        return made

    def lose_base(self, int descriptor):
        """This number has just been given to another description, so it is not ours, if it was, whatever it leads to."""
        if self.own.base == descriptor:
            self.own.base = -1

    cdef int _check_open(self) except -1:
        self.notice_fork()
        if self._closing:
            raise ClosedError(f"{self.name} is closed")
        return self.check_whole()

    cdef object refuse_closed(self):
        raise ClosedError(f"{self.name} is closed")

    cdef uint64_t pin_open(self) except 0:
        """As pin_loan, for a new call: refuses one while closing waits for others, and where the file was cut off."""
        cdef uint64_t pinned = self.pin_loan()
        try:
            if self._closing:
                raise ClosedError(f"{self.name} is closed")
            self.check_whole()
        except BaseException:
            self.unpin_loan(pinned)
            raise
        return pinned

    def pinned(self):
        """Keep row, roles, memory and descriptors for what runs in a `with`. Entering raises ClosedError, TruncatedError."""
        return Pinned(self)

    def close(self):
        """Refuse new work, and let everything go as soon as no call is under way and no loan is out. Never fails."""
        cdef uint64_t epoch = memlane_fork_epoch()
        cdef bint last = False
        with cython.critical_section(self):
            if self._pins_epoch != epoch:
                self._pins_epoch, self._pins = epoch, 0
            self._closing = True
            if self._pins == 0 and not self.closed:
                self.closed = last = True
        if last:
            self._let_everything_go()
        self.stir_waits()

    cdef void stir_waits(self) noexcept:
        """
        Have all that waits here by a descriptor look again, behind the closing of a handle. Runs no Python code, so that no
        handler of a signal is lost in it.
        """
        if not self.waits:
            return
        for reference in list(self.waits.values()):
            found = reference()
            if found is not None:
                (<Waiting>found).stir()

    cdef void _let_everything_go(self) noexcept:
        """
        Once only: the caller has set `closed`. Runs no Python code, so no handler of a signal can cut it off half
        way, and no exception can be lost in it.
        """
        memlane_membership_leave(&self.own)  # False: taken for dead before, then nothing of ours is left in the table
        if self.own.base >= 0:
            if self._has_base():
                close_descriptor(self.own.base)
            self.own.base = -1
        if self.doorbells is not None:
            self.doorbells.let_go()
        self.roles.clear()
        self.guarded = self.own.guarded = &memlane_unguarded  # its place in the table may become another mapping's
        self.mapping.let_go()
        self.mapping.close()


@cython.final
cdef class Handle:
    """
    One of the handles that keep a membership, made by `Membership.handle`. The last one that goes closes it: by `let_go`,
    or by being forgotten, as one is that an exception lost on its way to its user.
    """

    def let_go(self):
        """Count this one no more. Doing it twice does nothing. Runs no Python code, so it is done whole or not begun."""
        cdef Membership member = self.membership
        self.membership = None
        if member is not None:
            member.handles -= 1
            if member.handles == 0:
                member.close()

    def __del__(self):
        if not finalizing():
            self.let_go()


@cython.final
cdef class Pinned:
    """A pin for steps in Python; made by `Membership.pinned`. One that is lost between two steps lets go by itself."""

    def __init__(self, Membership membership not None):
        self.membership = membership

    def __enter__(self):
        self.epoch = self.membership.pin_open()

    def __exit__(self, *_error):
        self.let_go()

    def __del__(self):
        self.let_go()

    cdef void let_go(self) noexcept:
        cdef uint64_t epoch = self.epoch
        self.epoch = 0
        if epoch:
            self.membership.unpin_loan(epoch)


cdef int check_header(memlane_status status, const memlane_header *header, uint64_t file_nbytes, str name,
                      object path) except -1:
    """Raise what is wrong with a private copy of a header; each way to be wrong has its own text."""
    ours = f"version {MEMLANE_LAYOUT_VERSION} draft {MEMLANE_LAYOUT_DRAFT}"
    found = f"version {header.layout_version} draft {header.layout_draft}"
    if status == MEMLANE_OK:
        return 0
    if status == MEMLANE_FOREIGN:
        raise LayoutError(f"{name} is no region of memlane: it does not begin with the magic number; check the name",
                          name=name, expected="a region", found="other bytes")
    if status == MEMLANE_OLDER or status == MEMLANE_NEWER:
        raise LayoutError(
            f"{name} has layout {found}, which is {'older' if status == MEMLANE_OLDER else 'newer'} than {ours} of this "
            "library; unlink it and create it again, or use the library that made it",
            name=name, expected=ours, found=found)
    if status == MEMLANE_UNKNOWN_FEATURES:
        raise LayoutError(f"{name} uses features {header.features:#x} that this library does not know; "
                          "use the library that made it", name=name, expected=0, found=header.features)
    if status == MEMLANE_TRUNCATED:
        raise TruncatedError(f"{name} has {file_nbytes} bytes, its header says {header.nbytes}; unlink it and create "
                             "it again", name=name, path=path, expected=header.nbytes, found=file_nbytes)
    raise CorruptedError(f"the header of {name} contradicts itself; unlink it and create it again", name=name)


cdef uint64_t process_start_time() except? 0:
    """Start of this process in clock ticks since boot, for people; 0 where /proc does not tell."""
    try:
        with open("/proc/self/stat", "rb") as stat:
            return int(stat.read().rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


cdef bytes process_name():
    """What people call this process: the script it runs."""
    argv = getattr(_sys, "argv", None) or [""]
    name = _os.path.basename(argv[0]) or _os.path.basename(_sys.executable or "python")
    return _os.fsencode(name)[:40]
