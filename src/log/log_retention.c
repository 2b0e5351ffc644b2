/* What goes away: old segments, the uncommitted tail, the whole partition. */
#include "log/log.h"

#include "base/check.h"
#include "base/mem.h"
#include "log/log_compact_int.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- old segments ---- */

/* Whether the oldest segment may go: it is not the active one, is flushed and committed, and ends
 * at or below `keep_from` and what open transactions have. */
static bool droppable(const struct log_partition *p, int64_t keep_from)
{
    if (p->quarantined || p->n_segments < 2 || !p->segments[0]->finished ||
        p->segments[0]->pinned) {
        return false;
    }
    int64_t end = p->segments[0]->end_offset;
    return end <= keep_from && end <= p->high_watermark && end <= p->durable_offset &&
           end <= producers_first_open(&p->producers);
}

/* Takes the oldest segment off the list; the next sync removes its files. */
static void retire_first(struct log_partition *p)
{
    struct log_segment *s = p->segments[0];
    struct log_segment **end = &p->retired;
    log_marks_forget(p, s);
    p->n_segments--;
    memmove(p->segments, p->segments + 1, p->n_segments * sizeof *p->segments);
    p->start_offset = s->end_offset > p->start_offset ? s->end_offset : p->start_offset;
    p->size_bytes -= s->bytes;
    while (*end != NULL) {
        end = &(*end)->next_retired;
    }
    s->next_retired = NULL;
    *end = s;
}

uint32_t log_retain(struct log_partition *p, int64_t now_ms, int64_t keep_from)
{
    const struct log_config *c = &p->config;
    const struct log_segment *active = log_active(p);
    uint32_t dropped = 0;
    while (droppable(p, keep_from)) {
        const struct log_segment *s = p->segments[0];
        bool large =
            c->retention_bytes >= 0 && p->size_bytes - s->bytes >= (uint64_t)c->retention_bytes;
        bool old = c->retention_ms >= 0 && s->max_timestamp >= 0 && s->max_timestamp < now_ms &&
                   now_ms - s->max_timestamp > c->retention_ms;
        bool trimmed = s->end_offset <= p->start_offset;
        if (!large && !old && !trimmed) {
            break;
        }
        retire_first(p);
        dropped++;
    }
    if (active != NULL && active->bytes > 0 && c->segment_ms >= 0 && active->first_timestamp >= 0 &&
        active->first_timestamp < now_ms && now_ms - active->first_timestamp > c->segment_ms) {
        p->must_roll = true;
    }
    return dropped;
}

uint32_t log_drop_before(struct log_partition *p, int64_t offset)
{
    uint32_t dropped = 0;
    while (droppable(p, offset)) {
        retire_first(p);
        dropped++;
    }
    return dropped;
}

enum err log_trim(struct log_partition *p, int64_t offset, struct err_detail *why)
{
    if (p->quarantined) {
        return log_quarantine_err(p, why);
    }
    if (offset < 0 || offset > p->high_watermark) {
        return err_set(why, ERR_OFFSET_OUT_OF_RANGE,
                       "offset %" PRId64 " is outside of %" PRId64 " to %" PRId64, offset,
                       p->start_offset, p->high_watermark);
    }
    if (offset > log_stable_offset(p)) {
        return err_set(why, ERR_BUSY,
                       "a transaction that begins at offset %" PRId64 " is open: try again later",
                       log_stable_offset(p));
    }
    if (offset <= p->start_offset) {
        return ERR_OK;
    }
    p->start_offset = offset;
    p->start_moved = true;
    (void)log_drop_before(p, offset);
    return ERR_OK;
}

/* ---- the whole partition ---- */

/* A file of a folder that is being removed. */
struct removal {
    struct host *host;
    const char *dir;
    enum err result;
};

/* Whether the name is one of ours; others are not touched, and keep the folder. */
static bool is_log_file(const char *name)
{
    enum { DIGITS = 20 };
    if (strcmp(name, "meta") == 0) {
        return true;
    }
    static const char *const suffixes[] = {".log", ".index", LOG_STATE_SUFFIX, COMPACT_WRITING,
                                           COMPACT_SWAP};
    bool ours = false;
    for (size_t i = 0; i < ARRAY_LEN(suffixes) && strspn(name, "0123456789") == DIGITS; i++) {
        ours |= strcmp(name + DIGITS, suffixes[i]) == 0;
    }
    return ours;
}

static bool remove_entry(void *arg, const char *name)
{
    struct removal *r = arg;
    char path[HOST_PATH_MAX];
    if (!is_log_file(name)) {
        return true;
    }
    int n = snprintf(path, sizeof path, "%s/%s", r->dir, name);
    r->result = n > 0 && n < HOST_PATH_MAX ? log_file_remove(r->host, path) : ERR_LIMIT;
    return r->result == ERR_OK;
}

enum err log_remove_dir(struct host *h, const char *dir)
{
    struct removal r = {.host = h, .dir = dir};
    bool exists = false;
    TRY(host_path_exists(h, dir, &exists));
    if (!exists) {
        return ERR_OK;
    }
    TRY(host_dir_list(h, dir, remove_entry, &r));
    TRY(r.result);
    return host_remove(h, dir);
}

enum err log_delete(struct log_partition *p)
{
    struct host *h = p->host;
    char dir[HOST_PATH_MAX];
    int n = snprintf(dir, sizeof dir, "%s", p->dir);
    CHECK(n >= 0 && n < HOST_PATH_MAX);
    /* Their files go with the others. */
    while (p->retired != NULL) {
        struct log_segment *next = p->retired->next_retired;
        log_segment_release(p->retired);
        p->retired = next;
    }
    log_close(p);
    return log_remove_dir(h, dir);
}

/* ---- the uncommitted tail ---- */

/* The steps on the disk, in an order that a crash between any two of them leaves a log that is
 * whole: either the tail is still there, or it is gone. */
static enum err cut_files(struct log_partition *p, uint32_t number, uint64_t at, int64_t offset)
{
    char path[HOST_PATH_MAX];
    struct log_segment *s = p->segments[number];
    p->clean_offset = offset < p->clean_offset ? offset : p->clean_offset;
    struct log_checkpoint c = {.start_offset = p->start_offset,
                               .durable_offset =
                                   offset < p->flushed_offset ? offset : p->flushed_offset,
                               .clean_offset = p->clean_offset};
    TRY(log_meta_write_all(p->meta, &c));
    TRY(host_file_sync(p->meta));
    /* The indexes first: they prove what was durable. */
    for (uint32_t i = p->n_segments; i > number; i--) {
        TRY(log_segment_path(p->dir, p->segments[i - 1]->base_offset, ".index", path));
        TRY(log_file_remove(p->host, path));
    }
    TRY(host_dir_sync(p->host, p->dir));
    for (uint32_t i = p->n_segments - 1; i > number; i--) {
        TRY(log_segment_remove_files(p->host, p->dir, p->segments[i]->base_offset));
    }
    TRY(host_dir_sync(p->host, p->dir));
    TRY(host_file_truncate(s->file, at));
    return host_file_sync(s->file);
}

static void cut_memory(struct log_partition *p, uint32_t number, uint64_t at, int64_t offset)
{
    struct log_segment *s = p->segments[number];
    while (p->n_segments > number + 1) {
        struct log_segment *gone = p->segments[--p->n_segments];
        log_marks_forget(p, gone);
        p->size_bytes -= gone->bytes;
        log_segment_release(gone);
    }
    log_marks_forget(p, s);
    /* The greatest timestamp may be that of a batch that is gone: a bound is enough. */
    log_index_cut(&s->index, at);
    p->size_bytes -= s->bytes - at;
    s->bytes = at;
    s->flushed_bytes = s->flushed_bytes < at ? s->flushed_bytes : at;
    s->file_bytes = at;
    s->checked_bytes = s->checked_bytes < at ? s->checked_bytes : at;
    s->end_offset = offset;
    s->max_timestamp = at == 0 ? -1 : s->max_timestamp;
    s->sealed = false;
    s->finished = false;
    p->end_offset = offset;
    p->durable_offset = offset < p->durable_offset ? offset : p->durable_offset;
    p->high_watermark = offset < p->high_watermark ? offset : p->high_watermark;
}

enum err log_truncate(struct log_partition *p, int64_t offset, struct err_detail *why)
{
    uint32_t number;
    uint64_t at;
    int64_t base;
    CHECK(!p->sync_running && !p->compacting && p->producers.n == 0);
    if (p->quarantined) {
        return log_quarantine_err(p, why);
    }
    if (offset < p->start_offset || offset > p->end_offset) {
        return err_set(why, ERR_OFFSET_OUT_OF_RANGE,
                       "%s: cannot cut at offset %" PRId64 ", outside of %" PRId64 " to %" PRId64,
                       p->dir, offset, p->start_offset, p->end_offset);
    }
    if (offset == p->end_offset) {
        return ERR_OK;
    }
    TRY(log_locate(p, offset, &number, &at, &base, why));
    if (base != offset) {
        return err_set(why, ERR_INVALID_ARGUMENT,
                       "%s: cannot cut at offset %" PRId64 ", inside the batch at %" PRId64, p->dir,
                       offset, base);
    }
    enum err e = cut_files(p, number, at, offset);
    if (e != ERR_OK) {
        char text[LOG_QUARANTINE_TEXT_MAX];
        (void)snprintf(text, sizeof text, "cutting at offset %" PRId64 " failed: %s", offset,
                       err_info(e)->text);
        log_quarantine(p, offset, text);
        return err_set(why, e, "%s: %s", p->dir, text);
    }
    cut_memory(p, number, at, offset);
    return ERR_OK;
}
