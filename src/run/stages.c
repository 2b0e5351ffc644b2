#include "run/stages.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/merge_sort.h"
#include "run/aggregate_plan.h"
#include "run/expr.h"
#include "run/key.h"

enum {
    STAGES_MAX = 32,
    STEP_ARENA_KEEP_BYTES = 1 << 20,
    SORT_MOVES_PER_CALL = 16 << 10, /* of stages_finish */
    SORT_PRUNE_ROWS_MIN = 8192,
    SORT_PRUNE_ROWS_MAX = 65536,
};

enum stage_kind { STAGE_OUTPUT, STAGE_AGGREGATE, STAGE_SORT, STAGE_LIMIT };

struct aggregation {
    struct agg_plan plan;
    struct group_table **seen; /* per DISTINCT aggregate: (key, argument) pairs counted */
    struct group_table *groups;
    uint64_t heap_bytes;          /* that cells own besides */
    struct group_table_cursor at; /* output */
};

/* Rows kept for sorting: batches in one arena, and (batch, row) pairs. */
struct sort_row {
    const struct batch *batch;
    uint32_t row;
};
struct sorting {
    const struct sort_key *keys;
    uint32_t n_keys;
    uint64_t top; /* only the first rows are wanted; UINT64_MAX = all */
    struct arena arena;
    struct sort_row *rows, *spare; /* heap */
    uint64_t n, cap, at;
    struct merge_sort merge;
    bool begun, sorted;
};

struct stage {
    struct chain *chain; /* before the operator */
    enum stage_kind kind;
    struct aggregation agg;
    struct sorting sort;
    uint64_t skip, left; /* LIMIT */
    bool finished;
};

struct stages {
    struct arena arena; /* compiled */
    struct arena step;  /* the batch in work and the output */
    size_t bytes_max;
    int64_t now_us;
    uint64_t hash_seed;
    uint32_t n;
    struct stage stage[STAGES_MAX];
};

/* ---- building ---- */

static enum err build_aggregate(struct stages *s, struct stage *st, const struct plan_node *node,
                                const struct plan_node *bottom, struct err_detail *why)
{
    struct aggregation *g = &st->agg;
    st->kind = STAGE_AGGREGATE;
    TRY(agg_plan_new(node, bottom, &s->arena, &g->plan, &st->chain, why));
    g->seen = arena_zalloc(&s->arena, g->plan.n_aggs + 1, sizeof(struct group_table *));
    if (g->seen == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < g->plan.n_aggs; i++)
        if (g->plan.ops[i].distinct && !g->plan.ops[i].shared)
            TRY(group_table_new(0, s->bytes_max, &g->seen[i]));
    return agg_plan_groups(&g->plan, s->bytes_max, &g->groups);
}

static uint64_t constant_or(const struct expr *e, uint64_t otherwise)
{
    if (e == NULL || e->kind != EXPR_CONST || e->value.null)
        return otherwise;
    return e->value.as.i8 < 0 ? 0 : (uint64_t)e->value.as.i8;
}

static enum err check_limit(const struct expr *e, const char *what, struct err_detail *why)
{
    if (e != NULL && e->kind == EXPR_CONST && !e->value.null && e->value.as.i8 < 0)
        return err_set(why, ERR_INVALID_PARAMETER, "%s must not be negative", what);
    return ERR_OK;
}

/* Stages are made top down into `list`, then turned round. */
static enum err build_stage(struct stages *s, const struct plan_node *node,
                            const struct plan_node *bottom, struct stage *st,
                            struct err_detail *why)
{
    if (node->kind == PLAN_AGGREGATE)
        return build_aggregate(s, st, node, bottom, why);
    TRY(chain_compile(node->input, bottom, &s->arena, &st->chain, why));
    if (node->kind == PLAN_LIMIT) {
        TRY(check_limit(node->limit, "LIMIT", why));
        TRY(check_limit(node->offset, "OFFSET", why));
        st->kind = STAGE_LIMIT;
        st->left = constant_or(node->limit, UINT64_MAX);
        st->skip = constant_or(node->offset, 0);
        return ERR_OK;
    }
    CHECK(node->kind == PLAN_SORT);
    struct sort_key *keys = arena_alloc(&s->arena, (node->n_sorts + 1) * sizeof(*keys));
    if (keys == NULL)
        return ERR_NO_MEMORY;
    memcpy(keys, node->sorts, node->n_sorts * sizeof(*keys));
    st->kind = STAGE_SORT;
    st->sort.keys = keys;
    st->sort.n_keys = node->n_sorts;
    st->sort.top = UINT64_MAX;
    arena_init(&st->sort.arena, s->bytes_max);
    return ERR_OK;
}

static bool is_operator(const struct plan_node *n)
{
    return n->kind == PLAN_AGGREGATE || n->kind == PLAN_SORT || n->kind == PLAN_LIMIT;
}

static bool is_run_here(const struct plan_node *n)
{
    return is_operator(n) || n->kind == PLAN_WINDOW || n->kind == PLAN_FILTER ||
           n->kind == PLAN_PROJECT || n->kind == PLAN_EXPAND;
}

static enum err build(struct stages *s, const struct plan_node *root,
                      const struct plan_node **source, struct err_detail *why)
{
    const struct plan_node *ops[STAGES_MAX], *top = root;
    uint32_t n = 0;
    const struct plan_node *node = root;
    for (; is_run_here(node); node = node->input)
        if (is_operator(node)) {
            if (n == STAGES_MAX - 1)
                return err_set(why, ERR_LIMIT,
                               "the query nests more than %d sorts, limits and aggregates",
                               STAGES_MAX - 1);
            ops[n++] = node;
        }
    *source = node;
    const struct plan_node *bottom = node;
    for (uint32_t i = n; i-- > 0;) {
        TRY(build_stage(s, ops[i], bottom, &s->stage[s->n], why));
        bottom = ops[i];
        s->n++;
    }
    for (uint32_t i = 0; i + 1 < s->n; i++) {
        struct stage *st = &s->stage[i], *up = &s->stage[i + 1];
        if (st->kind == STAGE_SORT && up->kind == STAGE_LIMIT && up->left < UINT64_MAX - up->skip)
            st->sort.top = up->left + up->skip;
    }
    s->stage[s->n].kind = STAGE_OUTPUT;
    return chain_compile(top, bottom, &s->arena, &s->stage[s->n++].chain, why);
}

enum err stages_new(const struct plan_node *root, size_t bytes_max, int64_t now_us,
                    uint64_t hash_seed, struct stages **out, const struct plan_node **source,
                    struct err_detail *why)
{
    struct stages *s = mem_zalloc(1, sizeof(*s));
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->bytes_max = bytes_max;
    s->now_us = now_us;
    s->hash_seed = hash_seed;
    arena_init(&s->arena, bytes_max);
    arena_init(&s->step, bytes_max);
    enum err e = build(s, root, source, why);
    if (e != ERR_OK) {
        stages_free(s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

void stages_free(struct stages *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < STAGES_MAX; i++) {
        struct aggregation *g = &s->stage[i].agg;
        agg_plan_groups_free(&g->plan, g->groups);
        for (uint32_t a = 0; g->seen != NULL && a < g->plan.n_aggs; a++)
            group_table_free(g->seen[a]);
        mem_free(s->stage[i].sort.spare);
        mem_free(s->stage[i].sort.rows);
        arena_deinit(&s->stage[i].sort.arena);
    }
    arena_deinit(&s->arena);
    arena_deinit(&s->step);
    mem_free(s);
}

const struct chain *stages_first_chain(const struct stages *s)
{
    return s->stage[0].chain;
}
uint64_t stages_rows_wanted(const struct stages *s)
{
    const struct stage *st = &s->stage[0];
    bool bounded = st->kind == STAGE_LIMIT && st->left < UINT64_MAX - st->skip;
    return bounded ? st->skip + st->left : UINT64_MAX;
}
bool stages_streaming(const struct stages *s)
{
    return s->n == 1;
}

bool stages_satisfied(const struct stages *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (s->stage[i].kind == STAGE_LIMIT && s->stage[i].left == 0)
            return true;
    return false;
}

/* ---- aggregate ---- */

static enum err groups_full(const struct stages *s, struct err_detail *why)
{
    return err_set(why, ERR_LIMIT, "the query's groups need more than %zu bytes of memory",
                   s->bytes_max);
}

static enum err key_upsert(const struct stages *s, struct group_table *t, uint64_t hash,
                           struct str key, struct group **row, bool *created,
                           struct err_detail *why)
{
    enum err e = group_table_upsert(t, hash, key, row, created);
    if (e == ERR_LIMIT)
        return groups_full(s, why);
    if (e == ERR_TOO_LARGE)
        return err_set(why, e, "a group's key has %zu bytes, the maximum is %d", key.len,
                       GROUP_KEY_BYTES_MAX);
    return e;
}

/* Rows whose key and arguments were seen before do not count again: their cells are skipped. */
static enum err skip_seen(struct stages *s, struct aggregation *g, uint32_t agg,
                          const struct batch *in, char **cells, struct err_detail *why)
{
    const struct agg_op *op = &g->plan.ops[agg];
    uint32_t n = in->n_rows, n_keys = g->plan.n_keys;
    const struct column *arg = agg_plan_argument(&g->plan, in, agg),
                        *filter = agg_plan_filter(&g->plan, in, agg);
    struct column *pair = arena_alloc(&s->step, (n_keys + op->n_args + 1) * sizeof(*pair));
    struct str *keys = arena_alloc(&s->step, n * sizeof(*keys));
    uint64_t *hashes = arena_alloc(&s->step, n * sizeof(*hashes));
    if (pair == NULL || keys == NULL || hashes == NULL)
        return ERR_NO_MEMORY;
    memcpy(pair, in->columns, n_keys * sizeof(*pair));
    for (uint32_t c = 0; c < op->n_args; c++)
        pair[n_keys + c] = arg[c];
    if (!key_encode(pair, n_keys + op->n_args, n, &s->step, s->hash_seed, keys, hashes))
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        bool out = filter != NULL && (column_is_null(filter, i) || column_bool(filter)[i] == 0);
        for (uint32_t c = 0; c < op->n_strict; c++)
            out |= column_is_null(&arg[c], i);
        struct group *row;
        bool created = false;
        if (!out)
            TRY(key_upsert(s, g->seen[agg], hashes[i], keys[i], &row, &created, why));
        if (!created)
            cells[i] = NULL;
    }
    return ERR_OK;
}

static enum err aggregate_push(struct stages *s, struct aggregation *g, const struct batch *in,
                               struct err_detail *why)
{
    uint32_t n = in->n_rows;
    struct str *keys = arena_alloc(&s->step, (n + 1) * sizeof(*keys));
    uint64_t *hashes = arena_alloc(&s->step, (n + 1) * sizeof(*hashes));
    char **cells = arena_alloc(&s->step, (n + 1) * sizeof(char *));
    char **distinct = arena_alloc(&s->step, (n + 1) * sizeof(char *));
    if (keys == NULL || hashes == NULL || cells == NULL || distinct == NULL ||
        !key_encode(in->columns, g->plan.n_keys, n, &s->step, s->hash_seed, keys, hashes))
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        struct group *row;
        bool created;
        TRY(key_upsert(s, g->groups, hashes[i], keys[i], &row, &created, why));
        cells[i] = group_cells(row);
    }
    for (uint32_t a = 0; a < g->plan.n_aggs; a++) {
        char *const *use = cells;
        if (g->seen[a] != NULL) {
            memcpy(distinct, cells, n * sizeof(char *));
            TRY(skip_seen(s, g, a, in, distinct, why));
            use = distinct;
        }
        TRY(agg_update(&g->plan.ops[a], use, agg_plan_argument(&g->plan, in, a),
                       agg_plan_filter(&g->plan, in, a), in->weights, n, &g->heap_bytes));
    }
    return group_table_bytes(g->groups) + g->heap_bytes > s->bytes_max ? groups_full(s, why)
                                                                       : ERR_OK;
}

static enum err aggregate_output(struct stages *s, struct aggregation *g, const struct batch **out,
                                 struct err_detail *why)
{
    *out = NULL;
    if (g->plan.n_keys == 0 && group_table_count(g->groups) == 0) {
        struct group *row;
        bool created;
        TRY(group_table_upsert(g->groups, key_hash_none(s->hash_seed), (struct str){"", 0}, &row,
                               &created));
    }
    struct batch *b =
        batch_new(g->plan.types, g->plan.n_keys + g->plan.n_aggs, BATCH_ROWS_MAX, &s->step);
    if (b == NULL)
        return ERR_NO_MEMORY;
    struct group *row;
    while (b->n_rows < g->plan.rows_max && (row = group_table_next(g->groups, &g->at)) != NULL) {
        TRY(agg_plan_row(&g->plan, group_key(g->groups, row), group_cells(row), b, b->n_rows,
                         &s->step, why));
        b->n_rows++;
    }
    if (b->n_rows > 0)
        *out = b;
    return ERR_OK;
}

/* ---- sort ---- */

static int compare_rows(const void *a, const void *b, void *arg)
{
    const struct sort_row *x = a, *y = b;
    const struct sorting *so = arg;
    for (uint32_t i = 0; i < so->n_keys; i++) {
        const struct sort_key *k = &so->keys[i];
        struct value u = column_get(&x->batch->columns[k->column], x->row);
        struct value v = column_get(&y->batch->columns[k->column], y->row);
        if (u.null && v.null)
            continue;
        if (u.null || v.null)
            return u.null == k->nulls_first ? -1 : 1;
        int c = value_compare(&u, &v);
        if (c != 0)
            return k->descending ? -c : c;
    }
    return 0;
}

/* Sorts on: rows that are equal stay in the order they came. Sets so->sorted at the end. */
static enum err sort_rows(struct sorting *so, uint64_t moves)
{
    if (!so->begun) {
        so->spare = mem_alloc((so->n + 1) * sizeof(*so->spare));
        if (so->spare == NULL)
            return ERR_NO_MEMORY;
        merge_sort_begin(&so->merge, so->rows, so->spare, so->n, sizeof(*so->rows), compare_rows,
                         so);
        so->begun = true;
    }
    if (!merge_sort_run(&so->merge, moves))
        return ERR_OK;
    if (merge_sort_result(&so->merge) == so->spare) {
        so->spare = so->rows;
        so->rows = merge_sort_result(&so->merge);
        so->cap = so->n + 1;
    }
    mem_free(so->spare);
    so->spare = NULL;
    so->begun = false;
    so->sorted = true;
    return ERR_OK;
}

/* Rows so->rows[at..at+n) as one batch. */
static struct batch *sort_gather(const struct sorting *so, uint64_t at, uint32_t n, struct arena *a)
{
    const struct batch *any = so->rows[at].batch;
    enum type *types = arena_alloc(a, (any->n_columns + 1) * sizeof(*types));
    if (types == NULL)
        return NULL;
    for (uint32_t c = 0; c < any->n_columns; c++)
        types[c] = any->columns[c].type;
    struct batch *b = batch_new(types, any->n_columns, n, a);
    if (b == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        const struct sort_row *r = &so->rows[at + i];
        for (uint32_t c = 0; c < any->n_columns; c++) {
            struct value v = column_get(&r->batch->columns[c], r->row);
            column_set(&b->columns[c], i, &v);
        }
    }
    b->n_rows = n;
    return b;
}

static enum err sort_keep(struct sorting *so, const struct batch *b)
{
    if (so->n + b->n_rows > so->cap) {
        uint64_t cap = (so->n + b->n_rows) * 2;
        struct sort_row *grown = mem_realloc(so->rows, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        so->rows = grown;
        so->cap = cap;
    }
    for (uint32_t i = 0; i < b->n_rows; i++)
        so->rows[so->n++] = (struct sort_row){b, i};
    return ERR_OK;
}

/* With a LIMIT above only the first `top` rows are kept, so that memory does not grow with the
 * input. */
static enum err sort_prune(struct sorting *so, size_t bytes_max)
{
    uint64_t at = so->top * 2 < SORT_PRUNE_ROWS_MIN ? SORT_PRUNE_ROWS_MIN : so->top * 2;
    if (so->top > SORT_PRUNE_ROWS_MAX / 2 || so->n < at)
        return ERR_OK;
    TRY(sort_rows(so, UINT64_MAX));
    so->sorted = false;
    struct arena old = so->arena;
    arena_init(&so->arena, bytes_max);
    uint64_t n = so->top < so->n ? so->top : so->n;
    enum err e = ERR_OK;
    struct batch *kept = n == 0 ? NULL : sort_gather(so, 0, (uint32_t)n, &old);
    struct batch *copy = kept == NULL ? NULL : batch_copy(kept, &so->arena);
    if (n > 0 && copy == NULL)
        e = ERR_NO_MEMORY;
    so->n = 0;
    if (copy != NULL && e == ERR_OK)
        e = sort_keep(so, copy);
    arena_deinit(&old);
    return e;
}

static enum err sort_push(struct stages *s, struct sorting *so, const struct batch *in,
                          struct err_detail *why)
{
    struct batch *copy = batch_copy(in, &so->arena);
    if (copy == NULL)
        return err_set(
            why, ERR_LIMIT,
            "the rows to sort need more than %zu bytes of memory: add a LIMIT or a WHERE",
            s->bytes_max);
    TRY(sort_keep(so, copy));
    return sort_prune(so, s->bytes_max);
}

static enum err sort_output(struct stages *s, struct sorting *so, const struct batch **out)
{
    *out = NULL;
    if (!so->sorted)
        return sort_rows(so, SORT_MOVES_PER_CALL);
    uint64_t left = so->n - so->at;
    uint32_t n = left < BATCH_ROWS_MAX ? (uint32_t)left : BATCH_ROWS_MAX;
    if (n == 0)
        return ERR_OK;
    *out = sort_gather(so, so->at, n, &s->step);
    so->at += n;
    return *out == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* ---- limit ---- */

static enum err limit_push(struct stages *s, struct stage *st, const struct batch *in,
                           const struct batch **out)
{
    *out = NULL;
    uint64_t skip = st->skip < in->n_rows ? st->skip : in->n_rows;
    st->skip -= skip;
    uint64_t take = in->n_rows - skip < st->left ? in->n_rows - skip : st->left;
    st->left -= take;
    if (take == 0)
        return ERR_OK;
    if (take == in->n_rows) {
        *out = in;
        return ERR_OK;
    }
    uint32_t *rows = arena_alloc(&s->step, take * sizeof(*rows));
    if (rows == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < take; i++)
        rows[i] = (uint32_t)skip + i;
    *out = batch_gather(in, rows, (uint32_t)take, &s->step);
    return *out == NULL ? ERR_NO_MEMORY : ERR_OK;
}

/* ---- moving batches up ---- */

static enum err push_at(struct stages *s, uint32_t i, const struct batch *in, bool chained,
                        const struct batch **out, struct err_detail *why)
{
    *out = NULL;
    for (; in != NULL && in->n_rows > 0; i++, chained = false) {
        struct stage *st = &s->stage[i];
        struct chain_result r = {.batch = (struct batch *)(uintptr_t)in};
        if (!chained)
            TRY(chain_run(st->chain, in, NULL, s->now_us, &s->step, &r));
        if (r.n_errors > 0)
            return err_set(why, r.errors[0].err, "%s", r.errors[0].text);
        if (r.batch->n_rows == 0)
            return ERR_OK;
        switch (st->kind) {
        case STAGE_OUTPUT:
            *out = r.batch;
            return ERR_OK;
        case STAGE_AGGREGATE:
            return aggregate_push(s, &st->agg, r.batch, why);
        case STAGE_SORT:
            return sort_push(s, &st->sort, r.batch, why);
        case STAGE_LIMIT:
            TRY(limit_push(s, st, r.batch, &in));
            break;
        }
    }
    return ERR_OK;
}

enum err stages_push(struct stages *s, const struct batch *in, const struct batch **out,
                     struct err_detail *why)
{
    arena_reset(&s->step, STEP_ARENA_KEEP_BYTES);
    return push_at(s, 0, in, false, out, why);
}

enum err stages_push_chained(struct stages *s, const struct batch *in, const struct batch **out,
                             struct err_detail *why)
{
    arena_reset(&s->step, STEP_ARENA_KEEP_BYTES);
    return push_at(s, 0, in, true, out, why);
}

/* Whether a LIMIT above has all it lets through. */
static bool output_wanted(const struct stages *s, uint32_t i)
{
    for (i++; i < s->n; i++)
        if (s->stage[i].kind == STAGE_LIMIT && s->stage[i].left == 0)
            return false;
    return true;
}

/* The next rows that a stage has kept. False in `*more` when it has no more. */
static enum err stage_output(struct stages *s, struct stage *st, const struct batch **out,
                             bool *more, struct err_detail *why)
{
    bool sorting = st->kind == STAGE_SORT && !st->sort.sorted;
    TRY(st->kind == STAGE_SORT ? sort_output(s, &st->sort, out)
                               : aggregate_output(s, &st->agg, out, why));
    *more = *out != NULL || sorting;
    return ERR_OK;
}

enum err stages_finish(struct stages *s, const struct batch **out, bool *more,
                       struct err_detail *why)
{
    *out = NULL;
    *more = false;
    arena_reset(&s->step, STEP_ARENA_KEEP_BYTES); /* stages have their own copies */
    for (uint32_t i = 0; i < s->n; i++) {
        struct stage *st = &s->stage[i];
        if (st->finished || (st->kind != STAGE_AGGREGATE && st->kind != STAGE_SORT) ||
            !output_wanted(s, i))
            continue;
        const struct batch *b = NULL;
        TRY(stage_output(s, st, &b, more, why));
        st->finished = !*more;
        if (b != NULL)
            return push_at(s, i + 1, b, false, out, why);
        if (*more)
            return ERR_OK;
    }
    return ERR_OK;
}
