/* SPDX-License-Identifier: MIT
 *
 * Cursors of a topic with policy "wait", with store buffers. Topics are not built yet, so this is
 * the design that their C is to mirror; hazards 57 and 58.
 *
 * Publisher 0 may die anywhere, or give up waiting (its timeout) and be called again; publisher 1 adopts the lane.
 * Subscriber 2 may die anywhere; subscriber 3 joins at any moment. A store of `head` or of a cursor goes into the store
 * buffer of its process, of one place, and reaches memory at any later moment; a fence waits for that.
 *
 * The publisher raises `head`, fences, then scans the cursors of the living; room counts only up to what a
 * completed scan has cleared. A joiner shows its cursor, fences, reads `head` again and moves up if it was passed.
 *
 * Checked: whoever passed the join check gets every record from its cursor on, in order, whole; nobody waits for the
 * dead, nor for ever.
 *
 * sizes: RECORDS=4 DESCRIPTORS=2 SUBSCRIBERS=1 MORTALS=0
 * sizes: RECORDS=4 DESCRIPTORS=2 SUBSCRIBERS=1 MORTALS=1
 * sizes: RECORDS=2 DESCRIPTORS=1 SUBSCRIBERS=2 MORTALS=1
 * mistake NO_JOIN_FENCE: RECORDS=4 DESCRIPTORS=2 SUBSCRIBERS=1 MORTALS=0; finds "payload"
 *     a joiner reads `head` again before its cursor can be seen
 * mistake NO_PUBLISH_FENCE: RECORDS=4 DESCRIPTORS=2 SUBSCRIBERS=1 MORTALS=0; finds "payload"
 *     a publisher scans before its `head` can be seen
 * mistake NO_SECOND_LOOK: RECORDS=4 DESCRIPTORS=2 SUBSCRIBERS=1 MORTALS=0; finds "payload"
 *     a joiner does not read `head` again
 * mistake HEAD_IS_ROOM: RECORDS=4 DESCRIPTORS=2 SUBSCRIBERS=1 MORTALS=0; finds "payload"
 *     after a timeout the next publish believes the `head` that the last one raised (hazard 57)
 * mistake HEIR_HAS_CLEARED: RECORDS=4 DESCRIPTORS=2 SUBSCRIBERS=1 MORTALS=1; finds "payload"
 *     an adopter believes the `head` that the dead one raised
 * mistake NO_DEATHS: RECORDS=2 DESCRIPTORS=1 SUBSCRIBERS=2 MORTALS=1; finds "end state"
 *     the scan does not ask whether the owner of a cursor lives
 */
#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }
#define FENCE atomic { (!buffered[me] || killed[me]) -> if :: killed[me] -> goto dead :: else fi }
#define TORN 255
#define NOBODY 0
#define NOT_SHOWN 255
#ifdef NO_DEATHS
#define GONE(tag) ((tag) == NOBODY)
#else
#define GONE(tag) ((tag) == NOBODY || killed[tag])
#endif

byte head, ready[DESCRIPTORS], payload[DESCRIPTORS]; /* ready: s + 1 of the record that is READY there */
byte owner[4], cursor[4]; /* of the subscribers 2 and 3 */
bool killed[4];
/* store buffers: of a publisher for head, of a subscriber for its cursor */
bool buffered[4];
byte held[4];

bool over; /* ghost: all is published */

proctype Memory(byte me) {
end:
    do
    :: atomic {
            buffered[me] ->
            if
            :: me < 2 -> head = held[me]
            :: else -> cursor[me] = held[me]
            fi;
            buffered[me] = false
        }
    od
}

proctype Kill(byte victim) {
    atomic {
        if
        :: buffered[victim] && victim < 2 -> head = held[victim]
        :: buffered[victim] && victim >= 2 -> cursor[victim] = held[victim]
        :: else
        fi;
        buffered[victim] = false;
        killed[victim] = true
    }
}

/* a store that goes into the buffer */
inline store(value) {
    FENCE;
    STEP(held[me] = value; buffered[me] = true)
}

/* one cursor of the scan: tag, cursor, tag again; lowest stays 255 if nothing stands in the way */
inline scan(whom) {
    do
    :: true ->
        STEP(tag = owner[whom]);
        if
        :: GONE(tag) -> break
        :: else ->
            STEP(found = cursor[whom]);
            STEP(again = owner[whom]);
            if
            :: again == tag ->
                if
                :: found < lowest -> lowest = found
                :: else
                fi;
                break
            :: else
            fi
        fi
    od;
    tag = 0; again = 0; found = 0
}

proctype Publisher(byte me) {
    byte next, raised, cleared, lowest, found, tag, again;
    if
    :: me == 1 -> /* the adopter: it has cleared nothing */
        killed[0];
        raised = head;
        next = raised;
        do
        :: next - raised < DESCRIPTORS && ready[next % DESCRIPTORS] == next + 1 -> next++
        :: else -> break
        od;
#ifdef HEIR_HAS_CLEARED
        cleared = raised
#endif
    :: else
    fi;
    do
    :: next < RECORDS ->
        if
        :: next - cleared < DESCRIPTORS -> /* room that a completed scan has cleared */
            STEP(payload[next % DESCRIPTORS] = TORN);
            STEP(payload[next % DESCRIPTORS] = next);
            STEP(ready[next % DESCRIPTORS] = next + 1);
            next++
        :: else ->
            if
            :: raised < next - DESCRIPTORS + 1 ->
                raised = next - DESCRIPTORS + 1;
                store(raised)
#ifdef HEAD_IS_ROOM
            :: raised == next - DESCRIPTORS + 1 -> cleared = raised; goto again_from_above
#endif
            :: else
            fi;
#ifndef NO_PUBLISH_FENCE
            FENCE;
#endif
            lowest = TORN;
            scan(2);
            if :: SUBSCRIBERS > 1 -> scan(3) :: else fi;
            if
            :: lowest >= raised -> cleared = raised
            :: else -> /* somebody is behind: until it goes on, dies or leaves; the timeout ends a wait at any moment */
                if
                :: atomic { (cursor[2] >= raised || GONE(owner[2])) && (cursor[3] >= raised || GONE(owner[3])) -> skip }
#ifdef HEAD_IS_ROOM
                :: true
#endif
                :: killed[me] -> goto dead
                fi
            fi;
            lowest = 0
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
    atomic { next = 0; raised = 0; cleared = 0; lowest = 0; found = 0; tag = 0; again = 0 }
}

proctype Subscriber(byte me) {
    byte next, found;
    STEP(owner[me] = me); /* leased by a CAS; the cursor holds nobody up until it is shown */
    STEP(next = head);
    /* join: show the cursor, fence, read head again, move up if it was passed */
    do
    :: true ->
        store(next);
#ifndef NO_JOIN_FENCE
        FENCE;
#endif
#ifdef NO_SECOND_LOOK
        break
#else
        STEP(found = head);
        if
        :: found > next -> next = found
        :: else -> break
        fi
#endif
    od;
    found = 0;
    do
    :: next < RECORDS ->
        atomic { (ready[next % DESCRIPTORS] == next + 1 || ready[next % DESCRIPTORS] > next + 1 || killed[me]) -> skip };
        STEP(assert(ready[next % DESCRIPTORS] == next + 1));
        STEP(assert(payload[next % DESCRIPTORS] == next));
        STEP(assert(payload[next % DESCRIPTORS] == next)); /* its last word */
        next++;
        store(next)
    :: else -> break
    od;
    FENCE;
    STEP(owner[me] = NOBODY);
dead:
    atomic { next = 0; found = 0 }
}

init {
    atomic {
        cursor[2] = NOT_SHOWN;
        cursor[3] = NOT_SHOWN;
        run Publisher(0); run Memory(0);
        run Subscriber(2); run Memory(2);
        if :: SUBSCRIBERS > 1 -> run Subscriber(3); run Memory(3) :: else fi;
        if
        :: MORTALS -> run Publisher(1); run Memory(1); run Kill(0)
        :: true
        fi;
        if
        :: MORTALS && SUBSCRIBERS > 1 -> run Kill(2)
        :: true
        fi
    };
    (over)
}
