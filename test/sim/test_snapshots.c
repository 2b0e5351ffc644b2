/* labels: slow */
/* Views that come back from snapshots equal views that are computed again, whatever the crashes and
 * the damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "support/script.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAKS_BEGIN() __lsan_disable()
#define LEAKS_END()   __lsan_enable()
#else
#define LEAKS_BEGIN() ((void)0)
#define LEAKS_END()   ((void)0)
#endif

enum {
    PARTITIONS = 2,
    BATCHES = 30, /* of a life */
    KEYS = 40,
    TEXT_MAX = 4 << 20,
    WAIT_MS = 20000,
    FILES_MAX = 16,
};

static const struct {
    const char *name, *create, *query;
} views[] = {
    {"aggregates",
     "CREATE MATERIALIZED VIEW aggregates AS SELECT k, count(*) AS n, sum(v) AS s, avg(f) AS a, "
     "min(x) AS lo, max(x) AS hi, string_agg(x, ',' ORDER BY v, x) AS l, "
     "percentile_disc(0.5) WITHIN GROUP (ORDER BY v) AS p, approx_count_distinct(x) AS d, "
     "approx_percentile(f, 0.9) AS q, variance(v) AS var, sum(f::numeric) AS num, "
     "bool_and(v > 0) AS b FROM t GROUP BY k",
     "SELECT * FROM aggregates ORDER BY k"},
    {"rolling",
     "CREATE MATERIALIZED VIEW rolling WITH (retention = '30 s') AS SELECT window_start, k, "
     "count(*) AS n, max(x) AS hi FROM tumble(t, ts, INTERVAL '5 s') GROUP BY window_start, k",
     "SELECT * FROM rolling ORDER BY window_start, k"},
    {"final",
     "CREATE MATERIALIZED VIEW final WITH (emit = 'final', late_to = 'final_late') AS SELECT "
     "window_start, k, sum(v) AS s FROM hop(t, ts, slide => INTERVAL '3 s', size => INTERVAL "
     "'9 s') GROUP BY window_start, k",
     "SELECT * FROM final ORDER BY window_start, k"},
    {"late", NULL, "SELECT k, v, x FROM final_late ORDER BY k, v, x"},
    {"overall", "CREATE MATERIALIZED VIEW overall AS SELECT count(*) AS n, min(x) AS lo FROM t",
     "SELECT * FROM overall"},
    {"flat", "CREATE MATERIALIZED VIEW flat AS SELECT k, v FROM t WHERE v > 50",
     "SELECT * FROM flat ORDER BY k, v"},
    {"filtered", "CREATE MATERIALIZED VIEW filtered AS SELECT x, count(*) AS n FROM t WHERE v > 10 "
                 "GROUP BY x HAVING count(*) > 1",
     "SELECT * FROM filtered ORDER BY x"},
};

static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

struct world {
    int64_t second;
    uint32_t batches;
    bool through;
    int64_t restored; /* views that the life took from a snapshot */
    struct buf dump;
};

static bool sql(struct script *s, const char *text)
{
    enum err e = script_sql(s, text, NULL);
    if (e != ERR_OK && e != ERR_SHUTDOWN && e != ERR_DUPLICATE_TABLE)
        FAIL("%s: %s", text, script_error(s));
    return e != ERR_SHUTDOWN;
}

static bool produce(struct script *s, struct world *w)
{
    char rows[20][160];
    const char *values[20];
    uint32_t n = 1 + rng(20);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t v = rng(100);
        w->second += rng(3) == 0;
        snprintf(rows[i], sizeof(rows[i]),
                 "{\"k\":%u,\"v\":%u,\"f\":%u.%u,\"x\":\"text number %u\",\"ts\":%lld}", rng(KEYS),
                 v, v, rng(10), rng(60), (long long)(1767225600 + w->second - rng(12)) * 1000);
        values[i] = rows[i];
    }
    enum err e = script_produce(s, "t", rng(PARTITIONS), values, n);
    REQUIRE(e == ERR_OK || e == ERR_SHUTDOWN);
    return e == ERR_OK;
}

static bool make(struct script *s)
{
    bool alive = sql(s, "CREATE TABLE IF NOT EXISTS t (k int8, v int8, f float8, x text, ts "
                        "timestamptz NOT NULL) WITH (event_time = 'ts', lateness = '4 s', "
                        "partitions = 2)");
    for (size_t i = 0; i < ARRAY_LEN(views) && alive; i++)
        alive = views[i].create == NULL || sql(s, views[i].create);
    return alive;
}

static int64_t metric(struct script *s, const char *name)
{
    char text[256];
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    snprintf(text, sizeof(text), "SELECT value::int8 FROM sys.metrics WHERE name = '%s'", name);
    int64_t n = -1;
    if (script_sql(s, text, &rows) == ERR_OK) {
        buf_put_u8(&rows, 0);
        n = strtoll(rows.ptr, NULL, 10);
    }
    buf_deinit(&rows);
    return n;
}

static void live(struct script *s, void *arg)
{
    struct world *w = arg;
    if (!make(s))
        return;
    for (uint32_t i = 0; i < w->batches; i++)
        if (!produce(s, w) || (rng(3) == 0 && script_sleep(s, rng(30)) != ERR_OK))
            return;
    w->through = true;
}

/* All rows of all views, as they are when everything is taken in. */
static void look(struct script *s, void *arg)
{
    struct world *w = arg;
    buf_clear(&w->dump);
    for (size_t i = 0; i < ARRAY_LEN(views); i++) {
        buf_printf(&w->dump, "%s:\n", views[i].name);
        if (script_sql(s, views[i].query, &w->dump) != ERR_OK)
            FAIL("%s: %s", views[i].query, script_error(s));
    }
    w->restored = metric(s, "tidemill_views_restored");
}

static struct host *run(struct host *h, struct world *w, void (*what)(struct script *s, void *arg),
                        uint64_t snapshot_bytes)
{
    const struct engine_options options = {
        .data_dir = "/data", .n_shards = 1 + rng(3), .snapshot_bytes = snapshot_bytes};
    const struct script_part part = {what, w, rng(2)};
    struct err_detail why = {0};
    enum err e = scripts_run(h, &options, &part, 1, &why);
    if (e != ERR_OK && !host_sim_halted(h))
        FAIL("%s", err_text(e, &why));
    h = host_sim_crash(h);
    REQUIRE(h != NULL);
    return h;
}

struct files {
    uint32_t n;
    char path[FILES_MAX][64];
};

static bool note_file(void *arg, const char *name)
{
    struct files *f = arg;
    size_t len = strlen(name);
    if (len > 5 && strcmp(name + len - 5, ".snap") == 0 && f->n < FILES_MAX)
        snprintf(f->path[f->n++], sizeof(f->path[0]), "/data/snapshots/%s", name);
    return true;
}

/* The snapshots, oldest first. */
static void find_files(struct host *h, struct files *f)
{
    *f = (struct files){0};
    bool exists;
    REQUIRE(host_path_exists(h, "/data/snapshots", &exists) == ERR_OK);
    if (exists)
        REQUIRE(host_dir_list(h, "/data/snapshots", note_file, f) == ERR_OK);
}

static void remove_files(struct host *h)
{
    struct files f;
    find_files(h, &f);
    for (uint32_t i = 0; i < f.n; i++)
        REQUIRE(host_remove(h, f.path[i]) == ERR_OK);
}

static struct host *sim(uint64_t seed)
{
    struct host *h = host_sim_open(&(struct sim_options){.seed = seed,
                                                         .wall_us = 1767225600000000,
                                                         .sync_delay_us_max = 500,
                                                         .run_ns_max = (int64_t)600 * 1000000000});
    REQUIRE(h != NULL);
    return h;
}

static uint64_t seeds(uint64_t otherwise)
{
    const char *text = getenv("SEEDS");
    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

/* What the snapshots give, and what is computed without them. */
static struct host *compare(struct host *h, struct world *w, uint64_t seed)
{
    h = run(h, w, look, SNAPSHOTS_OFF);
    struct buf first = w->dump;
    buf_init(&w->dump, TEXT_MAX);
    int64_t restored = w->restored;
    remove_files(h);
    h = run(h, w, look, SNAPSHOTS_OFF);
    REQUIRE(w->restored == 0);
    if (!str_eq(buf_str(&first), buf_str(&w->dump)))
        FAIL("seed %llu: with a snapshot the views are\n%.*s\nand without\n%.*s",
             (unsigned long long)seed, (int)first.len, first.ptr, (int)w->dump.len, w->dump.ptr);
    w->restored = restored;
    buf_deinit(&first);
    return h;
}

/* Returns how many views came from a snapshot. */
static int64_t run_seed(uint64_t seed)
{
    struct world w = {.batches = BATCHES};
    rng_state = seed * 7919 + 1;
    buf_init(&w.dump, TEXT_MAX);
    struct host *h = sim(seed);
    uint32_t lives = 1 + rng(4);
    for (uint32_t life = 1; life <= lives; life++) {
        static const uint64_t bytes[] = {1, 500, 5000};
        if (life < lives)
            host_sim_fault_at(h, 60 + rng(900), SIM_FAULT_STOP, false);
        h = run(h, &w, live, bytes[rng(ARRAY_LEN(bytes))]);
        if (rng(3) == 0)
            h = host_sim_power_cut(h, seed * 31 + life);
        REQUIRE(h != NULL);
    }
    REQUIRE(w.through);
    h = compare(h, &w, seed);
    host_close(h);
    buf_deinit(&w.dump);
    return w.restored;
}

static void a_snapshot_and_the_input_since_give_what_all_input_gives(void **state)
{
    (void)state;
    const char *one = getenv("SEED");
    uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1;
    uint64_t last = one != NULL ? first : seeds(60);
    int64_t restored = 0;
    LEAKS_BEGIN();
    for (uint64_t seed = first; seed <= last; seed++)
        restored += run_seed(seed);
    LEAKS_END();
    assert_true(one != NULL || restored > (int64_t)last * 2);
}

/* The process ends at each file call of a life in turn, most of which are of snapshots. */
static void a_crash_at_any_call_while_snapshots_are_written(void **state)
{
    (void)state;
    LEAKS_BEGIN();
    uint64_t step = getenv("SEEDS") != NULL ? 1 : 13;
    for (uint64_t at = 100; at < 1000; at += step) {
        struct world w = {.batches = 6};
        rng_state = 5;
        buf_init(&w.dump, TEXT_MAX);
        struct host *h = sim(3);
        h = run(h, &w, live, 300);
        host_sim_fault_at(h, at, SIM_FAULT_STOP, false);
        h = run(h, &w, live, 1);
        w.second += 20;
        h = run(h, &w, live, 1);
        h = compare(h, &w, at);
        host_close(h);
        buf_deinit(&w.dump);
    }
    LEAKS_END();
}

static void flip(struct host *h, const char *path, uint64_t at)
{
    REQUIRE(host_sim_flip(h, path, at, (uint8_t)(1 << rng(8))) == ERR_OK);
}

static uint64_t size_of(struct host *h, const char *path)
{
    struct host_file *f;
    struct err_detail why = {0};
    uint64_t size;
    REQUIRE(host_file_open(h, path, HOST_OPEN_READ, &f, &why) == ERR_OK);
    REQUIRE(host_file_size(f, &size) == ERR_OK);
    host_file_close(f);
    return size;
}

/* A start with damage in the newest snapshot, or in both, gives the same views. */
static void damage_anywhere_leads_to_the_one_before(void **state)
{
    (void)state;
    LEAKS_BEGIN();
    for (uint64_t seed = 1; seed <= seeds(40); seed++) {
        struct world w = {.batches = BATCHES};
        struct files files;
        rng_state = seed * 104729;
        buf_init(&w.dump, TEXT_MAX);
        struct host *h = sim(seed);
        h = run(h, &w, live, 1);
        find_files(h, &files);
        REQUIRE(files.n == 2);
        uint64_t size = size_of(h, files.path[1]);
        if (rng(4) == 0) {
            struct host_file *f;
            struct err_detail why = {0};
            REQUIRE(host_file_open(h, files.path[1], HOST_OPEN_WRITE, &f, &why) == ERR_OK);
            REQUIRE(host_file_truncate(f, rng((uint32_t)size)) == ERR_OK);
            host_file_close(f);
        } else {
            flip(h, files.path[1], rng((uint32_t)size));
        }
        bool both = rng(4) == 0;
        if (both)
            flip(h, files.path[0], rng((uint32_t)size_of(h, files.path[0])));
        h = compare(h, &w, seed);
        REQUIRE(both ? w.restored == 0 : w.restored > 0);
        host_close(h);
        buf_deinit(&w.dump);
    }
    LEAKS_END();
}

/* ---- many groups: epochs change, make and free groups ahead of a capture and behind it ---- */

enum { MANY_KEYS = 30000, MANY_ROWS = 500 };

static bool produce_many(struct script *s, struct world *w)
{
    static char rows[MANY_ROWS][128];
    static const char *values[MANY_ROWS];
    w->second += 1;
    for (uint32_t i = 0; i < MANY_ROWS; i++) {
        snprintf(rows[i], sizeof(rows[i]), "{\"k\":%u,\"v\":%u,\"x\":\"x%u\",\"ts\":%lld}",
                 rng(MANY_KEYS), rng(100), rng(1000), (long long)(1767225600 + w->second) * 1000);
        values[i] = rows[i];
    }
    enum err e = script_produce(s, "m", rng(PARTITIONS), values, MANY_ROWS);
    REQUIRE(e == ERR_OK || e == ERR_SHUTDOWN);
    return e == ERR_OK;
}

static void live_many(struct script *s, void *arg)
{
    struct world *w = arg;
    if (!sql(s, "CREATE TABLE IF NOT EXISTS m (k int8, v int8, x text, ts timestamptz NOT NULL) "
                "WITH (event_time = 'ts', partitions = 2)") ||
        !sql(s, "CREATE MATERIALIZED VIEW by_key AS SELECT k, count(*) AS n, sum(v) AS s, max(x) "
                "AS x FROM m GROUP BY k") ||
        !sql(s, "CREATE MATERIALIZED VIEW by_window WITH (retention = '9 s') AS SELECT "
                "window_start, k, sum(v) AS s FROM tumble(m, ts, INTERVAL '3 s') GROUP BY "
                "window_start, k"))
        return;
    for (uint32_t i = 0; i < w->batches; i++)
        if (!produce_many(s, w))
            return;
    w->through = true;
}

static void look_many(struct script *s, void *arg)
{
    struct world *w = arg;
    buf_clear(&w->dump);
    if (script_sql(s, "SELECT count(*), sum(n), sum(s), sum(length(x)::int8 * n), sum(k * s) "
                      "FROM by_key", &w->dump) != ERR_OK ||
        script_sql(s, "SELECT window_start, count(*), sum(s), sum(k * s) FROM by_window GROUP BY "
                      "window_start ORDER BY window_start", &w->dump) != ERR_OK)
        FAIL("%s", script_error(s));
    w->restored = metric(s, "tidemill_views_restored");
}

static void epochs_go_on_while_a_snapshot_is_taken(void **state)
{
    (void)state;
    LEAKS_BEGIN();
    for (uint64_t seed = 1; seed <= seeds(6); seed++) {
        struct world w = {.batches = 120};
        rng_state = seed * 65537;
        buf_init(&w.dump, TEXT_MAX);
        struct host *h = sim(seed);
        h = run(h, &w, live_many, 1);
        w.batches = 20;
        host_sim_fault_at(h, 300 + rng(500), SIM_FAULT_STOP, false);
        h = run(h, &w, live_many, 1);
        h = run(h, &w, look_many, SNAPSHOTS_OFF);
        struct buf first = w.dump;
        buf_init(&w.dump, TEXT_MAX);
        REQUIRE(w.restored == 2);
        remove_files(h);
        h = run(h, &w, look_many, SNAPSHOTS_OFF);
        REQUIRE(w.restored == 0);
        if (!str_eq(buf_str(&first), buf_str(&w.dump)))
            FAIL("seed %llu: with a snapshot the views are\n%.*s\nand without\n%.*s",
                 (unsigned long long)seed, (int)first.len, first.ptr, (int)w.dump.len,
                 w.dump.ptr);
        buf_deinit(&first);
        buf_deinit(&w.dump);
        host_close(h);
    }
    LEAKS_END();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_snapshot_and_the_input_since_give_what_all_input_gives),
        cmocka_unit_test(a_crash_at_any_call_while_snapshots_are_written),
        cmocka_unit_test(epochs_go_on_while_a_snapshot_is_taken),
        cmocka_unit_test(damage_anywhere_leads_to_the_one_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
