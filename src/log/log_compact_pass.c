/* Writing groups of segments again, and giving the result their names. */
#include "log/log_compact_int.h"

#include "base/check.h"
#include "base/mem.h"
#include "wire/kafka_batch_copy.h"

#include <stdlib.h>

/* ---- output ---- */

static enum err writer_flush(struct compact_writer *w)
{
    TRY(buf_err(&w->out));
    if (w->out.len > 0) {
        TRY(host_file_write(w->file, w->written, w->out.ptr, w->out.len));
        w->written += w->out.len;
        buf_clear(&w->out);
    }
    return ERR_OK;
}

/* Counts the batch that was put at the end of w->out from `at` on. */
static enum err writer_added(struct compact_writer *w, size_t at)
{
    struct kafka_batch b;
    TRY(buf_err(&w->out));
    CHECK(kafka_batch_parse((struct str){w->out.ptr + at, w->out.len - at}, &b, NULL) == ERR_OK);
    CHECK(b.base_offset == w->segment->end_offset);
    if (w->segment->bytes + b.bytes > LOG_SEGMENT_BYTES_MAX) {
        return ERR_LIMIT;
    }
    TRY(log_index_reserve(&w->segment->index, 1));
    log_segment_add(w->segment, &b, w->interval);
    return w->out.len >= COMPACT_WRITE_BYTES ? writer_flush(w) : ERR_OK;
}

/* Writes the empty batches that are due: as few as cover the offsets. */
static enum err writer_settle(struct compact_writer *w)
{
    while (w->empty_from < w->empty_to) {
        size_t at = w->out.len;
        int64_t n = w->empty_to - w->empty_from;
        n = n < INT32_MAX ? n : INT32_MAX;
        kafka_batch_put_empty(&w->out, w->empty_from, (int32_t)(n - 1));
        TRY(writer_added(w, at));
        w->empty_from += n;
    }
    return ERR_OK;
}

static enum err writer_open(struct log_compaction *c, int64_t base_offset, struct compact_writer *w)
{
    char path[HOST_PATH_MAX];
    *w = (struct compact_writer){.empty_from = base_offset, .empty_to = base_offset};
    buf_init(&w->out, KAFKA_BATCH_BYTES_MAX + 2 * COMPACT_WRITE_BYTES);
    w->interval = c->config.index_interval_bytes;
    w->segment = log_segment_new(c->host, base_offset);
    if (w->segment == NULL) {
        return ERR_NO_MEMORY;
    }
    TRY(log_segment_path(c->dir, base_offset, COMPACT_WRITING, path));
    TRY(host_file_open(c->host, path, HOST_OPEN_WRITE | HOST_OPEN_CREATE, &w->file, &c->why));
    return host_file_truncate(w->file, 0);
}

static int compare_markers(const void *a, const void *b)
{
    const struct log_aborted *x = a;
    const struct log_aborted *y = b;
    return (x->marker_offset > y->marker_offset) - (x->marker_offset < y->marker_offset);
}

/* The aborted transactions whose markers are in the segment, but for those of which there was
 * nothing left before: nobody has to know of them, and their markers may go. */
static enum err index_aborted(const struct log_compaction *c, struct log_segment *s)
{
    for (uint32_t i = 0; i < c->aborted.n; i++) {
        const struct log_aborted *t = &c->aborted.items[i];
        if (t->marker_offset < s->base_offset || t->marker_offset >= s->end_offset) {
            continue;
        }
        TRY(log_index_reserve_aborted(&s->index, 1));
        log_index_add_aborted(&s->index, t);
        s->n_aborted++;
        s->aborted_first =
            t->first_offset < s->aborted_first ? t->first_offset : s->aborted_first;
    }
    if (s->n_aborted > 1) {
        qsort(s->index.aborted, s->n_aborted, sizeof *s->index.aborted, compare_markers);
    }
    return ERR_OK;
}

/* Flushes everything; the segment owns the file then. On an error (also an earlier one, `e`)
 * nothing is left of it. */
static enum err writer_close(struct log_compaction *c, struct compact_writer *w, enum err e)
{
    char path[HOST_PATH_MAX];
    struct log_segment *s = w->segment;
    e = e == ERR_OK ? writer_settle(w) : e;
    e = e == ERR_OK ? writer_flush(w) : e;
    e = e == ERR_OK ? index_aborted(c, s) : e;
    e = e == ERR_OK ? host_file_sync(w->file) : e;
    buf_deinit(&w->out);
    if (e == ERR_OK) {
        s->file = w->file;
        s->sealed = s->finished = s->pinned = true;
        s->file_bytes = s->checked_bytes = s->bytes;
        c->output = s;
        return ERR_OK;
    }
    if (w->file != NULL) {
        host_file_close(w->file);
        if (log_segment_path(c->dir, s->base_offset, COMPACT_WRITING, path) == ERR_OK) {
            (void)!log_file_remove(c->host, path);
        }
    }
    if (s != NULL) {
        log_segment_release(s);
    }
    return e;
}

/* ---- one batch ---- */

enum verdict {
    BATCH_STAYS,   /* as it is */
    BATCH_GOES,    /* its offsets have no records any more */
    BATCH_EMPTIES, /* the same, but its producer's numbers stay */
    BATCH_CHANGES, /* some records go, or a delete horizon is set: the copy */
};

/* What becomes of a batch. */
struct filtered {
    int32_t kept, removed;
    bool tombstones; /* among those kept */
    bool unreadable; /* by anybody: it stays as it is */
};

static bool horizon_passed(const struct log_compaction *c, const struct kafka_batch *b)
{
    return b->delete_horizon && b->base_timestamp <= c->now_ms;
}

static bool record_stays(const struct log_compaction *c, const struct kafka_batch *b,
                         const struct kafka_record *r)
{
    if (r->key.ptr == NULL || r->offset >= c->end_offset) {
        return true;
    }
    if (key_map_get(&c->keys, r->key) > r->offset) {
        return false;
    }
    return r->value.ptr != NULL || !horizon_passed(c, b);
}

/* Looks at every record; `copy` (may be NULL) receives those that stay. */
static enum err filter(struct log_compaction *c, const struct kafka_batch *b, struct str bytes,
                       struct kafka_batch_copy *copy, struct filtered *out)
{
    struct kafka_records it;
    struct kafka_record r;
    *out = (struct filtered){0};
    enum err e = kafka_records_open_control(&it, bytes, c->compress, &c->decoded, NULL);
    if (e == ERR_NO_MEMORY) {
        return e;
    }
    while (e == ERR_OK && kafka_records_next(&it, &r)) {
        if (!b->control && !record_stays(c, b, &r)) {
            out->removed++;
            continue;
        }
        out->kept++;
        out->tombstones |= r.value.ptr == NULL && r.key.ptr != NULL && r.offset < c->end_offset;
        if (copy != NULL) {
            kafka_batch_copy_add(copy, &r);
        }
    }
    if (e != ERR_OK || kafka_records_end(&it, NULL) != ERR_OK) {
        out->unreadable = true;
    }
    return ERR_OK;
}

static bool is_last_of_producer(const struct log_compaction *c, const struct kafka_batch *b)
{
    struct str key = {(const char *)&b->producer_id, sizeof b->producer_id};
    if (b->producer_id < 0 || b->control || c->now_ms - b->max_timestamp > PRODUCER_SILENT_MS) {
        return false;
    }
    return c->last_full || key_map_get(&c->last, key) == b->base_offset;
}

static enum verdict without_records(const struct log_compaction *c, const struct kafka_batch *b)
{
    if (!is_last_of_producer(c, b)) {
        return BATCH_GOES;
    }
    return b->n_records == 0 ? BATCH_STAYS : BATCH_EMPTIES;
}

/* Decides; a changed batch is put at the end of w->out (w NULL: nothing is). */
static enum err judge(struct log_compaction *c, const struct kafka_batch *b, struct str bytes,
                      struct compact_writer *w, enum verdict *verdict)
{
    struct kafka_batch_copy copy;
    struct filtered f;
    int64_t horizon = KAFKA_NO_HORIZON;
    int64_t later = c->now_ms < INT64_MAX - c->config.delete_retention_ms
                        ? c->now_ms + c->config.delete_retention_ms
                        : INT64_MAX;
    *verdict = BATCH_STAYS;
    if (b->base_offset >= c->end_offset) {
        return ERR_OK;
    }
    if (b->control && b->delete_horizon) {
        bool gone = horizon_passed(c, b) && compact_is_orphan(c, b->base_offset);
        *verdict = gone ? BATCH_GOES : BATCH_STAYS;
        return ERR_OK;
    }
    if (b->n_records == 0 || compact_is_aborted(c, b)) {
        *verdict = without_records(c, b);
        return ERR_OK;
    }
    if (b->control) {
        horizon = later;
    }
    for (bool again = true; again;) {
        size_t at = w != NULL ? w->out.len : 0;
        if (w != NULL) {
            kafka_batch_copy_begin(&copy, &w->out, b, horizon);
        }
        TRY(filter(c, b, bytes, w != NULL ? &copy : NULL, &f));
        if (f.unreadable) {
            if (w != NULL) {
                w->out.len = at;
            }
            return ERR_OK;
        }
        again = f.tombstones && !b->delete_horizon && horizon == KAFKA_NO_HORIZON;
        horizon = again ? later : horizon;
        bool changes = f.removed > 0 || horizon != KAFKA_NO_HORIZON;
        if (w != NULL && (again || !changes || f.kept == 0)) {
            w->out.len = at;
        } else if (w != NULL && kafka_batch_copy_finish(&copy, c->compress, &c->scratch, NULL) !=
                                    ERR_OK) {
            TRY(buf_err(&w->out));
            return ERR_OK; /* it cannot be written again: it stays */
        }
        *verdict = f.kept == 0 ? without_records(c, b) : changes ? BATCH_CHANGES : BATCH_STAYS;
    }
    return ERR_OK;
}

static enum err write_batch(struct log_compaction *c, const struct kafka_batch *b, struct str bytes,
                            struct compact_writer *w)
{
    enum verdict verdict;
    struct kafka_batch_copy copy;
    int64_t next = b->base_offset + b->last_offset_delta + 1;
    if (w->empty_from < w->empty_to) {
        /* Only what follows decides where an empty range ends. */
        enum verdict first;
        TRY(judge(c, b, bytes, NULL, &first));
        if (first == BATCH_GOES) {
            w->empty_to = next;
            return ERR_OK;
        }
        TRY(writer_settle(w));
    }
    size_t at = w->out.len;
    TRY(judge(c, b, bytes, w, &verdict));
    switch (verdict) {
    case BATCH_GOES:
        w->empty_from = b->base_offset;
        w->empty_to = next;
        return ERR_OK;
    case BATCH_STAYS:
        buf_put(&w->out, bytes.ptr, bytes.len);
        break;
    case BATCH_EMPTIES:
        kafka_batch_copy_begin(&copy, &w->out, b, KAFKA_NO_HORIZON);
        TRY(kafka_batch_copy_finish(&copy, NULL, NULL, NULL));
        break;
    case BATCH_CHANGES:
        break;
    }
    return writer_added(w, at);
}

/* ---- groups ---- */

/* The inputs from group_at on that fit in one segment. */
static void group_choose(struct log_compaction *c)
{
    const struct compact_input *first = &c->inputs[c->group_at];
    uint64_t bytes = first->bytes;
    uint32_t n = 1;
    while (c->group_at + n < c->n_inputs) {
        const struct compact_input *in = first + n;
        if (bytes + in->bytes > c->config.segment_bytes ||
            in->end_offset - first->base_offset > INT32_MAX) {
            break;
        }
        bytes += in->bytes;
        n++;
    }
    c->group_n = n;
}

/* Goes through a segment; without a writer only until it is clear that something changes. */
static enum err walk_input(struct log_compaction *c, uint32_t i, struct compact_writer *w,
                           bool *changes)
{
    struct compact_reader r;
    enum err e = compact_reader_open(c, i, &r, &c->why);
    while (e == ERR_OK) {
        struct kafka_batch b;
        struct str bytes;
        enum verdict verdict = BATCH_STAYS;
        e = atomic_load(&c->canceled) ? ERR_CANCELED
                                      : compact_reader_next(&r, &b, &bytes, &c->why);
        if (e != ERR_OK || bytes.len == 0) {
            break;
        }
        e = w != NULL ? write_batch(c, &b, bytes, w) : judge(c, &b, bytes, NULL, &verdict);
        bool same = verdict == BATCH_STAYS || (verdict == BATCH_GOES && b.n_records == 0 &&
                                               b.producer_id < 0);
        if (e == ERR_OK && !same) {
            *changes = true;
            break;
        }
    }
    compact_reader_close(&r);
    return e;
}

static enum err write_group(struct log_compaction *c)
{
    struct compact_writer w;
    bool changes = c->group_n > 1;
    enum err e = ERR_OK;
    if (!changes) {
        TRY(walk_input(c, c->group_at, NULL, &changes));
    }
    if (!changes) {
        return ERR_OK;
    }
    e = writer_open(c, c->inputs[c->group_at].base_offset, &w);
    for (uint32_t i = 0; i < c->group_n && e == ERR_OK; i++) {
        e = walk_input(c, c->group_at + i, &w, &changes);
    }
    return writer_close(c, &w, e);
}

/* ---- names ---- */

enum err compact_finish_swap(struct host *h, const char *dir, int64_t base_offset,
                             int64_t end_offset, const int64_t *bases, uint32_t n)
{
    char from[HOST_PATH_MAX];
    char to[HOST_PATH_MAX];
    TRY(log_segment_path(dir, base_offset, ".index", from));
    TRY(log_file_remove(h, from));
    for (uint32_t i = n; i > 0; i--) {
        if (bases[i - 1] > base_offset && bases[i - 1] < end_offset) {
            TRY(log_segment_remove_files(h, dir, bases[i - 1]));
        }
    }
    TRY(host_dir_sync(h, dir));
    TRY(log_segment_path(dir, base_offset, COMPACT_SWAP, from));
    TRY(log_segment_path(dir, base_offset, ".log", to));
    TRY(host_rename(h, from, to));
    return host_dir_sync(h, dir);
}

/* From the rename on the new file counts, whatever happens. */
static enum err name_group(struct log_compaction *c)
{
    char from[HOST_PATH_MAX];
    char to[HOST_PATH_MAX];
    struct log_segment *s = c->output;
    int64_t base = s->base_offset;
    int64_t *bases = mem_alloc(c->group_n * sizeof *bases);
    if (bases == NULL) {
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < c->group_n; i++) {
        bases[i] = c->inputs[c->group_at + i].base_offset;
    }
    enum err e = log_segment_path(c->dir, base, COMPACT_WRITING, from);
    if (e == ERR_OK) {
        e = log_segment_path(c->dir, base, COMPACT_SWAP, to);
    }
    if (e == ERR_OK) {
        e = host_rename(c->host, from, to);
    }
    if (e == ERR_OK) {
        e = host_dir_sync(c->host, c->dir);
    }
    if (e == ERR_OK) {
        e = compact_finish_swap(c->host, c->dir, base, s->end_offset, bases, c->group_n);
    }
    mem_free(bases);
    if (e == ERR_OK && log_segment_path(c->dir, base, ".index", to) == ERR_OK) {
        struct log_index_info info = log_segment_info(s);
        (void)!log_index_write(c->host, to, &s->index, &info); /* a cache */
    }
    return e;
}

static enum err prepare(struct log_compaction *c)
{
    c->buffer = mem_alloc(COMPACT_READ_BYTES);
    c->compress = compress_new();
    return c->buffer != NULL && c->compress != NULL ? ERR_OK : ERR_NO_MEMORY;
}

void log_compact_run(struct log_compaction *c)
{
    enum err e = ERR_OK;
    switch (c->phase) {
    case COMPACT_KEYS:
        e = prepare(c);
        if (e == ERR_OK) {
            e = compact_collect(c, &c->why);
        }
        break;
    case COMPACT_WRITE:
        group_choose(c);
        e = write_group(c);
        break;
    case COMPACT_NAMES:
        e = name_group(c);
        break;
    case COMPACT_DONE:
        break;
    }
    c->result = e;
}
