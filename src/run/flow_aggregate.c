/* AGGREGATE in the middle of a plan: groups whose rows come and go.
 *
 *   packet [keys | arguments, filters] --> group: rows += weight, cells, touched
 *   end of the epoch: the group's row of before goes (-1), its row of now comes (+1), if they
 * differ
 *
 * A group is there while it has rows; without keys it always is. Counts and sums of integers and
 * intervals take a row back from their cell. All other aggregates keep their arguments besides, as
 * values with weights, where rows can go at all: when a value goes that the cell cannot give up (a
 * least one, a part of a sum of floats, the only numeric with that many digits) the cell is made
 * again of those that are left. DISTINCT counts a value while its weight is positive. */
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "run/aggregate_plan.h"
#include "run/flow_int.h"
#include "run/key.h"

enum { VALUE_TAIL_BYTES = 16 };

struct aggregate_plan {
    struct agg_plan agg;
    uint32_t tail_bytes;
    bool *distinct;
    bool *keeps; /* per aggregate: its values are kept */
    bool any_kept;
};

enum group_state { IS_TOUCHED = 1, WAS_THERE = 2 };

/* An entry's owner; the cells follow. */
struct flow_group {
    int64_t rows;   /* sum of weights */
    char *before;   /* touched: cells of what was given, when it WAS_THERE */
    uint64_t dirty; /* bit of each aggregate (modulo 64) whose cell is to be made again */
    uint64_t state;
};

struct aggregate_state {
    struct row_table *groups;
    struct flow_windows windows;
    struct row_table *values; /* key: group and aggregate; NULL: none are kept */
    struct flow_touched touched;
    struct arena before; /* cells of touched groups as they were */
    uint64_t heap_bytes; /* of cells */
    uint64_t hash_seed;
};

/* Which values are meant. */
struct value_key {
    uint32_t group, aggregate;
};

static struct flow_group *group_of(const struct row_entry *e)
{
    return row_entry_owner(e);
}
static char *cells_of(const struct row_entry *e)
{
    return (char *)(group_of(e) + 1);
}

/* ---- compiling ---- */

static bool is_extreme(enum agg_kind k)
{
    return k == AGGK_EXTREME || k == AGGK_EXTREME_TEXT || k == AGGK_EXTREME_NARROW;
}

static enum err aggregate_compile(struct flow_op *op, struct arena *a, struct err_detail *why)
{
    const struct plan_node *node = op->node;
    struct aggregate_plan *p = arena_zalloc(a, 1, sizeof(*p));
    if (p == NULL || (p->distinct = arena_zalloc(a, node->n_aggs + 1, sizeof(bool))) == NULL ||
        (p->keeps = arena_zalloc(a, node->n_aggs + 1, sizeof(bool))) == NULL)
        return ERR_NO_MEMORY;
    struct flow_port *port = &op->ports[0];
    TRY(agg_plan_init(node, a, &p->agg, &port->exprs, &port->n_exprs, why));
    bool append_only = plan_append_only(node->input);
    for (uint32_t i = 0; i < node->n_aggs; i++) {
        const struct agg_op *x = &p->agg.ops[i];
        p->distinct[i] = x->distinct;
        p->keeps[i] =
            !x->shared && (x->distinct || (!append_only && !x->linear && !x->sketch));
        p->any_kept |= p->keeps[i];
    }
    p->tail_bytes = key_tail_bytes(p->agg.types, p->agg.n_keys);
    port->n_payload = port->n_exprs;
    port->n_keys = p->agg.n_keys;
    for (uint32_t i = 0; i < node->n_exprs; i++)
        flow_op_bound(op, node, i, i);
    op->n_ports = 1;
    op->plan = p;
    return ERR_OK;
}

/* ---- state ---- */

static void clear_cells(const struct aggregate_plan *p, struct aggregate_state *s, char *cells)
{
    for (uint32_t i = 0; i < p->agg.n_aggs; i++) {
        s->heap_bytes -= agg_heap_bytes(&p->agg.ops[i], cells);
        agg_clear(&p->agg.ops[i], cells);
    }
}

static void aggregate_state_free(const struct flow_op *op, void *state)
{
    struct aggregate_state *s = state;
    const struct aggregate_plan *p = op->plan;
    struct row_table_cursor at = {0};
    struct row_entry *e;
    while (s->groups != NULL && p->agg.owns_heap && (e = row_table_each(s->groups, &at)) != NULL)
        clear_cells(p, s, cells_of(e));
    row_table_free(s->groups);
    row_table_free(s->values);
    flow_windows_free(&s->windows);
    flow_touched_free(&s->touched);
    arena_deinit(&s->before);
    mem_free(s);
}

static enum err aggregate_state_new(const struct flow_op *op, uint64_t hash_seed,
                                    uint64_t bytes_max, void **out)
{
    const struct aggregate_plan *p = op->plan;
    struct aggregate_state *s = mem_zalloc(1, sizeof(*s));
    if (s == NULL)
        return ERR_NO_MEMORY;
    s->hash_seed = hash_seed;
    arena_init(&s->before, bytes_max);
    uint32_t owner_bytes = flow_windows_init(
        &s->windows, op->windowed, (uint32_t)sizeof(struct flow_group) + p->agg.cells_bytes);
    enum err e = row_table_new(owner_bytes, bytes_max, &s->groups);
    if (e == ERR_OK && p->any_kept)
        e = row_table_new(VALUE_TAIL_BYTES, bytes_max, &s->values);
    if (e != ERR_OK) {
        aggregate_state_free(op, s);
        return e;
    }
    *out = s;
    return ERR_OK;
}

static uint64_t aggregate_bytes(const void *state)
{
    const struct aggregate_state *s = state;
    return row_table_bytes(s->groups) + (s->values == NULL ? 0 : row_table_bytes(s->values)) +
           flow_touched_bytes(&s->touched) + flow_windows_bytes(&s->windows) +
           arena_used(&s->before) + s->heap_bytes;
}

static uint64_t aggregate_rows(const void *state)
{
    const struct aggregate_state *s = state;
    return row_table_count(s->groups) + (s->values == NULL ? 0 : row_table_count(s->values));
}

/* ---- values ---- */

/* Of all arguments, which are of one type. */
static const enum type *values_types(const struct agg_op *op)
{
    static const enum type pair[] = {TYPE_FLOAT8, TYPE_FLOAT8};
    CHECK(op->n_args == 1 || op->arg_type == TYPE_FLOAT8);
    return op->n_args == 1 ? &op->arg_type : pair;
}

/* Bytes behind a value's key. */
static uint32_t values_tail(const struct agg_op *op)
{
    return key_tail_bytes(values_types(op), op->n_args);
}

static uint64_t value_hash_of(const struct aggregate_state *s, const struct value_key *k)
{
    return hash_bytes(k, sizeof(*k), s->hash_seed);
}

static struct str value_key_str(const struct value_key *k)
{
    return (struct str){(const char *)k, sizeof(*k)};
}

/* Reads kept values into rows of columns; the bytes are in `a` then. */
static enum err value_decode(const struct aggregate_plan *p, const struct aggregate_state *s,
                             uint32_t agg, const struct row_entry *e, struct column *to,
                             uint32_t row, struct arena *a)
{
    uint32_t tail = values_tail(&p->agg.ops[agg]);
    char *bytes = arena_alloc(a, e->row_bytes + tail + 1);
    if (bytes == NULL)
        return ERR_NO_MEMORY;
    memcpy(bytes, row_entry_row(s->values, e), e->row_bytes);
    if (p->distinct[agg])
        memcpy(bytes + e->row_bytes, row_entry_owner(e), tail);
    struct str key = {bytes, p->distinct[agg] ? e->row_bytes : e->row_bytes - tail};
    key_decode(key, to, p->agg.ops[agg].n_args, row);
    return ERR_OK;
}

/* Makes the cell of an aggregate again of the group's values. */
static enum err cell_again(const struct aggregate_plan *p, struct aggregate_state *s,
                           const struct row_entry *group, uint32_t agg, struct arena *a)
{
    const struct agg_op *op = &p->agg.ops[agg];
    struct value_key k = {.group = group->ref, .aggregate = agg};
    char *cells = cells_of(group), **to = arena_alloc(a, BATCH_ROWS_MAX * sizeof(char *));
    int64_t *weights = arena_alloc(a, BATCH_ROWS_MAX * sizeof(*weights));
    struct batch *b = batch_new(values_types(op), op->n_args, BATCH_ROWS_MAX, a);
    if (to == NULL || weights == NULL || b == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < BATCH_ROWS_MAX; i++)
        to[i] = cells;
    s->heap_bytes -= agg_heap_bytes(op, cells);
    agg_clear(op, cells);
    const struct row_entry *e = row_table_first(s->values, value_hash_of(s, &k), value_key_str(&k));
    while (e != NULL) {
        uint32_t n = 0;
        for (; e != NULL && n < BATCH_ROWS_MAX; e = row_table_next(s->values, e)) {
            if (e->weight <= 0)
                continue;
            weights[n] = p->distinct[agg] || is_extreme(op->kind) ? 1 : e->weight;
            TRY(value_decode(p, s, agg, e, b->columns, n++, a));
        }
        TRY(agg_update(op, to, b->columns, NULL, weights, n, &s->heap_bytes));
    }
    return ERR_OK;
}

/* Whether a min or max may show the value at hand, when its cell has taken what this packet adds.
 */
static enum err may_be_shown(const struct agg_op *op, const char *cells, const struct column *arg,
                             uint32_t row, bool *shown)
{
    struct value v = column_get(arg, row), now;
    TRY(agg_result(op, cells, NULL, &now, NULL));
    *shown = now.null || value_compare(&v, &now) * (op->max ? 1 : -1) >= 0;
    return ERR_OK;
}

/* Adds the weight of one argument to the group's values. *delta is what its cell is to take of it
 * now, 0 = nothing; where that cannot be the cell is dirty. */
static enum err value_add(const struct aggregate_plan *p, struct aggregate_state *s,
                          struct row_entry *group, uint32_t agg, const struct column *arg,
                          uint32_t row, struct str bytes, uint64_t hash, int64_t *delta)
{
    const struct agg_op *op = &p->agg.ops[agg];
    struct value_key k = {.group = group->ref, .aggregate = agg};
    uint32_t tail = values_tail(op);
    bool distinct = p->distinct[agg], created, dirty = false;
    struct str whole = {bytes.ptr, bytes.len + (distinct ? 0 : tail)};
    struct row_entry *e;
    TRY(row_table_add(s->values, value_hash_of(s, &k), value_key_str(&k), whole, (uint32_t)hash,
                      *delta, &e, &created));
    if (created && distinct)
        memcpy(row_entry_owner(e), bytes.ptr + bytes.len, tail);
    int64_t after = e->weight, before = after - *delta;
    if (distinct)
        *delta = (after > 0) - (before > 0);
    if (is_extreme(op->kind)) {
        if (*delta < 0 && after <= 0)
            TRY(may_be_shown(op, cells_of(group), arg, row, &dirty));
        *delta = *delta > 0 && after > 0;
    } else if (*delta < 0 && !op->linear) {
        dirty = true;
        *delta = 0;
    }
    if (dirty)
        group_of(group)->dirty |= (uint64_t)1 << (agg % 64);
    if (after == 0)
        row_table_remove(s->values, e);
    return ERR_OK;
}

static enum err values_add(struct flow_run *r, const struct flow_packet *p, uint32_t agg,
                           struct row_entry *const *groups, char **cells)
{
    const struct aggregate_plan *plan = r->op->plan;
    struct aggregate_state *s = r->state;
    struct arena *a = r->c->arena;
    const struct agg_op *op = &plan->agg.ops[agg];
    const struct column *arg = agg_plan_argument(&plan->agg, p->batch, agg),
                        *filter = agg_plan_filter(&plan->agg, p->batch, agg);
    uint32_t n = p->batch->n_rows;
    struct str *keys = arena_alloc(a, n * sizeof(*keys));
    uint64_t *hashes = arena_alloc(a, n * sizeof(*hashes));
    int64_t *deltas = arena_alloc(a, n * sizeof(*deltas));
    if (keys == NULL || hashes == NULL || deltas == NULL ||
        !key_encode(arg, op->n_args, n, a, s->hash_seed, keys, hashes))
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        bool out = filter != NULL && (column_is_null(filter, i) || column_bool(filter)[i] == 0);
        for (uint32_t c = 0; c < op->n_strict; c++)
            out |= column_is_null(&arg[c], i) != 0;
        deltas[i] = out ? 0 : p->batch->weights == NULL ? 1 : p->batch->weights[i];
        if (deltas[i] != 0)
            TRY(value_add(plan, s, groups[i], agg, arg, i, keys[i], hashes[i], &deltas[i]));
        cells[i] = deltas[i] == 0 ? NULL : cells_of(groups[i]);
    }
    return agg_update(op, cells, arg, filter, deltas, n, &s->heap_bytes);
}

/* ---- packets ---- */

/* A group is about to change: remembers what it has given. */
static enum err touch(const struct aggregate_plan *p, struct aggregate_state *s,
                      struct row_entry *e)
{
    struct flow_group *g = group_of(e);
    if (g->state & IS_TOUCHED)
        return ERR_OK;
    g->before = NULL;
    if (g->state & WAS_THERE) {
        g->before = arena_alloc(&s->before, p->agg.cells_bytes + 1);
        if (g->before == NULL)
            return ERR_NO_MEMORY;
        for (uint32_t i = 0; i < p->agg.n_aggs; i++)
            TRY(agg_copy(&p->agg.ops[i], cells_of(e), g->before, &s->before));
    }
    TRY(flow_touch(&s->touched, e));
    g->state |= IS_TOUCHED;
    return ERR_OK;
}

static enum err aggregate_seed(struct flow_run *r)
{
    const struct aggregate_plan *p = r->op->plan;
    struct aggregate_state *s = r->state;
    struct row_entry *e;
    bool created;
    if (p->agg.n_keys > 0)
        return ERR_OK;
    TRY(flow_key_entry(s->groups, key_hash_none(s->hash_seed), (struct str){"", 0}, 0, &e,
                       &created));
    return touch(p, s, e);
}

static enum err aggregate_apply(struct flow_run *r, const struct flow_packet *p, bool *more)
{
    enum { AHEAD = 8 };
    (void)more;
    const struct aggregate_plan *plan = r->op->plan;
    struct aggregate_state *s = r->state;
    const struct batch *b = p->batch;
    uint32_t n = b->n_rows;
    struct row_entry **groups = arena_alloc(r->c->arena, n * sizeof(struct row_entry *));
    char **cells = arena_alloc(r->c->arena, n * sizeof(char *));
    char **some = arena_alloc(r->c->arena, n * sizeof(char *));
    if (groups == NULL || cells == NULL || some == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        if (i + 2 * AHEAD < n)
            row_table_prefetch(s->groups, p->hashes[i + 2 * AHEAD]);
        if (i + AHEAD < n)
            row_table_prefetch_entry(s->groups, p->hashes[i + AHEAD]);
        bool created;
        TRY(flow_key_entry(s->groups, p->hashes[i], p->keys[i], plan->tail_bytes, &groups[i],
                           &created));
        if (created && r->op->windowed)
            TRY(flow_windows_add(&s->windows, groups[i], flow_key_end(r->op, p->keys[i])));
        TRY(touch(plan, s, groups[i]));
        struct flow_group *g = group_of(groups[i]);
        if (__builtin_add_overflow(g->rows, b->weights == NULL ? 1 : b->weights[i], &g->rows))
            return ERR_LIMIT;
        cells[i] = cells_of(groups[i]);
    }
    for (uint32_t i = 0; i < plan->agg.n_aggs; i++) {
        if (plan->keeps[i])
            TRY(values_add(r, p, i, groups, some));
        else
            TRY(agg_update(&plan->agg.ops[i], cells, agg_plan_argument(&plan->agg, b, i),
                           agg_plan_filter(&plan->agg, b, i), b->weights, n, &s->heap_bytes));
    }
    return ERR_OK;
}

/* ---- the end of an epoch ---- */

/* Whether two rows of a batch are the same to the last digit. */
static bool same_row(const struct batch *b, uint32_t from, uint32_t x, uint32_t y)
{
    for (uint32_t i = from; i < b->n_columns; i++) {
        struct value v = column_get(&b->columns[i], x), w = column_get(&b->columns[i], y);
        if (!flow_same_value(&v, &w))
            return false;
    }
    return true;
}

/* Writes a group's row; texts are the batch's own. *made: it has one. */
static enum err group_row(struct flow_run *r, const struct aggregate_plan *p, struct str key,
                          const char *cells, bool report, struct batch *b, int64_t weight,
                          bool *made)
{
    struct err_detail why = {0};
    uint32_t row = b->n_rows;
    enum err e = agg_plan_row(&p->agg, key, cells, b, row, r->c->arena, &why);
    *made = e == ERR_OK;
    if (e != ERR_OK) {
        if (!report)
            return ERR_OK; /* it was told of, and not given, when it came to be so */
        b->n_rows++;
        for (uint32_t i = p->agg.n_keys; i < b->n_columns; i++)
            b->columns[i].nulls[row] = 1;
        e = r->c->row_error(r->c->arg, b, row, e, err_text(e, &why));
        b->n_rows--;
        return e;
    }
    for (uint32_t i = p->agg.n_keys; i < b->n_columns; i++) {
        const struct column *c = &b->columns[i];
        if (!type_info(c->type)->by_ref || column_is_null(c, row))
            continue;
        column_str(c)[row] = arena_str(r->c->arena, column_str(c)[row]);
        if (column_str(c)[row].ptr == NULL)
            return ERR_NO_MEMORY;
    }
    b->weights[b->n_rows++] = weight;
    return ERR_OK;
}

/* Gives the difference that a touched group makes; there is room for two rows. */
static enum err settle(struct flow_run *r, struct row_entry *e, struct batch *b)
{
    const struct aggregate_plan *p = r->op->plan;
    struct aggregate_state *s = r->state;
    struct flow_group *g = group_of(e);
    struct str key = flow_key_copy(s->groups, e, r->c->arena);
    bool was = (g->state & WAS_THERE) != 0, is = p->agg.n_keys == 0 || g->rows > 0, made[2] = {0};
    if (key.ptr == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; g->dirty != 0 && i < p->agg.n_aggs; i++)
        if (p->keeps[i] && !p->agg.ops[i].linear && (g->dirty >> (i % 64) & 1) != 0)
            TRY(cell_again(p, s, e, i, r->c->arena));
    uint32_t row = b->n_rows;
    if (was)
        TRY(group_row(r, p, key, g->before, false, b, -1, &made[0]));
    if (is)
        TRY(group_row(r, p, key, cells_of(e), true, b, 1, &made[1]));
    if (made[0] && made[1] && same_row(b, p->agg.n_keys, row, row + 1))
        b->n_rows = row;
    g->dirty = 0;
    g->before = NULL;
    g->state = is ? WAS_THERE : 0;
    if (p->agg.n_keys == 0 || g->rows != 0)
        return ERR_OK;
    if (r->op->windowed)
        flow_windows_remove(&s->windows, e);
    clear_cells(p, s, cells_of(e));
    row_table_remove(s->groups, e);
    return ERR_OK;
}

static enum err aggregate_end_level(struct flow_run *r, bool *more)
{
    const struct aggregate_plan *p = r->op->plan;
    struct aggregate_state *s = r->state;
    struct flow_touched *t = &s->touched;
    while (t->at < t->n && r->rows_left > 0) {
        struct batch *b =
            batch_new(p->agg.types, p->agg.n_keys + p->agg.n_aggs, BATCH_ROWS_MAX, r->c->arena);
        if (b == NULL ||
            (b->weights = arena_alloc(r->c->arena, BATCH_ROWS_MAX * sizeof(int64_t))) == NULL)
            return ERR_NO_MEMORY;
        for (; t->at < t->n && b->n_rows + 2 <= p->agg.rows_max; t->at++)
            TRY(settle(r, t->list[t->at], b));
        flow_spend(r, BATCH_ROWS_MAX);
        TRY(flow_forward(r, b));
    }
    *more = t->at < t->n;
    if (*more)
        return ERR_OK;
    t->n = t->at = 0;
    arena_reset(&s->before, 1 << 20);
    return ERR_OK;
}

static void aggregate_expire(const struct flow_op *op, void *state, int64_t watermark_us,
                             uint32_t *rows_left)
{
    const struct aggregate_plan *p = op->plan;
    struct aggregate_state *s = state;
    struct row_entry *e, *value;
    CHECK(s->touched.n == 0);
    while ((e = flow_windows_take(&s->windows, watermark_us, rows_left)) != NULL) {
        for (uint32_t i = 0; i < p->agg.n_aggs; i++) {
            struct value_key k = {.group = e->ref, .aggregate = i};
            while (p->keeps[i] && (value = row_table_first(s->values, value_hash_of(s, &k),
                                                           value_key_str(&k))) != NULL) {
                row_table_remove(s->values, value);
                *rows_left -= *rows_left > 0;
            }
        }
        clear_cells(p, s, cells_of(e));
        row_table_remove(s->groups, e);
    }
}

const struct flow_kind flow_aggregate_kind = {
    .compile = aggregate_compile,
    .state_new = aggregate_state_new,
    .state_free = aggregate_state_free,
    .bytes = aggregate_bytes,
    .rows = aggregate_rows,
    .seed = aggregate_seed,
    .apply = aggregate_apply,
    .end_level = aggregate_end_level,
    .expire = aggregate_expire,
};
