# SPDX-License-Identifier: MIT
"""
The bytes that processes share, to be read and written by hand: docs/layout.md as a test sees it.
"""

from __future__ import annotations

import mmap
import os
from types import TracebackType
from typing import Self

from memlane import Ring, Slot
from memlane.shared_object import SharedObject

NONE, READY, TAKEN, FREE, CLOSED = range(5)
NEVER, DEPARTED = 0, 1


def tag_of(row: int, generation: int) -> int:
    """How a participant is named in shared words: 22 bits of its generation, 10 of its row."""
    return generation % (1 << 22) << 10 | row


#: A tag of a row that nobody ever joined with that generation: as good as one of a dead process.
DEAD_TAG = tag_of(5, 1999)

_ROWS_AT, _SELECTORS_AT, _OBJECTS_OFFSET_AT = 48, 100, 72
_PAGE = 4096


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _PAGE) * _PAGE


class SharedBytes:
    """A second mapping of the region of an object that has the region to itself."""

    def __init__(self, thing: SharedObject) -> None:
        # A description of our own: locks of the library are not touched.
        source = f"/proc/self/fd/{thing.region._member.base}"
        descriptor = os.open(source, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._mapping = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        self._view = memoryview(self._mapping)
        self._words = self._view.cast("Q")  # one store each
        self._halves = self._view.cast("I")
        self.object = self._words[_OBJECTS_OFFSET_AT // 8]

    def word(self, at: int) -> int:
        return self._words[(self.object + at) // 8]

    def set_word(self, at: int, value: int) -> None:
        self._words[(self.object + at) // 8] = value % 2**64

    def half(self, at: int) -> int:
        return self._halves[(self.object + at) // 4]

    def set_half(self, at: int, value: int) -> None:
        self._halves[(self.object + at) // 4] = value

    def write(self, at: int, data: bytes) -> None:
        self._view[self.object + at : self.object + at + len(data)] = data

    def read(self, at: int, nbytes: int) -> bytes:
        return bytes(self._view[self.object + at : self.object + at + nbytes])

    def punch(self, at: int) -> None:
        """Give the pages back from byte *at* of the region to its end: they read as zeros."""
        self._mapping.madvise(mmap.MADV_REMOVE, at, len(self._mapping) - at)

    def take_announcements(self, at: int) -> int:
        """
        As a waker that dies before it sends: take the classes of selectors away from the word of
        waiters at byte *at* of the object, and the arming of all selectors. Returns how many there
        were that were armed.
        """
        self.set_half(at, self.half(at) & 0xFFFF)
        rows, selectors = self._halves[_ROWS_AT // 4], self._halves[_SELECTORS_AT // 4]
        armed = 0
        for selector in range(selectors):
            index = (_PAGE + 64 * rows + 64 * selector) // 8
            armed += self._words[index] & 1
            self._words[index] &= ~1
        return armed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self._words.release()
        self._halves.release()
        self._view.release()
        self._mapping.close()


class RingBytes(SharedBytes):
    """Of a ring."""

    SHUTDOWN, LEASED, WAITERS, CONSUMER = 0, 4, 8, 12

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring)
        self._lanes = ring.producers
        self.descriptors = 1 << (ring.max_records - 1).bit_length()
        self._data = _aligned(256 + 512 * ring.producers + 4096)
        self._bytes_offset = _aligned(24 * self.descriptors)
        self._data_nbytes = self._bytes_offset + ring.capacity

    CAME, DIED = 208, 216

    def consumer_at(self, row: int) -> int:
        return 256 + 512 * self._lanes + 4 * row

    def owner_at(self, lane: int) -> int:
        return 256 + 512 * lane

    def waiters_at(self, lane: int) -> int:
        return 256 + 512 * lane + 4

    def tail_at(self, lane: int) -> int:
        return 256 + 512 * lane + 128

    def head_at(self, lane: int) -> int:
        return 256 + 512 * lane + 256

    def taken_at(self, lane: int) -> int:
        return self.head_at(lane) + 8

    def bytes_at(self, lane: int) -> int:
        return self._data + lane * self._data_nbytes + self._bytes_offset

    def state_at(self, lane: int, s: int) -> int:
        return self._data + lane * self._data_nbytes + 16 * (s % self.descriptors)

    def extent_at(self, lane: int, s: int) -> int:
        return self.state_at(lane, s) + 8

    @staticmethod
    def state(s: int, kind: int) -> int:
        return (s >> 29) << 32 | (s % 2**29) << 3 | kind

    @staticmethod
    def extent(offset: int, nbytes: int) -> int:
        return nbytes << 32 | offset >> 3

    def full_at(self, lane: int) -> int:
        return 256 + 512 * lane + 448

    def clock_at(self, lane: int) -> int:
        return self.full_at(lane) + 8

    def stamp_at(self, lane: int, s: int) -> int:
        return self.state_at(lane, 0) + 16 * self.descriptors + 8 * (s % self.descriptors)

    @staticmethod
    def stamp(s: int, ns: int) -> int:
        return s % 2**25 << 39 | ns >> 22

    def is_stamped(self, lane: int, s: int) -> bool:
        word = self.word(self.stamp_at(lane, s))
        return word % 2**39 > 0 and word >> 39 == s % 2**25

    def set_state(self, lane: int, s: int, kind: int) -> None:
        self.set_word(self.state_at(lane, s), self.state(s, kind))

    def stage(self, lane: int, s: int, offset: int, record: bytes) -> None:
        """Put record *s* in place and mark it READY, as a batch does before it is committed."""
        self.write(self.bytes_at(lane) + offset, record)
        self.set_word(self.extent_at(lane, s), self.extent(offset, len(record)))
        self.set_state(lane, s, READY)


class SlotBytes(SharedBytes):
    """Of a slot."""

    def __init__(self, slot: Slot, watchers: int = 64, copies: int = 4) -> None:
        super().__init__(slot)
        self.sequence_at = 128 * watchers
        self.armed_at = self.sequence_at + 8
        self.writer_at = self.sequence_at + 16
        self._copies = copies
        self._stamps_at = self.sequence_at + 64
        self._copies_at = self._stamps_at + -(-16 * copies // 64) * 64
        self._stride = -(-slot.nbytes // 64) * 64

    def stamp_at(self, version: int) -> int:
        """Where the 16 bytes lie that say when a version was published."""
        return self._stamps_at + version % self._copies * 16

    def copy_at(self, version: int) -> int:
        """Where the value of a version lies."""
        return self._copies_at + version % self._copies * self._stride
