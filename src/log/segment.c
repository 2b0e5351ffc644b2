/* A segment's file, its references, and reading headers in order. */
#include "log/segment.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "log/log_int.h"

#include <inttypes.h>
#include <stdio.h>

struct log_segment *log_segment_new(struct host *h, int64_t base_offset)
{
    struct log_segment *s = mem_zalloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    atomic_init(&s->refs, 1);
    s->host = h;
    s->base_offset = base_offset;
    s->end_offset = base_offset;
    s->first_timestamp = -1;
    s->max_timestamp = -1;
    s->aborted_first = s->open_first = INT64_MAX;
    return s;
}

void log_segment_hold(struct log_segment *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
}

void log_segment_release(struct log_segment *s)
{
    if (atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) == 1) {
        log_segment_cool(s);
        mem_free(s);
    }
}

bool log_segment_shared(const struct log_segment *s)
{
    return atomic_load_explicit(&s->refs, memory_order_acquire) > 1;
}

enum err log_segment_path(const char *dir, int64_t base_offset, const char *suffix, char *out)
{
    int n = snprintf(out, HOST_PATH_MAX, "%s/%020" PRId64 "%s", dir, base_offset, suffix);
    return n > 0 && n < HOST_PATH_MAX ? ERR_OK : ERR_LIMIT;
}

enum err log_segment_open(struct log_segment *s, const char *dir, struct err_detail *why)
{
    char path[HOST_PATH_MAX];
    if (s->file != NULL) {
        return ERR_OK;
    }
    TRY(log_segment_path(dir, s->base_offset, ".log", path));
    return host_file_open(s->host, path, HOST_OPEN_WRITE, &s->file, why);
}

enum err log_segment_create(struct log_segment *s, const char *dir, struct err_detail *why)
{
    char path[HOST_PATH_MAX];
    uint64_t size = 0;
    TRY(log_segment_path(dir, s->base_offset, ".log", path));
    TRY(host_file_open(s->host, path, HOST_OPEN_WRITE | HOST_OPEN_CREATE, &s->file, why));
    enum err e = host_file_size(s->file, &size);
    if (e == ERR_OK && size > 0) {
        e = host_file_truncate(s->file, 0);
    }
    return e == ERR_OK
               ? e
               : err_set(why, e, "%s: cannot begin a new segment: %s", path, err_info(e)->text);
}

void log_segment_cool(struct log_segment *s)
{
    if (s->file != NULL) {
        host_file_close(s->file);
        s->file = NULL;
    }
    log_index_deinit(&s->index);
    buf_deinit(&s->state);
}

struct log_index_info log_segment_info(const struct log_segment *s)
{
    return (struct log_index_info){.base_offset = s->base_offset,
                                   .end_offset = s->end_offset,
                                   .bytes = s->bytes,
                                   .first_timestamp = s->first_timestamp,
                                   .max_timestamp = s->max_timestamp,
                                   .n_aborted = s->n_aborted,
                                   .n_producers = s->n_producers,
                                   .aborted_first = s->aborted_first,
                                   .open_first = s->open_first};
}

void log_segment_add(struct log_segment *s, const struct kafka_batch *b, uint32_t index_interval)
{
    struct log_index_entry e = {.offset_delta = (uint32_t)(b->base_offset - s->base_offset),
                                .position = (uint32_t)s->bytes,
                                .max_before = s->bytes == 0 ? INT64_MIN : s->max_timestamp};
    log_index_add(&s->index, &e, index_interval);
    if (s->bytes == 0) {
        s->first_timestamp = b->max_timestamp;
    }
    if (b->max_timestamp > s->max_timestamp) {
        s->max_timestamp = b->max_timestamp;
    }
    s->bytes += b->bytes;
    s->end_offset = b->base_offset + b->last_offset_delta + 1;
}

/* ---- reading headers in order ---- */

enum err log_scan_get(struct log_scan *c, uint64_t at, size_t least, struct str *out)
{
    CHECK(least <= c->buffer_bytes);
    if (at >= c->size) {
        *out = (struct str){NULL, 0};
        return ERR_OK;
    }
    uint64_t left = c->size - at;
    size_t want = left < least ? (size_t)left : least;
    if (at < c->at || at > c->at + c->len || c->at + c->len - at < want) {
        size_t n = left < c->buffer_bytes ? (size_t)left : c->buffer_bytes;
        c->len = 0;
        TRY(host_file_read(c->file, at, c->buffer, n));
        c->at = at;
        c->len = n;
        c->bytes_read += n;
    }
    size_t skip = (size_t)(at - c->at);
    *out = (struct str){c->buffer + skip, c->len - skip};
    return ERR_OK;
}

enum err log_scan_header(struct log_scan *c, uint64_t at, int64_t offset, struct kafka_batch *out,
                         struct err_detail *why)
{
    struct str bytes;
    struct err_detail inner = {0};
    TRY(log_scan_get(c, at, KAFKA_BATCH_HEADER_BYTES, &bytes));
    if (kafka_batch_parse(bytes, out, &inner) != ERR_OK) {
        return err_set(why, ERR_CORRUPT, "%s", err_text(ERR_CORRUPT, &inner));
    }
    if (out->base_offset != offset || out->leader_epoch != LOG_LEADER_EPOCH) {
        return err_set(why, ERR_CORRUPT,
                       "a batch says base offset %" PRId64 ", leader epoch %d instead of %" PRId64
                       ", %d",
                       out->base_offset, out->leader_epoch, offset, LOG_LEADER_EPOCH);
    }
    if (out->bytes > c->size - at) {
        return err_set(why, ERR_CORRUPT, "a batch of %u bytes does not fit in the %" PRIu64 " left",
                       out->bytes, c->size - at);
    }
    return ERR_OK;
}

enum err log_scan_crc(struct log_scan *c, uint64_t at, const struct kafka_batch *b, bool *right)
{
    uint64_t end = at + b->bytes;
    uint32_t crc = 0;
    for (at += KAFKA_BATCH_CRC_FROM; at < end;) {
        struct str bytes;
        TRY(log_scan_get(c, at, 1, &bytes));
        size_t n = end - at < bytes.len ? (size_t)(end - at) : bytes.len;
        if (n == 0) {
            *right = false;
            return ERR_OK;
        }
        crc = crc32c(crc, bytes.ptr, n);
        at += n;
    }
    *right = crc == b->crc;
    return ERR_OK;
}
