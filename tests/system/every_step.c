/* SPDX-License-Identifier: MIT
 *
 * Takes a traced child to an exact instruction of the text: the code of the extension's modules and of their library.
 *
 * First one child is taken through all of an operation, to learn its points. A point is
 *
 *   - inside of the text: that the child stands before an instruction; with a watched file only if the one before
 *     it has changed the file;
 *   - outside: that a system call begins, or ends.
 *
 * Inside this child is single-stepped. Outside it runs freely, up to the next system call or to a breakpoint: one at
 * the beginning of every function of the text, and one where the text was left for another function. A point inside
 * is then known by the address, and how often the child had come by there before. So a later child, which starts from
 * the same memory and does the same, gets there by that one breakpoint.
 *
 * Callers: one thread, the parent that forked the child. Calls return while the child stands still, is asleep in a
 * system call, or has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BREAKPOINTS_MAX = 16384, SLOTS = 4 * BREAKPOINTS_MAX, TEXTS_MAX = 64, INT3 = 0xCC };
enum outcome { AT_POINT, ENDED, ASLEEP, FAILED };

struct breakpoint {
    uint64_t address;
    unsigned char covered; /* the byte of the program below it */
};

struct point {
    uint64_t address; /* of an instruction; 0: a beginning or an end of a system call */
    uint64_t time; /* the first, the second ... */
};

struct text {
    uint64_t begin, end;
};

struct stepper {
    pid_t pid;
    struct text texts[TEXTS_MAX];
    size_t texts_count;
    bool waiting; /* it runs; what it was told last is not over */
    bool stepping; /* what it was told last was a single step */
    int signal; /* to be handed on */
    int memory; /* /proc/PID/mem */
    uint64_t system_calls; /* beginnings and ends of them so far */
    uint64_t instructions; /* of the text, so far */
    uint64_t passed; /* how often the child came by the point that is looked for */
    size_t count;
    struct breakpoint breakpoints[BREAKPOINTS_MAX];
    uint16_t slots[SLOTS]; /* where those are, by address, and one more; 0: none */
    /* while learning */
    uint32_t *visits; /* of each byte of the text: how often an instruction there was stepped to */
    struct point *points;
    size_t found, room;
    const char *watched; /* path of the file, or NULL */
    unsigned char *mapped, *copied;
    size_t mapped_nbytes;
};

static uint64_t reg(const struct stepper *stepper, size_t offset) {
    return (uint64_t)ptrace(PTRACE_PEEKUSER, stepper->pid, offset, NULL);
}

/* Which byte of all the text it is, or SIZE_MAX. */
static size_t place_of(const struct stepper *stepper, uint64_t address) {
    size_t before = 0;
    for (size_t i = 0; i < stepper->texts_count; i++) {
        const struct text *text = &stepper->texts[i];
        if (address >= text->begin && address < text->end)
            return before + (address - text->begin);
        before += text->end - text->begin;
    }
    return SIZE_MAX;
}

static bool in_text(const struct stepper *stepper, uint64_t address) { return place_of(stepper, address) != SIZE_MAX; }

static bool poke(const struct stepper *stepper, uint64_t address, unsigned char byte) {
    return pwrite(stepper->memory, &byte, 1, (off_t)address) == 1;
}

/* The slot of the breakpoint at `address`, or the empty one where it would be. */
static uint16_t *slot_of(struct stepper *stepper, uint64_t address) {
    size_t at = (size_t)(address * UINT64_C(0x9E3779B97F4A7C15) >> 32) % SLOTS;
    while (stepper->slots[at] && stepper->breakpoints[stepper->slots[at] - 1].address != address)
        at = (at + 1) % SLOTS;
    return &stepper->slots[at];
}

static struct breakpoint *breakpoint_at(struct stepper *stepper, uint64_t address) {
    uint16_t found = *slot_of(stepper, address);
    return found ? &stepper->breakpoints[found - 1] : NULL;
}

static bool set_breakpoint(struct stepper *stepper, uint64_t address) {
    unsigned char covered;
    if (breakpoint_at(stepper, address))
        return true;
    if (stepper->count == BREAKPOINTS_MAX || pread(stepper->memory, &covered, 1, (off_t)address) != 1)
        return false;
    stepper->breakpoints[stepper->count++] = (struct breakpoint){address, covered};
    *slot_of(stepper, address) = (uint16_t)stepper->count;
    return poke(stepper, address, INT3);
}

/* The text was left: have the child stop where it comes back, if it was left by a call. */
static bool guard_return(struct stepper *stepper) {
    uint64_t address = 0, stack = reg(stepper, offsetof(struct user_regs_struct, rsp));
    if (pread(stepper->memory, &address, sizeof address, (off_t)stack) != sizeof address)
        return false;
    return !in_text(stepper, address) || set_breakpoint(stepper, address);
}

/* The state letter of the child in /proc. */
static char state_of(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return '?';
    ssize_t nbytes = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    if (nbytes <= 0)
        return '?';
    text[nbytes] = '\0';
    const char *after = strrchr(text, ')');
    return after && after[1] ? after[2] : '?';
}

/* Let the child do one thing, if it does not already, and wait until it stands still, has ended, or is asleep in the
 * kernel. */
static enum outcome do_one(struct stepper *stepper, int request, int *status) {
    struct timespec pause = {0, 20000};
    bool may_sleep = request != PTRACE_SINGLESTEP; /* there are no system calls in the text */
    if (!stepper->waiting && ptrace(request, stepper->pid, NULL, (void *)(intptr_t)stepper->signal) != 0)
        return FAILED;
    stepper->signal = 0;
    stepper->waiting = true;
    for (int looks = 0;; looks++) {
        pid_t found = waitpid(stepper->pid, status, (may_sleep ? WNOHANG : 0) | __WALL);
        if (found == stepper->pid)
            break;
        if (found < 0 && errno != EINTR)
            return FAILED;
        /* Twice in a row: it may be on its way from one stop to the next. */
        if (found == 0 && looks > 50 && state_of(stepper->pid) == 'S') {
            nanosleep(&pause, NULL);
            if (waitpid(stepper->pid, status, WNOHANG | __WALL) == stepper->pid)
                break;
            if (state_of(stepper->pid) == 'S')
                return ASLEEP;
        }
        if (found == 0)
            nanosleep(&pause, NULL);
    }
    stepper->waiting = false;
    return WIFSTOPPED(*status) ? AT_POINT : ENDED;
}

/* Step over what a breakpoint covers, if one stands at `address`, where the child stands. */
static enum outcome do_step(struct stepper *stepper, uint64_t address, int *status) {
    struct breakpoint *covering = breakpoint_at(stepper, address);
    if (covering && !poke(stepper, address, covering->covered))
        return FAILED;
    enum outcome outcome = do_one(stepper, PTRACE_SINGLESTEP, status);
    if (outcome == AT_POINT && covering && !poke(stepper, address, INT3))
        return FAILED;
    return outcome;
}

/* Whether the watched file is another one than at the last look. */
static bool has_changed(struct stepper *stepper) {
    if (stepper->mapped == NULL) {
        int descriptor = open(stepper->watched, O_RDONLY | O_CLOEXEC);
        off_t nbytes = descriptor < 0 ? -1 : lseek(descriptor, 0, SEEK_END);
        void *mapped = nbytes <= 0 ? MAP_FAILED : mmap(NULL, (size_t)nbytes, PROT_READ, MAP_SHARED, descriptor, 0);
        if (descriptor >= 0)
            close(descriptor);
        if (mapped == MAP_FAILED)
            return false;
        stepper->copied = malloc((size_t)nbytes);
        if (stepper->copied == NULL) {
            munmap(mapped, (size_t)nbytes);
            return false;
        }
        stepper->mapped = mapped;
        stepper->mapped_nbytes = (size_t)nbytes;
        memcpy(stepper->copied, stepper->mapped, stepper->mapped_nbytes);
        return true;
    }
    if (memcmp(stepper->copied, stepper->mapped, stepper->mapped_nbytes) == 0)
        return false;
    memcpy(stepper->copied, stepper->mapped, stepper->mapped_nbytes);
    return true;
}

struct stepper *stepper_begin(pid_t pid, const struct text *texts, size_t count) {
    char path[64];
    struct stepper *stepper = count > TEXTS_MAX ? NULL : calloc(1, sizeof *stepper);
    if (stepper == NULL)
        return NULL;
    stepper->pid = pid;
    memcpy(stepper->texts, texts, count * sizeof *texts);
    stepper->texts_count = count;
    snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    stepper->memory = open(path, O_RDWR | O_CLOEXEC);
    if (stepper->memory < 0 ||
        ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) != 0) {
        if (stepper->memory >= 0)
            close(stepper->memory);
        free(stepper);
        return NULL;
    }
    return stepper;
}

void stepper_free(struct stepper *stepper) {
    if (stepper->mapped)
        munmap(stepper->mapped, stepper->mapped_nbytes);
    free(stepper->copied);
    free(stepper->visits);
    close(stepper->memory);
    free(stepper);
}

/* ---- learning -------------------------------------------------------------------------------------------------- */

/* Begin to learn: `functions` are those of the text, `points` has room for `room` of what will be found. */
bool stepper_prepare(struct stepper *stepper, const uint64_t *functions, size_t count, struct point *points,
                     size_t room, const char *watched) {
    stepper->points = points;
    stepper->room = room;
    stepper->watched = watched;
    size_t nbytes = 0;
    for (size_t i = 0; i < stepper->texts_count; i++)
        nbytes += stepper->texts[i].end - stepper->texts[i].begin;
    stepper->visits = calloc(nbytes, sizeof *stepper->visits);
    if (stepper->visits == NULL)
        return false;
    if (watched)
        has_changed(stepper);
    for (size_t i = 0; i < count; i++)
        if (!set_breakpoint(stepper, functions[i]))
            return false;
    return true;
}

static bool note(struct stepper *stepper, uint64_t address, uint64_t time) {
    if (stepper->found == stepper->room)
        return false;
    stepper->points[stepper->found++] = (struct point){address, time};
    return true;
}

/* Take the child through everything, to its end. ASLEEP: call again, when something was done about it. */
enum outcome stepper_learn(struct stepper *stepper) {
    for (;;) {
        int status = 0;
        uint64_t at = stepper->waiting ? 0 : reg(stepper, offsetof(struct user_regs_struct, rip));
        stepper->stepping = !stepper->waiting && in_text(stepper, at);
        if (stepper->stepping) {
            uint32_t times = ++stepper->visits[place_of(stepper, at)];
            if (!stepper->watched && !note(stepper, at, times))
                return FAILED;
        }
        enum outcome outcome =
            stepper->stepping ? do_step(stepper, at, &status) : do_one(stepper, PTRACE_SYSCALL, &status);
        if (outcome != AT_POINT)
            return outcome;
        int stopped_by = WSTOPSIG(status);
        if (stopped_by == (SIGTRAP | 0x80)) {
            if (!note(stepper, 0, ++stepper->system_calls))
                return FAILED;
            if (stepper->watched)
                has_changed(stepper);
        } else if (stopped_by != SIGTRAP) {
            stepper->signal = stopped_by;
        } else {
            at = reg(stepper, offsetof(struct user_regs_struct, rip));
            if (stepper->stepping) {
                stepper->instructions++;
                if (!in_text(stepper, at) && !guard_return(stepper))
                    return FAILED;
                if (stepper->watched && has_changed(stepper) && in_text(stepper, at) &&
                    !note(stepper, at, stepper->visits[place_of(stepper, at)] + 1))
                    return FAILED;
            } else if (!breakpoint_at(stepper, at - 1) ||
                       ptrace(PTRACE_POKEUSER, stepper->pid, offsetof(struct user_regs_struct, rip),
                              (void *)(at - 1)) != 0) {
                return FAILED;
            }
        }
    }
}

size_t stepper_found(const struct stepper *stepper) { return stepper->found; }

uint64_t stepper_instructions(const struct stepper *stepper) { return stepper->instructions; }

uint64_t stepper_system_calls(const struct stepper *stepper) { return stepper->system_calls; }

/* ---- later children ------------------------------------------------------------------------------------------- */

/* Let the child run to a point, or to its end if that has the time 0. ASLEEP: call again, with the same point. */
enum outcome stepper_run(struct stepper *stepper, uint64_t address, uint64_t time) {
    int request = address || time == 0 ? PTRACE_CONT : PTRACE_SYSCALL;
    if (address && stepper->count == 0 && !set_breakpoint(stepper, address))
        return FAILED;
    for (;;) {
        int status = 0;
        enum outcome outcome = do_one(stepper, request, &status);
        if (outcome != AT_POINT)
            return outcome;
        int stopped_by = WSTOPSIG(status);
        if (stopped_by != SIGTRAP && stopped_by != (SIGTRAP | 0x80)) {
            stepper->signal = stopped_by;
            continue;
        }
        if (address &&
            (reg(stepper, offsetof(struct user_regs_struct, rip)) != address + 1 ||
             ptrace(PTRACE_POKEUSER, stepper->pid, offsetof(struct user_regs_struct, rip), (void *)address) != 0))
            return FAILED;
        if (++stepper->passed == time)
            return AT_POINT;
        while (address && reg(stepper, offsetof(struct user_regs_struct, rip)) == address) {
            outcome = do_step(stepper, address, &status);
            if (outcome != AT_POINT)
                return outcome;
            if (WSTOPSIG(status) != SIGTRAP) {
                stepper->signal = WSTOPSIG(status);
                break;
            }
            /* An instruction that repeats itself, such as rep movs: each time counts. */
            if (reg(stepper, offsetof(struct user_regs_struct, rip)) == address && ++stepper->passed == time)
                return AT_POINT;
        }
    }
}

/* Let the child go for good, whole again; with SIGSTOP it stands still until it is told to go on. */
bool stepper_detach(struct stepper *stepper, int signal) {
    for (size_t i = 0; i < stepper->count; i++)
        if (!poke(stepper, stepper->breakpoints[i].address, stepper->breakpoints[i].covered))
            return false;
    stepper->count = 0;
    memset(stepper->slots, 0, sizeof stepper->slots);
    return ptrace(PTRACE_DETACH, stepper->pid, NULL, (void *)(intptr_t)signal) == 0;
}
