/* What must not grow: folders of dropped topics, the catalog's log, the epochs' log. In simulation,
 * with deaths at every file call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "engine/engine_int.h"
#include "engine/epochs.h"
#include "engine/view_scan.h"
#include "support/script.h"
#include "wire/kafka_batch.h"

enum { TEXT_MAX = 4 << 20, WAIT_MS = 20000, SMALL_SEGMENT_BYTES = 2048, NAMES = 3 };

/* A process that dies frees nothing. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAKS_BEGIN() __lsan_disable()
#define LEAKS_END()   __lsan_enable()
#else
#define LEAKS_BEGIN() ((void)0)
#define LEAKS_END()   ((void)0)
#endif

static const int64_t RUN_NS_MAX = (int64_t)600 * 1000000000;
static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

static struct host *sim_new(uint64_t seed)
{
    const struct sim_options options = {.seed = seed,
                                        .wall_us = 1767225600000000,
                                        .sync_delay_us_max = 500,
                                        .run_ns_max = RUN_NS_MAX};
    struct host *h = host_sim_open(&options);
    assert_non_null(h);
    rng_state = seed;
    return h;
}

/* Runs a script as a server of its own; false when the host was halted in it. */
static bool run_one(struct host *h, uint32_t n_shards, void (*run)(struct script *s, void *arg),
                    void *arg)
{
    const struct engine_options options = {.data_dir = "/data",
                                           .n_shards = n_shards,
                                           .internal_segment_bytes = SMALL_SEGMENT_BYTES};
    const struct script_part part = {.run = run, .arg = arg, .shard = 1};
    struct err_detail why = {0};
    enum err e = scripts_run(h, &options, &part, 1, &why);
    if (host_sim_halted(h))
        return false;
    if (e != ERR_OK)
        fail_msg("%s", err_text(e, &why));
    assert_int_equal(host_sim_workers_left(h), 0);
    return true;
}

static void run_sql(struct script *s, const char *sql)
{
    enum err e = script_sql(s, sql, NULL);
    if (e != ERR_OK)
        FAIL("%s: %s", sql, script_error(s));
}

static void expect(struct script *s, const char *sql, const char *expected)
{
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    enum err e = script_until(s, sql, expected, WAIT_MS, &rows);
    if (e != ERR_OK)
        FAIL("%s (%s) gives\n%.*sinstead of\n%s", sql, e == ERR_BUSY ? "ok" : script_error(s),
             (int)rows.len, rows.ptr, expected);
    buf_deinit(&rows);
}

/* ---- folders ---- */

static bool count_entry(void *arg, const char *name)
{
    (void)name;
    ++*(uint32_t *)arg;
    return true;
}

static uint32_t entries(struct host *h, const char *dir)
{
    uint32_t n = 0;
    enum err e = host_dir_list(h, dir, count_entry, &n);
    return e == ERR_OK ? n : 0;
}

/* Waits for the remover. */
static void expect_entries(struct script *s, const char *dir, uint32_t n)
{
    for (int i = 0; i < 100 && entries(script_host(s), dir) != n; i++)
        REQUIRE(script_sleep(s, 10) == ERR_OK);
    if (entries(script_host(s), dir) != n)
        FAIL("%s has %u entries instead of %u", dir, entries(script_host(s), dir), n);
}

enum { SYSTEM_FOLDERS = 3 }; /* sys.catalog, sys.epochs, sys.dead_letters */

static void make_and_drop(struct script *s, void *arg)
{
    (void)arg;
    for (int i = 0; i < 5; i++) {
        run_sql(s, "CREATE TABLE t (k text, ts timestamptz NOT NULL) WITH (event_time = 'ts', "
                   "partitions = 3)");
        run_sql(s, "CREATE MATERIALIZED VIEW v WITH (late_to = 'v_late') AS SELECT k, "
                   "window_start, max(k) AS m FROM tumble(t, ts, INTERVAL '1 s') "
                   "GROUP BY k, window_start");
        run_sql(s, "INSERT INTO t VALUES ('a', '2026-01-01T00:00:01Z')");
        expect(s, "SELECT k, m FROM v", "a|a\n");
        expect_entries(s, "/data/topics", SYSTEM_FOLDERS + 3);
        run_sql(s, "DROP TABLE t CASCADE");
    }
    expect_entries(s, "/data/topics", SYSTEM_FOLDERS);
}

static void nothing_is_left(struct script *s, void *arg)
{
    (void)arg;
    expect_entries(s, "/data/topics", SYSTEM_FOLDERS);
    run_sql(s, "CREATE TABLE t (k text)");
    expect(s, "SELECT count(*) FROM t", "0\n");
    run_sql(s, "DROP TABLE t");
}

static void dropped_topics_leave_no_folders(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6; seed++) {
        struct host *h = sim_new(seed);
        assert_true(run_one(h, 1 + (uint32_t)seed % 3, make_and_drop, NULL));
        h = host_sim_crash(h);
        assert_true(run_one(h, 2, nothing_is_left, NULL));
        host_close(h);
    }
}

/* ---- a catalog that changes all the time ---- */

/* What was acknowledged: which tables there are, and how many rows each has. A change under way
 * when the server died may have happened or not. */
struct model {
    int rows[NAMES]; /* -1: no table */
    int unsure;      /* table of the change under way; -1 = none */
    int unsure_rows; /* what it has if that happened */
    uint32_t steps;
};

static bool step(struct script *s, struct model *m, const char *sql, int table, int rows)
{
    m->unsure = table;
    m->unsure_rows = rows;
    enum err e = script_sql(s, sql, NULL);
    if (e != ERR_OK) {
        if (e != ERR_SHUTDOWN)
            FAIL("%s: %s", sql, script_error(s));
        return false;
    }
    m->rows[table] = rows;
    m->unsure = -1;
    return true;
}

static bool count_rows(struct script *s, int table, int *out)
{
    char sql[64];
    struct buf rows;
    buf_init(&rows, 1024);
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM t%d", table);
    enum err e = script_sql(s, sql, &rows);
    int64_t n = -1;
    if (e == ERR_OK)
        REQUIRE(rows.len > 1 && str_to_i64((struct str){rows.ptr, rows.len - 1}, &n) == ERR_OK);
    *out = (int)n;
    buf_deinit(&rows);
    return e == ERR_OK || e == ERR_UNDEFINED_TABLE;
}

static void change_for_ever(struct script *s, void *arg)
{
    struct model *m = arg;
    for (int t = 0; t < NAMES; t++) {
        int rows;
        if (!count_rows(s, t, &rows))
            return;
        bool expected = rows == m->rows[t] || (t == m->unsure && rows == m->unsure_rows);
        if (!expected)
            FAIL("t%d has %d rows instead of %d", t, rows, m->rows[t]);
        m->rows[t] = rows;
    }
    m->unsure = -1;
    for (uint32_t i = 0; i < m->steps; i++) {
        int t = (int)rng(NAMES);
        char sql[200];
        bool ok;
        if (m->rows[t] < 0) {
            snprintf(sql, sizeof(sql), "CREATE TABLE t%d (k text) WITH (partitions = %u)", t,
                     1 + rng(3));
            ok = step(s, m, sql, t, 0);
        } else if (rng(3) == 0) {
            snprintf(sql, sizeof(sql), "INSERT INTO t%d VALUES ('x')", t);
            ok = step(s, m, sql, t, m->rows[t] + 1);
        } else {
            snprintf(sql, sizeof(sql), "DROP TABLE t%d", t);
            ok = step(s, m, sql, t, -1);
        }
        if (!ok)
            return;
    }
}

static void no_leftovers(struct script *s, void *arg)
{
    const struct model *m = arg;
    uint32_t n = SYSTEM_FOLDERS;
    for (int t = 0; t < NAMES; t++)
        n += m->rows[t] >= 0;
    /* A create that died before its record leaves empty folders, whose number the next one uses. */
    run_sql(s, "CREATE TABLE last (k text)");
    expect_entries(s, "/data/topics", n + 1);
    run_sql(s, "DROP TABLE last");
    expect_entries(s, "/data/topics", n);
    REQUIRE(entries(script_host(s), "/data/topics/1/0") < 24);
}

static void one_death(uint64_t seed, uint64_t call)
{
    struct model m = {.rows = {-1, -1, -1}, .unsure = -1, .steps = 60};
    struct host *h = sim_new(seed);
    assert_true(run_one(h, 1 + (uint32_t)(seed % 2), change_for_ever, &m));
    h = host_sim_crash(h);
    m.steps = 30;
    host_sim_fault_at(h, call, SIM_FAULT_STOP, false);
    bool lived = run_one(h, 1 + (uint32_t)(seed % 3), change_for_ever, &m);
    h = lived || seed % 2 ? host_sim_crash(h) : host_sim_power_cut(h, seed * 7 + call);
    assert_true(run_one(h, 2, change_for_ever, &m));
    h = host_sim_crash(h);
    assert_true(run_one(h, 1, no_leftovers, &m));
    host_close(h);
}

static void a_catalog_survives_death_at_any_file_call(void **state)
{
    (void)state;
    const char *one = getenv("SEED");
    LEAKS_BEGIN();
    for (uint64_t seed = 1; seed <= 120; seed++)
        if (one == NULL || strtoull(one, NULL, 10) == seed)
            one_death(seed, 1 + seed * 5);
    LEAKS_END();
}

/* ---- the catalog's log ---- */

static void many_changes(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE stays (k text, ts timestamptz NOT NULL) WITH (event_time = 'ts')");
    run_sql(s, "CREATE MATERIALIZED VIEW counts AS SELECT k, count(*) AS n FROM stays GROUP BY k");
    run_sql(s, "INSERT INTO stays VALUES ('a', '2026-01-01T00:00:01Z')");
    uint32_t most = 0;
    for (int i = 0; i < 300; i++) {
        run_sql(s, "CREATE TABLE t (k text)");
        run_sql(s, "DROP TABLE t");
        uint32_t n = entries(script_host(s), "/data/topics/1/0");
        most = n > most ? n : most;
    }
    if (most > 16)
        FAIL("sys.catalog came to %u files", most);
}

static void still_there(struct script *s, void *arg)
{
    (void)arg;
    expect(s, "SELECT k, n FROM counts", "a|1\n");
    run_sql(s, "INSERT INTO stays VALUES ('a', '2026-01-01T00:00:01Z')");
    expect(s, "SELECT k, n FROM counts", "a|2\n");
    REQUIRE(entries(script_host(s), "/data/topics/1/0") < 16);
}

static void the_catalogs_log_is_bounded(void **state)
{
    (void)state;
    struct host *h = sim_new(5);
    assert_true(run_one(h, 2, many_changes, NULL));
    h = host_sim_power_cut(h, 9);
    assert_true(run_one(h, 2, still_there, NULL));
    host_close(h);
}

/* ---- the epochs' log ---- */

enum { TABLES = 20, COMMITS = 300, EPOCHS_BYTES_MAX = 80 << 10,
       BYTES_PER_COMMIT_MAX = 300 };

static int64_t epochs_end(struct script *s)
{
    struct buf rows;
    int64_t n = -1;
    buf_init(&rows, 1024);
    REQUIRE(script_sql(s, "SELECT end_offset FROM sys.topics WHERE name = 'sys.epochs'", &rows) ==
            ERR_OK);
    REQUIRE(rows.len > 1 && str_to_i64((struct str){rows.ptr, rows.len - 1}, &n) == ERR_OK);
    buf_deinit(&rows);
    return n;
}

static void commit_often(struct script *s, void *arg)
{
    (void)arg;
    char sql[300];
    for (int i = 0; i < TABLES; i++) {
        snprintf(sql, sizeof(sql), "CREATE TABLE t%d (k text) WITH (partitions = 8)", i);
        run_sql(s, sql);
        snprintf(sql, sizeof(sql),
                 "CREATE MATERIALIZED VIEW v%d AS SELECT k, count(*) AS n FROM t%d GROUP BY k", i,
                 i);
        run_sql(s, sql);
        snprintf(sql, sizeof(sql), "INSERT INTO t%d VALUES ('a')", i);
        run_sql(s, sql);
        snprintf(sql, sizeof(sql), "SELECT k, n FROM v%d", i);
        expect(s, sql, "a|1\n");
    }
    for (int i = 0; i < COMMITS; i++) {
        run_sql(s, "INSERT INTO t0 VALUES ('b')");
        snprintf(sql, sizeof(sql), "b|%d\n", i + 1);
        expect(s, "SELECT k, n FROM v0 WHERE k = 'b'", sql);
    }
    REQUIRE(epochs_end(s) > COMMITS / 2);
    /* Retention runs every 10 s, and the flush after it removes the files. */
    REQUIRE(script_sleep(s, 11000) == ERR_OK);
    run_sql(s, "INSERT INTO t1 VALUES ('a')");
    expect(s, "SELECT n FROM v1", "2\n");
}

static void all_is_back(struct script *s, void *arg)
{
    (void)arg;
    char sql[100], expected[32];
    for (int i = 0; i < TABLES; i++) {
        snprintf(sql, sizeof(sql), "SELECT n FROM v%d ORDER BY k", i);
        snprintf(expected, sizeof(expected), i == 0   ? "1\n%d\n"
                                             : i == 1 ? "2\n"
                                                      : "1\n",
                 COMMITS);
        expect(s, sql, expected);
    }
}

/* A record of all 20 tables, views and outputs is 5 KB. */
static void records_of_epochs_are_small_and_go(void **state)
{
    (void)state;
    struct host *h = sim_new(6);
    assert_true(run_one(h, 2, commit_often, NULL));
    uint32_t files = entries(h, "/data/topics/2/0");
    /* What a start needs: a full record, and deltas up to 64 KB. */
    assert_true(files <= 2 + 2 * (EPOCHS_BYTES_MAX / SMALL_SEGMENT_BYTES));
    struct log_partition *p;
    struct err_detail why = {0};
    h = host_sim_crash(h);
    assert_int_equal(log_open(h, "/data/topics/2/0", &log_config_default, &p, NULL, &why), ERR_OK);
    int64_t records = log_end_offset(p) - log_start_offset(p);
    assert_in_range(log_size_bytes(p), 1, (uint64_t)records * BYTES_PER_COMMIT_MAX);
    log_close(p);
    for (int life = 0; life < 2; life++) {
        h = life == 0 ? host_sim_power_cut(h, 3) : host_sim_crash(h);
        assert_true(run_one(h, 1 + (uint32_t)life, all_is_back, NULL));
    }
    host_close(h);
}

/* ---- windows that are over ---- */

enum { BATCHES = 60, BATCH_ROWS = 100 };

/* Two keys a second, in windows that stay for a minute. */
static bool produce_batch(struct script *s, int batch)
{
    char text[BATCH_ROWS][200];
    const char *rows[BATCH_ROWS];
    for (int i = 0; i < BATCH_ROWS; i++) {
        int second = (batch * BATCH_ROWS + i) / 2;
        snprintf(text[i], sizeof(text[i]),
                 "{\"k\":\"%d\",\"ts\":\"2025-12-31T%02d:%02d:%02dZ\",\"x\":\"%080d\"}", i % 2,
                 second / 3600, second / 60 % 60, second % 60, second);
        rows[i] = text[i];
    }
    return script_produce(s, "t", 0, rows, BATCH_ROWS) == ERR_OK;
}

static void endless_windows(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE t (k text, ts timestamptz NOT NULL, x text) WITH (event_time = 'ts', "
               "idle_timeout = '0')");
    run_sql(s, "CREATE MATERIALIZED VIEW w WITH (emit = 'final', retention = '1 minute', late_to = "
               "'w_late') AS SELECT k, window_start, count(*) AS n, max(x) AS m FROM tumble(t, ts, "
               "INTERVAL '10 s') GROUP BY k, window_start");
    run_sql(s, "CREATE MATERIALIZED VIEW c WITH (retention = '1 minute') AS SELECT k, "
               "window_start, count(*) AS n FROM hop(t, ts, slide => INTERVAL '5 s', size => "
               "INTERVAL '10 s') GROUP BY k, window_start");
    run_sql(s, "CREATE MATERIALIZED VIEW d WITH (retention = '0') AS SELECT k, window_start, "
               "count(*) AS n FROM tumble(t, ts, INTERVAL '10 s') GROUP BY k, window_start");
    for (int i = 0; i < BATCHES; i++)
        REQUIRE(produce_batch(s, i));
}

/* The last row is of second 2,999, which is the watermark: windows up to 2,990 are over, and those
 * that ended by 2,939 are gone. */
static void the_last_minute(struct script *s, void *arg)
{
    (void)arg;
    expect(s, "SELECT count(*), sum(n), min(extract(epoch FROM window_start)::int8 - 1767139200) "
              "FROM w", "12|120|2930\n");
    expect(s, "SELECT count(*), min(extract(epoch FROM window_start)::int8 - 1767139200) FROM c",
           "28|2930\n");
    expect(s, "SELECT count(*) FROM d", "600\n");
    expect(s, "SELECT name, groups <= 60, status, error FROM sys.views WHERE name <> 'd' ORDER BY "
              "name", "c|t|live|NULL\nw|t|live|NULL\n");
    int64_t end;
    struct buf lines;
    buf_init(&lines, TEXT_MAX);
    REQUIRE(script_read(s, "w", 0, 0, &lines, &end) == ERR_OK);
    if (end != 598)
        FAIL("%lld results were told instead of 598", (long long)end);
    buf_deinit(&lines);
}

static void too_late(struct script *s, void *arg)
{
    the_last_minute(s, arg);
    const char *row = "{\"k\":\"0\",\"ts\":\"2025-12-31T00:00:01Z\",\"x\":\"late\"}";
    REQUIRE(script_produce(s, "t", 0, &row, 1) == ERR_OK);
    expect(s, "SELECT x FROM w_late", "late\n");
    the_last_minute(s, arg);
}

static void windows_that_are_over_go(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct host *h = sim_new(seed);
        assert_true(run_one(h, (uint32_t)seed, endless_windows, NULL));
        for (int life = 0; life < 2; life++) {
            h = life == 0 ? host_sim_power_cut(h, seed) : host_sim_crash(h);
            assert_true(run_one(h, 2, life == 0 ? the_last_minute : too_late, NULL));
        }
        host_close(h);
    }
}

/* ---- windows that are over, of a view that is always being read ---- */

enum { READ_BATCHES = 40 };

static struct view_run *view_of(struct script *s, const char *name)
{
    struct shard *shard = &script_engine(s)->shards[0];
    const struct relation *r = catalog_relation(shard->catalog, str_of(name));
    return r == NULL ? NULL : epochs_view(shard->epochs, r->number);
}

static int64_t number_of(struct script *s, const char *sql)
{
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    REQUIRE(script_sql(s, sql, &rows) == ERR_OK);
    buf_put_u8(&rows, 0);
    int64_t n = strtoll(rows.ptr, NULL, 10);
    buf_deinit(&rows);
    return n;
}

/* A scan, and how many rows it is to give. */
struct reading {
    struct view_scan scan;
    int64_t rows;
};

static void reading_begin(struct script *s, struct reading *r, struct view_run *v)
{
    r->rows = number_of(s, "SELECT count(*) FROM w");
    REQUIRE(view_scan_begin(&r->scan, &script_engine(s)->shards[0], v,
                            atomic_load(&script_engine(s)->epoch), 0, TEXT_MAX) == ERR_OK);
}

static void reading_end(struct reading *r)
{
    struct arena a;
    const struct batch *b;
    uint32_t n;
    arena_init(&a, TEXT_MAX);
    for (bool more = true; more;) {
        REQUIRE(view_scan_next(&r->scan, &a, &b, &n, &more) == ERR_OK);
        r->rows -= b == NULL ? 0 : b->n_rows;
    }
    if (r->rows != 0)
        FAIL("a scan has %lld rows too few", (long long)r->rows);
    arena_deinit(&a);
    view_scan_end(&r->scan);
}

static void read_without_pause(struct script *s, void *arg)
{
    (void)arg;
    static struct reading readings[2];
    run_sql(s, "CREATE TABLE t (k text, ts timestamptz NOT NULL, x text) WITH (event_time = 'ts', "
               "idle_timeout = '0')");
    run_sql(s, "CREATE MATERIALIZED VIEW w WITH (emit = 'final', retention = '1 minute') AS SELECT "
               "k, window_start, count(*) AS n, max(x) AS m FROM tumble(t, ts, INTERVAL '1 s') "
               "GROUP BY k, window_start");
    struct view_run *v = view_of(s, "w");
    REQUIRE(v != NULL);
    reading_begin(s, &readings[1], v);
    for (int i = 0; i < READ_BATCHES; i++) {
        REQUIRE(produce_batch(s, i));
        reading_begin(s, &readings[i % 2], v);
        reading_end(&readings[(i + 1) % 2]);
    }
    int64_t groups = number_of(s, "SELECT groups FROM sys.views");
    if (groups > 3 * 60 * 2)
        FAIL("%lld groups are left of %d", (long long)groups, READ_BATCHES * BATCH_ROWS);
    reading_end(&readings[(READ_BATCHES - 1) % 2]);
}

static void windows_go_while_a_view_is_read_without_a_pause(void **state)
{
    (void)state;
    struct host *h = sim_new(4);
    assert_true(run_one(h, 1, read_without_pause, NULL));
    host_close(h);
}

/* ---- floors ---- */

#define AT(k, second) "{\"k\":\"" k "\",\"ts\":\"2026-01-01T00:00:" second "Z\"}"

static void must_produce(struct script *s, const char *topic, uint32_t partition, const char *row)
{
    enum err e = script_produce(s, topic, partition, &row, 1);
    if (e != ERR_OK)
        FAIL("producing to %s/%u: %s", topic, partition, script_error(s));
}

static void churn(struct script *s, int n)
{
    for (int i = 0; i < n; i++) {
        run_sql(s, "CREATE TABLE churn (k text)");
        run_sql(s, "DROP TABLE churn");
    }
}

static void wake_late(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE t (k text, ts timestamptz NOT NULL) WITH (event_time = 'ts', lateness "
               "= '0 s', partitions = 2, idle_timeout = '300 ms')");
    run_sql(s, "CREATE MATERIALIZED VIEW w WITH (emit = 'final', late_to = 'w_late') AS SELECT k, "
               "window_start, count(*) AS n FROM tumble(t, ts, INTERVAL '10 s') GROUP BY k, "
               "window_start");
    must_produce(s, "t", 1, AT("slow", "01"));
    REQUIRE(script_sleep(s, 100) == ERR_OK);
    must_produce(s, "t", 0, AT("quick", "02"));
    for (int i = 0; i < 6; i++) { /* partition 1 falls silent */
        must_produce(s, "t", 0, AT("quick", "25"));
        REQUIRE(script_sleep(s, 100) == ERR_OK);
    }
    expect(s, "SELECT k, n FROM w ORDER BY k", "quick|1\nslow|1\n");
    must_produce(s, "t", 1, AT("slow", "03"));
    expect(s, "SELECT k FROM w_late", "slow\n");
    churn(s, 40);
}

static void late_stays_late(struct script *s, void *arg)
{
    (void)arg;
    expect(s, "SELECT k, n FROM w ORDER BY k", "quick|1\nslow|1\n");
    churn(s, 40);
    expect(s, "SELECT k FROM w_late", "slow\n");
}

static void floors_come_back_from_a_snapshot(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct host *h = sim_new(seed);
        assert_true(run_one(h, 2, wake_late, NULL));
        for (int life = 0; life < 2; life++) {
            h = seed % 2 ? host_sim_crash(h) : host_sim_power_cut(h, seed);
            assert_true(run_one(h, 1 + (uint32_t)life, late_stays_late, NULL));
        }
        host_close(h);
    }
}

/* ---- what a crash, or an older program, has left ---- */

static void add_record(struct host *h, const char *key, const char *value)
{
    struct log_partition *p;
    struct err_detail why = {0};
    struct kafka_batch_writer w;
    struct buf batch;
    int64_t base;
    assert_int_equal(
        log_open(h, "/data/topics/1/0", &log_config_default, &p, NULL, &why), ERR_OK);
    buf_init(&batch, 1 << 20);
    kafka_batch_begin(&w, &batch, 1);
    kafka_batch_add(&w, str_of(key), str_of(value), 1, NULL, 0);
    assert_int_equal(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, &why), ERR_OK);
    assert_int_equal(log_append(p, batch.ptr, batch.len, -1, &base, &why), ERR_OK);
    buf_deinit(&batch);
    log_close(p);
}

static void a_cut_snapshot_is_not_there(void **state)
{
    (void)state;
    struct host *h = sim_new(3);
    assert_true(run_one(h, 2, many_changes, NULL));
    h = host_sim_crash(h);
    add_record(h, "snapshot_begin", "");
    add_record(h, "snapshot_change",
               "{\"verb\":\"drop_relation\",\"name\":\"counts\",\"number\":0}");
    h = host_sim_crash(h);
    assert_true(run_one(h, 2, still_there, NULL));
    h = host_sim_crash(h);
    add_record(h, "snapshot_end", "1000000");
    const struct engine_options options = {.data_dir = "/data", .n_shards = 1};
    struct engine *e;
    struct err_detail why = {0};
    assert_int_equal(engine_open(h, &options, &e, &why), ERR_CORRUPT);
    host_close(h);
}

static int64_t catalog_end(struct host *h, int64_t *start)
{
    struct log_partition *p;
    struct err_detail why = {0};
    assert_int_equal(log_open(h, "/data/topics/1/0", &log_config_default, &p, NULL, &why), ERR_OK);
    int64_t end = log_end_offset(p);
    *start = log_start_offset(p);
    log_close(p);
    return end;
}

/* Segments go one by one: a crash in between may leave the end of a snapshot that is not needed any
 * more. */
static void an_old_snapshot_without_its_begin_is_not_there(void **state)
{
    (void)state;
    struct host *h = sim_new(3);
    assert_true(run_one(h, 2, many_changes, NULL));
    h = host_sim_crash(h);
    char records[24];
    int64_t start, end = catalog_end(h, &start);
    assert_true(start > 0);
    h = host_sim_crash(h);
    snprintf(records, sizeof(records), "%lld", (long long)(end - start + 1));
    add_record(h, "snapshot_end", records);
    h = host_sim_crash(h);
    assert_true(run_one(h, 2, still_there, NULL));
    host_close(h);
}

static void write_file(struct host *h, const char *path, const char *text)
{
    struct host_file *f;
    struct err_detail why = {0};
    assert_int_equal(host_file_open(h, path, HOST_OPEN_WRITE, &f, &why), ERR_OK);
    assert_int_equal(host_file_truncate(f, 0), ERR_OK);
    assert_int_equal(host_file_write(f, 0, text, strlen(text)), ERR_OK);
    host_file_close(f);
}

static void an_older_directory_is_taken_over(void **state)
{
    (void)state;
    struct host *h = sim_new(4);
    struct host_file *f;
    struct err_detail why = {0};
    char text[26] = "";
    assert_true(run_one(h, 2, many_changes, NULL));
    h = host_sim_crash(h);
    write_file(h, "/data/VERSION", "tidemill data, format 1\n");
    assert_true(run_one(h, 2, still_there, NULL));
    h = host_sim_crash(h);
    assert_int_equal(host_file_open(h, "/data/VERSION", HOST_OPEN_READ, &f, &why), ERR_OK);
    assert_int_equal(host_file_read(f, 0, text, 24), ERR_OK);
    assert_string_equal(text, "tidemill data, format 5\n");
    host_file_close(f);
    write_file(h, "/data/VERSION", "tidemill data, format 6\n");
    const struct engine_options options = {.data_dir = "/data", .n_shards = 1};
    struct engine *e;
    assert_int_equal(engine_open(h, &options, &e, &why), ERR_UNSUPPORTED);
    host_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dropped_topics_leave_no_folders),
        cmocka_unit_test(the_catalogs_log_is_bounded),
        cmocka_unit_test(records_of_epochs_are_small_and_go),
        cmocka_unit_test(windows_that_are_over_go),
        cmocka_unit_test(windows_go_while_a_view_is_read_without_a_pause),
        cmocka_unit_test(floors_come_back_from_a_snapshot),
        cmocka_unit_test(a_cut_snapshot_is_not_there),
        cmocka_unit_test(an_old_snapshot_without_its_begin_is_not_there),
        cmocka_unit_test(an_older_directory_is_taken_over),
        cmocka_unit_test(a_catalog_survives_death_at_any_file_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
