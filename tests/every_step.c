/* SPDX-License-Identifier: MIT
 *
 * Runs a traced child to an exact instruction of one piece of code: the extension's text.
 *
 * A child that stands still before an operation has passed no point yet. Points are
 *
 *   - inside of the text: each instruction, or with a watched file each one that changed the file;
 *   - outside: each beginning and each end of a system call; and each way back into the text.
 *
 * Inside the child is single-stepped. Outside it runs freely up to the next system call or to a breakpoint: one
 * stands where the text was left for another function, and one at the beginning of each function of the text, or of
 * those only that were seen to be entered when a child ran through it all before.
 *
 * Callers: one thread, the parent that forked the child. Every call returns while the child stands still, is asleep
 * in a system call, or has ended.
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

enum { BREAKPOINTS_MAX = 4096, INT3 = 0xCC };
enum outcome { AT_POINT, ENDED, ASLEEP, FAILED };

struct breakpoint {
    uint64_t address;
    unsigned char covered; /* the byte of the program below it */
    bool hit;
};

struct stepper {
    pid_t pid;
    int status; /* of waitpid, once ended */
    uint64_t begin, end; /* of the text */
    int64_t points; /* passed so far */
    int64_t instructions; /* of the text, passed so far */
    int64_t system_calls; /* stops at them, passed so far */
    bool in_system_call;
    bool waiting; /* it runs; what it was told last is not over */
    bool stepping; /* what it was told last was a single step */
    int signal; /* to be handed on */
    int memory; /* /proc/PID/mem */
    const char *watched; /* path of the file, or NULL */
    unsigned char *stores; /* with a watched file, for each byte of the text: an instruction there changed it */
    bool learning; /* which ones those are: looks after every instruction, else after those only */
    uint64_t stepped; /* where the instruction is that was stepped last */
    unsigned char *mapped, *copied;
    size_t mapped_nbytes;
    size_t count;
    struct breakpoint breakpoints[BREAKPOINTS_MAX];
};

static uint64_t reg(const struct stepper *stepper, size_t offset) {
    errno = 0;
    return (uint64_t)ptrace(PTRACE_PEEKUSER, stepper->pid, offset, NULL);
}

static uint64_t pc(const struct stepper *stepper) { return reg(stepper, offsetof(struct user_regs_struct, rip)); }

static bool in_text(const struct stepper *stepper, uint64_t address) {
    return address >= stepper->begin && address < stepper->end;
}

static bool poke(const struct stepper *stepper, uint64_t address, unsigned char byte) {
    return pwrite(stepper->memory, &byte, 1, (off_t)address) == 1;
}

static struct breakpoint *breakpoint_at(struct stepper *stepper, uint64_t address) {
    for (size_t i = 0; i < stepper->count; i++)
        if (stepper->breakpoints[i].address == address)
            return &stepper->breakpoints[i];
    return NULL;
}

static bool set_breakpoint(struct stepper *stepper, uint64_t address) {
    unsigned char covered;
    if (breakpoint_at(stepper, address))
        return true;
    if (stepper->count == BREAKPOINTS_MAX || pread(stepper->memory, &covered, 1, (off_t)address) != 1)
        return false;
    stepper->breakpoints[stepper->count++] = (struct breakpoint){address, covered, false};
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

/* Wait until the child stands still, has ended, or is asleep in the kernel. */
static enum outcome wait_for(struct stepper *stepper, int *status) {
    bool may_sleep = stepper->in_system_call; /* nothing else makes it sleep */
    struct timespec pause = {0, 20000};
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
        if (found == 0 && looks > 5)
            nanosleep(&pause, NULL);
    }
    stepper->waiting = false;
    if (!WIFSTOPPED(*status)) {
        stepper->status = *status;
        return ENDED;
    }
    return AT_POINT;
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

struct stepper *stepper_begin(pid_t pid, uint64_t begin, uint64_t end, const char *watched, unsigned char *stores,
                              bool learning) {
    char path[64];
    struct stepper *stepper = calloc(1, sizeof *stepper);
    if (stepper == NULL)
        return NULL;
    stepper->pid = pid;
    stepper->begin = begin;
    stepper->end = end;
    stepper->watched = watched;
    stepper->stores = stores;
    stepper->learning = learning;
    snprintf(path, sizeof path, "/proc/%d/mem", (int)pid);
    stepper->memory = open(path, O_RDWR | O_CLOEXEC);
    if (stepper->memory < 0 ||
        ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)) != 0) {
        if (stepper->memory >= 0)
            close(stepper->memory);
        free(stepper);
        return NULL;
    }
    if (watched)
        has_changed(stepper);
    return stepper;
}

bool stepper_add_entry(struct stepper *stepper, uint64_t address) { return set_breakpoint(stepper, address); }

/* The places where the text was entered; returns how many. */
size_t stepper_entered(const struct stepper *stepper, uint64_t *addresses) {
    size_t found = 0;
    for (size_t i = 0; i < stepper->count; i++)
        if (stepper->breakpoints[i].hit)
            addresses[found++] = stepper->breakpoints[i].address;
    return found;
}

int64_t stepper_points(const struct stepper *stepper) { return stepper->points; }

int64_t stepper_instructions(const struct stepper *stepper) { return stepper->instructions; }

int64_t stepper_system_calls(const struct stepper *stepper) { return stepper->system_calls; }

int stepper_status(const struct stepper *stepper) { return stepper->status; }

/* Whether the instruction that was stepped last has changed the watched file. To compare it all each time takes
 * longer than the step. */
static bool stored(struct stepper *stepper) {
    unsigned char *known = &stepper->stores[stepper->stepped - stepper->begin];
    if ((!stepper->learning && !*known) || !has_changed(stepper))
        return false;
    *known = 1;
    return true;
}

/* What has happened since the child was let run; counts the points. */
static enum outcome account(struct stepper *stepper, int status) {
    int stopped_by = WSTOPSIG(status);
    if (stopped_by == (SIGTRAP | 0x80)) {
        stepper->in_system_call = !stepper->in_system_call;
        stepper->points++;
        stepper->system_calls++;
        if (stepper->watched)
            has_changed(stepper);
        return AT_POINT;
    }
    if (stopped_by != SIGTRAP) {
        stepper->signal = stopped_by;
        return AT_POINT;
    }
    uint64_t at = pc(stepper);
    if (stepper->stepping) {
        stepper->instructions++;
        if (!stepper->watched || stored(stepper))
            stepper->points++;
        if (!in_text(stepper, at) && !guard_return(stepper))
            return FAILED;
        return AT_POINT;
    }
    struct breakpoint *hit = breakpoint_at(stepper, at - 1);
    if (!hit)
        return FAILED;
    hit->hit = true;
    if (ptrace(PTRACE_POKEUSER, stepper->pid, offsetof(struct user_regs_struct, rip), (void *)(at - 1)) != 0)
        return FAILED;
    if (!stepper->watched)
        stepper->points++;
    return AT_POINT;
}

/* Let the child run until it has passed `point` points. ASLEEP: call again, when something was done about it. */
enum outcome stepper_run(struct stepper *stepper, int64_t point) {
    int status = 0;
    while (stepper->waiting || stepper->points < point) {
        if (!stepper->waiting) {
            uint64_t at = pc(stepper);
            struct breakpoint *covering = breakpoint_at(stepper, at);
            stepper->stepping = in_text(stepper, at) && !stepper->in_system_call;
            stepper->stepped = at;
            if (stepper->stepping && covering && !poke(stepper, at, covering->covered))
                return FAILED;
            if (ptrace(stepper->stepping ? PTRACE_SINGLESTEP : PTRACE_SYSCALL, stepper->pid, NULL,
                       (void *)(intptr_t)stepper->signal) != 0)
                return FAILED;
            stepper->signal = 0;
            stepper->waiting = true;
            if (stepper->stepping && covering) {
                enum outcome outcome = wait_for(stepper, &status);
                if (outcome != AT_POINT)
                    return outcome;
                if (!poke(stepper, at, INT3))
                    return FAILED;
                if (account(stepper, status) == FAILED)
                    return FAILED;
                continue;
            }
        }
        enum outcome outcome = wait_for(stepper, &status);
        if (outcome != AT_POINT)
            return outcome;
        if (account(stepper, status) == FAILED)
            return FAILED;
    }
    return AT_POINT;
}

/* Let the child go for good, whole again; with SIGSTOP it stands still until it is told to go on. */
bool stepper_detach(struct stepper *stepper, int signal) {
    for (size_t i = 0; i < stepper->count; i++)
        if (!poke(stepper, stepper->breakpoints[i].address, stepper->breakpoints[i].covered))
            return false;
    stepper->count = 0;
    return ptrace(PTRACE_DETACH, stepper->pid, NULL, (void *)(intptr_t)signal) == 0;
}

void stepper_free(struct stepper *stepper) {
    if (stepper->mapped)
        munmap(stepper->mapped, stepper->mapped_nbytes);
    free(stepper->copied);
    close(stepper->memory);
    free(stepper);
}
