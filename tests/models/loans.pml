/* SPDX-License-Identifier: MIT
 *
 * Loans of one consumer, with store buffers: src/core/lane_consumer.h, memlane_consumer_borrow, _release, _mark, _advance,
 * _finish, _behind_free, _skip, _close, memlane_producer_claim; hazard 44, and ring_full_lane of docs/memory-model.md.
 *
 * The threads 0, 1 and 2 of one process share the consumer: 0 gets and borrows under the lock, 1 and 2 give back what
 * it borrowed, in any order, without a lock. The process may die anywhere, with all its threads; then thread 3
 * succeeds it, for which 4 gives back. A mark (READY -> FREE) goes into the store buffer of its thread, of one place,
 * and reaches memory at any later moment; a fence waits for that. (The mark is a CAS in C; on some processors a
 * CAS does not keep later loads behind itself, which is what the buffer stands for.)
 *
 * Checked: no payload changes while it is lent; `head` never moves back; each record is handed out once, and once more at
 * most if its holder died; in the end nobody waits and `head` has passed all; nothing is committed after the end.
 *
 * sizes: RECORDS=4 DESCRIPTORS=2 DEATHS=0 SHUTDOWN=0
 * sizes: RECORDS=2 DESCRIPTORS=2 DEATHS=1 SHUTDOWN=0
 * sizes: RECORDS=3 DESCRIPTORS=2 DEATHS=0 SHUTDOWN=1
 * sizes: RECORDS=2 DESCRIPTORS=1 DEATHS=0 SHUTDOWN=1
 * mistake NO_FENCE: RECORDS=3 DESCRIPTORS=2 DEATHS=0 SHUTDOWN=0; finds "end state"
 *     no fence after the mark: `head` stops between two releases for good, the producer waits for ever
 * mistake HEAD_PLAIN: RECORDS=3 DESCRIPTORS=2 DEATHS=0 SHUTDOWN=0; finds "payload"
 *     a get stores `head` although loans are out: the producer overwrites what is lent
 * mistake NO_SKIP: RECORDS=3 DESCRIPTORS=2 DEATHS=1 SHUTDOWN=0; finds "end state"
 *     a successor does not pass records that were given back before its time
 * mistake ONE_LOOK: RECORDS=2 DESCRIPTORS=1 DEATHS=0 SHUTDOWN=1; finds "ended"
 *     the producer does not look at the flag again after it saw `head` move: a full lane was called closed
 */
#define WORD(s, kind) ((s) * 8 + (kind))
#define READY 1
#define FREE 3
#define CLOSED 4
#define AT(s) state[(s) % DESCRIPTORS]
#define TORN 255
#define THREADS 5

byte state[DESCRIPTORS], payload[DESCRIPTORS], head;
bool shutdown, killed;
byte buffered[THREADS]; /* the word in a thread's store buffer; 0: none */
byte lent[THREADS]; /* in-process: s + 1 of the loan that a releasing thread holds */
byte loans[2]; /* memlane_consumer.loans of each process */

/* ghosts */
byte committed, handed[RECORDS + DESCRIPTORS];
bool ended, done[THREADS];

#define OURS (thread / 3) /* which process: the threads 0 to 2, or 3 and 4 */
#define DEAD (killed && OURS == 0)
#define STEP(...) atomic { if :: DEAD -> goto dead :: else fi; __VA_ARGS__ }
#define AWAIT(condition) atomic { ((condition) || DEAD) -> if :: DEAD -> goto dead :: else fi }
#define FENCE AWAIT(buffered[thread] == 0)
/* a load sees one's own buffer first */
#define LOAD(s) (buffered[thread] && (buffered[thread] / 8) % DESCRIPTORS == (s) % DESCRIPTORS -> buffered[thread] : AT(s))

proctype Memory(byte thread) {
end:
    do
    :: atomic { buffered[thread] -> AT(buffered[thread] / 8) = buffered[thread]; buffered[thread] = 0 }
    od
}

/* What a dead process had stored is in memory before the kernel lets its lock go. */
proctype Kill() {
    byte thread;
    atomic {
        do
        :: thread < 3 ->
            if :: buffered[thread] -> AT(buffered[thread] / 8) = buffered[thread]; buffered[thread] = 0 :: else fi;
            thread++
        :: else -> break
        od;
        killed = true
    }
}

proctype Shut() { shutdown = true }

proctype Producer() {
    byte next, seen;
    do
    :: next == RECORDS -> break
    :: else ->
        if :: shutdown -> break :: else fi; /* memlane_producer_claim */
        if
        :: next - seen < DESCRIPTORS
        :: else ->
            seen = head; /* memlane_producer_refresh */
#ifndef ONE_LOOK
            if :: shutdown -> break :: else fi;
#endif
            if
            :: next - seen < DESCRIPTORS
            :: else -> (head != seen || shutdown); goto again /* asleep until memlane_producer_any */
            fi
        fi;
        payload[next % DESCRIPTORS] = TORN;
        payload[next % DESCRIPTORS] = next;
        atomic { /* memlane_producer_publish */
            if
            :: AT(next) == WORD(next, CLOSED) -> break
            :: else -> assert(!ended); AT(next) = WORD(next, READY); committed = next + 1
            fi
        };
        next++;
again:
        skip
    od
}

/* memlane_consumer_mark */
inline mark(s) {
#ifdef HEAD_PLAIN
    STEP(buffered[thread] = WORD(s, FREE)); /* what the user then reads is to show it */
#else
    STEP(assert(LOAD(s) == WORD(s, READY)); buffered[thread] = WORD(s, FREE));
#endif
#ifndef NO_FENCE
    FENCE
#endif
}

/* memlane_consumer_advance */
inline advance() {
    STEP(seen = head);
    steps = 0;
    do
    :: steps < DESCRIPTORS ->
        STEP(found = LOAD(seen));
        if
        :: found != WORD(seen, FREE) -> break
        :: else -> STEP(if :: head == seen -> head = seen + 1; seen = head :: else -> seen = head fi)
        fi;
        steps++
    :: else -> break
    od;
    seen = 0; steps = 0; found = 0
}

/* memlane_consumer_behind_free */
inline behind_free(s) {
    steps = 0;
    do
    :: steps < DESCRIPTORS ->
        STEP(found = LOAD(s));
        if
        :: found != WORD(s, FREE) -> break
        :: else -> s++; steps++
        fi
    :: else -> break
    od;
    steps = 0; found = 0
}

inline lend(to) {
    STEP(loans[OURS]++; handed[next]++; lent[to] = next + 1); /* memlane_consumer_borrow */
    next++;
    behind_free(next)
}

inline get() {
    STEP(assert(payload[next % DESCRIPTORS] == next)); /* the copy */
    STEP(found = loans[OURS]); /* memlane_consumer_finish */
#ifdef HEAD_PLAIN
    found = 0;
#endif
    if
    :: found == 0 -> STEP(assert(head <= next); handed[next]++; head = next + 1); next++
    :: else ->
        after = next + 1;
        behind_free(after);
        STEP(handed[next]++);
        mark(next);
        advance();
        next = after;
        after = 0
    fi;
    found = 0
}

proctype Consumer(byte thread) {
    byte next, found, after, seen, steps;
    if
    :: thread == 3 -> killed; next = head /* memlane_consumer_start */
    :: else
    fi;
    do
    :: next >= RECORDS -> break
    :: else ->
        STEP(found = LOAD(next)); /* memlane_consumer_peek */
        if
        :: found == WORD(next, READY) ->
            if
            :: thread == 0 && lent[1] == 0 -> lend(1)
            :: thread == 0 && lent[2] == 0 -> lend(2)
            :: thread == 3 && lent[4] == 0 -> lend(4)
            :: true -> get()
            fi
#ifndef NO_SKIP
        :: found == WORD(next, FREE) -> /* memlane_consumer_skip */
            behind_free(next);
            FENCE;
            advance()
#endif
        :: found == WORD(next, CLOSED) -> break
        :: else ->
            STEP(found = shutdown);
            if
            :: found -> /* memlane_consumer_close */
                STEP(seen = head);
                if
                :: next - seen > DESCRIPTORS - 1 -> seen = 0; break
                :: else ->
                    seen = 0;
                    STEP(found = LOAD(next));
                    if
                    :: found == WORD(next, READY)
                    :: else -> STEP(if :: AT(next) == found -> AT(next) = WORD(next, CLOSED); found = CLOSED :: else fi)
                    fi;
                    if :: found == CLOSED -> break :: else fi
                fi
            :: else ->
                AWAIT(LOAD(next) == WORD(next, READY) || LOAD(next) == WORD(next, CLOSED) || shutdown
#ifndef NO_SKIP
                    || LOAD(next) == WORD(next, FREE)
#endif
                )
            fi
        fi;
        found = 0
    od;
    if
    :: SHUTDOWN -> STEP(assert(next >= committed); ended = true)
    :: else
    fi;
    FENCE;
    done[thread] = true;
dead:
    atomic { next = 0; found = 0; after = 0; seen = 0; steps = 0 }
}

proctype Releaser(byte thread) {
    byte s, found, seen, steps;
end:
    do
    :: AWAIT(lent[thread] != 0);
        s = lent[thread] - 1;
        STEP(assert(payload[s % DESCRIPTORS] == s)); /* the user reads what is lent */
        mark(s);
        advance();
        STEP(loans[OURS]--);
        s = 0;
        STEP(lent[thread] = 0)
    od;
dead:
    atomic { s = 0; found = 0; seen = 0; steps = 0 }
}

#define RESTS(thread) (lent[thread] == 0 && buffered[thread] == 0)

/* In the end: everything was handed out, as often as allowed, and head has passed all of it. */
proctype Judge() {
    byte s;
    atomic {
        ((done[0] && !killed && RESTS(1) && RESTS(2)) || (done[3] && RESTS(4) && buffered[3] == 0 &&
            buffered[0] == 0 && buffered[1] == 0 && buffered[2] == 0)) ->
        if :: SHUTDOWN -> goto judged :: else fi;
        do
        :: s < RECORDS -> assert(handed[s] >= 1 && handed[s] <= (killed -> 2 : 1)); s++
        :: else -> break
        od
    };
    (head == RECORDS);
judged:
    skip
}

init {
    atomic {
        run Memory(0); run Memory(1); run Memory(2);
        run Producer();
        run Consumer(0); run Releaser(1); run Releaser(2);
        if
        :: DEATHS -> run Memory(3); run Memory(4); run Consumer(3); run Releaser(4); run Kill()
        :: run Judge()
        fi;
        if :: SHUTDOWN -> run Shut() :: else fi
    }
}
