/* A small catalog for the planner's tests, and a statement's plan or error as text. */
#ifndef TIDEMILL_TEST_UNIT_PLAN_FIXTURE_H
#define TIDEMILL_TEST_UNIT_PLAN_FIXTURE_H

#include "plan/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static inline struct topic fixture_topic(const char *name, enum topic_kind kind, uint32_t number)
{
    struct topic t = {.name = str_of(name), .number = number, .n_partitions = 2, .kind = kind};
    t.id[0] = (uint8_t)number;
    t.id[1] = (uint8_t)(number >> 8);
    t.id[15] = 7;
    return t;
}

/* Applies a change; the old version's reference is taken over. */
static inline enum err fixture_apply(const struct catalog **c, const struct catalog_change *change,
                                     struct err_detail *why)
{
    const struct catalog *next = NULL;
    enum err e = catalog_apply(*c, change, &next, why);
    if (e != ERR_OK)
        return e;
    catalog_unref(*c);
    *c = next;
    return ERR_OK;
}

/* Plans a DDL statement and applies its changes, with the numbers that shard 0 would give. */
static inline enum err fixture_sql(const struct catalog **c, const char *sql,
                                   struct err_detail *why)
{
    struct plan *p = NULL;
    enum err e = plan_statement(str_of(sql), *c, NULL, 0, &p, why);
    if (e != ERR_OK)
        return e;
    for (uint32_t i = 0; e == ERR_OK && i < p->n_drops; i++) {
        struct catalog_change drop = {.verb = CHANGE_DROP_RELATION, .name = p->drops[i]};
        e = fixture_apply(c, &drop, why);
    }
    if (p->kind == STMT_CREATE_TABLE || p->kind == STMT_CREATE_VIEW ||
        p->kind == STMT_ALTER_TABLE) {
        struct catalog_change change = p->change;
        change.number = (*c)->next_relation;
        uint32_t n = (*c)->next_topic;
        change.topic.number = n;
        memcpy(change.topic.id, &n, sizeof n);
        n++;
        struct topic late[VIEW_SOURCES_MAX];
        for (uint32_t i = 0; i < change.n_late; i++, n++) {
            late[i] = change.late[i];
            late[i].number = n;
            memcpy(late[i].id, &n, sizeof n);
        }
        change.late = late;
        e = fixture_apply(c, &change, why);
    }
    plan_free(p);
    return e;
}

static inline const struct catalog *fixture_catalog(void)
{
    static const char *const ddl[] = {
        "CREATE TABLE sensors (sensor text, temp float8, ts timestamptz NOT NULL) WITH "
        "(event_time = 'ts', lateness = '5 s', key = 'sensor', partitions = 2)",
        "CREATE TABLE orders (id int8 NOT NULL, qty int, price numeric(10,2), note text, "
        "doc jsonb, day date, took interval, paid bool, at timestamptz)",
        "CREATE MATERIALIZED VIEW avg_temp WITH (emit = 'final', late_to = 'avg_temp_late') AS "
        "SELECT sensor, window_start, avg(temp) AS avg, count(*) AS n "
        "FROM tumble(sensors, ts, INTERVAL '10 s') GROUP BY sensor, window_start",
    };
    const struct catalog *c = catalog_new();
    struct err_detail why = {0};
    assert_non_null(c);
    struct catalog_change create = {.verb = CHANGE_CREATE_TOPIC,
                                    .topic = fixture_topic("my_topic", TOPIC_USER, 1)};
    assert_int_equal(fixture_apply(&c, &create, &why), ERR_OK);
    create.topic = fixture_topic("sys.dead_letters", TOPIC_DEAD_LETTERS, 2);
    assert_int_equal(fixture_apply(&c, &create, &why), ERR_OK);
    for (size_t i = 0; i < sizeof ddl / sizeof ddl[0]; i++) {
        enum err e = fixture_sql(&c, ddl[i], &why);
        if (e != ERR_OK)
            print_error("%s: %s (%s)\n", ddl[i], why.text, why.hint);
        assert_int_equal(e, ERR_OK);
    }
    return c;
}

static inline void describe_topic(const char *what, const struct topic *t, struct buf *out)
{
    if (t->name.len == 0)
        return;
    buf_printf(out, "%s %.*s: %u partitions", what, STR_ARG(t->name), t->n_partitions);
    int64_t ms = topic_config_get(&t->config, TOPIC_RETENTION_MS);
    int64_t bytes = topic_config_get(&t->config, TOPIC_RETENTION_BYTES);
    if (ms >= 0)
        buf_printf(out, ", retention %lld ms", (long long)ms);
    if (bytes >= 0)
        buf_printf(out, ", retention %lld bytes", (long long)bytes);
    buf_printf(out, "\n");
}

static inline void describe_columns(const struct plan *p, struct buf *out)
{
    if (p->kind == STMT_CREATE_TABLE || p->root == NULL || p->root->n_columns == 0)
        return;
    buf_printf(out, "->");
    for (uint32_t i = 0; i < p->root->n_columns; i++) {
        const struct column_def *c = &p->root->columns[i];
        buf_printf(out, "%s %.*s %s", i > 0 ? "," : "", STR_ARG(c->name),
                   type_info(c->type)->short_name);
        if (c->typmod >= 0)
            buf_printf(out, "[%d]", c->typmod);
    }
    buf_printf(out, "\n");
}

static inline void describe_table(const struct plan *p, struct buf *out)
{
    const struct relation *r = p->relation;
    if (p->kind != STMT_CREATE_TABLE)
        return;
    for (uint32_t i = 0; i < r->n_columns; i++)
        buf_printf(out, "column %.*s %s%s\n", STR_ARG(r->columns[i].name),
                   type_info(r->columns[i].type)->short_name,
                   r->columns[i].not_null ? " not null" : "");
    buf_printf(out, "format %d, on_error %d, event_time %d, key %d\n", (int)r->format,
               (int)r->on_error, r->event_time, r->key);
    buf_printf(out, "lateness %lld us, idle_timeout %lld us, max_future %lld us\n",
               (long long)r->lateness_us, (long long)r->idle_timeout_us,
               (long long)r->future_us_max);
    if (r->topic != NULL)
        buf_printf(out, "existing topic %.*s\n", STR_ARG(r->topic->name));
}

static inline void describe_view(const struct plan *p, struct buf *out)
{
    if (p->kind != STMT_CREATE_VIEW)
        return;
    buf_printf(out, "%s over %.*s,%s keys", p->view.emit_final ? "final" : "changes",
               STR_ARG(p->view.sources[0]->name), p->view.append_only ? " append-only," : "");
    for (uint32_t i = 0; i < p->view.n_key_columns; i++)
        buf_printf(out, " %u", p->view.key_columns[i]);
    buf_printf(out, "\n");
}

static inline void describe_copy(const struct plan *p, struct buf *out)
{
    if (p->kind == STMT_COPY_FROM || p->kind == STMT_COPY_TO)
        buf_printf(out, "%s, delimiter '%c', null \"%.*s\"%s%s\n",
                   p->copy_format == COPY_CSV ? "csv" : "text",
                   p->copy_delimiter == '\t' ? 't' : p->copy_delimiter, STR_ARG(p->copy_null),
                   p->copy_header ? ", header" : "", p->follow ? ", follow" : "");
    if (p->n_insert_columns > 0) {
        buf_printf(out, "into %.*s:", STR_ARG(p->relation->name));
        for (uint32_t i = 0; i < p->n_insert_columns; i++)
            buf_printf(out, " %u", p->insert_columns[i]);
        buf_printf(out, "\n");
    }
}

static inline void describe_plan(const struct plan *p, struct buf *out)
{
    buf_printf(out, "%s\n", p->tag);
    describe_table(p, out);
    describe_view(p, out);
    describe_topic("topic", &p->change.topic, out);
    for (uint32_t i = 0; i < p->change.n_late; i++)
        describe_topic("late", &p->change.late[i], out);
    describe_copy(p, out);
    for (uint32_t i = 0; i < p->n_drops; i++)
        buf_printf(out, "drop %.*s\n", STR_ARG(p->drops[i]));
    if (p->kind == STMT_SET && p->name.len > 0)
        buf_printf(out, "%.*s = %.*s\n", STR_ARG(p->name), STR_ARG(p->text));
    if (p->kind == STMT_EXPLAIN)
        buf_put_str(out, p->text);
    else if (p->root != NULL)
        (void)!plan_print(p->root, out);
    describe_columns(p, out);
    for (uint32_t i = 0; i < p->n_params; i++)
        buf_printf(out, "$%u %s\n", i + 1, type_info(p->params[i])->short_name);
}

/* The plan, or "ERROR sqlstate at position: text" and its hint. */
static inline void describe(const struct catalog *c, struct str sql, struct buf *out)
{
    struct plan *p = NULL;
    struct err_detail why = {0};
    enum err e = plan_statement(sql, c, NULL, 0, &p, &why);
    if (e != ERR_OK) {
        buf_printf(out, "ERROR %s at %d: %s\n", err_info(e)->sqlstate, why.position,
                   err_text(e, &why));
        if (why.hint[0] != '\0')
            buf_printf(out, "HINT %s\n", why.hint);
        return;
    }
    describe_plan(p, out);
    plan_free(p);
}

#endif
