/* File calls of the simulated host: each is counted, traced, and may suffer the fault that a test
 * has asked for; then it reaches the simulated disk. */
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "host/sim_int.h"

#include <string.h>

struct sim_file {
    struct host_file base;
    struct sim_host *host;
    struct list link;        /* in sim_host.files */
    struct sim_inode *inode; /* NULL when the process is dead */
    bool writable;
    bool sync_failed;
};

enum sim_call {
    CALL_OPEN = 1,
    CALL_READ,
    CALL_WRITE,
    CALL_SYNC,
    CALL_SIZE,
    CALL_TRUNCATE,
    CALL_ALLOCATE,
    CALL_LOCK,
    CALL_RENAME,
    CALL_REMOVE,
    CALL_DIR_CREATE,
    CALL_DIR_SYNC,
    CALL_DIR_LIST,
    CALL_EXISTS,
    CALL_DISK_FREE,
};

/* ---- faults ---- */

static bool call_can_fill(enum sim_call call)
{
    return call == CALL_OPEN || call == CALL_WRITE || call == CALL_TRUNCATE ||
           call == CALL_ALLOCATE || call == CALL_RENAME || call == CALL_DIR_CREATE;
}

static enum err fault_strike(struct sim_host *h, enum sim_call call, enum sim_fault fault,
                             bool *cut_short)
{
    bool sync = call == CALL_SYNC || call == CALL_DIR_SYNC;
    switch (fault) {
    case SIM_FAULT_NONE:
        return ERR_OK;
    case SIM_FAULT_STOP:
        h->halted = true;
        if (h->running)
            longjmp(h->halt, 1);
        return ERR_SHUTDOWN;
    case SIM_FAULT_FULL:
        /* A full disk may show only when delayed blocks are written. */
        if (sync)
            return ERR_SYNC_FAILED;
        return call_can_fill(call) ? ERR_NO_SPACE : ERR_OK;
    case SIM_FAULT_SHORT:
        if (call == CALL_WRITE && cut_short != NULL) {
            *cut_short = true;
            return ERR_OK;
        }
        break;
    case SIM_FAULT_ERROR:
        break;
    default:
        UNREACHABLE();
    }
    return sync ? ERR_SYNC_FAILED : ERR_IO;
}

/* Every file call begins here: the error it has to return at once, or ERR_OK. */
static enum err call_begin(struct sim_host *h, enum sim_call call, uint64_t detail, bool *cut_short)
{
    if (h->dead)
        return ERR_CLOSED;
    if (h->halted)
        return ERR_SHUTDOWN;
    h->file_calls++;
    sim_trace(h, SIM_FILE_CALL, detail ^ (uint64_t)call << 48);
    bool due = h->fault_call != 0 && (h->fault_forever ? h->file_calls >= h->fault_call
                                                       : h->file_calls == h->fault_call);
    return due ? fault_strike(h, call, h->fault, cut_short) : ERR_OK;
}

static enum err name_call(struct sim_host *h, enum sim_call call, const char *path,
                          struct sim_place *out)
{
    TRY(call_begin(h, call, hash_bytes(path, strlen(path), 0), NULL));
    return sim_disk_find(h->disk, path, out);
}

static enum err file_call(struct sim_file *f, enum sim_call call, uint64_t at, uint64_t n)
{
    return call_begin(f->host, call, hash_u64(at) ^ n, NULL);
}

/* ---- opening and closing ---- */

static enum err open_place(struct sim_host *h, const char *path, uint32_t flags,
                           struct sim_place *place)
{
    TRY(name_call(h, CALL_OPEN, path, place));
    if (place->inode != NULL && (flags & HOST_OPEN_EXCLUSIVE))
        return ERR_IN_USE;
    if (place->inode == NULL && place->dir != NULL && (flags & HOST_OPEN_CREATE))
        TRY(sim_disk_create(h->disk, place, false));
    return place->inode == NULL || place->inode->is_dir ? ERR_IO : ERR_OK;
}

enum err sim_file_open(struct host *base, const char *path, uint32_t flags, struct host_file **out,
                       struct err_detail *why)
{
    struct sim_host *h = (struct sim_host *)base;
    struct sim_place place;
    struct sim_file *f = mem_zalloc(1, sizeof *f);
    enum err e = f == NULL ? ERR_NO_MEMORY : open_place(h, path, flags, &place);
    if (e != ERR_OK) {
        mem_free(f);
        (void)err_set(why, e, "cannot open %s: %s (simulated)", path, err_info(e)->text);
        err_hint(why, "check the path and the faults of the simulation");
        return e;
    }
    f->base.ops = &sim_ops;
    f->host = h;
    f->inode = place.inode;
    f->writable = (flags & HOST_OPEN_WRITE) != 0;
    sim_inode_hold(f->inode);
    list_add(&h->files, &f->link);
    *out = &f->base;
    return ERR_OK;
}

/* Closes for the disk. */
static void file_let_go(struct sim_file *f)
{
    if (f->inode == NULL)
        return;
    if (f->inode->lock_owner == f)
        f->inode->lock_owner = NULL;
    sim_inode_release(f->host->disk, f->inode);
    f->inode = NULL;
}

void sim_file_close(struct host_file *base)
{
    struct sim_file *f = (struct sim_file *)base;
    file_let_go(f);
    list_remove(&f->link);
    mem_free(f);
}

void sim_files_die(struct sim_host *h)
{
    LIST_FOR(it, &h->files)
        file_let_go(LIST_ENTRY(it, struct sim_file, link));
}

void sim_files_free(struct sim_host *h)
{
    LIST_FOR_SAFE(it, next, &h->files)
        sim_file_close(&LIST_ENTRY(it, struct sim_file, link)->base);
}

/* ---- bytes ---- */

enum err sim_file_read(struct host_file *base, uint64_t at, void *out, size_t n)
{
    struct sim_file *f = (struct sim_file *)base;
    TRY(file_call(f, CALL_READ, at, n));
    if (at > f->inode->size || n > f->inode->size - at)
        return ERR_CORRUPT;
    sim_inode_read(f->inode, at, out, n);
    return ERR_OK;
}

ptrdiff_t sim_file_peek(struct host_file *base, uint64_t at, void *out, size_t n)
{
    struct sim_file *f = (struct sim_file *)base;
    if (file_call(f, CALL_READ, at, n) != ERR_OK)
        return -2;
    if (at >= f->inode->size)
        return 0;
    if (n > f->inode->size - at)
        n = (size_t)(f->inode->size - at);
    sim_inode_read(f->inode, at, out, n);
    return (ptrdiff_t)n;
}

enum err sim_file_write(struct host_file *base, uint64_t at, const void *bytes, size_t n)
{
    struct sim_file *f = (struct sim_file *)base;
    struct sim_host *h = f->host;
    bool cut_short = false;
    uint64_t detail = hash_u64(at) ^ (uint64_t)crc32c(0, bytes, n);
    TRY(call_begin(h, CALL_WRITE, detail, &cut_short));
    if (!f->writable)
        return ERR_IO;
    if (!cut_short)
        return sim_inode_write(h->disk, f->inode, at, bytes, n);
    TRY(sim_inode_write(h->disk, f->inode, at, bytes, (size_t)sim_rng_below(&h->rng, n)));
    return ERR_IO;
}

static enum err sync_call(struct sim_file *f)
{
    enum err e = file_call(f, CALL_SYNC, 0, 0);
    if (e == ERR_SYNC_FAILED)
        f->sync_failed = true;
    return e == ERR_OK && f->sync_failed ? ERR_SYNC_FAILED : e;
}

/* What is unsynced stays at risk. */
enum err sim_file_write_out(struct host_file *base, uint64_t at, uint64_t n)
{
    (void)at;
    (void)n;
    return sync_call((struct sim_file *)base);
}

enum err sim_file_sync(struct host_file *base)
{
    struct sim_file *f = (struct sim_file *)base;
    struct sim_host *h = f->host;
    TRY(sync_call(f));
    int64_t delay = sim_delay_ns(h, h->options.sync_delay_us_max);
    h->now_ns += delay;
    sim_trace(h, SIM_SYNC_TIME, (uint64_t)delay);
    sim_inode_sync(f->inode);
    return ERR_OK;
}

enum err sim_file_size(struct host_file *base, uint64_t *out)
{
    struct sim_file *f = (struct sim_file *)base;
    TRY(file_call(f, CALL_SIZE, 0, 0));
    *out = f->inode->size;
    return ERR_OK;
}

enum err sim_file_truncate(struct host_file *base, uint64_t size)
{
    struct sim_file *f = (struct sim_file *)base;
    TRY(file_call(f, CALL_TRUNCATE, size, 0));
    return f->writable ? sim_inode_resize(f->host->disk, f->inode, size) : ERR_IO;
}

enum err sim_file_allocate(struct host_file *base, uint64_t size)
{
    struct sim_file *f = (struct sim_file *)base;
    TRY(file_call(f, CALL_ALLOCATE, size, 0));
    if (!f->writable)
        return ERR_IO;
    return size <= f->inode->size ? ERR_OK : sim_inode_resize(f->host->disk, f->inode, size);
}

enum err sim_file_lock(struct host_file *base)
{
    struct sim_file *f = (struct sim_file *)base;
    TRY(file_call(f, CALL_LOCK, 0, 0));
    if (f->inode->lock_owner != NULL && f->inode->lock_owner != f)
        return ERR_IN_USE;
    f->inode->lock_owner = f;
    return ERR_OK;
}

/* ---- names ---- */

enum err sim_rename(struct host *base, const char *from, const char *to)
{
    struct sim_host *h = (struct sim_host *)base;
    struct sim_place source;
    struct sim_place target;
    TRY(name_call(h, CALL_RENAME, from, &source));
    TRY(sim_disk_find(h->disk, to, &target));
    return sim_disk_rename(h->disk, &source, &target);
}

enum err sim_remove(struct host *base, const char *path)
{
    struct sim_host *h = (struct sim_host *)base;
    struct sim_place place;
    TRY(name_call(h, CALL_REMOVE, path, &place));
    return sim_disk_remove(h->disk, &place);
}

enum err sim_dir_create(struct host *base, const char *path, struct err_detail *why)
{
    struct sim_host *h = (struct sim_host *)base;
    struct sim_place place;
    enum err e = name_call(h, CALL_DIR_CREATE, path, &place);
    if (e == ERR_OK && place.inode != NULL && !place.inode->is_dir)
        return err_set(why, ERR_IN_USE, "%s is a file, not a folder", path);
    if (e == ERR_OK && place.inode == NULL)
        e = sim_disk_create(h->disk, &place, true);
    return e == ERR_OK
               ? e
               : err_set(why, e, "cannot create the folder %s: %s", path, err_info(e)->text);
}

enum err sim_dir_sync(struct host *base, const char *path)
{
    struct sim_host *h = (struct sim_host *)base;
    struct sim_place place;
    TRY(name_call(h, CALL_DIR_SYNC, path, &place));
    if (place.inode == NULL || !place.inode->is_dir)
        return ERR_IO;
    return sim_disk_sync_dir(h->disk, place.inode);
}

enum err sim_dir_list(struct host *base, const char *path,
                      bool (*each)(void *arg, const char *name), void *arg)
{
    struct sim_host *h = (struct sim_host *)base;
    struct sim_place place;
    TRY(name_call(h, CALL_DIR_LIST, path, &place));
    if (place.inode == NULL || !place.inode->is_dir)
        return ERR_IO;
    /* One block of NUL-terminated names, because the callback may change the folder. */
    const struct sim_names *names = &place.inode->now;
    size_t n = names->n;
    size_t bytes = 0;
    if (n == 0)
        return ERR_OK;
    if (n > HOST_DIR_ENTRIES_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(names->at[i].name) + 1;
    char *copy = mem_alloc(bytes);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    char *at = copy;
    for (size_t i = 0; i < n; i++)
        at = stpcpy(at, names->at[i].name) + 1;
    at = copy;
    for (size_t i = 0; i < n && each(arg, at); i++)
        at += strlen(at) + 1;
    mem_free(copy);
    return ERR_OK;
}

enum err sim_path_exists(struct host *base, const char *path, bool *out)
{
    struct sim_host *h = (struct sim_host *)base;
    struct sim_place place;
    enum err e = call_begin(h, CALL_EXISTS, hash_bytes(path, strlen(path), 0), NULL);
    if (e != ERR_OK)
        return e;
    e = sim_disk_find(h->disk, path, &place);
    /* A missing folder on the way means that the path does not exist. */
    *out = e == ERR_OK && place.inode != NULL;
    return e == ERR_IO ? ERR_OK : e;
}

enum err sim_free_bytes(struct host *base, const char *path, uint64_t *out)
{
    struct sim_host *h = (struct sim_host *)base;
    const uint64_t unlimited = (uint64_t)1 << 40;
    struct sim_place place;
    TRY(name_call(h, CALL_DISK_FREE, path, &place));
    const struct sim_disk *d = h->disk;
    *out = unlimited;
    if (d->bytes_max > 0)
        *out = d->used_bytes < d->bytes_max ? d->bytes_max - d->used_bytes : 0;
    return place.inode != NULL ? ERR_OK : ERR_IO;
}

/* ---- the tests' controls ---- */

static struct sim_host *sim_of(struct host *base)
{
    CHECK(base->ops == &sim_ops);
    return (struct sim_host *)base;
}

void host_sim_fault_at(struct host *base, uint64_t n, enum sim_fault fault, bool forever)
{
    struct sim_host *h = sim_of(base);
    h->fault_call = n == 0 || fault == SIM_FAULT_NONE ? 0 : h->file_calls + n;
    h->fault = fault;
    h->fault_forever = forever;
}

uint64_t host_sim_file_calls(struct host *base)
{
    return sim_of(base)->file_calls;
}

enum err host_sim_flip(struct host *base, const char *path, uint64_t at, uint8_t mask)
{
    struct sim_host *h = sim_of(base);
    struct sim_place place;
    if (h->dead)
        return ERR_CLOSED;
    TRY(sim_disk_find(h->disk, path, &place));
    if (place.inode == NULL || place.inode->is_dir || at >= place.inode->size)
        return ERR_IO;
    return sim_inode_flip(place.inode, at, mask);
}
