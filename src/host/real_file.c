/* Files and folders of the Linux host. */
#include "base/check.h"
#include "base/mem.h"
#include "host/real_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
    FILE_MODE = 0640,
    DIR_MODE = 0750,
    ZERO_WRITE_BYTES = 1 << 16,
    DIR_NAMES_GROW = 64,
};

/* Opens a regular file and nothing else: -1 with errno otherwise. */
static int open_regular(const char *path, int mode)
{
    struct stat st;
    int fd;
    /* O_NONBLOCK keeps a named pipe from blocking; a regular file does not know it. */
    do
        fd = open(path, mode | O_NONBLOCK, FILE_MODE);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        return fd;
    close(fd);
    errno = EISDIR;
    return -1;
}

enum err real_file_open(struct host *h, const char *path, uint32_t flags, struct host_file **out,
                        struct err_detail *why)
{
    (void)h;
    int mode = O_CLOEXEC | ((flags & HOST_OPEN_WRITE) ? O_RDWR : O_RDONLY);
    if (flags & HOST_OPEN_CREATE)
        mode |= O_CREAT;
    if (flags & HOST_OPEN_EXCLUSIVE)
        mode |= O_EXCL;
    struct real_file *f = mem_zalloc(1, sizeof *f);
    if (f == NULL)
        return real_err_set(why, ENOMEM, "open", path);
    f->base.ops = &real_ops;
    f->fd = open_regular(path, mode);
    if (f->fd < 0) {
        int code = errno;
        mem_free(f);
        return real_err_set(why, code, "open", path);
    }
    *out = &f->base;
    return ERR_OK;
}

void real_file_close(struct host_file *base)
{
    struct real_file *f = (struct real_file *)base;
    /* Nothing is lost by an error here: what must last has been synced. */
    close(f->fd);
    mem_free(f);
}

enum err real_file_read(struct host_file *base, uint64_t at, void *out, size_t n)
{
    struct real_file *f = (struct real_file *)base;
    char *p = out;
    if (at > INT64_MAX - (uint64_t)n)
        return ERR_CORRUPT;
    while (n > 0) {
        ssize_t got = pread(f->fd, p, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return real_err_of(errno);
        if (got == 0)
            return ERR_CORRUPT;
        p += got;
        at += (uint64_t)got;
        n -= (size_t)got;
    }
    return ERR_OK;
}

enum err real_file_write(struct host_file *base, uint64_t at, const void *bytes, size_t n)
{
    struct real_file *f = (struct real_file *)base;
    const char *p = bytes;
    if (at > INT64_MAX - (uint64_t)n)
        return ERR_NO_SPACE;
    while (n > 0) {
        ssize_t put = pwrite(f->fd, p, n, (off_t)at);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? real_err_of(errno) : ERR_IO;
        p += put;
        at += (uint64_t)put;
        n -= (size_t)put;
    }
    return ERR_OK;
}

enum err real_file_sync(struct host_file *base)
{
    struct real_file *f = (struct real_file *)base;
    int failed;
    if (atomic_load_explicit(&f->sync_failed, memory_order_relaxed))
        return ERR_SYNC_FAILED;
    do
        failed = fdatasync(f->fd);
    while (failed != 0 && errno == EINTR);
    if (failed == 0)
        return ERR_OK;
    atomic_store_explicit(&f->sync_failed, true, memory_order_relaxed);
    return ERR_SYNC_FAILED;
}

enum err real_file_size(struct host_file *base, uint64_t *out)
{
    struct real_file *f = (struct real_file *)base;
    struct stat st;
    if (fstat(f->fd, &st) != 0)
        return real_err_of(errno);
    *out = (uint64_t)st.st_size;
    return ERR_OK;
}

enum err real_file_truncate(struct host_file *base, uint64_t size)
{
    struct real_file *f = (struct real_file *)base;
    int failed;
    if (size > INT64_MAX)
        return ERR_NO_SPACE;
    do
        failed = ftruncate(f->fd, (off_t)size);
    while (failed != 0 && errno == EINTR);
    return failed == 0 ? ERR_OK : real_err_of(errno);
}

/* Zeros from `at` to `size`: blocks that are written, not only reserved. Syncing a write into a
 * reserved block also commits its conversion to the journal, which nearly doubles the time (see
 * the README). */
static enum err write_zeros(struct real_file *f, uint64_t at, uint64_t size)
{
    static const char zeros[ZERO_WRITE_BYTES];
    while (at < size) {
        uint64_t left = size - at;
        size_t n = left < sizeof zeros ? (size_t)left : sizeof zeros;
        TRY(real_file_write(&f->base, at, zeros, n));
        at += n;
    }
    return ERR_OK;
}

enum err real_file_allocate(struct host_file *base, uint64_t size)
{
    struct real_file *f = (struct real_file *)base;
    uint64_t old_size;
    int failed;
    TRY(real_file_size(base, &old_size));
    if (size > INT64_MAX)
        return ERR_NO_SPACE;
    if (size <= old_size)
        return ERR_OK;
    do
        failed = fallocate(f->fd, 0, 0, (off_t)size);
    while (failed != 0 && errno == EINTR);
    if (failed != 0 && errno != EOPNOTSUPP && errno != ENOSYS)
        return real_err_of(errno);
    TRY(write_zeros(f, old_size, size));
    /* Here, so that the next small sync does not have to wait for all the zeros. */
    return real_file_sync(base);
}

enum err real_file_lock(struct host_file *base)
{
    struct real_file *f = (struct real_file *)base;
    int failed;
    do
        failed = flock(f->fd, LOCK_EX | LOCK_NB);
    while (failed != 0 && errno == EINTR);
    if (failed == 0)
        return ERR_OK;
    return errno == EWOULDBLOCK ? ERR_IN_USE : real_err_of(errno);
}

enum err real_file_write_out(struct host_file *base, uint64_t at, uint64_t n)
{
    enum { WRITE_AND_WAIT = SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                            SYNC_FILE_RANGE_WAIT_AFTER };
    struct real_file *f = (struct real_file *)base;
    if (atomic_load_explicit(&f->sync_failed, memory_order_relaxed))
        return ERR_SYNC_FAILED;
    if (at > INT64_MAX || n > INT64_MAX - at)
        return ERR_OK; /* no file has bytes there */
    if (sync_file_range(f->fd, (off_t)at, (off_t)n, WRITE_AND_WAIT) == 0 || errno == ENOSYS ||
        errno == EINVAL || errno == ESPIPE)
        return ERR_OK; /* done, or not offered here */
    /* The kernel tells of a lost write once: the sync that comes would not hear of it. */
    atomic_store_explicit(&f->sync_failed, true, memory_order_relaxed);
    return ERR_SYNC_FAILED;
}

/* ---- names ---- */

enum err real_rename(struct host *h, const char *from, const char *to)
{
    (void)h;
    return rename(from, to) == 0 ? ERR_OK : real_err_of(errno);
}

enum err real_remove(struct host *h, const char *path)
{
    (void)h;
    return remove(path) == 0 ? ERR_OK : real_err_of(errno == EEXIST ? EIO : errno);
}

enum err real_dir_create(struct host *h, const char *path, struct err_detail *why)
{
    (void)h;
    struct stat st;
    if (mkdir(path, DIR_MODE) == 0)
        return ERR_OK;
    if (errno != EEXIST)
        return real_err_set(why, errno, "create the folder", path);
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return ERR_OK;
    return err_set(why, ERR_IN_USE, "%s is a file, not a folder", path);
}

enum err real_dir_sync(struct host *h, const char *path)
{
    (void)h;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return real_err_of(errno);
    int failed;
    do
        failed = fsync(fd);
    while (failed != 0 && errno == EINTR);
    close(fd);
    return failed == 0 ? ERR_OK : ERR_SYNC_FAILED;
}

/* The names of one folder, copied. */
struct dir_names {
    char **names;
    size_t n, cap;
};

static enum err names_add(struct dir_names *d, const char *name)
{
    if (d->n == HOST_DIR_ENTRIES_MAX)
        return ERR_LIMIT;
    if (d->n == d->cap) {
        size_t cap = d->cap == 0 ? DIR_NAMES_GROW : d->cap * 2;
        char **moved = mem_realloc(d->names, cap * sizeof *moved);
        if (moved == NULL)
            return ERR_NO_MEMORY;
        d->names = moved;
        d->cap = cap;
    }
    size_t bytes = strlen(name) + 1;
    char *copy = mem_alloc(bytes);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    memcpy(copy, name, bytes);
    d->names[d->n++] = copy;
    return ERR_OK;
}

static enum err names_read(struct dir_names *d, DIR *dir)
{
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (entry == NULL)
            return errno == 0 ? ERR_OK : real_err_of(errno);
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            TRY(names_add(d, entry->d_name));
    }
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

enum err real_dir_list(struct host *h, const char *path, bool (*each)(void *arg, const char *name),
                       void *arg)
{
    (void)h;
    struct dir_names d = {0};
    DIR *dir = opendir(path);
    if (dir == NULL)
        return real_err_of(errno);
    enum err e = names_read(&d, dir);
    closedir(dir);
    if (e == ERR_OK && d.n > 0) {
        qsort(d.names, d.n, sizeof *d.names, name_order);
        for (size_t i = 0; i < d.n && each(arg, d.names[i]); i++) {
        }
    }
    for (size_t i = 0; i < d.n; i++)
        mem_free(d.names[i]);
    mem_free(d.names);
    return e;
}

enum err real_path_exists(struct host *h, const char *path, bool *out)
{
    (void)h;
    struct stat st;
    *out = stat(path, &st) == 0;
    return *out || errno == ENOENT || errno == ENOTDIR ? ERR_OK : real_err_of(errno);
}

enum err real_disk_free(struct host *h, const char *path, uint64_t *out)
{
    (void)h;
    struct statvfs st;
    int failed;
    do
        failed = statvfs(path, &st);
    while (failed != 0 && errno == EINTR);
    if (failed != 0)
        return real_err_of(errno);
    *out = (uint64_t)st.f_bavail * st.f_frsize;
    return ERR_OK;
}
