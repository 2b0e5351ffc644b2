/* Rows in: checked against the table, collected as record batches per partition, appended together.
 */
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "engine/keyed_write.h"
#include "engine/raw.h"
#include "engine/records.h"
#include "engine/source.h"

enum { INGEST_ARENA_BYTES_MAX = 64 << 20, INGEST_ARENA_KEEP_BYTES = 64 << 10 };

struct ingest {
    struct shard *shard;
    const struct catalog *catalog;
    const struct relation *table;
    struct row_decoder decoder;
    struct json_decoder *json_rows; /* of rows that come as JSON and are kept in another format */
    struct arena arena;             /* of the row in work */
    struct buf json;                /* a row made from columns */
    struct records *parts;          /* per partition */
    struct append_request *appends; /* per partition */
    uint32_t n_pending;
    uint32_t round_robin;
    struct keyed_write *keyed; /* rows of a table with a PRIMARY KEY that were given as columns */
    struct keyed_options options; /* ... and what is done with them */
    struct returned *returned;
    uint64_t n_changed;
    uint64_t n_rows;
    enum err err;
    struct err_detail why;
    void (*done)(void *arg, enum err e, const struct err_detail *why);
    void *arg;
};

enum err ingest_open(struct shard *s, const struct relation *table, struct ingest **out,
                     struct err_detail *why)
{
    bool writable = (table->kind == REL_TABLE || table->kind == REL_RAW_TOPIC) &&
                    table->topic != NULL && table->topic->kind == TOPIC_USER;
    if (writable && table->format == FORMAT_DEBEZIUM_JSON)
        return err_set(why, ERR_WRONG_OBJECT_TYPE,
                       "\"%.*s\" takes no rows: it is a copy of another database's table",
                       STR_ARG(table->name));
    if (!writable)
        return err_set(why, ERR_WRONG_OBJECT_TYPE, "\"%.*s\" takes no rows: it is a %s",
                       STR_ARG(table->name),
                       table->view != NULL ? relation_noun(table) : "system table");
    struct ingest *in = mem_zalloc(1, sizeof(*in));
    if (in == NULL)
        return ERR_NO_MEMORY;
    uint32_t n = table->topic->n_partitions;
    in->shard = s;
    in->table = table;
    arena_init(&in->arena, INGEST_ARENA_BYTES_MAX);
    buf_init(&in->json, INGEST_BYTES_MAX);
    in->parts = mem_zalloc(n, sizeof(*in->parts));
    in->appends = mem_zalloc(n, sizeof(*in->appends));
    bool full = in->parts == NULL || in->appends == NULL;
    enum err e = full ? ERR_NO_MEMORY : row_decoder_init(&in->decoder, table, true,
                                                           s->engine->schemas);
    if (e != ERR_OK) {
        mem_free(in->parts);
        mem_free(in->appends);
        mem_free(in);
        return e;
    }
    for (uint32_t i = 0; i < n; i++) {
        records_init(&in->parts[i]);
        in->parts[i].bytes.max = INGEST_BYTES_MAX;
    }
    in->catalog = catalog_ref(s->catalog);
    in->options.table = table;
    host_random(s->engine->host, &in->round_robin, sizeof(in->round_robin));
    *out = in;
    return ERR_OK;
}

enum err ingest_open_statement(struct shard *s, const struct plan *plan, struct ingest **out,
                               struct err_detail *why)
{
    TRY(ingest_open(s, plan->relation, out, why));
    (*out)->options = (struct keyed_options){
        .table = plan->relation,
        .kind = plan->kind == STMT_UPDATE   ? KEYED_UPDATE
                : plan->kind == STMT_DELETE ? KEYED_DELETE
                                            : KEYED_INSERT,
        .conflict = plan->conflict,
        .conflict_update = plan->conflict_update};
    if (plan->returning == NULL)
        return ERR_OK;
    enum err e = returned_new(plan->returning, &(*out)->returned, why);
    if (e != ERR_OK) {
        ingest_close(*out);
        *out = NULL;
        return e;
    }
    (*out)->options.returned = (*out)->returned;
    returned_clear((*out)->returned, INGEST_ROWS_MAX);
    return ERR_OK;
}

const struct batch *ingest_returned(const struct ingest *in, uint32_t i)
{
    return returned_batch(in->returned, i);
}

uint64_t ingest_changed(const struct ingest *in)
{
    return in->n_changed;
}

uint64_t ingest_rows(const struct ingest *in)
{
    return in->n_rows + (in->keyed == NULL ? 0 : keyed_write_rows(in->keyed));
}

size_t ingest_bytes(const struct ingest *in)
{
    size_t n = in->keyed == NULL ? 0 : keyed_write_bytes(in->keyed);
    for (uint32_t i = 0; i < in->table->topic->n_partitions; i++)
        n += in->parts[i].bytes.len;
    return n;
}

/* The record key of a checked row: the key column as text, or none. */
static struct str row_key(const struct ingest *in, const struct batch *row, struct buf *text)
{
    if (in->decoder.keyed != NULL) {
        buf_clear(text);
        keyed_key_write(in->table, row->columns, 0, text);
        return (struct str){text->len == 0 ? "" : text->ptr, text->len};
    }
    if (in->table->key < 0 || in->decoder.raw)
        return (struct str){0};
    struct value v = column_get(&row->columns[in->table->key], 0);
    if (v.null)
        return (struct str){0};
    buf_clear(text);
    value_print(&v, text);
    return (struct str){text->len == 0 ? "" : text->ptr, text->len};
}

static enum err add_row(struct ingest *in, struct str json, struct str key, struct err_detail *why)
{
    uint32_t n = in->table->topic->n_partitions;
    uint32_t p =
        key.ptr != NULL ? (murmur2(key.ptr, key.len) & 0x7fffffff) % n : in->round_robin % n;
    struct records *r = &in->parts[p];
    if (in->n_rows == INGEST_ROWS_MAX || r->bytes.len + json.len + key.len + 128 > INGEST_BYTES_MAX)
        return err_set(why, ERR_TOO_LARGE,
                       "more than %d rows or %d bytes at once: send them in several requests",
                       INGEST_ROWS_MAX, INGEST_BYTES_MAX);
    const struct topic_config *config = &in->table->topic->config;
    if (key.ptr == NULL && (topic_config_get(config, TOPIC_CLEANUP_POLICY) & CLEANUP_COMPACT) != 0)
        return err_set(why, ERR_RECORD_KEY,
                       "topic \"%.*s\" is compacted: rows need a key (WITH (key = 'column'))",
                       STR_ARG(in->table->topic->name));
    int64_t batch_bytes_max =
        topic_config_get(config, TOPIC_MAX_MESSAGE_BYTES);
    if (json.len + key.len + 128 > (size_t)batch_bytes_max)
        return err_set(why, ERR_TOO_LARGE, "the row has %zu bytes, the topic takes %lld", json.len,
                       (long long)batch_bytes_max);
    records_add(r, key, json, in->shard->wall_us / 1000, NULL, 0);
    if (r->bytes.failed)
        return ERR_NO_MEMORY;
    in->n_rows++;
    return ERR_OK;
}

static enum err add_returned(struct ingest *in, struct batch *row, struct err_detail *why)
{
    struct batch *result;
    row->n_rows = 1;
    TRY(returned_eval(in->returned, row, in->shard->wall_us, &in->arena, &result, why));
    enum err e = returned_add(in->returned, result, 0);
    return e == ERR_OK ? ERR_OK
                       : err_set(why, e, "RETURNING gives more than %d bytes: insert the rows in "
                                         "several statements", INGEST_BYTES_MAX);
}

/* Adds a row as a value of the table's format, through the same checks as records from outside: one
 * rule for what a row of the table is. */
static enum err add_encoded(struct ingest *in, const struct batch *b, struct err_detail *why)
{
    struct buf text;
    buf_init(&text, INGEST_BYTES_MAX);
    enum err e = row_encode(&in->decoder, b->columns, 0, &in->arena, &text, why);
    if (e == ERR_OK && text.failed)
        e = ERR_TOO_LARGE;
    struct str value = arena_str(&in->arena, buf_str(&text));
    buf_deinit(&text);
    if (e == ERR_OK && value.ptr == NULL)
        e = ERR_NO_MEMORY;
    if (e != ERR_OK)
        return e;
    struct kafka_record rec = {.timestamp = in->shard->wall_us / 1000, .value = value};
    struct batch *checked = row_decoder_batch(&in->decoder, 1, &in->arena);
    if (checked == NULL)
        return ERR_NO_MEMORY;
    TRY(row_decode(&in->decoder, &rec, 0, checked, &in->arena, why));
    TRY(add_row(in, value, row_key(in, checked, &in->json), why));
    return in->returned == NULL ? ERR_OK : add_returned(in, checked, why);
}

/* A row that comes as JSON and is kept otherwise. */
static enum err ingest_converted(struct ingest *in, struct str json, struct err_detail *why)
{
    if (in->json_rows == NULL)
        TRY(relation_json_decoder(in->table, true, &in->json_rows));
    struct batch *row = json_decoder_batch(in->json_rows, 1, &in->arena);
    if (row == NULL)
        return ERR_NO_MEMORY;
    TRY(json_decode_row(in->json_rows, json, row, &in->arena, why));
    row->n_rows = 1;
    return add_encoded(in, row, why);
}

enum err ingest_json(struct ingest *in, struct str json, struct err_detail *why)
{
    arena_reset(&in->arena, INGEST_ARENA_KEEP_BYTES);
    bool as_sent = in->decoder.raw || in->decoder.keyed != NULL ||
                   (in->decoder.json != NULL && in->table->format != FORMAT_JSON_LINES);
    if (!as_sent)
        return ingest_converted(in, json, why);
    struct kafka_record rec = {.timestamp = in->shard->wall_us / 1000, .value = json};
    struct batch *row = row_decoder_batch(&in->decoder, 1, &in->arena);
    if (row == NULL)
        return ERR_NO_MEMORY;
    TRY(row_decode(&in->decoder, &rec, 0, row, &in->arena, why));
    return add_row(in, json, row_key(in, row, &in->json), why);
}

static bool mapped(const struct relation *t, const struct batch *rows, const uint32_t *map,
                   uint32_t column, uint32_t *from)
{
    (void)t;
    for (uint32_t i = 0; i < rows->n_columns; i++)
        if (map[i] == column) {
            *from = i;
            return true;
        }
    return false;
}

/* The row as the table's columns, in order; missing ones NULL. */
static enum err full_row(struct ingest *in, const struct batch *rows, const uint32_t *map,
                         uint32_t row, struct batch **out)
{
    const struct relation *t = in->table;
    enum type *types = arena_alloc(&in->arena, (t->n_columns + 1) * sizeof(*types));
    if (types == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < t->n_columns; i++)
        types[i] = t->columns[i].type;
    struct batch *b = batch_new(types, t->n_columns, 1, &in->arena);
    if (b == NULL)
        return ERR_NO_MEMORY;
    b->n_rows = 1;
    for (uint32_t i = 0; i < t->n_columns; i++) {
        uint32_t from;
        struct value v = {.type = types[i], .null = true};
        if (mapped(t, rows, map, i, &from))
            v = column_get(&rows->columns[from], row);
        column_set(&b->columns[i], 0, &v);
    }
    *out = b;
    return ERR_OK;
}

static enum err ingest_one(struct ingest *in, const struct batch *rows, const uint32_t *map,
                           uint32_t row, struct err_detail *why)
{
    struct batch *b;
    arena_reset(&in->arena, INGEST_ARENA_KEEP_BYTES);
    TRY(full_row(in, rows, map, row, &b));
    return add_encoded(in, b, why);
}

enum { RAW_KEY_COLUMN = 3, RAW_VALUE_COLUMN = 4 };

/* A raw topic takes key and value, as text that stands for bytes; the rest is the log's. */
static enum err ingest_raw(struct ingest *in, const struct batch *rows, const uint32_t *map,
                           uint32_t row, struct err_detail *why)
{
    struct str field[2] = {{0}, {0}};
    arena_reset(&in->arena, INGEST_ARENA_KEEP_BYTES);
    for (uint32_t i = 0; i < rows->n_columns; i++) {
        struct value v = column_get(&rows->columns[i], row);
        bool given = map[i] == RAW_KEY_COLUMN || map[i] == RAW_VALUE_COLUMN;
        if (given && !v.null)
            TRY(raw_bytes(v.as.s, &in->arena, &field[map[i] - RAW_KEY_COLUMN], why));
        else if (!v.null)
            return err_set(why, ERR_INVALID_ARGUMENT,
                           "only key and value of a topic can be inserted: the log gives the rest");
    }
    return add_row(in, field[1], field[0], why);
}

/* All columns of the table; those that are not given are NULL. */
static enum err full_rows(struct ingest *in, const struct batch *rows, const uint32_t *map,
                          struct batch *out)
{
    const struct relation *t = in->table;
    struct column *columns = arena_alloc(&in->arena, (t->n_columns + 1) * sizeof(*columns));
    if (columns == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < t->n_columns; i++) {
        uint32_t from;
        if (mapped(t, rows, map, i, &from)) {
            columns[i] = rows->columns[from];
            continue;
        }
        if (!column_init(&columns[i], t->columns[i].type, rows->n_rows, true, &in->arena))
            return ERR_NO_MEMORY;
        for (uint32_t r = 0; r < rows->n_rows; r++)
            column_set(&columns[i], r,
                       &(struct value){.type = t->columns[i].type, .null = true});
    }
    *out = (struct batch){.n_rows = rows->n_rows, .n_columns = t->n_columns, .columns = columns};
    return ERR_OK;
}

static enum err ingest_keyed(struct ingest *in, const struct batch *rows, const uint32_t *map,
                             uint32_t *bad_row, struct err_detail *why)
{
    struct batch all = *rows;
    arena_reset(&in->arena, INGEST_ARENA_KEEP_BYTES);
    *bad_row = 0;
    if (in->keyed == NULL)
        TRY(keyed_write_new(in->shard, &in->options, &in->keyed, why));
    if (in->options.kind == KEYED_INSERT)
        TRY(full_rows(in, rows, map, &all));
    return keyed_write_add(in->keyed, &all, bad_row, why);
}

enum err ingest_batch(struct ingest *in, const struct batch *rows, const uint32_t *map,
                      uint32_t *bad_row, struct err_detail *why)
{
    if (in->decoder.keyed != NULL)
        return ingest_keyed(in, rows, map, bad_row, why);
    for (uint32_t i = 0; i < rows->n_rows; i++) {
        *bad_row = i;
        TRY(in->decoder.raw ? ingest_raw(in, rows, map, i, why)
                            : ingest_one(in, rows, map, i, why));
    }
    return ERR_OK;
}

static void commit_finish(struct ingest *in)
{
    for (uint32_t i = 0; i < in->table->topic->n_partitions; i++)
        records_clear(&in->parts[i], 1 << 20);
    in->n_changed = in->err == ERR_OK ? in->n_rows : 0;
    in->n_rows = 0;
    in->round_robin++;
    in->done(in->arg, in->err, &in->why);
}

static void append_done(struct append_request *r)
{
    struct ingest *in = r->arg;
    if (r->err != ERR_OK && in->err == ERR_OK) {
        in->err = r->err;
        in->why = r->why;
    }
    if (--in->n_pending == 0)
        commit_finish(in);
}

static void keyed_committed(void *arg, enum err e, const struct err_detail *why)
{
    struct ingest *in = arg;
    in->n_changed = keyed_write_changed(in->keyed);
    in->done(in->arg, e, why);
}

void ingest_commit(struct ingest *in,
                   void (*done)(void *arg, enum err e, const struct err_detail *why), void *arg)
{
    CHECK(in->n_pending == 0);
    in->done = done;
    in->arg = arg;
    in->err = ERR_OK;
    in->why = (struct err_detail){0};
    if (in->keyed != NULL) {
        keyed_write_commit(in->keyed, keyed_committed, in);
        return;
    }
    in->n_pending = 1; /* held until all are sent */
    for (uint32_t i = 0; i < in->table->topic->n_partitions; i++) {
        struct records *p = &in->parts[i];
        enum err e = records_finish(p, &in->why);
        if (e != ERR_OK)
            in->err = e;
        if (p->bytes.len == 0 || in->err != ERR_OK)
            continue;
        in->appends[i] = (struct append_request){.topic = in->table->topic,
                                                 .partition = i,
                                                 .batches = p->bytes.ptr,
                                                 .n_bytes = p->bytes.len,
                                                 .n_records = p->n_records,
                                                 .want_durable = true,
                                                 .done = append_done,
                                                 .arg = in};
        in->n_pending++;
        shard_append(in->shard, &in->appends[i]);
    }
    if (--in->n_pending == 0)
        commit_finish(in);
}

void ingest_close(struct ingest *in)
{
    if (in == NULL)
        return;
    CHECK(in->n_pending == 0);
    keyed_write_free(in->keyed);
    returned_free(in->returned);
    for (uint32_t i = 0; i < in->table->topic->n_partitions; i++)
        records_deinit(&in->parts[i]);
    mem_free(in->parts);
    mem_free(in->appends);
    row_decoder_deinit(&in->decoder);
    json_decoder_free(in->json_rows);
    arena_deinit(&in->arena);
    buf_deinit(&in->json);
    catalog_unref(in->catalog);
    mem_free(in);
}
