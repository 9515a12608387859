/* SPDX-License-Identifier: MIT */
#include "runtime/wait.h"

#include <sched.h>

#include "core/words.h"
#include "os/semwait.h"

static _Atomic uint64_t intervals_slept;
static bool has_several_cpus = true; /* set before there are threads */

__attribute__((constructor)) static void count_cpus(void) {
    cpu_set_t usable;
    /* an error: more of them than the set has room for */
    has_several_cpus = sched_getaffinity(0, sizeof usable, &usable) != 0 || CPU_COUNT(&usable) > 1;
}

uint64_t memlane_intervals_slept(void) {
    return atomic_load_explicit(&intervals_slept, memory_order_relaxed); /* relaxed: for tests */
}

void memlane_interval_note(uint64_t began) {
    if (memlane_monotonic_ns() - began >= MEMLANE_SLICE_NS)
        atomic_fetch_add_explicit(&intervals_slept, 1, memory_order_relaxed); /* relaxed: for tests */
}

/* ---- spinning ------------------------------------------------------------------------------------ */

void memlane_spinning_begin(struct memlane_spinning *spinning) {
    atomic_init(&spinning->budget_ns, MEMLANE_SPIN_MAX_NS);
}

static uint64_t budget_of(const struct memlane_spinning *spinning) {
    return atomic_load_explicit(&spinning->budget_ns, memory_order_relaxed); /* relaxed: any number is right */
}

static void set_budget(struct memlane_spinning *spinning, uint64_t ns) {
    atomic_store_explicit(&spinning->budget_ns, ns, memory_order_relaxed); /* relaxed: any number is right */
}

uint64_t memlane_spinning_limit(const struct memlane_spinning *spinning, enum memlane_wait how) {
    if (how == MEMLANE_WAIT_SPIN)
        return MEMLANE_SPIN_ONLY_NS;
    return how == MEMLANE_WAIT_ADAPTIVE && has_several_cpus ? budget_of(spinning) : 0;
}

static void learn_spin(struct memlane_spinning *spinning, bool found) {
    uint64_t budget = budget_of(spinning);
    if (!found)
        budget = budget > MEMLANE_SPIN_MIN_NS ? budget / 2 : 0;
    else if (budget < MEMLANE_SPIN_MIN_NS / 2)
        budget = MEMLANE_SPIN_MIN_NS;
    else
        budget = 2 * budget < MEMLANE_SPIN_MAX_NS ? 2 * budget : MEMLANE_SPIN_MAX_NS;
    set_budget(spinning, budget);
}

/* A sleep that was ended at once says that the other side is busy: spinning pays again. */
static void learn_sleep(struct memlane_spinning *spinning, bool woken, uint64_t slept_ns) {
    if (woken && slept_ns < 2 * MEMLANE_SPIN_MAX_NS && budget_of(spinning) == 0)
        set_budget(spinning, MEMLANE_SPIN_MAX_NS / 2);
}

bool memlane_waiting_spin(struct memlane_waiting *waiting, enum memlane_wait how) {
    uint64_t limit = memlane_spinning_limit(waiting->spinning, how);
    if (limit == 0)
        return false;
    for (uint64_t began = memlane_monotonic_ns();;) {
        for (int looks = 0; looks < 32; looks++) {
            if (waiting->is_due(waiting->of)) {
                learn_spin(waiting->spinning, true);
                return true;
            }
            memlane_cpu_relax();
        }
        uint64_t spun = memlane_monotonic_ns() - began;
        if (spun >= limit) {
            learn_spin(waiting->spinning, false);
            return false;
        }
        if (spun >= MEMLANE_SPIN_MAX_NS)
            sched_yield(); /* the process that is waited for may need this CPU */
    }
}

/* ---- sleeping ------------------------------------------------------------------------------------ */

void memlane_waiting_begin(struct memlane_waiting *waiting, uint64_t deadline, struct memlane_spinning *spinning,
                           memlane_is_due *is_due, void *of) {
    *waiting = (struct memlane_waiting){
        .deadline = deadline, .pause = MEMLANE_PAUSE_MIN_NS, .spinning = spinning, .is_due = is_due, .of = of};
}

bool memlane_waiting_is_over(const struct memlane_waiting *waiting) {
    return waiting->deadline != MEMLANE_FOREVER && memlane_monotonic_ns() >= waiting->deadline;
}

uint64_t memlane_waiting_slice_end(const struct memlane_waiting *waiting) {
    uint64_t end = memlane_monotonic_ns() + MEMLANE_SLICE_NS;
    return end < waiting->deadline ? end : waiting->deadline;
}

void memlane_waiting_poll(struct memlane_waiting *waiting) {
    uint64_t end = memlane_waiting_slice_end(waiting), now = memlane_monotonic_ns();
    if (now < end)
        memlane_pause(waiting->pause < end - now ? waiting->pause : end - now);
    if (waiting->pause < MEMLANE_PAUSE_MAX_NS)
        waiting->pause *= 2;
}

/* Sleep behind an announcement and a second look. Returns: whether a token woke us. */
static bool sleep_slice(struct memlane_waiting *waiting, const struct memlane_bell *bell) {
    void *semaphore = memlane_bell_address(bell);
    uint64_t began = memlane_monotonic_ns();
    bool woken = false;
    if (semaphore != NULL)
        woken = memlane_semaphore_wait(semaphore, memlane_waiting_slice_end(waiting)) == 0;
    else
        memlane_waiting_poll(waiting);
    if (waiting->spinning != NULL)
        learn_sleep(waiting->spinning, woken, memlane_monotonic_ns() - began);
    if (!woken)
        memlane_interval_note(began);
    return woken;
}

void memlane_waiting_sleep(struct memlane_waiting *waiting, _Atomic uint32_t *count, const struct memlane_bell *bell) {
    bool woken = false;
    memlane_waiters_announce(count);
    if (!waiting->is_due(waiting->of))
        woken = sleep_slice(waiting, bell);
    if (!woken) /* else the waker has taken the announcement away */
        memlane_waiters_withdraw(count);
}

void memlane_waiting_sleep_armed(struct memlane_waiting *waiting, _Atomic uint64_t *armed, uint32_t index,
                                 const struct memlane_bell *bell) {
    memlane_armed_announce(armed, index);
    if (!waiting->is_due(waiting->of))
        sleep_slice(waiting, bell);
    memlane_armed_withdraw(armed, index);
}
