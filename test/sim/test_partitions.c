/* labels: slow */
/* A topic gets partitions while producers and views are at work, in simulation: with a death, or an
 * error, at every file call of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "support/script.h"

enum { TEXT_MAX = 1 << 20, WAIT_MS = 20000, GROWN = 5, SIDE_ROWS = 12, LIVES_MAX = 2000,
       ERRORS = 60, REFUSED = 7 };

/* A process that dies frees nothing. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAKS_BEGIN() __lsan_disable()
#define LEAKS_END()   __lsan_enable()
#else
#define LEAKS_BEGIN() ((void)0)
#define LEAKS_END()   ((void)0)
#endif

static struct host *sim_new(uint64_t seed)
{
    const struct sim_options options = {.seed = seed,
                                        .wall_us = 1767225600000000,
                                        .sync_delay_us_max = 500,
                                        .run_ns_max = (int64_t)600 * 1000000000};
    struct host *h = host_sim_open(&options);
    assert_non_null(h);
    return h;
}

static void run_sql(struct script *s, const char *sql)
{
    enum err e = script_sql(s, sql, NULL);
    if (e != ERR_OK)
        FAIL("%s: %s", sql, script_error(s));
}

/* False when the server has died. */
static bool expect(struct script *s, const char *sql, const char *expected)
{
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    enum err e = script_until(s, sql, expected, WAIT_MS, &rows);
    if (e != ERR_OK && e != ERR_SHUTDOWN)
        FAIL("%s (%s) gives\n%.*sinstead of\n%s", sql, e == ERR_BUSY ? "ok" : script_error(s),
             (int)rows.len, rows.ptr, expected);
    buf_deinit(&rows);
    return e == ERR_OK;
}

/* ---- a table that grows from 2 partitions to 5 ----
 *
 * It never falls idle, so that its watermark comes from rows alone: up to 100 before it grows. Then
 * partition 3 gets rows, one of them late; 2 and 4 never do. Partitions 0 and 1 go on meanwhile. */

struct rows {
    uint32_t n;
    int seconds[4];
};
static const struct rows before[2] = {{3, {1, 12, 100}}, {3, {2, 13, 100}}};
static const struct rows added = {2, {5, 101}};
static const struct rows after[GROWN] = {{2, {115, 131}}, {2, {116, 131}}, {0}, {2, {117, 131}}};

#define WINDOWS(name)                                                                          \
    "CREATE MATERIALIZED VIEW " name " WITH (emit = 'final', late_to = '" name "_late') AS "   \
    "SELECT window_start, count(*) AS n, sum(v) AS s FROM tumble(t, ts, INTERVAL '10 s') "     \
    "GROUP BY window_start"
#define TOTALS(name) \
    "CREATE MATERIALIZED VIEW " name " AS SELECT k, count(*) AS n, sum(v) AS s FROM t GROUP BY k"
#define EVEN(name) \
    "CREATE MATERIALIZED VIEW " name " AS SELECT k, v FROM t WHERE v % 2 = 0"
#define COUNTS(name) \
    "SELECT extract(epoch FROM window_start)::int8 % 1000, n, s FROM " name " ORDER BY 1"

static void row_text(char out[128], uint32_t partition, int second)
{
    snprintf(out, 128, "{\"k\":\"k%u\",\"v\":%d,\"ts\":\"2026-01-01T00:%02d:%02dZ\"}", partition,
             second, second / 60, second % 60);
}

/* Sends what the partition does not have yet of rows `first`, first + 1, ... of its log. */
static bool send(struct script *s, uint32_t partition, int64_t first, const int *seconds,
                 uint32_t n)
{
    struct buf unused;
    int64_t end;
    buf_init(&unused, TEXT_MAX);
    enum err e = script_read(s, "t", partition, 0, &unused, &end);
    buf_deinit(&unused);
    for (uint32_t i = 0; i < n && e == ERR_OK; i++) {
        char text[128];
        const char *value = text;
        row_text(text, partition, seconds[i]);
        if (first + i >= end)
            e = script_produce(s, "t", partition, &value, 1);
    }
    if (e != ERR_OK && e != ERR_SHUTDOWN)
        FAIL("producing to t/%u: %s", partition, script_error(s));
    return e == ERR_OK;
}

static bool create(struct script *s, const char *sql)
{
    enum err e = script_sql(s, sql, NULL);
    if (e != ERR_OK && e != ERR_DUPLICATE_TABLE && e != ERR_SHUTDOWN)
        FAIL("%s: %s", sql, script_error(s));
    return e != ERR_SHUTDOWN;
}

static void make(struct script *s, void *arg)
{
    (void)arg;
    run_sql(s, "CREATE TABLE t (k text, v int8, ts timestamptz NOT NULL) WITH (event_time = 'ts', "
               "lateness = '0 s', idle_timeout = '0 s', partitions = 2)");
    run_sql(s, WINDOWS("windows"));
    run_sql(s, TOTALS("totals"));
    run_sql(s, EVEN("even"));
    for (uint32_t p = 0; p < 2; p++)
        REQUIRE(send(s, p, 0, before[p].seconds, before[p].n));
    REQUIRE(expect(s, COUNTS("windows"), "600|2|3\n610|2|25\n"));
}

static int side_seconds[SIDE_ROWS]; /* what partitions 0 and 1 get while the table grows */

static uint32_t partitions_now(struct script *s)
{
    struct buf rows;
    int64_t n = 0;
    buf_init(&rows, TEXT_MAX);
    enum err e = script_sql(s, "SELECT partitions FROM sys.topics WHERE name = 't'", &rows);
    REQUIRE(e == ERR_SHUTDOWN || e == ERR_OK);
    if (e == ERR_OK)
        REQUIRE(str_to_i64((struct str){rows.ptr, rows.len - 1}, &n) == ERR_OK);
    buf_deinit(&rows);
    return (uint32_t)n;
}

struct life {
    bool through;
    bool alone;     /* nobody else writes partitions 0 and 1 */
    uint64_t error; /* this file call of the change fails; 0 = none */
    bool failed;
};

static bool grow_table(struct script *s, struct life *l)
{
    uint32_t n = partitions_now(s);
    if (n == 0)
        return false;
    REQUIRE(n == 2 || n == GROWN); /* never in between */
    if (n == GROWN)
        return true;
    /* Behind the replay, in which a table that cannot be read fails its views. */
    if (l->error != 0 && !expect(s, COUNTS("windows"), "600|2|3\n610|2|25\n"))
        return false;
    if (l->error != 0)
        host_sim_fault_at(script_host(s), l->error, SIM_FAULT_ERROR, false);
    enum err e = script_grow(s, "t", GROWN);
    if (l->error != 0)
        host_sim_fault_at(script_host(s), 0, SIM_FAULT_NONE, false);
    if (l->error != 0 && e != ERR_OK) {
        l->failed = true;
        REQUIRE(e == ERR_IO && partitions_now(s) == 2);
        e = script_grow(s, "t", GROWN);
    }
    if (e != ERR_OK && e != ERR_SHUTDOWN)
        FAIL("growing: %s", script_error(s));
    return e == ERR_OK && partitions_now(s) == GROWN;
}

/* What the rows alone say. */
static bool expect_all(struct script *s)
{
    char windows[256], totals[256];
    int side = 0;
    for (int i = 0; i < SIDE_ROWS; i++)
        side += side_seconds[i];
    snprintf(windows, sizeof(windows), "600|2|3\n610|2|25\n700|%d|%d\n710|3|348\n",
             2 + 2 * SIDE_ROWS + 1, 200 + 2 * side + 101);
    snprintf(totals, sizeof(totals), "k0|%d|%d\nk1|%d|%d\nk3|4|354\n", 5 + SIDE_ROWS,
             1 + 12 + 100 + 115 + 131 + side, 5 + SIDE_ROWS, 2 + 13 + 100 + 116 + 131 + side);
    return expect(s, COUNTS("windows"), windows) &&
           expect(s, "SELECT v FROM windows_late", "5\n") &&
           expect(s, "SELECT k, n, s FROM totals ORDER BY k", totals) &&
           expect(s, "SELECT count(*) FROM even", "17\n") &&
           expect(s, "SELECT count(*) FROM t", "38\n");
}

static bool side_done(struct script *s, uint32_t partition)
{
    int64_t end = 0;
    enum err e = ERR_OK;
    while (e == ERR_OK && end < before[partition].n + SIDE_ROWS) {
        struct buf unused;
        buf_init(&unused, TEXT_MAX);
        e = script_read(s, "t", partition, 0, &unused, &end);
        buf_deinit(&unused);
        if (e == ERR_OK)
            e = script_sleep(s, 2);
    }
    return e == ERR_OK;
}

/* Picks up wherever the last life ended. */
static void grow_and_go_on(struct script *s, void *arg)
{
    struct life *l = arg;
    if (!grow_table(s, l) || !send(s, 3, 0, added.seconds, added.n) ||
        !expect(s, "SELECT v FROM windows_late", "5\n"))
        return;
    for (uint32_t p = 0; p < 2; p++)
        if (l->alone ? !send(s, p, before[p].n, side_seconds, SIDE_ROWS) : !side_done(s, p))
            return;
    for (uint32_t p = 0; p < GROWN; p++)
        if (!send(s, p, p == 3 ? added.n : p < 2 ? before[p].n + SIDE_ROWS : 0, after[p].seconds,
                  after[p].n))
            return;
    l->through = expect_all(s);
}

/* The same rows, read again from the start by views that are new. */
static void recompute(struct script *s, void *arg)
{
    (void)arg;
    if (!expect_all(s) || !create(s, WINDOWS("again")) || !create(s, TOTALS("totals2")) ||
        !create(s, EVEN("even2")))
        return;
    char sql[512];
    REQUIRE(expect(s, "SELECT v FROM again_late", "5\n"));
    snprintf(sql, sizeof(sql), "%s", COUNTS("again"));
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    REQUIRE(script_sql(s, COUNTS("windows"), &rows) == ERR_OK);
    buf_put_u8(&rows, 0);
    REQUIRE(expect(s, sql, rows.ptr));
    buf_clear(&rows);
    REQUIRE(script_sql(s, "SELECT k, n, s FROM totals ORDER BY k", &rows) == ERR_OK);
    buf_put_u8(&rows, 0);
    REQUIRE(expect(s, "SELECT k, n, s FROM totals2 ORDER BY k", rows.ptr));
    buf_clear(&rows);
    REQUIRE(script_sql(s, "SELECT k, v FROM even ORDER BY k, v", &rows) == ERR_OK);
    buf_put_u8(&rows, 0);
    REQUIRE(expect(s, "SELECT k, v FROM even2 ORDER BY k, v", rows.ptr));
    buf_deinit(&rows);
}

/* Partitions 0 and 1 are written from another shard at the same time. */
static void side(struct script *s, void *arg)
{
    (void)arg;
    for (uint32_t i = 1; i <= SIDE_ROWS; i++)
        for (uint32_t p = 0; p < 2; p++)
            if (!send(s, p, before[p].n, side_seconds, i))
                return;
}

static bool run(struct host *h, uint32_t n_shards, void (*what)(struct script *s, void *arg),
                void *arg)
{
    const struct engine_options options = {.data_dir = "/data", .n_shards = n_shards};
    const struct script_part parts[] = {{what, arg, 1}, {side, NULL, 2}};
    struct err_detail why = {0};
    bool two = what == grow_and_go_on && !((struct life *)arg)->alone;
    enum err e = scripts_run(h, &options, parts, two ? 2 : 1, &why);
    if (e != ERR_OK && !host_sim_halted(h))
        FAIL("%s", err_text(e, &why));
    return !host_sim_halted(h);
}

static void sides_make(void)
{
    for (int i = 0; i < SIDE_ROWS; i++)
        side_seconds[i] = 100 + i % 10;
}

/* True when the file call was never made. */
static bool one_death(uint64_t call)
{
    struct life l = {0};
    struct host *h = sim_new(call);
    uint32_t n_shards = 1 + (uint32_t)(call % 3);
    if (!run(h, n_shards, make, NULL))
        FAIL("the first life has ended");
    h = host_sim_crash(h);
    host_sim_fault_at(h, call, SIM_FAULT_STOP, false);
    bool lived = run(h, 1 + (uint32_t)(call % 4), grow_and_go_on, &l);
    h = lived || call % 2 ? host_sim_crash(h) : host_sim_power_cut(h, call * 31);
    if (!l.through && !run(h, n_shards, grow_and_go_on, &l))
        FAIL("the third life has ended");
    if (!l.through)
        FAIL("call %llu: not all was done", (unsigned long long)call);
    h = host_sim_crash(h);
    if (!run(h, 2, recompute, NULL))
        FAIL("the last life has ended");
    host_close(h);
    return lived;
}

static void a_table_grows_whatever_file_call_is_the_last(void **state)
{
    (void)state;
    const char *one = getenv("CALL");
    sides_make();
    LEAKS_BEGIN();
    uint64_t call = one == NULL ? 1 : strtoull(one, NULL, 10);
    while (!one_death(call) && one == NULL)
        assert_true(++call < LIVES_MAX);
    assert_true(one != NULL || call > 100);
    LEAKS_END();
}

/* ---- errors ---- */

/* One file call of the change fails with an I/O error. A flush that fails ends the process, and
 * says why. */
static int run_error(void *arg)
{
    struct life l = {.alone = true, .error = *(const uint64_t *)arg};
    struct host *h = sim_new(l.error);
    sides_make();
    if (!run(h, 2, make, NULL))
        FAIL("the first life has ended");
    h = host_sim_crash(h);
    if (!run(h, 3, grow_and_go_on, &l) || !l.through)
        FAIL("not all was done");
    h = host_sim_crash(h);
    if (!run(h, 2, recompute, NULL))
        FAIL("the last life has ended");
    host_close(h);
    return l.failed ? REFUSED : 0;
}

static void a_change_that_fails_can_be_made_again(void **state)
{
    (void)state;
    uint32_t refused = 0, aborted = 0;
    for (uint64_t call = 1; call <= ERRORS; call++) {
        char text[4096];
        int status = script_child(run_error, &call, text, sizeof(text));
        refused += status == REFUSED;
        aborted += status < 0;
        if (status != 0 && status != REFUSED && !script_flush_failed(text))
            fail_msg("call %llu ended with status %d: %s", (unsigned long long)call, status, text);
    }
    assert_true(refused >= 5 && refused + aborted < ERRORS);
}

/* ---- followers ---- */

static void pull(struct script *s, uint32_t slot, const char *expected)
{
    struct buf rows;
    bool more;
    buf_init(&rows, TEXT_MAX);
    enum err e = script_query_pull(s, slot, WAIT_MS, &rows, &more);
    buf_put_u8(&rows, 0);
    if (e != ERR_OK || strcmp(rows.ptr, expected) != 0)
        FAIL("pulled %s (%s) instead of %s", rows.ptr, err_info(e)->text, expected);
    buf_deinit(&rows);
}

static void follow(struct script *s, void *arg)
{
    (void)arg;
    REQUIRE(script_query_open(s, 0, "SELECT v FROM t WHERE k = 'k3'", true) == ERR_OK);
    REQUIRE(script_query_open(s, 1, "SELECT v FROM windows_late", true) == ERR_OK);
    pull(s, 0, ""); /* the ends of the snapshots */
    pull(s, 1, "");
    REQUIRE(script_grow(s, "t", 4) == ERR_OK);
    REQUIRE(script_grow(s, "t", GROWN) == ERR_OK);
    REQUIRE(send(s, 3, 0, added.seconds, 1));
    pull(s, 0, "+5\n");
    pull(s, 1, "+5\n");
    REQUIRE(send(s, 3, 0, added.seconds, 2));
    pull(s, 0, "+101\n");
    REQUIRE(send(s, 4, 0, added.seconds, 1));
    pull(s, 1, "+5\n");
    for (uint32_t i = 0; i < 2; i++)
        script_query_close(s, i);
}

static void followers_read_partitions_that_are_added(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct host *h = sim_new(seed);
        assert_true(run(h, 2, make, NULL));
        h = host_sim_crash(h);
        assert_true(run(h, 1 + (uint32_t)(seed % 3), follow, NULL));
        host_close(h);
    }
}

/* ---- dropping ---- */

static bool count_entry(void *arg, const char *name)
{
    (void)name;
    ++*(uint32_t *)arg;
    return true;
}

static void drop(struct script *s, void *arg)
{
    (void)arg;
    enum { SYSTEM_FOLDERS = 3 };
    uint32_t n = 0;
    REQUIRE(script_grow(s, "t", GROWN) == ERR_OK);
    REQUIRE(send(s, 3, 0, added.seconds, added.n));
    run_sql(s, "DROP TABLE t CASCADE");
    for (int i = 0; i < 1000 && n != SYSTEM_FOLDERS; i++) {
        n = 0;
        REQUIRE(script_sleep(s, 10) == ERR_OK);
        REQUIRE(host_dir_list(script_host(s), "/data/topics", count_entry, &n) == ERR_OK);
    }
    REQUIRE(n == SYSTEM_FOLDERS);
}

static void a_topic_that_has_grown_leaves_nothing(void **state)
{
    (void)state;
    struct host *h = sim_new(3);
    assert_true(run(h, 2, make, NULL));
    h = host_sim_crash(h);
    assert_true(run(h, 2, drop, NULL));
    host_close(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(followers_read_partitions_that_are_added),
        cmocka_unit_test(a_topic_that_has_grown_leaves_nothing),
        cmocka_unit_test(a_table_grows_whatever_file_call_is_the_last),
        cmocka_unit_test(a_change_that_fails_can_be_made_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
