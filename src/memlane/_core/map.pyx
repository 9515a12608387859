# SPDX-License-Identifier: MIT
"""
Maps: values by key in one fixed table, changed by any process and read by all.

MapState      what this process knows of a map; one for all its handles
MapBase       a handle of it, with the verbs
MapIteration  goes through its entries
KeyWatch      one key, for a caller that waits for its changes
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release
from cpython.bytes cimport (
    PyBytes_AS_STRING, PyBytes_Check, PyBytes_CheckExact, PyBytes_FromStringAndSize,
    PyBytes_GET_SIZE,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.float cimport PyFloat_AS_DOUBLE, PyFloat_CheckExact
from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_Check, PyUnicode_DecodeUTF8
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy

import memlane._arguments as _arguments
from memlane._core.opened import closed_error
from memlane.errors import ClosedError, CorruptedError, Full

from memlane._core.arguments cimport COPY_WITH_GIL_NBYTES, FOREVER, contiguous, deadline_of
from memlane._core.calls cimport calls_of_process, memlane_calls_join
from memlane._core.core cimport (
    MEMLANE_BUSY, MEMLANE_CORRUPTED, MEMLANE_DIFFERS, MEMLANE_EMPTY, MEMLANE_FULL,
    MEMLANE_KEY_BYTES, MEMLANE_KEY_INT, MEMLANE_KEY_STR, MEMLANE_MAP_ADD_FLOAT,
    MEMLANE_MAP_ADD_INT, MEMLANE_MAP_COMPARE, MEMLANE_MAP_ENTRIES_MAX, MEMLANE_MAP_INSERT,
    MEMLANE_MAP_KEY_MAX, MEMLANE_MAP_PUT, MEMLANE_MAP_REMOVE, MEMLANE_MAP_REMOVE_COMPARE,
    MEMLANE_MAP_VALUE_MAX, MEMLANE_OK, MEMLANE_VALUES_FIXED, MEMLANE_VALUES_UP_TO,
    memlane_armed_collect, memlane_doorbells, memlane_map, memlane_map_at, memlane_map_begin,
    memlane_map_bucket, memlane_map_bucket_of, memlane_map_change, memlane_map_change_key,
    memlane_map_clock, memlane_map_control, memlane_map_how, memlane_map_item, memlane_map_key,
    memlane_map_key_make, memlane_map_key_type, memlane_map_lay_out, memlane_map_read,
    memlane_map_shape, memlane_map_tell_doorbells, memlane_map_version_again, memlane_map_view,
    memlane_map_writer, memlane_role_give, memlane_status, memlane_waiters_any, memlane_watcher,
)
from memlane._core.layout cimport tells_of, told_of
from memlane._core.membership cimport EPOCH_CLOSED, Membership
from memlane._core.opened cimport Opened, opened_of
from memlane._core.os cimport memlane_boottime_ns, memlane_fork_is, memlane_monotonic_ns, sched_yield
from memlane._core.runtime cimport (
    MEMLANE_DEAD, MEMLANE_WAIT_ADAPTIVE, memlane_lease_watcher, memlane_membership,
    memlane_membership_life, memlane_selecting, memlane_selecting_wake, memlane_spinning,
    memlane_spinning_begin, memlane_waiting_sleep_armed,
)
from memlane._core.selecting cimport Pollable, Watch, at_word, pollable_of
from memlane._core.slot cimport packed_value, unfit_error, version_of
from memlane._core.waiting cimport CLOCK, Doorbell, Sleep, doorbell_of, know_clock

memlane_calls_join(calls_of_process(), globals())

# A reader that was overtaken so often yields; arbitrary, as that of a slot.
cdef int READ_TRIES = 16

# A writer that found another one inside asks the kernel after so long whether that one lives.
cdef uint64_t PATIENCE_NS = 100000

# So many entries are looked at without letting other threads run, and so many between two looks for signals.
cdef uint64_t LOOKS_WITH_GIL = 256
cdef uint64_t LOOKS_A_STEP = 65536

# No value with an expiry counts as there at this time. Most values have none, and then the time need not be asked for.
cdef uint64_t END_OF_TIME = 0x7fffffffffffffff

cdef enum:
    # Values up to this length are copied by way of the stack.
    NEAR_NBYTES = 1024
    NEAR_WORDS = 128
    KEY_NBYTES_MAX = 4096

MAP_ENTRIES_MAX, MAP_KEY_MAX, MAP_VALUE_MAX = MEMLANE_MAP_ENTRIES_MAX, MEMLANE_MAP_KEY_MAX, MEMLANE_MAP_VALUE_MAX
VALUES_FIXED, VALUES_UP_TO = MEMLANE_VALUES_FIXED, MEMLANE_VALUES_UP_TO

cdef object _ABSENT = object()


cdef struct KeyRoom:
    # A key of the caller. Its bytes are those of the Python object, or of the number here.
    memlane_map_key key
    int64_t number


cdef enum Form:
    # How a value is made of its bytes.
    FORM_BYTES = 0
    FORM_DECODE = 1      # by a function of bytes
    FORM_ONE = 2         # the same, which returns a tuple of one
    FORM_INT = 3         # 64 bits, signed, of this machine
    FORM_FLOAT = 4       # a double of this machine

FORMS = {"bytes": FORM_BYTES, "decode": FORM_DECODE, "one": FORM_ONE, "int": FORM_INT, "float": FORM_FLOAT}


def map_shape(uint64_t entries, uint64_t key_nbytes, uint64_t value_nbytes, uint64_t copies, uint64_t watchers,
              uint64_t values):
    """Return the bytes of the object for such a map, and where its doorbells are, as an entry tells it."""
    cdef memlane_map_shape shape
    cdef memlane_doorbells at_once, later
    if not memlane_map_lay_out(&shape, entries, key_nbytes, value_nbytes, copies, watchers, values):
        raise ValueError(f"a map of {entries} entries with keys of {key_nbytes} bytes and values of {value_nbytes} bytes is "
                         "out of range")
    memlane_map_tell_doorbells(watchers, &at_once, &later)
    return shape.nbytes, told_of(&at_once, &later)


cdef bint lay_out(memlane_map_shape *shape, tuple geometry) except -1:
    """Whether this can be the geometry of a map."""
    return memlane_map_lay_out(shape, geometry[0], geometry[1], geometry[2], geometry[3], geometry[4], geometry[5])


def map_fill(Membership membership not None, uint64_t offset, tuple geometry, bytes seeds not None):
    """Fill in what a new map at *offset* of the region has beyond zeros. For its creator; *seeds* are 16 random bytes."""
    cdef memlane_map_shape shape
    cdef uint64_t words[2]
    cdef uint64_t pinned
    if len(seeds) != sizeof(words) or not lay_out(&shape, geometry):
        raise ValueError(f"a map cannot have the geometry {geometry}")
    memcpy(words, PyBytes_AS_STRING(seeds), sizeof(words))
    pinned = membership.pin()
    memlane_map_begin(membership.mapping.address + offset, &shape, words)
    membership.unpin(pinned)


cdef bint is_dead(void *membership, uint32_t tag) noexcept nogil:
    return memlane_membership_life(<memlane_membership *>membership, tag) == MEMLANE_DEAD


cdef inline uint32_t boot_of() noexcept nogil:
    """A hash of this boot, and of the time namespace; never 0."""
    return <uint32_t>(CLOCK ^ CLOCK >> 32) | 1


@cython.final
cdef class MapState(Opened):
    """What this process knows of a map."""

    cdef memlane_map_shape shape
    cdef memlane_map map
    cdef memlane_watcher *watchers
    cdef uint64_t hint                # where a free entry is looked for first; any number is right
    cdef uint32_t next_probed         # the watcher whose owner is asked for next, while none is free
    cdef bint expires                 # a value with an expiry was met: the time is asked for at once

    @staticmethod
    cdef Opened make(Membership membership, entry):
        cdef MapState state = MapState.__new__(MapState)
        cdef memlane_doorbells at_once, later
        cdef unsigned char *base
        name, kind, offset, nbytes, geometry = entry[:5]
        state.begin(membership, entry, membership.called("map", name))
        memlane_map_tell_doorbells(geometry[4], &at_once, &later)
        if (not lay_out(&state.shape, geometry) or state.shape.nbytes != nbytes
                or not tells_of(entry, &at_once, &later)):
            raise CorruptedError(f"the geometry of {state.name} contradicts itself; unlink the region and create "
                                 "it again", name=membership.name)
        state.forget_doorbells(entry)
        base = membership.mapping.address + <uint64_t>offset
        memlane_map_view(&state.map, base, &state.shape)
        state.watchers = <memlane_watcher *>(base + sizeof(memlane_map_control))
        return state

    cdef int lease_watcher(self) except -2:
        """A doorbell of one's own to wait at; -1: none is free, or this process may not write: poll."""
        if self.membership.readonly:
            return -1
        self.membership.own_tag()
        return memlane_lease_watcher(&self.membership.own, self.watchers, <uint32_t>self.shape.watchers, &self.next_probed)

    cdef void wake(self, memlane_map_bucket *bucket) noexcept:
        """Behind a change of a key in that bucket."""
        cdef uint64_t armed = memlane_armed_collect(&bucket.armed)
        cdef uint32_t index
        if armed:
            for index in range(<uint32_t>self.shape.watchers):
                if armed >> index & 1:
                    doorbell_of(self.membership, &self.watchers[index].doorbell).post()
        if memlane_waiters_any(&bucket.selectors):
            memlane_selecting_wake(&self.membership.own, &bucket.selectors)


@cython.final
cdef class KeySleep(Sleep):
    """A reader that waits for another version of a key."""

    cdef MapState state
    cdef const memlane_map_key *key
    cdef uint64_t seen
    cdef uint32_t watcher

    cdef bint is_due(self) noexcept nogil:
        return is_newer(self.state, self.key, self.seen)

    cdef void nap(self, void *armed, Doorbell bell) noexcept:
        if bell is None:
            self.poll()
            return
        bell.attach()
        with nogil:
            memlane_waiting_sleep_armed(&self.waiting, armed, self.watcher, &bell.bell)


cdef bint is_newer(MapState state, const memlane_map_key *key, uint64_t seen) noexcept nogil:
    """The second look of a waiter."""
    cdef memlane_map_clock clock
    cdef uint64_t version
    cdef memlane_status status
    clock.now_ns, clock.boot = memlane_boottime_ns(), boot_of()
    status = memlane_map_version_again(&state.map, key, &clock, &version)
    return status == MEMLANE_BUSY or status == MEMLANE_CORRUPTED or version > seen or state.is_gone_now()


cdef class MapBase:
    """What a map does without going through Python."""

    cdef MapState state
    cdef bint _closed
    cdef uint64_t opens               # epoch in which it was counted among the holders of the state
    cdef object _encode               # a value to a buffer; None: values are buffers
    cdef Py_ssize_t _items            # ... called with the items of the value, so many; -1: with the value
    cdef object _decode               # bytes to a value
    cdef int form                     # enum Form
    cdef int adds                     # enum memlane_map_how of `add`; -1: values are no numbers of 8 bytes
    cdef memlane_spinning spinning

    def __cinit__(self, *_args, **_keywords):
        self._closed = True
        self.opens = EPOCH_CLOSED
        memlane_spinning_begin(&self.spinning)

    @classmethod
    def __class_getitem__(cls, _types, /):
        return cls  # generic in its values, for type checkers alone

    def _bind(self, Membership membership not None, entry, encode, items, decode, str form not None, adds):
        """
        Make this a handle of the map that *entry* of the directory describes. *form*, one of FORMS, is how a value is made of
        its bytes; *adds* is int or float where `add` may add to it, else None.
        """
        self.state = opened_of(membership, entry, "map", MapState.make)
        self._encode, self._decode = encode, decode
        self._items = -1 if items is None else items
        self.form = FORMS[form]
        self.adds = MEMLANE_MAP_ADD_INT if adds is int else MEMLANE_MAP_ADD_FLOAT if adds is float else -1
        if (self.adds >= 0 or self.form >= FORM_INT) and (self.state.map.value_nbytes != 8 or not self.state.map.is_fixed):
            raise CorruptedError(f"the layout of {self.state.name} contradicts its geometry; unlink the region and create it "
                                 "again", name=membership.name)
        self._closed = False

    def _detach(self):
        """Refuse new work."""
        if not self._closed:
            self._closed = True
            self.state.leave(&self.opens)
            self.state.membership.stir_waits()

    cdef int check(self) except -1:
        if self._closed or self.state.membership.closed:
            raise closed_error(self, "a map" if self.state is None else self.state.name)
        if self.state.is_gone():
            self.state.refuse_gone()
        return 0

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    @property
    def entries(self):
        """How many keys it can have at once."""
        self.check()
        return self.state.shape.entries

    @property
    def key_nbytes(self):
        """Bytes of the longest key."""
        self.check()
        return self.state.shape.key_nbytes

    @property
    def value_nbytes(self):
        """Bytes of a value, or of the longest one."""
        self.check()
        return self.state.shape.value_nbytes

    # ---- keys and values --------------------------------------------------------------------------------

    cdef int key_of(self, object given, KeyRoom *room) except -1:
        """Make a key of what the caller gave, which stays alive as long as the key. May run Python."""
        cdef memlane_map_key_type type = MEMLANE_KEY_STR
        cdef const char *bytes = NULL
        cdef Py_ssize_t nbytes = 8
        cdef int overflow = 0
        if self.state is None:
            self.check()
        if PyUnicode_Check(given):
            try:
                bytes = PyUnicode_AsUTF8AndSize(given, &nbytes)
            except UnicodeEncodeError:
                raise ValueError(f"a key that is text must be text that UTF-8 can encode, got {_arguments.shown(given)}") from None
        elif PyBytes_Check(given):
            type, bytes, nbytes = MEMLANE_KEY_BYTES, PyBytes_AS_STRING(given), PyBytes_GET_SIZE(given)
        else:
            type, bytes = MEMLANE_KEY_INT, <const char *>&room.number
            if not PyLong_CheckExact(given):
                given = _arguments.integer(given, "a key of a map", "a str, bytes or an int")
            room.number = PyLong_AsLongLongAndOverflow(given, &overflow)
            if overflow:
                raise ValueError("a key that is an int has 64 bits, from -2**63 to 2**63 - 1, got "
                                 f"{_arguments.shown(given)}")
        if memlane_map_key_make(&self.state.map, &room.key, type, bytes, nbytes) != MEMLANE_OK:
            raise ValueError(f"keys of {self.state.name} have at most {self.state.map.key_nbytes} bytes, got one of {nbytes} "
                             "bytes; create the map with a larger key_nbytes=")
        return 0

    cdef object value_of(self, const char *bytes, uint64_t nbytes):
        cdef int64_t number
        cdef double real
        if self.form == FORM_INT:
            memcpy(&number, bytes, sizeof(number))
            return number
        if self.form == FORM_FLOAT:
            memcpy(&real, bytes, sizeof(real))
            return real
        return self.decoded(PyBytes_FromStringAndSize(bytes, nbytes))

    cdef object decoded(self, object bytes):
        if self.form == FORM_BYTES:
            return bytes
        if self.form == FORM_ONE:
            return self._decode(bytes)[0]
        return self._decode(bytes)

    cdef object packed(self, object value):
        """The bytes of a value that is no bytes itself."""
        try:
            return packed_value(self._encode, self._items, value)
        except Exception as wrong:
            error = unfit_error(wrong, value, self.state.name)
            if isinstance(error, (TypeError, ValueError)) and "; publish " in str(error):
                error = type(error)(str(error).replace("; publish ", "; give "))  # what a slot does with it
            raise error from None

    # ---- reading ----------------------------------------------------------------------------------------

    cdef memlane_status copy_out(self, const memlane_map_key *key, void *value, uint64_t *nbytes,
                                 uint64_t *version) except? MEMLANE_CORRUPTED:
        """
        Copy the value of a key out: MEMLANE_OK, or MEMLANE_EMPTY where there is none. Where *value* is NULL only look. Writers
        that overtake make it try again.
        """
        cdef MapState state = self.state
        cdef memlane_map_clock clock
        cdef memlane_status status = MEMLANE_BUSY
        cdef uint64_t pinned
        cdef int tries
        cdef bint gone = False
        if self._closed or state.membership.closed:
            self.check()
        state.membership.notice_fork()
        know_clock()
        clock.boot, clock.now_ns = boot_of(), memlane_boottime_ns() if state.expires else END_OF_TIME
        if value == NULL or state.map.value_nbytes < COPY_WITH_GIL_NBYTES:
            for tries in range(READ_TRIES):
                status = look(state, key, &clock, value, nbytes, version)
                if status != MEMLANE_BUSY:
                    gone = state.is_gone_now()
                    break
        if status == MEMLANE_BUSY:
            pinned = state.membership.pin()
            try:
                while True:
                    with nogil:
                        for tries in range(READ_TRIES):
                            status = look(state, key, &clock, value, nbytes, version)
                            if status != MEMLANE_BUSY:
                                break
                        if status == MEMLANE_BUSY:
                            sched_yield()
                    if status != MEMLANE_BUSY:
                        gone = state.is_gone_now()
                        break
                    PyErr_CheckSignals()
                    if state.membership.closed:
                        self.check()  # by a child that the handler of a signal forked
            finally:
                state.membership.unpin(pinned)
        state.membership.check_whole()
        if gone:
            state.refuse_gone()
        if status == MEMLANE_CORRUPTED:
            self.refuse_corrupted()
        return status

    cdef object refuse_corrupted(self):
        raise CorruptedError(f"{self.state.name} is corrupted: an entry of it is no sound one; unlink the region and create it "
                             "again", name=self.state.membership.name)

    cdef object look_up(self, const memlane_map_key *key, uint64_t *version):
        """The value of a key, or _ABSENT."""
        cdef uint64_t near[NEAR_WORDS]
        cdef uint64_t nbytes = 0
        if self.state.map.value_nbytes <= NEAR_NBYTES:
            if self.copy_out(key, near, &nbytes, version) != MEMLANE_OK:
                return _ABSENT
            return self.value_of(<char *>near, nbytes)
        held = PyBytes_FromStringAndSize(NULL, self.state.map.value_nbytes)
        if self.copy_out(key, PyBytes_AS_STRING(held), &nbytes, version) != MEMLANE_OK:
            return _ABSENT
        return self.decoded(held if nbytes == <uint64_t>PyBytes_GET_SIZE(held) else held[:nbytes])

    def __getitem__(self, key, /):
        """
        Copy the value of *key* out, whole. Needs no write access, and is never kept waiting by a writer that died or was
        stopped.

        Raises:
            KeyError: there is no such key, or its value has expired.
            ValueError: the key is longer than keys of this map can be.
            TypeError: it is no str, bytes or int.
            ClosedError: this process closed the handle.
        """
        cdef KeyRoom room
        cdef uint64_t version
        self.key_of(key, &room)
        value = self.look_up(&room.key, &version)
        if value is _ABSENT:
            raise KeyError(key)
        return value

    def get(self, key, default=None, /):
        """The value of *key*, or *default* where it is not there. Otherwise as `m[key]`."""
        cdef KeyRoom room
        cdef uint64_t version
        self.key_of(key, &room)
        value = self.look_up(&room.key, &version)
        return default if value is _ABSENT else value

    def read_versioned(self, key, /):
        """
        As `m[key]`, with the version of that very value: (value, version). Versions of a key grow with each change and
        never repeat, also when it is removed and comes again.
        """
        cdef KeyRoom room
        cdef uint64_t version
        self.key_of(key, &room)
        value = self.look_up(&room.key, &version)
        if value is _ABSENT:
            raise KeyError(key)
        return value, version

    def version(self, key, /):
        """The version of the value of *key*; 0: it is not there. Raises as `m[key]`, but for KeyError."""
        cdef KeyRoom room
        cdef uint64_t nbytes, version
        self.key_of(key, &room)
        self.copy_out(&room.key, NULL, &nbytes, &version)
        return version

    def __contains__(self, key, /):
        cdef KeyRoom room
        cdef uint64_t nbytes, version
        self.key_of(key, &room)
        return self.copy_out(&room.key, NULL, &nbytes, &version) == MEMLANE_OK

    def __len__(self):
        """
        How many keys there are: counted anew, in a time that grows with the entries. With writers at work, a number that was
        right for none of them maybe.
        """
        cdef MapIteration through = iteration_of(self, 0)
        cdef Py_ssize_t count = 0
        while through.find(NULL):
            count += 1
        return count

    def __iter__(self):
        """
        Go through the keys, in no order that means anything. Each key that is there from the beginning to the end comes once;
        one that comes or goes meanwhile may be among them or not.
        """
        return iteration_of(self, 0)

    def _through(self, int what):
        """An iterator over 0: keys, 1: values, 2: pairs of both."""
        return iteration_of(self, what)

    # ---- waiting ----------------------------------------------------------------------------------------

    def wait_newer(self, key, version, timeout=None):
        """
        Wait until *key* has a value that is newer than *version*. A removal alone does not end the wait.

        Sleeps at a doorbell of its own; a reader without write access, or when all doorbells are taken, polls with a growing
        pause. Other threads run meanwhile; Ctrl-C interrupts it.

        Args:
            version: One that the caller has seen; 0 for none: then it waits until the key is there.
            timeout: Longest wait in seconds. None waits for ever; 0 never waits.

        Returns:
            (value, version) of the latest value.

        Raises:
            TimeoutError: nothing newer within *timeout*.
            ValueError, TypeError, ClosedError: as `m[key]`.
        """
        cdef KeyRoom room
        cdef uint64_t seen = version_of(version), deadline = deadline_of(timeout)
        self.key_of(key, &room)
        return self.newer(key, &room.key, seen, deadline)

    cdef object newer(self, object given, const memlane_map_key *key, uint64_t seen, uint64_t deadline):
        cdef MapState state = self.state
        cdef uint64_t pinned, nbytes, version
        cdef int watcher = -1
        cdef Doorbell bell = None
        cdef KeySleep sleep = None
        self.check()
        pinned = state.pin()
        try:
            while True:
                self.check()
                self.copy_out(key, NULL, &nbytes, &version)
                if version > seen:
                    value = self.look_up(key, &version)
                    if version > seen:
                        return value, version
                if sleep is None:
                    sleep = KeySleep()
                    sleep.begin(deadline, &self.spinning)
                    sleep.state, sleep.key, sleep.seen = state, key, seen
                if deadline == 0 or sleep.is_over():
                    raise TimeoutError(f"key {_arguments.shown(given)} of {state.name} has nothing newer than version {seen}")
                if not sleep.spin(MEMLANE_WAIT_ADAPTIVE):
                    if bell is None:
                        if not state.membership.readonly:
                            state.enter(&self.opens, &self._closed, self)
                        watcher = state.lease_watcher()
                        if watcher >= 0:
                            bell = doorbell_of(state.membership, &state.watchers[watcher].doorbell)
                            bell.prepare()
                            sleep.watcher = watcher
                    sleep.nap(&memlane_map_bucket_of(&state.map, key.hash).armed, bell)
                PyErr_CheckSignals()
        finally:
            if watcher >= 0 and memlane_fork_is(pinned):
                memlane_role_give(&state.watchers[watcher].owner, state.membership.own.tag)
            state.unpin(pinned)

    def watch(self, key, version=None):
        """
        Make a `KeyWatch`: one key, to be waited for together with other things.

        Args:
            version: One that the caller has seen; 0 for none. By default the present one.

        Raises:
            ValueError, TypeError, ClosedError: as `m[key]`.
        """
        cdef uint64_t seen = 0 if version is None else version_of(version)
        if version is None:
            seen = self.version(key)
        return watch_of(self, key, seen)

    # ---- changing ---------------------------------------------------------------------------------------

    cdef memlane_status store(self, KeyRoom *room, object value, memlane_map_change *asked,
                              uint64_t deadline) except? MEMLANE_CORRUPTED:
        """Change a key by a value of the caller's."""
        cdef Py_buffer view
        cdef object packed = value
        cdef int64_t number
        cdef double real
        cdef int overflow = 0
        if self.form == FORM_INT and PyLong_CheckExact(value):
            number = PyLong_AsLongLongAndOverflow(value, &overflow)
            if not overflow:
                asked.value, asked.nbytes = &number, sizeof(number)
                return self.change(&room.key, asked, deadline)
        if self.form == FORM_FLOAT and PyFloat_CheckExact(value):
            real = PyFloat_AS_DOUBLE(value)
            asked.value, asked.nbytes = &real, sizeof(real)
            return self.change(&room.key, asked, deadline)
        if self._encode is not None:
            packed = self.packed(value)
        if PyBytes_CheckExact(packed):
            asked.value, asked.nbytes = PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed)
            return self.change(&room.key, asked, deadline)
        contiguous(packed, &view, PyBUF_SIMPLE, "a map")
        try:
            asked.value, asked.nbytes = view.buf, view.len
            return self.change(&room.key, asked, deadline)
        finally:
            PyBuffer_Release(&view)

    cdef memlane_status change(self, const memlane_map_key *key, memlane_map_change *asked,
                               uint64_t deadline) except? MEMLANE_CORRUPTED:
        """MEMLANE_OK, MEMLANE_EMPTY: nothing to remove, or MEMLANE_DIFFERS; all else is raised."""
        cdef MapState state = self.state
        cdef memlane_map *map = &state.map
        cdef uint64_t pinned
        self.check()
        if asked.how < MEMLANE_MAP_REMOVE and (asked.nbytes != map.value_nbytes if map.is_fixed
                                               else asked.nbytes > map.value_nbytes):
            raise ValueError(f"{state.name} holds values of {'' if map.is_fixed else 'up to '}{map.value_nbytes} bytes, got "
                             f"{asked.nbytes}")
        pinned = state.pin()  # another thread may close the map while we have no GIL
        try:
            return self.pinned_change(state, key, asked, deadline)
        finally:
            state.unpin(pinned)

    cdef memlane_status pinned_change(self, MapState state, const memlane_map_key *key, memlane_map_change *asked,
                                      uint64_t deadline) except? MEMLANE_CORRUPTED:
        cdef memlane_map_writer writer
        cdef memlane_map_clock clock
        cdef memlane_status status
        cdef Sleep sleep = None
        cdef uint64_t began = 0
        know_clock()
        clock.boot = boot_of()
        writer.is_dead, writer.of, writer.patiently = is_dead, &state.membership.own, False
        while True:
            if self.opens != state.held or not state.is_held():
                state.enter(&self.opens, &self._closed, self)
            writer.tag, writer.hint = state.membership.own_tag(), state.hint
            clock.now_ns = memlane_boottime_ns()
            if state.map.value_nbytes < COPY_WITH_GIL_NBYTES:
                status = memlane_map_change_key(&state.map, &writer, key, &clock, asked)
            else:
                with nogil:
                    status = memlane_map_change_key(&state.map, &writer, key, &clock, asked)
            state.hint = writer.hint
            if status != MEMLANE_BUSY:
                break
            if sleep is None:
                sleep = Sleep()
                sleep.begin(deadline, NULL)
                began = memlane_monotonic_ns()
            self.wait_for_writer(state, asked.holder, &writer, sleep, began, deadline)
        if asked.bucket != NULL:
            state.wake(asked.bucket)
        state.membership.check_whole()
        if status == MEMLANE_OK or status == MEMLANE_EMPTY or status == MEMLANE_DIFFERS:
            return status
        self.refuse(state, status)

    cdef int wait_for_writer(self, MapState state, uint32_t holder, memlane_map_writer *writer, Sleep sleep,
                             uint64_t began, uint64_t deadline) except -1:
        """Another writer was faster, or is inside of a change of this key: let it go on; ask whether it lives only then."""
        if holder != 0 and writer.patiently:
            if deadline == 0 or sleep.is_over():
                pid = state.membership.pid_of(holder)
                raise TimeoutError(f"process {pid} is inside a change of this key of {state.name}; wait longer, or see what "
                                   "holds it up")
            sleep.poll()
        else:
            with nogil:
                sched_yield()
        writer.patiently = deadline == 0 or sleep.is_over() or memlane_monotonic_ns() - began > PATIENCE_NS
        PyErr_CheckSignals()
        return self.check()

    cdef object refuse(self, MapState state, memlane_status status):
        cdef uint64_t entries = state.shape.entries
        if status == MEMLANE_FULL:
            raise Full(f"{state.name} has all of its {entries} entries in use, and no value has expired; remove keys, or make a "
                       "map with more entries=", cause="records", records=entries, max_records=entries)
        if status == MEMLANE_CORRUPTED:
            self.refuse_corrupted()
        raise ClosedError(f"this process was taken for dead in {state.name}: its descriptors had been closed; open the region "
                          "again")

    def __setitem__(self, key, value, /):
        """
        Give *key* that value, in one step. Readers see the value before or this one.

        Where another process is inside a change of the same key this waits for it: a dead one's place is taken over, one that
        was stopped keeps it waiting, for which `set` has a timeout. Nothing else makes it wait.

        Raises:
            Full: all entries are in use, and no value has expired.
            ValueError, TypeError: the key or the value is none of this map; nothing has changed.
            PermissionError: the region is open read-only.
            ClosedError: this process closed the handle.
        """
        cdef KeyRoom room
        cdef memlane_map_change asked
        begin(&asked, MEMLANE_MAP_PUT)
        self.key_of(key, &room)
        self.store(&room, value, &asked, FOREVER)

    def set(self, key, value, *, expires=None, timeout=None):
        """
        As `m[key] = value`.

        Args:
            expires: The seconds after which the key is no longer there, on the clock that runs while the machine sleeps; its
                entry is used for another key when one is needed. None: never.
            timeout: Longest wait for another writer of this key, in seconds. None waits for ever; 0 never waits.

        Returns:
            The version of the value.

        Raises:
            TimeoutError: another process was inside a change of this key for all of *timeout*.
            As `m[key] = value` otherwise.
        """
        cdef KeyRoom room
        cdef memlane_map_change asked
        cdef uint64_t deadline = deadline_of(timeout)
        begin(&asked, MEMLANE_MAP_PUT)
        asked.expires_ns = expiry_of(expires)
        self.key_of(key, &room)
        self.store(&room, value, &asked, deadline)
        return asked.version

    def setdefault(self, key, default=None, /, *, expires=None, timeout=None):
        """
        The value of *key*; where it is not there, it gets the value *default* first. One step: of several processes one sets it.

        Raises:
            As `set`.
        """
        cdef KeyRoom room
        cdef memlane_map_change asked
        cdef uint64_t deadline = deadline_of(timeout), version
        self.key_of(key, &room)
        begin(&asked, MEMLANE_MAP_INSERT)
        asked.expires_ns = expiry_of(expires)
        while True:
            value = self.look_up(&room.key, &version)
            if value is not _ABSENT:
                return value
            if self.store(&room, default, &asked, deadline) == MEMLANE_OK:
                value = self.look_up(&room.key, &version)
                return value if version == asked.version else default  # as it is in the map: 1 may be 1.0 there
            PyErr_CheckSignals()

    def compare_exchange(self, key, version, value, *, expires=None, timeout=None):
        """
        Give *key* that value in one step, if *version* is that of its present value; 0: if it is not there.

        Returns:
            Whether it was, and has the new value.

        Raises:
            As `set`.
        """
        cdef KeyRoom room
        cdef memlane_map_change asked
        cdef uint64_t deadline = deadline_of(timeout)
        begin(&asked, MEMLANE_MAP_COMPARE)
        asked.expected, asked.expires_ns = version_of(version), expiry_of(expires)
        self.key_of(key, &room)
        return self.store(&room, value, &asked, deadline) == MEMLANE_OK

    def compare_remove(self, key, version, *, timeout=None):
        """
        Remove *key* in one step, if *version* is that of its present value.

        Returns:
            Whether it was, and is gone.

        Raises:
            As `set`.
        """
        cdef KeyRoom room
        cdef memlane_map_change asked
        cdef uint64_t deadline = deadline_of(timeout)
        begin(&asked, MEMLANE_MAP_REMOVE_COMPARE)
        asked.expected = version_of(version)
        self.key_of(key, &room)
        return self.change(&room.key, &asked, deadline) == MEMLANE_OK

    def add(self, key, amount=1, *, expires=None, timeout=None):
        """
        Add *amount* to the number of *key* in one step; a key that is not there counts as 0. For maps whose values are one int
        or float of 8 bytes. An int wraps modulo 2**64.

        Args:
            expires: As of `set`, for a key that was not there; one that was keeps its expiry.
            timeout: As of `set`.

        Returns:
            The new number.

        Raises:
            TypeError: the values of this map are no such numbers, or *amount* is none.
            OverflowError: *amount* does not fit into 64 bits.
            As `set` otherwise.
        """
        cdef KeyRoom room
        cdef memlane_map_change asked
        cdef uint64_t deadline = deadline_of(timeout), word
        cdef double real
        begin(&asked, MEMLANE_MAP_ADD_INT)
        asked.expires_ns = expiry_of(expires)
        self.key_of(key, &room)
        if self.adds == MEMLANE_MAP_ADD_INT:
            word = word_of(amount)
            asked.value = &word
        elif self.adds == MEMLANE_MAP_ADD_FLOAT:
            if isinstance(amount, (str, bytes, bytearray)) or not hasattr(type(amount), "__float__"):
                raise TypeError(f"what is added to a float is a number, got {_arguments.shown(amount)}")
            real = float(amount)
            asked.how, asked.value = MEMLANE_MAP_ADD_FLOAT, &real
        else:
            self.check()
            raise TypeError(f"values of {self.state.name} are not one int or float of 8 bytes, and so cannot be added to; make "
                            "the map with value='q' or value='d'")
        asked.nbytes = 8
        self.change(&room.key, &asked, deadline)
        return self.value_of(<char *>asked.sum, 8)

    cdef memlane_status take_out(self, const memlane_map_key *key, object timeout, void *before,
                                 memlane_map_change *asked) except? MEMLANE_CORRUPTED:
        cdef uint64_t deadline = deadline_of(timeout)
        begin(asked, MEMLANE_MAP_REMOVE)
        asked.before = before
        return self.change(key, asked, deadline)

    def __delitem__(self, key, /):
        """
        Remove *key*, in one step.

        Raises:
            KeyError: it is not there.
            As `m[key] = value` otherwise, but for Full.
        """
        cdef KeyRoom room
        cdef memlane_map_change asked
        self.key_of(key, &room)
        if self.take_out(&room.key, None, NULL, &asked) != MEMLANE_OK:
            raise KeyError(key)

    def pop(self, key, default=..., /, *, timeout=None):
        """
        Remove *key* and return the value that it had, in one step: of several processes one gets it.

        Returns:
            The value, or *default* where the key is not there.

        Raises:
            KeyError: the key is not there, and there is no *default*.
            As `set` otherwise.
        """
        cdef KeyRoom room
        cdef memlane_map_change asked
        cdef uint64_t near[NEAR_WORDS]
        cdef uint64_t most
        self.key_of(key, &room)
        most = self.state.map.value_nbytes
        held = PyBytes_FromStringAndSize(NULL, most) if most > NEAR_NBYTES else None
        if self.take_out(&room.key, timeout, <void *>near if held is None else <void *>PyBytes_AS_STRING(held), &asked) == MEMLANE_OK:
            if held is None:
                return self.value_of(<char *>near, asked.before_nbytes)
            return self.decoded(held if asked.before_nbytes == most else held[:asked.before_nbytes])
        if default is Ellipsis:
            raise KeyError(key)
        return default


cdef inline void begin(memlane_map_change *asked, memlane_map_how how) noexcept:
    asked.how, asked.expected, asked.value, asked.nbytes, asked.expires_ns, asked.before = how, 0, NULL, 0, 0, NULL


cdef inline memlane_status look(MapState state, const memlane_map_key *key, memlane_map_clock *clock, void *value,
                                uint64_t *nbytes, uint64_t *version) noexcept nogil:
    """As memlane_map_read; the time is asked for only where it counts."""
    cdef memlane_status status = memlane_map_read(&state.map, key, clock, value, nbytes, version)
    if status == MEMLANE_EMPTY and clock.now_ns == END_OF_TIME and (nbytes[0] != 0 or not state.map.is_fixed):
        state.expires = state.expires or nbytes[0] != 0
        clock.now_ns = memlane_boottime_ns()
        status = memlane_map_read(&state.map, key, clock, value, nbytes, version)
    return status


cdef uint64_t expiry_of(object expires) except? 0:
    """Seconds from now as a moment of the boot clock."""
    cdef double seconds
    if expires is None:
        return 0
    seconds = _arguments.timeout(expires, "expires")
    if seconds == 0:
        raise ValueError("expires must be None or more than 0 seconds, got 0")
    return memlane_boottime_ns() + <uint64_t>(min(seconds, 3e9) * 1e9)


cdef uint64_t word_of(object amount) except? 0:
    """An int as 64 bits, signed or not."""
    number = _arguments.integer(amount, "what is added to an int", "an int")
    if not -(1 << 63) <= number < 1 << 64:
        raise OverflowError(f"a number of a map has 64 bits, got {_arguments.shown(number)} to be added")
    return number & 0xffffffffffffffff


@cython.final
cdef class MapIteration:
    """Goes through the keys, the values or both. Each entry is looked at once, and copied out whole."""

    cdef MapBase map
    cdef uint64_t next
    cdef int what                     # 0: keys, 1: values, 2: both
    cdef memlane_map_item item
    cdef unsigned char key[KEY_NBYTES_MAX]

    def __init__(self):
        raise TypeError("made by iter(m), m.values() and m.items(), not by calling the class")

    def __iter__(self):
        return self

    cdef bint find(self, void *value) except -1:
        """Copy the next entry out; False: there is none."""
        cdef MapBase map = self.map
        cdef MapState state = map.state
        cdef memlane_map_clock clock
        cdef memlane_status status = MEMLANE_EMPTY
        cdef uint64_t pinned, end
        cdef bint gone = False
        map.check()
        state.membership.notice_fork()
        know_clock()
        clock.boot, clock.now_ns = boot_of(), memlane_boottime_ns()
        self.item.key = self.key
        self.item.value = value
        pinned = state.pin()
        try:
            if state.map.value_nbytes < COPY_WITH_GIL_NBYTES or value == NULL:
                status = self.look_on(state, &clock, min(state.map.count, self.next + LOOKS_WITH_GIL))
            while status != MEMLANE_OK and status != MEMLANE_CORRUPTED and self.next < state.map.count:
                end = min(state.map.count, self.next + LOOKS_A_STEP)
                with nogil:
                    status = self.look_on(state, &clock, end)
                PyErr_CheckSignals()
                map.check()
            gone = state.is_gone_now()
        finally:
            state.unpin(pinned)
        state.membership.check_whole()
        if gone:
            state.refuse_gone()
        if status == MEMLANE_CORRUPTED:
            map.refuse_corrupted()
        return status == MEMLANE_OK

    cdef memlane_status look_on(self, MapState state, const memlane_map_clock *clock, uint64_t end) noexcept nogil:
        cdef memlane_status status = MEMLANE_EMPTY
        while self.next < end:
            status = memlane_map_at(&state.map, self.next, clock, &self.item)
            if status == MEMLANE_BUSY:
                sched_yield()
                continue
            self.next += 1
            if status != MEMLANE_EMPTY:
                break
        return status

    cdef object found_key(self):
        cdef int64_t number
        cdef const char *bytes = <const char *>self.key
        if self.item.key_type == MEMLANE_KEY_BYTES:
            return PyBytes_FromStringAndSize(bytes, self.item.key_nbytes)
        if self.item.key_type == MEMLANE_KEY_STR:
            try:
                return PyUnicode_DecodeUTF8(bytes, self.item.key_nbytes, NULL)
            except UnicodeDecodeError:
                self.map.refuse_corrupted()
        if self.item.key_nbytes != sizeof(number):
            self.map.refuse_corrupted()
        memcpy(&number, bytes, sizeof(number))
        return number

    def __next__(self):
        cdef uint64_t near[NEAR_WORDS]
        cdef uint64_t most = self.map.state.map.value_nbytes
        if self.what == 0:
            if not self.find(NULL):
                raise StopIteration
            return self.found_key()
        held = PyBytes_FromStringAndSize(NULL, most) if most > NEAR_NBYTES else None
        if not self.find(<void *>near if held is None else <void *>PyBytes_AS_STRING(held)):
            raise StopIteration
        if self.what == 2:
            key = self.found_key()
        if held is None:
            value = self.map.value_of(<char *>near, self.item.nbytes)
        else:
            value = self.map.decoded(held if self.item.nbytes == most else held[:self.item.nbytes])
        return (key, value) if self.what == 2 else value


cdef MapIteration iteration_of(MapBase map, int what):
    cdef MapIteration made = MapIteration.__new__(MapIteration)
    map.check()
    made.map, made.what = map, what
    return made


@cython.final
cdef class KeyWatching(Watch):
    """One that waits for a newer value of a key, among several things."""

    cdef MapBase map
    cdef object given                 # keeps the bytes of the key
    cdef KeyRoom room
    cdef uint64_t seen

    cdef int prepare(self) except -1:
        self.map.check()
        if not self.map.state.membership.readonly:
            self.map.state.enter(&self.map.opens, &self.map._closed, self.map)
        return 0

    cdef bint look(self) except -1:
        self.prepare()
        return self.is_due()

    cdef bint is_due(self) noexcept nogil:
        return self.map._closed or is_newer(self.map.state, &self.room.key, self.seen)

    cdef void at_words(self, memlane_selecting *selecting, bint announces) noexcept nogil:
        at_word(selecting, &memlane_map_bucket_of(&self.map.state.map, self.room.key.hash).selectors, announces)


cdef KeyWatching watching_of(MapBase map, object key, uint64_t seen):
    cdef KeyWatching made = KeyWatching.__new__(KeyWatching)
    map.key_of(key, &made.room)
    map.check()
    made.opened, made.map, made.given, made.seen = map.state, map, key, seen
    return made


@cython.final
cdef class KeyWatch:
    """
    One key of a map, for a caller that waits for its changes; `m.watch(key)` makes it.

    `wait` and event loops take it, and it is ready when there is a value that is newer than the one that it has given last. Each
    belongs to one thread or one event loop.

    Attributes:
        key: The key.
    """

    cdef MapBase map
    cdef readonly object key
    cdef uint64_t seen
    cdef Pollable readable            # what fileno() gave; None: nobody has asked

    def __init__(self):
        raise TypeError("a KeyWatch is made by m.watch(key), not by calling the class")

    def __repr__(self):
        return f"<memlane.KeyWatch {_arguments.shown(self.key)} of {self.map!r}>"

    @property
    def version(self):
        """The version that it has given last, or was made with."""
        return self.seen

    def wait_newer(self, timeout=None):
        """
        Wait for a value that is newer than `version`, as `wait_newer` of the map.

        Returns:
            (value, version), and `version` is that one.

        Raises:
            As `wait_newer` of the map.
        """
        cdef KeyRoom room
        cdef uint64_t deadline = deadline_of(timeout)
        self.map.key_of(self.key, &room)
        try:
            value, version = self.map.newer(self.key, &room.key, self.seen, deadline)
            self.seen = version
        finally:
            if self.readable is not None:
                (<KeyWatching>self.readable.watch).seen = self.seen
                if self.readable.rearm():
                    self.readable.settle()
        return value, version

    def fileno(self):
        """
        Return a descriptor for select, poll, epoll and event loops: readable when there may be a newer value.

        It is of this watch in this process alone, non-blocking and close-on-exec; `close` closes it. Each `wait_newer` makes it
        unreadable again until the next change. It is readable for nothing now and then: keys that share a bucket wake each other.
        A reader without write access finds changes ten times a second only.

        Raises:
            OSError: no descriptor can be had.
            ClosedError: this process closed the map.
        """
        self.map.check()
        self.readable = pollable_of(self.readable, watching_of(self.map, self.key, self.seen))
        return self.readable.number()

    def close(self):
        """Close the descriptor, if there is one. Never fails."""
        if self.readable is not None:
            self.readable.close()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.close()

    def _watch_newer(self):
        """What one waits for that wants a newer value."""
        return watching_of(self.map, self.key, self.seen)


cdef KeyWatch watch_of(MapBase map, object key, uint64_t seen):
    cdef KeyWatch made = KeyWatch.__new__(KeyWatch)
    cdef KeyRoom room
    map.key_of(key, &room)
    map.check()
    made.map, made.key, made.seen = map, key, seen
    return made
