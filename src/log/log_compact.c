/* The owner's part of compaction: which segments, taking over what was written; and what the start
 * makes of an unfinished one.
 *
 *   <base>.cleaned   is being written: removed at the start
 *   <base>.swap      counts, in the place of all segments that begin within its offsets
 *   <base>.log       is a segment like any other
 *
 * Helper: write .cleaned, flush it. Owner: take it over in memory. Helper: rename to .swap, flush
 * the name (from here on it counts), remove what it stands for, rename to .log. */
#include "log/log_compact.h"

#include "base/check.h"
#include "base/mem.h"
#include "log/log_compact_int.h"

#include <stdio.h>

/* ---- what there is to do ---- */

/* Whether the segment can be compacted, apart from its age. */
static bool is_settled(const struct log_segment *s, int64_t below)
{
    return s->sealed && s->finished && !s->pinned && s->end_offset <= below;
}

static bool too_young(const struct log_config *c, const struct log_segment *s, int64_t now_ms)
{
    return c->min_compaction_lag_ms > 0 && s->max_timestamp >= 0 &&
           (s->max_timestamp > now_ms || now_ms - s->max_timestamp < c->min_compaction_lag_ms);
}

static bool too_old(const struct log_config *c, const struct log_segment *s, int64_t now_ms)
{
    return s->first_timestamp >= 0 && s->first_timestamp < now_ms &&
           now_ms - s->first_timestamp > c->max_compaction_lag_ms;
}

/* The number of segments that can be compacted from the first on; 0 when it is not worth it. */
static uint32_t choose(const struct log_partition *p, int64_t now_ms, int64_t below)
{
    const struct log_config *c = &p->config;
    uint64_t dirty = 0;
    uint64_t total = 0;
    bool old = false;
    uint32_t n = 0;
    for (; n < p->n_segments; n++) {
        const struct log_segment *s = p->segments[n];
        bool clean = s->end_offset <= p->clean_offset;
        if (!is_settled(s, below) || (!clean && too_young(c, s, now_ms))) {
            break;
        }
        old |= !clean && too_old(c, s, now_ms);
        dirty += clean ? 0 : s->bytes;
        total += s->bytes;
    }
    double share = total > 0 ? (double)dirty / (double)total : 0;
    return dirty > 0 && (old || share >= c->min_cleanable_dirty_ratio) ? n : 0;
}

static struct log_compaction *compaction_new(const struct log_partition *p)
{
    struct log_compaction *c = mem_zalloc(1, sizeof *c);
    size_t n = strlen(p->dir) + 1;
    if (c == NULL) {
        return NULL;
    }
    buf_init(&c->decoded, KAFKA_BATCH_DECODED_BYTES_MAX);
    buf_init(&c->scratch, KAFKA_BATCH_BYTES_MAX);
    key_map_init(&c->keys, p->host, LOG_COMPACT_KEYS_MAX);
    key_map_init(&c->last, p->host, LOG_COMPACT_PRODUCERS_MAX);
    c->host = p->host;
    c->dir = mem_alloc(n);
    c->inputs = mem_alloc(p->n_segments * sizeof *c->inputs);
    if (c->dir == NULL || c->inputs == NULL) {
        log_compact_free(c);
        return NULL;
    }
    memcpy(c->dir, p->dir, n);
    return c;
}

enum err log_compact_begin(struct log_partition *p, int64_t now_ms, int64_t below,
                           struct log_compaction **out)
{
    *out = NULL;
    below = below < p->high_watermark ? below : p->high_watermark;
    bool may = p->config.compact && !p->quarantined && !p->compacting && !p->compaction_failed;
    uint32_t n = may ? choose(p, now_ms, below) : 0;
    if (n == 0) {
        return ERR_OK;
    }
    struct log_compaction *c = compaction_new(p);
    if (c == NULL) {
        return ERR_NO_MEMORY;
    }
    c->config = p->config;
    c->now_ms = now_ms;
    c->clean_offset = p->clean_offset;
    c->limit_offset = p->high_watermark;
    c->n_inputs = n;
    for (; c->n_all < p->n_segments; c->n_all++) {
        const struct log_segment *s = p->segments[c->n_all];
        if (s->base_offset >= c->limit_offset) {
            break;
        }
        c->inputs[c->n_all] = (struct compact_input){s->base_offset, s->end_offset, s->bytes};
    }
    p->compacting = true;
    *out = c;
    return ERR_OK;
}

void log_compact_cancel(struct log_compaction *c)
{
    atomic_store(&c->canceled, true);
}

void log_compact_free(struct log_compaction *c)
{
    if (c == NULL) {
        return;
    }
    if (c->output != NULL && c->phase == COMPACT_WRITE) {
        log_segment_release(c->output); /* written, not taken over */
    }
    key_map_deinit(&c->keys);
    key_map_deinit(&c->last);
    mem_free(c->open.items);
    mem_free(c->aborted.items);
    mem_free(c->orphans.items);
    compress_free(c->compress);
    buf_deinit(&c->decoded);
    buf_deinit(&c->scratch);
    mem_free(c->buffer);
    mem_free(c->inputs);
    mem_free(c->dir);
    mem_free(c);
}

/* ---- taking over ---- */

/* Where the group's segments stand in the list; false when retention has taken some. */
static bool group_find(const struct log_partition *p, const struct log_compaction *c, uint32_t *at)
{
    const struct compact_input *in = &c->inputs[c->group_at];
    uint32_t i = 0;
    while (i < p->n_segments && p->segments[i]->base_offset != in->base_offset) {
        i++;
    }
    *at = i;
    if (i + c->group_n > p->n_segments) {
        return false;
    }
    for (uint32_t k = 0; k < c->group_n; k++) {
        CHECK(p->segments[i + k]->base_offset == in[k].base_offset);
    }
    return true;
}

/* Puts the written segment in the place of the group. */
static bool take_over(struct log_partition *p, struct log_compaction *c)
{
    char path[HOST_PATH_MAX];
    struct log_segment *s = c->output;
    uint32_t at;
    CHECK(s->end_offset == c->inputs[c->group_at + c->group_n - 1].end_offset);
    if (!group_find(p, c, &at)) {
        c->output = NULL;
        if (log_segment_path(p->dir, s->base_offset, COMPACT_WRITING, path) == ERR_OK) {
            (void)!log_file_remove(p->host, path);
        }
        log_segment_release(s);
        return false;
    }
    const struct log_segment *last = p->segments[at + c->group_n - 1];
    s->open_first = last->open_first;
    s->n_producers = last->n_producers;
    c->done.segments_before += c->group_n;
    c->done.segments_after++;
    c->done.bytes_after += s->bytes;
    p->size_bytes += s->bytes;
    for (uint32_t k = 0; k < c->group_n; k++) {
        struct log_segment *old = p->segments[at + k];
        c->done.bytes_before += old->bytes;
        p->size_bytes -= old->bytes;
        log_marks_forget(p, old);
        log_segment_release(old);
    }
    p->segments[at] = s;
    uint32_t behind = at + c->group_n;
    memmove(p->segments + at + 1, p->segments + behind,
            (p->n_segments - behind) * sizeof *p->segments);
    p->n_segments -= c->group_n - 1;
    return true;
}

/* On to the next group, or the end. */
static bool go_on(struct log_compaction *c)
{
    c->output = NULL;
    c->group_at += c->group_n;
    c->group_n = 0;
    c->phase = c->group_at < c->n_inputs ? COMPACT_WRITE : COMPACT_DONE;
    return c->phase == COMPACT_WRITE;
}

bool log_compact_step(struct log_partition *p, struct log_compaction *c)
{
    switch (c->phase) {
    case COMPACT_KEYS:
        return c->result == ERR_OK && go_on(c);
    case COMPACT_WRITE:
        if (c->result != ERR_OK) {
            return false;
        }
        if (c->output == NULL || !take_over(p, c)) {
            return go_on(c);
        }
        c->phase = COMPACT_NAMES;
        return true;
    case COMPACT_NAMES:
        if (c->result != ERR_OK) {
            /* The segment is served from its open file, which may have any name by now: the next
             * start looks. */
            p->compaction_failed = true;
            return false;
        }
        c->output->pinned = false;
        return go_on(c);
    case COMPACT_DONE:
        break;
    }
    return false;
}

enum err log_compact_end(struct log_partition *p, struct log_compaction *c,
                         struct log_compacted *done, struct err_detail *why)
{
    enum err e = c->result;
    CHECK(p->compacting);
    p->compacting = false;
    if (e == ERR_OK && c->end_offset > p->clean_offset) {
        p->clean_offset = c->end_offset;
    }
    if (done != NULL) {
        *done = c->done;
    }
    if (e != ERR_OK) {
        e = err_set(why, e, "%s: compaction ended: %s", p->dir, err_text(e, &c->why));
    }
    log_compact_free(c);
    return e;
}

/* ---- at the start ---- */

enum { SWAPS_MAX = 64, OFFSET_DIGITS = 20 }; /* there is one at a time */

/* What is found in the folder. */
struct leftovers {
    struct log_partition *p;
    int64_t swaps[SWAPS_MAX];
    uint32_t n_swaps;
    int64_t *bases; /* of .log files */
    uint32_t n_bases, cap_bases;
    enum err result;
};

static enum err bases_add(struct leftovers *l, int64_t base)
{
    if (l->n_bases == l->cap_bases) {
        uint32_t cap = l->cap_bases == 0 ? 64 : l->cap_bases * 2;
        int64_t *moved = mem_realloc(l->bases, cap * sizeof *moved);
        if (moved == NULL) {
            return ERR_NO_MEMORY;
        }
        l->bases = moved;
        l->cap_bases = cap;
    }
    l->bases[l->n_bases++] = base;
    return ERR_OK;
}

static bool leftover_entry(void *arg, const char *name)
{
    struct leftovers *l = arg;
    char path[HOST_PATH_MAX];
    int64_t base;
    struct str digits = {name, OFFSET_DIGITS};
    if (strspn(name, "0123456789") != OFFSET_DIGITS || str_to_i64(digits, &base) != ERR_OK) {
        return true;
    }
    const char *suffix = name + OFFSET_DIGITS;
    if (strcmp(suffix, COMPACT_WRITING) == 0) {
        l->result = log_segment_path(l->p->dir, base, COMPACT_WRITING, path);
        l->result = l->result == ERR_OK ? host_remove(l->p->host, path) : l->result;
    } else if (strcmp(suffix, COMPACT_SWAP) == 0 && l->n_swaps < SWAPS_MAX) {
        l->swaps[l->n_swaps++] = base;
    } else if (strcmp(suffix, ".log") == 0) {
        l->result = bases_add(l, base);
    }
    return l->result == ERR_OK;
}

/* The end of a swap file's offsets; `base_offset` itself when it is damaged. */
static enum err swap_end(struct log_partition *p, int64_t base_offset, int64_t *end)
{
    char path[HOST_PATH_MAX];
    struct host_file *f = NULL;
    char *buffer = mem_alloc(LOG_RECOVERY_READ_BYTES);
    struct log_scan scan = {.buffer = buffer, .buffer_bytes = LOG_RECOVERY_READ_BYTES};
    enum err e = buffer != NULL ? log_segment_path(p->dir, base_offset, COMPACT_SWAP, path)
                                : ERR_NO_MEMORY;
    if (e == ERR_OK) {
        e = host_file_open(p->host, path, HOST_OPEN_READ, &f, NULL);
    }
    if (e == ERR_OK) {
        e = host_file_size(f, &scan.size);
    }
    scan.file = f;
    *end = base_offset;
    for (uint64_t at = 0; e == ERR_OK && at < scan.size;) {
        struct kafka_batch b;
        bool right = false;
        e = log_scan_header(&scan, at, *end, &b, NULL);
        if (e == ERR_OK) {
            e = log_scan_crc(&scan, at, &b, &right);
        }
        if (e == ERR_OK && !right) {
            e = ERR_CORRUPT;
        }
        if (e == ERR_OK) {
            at += b.bytes;
            *end += (int64_t)b.last_offset_delta + 1;
        }
    }
    if (e == ERR_CORRUPT) {
        *end = base_offset;
        e = ERR_OK;
    }
    host_file_close(f);
    mem_free(buffer);
    return e;
}

/* A damaged swap file stands for nothing: the segments that are left say what is missing. */
static enum err swap_finish(struct leftovers *l, int64_t base)
{
    struct log_partition *p = l->p;
    char path[HOST_PATH_MAX];
    int64_t end;
    TRY(swap_end(p, base, &end));
    if (end > base) {
        return compact_finish_swap(p->host, p->dir, base, end, l->bases, l->n_bases);
    }
    TRY(log_segment_path(p->dir, base, COMPACT_SWAP, path));
    TRY(host_remove(p->host, path));
    return host_dir_sync(p->host, p->dir);
}

enum err log_compact_recover(struct log_partition *p, struct err_detail *why)
{
    struct leftovers l = {.p = p};
    bool exists = false;
    enum err e = host_path_exists(p->host, p->dir, &exists);
    if (e == ERR_OK && exists) {
        e = host_dir_list(p->host, p->dir, leftover_entry, &l);
        e = e == ERR_OK ? l.result : e;
    }
    for (uint32_t i = 0; i < l.n_swaps && e == ERR_OK; i++) {
        e = swap_finish(&l, l.swaps[i]);
    }
    mem_free(l.bases);
    return e == ERR_OK ? e : err_set(why, e, "%s: cannot finish a compaction", p->dir);
}
