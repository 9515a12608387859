/* SPDX-License-Identifier: MIT */
#include "os/lockbytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static int lock(int descriptor, int command, int64_t byte, short type, short *found) {
    struct flock request = {.l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1, .l_pid = 0};
    int result;
    do
        result = fcntl(descriptor, command, &request);
    while (result < 0 && errno == EINTR);
    if (result < 0)
        return errno == EACCES ? -EAGAIN : -errno; /* either errno says that somebody holds it */
    if (found)
        *found = request.l_type;
    return 0;
}

int memlane_lockbyte_try(int descriptor, int64_t byte, bool for_writing) {
    return lock(descriptor, F_OFD_SETLK, byte, for_writing ? F_WRLCK : F_RDLCK, NULL);
}

int memlane_lockbyte_release(int descriptor, int64_t byte) {
    return lock(descriptor, F_OFD_SETLK, byte, F_UNLCK, NULL);
}

int memlane_lockbyte_probe(int descriptor, int64_t byte, bool for_writing) {
    short found = F_UNLCK;
    int result = lock(descriptor, F_OFD_GETLK, byte, for_writing ? F_WRLCK : F_RDLCK, &found);
    return result < 0 ? result : found != F_UNLCK;
}

bool memlane_is_file(int descriptor, uint64_t device, uint64_t inode) {
    struct stat found;
    return fstat(descriptor, &found) == 0 && found.st_dev == device && found.st_ino == inode;
}

bool memlane_is_network_file(int descriptor) {
    /* f_type of statfs(2): NFS, SMB, CIFS, SMB2, 9P, AFS, Ceph, Lustre, GPFS, BeeGFS, OCFS2, GFS2 */
    static const uint32_t network[] = {0x6969,     0x517b,     0xff534d42, 0xfe534d42, 0x01021997, 0x5346414f,
                                       0x00c36400, 0x0bd00bd0, 0x47504653, 0x19830326, 0x7461636f, 0x01161970};
    struct statfs found;
    if (fstatfs(descriptor, &found) != 0)
        return false;
    for (size_t i = 0; i < sizeof network / sizeof *network; i++)
        if ((uint32_t)found.f_type == network[i])
            return true;
    return false;
}

bool memlane_is_memory_file(int descriptor) {
    /* f_type of statfs(2): tmpfs, which memfds lie on, too, and ramfs */
    struct statfs found;
    return fstatfs(descriptor, &found) == 0 &&
           ((uint32_t)found.f_type == 0x01021994 || (uint32_t)found.f_type == 0x858458f6);
}
