/* SPDX-License-Identifier: MIT
 *
 * A set of named semaphores: src/memlane/_region/semaphores.py, Anchor, Anchor.make, acquire_presence, mend, make, still_names,
 * sweep_sets, remove_set, and their callers in src/memlane/region.py, open and unlink.
 *
 * Number 0 is the anchor, number 1 the only doorbell. A name leads to a file, locks belong to files and go with their
 * holder; a listing of the directory is one step. Openers 0 and 1 open the region, make the doorbell if there is none,
 * and end; one who is alone waits for a sweep that has locked the anchor, or gives up and polls. Sweepers 2 and 3 sweep
 * once (SWEEPERS), 4 unlinks the region (UNLINKS=1). Everyone may die anywhere (MORTALS=1). LOST: 0 the set is whole at
 * first, 1 all of it is missing, 2 the doorbell is, as after a removal that was killed half way.
 *
 * Checked: while the region has its name, who is present is so at the set that bears the name, and nobody removes a
 * doorbell made or found by one who is present at it; a sweep removes nothing of a set made anew, and no doorbell
 * beside an anchor that it has not locked; nobody waits for ever; when all have ended, no lock is left and one more
 * sweep leaves no name.
 *
 * sizes: LOST=0 SWEEPERS=2 UNLINKS=0 MORTALS=1
 * sizes: LOST=1 SWEEPERS=2 UNLINKS=0 MORTALS=1
 * sizes: LOST=2 SWEEPERS=2 UNLINKS=0 MORTALS=1
 * sizes: LOST=0 SWEEPERS=1 UNLINKS=1 MORTALS=1
 * mistake ANCHOR_FIRST: LOST=0 SWEEPERS=1 UNLINKS=0 MORTALS=0; finds "locked"
 *     a sweep removes the anchor before the doorbell: what it removes then may be of a set made anew
 * mistake NO_LOCK: LOST=0 SWEEPERS=1 UNLINKS=0 MORTALS=0; finds "locked"
 *     a sweep does not lock the anchor
 * mistake NO_RECHECK: LOST=0 SWEEPERS=1 UNLINKS=0 MORTALS=0; finds "present"
 *     an opener does not look again whether the anchor that it has locked still bears its name
 * mistake REMAKE: LOST=1 SWEEPERS=1 UNLINKS=0 MORTALS=0; finds "locked"
 *     one who makes an anchor replaces that which a sweep has locked: the sweep then removes the new one
 * mistake LIST_EARLY: LOST=1 SWEEPERS=2 UNLINKS=0 MORTALS=0; finds "locked"
 *     a sweep removes what it listed before it had the lock: a doorbell made since outlives its anchor, and the next
 *     sweep, which finds no anchor to lock, removes that of a set made anew
 */
#define FILES 12
#define NOBODY 9
#define STEP(...) atomic { if :: killed[me] -> goto dead :: else fi; __VA_ARGS__ }
#define KEPT(p) (region_named && present[p] && present[p] == names[0] && kept[p] && kept[p] == names[1])

byte names[2];         /* the file that each number leads to */
byte readers[FILES];   /* of the presence byte of each file, a bit for each process */
byte writer[FILES] = NOBODY;
byte files = 1;        /* made so far; 0 is none */
bool region_named = true;
byte region_readers, region_writer = NOBODY;
byte noted;            /* the file that the doorbell in the region names */
byte making = NOBODY;  /* the lease or the directory's lock, under which a doorbell has its first user */
bool killed[5];

/* ghosts */
byte present[2], kept[2], ended;

proctype Kill(byte victim) { killed[victim] = true }

/* Anchor.__init__ */
inline acquire_presence_of_anchor() {
    removing = false;
    STEP(anchor = names[0]);
    if
    :: anchor ->
        STEP(if :: writer[anchor] == NOBODY -> readers[anchor] = readers[anchor] | (1 << me) :: else -> removing = true fi);
        if
        :: removing -> anchor = 0
        :: else ->
#ifdef NO_RECHECK
            STEP(present[me] = anchor);
#else
            STEP(if
                 :: names[0] == anchor -> present[me] = anchor
                 :: else -> readers[anchor] = readers[anchor] & ~(1 << me); anchor = 0
                 fi);
#endif
            assert(!present[me] || !region_named || present[me] == names[0])
        fi
    :: else
    fi
}

/* DoorbellSet._make */
inline make_bell() {
    STEP(found = (names[0] == anchor));
    if
    :: found ->
        STEP(assert(!KEPT(1 - me)); names[1] = 0);
        STEP(if :: names[1] == 0 -> files++; assert(files < FILES); file = files; names[1] = file :: else fi);
        if
        :: file ->
            STEP(found = names[1]); /* stat and attach_named, by the name */
            if
            :: found ->
                STEP(found = (names[0] == anchor));
                if
                :: found -> STEP(noted = file; kept[me] = file; assert(!region_named || names[1] == file))
                :: else -> STEP(names[1] = 0)
                fi
            :: else
            fi
        :: else
        fi
    :: else
    fi;
    found = 0;
    file = 0
}

proctype Opener(byte me) {
    byte anchor, file, found;
    bool alone, removing;
    STEP(if :: !region_named -> goto dead :: else fi);
    atomic { /* files.acquire_presence */
        if
        :: killed[me] -> goto dead
        :: !killed[me] && region_writer == NOBODY && region_readers == 0 -> region_writer = me; alone = true
        :: !killed[me] && region_writer == NOBODY && region_readers -> region_readers = region_readers | (1 << me)
        fi
    };
    STEP(if :: !region_named -> goto dead :: else fi); /* still_names */
    acquire_presence_of_anchor();
    if
    :: alone -> /* Anchor.make */
        do
        :: !anchor && removing -> break /* by a sweep that does not go on: polls */
        :: !anchor ->
#ifdef REMAKE
            STEP(assert(!KEPT(1 - me)); names[0] = 0);
#endif
            STEP(if :: names[0] == 0 -> files++; assert(files < FILES); names[0] = files :: else fi);
            acquire_presence_of_anchor()
        :: else -> break
        od
    :: else
    fi;
    if
    :: alone -> /* mend */
        STEP(if :: noted && names[1] != noted -> noted = 0 :: noted && names[1] == noted -> kept[me] = noted :: !noted fi);
        if
        :: !noted && anchor -> make_bell()
        :: else
        fi;
        STEP(region_writer = NOBODY; region_readers = region_readers | (1 << me))
    :: else ->
        STEP(if :: making == NOBODY && !noted && anchor -> making = me :: else fi);
        if
        :: making == me -> make_bell(); STEP(making = NOBODY)
        :: else -> STEP(if :: noted && names[1] == noted -> kept[me] = noted :: else fi) /* _attach */
        fi
    fi;
    STEP(skip); /* uses it */
dead:
    atomic {
        present[me] = 0; kept[me] = 0;
        region_readers = region_readers & ~(1 << me);
        if :: region_writer == me -> region_writer = NOBODY :: else fi;
        if :: making == me -> making = NOBODY :: else fi;
        if :: anchor -> readers[anchor] = readers[anchor] & ~(1 << me) :: else fi;
        anchor = 0; file = 0; found = 0; alone = false; removing = false;
        ended++
    }
}

inline sweep_name(number) {
    STEP(if
         :: listed[number] ->
             bool locked = names[0] == 0 || writer[names[0]] == me;
             assert(!region_named || names[number] == 0 || (locked && !KEPT(0) && !KEPT(1)));
             names[number] = 0
         :: else
         fi)
}

/* sweep_sets */
proctype Sweeper(byte me) {
    byte anchor;
    bool listed[2];
    STEP(listed[0] = (names[0] != 0); listed[1] = (names[1] != 0));
    if
    :: !listed[0] && !listed[1] -> goto dead
    :: else
    fi;
    STEP(anchor = names[0]);
    if
    :: anchor ->
#ifndef NO_LOCK
        STEP(if
             :: readers[anchor] == 0 && writer[anchor] == NOBODY -> writer[anchor] = me
             :: else -> goto dead
             fi);
#endif
        STEP(if :: names[0] != anchor -> goto dead :: else fi)
    :: else
    fi;
#ifndef LIST_EARLY
    STEP(listed[0] = (names[0] != 0); listed[1] = (names[1] != 0));
    if
    :: !anchor && listed[0] -> goto dead /* begun again meanwhile */
    :: else
    fi;
#endif
#ifdef ANCHOR_FIRST
    sweep_name(0);
    sweep_name(1);
#else
    sweep_name(1);
    sweep_name(0);
#endif
dead:
    atomic {
        if :: anchor && writer[anchor] == me -> writer[anchor] = NOBODY :: else fi;
        anchor = 0; listed[0] = false; listed[1] = false;
        ended++
    }
}

/* Region.unlink and remove_set */
proctype Unlinker(byte me) {
    bool listed[2];
    atomic {
        if
        :: killed[me] -> goto dead
        :: !killed[me] && region_writer == NOBODY -> region_readers = region_readers | (1 << me)
        fi
    };
    STEP(region_named = false);
    STEP(listed[0] = (names[0] != 0); listed[1] = (names[1] != 0));
    STEP(if :: listed[1] -> names[1] = 0 :: else fi);
    STEP(if :: listed[0] -> names[0] = 0 :: else fi);
dead:
    atomic {
        region_readers = region_readers & ~(1 << me);
        listed[0] = false; listed[1] = false;
        ended++
    }
}

init {
    byte file;
    atomic {
        if
        :: LOST != 1 -> files++; names[0] = files
        :: else
        fi;
        if
        :: LOST == 0 -> files++; names[1] = files; noted = files
        :: else -> noted = FILES /* of a file that is no more */
        fi;
        run Opener(0); run Opener(1); run Sweeper(2);
        if :: SWEEPERS > 1 -> run Sweeper(3) :: else fi;
        if :: UNLINKS -> run Unlinker(4) :: else fi;
        if :: MORTALS -> run Kill(0) :: true fi;
        if :: MORTALS -> run Kill(1) :: true fi;
        if :: MORTALS -> run Kill(2) :: true fi;
        if :: MORTALS && SWEEPERS > 1 -> run Kill(3) :: true fi;
        if :: MORTALS && UNLINKS -> run Kill(4) :: true fi
    };
    (ended == 2 + SWEEPERS + UNLINKS);
    assert(region_readers == 0 && region_writer == NOBODY);
    /* one more sweep: it can lock the anchor, if there is one */
    assert(names[0] == 0 || (readers[names[0]] == 0 && writer[names[0]] == NOBODY))
}
