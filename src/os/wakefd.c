/* SPDX-License-Identifier: MIT */
#include "os/wakefd.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "os/fork.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14 */
#endif

/* More than a queue has room for, where nobody has raised net.unix.max_dgram_qlen; what is left stays readable. */
enum { DATAGRAMS_MAX = 64 };
/* Names tried until one is free: that even two are taken is no chance. */
enum { NAMES_MAX = 8 };

static const struct memlane_owned NONE = {.descriptor = -1, .serial = 0};

/* The upper half of a number is the name, the lower one the secret. */
enum { SECRET_BITS = 31 };

static uint32_t secret_of(uint64_t number) { return (uint32_t)(number & ((UINT64_C(1) << SECRET_BITS) - 1)); }

static socklen_t name_of(uint64_t number, struct sockaddr_un *name) {
    memset(name, 0, sizeof *name);
    name->sun_family = AF_UNIX;
    /* the first byte stays 0: an abstract name */
    int length =
        snprintf(name->sun_path + 1, sizeof name->sun_path - 1, "memlane.%08x", (unsigned)(number >> SECRET_BITS));
    return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
}

/* In which network namespace a socket is; 0: not known. */
static uint64_t network_of(int descriptor) {
    uint64_t cookie = 0;
    socklen_t length = sizeof cookie;
    struct stat found;
    if (getsockopt(descriptor, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &length) == 0 && cookie != 0)
        return cookie;
    /* an older kernel: of the thread that asks, which opened the socket a moment ago */
    return stat("/proc/self/ns/net", &found) == 0 ? UINT64_C(1) << 63 | found.st_ino : 0;
}

/* ---- what is opened ------------------------------------------------------------------------------ */

static int make_socket(void *unused) {
    (void)unused;
    int made = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return made < 0 ? -errno : made;
}

static int make_timer(void *unused) {
    (void)unused;
    int made = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    return made < 0 ? -errno : made;
}

static int make_watch(void *unused) {
    (void)unused;
    int made = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    return made < 0 ? -errno : made;
}

static int make_gathered(void *unused) {
    (void)unused;
    int made = epoll_create1(EPOLL_CLOEXEC);
    return made < 0 ? -errno : made;
}

static int own(struct memlane_owned *owned, int (*make)(void *)) {
    struct memlane_owned made;
    made.descriptor = memlane_fork_register(make, NULL, &made.serial);
    if (made.descriptor < 0)
        return made.descriptor;
    *owned = made;
    return 0;
}

static void let_go(struct memlane_owned *owned) {
    if (owned->descriptor >= 0)
        memlane_fork_close(owned->descriptor, owned->serial);
    *owned = NONE;
}

/* Timers, watches and gathered ones share a file in the kernel, so only whether they are open is seen of them: they are
 * looked at together with a socket, of which more is seen. */
static bool is_ours(const struct memlane_owned *owned) { return memlane_fork_holds(owned->descriptor, owned->serial); }

static int gather(struct memlane_wakefd *wakefd, int descriptor) {
    struct epoll_event event = {.events = EPOLLIN, .data = {.fd = descriptor}};
    return epoll_ctl(wakefd->gathered.descriptor, EPOLL_CTL_ADD, descriptor, &event) == 0 ? 0 : -errno;
}

/* Drop in the kernel whatever does not bear the secret. Without it, where filters are refused, strangers may wake us for
 * nothing. */
static void refuse_strangers(int descriptor, uint32_t secret) {
    struct sock_filter steps[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* less than four bytes are dropped here */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, secret, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
        BPF_STMT(BPF_RET | BPF_K, 0),
    };
    struct sock_fprog program = {.len = sizeof steps / sizeof *steps, .filter = steps};
    (void)setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static int bind_somewhere(struct memlane_wakefd *wakefd) {
    for (int tries = 0; tries < NAMES_MAX; tries++) {
        struct sockaddr_un name;
        uint64_t number;
        if (getrandom(&number, sizeof number, GRND_NONBLOCK) != (ssize_t)sizeof number)
            return -errno;
        number >>= 1;
        if (number == 0)
            continue;
        refuse_strangers(wakefd->socket.descriptor, secret_of(number)); /* before anybody can send */
        socklen_t length = name_of(number, &name);
        if (bind(wakefd->socket.descriptor, (struct sockaddr *)&name, length) == 0) {
            wakefd->number = number;
            return 0;
        }
        if (errno != EADDRINUSE)
            return -errno;
    }
    return -EADDRINUSE;
}

int memlane_wakefd_open(struct memlane_wakefd *wakefd, uint64_t slice_ns) {
    *wakefd = (struct memlane_wakefd){.descriptor = -1,
                                      .epoch = memlane_fork_epoch(),
                                      .slice_ns = slice_ns,
                                      .socket = NONE,
                                      .timer = NONE,
                                      .watch = NONE,
                                      .gathered = NONE};
    int result = own(&wakefd->socket, make_socket);
    if (result == 0)
        result = bind_somewhere(wakefd);
    if (result == 0 && slice_ns != 0) {
        result = own(&wakefd->timer, make_timer);
        if (result == 0)
            result = own(&wakefd->gathered, make_gathered);
        if (result == 0)
            result = gather(wakefd, wakefd->socket.descriptor);
        if (result == 0)
            result = gather(wakefd, wakefd->timer.descriptor);
    }
    if (result != 0) {
        memlane_wakefd_close(wakefd);
        return result;
    }
    wakefd->network = network_of(wakefd->socket.descriptor);
    wakefd->descriptor = slice_ns != 0 ? wakefd->gathered.descriptor : wakefd->socket.descriptor;
    return 0;
}

int memlane_wakefd_watch(struct memlane_wakefd *wakefd, int region) {
    char link[32];
    int result = 0;
    if (!memlane_fork_is(wakefd->epoch))
        return -ECHILD;
    if (wakefd->watch.descriptor < 0) {
        result = own(&wakefd->watch, make_watch);
        if (result == 0 && wakefd->gathered.descriptor >= 0)
            result = is_ours(&wakefd->gathered) ? gather(wakefd, wakefd->watch.descriptor) : -EBADF;
    } else if (!is_ours(&wakefd->watch)) {
        return -EBADF;
    }
    if (result == 0) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", region);
        if (inotify_add_watch(wakefd->watch.descriptor, link, IN_ATTRIB) >= 0)
            return 0;
        return -errno; /* the watch of other regions stays */
    }
    let_go(&wakefd->watch);
    return result;
}

static void drain_socket(int descriptor) {
    char bytes[DATAGRAMS_MAX][4];
    struct iovec parts[DATAGRAMS_MAX];
    struct mmsghdr datagrams[DATAGRAMS_MAX];
    memset(datagrams, 0, sizeof datagrams);
    for (int i = 0; i < DATAGRAMS_MAX; i++) {
        parts[i] = (struct iovec){.iov_base = bytes[i], .iov_len = sizeof bytes[i]};
        datagrams[i].msg_hdr.msg_iov = &parts[i];
        datagrams[i].msg_hdr.msg_iovlen = 1;
    }
    /* an error: there is nothing, or it is told at the next look */
    (void)recvmmsg(descriptor, datagrams, DATAGRAMS_MAX, MSG_DONTWAIT, NULL);
}

static void drain_watch(int descriptor) {
    _Alignas(struct inotify_event) char events[4096]; /* one for each region mostly: the kernel merges equal ones */
    ssize_t nbytes = read(descriptor, events, sizeof events);
    (void)nbytes; /* an error: there is nothing */
}

int memlane_wakefd_drain(struct memlane_wakefd *wakefd) {
    if (!memlane_fork_is(wakefd->epoch))
        return -ECHILD;
    if (!is_ours(&wakefd->socket))
        return -EBADF;
    drain_socket(wakefd->socket.descriptor);
    if (wakefd->watch.descriptor >= 0) {
        if (!is_ours(&wakefd->watch))
            return -EBADF;
        drain_watch(wakefd->watch.descriptor);
    }
    if (wakefd->timer.descriptor >= 0) {
        struct itimerspec slice = {.it_value = {.tv_sec = (time_t)(wakefd->slice_ns / 1000000000u),
                                                .tv_nsec = (long)(wakefd->slice_ns % 1000000000u)}};
        if (!is_ours(&wakefd->timer))
            return -EBADF;
        /* setting it takes back that it has run out */
        if (timerfd_settime(wakefd->timer.descriptor, 0, &slice, NULL) != 0)
            return -errno;
    }
    return 0;
}

void memlane_wakefd_close(struct memlane_wakefd *wakefd) {
    let_go(&wakefd->gathered);
    let_go(&wakefd->watch);
    let_go(&wakefd->timer);
    let_go(&wakefd->socket);
    wakefd->descriptor = -1;
}

/* ---- sending ------------------------------------------------------------------------------------- */

/* The socket of this process from which all its threads send: serial << 24 | descriptor + 1; 0: none yet. A child, and a
 * process whose descriptors were closed behind its back, find that it is not theirs, and make another one. */
static _Atomic uint64_t sender;
enum { SENDER_BITS = 24 };

static int open_sender(struct memlane_owned *owned) {
    /* relaxed, all of it: the number says all there is, and the kernel knows the descriptor */
    uint64_t found = atomic_load_explicit(&sender, memory_order_relaxed);
    if (found != 0) {
        *owned = (struct memlane_owned){.descriptor = (int)(found & ((1u << SENDER_BITS) - 1)) - 1,
                                        .serial = found >> SENDER_BITS};
        if (is_ours(owned))
            return 0;
    }
    int result = own(owned, make_socket);
    if (result != 0)
        return result;
    uint64_t made = owned->serial << SENDER_BITS | (uint64_t)(owned->descriptor + 1);
    /* relaxed: as above */
    if (owned->descriptor + 1 < 1 << SENDER_BITS &&
        atomic_compare_exchange_strong_explicit(&sender, &found, made, memory_order_relaxed, memory_order_relaxed))
        return 0;
    let_go(owned); /* another thread was faster */
    return -EAGAIN;
}

static int send_from(int descriptor, uint64_t number) {
    struct sockaddr_un name;
    socklen_t length = name_of(number, &name);
    uint32_t secret = htonl(secret_of(number));
    ssize_t sent;
    do
        sent =
            sendto(descriptor, &secret, sizeof secret, MSG_DONTWAIT | MSG_NOSIGNAL, (struct sockaddr *)&name, length);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

int memlane_wakefd_send(uint64_t number, uint64_t network) {
    struct memlane_owned from = NONE, fresh = NONE;
    int result = -EAGAIN;
    for (int tries = 0; tries < 4 && result == -EAGAIN; tries++)
        result = open_sender(&from);
    if (result != 0)
        return result;
    result = send_from(from.descriptor, number);
    /* Either its queue is full, or what others have not drained yet has used up our own room. The second try has room of
     * its own. */
    if ((result == -EAGAIN || result == -ENOBUFS) && own(&fresh, make_socket) == 0) {
        result = send_from(fresh.descriptor, number);
        let_go(&fresh);
    }
    if (result == -EAGAIN)
        return 0;
    /* The name is random, so what has it is its owner. Nobody has it: the owner is gone, or elsewhere. */
    if (result == -ECONNREFUSED && (network == 0 || network_of(from.descriptor) != network))
        return -EHOSTUNREACH;
    return result;
}

int memlane_wakefd_stir(int region) { return futimens(region, NULL) == 0 ? 0 : -errno; }
