/* Recovery: from files in a folder to a partition, or to the first offset that damage has taken.
 *
 *   segments with a valid index    were full and durable: size and first header are checked
 *   all others                     every header, and the CRCs of what may be torn
 *
 * A scan ends at the first frame that is not valid. What that means:
 *
 *   nothing but zeros or the file's end behind it                    clean end
 *   an offset at or behind it is known to have been durable          damage
 *   no valid batch follows                                           torn
 *   one does, and a sector of the frame before it is still zero      torn: it was never flushed
 *   else                                                             damage
 *
 * A torn tail is cut, with all segments behind it (a flush covers everything before it, so what
 * follows a torn frame was never acknowledged). Damage quarantines: nothing at or behind it is
 * served and nothing is written. docs/adr/0002-log-format.md argues why this is right. */
#include "log/log.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/mem.h"
#include "log/log_compact_int.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    OFFSET_DIGITS = 20,
    TEXT_MAX = 200,
};

/* What one scan of a segment has found at its end. */
enum scan_end {
    SCAN_CLEAN,
    SCAN_TORN,
    SCAN_DAMAGED,
};

/* State of one recovery. */
struct recovery {
    struct log_partition *p;
    struct log_recovery *out;
    struct log_checkpoint checkpoint;
    int64_t proved_offset; /* all below it was durable once */
    int64_t *bases;        /* of the segments found, ascending */
    uint32_t n_bases, cap_bases;
    uint32_t kept;       /* segments, counted from the first, that are taken over */
    char *buffer;        /* LOG_RECOVERY_READ_BYTES */
    char text[TEXT_MAX]; /* what was wrong */
    bool state_known;    /* the partition's producers are those at the end of what was looked at */
    int64_t now_ms;
    enum err list_error;
};

/* ---- the folder ---- */

static bool name_base(const char *name, int64_t *base)
{
    struct str digits = {name, OFFSET_DIGITS};
    for (size_t i = 0; i < OFFSET_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return false;
        }
    }
    return str_to_i64(digits, base) == ERR_OK;
}

static bool list_entry(void *arg, const char *name)
{
    struct recovery *r = arg;
    int64_t base;
    if (strlen(name) != OFFSET_DIGITS + 4 || !name_base(name, &base) ||
        strcmp(name + OFFSET_DIGITS, ".log") != 0) {
        return true;
    }
    if (r->n_bases == LOG_SEGMENTS_MAX) {
        r->list_error = ERR_LIMIT;
        return false;
    }
    if (r->n_bases == r->cap_bases) {
        uint32_t cap = r->cap_bases == 0 ? 8 : r->cap_bases * 2;
        int64_t *moved = mem_realloc(r->bases, cap * sizeof *moved);
        if (moved == NULL) {
            r->list_error = ERR_NO_MEMORY;
            return false;
        }
        r->bases = moved;
        r->cap_bases = cap;
    }
    r->bases[r->n_bases++] = base; /* names come in bytewise order, which is the offsets' */
    return true;
}

static enum err read_folder(struct recovery *r, struct err_detail *why)
{
    struct log_partition *p = r->p;
    bool exists = false;
    enum err e = host_path_exists(p->host, p->dir, &exists);
    if (e == ERR_OK && !exists) {
        TRY(host_dir_create(p->host, p->dir, why));
        p->sync_parent = true;
    }
    if (e == ERR_OK) {
        e = host_dir_list(p->host, p->dir, list_entry, r);
    }
    if (e == ERR_OK) {
        e = r->list_error;
    }
    return e == ERR_OK ? e : err_set(why, e, "%s: cannot open the folder", p->dir);
}

static enum err read_meta(struct recovery *r, struct err_detail *why)
{
    char path[HOST_PATH_MAX];
    bool exists = false;
    CHECK(snprintf(path, sizeof path, "%s/meta", r->p->dir) > 0);
    TRY(host_path_exists(r->p->host, path, &exists));
    if (!exists && r->n_bases == 0) {
        return ERR_OK;
    }
    TRY(log_meta_ensure(r->p, why));
    return log_meta_read(r->p->meta, &r->checkpoint, why);
}

/* Removes the files of segments from number `from` to `to` - 1, newest first. */
static enum err remove_segments(struct recovery *r, uint32_t from, uint32_t to)
{
    for (uint32_t i = to; i > from; i--) {
        TRY(log_segment_remove_files(r->p->host, r->p->dir, r->bases[i - 1]));
    }
    return from < to ? host_dir_sync(r->p->host, r->p->dir) : ERR_OK;
}

/* Segments that retention had dropped, but whose files were still there. */
static enum err drop_retired(struct recovery *r)
{
    uint32_t n = 0;
    while (n + 1 < r->n_bases && r->bases[n + 1] <= r->checkpoint.start_offset) {
        n++;
    }
    if (n > 0) {
        /* The checkpoint may be in the page cache only, and has to outlive the files. */
        TRY(log_meta_write_all(r->p->meta, &r->checkpoint));
        TRY(host_file_sync(r->p->meta));
    }
    for (uint32_t i = 0; i < n; i++) {
        TRY(log_segment_remove_files(r->p->host, r->p->dir, r->bases[i]));
    }
    if (n > 0) {
        memmove(r->bases, r->bases + n, (r->n_bases - n) * sizeof *r->bases);
        r->n_bases -= n;
    }
    return ERR_OK;
}

/* ---- the end of a scan ---- */

static struct log_scan scan_of(const struct recovery *r, const struct log_segment *s)
{
    return (struct log_scan){.file = s->file,
                             .size = s->file_bytes,
                             .buffer = r->buffer,
                             .buffer_bytes = LOG_RECOVERY_READ_BYTES};
}

static bool all_zero(struct str s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Whether the file holds only zeros in [at, end). */
static enum err zero_range(struct log_scan *c, uint64_t at, uint64_t end, bool *zero)
{
    *zero = true;
    end = end < c->size ? end : c->size;
    while (at < end && *zero) {
        struct str bytes;
        TRY(log_scan_get(c, at, 1, &bytes));
        bytes.len = end - at < bytes.len ? (size_t)(end - at) : bytes.len;
        *zero = all_zero(bytes);
        at += bytes.len;
    }
    return ERR_OK;
}

/* Whether a sector of the bad frame at `at` is as it was before the frame was written: zeros from
 * the frame's beginning, or the sector's, on. `next` is where the next valid batch begins: a frame
 * that claims to go on behind it lies about its length. */
static enum err never_flushed(struct log_scan *c, uint64_t at, int64_t offset, uint64_t next,
                              bool *evidence)
{
    struct kafka_batch b;
    struct str header;
    uint64_t bytes = KAFKA_BATCH_HEADER_BYTES;
    TRY(log_scan_get(c, at, KAFKA_BATCH_HEADER_BYTES, &header));
    if (kafka_batch_parse(header, &b, NULL) == ERR_OK && b.base_offset == offset &&
        b.leader_epoch == LOG_LEADER_EPOCH) {
        bytes = b.bytes;
    }
    uint64_t end = at + bytes < next ? at + bytes : next;
    *evidence = false;
    while (at < end && !*evidence) {
        uint64_t sector_end = (at / LOG_SECTOR_BYTES + 1) * LOG_SECTOR_BYTES;
        TRY(zero_range(c, at, sector_end, evidence));
        at = sector_end;
    }
    return ERR_OK;
}

/* Whether a header could be that of a batch later in the log. */
static bool plausible(struct str at, int64_t offset, struct kafka_batch *b)
{
    enum { MAGIC_AT = 16, MAGIC = 2 };
    return at.len >= KAFKA_BATCH_HEADER_BYTES && at.ptr[MAGIC_AT] == MAGIC &&
           kafka_batch_parse(at, b, NULL) == ERR_OK && b->leader_epoch == LOG_LEADER_EPOCH &&
           b->base_offset > offset && b->base_offset - offset <= INT32_MAX;
}

/* Where a valid batch of a later offset begins behind `at`; *next is the file's end when there is
 * none. When it takes too long to tell, the answer is the next byte: the careful one. */
static enum err batch_follows(struct recovery *r, const struct log_segment *s, uint64_t at,
                              int64_t offset, uint64_t *next)
{
    struct log_scan scan = scan_of(r, s);
    char *second = mem_alloc(LOG_RECOVERY_READ_BYTES);
    struct log_scan check = scan;
    uint64_t spent = 0;
    bool follows = false;
    enum err e = second != NULL ? ERR_OK : ERR_NO_MEMORY;
    check.buffer = second;
    *next = scan.size;
    for (at++; e == ERR_OK && at + KAFKA_BATCH_HEADER_BYTES <= scan.size; at++) {
        struct str bytes;
        struct kafka_batch b;
        e = log_scan_get(&scan, at, KAFKA_BATCH_HEADER_BYTES, &bytes);
        if (e != ERR_OK || !plausible(bytes, offset, &b) || b.bytes > scan.size - at) {
            continue;
        }
        spent += b.bytes;
        if (spent <= LOG_RECOVERY_SEARCH_BYTES) {
            e = log_scan_crc(&check, at, &b, &follows);
        } else {
            follows = true;
        }
        if (e == ERR_OK && follows) {
            *next = at;
            break;
        }
    }
    mem_free(second);
    return e;
}

/* Decides what the scan's end means. `problem` is what was wrong with the frame there. */
static enum err classify(struct recovery *r, const struct log_segment *s, const char *problem,
                         enum scan_end *end)
{
    struct log_scan scan = scan_of(r, s);
    bool zero, evidence;
    uint64_t next;
    TRY(zero_range(&scan, s->bytes, scan.size, &zero));
    if (s->end_offset < r->proved_offset) {
        *end = SCAN_DAMAGED;
        (void)snprintf(r->text, sizeof r->text,
                       "damaged at byte %" PRIu64 " of segment %" PRId64 " (offsets below %" PRId64
                       " were durable): %.80s",
                       s->bytes, s->base_offset, r->proved_offset,
                       zero ? "nothing is there" : problem);
        return ERR_OK;
    }
    if (zero) {
        *end = SCAN_CLEAN;
        return ERR_OK;
    }
    *end = SCAN_TORN;
    TRY(batch_follows(r, s, s->bytes, s->end_offset, &next));
    scan.len = 0; /* the buffer is shared */
    TRY(never_flushed(&scan, s->bytes, s->end_offset, next, &evidence));
    if (next < scan.size && !evidence) {
        *end = SCAN_DAMAGED;
        (void)snprintf(r->text, sizeof r->text,
                       "damaged at byte %" PRIu64 " of segment %" PRId64
                       " (valid batches follow): %.80s",
                       s->bytes, s->base_offset, problem);
    }
    return ERR_OK;
}

/* ---- one segment ---- */

/* The next frame of a scan. ERR_CORRUPT with `inner` when it is not valid. */
static enum err scan_frame(struct recovery *r, const struct log_segment *s, struct log_scan *c,
                           struct kafka_batch *b, struct err_detail *inner)
{
    TRY(log_scan_header(c, s->bytes, s->end_offset, b, inner));
    bool settled = s->end_offset + b->last_offset_delta < r->checkpoint.durable_offset &&
                   s->bytes + LOG_RECOVERY_CRC_BYTES < s->file_bytes;
    bool right = true;
    if (!settled) {
        TRY(log_scan_crc(c, s->bytes, b, &right));
    }
    if (!right) {
        return err_set(inner, ERR_CORRUPT, "the CRC of the batch is wrong");
    }
    return s->bytes + b->bytes > LOG_SEGMENT_BYTES_MAX || s->end_offset - s->base_offset > INT32_MAX
               ? err_set(inner, ERR_CORRUPT, "the segment is too long")
               : ERR_OK;
}

/* The producers where the newest segment begins. */
static enum err state_take(struct recovery *r)
{
    struct log_partition *p = r->p;
    if (r->state_known) {
        return ERR_OK;
    }
    r->state_known = true;
    r->now_ms = host_wall_us(p->host) / 1000;
    return log_state_before(p, p->n_segments - 1, &p->producers);
}

/* Reads the segment up to the first frame that is not valid, or to offset `stop` (where the next
 * segment begins), and fills in what it knows about it. */
static enum err scan_segment(struct recovery *r, struct log_segment *s, int64_t stop,
                             enum scan_end *end, struct err_detail *why)
{
    enum err e = state_take(r);
    if (e == ERR_CORRUPT) {
        *end = SCAN_DAMAGED;
        (void)snprintf(r->text, sizeof r->text,
                       "damage before segment %" PRId64 " hides which transactions were open",
                       s->base_offset);
        return ERR_OK;
    }
    TRY(e);
    TRY(log_segment_open(s, r->p->dir, why));
    TRY(host_file_size(s->file, &s->file_bytes));
    struct log_scan scan = scan_of(r, s);
    struct err_detail inner = {0};
    *end = SCAN_CLEAN;
    while (e == ERR_OK && s->end_offset != stop) {
        struct kafka_batch b;
        e = scan_frame(r, s, &scan, &b, &inner);
        if (e == ERR_OK) {
            e = log_state_scan(&r->p->producers, s, &scan, s->bytes, &b, r->now_ms);
        }
        if (e == ERR_OK) {
            TRY(log_index_reserve(&s->index, 1));
            log_segment_add(s, &b, r->p->config.index_interval_bytes);
        }
    }
    r->out->bytes_scanned += scan.bytes_read;
    s->checked_bytes = s->bytes;
    return e == ERR_CORRUPT ? classify(r, s, err_text(e, &inner), end) : e;
}

/* Whether the index file vouches for the segment, whose end must be where the next begins. */
static enum err trust_index(struct recovery *r, struct log_segment *s, int64_t next_base,
                            bool *trusted, enum scan_end *end, struct err_detail *why)
{
    char path[HOST_PATH_MAX];
    char first[KAFKA_BATCH_HEADER_BYTES];
    struct log_index_info info;
    struct kafka_batch b;
    uint64_t size = 0;
    *trusted = false;
    TRY(log_segment_path(r->p->dir, s->base_offset, ".index", path));
    enum err e = log_index_read_info(r->p->host, path, s->base_offset, &info);
    if (e != ERR_OK) {
        return e == ERR_CORRUPT ? ERR_OK : err_set(why, e, "%s: cannot be read", path);
    }
    TRY(log_segment_open(s, r->p->dir, why));
    TRY(host_file_size(s->file, &size));
    bool fits = info.end_offset == next_base && size >= info.bytes &&
                info.bytes >= KAFKA_BATCH_HEADER_BYTES && info.bytes <= LOG_SEGMENT_BYTES_MAX;
    struct log_scan scan = {
        .file = s->file, .size = info.bytes, .buffer = first, .buffer_bytes = sizeof first};
    e = fits ? log_scan_header(&scan, 0, s->base_offset, &b, NULL) : ERR_CORRUPT;
    if (e == ERR_CORRUPT) {
        return ERR_OK; /* the scan will tell what is wrong */
    }
    TRY(e);
    s->end_offset = info.end_offset;
    s->bytes = info.bytes;
    s->first_timestamp = info.first_timestamp;
    s->max_timestamp = info.max_timestamp;
    s->n_aborted = info.n_aborted;
    s->n_producers = info.n_producers;
    s->aborted_first = info.aborted_first;
    s->open_first = info.open_first;
    r->state_known = false;
    s->finished = true;
    *trusted = true;
    *end = SCAN_CLEAN;
    log_segment_cool(s);
    return ERR_OK;
}

/* ---- the partition ---- */

/* Everything at or behind the end of segment `number` goes: it was never durable. */
static enum err cut_tail(struct recovery *r, uint32_t number, struct log_segment *s,
                         struct err_detail *why)
{
    enum err e = remove_segments(r, number + 1, r->n_bases);
    if (e == ERR_OK && s->file_bytes > s->bytes) {
        r->out->torn_bytes += s->file_bytes - s->bytes;
        e = host_file_truncate(s->file, s->bytes);
        s->file_bytes = s->bytes;
    }
    if (e == ERR_OK) {
        e = host_file_sync(s->file);
    }
    return e == ERR_OK ? e : err_set(why, e, "%s: cannot cut the torn tail", r->p->dir);
}

static enum err recover_segment(struct recovery *r, uint32_t number, bool *go_on,
                                struct err_detail *why)
{
    struct log_partition *p = r->p;
    bool last = number + 1 == r->n_bases;
    int64_t next = last ? INT64_MAX : r->bases[number + 1];
    struct log_segment *s = log_segment_new(p->host, r->bases[number]);
    enum err e = s != NULL ? log_segments_push(p, s) : ERR_NO_MEMORY;
    if (e != ERR_OK) {
        if (s != NULL) {
            log_segment_release(s);
        }
        return err_set(why, e, "%s: out of memory for segments", p->dir);
    }
    bool trusted = false;
    enum scan_end end = SCAN_CLEAN;
    if (!last) {
        TRY(trust_index(r, s, next, &trusted, &end, why));
    }
    if (!trusted) {
        TRY(scan_segment(r, s, next, &end, why));
    }
    if (!last && !trusted) {
        TRY(log_state_seal(&p->producers, s));
    }
    s->sealed = !last;
    p->end_offset = s->end_offset;
    p->size_bytes += s->bytes;
    *go_on = !last && s->end_offset == next;
    if (*go_on) {
        return ERR_OK;
    }
    if (end != SCAN_DAMAGED && s->end_offset > next) {
        end = SCAN_DAMAGED;
        (void)snprintf(r->text, sizeof r->text, "segment %" PRId64 " goes on past segment %" PRId64,
                       s->base_offset, next);
    }
    if (end == SCAN_DAMAGED) {
        log_quarantine(p, s->end_offset, r->text);
        return ERR_OK;
    }
    s->sealed = false;
    return last && end == SCAN_CLEAN ? ERR_OK : cut_tail(r, number, s, why);
}

/* The greatest offset below which all was durable once: from the checkpoint, and from indexes,
 * which are only written after a flush. */
static enum err find_proof(struct recovery *r)
{
    char path[HOST_PATH_MAX];
    r->proved_offset = r->checkpoint.durable_offset;
    for (uint32_t i = r->n_bases; i > 0; i--) {
        struct log_index_info info;
        TRY(log_segment_path(r->p->dir, r->bases[i - 1], ".index", path));
        enum err e = log_index_read_info(r->p->host, path, r->bases[i - 1], &info);
        if (e == ERR_OK) {
            r->proved_offset =
                info.end_offset > r->proved_offset ? info.end_offset : r->proved_offset;
            return ERR_OK;
        }
        if (e != ERR_CORRUPT) {
            return e;
        }
    }
    return ERR_OK;
}

/* What the scan has read may be in the page cache only: before it is served it has to be durable.
 */
static enum err make_durable(struct recovery *r)
{
    struct log_partition *p = r->p;
    if (p->end_offset <= r->checkpoint.durable_offset) {
        /* Without a flush that proves them, even the names may be in the page cache only. */
        bool proved = r->checkpoint.known && r->checkpoint.durable_offset > p->start_offset;
        p->sync_parent |= !proved;
        p->sync_dir |= !proved;
        p->sync_meta |= !proved;
        return ERR_OK;
    }
    for (uint32_t i = 0; i < p->n_segments; i++) {
        struct log_segment *s = p->segments[i];
        if (s->file != NULL && s->end_offset > r->checkpoint.durable_offset) {
            TRY(host_file_sync(s->file));
        }
    }
    TRY(host_dir_sync(p->host, p->dir));
    TRY(log_parent_sync(p->host, p->dir));
    struct log_checkpoint c = {.start_offset = p->start_offset,
                               .durable_offset = p->end_offset,
                               .clean_offset = p->clean_offset};
    TRY(log_meta_write_all(p->meta, &c));
    TRY(host_file_sync(p->meta));
    p->sync_meta = p->sync_dir = p->sync_parent = false;
    return ERR_OK;
}

/* A segment between others that has no index (a power cut took it, or a crash came after compaction
 * had named the segment) gets one: the next flush looks at the newest segments only. */
static enum err finish_sealed(struct log_partition *p)
{
    char path[HOST_PATH_MAX];
    bool finished_behind = false;
    for (uint32_t i = p->n_segments; i > 0; i--) {
        struct log_segment *s = p->segments[i - 1];
        if (!s->finished && finished_behind) {
            struct log_index_info info = log_segment_info(s);
            TRY(log_segment_path(p->dir, s->base_offset, ".index", path));
            enum err e = log_state_keep(p->host, p->dir, s->end_offset, buf_str(&s->state));
            e = e == ERR_OK ? log_index_write(p->host, path, &s->index, &info) : e;
            if (e != ERR_OK && e != ERR_IO && e != ERR_NO_SPACE) {
                return e;
            }
            s->finished = e == ERR_OK; /* else it is scanned again at the next start */
        }
        finished_behind |= s->finished;
    }
    return ERR_OK;
}

/* Whether files are gone that nobody has dropped: a checkpoint that names a later start is durable
 * before files are removed. */
static bool first_missing(const struct recovery *r)
{
    const struct log_checkpoint *c = &r->checkpoint;
    return c->known && c->durable_offset > c->start_offset &&
           (r->n_bases == 0 || r->bases[0] > c->start_offset);
}

static enum err recover(struct recovery *r, struct err_detail *why)
{
    struct log_partition *p = r->p;
    TRY(log_compact_recover(p, why));
    TRY(read_folder(r, why));
    TRY(read_meta(r, why));
    TRY(drop_retired(r));
    TRY(find_proof(r));
    p->start_offset = r->n_bases > 0 ? r->bases[0] : 0;
    p->end_offset = p->start_offset;
    if (first_missing(r)) {
        p->start_offset = p->end_offset = r->checkpoint.start_offset;
        log_quarantine(p, p->start_offset, "the first segment's file is missing");
        return ERR_OK;
    }
    bool go_on = r->n_bases > 0;
    for (uint32_t i = 0; go_on; i++) {
        TRY(recover_segment(r, i, &go_on, why));
    }
    if (r->checkpoint.start_offset > p->start_offset) {
        /* In the middle of a segment. Without flushes a power cut may have taken what it had. */
        p->start_offset = r->checkpoint.start_offset < p->end_offset ? r->checkpoint.start_offset
                                                                     : p->end_offset;
    }
    p->durable_offset = p->flushed_offset = p->end_offset;
    p->high_watermark = p->config.manual_watermark ? p->start_offset : p->end_offset;
    p->clean_offset =
        r->checkpoint.clean_offset <= p->end_offset ? r->checkpoint.clean_offset : 0;
    if (p->quarantined) {
        return ERR_OK;
    }
    TRY(make_durable(r));
    return finish_sealed(p);
}

enum err log_recover(struct log_partition *p, struct log_recovery *out, struct err_detail *why)
{
    struct recovery r = {.p = p, .out = out};
    if (why != NULL) {
        *why = (struct err_detail){0};
    }
    r.buffer = mem_alloc(LOG_RECOVERY_READ_BYTES);
    enum err e = r.buffer != NULL ? recover(&r, why) : ERR_NO_MEMORY;
    p->kept_offset = p->start_offset;
    mem_free(r.buffer);
    mem_free(r.bases);
    if (e != ERR_OK && why != NULL && why->text[0] == '\0') {
        return err_set(why, e, "%s: recovery failed: %s", p->dir, err_info(e)->text);
    }
    return e;
}
