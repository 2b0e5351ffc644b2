/* What the tests of flows share: plans made by hand, the plan's answer by nested loops over all
 * that went in so far, and two drivers (one partition; several, with rows exchanged and packets
 * taken in any order). */
#ifndef TIDEMILL_TEST_UNIT_RUN_FLOW_FIXTURE_H
#define TIDEMILL_TEST_UNIT_RUN_FLOW_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "run/aggregate.h"
#include "run/chain.h"
#include "run/expr.h"
#include "run/flow.h"
#include "run/flow_local.h"
#include "run/key.h"
#include "state/row_format.h"

enum { ROW_COLUMNS_MAX = 24, SCANS_MAX = 8, PARTS_MAX = 4 };

static const size_t FIXTURE_BYTES = 1u << 30;

/* ---- chance ---- */

static uint64_t rng_state;

static inline uint32_t rng(uint32_t below)
{
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(rng_state >> 33) % below;
}

/* ---- rows with weights; texts are borrowed from where they live for ever ---- */

struct row {
    struct value v[ROW_COLUMNS_MAX];
    int64_t weight;
};
struct rows {
    uint32_t n, cap, n_columns;
    struct row *rows;
};

static inline void rows_add(struct rows *r, const struct row *x)
{
    if (r->n == r->cap) {
        r->cap = r->cap == 0 ? 16 : r->cap * 2;
        r->rows = mem_realloc(r->rows, r->cap * sizeof(*r->rows));
        assert_non_null(r->rows);
    }
    r->rows[r->n++] = *x;
}

static inline void rows_free(struct rows *r)
{
    mem_free(r->rows);
    *r = (struct rows){0};
}

static inline struct batch *rows_batch(const struct rows *r, const enum type *types,
                                       uint32_t n_columns, uint32_t from, uint32_t n,
                                       struct arena *a)
{
    struct batch *b = batch_new(types, n_columns, n, a);
    bool weighted = false;
    if (b == NULL || (b->weights = arena_alloc(a, (n + 1) * sizeof(int64_t))) == NULL)
        return NULL;
    b->n_rows = n;
    for (uint32_t i = 0; i < n; i++) {
        for (uint32_t c = 0; c < n_columns; c++)
            column_set(&b->columns[c], i, &r->rows[from + i].v[c]);
        b->weights[i] = r->rows[from + i].weight;
        weighted |= b->weights[i] != 1;
    }
    b->weights = weighted ? b->weights : NULL;
    return b;
}

/* ---- rows as lines with counts ---- */

struct line {
    char *text;
    int64_t weight;
};
struct tally {
    size_t n, cap;
    struct line *lines;
};

static inline void tally_line(struct tally *t, struct str text, int64_t weight)
{
    if (t->n == t->cap) {
        t->cap = t->cap == 0 ? 64 : t->cap * 2;
        t->lines = mem_realloc(t->lines, t->cap * sizeof(*t->lines));
        assert_non_null(t->lines);
    }
    char *own = mem_alloc(text.len + 1);
    assert_non_null(own);
    memcpy(own, text.ptr, text.len);
    own[text.len] = 0;
    t->lines[t->n++] = (struct line){own, weight};
}

static inline void tally_value(struct buf *line, const struct value *v)
{
    if (v->null)
        buf_put_str(line, STR("NULL"));
    else
        value_print(v, line);
    buf_put_u8(line, '|');
}

static inline void tally_batch(struct tally *t, const struct batch *b)
{
    struct buf line;
    buf_init(&line, 1 << 20);
    for (uint32_t i = 0; i < b->n_rows; i++) {
        buf_clear(&line);
        for (uint32_t c = 0; c < b->n_columns; c++) {
            struct value v = column_get(&b->columns[c], i);
            tally_value(&line, &v);
        }
        tally_line(t, buf_str(&line), b->weights == NULL ? 1 : b->weights[i]);
    }
    buf_deinit(&line);
}

static inline void tally_rows(struct tally *t, const struct rows *r)
{
    struct buf line;
    buf_init(&line, 1 << 20);
    for (uint32_t i = 0; i < r->n; i++) {
        buf_clear(&line);
        for (uint32_t c = 0; c < r->n_columns; c++)
            tally_value(&line, &r->rows[i].v[c]);
        tally_line(t, buf_str(&line), r->rows[i].weight);
    }
    buf_deinit(&line);
}

static inline int line_compare(const void *a, const void *b)
{
    return strcmp(((const struct line *)a)->text, ((const struct line *)b)->text);
}

/* One line for each row, ascending, none with weight 0. */
static inline void tally_settle(struct tally *t)
{
    if (t->n > 1)
        qsort(t->lines, t->n, sizeof(*t->lines), line_compare);
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) {
        if (n > 0 && strcmp(t->lines[n - 1].text, t->lines[i].text) == 0) {
            t->lines[n - 1].weight += t->lines[i].weight;
            mem_free(t->lines[i].text);
            continue;
        }
        if (n > 0 && t->lines[n - 1].weight == 0)
            mem_free(t->lines[--n].text);
        t->lines[n++] = t->lines[i];
    }
    if (n > 0 && t->lines[n - 1].weight == 0)
        mem_free(t->lines[--n].text);
    t->n = n;
}

static inline void tally_free(struct tally *t)
{
    for (size_t i = 0; i < t->n; i++)
        mem_free(t->lines[i].text);
    mem_free(t->lines);
    *t = (struct tally){0};
}

/* Both settled. */
static inline void tally_equal(const struct tally *got, const struct tally *want, const char *what)
{
    size_t n = got->n < want->n ? got->n : want->n;
    for (size_t i = 0; i < n; i++)
        if (strcmp(got->lines[i].text, want->lines[i].text) != 0 ||
            got->lines[i].weight != want->lines[i].weight)
            fail_msg("%s: row %zu is %s x %lld, not %s x %lld", what, i, got->lines[i].text,
                     (long long)got->lines[i].weight, want->lines[i].text,
                     (long long)want->lines[i].weight);
    if (got->n != want->n)
        fail_msg("%s: %zu rows, not %zu; the first of the rest is %s", what, got->n, want->n,
                 got->n > n ? got->lines[n].text : want->lines[n].text);
}

/* ---- plans by hand, in one arena ---- */

static inline void *fixture_alloc(struct arena *a, size_t n, size_t size)
{
    void *p = arena_zalloc(a, n == 0 ? 1 : n, size);
    assert_non_null(p);
    return p;
}

static inline struct expr *expr_column(struct arena *a, const struct plan_node *input,
                                       uint32_t index)
{
    struct expr *e = fixture_alloc(a, 1, sizeof(*e));
    *e = (struct expr){.kind = EXPR_COLUMN, .position = -1, .n_nodes = 1, .index = index};
    e->type = input->columns[index].type;
    return e;
}

static inline struct expr *expr_int(struct arena *a, int32_t v)
{
    struct expr *e = fixture_alloc(a, 1, sizeof(*e));
    *e = (struct expr){.kind = EXPR_CONST, .type = TYPE_INT4, .position = -1, .n_nodes = 1};
    e->value = (struct value){.type = TYPE_INT4, .as.i4 = v};
    return e;
}

static inline struct expr *expr_function(struct arena *a, const struct function *f,
                                         const struct expr *x, const struct expr *y)
{
    struct expr *e = fixture_alloc(a, 1, sizeof(*e));
    const struct expr **args = fixture_alloc(a, 2, sizeof(struct expr *));
    args[0] = x;
    args[1] = y;
    *e = (struct expr){.kind = EXPR_CALL,
                       .type = f->result,
                       .position = -1,
                       .n_args = y == NULL ? 1 : 2,
                       .args = args,
                       .function = f};
    e->n_nodes = 1 + x->n_nodes + (y == NULL ? 0 : y->n_nodes);
    return e;
}

/* An operator over two values of one type. */
static inline struct expr *expr_operator(struct arena *a, const char *name, const struct expr *x,
                                         const struct expr *y)
{
    const struct function *list[FUNCTION_OVERLOADS_MAX];
    uint32_t n = function_candidates(FUNCTION_OPERATOR, str_of(name), list);
    for (uint32_t i = 0; i < n; i++)
        if (list[i]->n_args == 2 && list[i]->args[0] == x->type && list[i]->args[1] == y->type)
            return expr_function(a, list[i], x, y);
    fail_msg("no operator %s", name);
    return NULL;
}

static inline struct plan_node *plan_new(struct arena *a, enum plan_kind kind,
                                         const struct plan_node *input, uint32_t n_columns)
{
    struct plan_node *n = fixture_alloc(a, 1, sizeof(*n));
    struct column_def *columns = fixture_alloc(a, n_columns, sizeof(*columns));
    assert_true(n_columns <= ROW_COLUMNS_MAX);
    *n = (struct plan_node){
        .kind = kind, .position = -1, .input = input, .n_columns = n_columns, .columns = columns};
    for (uint32_t i = 0; input != NULL && i < input->n_columns && i < n_columns; i++)
        columns[i] = input->columns[i];
    return n;
}

static inline struct column_def *plan_columns(struct plan_node *n)
{
    return (struct column_def *)(uintptr_t)n->columns;
}

/* Whether relations are said to be ones whose rows never go. */
static bool append_only;

static inline struct plan_node *plan_scan(struct arena *a, const enum type *types, uint32_t n)
{
    static const struct view changing;
    static const struct relation table = {.kind = REL_TABLE, .event_time = 1},
                                 view = {.kind = REL_VIEW, .event_time = 1, .view = &changing};
    struct plan_node *node = plan_new(a, PLAN_SCAN, NULL, n);
    uint32_t *columns = fixture_alloc(a, n + 1, sizeof(*columns));
    node->relation = append_only ? &table : &view;
    node->scan_columns = columns;
    for (uint32_t i = 0; i < n; i++)
        columns[i] = i;
    for (uint32_t i = 0; i < n; i++)
        plan_columns(node)[i] = (struct column_def){.name = STR("c"), .type = types[i]};
    return node;
}

static inline struct plan_node *plan_filter(struct arena *a, const struct plan_node *input,
                                            const struct expr *condition)
{
    struct plan_node *n = plan_new(a, PLAN_FILTER, input, input->n_columns);
    const struct expr **exprs = fixture_alloc(a, 1, sizeof(struct expr *));
    exprs[0] = condition;
    n->exprs = exprs;
    n->n_exprs = 1;
    return n;
}

static inline struct plan_node *plan_project(struct arena *a, const struct plan_node *input,
                                             const struct expr *const *exprs, uint32_t n_exprs)
{
    struct plan_node *n = plan_new(a, PLAN_PROJECT, input, n_exprs);
    const struct expr **own = fixture_alloc(a, n_exprs, sizeof(struct expr *));
    for (uint32_t i = 0; i < n_exprs; i++) {
        own[i] = exprs[i];
        plan_columns(n)[i] = (struct column_def){.name = STR("c"), .type = exprs[i]->type};
    }
    n->exprs = own;
    n->n_exprs = n_exprs;
    return n;
}

static inline struct plan_node *plan_two(struct arena *a, enum plan_kind kind,
                                         const struct plan_node *left,
                                         const struct plan_node *right, uint32_t n_columns)
{
    struct plan_node *n = plan_new(a, kind, left, n_columns);
    n->right = right;
    return n;
}

/* Keys: column l[i] of the left input and r[i] of the right one. */
static inline struct plan_node *plan_join(struct arena *a, enum join_kind kind,
                                          const struct plan_node *left,
                                          const struct plan_node *right, uint32_t n_keys,
                                          const uint32_t *l, const uint32_t *r,
                                          const bool *null_safe)
{
    bool narrow = kind == JOIN_SEMI || kind == JOIN_ANTI || kind == JOIN_MARK;
    uint32_t more = kind == JOIN_MARK ? 1 : narrow ? 0 : right->n_columns;
    struct plan_node *n = plan_two(a, PLAN_JOIN, left, right, left->n_columns + more);
    const struct expr **lk = fixture_alloc(a, n_keys, sizeof(struct expr *));
    const struct expr **rk = fixture_alloc(a, n_keys, sizeof(struct expr *));
    bool *safe = fixture_alloc(a, n_keys, sizeof(bool));
    for (uint32_t i = 0; i < more; i++)
        plan_columns(n)[left->n_columns + i] =
            narrow ? (struct column_def){.name = STR("matched"), .type = TYPE_BOOL}
                   : right->columns[i];
    for (uint32_t i = 0; i < n_keys; i++) {
        lk[i] = expr_column(a, left, l[i]);
        rk[i] = expr_column(a, right, r[i]);
        safe[i] = null_safe[i];
    }
    n->join = (struct join_spec){
        .kind = kind, .n_keys = n_keys, .left_keys = lk, .right_keys = rk, .null_safe = safe};
    return n;
}

/* Keys are columns of the input. */
static inline struct plan_node *plan_aggregate(struct arena *a, const struct plan_node *input,
                                               const uint32_t *keys, uint32_t n_keys,
                                               const struct aggregate *aggs, uint32_t n_aggs)
{
    struct plan_node *n = plan_new(a, PLAN_AGGREGATE, NULL, n_keys + n_aggs);
    const struct expr **exprs = fixture_alloc(a, n_keys, sizeof(struct expr *));
    struct aggregate *own = fixture_alloc(a, n_aggs, sizeof(*own));
    for (uint32_t i = 0; i < n_keys; i++) {
        exprs[i] = expr_column(a, input, keys[i]);
        plan_columns(n)[i] = input->columns[keys[i]];
    }
    for (uint32_t i = 0; i < n_aggs; i++) {
        own[i] = aggs[i];
        plan_columns(n)[n_keys + i] = (struct column_def){.name = STR("a"), .type = aggs[i].type};
    }
    n->input = input;
    n->exprs = exprs;
    n->n_exprs = n_keys;
    n->aggs = own;
    n->n_aggs = n_aggs;
    return n;
}

/* Rows go to each of their windows, by the time in `column`. */
static inline struct plan_node *plan_window(struct arena *a, const struct plan_node *input,
                                            uint32_t column, int64_t size_us, int64_t slide_us)
{
    struct plan_node *n = plan_new(a, PLAN_WINDOW, input, input->n_columns + 2);
    for (uint32_t i = input->n_columns; i < n->n_columns; i++)
        plan_columns(n)[i] = (struct column_def){.name = STR("w"), .type = TYPE_TIMESTAMPTZ};
    n->window =
        (struct window_spec){.time_column = column, .size_us = size_us, .slide_us = slide_us};
    return n;
}

/* ---- the answer by nested loops ---- */

/* All that went into each scan. */
struct feed {
    uint32_t n;
    const struct plan_node *scans[SCANS_MAX];
    struct rows rows[SCANS_MAX];
};

static inline void feed_free(struct feed *f)
{
    for (uint32_t i = 0; i < f->n; i++)
        rows_free(&f->rows[i]);
}

static inline void node_types(const struct plan_node *n, enum type *types)
{
    for (uint32_t i = 0; i < n->n_columns; i++)
        types[i] = n->columns[i].type;
}

/* The values of an expression over rows; failed[i]: the row fails. */
static inline void naive_values(const struct expr *e, const struct rows *in, const enum type *types,
                                struct value *out, bool *failed)
{
    struct arena a, compiled;
    struct expr_program *p;
    struct kernel_context k;
    struct column c;
    arena_init(&a, FIXTURE_BYTES);
    arena_init(&compiled, FIXTURE_BYTES);
    assert_int_equal(expr_compile(e, &compiled, &p, NULL), ERR_OK);
    struct batch *b = rows_batch(in, types, in->n_columns, 0, in->n, &a);
    assert_non_null(b);
    kernel_context_init(&k, &a, 0);
    assert_int_equal(expr_eval(p, b, NULL, &k, &c), ERR_OK);
    for (uint32_t i = 0; i < in->n; i++) {
        out[i] = column_get(&c, i);
        failed[i] |= k.row_errors != NULL && k.row_errors[i] != ERR_OK;
    }
    arena_deinit(&a);
    arena_deinit(&compiled);
}

static inline bool value_equal(const struct value *x, const struct value *y, bool null_safe)
{
    if (x->null || y->null)
        return null_safe && x->null && y->null;
    return value_compare(x, y) == 0;
}

static inline bool key_equal(const struct join_spec *j, const struct row *l, const struct row *r)
{
    for (uint32_t i = 0; i < j->n_keys; i++)
        if (!value_equal(&l->v[j->left_keys[i]->index], &r->v[j->right_keys[i]->index],
                         j->null_safe[i]))
            return false;
    return true;
}

static inline void pair_row(const struct plan_node *left, const struct plan_node *right,
                            const struct row *l, const struct row *r, struct row *out)
{
    *out = (struct row){.weight = (l == NULL ? 1 : l->weight) * (r == NULL ? 1 : r->weight)};
    for (uint32_t i = 0; i < left->n_columns; i++)
        out->v[i] =
            l != NULL ? l->v[i] : (struct value){.type = left->columns[i].type, .null = true};
    for (uint32_t i = 0; i < right->n_columns; i++)
        out->v[left->n_columns + i] =
            r != NULL ? r->v[i] : (struct value){.type = right->columns[i].type, .null = true};
}

static inline struct rows naive(const struct plan_node *n, const struct feed *f);

/* The pairs that a join's keys and condition hold for; their numbers in l[] and r[]. */
static inline uint32_t naive_pairs(const struct plan_node *n, const struct rows *left,
                                   const struct rows *right, uint32_t *l, uint32_t *r)
{
    struct rows pairs = {.n_columns = n->input->n_columns + n->right->n_columns};
    enum type types[2 * ROW_COLUMNS_MAX];
    uint32_t count = 0, kept = 0;
    for (uint32_t i = 0; i < left->n; i++)
        for (uint32_t k = 0; k < right->n; k++) {
            if (!key_equal(&n->join, &left->rows[i], &right->rows[k]))
                continue;
            struct row x;
            pair_row(n->input, n->right, &left->rows[i], &right->rows[k], &x);
            rows_add(&pairs, &x);
            l[count] = i;
            r[count++] = k;
        }
    if (n->join.condition == NULL || count == 0) {
        rows_free(&pairs);
        return count;
    }
    struct value *v = mem_alloc(count * sizeof(*v));
    bool *failed = mem_zalloc(count, sizeof(bool));
    node_types(n->input, types);
    node_types(n->right, types + n->input->n_columns);
    naive_values(n->join.condition, &pairs, types, v, failed);
    for (uint32_t i = 0; i < count; i++)
        if (!failed[i] && !v[i].null && v[i].as.b) {
            l[kept] = l[i];
            r[kept++] = r[i];
        }
    mem_free(v);
    mem_free(failed);
    rows_free(&pairs);
    return kept;
}

static inline void naive_alone(const struct plan_node *n, const struct row *row, bool is_left,
                               int64_t matches, struct rows *out)
{
    enum join_kind k = n->join.kind;
    struct row x = *row;
    if (k == JOIN_MARK)
        x.v[n->input->n_columns] = (struct value){.type = TYPE_BOOL, .as.b = matches > 0};
    else if (k != JOIN_SEMI && k != JOIN_ANTI)
        pair_row(n->input, n->right, is_left ? row : NULL, is_left ? NULL : row, &x);
    bool give = k == JOIN_MARK ? true : k == JOIN_SEMI ? matches > 0 : matches == 0;
    give &= k != JOIN_INNER && (is_left || k == JOIN_FULL);
    if (give)
        rows_add(out, &x);
}

static inline void naive_join(const struct plan_node *n, const struct rows *left,
                              const struct rows *right, struct rows *out)
{
    size_t room = (size_t)left->n * right->n + 1;
    uint32_t *l = mem_alloc(room * sizeof(*l)), *r = mem_alloc(room * sizeof(*r));
    int64_t *lm = mem_zalloc(left->n + 1, sizeof(*lm)), *rm = mem_zalloc(right->n + 1, sizeof(*rm));
    enum join_kind k = n->join.kind;
    assert_true(l != NULL && r != NULL && lm != NULL && rm != NULL);
    uint32_t count = naive_pairs(n, left, right, l, r);
    for (uint32_t i = 0; i < count; i++) {
        lm[l[i]] += right->rows[r[i]].weight;
        rm[r[i]] += left->rows[l[i]].weight;
    }
    bool pairs = k == JOIN_INNER || k == JOIN_LEFT || k == JOIN_FULL || k == JOIN_SINGLE;
    for (uint32_t i = 0; pairs && i < count; i++) {
        struct row x;
        pair_row(n->input, n->right, &left->rows[l[i]], &right->rows[r[i]], &x);
        if (k != JOIN_SINGLE || lm[l[i]] <= 1)
            rows_add(out, &x);
    }
    for (uint32_t i = 0; i < left->n; i++)
        naive_alone(n, &left->rows[i], true, lm[i], out);
    for (uint32_t i = 0; i < right->n; i++)
        naive_alone(n, &right->rows[i], false, rm[i], out);
    mem_free(l);
    mem_free(r);
    mem_free(lm);
    mem_free(rm);
}

static inline void naive_chain(const struct plan_node *n, const struct rows *in, struct rows *out)
{
    enum type types[ROW_COLUMNS_MAX];
    struct value *v = mem_alloc((in->n + 1) * sizeof(*v));
    bool *failed = mem_zalloc(in->n + 1, sizeof(bool));
    struct rows result = {.n_columns = n->n_columns};
    node_types(n->input, types);
    for (uint32_t i = 0; i < in->n; i++)
        rows_add(&result, &in->rows[i]);
    for (uint32_t c = 0; c < n->n_exprs && in->n > 0; c++) {
        naive_values(n->exprs[c], in, types, v, failed);
        for (uint32_t i = 0; i < in->n; i++) {
            if (n->kind == PLAN_FILTER)
                failed[i] |= v[i].null || !v[i].as.b;
            else
                result.rows[i].v[c] = v[i];
        }
    }
    for (uint32_t i = 0; i < in->n; i++)
        if (!failed[i])
            rows_add(out, &result.rows[i]);
    rows_free(&result);
    mem_free(v);
    mem_free(failed);
}

static inline void naive_window(const struct plan_node *n, const struct rows *in, struct rows *out)
{
    uint32_t c = n->n_columns;
    for (uint32_t i = 0; i < in->n; i++) {
        const struct value *time = &in->rows[i].v[n->window.time_column];
        int64_t first, last;
        if (time->null || !window_range(&n->window, time->as.i8, &first, &last))
            continue;
        int64_t size = n->window.size_us, step = n->window.slide_us, ts = time->as.i8;
        bool grow = n->window.kind == WINDOW_CUMULATE;
        if (grow) /* all ends of the window that begins with the size's multiple */
            for (first = last; first % size != 0; first -= step)
                continue;
        if (n->window.kind == WINDOW_SESSION)
            first = last = ts;
        for (int64_t end = grow ? first : last; grow ? end < first + size : first <= last;
             end += step) {
            if (grow && end + step <= ts)
                continue;
            struct row x = in->rows[i];
            x.v[c - 2] = (struct value){.type = TYPE_TIMESTAMPTZ, .as.i8 = first};
            x.v[c - 1] = x.v[c - 2];
            x.v[c - 1].as.i8 = grow ? end + step : first + size;
            rows_add(out, &x);
            first += grow ? 0 : step;
        }
    }
}

static inline void naive_append(struct rows *out, const struct rows *more)
{
    for (uint32_t i = 0; i < more->n; i++)
        rows_add(out, &more->rows[i]);
}

/* Equal rows of a relation together, without those that are gone. */
static inline void rows_settle(struct rows *r)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n; i++) {
        uint32_t k = 0;
        for (; k < n; k++) {
            uint32_t c = 0;
            while (c < r->n_columns && value_equal(&r->rows[i].v[c], &r->rows[k].v[c], true) &&
                   (r->rows[i].v[c].null || r->rows[i].v[c].type != TYPE_NUMERIC ||
                    r->rows[i].v[c].as.num.scale == r->rows[k].v[c].as.num.scale))
                c++;
            if (c == r->n_columns)
                break;
        }
        if (k == n)
            r->rows[n++] = r->rows[i];
        else
            r->rows[k].weight += r->rows[i].weight;
    }
    r->n = 0;
    for (uint32_t i = 0; i < n; i++)
        if (r->rows[i].weight != 0)
            r->rows[r->n++] = r->rows[i];
}

static inline bool rows_same(const struct row *x, const struct row *y, uint32_t n_columns)
{
    for (uint32_t i = 0; i < n_columns; i++)
        if (!value_equal(&x->v[i], &y->v[i], true))
            return false;
    return true;
}

/* Equal rows as SQL has it together, each as the first of them. */
static inline struct rows rows_distinct(const struct rows *in)
{
    struct rows out = {.n_columns = in->n_columns};
    for (uint32_t i = 0; i < in->n; i++) {
        uint32_t k = 0;
        while (k < out.n && !rows_same(&in->rows[i], &out.rows[k], in->n_columns))
            k++;
        if (k == out.n)
            rows_add(&out, &in->rows[i]);
        else
            out.rows[k].weight += in->rows[i].weight;
    }
    return out;
}

static inline void naive_setop(const struct plan_node *n, const struct rows *left,
                               const struct rows *right, struct rows *out)
{
    struct rows l = rows_distinct(left), r = rows_distinct(right);
    for (uint32_t i = 0; i < l.n; i++) {
        int64_t here = l.rows[i].weight, there = 0;
        struct row x = l.rows[i];
        for (uint32_t k = 0; k < r.n; k++)
            if (rows_same(&x, &r.rows[k], l.n_columns))
                there = r.rows[k].weight;
        if (!n->all)
            x.weight = here > 0 && (there > 0) == n->intersect;
        else if (n->intersect)
            x.weight = here < there ? here : there;
        else
            x.weight = here > there ? here - there : 0;
        if (x.weight != 0)
            rows_add(out, &x);
    }
    rows_free(&l);
    rows_free(&r);
}

/* One aggregate over the rows of a group (those with group[i] == g). False: it fails. */
static inline bool naive_cell(const struct aggregate *x, const struct rows *in,
                              const enum type *in_types, const uint32_t *group, uint32_t g,
                              struct value *out)
{
    struct arena a;
    struct agg_op op;
    uint32_t cells_bytes = 0, n = 0;
    uint64_t heap = 0;
    struct rows one = {.n_columns = 1};
    struct value *args = mem_zalloc(in->n + 1, sizeof(*args)),
                 *filters = mem_zalloc(in->n + 1, sizeof(*filters));
    bool *failed = mem_zalloc(in->n + 1, sizeof(bool));
    arena_init(&a, FIXTURE_BYTES);
    assert_int_equal(agg_resolve(x, NULL, &cells_bytes, &op, NULL), ERR_OK);
    if (x->arg != NULL && in->n > 0)
        naive_values(x->arg, in, in_types, args, failed);
    if (x->filter != NULL && in->n > 0)
        naive_values(x->filter, in, in_types, filters, failed);
    for (uint32_t i = 0; i < in->n; i++) {
        if (group[i] != g || args[i].null ||
            (x->filter != NULL && (filters[i].null || !filters[i].as.b)))
            continue;
        struct row r = {.v = {args[i]}, .weight = in->rows[i].weight};
        uint32_t k = 0;
        while (x->distinct && k < one.n && !value_equal(&one.rows[k].v[0], &args[i], true))
            k++;
        if (x->distinct && k < one.n)
            continue;
        r.weight = x->distinct ? 1 : r.weight;
        rows_add(&one, &r);
    }
    n = one.n;
    char *cells = fixture_alloc(&a, 1, cells_bytes), **to = fixture_alloc(&a, n, sizeof(char *));
    for (uint32_t i = 0; i < n; i++)
        to[i] = cells;
    int64_t *weights = fixture_alloc(&a, n, sizeof(*weights));
    for (uint32_t i = 0; i < n; i++)
        weights[i] = one.rows[i].weight;
    struct batch *b = x->arg == NULL ? NULL : rows_batch(&one, &x->arg->type, 1, 0, n, &a);
    assert_int_equal(
        agg_update(&op, to, b == NULL ? NULL : &b->columns[0], NULL, weights, n, &heap), ERR_OK);
    bool made = agg_result(&op, cells, NULL, out, NULL) == ERR_OK;
    if (made && !out->null && type_info(out->type)->by_ref) /* of the values that were there */
        for (uint32_t i = 0; i < n; i++)
            if (str_eq(one.rows[i].v[0].as.s, out->as.s)) {
                out->as.s = one.rows[i].v[0].as.s;
                break;
            }
    agg_clear(&op, cells);
    rows_free(&one);
    mem_free(args);
    mem_free(filters);
    mem_free(failed);
    arena_deinit(&a);
    return made;
}

static inline void naive_aggregate(const struct plan_node *n, const struct rows *in,
                                   struct rows *out)
{
    struct rows groups = {.n_columns = n->n_exprs};
    uint32_t *group = mem_zalloc(in->n + 1, sizeof(*group));
    enum type in_types[ROW_COLUMNS_MAX];
    struct row x = {.weight = 1};
    node_types(n->input, in_types);
    if (n->n_exprs == 0)
        rows_add(&groups, &x);
    for (uint32_t i = 0; i < in->n; i++) {
        for (uint32_t c = 0; c < n->n_exprs; c++)
            x.v[c] = in->rows[i].v[n->exprs[c]->index];
        uint32_t k = 0;
        while (k < groups.n && !rows_same(&groups.rows[k], &x, n->n_exprs))
            k++;
        if (k == groups.n)
            rows_add(&groups, &x);
        group[i] = k;
    }
    for (uint32_t g = 0; g < groups.n; g++) {
        bool made = true;
        x = groups.rows[g];
        for (uint32_t i = 0; i < n->n_aggs; i++)
            made &= naive_cell(&n->aggs[i], in, in_types, group, g, &x.v[n->n_exprs + i]);
        if (made)
            rows_add(out, &x);
    }
    mem_free(group);
    rows_free(&groups);
}

/* Rows with what they are sorted by. */
struct sorted_row {
    const struct plan_node *node;
    const struct row *row;
    struct str bytes;
};

static inline int sorts_compare(const struct sorted_row *x, const struct sorted_row *y)
{
    for (uint32_t i = 0; i < x->node->n_sorts; i++) {
        const struct sort_key *s = &x->node->sorts[i];
        const struct value *v = &x->row->v[s->column], *w = &y->row->v[s->column];
        if (v->null != w->null)
            return v->null == s->nulls_first ? -1 : 1;
        int c = v->null ? 0 : value_compare(v, w);
        if (c != 0)
            return s->descending ? -c : c;
    }
    return 0;
}

static inline int sorted_compare(const void *a, const void *b)
{
    int c = sorts_compare(a, b);
    return c != 0 ? c
                  : str_cmp(((const struct sorted_row *)a)->bytes,
                            ((const struct sorted_row *)b)->bytes);
}

static inline bool naive_together(const struct plan_node *n, const struct sorted_row *x,
                                  const struct sorted_row *y)
{
    for (uint32_t c = 0; c < n->n_partition_columns; c++)
        if (!value_equal(&x->row->v[n->partition_columns[c]],
                         &y->row->v[n->partition_columns[c]], true))
            return false;
    return true;
}

static inline void naive_top(const struct plan_node *n, const struct rows *in, struct rows *out)
{
    struct arena a;
    enum type in_types[ROW_COLUMNS_MAX];
    struct row_format format;
    arena_init(&a, FIXTURE_BYTES);
    node_types(n->input, in_types);
    struct batch *b = rows_batch(in, in_types, in->n_columns, 0, in->n, &a);
    struct str *bytes = fixture_alloc(&a, in->n, sizeof(*bytes));
    uint32_t *hashes = fixture_alloc(&a, in->n, sizeof(*hashes));
    assert_non_null(b);
    if (b == NULL)
        return;
    struct sorted_row *sorted = fixture_alloc(&a, in->n, sizeof(*sorted));
    int64_t *ranks = fixture_alloc(&a, in->n, sizeof(*ranks));
    assert_int_equal(row_format_init(&format, in_types, in->n_columns, &a), ERR_OK);
    assert_int_equal(row_format_encode(&format, b->columns, in->n, &a, 0, bytes, hashes), ERR_OK);
    for (uint32_t i = 0; i < in->n; i++)
        sorted[i] = (struct sorted_row){n, &in->rows[i], bytes[i]};
    qsort(sorted, in->n, sizeof(*sorted), sorted_compare);
    for (uint32_t i = 0; i < in->n; i++) {
        int64_t before = 0, skip = n->offset == NULL ? 0 : n->offset->value.as.i8,
                end = n->limit == NULL ? INT64_MAX : skip + n->limit->value.as.i8;
        const struct sorted_row *last = NULL; /* the one that reaches the limit */
        int64_t all = 0;
        for (uint32_t k = 0; k < in->n; k++) {
            if (!naive_together(n, &sorted[i], &sorted[k]))
                continue;
            all += sorted[k].row->weight;
            before = k < i ? all : before;
            last = last == NULL && all >= end ? &sorted[k] : last;
        }
        int64_t from = before > skip ? before : skip, to = before + sorted[i].row->weight;
        ranks[i] = before;
        if (to > end &&
            !(n->with_ties && end > skip && last != NULL && sorts_compare(last, &sorted[i]) == 0))
            to = end;
        struct row x = *sorted[i].row;
        x.weight = to - from;
        if (to > from && !n->numbered)
            rows_add(out, &x);
        for (int64_t at = from; n->numbered && at < to; at++) {
            int64_t rank = at;
            for (uint32_t k = 0; n->with_ties && k <= i; k++)
                if (naive_together(n, &sorted[i], &sorted[k]) &&
                    sorts_compare(&sorted[i], &sorted[k]) == 0) {
                    rank = skip > ranks[k] ? skip : ranks[k];
                    break;
                }
            x.v[n->n_columns - 1] =
                (struct value){.type = TYPE_INT8, .as.i8 = rank + 1};
            x.weight = 1;
            rows_add(out, &x);
        }
    }
    arena_deinit(&a);
}

#include "unit/run/flow_fixture_over.h"

static inline struct rows naive(const struct plan_node *n, const struct feed *f)
{
    struct rows out = {.n_columns = n->n_columns}, left = {0}, right = {0};
    if (n->kind == PLAN_SCAN) {
        for (uint32_t i = 0; i < f->n; i++)
            if (f->scans[i] == n)
                naive_append(&out, &f->rows[i]);
        rows_settle(&out);
        return out;
    }
    left = naive(n->input, f);
    if (n->right != NULL)
        right = naive(n->right, f);
    if (n->kind == PLAN_JOIN) {
        naive_join(n, &left, &right, &out);
    } else if (n->kind == PLAN_TOP) {
        naive_top(n, &left, &out);
    } else if (n->kind == PLAN_AGGREGATE) {
        naive_aggregate(n, &left, &out);
    } else if (n->kind == PLAN_SETOP) {
        naive_setop(n, &left, &right, &out);
    } else if (n->kind == PLAN_WINDOW) {
        naive_window(n, &left, &out);
    } else if (n->kind == PLAN_UNION_ALL) {
        naive_append(&out, &left);
        naive_append(&out, &right);
    } else if (n->kind == PLAN_OVER) {
        naive_partitions(n, &left, &out);
    } else {
        assert_true(n->kind == PLAN_FILTER || n->kind == PLAN_PROJECT);
        naive_chain(n, &left, &out);
    }
    rows_settle(&out);
    rows_free(&left);
    rows_free(&right);
    return out;
}

/* ---- drivers ---- */

/* One partition by flow_local, or several with an exchange. */
struct driver {
    const struct plan_node *root;
    struct flow *flow;
    struct feed feed;    /* all that went in */
    struct tally out;    /* all that came out */
    bool never_negative; /* checked of each row that comes out */
    uint32_t n_row_errors, n_more;
    struct flow_local *local;
    /* the other kind */
    uint32_t n_partitions;
    struct flow_state *states[PARTS_MAX];
    struct arena arena; /* of the epoch */
    struct queued {
        struct flow_packet packet;
        uint32_t partition;
    } * queue;
    uint32_t n_queued, queue_cap;
};

static inline void take_rows(struct driver *d, const struct batch *b)
{
    assert_true(b->n_rows > 0 && b->n_rows <= BATCH_ROWS_MAX);
    assert_int_equal(b->n_columns, d->root->n_columns);
    for (uint32_t i = 0; b->weights != NULL && d->never_negative && i < b->n_rows; i++)
        assert_true(b->weights[i] >= 0);
    tally_batch(&d->out, b);
}

static inline enum err driver_rows(void *arg, const struct batch *b)
{
    take_rows(arg, b);
    return ERR_OK;
}

static inline enum err driver_row_error(void *arg, const struct batch *b, uint32_t row, enum err e,
                                        const char *text)
{
    struct driver *d = arg;
    assert_true(row < b->n_rows && e != ERR_OK && text[0] != 0);
    d->n_row_errors++;
    return ERR_OK;
}

/* Rows of a packet that go to a partition. */
static inline void queue_part(struct driver *d, const struct flow_packet *p, uint32_t partition)
{
    uint32_t n = 0, *numbers = fixture_alloc(&d->arena, p->batch->n_rows, sizeof(uint32_t));
    struct str *keys = fixture_alloc(&d->arena, p->batch->n_rows, sizeof(*keys));
    uint64_t *hashes = fixture_alloc(&d->arena, p->batch->n_rows, sizeof(*hashes));
    for (uint32_t i = 0; i < p->batch->n_rows; i++)
        if (key_partition(p->keys[i], d->n_partitions) == partition) {
            struct str whole = {p->keys[i].ptr,
                                p->keys[i].len + flow_tail_bytes(d->flow, p->op, p->port)};
            keys[n] = (struct str){arena_str(&d->arena, whole).ptr, p->keys[i].len};
            hashes[n] = p->hashes[i];
            numbers[n++] = i;
        }
    if (n == 0)
        return;
    if (d->n_queued == d->queue_cap) {
        d->queue_cap = d->queue_cap == 0 ? 16 : d->queue_cap * 2;
        d->queue = mem_realloc(d->queue, d->queue_cap * sizeof(*d->queue));
        assert_non_null(d->queue);
    }
    struct flow_packet part = {.op = p->op,
                               .port = p->port,
                               .batch = batch_gather(p->batch, numbers, n, &d->arena),
                               .keys = keys,
                               .hashes = hashes};
    assert_non_null(part.batch);
    d->queue[d->n_queued++] = (struct queued){part, partition};
}

static inline enum err driver_emit(void *arg, const struct flow_packet *p)
{
    struct driver *d = arg;
    assert_true(p->batch->n_rows > 0 && p->batch->n_rows <= BATCH_ROWS_MAX);
    if (p->op == FLOW_ROOT) {
        take_rows(d, p->batch);
        return ERR_OK;
    }
    assert_true(p->op < flow_n_operators(d->flow));
    for (uint32_t i = 0; i < d->n_partitions; i++)
        queue_part(d, p, i);
    return ERR_OK;
}

static inline struct flow_context driver_context(struct driver *d)
{
    return (struct flow_context){
        .arena = &d->arena, .emit = driver_emit, .row_error = driver_row_error, .arg = d};
}

/* Applies all packets, in any order. */
static inline void driver_drain(struct driver *d)
{
    struct flow_context c = driver_context(d);
    while (d->n_queued > 0) {
        uint32_t at = rng(d->n_queued);
        struct queued q = d->queue[at];
        d->queue[at] = d->queue[--d->n_queued];
        for (bool more = true; more;) {
            assert_int_equal(flow_apply(d->flow, d->states[q.partition], &q.packet, &c, &more),
                             ERR_OK);
            d->n_more += more;
        }
    }
}

static inline void driver_open(struct driver *d, const struct plan_node *root, uint32_t partitions,
                               const struct plan_node *const *scans, uint32_t n_scans)
{
    struct flow_sink sink = {.rows = driver_rows, .row_error = driver_row_error, .arg = d};
    struct err_detail why = {0};
    *d = (struct driver){.root = root, .n_partitions = partitions};
    enum err e = flow_new(root, rng(1000), &d->flow, &why);
    if (e != ERR_OK)
        fail_msg("%s", err_text(e, &why));
    d->feed.n = n_scans;
    for (uint32_t i = 0; i < n_scans; i++) {
        d->feed.scans[i] = scans[i];
        d->feed.rows[i].n_columns = scans[i]->n_columns;
    }
    arena_init(&d->arena, FIXTURE_BYTES);
    if (partitions == 0) {
        assert_int_equal(flow_local_new(d->flow, FIXTURE_BYTES, 0, &sink, &d->local), ERR_OK);
        return;
    }
    for (uint32_t i = 0; i < partitions; i++)
        assert_int_equal(flow_state_new(d->flow, FIXTURE_BYTES, &d->states[i]), ERR_OK);
    struct flow_context c = driver_context(d);
    assert_int_equal(flow_seed(d->flow, d->states[key_partition((struct str){0}, partitions)], &c),
                     ERR_OK);
}

static inline void driver_close(struct driver *d)
{
    flow_local_free(d->local);
    for (uint32_t i = 0; i < d->n_partitions; i++)
        flow_state_free(d->states[i]);
    flow_free(d->flow);
    feed_free(&d->feed);
    tally_free(&d->out);
    arena_deinit(&d->arena);
    mem_free(d->queue);
}

static inline void driver_steps(struct driver *d)
{
    struct err_detail why = {0};
    for (bool more = true; more;) {
        enum err e = flow_local_step(d->local, &more, &why);
        if (e != ERR_OK)
            fail_msg("%s", err_text(e, &why));
    }
}

static inline void driver_push(struct driver *d, uint32_t scan, const struct batch *b)
{
    struct flow_late late;
    for (uint32_t i = 0; i < flow_n_scans(d->flow); i++) {
        if (flow_scan(d->flow, i) != d->feed.scans[scan])
            continue;
        if (d->local != NULL) {
            flow_local_push(d->local, i, b);
            driver_steps(d);
            continue;
        }
        struct flow_context c = driver_context(d);
        assert_int_equal(flow_source(d->flow, i, b, NULL, &c, &late), ERR_OK);
        assert_int_equal(late.n, 0);
        if (rng(3) == 0)
            driver_drain(d);
    }
}

static inline void driver_end_epoch(struct driver *d)
{
    if (d->local != NULL) {
        flow_local_finish(d->local);
        driver_steps(d);
        return;
    }
    struct flow_context c = driver_context(d);
    for (uint32_t level = 0; level < flow_n_levels(d->flow); level++) {
        driver_drain(d);
        for (uint32_t i = 0; i < d->n_partitions; i++)
            for (bool more = true; more;) {
                assert_int_equal(flow_end_level(d->flow, d->states[i], level, &c, &more), ERR_OK);
                d->n_more += more;
            }
    }
    assert_int_equal(d->n_queued, 0);
    arena_reset(&d->arena, 1 << 20);
}

/* An epoch of changes (one list for each scan), cut into batches at random and mixed. */
static inline void driver_epoch(struct driver *d, const struct rows *changes)
{
    struct arena a;
    uint32_t at[SCANS_MAX] = {0}, left = 0;
    enum type types[ROW_COLUMNS_MAX];
    arena_init(&a, FIXTURE_BYTES);
    for (uint32_t i = 0; i < d->feed.n; i++) {
        naive_append(&d->feed.rows[i], &changes[i]);
        left += changes[i].n;
    }
    uint32_t most = 1 + rng(rng(3) == 0 ? BATCH_ROWS_MAX : 20);
    while (left > 0) {
        uint32_t scan = rng(d->feed.n), n = 1 + rng(most);
        n = n < changes[scan].n - at[scan] ? n : changes[scan].n - at[scan];
        if (n == 0)
            continue;
        node_types(d->feed.scans[scan], types);
        struct batch *b =
            rows_batch(&changes[scan], types, d->feed.scans[scan]->n_columns, at[scan], n, &a);
        assert_non_null(b);
        driver_push(d, scan, b);
        at[scan] += n;
        left -= n;
    }
    driver_end_epoch(d);
    arena_deinit(&a);
}

/* What came out so far must be the answer over what went in so far. */
static inline void driver_check(struct driver *d, const char *what)
{
    struct tally want = {0};
    struct rows r = naive(d->root, &d->feed);
    tally_rows(&want, &r);
    tally_settle(&want);
    tally_settle(&d->out);
    tally_equal(&d->out, &want, what);
    tally_free(&want);
    rows_free(&r);
}

static inline uint64_t driver_state_rows(const struct driver *d)
{
    uint64_t n = d->local == NULL ? 0 : flow_state_rows(flow_local_state(d->local));
    for (uint32_t i = 0; i < d->n_partitions; i++)
        n += flow_state_rows(d->states[i]);
    return n;
}

/* ---- relations of one shape, changes and joins by chance ---- */

static const enum type types[] = {TYPE_INT4, TYPE_NUMERIC, TYPE_TEXT};
enum { COLUMNS = 3, KEYS = 5 };
/* No two rows that SQL holds equal are written differently: which one is shown is left open where
 * rows are grouped. */
static bool one_form;

static inline void any_row(struct row *r)
{
    static const char *const numerics[] = {"1.0", "2", "2.5", "1.00"};
    static const char *const texts[] = {"", "a", "b", "a longer text"};
    *r = (struct row){.weight = 1};
    r->v[0] = (struct value){.type = TYPE_INT4, .null = rng(8) == 0};
    r->v[0].as.i4 = r->v[0].null ? 0 : (int32_t)rng(KEYS);
    r->v[1] = (struct value){.type = TYPE_NUMERIC, .null = true};
    r->v[2] = (struct value){.type = TYPE_TEXT, .as.s = str_of(texts[rng(4)])};
    if (rng(6) > 0)
        assert_int_equal(value_parse(TYPE_NUMERIC, str_of(numerics[rng(one_form ? 3 : 4)]), NULL,
                                     &r->v[1], NULL),
                         ERR_OK);
}

/* Changes to a relation: rows come, rows of before go, and some of both in the same epoch, in any
 * order. */
static inline void any_changes(const struct rows *before, uint32_t n, bool retract,
                               struct rows *out)
{
    struct rows now = {.n_columns = COLUMNS};
    out->n = 0;
    naive_append(&now, before);
    rows_settle(&now);
    for (uint32_t i = 0; i < n; i++) {
        struct row r;
        any_row(&r);
        r.weight = 1 + (rng(6) == 0);
        rows_add(out, &r);
        if (retract && rng(4) == 0) {
            r.weight = -r.weight;
            rows_add(out, &r);
        }
    }
    for (uint32_t i = 0; retract && i < now.n; i++)
        if (rng(3) == 0) {
            struct row r = now.rows[i];
            r.weight = rng(2) == 0 ? -r.weight : -1;
            rows_add(out, &r);
        }
    for (uint32_t i = out->n; i > 1; i--) {
        uint32_t k = rng(i);
        struct row x = out->rows[i - 1];
        out->rows[i - 1] = out->rows[k];
        out->rows[k] = x;
    }
    rows_free(&now);
}

static inline void all_gone(const struct rows *before, struct rows *out)
{
    out->n = 0;
    naive_append(out, before);
    for (uint32_t i = 0; i < out->n; i++)
        out->rows[i].weight = -out->rows[i].weight;
}

/* Several epochs; then everything goes, and `left` rows stay: of aggregates without keys. */
static inline void run_epochs_to(struct driver *d, uint32_t epochs, uint32_t rows, bool retract,
                                 const char *what, uint32_t left)
{
    struct rows changes[SCANS_MAX] = {{0}};
    for (uint32_t epoch = 0; epoch < epochs; epoch++) {
        for (uint32_t i = 0; i < d->feed.n; i++)
            any_changes(&d->feed.rows[i], rng(rows), retract, &changes[i]);
        driver_epoch(d, changes);
        driver_check(d, what);
    }
    d->never_negative = false;
    for (uint32_t i = 0; i < d->feed.n; i++)
        all_gone(&d->feed.rows[i], &changes[i]);
    driver_epoch(d, changes);
    driver_check(d, what);
    assert_int_equal(d->out.n, left);
    assert_int_equal(driver_state_rows(d), left);
    for (uint32_t i = 0; i < d->feed.n; i++)
        rows_free(&changes[i]);
}

static inline void run_epochs(struct driver *d, uint32_t epochs, uint32_t rows, bool retract,
                              const char *what)
{
    run_epochs_to(d, epochs, rows, retract, what, 0);
}

static const enum join_kind kinds[] = {JOIN_INNER, JOIN_LEFT, JOIN_FULL,  JOIN_SEMI,
                                       JOIN_ANTI,  JOIN_MARK, JOIN_SINGLE};
static const char *const kind_names[] = {"inner", "left", "full", "semi", "anti", "mark", "single"};

/* Over left ++ right: 1: left int < right int; 2: fails where the two are equal. */
static inline const struct expr *any_condition(struct arena *a, const struct plan_node *left,
                                               uint32_t which)
{
    struct expr *l = expr_column(a, left, 0), *r = fixture_alloc(a, 1, sizeof(*r));
    *r = *l;
    r->index = left->n_columns;
    if (which == 1)
        return expr_operator(a, "<", l, r);
    return expr_operator(a, ">", expr_operator(a, "/", expr_int(a, 3), expr_operator(a, "-", l, r)),
                         expr_int(a, 0));
}

static inline struct plan_node *any_join(struct arena *a, enum join_kind kind,
                                         const struct plan_node *left,
                                         const struct plan_node *right, uint32_t n_keys,
                                         uint32_t condition)
{
    uint32_t l[2] = {rng(2), 2}, r[2] = {l[0], 2};
    bool safe[2] = {rng(2) == 0, rng(2) == 0};
    struct plan_node *n = plan_join(a, kind, left, right, n_keys, l, r, safe);
    if (condition > 0)
        n->join.condition = any_condition(a, left, condition);
    return n;
}

/* Back to the columns that all relations have; a mark becomes an int. */
static inline const struct plan_node *narrow(struct arena *a, const struct plan_node *n)
{
    uint32_t right = n->n_columns > COLUMNS ? COLUMNS * rng(2) : 0;
    const struct expr *exprs[COLUMNS];
    if (n->n_columns == COLUMNS && rng(2) == 0)
        return n;
    for (uint32_t i = 0; i < COLUMNS; i++)
        exprs[i] = expr_column(a, n, n->n_columns == COLUMNS + 1 ? i : i + right);
    if (n->n_columns == COLUMNS + 1)
        exprs[0] = expr_function(a, function_cast(TYPE_BOOL, TYPE_INT4, CAST_EXPLICIT),
                                 expr_column(a, n, COLUMNS), NULL);
    return plan_project(a, n, exprs, COLUMNS);
}

static inline const struct expr *count_expr(struct arena *a, int64_t v)
{
    struct expr *e = expr_int(a, 0);
    e->type = TYPE_INT8;
    e->value = (struct value){.type = TYPE_INT8, .as.i8 = v};
    return e;
}

static inline struct plan_node *any_top(struct arena *a, const struct plan_node *in, bool numbered)
{
    struct plan_node *n = plan_new(a, PLAN_TOP, in, in->n_columns + numbered);
    uint32_t *partition = fixture_alloc(a, 2, sizeof(*partition));
    struct sort_key *sorts = fixture_alloc(a, 3, sizeof(*sorts));
    n->n_partition_columns = rng(3);
    partition[0] = rng(2) * 2;
    partition[1] = 1;
    n->partition_columns = partition;
    n->n_sorts = rng(4);
    for (uint32_t i = 0; i < n->n_sorts; i++)
        sorts[i] = (struct sort_key){rng(COLUMNS), rng(2) == 0, rng(2) == 0};
    n->sorts = sorts;
    n->limit = rng(8) == 0 ? NULL : count_expr(a, rng(rng(4) == 0 ? 30 : 4));
    n->offset = rng(2) == 0 ? NULL : count_expr(a, rng(3));
    n->with_ties = n->limit != NULL && rng(3) == 0;
    n->numbered = numbered;
    if (numbered)
        plan_columns(n)[in->n_columns].type = TYPE_INT8;
    return n;
}

/* ---- asked once ---- */

static inline enum err no_rows(void *arg, const struct batch *b)
{
    *(uint64_t *)arg += b->n_rows;
    return ERR_OK;
}

/* Runs a query once over `n` rows on each side; an error is returned. */
static inline enum err ask(const struct plan_node *root, const struct batch *b, uint64_t bytes_max,
                           struct err_detail *why)
{
    uint64_t rows = 0;
    struct flow_sink sink = {.rows = no_rows, .arg = &rows};
    struct flow *f = NULL;
    struct flow_local *l = NULL;
    enum err e = flow_new(root, 1, &f, why);
    if (e == ERR_OK)
        e = flow_local_new(f, bytes_max, 0, &sink, &l);
    for (uint32_t i = 0; e == ERR_OK && i <= flow_n_scans(f); i++) {
        if (i == flow_n_scans(f))
            flow_local_finish(l);
        else
            flow_local_push(l, i, b);
        for (bool more = true; more && e == ERR_OK;)
            e = flow_local_step(l, &more, why);
    }
    flow_local_free(l);
    flow_free(f);
    return e;
}

static inline struct batch *any_batch(uint32_t n, struct arena *a)
{
    struct rows rows = {.n_columns = COLUMNS};
    for (uint32_t i = 0; i < n; i++) {
        struct row r;
        any_row(&r);
        rows_add(&rows, &r);
    }
    struct batch *b = rows_batch(&rows, types, COLUMNS, 0, n, a);
    assert_non_null(b);
    rows_free(&rows);
    return b;
}

#endif
