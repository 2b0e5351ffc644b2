/* Any bytes as SQL against a small catalog: split, plan, print, bind. */
#include "base/check.h"
#include "plan/plan.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct catalog *apply(const struct catalog *c, const struct catalog_change *change)
{
    const struct catalog *next = NULL;
    struct err_detail why = {0};
    if (catalog_apply(c, change, &next, &why) != ERR_OK) {
        fprintf(stderr, "fixture: %s\n", why.text);
        abort();
    }
    catalog_unref(c);
    return next;
}

static const struct catalog *small_catalog(void)
{
    const struct catalog *c = catalog_new();
    CHECK(c != NULL);
    struct topic t = {.name = STR("my_topic"), .id = {1}, .number = 1, .n_partitions = 2};
    c = apply(c, &(struct catalog_change){.verb = CHANGE_CREATE_TOPIC, .topic = t});
    t.name = STR("sensors");
    t.id[0] = 2;
    t.number = 2;
    c = apply(c, &(struct catalog_change){
        .verb = CHANGE_CREATE_TABLE, .name = STR("sensors"), .number = 1, .topic = t,
        .sql = STR("CREATE TABLE sensors (sensor text, temp float8, n int, i8 bigint, "
                   "price numeric(10,2), ok bool, day date, took interval, doc jsonb, "
                   "ts timestamptz NOT NULL) WITH (event_time = 'ts', key = 'sensor')")});
    t.name = STR("v");
    t.id[0] = 3;
    t.number = 3;
    t.kind = TOPIC_CHANGELOG;
    return apply(c, &(struct catalog_change){
        .verb = CHANGE_CREATE_VIEW, .name = STR("v"), .number = 2, .topic = t,
        .sql = STR("CREATE MATERIALIZED VIEW v AS SELECT sensor, window_start, count(*) AS c "
                   "FROM tumble(sensors, ts, INTERVAL '1 s') GROUP BY 1, 2")});
}

static void use_plan(const struct plan *p)
{
    enum { TEXT_BYTES_MAX = 1 << 20, PARAMS = 8 };
    struct buf out;
    struct arena a;
    const struct plan *bound = NULL;
    struct value params[PARAMS] = {{0}};
    buf_init(&out, TEXT_BYTES_MAX);
    arena_init(&a, TEXT_BYTES_MAX);
    if (p->root != NULL)
        (void)!plan_print(p->root, &out);
    for (uint32_t i = 0; i < PARAMS; i++)
        params[i].null = true;
    if (p->n_params <= PARAMS && plan_bind(p, params, PARAMS, &a, &bound, NULL) == ERR_OK &&
        bound->root != NULL)
        (void)!plan_print(bound->root, &out);
    if (p->change.sql.len > 0) {
        struct catalog_change back;
        buf_clear(&out);
        if (catalog_change_encode(&p->change, &out) == ERR_OK)
            CHECK(catalog_change_decode(buf_str(&out), &a, &back, NULL) != ERR_CORRUPT ||
                  p->change.verb == CHANGE_CREATE_TOPIC);
    }
    arena_deinit(&a);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct catalog *catalog;
    if (catalog == NULL)
        catalog = small_catalog();
    struct str sql = {(const char *)data, size};
    struct str *statements = NULL;
    uint32_t n = 0;
    struct arena a;
    struct err_detail why = {0};
    arena_init(&a, SQL_BYTES_MAX);
    bool split = sql_split(sql, &a, &statements, &n, &why) == ERR_OK;
    struct plan *p = NULL;
    if (plan_statement(sql, catalog, NULL, 0, &p, &why) == ERR_OK)
        use_plan(p);
    else
        CHECK(why.text[0] != '\0' && why.position >= 0);
    plan_free(p);
    for (uint32_t i = 0; split && n > 1 && i < n; i++) {
        p = NULL;
        if (plan_statement(statements[i], catalog, NULL, 0, &p, &why) == ERR_OK)
            use_plan(p);
        plan_free(p);
    }
    arena_deinit(&a);
    return 0;
}
