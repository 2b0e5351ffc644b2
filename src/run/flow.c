#include "run/flow.h"

#include "base/check.h"
#include "base/mem.h"
#include "run/expr.h"
#include "run/flow_int.h"
#include "run/key.h"

enum {
    FLOW_ARENA_BYTES_MAX = 256 << 20, /* compiled */
    VISITS_MAX = 1 << 16,             /* of nodes, while the plan is walked */
    CHAIN_NODES_MAX = 64,             /* nodes of one chain */
};

struct flow_scan {
    const struct plan_node *node;
    struct flow_outs outs;
};

struct flow_values {
    const struct plan_node *node; /* only while compiling */
    uint32_t n_rows, n_columns;
    const enum type *types;
    struct expr_program **programs; /* row-major */
    struct flow_outs outs;
};

struct flow {
    struct arena arena;
    uint64_t hash_seed;
    uint32_t n_scans, n_values, n_ops, n_levels;
    uint32_t n_edges;
    struct flow_scan *scans;
    struct flow_values *values;
    struct flow_op *ops;
};

struct flow_state {
    const struct flow *flow;
    uint64_t bytes_max;
    int64_t watermark_us; /* what ended then or before is forgotten */
    uint64_t late;
    struct flow_figures *figures; /* by operator */
    void *ops[];
};

/* ---- compiling ---- */

struct build {
    struct flow *f;
    struct err_detail *why;
    uint32_t visits;
    struct plan_node path[CHAIN_NODES_MAX]; /* copies, from the consumer down, linked by `input` */
};

static const struct flow_kind *kind_of(const struct plan_node *n)
{
    return n->kind == PLAN_JOIN        ? &flow_join_kind
           : n->kind == PLAN_SETOP     ? &flow_setop_kind
           : n->kind == PLAN_AGGREGATE ? &flow_aggregate_kind
           : n->kind == PLAN_TOP       ? &flow_top_kind
           : n->kind == PLAN_OVER      ? &flow_over_kind
                                       : NULL;
}

/* What a node stands for, once it is known: the outs that its consumers' edges go to. */
static struct flow_outs *outs_of(struct flow *f, const struct plan_node *n)
{
    for (uint32_t i = 0; i < f->n_ops; i++)
        if (f->ops[i].node == n)
            return &f->ops[i].outs;
    for (uint32_t i = 0; i < f->n_scans; i++)
        if (f->scans[i].node == n)
            return &f->scans[i].outs;
    for (uint32_t i = 0; i < f->n_values; i++)
        if (f->values[i].node == n)
            return &f->values[i].outs;
    return NULL;
}

static enum err too_large(struct err_detail *why, const char *what, uint32_t max)
{
    return err_set(why, ERR_LIMIT, "the query has more than %u %s", max, what);
}

static enum err unsupported(struct build *b, const struct plan_node *n)
{
    const char *what = n->kind == PLAN_LIMIT ? "LIMIT" : "this kind of step";
    return err_set(b->why, ERR_UNSUPPORTED, "%s is not supported inside of a query yet", what);
}

/* Finds the scans and operators below `n`; *level is that of what reads its rows. */
static enum err collect(struct build *b, const struct plan_node *n, uint32_t depth, uint32_t *level)
{
    struct flow *f = b->f;
    uint32_t left = 0, right = 0;
    if (depth == FLOW_DEPTH_MAX)
        return err_set(b->why, ERR_LIMIT, "the query nests more than %d steps", FLOW_DEPTH_MAX);
    if (b->visits++ == VISITS_MAX)
        return too_large(b->why, "steps", VISITS_MAX);
    for (uint32_t i = 0; i < f->n_ops; i++)
        if (f->ops[i].node == n) {
            *level = f->ops[i].level + 1;
            return ERR_OK;
        }
    if (n->input != NULL)
        TRY(collect(b, n->input, depth + 1, &left));
    if (n->right != NULL)
        TRY(collect(b, n->right, depth + 1, &right));
    *level = left > right ? left : right;
    if (kind_of(n) != NULL) {
        if (f->n_ops == FLOW_OPERATORS_MAX)
            return too_large(b->why, "joins, groupings and set operations", FLOW_OPERATORS_MAX);
        f->ops[f->n_ops++] = (struct flow_op){.node = n, .kind = kind_of(n), .level = *level};
        *level += 1;
    } else if (n->input == NULL && outs_of(f, n) == NULL) {
        if (f->n_scans == FLOW_SCANS_MAX || f->n_values == FLOW_SCANS_MAX)
            return too_large(b->why, "relations", FLOW_SCANS_MAX);
        if (n->kind == PLAN_SCAN)
            f->scans[f->n_scans++].node = n;
        else if (n->kind == PLAN_VALUES)
            f->values[f->n_values++].node = n;
        else
            return unsupported(b, n);
    }
    return ERR_OK;
}

/* By level; those of one level stay in their order. */
static void sort_operators(struct flow *f)
{
    for (uint32_t i = 1; i < f->n_ops; i++) {
        struct flow_op op = f->ops[i];
        uint32_t to = i;
        for (; to > 0 && f->ops[to - 1].level > op.level; to--)
            f->ops[to] = f->ops[to - 1];
        f->ops[to] = op;
    }
    for (uint32_t i = 0; i < f->n_ops; i++)
        f->ops[i].number = i;
    f->n_levels = f->n_ops == 0 ? 0 : f->ops[f->n_ops - 1].level + 1;
}

static enum err edge_add(struct build *b, struct flow_outs *outs, const struct flow_edge *e)
{
    struct flow *f = b->f;
    if (f->n_edges++ == FLOW_EDGES_MAX)
        return too_large(b->why, "ways from one step to the next", FLOW_EDGES_MAX);
    if (outs->n == outs->cap) {
        uint32_t cap = outs->cap == 0 ? 2 : outs->cap * 2;
        struct flow_edge *grown = arena_alloc(&f->arena, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        if (outs->n > 0)
            memcpy(grown, outs->edges, outs->n * sizeof(*grown));
        outs->edges = grown;
        outs->cap = cap;
    }
    outs->edges[outs->n++] = *e;
    return ERR_OK;
}

/* Makes the edges to `to` from all that `n` gets its rows from. path[0..length) are the nodes in
 * between, top down. */
static enum err link_inputs(struct build *b, const struct plan_node *n, uint32_t length,
                            const struct flow_edge *to)
{
    if (b->visits++ >= 2 * VISITS_MAX)
        return too_large(b->why, "steps", VISITS_MAX);
    struct flow_outs *outs = outs_of(b->f, n);
    if (outs != NULL) {
        struct flow_edge e = *to;
        if (length > 0)
            b->path[length - 1].input = n;
        TRY(chain_compile(length > 0 ? b->path : n, n, &b->f->arena, &e.chain, b->why));
        return edge_add(b, outs, &e);
    }
    if (n->kind == PLAN_UNION_ALL) {
        TRY(link_inputs(b, n->input, length, to));
        return link_inputs(b, n->right, length, to);
    }
    if (n->kind == PLAN_SORT)
        return link_inputs(b, n->input, length, to);
    if (n->kind != PLAN_FILTER && n->kind != PLAN_PROJECT && n->kind != PLAN_WINDOW &&
        n->kind != PLAN_EXPAND)
        return unsupported(b, n);
    if (length == CHAIN_NODES_MAX)
        return err_set(b->why, ERR_LIMIT, "the query nests more than %d steps", CHAIN_NODES_MAX);
    b->path[length] = *n;
    if (n->kind == PLAN_WINDOW)
        b->path[length].window.untimed = !window_is_timed(n);
    if (length > 0)
        b->path[length - 1].input = &b->path[length];
    return link_inputs(b, n->input, length + 1, to);
}

/* Whether a port wants its input's rows as they are. */
static bool port_is_identity(const struct flow_port *p, const struct plan_node *input)
{
    if (p->n_exprs != input->n_columns)
        return false;
    for (uint32_t i = 0; i < p->n_exprs; i++)
        if (p->exprs[i]->kind != EXPR_COLUMN || p->exprs[i]->index != i)
            return false;
    return true;
}

static enum err compile_port(struct build *b, struct flow_op *op, uint32_t port)
{
    struct flow_port *p = &op->ports[port];
    const struct plan_node *input = port == 0 ? op->node->input : op->node->right;
    enum type *types = arena_alloc(&b->f->arena, (p->n_keys + 1) * sizeof(*types));
    if (types == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < p->n_keys; i++)
        types[i] = p->exprs[p->key_at + i]->type;
    p->tail_bytes = key_tail_bytes(types, p->n_keys);
    op->key_types = types;
    struct flow_edge to = {.op = op->number, .port = port};
    uint32_t length = 0;
    if (!port_is_identity(p, input))
        b->path[length++] = (struct plan_node){
            .kind = PLAN_PROJECT, .input = input, .n_exprs = p->n_exprs, .exprs = p->exprs};
    TRY(link_inputs(b, input, length, &to));
    p->exprs = NULL;
    return ERR_OK;
}

static enum err compile_values(struct build *b, struct flow_values *v)
{
    struct arena *a = &b->f->arena;
    uint32_t n = v->node->n_columns, n_exprs = v->node->n_rows * n;
    enum type *types = arena_alloc(a, (n + 1) * sizeof(*types));
    v->programs = arena_alloc(a, (n_exprs + 1) * sizeof(struct expr_program *));
    if (types == NULL || v->programs == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++)
        types[i] = v->node->columns[i].type;
    for (uint32_t i = 0; i < n_exprs; i++)
        TRY(expr_compile(v->node->exprs[i], a, &v->programs[i], b->why));
    v->types = types;
    v->n_columns = n;
    v->n_rows = v->node->n_rows;
    return ERR_OK;
}

static enum err build_room(struct flow *f)
{
    f->scans = arena_zalloc(&f->arena, FLOW_SCANS_MAX, sizeof(*f->scans));
    f->values = arena_zalloc(&f->arena, FLOW_SCANS_MAX, sizeof(*f->values));
    f->ops = arena_zalloc(&f->arena, FLOW_OPERATORS_MAX, sizeof(*f->ops));
    return f->scans == NULL || f->values == NULL || f->ops == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static enum err build(struct build *b, const struct plan_node *root)
{
    struct flow *f = b->f;
    uint32_t level;
    TRY(build_room(f));
    TRY(collect(b, root, 0, &level));
    sort_operators(f);
    for (uint32_t i = 0; i < f->n_values; i++)
        TRY(compile_values(b, &f->values[i]));
    for (uint32_t i = 0; i < f->n_ops; i++) {
        struct flow_op *op = &f->ops[i];
        TRY(op->kind->compile(op, &f->arena, b->why));
        CHECK(op->n_ports == 1 || op->n_ports == 2);
        for (uint32_t p = 0; p < op->n_ports; p++)
            TRY(compile_port(b, op, p));
    }
    struct flow_edge to = {.op = FLOW_ROOT};
    TRY(link_inputs(b, root, 0, &to));
    for (uint32_t i = 0; i < f->n_ops; i++)
        f->ops[i].node = NULL;
    return ERR_OK;
}

enum err flow_new(const struct plan_node *root, uint64_t hash_seed, struct flow **out,
                  struct err_detail *why)
{
    struct flow *f = mem_zalloc(1, sizeof(*f));
    struct build *b = mem_zalloc(1, sizeof(*b));
    enum err e = ERR_NO_MEMORY;
    if (f != NULL && b != NULL) {
        arena_init(&f->arena, FLOW_ARENA_BYTES_MAX);
        f->hash_seed = hash_seed;
        b->f = f;
        b->why = why;
        e = build(b, root);
    }
    mem_free(b);
    if (e != ERR_OK) {
        flow_free(f);
        return e;
    }
    *out = f;
    return ERR_OK;
}

enum err flow_outline(const struct plan_node *root, struct flow_outline *out)
{
    struct flow *f = mem_zalloc(1, sizeof(*f));
    struct build *b = mem_zalloc(1, sizeof(*b));
    uint32_t level;
    enum err e = ERR_NO_MEMORY;
    if (f != NULL && b != NULL) {
        arena_init(&f->arena, FLOW_ARENA_BYTES_MAX);
        b->f = f;
        e = build_room(f);
        e = e == ERR_OK ? collect(b, root, 0, &level) : e;
    }
    if (e == ERR_OK) {
        sort_operators(f);
        *out = (struct flow_outline){.n_operators = f->n_ops, .n_scans = f->n_scans};
        for (uint32_t i = 0; i < f->n_ops; i++)
            out->operators[i] = f->ops[i].node;
        for (uint32_t i = 0; i < f->n_scans; i++)
            out->scans[i] = f->scans[i].node;
    }
    mem_free(b);
    flow_free(f);
    return e;
}

void flow_free(struct flow *f)
{
    if (f == NULL)
        return;
    arena_deinit(&f->arena);
    mem_free(f);
}

const struct expr **flow_columns(const struct plan_node *node, uint32_t more, struct arena *a)
{
    uint32_t n = node->n_columns;
    const struct expr **list = arena_alloc(a, (n + more + 1) * sizeof(struct expr *));
    struct expr *columns = arena_zalloc(a, n + 1, sizeof(*columns));
    if (list == NULL || columns == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        columns[i] = (struct expr){.kind = EXPR_COLUMN,
                                   .type = node->columns[i].type,
                                   .position = -1,
                                   .n_nodes = 1,
                                   .index = i};
        list[i] = &columns[i];
    }
    return list;
}

/* ---- what operators share ---- */

enum err flow_touch(struct flow_touched *t, struct row_entry *e)
{
    if (t->n == t->cap) {
        uint64_t cap = t->cap == 0 ? 256 : t->cap * 2;
        struct row_entry **grown = mem_realloc(t->list, cap * sizeof(*grown));
        if (grown == NULL)
            return ERR_NO_MEMORY;
        t->list = grown;
        t->cap = cap;
    }
    t->list[t->n++] = e;
    return ERR_OK;
}

void flow_touched_free(struct flow_touched *t)
{
    mem_free(t->list);
    *t = (struct flow_touched){0};
}

enum err flow_key_entry(struct row_table *t, uint64_t hash, struct str key, uint32_t tail_bytes,
                        struct row_entry **out, bool *created)
{
    *out = row_table_first(t, hash, key);
    *created = *out == NULL;
    if (*out != NULL)
        return ERR_OK;
    struct str tail = {key.ptr + key.len, tail_bytes};
    return row_table_add(t, hash, key, tail, 0, 0, out, created);
}

void flow_op_bound(struct flow_op *op, const struct plan_node *of, uint32_t column, uint32_t key)
{
    if (op->windowed)
        return;
    struct window_bound b = window_bound_of(of, column);
    op->windowed = b.is;
    op->bound_key = key;
    op->to_end = b.to_end;
}

int64_t flow_key_end(const struct flow_op *op, struct str key)
{
    int64_t end;
    if (!key_value_i64(key, op->key_types, op->bound_key, &end) ||
        __builtin_add_overflow(end, op->to_end, &end))
        return INT64_MAX;
    return end;
}

struct str flow_key_copy(const struct row_table *t, const struct row_entry *e, struct arena *a)
{
    struct str key = row_entry_key(t, e);
    struct str whole = arena_str(a, (struct str){key.ptr, key.len + e->row_bytes});
    return (struct str){whole.ptr, key.len};
}

bool flow_same_value(const struct value *v, const struct value *w)
{
    if (v->null || w->null)
        return v->null && w->null;
    if (type_info(v->type)->by_ref)
        return str_eq(v->as.s, w->as.s);
    if (v->type == TYPE_NUMERIC)
        return v->as.num.kind == w->as.num.kind && v->as.num.scale == w->as.num.scale &&
               v->as.num.unscaled == w->as.num.unscaled;
    return memcmp(&v->as, &w->as, type_info(v->type)->width) == 0;
}

/* ---- what is known of a flow ---- */

uint32_t flow_n_scans(const struct flow *f)
{
    return f->n_scans;
}
const struct plan_node *flow_scan(const struct flow *f, uint32_t i)
{
    CHECK(i < f->n_scans);
    return f->scans[i].node;
}
uint32_t flow_n_operators(const struct flow *f)
{
    return f->n_ops;
}
uint32_t flow_n_levels(const struct flow *f)
{
    return f->n_levels;
}
uint32_t flow_level(const struct flow *f, uint32_t op)
{
    CHECK(op < f->n_ops);
    return f->ops[op].level;
}
uint32_t flow_windows_per_row(const struct flow *f)
{
    uint64_t most = 1;
    for (uint32_t i = 0; i < f->n_scans; i++) {
        const struct flow_outs *outs = &f->scans[i].outs;
        uint64_t sum = 0;
        for (uint32_t k = 0; k < outs->n; k++)
            sum += chain_windows_per_row(outs->edges[k].chain);
        most = sum > most ? sum : most;
    }
    return most > UINT32_MAX ? UINT32_MAX : (uint32_t)most;
}
uint32_t flow_tail_bytes(const struct flow *f, uint32_t op, uint32_t port)
{
    CHECK(op < f->n_ops && port < f->ops[op].n_ports);
    return f->ops[op].ports[port].tail_bytes;
}

/* ---- state ---- */

enum err flow_state_new(const struct flow *f, uint64_t bytes_max, struct flow_state **out)
{
    struct flow_state *s = mem_zalloc(1, sizeof(*s) + f->n_ops * sizeof(void *));
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->flow = f;
    s->bytes_max = bytes_max;
    s->watermark_us = INT64_MIN;
    s->figures = mem_zalloc(f->n_ops + 1, sizeof(*s->figures));
    if (s->figures == NULL) {
        mem_free(s);
        return ERR_NO_MEMORY;
    }
    for (uint32_t i = 0; i < f->n_ops; i++) {
        enum err e = f->ops[i].kind->state_new(&f->ops[i], f->hash_seed, bytes_max, &s->ops[i]);
        if (e != ERR_OK) {
            flow_state_free(s);
            return e;
        }
    }
    *out = s;
    return ERR_OK;
}

void flow_state_free(struct flow_state *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->flow->n_ops; i++)
        if (s->ops[i] != NULL)
            s->flow->ops[i].kind->state_free(&s->flow->ops[i], s->ops[i]);
    mem_free(s->figures);
    mem_free(s);
}

uint64_t flow_state_bytes(const struct flow_state *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->flow->n_ops; i++)
        sum += s->flow->ops[i].kind->bytes(s->ops[i]);
    return sum;
}

uint64_t flow_state_rows(const struct flow_state *s)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < s->flow->n_ops; i++)
        sum += s->flow->ops[i].kind->rows(s->ops[i]);
    return sum;
}

void flow_state_figures(const struct flow_state *s, uint32_t op, struct flow_figures *out)
{
    CHECK(op < s->flow->n_ops);
    *out = s->figures[op];
    out->rows = s->flow->ops[op].kind->rows(s->ops[op]);
    out->bytes = s->flow->ops[op].kind->bytes(s->ops[op]);
}

/* ---- rows on their way ---- */

/* Rows [from, from + n) of a batch, without its columns from `n_columns` on. */
static struct batch *batch_part(const struct batch *in, uint32_t from, uint32_t n,
                                uint32_t n_columns, struct arena *a)
{
    struct batch *b = arena_alloc(a, sizeof(*b));
    if (b == NULL)
        return NULL;
    *b = *in;
    b->n_rows = n;
    b->n_columns = n_columns;
    if (from == 0)
        return b;
    b->columns = arena_alloc(a, (n_columns + 1) * sizeof(*b->columns));
    if (b->columns == NULL)
        return NULL;
    for (uint32_t i = 0; i < n_columns; i++) {
        struct column c = in->columns[i];
        c.data = (char *)c.data + (size_t)from * type_info(c.type)->width;
        c.nulls = c.nulls == NULL ? NULL : c.nulls + from;
        b->columns[i] = c;
    }
    b->weights = in->weights == NULL ? NULL : in->weights + from;
    return b;
}

/* Takes rows out whose key has a NULL that matches nothing; they go to the operator's `pass`. */
static enum err split_nulls(struct flow_run *to, uint32_t port, struct batch **rows)
{
    const struct flow_port *p = &to->op->ports[port];
    struct arena *a = to->c->arena;
    struct batch *b = *rows;
    uint8_t *null = NULL;
    uint32_t n_null = 0;
    for (uint32_t k = 0; p->not_null != NULL && k < p->n_keys; k++) {
        const struct column *c = &b->columns[p->key_at + k];
        if (!p->not_null[k] || c->nulls == NULL || memchr(c->nulls, 1, b->n_rows) == NULL)
            continue;
        if (null == NULL && (null = arena_zalloc(a, b->n_rows, 1)) == NULL)
            return ERR_NO_MEMORY;
        for (uint32_t i = 0; i < b->n_rows; i++) {
            n_null += c->nulls[i] != 0 && null[i] == 0;
            null[i] |= c->nulls[i] != 0;
        }
    }
    if (n_null == 0)
        return ERR_OK;
    uint32_t *numbers = arena_alloc(a, (b->n_rows + 1) * sizeof(*numbers)), keep = 0,
             pass = b->n_rows - n_null;
    if (numbers == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < b->n_rows; i++)
        numbers[null[i] ? pass++ : keep++] = i;
    *rows = batch_gather(b, numbers, keep, a);
    if (*rows == NULL)
        return ERR_NO_MEMORY;
    if (to->op->kind->pass == NULL)
        return ERR_OK;
    struct batch *passed = batch_gather(b, numbers + keep, n_null, a);
    if (passed == NULL)
        return ERR_NO_MEMORY;
    passed->n_columns = p->n_payload;
    return to->op->kind->pass(to, port, passed);
}

static enum err send_to_port(const struct flow *f, const struct flow_edge *e, struct batch *rows,
                             const struct flow_context *c)
{
    const struct flow_op *op = &f->ops[e->op];
    const struct flow_port *p = &op->ports[e->port];
    struct flow_run to = {.flow = f, .op = op, .c = c, .hash_seed = f->hash_seed};
    TRY(split_nulls(&to, e->port, &rows));
    uint32_t n = rows->n_rows;
    if (n == 0)
        return ERR_OK;
    struct str *keys = arena_alloc(c->arena, n * sizeof(*keys));
    uint64_t *hashes = arena_alloc(c->arena, n * sizeof(*hashes));
    struct batch *payload = batch_part(rows, 0, n, p->n_payload, c->arena);
    if (keys == NULL || hashes == NULL || payload == NULL ||
        !key_encode(rows->columns + p->key_at, p->n_keys, n, c->arena, f->hash_seed, keys, hashes))
        return ERR_NO_MEMORY;
    struct flow_packet packet = {
        .op = e->op, .port = e->port, .batch = payload, .keys = keys, .hashes = hashes};
    return c->emit(c->arg, &packet);
}

/* Rows that an edge's chain gave go to where it leads, a batch at a time. */
static enum err send_rows(const struct flow *f, const struct flow_edge *e, const struct batch *rows,
                          const struct flow_context *c)
{
    for (uint32_t from = 0; from < rows->n_rows; from += BATCH_ROWS_MAX) {
        uint32_t n = rows->n_rows - from;
        struct batch *part = batch_part(rows, from, n < BATCH_ROWS_MAX ? n : BATCH_ROWS_MAX,
                                        rows->n_columns, c->arena);
        if (part == NULL)
            return ERR_NO_MEMORY;
        struct flow_packet packet = {.op = FLOW_ROOT, .batch = part};
        TRY(e->op == FLOW_ROOT ? c->emit(c->arg, &packet) : send_to_port(f, e, part, c));
    }
    return ERR_OK;
}

static enum err run_edge(const struct flow *f, const struct flow_edge *e, const struct batch *in,
                         const int64_t *watermarks, const struct flow_context *c,
                         struct chain_result *r)
{
    TRY(chain_run(e->chain, in, watermarks, c->now_us, c->arena, r));
    for (uint32_t i = 0; i < r->n_errors; i++)
        TRY(c->row_error(c->arg, in, r->errors[i].row, r->errors[i].err, r->errors[i].text));
    return send_rows(f, e, r->batch, c);
}

static enum err run_outs(const struct flow *f, const struct flow_outs *outs, const struct batch *b,
                         const struct flow_context *c)
{
    for (uint32_t i = 0; i < outs->n && b->n_rows > 0; i++) {
        struct chain_result r;
        TRY(run_edge(f, &outs->edges[i], b, NULL, c, &r));
    }
    return ERR_OK;
}

enum err flow_forward(struct flow_run *r, const struct batch *b)
{
    CHECK(b->n_rows <= BATCH_ROWS_MAX);
    if (r->figures != NULL)
        r->figures->rows_out += b->n_rows;
    return run_outs(r->flow, &r->op->outs, b, r->c);
}

/* ---- epochs ---- */

/* Adds the late rows of one chain to those of the others. */
static enum err late_add(struct flow_late *late, const struct chain_result *r, struct arena *a)
{
    if (r->n_late == 0)
        return ERR_OK;
    uint32_t *rows = arena_alloc(a, (late->n + r->n_late) * sizeof(*rows)), n = 0;
    if (rows == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0, k = 0; i < late->n || k < r->n_late;) {
        uint32_t x = i < late->n ? late->rows[i] : UINT32_MAX,
                 y = k < r->n_late ? r->late[k] : UINT32_MAX;
        i += x <= y;
        k += y <= x;
        rows[n++] = x < y ? x : y;
    }
    *late = (struct flow_late){.n = n, .rows = rows};
    return ERR_OK;
}

enum err flow_source(const struct flow *f, uint32_t scan, const struct batch *in,
                     const int64_t *watermarks, const struct flow_context *c,
                     struct flow_late *late)
{
    CHECK(scan < f->n_scans);
    const struct flow_outs *outs = &f->scans[scan].outs;
    *late = (struct flow_late){0};
    for (uint32_t i = 0; i < outs->n && in->n_rows > 0; i++) {
        struct chain_result r;
        TRY(run_edge(f, &outs->edges[i], in, watermarks, c, &r));
        TRY(late_add(late, &r, c->arena));
    }
    return ERR_OK;
}

/* Rows [from, from + n) of VALUES. */
static enum err values_rows(const struct flow_values *v, uint32_t from, uint32_t n,
                            const struct flow_context *c, struct batch **out)
{
    struct batch none = {.n_rows = 1};
    struct kernel_context k;
    struct batch *b = batch_new(v->types, v->n_columns, n, c->arena);
    if (b == NULL)
        return ERR_NO_MEMORY;
    kernel_context_init(&k, c->arena, c->now_us);
    for (uint32_t i = 0; i < n * v->n_columns; i++) {
        struct column one;
        TRY(expr_eval(v->programs[from * v->n_columns + i], &none, NULL, &k, &one));
        if (k.row_errors != NULL && k.row_errors[0] != ERR_OK)
            return err_set(c->why, k.row_errors[0], "%s", k.first.text);
        struct value value = column_get(&one, 0);
        column_set(&b->columns[i % v->n_columns], i / v->n_columns, &value);
    }
    b->n_rows = n;
    *out = b;
    return ERR_OK;
}

static enum err seed_values(const struct flow *f, const struct flow_values *v,
                            const struct flow_context *c)
{
    for (uint32_t from = 0; from < v->n_rows; from += BATCH_ROWS_MAX) {
        uint32_t n = v->n_rows - from < BATCH_ROWS_MAX ? v->n_rows - from : BATCH_ROWS_MAX;
        struct batch *b;
        TRY(values_rows(v, from, n, c, &b));
        TRY(run_outs(f, &v->outs, b, c));
    }
    return ERR_OK;
}

static struct flow_run run_of(const struct flow *f, struct flow_state *s, uint32_t op,
                              const struct flow_context *c)
{
    CHECK(op < f->n_ops && s->flow == f);
    return (struct flow_run){.flow = f,
                             .op = &f->ops[op],
                             .state = s->ops[op],
                             .c = c,
                             .hash_seed = f->hash_seed,
                             .figures = &s->figures[op],
                             .rows_left = FLOW_PIECE_ROWS};
}

static int64_t clock_ns(const struct flow_context *c)
{
    return c->clock_ns == NULL ? 0 : c->clock_ns(c->clock_arg);
}

/* An operator's error, with the state's bound as its text where that is what it means. */
static enum err state_error(const struct flow_state *s, enum err e, const struct flow_context *c)
{
    if (e == ERR_OK && flow_state_bytes(s) <= s->bytes_max)
        return ERR_OK;
    if (e == ERR_OK || (e == ERR_LIMIT && c->why != NULL && c->why->text[0] == 0))
        return err_set(c->why, ERR_LIMIT,
                       "what the query must keep needs more than %llu bytes of memory",
                       (unsigned long long)s->bytes_max);
    return e;
}

enum err flow_seed(const struct flow *f, struct flow_state *s, const struct flow_context *c)
{
    for (uint32_t i = 0; i < f->n_values; i++)
        TRY(seed_values(f, &f->values[i], c));
    for (uint32_t i = 0; i < f->n_ops; i++) {
        struct flow_run r = run_of(f, s, i, c);
        if (r.op->kind->seed != NULL)
            TRY(r.op->kind->seed(&r));
    }
    return ERR_OK;
}

/* Leaves the rows out whose window is forgotten. */
static enum err drop_late(const struct flow_op *op, struct flow_state *s, struct flow_packet *p,
                          struct arena *a, uint64_t *late)
{
    uint32_t n = p->batch->n_rows, keep = 0;
    uint32_t *rows = arena_alloc(a, n * sizeof(*rows));
    struct str *keys = arena_alloc(a, n * sizeof(*keys));
    uint64_t *hashes = arena_alloc(a, n * sizeof(*hashes));
    if (rows == NULL || keys == NULL || hashes == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        if (flow_key_end(op, p->keys[i]) <= s->watermark_us)
            continue;
        rows[keep] = i;
        keys[keep] = p->keys[i];
        hashes[keep++] = p->hashes[i];
    }
    *late = n - keep;
    if (keep == n)
        return ERR_OK;
    p->keys = keys;
    p->hashes = hashes;
    p->batch = batch_gather(p->batch, rows, keep, a);
    return p->batch == NULL ? ERR_NO_MEMORY : ERR_OK;
}

enum err flow_apply(const struct flow *f, struct flow_state *s, const struct flow_packet *p,
                    const struct flow_context *c, bool *more)
{
    struct flow_run r = run_of(f, s, p->op, c);
    CHECK(p->port < r.op->n_ports && p->batch->n_rows <= BATCH_ROWS_MAX);
    *more = false;
    struct flow_packet some = *p;
    uint64_t late = 0;
    if (r.op->windowed && s->watermark_us > INT64_MIN)
        TRY(drop_late(r.op, s, &some, c->arena, &late));
    int64_t began = clock_ns(c);
    if (some.batch->n_rows > 0)
        TRY(state_error(s, r.op->kind->apply(&r, &some, more), c));
    r.figures->busy_ns += (uint64_t)(clock_ns(c) - began);
    r.figures->rows_in[p->port] += *more ? 0 : some.batch->n_rows;
    s->late += *more ? 0 : late;
    return ERR_OK;
}

enum err flow_end_level(const struct flow *f, struct flow_state *s, uint32_t level,
                        const struct flow_context *c, bool *more)
{
    *more = false;
    for (uint32_t i = 0; i < f->n_ops && !*more; i++) {
        struct flow_run r = run_of(f, s, i, c);
        if (r.op->level != level || r.op->kind->end_level == NULL)
            continue;
        int64_t began = clock_ns(c);
        TRY(state_error(s, r.op->kind->end_level(&r, more), c));
        r.figures->busy_ns += (uint64_t)(clock_ns(c) - began);
    }
    return ERR_OK;
}

bool flow_expire(const struct flow *f, struct flow_state *s, int64_t watermark_us)
{
    uint32_t rows_left = FLOW_PIECE_ROWS;
    s->watermark_us = watermark_us > s->watermark_us ? watermark_us : s->watermark_us;
    for (uint32_t i = 0; i < f->n_ops && rows_left > 0; i++)
        if (f->ops[i].windowed || f->ops[i].sessions)
            f->ops[i].kind->expire(&f->ops[i], s->ops[i], s->watermark_us, &rows_left);
    return rows_left == 0;
}

uint64_t flow_state_late(const struct flow_state *s)
{
    return s->late;
}
