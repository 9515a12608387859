/* SPDX-License-Identifier: MIT
 *
 * A lane with many consumers: src/core/lane_consumers.h, memlane_many_look, _take, _help, _free, _hand_back, _held,
 * _held_new, _rescan, _settle, _close, and its caller's search for dead hands, which looks only at what is new until a slice is
 * over or something was handed back; the producer's side as in lane_one.pml
 * (memlane_producer_put_many, _adopt of src/core/lane_producer.h), but that it moves `head` itself, memlane_many_advance.
 *
 * Producer 1 may die anywhere; producer 2 adopts its lane. Consumers 3 and 4 compete, 3 may die anywhere. A consumer
 * may hand one record back (TAKEN, tag 0), as one does whose get was interrupted. Each STEP touches shared memory once.
 *
 * Checked: what is handed out is what was committed; every committed record is finished exactly once, and handed
 * out once more at most for each death or handing back; `head` never passes `taken`, nor a record in hand; a batch is there
 * whole or not at all; nobody waits for ever (who sleeps is woken by what its next look would find: a slice); after
 * the end was told nothing is committed, and all is finished.
 *
 * sizes: RECORDS=3 DESCRIPTORS=2 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=0 BACK=1
 * sizes: RECORDS=2 DESCRIPTORS=2 BATCH=2 PRODUCERS=2 CONSUMERS=2 SHUTDOWN=0 BACK=0
 * sizes: RECORDS=3 DESCRIPTORS=2 BATCH=2 PRODUCERS=2 CONSUMERS=1 SHUTDOWN=0 BACK=0
 * sizes: RECORDS=2 DESCRIPTORS=2 BATCH=2 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=1 BACK=0
 * sizes: RECORDS=3 DESCRIPTORS=1 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=1 BACK=0
 * mistake NO_VOIDING: RECORDS=3 DESCRIPTORS=2 BATCH=2 PRODUCERS=2 CONSUMERS=1 SHUTDOWN=0 BACK=0; finds "committed"
 *     an adopter leaves the staged records of a batch: a phantom comes out behind its own first record
 * mistake NO_REDELIVERY: RECORDS=2 DESCRIPTORS=2 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=0 BACK=0; finds "end state"
 *     nobody takes over what a dead consumer had in hand
 * mistake NO_HELPING: RECORDS=2 DESCRIPTORS=2 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=0 BACK=0; finds "end state"
 *     a consumer died between taking a record and moving `taken`, and nobody moves it
 * mistake ROB_LIVE: RECORDS=2 DESCRIPTORS=2 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=0 BACK=0; finds "256*me"
 *     a record is taken over from one who lives
 * mistake PLAIN_TAKE: RECORDS=2 DESCRIPTORS=2 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=0 BACK=0; finds "is_finished"
 *     two consumers look, then both store themselves as the holder
 * mistake PLAIN_TAKEN: RECORDS=3 DESCRIPTORS=2 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=0 BACK=0; finds "taken"
 *     `taken` is stored, not compared and swapped: a slow one moves it back
 * mistake MARK_TOO_FAR: RECORDS=2 DESCRIPTORS=2 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=0 BACK=0; finds "end state"
 *     a consumer's low mark passes what a live one holds, and that one dies
 * mistake NEVER_AGAIN: RECORDS=2 DESCRIPTORS=2 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=0 BACK=0; finds "end state"
 *     what was once seen in a living hand is not looked at any more when the slice is over
 * mistake HEAD_OVER_TAKEN: RECORDS=3 DESCRIPTORS=2 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=0 BACK=0; finds "is_finished"
 *     the producer moves `head` over a record that is in hand
 * mistake CLOSE_OVER_TAKEN: RECORDS=3 DESCRIPTORS=1 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=1 BACK=0; finds "found%256"
 *     a consumer closes a full lane over the state of a record in hand
 * mistake CLOSE_STALE: RECORDS=2 DESCRIPTORS=1 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=1 BACK=0; finds "end state"
 *     a consumer that was paused since it read `taken` puts its CLOSED over the one of a later round
 * mistake END_EARLY: RECORDS=2 DESCRIPTORS=2 BATCH=1 PRODUCERS=1 CONSUMERS=2 SHUTDOWN=1 BACK=0; finds "finished"
 *     the end is told while a record is in another one's hand
 */
/* a state word: number and kind in the low half, the tag in the high half */
#define WORD(s, kind) ((s) * 8 + (kind))
#define TAKEN_BY(s, tag) (WORD(s, TAKEN) + 256 * (tag))
#define LOW(word) ((word) % 256)
#define TAG_OF(word) ((word) / 256)
#define NONE 0
#define READY 1
#define TAKEN 2
#define FREE 3
#define CLOSED 4
#define AT(s) state[(s) % DESCRIPTORS]

#define OK 0
#define FULL 1
#define SHUT 2

#define DEPARTED 0 /* of the owner word; else a tag */
#define TORN 255
#define ITEM(author, s) ((author) * 16 + (s))

short state[DESCRIPTORS];
byte payload[DESCRIPTORS], head, tail, taken;
byte owner = 1;
bool shutdown;
bool killed[5];

/* ghosts */
byte committed, author[RECORDS + 1], finished, handed[RECORDS + 1];
bool is_finished[RECORDS + 1], handed_back, ended;

#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }
#define AWAIT(condition) atomic { ((condition) || killed[me]) -> if :: killed[me] -> goto dead :: else fi }

proctype Kill(byte victim) { killed[victim] = true }

proctype Shut() { shutdown = true }

/* The producer needs room: it moves head over what is FREE, then looks at the flag. */
inline claim() {
    STEP(status = (shutdown -> SHUT : (trial - seen < DESCRIPTORS -> OK : FULL)));
    if
    :: status == FULL ->
        do
        :: trial - seen >= DESCRIPTORS ->
            STEP(found = AT(seen));
            if
#ifdef HEAD_OVER_TAKEN
            :: found == WORD(seen, FREE) || LOW(found) == WORD(seen, TAKEN) ->
#else
            :: found == WORD(seen, FREE) ->
#endif
                STEP(assert(is_finished[seen] && seen < taken); head = seen + 1);
                seen++
            :: else -> break
            fi
        :: else -> break
        od;
        found = 0;
        STEP(status = (shutdown -> SHUT : (trial - seen < DESCRIPTORS -> OK : FULL)))
    :: else
    fi
}

inline note_commit() {
    assert(!ended);
    assert(first == committed);
    author[first] = me;
    if :: staged > 1 -> author[first + 1] = me :: else fi;
    committed = first + staged
}

inline put_many() {
    first = next; trial = next; staged = 0;
    do
    :: staged < count ->
        claim();
        if
        :: status != OK -> break
        :: else
        fi;
        STEP(payload[trial % DESCRIPTORS] = TORN);
        STEP(payload[trial % DESCRIPTORS] = ITEM(me, trial));
        if
        :: staged > 0 -> STEP(AT(trial) = WORD(trial, READY))
        :: else
        fi;
        staged++; trial++
    :: else -> break
    od;
    if
    :: staged == 0
    :: else ->
        STEP(found = AT(first)); /* memlane_producer_publish */
        do
        :: found == WORD(first, CLOSED) -> status = SHUT; break
        :: else ->
            STEP(
                if
                :: AT(first) == found -> AT(first) = WORD(first, READY); note_commit(); status = OK
                :: else -> found = AT(first); status = FULL
                fi
            );
            if
            :: status == OK -> break
            :: else
            fi
        od;
        found = 0;
        if
        :: status == OK -> next = trial; STEP(tail = next)
        :: else ->
            if :: staged > 1 -> STEP(AT(first + 1) = WORD(first + 1, NONE)) :: else fi
        fi
    fi;
    first = 0; trial = 0; staged = 0; count = 0
}

inline adopt() {
    STEP(seen = head);
    STEP(next = tail);
    if
    :: next < seen -> next = seen
    :: else
    fi;
    do
    :: next - seen < DESCRIPTORS ->
        STEP(found = LOW(AT(next)));
        if
        :: found == WORD(next, READY) || found == WORD(next, TAKEN) || found == WORD(next, FREE) -> next++
        :: else -> break
        fi
    :: else -> break
    od;
#ifndef NO_VOIDING
    if
    :: DESCRIPTORS > 1 ->
        STEP(found = AT(next + 1));
        if
        :: found == WORD(next + 1, READY) -> STEP(AT(next + 1) = WORD(next + 1, NONE))
        :: else
        fi
    :: else
    fi;
#endif
    found = 0;
    STEP(tail = next)
}

proctype Producer(byte me) {
    byte next, seen, first, trial, staged, count, status;
    short found;
    if
    :: me == 1
    :: else ->
        atomic { (owner == DEPARTED || killed[owner]) -> owner = me };
        adopt()
    fi;
    do
    :: next >= RECORDS -> break
    :: else ->
        if
        :: count = 1
        :: BATCH == 2 && next + BATCH <= RECORDS -> count = BATCH
        fi;
        put_many();
        if
        :: status == FULL -> AWAIT(AT(seen) == WORD(seen, FREE) || shutdown)
        :: status == SHUT -> break
        :: else
        fi
    od;
    STEP(owner = DEPARTED);
dead:
    atomic { next = 0; seen = 0; first = 0; trial = 0; staged = 0; count = 0; found = 0; status = 0 }
}

/* `taken` from s to s + 1, by whoever sees that s is taken */
inline move_taken() {
#ifdef PLAIN_TAKEN
    STEP(assert(taken <= s + 1); taken = s + 1)
#else
    STEP(if :: taken == s -> taken = s + 1 :: else fi)
#endif
}

#ifdef ROB_LIVE
#define MAY_ROB(word) (TAG_OF(word) != me)
#else
#define MAY_ROB(word) (TAG_OF(word) == 0 || killed[TAG_OF(word)])
#endif
/* what a scan of this consumer would find at i */
#ifdef NEVER_AGAIN
#define SCANNED_FROM scanned
#else
#define SCANNED_FROM low
#endif
#define LEFT_AT(i) ((i) >= low && (i) >= SCANNED_FROM && (i) < taken && LOW(AT(i)) == WORD(i, TAKEN) && MAY_ROB(AT(i)))
#ifdef NO_REDELIVERY
#define LEFT false
#else
#define LEFT (LEFT_AT(head) || LEFT_AT(head + DESCRIPTORS - 1))
#endif
#ifdef NO_HELPING
#define BEHIND(s) false
#else
#define BEHIND(s) (LOW(AT(s)) == WORD(s, TAKEN) || AT(s) == WORD(s, FREE))
#endif
/* a word of a later round also says that s is free: CLOSED may be put over (s, FREE) */
#define PASSED(word, s) ((word) == WORD(s, FREE) || LOW(word) / 8 > (s))
/* what memlane_many_close makes of a word: of a later round, of an earlier one in somebody's hand, of any other */
#ifdef CLOSE_STALE
#define LATER(word, s) false
#define OTHER(word, s) (LOW(word) / 8 != (s) && LOW(word) % 8 != TAKEN)
#else
#define LATER(word, s) (LOW(word) / 8 > (s))
#ifdef CLOSE_OVER_TAKEN
#define OTHER(word, s) (LOW(word) / 8 < (s))
#else
#define OTHER(word, s) (LOW(word) / 8 < (s) && LOW(word) % 8 != TAKEN)
#endif
#endif
#ifdef CLOSE_OVER_TAKEN
#define IN_HAND(word, s) false
#else
#define IN_HAND(word, s) (LOW(word) / 8 < (s) && LOW(word) % 8 == TAKEN)
#endif
#define FRESH(s) (AT(s) == WORD(s, READY) || AT(s) == WORD(s, CLOSED) || BEHIND(s))
#define OVER (!SHUTDOWN && finished == RECORDS)

/* memlane_many_take of record r, which a look has found READY */
inline take(r) {
#ifdef PLAIN_TAKE
    STEP(AT(r) = TAKEN_BY(r, me); count++)
#else
    STEP(if :: AT(r) == WORD(r, READY) -> AT(r) = TAKEN_BY(r, me); count++ :: else fi)
#endif
}

/* memlane_many_help: `taken` from s to s + by, by whoever sees that those are taken */
inline help(by) {
#ifdef PLAIN_TAKEN
    STEP(assert(taken <= s + by); taken = s + by)
#else
    STEP(top = taken);
    do
    :: top < s + by -> STEP(if :: taken == top -> taken = s + by; top = taken :: else -> top = taken fi)
    :: else -> break
    od;
    top = 0
#endif
}

/* Hand out record r, which is ours, and memlane_many_free it; or memlane_many_hand_back, as after Ctrl-C. */
inline finish(r) {
    STEP(
        assert(r < committed && payload[(r) % DESCRIPTORS] == ITEM(author[r], r));
        handed[r]++;
        assert(handed[r] <= 1 + killed[3] + handed_back)
    );
    if
    :: true ->
        STEP(
            assert(AT(r) == TAKEN_BY(r, me));
            AT(r) = WORD(r, FREE);
            assert(!is_finished[r]);
            is_finished[r] = true;
            finished++
        )
    :: atomic {
            BACK && !handed_back && !killed[me] ->
            assert(AT(r) == TAKEN_BY(r, me));
            AT(r) = TAKEN_BY(r, 0);
            handed_back = true /* a ghost, and the count that the others look at */
        }
    fi
}

/* memlane_many_settle: low over what is FREE; then, from there to `top`, what the dead had in hand: memlane_many_held */
inline search() {
    STEP(s = head);
    if
    :: low < s -> low = s
    :: else -> s = low
    fi;
#ifndef NEVER_AGAIN
    if
    :: scanned = low /* a slice is over, or one of those who were seen has died */
    :: STEP(if :: handed_back && !seen_back -> seen_back = true; scanned = low :: else fi)
    fi;
#endif
    STEP(top = taken);
    do
    :: s < top && s < scanned && s != low -> s++ /* nobody looks there */
    :: s < top && (s >= scanned || s == low) ->
        STEP(found = AT(s));
        if
#ifndef NO_REDELIVERY
        :: s >= scanned && LOW(found) == WORD(s, TAKEN) && MAY_ROB(found) ->
            STEP(if :: AT(s) == found -> AT(s) = TAKEN_BY(s, me); got = true :: else fi); /* memlane_many_claim */
            if
            :: got -> got = false; finish(s); break
            :: else
            fi
#endif
#ifdef MARK_TOO_FAR
        :: low == s -> low = s + 1 /* TAKEN or not */
#else
        :: low == s && PASSED(found, s) -> low = s + 1
#endif
        :: else
        fi;
        s++;
        if :: s > scanned -> scanned = s :: else fi
    :: else -> break
    od;
    found = 0
}

proctype Consumer(byte me) {
    byte s, low, scanned, top, count;
    short found;
    bool got, closed, seen_back;
    do
    :: OVER -> break
    :: else ->
        STEP(s = taken); /* memlane_many_look */
        STEP(found = AT(s));
        if
        :: found == WORD(s, READY) ->
            take(s);
            if
            :: count ->
                if
                :: BATCH == 2 && s + 1 < RECORDS && AT(s + 1) == WORD(s + 1, READY) -> take(s + 1)
                :: true
                fi;
                help(count);
                finish(s);
                if
                :: count == 2 -> finish(s + 1)
                :: else
                fi;
                count = 0
            :: else
            fi
#ifndef NO_HELPING
        :: LOW(found) == WORD(s, TAKEN) || found == WORD(s, FREE) -> help(1)
#endif
        :: else ->
            STEP(top = taken); /* Empty only if it is unchanged after the look */
            if
            :: top != s
            :: else ->
                search();
                STEP(found = shutdown);
                if
                :: found -> /* memlane_many_close */
                    STEP(s = taken);
                    STEP(found = AT(s));
                    if
                    :: found == WORD(s, CLOSED) -> closed = true
                    :: found == WORD(s, READY) || LOW(found) == WORD(s, TAKEN) || found == WORD(s, FREE)
                    :: LATER(found, s) /* s has become stale */
                    :: IN_HAND(found, s) -> closed = true
                    :: (OTHER(found, s) || found == WORD(s, NONE)) ->
                        STEP(
                            if
                            :: AT(s) == found ->
                                assert(LOW(found) % 8 != TAKEN);
                                AT(s) = WORD(s, CLOSED);
                                closed = true
                            :: else
                            fi
                        )
                    fi;
                    if
                    :: closed ->
                        closed = false;
#ifdef END_EARLY
                        break
#else
                        top = s;
                        search();
                        STEP(s = taken);
                        if
                        :: low == s -> break /* all is released */
                        :: else -> AWAIT(LEFT || PASSED(AT(low), low) || head > low || taken != s)
                        fi
#endif
                    :: else
                    fi
                :: else -> AWAIT(FRESH(taken) || LEFT || shutdown || OVER) /* memlane_many_any, or a slice */
                fi
            fi
        fi;
        s = 0; found = 0; top = 0
    od;
    if
    :: SHUTDOWN -> STEP(assert(finished == committed); ended = true)
    :: else
    fi;
dead:
    atomic { s = 0; low = 0; scanned = 0; top = 0; count = 0; found = 0; got = false; closed = false; seen_back = false }
}

init {
    atomic {
        run Producer(1);
        if :: PRODUCERS > 1 -> run Producer(2) :: else fi;
        run Consumer(4);
        if :: CONSUMERS > 1 -> run Consumer(3) :: else fi;
        if :: PRODUCERS > 1 -> run Kill(1) :: true fi;
        if :: CONSUMERS > 1 -> run Kill(3) :: true fi;
        if :: SHUTDOWN -> run Shut() :: else fi
    }
}
