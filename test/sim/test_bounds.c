/* Where one thing meets the end of another: the snapshot of a followed table and what is written
 * meanwhile, an epoch and more batches than it can hold, a group and windows that it does not
 * belong to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "engine/dead_letters.h"
#include "engine/engine_int.h"
#include "engine/epochs.h"
#include "engine/output_wait.h"
#include "engine/view_scan.h"
#include "run/key.h"
#include "support/script.h"
#include "wire/compress.h"
#include "wire/kafka_batch.h"

/* A process that "ended" leaves its memory behind. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAKS_BEGIN() __lsan_disable()
#define LEAKS_END()   __lsan_enable()
#else
#define LEAKS_BEGIN() ((void)0)
#define LEAKS_END()   ((void)0)
#endif

enum { TEXT_MAX = 64 << 20, WAIT_MS = 20000, RECORD_S = 1767225600 };

static void run_script_within(void (*run)(struct script *s, void *arg), uint32_t n_shards,
                              uint64_t memory_bytes_max)
{
    const struct sim_options sim = {.seed = 7,
                                    .wall_us = 1767225600000000,
                                    .sync_delay_us_max = 500,
                                    .run_ns_max = (int64_t)600 * 1000000000};
    const struct engine_options options = {
        .data_dir = "/data", .n_shards = n_shards, .memory_bytes_max = memory_bytes_max};
    const struct script_part part = {run, NULL, 0};
    struct err_detail why = {0};
    struct host *h = host_sim_open(&sim);
    assert_non_null(h);
    enum err e = scripts_run(h, &options, &part, 1, &why);
    if (e != ERR_OK)
        FAIL("%s", err_text(e, &why));
    host_close(h);
}

static void run_script(void (*run)(struct script *s, void *arg), uint32_t n_shards)
{
    run_script_within(run, n_shards, 0);
}

static void sql(struct script *s, const char *text)
{
    if (script_sql(s, text, NULL) != ERR_OK)
        FAIL("%s: %s", text, script_error(s));
}

static void until(struct script *s, const char *query, const char *expected)
{
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    if (script_until(s, query, expected, WAIT_MS, &rows) != ERR_OK)
        FAIL("%s gives\n%.*s(%s) instead of\n%s", query, (int)rows.len, rows.ptr, script_error(s),
             expected);
    buf_deinit(&rows);
}

/* ---- a followed table ---- */

enum { FIRST_ROWS = 2300, LATER_ROWS = 100, ROWS_AT_ONCE = 100, PAD_BYTES = 400 };

static void produce_numbers(struct script *s, uint32_t from, uint32_t n)
{
    static char text[ROWS_AT_ONCE][PAD_BYTES + 64];
    const char *values[ROWS_AT_ONCE];
    for (uint32_t done = 0; done < n; done += ROWS_AT_ONCE) {
        for (uint32_t i = 0; i < ROWS_AT_ONCE; i++) {
            snprintf(text[i], sizeof(text[i]), "{\"n\": %u, \"pad\": \"%0*d\"}", from + done + i,
                     PAD_BYTES, 0);
            values[i] = text[i];
        }
        REQUIRE(script_produce(s, "t", 0, values, ROWS_AT_ONCE) == ERR_OK);
    }
}

static void follow(struct script *s, void *arg)
{
    (void)arg;
    struct buf lines, expected;
    buf_init(&lines, TEXT_MAX);
    buf_init(&expected, TEXT_MAX);
    sql(s, "CREATE TABLE t (n int8, pad text)");
    produce_numbers(s, 0, FIRST_ROWS);
    REQUIRE(script_query_open(s, 0, "SELECT n FROM t", true) == ERR_OK);
    bool more = true;
    REQUIRE(script_query_pull(s, 0, WAIT_MS, &lines, &more) == ERR_OK && more);
    /* The snapshot ends where the table ended when its first rows were read. */
    produce_numbers(s, FIRST_ROWS, LATER_ROWS);
    for (bool live = false; !live; live = !more)
        REQUIRE(script_query_pull(s, 0, WAIT_MS, &lines, &more) == ERR_OK);
    for (uint32_t i = 0; i < FIRST_ROWS; i++)
        buf_printf(&expected, "+%u\n", i);
    if (!str_eq(buf_str(&lines), buf_str(&expected)))
        FAIL("the snapshot is not what was there: it ends with %.*s", 24,
             lines.ptr + (lines.len > 24 ? lines.len - 24 : 0));
    buf_clear(&lines);
    REQUIRE(script_query_pull(s, 0, WAIT_MS, &lines, &more) == ERR_OK);
    uint32_t first = (uint32_t)strtoul(lines.ptr + strspn(lines.ptr, "+"), NULL, 10);
    if (first != FIRST_ROWS)
        FAIL("behind the snapshot of %u rows comes row %u", FIRST_ROWS, first);
    script_query_close(s, 0);
    buf_deinit(&lines);
    buf_deinit(&expected);
}

static void a_followed_table_has_no_gap_behind_its_snapshot(void **state)
{
    (void)state;
    run_script(follow, 2);
}

/* ---- batches of one record ---- */

enum { SMALL_BATCHES = 6000 };

static void small_batches(struct script *s, void *arg)
{
    (void)arg;
    struct buf run, scratch;
    struct compress *c = compress_new();
    buf_init(&run, TEXT_MAX);
    buf_init(&scratch, TEXT_MAX);
    REQUIRE(c != NULL);
    sql(s, "CREATE TABLE t (n int8)");
    for (uint32_t i = 0; i < SMALL_BATCHES; i++) {
        struct kafka_batch_writer w;
        char text[32];
        snprintf(text, sizeof(text), "{\"n\": %u}", i);
        kafka_batch_begin(&w, &run, (int64_t)RECORD_S * 1000);
        kafka_batch_add(&w, (struct str){0}, str_of(text), (int64_t)RECORD_S * 1000, NULL, 0);
        REQUIRE(kafka_batch_finish(&w, COMPRESS_LZ4, c, &scratch, NULL) == ERR_OK);
    }
    REQUIRE(script_append(s, "t", 0, run.ptr, run.len, SMALL_BATCHES) == ERR_OK);
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(n) AS s FROM t");
    until(s, "SELECT n, s FROM v", "6000|17997000\n");
    compress_free(c);
    buf_deinit(&run);
    buf_deinit(&scratch);
}

static void more_compressed_batches_than_an_epoch_holds(void **state)
{
    (void)state;
    run_script(small_batches, 1);
}

/* ---- batches that are not as they should be ---- */

static void add_batch(struct buf *run, const char *json, int64_t timestamp)
{
    struct kafka_batch_writer w;
    kafka_batch_begin(&w, run, timestamp);
    kafka_batch_add(&w, (struct str){0}, str_of(json), timestamp, NULL, 0);
    REQUIRE(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, NULL) == ERR_OK);
}

static void damaged_batch(struct script *s, void *arg)
{
    (void)arg;
    struct buf run;
    buf_init(&run, TEXT_MAX);
    sql(s, "CREATE TABLE t (n int8)");
    add_batch(&run, "{\"n\": 1}", (int64_t)RECORD_S * 1000);
    add_batch(&run, "{\"n\": 2}", (int64_t)RECORD_S * 1000);
    run.ptr[run.len - 4] ^= 1; /* inside the value, which the CRC covers */
    add_batch(&run, "{\"n\": 4}", (int64_t)RECORD_S * 1000);
    REQUIRE(script_append(s, "t", 0, run.ptr, run.len, 3) == ERR_OK);
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n, sum(n) AS s FROM t");
    until(s, "SELECT n, s FROM v", "2|5\n");
    until(s, "SELECT \"offset\" FROM sys.dead_letters", "1\n");
    buf_deinit(&run);
}

static void a_damaged_batch_hides_no_other(void **state)
{
    (void)state;
    run_script(damaged_batch, 1);
}

static void no_timestamp(struct script *s, void *arg)
{
    (void)arg;
    struct buf run;
    buf_init(&run, TEXT_MAX);
    sql(s, "CREATE TABLE t (n int8, ts timestamptz NOT NULL) WITH (event_time = 'ts')");
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT window_start, sum(n) AS s FROM tumble(t, ts, "
           "INTERVAL '10 s') GROUP BY window_start");
    add_batch(&run, "{\"n\": 1, \"ts\": \"9999-01-01T00:00:00Z\"}", -1);
    add_batch(&run, "{\"n\": 2, \"ts\": \"2026-01-01T00:00:00Z\"}", -1);
    REQUIRE(script_append(s, "t", 0, run.ptr, run.len, 2) == ERR_OK);
    until(s, "SELECT s FROM v", "2\n");
    until(s, "SELECT \"offset\" FROM sys.dead_letters", "0\n");
    buf_deinit(&run);
}

static void the_far_future_is_refused_without_a_timestamp(void **state)
{
    (void)state;
    run_script(no_timestamp, 1);
}

/* ---- groups over windows ---- */

static void groups_over_windows(struct script *s, void *arg)
{
    (void)arg;
    static const char *const rows[] = {
        "{\"k\": \"a\", \"ts\": \"2026-01-01T00:00:01Z\"}",
        "{\"k\": \"a\", \"ts\": \"2026-01-01T00:00:11Z\"}",
        "{\"k\": \"a\", \"ts\": \"2026-01-01T00:00:21Z\"}",
        "{\"k\": \"a\", \"ts\": \"2026-01-01T00:00:31Z\"}",
    };
    sql(s, "CREATE TABLE t (k text, ts timestamptz NOT NULL) WITH (event_time = 'ts')");
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n, max(window_start) AS w FROM "
           "tumble(t, ts, INTERVAL '10 s') GROUP BY k");
    for (uint32_t i = 0; i < ARRAY_LEN(rows); i++) {
        REQUIRE(script_produce(s, "t", 0, &rows[i], 1) == ERR_OK);
        REQUIRE(script_sleep(s, 50) == ERR_OK);
    }
    until(s, "SELECT k, n, extract(second FROM w)::int8 FROM v", "a|4|30\n");
}

static void a_group_of_many_windows_outlives_each(void **state)
{
    (void)state;
    run_script(groups_over_windows, 1);
}

/* ---- a view that failed on one shard ---- */

enum { WIDE_KEYS = 3000, STATE_BYTES_MAX = 1 << 20 };

/* A scan that is under way when its view fails. */
static void scan_open(struct script *s, struct view_scan *scan)
{
    struct shard *shard = &script_engine(s)->shards[0];
    const struct relation *v = catalog_relation(shard->catalog, STR("v"));
    until(s, "SELECT count(*) FROM v", "1\n");
    REQUIRE(view_scan_begin(scan, shard, epochs_view(shard->epochs, v->number),
                            atomic_load(&script_engine(s)->epoch), 0, TEXT_MAX) == ERR_OK);
}

static void scan_ended(struct view_scan *scan)
{
    struct arena a;
    const struct batch *rows;
    uint32_t n;
    bool more;
    arena_init(&a, TEXT_MAX);
    REQUIRE(view_scan_next(scan, &a, &rows, &n, &more) == ERR_UNDEFINED_TABLE);
    view_scan_end(scan);
    arena_deinit(&a);
}

static void fail_one_half(struct script *s, void *arg)
{
    (void)arg;
    static struct view_scan scan;
    uint64_t most = 0;
    sql(s, "CREATE TABLE t (k text, pad text) WITH (partitions = 2)");
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT k, max(pad) AS m FROM t GROUP BY k");
    for (uint32_t i = 0; i < WIDE_KEYS; i++) {
        char row[512];
        const char *value = row;
        snprintf(row, sizeof(row), "{\"k\": \"%0200u\", \"pad\": \"%0100u\"}", i, i);
        REQUIRE(script_produce(s, "t", i % 2, &value, 1) == ERR_OK);
        if (i == 0)
            scan_open(s, &scan);
        most = mem_used() > most ? mem_used() : most;
    }
    until(s, "SELECT status FROM sys.views WHERE name = 'v'", "failed\n");
    scan_ended(&scan);
    REQUIRE(script_sql(s, "SELECT count(*) FROM v", NULL) != ERR_OK);
    REQUIRE(strstr(script_error(s), "memory bound") != NULL);
    until(s, "SELECT groups, state_bytes FROM sys.views WHERE name = 'v'", "0|0\n");
    for (int i = 0; i < 100 && mem_used() > most - STATE_BYTES_MAX / 2; i++)
        REQUIRE(script_sleep(s, 10) == ERR_OK);
    if (mem_used() > most - STATE_BYTES_MAX / 2)
        FAIL("%llu of %llu bytes are in use", (unsigned long long)mem_used(),
             (unsigned long long)most);
    sql(s, "DROP MATERIALIZED VIEW v");
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t");
    until(s, "SELECT n FROM v", "3000\n");
}

static void a_failed_view_gives_an_error_and_its_memory_back(void **state)
{
    (void)state;
    run_script_within(fail_one_half, 2, STATE_BYTES_MAX);
}

/* ---- keys that are made to meet in one place ---- */

enum { MEETING_KEYS = 700, MEETING_PLACES = 1024, APART_RUN_MAX = 100 };

/* Numbers whose hashes with seed 0, which everybody knows, begin at the same slot of 1,024; how
 * long a search is in a table of them. */
static uint64_t meeting_keys(int64_t keys[MEETING_KEYS])
{
    static const enum type types[1] = {TYPE_INT8};
    struct arena a;
    struct group_table *g;
    uint32_t n = 0;
    arena_init(&a, TEXT_MAX);
    REQUIRE(group_table_new(16, TEXT_MAX, &g) == ERR_OK);
    for (int64_t from = 0; n < MEETING_KEYS; from += BATCH_ROWS_MAX) {
        static struct str encoded[BATCH_ROWS_MAX];
        static uint64_t hashes[BATCH_ROWS_MAX];
        arena_reset(&a, TEXT_MAX);
        struct batch *b = batch_new(types, 1, BATCH_ROWS_MAX, &a);
        REQUIRE(b != NULL);
        for (uint32_t i = 0; i < BATCH_ROWS_MAX; i++) {
            struct value v = {.type = TYPE_INT8, .as.i8 = from + i};
            column_set(&b->columns[0], i, &v);
        }
        REQUIRE(key_encode(b->columns, 1, BATCH_ROWS_MAX, &a, 0, encoded, hashes));
        for (uint32_t i = 0; i < BATCH_ROWS_MAX && n < MEETING_KEYS; i++) {
            struct group *row;
            bool created;
            if (hashes[i] % MEETING_PLACES != 0)
                continue;
            keys[n++] = from + i;
            REQUIRE(group_table_upsert(g, hashes[i], encoded[i], &row, &created) == ERR_OK);
        }
    }
    uint64_t run = group_table_run_max(g);
    group_table_free(g);
    arena_deinit(&a);
    return run;
}

/* The engine hands its secret to the tables of views: there the same keys lie apart. */
static void meet(struct script *s, void *arg)
{
    (void)arg;
    static int64_t keys[MEETING_KEYS];
    static char text[ROWS_AT_ONCE][32];
    const char *values[ROWS_AT_ONCE];
    REQUIRE(meeting_keys(keys) >= MEETING_KEYS);
    sql(s, "CREATE TABLE t (k int8)");
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT k, count(*) AS n FROM t GROUP BY k");
    for (uint32_t k = 0; k < MEETING_KEYS; k += ROWS_AT_ONCE) {
        for (uint32_t i = 0; i < ROWS_AT_ONCE; i++) {
            snprintf(text[i], sizeof(text[i]), "{\"k\": %lld}", (long long)keys[k + i]);
            values[i] = text[i];
        }
        REQUIRE(script_produce(s, "t", 0, values, ROWS_AT_ONCE) == ERR_OK);
    }
    until(s, "SELECT count(*), sum(n) FROM v", "700|700\n");
    struct shard *shard = &script_engine(s)->shards[0];
    const struct view_run *v =
        epochs_view(shard->epochs, catalog_relation(shard->catalog, STR("v"))->number);
    REQUIRE(group_table_count(v->partitions[0].groups) == MEETING_KEYS);
    uint64_t run = group_table_run_max(v->partitions[0].groups);
    if (run > APART_RUN_MAX)
        FAIL("keys chosen against seed 0 make a search look at %llu slots",
             (unsigned long long)run);
}

static void chosen_keys_lie_apart_in_a_view(void **state)
{
    (void)state;
    run_script(meet, 1);
}

/* ---- without flushes ---- */

enum { OS_SEEDS = 40, OS_ROWS = 20 };

static void write_until_the_end(struct script *s, void *arg)
{
    (void)arg;
    static const char *const made[] = {
        "CREATE TABLE IF NOT EXISTS t (n int8)",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS v AS SELECT count(*) AS n, sum(n) AS s FROM t",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS w AS SELECT n FROM t",
    };
    for (uint32_t i = 0; i < ARRAY_LEN(made); i++) {
        enum err e = script_sql(s, made[i], NULL);
        if (e == ERR_SHUTDOWN)
            return;
        if (e != ERR_OK)
            FAIL("%s: %s", made[i], script_error(s));
    }
    for (uint32_t i = 0; i < OS_ROWS; i++) {
        const char *row = "{\"n\": 1}";
        if (script_produce(s, "t", 0, &row, 1) != ERR_OK || script_sleep(s, 5) != ERR_OK)
            return;
    }
}

static void a_power_cut_without_flushes_leaves_a_server_that_starts(void **state)
{
    (void)state;
    LEAKS_BEGIN();
    for (uint64_t seed = 1; seed <= OS_SEEDS; seed++) {
        const struct sim_options sim = {.seed = seed,
                                        .wall_us = 1767225600000000,
                                        .sync_delay_us_max = 500,
                                        .run_ns_max = (int64_t)600 * 1000000000};
        const struct engine_options options = {
            .data_dir = "/data", .n_shards = 1 + (uint32_t)(seed % 2), .fsync = FSYNC_OS};
        const struct script_part part = {write_until_the_end, NULL, 0};
        struct host *h = host_sim_open(&sim);
        assert_non_null(h);
        for (uint64_t life = 0; life < 4; life++) {
            struct err_detail why = {0};
            if (life < 3)
                host_sim_fault_at(h, 60 + seed * 7, SIM_FAULT_STOP, false);
            enum err e = scripts_run(h, &options, &part, 1, &why);
            if (e != ERR_OK && !host_sim_halted(h))
                FAIL("seed %llu, life %llu: %s", (unsigned long long)seed,
                     (unsigned long long)life, err_text(e, &why));
            h = host_sim_power_cut(h, seed * 31 + life);
            assert_non_null(h);
        }
        host_close(h);
    }
    LEAKS_END();
}

/* What a transaction has decided is not decided again after a power cut, although nothing else is
 * flushed: a view takes each of its rows once. */
enum { TXN_SEEDS = 60, TXN_ROWS = 5, TXN_PAD = 700, TXN_PRODUCER = 7 };

static void txn_tables(struct script *s)
{
    sql(s, "CREATE TABLE IF NOT EXISTS t (n int8, pad text)");
    sql(s, "CREATE MATERIALIZED VIEW IF NOT EXISTS w AS SELECT n FROM t");
}

static void txn_committed(struct script *s, void *arg)
{
    (void)arg;
    char row[TXN_PAD + 64];
    struct buf batch;
    struct kafka_batch_writer w;
    const int64_t ms = (int64_t)RECORD_S * 1000;
    txn_tables(s);
    buf_init(&batch, TEXT_MAX);
    kafka_batch_begin(&w, &batch, ms);
    for (uint32_t i = 0; i < TXN_ROWS; i++) {
        snprintf(row, sizeof(row), "{\"n\": %u, \"pad\": \"%0*d\"}", i, TXN_PAD, 0);
        kafka_batch_add(&w, (struct str){0}, str_of(row), ms, NULL, 0);
    }
    REQUIRE(kafka_batch_finish(&w, COMPRESS_NONE, NULL, NULL, NULL) == ERR_OK);
    kafka_batch_set_producer(batch.ptr, TXN_PRODUCER, 0, 0, true);
    REQUIRE(script_append(s, "t", 0, batch.ptr, batch.len, TXN_ROWS) == ERR_OK);
    if (script_marker(s, "t", 0, TXN_PRODUCER, 0, true) != ERR_OK)
        FAIL("%s", script_error(s));
    until(s, "SELECT count(*) FROM w", "5\n");
    buf_deinit(&batch);
}

static void txn_once(struct script *s, void *arg)
{
    (void)arg;
    const char *row = "{\"n\": 9}";
    txn_tables(s);
    /* What the coordinator of transactions does where an end is missing. */
    REQUIRE(script_marker(s, "t", 0, TXN_PRODUCER, 0, true) == ERR_OK);
    REQUIRE(script_produce(s, "t", 0, &row, 1) == ERR_OK);
    until(s, "SELECT count(*) FROM w WHERE n = 9", "1\n");
    until(s, "SELECT count(*), count(DISTINCT n) FROM w", "6|6\n");
    until(s, "SELECT count(*) FROM t", "6\n");
}

static void a_power_cut_without_flushes_leaves_what_transactions_decided(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= TXN_SEEDS; seed++) {
        const struct sim_options sim = {.seed = seed,
                                        .wall_us = 1767225600000000,
                                        .sync_delay_us_max = 500,
                                        .run_ns_max = (int64_t)600 * 1000000000};
        const struct engine_options options = {
            .data_dir = "/data", .n_shards = 1 + (uint32_t)(seed % 2), .fsync = FSYNC_OS};
        const struct script_part first = {txn_committed, NULL, 0}, second = {txn_once, NULL, 0};
        struct host *h = host_sim_open(&sim);
        assert_non_null(h);
        assert_int_equal(scripts_run(h, &options, &first, 1, NULL), ERR_OK);
        h = host_sim_power_cut(h, seed);
        assert_non_null(h);
        assert_int_equal(scripts_run(h, &options, &second, 1, NULL), ERR_OK);
        host_close(h);
    }
}

/* ---- dead letters of two shards ---- */

enum { LETTER_SEEDS = 60, LETTER_KEYS = 12 };

/* Sends rows whose groups fail, each once, behind `first` if there is one. */
static void letters_send(struct script *s, const char *first)
{
    static char text[LETTER_KEYS][64];
    const char *values[LETTER_KEYS + 1] = {first};
    size_t n = first != NULL;
    sql(s, "CREATE TABLE t (k text, n int8)");
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT k, 1 / (sum(n) - sum(n)) AS x FROM t GROUP BY k");
    for (uint32_t i = 0; i < LETTER_KEYS; i++) {
        snprintf(text[i], sizeof(text[i]), "{\"k\": \"%u\", \"n\": 1}", i);
        values[n++] = text[i];
    }
    REQUIRE(script_produce(s, "t", 0, values, (uint32_t)n) == ERR_OK);
}

static void letters_expected(struct script *s, void *arg)
{
    until(s, "SELECT count(*) FROM sys.dead_letters", arg);
}

static void letters_written(struct script *s, void *arg)
{
    letters_send(s, "no JSON");
    letters_expected(s, arg);
}

static void letters_wait_for_room(struct script *s, void *arg)
{
    letters_send(s, NULL);
    /* Acknowledged; what the epoch writes next finds no room, for a while. */
    host_sim_disk_limit(script_host(s), 1);
    REQUIRE(script_sleep(s, 3000) == ERR_OK);
    host_sim_disk_limit(script_host(s), 0);
    letters_expected(s, arg);
}

enum { NO_ROOM_BYTES = 3 << 20, NO_ROOM_ROWS = 1000 };

/* An epoch that cannot end: who asks for a view hears why, and the view is right again when there
 * is room. */
static void ask_without_room(struct script *s, void *arg)
{
    (void)arg;
    static char pad[20000];
    char row[sizeof(pad) + 64];
    const char *value = row;
    enum err e = ERR_OK;
    int n = 0;
    sql(s, "CREATE TABLE t (n int8, pad text)");
    sql(s, "CREATE MATERIALIZED VIEW copies AS SELECT n, pad FROM t");
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t");
    memset(pad, 'x', sizeof(pad) - 1);
    /* What is there has room; what the views make of it has none. */
    host_sim_disk_limit(script_host(s), NO_ROOM_BYTES);
    for (; n < NO_ROOM_ROWS && e == ERR_OK; n += e == ERR_OK) {
        snprintf(row, sizeof(row), "{\"n\": %d, \"pad\": \"%s\"}", n, pad);
        e = script_produce(s, "t", 0, &value, 1);
    }
    REQUIRE(e == ERR_NO_SPACE && n > 0);
    for (int i = 0; i < 100 && atomic_load(&script_engine(s)->outputs_waiting) == 0; i++)
        REQUIRE(script_sleep(s, 20) == ERR_OK);
    REQUIRE(atomic_load(&script_engine(s)->outputs_waiting) > 0);
    struct err_detail why = {0};
    REQUIRE(engine_outputs_stuck(script_engine(s), &why) == ERR_NO_SPACE && why.hint[0] != '\0');
    REQUIRE(script_sql(s, "SELECT n FROM v", NULL) == ERR_NO_SPACE);
    REQUIRE(strstr(script_error(s), "room on the disk") != NULL);
    REQUIRE(script_sql(s, "CREATE TABLE other (n int8)", NULL) == ERR_NO_SPACE);
    REQUIRE(script_sql(s, "SELECT count(*) FROM copies", NULL) == ERR_NO_SPACE);
    REQUIRE(script_sql(s, "SELECT count(*) FROM t", NULL) == ERR_OK);
    host_sim_disk_limit(script_host(s), 0);
    char expected[32];
    snprintf(expected, sizeof(expected), "%d\n", n);
    until(s, "SELECT n FROM v", expected);
    until(s, "SELECT count(*) FROM copies", expected);
    REQUIRE(engine_outputs_stuck(script_engine(s), &why) == ERR_OK);
}

static void a_query_hears_that_there_is_no_room(void **state)
{
    (void)state;
    run_script(ask_without_room, 2);
}

/* A change of the catalog that begins just before there is no room: it is written, but the epoch
 * whose end it needs cannot end. Who asked for it hears so, and it comes when there is room. */
enum { DROPS = 300, DROP_SEEDS = 12 };

struct drops {
    bool ready, full, told; /* told: that a change is written and has to wait */
};

static void rows_until_full(struct script *s, void *arg)
{
    struct drops *d = arg;
    static char pad[20000];
    char row[sizeof(pad) + 64], create[64];
    const char *value = row;
    for (int i = 0; i < DROPS; i++) {
        snprintf(create, sizeof(create), "CREATE TABLE x%d (n int8)", i);
        sql(s, create);
    }
    sql(s, "CREATE TABLE t (n int8, pad text)");
    sql(s, "CREATE MATERIALIZED VIEW copies AS SELECT n, pad FROM t");
    memset(pad, 'x', sizeof(pad) - 1);
    snprintf(row, sizeof(row), "{\"n\": 1, \"pad\": \"%s\"}", pad);
    host_sim_disk_limit(script_host(s), NO_ROOM_BYTES);
    d->ready = true;
    for (int n = 0; n < NO_ROOM_ROWS && script_produce(s, "t", 0, &value, 1) == ERR_OK; n++)
        ;
    d->full = true;
}

static void drops_until_full(struct script *s, void *arg)
{
    struct drops *d = arg;
    char drop[64], count[64];
    enum err e = ERR_OK;
    int i = 0;
    while (!d->ready)
        REQUIRE(script_sleep(s, 1) == ERR_OK);
    while (i < DROPS && e == ERR_OK) {
        snprintf(drop, sizeof(drop), "DROP TABLE x%d", i);
        e = script_sql(s, drop, NULL);
        i += e == ERR_OK;
    }
    REQUIRE(e == ERR_OK || e == ERR_NO_SPACE);
    d->told = strstr(script_error(s), "the change is written") != NULL;
    while (!d->full)
        REQUIRE(script_sleep(s, 1) == ERR_OK);
    host_sim_disk_limit(script_host(s), 0);
    snprintf(count, sizeof(count), "%d\n", DROPS - i - (d->told ? 1 : 0));
    until(s, "SELECT count(*) FROM sys.tables WHERE name LIKE 'x%'", count);
    for (i = 0; i < 100 && script_sql(s, "CREATE TABLE y (n int8)", NULL) != ERR_OK; i++)
        REQUIRE(script_sleep(s, 20) == ERR_OK);
    until(s, "SELECT count(*) FROM sys.tables WHERE name = 'y'", "1\n");
}

static void a_change_does_not_wait_for_room_without_an_answer(void **state)
{
    (void)state;
    uint32_t told = 0;
    for (uint64_t seed = 1; seed <= DROP_SEEDS; seed++) {
        const struct sim_options sim = {.seed = seed,
                                        .wall_us = 1767225600000000,
                                        .sync_delay_us_max = 500,
                                        .run_ns_max = (int64_t)600 * 1000000000};
        const struct engine_options options = {.data_dir = "/data", .n_shards = 2};
        struct drops drops = {0};
        const struct script_part parts[] = {{rows_until_full, &drops, 0},
                                            {drops_until_full, &drops, 1}};
        struct host *h = host_sim_open(&sim);
        assert_non_null(h);
        assert_int_equal(scripts_run(h, &options, parts, 2, NULL), ERR_OK);
        host_close(h);
        told += drops.told;
    }
    assert_true(told > 0);
}

/* By seed: `write`, a crash, and the letters are still there. */
static void letters_outlive(void (*write)(struct script *s, void *arg), char *expected)
{
    for (uint64_t seed = 1; seed <= LETTER_SEEDS; seed++) {
        const struct sim_options sim = {.seed = seed,
                                        .wall_us = 1767225600000000,
                                        .sync_delay_us_max = 500,
                                        .run_ns_max = (int64_t)600 * 1000000000};
        const struct engine_options options = {.data_dir = "/data",
                                               .n_shards = 2 + (uint32_t)(seed % 3)};
        const struct script_part written = {write, expected, 0},
                                 kept = {letters_expected, expected, 0};
        struct host *h = host_sim_open(&sim);
        assert_non_null(h);
        assert_int_equal(scripts_run(h, &options, &written, 1, NULL), ERR_OK);
        h = host_sim_crash(h);
        assert_non_null(h);
        assert_int_equal(scripts_run(h, &options, &kept, 1, NULL), ERR_OK);
        host_close(h);
    }
}

/* Shard 0 writes those of rows with its outputs, and those of groups of other shards when they tell
 * of them: the record has to have the end of both, whatever comes first. */
static void dead_letters_of_all_shards_outlive_a_crash(void **state)
{
    (void)state;
    char expected[] = "13\n";
    letters_outlive(letters_written, expected);
}

/* An epoch is not over, nor committed, before the dead letters of its groups are written. */
static void dead_letters_of_groups_wait_for_room(void **state)
{
    (void)state;
    char expected[] = "12\n";
    letters_outlive(letters_wait_for_room, expected);
}

/* ---- a record that finds no room ---- */

enum { FULL_ROWS = 400, FULL_MS = 3000, TRIES_MAX = 2 * FULL_MS / OUTPUT_RETRY_MS, TRY_CALLS = 4 };

/* Rows are taken and results written, where segments have room; only the record of an epoch needs
 * a new one. It is tried again and again, but not in every turn. */
static void record_waits_for_room(struct script *s, void *arg)
{
    (void)arg;
    struct engine *e = script_engine(s);
    const char *row = "{\"n\": 1}";
    uint32_t n = 1;
    bool stuck = false;
    sql(s, "CREATE TABLE t (n int8)");
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT count(*) AS n FROM t");
    REQUIRE(script_produce(s, "t", 0, &row, 1) == ERR_OK);
    until(s, "SELECT n FROM v", "1\n");
    REQUIRE(script_sleep(s, 100) == ERR_OK);
    host_sim_disk_limit(script_host(s), 1);
    for (; n < FULL_ROWS && !stuck; n++) {
        REQUIRE(script_produce(s, "t", 0, &row, 1) == ERR_OK);
        REQUIRE(script_sleep(s, 20) == ERR_OK);
        stuck = atomic_load(&e->epoch) > atomic_load(&e->committed);
    }
    REQUIRE(stuck && atomic_load(&e->outputs_waiting) == 1);
    uint64_t calls = host_sim_file_calls(script_host(s));
    for (uint32_t ms = 0; ms < FULL_MS; ms++)
        REQUIRE(script_sleep(s, 1) == ERR_OK);
    calls = host_sim_file_calls(script_host(s)) - calls;
    if (calls > TRIES_MAX * TRY_CALLS)
        FAIL("%llu file calls in %d ms of a full disk", (unsigned long long)calls, FULL_MS);
    host_sim_disk_limit(script_host(s), 0);
    char expected[32];
    snprintf(expected, sizeof(expected), "%u\n", n);
    until(s, "SELECT n FROM v", expected);
    for (uint32_t i = 0; i < 100 && atomic_load(&e->epoch) > atomic_load(&e->committed); i++)
        REQUIRE(script_sleep(s, 20) == ERR_OK);
    REQUIRE(atomic_load(&e->epoch) == atomic_load(&e->committed));
    REQUIRE(atomic_load(&e->outputs_waiting) == 0);
}

static void a_record_without_room_is_tried_now_and_then(void **state)
{
    (void)state;
    const struct sim_options sim = {.seed = 5,
                                    .wall_us = 1767225600000000,
                                    .sync_delay_us_max = 500,
                                    .run_ns_max = (int64_t)600 * 1000000000};
    const struct engine_options options = {
        .data_dir = "/data", .n_shards = 1, .internal_segment_bytes = 2048};
    const struct script_part part = {record_waits_for_room, NULL, 0};
    struct host *h = host_sim_open(&sim);
    assert_non_null(h);
    assert_int_equal(scripts_run(h, &options, &part, 1, NULL), ERR_OK);
    host_close(h);
}

/* ---- more dead letters than an epoch keeps ---- */

enum { FAILING_KEYS = 20000 };

/* All groups fail in one epoch: the view is made over rows that are there. */
static void letters_beyond_the_bound(struct script *s, void *arg)
{
    (void)arg;
    static char text[ROWS_AT_ONCE][32];
    const char *values[ROWS_AT_ONCE];
    sql(s, "CREATE TABLE t (k text, n int8)");
    for (uint32_t k = 0; k < FAILING_KEYS; k += ROWS_AT_ONCE) {
        for (uint32_t i = 0; i < ROWS_AT_ONCE; i++) {
            snprintf(text[i], sizeof(text[i]), "{\"k\": \"%u\", \"n\": 1}", k + i);
            values[i] = text[i];
        }
        REQUIRE(script_produce(s, "t", 0, values, ROWS_AT_ONCE) == ERR_OK);
    }
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT k, 1 / (sum(n) - sum(n)) AS x FROM t GROUP BY k");
    char expected[32];
    snprintf(expected, sizeof(expected), "%u\n", LETTERS_MAX + 1);
    until(s, "SELECT count(*) FROM sys.dead_letters", expected);
    snprintf(expected, sizeof(expected), "%u\n", FAILING_KEYS - LETTERS_MAX);
    until(s, "SELECT count(*) FROM sys.dead_letters WHERE reason LIKE '% more rows and results %'",
          "1\n");
    until(s,
          "SELECT substring(reason FROM '([0-9]+) more')::int8 FROM sys.dead_letters WHERE reason "
          "LIKE '% more rows and results %'",
          expected);
    const struct relation *v = catalog_relation(script_engine(s)->shards[0].catalog, STR("v"));
    REQUIRE(stat_getu(&engine_relation_stats(script_engine(s), v->number)->dead_letters) ==
            FAILING_KEYS);
}

static void an_epoch_keeps_a_bounded_number_of_dead_letters(void **state)
{
    (void)state;
    run_script(letters_beyond_the_bound, 1);
}

/* Rows are not left out: those of a table, and those that a view refuses, wait for later epochs. */
static void letters_of_rows(struct script *s, void *arg)
{
    (void)arg;
    static char text[ROWS_AT_ONCE][32];
    const char *values[ROWS_AT_ONCE];
    sql(s, "CREATE TABLE t (k int8)");
    for (uint32_t k = 0; k < FAILING_KEYS; k += ROWS_AT_ONCE) {
        for (uint32_t i = 0; i < ROWS_AT_ONCE; i++) {
            snprintf(text[i], sizeof(text[i]), "{\"k\": %u}", k + i);
            values[i] = text[i];
        }
        REQUIRE(script_produce(s, "t", 0, values, ROWS_AT_ONCE) == ERR_OK);
    }
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT 1 / (k - k) AS x FROM t");
    char expected[32];
    snprintf(expected, sizeof(expected), "%u|%u\n", FAILING_KEYS, FAILING_KEYS);
    until(s, "SELECT count(*), count(DISTINCT \"offset\") FROM sys.dead_letters", expected);
}

static void no_row_that_is_refused_goes_untold(void **state)
{
    (void)state;
    run_script(letters_of_rows, 1);
}

/* ---- what retention may take ---- */

enum { KEPT_ROWS = 40, KEPT_LOOKS = 40 };

/* Each row of the table is one of the view: no row may go before its own is committed. */
static void look(struct script *s)
{
    const struct catalog *c = script_engine(s)->shards[0].catalog;
    const struct topic *t = catalog_topic(c, STR("t")), *v = catalog_topic(c, STR("v"));
    int64_t keep = stat_get(&engine_part_stats(script_engine(s), t->number, 0)->keep_from),
            end =
                stat_get(&engine_part_stats(script_engine(s), v->number, 0)->high_watermark);
    if (keep > end)
        FAIL("rows up to %lld may go, changes up to %lld are committed", (long long)keep,
             (long long)end);
}

static void keep_what_is_not_committed(struct script *s, void *arg)
{
    (void)arg;
    const char *row = "{\"n\": 1}";
    sql(s, "CREATE TABLE t (n int8)");
    sql(s, "CREATE MATERIALIZED VIEW v AS SELECT n FROM t");
    for (uint32_t i = 0; i < KEPT_ROWS; i++) {
        REQUIRE(script_produce(s, "t", 0, &row, 1) == ERR_OK);
        for (uint32_t j = 0; j < KEPT_LOOKS; j++) {
            REQUIRE(script_sleep(s, 1) == ERR_OK);
            look(s);
        }
    }
    REQUIRE(script_sleep(s, 10000) == ERR_OK);
    const struct topic *t = catalog_topic(script_engine(s)->shards[0].catalog, STR("t"));
    REQUIRE(stat_get(&engine_part_stats(script_engine(s), t->number, 0)->keep_from) ==
            KEPT_ROWS);
}

static void rows_may_go_when_what_they_made_is_committed(void **state)
{
    (void)state;
    const struct sim_options sim = {.seed = 5,
                                    .wall_us = 1767225600000000,
                                    .sync_delay_us_max = 2000000,
                                    .run_ns_max = (int64_t)3600 * 1000000000};
    const struct engine_options options = {.data_dir = "/data", .n_shards = 1};
    const struct script_part part = {keep_what_is_not_committed, NULL, 0};
    struct host *h = host_sim_open(&sim);
    assert_non_null(h);
    assert_int_equal(scripts_run(h, &options, &part, 1, NULL), ERR_OK);
    host_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_power_cut_without_flushes_leaves_a_server_that_starts),
        cmocka_unit_test(a_power_cut_without_flushes_leaves_what_transactions_decided),
        cmocka_unit_test(chosen_keys_lie_apart_in_a_view),
        cmocka_unit_test(a_record_without_room_is_tried_now_and_then),
        cmocka_unit_test(an_epoch_keeps_a_bounded_number_of_dead_letters),
        cmocka_unit_test(no_row_that_is_refused_goes_untold),
        cmocka_unit_test(rows_may_go_when_what_they_made_is_committed),
        cmocka_unit_test(dead_letters_of_all_shards_outlive_a_crash),
        cmocka_unit_test(dead_letters_of_groups_wait_for_room),
        cmocka_unit_test(a_query_hears_that_there_is_no_room),
        cmocka_unit_test(a_change_does_not_wait_for_room_without_an_answer),
        cmocka_unit_test(a_failed_view_gives_an_error_and_its_memory_back),
        cmocka_unit_test(a_followed_table_has_no_gap_behind_its_snapshot),
        cmocka_unit_test(more_compressed_batches_than_an_epoch_holds),
        cmocka_unit_test(a_damaged_batch_hides_no_other),
        cmocka_unit_test(the_far_future_is_refused_without_a_timestamp),
        cmocka_unit_test(a_group_of_many_windows_outlives_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
