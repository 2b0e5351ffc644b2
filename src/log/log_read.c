/* Reading: from an offset to a range of bytes in a file.
 *
 *   offset --mark?--> position                     tail readers: nothing is read
 *          --index--> position nearby --headers--> the batch
 *
 * Where headers were not seen since the start (checked_bytes), every one in the range is looked at:
 * each must continue the one before. Where they were, positions come from marks and the index. */
#include "log/log.h"

#include "base/check.h"
#include "base/mem.h"
#include "log/log_int.h"

#include <inttypes.h>

/* ---- warm segments ---- */

/* Lets go of the file and index of the sealed segment that was not used for longest, when there are
 * too many. */
static void cool_one(struct log_partition *p)
{
    struct log_segment *coldest = NULL;
    uint32_t warm = 0;
    for (uint32_t i = 0; i < p->n_segments; i++) {
        struct log_segment *s = p->segments[i];
        if (!s->finished || s->pinned || s->file == NULL || log_segment_shared(s)) {
            continue;
        }
        warm++;
        if (coldest == NULL || s->used_at < coldest->used_at) {
            coldest = s;
        }
    }
    if (warm >= LOG_WARM_SEGMENTS_MAX) {
        log_segment_cool(coldest);
    }
}

static enum err corrupt(const struct log_partition *p, const struct log_segment *s, uint64_t at,
                        int64_t offset, const struct err_detail *inner, struct err_detail *why)
{
    enum err e =
        err_set(why, ERR_CORRUPT,
                "%s/%020" PRId64 ".log: damaged at byte %" PRIu64 " (offset %" PRId64 "): %s",
                p->dir, s->base_offset, at, offset, err_text(ERR_CORRUPT, inner));
    err_hint(why, "restore the file from a backup, or read on from a later offset");
    return e;
}

static struct log_scan scan_of(const struct log_segment *s, char *buffer, size_t n)
{
    return (struct log_scan){
        .file = s->file, .size = s->bytes, .buffer = buffer, .buffer_bytes = n};
}

/* Makes the index again from the whole segment: its headers, and its markers when there are aborted
 * transactions. */
static enum err index_rebuild(struct log_partition *p, struct log_segment *s,
                              struct err_detail *why)
{
    struct log_segment fresh = {.base_offset = s->base_offset,
                                .end_offset = s->base_offset,
                                .aborted_first = INT64_MAX};
    struct producers state;
    producers_init(&state);
    char *buffer = mem_alloc(LOG_RECOVERY_READ_BYTES);
    enum err e = buffer != NULL ? ERR_OK : ERR_NO_MEMORY;
    if (e == ERR_OK && s->n_aborted > 0) {
        e = log_state_before(p, log_segment_find(p, s->base_offset), &state);
    }
    struct log_scan scan = scan_of(s, buffer, LOG_RECOVERY_READ_BYTES);
    while (e == ERR_OK && fresh.bytes < s->bytes) {
        struct kafka_batch b;
        struct err_detail inner = {0};
        e = log_scan_header(&scan, fresh.bytes, fresh.end_offset, &b, &inner);
        if (e == ERR_CORRUPT) {
            e = corrupt(p, s, fresh.bytes, fresh.end_offset, &inner, why);
        }
        if (e == ERR_OK && s->n_aborted > 0) {
            e = log_state_scan(&state, &fresh, &scan, fresh.bytes, &b, 0);
        }
        if (e == ERR_OK) {
            e = log_index_reserve(&fresh.index, 1);
        }
        if (e == ERR_OK) {
            log_segment_add(&fresh, &b, p->config.index_interval_bytes);
        }
    }
    mem_free(buffer);
    producers_deinit(&state);
    if (e == ERR_OK && fresh.end_offset != s->end_offset) {
        e = corrupt(p, s, fresh.bytes, fresh.end_offset, NULL, why);
    }
    if (e != ERR_OK) {
        log_index_deinit(&fresh.index);
        return e;
    }
    s->index = fresh.index;
    s->n_aborted = fresh.n_aborted; /* after compaction it may find more, whose records are gone */
    s->aborted_first = fresh.aborted_first;
    s->checked_bytes = s->bytes;
    return ERR_OK;
}

enum err log_warm(struct log_partition *p, struct log_segment *s, struct err_detail *why)
{
    char path[HOST_PATH_MAX];
    s->used_at = ++p->use_clock;
    if (s->file != NULL && s->index.n > 0) {
        return ERR_OK;
    }
    cool_one(p);
    TRY(log_segment_open(s, p->dir, why));
    if (s->bytes == 0 || s->index.n > 0) {
        return ERR_OK;
    }
    struct log_index_info info = log_segment_info(s);
    TRY(log_segment_path(p->dir, s->base_offset, ".index", path));
    enum err e = log_index_load(p->host, path, &info, &s->index);
    return e == ERR_CORRUPT ? index_rebuild(p, s, why) : e;
}

/* ---- positions ---- */

static bool mark_matches(const struct log_mark *m, int64_t offset)
{
    /* The end of a sealed segment is the next one's beginning. */
    return m->segment != NULL && m->offset == offset &&
           !(m->segment->sealed && m->at == m->segment->bytes);
}

/* Among the remembered ones, without the durable end's, which moves. */
static const struct log_mark *mark_remembered(const struct log_partition *p, int64_t offset)
{
    for (uint32_t i = 0; i < LOG_MARKS_MAX; i++) {
        if (mark_matches(&p->marks[i], offset)) {
            return &p->marks[i];
        }
    }
    return NULL;
}

static const struct log_mark *mark_find(const struct log_partition *p, int64_t offset)
{
    return mark_matches(&p->durable_mark, offset) ? &p->durable_mark : mark_remembered(p, offset);
}

static void mark_add(struct log_partition *p, struct log_segment *s, int64_t offset, uint64_t at)
{
    if (mark_remembered(p, offset) == NULL) {
        p->marks[p->next_mark++ % LOG_MARKS_MAX] = (struct log_mark){s, offset, at};
    }
}

uint32_t log_segment_find(const struct log_partition *p, int64_t offset)
{
    uint32_t low = 0;
    uint32_t high = p->n_segments;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (p->segments[middle]->base_offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Reads headers from batch (*at, *base) on until the batch that contains `offset`. */
static enum err walk(const struct log_partition *p, const struct log_segment *s, int64_t offset,
                     uint64_t *at, int64_t *base, struct err_detail *why)
{
    char buffer[LOG_SCAN_BYTES];
    struct log_scan scan = scan_of(s, buffer, sizeof buffer);
    for (;;) {
        struct kafka_batch b;
        struct err_detail inner = {0};
        enum err e = log_scan_header(&scan, *at, *base, &b, &inner);
        if (e == ERR_CORRUPT) {
            return corrupt(p, s, *at, *base, &inner, why);
        }
        TRY(e);
        int64_t next = *base + b.last_offset_delta + 1;
        if (offset < next) {
            return ERR_OK;
        }
        *at += b.bytes;
        *base = next;
    }
}

enum err log_locate(struct log_partition *p, int64_t offset, uint32_t *segment, uint64_t *at,
                    int64_t *base_offset, struct err_detail *why)
{
    *segment = log_segment_find(p, offset);
    struct log_segment *s = p->segments[*segment];
    TRY(log_warm(p, s, why));
    const struct log_mark *m = mark_find(p, offset);
    if (m != NULL && m->segment == s) {
        *at = m->at;
        *base_offset = offset;
        return ERR_OK;
    }
    const struct log_index_entry *e =
        log_index_by_offset(&s->index, (uint64_t)(offset - s->base_offset));
    *at = e != NULL ? e->position : 0;
    *base_offset = s->base_offset + (e != NULL ? (int64_t)e->offset_delta : 0);
    return *base_offset == offset ? ERR_OK : walk(p, s, offset, at, base_offset, why);
}

/* ---- ranges ---- */

/* Where a range may end. */
struct bound {
    int64_t offset;
    uint64_t at;
};

/* Goes as far as marks and the index know, from *to (a batch's beginning) on. */
static void skip_known(const struct log_partition *p, const struct log_segment *s,
                       const struct bound *max, struct bound *to)
{
    const struct log_mark *m = mark_find(p, max->offset);
    if (s->end_offset <= max->offset && s->bytes <= max->at) {
        *to = (struct bound){s->end_offset, s->bytes};
        return;
    }
    if (m != NULL && m->segment == s && m->at <= max->at) {
        *to = (struct bound){m->offset, m->at};
        return;
    }
    const struct log_index_entry *e =
        log_index_by_position(&s->index, (uint64_t)(max->offset - s->base_offset), max->at);
    if (e != NULL && e->position > to->at) {
        *to = (struct bound){s->base_offset + e->offset_delta, e->position};
    }
}

/* Whether a batch at `from` leaves room for what follows it in the segment. */
static bool ends_right(const struct log_segment *s, const struct bound *from,
                       const struct kafka_batch *b)
{
    int64_t next = from->offset + b->last_offset_delta + 1;
    bool last = from->at + b->bytes == s->bytes;
    return last ? next == s->end_offset : next < s->end_offset;
}

/* Adds batches to the range that ends at *to until the next would pass `max`; the first one may be
 * longer. Looks at every header. */
static enum err extend(const struct log_partition *p, struct log_segment *s,
                       const struct bound *max, uint64_t from, struct bound *to,
                       struct err_detail *why)
{
    char buffer[LOG_SCAN_BYTES];
    struct log_scan scan = scan_of(s, buffer, sizeof buffer);
    while (to->at < s->bytes && to->offset < max->offset) {
        struct kafka_batch b;
        struct err_detail inner = {0};
        enum err e = log_scan_header(&scan, to->at, to->offset, &b, &inner);
        if (e == ERR_OK && !ends_right(s, to, &b)) {
            e = err_set(&inner, ERR_CORRUPT, "its end does not fit the segment's end at %" PRId64,
                        s->end_offset);
        }
        if (e == ERR_CORRUPT) {
            /* What comes before can still be served; the next read says what is wrong. */
            return to->at > from ? ERR_OK : corrupt(p, s, to->at, to->offset, &inner, why);
        }
        TRY(e);
        int64_t next = to->offset + b.last_offset_delta + 1;
        bool fits = to->at + b.bytes <= max->at || to->at == from;
        if (next > max->offset || !fits) {
            break;
        }
        if (to->at <= s->checked_bytes && to->at + b.bytes > s->checked_bytes) {
            s->checked_bytes = to->at + b.bytes;
        }
        *to = (struct bound){next, to->at + b.bytes};
    }
    return ERR_OK;
}

static enum err read_from(struct log_partition *p, struct log_segment *s, uint64_t at, int64_t base,
                          int64_t limit, size_t bytes_max, struct log_range *out,
                          struct err_detail *why)
{
    struct bound to = {base, at};
    struct bound max = {limit, bytes_max < s->bytes - at ? at + bytes_max : s->bytes};
    if (s->checked_bytes == s->bytes) {
        skip_known(p, s, &max, &to);
    }
    bool done = to.offset == max.offset || to.at == max.at;
    if (!done || to.at == at) {
        TRY(extend(p, s, &max, at, &to, why));
    }
    out->first_offset = base;
    out->next_offset = to.at > at ? to.offset : out->next_offset;
    out->at = at;
    out->len = (size_t)(to.at - at);
    if (out->len > 0) {
        log_segment_hold(s);
        out->segment = s;
        out->file = s->file;
        mark_add(p, s, to.offset, to.at);
    }
    return ERR_OK;
}

/* Compaction leaves empty batches behind, and there are clients that fail on an answer with nothing
 * else. So a range does not begin with one: goes on to the next batch with records, unless there
 * is none below the limit. The active segment has no empty batches; the last one of a damaged
 * partition may be sealed. */
static enum err skip_empty(struct log_partition *p, int64_t limit, uint32_t *segment, uint64_t *at,
                           int64_t *base_offset, struct err_detail *why)
{
    char buffer[LOG_SCAN_BYTES];
    uint32_t i = *segment;
    uint64_t from = *at;
    int64_t offset = *base_offset;
    while (i < p->n_segments && p->segments[i]->sealed && offset < limit) {
        struct log_segment *s = p->segments[i];
        TRY(log_warm(p, s, why));
        struct log_scan scan = scan_of(s, buffer, sizeof buffer);
        struct kafka_batch b = {.n_records = 0};
        while (from < s->bytes && b.n_records == 0 && offset < limit) {
            enum err e = log_scan_header(&scan, from, offset, &b, NULL);
            if (e == ERR_CORRUPT) {
                return ERR_OK; /* reading it says what is wrong */
            }
            TRY(e);
            if (b.n_records == 0) {
                from += b.bytes;
                offset += (int64_t)b.last_offset_delta + 1;
            }
        }
        if (from < s->bytes) {
            break;
        }
        i++;
        from = 0;
    }
    if (offset < limit && i < p->n_segments) {
        *segment = i;
        *at = from;
        *base_offset = offset;
    }
    return ERR_OK;
}

enum err log_read(struct log_partition *p, int64_t offset, int64_t limit_offset, size_t bytes_max,
                  struct log_range *out, struct err_detail *why)
{
    *out = (struct log_range){.first_offset = offset, .next_offset = offset};
    if (p->quarantined && offset >= p->end_offset) {
        return log_quarantine_err(p, why);
    }
    if (limit_offset > p->end_offset) {
        limit_offset = p->end_offset;
    }
    if (offset < p->start_offset || offset > limit_offset) {
        return err_set(why, ERR_OFFSET_OUT_OF_RANGE,
                       "offset %" PRId64 " is outside of %" PRId64 " to %" PRId64, offset,
                       p->start_offset, limit_offset);
    }
    if (offset == limit_offset) {
        return ERR_OK;
    }
    uint32_t segment;
    uint64_t at;
    int64_t base;
    TRY(log_locate(p, offset, &segment, &at, &base, why));
    TRY(skip_empty(p, limit_offset, &segment, &at, &base, why));
    return read_from(p, p->segments[segment], at, base, limit_offset, bytes_max, out, why);
}

void log_range_release(struct log_range *r)
{
    if (r->segment != NULL) {
        log_segment_release(r->segment);
    }
    *r = (struct log_range){0};
}

/* ---- by time ---- */

/* What a search by time works with. */
struct time_search {
    int64_t ms, start_offset, limit_offset;
    int64_t offset, found_ms; /* the result; offset -1 = none yet */
    struct compress *compress;
    struct buf bytes, decoded;
};

/* Looks into one batch. */
static enum err search_batch(const struct log_segment *s, uint64_t at, const struct kafka_batch *b,
                             struct time_search *t)
{
    struct kafka_records it;
    struct kafka_record r;
    struct kafka_batch whole;
    buf_clear(&t->bytes);
    char *p = buf_reserve(&t->bytes, b->bytes);
    if (p == NULL) {
        return ERR_NO_MEMORY;
    }
    TRY(host_file_read(s->file, at, p, b->bytes));
    struct str bytes = {p, b->bytes};
    if (kafka_batch_validate(bytes, &whole, NULL) != ERR_OK) {
        return ERR_CORRUPT;
    }
    enum err e = kafka_records_open(&it, bytes, t->compress, &t->decoded, NULL);
    if (e != ERR_OK) {
        /* A batch that nobody can decode has no time; the next one may. */
        return e == ERR_NO_MEMORY ? e : ERR_OK;
    }
    while (kafka_records_next(&it, &r)) {
        if (r.timestamp >= t->ms && r.offset >= t->start_offset && r.offset < t->limit_offset) {
            t->offset = r.offset;
            t->found_ms = r.timestamp;
            return ERR_OK;
        }
    }
    return ERR_OK;
}

static enum err search_segment(struct log_partition *p, struct log_segment *s,
                               struct time_search *t)
{
    char buffer[LOG_SCAN_BYTES];
    TRY(log_warm(p, s, NULL));
    const struct log_index_entry *e = log_index_by_time(&s->index, t->ms);
    uint64_t at = e != NULL ? e->position : 0;
    int64_t offset = s->base_offset + (e != NULL ? (int64_t)e->offset_delta : 0);
    struct log_scan scan = scan_of(s, buffer, sizeof buffer);
    while (at < s->bytes && offset < t->limit_offset && t->offset < 0) {
        struct kafka_batch b;
        TRY(log_scan_header(&scan, at, offset, &b, NULL));
        if (b.max_timestamp >= t->ms) {
            TRY(search_batch(s, at, &b, t));
        }
        at += b.bytes;
        offset += (int64_t)b.last_offset_delta + 1;
    }
    return ERR_OK;
}

enum err log_offset_for_time(struct log_partition *p, int64_t timestamp_ms, int64_t *offset,
                             int64_t *found_ms)
{
    struct time_search t = {.ms = timestamp_ms,
                            .start_offset = p->start_offset,
                            .limit_offset = p->high_watermark,
                            .offset = -1,
                            .found_ms = -1};
    enum err e = ERR_OK;
    buf_init(&t.bytes, KAFKA_BATCH_BYTES_MAX);
    buf_init(&t.decoded, KAFKA_BATCH_DECODED_BYTES_MAX);
    t.compress = compress_new();
    if (t.compress == NULL) {
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < p->n_segments && e == ERR_OK && t.offset < 0; i++) {
        struct log_segment *s = p->segments[i];
        if (s->max_timestamp >= timestamp_ms && s->base_offset < t.limit_offset) {
            e = search_segment(p, s, &t);
        }
    }
    compress_free(t.compress);
    buf_deinit(&t.bytes);
    buf_deinit(&t.decoded);
    *offset = t.offset;
    *found_ms = t.found_ms;
    return e;
}

/* The greatest timestamp of a segment below limit_offset: of what the index knows, and of the
 * batches behind its last entry below the limit. */
static enum err max_timestamp_below(struct log_partition *p, struct log_segment *s,
                                    int64_t limit_offset, int64_t *ms)
{
    char buffer[LOG_SCAN_BYTES];
    if (s->end_offset <= limit_offset) {
        *ms = s->max_timestamp;
        return ERR_OK;
    }
    TRY(log_warm(p, s, NULL));
    const struct log_index_entry *e =
        log_index_by_offset(&s->index, (uint64_t)(limit_offset - s->base_offset));
    uint64_t at = e != NULL ? e->position : 0;
    int64_t offset = s->base_offset + (e != NULL ? (int64_t)e->offset_delta : 0);
    struct log_scan scan = scan_of(s, buffer, sizeof buffer);
    *ms = e != NULL ? e->max_before : INT64_MIN;
    while (at < s->bytes && offset < limit_offset) {
        struct kafka_batch b;
        TRY(log_scan_header(&scan, at, offset, &b, NULL));
        *ms = b.max_timestamp > *ms ? b.max_timestamp : *ms;
        at += b.bytes;
        offset += (int64_t)b.last_offset_delta + 1;
    }
    return ERR_OK;
}

enum err log_offset_for_max_time(struct log_partition *p, int64_t *offset, int64_t *found_ms)
{
    int64_t greatest = -1;
    for (uint32_t i = 0; i < p->n_segments; i++) {
        struct log_segment *s = p->segments[i];
        int64_t ms;
        if (s->base_offset < p->high_watermark) {
            TRY(max_timestamp_below(p, s, p->high_watermark, &ms));
            greatest = ms > greatest ? ms : greatest;
        }
    }
    *offset = *found_ms = -1;
    return greatest < 0 ? ERR_OK : log_offset_for_time(p, greatest, offset, found_ms);
}
