/* SPDX-License-Identifier: MIT
 *
 * Rooms of which views live on after the commit: src/core/lane_producer.h, memlane_producer_keep, _release, _holds, _refresh,
 * _fit_seen, _any, _claim, _commit, _adopt, memlane_many_advance, and Reservation and Sender.depart in
 * src/memlane/_core/sender.pyx. Here the bytes of the lane are cells, of which a record has one or two.
 *
 * Producer 1 may close its handle or die anywhere, then 2 takes the lane over. Each record is put with a view or
 * without one, and may be shorter than what was reserved for it. A view dies at any moment when its process does not
 * hold the lock of its lane, and all of them with their process. MANY=0: the consumer moves `head`. MANY=1: two
 * consumers free what they took, in any order, and the producer moves `head`.
 *
 * Checked: no cell is written while a view on it lives, nor before its record was read; who waits and is told that it is
 * due sees more room then; in the end all was put and got, and the lane went from one to the other.
 *
 * sizes: RECORDS=3 DESCRIPTORS=2 CELLS=3 MANY=0
 * sizes: RECORDS=3 DESCRIPTORS=4 CELLS=2 MANY=0
 * sizes: RECORDS=2 DESCRIPTORS=2 CELLS=2 MANY=1
 * mistake NO_CLAMP: RECORDS=4 DESCRIPTORS=4 CELLS=3 MANY=0; finds "viewed"
 *     a look at `head` forgets what is kept: the next record is written over a view
 * mistake YOUNGEST: RECORDS=4 DESCRIPTORS=4 CELLS=3 MANY=0; finds "viewed"
 *     of several that are kept the youngest counts: the room of the older ones is used
 * mistake WRITE_SHORT: RECORDS=4 DESCRIPTORS=4 CELLS=3 MANY=0; finds "viewed"
 *     only what was committed of a room is kept, not all that was reserved
 * mistake DEPART_EARLY: RECORDS=3 DESCRIPTORS=4 CELLS=3 MANY=0; finds "viewed"
 *     a closed handle gives the lane back while views live: its successor writes over them
 * mistake LOOK_PAST: RECORDS=4 DESCRIPTORS=2 CELLS=3 MANY=0; finds "room"
 *     the second look forgets what is kept: a put that waits looks and finds nothing, for ever
 * mistake LOOK_FREE: RECORDS=3 DESCRIPTORS=2 CELLS=3 MANY=1; finds "room"
 *     the second look takes a freed record that is kept for room
 * mistake LOOK_HEAD: RECORDS=4 DESCRIPTORS=2 CELLS=3 MANY=0; finds "end state"
 *     the second look asks only whether `head` moved since: the death of a view wakes nobody
 */
#define WORD(s, kind) ((s) * 8 + (kind))
#define READY 1
#define FREE 3
#define AT(s) state[(s) % DESCRIPTORS]
#define OF(s) ((s) % DESCRIPTORS)
#define DEPARTED 0
#define TORN 255

byte state[DESCRIPTORS], offset[DESCRIPTORS], length[DESCRIPTORS], payload[CELLS], head, tail;
byte owner = 1;
bool killed;

/* private to a producing process */
byte keeper[RECORDS]; /* whose view of this record lives; 0: nobody's */
byte low[3] = RECORDS; /* the oldest record that this one keeps; RECORDS: none */
bool locked[3];

/* ghosts */
byte viewed[CELLS]; /* the record + 1 of which a view is on this cell; 0: none */
byte reading[CELLS]; /* how many records that were put and not yet read to the end are here */
byte taken, got;

#define DEAD (killed && me == 1)
#define STEP(...) atomic { if :: DEAD -> goto dead :: else fi; __VA_ARGS__ }
#define AWAIT(condition) atomic { ((condition) || DEAD) -> if :: DEAD -> goto dead :: else fi }
#define HOLDS(to) (low[me] < (to))

/* Which of those that are kept counts. */
inline find_low(who) {
    low[who] = RECORDS;
    i = 0;
    do
    :: i < RECORDS ->
        if
#ifdef YOUNGEST
        :: keeper[i] == who -> low[who] = i
#else
        :: keeper[i] == who && low[who] == RECORDS -> low[who] = i
#endif
        :: else
        fi;
        i++
    :: else -> break
    od;
    i = 0
}

inline end_view(s) {
    i = 0;
    do
    :: i < CELLS -> if :: viewed[i] == s + 1 -> viewed[i] = 0 :: else fi; i++
    :: else -> break
    od
}

/* Reservation.give_bytes_back, by whoever lets the last view go */
proctype Views(byte me) {
    byte s, i;
end:
    do
    :: atomic {
        (low[me] < RECORDS && !locked[me] && !DEAD) ->
        s = low[me];
#ifdef YOUNGEST
        s = 0;
#endif
        do
        :: keeper[s] == me -> break
        :: s + 1 < RECORDS -> s++
        :: else -> s = RECORDS; break
        od;
        if
        :: s < RECORDS -> end_view(s); keeper[s] = 0; find_low(me) /* memlane_producer_release */
        :: else
        fi;
        s = 0; i = 0
    }
    od
}

proctype Kill() {
    byte s, i;
end:
    atomic {
        (owner == 1) -> killed = true;
        do
        :: s < RECORDS -> if :: keeper[s] == 1 -> end_view(s); keeper[s] = 0 :: else fi; s++
        :: else -> break
        od;
        s = 0; i = 0
    }
}

/* memlane_producer_fit_seen; all of it is private */
inline fit() {
    fits = true;
    if
    :: next == seen -> at = 0
    :: next - seen >= DESCRIPTORS -> fits = false
    :: else ->
        at = write;
        if
        :: write > oldest && reserved <= CELLS - write
        :: write > oldest && reserved > CELLS - write -> at = 0; fits = (reserved <= oldest)
        :: write <= oldest -> fits = (reserved <= oldest - write)
        fi
    fi
}

/* memlane_producer_refresh */
inline refresh() {
#if MANY
    do /* memlane_many_advance */
    :: STEP(i = (head < next && AT(head) == WORD(head, FREE))); if :: i -> STEP(head++) :: else -> break fi
    od;
    i = 0;
#endif
    STEP(i = head; looked = head);
    if
#ifndef NO_CLAMP
    :: HOLDS(i) -> i = low[me]; oldest = kept_at[low[me]]
#endif
    :: else -> if :: i != next -> STEP(oldest = offset[OF(i)]) :: else -> oldest = 0 fi
    fi;
    atomic { room_seen = (i != seen); assert(!due || room_seen); due = false; seen = i; i = 0 }
}

proctype Producer(byte me) {
    byte next, seen, oldest, write, at, reserved, nbytes, i, looked; /* the last: for a mistake */
    byte kept_at[RECORDS];
    bool fits, due, room_seen;
    if
    :: me == 1 -> next = 0
    :: else -> /* memlane_producer_adopt */
        atomic { (owner == DEPARTED || killed) -> owner = me };
        seen = head;
        next = tail;
        if :: next < seen -> next = seen :: else fi;
        do
        :: next < RECORDS && next - seen < DESCRIPTORS && (AT(next) == WORD(next, READY) || AT(next) == WORD(next, FREE)) -> next++
        :: else -> break
        od;
        if
        :: next != seen -> write = offset[OF(next - 1)] + length[OF(next - 1)]; oldest = offset[OF(seen)]
        :: else
        fi;
        tail = next
    fi;
    do
    :: next == RECORDS -> break
    :: me == 1 && next > 0 -> break /* its handle is closed */
    :: next < RECORDS ->
        if :: reserved = 1 :: reserved = 2 fi;
retry:
        STEP(!locked[me] -> locked[me] = true); /* memlane_producer_claim */
        fit();
        if
        :: !fits ->
            refresh();
            fit()
        :: else
        fi;
        locked[me] = false;
        if
        :: !fits -> /* asleep until memlane_producer_any */
            AWAIT(
#ifdef LOOK_PAST
                head != seen
#else
#ifdef LOOK_HEAD
                head != looked
#else
                (HOLDS(head) -> low[me] : head) != seen
#endif
#endif
#if MANY
                || (AT(head) == WORD(head, FREE)
#ifndef LOOK_FREE
                    && !HOLDS(head + 1)
#endif
                )
#endif
            );
            due = true;
            goto retry
        :: else
        fi;
        due = false;
        i = 0;
        do
        :: i < reserved ->
            STEP(assert(viewed[at + i] == 0); assert(reading[at + i] == 0); payload[at + i] = TORN);
            STEP(payload[at + i] = next);
            i++
        :: else -> break
        od;
        if :: nbytes = 1 :: reserved == 2 -> nbytes = 2 fi;
        STEP(!locked[me] -> locked[me] = true); /* memlane_producer_commit */
        STEP(offset[OF(next)] = at; length[OF(next)] = nbytes);
        atomic {
            if :: DEAD -> goto dead :: else fi;
            AT(next) = WORD(next, READY);
            reading[at]++;
            if :: nbytes == 2 -> reading[at + 1]++ :: else fi;
            /* what follows is private, but for the hint */
            if :: next == seen -> oldest = at :: else fi;
            write = at + nbytes;
            if
            :: true
            :: true -> /* memlane_producer_keep */
                keeper[next] = me;
                kept_at[next] = at;
                viewed[at] = next + 1;
                if :: reserved == 2 -> viewed[at + 1] = next + 1 :: else fi;
#ifndef WRITE_SHORT
                write = at + reserved;
#endif
                find_low(me)
            fi;
            next++; i = 0; at = 0; nbytes = 0; reserved = 0
        };
        STEP(tail = next);
        locked[me] = false
    od;
    /* ProducerRole.depart, at once or with the last view */
#ifndef DEPART_EARLY
    AWAIT(low[me] == RECORDS);
#endif
    STEP(owner = DEPARTED);
dead:
    atomic { next = 0; seen = 0; oldest = 0; write = 0; at = 0; reserved = 0; nbytes = 0; i = 0; looked = 0; fits = 0; due = 0; room_seen = 0 }
}

proctype Consumer() {
    byte s, i;
end:
    do
    :: atomic { (taken < RECORDS && AT(taken) == WORD(taken, READY)) -> s = taken; taken++ };
        do
        :: i < length[OF(s)] -> assert(payload[offset[OF(s)] + i] == s); i++
        :: else -> break
        od;
        i = 0;
        atomic {
            reading[offset[OF(s)]]--;
            if :: length[OF(s)] == 2 -> reading[offset[OF(s)] + 1]-- :: else fi;
#if MANY
            AT(s) = WORD(s, FREE);
#else
            head = s + 1;
#endif
            got++;
            s = 0
        }
    od
}

proctype Judge() { (got == RECORDS && owner == DEPARTED) }

init {
    atomic {
        run Producer(1); run Producer(2); run Views(1); run Views(2); run Kill(); run Judge();
        run Consumer();
        if :: MANY -> run Consumer() :: else fi
    }
}
