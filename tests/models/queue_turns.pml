/* SPDX-License-Identifier: MIT
 *
 * The lane of a queue that is leased for each put: src/core/queue_turns.h, memlane_queue_turn_take, _end, _any;
 * memlane_producer_adopt, _commit, _hint; memlane_waiters_announce, _any_fenced.
 *
 * Putters share the lane. Each puts one record a turn: it takes the lane from nobody or from a dead one, adopts, commits,
 * stores the hint, gives the lane back, and wakes one that waits. One may die anywhere. One may stop for good inside a turn; then
 * another putter, which has a lane of its own, still comes to its end. A putter that finds the lane taken announces itself,
 * looks again, and sleeps until it is woken; or until a slice is over, if somebody has died.
 *
 * Checked: no record is lost or written over; the records of each putter are in its order; only one is inside a turn; nobody
 * sleeps for ever, but beside one that has stopped inside, and then only those that share the lane.
 *
 * sizes: PUTS=2 MORTALS=0 STOPS=0
 * sizes: PUTS=1 MORTALS=1 STOPS=0
 * sizes: PUTS=1 MORTALS=1 STOPS=1
 * mistake NO_SECOND_LOOK: PUTS=2 MORTALS=0 STOPS=0; finds "end state"
 *     a putter announces itself, and sleeps without another look
 * mistake PLAIN_TAKE: PUTS=2 MORTALS=0 STOPS=0; finds "inside"
 *     a putter looks at the owner and stores itself
 * mistake HINT_ONLY: PUTS=2 MORTALS=1 STOPS=0; finds "is_mine"
 *     an adopter believes the hint, and does not look at the states behind it
 * mistake ROB_LIVE: PUTS=2 MORTALS=0 STOPS=0; finds "inside"
 *     a putter takes the lane from one that lives
 * mistake NO_WAKE: PUTS=2 MORTALS=0 STOPS=0; finds "end state"
 *     the end of a turn wakes nobody
 */
#define PUTTERS 3
#define ALL (PUTTERS * PUTS + MORTALS)
#define DEPARTED 0

byte owner; /* 0: departed; else a putter, from 1 on */
byte tail; /* the hint */
byte record[ALL + 1]; /* 0: none; else 10 * putter + its number */
byte announced, tokens;
byte inside;
bool dead[PUTTERS + 1], stopped[PUTTERS + 1];
byte mortals = MORTALS, stops = STOPS;
byte put_by[PUTTERS + 1]; /* records that each has committed */
bool own_lane_done;
byte overs; /* putters that have come to their end */

#define DIE if :: atomic { mortals > 0 -> mortals--; dead[me] = true; inside = inside - is_inside; goto over } :: true fi

proctype Putter(byte me) {
    byte n, found, next;
    bool is_inside;
    do
    :: n < PUTS ->
        found = owner;
        if
#ifdef ROB_LIVE
        :: true ->
#else
        :: found == DEPARTED || dead[found] ->
#endif
#ifdef PLAIN_TAKE
            atomic { if :: owner == found || found == DEPARTED :: else -> goto again fi };
            atomic { owner = me; inside++; is_inside = true; assert(inside <= 1) };
#else
            atomic { if :: owner == found -> owner = me; inside++; is_inside = true; assert(inside <= 1) :: else -> goto again fi };
#endif
            DIE;
            next = tail; /* memlane_producer_adopt */
#ifndef HINT_ONLY
            do
            :: next < ALL && record[next] != 0 -> next++
            :: else -> break
            od;
#endif
            DIE;
            if
            :: atomic { stops > 0 -> stops--; stopped[me] = true }; end_stopped: false /* for good */
            :: true
            fi;
            atomic { bool is_mine = record[next] == 0; assert(is_mine); record[next] = 10 * me + n + 1; put_by[me]++ };
            n++;
            DIE;
            tail = next + 1;
            DIE;
            atomic { owner = DEPARTED; inside--; is_inside = false };
            DIE;
#ifndef NO_WAKE
            atomic { if :: announced > 0 -> announced--; tokens++ :: else fi };
#endif
            next = 0
#ifndef ROB_LIVE
        :: else ->
            announced++;
#ifndef NO_SECOND_LOOK
            if
            :: owner != found -> atomic { if :: announced > 0 -> announced-- :: else fi }; goto again
            :: else
            fi;
#endif
            if /* asleep */
            :: atomic { tokens > 0 -> tokens-- }
            :: (dead[1] || dead[2] || dead[3]) && owner != found -> /* a slice: a wake-up may have died with somebody */
                atomic { if :: announced > 0 -> announced-- :: else fi }
            :: dead[found] && owner == found -> atomic { if :: announced > 0 -> announced-- :: else fi }
            :: stopped[1] || stopped[2] || stopped[3] -> goto over /* it sleeps on, beside one that has stopped */
            fi
#endif
        fi;
again:
        found = 0
    :: else -> break
    od;
over:
    overs++
}

/* One that has a lane of its own waits for none of them. */
active proctype Other() { own_lane_done = true }

proctype Last() {
    byte i, of_each[PUTTERS + 1];
    (own_lane_done && (overs == PUTTERS || (overs == PUTTERS - 1 && (stopped[1] || stopped[2] || stopped[3]))));
    atomic {
        do
        :: i < ALL && record[i] != 0 ->
            of_each[record[i] / 10]++;
            assert(record[i] % 10 == of_each[record[i] / 10]); /* in its order, none is missing */
            i++
        :: else -> break
        od;
        assert(of_each[1] == put_by[1] && of_each[2] == put_by[2] && of_each[3] == put_by[3])
    }
}

init { atomic { run Last(); run Putter(1); run Putter(2); run Putter(3) } }
