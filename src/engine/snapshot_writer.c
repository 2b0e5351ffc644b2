/* The helper thread that writes snapshots. A file appears under its name when it is whole, flushed,
 * and has been read back. */
#include "base/check.h"
#include "base/mem.h"
#include "engine/snapshots.h"
#include "state/snapshot_file.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    WRITER_RING_SLOTS = 1024,
    WRITE_OUT_BYTES = 8 << 20, /* so that the flush at the end has little left to do */
    NAME_DIGITS = 20,
    FOUND_MAX = 1 << 16,
};

struct snapshot_writer {
    struct engine *engine;
    struct host_worker *worker;
    struct ring *rings;             /* by shard */
    struct snapshot_piece **stash;  /* by shard: of a snapshot that has not begun yet */
    _Atomic uint64_t *waiting;      /* by shard */
    /* the snapshot under way */
    uint64_t id, epoch; /* 0: none */
    struct host_file *file;
    uint64_t at, out_at;
    struct snapshot_sum sum;
    enum err err;
    struct err_detail why;
    /* of the last that ended, published by done_id */
    enum err done_err;
    struct err_detail done_why;
    uint64_t done_bytes;
    _Atomic uint64_t done_id;
};

/* ---- names ---- */

void snapshots_dir(const struct engine *e, char *out, size_t n)
{
    int len = snprintf(out, n, "%s/snapshots", e->data_dir);
    CHECK(len > 0 && (size_t)len < n);
}

void snapshot_path(const struct engine *e, uint64_t epoch, char *out, size_t n)
{
    int len = snprintf(out, n, "%s/snapshots/%0*llu.snap", e->data_dir, NAME_DIGITS,
                       (unsigned long long)epoch);
    CHECK(len > 0 && (size_t)len < n);
}

bool snapshot_name_epoch(const char *name, uint64_t *epoch)
{
    *epoch = 0;
    for (int i = 0; i < NAME_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9')
            return false;
        *epoch = *epoch * 10 + (uint64_t)(name[i] - '0');
    }
    return strcmp(name + NAME_DIGITS, ".snap") == 0;
}

static void new_path(const struct engine *e, char *out, size_t n)
{
    int len = snprintf(out, n, "%s/snapshots/snapshot.new", e->data_dir);
    CHECK(len > 0 && (size_t)len < n);
}

/* ---- handing over ---- */

bool snapshot_writer_push(struct snapshot_writer *w, uint32_t shard, struct snapshot_piece *p)
{
    /* What is pushed is the writer's. */
    uint64_t bytes = p->bytes.len;
    atomic_fetch_add(&w->waiting[shard], bytes);
    if (!ring_push(&w->rings[shard], p)) {
        atomic_fetch_sub(&w->waiting[shard], bytes);
        return false;
    }
    host_worker_wake(w->worker);
    return true;
}

uint64_t snapshot_writer_waiting(const struct snapshot_writer *w, uint32_t shard)
{
    return atomic_load_explicit(&w->waiting[shard], memory_order_relaxed);
}

bool snapshot_writer_done(struct snapshot_writer *w, uint64_t id, uint64_t *bytes, enum err *e,
                          struct err_detail *why)
{
    if (atomic_load_explicit(&w->done_id, memory_order_acquire) != id)
        return false;
    *bytes = w->done_bytes;
    *e = w->done_err;
    *why = w->done_why;
    return true;
}

/* ---- files ---- */

enum err snapshot_check(struct host *h, const char *path,
                        enum err (*each)(void *arg, uint32_t kind, struct str payload,
                                         struct err_detail *why),
                        void *arg, struct err_detail *why)
{
    struct snapshot_reader r;
    enum snapshot_frame kind = SNAPSHOT_HEADER;
    struct str payload;
    TRY(snapshot_reader_open(&r, h, path, why));
    enum err e = ERR_OK;
    for (bool first = true; e == ERR_OK && (first || kind != SNAPSHOT_END); first = false) {
        e = snapshot_reader_next(&r, &kind, &payload, why);
        struct snapshot_cursor c = {.left = payload};
        if (e == ERR_OK && first && kind != SNAPSHOT_HEADER)
            e = err_set(why, ERR_CORRUPT, "%s does not begin as a snapshot does", path);
        if (e == ERR_OK && first && snapshot_u32(&c) > SNAPSHOT_VERSION)
            e = err_set(why, ERR_UNSUPPORTED, "%s is of a newer version of tidemill", path);
        if (e == ERR_OK && each != NULL)
            e = each(arg, (uint32_t)kind, payload, why);
    }
    snapshot_reader_close(&r);
    return e;
}

static void failed(struct snapshot_writer *w, enum err e, const char *what)
{
    if (w->err == ERR_OK)
        w->err = err_set(&w->why, e, "%s", what);
}

static void file_begin(struct snapshot_writer *w)
{
    struct host *h = w->engine->host;
    char path[HOST_PATH_MAX];
    snapshots_dir(w->engine, path, sizeof(path));
    w->err = host_dir_create(h, path, &w->why);
    if (w->err == ERR_OK && (w->err = host_dir_sync(h, w->engine->data_dir)) != ERR_OK)
        err_set(&w->why, w->err, "the folder %s cannot be flushed", w->engine->data_dir);
    new_path(w->engine, path, sizeof(path));
    if (w->err == ERR_OK)
        w->err = host_file_open(h, path, HOST_OPEN_WRITE | HOST_OPEN_CREATE, &w->file, &w->why);
    enum err e = w->err == ERR_OK ? host_file_truncate(w->file, 0) : ERR_OK;
    if (e != ERR_OK)
        failed(w, e, "the new snapshot's file cannot be emptied");
}

static void file_write(struct snapshot_writer *w, struct str bytes)
{
    if (w->err != ERR_OK || bytes.len == 0)
        return;
    enum err e = host_file_write(w->file, w->at, bytes.ptr, bytes.len);
    w->at += bytes.len;
    if (e == ERR_OK && w->at - w->out_at >= WRITE_OUT_BYTES) {
        e = host_file_write_out(w->file, w->out_at, w->at - w->out_at);
        w->out_at = w->at;
    }
    if (e != ERR_OK)
        failed(w, e, e == ERR_NO_SPACE ? "there is no room for a snapshot on the disk"
                                       : "a snapshot cannot be written");
}

static void frames_write(struct snapshot_writer *w, const struct buf *b)
{
    if (b->failed)
        failed(w, ERR_NO_MEMORY, "out of memory for a snapshot");
    if (w->err == ERR_OK)
        snapshot_sum_add(&w->sum, buf_str(b));
    file_write(w, buf_str(b));
}

struct found {
    uint32_t n;
    uint64_t epochs[FOUND_MAX];
};

static bool find_one(void *arg, const char *name)
{
    struct found *f = arg;
    if (snapshot_name_epoch(name, &f->epochs[f->n]))
        f->n++;
    return f->n < FOUND_MAX;
}

/* All but the newest. Names come in order. What cannot be removed is tried again the next time. */
static void prune(struct snapshot_writer *w)
{
    char path[HOST_PATH_MAX];
    struct found *f = mem_zalloc(1, sizeof(*f));
    snapshots_dir(w->engine, path, sizeof(path));
    if (f == NULL)
        return;
    enum err e = host_dir_list(w->engine->host, path, find_one, f);
    for (uint32_t i = 0; e == ERR_OK && i + SNAPSHOT_KEPT < f->n; i++) {
        snapshot_path(w->engine, f->epochs[i], path, sizeof(path));
        (void)!host_remove(w->engine->host, path);
    }
    mem_free(f);
}

/* Gives the file its name, when it can be read. */
static void file_publish(struct snapshot_writer *w)
{
    struct host *h = w->engine->host;
    char from[HOST_PATH_MAX], to[HOST_PATH_MAX], dir[HOST_PATH_MAX];
    new_path(w->engine, from, sizeof(from));
    snapshot_path(w->engine, w->epoch, to, sizeof(to));
    snapshots_dir(w->engine, dir, sizeof(dir));
    enum err e = host_file_sync(w->file);
    if (e != ERR_OK)
        failed(w, e, "a snapshot cannot be flushed");
    if (w->err == ERR_OK)
        w->err = snapshot_check(h, from, NULL, NULL, &w->why);
    if (w->err == ERR_OK && (e = host_rename(h, from, to)) != ERR_OK)
        failed(w, e, "a snapshot cannot be given its name");
    if (w->err == ERR_OK && (e = host_dir_sync(h, dir)) != ERR_OK)
        failed(w, e, "the folder of snapshots cannot be flushed");
    if (w->err == ERR_OK)
        prune(w);
}

static void file_end(struct snapshot_writer *w)
{
    char path[HOST_PATH_MAX];
    if (w->file != NULL)
        host_file_close(w->file);
    w->file = NULL;
    new_path(w->engine, path, sizeof(path));
    if (w->err != ERR_OK)
        (void)!host_remove(w->engine->host, path);
}

/* ---- pieces ---- */

static void piece_free(struct snapshot_piece *p)
{
    if (p == NULL)
        return;
    buf_deinit(&p->bytes);
    mem_free(p);
}

static void piece_done(struct snapshot_writer *w, uint32_t shard, struct snapshot_piece *p)
{
    atomic_fetch_sub(&w->waiting[shard], p->bytes.len);
    piece_free(p);
    host_worker_wake(w->engine->shards[shard].worker);
    if (shard != 0)
        host_worker_wake(w->engine->shards[0].worker);
}

/* The next piece of a shard for the snapshot under way; those of others that have ended are dropped
 * and those of one that has not begun wait. */
static struct snapshot_piece *piece_next(struct snapshot_writer *w, uint32_t shard)
{
    for (;;) {
        struct snapshot_piece *p = w->stash[shard];
        if (p == NULL)
            p = ring_pop(&w->rings[shard]);
        w->stash[shard] = NULL;
        if (p == NULL || p->id == w->id || (p->kind == PIECE_START && w->id == 0))
            return p;
        if (p->id > w->id && (w->id != 0 || p->id > atomic_load(&w->done_id))) {
            w->stash[shard] = p;
            return NULL;
        }
        piece_done(w, shard, p);
    }
}

static void start(struct snapshot_writer *w, const struct snapshot_piece *p)
{
    w->id = p->id;
    w->epoch = p->epoch;
    w->at = w->out_at = 0;
    w->sum = (struct snapshot_sum){0};
    w->why = (struct err_detail){0};
    file_begin(w);
    frames_write(w, &p->bytes);
}

static void ended(struct snapshot_writer *w)
{
    file_end(w);
    w->done_err = w->err;
    w->done_why = w->why;
    w->done_bytes = w->at;
    atomic_store_explicit(&w->done_id, w->id, memory_order_release);
    w->id = 0;
    host_worker_wake(w->engine->shards[0].worker);
}

static void finish(struct snapshot_writer *w, uint64_t committed)
{
    for (uint32_t i = 1; i < w->engine->n_shards; i++)
        for (struct snapshot_piece *p; (p = piece_next(w, i)) != NULL; piece_done(w, i, p))
            frames_write(w, &p->bytes);
    struct buf b;
    buf_init(&b, SNAPSHOT_PIECE_BYTES);
    size_t at = snapshot_frame_begin(&b, SNAPSHOT_COMMITTED);
    snapshot_put_u64(&b, committed);
    snapshot_frame_end(&b, at);
    frames_write(w, &b);
    buf_clear(&b);
    snapshot_end_put(&b, &w->sum);
    if (b.failed)
        failed(w, ERR_NO_MEMORY, "out of memory for a snapshot");
    file_write(w, buf_str(&b));
    buf_deinit(&b);
    if (w->err == ERR_OK)
        file_publish(w);
    ended(w);
}

static void piece_take(struct snapshot_writer *w, uint32_t shard, struct snapshot_piece *p)
{
    switch (p->kind) {
    case PIECE_START:
        start(w, p);
        break;
    case PIECE_FRAMES:
        frames_write(w, &p->bytes);
        break;
    case PIECE_FINISH:
        finish(w, p->epoch);
        break;
    case PIECE_ABORT:
        failed(w, ERR_CANCELED, "it was given up");
        ended(w);
        break;
    }
    piece_done(w, shard, p);
}

static bool writer_turn(void *arg)
{
    struct snapshot_writer *w = arg;
    bool some = false;
    if (host_stop_requested(w->engine->host))
        return false;
    for (uint32_t i = 0; i < w->engine->n_shards; i++) {
        struct snapshot_piece *p = piece_next(w, i);
        if (p != NULL)
            piece_take(w, i, p);
        some |= p != NULL;
    }
    struct host_event none;
    if (!some)
        host_poll(w->worker, &none, 1, INT64_MAX);
    return true;
}

/* ---- life ---- */

enum err snapshot_writer_new(struct engine *e, struct snapshot_writer **out)
{
    struct snapshot_writer *w = mem_zalloc(1, sizeof(*w));
    if (w == NULL)
        return ERR_NO_MEMORY;
    *out = w;
    w->engine = e;
    w->rings = mem_zalloc(e->n_shards, sizeof(*w->rings));
    w->stash = mem_zalloc(e->n_shards, sizeof(struct snapshot_piece *));
    w->waiting = mem_zalloc(e->n_shards, sizeof(*w->waiting));
    if (w->rings == NULL || w->stash == NULL || w->waiting == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < e->n_shards; i++)
        TRY(ring_init(&w->rings[i], WRITER_RING_SLOTS));
    return ERR_OK;
}

enum err snapshot_writer_start(struct snapshot_writer *w)
{
    return host_worker_start(w->engine->host, "snapshots", writer_turn, w, &w->worker);
}

void snapshot_writer_free(struct snapshot_writer *w)
{
    if (w == NULL)
        return;
    for (uint32_t i = 0; i < w->engine->n_shards; i++) {
        if (w->stash != NULL)
            piece_free(w->stash[i]);
        struct snapshot_piece *p;
        while (w->rings != NULL && w->rings[i].slots != NULL &&
               (p = ring_pop(&w->rings[i])) != NULL)
            piece_free(p);
        if (w->rings != NULL)
            ring_deinit(&w->rings[i]);
    }
    if (w->file != NULL)
        host_file_close(w->file);
    mem_free(w->rings);
    mem_free(w->stash);
    mem_free(w->waiting);
    mem_free(w);
}
