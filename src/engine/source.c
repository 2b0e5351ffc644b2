#include "engine/source.h"

#include "base/check.h"
#include "base/mem.h"
#include "engine/raw.h"
#include "engine/records.h"
#include "type/datetime.h"

enum err relation_json_decoder(const struct relation *rel, bool strict, struct json_decoder **out)
{
    *out = NULL;
    struct json_field *fields = mem_zalloc(rel->n_columns + 1, sizeof(*fields));
    if (fields == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < rel->n_columns; i++) {
        const struct column_def *c = &rel->columns[i];
        fields[i] = (struct json_field){.name = c->name,
                                        .type = c->type,
                                        .typmod = c->typmod,
                                        .not_null = c->not_null && i + 1 != rel->record_timestamp,
                                        .wanted = true,
                                        .lenient = relation_column_added(rel, i) && !strict};
    }
    enum err e = json_decoder_new(fields, rel->n_columns, out);
    mem_free(fields);
    return e;
}

static enum err fields_decoder_open(struct row_decoder *d, const struct relation *rel,
                                    const struct schemas *schemas)
{
    struct row_field *fields = mem_zalloc(rel->n_columns + 1, sizeof(*fields));
    if (fields == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < rel->n_columns; i++) {
        const struct column_def *c = &rel->columns[i];
        fields[i] = (struct row_field){
            .name = c->name, .type = c->type, .typmod = c->typmod, .not_null = c->not_null,
            .added = relation_column_added(rel, i)};
    }
    enum err e = rel->registry.len > 0
                     ? schema_decoder_new(schemas, rel, fields, rel->n_columns, &d->schemas)
                 : rel->format == FORMAT_AVRO
                     ? avro_decoder_new(rel->avro_schema, rel->avro_framed, fields,
                                        rel->n_columns, &d->avro, NULL)
                     : text_decoder_new(&rel->text, fields, rel->n_columns, &d->text, NULL);
    mem_free(fields);
    return e;
}

enum err row_decoder_init(struct row_decoder *d, const struct relation *rel, bool strict,
                          const struct schemas *schemas)
{
    *d = (struct row_decoder){.rel = rel};
    d->raw = rel->kind == REL_RAW_TOPIC || (rel->kind == REL_TABLE && rel->format == FORMAT_RAW);
    if (d->raw)
        return ERR_OK;
    if (rel->n_primary_key > 0)
        return keyed_decoder_new(rel, &d->keyed);
    bool other = rel->kind == REL_TABLE && rel->format != FORMAT_JSON &&
                 rel->format != FORMAT_JSON_LINES;
    return other ? fields_decoder_open(d, rel, schemas)
                 : relation_json_decoder(rel, strict, &d->json);
}

void row_decoder_deinit(struct row_decoder *d)
{
    json_decoder_free(d->json);
    text_decoder_free(d->text);
    keyed_decoder_free(d->keyed);
    avro_decoder_free(d->avro);
    schema_decoder_free(d->schemas);
}

struct batch *row_decoder_batch(const struct row_decoder *d, uint32_t rows, struct arena *a)
{
    return d->raw             ? raw_batch(rows, a)
           : d->keyed != NULL ? keyed_decoder_batch(d->keyed, rows, a)
           : d->schemas != NULL ? schema_decoder_batch(d->schemas, rows, a)
           : d->avro != NULL  ? avro_decoder_batch(d->avro, rows, a)
           : d->text != NULL  ? text_decoder_batch(d->text, rows, a)
                              : json_decoder_batch(d->json, rows, a);
}

/* The far future is measured from the record's own timestamp, so that a replay years later decides
 * alike. */
static enum err check_event_time(const struct relation *rel, const struct kafka_record *rec,
                                 const struct batch *b, struct err_detail *why)
{
    const struct column_def *def = &rel->columns[rel->event_time];
    const struct column *c = &b->columns[rel->event_time];
    if (column_is_null(c, b->n_rows))
        return err_set(why, ERR_NULL_VIOLATION, "column \"%.*s\": the event time is missing",
                       STR_ARG(def->name));
    int64_t ts;
    if (!epoch_time_us(c, b->n_rows, rel->event_time_unit, &ts))
        return err_set(why, ERR_DATETIME_RANGE,
                       "column \"%.*s\": the event time is out of range for its unit",
                       STR_ARG(def->name));
    if (ts == INT64_MIN || ts == INT64_MAX)
        return err_set(why, ERR_DATETIME_RANGE, "column \"%.*s\": the event time is infinite",
                       STR_ARG(def->name));
    /* Whole batches without a time got that of their append. */
    int64_t sent = rec->timestamp < 0 ? 0 : rec->timestamp;
    if (rel->future_us_max == 0 || sent > INT64_MAX / 2000)
        return ERR_OK;
    if (ts / 1000 - sent <= rel->future_us_max / 1000)
        return ERR_OK;
    err_set(why, ERR_FUTURE_EVENT_TIME,
            "column \"%.*s\": the event time is more than max_future (%lld s) after the record "
            "was sent",
            STR_ARG(def->name), (long long)(rel->future_us_max / 1000000));
    err_hint(why, "Look at the sender's clock and time zone. How far ahead times may be is the "
                  "table's option max_future.");
    return ERR_FUTURE_EVENT_TIME;
}

/* The column that is the record's timestamp, whatever its value has there. */
static void put_record_timestamp(const struct relation *rel, const struct kafka_record *rec,
                                 struct batch *b)
{
    int64_t ms = rec->timestamp < 0 ? 0 : rec->timestamp;
    struct value v = {.type = TYPE_TIMESTAMPTZ};
    v.as.i8 = ms > TIMESTAMP_US_MAX / 1000 ? TIMESTAMP_US_MAX : ms * 1000;
    column_set(&b->columns[rel->record_timestamp - 1], b->n_rows, &v);
}

static enum err value_decode(struct row_decoder *d, const struct kafka_record *rec,
                             uint32_t partition, struct batch *b, struct arena *a,
                             struct err_detail *why)
{
    d->op = ROW_PUT;
    if (rec->row > RECORD_ROWS_MAX)
        return err_set(why, ERR_LIMIT, "the record has more than %d rows: these are not read",
                       RECORD_ROWS_MAX);
    if (d->keyed != NULL)
        TRY(keyed_decode(d->keyed, d->rel, rec, b, a, &d->op, why));
    else if (d->raw)
        TRY(raw_decode(rec, partition, b, a));
    else if (rec->value.ptr == NULL)
        return err_set(why, ERR_MALFORMED, "the record has no value: %s was expected",
                       d->text != NULL   ? "a line of text"
                       : d->avro != NULL || d->schemas != NULL ? "an Avro record"
                                         : "a JSON object");
    else if (d->schemas != NULL)
        TRY(schema_decode(d->schemas, rec->value, b, a, &d->wanted, why));
    else if (d->avro != NULL)
        TRY(avro_decode_row(d->avro, rec->value, b, a, why));
    else if (d->text != NULL)
        TRY(text_decode_row(d->text, rec->value, b, a, why));
    else
        TRY(json_decode_row(d->json, rec->value, b, a, why));
    if (d->rel->record_timestamp > 0)
        put_record_timestamp(d->rel, rec, b);
    return d->rel->event_time >= 0 ? check_event_time(d->rel, rec, b, why) : ERR_OK;
}

enum err row_decode(struct row_decoder *d, const struct kafka_record *rec, uint32_t partition,
                    struct batch *b, struct arena *a, struct err_detail *why)
{
    enum err e = value_decode(d, rec, partition, b, a, why);
    if (e == ERR_OK) {
        b->n_rows += d->op == ROW_PUT || d->op == ROW_DELETE;
    } else if (rec->row > 0 && e != ERR_NO_MEMORY) {
        struct err_detail inner = *why;
        err_set(why, e, "row %u of the record: %s", rec->row, err_text(e, &inner));
        err_hint(why, "%s", inner.hint);
    }
    return e;
}

/* Members for the columns that are not dropped. */
static enum err encode_json(const struct relation *rel, const struct column *columns, uint32_t row,
                            struct buf *out)
{
    uint32_t which[TABLE_COLUMNS_MAX], n = 0;
    CHECK(rel->n_columns <= TABLE_COLUMNS_MAX);
    for (uint32_t i = 0; i < rel->n_columns; i++)
        if (!relation_column_dropped(rel, i))
            which[n++] = i;
    row_json_some(rel->columns, columns, which, n, row, out);
    return ERR_OK;
}

static enum err encode_avro(const struct row_decoder *d, const struct column *columns,
                            uint32_t row, struct arena *a, struct buf *out, struct err_detail *why)
{
    struct buf json;
    buf_init(&json, out->max);
    enum err e = encode_json(d->rel, columns, row, &json);
    struct str object = json.failed ? (struct str){0} : arena_str(a, buf_str(&json));
    buf_deinit(&json);
    if (e == ERR_OK && object.ptr == NULL)
        e = ERR_NO_MEMORY;
    return e == ERR_OK ? avro_row_write(d->avro, object, out, a, why) : e;
}

enum err row_encode(const struct row_decoder *d, const struct column *columns, uint32_t row,
                    struct arena *a, struct buf *out, struct err_detail *why)
{
    const struct relation *rel = d->rel;
    if (d->avro != NULL && !rel->avro_framed)
        return encode_avro(d, columns, row, a, out, why);
    switch (rel->format) {
    case FORMAT_RAW:
    case FORMAT_JSON:
    case FORMAT_JSON_LINES: return encode_json(rel, columns, row, out);
    case FORMAT_CSV:
        csv_row_write(&rel->text.csv, columns, rel->n_columns, row, out);
        return ERR_OK;
    case FORMAT_DEBEZIUM_JSON:
    case FORMAT_AVRO:
    case FORMAT_REGEX: break;
    }
    err_set(why, ERR_UNSUPPORTED, "rows of table \"%.*s\" can only be read: its format is '%s'",
            STR_ARG(rel->name), table_format_name(rel->format));
    err_hint(why, "Produce records to its topic \"%.*s\".", STR_ARG(rel->topic->name));
    return ERR_UNSUPPORTED;
}

void scratch_reset(struct scratch_pool *p, size_t keep_bytes)
{
    for (uint32_t i = 0; i < p->used; i++)
        if (p->bufs[i]->cap > keep_bytes)
            buf_deinit(p->bufs[i]);
    p->used = 0;
    p->bytes = 0;
}

bool scratch_full(const struct scratch_pool *p)
{
    return p->used == SCRATCHES_MAX || p->bytes > SCRATCH_BYTES_TARGET;
}

void scratch_deinit(struct scratch_pool *p)
{
    for (uint32_t i = 0; i < p->n; i++) {
        buf_deinit(p->bufs[i]);
        mem_free(p->bufs[i]);
    }
    p->n = p->used = 0;
}

static struct buf *scratch_take(struct scratch_pool *p)
{
    if (p->used == p->n) {
        struct buf *b = p->n == SCRATCHES_MAX ? NULL : mem_zalloc(1, sizeof(*b));
        if (b == NULL)
            return NULL;
        buf_init(b, KAFKA_BATCH_DECODED_BYTES_MAX);
        p->bufs[p->n++] = b;
    }
    if (p->used > 0)
        p->bytes += p->bufs[p->used - 1]->len;
    return p->bufs[p->used++];
}

/* The last one taken holds nothing that anybody borrows. */
static void scratch_return(struct scratch_pool *p)
{
    buf_clear(p->bufs[--p->used]);
    if (p->used > 0)
        p->bytes -= p->bufs[p->used - 1]->len;
}

enum err record_reader_load(struct record_reader_state *r, const struct log_range *range,
                            struct arena *a)
{
    char *bytes = arena_alloc(a, range->len);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    TRY(host_file_read(range->file, range->at, bytes, range->len));
    r->run = (struct str){bytes, range->len};
    r->in_batch = r->in_record = false;
    return ERR_OK;
}

enum err record_reader_decide(struct record_reader_state *r, struct log_partition *log,
                              int64_t from, int64_t to, struct arena *a)
{
    static const uint32_t sizes[] = {0, 64, LOG_ABORTED_MAX};
    struct log_aborted *list = NULL;
    enum err e = ERR_LIMIT;
    r->aborted = NULL;
    r->n_aborted = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes) && e == ERR_LIMIT; i++) {
        if (sizes[i] > 0 && (list = arena_alloc(a, sizes[i] * sizeof(*list))) == NULL)
            return ERR_NO_MEMORY;
        e = log_aborted(log, from, to, list, sizes[i], &r->n_aborted, NULL);
    }
    if (e != ERR_OK)
        return e;
    log_aborted_sort(list, r->n_aborted);
    r->aborted = list;
    return ERR_OK;
}

enum err record_reader_skip(struct record_reader_state *r, const struct log_aborted *list,
                            uint32_t n, struct arena *a)
{
    struct log_aborted *copy = arena_alloc(a, (n + 1) * sizeof(*copy));
    if (copy == NULL)
        return ERR_NO_MEMORY;
    if (n > 0)
        memcpy(copy, list, n * sizeof(*copy));
    log_aborted_sort(copy, n);
    r->aborted = copy;
    r->n_aborted = n;
    return ERR_OK;
}

/* Opens the next batch of the run; false at its end. A transaction's marker has no records, and
 * neither has what was aborted. */
static enum err next_batch(struct record_reader_state *r, struct compress *c,
                           struct scratch_pool *pool, bool *opened, struct err_detail *why)
{
    *opened = false;
    while (r->run.len > 0) {
        struct kafka_batch header = {0};
        enum err e = kafka_batch_validate(r->run, &header, why);
        r->batch_offset = header.base_offset;
        if (e != ERR_OK) {
            /* Its length is right: the log has looked where the next header is. */
            bool whole = header.bytes > 0 && header.bytes <= r->run.len;
            size_t skip = whole ? header.bytes : r->run.len;
            r->run = (struct str){r->run.ptr + skip, r->run.len - skip};
            return e;
        }
        if (header.codec != COMPRESS_NONE && !header.control && pool != NULL && scratch_full(pool))
            return ERR_BUSY;
        struct str bytes = {r->run.ptr, header.bytes};
        r->run = (struct str){r->run.ptr + header.bytes, r->run.len - header.bytes};
        if (header.control ||
            (header.transactional &&
             log_aborted_has(r->aborted, r->n_aborted, header.producer_id, header.base_offset)))
            continue;
        bool packed = header.codec != COMPRESS_NONE;
        struct buf *scratch = packed && pool != NULL ? scratch_take(pool) : NULL;
        if (packed && pool != NULL && scratch == NULL)
            return ERR_NO_MEMORY;
        e = kafka_records_open(&r->it, bytes, c, scratch, why);
        if (e != ERR_OK && scratch != NULL)
            scratch_return(pool);
        r->in_batch = *opened = e == ERR_OK;
        return e;
    }
    return ERR_OK;
}

/* ---- records of several rows ---- */

bool relation_splits_records(const struct relation *rel)
{
    return rel->kind == REL_TABLE && rel->format == FORMAT_JSON_LINES &&
           rel->topic->kind == TOPIC_USER; /* late rows are kept one by one */
}

static struct str without_blanks(struct str s)
{
    while (s.len > 0 && strchr(" \t\r\n", s.ptr[0]) != NULL && s.ptr[0] != '\0') {
        s.ptr++;
        s.len--;
    }
    return s;
}

/* Opens r->whole. Without a value it is one row, which is refused. */
static void rows_begin(struct record_reader_state *r)
{
    r->whole.row = 0;
    r->rest = without_blanks(r->whole.value);
    r->is_array = r->rest.len > 0 && r->rest.ptr[0] == '[';
    if (r->is_array)
        json_rows_init(&r->array, r->rest);
    r->in_record = r->rest.len > 0 || r->whole.value.ptr == NULL;
}

/* What is left of the open record, which ends it. */
static struct str all_left(struct record_reader_state *r)
{
    struct str all = r->array.body, left = r->rest;
    if (r->is_array) {
        left = without_blanks((struct str){all.ptr + r->array.at, all.len - r->array.at});
        if (left.len > 0 && left.ptr[0] == ',')
            left = without_blanks((struct str){left.ptr + 1, left.len - 1});
    }
    r->in_record = false;
    return left;
}

/* The open array's next item. What cannot be told apart is one row, which is refused. */
static bool array_next(struct record_reader_state *r, struct str *row)
{
    if (json_rows_next(&r->array, row, NULL) != ERR_OK) {
        *row = all_left(r);
        return true;
    }
    r->in_record = row->ptr != NULL;
    if (!r->in_record)
        return false;
    struct json_rows ahead = r->array;
    struct str next;
    r->in_record = json_rows_next(&ahead, &next, NULL) != ERR_OK || next.ptr != NULL;
    return true;
}

static void line_next(struct record_reader_state *r, struct str *row)
{
    const char *end = memchr(r->rest.ptr, '\n', r->rest.len);
    size_t n = end == NULL ? r->rest.len : (size_t)(end - r->rest.ptr);
    *row = (struct str){r->rest.ptr, n};
    r->rest = without_blanks((struct str){r->rest.ptr + n, r->rest.len - n});
    r->in_record = r->rest.len > 0;
}

/* The next row of the open record; false when there is none left. Behind RECORD_ROWS_MAX all is
 * one more, which is refused. */
static bool record_row(struct record_reader_state *r, struct kafka_record *out)
{
    struct str row = r->whole.value;
    uint32_t number = ++r->whole.row;
    *out = r->whole;
    if (row.ptr == NULL)
        r->in_record = false;
    else if (number > RECORD_ROWS_MAX)
        row = all_left(r);
    else if (!r->is_array)
        line_next(r, &row);
    else if (!array_next(r, &row))
        return false;
    out->value = row;
    return true;
}

/* Up to `room` rows; false at the end of the batch. */
static bool rows_read(struct record_reader_state *r, int64_t from, int64_t to,
                      struct kafka_record *out, size_t room, size_t *n)
{
    *n = 0;
    while (*n < room) {
        if (!r->in_record) {
            if (!kafka_records_next(&r->it, &r->whole))
                return *n > 0;
            if (r->whole.offset >= from && r->whole.offset < to)
                rows_begin(r);
            continue;
        }
        *n += record_row(r, &out[*n]);
    }
    return true;
}

enum err record_reader_next(struct record_reader_state *r, int64_t from, int64_t to,
                            struct compress *c, struct scratch_pool *pool, struct kafka_record *out,
                            size_t max, size_t *n, struct err_detail *why)
{
    enum { AT_ONCE = 256 };
    size_t bytes = 0;
    *n = 0;
    while (*n < max && bytes < RECORDS_BYTES_TARGET) {
        if (!r->in_batch) {
            bool opened;
            enum err e = next_batch(r, c, pool, &opened, why);
            if (e == ERR_BUSY && *n > 0)
                return ERR_OK; /* said again when asked for more */
            if (e != ERR_OK || !opened)
                return e;
        }
        size_t room = max - *n < AT_ONCE ? max - *n : AT_ONCE;
        size_t kept = 0, got = r->splits ? rows_read(r, from, to, out + *n, room, &kept)
                                         : kafka_records_read(&r->it, out + *n, room);
        for (size_t i = 0; i < kept; i++)
            bytes += out[*n + i].value.len;
        for (size_t i = 0; !r->splits && i < got; i++) {
            if (out[*n + i].offset < from || out[*n + i].offset >= to)
                continue;
            out[*n + kept] = out[*n + i];
            bytes += out[*n + kept++].value.len;
        }
        *n += kept;
        if (got > 0)
            continue;
        r->in_batch = false;
        TRY(kafka_records_end(&r->it, why));
    }
    return ERR_OK;
}

enum err records_each(struct part *p, int64_t from, struct arena *a,
                      enum err (*fn)(void *arg, const struct kafka_record *rec,
                                     struct err_detail *why),
                      void *arg, struct err_detail *why)
{
    enum { KEEP_BYTES = 1 << 20 };
    struct record_reader_state state = {0};
    int64_t offset = from, end = log_end_offset(p->log);
    enum err e = ERR_OK;
    while (e == ERR_OK && offset < end) {
        struct log_range range;
        e = log_read(p->log, offset, end, READ_BYTES_MAX, &range, why);
        if (e != ERR_OK || range.len == 0)
            break;
        e = record_reader_load(&state, &range, a);
        offset = range.next_offset;
        log_range_release(&range);
        struct kafka_record rec;
        size_t n = 1;
        while (e == ERR_OK && n > 0) {
            e = record_reader_next(&state, from, end, NULL, NULL, &rec, 1, &n, why);
            if (e == ERR_OK && n > 0)
                e = fn(arg, &rec, why);
        }
        arena_reset(a, KEEP_BYTES);
    }
    return e;
}
