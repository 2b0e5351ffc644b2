/* Readers of what epochs write: followers of a view, readers of its partitions as of one epoch, and
 * queries see whole epochs, and all of them the same ones, over crashes too.
 *
 * Every batch moves amounts between accounts and so adds nothing to their sum; a view keeps the
 * accounts, on several shards. Whoever sees half an epoch sees a sum other than 0. A second view
 * has the moves as they are: of each of its epochs everybody sees the same number of rows. */
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
    ACCOUNTS = 7,
    PARTITIONS = 3,
    MOVES = 120, /* batches; each of a row for two accounts */
    WAIT_MS = 20000,
    FOLLOWERS = 2,
    EPOCHS = 20000, /* more than there are */
};

struct world {
    uint64_t seed, rng;
    uint32_t moved; /* batches acknowledged */
    bool made, all_moved;
    /* Each change raises its account's count: the epoch that wrote it, once it was seen. */
    uint64_t epoch_of[ACCOUNTS][2 * MOVES + 1];
    /* Rows that an epoch wrote to the view of moves, and 1; 0 = nobody has seen it. */
    uint32_t rows_of[EPOCHS];
};

struct follower {
    struct world *world;
    bool slow;
};

static uint32_t rng(struct world *w, uint32_t below)
{
    w->rng = w->rng * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(w->rng >> 33) % below;
}

/* What a reader knows of the accounts. */
struct accounts {
    long sum[ACCOUNTS];
    uint32_t n[ACCOUNTS];
};

static void check_zero(const struct world *w, const struct accounts *a, const char *who,
                       uint64_t epoch)
{
    long sum = 0;
    for (int k = 0; k < ACCOUNTS; k++)
        sum += a->sum[k];
    if (sum != 0)
        FAIL("seed %llu: %s sees a sum of %ld at epoch %llu", (unsigned long long)w->seed, who, sum,
             (unsigned long long)epoch);
}

static void check_epoch(struct world *w, uint32_t k, uint32_t n, uint64_t epoch, const char *who)
{
    REQUIRE(k < ACCOUNTS && n <= 2 * MOVES && epoch > 0);
    if (w->epoch_of[k][n] == 0)
        w->epoch_of[k][n] = epoch;
    if (w->epoch_of[k][n] != epoch)
        FAIL("seed %llu: %s sees change %u of account %u in epoch %llu, another saw it in %llu",
             (unsigned long long)w->seed, who, n, k, (unsigned long long)epoch,
             (unsigned long long)w->epoch_of[k][n]);
}

/* ---- those who move ---- */

static void mover(struct script *s, void *arg)
{
    struct world *w = arg;
    if (!w->made) {
        enum err e =
            script_sql(s, "CREATE TABLE moves (k int8, v int8) WITH (partitions = 3)", NULL);
        if (e == ERR_OK || e == ERR_DUPLICATE_TABLE)
            e = script_sql(s,
                           "CREATE MATERIALIZED VIEW accounts AS SELECT k, sum(v) AS s, "
                           "count(*) AS n FROM moves GROUP BY k",
                           NULL);
        if (e == ERR_OK || e == ERR_DUPLICATE_TABLE)
            e = script_sql(s, "CREATE MATERIALIZED VIEW flat AS SELECT k, v FROM moves", NULL);
        w->made = e == ERR_OK || e == ERR_DUPLICATE_TABLE;
        REQUIRE(w->made || e == ERR_SHUTDOWN);
    }
    for (enum err e = ERR_OK; w->moved < MOVES && e == ERR_OK;) {
        char row[2][64];
        const char *values[2] = {row[0], row[1]};
        int v = (int)rng(w, 1000);
        uint32_t from = rng(w, ACCOUNTS), to = (from + 1 + rng(w, ACCOUNTS - 1)) % ACCOUNTS;
        snprintf(row[0], sizeof(row[0]), "{\"k\":%u,\"v\":%d}", from, -v);
        snprintf(row[1], sizeof(row[1]), "{\"k\":%u,\"v\":%d}", to, v);
        e = script_produce(s, "moves", rng(w, PARTITIONS), values, 2);
        REQUIRE(e == ERR_OK || e == ERR_SHUTDOWN);
        w->moved += e == ERR_OK;
        if (rng(w, 10) == 0)
            e = script_sleep(s, 1 + (int64_t)rng(w, 20));
    }
    w->all_moved = w->moved == MOVES;
}

static enum err wait_made(struct script *s, const struct world *w)
{
    enum err e = ERR_OK;
    while (!w->made && e == ERR_OK)
        e = script_sleep(s, 1);
    return e;
}

/* ---- those who follow ---- */

static void take_line(struct world *w, struct accounts *a, char *line, bool live, uint64_t epoch)
{
    char *fields = line + 1;
    uint32_t k = (uint32_t)strtoul(strsep(&fields, "|"), NULL, 10);
    long sum = strtol(strsep(&fields, "|"), NULL, 10);
    uint32_t n = (uint32_t)strtoul(fields, NULL, 10);
    REQUIRE(k < ACCOUNTS);
    if (line[0] == '-') { /* what it was comes before what it is */
        REQUIRE(a->n[k] == n && a->sum[k] == sum);
        a->n[k] = 0;
        a->sum[k] = 0;
        return;
    }
    REQUIRE(a->n[k] == 0);
    a->n[k] = n;
    a->sum[k] = sum;
    if (live)
        check_epoch(w, k, n, epoch, "a follower");
}

static uint32_t rows_seen(const struct accounts *a)
{
    uint32_t n = 0;
    for (int k = 0; k < ACCOUNTS; k++)
        n += a->n[k];
    return n;
}

/* Follows until all that was moved has come. */
static void follower(struct script *s, void *arg)
{
    const struct follower *f = arg;
    struct world *w = f->world;
    struct accounts a = {0};
    struct buf lines;
    uint64_t last = 0;
    bool more, live = false;
    buf_init(&lines, TEXT_MAX);
    enum err e = wait_made(s, w);
    if (e == ERR_OK)
        e = script_query_open(s, 0, "SELECT k, s, n FROM accounts", true);
    while (e == ERR_OK && (!w->all_moved || rows_seen(&a) < 2 * w->moved)) {
        buf_clear(&lines);
        e = script_query_pull(s, 0, WAIT_MS, &lines, &more);
        if (e != ERR_OK)
            break;
        uint64_t epoch = script_query_epoch(s);
        REQUIRE(epoch >= last && epoch > 0);
        if (epoch != last && live)
            check_zero(w, &a, "a follower", last);
        last = epoch;
        buf_put_u8(&lines, 0);
        char *at = lines.ptr;
        for (char *line; (line = strsep(&at, "\n")) != NULL && *line != '\0';)
            take_line(w, &a, line, live, epoch);
        if (!more)
            check_zero(w, &a, "a snapshot", last);
        live |= !more;
        if (f->slow)
            e = script_sleep(s, 30);
    }
    REQUIRE(e == ERR_OK || e == ERR_SHUTDOWN);
    if (e == ERR_OK)
        check_zero(w, &a, "a follower at the end", last);
    script_query_close(s, 0);
    buf_deinit(&lines);
}

/* ---- those who read partitions, as Kafka's clients do ---- */

static void take_record(struct world *w, struct accounts *a, char *line, uint64_t *last)
{
    (void)strsep(&line, "\t");
    (void)strsep(&line, "\t");
    const char *value = strsep(&line, "\t");
    (void)strsep(&line, "\t");
    uint64_t epoch = strtoull(line, NULL, 10);
    unsigned k, n;
    long sum;
    if (sscanf(value, "{\"k\": %u, \"s\": %ld, \"n\": %u}", &k, &sum, &n) != 3)
        FAIL("not a row of the view: %s", value);
    check_epoch(w, k, n, epoch, "a reader");
    REQUIRE(epoch >= *last);
    *last = epoch;
    a->sum[k] = sum;
    a->n[k] = n;
}

/* Everything as of one epoch. */
static enum err read_all(struct script *s, struct world *w, uint64_t epoch, struct accounts *a)
{
    enum err e = ERR_OK;
    for (uint32_t p = 0; p < PARTITIONS && e == ERR_OK; p++) {
        struct buf lines;
        uint64_t last = 0;
        buf_init(&lines, TEXT_MAX);
        e = script_read_as_of(s, "accounts", p, 0, epoch, &lines, NULL);
        buf_put_u8(&lines, 0);
        char *at = lines.ptr;
        for (char *line; e == ERR_OK && (line = strsep(&at, "\n")) != NULL && *line != '\0';)
            take_record(w, a, line, &last);
        REQUIRE(last <= epoch);
        buf_deinit(&lines);
    }
    return e;
}

static void reader(struct script *s, void *arg)
{
    struct world *w = arg;
    enum err e = wait_made(s, w);
    for (uint32_t seen = 0; e == ERR_OK && (!w->all_moved || seen < 2 * w->moved);) {
        struct accounts a = {0};
        uint64_t epoch = engine_committed_epoch(script_engine(s));
        e = read_all(s, w, epoch, &a);
        if (e == ERR_OK)
            check_zero(w, &a, "a reader", epoch);
        seen = rows_seen(&a);
        struct buf rows;
        buf_init(&rows, TEXT_MAX);
        if (e == ERR_OK)
            e = script_sql(s, "SELECT sum(s) FROM accounts", &rows);
        if (e == ERR_OK && !str_eq(buf_str(&rows), STR("0\n")) &&
            !str_eq(buf_str(&rows), STR("NULL\n")))
            FAIL("seed %llu: a query sees a sum of %.*s", (unsigned long long)w->seed,
                 (int)rows.len, rows.ptr);
        buf_deinit(&rows);
    }
    REQUIRE(e == ERR_OK || e == ERR_SHUTDOWN);
}

/* ---- the view of moves ---- */

static void check_rows(struct world *w, uint64_t epoch, uint32_t n, const char *who)
{
    REQUIRE(epoch > 0 && epoch < EPOCHS);
    if (w->rows_of[epoch] == 0)
        w->rows_of[epoch] = n + 1;
    if (w->rows_of[epoch] != n + 1)
        FAIL("seed %llu: %s sees %u rows of epoch %llu, another saw %u",
             (unsigned long long)w->seed, who, n, (unsigned long long)epoch,
             w->rows_of[epoch] - 1);
}

static void flat_follower(struct script *s, void *arg)
{
    struct world *w = arg;
    struct buf lines;
    uint32_t all = 0, of_epoch = 0;
    uint64_t last = 0;
    bool more, live = false;
    buf_init(&lines, TEXT_MAX);
    enum err e = wait_made(s, w);
    if (e == ERR_OK)
        e = script_query_open(s, 0, "SELECT k, v FROM flat", true);
    while (e == ERR_OK && (!w->all_moved || all < 2 * w->moved)) {
        buf_clear(&lines);
        e = script_query_pull(s, 0, WAIT_MS, &lines, &more);
        if (e != ERR_OK)
            break;
        uint64_t epoch = script_query_epoch(s);
        REQUIRE(epoch >= last && epoch > 0);
        if (epoch != last && live && of_epoch > 0)
            check_rows(w, last, of_epoch, "a follower of moves");
        of_epoch = epoch != last ? 0 : of_epoch;
        last = epoch;
        for (size_t i = 0; i < lines.len; i++) {
            REQUIRE(lines.ptr[i] != '-' || lines.ptr[i - 1] == '|'); /* a number's sign */
            all += lines.ptr[i] == '\n';
            of_epoch += live && lines.ptr[i] == '\n';
        }
        live |= !more;
    }
    REQUIRE(e == ERR_OK || e == ERR_SHUTDOWN);
    script_query_close(s, 0);
    buf_deinit(&lines);
}

/* Adds up the rows of each epoch in one partition. */
static uint32_t count_flat(const struct world *w, struct buf *lines, uint64_t as_of, uint32_t *rows)
{
    uint32_t n = 0;
    uint64_t last = 0;
    buf_put_u8(lines, 0);
    char *at = lines->ptr;
    for (char *line; (line = strsep(&at, "\n")) != NULL && *line != '\0'; n++) {
        for (int field = 0; field < 4; field++)
            (void)strsep(&line, "\t");
        uint64_t epoch = strtoull(line, NULL, 10);
        if (epoch < last || epoch > as_of || epoch >= EPOCHS)
            FAIL("seed %llu: a row of epoch %llu behind one of %llu as of %llu",
                 (unsigned long long)w->seed, (unsigned long long)epoch, (unsigned long long)last,
                 (unsigned long long)as_of);
        rows[epoch]++;
        last = epoch;
    }
    return n;
}

static void flat_reader(struct script *s, void *arg)
{
    struct world *w = arg;
    uint32_t *rows = calloc(EPOCHS, sizeof(*rows));
    REQUIRE(rows != NULL);
    enum err e = wait_made(s, w);
    for (uint32_t all = 0; e == ERR_OK && (!w->all_moved || all < 2 * w->moved);) {
        uint64_t as_of = engine_committed_epoch(script_engine(s));
        memset(rows, 0, EPOCHS * sizeof(*rows));
        all = 0;
        for (uint32_t p = 0; p < PARTITIONS && e == ERR_OK; p++) {
            struct buf lines;
            buf_init(&lines, TEXT_MAX);
            e = script_read_as_of(s, "flat", p, 0, as_of, &lines, NULL);
            if (e == ERR_OK)
                all += count_flat(w, &lines, as_of, rows);
            buf_deinit(&lines);
        }
        for (uint64_t epoch = 1; e == ERR_OK && epoch <= as_of && epoch < EPOCHS; epoch++)
            check_rows(w, epoch, rows[epoch], "a reader of moves");
        if (e == ERR_OK)
            e = script_sleep(s, 2);
    }
    REQUIRE(e == ERR_OK || e == ERR_SHUTDOWN);
    free(rows);
}

/* ---- worlds ---- */

static void stopper(struct script *s, void *arg)
{
    const int64_t *ms = arg;
    (void)script_sleep(s, *ms);
    script_stop(s);
}

static void run_world(uint64_t seed)
{
    static struct world w;
    w = (struct world){.seed = seed, .rng = seed};
    const struct sim_options sim = {.seed = seed,
                                    .wall_us = 1767225600000000,
                                    .sync_delay_us_max = 2000,
                                    .run_ns_max = (int64_t)600 * 1000000000};
    struct host *h = host_sim_open(&sim);
    assert_non_null(h);
    for (uint32_t life = 1; life < 30; life++) {
        const struct engine_options options = {.data_dir = "/data", .n_shards = 1 + rng(&w, 3)};
        int64_t stop_ms = 20 + (int64_t)rng(&w, 250);
        struct follower f[FOLLOWERS] = {{&w, false}, {&w, true}};
        const struct script_part parts[] = {{mover, &w, rng(&w, 3)},
                                            {reader, &w, rng(&w, 3)},
                                            {follower, &f[0], rng(&w, 3)},
                                            {follower, &f[1], rng(&w, 3)},
                                            {flat_reader, &w, rng(&w, 3)},
                                            {flat_follower, &w, rng(&w, 3)},
                                            {stopper, &stop_ms, 0}};
        bool last = w.all_moved || life == 29;
        struct err_detail why = {0};
        enum err e = scripts_run(h, &options, parts, last ? 6 : 7, &why);
        if (e != ERR_OK)
            FAIL("seed %llu, life %u: %s", (unsigned long long)seed, life, err_text(e, &why));
        if (last)
            break;
        h = rng(&w, 2) ? host_sim_crash(h) : host_sim_power_cut(h, seed + life);
        assert_non_null(h);
    }
    host_close(h);
}

static void all_readers_see_the_same_whole_epochs(void **state)
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
        cmocka_unit_test(all_readers_see_the_same_whole_epochs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
