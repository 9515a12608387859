# SPDX-License-Identifier: MIT
"""The functions of src/os that the binding uses, and those of the system that it calls itself. Declarations only."""

from libc.stdint cimport int64_t, uint32_t, uint64_t

cdef extern from "os/fork.h" nogil:
    int memlane_fork_setup()
    uint64_t memlane_fork_epoch()
    bint memlane_fork_is(uint64_t epoch)
    int memlane_fork_open(int base, const char *path, uint64_t *serial)
    void memlane_fork_close(int descriptor, uint64_t serial)

cdef extern from "os/lockbytes.h" nogil:
    bint memlane_is_file(int descriptor, uint64_t device, uint64_t inode)
    bint memlane_is_memory_file(int descriptor)
    bint memlane_is_network_file(int descriptor)
    int memlane_lockbyte_try(int descriptor, int64_t byte, bint for_writing)
    int memlane_lockbyte_release(int descriptor, int64_t byte)
    int memlane_lockbyte_probe(int descriptor, int64_t byte, bint for_writing)

cdef extern from "os/guard.h" nogil:
    struct memlane_guarded:
        pass
    memlane_guarded memlane_unguarded
    bint memlane_guard_is_truncated(const memlane_guarded *guarded)
    int memlane_guard_setup()
    bint memlane_guard_switch(bint on)
    void memlane_guard_come_on_top()
    int memlane_guard_watch(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, uint64_t fence_nbytes,
                            int protection, const char *name, memlane_guarded **guarded)
    void memlane_guard_forget(memlane_guarded *guarded)
    void memlane_guard_begin_move(memlane_guarded *guarded)
    void memlane_guard_end_move(memlane_guarded *guarded, unsigned char *address, uint64_t nbytes)
    void memlane_guard_replace_whole(memlane_guarded *guarded)
    void memlane_guard_allow(memlane_guarded *guarded, int protection)
    void memlane_guard_keep_from_children(memlane_guarded *guarded, bint kept)

cdef extern from "os/map.h" nogil:
    enum:
        MEMLANE_MADV_COLD
        MEMLANE_MADV_PAGEOUT
        MEMLANE_MADV_POPULATE_READ
        MEMLANE_MADV_POPULATE_WRITE
        MEMLANE_MADV_DONTNEED_LOCKED
        MEMLANE_MADV_COLLAPSE
    struct memlane_file:
        uint64_t nbytes
        uint64_t page_nbytes
        uint64_t device
        uint64_t inode
        unsigned int mode
        int is_zero_device
    struct memlane_mapping_place:
        uint64_t page_nbytes
        uint64_t guard_nbytes
        size_t wanted
        int exactly
    uint64_t memlane_page_nbytes()
    int memlane_look_at(int fd, memlane_file *file)
    int memlane_map(int fd, uint64_t offset, uint64_t nbytes, int protection, int flags,
                    const memlane_mapping_place *place, unsigned char **address)
    int memlane_unmap(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, uint64_t guard_nbytes)
    int memlane_remap(unsigned char **address, uint64_t nbytes, uint64_t new_nbytes, uint64_t page_nbytes,
                      uint64_t guard_nbytes)
    int memlane_sync(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int flags)
    int memlane_advise(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int advice)
    int memlane_protect(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int protection)
    int memlane_lock(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, int on_fault)
    int memlane_unlock(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes)
    int memlane_name(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes, const char *name)
    int memlane_residency(unsigned char *address, uint64_t nbytes, uint64_t *pages, uint64_t *resident)
    int memlane_reserve(int fd, uint64_t offset, uint64_t nbytes)
    int memlane_populate(void *address, uint64_t nbytes)
    void memlane_copy_to_new(char *target, const unsigned char *source, uint64_t nbytes)
    int memlane_populate_for_reading(unsigned char *address, uint64_t nbytes, uint64_t page_nbytes)
    int memlane_write_changed(int fd, const unsigned char *source, uint64_t nbytes, uint64_t offset,
                              const memlane_guarded *guarded, uint64_t *written)

cdef extern from "os/mutex.h" nogil:
    struct memlane_mutex:
        pass
    void memlane_mutex_reset(memlane_mutex *mutex)
    bint memlane_mutex_try(memlane_mutex *mutex)
    void memlane_mutex_lock(memlane_mutex *mutex)
    void memlane_mutex_unlock(memlane_mutex *mutex)

cdef extern from "os/clock.h" nogil:
    uint64_t memlane_clock_of_process()

cdef extern from "os/semwait.h" nogil:
    uint64_t memlane_monotonic_ns()
    uint64_t memlane_boottime_ns()
    uint64_t memlane_coarse_ns()
    int memlane_semaphore_wait(void *semaphore, uint64_t deadline_ns)
    int memlane_semaphore_post(void *semaphore)
    int memlane_semaphore_make(void *memory)
    void *memlane_semaphore_open(const char *name, int *error)
    void memlane_semaphore_close(void *semaphore)
    void memlane_pause(uint64_t ns)

cdef extern from "<unistd.h>" nogil:
    int close_descriptor "close"(int fd)
    int getpid()

cdef extern from "<errno.h>" nogil:
    enum:
        _EINTR "EINTR"
        _EINVAL "EINVAL"
        _EFAULT "EFAULT"
        _ENOMEM "ENOMEM"
        _EEXIST "EEXIST"
        _EPERM "EPERM"
        _EACCES "EACCES"

cdef extern from "<sys/mman.h>" nogil:
    enum:
        PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC
        MAP_SHARED, MAP_PRIVATE, MAP_ANONYMOUS, MAP_NORESERVE, MAP_POPULATE, MAP_HUGETLB
        MS_SYNC, MS_ASYNC, MS_INVALIDATE
        MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_REMOVE
        MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTFORK, MADV_DOFORK, MADV_DONTDUMP, MADV_DODUMP
        MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_WIPEONFORK, MADV_KEEPONFORK

cdef extern from "<sys/stat.h>" nogil:
    enum:
        S_IFREG, S_IFBLK, S_IFDIR, S_IFCHR

cdef extern from "<string.h>" nogil:
    void *memmem(const void *haystack, size_t haystack_nbytes, const void *needle, size_t needle_nbytes)
    void *memrchr(const void *haystack, int byte, size_t nbytes)
    int memcmp(const void *one, const void *other, size_t nbytes)

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t nbytes)

cdef extern from "<sched.h>" nogil:
    int sched_yield()
