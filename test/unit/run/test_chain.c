/* Chains: windows against a search over all of them, late rows, errors, allocation failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "run/chain.h"
#include "type/function.h"
#include "type/numeric.h"

enum { ROWS = 300, WINDOWS_MAX = 128 };

static const size_t ARENA_MAX = 256u << 20;
static uint64_t rng_state;

static uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

/* ---- windows of one time ---- */

static void windows_are_all_that_hold_the_time(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {/* size, slide, offset */
                                        {10, 10, 0}, {10, 3, 0}, {10, 5, 2}, {7, 7, -3},
                                        {1, 1, 0},   {60, 7, 6}, {4, 1, 0},  {100, 30, -29}};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct window_spec w = {
            .size_us = shapes[i][0], .slide_us = shapes[i][1], .offset_us = shapes[i][2]};
        for (int64_t ts = -250; ts <= 250; ts++) {
            int64_t first, last, n = 0, least = INT64_MAX, greatest = INT64_MIN;
            assert_true(window_range(&w, ts, &first, &last));
            for (int64_t k = -300; k <= 300; k++) {
                int64_t start = k * w.slide_us + w.offset_us;
                if (start <= ts && ts < start + w.size_us) {
                    least = start < least ? start : least;
                    greatest = start > greatest ? start : greatest;
                    n++;
                }
            }
            assert_true(first == least && last == greatest);
            assert_int_equal((last - first) / w.slide_us + 1, n);
        }
    }
}

/* Times near the ends of time have windows or none, but never a wrapped one. */
/* A size that is no multiple of the slide has one window more for some rows. */
static void most_windows_of_a_row(void **state)
{
    (void)state;
    struct arena a;
    arena_init(&a, ARENA_MAX);
    const enum type type = TYPE_TIMESTAMPTZ;
    struct plan_node scan = {.kind = PLAN_SCAN, .n_columns = 1};
    struct plan_node window = {.kind = PLAN_WINDOW, .input = &scan, .n_columns = 3};
    window.window = (struct window_spec){.size_us = 10 * WINDOWS_PER_ROW_MAX + 5, .slide_us = 10};
    struct chain *c;
    struct chain_result r;
    struct batch *b = batch_new(&type, 1, 1, &a);
    assert_int_equal(chain_compile(&window, &scan, &a, &c, NULL), ERR_OK);
    assert_int_equal(chain_windows_per_row(c), WINDOWS_PER_ROW_MAX + 1);
    column_set(&b->columns[0], 0, &(struct value){.type = type, .as.i8 = 3});
    b->n_rows = 1;
    assert_int_equal(chain_run(c, b, NULL, 0, &a, &r), ERR_OK);
    assert_int_equal(r.batch->n_rows, WINDOWS_PER_ROW_MAX + 1);
    arena_deinit(&a);
}

static void times_at_the_ends(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{10, 10, 0},
                                        {86400000000, 3600000000, 3599999999},
                                        {INT64_C(3600000000000), 3600000000, -3599999999},
                                        {7, 7, 6}};
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        const struct window_spec w = {
            .size_us = shapes[i][0], .slide_us = shapes[i][1], .offset_us = shapes[i][2]};
        int64_t first, last;
        assert_false(window_range(&w, INT64_MIN, &first, &last));
        assert_false(window_range(&w, INT64_MAX, &first, &last));
        for (int64_t d = 1; d < INT64_MAX / 4; d = d * 2 + 1) {
            const int64_t times[] = {INT64_MAX - d, INT64_MIN + d};
            for (int k = 0; k < 2; k++) {
                if (!window_range(&w, times[k], &first, &last))
                    continue;
                assert_true(first <= last && last <= times[k]);
                assert_true((i128)last + w.size_us <= INT64_MAX);
                assert_true((i128)first + w.size_us > times[k]);
            }
        }
    }
}

/* ---- a chain over a batch ---- */

/* scan (id int8, x int8, ts timestamptz) -> window -> filter 100 / x > 0 */
struct nodes {
    struct plan_node scan, window, filter;
    struct expr hundred, x, div, zero, more;
    const struct expr *div_args[2], *more_args[2], *filter_exprs[1];
};

static const struct function *find(const char *name, enum type t)
{
    const struct function *all[FUNCTION_OVERLOADS_MAX];
    uint32_t n = function_candidates(FUNCTION_OPERATOR, str_of(name), all);
    for (uint32_t i = 0; i < n; i++)
        if (all[i]->n_args == 2 && all[i]->args[0] == t && all[i]->args[1] == t)
            return all[i];
    fail_msg("no operator %s", name);
    return NULL;
}

static void nodes_make(struct nodes *n, const struct window_spec *w)
{
    *n = (struct nodes){.scan = {.kind = PLAN_SCAN}};
    n->window = (struct plan_node){.kind = PLAN_WINDOW, .input = &n->scan, .window = *w};
    n->hundred = (struct expr){.kind = EXPR_CONST,
                               .type = TYPE_INT8,
                               .n_nodes = 1,
                               .value = {.type = TYPE_INT8, .as.i8 = 100}};
    n->zero = n->hundred;
    n->zero.value.as.i8 = 0;
    n->x = (struct expr){.kind = EXPR_COLUMN, .type = TYPE_INT8, .n_nodes = 1, .index = 1};
    n->div_args[0] = &n->hundred;
    n->div_args[1] = &n->x;
    n->div = (struct expr){.kind = EXPR_CALL,
                           .type = TYPE_INT8,
                           .n_args = 2,
                           .n_nodes = 3,
                           .args = n->div_args,
                           .function = find("/", TYPE_INT8)};
    n->more_args[0] = &n->div;
    n->more_args[1] = &n->zero;
    n->more = (struct expr){.kind = EXPR_CALL,
                            .type = TYPE_BOOL,
                            .n_args = 2,
                            .n_nodes = 5,
                            .args = n->more_args,
                            .function = find(">", TYPE_INT8)};
    n->filter_exprs[0] = &n->more;
    n->filter = (struct plan_node){
        .kind = PLAN_FILTER, .input = &n->window, .n_exprs = 1, .exprs = n->filter_exprs};
}

struct input {
    struct arena arena;
    struct batch *batch;
    int64_t watermarks[ROWS];
};

static void input_make(struct input *in)
{
    static const enum type types[] = {TYPE_INT8, TYPE_INT8, TYPE_TIMESTAMPTZ};
    arena_init(&in->arena, ARENA_MAX);
    in->batch = batch_new(types, 3, ROWS, &in->arena);
    assert_non_null(in->batch);
    in->batch->n_rows = ROWS;
    in->batch->weights = arena_alloc(&in->arena, ROWS * sizeof(int64_t));
    int64_t now = -500, watermark = INT64_MIN;
    for (uint32_t i = 0; i < ROWS; i++) {
        now += rng(8);
        column_i8(&in->batch->columns[0])[i] = i;
        column_i8(&in->batch->columns[1])[i] = (int64_t)rng(5) - 1;
        column_i8(&in->batch->columns[2])[i] =
            rng(40) == 0 ? INT64_MAX : now - (rng(3) == 0 ? rng(200) : 0);
        in->batch->columns[2].nulls[i] = rng(50) == 0;
        in->batch->weights[i] = rng(2) ? 1 : -1;
        in->watermarks[i] = watermark;
        watermark = now - 30 > watermark ? now - 30 : watermark;
    }
}

/* What row i must become: the number of windows; -1 late, -2 an error, -3 filtered away. */
static int fate(const struct input *in, const struct window_spec *w, uint32_t i,
                int64_t starts[WINDOWS_MAX])
{
    int64_t ts = column_i8(&in->batch->columns[2])[i], x = column_i8(&in->batch->columns[1])[i];
    int n = 0, all = 0;
    if (column_is_null(&in->batch->columns[2], i) || ts == INT64_MAX)
        return -2;
    for (int64_t k = -400; k <= 800; k++) {
        int64_t start = k * w->slide_us + w->offset_us;
        if (start > ts || ts >= start + w->size_us)
            continue;
        all++;
        if (start + w->size_us > in->watermarks[i])
            starts[n++] = start;
    }
    assert_true(all > 0);
    if (x == 0)
        return -2;
    return x < 0 ? -3 : n == 0 ? -1 : n;
}

static void check_result(const struct input *in, const struct window_spec *w,
                         const struct chain_result *r)
{
    uint32_t at = 0, late = 0, errors = 0;
    bool failed[ROWS] = {false};
    for (uint32_t i = 0; i < r->n_errors; i++) {
        assert_false(failed[r->errors[i].row]); /* once, whatever its windows */
        failed[r->errors[i].row] = true;
        assert_true(strlen(r->errors[i].text) > 0);
    }
    for (uint32_t i = 0; i < ROWS; i++) {
        int64_t starts[WINDOWS_MAX];
        int n = fate(in, w, i, starts);
        assert_int_equal(failed[i], n == -2);
        errors += n == -2;
        if (n == -1) {
            assert_true(late < r->n_late);
            assert_int_equal(r->late[late++], i);
        }
        for (int k = 0; k < n; k++, at++) {
            assert_true(at < r->batch->n_rows);
            assert_int_equal(r->origin[at], i);
            assert_int_equal(column_i8(&r->batch->columns[0])[at], i);
            assert_true(column_i8(&r->batch->columns[3])[at] == starts[k]);
            assert_true(column_i8(&r->batch->columns[4])[at] == starts[k] + w->size_us);
            assert_true(r->window_end[at] == starts[k] + w->size_us);
            assert_true(r->batch->weights[at] == in->batch->weights[i]);
        }
    }
    assert_int_equal(at, r->batch->n_rows);
    assert_int_equal(late, r->n_late);
    assert_int_equal(errors, r->n_errors);
}

static void rows_go_to_their_open_windows(void **state)
{
    (void)state;
    static const int64_t shapes[][3] = {{10, 10, 0}, {100, 30, 7}, {60, 7, 0}, {50, 50, -20}};
    static struct input in;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        const int64_t *shape = shapes[seed % ARRAY_LEN(shapes)];
        const struct window_spec w = {
            .time_column = 2, .size_us = shape[0], .slide_us = shape[1], .offset_us = shape[2]};
        struct nodes n;
        struct chain *c;
        struct chain_result r;
        rng_state = seed;
        input_make(&in);
        nodes_make(&n, &w);
        assert_int_equal(chain_compile(&n.filter, &n.scan, &in.arena, &c, NULL), ERR_OK);
        assert_int_equal(chain_run(c, in.batch, in.watermarks, 0, &in.arena, &r), ERR_OK);
        check_result(&in, &w, &r);
        arena_deinit(&in.arena);
    }
}

static void a_chain_without_nodes_is_the_identity(void **state)
{
    (void)state;
    static struct input in;
    struct nodes n;
    struct chain *c;
    struct chain_result r;
    const struct window_spec w = {.time_column = 2, .size_us = 10, .slide_us = 10};
    rng_state = 1;
    input_make(&in);
    nodes_make(&n, &w);
    assert_int_equal(chain_compile(&n.scan, &n.scan, &in.arena, &c, NULL), ERR_OK);
    assert_true(chain_is_identity(c));
    assert_int_equal(chain_run(c, in.batch, NULL, 0, &in.arena, &r), ERR_OK);
    assert_int_equal(r.batch->n_rows, ROWS);
    assert_null(r.origin);
    assert_null(r.window_end);
    assert_int_equal(r.n_late + r.n_errors, 0);
    arena_deinit(&in.arena);
}

static void too_many_steps_are_refused(void **state)
{
    (void)state;
    static struct plan_node nodes[100];
    struct arena a;
    struct chain *c;
    struct err_detail why;
    arena_init(&a, ARENA_MAX);
    for (uint32_t i = 0; i < ARRAY_LEN(nodes); i++)
        nodes[i] = (struct plan_node){.kind = i == 0 ? PLAN_SCAN : PLAN_PROJECT,
                                      .input = i == 0 ? NULL : &nodes[i - 1]};
    assert_int_equal(chain_compile(&nodes[99], &nodes[0], &a, &c, &why), ERR_LIMIT);
    assert_int_equal(chain_compile(&nodes[20], &nodes[0], &a, &c, &why), ERR_OK);
    arena_deinit(&a);
}

/* Every allocation fails once, then the arena ends at every size. */
static void memory_may_end_anywhere(void **state)
{
    (void)state;
    static struct input in;
    struct nodes n;
    const struct window_spec w = {.time_column = 2, .size_us = 100, .slide_us = 30};
    rng_state = 5;
    input_make(&in);
    nodes_make(&n, &w);
    for (int way = 0; way < 2; way++) {
        enum err e = ERR_NO_MEMORY;
        for (uint64_t at = 1; e != ERR_OK; at++) {
            struct arena a;
            struct chain *c;
            struct chain_result r;
            arena_init(&a, way == 0 ? ARENA_MAX : at * 4096);
            mem_fail_at(way == 0 ? at : 0, false);
            e = chain_compile(&n.filter, &n.scan, &a, &c, NULL);
            if (e == ERR_OK)
                e = chain_run(c, in.batch, in.watermarks, 0, &a, &r);
            mem_fail_at(0, false);
            assert_true(e == ERR_OK || e == ERR_NO_MEMORY);
            if (e == ERR_OK)
                check_result(&in, &w, &r);
            arena_deinit(&a);
        }
    }
    arena_deinit(&in.arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_are_all_that_hold_the_time),
        cmocka_unit_test(times_at_the_ends),
        cmocka_unit_test(most_windows_of_a_row),
        cmocka_unit_test(rows_go_to_their_open_windows),
        cmocka_unit_test(a_chain_without_nodes_is_the_identity),
        cmocka_unit_test(too_many_steps_are_refused),
        cmocka_unit_test(memory_may_end_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
