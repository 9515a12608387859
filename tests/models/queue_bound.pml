/* SPDX-License-Identifier: MIT
 *
 * The bound of a queue: src/core/queue_bound.h, memlane_bound_note, _taken, _gone, _take, _use, _return, _adopt, _any.
 *
 * Two producers, a lane each, put records one after the other; producer 0 may die anywhere, and another one adopts its
 * lane, which may die, too, and is followed by one that lives. Consumers claim a record, and move `taken` in another step;
 * one may die in between. A put that finds the queue full waits until its next look would find room: it looks again each
 * recheck interval. A permit is one record's.
 *
 * Checked: there are never more than MAXSIZE records that nobody has claimed; a put that is told that the queue is full was
 * told so of a moment at which it was, permits in hand included; nobody waits for ever.
 *
 * sizes: MAXSIZE=1 RECORDS=1 MORTALS=2 MORTAL_CONSUMERS=0
 * sizes: MAXSIZE=2 RECORDS=2 MORTALS=1 MORTAL_CONSUMERS=1
 * sizes: MAXSIZE=1 RECORDS=3 MORTALS=0 MORTAL_CONSUMERS=0
 * mistake NO_NOTE: MAXSIZE=2 RECORDS=2 MORTALS=1 MORTAL_CONSUMERS=0; finds "was_full"
 *     a grant is replaced before it is noted
 * mistake NO_SECOND_LOOK: MAXSIZE=2 RECORDS=2 MORTALS=1 MORTAL_CONSUMERS=0; finds "committed"
 *     a grant is noted by one that does not look whether it is still the last one
 * mistake NO_RETURN: MAXSIZE=1 RECORDS=2 MORTALS=1 MORTAL_CONSUMERS=0; finds "end state"
 *     what a dead producer had in hand is not returned
 * mistake PLAIN_GRANT: MAXSIZE=1 RECORDS=2 MORTALS=0 MORTAL_CONSUMERS=0; finds "committed"
 *     a grant is a look and a store
 * mistake NO_HELPING: MAXSIZE=1 RECORDS=2 MORTALS=0 MORTAL_CONSUMERS=1; finds "was_full"
 *     nobody moves `taken` for a consumer that died before it did
 * mistake FULL_EARLY: MAXSIZE=1 RECORDS=2 MORTALS=0 MORTAL_CONSUMERS=0; finds "was_full"
 *     a sum that is larger than the permits which were read before it is taken for a full queue
 */
#define NOBODY 255

byte count, last = NOBODY; /* granted: permits so far, and the lane of the last */
byte total[2], noted[2]; /* grant: permits of the lane, and the count that the last one made */
byte returned[2], taken[2];
byte committed[2], claimed[2]; /* states of records: they are claimed in order */
byte mortals = MORTALS, mortal_consumers = MORTAL_CONSUMERS;
bool is_dead[2], is_done[2];

#define in_the_queue (committed[0] + committed[1] - claimed[0] - claimed[1])
#define used (count - claimed[0] - claimed[1] - returned[0] - returned[1])

/* memlane_bound_note of the grant (was_count, was_last) */
inline note() {
    if
    :: was_last != NOBODY && was_count > 0 ->
        atomic { found_total = total[was_last]; found_noted = noted[was_last] };
        if
        :: found_noted != was_count ->
#ifndef NO_SECOND_LOOK
            if
            :: count == was_count ->
#endif
                atomic {
                    if
                    :: total[was_last] == found_total && noted[was_last] == found_noted ->
                        total[was_last] = found_total + 1; noted[was_last] = was_count
                    :: else
                    fi
                }
#ifndef NO_SECOND_LOOK
            :: else
            fi
#endif
        :: else
        fi
    :: else
    fi;
    found_total = 0; found_noted = 0
}

#ifdef NO_HELPING
#define TAKEN(lane) taken[lane]
#else
#define TAKEN(lane) claimed[lane] /* memlane_bound_taken moves it as far as records have been claimed */
#endif

#define DIE if :: atomic { who < 2 && me == 0 && mortals > 0 -> mortals--; goto dead } :: true fi

inline grant_one() {
    granted_one = false;
    do
    :: true ->
        atomic { was_count = count; was_last = last; full_then = false; if :: used >= MAXSIZE -> full_then = true :: else fi };
#ifndef NO_NOTE
        note();
#endif
        DIE;
        if
        :: was_count >= gone && was_count - gone >= MAXSIZE ->
            sum = TAKEN(0);
            sum = sum + returned[0];
            sum = sum + TAKEN(1);
            gone = sum + returned[1];
            sum = 0
        :: else
        fi;
        if
        :: was_count >= gone && was_count - gone >= MAXSIZE ->
            atomic { was_full = full_then; assert(was_full); break }
        :: was_count < gone -> /* others were granted some and have used them */
#ifdef FULL_EARLY
            atomic { was_full = full_then || used >= MAXSIZE; assert(was_full); break }
#else
            skip
#endif
        :: was_count - gone < MAXSIZE && was_count >= gone ->
#ifdef PLAIN_GRANT
            if :: count == was_count :: else -> goto next_try fi;
            count = was_count + 1; last = me; granted_one = true;
            was_count = was_count + 1; was_last = me;
            break;
next_try:
            skip
#else
            atomic {
                if
                :: count == was_count && last == was_last -> count++; last = me; granted_one = true; was_count = count; was_last = me; break
                :: else
                fi
            }
#endif
        fi
    od;
    if
    :: granted_one -> DIE; note()
    :: else
    fi;
    was_count = 0; was_last = NOBODY
}

/* what a put that waits would find: its slices */
#define ROOM (used < MAXSIZE || count - TAKEN(0) - returned[0] - TAKEN(1) - returned[1] < MAXSIZE)

proctype Producer(byte me, who) {
    byte s, was_count, was_last = NOBODY, found_total, found_noted, gone, sum;
    bool granted_one, full_then, was_full;
    if
    :: who > 0 -> /* an adopter */
        is_dead[me];
        s = committed[me];
        atomic { was_count = count; was_last = last };
        note();
        DIE;
#ifndef NO_RETURN
        returned[me] = total[me] - s;
#endif
        was_count = 0; was_last = NOBODY;
        DIE
    :: else
    fi;
    do
    :: s < RECORDS ->
        ROOM;
        grant_one();
        if
        :: granted_one ->
            DIE;
            atomic { committed[me]++; s++; assert(in_the_queue <= MAXSIZE) };
            DIE
        :: else
        fi
    :: else -> break
    od;
    is_done[me] = true;
    goto over;
dead:
    atomic { is_dead[me] = false; run Producer(me, who + 1); is_dead[me] = true };
over:
    skip
}

proctype Consumer(byte lane) {
    byte s;
    do
    :: atomic { claimed[lane] < committed[lane] -> s = claimed[lane]; claimed[lane]++ };
        if
        :: atomic { mortal_consumers > 0 -> mortal_consumers-- } /* and another one goes on */
        :: atomic { if :: taken[lane] <= s -> taken[lane] = s + 1 :: else fi }
        fi
    :: claimed[lane] == RECORDS -> break
    od
}

init { atomic { run Producer(0, 0); run Producer(1, 0); run Consumer(0); run Consumer(1) } }
