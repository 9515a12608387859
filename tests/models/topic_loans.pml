/* SPDX-License-Identifier: MIT
 *
 * Loans and evictions of a topic, with store buffers: src/core/topic_subscriber.h, memlane_subscriber_borrow, _release,
 * _advance, _finish, _check; topic.h, memlane_place_turn, _give, _keeps; topic_publisher.h, memlane_publisher_make_room,
 * _evict.
 *
 * The threads 1, 2 and 3 of one process share a subscriber that is waited for: 1 gets and borrows under the lock, 2 and 3
 * give back what it borrowed, in any order, without a lock. The process may die anywhere, with all its threads. The
 * publisher 0 may evict it at any moment at which it stands in the way. There are ROOM payloads; with BIG the last
 * record takes all of them.
 *
 * A store goes into the store buffer of its thread, of one place, and reaches memory at any later moment; a fence waits for
 * that. (Marks, counts and the holder are changed by read-modify-writes in C; on some processors such a one does not keep
 * later loads behind itself, which is what the buffer stands for. A count changes in memory at once: two threads lower it.)
 *
 * Checked: no payload changes while it is lent, also not after an eviction; no copy counts that was overwritten; the position
 * never passes a loan; in the end nobody waits, and an evicted one that has given all back holds nobody up.
 *
 * sizes: RECORDS=3 ROOM=2 EVICTIONS=0 DEATHS=0 BIG=0
 * sizes: RECORDS=3 ROOM=2 EVICTIONS=1 DEATHS=0 BIG=0
 * sizes: RECORDS=3 ROOM=2 EVICTIONS=0 DEATHS=0 BIG=1
 * sizes: RECORDS=2 ROOM=1 EVICTIONS=1 DEATHS=1 BIG=0
 * mistake NO_RELEASE_FENCE: RECORDS=3 ROOM=2 EVICTIONS=0 DEATHS=0 BIG=1; finds "end state"
 *     no fence after the mark: the position stops between two releases for good
 * mistake NO_FINISH_FENCE: RECORDS=3 ROOM=2 EVICTIONS=0 DEATHS=0 BIG=1; finds "end state"
 *     a get looks at the marks before its `next` can be seen
 * mistake NEXT_FIRST: RECORDS=3 ROOM=2 EVICTIONS=0 DEATHS=0 BIG=1; finds "assertion"
 *     `next` moves before the mark is set: a release passes what is being lent
 * mistake POSITION_PLAIN: RECORDS=3 ROOM=2 EVICTIONS=0 DEATHS=0 BIG=0; finds "assertion"
 *     a get stores its position although loans are out
 * mistake NO_VERDICT: RECORDS=2 ROOM=1 EVICTIONS=1 DEATHS=0 BIG=0; finds "assertion"
 *     a borrower does not look whether it was evicted
 * mistake NO_BORROW_ORDER: RECORDS=2 ROOM=1 EVICTIONS=1 DEATHS=0 BIG=0; finds "assertion"
 *     it looks before its loan can be seen
 * mistake NO_EVICT_ORDER: RECORDS=2 ROOM=1 EVICTIONS=1 DEATHS=0 BIG=0; finds "assertion"
 *     the evictor looks at the loans before its eviction can be seen
 * mistake LOANS_DO_NOT_COUNT: RECORDS=2 ROOM=1 EVICTIONS=1 DEATHS=0 BIG=0; finds "assertion"
 *     what an evicted one has on loan is overwritten
 * mistake NO_CHECK: RECORDS=2 ROOM=1 EVICTIONS=1 DEATHS=0 BIG=0; finds "assertion"
 *     a copy counts although its maker was evicted
 * mistake NO_DEATHS: RECORDS=2 ROOM=1 EVICTIONS=1 DEATHS=1 BIG=0; finds "end state"
 *     nobody takes the place of the dead away
 */
#define TORN 255
#define FREE 0
#define WAIT 1
#define EVICTED 2
#define THREADS 4
/* what is in a store buffer */
#define NOTHING 0
#define MARK 1 /* lent[which] = false */
#define NEXT 2 /* next = which */
#define COUNT 3 /* loans + 1 in the place, of the borrower */
#define HOLDER 4 /* holder = EVICTED */

byte ready, payload[ROOM]; /* records before `ready` are READY */
byte holder = WAIT, position, loans; /* the place */
bool lent[RECORDS];
byte next, count; /* private to the process, shared by its threads */
bool killed;
byte buffered[THREADS], which[THREADS];

/* in-process: s + 1 of the loan that a releasing thread holds */
byte hand[THREADS];
bool no_more; /* the borrower will lend nothing more */

#define DEAD (me != 0 && killed)
#define STEP(...) atomic { if :: DEAD -> goto dead :: else fi; __VA_ARGS__ }
#define FENCE atomic { (buffered[me] == NOTHING || DEAD) -> if :: DEAD -> goto dead :: else fi }
/* a load sees one's own buffer first */
#define LENT(s) (buffered[me] == MARK && which[me] == (s) -> 0 : lent[s])
#define MY_NEXT (buffered[me] == NEXT -> which[me] : next)

inline flush(whose) {
    if
    :: buffered[whose] == MARK -> lent[which[whose]] = false
    :: buffered[whose] == NEXT -> next = which[whose]
    :: buffered[whose] == COUNT -> loans++
    :: buffered[whose] == HOLDER -> if :: holder == WAIT -> holder = EVICTED :: else fi
    :: else
    fi;
    buffered[whose] = NOTHING; which[whose] = 0
}

proctype Memory(byte me) {
end:
    do
    :: atomic { buffered[me] != NOTHING -> flush(me) }
    od
}

proctype Kill() {
    atomic { flush(1); flush(2); flush(3); killed = true }
}

inline store(what, value) {
    FENCE;
    STEP(buffered[me] = what; which[me] = value)
}

/* memlane_subscriber_advance */
inline advance() {
    STEP(seen = position);
    STEP(end_ = MY_NEXT);
    at = seen;
    do
    :: at < end_ ->
        STEP(if :: LENT(at) -> goto_on = false :: else -> goto_on = true fi);
        if :: goto_on -> at++ :: else -> break fi
    :: else -> break
    od;
    STEP(if :: at > position -> position = at :: else fi);
    seen = 0; end_ = 0; at = 0; goto_on = false
}

proctype Releaser(byte me) {
    byte seen, end_, at;
    bool goto_on;
    do
    :: atomic { (hand[me] != 0 || no_more || killed) -> if :: DEAD -> goto dead :: else fi };
        if
        :: hand[me] != 0 ->
            STEP(assert(payload[(hand[me] - 1) % ROOM] == hand[me] - 1)); /* what its user reads last */
            store(MARK, hand[me] - 1);
#ifndef NO_RELEASE_FENCE
            FENCE;
#endif
            advance();
            STEP(count--);
            FENCE; /* each read-modify-write of a word finds what was stored there before */
            STEP(loans--);
            hand[me] = 0
        :: else -> break
        fi
    od;
    FENCE;
dead:
    skip
}

proctype Subscriber(byte me) {
    byte seen, end_, at, found, s;
    bool goto_on;
    do
    :: s < RECORDS ->
        atomic { (ready > s || holder != WAIT || killed) -> if :: DEAD -> goto dead :: else fi };
        if
        :: atomic { holder == EVICTED -> break }
        :: atomic { holder != EVICTED && ready > s -> skip }
        fi;
        if
        :: true -> /* copy, memlane_subscriber_check, memlane_subscriber_finish */
            STEP(found = payload[s % ROOM]);
            STEP(goto_on = (holder == WAIT));
#ifdef NO_CHECK
            goto_on = true;
#endif
            if :: !goto_on -> break :: else fi;
            goto_on = false;
            assert(found == s);
            found = 0;
            s++;
            store(NEXT, s);
            if
#ifndef POSITION_PLAIN
            :: count > 0 ->
#ifndef NO_FINISH_FENCE
                FENCE;
#endif
                advance()
#endif
            :: else -> FENCE; STEP(position = s)
            fi
        :: true -> /* memlane_subscriber_borrow */
            atomic { ((hand[2] == 0 || hand[3] == 0) || killed) -> if :: DEAD -> goto dead :: else fi };
#ifdef NEXT_FIRST
            store(NEXT, s + 1);
            FENCE;
#endif
            STEP(lent[s] = true);
            STEP(count++);
            store(COUNT, 0);
#ifndef NO_BORROW_ORDER
            FENCE;
#endif
            STEP(goto_on = (holder == WAIT));
#ifdef NO_VERDICT
            goto_on = true;
#endif
            if
            :: !goto_on -> FENCE; STEP(lent[s] = false; count--); STEP(loans--); break
            :: else
            fi;
            goto_on = false;
            STEP(assert(payload[s % ROOM] == s));
            s++;
            store(NEXT, s);
            FENCE; /* the way by which another thread comes to the loan keeps the order */
            STEP(if :: hand[2] == 0 -> hand[2] = s :: hand[3] == 0 -> hand[3] = s fi)
        fi
    :: else -> break
    od;
    FENCE;
    no_more = true;
    /* leaves, once nothing is on loan: memlane_place_give; before that publishers wait for the loans alone */
    atomic { (count == 0 || killed) -> if :: DEAD -> goto dead :: else fi };
    STEP(holder = FREE);
dead:
    atomic { seen = 0; end_ = 0; at = 0; found = 0; s = 0; goto_on = false }
}

proctype Publisher(byte me) {
    byte mine, cleared, raised, lowest, found, evictions, needs;
    do
    :: mine < RECORDS ->
        needs = (BIG && mine == RECORDS - 1 -> ROOM : 1);
        if
        :: mine + needs - cleared <= ROOM ->
            STEP(payload[mine % ROOM] = TORN; if :: needs == ROOM -> payload[(mine + 1) % ROOM] = TORN :: else fi);
            STEP(payload[mine % ROOM] = mine);
            STEP(ready = mine + 1);
            mine++
        :: else ->
            raised = mine + needs - ROOM;
            lowest = raised;
            STEP(found = holder); /* memlane_place_keeps */
            if
            :: buffered[me] == HOLDER -> found = EVICTED /* its own buffer */
            :: else
            fi;
            if
            :: found == WAIT -> STEP(lowest = position)
            :: found == EVICTED ->
#ifndef LOANS_DO_NOT_COUNT
                STEP(if :: loans > 0 -> lowest = position :: else fi)
#endif
            :: else
            fi;
            if
            :: lowest >= raised -> cleared = raised
            :: else -> /* MEMLANE_FULL */
                if
                :: found == WAIT && evictions < EVICTIONS -> /* memlane_publisher_evict */
                    evictions++;
                    store(HOLDER, 0);
#ifndef NO_EVICT_ORDER
                    FENCE
#endif
#ifndef NO_DEATHS
                :: atomic { killed -> holder = FREE }
#endif
                :: atomic { (position != lowest || holder != found || (holder == EVICTED && loans == 0)) -> skip }
                fi
            fi;
            found = 0; lowest = 0; raised = 0
        fi
    :: else -> break
    od;
    FENCE;
dead:
    skip
}

init {
    atomic {
        run Publisher(0); run Memory(0);
        run Subscriber(1); run Memory(1);
        run Releaser(2); run Memory(2);
        run Releaser(3); run Memory(3);
        if :: DEATHS -> run Kill() :: true fi
    }
}
