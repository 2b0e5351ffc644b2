/* Joins over changes: rows per second through a flow on one core, for keys that are there once and
 * keys that are there ten times on one side; memory per row that is kept. */
#include "base/check.h"
#include "base/hash.h"
#include "run/flow_local.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROWS = 1 << 20, TEXT_BYTES = 20 };

/* Of the processor: other work on the machine counts for little. */
static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void fail(const char *what)
{
    fprintf(stderr, "bench_join: %s\n", what);
    exit(1);
}

static const enum type types[] = {TYPE_INT8, TYPE_FLOAT8, TYPE_TEXT};
static const struct column_def columns[] = {{.type = TYPE_INT8},   {.type = TYPE_FLOAT8},
                                            {.type = TYPE_TEXT},   {.type = TYPE_INT8},
                                            {.type = TYPE_FLOAT8}, {.type = TYPE_TEXT}};

/* Rows [from, from + n) of a relation whose keys come in no order, each `times` times. */
static struct batch *make_batch(uint64_t from, uint32_t times, struct arena *a)
{
    struct batch *b = batch_new(types, 3, BATCH_ROWS_MAX, a);
    char *text = arena_alloc(a, (size_t)BATCH_ROWS_MAX * TEXT_BYTES);
    if (b == NULL || text == NULL)
        fail("out of memory");
    for (uint32_t i = 0; i < BATCH_ROWS_MAX; i++, text += TEXT_BYTES) {
        uint64_t row = (from + i) * 2654435761u % ROWS;
        int len = snprintf(text, TEXT_BYTES, "row %llu", (unsigned long long)row);
        column_i8(&b->columns[0])[i] = (int64_t)(row / times);
        column_f8(&b->columns[1])[i] = (double)i;
        column_str(&b->columns[2])[i] = (struct str){text, (size_t)len};
    }
    b->n_rows = BATCH_ROWS_MAX;
    return b;
}

static enum err count_rows(void *arg, const struct batch *b)
{
    *(uint64_t *)arg += b->n_rows;
    return ERR_OK;
}

static void run_steps(struct flow_local *l)
{
    struct err_detail why = {0};
    for (bool more = true; more;)
        if (flow_local_step(l, &more, &why) != ERR_OK)
            fail(why.text);
}

static void run(enum join_kind kind, const char *name, uint32_t times)
{
    struct plan_node scans[2] = {{.kind = PLAN_SCAN, .n_columns = 3, .columns = columns},
                                 {.kind = PLAN_SCAN, .n_columns = 3, .columns = columns}};
    const struct expr key = {.kind = EXPR_COLUMN, .type = TYPE_INT8, .n_nodes = 1};
    const struct expr *const keys[] = {&key};
    struct plan_node join = {
        .kind = PLAN_JOIN,
        .input = &scans[0],
        .right = &scans[1],
        .n_columns = kind == JOIN_SEMI ? 3 : 6,
        .columns = columns,
        .join = {.kind = kind, .n_keys = 1, .left_keys = keys, .right_keys = keys}};
    uint64_t out = 0;
    struct flow_sink sink = {.rows = count_rows, .arg = &out};
    struct flow *f;
    struct flow_local *l;
    struct arena inputs;
    double spent[3] = {0};
    if (flow_new(&join, 1, &f, NULL) != ERR_OK ||
        flow_local_new(f, (uint64_t)8 << 30, 0, &sink, &l) != ERR_OK)
        fail("cannot make the flow");
    arena_init(&inputs, 1 << 30);
    for (uint32_t side = 0; side < 2; side++)
        for (uint64_t at = 0; at < ROWS; at += BATCH_ROWS_MAX) {
            struct batch *b = make_batch(at, side == 0 ? times : 1, &inputs);
            double start = seconds();
            flow_local_push(l, side, b);
            run_steps(l);
            spent[side] += seconds() - start;
            arena_reset(&inputs, 64 << 20);
        }
    double start = seconds();
    flow_local_finish(l);
    run_steps(l);
    spent[2] = seconds() - start;
    const struct flow_state *s = flow_local_state(l);
    printf("%-5s keys x %-2u  first side %5.2f M rows/s  second side %5.2f M rows/s  end %4.2f s  "
           "%8llu rows out  %5.1f bytes/row\n",
           name, times, ROWS / spent[0] / 1e6, ROWS / spent[1] / 1e6, spent[2],
           (unsigned long long)out, (double)flow_state_bytes(s) / (double)flow_state_rows(s));
    flow_local_free(l);
    flow_free(f);
    arena_deinit(&inputs);
}

int main(void)
{
    static const uint32_t times[] = {1, 10};
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        run(JOIN_INNER, "inner", times[i]);
        run(JOIN_LEFT, "left", times[i]);
        run(JOIN_SEMI, "semi", times[i]);
    }
    return 0;
}
