# SPDX-License-Identifier: MIT
"""What was compiled in, for Python: the version, and what the layout of the shared bytes comes to."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

import sys as _sys
import time as _time

from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BACKING_ANONYMOUS, MEMLANE_BACKING_MEMFD, MEMLANE_BACKING_NAMED, MEMLANE_BACKING_PATH,
    MEMLANE_CAPACITY_MAX, MEMLANE_CONSUMERS_MANY, MEMLANE_CONSUMERS_ONE, MEMLANE_DESCRIPTORS_MAX,
    MEMLANE_DOORBELL_NAMED, MEMLANE_DOORBELL_NONE, MEMLANE_DOORBELL_UNNAMED, MEMLANE_KIND_ARRAY, MEMLANE_KIND_COUNTER,
    MEMLANE_KIND_COUNTERS, MEMLANE_KIND_EVENT, MEMLANE_KIND_HEAP, MEMLANE_KIND_LOCK, MEMLANE_KIND_MAP, MEMLANE_KIND_RING, MEMLANE_KIND_SLOT, MEMLANE_KIND_TABLE,
    MEMLANE_KIND_QUEUE, MEMLANE_KIND_SAMPLES, MEMLANE_KIND_TOPIC, MEMLANE_LANES_MAX,
    MEMLANE_MAGIC, MEMLANE_ORDER_ALL, MEMLANE_ORDER_PUBLISHER, MEMLANE_POLICY_OVERWRITE,
    MEMLANE_POLICY_WAIT, MEMLANE_QUEUE_RECORDS_MAX, MEMLANE_RESERVED_AT_CREATION, MEMLANE_SUBSCRIBERS_MAX,
    MEMLANE_TASKS_COUNTED, MEMLANE_TASKS_NOT_COUNTED, memlane_doorbells, memlane_doorbells_fit, memlane_entry,
    memlane_header, memlane_header_lay_out, memlane_queue_lay_out, memlane_queue_shape,
    memlane_queue_tell_doorbells, memlane_ring_lay_out, memlane_ring_shape,
    memlane_ring_tell_doorbells, memlane_slots_lay_out, memlane_slots_shape,
    memlane_slots_tell_doorbells, memlane_topic_lay_out, memlane_topic_shape,
    memlane_topic_tell_doorbells,
)
from memlane._core.os cimport getpid

memlane_calls_join(calls_of_process(), globals())

cdef extern from *:
    const char *MEMLANE_VERSION

VERSION = MEMLANE_VERSION.decode()

MAGIC = (<object>MEMLANE_MAGIC).to_bytes(8, _sys.byteorder)
HEADER_NBYTES = sizeof(memlane_header)
RESERVED_AT_CREATION_NBYTES = MEMLANE_RESERVED_AT_CREATION
BACKING_NAMED, BACKING_PATH = MEMLANE_BACKING_NAMED, MEMLANE_BACKING_PATH
BACKING_MEMFD, BACKING_ANONYMOUS = MEMLANE_BACKING_MEMFD, MEMLANE_BACKING_ANONYMOUS
DOORBELL_NONE, DOORBELL_UNNAMED, DOORBELL_NAMED = (
    MEMLANE_DOORBELL_NONE, MEMLANE_DOORBELL_UNNAMED, MEMLANE_DOORBELL_NAMED)
SCHEMA_NBYTES = sizeof(((<memlane_entry *>NULL)[0]).schema)
KIND_ARRAY, KIND_HEAP = MEMLANE_KIND_ARRAY, MEMLANE_KIND_HEAP
KIND_RING, KIND_SLOT, KIND_COUNTER, KIND_TABLE, KIND_TOPIC = (
    MEMLANE_KIND_RING, MEMLANE_KIND_SLOT, MEMLANE_KIND_COUNTER, MEMLANE_KIND_TABLE, MEMLANE_KIND_TOPIC)
KIND_MAP, KIND_LOCK, KIND_EVENT = MEMLANE_KIND_MAP, MEMLANE_KIND_LOCK, MEMLANE_KIND_EVENT
KIND_QUEUE, KIND_COUNTERS, KIND_SAMPLES = MEMLANE_KIND_QUEUE, MEMLANE_KIND_COUNTERS, MEMLANE_KIND_SAMPLES
QUEUE_RECORDS_MAX = MEMLANE_QUEUE_RECORDS_MAX
TASKS = {False: MEMLANE_TASKS_NOT_COUNTED, True: MEMLANE_TASKS_COUNTED}
CONSUMERS = {"one": MEMLANE_CONSUMERS_ONE, "many": MEMLANE_CONSUMERS_MANY}
ORDERS = {"publisher": MEMLANE_ORDER_PUBLISHER, "all": MEMLANE_ORDER_ALL}
POLICIES = {"overwrite": MEMLANE_POLICY_OVERWRITE, "wait": MEMLANE_POLICY_WAIT}
LANES_MAX, DESCRIPTORS_MAX, CAPACITY_MAX = MEMLANE_LANES_MAX, MEMLANE_DESCRIPTORS_MAX, MEMLANE_CAPACITY_MAX
SUBSCRIBERS_MAX = MEMLANE_SUBSCRIBERS_MAX


def header_bytes(uint64_t objects_nbytes, *, uint64_t region_id, uint32_t backing, uint32_t permissions,
                 bytes libc):
    """Return the 4096 bytes of a new header for *objects_nbytes* of objects, and the length of the region."""
    cdef memlane_header header
    memset(&header, 0, sizeof(header))
    memlane_header_lay_out(&header, objects_nbytes)
    header.region_id = region_id
    header.backing = backing
    header.permissions = permissions
    header.created_ns = _time.time_ns()
    header.creator_pid = getpid()
    memcpy(header.libc, PyBytes_AS_STRING(libc), min(<size_t>len(libc), sizeof(header.libc) - 1))
    return PyBytes_FromStringAndSize(<char *>&header, sizeof(header)), header.nbytes


def ring_shape(uint64_t lanes, uint64_t capacity, uint64_t records):
    """Return (bytes of the object, of them control words, where its doorbells are, as an entry tells it) of a ring."""
    cdef memlane_ring_shape shape
    cdef memlane_doorbells at_once, later
    if not memlane_ring_lay_out(&shape, lanes, capacity, records):
        raise ValueError(f"a ring of {lanes} lanes with {capacity} bytes and {records} records is out of range")
    memlane_ring_tell_doorbells(lanes, &at_once, &later)
    return shape.nbytes, shape.data_offset, told_of(&at_once, &later)


def topic_shape(uint64_t publishers, uint64_t capacity, uint64_t records, uint64_t subscribers, uint64_t order,
                uint64_t policy):
    """As `ring_shape`, of a topic."""
    cdef memlane_topic_shape shape
    cdef memlane_doorbells at_once, later
    if not memlane_topic_lay_out(&shape, publishers, capacity, records, subscribers, order, policy):
        raise ValueError(f"a topic of {publishers} lanes with {capacity} bytes and {records} records, and of {subscribers} "
                         "places, is out of range")
    memlane_topic_tell_doorbells(&shape, &at_once, &later)
    return shape.nbytes, shape.data_offset, told_of(&at_once, &later)


def queue_shape(uint64_t lanes, uint64_t capacity, uint64_t records, uint64_t maxsize, uint64_t tasks):
    """As `ring_shape`, of a queue."""
    cdef memlane_queue_shape shape
    cdef memlane_doorbells at_once, later
    if not memlane_queue_lay_out(&shape, lanes, capacity, records, maxsize, tasks):
        raise ValueError(f"a queue of {lanes} lanes with {capacity} bytes and {records} records, and a maxsize of {maxsize}, "
                         "is out of range")
    memlane_queue_tell_doorbells(lanes, &at_once, &later)
    return shape.nbytes, shape.data_offset, told_of(&at_once, &later)


def slots_shape(uint64_t slots, uint64_t value_nbytes, uint64_t copies, uint64_t watchers, uint64_t writers):
    """Return the bytes of the object for *slots* slots, and where its doorbells are, as an entry tells it."""
    cdef memlane_slots_shape shape
    cdef memlane_doorbells at_once, later
    if not memlane_slots_lay_out(&shape, slots, value_nbytes, copies, watchers, writers):
        raise ValueError(f"{slots} slots of {value_nbytes} bytes with {copies} copies are out of range")
    memlane_slots_tell_doorbells(watchers, &at_once, &later)
    return shape.nbytes, told_of(&at_once, &later)


cdef object places_of(const memlane_doorbells *told, uint64_t object_offset):
    """Where in the region doorbells are that a checked entry tells of, as a range."""
    first = object_offset + told.offset
    return range(first, first + <uint64_t>told.count * told.stride, told.stride) if told.count else range(0)


cdef int tell_doorbells(memlane_entry *entry, tuple doorbells, bytes name, uint64_t nbytes) except -1:
    """Put into a new entry where the doorbells of its object are."""
    cdef memlane_doorbells *told = &entry.doorbells_at_once
    for part in doorbells:
        told.offset, told.stride, told.count = part
        if not memlane_doorbells_fit(told, nbytes):
            raise ValueError(f"the doorbells of {name.decode()!r} are {tuple(part)}, expected (offset, stride, count) of parts of "
                             f"64 bytes within its {nbytes}")
        told = &entry.doorbells_later
    return 0


cdef tuple told_of(const memlane_doorbells *at_once, const memlane_doorbells *later):
    """Where doorbells are, as `Membership.add_entry` takes it."""
    return (at_once.offset, at_once.stride, at_once.count), (later.offset, later.stride, later.count)


cdef bint tells_of(entry, const memlane_doorbells *at_once, const memlane_doorbells *later) except -1:
    """Whether an entry of the directory tells of just these doorbells."""
    return entry[8] == places_of(at_once, entry[2]) and entry[9] == places_of(later, entry[2])


def pages_within(uint64_t offset, uint64_t nbytes, uint64_t page_nbytes):
    """
    Return (begin, end) of the whole pages in a range, which may be set free without a neighbor's bytes. Objects are
    aligned to 4096 bytes, pages are larger on some machines, and the kernel sets whole pages free.
    """
    return pages_up(offset, page_nbytes), pages_down(offset + nbytes, page_nbytes)
