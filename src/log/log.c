/* A partition's life: open, close, append. */
#include "log/log.h"

#include "base/check.h"
#include "base/mem.h"
#include "log/log_int.h"

#include <inttypes.h>
#include <stdio.h>

const struct log_config log_config_default = {
    .segment_bytes = 256 << 20,
    .segment_ms = 7 * 24 * 3600 * 1000LL,
    .retention_bytes = -1,
    .retention_ms = -1,
    .index_interval_bytes = 16 << 10,
    .batch_bytes_max = 16 << 20,
    .delete_retention_ms = 24 * 3600 * 1000LL,
    .max_compaction_lag_ms = INT64_MAX,
    .min_cleanable_dirty_ratio = 0.5,
};

/* Written ahead of the end, so that a flush needs not record a new file size. Never changed. */
static char zeros[LOG_FILL_BYTES_MAX];

/* ---- segments ---- */

struct log_segment *log_active(const struct log_partition *p)
{
    return p->n_segments > 0 ? p->segments[p->n_segments - 1] : NULL;
}

enum err log_segments_push(struct log_partition *p, struct log_segment *s)
{
    if (p->n_segments == LOG_SEGMENTS_MAX) {
        return ERR_LIMIT;
    }
    if (p->n_segments == p->cap_segments) {
        uint32_t cap = p->cap_segments == 0 ? 4 : p->cap_segments * 2;
        struct log_segment **moved = mem_realloc(p->segments, cap * sizeof(struct log_segment *));
        if (moved == NULL) {
            return ERR_NO_MEMORY;
        }
        p->segments = moved;
        p->cap_segments = cap;
    }
    p->segments[p->n_segments++] = s;
    return ERR_OK;
}

void log_marks_forget(struct log_partition *p, const struct log_segment *s)
{
    for (uint32_t i = 0; i < LOG_MARKS_MAX; i++) {
        if (p->marks[i].segment == s) {
            p->marks[i].segment = NULL;
        }
    }
    if (p->durable_mark.segment == s) {
        p->durable_mark.segment = NULL;
    }
}

enum err log_meta_ensure(struct log_partition *p, struct err_detail *why)
{
    char path[HOST_PATH_MAX];
    uint64_t size = 0;
    if (p->meta != NULL) {
        return ERR_OK;
    }
    int n = snprintf(path, sizeof path, "%s/meta", p->dir);
    CHECK(n > 0 && n < HOST_PATH_MAX);
    TRY(host_file_open(p->host, path, HOST_OPEN_WRITE | HOST_OPEN_CREATE, &p->meta, why));
    enum err e = host_file_size(p->meta, &size);
    if (e != ERR_OK) {
        host_file_close(p->meta);
        p->meta = NULL;
        return err_set(why, e, "%s: cannot read its size", path);
    }
    if (size < LOG_META_BYTES) {
        p->sync_meta = true;
        p->sync_dir = true;
    }
    return ERR_OK;
}

enum err log_file_remove(struct host *h, const char *path)
{
    bool exists = false;
    TRY(host_path_exists(h, path, &exists));
    return exists ? host_remove(h, path) : ERR_OK;
}

enum err log_segment_remove_files(struct host *h, const char *dir, int64_t base_offset)
{
    char path[HOST_PATH_MAX];
    TRY(log_segment_path(dir, base_offset, ".index", path));
    TRY(log_file_remove(h, path));
    TRY(log_segment_path(dir, base_offset, LOG_STATE_SUFFIX, path));
    TRY(log_file_remove(h, path));
    TRY(log_segment_path(dir, base_offset, ".log", path));
    return log_file_remove(h, path);
}

enum err log_parent_sync(struct host *h, const char *dir)
{
    char path[HOST_PATH_MAX];
    const char *slash = strrchr(dir, '/');
    size_t n = slash != NULL ? (size_t)(slash - dir) : 0;
    if (slash == NULL) {
        return host_dir_sync(h, ".");
    }
    CHECK(n < sizeof path);
    memcpy(path, dir, n);
    path[n] = '\0';
    return host_dir_sync(h, n == 0 ? "/" : path);
}

/* ---- damage ---- */

void log_quarantine(struct log_partition *p, int64_t offset, const char *text)
{
    if (p->quarantined && p->end_offset <= offset) {
        return;
    }
    p->quarantined = true;
    p->end_offset = offset;
    p->durable_offset = p->durable_offset < offset ? p->durable_offset : offset;
    p->high_watermark = p->high_watermark < offset ? p->high_watermark : offset;
    (void)snprintf(p->quarantine_text, sizeof p->quarantine_text, "%s", text);
}

enum err log_quarantine_err(const struct log_partition *p, struct err_detail *why)
{
    enum err e = err_set(why, ERR_CORRUPT, "%s: records from offset %" PRId64 " on are lost: %s",
                         p->dir, p->end_offset, p->quarantine_text);
    err_hint(why, "what comes before can be read; restore the folder from a backup, or drop the "
                  "topic");
    return e;
}

bool log_quarantined(const struct log_partition *p)
{
    return p->quarantined;
}

/* ---- open and close ---- */

void log_configure(struct log_partition *p, const struct log_config *config)
{
    bool manual = p->config.manual_watermark;
    p->config = *config;
    p->config.manual_watermark = manual;
    if (p->config.segment_bytes > LOG_SEGMENT_BYTES_MAX / 2) {
        p->config.segment_bytes = LOG_SEGMENT_BYTES_MAX / 2;
    }
    if (p->config.batch_bytes_max > KAFKA_BATCH_BYTES_MAX) {
        p->config.batch_bytes_max = KAFKA_BATCH_BYTES_MAX;
    }
}

static struct log_partition *partition_new(struct host *h, const char *dir,
                                           const struct log_config *config)
{
    struct log_partition *p = mem_zalloc(1, sizeof *p);
    size_t n = strlen(dir) + 1;
    if (p == NULL || (p->dir = mem_alloc(n)) == NULL) {
        mem_free(p);
        return NULL;
    }
    memcpy(p->dir, dir, n);
    p->host = h;
    producers_init(&p->producers);
    p->config.manual_watermark = config->manual_watermark;
    log_configure(p, config);
    return p;
}

enum err log_open(struct host *h, const char *dir, const struct log_config *config,
                  struct log_partition **out, struct log_recovery *recovery, struct err_detail *why)
{
    enum { NAME_BYTES_MAX = 32 }; /* of a file in the folder */
    struct log_recovery unused;
    if (strlen(dir) + NAME_BYTES_MAX > HOST_PATH_MAX) {
        return err_set(why, ERR_LIMIT, "%s: the path is too long", dir);
    }
    struct log_partition *p = partition_new(h, dir, config);
    if (p == NULL) {
        return err_set(why, ERR_NO_MEMORY, "%s: out of memory for a partition", dir);
    }
    struct log_recovery *found = recovery != NULL ? recovery : &unused;
    *found = (struct log_recovery){0};
    enum err e = log_recover(p, found, why);
    if (e != ERR_OK) {
        log_close(p);
        return e;
    }
    found->segments = p->n_segments;
    found->quarantined = p->quarantined;
    found->quarantine_offset = p->quarantined ? p->end_offset : 0;
    *out = p;
    return ERR_OK;
}

void log_close(struct log_partition *p)
{
    if (p == NULL) {
        return;
    }
    CHECK(!p->sync_running);
    if (p->retired != NULL && p->meta != NULL) {
        /* What is not removed now is removed at the next start, if this reaches the disk. */
        struct log_checkpoint c = {.start_offset = p->start_offset,
                                   .durable_offset = p->flushed_offset,
                                   .clean_offset = p->clean_offset};
        (void)!log_meta_write(p->meta, &c);
    }
    while (p->retired != NULL) {
        struct log_segment *next = p->retired->next_retired;
        log_segment_release(p->retired);
        p->retired = next;
    }
    for (uint32_t i = 0; i < p->n_segments; i++) {
        log_segment_release(p->segments[i]);
    }
    mem_free(p->segments);
    producers_deinit(&p->producers);
    if (p->meta != NULL) {
        host_file_close(p->meta);
    }
    mem_free(p->dir);
    mem_free(p);
}

int64_t log_start_offset(const struct log_partition *p)
{
    return p->start_offset;
}

int64_t log_kept_offset(const struct log_partition *p)
{
    return p->kept_offset;
}

int64_t log_high_watermark(const struct log_partition *p)
{
    return p->high_watermark;
}

int64_t log_durable_offset(const struct log_partition *p)
{
    return p->durable_offset;
}

int64_t log_end_offset(const struct log_partition *p)
{
    return p->end_offset;
}

uint64_t log_size_bytes(const struct log_partition *p)
{
    return p->size_bytes;
}

void log_raise_watermark(struct log_partition *p, int64_t offset)
{
    CHECK(p->config.manual_watermark);
    if (offset > p->durable_offset) {
        offset = p->durable_offset;
    }
    if (offset > p->high_watermark) {
        p->high_watermark = offset;
    }
}

/* ---- append ---- */

/* What an append is made of. */
struct run {
    uint32_t n_batches;
    int64_t n_offsets;
    int64_t max_timestamp;
    bool producers; /* some batch has one */
};

static enum err run_measure(const struct log_partition *p, const char *batches, size_t n,
                            struct run *out, struct err_detail *why)
{
    *out = (struct run){.max_timestamp = -1};
    for (size_t at = 0; at < n;) {
        struct kafka_batch b;
        TRY(kafka_batch_parse((struct str){batches + at, n - at}, &b, why));
        if (b.bytes > n - at) {
            return err_set(why, ERR_BAD_RECORD_BATCH, "record batch: it is not whole");
        }
        if (b.bytes > p->config.batch_bytes_max) {
            return err_set(why, ERR_TOO_LARGE, "record batch of %u bytes: the maximum is %u",
                           b.bytes, p->config.batch_bytes_max);
        }
        bool commit;
        if (b.control &&
            (b.bytes > LOG_CONTROL_BYTES_MAX ||
             kafka_marker_get((struct str){batches + at, b.bytes}, &commit) != ERR_OK)) {
            return err_set(why, ERR_BAD_RECORD_BATCH, "record batch: an unknown control batch");
        }
        if (b.max_timestamp > out->max_timestamp) {
            out->max_timestamp = b.max_timestamp;
        }
        out->producers |= b.producer_id >= 0;
        out->n_batches++;
        out->n_offsets += (int64_t)b.last_offset_delta + 1;
        at += b.bytes;
    }
    if (n == 0 || n > LOG_SEGMENT_BYTES_MAX / 2 || out->n_offsets > INT32_MAX) {
        return err_set(why, ERR_TOO_LARGE, "an append of %zu bytes, %" PRId64 " offsets", n,
                       out->n_offsets);
    }
    return ERR_OK;
}

static bool must_roll(const struct log_partition *p, const struct log_segment *s, size_t n,
                      const struct run *run)
{
    if (s == NULL || p->must_roll) {
        return true;
    }
    if (s->bytes == 0) {
        return false;
    }
    bool old = p->config.segment_ms >= 0 && s->first_timestamp >= 0 &&
               run->max_timestamp > s->first_timestamp &&
               run->max_timestamp - s->first_timestamp > p->config.segment_ms;
    return old || s->bytes + n > p->config.segment_bytes ||
           s->end_offset + run->n_offsets - s->base_offset > INT32_MAX;
}

/* Gets rid of an empty active segment after a failed write, so that its file's name is free. */
static enum err drop_empty_active(struct log_partition *p, struct err_detail *why)
{
    struct log_segment *s = log_active(p);
    if (s == NULL || s->bytes > 0) {
        return ERR_OK;
    }
    p->sync_dir = true;
    enum err e = log_segment_remove_files(p->host, p->dir, s->base_offset);
    if (e != ERR_OK) {
        return err_set(why, e, "%s: cannot remove an empty segment: %s", p->dir,
                       err_info(e)->text);
    }
    log_marks_forget(p, s);
    p->n_segments--;
    log_segment_release(s);
    return ERR_OK;
}

/* Takes away what a failed write left behind the end. */
static enum err cut_refused(struct log_partition *p, struct log_segment *s)
{
    if (!p->torn || s == NULL) {
        return ERR_OK;
    }
    TRY(host_file_truncate(s->file, s->bytes));
    s->file_bytes = s->bytes;
    p->torn = false;
    return ERR_OK;
}

static enum err roll(struct log_partition *p, struct err_detail *why)
{
    TRY(log_meta_ensure(p, why));
    enum err cut = cut_refused(p, log_active(p));
    if (cut != ERR_OK) {
        return err_set(why, cut, "%s: cannot cut off a refused append: %s", p->dir,
                       err_info(cut)->text);
    }
    TRY(drop_empty_active(p, why));
    struct log_segment *before = log_active(p);
    struct log_segment *s = log_segment_new(p->host, p->end_offset);
    if (s == NULL) {
        return err_set(why, ERR_NO_MEMORY, "%s: out of memory for a segment", p->dir);
    }
    p->sync_dir = true;
    enum err e = before != NULL && !before->sealed ? log_state_seal(&p->producers, before) : ERR_OK;
    if (e == ERR_OK) {
        e = log_segment_create(s, p->dir, why);
    }
    if (e == ERR_OK) {
        e = log_segments_push(p, s);
    }
    if (e != ERR_OK) {
        log_segment_release(s);
        (void)!log_segment_remove_files(p->host, p->dir, p->end_offset);
        return err_set(why, e, "%s: cannot begin a new segment: %s", p->dir, err_text(e, why));
    }
    if (before != NULL) {
        before->sealed = true;
    }
    p->must_roll = false;
    return ERR_OK;
}

static void run_patch(const struct log_partition *p, char *batches, size_t n, int64_t append_ms)
{
    int64_t offset = p->end_offset;
    for (size_t at = 0; at < n;) {
        struct kafka_batch b;
        CHECK(kafka_batch_parse((struct str){batches + at, n - at}, &b, NULL) == ERR_OK);
        kafka_batch_set_base_offset(batches + at, offset);
        kafka_batch_set_leader_epoch(batches + at, LOG_LEADER_EPOCH);
        if (append_ms >= 0) {
            kafka_batch_set_append_time(batches + at, append_ms);
        }
        offset += (int64_t)b.last_offset_delta + 1;
        at += b.bytes;
    }
}

/* Writes zeros behind the end when it pays: overwriting spares a flush the new file size, which
 * matters while flushes are small. Failing is harmless. */
static void fill_ahead(struct log_partition *p, struct log_segment *s)
{
    if (s->bytes <= s->file_bytes) {
        return;
    }
    s->file_bytes = s->bytes;
    if (p->group_bytes > LOG_FILL_BYTES_MAX / 4) {
        return;
    }
    uint64_t fill = s->bytes < LOG_FILL_BYTES_MIN ? LOG_FILL_BYTES_MIN : s->bytes;
    fill = fill < LOG_FILL_BYTES_MAX ? fill : LOG_FILL_BYTES_MAX;
    uint64_t left = p->config.segment_bytes > s->bytes ? p->config.segment_bytes - s->bytes : 0;
    fill = fill < left ? fill : left;
    if (fill > 0 && host_file_write(s->file, s->bytes, zeros, (size_t)fill) == ERR_OK) {
        s->file_bytes += fill;
    }
}

/* Makes sure that counting the run cannot fail. */
static enum err run_reserve(struct log_partition *p, struct log_segment *s, const struct run *run,
                            const char *batches, size_t n)
{
    TRY(log_index_reserve(&s->index, run->n_batches));
    for (size_t at = 0; at < n && run->producers;) {
        struct kafka_batch b;
        CHECK(kafka_batch_parse((struct str){batches + at, n - at}, &b, NULL) == ERR_OK);
        TRY(log_state_reserve(&p->producers, &s->index, &b));
        at += b.bytes;
    }
    return ERR_OK;
}

static void run_count(struct log_partition *p, struct log_segment *s, const struct run *run,
                      const char *batches, size_t n)
{
    bool checked = s->checked_bytes == s->bytes;
    int64_t now_ms = run->producers ? host_wall_us(p->host) / 1000 : 0;
    for (size_t at = 0; at < n;) {
        struct kafka_batch b;
        CHECK(kafka_batch_parse((struct str){batches + at, n - at}, &b, NULL) == ERR_OK);
        log_segment_add(s, &b, p->config.index_interval_bytes);
        if (run->producers) {
            struct str bytes = {batches + at, b.bytes};
            CHECK(log_state_apply(&p->producers, s, &b, bytes, now_ms) == ERR_OK);
        }
        at += b.bytes;
    }
    if (checked) {
        s->checked_bytes = s->bytes;
    }
    p->end_offset = s->end_offset;
    p->size_bytes += n;
    p->appended_bytes += n;
}

static enum err append(struct log_partition *p, char *batches, size_t n, int64_t log_append_ms,
                       int64_t *base_offset, struct err_detail *why)
{
    struct run run;
    if (p->quarantined) {
        return log_quarantine_err(p, why);
    }
    TRY(run_measure(p, batches, n, &run, why));
    if (log_append_ms >= 0) {
        run.max_timestamp = log_append_ms;
    }
    if (p->end_offset > INT64_MAX - INT32_MAX - run.n_offsets) {
        return err_set(why, ERR_LIMIT, "%s: offsets have run out", p->dir);
    }
    if (must_roll(p, log_active(p), n, &run)) {
        TRY(roll(p, why));
    }
    struct log_segment *s = log_active(p);
    enum err e = run_reserve(p, s, &run, batches, n);
    if (e != ERR_OK) {
        return err_set(why, e,
                       e == ERR_LIMIT ? "%s: %d transactions are open, which is the maximum"
                                      : "%s: out of memory for the index (%d producers)",
                       p->dir, PRODUCERS_MAX);
    }
    run_patch(p, batches, n, log_append_ms);
    e = host_file_write(s->file, s->bytes, batches, n);
    if (e != ERR_OK) {
        /* The file may hold a part of it: nothing is ever written behind that. Whole batches among
         * it would come back with the next start, although they were refused. */
        p->must_roll = true;
        p->torn = true;
        (void)!cut_refused(p, s);
        return err_set(why, e, "%s: cannot append %zu bytes at offset %" PRId64 ": %s", p->dir, n,
                       p->end_offset, err_info(e)->text);
    }
    *base_offset = p->end_offset;
    run_count(p, s, &run, batches, n);
    fill_ahead(p, s);
    return ERR_OK;
}

enum err log_append(struct log_partition *p, char *batches, size_t n, int64_t log_append_ms,
                    int64_t *base_offset, struct err_detail *why)
{
    enum err e = append(p, batches, n, log_append_ms, base_offset, why);
    if (e == ERR_NO_SPACE) {
        err_hint(why, "Make room on the disk, and try again. What tables keep is bounded by their "
                      "options retention and retention_bytes.");
    }
    return e;
}
