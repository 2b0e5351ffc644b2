/* The engine under stress, in simulation: idleness, bounds, full disks, damage, and requests of all
 * kinds cut off in the middle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "support/script.h"

enum { TEXT_MAX = 4 << 20, WAIT_MS = 20000 };

static const int64_t RUN_NS_MAX = (int64_t)600 * 1000000000;
static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

static struct host *sim_new(uint64_t seed, uint64_t disk_bytes_max)
{
    const struct sim_options options = {.seed = seed,
                                        .wall_us = 1767225600000000,
                                        .sync_delay_us_max = 500,
                                        .disk_bytes_max = disk_bytes_max,
                                        .run_ns_max = RUN_NS_MAX};
    struct host *h = host_sim_open(&options);
    assert_non_null(h);
    rng_state = seed;
    return h;
}

/* ---- helpers of scripts ---- */

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

static enum err produce(struct script *s, const char *topic, uint32_t partition, const char *row)
{
    return script_produce(s, topic, partition, &row, 1);
}

static void must_produce(struct script *s, const char *topic, uint32_t partition, const char *row)
{
    enum err e = produce(s, topic, partition, row);
    if (e != ERR_OK)
        FAIL("producing to %s/%u: %s", topic, partition, script_error(s));
}

static void run_one(struct host *h, uint32_t n_shards, uint64_t memory,
                    void (*run)(struct script *s, void *arg), void *arg)
{
    const struct engine_options options = {
        .data_dir = "/data", .n_shards = n_shards, .memory_bytes_max = memory};
    const struct script_part part = {.run = run, .arg = arg, .shard = 1};
    struct err_detail why = {0};
    enum err e = scripts_run(h, &options, &part, 1, &why);
    if (e != ERR_OK)
        fail_msg("%s", err_text(e, &why));
    assert_int_equal(host_sim_workers_left(h), 0);
}

/* ---- idle partitions ---- */

#define IDLE_TABLE                                                                                 \
    "CREATE TABLE t (k text, ts timestamptz NOT NULL) WITH (event_time = 'ts', lateness = '0 s', " \
    "partitions = 2, idle_timeout = '300 ms')"
#define AT(k, second) "{\"k\":\"" k "\",\"ts\":\"2026-01-01T00:00:" second "Z\"}"

static void idle_before(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, IDLE_TABLE);
    run_sql(s, "CREATE MATERIALIZED VIEW w WITH (emit = 'final', late_to = 'w_late') AS SELECT k, "
               "window_start, count(*) AS n FROM tumble(t, ts, INTERVAL '10 s') GROUP BY k, "
               "window_start");
    must_produce(s, "t", 1, AT("slow", "01"));
    REQUIRE(script_sleep(s, 100) == ERR_OK);
    must_produce(s, "t", 0, AT("quick", "02"));
    must_produce(s, "t", 0, AT("quick", "25"));
    /* Partition 1 falls silent first: windows close by partition 0 alone. */
    for (int i = 0; i < 6; i++) {
        REQUIRE(script_sleep(s, 100) == ERR_OK);
        must_produce(s, "t", 0, AT("quick", "25"));
    }
    expect(s, "SELECT k, n FROM w ORDER BY k", "quick|1\nslow|1\n");
}

static void idle_after(struct script *s, void *arg)
{
    (void)arg;
    /* Rows of closed windows are late, although their partition never said so. */
    must_produce(s, "t", 1, AT("late", "03"));
    expect(s, "SELECT k FROM w_late", "late\n");
    must_produce(s, "t", 1, AT("slow", "27"));
    must_produce(s, "t", 1, AT("slow", "45"));
    must_produce(s, "t", 0, AT("quick", "45"));
    expect(s, "SELECT k, n FROM w ORDER BY k, n", "quick|1\nquick|7\nslow|1\nslow|1\n");
    expect(s, "SELECT k FROM w_late", "late\n");
}

static void idle_both(struct script *s, void *arg)
{
    idle_before(s, arg);
    idle_after(s, arg);
}

static void idle_again(struct script *s, void *arg)
{
    (void)arg;
    expect(s, "SELECT k, n FROM w ORDER BY k, n", "quick|1\nquick|7\nslow|1\nslow|1\n");
    expect(s, "SELECT k FROM w_late", "late\n");
}

/* A partition that wakes takes over how far the others have come, before and after a start, and a
 * view made later decides alike. */
static void idleness_closes_windows_and_floors_hold(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 24; seed++) {
        uint32_t n_shards = 1 + (uint32_t)(seed % 3);
        struct host *h = sim_new(seed, 0);
        if (seed % 2) {
            run_one(h, n_shards, 0, idle_both, NULL);
        } else {
            run_one(h, n_shards, 0, idle_before, NULL);
            h = seed % 4 ? host_sim_crash(h) : host_sim_power_cut(h, seed);
            run_one(h, 1 + n_shards % 3, 0, idle_after, NULL);
        }
        h = host_sim_crash(h);
        run_one(h, 2, 0, idle_again, NULL);
        host_close(h);
    }
}

/* ---- a view at its memory bound ---- */

static void fill_view(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE big (k text, v int8) WITH (partitions = 2)");
    run_sql(s, "CREATE MATERIALIZED VIEW all_keys AS SELECT k, count(*) AS n, max(k) AS m FROM big "
               "GROUP BY k");
    run_sql(s, "CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n FROM big");
    char row[256];
    for (int i = 0; i < 3000; i++) {
        snprintf(row, sizeof(row), "{\"k\":\"%0100d\",\"v\":1}", i);
        must_produce(s, "big", (uint32_t)i % 2, row);
    }
    expect(s, "SELECT n FROM total", "3000\n");
    expect(s, "SELECT status FROM sys.views WHERE name = 'all_keys'", "failed\n");
    expect(s, "SELECT status FROM sys.views WHERE name = 'total'", "live\n");
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    REQUIRE(script_sql(s, "SELECT error FROM sys.views WHERE name = 'all_keys'", &rows) == ERR_OK);
    buf_put_u8(&rows, 0);
    REQUIRE(strstr(rows.ptr, "memory bound") != NULL);
    buf_deinit(&rows);
}

static void view_still_full(struct script *s, void *arg)
{
    (void)arg;
    expect(s, "SELECT status, groups FROM sys.views WHERE name = 'all_keys'", "failed|0\n");
    must_produce(s, "big", 0, "{\"k\":\"x\",\"v\":1}");
    expect(s, "SELECT n FROM total", "3001\n");
    run_sql(s, "DROP MATERIALIZED VIEW all_keys");
    run_sql(s, "CREATE MATERIALIZED VIEW few AS SELECT v, count(*) AS n FROM big GROUP BY v");
    expect(s, "SELECT v, n FROM few", "1|3001\n");
}

static void a_full_view_fails_alone(void **state)
{
    (void)state;
    struct host *h = sim_new(3, 0);
    run_one(h, 2, 512 << 10, fill_view, NULL);
    h = host_sim_crash(h);
    run_one(h, 2, 512 << 10, view_still_full, NULL);
    host_close(h);
}

/* ---- a view that was not caught up at the end ---- */

static void make_late_view(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE t (v int8) WITH (partitions = 2)");
    for (uint32_t i = 0; i < 20; i++)
        must_produce(s, "t", i % 2, "{\"v\":1}");
    run_sql(s, "CREATE MATERIALIZED VIEW later AS SELECT sum(v) AS n FROM t");
}

static void late_view_is_live(struct script *s, void *arg)
{
    (void)arg;
    expect(s, "SELECT n FROM later", "20\n");
    expect(s, "SELECT status FROM sys.views WHERE name = 'later'", "live\n");
}

/* With nothing new in its table, too. */
static void a_view_made_before_the_end_is_live_after_a_start(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct host *h = sim_new(seed, 0);
        run_one(h, 2, 0, make_late_view, NULL);
        for (int life = 0; life < 2; life++) {
            h = host_sim_crash(h);
            run_one(h, 2, 0, late_view_is_live, NULL);
        }
        host_close(h);
    }
}

/* ---- many windows, long keys ---- */

static void many_windows(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE t (k text, x int8, ts timestamptz NOT NULL) WITH (event_time = 'ts')");
    run_sql(s, "CREATE MATERIALIZED VIEW dense WITH (emit = 'final') AS SELECT window_start, "
               "count(*) AS n FROM hop(t, ts, slide => INTERVAL '1 s', size => INTERVAL '9999 s') "
               "GROUP BY window_start");
    run_sql(s, "CREATE MATERIALIZED VIEW failing AS SELECT window_start, count(*) AS n FROM hop(t, "
               "ts, slide => INTERVAL '1 s', size => INTERVAL '10 s') WHERE 10 / x > 0 GROUP BY "
               "window_start");
    run_sql(s, "CREATE MATERIALIZED VIEW by_key AS SELECT k, count(*) AS n FROM t GROUP BY k");
    enum { ROWS = 600 };
    static const char *values[ROWS];
    for (int i = 0; i < ROWS; i++)
        values[i] = "{\"k\":\"a\",\"x\":1,\"ts\":\"2026-01-01T00:00:00Z\"}";
    REQUIRE(script_produce(s, "t", 0, values, ROWS) == ERR_OK);
    must_produce(s, "t", 0, "{\"k\":\"a\",\"x\":0,\"ts\":\"2026-01-01T00:00:00Z\"}");
    static char long_key[40000];
    int n = snprintf(long_key, sizeof(long_key),
                     "{\"k\":\"%030000d\",\"x\":1,\"ts\":"
                     "\"2026-01-01T00:00:00Z\"}",
                     7);
    REQUIRE(n > 30000);
    must_produce(s, "t", 0, long_key);
    must_produce(s, "t", 0, "{\"k\":\"b\",\"x\":1,\"ts\":\"2026-01-02T00:00:00Z\"}");
    expect(s, "SELECT count(*), min(n), max(n) FROM dense", "9999|602|602\n");
    expect(s, "SELECT count(*), max(n) FROM failing", "20|601\n");
    expect(s, "SELECT k, n FROM by_key ORDER BY k", "a|601\nb|1\n");
    expect(s, "SELECT partition, \"offset\" FROM sys.dead_letters ORDER BY 2", "0|600\n0|601\n");
}

static void rows_in_many_windows_and_long_keys(void **state)
{
    (void)state;
    struct host *h = sim_new(5, 0);
    run_one(h, 2, 0, many_windows, NULL);
    host_close(h);
}

/* ---- statements that cannot be carried out ---- */

static void refuse_views(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE t (x float8, b bool, j jsonb)");
    struct buf sql;
    buf_init(&sql, 1 << 20);
    buf_put_str(&sql, STR("CREATE MATERIALIZED VIEW wide AS SELECT 1 AS one"));
    for (int i = 0; i < 900; i++)
        buf_printf(&sql, ", sum(x + %d) AS s%d", i, i);
    buf_put_str(&sql, STR(" FROM t"));
    buf_put_u8(&sql, 0);
    REQUIRE(script_sql(s, sql.ptr, NULL) != ERR_OK);
    buf_clear(&sql);
    buf_put_str(&sql, STR("CREATE MATERIALIZED VIEW deep AS SELECT x + 1"));
    for (int i = 0; i < 700; i++)
        buf_put_str(&sql, STR(" + x"));
    buf_put_str(&sql, STR(" AS y FROM t"));
    buf_put_u8(&sql, 0);
    (void)script_sql(s, sql.ptr, NULL);
    buf_deinit(&sql);
    REQUIRE(script_sql(s, "CREATE MATERIALIZED VIEW v AS SELECT min(b) FROM t", NULL) != ERR_OK);
    REQUIRE(script_sql(s, "CREATE MATERIALIZED VIEW v AS SELECT max(j) FROM t", NULL) != ERR_OK);
    REQUIRE(script_sql(s, "CREATE MATERIALIZED VIEW v AS SELECT x ~ '(' AS m FROM t", NULL) !=
                ERR_OK ||
            true);
    must_produce(s, "t", 0, "{\"x\":1}");
    expect(s, "SELECT count(*) FROM t", "1\n");
}

static void nothing(struct script *s, void *arg)
{
    (void)arg;
    expect(s, "SELECT count(*) FROM t", "1\n");
}

static void impossible_views_are_refused_for_good(void **state)
{
    (void)state;
    struct host *h = sim_new(6, 0);
    run_one(h, 2, 0, refuse_views, NULL);
    h = host_sim_crash(h);
    run_one(h, 1, 0, nothing, NULL);
    host_close(h);
}

/* ---- a full disk ---- */

struct full {
    uint64_t acknowledged;
    bool seen_full;
};

static void fill_disk(struct script *s, void *arg)
{
    struct full *f = arg;
    static char row[20000];
    run_sql(s, "CREATE TABLE t (k int8, pad text) WITH (partitions = 2)");
    run_sql(s, "CREATE MATERIALIZED VIEW n AS SELECT count(*) AS n FROM t");
    run_sql(s, "CREATE MATERIALIZED VIEW copies AS SELECT k, pad FROM t");
    for (uint32_t i = 0; i < 4000 && !f->seen_full; i++) {
        int len =
            snprintf(row, sizeof(row), "{\"k\":%u,\"pad\":\"%0*u\"}", i, 2000 + (int)rng(4000), i);
        REQUIRE(len > 0 && (size_t)len < sizeof(row));
        enum err e = produce(s, "t", i % 2, row);
        REQUIRE(e == ERR_OK || e == ERR_NO_SPACE);
        f->acknowledged += e == ERR_OK;
        f->seen_full = e == ERR_NO_SPACE;
    }
    REQUIRE(f->seen_full);
    /* Creating a table fails once outputs wait, and nothing is left of it. */
    enum err e = ERR_OK;
    for (int i = 0; i < 200 && e == ERR_OK; i++) {
        REQUIRE(script_sleep(s, 20) == ERR_OK);
        e = script_sql(s, "CREATE TABLE other (k int8) WITH (partitions = 5)", NULL);
        if (e == ERR_OK)
            e = script_sql(s, "DROP TABLE other", NULL);
        enum err p = produce(s, "t", (uint32_t)i % 2, row);
        REQUIRE(p == ERR_OK || p == ERR_NO_SPACE);
        f->acknowledged += p == ERR_OK;
    }
    REQUIRE(e == ERR_NO_SPACE);
    REQUIRE(strlen(script_error(s)) > 0);
    char expected[32];
    snprintf(expected, sizeof(expected), "%llu\n", (unsigned long long)f->acknowledged);
    expect(s, "SELECT count(*) FROM t", expected);
}

static void after_full(struct script *s, void *arg)
{
    const struct full *f = arg;
    char expected[32];
    snprintf(expected, sizeof(expected), "%llu\n", (unsigned long long)f->acknowledged);
    expect(s, "SELECT count(*) FROM t", expected);
    expect(s, "SELECT n FROM n", expected);
    expect(s, "SELECT count(*) FROM copies", expected);
}

static void a_full_disk_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct full f = {0};
        struct host *h = sim_new(seed, 24 << 20);
        run_one(h, 1 + (uint32_t)seed % 3, 0, fill_disk, &f);
        /* The process is stopped, and gets room. */
        h = seed % 2 ? host_sim_crash(h) : host_sim_power_cut(h, seed);
        host_sim_disk_limit(h, 0);
        run_one(h, 2, 0, after_full, &f);
        host_close(h);
    }
}

/* Space comes back while the server runs: what waited goes on. */
static void space_returns(struct script *s, void *arg)
{
    struct full *f = arg;
    fill_disk(s, f);
    host_sim_disk_limit(script_host(s), 0);
    after_full(s, f);
    f->seen_full = false;
    must_produce(s, "t", 0, "{\"k\":-1}");
    f->acknowledged++;
    after_full(s, f);
}

static void outputs_go_on_when_there_is_room(void **state)
{
    (void)state;
    for (uint64_t seed = 11; seed <= 14; seed++) {
        struct full f = {0};
        struct host *h = sim_new(seed, 24 << 20);
        run_one(h, 1 + (uint32_t)seed % 3, 0, space_returns, &f);
        host_close(h);
    }
}

/* ---- damage ---- */

static void before_damage(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE a (k int8) WITH (partitions = 1)");
    run_sql(s, "CREATE TABLE b (k int8) WITH (partitions = 1)");
    run_sql(s, "CREATE MATERIALIZED VIEW va AS SELECT count(*) AS n FROM a");
    run_sql(s, "CREATE MATERIALIZED VIEW vb AS SELECT count(*) AS n FROM b");
    for (int i = 0; i < 50; i++) {
        must_produce(s, "a", 0, "{\"k\":1}");
        must_produce(s, "b", 0, "{\"k\":1}");
    }
    expect(s, "SELECT n FROM va", "50\n");
    expect(s, "SELECT n FROM vb", "50\n");
}

static void after_damage(struct script *s, void *arg)
{
    (void)arg;
    must_produce(s, "b", 0, "{\"k\":1}");
    expect(s, "SELECT n FROM vb", "51\n");
    expect(s, "SELECT status FROM sys.views WHERE name = 'vb'", "live\n");
}

static void damage_stops_only_what_reads_it(void **state)
{
    (void)state;
    struct host *h = sim_new(8, 0);
    run_one(h, 2, 0, before_damage, NULL);
    h = host_sim_crash(h);
    assert_int_equal(host_sim_flip(h, "/data/topics/16/0/00000000000000000000.log", 1500, 0xff),
                     ERR_OK);
    run_one(h, 2, 0, after_damage, NULL);
    host_close(h);
}

struct unreadable {
    uint64_t call; /* that fails after the rows were asked for */
    bool stopped;  /* the view on the table says so */
};

static void read_fails(struct script *s, void *arg)
{
    struct unreadable *u = arg;
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    expect(s, "SELECT n FROM va", "50\n");
    expect(s, "SELECT n FROM vb", "50\n");
    host_sim_fault_at(script_host(s), u->call, SIM_FAULT_ERROR, false);
    enum err e = produce(s, "a", 0, "{\"k\":1}");
    REQUIRE(e == ERR_OK || e == ERR_IO);
    REQUIRE(script_sleep(s, 300) == ERR_OK);
    host_sim_fault_at(script_host(s), 0, SIM_FAULT_NONE, false);
    must_produce(s, "b", 0, "{\"k\":1}");
    expect(s, "SELECT n FROM vb", "51\n");
    expect(s, "SELECT status FROM sys.views WHERE name = 'vb'", "live\n");
    REQUIRE(script_sql(s, "SELECT error FROM sys.views WHERE name = 'va'", &rows) == ERR_OK);
    u->stopped = !str_eq(buf_str(&rows), STR("NULL\n"));
    if (u->stopped) {
        buf_put_u8(&rows, 0);
        REQUIRE(strstr(rows.ptr, "partition 0 of \"a\" cannot be read from offset 50") != NULL);
    } else {
        expect(s, "SELECT n FROM va", e == ERR_OK ? "51\n" : "50\n");
    }
    buf_deinit(&rows);
}

static void read_again(struct script *s, void *arg)
{
    (void)arg;
    expect(s, "SELECT n FROM va", "51\n");
    expect(s, "SELECT status FROM sys.views WHERE name = 'va'", "live\n");
}

enum { CHILD_STOPPED = 3 };

static int read_fails_at(void *arg)
{
    struct unreadable u = {.call = *(const uint64_t *)arg};
    struct host *h = sim_new(8, 0);
    run_one(h, 1, 0, before_damage, NULL);
    h = host_sim_crash(h);
    run_one(h, 1, 0, read_fails, &u);
    h = host_sim_crash(h);
    if (u.stopped)
        run_one(h, 1, 0, read_again, NULL);
    host_close(h);
    return u.stopped ? CHILD_STOPPED : 0;
}

/* An I/O error while the rows just written are read (other calls fail as well, and are retried; a
 * failed flush ends the process): the view says why it stands still, and a start makes it right. */
static void a_log_that_cannot_be_read_stops_its_views_alone(void **state)
{
    (void)state;
    int stopped = 0;
    for (uint64_t call = 1; call <= 12; call++) {
        char text[4096];
        int status = script_child(read_fails_at, &call, text, sizeof(text));
        if (status != 0 && status != CHILD_STOPPED && !script_flush_failed(text))
            fail_msg("call %llu ended with %d: %s", (unsigned long long)call, status, text);
        stopped += status == CHILD_STOPPED;
    }
    assert_true(stopped > 0);
}

/* ---- a view of two tables, one of which cannot be read again ---- */

enum { PAIR_ROWS = 10 };

static void produce_number(struct script *s, const char *topic, uint32_t n)
{
    char row[32];
    snprintf(row, sizeof(row), "{\"k\":%u}", n);
    must_produce(s, topic, 0, row);
}

static void pairs_made(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE a (k int8)");
    run_sql(s, "CREATE TABLE b (k int8)");
    run_sql(s, "CREATE MATERIALIZED VIEW ab AS SELECT a.k, b.k AS k2 FROM a, b");
    /* What it puts out has epochs recorded, with how far they have read. */
    run_sql(s, "CREATE MATERIALIZED VIEW vb AS SELECT count(*) AS n FROM b");
    for (uint32_t i = 0; i < PAIR_ROWS; i++) {
        produce_number(s, "a", i);
        produce_number(s, "b", i);
    }
    expect(s, "SELECT count(*) FROM ab", "100\n");
    REQUIRE(script_sleep(s, 300) == ERR_OK); /* until the last change is committed */
}

static void pairs_more(struct script *s, void *arg)
{
    struct unreadable *u = arg;
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    REQUIRE(script_sleep(s, 300) == ERR_OK);
    host_sim_fault_at(script_host(s), 0, SIM_FAULT_NONE, false);
    produce_number(s, "b", PAIR_ROWS);
    REQUIRE(script_sleep(s, 300) == ERR_OK);
    REQUIRE(script_sql(s, "SELECT status FROM sys.views WHERE name = 'ab'", &rows) == ERR_OK);
    u->stopped = str_eq(buf_str(&rows), STR("failed\n"));
    buf_deinit(&rows);
}

/* Either the view has failed, or its changelog tells of all rows. */
static void pairs_are_whole(struct script *s, void *arg)
{
    (void)arg;
    struct buf out;
    buf_init(&out, TEXT_MAX);
    REQUIRE(script_sleep(s, 300) == ERR_OK);
    REQUIRE(script_sql(s, "SELECT status FROM sys.views WHERE name = 'ab'", &out) == ERR_OK);
    if (!str_eq(buf_str(&out), STR("failed\n"))) {
        size_t n = 0;
        expect(s, "SELECT count(*) FROM ab", "110\n");
        REQUIRE(script_sleep(s, 300) == ERR_OK);
        buf_clear(&out);
        REQUIRE(script_read(s, "ab", 0, 0, &out, NULL) == ERR_OK);
        for (size_t i = 0; i < out.len; i++)
            n += out.ptr[i] == '\n';
        if (n != 110)
            FAIL("the changelog has %zu rows of 110", n);
    }
    buf_deinit(&out);
}

static int pairs_fail_at(void *arg)
{
    struct unreadable u = {.call = *(const uint64_t *)arg};
    const struct engine_options options = {.data_dir = "/data", .n_shards = 1};
    const struct script_part part = {.run = pairs_more, .arg = &u};
    struct err_detail why = {0};
    struct host *h = sim_new(8, 0);
    run_one(h, 1, 0, pairs_made, NULL);
    h = host_sim_crash(h);
    host_sim_fault_at(h, u.call, SIM_FAULT_ERROR, false);
    enum err e = scripts_run(h, &options, &part, 1, &why); /* an error: no start */
    h = host_sim_crash(h);
    host_sim_fault_at(h, 0, SIM_FAULT_NONE, false);
    if (e == ERR_OK)
        run_one(h, 1, 0, pairs_are_whole, NULL);
    host_close(h);
    return u.stopped ? CHILD_STOPPED : 0;
}

/* Its state would be a part of what it was, and what it tells of the other table's rows wrong. */
static void a_view_of_two_tables_fails_with_the_replay_of_one(void **state)
{
    (void)state;
    int stopped = 0;
    for (uint64_t call = 1; call <= 150; call++) {
        char text[4096];
        int status = script_child(pairs_fail_at, &call, text, sizeof(text));
        if (status != 0 && status != CHILD_STOPPED && !script_flush_failed(text))
            fail_msg("call %llu ended with %d: %s", (unsigned long long)call, status, text);
        stopped += status == CHILD_STOPPED;
    }
    assert_true(stopped > 0);
}

static void two_partitions(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE c (k int8) WITH (partitions = 2)");
    run_sql(s, "CREATE TABLE b (k int8) WITH (partitions = 1)");
    run_sql(s, "CREATE MATERIALIZED VIEW vb AS SELECT count(*) AS n FROM b");
    for (uint32_t i = 0; i < 20; i++)
        must_produce(s, "c", i % 2, "{\"k\":1}");
}

static void count_fails(struct script *s, void *arg)
{
    static const char create[] = "CREATE MATERIALIZED VIEW vc AS SELECT count(*) AS n FROM c";
    struct unreadable *u = arg;
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    host_sim_fault_at(script_host(s), u->call, SIM_FAULT_ERROR, false);
    if (script_sql(s, create, NULL) != ERR_OK)
        run_sql(s, create);
    REQUIRE(script_sleep(s, 300) == ERR_OK);
    host_sim_fault_at(script_host(s), 0, SIM_FAULT_NONE, false);
    must_produce(s, "b", 0, "{\"k\":1}"); /* a commit, which tells of the other views too */
    expect(s, "SELECT n FROM vb", "1\n");
    REQUIRE(script_sleep(s, 300) == ERR_OK);
    REQUIRE(script_sql(s, "SELECT status FROM sys.views WHERE name = 'vc'", &rows) == ERR_OK);
    u->stopped = str_eq(buf_str(&rows), STR("failed\n"));
    buf_deinit(&rows);
}

/* Every change begins with the row that the change before it left. */
static void count_is_told_whole(struct script *s, void *arg)
{
    (void)arg;
    expect(s, "SELECT n FROM vc", "20\n");
    struct buf log;
    buf_init(&log, TEXT_MAX);
    REQUIRE(script_sleep(s, 300) == ERR_OK); /* until the last change is committed */
    REQUIRE(script_read(s, "vc", 0, 0, &log, NULL) == ERR_OK);
    buf_put_u8(&log, 0);
    char *at = log.ptr, *line;
    const char *now = "-";
    while ((line = strsep(&at, "\n")) != NULL && *line != '\0') {
        (void)strsep(&line, "\t");
        (void)strsep(&line, "\t");
        const char *value = strsep(&line, "\t");
        const char *before = strsep(&line, "\t");
        if (before == NULL || strcmp(before, now) != 0)
            FAIL("before %s is %s", value, before == NULL ? "nothing" : before);
        now = value;
    }
    REQUIRE(strcmp(now, "{\"n\": 20}") == 0);
    buf_deinit(&log);
}

static int count_fails_at(void *arg)
{
    struct unreadable u = {.call = *(const uint64_t *)arg};
    struct host *h = sim_new(8, 0);
    run_one(h, 1, 0, two_partitions, NULL);
    h = host_sim_crash(h);
    run_one(h, 1, 0, count_fails, &u);
    h = host_sim_crash(h);
    run_one(h, 1, 0, count_is_told_whole, NULL);
    host_close(h);
    return u.stopped ? CHILD_STOPPED : 0;
}

/* One partition cannot be read in an epoch that takes in rows of another: what the next start
 * takes for processed has been written to the changelog. */
static void a_view_that_stood_still_tells_all_changes(void **state)
{
    (void)state;
    int stopped = 0;
    for (uint64_t call = 1; call <= 40; call++) {
        char text[4096];
        int status = script_child(count_fails_at, &call, text, sizeof(text));
        if (status != 0 && status != CHILD_STOPPED && !script_flush_failed(text))
            fail_msg("call %llu ended with %d: %s", (unsigned long long)call, status, text);
        stopped += status == CHILD_STOPPED;
    }
    assert_true(stopped > 0);
}

/* ---- views of topics that no table reads ---- */

static void raw_seen(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE a () WITH (format = 'raw', partitions = 1)");
    run_sql(s, "CREATE MATERIALIZED VIEW seen AS SELECT count(*) AS n FROM a");
    must_produce(s, "a", 0, "not JSON");
    expect(s, "SELECT n FROM seen", "1\n");
}

static void live_again(struct script *s, void *arg)
{
    enum { SOONER_THAN_IDLENESS_MS = 5000 };
    struct buf rows;
    (void)arg;
    buf_init(&rows, TEXT_MAX);
    if (script_until(s, "SELECT status FROM sys.views", "live\n", SOONER_THAN_IDLENESS_MS,
                     &rows) != ERR_OK)
        FAIL("the view is %.*s", (int)rows.len, rows.ptr);
    buf_deinit(&rows);
}

/* With nothing new to read, nothing comes after the replay that could tell. */
static void a_view_is_live_when_its_replay_ends(void **state)
{
    (void)state;
    struct host *h = sim_new(8, 0);
    run_one(h, 2, 0, raw_seen, NULL);
    h = host_sim_crash(h);
    run_one(h, 2, 0, live_again, NULL);
    host_close(h);
}

/* ---- requests of all kinds, cut off ---- */

struct chaos {
    uint32_t rounds;
    uint32_t id;
};

static bool fine(enum err e)
{
    return e == ERR_OK || e == ERR_UNDEFINED_TABLE || e == ERR_DUPLICATE_TABLE || e == ERR_BUSY ||
           e == ERR_UNKNOWN_PARTITION || e == ERR_SHUTDOWN || e == ERR_DEPENDENT_OBJECTS;
}

static void chaos(struct script *s, void *arg)
{
    static const char *const statements[] = {
        "CREATE TABLE t (k text, v int8, ts timestamptz NOT NULL) WITH (event_time = 'ts', "
        "partitions = 3, idle_timeout = '20 ms')",
        "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n, max(k) AS m FROM t GROUP BY k",
        "CREATE MATERIALIZED VIEW w WITH (emit = 'final', late_to = 'w_late') AS SELECT k, "
        "window_start, sum(v) AS s FROM tumble(t, ts, INTERVAL '1 s') GROUP BY k, window_start",
        "DROP MATERIALIZED VIEW v",
        "DROP MATERIALIZED VIEW w",
        "DROP TABLE t CASCADE",
        "DROP TABLE t",
        "INSERT INTO t SELECT 'k', 1, now()",
        "INSERT INTO t VALUES ('a', 1, '2025-12-01'), ('b', 2, '2025-12-02')",
        "SELECT count(*) FROM t",
        "SELECT * FROM v ORDER BY k LIMIT 2",
        "SELECT count(*) FROM w",
        "SELECT * FROM w_late",
        "SELECT * FROM sys.views",
        "SELECT * FROM sys.tables",
    };
    static const char *const follows[] = {"SELECT * FROM t", "SELECT * FROM v",
                                          "SELECT * FROM w WHERE s > 0", "SELECT * FROM w_late"};
    const struct chaos *c = arg;
    struct buf out;
    buf_init(&out, TEXT_MAX);
    bool open[SCRIPT_QUERIES_MAX] = {false};
    enum err e = ERR_OK;
    for (uint32_t i = 0; i < c->rounds && e != ERR_SHUTDOWN; i++) {
        uint32_t slot = rng(SCRIPT_QUERIES_MAX), what = rng(10);
        bool more;
        buf_clear(&out);
        if (what < 5) {
            e = script_sql(s, statements[rng(ARRAY_LEN(statements))], &out);
        } else if (what == 5) {
            e = script_sleep(s, rng(20));
        } else if (!open[slot]) {
            e = script_query_open(s, slot, follows[rng(ARRAY_LEN(follows))], rng(3) > 0);
            open[slot] = e == ERR_OK;
        } else if (what < 9) {
            e = script_query_pull(s, slot, rng(30), &out, &more);
            open[slot] = e == ERR_OK && more;
            if (!open[slot] && e != ERR_SHUTDOWN)
                script_query_close(s, slot);
        } else {
            script_query_close(s, slot);
            open[slot] = false;
        }
        if (!fine(e))
            FAIL("seed state %llu: %s", (unsigned long long)rng_state, script_error(s));
    }
    buf_deinit(&out);
}

static void any_order_of_requests_is_survived(void **state)
{
    (void)state;
    const char *one = getenv("SEED");
    uint64_t first = one == NULL ? 1 : strtoull(one, NULL, 10), last = one == NULL ? 60 : first;
    for (uint64_t seed = first; seed <= last; seed++) {
        struct host *h = sim_new(seed, 0);
        for (int life = 0; life < 3; life++) {
            struct chaos c[3];
            struct script_part parts[3];
            const struct engine_options options = {.data_dir = "/data", .n_shards = 1 + rng(4)};
            for (uint32_t i = 0; i < 3; i++) {
                c[i] = (struct chaos){.rounds = 5 + rng(60), .id = i};
                parts[i] = (struct script_part){chaos, &c[i], rng(4)};
            }
            struct err_detail why = {0};
            enum err e = scripts_run(h, &options, parts, 3, &why);
            if (e != ERR_OK)
                fail_msg("seed %llu, life %d: %s", (unsigned long long)seed, life,
                         err_text(e, &why));
            if (host_sim_workers_left(h) != 0)
                fail_msg("seed %llu, life %d: workers are left", (unsigned long long)seed, life);
            h = host_sim_crash(h);
            assert_non_null(h);
        }
        host_close(h);
    }
}

static void stop_soon(struct script *s, void *arg)
{
    const int64_t *ms = arg;
    if (script_sleep(s, *ms) == ERR_OK)
        script_stop(s);
}

/* A stop at any moment ends everything, soon, and leaks nothing. */
static void a_stop_at_any_moment_is_quick(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 80; seed++) {
        struct host *h = sim_new(seed, 0);
        int64_t ms = rng(60);
        struct chaos c[3];
        struct script_part parts[4] = {{stop_soon, &ms, rng(4)}};
        const struct engine_options options = {.data_dir = "/data", .n_shards = 1 + rng(4)};
        for (uint32_t i = 0; i < 3; i++) {
            c[i] = (struct chaos){.rounds = 100000, .id = i};
            parts[i + 1] = (struct script_part){chaos, &c[i], rng(4)};
        }
        int64_t began = host_mono_ns(h);
        assert_int_equal(scripts_run(h, &options, parts, 4, NULL), ERR_OK);
        assert_int_equal(host_sim_workers_left(h), 0);
        if (host_mono_ns(h) - began > (int64_t)5 * 1000000000)
            fail_msg("seed %llu: the stop took %lld ms", (unsigned long long)seed,
                     (long long)((host_mono_ns(h) - began) / 1000000 - ms));
        host_close(h);
    }
}

/* ---- memory ---- */

static void some_state(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, IDLE_TABLE);
    run_sql(s, "CREATE MATERIALIZED VIEW w WITH (emit = 'final', late_to = 'w_late') AS SELECT k, "
               "window_start, max(k) AS m FROM tumble(t, ts, INTERVAL '10 s') GROUP BY k, "
               "window_start");
    must_produce(s, "t", 0, AT("a", "01"));
    must_produce(s, "t", 1, AT("a", "31"));
    expect(s, "SELECT count(*) FROM w", "1\n");
}

/* Whatever allocation fails while the server starts, it says so and leaves nothing behind. */
static void a_start_out_of_memory_is_an_error(void **state)
{
    (void)state;
    struct host *h = sim_new(9, 0);
    run_one(h, 2, 0, some_state, NULL);
    const struct engine_options options = {.data_dir = "/data", .n_shards = 2};
    enum err e = ERR_NO_MEMORY;
    for (uint64_t n = 1; e != ERR_OK; n += 1 + n / 40) {
        struct engine *engine = NULL;
        struct err_detail why = {0};
        h = host_sim_crash(h);
        assert_non_null(h);
        mem_fail_at(n, false);
        e = engine_open(h, &options, &engine, &why);
        bool failed = mem_fail_count() >= n;
        mem_fail_at(0, false);
        if (e != ERR_OK && e != ERR_NO_MEMORY)
            fail_msg("allocation %llu: %s", (unsigned long long)n, err_text(e, &why));
        if (e == ERR_OK) {
            host_stop_request(h);
            host_run(h);
            engine_close(engine);
        }
        if (e == ERR_OK && failed)
            e = ERR_NO_MEMORY; /* it could do without */
    }
    host_close(h);
}

/* ---- many calls at once ---- */

enum { CALLS = 5000, CHANGES = 1100 };

struct flood {
    struct shard_service service;
    struct shard_call calls[CALLS];
    struct ddl_request changes[CHANGES];
    char names[CHANGES][16];
    uint32_t n_run, n_done, n_changed, n_busy;
    bool begun, ordered;
    struct host *h;
};

static struct flood flood;

static void flood_run(struct shard *s, struct shard_call *c)
{
    flood.ordered &= c == &flood.calls[flood.n_run++];
    shard_call_reply(s, c);
}

static void flood_done(struct shard *s, struct shard_call *c)
{
    (void)s;
    flood.ordered &= c == &flood.calls[flood.n_done++];
}

static void flood_changed(struct ddl_request *r)
{
    flood.n_busy += r->err == ERR_BUSY;
    flood.ordered &= r->err == ERR_OK || r->err == ERR_BUSY;
    if (++flood.n_changed == CHANGES)
        host_stop_request(flood.h);
}

/* More calls in one turn than a ring has slots, then more catalog changes than their queue. */
static void flood_turn(struct shard_service *sv, struct shard *s)
{
    (void)sv;
    if (flood.begun)
        return;
    flood.begun = true;
    for (uint32_t i = 0; i < CALLS; i++) {
        flood.calls[i] = (struct shard_call){.run = flood_run, .done = flood_done};
        shard_call(s, 0, &flood.calls[i]);
    }
    for (uint32_t i = 0; i < CHANGES; i++) {
        snprintf(flood.names[i], sizeof(flood.names[i]), "topic%u", i);
        flood.changes[i] = (struct ddl_request){
            .change = {.verb = CHANGE_CREATE_TOPIC,
                       .name = str_of(flood.names[i]),
                       .topic = {.name = str_of(flood.names[i]), .n_partitions = 1}},
            .done = flood_changed};
        shard_ddl(s, &flood.changes[i]);
    }
}

static void full_queues_keep_order_and_say_so(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        struct host *h = sim_new(seed, 0);
        const struct engine_options options = {.data_dir = "/data", .n_shards = 2};
        struct engine *e;
        flood = (struct flood){.service = {.turn = flood_turn}, .ordered = true, .h = h};
        assert_int_equal(engine_open(h, &options, &e, NULL), ERR_OK);
        shard_service_add(engine_shard(e, 1), &flood.service);
        host_run(h);
        assert_true(flood.ordered);
        assert_int_equal(flood.n_run, CALLS);
        assert_int_equal(flood.n_done, CALLS);
        assert_int_equal(flood.n_changed, CHANGES);
        assert_true(flood.n_busy > 0 && flood.n_busy < CHANGES / 2);
        engine_close(e);
        host_close(h);
    }
}

/* ---- following over a start ---- */

static void follow_changes(struct script *s, void *arg)
{
    (void)arg;
    struct buf seen;
    bool more;
    buf_init(&seen, TEXT_MAX);
    run_sql(s, "CREATE TABLE t (k text) WITH (partitions = 1)");
    run_sql(s, "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM t GROUP BY k");
    must_produce(s, "t", 0, "{\"k\":\"a\"}");
    expect(s, "SELECT k, n FROM v", "a|1\n");
    REQUIRE(script_query_open(s, 0, "SELECT k, n FROM v", true) == ERR_OK);
    REQUIRE(script_query_pull(s, 0, 1000, &seen, &more) == ERR_OK && more);
    REQUIRE(script_query_pull(s, 0, 1000, &seen, &more) == ERR_OK && !more); /* the snapshot */
    must_produce(s, "t", 0, "{\"k\":\"a\"}");
    must_produce(s, "t", 0, "{\"k\":\"b\"}");
    while (seen.len < strlen("+a|1\n-a|1\n+a|2\n+b|1\n"))
        REQUIRE(script_query_pull(s, 0, 1000, &seen, &more) == ERR_OK);
    REQUIRE(str_eq(buf_str(&seen), STR("+a|1\n-a|1\n+a|2\n+b|1\n")));
    /* Dropping what is followed ends it with an error. */
    run_sql(s, "DROP MATERIALIZED VIEW v");
    REQUIRE(script_query_pull(s, 0, 1000, &seen, &more) != ERR_OK);
    script_query_close(s, 0);
    buf_deinit(&seen);
}

static void following_gives_snapshot_then_changes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct host *h = sim_new(seed, 0);
        run_one(h, 1 + (uint32_t)seed % 3, 0, follow_changes, NULL);
        host_close(h);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(idleness_closes_windows_and_floors_hold),
        cmocka_unit_test(a_full_view_fails_alone),
        cmocka_unit_test(a_view_made_before_the_end_is_live_after_a_start),
        cmocka_unit_test(rows_in_many_windows_and_long_keys),
        cmocka_unit_test(impossible_views_are_refused_for_good),
        cmocka_unit_test(a_full_disk_loses_nothing),
        cmocka_unit_test(outputs_go_on_when_there_is_room),
        cmocka_unit_test(damage_stops_only_what_reads_it),
        cmocka_unit_test(a_log_that_cannot_be_read_stops_its_views_alone),
        cmocka_unit_test(a_view_of_two_tables_fails_with_the_replay_of_one),
        cmocka_unit_test(a_view_that_stood_still_tells_all_changes),
        cmocka_unit_test(a_view_is_live_when_its_replay_ends),
        cmocka_unit_test(any_order_of_requests_is_survived),
        cmocka_unit_test(a_stop_at_any_moment_is_quick),
        cmocka_unit_test(full_queues_keep_order_and_say_so),
        cmocka_unit_test(a_start_out_of_memory_is_an_error),
        cmocka_unit_test(following_gives_snapshot_then_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
