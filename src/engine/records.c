#include "engine/records.h"

#include "base/check.h"
#include "base/mem.h"
#include "wire/json.h"
#include "wire/json_rows.h"

#include <stdio.h>

#define EPOCH_HEADER STR("epoch")
enum { EPOCH_DIGITS_MAX = 20 };
enum { RAW_BYTES_MAX = 64 << 10 }; /* of a dead letter's raw: the log still has the whole record */

enum err record_append(struct shard *s, struct part *p, struct str key, struct str value,
                       int64_t *end, struct err_detail *why)
{
    struct buf bytes;
    buf_init(&bytes, RECORDS_BYTES_MAX);
    struct kafka_batch_writer w;
    kafka_batch_begin(&w, &bytes, s->wall_us / 1000);
    kafka_batch_add(&w, key, value, s->wall_us / 1000, NULL, 0);
    int64_t base = -1;
    enum err e = kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, why);
    if (e == ERR_OK)
        e = part_append(p, bytes.ptr, bytes.len, 1, &base, why);
    *end = base + 1;
    buf_deinit(&bytes);
    return e;
}

void records_init(struct records *r)
{
    *r = (struct records){0};
    buf_init(&r->bytes, RECORDS_BYTES_MAX);
}

void records_deinit(struct records *r)
{
    buf_deinit(&r->bytes);
}

void records_add(struct records *r, struct str key, struct str value, int64_t timestamp_ms,
                 const struct kafka_header *headers, size_t n_headers)
{
    if (r->open && kafka_batch_bytes(&r->writer) > RECORD_BATCH_BYTES_TARGET) {
        if (kafka_batch_finish(&r->writer, COMPRESS_NONE, NULL, NULL, NULL) != ERR_OK)
            r->bytes.failed = true;
        r->open = false;
    }
    if (!r->open) {
        kafka_batch_begin(&r->writer, &r->bytes, timestamp_ms);
        r->open = true;
    }
    struct kafka_header all[RECORD_HEADERS_MAX];
    char digits[EPOCH_DIGITS_MAX + 1];
    CHECK(n_headers < RECORD_HEADERS_MAX);
    if (r->epoch != 0) {
        int n = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)r->epoch);
        if (n_headers > 0)
            memcpy(all, headers, n_headers * sizeof(*all));
        all[n_headers++] = (struct kafka_header){EPOCH_HEADER, {digits, (size_t)n}};
        headers = all;
    }
    kafka_batch_add(&r->writer, key, value, timestamp_ms, headers, n_headers);
    r->n_records++;
}

uint64_t record_epoch(const struct kafka_record *rec)
{
    struct str rest = rec->headers;
    struct kafka_header h;
    uint64_t epoch = 0;
    while (rec->n_headers > 0 && kafka_record_header(&rest, &h)) {
        if (!str_eq(h.key, EPOCH_HEADER) || h.value.ptr == NULL || h.value.len > EPOCH_DIGITS_MAX)
            continue;
        epoch = 0;
        for (size_t i = 0; i < h.value.len; i++)
            epoch = epoch * 10 + (uint64_t)(h.value.ptr[i] - '0');
    }
    return epoch;
}

enum err records_finish(struct records *r, struct err_detail *why)
{
    if (r->open) {
        r->open = false;
        TRY(kafka_batch_finish(&r->writer, COMPRESS_NONE, NULL, NULL, why));
    }
    return r->bytes.failed ? err_set(why, ERR_LIMIT, "more than %d bytes for one partition at once",
                                     RECORDS_BYTES_MAX)
                           : ERR_OK;
}

bool records_take(const struct records *r, size_t bytes_max, struct str *batches,
                  uint32_t *n_records)
{
    struct str rest = {r->bytes.ptr + r->taken, r->bytes.len - r->taken};
    struct kafka_batch batch;
    *batches = (struct str){rest.ptr, 0};
    *n_records = 0;
    while (batches->len < rest.len && batches->len < bytes_max) {
        struct str at = {rest.ptr + batches->len, rest.len - batches->len};
        CHECK(kafka_batch_parse(at, &batch, NULL) == ERR_OK); /* written here */
        batches->len += batch.bytes;
        *n_records += (uint32_t)batch.n_records;
    }
    return batches->len > 0;
}

void records_taken(struct records *r, size_t bytes)
{
    r->taken += bytes;
    CHECK(r->taken <= r->bytes.len);
}

void records_clear(struct records *r, size_t keep_bytes)
{
    if (r->bytes.cap > keep_bytes)
        buf_deinit(&r->bytes);
    buf_clear(&r->bytes);
    r->open = false;
    r->n_records = 0;
    r->taken = 0;
}

/* Writes columns as members, one after the other. */
struct row_writer {
    struct buf *out;
    const struct column_def *defs;
    const struct column *columns;
    uint32_t row;
    uint32_t n_written;
    uint32_t n_jsonb_nulls;
};

static void member_write(struct row_writer *w, uint32_t i)
{
    buf_put_str(w->out, w->n_written++ == 0 ? STR("{") : STR(", "));
    json_write_string(w->out, w->defs[i].name);
    buf_put_str(w->out, STR(": "));
    struct value v = column_get(&w->columns[i], w->row);
    w->n_jsonb_nulls += value_is_jsonb_null(&v);
    value_print_json(&v, w->out);
}

static void jsonb_null_list(struct row_writer *w, uint32_t i, bool *first)
{
    struct value v = column_get(&w->columns[i], w->row);
    if (!value_is_jsonb_null(&v))
        return;
    if (!*first)
        buf_put_str(w->out, STR(", "));
    *first = false;
    json_write_string(w->out, w->defs[i].name);
}

/* The end of the object, and before it what JSON itself cannot say. `which` may be NULL: all. */
static void row_end(struct row_writer *w, const uint32_t *which, uint32_t n)
{
    bool first = true;
    if (w->n_jsonb_nulls > 0) {
        buf_put_str(w->out, STR(", "));
        json_write_string(w->out, JSONB_NULLS_MEMBER);
        buf_put_str(w->out, STR(": ["));
        for (uint32_t i = 0; i < n; i++)
            jsonb_null_list(w, which == NULL ? i : which[i], &first);
        buf_put_u8(w->out, ']');
    }
    buf_put_str(w->out, n == 0 ? STR("{}") : STR("}"));
}

void row_json(const struct column_def *defs, const struct column *columns, uint32_t n_columns,
              uint32_t row, struct buf *out)
{
    struct row_writer w = {.out = out, .defs = defs, .columns = columns, .row = row};
    for (uint32_t i = 0; i < n_columns; i++)
        member_write(&w, i);
    row_end(&w, NULL, n_columns);
}

void row_json_some(const struct column_def *defs, const struct column *columns,
                   const uint32_t *which, uint32_t n_which, uint32_t row, struct buf *out)
{
    struct row_writer w = {.out = out, .defs = defs, .columns = columns, .row = row};
    for (uint32_t i = 0; i < n_which; i++)
        member_write(&w, which[i]);
    row_end(&w, which, n_which);
}

/* Bytes that are not UTF-8 become U+FFFD one by one, so that the rest stays readable. */
static void put_lossy(struct buf *out, struct str raw)
{
    if (str_utf8_valid(raw) && memchr(raw.ptr, 0, raw.len) == NULL) {
        json_write_string(out, raw);
        return;
    }
    struct buf clean;
    buf_init(&clean, 4 * RAW_BYTES_MAX);
    for (size_t i = 0; i < raw.len;) {
        size_t n = 1;
        while (n <= 4 && i + n <= raw.len && !str_utf8_valid((struct str){raw.ptr + i, n}))
            n++;
        bool valid = n <= 4 && i + n <= raw.len && raw.ptr[i] != 0;
        if (valid)
            buf_put(&clean, raw.ptr + i, n);
        else
            buf_put_str(&clean, STR("\xef\xbf\xbd"));
        i += valid ? n : 1;
    }
    json_write_string(out, clean.failed ? STR("") : buf_str(&clean));
    buf_deinit(&clean);
}

void dead_letter_json(struct str table, struct str topic, uint32_t partition, int64_t offset,
                      int64_t at_us, const char *reason, struct str raw, struct buf *out)
{
    buf_put_str(out, STR("{\"table_name\": "));
    json_write_string(out, table);
    buf_put_str(out, STR(", \"topic\": "));
    json_write_string(out, topic);
    buf_printf(out, ", \"partition\": %u, \"offset\": %lld, \"at\": ", partition,
               (long long)offset);
    struct value at = {.type = TYPE_TIMESTAMPTZ, .as.i8 = at_us};
    value_print_json(&at, out);
    buf_put_str(out, STR(", \"reason\": "));
    json_write_string(out, str_of(reason));
    buf_put_str(out, STR(", \"raw\": "));
    if (raw.ptr == NULL)
        buf_put_str(out, STR("null"));
    else
        put_lossy(out, raw.len > RAW_BYTES_MAX ? (struct str){raw.ptr, RAW_BYTES_MAX} : raw);
    buf_put_u8(out, '}');
}
