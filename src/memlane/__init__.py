# SPDX-License-Identifier: MIT
"""
Rings, slots and mappings in shared memory for Python processes on one Linux machine.

    Ring       records from some processes to others, each to one of them; `put`, `get`
    Slot       the newest of a value, for all that read it; `publish`, `read`
    SlotTable  many slots of one layout, told apart by number
    Queue      Python objects, as multiprocessing.Queue; `put`, `get`
    SimpleQueue    the same without tasks, as multiprocessing.SimpleQueue
    JoinableQueue  another name of Queue
    Topic      records from some processes to others, each to all of them; `publish`, `subscribe`
    Map        values by key, the dict that processes share
    Array      an array in shared memory, which any process uses in place
    array      the same as an array of numpy's, which nobody has to close
    Heap       memory in blocks that stay for as long as a living process holds them
    Lock       for unrelated processes; it goes on when its owner dies
    RLock      a Lock that the thread that has it may take again
    Event      something that is set or not, to be waited for
    Counter    a number that any process may add to
    Counters   many of them, each on a cache line of its own
    counters   the same without a name
    RateLimiter    how many requests may be made in some time, by key
    Decision   what it says of a request
    Region     one shared object that carries many of the above, by name
    Mapping    a file or memory, mapped: all that mmap(2) can do
    windows    a file in pieces that overlap or not, however large it is
    sweep      remove what nobody has open any more
    wait       until one of several of these, or of sockets and processes, is ready
    aio        the same verbs, awaited in an event loop
    bridge     carries objects to other machines
    get_include    where the header for programs in C is
    get_library    where the library for them is
    metrics    what goes through all these, for Prometheus
    prometheus the metrics of worker processes in one region, for prometheus_client
    guard      whether a page that its file has lost reads as zeros, or ends the process

`help(memlane.Ring)` and so on tell the rest. All errors are a MemlaneError or an OSError.
"""

from typing import TYPE_CHECKING

from memlane._core import (
    PAGE_SIZE,
    ArrayReservation,
    Consumer,
    KeyWatch,
    Mapping,
    Producer,
    Publisher,
    Record,
    Reservation,
    Subscriber,
    TopicRecord,
    guard,
)
from memlane._core import VERSION as _VERSION
from memlane._instead import of_module as _of_module
from memlane._region.attachment import Participant
from memlane._region.sweep import sweep
from memlane.array import Array, array
from memlane.counter import Counter, Counters, counters
from memlane.errors import (
    ClosedError,
    CorruptedError,
    Empty,
    Evicted,
    Full,
    HoldersFullError,
    Lapped,
    LayoutError,
    MemlaneError,
    ObjectNotFoundError,
    OwnerDied,
    PeerGoneError,
    QueueClosedError,
    RecordTooLargeError,
    RegionExistsError,
    RegionNotFoundError,
    RoleTakenError,
    ShutDown,
    StaleHandleError,
    TruncatedError,
)
from memlane.heap import Block, BlockLoan, Heap
from memlane.linking import get_include, get_library
from memlane.lock import Event, Lock, RLock
from memlane.map import Map
from memlane.queue import Queue, SimpleQueue
from memlane.rate_limiter import Decision, RateLimiter
from memlane.region import Region
from memlane.ring import Ring
from memlane.slot import Slot, SlotTable
from memlane.topic import Topic
from memlane.waiting import wait
from memlane.windows import windows

__version__: str = _VERSION

#: Another name of Reservation, which annotations may have.
Room = Reservation

#: A Queue counts tasks.
JoinableQueue = Queue

__all__ = [
    "PAGE_SIZE",
    "Array",
    "ArrayReservation",
    "Block",
    "BlockLoan",
    "ClosedError",
    "Consumer",
    "CorruptedError",
    "Counter",
    "Counters",
    "Decision",
    "Empty",
    "Event",
    "Evicted",
    "Full",
    "Heap",
    "HoldersFullError",
    "JoinableQueue",
    "KeyWatch",
    "Lapped",
    "LayoutError",
    "Lock",
    "Map",
    "Mapping",
    "MemlaneError",
    "ObjectNotFoundError",
    "OwnerDied",
    "Participant",
    "PeerGoneError",
    "Producer",
    "Publisher",
    "Queue",
    "QueueClosedError",
    "RLock",
    "RateLimiter",
    "Record",
    "RecordTooLargeError",
    "Region",
    "RegionExistsError",
    "RegionNotFoundError",
    "Reservation",
    "Ring",
    "RoleTakenError",
    "Room",
    "ShutDown",
    "SimpleQueue",
    "Slot",
    "SlotTable",
    "StaleHandleError",
    "Subscriber",
    "Topic",
    "TopicRecord",
    "TruncatedError",
    "__version__",
    "array",
    "counters",
    "get_include",
    "get_library",
    "guard",
    "sweep",
    "wait",
    "windows",
]

if TYPE_CHECKING:
    from memlane import aio as aio
    from memlane import bridge as bridge
    from memlane import metrics as metrics
    from memlane import prometheus as prometheus
else:  # or type checkers would take any name for one that is there
    _QUEUES = "use Queue() for objects, or Ring() for records of bytes"
    _LOCKS = "use Lock or Event, or that of multiprocessing"
    __getattr__ = _of_module(
        __name__,
        {
            "LifoQueue PriorityQueue deque Pipe Channel": _QUEUES,
            "Value RawValue": "use Slot.create(name, layout), or Counter.create(name)",
            "RawArray ShareableList": "use array(shape, dtype), or SlotTable.create(...)",
            "Semaphore BoundedSemaphore Condition Barrier": _LOCKS,
            "Process Pool Manager": "use that of multiprocessing; objects of memlane travel to it",
            "SharedMemory mmap": "use Mapping, which is bytes, or Region, which has objects",
            "create open open_or_create attach connect": "use that of Ring, Slot or Region",
        },
        modules=("aio", "bridge", "metrics", "prometheus"),
    )

del TYPE_CHECKING
