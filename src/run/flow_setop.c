/* INTERSECT and EXCEPT, with and without ALL: two counts for each distinct row.
 *
 *   rows of a side, weight w --> entry of the row: counts[side] += w, touched
 *   end of the epoch: for what was touched, the difference between what the counts ask for and what
 *   was given so far
 *
 * The row is the key: rows that SQL holds equal are one, and it is shown as the first of them wrote
 * it (the key's tail, kept as the entry's row). */
#include "base/check.h"
#include "base/mem.h"
#include "run/flow_int.h"
#include "run/key.h"

struct setop_plan {
    bool intersect, all;
    uint32_t n_columns, tail_bytes;
    const enum type *types;
};

struct counts {
    int64_t of[2];
    int64_t emitted;
    uint64_t touched;
};

struct setop_state {
    struct row_table *rows;
    struct flow_windows windows;
    struct flow_touched touched;
};

static enum err setop_compile(struct flow_op *op, struct arena *a, struct err_detail *why)
{
    (void)why;
    const struct plan_node *node = op->node;
    struct setop_plan *s = arena_zalloc(a, 1, sizeof(*s));
    enum type *types = arena_alloc(a, (node->n_columns + 1) * sizeof(*types));
    const struct expr **left = flow_columns(node->input, 0, a);
    const struct expr **right = flow_columns(node->right, 0, a);
    if (s == NULL || types == NULL || left == NULL || right == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < node->n_columns; i++) {
        types[i] = node->columns[i].type;
        CHECK(left[i]->type == types[i] && right[i]->type == types[i]);
    }
    *s = (struct setop_plan){.intersect = node->intersect,
                             .all = node->all,
                             .n_columns = node->n_columns,
                             .tail_bytes = key_tail_bytes(types, node->n_columns),
                             .types = types};
    op->n_ports = 2;
    op->ports[0] =
        (struct flow_port){.n_exprs = node->n_columns, .exprs = left, .n_keys = node->n_columns};
    op->ports[1] = op->ports[0];
    op->ports[1].exprs = right;
    for (uint32_t i = 0; i < node->n_columns; i++)
        flow_op_bound(op, node, i, i);
    op->plan = s;
    return ERR_OK;
}

static void setop_state_free(const struct flow_op *op, void *state)
{
    (void)op;
    struct setop_state *s = state;
    row_table_free(s->rows);
    flow_windows_free(&s->windows);
    flow_touched_free(&s->touched);
    mem_free(s);
}

static enum err setop_state_new(const struct flow_op *op, uint64_t hash_seed, uint64_t bytes_max,
                                void **out)
{
    (void)hash_seed;
    struct setop_state *s = mem_zalloc(1, sizeof(*s));
    if (s == NULL)
        return ERR_NO_MEMORY;
    uint32_t owner_bytes = flow_windows_init(&s->windows, op->windowed, sizeof(struct counts));
    enum err e = row_table_new(owner_bytes, bytes_max, &s->rows);
    if (e != ERR_OK) {
        setop_state_free(op, s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

static uint64_t setop_bytes(const void *state)
{
    const struct setop_state *s = state;
    return row_table_bytes(s->rows) + flow_touched_bytes(&s->touched) +
           flow_windows_bytes(&s->windows);
}

static uint64_t setop_rows(const void *state)
{
    return row_table_count(((const struct setop_state *)state)->rows);
}

static enum err setop_apply(struct flow_run *r, const struct flow_packet *p, bool *more)
{
    enum { AHEAD = 8 };
    (void)more;
    const struct setop_plan *plan = r->op->plan;
    struct setop_state *s = r->state;
    const int64_t *weights = p->batch->weights;
    uint32_t n = p->batch->n_rows;
    for (uint32_t i = 0; i < n; i++) {
        if (i + 2 * AHEAD < n)
            row_table_prefetch(s->rows, p->hashes[i + 2 * AHEAD]);
        if (i + AHEAD < n)
            row_table_prefetch_entry(s->rows, p->hashes[i + AHEAD]);
        struct row_entry *e;
        bool created;
        TRY(flow_key_entry(s->rows, p->hashes[i], p->keys[i], plan->tail_bytes, &e, &created));
        if (created && r->op->windowed)
            TRY(flow_windows_add(&s->windows, e, flow_key_end(r->op, p->keys[i])));
        struct counts *c = row_entry_owner(e);
        if (__builtin_add_overflow(c->of[p->port], weights == NULL ? 1 : weights[i],
                                   &c->of[p->port]))
            return ERR_LIMIT;
        if (!c->touched)
            TRY(flow_touch(&s->touched, e));
        c->touched = 1;
    }
    return ERR_OK;
}

static int64_t setop_wanted(const struct setop_plan *p, const struct counts *c)
{
    int64_t left = c->of[0] > 0 ? c->of[0] : 0, right = c->of[1] > 0 ? c->of[1] : 0;
    if (!p->all)
        return left > 0 && (right > 0) == p->intersect;
    if (p->intersect)
        return left < right ? left : right;
    return left > right ? left - right : 0;
}

static enum err setop_end_level(struct flow_run *r, bool *more)
{
    const struct setop_plan *plan = r->op->plan;
    struct setop_state *s = r->state;
    struct arena *a = r->c->arena;
    struct flow_touched *t = &s->touched;
    while (t->at < t->n && r->rows_left > 0) {
        struct batch *b = batch_new(plan->types, plan->n_columns, BATCH_ROWS_MAX, a);
        if (b == NULL || (b->weights = arena_alloc(a, BATCH_ROWS_MAX * sizeof(int64_t))) == NULL)
            return ERR_NO_MEMORY;
        for (; t->at < t->n && b->n_rows < BATCH_ROWS_MAX; t->at++) {
            struct row_entry *e = t->list[t->at];
            struct counts *c = row_entry_owner(e);
            int64_t wanted = setop_wanted(plan, c);
            c->touched = 0;
            if (wanted != c->emitted) {
                b->weights[b->n_rows] = wanted - c->emitted;
                struct str key = flow_key_copy(s->rows, e, a);
                if (key.ptr == NULL)
                    return ERR_NO_MEMORY;
                key_decode(key, b->columns, plan->n_columns, b->n_rows++);
            }
            c->emitted = wanted;
            if (c->of[0] != 0 || c->of[1] != 0)
                continue;
            if (r->op->windowed)
                flow_windows_remove(&s->windows, e);
            row_table_remove(s->rows, e);
        }
        flow_spend(r, BATCH_ROWS_MAX);
        TRY(flow_forward(r, b));
    }
    *more = t->at < t->n;
    if (!*more)
        t->n = t->at = 0;
    return ERR_OK;
}

static void setop_expire(const struct flow_op *op, void *state, int64_t watermark_us,
                         uint32_t *rows_left)
{
    (void)op;
    struct setop_state *s = state;
    struct row_entry *e;
    CHECK(s->touched.n == 0);
    while ((e = flow_windows_take(&s->windows, watermark_us, rows_left)) != NULL)
        row_table_remove(s->rows, e);
}

const struct flow_kind flow_setop_kind = {
    .compile = setop_compile,
    .state_new = setop_state_new,
    .state_free = setop_state_free,
    .bytes = setop_bytes,
    .rows = setop_rows,
    .apply = setop_apply,
    .end_level = setop_end_level,
    .expire = setop_expire,
};
