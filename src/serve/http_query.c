/* Answers made of a query's rows.
 *
 *   PULL --query_pull--> WAIT --callback--> ROWS --all written--> PULL
 *     |                   |                   | output full: stay, until drain
 *     |                   |--no more rows--> END: the answer ends
 *     |                   '--error---------> FAILED
 *
 * An answer that stays within HTTP_CHUNK_BYTES is sent in one piece, so that an error still has its
 * status; a longer one is streamed. */
#include "serve/http_int.h"

#include "base/check.h"
#include "serve/statement.h"
#include "wire/json.h"
#include "wire/json_rows.h"

struct query_task;

/* A form of answer. */
struct emitter {
    const char *content_type;
    void (*begin)(struct query_task *t);
    void (*row)(struct query_task *t, uint32_t row);
    void (*end)(struct query_task *t);
    /* What is put before an error's object (without its opening brace) in a streamed answer. */
    const char *before_error;
};

struct query_task {
    struct http_conn *h;
    const struct emitter *emit;
    struct plan *plan;
    const struct plan *bound;
    struct query *query;
    struct ingest *returned; /* instead of a query: the rows of RETURNING, from this batch on */
    uint32_t next_returned;
    struct statement statement;
    struct buf out;
    struct str *keys; /* of objects */
    const struct batch *rows;
    uint32_t row;
    uint64_t sent;
    enum query_step { QUERY_PULL, QUERY_WAIT, QUERY_ROWS, QUERY_END, QUERY_FAILED } step;
    bool in_pull;
    enum err err;
    struct err_detail why;
    struct str topic; /* GET /v1/topics: whose partitions are being written; catalog's */
};

/* ---- rows as JSON ---- */

struct str *http_column_keys(struct arena *a, const struct plan_node *root)
{
    struct str *keys = arena_alloc(a, (root->n_columns + 1) * sizeof *keys);
    if (keys == NULL)
        return NULL;
    struct buf text;
    buf_init(&text, HTTP_HEAD_BYTES_MAX);
    for (uint32_t i = 0; i < root->n_columns; i++) {
        buf_clear(&text);
        json_write_string(&text, root->columns[i].name);
        buf_put_u8(&text, ':');
        keys[i] = text.failed ? (struct str){NULL, 0} : arena_str(a, buf_str(&text));
        if (keys[i].ptr == NULL) {
            keys = NULL;
            break;
        }
    }
    buf_deinit(&text);
    return keys;
}

static void value_write(struct buf *out, const struct batch *b, uint32_t column, uint32_t row)
{
    struct value v = column_get(&b->columns[column], row);
    value_print_json(&v, out);
}

/* The member that tells jsonb nulls from NULL, when the row has any. */
static void jsonb_nulls_write(struct buf *out, const struct batch *b, uint32_t row,
                              const struct str *keys)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < b->n_columns; i++) {
        struct value v = column_get(&b->columns[i], row);
        if (!value_is_jsonb_null(&v))
            continue;
        if (n == 0) {
            buf_put_u8(out, ',');
            json_write_string(out, JSONB_NULLS_MEMBER);
            buf_put_str(out, STR(":["));
        }
        if (n++ > 0)
            buf_put_u8(out, ',');
        buf_put(out, keys[i].ptr, keys[i].len - 1); /* without its colon */
    }
    if (n > 0)
        buf_put_u8(out, ']');
}

void http_row_write(struct buf *out, const struct batch *b, uint32_t row, const struct str *keys)
{
    for (uint32_t i = 0; i < b->n_columns; i++) {
        buf_put_u8(out, i == 0 ? '{' : ',');
        buf_put_str(out, keys[i]);
        value_write(out, b, i, row);
    }
    jsonb_nulls_write(out, b, row, keys);
    buf_put_str(out, b->n_columns == 0 ? STR("{}") : STR("}"));
}

/* ---- the forms: {"columns", "rows", "tag"} ---- */

/* What the statement's rows are, or NULL. */
static const struct plan_node *rows_of(const struct plan *p)
{
    return p->kind == STMT_QUERY ? p->root : p->returning;
}

static void json_begin(struct query_task *t)
{
    buf_put_str(&t->out, STR("{\"columns\":["));
    const struct plan_node *root = rows_of(t->bound);
    for (uint32_t i = 0; root != NULL && i < root->n_columns; i++) {
        buf_put_str(&t->out, i == 0 ? STR("{\"name\":") : STR(",{\"name\":"));
        json_write_string(&t->out, root->columns[i].name);
        buf_printf(&t->out, ",\"type\":\"%s\"}", type_info(root->columns[i].type)->name);
    }
    buf_put_str(&t->out, STR("],\"rows\":["));
}

static void json_row(struct query_task *t, uint32_t row)
{
    buf_put_str(&t->out, t->sent == 0 ? STR("[") : STR(",["));
    for (uint32_t i = 0; i < t->rows->n_columns; i++) {
        if (i > 0)
            buf_put_u8(&t->out, ',');
        value_write(&t->out, t->rows, i, row);
    }
    buf_put_u8(&t->out, ']');
}

static void json_end(struct query_task *t)
{
    const char *tag = t->plan->tag != NULL ? t->plan->tag : "";
    buf_put_str(&t->out, STR("],\"tag\":"));
    if (t->plan->kind == STMT_QUERY)
        buf_printf(&t->out, "\"%s %llu\"", tag, (unsigned long long)t->sent);
    else if (statement_runs(t->plan->kind) && t->plan->kind != STMT_SHOW)
        json_write_string(&t->out, str_of(t->statement.tag));
    else
        json_write_string(&t->out, str_of(tag));
    buf_put_str(&t->out, STR("}\n"));
}

static const struct emitter emit_json = {"application/json", json_begin, json_row, json_end, "],"};

/* ---- an object a line, and an array of objects ---- */

static void nothing(struct query_task *t)
{
    (void)t;
}

static void line_row(struct query_task *t, uint32_t row)
{
    http_row_write(&t->out, t->rows, row, t->keys);
    buf_put_u8(&t->out, '\n');
}

static const struct emitter emit_lines = {"application/x-ndjson", nothing, line_row, nothing, "{"};

static void array_begin(struct query_task *t)
{
    buf_put_u8(&t->out, '[');
}

static void array_row(struct query_task *t, uint32_t row)
{
    if (t->sent > 0)
        buf_put_str(&t->out, STR(",\n"));
    http_row_write(&t->out, t->rows, row, t->keys);
}

static void array_end(struct query_task *t)
{
    buf_put_str(&t->out, STR("]\n"));
}

static const struct emitter emit_array = {"application/json", array_begin, array_row, array_end,
                                          NULL};

/* ---- GET /v1/topics: partitions grouped by topic ---- */

#define TOPICS_SQL                                                                               \
    "SELECT topic, partition, start_offset, high_watermark, end_offset, bytes, watermark, idle " \
    "FROM sys.partitions ORDER BY topic, partition"

static void topics_begin(struct query_task *t)
{
    buf_put_str(&t->out, STR("{\"topics\":["));
}

static void topics_row(struct query_task *t, uint32_t row)
{
    static const char *const names[] = {NULL,         "partition", "start_offset", "high_watermark",
                                        "end_offset", "bytes",     "watermark",    "idle"};
    struct str name = column_str(&t->rows->columns[0])[row];
    const struct topic *topic = catalog_topic(t->plan->catalog, name);
    if (t->sent == 0 || !str_eq(name, t->topic)) {
        buf_put_str(&t->out, t->sent == 0 ? STR("{\"name\":") : STR("]},\n{\"name\":"));
        json_write_string(&t->out, name);
        buf_printf(&t->out, ",\"kind\":\"%s\",\"partitions\":[",
                   topic == NULL ? "internal" : catalog_topic_kind_name(t->plan->catalog, topic));
        t->topic = topic != NULL ? topic->name : arena_str(&t->h->arena, name);
    } else {
        buf_put_u8(&t->out, ',');
    }
    for (uint32_t i = 1; i < ARRAY_LEN(names); i++) {
        buf_printf(&t->out, "%s\"%s\":", i == 1 ? "{" : ",", names[i]);
        value_write(&t->out, t->rows, i, row);
    }
    buf_put_u8(&t->out, '}');
}

static void topics_end(struct query_task *t)
{
    buf_put_str(&t->out, t->sent == 0 ? STR("]}\n") : STR("]}]}\n"));
}

static const struct emitter emit_topics = {"application/json", topics_begin, topics_row, topics_end,
                                           NULL};

/* ---- the task ---- */

static void query_go(struct http_conn *h);

static void task_cancel(struct http_conn *h)
{
    struct query_task *t = h->task_state;
    if (t->query != NULL)
        query_close(t->query);
    t->query = NULL;
    if (t->statement.running)
        statement_cancel(&t->statement);
}

static void task_free(struct http_conn *h)
{
    struct query_task *t = h->task_state;
    if (t->query != NULL)
        query_close(t->query);
    t->query = NULL;
    ingest_close(t->returned);
    t->returned = NULL;
    if (t->plan != NULL)
        plan_free(t->plan);
    t->plan = NULL;
    buf_deinit(&t->out);
}

static const struct http_task query_task_kind = {
    .cancel = task_cancel, .free = task_free, .drain = query_go};

static struct query_task *task_new(struct http_conn *h, const struct emitter *emit)
{
    struct query_task *t = arena_zalloc(&h->arena, 1, sizeof *t);
    if (t == NULL) {
        http_respond_error(h, ERR_NO_MEMORY, NULL);
        return NULL;
    }
    t->h = h;
    t->emit = emit;
    buf_init(&t->out, HTTP_ANSWER_BYTES_MAX);
    http_task_begin(h, &query_task_kind, t);
    return t;
}

/* Ends with an error; `why` may be NULL or the task's. */
static void task_fail(struct query_task *t, enum err e, const struct err_detail *why)
{
    struct http_conn *h = t->h;
    if (!h->streaming) {
        struct err_detail copy = why != NULL ? *why : (struct err_detail){0};
        http_respond_error(h, e, &copy);
        return;
    }
    if (t->emit->before_error != NULL) {
        struct buf error;
        buf_init(&error, HTTP_CHUNK_BYTES);
        http_error_write(&error, e, why);
        buf_clear(&t->out);
        buf_put_str(&t->out, str_of(t->emit->before_error));
        if (error.len > 0)
            buf_put(&t->out, error.ptr + 1, error.len - 1);
        buf_put_u8(&t->out, '\n');
        buf_deinit(&error);
        http_stream_put(h, &t->out);
    }
    http_stream_break(h);
}

static void task_end(struct query_task *t)
{
    struct http_conn *h = t->h;
    t->emit->end(t);
    atomic_fetch_add_explicit(&http_server_of(h)->rows_out, t->sent, memory_order_relaxed);
    if (!h->streaming) {
        struct buf out = t->out;
        buf_init(&t->out, 0);
        http_respond_buf(h, 200, t->emit->content_type, NULL, &out);
        return;
    }
    http_stream_put(h, &t->out);
    http_stream_end(h);
}

/* Sends what was written; false when the output has no room for more now. */
static bool task_flush(struct query_task *t)
{
    struct http_conn *h = t->h;
    if (!h->streaming)
        http_stream_begin(h, t->emit->content_type, NULL);
    http_stream_put(h, &t->out);
    return !conn_output_full(h->conn);
}

/* Writes rows until the batch ends (true) or the output is full (false). */
static bool rows_write(struct query_task *t)
{
    while (t->row < t->rows->n_rows) {
        if (t->out.len >= HTTP_CHUNK_BYTES && !task_flush(t))
            return false;
        t->emit->row(t, t->row);
        if (t->out.failed) {
            t->err =
                err_set(&t->why, ERR_TOO_LARGE, "row %llu of the answer is longer than %d bytes",
                        (unsigned long long)t->sent + 1, HTTP_ANSWER_BYTES_MAX);
            t->step = QUERY_FAILED;
            return true;
        }
        t->row++;
        t->sent++;
    }
    t->rows = NULL;
    t->step = QUERY_PULL;
    return true;
}

static void query_pulled(void *arg, const struct query_result *r)
{
    struct http_conn *h = arg;
    if (!http_result_came(h))
        return;
    struct query_task *t = h->task_state;
    t->rows = r->rows;
    t->row = 0;
    if (r->err != ERR_OK) {
        t->err = r->err;
        t->why = r->why != NULL ? *r->why : (struct err_detail){0};
        t->step = QUERY_FAILED;
    } else {
        t->step = r->rows != NULL ? QUERY_ROWS : QUERY_END;
    }
    if (!t->in_pull)
        query_go(h);
}

static void query_go(struct http_conn *h)
{
    struct query_task *t = h->task_state;
    while (!conn_closed(h->conn)) {
        switch (t->step) {
        case QUERY_PULL:
            if (t->returned != NULL) {
                t->rows = ingest_returned(t->returned, t->next_returned++);
                t->row = 0;
                t->step = t->rows != NULL ? QUERY_ROWS : QUERY_END;
                break;
            }
            http_result_awaited(h);
            t->step = QUERY_WAIT;
            t->in_pull = true;
            query_pull(t->query, query_pulled, h);
            t->in_pull = false;
            break;
        case QUERY_WAIT:
            return;
        case QUERY_ROWS:
            if (!rows_write(t))
                return;
            break;
        case QUERY_END:
            task_end(t);
            return;
        case QUERY_FAILED:
            task_fail(t, t->err, &t->why);
            return;
        }
    }
}

/* Starts t->bound, which gives rows. */
static void rows_begin(struct query_task *t)
{
    struct http_conn *h = t->h;
    struct err_detail why = {0};
    t->keys = http_column_keys(&h->arena, t->bound->root);
    enum err e = t->keys == NULL ? ERR_NO_MEMORY
                                 : query_open(http_shard_of(h), t->bound, false, &t->query, &why);
    if (e != ERR_OK) {
        t->query = NULL;
        task_fail(t, e, &why);
        return;
    }
    t->emit->begin(t);
    t->step = QUERY_PULL;
    query_go(h);
}

/* ---- POST /v1/query ---- */

static void statement_finished(struct statement *st)
{
    struct http_conn *h = st->arg;
    struct ingest *returned = st->returned;
    if (!http_result_came(h)) {
        ingest_close(returned);
        return;
    }
    struct query_task *t = h->task_state;
    if (st->err != ERR_OK) {
        task_fail(t, st->err, &st->why);
        return;
    }
    t->returned = returned;
    t->emit->begin(t);
    t->step = t->returned != NULL ? QUERY_PULL : QUERY_END;
    query_go(h);
}

static void statement_begin(struct query_task *t)
{
    t->statement = (struct statement){.done = statement_finished, .arg = t->h};
    t->keys = t->bound->returning != NULL ? http_column_keys(&t->h->arena, t->bound->returning)
                                          : NULL;
    if (t->bound->returning != NULL && t->keys == NULL) {
        task_fail(t, ERR_NO_MEMORY, NULL);
        return;
    }
    http_result_awaited(t->h);
    statement_run(http_shard_of(t->h), t->bound, &t->statement);
}

/* What the client asked for. */
struct query_request {
    struct str sql;
    bool has_params;
    struct json_value params;
};

/* The body: {"sql": ..., "params": [...]}, or SQL. */
static enum err request_read(struct arena *a, struct str body, struct query_request *q,
                             struct err_detail *why)
{
    size_t at = 0;
    while (at < body.len && (unsigned char)body.ptr[at] <= ' ')
        at++;
    if (at == body.len || body.ptr[at] != '{') {
        q->sql = arena_str(a, body);
        if (q->sql.ptr == NULL)
            return ERR_NO_MEMORY;
        return str_utf8_valid(body) ? ERR_OK
                                    : err_set(why, ERR_ENCODING, "the SQL text is not valid UTF-8");
    }
    /* Everything borrows from the body, which is gone after the handler. */
    struct str copy = arena_str(a, body);
    struct json_value document;
    struct json_value sql;
    if (copy.ptr == NULL)
        return ERR_NO_MEMORY;
    TRY(json_read(copy, &document, why));
    if (!json_member(&document, STR("sql"), &sql) || sql.kind != JSON_STRING) {
        enum err e = err_set(why, ERR_INVALID_ARGUMENT, "\"sql\" is missing or not a string");
        err_hint(why, "Send {\"sql\": \"SELECT ...\", \"params\": [...]} or the SQL text itself.");
        return e;
    }
    q->has_params = json_member(&document, STR("params"), &q->params);
    if (q->has_params && q->params.kind != JSON_ARRAY)
        return err_set(why, ERR_INVALID_ARGUMENT, "\"params\" must be an array");
    q->sql = json_string(&sql, a);
    if (q->sql.ptr == NULL)
        return ERR_NO_MEMORY;
    if (memchr(q->sql.ptr, 0, q->sql.len) != NULL)
        return err_set(why, ERR_ENCODING, "the SQL text has a NUL character");
    return ERR_OK;
}

/* A JSON value as the parameter's type reads it: strings as text, the rest as it is written. */
static enum err param_read(struct arena *a, const struct json_value *json, enum type type,
                           uint32_t i, struct value *out, struct err_detail *why)
{
    *out = (struct value){.type = type, .null = json->kind == JSON_NULL};
    if (out->null)
        return ERR_OK;
    struct str text = json->text;
    bool structured = json->kind == JSON_ARRAY || json->kind == JSON_OBJECT;
    if (structured && type != TYPE_JSONB && type != TYPE_TEXT)
        return err_set(why, ERR_TYPE_MISMATCH, "parameter $%u: expected %s, got an %s", i + 1,
                       type_info(type)->name, json->kind == JSON_ARRAY ? "array" : "object");
    if (json->kind == JSON_STRING && type != TYPE_JSONB)
        text = json_string(json, a);
    if (text.ptr == NULL)
        return ERR_NO_MEMORY;
    enum err e = value_parse(type, text, a, out, why);
    if (e == ERR_OK || why == NULL)
        return e;
    return err_set(why, e, "parameter $%u: %s", i + 1, err_text(e, why));
}

/* Reads the parameters and binds them: t->bound. */
static enum err params_bind(struct query_task *t, const struct query_request *q,
                            struct err_detail *why)
{
    struct arena *a = &t->h->arena;
    uint32_t n = t->plan->n_params;
    uint32_t i = 0;
    size_t at = 0;
    struct json_value item;
    struct value *values = arena_alloc(a, (n + 1) * sizeof *values);
    if (values == NULL)
        return ERR_NO_MEMORY;
    while (q->has_params && json_next(&q->params, &at, NULL, &item)) {
        if (i < n)
            TRY(param_read(a, &item, t->plan->params[i], i, &values[i], why));
        i++;
    }
    if (i != n)
        return err_set(why, ERR_INVALID_ARGUMENT, "the statement has %u parameters, %u were given",
                       n, i);
    t->bound = t->plan;
    return n == 0 ? ERR_OK : plan_bind(t->plan, values, n, a, &t->bound, why);
}

static enum err query_plan(struct query_task *t, const struct query_request *q,
                           struct err_detail *why)
{
    struct arena *a = &t->h->arena;
    struct str *statements;
    uint32_t n;
    TRY(sql_split(q->sql, a, &statements, &n, why));
    if (n > 1) {
        enum err e = err_set(why, ERR_SYNTAX, "%u statements in one request", n);
        err_hint(why, "Send them one by one, or use psql.");
        return e;
    }
    enum err e = plan_statement(q->sql, shard_catalog(http_shard_of(t->h)), NULL, 0, &t->plan, why);
    if (e != ERR_OK) {
        t->plan = NULL;
        return e;
    }
    TRY(params_bind(t, q, why));
    enum statement_kind kind = t->plan->kind;
    if (kind == STMT_COPY_FROM || kind == STMT_COPY_TO) {
        e = err_set(why, ERR_UNSUPPORTED, "COPY is not offered over HTTP");
        err_hint(why, kind == STMT_COPY_FROM ? "POST rows to /v1/tables/NAME/rows."
                                             : "Use SELECT, or GET /v1/views/NAME/changes.");
        return e;
    }
    if (kind != STMT_SHOW && kind != STMT_EXPLAIN)
        return ERR_OK;
    /* Constant rows: a query in all but its tag. */
    struct plan *rows = arena_alloc(a, sizeof *rows);
    if (rows == NULL)
        return ERR_NO_MEMORY;
    *rows = *t->bound;
    rows->kind = STMT_QUERY;
    t->bound = rows;
    return ERR_OK;
}

/* ?format=json|ndjson */
static enum err format_read(const struct http_call *call, const struct emitter **out,
                            struct err_detail *why)
{
    struct str query = call->request->query;
    struct str name;
    struct str value;
    *out = &emit_json;
    while (http_query_next(&query, &name, &value)) {
        if (!str_eq(name, STR("format")))
            return err_set(why, ERR_INVALID_ARGUMENT,
                           "unknown option in the query string: only format");
        if (str_eq(value, STR("ndjson")))
            *out = &emit_lines;
        else if (!str_eq(value, STR("json")))
            return err_set(why, ERR_INVALID_ARGUMENT, "format must be json or ndjson");
    }
    return ERR_OK;
}

void http_handle_query(struct http_conn *h, const struct http_call *call)
{
    struct err_detail why = {0};
    struct query_request request = {0};
    const struct emitter *emit;
    enum err e = format_read(call, &emit, &why);
    if (e == ERR_OK)
        e = request_read(&h->arena, call->body, &request, &why);
    if (e != ERR_OK) {
        http_respond_error(h, e, &why);
        return;
    }
    struct query_task *t = task_new(h, emit);
    if (t == NULL)
        return;
    e = query_plan(t, &request, &why);
    if (e != ERR_OK)
        task_fail(t, e, &why);
    else if (t->bound->kind == STMT_QUERY)
        rows_begin(t);
    else
        statement_begin(t);
}

/* ---- GET /v1/views/NAME ---- */

void http_identifier_write(struct buf *out, struct str name)
{
    buf_put_u8(out, '"');
    for (size_t i = 0; i < name.len; i++) {
        if (name.ptr[i] == '"')
            buf_put_u8(out, '"');
        buf_put_u8(out, (uint8_t)name.ptr[i]);
    }
    buf_put_u8(out, '"');
}

/* The query string's parts. */
struct view_request {
    struct str *columns, *values;
    uint32_t n;
    int64_t limit;
    struct str order;
};

enum { VIEW_CONDITIONS_MAX = 64, VIEW_LIMIT_DEFAULT = 1000, VIEW_SQL_BYTES_MAX = 64 << 10 };

static enum err view_option(struct view_request *v, struct str name, struct str value, bool *taken,
                            struct err_detail *why)
{
    *taken = true;
    if (str_eq(name, STR("limit"))) {
        if (str_to_i64(value, &v->limit) != ERR_OK || v->limit < 0)
            return err_set(why, ERR_INVALID_ARGUMENT, "limit must be a number of rows");
    } else if (str_eq(name, STR("order"))) {
        v->order = value;
    } else {
        *taken = false;
    }
    return ERR_OK;
}

static enum err view_request_read(struct arena *a, struct str query, bool follow,
                                  struct view_request *v, struct err_detail *why)
{
    struct str name;
    struct str value;
    v->limit = follow ? -1 : VIEW_LIMIT_DEFAULT;
    v->columns = arena_alloc(a, VIEW_CONDITIONS_MAX * sizeof *v->columns);
    v->values = arena_alloc(a, VIEW_CONDITIONS_MAX * sizeof *v->values);
    if (v->columns == NULL || v->values == NULL)
        return ERR_NO_MEMORY;
    while (http_query_next(&query, &name, &value)) {
        bool taken = false;
        enum err e = http_percent_decode(name, true, a, &name);
        if (e == ERR_OK)
            e = http_percent_decode(value, true, a, &value);
        if (e != ERR_OK)
            return err_set(why, e, "the query string is not percent-encoded UTF-8");
        if (!follow)
            TRY(view_option(v, name, value, &taken, why));
        if (taken || (follow && str_eq(name, STR("snapshot"))))
            continue;
        if (v->n == VIEW_CONDITIONS_MAX)
            return err_set(why, ERR_LIMIT, "more than %d conditions", VIEW_CONDITIONS_MAX);
        v->columns[v->n] = name;
        v->values[v->n++] = value;
    }
    return ERR_OK;
}

static void view_sql_write(struct buf *sql, struct str name, const struct view_request *v)
{
    buf_put_str(sql, STR("SELECT * FROM "));
    http_identifier_write(sql, name);
    for (uint32_t i = 0; i < v->n; i++) {
        buf_put_str(sql, i == 0 ? STR(" WHERE ") : STR(" AND "));
        http_identifier_write(sql, v->columns[i]);
        buf_printf(sql, " = $%u", i + 1);
    }
    bool descending = v->order.len > 0 && v->order.ptr[0] == '-';
    if (v->order.len > descending) {
        buf_put_str(sql, STR(" ORDER BY "));
        http_identifier_write(
            sql, (struct str){v->order.ptr + descending, v->order.len - descending});
        buf_put_str(sql, descending ? STR(" DESC NULLS LAST") : STR(" NULLS LAST"));
    }
    if (v->limit >= 0)
        buf_printf(sql, " LIMIT %lld", (long long)v->limit);
}

enum err http_view_plan(struct http_conn *h, const struct http_call *call, bool follow,
                        struct plan **plan, const struct plan **bound, struct err_detail *why)
{
    struct arena *a = &h->arena;
    struct view_request v = {0};
    const struct catalog *catalog = shard_catalog(http_shard_of(h));
    *plan = NULL;
    if (catalog_relation(catalog, call->argument) == NULL)
        return catalog_no_relation(catalog, call->argument, why);
    TRY(view_request_read(a, call->request->query, follow, &v, why));
    struct buf text;
    buf_init(&text, VIEW_SQL_BYTES_MAX);
    view_sql_write(&text, call->argument, &v);
    struct str sql = text.failed ? (struct str){NULL, 0} : arena_str(a, buf_str(&text));
    buf_deinit(&text);
    struct value *values = arena_alloc(a, (v.n + 1) * sizeof *values);
    if (sql.ptr == NULL || values == NULL)
        return ERR_NO_MEMORY;
    enum err e = plan_statement(sql, catalog, NULL, 0, plan, why);
    if (e != ERR_OK) {
        *plan = NULL;
        if (why != NULL)
            why->position = 0; /* in a text that the client never saw */
        return e;
    }
    for (uint32_t i = 0; i < v.n; i++) {
        enum type type = (*plan)->params[i];
        values[i] = (struct value){.type = type};
        e = value_parse(type, v.values[i], a, &values[i], why);
        if (e != ERR_OK)
            return err_set(why, e, "condition on \"%.*s\": %s", STR_ARG(v.columns[i]),
                           err_text(e, why));
    }
    *bound = *plan;
    return v.n == 0 ? ERR_OK : plan_bind(*plan, values, v.n, a, bound, why);
}

void http_handle_view(struct http_conn *h, const struct http_call *call)
{
    struct err_detail why = {0};
    struct query_task *t = task_new(h, &emit_array);
    if (t == NULL)
        return;
    enum err e = http_view_plan(h, call, false, &t->plan, &t->bound, &why);
    if (e != ERR_OK)
        task_fail(t, e, &why);
    else
        rows_begin(t);
}

void http_handle_topics(struct http_conn *h, const struct http_call *call)
{
    (void)call;
    struct err_detail why = {0};
    struct query_task *t = task_new(h, &emit_topics);
    if (t == NULL)
        return;
    enum err e =
        plan_statement(STR(TOPICS_SQL), shard_catalog(http_shard_of(h)), NULL, 0, &t->plan, &why);
    if (e != ERR_OK) {
        t->plan = NULL;
        task_fail(t, e, &why);
        return;
    }
    t->bound = t->plan;
    rows_begin(t);
}
