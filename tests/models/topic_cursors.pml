/* SPDX-License-Identifier: MIT
 *
 * Cursors of a topic, with store buffers: src/core/topic.h, memlane_place_take, _show, _give, _keeps; topic_publisher.h,
 * memlane_publisher_make_room, _scan, _adopt; topic_subscriber.h, memlane_subscriber_start, _settle, _peek, _check, _show,
 * _catch_up; hazards 57, 58 and 59, and topic_join of docs/memory-model.md.
 *
 * Publisher 0 may die anywhere; publisher 1 adopts the lane. Subscriber 2 may die anywhere; subscriber 3 joins at any
 * moment. Both are waited for. Subscriber 4 is not, and has no place. A store of `head`, of a holder or of a position goes
 * into the store buffer of its process, of one place, and reaches memory at any later moment; a fence waits for that.
 * (Those of `head` and of the holder are CASes in C; on some processors a CAS does not keep later loads, and stores, behind
 * itself, which is what the buffer stands for.)
 *
 * A place of the dead holds a publisher up until somebody has taken it away, against exactly the holder that was proven
 * dead; a joiner may take it meanwhile. There are ROOM payloads and one descriptor more.
 *
 * Checked: one that is waited for gets every record from where it settled on, in order, whole; one that is not takes
 * nothing that is torn, and what it takes and what it counts as lost are all; nobody waits for the dead, nor for ever.
 *
 * sizes: RECORDS=4 ROOM=2 LATE=0 LAPPED=1 MORTALS=0
 * sizes: RECORDS=4 ROOM=2 LATE=0 LAPPED=0 MORTALS=1
 * sizes: RECORDS=2 ROOM=1 LATE=1 LAPPED=0 MORTALS=1
 * sizes: RECORDS=3 ROOM=1 LATE=0 LAPPED=1 MORTALS=1
 * mistake NO_JOIN_FENCE: RECORDS=4 ROOM=2 LATE=0 LAPPED=0 MORTALS=0; finds "payload"
 *     a joiner reads `head` again before its place can be seen
 * mistake NO_PUBLISH_FENCE: RECORDS=4 ROOM=2 LATE=0 LAPPED=0 MORTALS=0; finds "payload"
 *     a publisher scans before its `head` can be seen
 * mistake NO_SECOND_LOOK: RECORDS=4 ROOM=2 LATE=0 LAPPED=0 MORTALS=0; finds "payload"
 *     a joiner does not read `head` again
 * mistake HEAD_IS_ROOM: RECORDS=4 ROOM=2 LATE=0 LAPPED=0 MORTALS=0; finds "payload"
 *     after a timeout the next publish believes the `head` that the last one raised (hazard 57)
 * mistake HEIR_HAS_CLEARED: RECORDS=4 ROOM=2 LATE=0 LAPPED=0 MORTALS=1; finds "payload"
 *     an adopter believes the `head` that the dead one raised
 * mistake NO_DEATHS: RECORDS=2 ROOM=1 LATE=1 LAPPED=0 MORTALS=1; finds "end state"
 *     nobody takes the places of the dead away
 * mistake GIVE_BLINDLY: RECORDS=2 ROOM=1 LATE=1 LAPPED=0 MORTALS=1; finds "assertion"
 *     who has proven a holder dead frees the place without comparing: the next holder's is gone
 * mistake NO_CHECK: RECORDS=4 ROOM=2 LATE=0 LAPPED=1 MORTALS=0; finds "payload"
 *     one that is not waited for believes its copy
 * mistake CHECK_FIRST: RECORDS=4 ROOM=2 LATE=0 LAPPED=1 MORTALS=0; finds "payload"
 *     it looks at `head` before it copies
 * mistake HEAD_LATE: RECORDS=4 ROOM=2 LATE=0 LAPPED=1 MORTALS=0; finds "payload"
 *     a publisher overwrites before its `head` can be seen, where nobody is waited for
 */
#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }
#define FENCE atomic { (!buffered[me] || killed[me]) -> if :: killed[me] -> goto dead :: else fi }
#define TORN 255
#define DESCRIPTORS (ROOM + 1)
#define NOBODY 0
#define STALE 200 /* the position that an earlier holder left */
/* a holder: the subscriber's number, and whether it is in WAIT */
#define JOINING(who) (who)
#define WAIT(who) ((who) + 16)
#define IN_WAIT(holder) ((holder) >= 16)
#define WHO(holder) ((holder) & 15)

byte head, ready[DESCRIPTORS], payload[ROOM]; /* ready: s + 1 of the record that is READY there */
byte holder[2], position[2]; /* two places; a dead one's may be taken */
bool killed[5];
/* store buffers: what is to be stored there, 1: head, 2: the position of the process's place, 3: its holder */
byte buffered[5], held[5];
byte place[5]; /* private: where it sits */

bool over; /* ghost: all is published */

inline flush(whose) {
    if
    :: buffered[whose] == 1 -> head = held[whose]
    :: buffered[whose] == 2 -> position[place[whose]] = held[whose]
    :: buffered[whose] == 3 -> holder[place[whose]] = held[whose]
    :: else
    fi;
    buffered[whose] = 0
}

proctype Memory(byte me) {
end:
    do
    :: atomic { buffered[me] -> flush(me) }
    od
}

proctype Kill(byte victim) {
    atomic { flush(victim); killed[victim] = true }
}

/* a store that goes into the buffer, behind the one before */
inline store(what, value) {
    FENCE;
    STEP(held[me] = value; buffered[me] = what)
}

/* memlane_place_keeps */
inline look(where) {
    STEP(found = holder[where]);
    if
    :: IN_WAIT(found) ->
        STEP(at = position[where]);
        if
        :: at < lowest -> lowest = at; obstacle = where; seen = found
        :: else
        fi
    :: else
    fi;
    at = 0; found = 0
}

proctype Publisher(byte me) {
    byte next, raised, cleared, lowest, found, at, obstacle, seen;
    bool scanned = true;
    if
    :: me == 1 -> /* memlane_publisher_adopt: it has cleared nothing */
        killed[0];
        raised = head;
        next = raised;
        do
        :: next - raised < ROOM && ready[next % DESCRIPTORS] == next + 1 -> next++
        :: else -> break
        od;
#ifdef HEIR_HAS_CLEARED
        cleared = raised
#else
        scanned = false
#endif
    :: else
    fi;
    do
    :: next < RECORDS ->
        if
        :: scanned && next - cleared < ROOM -> /* room that a completed scan has cleared */
            STEP(payload[next % ROOM] = TORN);
            STEP(payload[next % ROOM] = next);
            STEP(ready[next % DESCRIPTORS] = next + 1);
            next++
        :: else -> /* memlane_publisher_make_room */
            if
            :: next >= ROOM && raised < next - ROOM + 1 ->
                raised = next - ROOM + 1;
                store(1, raised)
#ifdef HEAD_IS_ROOM
            :: next >= ROOM && raised == next - ROOM + 1 -> cleared = raised; goto again_from_above
#endif
            :: else
            fi;
#ifndef NO_PUBLISH_FENCE
#ifdef HEAD_LATE
            if :: holder[0] == NOBODY && holder[1] == NOBODY :: else -> FENCE fi;
#else
            FENCE;
#endif
#endif
            lowest = raised;
            look(0);
            look(1);
            if
            :: (scanned -> lowest > cleared : lowest == raised) -> cleared = lowest; scanned = true
            :: else
            fi;
            if
            :: scanned && next - cleared < ROOM
            :: else -> /* MEMLANE_FULL: until the obstacle moves, or is proven dead; a timeout ends a wait at any moment */
                if
                :: atomic { (holder[obstacle] != seen || position[obstacle] >= raised) -> skip }
#ifndef NO_DEATHS
                :: atomic { killed[WHO(seen)] -> skip }; /* the proof, and then memlane_place_give */
                    STEP(if
#ifdef GIVE_BLINDLY
                         :: true -> holder[obstacle] = NOBODY
#else
                         :: holder[obstacle] == seen -> holder[obstacle] = NOBODY
#endif
                         :: else
                         fi)
#endif
#ifdef HEAD_IS_ROOM
                :: true
#endif
                :: killed[me] -> goto dead
                fi
            fi;
            lowest = 0; obstacle = 0; seen = 0
        fi;
#ifdef HEAD_IS_ROOM
again_from_above:
        skip
#endif
    :: else -> break
    od;
    FENCE;
    STEP(over = true);
dead:
    atomic { next = 0; raised = 0; cleared = 0; lowest = 0; found = 0; at = 0; obstacle = 0; seen = 0; scanned = false }
}

proctype Subscriber(byte me) {
    byte next, found;
    /* memlane_place_take: a free place, or one of the dead, which is proven before */
    if
    :: atomic { holder[0] == NOBODY -> STEP(place[me] = 0; holder[0] = JOINING(me)) }
    :: atomic { holder[1] == NOBODY -> STEP(place[me] = 1; holder[1] = JOINING(me)) }
    :: atomic { holder[0] != NOBODY && killed[WHO(holder[0])] -> STEP(place[me] = 0; holder[0] = JOINING(me)) }
    fi;
    STEP(next = head); /* memlane_subscriber_start */
    store(2, next);
    store(3, WAIT(me)); /* memlane_place_show */
#ifndef NO_JOIN_FENCE
    FENCE;
#endif
#ifndef NO_SECOND_LOOK
    STEP(found = head); /* memlane_subscriber_settle */
    if
    :: found > next -> next = found; store(2, next)
    :: else
    fi;
#endif
    found = 0;
    do
    :: next < RECORDS ->
        atomic { (ready[next % DESCRIPTORS] >= next + 1 || killed[me]) -> skip };
        STEP(assert(ready[next % DESCRIPTORS] == next + 1));
        STEP(assert(payload[next % ROOM] == next));
        STEP(assert(payload[next % ROOM] == next)); /* its last word */
        next++;
        store(2, next)
    :: else -> break
    od;
    FENCE;
    STEP(if :: WHO(holder[place[me]]) == me -> holder[place[me]] = NOBODY :: else -> assert(false) fi);
dead:
    atomic { next = 0; found = 0 }
}

proctype Lapped(byte me) {
    byte next, got, lost, first, last, found;
    do
    :: next < RECORDS ->
        atomic { (ready[next % DESCRIPTORS] >= next + 1 || head > next) -> skip };
#ifdef CHECK_FIRST
        found = head;
#endif
        if
        :: atomic { ready[next % DESCRIPTORS] == next + 1 -> skip }; /* memlane_subscriber_peek */
            first = payload[next % ROOM];
            last = payload[next % ROOM];
#ifndef CHECK_FIRST
            found = head; /* memlane_subscriber_check */
#endif
#ifdef NO_CHECK
            found = 0;
#endif
            if
            :: found <= next -> assert(first == next); assert(last == next && payload[0] == payload[0]); next++; got++
            :: else
            fi
        :: else -> found = head
        fi;
        if
        :: found > next -> lost = lost + found - next; next = found /* memlane_subscriber_catch_up, to the oldest */
        :: else
        fi;
        assert(got + lost == next);
        first = 0; last = 0; found = 0
    :: else -> break
    od
}

init {
    atomic {
        position[0] = STALE;
        position[1] = STALE;
        run Publisher(0); run Memory(0);
        run Subscriber(2); run Memory(2);
        if :: LATE -> run Subscriber(3); run Memory(3) :: else fi;
        if :: LAPPED -> run Lapped(4) :: else fi;
        if
        :: MORTALS -> run Publisher(1); run Memory(1); run Kill(0)
        :: true
        fi;
        if
        :: MORTALS && LATE -> run Kill(2)
        :: true
        fi
    };
    (over)
}
