/* A view that fails, at its memory bound, is failed for good: over crashes and power cuts it keeps
 * its reason and adds nothing to its changelog, which ends at a whole epoch, on all shards at the
 * same one. The other view over the table takes in everything.
 *
 * Every batch moves an amount from a key to another, both new: a view of all keys sums up to 0 as
 * of any epoch, and grows until it fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "support/script.h"

/* A process that "ended" leaves its memory behind. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAKS_BEGIN() __lsan_disable()
#define LEAKS_END()   __lsan_enable()
#else
#define LEAKS_BEGIN() ((void)0)
#define LEAKS_END()   ((void)0)
#endif

enum {
    TEXT_MAX = 16 << 20,
    PARTITIONS = 3,
    PAIRS_MAX = 6, /* of a batch */
    BATCHES = 220, /* several times what the view can hold */
    STATE_BYTES_MAX = 384 << 10,
    LIVES_MAX = 40,
    WAIT_MS = 20000,
};

struct world {
    uint64_t seed, rng;
    uint32_t batches; /* acknowledged */
    uint32_t keys;    /* made */
    bool through;
    struct buf why;              /* of the failure, once it was seen */
    struct buf wide[PARTITIONS]; /* the failing view's changelog, as far as it was seen */
    struct buf total;
};

static uint32_t rng(struct world *w, uint32_t below)
{
    w->rng = w->rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->rng >> 33) % below;
}

/* ---- changelogs ---- */

/* What was seen of a changelog stays what it is, and all of it when `ended`. */
static void check_prefix(const struct world *w, const char *name, struct buf *old, struct buf *now,
                         bool ended)
{
    bool same = now->len >= old->len &&
                (old->len == 0 || memcmp(now->ptr, old->ptr, old->len) == 0);
    if (!same || (ended && now->len != old->len))
        FAIL("seed %llu: the changelog of %s had %zu bytes and has %zu, ending with %.*s",
             (unsigned long long)w->seed, name, old->len, now->len, 200,
             now->len < 200 ? "" : now->ptr + now->len - 200);
    buf_clear(old);
    buf_put_str(old, buf_str(now));
    REQUIRE(!old->failed);
}

/* Sums up a partition of the view of all keys. Keys come once: all that has a row before is a
 * repetition. */
static long sum_lines(const struct world *w, const struct buf *lines)
{
    long sum = 0;
    char *copy = calloc(1, lines->len + 1), *at = copy;
    REQUIRE(copy != NULL);
    if (lines->len > 0)
        memcpy(copy, lines->ptr, lines->len);
    for (char *line; (line = strsep(&at, "\n")) != NULL && *line != '\0';) {
        (void)strsep(&line, "\t");
        (void)strsep(&line, "\t");
        const char *value = strsep(&line, "\t"), *before = strsep(&line, "\t");
        const char *s = strstr(value, "\"s\": ");
        if (s == NULL || strcmp(before, "-") != 0)
            FAIL("seed %llu: not the first row of a key: %s", (unsigned long long)w->seed, value);
        sum += strtol(s + 5, NULL, 10);
    }
    free(copy);
    return sum;
}

/* The failing view's changelog as of one epoch. */
static enum err check_wide(struct script *s, struct world *w, bool ended)
{
    uint64_t epoch = engine_committed_epoch(script_engine(s));
    enum err e = ERR_OK;
    long sum = 0;
    for (uint32_t p = 0; p < PARTITIONS && e == ERR_OK; p++) {
        struct buf lines;
        buf_init(&lines, TEXT_MAX);
        e = script_read_as_of(s, "wide", p, 0, epoch, &lines, NULL);
        sum += sum_lines(w, &lines);
        if (e == ERR_OK)
            check_prefix(w, "wide", &w->wide[p], &lines, ended);
        buf_deinit(&lines);
    }
    if (e == ERR_OK && sum != 0)
        FAIL("seed %llu: half an epoch: a sum of %ld as of %llu", (unsigned long long)w->seed, sum,
             (unsigned long long)epoch);
    return e;
}

/* Each change of the other view follows from the one before. */
static enum err check_total(struct script *s, struct world *w)
{
    struct buf lines;
    buf_init(&lines, TEXT_MAX);
    enum err e = script_read(s, "total", 0, 0, &lines, NULL);
    if (e == ERR_OK)
        check_prefix(w, "total", &w->total, &lines, false);
    buf_put_u8(&lines, 0);
    char *at = lines.ptr, *last = NULL;
    for (char *line; e == ERR_OK && (line = strsep(&at, "\n")) != NULL && *line != '\0';) {
        (void)strsep(&line, "\t");
        (void)strsep(&line, "\t");
        char *value = strsep(&line, "\t");
        const char *before = strsep(&line, "\t");
        if (strcmp(before, last == NULL ? "-" : last) != 0)
            FAIL("seed %llu: total was %s, not %s", (unsigned long long)w->seed,
                 last == NULL ? "-" : last, before);
        last = value;
    }
    buf_deinit(&lines);
    return e;
}

/* ---- a life ---- */

/* Whether the view has failed, as it had if it had. */
static enum err check_failure(struct script *s, struct world *w, bool *failed)
{
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    enum err e = script_sql(s, "SELECT status, error FROM sys.views WHERE name = 'wide'", &rows);
    if (e == ERR_OK) {
        *failed = rows.len > 7 && memcmp(rows.ptr, "failed|", 7) == 0;
        if (w->why.len > 0 && !str_eq(buf_str(&w->why), buf_str(&rows)))
            FAIL("seed %llu: %.*s was %.*s", (unsigned long long)w->seed, (int)rows.len, rows.ptr,
                 (int)w->why.len, w->why.ptr);
        if (*failed && w->why.len == 0)
            buf_put_str(&w->why, buf_str(&rows));
    }
    buf_deinit(&rows);
    return e;
}

static enum err check_all(struct script *s, struct world *w)
{
    bool known = w->why.len > 0, failed = false;
    enum err e = check_wide(s, w, known);
    if (e == ERR_OK)
        e = check_failure(s, w, &failed);
    if (e == ERR_OK && failed && !known) /* from here on nothing more comes */
        e = check_wide(s, w, false);
    if (e == ERR_OK && failed && script_sql(s, "SELECT count(*) FROM wide", NULL) == ERR_OK)
        FAIL("seed %llu: a failed view can be read", (unsigned long long)w->seed);
    return e == ERR_OK ? check_total(s, w) : e;
}

static enum err make(struct script *s)
{
    static const char *const statements[] = {
        "CREATE TABLE t (k text, v int8) WITH (partitions = 3)",
        "CREATE MATERIALIZED VIEW wide AS SELECT k, sum(v) AS s FROM t GROUP BY k",
        "CREATE MATERIALIZED VIEW total AS SELECT count(*) AS n, sum(v) AS s FROM t",
    };
    for (size_t i = 0; i < ARRAY_LEN(statements); i++) {
        enum err e = script_sql(s, statements[i], NULL);
        if (e == ERR_SHUTDOWN)
            return e;
        if (e != ERR_OK && e != ERR_DUPLICATE_TABLE)
            FAIL("%s: %s", statements[i], script_error(s));
    }
    return ERR_OK;
}

static enum err move_some(struct script *s, struct world *w)
{
    static char rows[2 * PAIRS_MAX][256];
    const char *values[2 * PAIRS_MAX];
    uint32_t n = 2 * (1 + rng(w, PAIRS_MAX));
    for (uint32_t i = 0; i < n; i += 2) {
        int v = 1 + (int)rng(w, 1000);
        for (uint32_t j = 0; j < 2; j++) {
            snprintf(rows[i + j], sizeof(rows[i + j]), "{\"k\":\"%0100u\",\"v\":%d}", w->keys++,
                     j == 0 ? v : -v);
            values[i + j] = rows[i + j];
        }
    }
    enum err e = script_produce(s, "t", rng(w, PARTITIONS), values, n);
    w->batches += e == ERR_OK;
    return e;
}

static void live(struct script *s, void *arg)
{
    struct world *w = arg;
    enum err e = make(s);
    if (e == ERR_OK)
        e = check_all(s, w);
    while (e == ERR_OK && w->batches < BATCHES) {
        e = move_some(s, w);
        if (e == ERR_OK && rng(w, 6) == 0)
            e = check_all(s, w);
        if (e == ERR_OK && rng(w, 3) == 0)
            e = script_sleep(s, 1 + rng(w, 10));
    }
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    if (e == ERR_OK)
        e = script_until(s, "SELECT s FROM total", "0\n", WAIT_MS, &rows);
    buf_deinit(&rows);
    if (e == ERR_OK)
        e = check_all(s, w);
    if (e == ERR_BUSY) /* the epochs asked for were forgotten: the next life asks again */
        return;
    REQUIRE(e == ERR_OK || e == ERR_SHUTDOWN);
    w->through = e == ERR_OK;
}

/* What is dropped is forgotten, its failure with it. */
static void drop(struct script *s, void *arg)
{
    struct world *w = arg;
    REQUIRE(check_all(s, w) == ERR_OK && w->why.len > 0);
    REQUIRE(script_sql(s, "DROP MATERIALIZED VIEW wide", NULL) == ERR_OK);
    REQUIRE(script_sql(s,
                       "CREATE MATERIALIZED VIEW wide AS SELECT v > 0 AS p, count(*) AS n, "
                       "sum(v) AS s FROM t GROUP BY p",
                       NULL) == ERR_OK);
}

static void dropped(struct script *s, void *arg)
{
    (void)arg;
    struct buf rows;
    buf_init(&rows, TEXT_MAX);
    if (script_until(s, "SELECT status, error FROM sys.views WHERE name = 'wide'", "live|NULL\n",
                     WAIT_MS, &rows) != ERR_OK ||
        script_until(s, "SELECT sum(s) FROM wide", "0\n", WAIT_MS, &rows) != ERR_OK)
        FAIL("%.*s", (int)rows.len, rows.ptr);
    buf_deinit(&rows);
}

static void stopper(struct script *s, void *arg)
{
    const int64_t *ms = arg;
    (void)script_sleep(s, *ms);
    script_stop(s);
}

/* ---- worlds ---- */

static struct host *one_life(struct world *w, struct host *h, uint32_t life,
                             void (*run)(struct script *s, void *arg), bool whole)
{
    const struct engine_options options = {
        .data_dir = "/data", .n_shards = 1 + rng(w, 3), .memory_bytes_max = STATE_BYTES_MAX};
    int64_t stop_ms = 10 + (int64_t)rng(w, 300);
    const struct script_part parts[] = {{run, w, rng(w, 3)}, {stopper, &stop_ms, 0}};
    bool fault = !whole && rng(w, 2) == 0;
    if (fault)
        host_sim_fault_at(h, 1 + rng(w, 600), SIM_FAULT_STOP, false);
    struct err_detail why = {0};
    enum err e = scripts_run(h, &options, parts, whole || fault ? 1 : 2, &why);
    if (e != ERR_OK && !host_sim_halted(h))
        FAIL("seed %llu, life %u: %s", (unsigned long long)w->seed, life, err_text(e, &why));
    h = rng(w, 2) == 0 ? host_sim_power_cut(h, w->seed * 31 + life) : host_sim_crash(h);
    REQUIRE(h != NULL);
    return h;
}

static void run_world(uint64_t seed)
{
    static struct world w;
    w = (struct world){.seed = seed, .rng = seed};
    buf_init(&w.why, TEXT_MAX);
    buf_init(&w.total, TEXT_MAX);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        buf_init(&w.wide[p], TEXT_MAX);
    const struct sim_options sim = {.seed = seed,
                                    .wall_us = 1767225600000000,
                                    .sync_delay_us_max = 2000,
                                    .run_ns_max = (int64_t)600 * 1000000000};
    struct host *h = host_sim_open(&sim);
    assert_non_null(h);
    for (uint32_t life = 1; !w.through; life++) {
        REQUIRE(life < 2 * LIVES_MAX);
        h = one_life(&w, h, life, live, life >= LIVES_MAX);
    }
    h = one_life(&w, h, 2 * LIVES_MAX, drop, true);
    h = one_life(&w, h, 2 * LIVES_MAX + 1, dropped, true);
    host_close(h);
    buf_deinit(&w.why);
    buf_deinit(&w.total);
    for (uint32_t p = 0; p < PARTITIONS; p++)
        buf_deinit(&w.wide[p]);
}

static void a_failed_view_stays_what_it_was(void **state)
{
    (void)state;
    const char *one = getenv("SEED"), *n = getenv("SEEDS");
    uint64_t last = n == NULL ? 30 : strtoull(n, NULL, 10);
    LEAKS_BEGIN();
    for (uint64_t seed = one != NULL ? strtoull(one, NULL, 10) : 1;
         seed <= (one != NULL ? strtoull(one, NULL, 10) : last); seed++)
        run_world(seed);
    LEAKS_END();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_view_stays_what_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
