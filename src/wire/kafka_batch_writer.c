/* Writing record batches. */
#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"
#include "wire/kafka_batch.h"
#include "wire/kafka_batch_int.h"

void kafka_batch_begin(struct kafka_batch_writer *w, struct buf *out, int64_t base_timestamp)
{
    *w = (struct kafka_batch_writer){.out = out,
                                     .start = out->len,
                                     .base_timestamp = base_timestamp,
                                     .max_timestamp = INT64_MIN};
    if (buf_reserve(out, KAFKA_BATCH_HEADER_BYTES) != NULL) {
        out->len += KAFKA_BATCH_HEADER_BYTES;
    }
}

void kafka_batch_add(struct kafka_batch_writer *w, struct str key, struct str value,
                     int64_t timestamp, const struct kafka_header *headers, size_t n_headers)
{
    int64_t timestamp_delta = (int64_t)((uint64_t)timestamp - (uint64_t)w->base_timestamp);
    size_t len = 1 + varint_len(timestamp_delta) + varint_len(w->n_records) + nullable_bytes(key) +
                 nullable_bytes(value) + varint_len((int64_t)n_headers);
    for (size_t i = 0; i < n_headers; i++) {
        CHECK(headers[i].key.ptr != NULL);
        len += nullable_bytes(headers[i].key) + nullable_bytes(headers[i].value);
    }
    if (w->n_records == INT32_MAX || len > KAFKA_BATCH_BYTES_MAX) {
        w->out->failed = true;
    }
    char *p = buf_reserve(w->out, len + VARINT_BYTES_MAX);
    if (p == NULL) {
        return;
    }
    char *begin = p;
    p = varint_put(p, (int64_t)len);
    *p++ = 0;
    p = varint_put(p, timestamp_delta);
    p = varint_put(p, w->n_records);
    p = nullable_put(p, key);
    p = nullable_put(p, value);
    p = varint_put(p, (int64_t)n_headers);
    for (size_t i = 0; i < n_headers; i++) {
        p = nullable_put(p, headers[i].key);
        p = nullable_put(p, headers[i].value);
    }
    w->out->len += (size_t)(p - begin);
    w->max_timestamp = timestamp > w->max_timestamp ? timestamp : w->max_timestamp;
    w->n_records++;
}

size_t kafka_batch_bytes(const struct kafka_batch_writer *w)
{
    return w->out->len - w->start;
}

static enum err compress_records(struct kafka_batch_writer *w, uint32_t codec, struct compress *c,
                                 struct buf *scratch, struct err_detail *why)
{
    CHECK(c != NULL && scratch != NULL);
    struct buf *out = w->out;
    size_t at = w->start + KAFKA_BATCH_HEADER_BYTES;
    buf_clear(scratch);
    TRY(compress_encode(c, codec, (struct str){out->ptr + at, out->len - at}, scratch, why));
    out->len = at;
    buf_put(out, scratch->ptr, scratch->len);
    return out->failed ? ERR_LIMIT : ERR_OK;
}

static void write_header(const struct kafka_batch_writer *w, uint32_t codec)
{
    char *p = w->out->ptr + w->start;
    size_t bytes = w->out->len - w->start;
    memset(p, 0, KAFKA_BATCH_HEADER_BYTES);
    be32_put(p + BATCH_AT_LENGTH, (uint32_t)(bytes - KAFKA_BATCH_PREFIX_BYTES));
    p[BATCH_AT_MAGIC] = BATCH_MAGIC;
    be16_put(p + BATCH_AT_ATTRIBUTES, (uint16_t)codec);
    be32_put(p + BATCH_AT_LAST_DELTA, (uint32_t)(w->n_records - 1));
    be64_put(p + BATCH_AT_BASE_TIMESTAMP, (uint64_t)w->base_timestamp);
    be64_put(p + BATCH_AT_MAX_TIMESTAMP, (uint64_t)w->max_timestamp);
    be64_put(p + BATCH_AT_PRODUCER_ID, UINT64_MAX);
    be16_put(p + BATCH_AT_PRODUCER_EPOCH, UINT16_MAX);
    be32_put(p + BATCH_AT_SEQUENCE, UINT32_MAX);
    be32_put(p + BATCH_AT_COUNT, (uint32_t)w->n_records);
    be32_put(p + BATCH_AT_CRC, crc32c(0, p + BATCH_AT_ATTRIBUTES, bytes - BATCH_AT_ATTRIBUTES));
}

enum err kafka_batch_finish(struct kafka_batch_writer *w, uint32_t codec, struct compress *c,
                            struct buf *scratch, struct err_detail *why)
{
    struct buf *out = w->out;
    enum err e = ERR_OK;
    if (w->n_records > 0 && codec != COMPRESS_NONE && !out->failed) {
        e = compress_records(w, codec, c, scratch, why);
    }
    if (e == ERR_OK && (out->failed || kafka_batch_bytes(w) > KAFKA_BATCH_BYTES_MAX)) {
        e = err_set(why, ERR_LIMIT, "record batch: more than the %zu bytes allowed", out->max);
    }
    if (e != ERR_OK || w->n_records == 0) {
        out->len = w->start;
        return e;
    }
    write_header(w, codec);
    return ERR_OK;
}

/* ---- producers and transactions ---- */

static void set_producer(char *p, int64_t producer_id, int16_t epoch, int32_t base_sequence,
                         uint16_t attributes)
{
    size_t bytes = (size_t)be32_get(p + BATCH_AT_LENGTH) + KAFKA_BATCH_PREFIX_BYTES;
    be16_put(p + BATCH_AT_ATTRIBUTES, (uint16_t)(be16_get(p + BATCH_AT_ATTRIBUTES) | attributes));
    be64_put(p + BATCH_AT_PRODUCER_ID, (uint64_t)producer_id);
    be16_put(p + BATCH_AT_PRODUCER_EPOCH, (uint16_t)epoch);
    be32_put(p + BATCH_AT_SEQUENCE, (uint32_t)base_sequence);
    be32_put(p + BATCH_AT_CRC, crc32c(0, p + BATCH_AT_ATTRIBUTES, bytes - BATCH_AT_ATTRIBUTES));
}

void kafka_batch_set_producer(char *batch, int64_t producer_id, int16_t epoch,
                              int32_t base_sequence, bool transactional)
{
    set_producer(batch, producer_id, epoch, base_sequence, transactional ? BATCH_TRANSACTIONAL : 0);
}

/* The record's key is a version and a type (0 abort, 1 commit), its value a version and the
 * coordinator's epoch; all numbers here are 0 but the type. */
enum { MARKER_KEY_BYTES = 4, MARKER_VALUE_BYTES = 6, MARKER_TYPE_AT = 2 };

void kafka_marker_put(struct buf *out, int64_t producer_id, int16_t epoch, bool commit,
                      int64_t timestamp)
{
    char key[MARKER_KEY_BYTES] = {0};
    char value[MARKER_VALUE_BYTES] = {0};
    struct kafka_batch_writer w;
    size_t start = out->len;
    be16_put(key + MARKER_TYPE_AT, commit ? 1 : 0);
    kafka_batch_begin(&w, out, timestamp);
    kafka_batch_add(&w, (struct str){key, sizeof key}, (struct str){value, sizeof value}, timestamp,
                    NULL, 0);
    if (kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, NULL) != ERR_OK) {
        out->failed = true;
        return;
    }
    CHECK(out->len - start == KAFKA_MARKER_BYTES);
    set_producer(out->ptr + start, producer_id, epoch, -1, BATCH_TRANSACTIONAL | BATCH_CONTROL);
}
