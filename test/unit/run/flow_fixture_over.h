/* OVER by nested loops: part of flow_fixture.h, which includes it in its midst. */
#ifndef TIDEMILL_TEST_UNIT_RUN_FLOW_FIXTURE_OVER_H
#define TIDEMILL_TEST_UNIT_RUN_FLOW_FIXTURE_OVER_H

#include "unit/run/flow_fixture.h"

/* ---- partitions in order ---- */

/* Expressions that an OVER keeps of each row besides its input's columns, in their order. */
static inline uint32_t naive_kept(const struct plan_node *n, const struct expr **out)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < n->n_overs; i++) {
        const struct over_function *f = &n->overs[i];
        for (uint32_t k = 0; k < f->n_args + 2; k++) {
            const struct expr *e = k < f->n_args    ? f->args[k]
                                   : k == f->n_args ? f->aggregate.arg
                                                    : f->aggregate.filter;
            if (e != NULL && e->kind != EXPR_COLUMN && (k >= f->n_args || e->kind != EXPR_CONST))
                out[count++] = e;
        }
    }
    return count;
}

/* A row of a partition and where it stands. */
struct placed {
    struct row row; /* weight 1 */
    struct str bytes;
    uint32_t group; /* of peers */
};
static const struct plan_node *placed_by;

static inline int placed_sorts(const struct row *x, const struct row *y)
{
    for (uint32_t i = 0; i < placed_by->n_sorts; i++) {
        const struct sort_key *k = &placed_by->sorts[i];
        const struct value *v = &x->v[k->column], *w = &y->v[k->column];
        if (v->null != w->null)
            return v->null == k->nulls_first ? -1 : 1;
        int c = v->null ? 0 : value_compare(v, w);
        if (c != 0)
            return k->descending ? -c : c;
    }
    return 0;
}

static inline int placed_compare(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    int c = placed_sorts(&x->row, &y->row);
    return c != 0 ? c : str_cmp(x->bytes, y->bytes);
}

/* The rows of `in` as bytes. */
static inline struct str *naive_bytes(const struct plan_node *n, const struct rows *in,
                                      struct arena *a)
{
    const struct expr *kept[ROW_COLUMNS_MAX];
    enum type of[ROW_COLUMNS_MAX];
    uint32_t n_in = n->input->n_columns, n_kept = naive_kept(n, kept);
    struct rows wide = {.n_columns = n_in + n_kept};
    struct row_format format;
    struct str *bytes = fixture_alloc(a, in->n, sizeof(*bytes));
    uint32_t *hashes = fixture_alloc(a, in->n, sizeof(*hashes));
    struct value *v = fixture_alloc(a, in->n, sizeof(*v));
    bool *failed = fixture_alloc(a, in->n, sizeof(bool));
    node_types(n->input, of);
    naive_append(&wide, in);
    for (uint32_t k = 0; k < n_kept; k++) {
        naive_values(kept[k], in, of, v, failed);
        of[n_in + k] = kept[k]->type;
        for (uint32_t i = 0; i < in->n; i++)
            wide.rows[i].v[n_in + k] = v[i];
    }
    assert_int_equal(row_format_init(&format, of, wide.n_columns, a), ERR_OK);
    struct batch *b = rows_batch(&wide, of, wide.n_columns, 0, wide.n, a);
    if (b == NULL)
        fail_msg("out of memory");
    else
        assert_int_equal(row_format_encode(&format, b->columns, wide.n, a, 0, bytes, hashes),
                         ERR_OK);
    rows_free(&wide);
    return bytes;
}

/* The rows of the partition that row `like` is in, in order, each as often as it is there. */
static inline uint32_t naive_partition(const struct plan_node *n, const struct rows *in,
                                       const struct str *bytes, const struct row *like,
                                       struct placed **out)
{
    uint32_t count = 0, cap = 16;
    *out = mem_alloc(cap * sizeof(**out));
    for (uint32_t i = 0; i < in->n; i++) {
        bool same = true;
        for (uint32_t k = 0; k < n->n_partition_columns; k++)
            same &= value_equal(&in->rows[i].v[n->partition_columns[k]],
                                &like->v[n->partition_columns[k]], true);
        for (int64_t w = 0; same && w < in->rows[i].weight; w++) {
            if (count == cap)
                *out = mem_realloc(*out, (cap *= 2) * sizeof(**out));
            (*out)[count] = (struct placed){.row = in->rows[i], .bytes = bytes[i]};
            (*out)[count++].row.weight = 1;
        }
    }
    placed_by = n;
    if (count > 1)
        qsort(*out, count, sizeof(**out), placed_compare);
    for (uint32_t i = 1; i < count; i++)
        (*out)[i].group =
            (*out)[i - 1].group + (placed_sorts(&(*out)[i - 1].row, &(*out)[i].row) != 0);
    return count;
}

/* Whether row j is not before (is_start), or not behind, the end of row i's frame. */
static inline bool naive_within(const struct plan_node *n, const struct frame *f,
                                const struct placed *p, uint32_t i, uint32_t j, bool is_start)
{
    enum frame_bound bound = is_start ? f->start : f->end;
    int64_t by = is_start ? f->start_offset.as.i8 : f->end_offset.as.i8, distance;
    if (bound == BOUND_UNBOUNDED_PRECEDING || bound == BOUND_UNBOUNDED_FOLLOWING)
        return is_start == (bound == BOUND_UNBOUNDED_PRECEDING);
    by = bound == BOUND_CURRENT ? 0 : bound == BOUND_PRECEDING ? -by : by;
    distance = f->mode == FRAME_ROWS ? (int64_t)j - i : (int64_t)p[j].group - p[i].group;
    if (f->mode == FRAME_RANGE && bound != BOUND_CURRENT) {
        const struct value *v = &p[j].row.v[n->sorts[0].column],
                           *w = &p[i].row.v[n->sorts[0].column];
        if (v->null || w->null)
            return v->null == w->null || is_start == (j > i);
        distance = ((int64_t)v->as.i4 - w->as.i4) * (n->sorts[0].descending ? -1 : 1);
    }
    return is_start ? distance >= by : distance <= by;
}

static inline bool naive_framed(const struct plan_node *n, const struct frame *f,
                                const struct placed *p, uint32_t i, uint32_t j)
{
    bool peer = p[i].group == p[j].group;
    if (f->exclude == EXCLUDE_CURRENT ? i == j
        : f->exclude == EXCLUDE_GROUP ? peer
                                      : f->exclude == EXCLUDE_TIES && peer && i != j)
        return false;
    return naive_within(n, f, p, i, j, true) && naive_within(n, f, p, i, j, false);
}

static inline struct value naive_argument(const struct plan_node *n, const struct expr *e,
                                          const struct placed *p)
{
    struct rows one = {.n_columns = n->input->n_columns};
    enum type of[ROW_COLUMNS_MAX];
    struct value v;
    bool failed = false;
    node_types(n->input, of);
    rows_add(&one, &p->row);
    naive_values(e, &one, of, &v, &failed);
    rows_free(&one);
    if (!v.null && e->kind == EXPR_CONST)
        v = e->value; /* lives on */
    return v;
}

/* A bound of the session of row i of `count` in order. */
static inline struct value naive_session(const struct plan_node *n, const struct over_function *f,
                                         const struct placed *p, uint32_t count, uint32_t i)
{
    int64_t gap = f->args[1]->value.as.i8, step = f->kind == OVER_SESSION_START ? -1 : 1;
    struct value v = naive_argument(n, f->args[0], &p[i]);
    for (int64_t j = i + step; j >= 0 && j < count; j += step) {
        struct value w = naive_argument(n, f->args[0], &p[j]);
        if ((w.as.i8 - v.as.i8) * step > gap)
            break;
        v = w;
    }
    v.as.i8 += step > 0 ? gap : 0;
    return v;
}

/* False: the row fails. */
static inline bool naive_function(const struct plan_node *n, const struct over_function *f,
                                  const struct placed *p, uint32_t count, uint32_t i,
                                  struct value *out)
{
    uint32_t before = 0, upto = 0, framed = 0, at = count, last = count, *group;
    struct rows in = {.n_columns = n->input->n_columns};
    enum type of[ROW_COLUMNS_MAX];
    int64_t nth = 0;
    bool made = true;
    node_types(n->input, of);
    *out = (struct value){.type = f->type, .null = true};
    group = mem_zalloc(count, sizeof(*group));
    if (f->kind == OVER_NTH_VALUE)
        nth = naive_argument(n, f->args[1], &p[i]).as.i4 - 1;
    for (uint32_t j = 0; j < count; j++) {
        before += p[j].group < p[i].group;
        upto += p[j].group <= p[i].group;
        group[j] = !naive_framed(n, &f->frame, p, i, j);
        at = group[j] == 0 && framed == nth ? j : at;
        last = group[j] == 0 ? j : last;
        framed += group[j] == 0;
        rows_add(&in, &p[j].row);
    }
    switch (f->kind) {
    case OVER_SESSION_START:
    case OVER_SESSION_END: *out = naive_session(n, f, p, count, i); break;
    case OVER_ROW_NUMBER: *out = (struct value){.type = TYPE_INT8, .as.i8 = i + 1}; break;
    case OVER_RANK: *out = (struct value){.type = TYPE_INT8, .as.i8 = before + 1}; break;
    case OVER_DENSE_RANK: *out = (struct value){.type = TYPE_INT8, .as.i8 = p[i].group + 1}; break;
    case OVER_PERCENT_RANK:
        *out = (struct value){.type = TYPE_FLOAT8,
                              .as.f8 = count == 1 ? 0 : (double)before / (count - 1)};
        break;
    case OVER_CUME_DIST:
        *out = (struct value){.type = TYPE_FLOAT8, .as.f8 = (double)upto / count};
        break;
    case OVER_NTILE: {
        uint32_t buckets = (uint32_t)naive_argument(n, f->args[0], &p[0]).as.i4, row = 0, b = 0;
        for (; row <= i; b++) /* bucket by bucket */
            row += count / buckets + (b < count % buckets);
        *out = (struct value){.type = TYPE_INT4, .as.i4 = (int32_t)b};
        break;
    }
    case OVER_LAG:
    case OVER_LEAD: {
        int64_t by = f->n_args > 1 ? naive_argument(n, f->args[1], &p[i]).as.i4 : 1;
        int64_t to = f->kind == OVER_LAG ? i - by : i + by;
        if (to >= 0 && to < count)
            *out = naive_argument(n, f->args[0], &p[to]);
        else if (f->n_args > 2)
            *out = naive_argument(n, f->args[2], &p[i]);
        break;
    }
    case OVER_FIRST_VALUE:
    case OVER_NTH_VALUE:
    case OVER_LAST_VALUE:
        at = f->kind == OVER_LAST_VALUE ? last : at;
        if (at < count)
            *out = naive_argument(n, f->args[0], &p[at]);
        break;
    case OVER_AGGREGATE: made = naive_cell(&f->aggregate, &in, of, group, 0, out); break;
    }
    mem_free(group);
    rows_free(&in);
    return made;
}

static inline void naive_over(const struct plan_node *n, struct placed *p, uint32_t count,
                              struct rows *out)
{
    for (uint32_t i = 0; i < count; i++) {
        struct row x = p[i].row;
        bool made = true;
        for (uint32_t k = 0; k < n->n_overs; k++)
            made &= naive_function(n, &n->overs[k], p, count, i, &x.v[n->input->n_columns + k]);
        if (made)
            rows_add(out, &x);
    }
}

/* OVER: partition by partition. */
static inline void naive_partitions(const struct plan_node *n, const struct rows *in,
                                    struct rows *out)
{
    struct arena a;
    arena_init(&a, FIXTURE_BYTES);
    struct str *bytes = naive_bytes(n, in, &a);
    bool *seen = fixture_alloc(&a, in->n, sizeof(bool));
    for (uint32_t i = 0; i < in->n; i++) {
        struct placed *p;
        if (seen[i])
            continue;
        for (uint32_t j = i; j < in->n; j++) {
            bool same = true;
            for (uint32_t k = 0; k < n->n_partition_columns; k++)
                same &= value_equal(&in->rows[i].v[n->partition_columns[k]],
                                    &in->rows[j].v[n->partition_columns[k]], true);
            seen[j] |= same;
        }
        uint32_t count = naive_partition(n, in, bytes, &in->rows[i], &p);
        naive_over(n, p, count, out);
        mem_free(p);
    }
    arena_deinit(&a);
}

#endif
