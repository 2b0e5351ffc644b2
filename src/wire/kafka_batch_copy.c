/* Copying record batches without some of their records. */
#include "wire/kafka_batch_copy.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/hash.h"
#include "wire/kafka_batch_int.h"

void kafka_batch_copy_begin(struct kafka_batch_copy *w, struct buf *out,
                            const struct kafka_batch *from, int64_t horizon)
{
    *w = (struct kafka_batch_copy){
        .out = out, .start = out->len, .from = *from, .max_timestamp = INT64_MIN};
    if (horizon != KAFKA_NO_HORIZON) {
        w->from.delete_horizon = true;
        w->from.base_timestamp = horizon;
    }
    if (buf_reserve(out, KAFKA_BATCH_HEADER_BYTES) != NULL) {
        out->len += KAFKA_BATCH_HEADER_BYTES;
    }
}

void kafka_batch_copy_add(struct kafka_batch_copy *w, const struct kafka_record *r)
{
    int64_t timestamp_delta = (int64_t)((uint64_t)r->timestamp - (uint64_t)w->from.base_timestamp);
    int64_t delta = r->offset - w->from.base_offset;
    size_t len = 1 + varint_len(timestamp_delta) + varint_len(delta) + nullable_bytes(r->key) +
                 nullable_bytes(r->value) + varint_len(r->n_headers) + r->headers.len;
    CHECK(delta >= 0 && delta <= w->from.last_offset_delta);
    char *p = buf_reserve(w->out, len + VARINT_BYTES_MAX);
    if (p == NULL) {
        return;
    }
    char *begin = p;
    p = varint_put(p, (int64_t)len);
    *p++ = 0;
    p = varint_put(p, timestamp_delta);
    p = varint_put(p, delta);
    p = nullable_put(p, r->key);
    p = nullable_put(p, r->value);
    p = varint_put(p, r->n_headers);
    if (r->headers.len > 0) {
        memcpy(p, r->headers.ptr, r->headers.len);
        p += r->headers.len;
    }
    w->out->len += (size_t)(p - begin);
    w->max_timestamp = r->timestamp > w->max_timestamp ? r->timestamp : w->max_timestamp;
    w->n_records++;
}

static enum err compress_records(struct kafka_batch_copy *w, struct compress *c,
                                 struct buf *scratch, struct err_detail *why)
{
    struct buf *out = w->out;
    size_t at = w->start + KAFKA_BATCH_HEADER_BYTES;
    CHECK(c != NULL && scratch != NULL);
    buf_clear(scratch);
    TRY(compress_encode(c, w->from.codec, (struct str){out->ptr + at, out->len - at}, scratch,
                        why));
    out->len = at;
    buf_put(out, scratch->ptr, scratch->len);
    return ERR_OK;
}

static uint16_t attributes(const struct kafka_batch *b)
{
    unsigned bits = b->codec | (b->log_append_time ? BATCH_LOG_APPEND_TIME : 0u) |
                    (b->transactional ? BATCH_TRANSACTIONAL : 0u) |
                    (b->control ? BATCH_CONTROL : 0u) |
                    (b->delete_horizon ? BATCH_DELETE_HORIZON : 0u);
    return (uint16_t)bits;
}

static void header_put(char *p, size_t bytes, const struct kafka_batch *b)
{
    be64_put(p, (uint64_t)b->base_offset);
    be32_put(p + BATCH_AT_LENGTH, (uint32_t)(bytes - KAFKA_BATCH_PREFIX_BYTES));
    be32_put(p + BATCH_AT_LEADER_EPOCH, (uint32_t)b->leader_epoch);
    p[BATCH_AT_MAGIC] = BATCH_MAGIC;
    be16_put(p + BATCH_AT_ATTRIBUTES, attributes(b));
    be32_put(p + BATCH_AT_LAST_DELTA, (uint32_t)b->last_offset_delta);
    be64_put(p + BATCH_AT_BASE_TIMESTAMP, (uint64_t)b->base_timestamp);
    be64_put(p + BATCH_AT_MAX_TIMESTAMP, (uint64_t)b->max_timestamp);
    be64_put(p + BATCH_AT_PRODUCER_ID, (uint64_t)b->producer_id);
    be16_put(p + BATCH_AT_PRODUCER_EPOCH, (uint16_t)b->producer_epoch);
    be32_put(p + BATCH_AT_SEQUENCE, (uint32_t)b->base_sequence);
    be32_put(p + BATCH_AT_COUNT, (uint32_t)b->n_records);
    be32_put(p + BATCH_AT_CRC, crc32c(0, p + BATCH_AT_ATTRIBUTES, bytes - BATCH_AT_ATTRIBUTES));
}

enum err kafka_batch_copy_finish(struct kafka_batch_copy *w, struct compress *c,
                                 struct buf *scratch, struct err_detail *why)
{
    struct buf *out = w->out;
    enum err e = ERR_OK;
    if (w->n_records == 0) {
        w->from.codec = COMPRESS_NONE;
    } else if (!w->from.log_append_time) {
        w->from.max_timestamp = w->max_timestamp;
    }
    if (w->from.codec != COMPRESS_NONE && !out->failed) {
        e = compress_records(w, c, scratch, why);
    }
    if (e == ERR_OK && (out->failed || out->len - w->start > KAFKA_BATCH_BYTES_MAX)) {
        e = err_set(why, ERR_LIMIT, "record batch: more than the %zu bytes allowed", out->max);
    }
    if (e != ERR_OK) {
        out->len = w->start;
        return e;
    }
    w->from.n_records = w->n_records;
    header_put(out->ptr + w->start, out->len - w->start, &w->from);
    return ERR_OK;
}

void kafka_batch_put_empty(struct buf *out, int64_t base_offset, int32_t last_delta)
{
    const struct kafka_batch b = {.base_offset = base_offset,
                                  .last_offset_delta = last_delta,
                                  .base_timestamp = -1,
                                  .max_timestamp = -1,
                                  .producer_id = -1,
                                  .producer_epoch = -1,
                                  .base_sequence = -1};
    char *p = buf_reserve(out, KAFKA_BATCH_HEADER_BYTES);
    if (p != NULL) {
        header_put(p, KAFKA_BATCH_HEADER_BYTES, &b);
        out->len += KAFKA_BATCH_HEADER_BYTES;
    }
}
