# SPDX-License-Identifier: MIT
"""
Opened: what one process has open of one object of a region, until the object is removed.

An object is removed by one store in its entry of the directory (src/core/directory.h). Each call on a handle compares the
entry's sequence with the one under which the object was opened. That the room of a removed object is not used again
while this process may still write there is up to a read lock of the kernel on the entry's byte: taken before the first
call that writes, by the description that bears the row, let go when the last handle that has used the object is closed,
or when its removal is noticed; never while a call on it is under way or a loan of it is out.
"""

cimport cython
from libc.stdint cimport uint64_t

import errno as _errno

from memlane.errors import ClosedError, CorruptedError

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport MEMLANE_BACKING_ANONYMOUS, memlane_entry_at
from memlane._core.membership cimport EPOCH_CLOSED, Membership, Users
from memlane._core.os cimport memlane_fork_epoch, memlane_fork_is
from memlane._core.os_errors cimport os_error
from memlane._core.runtime cimport (
    MEMLANE_HOLD_GONE, MEMLANE_HOLD_LOST, MEMLANE_HOLD_REFUSED, memlane_hold,
    memlane_membership_hold, memlane_membership_unhold,
)

memlane_calls_join(calls_of_process(), globals())


cdef class Opened:
    """One object, as all handles of this process share it. A call that writes there has entered, and not let go."""

    cdef int begin(self, Membership membership, entry, str name) except -1:
        self.membership = membership
        self.entry_index, self.sequence = entry[6], entry[7]
        self.entry = memlane_entry_at(membership.shared, membership.geometry, self.entry_index)
        self.name = name
        self.described = description_of(entry)
        self.held = EPOCH_CLOSED
        self.holders = Users()
        return 0

    @cython.final
    cdef int forget_doorbells(self, entry) except -1:
        """
        What this process may know of the doorbells of an object that was here before. Those of MAP_ANONYMOUS memory are
        known from their making alone; there the one who makes an object forgets them.
        """
        if self.membership.doorbells is not None and self.membership.geometry.backing != MEMLANE_BACKING_ANONYMOUS:
            self.membership.doorbells.forget(entry[2], entry[3])
        return 0

    @cython.final
    cdef int enter(self, uint64_t *counted_in, const bint *closed, object handle) except -1:
        """
        See that nobody uses the room again as long as this process may write there. `counted_in` and `closed` are the
        *handle*'s: one that is closed meanwhile is not counted, for nobody would ever count it off again.

        Raises:
            ClosedError: the object was removed, or the handle closed.
            What `Membership.join` raises.
        """
        if not memlane_fork_is(self.held):
            self.membership.own_tag()  # runs Python; what follows does not
            if not memlane_fork_is(self.held):
                self.hold()
        if closed[0]:
            if self.holders.is_empty():
                self.notice()
            raise closed_error(handle, self.name)
        self.holders.add(counted_in)
        return 0

    @cython.final
    cdef int hold(self) except -1:
        """
        Lock the byte, which no thread of this process has locked for this object: on finding the object removed it is
        unlocked again. Runs no Python, so that it stays so.
        """
        cdef int error
        cdef memlane_hold hold = memlane_membership_hold(
            &self.membership.own, self.entry, self.entry_index, self.sequence, &error)
        if hold == MEMLANE_HOLD_GONE:
            self.refuse_gone()
        if hold == MEMLANE_HOLD_LOST:
            raise self.membership._base_lost()
        if hold == MEMLANE_HOLD_REFUSED:
            raise os_error(error, f"lock the entry of {self.name}", None, "use a local file system and Linux 3.15 or newer")
        self.held = memlane_fork_epoch()
        return 0

    @cython.final
    cdef void leave(self, uint64_t *counted_in) noexcept:
        """A handle is closed; its roles are given back."""
        if self.holders.remove(counted_in) and not self.is_in_use():
            self.let_go()

    @cython.final
    cdef bint is_in_use(self) noexcept nogil:
        return self.uses > 0 and memlane_fork_is(self.uses_epoch)

    @cython.final
    cdef void notice(self) noexcept:
        """Let go of an object that was removed, if nobody here is in the midst of it."""
        if not self.is_in_use():
            self.let_go()

    @cython.final
    cdef void let_go(self) noexcept:
        cdef bint held = memlane_fork_is(self.held)
        self.held = EPOCH_CLOSED
        if held and not self.membership.closed:
            if self.is_gone():
                self.forget_roles()
            memlane_membership_unhold(&self.membership.own, self.entry_index)

    cdef void forget_roles(self) noexcept:
        """The object was removed: what this process has of it is no longer there to be given back."""

    @cython.final
    cdef object refuse_gone(self):
        """Raise TruncatedError where there is no entry any more, since the file was cut off, else ClosedError."""
        self.membership.check_whole()
        self.notice()
        raise ClosedError(f"{self.name} was removed, by this process or another one; open what is there now")


def closed_error(handle, str called):
    """
    The error for a call on a *handle* that this process has closed: by which close, as far as that is known. *called* is
    how messages call it.
    """
    word, again = None, "open it again"
    if hasattr(handle, "_goes_with"):
        word, owner, again = handle._goes_with
    elif hasattr(handle, "_table"):
        word, owner = "table", handle._table
    elif not getattr(handle, "_owns", True):
        word, owner = "region", handle._region
    if word is not None and owner is not None and owner.closed:
        by, again, handle = f"with its {word}", f"open the {word} again", owner
    else:
        by = "by close() or at the end of a with"
    handle = getattr(handle, "_region", handle) if getattr(handle, "_owns", False) else handle
    if getattr(handle, "name", "") is None:
        again = "close it later, since there is no name to open it again"
    return ClosedError(f"this handle of {called} was closed in this process, {by}; {again}")


cdef int drop_removed(Membership membership) except -1:
    """Forget what this process has open of objects that were removed: their places may be those of others now."""
    cdef Opened opened
    for key in list(membership.roles):
        found = membership.roles.get(key)
        if found is not None:
            opened = found
            if opened.is_gone():
                opened.notice()
                membership.roles.pop(key, None)
    return 0


cdef tuple description_of(entry):
    """What tells an object from another one at the same place: nbytes, geometry, entry and sequence."""
    return entry[3], entry[4], entry[6], entry[7]


cdef Opened opened_of(Membership membership, entry, str kind, opened_maker make):
    """
    What this process has open of the object that *entry* of the directory describes: the same for all its handles, made by the
    first one, which *make* does with the region pinned.
    """
    cdef Opened found
    cdef uint64_t pinned = membership.pin_open()  # allocating may run the collector, and it anything
    key = (kind, entry[2])
    try:
        drop_removed(membership)
        found = membership.roles.get(key)
        if found is None:
            found = membership.roles.setdefault(key, make(membership, entry))
        # One state serves all handles: what is known of the object at that offset must be what the entry says.
        if found.described != description_of(entry):
            raise CorruptedError(f"entry {entry[0]!r} in the directory of {membership.name} is at byte {entry[2]}, where "
                                 "another object lies; unlink the region and create it again", name=membership.name)
    finally:
        membership.unpin_loan(pinned)
    return found


def free_removed_objects(Membership membership not None):
    """As `Membership.free_removed`, for the one who has just removed one; what this process has open of it does not count."""
    cdef uint64_t pinned = membership.pin_open()
    try:
        drop_removed(membership)
        return membership.free_removed()
    finally:
        membership.unpin_loan(pinned)
