/* OVER: each row of a partition with what functions say of its place there.
 *
 *   end of the epoch, for each touched partition, in pieces:
 *     the rows as they were --> results --\
 *     the rows as they are  --> results ---> the rows that differ go (-1) and come (+1)
 *
 * A row with weight n is n rows. Results of before are computed again instead of kept: state is
 * the rows alone. */
#include "base/check.h"
#include "base/mem.h"
#include "run/aggregate.h"
#include "run/flow_frame.h"
#include "run/flow_sorted.h"

enum { OVER_ARGS_MAX = 3, OVER_ROWS_MAX = 1 << 30, NO_COLUMN = -1 };

/* What a function is given: a column of the rows that are kept, or a constant. */
struct over_arg {
    int64_t column;
    struct value constant;
};

struct over_op {
    enum over_kind kind;
    struct frame frame;
    enum type type;
    uint32_t n_args;
    struct over_arg args[OVER_ARGS_MAX];
    struct agg_op agg;
    int64_t *agg_args, agg_filter; /* columns, or NO_COLUMN */
    bool backwards;              /* from the last row on, so that frames grow */
};

struct over_plan {
    struct flow_sorted_plan sorted;
    uint32_t n_ops, cells_bytes;
    struct over_op *ops;
    enum type *types; /* of a row that is given */
};

/* The partition's rows of before or of now. */
struct over_side {
    struct frame_rows rows;
    uint32_t *first;        /* row of each place of the order, and n */
    uint32_t *peers;        /* groups' first rows */
    uint32_t *groups;       /* of each row */
    struct batch *batch;    /* what is kept, a row each */
    struct column *columns; /* what is given, a row each */
    uint8_t *failed;        /* enum err of each row; NULL: none */
    struct str *texts;      /* of those */
};

struct over_state {
    struct flow_sorted sorted;
    char *cells; /* of all functions, zero between two of them */
    uint64_t heap_bytes;
    char **to;           /* BATCH_ROWS_MAX times `cells` */
    int64_t *minus;      /* BATCH_ROWS_MAX times -1 */
    /* in the partition that is READY: */
    enum { OVER_BEGIN, OVER_COMPUTE, OVER_GIVE } phase;
    struct over_side sides[2];      /* before, now */
    uint32_t side, op, row;         /* COMPUTE: next */
    struct frame_range covered;     /* rows that are in the cell */
    uint32_t buckets_from;          /* ntile: the first row that says how many */
    uint32_t place, copy;           /* GIVE: next */
};

/* ---- compiling ---- */

/* Column of what is kept that is `e`: one of the input's, or added to `more`. */
static int64_t column_for(const struct expr *e, uint32_t n_in, const struct expr **more,
                          uint32_t *n_more)
{
    if (e == NULL)
        return NO_COLUMN;
    if (e->kind == EXPR_COLUMN)
        return e->index;
    more[*n_more] = e;
    return n_in + (*n_more)++;
}

static enum err compile_arg(const struct expr *e, uint32_t n_in, const struct expr **more,
                            uint32_t *n_more, struct arena *a, struct over_arg *out)
{
    *out = (struct over_arg){.column = NO_COLUMN};
    if (e->kind != EXPR_CONST) {
        out->column = column_for(e, n_in, more, n_more);
        return ERR_OK;
    }
    out->constant = e->value;
    out->constant.type = e->type;
    if (!e->value.null && type_info(e->type)->by_ref) {
        out->constant.as.s = arena_str(a, e->value.as.s);
        return out->constant.as.s.ptr == NULL ? ERR_NO_MEMORY : ERR_OK;
    }
    return ERR_OK;
}

static enum err compile_op(const struct over_function *f, uint32_t n_in, const struct expr **more,
                           uint32_t *n_more, struct arena *a, struct over_plan *p,
                           struct over_op *out, struct err_detail *why)
{
    *out = (struct over_op){.kind = f->kind,
                            .frame = f->frame,
                            .type = f->type,
                            .n_args = f->n_args,
                            .agg_filter = NO_COLUMN};
    CHECK(f->n_args <= OVER_ARGS_MAX);
    for (uint32_t i = 0; i < f->n_args; i++)
        TRY(compile_arg(f->args[i], n_in, more, n_more, a, &out->args[i]));
    if (f->kind != OVER_AGGREGATE)
        return ERR_OK;
    TRY(agg_resolve(&f->aggregate, a, &p->cells_bytes, &out->agg, why));
    out->agg_args = arena_alloc(a, (out->agg.n_args + 1) * sizeof(*out->agg_args));
    if (out->agg_args == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < out->agg.n_args; i++)
        out->agg_args[i] = column_for(i == 0 ? f->aggregate.arg : f->aggregate.more[i - 1], n_in,
                                      more, n_more);
    out->agg_filter = column_for(f->aggregate.filter, n_in, more, n_more);
    out->backwards = f->frame.end == BOUND_UNBOUNDED_FOLLOWING &&
                     f->frame.start != BOUND_UNBOUNDED_PRECEDING;
    return ERR_OK;
}

static enum err over_compile(struct flow_op *op, struct arena *a, struct err_detail *why)
{
    const struct plan_node *node = op->node;
    uint32_t n_in = node->input->n_columns, n_more = 0, most = 2 * node->n_overs;
    for (uint32_t i = 0; i < node->n_overs; i++)
        most += node->overs[i].n_args + node->overs[i].aggregate.n_more;
    struct over_plan *p = arena_zalloc(a, 1, sizeof(*p));
    const struct expr **more = arena_alloc(a, (most + 1) * sizeof(struct expr *));
    enum type *types = arena_alloc(a, (n_in + node->n_overs + 1) * sizeof(*types));
    struct over_op *ops = arena_zalloc(a, node->n_overs + 1, sizeof(*ops));
    if (p == NULL || more == NULL || types == NULL || ops == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n_in; i++)
        types[i] = node->input->columns[i].type;
    for (uint32_t i = 0; i < node->n_overs; i++) {
        TRY(compile_op(&node->overs[i], n_in, more, &n_more, a, p, &ops[i], why));
        types[n_in + i] = ops[i].type;
    }
    p->ops = ops;
    p->n_ops = node->n_overs;
    p->types = types;
    op->plan = p;
    return flow_sorted_compile(op, more, n_more, a, &p->sorted);
}

/* ---- state ---- */

static void clear_cells(const struct over_plan *p, struct over_state *s)
{
    for (uint32_t i = 0; s->cells != NULL && i < p->n_ops; i++)
        if (p->ops[i].kind == OVER_AGGREGATE)
            agg_clear(&p->ops[i].agg, s->cells);
}

static void over_state_free(const struct flow_op *op, void *state)
{
    struct over_state *s = state;
    clear_cells(op->plan, s);
    flow_sorted_deinit(&s->sorted);
    mem_free(s->cells);
    mem_free(s->to);
    mem_free(s->minus);
    mem_free(s);
}

static enum err over_state_new(const struct flow_op *op, uint64_t hash_seed, uint64_t bytes_max,
                               void **out)
{
    (void)hash_seed;
    const struct over_plan *p = op->plan;
    struct over_state *s = mem_zalloc(1, sizeof(*s));
    if (s == NULL)
        return ERR_NO_MEMORY;
    enum err e = flow_sorted_init(&s->sorted, op, &p->sorted, bytes_max);
    s->cells = mem_zalloc(1, p->cells_bytes + 1);
    s->to = mem_alloc(BATCH_ROWS_MAX * sizeof(char *));
    s->minus = mem_alloc(BATCH_ROWS_MAX * sizeof(*s->minus));
    if (e == ERR_OK && (s->cells == NULL || s->to == NULL || s->minus == NULL))
        e = ERR_NO_MEMORY;
    if (e != ERR_OK) {
        over_state_free(op, s);
        return e;
    }
    for (uint32_t i = 0; i < BATCH_ROWS_MAX; i++) {
        s->to[i] = s->cells;
        s->minus[i] = -1;
    }
    *out = s;
    return ERR_OK;
}

static uint64_t over_bytes(const void *state)
{
    const struct over_state *s = state;
    return flow_sorted_bytes(&s->sorted) + s->heap_bytes;
}

static uint64_t over_rows(const void *state)
{
    return flow_sorted_count(&((const struct over_state *)state)->sorted);
}

static enum err over_apply(struct flow_run *r, const struct flow_packet *p, bool *more)
{
    (void)more;
    struct over_state *s = r->state;
    return flow_sorted_apply(&s->sorted, r, p);
}

/* ---- a side ---- */

static int64_t weight_of(const struct row_entry *e, bool now)
{
    int64_t w = now ? e->weight : ((struct flow_sorted_row *)row_entry_owner(e))->settled;
    return w > 0 ? w : 0;
}

/* Rows in order, each as often as it is there, and who are peers. */
static enum err spread(struct flow_sorted *in, bool now, struct over_side *side, uint32_t *rows)
{
    uint32_t row = 0, group = 0;
    for (uint32_t i = 0; i < in->n; i++) {
        int64_t w = weight_of(in->entries[in->order[i]], now);
        side->first[i] = row;
        if (w == 0)
            continue;
        if (row == 0 || flow_sorted_compare(in, rows[row - 1], in->order[i]) != 0)
            side->peers[group++] = row;
        for (; w > 0; w--) {
            rows[row] = in->order[i];
            side->groups[row++] = group - 1;
        }
    }
    side->first[in->n] = side->peers[group] = row;
    side->rows.n_groups = group;
    side->batch = batch_gather(&in->batch, rows, row, &in->work);
    return side->batch == NULL ? ERR_LIMIT : ERR_OK;
}

static enum err side_new(const struct over_plan *p, struct flow_sorted *in, bool now,
                         struct over_side *side)
{
    struct arena *a = &in->work;
    uint64_t n = 0;
    *side = (struct over_side){0};
    for (uint32_t i = 0; i < in->n; i++) {
        n += (uint64_t)weight_of(in->entries[i], now);
        if (n > OVER_ROWS_MAX)
            return ERR_LIMIT;
    }
    uint32_t n_in = p->sorted.n_columns, *rows = arena_alloc(a, (n + 1) * sizeof(*rows));
    side->first = arena_alloc(a, ((size_t)in->n + 1) * sizeof(*side->first));
    side->peers = arena_alloc(a, (n + 1) * sizeof(*side->peers));
    side->groups = arena_alloc(a, (n + 1) * sizeof(*side->groups));
    side->columns = arena_alloc(a, (n_in + p->n_ops + 1) * sizeof(*side->columns));
    if (rows == NULL || side->first == NULL || side->peers == NULL || side->groups == NULL ||
        side->columns == NULL)
        return ERR_LIMIT;
    TRY(spread(in, now, side, rows));
    for (uint32_t i = 0; i < n_in; i++)
        side->columns[i] = side->batch->columns[i];
    for (uint32_t i = 0; i < p->n_ops; i++)
        if (!column_init(&side->columns[n_in + i], p->ops[i].type, (uint32_t)n + 1, true, a))
            return ERR_LIMIT;
    side->rows.n = (uint32_t)n;
    side->rows.group = side->groups;
    side->rows.start = side->peers;
    if (p->sorted.n_sorts == 1) {
        side->rows.key = &p->sorted.sorts[0];
        side->rows.sort = &side->batch->columns[side->rows.key->column];
    }
    return ERR_OK;
}

static struct value arg_value(const struct over_side *side, const struct over_arg *a, uint32_t row)
{
    return a->column == NO_COLUMN ? a->constant : column_get(&side->batch->columns[a->column], row);
}

/* ---- functions of a row's place ---- */

static struct value value_i8(int64_t v)
{
    return (struct value){.type = TYPE_INT8, .as.i8 = v};
}
static struct value value_f8(double v)
{
    return (struct value){.type = TYPE_FLOAT8, .as.f8 = v};
}

/* Row i of n in `buckets` of sizes that differ by one at most, the greater ones first. */
static enum err ntile(struct over_state *s, const struct over_op *op, const struct over_side *side,
                      uint32_t row, struct value *out, struct err_detail *why)
{
    struct value v = arg_value(side, &op->args[0], s->buckets_from);
    while (v.null && s->buckets_from < row)
        v = arg_value(side, &op->args[0], ++s->buckets_from);
    if (v.null)
        return ERR_OK;
    int64_t n = side->rows.n, at = row - s->buckets_from;
    if (v.as.i4 <= 0)
        return err_set(why, ERR_NTILE, "argument of ntile must be greater than zero");
    int64_t size = n / v.as.i4, greater = n % v.as.i4, bucket;
    if (at < greater * (size + 1))
        bucket = at / (size + 1);
    else
        bucket = greater + (at - greater * (size + 1)) / size;
    *out = (struct value){.type = TYPE_INT4, .as.i4 = (int32_t)bucket + 1};
    return ERR_OK;
}

/* lag and lead. */
static struct value neighbour(const struct over_op *op, const struct over_side *side, uint32_t row)
{
    struct value none = {.type = op->type, .null = true}, by = {.as.i4 = 1};
    if (op->n_args > 1)
        by = arg_value(side, &op->args[1], row);
    if (by.null)
        return none;
    int64_t at = (int64_t)row + (op->kind == OVER_LAG ? -(int64_t)by.as.i4 : by.as.i4);
    if (at >= 0 && at < side->rows.n)
        return arg_value(side, &op->args[0], (uint32_t)at);
    return op->n_args > 2 ? arg_value(side, &op->args[2], row) : none;
}

/* The number-th row of what is left of a frame, from its front or its back; n when there is
 * none. */
static uint32_t in_frame(struct frame_range f, const struct frame_range *out, uint32_t n_out,
                         uint64_t number, bool from_back, uint32_t none)
{
    struct frame_range parts[3];
    uint32_t n = 0, from = f.from;
    for (uint32_t i = 0; i < n_out; i++) {
        parts[n++] = (struct frame_range){from, out[i].from};
        from = out[i].to;
    }
    parts[n++] = (struct frame_range){from, f.to};
    for (uint32_t i = 0; i < n; i++) {
        struct frame_range p = parts[from_back ? n - 1 - i : i];
        if (number < p.to - p.from)
            return from_back ? p.to - 1 - (uint32_t)number : p.from + (uint32_t)number;
        number -= p.to - p.from;
    }
    return none;
}

/* first_value, last_value, nth_value. */
static enum err frame_value(const struct over_op *op, const struct over_side *side, uint32_t row,
                            struct value *out, struct err_detail *why)
{
    struct frame_range f, excluded[2];
    uint64_t number = 0;
    if (op->kind == OVER_NTH_VALUE) {
        struct value n = arg_value(side, &op->args[1], row);
        if (n.null)
            return ERR_OK;
        if (n.as.i4 <= 0)
            return err_set(why, ERR_NTH_VALUE, "argument of nth_value must be greater than zero");
        number = (uint64_t)n.as.i4 - 1;
    }
    TRY(frame_find(&op->frame, &side->rows, row, &f, why));
    uint32_t n_excluded = frame_excluded(&op->frame, &side->rows, row, f, excluded);
    uint32_t at = in_frame(f, excluded, n_excluded, number, op->kind == OVER_LAST_VALUE,
                           side->rows.n);
    if (at < side->rows.n)
        *out = arg_value(side, &op->args[0], at);
    return ERR_OK;
}

/* A bound of the session that the row is in: rows none of which is further than the gap from the
 * one before. */
static struct value session_bound(const struct over_state *s, const struct over_op *op,
                                  const struct over_side *side, uint32_t row)
{
    const struct column *time = &side->batch->columns[op->args[0].column];
    const enum time_unit unit = (enum time_unit)op->args[2].constant.as.i4;
    int64_t gap = op->args[1].constant.as.i8, apart, ts = 0, before = 0;
    struct value v = {.type = op->type};
    /* Times out of range are of no window: none came. */
    v.null = !epoch_time_us(time, row, unit, &ts);
    if (!v.null && row > 0 && epoch_time_us(time, row - 1, unit, &before) &&
        !__builtin_sub_overflow(ts, before, &apart) && apart <= gap)
        return column_get(&side->columns[s->sorted.plan->n_columns + s->op], row - 1);
    v.as.i8 = ts;
    if (op->kind == OVER_SESSION_START)
        return v;
    while (++row < side->rows.n && epoch_time_us(time, row, unit, &ts) &&
           !__builtin_sub_overflow(ts, v.as.i8, &apart) && apart <= gap)
        v.as.i8 = ts;
    v.as.i8 += gap;
    return v;
}

static enum err place_value(struct over_state *s, const struct over_op *op,
                            const struct over_side *side, uint32_t row, struct value *out,
                            struct err_detail *why)
{
    const struct frame_rows *rows = &side->rows;
    uint32_t g = rows->group[row];
    switch (op->kind) {
    case OVER_ROW_NUMBER: *out = value_i8((int64_t)row + 1); return ERR_OK;
    case OVER_RANK: *out = value_i8((int64_t)rows->start[g] + 1); return ERR_OK;
    case OVER_DENSE_RANK: *out = value_i8((int64_t)g + 1); return ERR_OK;
    case OVER_PERCENT_RANK:
        *out = value_f8(rows->n <= 1 ? 0 : (double)rows->start[g] / (double)(rows->n - 1));
        return ERR_OK;
    case OVER_CUME_DIST:
        *out = value_f8((double)rows->start[g + 1] / (double)rows->n);
        return ERR_OK;
    case OVER_NTILE: return ntile(s, op, side, row, out, why);
    case OVER_LAG:
    case OVER_LEAD: *out = neighbour(op, side, row); return ERR_OK;
    case OVER_FIRST_VALUE:
    case OVER_LAST_VALUE:
    case OVER_NTH_VALUE: return frame_value(op, side, row, out, why);
    case OVER_SESSION_START:
    case OVER_SESSION_END: *out = session_bound(s, op, side, row); return ERR_OK;
    case OVER_AGGREGATE: break;
    }
    UNREACHABLE();
}

/* ---- aggregates over frames ---- */

static struct column column_from(const struct column *c, uint32_t row)
{
    return (struct column){.type = c->type,
                           .nulls = c->nulls == NULL ? NULL : c->nulls + row,
                           .data = (char *)c->data + (size_t)row * type_info(c->type)->width};
}

/* Adds rows to the cell, or takes them back. */
static enum err cell_add(struct flow_run *r, const struct over_op *op,
                         const struct over_side *side, uint32_t from, uint32_t to, bool back)
{
    struct over_state *s = r->state;
    struct column args[AGG_ARGS_MAX];
    while (from < to) {
        uint32_t n = to - from < BATCH_ROWS_MAX ? to - from : BATCH_ROWS_MAX;
        struct column filter;
        for (uint32_t i = 0; i < op->agg.n_args; i++)
            args[i] = column_from(&side->batch->columns[op->agg_args[i]], from);
        if (op->agg_filter != NO_COLUMN)
            filter = column_from(&side->batch->columns[op->agg_filter], from);
        TRY(agg_update(&op->agg, s->to, op->agg.n_args == 0 ? NULL : args,
                       op->agg_filter == NO_COLUMN ? NULL : &filter, back ? s->minus : NULL, n,
                       &s->heap_bytes));
        flow_spend(r, n);
        from += n;
    }
    return ERR_OK;
}

static void cell_clear(struct over_state *s, const struct over_op *op)
{
    s->heap_bytes -= agg_heap_bytes(&op->agg, s->cells);
    agg_clear(&op->agg, s->cells);
    s->covered = (struct frame_range){0};
}

/* The cell is that of the frame's rows. */
static enum err cell_cover(struct flow_run *r, const struct over_op *op,
                           const struct over_side *side, struct frame_range f)
{
    struct over_state *s = r->state;
    struct frame_range c = s->covered;
    bool grows = f.from <= c.from && f.to >= c.to, meets = f.from < c.to && f.to > c.from;
    if (c.from == c.to || !meets || (!grows && !op->agg.linear)) {
        cell_clear(s, op);
        TRY(cell_add(r, op, side, f.from, f.to, false));
    } else {
        if (f.from < c.from)
            TRY(cell_add(r, op, side, f.from, c.from, false));
        if (f.to > c.to)
            TRY(cell_add(r, op, side, c.to, f.to, false));
        if (f.from > c.from)
            TRY(cell_add(r, op, side, c.from, f.from, true));
        if (f.to < c.to)
            TRY(cell_add(r, op, side, f.to, c.to, true));
    }
    s->covered = f;
    return ERR_OK;
}

static enum err cell_value(struct over_state *s, const struct over_op *op, struct value *out,
                           struct err_detail *why)
{
    TRY(agg_result(&op->agg, s->cells, &s->sorted.work, out, why));
    if (!out->null && type_info(out->type)->by_ref) /* the cell goes on to the next row */
        out->as.s = arena_str(&s->sorted.work, out->as.s);
    return !out->null && type_info(out->type)->by_ref && out->as.s.ptr == NULL ? ERR_LIMIT : ERR_OK;
}

/* *failed: the row's own error, else the query's. */
static enum err aggregate_value(struct flow_run *r, const struct over_op *op,
                                const struct over_side *side, uint32_t row, struct value *out,
                                enum err *failed, struct err_detail *why)
{
    struct over_state *s = r->state;
    struct frame_range f, excluded[2];
    *failed = frame_find(&op->frame, &side->rows, row, &f, why);
    if (*failed != ERR_OK)
        return ERR_OK;
    uint32_t n = frame_excluded(&op->frame, &side->rows, row, f, excluded);
    if (n > 0 && !op->agg.linear) {
        uint32_t from = f.from;
        cell_clear(s, op);
        for (uint32_t i = 0; i < n; i++) {
            TRY(cell_add(r, op, side, from, excluded[i].from, false));
            from = excluded[i].to;
        }
        TRY(cell_add(r, op, side, from, f.to, false));
        *failed = cell_value(s, op, out, why);
        cell_clear(s, op);
    } else {
        TRY(cell_cover(r, op, side, f));
        for (uint32_t i = 0; i < n; i++)
            TRY(cell_add(r, op, side, excluded[i].from, excluded[i].to, true));
        *failed = cell_value(s, op, out, why);
        for (uint32_t i = 0; i < n; i++)
            TRY(cell_add(r, op, side, excluded[i].from, excluded[i].to, false));
    }
    return *failed == ERR_LIMIT ? ERR_LIMIT : ERR_OK;
}

/* ---- all functions of a partition ---- */

static enum err row_failed(struct flow_sorted *in, struct over_side *side, uint32_t row, enum err e,
                           const struct err_detail *why)
{
    uint32_t n = side->rows.n;
    if (side->failed == NULL) {
        side->failed = arena_zalloc(&in->work, n, 1);
        side->texts = arena_zalloc(&in->work, n, sizeof(*side->texts));
        if (side->failed == NULL || side->texts == NULL)
            return ERR_LIMIT;
    }
    if (side->failed[row] != 0)
        return ERR_OK;
    side->failed[row] = (uint8_t)e;
    side->texts[row] = arena_str(&in->work, str_of(err_text(e, why)));
    return side->texts[row].ptr == NULL ? ERR_LIMIT : ERR_OK;
}

static enum err compute_row(struct flow_run *r, const struct over_op *op, struct over_side *side,
                            struct column *out)
{
    struct over_state *s = r->state;
    struct value v = {.type = op->type, .null = true};
    struct err_detail why = {0};
    enum err failed = ERR_OK;
    uint32_t row = op->backwards ? side->rows.n - 1 - s->row : s->row;
    if (op->kind == OVER_AGGREGATE)
        TRY(aggregate_value(r, op, side, row, &v, &failed, &why));
    else
        failed = place_value(s, op, side, row, &v, &why);
    if (failed != ERR_OK) {
        TRY(row_failed(&s->sorted, side, row, failed, &why));
        v = (struct value){.type = op->type, .null = true};
    }
    v.type = op->type;
    column_set(out, row, &v);
    flow_spend(r, 1);
    return ERR_OK;
}

/* Computes on until the piece is used up. */
static enum err compute(struct flow_run *r)
{
    const struct over_plan *p = r->op->plan;
    struct over_state *s = r->state;
    for (; s->side < 2; s->side++, s->op = 0) {
        struct over_side *side = &s->sides[s->side];
        for (; s->op < p->n_ops; s->op++, s->row = 0) {
            const struct over_op *op = &p->ops[s->op];
            if (s->row == 0)
                s->buckets_from = 0;
            for (; s->row < side->rows.n; s->row++) {
                if (r->rows_left == 0)
                    return ERR_OK;
                TRY(compute_row(r, op, side, &side->columns[p->sorted.n_columns + s->op]));
            }
            if (op->kind == OVER_AGGREGATE)
                cell_clear(s, op);
        }
    }
    s->phase = OVER_GIVE;
    s->place = s->copy = 0;
    return ERR_OK;
}

/* ---- what differs ---- */

static bool has_failed(const struct over_side *side, uint32_t row)
{
    return side->failed != NULL && side->failed[row] != 0;
}

static bool same_results(const struct over_plan *p, const struct over_side *x, uint32_t row_x,
                         const struct over_side *y, uint32_t row_y)
{
    if (has_failed(x, row_x) || has_failed(y, row_y))
        return has_failed(x, row_x) && has_failed(y, row_y);
    for (uint32_t i = p->sorted.n_columns; i < p->sorted.n_columns + p->n_ops; i++) {
        struct value v = column_get(&x->columns[i], row_x), w = column_get(&y->columns[i], row_y);
        if (!flow_same_value(&v, &w))
            return false;
    }
    return true;
}

static enum err give_row(struct flow_run *r, struct flow_out *out, const struct over_side *side,
                         uint32_t row, bool now)
{
    const struct over_plan *p = r->op->plan;
    if (!has_failed(side, row))
        return flow_out_add(out, r, side->columns, row, now ? 1 : -1);
    if (!now)
        return ERR_OK; /* it was told of, and not given, when it came to be so */
    struct batch in = {
        .n_rows = side->rows.n, .n_columns = p->sorted.n_columns, .columns = side->columns};
    return r->c->row_error(r->c->arg, &in, row, (enum err)side->failed[row],
                           side->texts[row].ptr);
}

static enum err give(struct flow_run *r, struct flow_out *out)
{
    const struct over_plan *p = r->op->plan;
    struct over_state *s = r->state;
    const struct over_side *was = &s->sides[0], *is = &s->sides[1];
    for (; s->place < s->sorted.n; s->place++, s->copy = 0) {
        uint32_t before = was->first[s->place], now = is->first[s->place];
        uint32_t n_before = was->first[s->place + 1] - before,
                 n_now = is->first[s->place + 1] - now;
        for (; s->copy < n_before || s->copy < n_now; s->copy++) {
            if (r->rows_left == 0)
                return ERR_OK;
            flow_spend(r, 1);
            uint32_t x = before + s->copy, y = now + s->copy;
            if (s->copy < n_before && s->copy < n_now && same_results(p, was, x, is, y))
                continue;
            if (s->copy < n_before)
                TRY(give_row(r, out, was, x, false));
            if (s->copy < n_now)
                TRY(give_row(r, out, is, y, true));
        }
    }
    s->phase = OVER_BEGIN;
    return flow_sorted_done(&s->sorted, r->op);
}

static enum err over_partition(struct flow_run *r, struct flow_out *out)
{
    const struct over_plan *p = r->op->plan;
    struct over_state *s = r->state;
    if (s->phase == OVER_BEGIN) {
        TRY(side_new(p, &s->sorted, false, &s->sides[0]));
        TRY(side_new(p, &s->sorted, true, &s->sides[1]));
        s->phase = OVER_COMPUTE;
        s->side = s->op = s->row = 0;
    }
    if (s->phase == OVER_COMPUTE)
        TRY(compute(r));
    return s->phase == OVER_GIVE ? give(r, out) : ERR_OK;
}

static enum err over_end_level(struct flow_run *r, bool *more)
{
    const struct over_plan *p = r->op->plan;
    struct over_state *s = r->state;
    struct flow_out out = {.types = p->types, .n_columns = p->sorted.n_columns + p->n_ops};
    bool ready;
    for (;;) {
        TRY(flow_sorted_next(&s->sorted, r, &ready, more));
        if (!ready)
            break;
        TRY(over_partition(r, &out));
        if (r->rows_left == 0)
            break;
    }
    return flow_out_flush(&out, r);
}

static void over_expire(const struct flow_op *op, void *state, int64_t watermark_us,
                        uint32_t *rows_left)
{
    (void)op;
    flow_sorted_expire(&((struct over_state *)state)->sorted, watermark_us, rows_left);
}

const struct flow_kind flow_over_kind = {
    .compile = over_compile,
    .state_new = over_state_new,
    .state_free = over_state_free,
    .bytes = over_bytes,
    .rows = over_rows,
    .apply = over_apply,
    .end_level = over_end_level,
    .expire = over_expire,
};
