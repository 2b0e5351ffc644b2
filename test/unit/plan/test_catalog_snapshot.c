/* A snapshot of any catalog that statements can make gives that catalog again. */
#include "fixture.h"

#include "base/arena.h"

enum { NAMES = 9, STEPS = 100, ROUNDS = 200 };

static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

/* Takes a change the long way: written down, read back, applied. */
static enum err take(void *arg, const struct catalog_change *change)
{
    const struct catalog *c = arg;
    struct catalog_change back;
    struct err_detail why = {0};
    struct buf json;
    struct arena a;
    buf_init(&json, 1 << 20);
    arena_init(&a, 1 << 20);
    assert_int_equal(catalog_change_encode(change, &json), ERR_OK);
    assert_int_equal(catalog_change_decode(buf_str(&json), &a, &back, &why), ERR_OK);
    enum err e = catalog_extend(c, &back, &why);
    if (e != ERR_OK)
        fail_msg("%.*s: %s", (int)json.len, json.ptr, err_text(e, &why));
    buf_deinit(&json);
    arena_deinit(&a);
    return e;
}

static void same_topic(const struct topic *a, const struct topic *b)
{
    assert_true(str_eq(a->name, b->name));
    assert_memory_equal(a->id, b->id, sizeof a->id);
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->n_partitions, b->n_partitions);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->placement, b->placement);
    assert_memory_equal(&a->config, &b->config, sizeof a->config);
}

static void same_relation(const struct relation *a, const struct relation *b)
{
    assert_true(str_eq(a->name, b->name));
    assert_true(str_eq(a->sql, b->sql));
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->format, b->format);
    assert_int_equal(a->n_columns, b->n_columns);
    assert_int_equal(a->n_alterations, b->n_alterations);
    for (uint32_t i = 0; i < a->n_columns; i++) {
        assert_true(str_eq(a->columns[i].name, b->columns[i].name));
        assert_int_equal(relation_column_dropped(a, i), relation_column_dropped(b, i));
        assert_int_equal(relation_column_added(a, i), relation_column_added(b, i));
    }
    assert_int_equal(a->topic == NULL, b->topic == NULL);
    if (a->topic != NULL)
        assert_int_equal(a->topic->number, b->topic->number);
    if (a->kind != REL_VIEW)
        return;
    assert_int_equal(a->view->sources[0]->number, b->view->sources[0]->number);
    assert_int_equal(a->view->late == NULL, b->view->late == NULL);
    for (uint32_t i = 0; i < a->view->n_sources; i++)
        if (a->view->late[i] != NULL)
            assert_int_equal(a->view->late[i]->number, b->view->late[i]->number);
}

static void same_catalog(const struct catalog *a, const struct catalog *b)
{
    assert_int_equal(a->next_topic, b->next_topic);
    assert_int_equal(a->next_relation, b->next_relation);
    assert_int_equal(a->n_topics, b->n_topics);
    assert_int_equal(a->n_relations, b->n_relations);
    for (uint32_t i = 0; i < a->n_topics; i++)
        same_topic(a->topics[i], b->topics[i]);
    for (uint32_t i = 0; i < a->n_relations; i++)
        same_relation(a->relations[i], b->relations[i]);
}

static void numbers_find_their_objects(const struct catalog *c)
{
    for (uint32_t i = 0; i < c->n_topics; i++)
        assert_ptr_equal(catalog_topic_by_number(c, c->topics[i]->number), c->topics[i]);
    for (uint32_t i = 0; i < c->n_relations; i++)
        assert_ptr_equal(catalog_relation_by_number(c, c->relations[i]->number),
                         c->relations[i]);
    assert_null(catalog_topic_by_number(c, c->next_topic));
    assert_null(catalog_relation_by_number(c, c->next_relation));
    assert_null(catalog_topic_by_number(c, 0));
}

static void create_topic(const struct catalog **c, const char *name)
{
    struct err_detail why = {0};
    struct catalog_change change = {.verb = CHANGE_CREATE_TOPIC, .name = str_of(name)};
    change.topic = fixture_topic(name, rng(8) == 0 ? TOPIC_INTERNAL : TOPIC_USER,
                                 (*c)->next_topic);
    (void)!fixture_apply(c, &change, &why);
}

static void drop_topic(const struct catalog **c, const char *name)
{
    struct err_detail why = {0};
    struct catalog_change change = {.verb = CHANGE_DROP_TOPIC, .name = str_of(name)};
    (void)!fixture_apply(c, &change, &why);
}

static void alter_topic(const struct catalog **c, const char *name)
{
    struct err_detail why = {0};
    const struct topic *now = catalog_topic(*c, str_of(name));
    if (now == NULL)
        return;
    struct catalog_change change = {
        .verb = CHANGE_ALTER_TOPIC, .name = str_of(name), .topic = *now};
    change.topic.name = str_of(name);
    topic_config_set(&change.topic.config, TOPIC_RETENTION_MS, 1 + rng(1000));
    change.topic.n_partitions += rng(2);
    (void)!fixture_apply(c, &change, &why);
}

/* Shard 0 refuses a table of such a name. */
static bool view_reads_topic(const struct catalog *c, const char *name)
{
    for (uint32_t i = 0; i < c->n_relations; i++) {
        const struct relation *r = c->relations[i];
        if (r->kind == REL_VIEW && r->view->sources[0]->kind == REL_RAW_TOPIC &&
            str_eq(r->view->sources[0]->name, str_of(name)))
            return true;
    }
    return false;
}

/* Most of these are refused now and then, which is fine. */
static void step(const struct catalog **c)
{
    static const char *const names[NAMES] = {"a", "b", "c", "d", "e", "f", "g", "h", "i"};
    const char *x = names[rng(NAMES)];
    const char *y = names[rng(NAMES)];
    const char *z = names[rng(NAMES)];
    char sql[400];
    struct err_detail why = {0};
    switch (rng(16)) {
    case 0: create_topic(c, x); return;
    case 1: drop_topic(c, x); return;
    case 2:
        if (view_reads_topic(*c, x))
            return;
        snprintf(sql, sizeof sql, "CREATE TABLE %s (k text, ts timestamptz NOT NULL) "
                 "WITH (event_time = 'ts')", x);
        break;
    case 3:
        if (view_reads_topic(*c, x))
            return;
        snprintf(sql, sizeof sql, "CREATE TABLE %s (k text, ts timestamptz NOT NULL) "
                 "WITH (event_time = 'ts', topic = '%s')", x, y);
        break;
    case 4:
    case 8:
        snprintf(sql, sizeof sql, "CREATE MATERIALIZED VIEW %s AS SELECT count(*) AS n FROM %s",
                 x, y);
        break;
    case 5:
    case 9:
    case 10:
        snprintf(sql, sizeof sql, "CREATE MATERIALIZED VIEW %s WITH (emit = 'final', late_to = "
                 "'%s') AS SELECT k, window_start, count(*) AS n FROM tumble(%s, ts, "
                 "INTERVAL '10 s') GROUP BY k, window_start", x, z, y);
        break;
    case 11: alter_topic(c, x); return;
    case 12:
        snprintf(sql, sizeof sql, "ALTER TABLE %s ADD COLUMN %s float8", x, y);
        break;
    case 13:
        snprintf(sql, sizeof sql, "ALTER TABLE %s DROP COLUMN %s%s", x, y,
                 rng(4) == 0 ? " CASCADE" : "");
        break;
    case 14:
        snprintf(sql, sizeof sql, "CREATE MATERIALIZED VIEW %s AS SELECT * FROM %s", x, y);
        break;
    case 6: snprintf(sql, sizeof sql, "DROP TABLE %s", x); break;
    default: snprintf(sql, sizeof sql, "DROP MATERIALIZED VIEW %s", x); break;
    }
    (void)!fixture_sql(c, sql, &why);
}

static void any_catalog_comes_back(void **state)
{
    (void)state;
    uint32_t views = 0, topics = 0;
    for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
        rng_state = seed;
        const struct catalog *c = catalog_new();
        for (int i = 0; i < STEPS; i++)
            step(&c);
        numbers_find_their_objects(c);
        const struct catalog *again = catalog_new();
        assert_int_equal(catalog_snapshot(c, take, (void *)(uintptr_t)again), ERR_OK);
        same_catalog(c, again);
        numbers_find_their_objects(again);
        for (uint32_t i = 0; i < c->n_relations; i++)
            views += c->relations[i]->kind == REL_VIEW;
        topics += c->n_topics;
        catalog_unref(again);
        catalog_unref(c);
    }
    assert_true(views > ROUNDS / 2 && topics > 2 * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_catalog_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
