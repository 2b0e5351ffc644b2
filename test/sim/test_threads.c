/* labels: threads */
/* An engine with real threads: producers, queries, followers and catalog changes on all shards at
 * once. The thread sanitizer looks on; the answers are checked. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "support/script.h"

enum { BATCHES = 120, ROWS = 25, PRODUCERS = 3, TEXT_MAX = 4 << 20, WAIT_MS = 60000 };

static void require_sql(struct script *s, const char *sql, struct buf *rows)
{
    enum err e = script_sql(s, sql, rows);
    if (e != ERR_OK && e != ERR_DUPLICATE_TABLE)
        FAIL("%s: %s", sql, script_error(s));
}

static void make(struct script *s)
{
    require_sql(s,
                "CREATE TABLE IF NOT EXISTS t (k text, v int8, ts timestamptz NOT NULL) WITH "
                "(event_time = 'ts', partitions = 3, idle_timeout = '50 ms')",
                NULL);
}

static void produce(struct script *s, void *arg)
{
    const uint32_t *number = arg;
    const char *values[ROWS];
    for (uint32_t i = 0; i < ROWS; i++)
        values[i] = "{\"k\":\"a\",\"v\":1,\"ts\":\"2026-01-01T00:00:00Z\"}";
    make(s);
    for (uint32_t i = 0; i < BATCHES; i++)
        REQUIRE(script_produce(s, "t", (*number + i) % 3, values, ROWS) == ERR_OK);
    char expected[64];
    snprintf(expected, sizeof(expected), "%d|%d\n", PRODUCERS * BATCHES * ROWS,
             PRODUCERS * BATCHES * ROWS);
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    require_sql(s, "CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(v) AS s FROM t",
                NULL);
    REQUIRE(script_until(s, "SELECT n, s FROM total", expected, WAIT_MS, &rows) == ERR_OK);
    REQUIRE(script_until(s, "SELECT count(*), sum(v) FROM t", expected, WAIT_MS, &rows) == ERR_OK);
    buf_deinit(&rows);
}

static void change(struct script *s, void *arg)
{
    (void)arg;
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    make(s);
    for (int i = 0; i < 15; i++) {
        require_sql(s,
                    "CREATE MATERIALIZED VIEW w WITH (emit = 'final', late_to = 'late') AS SELECT "
                    "k, window_start, count(*) AS n, max(k) AS m FROM tumble(t, ts, INTERVAL '1 "
                    "s') GROUP BY k, window_start",
                    NULL);
        buf_clear(&rows);
        require_sql(s, "SELECT * FROM w", &rows);
        require_sql(s, "SELECT count(*) FROM late", &rows);
        require_sql(s, "SELECT * FROM sys.views", &rows);
        require_sql(s, "DROP MATERIALIZED VIEW w", NULL);
    }
    buf_deinit(&rows);
}

static void follow(struct script *s, void *arg)
{
    (void)arg;
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    make(s);
    require_sql(s, "CREATE MATERIALIZED VIEW keys AS SELECT k, count(*) AS n FROM t GROUP BY k",
                NULL);
    for (int i = 0; i < 20; i++) {
        bool more = true;
        REQUIRE(script_query_open(s, 0, i % 2 ? "SELECT * FROM keys" : "SELECT v FROM t", true) ==
                ERR_OK);
        for (int k = 0; k < 20; k++) {
            buf_clear(&rows);
            enum err e = script_query_pull(s, 0, 5, &rows, &more);
            REQUIRE(e == ERR_OK || e == ERR_BUSY);
            if (e == ERR_BUSY)
                break;
        }
        script_query_close(s, 0);
    }
    buf_deinit(&rows);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void everything_at_once(void **state)
{
    (void)state;
    char dir[] = "engine-threads-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct host *h = host_real_open();
    assert_non_null(h);
    uint32_t numbers[PRODUCERS] = {0, 1, 2};
    const struct script_part parts[] = {
        {produce, &numbers[0], 0}, {produce, &numbers[1], 1}, {produce, &numbers[2], 2},
        {change, NULL, 1},         {follow, NULL, 2},         {follow, NULL, 0},
    };
    const struct engine_options options = {.data_dir = dir, .n_shards = 3};
    struct err_detail why = {0};
    enum err e = scripts_run_real(h, &options, parts, ARRAY_LEN(parts), &why);
    if (e != ERR_OK)
        fail_msg("%s", err_text(e, &why));
    host_close(h);
    assert_int_equal(nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

/* ---- more calls than fit between two shards ---- */

enum { FLOOD_SHARDS = 2, FLOOD_CALLS = 20000, FLOOD_ROUNDS = 20 };

struct flood {
    struct shard_service service;
    struct shard_call *calls;
    struct host *h;
    uint32_t n_done, rounds;
};

static atomic_uint floods_left;

static void flood_run(struct shard *s, struct shard_call *c)
{
    shard_call_reply(s, c);
}

static struct flood floods[FLOOD_SHARDS];

static void flood_done(struct shard *s, struct shard_call *c)
{
    struct flood *f = &floods[shard_index(s)];
    REQUIRE(c == &f->calls[f->n_done++]);
    if (f->n_done == FLOOD_CALLS && f->rounds == FLOOD_ROUNDS &&
        atomic_fetch_sub(&floods_left, 1) == 1)
        host_stop_request(f->h);
}

/* Far more than the ring takes, to the other shard, while that one does the same. */
static void flood_turn(struct shard_service *sv, struct shard *s)
{
    struct flood *f = &floods[shard_index(s)];
    (void)sv;
    if (f->rounds == FLOOD_ROUNDS || (f->rounds > 0 && f->n_done < FLOOD_CALLS))
        return;
    f->rounds++;
    f->n_done = 0;
    for (uint32_t i = 0; i < FLOOD_CALLS; i++) {
        f->calls[i] = (struct shard_call){.run = flood_run, .done = flood_done};
        shard_call(s, 1 - shard_index(s), &f->calls[i]);
    }
}

static void shards_with_full_queues_wake_each_other(void **state)
{
    (void)state;
    char dir[] = "engine-threads-XXXXXX";
    assert_non_null(mkdtemp(dir));
    struct host *h = host_real_open();
    assert_non_null(h);
    const struct engine_options options = {.data_dir = dir, .n_shards = FLOOD_SHARDS};
    struct engine *e;
    assert_int_equal(engine_open(h, &options, &e, NULL), ERR_OK);
    floods_left = FLOOD_SHARDS;
    for (uint32_t i = 0; i < FLOOD_SHARDS; i++) {
        floods[i] = (struct flood){.service = {.turn = flood_turn}, .h = h};
        floods[i].calls = mem_zalloc(FLOOD_CALLS, sizeof(struct shard_call));
        assert_non_null(floods[i].calls);
        shard_service_add(engine_shard(e, i), &floods[i].service);
    }
    host_run(h);
    for (uint32_t i = 0; i < FLOOD_SHARDS; i++) {
        assert_int_equal(floods[i].n_done, FLOOD_CALLS);
        mem_free(floods[i].calls);
    }
    engine_close(e);
    host_close(h);
    assert_int_equal(nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_at_once),
        cmocka_unit_test(shards_with_full_queues_wake_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
