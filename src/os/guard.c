/* SPDX-License-Identifier: MIT */
#include "os/guard.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

/* A block twice as large as all before it is added when the table is full. Blocks never go away. */
enum { FIRST_BLOCK = 256, BLOCKS = 18, CHAIN_MAX = 8, NAME_NBYTES = 8 * MEMLANE_GUARD_NAME_WORDS };
#define REPLACED UINT32_MAX

/* A handler of the classic kind cannot know where the fault was, so it cannot have repaired it. After it has returned so
 * often to the same fault, it is the turn of the one below. */
enum { FRUITLESS_MAX = 16 };

/* How often to try while another thread makes room; far more than it takes (chosen somewhat arbitrarily). */
enum { SPARE_TURNS = 1000 };

/* Two calls of our handler this close on one stack are nested: the one below has passed the signal back. */
#define NESTED_NBYTES 65536u

/* glibc would allocate another kind of thread-local memory at first use, inside the handler. */
#ifdef __GLIBC__
#define THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
#else
#define THREAD_LOCAL _Thread_local
#endif

/* What we lie over, uppermost first. Never changed once it can be seen, never freed. */
struct chain {
    unsigned count;
    struct sigaction below[CHAIN_MAX];
    const struct chain *older; /* all there ever were: an equal one is used again */
};

struct watched_signal {
    int number;
    _Atomic bool is_wanted;
    _Atomic bool was_installed;
    _Atomic(const struct chain *) chain;
};

struct memlane_guarded memlane_unguarded;

static struct memlane_guarded first_block[FIRST_BLOCK];
static _Atomic(struct memlane_guarded *) blocks[BLOCKS] = {first_block};
static _Atomic uint32_t hint; /* entries below it are taken */
static _Atomic uint64_t last_tick; /* of the coarse clock, when a new range had us look at the handlers */
static _Atomic bool is_on = true;
static _Atomic(void *) spare; /* a mapping to give up */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the installing of handlers */
static struct watched_signal bus = {.number = SIGBUS};
static struct watched_signal segv = {.number = SIGSEGV};

static THREAD_LOCAL unsigned depth; /* handlers below that are running */
static THREAD_LOCAL uintptr_t depth_frame; /* where on the stack the last of them was called */
static THREAD_LOCAL void *fruitless_address;
static THREAD_LOCAL unsigned fruitless_count;

/* ---- the table ---------------------------------------------------------------------------------- */

static uint32_t block_begin(unsigned block) { return block == 0 ? 0 : (uint32_t)FIRST_BLOCK << (block - 1); }

static uint32_t block_count(unsigned block) {
    return block == 0 ? (uint32_t)FIRST_BLOCK : (uint32_t)FIRST_BLOCK << (block - 1);
}

static struct memlane_guarded *block_at(unsigned block) {
    /* sync: guard.block. acquire: pairs with grow; the indices in it are set */
    return atomic_load_explicit(&blocks[block], memory_order_acquire);
}

/* Add a block, or find that another thread has. */
static struct memlane_guarded *grow(unsigned block) {
    size_t nbytes = block_count(block) * sizeof(struct memlane_guarded);
    struct memlane_guarded *made = mmap(NULL, nbytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        return NULL;
    for (uint32_t i = 0; i < block_count(block); i++)
        made[i].index = block_begin(block) + i;
    struct memlane_guarded *found = NULL;
    /* sync: guard.block. acq_rel: pairs with block_at; on failure acquire: another one's block is used instead */
    if (atomic_compare_exchange_strong_explicit(&blocks[block], &found, made, memory_order_acq_rel,
                                                memory_order_acquire))
        return made;
    munmap(made, nbytes);
    return found;
}

/* Take a free entry; NULL: no memory. */
static struct memlane_guarded *take_entry(void) {
    /* relaxed: where to begin, no more */
    uint32_t start = atomic_load_explicit(&hint, memory_order_relaxed);
    for (unsigned block = 0; block < BLOCKS; block++) {
        uint32_t begin = block_begin(block), count = block_count(block);
        if (begin + count <= start)
            continue;
        struct memlane_guarded *entries = block_at(block);
        if (entries == NULL && (entries = grow(block)) == NULL)
            return NULL;
        for (uint32_t i = start > begin ? start - begin : 0; i < count; i++) {
            uint32_t found = 0;
            /* sync: guarded.owned. acquire: pairs with memlane_guard_forget, whose last words come before ours;
             * failure relaxed: it is somebody else's */
            if (atomic_compare_exchange_strong_explicit(&entries[i].owned, &found, 1, memory_order_acquire,
                                                        memory_order_relaxed)) {
                entries[i].index = begin + i;
                /* relaxed: a hint; if it has moved meanwhile, lower ones were given back */
                atomic_compare_exchange_strong_explicit(&hint, &start, begin + i + 1, memory_order_relaxed,
                                                        memory_order_relaxed);
                return &entries[i];
            }
        }
    }
    return NULL;
}

/* Entries change between these two, by one thread at a time: their owner. */
static void begin_change(struct memlane_guarded *guarded) {
    /* relaxed: ours alone to change; the fence below orders it */
    uint32_t sequence = atomic_load_explicit(&guarded->sequence, memory_order_relaxed);
    atomic_store_explicit(&guarded->sequence, sequence + 1, memory_order_relaxed); /* relaxed: as above */
    /* sync: guarded.sequence. release fence: no word of the change is seen under the even number before. Pairs with the
     * acquire fence in look_at */
    atomic_thread_fence(memory_order_release);
}

static void end_change(struct memlane_guarded *guarded) {
    /* relaxed: ours alone to change */
    uint32_t sequence = atomic_load_explicit(&guarded->sequence, memory_order_relaxed);
    /* sync: guarded.sequence. release: the words are seen under the even number. Pairs with the acquire in look_at */
    atomic_store_explicit(&guarded->sequence, sequence + 1, memory_order_release);
}

/* Words of an entry are relaxed: the sequence around them orders them. */
#define SET(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)
#define GET(field) atomic_load_explicit(&(field), memory_order_relaxed)

static void set_place(struct memlane_guarded *guarded, unsigned char *address, uint64_t nbytes) {
    uint64_t page_nbytes = GET(guarded->page_nbytes);
    uint64_t origin = (uintptr_t)address;
    SET(guarded->origin, origin);
    SET(guarded->nbytes, nbytes);
    SET(guarded->begin, origin & ~(page_nbytes - 1));
    SET(guarded->end, (origin + nbytes + page_nbytes - 1) & ~(page_nbytes - 1));
}

/* What the handler knows of an entry. */
struct place {
    uint64_t begin, end, page_nbytes, fence_nbytes;
    uint32_t only_in;
};

static bool look_at(struct memlane_guarded *guarded, struct place *place) {
    /* sync: guarded.sequence. acquire: pairs with end_change */
    uint32_t before = atomic_load_explicit(&guarded->sequence, memory_order_acquire);
    place->begin = GET(guarded->begin);
    place->end = GET(guarded->end);
    place->page_nbytes = GET(guarded->page_nbytes);
    place->fence_nbytes = GET(guarded->fence_nbytes);
    place->only_in = GET(guarded->only_in);
    /* sync: guarded.sequence. acquire fence: all of that was loaded before the second look. Pairs with begin_change */
    atomic_thread_fence(memory_order_acquire);
    return !(before & 1) && GET(guarded->sequence) == before && place->end != 0;
}

/* The range that an address is in, its guard pages included; NULL: it is not ours. */
static struct memlane_guarded *find(uint64_t address, struct place *place) {
    for (unsigned block = 0; block < BLOCKS; block++) {
        struct memlane_guarded *entries = block_at(block);
        if (entries == NULL)
            break;
        for (uint32_t i = 0; i < block_count(block); i++)
            if (look_at(&entries[i], place) && address >= place->begin - place->fence_nbytes &&
                address < place->end + place->fence_nbytes &&
                (place->only_in == 0 || place->only_in == (uint32_t)getpid()))
                return &entries[i];
    }
    return NULL;
}

/* ---- in the handler: only what may run there ------------------------------------------------------ */

static bool lay_zeros(uint64_t begin, uint64_t end, uint32_t protection) {
    /* NORESERVE: a large region need not fit into memory, and nobody will fill it */
    return mmap((void *)(uintptr_t)begin, end - begin, (int)protection,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

/* Have a mapping that nobody uses, whose end makes room for another. Shared, or the kernel would join it to a neighbor. */
static void keep_spare(void) {
    void *made = mmap(NULL, 1, PROT_NONE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), *found = NULL;
    /* relaxed, both: an address and nothing behind it */
    if (made != MAP_FAILED &&
        !atomic_compare_exchange_strong_explicit(&spare, &found, made, memory_order_relaxed, memory_order_relaxed))
        munmap(made, 1);
}

/* The process has as many mappings as vm.max_map_count allows: put one in place of the many that a range consists of by
 * now. The kernel lets the count get one too high, and then refuses even that, so the spare one goes first. */
static bool lay_zeros_over_all(uint64_t begin, uint64_t end, uint32_t protection) {
    /* relaxed: as in keep_spare */
    void *given = atomic_exchange_explicit(&spare, NULL, memory_order_relaxed);
    bool done = false;
    if (given != NULL)
        munmap(given, 1);
    for (int turn = 0; turn < SPARE_TURNS && !(done = lay_zeros(begin, end, protection)); turn++)
        sched_yield(); /* another thread has the spare one, and makes room in a moment */
    keep_spare();
    return done;
}

/* Replace what is missing at an address. True: make the access again; false: not ours, or no memory. */
static bool repair(uint64_t address) {
    struct place place;
    struct memlane_guarded *guarded = find(address, &place);
    if (guarded == NULL || address < place.begin || address >= place.end)
        return false;
    uint32_t protection = GET(guarded->protection);
    /* relaxed: ordered by the fence below */
    atomic_store_explicit(&guarded->truncated, 1, memory_order_relaxed);
    /* sync: guarded.truncated. release fence: the mark is there before the zero pages are. Pairs with
     * memlane_guard_is_truncated */
    atomic_thread_fence(memory_order_release);

    if (GET(guarded->how) == MEMLANE_GUARD_WHOLE) {
        uint32_t me = (uint32_t)getpid();
        /* relaxed, here and below: the word only decides who asks the kernel, and the kernel puts that in order */
        uint32_t found = atomic_load_explicit(&guarded->replacer, memory_order_relaxed);
        if (found == REPLACED)
            return true; /* between our fault and now */
        if (found == me) {
            sched_yield(); /* another thread is at it */
            return true;
        }
        /* (a pid that is not ours was left by a parent, that forked in the middle of it) */
        if (!atomic_compare_exchange_strong_explicit(&guarded->replacer, &found, me, memory_order_relaxed,
                                                     memory_order_relaxed))
            return true;
        bool done = lay_zeros(place.begin, place.end, protection);
        /* relaxed: as above */
        atomic_store_explicit(&guarded->replacer, done ? REPLACED : 0, memory_order_relaxed);
        if (done)
            return true;
        /* strict overcommit counts even this: page by page, then */
    }
    uint64_t first = address & ~(place.page_nbytes - 1);
    if (lay_zeros(first, first + place.page_nbytes, protection))
        return true;
    return lay_zeros_over_all(place.begin, place.end, protection);
}

static char *append(char *to, const char *end, const char *text) {
    while (*text != '\0' && to < end)
        *to++ = *text++;
    return to;
}

static char *append_number(char *to, const char *end, uint64_t number, unsigned base) {
    char digits[24];
    char *digit = digits + sizeof digits - 1;
    *digit = '\0';
    do
        *--digit = "0123456789abcdef"[number % base];
    while ((number /= base) != 0);
    return append(to, end, digit);
}

/* Say which guard page was hit, if one was. */
static void describe(uint64_t address) {
    struct place place;
    struct memlane_guarded *guarded = find(address, &place);
    if (guarded == NULL || (address >= place.begin && address < place.end))
        return;
    uint64_t words[MEMLANE_GUARD_NAME_WORDS + 1] = {0};
    for (int i = 0; i < MEMLANE_GUARD_NAME_WORDS; i++)
        words[i] = GET(guarded->name[i]);
    uint64_t origin = GET(guarded->origin);
    char text[NAME_NBYTES + 160], *to = text;
    const char *end = text + sizeof text;
    to = append(to, end, "memlane: guard page touched at offset ");
    to = append(to, end, address < origin ? "-" : "");
    to = append_number(to, end, address < origin ? origin - address : address - origin, 10);
    to = append(to, end, " of ");
    to = append(to, end, (const char *)words);
    to = append(to, end, ", which has ");
    to = append_number(to, end, GET(guarded->nbytes), 10);
    to = append(to, end, " bytes (address 0x");
    to = append_number(to, end, address, 16);
    to = append(to, end, ")\n");
    ssize_t written = write(STDERR_FILENO, text, (size_t)(to - text));
    (void)written; /* the process is about to die, there is nobody to tell */
}

/* Let the default action have its way with a signal. */
static void fall_to_default(int number, bool is_fault) {
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t this_one;
    sigaction(number, &plain, NULL);
    if (is_fault)
        return; /* the access is made again, and its fault kills with all that a core dump wants to know */
    sigemptyset(&this_one);
    sigaddset(&this_one, number);
    raise(number);
    pthread_sigmask(SIG_UNBLOCK, &this_one, NULL);
}

/* Call one of those below us, under the mask that it asked for. */
static void call(const struct sigaction *below, int number, siginfo_t *info, void *context) {
    sigset_t mask = below->sa_mask, before;
    if (!(below->sa_flags & SA_NODEFER))
        sigaddset(&mask, number);
    pthread_sigmask(SIG_BLOCK, &mask, &before);
    if (below->sa_flags & SA_SIGINFO)
        below->sa_sigaction(number, info, context);
    else
        below->sa_handler(number);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* Hand a signal that is not ours to whom it would have reached without us. */
static void pass_on(const struct watched_signal *watched, siginfo_t *info, void *context, bool is_fault) {
    /* sync: guard.chain. acquire: pairs with publish */
    const struct chain *chain = atomic_load_explicit(&watched->chain, memory_order_acquire);
    uintptr_t frame = (uintptr_t)&chain;
    unsigned turn = 0;
    /* Only those that were installed after us, and then found below us, can pass a signal back to us. */
    if (chain != NULL && chain->count > 1 && depth > 0 && frame < depth_frame && depth_frame - frame < NESTED_NBYTES)
        turn = depth;
    if (is_fault) {
        fruitless_count = fruitless_address == info->si_addr ? fruitless_count : 0;
        fruitless_address = info->si_addr;
        turn += fruitless_count / FRUITLESS_MAX;
    }

    const struct sigaction *below = chain != NULL && turn < chain->count ? &chain->below[turn] : NULL;
    if (below == NULL || (!(below->sa_flags & SA_SIGINFO) && below->sa_handler == SIG_DFL)) {
        fall_to_default(watched->number, is_fault);
        return;
    }
    if (!(below->sa_flags & SA_SIGINFO)) {
        if (below->sa_handler == SIG_IGN) {
            if (is_fault)
                fall_to_default(watched->number, true); /* the kernel does not let anybody ignore one */
            return;
        }
        if (is_fault)
            fruitless_count++;
    }
    unsigned depth_before = depth;
    uintptr_t frame_before = depth_frame;
    depth = turn + 1;
    depth_frame = frame;
    call(below, watched->number, info, context);
    depth = depth_before;
    depth_frame = frame_before;
}

static void on_signal(int number, siginfo_t *info, void *context) {
    int error = errno;
    const struct watched_signal *watched = number == SIGBUS ? &bus : &segv;
    /* An AO is the kernel's early word of broken memory, that nobody has touched yet: no fault. */
    bool is_fault = info->si_code > 0 && !(number == SIGBUS && info->si_code == BUS_MCEERR_AO);
    /* relaxed: a switch; a fault at the same moment may meet either state */
    if (is_fault && atomic_load_explicit(&is_on, memory_order_relaxed)) {
        if (number == SIGSEGV) {
            if (info->si_code == SEGV_ACCERR)
                describe((uintptr_t)info->si_addr);
        } else if (info->si_code == BUS_ADRERR && repair((uintptr_t)info->si_addr)) {
            errno = error;
            return;
        }
    }
    pass_on(watched, info, context, is_fault);
    errno = error;
}

/* ---- being installed ------------------------------------------------------------------------------ */

static bool is_ours(const struct sigaction *action) {
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_signal;
}

static bool is_same(const struct sigaction *one, const struct sigaction *other) {
    return one->sa_flags == other->sa_flags && ((one->sa_flags & SA_SIGINFO) ? one->sa_sigaction == other->sa_sigaction
                                                                             : one->sa_handler == other->sa_handler);
}

static const struct chain *chain_of(struct watched_signal *watched) {
    /* relaxed: under the mutex, where all changes are made */
    return atomic_load_explicit(&watched->chain, memory_order_relaxed);
}

/* Make a list visible to the handler: an equal older one, or a copy of this. Under the mutex. */
static void publish(struct watched_signal *watched, const struct chain *wanted) {
    const struct chain *found = NULL;
    const struct chain *newest = chain_of(watched);
    static const struct chain *all[2]; /* the latest made for each signal, from which all others can be reached */
    const struct chain **last = &all[watched == &segv];
    for (found = *last; found != NULL; found = found->older) {
        bool equal = found->count == wanted->count;
        for (unsigned i = 0; equal && i < wanted->count; i++)
            equal = is_same(&found->below[i], &wanted->below[i]) &&
                    memcmp(&found->below[i].sa_mask, &wanted->below[i].sa_mask, sizeof(sigset_t)) == 0;
        if (equal)
            break;
    }
    if (found == NULL) {
        struct chain *made = malloc(sizeof *made);
        if (made == NULL)
            return; /* what lay below us first is better than nothing */
        *made = *wanted;
        made->older = *last;
        *last = found = made;
    }
    if (found != newest)
        /* sync: guard.chain. release: pairs with pass_on; the list is complete */
        atomic_store_explicit(&watched->chain, found, memory_order_release);
}

/* Remember that we lie over `action`. Under the mutex. */
static void lie_over(struct watched_signal *watched, const struct sigaction *action) {
    const struct chain *old = chain_of(watched);
    struct chain wanted = {.count = 1, .below = {*action}};
    bool leads_nowhere =
        !(action->sa_flags & SA_SIGINFO) && (action->sa_handler == SIG_DFL || action->sa_handler == SIG_IGN);
    for (unsigned i = 0; !leads_nowhere && old != NULL && i < old->count && wanted.count < CHAIN_MAX; i++)
        if (!is_same(&old->below[i], action))
            wanted.below[wanted.count++] = old->below[i];
    publish(watched, &wanted);
}

static void install(struct watched_signal *watched) {
    struct sigaction found, replaced;
    /* relaxed: a switch */
    if (!atomic_load_explicit(&watched->is_wanted, memory_order_relaxed) ||
        !atomic_load_explicit(&is_on, memory_order_relaxed) || sigaction(watched->number, NULL, &found) != 0 ||
        is_ours(&found))
        return;
    pthread_mutex_lock(&mutex);
    /* relaxed: under the mutex now */
    if (atomic_load_explicit(&is_on, memory_order_relaxed) && sigaction(watched->number, NULL, &found) == 0 &&
        !is_ours(&found)) {
        /* NODEFER: one below that raises the signal again means it to come at once. Interrupted system calls go
         * on or do not as they would without us. */
        struct sigaction ours = {.sa_sigaction = on_signal,
                                 .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER | (found.sa_flags & SA_RESTART)};
        lie_over(watched, &found);
        if (sigaction(watched->number, &ours, &replaced) == 0) {
            if (!is_ours(&replaced) && !is_same(&replaced, &found))
                lie_over(watched, &replaced); /* somebody came in between */
            SET(watched->was_installed, true);
            keep_spare();
        }
    }
    pthread_mutex_unlock(&mutex);
}

/* Take our handler out if it is on top. Else somebody remembers us, and we only pass on. Under the mutex. */
static void take_out(struct watched_signal *watched) {
    const struct chain *chain = chain_of(watched);
    struct sigaction found;
    if (chain == NULL || sigaction(watched->number, NULL, &found) != 0 || !is_ours(&found))
        return;
    struct chain rest = {.count = chain->count - 1};
    memcpy(rest.below, chain->below + 1, rest.count * sizeof rest.below[0]);
    if (rest.count == 0)
        rest = (struct chain){.count = 1, .below = {{.sa_handler = SIG_DFL}}};
    sigaction(watched->number, &chain->below[0], NULL);
    /* if the one just put back passes a signal on to us, it must not get it again */
    publish(watched, &rest);
}

void memlane_guard_come_on_top(void) {
    install(&bus);
    install(&segv);
}

bool memlane_guard_switch(bool on) {
    pthread_mutex_lock(&mutex);
    /* relaxed: a switch */
    bool was_on = atomic_exchange_explicit(&is_on, on, memory_order_relaxed);
    if (!on) {
        take_out(&bus);
        take_out(&segv);
    }
    pthread_mutex_unlock(&mutex);
    memlane_guard_come_on_top();
    return was_on;
}

static void before_fork(void) { pthread_mutex_lock(&mutex); }

static void after_fork(void) { pthread_mutex_unlock(&mutex); }

int memlane_guard_setup(void) { return -pthread_atfork(before_fork, after_fork, after_fork); }

/* ---- ranges --------------------------------------------------------------------------------------- */

/* Have a signal watched; whether our handler still has to be installed for the first time. */
static bool want(struct watched_signal *watched) {
    /* relaxed, both: switches that are only ever turned on, and installing is done under the mutex */
    atomic_store_explicit(&watched->is_wanted, true, memory_order_relaxed);
    return !atomic_load_explicit(&watched->was_installed, memory_order_relaxed);
}

/* Whether the coarse clock has gone on since this was last asked. Reading that clock is no system call. */
static bool has_ticked(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    uint64_t tick = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    /* relaxed, both: two threads that both look do no harm */
    bool has = atomic_load_explicit(&last_tick, memory_order_relaxed) != tick;
    if (has)
        atomic_store_explicit(&last_tick, tick, memory_order_relaxed);
    return has;
}

int memlane_guard_watch(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, uint64_t fence_nbytes,
                        int protection, const char *name, struct memlane_guarded **guarded) {
    struct memlane_guarded *entry = take_entry();
    if (entry == NULL)
        return -ENOMEM;
    uint64_t words[MEMLANE_GUARD_NAME_WORDS] = {0};
    memcpy(words, name, strnlen(name, NAME_NBYTES));
    begin_change(entry);
    SET(entry->truncated, 0);
    SET(entry->replacer, 0);
    SET(entry->page_nbytes, page_nbytes);
    SET(entry->fence_nbytes, fence_nbytes);
    SET(entry->protection, (uint32_t)protection);
    SET(entry->how, MEMLANE_GUARD_PAGE);
    SET(entry->only_in, 0);
    for (int i = 0; i < MEMLANE_GUARD_NAME_WORDS; i++)
        SET(entry->name[i], words[i]);
    set_place(entry, address, nbytes);
    end_change(entry);
    *guarded = entry;

    bool is_news = want(&bus);
    is_news |= fence_nbytes != 0 && want(&segv);
    if (is_news || has_ticked())
        memlane_guard_come_on_top();
    return 0;
}

void memlane_guard_forget(struct memlane_guarded *guarded) {
    if (guarded == &memlane_unguarded)
        return;
    uint32_t index = guarded->index;
    begin_change(guarded);
    SET(guarded->begin, 0);
    SET(guarded->end, 0);
    end_change(guarded);
    /* sync: guarded.owned. release: pairs with take_entry */
    atomic_store_explicit(&guarded->owned, 0, memory_order_release);
    /* relaxed: a hint */
    uint32_t first = atomic_load_explicit(&hint, memory_order_relaxed);
    while (index < first &&
           !atomic_compare_exchange_weak_explicit(&hint, &first, index, memory_order_relaxed, memory_order_relaxed))
        ;
}

void memlane_guard_begin_move(struct memlane_guarded *guarded) {
    if (guarded != &memlane_unguarded)
        begin_change(guarded);
}

void memlane_guard_end_move(struct memlane_guarded *guarded, unsigned char *address, uint64_t nbytes) {
    if (guarded == &memlane_unguarded)
        return;
    set_place(guarded, address, nbytes);
    end_change(guarded);
}

void memlane_guard_replace_whole(struct memlane_guarded *guarded) {
    if (guarded != &memlane_unguarded)
        SET(guarded->how, MEMLANE_GUARD_WHOLE);
}

void memlane_guard_allow(struct memlane_guarded *guarded, int protection) {
    /* relaxed: before pages allow it there is no access that needs it */
    if (guarded != &memlane_unguarded)
        atomic_fetch_or_explicit(&guarded->protection, (uint32_t)protection, memory_order_relaxed);
}

void memlane_guard_keep_from_children(struct memlane_guarded *guarded, bool kept) {
    if (guarded != &memlane_unguarded)
        SET(guarded->only_in, kept ? (uint32_t)getpid() : 0);
}
