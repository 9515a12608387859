/* SPDX-License-Identifier: MIT
 *
 * Participants: src/core/participants.h, memlane_row_join, _leave, _mark_dead, _is, and their callers in
 * src/runtime/membership.c: memlane_membership_join (find_row, take_row), row_life, memlane_membership_life,
 * _leave; src/runtime/lease.c: memlane_lease_role; hazards 7 to 10.
 *
 * Three processes want to join the rows of a table, of which 1 and 2 may die anywhere, and 3 may be stopped anywhere for
 * ever; each then takes the one role of the region, at once if it is free, else from a tag that it proves dead, gives it
 * back and leaves. The kernel's locks on the bytes of rows vanish with a process some time after its last step; those of
 * a stopped one stay. A process that was taken for dead wrongly (LOCK_LOST: its descriptors were closed, so its locks went)
 * goes on and must spoil nothing.
 *
 * Checked: a row has one owner; a role is held by one who lives; nobody robs a live one, stopped or not; in the end
 * whoever lives has had its turn, or waits for the stopped one's row, joining byte or role, so nobody waits for the dead.
 *
 * sizes: ROWS=1 LOCK_LOST=0
 * sizes: ROWS=2 LOCK_LOST=0
 * sizes: ROWS=1 LOCK_LOST=1
 * mistake PLAIN_LEAVE: ROWS=1 LOCK_LOST=1; finds "generation"
 *     leaving stores the generation: it frees the row of a newcomer (hazard 9)
 * mistake PLAIN_MARK: ROWS=1 LOCK_LOST=0; finds "lock_lost"
 *     marking the row dead stores the generation: it frees the row of a newcomer (hazard 8)
 * mistake UNLOCK_FIRST: ROWS=1 LOCK_LOST=0; finds "lock_lost"
 *     leaving lets the lock go while the generation still says that one is there
 * mistake LOCK_LATE: ROWS=1 LOCK_LOST=0; finds "lock_lost"
 *     joining moves the generation before it has the lock: a live one is proven dead
 * mistake PLAIN_GIVE: ROWS=2 LOCK_LOST=1; finds "role"
 *     a role is given back by a store: one taken for dead frees the role of its successor
 * mistake NO_JOINING_BYTE: ROWS=1 LOCK_LOST=0; finds "end state"
 *     no joining byte: another one joins and dies between a joiner's look and its lock; if the joiner is stopped there,
 *     the dead one looks alive (hazard 7)
 * mistake NO_SECOND_LOOK: ROWS=1 LOCK_LOST=0; finds "end state"
 *     a joiner has looked only before it had the joining byte: the same
 * mistake NO_BURY: ROWS=1 LOCK_LOST=0; finds "end state"
 *     a dead owner's row stays odd: nobody can ever join it
 */
#define STEP(...) atomic { if :: killed[me] -> goto dead :: !killed[me] && stopped[me] -> goto stand :: else fi; __VA_ARGS__ }
/* until something has changed, or for ever because of who is stopped: then one may give up, and end */
#define WAIT(changed, held_up) \
    atomic { \
        if \
        :: (changed) || killed[me] || stopped[me] -> skip \
        :: !killed[me] && !stopped[me] && (held_up) -> killed[me] = true; goto dead \
        fi \
    }
#define TAG(row, generation) ((row) * 64 + (generation) + 1) /* never 0 */
#define ROW_OF(tag) (((tag) - 1) / 64)
#define GENERATION_OF(tag) (((tag) - 1) % 64)

byte generation[ROWS], lock[ROWS], joining[ROWS], role;
bool killed[4], stopped[4];

/* ghosts: who has the row since its last join, who lives with it, who was taken for dead by force */
byte holder[ROWS];
bool lock_lost[4];

proctype Kill(byte victim) { killed[victim] = true }
proctype Stop(byte victim) { stopped[victim] = true }

/* Somebody closed the descriptors of a live process: the kernel lets its locks go. */
proctype Rob() {
end:
    atomic {
        (lock[0] == 1 && holder[0] == 1) ->
        lock[0] = 0; lock_lost[1] = true;
        if :: joining[0] == 1 -> joining[0] = 0 :: else fi
    }
}

/* Membership.verdict on `tag`: dead, and then its row is marked dead */
inline verdict(tag, whose) {
    dead_found = false;
    STEP(seen = generation[ROW_OF(tag)]); /* memlane_row_is */
    if
    :: seen % 2 == 0 || seen != GENERATION_OF(tag) -> dead_found = true
    :: else -> probe(ROW_OF(tag))
    fi
}

/* Membership._probe_row: `seen` is the odd generation that the row showed */
inline probe(row_probed) {
    STEP(unlocked = (lock[row_probed] == 0)); /* memlane_lockbyte_probe */
    if
    :: unlocked ->
        dead_found = true;
        /* memlane_row_mark_dead */
#ifdef PLAIN_MARK
        STEP(generation[row_probed] = seen + 1);
#else
#ifndef NO_BURY
        STEP(
            if
            :: generation[row_probed] == seen ->
                assert(killed[holder[row_probed]] || lock_lost[holder[row_probed]]);
                generation[row_probed] = seen + 1
            :: else
            fi
        );
#endif
#endif
        unlocked = false
    :: else
    fi
}

proctype Process(byte me) {
    byte row, mine, tag, found, seen;
    bool joined, dead_found, unlocked;
    /* Membership.join: even rows, those of the dead are made even first */
    do
    :: joined -> break
    :: else ->
        if
        :: row = 0
        :: ROWS > 1 -> row = ROWS - 1
        fi;
        STEP(seen = generation[row]);
        if
        :: seen % 2 -> probe(row)
        :: else
        fi;
        dead_found = false;
        STEP(seen = generation[row]);
        if
        :: seen % 2 == 1 ->
            /* in use; look again when something has changed */
#ifdef NO_BURY
            WAIT(generation[row] != seen, stopped[holder[row]])
#else
            WAIT(generation[row] != seen || lock[row] == 0, stopped[holder[row]])
#endif
        :: else ->
#ifndef NO_JOINING_BYTE
            STEP(if :: joining[row] == 0 -> joining[row] = me :: else fi);
            if
            :: joining[row] != me ->
                WAIT(joining[row] == 0 || generation[row] != seen, stopped[joining[row]]);
                goto next
            :: else
            fi;
#endif
            /* _try_row */
#ifndef NO_JOINING_BYTE
#ifndef NO_SECOND_LOOK
            STEP(seen = generation[row]);
            if
            :: seen % 2 == 1 -> goto untried
            :: else
            fi;
#endif
#endif
#ifndef LOCK_LATE
            STEP(if :: lock[row] == 0 -> lock[row] = me :: else fi);
            if
            :: lock[row] != me -> /* somebody is about to end */
                STEP(if :: joining[row] == me -> joining[row] = 0 :: else fi);
                WAIT(lock[row] == 0 || generation[row] != seen, stopped[lock[row]]);
                goto next
            :: else
            fi;
#endif
            /* memlane_row_join */
            STEP(mine = generation[row]);
            STEP(
                if
                :: mine % 2 == 0 && generation[row] == mine ->
                    mine = mine + 1; generation[row] = mine; holder[row] = me; joined = true
                :: else
                fi
            );
#ifdef LOCK_LATE
            if
            :: joined -> atomic { (lock[row] == 0 || killed[me]) -> if :: killed[me] -> goto dead :: else fi; lock[row] = me }
            :: else
            fi;
#else
            if
            :: !joined -> STEP(lock[row] = 0)
            :: else
            fi;
#endif
untried:
            STEP(if :: joining[row] == me -> joining[row] = 0 :: else fi)
        fi;
next:
        seen = 0
    od;
    tag = TAG(row, mine);
    /* the role: memlane_role_take */
    do
    :: true ->
        STEP(found = role);
        if
        :: found == 0 -> dead_found = true
        :: found == tag -> break
        :: else -> verdict(found, 0)
        fi;
        if
        :: dead_found -> STEP(if :: role == found -> role = tag :: else fi)
        :: else -> /* alive: wait for it to give the role back, or to die */
            WAIT(role != found || lock[ROW_OF(found)] == 0 || generation[ROW_OF(found)] != GENERATION_OF(found),
                 stopped[holder[ROW_OF(found)]])
        fi;
        dead_found = false
    od;
    found = 0;
    seen = 0;
    /* it has the role, unless it was taken for dead */
    STEP(assert(role == tag || lock_lost[me]));
    /* memlane_role_give */
#ifdef PLAIN_GIVE
    STEP(assert(role == tag || role == 0); role = 0);
#else
    STEP(if :: role == tag -> role = 0 :: else -> assert(lock_lost[me]) fi);
#endif
    /* Membership.leave */
#ifdef UNLOCK_FIRST
    STEP(lock[row] = 0);
#endif
#ifdef PLAIN_LEAVE
    STEP(assert(generation[row] == mine); generation[row] = mine + 1);
#else
    STEP(if :: generation[row] == mine -> generation[row] = mine + 1 :: else -> assert(lock_lost[me]) fi);
#endif
dead:
    /* the end of a process; for the dead, whenever the kernel comes to it */
    atomic {
        if :: lock[0] == me -> lock[0] = 0 :: else fi;
        if :: lock[ROWS - 1] == me -> lock[ROWS - 1] = 0 :: else fi;
        if :: joining[0] == me -> joining[0] = 0 :: else fi;
        if :: joining[ROWS - 1] == me -> joining[ROWS - 1] = 0 :: else fi;
        row = 0; mine = 0; tag = 0; found = 0; seen = 0; joined = false; dead_found = false; unlocked = false
    };
    goto gone;
stand:
end_stopped:
    (false);
gone:
    skip
}

init {
    atomic {
        run Process(1); run Process(2); run Process(3);
        if :: run Kill(1) :: true fi;
        if :: run Kill(2) :: true fi;
        if :: run Stop(3) :: true fi;
        if :: LOCK_LOST -> run Rob() :: true fi
    }
}
