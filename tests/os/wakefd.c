/* SPDX-License-Identifier: MIT
 *
 * What src/os/wakefd.h promises, between real processes: which ones are woken, which are not, what a death leaves, and that nothing
 * is done to descriptors of others. A wake that does not come is a hang, which the build ends.
 */
#include "../core/check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "os/fork.h"
#include "os/wakefd.h"

__attribute__((constructor)) static void set_up(void) { CHECK_EQUAL(0, memlane_fork_setup()); }

static struct memlane_wakefd opened(uint64_t slice_ns) {
    struct memlane_wakefd made;
    CHECK_EQUAL(0, memlane_wakefd_open(&made, slice_ns));
    CHECK(made.descriptor >= 0 && made.number != 0 && made.number <= UINT64_MAX >> 1);
    return made;
}

static bool is_readable(int descriptor) {
    struct pollfd look = {.fd = descriptor, .events = POLLIN};
    CHECK(poll(&look, 1, 0) >= 0);
    return look.revents & POLLIN;
}

static void wait_until_readable(int descriptor) {
    struct pollfd look = {.fd = descriptor, .events = POLLIN};
    while (poll(&look, 1, -1) != 1)
        CHECK_EQUAL(EINTR, errno);
}

static int send_to(const struct memlane_wakefd *wakefd) {
    return -memlane_wakefd_send(wakefd->number, wakefd->network);
}

/* Run `act` in a child, which dies with us. Returns its exit status; 128 and more: the signal that killed it. */
static pid_t begin(int (*act)(void *), void *of) {
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(act(of));
    }
    return pid;
}

static int end_of(pid_t pid) {
    int status;
    CHECK_EQUAL(pid, waitpid(pid, &status, 0));
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int in_a_child(int (*act)(void *), void *of) { return end_of(begin(act, of)); }

/* What a child tells its parent. */
static struct {
    struct memlane_wakefd wakefd;
    _Atomic int ready;
} *shared;

static void share(void) {
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(shared != MAP_FAILED);
}

static void wait_until_ready(int steps) {
    while (atomic_load(&shared->ready) < steps)
        sched_yield();
}

/* ---- waking -------------------------------------------------------------------------------------- */

static int send_as_a_child(void *of) { return send_to(of); }

TEST(a_send_of_another_process_makes_it_readable_until_it_is_drained) {
    for (uint64_t slice = 0; slice <= UINT64_C(3600000000000); slice += UINT64_C(3600000000000)) {
        struct memlane_wakefd wakefd = opened(slice);
        CHECK(!is_readable(wakefd.descriptor));
        CHECK_EQUAL(0, in_a_child(send_as_a_child, &wakefd));
        wait_until_readable(wakefd.descriptor);
        CHECK(is_readable(wakefd.descriptor)); /* a look takes nothing */
        CHECK_EQUAL(0, memlane_wakefd_drain(&wakefd));
        CHECK(!is_readable(wakefd.descriptor));
        CHECK_EQUAL(0, send_to(&wakefd));
        CHECK(is_readable(wakefd.descriptor));
        memlane_wakefd_close(&wakefd);
        CHECK_EQUAL(-1, wakefd.descriptor);
    }
}

TEST(all_of_it_is_close_on_exec_and_non_blocking_from_birth) {
    struct memlane_wakefd wakefd = opened(1000000000);
    int file = memfd_create("memlane test", MFD_CLOEXEC);
    (void)memlane_wakefd_watch(&wakefd, file);
    const int all[] = {wakefd.socket.descriptor, wakefd.timer.descriptor, wakefd.watch.descriptor};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] >= 0) {
            CHECK(fcntl(all[i], F_GETFD) & FD_CLOEXEC);
            CHECK(fcntl(all[i], F_GETFL) & O_NONBLOCK);
        }
    CHECK(fcntl(wakefd.gathered.descriptor, F_GETFD) & FD_CLOEXEC); /* nothing is ever read from that one */
    memlane_wakefd_close(&wakefd);
    close(file);
}

TEST(a_full_queue_is_as_good_as_a_send_and_one_drain_empties_it) {
    struct memlane_wakefd wakefd = opened(0);
    for (int i = 0; i < 1000; i++)
        CHECK_EQUAL(0, send_to(&wakefd));
    CHECK(is_readable(wakefd.descriptor));
    for (int drains = 0; is_readable(wakefd.descriptor); drains++) {
        CHECK(drains < 64); /* one, unless somebody has raised the limit of the kernel by far */
        CHECK_EQUAL(0, memlane_wakefd_drain(&wakefd));
    }
    CHECK_EQUAL(0, send_to(&wakefd));
    CHECK(is_readable(wakefd.descriptor));
    memlane_wakefd_close(&wakefd);
}

/* Each undrained datagram counts against the room of the socket that sent it. */
TEST(those_who_are_stopped_and_drain_nothing_keep_no_send_from_others) {
    enum { STOPPED = 200 };
    struct rlimit limit;
    CHECK_EQUAL(0, getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    static struct memlane_wakefd stopped[STOPPED];
    for (int i = 0; i < STOPPED; i++) {
        stopped[i] = opened(0);
        for (int sends = 0; sends < 16; sends++)
            CHECK_EQUAL(0, send_to(&stopped[i]));
    }
    struct memlane_wakefd awake = opened(0);
    CHECK_EQUAL(0, send_to(&awake));
    CHECK(is_readable(awake.descriptor));
    memlane_wakefd_close(&awake);
    for (int i = 0; i < STOPPED; i++) {
        CHECK(is_readable(stopped[i].descriptor));
        memlane_wakefd_close(&stopped[i]);
    }
}

TEST(a_slice_that_is_over_makes_it_readable_without_anybody_and_a_drain_begins_the_next_one) {
    struct timespec before, after;
    struct memlane_wakefd wakefd = opened(20000000);
    CHECK(!is_readable(wakefd.descriptor));
    for (int i = 0; i < 3; i++) {
        clock_gettime(CLOCK_MONOTONIC, &before);
        CHECK_EQUAL(0, memlane_wakefd_drain(&wakefd));
        wait_until_readable(wakefd.descriptor);
        clock_gettime(CLOCK_MONOTONIC, &after);
        CHECK((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec >= 20000000L);
    }
    memlane_wakefd_close(&wakefd);
}

TEST(strangers_who_know_the_name_and_not_the_secret_wake_nobody) {
    struct memlane_wakefd wakefd = opened(0);
    struct sockaddr_un name;
    socklen_t length = sizeof name;
    CHECK_EQUAL(0, getsockname(wakefd.descriptor, (struct sockaddr *)&name, &length)); /* as every user can list it */
    int stranger = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    for (size_t nbytes = 0; nbytes <= 8; nbytes++)
        CHECK_EQUAL(nbytes, sendto(stranger, "strangers", nbytes, 0, (struct sockaddr *)&name, length));
    CHECK(!is_readable(wakefd.descriptor));
    CHECK_EQUAL(0, send_to(&wakefd));
    CHECK(is_readable(wakefd.descriptor));
    close(stranger);
    memlane_wakefd_close(&wakefd);
}

/* ---- deaths and forks ---------------------------------------------------------------------------- */

static int own_one_and_be_killed(void *unused) {
    (void)unused;
    shared->wakefd = opened(1000000000);
    atomic_store(&shared->ready, 1);
    pause();
    return 1;
}

TEST(a_send_to_one_who_was_killed_says_at_once_that_nobody_is_there) {
    share();
    pid_t pid = begin(own_one_and_be_killed, NULL);
    wait_until_ready(1);
    CHECK_EQUAL(0, send_to(&shared->wakefd));
    kill(pid, SIGKILL);
    CHECK_EQUAL(128 + SIGKILL, end_of(pid));
    CHECK_EQUAL(ECONNREFUSED, send_to(&shared->wakefd));
}

static int live_on(void *unused) {
    (void)unused;
    atomic_fetch_add(&shared->ready, 1);
    pause();
    return 1;
}

static pid_t *orphan; /* shared */

static int fork_one_that_outlives_us(void *unused) {
    (void)unused;
    shared->wakefd = opened(1000000000);
    pid_t pid = fork();
    if (pid == 0)
        _exit(live_on(NULL));
    *orphan = pid;
    atomic_fetch_add(&shared->ready, 1);
    pause();
    return 1;
}

TEST(a_child_does_not_keep_the_descriptor_of_its_parent_alive) {
    share();
    orphan = mmap(NULL, sizeof *orphan, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = begin(fork_one_that_outlives_us, NULL);
    wait_until_ready(2);
    kill(pid, SIGKILL);
    CHECK_EQUAL(128 + SIGKILL, end_of(pid));
    int result = send_to(&shared->wakefd);
    kill(*orphan, SIGKILL);
    CHECK_EQUAL(ECONNREFUSED, result);
}

static int use_that_of_the_parent(void *of) {
    struct memlane_wakefd *wakefd = of;
    CHECK_EQUAL(ECHILD, -memlane_wakefd_drain(wakefd));
    CHECK_EQUAL(ECHILD, -memlane_wakefd_watch(wakefd, 0));
    CHECK_EQUAL(0, send_to(wakefd)); /* the parent can be woken, like anybody */
    memlane_wakefd_close(wakefd);
    struct memlane_wakefd own = opened(0); /* maybe at the same numbers */
    CHECK(!is_readable(own.descriptor));
    CHECK_EQUAL(0, send_to(&own));
    CHECK(is_readable(own.descriptor));
    return 0;
}

TEST(a_child_takes_no_wake_of_its_parent_and_has_its_own) {
    struct memlane_wakefd wakefd = opened(0);
    CHECK_EQUAL(0, send_to(&wakefd)); /* so there is a sender that a child inherits */
    CHECK_EQUAL(0, in_a_child(use_that_of_the_parent, &wakefd));
    CHECK(is_readable(wakefd.descriptor));
    CHECK_EQUAL(0, memlane_wakefd_drain(&wakefd));
    CHECK(!is_readable(wakefd.descriptor));
    CHECK_EQUAL(0, in_a_child(send_as_a_child, &wakefd));
    CHECK(is_readable(wakefd.descriptor));
    memlane_wakefd_close(&wakefd);
}

/* ---- descriptors of others ----------------------------------------------------------------------- */

/* Pairs of sockets at all the numbers that were closed; returns the ends to look at. */
enum { PAIRS = 64 };
static int pairs[PAIRS][2];

static void close_all_and_reuse(void) {
    for (int descriptor = 3; descriptor < 4096; descriptor++)
        close(descriptor);
    for (int i = 0; i < PAIRS; i++) {
        CHECK_EQUAL(0, socketpair(AF_UNIX, SOCK_DGRAM, 0, pairs[i]));
        CHECK_EQUAL(1, send(pairs[i][0], "x", 1, 0));
        CHECK_EQUAL(1, send(pairs[i][1], "x", 1, 0));
    }
}

/* One datagram waits at each end, and no other one. */
static void check_untouched(void) {
    char bytes[8];
    for (int i = 0; i < PAIRS; i++)
        for (int end = 0; end < 2; end++) {
            CHECK_EQUAL(1, recv(pairs[i][end], bytes, sizeof bytes, MSG_DONTWAIT));
            CHECK_EQUAL('x', bytes[0]);
            CHECK(recv(pairs[i][end], bytes, sizeof bytes, MSG_DONTWAIT) < 0 && errno == EAGAIN);
        }
}

static int use_what_others_have_now(void *unused) {
    (void)unused;
    struct memlane_wakefd wakefd = opened(0), gathered = opened(1000000000);
    CHECK_EQUAL(0, send_to(&wakefd));
    close_all_and_reuse();
    CHECK_EQUAL(EBADF, -memlane_wakefd_drain(&wakefd));
    CHECK_EQUAL(EBADF, -memlane_wakefd_drain(&gathered));
    CHECK_EQUAL(ECONNREFUSED, send_to(&wakefd)); /* from a new sender, for the old one is not ours */
    memlane_wakefd_close(&wakefd);
    memlane_wakefd_close(&gathered);
    check_untouched();
    struct memlane_wakefd another = opened(0);
    CHECK_EQUAL(0, send_to(&another));
    CHECK(is_readable(another.descriptor));
    return 0;
}

TEST(one_whose_number_a_later_one_has_is_not_taken_for_it) {
    struct memlane_wakefd lost = opened(0);
    close(lost.descriptor);
    struct memlane_wakefd later = opened(0);
    CHECK_EQUAL(lost.descriptor, later.descriptor);
    CHECK_EQUAL(0, send_to(&later));
    CHECK_EQUAL(EBADF, -memlane_wakefd_drain(&lost));
    memlane_wakefd_close(&lost);
    CHECK(is_readable(later.descriptor));
    memlane_wakefd_close(&later);
}

TEST(numbers_that_others_use_by_now_are_neither_read_nor_written_nor_closed) {
    CHECK_EQUAL(0, in_a_child(use_what_others_have_now, NULL));
}

/* ---- namespaces ---------------------------------------------------------------------------------- */

enum { REFUSED = 77 };
static int region; /* the file of one */

static int send_from_another_network(void *of) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0)
        return REFUSED;
    if (memlane_wakefd_send(((struct memlane_wakefd *)of)->number, ((struct memlane_wakefd *)of)->network) !=
        -EHOSTUNREACH)
        return 1;
    return -memlane_wakefd_stir(region);
}

TEST(one_in_another_network_is_told_so_and_wakes_those_who_watch_the_file) {
    for (uint64_t slice = 0; slice <= UINT64_C(3600000000000); slice += UINT64_C(3600000000000)) {
        struct memlane_wakefd wakefd = opened(slice);
        region = memfd_create("memlane test", MFD_CLOEXEC);
        CHECK_EQUAL(0, memlane_wakefd_watch(&wakefd, region));
        CHECK_EQUAL(0, memlane_wakefd_watch(&wakefd, region)); /* twice is once */
        int descriptor = slice ? wakefd.descriptor : wakefd.watch.descriptor;
        CHECK(!is_readable(descriptor));
        int result = in_a_child(send_from_another_network, &wakefd);
        if (result == REFUSED) {
            puts("  (without another network: unshare is refused here)");
            CHECK_EQUAL(0, memlane_wakefd_stir(region));
        } else {
            CHECK_EQUAL(0, result);
        }
        wait_until_readable(descriptor);
        CHECK_EQUAL(0, memlane_wakefd_drain(&wakefd));
        CHECK(!is_readable(descriptor));
        for (int i = 0; i < 1000; i++)
            CHECK_EQUAL(0, memlane_wakefd_stir(region));
        CHECK(is_readable(descriptor));
        CHECK_EQUAL(0, memlane_wakefd_drain(&wakefd));
        CHECK(!is_readable(descriptor));
        memlane_wakefd_close(&wakefd);
        close(region);
    }
}

static int send_from_other_processes_and_mounts(void *of) {
    if (unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS) != 0)
        return REFUSED;
    return in_a_child(send_as_a_child, of);
}

TEST(pid_and_mount_namespaces_are_no_bounds) {
    struct memlane_wakefd wakefd = opened(0);
    int result = in_a_child(send_from_other_processes_and_mounts, &wakefd);
    if (result == REFUSED)
        puts("  (not tried: unshare is refused here)");
    else {
        CHECK_EQUAL(0, result);
        CHECK(is_readable(wakefd.descriptor));
    }
    memlane_wakefd_close(&wakefd);
}

/* Where the kernel does not say in which network a socket is, a refusal may mean either. */
TEST(where_the_network_is_not_known_one_who_is_gone_may_be_elsewhere) {
    struct memlane_wakefd wakefd = opened(0);
    CHECK_EQUAL(0, -memlane_wakefd_send(wakefd.number, 0));
    CHECK(is_readable(wakefd.descriptor));
    memlane_wakefd_close(&wakefd);
    CHECK_EQUAL(EHOSTUNREACH, -memlane_wakefd_send(wakefd.number, 0));
}

TEST(a_file_that_nobody_may_watch_or_stir_is_an_error_and_leaves_the_rest) {
    struct memlane_wakefd wakefd = opened(0);
    CHECK(memlane_wakefd_watch(&wakefd, -1) < 0);
    CHECK_EQUAL(EBADF, -memlane_wakefd_stir(-1));
    CHECK_EQUAL(0, send_to(&wakefd));
    CHECK_EQUAL(0, memlane_wakefd_drain(&wakefd));
    memlane_wakefd_close(&wakefd);
}

MAIN
