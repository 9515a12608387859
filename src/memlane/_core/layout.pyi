# SPDX-License-Identifier: MIT
from collections.abc import Sequence
from typing import Final, TypeAlias

# Where doorbells are in an object: offset, stride, count.
_Doorbells: TypeAlias = tuple[int, int, int]

# Of the directory: name, kind, offset, nbytes, geometry, schema, number, sequence, doorbells at once, later, sound.
_Entry: TypeAlias = tuple[
    str, int, int, int, tuple[int, ...], str, int, int, Sequence[int], Sequence[int], bool
]
VERSION: str
MAGIC: Final[bytes]
HEADER_NBYTES: Final[int]
RESERVED_AT_CREATION_NBYTES: Final[int]
SCHEMA_NBYTES: Final[int]
BACKING_NAMED: Final[int]
BACKING_PATH: Final[int]
BACKING_MEMFD: Final[int]
BACKING_ANONYMOUS: Final[int]
DOORBELL_NONE: Final[int]
DOORBELL_UNNAMED: Final[int]
DOORBELL_NAMED: Final[int]
KIND_ARRAY: Final[int]
KIND_HEAP: Final[int]
KIND_RING: Final[int]
KIND_SLOT: Final[int]
KIND_COUNTER: Final[int]
KIND_COUNTERS: Final[int]
KIND_TABLE: Final[int]
KIND_TOPIC: Final[int]
KIND_MAP: Final[int]
KIND_LOCK: Final[int]
KIND_EVENT: Final[int]
KIND_QUEUE: Final[int]
KIND_SAMPLES: Final[int]
QUEUE_RECORDS_MAX: Final[int]
TASKS: Final[dict[bool, int]]
ORDERS: Final[dict[str, int]]
POLICIES: Final[dict[str, int]]
SUBSCRIBERS_MAX: Final[int]
CONSUMERS: Final[dict[str, int]]
LANES_MAX: Final[int]
DESCRIPTORS_MAX: Final[int]
CAPACITY_MAX: Final[int]

def header_bytes(
    objects_nbytes: int, *, region_id: int, backing: int, permissions: int, libc: bytes
) -> tuple[bytes, int]: ...
def ring_shape(
    lanes: int, capacity: int, records: int
) -> tuple[int, int, tuple[_Doorbells, _Doorbells]]: ...
def topic_shape(
    publishers: int, capacity: int, records: int, subscribers: int, order: int, policy: int
) -> tuple[int, int, tuple[_Doorbells, _Doorbells]]: ...
def queue_shape(
    lanes: int, capacity: int, records: int, maxsize: int, tasks: int
) -> tuple[int, int, tuple[_Doorbells, _Doorbells]]: ...
def slots_shape(
    slots: int, value_nbytes: int, copies: int, watchers: int, writers: int
) -> tuple[int, tuple[_Doorbells, _Doorbells]]: ...
def pages_within(offset: int, nbytes: int, page_nbytes: int) -> tuple[int, int]: ...
