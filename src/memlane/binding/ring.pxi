# SPDX-License-Identifier: MIT
"""
Rings: the roles of this process in one, the handles that users have, and the loans.

RingState      what this process knows of one ring; one for all handles
ProducerRole   one lease of a lane, shared by the threads of this process
ConsumerRole   the ring's consumer, shared by all handles of this process
RingBase, Producer, Consumer   handles: they refuse when closed, and lead to a role
Room, Record   loans: a claim to be committed, a record to be released

A call tries once on the fast path; only when it must wait, or something has changed (a fork, a first use),
it goes to the slow path. A role's mutex is held for one step of src/core and never while the GIL is taken
(docs/locking.md).
"""

from collections import deque as _deque
from threading import Lock as _Lock, get_ident as _get_ident

from memlane.errors import Empty, Full, PeerGoneError, RecordTooLargeError, RoleTakenError, ShutDown


cdef extern from "core/layout.h" nogil:
    struct memlane_ring_control:
        uint32_t waiters
        uint32_t consumer
        memlane_doorbell doorbell
    struct memlane_lane_control:
        uint32_t owner
        uint32_t waiters
        uint64_t head
        uint64_t tail
        memlane_doorbell doorbell
    struct memlane_descriptor:
        pass
    enum:
        MEMLANE_KIND_RING
        MEMLANE_OWNER_NEVER
        MEMLANE_OWNER_DEPARTED
        MEMLANE_OWNER_CLOSED
        MEMLANE_SHUTDOWN_DRAIN
        MEMLANE_SHUTDOWN_DROP

cdef extern from "core/region.h" nogil:
    struct memlane_ring_shape:
        uint64_t lanes, capacity, records, descriptors, data_offset, bytes_offset, data_nbytes, nbytes
    bint memlane_ring_lay_out(memlane_ring_shape *shape, uint64_t lanes, uint64_t capacity, uint64_t records)

cdef extern from "core/lane.h" nogil:
    struct memlane_lane:
        memlane_lane_control *control
        memlane_descriptor *descriptors
        unsigned char *bytes
        uint64_t capacity, records, mask
    struct memlane_producer:
        memlane_lane lane
        memlane_ring_control *ring
    struct memlane_consumer:
        memlane_lane lane
        uint64_t loans
    struct memlane_extent:
        uint64_t offset, nbytes
    struct memlane_span:
        const void *bytes
        size_t nbytes
    uint64_t memlane_occupied(uint64_t nbytes)
    uint64_t memlane_max_record(const memlane_lane *lane)
    uint64_t memlane_lane_length(const memlane_lane *lane)
    uint64_t memlane_lane_head(const memlane_lane *lane)
    uint64_t memlane_lane_tail(const memlane_lane *lane)
    uint32_t memlane_lane_owner(const memlane_lane_control *control)
    bint memlane_lane_lease(memlane_lane_control *control, uint32_t found, uint32_t tag)
    bint memlane_lane_depart(memlane_lane_control *control, uint32_t tag)
    memlane_status memlane_lane_close_unleased(memlane_lane_control *control)
    void memlane_ring_raise_leased(memlane_ring_control *control, uint32_t lanes)
    uint32_t memlane_ring_leased(memlane_ring_control *control, uint32_t lanes)
    uint32_t memlane_ring_shutdown(memlane_ring_control *control)
    void memlane_ring_shut(memlane_ring_control *control, uint32_t how)
    uint32_t memlane_role_owner(const void *role)
    bint memlane_role_take(void *role, uint32_t found, uint32_t tag)
    bint memlane_role_give(void *role, uint32_t tag)
    bint memlane_role_held(void *role, uint32_t tag)
    memlane_status memlane_producer_adopt(memlane_producer *producer)
    memlane_status memlane_producer_put(memlane_producer *producer, const void *record, size_t nbytes)
    memlane_status memlane_producer_put_many(
        memlane_producer *producer, const memlane_span *records, size_t count, size_t *done)
    memlane_status memlane_producer_claim(memlane_producer *producer, uint64_t nbytes, uint64_t *offset)
    memlane_status memlane_producer_commit(memlane_producer *producer, uint64_t offset, uint64_t nbytes)
    bint memlane_producer_any(const memlane_producer *producer)
    void memlane_consumer_start(memlane_consumer *consumer)
    memlane_status memlane_consumer_peek(const memlane_consumer *consumer, uint64_t *s, memlane_extent *extent)
    size_t memlane_consumer_peek_many(
        const memlane_consumer *consumer, size_t most, uint64_t *s, memlane_extent *extents, memlane_status *status)
    void memlane_consumer_skip(memlane_consumer *consumer)
    bint memlane_consumer_overlooked(const memlane_consumer *consumer)
    bint memlane_consumer_finish(memlane_consumer *consumer, uint64_t records, uint64_t nbytes)
    void memlane_consumer_borrow(memlane_consumer *consumer)
    void memlane_consumer_release(memlane_consumer *consumer, uint64_t s)
    bint memlane_consumer_any(const memlane_consumer *consumer)
    memlane_status memlane_consumer_close(memlane_consumer *consumer)
    void memlane_consumer_drop(memlane_consumer *consumer)

cdef extern from "core/words.h" nogil:
    void memlane_cpu_relax()

cdef extern from "Python.h" nogil:
    char *bytes_at "PyBytes_AS_STRING"(PyObject *record)

cdef extern from "os/mutex.h" nogil:
    struct memlane_mutex:
        pass
    void memlane_mutex_reset(memlane_mutex *mutex)
    bint memlane_mutex_try(memlane_mutex *mutex)
    void memlane_mutex_lock(memlane_mutex *mutex)
    void memlane_mutex_unlock(memlane_mutex *mutex)

cdef enum:
    # Records looked at in one step of get_many: what fits on the stack.
    STEP_RECORDS = 256
    # Dead owners proven in one slice, so that a look costs a bounded number of system calls.
    PROBES_A_SLICE = 8

# Above this size a copy lets other threads run: some 10 microseconds of copying, against one or two
# for giving the GIL away and taking it back.
cdef size_t COPY_WITH_GIL_NBYTES = 65536

# The longest spin of wait="adaptive": waking a sleeper costs 30 to 50 microseconds on a virtual machine,
# so spinning as long costs at most as much again. wait="spin" looks for signals this often.
cdef uint64_t SPIN_MAX_NS = 50000
cdef uint64_t SPIN_MIN_NS = 2000
cdef uint64_t SPIN_ONLY_NS = 5000000

cdef enum:
    WAIT_ADAPTIVE = 0
    WAIT_SPIN = 1
    WAIT_SLEEP = 2

cdef dict WAITS = {"adaptive": WAIT_ADAPTIVE, "spin": WAIT_SPIN, "sleep": WAIT_SLEEP}

cdef bint SEVERAL_CPUS = len(_os.sched_getaffinity(0)) > 1


def ring_shape(uint64_t lanes, uint64_t capacity, uint64_t records):
    """Return (bytes of the object, of them control words, of descriptors and bytes a lane) of a ring."""
    cdef memlane_ring_shape shape
    if not memlane_ring_lay_out(&shape, lanes, capacity, records):
        raise ValueError(f"a ring of {lanes} lanes with {capacity} bytes and {records} records is out of range")
    return shape.nbytes, shape.data_offset, shape.data_nbytes


cdef class Spinning:
    """How long to spin before sleeping: long while spins succeed, zero when they keep failing."""

    cdef uint64_t budget_ns

    def __cinit__(self):
        self.budget_ns = SPIN_MAX_NS

    cdef uint64_t limit(self, int wait) noexcept nogil:
        if wait == WAIT_SPIN:
            return SPIN_ONLY_NS
        return self.budget_ns if wait == WAIT_ADAPTIVE and SEVERAL_CPUS else 0

    cdef void learn(self, bint found) noexcept nogil:
        if found:
            self.budget_ns = min(SPIN_MAX_NS, max(2 * self.budget_ns, SPIN_MIN_NS))
        else:
            self.budget_ns = self.budget_ns // 2 if self.budget_ns > SPIN_MIN_NS else 0

    cdef void learn_sleep(self, bint woken, uint64_t slept_ns) noexcept nogil:
        """A sleep that was ended at once says that the other side is busy: spinning pays again."""
        if woken and slept_ns < 2 * SPIN_MAX_NS and self.budget_ns == 0:
            self.budget_ns = SPIN_MAX_NS // 2


@cython.final
cdef class RingState:
    """What this process knows of one ring."""

    cdef Membership membership
    cdef memlane_ring_shape shape
    cdef memlane_ring_control *control
    cdef unsigned char *address
    cdef uint64_t offset
    cdef str name
    cdef ProducerRole sending         # the one behind Ring.put
    cdef ConsumerRole receiving
    cdef Doorbell doorbell            # of the consumers

    @staticmethod
    cdef RingState of(Membership membership, tuple entry):
        """The state for an entry of the directory; the same object for all handles of this process."""
        key = ("ring", entry[2])
        state = membership.roles.get(key)
        if state is None:
            state = membership.roles.setdefault(key, RingState._make(membership, entry))
        return state

    @staticmethod
    cdef RingState _make(Membership membership, tuple entry):
        cdef RingState state = RingState.__new__(RingState)
        name, kind, state.offset, nbytes, geometry, _ = entry
        state.name = f"ring {name!r} of {membership.name}"
        if not memlane_ring_lay_out(&state.shape, geometry[0], geometry[1], geometry[2]) or state.shape.nbytes != nbytes:
            raise CorruptedError(f"the geometry of {state.name} contradicts itself; unlink the region and create "
                                 "it again", name=membership.name)
        state.membership = membership
        state.address = membership.mapping.address + state.offset
        state.control = <memlane_ring_control *>state.address
        state.sending = ProducerRole.__new__(ProducerRole, state)
        state.receiving = ConsumerRole.__new__(ConsumerRole, state)
        state.doorbell = doorbell_at(membership, &state.control.doorbell, False)
        return state

    cdef memlane_lane_control *lane_control(self, uint32_t lane) noexcept nogil:
        return <memlane_lane_control *>(self.address + sizeof(memlane_ring_control)) + lane

    cdef void lane_at(self, uint32_t lane, memlane_lane *view) noexcept nogil:
        cdef unsigned char *data = self.address + self.shape.data_offset + lane * self.shape.data_nbytes
        view.control = self.lane_control(lane)
        view.descriptors = <memlane_descriptor *>data
        view.bytes = data + self.shape.bytes_offset
        view.capacity = self.shape.capacity
        view.records = self.shape.records
        view.mask = self.shape.descriptors - 1

    cdef int wake_consumers(self, uint32_t times) except -1:
        return ring_waiters(self.membership, &self.control.doorbell, self.doorbell, &self.control.waiters, times)

    cdef int wake_producer(self, uint32_t lane, uint32_t times) except -1:
        cdef memlane_lane_control *control = self.lane_control(lane)
        return ring_waiters(self.membership, &control.doorbell, None, &control.waiters, times)

    cdef object refuse(self, memlane_status status, uint64_t nbytes):
        """Raise what a status means: the one place where one becomes Python."""
        cdef memlane_lane lane
        if status == MEMLANE_FULL:
            raise Full(f"{self.name} is full; get some records, or wait with a longer timeout")
        if status == MEMLANE_EMPTY:
            raise Empty(f"{self.name} is empty; put some records, or wait with a longer timeout")
        if status == MEMLANE_CLOSED:
            raise ShutDown(f"{self.name} was shut down")
        if status == MEMLANE_TOO_LARGE:
            self.lane_at(0, &lane)
            raise RecordTooLargeError(
                f"record of {nbytes} bytes exceeds max_record={memlane_max_record(&lane)} of {self.name}; "
                "create the ring with a larger capacity", nbytes=nbytes, max_record=memlane_max_record(&lane))
        if status == MEMLANE_CORRUPTED:
            raise CorruptedError(f"{self.name} holds bytes that no sound program writes; unlink the region and "
                                 "create it again", name=self.membership.name)
        raise ClosedError(f"this process was taken for dead in {self.name}: its descriptors had been closed; "
                          "open the region again")

    cdef object shut_down(self, bint immediate):
        cdef uint32_t lane
        if self.membership.readonly:
            raise PermissionError(_errno.EACCES, f"{self.name} is open read-only; open it without readonly=True")
        memlane_ring_shut(self.control, MEMLANE_SHUTDOWN_DROP if immediate else MEMLANE_SHUTDOWN_DRAIN)
        self.wake_consumers(POSTS_MAX)
        for lane in range(self.shape.lanes):
            self.wake_producer(lane, POSTS_MAX)

    cdef uint64_t length(self) noexcept:
        cdef memlane_lane view
        cdef uint64_t total = 0
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.control, self.shape.lanes)):
            self.lane_at(lane, &view)
            total += memlane_lane_length(&view)
        return total

    cdef dict stats(self):
        cdef memlane_lane view
        cdef uint32_t lane, owner
        lanes = []
        for lane in range(memlane_ring_leased(self.control, self.shape.lanes)):
            self.lane_at(lane, &view)
            owner = memlane_lane_owner(view.control)
            named = {MEMLANE_OWNER_NEVER: "never leased", MEMLANE_OWNER_DEPARTED: "departed",
                     MEMLANE_OWNER_CLOSED: "closed"}.get(owner)
            if named is None:
                named = ("dead", "alive", "unknown")[self.membership.verdict(owner)]
            lanes.append({
                "lane": lane, "producer": named,
                "pid": self.membership.pid_of(owner) if owner > MEMLANE_OWNER_CLOSED else None,
                "put": memlane_lane_tail(&view), "got": memlane_lane_head(&view),
                "records": memlane_lane_length(&view)})
        owner = memlane_role_owner(&self.control.consumer)
        return {
            "capacity": self.shape.capacity, "max_records": self.shape.records, "producers": self.shape.lanes,
            "records": self.length(), "lanes": lanes,
            "consumer": ("dead", "alive", "unknown")[self.membership.verdict(owner)] if owner else None,
            "consumer_pid": self.membership.pid_of(owner) if owner else None,
            "shutdown": ("no", "drain", "immediate")[memlane_ring_shutdown(self.control)],
        }


cdef class Endpoint:
    """What all handles have: the ring they lead to, whether they are closed, how they wait."""

    cdef RingState state
    cdef bint _closed
    cdef bint sends                   # counted among the handles of a ProducerRole
    cdef bint receives                # counted among the handles of the ConsumerRole
    cdef int wait

    def __cinit__(self, *_args, **_keywords):
        self._closed = True

    cdef int lead_to(self, RingState state, object wait) except -1:
        if wait not in WAITS:
            raise ValueError(f"wait must be one of {', '.join(map(repr, WAITS))}, got {wait!r}")
        self.wait = WAITS[wait]
        self.state = state
        self._closed = False
        return 0

    cdef int check(self) except -1:
        if self._closed or self.state is None:
            raise ClosedError(f"this handle of {'a ring' if self.state is None else self.state.name} is closed")
        return 0

    cdef RingState state_of(self):
        if self._closed:
            self.check()
        return self.state

    cdef ProducerRole producer_role(self):
        return None

    cdef void leave_roles(self) noexcept:
        """Refuse new work; give back each role that this handle was the last to use."""
        cdef ProducerRole sending
        if self._closed:
            return
        self._closed = True
        if self.sends:
            self.sends = False
            sending = self.producer_role()
            sending.handles -= 1
            if sending.handles == 0:
                sending.depart()
        if self.receives:
            self.receives = False
            self.state.receiving.handles -= 1
            if self.state.receiving.handles == 0:
                self.state.receiving.depart()

    @property
    def closed(self):
        """Whether this process has closed this handle."""
        return self._closed

    def __bool__(self):
        return True


@cython.final
cdef class ProducerRole:
    """One lease of a lane by this process; its threads share it."""

    cdef RingState ring
    cdef memlane_producer producer
    cdef memlane_mutex mutex          # guards `producer` and `claim`
    cdef uint64_t epoch               # in which the lane was leased
    cdef uint32_t tag
    cdef uint32_t lane
    cdef void *claim                  # the open Room, or NULL
    cdef unsigned long claim_thread
    cdef bint departing               # to be given back when the claim is gone
    cdef object waiting               # puts that had to wait, in order
    cdef dict preparing               # a lock for each epoch
    cdef Doorbell doorbell
    cdef Spinning spinning
    cdef int64_t handles

    def __cinit__(self, RingState ring):
        self.ring = ring
        self.epoch = EPOCH_CLOSED
        self.waiting = _deque()
        self.preparing = {}
        self.spinning = Spinning()

    def __del__(self):
        if not finalizing():
            self.depart()

    # ---- lease ------------------------------------------------------------------------------------

    cdef int prepare(self, Endpoint handle, uint64_t deadline) except -1:
        """See that this process has a lane of its own, in this epoch. Raises ShutDown, RoleTakenError, OSError."""
        handle.check()
        self.ring.membership._check_open()
        if not memlane_fork_is(self.epoch):
            epoch = memlane_fork_epoch()
            lock = self.preparing.get(epoch)
            if lock is None:
                lock = self.preparing.setdefault(epoch, _Lock())
            with lock:
                if not memlane_fork_is(self.epoch):
                    self._lease(handle, deadline)
        self.departing = False
        if not handle.sends:
            handle.sends = True
            self.handles += 1
        return 0

    cdef int _lease(self, Endpoint handle, uint64_t deadline) except -1:
        cdef Sleep sleep = None
        cdef memlane_status status
        # Whatever was inherited over a fork belongs to the parent.
        self.claim = NULL
        self.departing = False
        self.waiting = _deque()
        self.tag = self.ring.membership.own_tag()
        while True:
            if memlane_ring_shutdown(self.ring.control):
                self.ring.refuse(MEMLANE_CLOSED, 0)
            if self._find_lane():
                break
            if sleep is None:
                sleep = Sleep()
                sleep.deadline = deadline
            if deadline == 0 or deadline == FOREVER or sleep.is_over():
                self._refuse_taken()
            with nogil:
                sleep.doze(NULL)
            PyErr_CheckSignals()
            handle.check()
        self.ring.lane_at(self.lane, &self.producer.lane)
        self.producer.ring = self.ring.control
        status = memlane_producer_adopt(&self.producer)
        if status != MEMLANE_OK:
            memlane_lane_depart(self.producer.lane.control, self.tag)
            self.ring.refuse(status, 0)
        memlane_ring_raise_leased(self.ring.control, self.lane + 1)
        self.doorbell = doorbell_at(self.ring.membership, &self.producer.lane.control.doorbell, True)
        memlane_mutex_reset(&self.mutex)
        self.epoch = memlane_fork_epoch()
        return 0

    cdef bint _find_lane(self) except -1:
        """Departed lanes first, then those of the dead, backlog and all; then one that was never leased."""
        cdef memlane_lane_control *control
        cdef uint32_t lane, owner
        cdef int turn
        cdef bint wanted
        for turn in range(3):
            for lane in range(self.ring.shape.lanes):
                control = self.ring.lane_control(lane)
                owner = memlane_lane_owner(control)
                if turn == 0:
                    wanted = owner == MEMLANE_OWNER_DEPARTED
                elif turn == 1:
                    wanted = owner > MEMLANE_OWNER_CLOSED and self.ring.membership.verdict(owner) == DEAD
                else:
                    wanted = owner == MEMLANE_OWNER_NEVER
                if not wanted:
                    continue
                if turn == 2:
                    self.ring.membership.reserve(
                        self.ring.offset + self.ring.shape.data_offset + lane * self.ring.shape.data_nbytes,
                        self.ring.shape.data_nbytes)
                if memlane_lane_lease(control, owner, self.tag):
                    self.lane = lane
                    return True
        return False

    cdef object _refuse_taken(self):
        cdef uint32_t lane
        owners = [memlane_lane_owner(self.ring.lane_control(lane)) for lane in range(self.ring.shape.lanes)]
        pids = tuple([self.ring.membership.pid_of(owner) for owner in owners if owner > MEMLANE_OWNER_CLOSED])
        named = ", ".join(map(str, pids[:8])) + (", ..." if len(pids) > 8 else "")
        raise RoleTakenError(
            f"all producers={self.ring.shape.lanes} of {self.ring.name} are taken by live processes (pid {named}); "
            "close one there, or create the ring with more", role="producer", pids=pids)

    cdef void depart(self) noexcept:
        """Give the lane back; its backlog stays. An open claim keeps it until it is gone."""
        if not memlane_fork_is(self.epoch) or self.ring.membership.closed:
            return
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        self.departing = True
        if self.claim == NULL:
            self.epoch = EPOCH_CLOSED
            memlane_lane_depart(self.producer.lane.control, self.tag)
        memlane_mutex_unlock(&self.mutex)

    # ---- putting ------------------------------------------------------------------------------------

    cdef int put(self, Endpoint handle, object record, object timeout) except -1:
        cdef memlane_span span
        cdef Py_buffer view
        if PyBytes_CheckExact(record):
            span.bytes = PyBytes_AS_STRING(record)
            span.nbytes = PyBytes_GET_SIZE(record)
            self.put_span(handle, &span, timeout)
            return 0
        PyObject_GetBuffer(record, &view, PyBUF_SIMPLE)
        try:
            span.bytes = view.buf
            span.nbytes = view.len
            self.put_span(handle, &span, timeout)
        finally:
            PyBuffer_Release(&view)
        return 0

    cdef int put_span(self, Endpoint handle, const memlane_span *span, object timeout) except -1:
        cdef memlane_status status
        cdef size_t done
        if (handle.sends and memlane_fork_is(self.epoch) and span.nbytes < COPY_WITH_GIL_NBYTES
                and not self.waiting and memlane_mutex_try(&self.mutex)):
            status = MEMLANE_BUSY
            if self.claim == NULL and memlane_fork_is(self.epoch):
                status = memlane_producer_put(&self.producer, span.bytes, span.nbytes)
            memlane_mutex_unlock(&self.mutex)
            if status == MEMLANE_OK:
                if memlane_waiters_any(&self.ring.control.waiters):
                    self.ring.wake_consumers(1)
                return 0
        self.insert(handle, span, 1, deadline_of(timeout), None)
        return 0

    cdef object put_many(self, Endpoint handle, object records, object timeout):
        cdef uint64_t deadline = deadline_of(timeout)
        cdef tuple held = tuple(records)  # ours alone: nobody can take an item away while we wait
        cdef Py_ssize_t count = len(held), i, viewed = 0
        cdef memlane_span *spans
        cdef Py_buffer *views = NULL
        handle.check()
        if count == 0:
            return 0
        spans = <memlane_span *>PyMem_Malloc(count * sizeof(memlane_span))
        if spans == NULL:
            raise MemoryError()
        try:
            for i in range(count):
                item = held[i]
                if PyBytes_CheckExact(item):
                    spans[i].bytes = PyBytes_AS_STRING(item)
                    spans[i].nbytes = PyBytes_GET_SIZE(item)
                else:
                    if views == NULL:
                        views = <Py_buffer *>PyMem_Malloc(count * sizeof(Py_buffer))
                        if views == NULL:
                            raise MemoryError()
                    PyObject_GetBuffer(item, &views[viewed], PyBUF_SIMPLE)
                    spans[i].bytes = views[viewed].buf
                    spans[i].nbytes = views[viewed].len
                    viewed += 1
                if spans[i].nbytes > self.max_record():
                    self.ring.refuse(MEMLANE_TOO_LARGE, spans[i].nbytes)
            return self.insert(handle, spans, count, deadline, None)
        finally:
            for i in range(viewed):
                PyBuffer_Release(&views[i])
            PyMem_Free(views)
            PyMem_Free(spans)

    cdef uint64_t max_record(self) noexcept:
        cdef memlane_lane lane
        self.ring.lane_at(0, &lane)
        return memlane_max_record(&lane)

    cdef Room reserve(self, Endpoint handle, object nbytes, object timeout):
        cdef memlane_span span
        cdef Room room = Room.__new__(Room)
        span.bytes = NULL
        span.nbytes = size_of(nbytes, "nbytes", 0)
        room.role = self
        room.nbytes = span.nbytes
        self.insert(handle, &span, 1, deadline_of(timeout), room)
        return room

    cdef size_t insert(self, Endpoint handle, const memlane_span *spans, size_t count, uint64_t deadline,
                       Room room) except? 0:
        """
        Put all spans, or open a claim for *room* of the first one's size; waits for room until the deadline.
        Returns how many went in: fewer than all at the deadline or when the ring was shut down meanwhile.
        """
        cdef Membership membership = self.ring.membership
        cdef memlane_status status
        cdef size_t done = 0, step
        cdef Sleep sleep = None
        cdef bint found
        cdef object ticket = None
        cdef uint64_t pinned, began
        handle.check()
        if spans[0].nbytes > self.max_record():
            self.ring.refuse(MEMLANE_TOO_LARGE, spans[0].nbytes)
        pinned = membership.pin()
        try:
            while True:
                try:
                    self.prepare(handle, deadline)
                except (ShutDown, ClosedError):
                    if done:
                        return done
                    raise
                status = MEMLANE_FULL
                if not self.waiting or self.waiting[0] is ticket:
                    status = self.attempt(spans + done, count - done, &step, room)
                if status == MEMLANE_OK:
                    done += step
                    if room is not None:
                        return 1
                    if memlane_waiters_any(&self.ring.control.waiters):
                        self.ring.wake_consumers(min(step, POSTS_MAX))
                    if done == count:
                        return done
                    continue
                if status == MEMLANE_LOST:
                    continue  # closed or forked in between: prepare says so
                if status == MEMLANE_BUSY:
                    if self.claim_thread == _get_ident():
                        raise RuntimeError(
                            f"this thread has a claim open on its lane of {self.ring.name}; commit or abort it first")
                elif status != MEMLANE_FULL:
                    if done:
                        return done
                    self.ring.refuse(status, spans[done].nbytes)

                if sleep is None:
                    sleep = Sleep()
                    sleep.deadline = deadline
                if deadline == 0 or sleep.is_over():
                    if done:
                        return done
                    self.ring.refuse(MEMLANE_FULL, 0)
                if ticket is None:
                    ticket = object()
                    self.waiting.append(ticket)
                with nogil:
                    found = self.spin(handle.wait)
                if not found and handle.wait != WAIT_SPIN:
                    memlane_waiters_announce(&self.producer.lane.control.waiters)
                    found = self.any_room()
                    if not found:
                        began = memlane_monotonic_ns()
                        with nogil:
                            found = sleep.doze(self.doorbell.semaphore)
                        self.spinning.learn_sleep(found, memlane_monotonic_ns() - began)
                        if not found:
                            memlane_waiters_withdraw(&self.producer.lane.control.waiters)
                    else:
                        memlane_waiters_withdraw(&self.producer.lane.control.waiters)
                PyErr_CheckSignals()
        finally:
            if ticket is not None:
                try:
                    self.waiting.remove(ticket)
                except ValueError:
                    pass  # a forked child began a queue of its own
                # The baton: the next one in the queue may find room, or at least that it is its turn.
                if self.waiting and memlane_fork_is(self.epoch):
                    self.wake_own()
            membership.unpin(pinned)

    cdef int wake_own(self) except -1:
        return ring_waiters(self.ring.membership, &self.producer.lane.control.doorbell, self.doorbell,
                            &self.producer.lane.control.waiters, 1)

    cdef memlane_status attempt(self, const memlane_span *spans, size_t count, size_t *done, Room room) noexcept:
        cdef memlane_status status
        cdef size_t total = 0, i
        cdef uint64_t *offset = NULL
        cdef unsigned long thread = 0
        if room is not None:
            offset, thread = room.offset_address(), _get_ident()
        else:
            for i in range(count):
                total += spans[i].nbytes
        if total < COPY_WITH_GIL_NBYTES and memlane_mutex_try(&self.mutex):
            status = self.locked_attempt(spans, count, done, <PyObject *>room, offset, thread)
            memlane_mutex_unlock(&self.mutex)
        else:
            with nogil:
                memlane_mutex_lock(&self.mutex)
                status = self.locked_attempt(spans, count, done, <PyObject *>room, offset, thread)
                memlane_mutex_unlock(&self.mutex)
        if status == MEMLANE_OK and room is not None:
            room.begin()
        return status

    cdef memlane_status locked_attempt(self, const memlane_span *spans, size_t count, size_t *done,
                                       PyObject *room, uint64_t *offset, unsigned long thread) noexcept nogil:
        """One step under the mutex. MEMLANE_BUSY: a claim is open; MEMLANE_LOST: the lane is not ours now."""
        cdef memlane_status status
        if not memlane_fork_is(self.epoch) or self.departing:
            return MEMLANE_LOST
        if self.claim != NULL:
            return MEMLANE_BUSY
        if offset == NULL:
            return memlane_producer_put_many(&self.producer, spans, count, done)
        done[0] = 1
        status = memlane_producer_claim(&self.producer, spans[0].nbytes, offset)
        if status == MEMLANE_OK:
            self.claim = <void *>room
            self.claim_thread = thread
        return status

    cdef bint any_room(self) noexcept nogil:
        """The second look: has anything changed that a waiting put would act on?"""
        cdef bint found
        if not memlane_mutex_try(&self.mutex):
            return False  # its holder is copying, and rings when it is through or within a slice
        found = self.claim == NULL and memlane_producer_any(&self.producer)
        memlane_mutex_unlock(&self.mutex)
        return found

    cdef bint spin(self, int wait) noexcept nogil:
        cdef uint64_t limit = self.spinning.limit(wait), end
        cdef int looks
        if limit == 0:
            return False
        end = memlane_monotonic_ns() + limit
        while True:
            for looks in range(32):
                if self.any_room():
                    self.spinning.learn(True)
                    return True
                memlane_cpu_relax()
            if memlane_monotonic_ns() >= end:
                self.spinning.learn(False)
                return False


@cython.final
cdef class Room:
    """
    A claim: room for one record inside the ring, to be written in place, then committed.

    Supports the buffer protocol (writable). `with ring.reserve(n) as room:` commits at the end and aborts on
    an exception. Made by `reserve`; used by the thread that made it. The other side sees nothing of it before
    the commit; if this process dies, it has never existed.
    """

    cdef ProducerRole role
    cdef uint64_t offset
    cdef uint64_t nbytes
    cdef Py_ssize_t exports
    cdef bint is_open                 # neither committed nor aborted
    cdef bint is_claimed              # the lane waits for us
    cdef uint64_t pinned

    def __init__(self):
        raise TypeError("a Room is made by reserve(), not by calling the class")

    cdef uint64_t *offset_address(self) noexcept:
        return &self.offset

    cdef void begin(self) noexcept:
        self.pinned = self.role.ring.membership.pin()
        self.is_open = self.is_claimed = True

    def __del__(self):
        if self.is_claimed:
            self.is_open = False
            self.end()

    cdef int end(self) except -1:
        """Let the lane go on, and give it back if it was only kept for us."""
        cdef ProducerRole role = self.role
        if not self.is_claimed:
            return 0
        self.is_claimed = False
        if memlane_fork_is(self.pinned):
            memlane_mutex_lock(&role.mutex)  # with the GIL: holders never need it
            role.claim = NULL
            memlane_mutex_unlock(&role.mutex)
            if role.departing:
                role.depart()
            elif memlane_waiters_any_fenced(&role.producer.lane.control.waiters):
                role.wake_own()
        role.ring.membership.unpin(self.pinned)
        return 0

    cdef int check(self) except -1:
        if not self.is_open:
            raise ClosedError(f"this room in {'a ring' if self.role is None else self.role.ring.name} was committed "
                              "or aborted; reserve another one")
        return 0

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.check()
        PyBuffer_FillInfo(view, self, self.role.producer.lane.bytes + self.offset, self.nbytes, 0, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1
        if self.exports == 0 and not self.is_open:
            self.end()

    def __len__(self):
        return self.nbytes

    def __bool__(self):
        return True

    def __getitem__(self, index):
        with memoryview(self) as view:
            found = view[index]
            return bytes(found) if isinstance(found, memoryview) else found

    def __setitem__(self, index, value):
        with memoryview(self) as view:
            view[index] = value

    def write(self, data, offset=0):
        """
        Copy *data*, any contiguous buffer, to byte *offset* of the room, leaving no view behind.

        Returns:
            How many bytes were copied.

        Raises:
            ValueError: it would not fit.
            ClosedError: committed or aborted before.
        """
        cdef Py_buffer view
        cdef uint64_t at = size_of(offset, "offset", 0)
        cdef unsigned char *to
        self.check()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            if at > self.nbytes or <uint64_t>view.len > self.nbytes - at:
                raise ValueError(f"{view.len} bytes at offset {at} do not fit a room of {self.nbytes} bytes; reserve more")
            to = self.role.producer.lane.bytes + self.offset + at
            if view.len < <Py_ssize_t>COPY_WITH_GIL_NBYTES:
                memcpy(to, view.buf, view.len)
            else:
                with nogil:
                    memcpy(to, view.buf, view.len)
            return view.len
        finally:
            PyBuffer_Release(&view)

    def commit(self, nbytes=None):
        """
        Put the record, its first *nbytes* bytes or all of it. Never waits.

        In a process that was forked after `reserve` nothing happens: the claim is the parent's.

        Raises:
            BufferError: a view of the room is alive; `del` it, then commit or abort.
            ShutDown: the ring was shut down meanwhile; nobody gets the record.
            ValueError: *nbytes* is more than was reserved.
            ClosedError: committed or aborted before.
        """
        cdef ProducerRole role = self.role
        cdef memlane_status status
        cdef uint64_t length = self.nbytes
        self.check()
        if nbytes is not None:
            length = size_of(nbytes, "nbytes", 0)
            if length > self.nbytes:
                raise ValueError(f"cannot commit {length} bytes of a room of {self.nbytes}; reserve more")
        if self.exports:
            raise BufferError(
                f"{self.exports} views of this room in {role.ring.name} are alive; del them (or write with "
                "room.write(array), which leaves none), then room.commit() or room.abort()")
        self.is_open = False
        if not memlane_fork_is(self.pinned):
            self.end()
            return
        memlane_mutex_lock(&role.mutex)  # with the GIL: holders never need it
        status = memlane_producer_commit(&role.producer, self.offset, length)
        memlane_mutex_unlock(&role.mutex)
        self.end()
        if status != MEMLANE_OK:
            role.ring.refuse(status, length)
        if memlane_waiters_any(&role.ring.control.waiters):
            role.ring.wake_consumers(1)

    def abort(self):
        """Give the room back unused. While a view of it lives the lane stays claimed. Never raises twice."""
        self.is_open = False
        if self.exports == 0:
            self.end()

    def __enter__(self):
        self.check()
        return self

    def __exit__(self, kind, _value, _traceback):
        if self.is_open:
            if kind is None:
                self.commit()
            else:
                self.abort()


@cython.final
cdef class ConsumerRole:
    """The consumer of a ring in this process; all its handles and threads share it."""

    cdef RingState ring
    cdef memlane_consumer *lanes
    cdef unsigned char *known         # 0: maybe never leased, 1: leased, 2: closed
    cdef memlane_mutex mutex          # guards `lanes`
    cdef uint64_t epoch
    cdef uint32_t tag
    cdef uint32_t current             # the lane to look at first
    cdef int64_t loans
    cdef bint departing               # to be given back when the loans are gone
    cdef dict preparing
    cdef Spinning spinning
    cdef int64_t handles

    def __cinit__(self, RingState ring):
        self.ring = ring
        self.epoch = EPOCH_CLOSED
        self.preparing = {}
        self.spinning = Spinning()
        self.lanes = <memlane_consumer *>PyMem_Calloc(ring.shape.lanes, sizeof(memlane_consumer))
        self.known = <unsigned char *>PyMem_Calloc(ring.shape.lanes, 1)
        if self.lanes == NULL or self.known == NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_Free(self.lanes)
        PyMem_Free(self.known)

    def __del__(self):
        if not finalizing():
            self.depart()

    # ---- the role -----------------------------------------------------------------------------------

    cdef int prepare(self, Endpoint handle) except -1:
        """See that this process is the consumer, in this epoch. Raises RoleTakenError naming the holder."""
        handle.check()
        self.ring.membership._check_open()
        if not memlane_fork_is(self.epoch):
            epoch = memlane_fork_epoch()
            lock = self.preparing.get(epoch)
            if lock is None:
                lock = self.preparing.setdefault(epoch, _Lock())
            with lock:
                if not memlane_fork_is(self.epoch):
                    self._take_role()
        self.departing = False
        if not handle.receives:
            handle.receives = True
            self.handles += 1
        return 0

    cdef int _take_role(self) except -1:
        cdef uint32_t found, lane
        cdef int alive
        self.tag = self.ring.membership.own_tag()
        while True:
            found = memlane_role_owner(&self.ring.control.consumer)
            if found != 0:
                alive = self.ring.membership.verdict(found)
                if alive == UNKNOWN:
                    self.ring.refuse(MEMLANE_LOST, 0)
                if alive == ALIVE:
                    pid = self.ring.membership.pid_of(found)
                    raise RoleTakenError(f"{self.ring.name} already has a consumer (pid {pid}, alive); close it there first",
                                         role="consumer", pids=(pid,))
            if memlane_role_take(&self.ring.control.consumer, found, self.tag):
                break
        for lane in range(self.ring.shape.lanes):
            self.ring.lane_at(lane, &self.lanes[lane].lane)
            memlane_consumer_start(&self.lanes[lane])
            self.known[lane] = 0
        self.loans = 0
        self.departing = False
        memlane_mutex_reset(&self.mutex)
        self.epoch = memlane_fork_epoch()
        return 0

    cdef void depart(self) noexcept:
        """Give the role back; loans keep it until the last one is gone."""
        if not memlane_fork_is(self.epoch) or self.ring.membership.closed:
            return
        memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
        self.departing = True
        if self.loans == 0:
            self.epoch = EPOCH_CLOSED
            memlane_role_give(&self.ring.control.consumer, self.tag)
        memlane_mutex_unlock(&self.mutex)

    # ---- looking and taking ---------------------------------------------------------------------------

    cdef bint is_leased(self, uint32_t lane) noexcept nogil:
        """Whether the memory of a lane may be touched."""
        if self.known[lane]:
            return True
        if memlane_lane_owner(self.ring.lane_control(lane)) == MEMLANE_OWNER_NEVER:
            return False
        self.known[lane] = 1
        return True

    cdef int find(self, uint64_t *s, memlane_extent *extent) except -2:
        """The first lane with a record, from the one after the last served; -1: none has."""
        cdef uint32_t leased = memlane_ring_leased(self.ring.control, self.ring.shape.lanes)
        cdef uint32_t lane = self.current, turn
        cdef memlane_status status
        if memlane_ring_shutdown(self.ring.control) == MEMLANE_SHUTDOWN_DROP:
            return -1
        for turn in range(leased):
            if lane >= leased:
                lane = 0
            if self.is_leased(lane):
                status = memlane_consumer_peek(&self.lanes[lane], s, extent)
                if status == MEMLANE_BUSY:
                    with nogil:
                        memlane_mutex_lock(&self.mutex)
                        memlane_consumer_skip(&self.lanes[lane])
                        memlane_mutex_unlock(&self.mutex)
                    status = memlane_consumer_peek(&self.lanes[lane], s, extent)
                if status == MEMLANE_OK:
                    return lane
                if status == MEMLANE_CORRUPTED:
                    self.ring.refuse(status, 0)
            lane += 1
        return -1

    cdef memlane_status copy_out(self, uint32_t lane, uint64_t s, const memlane_extent *extents, size_t count,
                                 PyObject **to, char *into) except *:
        """
        Copy `count` records that were seen from s on, and free them, in one step under the mutex.
        MEMLANE_BUSY: another thread took them meanwhile.
        """
        cdef memlane_status status
        cdef bint crossed = False
        cdef uint64_t total = 0
        cdef size_t i
        for i in range(count):
            total += memlane_occupied(extents[i].nbytes)
        if total < COPY_WITH_GIL_NBYTES and memlane_mutex_try(&self.mutex):
            status = self.locked_copy(lane, s, extents, count, total, to, into, &crossed)
            memlane_mutex_unlock(&self.mutex)
        else:
            with nogil:
                memlane_mutex_lock(&self.mutex)
                status = self.locked_copy(lane, s, extents, count, total, to, into, &crossed)
                memlane_mutex_unlock(&self.mutex)
        if crossed and memlane_waiters_any_fenced(&self.lanes[lane].lane.control.waiters):
            self.ring.wake_producer(lane, 1)
        if status == MEMLANE_LOST and not self.departing:
            self.ring.refuse(status, 0)
        return status

    cdef memlane_status locked_copy(self, uint32_t lane, uint64_t s, const memlane_extent *extents, size_t count,
                                    uint64_t total, PyObject **to, char *into, bint *crossed) noexcept nogil:
        cdef memlane_consumer *consumer = &self.lanes[lane]
        cdef memlane_extent again
        cdef uint64_t now
        cdef size_t i
        if not memlane_fork_is(self.epoch):
            return MEMLANE_BUSY
        if memlane_consumer_peek(consumer, &now, &again) != MEMLANE_OK or now != s or again.nbytes != extents[0].nbytes:
            return MEMLANE_BUSY
        if to == NULL:
            memcpy(into, consumer.lane.bytes + extents[0].offset, extents[0].nbytes)
        else:
            for i in range(count):
                memcpy(bytes_at(to[i]), consumer.lane.bytes + extents[i].offset, extents[i].nbytes)
        if not memlane_role_held(&self.ring.control.consumer, self.tag):
            return MEMLANE_LOST
        crossed[0] = memlane_consumer_finish(consumer, count, total)
        return MEMLANE_OK

    cdef object take(self):
        """One record as new bytes, or None if there is none now."""
        cdef memlane_extent extent
        cdef uint64_t s
        cdef int lane
        cdef PyObject *to
        while True:
            lane = self.find(&s, &extent)
            if lane < 0:
                return None
            record = PyBytes_FromStringAndSize(NULL, extent.nbytes)
            to = <PyObject *>record
            if self.copy_out(lane, s, &extent, 1, &to, NULL) == MEMLANE_OK:
                self.current = lane + 1
                return record
            if not memlane_fork_is(self.epoch):
                return None

    cdef list take_many(self, Py_ssize_t most):
        """Up to *most* records, of all lanes that have some; an empty list if there is none now."""
        cdef memlane_extent extents[STEP_RECORDS]
        cdef PyObject *to[STEP_RECORDS]
        cdef memlane_status status
        cdef uint64_t s
        cdef size_t count, i
        cdef int lane
        cdef list found = [], step
        while len(found) < most:
            lane = self.find(&s, &extents[0])
            if lane < 0:
                break
            count = memlane_consumer_peek_many(
                &self.lanes[lane], min(most - len(found), <Py_ssize_t>STEP_RECORDS), &s, extents, &status)
            if count == 0:
                continue
            step = PyList_New(count)
            for i in range(count):
                record = PyBytes_FromStringAndSize(NULL, extents[i].nbytes)
                Py_INCREF(record)
                PyList_SET_ITEM(step, i, record)
                to[i] = <PyObject *>record
            if self.copy_out(lane, s, extents, count, to, NULL) == MEMLANE_OK:
                self.current = lane + 1
                if found:
                    found += step
                else:
                    found = step
            elif not memlane_fork_is(self.epoch):
                break
        return found

    cdef Py_ssize_t take_into(self, Py_buffer *view) except -2:
        """Copy one record into a buffer; its length, or -1 if there is none now."""
        cdef memlane_extent extent
        cdef uint64_t s
        cdef int lane
        while True:
            lane = self.find(&s, &extent)
            if lane < 0:
                return -1
            if extent.nbytes > <uint64_t>view.len:
                raise ValueError(f"the next record of {self.ring.name} has {extent.nbytes} bytes, the buffer {view.len}; "
                                 "it stays in the ring: pass a larger buffer")
            if self.copy_out(lane, s, &extent, 1, NULL, <char *>view.buf) == MEMLANE_OK:
                self.current = lane + 1
                return extent.nbytes
            if not memlane_fork_is(self.epoch):
                return -1

    cdef Record take_loan(self):
        """One record as a loan, or None if there is none now."""
        cdef memlane_extent extent, again
        cdef uint64_t s, now
        cdef int lane
        cdef bint taken
        cdef Record record = Record.__new__(Record)
        while True:
            lane = self.find(&s, &extent)
            if lane < 0:
                return None
            taken = False
            memlane_mutex_lock(&self.mutex)  # with the GIL: holders never need it
            if (memlane_fork_is(self.epoch)
                    and memlane_consumer_peek(&self.lanes[lane], &now, &again) == MEMLANE_OK and now == s):
                memlane_consumer_borrow(&self.lanes[lane])
                self.loans += 1
                taken = True
            memlane_mutex_unlock(&self.mutex)
            if taken:
                self.current = lane + 1
                record.begin(self, lane, s, &again)
                return record
            if not memlane_fork_is(self.epoch):
                return None

    cdef object take_as(self, int how, Py_ssize_t most, Py_buffer *view):
        cdef Py_ssize_t nbytes
        if how == TAKE_ONE:
            return self.take()
        if how == TAKE_MANY:
            return self.take_many(most) or None
        if how == TAKE_LOAN:
            return self.take_loan()
        nbytes = self.take_into(view)
        return None if nbytes < 0 else nbytes

    # ---- getting --------------------------------------------------------------------------------------

    cdef object get(self, Endpoint handle, object timeout, bint require_peer):
        if handle.receives and memlane_fork_is(self.epoch):
            record = self.take()
            if record is not None:
                return record
        return self.extract(handle, TAKE_ONE, 1, NULL, deadline_of(timeout), require_peer)

    cdef object extract(self, Endpoint handle, int how, Py_ssize_t most, Py_buffer *view, uint64_t deadline,
                        bint require_peer):
        """Take in one of four ways, waiting until the deadline."""
        cdef RingState ring = self.ring
        cdef Membership membership = ring.membership
        cdef Sleep sleep = None
        cdef bint found
        cdef uint64_t pinned, began
        handle.check()
        pinned = membership.pin()
        try:
            while True:
                self.prepare(handle)
                record = self.take_as(how, most, view)
                if record is not None:
                    # The baton: whoever was woken and sees more rings again.
                    if sleep is not None and memlane_waiters_any(&ring.control.waiters) and self.any_record():
                        ring.wake_consumers(1)
                    return record
                self.wake_producers()
                if memlane_ring_shutdown(ring.control):
                    if self.close_lanes():
                        ring.refuse(MEMLANE_CLOSED, 0)
                    continue
                if require_peer and self.peers_are_gone() and not self.any_record():
                    raise PeerGoneError(f"all producers of {ring.name} have died or left, and it is drained")
                if sleep is None:
                    sleep = Sleep()
                    sleep.deadline = deadline
                if deadline == 0 or sleep.is_over():
                    self.check_sound()
                    ring.refuse(MEMLANE_EMPTY, 0)
                with nogil:
                    found = self.spin(handle.wait)
                if not found:
                    self.check_sound()
                    if handle.wait != WAIT_SPIN:
                        memlane_waiters_announce(&ring.control.waiters)
                        found = self.any_record()
                        if not found:
                            began = memlane_monotonic_ns()
                            with nogil:
                                found = sleep.doze(ring.doorbell.semaphore)
                            self.spinning.learn_sleep(found, memlane_monotonic_ns() - began)
                            if not found:
                                memlane_waiters_withdraw(&ring.control.waiters)
                        else:
                            memlane_waiters_withdraw(&ring.control.waiters)
                PyErr_CheckSignals()
        finally:
            membership.unpin(pinned)

    cdef bint any_record(self) noexcept nogil:
        """The second look: is there anything that a waiting get would act on?"""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.ring.control, self.ring.shape.lanes)):
            if self.is_leased(lane) and self.known[lane] != 2 and memlane_consumer_any(&self.lanes[lane]):
                return True
        return memlane_ring_shutdown(self.ring.control) != 0

    cdef bint spin(self, int wait) noexcept nogil:
        cdef uint64_t limit = self.spinning.limit(wait), end
        cdef int looks
        if limit == 0:
            return False
        end = memlane_monotonic_ns() + limit
        while True:
            for looks in range(32):
                if self.any_record():
                    self.spinning.learn(True)
                    return True
                memlane_cpu_relax()
            if memlane_monotonic_ns() >= end:
                self.spinning.learn(False)
                return False

    cdef int wake_producers(self) except -1:
        """Nothing fresh: whoever waits for room has it, however little was freed since it was last rung for."""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.ring.control, self.ring.shape.lanes)):
            if memlane_waiters_any_fenced(&self.ring.lane_control(lane).waiters):
                self.ring.wake_producer(lane, 1)
        return 0

    cdef bint close_lanes(self) except -1:
        """Bring a ring that is shut down to its end; False: a commit was faster, or others took part."""
        cdef memlane_status status
        cdef uint32_t lane
        cdef bint drop = memlane_ring_shutdown(self.ring.control) == MEMLANE_SHUTDOWN_DROP
        cdef bint all_closed = True
        for lane in range(self.ring.shape.lanes):
            if self.known[lane] == 2:
                continue
            if not self.is_leased(lane):
                if memlane_lane_close_unleased(self.ring.lane_control(lane)) != MEMLANE_CLOSED:
                    all_closed = False
                else:
                    self.known[lane] = 2
                continue
            if memlane_lane_owner(self.ring.lane_control(lane)) == MEMLANE_OWNER_CLOSED:
                self.known[lane] = 2
                continue
            with nogil:
                memlane_mutex_lock(&self.mutex)
                if drop:
                    memlane_consumer_drop(&self.lanes[lane])
                status = memlane_consumer_close(&self.lanes[lane])
                memlane_mutex_unlock(&self.mutex)
            if status != MEMLANE_CLOSED:
                all_closed = False
        return all_closed

    cdef bint peers_are_gone(self) except -1:
        """Whether there were producers and every one of them has left or is proven dead."""
        cdef uint32_t lane, owner, leased = memlane_ring_leased(self.ring.control, self.ring.shape.lanes)
        cdef int probes = 0
        for lane in range(leased):
            owner = memlane_lane_owner(self.ring.lane_control(lane))
            if owner <= MEMLANE_OWNER_CLOSED:
                continue
            probes += 1
            if probes > PROBES_A_SLICE or self.ring.membership.verdict(owner) != DEAD:
                return False
        return leased > 0

    cdef int check_sound(self) except -1:
        """Look twice for what cannot be, before sleeping on it."""
        cdef uint32_t lane
        for lane in range(memlane_ring_leased(self.ring.control, self.ring.shape.lanes)):
            if (self.is_leased(lane) and memlane_consumer_overlooked(&self.lanes[lane])
                    and memlane_consumer_overlooked(&self.lanes[lane])):
                self.ring.refuse(MEMLANE_CORRUPTED, 0)
        return 0


cdef enum:
    TAKE_ONE
    TAKE_MANY
    TAKE_LOAN
    TAKE_INTO


@cython.final
cdef class Record:
    """
    A borrowed record: its bytes where they lie in the ring, read-only, until it is released.

    Supports the buffer protocol. Released at the end of its `with`, by `release()`, or when the last view of it
    (a memoryview, a numpy array) has died, whichever comes last. Meanwhile it takes up room in the ring. If this
    process dies, another consumer gets it.

    Attributes:
        redelivered: Whether an earlier consumer had it in hand and died.
    """

    cdef ConsumerRole role
    cdef uint32_t lane
    cdef uint64_t s
    cdef memlane_extent extent
    cdef Py_ssize_t exports
    cdef bint is_open                 # not released
    cdef bint is_held                 # the ring keeps it for us
    cdef uint64_t pinned
    cdef readonly bint redelivered

    def __init__(self):
        raise TypeError("a Record is made by borrow(), not by calling the class")

    cdef void begin(self, ConsumerRole role, uint32_t lane, uint64_t s, const memlane_extent *extent) noexcept:
        self.role, self.lane, self.s, self.extent = role, lane, s, extent[0]
        self.pinned = role.ring.membership.pin()
        self.is_open = self.is_held = True

    def __del__(self):
        if self.is_held:
            self.is_open = False
            self.end()

    cdef int end(self) except -1:
        cdef ConsumerRole role = self.role
        cdef bint last
        if not self.is_held:
            return 0
        self.is_held = False
        # A forked child has a copy of the parent's loan, which is not its to release.
        if memlane_fork_is(self.pinned):
            if memlane_role_held(&role.ring.control.consumer, role.tag):
                memlane_consumer_release(&role.lanes[self.lane], self.s)
                if memlane_waiters_any(&role.lanes[self.lane].lane.control.waiters):
                    role.ring.wake_producer(self.lane, 1)
            with cython.critical_section(role):
                role.loans -= 1
                last = role.loans == 0 and role.departing
            if last:
                role.depart()
        role.ring.membership.unpin(self.pinned)
        return 0

    cdef int check(self) except -1:
        if not self.is_open:
            raise ClosedError(f"this record of {'a ring' if self.role is None else self.role.ring.name} was released; "
                              "borrow another one")
        return 0

    def __getbuffer__(self, Py_buffer *view, int flags):
        self.check()
        PyBuffer_FillInfo(view, self, self.role.lanes[self.lane].lane.bytes + self.extent.offset, self.extent.nbytes, 1,
                          flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1
        if self.exports == 0 and not self.is_open:
            self.end()

    def __len__(self):
        return self.extent.nbytes

    def __bool__(self):
        return True

    def __getitem__(self, index):
        with memoryview(self) as view:
            found = view[index]
            return bytes(found) if isinstance(found, memoryview) else found

    def release(self):
        """Give the record back, now or when its last view dies. Doing it twice does nothing."""
        self.is_open = False
        if self.exports == 0:
            self.end()

    def __enter__(self):
        self.check()
        return self

    def __exit__(self, _kind, _value, _traceback):
        self.release()
