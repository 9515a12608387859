# SPDX-License-Identifier: MIT
"""
The binding: arguments of Python in, a status of C out. A module for each subject, no atomics.

Python code takes all of it from here, wherever it stands.
"""

from memlane._core.arguments import ctypes_holds
from memlane._core.array import ArrayBase, handle_of_bytes
from memlane._core.calls import clear_errors
from memlane._core.counter import COUNTERS_MAX, CounterBase, counters_nbytes
from memlane._core.files import Descriptor, is_network_file, reserve
from memlane._core.handles import Borrowed, LaneHandle, Receiving, Records
from memlane._core.lanes import Endpoint
from memlane._core.layout import (
    BACKING_ANONYMOUS,
    BACKING_MEMFD,
    BACKING_NAMED,
    BACKING_PATH,
    CAPACITY_MAX,
    CONSUMERS,
    DESCRIPTORS_MAX,
    DOORBELL_NAMED,
    DOORBELL_NONE,
    DOORBELL_UNNAMED,
    HEADER_NBYTES,
    KIND_ARRAY,
    KIND_COUNTER,
    KIND_COUNTERS,
    KIND_EVENT,
    KIND_LOCK,
    KIND_MAP,
    KIND_QUEUE,
    KIND_RING,
    KIND_SLOT,
    KIND_TABLE,
    KIND_TOPIC,
    LANES_MAX,
    MAGIC,
    ORDERS,
    POLICIES,
    QUEUE_RECORDS_MAX,
    RESERVED_AT_CREATION_NBYTES,
    SCHEMA_NBYTES,
    SUBSCRIBERS_MAX,
    TASKS,
    VERSION,
    header_bytes,
    pages_within,
    queue_shape,
    ring_shape,
    slots_shape,
    topic_shape,
)
from memlane._core.loan import Loan
from memlane._core.lock import EventBase, LockBase, event_shape, lock_shape
from memlane._core.map import (
    MAP_ENTRIES_MAX,
    MAP_KEY_MAX,
    MAP_VALUE_MAX,
    VALUES_FIXED,
    VALUES_UP_TO,
    KeyWatch,
    MapBase,
    map_fill,
    map_shape,
)
from memlane._core.mapping import PERMISSIONS, Mapping, guard
from memlane._core.mapping_options import PAGE_SIZE
from memlane._core.membership import (
    Handle,
    Membership,
    Pinned,
    fork_epoch,
    is_present,
    name_lock,
    presence_lock,
)
from memlane._core.objects import Codec
from memlane._core.opened import closed_error, free_removed_objects
from memlane._core.os_errors import explained, no_room
from memlane._core.queue import Borrowing, Objects, QueueBase
from memlane._core.receiver import Loans, RecordLoan
from memlane._core.ring import Consumer, Producer, RingBase, Sending
from memlane._core.ring_consumer import Record
from memlane._core.selecting import Selector, Watch
from memlane._core.sender import ArrayReservation, Reservation
from memlane._core.slot import SlotBase, TableBase
from memlane._core.topic import Publisher, Publishing, Subscriber, TopicBase
from memlane._core.topic_subscriber import TopicRecord
from memlane._core.waiting import Doorbell, HeldDoorbells, intervals_slept

__all__ = [
    "BACKING_ANONYMOUS",
    "BACKING_MEMFD",
    "BACKING_NAMED",
    "BACKING_PATH",
    "CAPACITY_MAX",
    "CONSUMERS",
    "COUNTERS_MAX",
    "DESCRIPTORS_MAX",
    "DOORBELL_NAMED",
    "DOORBELL_NONE",
    "DOORBELL_UNNAMED",
    "HEADER_NBYTES",
    "KIND_ARRAY",
    "KIND_COUNTER",
    "KIND_COUNTERS",
    "KIND_EVENT",
    "KIND_LOCK",
    "KIND_MAP",
    "KIND_QUEUE",
    "KIND_RING",
    "KIND_SLOT",
    "KIND_TABLE",
    "KIND_TOPIC",
    "LANES_MAX",
    "MAGIC",
    "MAP_ENTRIES_MAX",
    "MAP_KEY_MAX",
    "MAP_VALUE_MAX",
    "ORDERS",
    "PAGE_SIZE",
    "PERMISSIONS",
    "POLICIES",
    "QUEUE_RECORDS_MAX",
    "RESERVED_AT_CREATION_NBYTES",
    "SCHEMA_NBYTES",
    "SUBSCRIBERS_MAX",
    "TASKS",
    "VALUES_FIXED",
    "VALUES_UP_TO",
    "VERSION",
    "ArrayBase",
    "ArrayReservation",
    "Borrowed",
    "Borrowing",
    "Codec",
    "Consumer",
    "CounterBase",
    "Descriptor",
    "Doorbell",
    "Endpoint",
    "EventBase",
    "Handle",
    "HeldDoorbells",
    "KeyWatch",
    "LaneHandle",
    "Loan",
    "Loans",
    "LockBase",
    "MapBase",
    "Mapping",
    "Membership",
    "Objects",
    "Pinned",
    "Producer",
    "Publisher",
    "Publishing",
    "QueueBase",
    "Receiving",
    "Record",
    "RecordLoan",
    "Records",
    "Reservation",
    "RingBase",
    "Selector",
    "Sending",
    "SlotBase",
    "Subscriber",
    "TableBase",
    "TopicBase",
    "TopicRecord",
    "Watch",
    "clear_errors",
    "closed_error",
    "counters_nbytes",
    "ctypes_holds",
    "event_shape",
    "explained",
    "fork_epoch",
    "free_removed_objects",
    "guard",
    "handle_of_bytes",
    "header_bytes",
    "intervals_slept",
    "is_network_file",
    "is_present",
    "lock_shape",
    "map_fill",
    "map_shape",
    "name_lock",
    "no_room",
    "pages_within",
    "presence_lock",
    "queue_shape",
    "reserve",
    "ring_shape",
    "slots_shape",
    "topic_shape",
]
