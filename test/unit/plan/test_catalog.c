/* Catalog versions: what changes do, what they refuse, how they are written down, what they
 * cost. */
#include "fixture.h"

#include "base/mem.h"
#include "base/arena.h"

#include <time.h>

static void test_relations_of_topics(void **state)
{
    (void)state;
    const struct catalog *c = fixture_catalog();
    const struct relation *raw = catalog_relation(c, STR("my_topic"));
    assert_non_null(raw);
    assert_int_equal(raw->kind, REL_RAW_TOPIC);
    assert_int_equal(raw->n_columns, 6);
    assert_int_equal(raw->number, 1 | RELATION_OF_TOPIC);
    assert_true(str_eq(raw->columns[raw->event_time].name, STR("timestamp")));
    const struct relation *dead = catalog_relation(c, STR("sys.dead_letters"));
    assert_non_null(dead);
    assert_int_equal(dead->topic->kind, TOPIC_DEAD_LETTERS);
    assert_true(str_eq(dead->columns[dead->event_time].name, STR("at")));
    const struct relation *view = catalog_relation(c, STR("avg_temp"));
    const struct relation *late = catalog_relation(c, STR("avg_temp_late"));
    assert_non_null(view);
    assert_non_null(late);
    assert_int_equal(view->kind, REL_VIEW);
    assert_ptr_equal(view->view->sources[0], catalog_relation(c, STR("sensors")));
    assert_ptr_equal(view->view->late[0], late->topic);
    assert_int_equal(late->n_columns, 3);
    assert_int_equal(late->topic->kind, TOPIC_LATE);
    assert_int_equal(view->view->n_key_columns, 2);
    assert_ptr_equal(catalog_topic_by_id(c, view->topic->id), view->topic);
    assert_null(view->view->plan->catalog); /* no version is kept alive by a plan */
    for (uint32_t i = 1; i < c->n_relations; i++)
        assert_true(str_cmp(c->relations[i - 1]->name, c->relations[i]->name) < 0);
    catalog_unref(c);
}

/* A definition is for good: statements that are only prepared must not use the numbers up. */
static void test_types_are_made_when_accepted(void **state)
{
    (void)state;
    struct err_detail why = {0};
    const struct catalog *c = fixture_catalog();
    struct plan *p;
    const char *sql = "CREATE TYPE prepared AS ENUM ('a', 'b')";
    assert_int_equal(plan_statement(str_of(sql), c, NULL, 0, &p, &why), ERR_OK);
    assert_int_equal(p->made_type, TYPE_UNKNOWN);
    const struct catalog *next;
    assert_int_equal(catalog_apply(c, &p->change, &next, &why), ERR_OK);
    assert_int_not_equal(catalog_type(next, STR("prepared")), TYPE_UNKNOWN);
    plan_free(p);
    catalog_unref(next);
    catalog_unref(c);
}

static void test_old_version_stays(void **state)
{
    (void)state;
    struct err_detail why = {0};
    const struct catalog *c = fixture_catalog();
    const struct catalog *old = catalog_ref(c);
    const struct relation *sensors = catalog_relation(old, STR("sensors"));
    assert_int_equal(fixture_sql(&c, "DROP TABLE sensors CASCADE", &why), ERR_OK);
    assert_null(catalog_relation(c, STR("sensors")));
    assert_null(catalog_relation(c, STR("avg_temp")));
    assert_null(catalog_relation(c, STR("avg_temp_late")));
    assert_null(catalog_topic(c, STR("sensors")));
    assert_null(catalog_topic(c, STR("avg_temp")));
    assert_null(catalog_topic(c, STR("avg_temp_late")));
    assert_ptr_equal(catalog_relation(old, STR("sensors")), sensors);
    assert_true(str_eq(sensors->columns[1].name, STR("temp")));
    /* The other objects are the same ones in both. */
    assert_ptr_equal(catalog_relation(c, STR("orders")), catalog_relation(old, STR("orders")));
    catalog_unref(c);
    const struct view *old_view = catalog_relation(old, STR("avg_temp"))->view;
    assert_true(str_eq(old_view->sources[0]->name, STR("sensors")));
    catalog_unref(old);
}

static void test_table_takes_topics_name(void **state)
{
    (void)state;
    struct err_detail why = {0};
    const struct catalog *c = fixture_catalog();
    assert_int_equal(fixture_sql(&c, "CREATE TABLE my_topic (a int)", &why), ERR_OK);
    assert_int_equal(catalog_relation(c, STR("my_topic"))->kind, REL_TABLE);
    struct catalog_change drop = {.verb = CHANGE_DROP_TOPIC, .name = STR("my_topic")};
    assert_int_equal(fixture_apply(&c, &drop, &why), ERR_DEPENDENT_OBJECTS);
    assert_int_equal(fixture_sql(&c, "DROP TABLE my_topic", &why), ERR_OK);
    /* The table did not make the topic: it stays, and is seen raw again. */
    assert_non_null(catalog_topic(c, STR("my_topic")));
    assert_int_equal(catalog_relation(c, STR("my_topic"))->kind, REL_RAW_TOPIC);
    assert_int_equal(fixture_apply(&c, &drop, &why), ERR_OK);
    assert_null(catalog_relation(c, STR("my_topic")));
    /* A table over a topic of another name shows both. */
    assert_int_equal(fixture_sql(&c, "CREATE TABLE t (a int) WITH (topic = 'u')", &why), ERR_OK);
    assert_int_equal(catalog_relation(c, STR("u"))->kind, REL_RAW_TOPIC);
    assert_int_equal(fixture_sql(&c, "DROP TABLE t", &why), ERR_OK);
    assert_null(catalog_relation(c, STR("u")));
    assert_null(catalog_topic(c, STR("u")));
    catalog_unref(c);
}

static void test_refusals(void **state)
{
    (void)state;
    struct err_detail why = {0};
    const struct catalog *c = fixture_catalog();
    uint64_t version = c->version;
    struct catalog_change x = {.verb = CHANGE_CREATE_TOPIC,
                               .topic = fixture_topic("my_topic", TOPIC_USER, 90)};
    assert_int_equal(fixture_apply(&c, &x, &why), ERR_DUPLICATE_TABLE);
    x.topic = fixture_topic("avg_temp", TOPIC_USER, 90);
    assert_int_equal(fixture_apply(&c, &x, &why), ERR_DUPLICATE_TABLE);
    x.topic = fixture_topic("new", TOPIC_LATE, 90);
    assert_int_equal(fixture_apply(&c, &x, &why), ERR_INVALID_ARGUMENT);
    x.topic = fixture_topic("new", TOPIC_USER, 1); /* my_topic's id */
    assert_int_equal(fixture_apply(&c, &x, &why), ERR_DUPLICATE_TABLE);
    x.topic = fixture_topic("new", TOPIC_USER, 90);
    x.topic.n_partitions = PARTITIONS_MAX + 1;
    assert_int_equal(fixture_apply(&c, &x, &why), ERR_INVALID_ARGUMENT);
    struct catalog_change drop = {.verb = CHANGE_DROP_RELATION, .name = STR("sensors")};
    assert_int_equal(fixture_apply(&c, &drop, &why), ERR_DEPENDENT_OBJECTS);
    assert_non_null(strstr(why.text, "avg_temp"));
    drop.name = STR("avg_temp_late");
    assert_int_equal(fixture_apply(&c, &drop, &why), ERR_WRONG_OBJECT_TYPE);
    drop.name = STR("sys.tables");
    assert_int_equal(fixture_apply(&c, &drop, &why), ERR_WRONG_OBJECT_TYPE);
    drop.name = STR("nope");
    assert_int_equal(fixture_apply(&c, &drop, &why), ERR_UNDEFINED_TABLE);
    struct catalog_change sql = {.verb = CHANGE_CREATE_TABLE, .name = STR("a"),
                                 .sql = STR("CREATE TABLE b (x int)"), .number = 50};
    sql.topic = fixture_topic("b", TOPIC_USER, 90);
    assert_int_equal(fixture_apply(&c, &sql, &why), ERR_CORRUPT);
    sql.sql = STR("SELECT 1");
    assert_int_equal(fixture_apply(&c, &sql, &why), ERR_CORRUPT);
    assert_int_equal(c->version, version);
    catalog_unref(c);
}

static void assert_same_topic(const struct topic *a, const struct topic *b)
{
    assert_true(str_eq(a->name, b->name));
    assert_memory_equal(a->id, b->id, sizeof a->id);
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->n_partitions, b->n_partitions);
    assert_int_equal(a->kind, b->kind);
    assert_int_equal(a->placement, b->placement);
    assert_memory_equal(&a->config, &b->config, sizeof a->config);
}

static void test_json_round_trip(void **state)
{
    (void)state;
    struct topic late[] = {fixture_topic("l", TOPIC_LATE, 8), fixture_topic("m", TOPIC_LATE, 9)};
    struct catalog_change in = {.verb = CHANGE_CREATE_VIEW, .name = STR("v\"\\\x01\n\xc3\xa9"),
                                .number = 4000000000u,
                                .sql = STR("CREATE ...\n\t'x'"),
                                .topic = fixture_topic("v", TOPIC_CHANGELOG, 7),
                                .n_late = 2,
                                .late = late};
    for (enum topic_config_key k = 0; k < TOPIC_CONFIGS; k++) {
        const struct topic_config_def *d = topic_config_def(k);
        topic_config_set(&in.topic.config, k, d->words != NULL ? d->fallback : d->max);
    }
    topic_config_set(&late[0].config, TOPIC_RETENTION_BYTES, 123);
    struct buf out;
    struct arena a;
    struct catalog_change back;
    struct err_detail why = {0};
    buf_init(&out, 1 << 20);
    arena_init(&a, 1 << 20);
    assert_int_equal(catalog_change_encode(&in, &out), ERR_OK);
    assert_int_equal(catalog_change_decode(buf_str(&out), &a, &back, &why), ERR_OK);
    assert_int_equal(back.verb, in.verb);
    assert_true(str_eq(back.name, in.name));
    assert_true(str_eq(back.sql, in.sql));
    assert_int_equal(back.number, in.number);
    assert_same_topic(&back.topic, &in.topic);
    assert_int_equal(back.n_late, 2);
    assert_same_topic(&back.late[0], &in.late[0]);
    assert_same_topic(&back.late[1], &in.late[1]);
    /* Every cut and every single damaged byte is refused or reads as another change, never
     * worse. */
    for (size_t n = 0; n < out.len; n++) {
        struct str cut = {out.ptr, n};
        assert_int_equal(catalog_change_decode(cut, &a, &back, &why), ERR_CORRUPT);
        char kept = out.ptr[n];
        out.ptr[n] = '\0';
        assert_int_equal(catalog_change_decode(buf_str(&out), &a, &back, &why), ERR_CORRUPT);
        out.ptr[n] = kept;
        arena_reset(&a, 1 << 20);
    }
    arena_deinit(&a);
    buf_deinit(&out);
}

static void test_json_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "{}", "[]", "null", "{\"verb\":\"drop_topic\",\"name\":\"a\",\"number\":1}x",
        "{\"verb\":\"drop_topic\",\"name\":\"a\"}",
        "{\"verb\":\"nope\",\"name\":\"a\",\"number\":1}",
        "{\"verb\":\"drop_topic\",\"name\":\"a\",\"number\":-1}",
        "{\"verb\":\"drop_topic\",\"name\":\"a\",\"number\":1.5}",
        "{\"verb\":\"drop_topic\",\"name\":\"a\",\"number\":1,\"number\":1}",
        "{\"verb\":\"drop_topic\",\"name\":\"a\",\"number\":1,\"x\":1}",
        "{\"verb\":\"drop_topic\",\"name\":\"\\u0000\",\"number\":1}",
        "{\"verb\":\"drop_topic\",\"name\":\"\xff\",\"number\":1}",
        "{\"verb\":\"create_table\",\"name\":\"a\",\"number\":1}",
        "{\"verb\":\"create_topic\",\"name\":\"a\",\"number\":1,\"topic\":{\"name\":\"a\"}}",
    };
    struct arena a;
    struct catalog_change back;
    struct err_detail why = {0};
    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(catalog_change_decode(str_of(bad[i]), &a, &back, &why), ERR_CORRUPT);
    struct str good = STR(" { \"verb\" : \"drop_topic\" , \"name\":\"a\\u0041\",\"number\": 1 } ");
    assert_int_equal(catalog_change_decode(good, &a, &back, &why), ERR_OK);
    assert_true(str_eq(back.name, STR("aA")));
    arena_deinit(&a);
}

/* Topics as format 1 of the data directory wrote them. */
#define OLD_TOPIC                                                                  \
    "{\"verb\":\"create_topic\",\"name\":\"a\",\"number\":0,\"topic\":{\"name\":\"a\"," \
    "\"id\":\"000102030405060708090a0b0c0d0e0f\",\"number\":17,\"partitions\":2,"     \
    "\"kind\":\"user\",\"placement\":0"

static void test_json_of_format_1(void **state)
{
    (void)state;
    static const char *const bad[] = {
        OLD_TOPIC "}}",
        OLD_TOPIC ",\"retention_ms\":5,\"retention_bytes\":6,\"segment_bytes\":16384}}",
        OLD_TOPIC ",\"retention_ms\":5,\"retention_bytes\":6,\"segment_bytes\":16384,"
                  "\"batch_bytes_max\":7,\"config\":{}}}",
        OLD_TOPIC ",\"retention_ms\":-2,\"retention_bytes\":6,\"segment_bytes\":16384,"
                  "\"batch_bytes_max\":7}}",
        OLD_TOPIC ",\"retention_ms\":5,\"retention_ms\":5,\"retention_bytes\":6,"
                  "\"segment_bytes\":16384,\"batch_bytes_max\":7}}",
    };
    struct arena a;
    struct catalog_change back;
    struct err_detail why = {0};
    arena_init(&a, 1 << 20);
    struct str given = STR(OLD_TOPIC ",\"retention_ms\":5,\"retention_bytes\":6,"
                                     "\"segment_bytes\":16384,\"batch_bytes_max\":7}}");
    assert_int_equal(catalog_change_decode(given, &a, &back, &why), ERR_OK);
    const struct topic_config *c = &back.topic.config;
    assert_int_equal(back.topic.n_partitions, 2);
    assert_int_equal(topic_config_get(c, TOPIC_RETENTION_MS), 5);
    assert_int_equal(topic_config_get(c, TOPIC_RETENTION_BYTES), 6);
    assert_int_equal(topic_config_get(c, TOPIC_SEGMENT_BYTES), 16384);
    assert_int_equal(topic_config_get(c, TOPIC_MAX_MESSAGE_BYTES), 7);
    static const char *const defaults[] = {
        OLD_TOPIC ",\"retention_ms\":-1,\"retention_bytes\":-1,\"segment_bytes\":67108864,"
                  "\"batch_bytes_max\":1048588}}",
        OLD_TOPIC ",\"retention_ms\":-1,\"retention_bytes\":-1,\"segment_bytes\":268435456,"
                  "\"batch_bytes_max\":16777216}}",
    };
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) {
        assert_int_equal(catalog_change_decode(str_of(defaults[i]), &a, &back, &why), ERR_OK);
        assert_int_equal(back.topic.config.given, 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(catalog_change_decode(str_of(bad[i]), &a, &back, &why), ERR_CORRUPT);
    arena_deinit(&a);
}

/* Recovery applies the encoded changes in order and ends with the same catalog. */
static void test_replay(void **state)
{
    (void)state;
    const struct catalog *c = fixture_catalog();
    const struct relation *sensors = catalog_relation(c, STR("sensors"));
    const struct relation *view = catalog_relation(c, STR("avg_temp"));
    struct catalog_change changes[] = {
        {.verb = CHANGE_CREATE_TABLE, .name = sensors->name, .sql = sensors->sql,
         .number = sensors->number, .topic = *sensors->topic},
        {.verb = CHANGE_CREATE_VIEW, .name = view->name, .sql = view->sql, .number = view->number,
         .topic = *view->topic, .n_late = 1, .late = view->view->late[0]},
    };
    const struct catalog *again = catalog_new();
    struct arena a;
    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < 2; i++) {
        struct buf json;
        struct catalog_change change;
        struct err_detail why = {0};
        buf_init(&json, 1 << 20);
        assert_int_equal(catalog_change_encode(&changes[i], &json), ERR_OK);
        assert_int_equal(catalog_change_decode(buf_str(&json), &a, &change, &why), ERR_OK);
        buf_deinit(&json);
        assert_int_equal(fixture_apply(&again, &change, &why), ERR_OK);
    }
    arena_deinit(&a);
    const struct relation *v = catalog_relation(again, STR("avg_temp"));
    struct buf one;
    struct buf two;
    buf_init(&one, 1 << 16);
    buf_init(&two, 1 << 16);
    assert_int_equal(plan_print(view->view->plan->root, &one), ERR_OK);
    assert_int_equal(plan_print(v->view->plan->root, &two), ERR_OK);
    assert_true(one.len > 0 && str_eq(buf_str(&one), buf_str(&two)));
    assert_int_equal(again->next_topic, c->next_topic);
    assert_int_equal(v->number, view->number);
    buf_deinit(&one);
    buf_deinit(&two);
    catalog_unref(again);
    catalog_unref(c);
}

/* Numbers are never given twice, also after drops. */
static void test_numbers(void **state)
{
    (void)state;
    struct err_detail why = {0};
    const struct catalog *c = fixture_catalog();
    uint32_t topic = c->next_topic;
    uint32_t relation = c->next_relation;
    assert_int_equal(fixture_sql(&c, "CREATE TABLE t (a int)", &why), ERR_OK);
    assert_int_equal(fixture_sql(&c, "DROP TABLE t", &why), ERR_OK);
    assert_int_equal(c->next_topic, topic + 1);
    assert_int_equal(c->next_relation, relation + 1);
    catalog_unref(c);
}

static enum err each_again(void *arg, const struct catalog_change *change)
{
    const struct catalog **again = arg;
    struct err_detail why = {0};
    return fixture_apply(again, change, &why);
}

/* A cluster's id is given once, and stays. */
static void test_cluster_id(void **state)
{
    (void)state;
    struct err_detail why = {0};
    const struct catalog *c = fixture_catalog();
    static const char *const bad[] = {"", "short", "0123456789012345678901",
                                      "012345678901234567890-", "01234567890123456789012"};
    assert_string_equal(c->cluster_id, "");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct catalog_change change = {.verb = CHANGE_CLUSTER, .name = str_of(bad[i])};
        enum err e = fixture_apply(&c, &change, &why);
        assert_int_equal(e, i == 2 ? ERR_OK : ERR_INVALID_ARGUMENT);
    }
    struct catalog_change other = {.verb = CHANGE_CLUSTER, .name = STR("ABCDEFGHIJKLMNOPQRSTUV")};
    assert_int_equal(fixture_apply(&c, &other, &why), ERR_INVALID_ARGUMENT);
    assert_int_equal(fixture_sql(&c, "CREATE TABLE later (a int)", &why), ERR_OK);
    assert_string_equal(c->cluster_id, bad[2]);
    const struct catalog *again = catalog_new();
    assert_int_equal(catalog_snapshot(c, each_again, &again), ERR_OK);
    assert_string_equal(again->cluster_id, bad[2]);
    catalog_unref(again);
    catalog_unref(c);
}

static void test_thousand_tables(void **state)
{
    (void)state;
    enum { TABLES = 1000 };
    char sql[256];
    struct err_detail why = {0};
    struct timespec from;
    struct timespec to;
    uint64_t before = mem_used();
    const struct catalog *c = fixture_catalog();
    const struct plan *plan = catalog_relation(c, STR("avg_temp"))->view->plan;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < TABLES; i++) {
        snprintf(sql, sizeof sql, "CREATE TABLE t%d (a int, b text, ts timestamptz) "
                                  "WITH (event_time = 'ts')", i);
        assert_int_equal(fixture_sql(&c, sql, &why), ERR_OK);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    int64_t us = (to.tv_sec - from.tv_sec) * 1000000 + (to.tv_nsec - from.tv_nsec) / 1000;
    print_message("%d tables: %lld us each, %llu bytes each\n", TABLES, (long long)us / TABLES,
                  (unsigned long long)(mem_used() - before) / TABLES);
    /* The view was not planned again. */
    assert_ptr_equal(catalog_relation(c, STR("avg_temp"))->view->plan, plan);
    assert_non_null(catalog_relation(c, STR("t999")));
    catalog_unref(c);
    assert_int_equal(mem_used(), before);
}

/* Whichever allocation fails, the old version is untouched and nothing leaks. */
/* A topic of the version, altered. */
static struct catalog_change altered(const struct catalog *c, const char *name, uint32_t more,
                                     int64_t retention_ms)
{
    struct catalog_change change = {.verb = CHANGE_ALTER_TOPIC, .name = str_of(name)};
    change.topic = *catalog_topic(c, str_of(name));
    change.topic.n_partitions += more;
    topic_config_set(&change.topic.config, TOPIC_RETENTION_MS, retention_ms);
    return change;
}

/* Everything that stands on the topic is on the new one: its table, the view, its late rows. */
static void test_altered_topics_are_followed(void **state)
{
    (void)state;
    static const char *const names[] = {"my_topic", "sensors", "avg_temp", "avg_temp_late"};
    struct err_detail why = {0};
    size_t before = mem_used();
    const struct catalog *c = fixture_catalog();
    const struct catalog *old = catalog_ref(c);
    const struct plan *plan = catalog_relation(c, STR("avg_temp"))->view->plan;
    for (uint32_t round = 1; round <= 3; round++) {
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            uint32_t more = i < 3; /* a late table has got as many as its view's source by then */
            struct catalog_change change = altered(c, names[i], more, round * 1000);
            assert_int_equal(fixture_apply(&c, &change, &why), ERR_OK);
            const struct topic *t = catalog_topic(c, str_of(names[i]));
            assert_int_equal(t->n_partitions, 2 + round);
            assert_int_equal(t->grown_from, 2);
            assert_int_equal(topic_config_get(&t->config, TOPIC_RETENTION_MS), round * 1000);
            assert_ptr_equal(catalog_topic_by_id(c, t->id), t);
            assert_ptr_equal(catalog_relation(c, str_of(names[i]))->topic, t);
            const struct relation *view = catalog_relation(c, STR("avg_temp"));
            assert_ptr_equal(view->view->sources[0], catalog_relation(c, STR("sensors")));
            assert_ptr_equal(view->view->sources[0]->topic, catalog_topic(c, STR("sensors")));
            assert_ptr_equal(view->view->late[0], catalog_topic(c, STR("avg_temp_late")));
            assert_ptr_equal(view->view->plan, plan); /* views are not planned again */
        }
    }
    assert_int_equal(catalog_topic(old, STR("sensors"))->n_partitions, 2);
    assert_int_equal(catalog_relation(old, STR("sensors"))->topic->n_partitions, 2);
    catalog_unref(old);
    assert_true(str_eq(catalog_relation(c, STR("sensors"))->columns[1].name, STR("temp")));
    assert_int_equal(fixture_sql(&c, "SELECT * FROM avg_temp", &why), ERR_OK);
    assert_int_equal(fixture_sql(&c, "DROP TABLE sensors CASCADE", &why), ERR_OK);
    assert_null(catalog_topic(c, STR("sensors")));
    assert_null(catalog_topic(c, STR("avg_temp")));
    catalog_unref(c);
    assert_int_equal(mem_used(), before);
}

/* The text of a table, as the catalog's log keeps it, may name the partitions that its topic had
 * once. */
static void test_a_table_stays_when_its_topic_grows(void **state)
{
    (void)state;
    static const char sql[] =
        "CREATE TABLE t (a int) WITH (topic = 'my_topic', partitions = 2)";
    struct err_detail why = {0};
    const struct catalog *c = fixture_catalog();
    struct catalog_change change = altered(c, "my_topic", 1, 1000);
    assert_int_equal(fixture_apply(&c, &change, &why), ERR_OK);
    struct plan *p = NULL;
    assert_int_equal(plan_statement(str_of(sql), c, NULL, 0, &p, &why), ERR_INVALID_ARGUMENT);
    struct catalog_change again = {.verb = CHANGE_CREATE_TABLE,
                                   .name = STR("t"),
                                   .sql = str_of(sql),
                                   .number = c->next_relation};
    assert_int_equal(fixture_apply(&c, &again, &why), ERR_OK);
    assert_int_equal(catalog_relation(c, STR("t"))->topic->n_partitions, 3);
    catalog_unref(c);
}

static void test_alterations_that_are_refused(void **state)
{
    (void)state;
    struct err_detail why = {0};
    const struct catalog *c = fixture_catalog();
    struct catalog_change change = altered(c, "sensors", 0, 1);
    change.topic.name = STR("nope");
    assert_int_equal(fixture_apply(&c, &change, &why), ERR_UNDEFINED_TABLE);
    change = altered(c, "sensors", 0, 1);
    change.topic.id[3] ^= 1;
    assert_int_equal(fixture_apply(&c, &change, &why), ERR_INVALID_ARGUMENT);
    change = altered(c, "sensors", 0, 1);
    change.topic.n_partitions = 1;
    assert_int_equal(fixture_apply(&c, &change, &why), ERR_INVALID_ARGUMENT);
    change = altered(c, "sensors", PARTITIONS_MAX, 1);
    assert_int_equal(fixture_apply(&c, &change, &why), ERR_INVALID_ARGUMENT);
    change = altered(c, "sensors", 0, 1);
    topic_config_set(&change.topic.config, TOPIC_MAX_COMPACTION_LAG_MS, 1);
    topic_config_set(&change.topic.config, TOPIC_MIN_COMPACTION_LAG_MS, 2);
    assert_int_equal(fixture_apply(&c, &change, &why), ERR_INVALID_ARGUMENT);
    assert_int_equal(catalog_topic(c, STR("sensors"))->n_partitions, 2);
    catalog_unref(c);
}

static void test_altering_without_memory(void **state)
{
    (void)state;
    struct err_detail why = {0};
    const struct catalog *c = fixture_catalog();
    struct catalog_change change = altered(c, "sensors", 1, 5);
    size_t before = mem_used();
    for (uint64_t n = 1;; n++) {
        const struct catalog *next = NULL;
        mem_fail_at(n, 1);
        enum err e = catalog_apply(c, &change, &next, &why);
        uint64_t asked = mem_fail_count();
        mem_fail_at(0, 0);
        if (e == ERR_OK)
            catalog_unref(next);
        else
            assert_int_equal(e, ERR_NO_MEMORY);
        assert_int_equal(mem_used(), before);
        if (asked < n) {
            assert_int_equal(e, ERR_OK);
            break;
        }
    }
    catalog_unref(c);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    static const char *const sql[] = {
        "CREATE TABLE t (a int, ts timestamptz) WITH (event_time = 'ts', topic = 'u')",
        ("CREATE MATERIALIZED VIEW v WITH (late_to = 'l') AS SELECT window_start, count(*) FROM "
         "tumble(sensors, ts, INTERVAL '1 s') GROUP BY window_start"),
        "DROP TABLE sensors CASCADE"};
    for (size_t i = 0; i < sizeof sql / sizeof sql[0]; i++) {
        for (uint64_t n = 1;; n++) {
            const struct catalog *c = fixture_catalog();
            const struct catalog *old = catalog_ref(c);
            struct err_detail why = {0};
            uint64_t before = mem_used();
            mem_fail_at(n, 0);
            enum err e = fixture_sql(&c, sql[i], &why);
            uint64_t asked = mem_fail_count();
            mem_fail_at(0, 0);
            if (e != ERR_OK) {
                assert_int_equal(e, ERR_NO_MEMORY);
                if (i < 2) {
                    assert_ptr_equal(c, old);
                    assert_int_equal(mem_used(), before);
                }
            }
            catalog_unref(c);
            catalog_unref(old);
            if (asked < n) {
                assert_int_equal(e, ERR_OK);
                break;
            }
        }
    }
}

static enum type type_of(const struct catalog *c, const char *relation, uint32_t column)
{
    const struct relation *r = catalog_relation(c, str_of(relation));
    assert_non_null(r);
    assert_true(column < r->n_columns);
    return r->columns[column].type;
}

static enum err keep_change(void *arg, const struct catalog_change *change)
{
    return catalog_change_encode(change, arg) == ERR_OK ? (buf_put_u8(arg, '\n'), ERR_OK)
                                                        : ERR_NO_MEMORY;
}

/* Applies changes, one a line. */
static void apply_lines(const struct catalog **c, struct str lines, struct arena *a)
{
    struct err_detail why = {0};
    for (size_t at = 0; at < lines.len;) {
        const char *end = memchr(lines.ptr + at, '\n', lines.len - at);
        struct str line = {lines.ptr + at, (size_t)(end - lines.ptr) - at};
        struct catalog_change change;
        if (catalog_change_decode(line, a, &change, &why) != ERR_OK ||
            fixture_apply(c, &change, &why) != ERR_OK)
            fail_msg("%.*s: %s", STR_ARG(line), why.text);
        at += line.len + 1;
    }
}

/* What earlier releases made keeps its types, also through a snapshot. */
static void test_dialects(void **state)
{
    (void)state;
    static const char topic[] =
        "\"topic\":{\"name\":\"%s\",\"id\":\"0000000000000000000000000000%04d\",\"number\":%d,"
        "\"partitions\":1,\"kind\":\"%s\",\"placement\":0,\"config\":{}}";
    static const char table[] = "CREATE TABLE %s (a smallint, b real, c timestamp NOT NULL, d date)"
                                " WITH (event_time = 'c')";
    static const char view[] = "CREATE MATERIALIZED VIEW %sv AS SELECT a, b, c, c AT TIME ZONE "
                               "'UTC' AS z, d + INTERVAL '1 day' AS n, a + 1::smallint AS s"
                               " FROM %s";
    struct arena a;
    struct buf lines;
    arena_init(&a, 16 << 20);
    buf_init(&lines, 1 << 20);
    const char *names[] = {"old", "new"};
    for (int i = 0; i < 2; i++) {
        const char *dialect = i == 1 ? ",\"dialect\":2" : "";
        char made[8];
        snprintf(made, sizeof made, "%sv", names[i]);
        buf_printf(&lines, "{\"verb\":\"create_table\",\"name\":\"%s\",\"number\":%d,\"sql\":\"",
                   names[i], 10 + 2 * i);
        buf_printf(&lines, table, names[i]);
        buf_printf(&lines, "\"%s,", dialect);
        buf_printf(&lines, topic, names[i], 10 + 2 * i, 10 + 2 * i, "user");
        buf_printf(&lines, "}\n{\"verb\":\"create_view\",\"name\":\"%s\",\"number\":%d,\"sql\":\"",
                   made, 11 + 2 * i);
        buf_printf(&lines, view, names[i], names[i]);
        buf_printf(&lines, "\"%s,", dialect);
        buf_printf(&lines, topic, made, 11 + 2 * i, 11 + 2 * i, "changelog");
        buf_printf(&lines, "}\n");
    }
    const struct catalog *c = catalog_new();
    assert_non_null(c);
    apply_lines(&c, buf_str(&lines), &a);
    for (int round = 0; round < 2; round++) {
        static const enum type wide[] = {TYPE_INT4,        TYPE_FLOAT8,      TYPE_TIMESTAMPTZ,
                                         TYPE_TIMESTAMPTZ, TYPE_TIMESTAMPTZ, TYPE_INT4};
        static const enum type now[] = {TYPE_INT2,        TYPE_FLOAT4,    TYPE_TIMESTAMP,
                                        TYPE_TIMESTAMPTZ, TYPE_TIMESTAMP, TYPE_INT2};
        for (uint32_t i = 0; i < 6; i++) {
            assert_int_equal(type_of(c, "oldv", i), wide[i]);
            assert_int_equal(type_of(c, "newv", i), now[i]);
            assert_true(i > 2 || type_of(c, "old", i) == wide[i]);
            assert_true(i > 2 || type_of(c, "new", i) == now[i]);
        }
        buf_clear(&lines);
        assert_int_equal(catalog_snapshot(c, keep_change, &lines), ERR_OK);
        catalog_unref(c);
        c = catalog_new();
        apply_lines(&c, buf_str(&lines), &a);
    }
    catalog_unref(c);
    buf_deinit(&lines);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_relations_of_topics), cmocka_unit_test(test_old_version_stays),
        cmocka_unit_test(test_types_are_made_when_accepted),
        cmocka_unit_test(test_table_takes_topics_name), cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_json_round_trip), cmocka_unit_test(test_json_strict),
        cmocka_unit_test(test_json_round_trip), cmocka_unit_test(test_json_of_format_1),
        cmocka_unit_test(test_replay), cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_cluster_id),
        cmocka_unit_test(test_thousand_tables), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_altered_topics_are_followed),
        cmocka_unit_test(test_a_table_stays_when_its_topic_grows),
        cmocka_unit_test(test_alterations_that_are_refused),
        cmocka_unit_test(test_altering_without_memory),
        cmocka_unit_test(test_dialects),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
