/* SPDX-License-Identifier: MIT
 *
 * Giving memory of a lane back: src/core/queue_growth.h, memlane_growth_refresh, _mend, _adopt, _keep, _next, _let_go, _bury;
 * memlane_many_claim, _free.
 *
 * Each record lies in a cell of its own: record s in cell s mod CELLS, where that one has gone by, or else the producer grows
 * and uses a cell that was never used. A cell has memory or not. The producer reserves a cell before it writes into it, unless
 * it holds the cell for firm; it may die anywhere, and an heir goes on, which holds nothing for firm. A consumer takes records,
 * reads them slowly, and frees them; it may die with one in hand, which another one takes over. Keepers give back the cells
 * of what is free from `head` on, one cell at a time; one may die anywhere, and another one buries it.
 *
 * Checked: nothing is written into a cell without memory, nor read from one by its taker, nor given back under it; what is
 * read is what was put; all records are consumed, so nobody waits for a keeper.
 *
 * sizes: RECORDS=3 CELLS=2 MORTALS=1 MORTAL_KEEPERS=1 MORTAL_CONSUMERS=0
 * sizes: RECORDS=4 CELLS=2 MORTALS=0 MORTAL_KEEPERS=1 MORTAL_CONSUMERS=0
 * sizes: RECORDS=3 CELLS=2 MORTALS=1 MORTAL_KEEPERS=0 MORTAL_CONSUMERS=1
 * mistake NO_KEEPER: RECORDS=3 CELLS=2 MORTALS=0 MORTAL_KEEPERS=0 MORTAL_CONSUMERS=0; finds "has_memory"
 *     the producer moves `head` without a look at the word of the keeper
 * mistake NO_GIVEN: RECORDS=3 CELLS=2 MORTALS=0 MORTAL_KEEPERS=0 MORTAL_CONSUMERS=0; finds "has_memory"
 *     a keeper does not tell that it has given memory back
 * mistake GIVEN_LATE: RECORDS=3 CELLS=2 MORTALS=0 MORTAL_KEEPERS=0 MORTAL_CONSUMERS=0; finds "has_memory"
 *     it lets `head` go first, and tells then
 * mistake BURY_SILENTLY: RECORDS=3 CELLS=2 MORTALS=0 MORTAL_KEEPERS=1 MORTAL_CONSUMERS=0; finds "has_memory"
 *     a dead keeper is taken for one that has given nothing back
 * mistake OVER_TAKEN: RECORDS=3 CELLS=2 MORTALS=0 MORTAL_KEEPERS=0 MORTAL_CONSUMERS=0; finds "has_memory"
 *     a keeper gives back what lies behind a record in a hand, and that record
 * mistake HEIR_IS_FIRM: RECORDS=3 CELLS=2 MORTALS=1 MORTAL_KEEPERS=0 MORTAL_CONSUMERS=0; finds "has_memory"
 *     an heir holds for firm what the dead producer had reserved, by the number of givings back that it finds
 * mistake NO_MENDING: RECORDS=3 CELLS=2 MORTALS=1 MORTAL_KEEPERS=0 MORTAL_CONSUMERS=0; finds "moved"
 *     nobody finishes the move of `head` in which a producer died
 */
#define ALL_CELLS (CELLS + RECORDS)
#define NONE 0
#define READY 1
#define TAKEN 2
#define FREE 3

byte head, word_head, word_keeper; /* word_*: the two halves of `keeper` */
byte given;
byte state[RECORDS], cell_of[RECORDS];
bool memory[ALL_CELLS];
byte bytes[ALL_CELLS];
byte taken, committed;
byte span; /* cells from CELLS on that were used by growing */
byte mortals = MORTALS, mortal_keepers = MORTAL_KEEPERS, mortal_consumers = MORTAL_CONSUMERS;
bool dead_consumer, dead_keeper, is_dead;
byte in_dead_hand;
bool used_firm[ALL_CELLS]; /* what the dead producer held, for the mistake */
byte finished;

#define DIE if :: atomic { who == 0 && mortals > 0 -> mortals--; goto dead } :: true fi

/* memlane_growth_mend; a word that is behind what was read of `head` is an old one */
inline mend(was_word, was_head) {
#ifndef NO_MENDING
    atomic { if :: head == was_head && was_word > was_head -> head = was_word :: else fi }
#else
    skip
#endif
}

proctype Producer(byte who) {
    byte s, seen, was_head, was_word, end, cell, my_given;
    bool firm[ALL_CELLS], kept, has_memory;
    if
    :: who > 0 ->
        is_dead;
        atomic {
            s = committed; seen = head; my_given = given;
#ifdef HEIR_IS_FIRM
            cell = 0;
            do
            :: cell < ALL_CELLS -> firm[cell] = used_firm[cell]; cell++
            :: else -> break
            od;
            cell = 0
#endif
        }
    :: else
    fi;
    do
    :: s < RECORDS ->
        if
        :: s - seen >= CELLS -> /* memlane_growth_refresh */
            atomic { was_word = word_head; kept = word_keeper != 0 };
            was_head = head;
            mend(was_word, was_head);
            DIE;
            was_head = was_word;
            end = was_head;
            do
            :: !kept && end < s && state[end] == FREE -> end++
            :: else -> break
            od;
            if
            :: end != was_head ->
#ifdef NO_KEEPER
                atomic { word_head = end };
                head = end;
#else
                atomic {
                    if
                    :: word_keeper == 0 && word_head == was_head -> word_head = end
                    :: else -> kept = true
                    fi
                };
                DIE;
                if
                :: !kept -> atomic { if :: head == was_head -> head = end :: else fi }
                :: else
                fi;
#endif
                DIE
            :: else
            fi;
            atomic {
                if
                :: my_given != given ->
                    my_given = given;
                    cell = 0;
                    do
                    :: cell < ALL_CELLS -> firm[cell] = false; cell++
                    :: else -> break
                    od;
                    cell = 0
                :: else
                fi
            };
            atomic { seen = head; was_head = 0; was_word = 0; end = 0; kept = false }
        :: else
        fi;
        if
        :: s - seen < CELLS -> cell = s % CELLS /* whatever lay in it is gone */
        :: else -> cell = CELLS + span; span++ /* grow: it waits for nobody */
        fi;
        if
        :: !firm[cell] -> memory[cell] = true; firm[cell] = true; used_firm[cell] = true
        :: else
        fi;
        DIE;
        atomic { has_memory = memory[cell]; assert(has_memory); bytes[cell] = s + 1; cell_of[s] = cell };
        DIE;
        atomic { state[s] = READY; committed = s + 1; s++ };
        DIE
    :: else -> break
    od;
    goto over;
dead:
    atomic { is_dead = true; run Producer(1) };
over:
    skip
}

/* what is checked of a record in a hand */
inline read_it() {
    atomic { has_memory = memory[cell_of[s]]; assert(has_memory); assert(bytes[cell_of[s]] == s + 1) }
}

proctype Consumer(byte me) {
    byte s;
    bool has_memory;
    do
    :: finished == RECORDS -> break
    :: atomic { me == 1 && !dead_consumer && taken < RECORDS && state[taken] == READY -> s = taken; state[s] = TAKEN; taken++ };
        read_it();
        if
        :: atomic { mortal_consumers > 0 -> mortal_consumers--; dead_consumer = true; in_dead_hand = s; goto dead }
        :: true
        fi;
        read_it();
        atomic { state[s] = FREE; finished++; s = 0 }
    :: atomic { me == 2 && dead_consumer && taken < RECORDS && state[taken] == READY -> s = taken; state[s] = TAKEN; taken++ };
        read_it();
        atomic { state[s] = FREE; finished++; s = 0 }
    :: atomic { me == 2 && dead_consumer && state[in_dead_hand] == TAKEN -> s = in_dead_hand };
        read_it();
        atomic { state[s] = FREE; finished++; s = 0 }
    od;
dead:
    skip
}

proctype Keeper(byte me) {
    byte was_word, was_head, s;
    bool gave;
    do
    :: finished == RECORDS -> break
    :: atomic { finished < RECORDS && word_keeper == 0 -> was_word = word_head };
        was_head = head;
        if
        :: was_word != was_head -> mend(was_word, was_head)
        :: else ->
            atomic {
                if
                :: word_keeper == 0 && word_head == was_word -> word_keeper = me
                :: else -> goto again
                fi
            };
            s = head;
            do
#ifdef OVER_TAKEN
            :: s < RECORDS && (state[s] == FREE || state[s] == TAKEN) ->
#else
            :: s < RECORDS && state[s] == FREE ->
#endif
                atomic { memory[cell_of[s]] = false; bytes[cell_of[s]] = 0; gave = true; s++ };
                if
                :: atomic { me == 1 && mortal_keepers > 0 -> mortal_keepers--; dead_keeper = true; goto dead }
                :: true
                fi
            :: else -> break
            od;
#ifndef NO_GIVEN
#ifndef GIVEN_LATE
            if :: gave -> given++ :: else fi;
#endif
#endif
            atomic { assert(word_keeper == me); word_keeper = 0 };
#ifdef GIVEN_LATE
            if :: gave -> given++ :: else fi;
#endif
            break /* each keeps it once */
        fi;
again:
        atomic { was_word = 0; was_head = 0; s = 0 }
    :: atomic { me == 2 && dead_keeper && word_keeper == 1 -> was_word = word_head };
#ifndef BURY_SILENTLY
        given++;
#endif
        atomic { if :: word_keeper == 1 && word_head == was_word -> word_keeper = 0 :: else fi };
        was_word = 0
    od;
dead:
    skip
}

/* At the end a keeper would find the word and `head` to be one, but for a move that somebody died in. */
proctype Last() {
    (finished == RECORDS && _nr_pr == 2);
    byte was_word = word_head, was_head = head;
    if
    :: was_word != was_head -> mend(was_word, was_head)
    :: else
    fi;
    bool moved = head == word_head;
    assert(moved)
}

init {
    atomic { run Last(); run Producer(0); run Consumer(1); run Consumer(2); run Keeper(1); run Keeper(2) }
}
