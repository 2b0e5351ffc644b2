/* What the system knows of itself: the rows of sys.*, the metrics, the running pipeline. All of it
 * is read from the catalog and from statistics that shards publish; nothing is asked of another
 * shard. */
#include "base/check.h"
#include "base/mem.h"
#include "engine/query_int.h"
#include "engine/records.h"
#include "engine/schemas.h"
#include "wire/json.h"

#include <stdio.h>

static const char *relation_kind_name(const struct relation *r)
{
    if (r->kind == REL_QUERY || (r->kind == REL_VIEW && r->view->connector != CONNECTOR_NONE))
        return r->kind == REL_QUERY ? "query" : "publication";
    return r->kind == REL_VIEW        ? "view"
           : r->kind == REL_SYSTEM    ? "system"
           : r->kind == REL_RAW_TOPIC ? "topic"
                                      : "table";
}

static const char *view_status_name(const struct relation_stats *s)
{
    int status = atomic_load(&((struct relation_stats *)(uintptr_t)s)->status);
    return status == VIEW_FAILED ? "failed" : status == VIEW_LIVE ? "live" : "backfilling";
}

/* ---- rows of sys.* ---- */

/* Rows being written: each put_* fills the next column of the row in work. */
struct rows {
    struct batch *batch;
    struct arena *arena;
    uint32_t column;
    uint32_t rows_max; /* there is room for */
    bool failed;
};

static void put(struct rows *r, struct value v)
{
    if (type_info(v.type)->by_ref && !v.null) {
        v.as.s = arena_str(r->arena, v.as.s);
        r->failed |= v.as.s.ptr == NULL;
    }
    CHECK(r->batch->columns[r->column].type == v.type);
    if (!r->failed)
        column_set(&r->batch->columns[r->column], r->batch->n_rows, &v);
    if (++r->column == r->batch->n_columns) {
        r->column = 0;
        r->batch->n_rows++;
    }
}
static void put_text(struct rows *r, struct str s)
{
    put(r, (struct value){.type = TYPE_TEXT, .null = s.ptr == NULL, .as.s = s});
}
static void put_i4(struct rows *r, uint32_t v)
{
    put(r, (struct value){.type = TYPE_INT4, .as.i4 = (int32_t)v});
}
static void put_i8(struct rows *r, int64_t v)
{
    put(r, (struct value){.type = TYPE_INT8, .as.i8 = v});
}
static void put_bool(struct rows *r, bool v)
{
    put(r, (struct value){.type = TYPE_BOOL, .as.b = v});
}
static void put_time(struct rows *r, int64_t us)
{
    put(r, (struct value){.type = TYPE_TIMESTAMPTZ, .null = us == INT64_MIN, .as.i8 = us});
}

static void tables_rows(struct shard *s, struct rows *r)
{
    for (uint32_t i = 0; i < s->catalog->n_relations; i++) {
        const struct relation *rel = s->catalog->relations[i];
        put_text(r, rel->name);
        put_text(r, str_of(relation_kind_name(rel)));
        put_text(r, rel->topic == NULL ? (struct str){0} : rel->topic->name);
        put_i4(r, rel->topic == NULL ? 0 : rel->topic->n_partitions);
        put_i4(r, relation_n_columns(rel));
        put_text(r, rel->sql.len == 0 ? (struct str){0} : rel->sql);
    }
}

static void columns_rows(struct shard *s, struct rows *r)
{
    for (uint32_t i = 0; i < s->catalog->n_relations; i++) {
        const struct relation *rel = s->catalog->relations[i];
        for (uint32_t c = 0; c < rel->n_columns; c++) {
            if (relation_column_dropped(rel, c))
                continue;
            put_text(r, rel->name);
            put_text(r, rel->columns[c].name);
            put_text(r, str_of(type_info(rel->columns[c].type)->name));
            put_bool(r, rel->columns[c].not_null);
            put_i4(r, c + 1);
        }
    }
}

static void topics_rows(struct shard *s, struct rows *r)
{
    for (uint32_t i = 0; i < s->catalog->n_topics; i++) {
        const struct topic *t = s->catalog->topics[i];
        const struct topic_stats *st = engine_topic_stats(s->engine, t->number);
        int64_t start = 0, end = 0, bytes = 0;
        for (uint32_t p = 0; p < t->n_partitions; p++) {
            const struct part_stats *ps = topic_part(st, p);
            start += stat_get(&ps->start);
            end += stat_get(&ps->end);
            bytes += (int64_t)stat_getu(&ps->bytes);
        }
        put_text(r, t->name);
        put_text(r, str_of(catalog_topic_kind_name(s->catalog, t)));
        put_i4(r, t->n_partitions);
        put_i8(r, start);
        put_i8(r, end);
        put_i8(r, bytes);
    }
}

static void partitions_rows(struct shard *s, struct rows *r)
{
    for (uint32_t i = 0; i < s->catalog->n_topics; i++) {
        const struct topic *t = s->catalog->topics[i];
        const struct topic_stats *st = engine_topic_stats(s->engine, t->number);
        for (uint32_t p = 0; p < t->n_partitions; p++) {
            const struct part_stats *ps = topic_part(st, p);
            put_text(r, t->name);
            put_i4(r, p);
            put_i8(r, stat_get(&ps->start));
            put_i8(r, stat_get(&ps->high_watermark));
            put_i8(r, stat_get(&ps->end));
            put_i8(r, (int64_t)stat_getu(&ps->bytes));
            put_time(r, stat_get(&ps->watermark_us));
            put_bool(r, atomic_load(&ps->idle));
        }
    }
}

/* "a, b"; nothing when the arena is full. */
static struct str source_names(struct arena *a, const struct view *v)
{
    struct buf names;
    buf_init(&names, (size_t)v->n_sources * (NAME_BYTES_MAX + 2) + 1);
    for (uint32_t i = 0; i < v->n_sources; i++)
        buf_printf(&names, "%s%.*s", i == 0 ? "" : ", ", STR_ARG(v->sources[i]->name));
    struct str s = names.failed ? (struct str){0} : arena_str(a, buf_str(&names));
    buf_deinit(&names);
    return s;
}

static void views_rows(struct shard *s, struct rows *r)
{
    for (uint32_t i = 0; i < s->catalog->n_relations; i++) {
        const struct relation *rel = s->catalog->relations[i];
        if (rel->kind != REL_VIEW || rel->view->connector != CONNECTOR_NONE)
            continue;
        const struct relation_stats *st = engine_relation_stats(s->engine, rel->number);
        put_text(r, rel->name);
        put_text(r, rel->view->sql);
        put_text(r, rel->view->emit_final ? STR("final") : STR("changes"));
        put_text(r, source_names(r->arena, rel->view));
        put_time(r, stat_get(&st->watermark_us));
        put_i8(r, (int64_t)stat_getu(&st->rows_in));
        put_i8(r, (int64_t)stat_getu(&st->rows_out));
        put_i8(r, (int64_t)stat_getu(&st->late_rows));
        put_i8(r, stat_get(&st->groups));
        put_i8(r, stat_get(&st->state_bytes));
        put_text(r, str_of(view_status_name(st)));
        bool failed = atomic_load(&((struct relation_stats *)(uintptr_t)st)->has_error);
        put_text(r, failed ? str_of(st->error) : (struct str){0});
    }
}

static void publications_rows(struct shard *s, struct rows *r)
{
    for (uint32_t i = 0; i < s->catalog->n_relations; i++) {
        const struct relation *rel = s->catalog->relations[i];
        if (rel->kind != REL_VIEW || rel->view->connector == CONNECTOR_NONE)
            continue;
        const struct relation_stats *st = engine_relation_stats(s->engine, rel->number);
        put_text(r, rel->name);
        put_text(r, rel->view->sql);
        put_text(r, source_names(r->arena, rel->view));
        put_text(r, str_of(connector_name(rel->view->connector)));
        put_i8(r, (int64_t)stat_getu(&st->rows_in));
        put_i8(r, (int64_t)stat_getu(&st->rows_out));
        put_i8(r, (int64_t)stat_getu(&st->bytes_out));
        put_text(r, str_of(view_status_name(st)));
        bool failed = atomic_load(&((struct relation_stats *)(uintptr_t)st)->has_error);
        put_text(r, failed ? str_of(st->error) : (struct str){0});
    }
}

static void metric_row(void *arg, const char *name, const char *labels, double value,
                       const char *help, bool counter)
{
    (void)help;
    (void)counter;
    struct rows *r = arg;
    struct value parsed;
    /* Labels are a="b",c="d": the names are quoted to make JSON of them. */
    struct buf text;
    buf_init(&text, 4096);
    bool in_name = true;
    buf_put_str(&text, labels[0] == '\0' ? STR("{") : STR("{\""));
    for (const char *p = labels; *p != '\0'; p++) {
        if (in_name && *p == '=') {
            buf_put_str(&text, STR("\": "));
            in_name = false;
        } else if (*p == ',' && p[-1] == '"') {
            buf_put_str(&text, STR(", \""));
            in_name = true;
        } else {
            buf_put_u8(&text, (uint8_t)*p);
        }
    }
    buf_put_u8(&text, '}');
    bool valid = value_parse(TYPE_JSONB, buf_str(&text), r->arena, &parsed, NULL) == ERR_OK;
    put_text(r, str_of(name));
    put(r, (struct value){
               .type = TYPE_JSONB, .null = !valid, .as.s = valid ? parsed.as.s : (struct str){0}});
    put(r, (struct value){.type = TYPE_FLOAT8, .as.f8 = value});
    buf_deinit(&text);
}

static void count_metric(void *arg, const char *name, const char *labels, double value,
                         const char *help, bool counter)
{
    (void)name;
    (void)labels;
    (void)value;
    (void)help;
    (void)counter;
    ++*(uint32_t *)arg;
}

static void metrics_rows(struct shard *s, struct rows *r)
{
    engine_metrics(s, metric_row, r);
}

/* A word of Kafka's, as its tools write it. */
static void put_upper(struct rows *r, const char *word)
{
    char text[NAME_BYTES_MAX];
    size_t n = 0;
    for (; word[n] != '\0' && n < sizeof text; n++)
        text[n] = word[n] >= 'a' && word[n] <= 'z' ? (char)(word[n] - 'a' + 'A') : word[n];
    put_text(r, (struct str){text, n});
}

/* A row for each mechanism that a user has a password for; never what is made of the password. */
static void users_rows(struct shard *s, struct rows *r)
{
    const struct security_list *l = &s->catalog->security->credentials;
    for (uint32_t i = 0; i < l->n; i++) {
        put_text(r, l->items[i]->user);
        put_text(r, str_of(sasl_mechanism_name(l->items[i]->credential.mechanism)));
        put_i4(r, l->items[i]->credential.iterations);
    }
}

static void acls_rows(struct shard *s, struct rows *r)
{
    const struct security_list *l = &s->catalog->security->acls;
    for (uint32_t i = 0; i < l->n; i++) {
        const struct security_acl *a = &l->items[i]->acl;
        put_upper(r, security_resource_name(a->resource));
        put_text(r, a->name);
        put_upper(r, security_pattern_name(a->pattern));
        put_text(r, a->principal);
        put_text(r, a->host);
        put_upper(r, security_operation_name(a->operation));
        put_upper(r, security_permission_name(a->permission));
    }
}

static void functions_rows(struct shard *s, struct rows *r)
{
    for (uint32_t i = 0; i < s->catalog->n_functions; i++) {
        const struct user_function *f = s->catalog->functions[i];
        put_text(r, f->name);
        put_text(r, function_arguments(f, r->arena));
        put_text(r, str_of(type_info(f->result)->name));
        put_text(r, f->language == FUNCTION_C ? STR("c") : STR("sql"));
        put_text(r, f->volatility == 'i'   ? STR("immutable")
                    : f->volatility == 's' ? STR("stable")
                                           : STR("volatile"));
        put_bool(r, f->strict);
        put_bool(r, f->until == UINT32_MAX);
        put_text(r, f->sql);
    }
}

/* Why a schema has not come. */
static struct str schema_error(const struct schema *one, char *out, size_t n)
{
    if (one->err == ERR_OK)
        return (struct str){0};
    int len = one->status != 0 && one->status != 200
                  ? snprintf(out, n, "the registry answered with HTTP status %d", one->status)
              : one->status == 200
                  ? snprintf(out, n, "the registry did not answer with a schema")
                  : snprintf(out, n, "the registry cannot be reached: %s",
                             err_info(one->err)->text);
    return (struct str){out, (size_t)len};
}

static void schemas_rows(struct shard *s, struct rows *r)
{
    static const char *const states[] = {[SCHEMA_UNKNOWN] = "waiting",
                                         [SCHEMA_WAITING] = "waiting",
                                         [SCHEMA_FOUND] = "found",
                                         [SCHEMA_REFUSED] = "refused"};
    const void *at = NULL;
    struct schema one;
    char text[ERR_TEXT_MAX];
    while (schemas_next(s->engine->schemas, &at, &one)) {
        const struct relation *rel = catalog_relation_by_number(s->catalog, one.relation);
        if (rel == NULL || r->batch->n_rows == r->rows_max)
            continue;
        uint32_t id = one.id;
        if (one.state < SCHEMA_FOUND) /* the table may be full */
            schemas_find(s->engine->schemas, one.relation, id, &one);
        bool known = one.state >= SCHEMA_FOUND;
        put_text(r, rel->name);
        put_i8(r, id);
        put_text(r, str_of(states[one.state]));
        put_text(r, one.state == SCHEMA_FOUND ? one.text : (struct str){0});
        put_i4(r, one.tries);
        put_text(r, one.state == SCHEMA_REFUSED ? one.text
                    : known                     ? (struct str){0}
                                                : schema_error(&one, text, sizeof text));
    }
}

struct sys_table {
    const char *name;
    void (*rows)(struct shard *s, struct rows *r);
};
static const struct sys_table sys_tables[] = {
    {"sys.acls", acls_rows},       {"sys.columns", columns_rows},
    {"sys.functions", functions_rows},
    {"sys.metrics", metrics_rows}, {"sys.partitions", partitions_rows},
    {"sys.publications", publications_rows},
    {"sys.schemas", schemas_rows},
    {"sys.tables", tables_rows},   {"sys.topics", topics_rows},
    {"sys.users", users_rows},     {"sys.views", views_rows},
};

/* An upper bound of the rows that any of the tables has now. */
static uint32_t rows_bound(struct shard *s)
{
    uint32_t partitions = 0, columns = 0, metrics = 0;
    for (uint32_t i = 0; i < s->catalog->n_topics; i++)
        partitions += s->catalog->topics[i]->n_partitions;
    for (uint32_t i = 0; i < s->catalog->n_relations; i++)
        columns += s->catalog->relations[i]->n_columns;
    engine_metrics(s, count_metric, &metrics);
    const struct security *security = s->catalog->security;
    const void *at = NULL;
    struct schema one;
    uint32_t schemas = 0;
    while (schemas_next(s->engine->schemas, &at, &one))
        schemas++;
    return schemas + partitions + columns + metrics + s->catalog->n_relations +
           s->catalog->n_functions + security->credentials.n + security->acls.n + 64;
}

enum err sys_rows(struct shard *s, const struct relation *rel, struct arena *a, struct batch **out)
{
    enum type *types = arena_alloc(a, (rel->n_columns + 1) * sizeof(*types));
    if (types == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < rel->n_columns; i++)
        types[i] = rel->columns[i].type;
    if (str_eq(rel->name, STR("sys.explain")))
        return sys_explain_rows(s, a, out);
    struct rows r = {.arena = a, .rows_max = rows_bound(s)};
    r.batch = batch_new(types, rel->n_columns, r.rows_max, a);
    if (r.batch == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < ARRAY_LEN(sys_tables); i++)
        if (str_eq(rel->name, str_of(sys_tables[i].name)))
            sys_tables[i].rows(s, &r);
    *out = r.batch;
    return r.failed ? ERR_NO_MEMORY : ERR_OK;
}

/* ---- metrics ---- */

struct relation_metric {
    const char *name, *help;
    bool counter, views_only;
    size_t offset;
};
#define RELATION_METRIC(n, h, c, v, field)                 \
    {                                                      \
        n, h, c, v, offsetof(struct relation_stats, field) \
    }
static const struct relation_metric relation_metrics[] = {
    RELATION_METRIC("tidemill_rows_total", "Rows read by a table's reader or by a view", true,
                    false, rows_in),
    RELATION_METRIC("tidemill_rows_out_total", "Changes that a view wrote", true, true, rows_out),
    RELATION_METRIC("tidemill_late_rows_total", "Rows that came after all their windows had closed",
                    true, true, late_rows),
    RELATION_METRIC("tidemill_dead_letters_total", "Rows that could not be used", true, false,
                    dead_letters),
    RELATION_METRIC("tidemill_groups", "Groups in a view's state", false, true, groups),
    RELATION_METRIC("tidemill_state_bytes", "Memory of a view's state", false, true, state_bytes),
};

/* Prometheus wants all samples of a name together: names outside, relations inside. */
static void
relation_samples(struct engine *e, const struct catalog *c, const struct relation_metric *m,
                 void (*each)(void *, const char *, const char *, double, const char *, bool),
                 void *arg)
{
    char labels[NAME_BYTES_MAX + 64];
    for (uint32_t i = 0; i < c->n_relations; i++) {
        const struct relation *rel = c->relations[i];
        if (rel->kind == REL_SYSTEM || rel->kind == REL_RAW_TOPIC || rel->kind == REL_QUERY ||
            (m->views_only && rel->kind != REL_VIEW))
            continue;
        const struct relation_stats *st = engine_relation_stats(e, rel->number);
        const _Atomic uint64_t *v =
            (const _Atomic uint64_t *)(const void *)((const char *)st + m->offset);
        snprintf(labels, sizeof(labels), "%s=\"%.*s\"", rel->kind == REL_VIEW ? "view" : "table",
                 STR_ARG(rel->name));
        each(arg, m->name, labels, (double)(int64_t)stat_getu(v), m->help, m->counter);
    }
}

static void watermark_samples(struct engine *e, const struct catalog *c,
                              void (*each)(void *, const char *, const char *, double, const char *,
                                           bool),
                              void *arg)
{
    char labels[NAME_BYTES_MAX + 64];
    for (uint32_t i = 0; i < c->n_relations; i++) {
        const struct relation *rel = c->relations[i];
        if (rel->kind != REL_VIEW && rel->kind != REL_TABLE)
            continue;
        int64_t us = stat_get(&engine_relation_stats(e, rel->number)->watermark_us);
        if (us == INT64_MIN)
            continue;
        snprintf(labels, sizeof(labels), "%s=\"%.*s\"", rel->kind == REL_VIEW ? "view" : "table",
                 STR_ARG(rel->name));
        each(arg, "tidemill_watermark_seconds", labels, (double)us / 1e6,
             "Event time up to which input is complete", false);
    }
}

static void topic_samples(struct engine *e, const struct catalog *c, bool bytes,
                          void (*each)(void *, const char *, const char *, double, const char *,
                                       bool),
                          void *arg)
{
    char labels[NAME_BYTES_MAX + 64];
    for (uint32_t i = 0; i < c->n_topics; i++) {
        const struct topic_stats *st = engine_topic_stats(e, c->topics[i]->number);
        uint64_t sum = 0;
        for (uint32_t p = 0; p < c->topics[i]->n_partitions; p++) {
            const struct part_stats *ps = topic_part(st, p);
            sum += stat_getu(bytes ? &ps->bytes : &ps->appended_records);
        }
        snprintf(labels, sizeof(labels), "topic=\"%.*s\"", STR_ARG(c->topics[i]->name));
        if (bytes)
            each(arg, "tidemill_topic_bytes", labels, (double)sum, "Bytes of a topic on disk",
                 false);
        else
            each(arg, "tidemill_topic_records_total", labels, (double)sum,
                 "Records appended since the start", true);
    }
}

void engine_metrics(struct shard *s,
                    void (*each)(void *arg, const char *name, const char *labels, double value,
                                 const char *help, bool counter),
                    void *arg)
{
    struct engine *e = s->engine;
    const struct catalog *c = s->catalog;
    for (uint32_t i = 0; i < e->n_metrics; i++) {
        const struct metric *m = &e->metrics[i];
        each(arg, m->name, m->labels, (double)stat_getu(m->value), m->help, m->counter);
    }
    each(arg, "tidemill_memory_bytes", "", (double)mem_used(), "Memory allocated", false);
    each(arg, "tidemill_scan_kept_groups_total", "", (double)stat_getu(&e->scan_kept),
         "Groups kept as they were for reads of views under way", true);
    each(arg, "tidemill_turn_rows_max", "", (double)stat_getu(&e->turn_rows_max),
         "Most rows and groups that one turn of a shard has worked on", false);
    each(arg, "tidemill_ready", "", engine_ready(e), "1 when recovery is over", false);
    each(arg, "tidemill_uptime_seconds", "", (double)(host_mono_ns(e->host) - e->started_ns) / 1e9,
         "Time since the start", false);
    for (size_t i = 0; i < ARRAY_LEN(relation_metrics); i++)
        relation_samples(e, c, &relation_metrics[i], each, arg);
    watermark_samples(e, c, each, arg);
    topic_samples(e, c, false, each, arg);
    topic_samples(e, c, true, each, arg);
}
