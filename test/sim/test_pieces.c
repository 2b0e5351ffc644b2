/* Long work is done in pieces: many groups read, sorted, closed, written, while others go on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "support/script.h"
#include "type/column.h"
#include "wire/kafka_batch.h"

enum {
    KEYS = 20000,
    BATCH_KEYS = 500,
    ROUNDS = 4,
    READERS = 4,
    RUN_BYTES = 64 << 20,
    TEXT_MAX = 4 << 20,
    READ_ROWS = 10000, /* of a changelog, its last ones */
    WAIT_MS = 60000,
    RECORD_S = 1767225600, /* 2026-01-01 */
    TURN_ROWS_MAX =
        4 * BATCH_ROWS_MAX, /* a piece of the epoch, and tasks until a batch is passed */
};

static void sql(struct script *s, const char *text)
{
    if (script_sql(s, text, NULL) != ERR_OK)
        FAIL("%s: %s", text, script_error(s));
}

static void until(struct script *s, const char *text, const char *expected)
{
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    if (script_until(s, text, expected, WAIT_MS, &rows) != ERR_OK)
        FAIL("%s: %.*s", text, (int)rows.len, rows.ptr);
    buf_deinit(&rows);
}

static int64_t number(struct script *s, const char *text)
{
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    if (script_sql(s, text, &rows) != ERR_OK)
        FAIL("%s: %s", text, script_error(s));
    buf_put_u8(&rows, 0);
    int64_t n = strtoll(rows.ptr, NULL, 10);
    buf_deinit(&rows);
    return n;
}

static int64_t metric(struct script *s, const char *name)
{
    char text[256];
    snprintf(text, sizeof(text), "SELECT value::int8 FROM sys.metrics WHERE name = '%s'", name);
    return number(s, text);
}

static void produce(struct script *s, uint32_t from, uint32_t n, int64_t second)
{
    struct buf run;
    struct kafka_batch_writer w;
    char json[128];
    int64_t ms = (int64_t)RECORD_S * 1000;
    buf_init(&run, RUN_BYTES);
    kafka_batch_begin(&w, &run, ms);
    for (uint32_t p = from; p < from + n; p++) {
        /* in an order that is not the keys' */
        snprintf(json, sizeof(json), "{\"k\": \"key-%05u\", \"n\": 1, \"p\": %u, \"ts\": %lld}",
                 (p * 7919 + 13) % KEYS, p, (long long)(RECORD_S + second) * 1000);
        kafka_batch_add(&w, (struct str){0}, str_of(json), ms, NULL, 0);
    }
    REQUIRE(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, NULL) == ERR_OK);
    if (script_append(s, "t", 0, run.ptr, run.len, n) != ERR_OK)
        FAIL("append: %s", script_error(s));
    buf_deinit(&run);
}

/* One row for every key, always in the same order, `p`; in appends that make short epochs. */
static void produce_all(struct script *s, int64_t second)
{
    for (uint32_t p = 0; p < KEYS; p += BATCH_KEYS)
        produce(s, p, BATCH_KEYS, second);
}

static void in_short_turns(struct script *s)
{
    int64_t rows = metric(s, "tidemill_turn_rows_max");
    if (rows <= 0 || rows > TURN_ROWS_MAX)
        FAIL("one turn worked on %lld rows", (long long)rows);
}

/* ---- reading while rows come ---- */

static _Atomic bool made;

static void change_all(struct script *s, void *arg)
{
    (void)arg;
    sql(s, "CREATE TABLE t (k text, n int8, p int8, ts timestamptz) WITH (partitions = 2)");
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT k, sum(n) AS s, max(n::text) AS m, "
           "min(p) AS p FROM t GROUP BY k");
    produce_all(s, 0);
    until(s, "SELECT count(*) FROM v WHERE s = 1", "20000\n");
    made = true;
    REQUIRE(script_sleep(s, 3) == ERR_OK); /* until the readers have seen it */
    for (int64_t i = 1; i < ROUNDS; i++)
        produce_all(s, i);
    until(s, "SELECT min(s), max(s), count(*) FROM v", "4|4|20000\n");
}

/* Every read sees a prefix of the rows: the first keys have one row more than the others. Gives how
 * many rows that is. */
static int64_t read_prefix(struct script *s, struct buf *rows)
{
    long long n[2][4];
    buf_clear(rows);
    REQUIRE(script_sql(s, "SELECT s, min(p), max(p), count(*) FROM v GROUP BY s ORDER BY s DESC",
                       rows) == ERR_OK);
    buf_put_u8(rows, 0);
    int got = sscanf(rows->ptr, "%lld|%lld|%lld|%lld\n%lld|%lld|%lld|%lld\n", &n[0][0], &n[0][1],
                     &n[0][2], &n[0][3], &n[1][0], &n[1][1], &n[1][2], &n[1][3]);
    bool whole = n[0][1] == 0 && n[0][2] == n[0][3] - 1;
    if (got == 4 && whole && n[0][3] == KEYS)
        return n[0][0] * KEYS;
    if (got != 8 || !whole || n[1][0] != n[0][0] - 1 || n[1][1] != n[0][3] || n[1][2] != KEYS - 1 ||
        n[1][3] != KEYS - n[0][3])
        FAIL("no prefix of the rows: %s", rows->ptr);
    return n[1][0] * KEYS + n[0][3];
}

static void read_whole_epochs(struct script *s, void *arg)
{
    uint32_t *busy = arg;
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    while (!made)
        REQUIRE(script_sleep(s, 1) == ERR_OK);
    for (int64_t seen = 0; seen < (int64_t)ROUNDS * KEYS;) {
        int64_t now = read_prefix(s, &rows);
        REQUIRE(now >= seen);
        seen = now;
        for (uint32_t i = 0; i < *busy; i++) /* out of step with the others */
            sql(s, "SELECT k FROM v ORDER BY k LIMIT 1");
    }
    REQUIRE(metric(s, "tidemill_scan_kept_groups_total") > 0);
    in_short_turns(s);
    buf_deinit(&rows);
}

static void run(const struct script_part *parts, uint32_t n, uint32_t shards)
{
    const struct sim_options sim = {
        .seed = 3, .wall_us = (int64_t)RECORD_S * 1000000, .run_ns_max = (int64_t)600 * 1000000000};
    struct err_detail why = {0};
    struct host *h = host_sim_open(&sim);
    assert_non_null(h);
    struct engine_options options = {.data_dir = "/data",
                                     .n_shards = shards,
                                     .default_partitions = 1,
                                     .memory_bytes_max = 256 << 20};
    if (scripts_run(h, &options, parts, n, &why) != ERR_OK)
        fail_msg("%s", why.text);
    host_close(h);
}

static void a_read_is_one_epoch_while_rows_come(void **state)
{
    (void)state;
    for (uint32_t shards = 1; shards <= 2; shards++) {
        /* Many readers get on slowly, so that epochs overtake them. */
        struct script_part parts[1 + READERS] = {{change_all, NULL, 0}};
        uint32_t busy[READERS];
        for (uint32_t i = 0; i < READERS; i++) {
            busy[i] = i;
            parts[1 + i] = (struct script_part){read_whole_epochs, &busy[i], i};
        }
        made = false;
        run(parts, 1 + READERS, shards);
    }
}

/* ---- a view that goes while it is read ---- */

static void drop_it(struct script *s, void *arg)
{
    (void)arg;
    sql(s, "CREATE TABLE t (k text, n int8, p int8, ts timestamptz)");
    for (uint32_t i = 0; i < 3; i++) {
        sql(s, "CREATE MATERIALIZED VIEW v AS SELECT k, sum(n) AS s FROM t GROUP BY k");
        if (i == 0)
            produce_all(s, 0);
        until(s, "SELECT count(*) FROM v", "20000\n");
        made = true;
        REQUIRE(script_sleep(s, 2 + i) == ERR_OK);
        sql(s, "DROP MATERIALIZED VIEW v");
    }
    made = false;
}

static void read_what_goes(struct script *s, void *arg)
{
    (void)arg;
    while (!made)
        REQUIRE(script_sleep(s, 1) == ERR_OK);
    while (made) {
        enum err e = script_sql(s, "SELECT count(*) FROM v", NULL);
        REQUIRE(e == ERR_OK || e == ERR_UNDEFINED_TABLE);
        REQUIRE(script_sleep(s, 1) == ERR_OK);
    }
}

static void a_view_may_be_dropped_while_it_is_read(void **state)
{
    (void)state;
    const struct script_part parts[] = {
        {drop_it, NULL, 0}, {read_what_goes, NULL, 1}, {read_what_goes, NULL, 0}};
    made = false;
    run(parts, 3, 2);
}

/* ---- closing, sorting, writing ---- */

static void close_many(struct script *s, void *arg)
{
    (void)arg;
    struct buf lines;
    int64_t end;
    buf_init(&lines, TEXT_MAX);
    sql(s,
        "CREATE TABLE t (k text, n int8, p int8, ts timestamptz NOT NULL) "
        "WITH (event_time = 'ts')");
    sql(s, "CREATE MATERIALIZED VIEW f WITH (emit = 'final') AS SELECT k, window_start, sum(n) AS "
           "s FROM tumble(t, ts, INTERVAL '10 s') GROUP BY k, window_start");
    sql(s, "CREATE MATERIALIZED VIEW c AS SELECT k, window_start, sum(n) AS s "
           "FROM tumble(t, ts, INTERVAL '10 s') GROUP BY k, window_start");
    for (int64_t i = 0; i < 3; i++)
        produce_all(s, i * 10);
    until(s, "SELECT count(*), min(s), max(s) FROM f", "40000|1|1\n");
    until(s, "SELECT count(*), min(s), max(s) FROM c", "60000|1|1\n");
    /* what closed is written by window, then key */
    REQUIRE(script_read(s, "f", 0, 2 * KEYS - READ_ROWS, &lines, &end) == ERR_OK);
    REQUIRE(end == 2 * KEYS);
    buf_put_u8(&lines, 0);
    const char *before = NULL;
    uint32_t n = 0;
    for (const char *at = lines.ptr; (at = strstr(at, "\"key-")) != NULL; at += 9) {
        if ((n++ % 2) != 0) /* in the key, then in the value */
            continue;
        if (before != NULL && memcmp(before, at, 10) >= 0)
            FAIL("%.*s before %.*s", 10, before, 10, at);
        before = at;
    }
    REQUIRE(n == 2 * READ_ROWS);
    until(s, "SELECT k, s FROM c ORDER BY k DESC, window_start LIMIT 2",
          "key-19999|1\nkey-19999|1\n");
    until(s, "SELECT count(*) FROM (SELECT k FROM c ORDER BY k DESC LIMIT 50000) x", "50000\n");
    until(s, "SELECT k FROM (SELECT k, sum(s) AS s FROM c GROUP BY k ORDER BY k DESC) x LIMIT 1",
          "key-19999\n");
    in_short_turns(s);
    buf_deinit(&lines);
}

static void many_groups_close_in_pieces(void **state)
{
    (void)state;
    const struct script_part part = {close_many, NULL, 0};
    run(&part, 1, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_is_one_epoch_while_rows_come),
        cmocka_unit_test(a_view_may_be_dropped_while_it_is_read),
        cmocka_unit_test(many_groups_close_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
