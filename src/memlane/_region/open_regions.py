# SPDX-License-Identifier: MIT
"""Which regions this process has open."""

from __future__ import annotations

import os
import threading
import weakref

import memlane._core as _core
from memlane._core import Handle, Membership


class OpenRegions:
    """
    One membership per region, process and access, however often the region is opened. A second one
    exists only if the first has lost its descriptors. Each membership that is returned is counted
    as one more handle in the same step, so that the last close of another thread cannot fall
    between.
    """

    def __init__(self) -> None:
        self._members: weakref.WeakValueDictionary[tuple[int, int, bool], Membership] = (
            weakref.WeakValueDictionary()
        )
        self._all: weakref.WeakSet[Membership] = weakref.WeakSet()
        self._locks: dict[int, threading.RLock] = {}

    def lock(self) -> threading.RLock:
        """
        The lock of this epoch; a lock that a fork left locked belongs to the parent. One thread may
        take it twice: the garbage collector may close forgotten regions under it.
        """
        return self._locks.setdefault(_core.fork_epoch(), threading.RLock())

    def find(self, device: int, inode: int, readonly: bool, descriptor: int) -> Handle | None:
        """
        A handle of the region in this file, if there is a usable membership. *descriptor* was just
        opened by the caller, so it belongs to no membership.
        """
        self._lose(descriptor)
        member = self._members.get((device, inode, readonly))
        return None if member is None else member.handle()

    def find_id(self, region_id: int, readonly: bool) -> Handle | None:
        for member in list(self._members.values()):
            if member.region_id == region_id and member.readonly == readonly:
                handle = member.handle()
                if handle is not None:
                    return handle
        return None

    def add(self, member: Membership) -> Handle:
        found = os.fstat(member.base)
        self._members[found.st_dev, found.st_ino, member.readonly] = member
        return self.count(member)

    def count(self, member: Membership) -> Handle:
        """The first handle of a membership that `find` must not return."""
        self._lose(member.base)
        self._all.add(member)
        handle = member.handle()
        assert handle is not None
        return handle

    def _lose(self, descriptor: int) -> None:
        """
        If a program closes descriptors it does not own, their numbers are used again, even for the
        same file. A membership that had this number has lost it, and must not close it.
        """
        for member in list(self._all):
            member.lose_base(descriptor)


open_regions = OpenRegions()
