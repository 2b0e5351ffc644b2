/* What the system tells about itself, and the dashboard's files. */
#include "serve/http_int.h"

#include "base/check.h"
#include "type/typmod.h"
#include "base/hash.h"
#include "serve/assets.h"
#include "wire/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { CATALOG_SQL_BYTES_MAX = 256 << 10 };

/* ---- GET /v1/catalog ---- */

static void string_member(struct buf *out, const char *name, struct str value)
{
    buf_printf(out, ",\"%s\":", name);
    json_write_string(out, value);
}

static void columns_write(struct buf *out, const struct relation *r)
{
    bool first = true;
    buf_put_str(out, STR(",\"columns\":["));
    for (uint32_t i = 0; i < r->n_columns; i++) {
        const struct column_def *c = &r->columns[i];
        if (relation_column_dropped(r, i))
            continue;
        buf_put_str(out, first ? STR("{\"name\":") : STR(",{\"name\":"));
        first = false;
        json_write_string(out, c->name);
        string_member(out, "type", str_of(type_info(c->type)->name));
        buf_printf(out, ",\"not_null\":%s}", c->not_null ? "true" : "false");
    }
    buf_put_u8(out, ']');
}

static void literal_write(struct buf *out, const char *option, struct str value)
{
    buf_printf(out, ", %s = '", option);
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] == '\'')
            buf_put_u8(out, '\'');
        buf_put_u8(out, (uint8_t)value.ptr[i]);
    }
    buf_put_u8(out, '\'');
}

static void format_options_write(struct buf *out, const struct relation *r)
{
    const struct csv_options *csv = &r->text.csv;
    if (r->format == FORMAT_REGEX)
        literal_write(out, "pattern", r->text.pattern);
    if (r->format == FORMAT_AVRO) {
        if (r->avro_schema.ptr != NULL)
            literal_write(out, "schema", r->avro_schema);
        if (r->registry.len > 0)
            literal_write(out, "schema_registry", r->registry);
        literal_write(out, "framing", r->avro_framed ? STR("confluent") : STR("none"));
    }
    if (r->format == FORMAT_CSV) {
        literal_write(out, "delimiter", (struct str){&csv->delimiter, 1});
        literal_write(out, "quote", (struct str){&csv->quote, 1});
    }
    if ((r->format == FORMAT_CSV || r->format == FORMAT_REGEX) && csv->null.ptr != NULL)
        literal_write(out, "null", csv->null);
}

/* A table's definition as the statement that would make it again. */
static void table_sql_write(struct buf *out, const struct relation *r)
{
    bool first = true;
    buf_put_str(out, STR("CREATE TABLE "));
    http_identifier_write(out, r->name);
    for (uint32_t i = 0; i < r->n_columns; i++) {
        const struct column_def *c = &r->columns[i];
        if (relation_column_dropped(r, i))
            continue;
        buf_put_str(out, first ? STR(" (") : STR(", "));
        first = false;
        http_identifier_write(out, c->name);
        char type[TYPMOD_TEXT_MAX];
        buf_put_u8(out, ' ');
        buf_put(out, type, typmod_print(c->type, c->typmod, type));
        buf_put_str(out, c->not_null ? STR(" NOT NULL") : STR(""));
    }
    for (uint32_t i = 0; i < r->n_primary_key; i++) {
        buf_put_str(out, i == 0 ? STR(", PRIMARY KEY (") : STR(", "));
        http_identifier_write(out, r->columns[r->primary_key[i]].name);
    }
    buf_printf(out, "%s) WITH (format = '%s'", r->n_primary_key > 0 ? ")" : "",
               table_format_name(r->format));
    format_options_write(out, r);
    if (r->topic != NULL && !str_eq(r->topic->name, r->name))
        literal_write(out, "topic", r->topic->name);
    if (r->topic != NULL)
        buf_printf(out, ", partitions = %u", r->topic->n_partitions);
    if (r->key >= 0)
        literal_write(out, "key", r->columns[r->key].name);
    if (r->event_time >= 0) {
        literal_write(out, "event_time", r->columns[r->event_time].name);
        buf_printf(out, ", lateness = '%lld ms', idle_timeout = '%lld ms', max_future = '%lld ms'",
                   (long long)(r->lateness_us / 1000), (long long)(r->idle_timeout_us / 1000),
                   (long long)(r->future_us_max / 1000));
    }
    buf_printf(out, ", on_error = '%s')",
               r->on_error == ON_ERROR_IGNORE ? "ignore" : "dead_letter");
}

static void key_write(struct buf *out, const struct relation *r)
{
    buf_put_str(out, STR(",\"key\":["));
    uint32_t of_record = (uint32_t)r->key;
    uint32_t n = r->kind == REL_VIEW ? r->view->n_key_columns : r->key >= 0;
    const uint32_t *columns = r->kind == REL_VIEW ? r->view->key_columns : &of_record;
    if (r->n_primary_key > 0) {
        n = r->n_primary_key;
        columns = r->primary_key;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (i > 0)
            buf_put_u8(out, ',');
        json_write_string(out, r->columns[columns[i]].name);
    }
    buf_put_u8(out, ']');
}

static void relation_write(struct buf *out, struct buf *sql, const struct relation *r)
{
    static const char *const kinds[] = {[REL_TABLE] = "table",
                                        [REL_VIEW] = "view",
                                        [REL_RAW_TOPIC] = "topic",
                                        [REL_SYSTEM] = "system",
                                        [REL_QUERY] = "query"};
    buf_put_str(out, STR("{\"name\":"));
    json_write_string(out, r->name);
    bool published = r->kind == REL_VIEW && r->view->connector != CONNECTOR_NONE;
    string_member(out, "kind", published ? STR("publication") : str_of(kinds[r->kind]));
    columns_write(out, r);
    if (r->kind == REL_VIEW) {
        string_member(out, "sql", r->view->sql);
        if (!published)
            key_write(out, r);
        string_member(out, "emit", str_of(r->view->emit_final ? "final" : "changes"));
        string_member(out, "source", r->view->sources[0]->name);
        buf_put_str(out, STR(",\"sources\":["));
        for (uint32_t i = 0; i < r->view->n_sources; i++) {
            buf_put_str(out, i == 0 ? STR("") : STR(","));
            json_write_string(out, r->view->sources[i]->name);
        }
        buf_put_u8(out, ']');
    } else if (r->kind == REL_QUERY) {
        string_member(out, "sql", r->view->sql);
    } else if (r->kind == REL_TABLE) {
        buf_clear(sql);
        table_sql_write(sql, r);
        if (!sql->failed)
            string_member(out, "sql", buf_str(sql));
        key_write(out, r);
    }
    buf_put_u8(out, '}');
}

/* What drivers and psql look up is left out: nobody made it, and it never changes. */
static bool is_foreign(const struct relation *r)
{
    return str_starts(r->name, STR("pg_catalog.")) ||
           str_starts(r->name, STR("information_schema."));
}

void http_handle_catalog(struct http_conn *h, const struct http_call *call)
{
    (void)call;
    const struct catalog *c = shard_catalog(http_shard_of(h));
    struct buf out;
    struct buf sql;
    buf_init(&out, HTTP_ANSWER_BYTES_MAX);
    buf_init(&sql, CATALOG_SQL_BYTES_MAX);
    buf_put_str(&out, STR("{\"relations\":["));
    bool first = true;
    for (uint32_t i = 0; i < c->n_relations; i++) {
        if (is_foreign(c->relations[i]))
            continue;
        if (!first)
            buf_put_str(&out, STR(",\n"));
        relation_write(&out, &sql, c->relations[i]);
        first = false;
    }
    buf_put_str(&out, STR("]}\n"));
    buf_deinit(&sql);
    http_respond_json(h, 200, &out);
}

/* ---- GET /v1/pipeline ---- */

void http_handle_pipeline(struct http_conn *h, const struct http_call *call)
{
    (void)call;
    struct buf out;
    buf_init(&out, HTTP_ANSWER_BYTES_MAX);
    shard_describe_pipeline(http_shard_of(h), &out);
    http_respond_json(h, 200, &out);
}

/* ---- GET /metrics ---- */

struct metric {
    struct str name, labels, help;
    double value;
    bool counter;
};

/* Metrics as they come; strings are copied, because they may be gone after the call. */
struct metric_list {
    struct arena *arena;
    struct metric *metrics;
    uint32_t n, max;
    bool failed;
};

static void metric_take(void *arg, const char *name, const char *labels, double value,
                        const char *help, bool counter)
{
    struct metric_list *l = arg;
    if (l->n == l->max) {
        l->failed = true;
        return;
    }
    struct metric *m = &l->metrics[l->n++];
    *m = (struct metric){.value = value, .counter = counter};
    m->name = arena_str(l->arena, str_of(name));
    m->labels = arena_str(l->arena, str_of(labels == NULL ? "" : labels));
    m->help = arena_str(l->arena, str_of(help == NULL ? "" : help));
    l->failed |= m->name.ptr == NULL || m->labels.ptr == NULL || m->help.ptr == NULL;
}

static int metric_order(const void *a, const void *b)
{
    const struct metric *x = a;
    const struct metric *y = b;
    int c = str_cmp(x->name, y->name);
    return c != 0 ? c : str_cmp(x->labels, y->labels);
}

/* Prometheus' text format 0.0.4: all samples of a name stand together. */
static void metrics_write(struct buf *out, const struct metric_list *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        const struct metric *m = &l->metrics[i];
        if (i == 0 || !str_eq(m->name, l->metrics[i - 1].name)) {
            buf_printf(out, "# HELP %.*s %.*s\n# TYPE %.*s %s\n", STR_ARG(m->name),
                       STR_ARG(m->help), STR_ARG(m->name), m->counter ? "counter" : "gauge");
        }
        buf_put_str(out, m->name);
        if (m->labels.len > 0)
            buf_printf(out, "{%.*s}", STR_ARG(m->labels));
        if (isfinite(m->value) && m->value == floor(m->value) && fabs(m->value) < 1e15)
            buf_printf(out, " %.0f\n", m->value);
        else if (isfinite(m->value))
            buf_printf(out, " %.17g\n", m->value);
        else
            buf_printf(out, " %s\n", isnan(m->value) ? "NaN" : m->value > 0 ? "+Inf" : "-Inf");
    }
}

enum { METRIC_SAMPLES_MAX = 20000 };

void http_handle_metrics(struct http_conn *h, const struct http_call *call)
{
    (void)call;
    struct metric_list l = {.arena = &h->arena, .max = METRIC_SAMPLES_MAX};
    l.metrics = arena_alloc(&h->arena, METRIC_SAMPLES_MAX * sizeof *l.metrics);
    if (l.metrics != NULL)
        engine_metrics(http_shard_of(h), metric_take, &l);
    if (l.metrics == NULL || l.failed) {
        http_respond_error(h, ERR_NO_MEMORY, NULL);
        return;
    }
    qsort(l.metrics, l.n, sizeof *l.metrics, metric_order);
    struct buf out;
    buf_init(&out, HTTP_ANSWER_BYTES_MAX);
    metrics_write(&out, &l);
    http_respond_buf(h, 200, "text/plain; version=0.0.4; charset=utf-8", NULL, &out);
}

/* ---- health ---- */

void http_handle_livez(struct http_conn *h, const struct http_call *call)
{
    (void)call;
    http_respond(h, 200, "text/plain; charset=utf-8", NULL, STR("ok\n"));
}

void http_handle_readyz(struct http_conn *h, const struct http_call *call)
{
    (void)call;
    struct engine *e = shard_engine(http_shard_of(h));
    struct err_detail why = {0};
    enum err stuck = engine_outputs_stuck(e, &why);
    if (host_stop_requested(engine_host(e)))
        http_respond(h, 503, "text/plain; charset=utf-8", NULL, STR("stopping\n"));
    else if (!engine_ready(e))
        http_respond(h, 503, "text/plain; charset=utf-8", NULL,
                     STR("recovering: views are catching up with the log\n"));
    else if (stuck != ERR_OK)
        http_respond(h, 503, "text/plain; charset=utf-8", NULL,
                     arena_printf(&h->arena, "%s\n", why.text));
    else
        http_respond(h, 200, "text/plain; charset=utf-8", NULL, STR("ok\n"));
}

/* ---- the dashboard ---- */

/* Scripts and styles come from here alone; uPlot sets style attributes. */
#define ASSET_HEADERS                                                         \
    "Cache-Control: no-cache\r\n"                                             \
    "Content-Security-Policy: default-src 'self'; img-src 'self' data:; "     \
    "style-src 'self' 'unsafe-inline'; base-uri 'none'; form-action 'none'; " \
    "frame-ancestors 'none'\r\n"                                              \
    "Referrer-Policy: no-referrer\r\n"

#define NO_DASHBOARD                                     \
    "This is Tidemill, built without its dashboard.\n\n" \
    "GET  /v1/catalog            tables and views\n"     \
    "GET  /v1/topics             the log\n"              \
    "GET  /v1/pipeline           what runs\n"            \
    "POST /v1/query              SQL\n"                  \
    "POST /v1/tables/NAME/rows   rows in\n"              \
    "GET  /v1/views/NAME         rows out\n"             \
    "GET  /metrics               for Prometheus\n"

static bool is_root(struct str path)
{
    return str_eq(path, STR("/"));
}

static const struct asset *asset_of(const struct http_request *r)
{
    struct str path = is_root(r->path) ? STR("/index.html") : r->path;
    return asset_find(path.ptr, path.len);
}

bool http_asset_exists(const struct http_request *r)
{
    return is_root(r->path) || asset_of(r) != NULL;
}

void http_asset_respond(struct http_conn *h, const struct http_request *r)
{
    const struct asset *plain = asset_of(r);
    if (plain == NULL) {
        http_respond(h, 200, "text/plain; charset=utf-8", NULL, STR(NO_DASHBOARD));
        return;
    }
    struct str path = str_of(plain->path);
    const struct asset *zipped = asset_find_gzip(path.ptr, path.len);
    bool gzip = zipped != NULL && http_accepts(http_header(r, STR("accept-encoding")), STR("gzip"));
    const struct asset *a = gzip ? zipped : plain;
    char tag[24];
    char headers[sizeof ASSET_HEADERS + 128];
    snprintf(tag, sizeof tag, "\"%016llx\"", (unsigned long long)hash_bytes(a->bytes, a->len, 0));
    snprintf(headers, sizeof headers, ASSET_HEADERS "Vary: Accept-Encoding\r\nETag: %s\r\n%s", tag,
             gzip ? "Content-Encoding: gzip\r\n" : "");
    if (http_list_has(http_header(r, STR("if-none-match")), str_of(tag))) {
        http_respond(h, 304, NULL, headers, STR(""));
        return;
    }
    http_respond_static(h, a->content_type, headers, (struct str){(const char *)a->bytes, a->len});
}
