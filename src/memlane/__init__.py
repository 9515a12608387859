# SPDX-License-Identifier: MIT
"""Rings, slots and mappings in shared memory for Python processes on one Linux machine."""

from memlane._core import PAGE_SIZE, Consumer, Mapping, Producer, Record, Room, guard
from memlane.counter import Counter
from memlane.errors import (
    ClosedError,
    CorruptedError,
    Empty,
    Full,
    Lapped,
    LayoutError,
    MemlaneError,
    PeerGoneError,
    RecordTooLargeError,
    RegionExistsError,
    RegionNotFoundError,
    RoleTakenError,
    ShutDown,
    TruncatedError,
)
from memlane.names import sweep
from memlane.region import Participant, Region
from memlane.ring import Ring
from memlane.slot import Slot, SlotTable
from memlane.walk import windows

__version__ = "0.1.0"

__all__ = [
    "PAGE_SIZE",
    "ClosedError",
    "Consumer",
    "CorruptedError",
    "Counter",
    "Empty",
    "Full",
    "Lapped",
    "LayoutError",
    "Mapping",
    "MemlaneError",
    "Participant",
    "PeerGoneError",
    "Producer",
    "Record",
    "RecordTooLargeError",
    "Region",
    "RegionExistsError",
    "RegionNotFoundError",
    "Ring",
    "RoleTakenError",
    "Room",
    "ShutDown",
    "Slot",
    "SlotTable",
    "TruncatedError",
    "__version__",
    "guard",
    "sweep",
    "windows",
]
